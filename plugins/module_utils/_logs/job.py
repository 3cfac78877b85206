# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nightly log cleanup, which cron runs without Ansible: one container after the other, a status file, metrics and syslog."""

from __future__ import annotations

import argparse
import json
import os
import sys
import syslog
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import whole_seconds
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Container, Docker
from ansible_collections.waba.onprem.plugins.module_utils._logs.cleaner import Cleaner, lock

# Of the cleanup of one container, and of the wait for another run: the first one may have years to compress.
LIMIT = "1h"
_EXIT_CODES = """Exit code: 0 all is cleaned, 1 a container failed or there is none, 2 wrong usage, 3 the job itself failed, 4 the
deployment is locked and not everything was cleaned."""
_RESULTS = {0: "ok", 4: "locked"}  # by exit code; any other is a failure
_METRICS = (
    ("last_run_timestamp_seconds", "finished", "When the job last ended."),
    ("last_success_timestamp_seconds", "last_success", "When it last ended without a failure."),
    ("duration_seconds", "seconds", "How long the last run took."),
    ("containers", "containers", "Containers that the last run cleaned."),
    ("failed", "failed", "Failures of the last run."),
    ("freed_bytes", "freed_bytes", "Bytes that the last run freed."),
)


def main(arguments: t.Sequence[str] | None = None) -> int:
    """Cleans the logs of one Compose project. Returns the exit code."""
    parser = argparse.ArgumentParser("wa-log-cleanup", description="Cleans the logs of a client.", epilog=_EXIT_CODES)
    parser.add_argument("-p", dest="project", required=True, help="Compose project; '' for containers outside Compose")
    parser.add_argument("-s", dest="status", help="status file (JSON) to write")
    parser.add_argument("-m", dest="metrics", help="metrics file (Prometheus text format) to write")
    parser.add_argument("-l", dest="lock", help="lock of the deployment; while it is held nothing is done")
    parser.add_argument("-i", dest="images", type=json.loads, help="wa_images as JSON")
    parser.add_argument("-H", dest="host", default="unix:///var/run/docker.sock", help="address of the Docker Engine")
    return Job(parser.parse_args(arguments)).run()


class Job:
    """One run; `status` is the content of the status file."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.status: dict[str, t.Any] = {
            "version": 1,
            "project": options.project,
            "result": "running",
            "started": int(time.time()),
            "finished": None,
            "seconds": 0,
            "last_success": self._last_success(),
            "containers": 0,
            "skipped": 0,
            "failed": 0,
            "freed_bytes": 0,
            "failures": [],
            "warnings": [],
        }

    def run(self) -> int:
        """Cleans all containers. Returns the exit code."""
        try:
            with lock(self.options.project, whole_seconds("limit", LIMIT)):
                code = self._clean_all()
        except (WaError, OSError) as error:
            self._fail(str(error))
            code = 3
        result, finished = _RESULTS.get(code, "failed"), int(time.time())
        self.status.update(result=result, finished=finished, seconds=max(0, finished - self.status["started"]))
        if result == "ok":
            self.status["last_success"] = finished
        written = [self._write("metrics", self._metrics(), 0o644), self._write_status()]
        return code if all(written) else code or 3

    def _clean_all(self) -> int:
        if self._locked("nothing was cleaned"):
            return 4
        self._write_status()
        engine = Docker(
            {"docker_host": self.options.host, "docker_timeout": "60s", "client_images": self.options.images}
        )
        cleaner = Cleaner(engine, LIMIT)
        containers = engine.client_containers(self.options.project)
        for container in containers:
            if self._locked(f"stopped before {container.name}"):
                return 4
            self._clean(cleaner, container)
        if not containers:
            images = ", ".join(str(name) for name in (self.options.images or {}).values()) or "web, coreapp"
            self._fail(f"no client container found (images {images}): nothing was cleaned")
        return 1 if self.status["failed"] else 0

    def _clean(self, cleaner: Cleaner, container: Container) -> None:
        report = cleaner(container)
        if report["status"] == "failed":
            self._fail(f"{container.name}: {report['reason']}")
        elif report["status"] == "skipped":
            self.status["skipped"] += 1
            self._say(syslog.LOG_INFO, f"{container.name}: {report['reason']}")
        else:
            freed = report["freed_bytes"]
            self.status["containers"] += 1
            self.status["freed_bytes"] += max(0, freed)
            self._say(syslog.LOG_INFO, f"{container.name}: done in {report['seconds']} s, freed {freed} bytes")
            broken = [f"{container.name}: {one['message']}" for one in report["_violations"]]
            self.status["warnings"] += broken
            for text in broken or ([f"{container.name}: {report['_warning']}"] if report.get("_warning") else []):
                self._say(syslog.LOG_WARNING, text)

    def _locked(self, what: str) -> bool:
        """Returns whether the deployment's lock is held, and records it. One that cannot be read counts as held."""
        if not self.options.lock:
            return False
        try:
            held = bool(JournalFile(self.options.lock).why_blocked(time.time()))
        except WaError:
            held = True
        if held:
            text = f"the deployment's lock {self.options.lock} is held: {what}"
            self.status["warnings"].append(text)
            self._say(syslog.LOG_ERR, text)
        return held

    def _last_success(self) -> int:
        try:
            return int(json.loads(files.read_text(self.options.status))["last_success"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def _fail(self, text: str) -> None:
        self.status["failed"] += 1
        self.status["failures"].append(text)
        self._say(syslog.LOG_ERR, text)

    def _say(self, level: int, text: str) -> None:
        """Writes to syslog, and an error to standard error, which cron mails."""
        text = f"{self.options.project or '(no project)'}: {' '.join(text.split())}"
        syslog.openlog("wa-log-cleanup", syslog.LOG_PID, syslog.LOG_DAEMON)
        syslog.syslog(level, text)
        if level == syslog.LOG_ERR:
            sys.stderr.write(f"wa-log-cleanup: {text}\n")

    def _write_status(self) -> bool:
        return self._write("status", f"{json.dumps(self.status, indent=1)}\n", 0o640)

    def _write(self, kind: str, text: str, mode: int) -> bool:
        """Replaces a file of the job, if it is wanted. Returns whether that was possible."""
        path = getattr(self.options, kind)
        try:
            if path:
                os.makedirs(os.path.dirname(path), mode=mode | (mode & 0o444) >> 2, exist_ok=True)
                files.replace(path, text.encode(), mode)
        except OSError as error:
            self._say(syslog.LOG_ERR, f"{kind} file {path} cannot be written: {error.strerror}")
            return False
        return True

    def _metrics(self) -> str:
        label = f"{{project={json.dumps(self.options.project)}}}"
        return "".join(
            f"# HELP wa_log_cleanup_{name} {meaning}\n# TYPE wa_log_cleanup_{name} gauge\n"
            f"wa_log_cleanup_{name}{label} {self.status[key]}\n"
            for name, key, meaning in _METRICS
        )
