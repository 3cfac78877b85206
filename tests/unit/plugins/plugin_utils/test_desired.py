# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The desired state of each concern from the inventory, for one host and for three, as the argument specs accept it."""

from __future__ import annotations

import hashlib
import json
import typing as t

import pytest
import yaml
from ansible.module_utils.basic import FILE_COMMON_ARGUMENTS
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from inventory_samples import JWT_KEY, PASSWORD, inventory

from ansible_collections.waba.onprem.plugins.module_utils._client import prediction
from ansible_collections.waba.onprem.plugins.module_utils._compose import document as compose_document
from ansible_collections.waba.onprem.plugins.module_utils._concern import comparison, db_env, media_volume
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.plugin_utils import _compose_file as compose_file
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired as desired
from ansible_collections.waba.onprem.plugins.plugin_utils import _inventory as variables
from ansible_collections.waba.onprem.plugins.plugin_utils import _job_script as job_script
from ansible_collections.waba.onprem.plugins.plugin_utils._inventory import Inventory

HOSTS = ("a.example.com", "b.example.com", "c.example.com")
SHARED: dict[str, t.Any] = {
    "wa_db_env_extra_secrets": {"WA_WEB_JWT_CRYPTO_KEY": JWT_KEY},
    "wa_media_volume_driver_options": {"type": "nfs", "o": "addr=nfs", "device": ":/export/media"},
    "wa_leader": "b.example.com",
}
FOLDER = {"state": "directory", "mode": "0750", "owner": "root"}
# Variables that an inventory may set and that have no default.
RICH: dict[str, t.Any] = {
    **SHARED,
    "wa_images": {"web": "m/web", "coreapp": "m/coreapp"},
    "wa_docker_host": "unix:///srv/docker.sock",
    "wa_env_format": "compose",
    "wa_confirm_identity": {"port": "3307"},
    "wa_db_env_port": 3307,
    "wa_db_env_name_prefix": "x_",
    "wa_db_env_owner": "wa",
    "wa_db_login_host": "127.0.0.1",
    "wa_client_container_names": "a,b",
    "wa_message_gc_automatic": True,
    "wa_api_password": PASSWORD,
    "wa_log_cleanup_metrics_file": "/var/lib/metrics/wa.prom",
}
# A client that runs from an operator's own Compose files, and one with such files beside the rendered one.
BESIDE: dict[str, t.Any] = {
    "wa_client_compose_files": ["/srv/biz/docker-compose.yml", "/srv//biz/./site.yml"],
    "wa_client_compose_env_files": "/srv/biz/.env",
    "wa_client_compose_profiles": "site,blue",
    "wa_client_service_names": {"wacore": "core"},
}
OPERATORS: dict[str, t.Any] = {**BESIDE, "wa_client_compose_dir": "/srv//biz/"}


def for_comparison(name: str = "support", hosts: t.Sequence[str] = (), **more: t.Any) -> dict[str, t.Any]:
    return desired.for_comparison(inventory(name, hosts, **more), ["wa-other"])


def test_the_host_of_a_single_client() -> None:
    assert desired.host(inventory()) == {
        "database_engine": "MYSQL",
        "dumps": False,
        "files": [{"path": path, **FOLDER} for path in ("/opt/waba/support", "/var/lib/waba")],
        "lock_file": "/var/lib/waba/support.lock",
        "compose_file": "/opt/waba/support/compose.yml",
        "identity_file": "/var/lib/waba/client-support.json",
    }
    assert desired.host(inventory(wa_db_env_engine=None))["database_engine"] == "MYSQL"


def test_the_db_env_of_a_single_client() -> None:
    assert desired.db_env(inventory()) == {
        "path": "/opt/waba/support/db.env",
        "engine": "MYSQL",
        "hostname": "DB.example.com",
        "username": "wa",
        "password": PASSWORD,
        "extra": {"WA_CONFIG_ON_DB": "1"},
        "extra_secrets": {},
        "containers": True,
        "mode": "0600",
        "project": "wa-support",
        "owner": "root",
        "keep_previous": True,
    }
    assert desired.db_env(inventory(wa_db_env_extra={"WA_CONFIG_ON_DB": "0"}))["extra"] == {"WA_CONFIG_ON_DB": "0"}


