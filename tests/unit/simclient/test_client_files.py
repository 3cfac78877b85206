# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log files and cleanup.sh, run as it is in the image."""

from __future__ import annotations

import gzip
import os
import subprocess
import threading
from pathlib import Path

import pytest
from simclient.logs import CORE_LIMIT, CoreLogFile, LogFile, Noise
from simclient_deployment import Control
from waiting import until

from ansible_collections.waba.onprem.plugins.module_utils._logs.retention import MAX_SIZE

CLIENT = Path(__file__).resolve().parents[2] / "lab" / "client"


def test_a_log_file_follows_a_rename(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "logs"), "web.log", echo=False)
    log.line("one")
    (tmp_path / "logs" / "web.log").rename(tmp_path / "logs" / "web.log-1")
    log.line("two\nlines")
    assert (tmp_path / "logs" / "web.log-1").read_text() == "one\n"
    assert (tmp_path / "logs" / "web.log").read_text() == "two lines\n"


def test_a_full_disk_loses_only_the_lines(tmp_path: Path) -> None:
    log = LogFile("/dev/full/nowhere", "web.log", echo=False)
    log.line("one")
    assert log.lost == 1
    assert not list(tmp_path.iterdir())


def test_the_coreapp_opens_a_new_file_only_above_15_mb(tmp_path: Path) -> None:
    log = CoreLogFile(str(tmp_path), echo=False)
    log.line("first")
    again = CoreLogFile(str(tmp_path), echo=False)
    again.line("after a restart")
    (first,) = tmp_path.iterdir()
    assert first.read_text() == "first\nafter a restart\n"
    again.write("x" * (CORE_LIMIT - first.stat().st_size - 2) + "\n")
    again.line("still here")
    assert len(list(tmp_path.iterdir())) == 1
    again.line("new file")
    assert len(list(tmp_path.iterdir())) == 2
    assert first.exists()


def test_the_log_noise_has_the_given_rate(tmp_path: Path) -> None:
    stop = threading.Event()
    noise = Noise(LogFile(str(tmp_path), "web.log", echo=False), 100000, stop)
    noise.start()
    until(lambda: (tmp_path / "web.log").exists() and (tmp_path / "web.log").stat().st_size > 30000)
    stop.set()
    noise.join(2)
    assert (tmp_path / "web.log").stat().st_size < 3000000


class Box:
    """The folders that cleanup.sh works on."""

    def __init__(self, folder: Path, role: str) -> None:
        self.logs = folder / "logs"
        self.core = folder / "core"
        self.archive = self.logs / "archive"
        self.archive.mkdir(parents=True)
        self.core.mkdir()
        (folder / "build.json").write_text(f'{{"version": "2.51.2", "role": "{role}", "expires_on": ""}}')
        self.env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(CLIENT),
            "SIM_BUILD_FILE": str(folder / "build.json"),
            "SIM_WEB_LOG_DIR": str(self.logs),
            "SIM_CORE_LOG_DIR": str(self.core),
            "WA_DB_ENGINE": "MYSQL",
            "WA_DB_HOSTNAME": "db",
            "WA_DB_PORT": "3306",
            "WA_DB_USERNAME": "wa",
            "WA_DB_PASSWORD": "Canary-Db-1",
        }

    def cleanup(self) -> subprocess.CompletedProcess[str]:
        """Run cleanup.sh."""
        command = ["sh", str(CLIENT / "bin" / "cleanup.sh")]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60, check=False)


def sparse(path: Path, size: int) -> None:
    """A file of a size that costs no disk."""
    with path.open("wb") as stream:
        stream.truncate(size)


@pytest.mark.parametrize(("size", "rotated"), [(MAX_SIZE["web"], False), (MAX_SIZE["web"] + 1, True)])
def test_web_logs_rotate_only_above_20_mb(tmp_path: Path, size: int, rotated: bool) -> None:
    box = Box(tmp_path, "web")
    sparse(box.logs / "access.log", size)
    (box.logs / "web.log").write_text("small")
    done = box.cleanup()
    assert (done.returncode, done.stderr) == (0, "")
    archives = [path for path in box.archive.iterdir() if path.name.startswith("access.log-")]
    assert [(box.logs / "access.log").exists(), len(archives)] == ([False, 1] if rotated else [True, 0])
    assert (box.logs / "web.log").read_text() == "small"
    for path in archives:
        with gzip.open(path) as stream:
            assert len(stream.read()) == size


def test_modules_assume_the_core_limit_of_the_client() -> None:
    assert MAX_SIZE["core"] == CORE_LIMIT


def test_cleanup_keeps_the_newest_30_archives_of_each_log(tmp_path: Path) -> None:
    box = Box(tmp_path, "web")
    for name in ("web.log", "access.log"):
        for number in range(40):
            path = box.archive / f"{name}-{number:014d}.gz"
            path.write_bytes(b"")
            os.utime(path, (1000 + number, 1000 + number))
    (box.archive / "mine.txt").write_text("not ours")
    assert box.cleanup().returncode == 0
    for name in ("web.log", "access.log"):
        left = sorted(path.name for path in box.archive.glob(f"{name}*"))
        assert left == [f"{name}-{number:014d}.gz" for number in range(10, 40)]
    assert (box.archive / "mine.txt").exists()
    assert box.cleanup().stdout == ""


def test_cleanup_archives_core_logs_except_the_current_one(tmp_path: Path) -> None:
    box = Box(tmp_path, "coreapp")
    for number in range(40):
        path = box.core / f"wa-service-{number:02d}.log"
        path.write_text(str(number))
        os.utime(path, (1000 + number, 1000 + number))
    assert box.cleanup().returncode == 0
    assert [path.name for path in box.core.iterdir()] == ["wa-service-39.log"]
    left = sorted(path.name for path in box.archive.glob("wa-service*"))
    assert left == [f"wa-service-{number:02d}.log.gz" for number in range(9, 39)]
    sparse(box.core / "wa-service-39.log", MAX_SIZE["core"])
    assert box.cleanup().returncode == 0
    assert [path.name for path in box.core.iterdir()] == ["wa-service-39.log"]
    sparse(box.core / "wa-service-39.log", MAX_SIZE["core"] + 1)
    assert box.cleanup().returncode == 0
    assert not list(box.core.iterdir())


def test_a_new_cleanup_continues_a_killed_one(tmp_path: Path) -> None:
    box = Box(tmp_path, "web")
    (box.logs / "error.log-20260101000000").write_text("renamed, not packed")
    (box.archive / "error.log-20260101000000.gz.part").write_bytes(b"half")
    assert box.cleanup().returncode == 0
    with gzip.open(box.archive / "error.log-20260101000000.gz", "rt") as stream:
        assert stream.read() == "renamed, not packed"
    assert not list(box.archive.glob("*.part"))
    assert not (box.logs / "error.log-20260101000000").exists()


def test_cleanup_faults(tmp_path: Path) -> None:
    box = Box(tmp_path, "web")
    control = Control(tmp_path / "control")
    box.env["SIM_CONTROL_URL"] = control.url
    control.state.on("cleanup_fails", {"prefix": "other", "node": None, "value": None})
    assert box.cleanup().returncode == 0
    control.state.on("cleanup_fails", {"prefix": None, "node": None, "value": None})
    done = box.cleanup()
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    control.state.off(None, {})
    control.state.on("cleanup_hangs", {"prefix": None, "node": None, "value": None})
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(["sh", str(CLIENT / "bin" / "cleanup.sh")], env=box.env, timeout=1.5, check=False)
    control.server.shutdown()
    control.server.server_close()
