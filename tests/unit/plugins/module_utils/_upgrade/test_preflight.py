# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks before an upgrade: each ok, skipped and failed, and the verdict on hosts and deployments."""

from __future__ import annotations

import typing as t

import pytest
from preflight_samples import (
    BACK_AGAIN,
    CONTAINER_ID,
    DATABASE,
    DEPLOYMENT,
    FOUND,
    GOOD,
    HELD,
    IMAGES_HERE,
    JOURNAL,
    LARGE,
    LEFT,
    LOCK,
    NO_DATABASE,
    NO_GC,
    NONE,
    OUTAGE,
    SAME,
    STANDING,
    UNREAD,
    check,
    container,
    names,
    verdict,
    with_found,
)
from upgrade_journals import at

from ansible_collections.waba.onprem.plugins.module_utils._upgrade import (
    client_checks,
    database_checks,
    image_checks,
    preflight,
    run_checks,
)


def test_a_healthy_deployment_passes_all_checks() -> None:
    found = verdict()
    assert found["failures"] == []
    assert found["message"] == []
    states = {one["check"]: one["state"] for one in found["checks"]}
    assert [name for name, state in states.items() if state != "ok"] == [
        "an unfinished upgrade is completed",
        "the database is the one that was migrated",
    ]
    assert list(states) == [one.name for one in preflight.CHECKS]
    assert found["notes"] == [
        "waba: version 2.51.2, target 2.53.4",
        OUTAGE,
        "waba: the dump will hold waba1, messageStore",
    ]
    assert found["lines"][0] == "ok       the run covers the deployment"


# The check, what differs from GOOD, and the message that it fails with.

