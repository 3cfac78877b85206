# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long wa_migration_lock holds the lock, by the journal and by the migration container."""

from __future__ import annotations

import json
import time
import typing as t
from pathlib import Path

import pytest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._docker import options as docker_options
from ansible_collections.waba.onprem.plugins.modules import wa_migration_lock

CONTAINER = "wa-support-dbupgrade-1"
LATE = wa_migration_lock.BEGINS_WITHIN + 1


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "support.lock"


def write_journal(lock: Path, stage: str, lease: float = 60, run_id: str = "m/1/5") -> None:
    claim = upgrade_journal.Claim("support", run_id, "ann", "ops1", "2.53.4")
    lock.write_text(json.dumps(upgrade_journal.begin(None, claim, time.time(), lease, stage=stage)))


def options(docker_host: str, lock: Path) -> dict[str, t.Any]:
    defaults = {name: spec.get("default") for name, spec in docker_options.ARGUMENT_SPEC.items()}
    return {**defaults, "docker_host": docker_host, "lock_file": str(lock), "container": CONTAINER}


def need(lock: Path, monkeypatch: pytest.MonkeyPatch, runs: bool = False) -> wa_migration_lock.Need:
    found = wa_migration_lock.Need({"lock_file": str(lock), "container": CONTAINER})
    monkeypatch.setattr(found, "may_run", lambda: runs)
    return found


@pytest.mark.parametrize(
    ("stage", "lease", "held", "lasts"),
    [
        ("locked", 60, LATE, True),
        ("stopping", 60, LATE, True),
        ("migrating", 60, LATE, True),
        ("migrating", -1, LATE, False),  # its run has ended, and so has the migration
        ("migrating", -1, 0, True),  # left by a former run; this one has not started
        ("starting", 60, 0, False),
        ("verifying", 60, 0, False),
    ],
)
def test_the_lock_is_held_until_the_migration_ends(
    lock: Path, monkeypatch: pytest.MonkeyPatch, stage: str, lease: float, held: float, lasts: bool
) -> None:
    write_journal(lock, stage, lease)
    assert need(lock, monkeypatch).lasts(held) is lasts


def test_the_journal_of_a_dead_run_does_not_release_the_lock(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_journal(lock, "stopping")
    found = need(lock, monkeypatch)
    assert found.lasts(0)
    write_journal(lock, "stopping", -1)  # its lease has expired, and this run still waits
    assert found.lasts(0)
    write_journal(lock, "stopping", run_id="m/2/5")
    assert found.lasts(LATE)
    write_journal(lock, "stopping", -1, run_id="m/2/5")
    assert not found.lasts(LATE)


def test_a_resumed_run_releases_the_lock_at_its_end(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_journal(lock, "locked")
    found = need(lock, monkeypatch)
    assert found.lasts(LATE)
    write_journal(lock, "migrating")
    assert found.lasts(LATE)
    journal = json.loads(lock.read_text())
    lock.write_text(json.dumps(upgrade_journal.end(journal, "m/1/5", "failed", "", time.time())))
    assert not found.lasts(0), "it has failed"
    again = need(lock, monkeypatch)
    assert again.lasts(0), "and is to be gone on with"
    lock.unlink()
    assert not again.lasts(0)


def test_the_lock_waits_for_the_journal_and_ends_with_it(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = need(lock, monkeypatch)
    assert found.lasts(LATE - 2)
    assert not found.lasts(LATE)
    write_journal(lock, "locked")
    assert found.lasts(LATE)
    lock.unlink()
    assert not found.lasts(0), "the upgrade that was begun has ended"


@pytest.mark.parametrize("stage", ["", "migrating", "starting"])
def test_a_running_migration_keeps_the_lock(lock: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    if stage:
        write_journal(lock, stage, -1)
    assert need(lock, monkeypatch, runs=True).lasts(LATE)


def test_an_unreadable_journal_is_an_error(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock.write_text("{")
    with pytest.raises(WaError, match="not written by an upgrade"):
        need(lock, monkeypatch).lasts(0)


@pytest.mark.parametrize(("state", "runs"), [("running", True), ("paused", True), ("exited", False), ("", False)])
def test_the_container_state_decides_whether_the_migration_runs(
    engine: FakeDocker, lock: Path, state: str, runs: bool
) -> None:
    if state:
        engine.container(CONTAINER, state=state)
    assert wa_migration_lock.Need(options(engine.host, lock)).may_run() is runs


def test_an_unreachable_engine_counts_as_a_running_migration(lock: Path, tmp_path: Path) -> None:
    assert wa_migration_lock.Need(options(f"unix://{tmp_path}/no.sock", lock)).may_run()
