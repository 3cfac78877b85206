# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client container as wa_info returns it: the engine's record, without a value of its environment."""

from __future__ import annotations

import typing as t

import pytest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._client import listing
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker import container_files
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Container, Docker, Mount

SECRET = "Canary-31-Pw"
ENVIRONMENT = {
    "WA_DB_ENGINE": "MYSQL",
    "WA_DB_HOSTNAME": "DB.lab",
    "WA_DB_PORT": "3306",
    "WA_DB_NAME_PREFIX": "x_",
    "WA_DB_PASSWORD": SECRET,
}


def container(
    state: str = "running", labels: dict[str, str] | None = None, image: str = "coreapp:v2.53.4"
) -> Container:
    return Container("c" * 64, "biz-wacore-1", f"r.lab/{image}", state, labels or {}, [], environment={})


@pytest.mark.parametrize(
    ("environment", "database"),
    [
        (ENVIRONMENT, "db.lab:3306/x_"),
        ({"WA_DB_HOSTNAME": "db"}, "db:/"),
        ({"WA_DB_PORT": "3306"}, ""),
        ({}, ""),
    ],
)
def test_the_database_is_named_without_its_user(environment: dict[str, str], database: str) -> None:
    assert listing.database(environment) == database


@pytest.mark.parametrize(
    ("bindings", "url"),
    [
        ({"443/tcp": [{"HostPort": "9090"}]}, "https://127.0.0.1:9090"),
        ({"443/tcp": [{"HostPort": "9090", "HostIp": "0.0.0.0"}]}, "https://127.0.0.1:9090"),
        ({"443/tcp": [{"HostPort": "9090", "HostIp": "192.0.2.7"}]}, "https://192.0.2.7:9090"),
        ({"443/tcp": [{"HostPort": "9090", "HostIp": "2001:db8::7"}]}, "https://[2001:db8::7]:9090"),
        ({"443/tcp": [{"HostPort": ""}, {"HostPort": "9091"}]}, "https://127.0.0.1:9091"),
        ({"443/tcp": [{"HostPort": "9000-9010"}]}, ""),
        ({"443/tcp": [{}]}, ""),
        ({"443/tcp": None}, ""),
        ({"443/udp": [{"HostPort": "1"}], "6250/tcp": [{"HostPort": "2"}]}, ""),
        ({}, ""),
        (None, ""),
    ],
)
def test_the_address_of_the_api_is_read_from_the_bindings(bindings: t.Any, url: str) -> None:
    assert listing.api_url({"HostConfig": {"PortBindings": bindings}}) == url
    assert listing.api_url({}) == ""


RECORD = {
    "State": {
        "Status": "running",
        "Health": {"Status": "healthy"},
        "ExitCode": 3,
        "StartedAt": "2024-01-02T03:04:05.678Z",
    },
    "HostConfig": {
        "PortBindings": {"443/tcp": [{"HostPort": "9090"}]},
        "RestartPolicy": {"Name": "always"},
    },
    "NetworkSettings": {"Ports": {"443/tcp": [{"HostPort": "9090"}]}},
}


def test_a_container_is_described_without_a_secret() -> None:
    one = container(image="web:v2.53.4")
    one.labels = {
        "com.docker.compose.project": "biz",
        "com.docker.compose.service": "waweb",
        "com.docker.compose.project.config_files": "compose.yml",
        "com.docker.compose.project.working_dir": "/srv/wa",
        "com.docker.compose.config-hash": "h1",
        "onprem.waba.deployment": "biz",
    }
    one.command, one.mounts = "/opt/whatsapp/bin/x", [Mount("volume", "media", "/usr/local/wamedia", True)]
    one.environment = ENVIRONMENT
    described = listing.describe(one, RECORD)
    assert SECRET not in repr(described)
    assert described == {
        "name": "biz-wacore-1",
        "id": "c" * 64,
        "image": "r.lab/web:v2.53.4",
        "version": "2.53.4",
        "role": "web",
        "project": "biz",
        "service": "waweb",
        "state": "running",
        "health": "healthy",
        "exit_code": 3,
        "started_at": 1704164645.0,
        "restart": "always",
        "api_url": "https://127.0.0.1:9090",
        "one_shot": False,
        "database": "db.lab:3306/x_",
        "env_keys": sorted(ENVIRONMENT),
        "identity": {
            "database": {"engine": "MYSQL", "hostname": "db.lab", "port": "3306", "name_prefix": "x_"},
            "clustered": False,
        },
        "files": ["/srv/wa/compose.yml"],
        "own": True,
        "mounts": [{"kind": "volume", "name": "media", "destination": "/usr/local/wamedia", "writable": True}],
        "configuration_mount": "",
        "keeps_configuration": True,
    }


