# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an upgrade goes on: by table, and what holds for every stage and everything that may be found."""

from __future__ import annotations

import itertools
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import MIGRATION
from ansible_collections.waba.onprem.plugins.module_utils._deployment.upgrade_journal import STAGES
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import next_step

OLD, TARGET = "2.51.2", "2.53.4"
STOPPED_AT = 1000.0
HOSTS = ("h1", "h2")
IMAGES = ("mirror/coreapp:v2.53.4", "mirror/web:v2.53.4")  # of the second host, which has repositories of its own


def container(service: str, state: str, started_at: float = 10.0, **more: t.Any) -> dict[str, t.Any]:
    return {
        "name": f"wa-{service}-1",
        "id": f"id-{service}",
        "project": "wa",
        "database": "db:3306/",
        "env_keys": ["WA_DB_HOSTNAME"],
        "service": service,
        "version": OLD,
        "state": state,
        "started_at": started_at,
        "exit_code": 0,
        "one_shot": False,
        **more,
    }


def client(state: str, started_at: float = 10.0) -> list[dict[str, t.Any]]:
    return [container("wacore", state, started_at), container("waweb", state, started_at)]


def migration(state: str, exit_code: int = 0, version: str = TARGET, started_at: float = 0.0) -> dict[str, t.Any]:
    """A migration that began 100 s after the stop, or was created only."""
    began = started_at or (0.0 if state == "created" else STOPPED_AT + 100)
    keys = ["WA_DB_HOSTNAME", "WA_DB_UPGRADE"]
    return container(MIGRATION, state, began, exit_code=exit_code, version=version, one_shot=True, env_keys=keys)


def step(
    stage: str,
    leader: list[dict[str, t.Any]],
    other: list[dict[str, t.Any]] | None = None,
    notes: dict[str, t.Any] | None = None,
    checked: t.Sequence[str] = (OLD,),
    unfinished: bool = False,
    other_clock: float = 0.0,
    other_notes: dict[str, t.Any] | None = None,
    other_images: t.Sequence[str] = IMAGES,
    copies: tuple[bool, str, list[str]] = (True, "", []),
) -> dict[str, t.Any]:
    """The decision for two hosts; the second one's clock is ahead by `other_clock` seconds."""
    journal = {"stage": stage, "target": TARGET, "notes": {"down_at": STOPPED_AT} if notes is None else notes}
    if other_notes is None:
        other_notes = {"down_at": STOPPED_AT + other_clock} if notes is None else {}
    return next_step.next_step(
        {
            "leader": "h1",
            "journal": journal,
            "journals": [{"item": {"host": "h2"}, "journal": {**journal, "notes": other_notes}}],
            "containers": [
                {
                    "item": {
                        "host": "h2",
                        "project": "wa",
                        "images": {"coreapp": "mirror/coreapp", "web": "mirror/web"},
                    },
                    "containers": client("exited") if other is None else other,
                    "images": [{"name": name} for name in other_images],
                },
                {
                    "item": {"host": "h1", "project": "wa", "images": {"coreapp": "r/coreapp", "web": "r/web"}},
                    "containers": leader,
                    "images": [{"name": "r/coreapp:v2.53.4"}, {"name": "r/web:v2.53.4"}],
                },
            ],
            "checked": checked,
            "checked_unfinished": unfinished,
            "copies": copies,
        }
    )


DOWN, UP = client("exited"), client("running")
BACK = client("exited", STOPPED_AT + 50)  # started after the stop, and stopped again
LATER = client("exited", STOPPED_AT + 150)  # started after the migration, too
HALF = [container("wacore", "running"), container("waweb", "exited")]


