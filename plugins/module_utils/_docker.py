# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that speaks to Docker: connection options, client containers, volumes, commands inside containers."""

from __future__ import annotations

import importlib
import os
import sys
import typing as t
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.client import HTTPException

from ansible.module_utils.basic import missing_required_lib

from ansible_collections.waba.onprem.plugins.module_utils import _docker_options
from ansible_collections.waba.onprem.plugins.module_utils._docker_socket import NotFound, Refused, SocketReader
from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError

ARGUMENT_SPEC = _docker_options.ARGUMENT_SPEC
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
CLIENT_IMAGES = ("coreapp", "web")  # domain: the last path component of the vendor's two images


@dataclass(frozen=True)
class Mount:
    """One mount of a container: `kind` is volume, bind or tmpfs; `name` is the volume's name or the host's path."""

    kind: str
    name: str
    destination: str
    writable: bool


@dataclass
class Container:
    """A client container as Docker lists it. `environment` is None until `Docker.inspect` has read it."""

    id: str
    name: str
    image: str
    state: str
    labels: dict[str, str]
    mounts: list[Mount]
    environment: dict[str, str] | None = field(default=None, repr=False)  # holds secrets

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
    def role(self) -> str:
        """`web`, `core`, `master` or `other`; only the environment tells a master, so only after `inspect`."""
        if repository(self.image) == "web":
            return "web"
        if repository(self.image) != "coreapp":
            return "other"
        return "master" if (self.environment or {}).get("WA_MASTER_NODE") == "1" else "core"


def repository(image: str) -> str:
    """The last path component of an image reference, without tag and digest: `coreapp` for `reg:5000/a/coreapp:v2@sha256:..`."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def tag(image: str) -> str:
    """The tag of an image reference, or an empty text."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[2]


def matches(image: str, patterns: t.Iterable[str]) -> bool:
    """Whether an image is of one of the repositories `patterns`, whatever its tag and digest; `*` is any text.

    A pattern with a `/` is compared with the whole repository, another one with its last component only.
    """
    name = image.partition("@")[0]
    whole = name[: len(name) - len(tag(image)) - 1] if tag(image) else name
    return any(fnmatchcase(whole if "/" in pattern else repository(image), pattern) for pattern in patterns)


def has_library() -> bool:
    """Whether the Python library for Docker can be imported; what only reads at a Unix socket does without."""
    try:
        importlib.import_module("docker.api.client")  # not above: it takes a fifth of a second
    except ImportError:
        return False
    return True


def require_library() -> None:
    """Raise WaError with the package's name when the Python library for Docker is missing."""
    if not has_library():
        raise WaError(
            "Python library docker",
            missing_required_lib("docker"),
            cure="Install the package python3-docker (Debian, Ubuntu, Fedora) or docker (PyPI); the role wa_host does",
        )


def _kinds(name: str, *own: type[Exception]) -> tuple[type[Exception], ...]:
    """`own` and the library's exception of this name: while the library is not loaded it cannot have raised any."""
    errors = sys.modules.get("docker.errors")
    return (*own, getattr(errors, name)) if errors else own


def _reason(error: Exception) -> str:
    """What Docker or the connection said, in one line."""
    text = getattr(error, "explanation", None) or str(error)
    return " ".join((text.decode(errors="replace") if isinstance(text, bytes) else str(text)).split())


