# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one-shot migration made from the Coreapp of an operator's own Compose files."""

from __future__ import annotations

import copy
import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._compose import migration
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

FOLDER = "/srv/biz"
OLD, NEW = "r/coreapp:v${WA_API_VERSION}", "r/coreapp:v2.53.4"
# Of each migration.
MADE = {
    "image": NEW,
    "profiles": ["dbupgrade"],
    "restart": "no",
    "stop_signal": "SIGKILL",
    "environment": {"WA_DB_UPGRADE": "1"},
}


RESOLVED = [{"type": "bind", "source": "/srv/data", "target": "/m"}]


def body(**options: t.Any) -> dict[str, t.Any]:
    """The migration made from a Coreapp with these options."""
    declared = {"name": "biz", "services": {"wacore": {"image": OLD, **options}, "waweb": {"image": "r/web:v1"}}}
    before = copy.deepcopy(declared)
    resolved = {"services": {"wacore": {"volumes": RESOLVED}}}
    found = migration.document(declared, resolved, "wacore", {"wacore": NEW, "waweb": "r/web:v2.53.4"}, FOLDER)
    assert declared == before
    assert {*found} == {"services"}
    assert {*found["services"]} == {"dbupgrade"}
    return t.cast("dict[str, t.Any]", found["services"]["dbupgrade"])


def test_the_migration_has_no_link_to_the_client() -> None:
    """Docker does not start a container with a link to a stopped one."""
    assert body(links=["waweb:web", "db:waweb"])["links"] == ["db:waweb"]


def test_the_migration_of_a_coreapp_without_options() -> None:
    assert body() == MADE


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"A": "1", "B": "${B:-x}", "C": None}, {"A": "1", "B": "${B:-x}", "C": None}),
        (["A=1", "B=${B:-x}", "C", "D=", "E=a=b"], {"A": "1", "B": "${B:-x}", "C": None, "D": "", "E": "a=b"}),
        ({"PORT": 3306, "ON": True}, {"PORT": 3306, "ON": True}),
        (None, {}),
        ([], {}),
        ({"WA_APP_MULTICONNECT": "1", "WA_MASTER_NODE": "1", "WA_CONFIG_ON_DB": "1"}, {"WA_CONFIG_ON_DB": "1"}),
        (["WA_APP_MULTICONNECT=1", "WA_MASTER_NODE", "WA_CONFIG_ON_DB=1"], {"WA_CONFIG_ON_DB": "1"}),
        ({"COREAPP_HOSTNAME": "core", "WEBAPP_PORT": "1", "WACORE_HOSTNAME": "core", "WA_CORE": "1"}, {"WA_CORE": "1"}),
        ({"WA_MASTER_NODE_COUNT": "2", "MY_COREAPP_": "1"}, {"WA_MASTER_NODE_COUNT": "2", "MY_COREAPP_": "1"}),
        ({"WA_DB_UPGRADE": "0"}, {}),
        (["WA_DB_UPGRADE"], {}),
    ],
)
def test_the_environment_without_what_makes_a_node(declared: t.Any, expected: dict[str, t.Any]) -> None:
    assert body(environment=declared) == {**MADE, "environment": {**expected, "WA_DB_UPGRADE": "1"}}


@pytest.mark.parametrize(
    "option",
    [
        {"build": {"context": "/srv/biz"}},
        {"container_name": "core"},
        {"depends_on": {"db": {"condition": "service_healthy"}}},
        {"deploy": {"replicas": 2}},
        {"develop": {"watch": []}},
        {"domainname": "example.com"},
        {"expose": ["6253"]},
        {"healthcheck": {"test": "true"}},
        {"hostname": "core"},
        {"labels": {"traefik.enable": "true"}},
        {"ports": ["${PORT}:6253"]},
        {"profiles": ["site"]},
        {"pull_policy": "always"},
        {"restart": "always"},
        {"scale": 2},
        {"stop_grace_period": "60s"},
        {"stop_signal": "SIGINT"},
    ],
    ids=lambda option: next(iter(option)),
)
def test_options_of_a_running_node_are_left_out(option: dict[str, t.Any]) -> None:
    assert body(**option) == MADE


@pytest.mark.parametrize(
    "option",
    [
        {"env_file": [{"path": "/srv/biz/db.env", "required": True}]},
        {"env_file": ["/srv/biz/db.env"]},
        {"command": ["sh", "-c", "echo $$HOME"]},
        {"entrypoint": ["/bin/start"]},
        {"network_mode": "host"},
        {"links": ["db", "db:mysql"]},
        {"networks": ["default", "db"]},
        {"networks": {"default": None, "db": None}},
        {"extra_hosts": ["db:192.0.2.7"]},
        {"dns": ["192.0.2.8"]},
        {"user": "1000"},
        {"cap_drop": ["MKNOD"]},
        {"mem_limit": "${MEM}"},
        {"logging": {"driver": "json-file", "options": {"max-size": "50m"}}},
    ],
    ids=str,
)
def test_what_the_migration_needs_is_kept(option: dict[str, t.Any]) -> None:
    assert body(**option) == {**MADE, **option}