@pytest.mark.parametrize(
    ("stage", "leader", "other", "goes_on_at", "what", "served"),
    [
        ("locked", UP, UP, "locked", "start", False),
        ("locked", [*UP, migration("exited", 1)], UP, "locked", "start", False),
        ("locked", [*UP, migration("exited")], UP, "locked", "start", False),
        ("stopping", DOWN, DOWN, "stopping", "start", False),
        ("stopping", UP, UP, "locked", "start", True),
        ("stopping", UP, DOWN, "locked", "start", True),
        ("stopping", HALF, DOWN, "stopping", "start", True),
        ("stopping", client("restarting"), DOWN, "stopping", "start", True),
        ("stopping", DOWN, UP, "stopping", "start", True),
        ("stopping", BACK, DOWN, "stopping", "start", True),
        ("stopping", DOWN, BACK, "stopping", "start", True),
        ("stopping", [], [], "stopping", "start", True),
        ("stopping", [*DOWN, migration("running")], DOWN, "migrating", "wait", False),
        ("stopping", [*UP, migration("exited")], DOWN, "migrating", "wait", False),
        ("stopping", [*DOWN, migration("exited", started_at=500.0)], DOWN, "stopping", "start", False),
        ("stopping", [*UP, migration("exited", started_at=500.0)], UP, "locked", "start", True),
        ("migrating", DOWN, DOWN, "migrating", "start", False),
        ("migrating", [*DOWN, migration("running")], DOWN, "migrating", "wait", False),
        ("migrating", [*DOWN, migration("paused")], DOWN, "migrating", "wait", False),
        ("migrating", [*UP, migration("running")], UP, "migrating", "wait", False),
        ("migrating", [*DOWN, migration("exited")], DOWN, "migrating", "wait", False),
        ("migrating", [*UP, migration("exited")], UP, "migrating", "wait", False),
        # By another clock than the stop's: at this stage it is this upgrade's own.
        ("migrating", [*DOWN, migration("exited", started_at=500.0)], DOWN, "migrating", "wait", False),
        ("migrating", [*DOWN, migration("running", started_at=500.0)], DOWN, "migrating", "wait", False),
        ("migrating", [*DOWN, migration("exited", 1)], DOWN, "migrating", "start", False),
        ("migrating", [*DOWN, migration("exited", 137)], DOWN, "migrating", "start", False),
        ("migrating", [*DOWN, migration("exited", 0, version="2.50.1")], DOWN, "migrating", "start", False),
        # The schema may be changed: what the old version would be copied with is no copy of its own.
        ("migrating", [*LATER, migration("exited", 1)], DOWN, "migrating", "start", False),
        ("migrating", [*UP, migration("exited", 1)], UP, "migrating", "start", False),
        ("migrating", UP, UP, "migrating", "start", False),
        ("migrating", [], [], "migrating", "start", False),
        ("starting", DOWN, DOWN, "starting", "", False),
        ("starting", UP, DOWN, "starting", "", False),
        ("verifying", UP, UP, "verifying", "", False),
        ("verifying", DOWN, [], "verifying", "", False),
    ],
)
def test_where_an_upgrade_goes_on(
    stage: str, leader: list[t.Any], other: list[t.Any], goes_on_at: str, what: str, served: bool
) -> None:
    found = step(stage, leader, other)
    assert (found["stage"], found["migration"], found["served"]) == (goes_on_at, what, served)
    assert found["refusal"] == ""


NOTED = {"down_at": STOPPED_AT, "one_shots": [f"id-{MIGRATION}"]}
FIRST = {"down_at": STOPPED_AT, "one_shots": ["id-of-an-earlier-one", f"id-{MIGRATION}"]}
CREATED = [*DOWN, migration("created")]


@pytest.mark.parametrize(
    ("leader", "other", "notes", "goes_on_at", "what", "served"),
    [
        (CREATED, DOWN, NOTED, "migrating", "start", False),
        ([*BACK, migration("created")], DOWN, NOTED, "stopping", "start", True),
        ([*UP, migration("created")], DOWN, NOTED, "locked", "start", True),
        (CREATED, UP, NOTED, "stopping", "start", True),
        (CREATED, DOWN, {**NOTED, "kept": False}, "stopping", "start", False),
        # Its container is gone, or an earlier one was started.
        (BACK, DOWN, NOTED, "migrating", "start", False),
        ([*BACK, migration("created")], DOWN, FIRST, "migrating", "start", False),
        # A container of the service that is not the one that was noted counts while it runs, and never as an end.
        ([*DOWN, migration("exited")], DOWN, {**NOTED, "one_shots": ["other"]}, "migrating", "start", False),
        ([*DOWN, migration("running")], DOWN, {**NOTED, "one_shots": ["other"]}, "migrating", "wait", False),
    ],
)
def test_a_migration_that_was_noted_and_never_started_has_changed_nothing(
    leader: list[t.Any], other: list[t.Any], notes: dict[str, t.Any], goes_on_at: str, what: str, served: bool
) -> None:
    found = step("migrating", leader, other, notes=notes, other_notes={"down_at": STOPPED_AT})
    assert (found["stage"], found["migration"], found["served"]) == (goes_on_at, what, served)


