# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The closing screen of an upgrade that has failed: it never says that serves what does not, nor leads back over a new schema."""

from __future__ import annotations

import itertools
import typing as t

import pytest
from upgrade_journals import at

from ansible_collections.waba.onprem.plugins.module_utils._upgrade.failure_report import failed, screen

MEMBERS: list[dict[str, t.Any]] = [
    {
        "host": host,
        "dir": "/opt/waba/eu",
        "project": "wa-eu",
        "lock_file": "/var/lib/waba/eu.lock",
        "compose": {"migration": False, "repositories": {}},
    }
    for host in ("h1", "h2")
]
AGAIN = "ansible-playbook -i hosts.yml --ask-vault-pass waba.onprem.upgrade -e wa_upgrade_version=2.53.4"
ON = f"To go on: correct this, then run upgrade.yml again, which goes on from here:\n  {AGAIN}\n"
RESTORE = "The only way back is to restore"
BACK = "  ansible-playbook -i hosts.yml --ask-vault-pass waba.onprem.restore -e wa_version=2.51.2"
DUMPED = at("migrating", {"dump": "/b/eu.sql.gz", "manifest": "/b/eu.json"})
FAILED = {"state": "exited", "exit_code": 1}


def failure(**facts: t.Any) -> dict[str, t.Any]:
    known: dict[str, t.Any] = {
        "deployment": "eu",
        "leader": "h1",
        "before": "2.51.2",
        "target": "2.53.4",
        "task": "Do it",
        "why": "it broke",
        "at": "",
        "locked": True,
        "journal": {},
        "asked": {"journal": {"run_id": "another", **at("locked")}},
        "left": {},
        "runs": False,
        "leader_lost": False,
        "containers": [],
        "ran": [],
        "others": {},
        "stopped": False,
        "not_back": "",
        "not_started": "",
        "not_reached": [],
        "asks_health": True,
        "keeps_traffic_away": False,
        "lets_traffic_come": False,
        "members": MEMBERS,
        "still_locked": [],
        "settings_backup": "",
        "skipped": [],
        "left_alone": [],
        "upgrade_command": AGAIN,
        "restore_command": BACK.strip(),
    }
    if "migrations" in facts:
        found = facts.pop("migrations")
        named = {"service": "dbupgrade", "version": "2.53.4", "name": "wa-eu-dbupgrade-1", "one_shot": True}
        known["containers"] = None if found is None else [{**named, **one} for one in found]
    if facts.pop("journal_gone", False):
        facts["asked"] = {"journal": {}, "ended": facts.pop("ended", {})}
    if "left" in facts:
        facts["asked"] = {"journal": {}, "held": facts.pop("left_held", False)}
    return {**known, **facts}


def told(**facts: t.Any) -> str:
    return "\n".join(screen(failure(**facts)))


def test_it_begins_with_what_failed_and_why() -> None:
    lines = told(at="locked").splitlines()
    assert lines[:2] == ['eu: the upgrade from 2.51.2 to 2.53.4 failed at "Do it".', "it broke"]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"locked": False}, "Nothing was touched."),
        ({"locked": False, "at": "locked"}, "Nothing was touched."),
        ({"at": "locked"}, "Version 2.51.2 serves.\nThe schema is untouched."),
        ({"at": "locked", "leader_lost": True}, "No client was stopped.\nThe schema is untouched."),
        ({"at": "stopping"}, "Version 2.51.2 serves again.\nThe schema is untouched."),
        ({"at": "stopping", "asks_health": False}, "Version 2.51.2 was started again; its health was not asked."),
        ({"at": "stopping", "not_back": "no room"}, "The old version could not be started again (no room)."),
        ({"at": "stopping", "leader_lost": True}, "Whether it serves without the leader is not known."),
        ({"at": "stopping", "not_reached": ["h2"]}, "Not started, since they could not be reached: h2."),
        (
            {"at": "stopping", "not_started": "h2: port"},
            "Not started on all hosts (h2: port). Correct this, then run provision.yml.",
        ),
        ({"at": "stopping", "journal": DUMPED}, "Database dump: /b/eu.sql.gz (on h1)"),
        ({}, "Another run has taken the deployment over since: what it says counts."),
    ],
)
def test_before_the_migration_there_is_nothing_to_restore(facts: dict[str, t.Any], words: str) -> None:
    said = told(**facts)
    assert words in said
    assert RESTORE not in said
    assert "rm /var" not in said


def test_a_lock_that_is_gone_before_anything_was_stopped() -> None:
    said = told(journal=at("locked"), journal_gone=True, keeps_traffic_away=True)
    assert (
        "another run has had the deployment since, or somebody has removed the lock file. This run has stopped nothing."
        in said
    )
    assert "Traffic may be kept away." in said
    assert "run upgrade.yml again:" in said


