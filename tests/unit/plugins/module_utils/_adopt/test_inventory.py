# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what was read of hosts to the inventory that describes them: everything but reading and writing."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from adopt_samples import ENV, MULTI, Made, adopt, container, member, render, single, survey, without_files

from ansible_collections.waba.onprem.plugins.module_utils._adopt import placing
from ansible_collections.waba.onprem.plugins.module_utils._adopt.inventory import Groups, Hostvars
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import layout


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


def test_a_client_that_runs_from_the_roles_own_file_is_described_as_such() -> None:
    adoption = adopt({"h1": without_files(single())})
    assert variables(adoption) == PLAIN
    assert adoption.secrets == {"host_vars/h1/vault.yml": {"wa_db_env_password": "Canary-secret-1"}}
    assert adoption.compose_files == []


def test_a_setting_without_an_option_of_its_own_is_an_extra_variable() -> None:
    kept = variables(adopt({"h1": without_files(single(env={**ENV, "WA_DB_PERSISTENT": "0"}))}))
    assert kept == {**PLAIN, "wa_db_env_extra": {"WA_DB_PERSISTENT": "0", "WA_CONFIG_ON_DB": ""}}


def test_a_client_with_its_own_compose_files_gets_no_other() -> None:
    adoption = adopt({"h1": single(), "h2": single("")})
    assert titles(adoption) == ["## The role's Compose file for h2"]


RUN = {
    "wa_project": "",
    "wa_registry": "registry.example.com/whatsapp",
    "wa_version": "2.51.2",
    "wa_db_env_engine": "MYSQL",
    "wa_db_env_hostname": "db.example.com",
    "wa_db_env_username": "wa",
    "wa_media_volume_name": "biz_whatsappMedia",
    "wa_client_container_names": ["wacore", "waweb"],
}


def test_of_docker_run_the_compose_file_is_that_of_the_project_to_move_into() -> None:
    adoption = adopt({"h1": single("")})
    made = compose_file(adoption)
    assert variables(adoption) == RUN
    rendered = render({"h1": {key: value for key, value in RUN.items() if value}}, "h1", {"all": ["h1"]})
    assert made == yaml.safe_load(rendered)
    assert (made["name"], made["networks"]) == ("wa-h1", {"default": {"name": "wa-h1_default"}})
    assert (
        "1. h1: upgrade.yml refuses it as long as its containers are outside Compose\n"
        "   - To do: Move them into the project wa-h1 by five commands (docs/guides/adopt.md, Move a client into a Compose project). Its "
        "Compose file is at the end of report.md: compare it with your docker run commands\n"
    ) in text(adoption)


def test_no_secret_is_in_what_is_written_in_clear() -> None:
    own = container("waweb", environment={"WA_API_KEY": "Canary-api-key"})
    beside = {
        **container("db"),
        "image": "mysql:8",
        "environment": {"MYSQL_ROOT_PASSWORD": "Canary-root"},
        "env_files": [],
    }
    adoption = adopt({"h1": survey(container("wacore"), own, sidecars=[beside])})
    assert "Canary" not in written(adoption)
    assert adoption.secrets == {"host_vars/h1/vault.yml": {"wa_db_env_password": "Canary-secret-1"}}


def test_hosts_of_one_database_are_one_deployment() -> None:
    adoption = adopt({"h1": member(1), "h2": member(2), "h3": single(env={**ENV, "WA_DB_NAME_PREFIX": "x_"})})
    assert adoption.deployments == ["biz", "h3"]
    assert adoption.documents["inventory.yml"]["all"]["children"] == {"biz": {"hosts": {"h1": {}, "h2": {}}}}
    shared = adoption.documents["group_vars/biz/vars.yml"]
    assert (shared["wa_deployment"], shared["wa_topology"]) == ("biz", "high_availability")
    assert variables(adoption, "h2")["wa_client_services"] == ["web", "core2", "master2"]
    assert variables(adoption, "h2")["wa_client_service_names"] == {"wacore2": "wacore", "master2": "master"}
    assert variables(adoption, "h2")["wa_client_address"] == "h2.example.com"
    assert set(adoption.secrets) == {"group_vars/biz/vault.yml", "host_vars/h3/vault.yml"}


