# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connects to the Docker Engine (the only adapter): client containers, images, volumes. Uses `_docker.transport`."""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import quote

from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import (
    client_containers as deployment_client_containers,
)
from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import NotFound, Transport

PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
FOLDER_LABEL = "com.docker.compose.project.working_dir"
FILES_LABEL = "com.docker.compose.project.config_files"
ENV_FILES_LABEL = "com.docker.compose.project.environment_file"
ONE_OFF_LABEL = "com.docker.compose.oneoff"
API_VERSION = "1.45"  # the newest tested API version; later changes of the API have no effect


def container_name(row: t.Mapping[str, t.Any]) -> str:
    """Returns the name of a container from Docker's list, where the names that links give it stand, too."""
    names = [name.lstrip("/") for name in row.get("Names") or [] if "/" not in name.lstrip("/")]
    return names[0] if names else str(row["Id"][:12])


@dataclass(frozen=True)
class Mount:
    """One mount of a container: `kind` is volume, bind or tmpfs; `name` is the volume's name or the host's path."""

    kind: str
    name: str
    destination: str
    writable: bool


@dataclass
class Container:
    """A container from Docker's list. `environment` is None until `Docker.inspect` has read it."""

    id: str
    name: str
    image: str
    state: str
    labels: dict[str, str]
    mounts: list[Mount]
    command: str = field(default="", repr=False)  # the complete command line, which may contain secrets
    environment: dict[str, str] | None = field(default=None, repr=False)  # contains secrets
    images: deployment_client_containers.ClientImages = field(
        default_factory=deployment_client_containers.ClientImages, repr=False
    )

    @property
    def project(self) -> str:
        """Returns the Compose project; empty for a container outside Compose."""
        return self.labels.get(PROJECT_LABEL, "")

    @property
    def service(self) -> str:
        """Returns the Compose service, or the container's name outside Compose."""
        return self.labels.get(SERVICE_LABEL) or self.name

    @property
    def running(self) -> bool:
        """Returns whether commands can be executed in it: not in a paused or restarting container."""
        return self.state == "running"

    @property
    def client(self) -> bool:
        """Returns whether it is the client's; false if that depends on its environment, until `Docker.inspect` has read it."""
        return bool(deployment_client_containers.is_client(self.facts, self.images))

    @property
    def facts(self) -> deployment_client_containers.Facts:
        """Returns the input of the rule for the client's containers."""
        mounted = [mount.destination for mount in self.mounts]
        return deployment_client_containers.Facts(self.image, self.command, mounted, self.environment)

    @property
    def role(self) -> str:
        """Returns `web`, `core`, `master` or `other`; a master is detected only after `inspect`."""
        if not self.client:
            return "other"
        environment = self.environment or {}
        if deployment_client_containers.kind(self.image, self.images, environment) == "web":
            return "web"
        return "master" if environment.get("WA_MASTER_NODE") == "1" else "core"

    @property
    def one_shot(self) -> bool:
        """Returns whether it is no service, after `inspect`: a migration, a one-off container of `docker compose run`, or a try.

        What has ended without any database was tried by hand, and is no client that could be started again.
        """
        environment = self.environment or {}
        tried = self.state in ("created", "exited", "dead") and not environment.get("WA_DB_HOSTNAME")
        return tried or environment.get("WA_DB_UPGRADE") == "1" or self.labels.get(ONE_OFF_LABEL) == "True"


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdecimal()]


def compose_files(labels: t.Mapping[str, str]) -> list[str]:
    """Returns the Compose files of a container. Compose v1 recorded them relative to the folder where it was called, and not that folder."""
    folder = labels.get(FOLDER_LABEL, "")
    return [_compose_file(folder, path) for path in labels.get(FILES_LABEL, "").split(",") if path]


def _compose_file(folder: str, path: str) -> str:
    """Returns a recorded path below the project's folder or one above it, or the file of that name in the folder, whichever is there."""
    if os.path.isabs(path) or "/" not in path:
        return os.path.normpath(os.path.join(folder, path))
    above = [folder]
    while os.path.dirname(above[-1]) not in ("", above[-1]):
        above.append(os.path.dirname(above[-1]))
    places = [os.path.normpath(os.path.join(place, path)) for place in above] + [
        os.path.join(folder, os.path.basename(path))
    ]
    return next((place for place in places if os.path.exists(place)), places[0])


