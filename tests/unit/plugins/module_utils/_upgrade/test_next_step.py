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
from upgrade_journals import STOPPED_AT, at

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import MIGRATION
from ansible_collections.waba.onprem.plugins.module_utils._deployment.upgrade_journal import SCHEMA
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import next_step

OLD, TARGET = "2.51.2", "2.53.4"
STAGES = ("locked", "stopping", "migrating", "starting", "verifying")
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
    other_expires: str = "2026-06-30",
    copies: tuple[bool, str, list[str]] = (True, "", []),
    other_hold: dict[str, t.Any] | None = None,
) -> dict[str, t.Any]:
    """The decision for two hosts; the second one's clock is ahead by `other_clock` seconds."""
    journal = {"target": TARGET, **at(stage, notes)}
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
                        "neighbours": ["two"],
                        "images": {"coreapp": "mirror/coreapp", "web": "mirror/web"},
                    },
                    "containers": client("exited") if other is None else other,
                    "images": [{"name": name, "expires_on": other_expires} for name in other_images],
                    "hold": other_hold or {},
                },
                {
                    "item": {
                        "host": "h1",
                        "project": "wa",
                        "neighbours": ["two"],
                        "images": {"coreapp": "r/coreapp", "web": "r/web"},
                    },
                    "containers": leader,
                    "images": [{"name": f"r/{one}:v2.53.4", "expires_on": ""} for one in ("coreapp", "web")],
                },
            ],
            "checked": checked,
            "today": "2026-06-30",
            "checked_unfinished": unfinished,
            "copies": copies,
        }
    )


def by_others(way: str, state: str, started_at: float = STOPPED_AT + 100, version: str = TARGET) -> dict[str, t.Any]:
    """A migration that somebody has started outside the project: from the vendor's Compose file, or by docker run."""
    ways: dict[str, dict[str, t.Any]] = {
        "vendor": {"project": "biz"},
        "docker run": {"project": "", "service": "", "one_shot": False},
    }
    one = migration(state, version=version, started_at=started_at)
    return {**one, "name": "by-hand", "id": "id-by-hand", **ways[way]}


DOWN, UP = client("exited"), client("running")
BACK = client("exited", STOPPED_AT + 50)  # started after the stop, and stopped again
LATER = client("exited", STOPPED_AT + 150)  # started after the migration, too
HALF = [container("wacore", "running"), container("waweb", "exited")]