def test_a_secret_among_other_variables_is_hidden() -> None:
    proxy, both = "http://wa:Canary-18-Proxy@proxy.example.com:3128", {"WA_WEB_JWT_CRYPTO_KEY": JWT_KEY}
    # Hiding a short text would hide large parts of the output.
    shown = {"TZ": "UTC", "MY_TOKEN": "abc", "A_KEY": 12345}
    extra = {**shown, "HTTPS_PROXY": proxy, "WA_API_KEY": PASSWORD, **both}
    found = desired.db_env(inventory(wa_db_env_extra=extra, wa_db_env_extra_secrets=both))
    assert found["extra"] == {"WA_CONFIG_ON_DB": "1", **shown, **both}  # the module refuses what is in both
    assert found["extra_secrets"] == {"HTTPS_PROXY": proxy, "WA_API_KEY": PASSWORD, **both}


def test_every_database_login_can_use_a_client_certificate() -> None:
    files = {"ca_cert": "/ca.pem", "client_cert": "/c.pem", "client_key": "/k.pem"}
    login = {f"login_{name}": path for name, path in files.items()}
    ours = inventory(wa_db_login_host="db1", wa_db_login_tls=files)
    assert desired.database_login(ours) == {"login_host": "db1", **login}
    for options in (desired.db_env(ours), desired.dump(ours)):
        assert {name: options[name] for name in login} == login
    with pytest.raises(WaError, match="expected a mapping of ca_cert, client_cert and client_key to paths"):
        desired.database_login(inventory(wa_db_login_tls={"ca": "/ca.pem"}))


def test_the_media_volume() -> None:
    assert desired.media_volume(inventory()) == {
        "name": "wa-support_whatsappMedia",
        "driver": "local",
        "driver_options": {},
        "project": "wa-support",
    }
    assert desired.media_volume(inventory(wa_media_volume_name="media"))["name"] == "media"


def test_the_client_of_a_single_host() -> None:
    found = desired.client(inventory())
    (compose,) = found["files"]
    assert compose == {
        "path": "/opt/waba/support/compose.yml",
        "content": compose_file.write(found["document"]),
        "mode": "0640",
        "owner": "root",
    }
    assert yaml.safe_load(compose["content"]) == json.loads(json.dumps(found["document"]))
    assert [*found["document"]["services"]] == ["wacore", "waweb", "dbupgrade"]
    expected = {
        "project": "wa-support",
        "version": "2.53.4",
        "database": "db.example.com:3306/",
        "media_folder": "",
        "container_names": [],
        "compose_container_names": ["wa-support-wacore-1", "wa-support-waweb-1"],
    }
    assert {key: found[key] for key in expected} == expected
    assert [one["name"] for one in found["services"]] == ["wacore", "waweb"]
    assert {"secret_files", "keep_adopted"} & {*found} == set()


def test_the_comparison_gets_what_the_module_gets_and_neighbours() -> None:
    found = for_comparison()["client"]
    assert {name: found[name] for name in desired.project(inventory())} == desired.project(inventory())
    assert found["neighbours"] == ["wa-other"]
    assert found["identity"] == desired.identity(inventory())
    assert {"document", "keep_adopted", "database"} & {*found} == set()


def test_services_with_one_name_are_one_scaled_service() -> None:
    given: dict[str, t.Any] = {
        "wa_topology": "multiconnect",
        "wa_shards": 2,
        "wa_client_service_names": {f"wacore{number}": "core" for number in (1, 2, 3)},
    }
    found = desired.client(inventory(**given))
    assert {name: body.get("scale") for name, body in found["document"]["services"].items()} == {
        "core": 3,
        "master1": None,
        "master2": None,
        "waweb": None,
        "dbupgrade": None,
    }
    assert desired.compose(inventory(**given))["coreapp"] == "core"
    assert found["compose_container_names"] == [
        *("wa-support-core-1", "wa-support-core-2", "wa-support-core-3"),
        *("wa-support-master1-1", "wa-support-master2-1", "wa-support-waweb-1"),
    ]


