# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's containers: what each is, and creating or starting it from any state that an earlier run left."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
import typing as t
from dataclasses import asdict, dataclass
from pathlib import Path

from .model import Lab, ports_in
from .shell import LabError, Shell

LAB_LABEL = "walab.lab"
FOLDER_LABEL = "walab.folder"
SPEC_LABEL = "walab.spec"


@dataclass(frozen=True)
class Part:
    """One container of the lab."""

    name: str
    image: str
    ports: tuple[tuple[int, int], ...] = ()  # (on 127.0.0.1, in the container)
    volume: str = ""  # mount point of its only volume
    environment: tuple[tuple[str, str], ...] = ()
    options: tuple[str, ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()

    @property
    def spec(self) -> str:
        """A hash of all fields: a container with another hash is recreated."""
        plain = {**asdict(self), "files": [(path, hashlib.sha256(content).hexdigest()) for path, content in self.files]}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Found:
    """A container that Docker has under this lab's label."""

    name: str
    state: str
    spec: str
    folder: str
    image: str


class Yard:
    """The lab's containers, volumes and network in Docker."""

    def __init__(self, lab: Lab, shell: Shell) -> None:
        self.lab = lab
        self.shell = shell
        self._label = f"{LAB_LABEL}={lab.name}"

    def labels(self) -> list[str]:
        """The labels of everything that belongs to the lab."""
        return ["--label", self._label, "--label", f"{FOLDER_LABEL}={self.lab.folder}"]

    def found(self) -> dict[str, Found]:
        """All containers of the lab by part name, one-off containers included."""
        fields = [
            "{{.Names}}",
            "{{.State}}",
            *(f'{{{{.Label "{label}"}}}}' for label in (SPEC_LABEL, FOLDER_LABEL)),
            "{{.Image}}",
        ]
        listed = self.shell.text(
            ["docker", "ps", "--all", "--no-trunc", "--filter", f"label={self._label}", "--format", "\t".join(fields)]
        )
        prefix = self.lab.called("")
        rows = [Found(*row.split("\t")) for row in listed.splitlines() if row]
        return {row.name[len(prefix) :] if row.name.startswith(prefix) else row.name: row for row in rows}

    def ensure_network(self) -> None:
        """Create the network if it is missing."""
        if not self.shell.text(["docker", "network", "ls", "--quiet", "--filter", f"name=^{self.lab.network}$"]):
            self.shell.run(["docker", "network", "create", *self.labels(), self.lab.network])

    def ports_of_others(self) -> set[int]:
        """The ports that other labs have chosen, read from the folders in the labels of their networks."""
        listed = [
            "docker",
            "network",
            "ls",
            "--filter",
            f"label={LAB_LABEL}",
            "--format",
            f'{{{{.Label "{FOLDER_LABEL}"}}}}',
        ]
        folders = {line for line in self.shell.text(listed).splitlines() if line} - {str(self.lab.folder)}
        return {port for folder in folders for port in ports_in(Path(folder))}

    @property
    def media(self) -> str:
        """The volume that the hosts of a shared lab have in common."""
        return self.lab.called("media")

    def ensure_media(self) -> None:
        """Create the media volume."""
        if self.lab.options.shared:
            self.shell.run(["docker", "volume", "create", *self.labels(), self.media])

    def ensure(self, part: Part, found: Found | None) -> str:
        """Create or start one container; return `kept`, `started` or `created`."""
        name = self.lab.called(part.name)
        if found and found.spec == part.spec and found.state == "running":
            return "kept"
        if found and found.spec == part.spec and found.state in ("exited", "paused"):
            self.shell.run(["docker", "unpause" if found.state == "paused" else "start", name])
            return "started"
        if found:
            self.shell.run(["docker", "rm", "--force", "--volumes", name])
        self.shell.run(self._create(part, name))
        if part.files:
            self.shell.run(["docker", "cp", "-", f"{name}:/"], stdin=_tar(part.files))
        try:
            self.shell.run(["docker", "start", name])
        except LabError as error:
            self.shell.run(["docker", "rm", "--force", name], check=False)
            if "already allocated" in str(error) or "address already in use" in str(error):
                raise LabError(
                    f"{part.name}: a port it needs was taken in this very moment ({error}); run `up` again"
                ) from error
            raise
        return "created"

    def _create(self, part: Part, name: str) -> list[str]:
        command = ["docker", "create", "--name", name, *self.labels(), "--label", f"{SPEC_LABEL}={part.spec}"]
        command += ["--network", self.lab.network, "--network-alias", f"{part.name}.lab", "--hostname", part.name]
        command += ["--log-opt", "max-size=10m", *part.options]
        for outside, inside in part.ports:
            command += ["--publish", f"127.0.0.1:{outside}:{inside}"]
        for key, value in part.environment:
            command += ["--env", f"{key}={value}"]
        if part.volume:
            volume = f"{name}-data"
            self.shell.run(["docker", "volume", "create", *self.labels(), volume])
            command += ["--volume", f"{volume}:{part.volume}"]
        return [*command, part.image]

    def remove(self, found: list[str]) -> None:
        """Remove containers by part name, and their volumes."""
        if not found:
            return
        names = [self.lab.called(part) for part in found]
        self.shell.run(["docker", "rm", "--force", "--volumes", *names])
        self.shell.run(["docker", "volume", "rm", "--force", *(f"{name}-data" for name in names)], check=False)

    def remove_all(self) -> list[str]:
        """Remove everything with the lab's label; return descriptions of what was removed."""
        went = []
        kinds = (
            ("container", ["ps", "--all", "--quiet"], ["rm", "--force", "--volumes"]),
            ("volume", ["volume", "ls", "--quiet"], ["volume", "rm", "--force"]),
            ("network", ["network", "ls", "--quiet"], ["network", "rm"]),
        )
        for kind, listing, removal in kinds:
            # The daemon may still run the last request of an interrupted run: repeat until nothing is left.
            for _again in range(10):
                ids = self.shell.text(["docker", *listing, "--filter", f"label={self._label}"]).split()
                if not ids:
                    break
                if kind == "container":
                    thaw(ids)
                done = self.shell.run(["docker", *removal, *ids], check=False)
                if done.returncode == 0:
                    went.append(f"{len(ids)} {kind}{'s' if len(ids) > 1 else ''}")
                self.shell.pause(0.2)
            else:
                raise LabError(
                    f"Docker does not let go of {kind} {', '.join(ids)}: {done.stderr.decode(errors='replace').strip()}"
                )
        return went


def thaw(containers: t.Iterable[str], root: Path = Path("/sys/fs/cgroup")) -> None:
    """Unfreeze processes that the Engines of lab hosts have paused: a frozen process cannot be killed."""
    places = {"freezer/docker/{}*/**/freezer.state": "THAWED", "*/docker-{}*/**/cgroup.freeze": "0"}  # cgroup v1, v2
    for one in containers:
        for place, word in places.items():
            for path in root.glob(place.format(one)):
                with contextlib.suppress(OSError):  # it has ended since
                    path.write_text(word)


def _tar(files: tuple[tuple[str, bytes], ...]) -> bytes:
    """A tar archive of files for `docker cp`, owned by root and readable by root only."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in files:
            info = tarfile.TarInfo(path.lstrip("/"))
            info.size, info.mode = len(content), 0o600
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
