#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_log_cleanup
short_description: Clean the logs of all containers of a WhatsApp Business client, and prove it
version_added: 0.1.0
author: waba.onprem contributors (@waba)
description:
  - Runs the vendor's cleanup script in every Webapp, Coreapp and master container of a project, measures the logs before
    and after, and checks that the rotation rules hold afterwards.
  - Containers are found by their image when the module runs, so that a recreated container is never missed.
  - One container that fails, hangs or goes away does not keep the others from being cleaned; the task fails at the end and
    names each failure.
  - This module and the role's cron job take the same lock, one a project, and so never clean at the same time.
options:
  containers:
    description:
      - Names or ids of the containers to clean. One that does not exist is a failure.
      - When not given, the client containers of O(project).
    type: list
    elements: str
  project:
    description:
      - The Compose project whose containers are meant; empty for the containers outside Compose.
      - When not given there must be one project on the host.
    type: str
  images:
    description:
      - The image repositories of Webapp and Coreapp, without tag and digest. V(*) stands for any text.
      - One with a slash is compared whole, another one with the last component only, whatever the registry.
    type: dict
    suboptions:
      web:
        description: Repositories of the Webapp.
        type: list
        elements: str
        default: [web]
      coreapp:
        description: Repositories of the Coreapp and the master.
        type: list
        elements: str
        default: [coreapp]
  command:
    description: The cleanup to run in each container; split into words as a shell does, but run without one.
    type: str
    default: /opt/whatsapp/bin/cleanup.sh
  log_paths:
    description: The folders in the containers that hold logs. A folder named C(archive) in them holds the archives.
    type: list
    elements: str
    default: [/var/log/whatsapp, /usr/local/waent/logs]
  keep:
    description: How many archives the cleanup leaves; of each log name in a Webapp, of all in a Coreapp.
    type: int
    default: 30
  web_max_size:
    description: Size above which a Webapp's log is rotated, in bytes or as text such as V(20M).
    type: str
    default: 20M
  core_max_size:
    description: Size above which a Coreapp's log is rotated, in bytes or as text such as V(15M).
    type: str
    default: 15M
  timeout:
    description:
      - Seconds, or text such as V(5m), that the cleanup of one container may take. Then it is ended inside the container,
        with all that it started.
      - As long, the module waits for another cleanup of the same project to end.
    type: str
    default: 300s
  workers:
    description: How many containers are cleaned at the same time.
    type: int
    default: 4
  min_free:
    description: Bytes, or text such as V(5G), that must be free where the logs lie, after the cleanup.
    type: str
  min_free_action:
    description: Whether less than O(min_free) fails the task or is a warning. In check mode it is a warning.
    type: str
    choices: [fail, warn]
    default: fail
  ignore_stopped:
    description: Whether a container that is stopped, or stops meanwhile, is only listed. Otherwise it is a failure.
    type: bool
    default: true
  docker_log_max:
    description:
      - Reports containers whose own Docker log has no cap, or holds or may hold more than this; bytes or text such as
        V(400M).
    type: str
  state_file:
    description:
      - Remembers the live logs that a run left above their size, since only two runs running prove that nothing rotates
        them. It is written only when there are such logs.
      - By default C(/var/lib/waba/log-cleanup-live-<project>.json).
    type: path
extends_documentation_fragment:
  - waba.onprem.docker
  - waba.onprem.attributes
notes:
  - Check mode runs nothing but the measuring and predicts the cleanup from Meta's rotation rules. The Webapp keeps the
    newest 30 archives of each log and rotates above 20 MB. The Coreapp keeps the newest 30 files of its archive folder,
    rotates above 15 MB, and its older log files go only by the cleanup.
  - The measuring needs a POSIX shell and C(ls) in the image; with C(du) alone it knows only bytes.
"""

EXAMPLES = r"""
- name: Clean the logs of the only client on the host
  waba.onprem.wa_log_cleanup:

- name: Clean one of several clients and insist on room on the disk
  waba.onprem.wa_log_cleanup:
    project: wa-support
    min_free: 5G
    docker_log_max: 400M

- name: Tell what a cleanup would do
  waba.onprem.wa_log_cleanup:
    project: wa-support
  check_mode: true