@pytest.mark.parametrize(
    ("stage", "leader", "other", "goes_on_at", "waits", "served"),
    [
        ("locked", UP, UP, "serve", False, False),
        # The client was started since.
        ("locked", [*UP, migration("exited", 1, started_at=5.0)], UP, "serve", False, False),
        ("locked", [*UP, migration("exited", started_at=5.0)], UP, "serve", False, False),
        ("locked", [*UP, migration("created")], UP, "serve", False, False),
        ("stopping", DOWN, DOWN, "stop", False, False),
        ("stopping", UP, UP, "serve", False, True),
        ("stopping", UP, DOWN, "serve", False, True),
        ("stopping", HALF, DOWN, "stop", False, True),
        ("stopping", client("restarting"), DOWN, "stop", False, True),
        ("stopping", DOWN, UP, "stop", False, True),
        ("stopping", BACK, DOWN, "stop", False, True),
        ("stopping", DOWN, BACK, "stop", False, True),
        ("stopping", [], [], "stop", False, True),
        ("stopping", DOWN, [], "stop", False, True),  # what h2 has written since is in no copy
        ("stopping", [*DOWN, migration("running")], DOWN, "migrate", True, False),
        ("stopping", [*UP, migration("exited")], DOWN, "migrate", True, False),
        ("stopping", [*DOWN, migration("exited", started_at=500.0)], DOWN, "stop", False, False),
        ("stopping", [*UP, migration("exited", started_at=500.0)], UP, "serve", False, True),
        ("migrating", DOWN, DOWN, "migrate", False, False),
        ("migrating", [*DOWN, migration("running")], DOWN, "migrate", True, False),
        ("migrating", [*DOWN, migration("paused")], DOWN, "migrate", True, False),
        ("migrating", [*UP, migration("running")], UP, "migrate", True, False),
        ("migrating", [*DOWN, migration("exited")], DOWN, "migrate", True, False),
        ("migrating", [*UP, migration("exited")], UP, "migrate", True, False),
        # By another clock than the stop's: at this stage it is this upgrade's own.
        ("migrating", [*DOWN, migration("exited", started_at=500.0)], DOWN, "migrate", True, False),
        ("migrating", [*DOWN, migration("running", started_at=500.0)], DOWN, "migrate", True, False),
        ("migrating", [*DOWN, migration("exited", 1)], DOWN, "migrate", False, False),
        ("migrating", [*DOWN, migration("exited", 137)], DOWN, "migrate", False, False),
        ("migrating", [*DOWN, migration("exited", 0, version="2.50.1")], DOWN, "migrate", False, False),
        # The schema may be changed: what the old version would be copied with is no copy of its own.
        ("migrating", [*LATER, migration("exited", 1)], DOWN, "migrate", False, False),
        ("migrating", [*UP, migration("exited", 1)], UP, "migrate", False, False),
        ("migrating", UP, UP, "migrate", False, False),
        ("migrating", [], [], "migrate", False, False),
        ("starting", DOWN, DOWN, "start", False, False),
        ("starting", UP, DOWN, "start", False, False),
        ("verifying", UP, UP, "start", False, False),
        ("verifying", DOWN, [], "start", False, False),
    ],
)
def test_where_an_upgrade_goes_on(
    stage: str, leader: list[t.Any], other: list[t.Any], goes_on_at: str, waits: bool, served: bool
) -> None:
    found = step(stage, leader, other)
    assert (found["at"], found["follow"] != "", found["served"]) == (goes_on_at, waits, served)
    assert found["refusal"] == ""


WAYS = pytest.mark.parametrize("way", ["vendor", "docker run"])


@WAYS
@pytest.mark.parametrize("host", ["h1", "h2"])
def test_a_migration_that_somebody_has_made_outside_the_project_is_evidence(way: str, host: str) -> None:
    """It has the client's database in its environment. One that ended before the stop, or was for another version, is none."""
    for one, found in (
        (by_others(way, "exited"), ("started", "migrate", "")),
        (by_others(way, "exited", 500.0), ("untouched", "stop", "")),
        (by_others(way, "exited", version="2.50.1"), ("untouched", "stop", "")),
        ({**by_others(way, "exited"), "database": "other:3306/"}, ("untouched", "stop", "")),
    ):
        at_h1, at_h2 = ([*DOWN, one], DOWN) if host == "h1" else (DOWN, [*DOWN, one])
        result = step("stopping", at_h1, at_h2)
        assert (result["schema"], result["at"], result["refusal"]) == found


@WAYS
def test_an_old_version_that_somebody_has_run_outside_the_project_makes_a_copy_incomplete(way: str) -> None:
    one = {
        **by_others(way, "exited", version=OLD),
        "service": "wacore",
        "one_shot": False,
        "env_keys": ["WA_DB_HOSTNAME"],
    }
    for started_at, database, served in (
        (STOPPED_AT + 100, "db:3306/", True),
        (500.0, "db:3306/", False),
        (STOPPED_AT + 100, "x:1/", False),
    ):
        found = step("stopping", [*DOWN, {**one, "started_at": started_at, "database": database}], DOWN)
        assert (found["at"], found["served"]) == ("stop", served)