@pytest.mark.parametrize("stage", ["stopping", "migrating", "starting"])
def test_a_lock_file_that_somebody_removed(stage: str) -> None:
    said = told(journal=at(stage, {"dump": "/b/eu.sql.gz"}), journal_gone=True)
    assert f"removed it, at stage {stage}. The client may be down: do not start version 2.51.2 by hand." in said
    assert "run upgrade.yml again, which finds a migration by its container, and says what to do" in said
    assert "Database dump: /b/eu.sql.gz (on h1)" in said


@pytest.mark.parametrize(
    ("migrations", "words"),
    [
        (None, "The schema may be changed: the migration may have been started and may still run"),
        ([{"state": "running"}], "The schema may be changed: the migration still runs"),
        ([FAILED], "The schema may be changed: the migration was started and did not end well"),
        ([{"state": "created", "exit_code": 0}], "the migration was started and did not end well"),
    ],
)
def test_a_migration_that_is_not_known_to_have_ended_well(
    migrations: list[dict[str, t.Any]] | None, words: str
) -> None:
    said = told(at="migrating", migrations=migrations, journal=DUMPED)
    assert words in said
    assert "docker logs wa-eu-dbupgrade-1 (on h1)" in said
    assert "tries one again that has failed:" in said
    # While one runs nothing leads back: what is restored beneath it would be broken.
    assert (RESTORE in said) is ("still runs" not in words)


def test_the_log_is_that_of_the_clients_own_engine() -> None:
    members = [{**MEMBERS[0], "docker_host": "unix:///run/user/1000/docker.sock"}]
    lines = told(at="migrating", migrations=[FAILED], journal=DUMPED, members=members).splitlines()
    log = "Its log: docker --host unix:///run/user/1000/docker.sock logs wa-eu-dbupgrade-1 (on h1)"
    assert [line for line in lines if line.endswith(log)]


def container(state: str) -> dict[str, t.Any]:
    return {"service": "wacore", "name": f"{state}-1", "state": state, "version": "2.51.2", "one_shot": False}


@pytest.mark.parametrize(
    ("containers", "outcome", "words"),
    [
        ([container("running")], "rolled_back", "Version 2.51.2 serves."),
        (None, "failed", "No client was stopped."),
        ([], "failed", "This run has stopped nothing. Not running on h1: running-1."),
        (
            [container("running"), container("exited")],
            "failed",
            "This run has stopped nothing. Not running on h1: exited-1.",
        ),
    ],
)
def test_before_the_stop_a_client_serves_only_where_it_runs(
    containers: list[dict[str, t.Any]] | None, outcome: str, words: str
) -> None:
    """Or did: one that somebody has removed meanwhile was there when this run has begun."""
    found = failed(failure(at="locked", containers=containers, ran=[container("running")]))
    assert found["outcome"] == outcome
    assert words in found["lines"]


def test_a_migration_to_another_version_is_not_this_upgrades() -> None:
    assert "and has no container" in told(at="migrating", migrations=[{**FAILED, "version": "2.55.1"}])


def test_the_way_back_is_one_command() -> None:
    lines = told(at="migrating", migrations=[FAILED], journal=DUMPED).splitlines()
    assert "Database dump: /b/eu.sql.gz (on h1)" in lines
    assert lines[-2:] == [
        "The only way back is to restore the database as it was after the stop, and to start version 2.51.2:",
        BACK,
    ]


def test_without_a_dump_the_restore_is_by_a_command_of_the_operators() -> None:
    lines = told(at="migrating", migrations=[FAILED]).splitlines()
    assert lines[-2] == (
        "The only way back is to restore the database as it was after the stop from a copy of your own, by a command of yours, and to start "
        "version 2.51.2:"
    )


def test_a_migration_without_a_container_has_no_log() -> None:
    said = told(at="migrating", migrations=[], journal=DUMPED)
    assert "the migration was due, and has no container." in said
    assert "docker logs" not in said
    assert "tries one again that has failed:" in said
    assert RESTORE in said


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("migrating", "Nothing serves: the client is down, and nothing is started by itself."),
        ("starting", "The new version may run on some hosts."),
        ("verifying", "The new version has answered."),
    ],
)
def test_after_the_migration_only_a_restore_leads_back(at: str, words: str) -> None:
    said = told(at=at, migrations=[{"state": "exited", "exit_code": 0}])
    assert f"{words}\nThe database is migrated: there is no way back but a restore." in said
    assert ON in said + "\n"
    assert ("The new version may have been connected" in said) is (at != "migrating")