def test_the_facts_by_which_a_client_is_recognised() -> None:
    assert desired.identity_facts(inventory()) == {
        **desired.identity(inventory()),
        "confirmed": None,
        "folder": "",
    }
    given: dict[str, t.Any] = {"wa_confirm_identity": {"port": 1}}
    found = desired.identity_facts(inventory(**given))
    assert found["confirmed"] == {"port": 1}


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        ({"type": "none", "o": "bind", "device": "/srv/media"}, "/srv/media"),
        ({"type": "none", "o": "ro,bind", "device": "/srv/media"}, "/srv/media"),
        ({"type": "nfs", "o": "addr=nas,rw", "device": ":/media"}, ""),
        ({"type": "none", "o": "rbind", "device": "/srv/media"}, ""),
        ({}, ""),
    ],
)
def test_the_folder_that_the_media_volume_binds(options: dict[str, str], folder: str) -> None:
    assert desired.media_folder(inventory(wa_media_volume_driver_options=options)) == folder


def test_a_client_outside_compose_has_no_files() -> None:
    found = desired.client(inventory(wa_project="", wa_client_container_names=["biz_core"]))
    assert (found["project"], found["files"]) == ("", [])
    assert found["container_names"] == ["biz_core"]


def test_a_hold_of_any_member_is_the_deployments() -> None:
    file = {"path": "/var/lib/waba/support.hold", "reason": "why", "since": "X", "old": False}
    members = ("h1", "h2", "h3")
    ours = inventory("h1", members)
    assert (desired.hold(ours), desired.hold(ours, {})) == ("", "")
    ours.variables["hostvars"]["h3"]["__wa_host_found"] = {"hold": file}
    assert desired.hold(ours).startswith("held since X by /var/lib/waba/support.hold on h3: why. ")
    assert desired.hold(ours, {}) == ""  # the first comparison knows its own host only
    restored = inventory("h1", members)
    restored.variables["hostvars"]["h3"]["__wa_upgrade_restore_read"] = {"hold": file}
    assert desired.hold(restored) == desired.hold(ours)
    assert desired.hold(ours, file).startswith("held since X by /var/lib/waba/support.hold on h1: why. ")
    ours.variables["hostvars"]["h2"]["wa_client_hold"] = "audit"
    assert desired.hold(ours, file).startswith("held by wa_client_hold in the inventory: audit. ")
    assert desired.hold(inventory("h1", members, wa_client_hold=" ")) == ""


def test_three_hosts_are_one_client() -> None:
    found = {name: for_comparison(name, HOSTS, **SHARED) for name in HOSTS}
    documents = {name: json.loads(state["client"]["content"]) for name, state in found.items()}
    assert {name: [*compose_document.started(one)] for name, one in documents.items()} == {
        "a.example.com": ["wacore1", "master1", "waweb"],
        "b.example.com": ["wacore2", "master2", "waweb"],
        "c.example.com": ["wacore3", "waweb"],
    }
    for state in found.values():
        assert state["db_env"] == found[HOSTS[0]]["db_env"]
        assert state["media_volume"] == found[HOSTS[0]]["media_volume"]
        assert state["host"]["lock_file"] == "/var/lib/waba/support.lock"
        assert state["client"]["identity"]["deployment"]["leader"] == "b.example.com"
    assert {state["client"]["identity"]["host"] for state in found.values()} == {*HOSTS}


def test_only_the_leader_compares_the_automatic_gc() -> None:
    given = {**SHARED, "wa_message_gc_automatic": False, "wa_api_password": PASSWORD}
    found = {name: for_comparison(name, HOSTS, **given).get("automatic_gc") for name in HOSTS}
    assert found == {
        "a.example.com": None,
        "c.example.com": None,
        "b.example.com": {
            "automatic": False,
            "api_url": "https://127.0.0.1:9090",
            "api_password": PASSWORD,
            "api_validate_certs": False,
            "api_timeout": "10s",
            "refused_login_file": "/var/lib/waba/api-login-support.json",
        },
    }
    assert "automatic_gc" not in for_comparison()
    named = for_comparison(wa_message_gc_automatic=True, wa_api_url="https://lb", wa_api_password="New-Pw")
    assert {key: named["automatic_gc"][key] for key in ("api_url", "api_password", "api_validate_certs")} == {
        "api_url": "https://lb",
        "api_password": "New-Pw",
        "api_validate_certs": True,
    }


