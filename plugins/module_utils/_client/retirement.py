# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends a deployment on one host: what goes and what stays, and the removal. Data always stay."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._client import application, inspection, listing
from ansible_collections.waba.onprem.plugins.module_utils._client import files as client_files
from ansible_collections.waba.onprem.plugins.module_utils._core import removal
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import hold, host_objects
from ansible_collections.waba.onprem.plugins.module_utils._docker import images
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import PROJECT_LABEL, Docker, container_name
from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import NotFound
from ansible_collections.waba.onprem.plugins.module_utils._env import state as env_state

Container = t.Mapping[str, t.Any]  # as `wa_info` describes it
_ORDER = ("web", "core", "master")  # the Webapp takes no more requests before the Coreapp goes
_NAMELESS = re.compile(r"[0-9a-f]{64}")  # a volume without a name
# What the record of the client must have in common with the inventory, or another deployment's things would go.
_RECORDED = ("project", "project_dir", "env_file")


class Desired(t.TypedDict):
    """What the inventory says of the deployment on this host; `names` are those of `host_objects`."""

    names: dict[str, str]
    env_format: str
    container_names: list[str]
    compose_files: list[str]  # the operator's own
    database: str
    without_backup: bool


@dataclass
class Plan:
    """What goes and what stays, for people, and what `apply` needs."""

    containers: t.Sequence[Container]
    networks: list[dict[str, t.Any]]
    removal: removal.Plan
    goes: list[str]
    stays: list[str]
    has_client: bool  # a container, or the record of a client


def plan(engine: Docker, desired: Desired) -> Plan:
    """Returns the plan for this host. Raises WaError if a removal would lose data, or another client's things would go."""
    names = desired["names"]
    held = hold.read(names["hold_file"], time.time())
    if held:
        raise WaError.of(f"The client is {hold.describe(held, 'this host')}. Nothing was changed")
    recorded = inspection.record(names["identity_file"])
    for name in _RECORDED:
        if recorded.get(name, names[name]) != names[name]:
            raise WaError(
                f"wa_{name}",
                f"{names[name] or 'empty'}; {names['identity_file']} says {recorded[name] or 'empty'}",
                "the deployment as provision.yml left it",
                f"Set wa_{name} as it was",
            )
    rows = engine.rows("list of containers")
    containers = [
        one
        for one in listing.read(engine, names["project"], [])
        if names["project"] or one["name"] in desired["container_names"]
    ]
    containers.sort(key=lambda one: (_ORDER.index(one["role"]) if one["role"] in _ORDER else 0, one["name"]))
    for one in containers:
        _refuse_loss(engine, one, desired)
    networks, kept = _networks(engine, names["project"], rows, {one["id"] for one in containers})
    folders = [path for one, path in host_objects.placed(names) if one.kind == "folder"]
    removed = removal.plan(_files(names), folders)
    goes = [f"container {one['name']} ({one['image']}, {one['state']})" for one in containers]
    goes += [f"network {one['Name']}" for one in networks] + removed.files + removed.folders
    stays = kept + _data(engine, desired) + [path for path in desired["compose_files"] if os.path.exists(path)]
    if names["env_file"] not in removed.files and os.path.exists(names["env_file"]):
        stays.append(names["env_file"])
    stays += [f"{path}, which {reason}" for path, reason in removed.kept.items()]
    return Plan(containers, networks, removed, goes, stays, bool(containers or recorded))


def apply(engine: Docker, found: Plan) -> None:
    """Stops and removes the containers, then networks, files and empty folders. Each step may be repeated."""
    for one in found.containers:
        application.stop(engine, one["name"])
    for one in found.containers:
        application.remove(engine, one["name"])
    for network in found.networks:
        with contextlib.suppress(NotFound):
            engine.request(f"network {network['Name']}", "DELETE", f"/networks/{network['Id']}")
    removal.apply(found.removal)