"""

RETURN = r"""
containers:
  description: What happened in each container, by name.
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: Name., type: str}
    id: {description: Id., type: str}
    image: {description: The configured image., type: str}
    role: {description: V(web), V(core) or V(master)., type: str}
    status: {description: 'V(cleaned), V(measured) (check mode), V(skipped) or V(failed).', type: str}
    reason: {description: Why it was skipped or failed., type: str}
    rc: {description: Exit code of the cleanup., type: int}
    bytes_before: {description: Bytes on disk before., type: int}
    bytes_after: {description: Bytes on disk after., type: int}
    freed_bytes: {description: 'Bytes freed, not counting what the client wrote meanwhile. In check mode what the
      removal of archives would free.', type: int}
    files_before: {description: Number of files before., type: int}
    files_after: {description: Number of files after., type: int}
    free_bytes: {description: Free bytes where the logs lie., type: int}
    seconds: {description: Seconds that it took., type: float}
    output: {description: The last lines that the cleanup wrote., type: list, elements: str}
    rotate: {description: Live logs that would be rotated (check mode)., type: list, elements: str}
    archive: {description: Old Coreapp logs that would be archived (check mode)., type: list, elements: str}
    remove: {description: Files that would be removed (check mode)., type: list, elements: str}
    compress_bytes: {description: Bytes that would be compressed (check mode)., type: int}
failures:
  description: One text for each container that failed.
  returned: always
  type: list
  elements: str
skipped_containers:
  description: One text for each container that is stopped or went away.
  returned: always
  type: list
  elements: str
violations:
  description: Rotation rules that do not hold after the run, so that a broken cleanup is seen.
  returned: always
  type: list
  elements: dict
  contains:
    container: {description: Name of the container., type: str}
    rule: {description: 'V(too_many), V(not_compressed), V(outside_archive), V(old_core_files), V(live_too_large),
      V(unreadable) or V(no_folder).', type: str}
    count: {description: Number of files., type: int}
    paths: {description: The first ten of them., type: list, elements: str}
    message: {description: The violation in words., type: str}
docker_logs:
  description: Containers whose own Docker log may fill the disk.
  returned: when O(docker_log_max) is given
  type: list
  elements: dict
  contains:
    container: {description: Name of the container., type: str}
    driver: {description: Log driver., type: str}
    size: {description: Bytes that it holds., type: int}
    problem: {description: What is wrong., type: str}
freed_bytes:
  description: Bytes freed in all containers.
  returned: always
  type: int
actions:
  description: What was done, or in check mode would be, in words.
  returned: always
  type: list
  elements: str
"""

import fcntl
import glob
import json
import os
import secrets
import shlex
import tempfile
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils import _log_retention as rules
from ansible_collections.waba.onprem.plugins.module_utils._docker import ARGUMENT_SPEC, Container, Docker, matches
from ansible_collections.waba.onprem.plugins.module_utils._docker_exec import Outcome, execute
from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._result import Result
from ansible_collections.waba.onprem.plugins.module_utils._units import format_size, parse_duration, parse_size

LOCK_DIR = "/run"
STATE_DIR = "/var/lib/waba"
_MEASURE_TIMEOUT = 60.0
_OUTPUT_LINES = 10
_OUTPUT_WIDTH = 500


def select(docker: Docker, params: dict[str, t.Any], result: Result) -> tuple[list[Container], list[str]]:
    """The containers to clean, and the names given that do not exist."""
    patterns = [*params["images"]["web"], *params["images"]["coreapp"]]
    if not params["containers"]:
        found = docker.client_containers(params["project"], patterns)
        if not found:
            where = "on the host" if params["project"] is None else f"in project {params['project'] or '(none)'}"
            result.warn(f"no client container {where}: nothing to clean")
        return found, []
    found, lost = [], []
    for name in params["containers"]:
        container = docker.container(name)
        if container is None:
            lost.append(name)
        elif all(other.id != container.id for other in found):
            found.append(container)
    return found, lost


def project_of(containers: t.Iterable[Container]) -> str:
    """The name that the lock and the state file bear; `_` cannot begin a Compose project's name."""
    return "+".join(sorted({container.project or "_" for container in containers}))


def lock(stack: ExitStack, containers: t.Sequence[Container], wait: float, result: Result) -> None:
    """Hold the lock of each project until the stack is closed; the cron job holds the same ones."""
    for project in sorted({container.project or "_" for container in containers}):
        path = f"{LOCK_DIR}/wa-log-cleanup-{project}.lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                result.warn(f"{path} cannot be locked ({error.strerror}): the cron job may clean at the same time")
                continue
        stack.callback(os.close, descriptor)
        until = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise WaError(
                        f"log cleanup of project {project}",
                        f"another one holds {path} for more than {wait:.0f} s",
                        "one at a time",
                        "Wait for it (fuser shows who it is), or raise timeout",
                    ) from None
                time.sleep(0.2)


class Cleaner:
    """Cleans or measures one container at a time; each thread has one of its own."""

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
        """The container's part of the result; keys that begin with `_` are for this module only."""
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
        }
        record = None
        try:
            record = self.docker.inspect(container)
            if record and record["State"]["Status"] == "running":
                report["role"] = self.role(container)
                report["_docker_log"] = self.docker_log(record)
                self.clean(container, report)
            else:
                self.idle(report, record)
        except WaError as error:
            self.interrupted(container, report, record, str(error))
        report["seconds"] = round(time.monotonic() - started, 2)
        return report

    def role(self, container: Container) -> str:
        """`web`, `core` or `master` of an inspected container."""
        if matches(container.image, self.params["images"]["web"]):
            return "web"
        return container.role if container.role != "web" else "core"

    def idle(self, report: dict[str, t.Any], record: dict[str, t.Any] | None, when: str = "") -> None:
        """Judge a container in which nothing can be run."""
        state = record["State"]["Status"] if record else "gone"
        stopped = state in ("exited", "created", "dead", "removing")
        skipped = (stopped and self.params["ignore_stopped"]) or (record is None and not self.params["containers"])
        report["status"] = "skipped" if skipped else "failed"
        report["reason"] = f"is {state}{when}"

    def interrupted(
        self, container: Container, report: dict[str, t.Any], record: dict[str, t.Any] | None, reason: str
    ) -> None:
        """Find out why a command did not run to its end: the container went, stopped, was restarted, or itself."""
        report.update(status="failed", reason=reason)
        try:
            now = self.docker.inspect(container)
        except WaError:
            return  # the engine itself is away, as `reason` says
        if now is None or now["State"]["Status"] != "running":
            self.idle(report, now, " since the cleanup began")
        elif record and now["State"]["StartedAt"] != record["State"]["StartedAt"]:
            report["reason"] = "was restarted while it was cleaned"

    def run(self, container: Container, script: str, arguments: t.Sequence[str], timeout: float) -> tuple[Outcome, str]:
        """Run one of the rules' scripts; also returns the token that marks its lines."""
        token = "wa" + secrets.token_hex(12)
        argv = ["/bin/sh", "-c", script, "sh", token, "\n".join(self.params["log_paths"]), *arguments]
        return execute(self.docker, container, argv, timeout=timeout), token

    def clean(self, container: Container, report: dict[str, t.Any]) -> None:
        """Measure, and unless in check mode clean and measure again."""
        if self.check:
            outcome, token = self.run(container, rules.MEASURE_SCRIPT, [], _MEASURE_TIMEOUT)
            before = rules.parse_measurement(outcome.stdout, token)
            self.figures(report, before, None)
            report["status"] = "measured"
            return
        outcome, token = self.run(container, rules.RUN_SCRIPT, shlex.split(self.params["command"]), self.timeout)
        report["output"] = [line[:_OUTPUT_WIDTH] for line in outcome.stderr.splitlines()[-_OUTPUT_LINES:]]
        before, report["rc"], after = rules.parse_run(outcome.stdout, token)
        if outcome.timed_out:
            state = "and was ended" if outcome.rc is not None else "and cannot be ended"
            report["reason"] = f"the cleanup took more than {self.params['timeout']} {state}"
        if after is None:
            again, token = self.run(container, rules.MEASURE_SCRIPT, [], _MEASURE_TIMEOUT)
            after = rules.parse_measurement(again.stdout, token)
        self.figures(report, before, after)
        if report["rc"] == 0 and not after.blind:
            report["status"] = "cleaned"
        elif report["rc"] in (126, 127):
            report["reason"] = f"{self.params['command']} cannot be run (exit code {report['rc']})"
        elif report["rc"]:
            report["reason"] = f"the cleanup failed with exit code {report['rc']}"
        elif report["rc"] is None and not outcome.timed_out:
            raise WaError(container.name, f"the cleanup was cut short (exit code {outcome.rc})")
        if after.blind:
            report["reason"] = "nothing can be measured: the image has neither ls nor du"

    def figures(self, report: dict[str, t.Any], before: rules.Measurement, after: rules.Measurement | None) -> None:
        """Put the measurements into the report, with what the rules say of them."""
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
            report["_after"] = [f"{path} rotated" for path in report["rotate"]]
            return
        difference = rules.compare(before, after)
        report.update(bytes_after=after.bytes, files_after=after.count, freed_bytes=difference.freed_bytes)
        report["_changed"] = difference.changed
        report["_before"] = [_line(file) for file in difference.gone + [was for was, _now in difference.shrunk]]
        report["_after"] = [_line(file) for file in difference.came + [now for _was, now in difference.shrunk]]
        known = self.remembered.get(report["id"], [])
        report["_violations"] = rules.violations(report["role"], after, self.limits, known)
        report["_large"] = [file.path for file in rules.oversized(report["role"], after, self.limits)]

    def docker_log(self, record: dict[str, t.Any]) -> dict[str, t.Any] | None:
        """What is wrong with Docker's own log of a container, if anything."""
        if self.log_max is None:
            return None
        config, path = record["HostConfig"]["LogConfig"], record.get("LogPath") or ""
        size = None
        if path and self.docker.host.startswith("unix://"):
            files = [path, *glob.glob(glob.escape(path) + ".*")]
            try:
                size = sum(os.stat(file).st_blocks * 512 for file in files)
            except OSError:
                size = None  # not ours to read, or another machine's path
        problem = rules.docker_log_problem(config["Type"], config.get("Config") or {}, size, self.log_max)
        return {"driver": config["Type"], "size": size, "problem": problem} if problem else None


def _line(file: rules.LogFile) -> str:
    return f"{file.path} {file.size} bytes"


def remember(path: str, reports: t.Sequence[dict[str, t.Any]], module: AnsibleModule, result: Result) -> None:
    """Write down the live logs that are too large now, for the next run to compare with."""
    large = {report["id"]: report["_large"] for report in reports if report["_large"]}
    if not large and not os.path.exists(path):
        return
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=module.tmpdir)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(large, file)
    except OSError as error:
        result.warn(f"{path} cannot be written ({error.strerror}): a log that is never rotated stays unseen")
        return
    module.atomic_move(temporary, path)


