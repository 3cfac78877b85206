# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers, images and volumes that Docker lists like the client's."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from commands import docker
from engine import Engine

REGISTRY = "registry.test:5000/whatsapp"
MOUNT_PATH = "/usr/local/wamedia"


@dataclass
class Clients:
    """Creates containers with the names, labels and images that Compose gives the client's."""

    image: str
    project: str
    engine: Engine = field(default_factory=Engine)
    containers: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)

    def tag(self, role: str, version: str = "2.53.4") -> str:
        """An image `.../web:vX` or `.../coreapp:vX`. The tag contains the project, since tests run in parallel."""
        name = f"{REGISTRY}/{self.project}/{role}:v{version}"
        docker("tag", self.image, name)
        self.tags.append(name)
        return name

    def volume(self, name: str = "", *options: str) -> str:
        """Create a volume, unless it exists. It is removed at the end."""
        name = name or f"{self.project}_whatsappMedia"
        docker("volume", "create", *options, name)
        self.volumes.append(name)
        return name

    def add(
        self,
        service: str = "wacore",
        role: str = "coreapp",
        *options: str,
        volume: str = "",
        version: str = "2.53.4",
        command: t.Sequence[str] = ("sleep", "infinity"),
        labels: t.Mapping[str, str] | None = None,
        project: str | None = None,
        start: bool = True,
        evidence: t.Sequence[str] = ("--env", "WA_RUNNING_ENV_VERSION=1"),
    ) -> str:
        """Start a container and return its name; `options` are those of `docker run`, `volume` is mounted at the media path.

        `evidence` is what identifies it as the client's besides its image name.
        """
        project = self.project if project is None else project
        name = f"{project or self.project}-{service}-1" if project else f"{self.project}-plain-{service}"
        tags = dict(labels or {})
        if project:
            tags = {"com.docker.compose.project": project, "com.docker.compose.service": service, **tags}
        argv = ["--name", name, *(f"--label={key}={value}" for key, value in tags.items()), *evidence, *options]
        if volume:
            argv += ["--volume", f"{volume}:{MOUNT_PATH}"]
        # --init reaps zombies, as the client's PID 1 does
        argv += ["--init", "--stop-timeout", "1", self.tag(role, version), *command]
        self.containers.append(name)
        docker(*(["run", "--detach"] if start else ["create"]), *argv)
        return name

    def run(self, container: str, script: str, user: str = "0") -> str:
        """Run a shell script in a container and return its output."""
        return self.engine.run(container, script, user)

    def files(self, volume: str) -> list[str]:
        """All files of a volume that are no directory, as `/v/...`."""
        return self.engine.files(volume, self.image)

    def clean(self) -> None:
        """Remove all containers, volumes and tags."""
        if self.containers:
            docker("rm", "--force", "--volumes", *self.containers, check=False)
        for name in dict.fromkeys(self.volumes):
            docker("volume", "rm", "--force", name, check=False)
        for name in dict.fromkeys(self.tags):
            docker("image", "rm", "--no-prune", name, check=False)
