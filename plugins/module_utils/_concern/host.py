# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares a host with its requirements: packages, cron, folders, and the lock of an upgrade."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._client import files as client_files
from ansible_collections.waba.onprem.plugins.module_utils._concern import files as concern_files
from ansible_collections.waba.onprem.plugins.module_utils._concern.finding import Finding
from ansible_collections.waba.onprem.plugins.module_utils._core import distribution, files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile
from ansible_collections.waba.onprem.plugins.module_utils._docker import options as docker_options
from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store
from ansible_collections.waba.onprem.plugins.module_utils._host import requirements

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

SPEC: dict[str, dict[str, t.Any]] = {
    **docker_options.ARGUMENT_SPEC,
    "database_engine": {"type": "str", "choices": ["MYSQL", "PGSQL"]},
    "dumps": {"type": "bool", "default": False},  # whether the database is dumped from here
    "files": {"type": "list", "elements": "dict", "options": concern_files.SPEC, "default": []},
    # Of the deployment.
    "lock_file": {"type": "path"},
    "compose_file": {"type": "path"},
    "identity_file": {"type": "path"},
}


def observe(module: AnsibleModule, engine_error: str) -> Finding:
    """Returns how the host differs. `engine_error` is the reason why the Docker Engine does not answer, or empty."""
    params = module.params
    missing = requirements.missing(module)
    services, warnings = requirements.services(module)
    docker = engine_error or requirements.compose_problem(module)
    family = distribution.family()
    install, without_package = requirements.packages(missing, family, params["database_engine"])
    read: dict[str, t.Any] = {
        "docker": docker,
        "missing": dict(sorted(missing.items())),
        "install": install,
        "without_package": without_package,
        "services": services,
    }
    found = Finding(requirements=read, warnings=warnings, error=docker)
    found.changes += [f"{name} is missing: {reason}" for name, reason in read["missing"].items()]
    found.changes += [f"{name} {reason}" for name, reason in services.items()]
    try:
        if params["lock_file"]:
            found.lock = upgrade_journal.describe_lock(JournalFile(params["lock_file"]).load())
        found.changes += [found.lock["message"]] if found.lock.get("blocking") else []
        found.changes += compare_files(params)
    except WaError as error:  # the role reads the requirements all the same
        found.error = docker or str(error)
    except OSError as error:
        found.error = docker or str(WaError(error.filename or "host", error.strerror or str(error)))
    return found


def compare_files(params: t.Mapping[str, t.Any]) -> list[str]:
    """Returns how the folders differ. Raises WaError if a file or folder is not the collection's."""
    found = list[str]()
    for ours in filter(None, (params["compose_file"], params["identity_file"])):
        files.refuse_links_of_others(os.path.dirname(ours))
    if params["compose_file"]:
        client_files.refuse_unmanaged(params["compose_file"], Store(params["compose_file"]).read())
    for one in params["files"]:
        found += concern_files.differences(one)
    return found