def test_only_the_leader_asks_whether_the_client_serves() -> None:
    given = {**SHARED, "wa_api_password": PASSWORD, "wa_api_key": "k"}
    found = {name: for_comparison(name, HOSTS, **given).get("health") for name in HOSTS}
    assert found == {
        "a.example.com": None,
        "c.example.com": None,
        "b.example.com": {
            "project": "wa-support",
            "services": ["wacore2", "master2", "waweb"],
            "container_names": [],
            "topology": "high_availability",
            "api_url": "https://127.0.0.1:9090",
            "api_key": "k",
            "api_password": PASSWORD,
            "api_validate_certs": False,
            "api_timeout": "55s",  # three Coreapps and two masters
            "refused_login_file": "/var/lib/waba/api-login-support.json",
        },
    }
    single = for_comparison()["health"]
    assert (single["api_timeout"], "shards" in single) == ("15s", False)


@pytest.mark.parametrize(
    ("host", "given", "api_host", "url"),
    [
        ("b.example.com", {}, "b.example.com", "https://127.0.0.1:9090"),
        ("a.example.com", {}, "a.example.com", "https://127.0.0.1:9090"),
        ("a.example.com", {"wa_client_web_port": 9190}, "a.example.com", "https://127.0.0.1:9190"),
        ("a.example.com", {"wa_client_web_bind_address": "192.0.2.7"}, "a.example.com", "https://192.0.2.7:9090"),
        ("a.example.com", {"wa_client_web_bind_address": "0.0.0.0"}, "a.example.com", "https://127.0.0.1:9090"),
        ("a.example.com", {"wa_client_web_bind_address": "::"}, "a.example.com", "https://[::1]:9090"),
        (
            "a.example.com",
            {"wa_client_web_bind_address": "[2001:db8::7]"},
            "a.example.com",
            "https://[2001:db8::7]:9090",
        ),
        ("a.example.com", {"wa_api_url": "https://lb"}, "b.example.com", "https://lb"),
        # Without a Webapp of its own: the leader's, at the leader's address.
        ("c.example.com", {"wa_client_web_bind_address": "192.0.2.7"}, "b.example.com", "https://192.0.2.7:9090"),
    ],
)
def test_the_address_of_the_api(host: str, given: dict[str, t.Any], api_host: str, url: str) -> None:
    ours = inventory(host, HOSTS, **SHARED, **given)
    for name, services in zip(HOSTS, (["web", "core1"], ["web", "core2", "master1"], ["core3", "master2"])):
        ours.variables["hostvars"][name]["wa_client_services"] = services
    assert (desired.api_host(ours), desired.api(ours)["api_url"]) == (api_host, url)
    assert desired.api(ours)["api_validate_certs"] is ("wa_api_url" in given)


def test_the_log_cleanup() -> None:
    found = desired.log_cleanup(inventory())
    script, cron = found["files"]
    assert (script["path"], script["mode"], script["owner"]) == ("/usr/local/sbin/wa-log-cleanup", "0755", "root")
    assert script["content"] == job_script.script()
    assert cron == {
        "path": "/etc/cron.d/wa-support-log-cleanup",
        "content": "#Ansible: waba.onprem log cleanup of wa-support\n"
        "27 3 * * * root /usr/local/sbin/wa-log-cleanup -l /var/lib/waba/support.lock -p wa-support "
        "-s /var/lib/waba/log-cleanup-support.json\n",
        "mode": "0644",
        "owner": "root",
        "group": "root",
    }
    assert found["status_file"] == "/var/lib/waba/log-cleanup-support.json"
    compared = for_comparison()["log_cleanup"]["files"][0]
    assert "content" not in compared
    assert compared["sha256"] == hashlib.sha256(script["content"].encode()).hexdigest()


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({"wa_log_cleanup_metrics_file": "/var//m.prom"}, {"-m": "/var/m.prom"}),
        ({"wa_images": {"web": "m/web", "coreapp": "m/core"}}, {"-i": '{"coreapp":"m/core","web":"m/web"}'}),
        ({"wa_docker_host": "unix:///d.sock"}, {"-H": "unix:///d.sock"}),
    ],
)
def test_only_options_that_differ_from_the_scripts_defaults_are_written(
    given: dict[str, t.Any], options: dict[str, t.Any]
) -> None:
    found = desired.script_options(inventory(**given))
    assert {key: value for key, value in found.items() if key not in ("-p", "-s", "-l")} == options


