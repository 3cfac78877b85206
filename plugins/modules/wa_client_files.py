#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_client_files
short_description: Puts the files that a client is started from back, or marks them as proven
description: [Internal to the roles and playbooks of the collection.]
options:
  operation:
    description: V(restore) puts earlier contents back; V(settle) removes them; V(revert) does both.
    type: str
    choices: [restore, settle, revert]
    required: true
  files: {description: All files that the client is started from., type: list, elements: path, default: []}
  staged: {description: 'Other files, which V(settle) removes.', type: list, elements: path, default: []}
  containers:
    description: Names of ended containers, which V(settle) removes. Their volumes stay.
    type: list
    elements: str
    default: []
  identity_file: {description: 'The record of which client is here, for O(hashes) and O(version).', type: path}
  hashes: {description: 'C(hash) of RV(waba.onprem.wa_info#module:containers) by service.', type: dict}
  version: {description: "The client's version, for the record.", type: str}
  definitions: {description: "The digest of the client's tables, for the record.", type: str}
extends_documentation_fragment: [waba.onprem.docker]
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_client_files:
"""

import contextlib
import os
from dataclasses import replace

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._client import application
from ansible_collections.waba.onprem.plugins.module_utils._client import files as client_files
from ansible_collections.waba.onprem.plugins.module_utils._client import inspection as client_inspection
from ansible_collections.waba.onprem.plugins.module_utils._compose import definitions
from ansible_collections.waba.onprem.plugins.module_utils._core import files as core_files
from ansible_collections.waba.onprem.plugins.module_utils._core import removal
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine
from ansible_collections.waba.onprem.plugins.module_utils._docker import options as docker_options
from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store


def restore(module: AnsibleModule, result: Result) -> None:
    """Restores the previous contents of the files."""
    stores = [Store(path) for path in module.params["files"]]
    result.values["restored"] = []
    with contextlib.ExitStack() as stack:
        if not module.check_mode:
            for store in stores:  # all runs lock them in this order
                stack.enter_context(store.lock(client_files.LOCK_TIMEOUT))
            result.values["restored"] = client_files.restore(stores)
    for one in result.values["restored"]:
        result.record_change(f"put back {one['path']}")


def settle(module: AnsibleModule, result: Result) -> None:
    """Removes the previous contents."""
    for store in map(Store, module.params["files"]):
        if os.path.lexists(store.previous):
            result.actions.append(f"removed {store.previous}")
            if not module.check_mode:
                with store.lock(client_files.LOCK_TIMEOUT):
                    store.drop()
    remove(module, result)
    path, given = module.params["identity_file"], module.params["hashes"] or {}
    recorded = client_inspection.record(path) if path else {}
    if not recorded:
        return
    wanted = client_inspection.compared(recorded)
    if module.params["version"]:
        wanted[client_inspection.VERSION] = module.params["version"]
    before = definitions.recorded(recorded)
    # Of another container than recorded only its hash is known: the next run that compares it records the rest.
    known = {name: one for name, one in before.services.items() if one.get("hash") == given.get(name)}
    services = {name: known.get(name, {"hash": one}) for name, one in given.items()}
    project = replace(before, services=services).text()
    found = client_inspection.next_record(recorded, wanted, project, module.params["definitions"] or "")
    if found != recorded:
        result.actions.append(f"recorded the containers and their version in {path}")
        if not module.check_mode:
            core_files.replace(path, client_inspection.record_text(found).encode(), 0o640)


def remove(module: AnsibleModule, result: Result) -> None:
    """Removes the staged files, and the containers that have ended. Raises WaError for one that runs."""
    engine = docker_engine.Docker(module.params)
    staged = removal.plan(module.params["staged"], [])
    containers = [name for name in module.params["containers"] if engine.inspect_id(name)]
    if not module.check_mode:
        removal.apply(staged)
        for name in containers:
            application.remove(engine, name)
    for one in [*staged.files, *containers]:
        result.record_change(f"remove {one}")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **docker_options.ARGUMENT_SPEC,
            "operation": {"type": "str", "choices": ["restore", "settle", "revert"], "required": True},
            "files": {"type": "list", "elements": "path", "default": []},
            "staged": {"type": "list", "elements": "path", "default": []},
            "containers": {"type": "list", "elements": "str", "default": []},
            "identity_file": {"type": "path"},
            "hashes": {"type": "dict"},
            "version": {"type": "str"},
            "definitions": {"type": "str"},
        },
        required_by={"hashes": ["identity_file"], "definitions": ["version"]},
        supports_check_mode=True,
    )
    os.umask(0o077)
    with Result(module) as result:
        if module.params["operation"] != "settle":
            restore(module, result)
        if module.params["operation"] != "restore":
            settle(module, result)


if __name__ == "__main__":
    main()
