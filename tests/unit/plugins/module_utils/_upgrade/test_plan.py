# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order deployments are upgraded, and which images go."""

from __future__ import annotations

import typing as t

import pytest
from upgrade_journals import at

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import plan as upgrade_plan


def test_smaller_deployments_first() -> None:
    groups = {"all": ["a", "b", "c", "d", "e"], "big": ["d", "e"]}
    hostvars: dict[str, dict[str, t.Any]] = {
        "a": {"__wa_upgrade_host": {"database": {"messages": {"rows": 900}}}},
        "b": {"__wa_upgrade_host": {"database": {"messages": {"rows": 30}}}},
        "c": {"__wa_upgrade_host": {"database": {"messages": {"rows": None}}}},
        "d": {"wa_deployment": "big"},
        "e": {"wa_deployment": "big", "__wa_upgrade_host": {"database": {}}},
    }
    assert upgrade_plan.leaders(hostvars, groups, groups["all"]) == ["b", "a", "c", "d"]
    assert upgrade_plan.leaders(hostvars, groups, ["e"]) == ["d"]


def test_what_may_be_down_comes_first() -> None:
    groups = {"all": ["a", "b", "c", "d"]}
    hostvars: dict[str, dict[str, t.Any]] = {
        "a": {},
        "b": {"__wa_upgrade_host": {"journal": at("locked")}},
        "c": {"__wa_upgrade_host": {"journal": {**at("migrating"), "migration": {"state": "ended"}}}},
        "d": {},
    }
    assert upgrade_plan.leaders(hostvars, groups, groups["all"]) == ["b", "c", "a", "d"]


def test_the_largest_tables_of_the_deployments_that_are_upgraded_on_one_server() -> None:
    groups = {"all": ["a", "b", "c", "d", "e", "f", "g"]}

    def read(server: str = "db:3306", size: int = 5, version: str = "2.51.2", **more: t.Any) -> dict[str, t.Any]:
        clients = [{"version": version, "service": "wacore", "one_shot": False}]
        database = {"server": server, "largest_table": {"bytes": size}, **more}
        return {"__wa_upgrade_host": {"containers": clients, "database": database}}

    hostvars: dict[str, dict[str, t.Any]] = {
        "a": read(),
        "b": read(size=7),
        "c": read(size=9),  # not in this run
        "d": read(server="other:3306"),
        "e": read(version="2.53.4"),  # upgraded already
        "f": read(largest_table=None),
        "g": {"__wa_upgrade_host": {"msg": "no daemon"}},
    }
    found = upgrade_plan.on_server(hostvars, groups, [host for host in groups["all"] if host != "c"], "a", "v2.53.4")
    assert found == {"b": 7}


def test_a_leader_is_the_inventorys_and_not_the_runs() -> None:
    groups = {"all": ["d", "e"], "big": ["d", "e"]}
    hostvars = {host: {"wa_deployment": "big", "wa_leader": "e"} for host in groups["all"]}
    assert upgrade_plan.leaders(hostvars, groups, ["d"]) == ["e"]


def test_a_deployment_that_is_only_checked_has_no_leader() -> None:
    groups = {"all": ["a", "b"]}
    hostvars = {
        "a": {"__wa_upgrade_verdict": {"check_only": True}},
        "b": {"__wa_upgrade_verdict": {"check_only": False}},
    }
    assert upgrade_plan.leaders(hostvars, groups, groups["all"]) == ["b"]


@pytest.mark.parametrize(
    ("asked", "sizes"),
    [([1, "10%", "100%"], [1, "10%", "100%"]), (5, [5]), ("30%", ["30%"]), (["2", " 50% "], [2, "50%"])],
)
def test_waves_as_ansible_takes_them(asked: t.Any, sizes: list[t.Any]) -> None:
    assert upgrade_plan.waves(asked) == sizes


@pytest.mark.parametrize("asked", [[], 0, "canary", [1, "0%"], [True], [-1], [1.5], None, ["10 %"]])
def test_waves_that_are_none(asked: t.Any) -> None:
    with pytest.raises(WaError, match="wa_provision_waves"):
        upgrade_plan.waves(asked)