def test_each_host_has_a_minute_of_its_own_at_every_run() -> None:
    minutes = [desired.cron_text(inventory(name)).splitlines()[1].split()[0] for name in ("a", "b", "c", "a")]
    assert minutes == ["17", "46", "31", "17"]


def test_special_characters_of_cron_and_shell_are_quoted() -> None:
    line = desired.cron_text(inventory(wa_log_cleanup_metrics_file="/opt/a b/%m", wa_log_cleanup_hour="1,2"))
    assert " -m '/opt/a b/\\%m' " in line
    assert line.splitlines()[1].startswith("27 1,2 * * * root ")
    with pytest.raises(WaError) as error:
        desired.cron_text(inventory(wa_log_cleanup_hour="1;2"))
    assert str(error.value).startswith("wa_log_cleanup_hour: ")


@pytest.mark.parametrize(
    ("given", "database"),
    [
        ({}, "db.example.com:3306/"),
        ({"wa_db_env_engine": "PGSQL"}, "db.example.com:5432/"),
        ({"wa_db_env_engine": None, "wa_db_env_port": 3307, "wa_db_env_name_prefix": "x_"}, "db.example.com:3307/x_"),
        ({"wa_db_env_hostname": None}, ""),
    ],
)
def test_the_database_key_has_host_port_and_prefix(given: dict[str, t.Any], database: str) -> None:
    assert desired.database(inventory(**given)) == database


@pytest.mark.parametrize("given", [{}, SHARED, RICH, BESIDE, OPERATORS, {"wa_project": ""}])
@pytest.mark.parametrize("name", HOSTS)
def test_role_and_comparison_use_the_same_options(given: dict[str, t.Any], name: str) -> None:
    hosts = HOSTS if "wa_leader" in given else ()
    for concern, options in for_comparison(name, hosts, **given).items():
        assert ArgumentSpecValidator(comparison.spec(concern)).validate(options).error_messages == [], concern
    ours = inventory(name, hosts, **given)
    for concern, spec in (("db_env", {**FILE_COMMON_ARGUMENTS, **db_env.SPEC}), ("media_volume", media_volume.SPEC)):
        options = desired.CONCERNS[concern](ours)
        assert ArgumentSpecValidator(spec).validate(options).error_messages == [], concern


@pytest.mark.parametrize("given", [RICH, BESIDE, OPERATORS])
def test_the_clients_files_contain_no_secret(given: dict[str, t.Any]) -> None:
    text = str(desired.client(inventory("b.example.com", HOSTS, **{**SHARED, **given})))
    assert [secret for secret in (PASSWORD, JWT_KEY) if secret in text] == []


# An operator's own Compose files

OURS = "/opt/waba/support/compose.yml"
THEIRS = ["/srv/biz/docker-compose.yml", "/srv/biz/site.yml"]
COMMAND = ["docker", "compose", "--project-name=wa-support"]
ENVIRONMENT = {"COMPOSE_PROFILES": "", "COMPOSE_REMOVE_ORPHANS": "false", "COMPOSE_IGNORE_ORPHANS": "true"}


def test_compose_is_called_with_the_rendered_file_alone() -> None:
    assert desired.compose(inventory()) == {
        "folder": "/opt/waba/support",
        "files": [OURS],
        "env_files": [],
        "profiles": [],
        "command": [*COMMAND, "--project-directory=/opt/waba/support", f"--file={OURS}"],
        "environment": {**ENVIRONMENT, "PWD": "/opt/waba/support"},
        "services": [],
        "coreapp": "wacore",
        "migration": False,
        "repositories": {},
    }


