# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which run still lives."""

from __future__ import annotations

import os
import subprocess

import pytest

from ansible_collections.waba.onprem.plugins.plugin_utils import _process as process


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
