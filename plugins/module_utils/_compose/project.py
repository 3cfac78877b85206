# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the desired state from a Compose file (written or not) and the actual state from the engine; changes nothing.

`docker compose config --hash` does not resolve env files, so it is run on the resolved document: its hashes are those in
the containers' labels (tested with 2.26 and 2.40). `up --dry-run` is not used: it makes changes in some versions.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import typing as t
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from urllib.parse import quote

from ansible_collections.waba.onprem.plugins.module_utils._compose import alteration, call, messages
from ansible_collections.waba.onprem.plugins.module_utils._compose import plan as compose_plan
from ansible_collections.waba.onprem.plugins.module_utils._compose.declared import complete_limits
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import (
    DEFINITION_LABEL,
    MIGRATION,
    OWN_LABEL,
)
from ansible_collections.waba.onprem.plugins.module_utils._core import files as core_files
from ansible_collections.waba.onprem.plugins.module_utils._core import redact
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine
from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import NotFound

_LABEL = "com.docker.compose."
_TIMEOUT = "60"  # seconds, for a local command
_UP_TIMEOUT = "3600"  # seconds: images may be pulled
_SHARED = ("network_mode", "ipc", "pid")
Document = dict[str, t.Any]
Run = t.Callable[..., tuple[int, str, str]]  # AnsibleModule.run_command


