# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that speaks to Docker: the engine, client containers, images, volumes. `_docker.transport` is its transport."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import quote

from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import (
    client_containers as deployment_client_containers,
)
from ansible_collections.waba.onprem.plugins.module_utils._docker import options
from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import NotFound, Transport

ARGUMENT_SPEC = options.ARGUMENT_SPEC
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
API_VERSION = "1.45"  # the newest whose answers were seen; what an engine changes later does not reach us


@dataclass(frozen=True)
class Mount:
    """One mount of a container: `kind` is volume, bind or tmpfs; `name` is the volume's name or the host's path."""

    kind: str
    name: str
    destination: str
    writable: bool


@dataclass
class Container:
    """A container as Docker lists it. `environment` is None until `Docker.inspect` has read it."""

    id: str
    name: str
    image: str
    state: str
    labels: dict[str, str]
    mounts: list[Mount]
    command: str = field(default="", repr=False)  # the whole line, which may hold secrets
    environment: dict[str, str] | None = field(default=None, repr=False)  # holds secrets
    images: deployment_client_containers.ClientImages = field(
        default_factory=deployment_client_containers.ClientImages, repr=False
    )

    @property
    def project(self) -> str:
        """The Compose project, or an empty text for a container outside Compose."""
        return self.labels.get(PROJECT_LABEL, "")

    @property
    def service(self) -> str:
        """The Compose service, or the container's name outside Compose."""
        return self.labels.get(SERVICE_LABEL) or self.name

    @property
    def running(self) -> bool:
        """Whether a command can be run in it now: a paused or restarting container cannot."""
        return self.state == "running"

    @property
    def client(self) -> bool:
        """Whether it is the client's. One that only its environment would tell is none until `Docker.inspect` has read it."""
        return bool(deployment_client_containers.is_client(self.facts, self.images))

    @property
    def facts(self) -> deployment_client_containers.Facts:
        """What the rule for the client's containers looks at."""
        mounted = [mount.destination for mount in self.mounts]
        return deployment_client_containers.Facts(self.image, self.command, mounted, self.environment)

    @property
    def role(self) -> str:
        """`web`, `core`, `master` or `other`; only the environment tells a master, so only after `inspect`."""
        if not self.client:
            return "other"
        environment = self.environment or {}
        if deployment_client_containers.kind(self.image, self.images, environment) == "web":
            return "web"
        return "master" if environment.get("WA_MASTER_NODE") == "1" else "core"


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdecimal()]


def is_id(image: str, row: t.Mapping[str, t.Any]) -> bool:
    """Whether a listed container's image is told by its id, or the first digits of it."""
    return image.startswith("sha256:") or row["ImageID"].partition(":")[2].startswith(image)


