# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting a lab from any state that an earlier run left, and removing it."""

from __future__ import annotations

import datetime
import os
import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial

from . import databases, images, inventory, pki, progress, ready
from .model import ENGINES, MEDIA, NEW, OLD, PORTS_LOCK, REGISTRY_USER, Host, Lab, locked, product, write_private
from .shell import Interrupted, LabError, Shell
from .yard import Found, Part, Yard


def versions(asked: list[str]) -> list[tuple[str, str]]:
    """Client versions and the day on which each expires, from VERSION or VERSION=YYYY-MM-DD; without any, the two default versions."""
    day = images.expires_on(datetime.datetime.now(datetime.timezone.utc).date())
    pairs = [text.lstrip("v").partition("=") for text in asked] or [(OLD, "", ""), (NEW, "", "")]
    return [(version, given or day) for version, _sign, given in pairs]


class Site:
    """One lab that is being started or removed."""

    def __init__(self, lab: Lab, shell: Shell) -> None:
        self.lab = lab
        self.shell = shell
        self.yard = Yard(lab, shell)
        self.catalogue = images.Catalogue(lab.options.versions)
        self.builder = images.Builder(shell, self.catalogue, lab.home / "build")

    # Contents

    def wanted_images(self) -> list[images.Image]:
        """Every image that this lab runs or seeds from."""
        options, catalogue = self.lab.options, self.catalogue
        hosts = [catalogue.host(host) for host in options.hosts]
        servers = [catalogue.machines[name] for name in options.engines]
        return [catalogue.store, catalogue.control, *hosts, *servers]

    def parts(self) -> list[Part]:
        """Every container of this lab; certificates and SSH key must exist."""
        lab = self.lab
        parts = [
            self._registry_part(),
            Part("control", self.catalogue.control.tag, ports=((lab.ports["control"], 8000),)),
        ]
        data = {"mariadb": "/var/lib/mysql", "mysql": "/var/lib/mysql", "postgres": "/var/lib/postgresql/data"}
        memory = ("--mount", "type=tmpfs,destination=/lab/memory") if lab.options.fast_db else ()
        for engine in lab.options.engines:
            parts.append(
                Part(
                    engine,
                    self.catalogue.machines[engine].tag,
                    ports=((lab.ports[engine], databases.port(engine)),),
                    volume="" if lab.options.fast_db else data[product(engine)],
                    options=("--shm-size", "256m", "--stop-timeout", "30", *memory),
                    files=pki.for_server(lab),
                )
            )
        key = lab.key.with_suffix(".pub").read_text(encoding="ascii").strip()
        parts += [self._host_part(host, key) for host in lab.options.hosts]
        return parts

    def _registry_part(self) -> Part:
        lab = self.lab
        part = Part("registry", self.catalogue.store.tag, ports=((lab.ports["registry"], 5000),))
        if not lab.options.registry_auth:
            return part
        settings = {"REGISTRY_AUTH": "htpasswd", "REGISTRY_AUTH_HTPASSWD_REALM": "lab"}
        return replace(
            part,
            environment=(*settings.items(), ("REGISTRY_AUTH_HTPASSWD_PATH", "/lab/htpasswd")),
            files=(("/lab/htpasswd", lab.htpasswd.read_bytes()),),
        )

    def _host_part(self, host: Host, key: str) -> Part:
        share = f"type=volume,source={self.yard.media},destination={MEDIA}"
        return Part(
            host.name,
            self.catalogue.host(host).tag,
            ports=((self.lab.ports[f"{host.name}-ssh"], 22), (self.lab.ports[f"{host.name}-api"], 9090)),
            volume="/var/lib/docker",
            environment=(("LAB_AUTHORIZED_KEY", key),),
            options=(
                *("--privileged", "--tmpfs", "/run:exec,mode=755", "--stop-timeout", "30"),
                *(("--mount", share) if self.lab.options.shared else ()),
                *(("--cgroupns", "private", "--tmpfs", "/run/lock") if host.init else ()),
            ),
        )

    # Start

    def up(self) -> None:
        """Create what is missing of the lab: images, network, certificates, containers, users, inventory."""
        lab = self.lab
        found = self.yard.found()
        self._refuse_foreign_lab(found)
        self.reserve_ports({name for name, row in self._by_port(found).items() if row.state == "running"})
        self.shell.hidden = list(lab.secrets().values())
        self.builder.ensure(self.wanted_images())
        lab.save()
        with progress.step("keys, certificates"):
            progress.together(
                [
                    self.yard.ensure_media,
                    self._ensure_registry_user,
                    self._ensure_key,
                    partial(pki.ensure, lab, self.shell, self.catalogue.debian.tag),
                ]
            )
        parts = self.parts()
        self.yard.remove([name for name in found if name not in {part.name for part in parts}])
        lab.known_hosts.touch(mode=0o600)
        progress.together([partial(self._start, part, found.get(part.name)) for part in parts])
        self._write_known_hosts()
        inventory.write(lab)

    def reserve_ports(self, up: Collection[str]) -> None:
        """Choose the lab's ports, and create its network, by which other labs find the ports."""
        with locked(PORTS_LOCK, self.shell.pause, why="another lab chooses its ports: waiting for it"):
            self.lab.choose_ports(up, self.yard.ports_of_others())
            self.lab.save()
            self.yard.ensure_network()

    def _by_port(self, found: dict[str, Found]) -> dict[str, Found]:
        """Containers by the names of the ports they publish."""
        hosts = {host.name for host in self.lab.options.hosts}
        named: dict[str, Found] = {}
        for name, row in found.items():
            for port in (f"{name}-ssh", f"{name}-api") if name in hosts else (name,):
                named[port] = row
        return named

    def _refuse_foreign_lab(self, found: dict[str, Found]) -> None:
        """Refuse a lab of the same name that belongs to another copy of this repository."""
        theirs = {row.folder for row in found.values()} - {str(self.lab.folder), ""}
        for folder in sorted(theirs):
            if os.path.exists(folder):
                raise LabError(
                    f"a lab named {self.lab.name} runs already and belongs to {folder}; give this one another name with --name"
                )

    def _ensure_key(self) -> None:
        lab = self.lab
        if lab.key.is_file() and lab.key.with_suffix(".pub").is_file():
            return
        lab.key.unlink(missing_ok=True)
        self.shell.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {lab.name}", "-f", str(lab.key)])

    def _ensure_registry_user(self) -> None:
        """Create the registry's user; the hash is bcrypt, made with the tool in the registry's image."""
        lab = self.lab
        if not lab.options.registry_auth or lab.htpasswd.is_file():
            return
        command = ["docker", "run", "--rm", "--interactive", *self.yard.labels(), "--entrypoint", "htpasswd"]
        command += [self.catalogue.store.tag, "-iBn", REGISTRY_USER]
        made = self.shell.run(command, stdin=lab.secrets()["registry_password"].encode())
        write_private(lab.htpasswd, made.stdout.decode())

    def _start(self, part: Part, found: Found | None) -> None:
        """Start one container and wait until it is ready."""
        with progress.step(part.name) as words:
            done = self.yard.ensure(part, found)
            words.append("ready" if done == "created" else f"ready ({done})")
            self._wait(part)

    def _wait(self, part: Part) -> None:
        outside = part.ports[0][0]
        if part.name in ENGINES:
            try:
                databases.ensure_users(self.lab, self.shell, part.name)
            except Interrupted:
                raise
            except LabError as error:
                raise LabError(f"{error}; {self._end_of_log(part.name)}") from error
        elif part.name == "registry":
            self._until(part.name, partial(ready.answers, f"http://127.0.0.1:{outside}/v2/"))
        elif part.name == "control":
            self._until(part.name, partial(ready.answers, f"http://127.0.0.1:{outside}/faults"))
        else:
            self._until(part.name, partial(ready.has_ssh_banner, outside))
            self._until(part.name, partial(self._engine_answers, part.name))

    def _engine_answers(self, name: str) -> bool:
        command = "for i in 1 2 3 4 5 6 7 8 9; do docker version >/dev/null 2>&1 && exit 0; sleep 0.3; done; exit 1"
        return (
            self.shell.run(["docker", "exec", self.lab.called(name), "sh", "-c", command], check=False).returncode == 0
        )

    def _until(self, name: str, is_ready: Callable[[], bool]) -> None:
        """Wait until `is_ready`; raise LabError with the end of the log when the container has ended or the time is over."""
        deadline = time.monotonic() + ready.SECONDS
        while not is_ready():
            called = self.lab.called(name)
            state = self.shell.text(["docker", "inspect", "--format", "{{.State.Status}}", called])
            if state == "running" and time.monotonic() < deadline:
                self.shell.pause(0.1)
                continue
            raise LabError(f"{name} is not ready, after {ready.SECONDS:.0f} s at most; {self._end_of_log(name)}")

    def _end_of_log(self, name: str) -> str:
        """The state of a container and the end of its log, for an error."""
        called = self.lab.called(name)
        state = self.shell.text(["docker", "inspect", "--format", "{{.State.Status}}", called], check=False)
        log = self.shell.run(["docker", "logs", "--tail", "15", called], check=False)
        return f"it is {state or 'gone'}, the end of its log:\n{(log.stdout + log.stderr).decode(errors='replace').strip()}"

    def _write_known_hosts(self) -> None:
        lines = []
        for host in self.lab.options.hosts:
            read = ["docker", "exec", self.lab.called(host.name), "cat", "/etc/ssh/ssh_host_ed25519_key.pub"]
            kind, key = self.shell.text(read).split()[:2]
            lines.append(f"[127.0.0.1]:{self.lab.ports[f'{host.name}-ssh']} {kind} {key}\n")
        write_private(self.lab.known_hosts, "".join(lines))

    # Removal

    def down(self) -> None:
        """Remove everything of the lab from Docker, and its folder."""
        self._refuse_foreign_lab(self.yard.found())
        with progress.step("containers, volumes, network", "none") as words:
            went = self.yard.remove_all()
            words.append(f"removed: {', '.join(went)}" if went else "none there")
        images.clean_up(self.shell, self.builder.folder)
        if self.lab.folder.exists():
            with progress.step("folder", "removed"):
                shutil.rmtree(self.lab.folder)
