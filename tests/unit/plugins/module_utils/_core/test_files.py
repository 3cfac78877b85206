# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that other users may have created, lock files, and atomic writes."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import signal
import stat
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._client import inspection
from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import connection
from ansible_collections.waba.onprem.plugins.module_utils._database.session import Settings
from ansible_collections.waba.onprem.plugins.module_utils._docker import registry_login
from ansible_collections.waba.onprem.plugins.module_utils._env import options as env_options
from ansible_collections.waba.onprem.plugins.module_utils._webapp.client import Webapp


def test_a_regular_file_and_a_link_to_one_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("é\r\n".encode())
    (tmp_path / "b").symlink_to("a")
    assert files.read_text(str(tmp_path / "b")) == "é\r\n"
    with pytest.raises(OSError, match="no regular file"):
        files.open_regular(str(tmp_path / "b"), follow=False)


def test_other_file_types_are_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match="no regular file"):
            files.read_bytes(str(path))


def test_a_file_above_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert files.read_bytes(str(path), 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        files.read_bytes(str(path), 4)


def test_a_lock_has_mode_0600_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with files.lock(str(path), 0):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(WaError) as refused, files.lock(str(path), 0.1):
            pytest.fail("two at once")
    assert str(refused.value) == (
        f"lock file {path}: another process has held it for 0.1 s; expected a free lock. "
        f"Wait for that process (fuser {path} names it), then run again"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_of_another_user_fails_after_the_timeout(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch(0o666)
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        with pytest.raises(WaError, match="another process has held it"), files.lock(str(path), 0.1):
            pytest.fail("two at once")
    with files.lock(str(path), 0):
        pass


def test_a_symbolic_link_is_refused_as_a_lock_file(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("elsewhere")
    with pytest.raises(OSError), files.lock(str(tmp_path / "lock"), 0):  # noqa: PT011
        pytest.fail("followed")
    assert not (tmp_path / "elsewhere").exists()


def test_concurrent_holders_exclude_each_other(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _round in range(5):
            with files.lock(str(tmp_path / "lock"), 30):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=work) for _each in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 30
    assert list(tmp_path.iterdir()) == []


def _hold(path: str, ready: t.Any) -> None:
    with files.lock(path, 0):
        ready.set()
        time.sleep(60)


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    ready = multiprocessing.Event()
    process = multiprocessing.Process(target=_hold, args=(path, ready))
    process.start()
    assert ready.wait(20)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    with files.lock(path, 0):
        pass
    assert list(tmp_path.iterdir()) == []


def raised_in_time(read: t.Callable[[], t.Any]) -> WaError | None:
    """The error that `read` raises. Fails if `read` blocks."""
    raised: list[WaError] = []

    def run() -> None:
        try:
            read()
        except WaError as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "it waits for somebody to write"
    return raised[0] if raised else None


@pytest.mark.parametrize("reader", ["record", "env", "authority", "database", "login"])
def test_no_reader_blocks_on_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str) -> None:
    path = tmp_path / "config.json"
    os.mkfifo(path)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    options: dict[str, t.Any] = {
        "api_url": "https://localhost",
        "api_password": None,
    }
    options |= {"api_ca_path": str(path), "api_validate_certs": True, "api_timeout": 1}
    config = Settings("MYSQL", "localhost", 1, "wa", "", ca_cert=str(path))
    readers: dict[str, t.Callable[[], t.Any]] = {
        "record": lambda: inspection.record(str(path)),
        "env": lambda: env_options.read_env(str(path), "portable"),
        "authority": lambda: Webapp(options, 1.0),
        "database": lambda: connection.connect(config),
        "login": lambda: registry_login.header("registry.example/web", lambda *_args, **_options: (1, "", "")),
    }
    raised = raised_in_time(readers[reader])
    if reader == "login":
        assert raised is None
    else:
        assert "no regular file" in str(raised)


@pytest.mark.parametrize(
    ("path", "other_users", "refused"),
    [
        ("folder/wa", "", ""),
        ("folder/missing/wa", "", ""),
        ("link/wa", "", ""),
        ("link/wa", "link", "link"),
        ("to_link/wa", "link", "link"),
        ("folder/../link", "link", "link"),
        ("relative/wa", "relative", "relative"),
        ("loop", "", ""),
        ("link", "other", ""),
    ],
)
def test_symbolic_links_of_other_users_are_refused_in_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, other_users: str, refused: str
) -> None:
    (tmp_path / "folder").mkdir()
    targets = {"link": f"{tmp_path}/folder", "to_link": f"{tmp_path}/link", "relative": "./folder", "loop": "loop"}
    for name, target in targets.items():
        (tmp_path / name).symlink_to(target)
    lstat = os.lstat

    def owned(at: str) -> os.stat_result:
        found = list(lstat(at))
        found[stat.ST_UID] = os.geteuid() + 1 if other_users and at == f"{tmp_path}/{other_users}" else os.geteuid()
        return os.stat_result(found)

    monkeypatch.setattr(os, "lstat", owned)
    if refused:
        with pytest.raises(WaError, match=f"{refused} is a link of user {os.geteuid() + 1}, who can change it"):
            files.refuse_links_of_others(f"{tmp_path}/{path}")
    else:
        files.refuse_links_of_others(f"{tmp_path}/{path}")


def test_the_file_is_replaced_with_mode_0600(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("old")
    path.chmod(0o644)
    files.write_json(str(path), {"a": [1, "ä"]})
    assert json.loads(path.read_text()) == {"a": [1, "ä"]}
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["state.json"]


def test_a_full_disk_keeps_the_old_file_and_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    path.write_text("old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_json(str(path), {})
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["state.json"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.write_json(str(tmp_path / "nowhere" / "state.json"), {})


def test_a_new_file_is_private_and_replaces_no_existing_one(tmp_path: Path) -> None:
    path, seen = tmp_path / "a", []

    def prepare(handle: int) -> None:
        status = os.fstat(handle)
        seen.append((stat.S_IMODE(status.st_mode), status.st_size))
        os.fchmod(handle, 0o640)

    files.write_new(str(path), b"x", prepare)
    assert seen == [(0o600, 0)]
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"x", 0o640)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for there in (path, tmp_path / "link"):
        with pytest.raises(FileExistsError):
            files.write_new(str(there), b"y")
    assert path.read_bytes() == b"x"
    assert sorted(os.listdir(tmp_path)) == ["a", "link"]


def test_an_exit_during_preparation_leaves_no_file(tmp_path: Path) -> None:
    def end(_handle: int) -> None:
        raise SystemExit(1)

    with pytest.raises(SystemExit):
        files.write_new(str(tmp_path / "a"), b"x", end)
    assert os.listdir(tmp_path) == []


def test_acquire_waits_until_the_lock_is_free(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with path.open("w") as one, path.open("w") as other:
        assert files.acquire(one.fileno())
        start = time.monotonic()
        assert not files.acquire(other.fileno(), 0.2)
        assert time.monotonic() - start >= 0.2
        timer = threading.Timer(0.2, fcntl.flock, (one.fileno(), fcntl.LOCK_UN))
        timer.start()
        assert files.acquire(other.fileno(), 30)
        timer.join()


def test_whether_a_lock_file_is_held(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not files.is_locked(str(path))
    with files.lock(str(path), 0):
        assert files.is_locked(str(path))
    path.touch()
    assert not files.is_locked(str(path)), "that of a killed process"
    assert path.exists()
