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
  - A cleanup that ends with an exit code from 1 to 125 is a warning where all rotation rules hold afterwards, since what it
    returns is not documented. A failure shows its last lines.
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
  command:
    description: The cleanup to run in each container; split into words as a shell does, but run without one.
    type: str
    default: /opt/whatsapp/bin/cleanup.sh
  log_paths:
    description: The folders in the containers that hold logs. A folder named C(archive) in them holds the archives.
    type: list
    elements: str
    default: [/var/log/whatsapp, /usr/local/waent/logs, /var/log/lighttpd]
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
    description:
      - Bytes, or text such as V(5G), that must be free where the logs lie, after the cleanup.
      - A container whose image has no C(df) is named in a warning.
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
    rotates above 15 MB, and its older log files go only by the cleanup. The Webapp uses logrotate, to which V(20M) means
    20 MiB, and so it does here; the Coreapp's 15 MB are read alike, since the larger reading raises no false alarm.
  - The measuring needs a POSIX shell and C(ls) in the image; with C(du) alone it knows only bytes.
  - Check mode needs nothing in the container, and starts no process in it, where it runs as root on the engine's own
    machine and the logs lie on no share. It then reads them through C(/proc).
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
    role: {description: 'V(web), V(core) or V(master).', type: str}
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
  sample:
    - name: wa-support-wacore-1
      id: 4f6c2a9d01be
      image: registry.example.com/whatsapp/coreapp:v2.53.4
      role: core
      status: cleaned
      reason: ""
      rc: 0
      bytes_before: 209715200
      bytes_after: 20971520
      freed_bytes: 188743680
      files_before: 71
      files_after: 33
      free_bytes: 42949672960
      seconds: 2.4
      output: [cleanup done]
      rotate: [/var/log/whatsapp/wacore.log]
      archive: [/usr/local/waent/logs/wacore.log.1]
      remove: [/usr/local/waent/logs/archive/wacore.log.31.gz]
      compress_bytes: 15728640
failures:
  description: One text for each container that failed.
  returned: always
  type: list
  elements: str
  sample: ["wa-support-wacore-1: the cleanup failed (exit code 2)"]
skipped_containers:
  description: One text for each container that is stopped or went away.
  returned: always
  type: list
  elements: str
  sample: ["wa-support-wacore-2: is exited"]
