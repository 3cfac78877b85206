# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares a Compose project with what it is to be, and says what is done with its containers; changes nothing.

The collection's own file alone is compared without Compose: each container has the digest of its service's definition in a label.
An operator's files only Compose can read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import typing as t
from dataclasses import dataclass, field, replace
from functools import cached_property
from urllib.parse import quote

from ansible_collections.waba.onprem.plugins.module_utils._compose import alteration, definitions
from ansible_collections.waba.onprem.plugins.module_utils._compose import plan as compose_plan
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import (
    DEFINITION_LABEL,
    MIGRATION,
    OWN_LABEL,
    started,
)
from ansible_collections.waba.onprem.plugins.module_utils._compose.program import Compose, Document
from ansible_collections.waba.onprem.plugins.module_utils._core import files as core_files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine
from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import NotFound
from ansible_collections.waba.onprem.plugins.module_utils._env import state as env_state

_LABEL = "com.docker.compose."
_OTHER_SETTINGS = "was created with other settings than the inventory has"
_OTHER_FILES = "was made from other Compose files than there are now"
# Compose gives them to every container where the Docker client's own configuration has them, and `config` does not print them.
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")


@dataclass
class Project:
    """A project of the collection's file (`compose.rendered`), or of an operator's files, alone or together with the collection's."""

    engine: docker_engine.Docker
    compose: Compose
    recreate: str = compose_plan.AUTO
    moving: t.Sequence[str] = ()  # services that still run on another host
    env_changes: t.Mapping[str, t.Sequence[str]] = field(default_factory=dict)  # by container, of an unwritten db.env
    recorded: definitions.Recorded = field(default_factory=definitions.Recorded)  # when last healthy
    selected: t.Sequence[str] = ()  # services of the client, where others stand beside them; none for all
    env_file: str = ""
    compose_file: str = ""  # the collection's own
    held: t.Mapping[str, t.Collection[str]] = field(default_factory=dict)  # the values of db.env, for its readers
    undeclared: t.Collection[str] = ()  # keys of db.env that the inventory does not declare
    stale: t.Container[str] = ()  # containers whose different environment is reported elsewhere
    _records: dict[str, t.Any] = field(default_factory=dict, repr=False)

    @cached_property
    def resolved(self) -> Document:
        """Returns the document as `docker compose config` prints it, with the services that `docker compose up` starts.

        The collection's file, which is to be written, is so without Compose, and without the variables of db.env.
        """
        if not self.compose.rendered:
            return self.compose.resolved(self.selected)
        document, given = self.compose.document, started(self.compose.document).items()
        mounts = {name: [_mount(one) for one in body.get("volumes") or ()] for name, body in given}
        services = {
            name: {**body, "volumes": mounts[name], "networks": dict.fromkeys(body.get("networks") or ())}
            for name, body in given
        }
        networks = {key: {**body, "ipam": {}} for key, body in (document.get("networks") or {}).items()}
        return {**document, "services": services, "networks": networks}

    @cached_property
    def services(self) -> list[compose_plan.Service]:
        """Returns what the project's services are to be."""
        return [self._service(name, body) for name, body in (self.resolved.get("services") or {}).items()]

    def _service(self, name: str, body: Document) -> compose_plan.Service:
        image, volumes = str(body.get("image", "")), self.resolved.get("volumes") or {}
        mounted = [
            str(one["source"]) for one in body.get("volumes") or () if one.get("type") == "volume" and one.get("source")
        ]
        return compose_plan.Service(
            name=name,
            image=image,
            image_id=str((self.engine.image(image) or {}).get("Id", "")) if image else "",
            count=_count(body),
            container_name=str(body.get("container_name", "")),
            networks=tuple(body.get("networks") or ()) if not body.get("network_mode") else (),
            volumes=tuple(str((volumes.get(source) or {}).get("name", source)) for source in mounted),
            restart=alteration.restart_policy(body),
            definition=str((body.get("labels") or {}).get(DEFINITION_LABEL, "")),
        )

    @property
    def names(self) -> t.Sequence[str]:
        """Returns the names of the client's services."""
        return self.selected or [one.name for one in self.services]

    @cached_property
    def networks(self) -> list[compose_plan.Network]:
        """Returns the actual state of the services' networks."""
        used = {key for service in self.services for key in service.networks}
        wanted = self.resolved.get("networks") or {}
        return [self._network(key, str(wanted[key].get("name", key)), wanted[key]) for key in wanted if key in used]

    def _difference(self, one: compose_plan.Found) -> list[str]:
        """Returns why a container is recreated, as its service is defined."""
        # That its environment differs is reported elsewhere.
        reported = one.name in self.stale or bool(self.env_changes.get(one.name))
        different = [] if reported else self._variables(one)
        keys = [key for key in different if key not in self.undeclared]
        reasons = [f"has another environment than its Compose files give it: {', '.join(keys)}"] if keys else []
        wanted, ours = self._wanted(one), self.compose.rendered
        if one.definition != wanted.definition and (one.definition or ours):
            return [_OTHER_SETTINGS, *reasons]
        before = self.recorded.services.get(one.service, {})
        known = definitions.is_of(before, one.hash)
        if known and ("inputs" in before) is not ours:
            found = () if ours else definitions.changed(before, self.digests[one.service])
            # Another version of Compose may read the same files otherwise.
            same = not found or (self.inputs == before.get("inputs") and self.compose.version != before.get("compose"))
            alike = same or one.hash in self.current_hashes.get(one.service, ())
            return reasons if alike else [*reasons, *found]
        if reported or different:  # another environment gives another hash
            return reasons
        # Hashes of different versions of Compose cannot be compared. A container of the collection has its list of files in a label.
        files = [self.compose_file if path == "-" else path for path in self.compose.files]
        elsewhere = known if ours else one.own and [*one.files] != files
        unknown = (ours and not before) or not (elsewhere or one.compose == _core(self.compose.version))
        unknown = unknown or one.image != (wanted.image or one.image)  # which has a reason of its own
        unknown = unknown or _refers(self.resolved["services"][one.service])
        return [] if unknown or one.hash in self.current_hashes.get(one.service, ()) else [_OTHER_FILES]

    def _variables(self, one: compose_plan.Found) -> list[str]:
        """Returns the variables that a container has otherwise than its Compose files give them, or db.env with the collection's file."""
        given = self.resolved["services"][one.service].get("environment") or {}
        environment, image = self._environment(one)
        if self.compose.rendered:
            keys = env_state.differing(environment, self.held) if self.held else []
            return env_state.check(environment, keys, self.held, image, given).stale
        wanted = {key: str(value).replace("$$", "$") for key, value in given.items() if value is not None}
        more = (key for key, value in environment.items() if key not in given and image.get(key) != value)
        keys = [key for key, value in wanted.items() if environment.get(key) != value]
        if not self.record(one).get("Id"):
            return []  # it has just gone
        return sorted(keys + [key for key in more if key.lower() not in _PROXIES])

    @cached_property
    def digests(self) -> dict[str, definitions.Digests]:
        """Returns the digests of the present definitions, by service."""
        return {name: definitions.digests(body, self.recorded.salt) for name, body in self.resolved["services"].items()}

    @cached_property
    def inputs(self) -> str:
        """Returns a digest of the files that Compose reads, without the collection's own, as far as they are known."""
        theirs = [path for path in self.compose.files if path not in ("-", self.compose_file)]
        paths = [*theirs, *self.compose.interpolation, f"{self.compose.folder}/.env", self.env_file]
        return definitions.inputs(map(_text, paths))

    def _wanted(self, one: compose_plan.Found) -> compose_plan.Service:
        """Returns what the service of a container is to be."""
        return next(service for service in self.services if service.name == one.service)

    def is_recorded(self, one: compose_plan.Found) -> bool:
        """Returns whether the record has a container as its files are read now; one of the collection's file has that in its label."""
        before = self.recorded.services.get(one.service, {})
        if self.compose.rendered:
            return bool(before)
        same = definitions.is_of(before, one.hash) and "inputs" in before
        return same and not definitions.changed(before, self.digests[one.service])

    def _environment(self, one: compose_plan.Found) -> tuple[dict[str, str], dict[str, str]]:
        """Returns the environment of a container, and that of its image."""
        record = self.record(one)
        environment, image = docker_engine.variables(record["Config"]), self.engine.image(str(record.get("Image", "")))
        # Of an image that is gone nobody knows what it gave.
        return environment, environment if image is None else docker_engine.variables(image.get("Config") or {})

    @cached_property
    def _containers(self) -> list[compose_plan.Found]:
        return containers(self.engine, self.compose.project)

    @property
    def migrations(self) -> list[compose_plan.Found]:
        """Returns the containers that migrate the database, or have migrated it; the end of an upgrade removes them."""
        return [one for one in self._containers if one.service == MIGRATION]

    @cached_property
    def found(self) -> list[compose_plan.Found]:
        """Returns the project's containers; where others stand beside the client, those of its services and what they depend on."""
        found = [one for one in self._containers if one.service != MIGRATION]
        looked_at = {one.name for one in self.services}
        return [one for one in found if one.own or one.service in looked_at] if self.selected else found

    def record(self, one: compose_plan.Found) -> dict[str, t.Any]:
        """Returns the engine's record of a container."""
        if one.id not in self._records:
            self._records[one.id] = self.engine.inspect_id(one.id) or {"Config": {}, "HostConfig": {}, "State": {}}
        return t.cast("dict[str, t.Any]", self._records[one.id])

    def _differences(self, one: compose_plan.Found) -> list[str]:
        """Returns why a container of a service is not as that is defined, with what was changed in it afterwards."""
        planned = self.env_changes.get(one.name)
        keys = self._wanted(one).networks
        networks = {network.id: network for network in self.networks if network.id and network.key in keys}
        altered = alteration.alterations(
            one.service, self.resolved["services"][one.service], networks, self.record(one)
        )
        return [*([f"db.env changes: {', '.join(planned)}"] if planned else []), *self._difference(one), *altered]

    @cached_property
    def current_hashes(self) -> dict[str, set[str]]:
        """Returns the hashes that Compose gives each service now; none where it cannot read the files."""
        with contextlib.suppress(WaError):
            read = self.compose.resolved(self.selected) if self.compose.rendered else self.resolved
            return self.compose.hashes(read)
        return {}

    def next_record(self) -> definitions.Recorded:
        """Returns what is recorded when the client is healthy. Of a service that waits for its recreation the earlier record stays."""
        names, waits = {one.name for one in self.services}, set[str]()
        hashes: dict[str, set[str]] = {}
        for one in self.found:
            if one.service in names and one.hash:
                hashes.setdefault(one.service, set()).add(one.hash)
                if one.name in self.stale or self._difference(one):
                    waits.add(one.service)
        before = self.recorded.services
        made = {name: self._entry(name, ",".join(sorted(hashes[name]))) for name in hashes if name not in waits}
        return replace(self.recorded, services={**{name: before[name] for name in waits if name in before}, **made})

    def _entry(self, service: str, hashes: str) -> definitions.Digests:
        """Returns what is recorded of a service."""
        if self.compose.rendered:
            return {"hash": hashes}
        return {**self.digests[service], "hash": hashes, "inputs": self.inputs, "compose": self.compose.version}

    def plan(self) -> list[compose_plan.Step]:
        """Returns the step for each container, with its reasons."""
        names = {one.name for one in self.services}
        differences = {one.name: self._differences(one) for one in self.found if one.service in names}
        others = {name for name in names if self.selected and name not in self.selected}
        place = self.compose.project, self.services, self.found, self.networks
        steps = compose_plan.plan(*place, self.recreate, differences, self.moving, others, self._completed)
        return self._with_cut_off(steps)

    def _with_cut_off(self, steps: list[compose_plan.Step]) -> list[compose_plan.Step]:
        """Returns the steps, each with the containers beside the client that lose their network with its container."""
        goes = {one.container for one in steps if one.action in ("recreate", "remove")}
        rows = self.engine.rows("list of containers", stopped=False) if goes else []
        lose: dict[str, list[str]] = {}
        for row in rows:
            name, mode = docker_engine.container_name(row), str((row.get("HostConfig") or {}).get("NetworkMode", ""))
            if name not in goes and mode.startswith("container:"):
                lose.setdefault(mode.partition(":")[2], []).append(name)
        names = {one.name: ", ".join(sorted(lose[one.id])) for one in self.found if one.id in lose}
        return [
            replace(
                one, reasons=[*one.reasons, f"takes the network from {names[one.container]}; recreate it afterwards"]
            )
            if one.container in goes and one.container in names
            else one
            for one in steps
        ]

    def needs(self, service: str) -> list[str]:
        """Returns a service and those that it depends on; Compose counts links and shared namespaces among them."""
        found = [service]
        for name in found:  # which grows
            body = self.resolved["services"].get(name, {})
            found += [one for one in body.get("depends_on") or () if one not in found]
        return found

    @property
    def _completed(self) -> set[str]:
        """Returns the services that another one needs to have ended; they are not started again for a container that runs."""
        needs = [body.get("depends_on") for body in self.resolved["services"].values()]
        pairs = [pair for one in needs if isinstance(one, dict) for pair in one.items()]
        return {name for name, how in pairs if (how or {}).get("condition") == "service_completed_successfully"}

    def restart_policies(self) -> list[dict[str, t.Any]]:
        """Returns the containers of the client whose restart policy differs, with the desired one.

        `docker update` changes it without a recreation. A policy that no file declares was given by hand, and stays.
        """
        wanted = {one.name: one.restart for one in self.services}
        shown = alteration.shown_policy
        policies = (
            (one, shown(*alteration.actual_policy(self.record(one))), wanted.get(one.service, ("", 0)))
            for one in self.found
        )
        return [
            {"name": one.name, "policy": policy, "retries": retries, "found": found}
            for one, found, (policy, retries) in policies
            if policy and shown(policy, retries) != found and (one.own or one.service in self.selected)
        ]

    def refused_networks(self, calls: t.Collection[t.Any]) -> list[WaError]:
        """Returns the external networks that are missing, and those that Compose would renew for one of its `calls`."""
        lost = [
            WaError(
                f"network {network.name}",
                "not on this host",
                "the external network that the Compose file names",
                f"Create it: docker network create {network.name}, or correct the Compose file",
            )
            for network in self.networks
            if network.external and not network.id
        ]
        return lost + (self.diverged_networks() if calls else [])

    def diverged_networks(self) -> list[WaError]:
        """Returns the networks with containers that were made with other options than the Compose files have: Compose renews them."""
        used = {number for one in self.found for number in one.networks}
        return [
            WaError(
                f"network {network.name}",
                "was made with other options than the Compose files have; Compose would recreate it, and disconnect what is on it",
                "the options that it has",
                "Declare it as external in a Compose file of yours ({networks: {default: {external: true}}}), or renew it yourself",
            )
            for network in self.networks
            if network.diverged and network.id in used
        ]

    def _network(self, key: str, name: str, body: Document) -> compose_plan.Network:
        external = bool(body.get("external"))
        try:
            record = self.engine.request(f"network {name}", "GET", f"/networks/{quote(name, safe='')}")
        except NotFound:
            return compose_plan.Network(key, name, external=external)
        had = (record.get("Labels") or {}).get(_LABEL + "config-hash", "")
        diverged = not external and bool(had) and had != network_hash(body)
        return compose_plan.Network(key, name, record["Id"], external, diverged)


