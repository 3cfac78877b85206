# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The concern client without Compose: the engine's record of each container, and unmanaged clients."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from fake_docker import FakeDocker
from observed_host import CORE, NETWORK, SERVICE_KEY, VERSION, WEB, ObservedHost

from ansible_collections.waba.onprem.plugins.module_utils._client import inspection as client_inspection
from ansible_collections.waba.onprem.plugins.module_utils._client.service_drift import Differences
from ansible_collections.waba.onprem.plugins.module_utils._compose import override
from ansible_collections.waba.onprem.plugins.module_utils._concern import client
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC

KEPT = "is kept as it was created until the next upgrade"


@pytest.fixture
def host(engine: FakeDocker, tmp_path: Path) -> ObservedHost:
    return ObservedHost(engine, tmp_path)


@pytest.fixture
def docker(host: ObservedHost) -> Docker:
    options = {name: spec.get("default") for name, spec in ARGUMENT_SPEC.items()}
    return Docker({**options, "docker_host": host.engine.host})


@pytest.fixture
def params(host: ObservedHost) -> dict[str, t.Any]:
    """The options with the defaults of the argument spec."""
    defaults = {name: spec.get("default") for name, spec in client.SPEC.items()}
    given = {**defaults, **host.desired["client"]}
    service = {"count": 1, "secret_file": None, "restart": "no"}
    file = {"state": "file", "owner": None, "group": None, "content": None, "sha256": None}
    return {
        **given,
        "services": [{**service, **one} for one in given["services"]],
        "files": [{**file, **one} for one in given["files"]],
    }


def test_a_project_in_sync_has_no_finding(host: ObservedHost, docker: Docker, params: dict[str, t.Any]) -> None:
    assert client.observe(docker, params, True).shown("now") == {"state": "in_sync"}
    assert host.touched() == {}


def test_a_file_with_secrets_has_no_diff(host: ObservedHost, docker: Docker, params: dict[str, t.Any]) -> None:
    host.secret_file.write_text("WA_WEB_KEY=old\n")
    found = client.observe(docker, params, True)
    assert (found.changes, found.diff) == ([f"{host.secret_file} has another content"], [])
    host.compose.write_text("a: 1\n")
    assert [one["before_header"] for one in client.observe(docker, params, True).diff] == [str(host.compose)]
    assert client.observe(docker, params, False).diff == []


def test_one_off_and_migration_containers_are_no_service(
    host: ObservedHost, docker: Docker, params: dict[str, t.Any]
) -> None:
    host.engine.container("wa-a-run-1", CORE, "wa-a", "wacore", "exited", labels={"com.docker.compose.oneoff": "True"})
    host.engine.container("wa-a-dbupgrade-1", CORE, "wa-a", "dbupgrade", "exited")
    host.engine.container("wa-b-wacore-1", CORE, "wa-b", "wacore", "exited")
    assert client.compare_project(docker, params, client_inspection.record(params["identity_file"])) == Differences()


def test_a_container_of_a_removed_service_is_reported(
    host: ObservedHost, docker: Docker, params: dict[str, t.Any]
) -> None:
    host.container("master1", CORE)
    surplus = ["wa-a-master1-1 belongs to a service that this host no longer has"]
    assert client.compare_project(docker, params, client_inspection.record(params["identity_file"])) == Differences(
        restarts=surplus
    )


def test_a_container_beside_the_client_does_not_count(
    host: ObservedHost, docker: Docker, params: dict[str, t.Any]
) -> None:
    """Nor does it make the client an adopted one, whose differences would wait for the next upgrade."""
    host.engine.container("wa-a-proxy-1", "nginx:1", "wa-a", "proxy")
    record = client_inspection.record(params["identity_file"])
    assert client.compare_project(docker, params, record) == Differences()
    host.engine.container("wa-a-wacore-2", CORE, "wa-a", "wacore")
    assert client.compare_project(docker, params, record).kept


@pytest.mark.parametrize("adopted", [False, True])
def test_files_of_an_adopted_client_are_proven_by_its_upgrade(
    host: ObservedHost, docker: Docker, params: dict[str, t.Any], adopted: bool
) -> None:
    params["kept_files"] = [str(host.db_env)]
    host.db_env.with_name("db.env.previous").write_text("")
    host.web["Config"]["Env"] = [one for one in host.web["Config"]["Env"] if not one.startswith("WA_WEB_KEY=")]
    if adopted:
        del host.web["Labels"][override.OWN_LABEL]
    found = client.observe(docker, params, False)
    lines = [f"{host.db_env} was changed and not proven since", "wa-a-waweb-1 was created with another WA_WEB_KEY"]
    assert sorted(lines) == sorted(one for one in (found.pending if adopted else found.restarts) if KEPT not in one)
    assert found.restarts == [] or not adopted


def test_an_image_that_lost_its_name_is_identified_by_the_containers_record(
    host: ObservedHost, docker: Docker, params: dict[str, t.Any]
) -> None:
    host.engine.images.pop(WEB)  # without an image of that name the build cannot be compared
    assert client.compare_project(docker, params, client_inspection.record(params["identity_file"])) == Differences()
    host.engine.images[WEB] = {}
    host.web["Labels"]["com.docker.compose.image"] = "sha256:0"
    assert client.compare_project(docker, params, client_inspection.record(params["identity_file"])) == Differences(
        restarts=[f"wa-a-waweb-1 runs another build of {WEB}: sha256:0, expected {host.web['Image'][:19]}"]
    )


