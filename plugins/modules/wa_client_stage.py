#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_client_stage
short_description: Writes the Compose file of the next version, after Compose has read it
version_added: 0.1.0
description:
  - Writes a Compose file next to the one in force, unless C(docker compose up) with it must not be called, see
    RV(waba.onprem.wa_project_info#module:refusals). Then it fails with all reasons, and writes nothing.
  - The role P(waba.onprem.wa_client#role) uses it.
author:
  - waba.onprem contributors (@waba)
options:
  path:
    description: The file to write. Its folder must exist. Its mode is 0640.
    type: path
    required: true
  text:
    description: What the file is to hold, O(content) as it is written for people. It is hidden in logs.
    type: str
    required: true
  owner:
    description: The user who owns O(path), by name. Left as it is when not given.
    type: str
extends_documentation_fragment:
  - waba.onprem.attributes
  - waba.onprem.docker
  - waba.onprem.project
seealso:
  - module: waba.onprem.wa_project_info
"""

EXAMPLES = r"""
- name: Write the Compose file of the next version
  waba.onprem.wa_client_stage:
    path: /opt/waba/support/compose-2.53.4.yml
    text: "{{ lookup('waba.onprem.desired', 'client').files[0].content }}"
    content: "{{ lookup('waba.onprem.desired', 'client').document | to_json }}"
    project: wa-support
    project_dir: /opt/waba/support
"""

RETURN = r"""
actions:
  description: Actions that were made, or predicted in check mode.
  returned: always
  type: list
  elements: str
  sample: ["wrote /opt/waba/support/compose-2.53.4.yml"]
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._client import prediction
from ansible_collections.waba.onprem.plugins.module_utils._compose import plan as compose_plan
from ansible_collections.waba.onprem.plugins.module_utils._compose import project as compose_project
from ansible_collections.waba.onprem.plugins.module_utils._concern import files as concern_files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result


def refuse(project: compose_project.Project, params: t.Mapping[str, t.Any]) -> dict[str, list[str]]:
    """Returns why the file must not be written. An upgrade that goes on may take a corrected build of its version."""
    steps = project.plan()
    calls = project.calls(steps, compose_plan.surplus(steps, project.services))
    refusals = prediction.refusals(project, params, steps, calls)
    return {about: lines for about, lines in refusals.items() if about != "builds"}


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            prediction.ARGUMENT_SPEC,
            path={"type": "path", "required": True},
            text={"type": "str", "required": True, "no_log": True},
            owner={"type": "str"},
        ),
        required_one_of=[["content", "compose_files"]],
        supports_check_mode=True,
    )
    os.umask(0o077)
    result, params = Result(module), module.params
    text: str = params.pop("text")  # hidden in logs and with -vvv
    module.no_log_values.discard(text)  # it holds no secret, so the diff may show it
    project: compose_project.Project | None = None
    try:
        project = prediction.open_project(module.run_command, params, reasons=False)
        refusals = refuse(project, params)
        if "services" in refusals:
            project.reasons = True
            refusals = refuse(project, params)
        if refusals:
            raise WaError.of(". ".join(line for lines in refusals.values() for line in lines) + ". Nothing was written")
        concern_files.write(result, params["path"], text, owner=params["owner"])
    except WaError as error:
        result.redact.add(project.secrets() if project else [])
        result.fail(error)
    result.exit()


if __name__ == "__main__":
    main()
