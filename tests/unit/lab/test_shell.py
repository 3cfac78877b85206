# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running of commands: what is logged and hidden, and that an interrupt leaves no child."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from lab_samples import runs
from walab import progress
from walab.shell import Interrupted, LabError, Shell


def test_output_is_returned_and_the_command_logged(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "log")
    assert shell.text(["sh", "-c", "cat; echo more"], stdin=b"given ") == "given more"
    assert "sh -c 'cat; echo more' -> 0" in (tmp_path / "log").read_text(encoding="utf-8")


def test_a_failure_has_its_last_line_without_secrets(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "log")
    shell.hidden = ["Canary-1"]
    with pytest.raises(LabError, match=r"failed: near '\*\*\*\*\*\*\*\*'$"):
        shell.run(["sh", "-c", "read word; echo first >&2; echo \"near '$word'\" >&2; exit 3"], stdin=b"Canary-1\n")
    assert "Canary" not in (tmp_path / "log").read_text(encoding="utf-8")


def test_a_missing_program_is_an_error_with_a_fix() -> None:
    with pytest.raises(LabError, match="no-such-program is not installed; run script/bootstrap"):
        Shell().run(["no-such-program"])


def test_a_hanging_command_is_killed() -> None:
    started = time.monotonic()
    with pytest.raises(LabError, match="did not end within"):
        Shell().run(["sleep", "60"], timeout=0.2)
    assert time.monotonic() - started < 10


def test_stop_kills_children_and_starts_no_more(tmp_path: Path) -> None:
    shell = Shell()
    seen: list[BaseException] = []

    def work() -> None:
        try:
            # A grandchild: the whole session has to be killed.
            shell.run(["sh", "-c", f"sleep 60 & echo $! >{tmp_path}/pid; wait"])
        except LabError as error:
            seen.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    deadline = time.monotonic() + 10
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text(encoding="ascii").strip():
        assert time.monotonic() < deadline, "the child never started"
        time.sleep(0.01)
    shell.stop()
    worker.join(10)
    assert [type(error) for error in seen] == [Interrupted]
    with pytest.raises(Interrupted):
        shell.run(["true"])
    with pytest.raises(Interrupted):
        shell.pause(60)
    grandchild = int((tmp_path / "pid").read_text(encoding="ascii"))
    while runs(grandchild):
        assert time.monotonic() < deadline, "a grandchild lives on"
        time.sleep(0.01)


def test_parallel_jobs_keep_their_order_and_raise_the_failure() -> None:
    assert progress.together([lambda: 1, lambda: 2, lambda: 3]) == [1, 2, 3]
    ended = threading.Event()

    def slow() -> None:
        time.sleep(0.3)
        ended.set()

    def wrong() -> None:
        raise LabError("no")

    with pytest.raises(LabError, match="no"):
        progress.together([slow, wrong])
    assert ended.is_set(), "a failure waits for what was begun"