def recall(path: str) -> dict[str, list[str]]:
    """The live logs that the last run left too large; one that cannot be read knows none."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def report_all(module: AnsibleModule, result: Result, reports: list[dict[str, t.Any]], missing: list[str]) -> list[str]:
    """Fill the result from the containers' reports and return the failures."""
    failures = [f"{name}: does not exist" for name in missing]
    skipped, violations, docker_logs, before, after = [], [], [], [], []
    for report in reports:
        name = report["name"]
        if report["status"] == "failed":
            failures.append(f"{name}: {report['reason']}")
        elif report["status"] == "skipped":
            skipped.append(f"{name}: {report['reason']}")
        for violation in report["_violations"]:
            violations.append(dict(violation, container=name))
            result.warn(f"{name}: {violation['message']}: the cleanup does not do its work")
        if report.get("_docker_log"):
            docker_logs.append(dict(report["_docker_log"], container=name))
            result.warn(f"{name}: its Docker log {report['_docker_log']['problem']}")
        before += [f"{name}: {line}" for line in report.get("_before", [])]
        after += [f"{name}: {line}" for line in report.get("_after", [])]
        if report.get("_changed"):
            words = "would free" if module.check_mode else "freed"
            result.did(f"{name}: cleanup {words} {format_size(report['freed_bytes'])}")
    shown = [{key: value for key, value in report.items() if not key.startswith("_")} for report in reports]
    result.values.update(containers=shown, failures=failures, skipped_containers=skipped, violations=violations)
    result.values["freed_bytes"] = sum(report.get("freed_bytes") or 0 for report in reports)
    if module.params["docker_log_max"]:
        result.values["docker_logs"] = docker_logs
    result.diff("\n".join(before), "\n".join(after), "logs")
    return failures


