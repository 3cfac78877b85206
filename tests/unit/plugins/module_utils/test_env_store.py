# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A db.env on the disk."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._env_store import Store
from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "db.env"))


def test_a_file_that_is_not_there_is_none(store: Store) -> None:
    assert store.read() is None


def test_bytes_come_back_as_they_are(store: Store, tmp_path: Path) -> None:
    (tmp_path / "db.env").write_bytes("\ufeffA=é\r\nB=1".encode())
    assert store.read() == "\ufeffA=é\r\nB=1"


def test_what_is_no_file_is_refused(store: Store, tmp_path: Path) -> None:
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


def test_an_unreadable_file(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_path: str, _flags: int) -> int:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "db.env").write_text("A=1")
    monkeypatch.setattr(os, "open", denied)  # root may read everything
    with pytest.raises(WaError, match="unreadable: Permission denied"):
        store.read()


def test_a_write_replaces_the_file_in_one_step(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "db.env"
    path.write_text("old")
    seen = []

    def move(source: str, target: str) -> None:
        seen.append((path.read_text(), Path(source).read_text(), stat.S_IMODE(os.stat(source).st_mode)))
        os.replace(source, target)

    with store.lock(1):
        store.write("new", move)
    assert seen == [("old", "new", 0o600)]
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["db.env"]


def test_what_a_killed_run_left_goes(store: Store, tmp_path: Path) -> None:
    (tmp_path / ".db.env.wa_new").write_text("WA_DB_PASSWORD=half")
    with store.lock(1):
        assert os.listdir(tmp_path) == []


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "db.env").write_text("old")

    def full(_number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with store.lock(1), pytest.raises(WaError, match="No space left on device"):
        store.write("new", os.replace)
    assert (tmp_path / "db.env").read_text() == "old"
    assert os.listdir(tmp_path) == ["db.env"]


def test_the_last_two_backups_stay(store: Store, tmp_path: Path) -> None:
    other = tmp_path / "db.env.bak~"
    other.write_text("the operator's own")
    made = []
    with store.lock(1):
        for text in ("1", "2", "3"):
            made.append(store.backup(text))
    assert store.backups() == made[1:]
    assert [Path(path).read_text() for path in store.backups()] == ["2", "3"]
    assert all(stat.S_IMODE(os.stat(path).st_mode) == 0o600 for path in store.backups())
    assert other.exists()


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
    with pytest.raises(WaError, match="another run holds it"), other.lock(0):
        pytest.fail("two at once")
    waiting.set()
    with other.lock(5):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WaError, match="folder"), Store(str(tmp_path / "no" / "db.env")).lock(0):
        pytest.fail("locked nothing")
