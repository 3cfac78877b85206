# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What restore.yml does, and what it refuses before anything is touched."""

from __future__ import annotations

import typing as t

import pytest
from upgrade_journals import at

from ansible_collections.waba.onprem.plugins.plugin_utils import _restore_plan as restore_plan

STOPPED = 1764136800.0
COPY: dict[str, t.Any] = {
    "facts": {"deployment": "eu", "version": "2.51.2", "stopped_at": STOPPED},
    "databases": {"waconfig": {"tables": {"a": 2, "b": 1}}, "wamessages": {"tables": {"messages": 9}}},
    "source_bytes": 2 << 20,
    "seconds": 3.0,
    "tool": "pg_dump 17",
    "left": ["schema reports in waconfig is postgres's"],
}


def container(name: str, version: str = "2.51.2", started: float = 1.0, state: str = "exited") -> dict[str, t.Any]:
    migrates = "dbupgrade" in name
    found = {"name": name, "version": version, "started_at": started, "state": state, "one_shot": migrates}
    return {**found, "service": "dbupgrade" if migrates else name}


def member(*containers: dict[str, t.Any], **notes: t.Any) -> dict[str, t.Any]:
    return {"containers": list(containers), "journal": at("migrating", notes) if notes else {}}


def plan(**facts: t.Any) -> dict[str, t.Any]:
    known = {
        "leaders": ["h1"],
        "asked": "/b/eu.json",
        "command": "",
        "deployment": "eu",
        "leader": "h1",
        "project": "wa-eu",
        "version": "2.51.2",
        "accept_lost": False,
        "without": [],
        "remove_former": False,
        "drill": False,
        "drill_host": "",
        "drill_image": "",
        "hold": "",
        "hosts": ["h1", "h2"],
        "members": {"h1": member(container("core")), "h2": member(container("core"))},
        "copy": {"manifest": COPY},
    }
    return restore_plan.plan({**known, **facts})


def test_the_plan_of_a_failed_migration() -> None:
    found = plan(
        asked="",
        members={
            "h1": member(
                container("core"), container("wa-dbupgrade-1", "2.53.4", STOPPED + 9), manifest="/b/eu-noted.json"
            ),
            "h2": member(container("core")),
        },
    )
    assert (found["path"], found["refusal"]) == ("/b/eu-noted.json", "")
    assert found["removes"] == {"h1": ["wa-dbupgrade-1"], "h2": []}
    assert found["lines"] == [
        "copy /b/eu-noted.json on h1: version 2.51.2, stopped 2025-11-26 06:00:00 UTC, 2.0 MiB, made in 3s by pg_dump 17",
        "stop the client on h1, h2",
        "replace the content of waconfig (3 rows), wamessages (9 rows)",
        "the database server needs up to 6.0 MiB of free disk meanwhile; no server shows it, so look there",
        "leave: schema reports in waconfig is postgres's",
        "remove wa-dbupgrade-1 on h1",
        "start version 2.51.2",
    ]


def test_a_restore_that_was_cut_off_goes_on_with_its_own_copy() -> None:
    noted = member(container("core"), restores="/b/other.json", manifest="/b/eu.json")
    for command in ("", "zfs rollback"):  # of the inventory
        assert plan(asked="", command=command, members={"h1": noted, "h2": member()})["path"] == "/b/other.json"


@pytest.mark.parametrize(
    ("notes", "accepts", "said"),
    [
        (
            {"manifest": "/b/eu.json"},
            False,
            "the upgrade has the dump /b/eu.json, and wa_restore_snapshot_command is set",
        ),
        ({"manifest": "/b/eu.json"}, True, ""),
        ({"copied_at": STOPPED + 5}, False, ""),
        ({"copied_at": 0}, False, "the client has run since the copy was made: containers that ran while it was made"),
        ({}, False, ""),  # the operator's own copy
    ],
)
def test_a_snapshot_is_restored_where_the_upgrade_has_made_one(
    notes: dict[str, t.Any], accepts: bool, said: str
) -> None:
    read = member(container("core"), from_version="2.51.2", down_at=STOPPED, **notes)
    stopped = {"h1": read, "h2": member(container("core"))}
    found = plan(asked="", command="zfs rollback", copy={}, accept_lost=accepts, members=stopped)
    assert found["refusal"].startswith(said)
    assert bool(found["refusal"]) is bool(said)


