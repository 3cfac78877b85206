# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which roles provision.yml enters, by table: for what the looks at a deployment's members have found."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.plugin_utils import _provision_plan as provision_plan

ALL = ["host", "trial_database", "media_volume", "db_env", "client", "log_cleanup", "automatic_gc"]
SYNCED = {name: {"state": "in_sync"} for name in ALL if name != "trial_database"}
CHANGED = {"state": "drifted", "changes": ["a"]}
UNKNOWN = {"state": "unknown", "error": "a"}
RESTART_NOW = {"state": "drifted", "restarts": ["a"]}
RESTART_LATER = {"state": "restart_pending", "restarts": ["a"]}
UPGRADE = {"state": "restart_pending", "pending": ["a"]}


def look(restart: str = "now", always: t.Sequence[str] = (), **concerns: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The result of a look at one member."""
    return {"concerns": {**SYNCED, **concerns}, "restart": restart, "always": list(always)}


def test_the_members_of_a_deployment_that_differs_are_corrected_together() -> None:
    looks = {
        "h1": {**look(), "members": ["h1", "h2", "lost"]},
        "h2": {**look(), "members": ["h1", "h2", "lost"]},
        "alone": {**look(), "members": ["alone"]},
        "odd": {**look(log_cleanup=CHANGED), "members": ["odd"]},
    }
    assert provision_plan.hosts_to_correct(looks) == ["h1", "h2", "lost", "odd"]  # `lost` was not compared
    assert provision_plan.hosts_to_correct({"alone": looks["alone"]}) == []
    assert provision_plan.hosts_to_correct({"alone": looks["alone"]}, full=True) == ["alone"]


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([look()], []),
        ([look(), look()], []),
        ([look(host=CHANGED)], ["host"]),
        ([look(media_volume=CHANGED)], ["host", "media_volume", "db_env", "client"]),
        ([look(db_env=CHANGED)], ["host", "db_env", "client"]),
        ([look(client=CHANGED)], ["host", "db_env", "client"]),
        ([look(log_cleanup=CHANGED)], ["host", "log_cleanup"]),
        (
            [look(log_cleanup=CHANGED, media_volume=CHANGED)],
            ["host", "media_volume", "db_env", "client", "log_cleanup"],
        ),
        # What differs at one member is entered at all of them.
        ([look(), look(log_cleanup=CHANGED), look()], ["host", "log_cleanup"]),
        ([look(host=CHANGED), look(log_cleanup=CHANGED)], ["host", "log_cleanup"]),
        ([look(client=UNKNOWN)], ["host", "db_env", "client"]),
        ([look(host=UNKNOWN)], ["host"]),
        # A member that was not compared.
        ([{}], ALL),
        ([look(), {}], ALL),
        ([{"failed": True, "msg": "a"}], ALL),
        # What waits for its time.
        ([look(client=RESTART_NOW)], ["host", "db_env", "client"]),
        ([look("window", client=RESTART_LATER)], ["host", "db_env", "client"]),
        ([look("report", client=RESTART_LATER)], []),
        ([look("report", client={**CHANGED, "restarts": ["b"]})], ["host", "db_env", "client"]),
        ([look(client=UPGRADE)], []),
        ([look("window", client=UPGRADE)], []),
        ([look("report"), look("window", db_env=RESTART_LATER)], ["host", "db_env", "client"]),
        ([look(client={"state": "in_sync", "warnings": ["a"]})], []),
        # What the look does not see.
        ([look(automatic_gc=CHANGED)], ["host", "automatic_gc"]),
        ([look(automatic_gc=RESTART_NOW)], ["host", "automatic_gc"]),
        ([look(automatic_gc=UNKNOWN, log_cleanup=CHANGED)], ["host", "log_cleanup", "automatic_gc"]),
        ([look(always=["trial_database"])], ["host", "trial_database"]),
        ([look(always=["removal", *ALL])], [*ALL, "removal"]),
        ([look(), look(always=["removal", *ALL])], [*ALL, "removal"]),
        # A concern that is to be absent is not compared.
        ([{"concerns": {"host": {"state": "in_sync"}}, "restart": "now", "always": []}], []),
        ([], []),
    ],
)
def test_what_is_entered(looks: list[dict[str, t.Any]], expected: list[str]) -> None:
    by_member = {f"h{number}": one for number, one in enumerate(looks)}
    assert provision_plan.concerns(by_member) == expected


@pytest.mark.parametrize("one", [look(), look(log_cleanup=CHANGED), look("report", client=RESTART_LATER), {}])
def test_a_full_run_enters_everything(one: dict[str, t.Any]) -> None:
    assert provision_plan.concerns({"h1": one}, full=True) == ALL


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, []),
        ({"wa_trial_database_image": "mariadb:11"}, ["trial_database"]),
        *(({f"wa_{name}_state": "absent"}, ["removal", *ALL]) for name in ALL[:-1]),
        ({"wa_client_state": "absent", "wa_trial_database_image": "a"}, ["removal", *ALL]),
    ],
)
def test_what_is_entered_whatever_the_look_says(values: dict[str, t.Any], expected: list[str]) -> None:
    given = {name: "present" if name.endswith("_state") else None for name in provision_plan.SWITCHES}
    assert provision_plan.always({**given, **values}) == expected


@pytest.mark.parametrize(
    ("markers", "entered"),
    [
        ([None], False),
        ([""], False),  # a host alone shares its volume with nobody
        ([None, None], False),  # no container was asked
        (["a1", "a1"], False),
        (["a1", None], False),
        (["a1", "b2"], True),
        (["a1", ""], True),
        (["", ""], True),  # there is no marker yet
        (["", None], True),
        (["a1", "a1", "b2"], True),
    ],
)
def test_members_that_share_no_volume(markers: list[str | None], entered: bool) -> None:
    looks = {f"h{number}": {**look(), "marker": marker} for number, marker in enumerate(markers)}
    assert provision_plan.shares_no_volume(looks) is entered
    assert provision_plan.concerns(looks) == (["host", "media_volume"] if entered else [])


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


def test_all_that_differs_is_said_with_its_concern() -> None:
    assert provision_plan.lines(FOUND) == [
        "host: cron does not run",
        "db_env: wacore was created with another WA_DB_PORT (needs a restart)",
        "client: not known: Docker Engine: no answer.",
        "log_cleanup: c1",
        "log_cleanup: r1 (needs a restart)",
    ]
    assert provision_plan.warnings(FOUND) == ["w1", "w2"]


def test_what_waits_is_said_apart() -> None:
    assert provision_plan.pending(FOUND) == ["wacore was created with another WA_DB_PORT", "p1"]
    assert provision_plan.pending(FOUND, "window") == ["wacore was created with another WA_DB_PORT", "r1", "p1"]


def test_what_waits_for_its_time_is_no_failure_after_the_roles_have_acted() -> None:
    first = ["host: cron does not run", "client: not known: Docker Engine: no answer.", "log_cleanup: c1"]
    assert provision_plan.remaining(FOUND, "window") == first
    assert provision_plan.remaining(FOUND, "report") == first
    assert provision_plan.remaining(FOUND) == [*first, "log_cleanup: r1"]
    assert provision_plan.remaining({"client": {"state": "drifted", "restarts": ["r1"]}}) == ["client: r1"]
    assert provision_plan.remaining(SYNCED) == []
    assert provision_plan.remaining({"client": UPGRADE}) == []


def test_a_client_that_is_down_is_not_reported_twice() -> None:
    gc = {"state": "unknown", "error": "API: not reachable."}
    down = {"state": "drifted", "changes": ["service waweb: its container is missing"]}
    assert provision_plan.lines({"client": down, "automatic_gc": gc}) == [
        "client: service waweb: its container is missing"
    ]
    assert provision_plan.lines({"client": {"state": "in_sync"}, "automatic_gc": gc}) == [
        "automatic_gc: not known: API: not reachable."
    ]
    assert provision_plan.concerns({"h1": look(client=down, automatic_gc=gc)})[-1] == "automatic_gc"
