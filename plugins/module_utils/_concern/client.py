# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the client's project with the inventory: its files, its containers, and unmanaged client containers. Compose is not run."""

from __future__ import annotations

import os
import typing as t
from urllib.parse import quote

from ansible_collections.waba.onprem.plugins.module_utils._client import identity as client_identity
from ansible_collections.waba.onprem.plugins.module_utils._client import inspection as client_inspection
from ansible_collections.waba.onprem.plugins.module_utils._client import listing, service_drift
from ansible_collections.waba.onprem.plugins.module_utils._compose import override
from ansible_collections.waba.onprem.plugins.module_utils._concern import files as concern_files
from ansible_collections.waba.onprem.plugins.module_utils._concern.finding import Finding
from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import (
    PROJECT_LABEL,
    SERVICE_LABEL,
    Docker,
    is_id,
)
from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import NotFound
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file
from ansible_collections.waba.onprem.plugins.module_utils._env import state as env_state
from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store

HASH_LABEL = "com.docker.compose.config-hash"
_SERVICE: dict[str, dict[str, t.Any]] = {
    "name": {"type": "str", "required": True},
    "image": {"type": "str", "required": True},
    "definition": {"type": "str", "required": True},
    "count": {"type": "int", "default": 1},
    "restart": {"type": "str", "default": "no"},
    "networks": {"type": "list", "elements": "str", "default": []},
    "secret_file": {"type": "path"},
}
SPEC: dict[str, dict[str, t.Any]] = {
    "project": {"type": "str", "required": True},
    "version": {"type": "str", "required": True},
    "services": {"type": "list", "elements": "dict", "options": _SERVICE, "default": []},
    "files": {"type": "list", "elements": "dict", "options": concern_files.SPEC, "default": []},
    "kept_files": {"type": "list", "elements": "path", "default": []},
    "container_names": {"type": "list", "elements": "str", "default": []},
    "keep_adopted": {"type": "bool", "default": True},
    "neighbours": {"type": "list", "elements": "str", "default": []},
    "env_file": {"type": "path", "required": True},
    "env_format": {"type": "str", "default": "portable"},
    "identity": {"type": "dict", "required": True},
    "identity_file": {"type": "path", "required": True},
}


def observe(
    engine: Docker,
    params: t.Mapping[str, t.Any],
    diff: bool,
    compare_record: bool = True,
    stale: t.Container[str] = (),
) -> Finding:
    """Returns how the project differs; with `compare_record` also from what the last complete run has recorded.

    `stale` are containers that were created with another db.env. The concern `db_env` reports them, so their changed
    Compose hash is not reported again.
    """
    found = Finding()
    for one in params["files"]:
        found.changes += concern_files.differences(one)
        secret = one["mode"] == "0600"
        shown = concern_files.diff(one) if diff and not secret else None
        found.diff += [shown] if shown else []
    db_env = client_inspection.db_env(params["env_file"], params["env_format"])
    wanted = client_identity.wanted_identity({**params["identity"], "file": db_env})
    recorded = client_inspection.record(params["identity_file"]) if compare_record else None
    if recorded is not None and wanted != {
        name: value for name, value in recorded.items() if name != client_inspection.HASHES
    }:
        found.changes.append(f"{params['identity_file']} does not record the client that the inventory describes")
    differences = (
        compare_recorded(engine, params) if not params["project"] else compare_project(engine, params, recorded, stale)
    )
    # They are proven by containers that were recreated from them, so this waits for the time of a restart.
    unproven = [
        f"{path} was changed and not proven since"
        for path in params["kept_files"]
        if os.path.lexists(Store(path).previous)
    ]
    found.kept = differences.kept
    found.changes += differences.changes
    found.restarts += differences.restarts + ([] if differences.kept else unproven)
    found.pending += differences.pending + (unproven if differences.kept else [])
    found.warnings += differences.warnings
    return found


def compare_recorded(engine: Docker, params: t.Mapping[str, t.Any]) -> service_drift.Differences:
    """Checks that each recorded container outside Compose exists, runs, and has the expected version."""
    found = service_drift.Differences(kept=True)
    there = {one.name: one for one in engine.client_containers("")}
    for name in params["container_names"]:
        one = there.get(name)
        if one is None:
            found.changes.append(f"{name} is missing")
            continue
        if not one.running:
            found.changes.append(f"{name} is {one.state}")
        if image_reference.parse(one.image).version != params["version"]:
            found.restarts.append(f"{name} runs {one.image}, expected version {params['version']}")
        found.pending.append(f"{name} is kept as it was created until the next upgrade")
    if not params["container_names"] and not there:
        found.changes.append("there is no container of the client outside Compose")
    return found