def test_a_coreapp_has_a_configuration_mount_and_no_api_address() -> None:
    one = container()
    one.command, one.mounts = "/opt/whatsapp/bin/x", [Mount("volume", "conf", "/usr/local/waent/data", True)]
    described = listing.describe(one, RECORD)
    values = {key: described[key] for key in ("role", "api_url", "configuration_mount", "keeps_configuration", "own")}
    assert values == {
        "role": "core",
        "api_url": "",
        "configuration_mount": "conf",
        "keeps_configuration": True,
        "own": False,
    }
    one.mounts = []
    described = listing.describe(one, RECORD)
    assert (described["configuration_mount"], described["keeps_configuration"]) == ("", False)


@pytest.mark.parametrize("started", ["0001-01-01T00:00:00Z", ""])
def test_fields_missing_in_the_record_have_defaults(started: str) -> None:
    described = listing.describe(container(), {"State": {"StartedAt": started}})
    values = {key: described[key] for key in ("health", "exit_code", "started_at", "restart")}
    assert values == {
        "health": "",
        "exit_code": 0,
        "started_at": 0.0,
        "restart": "no",
    }


@pytest.mark.parametrize(("service", "one_shot"), [("dbupgrade", True), ("wacore", False)])
def test_a_migration_is_no_service_of_the_client(service: str, one_shot: bool) -> None:
    one = container()
    one.labels = {"com.docker.compose.service": service}
    assert listing.describe(one, RECORD)["one_shot"] is one_shot


def test_containers_of_one_or_all_projects_are_listed(engine: FakeDocker) -> None:
    for project in ("a", "b"):
        engine.container(f"{project}-wacore-1", project=project, environment=ENVIRONMENT)
    engine.container("named", image="other/image:1", project="b")
    docker = Docker({"docker_host": engine.host, "docker_timeout": 5})
    assert [one["name"] for one in listing.read(docker, None, [])] == ["a-wacore-1", "b-wacore-1"]
    assert [one["name"] for one in listing.read(docker, "b", ["named"])] == ["b-wacore-1", "named"]
    assert listing.read(docker, "c", []) == []


def test_a_container_removed_during_the_listing_is_left_out(engine: FakeDocker) -> None:
    engine.container("a-wacore-1")
    engine.container("b-wacore-1")
    removed = engine.containers[next(iter(engine.containers))]
    engine.failures[f"GET /containers/{removed['Id']}/json"] = (404, "No such container")
    docker = Docker({"docker_host": engine.host, "docker_timeout": 5})
    assert [one["name"] for one in listing.read(docker, None, [])] == ["b-wacore-1"]


@pytest.mark.parametrize(
    ("role", "mounted", "asked"),
    [
        ("core", [], True),
        ("core", ["/usr/local/wamedia2", "/usr/local/wamedia/incoming"], True),
        ("core", ["/usr/local/wamedia/"], False),
        ("web", ["/usr/local"], False),
        ("web", ["/"], False),
        ("other", [], False),
    ],
)
def test_media_in_the_container_layer_are_found(
    monkeypatch: pytest.MonkeyPatch, role: str, mounted: list[str], asked: bool
) -> None:
    def in_layer(_engine: t.Any, identifier: str, path: str) -> str:
        if identifier == "broken":
            raise WaError("layer", "cannot be read")
        assert (identifier, path) == ("c", "/usr/local/wamedia")
        return f"{path}/photo"

    monkeypatch.setattr(container_files, "in_layer", in_layer)
    one = {"id": "c", "role": role, "mounts": [{"destination": path} for path in mounted]}
    found = listing.layer_media(t.cast("t.Any", None), one)
    assert found == ("/usr/local/wamedia/photo" if asked else "")
    broken = listing.layer_media(t.cast("t.Any", None), {**one, "id": "broken"})
    assert broken == ("unknown content of /usr/local/wamedia (layer: cannot be read.)" if asked else "")
