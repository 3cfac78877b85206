# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which process on which machine runs `ansible-playbook`, told so that another run can see whether it still lives."""

from __future__ import annotations

import hashlib
import os
import subprocess

# The namespace of process ids that a machine itself counts in, a fixed number of Linux; a container has another.
_OUTERMOST = "4026531836"


def this_run() -> str:
    """This `ansible-playbook`, the same from each of its workers: machine, process id, and when it was started."""
    return describe(os.getppid())


def describe(pid: int) -> str:
    """The process `pid` of this machine, or an empty text when there is none."""
    started = _started(pid)
    return f"{_machine()}/{pid}/{started}" if started else ""


def has_ended(process: str) -> bool:
    """Whether `process` ran on this machine and does not any more. False when that cannot be known."""
    machine, _slash, rest = process.partition("/")
    if not rest.partition("/")[0].isdecimal():
        return False
    if machine != _machine():
        return _ran_before_the_restart(machine)
    return describe(int(rest.partition("/")[0])) != process


def _ran_before_the_restart(machine: str) -> bool:
    """Whether `machine` is this one as it was before it was started again.

    Only for machines, by the id of their installation: containers of one image may share that, and run at the same time.
    """
    then, now = machine.split("."), _machine().split(".")
    same = len(then) == len(now) == 3 and then[2] == now[2] != "" and then[1] == now[1] == _OUTERMOST
    return same and then[0] != now[0]


def _machine() -> str:
    """This boot of this machine, the namespace that process ids are counted in, and the machine's own id."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            boot = stream.read().strip()
        return f"{boot}.{os.stat('/proc/self/ns/pid').st_ino}.{_installation()}"
    except OSError:
        return os.uname().nodename.replace("/", "_")


def _installation() -> str:
    """What tells this machine from others across its restarts, as a digest: the id itself is not to be given away."""
    try:
        with open("/etc/machine-id", encoding="ascii") as stream:
            told = stream.read().strip()
    except (OSError, ValueError):
        return ""
    # An image that is to make its id at its first start has none, or this word.
    return hashlib.sha256(f"waba.onprem {told}".encode()).hexdigest()[:16] if told not in ("", "uninitialized") else ""


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