def _refers(body: Document) -> bool:
    """Returns whether a service names other containers, whose ids Compose puts into its hash when it makes one."""
    shared = [str(body.get(key) or "") for key in ("network_mode", "ipc", "pid")]
    return bool(body.get("links") or body.get("volumes_from")) or any(one.startswith("service:") for one in shared)


def sharing(
    services: t.Mapping[str, Document], names: t.Collection[str], recreated: t.Collection[str]
) -> list[WaError]:
    """Returns the services of `names` that share a namespace or volumes with a recreated one, and would lose them with its container."""
    return [
        WaError(
            f"service {name}",
            f"shares with {other} what goes with its container, which would be recreated alone",
            "both recreated together",
            f"Recreate both: docker compose up -d --force-recreate {other} {name}",
        )
        for name in names
        if name not in recreated
        for other in sorted(recreated)
        if f"service:{other}" in [services.get(name, {}).get(key) for key in ("network_mode", "ipc", "pid")]
        or other in [str(one).partition(":")[0] for one in services.get(name, {}).get("volumes_from") or ()]
    ]


def _mount(entry: t.Any) -> t.Any:
    """Returns a mount of the collection's file as `docker compose config` prints it."""
    if not isinstance(entry, str):
        return entry
    source, target = entry.split(":")[:2]
    return {"type": "volume", "source": source, "target": target}


