#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_client_files
short_description: Writes the files that a client is started from, and puts them back
version_added: 0.1.0
author: waba.onprem contributors (@waba)
description:
  - Writes a Compose file or an env file of a client in one step, and keeps what it held as C(FILE.previous) (mode 0600)
    until the client is proven healthy with the new content.
  - C(FILE.previous) is there as long as C(FILE) is not proven. A run that was ended in the middle leaves it to the next one.
  - The role P(waba.onprem.wa_client#role) uses it. M(waba.onprem.wa_db_env) keeps C(db.env) in the same way.
options:
  operation:
    description:
      - V(write) brings O(path) to O(content).
      - V(restore) puts back what O(files) held, of those that have a C(FILE.previous). It stays until it is removed.
      - V(settle) removes C(FILE.previous) of O(files), because the client is proven healthy with them. With O(hashes) it also
        records the containers that were created from them.
    type: str
    choices: [write, restore, settle]
    default: write
  path:
    description: The file to write. Its folder must exist.
    type: path
  content:
    description: What the file is to hold.
    type: str
  mode:
    description: The mode of O(path), as an octal number in quotes.
    type: str
    default: "0640"
  owner:
    description: The user who owns O(path), by name. Left as it is when not given.
    type: str
  keep:
    description: Whether containers run on what O(path) holds, so that it is kept before it changes. An earlier one stays.
    type: bool
    default: false
  files:
    description: All files that the client is started from.
    type: list
    elements: path
    default: []
  identity_file:
    description:
      - The record of which client is here, for O(hashes). If there is none, none is written.
      - For V(write) to be given where no container shows the client's version. If the record says that it has run, a Compose file with
        another version than that in O(path) is refused.
    type: path
  hashes:
    description: RV(waba.onprem.wa_info#module:containers[].hash) by service.
    type: dict
  version:
    description: The client's version, for the record.
    type: str
  definitions:
    description: The digest of the client's tables, RV(waba.onprem.wa_drift_info#module:database), for the record.
    type: str
extends_documentation_fragment:
  - waba.onprem.attributes
seealso:
  - module: waba.onprem.wa_db_env
"""

EXAMPLES = r"""
- name: Write the Compose file
  waba.onprem.wa_client_files:
    path: /opt/waba/support/compose.yml
    content: "{{ lookup('ansible.builtin.template', 'compose.yml.j2') }}"
    keep: true
    files: [/opt/waba/support/db.env, /opt/waba/support/compose.yml]

- name: Put back what served before
  waba.onprem.wa_client_files:
    operation: restore
    files: [/opt/waba/support/db.env, /opt/waba/support/compose.yml]
"""

RETURN = r"""
actions:
  description: Actions that were made, or predicted in check mode.
  returned: always
  type: list
  elements: str
  sample: ["wrote /opt/waba/support/compose.yml"]
kept:
  description: Whether this run has kept what the file held.
  returned: operation is write
  type: bool
  sample: true
unproven:
  description: Those of O(files) with which the client has not been proven healthy yet.
  returned: always
  type: list
  elements: str
  sample: [/opt/waba/support/compose.yml]
restored:
  description: The files that were put back, each with the names of the variables that differed (env files only).
  returned: operation is restore
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
    env_keys:
      description: Names of the variables.
      type: list
      elements: str
  sample:
    - path: /opt/waba/support/db.env
      env_keys: [WA_DB_PASSWORD]
"""

import contextlib
import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._client import files as client_files
from ansible_collections.waba.onprem.plugins.module_utils._client import inspection as client_inspection
from ansible_collections.waba.onprem.plugins.module_utils._concern import files as concern_files
from ansible_collections.waba.onprem.plugins.module_utils._core import files as core_files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
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
    path, given = module.params["identity_file"], module.params["hashes"]
    recorded = client_inspection.record(path) if given else {}
    if not recorded:
        return
    wanted = client_inspection.compared(recorded)
    if module.params["version"]:
        wanted[client_inspection.VERSION] = module.params["version"]
    found = client_inspection.next_record(recorded, wanted, given, module.params["definitions"] or "")
    if found != recorded:
        result.actions.append(f"recorded the containers and their version in {path}")
        if not module.check_mode:
            core_files.replace(path, client_inspection.record_text(found).encode(), 0o640)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "operation": {"type": "str", "choices": ["write", "restore", "settle"], "default": "write"},
            "path": {"type": "path"},
            "content": {"type": "str", "no_log": True},
            "mode": {"type": "str", "default": "0640"},
            "owner": {"type": "str"},
            "keep": {"type": "bool", "default": False},
            "files": {"type": "list", "elements": "path", "default": []},
            "identity_file": {"type": "path"},
            "hashes": {"type": "dict"},
            "version": {"type": "str"},
            "definitions": {"type": "str"},
        },
        required_if=[("operation", "write", ["path", "content"])],
        required_by={"hashes": ["identity_file"], "definitions": ["version"]},
        supports_check_mode=True,
    )
    os.umask(0o077)
    result = Result(module)
    content: str = module.params.pop("content") or ""
    # Hidden in logs and with -vvv; the role hides the diff if the content contains secrets.
    module.no_log_values.discard(content)
    try:
        if module.params["operation"] == "write":
            result.values.update(path=module.params["path"], kept=False)
            if client_inspection.record(module.params["identity_file"] or "").get(client_inspection.HASHES):
                client_files.refuse_other_version(Store(module.params["path"]), content)
            given = {name: module.params[name] for name in ("mode", "owner", "keep")}
            concern_files.write(result, module.params["path"], content, **given)
        else:
            {"restore": restore, "settle": settle}[module.params["operation"]](module, result)
        result.values["unproven"] = [path for path in module.params["files"] if os.path.lexists(Store(path).previous)]
    except WaError as error:
        result.fail(error)
    result.exit()


if __name__ == "__main__":
    main()