def test_two_projects_of_one_machine_are_two_names() -> None:
    other = [
        container(name, "biz2", files=["/srv/biz2/docker-compose.yml"], ports=["9190:443"] if name == "waweb" else [])
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
            {"wa_client_web_port": 9191, "wa_client_web_bind_address": "192.0.2.7"},
        ),
        (
            {"ports": ["[2001:db8::7]:8443:443"]},
            {
                "wa_client_web_port": 8443,
                "wa_client_web_bind_address": "[2001:db8::7]",
            },
        ),
        ({"network_mode": "host", "ports": []}, {"wa_client_web_port": 443}),
        ({"ports": ["53:53/udp"]}, {}),
    ],
)
def test_where_the_webapp_answers(settings: dict[str, t.Any], expected: dict[str, t.Any]) -> None:
    adoption = adopt({"h1": without_files(survey(container("wacore"), container("waweb", **settings)))})
    assert variables(adoption) == {**PLAIN, **expected}
    assert ("biz-waweb-1 publishes no port of its API" in text(adoption)) is (settings["ports"] == ["53:53/udp"])


def test_why_the_compose_file_of_a_client_is_refused_is_in_its_place() -> None:
    def refuse(hostvars: Hostvars, host: str, groups: Groups) -> str:
        if host == "h1":
            raise WaError("wa_x", "1", "2", "Set it to 2")
        return render(hostvars, host, groups)

    adoption = adopt({"h1": single(""), "h2": single("")}, rendered=refuse)
    assert titles(adoption) == [f"## The role's Compose file for {name}" for name in ("h1", "h2")]
    assert adoption.compose_files[4] == "# provision.yml refuses it: wa_x: 1; expected 2. Set it to 2"
    assert variables(adoption) == RUN