@WAYS
@pytest.mark.parametrize("stage", ["stopping", "migrating", "starting", "verifying"])
@pytest.mark.parametrize("state", ["running", "restarting"])
def test_nothing_is_migrated_or_started_beside_a_migration_of_somebody_else(way: str, stage: str, state: str) -> None:
    """The vendor's file has one start again and again that fails."""
    found = step(stage, [*DOWN, by_others(way, state)])
    assert (found["at"], found["schema"]) == ("", "done" if stage in ("starting", "verifying") else "started")
    assert found["refusal"].startswith(
        "by-hand migrates the database: nothing is started beside it. Wait for its end (docker wait by-hand)"
    )


@WAYS
@pytest.mark.parametrize("state", ["running", "exited"])
def test_no_copy_is_made_of_a_schema_that_somebody_has_changed_outside_the_project(way: str, state: str) -> None:
    found = step("locked", [*UP, by_others(way, state)], UP)
    assert (found["at"], found["refusal"].partition(":")[0]) == ("", "by-hand was started at 1970-01-01 00")
    before = step("locked", [*client("running", STOPPED_AT + 200), by_others(way, "exited")], UP)
    assert (before["at"], before["refusal"]) == ("serve", "")


@pytest.mark.parametrize("state", ["running", "exited", "dead"])
@pytest.mark.parametrize("other", [UP, client("running", STOPPED_AT + 7200)])
def test_no_copy_is_made_of_a_schema_that_somebody_has_changed_beneath_the_client(
    state: str, other: list[dict[str, t.Any]]
) -> None:
    """Somebody has started the container that was created for the migration, before anything was stopped."""
    found = step("locked", [*UP, migration(state, 1)], other)
    assert (found["at"], found["refusal"].partition(":")[0]) == ("", "wa-dbupgrade-1 was started at 1970-01-01 00")
    assert (
        "while version 2.51.2 runs: the schema may be changed, so a copy made now is no way back." in found["refusal"]
    )
    assert "Otherwise stop the client (docker stop). Then run upgrade.yml again" in found["refusal"]


COPY = {"copied_at": STOPPED_AT + 90, "dump": "/a.sql", "manifest": "/a.json"}


@pytest.mark.parametrize(
    ("leader", "noted", "counts"),
    [
        ([*DOWN, migration("exited")], [], True),  # started 10 s after the copy
        ([*DOWN, migration("exited", started_at=STOPPED_AT + 80)], [], False),
        ([*DOWN, migration("running", started_at=STOPPED_AT + 80)], [], False),
        # This upgrade's own: the clock of the host was set back.
        ([*DOWN, migration("exited", started_at=STOPPED_AT + 80)], [f"id-{MIGRATION}"], True),
        ([container("wacore", "exited", STOPPED_AT + 80, version=TARGET)], [], False),
        ([container("wacore", "running", STOPPED_AT + 95, version=TARGET)], [], True),
    ],
)
def test_a_copy_that_was_not_complete_when_somebody_changed_the_schema_is_no_way_back(
    leader: list[dict[str, t.Any]], noted: list[str], counts: bool
) -> None:
    notes = {"down_at": STOPPED_AT, "one_shots": noted, **COPY}
    found = step("stopping", leader, notes=notes, other_notes={"down_at": STOPPED_AT})
    assert found["schema"] == "started"
    assert (found["notes"]["copied_at"], found["notes"]["manifest"]) == (
        (COPY["copied_at"], "/a.json") if counts else (0, "")
    )


NOTED = {"down_at": STOPPED_AT, "one_shots": [f"id-{MIGRATION}"]}
FIRST = {"down_at": STOPPED_AT, "one_shots": ["id-of-an-earlier-one", f"id-{MIGRATION}"]}
CREATED = [*DOWN, migration("created")]


