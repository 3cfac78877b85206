#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_client_stage
short_description: Writes the files of the next version, after Compose has read them
description: [Internal to the roles and playbooks of the collection.]
options:
  files:
    description: The files to write.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: The file., type: path, required: true}
      content: {description: What the file is to hold., type: str, required: true}
      mode: {description: 'Its mode, as an octal number in quotes.', type: str, required: true}
      owner: {description: 'The user who owns it, by name.', type: str}
extends_documentation_fragment: [waba.onprem.docker, waba.onprem.project]
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_client_stage:
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
    """Returns why the files must not be written. An upgrade that goes on may take a corrected build of its version."""
    steps = project.plan()
    calls = project.calls(steps, compose_plan.surplus(steps, project.services))
    refusals = prediction.refusals(project, params, steps, calls)
    return {about: lines for about, lines in refusals.items() if about != "builds"}


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            prediction.ARGUMENT_SPEC,
            files={"type": "list", "elements": "dict", "required": True, "options": concern_files.WRITTEN_SPEC},
        ),
        required_one_of=[["content", "compose_files"]],
        supports_check_mode=True,
    )
    os.umask(0o077)
    params = module.params
    with Result(module) as result:
        project = prediction.open_project(module.run_command, params, reasons=False)
        try:
            refusals = refuse(project, params)
            if "services" in refusals:
                project.reasons = True
                refusals = refuse(project, params)
            if refusals:
                lines = [line for lines in refusals.values() for line in lines]
                raise WaError.of(". ".join(lines) + ". Nothing was written")
            concern_files.write_all(result, params["files"])
        except WaError:
            result.redact.add(project.secrets())
            raise


if __name__ == "__main__":
    main()
