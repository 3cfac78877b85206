# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cleans the logs of many containers: the lock, the cleanup in one container, the state between runs."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import secrets
import shlex
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.waba.onprem.plugins.module_utils._core import files, redact
from ansible_collections.waba.onprem.plugins.module_utils._core import files as core_files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import parse_duration, parse_size
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Container, Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.exec import Outcome, execute
from ansible_collections.waba.onprem.plugins.module_utils._logs import measurement as measuring
from ansible_collections.waba.onprem.plugins.module_utils._logs import proc_root
from ansible_collections.waba.onprem.plugins.module_utils._logs import retention as rules

if t.TYPE_CHECKING:
    from contextlib import ExitStack

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result

LOCK_DIR = "/run"
_MEASURE_TIMEOUT = 60.0
_OUTPUT_LINES = 10
_OUTPUT_WIDTH = 500
_REASON_LINES = 5  # of a failure's reason
_REASON_WIDTH = 200
_SETTLE_CHECKS = 4  # checks, half a second apart, because a container that stops or restarts has transient states


def project_of(containers: t.Iterable[Container]) -> str:
    """Returns the name in the lock and state files; a Compose project's name cannot begin with `_`."""
    return "+".join(sorted({container.project or "_" for container in containers}))


def lock(stack: ExitStack, containers: t.Sequence[Container], wait: float, result: Result) -> None:
    """Holds the lock of each project until the stack is closed; the cron job uses the same locks."""
    for project in sorted({container.project or "_" for container in containers}):
        path = f"{LOCK_DIR}/wa-log-cleanup-{project}.lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            result.warn(f"{path} cannot be locked ({error.strerror}): the cron job may clean at the same time")
            continue
        stack.callback(os.close, descriptor)
        with contextlib.suppress(PermissionError):
            os.fchmod(descriptor, 0o600)  # a user who can open the file could hold the lock
        if not files.acquire(descriptor, wait):
            raise WaError(
                f"log cleanup of project {project}",
                f"another one holds {path} for more than {wait:.0f} s",
                "one at a time",
                "Wait for it (fuser shows who it is), or raise timeout",
            )