def short_of_room(reports: list[dict[str, t.Any]], wanted: int) -> str:
    """The containers where less than `wanted` bytes are free, in words."""
    short = [report for report in reports if report.get("free_bytes") is not None and report["free_bytes"] < wanted]
    return ", ".join(f"{report['name']} has {format_size(report['free_bytes'])}" for report in short)


def main() -> None:
    """Clean the logs."""
    module = AnsibleModule(
        argument_spec={
            "containers": {"type": "list", "elements": "str"},
            "project": {"type": "str"},
            "images": {
                "type": "dict",
                "apply_defaults": True,
                "options": {
                    "web": {"type": "list", "elements": "str", "default": ["web"]},
                    "coreapp": {"type": "list", "elements": "str", "default": ["coreapp"]},
                },
            },
            "command": {"type": "str", "default": "/opt/whatsapp/bin/cleanup.sh"},
            "log_paths": {
                "type": "list",
                "elements": "str",
                "default": ["/var/log/whatsapp", "/usr/local/waent/logs"],
            },
            "keep": {"type": "int", "default": 30},
            "web_max_size": {"type": "str", "default": "20M"},
            "core_max_size": {"type": "str", "default": "15M"},
            "timeout": {"type": "str", "default": "300s"},
            "workers": {"type": "int", "default": 4},
            "min_free": {"type": "str"},
            "min_free_action": {"type": "str", "choices": ["fail", "warn"], "default": "fail"},
            "ignore_stopped": {"type": "bool", "default": True},
            "docker_log_max": {"type": "str"},
            "state_file": {"type": "path"},
            **ARGUMENT_SPEC,
        },
        supports_check_mode=True,
    )
    result = Result(module)
    try:
        run(module, result)
    except WaError as error:
        result.fail(error)
    result.exit()


