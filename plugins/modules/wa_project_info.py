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
  project:
    description: The Compose project.
    type: str
    required: true
  project_dir:
    description: The folder of its C(compose.yml), which relative paths start from. It need not exist.
    type: path
    required: true
  content:
    description:
      - The Compose file's content, as JSON. It is hidden in logs.
      - Required without O(compose_files), and where these contain V(-).
    type: str
  compose_files:
    description:
      - The Compose files in their order. V(-) is the place of O(content), as it is for Compose.
      - O(content) alone when not given.
    type: list
    elements: path
  interpolation_files:
    description: The files with the variables of the Compose files, as C(docker compose --env-file) takes them.
    type: list
    elements: path
    default: []
  profiles:
    description: The profiles to enable. Those of C(COMPOSE_PROFILES) in the environment or in C(.env) when not given.
    type: list
    elements: str
  services:
    description:
      - The services to look at; all of them when not given. Services that they depend on are looked at, too.
      - What Compose would have to recreate of the latter is in RV(other_services).
    type: list
    elements: str
    default: []
  version:
    description: The version that O(services) have to have.
    type: str
  env_files:
    description: Contents of env files that are not written yet, by path. They are hidden in logs.
    type: dict
    default: {}
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
  confirm_identity:
    description: Values that are to change with intent, as in M(waba.onprem.wa_db_env).
    type: dict
    default: {}
  media_path:
    description: Where media are mounted in a container.
    type: path
    default: /usr/local/wamedia
  media_folder:
    description: The directory that the media volume binds; a container that mounts it directly has the same media.
    type: path
extends_documentation_fragment:
  - waba.onprem.attributes
  - waba.onprem.docker
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
other_services:
  description:
    - Why services that O(services) depend on would be recreated by these calls, or containers of C(docker compose up --scale) removed,
      each with what to do.
  type: list
  elements: str
  returned: always
  sample: []
other_versions:
  description: Why O(services) would have another version than O(version), each with what to do.
  type: list
  elements: str
  returned: always
  sample: []
restart_policies:
  description: The containers whose restart policy differs from that of their service, each with C(name) and the C(policy) of its service.
  type: list
  elements: dict
  returned: always
  sample: [{name: wa-support-waweb-1, policy: unless-stopped}]
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
other_builds:
  description:
    - Why containers would be made from another build than the one that runs under the same version, each with what to do.
    - A start of another build may migrate the client's database.
  type: list
  elements: str
  returned: always
  sample: ["service waweb: the tag v2.53.4 names another build than the one that runs. Pin the image by its digest."]
lost_networks:
  description: Why networks of the Compose file cannot be used, each with what to do.
  type: list
  elements: str
  returned: always
  sample: ["network proxy: not on this host. Create it: docker network create proxy"]
losses:
  description: Why containers that would be recreated or removed would lose their configuration or media, each with what to do.
  type: list
  elements: str
  returned: always
  sample: []
left_out:
  description: What containers that another Compose file made would lose by the role's, each with what to do.
  type: list
  elements: str
  returned: always
  sample: []
identity:
  description:
    - Why a service would be another client than its container, by its database or its media, and O(confirm_identity) does not say so.
  type: list
  elements: str
  returned: always
  sample: []
"""

import json
import typing as t
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._client import identity as client_identity
from ansible_collections.waba.onprem.plugins.module_utils._client import inspection as client_inspection
from ansible_collections.waba.onprem.plugins.module_utils._client import listing, replacement
from ansible_collections.waba.onprem.plugins.module_utils._compose import plan as compose_plan
from ansible_collections.waba.onprem.plugins.module_utils._compose import project as compose_project
from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MEDIA_FOLDER
from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine


def read(project: compose_project.Project, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Returns the planned steps of the project's containers in the module's format."""
    steps = project.plan()
    surplus = compose_plan.surplus(steps, project.services)
    policies = project.restart_policies(steps)
    calls = project.calls(steps, surplus)
    names = project.selected or [one.name for one in project.services]
    guarded = project.selected or project.recreate == compose_plan.LATER
    others = compose_plan.refuse_others(steps, names, calls) if guarded else []
    builds = compose_plan.other_builds(project.services, project.found, steps, project.recreate)
    return {
        "containers": [asdict(step) for step in steps],
        "changes": [compose_plan.line(step) for step in steps if step.action != "none"]
        + [f"update {one['name']} (restart policy {one['policy']})" for one in policies],
        "restart_policies": policies,
        "pending": [compose_plan.pending_line(step) for step in steps if step.pending],
        "surplus": surplus,
        "calls": calls,
        "other_services": [str(error) for error in others],
        "other_versions": other_versions(project, params["version"]),
        "paused": [step.container for step in steps if step.action == "unpause"],
        "other_builds": [str(error) for error in builds],
        "lost_networks": [
            str(error) for error in (*project.lost_networks(), *(project.renewed_networks() if calls else ()))
        ],
        "losses": losses(project, params["media_path"], steps),
        "left_out": left_out(project, params["media_path"], steps),
        "identity": another_client(project, params),
    }