@pytest.mark.parametrize(
    ("surveys", "line"),
    [
        ({"h1": single("")}, "upgrade.yml refuses it as long as its containers are outside Compose"),
        (
            {"h1": single(autostart=[{"kind": "container", "path": "watchtower", "line": "w:1, running"}])},
            "the container watchtower on h1 (w:1, running) restarts or replaces containers",
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
    adoption = adopt({"h1": survey(*(container(name, "", mounts=mounts) for name in ("wacore", "waweb")))})
    found = variables(adoption)
    assert found["wa_media_volume_driver_options"] == {"type": "none", "o": "bind", "device": "/data/media"}
    assert "wa_media_volume_name" not in found
    assert compose_file(adoption)["volumes"]["media"]["name"] == "wa-h1_whatsappMedia"


def test_a_host_with_nothing_but_a_master_without_media_has_no_volume_to_name() -> None:
    master = survey(container("master", environment=MULTI, mounts=[]))
    first = member(1)
    for one in first["containers"]:
        one["mounts"] = [["volume", "media", "/usr/local/wamedia"]]
    adoption = adopt({"h1": first, "h2": master})
    assert adoption.deployments == ["biz"]
    assert variables(adoption)["wa_media_volume_name"] == "media"
    assert "wa_media_volume_name" not in variables(adoption, "h2")


def test_what_compose_run_has_left_is_no_coreapp() -> None:
    left = container("wacore", name="biz-wacore-run-1", one_shot=True, state="exited", number=2)
    adoption = adopt({"h1": survey(container("wacore"), container("waweb"), left)})
    assert adoption.deployments == ["h1"]


@pytest.mark.parametrize(("owner", "expected"), [("root", None), ("deploy", "deploy"), ("1007", "1007")])
def test_the_file_stays_with_its_owner(owner: str, expected: str | None) -> None:
    found = single()
    found["files"][0]["owner"] = owner
    assert adopt({"h1": found}).documents["host_vars/h1/vars.yml"].get("wa_db_env_owner") == expected


def test_several_nodes_of_docker_run_are_several_services() -> None:
    ours = [container(one, "", role=role, environment=MULTI) for one, role in (("a", "core"), ("b", "core"))]
    others = [container(one, "", environment=MULTI) for one in ("master", "waweb")]
    adoption = adopt({"h1": survey(*ours, *others)})
    assert sorted(compose_file(adoption)["services"]) == ["dbupgrade", "master1", "wacore1", "wacore2", "waweb"]


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


def test_the_compose_files_of_the_newest_container_count() -> None:
    both = ["/srv/biz/docker-compose.yml", "/srv/biz/more.yml"]
    web = container("waweb", files=both, created="2026-04-01T00:00:00.000000000Z")
    adoption = adopt({"h1": survey(container("wacore"), web)})
    assert variables(adoption, "h1")["wa_client_compose_files"] == both
    comments = placing.place(adoption.adoption.hosts, {}).comments["host_vars/h1/vars.yml"]
    assert comments["wa_client_compose_files"] == (
        "Those of biz-waweb-1, the newest container; others were started from other files."
    )


def test_what_was_tried_by_hand_and_has_ended_is_no_client() -> None:
    tried = container("x", "", state="exited", environment=dict.fromkeys(ENV), one_shot=True)
    adoption = adopt({"h1": survey(container("wacore"), container("waweb"), tried)})
    assert adoption.deployments == ["h1"]


def test_what_a_cluster_of_the_roles_own_file_must_have_is_not_asked_of_an_operators() -> None:
    """A share for the media, and one key for all Webapps: their own files have that, or go without."""
    volumes = [{"Name": "biz_whatsappMedia", "Driver": "local", "Options": None}]
    adoption = adopt({f"h{number}": member(number, volumes=volumes) for number in (1, 2)})
    assert adoption.deployments == ["biz"]
    assert adoption.secrets == {"group_vars/biz/vault.yml": {"wa_db_env_password": "Canary-secret-1"}}
    hostvars = {name: {**variables(adoption, name), "ansible_host": name} for name in ("h1", "h2")}
    deployment = {"name": "biz", "members": ["h1", "h2"], "leader": "h1"}
    assert list(layout.layout(hostvars, deployment, "high_availability")) == ["h1", "h2"]


def test_of_a_cluster_of_docker_run_the_report_says_what_it_lacks_in_a_project() -> None:
    surveys = {f"h{number}": member(number) for number in (1, 2)}
    for one in surveys.values():
        for each in one["containers"]:
            each.update(project="", files=[], operators_files=[], folder="", name=each["service"])
    adoption = adopt(surveys)
    lacking = "# provision.yml refuses it: deployment waba: WA_WEB_JWT_CRYPTO_KEY: not set for h1, h2"
    assert [line[: len(lacking)] for line in adoption.compose_files].count(lacking) == 2
    hostvars = {name: {**variables(adoption, name), "wa_media_volume_driver_options": {}} for name in ("h1", "h2")}
    deployment = {"name": "waba", "members": ["h1", "h2"], "leader": "h1"}
    assert list(layout.layout(hostvars, deployment, "high_availability")) == ["h1", "h2"]


@pytest.mark.parametrize(
    ("containers", "recorded"),
    [
        ([container("wacore", ""), container("waweb", "")], ["wacore", "waweb"]),
        ([container("wacore", "", state="exited"), container("waweb", "")], ["wacore", "waweb"]),
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


def test_a_password_is_written_where_a_group_reads_it() -> None:
    found = single(files=[env_of("/srv/biz/db.env", "0640", *(key for key in ENV if key != "WA_DB_PASSWORD"))])
    assert variables(adopt({"h1": found}))["wa_db_env_mode"] == "0640"


def test_the_roles_own_path_of_the_env_file_is_not_repeated() -> None:
    found = without_files(single())
    found["files"][0]["target"] = "/opt/waba/h1/db.env"
    assert "wa_env_file" not in variables(adopt({"h1": found}))


def test_the_inventory_has_the_target_of_a_link() -> None:
    found = single()
    found["files"][0]["target"] = "/srv/shared/db.env"
    assert variables(adopt({"h1": found}))["wa_env_file"] == "/srv/shared/db.env"