def test_traffic_that_an_upgrade_keeps_away_is_not_forgotten() -> None:
    read = member(container("core"), traffic_away_at=STOPPED)
    lines = plan(members={"h1": read, "h2": member(container("core"))})["lines"]
    assert lines[-1] == "let API traffic come again yourself: it may be kept away since 2025-11-26 06:00:00 UTC"


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"members": {"h1": member()}}, "h2 of deployment eu was not read; expected all members, which are stopped"),
        ({"leaders": ["h1", "h3"]}, "2 deployments are in this run (h1, h3); expected one"),
        ({"project": ""}, "deployment eu runs outside Compose; expected a Compose project"),
        (
            {"members": {"h1": member(container("x-dbupgrade-1", state="running")), "h2": member()}},
            "a migration runs on h1; expected none. Nothing was touched. Wait for its end",
        ),
        ({"asked": ""}, "no upgrade with a copy was left unfinished on h1; expected one, or the manifest of a copy"),
        (
            {"asked": "", "command": "roll-back", "copy": {}},
            "no upgrade was left unfinished on h1; expected one, whose version the snapshot of wa_restore_snapshot_command has",
        ),
        ({"version": "2.53.4"}, "the copy is of version 2.51.2, and wa_version is 2.53.4; expected one version"),
        (
            {"copy": {"manifest": {**COPY, "facts": {}}}},
            "the copy is of version unknown, and wa_version is 2.51.2; expected one version",
        ),
        (
            {"members": {"h1": member(), "h2": member(container("core", "2.53.4", STOPPED + 60))}},
            "the client has run since the copy was made: core on h2; expected a copy of what it has left",
        ),
    ],
)
def test_what_is_refused(facts: dict[str, t.Any], said: str) -> None:
    refusal = plan(**facts)["refusal"]
    assert refusal.startswith(said)
    assert "Nothing was touched" in refusal


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(("gone", "hosts"), [(["h2"], ["h1"]), ([], ["h1", "h2"])])
def test_a_member_that_is_noted_or_named_as_lost_is_not_waited_for(
    gone: list[str], hosts: list[str], named: bool
) -> None:
    leader = member(container("core"), manifest="/b/eu.json", gone=[] if named else gone)
    found = plan(asked="", members={"h1": leader}, without=gone if named else [])
    assert found["hosts"] == hosts
    refusal = "" if gone else "h2 of deployment eu was not read; expected all members"
    assert found["refusal"].startswith(refusal)
    assert bool(found["refusal"]) is bool(refusal)
    assert ("stop the client on h1" in found["lines"]) is bool(gone)
    there = {"h1": leader, "h2": member(container("core"))}
    back = plan(asked="", members=there, without=gone if named else [])  # it is stopped as the others
    assert (back["hosts"], back["refusal"]) == (["h1", "h2"], "")


def test_the_leader_is_needed_also_where_it_is_named_as_lost() -> None:
    refusal = plan(members={"h2": member(container("core"))}, without=["h1"])["refusal"]
    assert refusal.startswith("h1 of deployment eu was not read")


@pytest.mark.parametrize("clock", [-7200.0, 7200.0])
@pytest.mark.parametrize(("asked", "named"), [("", True), ("/b/eu.json", True), ("/b/other.json", False)])
def test_what_a_member_has_started_is_compared_with_its_own_stop(clock: float, asked: str, named: bool) -> None:
    """Clocks of hosts may be hours apart. A copy of another time has its leader's alone."""
    leader = member(container("core"), manifest="/b/eu.json", down_at=STOPPED)
    for after in (-60.0, 60.0):
        theirs = member(container("core", started=STOPPED + clock + after), down_at=STOPPED + clock)
        refusal = plan(asked=asked, members={"h1": leader, "h2": theirs})["refusal"]
        assert ("core on h2" in refusal) is (after > 0 if named else clock > 0)


