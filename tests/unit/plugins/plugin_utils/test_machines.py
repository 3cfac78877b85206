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
    for kept in (machines._placed, machines._databases):
        kept.clear()
    yield
    for kept in (machines._placed, machines._databases):
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