class Cleaner:
    """Cleans or measures a container; thread-safe."""

    def __init__(self, docker: Docker, params: dict[str, t.Any], check: bool, remembered: dict[str, list[str]]) -> None:
        self.docker, self.params, self.check, self.remembered = docker, params, check, remembered
        self.timeout = parse_duration("timeout", params["timeout"])
        self.limits = rules.Limits(
            params["keep"],
            parse_size("web_max_size", params["web_max_size"]),
            parse_size("core_max_size", params["core_max_size"]),
        )
        self.log_max = parse_size("docker_log_max", params["docker_log_max"]) if params["docker_log_max"] else None

    def __call__(self, container: Container) -> dict[str, t.Any]:
        """Returns the container's part of the result; keys that begin with `_` are internal."""
        started = time.monotonic()
        report: dict[str, t.Any] = {
            "name": container.name,
            "id": container.id,
            "image": container.image,
            "role": "core",
            "status": "failed",
            "_container": container,
            "_violations": [],
            "_large": [],
            "_secrets": [],
        }
        record = None
        try:
            record = self.docker.inspect(container)
            if record and record["State"]["Status"] == "running":
                report["role"] = container.role if container.client else "core"
                report["_secrets"] = [
                    value
                    for key, value in (container.environment or {}).items()
                    if redact.is_secret(key)
                    or "KEY" in key  # also values that look like secrets: a script may print anything
                ]
                report["_docker_log"] = self.docker_log(record)
                self.clean(container, report, record["State"].get("Pid", 0))
            else:
                self.idle(report, record)
        except WaError as error:
            self.interrupted(container, report, record, str(error))
        report["seconds"] = round(time.monotonic() - started, 2)
        return report

    def idle(self, report: dict[str, t.Any], record: dict[str, t.Any] | None, when: str = "") -> None:
        """Reports a container in which commands cannot be executed."""
        state = record["State"]["Status"] if record else "gone"
        stopped = state in ("exited", "created", "dead", "removing")
        skipped = (stopped and self.params["ignore_stopped"]) or (record is None and not self.params["containers"])
        report["status"] = "skipped" if skipped else "failed"
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
        argv = ["/bin/sh", "-c", script, "sh", token, "\n".join(self.params["log_paths"]), *arguments]
        return execute(self.docker, container, argv, timeout=timeout), token

    def clean(self, container: Container, report: dict[str, t.Any], pid: int) -> None:
        """Measures, and unless in check mode cleans and measures again; `pid` is the container's main process."""
        if self.check:
            self.figures(report, self.measure(container, pid), None)
            report["status"] = "measured"
            return
        outcome, token = self.run(container, measuring.RUN_SCRIPT, shlex.split(self.params["command"]), self.timeout)
        # Masked also by names of variables, since not every secret is in the container's environment.
        lines = [redact.mask(line) for line in outcome.stderr.splitlines() if line.strip()]
        report["output"] = [line[:_OUTPUT_WIDTH] for line in lines[-_OUTPUT_LINES:]]
        late = f"took more than {self.params['timeout']} and " + (
            "cannot be ended" if outcome.rc is None else "was ended"
        )
        try:
            before, report["rc"], after = measuring.parse_run(outcome.stdout, token)
        except WaError as error:
            raise WaError(container.name, f"the measuring {late}") if outcome.timed_out else error from None
        report.update(bytes_before=before.bytes, files_before=before.count)
        self.figures(report, before, after or self.measure(container))
        command = self.params["command"]
        if outcome.timed_out:
            report["reason"] = f"the cleanup {late}"
        elif report["rc"] is None:
            raise WaError(container.name, f"the cleanup was cut short (exit code {outcome.rc})")
        elif report["rc"] > 125:
            ended = f"{command} cannot be run" if report["rc"] in (126, 127) else "the cleanup was killed"
            report["reason"] = f"{ended} (exit code {report['rc']}): {_last_lines(report['output'])}"
        elif report["rc"] and (report["_violations"] or before.files is None or (after and after.files is None)):
            broken = "; ".join(one["message"] for one in report["_violations"]) or "what it left cannot be measured"
            output = _last_lines(report["output"])
            report["reason"] = f"the cleanup failed (exit code {report['rc']}), {broken}: {output}"
        elif before.blind:
            report["reason"] = "nothing can be measured: the image has neither ls nor du"
        else:
            report["status"] = "cleaned"
            if report["rc"]:
                # The exit code of the vendor's script is not documented: the result is determined from the logs.
                report["_warning"] = (
                    f"the cleanup ended with exit code {report['rc']}, but all rotation rules hold: "
                    f"{_last_lines(report['output'])}"
                )

    def measure(self, container: Container, pid: int = 0) -> measuring.Measurement:
        """Measures only: from outside if possible, else with a process in the container."""
        if self.docker.local and pid:
            with contextlib.suppress(proc_root.NotHere):
                return proc_root.walk(pid, container.id, self.params["log_paths"])
        outcome, token = self.run(container, measuring.MEASURE_SCRIPT, [], _MEASURE_TIMEOUT)
        if outcome.timed_out:
            raise WaError(container.name, f"the measuring took more than {_MEASURE_TIMEOUT:.0f} s")
        return measuring.parse_measurement(outcome.stdout, token)

    def figures(
        self, report: dict[str, t.Any], before: measuring.Measurement, after: measuring.Measurement | None
    ) -> None:
        """Adds the measurements and their evaluation to the report."""
        last = after or before
        report.update(bytes_before=before.bytes, files_before=before.count, free_bytes=last.free_bytes)
        if after is None:
            plan = rules.predict(report["role"], before, self.limits)
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
        known = self.remembered.get(report["id"], [])
        report["_violations"] = rules.violations(report["role"], before, after, self.limits, known)
        report["_large"] = [file.path for file in rules.oversized(report["role"], after, self.limits)]

    def docker_log(self, record: dict[str, t.Any]) -> dict[str, t.Any] | None:
        """Returns the problem with Docker's log of a container; empty for none."""
        if self.log_max is None:
            return None
        config, path = record["HostConfig"]["LogConfig"], record.get("LogPath") or ""
        size = None
        if path and self.docker.local:
            files = [path, *glob.glob(glob.escape(path) + ".*")]
            try:
                size = sum(os.stat(file).st_blocks * 512 for file in files)
            except OSError:
                size = None  # not readable, or a path of another machine
        problem = rules.docker_log_problem(config["Type"], config.get("Config") or {}, size, self.log_max)
        return {"driver": config["Type"], "size": size, "problem": problem} if problem else None


def _last_lines(output: t.Sequence[str]) -> str:
    return " | ".join(line[:_REASON_WIDTH] for line in output[-_REASON_LINES:]) or "it wrote nothing"


def _line(file: measuring.LogFile) -> str:
    return f"{file.path} {file.size} bytes"


def remember(
    path: str,
    reports: t.Sequence[dict[str, t.Any]],
    remembered: t.Mapping[str, list[str]],
    module: AnsibleModule,
    result: Result,
) -> None:
    """Saves the live logs that are too large, for comparison in the next run.

    The `remembered` logs of a container that was not measured are kept, unless the container is gone.
    """
    large = {report["id"]: report["_large"] for report in reports}
    for key, paths in remembered.items():
        unmeasured = key in large and not any(report["id"] == key and "files_after" in report for report in reports)
        if unmeasured or (key not in large and module.params["containers"]):
            large[key] = paths
    large = {key: paths for key, paths in large.items() if paths}
    if not large and not os.path.exists(path):
        return
    try:
        os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)
        files.write_json(path, large)
    except OSError as error:
        result.warn(f"{path} cannot be written ({error.strerror}): a log that is never rotated stays unseen")


def recall(path: str) -> dict[str, list[str]]:
    """Returns the live logs that the last run left too large; none if the file cannot be read."""
    try:
        found = json.loads(core_files.read_text(path))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: [str(item) for item in paths] for key, paths in found.items() if isinstance(paths, list)}


def clean_all(
    docker: Docker,
    params: dict[str, t.Any],
    containers: t.Sequence[Container],
    check: bool,
    remembered: dict[str, list[str]],
) -> list[dict[str, t.Any]]:
    """Returns the reports of all containers in order; processes at most `workers` in parallel."""
    cleaner = Cleaner(docker, params, check, remembered)
    with ThreadPoolExecutor(max(1, min(params["workers"], len(containers)))) as pool:
        return list(pool.map(cleaner, containers))