def health(record: t.Mapping[str, t.Any]) -> str:
    """Returns the health status of an inspected container; empty without a health check.

    Docker sets a container that it pauses to unhealthy, with no failed check, and measures again some time after it is unpaused.
    """
    found = record["State"].get("Health") or {}
    unmeasured = found.get("Status") == "unhealthy" and not found.get("FailingStreak")
    return "starting" if unmeasured else found.get("Status") or ""


def variables(config: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Returns the environment in the configuration of a container or an image. Without an equals sign a variable is not set."""
    pairs = (line.partition("=") for line in config.get("Env") or [])
    return {key: value for key, equals, value in pairs if equals}


def is_id(image: str, row: t.Mapping[str, t.Any]) -> bool:
    """Returns whether a listed container's image is an id or a short id."""
    return image.startswith("sha256:") or row["ImageID"].partition(":")[2].startswith(image)


class Docker:
    """One Docker Engine; thread-safe. Every method raises WaError with the engine's message."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        """Connects with a module's `docker_*` options and negotiates the API version."""
        self.images = deployment_client_containers.ClientImages.of(params.get("client_images"))
        self.transport = Transport(params)
        if any("Podman" in str(one.get("Name")) for one in self.about.get("Components") or []):
            raise WaError(
                f"Docker Engine at {self.transport.host}",
                "what answers there is Podman, which speaks like Docker and does not behave like it",
                "Docker itself",
                "Use another host, or set docker_host (wa_docker_host) to where a Docker Engine listens",
            )
        newest = min(self.about.get("ApiVersion", API_VERSION), API_VERSION, key=_numbers)
        self.version: str = max(newest, self.about.get("MinAPIVersion", newest), key=_numbers)

    @cached_property
    def about(self) -> dict[str, t.Any]:
        """Returns the engine's versions, as `docker version`."""
        return t.cast("dict[str, t.Any]", self.transport.request("Docker Engine", "GET", "/version"))

    def request(
        self,
        subject: str,
        method: str,
        path: str,
        query: t.Mapping[str, t.Any] | None = None,
        body: t.Any = None,
        headers: t.Mapping[str, str] | None = None,
    ) -> t.Any:
        """Returns the engine's answer. Raises NotFound (a WaError) if the object does not exist; `subject` names it."""
        return self.transport.request(subject, method, f"/v{self.version}{path}", query, body, headers)

    def _find(self, subject: str, path: str) -> dict[str, t.Any] | None:
        try:
            return t.cast("dict[str, t.Any]", self.request(subject, "GET", path))
        except NotFound:
            return None

    def info(self) -> dict[str, t.Any]:
        """Returns the result of `docker info`."""
        return t.cast("dict[str, t.Any]", self.request("Docker Engine", "GET", "/info"))

    # Containers

    def client_containers(
        self,
        project: str | None = None,
        stopped: bool = True,
        all_projects: bool = False,
        names: t.Sequence[str] = (),
    ) -> list[Container]:
        """Returns all client containers of one project, sorted by name.

        Costs one request, one more for an image listed by id or digest, and one for a container that is detected by its
        environment only. `project` is a Compose project, `""` for containers outside Compose, None for the only project:
        several raise WaError unless `all_projects` is set. A container with one of `names` always counts.
        """
        found = []
        for row in self.rows("list of containers", stopped):
            image = row["Image"]
            # Docker lists only the id after the tag has moved to a newer image.
            if is_id(image, row):
                record = self._record(row["Id"], row["Id"][:12])
                if record is None:
                    continue
                image = record["Config"]["Image"]
                if is_id(image, row):
                    image = self._name_of(image)
            elif not image_reference.parse(image).tag:
                # Pinned by digest: the version comes from a tag of the same image.
                image = self._name_of(image)
            container = self._container(row, image)
            if project is not None and container.project != project:
                continue
            if container.name in names or self._is_client(container):
                found.append(container)
        found.sort(key=lambda container: container.name)
        if project is not None or all_projects:
            return found
        projects = sorted({container.project for container in found})
        if len(projects) > 1:
            raise WaError(
                "client containers",
                "more than one project on this host: " + ", ".join(name or "(outside Compose)" for name in projects),
                "one, or the option project",
                'Set project to one of them ("" for the containers outside Compose)',
            )
        return found

    def services(self, project: str, names: t.Sequence[str] = ()) -> list[tuple[Container, dict[str, t.Any]]]:
        """Returns the containers of a deployment's services, with their inspections; outside Compose those of `names`, or all without any."""
        found = self.client_containers(project, names=names)
        read = [(one, self.inspect(one)) for one in found if project or not names or one.name in names]
        return [(one, record) for one, record in read if record is not None and not one.one_shot]

    def _is_client(self, container: Container) -> bool:
        if deployment_client_containers.is_client(container.facts, self.images) is None:
            self.inspect(container)
        return container.client

    def _name_of(self, image: str) -> str:
        """Returns a tagged name of a container's image: of its repository, else of a client image, else the given name."""
        record = self.image(image) or {}
        names = [*(record.get("RepoTags") or []), *(record.get("RepoDigests") or [])]
        own = image_reference.parse(image).repository
        rules: list[t.Callable[[str], t.Any]] = [
            lambda name: "@" in image and image_reference.parse(name).repository == own,
            self.images.configured,
            self.images.named,
        ]
        return next((name for rule in rules for name in names if rule(name)), image)

    def _container(self, row: dict[str, t.Any], image: str) -> Container:
        mounts = [
            Mount(
                kind=mount.get("Type", "bind"),
                name=mount.get("Name") or mount.get("Source", ""),
                destination=mount.get("Destination", ""),
                writable=bool(mount.get("RW")),
            )
            for mount in row.get("Mounts") or []
        ]
        return Container(
            row["Id"],
            container_name(row),
            image,
            row["State"],
            row.get("Labels") or {},
            mounts,
            command=row.get("Command") or "",
            images=self.images,
        )

    def rows(
        self, subject: str, stopped: bool = True, filters: t.Mapping[str, t.Sequence[str]] | None = None
    ) -> list[dict[str, t.Any]]:
        """Returns the engine's list of containers; `filters` are those of `docker ps`."""
        query = {"all": int(stopped), **({"filters": json.dumps(filters)} if filters else {})}
        return t.cast("list[dict[str, t.Any]]", self.request(subject, "GET", "/containers/json", query))

    def _record(self, key: str, name: str) -> dict[str, t.Any] | None:
        return self._find(f"container {name}", f"/containers/{quote(key, safe='')}/json")

    def container(self, name: str) -> Container | None:
        """Returns the container with this name, id or short id, or None. Costs one request."""
        record = self._record(name, name)
        if record is None:
            return None
        row = {"Id": record["Id"], "Names": [record["Name"]], "State": record["State"]["Status"]}
        row.update(Labels=record["Config"].get("Labels"), Mounts=record.get("Mounts"))
        row["Command"] = " ".join([record.get("Path") or "", *(record.get("Args") or [])])
        return self._container(row, record["Config"]["Image"])

    def inspect(self, container: Container) -> dict[str, t.Any] | None:
        """Returns the inspection of a container and sets its `environment`; None if it is gone."""
        record = self._record(container.id, container.name)
        if record is not None:
            container.environment = variables(record["Config"])
        return record

    def inspect_id(self, identifier: str) -> dict[str, t.Any] | None:
        """Returns the inspection of a container by its id; None if it is gone."""
        return self._record(identifier, identifier[:12])

    def archive(self, container: str, path: str, limit: int) -> bytes:
        """Returns the first `limit` bytes of a tar archive of a path in a container. Raises NotFound."""
        address = f"/v{self.version}/containers/{quote(container, safe='')}/archive"
        subject = f"{path} in container {container[:12]}"
        return t.cast("bytes", self.transport.request(subject, "GET", address, {"path": path}, raw_limit=limit))

    def changes(self, container: str) -> list[str]:
        """Returns the paths added or changed in a container's writable layer, with their parent folders. Raises NotFound."""
        address = f"/containers/{quote(container, safe='')}/changes"
        found = self.request(f"layer of container {container[:12]}", "GET", address) or []
        return [str(one["Path"]) for one in found if one["Kind"] in (0, 1)]  # 2 is a deleted path

    # Images

    def image(self, name: str) -> dict[str, t.Any] | None:
        """Returns the inspection of an image, by name or id, or None."""
        return self._find(f"image {name}", f"/images/{quote(name, safe='/:@')}/json")

    # Volumes

    def volume(self, name: str) -> dict[str, t.Any] | None:
        """Returns the inspection of a volume, or None."""
        return self._find(f"volume {name}", f"/volumes/{quote(name, safe='')}")