# The check, what differs from GOOD, and why it is skipped.
FAMILIES = (client_checks, database_checks, image_checks, run_checks)
SKIPPED: list[tuple[str, dict[str, t.Any], str]] = [
    ("the target is a version", NONE, "no wa_upgrade_version"),
    (
        "the folder and the password of the settings backup are set",
        {**NONE, "backup_password": False},
        "no wa_upgrade_version",
    ),
    (
        "the folder and the password of the settings backup are set",
        {"skip": "settings_backup", "backup_password": False},
        "settings_backup or expiry in wa_upgrade_skip",
    ),
    ("the run upgrades once", {"upgraded": ["s1"], "check_only": True}, "wa_upgrade_check_only"),
    ("the hooks can be run", {"hooks": {}}, "no hooks"),
    (
        "no other upgrade is in progress",
        {**HELD, "take_over": True},
        "wa_upgrade_take_over",
    ),
    ("an unfinished upgrade is completed", {}, "no upgrade is unfinished"),
    ("the database is the one that was migrated", {}, "no upgrade is unfinished"),
    ("the database is the one that was migrated", {**BACK_AGAIN, "skip": ["schema"]}, "schema in wa_upgrade_skip"),
    ("nobody but the client's hosts uses its database", {**LEFT, "sessions": "x"}, "an unfinished upgrade goes on"),
    ("nobody but the client's hosts uses its database", {**SAME, "sessions": "x"}, "nothing to upgrade"),
    ("the client runs", {**LEFT, "clients": []}, "an unfinished upgrade goes on"),
    ("no registration and no media are lost", {**NONE, "loss": "web"}, "no wa_upgrade_version"),
    ("the target can be reached from the running version", {**LEFT, "everywhere": []}, "an unfinished upgrade goes on"),
    ("the target can be reached from the running version", NONE, "no wa_upgrade_version"),
    (
        "the leader has a Coreapp for the migration",
        {"compose": {"compose": {"migration": False, "coreapp": ""}, "services": [], "refusal": ""}},
        "the migration is in the role's Compose file",
    ),
    ("the leader has a Coreapp for the migration", SAME, "nothing to upgrade"),
    ("a copy of the database is made", SAME, "nothing to upgrade"),
    (
        "a copy of the database is made",
        {**NONE, "dump": False},
        "an upgrade would be refused: database: no copy is made before the migration, ",
    ),
    ("the images of the target exist", NONE, "no wa_upgrade_version"),
    ("the registry has answered", NONE, "no wa_upgrade_version"),
    ("the images of the target are the builds that they are named after", LEFT, "an unfinished upgrade goes on"),
    ("the images of the target are the builds that they are named after", SAME, "nothing to upgrade"),
    (
        "the images of the target that are here have not expired",
        {**LEFT, "today": "2099-07-01"},
        "an unfinished upgrade goes on",
    ),
    ("the images of the target that are here have not expired", {**SAME, "today": "2099-07-01"}, "nothing to upgrade"),
    ("there is room for images and logs", SAME, "nothing to upgrade"),
    (
        "there is room for images and logs",
        {**NONE, "found": {**FOUND, "image_free_bytes": 1}},
        "an upgrade would be refused: 1 B free",
    ),
    (
        "the version may be set in the operator's Compose files",
        {"compose": {"compose": {**GOOD["compose"]["compose"], "repositories": {}}, "services": [], "refusal": ""}},
        "no wa_client_compose_dir",
    ),
    ("the version may be set in the operator's Compose files", SAME, "nothing to upgrade"),
    ("the client is healthy", {"skip": ["expiry"], "health": {}}, "expiry or health in wa_upgrade_skip"),
    ("the client is healthy", {**LEFT, "health": {}}, "an unfinished upgrade goes on"),
    ("db.env and the media volume are in sync", {**LEFT, "drift": {}}, "an unfinished upgrade goes on"),
    (
        "the database can be dumped",
        {"dump": False, "snapshot_command": "lvcreate", "dumpable": {}},
        "no wa_upgrade_dump",
    ),
    ("the database can be dumped", NONE, "no wa_upgrade_version"),
    (
        "the database can be dumped",
        {"dump": True, "left": {**JOURNAL, **at("starting")}, "dumpable": {"msg": "no room"}},
        "the database of an unfinished upgrade is copied",
    ),
    ("the database can be dumped", {**SAME, "dump": True}, "nothing to upgrade"),
    ("the database can be migrated", {"left": {**JOURNAL, **at("starting")}}, "the database is migrated"),
    ("the database can be migrated", SAME, "nothing to upgrade"),
    (
        "the database can be migrated",
        {**NONE, **with_found(database={"read_only": True})},
        "an upgrade would be refused: the database server takes no writes",
    ),
    (
        "the messages table is below its limit, or message GC may be called",
        {**LEFT, **with_found(database=LARGE), **NO_GC},
        "an unfinished upgrade goes on",
    ),
    (
        "the messages table is below its limit, or message GC may be called",
        {**with_found(database=LARGE), **NO_GC, "skip": ["table_size"]},
        "table_size in wa_upgrade_skip",
    ),
    (
        "the messages table is below its limit, or message GC may be called",
        {**SAME, **with_found(database=LARGE), **NO_GC},
        "nothing to upgrade",
    ),
    (
        "the messages table is below its limit, or message GC may be called",
        {**NONE, **with_found(database=LARGE), **NO_GC},
        "an upgrade would be refused: messages holds some 2400000 rows",
    ),
    (
        "the members share the media volume",
        {"deployment": {**DEPLOYMENT, "members": ["h1"]}},
        "a deployment of one host",
    ),
    ("the members share the media volume", LEFT, "an unfinished upgrade goes on"),
    (
        "the members share the media volume",
        {"markers": {}, "split_volume": "no marker"},
        "no member has read a marker file",
    ),
]


def test_the_tables_have_every_check() -> None:
    assert len({one.name for one in preflight.CHECKS}) == len(preflight.CHECKS)
    families = [{one.name for one in preflight.CHECKS} & names(one) for one in FAMILIES]  # each has its own table
    assert sum(map(len, families)) == len(preflight.CHECKS)
    reasons = {(one.name, skip.reason) for one in preflight.CHECKS for skip in one.skip}
    tested = {(name, reason) for name, _changes, reason in SKIPPED}
    plain = {(name, reason.replace("`", "")) for name, reason in reasons}
    # That of a missing target is one condition for all.
    assert {one for one in plain if one[1] != "no wa_upgrade_version"} - tested == set()


