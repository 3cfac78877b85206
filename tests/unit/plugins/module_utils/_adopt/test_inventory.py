# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what was read of hosts to the inventory that describes them: everything but reading and writing."""

from __future__ import annotations

import copy
import typing as t

import pytest
import yaml
from adopt_samples import ENV, MULTI, REGISTRY, Made, adopt, container, member, render, single, survey, without_files

from ansible_collections.waba.onprem.plugins.module_utils._adopt.inventory import Groups, Hostvars
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError


def text(adoption: Made) -> str:
    """The report without its end, which repeats the first of its entries."""
    return "\n".join(adoption.report).partition("## What to do first")[0]


def written(adoption: Made) -> str:
    """All that is not encrypted."""
    return "\n".join([str(adoption.documents), *adoption.report, *adoption.compose_files])


def compose_file(adoption: Made, name: str = "h1") -> dict[str, t.Any]:
    """The Compose file of the role for a host, from the end of `report.md`."""
    lines = adoption.compose_files[adoption.compose_files.index(f"## The role's Compose file for {name}") :]
    begin, end = lines.index("```yaml"), lines.index("```")
    return t.cast("dict[str, t.Any]", yaml.safe_load("\n".join(lines[begin + 1 : end])))


def titles(adoption: Made) -> list[str]:
    return [line for line in adoption.compose_files if line.startswith("## ")]


TITLE = "the role's Compose file, which is at the end of report.md, leaves out what the containers have"


def left_out(adoption: Made) -> list[str]:
    """What the Compose files leave out, as the report says it."""
    found: list[str] = []
    for number, line in enumerate(adoption.report):
        if line.endswith(f": {TITLE}"):
            facts = adoption.report[number + 1 :]
            end = facts.index(
                "   - To do: Put what has to stay into a Compose file on the host, and name it in wa_client_compose_files"
            )
            found += [fact[len("   - ") :] for fact in facts[:end]]
    return found


def variables(adoption: Made, name: str = "h1") -> dict[str, t.Any]:
    """What a host has of its files."""
    group = adoption.adoption.hosts[name]["deployment"]
    folders = ["group_vars/all", *([f"group_vars/{group}"] if group != name else []), f"host_vars/{name}"]
    return {key: value for one in folders for key, value in adoption.documents.get(f"{one}/vars.yml", {}).items()}


PLAIN = {
    "wa_project": "biz",
    "wa_registry": "registry.example.com/whatsapp",
    "wa_version": "2.51.2",
    "wa_env_file": "/srv/biz/db.env",
    "wa_db_env_engine": "MYSQL",
    "wa_db_env_hostname": "db.example.com",
    "wa_db_env_username": "wa",
    "wa_db_env_extra": {"WA_CONFIG_ON_DB": ""},
    "wa_media_volume_name": "biz_whatsappMedia",
}


def test_a_client_keeps_the_operators_compose_files() -> None:
    adoption = adopt({"h1": single()})
    assert adoption.documents["inventory.yml"] == {"all": {"hosts": {"h1": {}}}}
    assert variables(adoption) == {
        **PLAIN,
        "wa_client_compose_dir": "/srv/biz",
        "wa_client_compose_files": ["/srv/biz/docker-compose.yml"],
        "wa_client_restart": "report",
    }
    assert adoption.secrets == {"host_vars/h1/vault.yml": {"wa_db_env_password": "Canary-secret-1"}}


def test_a_client_whose_compose_files_are_gone_gets_the_compose_file_of_the_role() -> None:
    adoption = adopt({"h1": without_files(single())})
    assert variables(adoption) == PLAIN
    assert adoption.secrets == {"host_vars/h1/vault.yml": {"wa_db_env_password": "Canary-secret-1"}}
    made = compose_file(adoption)
    assert made == render({"h1": PLAIN}, "h1", {"all": ["h1"]})[0]
    assert (made["name"], list(made["services"])) == ("biz", ["wacore", "waweb", "dbupgrade"])
    assert made["volumes"] == {"media": {"name": "biz_whatsappMedia", "external": True}}
    assert left_out(adoption) == []


def test_a_setting_without_an_option_of_its_own_is_an_extra_variable() -> None:
    kept = variables(adopt({"h1": without_files(single(env={**ENV, "WA_DB_PERSISTENT": "0"}))}))
    assert kept == {**PLAIN, "wa_db_env_extra": {"WA_DB_PERSISTENT": "0", "WA_CONFIG_ON_DB": ""}}