@pytest.mark.parametrize(
    ("leader", "other", "notes", "goes_on_at", "waits", "served"),
    [
        (CREATED, DOWN, NOTED, "stop", False, False),
        ([*BACK, migration("created")], DOWN, NOTED, "stop", False, True),
        ([*UP, migration("created")], DOWN, NOTED, "serve", False, True),
        (CREATED, UP, NOTED, "stop", False, True),
        (CREATED, DOWN, {**NOTED, "copied_at": STOPPED_AT + 90}, "stop", False, False),
        # Its container is gone, or an earlier one was started.
        (BACK, DOWN, NOTED, "migrate", False, False),
        ([*BACK, migration("created")], DOWN, FIRST, "migrate", False, False),
        # A container of the service that is not the one that was noted counts while it runs, and never as an end.
        ([*DOWN, migration("exited")], DOWN, {**NOTED, "one_shots": ["other"]}, "migrate", False, False),
        ([*DOWN, migration("running")], DOWN, {**NOTED, "one_shots": ["other"]}, "migrate", True, False),
    ],
)
def test_a_migration_that_was_noted_and_never_started_has_changed_nothing(
    leader: list[t.Any], other: list[t.Any], notes: dict[str, t.Any], goes_on_at: str, waits: bool, served: bool
) -> None:
    found = step("migrating", leader, other, notes=notes, other_notes={"down_at": STOPPED_AT})
    assert (found["at"], found["follow"] != "", found["served"]) == (goes_on_at, waits, served)
    assert found["schema"] == ("started" if goes_on_at == "migrate" else "untouched")


@pytest.mark.parametrize("stage", ["stopping", "migrating"])
@pytest.mark.parametrize(
    "changes",
    [{"service": "other"}, {"version": "2.50.1"}, {"env_keys": ["WA_DB_HOSTNAME"]}, {"project": "", "database": ""}],
)
def test_a_container_with_the_name_alone_has_migrated_nothing(stage: str, changes: dict[str, t.Any]) -> None:
    stranger = {**migration("exited"), **changes}
    assert step(stage, [*DOWN, stranger])["follow"] == ""


NEW = container("wacore", "running", STOPPED_AT + 50, version=TARGET)
ENDED = {**NEW, "state": "exited"}


@pytest.mark.parametrize(
    ("stage", "leader", "other", "goes_on_at", "started"),
    [
        # Somebody has called docker compose up after the failed migration, with the files of the new version.
        ("migrating", [NEW, migration("exited", 1)], DOWN, "start", True),
        ("migrating", [migration("exited", 1)], [NEW], "start", True),
        ("migrating", [NEW, migration("exited")], DOWN, "start", True),
        ("migrating", [NEW, migration("running")], DOWN, "migrate", True),
        ("migrating", [ENDED, migration("exited", 1)], DOWN, "migrate", True),
        ("stopping", [NEW], DOWN, "start", True),
        ("stopping", DOWN, [NEW], "start", True),
        ("stopping", [ENDED], DOWN, "migrate", True),
        ("stopping", [*UP, ENDED], UP, "migrate", True),
        # docker run outside of the project, with its db.env, and without one.
        ("stopping", [*DOWN, {**ENDED, "project": "", "name": "look"}], DOWN, "migrate", True),
        ("stopping", [*DOWN, {**NEW, "project": ""}], DOWN, "start", True),
        ("stopping", [*DOWN, {**NEW, "project": "", "database": ""}], DOWN, "stop", False),
        ("stopping", [*DOWN, {**NEW, "project": "b", "database": "db:3306/b"}], DOWN, "stop", False),
        # Another Compose project with a service of the database's name: of another deployment, or of none.
        ("stopping", [*DOWN, {**NEW, "project": "two"}], DOWN, "stop", False),
        ("stopping", [*DOWN, {**NEW, "project": "b"}], DOWN, "start", True),
        # Created only, or before the stop.
        ("stopping", [*DOWN, {**ENDED, "started_at": 0.0}], DOWN, "stop", False),
        ("stopping", [*DOWN, {**ENDED, "started_at": 500.0}], DOWN, "stop", False),
    ],
)
def test_a_new_version_that_somebody_has_started_counts_before_the_journal(
    stage: str, leader: list[t.Any], other: list[t.Any], goes_on_at: str, started: bool
) -> None:
    notes = {"down_at": STOPPED_AT, "dump": "/a.sql", "manifest": "/a.json"}
    found = step(stage, leader, other, notes=notes, other_notes={"down_at": STOPPED_AT}, copies=(False, "", []))
    assert (found["at"], found["schema"] == "started", found["refusal"]) == (goes_on_at, started, "")
    if started:
        assert (found["served"], found["notes"]) == (False, notes), "the copy from before it stays"


