# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which run still lives, and whose turn it is on a database server."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.plugin_utils import process, turns


def test_a_process_that_lives_and_one_that_has_ended() -> None:
    child = subprocess.Popen(["sleep", "60"])
    told = process.describe(child.pid)
    assert not process.has_ended(told)
    child.kill()
    child.wait()
    assert process.has_ended(told)


def test_a_zombie_has_ended() -> None:
    child = subprocess.Popen(["sleep", "60"])
    told = process.describe(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet collected
    assert process.has_ended(told)
    child.wait()


def test_another_process_with_the_same_number_is_another_one() -> None:
    machine, pid, _started = process.describe(os.getpid()).split("/")
    assert process.has_ended(f"{machine}/{pid}/1")


@pytest.mark.parametrize(
    ("then", "now", "ended"),
    [
        ("boot1.4026531836.abc", "boot2.4026531836.abc", True),  # started again since
        ("boot1.4026531836.abc", "boot2.4026531836.def", False),  # another machine
        ("boot1.4026532999.abc", "boot2.4026532999.abc", False),  # containers of one image
        ("boot1.4026531836.abc", "boot1.4026532999.abc", False),  # a container of this machine
        ("boot1.4026531836.", "boot2.4026531836.", False),  # machines without an id
        ("controller", "boot2.4026531836.abc", False),
        ("boot1.4026531836.abc", "controller", False),
    ],
)
def test_a_machine_that_was_started_again_runs_nothing_of_before(
    monkeypatch: pytest.MonkeyPatch, then: str, now: str, ended: bool
) -> None:
    monkeypatch.setattr(process, "_machine", lambda: now)
    assert process.has_ended(f"{then}/1/1") is ended


@pytest.mark.parametrize("told", ["", "x", "elsewhere/1/1", "a/b/c"])
def test_what_cannot_be_known_has_not_ended(told: str) -> None:
    assert not process.has_ended(told)


def test_one_turn_on_each_server(tmp_path: Path) -> None:
    queue = turns.Turns(str(tmp_path / "waba"), process.describe(os.getpid()))
    assert queue.take("db1:3306", "first", 60) is None
    assert queue.take("db1:3306", "first", 60) is None
    assert queue.take("DB1:3306", "second", 60) == "first"
    assert queue.take("db2:3306", "second", 60) is None
    queue.give_back("first")
    assert queue.take("db1:3306", "third", 60) is None


def test_a_run_that_has_ended_has_no_turn(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "60"])
    theirs = turns.Turns(str(tmp_path), process.describe(child.pid))
    ours = turns.Turns(str(tmp_path), process.describe(os.getpid()))
    assert theirs.take("db1:3306", "first", 60) is None
    assert ours.take("db1:3306", "second", 60) == "first"
    child.kill()
    child.wait()
    assert ours.take("db1:3306", "second", 60) is None


def test_a_migration_that_may_still_run_keeps_the_turn_of_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = subprocess.Popen(["sleep", "60"])
    theirs = turns.Turns(str(tmp_path), process.describe(child.pid))
    ours = turns.Turns(str(tmp_path), process.describe(os.getpid()))
    assert theirs.take("db1:3306", "first", 60) is None
    theirs.keep("first", 3600, migrates=True)
    child.kill()
    child.wait()
    assert ours.take("db1:3306", "second", 60) == "first"
    assert ours.take("db1:3306", "first", 60) is None, "its next run goes on"
    ours.keep("first", 3600, migrates=True)
    now = time.time()
    monkeypatch.setattr(process, "has_ended", lambda _run: True)
    monkeypatch.setattr(time, "time", lambda: now + 3601)
    assert ours.take("db1:3306", "second", 60) is None, "and not for ever"


def test_giving_back_what_nobody_has_makes_nothing(tmp_path: Path) -> None:
    turns.Turns(str(tmp_path / "waba"), "").give_back("first")
    assert not (tmp_path / "waba").exists()
