# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspects the client's projects: what each container has, Compose files and volumes."""

from __future__ import annotations

import os
import re
import stat
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files as core_files
from ansible_collections.waba.onprem.plugins.module_utils._core import redact
from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker

_COMPOSE = "com.docker.compose."
# Programs that start or replace other containers.
_WATCHERS = re.compile(r"autoheal|watchtower|ouroboros|willfarrell|dockerheal", re.IGNORECASE)


def read(engine: Docker) -> dict[str, t.Any]:
    """Returns the client's containers, other containers of their projects, their volumes, and watchers. Secrets are not masked."""
    rows = engine.rows("list of containers")
    clients = engine.client_containers(all_projects=True)
    projects = {one.project for one in clients} - {""}
    ours = {one.id: one.image for one in clients}  # the image's name if the inspection has only its id
    images: dict[str, dict[str, t.Any]] = {}
    containers: list[dict[str, t.Any]] = []
    sidecars: list[dict[str, t.Any]] = []
    watchers: list[dict[str, str]] = []
    for row in rows:
        name = docker_engine.container_name(row)
        if _WATCHERS.search(row["Image"] + " " + name):
            watchers.append({"kind": "container", "path": name, "line": f"{row['Image']}, {row['State']}"})
        beside = (row.get("Labels") or {}).get(docker_engine.PROJECT_LABEL, "") in projects
        if row["Id"] not in ours and not beside:
            continue
        one = _container(engine, row["Id"], ours.get(row["Id"]), images)
        if one is not None:
            (containers if row["Id"] in ours else sidecars).append(one)
    everything = [*containers, *sidecars]
    volumes = {part for one in everything for kind, part, _path in one["mounts"] if kind == "volume"}
    return {
        "containers": sorted(containers, key=lambda one: str(one["name"])),
        "sidecars": sorted(sidecars, key=lambda one: str(one["name"])),
        "watchers": watchers,
        "volumes": [volume for volume in map(engine.volume, sorted(volumes)) if volume],
    }


def _container(
    engine: Docker, key: str, name: str | None, images: dict[str, dict[str, t.Any]]
) -> dict[str, t.Any] | None:
    found = engine.container(key)
    record = engine.inspect(found) if found else None
    if found is None or record is None:
        return None
    found.image = name or found.image
    if record["Image"] not in images:
        images[record["Image"]] = (engine.image(record["Image"]) or {}).get("Config") or {}
    own = docker_engine.variables(images[record["Image"]])
    host, labels = record["HostConfig"], record["Config"].get("Labels") or {}
    folder = labels.get(docker_engine.FOLDER_LABEL, "")
    env_files = labels.get(docker_engine.ENV_FILES_LABEL, "")
    return {
        "name": found.name,
        "id": found.id,
        "image": found.image,
        "role": found.role,
        "project": found.project,
        "service": found.service,
        "number": int(labels.get(_COMPOSE + "container-number") or 1),
        "one_shot": found.one_shot,
        "state": found.state,
        "created": record["Created"],
        "compose_version": labels.get(_COMPOSE + "version", ""),
        "folder": folder,
        "files": docker_engine.compose_files(labels),
        # Compose v1 has them as they were given.
        "interpolation_files": [os.path.normpath(os.path.join(folder, path)) for path in env_files.split(",") if path],
        "restart": (host.get("RestartPolicy") or {}).get("Name") or "no",
        "network_mode": host.get("NetworkMode", ""),
        "ports": _ports(host.get("PortBindings") or {}),
        "labels": {key: value for key, value in labels.items() if not key.startswith(_COMPOSE)},
        "environment": {
            key: value for key, value in docker_engine.variables(record["Config"]).items() if own.get(key) != value
        },
        "mounts": [[mount.kind, mount.name, mount.destination] for mount in found.mounts],
    }


def _ports(bindings: t.Mapping[str, t.Any]) -> list[str]:
    """Returns published ports in Compose's syntax: `9090:443`, `127.0.0.1:9090:443`, `53:53/udp`."""
    found = []
    for inside, outsides in sorted(bindings.items()):
        target = inside[: -len("/tcp")] if inside.endswith("/tcp") else inside
        for outside in outsides or []:
            address, port = outside.get("HostIp") or "", outside.get("HostPort") or ""
            address = f"[{address}]" if ":" in address else address
            found.append(":".join(part for part in (address, port, target) if part))
    return found


def search_terms(inspected: t.Mapping[str, t.Any]) -> set[str]:
    """Returns the terms that lines about these containers contain: names, ids, folders, files, images, cleanup.sh."""
    found = {"cleanup.sh"}
    for one in inspected["containers"]:
        found |= {one["name"], one["id"], one["id"][:12], one["image"], one["folder"], *one["files"]}
    return found - {""}


def read_files(paths: t.Iterable[str]) -> list[dict[str, t.Any]]:
    """Returns each file's text, mode, owner, and the `target` of a link; `problem` instead of the text if it cannot be read."""
    found = []
    for path in dict.fromkeys(paths):
        one: dict[str, t.Any] = {"path": path, "target": path, "problem": "", "text": None}
        if os.path.islink(path):
            one["target"] = os.path.realpath(path)
        try:
            status = os.stat(path)
            one.update(mode=f"{stat.S_IMODE(status.st_mode):04o}", owner=core_files.owner(status)[0])
            one["text"] = core_files.read_text(path)
        except OSError as error:
            one["problem"] = error.strerror or "not readable"
        except UnicodeDecodeError:
            one["problem"] = "not UTF-8"
        found.append(one)
    return found


def secrets(inspected: t.Mapping[str, t.Any]) -> set[str]:
    """Returns every secret in an inspection."""
    found = {
        value
        for one in [*inspected["containers"], *inspected["sidecars"]]
        for key, value in [*one["environment"].items(), *one["labels"].items()]
        if value and (redact.is_secret(key) or redact.holds_password(value))
    }
    for volume in inspected["volumes"]:
        found |= redact.option_secrets(volume.get("Options") or {})
    return found
