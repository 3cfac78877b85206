# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Docker Engine observed through Docker's own SDK, so that tests do not rely on the collection's own client."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import typing as t
from pathlib import Path

import commands
import docker
from docker.errors import NotFound

ROOT = Path(__file__).resolve().parents[2]
PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
Record = dict[str, t.Any]  # an object as the Engine's API returns it


class Engine:
    """The Engine at `base_url`; without one, the Engine of the environment, which is this machine's."""

    def __init__(self, base_url: str = "") -> None:
        client = docker.DockerClient(base_url, timeout=600) if base_url else docker.from_env(timeout=600)
        self.client: t.Any = client
        self.base_url = base_url

    def container(self, name: str) -> Record:
        """The record of a container by its name or id. Raises docker.errors.NotFound."""
        found: Record = self.client.api.inspect_container(name)
        return found

    def containers(self, project: str | None = None) -> dict[str, Record]:
        """Name -> record of all containers, or of those of a Compose project, running or not."""
        filters = {"label": f"{PROJECT}={project}"} if project else {}
        listed = self.client.api.containers(all=True, filters=filters)
        found = {}
        for one in listed:
            with contextlib.suppress(NotFound):  # removed since the listing
                found[one["Names"][0].lstrip("/")] = self.container(one["Id"])
        return found

    def services(self, project: str) -> dict[str, Record]:
        """Service -> record of its container, for a Compose project with one container per service."""
        return {one["Config"]["Labels"][SERVICE]: one for one in self.containers(project).values()}

    def environment(self, name: str) -> dict[str, str]:
        """The environment that a container was created with."""
        return dict(one.split("=", 1) for one in self.container(name)["Config"]["Env"] or [])

    def started(self, name: str) -> str:
        """The time at which a container was last started, as the Engine writes it."""
        return str(self.container(name)["State"]["StartedAt"])

    def address(self, name: str, network: str) -> str:
        """The address of a container in a network."""
        return str(self.container(name)["NetworkSettings"]["Networks"][network]["IPAddress"])

    def port(self, name: str, inner: int) -> int:
        """The port on this machine at which a container's TCP port is published."""
        return int(self.container(name)["NetworkSettings"]["Ports"][f"{inner}/tcp"][0]["HostPort"])

    def processes(self, name: str) -> list[str]:
        """The command lines of the processes of a running container."""
        found = self.client.api.top(name, "-eo pid,args")
        return [str(row[1]) for row in found["Processes"]]

    def run(self, name: str, script: str, user: str = "0") -> str:
        """The output of a shell script in a container, stripped. Raises AssertionError if the script fails.

        Through the `docker` command: the SDK loses output that arrives together with the response's header
        (docker-py's issue 3332), which a loaded machine does to one in eight.
        """
        host = ["--host", self.base_url] if self.base_url else []
        return commands.docker(*host, "exec", "--user", user, name, "sh", "-c", script)

    def exists(self, name: str, path: str) -> bool:
        """Whether there is a file at `path` in a running container."""
        return bool(self.client.containers.get(name).exec_run(["test", "-e", path]).exit_code == 0)

    def volume(self, name: str) -> Record | None:
        """The record of a volume, None if there is no such volume."""
        with contextlib.suppress(NotFound):
            found: Record = self.client.api.inspect_volume(name)
            return found
        return None

    def files(self, volume: str, image: str) -> list[str]:
        """All files in a volume, sorted, as `/v/...`, listed by a temporary container of `image`."""
        command = ["find", "/v", "-mindepth", "1", "!", "-type", "d", "-print0"]
        found = self.client.containers.run(
            image, command, volumes={volume: {"bind": "/v", "mode": "rw"}}, network_mode="none", remove=True
        )
        return sorted(part.decode(errors="replace") for part in found.split(b"\0") if part)

    def snapshot(self) -> list[str]:
        """Everything on the Engine that a run could change, one line each: containers, volumes, networks, image names."""
        lines = []
        for name, one in self.containers().items():
            state, policy = one["State"], one["HostConfig"]["RestartPolicy"]["Name"]
            lines.append(
                f"container /{name} {one['Id']} {one['Image']} {state['Status']} {state['StartedAt']} {policy}"
            )
        lines += [f"volume {one['Name']}" for one in self.client.api.volumes()["Volumes"] or []]
        lines += [f"network {one['Name']} {one['Id']}" for one in self.client.api.networks()]
        for one in self.client.api.images():
            lines += [f"image {tag} {one['Id']}" for tag in one["RepoTags"] or ["<none>:<none>"]]
        return sorted(lines)


@contextlib.contextmanager
def lab_engine(lab: str, host: str) -> t.Iterator[Engine]:
    """The Engine of a lab host: its socket, forwarded to this machine over SSH."""
    folder = ROOT / ".lab" / lab
    port = json.loads((folder / "state.json").read_text(encoding="utf-8"))["ports"][f"{host}-ssh"]
    ssh = ["ssh", "-i", str(folder / "id_ed25519"), "-p", str(port), "-o", f'UserKnownHostsFile="{folder}/known_hosts"']
    ssh += ["-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ExitOnForwardFailure=yes"]
    with tempfile.TemporaryDirectory(prefix="waba-") as place:
        socket = Path(place, "docker.sock")
        ssh += ["-S", f"{place}/control", "root@127.0.0.1"]
        # ssh goes into the background when the socket exists.
        forward = [*ssh, "-f", "-N", "-M", "-L", f"{socket}:/var/run/docker.sock"]
        subprocess.run(forward, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            engine = Engine(f"unix://{socket}")
            yield engine
            engine.client.close()
        finally:
            commands.run(*ssh, "-O", "exit")
