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
    names each failure. A container that is stopped, or stops meanwhile, is only listed.
  - This module and the role's cron job take the same lock, one a project, and so never clean at the same time.
options:
  project:
    description:
      - The Compose project whose containers are meant; empty for the containers outside Compose.
      - When not given there must be one project on the host.
    type: str
  timeout:
    description:
      - Seconds, or text such as V(5m), that the cleanup of one container may take. Then it is ended inside the container,
        with all that it started.
      - As long, the module waits for another cleanup of the same project to end.
    type: str
    default: 1h
extends_documentation_fragment:
  - waba.onprem.docker
  - waba.onprem.attributes
notes:
  - Check mode runs nothing but the measuring and predicts the cleanup from Meta's rotation rules. The Webapp keeps the
    newest 30 archives of each log and rotates above 20 MB. The Coreapp keeps the newest 30 files of its archive folder,
    rotates above 15 MB, and its older log files go only by the cleanup. The Webapp uses logrotate, to which V(20M) means
    20 MiB, and so it does here; the Coreapp's 15 MB are read alike, since the larger reading raises no false alarm.
  - The measuring needs a POSIX shell and C(ls) of GNU or BusyBox in the image.
"""

EXAMPLES = r"""
- name: Clean the logs of the only client on the host
  waba.onprem.wa_log_cleanup:

- name: Clean one of several clients
  waba.onprem.wa_log_cleanup:
    project: wa-support
    timeout: 3h

- name: Tell what a cleanup would do
  waba.onprem.wa_log_cleanup:
    project: wa-support
  check_mode: true
"""

RETURN = r"""
containers:
  description:
    - What happened in each container. C(status) is V(cleaned), V(measured) (check mode), V(skipped) or V(failed), the last two for
      the C(reason). C(bytes_before) and C(bytes_after) are bytes on disk; C(freed_bytes) does not count what the client wrote meanwhile.
    - In check mode C(rotate), C(archive) and C(remove) are the files that would be rotated, archived and removed, C(freed_bytes) what the
      removal would free, and C(compress_bytes) what would be compressed.
  returned: always
  type: list
  elements: dict
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
      seconds: 2.4
      output: [cleanup done]
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
  description:
    - Rotation rules that do not hold after the run, so that a broken cleanup is seen. C(paths) are the first ten of C(count) files.
    - C(rule) is V(too_many), V(not_compressed), V(outside_archive), V(old_core_files), V(live_removed), V(live_too_large),
      V(unreadable) or V(no_folder).
  returned: always
  type: list
  elements: dict
  sample:
    - container: wa-support-waweb-1
      rule: too_many
      count: 12
      paths: [/var/log/whatsapp/web.log.42.gz]
      message: 12 archives are more than the 30 to keep
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

import contextlib
import typing as t
from concurrent.futures import ThreadPoolExecutor

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_size, whole_seconds
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC
from ansible_collections.waba.onprem.plugins.module_utils._logs.cleaner import Cleaner, lock

WORKERS = 16  # containers cleaned at the same time


def main() -> None:
    """Cleans the logs."""
    module = AnsibleModule(
        argument_spec={"project": {"type": "str"}, "timeout": {"type": "str", "default": "1h"}, **ARGUMENT_SPEC},
        supports_check_mode=True,
    )
    with Result(module) as result:
        run(module, result)


def run(module: AnsibleModule, result: Result) -> None:
    """Observes, cleans (not in check mode) and reports. Raises WaError for failures."""
    params = module.params
    wait = whole_seconds("timeout", params["timeout"])
    docker = Docker(params)
    containers = docker.client_containers(params["project"])
    if not containers:
        where = "on the host" if params["project"] is None else f"in project {params['project'] or '(none)'}"
        result.warn(f"no client container {where}: nothing to clean")
    cleaner = Cleaner(docker, params["timeout"], module.check_mode)
    with contextlib.ExitStack() as stack:
        if containers and not module.check_mode:
            try:
                stack.enter_context(lock(containers[0].project, wait))
            except OSError as error:
                result.warn(
                    f"{error.filename} cannot be locked ({error.strerror}): the cron job may clean at the same time"
                )
        with ThreadPoolExecutor(WORKERS) as pool:
            reports = list(pool.map(cleaner, containers))
    failures = report_all(module, result, reports)
    if failures:
        raise WaError("log cleanup", f"{len(failures)} failures: " + "; ".join(failures))


def report_all(module: AnsibleModule, result: Result, reports: list[dict[str, t.Any]]) -> list[str]:
    """Sets the result from the containers' reports. Returns the failures."""
    failures, skipped, violations, before, after = [], [], [], [], []
    for report in reports:
        name = report["name"]
        if report["status"] == "failed":
            failures.append(f"{name}: {report['reason']}")
        elif report["status"] == "skipped":
            skipped.append(f"{name}: {report['reason']}")
        if report.get("_warning"):
            result.warn(f"{name}: {report['_warning']}")
        for violation in report["_violations"]:
            violations.append(dict(violation, container=name))
            result.warn(f"{name}: {violation['message']}")
        before += [f"{name}: {line}" for line in report.get("_before", [])]
        after += [f"{name}: {line}" for line in report.get("_after", [])]
        if report.get("_changed"):
            words = "would free" if module.check_mode else "freed"
            result.record_change(f"{name}: cleanup {words} {format_size(report['freed_bytes'])}")
    shown = [{key: value for key, value in report.items() if not key.startswith("_")} for report in reports]
    result.values.update(containers=shown, failures=failures, skipped_containers=skipped, violations=violations)
    result.values["freed_bytes"] = sum(report.get("freed_bytes") or 0 for report in reports)
    result.diff("\n".join(before), "\n".join(after), "logs")
    return failures


if __name__ == "__main__":
    main()
