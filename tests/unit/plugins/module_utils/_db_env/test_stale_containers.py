# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether db.env is in force: which containers run with other values, and what restarting them would lose."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from fake_docker import FakeDocker
from real_compose import Runner

from ansible_collections.waba.onprem.plugins.module_utils._compose.environment import Compose
from ansible_collections.waba.onprem.plugins.module_utils._db_env import stale_containers
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker

CORE = "registry.lab:5000/whatsapp/coreapp:v2.53.4"
HELD = {"WA_DB_HOSTNAME": {"db"}, "WA_DB_PASSWORD": {"new", "$new"}}
SAME = {"WA_DB_HOSTNAME": "db", "WA_DB_PASSWORD": "new"}
SECRET = "Canary-51-Pw"
Entries = list[dict[str, t.Any]]
Find = t.Callable[..., "tuple[Entries, Entries]"]


@pytest.fixture
def find(engine: FakeDocker, tmp_path: Path) -> Find:
    """The stale and overridden containers. `sets` are keys that the Compose file sets for service wacore."""

    def call(removed: t.Iterable[str] = (), sets: t.Sequence[str] = ()) -> tuple[Entries, Entries]:
        file = tmp_path / "compose.yml"
        file.write_text(f"services: {{wacore: {{image: any, environment: {[f'{key}=x' for key in sets]}}}}}")
        for one in engine.containers.values():
            one["Labels"]["com.docker.compose.project.config_files"] = str(file)
        params = {"docker_host": engine.host, "docker_timeout": "5s"}
        docker = Docker(params)
        containers = docker.client_containers(all_projects=True)
        engine.requests.clear()
        warnings: list[str] = []
        compose = Compose(str(tmp_path / "db.env"), warnings.append, Runner())
        found = stale_containers.find(docker, containers, HELD, iter(removed), compose)
        assert warnings == []
        assert SECRET not in repr(found)
        return found

    return call


def test_a_container_with_the_files_values_is_in_force(engine: FakeDocker, find: Find) -> None:
    engine.container("biz-wacore-1", service="wacore", environment=SAME)
    engine.container("biz-wacore-2", service="wacore", environment={**SAME, "WA_DB_PASSWORD": "$new", "PATH": "/bin"})
    assert find() == ([], [])
    assert engine.count == 2  # one request for each container


def test_a_container_with_other_values_is_stale(engine: FakeDocker, find: Find) -> None:
    made = engine.container("biz-wacore-1", service="wacore", environment={**SAME, "WA_DB_PASSWORD": SECRET})
    assert find() == (
        [
            {
                "name": "biz-wacore-1",
                "id": made["Id"][:12],
                "project": "biz",
                "service": "wacore",
                "role": "core",
                "stale_keys": ["WA_DB_PASSWORD"],
                "overridden_keys": [],
                "keeps_configuration": False,
            }
        ],
        [],
    )
    assert engine.count == 1


def test_a_key_set_in_the_compose_file_is_overridden(engine: FakeDocker, find: Find) -> None:
    other = {**SAME, "WA_DB_HOSTNAME": "x"}
    engine.container("biz-wacore-1", service="wacore", environment=other)
    engine.container("biz-wacore-2", service="wacore", environment={**other, "WA_DB_PASSWORD": SECRET})
    found, overridden = find(sets=["WA_DB_HOSTNAME", "WA_DB_NAME_PREFIX"])
    listed = [(one["name"], one["stale_keys"], one["overridden_keys"]) for one in (*found, *overridden)]
    assert listed == [
        ("biz-wacore-2", ["WA_DB_PASSWORD"], ["WA_DB_HOSTNAME"]),
        ("biz-wacore-1", [], ["WA_DB_HOSTNAME"]),
    ]


def test_a_removed_key_is_stale_and_a_key_set_by_compose_is_not(engine: FakeDocker, find: Find) -> None:
    engine.container("biz-wacore-1", service="wacore", environment={**SAME, "WA_X": "1", "WA_DB_NAME_PREFIX": "a"})
    found, _overridden = find(removed=["WA_X"], sets=["WA_DB_NAME_PREFIX"])
    assert [one["stale_keys"] for one in found] == [["WA_X"]]
    assert find(sets=["WA_DB_NAME_PREFIX"]) == ([], [])


@pytest.mark.parametrize(("own", "stale"), [({"WA_CONFIG_ON_DB": "1"}, 0), ({"WA_CONFIG_ON_DB": "0"}, 2), ({}, 2)])
def test_a_key_set_by_the_image_is_not_stale_and_the_image_is_inspected_once(
    engine: FakeDocker, find: Find, own: dict[str, str], stale: int
) -> None:
    engine.images[CORE] = own
    for number in (1, 2):
        engine.container(f"biz-wacore-{number}", service="wacore", environment={**SAME, "WA_CONFIG_ON_DB": "1"})
    found, overridden = find()
    assert (len(found), overridden) == (stale, [])
    assert engine.count == 2 + 1


def test_a_missing_image_explains_no_key(engine: FakeDocker, find: Find) -> None:
    engine.container("biz-wacore-1", service="wacore", environment={**SAME, "WA_CONFIG_ON_DB": "1"})
    assert [one["stale_keys"] for one in find()[0]] == [["WA_CONFIG_ON_DB"]]


@pytest.mark.parametrize(("kind", "keeps"), [("volume", True), ("bind", True), ("tmpfs", False)])
def test_keeps_configuration_depends_on_the_mount(engine: FakeDocker, find: Find, kind: str, keeps: bool) -> None:
    mount = engine.mount("conf", "/usr/local/waent/data", kind=kind)
    engine.container("biz-wacore-1", service="wacore", mounts=[mount])
    assert [one["keeps_configuration"] for one in find()[0]] == [keeps]


def test_a_container_removed_during_the_inspection_is_left_out(engine: FakeDocker, find: Find) -> None:
    engine.container("biz-wacore-1", service="wacore", environment={})
    engine.container("biz-wacore-2", service="wacore", environment={})
    removed = next(iter(engine.containers))
    engine.failures[f"GET /containers/{removed}/json"] = (404, "No such container")
    assert [one["name"] for one in find()[0]] == ["biz-wacore-2"]
