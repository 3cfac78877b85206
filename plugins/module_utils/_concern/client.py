# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the client's project with the inventory: its files, its containers, and unmanaged client containers.

Compose is run only where an operator has Compose files of their own, which nothing else can read.
"""

from __future__ import annotations

import os
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._client import identity as client_identity
from ansible_collections.waba.onprem.plugins.module_utils._client import inspection as client_inspection
from ansible_collections.waba.onprem.plugins.module_utils._client import listing, prediction
from ansible_collections.waba.onprem.plugins.module_utils._compose import alteration
from ansible_collections.waba.onprem.plugins.module_utils._compose import plan as compose_plan
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import STOPPED
from ansible_collections.waba.onprem.plugins.module_utils._compose.program import Run
from ansible_collections.waba.onprem.plugins.module_utils._compose.project import Project
from ansible_collections.waba.onprem.plugins.module_utils._concern import files as concern_files
from ansible_collections.waba.onprem.plugins.module_utils._concern.finding import Finding
from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import health as engine_health
from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store

SPEC: dict[str, dict[str, t.Any]] = {
    **prediction.ARGUMENT_SPEC,
    "version": {"type": "str", "required": True},
    "files": {"type": "list", "elements": "dict", "options": concern_files.SPEC, "default": []},
    "container_names": {"type": "list", "elements": "str", "default": []},
    "neighbours": {"type": "list", "elements": "str", "default": []},
    "env_file": {"type": "path", "required": True},
    "identity": {"type": "dict", "required": True},
    "identity_file": {"type": "path", "required": True},
}


def observe(
    engine: Docker,
    params: t.Mapping[str, t.Any],
    diff: bool,
    run: Run,
    compare_record: bool = True,
    stale: t.Container[str] = (),
) -> tuple[Finding, Project | None]:
    """Returns how the project differs, and the project; with `compare_record` also from what the last complete run has recorded.

    `stale` are containers that were created with another db.env. The concern `db_env` reports them, so their changed
    Compose hash is not reported again. `run` runs Compose.
    """
    project = open_project(engine, params, run, stale) if params["project"] else None
    found = compare(project, compare_record) if project else compare_recorded(engine, params)
    for one in params["files"]:
        found.changes += concern_files.differences(one)
        shown = concern_files.diff(one) if diff else None
        found.diff += [shown] if shown else []
    recorded = client_inspection.record(params["identity_file"]) if compare_record else None
    if recorded is not None and identity(params) != client_inspection.compared(recorded):
        found.changes.append(f"{params['identity_file']} does not record the client that the inventory describes")
    found.warnings += _log_warnings(engine, params, project) if _is_operators(params) or not project else []
    # They are proven by containers that were recreated from them, which waits for the time of a restart, unless their operator did.
    waits = found.restarts or found.pending or stale or not _is_operators(params)
    (found.restarts if waits else found.containers).extend(
        f"{path} was changed and not proven since"
        for path in (params["env_file"], *(one["path"] for one in params["files"]))
        if project and os.path.lexists(Store(path).previous)
    )
    return found, project


def compare(project: Project, compare_record: bool) -> Finding:
    """Returns how the containers differ. With `compare_record` they have to be recorded, too."""
    found, steps = Finding(), project.plan()
    for step in steps:
        lines = found.restarts if step.running else found.containers  # only a container that runs is interrupted
        lines += [f"{step.container} {reason}" for reason in step.reasons]
        found.pending += [f"{step.container} {reason}" for reason in step.pending]
    found.containers += [
        f"{one['name']} has the restart policy {one['found']}, expected {alteration.shown_policy(one['policy'], one['retries'])}"
        for one in project.restart_policies()
    ]
    found.alarms += map(str, compose_plan.refuse_scaled(steps))  # two Coreapps of one number get it banned
    found.pending += [str(one) for one in project.diverged_networks()]
    alike = {step.container for step in steps if not step.reasons and not step.pending}
    for one in project.found:
        if one.service in project.names:
            found.containers += failures(one.name, one.state, engine_health(project.record(one)))
            if one.state in STOPPED and alteration.actual_policy(project.record(one))[0] == "always":
                found.warnings.append(
                    f"Docker starts {one.name} with itself, also a client that is held: docker update --restart unless-stopped {one.name}"
                )
            if compare_record and one.name in alike and not project.is_recorded(one):
                found.containers.append(
                    f"{one.name} is not in the record of this host as its Compose files are read now: it was created, or Compose upgraded, since "
                    "provision.yml last ended. provision.yml compares it with these files, and records it"
                )
    return found


def failures(name: str, state: str, health: str) -> list[str]:
    """Returns a line if a container fails in a way that neither a start nor the inventory corrects."""
    if state == "restarting":
        return [f"{name} restarts again and again. Look into its log (docker logs {name})"]
    if state == "removing":
        return [f"{name} is being removed"]
    if state == "running" and health == "unhealthy":
        return [f"{name} is unhealthy. Look into its log (docker logs {name})"]
    return []


def identity(params: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Returns the identity that the inventory describes, with the version, as it is recorded."""
    db_env = client_inspection.db_env(params["env_file"], params["env_format"])
    wanted = client_identity.wanted_identity({**params["identity"], "file": db_env})
    return {**wanted, client_inspection.VERSION: params["version"]}