class Docker:
    """One Docker Engine, for any number of threads. Every method raises WaError with the engine's own words."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        """Connect with a module's `docker_*` options; the API version is negotiated here, once."""
        self.images = deployment_client_containers.ClientImages.of(params.get("client_images"))
        self.transport = Transport(params)
        self.version: str = params["docker_api_version"]
        if self.version == "auto":
            if any("Podman" in str(one.get("Name")) for one in self.about.get("Components") or []):
                raise WaError(
                    f"Docker Engine at {self.transport.host}",
                    "what answers there is Podman, which speaks like Docker and does not behave like it",
                    "Docker itself",
                    "Use another host, or set docker_host (wa_docker_host) to where a Docker Engine listens",
                )
            newest = min(self.about.get("ApiVersion", API_VERSION), API_VERSION, key=_numbers)
            self.version = max(newest, self.about.get("MinAPIVersion", newest), key=_numbers)

    @cached_property
    def about(self) -> dict[str, t.Any]:
        """The engine's versions, as `docker version` tells them."""
        return t.cast("dict[str, t.Any]", self.transport.request("Docker Engine", "GET", "/version"))

    @property
    def local(self) -> bool:
        """Whether a Unix socket leads to the engine, so that it may run on this machine."""
        return bool(self.transport.path)

    def request(
        self,
        subject: str,
        method: str,
        path: str,
        query: t.Mapping[str, t.Any] | None = None,
        body: t.Any = None,
        headers: t.Mapping[str, str] | None = None,
    ) -> t.Any:
        """The engine's answer about `subject`; what it does not have is NotFound, which is a WaError, too."""
        return self.transport.request(subject, method, f"/v{self.version}{path}", query, body, headers)

    def _find(self, subject: str, path: str) -> dict[str, t.Any] | None:
        try:
            return t.cast("dict[str, t.Any]", self.request(subject, "GET", path))
        except NotFound:
            return None

    def info(self) -> dict[str, t.Any]:
        """What the engine tells of itself, as `docker info` does."""
        return t.cast("dict[str, t.Any]", self.request("Docker Engine", "GET", "/info"))

    # Containers

    def client_containers(
        self,
        project: str | None = None,
        stopped: bool = True,
        all_projects: bool = False,
        names: t.Sequence[str] = (),
    ) -> list[Container]:
        """All client containers of one project, sorted by name; one request, and one more where a row does not tell.

        That is one for an image that is listed by its id or digest, for the names that it has, and one for a container
        that only its environment proves to be the client's. `project` is a Compose project, `""` for containers outside
        Compose, None for the only project there is: two found is an error unless `all_projects` asks for just that. A
        container with one of `names` counts whatever it is.
        """
        found = []
        for row in self.rows("list of containers", stopped):
            image = row["Image"]
            # Docker lists the bare id once the tag has moved to a newer image.
            if is_id(image, row):
                record = self._record(row["Id"], row["Id"][:12])
                if record is None:
                    continue
                image = record["Config"]["Image"]
                if is_id(image, row):
                    image = self._name_of(image)
            elif not image_reference.parse(image).tag:
                # Pinned by its digest: only a tag that the same image has tells the version.
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

    def _is_client(self, container: Container) -> bool:
        if deployment_client_containers.is_client(container.facts, self.images) is None:
            self.inspect(container)
        return container.client

    def _name_of(self, image: str) -> str:
        """The name of an image by which a container was not made: one of its repository, else a client's, else what was given."""
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
        names = [name.lstrip("/") for name in row.get("Names") or [] if "/" not in name.lstrip("/")]
        name = names[0] if names else row["Id"][:12]
        return Container(
            row["Id"],
            name,
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
        """Containers as the engine lists them; `filters` as `docker ps` has them."""
        query = {"all": int(stopped), **({"filters": json.dumps(filters)} if filters else {})}
        return t.cast("list[dict[str, t.Any]]", self.request(subject, "GET", "/containers/json", query))

    def _record(self, key: str, name: str) -> dict[str, t.Any] | None:
        return self._find(f"container {name}", f"/containers/{quote(key, safe='')}/json")

    def container(self, name: str) -> Container | None:
        """The container of this name or id (its first digits do), or None; one request."""
        record = self._record(name, name)
        if record is None:
            return None
        row = {"Id": record["Id"], "Names": [record["Name"]], "State": record["State"]["Status"]}
        row.update(Labels=record["Config"].get("Labels"), Mounts=record.get("Mounts"))
        row["Command"] = " ".join([record.get("Path") or "", *(record.get("Args") or [])])
        return self._container(row, record["Config"]["Image"])

    def inspect(self, container: Container) -> dict[str, t.Any] | None:
        """The engine's whole record of a container, which also fills `environment`; None when it is gone."""
        record = self._record(container.id, container.name)
        if record is not None:
            pairs = (line.partition("=") for line in record["Config"].get("Env") or [])
            container.environment = {key: value for key, _equals, value in pairs}
        return record

    def inspect_id(self, identifier: str) -> dict[str, t.Any] | None:
        """The engine's whole record of a container by its id; None when it is gone."""
        return self._record(identifier, identifier[:12])

    def archive(self, container: str, path: str, limit: int) -> bytes:
        """The first `limit` bytes of a tar archive of a path inside a container. Raises NotFound."""
        address = f"/v{self.version}/containers/{quote(container, safe='')}/archive"
        subject = f"{path} in container {container[:12]}"
        return t.cast("bytes", self.transport.request(subject, "GET", address, {"path": path}, raw_limit=limit))

    def changes(self, container: str) -> list[str]:
        """The paths that a container's own writable layer adds or changes, each with the folders above it. Raises NotFound."""
        address = f"/containers/{quote(container, safe='')}/changes"
        found = self.request(f"layer of container {container[:12]}", "GET", address) or []
        return [str(one["Path"]) for one in found if one["Kind"] in (0, 1)]  # 2 is one that it hides

    # Images

    def image(self, name: str) -> dict[str, t.Any] | None:
        """The engine's record of an image, by name or id, or None."""
        return self._find(f"image {name}", f"/images/{quote(name, safe='/:@')}/json")

    # Volumes

    def volume(self, name: str) -> dict[str, t.Any] | None:
        """The engine's record of a volume, or None."""
        return self._find(f"volume {name}", f"/volumes/{quote(name, safe='')}")
