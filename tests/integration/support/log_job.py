# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the cron job's script of the role wa_log_cleanup as cron does."""

from __future__ import annotations

import json
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.waba.onprem.plugins.module_utils._logs import job as log_job
from ansible_collections.waba.onprem.plugins.plugin_utils import _job_script as job_script


@dataclass
class Job:
    """Runs the script for one project, with its files in the test's folder."""

    folder: Path
    project: str

    def __post_init__(self) -> None:
        self.script = self.folder / "wa-log-cleanup"
        self.script.write_text(job_script.script())
        self.script.chmod(0o755)

    @property
    def status(self) -> dict[str, t.Any]:
        """The content of the status file."""
        return t.cast("dict[str, t.Any]", json.loads((self.folder / "status.json").read_text()))

    def limit(self, text: str) -> None:
        """Gives each container less time."""
        old = f'LIMIT = "{log_job.LIMIT}"'
        assert old in self.script.read_text()
        self.script.write_text(self.script.read_text().replace(old, f'LIMIT = "{text}"'))

    def argv(self, *options: str) -> list[str]:
        """The command line of the job."""
        files = ["-s", str(self.folder / "status.json"), "-l", str(self.folder / "deployment.lock")]
        return [str(self.script), "-p", self.project, *files, *options]

    def __call__(self, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the job with nothing but this in its environment, and wait for its end."""
        argv = self.argv(*options)
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120, env=environment)