def compare_recorded(engine: Docker, params: t.Mapping[str, t.Any]) -> Finding:
    """Checks that each recorded container outside Compose exists, runs, and has the expected version. No role starts one."""
    found = Finding(kept=True)
    there = {one.name: one for one in engine.client_containers("")}
    for name in params["container_names"]:
        one = there.get(name)
        record = engine.inspect(one) if one else None
        if one is None or record is None:
            found.containers.append(
                f"{name} is missing. Create it again (docker run), or correct wa_client_container_names"
            )
            continue
        lines, verb = failures(name, one.state, engine_health(record)), "unpause" if one.state == "paused" else "start"
        found.containers += lines or ([] if one.running else [f"{name} is {one.state}. Run docker {verb} {name}"])
        if image_reference.parse(one.image).version != params["version"]:
            found.restarts.append(f"{name} runs {one.image}, expected version {params['version']}")
        policy = alteration.shown_policy(*alteration.actual_policy(record))
        if policy != "unless-stopped":
            found.warnings.append(
                f"{name} has the restart policy {policy}, expected unless-stopped: docker update --restart unless-stopped {name}"
            )
    if not params["container_names"] and not there:
        found.containers.append("there is no container of the client outside Compose")
    return found


def open_project(engine: Docker, params: t.Mapping[str, t.Any], run: Run, stale: t.Container[str] = ()) -> Project:
    """Returns the Compose project."""
    return prediction.open_project(run, {**params, "env_changes": {}}, engine, stale=stale)


def _is_operators(params: t.Mapping[str, t.Any]) -> bool:
    """Returns whether an operator's Compose files describe the services, and not the collection's."""
    return params["compose_files"] is not None and bool(params["compose_files"][0] != "-")


def _log_warnings(engine: Docker, params: t.Mapping[str, t.Any], project: Project | None) -> list[str]:
    """Returns a line for each container whose log grows without a limit, as its Compose file or `docker run` has it."""
    if project:
        cure, wanted = "give its service logging options in the Compose file", params["services"]
        records: list[tuple[str, t.Any]] = [
            (one.name, project.record(one)) for one in project.found if one.service in wanted
        ]
    else:
        cure, there = "create it again with --log-opt max-size=50m", engine.client_containers("")
        records = [(one.name, engine.inspect_id(one.id)) for one in there if one.name in params["container_names"]]
    return [
        f"Docker keeps the log of {name} without a limit: {cure}"
        for name, record in records
        if record and not _log_capped(record)
    ]


def _log_capped(record: t.Mapping[str, t.Any]) -> bool:
    log = (record.get("HostConfig") or {}).get("LogConfig") or {}
    return log.get("Type") not in ("json-file", "") or "max-size" in (log.get("Config") or {})


def unmanaged(engine: Docker, project: str, neighbours: t.Container[str]) -> list[dict[str, t.Any]]:
    """Returns the client containers of no deployment on this machine, in the format of `wa_info`."""
    others = [
        one
        for one in engine.client_containers(all_projects=True)
        if one.project != project and not (one.project and one.project in neighbours)
    ]
    records = ((one, engine.inspect(one)) for one in others)
    return [listing.describe(one, record) for one, record in records if record is not None]
