# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders the Compose file of a client from the inventory. Pure rules.

Each service has a label with a digest of its definition in the inventory. A container with the same digest is in sync;
changes that only a newer version of the collection makes to the file wait for the next recreation.
"""

from __future__ import annotations

import hashlib
import json
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._compose import override
from ansible_collections.waba.onprem.plugins.module_utils._compose.override import OWN_LABEL
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MEDIA_FOLDER

MEDIA_VOLUME_LABEL = "onprem.waba.media-volume"
_PROGRAMS = "/opt/whatsapp/bin"
_WAIT = {"MYSQL": "wait_on_mysql.sh", "PGSQL": "wait_on_postgres.sh"}
Mapping = t.Mapping[str, t.Any]


class Client(t.TypedDict):
    """The input of the Compose file of one host, see `_deployment.topology` and `_deployment.layout`."""

    deployment: Mapping
    images: t.Mapping[str, str]  # repositories by kind: web, coreapp
    version: str
    engine: str  # MYSQL, PGSQL
    services: t.Sequence[Mapping]
    media_volume: str
    media_path: str  # where it is mounted in a container
    stop_seconds: int
    log_max_size: str
    log_max_file: str
    bind_address: t.Mapping[str, str]  # by kind: web, core
    healthcheck: t.Mapping[str, t.Any]  # by kind: web, core
    extra_services: Mapping
    extra_networks: Mapping
    extra_volumes: Mapping
    secret_files: t.Mapping[str, str]  # by service


def service(client: Client, one: Mapping) -> dict[str, t.Any]:
    """Returns the definition of one service, without its digest and the operator's additions."""
    kind = "web" if one["kind"] == "web" else "core"
    deployment = client["deployment"]
    labels = {OWN_LABEL: deployment["slug"]}
    if client["media_volume"] != deployment["volume"]:
        labels[MEDIA_VOLUME_LABEL] = client[
            "media_volume"
        ]  # Compose's hash does not include the name of an external volume
    found = {
        "image": f"{client['images'][one['image']]}:v{client['version']}",
        "depends_on": list(one["after"]),
        "env_file": [deployment["env_file"]],
        # Keeps the registration in the database, so that containers can be recreated.
        "environment": {"WA_CONFIG_ON_DB": "1", **one["environment"]},
        "command": [f"{_PROGRAMS}/{_WAIT[client['engine']]}", f"{_PROGRAMS}/launch_within_docker.sh"],
        "ports": [f"{client['bind_address'][kind]}:{port['outside']}:{port['inside']}" for port in one["ports"]],
        "networks": ["default"],
        "volumes": [f"media:{client['media_path']}"],
        "labels": labels,
        "cap_drop": ["MKNOD"],
        "restart": "unless-stopped",  # containers stopped by an upgrade stay stopped when Docker restarts
        "stop_grace_period": f"{client['stop_seconds']}s",
        "logging": {
            "driver": "json-file",
            "options": {"max-size": client["log_max_size"], "max-file": client["log_max_file"]},
        },
        "healthcheck": {
            "test": client["healthcheck"][kind],
            "interval": "30s",
            "timeout": "5s",
            "retries": 3,
            "start_period": "5m",
        },
    }
    return {key: value for key, value in found.items() if value}


def definition(client: Client, name: str) -> str:
    """Returns the digest of a service's definition, without the version, which the container's image has."""
    one: Mapping = next((one for one in client["services"] if one["name"] == name), {})
    content: dict[str, t.Any] = {
        "extra": client["extra_services"].get(name, {}),
        "networks": client["extra_networks"],
        "volumes": client["extra_volumes"],
        "secret_file": client["secret_files"].get(name, ""),
    }
    if one:
        kind = "web" if one["kind"] == "web" else "core"
        content.update(
            deployment={key: client["deployment"][key] for key in ("slug", "env_file", "network")},
            image=client["images"][one["image"]],
            engine=client["engine"],
            service=dict(one),
            media_volume=client["media_volume"],
            stop_seconds=client["stop_seconds"],
            log=[client["log_max_size"], client["log_max_file"]],
            bind_address=client["bind_address"][kind] if one["ports"] else "",
            healthcheck=client["healthcheck"][kind],
        )
        if client["media_path"] != MEDIA_FOLDER:
            content["media_path"] = client["media_path"]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def document(client: Client) -> dict[str, t.Any]:
    """Returns the complete document. Raises WaError if the operator's additions are not valid Compose."""
    deployment = client["deployment"]
    services = {one["name"]: service(client, one) for one in client["services"]}
    migration = service(client, {"kind": "core", "image": "coreapp", "after": [], "environment": {}, "ports": []})
    migration.update(
        {
            "profiles": [override.MIGRATION],
            "restart": "no",
            # An engine that is shut down ends it with 137: a program that obeys SIGTERM might end with 0, as if it were done.
            "stop_signal": "SIGKILL",
            "environment": {"WA_CONFIG_ON_DB": "1", "WA_DB_UPGRADE": "1"},
        }
    )
    del migration["healthcheck"]
    services[override.MIGRATION] = migration
    made = {
        "name": deployment["project"],
        "services": services,
        "networks": {"default": {"name": deployment["network"]}},
        "volumes": {"media": {"name": client["media_volume"], "external": True}},
    }
    found = override.apply(
        made,
        client["extra_services"],
        client["extra_networks"],
        client["extra_volumes"],
        client["secret_files"],
        [one["name"] for one in client["services"] if one["kind"] == "core"],
    )
    for name, body in started(found).items():
        body["labels"] = {**(body.get("labels") or {}), override.DEFINITION_LABEL: definition(client, name)}
    return found


def version_override(client: Client) -> dict[str, t.Any]:
    """Returns the document that stands after an operator's own files: it sets the version of the client, and nothing else."""
    return {
        "name": client["deployment"]["project"],
        "services": {
            one["name"]: {"image": f"{client['images'][one['image']]}:v{client['version']}"}
            for one in client["services"]
        },
    }


def started(document: Mapping) -> dict[str, dict[str, t.Any]]:
    """Returns the services that `docker compose up` starts."""
    return {name: body for name, body in document["services"].items() if not body.get("profiles")}


def wanted(document: Mapping) -> list[dict[str, t.Any]]:
    """Returns the desired state of each service: name, image, definition, count, restart policy and networks."""
    project, networks = document["name"], document.get("networks") or {}

    def network(key: str) -> str:
        body = networks.get(key) or {}
        return str(body.get("name") or (key if body.get("external") else f"{project}_{key}"))

    return [
        {
            "name": name,
            "image": str(body.get("image") or ""),
            "definition": body["labels"][override.DEFINITION_LABEL],
            "count": _count(body),
            "restart": str(body.get("restart") or "no"),
            "networks": []
            if body.get("network_mode")
            else [network(key) for key in body.get("networks") or ["default"]],
        }
        for name, body in started(document).items()
    ]


def _count(body: Mapping) -> int:
    counts = [body.get("scale"), (body.get("deploy") or {}).get("replicas"), 1]
    return int(next(number for number in counts if number is not None))
