#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_client_stage
short_description: Writes the Compose file of the next version, after Compose has read it
description: [Internal to the roles and playbooks of the collection.]
options:
  path: {description: The file to write., type: path, required: true}
  text: {description: 'What the file is to hold, O(content) as it is written for people.', type: str, required: true}
  owner: {description: 'The user who owns O(path), by name.', type: str}
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
    params = module.params
    text: str = params.pop("text")  # hidden in logs and with -vvv
    module.no_log_values.discard(text)  # it holds no secret, so the diff may show it
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
            concern_files.write(result, params["path"], text, owner=params["owner"])
        except WaError:
            result.redact.add(project.secrets())
            raise


if __name__ == "__main__":
    main()
