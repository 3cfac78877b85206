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

OLD, NEW = "r/coreapp:v2.51.2", "r/coreapp:v2.53.4"
# Of each migration.
MADE = {
    "image": NEW,
    "profiles": ["dbupgrade"],
    "restart": "no",
    "stop_signal": "SIGKILL",
    "environment": {"WA_DB_UPGRADE": "1"},
}


def body(**options: t.Any) -> dict[str, t.Any]:
    """The migration made from a resolved Coreapp with these options."""
    resolved = {"name": "biz", "services": {"wacore": {"image": OLD, **options}, "waweb": {"image": "r/web:v1"}}}
    before = copy.deepcopy(resolved)
    found = migration.document(resolved, "wacore", {"wacore": NEW, "waweb": "r/web:v2.53.4"})
    assert resolved == before
    assert {*found} == {"services"}
    assert {*found["services"]} == {"dbupgrade"}
    return t.cast("dict[str, t.Any]", found["services"]["dbupgrade"])


def test_the_migration_has_no_link_to_the_client() -> None:
    """Docker does not start a container with a link to a stopped one."""
    assert body(links=["waweb:web", "db:waweb"])["links"] == ["db:waweb"]


def test_the_migration_of_a_coreapp_without_options() -> None:
    assert body() == MADE


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"A": "1", "B": "a$$b", "C": None}, {"A": "1", "B": "a$$b", "C": None}),
        (None, {}),
        ({"WA_APP_MULTICONNECT": "1", "WA_MASTER_NODE": "1", "WA_CONFIG_ON_DB": "1"}, {"WA_CONFIG_ON_DB": "1"}),
        ({"COREAPP_HOSTNAME": "core", "WEBAPP_PORT": "1", "WACORE_HOSTNAME": "core", "WA_CORE": "1"}, {"WA_CORE": "1"}),
        ({"WA_MASTER_NODE_COUNT": "2", "MY_COREAPP_": "1"}, {"WA_MASTER_NODE_COUNT": "2", "MY_COREAPP_": "1"}),
        ({"WA_DB_UPGRADE": "0"}, {}),
    ],
)
def test_the_environment_without_what_makes_a_node(given: t.Any, expected: dict[str, t.Any]) -> None:
    assert body(environment=given) == {**MADE, "environment": {**expected, "WA_DB_UPGRADE": "1"}}


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
        {"ports": [{"target": 6253}]},
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
        {"command": ["sh", "-c", "echo $$HOME"]},
        {"entrypoint": ["/bin/start"]},
        {"network_mode": "host"},
        {"links": ["db", "db:mysql"]},
        {"networks": {"default": None, "db": None}},
        {"extra_hosts": ["db:192.0.2.7"]},
        {"dns": ["192.0.2.8"]},
        {"user": "1000"},
        {"cap_drop": ["MKNOD"]},
        {"mem_limit": "536870912"},
        {"volumes": [{"type": "bind", "source": "/srv/data", "target": "/m"}]},
        {"logging": {"driver": "json-file", "options": {"max-size": "50m"}}},
    ],
    ids=str,
)
def test_what_the_migration_needs_is_kept(option: dict[str, t.Any]) -> None:
    assert body(**option) == {**MADE, **option}


def test_of_networks_only_the_names_are_kept() -> None:
    networks = {
        "default": {"aliases": ["core"]},
        "db": {"ipv4_address": "10.0.0.4", "mac_address": "02:42:ac:11:00:04", "priority": 5},
        "plain": None,
    }
    assert body(networks=networks)["networks"] == {"default": None, "db": None, "plain": None}


@pytest.mark.parametrize("resolved", [{}, {"services": None}, {"services": {}}, {"services": {"waweb": {}}}])
def test_a_missing_coreapp_is_an_error(resolved: dict[str, t.Any]) -> None:
    with pytest.raises(WaError) as error:
        migration.document(resolved, "wacore", {"wacore": NEW})
    assert str(error.value) == (
        "service wacore: not in the Compose files; expected the client's Coreapp. Run adopt.yml again"
    )


def test_a_service_of_the_migrations_name_is_refused() -> None:
    resolved = {"services": {"wacore": {"image": OLD}, "dbupgrade": {"image": "x"}}}
    with pytest.raises(WaError) as error:
        migration.document(resolved, "wacore", {"wacore": NEW})
    assert str(error.value) == (
        "service dbupgrade: in the Compose files; expected no service of that name, which the migration has. Give yours another name"
    )