@pytest.mark.parametrize(
    ("leader", "unfinished", "message"),
    [
        (
            [container("wacore", "running", version=TARGET)],
            False,
            "the checks of this run found version 2.51.2, and now it is 2.51.2, 2.53.4 (not running: wa-",
        ),
        (
            DOWN,
            True,
            "the checks of this run found version 2.51.2 with an unfinished upgrade, and now it is 2.51.2 (not running: wa-",
        ),
    ],
)
def test_a_deployment_that_has_changed_since_the_preflight_is_refused(
    leader: list[t.Any], unfinished: bool, message: str
) -> None:
    found = step("locked", leader, unfinished=unfinished)
    assert found["at"] == ""
    assert found["refusal"].startswith(message)


@pytest.mark.parametrize("stage", ["starting", "verifying"])
@pytest.mark.parametrize("state", ["running", "paused", "exited"])
def test_no_new_version_is_started_beside_a_migration_that_somebody_has_started_again(stage: str, state: str) -> None:
    found = step(stage, [*DOWN, migration(state)])
    again = "wa-dbupgrade-1 migrates the database: nothing is started beside it. Wait for"
    assert (found["at"], found["refusal"].startswith(again)) == (("start", False) if state == "exited" else ("", True))


def test_a_client_that_was_stopped_since_the_preflight_is_refused() -> None:
    found = step("locked", HALF, UP)
    assert found["at"] == ""
    assert found["refusal"].startswith(
        f"the checks of this run found version 2.51.2, and now it is 2.51.2 (not running: {HALF[1]['name']}): it was changed since."
    )


def test_a_client_that_is_gone_since_the_preflight_is_refused() -> None:
    assert "now it is no container" in step("locked", [], [])["refusal"]


@pytest.mark.parametrize("stage", ["locked", "stopping", "migrating"])
def test_a_client_that_serves_is_not_stopped_for_images_that_are_gone(stage: str) -> None:
    found = step(stage, [*UP, migration("created")], UP, other_images=IMAGES[:1], notes=NOTED)
    assert (found["at"], found["refusal"]) == (
        "",
        "no image mirror/web:v2.53.4 on h2: removed since the checks. Run upgrade.yml again, which pulls it",
    )
    if stage != "locked":
        assert step(stage, DOWN, DOWN, other_images=())["refusal"] == ""


def test_a_client_that_serves_is_not_stopped_for_images_that_have_expired() -> None:
    """Those that were pulled: the checks have seen the others."""
    found = step("locked", UP, UP, other_expires="2026-06-29")
    assert (found["at"], found["refusal"]) == (
        "",
        "mirror/coreapp:v2.53.4 on h2 expired on 2026-06-29, mirror/web:v2.53.4 on h2 expired on 2026-06-29. Choose a newer version in "
        "wa_upgrade_version",
    )
    assert step("stopping", DOWN, DOWN, other_expires="2026-06-29")["refusal"] == ""


def test_a_member_that_this_upgrade_has_not_stopped_may_have_served_since() -> None:
    """It was lost at the stop, and has come back."""
    found = step("stopping", DOWN, DOWN, notes={"down_at": STOPPED_AT, **COPY}, other_notes={})
    assert (found["at"], found["served"], "down_at" in found["notes"]) == ("stop", True, False)


