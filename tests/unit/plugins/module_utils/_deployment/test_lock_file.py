# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock file of a deployment and the files beside it: read, written, renewed, archived, or refused as no lock."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import threading
import time
import types
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import lock_file, upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile, Lease
from ansible_collections.waba.onprem.plugins.module_utils._deployment.upgrade_journal import Claim, begin, hold, note

CLAIM = Claim("support", "m/1/5", "ann", "ops1", "2.53.4")
JOURNAL = begin(None, CLAIM, 1000.0, 60.0)
CHANGE = hold(None, CLAIM, "h1", 1000.0, 60.0)
FIX = "Create its folder (role wa_host does), or free room on its file system"


@pytest.fixture
def file(tmp_path: Path) -> JournalFile:
    return JournalFile(str(tmp_path / "support.lock"))


def test_paths_of_the_files(file: JournalFile, tmp_path: Path) -> None:
    assert (file.guard, file.last()) == (
        f"{tmp_path}/.support.lock.guard",
        f"{tmp_path}/support.last-upgrade.json",
    )


@pytest.mark.parametrize(("lock", "upgrade"), [(JOURNAL, JOURNAL), (CHANGE, None)])
def test_a_lock_is_read_as_written(file: JournalFile, lock: dict[str, t.Any], upgrade: dict[str, t.Any] | None) -> None:
    assert (file.load(), file.load_upgrade(), file.load_last()) == (None, None, None)
    file.save(lock)
    assert (file.load(), file.load_upgrade(), file.load_last()) == (lock, upgrade, None)
    assert stat.S_IMODE(os.stat(file.path).st_mode) == 0o600


def test_archiving_removes_the_lock(file: JournalFile, tmp_path: Path) -> None:
    file.save(JOURNAL)
    file.archive(JOURNAL)
    assert (file.load(), file.load_last()) == (None, JOURNAL)
    assert os.listdir(tmp_path) == ["support.last-upgrade.json"]


def test_an_upgrade_that_has_not_succeeded_keeps_the_last_one_that_has(file: JournalFile) -> None:
    """Its times say what the next outage will take, and a member that it left locked is known to be released."""
    done = {**JOURNAL, "run_id": "r1", "runs": ["r1"], "outcome": "done"}
    file.archive(done)
    for run_id, outcome in (("r2", "rolled_back"), ("r3", "restored")):
        file.archive({**JOURNAL, "run_id": run_id, "runs": [run_id], "outcome": outcome})
        last = file.load_last() or {}
        assert (last["run_id"], upgrade_journal.succeeded(last)) == (run_id, done)
        assert upgrade_journal.runs(last) == ["r1", run_id]
    file.archive({**done, "run_id": "r4"})
    assert upgrade_journal.succeeded(file.load_last() or {})["run_id"] == "r4"
    Path(file.last()).write_text("{")
    file.archive(done)
    assert file.load_last() == done


def test_removing_twice_is_no_error(file: JournalFile, tmp_path: Path) -> None:
    for _round in range(2):
        file.save(JOURNAL)
        for _again in range(2):
            file.remove()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value: line 1 column 1 (char 0)"),
        (b"[]", "no lock of format 2"),
        (b'{"format": 2}', "deployment is missing"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_a_file_not_written_by_an_upgrade_is_refused_and_unchanged(
    file: JournalFile, content: bytes, reason: str
) -> None:
    for path, load in ((file.path, file.load), (file.last(), file.load_last)):
        Path(path).write_bytes(content)
        with pytest.raises(WaError) as error:
            load()
        assert str(error.value) == (
            f"lock file {path}: not written by this collection ({reason}); expected the lock of a run. Find out who holds the "
            "deployment; then remove the file"
        )
        assert Path(path).read_bytes() == content


@pytest.mark.parametrize("number", [1, 3])
def test_the_lock_of_another_version_is_to_be_read_by_that_and_not_removed(file: JournalFile, number: int) -> None:
    for path in (file.path, file.last()):
        Path(path).write_text(f'{{"format": {number}, "schema": "half-way"}}')
    assert file.load_last() is None
    for _again in range(2):
        with pytest.raises(WaError) as error:
            file.load()
        assert str(error.value) == (
            f"lock file {file.path}: written by another version of this collection (format {number}, and this version knows format 2); expected a "
            "lock that this version can read. Use that version of the collection for this deployment: the file says where its upgrade "
            "stands. Leave the file there"
        )


@pytest.mark.parametrize(
    ("use", "name"),
    [
        (lambda file: file.save(JOURNAL), "support.lock"),
        (lambda file: file.archive(JOURNAL), "support.last-upgrade.json"),
        (lambda file: file.exclusively().__enter__(), "support.lock"),
    ],
)
def test_a_missing_folder_is_an_error(tmp_path: Path, use: t.Callable[[JournalFile], None], name: str) -> None:
    folder = tmp_path / "none"
    with pytest.raises(WaError) as error:
        use(JournalFile(f"{folder}/support.lock"))
    assert str(error.value) == (
        f"lock file {folder}/{name}: cannot be used: No such file or directory; expected a file that this run can write, since "
        f"without it no run may change the client. {FIX}"
    )


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        (JournalFile.load, "no regular file"),
        (JournalFile.remove, "Is a directory"),
        (lambda file: file.save(JOURNAL), "Is a directory"),
    ],
)
def test_a_folder_instead_of_the_file_is_an_error(
    file: JournalFile, use: t.Callable[[JournalFile], None], reason: str
) -> None:
    os.mkdir(file.path)
    with pytest.raises(WaError) as error:
        use(file)
    assert error.value.found == f"cannot be used: {reason}"
    assert os.listdir(os.path.dirname(file.path)) == ["support.lock"]