@pytest.mark.parametrize("stage", ["stopping", "migrating"])
@pytest.mark.parametrize(
    "changes",
    [{"service": "other"}, {"version": "2.50.1"}, {"env_keys": ["WA_DB_HOSTNAME"]}, {"project": "", "database": ""}],
)
def test_a_container_with_the_name_alone_has_migrated_nothing(stage: str, changes: dict[str, t.Any]) -> None:
    stranger = {**migration("exited"), **changes}
    assert step(stage, [*DOWN, stranger])["migration"] == "start"
    assert step(stage, [*DOWN, stranger])["follow"] == ""


NEW = container("wacore", "running", STOPPED_AT + 50, version=TARGET)
ENDED = {**NEW, "state": "exited"}


@pytest.mark.parametrize(
    ("stage", "leader", "other", "goes_on_at", "started"),
    [
        # Somebody has called docker compose up after the failed migration, with the files of the new version.
        ("migrating", [NEW, migration("exited", 1)], DOWN, "starting", True),
        ("migrating", [migration("exited", 1)], [NEW], "starting", True),
        ("migrating", [NEW, migration("exited")], DOWN, "starting", True),
        ("migrating", [NEW, migration("running")], DOWN, "migrating", True),
        ("migrating", [ENDED, migration("exited", 1)], DOWN, "migrating", True),
        ("stopping", [NEW], DOWN, "starting", True),
        ("stopping", DOWN, [NEW], "starting", True),
        ("stopping", [ENDED], DOWN, "migrating", True),
        ("stopping", [*UP, ENDED], UP, "migrating", True),
        # docker run outside of the project, with its db.env, and without one.
        ("stopping", [*DOWN, {**ENDED, "project": "", "name": "look"}], DOWN, "migrating", True),
        ("stopping", [*DOWN, {**NEW, "project": ""}], DOWN, "starting", True),
        ("stopping", [*DOWN, {**NEW, "project": "", "database": ""}], DOWN, "stopping", False),
        ("stopping", [*DOWN, {**NEW, "project": "b", "database": "db:3306/b"}], DOWN, "stopping", False),
        # Created only, or before the stop.
        ("stopping", [*DOWN, {**ENDED, "started_at": 0.0}], DOWN, "stopping", False),
        ("stopping", [*DOWN, {**ENDED, "started_at": 500.0}], DOWN, "stopping", False),
    ],
)
def test_a_new_version_that_somebody_has_started_counts_before_the_journal(
    stage: str, leader: list[t.Any], other: list[t.Any], goes_on_at: str, started: bool
) -> None:
    notes = {"down_at": STOPPED_AT, "dump": "/a.sql", "manifest": "/a.json"}
    found = step(stage, leader, other, notes=notes, other_notes={"down_at": STOPPED_AT}, copies=(False, "", []))
    assert (found["stage"], found["started"], found["refusal"]) == (goes_on_at, started, "")
    if started:
        assert (found["served"], found["notes"]) == (False, notes), "the copy from before it stays"


@pytest.mark.parametrize(
    ("leader", "unfinished", "message"),
    [
        (
            [container("wacore", "running", version=TARGET)],
            False,
            "the checks of this run found version 2.51.2, and now it is 2.51.2, 2.53.4: another run",
        ),
        (
            DOWN,
            True,
            "the checks of this run found version 2.51.2 with an unfinished upgrade, and now it is 2.51.2: another run",
        ),
    ],
)
def test_a_deployment_that_has_changed_since_the_preflight_is_refused(
    leader: list[t.Any], unfinished: bool, message: str
) -> None:
    found = step("locked", leader, unfinished=unfinished)
    assert found["stage"] == ""
    assert found["refusal"].startswith(message)


