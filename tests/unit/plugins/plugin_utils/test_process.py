# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a run is still alive."""

from __future__ import annotations

import os
import subprocess

import pytest

from ansible_collections.waba.onprem.plugins.plugin_utils import _process as process


def test_a_process_is_alive_until_it_ends() -> None:
    child = subprocess.Popen(["sleep", "60"])
    run = process.describe(child.pid)
    assert not process.has_ended(run)
    child.kill()
    child.wait()
    assert process.has_ended(run)


def test_a_zombie_has_ended() -> None:
    child = subprocess.Popen(["sleep", "60"])
    run = process.describe(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, but not reaped
    assert process.has_ended(run)
    child.wait()


def test_another_process_with_the_same_pid_is_another_run() -> None:
    machine, pid, _started = process.describe(os.getpid()).split("/")
    assert process.has_ended(f"{machine}/{pid}/1")


@pytest.mark.parametrize(
    ("then", "now", "ended"),
    [
        ("boot1.4026531836.abc", "boot2.4026531836.abc", True),  # rebooted
        ("boot1.4026531836.abc", "boot2.4026531836.def", False),  # another machine
        ("boot1.4026532999.abc", "boot2.4026532999.abc", False),  # containers of one image
        ("boot1.4026531836.abc", "boot1.4026532999.abc", False),  # a container of this machine
        ("boot1.4026531836.", "boot2.4026531836.", False),  # machines without an id
        ("controller", "boot2.4026531836.abc", False),
        ("boot1.4026531836.abc", "controller", False),
    ],
)
def test_a_reboot_ends_all_processes(monkeypatch: pytest.MonkeyPatch, then: str, now: str, ended: bool) -> None:
    monkeypatch.setattr(process, "_machine", lambda: now)
    assert process.has_ended(f"{then}/1/1") is ended


@pytest.mark.parametrize("run", ["", "x", "elsewhere/1/1", "a/b/c"])
def test_an_unknown_process_counts_as_alive(run: str) -> None:
    assert not process.has_ended(run)
