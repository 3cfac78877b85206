#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_remove
short_description: Remove files
description: [Internal to the roles and playbooks of the collection.]
options:
  files: {description: Files and links to remove., type: list, elements: path, default: []}
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_remove:
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._core import removal
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result


def main() -> None:
    paths = {"type": "list", "elements": "path", "default": []}
    module = AnsibleModule(argument_spec={"files": paths}, supports_check_mode=True)
    with Result(module) as result:
        found = removal.plan(module.params["files"], [])
        if not module.check_mode:
            removal.apply(found)
        for path in found.files:
            result.record_change(f"remove {path}")
        if found.files:
            result.diff({"present": found.files}, {"present": []})


if __name__ == "__main__":
    main()
