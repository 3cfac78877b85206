# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The name of a run, for locks."""

from __future__ import annotations

import os
import platform

import pytest

from ansible_collections.waba.onprem.plugins.plugin_utils import _run


def test_a_run_is_named_by_machine_process_and_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getppid", os.getpid)  # ansible-playbook, as its workers see it
    machine, pid, started = _run.this_run().split("/")
    assert (machine, pid, started.isdecimal()) == (platform.node(), str(os.getpid()), True)
    assert _run.this_run() == "/".join((machine, pid, started))
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert _run.this_run().startswith(f"{machine}/1/")


def test_a_system_without_proc_has_no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getppid", lambda: 2**30)
    assert _run.this_run() == f"{platform.node()}/{2**30}/"
