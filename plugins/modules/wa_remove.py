#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_remove
short_description: Remove files and stopped containers
description: [Internal to the roles and playbooks of the collection.]
options:
  files: {description: Files and links to remove., type: list, elements: path, default: []}
  containers:
    description: Names of stopped containers to remove. Their volumes stay.
    type: list
    elements: str
    default: []
extends_documentation_fragment: [waba.onprem.docker]
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_remove:
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._client import application
from ansible_collections.waba.onprem.plugins.module_utils._core import removal
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine
from ansible_collections.waba.onprem.plugins.module_utils._docker import options as docker_options


def main() -> None:
    paths = {"type": "list", "elements": "path", "default": []}
    names = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={**docker_options.ARGUMENT_SPEC, "files": paths, "containers": names}, supports_check_mode=True
    )
    with Result(module) as result:
        found, engine = removal.plan(module.params["files"], []), docker_engine.Docker(module.params)
        containers = [name for name in module.params["containers"] if engine.inspect_id(name)]
        if not module.check_mode:
            removal.apply(found)
            for name in containers:
                application.remove(engine, name)
        present = [*found.files, *containers]
        for one in present:
            result.record_change(f"remove {one}")
        if present:
            result.diff({"present": present}, {"present": []})


if __name__ == "__main__":
    main()