def test_a_client_that_is_held_is_not_stopped() -> None:
    refusal = plan(hold="held since X by /l/eu.hold on h2: audit. To end it: sudo rm /l/eu.hold")["refusal"]
    assert refusal == "held since X by /l/eu.hold on h2: audit. To end it: sudo rm /l/eu.hold. Nothing was touched"
    for harmless in ({"drill": True, "drill_image": "mariadb:11"}, {"remove_former": True}):
        assert plan(hold="held", copy={}, **harmless)["refusal"] == ""


def test_images_that_no_host_can_start_are_found_before_the_stop() -> None:
    lacking = {"missing_images": {"r/web:v2.51.2": "not found"}, "unanswered_images": {"r/core:v2.51.2": "HTTP 503"}}
    members = {"h1": member(container("core")), "h2": {**member(container("core")), **lacking}}
    assert plan(members=members)["refusal"].startswith(
        "neither the host nor its registry has r/web:v2.51.2 on h2 (not found), r/core:v2.51.2 on h2 (HTTP 503); expected the images"
    )


def test_a_version_that_was_started_and_removed_has_served() -> None:
    started = {**member(), "journal": at("verifying")}
    refusal = plan(members={"h1": started, "h2": member()})["refusal"]
    assert refusal.startswith(
        "the client has run since the copy was made: the version of the upgrade, which may have been started after its migration;"
    )


@pytest.mark.parametrize(
    ("copy", "since"),
    [
        ({"messages": {"now": 1204, "copy": 1000}}, "containers that are no longer there; expected a copy of what it"),
        (
            {"manifest": {**COPY, "facts": {"version": "2.51.2", "running": True}}},
            "containers that ran while it was made; expected a copy of what it",
        ),
    ],
)
def test_a_client_whose_containers_are_gone_has_run_since_if_the_copy_shows_it(
    copy: dict[str, t.Any], since: str
) -> None:
    """A host was installed again, or an operator has removed them."""
    gone = {"h1": member(), "h2": member()}
    facts = {"members": gone, "copy": {"manifest": COPY, **copy}}
    assert plan(**facts)["refusal"].startswith(f"the client has run since the copy was made: {since}")
    assert plan(**facts, accept_lost=True)["refusal"] == ""


def test_what_would_be_lost_is_told_where_it_is_accepted() -> None:
    served = {"h1": member(container("core", "2.53.4", STOPPED + 60)), "h2": member(container("core"))}
    found = plan(members=served, accept_lost=True)
    assert found["refusal"] == ""
    assert "LOST: what came and went since, in core on h1" in found["lines"]
    assert found["removes"] == {"h1": ["core"], "h2": []}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"now": 1204, "copy": 1000}, "(at least 204 messages: messages has 1204 rows, the copy 1000)"),
        (
            {"now": 900, "copy": 1000},
            "(how many messages is not known, since rows were deleted: messages has 900 rows, the copy 1000)",
        ),
        (
            {"now": None, "copy": 1000},
            "(how many messages is not known: messages cannot be counted now, and the copy has 1000)",
        ),
    ],
)
def test_the_number_of_messages_that_would_be_lost(rows: dict[str, t.Any], said: str) -> None:
    served = {"h1": member(container("core", "2.53.4", STOPPED + 60)), "h2": member()}
    facts = {"members": served, "copy": {"manifest": COPY, "messages": rows}}
    assert f"What came and went since would be lost {said}, and its encryption" in plan(**facts)["refusal"]
    lines = plan(**facts, accept_lost=True)["lines"]
    assert f"LOST: what came and went since, in core on h1 {said}" in lines
    unused = plan(copy={**facts["copy"], "messages": {**rows, "now": rows["now"] and min(rows["now"], 1000)}})
    assert (unused["refusal"], [line for line in unused["lines"] if "messages" in line and said in line]) == ("", [])