@dataclass
class Project:
    """One Compose project: the content and folder of its file, and its engine."""

    run: Run
    engine: docker_engine.Docker
    name: str
    folder: str
    document: Document  # the collection's file, which stands as `-` among `files`
    files: t.Sequence[str] = ("-",)  # the operator's are before or after it
    interpolation: t.Sequence[str] = ()  # files with the variables of the Compose files
    profiles: t.Sequence[str] | None = None
    selected: t.Sequence[str] = ()  # services to look at, with those that they depend on; none for all
    env_files: t.Mapping[str, str] = field(default_factory=dict)  # by path, contents that may not be written yet
    env_changes: t.Mapping[str, t.Sequence[str]] | None = None  # by container, keys that these change; None if written
    recreate: str = compose_plan.AUTO
    moving: t.Sequence[str] = ()
    undeclared: t.Sequence[str] | None = None
    proven: t.Mapping[str, str] = field(default_factory=dict)
    reasons: bool = True  # whether to find out why a hash differs, which takes more calls of Compose
    stale: t.Container[str] = ()  # containers whose different environment is reported elsewhere
    _environments: dict[str, tuple[dict[str, str], dict[str, str]]] = field(default_factory=dict, repr=False)

    @property
    def _rendered(self) -> bool:
        """Whether the collection's file is all that there is."""
        return tuple(self.files) == ("-",)

    def _compose(self, *arguments: str, data: str | None = None, timeout: str = _TIMEOUT) -> str:
        command = ["timeout", timeout, "docker", "--host", self.engine.transport.host, "compose", *arguments]
        # An operator's .env may select profiles.
        own = {} if self.profiles is None and not self._rendered else call.ENVIRONMENT
        environment = {**own, **call.directory(self.folder)}
        code, output, complaint = self.run(command, data=data, environ_update=environment, handle_exceptions=False)
        if code != 0:
            message = messages.one_line(complaint, self.secrets()) or messages.one_line(output, self.secrets())
            if data is None and "up" in arguments:
                raise WaError.of(f"the client in {self.folder} did not come up: {message or f'exit status {code}'}")
            raise WaError(
                f"Compose file of project {self.name}",
                f"Compose refuses it: {message or f'exit status {code}'}",
                "a file that docker compose config takes",
            )
        return output

    def _config(
        self,
        document: Document,
        *arguments: str,
        files: t.Sequence[str] = ("-",),
        interpolation: t.Sequence[str] = (),
        profiles: t.Sequence[str] = (),
    ) -> str:
        where = call.options(self.name, self.folder, files, interpolation, profiles)
        return self._compose(*where, "config", *arguments, data=json.dumps(document) if "-" in files else None)

    def _hashes(self, document: Document) -> dict[str, str]:
        # The document is resolved: a service that is in it was enabled by a profile, or by being selected.
        lines = self._config(document, "--hash", "*", profiles=["*"]).splitlines()
        return dict(line.split() for line in lines if line.strip())

    @cached_property
    def compose_version(self) -> str:
        """Returns the version of the installed Compose."""
        return self._compose("version", "--short").strip().lstrip("v")

    @cached_property
    def resolved(self) -> Document:
        """Returns the resolved document: interpolated, with profiles applied and env files read."""
        with self._planned_env_files() as (document, copies):
            # An empty text is a db.env whose new values are not known: the old ones are the best guess.
            kept = [path for path, text in self.env_files.items() if not text and os.path.exists(path)]
            interpolation = [path if path in kept else copies.get(path, path) for path in self.interpolation]
            options = ("--format", "json", *self.selected)
            text = self._config(
                document, *options, files=self.files, interpolation=interpolation, profiles=self.profiles or ()
            )
        found = t.cast("Document", json.loads(text))
        complete_limits(found.get("services") or {})
        return found

    @contextmanager
    def _planned_env_files(self) -> t.Iterator[tuple[Document, dict[str, str]]]:
        """Returns the document with each of `env_files` replaced by a private temporary copy, and the copies by path."""
        texts = {os.path.normpath(os.path.join(self.folder, path)): text for path, text in self.env_files.items()}
        document = copy.deepcopy(self.document)
        with core_files.private_copies(texts) as copies:
            for service in document.get("services", {}).values() if copies else ():
                if service.get("env_file"):
                    service["env_file"] = [self._copied(one, copies) for one in _listed(service["env_file"])]
            yield document, copies

    def _copied(self, entry: t.Any, copies: t.Mapping[str, str]) -> t.Any:
        path = entry.get("path", "") if isinstance(entry, dict) else entry
        place = copies.get(os.path.normpath(os.path.join(self.folder, path)))
        if place is None:
            return entry
        return {**entry, "path": place} if isinstance(entry, dict) else place

    # What runs

    @cached_property
    def found(self) -> list[compose_plan.Found]:
        """Returns the project's containers; with `selected` those of the services that are looked at."""
        found = containers(self.engine, self.name)
        looked_at = self.resolved["services"] if self.selected else ()
        return [one for one in found if one.own or one.service in looked_at] if self.selected else found

    def _environment(self, name: str) -> tuple[dict[str, str], dict[str, str]]:
        """Returns the environment of a container, and that of its image."""
        if name not in self._environments:
            container = self.engine.container(name)
            record = self.engine.inspect(container) if container else None
            image = self.engine.image(record["Image"]) if record else None
            lines = ((image or {}).get("Config") or {}).get("Env") or []
            own = (container.environment if container else None) or {}
            self._environments[name] = (own, dict(line.partition("=")[::2] for line in lines))
        return self._environments[name]

    def secrets(self) -> list[str]:
        """Returns the secrets read so far, to be redacted in messages."""
        services = self.__dict__.get("resolved", {}).get("services", {}).values()
        pairs = [pair for service in services for pair in (service.get("environment") or {}).items()]
        pairs += [pair for own, _image in self._environments.values() for pair in own.items()]
        pairs += [line.partition("=")[::2] for text in self.env_files.values() for line in text.splitlines()]
        return [str(value) for key, value in pairs if value and redact.is_secret(key)]

    # What is wanted

    @cached_property
    def services(self) -> list[compose_plan.Service]:
        """Returns the services that `docker compose up` starts."""
        hashes = self._hashes(self.resolved)
        return [self._service(name, body, hashes[name]) for name, body in self.resolved.get("services", {}).items()]

    def _service(self, name: str, body: Document, digest: str) -> compose_plan.Service:
        image = str(body.get("image", ""))
        shared = next((str(body[key]) for key in _SHARED if str(body.get(key, "")).startswith("service:")), "")
        shared = shared or ("volumes_from" if body.get("volumes_from") else "")
        mounts = [mount for mount in body.get("volumes") or [] if mount.get("type") == "volume" and mount.get("source")]
        volumes = self.resolved.get("volumes", {})
        return compose_plan.Service(
            name=name,
            image=image,
            hash=digest,
            image_id=self._image_ids.get(image, ""),
            count=_count(body),
            container_name=str(body.get("container_name", "")),
            networks=tuple(body.get("networks") or ()) if not body.get("network_mode") else (),
            volumes=tuple(str((volumes.get(mount["source"]) or {}).get("name", mount["source"])) for mount in mounts),
            unknown=f"it shares {shared}, which only Compose can resolve" if shared else "",
            definition=str((body.get("labels") or {}).get(DEFINITION_LABEL, "")),
        )

    @cached_property
    def _image_ids(self) -> dict[str, str]:
        names = {str(body.get("image", "")) for body in self.resolved.get("services", {}).values()} - {""}
        return {name: (self.engine.image(name) or {}).get("Id", "") for name in sorted(names)}

    @cached_property
    def networks(self) -> list[compose_plan.Network]:
        """Returns the actual state of the services' networks."""
        used = {key for service in self.services for key in service.networks}
        wanted = {key: body for key, body in (self.resolved.get("networks") or {}).items() if key in used}
        return [self._network(key, body) for key, body in wanted.items()]

    def _network(self, key: str, body: Document) -> compose_plan.Network:
        name, external = str(body.get("name", key)), bool(body.get("external"))
        try:
            record = self.engine.request(f"network {name}", "GET", f"/networks/{quote(name, safe='')}")
        except NotFound:
            return compose_plan.Network(key, name, external=external)
        had = (record.get("Labels") or {}).get(_LABEL + "config-hash", "")
        diverged = not external and bool(had) and had != network_hash(body)
        return compose_plan.Network(key, name, record["Id"], external, diverged)

    # What becomes of it

    def plan(self) -> list[compose_plan.Step]:
        """Returns the step for each container, with its reasons."""
        services, networks = self.services, self.networks
        used = {name for service in services for name in service.volumes}
        compared = any(network.diverged for network in networks) or any(
            {network.id for network in networks if network.key in service.networks} - {*one.networks}
            or {*service.volumes} - {*one.volumes}
            for service in services
            for one in self.found
            if one.service == service.name and one.state == "running"
        )
        steps = compose_plan.plan(
            self.name,
            services,
            self.found,
            networks,
            self.recreate,
            self.compose_version if compared and (networks or used) else "",
            self._differences() if self.reasons else {},
            self.env_changes,
            self.moving,
            self.undeclared,
            self.proven,
            self._altered(),
        )
        others = {service.name for service in services} - {*self.selected} if self.selected else ()
        return compose_plan.keep_others(steps, others, self._completed)

    def _altered(self) -> dict[str, list[str]]:
        """Returns what was changed in each container after Compose made it, see `_compose.alteration`."""
        names = {network.key: network for network in self.networks}
        found = {}
        for service in self.services:
            body = self.resolved["services"][service.name]
            networks = {names[key].id: names[key].name for key in service.networks if key in names}
            for one in self.found:
                record = self.engine.inspect_id(one.id) if one.service == service.name else None
                if record is not None:
                    found[one.name] = alteration.alterations(service.name, body, networks, record)
        return found

    @property
    def _completed(self) -> set[str]:
        """Returns the services that a selected one needs to have ended; they are not started again for a container that runs."""
        needs = [self.resolved["services"][name].get("depends_on") for name in self.selected]
        pairs = [pair for one in needs if isinstance(one, dict) for pair in one.items()]
        return {name for name, how in pairs if (how or {}).get("condition") == "service_completed_successfully"}

    def calls(self, steps: t.Sequence[compose_plan.Step], surplus: t.Container[str]) -> list[dict[str, t.Any]]:
        """Returns the calls of `docker compose up` for `steps`, see `_compose.plan.calls`.

        Selected services are called with those that they depend on: otherwise Compose before 2.40 gives them another hash.
        """
        return [
            {
                **one,
                "services": one["services"] or [*self.selected],
                "dependencies": bool(self.selected or not one["services"]),
            }
            for one in compose_plan.calls(steps, surplus, self.recreate)
        ]

    def up(self, files: t.Sequence[str], called: t.Mapping[str, t.Any]) -> None:
        """Makes one of the `calls` with these `files`, which are written; a missing image is pulled. Raises WaError with Compose's words."""
        where = call.options(self.name, self.folder, files, self.interpolation, self.profiles or ())
        how = {"never": ["--no-recreate"], "always": ["--force-recreate"]}.get(called["recreate"], [])
        alone = [] if called["dependencies"] else ["--no-deps"]
        options = ("--detach", "--quiet-pull", "--pull=missing", *how, *alone)
        self._compose("--progress=quiet", *where, "up", *options, "--", *called["services"], timeout=_UP_TIMEOUT)

    def restart_policies(self, steps: t.Iterable[compose_plan.Step]) -> list[dict[str, t.Any]]:
        """Returns the kept containers of the client whose restart policy differs, with the desired one.

        `docker update` changes it without a recreation. A policy that no file declares was given by hand, and stays.
        """
        found = []
        for step in steps if self.recreate != compose_plan.NEVER else ():
            record = self.engine.inspect_id(step.container) if step.action in ("none", "start", "unpause") else None
            body = self.resolved["services"].get(step.service)
            own = record is not None and OWN_LABEL in (record["Config"].get("Labels") or {})
            if record is None or body is None or not (own or step.service in self.selected):
                continue
            wanted, retries = alteration.restart_policy(body)
            if wanted and wanted != alteration.actual_policy(record):
                found.append({"name": step.container, "policy": wanted, "retries": retries})
        return found

    def lost_networks(self) -> list[WaError]:
        """Returns the missing external networks, at which Compose would fail."""
        return [
            WaError(
                f"network {network.name}",
                "not on this host",
                "the external network that the Compose file names",
                f"Create it: docker network create {network.name}, or correct the Compose file",
            )
            for network in self.networks
            if network.external and not network.id
        ]

    def renewed_networks(self) -> list[WaError]:
        """Returns the networks that Compose would recreate, with containers on them that another Compose file made.

        It disconnects these first, fails if others are on it, and does not give an old container its names on the new one.
        """
        anew = [
            network
            for network in self.networks
            if network.diverged and any(not one.own and network.id in one.networks for one in self.found)
        ]
        if not anew or compose_plan.numbers(self.compose_version) < compose_plan.COMPARES_NETWORKS:
            return []
        return [
            WaError(
                f"network {network.name}",
                "was made with other options than the Compose files have; Compose would recreate it, and disconnect what is on it",
                "the options that it has",
                "Declare it as external in a Compose file of yours ({networks: {default: {external: true}}}), or renew it yourself",
            )
            for network in anew
        ]

    def _differences(self) -> dict[str, compose_plan.Difference]:
        """Returns why the hash of a service differs from its container's, by container; unknown reasons are left out."""
        by_name = {service.name: service for service in self.services}
        pairs = [
            (one, by_name[one.service])
            for one in self.found
            if one.service in by_name and one.hash != by_name[one.service].hash and not by_name[one.service].unknown
        ]
        if not pairs:
            return {}
        found: dict[str, compose_plan.Difference] = {}
        as_made = copy.deepcopy(self.resolved)
        for one, service in pairs:
            body = as_made["services"][service.name]
            wanted = {key: _plain(value) for key, value in (body.get("environment") or {}).items()}
            held = self._held(one.name, wanted)
            keys = [key for key, value in wanted.items() if held.get(key) != value]
            if self.env_changes is None:  # otherwise the difference comes from a db.env that is not written yet
                keys += sorted(key for key in held if key not in wanted)
            body["environment"] = {key: value and value.replace("$", "$$") for key, value in held.items()}
            body["image"] = one.image
            text = self._describe_env(service.name, keys) if keys and one.name not in self.stale else ""
            found[one.name] = compose_plan.Difference(text, tuple(keys))
        hashes = self._hashes(as_made)
        for one, service in pairs:
            if hashes.get(service.name) != one.hash:
                found[one.name] = replace(found[one.name], definition=self._describe_definition(one, service.name))
        return found

    def _held(self, name: str, wanted: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Returns a container's environment without the variables that only its image sets."""
        own, image = self._environment(name)
        held: dict[str, t.Any] = {key: None for key, value in wanted.items() if value is None and key not in own}
        return {**held, **{key: value for key, value in own.items() if key in wanted or image.get(key) != value}}

    def _describe_env(self, service: str, keys: t.Sequence[str]) -> str:
        if not self._rendered:
            return f"its environment changed: {', '.join(sorted(keys))}"
        raw = (self.document.get("services") or {}).get(service) or {}
        inline = raw.get("environment") or {}
        named = {str(item).partition("=")[0] for item in inline}
        files = [one.get("path", "") if isinstance(one, dict) else one for one in _listed(raw.get("env_file"))]
        where = {
            "the environment in compose.yml": sorted(key for key in keys if key in named),
            " or ".join(os.path.basename(path) for path in files) or "the environment": sorted(
                key for key in keys if key not in named
            ),
        }
        return "; ".join(f"{place} changed: {', '.join(changed)}" for place, changed in where.items() if changed)

    def _describe_definition(self, one: compose_plan.Found, service: str) -> str:
        before = _without_digest(((self._written.get("services") or {}).get(service)) or {})
        after = _without_digest(self.resolved["services"][service])
        own = ("environment", "image")
        keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key) and key not in own)
        if before and keys:
            return f"{self._called} changed: {', '.join(keys)}"
        if one.compose_version and one.compose_version != self.compose_version.partition("-")[0]:
            return f"Compose {one.compose_version} made it, {self.compose_version} would make it otherwise"
        return f"the definition in {self._called} changed"

    @property
    def _called(self) -> str:
        return "compose.yml" if self._rendered else "the Compose files"

    @cached_property
    def _written(self) -> Document:
        """Returns the resolved document of the file in force; empty if Compose cannot read it."""
        path = os.path.join(self.folder, "compose.yml")
        if not self._rendered or not os.path.exists(path):
            return {}
        try:
            where = call.options(self.name, self.folder, [path])
            return t.cast("Document", json.loads(self._compose(*where, "config", "--format", "json")))
        except (WaError, ValueError):
            return {}