def test_a_client_that_was_stopped_since_the_preflight_is_refused() -> None:
    found = step("locked", HALF, UP)
    assert found["stage"] == ""
    assert found["refusal"].startswith(
        f"not running: {HALF[1]['name']}, since the checks of this run. See why, run provision.yml"
    )


def test_a_client_that_is_gone_since_the_preflight_is_refused() -> None:
    assert "now it is no container" in step("locked", [], [])["refusal"]


@pytest.mark.parametrize("stage", ["locked", "stopping", "migrating"])
def test_a_client_that_serves_is_not_stopped_for_images_that_are_gone(stage: str) -> None:
    found = step(stage, [*UP, migration("created")], UP, other_images=IMAGES[:1], notes=NOTED)
    assert (found["stage"], found["refusal"]) == (
        "",
        "no image mirror/web:v2.53.4 on h2: removed since the checks. Run upgrade.yml again, which pulls it",
    )
    if stage != "locked":
        assert step(stage, DOWN, DOWN, other_images=())["refusal"] == ""


@pytest.mark.parametrize("clock", [-7200.0, 0.0, 7200.0])
def test_each_host_is_compared_with_its_own_clock(clock: float) -> None:
    for since, served in ((-50, False), (50, True)):
        other = client("exited", STOPPED_AT + clock + since)
        assert step("stopping", DOWN, other, other_clock=clock)["served"] is served
        new = {**ENDED, "started_at": STOPPED_AT + clock + since}
        assert step("stopping", DOWN, [*DOWN, new], other_clock=clock)["started"] is served


def test_a_second_stop_that_was_not_copied_is_completed() -> None:
    notes = {**NOTED, "kept": False}
    assert step("migrating", CREATED, notes=notes)["stage"] == "stopping"
    assert step("migrating", [*DOWN, migration("running")], notes=notes)["stage"] == "migrating"


def test_a_copy_from_before_the_old_version_served_again_counts_no_more() -> None:
    notes = {"down_at": STOPPED_AT, "dump": "/a.sql", "manifest": "/a.json", "kept_seconds": 3, "backup": "c.json"}
    kept = step("stopping", DOWN, notes=notes)
    assert (kept["served"], kept["notes"]) == (False, notes)
    again = step("stopping", UP, notes=notes)
    assert again["notes"] == {
        "dump": "",
        "manifest": "",
        "kept_seconds": 0,
        "backup": "c.json",
    }


STATES = st.sampled_from(["running", "exited", "created", "paused", "restarting", "dead"])
CLIENTS = st.builds(
    container,
    st.sampled_from(["wacore", "waweb"]),
    STATES,
    st.sampled_from([0.0, 10.0, STOPPED_AT + 50, STOPPED_AT + 150]),
)
MIGRATIONS = st.builds(migration, STATES, st.sampled_from([0, 1, 137]), st.sampled_from([TARGET, OLD]))


@given(
    st.sampled_from(STAGES),
    st.lists(CLIENTS, max_size=3),
    st.lists(CLIENTS, max_size=3),
    st.lists(MIGRATIONS, max_size=1),
    st.booleans(),
)
def test_what_holds_always(
    stage: str, leader: list[t.Any], other: list[t.Any], migrations: list[t.Any], kept: bool
) -> None:
    """A migration is never made twice or beside one that runs, and no stage is left out."""
    notes = {"down_at": STOPPED_AT, "kept": kept}
    found = step(stage, [*leader, *migrations], other, notes=notes)
    own = [one for one in migrations if one["version"] == TARGET]
    runs = any(one["state"] in ("running", "paused") for one in own)
    ended = any(one["state"] == "exited" and one["exit_code"] == 0 for one in own)
    assert (
        found["stage"]
        in {
            "locked": ("locked", ""),
            "stopping": ("locked", "stopping", "migrating"),
            "migrating": ("migrating",),  # a migration of which no container is noted
            "starting": ("starting",),
            "verifying": ("verifying",),
        }[stage]
    )
    if stage in ("stopping", "migrating") and (runs or ended):
        assert (found["stage"], found["migration"], found["follow"]) == ("migrating", "wait", own[0]["id"])
    if stage in ("starting", "verifying"):
        assert (found["migration"], found["follow"]) == ("", "")
    if found["started"]:
        assert (found["served"], found["notes"]) == (False, notes)
    if found["served"]:
        assert "down_at" not in found["notes"]
        assert not found["notes"]["dump"]


