# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which deployments share a machine, from the values read once, or by asking again without them."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleError

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology
from ansible_collections.waba.onprem.plugins.plugin_utils import _machines as machines

HOSTVARS: dict[str, dict[str, t.Any]] = {
    "a": {"ansible_host": "192.0.2.1"},
    "b": {"ansible_host": "192.0.2.1", "wa_client_web_port": 9091},
    "c": {"ansible_host": "192.0.2.2"},
    "d": {"ansible_host": "192.0.2.1", "ansible_port": 2222},
}
GROUPS = {"all": list(HOSTVARS)}


@pytest.fixture(autouse=True)
def forget() -> t.Iterator[None]:
    for kept in (machines._placed, machines._databases, machines._sharers):
        kept.clear()
    yield
    for kept in (machines._placed, machines._databases, machines._sharers):
        kept.clear()


@pytest.mark.parametrize("read", [True, False])
def test_neighbours_share_the_address(read: bool) -> None:
    if read:
        machines.read(HOSTVARS, GROUPS)
    found = {host: machines.neighbours(HOSTVARS, host, GROUPS) for host in HOSTVARS}
    assert found == {"a": ["wa-b"], "b": ["wa-a"], "c": [], "d": []}


def test_values_read_once_are_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    machines.read(HOSTVARS, GROUPS)
    asked: list[str] = []
    placed = topology.placed

    def count(hostvars: t.Any, host: str, groups: t.Any) -> dict[str, t.Any]:
        asked.append(host)
        return placed(hostvars, host, groups)

    monkeypatch.setattr(topology, "placed", count)
    for host in HOSTVARS:
        machines.neighbours(HOSTVARS, host, GROUPS)
    assert asked == list(HOSTVARS)  # each host reads only its own


def test_a_collision_fails_on_both_hosts() -> None:
    hostvars = {**HOSTVARS, "b": {"ansible_host": "192.0.2.1"}}
    machines.read(hostvars, GROUPS)
    for host, other in (("a", "b"), ("b", "a")):
        with pytest.raises(WaError) as error:
            machines.neighbours(hostvars, host, GROUPS)
        assert str(error.value).startswith(
            f"hosts {host} and {other}: one machine and the same API port 9090. Give each "
        )
    assert machines.neighbours(hostvars, "c", GROUPS) == []


class Broken(dict[str, t.Any]):
    """Host variables with a template that fails."""

    def get(self, key: str, default: t.Any = None) -> t.Any:
        if key in ("wa_project_dir", "wa_db_env_port"):
            raise AnsibleError("'x' is undefined")
        return super().get(key, default)


def test_a_host_with_invalid_variables_fails_alone() -> None:
    hostvars = {**HOSTVARS, "b": Broken(HOSTVARS["b"]), "d": {**HOSTVARS["d"], "wa_deployment": "none"}}
    machines.read(hostvars, GROUPS)
    assert machines.neighbours(hostvars, "a", GROUPS) == []
    with pytest.raises(AnsibleError):
        machines.neighbours(hostvars, "b", GROUPS)
    with pytest.raises(WaError):
        machines.neighbours(hostvars, "d", GROUPS)


@pytest.mark.parametrize("read", [True, False])
def test_databases_of_other_deployments_are_listed(read: bool) -> None:
    hostvars: dict[str, dict[str, t.Any]] = {
        "a": {"wa_db_env_hostname": "DB", "wa_db_env_port": 3307, "wa_db_env_name_prefix": "a_"},
        "b": {"wa_deployment": "cluster", "wa_project": "biz", "wa_db_env_hostname": "db", "wa_db_env_engine": "PGSQL"},
        "c": {"wa_deployment": "cluster", "wa_project": "biz", "wa_db_env_hostname": "db", "wa_db_env_engine": "PGSQL"},
        "d": {},
        "e": Broken(wa_db_env_hostname="odd"),
    }
    groups = {"all": list(hostvars), "cluster": ["b", "c"]}
    if read:
        machines.read(hostvars, groups)
    cluster = ["biz", "db:5432/"]
    assert machines.databases_of_others(hostvars, "a", groups) == [cluster, cluster]
    assert machines.databases_of_others(hostvars, "c", groups) == [["wa-a", "db:3307/a_"]]


@pytest.mark.parametrize("port", [22, "22"])
def test_ssh_s_own_port_is_no_other_machine(port: int | str) -> None:
    hostvars: dict[str, dict[str, t.Any]] = {
        "a": {"ansible_host": "H.example.com"},
        "b": {"ansible_host": "h.example.com", "ansible_port": port},
    }
    with pytest.raises(WaError, match="hosts a and b: one machine and the same API port 9090"):
        machines.neighbours(hostvars, "a", {"all": ["a", "b"]})


def test_two_deployments_of_a_machine_have_a_database_each() -> None:
    server = {"ansible_host": "192.0.2.1", "wa_db_env_hostname": "db.lab"}
    hostvars: dict[str, dict[str, t.Any]] = {"a": server, "b": {**server, "wa_client_web_port": 9091}}
    with pytest.raises(WaError) as error:
        machines.neighbours(hostvars, "a", {"all": ["a", "b"]})
    assert str(error.value) == (
        "hosts a and b: one machine and the same database db.lab:3306/. Give each its own wa_db_env_name_prefix. If they are one client, "
        "remove one of the names from the inventory"
    )
    hostvars["b"]["wa_db_env_name_prefix"] = "b_"
    assert machines.neighbours(hostvars, "a", {"all": ["a", "b"]}) == ["wa-b"]
    # A service of this name in the Compose project of each: which servers run decides, before a start.
    for one in hostvars.values():
        one.update(wa_db_env_hostname="db", wa_db_env_name_prefix="")
    assert machines.neighbours(hostvars, "a", {"all": ["a", "b"]}) == ["wa-b"]


@pytest.mark.parametrize("name", [12, ["x"], {"a": 1}, True])
def test_a_deployment_that_is_no_text_is_the_error_of_its_host(name: t.Any) -> None:
    hostvars = {"a": {"wa_db_env_hostname": "db"}, "b": {"wa_deployment": name, "wa_db_env_hostname": "db"}}
    machines.read(hostvars, {"all": ["a", "b"]})
    assert machines.sharing_database(hostvars, "a", {"all": ["a", "b"]}) == (["b"] if name == 12 else [])
    assert machines.databases_of_others(hostvars, "a", {"all": ["a", "b"]}) == (
        [["wa-12", "db:3306/"]] if name == 12 else []
    )