@pytest.mark.parametrize(("name", "changes", "reason"), SKIPPED)
def test_a_check_is_skipped(name: str, changes: dict[str, t.Any], reason: str) -> None:
    found = verdict(**changes)
    one = check(name, found)
    assert one["state"] == "skipped"
    assert one["reason"].startswith(reason)
    assert f"skipped  {name}: {one['reason']}" in found["lines"]
    if reason.startswith("an upgrade would be refused: "):
        assert found["failures"] == []
        assert found["notes"][-1] == f"h1: {one['reason']}"


def test_all_checks_that_have_failed_are_reported_together() -> None:
    found = verdict(version="2.9.1", dump=False, api_password=False, drift={"drift": ["db_env: a"]})
    assert [one["check"] for one in found["checks"] if one["state"] == "failed"] == [
        "the API password is set",
        "the target can be reached from the running version",
        "a copy of the database is made",
    ]
    assert found["message"] == found["failures"]
    assert check("db.env and the media volume are in sync", found)["reason"] == (
        'not checked, since "the API password is set" has failed'
    )


@pytest.mark.parametrize(
    ("changes", "readable"),
    [
        ({}, True),
        ({"dump": False}, True),
        ({"backup_password": False}, True),
        ({"version": "2.9.1"}, False),
        ({"api_password": False}, False),
        (UNREAD, False),
    ],
)
def test_what_keeps_the_deployment_from_being_read(changes: dict[str, t.Any], readable: bool) -> None:
    found = verdict(**changes)
    assert bool(found["looks"]) is readable
    assert (check("the database can be read", found)["state"] == "ok") is readable


@pytest.mark.parametrize(
    ("changes", "name", "missing"),
    [
        ({"version": "v"}, "the images of the target exist", "the target is a version"),
        ({"invalid": ["a"]}, "there is room for images and logs", "the values of variables are valid"),
        (UNREAD, "the client runs", "the host can be read"),
        (NO_DATABASE, "the database can be migrated", "the database can be read"),
    ],
)
def test_a_check_is_not_made_without_those_before_it(changes: dict[str, t.Any], name: str, missing: str) -> None:
    found = check(name, verdict(**changes))
    assert (found["state"], found["reason"]) == ("skipped", f'not checked, since "{missing}" has failed')


def test_an_invalid_value_is_reported_once() -> None:
    found = verdict(skip={"expiry": 1}, invalid=["wa_upgrade_hook_timeout: 'soon'"])
    assert len(found["failures"]) == 1


def test_the_first_verdict_is_without_the_reads_that_take_longer() -> None:
    late: dict[str, t.Any] = {
        name: {} for name in ("health", "drift", "dumpable", "marker", "markers", "operators_files")
    }
    found = verdict(inspected=False, **late)
    assert found["failures"] == []
    assert {one["reason"] for one in found["checks"] if "reason" in one} == {"no upgrade is unfinished", "not read yet"}


def test_a_host_without_an_engine_has_no_images_and_no_containers() -> None:
    read: dict[str, t.Any] = {"containers": [], "journal": {}, "upgrade": {}}
    assert verdict(inspected=False, found=read, clients=[])["failures"] == [
        "h1: no container of the client in project wa-waba: run provision.yml first."
    ]


