#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_remove
short_description: Remove files and empty folders, never the content of a folder
version_added: 0.1.0
description:
  - Removes files, and folders in which nothing is left. A folder that holds anything stays, whatever it is.
  - M(ansible.builtin.file) with O(ansible.builtin.file#module:state=absent) removes a folder with all that it holds, also where
    a file was expected.
options:
  files:
    description:
      - Files and links to remove.
      - An asterisk in the last part of a path stands for any text.
      - The module fails before it removes anything if one of them is a folder, or locked by a process.
    type: list
    elements: path
    default: []
  keep:
    description: Files that stay, though O(files) matches them.
    type: list
    elements: path
    default: []
  folders:
    description:
      - Folders to remove if nothing is left in them, after the files and in this order.
      - A link to a folder stays, and so does a mount point.
    type: list
    elements: path
    default: []
  leaving:
    description:
      - Paths, written as those in O(files), that earlier tasks of the same run remove.
      - In check mode a folder counts as if they had gone. Otherwise they have, and the option has no effect.
    type: list
    elements: path
    default: []
extends_documentation_fragment:
  - waba.onprem.attributes
author:
  - waba.onprem contributors (@waba)
"""

EXAMPLES = r"""
- name: Remove a Compose file, and its folder unless it holds more
  waba.onprem.wa_remove:
    files: [/opt/waba/support/compose.yml]
    folders: [/opt/waba/support]
"""

RETURN = r"""
actions:
  description: Actions that were made, or predicted in check mode.
  returned: always
  type: list
  elements: str
  sample: [remove /opt/waba/support/compose.yml, remove the folder /opt/waba/support]
kept:
  description: The folders that stay, each with the reason.
  returned: always
  type: dict
  sample: {/var/lib/waba: holds gc-sales.json}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._core import removal
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result


def main() -> None:
    paths = {"type": "list", "elements": "path", "default": []}
    module = AnsibleModule(
        argument_spec={"files": paths, "keep": paths, "folders": paths, "leaving": paths}, supports_check_mode=True
    )
    result = Result(module)
    result.values["kept"] = {}
    try:
        params = module.params
        leaving = params["leaving"] if module.check_mode else []
        found = removal.plan(params["files"], params["folders"], params["keep"], leaving)
        if not module.check_mode:
            removal.apply(found)
    except WaError as error:
        result.fail(error)
    for path in found.files:
        result.record_change(f"remove {path}")
    for path in found.folders:
        result.record_change(f"remove the folder {path}")
    result.values["kept"] = found.kept
    gone = [*found.files, *found.folders]
    if gone:
        result.diff({"present": gone}, {"present": []})
    result.exit()


if __name__ == "__main__":
    main()
