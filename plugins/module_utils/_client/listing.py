# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describes the client containers of a host for `wa_info`, without environment values other than the database."""

from __future__ import annotations

import posixpath
import typing as t
from dataclasses import asdict
from datetime import datetime, timezone

from ansible_collections.waba.onprem.plugins.module_utils._client import identity
from ansible_collections.waba.onprem.plugins.module_utils._compose import document as compose_document
from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MEDIA_FOLDER
from ansible_collections.waba.onprem.plugins.module_utils._docker import container_files
from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine
from ansible_collections.waba.onprem.plugins.module_utils._env import state as env_state


def started_at(record: t.Mapping[str, t.Any]) -> float:
    """Returns when a container was started last, in seconds since 1970; 0 for never. `record` is the engine's inspection of it."""
    stamp = record["State"].get("StartedAt", "")
    moment = datetime.fromisoformat(stamp[:19] + "+00:00") if stamp else datetime.fromtimestamp(0, timezone.utc)
    return max(moment.timestamp(), 0.0)


def database(environment: t.Mapping[str, str]) -> str:
    """Returns a container's database as `HOST:PORT/PREFIX`; empty without a database."""
    host, port, prefix = (environment.get(f"WA_DB_{key}", "") for key in ("HOSTNAME", "PORT", "NAME_PREFIX"))
    return f"{host.lower()}:{port}/{prefix}" if host else ""


def api_url(record: dict[str, t.Any]) -> str:
    """Returns the address at which the host reaches a container's port 443; empty if it is not published."""
    bindings = ((record.get("HostConfig") or {}).get("PortBindings") or {}).get("443/tcp") or []
    published = ((one["HostPort"], one.get("HostIp")) for one in bindings if one.get("HostPort", "").isdecimal())
    return next((topology.local_api_url(*one) for one in published), "")


def describe(container: docker_engine.Container, record: dict[str, t.Any]) -> dict[str, t.Any]:
    """Returns the description of a client container; `record` is the engine's inspection of it."""
    environment = container.environment or {}
    return {
        "name": container.name,
        "id": container.id,
        "image": container.image,
        "version": image_reference.parse(container.image).version,
        "role": container.role,
        "project": container.project,
        "service": container.service,
        "state": container.state,
        "health": docker_engine.health(record),
        "exit_code": record["State"].get("ExitCode", 0),
        "started_at": started_at(record),
        "restart": ((record.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "no",
        "api_url": api_url(record) if container.role == "web" else "",
        "one_shot": container.one_shot or container.service == compose_document.MIGRATION,
        "database": database(environment),
        "env_keys": sorted(environment),
        "identity": identity.of_container(environment),
        "files": docker_engine.compose_files(container.labels),
        "own": compose_document.OWN_LABEL in container.labels,
        "mounts": [asdict(mount) for mount in container.mounts],
        "configuration_mount": env_state.configuration_mount(
            container.role, environment, [(mount.name, mount.destination) for mount in container.mounts]
        ),
        "keeps_configuration": env_state.keeps_configuration(
            container.role, environment, [mount.destination for mount in container.mounts]
        ),
    }


def read(engine: docker_engine.Docker, project: str | None, names: list[str]) -> list[dict[str, t.Any]]:
    """Returns the client containers of one project or of all; a container removed meanwhile is left out."""
    found = engine.client_containers(project=project, all_projects=project is None, names=names)
    records = ((container, engine.inspect(container)) for container in found)
    return [describe(container, record) for container, record in records if record is not None]


def layer_media(engine: docker_engine.Docker, container: t.Mapping[str, t.Any]) -> str:
    """Returns a text about media in a container's writable layer, or why they are unknown; empty for none.

    The engine is queried only if nothing is mounted at their folder: files on a mount are not in the layer.
    """
    mounted = {posixpath.normpath(mount["destination"]) for mount in container["mounts"]}
    if container["role"] == "other" or any(f"{MEDIA_FOLDER}/".startswith(f"{one.rstrip('/')}/") for one in mounted):
        return ""
    try:
        return container_files.in_layer(engine, container["id"], MEDIA_FOLDER)
    except WaError as error:
        return f"unknown content of {MEDIA_FOLDER} ({error})"