def test_a_member_that_an_upgrade_has_stopped_is_not_to_be_started_while_its_leader_is_not_read() -> None:
    stopped = [container("wa-waba-waweb-1", state="exited")]
    other: dict[str, t.Any] = {"host": "h2", "deployment": {**DEPLOYMENT, "is_leader": False}, "clients": stopped}
    (failed,) = verdict(inspected=False, leader={"msg": "no"}, **other, **with_found(journal=LOCK))["failures"]
    assert failed == (
        "h2: not running: wa-waba-waweb-1, since the upgrade to 2.53.4 has stopped them, and h1, which leads it, was not read. Start "
        "nothing; when h1 can be read, run upgrade.yml again."
    )
    new: dict[str, t.Any] = {"journal": {}, "ended": {}}
    (failed,) = verdict(inspected=False, leader=new, **other, **with_found(journal=LOCK))["failures"]
    assert "and h1, which leads it, knows of no upgrade: it was set up again since. Start nothing" in failed
    # The leader has gone back without this host: provision.yml releases its lock.
    back = {"journal": {}, "ended": {**LOCK, "outcome": "rolled_back"}}
    (failed,) = verdict(inspected=False, leader=back, **other, **with_found(journal=LOCK))["failures"]
    assert "Run provision.yml, which starts the version that they have" in failed


def test_the_room_of_the_database_server_is_displayed_and_refuses_nothing() -> None:
    largest = {"name": "messages", "bytes": 2 << 30}
    full = with_found(database={**DATABASE, "largest_table": largest, "total_bytes": 3 << 30})
    found = verdict(**full)
    assert found["failures"] == []
    assert found["notes"][-1].startswith(
        "waba: confirm the free room on the disk of the database server, which it does not tell: the"
    )
    for changes in ({**LEFT, "left": {**JOURNAL, **at("starting")}}, SAME):
        assert not [text for text in verdict(**full, **changes)["notes"] if "confirm" in text]


OTHER = {"deployment": {**DEPLOYMENT, "is_leader": False}, "host": "h2"}
EVERYTHING = ["drift", "dumpable", "health", "operators_files"]
RENDERED = {"compose": {**GOOD["compose"]["compose"], "repositories": {}}, "services": [], "refusal": ""}


@pytest.mark.parametrize(
    ("changes", "looks", "marks"),
    [
        ({}, EVERYTHING, True),
        ({"check_only": True}, EVERYTHING, False),
        ({"deployment": {**DEPLOYMENT, "members": ["h1"]}}, EVERYTHING, False),
        (OTHER, ["drift", "operators_files"], False),
        ({"compose": RENDERED}, ["drift", "dumpable", "health"], True),
        ({"skip": ["health"]}, ["drift", "dumpable", "operators_files"], True),
        (SAME, ["drift", "health"], True),
        ({**LEFT, "dump": True}, ["dumpable", "operators_files"], False),
        ({"version": "2.9.1"}, [], False),  # refused before
    ],
)
def test_what_is_read_of_the_deployment_is_what_its_checks_need(
    changes: dict[str, t.Any], looks: list[str], marks: bool
) -> None:
    found = verdict(inspected=False, **changes)
    assert (found["looks"], found["marks"]) == (looks, marks)


def test_a_large_table_is_left_to_message_gc() -> None:
    found = verdict(**with_found(database=LARGE))
    assert found["failures"] == []
    assert found["notes"][-1] == "waba: messages holds some 2400000 rows, the limit is 2000000: message GC is due"


@pytest.mark.parametrize("changes", [{**NO_GC, **NONE}, {"skip": ["table_size"]}, LEFT, SAME])
def test_no_message_gc_is_announced_that_is_not_called(changes: dict[str, t.Any]) -> None:
    found = verdict(**with_found(database=LARGE), **changes)
    assert found["failures"] == []
    assert not [text for text in found["notes"] if text.endswith("message GC is due")]


def test_a_small_table_needs_no_message_gc() -> None:
    small = {**DATABASE, "messages": {"rows": 2000000, "large": False, "unknown": ""}}
    assert verdict(**with_found(database=small), **NO_GC)["failures"] == []


@pytest.mark.parametrize("leader", ["", "h1"])
def test_the_leader_of_the_journal_may_be_the_host_or_unknown(leader: str) -> None:
    assert verdict(**with_found(journal={"notes": {"leader": leader}}))["failures"] == []