def test_an_operators_files_come_after_the_rendered_one() -> None:
    options = [
        "--env-file=/srv/biz/.env",
        "--profile=site",
        "--profile=blue",
    ]
    assert desired.compose(inventory(**BESIDE)) == {
        "folder": "/opt/waba/support",
        "files": [OURS, *THEIRS],
        "env_files": ["/srv/biz/.env"],
        "profiles": ["site", "blue"],
        "command": [
            *(*COMMAND, "--project-directory=/opt/waba/support", *options),
            *(f"--file={path}" for path in (OURS, *THEIRS)),
        ],
        "environment": {**ENVIRONMENT, "PWD": "/opt/waba/support"},
        "services": ["core", "waweb"],
        "coreapp": "core",
        "migration": True,
        "repositories": {},
    }


@pytest.mark.parametrize(
    ("given", "migration"),
    [
        ({}, False),
        ({"wa_client_compose_files": []}, False),
        ({"wa_client_compose_env_files": ["/srv/biz/.env"], "wa_client_compose_profiles": ["site"]}, False),
        ({"wa_client_compose_files": "/srv/biz/site.yml"}, True),
        (BESIDE, True),
        (OPERATORS, True),
    ],
)
def test_the_migration_is_in_the_rendered_file_unless_the_operator_has_files(
    given: dict[str, t.Any], migration: bool
) -> None:
    ours = inventory(**given)
    assert desired.compose(ours)["migration"] is migration
    assert ("dbupgrade" in desired.client(ours)["document"]["services"]) is not migration


def test_in_an_operators_folder_the_own_file_comes_last() -> None:
    options = [
        "--env-file=/srv/biz/.env",
        "--profile=site",
        "--profile=blue",
    ]
    assert desired.compose(inventory(**OPERATORS)) == {
        "folder": "/srv/biz",
        "files": [*THEIRS, OURS],
        "env_files": ["/srv/biz/.env"],
        "profiles": ["site", "blue"],
        "command": [
            *(*COMMAND, "--project-directory=/srv/biz", *options),
            *(f"--file={path}" for path in (*THEIRS, OURS)),
        ],
        "environment": {**ENVIRONMENT, "PWD": "/srv/biz"},
        "services": ["core", "waweb"],
        "coreapp": "core",
        "migration": True,
        "repositories": {"core": "r.example.com/wa/coreapp", "waweb": "r.example.com/wa/web"},
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"wa_client_compose_files": "/a.yml, /b.yml"}, {"files": [OURS, "/a.yml", "/b.yml"]}),
        ({"wa_client_compose_env_files": ["/b.env", "/a.env"]}, {"env_files": ["/b.env", "/a.env"], "services": []}),
        (
            {"wa_client_compose_env_files": "/srv/wa/a.env", "wa_project_dir": "/srv/wa/", "wa_project": "biz"},
            {
                "env_files": ["/srv/wa/a.env"],
                "command": [
                    *("docker", "compose", "--project-name=biz", "--project-directory=/srv/wa"),
                    *("--env-file=/srv/wa/a.env", "--file=/srv/wa/compose.yml"),
                ],
            },
        ),
        (
            {**OPERATORS, "wa_images": {"web": "m:5000/w", "coreapp": "m:5000/c"}},
            {"repositories": {"core": "m:5000/c", "waweb": "m:5000/w"}},
        ),
        (
            {**OPERATORS, "wa_client_compose_dir": "/opt/waba"},
            {"folder": "/opt/waba", "files": [*THEIRS, OURS]},
        ),
    ],
)
def test_how_compose_is_called(given: dict[str, t.Any], expected: dict[str, t.Any]) -> None:
    found = desired.compose(inventory(**given))
    assert {name: found[name] for name in expected} == expected


def test_each_host_calls_compose_for_its_own_services() -> None:
    given = {**SHARED, **OPERATORS, "wa_client_service_names": {"wacore2": "core"}}
    found = {name: desired.compose(inventory(name, HOSTS, **given)) for name in HOSTS}
    assert {name: one["services"] for name, one in found.items()} == {
        "a.example.com": ["wacore1", "master1", "waweb"],
        "b.example.com": ["core", "master2", "waweb"],
        "c.example.com": ["wacore3", "waweb"],
    }
    assert found["b.example.com"]["repositories"] == {
        "core": "r.example.com/wa/coreapp",
        "master2": "r.example.com/wa/coreapp",
        "waweb": "r.example.com/wa/web",
    }