class Docker:
    """A connection to one Docker Engine. Every method raises WaError with the engine's own words."""

    def __init__(self, params: dict[str, t.Any], read_only: bool = False) -> None:
        """Connect with a module's `docker_*` options; the API version is negotiated here, once.

        `read_only` promises to use the methods for containers, images and volumes below and nothing of `api`: the
        usual engine, at a Unix socket, is then read without the library.
        """
        self.host: str = params["docker_host"]
        self._params = params
        version = params["docker_api_version"]
        if read_only and self.host.startswith("unix://"):
            path = "/" + self.host[len("unix://") :].lstrip("/")
            self.api: t.Any = self.ask("Docker Engine", SocketReader, path, version, params["docker_timeout"])
        else:
            require_library()
            self.api = self._connect(version)

    def _connect(self, version: str) -> t.Any:
        import docker
        from docker.api.client import APIClient
        from docker.errors import DockerException

        params = self._params
        tls: t.Any = False
        if params["docker_tls"]:
            pair = (params["docker_client_cert"], params["docker_client_key"])
            tls = docker.tls.TLSConfig(
                client_cert=pair if all(pair) else None,
                ca_cert=params["docker_ca_path"],
                verify=True,
            )
        try:
            return APIClient(base_url=self.host, version=version, timeout=params["docker_timeout"], tls=tls)
        except (DockerException, OSError) as error:  # an OSError is what requests raises
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> WaError:
        path = self.host.partition("://")[2]
        cure = "Start the Docker Engine (systemctl start docker), or set docker_host"
        if self.host.startswith("unix://") and not os.path.exists(path):
            found = f"the socket {path} does not exist"
            cure = "Install and start the Docker Engine (role wa_host: wa_host_install_docker), or set docker_host"
        elif self.host.startswith("unix://") and not os.access(path, os.R_OK | os.W_OK):
            found = f"no permission on the socket {path}"
            cure = "Use become, or add the user to the group docker"
        else:
            found = f"no answer: {_reason(error)}"
        return WaError(f"Docker Engine at {self.host}", found, "an engine that answers", cure)

    def sibling(self) -> Docker:
        """A second connection with the version already known, for use in another thread."""
        other = object.__new__(Docker)
        other.host, other._params = self.host, self._params
        other.api = other._connect(self.api._version)
        return other

    def call(self, subject: str, function: t.Callable[..., t.Any], *args: t.Any, **kwargs: t.Any) -> t.Any:
        """Call `function` of `api`; its errors become a WaError about `subject`, what is not there NotFound."""
        try:
            return function(*args, **kwargs)
        except NotFound:
            raise
        except _kinds("NotFound") as error:
            raise NotFound(_reason(error)) from None
        except _kinds("APIError", Refused) as error:
            raise WaError(subject, f"Docker refused: {_reason(error)}") from None
        except _kinds("DockerException", OSError, HTTPException) as error:
            raise self._unreachable(error) from None

    def ask(self, subject: str, function: t.Callable[..., t.Any], *args: t.Any, **kwargs: t.Any) -> t.Any:
        """Like `call`, where a thing that is not there is an error, too."""
        try:
            return self.call(subject, function, *args, **kwargs)
        except NotFound as error:
            raise WaError(subject, f"Docker does not have it: {_reason(error)}") from None

    # Containers

    def client_containers(
        self,
        project: str | None = None,
        images: t.Sequence[str] = CLIENT_IMAGES,
        stopped: bool = True,
        all_projects: bool = False,
        names: t.Sequence[str] = (),
    ) -> list[Container]:
        """All client containers of one project, sorted by name; one request, and one more for each lost image name.

        A client container is one whose configured image `matches` one of `images`. `project` is a Compose
        project, `""` for containers outside Compose, None for the only project there is: two found is an error unless
        `all_projects` asks for just that. A container with one of `names` counts whatever its image.
        """
        found = []
        for row in self.call("list of containers", self.api.containers, all=stopped):
            image = row["Image"]
            # Docker lists the bare id once the tag has moved to a newer image.
            if image.startswith("sha256:") or row["ImageID"].partition(":")[2].startswith(image):
                try:
                    record = self.call(f"container {row['Id'][:12]}", self.api.inspect_container, row["Id"])
                except NotFound:
                    continue
                image = record["Config"]["Image"]
            container = self._container(row, image)
            if matches(image, images) or container.name in names:
                found.append(container)
        found.sort(key=lambda container: container.name)
        if project is not None:
            return [container for container in found if container.project == project]
        if all_projects:
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

    @staticmethod
    def _container(row: dict[str, t.Any], image: str) -> Container:
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
        return Container(row["Id"], name, image, row["State"], row.get("Labels") or {}, mounts)

    def container(self, name: str) -> Container | None:
        """The container of this name or id (its first digits do), or None; one request."""
        try:
            record = self.call(f"container {name}", self.api.inspect_container, name)
        except NotFound:
            return None
        row = {"Id": record["Id"], "Names": [record["Name"]], "State": record["State"]["Status"]}
        row.update(Labels=record["Config"].get("Labels"), Mounts=record.get("Mounts"))
        return self._container(row, record["Config"]["Image"])

    def inspect(self, container: Container) -> dict[str, t.Any] | None:
        """The engine's whole record of a container, which also fills `environment`; None when it is gone."""
        try:
            record = self.call(f"container {container.name}", self.api.inspect_container, container.id)
        except NotFound:
            return None
        pairs = (line.partition("=") for line in record["Config"].get("Env") or [])
        container.environment = {key: value for key, _equals, value in pairs}
        return t.cast("dict[str, t.Any]", record)

    # Images

    def image(self, name: str) -> dict[str, t.Any] | None:
        """The engine's record of an image, by name or id, or None."""
        try:
            return t.cast("dict[str, t.Any]", self.call(f"image {name}", self.api.inspect_image, name))
        except NotFound:
            return None

    # Volumes

    def volume(self, name: str) -> dict[str, t.Any] | None:
        """The engine's record of a volume, or None."""
        try:
            return t.cast("dict[str, t.Any]", self.call(f"volume {name}", self.api.inspect_volume, name))
        except NotFound:
            return None
