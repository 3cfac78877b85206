# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A db.env file on disk."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "db.env"))


def test_a_missing_file_is_none(store: Store) -> None:
    assert store.read() is None


def test_bytes_are_kept(store: Store, tmp_path: Path) -> None:
    (tmp_path / "db.env").write_bytes("\ufeffA=é\r\nB=1".encode())
    assert store.read() == "\ufeffA=é\r\nB=1"


def test_a_file_of_another_type_or_encoding_is_refused(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "db.env"
    path.symlink_to(tmp_path / "other")
    with pytest.raises(WaError, match="a symbolic link"):
        store.read()
    path.unlink()
    path.mkdir()
    with pytest.raises(WaError, match="a directory"):
        store.read()
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(WaError, match="no regular file"):
        store.read()
    path.unlink()
    path.write_bytes(b"A=1\nB=\xff\n")
    with pytest.raises(WaError, match="line 2: no UTF-8"):
        store.read()
    path.write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(WaError, match="bytes"):
        store.read()


def test_an_unreadable_file_is_an_error(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_path: str, _flags: int) -> int:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "db.env").write_text("A=1")
    monkeypatch.setattr(os, "open", denied)  # root can read every file
    with pytest.raises(WaError, match="unreadable: Permission denied"):
        store.read()


def keep_attributes(_draft: int) -> None:
    """Changes neither owner nor mode."""


def test_a_write_replaces_the_file_atomically(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "db.env"
    path.write_text("old")
    seen = []

    def set_attributes(draft: int) -> None:
        found = os.fstat(draft)
        seen.append((path.read_text(), found.st_size, stat.S_IMODE(found.st_mode)))
        os.fchmod(draft, 0o640)

    os.chmod(path, 0o600)
    with store.lock(1):
        assert store.read() == "old"
        store.write("new", set_attributes)
    assert seen == [("old", 0, 0o600)]  # it is empty until it has its mode
    assert path.read_text() == "new"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
    assert os.listdir(tmp_path) == ["db.env"]


def test_a_write_keeps_the_mode(store: Store, tmp_path: Path) -> None:
    (tmp_path / "db.env").write_text("old")
    os.chmod(tmp_path / "db.env", 0o640)
    with store.lock(1):
        store.read()
        store.write("new", keep_attributes)
    assert stat.S_IMODE(os.stat(tmp_path / "db.env").st_mode) == 0o640


def test_the_temporary_file_of_a_killed_run_is_removed(store: Store, tmp_path: Path) -> None:
    (tmp_path / ".db.env.wa_new").write_text("WA_DB_PASSWORD=half")
    with store.lock(1):
        assert os.listdir(tmp_path) == [".db.env.wa_lock"]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        ("fsync", WaError, "No space left on device"),
        ("replace", WaError, "No space left on device"),
        ("set_attributes", SystemExit, "^1$"),
        ("rules", WaError, "^a: b"),
    ],
)
def test_a_failed_write_keeps_the_old_file(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: type[BaseException], message: str
) -> None:
    (tmp_path / "db.env").write_text("old")

    def full(*_arguments: t.Any) -> None:
        raise OSError(28, "No space left on device")

    def set_attributes(_draft: int) -> None:
        if step == "set_attributes":
            raise SystemExit(1)  # as fail_json does
        if step == "rules":
            raise WaError("a", "b")

    if step in ("fsync", "replace"):
        monkeypatch.setattr(os, step, full)
    with store.lock(1):
        store.read()
        with pytest.raises(error, match=message):
            store.write("new", set_attributes)
    assert (tmp_path / "db.env").read_text() == "old"
    assert os.listdir(tmp_path) == ["db.env"]


@pytest.mark.parametrize(("number", "fix"), [(1, "chattr -i"), (16, "mounted on it")])
def test_a_file_that_cannot_be_replaced_is_an_error_with_a_fix(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, fix: str
) -> None:
    (tmp_path / "db.env").write_text("old")
    with store.lock(1):
        store.read()

        def refuse(*_paths: str) -> None:
            raise OSError(number, "no")

        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", refuse)
            with pytest.raises(WaError, match=fix):
                store.write("new", keep_attributes)
        unlink = os.unlink
        with monkeypatch.context() as patched:
            patched.setattr(os, "unlink", lambda path: refuse() if path == store.path else unlink(path))
            with pytest.raises(WaError, match=fix):
                store.remove()
    assert os.listdir(tmp_path) == ["db.env"]


@pytest.mark.parametrize("other", ["replaced", "edited", "removed", "made"])
def test_a_change_by_another_program_is_not_overwritten(store: Store, tmp_path: Path, other: str) -> None:
    path = tmp_path / "db.env"
    if other != "made":
        path.write_text("old")
    with store.lock(1):
        store.read()
        if other == "removed":
            path.unlink()
        elif other == "edited":
            path.write_text("theirs")
        else:
            (tmp_path / "x").write_text("theirs")
            os.replace(tmp_path / "x", path)
        with pytest.raises(WaError, match="changed by another program"):
            store.write("new", keep_attributes)
        with pytest.raises(WaError, match="changed by another program"):
            store.remove()
    assert [name.read_text() for name in tmp_path.iterdir()] == ([] if other == "removed" else ["theirs"])


def test_a_leftover_that_cannot_be_removed_is_an_error(store: Store, tmp_path: Path) -> None:
    (tmp_path / ".db.env.wa_new").mkdir()
    with pytest.raises(WaError, match="left over"), store.lock(1):
        pytest.fail("went on")


def test_a_symbolic_link_instead_of_the_temporary_file_is_not_followed(store: Store, tmp_path: Path) -> None:
    """A user who may write to the folder cannot make the module change another file."""
    path, victim = tmp_path / "db.env", tmp_path / "victim"
    path.write_text("old")
    os.chmod(path, 0o640)
    victim.write_text("theirs")
    os.chmod(victim, 0o600)
    draft = tmp_path / ".db.env.wa_new"
    inherit = store._inherit

    def swap(number: int) -> None:
        draft.unlink()
        draft.symlink_to(victim)
        inherit(number)

    store._inherit = swap  # type: ignore[method-assign, assignment]
    with store.lock(1):
        store.read()
        store.write("new", keep_attributes)
    found = victim.stat()
    assert (victim.read_text(), stat.S_IMODE(found.st_mode)) == ("theirs", 0o600)


def test_only_the_file_that_was_read_is_opened_for_a_change(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "db.env"
    path.write_text("old")
    store.read()
    with store.opened() as number:
        assert os.fstat(number).st_ino == path.stat().st_ino
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(WaError, match="unreadable"), store.opened():
        pytest.fail("followed")


def test_a_lock_of_another_user_on_the_folder_has_no_effect(store: Store, tmp_path: Path) -> None:
    """Another user may read and lock the folder, but not open the lock file."""
    number = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(number, fcntl.LOCK_EX)
    with store.lock(0):
        assert stat.S_IMODE((tmp_path / ".db.env.wa_lock").stat().st_mode) == 0o600
    os.close(number)


def test_one_writer_at_a_time(store: Store) -> None:
    order = []
    inside = threading.Event()

    def first() -> None:
        with store.lock(1):
            inside.set()
            waiting.wait(5)
            order.append("first")

    waiting = threading.Event()
    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(5)
    other = Store(store.path)
    with pytest.raises(WaError, match=r"\.db\.env\.wa_lock: another process has held it for 0 s"), other.lock(0):
        pytest.fail("two at once")
    waiting.set()
    with other.lock(5):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WaError, match="folder"), Store(str(tmp_path / "no" / "db.env")).lock(0):
        pytest.fail("locked nothing")