def _without_digest(body: Document) -> Document:
    """Returns a service without the digest of its definition, which always changes together with other options."""
    labels = {name: value for name, value in (body.get("labels") or {}).items() if name != DEFINITION_LABEL}
    return {**body, "labels": labels} if body else body


def network_hash(body: Document) -> str:
    """Returns the hash in a network's label (Compose 2.31 and later), from its definition printed by `config`."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":  # as Go encodes JSON
        text = text.replace(character, f"\\u{ord(character):04x}")
    return hashlib.sha256(text.encode()).hexdigest()


def containers(engine: docker_engine.Docker, project: str) -> list[compose_plan.Found]:
    """Returns a project's containers by name, without migrations and one-off containers of `docker compose run`."""
    rows = engine.rows("list of containers", filters={"label": [f"{_LABEL}project={project}"]})
    clients = {one.name for one in engine.client_containers(project)}
    found = [_found(row, _image_name(engine, row), clients) for row in rows if not _one_shot(row.get("Labels") or {})]
    return sorted(found, key=lambda one: one.name)


def _one_shot(labels: t.Mapping[str, str]) -> bool:
    return labels.get(_LABEL + "oneoff") == "True" or labels.get(_LABEL + "service") == MIGRATION


def _image_name(engine: docker_engine.Docker, row: t.Mapping[str, t.Any]) -> str:
    """Returns the image name that a container was created from: the engine lists the id after the tag has moved."""
    if not docker_engine.is_id(row["Image"], row):
        return str(row["Image"])
    container = engine.container(row["Id"])
    return container.image if container else str(row["Image"])


