# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first command of the README succeeds every time."""

from __future__ import annotations

import subprocess
from pathlib import Path

import commands

ROOT = Path(__file__).resolve().parents[2]
TIMES = 20


def test_the_demo_succeeds_twenty_times() -> None:
    try:
        for number in range(TIMES):
            run = subprocess.run([str(ROOT / "script/demo")], capture_output=True, text=True, check=False)
            assert run.returncode == 0, f"run {number + 1} of {TIMES}:\n{run.stdout[-4000:]}{run.stderr[-4000:]}"
    finally:
        commands.run(ROOT / "script/demo", "--down")
