# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What integration tests share: the real Docker Engine, client-like containers, modules run the way Ansible runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import gc_tables
import lab_images
import pytest
from database_servers import Server, server

REPOSITORY = Path(__file__).resolve().parents[2]
REGISTRY = "registry.test:5000/whatsapp"
MOUNT_PATH = "/usr/local/wamedia"
SCRATCH_IMAGE = "lab-base:test"


def docker(*argv: str, check: bool = True, stdin: str = "", **options: t.Any) -> str:
    """The output of a `docker` command; its complaint goes with the error."""
    done = subprocess.run(["docker", *argv], input=stdin, capture_output=True, text=True, check=False, **options)
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(argv)}: {done.stderr.strip()}")
    return str(done.stdout).strip()


@pytest.fixture(scope="session")
def docker_engine() -> str:
    """The address of a Docker Engine that answers."""
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        pytest.fail("no Docker Engine answers; script/bootstrap starts one")
    return os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")


@pytest.fixture(scope="session")
def image(docker_engine: str) -> str:
    """The name of an image with a shell, coreutils, gzip and Python: the base of the lab's images."""
    if docker("image", "ls", "--quiet", SCRATCH_IMAGE):
        return SCRATCH_IMAGE
    return lab_images.base()


@dataclass
class Clients:
    """Makes containers that look like the client's to Docker: names, labels, images as Compose gives them."""

    image: str
    project: str
    containers: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)

    def tag(self, role: str, version: str = "2.53.4") -> str:
        """An image `.../web:vX` or `.../coreapp:vX`; the tag is this test's own, since tests run side by side."""
        name = f"{REGISTRY}/{self.project}/{role}:v{version}"
        docker("tag", self.image, name)
        self.tags.append(name)
        return name

    def volume(self, name: str = "", *options: str) -> str:
        """A volume, made when it is not there, removed at the end."""
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
        """Start a container and return its name; `options` are those of `docker run`, `volume` goes where media go.

        `evidence` is what makes it more than a container of that name.
        """
        project = self.project if project is None else project
        name = f"{project or self.project}-{service}-1" if project else f"{self.project}-plain-{service}"
        tags = dict(labels or {})
        if project:
            tags = {"com.docker.compose.project": project, "com.docker.compose.service": service, **tags}
        argv = ["--name", name, *(f"--label={key}={value}" for key, value in tags.items()), *evidence, *options]
        if volume:
            argv += ["--volume", f"{volume}:{MOUNT_PATH}"]
        # --init reaps; the client's own PID 1 does, too
        argv += ["--init", "--stop-timeout", "1", self.tag(role, version), *command]
        self.containers.append(name)
        docker(*(["run", "--detach"] if start else ["create"]), *argv)
        return name

    def run(self, container: str, script: str, user: str = "0") -> str:
        """The output of a shell script in a container."""
        return docker("exec", "--user", user, container, "sh", "-c", script)

    def clean(self) -> None:
        """Take everything away."""
        if self.containers:
            docker("rm", "--force", "--volumes", *self.containers, check=False)
        for name in dict.fromkeys(self.volumes):
            docker("volume", "rm", "--force", name, check=False)
        for name in dict.fromkeys(self.tags):
            docker("image", "rm", "--no-prune", name, check=False)


@pytest.fixture
def clients(image: str) -> t.Iterator[Clients]:
    """A factory of client-like containers in a Compose project of their own, cleaned up at the end."""
    factory = Clients(image, f"t{uuid.uuid4().hex[:8]}")
    try:
        yield factory
    finally:
        factory.clean()


@dataclass
class Play:
    """What a playbook of tests gave: results in the order of the tasks, and everything it printed."""

    results: list[dict[str, t.Any]]
    stdout: str
    stderr: str
    rc: int


class Ansible:
    """Runs modules and plays on this machine with `ansible-playbook`, as an operator would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def play(
        self,
        tasks: t.Sequence[dict[str, t.Any]],
        check: bool = False,
        variables: t.Mapping[str, t.Any] | None = None,
        environment: t.Mapping[str, str] | None = None,
        arguments: t.Sequence[str] = (),
    ) -> Play:
        """Run tasks against localhost. Results are those of the tasks that ran on it."""
        playbook = self.folder / f"play-{uuid.uuid4().hex}.yml"
        play = {
            "hosts": "all",
            "gather_facts": False,
            "vars": dict(variables or {}, ansible_python_interpreter=sys.executable),
            "tasks": list(tasks),
        }
        playbook.write_text(json.dumps([play]))  # JSON is YAML
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local", "--diff"]
        command += ["--check"] if check else []
        done = subprocess.run(
            [*command, *arguments, str(playbook)],
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
                "ANSIBLE_LOCALHOST_WARNING": "0",
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_FORCE_COLOR": "0",
                **(environment or {}),
            },
        )
        text = done.stdout[done.stdout.find("{") :]
        try:
            tasks_run = [task for one in json.loads(text)["plays"] for task in one["tasks"]]
        except ValueError:
            raise AssertionError(f"ansible-playbook: {done.stdout}\n{done.stderr}") from None
        results = [result for task in tasks_run for result in task["hosts"].values()]
        return Play(results, done.stdout, done.stderr, done.returncode)

    def module(self, name: str, options: t.Mapping[str, t.Any], check: bool = False) -> dict[str, t.Any]:
        """The result of one module call; `failed` tells a failure."""
        return self.play([{f"waba.onprem.{name}": dict(options)}], check).results[0]

    def converge(self, name: str, options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Check, run, run, check: the first two agree, the last two change nothing. Returns the real run's result."""
        predicted = self.module(name, options, check=True)
        done = self.module(name, options)
        for result in (predicted, done):
            assert not result.get("failed"), result
        assert done["changed"], "the first run changed nothing"
        for key in ("changed", "actions", "diff"):
            assert predicted.get(key) == done.get(key), f"check mode predicted another {key}"
        for check in (False, True):
            again = self.module(name, options, check)
            assert not again.get("failed"), again
            assert not again["changed"], again
        return done


@pytest.fixture
def ansible(tmp_path: Path) -> Ansible:
    """Runs modules the way Ansible does."""
    return Ansible(tmp_path)


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Server]:
    """A MariaDB server of this file's own, with the client's user."""
    with server("mariadb", tmp_path_factory.mktemp("mariadb")) as found:
        gc_tables.prepare(found)
        yield found


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Server]:
    """A PostgreSQL server of this file's own, with the client's user."""
    with server("postgres", tmp_path_factory.mktemp("postgres")) as found:
        gc_tables.prepare(found)
        yield found


@pytest.fixture(params=["mariadb", "postgres"])
def database(request: pytest.FixtureRequest) -> Server:
    """Each of the two servers in turn."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def client(database: Server, tmp_path: Path) -> t.Iterator[gc_tables.Client]:
    """A small Webapp over a table of messages, whose GC takes a third of it."""
    with gc_tables.databases(database, gc1_messageStore=gc_tables.ROWS):
        found = gc_tables.Client(database, tmp_path, 20_000)
        yield found
        found.close()
