# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the integration tests: the real Docker Engine, containers like the client's, modules run by Ansible."""

from __future__ import annotations

import os
import subprocess
import typing as t
import uuid
from pathlib import Path

import lab_images
import pytest
from clients import Clients
from commands import docker
from database_servers import Server, prepare, server
from playbook import Ansible
from simulated import ROWS, Run, Simulated, gc_runner, opened

SCRATCH_IMAGE = "lab-base:test"
# The files that take longest, which the processes of pytest-xdist begin with: one of them last would leave the others idle. Each of the
# four processes takes one of the first four, and one of the second four with it.
LONGEST = (
    "test_wa_db_dump",
    "test_wa_db_env",
    "test_wa_message_gc",
    "test_wa_client",
    "test_wa_message_gc_clients",
    "test_wa_message_gc_role",
    "test_database_messages",
    "test_wa_message_gc_faults",
    "test_wa_media_volume",
    "test_wa_log_cleanup_job",
    "test_wa_log_cleanup",
    "test_wa_info_database",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts the files by the time that they take; their tests stay in their order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(scope="session")
def docker_engine() -> str:
    """The address of a running Docker Engine."""
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        pytest.fail("no Docker Engine answers; script/bootstrap starts one")
    return os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")


@pytest.fixture(scope="session")
def image(docker_engine: str) -> str:
    """The name of an image with a shell, coreutils, gzip and Python: the base image of the lab."""
    if docker("image", "ls", "--quiet", SCRATCH_IMAGE):
        return SCRATCH_IMAGE
    return lab_images.base()


@pytest.fixture
def clients(image: str) -> t.Iterator[Clients]:
    """Creates containers like the client's in their own Compose project, and removes them at the end."""
    factory = Clients(image, f"t{uuid.uuid4().hex[:8]}")
    try:
        yield factory
    finally:
        factory.clean()


@pytest.fixture
def ansible(tmp_path: Path) -> Ansible:
    """Runs modules the way Ansible does."""
    return Ansible(tmp_path)


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Server]:
    """A MariaDB server, with the client's user, for all files. Each file uses its own prefix."""
    with server("mariadb", tmp_path_factory.mktemp("mariadb")) as found:
        prepare(found)
        yield found


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Server]:
    """A PostgreSQL server, with the client's user, for all files. Each file uses its own prefix."""
    with server("postgres", tmp_path_factory.mktemp("postgres")) as found:
        prepare(found)
        yield found


@pytest.fixture(params=["mariadb", "postgres"])
def database(request: pytest.FixtureRequest) -> Server:
    """Each of the two servers in turn."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def started(
    mariadb: Server, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> t.Iterator[Simulated]:
    """A simulated client over MariaDB with the prefix and the knobs that a file has in CLIENT."""
    with opened(tmp_path_factory.mktemp("client"), mariadb, **request.module.CLIENT) as found:
        yield found


@pytest.fixture
def client(started: Simulated) -> t.Iterator[Simulated]:
    """The client that was `started`, with its messages."""
    started.fill(ROWS)
    yield started
    started.repair()


@pytest.fixture
def run(client: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run(check=False, **options)`: wa_message_gc for this client."""
    return gc_runner(client, tmp_path / "gc.json", monkeypatch)