def test_of_networks_only_the_names_are_kept() -> None:
    networks = {
        "default": {"aliases": ["core", "${ALIAS}"]},
        "db": {"ipv4_address": "10.0.0.4", "mac_address": "02:42:ac:11:00:04", "priority": 5},
        "plain": None,
    }
    assert body(networks=networks)["networks"] == {"default": None, "db": None, "plain": None}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/srv/biz/${DATA}", "${DATA}"),
        ("/srv/biz/${DATA}/media", "${DATA}/media"),
        ("/srv/biz/$DATA/media", "$DATA/media"),
        ("/srv/biz/media", "/srv/biz/media"),
        ("/srv/biz/media/${NAME}", "/srv/biz/media/${NAME}"),
        ("/srv/biz2/${DATA}", "/srv/biz2/${DATA}"),
        ("/data/srv/biz/${DATA}", "/data/srv/biz/${DATA}"),
        ("${DATA}", "${DATA}"),
    ],
)
def test_a_path_that_begins_with_a_variable_is_relative_again(path: str, expected: str) -> None:
    """Compose makes it absolute although the variable may have an absolute path."""
    found = body(env_file=[{"path": path, "required": True}])
    assert found["env_file"] == [{"path": expected, "required": True}]
    assert body(env_file=[path])["env_file"] == [expected]


@pytest.mark.parametrize("declared", [["${DATA:-./x}:/m"], [{"type": "volume", "source": "${DATA", "target": "-./x}"}]])
def test_mounts_are_those_that_compose_has_resolved(declared: list[t.Any]) -> None:
    """Without interpolation Compose takes a variable for a volume, and divides its default."""
    assert body(volumes=declared)["volumes"] == RESOLVED
    assert "volumes" not in body()


@pytest.mark.parametrize(
    "option",
    [
        {"command": ["/srv/biz/${A}"]},
        {"entrypoint": "/srv/biz/$A"},
        {"working_dir": "/srv/biz/${A}"},
        {"tmpfs": ["/srv/biz/${A}"]},
        {"env_file": [{"path": "/srv/biz/a.env", "format": "/srv/biz/${A}"}]},
    ],
    ids=str,
)
def test_only_paths_on_the_host_are_relative_again(option: dict[str, t.Any]) -> None:
    assert body(**option) == {**MADE, **option}
    assert body(environment={"A": "/srv/biz/${A}"})["environment"] == {"A": "/srv/biz/${A}", "WA_DB_UPGRADE": "1"}


@pytest.mark.parametrize("declared", [{}, {"services": None}, {"services": {}}, {"services": {"waweb": {}}}])
def test_a_missing_coreapp_is_an_error(declared: dict[str, t.Any]) -> None:
    with pytest.raises(WaError) as error:
        migration.document(declared, {"services": {}}, "wacore", {"wacore": NEW}, FOLDER)
    assert str(error.value) == (
        "service wacore: not in the Compose files; expected the client's Coreapp. Run adopt.yml again"
    )


def test_a_service_of_the_migrations_name_is_refused() -> None:
    declared = {"services": {"wacore": {"image": OLD}, "dbupgrade": {"image": "x"}}}
    with pytest.raises(WaError) as error:
        migration.document(declared, {"services": {}}, "wacore", {"wacore": NEW}, FOLDER)
    assert str(error.value) == (
        "service dbupgrade: in the Compose files; expected no service of that name, which the migration has. Give yours another name"
    )


@pytest.mark.parametrize(
    ("coreapp", "made", "different"),
    [
        ({"WA_DB_PORT": "1", "X": "1"}, {"WA_DB_PORT": "1", "WA_DB_UPGRADE": "1"}, []),
        ({"WA_DB_NAME_PREFIX": "app"}, {"WA_DB_NAME_PREFIX": "ax", "WA_DB_UPGRADE": "1"}, ["WA_DB_NAME_PREFIX"]),
        ({"WA_DB_PORT": "1"}, {}, ["WA_DB_PORT"]),
        (None, {"WA_DB_PORT": "1"}, ["WA_DB_PORT"]),
    ],
)
def test_the_migration_has_the_coreapps_database(
    coreapp: dict[str, str] | None, made: dict[str, str], different: list[str]
) -> None:
    resolved = {"services": {"wacore": {"environment": coreapp}, "dbupgrade": {"environment": made}}}
    assert migration.other_database(resolved, "wacore") == different
