# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose lock excludes another run, and when its lease is renewed."""

from __future__ import annotations

import time
import typing as t

import pytest
from upgrade_journals import at

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal


def read(run_id: str, held: bool) -> dict[str, t.Any]:
    return {"journal": {"run_id": run_id} if run_id else {}, "upgrade": {"held": held}}


@pytest.mark.parametrize(
    ("own", "leaders", "locked"),
    [
        (("a", True), ("a", True), True),
        (("a", True), ("a", False), False),  # the leader's lease has expired, or that run has ended
        (("a", True), ("b", True), False),  # the leader itself excludes others
        (("a", True), ("b", False), False),
        (("a", True), ("", False), True),  # it is unknown what became of that run
        (("a", False), ("a", True), False),
        (("", False), ("", False), False),
    ],
)
def test_a_members_lock_counts_as_long_as_its_leaders(
    own: tuple[str, bool], leaders: tuple[str, bool], locked: bool
) -> None:
    assert upgrade_journal.counts(read(*own), read(*leaders)) is locked


def test_a_member_that_missed_the_end_is_not_locked() -> None:
    leaders = dict(read("", False), ended={"runs": ["a", "b"]})
    assert not upgrade_journal.counts(read("a", True), leaders)
    assert upgrade_journal.counts(read("c", True), leaders)


def test_without_the_leaders_journal_the_lock_counts() -> None:
    assert upgrade_journal.counts(read("a", True), {})
    assert not upgrade_journal.counts({}, {})


@pytest.mark.parametrize(
    ("lease_until", "later"),
    [(1300.0, None), (1241.0, None), (1240.0, 1300.0), (500.0, 1300.0), (1359.0, None), (2800.0, 1300.0)],
)
def test_a_lease_is_renewed_once_a_minute_and_a_longer_one_shortened(lease_until: float, later: float | None) -> None:
    lock = {"run_id": "a", "lease_until": lease_until}
    assert upgrade_journal.renew(lock, 1000.0) == (None if later is None else {**lock, "lease_until": later})


@pytest.mark.parametrize(
    ("stage", "migration", "ended", "problem"),
    [
        ("starting", {"state": "ended", "exit_code": 0}, True, ""),
        ("starting", {"state": "ended", "exit_code": 0, "idle": False}, True, ""),
        (
            "migrating",
            {"state": "ended", "exit_code": 3, "log": "no"},
            True,
            "The migration to 2.53.4 ended with code 3. Its last lines:\nno",
        ),
        (
            "migrating",
            {"state": "ended", "exit_code": 137, "log": ""},
            True,
            "ended with code 137, and has written nothing.",
        ),
        ("migrating", {"state": "failed", "message": "db: down."}, True, "db: down."),
        ("migrating", {"state": "running"}, False, ""),
        ("migrating", {}, False, ""),
        ("stopping", {"state": "ready"}, False, ""),
        ("stopping", {"state": "failed", "message": "db: down."}, True, "db: down."),
        ("", {}, False, ""),
    ],
)
def test_a_start_follows_only_a_migration_that_ended_well(
    stage: str, migration: dict[str, t.Any], ended: bool, problem: str
) -> None:
    journal = {**at(stage), "target": "2.53.4", "migration": migration} if stage else None
    found = upgrade_journal.migration(journal)
    assert found["migration_ended"] is ended
    said = found["migration_problem"]
    assert (problem in said) if problem else said == ""


# Restores


def claim(run_id: str, target: str = "2.51.2") -> upgrade_journal.Claim:
    return upgrade_journal.Claim("eu", run_id, "wa", "desk", target)


def test_a_restore_takes_up_an_unfinished_upgrade_and_only_a_restore_takes_up_it() -> None:
    upgrade = upgrade_journal.begin(None, claim("a", "2.53.4"), 1000.0, 300.0, schema="started")
    begun = upgrade_journal.begin(upgrade, claim("b"), 2000.0, 300.0, restores="/b/eu.json")
    assert (begun["schema"], begun["target"]) == ("started", "2.53.4")
    assert begun["notes"] == {"restores": "/b/eu.json"}
    with pytest.raises(WaError, match=r"Run restore\.yml -e wa_restore=/b/eu.json, which goes on"):
        upgrade_journal.begin(begun, claim("c", "2.53.4"), 3000.0, 300.0, take_over=True)
    with pytest.raises(WaError, match=r"^restore of eu: locked by the restore of its database by wa from desk, since"):
        upgrade_journal.begin(begun, claim("c"), 2100.0, 300.0, restores="/b/eu.json")
    again = upgrade_journal.begin(begun, claim("c"), 3000.0, 300.0, restores="/b/eu.json")
    assert again["run_id"] == "c"
    assert upgrade_journal.end(again, "c", "restored", 3100.0)["outcome"] == "restored"


def test_a_restore_outside_an_upgrade_keeps_everybody_away_until_it_is_complete() -> None:
    begun = upgrade_journal.begin(None, claim("a"), time.time(), 300.0, schema="started", restores="/b/eu.json")
    found = upgrade_journal.describe_lock(begun)
    assert (found["blocking"], found["playbook"]) == (True, "restore")
    assert found["resume"] == {"wa_restore": "/b/eu.json", "wa_upgrade_take_over": True}
    assert "locked by the restore of its database by wa from desk" in found["message"]
    cut_off = upgrade_journal.describe_lock({**begun, "lease_until": 0})
    assert cut_off["blocking"]
    assert cut_off["resume"] == {"wa_restore": "/b/eu.json"}
    with pytest.raises(WaError, match="left unfinished by the restore of its database by wa"):
        upgrade_journal.hold({**begun, "lease_until": 0}, claim("b"), "h1", time.time(), 300.0)


def test_a_restore_that_has_touched_nothing_gives_the_deployment_back() -> None:
    alone = upgrade_journal.begin(None, claim("a"), 1000.0, 300.0, schema="started", restores="/b/eu.json")
    assert upgrade_journal.abandon(alone, "a") is None
    upgrade = upgrade_journal.begin(None, claim("a", "2.53.4"), 1000.0, 300.0, schema="started")
    begun = upgrade_journal.begin(upgrade, claim("b"), 2000.0, 300.0, restores="/b/eu.json")
    left = upgrade_journal.abandon(begun, "b")
    assert left is not None
    assert (left["schema"], left["target"], left["notes"], left["lease_until"]) == ("started", "2.53.4", {}, 0)


def test_a_snapshot_has_no_manifest_to_go_on_with() -> None:
    begun = upgrade_journal.begin(None, claim("a"), 1000.0, 300.0, schema="started", restores=upgrade_journal.SNAPSHOT)
    found = upgrade_journal.describe_lock(begun)
    assert found["resume"] == {}
    assert found["message"].endswith("Run restore.yml, which goes on from there")
