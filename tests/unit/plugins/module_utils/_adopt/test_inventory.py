# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what was read of hosts to the inventory that describes them: everything but reading and writing."""

from __future__ import annotations

import typing as t

import pytest
from adopt_samples import ENV, MULTI, container, member, single, survey, without_files

from ansible_collections.waba.onprem.plugins.module_utils._adopt.inventory import Adoption, build


def adopt(surveys: dict[str, t.Any], failed: dict[str, str] | None = None, with_vault: bool = True) -> Adoption:
    return build(surveys, failed or {}, {key: {} for key in surveys}, {}, with_vault)


def text(adoption: Adoption) -> str:
    return "\n".join(adoption.report)


def variables(adoption: Adoption, name: str = "h1") -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", adoption.documents[f"host_vars/{name}/vars.yml"])


PLAIN = {
    "wa_project": "biz",
    "wa_registry": "registry.example.com/whatsapp",
    "wa_version": "2.51.2",
    "wa_env_file": "/srv/biz/db.env",
    "wa_db_env_engine": "MYSQL",
    "wa_db_env_hostname": "db.example.com",
    "wa_db_env_port": 3306,
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
        "wa_upgrade_update_compose_files": False,
    }
    assert adoption.secrets == {"host_vars/h1/vault.yml": {"wa_db_env_password": "Canary-secret-1"}}


def test_a_client_whose_compose_files_are_gone_is_described_by_variables() -> None:
    adoption = adopt({"h1": without_files(single())})
    found = variables(adoption)
    extra = found.pop("wa_client_extra_services")
    assert found == {
        **PLAIN,
        # Compose since 2.31 makes a network of the project anew that its file does not describe to the letter.
        "wa_client_extra_networks": {"default": {"name": "biz_default", "external": True}},
    }
    same = {"restart": "always", "stop_grace_period": None, "healthcheck": None}
    assert extra == {"wacore": same, "waweb": same}
    assert adoption.secrets == {"host_vars/h1/vault.yml": {"wa_db_env_password": "Canary-secret-1"}}


def test_no_secret_is_in_what_is_written_in_clear() -> None:
    own = container("waweb", environment={"WA_API_KEY": "Canary-api-key"})
    beside = {
        **container("db"),
        "image": "mysql:8",
        "environment": {"MYSQL_ROOT_PASSWORD": "Canary-root"},
        "env_files": [],
    }
    adoption = adopt({"h1": without_files(survey(container("wacore"), own, sidecars=[beside]))})
    assert "Canary" not in str(adoption.documents) + text(adoption)
    assert adoption.secrets["host_vars/h1/vault.yml"]["wa_client_extra_secret_environment"] == {
        "waweb": {"WA_API_KEY": "Canary-api-key"},
        "db": {"MYSQL_ROOT_PASSWORD": "Canary-root"},
    }


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


@pytest.mark.parametrize("server", ["localhost", "127.0.0.1", "db"])
def test_a_server_of_the_hosts_own_is_shared_with_nobody(server: str) -> None:
    def one(number: int) -> dict[str, t.Any]:
        found = member(number, sidecars=[{**container("db"), "image": "mysql:8"}])
        for each in found["containers"]:
            each["environment"]["WA_DB_HOSTNAME"] = server
        return found

    assert adopt({"h1": one(1), "h2": one(2)}).deployments == ["h1", "h2"]


def test_two_single_clients_of_one_database_are_told() -> None:
    adoption = adopt({"h1": single(), "h2": single()})
    assert adoption.deployments == ["h1", "h2"]
    assert "h1: shares its database with h2, and neither is a multiconnect client\n" in text(adoption)
    assert "   - running: h1, h2\n   - To do: Stop one of them" in text(adoption)


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


