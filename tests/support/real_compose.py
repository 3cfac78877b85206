# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the real `docker compose config`, which needs no engine, in place of `AnsibleModule.run_command`."""

from __future__ import annotations

import subprocess
import typing as t


class Runner:
    """Runs commands and records them."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], data: str | None = None, **_options: t.Any) -> tuple[int, str, str]:
        self.commands.append(command)
        done = subprocess.run(command, input=data or "", capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr
