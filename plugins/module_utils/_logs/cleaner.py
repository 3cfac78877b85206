# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cleans the logs of many containers: the lock, and the cleanup in one container. The nightly job runs it without Ansible."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files, redact
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import parse_duration
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Container, Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.exec import Outcome, execute
from ansible_collections.waba.onprem.plugins.module_utils._logs import measurement as measuring
from ansible_collections.waba.onprem.plugins.module_utils._logs import retention as rules

LOCK_DIR = "/run"
_MEASURE_TIMEOUT = 60.0
_OUTPUT_LINES = 10
_OUTPUT_WIDTH = 500
_REASON_LINES = 5  # of a failure's reason
_REASON_WIDTH = 200
_SETTLE_CHECKS = 4  # checks, half a second apart, because a container that stops or restarts has transient states


@contextlib.contextmanager
def lock(project: str, wait: float) -> t.Iterator[None]:
    """Holds the lock of a project's log cleanup: the module and the nightly job never clean at once. Raises WaError, OSError."""
    path = f"{LOCK_DIR}/wa-log-cleanup-{project or '_'}.lock"  # a Compose project's name cannot begin with `_`
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with contextlib.suppress(PermissionError):
            os.fchmod(descriptor, 0o600)  # a user who can open the file could hold the lock
        if not files.acquire(descriptor, wait):
            raise WaError(
                f"log cleanup of project {project}",
                f"another one has held {path} for {wait:.0f} s",
                "one at a time",
                "Wait for it (fuser shows its process), or raise the timeout",
            )
        yield
    finally:
        os.close(descriptor)


class Cleaner:
    """Cleans or measures a container; thread-safe. `timeout` is the time of one cleanup, as text."""

    def __init__(self, docker: Docker, timeout: str, check: bool = False) -> None:
        self.docker, self.check, self.limit = docker, check, timeout
        self.timeout = parse_duration("timeout", timeout)

    def __call__(self, container: Container) -> dict[str, t.Any]:
        """Returns the container's part of the result; keys that begin with `_` are internal."""
        started = time.monotonic()
        report: dict[str, t.Any] = {
            "name": container.name,
            "id": container.id,
            "image": container.image,
            "role": "core",
            "status": "failed",
            "_violations": [],
        }
        record = None
        try:
            record = self.docker.inspect(container)
            if record and record["State"]["Status"] == "running":
                report["role"] = container.role
                self.clean(container, report)
            else:
                self.idle(report, record)
        except WaError as error:
            self.interrupted(container, report, record, str(error))
        report["seconds"] = round(time.monotonic() - started, 2)
        return report

    def idle(self, report: dict[str, t.Any], record: dict[str, t.Any] | None, when: str = "") -> None:
        """Reports a container in which commands cannot be executed."""
        state = record["State"]["Status"] if record else "gone"
        report["status"] = "skipped" if state in ("exited", "created", "dead", "removing", "gone") else "failed"
        report["reason"] = f"is {state}{when}"

    def interrupted(
        self, container: Container, report: dict[str, t.Any], record: dict[str, t.Any] | None, reason: str
    ) -> None:
        """Reports why a command did not complete: the container was removed, stopped or restarted, or the command failed."""
        report.update(status="failed", reason=reason)
        try:
            for _check in range(_SETTLE_CHECKS):
                now = self.docker.inspect(container)
                if now and record and now["State"].get("StartedAt") != record["State"].get("StartedAt"):
                    report.update(status="failed", reason="was restarted while it was cleaned")
                    return
                if now is None or now["State"]["Status"] != "running":
                    self.idle(report, now, " since the cleanup began")
                if now is None:
                    return
                time.sleep(0.5)
        except WaError:
            return  # the engine does not answer, as in `reason`

    def run(self, container: Container, script: str, arguments: t.Sequence[str], timeout: float) -> tuple[Outcome, str]:
        """Runs one of the scripts. Returns its result and the token that marks its lines."""
        token = "wa" + secrets.token_hex(12)
        argv = ["/bin/sh", "-c", script, "sh", token, "\n".join(rules.FOLDERS), *arguments]
        return execute(self.docker, container, argv, timeout=timeout), token

    def clean(self, container: Container, report: dict[str, t.Any]) -> None:
        """Measures, and unless in check mode cleans and measures again."""
        if self.check:
            self.figures(report, self.measure(container), None)
            report["status"] = "measured"
            return
        outcome, token = self.run(container, measuring.RUN_SCRIPT, rules.COMMAND, self.timeout)
        # A script may print anything: the values of variables that look like secrets, and what looks like one by its name.
        hidden = [
            value for key, value in (container.environment or {}).items() if redact.is_secret(key) or "KEY" in key
        ]
        lines = [line for line in redact.hide(outcome.stderr, hidden).splitlines() if line.strip()]
        report["output"] = [redact.mask(line)[:_OUTPUT_WIDTH] for line in lines[-_OUTPUT_LINES:]]
        late = f"took more than {self.limit} and " + ("cannot be ended" if outcome.rc is None else "was ended")
        try:
            before, report["rc"], after = measuring.parse_run(outcome.stdout, token)
        except WaError as error:
            raise WaError(container.name, f"the measuring {late}") if outcome.timed_out else error from None
        report.update(bytes_before=before.bytes, files_before=before.count)
        self.figures(report, before, after or self.measure(container))
        if outcome.timed_out:
            report["reason"] = f"the cleanup {late}"
        elif report["rc"] is None:
            raise WaError(container.name, f"the cleanup was cut short (exit code {outcome.rc})")
        elif report["rc"] > 125:
            ended = f"{rules.COMMAND[0]} cannot be run" if report["rc"] in (126, 127) else "the cleanup was killed"
            report["reason"] = f"{ended} (exit code {report['rc']}): {_last_lines(report['output'])}"
        elif report["rc"] and report["_violations"]:
            broken = "; ".join(one["message"] for one in report["_violations"])
            output = _last_lines(report["output"])
            report["reason"] = f"the cleanup failed (exit code {report['rc']}), {broken}: {output}"
        else:
            report["status"] = "cleaned"
            if report["rc"]:
                # The exit code of the vendor's script is not documented: the result is determined from the logs.
                report["_warning"] = (
                    f"the cleanup ended with exit code {report['rc']}, but all rotation rules hold: "
                    f"{_last_lines(report['output'])}"
                )

    def measure(self, container: Container) -> measuring.Measurement:
        """Measures only."""
        outcome, token = self.run(container, measuring.MEASURE_SCRIPT, [], _MEASURE_TIMEOUT)
        if outcome.timed_out:
            raise WaError(container.name, f"the measuring took more than {_MEASURE_TIMEOUT:.0f} s")
        return measuring.parse_measurement(outcome.stdout, token)

    def figures(
        self, report: dict[str, t.Any], before: measuring.Measurement, after: measuring.Measurement | None
    ) -> None:
        """Adds the measurements and their evaluation to the report."""
        report.update(bytes_before=before.bytes, files_before=before.count)
        if after is None:
            plan = rules.predict(report["role"], before)
            for key in ("rotate", "archive", "remove"):
                report[key] = [file.path for file in getattr(plan, key)]
            report.update(freed_bytes=plan.free_bytes, compress_bytes=plan.compress_bytes, _changed=plan.changed)
            report["_before"] = [
                _line(file) for file in {f.path: f for f in plan.rotate + plan.archive + plan.remove}.values()
            ]
            report["_after"] = [f"{path} compressed into the archive" for path in report["rotate"] + report["archive"]]
            return
        difference = rules.compare(before, after)
        report.update(bytes_after=after.bytes, files_after=after.count, freed_bytes=difference.freed_bytes)
        report["_changed"] = difference.changed
        report["_before"] = [_line(file) for file in difference.gone + [was for was, _now in difference.shrunk]]
        report["_after"] = [_line(file) for file in difference.came + [now for _was, now in difference.shrunk]]
        report["_violations"] = rules.violations(report["role"], before, after)


def _last_lines(output: t.Sequence[str]) -> str:
    return " | ".join(line[:_REASON_WIDTH] for line in output[-_REASON_LINES:]) or "it wrote nothing"


def _line(file: measuring.LogFile) -> str:
    return f"{file.path} {file.size} bytes"