@pytest.mark.parametrize(
    ("leader", "copies", "refused"),
    [
        (UP, (False, "", []), True),
        (BACK, (False, " ", ["health"]), True),
        (UP, (False, "snap", []), False),
        (UP, (False, "", ["database_backup"]), False),
        (DOWN, (False, "", []), False),
    ],
)
@pytest.mark.parametrize("stage", ["stopping", "migrating"])
def test_a_client_that_has_served_since_is_not_migrated_without_a_new_copy(
    stage: str, leader: list[dict[str, t.Any]], copies: tuple[bool, str, list[str]], refused: bool
) -> None:
    found = step(stage, [*leader, migration("created")], notes=NOTED, copies=copies)
    assert ("no copy is made before the migration" in found["refusal"], found["stage"] == "") == (refused, refused)


def test_the_last_rule_of_each_stage_always_applies_and_each_rule_is_used() -> None:
    for stage in STAGES:
        of_stage = [rule for rule in next_step.RULES if rule.stage == stage]
        assert of_stage[-1].applies(t.cast("t.Any", None))
    assert [stage for stage, _rules in itertools.groupby(next_step.RULES, lambda rule: rule.stage)] == list(STAGES)


MINE = {"run_id": "m/1/5", "stage": "stopping", "target": TARGET, "notes": {"down_at": STOPPED_AT}}
LOST: dict[str, t.Any] = {"msg": "h1 cannot be reached any more", "reached": False}
IDLE: dict[str, t.Any] = {"containers": DOWN}


@pytest.mark.parametrize(
    ("ours", "asked", "looked", "stage"),
    [
        (MINE, {"journal": MINE}, IDLE, "stopping"),
        (MINE, {"journal": {**MINE, "stage": "migrating"}}, IDLE, "migrating"),  # the answer to its last note was lost
        (MINE, LOST, {}, "stopping"),
        (MINE, {"msg": "not written by an upgrade", "journal": {}}, IDLE, "stopping"),
        (
            MINE,
            {"journal": {**MINE, "run_id": "m/2/5", "stage": "migrating"}},
            IDLE,
            "",
        ),  # another run has taken it over
        (MINE, {"journal": {}}, IDLE, ""),  # somebody has removed it
        ({}, {"journal": MINE}, IDLE, ""),
        ({}, {"journal": {}}, IDLE, ""),
        ({}, LOST, {}, ""),
        # Nothing is started beside a migration, or after one.
        (MINE, {"journal": MINE}, {"containers": [*DOWN, migration("running")]}, "migrating"),
        (MINE, {"journal": MINE}, {"containers": [*DOWN, migration("exited")]}, "migrating"),
        (MINE, {"journal": MINE}, {"containers": [*DOWN, migration("exited", 1)]}, "migrating"),
        (MINE, {"journal": MINE}, {"containers": [*DOWN, migration("created", started_at=0.0)]}, "stopping"),
        (MINE, {"journal": MINE}, {"containers": [*DOWN, migration("exited", started_at=500.0)]}, "stopping"),
        (MINE, {"journal": MINE}, {"containers": [*DOWN, migration("exited", version="2.50.1")]}, "stopping"),
        (MINE, {"journal": MINE}, {"containers": [*DOWN, NEW]}, "migrating"),
        (MINE, {"journal": MINE}, {"containers": [*DOWN, {**ENDED, "project": ""}]}, "migrating"),
        (MINE, {"journal": MINE}, {"containers": [*DOWN, {**ENDED, "project": "b", "database": ""}]}, "stopping"),
        ({**MINE, "stage": "locked"}, {"journal": {**MINE, "stage": "locked"}}, IDLE, "locked"),
    ],
)
def test_the_stage_at_which_a_run_failed(
    ours: dict[str, t.Any], asked: dict[str, t.Any], looked: dict[str, t.Any], stage: str
) -> None:
    assert next_step.failed_stage(ours, asked, looked, "wa") == stage