def test_a_client_with_its_own_compose_files_gets_no_other() -> None:
    adoption = adopt({"h1": single(), "h2": without_files(single(env={**ENV, "WA_DB_NAME_PREFIX": "x_"}))})
    assert titles(adoption) == ["## The role's Compose file for h2"]


def test_of_docker_run_the_compose_file_is_that_of_the_project_to_move_into() -> None:
    adoption = adopt({"h1": single("")})
    made = compose_file(adoption)
    assert (variables(adoption)["wa_project"], "wa_client_restart" in variables(adoption)) == ("", False)
    assert (made["name"], made["networks"]) == ("wa-h1", {"default": {"name": "wa-h1_default"}})
    assert left_out(adoption) == []
    assert (
        "- five commands move them into the Compose project wa-h1 (docs/guides/adopt.md, Move a client into a Compose project); its "
        "Compose file is at the end of report.md\n"
    ) in text(adoption)


def test_no_secret_is_in_what_is_written_in_clear() -> None:
    own = container("waweb", environment={"WA_API_KEY": "Canary-api-key"})
    beside = {
        **container("db"),
        "image": "mysql:8",
        "environment": {"MYSQL_ROOT_PASSWORD": "Canary-root"},
        "env_files": [],
    }
    adoption = adopt({"h1": without_files(survey(container("wacore"), own, sidecars=[beside]))})
    assert "Canary" not in written(adoption)
    assert adoption.secrets == {"host_vars/h1/vault.yml": {"wa_db_env_password": "Canary-secret-1"}}
    assert left_out(adoption) == ["waweb (biz-waweb-1): environment: WA_API_KEY"]


def test_hosts_of_one_database_are_one_deployment() -> None:
    adoption = adopt({"h1": member(1), "h2": member(2), "h3": single(env={**ENV, "WA_DB_NAME_PREFIX": "x_"})})
    assert adoption.deployments == ["biz", "h3"]
    assert adoption.documents["inventory.yml"]["all"]["children"] == {"biz": {"hosts": {"h1": {}, "h2": {}}}}
    shared = adoption.documents["group_vars/biz/vars.yml"]
    assert (shared["wa_deployment"], shared["wa_topology"]) == ("biz", "high_availability")
    assert variables(adoption, "h2")["wa_client_services"] == ["web", "core2", "master2"]
    assert variables(adoption, "h2")["wa_client_service_names"] == {"wacore2": "wacore", "master2": "master"}
    assert variables(adoption, "h2")["wa_client_address"] == "h2.example.com"
    assert "refuses this client" not in text(adoption)
    assert set(adoption.secrets) == {"group_vars/biz/vault.yml", "host_vars/h3/vault.yml"}


def test_two_projects_of_one_machine_are_two_names() -> None:
    other = [
        container(name, "biz2", settings={"ports": ["9190:443"]} if name == "waweb" else {})
        for name in ("wacore", "waweb")
    ]
    for each in other:
        each["environment"]["WA_DB_NAME_PREFIX"] = "two_"
    adoption = adopt({"h1": survey(container("wacore"), container("waweb"), *other)})
    assert adoption.documents["inventory.yml"]["all"]["hosts"] == {
        "h1-biz": {"ansible_host": "h1"},
        "h1-biz2": {"ansible_host": "h1"},
    }
    assert variables(adoption, "h1-biz2")["wa_client_web_port"] == 9190


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"ports": ["9090:443"]}, {}),
        ({"ports": ["0.0.0.0:9190:443"]}, {"wa_client_web_port": 9190}),
        ({"ports": ["127.0.0.1:9090:443"]}, {"wa_client_web_bind_address": "127.0.0.1"}),
        (
            {"ports": ["192.0.2.7:9191:443", "9190:443"]},
            {"wa_client_web_port": 9190},
        ),
        (
            {"ports": ["[2001:db8::7]:8443:443"]},
            {
                "wa_client_web_port": 8443,
                "wa_client_web_bind_address": "[2001:db8::7]",
            },
        ),
        ({"network_mode": "host", "ports": None}, {"wa_client_web_port": 443}),
        ({"ports": ["53:53/udp"]}, {}),
    ],
)
def test_where_the_webapp_answers(settings: dict[str, t.Any], expected: dict[str, t.Any]) -> None:
    adoption = adopt({"h1": without_files(survey(container("wacore"), container("waweb", settings=settings)))})
    assert variables(adoption) == {**PLAIN, **expected}
    assert ("biz-waweb-1 publishes no port of its API" in text(adoption)) is (settings["ports"] == ["53:53/udp"])


