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

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MEDIA_FOLDER

HEADER = "# Written by Ansible (waba.onprem.wa_client)"  # first line of each Compose file written by the collection
# Docker's states of a container that runs, or resumes by itself; and of one that does not.
ACTIVE = ("running", "restarting", "paused")
STOPPED = ("exited", "created", "dead")
MIGRATION = "dbupgrade"  # the service of the one-shot migration
OWN_LABEL = "onprem.waba.deployment"  # label of everything created from the rendered file
DEFINITION_LABEL = "onprem.waba.definition"  # label of a service: digest of its definition in the inventory
MEDIA_VOLUME_LABEL = "onprem.waba.media-volume"
_PROGRAMS = "/opt/whatsapp/bin"
_LOG_FILES = "7"  # that Docker keeps of a container's own log
# Parts of a definition that earlier versions of the collection had: without them all containers would be recreated.
_FORMER: dict[str, t.Any] = {"extra": {}, "networks": {}, "volumes": {}, "secret_file": ""}
# By kind. The Coreapp's image has nc; that it has bash is not known.
_HEALTH = {
    "web": ["CMD-SHELL", "bash -c ': < /dev/tcp/127.0.0.1/443'"],
    "core": ["CMD-SHELL", "nc -z 127.0.0.1 6253"],
}
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
    log_max_size: str
    bind_address: t.Mapping[str, str]  # by kind: web, core
    migration: (
        bool  # whether the document has the one-shot migration, which is otherwise made from the operator's files
    )


def service_containers(containers: t.Iterable[t.Mapping[str, t.Any]]) -> list[t.Mapping[str, t.Any]]:
    """Returns the containers without migrations and one-off containers, which are never started."""
    return [one for one in containers if one["service"] != MIGRATION and not one["one_shot"]]


def is_migration(container: t.Mapping[str, t.Any], target: str) -> bool:
    """Returns whether a container of the service that migrates does so to the `target`: its name alone is no sign."""
    named = container["service"] == MIGRATION and container["version"] == target
    return bool(named and "WA_DB_UPGRADE" in container["env_keys"])


def rename(services: t.Iterable[Mapping], names: t.Mapping[str, str]) -> list[dict[str, t.Any]]:
    """Returns the services of `_deployment.layout.services` under the operator's names, also in references.

    Several services with one name become one scaled service. Raises WaError.
    """
    found: dict[str, dict[str, t.Any]] = {}
    for service in services:
        name = names.get(service["name"], service["name"])
        environment = {key: names.get(value, value) for key, value in service["environment"].items()}
        after = [names.get(other, other) for other in service["after"]]
        if name == MIGRATION or (name in found and found[name]["kind"] != service["kind"]):
            expected = "another name for each kind of service, and not the migration's"
            raise WaError("wa_client_service_names", f"{name} for {service['name']}", expected)
        if name in found:
            found[name]["scale"] = found[name].get("scale", 1) + 1
        else:
            found[name] = {**service, "name": name, "environment": environment, "after": after}
    return list(found.values())


def service(client: Client, one: Mapping) -> dict[str, t.Any]:
    """Returns the definition of one service, without its digest."""
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
        "volumes": [f"media:{MEDIA_FOLDER}"],
        "labels": labels,
        "cap_drop": ["MKNOD"],
        "scale": one.get("scale"),
        "restart": "unless-stopped",  # containers stopped by an upgrade stay stopped when Docker restarts
        "stop_grace_period": f"{topology.STOP_SECONDS}s",
        "logging": {
            "driver": "json-file",
            "options": {"max-size": client["log_max_size"], "max-file": _LOG_FILES},
        },
        "healthcheck": {
            "test": _HEALTH[kind],
            "interval": "30s",
            "timeout": "5s",
            "retries": 3,
            "start_period": "300s",
        },
    }
    return {key: value for key, value in found.items() if value}


def definition(client: Client, name: str) -> str:
    """Returns the digest of a service's definition, without the version, which the container's image has."""
    one: Mapping = next(one for one in client["services"] if one["name"] == name)
    kind = "web" if one["kind"] == "web" else "core"
    content = {
        **_FORMER,
        "deployment": {key: client["deployment"][key] for key in ("slug", "env_file", "network")},
        "image": client["images"][one["image"]],
        "engine": client["engine"],
        "service": dict(one),
        "media_volume": client["media_volume"],
        "stop_seconds": topology.STOP_SECONDS,
        "log": [client["log_max_size"], _LOG_FILES],
        "bind_address": client["bind_address"][kind] if one["ports"] else "",
        "healthcheck": _HEALTH[kind],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def document(client: Client) -> dict[str, t.Any]:
    """Returns the complete document."""
    deployment = client["deployment"]
    services = {one["name"]: service(client, one) for one in client["services"]}
    for name, body in services.items():
        body["labels"][DEFINITION_LABEL] = definition(client, name)
    if client["migration"]:
        migration = service(client, {"kind": "core", "image": "coreapp", "after": [], "environment": {}, "ports": []})
        migration.update(
            {
                "profiles": [MIGRATION],
                "restart": "no",
                # An engine that is shut down ends it with 137: a program that obeys SIGTERM might end with 0, as if it were done.
                "stop_signal": "SIGKILL",
                "environment": {"WA_CONFIG_ON_DB": "1", "WA_DB_UPGRADE": "1"},
            }
        )
        del migration["healthcheck"]
        services[MIGRATION] = migration
    return {
        "name": deployment["project"],
        "services": services,
        "networks": {"default": {"name": deployment["network"]}},
        "volumes": {"media": {"name": client["media_volume"], "external": True}},
    }


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