@pytest.mark.parametrize(
    ("log", "capped"),
    [
        ({"Type": "json-file", "Config": {}}, False),
        ({"Type": "json-file", "Config": None}, False),
        ({"Type": "json-file", "Config": {"max-size": "50m"}}, True),
        ({"Type": "local", "Config": {}}, True),
        ({"Type": "journald", "Config": {}}, True),
    ],
)
def test_an_adopted_container_without_a_log_limit_is_reported(
    host: ObservedHost, docker: Docker, params: dict[str, t.Any], log: dict[str, t.Any], capped: bool
) -> None:
    del host.web["Labels"][override.OWN_LABEL]
    host.web["HostConfig"] = {"LogConfig": log}
    more = "" if capped else "; Docker keeps its log without a limit"
    assert client.compare_project(docker, params, client_inspection.record(params["identity_file"])).pending == [
        f"wa-a-wacore-1 {KEPT}",
        f"wa-a-waweb-1 {KEPT}{more}",
    ]


def test_a_container_without_its_secrets_is_reported(
    host: ObservedHost, docker: Docker, params: dict[str, t.Any]
) -> None:
    host.web["Config"]["Env"] = [one for one in host.web["Config"]["Env"] if not one.startswith("WA_WEB_KEY=")]
    assert client.compare_project(docker, params, client_inspection.record(params["identity_file"])) == Differences(
        restarts=["wa-a-waweb-1 was created with another WA_WEB_KEY"]
    )
    host.web["Config"]["Env"] = None
    assert SERVICE_KEY not in str(
        client.compare_project(docker, params, client_inspection.record(params["identity_file"]))
    )


@pytest.mark.parametrize(
    ("plant", "expected"),
    [
        ({}, Differences(kept=True, pending=[f"biz_core {KEPT}"])),
        ({"State": "exited"}, Differences(kept=True, changes=["biz_core is exited"], pending=[f"biz_core {KEPT}"])),
        ({"State": "paused"}, Differences(kept=True, changes=["biz_core is paused"], pending=[f"biz_core {KEPT}"])),
        ({"Name": "other"}, Differences(kept=True, changes=["biz_core is missing"])),
    ],
)
def test_outside_compose_the_recorded_containers_are_compared(
    host: ObservedHost, docker: Docker, params: dict[str, t.Any], plant: dict[str, t.Any], expected: Differences
) -> None:
    host.engine.container("biz_core", CORE, project="", volume="m").update(plant)
    outside = {**params, "project": "", "container_names": ["biz_core"]}
    assert client.compare_recorded(docker, outside) == expected
    finding = client.observe(docker, {**outside, "files": [], "kept_files": []}, False)
    assert (finding.changes, finding.pending) == (expected.changes, expected.pending)


def test_a_container_outside_compose_must_have_the_version(
    host: ObservedHost, docker: Docker, params: dict[str, t.Any]
) -> None:
    host.engine.container("biz_core", "r/coreapp:v2.51.2", project="", volume="m")
    outside = {**params, "project": "", "container_names": ["biz_core"]}
    assert client.compare_recorded(docker, outside) == Differences(
        kept=True,
        restarts=[f"biz_core runs r/coreapp:v2.51.2, expected version {VERSION}"],
        pending=[f"biz_core {KEPT}"],
    )


def test_outside_compose_a_container_must_exist(host: ObservedHost, docker: Docker, params: dict[str, t.Any]) -> None:
    outside = {**params, "project": "", "container_names": []}
    changes = ["there is no container of the client outside Compose"]
    assert client.compare_recorded(docker, outside) == Differences(kept=True, changes=changes)
    host.engine.container("biz_core", CORE, project="", volume="m")
    assert client.compare_recorded(docker, outside) == Differences(kept=True)


def test_the_hash_of_a_service_requires_equal_containers(host: ObservedHost, docker: Docker) -> None:
    assert client.hashes(docker, "wa-a") == host.hashes
    host.container("wacore", CORE)
    host.engine.container("wa-a-wacore-2", CORE, "wa-a", "wacore", labels={"com.docker.compose.config-hash": "other"})
    assert client.hashes(docker, "wa-a") == {"waweb": "hash-of-waweb"}
    host.web["Labels"].pop("com.docker.compose.config-hash")
    assert client.hashes(docker, "wa-a") == {}
    assert client.hashes(docker, "") == {}


def test_unmanaged_clients_are_returned(host: ObservedHost, docker: Docker) -> None:
    host.engine.container("b-core", CORE, project="wa-b", volume="m")
    host.engine.container("biz_core", CORE, project="", volume="m")
    host.engine.container("web", "nginx:1", project="")
    assert [one["name"] for one in client.unmanaged(docker, "wa-a", [])] == ["b-core", "biz_core"]
    assert [one["name"] for one in client.unmanaged(docker, "wa-a", ["wa-b"])] == ["biz_core"]
    assert [one["name"] for one in client.unmanaged(docker, "", ["wa-a", "wa-b"])] == []
    # The empty project of a neighbour does not cover all containers outside Compose.
    assert [one["name"] for one in client.unmanaged(docker, "wa-a", ["wa-b", ""])] == ["biz_core"]


def test_a_recreated_network_is_reported(host: ObservedHost, docker: Docker, params: dict[str, t.Any]) -> None:
    host.engine.networks[NETWORK] = {"Id": "n2"}
    assert client.compare_project(docker, params, client_inspection.record(params["identity_file"])).restarts == [
        f"wa-a-wacore-1 is not on the network {NETWORK}",
        f"wa-a-waweb-1 is not on the network {NETWORK}",
    ]