@pytest.mark.parametrize(
    ("stage", "leader", "other", "stops", "target_runs"),
    [
        ("locked", UP, UP, True, False),
        ("stopping", DOWN, DOWN, False, False),
        ("stopping", DOWN, UP, True, False),
        ("migrating", UP, UP, False, False),
        ("starting", DOWN, [NEW], False, True),
        ("starting", DOWN, DOWN, False, False),
    ],
)
def test_whether_a_run_stops_what_serves_and_whether_the_new_version_runs(
    stage: str, leader: list[t.Any], other: list[t.Any], stops: bool, target_runs: bool
) -> None:
    found = step(stage, leader, other)
    assert (found["stops"], found["target_runs"]) == (stops, target_runs)


@pytest.mark.parametrize("clock", [-7200.0, 0.0, 7200.0])
def test_each_host_is_compared_with_its_own_clock(clock: float) -> None:
    for since, served in ((-50, False), (50, True)):
        other = client("exited", STOPPED_AT + clock + since)
        assert step("stopping", DOWN, other, other_clock=clock)["served"] is served
        new = {**ENDED, "started_at": STOPPED_AT + clock + since}
        assert step("stopping", DOWN, [*DOWN, new], other_clock=clock)["schema"] == (
            "started" if served else "untouched"
        )


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("other", "again"), [(UP, True), (DOWN, False), ([NEW], False)])
def test_the_old_version_that_runs_where_nothing_is_stopped_any_more(
    stage: str, other: list[t.Any], again: bool
) -> None:
    late = stage in ("migrating", "starting", "verifying")
    assert step(stage, UP if stage == "locked" else DOWN, other)["stop_again"] is (again and late)