def test_another_member_is_not_asked_what_the_leader_is() -> None:
    other = verdict(
        deployment={**DEPLOYMENT, "is_leader": False}, host="h2", **NO_DATABASE, health={}, dumpable={}, dump=False
    )
    assert other["failures"] == []
    assert {one.name for one in preflight.CHECKS if one.leader} & {one["check"] for one in other["checks"]} == set()
    assert other["notes"] == []


@pytest.mark.parametrize(
    ("changes", "notes"),
    [
        (NONE, ["waba: version 2.51.2, no target version: preparation only"]),
        (SAME, ["waba: version 2.51.2, target 2.51.2, nothing to upgrade"]),
        (
            {**LEFT, "left": {**JOURNAL, **at("stopping", {"from_version": "2.49.1"})}},
            [f"waba: version 2.49.1, target 2.53.4, the upgrade that stopped at stage stopping goes on. {STANDING}"],
        ),
        (
            with_found(
                database={
                    **DATABASE,
                    "unsupported": "MariaDB 11.8.3 is not supported by the client's vendor (MySQL 5.7, 8.0)",
                }
            ),
            [
                "waba: version 2.51.2, target 2.53.4",
                OUTAGE,
                "waba: MariaDB 11.8.3 is not supported by the client's vendor (MySQL 5.7, 8.0). Upgrade one client with a copy of the database first, "
                "and take "
                "a dump or a snapshot (wa_upgrade_dump, wa_upgrade_snapshot_command).",
            ],
        ),
    ],
)
def test_what_is_displayed_of_a_deployment_that_passes(changes: dict[str, t.Any], notes: list[str]) -> None:
    assert (
        verdict(**{"dumpable": {"databases": None, "msg": ""}, "dump": False, "snapshot_command": "a", **changes})[
            "notes"
        ]
        == notes
    )


def test_what_a_dump_takes_is_displayed_and_returned() -> None:
    takes = {"bytes": 40 << 30, "seconds": 3300, "limit": 3600}
    read = {"databases": ["waba1"], "estimate": takes, "left": ["view v in waba1 is root@localhost's"]}
    found = member("h1", dumpable=read)
    text = "about 40.0 GiB, 55m00s of the outage, limit 1h00m"
    assert check("the database can be dumped", found)["found"] == text
    assert f"ok       the database can be dumped: {text}" in found["lines"]
    assert found["notes"][1:] == [
        "waba: the outage will take about 59m00s without migration: stop 2m00s (at most), copy 55m00s (by a sample), migration unknown, "
        "start 2m00s (assumed for high_availability)",
        f"waba: the dump will hold waba1: {text}",
        "waba: view v in waba1 is root@localhost's",
    ]
    whole = preflight.of_deployment(DEPLOYMENT, {"h1": found, "h2": member("h2", dumpable={})}, BOTH, BOTH)
    assert whole["outage"] == found["outage"]
    assert (found["outage"]["seconds"], found["outage"]["unknown"]) == (3540, ["migration"])
    assert preflight.of_deployment(DEPLOYMENT, {}, BOTH, [])["outage"] == {}


def test_the_outage_is_as_long_as_the_last_one_at_the_leader() -> None:
    times = {
        "down_at": 100.0,
        "migrating_at": 130.0,
        "migrated_at": 190.0,
        "up_at": 195.0,
        "copy_at": 105.0,
        "copied_at": 125.0,
    }
    ended = {"outcome": "done", "target": "2.51.2", "notes": times}
    (line,) = [text for text in verdict(**with_found(ended=ended))["notes"] if "outage" in text]
    before = "(as in the upgrade to 2.51.2)"
    assert line == (
        f"waba: the outage will take about 1m35s: stop 10s {before}, copy 20s {before}, migration 1m00s {before}, start 5s {before}"
    )