def compare_project(
    engine: Docker, params: t.Mapping[str, t.Any], recorded: t.Mapping[str, str] | None, stale: t.Container[str] = ()
) -> service_drift.Differences:
    """Compares the containers of the Compose project. `recorded` is the record of the last complete run, None to skip it."""
    records = _records(engine, params["project"])
    proven = hashes(engine, params["project"]) if recorded is None else client_inspection.proven_hashes(recorded)
    ids = _network_ids(engine, {name for one in params["services"] for name in one["networks"]})
    services = [
        service_drift.Service(
            name=one["name"],
            image=one["image"],
            definition=one["definition"],
            image_id=(engine.image(one["image"]) or {}).get("Id", ""),
            count=one["count"],
            restart=one["restart"],
            proven=proven.get(one["name"], ""),
            networks={name: ids[name] for name in one["networks"]},
        )
        for one in params["services"]
    ]
    clients = {one.name for one in engine.client_containers(params["project"])}
    names = {one.name for one in services}
    # What the operator runs beside the client in the same project is none of its services.
    containers = [
        one
        for one in (_container(engine, record, stale, clients) for record in records)
        if one.client or one.own or one.service in names
    ]
    found = service_drift.compare(services, containers, params["keep_adopted"])
    texts = {one["path"]: one["content"] for one in params["files"]}
    for service in params["services"]:
        held = env_file.held(texts.get(service["secret_file"]) or "", "compose")
        for record in records:
            if held and record["Config"]["Labels"].get(SERVICE_LABEL) == service["name"]:
                pairs = (line.partition("=")[::2] for line in record["Config"].get("Env") or [])
                stale = sorted({*env_state.differing(dict(pairs), held)} & {*held})
                name = record["Name"].lstrip("/")
                later = found.pending if found.kept else found.restarts
                later += [f"{name} was created with another {', '.join(stale)}"] if stale else []
    return found


def hashes(engine: Docker, project: str) -> dict[str, str]:
    """Returns Compose's hash of each service from its containers' labels; services with mixed hashes are left out."""
    found: dict[str, set[str]] = {}
    for record in _records(engine, project) if project else []:
        labels = record["Config"].get("Labels") or {}
        found.setdefault(labels.get(SERVICE_LABEL, ""), set()).add(labels.get(HASH_LABEL, ""))
    return {service: digest for service, (digest, *more) in found.items() if digest and not more}


def _records(engine: Docker, project: str) -> list[dict[str, t.Any]]:
    """Returns the project's containers, without migrations and one-off containers of `docker compose run`."""
    rows = engine.rows("containers of the project", filters={"label": [f"{PROJECT_LABEL}={project}"]})
    records = [engine.inspect_id(row["Id"]) for row in rows if not _one_shot(row["Labels"])]
    return sorted((one for one in records if one is not None), key=lambda one: str(one["Name"]))


def _one_shot(labels: t.Mapping[str, str]) -> bool:
    return labels.get(listing.ONE_OFF_LABEL) == "True" or labels.get(SERVICE_LABEL) == override.MIGRATION


def _container(
    engine: Docker, record: dict[str, t.Any], stale: t.Container[str], clients: t.Container[str]
) -> service_drift.Container:
    labels = record["Config"].get("Labels") or {}
    log = (record.get("HostConfig") or {}).get("LogConfig") or {}
    networks = (record.get("NetworkSettings") or {}).get("Networks") or {}
    image = record["Config"]["Image"]
    if is_id(image, {"ImageID": record["Image"]}):
        one = engine.container(record["Id"])
        image = one.image if one else image
    return service_drift.Container(
        name=record["Name"].lstrip("/"),
        service=labels.get(SERVICE_LABEL, ""),
        state=record["State"]["Status"],
        image=image,
        image_id=record["Image"],
        hash=labels.get(HASH_LABEL, ""),
        definition=labels.get(override.DEFINITION_LABEL, ""),
        own=override.OWN_LABEL in labels,
        client=record["Name"].lstrip("/") in clients,
        health=(record["State"].get("Health") or {}).get("Status") or "",
        restart=((record.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "no",
        networks={name: one.get("NetworkID", "") for name, one in networks.items()},
        stale=record["Name"].lstrip("/") in stale,
        log_capped=log.get("Type") not in ("json-file", "") or "max-size" in (log.get("Config") or {}),
    )


def _network_ids(engine: Docker, names: t.Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = engine.request(f"network {name}", "GET", f"/networks/{quote(name, safe='')}")["Id"]
        except NotFound:
            found[name] = ""
    return found


def unmanaged(engine: Docker, project: str, neighbours: t.Container[str]) -> list[dict[str, t.Any]]:
    """Returns the client containers of no deployment on this machine, in the format of `wa_info`."""
    others = [
        one
        for one in engine.client_containers(all_projects=True)
        if one.project != project and not (one.project and one.project in neighbours)
    ]
    records = ((one, engine.inspect(one)) for one in others)
    return [listing.describe(one, record) for one, record in records if record is not None]
