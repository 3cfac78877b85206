# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left of roles that are to be absent. The engine is asked only where a volume or containers matter."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._concern import removal
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC


@pytest.fixture
def observe(engine: FakeDocker) -> t.Callable[..., list[str]]:
    options = {name: spec.get("default") for name, spec in ARGUMENT_SPEC.items()}
    docker = Docker({**options, "docker_host": engine.host})
    defaults = {name: spec.get("default") for name, spec in removal.SPEC.items()}
    return lambda **params: removal.observe(lambda: docker, {**defaults, **params}).changes


def test_files_that_are_left_are_named(observe: t.Callable[..., list[str]], engine: FakeDocker, tmp_path: Path) -> None:
    env, secret, none = tmp_path / "db.env", tmp_path / "secret-waweb.env", tmp_path / "none"
    files = [str(env), str(tmp_path / "secret-*"), str(none)]
    assert observe(files=files) == []
    env.touch()
    secret.touch()
    assert observe(files=files) == [f"{env} is to be absent", f"{secret} is to be absent"]
    assert engine.requests == ["GET /version"]


def test_a_folder_counts_if_the_removal_empties_it(observe: t.Callable[..., list[str]], tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "db.env").touch()
    files, folders = [str(folder / "db.env")], [str(folder)]
    assert observe(files=files, folders=folders) == [f"{one} is to be absent" for one in (*files, *folders)]
    (folder / "notes").touch()
    assert observe(files=files, folders=folders) == [f"{files[0]} is to be absent"]
    (folder / "db.env").unlink()
    assert observe(files=files, folders=folders) == []


def test_the_record_stays_with_the_clients_containers(
    observe: t.Callable[..., list[str]], engine: FakeDocker, tmp_path: Path
) -> None:
    record = tmp_path / "client-a.json"
    record.touch()
    params = {"project": "wa-a", "identity_file": str(record)}
    assert observe(**params) == [f"{record} is to be absent"]
    engine.container("wa-a-wacore-1", "r/coreapp:v2.53.4", "wa-a", "wacore", volume="m")
    assert observe(**params) == []


def test_a_volume_that_is_left_is_named(observe: t.Callable[..., list[str]], engine: FakeDocker) -> None:
    assert observe(volume="media") == []
    engine.volume("media")
    assert observe(volume="media") == ["the volume media is to be absent"]