@pytest.mark.parametrize(
    ("host", "expected"), [("a.example.com", "wacore1"), ("b.example.com", "master1"), ("c.example.com", "")]
)
def test_where_a_host_has_no_coreapp_the_migration_is_made_from_a_master(host: str, expected: str) -> None:
    placed = {
        "a.example.com": {"wa_client_services": ["master2", "core1", "core2", "core3"]},
        "b.example.com": {"wa_client_services": ["web", "master1"]},
        "c.example.com": {"wa_client_services": ["web"]},
    }
    ours = inventory(host, HOSTS, **SHARED, **OPERATORS)
    for name, changed in placed.items():
        ours.variables["hostvars"][name].update(changed)
    assert desired.compose(ours)["coreapp"] == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"wa_client_compose_dir": "/srv/biz"},
            "wa_client_compose_dir: /srv/biz, without a file; expected wa_client_compose_files, too. Name yours, in the order "
            "of docker compose --file",
        ),
        (
            {"wa_client_compose_files": ["/a.yml", "/opt/waba//support/compose.yml"]},
            "wa_client_compose_files: /opt/waba/support/compose.yml, which the role writes; expected the operator's Compose "
            "files. Name yours, in the order of docker compose --file",
        ),
        (
            {**OPERATORS, "wa_client_compose_files": [OURS]},
            "wa_client_compose_files: /opt/waba/support/compose.yml, which the role writes; expected the operator's Compose "
            "files. Name yours, in the order of docker compose --file",
        ),
        *(
            (
                {**OPERATORS, **place},
                "wa_project_dir: /opt/waba/support, where the operator's Compose files are; expected a folder of the role's own. In "
                "theirs docker compose up would take the role's compose.yml for the whole project. Set wa_project_dir, and wa_env_file to "
                "where db.env is; remove a compose.yml of the role's from there",
            )
            for place in (
                {"wa_client_compose_dir": "/opt/waba/support/"},
                {"wa_client_compose_files": ["/a.yml", "/opt/waba/support/b.yml"]},
            )
        ),
        (
            {**OPERATORS, "wa_client_compose_dir": "srv/biz"},
            "wa_client_compose_dir: 'srv/biz' is relative; expected an absolute path. Give an absolute path such as /srv/wa",
        ),
        (
            {"wa_client_compose_files": ["/a.yml", "b.yml"]},
            "wa_client_compose_files: 'b.yml' is relative; expected an absolute path. Give an absolute path such as /srv/wa",
        ),
        (
            {"wa_client_compose_env_files": [".env"]},
            "wa_client_compose_env_files: '.env' is relative; expected an absolute path. Give an absolute path such as /srv/wa",
        ),
        (
            {"wa_client_compose_files": ["/srv/${SITE}/a.yml"]},
            "wa_client_compose_files: '/srv/${SITE}/a.yml' holds $ { }; expected a path without characters that a shell reads. "
            "Give an absolute path such as /srv/wa",
        ),
        (
            {"wa_client_compose_profiles": {"site": True}},
            "wa_client_compose_profiles: {'site': True} is no list; expected a list of texts, or one text with commas.",
        ),
    ],
)
def test_wrong_compose_files_are_refused(given: dict[str, t.Any], message: str) -> None:
    for read in (desired.compose, desired.client):
        with pytest.raises(WaError) as error:
            read(inventory(**given))
        assert str(error.value) == message


def test_a_client_in_an_operators_folder_has_a_file_with_the_version_only() -> None:
    found = desired.client(inventory(**OPERATORS))
    assert found["document"] == {
        "name": "wa-support",
        "services": {
            "core": {"image": "r.example.com/wa/coreapp:v2.53.4"},
            "waweb": {"image": "r.example.com/wa/web:v2.53.4"},
        },
    }
    assert yaml.safe_load(found["files"][0]["content"]) == found["document"]
    assert found["compose"] == desired.compose(inventory(**OPERATORS))
    assert found["planned_files"] == [*THEIRS, "-"]
    assert found["compose_container_names"] == ["wa-support-core-1", "wa-support-waweb-1"]