def test_what_the_template_does_not_model_is_carried() -> None:
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
    found = variables(adopt({"h1": without_files(survey(core, container("waweb")))}))
    assert found["wa_client_extra_services"]["wacore"] == {
        "restart": "always",
        "stop_grace_period": None,
        "healthcheck": None,
        "environment": {"TZ": "Asia/Kolkata", "PRICE": "5$$"},
        "volumes": ["media:/usr/local/wamedia", "certs:/opt/certs:ro"],
        "labels": {"team": "x"},
        "networks": {"default": {"aliases": ["core"]}, "shared": {}},
        "logging": {"driver": "syslog", "options": None},
    }
    assert found["wa_client_extra_networks"] == {
        "default": {"name": "biz_default", "external": True},
        "shared": {"name": "shared", "external": True},
    }
    assert found["wa_client_extra_volumes"] == {"certs": {"name": "certs", "external": True}}


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
        ({"h1": survey(container("wacore", state="exited"), container("waweb"))}, "starts biz-wacore-1, which is stopped now"),
        ({"h1": survey(container("wacore"))}, "no container is its Webapp"),
        ({"h1": single(env={**ENV, "WA_DB_CONNECTION_IDLE_TIMEOUT": "180"})}, "provision.yml refuses this client\n   - /srv/biz/db.env"),
        ({"h1": single(files=[])}, "no env file was found; read from the containers"),
        ({"h1": single("")}, "is refused as long as the containers are outside Compose"),
        ({"h1": survey(container("wacore", image="r/whatsapp/coreapp:2.51.2"), container("waweb"))}, "looks for v2.51.2"),
        (
            {"h1": member(1, volumes=[{"Name": "biz_whatsappMedia", "Driver": "local", "Options": None}]), "h2": member(2)},
            "the other hosts do not find media that this host receives",
        ),
        ({"h1": survey(container("wacore"), container("waweb", environment=MULTI))}, "no container is its master"),
        ({"h1": single(autostart=[{"kind": "cron", "path": "/c", "line": "docker exec 0123456789ab cleanup.sh"}])}, "by a container's id"),
        (
            {"h1": single(autostart=[{"kind": "container", "path": "watchtower", "line": "w:1, running"}])},
            "the container watchtower on h1 (w:1, running) may restart",
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
    found = variables(adopt({"h1": without_files(survey(*both))}))
    assert found["wa_media_volume_driver_options"] == {"type": "none", "o": "bind", "device": "/data/media"}
    assert "volumes" not in found["wa_client_extra_services"]["wacore"]


def test_what_compose_run_has_left_is_no_coreapp() -> None:
    left = container("wacore", name="biz-wacore-run-1", one_off=True, state="exited", number=2)
    adoption = adopt({"h1": without_files(survey(container("wacore"), container("waweb"), left))})
    assert "biz-wacore-run-1 is left over from a test (exited)" in text(adoption)
    assert "starts biz-wacore-run-1" not in text(adoption)
    assert "scale" not in variables(adoption)["wa_client_extra_services"]["wacore"]


def test_a_service_that_reads_another_env_file_keeps_it() -> None:
    file = {"path": "/srv/biz/web.env", "problem": "", "mode": "0600", "owner": "root", "group": "root"}
    file["text"] = "".join(f"{key}={value}\n" for key, value in {**ENV, "WA_API_KEY": "Canary-key"}.items())
    web = container("waweb", environment={"WA_API_KEY": "Canary-key"}, env_files=["/srv/biz/web.env"])
    found = without_files(survey(container("wacore"), web))
    found["files"].append(file)
    adoption = adopt({"h1": found})
    assert variables(adoption)["wa_client_extra_services"]["waweb"]["env_file"] == ["/srv/biz/web.env"]
    assert "biz-waweb-1 reads /srv/biz/web.env and not /srv/biz/db.env" in text(adoption)


def test_other_env_files_stand_beside_the_db_env_that_is_written() -> None:
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
    extra = variables(adoption)["wa_client_extra_services"]
    assert extra["waweb"]["env_file"] == ["/srv/biz/web.env", "/opt/waba/h1/db.env"]
    assert "env_file" not in extra["wacore"]


def test_settings_of_the_compose_file_are_added_to_a_db_env_that_lacks_them() -> None:
    env = {key: value for key, value in ENV.items() if key != "WA_DB_PASSWORD"}
    adoption = adopt({"h1": single(env=env)})
    assert adoption.secrets == {"host_vars/h1/vault.yml": {"wa_db_env_password": "Canary-secret-1"}}
    assert "/srv/biz/db.env: set WA_DB_PASSWORD" in text(adoption)
    assert "refuses" not in text(adoption)


def test_a_url_with_a_password_is_a_secret() -> None:
    url = "https://wa:Canary-url@example.com/"
    adoption = adopt({"h1": survey(container("wacore"), container("waweb", environment={"HOOK": url}))})
    assert "Canary" not in str(adoption.documents) + text(adoption)


def test_links_and_shared_networks_are_by_service() -> None:
    links = ["biz-wacore-1:engine", "biz-wacore-1:wacore", "biz-wacore-1:wacore-1", "biz-wacore-1:biz-wacore-1"]
    web = container("waweb", settings={"external_links": links})
    settings = {"network_mode": f"container:{web['id']}", "networks": None, "ports": None}
    proxy = container("proxy", image="proxy:1", env_files=[], settings=settings)
    adoption = adopt({"h1": without_files(survey(container("wacore"), web, sidecars=[proxy]))})
    extra = variables(adoption)["wa_client_extra_services"]
    assert "biz-proxy-1 shares the network of biz-waweb-1" in text(adoption)
    assert extra["waweb"]["links"] == ["wacore:engine"]
    assert extra["proxy"]["network_mode"] == "service:waweb"


def test_what_is_installed_on_the_host_is_told() -> None:
    missing = {"python_requests": "the Python library requests (package python3-requests) cannot be imported"}
    assert f"- installs python_requests: {missing['python_requests']}\n" in text(adopt({"h1": single(missing=missing)}))


def test_outside_compose_a_container_reads_the_file_that_it_has_all_of() -> None:
    core = container("wacore", "", env_files=["/srv/biz/db.env"])
    adoption = adopt({"h1": survey(core, container("waweb", ""))})
    assert "reads no env file" not in text(adoption)
    assert "env_file" not in variables(adoption)["wa_client_extra_services"]["waweb"]


def test_what_the_compose_file_sets_to_the_same_is_no_second_place_of_a_password() -> None:
    both = [container(service, own_keys=["WA_DB_PASSWORD"]) for service in ("wacore", "waweb")]
    assert "wa_client_extra_secret_environment" not in adopt({"h1": survey(*both)}).secrets["host_vars/h1/vault.yml"]


def test_files_that_cannot_be_read_are_named() -> None:
    file = {"path": "/srv/biz/db.env", "problem": "Permission denied", "text": None}
    ours = [container(service, compose_problem="open /srv/biz/base.yml: denied") for service in ("wacore", "waweb")]
    report = text(adopt({"h1": survey(*ours, files=[file])}))
    assert "the env file /srv/biz/db.env cannot be read (Permission denied)" in report
    unread = "`docker compose up` in /srv/biz would fail\n   - open /srv/biz/base.yml: denied\n   - To do: Mend that, and run"
    assert report.count(unread) == 1
    lost = [container(service, compose_problem="open /srv/biz/base.yml: denied") for service in ("wacore", "waweb")]
    report = text(adopt({"h1": without_files(survey(*lost))}))
    unread = "the Compose files /srv/biz/docker-compose.yml cannot be read (open /srv/biz/base.yml: denied)"
    assert report.count(unread) == 1
    gone = text(adopt({"h1": single(files=[{**file, "problem": "No such file or directory"}])}))
    assert "cannot be read" not in gone


def test_what_compose_up_would_do_in_the_operators_folder_is_told() -> None:
    changes = [
        "recreate biz-waweb-1 (its environment changed: TZ)",
        "start biz-wacore-1 (has exited)",
    ]
    report = text(adopt({"h1": single(plans={"biz": {"changes": changes, "problem": ""}})}))
    title = "Restart pending, until upgrade.yml runs or you set wa_client_restart: now (what the Compose files say differs from what"
    assert f"{title} runs):\n\n- {changes[0]}\n\n" in report
    assert changes[1] not in report
    up = "`docker compose up` in /srv/biz would"
    other = "recreate biz-wacore-1 (runs r/coreapp:v2.51.2, expected r/coreapp:v2.53.4)"
    report = text(adopt({"h1": single(plans={"biz": {"changes": [other], "problem": ""}})}))
    assert f"{up} start something else than what runs\n   - {other}\n   - To do: Set there what runs, and" in report
    assert "Restart pending" not in report
    broken = text(adopt({"h1": single(plans={"biz": {"changes": [], "problem": "TAG is missing"}})}))
    assert f"{up} fail\n   - TAG is missing\n   - To do: Mend that, and run adopt.yml again\n" in broken


def test_what_was_tried_by_hand_and_has_ended_is_no_client() -> None:
    tried = container("x", "", state="exited", environment=dict.fromkeys(ENV))
    adoption = adopt({"h1": survey(container("wacore"), container("waweb"), tried)})
    assert adoption.deployments == ["h1"]


@pytest.mark.parametrize("path", ["/srv/biz/db.env", "/srv/biz/web.env"])
def test_a_key_of_an_env_file_is_told_where_members_are_compared(path: str) -> None:
    surveys = {f"h{number}": member(number) for number in (1, 2)}
    for one in surveys.values():
        web = next(each for each in one["containers"] if each["role"] == "web")
        files = {file["path"]: file for file in one["files"]}
        file = files.get(path) or {**one["files"][0], "path": path, "text": ""}
        file["text"] += "WA_WEB_JWT_CRYPTO_KEY=Canary-key-1\n"
        one["files"] = [*files.values(), *([file] if path not in files else [])]
        web["env_files"] = list(dict.fromkeys(["/srv/biz/db.env", path]))
    adoption = adopt(surveys)
    assert "refuses this client" not in text(adoption)
    assert "Canary" not in str(adoption.documents) + text(adoption)


def test_an_env_file_that_wins_over_db_env_is_told() -> None:
    later = {"path": "/srv/biz/secret.env", "problem": "", "text": "WA_DB_PASSWORD=Canary-secret-1\n", "mode": "0600"}
    found = survey(
        *(container(one, env_files=["/srv/biz/db.env", "/srv/biz/secret.env"]) for one in ("wacore", "waweb"))
    )
    found["files"].append(later)
    report = text(adopt({"h1": found}))
    assert "biz-wacore-1 reads another env file after /srv/biz/db.env, which wins for WA_DB_PASSWORD" in report


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