def test_a_snapshot_is_restored_by_the_operators_command() -> None:
    noted = member(container("core"), from_version="2.51.2", down_at=STOPPED)
    assert plan(command="put it back")["path"] == "/b/eu.json"  # one that is asked for
    found = plan(asked="", command="put it back", copy={}, members={"h1": noted, "h2": member()})
    assert (found["path"], found["refusal"]) == ("", "")
    assert found["lines"][0] == ("wa_restore_snapshot_command on h1: version 2.51.2, stopped 2025-11-26 06:00:00 UTC")
    assert not [line for line in found["lines"] if line.startswith("replace")]


def test_before_the_copy_is_checked_only_its_place_is_known() -> None:
    known = {
        "operation": "check",
        "hosts": ["h1", "h2"],
        "path": "/b/eu.json",
        "refusal": "",
        "lines": [],
        "removes": {},
    }
    assert plan(copy={}) == known


@pytest.mark.parametrize(
    ("facts", "operation"),
    [
        ({}, "check"),
        ({"drill": True}, "drill"),
        ({"remove_former": True}, "remove_former"),
        ({"remove_former": True, "drill": True}, "remove_former"),
    ],
)
def test_what_is_done_with_the_copy_first(facts: dict[str, t.Any], operation: str) -> None:
    assert plan(copy={}, **facts)["operation"] == operation


@pytest.mark.parametrize(
    ("facts", "refusal"),
    [
        ({"drill_host": "drill.lab"}, ""),
        ({"drill_image": "mariadb:11"}, ""),
        ({}, "neither wa_restore_drill_host nor wa_restore_drill_image is set; expected one"),
        ({"drill_host": "drill.lab", "drill_image": "mariadb:11"}, "both are set; expected one"),
    ],
)
def test_a_drill_is_made_on_one_server(facts: dict[str, t.Any], refusal: str) -> None:
    found = plan(drill=True, copy={}, **facts)["refusal"]
    assert found.startswith(refusal)
    assert bool(found) == bool(refusal)
    assert plan(copy={}, **facts)["refusal"] == ""  # they stand in the inventory for every run


@pytest.mark.parametrize(
    ("hostvars", "reached", "refusal"),
    [
        ({}, ["h1", "h2"], ""),
        ({}, ["h1", "h2", "another"], ""),
        ({}, ["h1"], "h2 of deployment eu was not read"),  # what an earlier run has read does not count
        ({"h2": {}}, ["h1", "h2"], "h2 of deployment eu was not read"),
        ({"h1": {"__wa_upgrade_restore_read": member()}}, ["h1", "h2"], ""),  # its copy is not yet checked
    ],
)
def test_the_plan_has_what_the_members_have_read(hostvars: dict[str, t.Any], reached: list[str], refusal: str) -> None:
    facts: dict[str, t.Any] = {"leaders": ["h1"], "asked": "/b/eu.json", "command": "", "version": "2.51.2"}
    facts.update(
        without=[], accept_lost=False, remove_former=False, drill=False, drill_host="", drill_image="", hold=""
    )
    facts["deployment"] = {"name": "eu", "leader": "h1", "project": "wa-eu", "members": ["h1", "h2"]}
    known = {
        "h1": {"__wa_upgrade_restore_read": member(), "__wa_upgrade_restore_copy": {"manifest": COPY}},
        "h2": {"__wa_upgrade_restore_read": member(container("core"))},
        "another": {"__wa_upgrade_restore_read": member(container("theirs", "2.1.0", STOPPED + 60))},
    }
    found = restore_plan.of_hosts(facts, {**known, **hostvars}, reached)
    assert found["refusal"].startswith(refusal)
    assert bool(found["refusal"]) == bool(refusal)
    assert bool(found["lines"]) == (not refusal and "h1" not in hostvars)