def test_what_the_compose_file_of_the_role_leaves_out_is_an_action() -> None:
    core = container(
        "wacore",
        environment={"TZ": "Asia/Kolkata", "PRICE": "5$"},
        settings={
            "volumes": ["biz_whatsappMedia:/usr/local/wamedia", "certs:/opt/certs:ro"],
            "labels": {"team": "x"},
            "networks": {"biz_default": {"aliases": ["core"]}, "shared": {}},
            "logging": {"driver": "syslog"},
        },
    )
    adoption = adopt({"h1": without_files(survey(core, container("waweb")))})
    assert variables(adoption) == PLAIN
    assert text(adoption).count(f"1. h1: {TITLE}\n") == 1
    assert left_out(adoption) == [
        "wacore (biz-wacore-1): environment: PRICE, TZ",
        "wacore (biz-wacore-1): labels: team",
        'wacore (biz-wacore-1): networks: biz_default {"aliases": ["core"]}, shared',
        "wacore (biz-wacore-1): volumes: certs:/opt/certs:ro",
        'wacore (biz-wacore-1): logging: {"driver": "syslog"}',
    ]


def test_what_all_hosts_have_beyond_the_role_is_one_action() -> None:
    surveys = {f"h{number}": without_files(member(number)) for number in (1, 2, 3)}
    for host, one in surveys.items():
        for each in one["containers"]:
            each["environment"] = {key: value for key, value in each["environment"].items() if key != "WACORE_HOSTNAME"}
            each["environment"].update({"TZ": "UTC"} if each["role"] == "core" else {})
            each["settings"].update({"init": True} if host == "h3" and each["role"] == "web" else {})
    report = adopt(surveys).report
    assert [line for line in report if line.endswith(TITLE)] == [f"1. h1, h2: {TITLE}", f"2. h3: {TITLE}"]


