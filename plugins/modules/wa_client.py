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
  state:
    description:
      - V(stopped) stops the client's containers, which Docker then starts by itself no more. V(started) starts those that were stopped,
        with the restart policy of the Compose files as they are. It makes those that O(identity_file) has and somebody has
        removed, if these files give O(version).
      - V(restored) puts the earlier contents of O(started_from) back; V(settled) removes them, and records the containers of a
        O(project) that is given; V(reverted) does both.
      - V(versioned) changes the operator's file in O(compose_files) that has the version, so that they give O(images) in O(version).
      - V(migrated) allows the migration, waits for its end, and then does what V(present) does, unless somebody uses the database.
      - V(migratable) writes the Compose file of the one-shot migration, made from the first service in O(images), to O(compose_file).
    type: str
    choices: [present, stopped, started, restored, settled, reverted, versioned, migrated, migratable]
    default: present
  spared_version: {description: The version whose containers V(stopped) and V(started) leave as they are; empty for none., type: str, default: ''}
  park:
    description: Whether V(stopped) puts a file in the place of O(compose_file) from which Compose starts nothing. V(started) brings back what it was.
    type: bool
    default: false
  stays_stopped:
    description: The ids of what an upgrade has stopped; V(stopped) fails if one is gone, or a container was started since the stop in the journal.
    type: list
    elements: str
  run_id: {description: The run that has the lock; another one's lock refuses., type: str, default: ''}
  notes: {description: What V(migrated) writes into the journal., type: dict, default: {}}
  wait_timeout: {description: 'How long V(migrated) waits for the end of the migration, in seconds or as text.', type: str, default: 20s}
  waited: {description: How many seconds earlier calls of V(migrated) have waited., type: float, default: 0}
  limit: {description: The seconds of all calls after which V(migrated) fails; nothing ends the migration., type: float, default: 7200}
  restart_policy:
    description: The restart policy of stopped containers that would start by themselves; with V(no) the others have it, too.
    type: str
    choices: ['no', unless-stopped]
    default: 'no'
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
  started_from: {description: All files that the client is started from., type: list, elements: path, default: []}
  staged: {description: 'Other files, which V(settled) removes.', type: list, elements: path, default: []}
  containers:
    description: Names of ended containers, which V(settled) removes. Their volumes stay.
    type: list
    elements: str
    default: []
  definitions: {description: "The digest of the client's tables, for the record.", type: str}
  lock_file: {description: The deployment's lock file., type: path}
  guard: {description: 'As in M(waba.onprem.wa_info).', type: dict}
  recreate:
    description: What is done where containers differ. V(auto) recreates them, V(later) starts what is stopped, V(never) does nothing.
    type: str
    choices: [auto, later, never]
    default: auto
  moving:
    description: 'Services that another host still has, or whose turn comes; with V(later) in O(recreate) they are not created here.'
    type: list
    elements: str
    default: []
  env_file: {description: The client's C(db.env)., type: path}
  env_format: {description: Its format., type: str, choices: [compose, docker, portable], default: portable}
  declared_keys:
    description: The keys of C(db.env) that the inventory declares, all when not given. Another one recreates no container.
    type: list
    elements: str
  env_changes:
    description: The keys by which a C(db.env) that is not written yet will differ from what a container has, by the container's name.
    type: dict
  identity_file: {description: The record of which client is here that C(provision.yml) writes., type: path}
  project: {description: The Compose project., type: str}
  project_dir: {description: The folder that relative paths start from. It need not exist., type: path}
  content: {description: 'The content of the Compose file at the place of V(-) in O(compose_files), as JSON.', type: str}
  compose_files: {description: 'The Compose files in their order, O(content) alone when not given.', type: list, elements: path}
  interpolation_files: {description: The files with the variables of the Compose files., type: list, elements: path, default: []}
  profiles: {description: The profiles to enable., type: list, elements: str, default: []}
  services: {description: 'The services to look at, with those that they depend on; none for all.', type: list, elements: str, default: []}
  version: {description: The version that O(services) have to have., type: str}
  images:
    description: The repository of the image of each service of the client. With V(present) their O(version) is set first, as V(versioned) does.
    type: dict
  confirm_identity: {description: 'Values that are to change with intent, as in M(waba.onprem.wa_db_env).', type: dict, default: {}}
  media_folder: {description: The directory that the media volume binds., type: path}
extends_documentation_fragment: [waba.onprem.docker]
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_client:
"""

import contextlib
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._client import (
    application,
    guard,
    listing,
    operators_files,
    prediction,
    starts,
)
from ansible_collections.waba.onprem.plugins.module_utils._client import files as client_files
from ansible_collections.waba.onprem.plugins.module_utils._client import inspection as client_inspection
from ansible_collections.waba.onprem.plugins.module_utils._compose import plan as compose_plan
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import (
    ACTIVE,
    is_migration,
    service_containers,
)
from ansible_collections.waba.onprem.plugins.module_utils._compose.project import Project
from ansible_collections.waba.onprem.plugins.module_utils._concern import files as concern_files
from ansible_collections.waba.onprem.plugins.module_utils._core import files as core_files
from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference, removal
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import Lease
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import migration_wait


def open_project(module: AnsibleModule, **changed: t.Any) -> Project:
    """Returns the project that the options describe, some of them `changed`. Raises WaError."""
    params = {**module.params, **changed}
    return prediction.open_project(
        module.run_command,
        {**params, "docker_timeout": application.TIMEOUT},
        env_changes=params["env_changes"] or {},
        recreate=params["recreate"],
        moving=params["moving"],
    )


def plan(project: Project, params: t.Mapping[str, t.Any]) -> tuple[list[compose_plan.Step], dict[str, t.Any]]:
    """Returns the steps for the project's containers, and what is done in the module's format."""
    steps = project.plan()
    kept = {step.container for step in steps if step.action in ("none", "start", "unpause")}
    policies = [one for one in project.restart_policies() if one["name"] in kept and params["recreate"] != "never"]
    calls = compose_plan.calls(steps)
    return steps, {
        "changes": [
            f"{step.action} {step.container} ({'; '.join(step.reasons)})" for step in steps if step.action != "none"
        ]
        + [f"update {one['name']} (restart policy {one['policy']})" for one in policies],
        "restart_policies": policies,
        "pending": [f"{step.container} ({'; '.join(step.pending)})" for step in steps if step.pending],
        "calls": calls,
        "refusals": prediction.refusals(project, params, steps, calls),
    }


def apply(module: AnsibleModule, result: Result, project: Project, steps: t.Sequence[compose_plan.Step]) -> None:
    """Writes the files and starts what is planned, or predicts both. Raises WaError."""
    params, planned = module.params, result.values
    refusals = [line for lines in planned["refusals"].values() for line in lines]
    if refusals:
        raise WaError.of(
            ". ".join(refusals) + (". Nothing was written" if params["stage"] else ". No container was touched")
        )
    files = params["files"] or []
    read = os.path.exists(params["env_file"] or "") or not module.check_mode  # a new host has no db.env yet
    if project.compose.rendered and read and any(concern_files.diff({**one, "sha256": None}) for one in files):
        project.compose.config("--quiet")  # what Compose does not take is not written
    if not module.check_mode and not params["stage"]:
        application.refuse_changed(project.engine, params)
    planned["kept"] = concern_files.write_all(result, files, params["keep"])
    if files and params["compose_file"] and not params["stage"] and not module.check_mode:
        client_files.drop_parked(params["compose_file"])
    if not params["start"]:
        return
    if not module.check_mode:
        ours = params["compose_file"]
        lease = Lease(params["lock_file"], params["run_id"])
        with core_files.folder_lock(params["project_dir"]), lease.kept():
            written = [ours if path == "-" else path for path in project.compose.files]
            application.start(project, steps, planned, written)
        planned["found"] = listing.read(project.engine, project.compose.project, [])
    for change in planned["changes"]:
        result.record_change(change)


def stop(module: AnsibleModule, result: Result) -> None:
    """Stops the client's containers, those that depend on others first, and waits for their end."""
    params = module.params
    engine = Docker({**params, "docker_timeout": application.TIMEOUT})
    with core_files.folder_lock(params["project_dir"]):
        application.refuse_other_run(params)
        there = listing.read(engine, params["project"], [])
        if params["stays_stopped"] is not None:
            application.refuse_started(params, service_containers(there))
        found = [one for one in there if one["version"] != (params["spared_version"] or None)]
        running, services = starts.active(found), service_containers(found)
        for one in services:
            if not module.check_mode and one["restart"] not in ("no", params["restart_policy"]):
                application.set_restart_policy(engine, one["name"], params["restart_policy"])
        for last in (False, True):
            names = [one["name"] for one in services if one["name"] in running and (one["role"] == "core") is last]
            for name in names:
                result.record_change(f"stop {name}")
            if not module.check_mode:
                application.stop_all(engine, names)
        if params["park"] and not module.check_mode:
            client_files.park(params["compose_file"])
    result.values["stopped"] = running


def _refuse_migration(
    engine: Docker, params: t.Mapping[str, t.Any], there: t.Sequence[t.Mapping[str, t.Any]], check_mode: bool
) -> None:
    """Raises WaError if the migration to the spared version runs; one that was created only goes with its upgrade, so that nobody starts it."""
    for one in there:
        if not params["spared_version"] or not is_migration(one, params["spared_version"]):
            continue
        if one["state"] in ACTIVE:
            found = f"{one['state']}: somebody has started the migration to {one['version']}"
            cure = "Run upgrade.yml again, which goes on from there"
            raise WaError(f"container {one['name']}", found, "none beside an older version", cure)
        if one["state"] == "created" and not check_mode:
            with contextlib.suppress(WaError):  # its process removes it, too
                application.remove(engine, one["id"])


def start_again(module: AnsibleModule, result: Result) -> None:
    """Starts the client's containers that were stopped, those that others depend on first, and makes those that were removed since.

    None is recreated. Raises WaError.
    """
    params = module.params
    engine = Docker({**params, "docker_timeout": application.TIMEOUT})
    with core_files.folder_lock(params["project_dir"]):
        application.refuse_other_run(params)
        second = (
            guard.check(listing.read(engine, None, []), params["guard"])["second_coreapp"] if params["guard"] else ""
        )
        if second:
            raise WaError.of(second)
        there = listing.read(engine, params["project"], [])
        _refuse_migration(engine, params, there, module.check_mode)
        if params["compose_file"] and not module.check_mode:
            client_files.unpark(params["compose_file"])
        found = service_containers(there)
        ours = [one for one in found if one["version"] != (params["spared_version"] or None)]
        files = [params["compose_file"] if path == "-" else path for path in params["compose_files"] or ["-"]]
        project: Project | None = None
        removed: list[compose_plan.Service] = []
        with contextlib.suppress(WaError):  # what cannot be read now, provision.yml corrects
            project = open_project(module, content=None, compose_files=[path for path in files if path])
            # One that was never here may run on another host, from which it is to move.
            gone = {*project.recorded.services}.intersection(project.names) - {one["service"] for one in found}
            removed = [one for one in project.services if one.name in gone]
        if not ours and not removed:
            raise WaError(f"project {params['project']}", "no container of the client", "those that were stopped")
        cores = [one["name"] for one in ours if one["role"] == "core"]
        if params["guard"] and params["guard"]["single"] and len(cores) > 1:
            many, expected = f"{', '.join(cores)} would run", "one, because two of one number get it banned"
            cure = "Find out which one has served, start it and the Webapp (docker start NAME), and remove the others (docker rm NAME)"
            raise WaError("Coreapp of a single client", many, expected, cure)
        for one in sorted(ours, key=lambda one: one["role"] != "core"):
            if one["state"] == "running":
                continue
            result.record_change(f"start {one['name']}")
            if not module.check_mode:
                application.change(engine, one["name"], "unpause" if one["state"] == "paused" else "start")
        if project is None:
            return
        if removed:
            _make(module, result, project, removed)
        with contextlib.suppress(WaError):
            for policy in project.restart_policies():
                result.record_change(f"update {policy['name']} (restart policy {policy['policy']})")
                if not module.check_mode:
                    application.set_restart_policy(engine, policy["name"], policy["policy"], policy["retries"])


def _make(module: AnsibleModule, result: Result, project: Project, services: t.Sequence[compose_plan.Service]) -> None:
    """Makes the first container of services. Raises WaError for one that the files give another version: it would migrate the database."""
    params = module.params
    for one in services:
        if image_reference.parse(one.image).version != params["version"]:
            raise WaError(
                f"service {one.name}",
                f"its container was removed since the stop, and the Compose files give it {one.image}",
                f"version {params['version']}, which has served",
                f"Set that version there, then docker compose up -d --no-recreate in {params['project_dir']}",
            )
        result.record_change(f"create a container of {one.name}")
    if not module.check_mode:
        with Lease(params["lock_file"], params["run_id"]).kept():
            project.compose.up(project.compose.files, [one.name for one in services], "--no-recreate", "--no-deps")


def restore(module: AnsibleModule, result: Result) -> None:
    """Restores the previous contents of the files."""
    stores = [Store(path) for path in module.params["started_from"]]
    result.values["restored"] = []
    with contextlib.ExitStack() as stack:
        if not module.check_mode:
            for store in stores:  # all runs lock them in this order
                stack.enter_context(store.lock(client_files.LOCK_TIMEOUT))
            result.values["restored"] = client_files.restore(stores)
    for one in result.values["restored"]:
        result.record_change(f"put back {one['path']}")


def settle(module: AnsibleModule, result: Result) -> None:
    """Removes the previous contents, and records the project. Raises WaError, before anything is removed, if it cannot be read."""
    path = module.params["identity_file"]
    recorded = client_inspection.record(path) if path else {}
    project = open_project(module).next_record().text() if recorded and module.params["project"] else {}
    for store in map(Store, module.params["started_from"]):
        if os.path.lexists(store.previous):
            result.actions.append(f"removed {store.previous}")
            if not module.check_mode:
                with store.lock(client_files.LOCK_TIMEOUT):
                    store.drop()
    _remove(module, result)
    if not recorded:
        return
    wanted = client_inspection.compared(recorded)
    if module.params["version"]:
        wanted[client_inspection.VERSION] = module.params["version"]
    found = client_inspection.next_record(recorded, wanted, project, module.params["definitions"] or "")
    if found != recorded:
        result.actions.append(f"recorded the containers and their version in {path}")
        if not module.check_mode:
            core_files.replace(path, client_inspection.record_text(found).encode(), 0o640)


def _remove(module: AnsibleModule, result: Result) -> None:
    """Removes the staged files, and the containers that have ended. Raises WaError for one that runs."""
    staged = removal.plan(module.params["staged"], [])
    # Without a name no engine is asked: most calls are about files alone, and do not say where it is.
    containers = [name for name in module.params["containers"] if Docker(module.params).inspect_id(name)]
    if not module.check_mode:
        removal.apply(staged)
        for name in containers:
            application.remove(Docker(module.params), name)
    for one in [*staged.files, *containers]:
        result.record_change(f"remove {one}")


def revert(module: AnsibleModule, result: Result) -> None:
    """Restores the previous contents, with which containers still run."""
    restore(module, result)
    settle(module, result)


def present(module: AnsibleModule, result: Result) -> None:
    """Brings files and containers to what is wanted, as far as is asked for, or only says what differs. Raises WaError."""
    params = module.params
    if params["images"]:
        application.refuse_other_run(params)
        operators_files.set_version(module, result)
    project = open_project(module)
    try:
        steps, planned = plan(project, params)
        result.values.update(planned)
        if params["stage"]:
            result.values["refusals"].pop("builds", None)  # of the next version a corrected one may be taken
        if params["files"] or params["start"]:
            apply(module, result, project, steps)
    finally:
        result.redact.add(project.compose.secrets)
        started_from = filter(None, (params["env_file"], params["compose_file"]))
        result.values["unproven"] = [path for path in started_from if os.path.lexists(Store(path).previous)]


def migrate(module: AnsibleModule, result: Result) -> None:
    """Has the database migrated, and starts what is wanted. Raises WaError if the migration has not ended well, or will not."""
    result.values["started"] = False
    if module.check_mode:
        result.record_change("allow the migration")
    elif migration_wait.allow(module.params, result) and module.params["start"]:
        with contextlib.suppress(WaError):  # the next call, which starts it alone, says why
            present(module, result)
            result.values["started"] = True


_STATES = {
    "present": present,
    "migrated": migrate,
    "stopped": stop,
    "started": start_again,
    "restored": restore,
    "settled": settle,
    "reverted": revert,
    "versioned": operators_files.set_version,
    "migratable": operators_files.stage_migration,
}
_PLACE = ["project", "project_dir"]
_THEIRS = [*_PLACE, "compose_files", "images", "version"]


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            prediction.ARGUMENT_SPEC,
            state={"type": "str", "choices": list(_STATES), "default": "present"},
            notes={"type": "dict", "default": {}},
            wait_timeout={"type": "str", "default": "20s"},
            waited={"type": "float", "default": 0},
            limit={"type": "float", "default": 7200},
            started_from={"type": "list", "elements": "path", "default": []},
            staged={"type": "list", "elements": "path", "default": []},
            containers={"type": "list", "elements": "str", "default": []},
            definitions={"type": "str"},
            images={"type": "dict"},
            spared_version={"type": "str", "default": ""},
            park={"type": "bool", "default": False},
            run_id={"type": "str", "default": ""},
            stays_stopped={"type": "list", "elements": "str"},
            restart_policy={"type": "str", "choices": ["no", "unless-stopped"], "default": "no"},
            stage={"type": "bool", "default": False},
            start={"type": "bool", "default": False},
            files={"type": "list", "elements": "dict", "options": concern_files.WRITTEN_SPEC},
            keep={"type": "bool", "default": False},
            lock_file={"type": "path"},
            guard={"type": "dict"},
            recreate={"type": "str", "choices": ["auto", "later", "never"], "default": "auto"},
            moving={"type": "list", "elements": "str", "default": []},
        ),
        required_if=[
            ("state", "present", ["content", "compose_files"], True),
            *(("state", state, _PLACE) for state in ("present", "stopped", "started")),
            ("state", "migrated", ["lock_file"]),
            ("state", "versioned", _THEIRS),
            ("state", "migratable", [*_THEIRS, "compose_file"]),
            ("start", True, ["compose_file", "lock_file", "guard"]),
            ("park", True, ["compose_file"]),
        ],
        required_by={"definitions": ["version"]},
        supports_check_mode=True,
    )
    os.umask(0o077)
    params = module.params
    with Result(module) as result:
        if params["state"] != "present" and params["run_id"]:  # those that wait for another process ask again after it
            application.refuse_other_run(params)
        _STATES[params["state"]](module, result)


if __name__ == "__main__":
    main()
