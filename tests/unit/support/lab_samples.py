# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Helpers of the lab's tests. Importing this file adds the lab to the import path."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))

from walab.model import Host, Lab, Options

VERSIONS = [("2.51.2", "2030-01-31"), ("2.53.4", "2030-01-31")]


def sample(folder: Path) -> Lab:
    """A lab of two hosts and both databases that was never started. The path of its folder contains a space."""
    made = Lab("t1", home=folder / "home with a blank")
    made.options = Options(
        hosts=[Host("h1"), Host("h2", "ready", "postgres")], engines=["mariadb", "postgres"], versions=list(VERSIONS)
    )
    made.choose_ports(up=())
    return made


def runs(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"