@pytest.mark.parametrize("changes", [SAME, NONE, LEFT, {"deployment": {**DEPLOYMENT, "is_leader": False}}])
def test_no_outage_is_expected_where_none_begins(changes: dict[str, t.Any]) -> None:
    found = verdict(**changes)
    assert found["outage"] == {}
    assert not [text for text in found["notes"] if "the outage will take" in text]


@pytest.mark.parametrize(
    ("day", "words"),
    [
        (
            "2026-06-29",
            "expired on 2026-06-29. An expired client refuses health, GC and the settings backup. Upgrade it with ",
        ),
        ("2026-06-30", "expires on 2026-06-30. "),
        ("2026-07-30", "expires on 2026-07-30. "),
        ("2026-07-31", ""),
        ("", ""),
        ("soon", ""),
    ],
)
@pytest.mark.parametrize("changes", [{}, NONE, SAME, LEFT, {"api_password": False}, {"check_only": True}])
def test_each_check_warns_of_the_expiry_of_what_runs(changes: dict[str, t.Any], day: str, words: str) -> None:
    """Also one that has failed, and one without a target; never of an image that nothing runs from."""
    own = {"name": "reg/web:v2.51.2", "version": "2.51.2", "expires_on": day}
    unused = {"name": "reg/web:v2.49.1", "version": "2.49.1", "expires_on": "2026-01-01"}
    found = verdict(**{**with_found(images=[*IMAGES_HERE, unused, own]), **changes})
    warnings = [text for text in found["notes"] if "warning" in text]
    assert len(warnings) == bool(words)
    assert all(f"h1: warning: version 2.51.2, which runs, {words}" in text for text in warnings)
    if changes == {"api_password": False}:
        assert found["message"] == ([*found["failures"], *warnings] if warnings else found["failures"][0])
        assert not [text for text in found["failures"] if "warning" in text]


@pytest.mark.parametrize("changes", [{}, {"api_password": False}, {"check_only": True}])
@pytest.mark.parametrize("stage", ["locked", "stopping"])
def test_each_check_warns_of_traffic_that_a_killed_run_keeps_away(changes: dict[str, t.Any], stage: str) -> None:
    journal = {**at(stage, {"traffic_away_at": 90.0}), "target": "2.53.4"}
    for leads, said in ((True, 1), (False, 0)):
        found = verdict(deployment={**DEPLOYMENT, "is_leader": leads}, left=journal, **changes)
        words = "waba: traffic may be kept away since 1970-01-01 00:01:30 UTC, by wa_upgrade_before_outage of a run that was"
        assert sum(text.startswith(words) for text in found["notes"]) == said


def test_no_word_about_the_database_where_nothing_is_upgraded() -> None:
    old = with_found(database={**DATABASE, "unsupported": "old"})
    assert not [text for text in verdict(**SAME, **old)["notes"] if "old. Upgrade one client" in text]
    assert [text for text in verdict(**NONE, **old)["notes"] if "old. Upgrade one client" in text]


BOTH = ["h1", "h2"]


def member(host: str, **changes: t.Any) -> dict[str, t.Any]:
    return verdict(host=host, deployment={**DEPLOYMENT, "is_leader": host == "h1"}, **changes)


def test_a_deployment_passes_with_all_of_its_members() -> None:
    found = preflight.of_deployment(DEPLOYMENT, {one: member(one) for one in BOTH}, BOTH, BOTH)
    assert (found["passed"], found["failed"], found["unready"], found["reporter"]) == (True, [], [], "h1")
    assert found["lines"][:5] == [
        f"waba: 0 of {len(found['checks'])} checks failed",
        "waba: version 2.51.2, target 2.53.4",
        OUTAGE,
        "waba: the dump will hold waba1, messageStore",
        "h1",
    ]
    assert found["lines"].count("h2") == 1
    assert {one["host"] for one in found["checks"]} == {*BOTH}


def test_the_same_failure_of_several_members_is_shown_once() -> None:
    late = {"version": "2.9.1"}
    found = preflight.of_deployment(DEPLOYMENT, {one: member(one, **late) for one in BOTH}, BOTH, BOTH)
    assert found["lines"][0] == f"waba: 2 of {len(found['checks'])} checks failed"
    assert len([line for line in found["lines"] if "is older than the running" in line]) == 1
    assert "  failed   the target can be reached from the running version: as on h1" in found["lines"]
    assert len(found["failed"]) == 1
    assert found["unready"] == BOTH


@pytest.mark.parametrize(
    ("run_hosts", "words"),
    [
        (BOTH, "it could not be reached, or its checks have ended early: see above."),
        (["h2"], "it is not in this run (--limit, or wa_hosts)."),
    ],
)
def test_a_member_that_was_not_reached_is_a_failed_check(run_hosts: list[str], words: str) -> None:
    found = preflight.of_deployment(DEPLOYMENT, {"h1": member("h1"), "h2": member("h2")}, run_hosts, ["h2"])
    assert (found["reporter"], found["unready"], found["passed"]) == ("h2", ["h1"], False)
    assert found["failed"] == [f"h1: {words}"]
    touched = "Nothing of the deployment was touched by this run."
    assert found["refusal"] == f"h1 of deployment waba did not pass the checks above or could not be reached. {touched}"
    left = preflight.of_deployment(DEPLOYMENT, {"h2": member("h2", **LEFT)}, run_hosts, ["h2"])["refusal"]
    assert left.partition(touched)[2].startswith(f" {STANDING} A member that is lost is named in wa_upgrade_without")
    assert found["lines"][1:3] == [
        "h1",
        f"  failed   the host is checked: expected a host of this run that answers; found: {words}",
    ]


def stopped_again(**started: t.Any) -> dict[str, t.Any]:
    """Facts of a client that was started once more after a failed migration, and does not run now."""
    found = [container("wa-waba-wacore-1", state="exited", **started)]
    return {"left": {**BACK_AGAIN["left"], "schema": "started"}, "everywhere": [], "leader": {"containers": found}}


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({}, True),
        (
            {"everywhere": [container("wa-waba-wacore-1", version="2.53.4")]},
            False,
        ),  # it serves: it is proven, and unlocked
        (with_found(database={**DATABASE, "definitions": "d2"}), False),
        (with_found(database={**DATABASE, "definitions": ""}), False),
        (with_found(database=DATABASE), False),
        ({"left": {**BACK_AGAIN["left"], "notes": {}}}, False),
        # One that has failed is made again, with the copy from before it, unless the old version has served since.
        ({"left": {**BACK_AGAIN["left"], "schema": "started"}}, True),
        ({"left": {**BACK_AGAIN["left"], "schema": "started"}, "everywhere": []}, False),
        (stopped_again(started_at=1500.0), True),
        (stopped_again(started_at=900.0), False),
        (stopped_again(started_at=1500.0, version="2.53.4"), False),
    ],
)
def test_tables_as_before_the_migration_are_asked_about(changes: dict[str, t.Any], asked: bool) -> None:
    found = verdict(**{**BACK_AGAIN, **changes})
    assert (check("the database is the one that was migrated", found)["state"] == "failed") is asked


def test_equal_definitions_after_a_migration_of_data_prove_nothing() -> None:
    left = {**BACK_AGAIN["left"], "notes": {"definitions": {"before": "d1", "after": "d1"}}}
    (said,) = verdict(**{**BACK_AGAIN, "left": left})["failures"]
    assert "as before it, as they were after it, too, so that this alone proves nothing. Either" in said


def test_a_node_that_does_not_answer_any_more_is_no_reason() -> None:
    ours = "core1:" + CONTAINER_ID[:12]
    nodes = {ours: {"gateway_status": "connected"}, "core9:0123456789ab": {"errors": [{"code": 1014}]}}
    found = verdict(
        health={"healthy": True, "nodes": nodes}, everywhere=[container("wa-waba-wacore-1", id=CONTAINER_ID)]
    )
    assert check("nobody but the client's hosts uses its database", found)["state"] == "ok"