def check_options(params: dict[str, t.Any]) -> None:
    """Refuse what no run could make sense of, before anything is touched."""
    if params["workers"] < 1 or params["keep"] < 0:
        raise WaError("options workers and keep", f"{params['workers']} and {params['keep']}", "at least 1 and 0")
    for path in params["log_paths"]:
        if not path.startswith("/") or "\n" in path:
            raise WaError("option log_paths", f"{path!r}", "absolute paths in the containers")
    if not params["log_paths"]:
        raise WaError("option log_paths", "empty", "the folders that hold the logs")
    try:
        words = shlex.split(params["command"])
    except ValueError as error:
        raise WaError("option command", f"{params['command']!r}: {error}", "a command line") from None
    if not words:
        raise WaError("option command", "empty", "the cleanup to run")


def run(module: AnsibleModule, result: Result) -> None:
    """Observe, clean (not in check mode) and report; raises WaError for what failed."""
    params = module.params
    check_options(params)
    min_free = parse_size("min_free", params["min_free"]) if params["min_free"] else 0
    docker = Docker(params)
    containers, missing = select(docker, params, result)
    state_file = params["state_file"] or f"{STATE_DIR}/log-cleanup-live-{project_of(containers)}.json"
    with ExitStack() as stack:
        if not module.check_mode:
            lock(stack, containers, parse_duration("timeout", params["timeout"]), result)
        remembered = recall(state_file)
        reports = _all(docker, params, containers, module.check_mode, remembered)
        if not module.check_mode:
            remember(state_file, reports, module, result)
    failures = report_all(module, result, reports, missing)
    short = short_of_room(reports, min_free)
    if short and (params["min_free_action"] == "warn" or module.check_mode):
        result.warn(f"less than {params['min_free']} free after the cleanup: {short}")
    elif short:
        failures.append(f"less than {params['min_free']} free after the cleanup: {short}")
    if failures:
        raise WaError("log cleanup", f"{len(failures)} failures: " + "; ".join(failures))


def _all(
    docker: Docker,
    params: dict[str, t.Any],
    containers: t.Sequence[Container],
    check: bool,
    remembered: dict[str, list[str]],
) -> list[dict[str, t.Any]]:
    """The reports of all containers, in their order; at most `workers` at a time, each over its own connection."""
    workers = min(params["workers"], len(containers))
    if workers <= 1:
        cleaner = Cleaner(docker, params, check, remembered)
        return [cleaner(container) for container in containers]
    cleaners = [Cleaner(docker.sibling(), params, check, remembered) for _worker in range(workers)]
    with ThreadPoolExecutor(workers) as pool:

        def clean(container: Container) -> dict[str, t.Any]:
            cleaner = cleaners.pop()  # there are as many as threads
            try:
                return cleaner(container)
            finally:
                cleaners.append(cleaner)

        return list(pool.map(clean, containers))


if __name__ == "__main__":
    main()
