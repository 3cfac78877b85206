#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_project_info
short_description: Predicts what Compose does to the containers of a project, and why
version_added: 0.1.0
description:
  - Compares the containers of a Compose project with a Compose file, which need not be written yet, and returns which of them
    C(docker compose up) would create, recreate, start or restart, with the reasons. It changes nothing.
  - It compares the hashes that C(docker compose config) gives with the labels of the containers and networks, and the ids of
    images. It never runs C(docker compose up --dry-run), which is not dry in every version of Compose.
author:
  - waba.onprem contributors (@waba)
options:
  env_changes:
    description:
      - The keys by which a C(db.env) that is not written yet will differ from what a container has, by the container's name.
      - What the Compose file and O(env_files) do not set is then taken from the containers.
    type: dict
  recreate:
    description:
      - V(auto) is C(docker compose up), V(later) C(docker compose up --no-recreate), for which RV(pending) lists what would be
        recreated.
    type: str
    choices: [auto, later]
    default: auto
  moving:
    description: Services that another host still has; with V(later) in O(recreate) they are not created here.
    type: list
    elements: str
    default: []
  undeclared_keys:
    description:
      - Keys of C(db.env) that the inventory does not declare. With it, what runs is not recreated for them, nor for what
        another version of the collection or of Compose writes into the file; RV(pending) lists it.
      - Without it every difference recreates.
    type: list
    elements: str
  identity_file:
    description:
      - The record of which client is here that C(provision.yml) writes. It has the hashes of what was last applied; a container
        with another one was created from a file that was changed manually, and is recreated.
    type: path
extends_documentation_fragment:
  - waba.onprem.attributes
  - waba.onprem.docker
  - waba.onprem.project
attributes:
  check_mode:
    description: Reads in check mode as otherwise.
  diff_mode:
    description: There is nothing to compare.
    support: N/A
notes:
  - The image of a service that the host does not have is compared with what its registry has, by the engine.
"""

EXAMPLES = r"""
- name: See what docker compose up would do in an operator's own folder
  waba.onprem.wa_project_info:
    project: biz
    project_dir: /srv/biz
    compose_files: [/srv/biz/docker-compose.yml]

- name: See what a new Compose file would do
  waba.onprem.wa_project_info:
    project: wa-support
    project_dir: /opt/waba/support
    content: "{{ lookup('waba.onprem.desired', 'client').document | to_json }}"
  register: predicted

- name: Display the predicted changes
  ansible.builtin.debug:
    var: predicted.changes
"""

RETURN = r"""
actions:
  description: Always empty; the module changes nothing.
  type: list
  elements: str
  returned: always
  sample: []
containers:
  description: The containers of the project, those that are missing included, in the order of services.
  type: list
  elements: dict
  returned: always
  contains:
    container:
      description: The container's name.
      type: str
    service:
      description: Its service.
      type: str
    action:
      description:
        - V(create), V(recreate), V(start), V(unpause), V(restart), V(remove) or V(none).
        - V(unknown) if only Compose itself can determine it.
      type: str
    reasons:
      description: The reason, without values of variables.
      type: list
      elements: str
    pending:
      description: Why it would be recreated if that did not have to wait.
      type: list
      elements: str
    running:
      description: Whether it runs.
      type: bool
    forced:
      description: Whether it must be recreated for a reason that Compose itself does not see.
      type: bool
  sample:
    - container: wa-support-waweb-1
      service: waweb
      action: recreate
      reasons: ["db.env changed: WA_DB_PORT"]
      pending: []
      running: true
      forced: false
changes:
  description: What would be done, a line a container.
  type: list
  elements: str
  returned: always
  sample: ["recreate wa-support-waweb-1 (db.env changed: WA_DB_PORT)"]
pending:
  description: What waits with V(later) in O(recreate), a line a container.
  type: list
  elements: str
  returned: always
  sample: ["recreate wa-support-wacore-1 (db.env changed: WA_DB_PORT)"]
calls:
  description:
    - The calls of C(docker compose up) that do what is due, in their order. Each has C(services), empty for all of them,
      C(dependencies), whether Compose takes those that they depend on along, and C(recreate), which is V(auto), V(never) or
      V(always).
  type: list
  elements: dict
  returned: always
  sample: [{services: [], dependencies: true, recreate: auto}]
restart_policies:
  description: The containers whose restart policy differs from that of their service, each with C(name) and the C(policy) of its service, and C(retries).
  type: list
  elements: dict
  returned: always
  sample: [{name: wa-support-waweb-1, policy: unless-stopped, retries: 0}]
surplus:
  description: Names of the containers to remove because this host no longer has their service; Compose leaves them.
  type: list
  elements: str
  returned: always
  sample: [wa-support-master2-1]
paused:
  description: Names of paused containers, which Compose does not start.
  type: list
  elements: str
  returned: always
  sample: [wa-support-waweb-1]
refusals:
  description: Why the calls must not be made, each with what to do. Only kinds with a reason are present.
  type: dict
  returned: always
  contains:
    networks:
      description: Networks of the Compose file that cannot be used.
      type: list
      elements: str
      sample: ["network proxy: not on this host. Create it: docker network create proxy"]
    builds:
      description:
        - Containers that would be made from another build than the one that runs under the same version. A start of another build
          may migrate the client's database.
      type: list
      elements: str
      sample: ["service waweb: the tag v2.53.4 names another build than the one that runs. Pin the image by its digest."]
    identity:
      description: Services that would be another client than their container, by database or media, without O(confirm_identity).
      type: list
      elements: str
      sample: []
    losses:
      description: Containers that would be recreated or removed and would lose their configuration or media.
      type: list
      elements: str
      sample: []
    mounts:
      description: Mounts that containers of another Compose file would lose, without O(skip_mounts).
      type: list
      elements: str
      sample: []
    services:
      description:
        - Containers of other services than O(services) that the calls would recreate, and those of C(docker compose up --scale)
          that they would remove.
      type: list
      elements: str
      sample: []
    versions:
      description: Services of O(services) that would have another version than O(version).
      type: list
      elements: str
      sample: []
"""

import typing as t
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._client import inspection as client_inspection
from ansible_collections.waba.onprem.plugins.module_utils._client import prediction
from ansible_collections.waba.onprem.plugins.module_utils._compose import plan as compose_plan
from ansible_collections.waba.onprem.plugins.module_utils._compose import project as compose_project
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
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
            recreate={"type": "str", "choices": ["auto", "later"], "default": "auto"},
            moving={"type": "list", "elements": "str", "default": []},
            undeclared_keys={"type": "list", "elements": "str", "no_log": False},
            identity_file={"type": "path"},
        ),
        required_one_of=[["content", "compose_files"]],
        supports_check_mode=True,
    )
    result = Result(module)
    params = module.params
    project: compose_project.Project | None = None
    try:
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
        result.values = read(project, params)
    except WaError as error:
        result.redact.add(project.secrets() if project else [])
        result.fail(error)
    result.redact.add(project.secrets())
    result.exit()


if __name__ == "__main__":
    main()