def _refuse_loss(engine: Docker, one: Container, desired: Desired) -> None:
    """Raises WaError if data are only in a container that would be removed."""
    subject = f"container {one['name']}"
    cure = (
        "Nothing was changed. Copy what it holds (docker cp), remove the container yourself (docker rm), then run again"
    )
    media = listing.layer_media(engine, one)
    if media:
        raise WaError(subject, f"holds {media} in its own writable layer", "media on a volume, which stays", cure)
    if not one["keeps_configuration"] and not one["one_shot"] and desired["without_backup"]:
        raise WaError(
            subject,
            f"has the registration only in its own writable layer, at {env_state.CONFIG_FOLDER}",
            "a settings backup, which holds it too",
            f"Leave out wa_retire_without_backup. {cure}",
        )
    nameless = [mount["destination"] for mount in one["mounts"] if _NAMELESS.fullmatch(mount["name"])]
    record = engine.inspect_id(one["id"]) if nameless else None
    if record and (record.get("HostConfig") or {}).get("AutoRemove"):
        raise WaError(
            subject,
            f"made with docker run --rm, so that a stop removes its volumes without a name ({', '.join(nameless)})",
            "volumes that stay",
            cure,
        )


def _networks(
    engine: Docker, project: str, rows: t.Sequence[t.Mapping[str, t.Any]], going: t.Collection[str]
) -> tuple[list[dict[str, t.Any]], list[str]]:
    """Returns the project's networks that nothing else uses, and a line for each other container and network of the project."""
    if not project:
        return [], []
    query = {"filters": json.dumps({"label": [f"{PROJECT_LABEL}={project}"]})}
    found = engine.request("list of networks", "GET", "/networks", query)
    others = [one for one in rows if one["Id"] not in going]
    beside = [one for one in others if (one.get("Labels") or {}).get(PROJECT_LABEL) == project]
    used = {name for one in others for name in (one.get("NetworkSettings") or {}).get("Networks") or {}}
    kept = [f"container {container_name(one)}, which is not the client's" for one in beside]
    kept += [f"network {one['Name']}, which other containers use" for one in found if one["Name"] in used]
    return [one for one in found if one["Name"] not in used], kept


def _files(names: t.Mapping[str, str]) -> list[str]:
    """Returns the files that go, in the order of the list, whether they are there or not."""
    found: list[str] = []
    for one, path in host_objects.placed(names):
        if one.kind == "file":
            found.append(path)
        elif one.kind == "compose":
            found += [each for each in removal.matching(path) if client_files.is_own(each)]
        elif one.kind == "env" and os.path.dirname(names["env_file"]) == names["project_dir"]:
            found.append(path)
        elif one.kind == "script":
            jobs = removal.matching(f"{names['cron_dir']}/wa-*-log-cleanup")
            found += [path] if {os.path.basename(job) for job in jobs} <= {names["cron_file"]} else []
    return found


def _data(engine: Docker, desired: Desired) -> list[str]:
    """Returns a line for each piece of data of the deployment that is there."""
    names, found = desired["names"], list[str]()
    volume = engine.volume(names["volume"])
    if volume:
        place = (volume.get("Options") or {}).get("device") or volume.get("Mountpoint") or "an unknown place"
        found.append(f"media volume {names['volume']} at {place}")
    database = _database(desired)
    if database:
        server, _slash, prefix = database.partition("/")
        found.append(f"databases on {server} {f'with the prefix {prefix}' if prefix else 'without a prefix'}")
    for one, path in host_objects.placed(names):
        found += removal.matching(path) if one.kind == "data" else []
    return found + [f"image {one['name']}" for one in images.local(engine)]


def _database(desired: Desired) -> str:
    """Returns the database in db.env as `HOST:PORT/PREFIX`; without a file that of the inventory, empty for none."""
    held = inspection.db_env(desired["names"]["env_file"], desired["env_format"])
    return "{hostname}:{port}/{name_prefix}".format(**held) if held else desired["database"]
