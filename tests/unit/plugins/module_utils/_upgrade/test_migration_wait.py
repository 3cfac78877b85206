# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The permission to migrate and the wait for its end, through the modules that give and wait, with real files."""

from __future__ import annotations

import contextlib
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import migration_wait

Run = t.Callable[..., "dict[str, t.Any]"]


@pytest.fixture
def run(run_module: t.Callable[..., dict[str, t.Any]], tmp_path: Path) -> Run:
    lock = str(tmp_path / "support.lock")

    def call(operation: str, run_id: str = "m/1/5", **options: t.Any) -> dict[str, t.Any]:
        if operation == "migrate":
            return run_module("wa_client", {"state": "migrated", "lock_file": lock, "run_id": run_id, **options})
        given: dict[str, t.Any] = {"operation": operation, "path": lock, "run_id": run_id, "host": "h1"}
        if operation == "begin":
            given.update(deployment="support", target="2.53.4", user="ann", controller="ops1")
        return run_module("wa_upgrade_journal", {**given, **options})

    return call


def stage(result: dict[str, t.Any]) -> str:
    """The word for where the journal of a result stands."""
    return upgrade_journal.stage(result["journal"])[0]


def stop(run: Run) -> None:
    """The run has begun, and has begun to stop the client."""
    run("begin")
    run("note", times=["down_at"])


def begin_migration(run: Run) -> dict[str, t.Any]:
    """The migration was started, and this run has allowed it."""
    run("begin")
    run("note", schema="started")
    return run("migrate", wait_timeout="0s")


def write_migration(tmp_path: Path, state: str, **more: t.Any) -> None:
    """What the process that migrates writes."""
    file = JournalFile(str(tmp_path / "support.lock"))
    journal = upgrade_journal.note_migration(file.load(), "m/1/5", {"state": state, **more}, 5.0)
    assert journal is not None
    file.save(journal)


@pytest.mark.parametrize(
    ("operation", "state", "alive", "ends"),
    [
        ("migrate", "", True, False),  # one that an earlier run has begun
        ("wait", "ready", True, True),
        ("migrate", "ready", True, False),
        ("migrate", "ready", False, True),  # it has died
        ("wait", "running", True, True),
        ("migrate", "running", True, False),
        ("migrate", "running", False, True),
        ("migrate", "ended", True, True),
    ],
)
def test_wait_ends_when_the_migration_is_where_it_is_to_be_or_its_process_has_died(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, state: str, alive: bool, ends: bool
) -> None:
    begin_migration(run)
    if state:
        write_migration(tmp_path, state)
    clock = iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(migration_wait, "POLL_INTERVAL", 0.0)
    with JournalFile(str(tmp_path / "support.lock")).migrating() if alive else contextlib.nullcontext():
        before = next(clock)
        result = run(operation, wait_timeout="20s")
    looked = next(clock) - before
    assert (result["migrating"], looked < 20) == (alive, ends)
    assert result["journal"].get("migration", {}).get("state", "") == state


@pytest.mark.parametrize(
    ("state", "alive", "said"),
    [
        ({}, False, "process that migrates: ended, or not ready in time"),  # it may be about to start
        ({}, True, "process that migrates: ended, or not ready in time"),
        ({"state": "ready"}, False, "process that migrates: ended, or not ready in time"),
        ({"state": "failed", "message": "compose: no such file."}, False, "compose: no such file."),
    ],
)
def test_a_process_that_does_not_get_ready(
    run: Run, tmp_path: Path, state: dict[str, str], alive: bool, said: str
) -> None:
    begin_migration(run)
    if state:
        write_migration(tmp_path, **state)
    with JournalFile(str(tmp_path / "support.lock")).migrating() if alive else contextlib.nullcontext():
        result = run("wait", wait_timeout="0s")
    assert result["failed"]
    assert result["msg"].startswith(said)


def test_wait_ends_when_the_journal_is_past_the_migration(run: Run, tmp_path: Path) -> None:
    begin_migration(run)
    write_migration(tmp_path, "ended", exit_code=0)
    assert stage(run("migrate", wait_timeout="1h")) == "starting"


@pytest.mark.parametrize("found", ["gone", "taken over by the upgrade to 2.53.4 by ann"])
def test_wait_fails_when_the_run_has_lost_its_journal(run: Run, tmp_path: Path, found: str) -> None:
    begin_migration(run)
    if found == "gone":
        (tmp_path / "support.lock").unlink()
    else:
        run("begin", run_id="m/2/5", take_over=True)
    assert run("wait", wait_timeout="1h")["msg"].startswith(f"lock: {found}")


def test_a_resumed_upgrade_must_be_allowed_to_migrate_again(run: Run, tmp_path: Path) -> None:
    begin_migration(run)
    write_migration(tmp_path, "ended")
    resumed = run("begin", run_id="m/2/5", take_over=True)["journal"]
    assert (resumed["schema"], "migrate" in resumed, "migration" in resumed) == ("started", False, False)