def other_versions(project: compose_project.Project, version: str | None) -> list[str]:
    """Returns why the operator's Compose files, which may come after the role's, give a service another version."""
    return [
        str(
            WaError(
                f"service {one.name}",
                f"the Compose files give it the image {one.image}",
                f"version {version}",
                "Take the image out of the file that wa_client_compose_files names",
            )
        )
        for one in project.services
        if version and one.name in project.selected and image_reference.parse(one.image).version != version
    ]


def losses(project: compose_project.Project, media_path: str, steps: t.Iterable[compose_plan.Step]) -> list[str]:
    """Returns why containers must not be recreated or removed."""
    leaving = {step.container for step in steps if step.action in ("recreate", "remove", "unknown")}
    found = [one for one in listing.read(project.engine, project.name, []) if one["name"] in leaving]
    for one in found:
        one["layer_media"] = listing.layer_media(project.engine, one, media_path)
    inside = replacement.lost_with_layers(found).rstrip(".")
    return [*([inside] if inside else []), *replacement.lost_by_compose_files(project.resolved, found)]


def left_out(project: compose_project.Project, media_path: str, steps: t.Iterable[compose_plan.Step]) -> list[str]:
    """Returns what containers that another Compose file made would lose by the role's; an operator's own files are as they are meant."""
    leaving = {step.container for step in steps if step.action == "recreate"} if project.files[0] == "-" else set()
    found = [one for one in listing.read(project.engine, project.name, []) if one["name"] in leaving and not one["own"]]
    return replacement.left_out_mounts(project.resolved, found, media_path)


def another_client(project: compose_project.Project, params: t.Mapping[str, t.Any]) -> list[str]:
    """Returns a message if the file's services would be another client than the existing containers; empty otherwise."""
    found = listing.read(project.engine, project.name, [])
    document = project.resolved
    if project.env_changes is not None:
        # A db.env that is not written yet was compared by wa_db_env; the operator's own files name what is there before.
        services = document.get("services", {})
        document = {**document, "services": {name: {**one, "environment": {}} for name, one in services.items()}}
    different = client_identity.rendered(
        document, found, params["confirm_identity"], params["media_folder"] or "", params["media_path"]
    )
    try:
        client_identity.refuse(f"compose.yml of project {project.name}", different)
    except WaError as error:
        return [str(error)]
    return []


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            docker_engine.ARGUMENT_SPEC,
            project={"type": "str", "required": True},
            project_dir={"type": "path", "required": True},
            content={"type": "str", "no_log": True},
            compose_files={"type": "list", "elements": "path"},
            interpolation_files={"type": "list", "elements": "path", "default": []},
            profiles={"type": "list", "elements": "str"},
            services={"type": "list", "elements": "str", "default": []},
            version={"type": "str"},
            env_files={"type": "dict", "default": {}, "no_log": True},
            env_changes={"type": "dict"},
            recreate={"type": "str", "choices": ["auto", "later"], "default": "auto"},
            moving={"type": "list", "elements": "str", "default": []},
            undeclared_keys={"type": "list", "elements": "str", "no_log": False},
            identity_file={"type": "path"},
            confirm_identity={"type": "dict", "default": {}},
            media_folder={"type": "path"},
            media_path={"type": "path", "default": MEDIA_FOLDER},
        ),
        required_one_of=[["content", "compose_files"]],
        supports_check_mode=True,
    )
    result = Result(module)
    params = module.params
    project: compose_project.Project | None = None
    try:
        project = compose_project.Project(
            run=module.run_command,
            engine=docker_engine.Docker(params),
            name=params["project"],
            folder=params["project_dir"],
            document=json.loads(params["content"] or '{"services": {}}'),
            files=params["compose_files"] or ["-"],
            interpolation=params["interpolation_files"],
            profiles=params["profiles"],
            selected=params["services"],
            env_files=params["env_files"],
            env_changes=params["env_changes"],
            recreate=params["recreate"],
            moving=params["moving"],
            undeclared=params["undeclared_keys"],
            proven=client_inspection.proven_hashes(
                client_inspection.record(params["identity_file"]) if params["identity_file"] else {}
            ),
        )
        result.values = read(project, params)
    except ValueError:
        result.fail(WaError("option content", "no JSON", "the Compose file as JSON"))
    except WaError as error:
        result.redact.add(project.secrets() if project else [])
        result.fail(error)
    result.redact.add(project.secrets())
    result.exit()


if __name__ == "__main__":
    main()
