# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role wa_client does with the containers of a host, by table."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._client import project


def container(service: str, state: str = "running", role: str = "core", **other: t.Any) -> dict[str, t.Any]:
    name = f"wa-a-{service}-1"
    return {
        "id": f"id-{service}",
        "name": name,
        "service": service,
        "project": "wa-a",
        "state": state,
        "health": "",
        "role": role,
        "own": True,
        "one_shot": False,
        "version": "2.53.4",
        "api_url": "https://192.0.2.7:9090" if role == "web" else "",
        **other,
    }


CORE, WEB = container("wacore"), container("waweb", role="web")
SURPLUS = container("wacore2")
MIGRATION = container("dbupgrade", "exited", one_shot=True)
LEFT_MIGRATION = container("dbupgrade", "exited")
STRANGER = container("wacore", project="other", name="other-wacore-1", version="2.51.2")


def decide(containers: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    return project.decide(containers, "wa-a")


def test_the_decision_of_a_client_that_is_in_order() -> None:
    assert decide([CORE, WEB, MIGRATION, STRANGER]) == {
        "unhealthy": [],
        "in_force": True,
        "acts": True,
        "waits": "",
        "recreate": "auto",
        "env_changes": {},
    }


@pytest.mark.parametrize("one", [MIGRATION, LEFT_MIGRATION, container("run", one_shot=True)])
def test_a_migration_or_a_one_off_container_is_no_service(one: dict[str, t.Any]) -> None:
    assert project.services([CORE, one], "wa-a") == [CORE]


MAY: dict[str, t.Any] = {"waits": "", "acts": True, "recreate": "auto", "in_force": True}


@pytest.mark.parametrize(("containers", "in_force"), [([CORE, WEB], True), ([], False), ([STRANGER], False)])
def test_nothing_is_done_with_held_containers(containers: list[dict[str, t.Any]], in_force: bool) -> None:
    found = project.decide(containers, "wa-a", held="held by X")
    expected = {"waits": "held by X", "acts": False, "recreate": "never", "in_force": in_force}
    assert {key: found[key] for key in expected} == expected
    plan = {"changes": ["start a (has exited)"]}
    assert not project.change_due({**plan, "unproven": ["compose.yml"]}, found["recreate"], False)


@pytest.mark.parametrize(
    ("core", "in_force", "unhealthy"),
    [
        ({"health": "healthy"}, True, []),
        ({"health": "starting"}, True, ["wa-a-wacore-1 (running, starting)"]),
        ({"health": "unhealthy"}, False, ["wa-a-wacore-1 (running, unhealthy)"]),
        ({"state": "exited"}, False, ["wa-a-wacore-1 (exited)"]),
    ],
)
def test_files_are_in_force_in_a_client_that_runs_and_is_not_unhealthy(
    core: dict[str, t.Any], in_force: bool, unhealthy: list[str]
) -> None:
    found = decide([{**CORE, **core}])
    assert (found["in_force"], found["unhealthy"]) == (in_force, unhealthy)


@pytest.mark.parametrize(
    ("containers", "allowed", "acts", "recreate"),
    [
        ([CORE], True, True, "auto"),
        ([CORE], False, False, "later"),
        ([], False, True, "auto"),  # the first start is no restart
        ([STRANGER, MIGRATION], False, True, "auto"),
    ],
)
def test_a_restart_waits_and_the_first_start_does_not(
    containers: list[dict[str, t.Any]], allowed: bool, acts: bool, recreate: str
) -> None:
    found = project.decide(containers, "wa-a", allowed)
    assert (found["acts"], found["recreate"], found["waits"]) == (acts, recreate, "")


def test_changed_keys_of_stopped_and_running_containers() -> None:
    result = {
        "changed_keys": ["WA_DB_PORT"],
        "removed_keys": ["TZ"],
        "stale_containers": [{"name": "wa-a-waweb-1", "stale_keys": ["WA_DB_PORT"]}],
    }
    containers = [{**CORE, "state": "exited"}, WEB, container("wacore2", "restarting")]
    assert project.decide(containers, "wa-a", True, result)["env_changes"] == {
        "wa-a-wacore-1": ["WA_DB_PORT", "TZ"],
        "wa-a-waweb-1": ["WA_DB_PORT"],
    }


ALONE = {"project": "wa-a", "leader": "h1", "members": ["h1"]}
THREE = {"project": "wa-a", "leader": "h1", "members": ["h1", "h2", "h3"]}
OLD_CORE, NEXT_MIGRATION = {**CORE, "version": "2.51.2"}, {**MIGRATION, "version": "2.55.1"}


@pytest.mark.parametrize(
    ("deployment", "containers", "host", "renamed", "expected"),
    [
        (ALONE, {"h1": [CORE, WEB]}, "h1", False, {"moving": [], "first": "h1"}),
        (THREE, {"h1": [], "h2": [], "h3": []}, "h1", False, {"moving": [], "first": "h1"}),
        (THREE, {"h1": [CORE], "h2": [WEB], "h3": []}, "h1", False, {"moving": [], "first": "h1"}),
        (
            THREE,
            {"h1": [CORE], "h2": [WEB], "h3": []},
            "h2",
            False,
            {"moving": ["wacore"], "first": "h1"},
        ),
        (THREE, {"h1": [CORE], "h2": [WEB], "h3": []}, "h2", True, {"moving": [], "first": "h1"}),
        (THREE, {"h2": [{**CORE, "state": "exited"}]}, "h2", False, {"moving": [], "first": "h2"}),
        (THREE, {"h1": [STRANGER], "h2": []}, "h2", False, {"moving": [], "first": "h1"}),
    ],
)
def test_the_members_of_a_run(
    deployment: dict[str, t.Any],
    containers: dict[str, list[dict[str, t.Any]]],
    host: str,
    renamed: bool,
    expected: dict[str, t.Any],
) -> None:
    found = project.members(containers, deployment, host, False, renamed)
    assert {key: found[key] for key in expected} == expected


TOGETHER = "the client runs on several hosts, and only provision.yml restarts one after the other"
UNMEASURED = "wa_api_password is not set, and without it nobody can tell whether the client is healthy between two members; set it"


@pytest.mark.parametrize(
    ("deployment", "containers", "in_turn", "measured", "hold", "first"),
    [
        (THREE, {"h1": [CORE], "h2": [WEB], "h3": []}, True, True, "", "h2"),
        (THREE, {"h1": [CORE], "h2": []}, False, True, TOGETHER, "h1"),
        (THREE, {"h1": [CORE], "h2": [], "h3": []}, True, False, UNMEASURED, "h2"),
        # Nothing runs that a restart would interrupt.
        (THREE, {"h1": [{**CORE, "state": "exited"}], "h2": []}, False, False, "", "h1"),
        ({**ALONE, "members": ["h2"]}, {"h2": [CORE]}, False, True, "", "h2"),
    ],
)
def test_members_are_not_restarted_together(
    deployment: dict[str, t.Any],
    containers: dict[str, list[dict[str, t.Any]]],
    in_turn: bool,
    measured: bool,
    hold: str,
    first: str,
) -> None:
    found = project.members(containers, deployment, "h2", in_turn, False, measured)
    assert (found["hold"], found["first"]) == (hold, first)


@pytest.mark.parametrize(
    ("containers", "acts", "recreate"),
    [
        ([CORE, WEB], False, "later"),
        ([{**CORE, "state": "exited"}, WEB], False, "later"),  # what is stopped is started then, see _compose.plan
        ([], True, "auto"),  # a first start is no restart
    ],
)
def test_nothing_that_runs_is_restarted_on_hold(containers: list[dict[str, t.Any]], acts: bool, recreate: str) -> None:
    found = project.decide(containers, "wa-a", hold=TOGETHER)
    assert (found["acts"], found["recreate"], found["waits"]) == (acts, recreate, TOGETHER)
    assert found["in_force"] is bool(containers)


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        ({"h1": [OLD_CORE], "h2": [CORE], "h3": []}, ["2.51.2"]),
        ({"h1": [{**OLD_CORE, "state": "exited"}, NEXT_MIGRATION], "h2": [CORE]}, ["2.51.2"]),
        ({"h1": [OLD_CORE, WEB], "h2": []}, ["2.51.2", "2.53.4"]),
        ({"h1": [], "h2": [CORE], "h3": [{**OLD_CORE, "state": "exited"}]}, ["2.53.4"]),
        ({"h1": [STRANGER], "h2": [{**OLD_CORE, "state": "exited"}, NEXT_MIGRATION]}, ["2.51.2"]),
        ({"h1": [], "h2": [STRANGER]}, []),
    ],
)
def test_the_versions_that_the_database_of_a_host_may_be_of(
    containers: dict[str, list[dict[str, t.Any]]], expected: list[str]
) -> None:
    assert project.members(containers, THREE, "h1")["versions"] == expected