def _text(path: str) -> str:
    """Returns the content of a file that Compose may read; empty if it is not there."""
    with contextlib.suppress(OSError, ValueError):
        return core_files.read_text(path)
    return ""


def _core(version: str) -> str:
    """Returns a version of Compose as it is in labels: 2.26.1 of 2.26.1-4, 2.24.6 of 2.24.6+ds1-0ubuntu2."""
    return re.split(r"[^\d.]", version)[0]


def network_hash(body: Document) -> str:
    """Returns the hash in a network's label (Compose 2.31 and later), from its definition printed by `config`."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":  # as Go encodes JSON
        text = text.replace(character, f"\\u{ord(character):04x}")
    return hashlib.sha256(text.encode()).hexdigest()


def containers(engine: docker_engine.Docker, project: str) -> list[compose_plan.Found]:
    """Returns a project's containers by name, without one-off containers of `docker compose run`."""
    rows = engine.rows("list of containers", filters={"label": [f"{_LABEL}project={project}"]})
    clients = {one.name for one in engine.client_containers(project)}
    kept = [row for row in rows if (row.get("Labels") or {}).get(_LABEL + "oneoff") != "True"]
    return sorted((_found(row, _image_name(engine, row), clients) for row in kept), key=lambda one: one.name)


def _image_name(engine: docker_engine.Docker, row: t.Mapping[str, t.Any]) -> str:
    """Returns the image name that a container was created from: the engine lists the id after the tag has moved."""
    if not docker_engine.is_id(row["Image"], row):
        return str(row["Image"])
    container = engine.container(row["Id"])
    return container.image if container else str(row["Image"])


def _found(row: t.Mapping[str, t.Any], image: str, clients: t.Container[str]) -> compose_plan.Found:
    labels = row.get("Labels") or {}
    networks = (row.get("NetworkSettings") or {}).get("Networks") or {}
    return compose_plan.Found(
        name=docker_engine.container_name(row),
        service=labels.get(_LABEL + "service", ""),
        state=row["State"],
        hash=labels.get(_LABEL + "config-hash", ""),
        image=image,
        image_id=row["ImageID"],
        number=int(labels.get(_LABEL + "container-number") or 1),
        networks=tuple(one.get("NetworkID", "") for one in networks.values()),
        volumes=tuple(
            one["Name"] for one in row.get("Mounts") or () if one.get("Type") == "volume" and one.get("Name")
        ),
        definition=labels.get(DEFINITION_LABEL, ""),
        compose=labels.get(_LABEL + "version", ""),
        files=tuple(docker_engine.compose_files(labels)),
        id=row["Id"],
        own=OWN_LABEL in labels,
        client=docker_engine.container_name(row) in clients,
    )


def _count(body: Document) -> int:
    counts = [body.get("scale"), (body.get("deploy") or {}).get("replicas"), 1]
    return int(next(number for number in counts if number is not None))
