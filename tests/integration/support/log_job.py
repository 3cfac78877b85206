# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the cron job's script of the role wa_log_cleanup as cron does."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from commands import REPOSITORY

SCRIPT = REPOSITORY / "roles" / "wa_log_cleanup" / "files" / "wa-log-cleanup"


@dataclass
class Job:
    """Runs the script for one project, with its files in the test's folder."""

    folder: Path
    project: str
    script: Path = SCRIPT

    @property
    def status(self) -> dict[str, t.Any]:
        """The content of the status file."""
        return t.cast("dict[str, t.Any]", json.loads((self.folder / "status.json").read_text()))

    def argv(self, *options: str, shell: str = "sh") -> list[str]:
        """The command line of the job."""
        files = ["-s", str(self.folder / "status.json"), "-l", str(self.folder / "deployment.lock")]
        return [shell, str(self.script), "-p", self.project, *files, *options]

    def with_docker(self, script: str) -> None:
        """Let the job call a `docker` that runs a shell script first; `"$@"` are the arguments."""
        tools = self.folder / "tools"
        tools.mkdir()
        (tools / "docker").write_text(f'#!/bin/sh\n{script}\nexec /usr/bin/docker "$@"\n')
        (tools / "docker").chmod(0o755)
        self.script = self.folder / "wa-log-cleanup"
        self.script.write_text(SCRIPT.read_text().replace("\nPATH=", f"\nPATH={tools}:"))

    def __call__(self, *options: str, shell: str = "sh", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the job and wait for its end."""
        return subprocess.run(
            self.argv(*options, shell=shell),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**os.environ, **environment},
        )
