# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks have found of a deployment: what runs, what an earlier run has left, which databases are the client's."""

from __future__ import annotations

import typing as t

import pytest
from upgrade_journals import at

from ansible_collections.waba.onprem.plugins.module_utils._upgrade import deployment_state

DEPLOYMENT = {"name": "waba", "project": "wa", "leader": "h1", "members": ["h1", "h2"]}
CORE = {
    "name": "core",
    "project": "wa",
    "service": "wacore",
    "one_shot": False,
    "version": "2.51.2",
    "state": "running",
}
OTHERS = [
    {**CORE, "project": "other"},
    {**CORE, "service": "dbupgrade", "version": "2.53.4"},
    {**CORE, "one_shot": True},
]
STOPPED = {**at("stopping"), "target": "2.53.4"}
NOTED = {**STOPPED, "notes": {**STOPPED["notes"], "from_version": "2.51.2", "databases": ["noted"]}}
ORPHAN = {"orphan_migrations": {"wa": "2.53.4", "other": "2.55.1"}}


def of_host(leader: dict[str, t.Any], other: dict[str, t.Any] | None = None, host: str = "h1") -> dict[str, t.Any]:
    return deployment_state.of_host({"h1": leader, "h2": other or {}}, DEPLOYMENT, host)


def test_the_containers_of_the_client_on_all_members() -> None:
    new = {**CORE, "name": "new", "version": "2.53.4"}
    found = of_host({"containers": [CORE, *OTHERS]}, {"containers": [new]}, "h2")
    assert (found["clients"], found["everywhere"]) == ([new], [CORE, new])
    assert (found["running"], found["before"]) == (["2.51.2", "2.53.4"], "2.51.2, 2.53.4")


@pytest.mark.parametrize(
    ("leader", "target", "lost", "unfinished", "before"),
    [
        ({}, None, False, False, ""),
        ({"msg": "no daemon"}, None, False, False, ""),
        ({"journal": {}, "containers": [CORE]}, None, False, False, "2.51.2"),
        ({"journal": {**at("locked"), "target": "2.53.4"}}, "2.53.4", False, False, ""),  # it has stopped nothing
        ({"journal": NOTED}, "2.53.4", False, True, "2.51.2"),
        ({"journal": NOTED, **ORPHAN}, "2.53.4", False, True, "2.51.2"),
        (ORPHAN, "2.53.4", True, True, ""),
        # Killed before its stop; somebody has then started its migration, and stopped the client.
        ({"journal": {**at("locked"), "target": "2.55.1"}, **ORPHAN}, "2.53.4", True, True, ""),
    ],
)
def test_what_an_earlier_run_has_left(
    leader: dict[str, t.Any], target: str | None, lost: bool, unfinished: bool, before: str
) -> None:
    found = of_host(leader)
    assert (found["left"].get("target"), found["journal_lost"]) == (target, lost)
    assert (found["unfinished"], found["before"]) == (unfinished, before)
    assert of_host({}, leader, "h2")["left"] == {}  # the leader's counts


@pytest.mark.parametrize(
    ("journal", "seen", "expected"),
    [
        ({}, ["seen"], ["seen"]),
        ({**NOTED, "schema": "untouched"}, ["seen"], ["noted"]),
        ({**at("locked"), "target": "2.53.4", "notes": {"databases": ["noted"]}}, ["seen"], ["seen"]),
        (STOPPED, ["seen"], ["seen"]),
        (STOPPED, [], []),
    ],
)
def test_an_unfinished_upgrade_keeps_to_its_databases(
    journal: dict[str, t.Any], seen: list[str], expected: list[str]
) -> None:
    assert of_host({"journal": journal, "database": {"databases": seen}})["databases"] == expected
