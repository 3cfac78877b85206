# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process on which machine runs `ansible-playbook`, told so that another run can see whether it still lives."""

from __future__ import annotations

import os
import subprocess


def this_run() -> str:
    """This `ansible-playbook`, the same from each of its workers: machine, process id, and when it was started."""
    return describe(os.getppid())


def describe(pid: int) -> str:
    """The process `pid` of this machine, or an empty text when there is none."""
    started = _started(pid)
    return f"{_machine()}/{pid}/{started}" if started else ""


def has_ended(process: str) -> bool:
    """Whether `process` ran on this machine, since its last start, and does not any more. False when that cannot be known."""
    parts = process.split("/")
    if len(parts) != 3 or parts[0] != _machine() or not parts[1].isdigit():
        return False
    return describe(int(parts[1])) != process


def _machine() -> str:
    """This boot of this machine, and the namespace that process ids are counted in."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            boot = stream.read().strip()
        return f"{boot}.{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return os.uname().nodename.replace("/", "_")


def _started(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            # The name in brackets may hold spaces and brackets; field 22 is counted from behind it.
            fields = stream.read().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except OSError:
        pass
    if os.path.exists("/proc/self/stat"):
        return ""
    told = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return told.strip().replace("/", "_")
