# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Identifies the process that runs `ansible-playbook`, so that another run can check whether it still runs."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import subprocess
import typing as t

# Inode of Linux's initial PID namespace, a constant; a container has another one.
_OUTERMOST = "4026531836"


def this_run() -> str:
    """Returns machine, process id and start time of this `ansible-playbook`, the same in each of its workers."""
    return describe(os.getppid())


def describe(pid: int) -> str:
    """Returns the identity of the process `pid` on this machine; empty if it does not exist."""
    started = _started(pid)
    return f"{_machine()}/{pid}/{started}" if started else ""


def has_ended(process: str) -> bool:
    """Returns whether `process` ran on this machine and has ended. False if that is unknown."""
    machine, _slash, rest = process.partition("/")
    if not rest.partition("/")[0].isdecimal():
        return False
    if machine != _machine():
        return _ran_before_the_restart(machine)
    return describe(int(rest.partition("/")[0])) != process


def is_dead(holder: t.Mapping[str, t.Any]) -> bool:
    """Returns whether the run of a lock was this user's on this controller, and has ended. False if that is unknown."""
    mine = holder.get("user") == getpass.getuser() and holder.get("controller") == controller()
    return mine and has_ended(str(holder.get("run_id", "")))


def controller() -> str:
    """Returns the name of this machine, for locks."""
    return platform.node() or "controller"


def _ran_before_the_restart(machine: str) -> bool:
    """Returns whether `machine` is this machine before its last boot, by the machine id.

    Containers are never matched: those of one image may have the same machine id and run at the same time.
    """
    then, now = machine.split("."), _machine().split(".")
    same = len(then) == len(now) == 3 and then[2] == now[2] != "" and then[1] == now[1] == _OUTERMOST
    return same and then[0] != now[0]


def _machine() -> str:
    """Returns boot id, inode of the PID namespace, and a digest of the machine id."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            boot = stream.read().strip()
        return f"{boot}.{os.stat('/proc/self/ns/pid').st_ino}.{_installation()}"
    except OSError:
        return os.uname().nodename.replace("/", "_")


def _installation() -> str:
    """Returns a digest of the machine id, which machine-id(5) wants confidential; empty if there is none."""
    try:
        with open("/etc/machine-id", encoding="ascii") as stream:
            machine_id = stream.read().strip()
    except (OSError, ValueError):
        return ""
    # An image that creates its id at its first boot has an empty file, or this text.
    if machine_id in ("", "uninitialized"):
        return ""
    return hashlib.sha256(f"waba.onprem {machine_id}".encode()).hexdigest()[:16]


def _started(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            # The command in brackets may contain spaces and brackets: field 22 is counted from after the last one.
            fields = stream.read().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except OSError:
        pass
    if os.path.exists("/proc/self/stat"):
        return ""
    ps = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return ps.stdout.strip().replace("/", "_")