AWAY = {"schema": "started", "notes": {"down_at": 1.0, "traffic_away_at": 1.0}}  # by a run that was cut off


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"at": "stopping", "not_back": "x", "keeps_traffic_away": True, "lets_traffic_come": True}, "since wa_upgrade_after_outage was not run."),
        ({"at": "locked", "leader_lost": True, "keeps_traffic_away": True, "lets_traffic_come": True}, "since wa_upgrade_after_outage was not run."),
        ({"at": "migrating", "keeps_traffic_away": True}, "Traffic may be kept away."),
        ({"at": "starting", "keeps_traffic_away": True, "lets_traffic_come": True}, "since wa_upgrade_after_outage was not run."),
        ({"at": "verifying", "keeps_traffic_away": True, "lets_traffic_come": True}, "away, if wa_upgrade_after_outage was not run."),
        ({"at": "locked", "keeps_traffic_away": True}, "Traffic may be kept away."),
        ({"at": "", "locked": True, "asked": {"journal": {}}, "keeps_traffic_away": True}, "Traffic may be kept away."),
        ({"at": "migrating", "journal": AWAY}, "Traffic may be kept away."),
        ({"at": "locked", "lets_traffic_come": True}, "wa_upgrade_after_outage runs now, and lets traffic come: see below that it does not fail."),
        ({"at": "locked", "still_locked": ["h2: cannot be reached"]}, "Still locked: h2: cannot be reached"),
        ({"at": "locked", "settings_backup": "b/s.json"}, "Settings backup: b/s.json (on the controller)"),
        ({"at": "locked", "skipped": ["expiry"]}, "Check skipped on request: expiry"),
        ({"at": "locked", "left_alone": ["h7", "h9"]}, "Left alone, since this wave failed: h7, h9."),
        ({"at": "migrating", "leader_lost": True, "migrations": None}, "To go on: when h1 is back, run upgrade.yml"),
    ],
)  # fmt: skip
def test_what_else_is_to_be_known(facts: dict[str, t.Any], words: str) -> None:
    assert words in told(**facts)


@pytest.mark.parametrize(
    ("version", "said"), [("2.53.4", "Version 2.53.4 runs on h2, and was"), ("2.51.2", "Version 2.51.2 runs on h2, on")]
)
@pytest.mark.parametrize("leader", [[{"state": "created", "exit_code": 0}], []])
def test_what_runs_on_another_member_is_named(version: str, said: str, leader: list[dict[str, t.Any]]) -> None:
    other = {"name": "core", "service": "wacore", "one_shot": False, "version": version, "state": "running"}
    lines = told(at="migrating", migrations=leader, others={"h2": [other]})
    assert said in lines
    assert ("was started and did not end well" in lines) is bool(leader and version == "2.51.2")


SIX = 1764136800.0
NOTES = {"down_at": 1764136740.5, "migrating_at": SIX, "dump": "/b/eu.sql.gz"}
MIGRATED = {"schema": "done", "notes": {**NOTES, "migrated_at": SIX}}
SERVES = {"schema": "done", "notes": {**NOTES, "up_at": SIX}}
LEFT = {
    "schema": "started",
    "target": "2.53.4",
    "since": 1000.0,
    "notes": NOTES,
}


@pytest.mark.parametrize(
    ("left", "words"),
    [
        ({}, "is at stage migrating since 2025-11-26 06:00:00 UTC. The schema may be changed, and the client is stopped since 2025-11-26 05:59:00 UTC."),
        ({"schema": "untouched"}, "is at stage stopping since 2025-11-26 05:59:00 UTC. The schema is untouched, and the client is stopped since"),
        (MIGRATED, "is at stage starting since 2025-11-26 06:00:00 UTC. The database is migrated, and the new version may run on"),
        (SERVES, "is at stage verifying since 2025-11-26 06:00:00 UTC. The database is migrated, and the new version was started."),
        ({"notes": {}}, "is at stage migrating. The schema may be changed, and the client is stopped."),  # by its container
    ],
)  # fmt: skip
def test_a_run_that_fails_before_it_takes_an_unfinished_upgrade_up_tells_where_that_stands(
    left: dict[str, t.Any], words: str
) -> None:
    said = told(locked=False, left={**LEFT, **left})
    assert f"Nothing was touched by this run.\nThe upgrade to 2.53.4 that was left unfinished {words}" in said
    assert f"run upgrade.yml again, which goes on from there:\n  {AGAIN}" in said
    assert ("Database dump: /b/eu.sql.gz (on h1)" in said) is (left.get("notes") != {})
    assert "when h1 is back" in told(locked=False, left=LEFT, leader_lost=True)


def test_what_another_run_holds_is_its_own_to_tell() -> None:
    said = told(locked=False, left=LEFT, left_held=True)
    assert "Nothing was touched by this run. Another one has the deployment" in said
    assert "To go on" not in said
    assert "Nothing was touched." in told(locked=False, left={**LEFT, **at("locked")})


