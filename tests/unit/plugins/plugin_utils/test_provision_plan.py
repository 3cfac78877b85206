# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which roles provision.yml runs, for the comparison results of a deployment's members."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.plugin_utils import _provision_plan as provision_plan

ALL = ["host", "media_volume", "db_env", "client", "log_cleanup", "automatic_gc"]
SYNCED = {name: {"state": "in_sync"} for name in ALL}
CHANGED = {"state": "drifted", "changes": ["a"]}
UNKNOWN = {"state": "unknown", "error": "a"}
RESTART_NOW = {"state": "drifted", "restarts": ["a"]}
RESTART_LATER = {"state": "restart_pending", "restarts": ["a"]}
UPGRADE = {"state": "restart_pending", "pending": ["a"]}


def result(restart: str = "now", **concerns: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The comparison result of one member."""
    return {"concerns": {**SYNCED, **concerns}, "restart": restart}


def test_all_members_of_a_drifted_deployment_are_corrected() -> None:
    results = {
        "h1": {**result(), "members": ["h1", "h2", "lost"]},
        "h2": {**result(), "members": ["h1", "h2", "lost"]},
        "alone": {**result(), "members": ["alone"]},
        "odd": {**result(log_cleanup=CHANGED), "members": ["odd"]},
    }
    assert provision_plan.to_correct(results) == (["h1", "h2", "lost", "odd"], [])  # `lost` was not compared
    assert provision_plan.to_correct({"alone": results["alone"]}) == ([], [])


def test_a_host_with_an_alarm_is_compared_again_alone() -> None:
    dead = {"state": "in_sync", "alarms": ["a"]}
    results = {
        "h1": {**result(health=dead), "members": ["h1", "h2"]},
        "h2": {**result(), "members": ["h1", "h2"]},
    }
    assert provision_plan.concerns(results) == []
    assert provision_plan.to_correct(results) == (["h1"], [])
    results["h2"] = {**result(log_cleanup=CHANGED), "members": ["h1", "h2"]}
    assert provision_plan.to_correct(results) == (["h1", "h2"], [])


def test_a_concern_without_a_role_runs_none() -> None:
    assert provision_plan.concerns({"h1": result(database=CHANGED, health=UNKNOWN, added=CHANGED)}) == []


@pytest.mark.parametrize(
    ("found", "runs", "restarts"),
    [
        (result(client=RESTART_NOW), True, True),
        (result(db_env=CHANGED), True, True),  # what takes a restart when it is written
        (result(media_volume=UNKNOWN), True, True),
        (result("window", client=RESTART_LATER), True, True),  # the window may be open
        (result("report", client=RESTART_LATER, db_env=CHANGED), True, False),
        (result(client={"state": "drifted", "containers": ["waweb has exited"]}), True, False),
        (result(log_cleanup=CHANGED, host=CHANGED, automatic_gc=CHANGED), True, False),
        (result(client=UPGRADE), True, False),
        (result(client=RESTART_NOW, db_env=CHANGED), False, False),  # a first start is no restart
        ({**result(client=RESTART_NOW), "held": "a"}, True, False),
    ],
)
def test_whether_a_client_may_be_restarted(found: dict[str, t.Any], runs: bool, restarts: bool) -> None:
    assert provision_plan.may_restart({"h1": {**found, "runs": runs}, "lost": {}}) is restarts
    assert provision_plan.may_restart({"h1": {**result(), "runs": runs}, "h2": found}) is restarts


def fleet(*sizes: int) -> dict[str, dict[str, t.Any]]:
    """Deployments a, b, ... of so many hosts, whose clients are to be restarted."""
    found = {}
    for letter, size in zip("abcdefghijklmnopqrstuvwxyz", sizes):
        members = [f"{letter}{number}" for number in range(1, size + 1)]
        found.update({one: {**result(client=RESTART_NOW), "runs": True, "members": members} for one in members})
    return found


@pytest.mark.parametrize(
    ("deployments", "sizes", "waves", "batches"),
    [
        ((1, 1, 1), [1, "10%", "100%"], "a1 / b1 / c1", "a1 / b1 / c1"),
        # One host of a deployment after the other, and deployments of one wave together.
        ((1, 3, 1), [1, "50%", "100%"], "a1 / b1 b2 b3 / c1", "a1 / b1 / b2 / b3 / c1"),
        ((3, 1, 2), ["100%"], "a1 a2 a3, b1, c1 c2", "a1 b1 c1 / a2 c2 / a3"),
        ((1,) * 20, [1, "10%", "100%"], f"a1 / b1, c1 / {', '.join(f'{one}1' for one in 'defghijklmnopqrst')}", None),
        ((1, 1, 1), [1], "a1 / b1 / c1", None),  # the last size is for all that are left
        ((1, 1), [9], "a1, b1", "a1 b1"),
        ((), [1], "", ""),
    ],
)
def test_clients_are_restarted_in_waves(
    deployments: t.Sequence[int], sizes: t.Sequence[int | str], waves: str, batches: str | None
) -> None:
    found = provision_plan.waves(provision_plan.to_correct(fleet(*deployments))[1], sizes)
    assert " / ".join(", ".join(" ".join(hosts) for hosts in wave) for wave in found) == waves
    if batches is not None:
        assert " / ".join(" ".join(hosts) for hosts in provision_plan.batches(found)) == batches


def test_the_order_of_the_hosts_of_a_deployment() -> None:
    """The leader says at its end whether the client serves; and a Coreapp runs on its new host before it leaves the old one."""
    results = {host: {**one, "leader": "a1"} for host, one in fleet(3).items()}
    assert provision_plan.to_correct(results) == ([], [["a2", "a3", "a1"]])
    results["a2"]["look"] = {"loses": True}
    assert provision_plan.to_correct(results) == ([], [["a3", "a1", "a2"]])


def test_what_needs_no_restart_waits_for_no_wave() -> None:
    results = {**fleet(1, 1), "x": {**result(log_cleanup=CHANGED), "runs": True, "members": ["x"]}}
    results["y"] = {**results["x"], "members": ["y"]}
    assert provision_plan.to_correct(results) == (["x", "y"], [["a1"], ["b1"]])


ROLLOUT = [[["a1"]], [["b1", "b2", "b3"], ["c1"]], [["d1", "d2"]]]


def test_the_lines_about_waves() -> None:
    assert provision_plan.wave_lines(ROLLOUT) == [
        "restarts, wave 1 of 3: a1",
        "restarts, wave 2 of 3: b1 then b2 then b3, c1",
        "restarts, wave 3 of 3: d1 then d2",
    ]
    assert provision_plan.wave_lines([[["a1", "a2"]]]) == ["restarts, wave 1 of 1: a1 then a2"]
    assert provision_plan.wave_lines([[["a1"]]]) == provision_plan.wave_lines([]) == []


@pytest.mark.parametrize(
    ("host", "failed", "before"),
    [
        ("d2", ["a1", "c1", "b3"], ["a1", "b3", "c1"]),
        ("d1", ["x"], []),  # it is in no wave
        ("b2", ["b1"], ["b1"]),
        ("b2", ["c1"], []),  # of the same wave
        ("b1", ["a1"], ["a1"]),
        ("a1", ["b1", "d1"], []),
    ],
)
def test_failures_that_keep_a_host_from_its_restart(host: str, failed: list[str], before: list[str]) -> None:
    assert provision_plan.failed_before(ROLLOUT, host, failed) == before


@pytest.mark.parametrize(
    ("host", "kept"),
    [("a1", "b1, b2, b3, c1, d1, d2"), ("b1", "b2, b3, d1, d2"), ("b3", "d1, d2"), ("c1", "d1, d2"), ("d2", "")],
)
def test_the_hosts_that_a_failure_keeps_back(host: str, kept: str) -> None:
    assert provision_plan.kept_back(ROLLOUT, host) == kept


def test_the_automatic_gc_of_a_client_that_does_not_serve_is_no_difference_of_its_own() -> None:
    dead = {"state": "in_sync", "alarms": ["the client does not serve: a"]}
    found = result(health=dead, automatic_gc=UNKNOWN)
    assert provision_plan.concerns({"h1": found}) == []
    assert provision_plan.lines(found["concerns"]) == []
    # Containers are recreated, after which the client may serve.
    assert provision_plan.concerns({"h1": found, "h2": result(client=CHANGED)}) == ["client", "automatic_gc"]
    assert provision_plan.concerns({"h1": result(health=dead, automatic_gc=RESTART_NOW)}) == ["automatic_gc"]


@pytest.mark.parametrize(
    ("plan", "skip_tags", "left"),
    [
        ((), (), ["dead", "two", "unknown session"]),
        (("log_cleanup",), (), ["dead", "two", "unknown session"]),
        (("db_env", "client"), (), ["unknown session"]),  # no role ends another's session
        ((), ("health",), ["two", "unknown session"]),
    ],
)
def test_alarms_that_are_left(plan: tuple[str, ...], skip_tags: tuple[str, ...], left: list[str]) -> None:
    found: dict[str, dict[str, t.Any]] = {
        "host": {"state": "in_sync"},
        "health": {"state": "in_sync", "alarms": ["dead."]},
        "client": {"state": "drifted", "alarms": ["two"]},
        "database": {"state": "in_sync", "alarms": ["unknown session"]},
    }
    assert provision_plan.alarms(found, plan, skip_tags) == left


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([result()], []),
        ([result(), result()], []),
        ([result(host=CHANGED)], ["host"]),
        ([result(media_volume=CHANGED)], ["media_volume", "db_env", "client"]),
        ([result(db_env=CHANGED)], ["db_env", "client"]),
        ([result(client=CHANGED)], ["client"]),
        ([result(log_cleanup=CHANGED)], ["log_cleanup"]),
        (
            [result(log_cleanup=CHANGED, media_volume=CHANGED)],
            ["media_volume", "db_env", "client", "log_cleanup"],
        ),
        # A drift of one member runs the role on all members.
        ([result(), result(log_cleanup=CHANGED), result()], ["log_cleanup"]),
        ([result(host=CHANGED), result(log_cleanup=CHANGED)], ["host", "log_cleanup"]),
        ([result(client=UNKNOWN)], ["client"]),
        ([result(host=UNKNOWN)], ["host"]),
        # A member that was not compared.
        ([{}], ALL),
        ([result(), {}], ALL),
        ([{"failed": True, "msg": "a"}], ALL),
        # Pending restarts.
        ([result(client=RESTART_NOW)], ["client"]),
        ([result("window", client=RESTART_LATER)], ["client"]),
        ([result("report", client=RESTART_LATER)], []),
        ([result("report", client={**CHANGED, "restarts": ["b"]})], ["client"]),
        ([result(client=UPGRADE)], []),
        ([result("window", client=UPGRADE)], []),
        ([result("report"), result("window", db_env=RESTART_LATER)], ["db_env", "client"]),
        ([result(client={"state": "in_sync", "warnings": ["a"]})], []),
        # Concerns that are not compared by the module.
        ([result(automatic_gc=CHANGED)], ["automatic_gc"]),
        ([result(automatic_gc=RESTART_NOW)], ["automatic_gc"]),
        ([result(automatic_gc=UNKNOWN, log_cleanup=CHANGED)], ["log_cleanup", "automatic_gc"]),
        # An absent concern is not compared.
        ([{"concerns": {"host": {"state": "in_sync"}}, "restart": "now"}], []),
        ([], []),
    ],
)
def test_concerns_to_run(results: list[dict[str, t.Any]], expected: list[str]) -> None:
    by_member = {f"h{number}": one for number, one in enumerate(results)}
    assert provision_plan.concerns(by_member) == expected


NONE = "no marker is on the media volume of {}, by which hosts see that they share one"
SPLIT = "the hosts do not share one media volume, by the markers on it ({})"


@pytest.mark.parametrize(
    ("markers", "text"),
    [
        ([None], ""),
        ([""], ""),  # a single host shares its volume with no other
        ([None, None], ""),  # no container was inspected
        (["a1", "a1"], ""),
        (["a1", None], ""),
        (["a1", "b2"], SPLIT.format("h0: a1; h1: b2")),
        (["a1", ""], SPLIT.format("h1: none; h0: a1")),
        (["", ""], NONE.format("h0, h1")),
        (["", None], NONE.format("h0")),
        (["a1", "a1", "b2"], SPLIT.format("h0, h1: a1; h2: b2")),
    ],
)
def test_members_with_different_markers_share_no_volume(markers: list[str | None], text: str) -> None:
    results = {f"h{number}": {**result(), "marker": marker} for number, marker in enumerate(markers)}
    assert provision_plan.split_volume(results) == text
    assert provision_plan.concerns(results) == (["media_volume"] if text else [])


FOUND: dict[str, dict[str, t.Any]] = {
    "host": {"state": "drifted", "changes": ["cron does not run"], "warnings": ["w1"]},
    "media_volume": {"state": "in_sync"},
    "db_env": {
        "state": "restart_pending",
        "restarts": ["wacore was created with another WA_DB_PORT"],
        "pending": ["p1"],
    },
    "client": {"state": "unknown", "error": "Docker Engine: no answer.", "warnings": ["w2"]},
    "log_cleanup": {"state": "drifted", "changes": ["c1"], "restarts": ["r1"]},
}


def test_what_is_stopped_and_there() -> None:
    lines = [
        "a has exited",
        "b is missing",
        "c is not in the record of this host as its Compose files are read now: it was created, or Compose upgraded, since "
        "provision.yml last ended. provision.yml compares it with these files, and records it",
        "d is paused",
        "f is unhealthy. Look",
    ]
    found = {"client": {"state": "drifted", "containers": lines, "restarts": ["e runs x"]}}
    assert provision_plan.stopped(found) == ["a has exited", "d is paused"]


@pytest.mark.parametrize(
    ("found", "look", "only"),
    [
        ({"client": {"state": "drifted", "containers": ["a"]}}, {"only_starts": True}, True),
        ({"client": {"state": "drifted", "containers": ["a is unhealthy"]}}, {"only_starts": False}, False),
        ({"client": {"state": "drifted", "containers": ["a"]}}, {}, False),
        ({"client": {"state": "drifted", "containers": ["a"], "changes": ["b"]}}, {"only_starts": True}, False),
        ({"client": {"state": "drifted", "containers": ["a"]}, "db_env": RESTART_NOW}, {"only_starts": True}, False),
        ({"client": {"state": "drifted", "containers": ["a"]}, "media_volume": UNKNOWN}, {"only_starts": True}, False),
        ({"client": {"state": "drifted", "containers": ["a"]}, "log_cleanup": CHANGED}, {"only_starts": True}, True),
        ({"client": {"state": "in_sync"}}, {"only_starts": True}, False),
    ],
)
def test_whether_nothing_is_done_but_starting(found: dict[str, t.Any], look: dict[str, t.Any], only: bool) -> None:
    assert provision_plan.only_starts({**SYNCED, **found}, look) is only


def test_lines_name_each_difference_with_its_concern() -> None:
    assert provision_plan.lines(FOUND) == [
        "host: cron does not run",
        "db_env: wacore was created with another WA_DB_PORT (needs a restart)",
        "client: not known: Docker Engine: no answer.",
        "log_cleanup: c1",
        "log_cleanup: r1 (needs a restart)",
    ]
    assert provision_plan.lines(FOUND, "window") == [
        "host: cron does not run",
        "client: not known: Docker Engine: no answer.",
        "log_cleanup: c1",
    ]
    assert provision_plan.warnings(FOUND) == ["w1", "w2"]


def test_pending_restarts_are_listed_separately() -> None:
    assert provision_plan.pending(FOUND) == ["wacore was created with another WA_DB_PORT", "p1"]
    assert provision_plan.pending(FOUND, "window") == ["wacore was created with another WA_DB_PORT", "r1", "p1"]


def test_what_waits_is_no_line() -> None:
    assert provision_plan.lines({"client": RESTART_LATER}, "window") == []
    assert provision_plan.lines(FOUND, "report") == provision_plan.lines(FOUND, "window")
    assert provision_plan.lines(SYNCED) == []
    assert provision_plan.lines({"client": UPGRADE}) == []


DOWN = {"state": "drifted", "containers": ["wacore has exited"]}


def test_a_hold_lets_everything_wait_that_is_about_containers() -> None:
    found: dict[str, dict[str, t.Any]] = {
        "db_env": {"state": "drifted", "changes": ["set A"], "restarts": ["r1"]},
        "client": {**DOWN, "restarts": ["r2"], "pending": ["p1"], "warnings": ["w1"]},
        "log_cleanup": UNKNOWN,
        "automatic_gc": UNKNOWN,
    }
    held = provision_plan.held(found)
    assert held == {
        "db_env": {"state": "drifted", "changes": ["set A"], "pending": ["r1"]},
        "client": {"state": "restart_pending", "pending": ["wacore has exited", "r2", "p1"], "warnings": ["w1"]},
        "log_cleanup": UNKNOWN,
    }
    assert provision_plan.lines(held) == ["db_env: set A", "log_cleanup: not known: a"]
    assert provision_plan.pending(held) == ["r1", "wacore has exited", "r2", "p1"]
    assert provision_plan.lines({"client": held["client"]}) == []


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([result(client=DOWN)], ["client"]),
        ([{**result(client=DOWN), "held": "why"}], []),
        ([{**result(client=DOWN), "held": "why"}, result(client=DOWN)], []),  # a member's hold is the deployment's
        ([{**result(client={**DOWN, "changes": ["a"]}), "held": "why"}], ["client"]),
        ([{**result(log_cleanup=CHANGED, automatic_gc=CHANGED), "held": "why"}], ["log_cleanup"]),
        ([{**result(client=RESTART_NOW), "held": "why"}, {}], ALL),
    ],
)
def test_a_held_deployment_runs_only_the_roles_with_files_to_correct(
    results: list[dict[str, t.Any]], expected: list[str]
) -> None:
    assert provision_plan.concerns({f"h{number}": one for number, one in enumerate(results)}) == expected


def test_a_missing_client_is_reported_once() -> None:
    gc = {"state": "unknown", "error": "API: not reachable."}
    down = {"state": "drifted", "containers": ["wa-a-waweb-1 is missing"]}
    assert provision_plan.lines({"client": down, "automatic_gc": gc}) == ["client: wa-a-waweb-1 is missing"]
    assert provision_plan.lines({"client": {"state": "in_sync"}, "automatic_gc": gc}) == [
        "automatic_gc: not known: API: not reachable."
    ]
    assert provision_plan.concerns({"h1": result(client=down, automatic_gc=gc)})[-1] == "automatic_gc"


def test_a_hold_lets_a_failed_log_cleanup_wait() -> None:
    """The client may have been taken down, with nothing left to clean."""
    last_run = "nightly log cleanup: its last run failed: a: is paused"
    found = {"log_cleanup": {"state": "drifted", "containers": [last_run]}}
    assert provision_plan.lines(found) == [f"log_cleanup: {last_run}"]
    held = provision_plan.held(found)
    assert (provision_plan.lines(held), provision_plan.pending(held)) == ([], [last_run])
    assert provision_plan.stopped(found) == []  # a hint for containers of the client