def test_a_copy_from_before_the_old_version_served_again_counts_no_more() -> None:
    notes = {"down_at": STOPPED_AT, **COPY, "backup": "c.json"}
    kept = step("stopping", DOWN, notes=notes, other_notes=notes)
    assert (kept["served"], kept["notes"]) == (False, notes)
    again = step("stopping", UP, notes=notes)
    assert again["notes"] == {
        "copied_at": 0,
        "dump": "",
        "manifest": "",
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
    notes = {**at(stage)["notes"], "copied_at": float(kept)}
    found = step(stage, [*leader, *migrations], other, notes=notes)
    own = [one for one in migrations if one["version"] == TARGET]
    runs = any(one["state"] in ("running", "paused", "restarting") for one in own)
    ended = any(one["state"] == "exited" and one["exit_code"] == 0 and one["started_at"] for one in own)
    assert (
        found["at"]
        in {
            "locked": ("serve", ""),
            "stopping": ("serve", "stop", "migrate"),
            "migrating": ("migrate",),  # a migration of which no container is noted
            "starting": ("",) if runs else ("start",),
            "verifying": ("",) if runs else ("start",),
        }[stage]
    )
    if stage in ("stopping", "migrating") and (runs or ended):
        assert (found["at"], found["follow"]) == ("migrate", own[0]["id"])
    if found["at"] == "start":
        assert found["follow"] == ""
    if found["schema"] != "untouched":
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
    found = step(stage, [*leader, migration("created")], notes=NOTED, other_notes=NOTED, copies=copies)
    assert ("no copy is made before the migration" in found["refusal"], found["at"] == "") == (refused, refused)


def test_the_last_rule_of_each_state_of_the_schema_always_applies() -> None:
    for schema in SCHEMA:
        of_schema = [rule for rule in next_step.RULES if rule.schema == schema]
        assert of_schema[-1].applies(t.cast("t.Any", None))
    found = [schema for schema, _rules in itertools.groupby(next_step.RULES, lambda rule: rule.schema)]
    assert sorted(found) == sorted(SCHEMA)


MINE = {"run_id": "m/1/5", "target": TARGET, **at("stopping")}
LOST: dict[str, t.Any] = {"msg": "h1 cannot be reached any more", "reached": False}
IDLE: dict[str, t.Any] = {"containers": DOWN}


@pytest.mark.parametrize(
    ("ours", "asked", "looked", "stage"),
    [
        (MINE, {"journal": MINE}, IDLE, "stopping"),
        (MINE, {"journal": {**MINE, **at("migrating")}}, IDLE, "migrating"),  # the answer to its last note was lost
        (MINE, LOST, {}, "stopping"),
        (MINE, {"msg": "not written by an upgrade", "journal": {}}, IDLE, "stopping"),
        (
            MINE,
            {"journal": {**MINE, "run_id": "m/2/5", **at("migrating")}},
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
        ({**MINE, **at("locked")}, {"journal": {**MINE, **at("locked")}}, IDLE, "locked"),
    ],
)
def test_the_stage_at_which_a_run_failed(
    ours: dict[str, t.Any], asked: dict[str, t.Any], looked: dict[str, t.Any], stage: str
) -> None:
    assert failed(ours, False, asked, looked) == stage


def failed(
    ours: dict[str, t.Any],
    permitted: bool,
    asked: dict[str, t.Any],
    looked: dict[str, t.Any],
    other: dict[str, t.Any] | None = None,
    other_stop: float = 0.0,
) -> str:
    """The stage by what was read on two members; the leader is the second one."""
    stop = {"item": {"host": "h2"}, "journal": {"notes": {"down_at": other_stop}}}
    members = [("h2", IDLE if other is None else other), ("h1", looked)]
    reads = [{"item": {"host": host, "project": "wa", "neighbours": []}, **read} for host, read in members]
    return next_step.failed_stage(ours, permitted, asked, reads, [stop] if other_stop else [], "h1")


def test_a_leader_that_was_lost_may_have_begun_what_it_was_allowed() -> None:
    assert failed(MINE, True, LOST, {}) == "migrating"
    assert failed(MINE, True, {"journal": MINE}, IDLE) == "stopping"
    assert next_step.failed_stage(MINE, False, LOST, [], [], "h1") == "stopping"


@pytest.mark.parametrize(
    ("started_at", "other_stop", "stage"),
    [
        (STOPPED_AT + 50, 0.0, "migrating"),
        (STOPPED_AT - 50, 0.0, "stopping"),
        (STOPPED_AT + 50, STOPPED_AT + 7200, "stopping"),  # its clock is two hours ahead
        (STOPPED_AT + 7250, STOPPED_AT + 7200, "migrating"),
    ],
)
@pytest.mark.parametrize("leader", [IDLE, {"msg": "no answer"}])
def test_nothing_is_started_where_a_new_version_was_on_another_member(
    started_at: float, other_stop: float, stage: str, leader: dict[str, t.Any]
) -> None:
    other = {"containers": [{**ENDED, "started_at": started_at}]}
    assert failed(MINE, False, {"journal": MINE}, leader, other, other_stop) == stage


@pytest.mark.parametrize(
    ("stage", "leader", "refused"), [("locked", UP, True), ("stopping", UP, True), ("stopping", DOWN, False)]
)
def test_a_client_that_is_held_since_the_checks_is_not_stopped(
    stage: str, leader: list[dict[str, t.Any]], refused: bool
) -> None:
    """What an upgrade has stopped goes on: held in that state it would stay down."""
    held = {"path": "/h2.hold", "reason": "it moves", "since": "2026-06-30 02:00 UTC", "old": False}
    found = step(stage, leader, UP if leader is UP else None, other_hold=held)
    assert (found["at"] == "") is refused
    assert ("by /h2.hold on h2: it moves" in found["refusal"]) is refused


def test_the_containers_that_are_to_stay_stopped_are_those_of_the_client() -> None:
    assert step("stopping", [*DOWN, migration("exited", 1)])["clients"] == {
        one: ["id-wacore", "id-waweb"] for one in HOSTS
    }