def _found(row: t.Mapping[str, t.Any], image: str, clients: t.Container[str]) -> compose_plan.Found:
    labels = row.get("Labels") or {}
    networks = (row.get("NetworkSettings") or {}).get("Networks") or {}
    mounts = row.get("Mounts") or []
    return compose_plan.Found(
        name=_name(row),
        service=labels.get(_LABEL + "service", ""),
        state=row["State"],
        hash=labels.get(_LABEL + "config-hash", ""),
        image=image,
        image_id=row["ImageID"],
        image_label=labels.get(_LABEL + "image", ""),
        number=int(labels.get(_LABEL + "container-number") or 1),
        compose_version=labels.get(_LABEL + "version", ""),
        networks=tuple(one.get("NetworkID", "") for one in networks.values()),
        volumes=tuple(mount["Name"] for mount in mounts if mount.get("Type") == "volume" and mount.get("Name")),
        definition=labels.get(DEFINITION_LABEL, ""),
        id=row["Id"],
        own=OWN_LABEL in labels,
        client=_name(row) in clients,
    )


def _name(row: t.Mapping[str, t.Any]) -> str:
    names = [name.lstrip("/") for name in row.get("Names") or [] if "/" not in name.lstrip("/")]
    return names[0] if names else str(row["Id"][:12])


def _count(body: Document) -> int:
    counts = [body.get("scale"), (body.get("deploy") or {}).get("replicas"), 1]
    return int(next(number for number in counts if number is not None))


def _listed(value: t.Any) -> list[t.Any]:
    return value if isinstance(value, list) else [value] if value else []


def _plain(value: t.Any) -> t.Any:
    """Returns a value of a resolved document with doubled dollar signs undone."""
    return value.replace("$$", "$") if isinstance(value, str) else value
