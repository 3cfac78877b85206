#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_project_info
short_description: Predicts what Compose does to the containers of a project, and why
description: [Internal to the roles and playbooks of the collection.]
options:
  env_changes:
    description: The keys by which a C(db.env) that is not written yet will differ from what a container has, by the container's name.
    type: dict
  recreate:
    description: V(auto) is C(docker compose up), V(later) C(docker compose up --no-recreate), V(never) nothing.
    type: str
    choices: [auto, later, never]
    default: auto
  moving:
    description: Services that another host still has; with V(later) in O(recreate) they are not created here.
    type: list
    elements: str
    default: []
  undeclared_keys: {description: Keys of C(db.env) that the inventory does not declare., type: list, elements: str}
  identity_file: {description: The record of which client is here that C(provision.yml) writes., type: path}
extends_documentation_fragment: [waba.onprem.docker, waba.onprem.project]
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_project_info:
"""

import typing as t
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._client import inspection as client_inspection
from ansible_collections.waba.onprem.plugins.module_utils._client import prediction
from ansible_collections.waba.onprem.plugins.module_utils._compose import plan as compose_plan
from ansible_collections.waba.onprem.plugins.module_utils._compose import project as compose_project
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result


def read(project: compose_project.Project, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Returns the planned steps of the project's containers in the module's format."""
    steps = project.plan()
    surplus = compose_plan.surplus(steps, project.services)
    policies = project.restart_policies(steps)
    calls = project.calls(steps, surplus)
    return {
        "containers": [asdict(step) for step in steps],
        "changes": [compose_plan.line(step) for step in steps if step.action != "none"]
        + [f"update {one['name']} (restart policy {one['policy']})" for one in policies],
        "restart_policies": policies,
        "pending": [compose_plan.pending_line(step) for step in steps if step.pending],
        "surplus": surplus,
        "calls": calls,
        "paused": [step.container for step in steps if step.action == "unpause"],
        "refusals": prediction.refusals(project, params, steps, calls),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            prediction.ARGUMENT_SPEC,
            env_changes={"type": "dict"},
            recreate={"type": "str", "choices": ["auto", "later", "never"], "default": "auto"},
            moving={"type": "list", "elements": "str", "default": []},
            undeclared_keys={"type": "list", "elements": "str", "no_log": False},
            identity_file={"type": "path"},
        ),
        required_one_of=[["content", "compose_files"]],
        supports_check_mode=True,
    )
    params = module.params
    with Result(module) as result:
        project = prediction.open_project(
            module.run_command,
            params,
            env_changes=params["env_changes"],
            recreate=params["recreate"],
            moving=params["moving"],
            undeclared=params["undeclared_keys"],
            proven=client_inspection.proven_hashes(
                client_inspection.record(params["identity_file"]) if params["identity_file"] else {}
            ),
        )
        try:
            result.values = read(project, params)
        finally:
            result.redact.add(project.secrets())


if __name__ == "__main__":
    main()
