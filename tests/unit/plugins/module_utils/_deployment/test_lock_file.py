# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock file of a deployment and the notes beside it: what is read, written, archived, and refused as no journal."""

from __future__ import annotations

import json
import os
import stat
import threading
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import lock_file
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile
from ansible_collections.waba.onprem.plugins.module_utils._deployment.upgrade_journal import Claim, advance, begin, hold

CLAIM = Claim("support", "m/1/5", "ann", "ops1", "2.53.4")
JOURNAL = begin(None, CLAIM, 1000.0, 60.0)
CHANGE = hold(None, None, CLAIM, 1000.0, 60.0)
CURE = "Create its folder (role wa_host does), or free room on its file system"


@pytest.fixture
def file(tmp_path: Path) -> JournalFile:
    return JournalFile(str(tmp_path / "support.lock"))


def test_the_files_of_a_deployment_stand_side_by_side(file: JournalFile, tmp_path: Path) -> None:
    assert (file.guard, file.change, file.last()) == (
        f"{tmp_path}/.support.lock.guard",
        f"{tmp_path}/support.change.json",
        f"{tmp_path}/support.last-upgrade.json",
    )


def test_what_was_written_is_read(file: JournalFile) -> None:
    assert (file.load(), file.load_change(), file.load_last()) == (None, None, None)
    file.save(JOURNAL)
    file.save_change(CHANGE)
    assert (file.load(), file.load_change(), file.load_last()) == (JOURNAL, CHANGE, None)
    assert {stat.S_IMODE(os.stat(path).st_mode) for path in (file.path, file.change)} == {0o600}


def test_an_archived_journal_ends_the_lock(file: JournalFile, tmp_path: Path) -> None:
    file.save(JOURNAL)
    assert file.archive(JOURNAL) == f"{tmp_path}/support.last-upgrade.json"
    assert (file.load(), file.load_last()) == (None, JOURNAL)
    assert os.listdir(tmp_path) == ["support.last-upgrade.json"]


def test_what_is_gone_already_is_removed(file: JournalFile, tmp_path: Path) -> None:
    for _time in range(2):
        file.save(JOURNAL)
        file.save_change(CHANGE)
        for _again in range(2):
            file.remove()
            file.remove_change()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "Expecting value: line 1 column 1 (char 0)"),
        (b"[]", "no journal of format 1"),
        (b'{"format": 2}', "no journal of format 1"),
        (b'{"format": 1}', "deployment is missing"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_a_file_that_no_upgrade_wrote_is_told_and_left(file: JournalFile, content: bytes, why: str) -> None:
    for path, load in ((file.path, file.load), (file.last(), file.load_last)):
        Path(path).write_bytes(content)
        with pytest.raises(WaError) as told:
            load()
        assert str(told.value) == (
            f"lock file {path}: not written by an upgrade ({why}); expected the journal of an upgrade. Find out who holds the "
            "deployment; then remove the file"
        )
        assert Path(path).read_bytes() == content


def test_a_note_of_a_change_is_no_journal_and_the_other_way_round(file: JournalFile) -> None:
    file.save(CHANGE)
    file.save_change({key: value for key, value in JOURNAL.items() if key != "since"})
    with pytest.raises(WaError, match="target is missing"):
        file.load()
    with pytest.raises(WaError) as told:
        file.load_change()
    assert str(told.value) == (
        f"lock file {file.change}: not written by a run (a time is missing, or is none); expected the note of a run. Find out "
        "who holds the deployment; then remove the file"
    )


@pytest.mark.parametrize(
    ("use", "name"),
    [
        (lambda file: file.save(JOURNAL), "support.lock"),
        (lambda file: file.save_change(CHANGE), "support.change.json"),
        (lambda file: file.archive(JOURNAL), "support.last-upgrade.json"),
        (lambda file: file.exclusively().__enter__(), "support.lock"),
    ],
)
def test_a_folder_that_is_not_there_is_told(tmp_path: Path, use: t.Callable[[JournalFile], None], name: str) -> None:
    folder = tmp_path / "none"
    with pytest.raises(WaError) as told:
        use(JournalFile(f"{folder}/support.lock"))
    assert str(told.value) == (
        f"lock file {folder}/{name}: cannot be used: No such file or directory; expected a file that this run can write, since "
        f"without it no run may change the client. {CURE}"
    )


@pytest.mark.parametrize(
    ("use", "why"),
    [
        (JournalFile.load, "no regular file"),
        (JournalFile.load_change, "no regular file"),
        (JournalFile.remove_change, "Is a directory"),
        (lambda file: file.save_change(CHANGE), "Is a directory"),
        (JournalFile.remove, "Is a directory"),
        (lambda file: file.save(JOURNAL), "Is a directory"),
    ],
)
def test_a_folder_in_the_files_place_is_told(file: JournalFile, use: t.Callable[[JournalFile], None], why: str) -> None:
    for path in (file.path, file.change):
        os.mkdir(path)
    with pytest.raises(WaError) as told:
        use(file)
    assert told.value.found == f"cannot be used: {why}"
    assert sorted(os.listdir(os.path.dirname(file.path))) == ["support.change.json", "support.lock"]


@pytest.mark.parametrize(
    ("stage", "at", "words"),
    [
        ("locked", 1059, "locked by the upgrade to 2.53.4 by ann from ops1"),
        ("locked", 1060, ""),
        ("stopping", 1059, "locked by the upgrade to 2.53.4 by ann from ops1"),
        ("stopping", 1060, "left unfinished by the upgrade to 2.53.4 by ann from ops1"),
    ],
)
def test_why_nothing_else_may_touch_the_client(file: JournalFile, stage: str, at: float, words: str) -> None:
    assert file.why_blocked(at) == ""
    file.save(advance(JOURNAL, CLAIM.run_id, stage, {}, 1000.0, 60.0))
    assert file.why_blocked(at).partition(",")[0] == words


def test_one_at_a_time_judges_and_writes(file: JournalFile, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_failure_inside_frees_the_guard(file: JournalFile) -> None:
    with pytest.raises(KeyError), file.exclusively():
        raise KeyError
    with file.exclusively():
        assert os.path.exists(file.guard)
    assert not os.path.exists(file.guard)


def test_the_journal_is_plain_json(file: JournalFile) -> None:
    file.save(JOURNAL)
    assert json.loads(Path(file.path).read_text()) == JOURNAL