@pytest.mark.parametrize(
    ("notes", "at", "message"),
    [
        ({}, 1059, "locked by the upgrade to 2.53.4 by ann from ops1"),
        ({}, 1060, ""),
        ({"down_at": 1001.0}, 1059, "locked by the upgrade to 2.53.4 by ann from ops1"),
        ({"down_at": 1001.0}, 1060, "left unfinished by the upgrade to 2.53.4 by ann from ops1"),
    ],
)
def test_why_blocked_depends_on_what_was_stopped_and_on_the_lease(
    file: JournalFile, notes: dict[str, t.Any], at: float, message: str
) -> None:
    assert file.why_blocked(at) == ""
    file.save(note(JOURNAL, CLAIM.run_id, notes, 1000.0, 60.0))
    assert file.why_blocked(at).partition(",")[0] == message


@pytest.mark.parametrize(("at", "message"), [(1059, "locked by a run that changes its containers"), (1060, "")])
def test_a_run_outside_an_upgrade_blocks_until_its_lease_is_over(file: JournalFile, at: float, message: str) -> None:
    file.save(CHANGE)
    assert file.why_blocked(at).partition(",")[0] == message


@pytest.mark.parametrize("lock", [JOURNAL, CHANGE])
def test_a_lease_is_renewed_once_a_minute(
    file: JournalFile, monkeypatch: pytest.MonkeyPatch, lock: dict[str, t.Any]
) -> None:
    now = [5000.0]
    monkeypatch.setattr(lock_file, "time", types.SimpleNamespace(time=lambda: now[0], monotonic=lambda: now[0]))
    file.save(lock)
    lease = Lease(file.path)
    seen = []
    for now[0] in (5000.0, 5059.0, 5060.0, 5200.0):
        lease.renew()
        seen.append((file.load() or {})["lease_until"])
    assert seen == [5300.0, 5300.0, 5360.0, 5500.0]


@pytest.mark.parametrize(("at", "ends"), [(1250.0, False), (1301.0, True)])
def test_a_full_disk_ends_no_work_while_the_lease_lasts(
    file: JournalFile, monkeypatch: pytest.MonkeyPatch, at: float, ends: bool
) -> None:
    now = [1000.0]
    monkeypatch.setattr(lock_file, "time", types.SimpleNamespace(time=lambda: now[0], monotonic=lambda: now[0]))
    file.save({**CHANGE, "lease_until": 1300.0})
    lease = Lease(file.path)
    lease.renew()

    def full(*_arguments: t.Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_json", full)
    now[0] = at
    with pytest.raises(WaError, match="No space left") if ends else contextlib.nullcontext():
        lease.renew()


@pytest.mark.parametrize(("taken", "said"), [(True, "lock: taken over by the upgrade to"), (False, "lock: gone")])
def test_a_lock_that_was_lost_is_not_renewed(
    file: JournalFile, monkeypatch: pytest.MonkeyPatch, taken: bool, said: str
) -> None:
    now = [1000.0]
    monkeypatch.setattr(lock_file, "time", types.SimpleNamespace(time=lambda: now[0], monotonic=lambda: now[0]))
    file.save(JOURNAL)
    lease = Lease(file.path)
    lease.renew()
    now[0] = 2000.0
    other = {**JOURNAL, "run_id": "m/2/5"}
    file.save(other) if taken else file.remove()
    with pytest.raises(WaError, match=said):
        lease.renew()
    assert file.load() == (other if taken else None)


@pytest.mark.parametrize("taken", [False, True])
def test_a_lease_is_kept_beside_work_that_takes_its_time(
    file: JournalFile, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    monkeypatch.setattr(upgrade_journal, "RENEWAL", 0.01)
    file.save({**CHANGE, "lease_until": 0.0})
    twice = threading.Barrier(2)

    class Watched(Lease):
        def renew(self) -> None:
            try:
                super().renew()
            finally:
                with contextlib.suppress(threading.BrokenBarrierError):
                    twice.wait(30)

    began, before = time.time(), threading.active_count()
    with Watched(file.path, "another" if taken else CHANGE["run_id"]).kept():
        for _each in range(2):  # a renewal that is refused does not end those after it
            twice.wait(30)
        twice.abort()
        until = float((file.load() or {})["lease_until"])
    assert (until > began) is not taken
    assert threading.active_count() == before


@pytest.mark.parametrize("path", [None, "/nowhere/support.lock", ""])
def test_without_a_lock_nothing_is_renewed(path: str | None) -> None:
    Lease(path).renew()


def test_a_lock_that_nobody_has_is_not_made(file: JournalFile) -> None:
    Lease(file.path).renew()
    assert file.load() is None


def test_only_one_process_holds_the_guard(file: JournalFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_file, "_TIMEOUT", 0.1)
    inside, go_on = threading.Event(), threading.Event()

    def other() -> None:
        with JournalFile(file.path).exclusively():
            inside.set()
            go_on.wait(20)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(20)
    with pytest.raises(WaError, match=r"another process has held it for 0\.1 s"), file.exclusively():
        raise AssertionError("two at a time")
    go_on.set()
    thread.join()
    with file.exclusively():
        file.save(JOURNAL)
    assert os.listdir(os.path.dirname(file.path)) == ["support.lock"]


def test_an_exception_releases_the_guard(file: JournalFile) -> None:
    with pytest.raises(KeyError), file.exclusively():
        raise KeyError
    with file.exclusively():
        assert os.path.exists(file.guard)
    assert not os.path.exists(file.guard)


def test_the_journal_is_json(file: JournalFile) -> None:
    file.save(JOURNAL)
    assert json.loads(Path(file.path).read_text()) == JOURNAL
