# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This machine's addresses and names, and which names of servers mean the machine itself."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core import machine

TRIE = """Main:
  +-- 10.0.0.0/24 2 0 2
     |-- 10.0.0.0
        /24 link UNICAST
     |-- 10.0.0.5
        /32 host LOCAL
     |-- 10.0.0.255
        /32 link BROADCAST
"""
INET6 = "fd000000000000000000000000000002 02 40 00 80     eth0\n"


def test_origins_are_addresses_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trie").write_text(TRIE)
    (tmp_path / "inet6").write_text(INET6)
    monkeypatch.setattr(machine, "_IPV4", str(tmp_path / "trie"))
    monkeypatch.setattr(machine, "_IPV6", str(tmp_path / "inet6"))
    assert machine.origins() == sorted(["10.0.0.5", "fd00::2", socket.gethostname()])


def test_what_the_kernel_does_not_say_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_IPV4", "_IPV6", "_BOOT_ID"):
        monkeypatch.setattr(machine, name, str(tmp_path / "missing"))
    assert (machine.origins(), machine.boot_id()) == ([socket.gethostname()], "")


def test_the_boot_is_known() -> None:
    assert len(machine.boot_id()) == 36