violations:
  description: Rotation rules that do not hold after the run, so that a broken cleanup is seen.
  returned: always
  type: list
  elements: dict
  contains:
    container: {description: Name of the container., type: str}
    rule: {description: 'V(too_many), V(not_compressed), V(outside_archive), V(old_core_files),
      V(live_removed), V(live_too_large), V(unreadable) or V(no_folder).', type: str}
    count: {description: Number of files., type: int}
    paths: {description: The first ten of them., type: list, elements: str}
    message: {description: A message about the violation., type: str}
  sample:
    - container: wa-support-waweb-1
      rule: too_many
      count: 12
      paths: [/var/log/whatsapp/web.log.42.gz]
      message: 12 archives are more than the 30 to keep
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
  sample:
    - container: wa-support-waweb-1
      driver: json-file
      size: 5368709120
      problem: has no size limit and holds 5.0 GiB
freed_bytes:
  description: Bytes freed in all containers.
  returned: always
  type: int
  sample: 188743680
actions:
  description: Actions that were made, or predicted in check mode.
  returned: always
  type: list
  elements: str
  sample: ["wa-support-wacore-1: cleanup freed 180.0 MiB"]
"""

import shlex
import typing as t
from contextlib import ExitStack

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._core.units import (
    format_size,
    parse_duration,
    parse_size,
    whole_seconds,
)
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Container, Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC
from ansible_collections.waba.onprem.plugins.module_utils._logs.cleaner import (
    clean_all,
    lock,
    project_of,
    recall,
    remember,
)

STATE_DIR = "/var/lib/waba"


def select(docker: Docker, params: dict[str, t.Any], result: Result) -> tuple[list[Container], list[str]]:
    """Returns the containers to clean, and the given names that do not exist."""
    if not params["containers"]:
        found = docker.client_containers(params["project"])
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


def report_all(module: AnsibleModule, result: Result, reports: list[dict[str, t.Any]], missing: list[str]) -> list[str]:
    """Sets the result from the containers' reports. Returns the failures."""
    failures = [f"{name}: does not exist" for name in missing]
    skipped, violations, docker_logs, before, after = [], [], [], [], []
    for report in reports:
        name = report["name"]
        result.redact.add(report["_secrets"])
        if report["status"] == "failed":
            failures.append(f"{name}: {report['reason']}")
        elif report["status"] == "skipped":
            skipped.append(f"{name}: {report['reason']}")
        if report.get("_warning"):
            result.warn(f"{name}: {report['_warning']}")
        for violation in report["_violations"]:
            violations.append(dict(violation, container=name))
            result.warn(f"{name}: {violation['message']}")
        if report.get("_docker_log"):
            docker_logs.append(dict(report["_docker_log"], container=name))
            result.warn(f"{name}: its Docker log {report['_docker_log']['problem']}")
        before += [f"{name}: {line}" for line in report.get("_before", [])]
        after += [f"{name}: {line}" for line in report.get("_after", [])]
        if report.get("_changed"):
            words = "would free" if module.check_mode else "freed"
            result.record_change(f"{name}: cleanup {words} {format_size(report['freed_bytes'])}")
    shown = [{key: value for key, value in report.items() if not key.startswith("_")} for report in reports]
    result.values.update(containers=shown, failures=failures, skipped_containers=skipped, violations=violations)
    result.values["freed_bytes"] = sum(report.get("freed_bytes") or 0 for report in reports)
    if module.params["docker_log_max"]:
        result.values["docker_logs"] = docker_logs
    result.diff("\n".join(before), "\n".join(after), "logs")
    return failures


def low_on_space(reports: list[dict[str, t.Any]], wanted: int) -> str:
    """Returns a text for each container with less than `wanted` bytes free."""
    short = [report for report in reports if report.get("free_bytes") is not None and report["free_bytes"] < wanted]
    return ", ".join(f"{report['name']} has {format_size(report['free_bytes'])}" for report in short)


def main() -> None:
    """Cleans the logs."""
    module = AnsibleModule(
        argument_spec={
            "containers": {"type": "list", "elements": "str"},
            "project": {"type": "str"},
            "command": {"type": "str", "default": "/opt/whatsapp/bin/cleanup.sh"},
            "log_paths": {
                "type": "list",
                "elements": "str",
                "default": ["/var/log/whatsapp", "/usr/local/waent/logs", "/var/log/lighttpd"],
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
    """Raises WaError for invalid options, before any change."""
    if params["workers"] < 1 or params["keep"] < 0:
        raise WaError("options workers and keep", f"{params['workers']} and {params['keep']}", "at least 1 and 0")
    whole_seconds("timeout", params["timeout"])
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
    """Observes, cleans (not in check mode) and reports. Raises WaError for failures."""
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
        reports = clean_all(docker, params, containers, module.check_mode, remembered)
        if not module.check_mode:
            remember(state_file, reports, remembered, module, result)
    failures = report_all(module, result, reports, missing)
    short = low_on_space(reports, min_free)
    unknown = [report["name"] for report in reports if report.get("free_bytes", 0) is None]
    if min_free and unknown:
        result.warn(f"it is unknown whether {params['min_free']} are free, because df is missing: {', '.join(unknown)}")
    if short and (params["min_free_action"] == "warn" or module.check_mode):
        result.warn(f"less than {params['min_free']} free after the cleanup: {short}")
    elif short:
        failures.append(f"less than {params['min_free']} free after the cleanup: {short}")
    if failures:
        raise WaError("log cleanup", f"{len(failures)} failures: " + "; ".join(failures))


if __name__ == "__main__":
    main()