def test_a_client_with_files_beside_the_rendered_one_has_the_rendered_one() -> None:
    names = {"wa_client_service_names": BESIDE["wa_client_service_names"]}
    found, rendered = desired.client(inventory(**BESIDE)), desired.client(inventory(**names))
    del rendered["document"]["services"]["dbupgrade"]  # is made from the operator's files
    assert found["document"] == rendered["document"]
    (file,) = found["files"]
    assert file == {**rendered["files"][0], "content": compose_file.write(rendered["document"])}
    assert (found["planned_files"], rendered["planned_files"]) == (["-", *THEIRS], ["-"])


@pytest.mark.parametrize("given", [{}, BESIDE, OPERATORS])
def test_the_comparison_gets_the_call_of_compose(given: dict[str, t.Any]) -> None:
    found, called = for_comparison(**given)["client"], desired.compose(inventory(**given))
    names = ("project_dir", "interpolation_files", "profiles", "services")
    assert [found[name] for name in names] == [called[name] for name in ("folder", "env_files", "profiles", "services")]
    assert [found["compose_file"] if one == "-" else one for one in found["compose_files"]] == called["files"]


def test_the_options_to_read_a_project_are_those_of_the_modules() -> None:
    found = desired.project(inventory(**OPERATORS, wa_confirm_identity={"media_volume": "m"}))
    assert {*found} <= {*prediction.ARGUMENT_SPEC}
    assert json.loads(found["content"]) == desired.client(inventory(**OPERATORS))["document"]
    assert found["confirm_identity"] == {"media_volume": "m"}
    own = desired.project(inventory())
    assert (own["compose_files"], own["services"]) == (["-"], [])
    assert {*found} - {*own} == {"confirm_identity"}


def test_an_invalid_inventory_is_a_refusal_instead_of_an_error() -> None:
    found = desired.checked_compose(inventory())
    assert found == {"compose": desired.compose(inventory()), "services": ["wacore", "waweb"], "refusal": ""}
    found = desired.checked_compose(inventory(wa_topology="ring"))
    assert found["compose"] == {}
    assert found["refusal"].startswith("deployment support: wa_topology: 'ring' is unknown; expected one of: single")


def test_the_guard_knows_the_other_deployments_of_the_machine_and_the_inventory() -> None:
    ours = inventory()
    here = {**ours.variables["hostvars"]["support"], "ansible_host": "m"}
    other = {**here, "wa_client_web_port": 9191, "wa_db_env_name_prefix": "c_"}
    hostvars = {"support": here, "c": other, "d": {**other, "ansible_host": "n"}}
    variables = {**ours.variables, **here, "hostvars": hostvars, "groups": {"all": [*hostvars]}}
    found = desired.guard(Inventory(variables, Templar(loader=DataLoader(), variables=variables).template))
    assert found == {
        "unmanaged": {
            "project": "wa-support",
            "neighbours": ["wa-c"],
            "database": "db.example.com:3306/",
            "known": [["wa-c", "db.example.com:3306/c_"], ["wa-d", "db.example.com:3306/c_"]],
            "names": ["wa-support-wacore-1", "wa-support-waweb-1"],
        },
        "adopt": "ansible-playbook --limit support waba.onprem.adopt -e wa_adopt_dir=./adopted",
        "single": True,
        "services": [],
        "rendered": True,
    }


@pytest.mark.parametrize("more", [{}, {"wa_client_compose_dir": "/srv/biz"}])
def test_the_guard_knows_the_services_in_an_operators_files(more: dict[str, t.Any]) -> None:
    given = {"wa_client_compose_files": ["/srv/biz/a.yml"], "wa_client_service_names": {"wacore": "core"}, **more}
    found = desired.guard(inventory(**given))
    assert (found["services"], found["rendered"]) == (["core", "waweb"], not more)


@pytest.fixture(autouse=True)
def command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests confirm is given for one run."""
    monkeypatch.setattr(variables, "extra_vars", lambda: {"wa_confirm_identity": {}})


def test_a_confirmation_is_for_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    given = inventory(wa_confirm_identity={"version": "2.53.4"})
    assert desired.confirmed(given) == {"version": "2.53.4"}
    monkeypatch.setattr(variables, "extra_vars", dict)
    assert desired.confirmed(inventory()) is None
    for ask in (desired.confirmed, desired.db_env, desired.media_volume, desired.identity_facts, desired.project):
        with pytest.raises(WaError, match="set in the inventory, where it would be a licence for ever"):
            ask(given)