@pytest.mark.parametrize(
    ("state", "alive", "refused"),
    [
        ({"state": "ready"}, True, ""),
        ({}, True, ""),  # that of an earlier run, which waits for a migration that runs
        ({"state": "ready"}, False, "process that migrates: ended"),
        ({"state": "failed", "message": "database: down; expected up."}, False, "database: down; expected up."),
    ],
)
def test_while_going_back_is_possible_no_migration_is_allowed_that_could_not_start(
    run: Run, tmp_path: Path, state: dict[str, str], alive: bool, refused: str
) -> None:
    stop(run)
    file = JournalFile(str(tmp_path / "support.lock"))
    file.save({**(file.load() or {}), "migration": state})
    with file.migrating() if alive else contextlib.nullcontext():
        result = run("migrate", wait_timeout="0s")
    assert result.get("msg", "").startswith(refused)
    assert ("migrate" in (file.load() or {}), result["changed"]) == (not refused, not refused)


@pytest.mark.parametrize(
    ("seen", "alive", "schema", "said"),
    [
        ({"state": "running"}, True, "started", ""),
        ({"state": "ended"}, False, "started", ""),
        (
            {"state": "failed", "message": "database: used; expected none."},
            False,
            "untouched",
            "database: used; expected none.",
        ),
        ({"state": "ready"}, False, "untouched", "process that migrates: ended"),
        ({"state": "ready"}, False, "started", "the migration was not seen to end after "),
        (
            {"state": "failed", "message": "database: used; expected none."},
            False,
            "started",
            "database: used; expected none.",
        ),
    ],
    ids=["it runs", "it has ended", "refused", "died before", "died", "refused once more"],
)
def test_migrate_returns_when_the_migration_has_ended_or_why_it_was_not_started(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: dict[str, str], alive: bool, schema: str, said: str
) -> None:
    stop(run)
    file = JournalFile(str(tmp_path / "support.lock"))
    file.save({**(file.load() or {}), "migration": {"state": "ready"}})
    works = contextlib.ExitStack()
    works.enter_context(file.migrating())

    def look(_seconds: float) -> None:
        """What the process does between two looks."""
        found = file.load() or {}
        assert found["migrate"]
        file.save({**found, "schema": schema, "migration": seen})
        if not alive:
            works.close()

    monkeypatch.setattr(time, "sleep", look)
    with works:
        result = run("migrate", notes={"backup": "a"}, wait_timeout="1s")
    assert result.get("msg", "").startswith(said)
    assert (result["journal"]["notes"]["backup"], result["journal"]["migrate"] > 0) == ("a", True)
    assert result["journal"]["schema"] == schema


@pytest.mark.parametrize("jump", [-86400.0, 0.0, 86400.0], ids=["back", "none", "ahead"])
@pytest.mark.parametrize(
    ("waited", "alive", "said"),
    [
        (0, True, ""),
        (7170, True, ""),
        (7190, True, "the migration was not seen to end after 7210 s: the waiting was stopped, not the migration."),
        (40, False, "the migration was not seen to end after 40 s: the process that waits for it has died."),
    ],
)
def test_the_wait_for_a_migration_is_as_long_whatever_the_clock_of_the_host_is_set_to(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float, waited: float, alive: bool, said: str
) -> None:
    begin_migration(run)
    write_migration(tmp_path, "running")
    now = [time.time(), 1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr(time, "monotonic", lambda: now[1])

    def sleep(_seconds: float) -> None:
        now[:] = [now[0] + jump, now[1] + 10]

    monkeypatch.setattr(time, "sleep", sleep)
    with JournalFile(str(tmp_path / "support.lock")).migrating() if alive else contextlib.nullcontext():
        result = run("migrate", wait_timeout="20s", waited=waited)
    assert result.get("msg", "").startswith(said)
    assert (bool(result.get("failed")), result["migration_waited"]) == (bool(said), waited + (20 if alive else 0))


def test_a_permission_that_was_given_is_not_written_again(run: Run, tmp_path: Path) -> None:
    begin_migration(run)
    before = (tmp_path / "support.lock").read_bytes()
    with JournalFile(str(tmp_path / "support.lock")).migrating():
        assert not run("migrate", notes={"a": 1}, wait_timeout="0s").get("failed")
    assert (tmp_path / "support.lock").read_bytes() == before


def test_a_migration_that_an_earlier_run_has_seen_end_stays_ended(run: Run, tmp_path: Path) -> None:
    begin_migration(run)
    write_migration(tmp_path, "ended", exit_code=0)
    assert stage(run("migrate", notes={"a": 1})) == "starting"


def test_after_going_back_no_migration_is_allowed(run: Run) -> None:
    stop(run)
    assert stage(run("go_back")) == "stopping"
    assert "this run goes back" in run("migrate")["msg"]