def test_without_a_container_the_newest_record_tells_the_version() -> None:
    records = [{}, {"version": "2.53.4", "recorded": "2026-02-01"}, {"version": "2.51.2", "recorded": "2026-01-01"}]
    assert project.members({"h1": [], "h2": []}, THREE, "h1", records=records)["versions"] == ["2.53.4"]
    assert project.members({"h1": [], "h2": [CORE]}, THREE, "h1", records=records)["versions"] == [CORE["version"]]


@pytest.mark.parametrize(
    ("changes", "recreate", "unproven", "pending", "check_mode", "due"),
    [
        ([], "auto", [], [], False, False),
        (["recreates wa-a-wacore-1"], "auto", [], [], False, True),
        (["starts wa-a-wacore-1"], "later", [], [], True, True),
        (["starts wa-a-wacore-1"], "later", ["/a"], ["wa-a-waweb-1"], False, True),
        ([], "auto", ["/a"], [], False, True),
        ([], "auto", ["/a"], [], True, False),
        ([], "later", ["/a"], ["wa-a-waweb-1"], False, False),
        ([], "later", ["/a"], [], False, True),
        ([], "later", ["/a"], [], True, False),
        ([], "never", ["/a"], [], False, False),
    ],
)
def test_when_containers_change(
    changes: list[str], recreate: str, unproven: list[str], pending: list[str], check_mode: bool, due: bool
) -> None:
    plan = {"changes": changes, "unproven": unproven, "pending": pending}
    assert project.change_due(plan, recreate, check_mode) is due