@pytest.mark.parametrize(
    ("containers", "action"),
    [
        (
            [container(one, image=f"r/whatsapp/{image}:latest") for one, image in (("wacore", "coreapp"), ("waweb", "web"))],
            "the image of biz-wacore-1 on h1 is r/whatsapp/coreapp:latest, and the collection looks for r/whatsapp/coreapp:vVERSION",
        ),
        (
            [container("wacore"), container("core-b"), container("waweb")],
            "it has core1, core2, web without WA_APP_MULTICONNECT=1",
        ),
        (
            [container("wacore"), container("master"), container("waweb")],
            "it has core1, master1, web without WA_APP_MULTICONNECT=1",
        ),
        (
            [container(one, environment=MULTI) for one in ("wacore", "master", "waweb")]
            + [container("web", role="web", environment=MULTI)],
            "provision.yml refuses this client\n   - deployment h1: wa_client_services: web of h1 twice (h1, h1)\n",
        ),
        ([container("waweb")], "no container is its Coreapp"),
        ([container("wacore")], "no container is its Webapp"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("gone", [True, False])
def test_a_client_that_provision_refuses_stops_no_adoption(
    containers: list[dict[str, t.Any]], action: str, gone: bool
) -> None:
    found = survey(*copy.deepcopy(containers))
    one = without_files(found) if gone else found
    adoption = adopt({"h1": one, "h2": without_files(single(env={**ENV, "WA_DB_NAME_PREFIX": "x_"}))})
    assert adoption.deployments == ["h1", "h2"]
    assert text(adoption).count(action) == 1
    assert compose_file(adoption, "h2")["name"] == "biz"


def test_a_client_whose_compose_file_is_refused_has_an_action() -> None:
    def refuse(hostvars: Hostvars, host: str, groups: Groups) -> tuple[dict[str, t.Any], str]:
        if host == "h1":
            raise WaError("wa_x", "1", "2", "Set it to 2")
        return render(hostvars, host, groups)

    surveys = {
        host: without_files(single(env={**ENV, "WA_DB_NAME_PREFIX": prefix}))
        for host, prefix in (("h1", ""), ("h2", "x_"))
    }
    adoption = adopt(surveys, rendered=refuse)
    assert " h1: provision.yml refuses this client\n   - wa_x: 1\n   - expected: 2\n   - To do: Set it to 2\n" in text(
        adoption
    )
    assert text(adoption).count("refuses this client") == 1
    assert variables(adoption) == PLAIN
    assert titles(adoption) == ["## The role's Compose file for h2"]


def test_a_service_with_the_name_of_the_migration_is_an_action() -> None:
    ours = [container("dbupgrade"), container("waweb")]
    adoption = adopt({"h1": without_files(survey(*ours))})
    facts = "wa_client_service_names: dbupgrade for wacore\n   - expected: another name for each kind of service"
    assert f"1. h1: provision.yml refuses this client\n   - {facts}" in text(adoption)
    assert variables(adoption)["wa_client_service_names"] == {"wacore": "dbupgrade"}
    assert (adoption.compose_files, left_out(adoption)) == ([], [])


@pytest.mark.parametrize("project", ["biz", ""])
def test_the_compose_file_of_a_client_of_unknown_version_is_not_rendered(project: str) -> None:
    asked: list[str] = []

    def watched(hostvars: Hostvars, host: str, groups: Groups) -> tuple[dict[str, t.Any], str]:
        asked.append(host)
        return render(hostvars, host, groups)

    def one(tag: str, prefix: str) -> dict[str, t.Any]:
        images = (("wacore", "coreapp"), ("waweb", "web"))
        ours = [container(each, project, image=f"r/whatsapp/{image}:{tag}") for each, image in images]
        return without_files(survey(*ours, env={**ENV, "WA_DB_NAME_PREFIX": prefix}))

    surveys = {"h1": one("latest", ""), "h2": one("v2.51.2", "x_")}
    adoption = adopt(surveys, rendered=watched)
    assert ("wa_version" in variables(adoption), asked) == (False, ["h2"])
    assert titles(adoption) == ["## The role's Compose file for h2"]
    assert "   - until it is, provision.yml recreates nothing, or is refused, and upgrade.yml is refused\n" in text(
        adoption
    )


def test_a_container_that_the_role_has_no_service_for_is_left_out_as_a_whole() -> None:
    others = [container("wacore-b", settings={"init": True}), container("master")]
    adoption = adopt({"h1": without_files(survey(container("wacore"), container("waweb"), *others))})
    whole = "the whole container: the file has no service for it"
    assert left_out(adoption) == [f"{name} (biz-{name}-1): {whole}" for name in ("wacore-b", "master")]
    assert list(compose_file(adoption)["services"]) == ["wacore", "waweb", "dbupgrade"]


def test_ports_beyond_the_last_are_an_action() -> None:
    surveys = {f"h{number}": without_files(member(number)) for number in (1, 2)}
    for one in surveys.values():
        for each in one["containers"]:
            each["environment"]["COREAPP_EXTERNAL_PORTS"] = "65534"
    assert "provision.yml refuses this client\n   - wa_client_core_port: 65534: wacore1 gets 65537\n" in text(
        adopt(surveys)
    )


def test_an_edited_db_env_is_a_change_of_the_next_upgrade() -> None:
    report = text(adopt({"h1": single(env={**ENV, "WA_DB_PORT": "3307", "WA_DB_PASSWORD": "Canary-new"})}))
    edited = "its env file was edited after the container was created"
    assert f"- changes WA_DB_PORT of biz-wacore-1 from 3306 to 3307: {edited}\n" in report
    assert f"- changes WA_DB_PASSWORD of biz-wacore-1: {edited}\n" in report
    assert "Canary" not in report


@pytest.mark.parametrize(
    ("surveys", "line"),
    [
        (
            {"h1": survey(container("wacore"), container("waweb", image="r/whatsapp/web:v2.53.4"))},
            "more than one version runs\n   - 2.51.2: biz-wacore-1 on h1\n   - 2.53.4: biz-waweb-1 on h1\n"
            "   - provision.yml refuses that\n",
        ),
        ({"h1": survey(container("wacore"))}, "no container is its Webapp"),
        ({"h1": single(files=[])}, "no env file was found; read from the containers"),
        ({"h1": single("")}, "is refused as long as the containers are outside Compose"),
        ({"h1": survey(container("wacore", image="r/whatsapp/coreapp:2.51.2"), container("waweb"))}, "and the collection looks for r/whatsapp/coreapp:v2.51.2\n"),
        (
            {"h1": member(1, volumes=[{"Name": "biz_whatsappMedia", "Driver": "local", "Options": None}]), "h2": member(2)},
            "the other hosts do not find media that this host receives",
        ),
        ({"h1": survey(*(container(one, environment=MULTI) for one in ("wacore", "waweb")))}, "no container is its master"),
        (
            {"h1": single(autostart=[{"kind": "container", "path": "watchtower", "line": "w:1, running"}])},
            "the container watchtower on h1 (w:1, running) restarts or replaces containers",
        ),
        (
            {"h1": survey(container("wacore", image="r/whatsapp/coreapp:V2.51.2@sha256:1"), container("waweb"))},
            "1. h1: the image of biz-wacore-1 on h1 is r/whatsapp/coreapp:V2.51.2@sha256:1, and the collection looks for "
            "r/whatsapp/coreapp:v2.51.2\n   - until it is, provision.yml recreates nothing, or is refused, and upgrade.yml is refused\n"
            "   - To do:\n     1. On h1: `docker tag r/whatsapp/coreapp:V2.51.2@sha256:1 r/whatsapp/coreapp:v2.51.2`, and the same in the "
            "registry\n",
        ),
        (
            {"h1": survey(container("wacore", next_image=f"{REGISTRY}/coreapp:v2.53.4"), container("waweb"))},
            f"1. h1: `docker compose up` in /srv/biz would start {REGISTRY}/coreapp:v2.53.4, and biz-wacore-1 on h1 runs "
            f"{REGISTRY}/coreapp:v2.51.2\n   - To do: Set there what runs, and run adopt.yml again; upgrade.yml is the way to another version\n",
        ),
        ({"h1": survey()}, "There is nothing to adopt"),
    ],
)  # fmt: skip
def test_the_report_says(surveys: dict[str, t.Any], line: str) -> None:
    assert line in text(adopt(surveys))


def test_a_host_that_was_not_read_is_named() -> None:
    report = text(adopt({"h1": single()}, {"h2": "no permission"}))
    assert "1. h2: it was not read\n   - no permission\n   - To do: Correct it, and run adopt.yml again" in report


def test_media_that_are_mounted_directly_get_a_volume_over_the_same_folder() -> None:
    mounts = [["bind", "/data/media", "/usr/local/wamedia"]]
    settings = {"volumes": ["/data/media:/usr/local/wamedia"]}
    both = [container(name, mounts=mounts, settings=settings) for name in ("wacore", "waweb")]
    adoption = adopt({"h1": without_files(survey(*both))})
    found = variables(adoption)
    assert found["wa_media_volume_driver_options"] == {"type": "none", "o": "bind", "device": "/data/media"}
    assert compose_file(adoption)["volumes"]["media"]["name"] == found["wa_media_volume_name"]
    assert left_out(adoption) == []


def test_what_compose_run_has_left_is_no_coreapp() -> None:
    left = container("wacore", name="biz-wacore-run-1", one_shot=True, state="exited", number=2)
    adoption = adopt({"h1": without_files(survey(container("wacore"), container("waweb"), left))})
    assert "biz-wacore-run-1 is no service, but a migration or left over from a test (exited)" in text(adoption)
    assert "scale" not in compose_file(adoption)["services"]["wacore"]
    assert left_out(adoption) == []


@pytest.mark.parametrize(("owner", "expected"), [("root", None), ("deploy", "deploy"), ("1007", "1007")])
def test_the_file_stays_with_its_owner(owner: str, expected: str | None) -> None:
    found = single()
    found["files"][0]["owner"] = owner
    assert adopt({"h1": found}).documents["host_vars/h1/vars.yml"].get("wa_db_env_owner") == expected


def test_a_service_with_several_containers_is_scaled() -> None:
    cores = [container("wacore", name=f"biz-wacore-{number}", number=number, environment=MULTI) for number in (1, 2)]
    others = [container(one, environment=MULTI) for one in ("master", "waweb")]
    adoption = adopt({"h1": without_files(survey(*cores, *others))})
    services = compose_file(adoption)["services"]
    assert (services["wacore"]["scale"], "scale" in services["master"]) == (2, False)
    assert left_out(adoption) == ["waweb (biz-waweb-1): environment: WACORE_HOSTNAME"]


def test_another_env_file_of_a_service_is_left_out() -> None:
    file = {"path": "/srv/biz/web.env", "problem": "", "mode": "0600", "owner": "root", "group": "root"}
    file["text"] = "".join(f"{key}={value}\n" for key, value in {**ENV, "WA_API_KEY": "Canary-key"}.items())
    web = container("waweb", environment={"WA_API_KEY": "Canary-key"}, env_files=["/srv/biz/web.env"])
    found = without_files(survey(container("wacore"), web))
    found["files"].append(file)
    adoption = adopt({"h1": found})
    assert left_out(adoption) == ["waweb (biz-waweb-1): env_file: /srv/biz/web.env"]
    assert "Canary" not in written(adoption)
    assert (
        "biz-waweb-1 has database settings from /srv/biz/web.env, and the collection manages /srv/biz/db.env only; change them in both"
        in text(adoption)
    )


def test_other_env_files_are_left_out_of_a_client_whose_db_env_is_written() -> None:
    file = {
        "path": "/srv/biz/web.env",
        "problem": "",
        "text": "A=1\n",
        "mode": "0600",
        "owner": "root",
        "group": "root",
    }
    web = container("waweb", environment={"A": "1"}, env_files=["/srv/biz/web.env"])
    adoption = adopt({"h1": without_files(survey(container("wacore", env_files=[]), web, files=[file]))})
    services = compose_file(adoption)["services"]
    assert [services[one]["env_file"] for one in ("wacore", "waweb")] == [["/opt/waba/h1/db.env"]] * 2
    assert left_out(adoption) == ["waweb (biz-waweb-1): env_file: /srv/biz/web.env"]


def test_settings_of_the_compose_file_are_added_to_a_db_env_that_lacks_them() -> None:
    env = {key: value for key, value in ENV.items() if key != "WA_DB_PASSWORD"}
    adoption = adopt({"h1": single(env=env)})
    assert adoption.secrets == {"host_vars/h1/vault.yml": {"wa_db_env_password": "Canary-secret-1"}}
    assert "refuses" not in text(adoption)


def test_a_url_with_a_password_is_a_secret() -> None:
    url = "https://wa:Canary-url@example.com/"
    adoption = adopt({"h1": survey(container("wacore"), container("waweb", environment={"HOOK": url}))})
    assert "Canary" not in written(adoption)
    adoption = adopt({"h1": without_files(survey(container("wacore"), container("waweb", environment={"HOOK": url})))})
    assert "Canary" not in written(adoption)


def test_links_and_shared_networks_within_the_client_are_not_left_out() -> None:
    links = ["biz-wacore-1:engine", "biz-wacore-1:wacore", "biz-wacore-1:wacore-1", "biz-wacore-1:biz-wacore-1"]
    web = container("waweb", settings={"external_links": links})
    settings = {"network_mode": "container:biz-waweb-1", "networks": None, "ports": None}
    proxy = container("proxy", image="proxy:1", env_files=[], settings=settings)
    adoption = adopt({"h1": without_files(survey(container("wacore"), web, sidecars=[proxy]))})
    assert "- biz-proxy-1 (running, proxy:1), on the network of another container: recreate it with that\n" in text(
        adoption
    )
    assert left_out(adoption) == []


@pytest.mark.parametrize(("port", "lines"), [("3306", []), ("3307", ["environment: WA_DB_PORT"])])
def test_what_the_compose_file_sets_over_db_env_is_left_out_unless_it_is_the_same(port: str, lines: list[str]) -> None:
    services, keys = ("wacore", "waweb"), ["WA_DB_PORT", "WA_CONFIG_ON_DB", "WACORE_HOSTNAME"]
    both = [container(service, environment={"WA_DB_PORT": port}, own_keys=keys) for service in services]
    adoption = adopt({"h1": without_files(survey(*both))})
    assert "wa_db_env_port" not in variables(adoption)  # it is the default
    assert left_out(adoption) == [f"{service} (biz-{service}-1): {line}" for service in services for line in lines]


def test_the_compose_files_of_the_newest_container_count() -> None:
    both = ["/srv/biz/docker-compose.yml", "/srv/biz/more.yml"]
    web = container("waweb", files=both, created="2026-04-01T00:00:00.000000000Z")
    adoption = adopt({"h1": survey(container("wacore"), web)})
    assert variables(adoption, "h1")["wa_client_compose_files"] == both
    assert "the inventory has those of biz-waweb-1, which is the newest" in text(adoption)


def test_what_was_tried_by_hand_and_has_ended_is_no_client() -> None:
    tried = container("x", "", state="exited", environment=dict.fromkeys(ENV), one_shot=True)
    adoption = adopt({"h1": survey(container("wacore"), container("waweb"), tried)})
    assert adoption.deployments == ["h1"]


KEY = {"WA_WEB_JWT_CRYPTO_KEY": "Canary-key-1"}


@pytest.mark.parametrize(
    ("path", "gone", "secret", "skipped"),
    [
        ("/srv/biz/db.env", False, True, None),
        ("/srv/biz/web.env", False, False, ["common_key"]),
        ("", False, False, ["common_key"]),
        ("/srv/biz/db.env", True, True, None),
        ("/srv/biz/web.env", True, True, None),
        ("", True, True, None),
    ],
)
def test_the_key_of_webapps_goes_to_db_env_unless_the_operators_files_have_it(
    path: str, gone: bool, secret: bool, skipped: list[str] | None
) -> None:
    surveys = {f"h{number}": member(number) for number in (1, 2)}
    for one in surveys.values():
        web = next(each for each in one["containers"] if each["role"] == "web")
        for each in one["containers"]:
            each["environment"].pop("WACORE_HOSTNAME", None)
            if each is not web:
                del each["environment"]["WA_WEB_JWT_CRYPTO_KEY"]
        files = {file["path"]: file for file in one["files"]}
        if path:
            file = files.setdefault(path, {**one["files"][0], "path": path, "text": ""})
            file["text"] += "WA_WEB_JWT_CRYPTO_KEY=Canary-key-1\n"
        one["files"] = list(files.values())
        web["env_files"] = [name for name in dict.fromkeys(["/srv/biz/db.env", path]) if name]
    adoption = adopt({host: without_files(one) for host, one in surveys.items()} if gone else surveys)
    assert "refuses this client" not in text(adoption)
    assert "Canary" not in written(adoption)
    assert adoption.secrets["group_vars/biz/vault.yml"].get("wa_db_env_extra_secrets") == (KEY if secret else None)
    assert adoption.documents["group_vars/biz/vars.yml"].get("wa_client_skip") == skipped
    assert [line for line in left_out(adoption) if "WA_WEB_JWT_CRYPTO_KEY" in line] == []


@pytest.mark.parametrize("roles", [("web",), ("web", "core", "master")])
def test_webapps_without_a_key_and_media_on_the_hosts_own_disk_are_skipped_and_reported(roles: tuple[str, ...]) -> None:
    volumes = [{"Name": "biz_whatsappMedia", "Driver": "local", "Options": None}]
    surveys = {f"h{number}": member(number, volumes=volumes) for number in (1, 2)}
    for one in (each for found in surveys.values() for each in found["containers"] if each["role"] in roles):
        del one["environment"]["WA_WEB_JWT_CRYPTO_KEY"]
    adoption = adopt(surveys)
    assert adoption.documents["group_vars/biz/vars.yml"]["wa_client_skip"] == ["common_key", "shared_media"]
    assert "- its Webapps have no common WA_WEB_JWT_CRYPTO_KEY: a login at one is unknown to the others" in text(
        adoption
    )
    assert "refuses this client" not in text(adoption)


def test_different_keys_of_webapps_are_no_common_key() -> None:
    surveys = {f"h{number}": without_files(member(number)) for number in (1, 2)}
    for each in surveys["h2"]["containers"]:
        each["environment"]["WA_WEB_JWT_CRYPTO_KEY"] = "Canary-key-2"
    adoption = adopt(surveys)
    assert "- its Webapps have no common WA_WEB_JWT_CRYPTO_KEY: a login at one is unknown to the others" in text(
        adoption
    )
    assert "Canary" not in written(adoption)
    assert adoption.documents["group_vars/biz/vars.yml"]["wa_client_skip"] == ["common_key"]
    assert [key for one in adoption.secrets.values() for key in one if "extra" in key] == []


def test_an_env_file_that_wins_over_db_env_is_told() -> None:
    later = {"path": "/srv/biz/secret.env", "problem": "", "text": "WA_DB_PASSWORD=Canary-secret-1\n", "mode": "0600"}
    found = survey(
        *(container(one, env_files=["/srv/biz/db.env", "/srv/biz/secret.env"]) for one in ("wacore", "waweb"))
    )
    found["files"].append(later)
    report = text(adopt({"h1": found}))
    assert (
        "biz-wacore-1 has database settings from /srv/biz/secret.env, and the collection manages /srv/biz/db.env only"
        in report
    )


@pytest.mark.parametrize(
    ("containers", "recorded"),
    [
        ([container("wacore", ""), container("waweb", "")], ["wacore", "waweb"]),
        ([container("wacore", "", state="exited"), container("waweb", "")], ["wacore", "waweb"]),
        ([container("wacore", ""), container("wacore-old", "", state="exited"), container("waweb", "")], ["wacore", "waweb"]),
        ([container("wacore", "", state="exited"), container("other", "", state="exited"), container("waweb", "")], ["waweb"]),
    ],
)  # fmt: skip
def test_names_are_recorded_outside_compose_where_only_they_tell_what_to_start(
    containers: list[dict[str, t.Any]], recorded: list[str]
) -> None:
    assert variables(adopt({"h1": survey(*containers)}))["wa_client_container_names"] == recorded
    assert "wa_client_container_names" not in variables(adopt({"h1": single()}))


def env_of(path: str, mode: str, *keys: str) -> dict[str, t.Any]:
    """An env file with some of the settings."""
    text = "".join(f"{key}={ENV[key]}\n" for key in keys)
    return {"path": path, "target": path, "problem": "", "text": text, "mode": mode, "owner": "root", "group": "root"}


def test_the_env_file_with_the_password_is_looked_after() -> None:
    paths = ["/srv/biz/db.env", "/srv/biz/secret.env"]
    others = [key for key in ENV if key != "WA_DB_PASSWORD"]
    files = [env_of(paths[0], "0644", *others), env_of(paths[1], "0600", "WA_DB_PASSWORD")]
    found = survey(*(container(one, env_files=paths) for one in ("wacore", "waweb")), files=files)
    adoption = adopt({"h1": found})
    assert variables(adoption)["wa_env_file"] == "/srv/biz/secret.env"


def test_a_password_is_not_written_where_others_read_it() -> None:
    found = single(files=[env_of("/srv/biz/db.env", "0644", *(key for key in ENV if key != "WA_DB_PASSWORD"))])
    adoption = adopt({"h1": found})
    assert "wa_db_env_mode" not in variables(adoption)
    assert "others on the host read the password" not in text(adoption)


def test_a_password_is_written_where_a_group_reads_it() -> None:
    found = single(files=[env_of("/srv/biz/db.env", "0640", *(key for key in ENV if key != "WA_DB_PASSWORD"))])
    assert variables(adopt({"h1": found}))["wa_db_env_mode"] == "0640"


def test_the_inventory_has_the_target_of_a_link() -> None:
    found = single()
    found["files"][0]["target"] = "/srv/shared/db.env"
    assert variables(adopt({"h1": found}))["wa_env_file"] == "/srv/shared/db.env"


def of_version(project: str, image: str, env: str) -> list[dict[str, t.Any]]:
    """A client of a project, with its image in the shared Compose file and an env file of its own."""
    return [
        container(one, project, declared={"image": image}, interpolation_files=[env]) for one in ("wacore", "waweb")
    ]


@pytest.mark.parametrize(
    ("image", "envs", "shared"),
    [
        ("r/coreapp:v2.51.2", ("/srv/biz/a.env", "/srv/biz/b.env"), "/srv/biz/docker-compose.yml"),
        ("r/coreapp:v${V:-2.51.2}", ("/srv/biz/a.env", "/srv/biz/b.env"), "/srv/biz/docker-compose.yml"),
        ("r/coreapp:v${WA}", ("/srv/biz/v.env", "/srv/biz/v.env"), "/srv/biz/v.env"),
        ("r/coreapp:v${WA:-2.51.2}", ("/srv/biz/v.env", "/srv/biz/w.env"), ""),
    ],
)
def test_two_clients_with_their_version_in_one_file(image: str, envs: tuple[str, str], shared: str) -> None:
    files = [
        {**env_of(path, "0600"), "text": text}
        for path, text in {"/srv/biz/v.env": "WA=2.51.2\n", "/srv/biz/w.env": "WA=2.51.2\n"}.items()
    ]
    both = survey(*of_version("eu", image, envs[0]), *of_version("us", image, envs[1]))
    both["files"] += files
    report = text(adopt({"h1": both}))
    assert (f"h1-eu: has its version in the same file as h1-us: {shared}" in report) is bool(shared)
    assert (f"h1-us: has its version in the same file as h1-eu: {shared}" in report) is bool(shared)


def test_two_clients_with_a_file_in_common_and_the_version_in_others() -> None:
    both = survey(*of_version("eu", "r/coreapp:v2.51.2", ""), *of_version("us", "r/coreapp:v2.51.2", ""))
    for one in both["containers"]:
        one["operators_files"] = ["/srv/biz/common.yml", f"/srv/biz/{one['project']}.yml"]
    assert "has its version in the same file" not in text(adopt({"h1": both}))


def test_projects_of_one_deployment_share_the_version() -> None:
    one, two = member(1), member(1)
    for found in two["containers"]:
        found.update(project="biz2", name=f"{found['name']}-2", id=f"2{found['id'][1:]}")
    both = {**one, "containers": [*one["containers"], *two["containers"]]}
    assert "has its version in the same file" not in text(adopt({"h1": both}))
