# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names this run of `ansible-playbook` for the lock of a deployment. Nobody looks whether a run is alive: locks have a lease."""

from __future__ import annotations

import os
import platform


def controller() -> str:
    """Returns the name of this machine, for locks."""
    return platform.node() or "controller"


def this_run() -> str:
    """Returns machine, process and start time of this `ansible-playbook`, the same in each of its workers."""
    pid = os.getppid()
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            # The command in brackets may contain spaces and brackets: field 22 is counted from after the last one.
            started = stream.read().rpartition(")")[2].split()[19]
    except OSError:  # no Linux
        started = ""
    return f"{controller()}/{pid}/{started}"
