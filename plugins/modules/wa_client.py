#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_client
short_description: Makes a host's project of the client what the inventory says, or shows what it would do
description: [Internal to the roles and playbooks of the collection.]
options:
  stage: {description: Whether the O(files) are of the next version and lie beside those in force., type: bool, default: false}
  start: {description: Whether its containers are brought to what the files say., type: bool, default: false}
  compose_file: {description: 'Where O(content) is written, the place of V(-) in O(compose_files).', type: path}
  files:
    description: The files to write, before containers are started.
    type: list
    elements: dict
    suboptions:
      path: {description: The file., type: path, required: true}
      content: {description: What the file is to hold., type: str, required: true}
      mode: {description: 'Its mode, as an octal number in quotes.', type: str, required: true}
      owner: {description: 'The user who owns it, by name.', type: str}
  keep: {description: 'Whether containers run on the O(files), so that each is kept before it changes.', type: bool, default: false}
  kept_files: {description: All files that the client is started from., type: list, elements: path, default: []}
  former_files: {description: 'Files that the client was started from before; those that are there are returned.', type: list, elements: path, default: []}
  lock_file: {description: The deployment's lock file., type: path}
  guard: {description: 'As in M(waba.onprem.wa_info).', type: dict}
  held: {description: Whether the containers stay as they are., type: bool, default: false}
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
  waba.onprem.wa_client:
"""

import os
import typing as t
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._client import application, listing, prediction
from ansible_collections.waba.onprem.plugins.module_utils._client import inspection as client_inspection
from ansible_collections.waba.onprem.plugins.module_utils._compose import plan as compose_plan
from ansible_collections.waba.onprem.plugins.module_utils._compose import project as compose_project
from ansible_collections.waba.onprem.plugins.module_utils._concern import files as concern_files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store


def plan(project: compose_project.Project, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
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


def refuse(result: Result, params: t.Mapping[str, t.Any]) -> None:
    """Raises WaError if Compose would do what it must not."""
    refusals = [line for lines in result.values["refusals"].values() for line in lines]
    if refusals:
        raise WaError.of(
            ". ".join(refusals) + (". Nothing was written" if params["stage"] else ". No container was touched")
        )


def apply(module: AnsibleModule, result: Result, project: compose_project.Project) -> None:
    """Writes the files and starts what is planned, or predicts both. Raises WaError."""
    params, planned = module.params, result.values
    refuse(result, params)
    if not module.check_mode and not params["stage"]:  # an upgrade has looked, and has the lock
        application.refuse_changed(project.engine, params)
    planned["kept"] = concern_files.write_all(result, params["files"] or [], params["keep"])
    if not params["start"]:
        return
    same: list[str] = []
    if not module.check_mode:
        ours = params["compose_file"]
        same = application.start(project, planned, [ours if path == "-" else path for path in project.files])
        planned["found"] = listing.read(project.engine, project.name, [])
    for change in planned["changes"]:
        if change not in same:
            result.record_change(change)


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            prediction.ARGUMENT_SPEC,
            stage={"type": "bool", "default": False},
            start={"type": "bool", "default": False},
            compose_file={"type": "path"},
            files={"type": "list", "elements": "dict", "options": concern_files.WRITTEN_SPEC},
            keep={"type": "bool", "default": False},
            kept_files={"type": "list", "elements": "path", "default": []},
            former_files={"type": "list", "elements": "path", "default": []},
            lock_file={"type": "path"},
            guard={"type": "dict"},
            held={"type": "bool", "default": False},
            env_changes={"type": "dict"},
            recreate={"type": "str", "choices": ["auto", "later", "never"], "default": "auto"},
            moving={"type": "list", "elements": "str", "default": []},
            undeclared_keys={"type": "list", "elements": "str", "no_log": False},
            identity_file={"type": "path"},
        ),
        required_one_of=[["content", "compose_files"]],
        required_if=[("start", True, ["compose_file", "lock_file", "guard"])],
        supports_check_mode=True,
    )
    os.umask(0o077)
    params = module.params
    with Result(module) as result:
        project = prediction.open_project(
            module.run_command,
            {**params, "docker_timeout": application.TIMEOUT},
            reasons=not params["stage"],
            env_changes=params["env_changes"],
            recreate=params["recreate"],
            moving=params["moving"],
            undeclared=params["undeclared_keys"],
            proven=client_inspection.proven_hashes(
                client_inspection.record(params["identity_file"]) if params["identity_file"] else {}
            ),
        )
        try:
            result.values = plan(project, params)
            if params["stage"]:
                if "services" in result.values["refusals"]:  # to name what differs takes more calls of Compose
                    project.reasons = True
                    result.values = plan(project, params)
                result.values["refusals"].pop("builds", None)  # of the next version a corrected one may be taken
            if params["files"] or params["start"]:
                apply(module, result, project)
        finally:
            result.redact.add(project.secrets())
            result.values["former"] = [path for path in params["former_files"] if os.path.lexists(path)]
            result.values["unproven"] = [path for path in params["kept_files"] if os.path.lexists(Store(path).previous)]


if __name__ == "__main__":
    main()