def test_a_client_that_runs_is_not_said_to_be_stopped() -> None:
    assert "and a client runs." in told(locked=False, left=LEFT, runs=True)


def test_a_lock_that_has_ended_well_was_removed_by_nobody() -> None:
    journal = {**at("verifying"), "run_id": "r1"}
    facts = {"journal": journal, "journal_gone": True}
    said = told(**facts, ended={**journal, "outcome": "done"})
    assert "The upgrade is done all the same: version 2.53.4 serves" in said
    assert "somebody has removed it" not in said
    assert "To go on" not in said
    # Another run has gone on with it, and ended it; a later upgrade that did not succeed keeps its journal.
    by_another = {**journal, "run_id": "r2", "runs": ["r1", "r2"], "outcome": "done"}
    for ended in (by_another, {"run_id": "r3", "outcome": "rolled_back", "succeeded": by_another}):
        assert "The upgrade is done all the same" in told(**facts, ended=ended)
    for other in ({**journal, "run_id": "r0", "outcome": "done"}, {**journal, "outcome": "failed"}, {}):
        assert "somebody has removed it" in told(**facts, ended=other)
    later = {**journal, "run_id": "r0", "outcome": "done", "ended_at": 200.0}
    said = told(journal={**journal, "since": 100.0}, journal_gone=True, ended=later)
    assert "Another run has taken the deployment over since" in said


def test_a_new_version_that_runs_after_a_failed_migration_is_said_to_run() -> None:
    new = {**container("running"), "version": "2.53.4"}
    failure_of = {"service": "dbupgrade", "version": "2.53.4", "name": "wa-eu-dbupgrade-1", "one_shot": True, **FAILED}
    said = told(at="migrating", containers=[new, failure_of], journal=DUMPED)
    assert (
        "Version 2.53.4 runs on h1, and was not seen healthy.\nThe schema may be changed: the migration was started"
        in said
    )
    assert "Rather go on.\nThe only way back" in said
    assert "client is down" not in said


def test_an_old_version_that_somebody_has_started_beside_a_migration_is_said_to_run() -> None:
    old = {**container("running"), "version": "2.51.2"}
    said = told(at="migrating", containers=[old], journal=DUMPED)
    assert "Version 2.51.2 runs on h1, on a schema that may be changed." in said
    assert RESTORE in said
    assert "client is down" not in said


def test_whatever_is_known_it_says_one_state() -> None:
    """Over all that can be known at once: never both that the schema is untouched and that it is not, nor both serving and down."""
    stages = ("", "locked", "stopping", "migrating", "starting", "verifying")
    seen: tuple[t.Any, ...] = (None, [], [FAILED], [{"state": "running"}], [{"state": "exited", "exit_code": 0}])
    flags = ("locked", "journal_gone", "leader_lost", "stopped")
    for stage, migrations, *values in itertools.product(stages, seen, *[(False, True)] * len(flags)):
        said = told(at=stage, migrations=migrations, **dict(zip(flags, values)))
        untouched = "schema is untouched" in said or "Nothing was" in said
        assert not (untouched and ("is migrated" in said or RESTORE in said)), said
        assert not ("client is down, and" in said and ("2.51.2 serves" in said)), said
        assert said.count("To go on") <= 1, said


@pytest.mark.parametrize(
    ("facts", "outcome"),
    [
        ({"at": "locked"}, "rolled_back"),
        ({"at": "stopping"}, "rolled_back"),
        ({"at": "stopping", "not_back": "no room"}, "failed"),
        ({"at": "stopping", "leader_lost": True}, "failed"),
        ({"at": "migrating"}, "failed"),
        ({"at": "verifying"}, "failed"),
        ({}, "failed"),
        ({"journal": {"run_id": "a"}, "asked": {"ended": {"run_id": "a", "outcome": "done"}}}, "upgraded"),
    ],
)
def test_the_result_has_the_screen_and_its_facts(facts: dict[str, t.Any], outcome: str) -> None:
    found = failed(failure(**facts, skipped=["expiry"], still_locked=["h2"], settings_backup="/c/s.json"))
    assert found["outcome"] == outcome
    assert {name: found[name] for name in ("deployment", "members", "before", "target", "failed_task", "message")} == {
        "deployment": "eu",
        "members": ["h1", "h2"],
        "before": "2.51.2",
        "target": "2.53.4",
        "failed_task": "Do it",
        "message": "it broke",
    }
    assert (found["skipped_checks"], found["still_locked"], found["settings_backup"]) == (
        ["expiry"],
        ["h2"],
        "/c/s.json",
    )
    assert found["next"] == [AGAIN]
    assert found["lines"] == screen(
        failure(**facts, skipped=["expiry"], still_locked=["h2"], settings_backup="/c/s.json")
    )
