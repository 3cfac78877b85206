# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The concern client: the engine's record of each container, an operator's own Compose files, and unmanaged clients."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from fake_compose import FakeCompose, digest
from fake_docker import FakeDocker
from observed_host import CORE, NETWORK, SERVICE_KEY, VERSION, WEB, ObservedHost

from ansible_collections.waba.onprem.plugins.module_utils._client import inspection as client_inspection
from ansible_collections.waba.onprem.plugins.module_utils._client.service_drift import Differences
from ansible_collections.waba.onprem.plugins.module_utils._compose import call as compose_call
from ansible_collections.waba.onprem.plugins.module_utils._compose import document as compose_document
from ansible_collections.waba.onprem.plugins.module_utils._concern import client
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC

OTHERS = "was created from another Compose file"


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
    service = {"count": 1, "restart": "no"}
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
    host.variables.write_text("API_TOKEN=old\n")
    found = client.observe(docker, params, True)
    assert (found.changes, found.diff) == ([f"{host.variables} has another content"], [])
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
    """Nor does it make the differences of the client wait."""
    host.engine.container("wa-a-proxy-1", "nginx:1", "wa-a", "proxy")
    record = client_inspection.record(params["identity_file"])
    assert client.compare_project(docker, params, record) == Differences()
    host.engine.container("wa-a-wacore-2", CORE, "wa-a", "wacore", labels={"com.docker.compose.container-number": "2"})
    more = ["wa-a-wacore-2 is more than the 1 that the service has"]
    assert client.compare_project(docker, params, record) == Differences(pending=more, kept=True)


@pytest.mark.parametrize(
    ("service", "labels", "waits"),
    [
        ("wacore", {}, True),
        ("waweb", {}, True),
        ("wacore", {compose_document.OWN_LABEL: "a"}, False),
        ("wacore", {"com.docker.compose.oneoff": "True"}, False),
        ("spare", {}, False),
        ("upgrade", {}, False),
        ("dbupgrade", {}, False),
    ],
)
@pytest.mark.parametrize("called", [False, True])
def test_only_services_of_the_client_make_its_changes_wait(
    host: ObservedHost,
    docker: Docker,
    params: dict[str, t.Any],
    service: str,
    labels: dict[str, str],
    waits: bool,
    called: bool,
) -> None:
    host.engine.container(f"wa-a-{service}-2", CORE, "wa-a", service, "exited", labels=labels)
    if called:
        params.update(services=[], compose={"services": ["wacore", "waweb"]})
    assert client.waits(docker, params) is waits


def biz_core(host: ObservedHost, image: str = CORE) -> dict[str, t.Any]:
    """Add a container outside Compose."""
    made = host.engine.container("biz_core", image, project="", volume="m")
    made["HostConfig"] = {"RestartPolicy": {"Name": "unless-stopped"}}
    return made


def from_another_file(container: dict[str, t.Any]) -> None:
    """Make a container one of an operator's Compose file."""
    for label in (compose_document.OWN_LABEL, compose_document.DEFINITION_LABEL):
        del container["Labels"][label]


@pytest.mark.parametrize("foreign", [False, True])
def test_containers_of_another_compose_file_and_unproven_files_wait_for_an_upgrade(
    host: ObservedHost, docker: Docker, params: dict[str, t.Any], foreign: bool
) -> None:
    params.update(kept_files=[str(host.db_env)])
    host.db_env.with_name("db.env.previous").write_text("")
    host.web["Config"]["Image"] = "r/web:v2.51.2"
    if foreign:
        from_another_file(host.web)
    found = client.observe(docker, params, False)
    image, unproven = (
        f"wa-a-waweb-1 runs r/web:v2.51.2, expected {WEB}",
        f"{host.db_env} was changed and not proven since",
    )
    lines = [image, *([f"wa-a-waweb-1 {OTHERS}"] if foreign else []), unproven]
    assert (found.kept, found.changes) == (foreign, [])
    assert (found.restarts, found.pending) == (([], lines) if foreign else (lines, []))


@pytest.mark.parametrize(
    ("plant", "changes"),
    [
        ({}, []),
        ({"State": "exited"}, ["wa-a-waweb-1 has exited"]),
        ({"State": "paused"}, ["wa-a-waweb-1 is paused"]),
        (
            {"Health": "unhealthy", "FailingStreak": 3},
            ["wa-a-waweb-1 is unhealthy. Look into its log (docker logs wa-a-waweb-1)"],
        ),
        ({"HostConfig": {"RestartPolicy": {"Name": "no"}}}, []),
    ],
)
def test_a_container_of_another_compose_file_has_to_work(
    host: ObservedHost, docker: Docker, params: dict[str, t.Any], plant: dict[str, t.Any], changes: list[str]
) -> None:
    from_another_file(host.web)
    host.web.update(plant)
    record = client_inspection.record(params["identity_file"])
    assert client.compare_project(docker, params, record) == Differences(
        changes=changes, pending=[f"wa-a-waweb-1 {OTHERS}"], kept=True
    )


def test_a_missing_container_beside_one_of_another_compose_file_is_a_change(
    host: ObservedHost, docker: Docker, params: dict[str, t.Any]
) -> None:
    from_another_file(host.web)
    del host.engine.containers[host.core["Id"]]
    record = client_inspection.record(params["identity_file"])
    assert client.compare_project(docker, params, record) == Differences(
        changes=["wa-a-wacore-1 is missing"], pending=[f"wa-a-waweb-1 {OTHERS}"], kept=True
    )


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
def test_a_recorded_container_without_a_log_limit_is_reported(
    host: ObservedHost, docker: Docker, params: dict[str, t.Any], log: dict[str, t.Any], capped: bool
) -> None:
    biz_core(host)["HostConfig"]["LogConfig"] = log
    host.engine.container("other", CORE, project="", volume="m")["HostConfig"] = {"LogConfig": {}}
    outside = {**params, "project": "", "container_names": ["biz_core"], "files": [], "kept_files": []}
    line = "Docker keeps the log of biz_core without a limit: create it again with --log-opt max-size=50m"
    assert client.observe(docker, outside, False).warnings == ([] if capped else [line])


def test_the_environment_of_a_container_is_not_shown(
    host: ObservedHost, docker: Docker, params: dict[str, t.Any]
) -> None:
    record = client_inspection.record(params["identity_file"])
    for environment in ([f"API_TOKEN={SERVICE_KEY}-old"], None):
        host.web["Config"]["Env"] = environment
        found = client.compare_project(docker, params, record)
        assert found == Differences()
        assert SERVICE_KEY not in str(found)


@pytest.mark.parametrize(
    ("plant", "expected"),
    [
        ({}, Differences(kept=True)),
        ({"State": "exited"}, Differences(kept=True, changes=["biz_core is exited"])),
        ({"State": "paused"}, Differences(kept=True, changes=["biz_core is paused"])),
        ({"Name": "other"}, Differences(kept=True, changes=["biz_core is missing"])),
    ],
)
def test_outside_compose_the_recorded_containers_are_compared(
    host: ObservedHost, docker: Docker, params: dict[str, t.Any], plant: dict[str, t.Any], expected: Differences
) -> None:
    biz_core(host).update(plant)
    outside = {**params, "project": "", "container_names": ["biz_core"]}
    assert client.compare_recorded(docker, outside) == expected
    finding = client.observe(docker, {**outside, "files": [], "kept_files": []}, False)
    assert (finding.containers, finding.pending) == (expected.changes, expected.pending)


def test_a_container_outside_compose_has_to_come_back_after_a_restart(
    host: ObservedHost, docker: Docker, params: dict[str, t.Any]
) -> None:
    biz_core(host)["HostConfig"]["RestartPolicy"] = {"Name": "no"}
    outside = {**params, "project": "", "container_names": ["biz_core"], "files": [], "kept_files": []}
    assert client.observe(docker, outside, False).warnings == [
        "biz_core has the restart policy no, expected unless-stopped: docker update --restart unless-stopped biz_core"
    ]


def test_a_container_outside_compose_must_have_the_version(
    host: ObservedHost, docker: Docker, params: dict[str, t.Any]
) -> None:
    biz_core(host, "r/coreapp:v2.51.2")
    outside = {**params, "project": "", "container_names": ["biz_core"]}
    assert client.compare_recorded(docker, outside) == Differences(
        kept=True,
        restarts=[f"biz_core runs r/coreapp:v2.51.2, expected version {VERSION}"],
    )


def test_outside_compose_a_container_must_exist(host: ObservedHost, docker: Docker, params: dict[str, t.Any]) -> None:
    outside = {**params, "project": "", "container_names": []}
    changes = ["there is no container of the client outside Compose"]
    assert client.compare_recorded(docker, outside) == Differences(kept=True, changes=changes)
    biz_core(host)
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
    biz_core(host)
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


# An operator's own Compose files

HASH, IMAGE = "com.docker.compose.config-hash", "com.docker.compose.image"


class Operators:
    """The host's client from an operator's own files, with a database that it depends on and a queue beside it."""

    def __init__(self, host: ObservedHost, params: dict[str, t.Any]) -> None:
        self.host, self.engine = host, host.engine
        self.folder = host.folder / "biz"
        self.folder.mkdir()
        self.file, self.env = self.folder / "docker-compose.yml", host.project / "compose.env"
        self.bodies: dict[str, dict[str, t.Any]] = {
            "wacore": {"image": "r/coreapp:v${WA_API_VERSION:-2.51.2}", "depends_on": ["db"]},
            "waweb": {"image": "r/web:v${WA_API_VERSION:-2.51.2}", "restart": "no"},
            "db": {"image": "db:1"},
            "queue": {"image": "queue:1"},
        }
        self.write()
        self.write_own(VERSION)
        self.env.write_text("TZ=UTC\n")
        called: dict[str, t.Any] = {
            "folder": str(self.folder),
            "files": [str(self.file), str(host.compose)],
            "env_files": [],
            "profiles": [],
            "services": ["wacore", "waweb"],
        }
        file = {"state": "file", "owner": None, "group": None, "content": None, "sha256": None, "mode": "0600"}
        files = [params["files"][0], {**file, "path": str(self.env)}]
        self.params = {**params, "compose": called, "services": [], "files": files}
        self.called = called
        self.compose = FakeCompose()
        host.core["Labels"][HASH] = digest({**self.bodies["wacore"], "image": CORE})
        host.web["Labels"][HASH] = digest({**self.bodies["waweb"], "image": WEB})
        for one in (host.core, host.web):
            one["Config"]["Env"] = []
            one["HostConfig"]["RestartPolicy"] = {"Name": "no"}
        self.db, self.queue = self.add("db"), self.add("queue")

    def write(self) -> None:
        """Write the operator's file."""
        self.file.write_text(json.dumps({"services": self.bodies}))

    def write_own(self, version: str) -> None:
        """Write the collection's file with a version."""
        images = {"wacore": f"r/coreapp:v{version}", "waweb": f"r/web:v{version}"}
        self.host.compose.write_text(json.dumps({"services": {name: {"image": one} for name, one in images.items()}}))

    def add(self, service: str) -> dict[str, t.Any]:
        """Add a container beside the client."""
        body = self.bodies[service]
        made = self.engine.container(f"wa-a-{service}-1", body["image"], "wa-a", service, labels={HASH: digest(body)})
        made["Labels"][IMAGE] = made["Image"]
        made["HostConfig"] = {"LogConfig": {"Type": "json-file", "Config": {}}}
        self.engine.images[body["image"]] = {}
        return made

    def compare(self, docker: Docker, stale: t.Container[str] = ()) -> Differences:
        return client.compare_files(docker, self.params, self.compose, stale)


@pytest.fixture
def operators(host: ObservedHost, params: dict[str, t.Any]) -> Operators:
    return Operators(host, params)


def test_a_client_from_an_operators_files_is_in_sync(operators: Operators, docker: Docker) -> None:
    operators.host.planted()
    assert operators.compare(docker) == Differences()
    assert operators.host.touched() == {}


@pytest.mark.parametrize(
    ("container", "plant", "expected"),
    [
        ("core", {"State": "exited"}, Differences(changes=["wa-a-wacore-1: has exited"])),
        ("web", {"State": "paused"}, Differences(changes=["wa-a-waweb-1: is paused"])),
        (
            "web",
            {"State": "restarting"},
            Differences(
                changes=["wa-a-waweb-1 restarts again and again. Look into its log (docker logs wa-a-waweb-1)"]
            ),
        ),
        (
            "web",
            {"Health": "unhealthy", "FailingStreak": 3},
            Differences(changes=["wa-a-waweb-1 is unhealthy. Look into its log (docker logs wa-a-waweb-1)"]),
        ),
        ("web", {"Health": "starting"}, Differences()),
        ("db", {"State": "exited"}, Differences(changes=["wa-a-db-1: has exited"])),
        # What stands beside the client is the operator's.
        ("db", {"Health": "unhealthy", "FailingStreak": 3}, Differences()),
        ("queue", {"State": "exited"}, Differences()),
        ("queue", {"Health": "unhealthy", "FailingStreak": 3}, Differences()),
    ],
)
def test_containers_of_an_operators_files_have_to_work(
    operators: Operators, docker: Docker, container: str, plant: dict[str, t.Any], expected: Differences
) -> None:
    where = operators.host if container in ("core", "web") else operators
    getattr(where, container).update(plant)
    assert operators.compare(docker) == expected


def test_a_missing_container_of_an_operators_files_is_reported(operators: Operators, docker: Docker) -> None:
    for one in (operators.host.web, operators.db, operators.queue):
        del operators.engine.containers[one["Id"]]
    assert operators.compare(docker) == Differences(changes=["wa-a-waweb-1: is missing", "wa-a-db-1: is missing"])


def test_what_was_changed_in_a_container_of_an_operators_files_is_reported(
    operators: Operators, docker: Docker
) -> None:
    for one in (operators.host.web, operators.host.core):  # the files declare nothing for the Coreapp
        one["HostConfig"]["RestartPolicy"] = {"Name": "always"}
    operators.host.core["HostConfig"]["NanoCpus"] = 500_000_000
    operators.db["HostConfig"] = {"RestartPolicy": {"Name": "always"}, "Memory": 1 << 26}
    assert operators.compare(docker) == Differences(
        changes=["wa-a-waweb-1 has another restart policy than no, which the Compose file has"],
        restarts=["wa-a-wacore-1: has the CPU limit 0.5, expected none"],
        pending=["wa-a-db-1: has the memory limit 64.0 MiB, expected none"],  # is the operator's to recreate
    )


def test_another_version_is_a_restart(operators: Operators, docker: Docker) -> None:
    operators.write_own("2.55.1")
    assert operators.compare(docker) == Differences(
        restarts=[
            f"wa-a-wacore-1: runs {CORE}, expected r/coreapp:v2.55.1",
            f"wa-a-waweb-1: runs {WEB}, expected r/web:v2.55.1",
        ]
    )


def test_a_changed_file_of_the_operator_is_a_restart(operators: Operators, docker: Docker) -> None:
    operators.bodies["waweb"]["environment"] = {"TZ": "CET"}
    operators.bodies["wacore"]["init"] = True
    operators.bodies["db"]["init"] = True
    operators.bodies["queue"]["init"] = True
    operators.write()
    assert operators.compare(docker) == Differences(
        restarts=[
            "wa-a-wacore-1: the definition in the Compose files changed",
            "wa-a-waweb-1: its environment changed: TZ",
        ],
        # A service that the client depends on is the operator's to recreate.
        pending=["wa-a-db-1: the definition in the Compose files changed"],
    )


@pytest.mark.parametrize("service", ["waweb", "db"])
def test_what_only_compose_can_tell_is_no_difference(operators: Operators, docker: Docker, service: str) -> None:
    operators.bodies[service].update({"network_mode": "service:wacore", "init": True})
    operators.write()
    assert operators.compare(docker) == Differences()


def test_another_db_env_is_reported_by_its_own_concern(operators: Operators, docker: Docker) -> None:
    operators.bodies["waweb"]["environment"] = {"WA_DB_HOSTNAME": "other"}
    operators.write()
    operators.host.web["Labels"][HASH] = digest(
        {**operators.bodies["waweb"], "image": WEB, "environment": {"WA_DB_HOSTNAME": "db"}}
    )
    operators.host.web["Config"]["Env"] = ["WA_DB_HOSTNAME=db"]
    changed = ["wa-a-waweb-1: its environment changed: WA_DB_HOSTNAME"]
    assert operators.compare(docker, ["wa-a-wacore-1"]) == Differences(restarts=changed)
    assert operators.compare(docker, ["wa-a-waweb-1"]) == Differences()


def test_the_call_of_compose_is_that_of_the_inventory(operators: Operators, docker: Docker) -> None:
    site = operators.folder / "site.env"
    site.write_text("A=1\n")
    operators.bodies["waweb"]["profiles"] = ["site"]
    operators.write()
    operators.host.web["Labels"][HASH] = digest({**operators.bodies["waweb"], "image": WEB})
    operators.called.update(env_files=[str(site), str(operators.env)], profiles=["site", "blue"])
    operators.compose.environment = compose_call.ENVIRONMENT
    assert operators.compare(docker) == Differences()
    start = ["timeout", "60", "docker", "--host", operators.engine.host, "compose", "--project-name=wa-a"]
    start += [f"--project-directory={operators.folder}"]
    profiles = ["--profile=site", "--profile=blue"]
    files = [f"--file={operators.file}", f"--file={operators.host.compose}"]
    assert operators.compose.commands == [
        [
            *(*start, f"--env-file={site}", f"--env-file={operators.env}", *profiles, *files),
            *("config", "--format", "json", "wacore", "waweb"),
        ],
        [*start, "--profile=*", "--file=-", "config", "--hash", "*"],
    ]


def test_own_files_that_are_not_written_yet_are_not_given_to_compose(operators: Operators, docker: Docker) -> None:
    operators.called["env_files"] = [str(operators.env)]
    operators.host.compose.unlink()
    operators.env.unlink()
    # Without them the operator's files have another version.
    assert operators.compare(docker).restarts == [
        f"wa-a-wacore-1: runs {CORE}, expected r/coreapp:v2.51.2",
        f"wa-a-waweb-1: runs {WEB}, expected r/web:v2.51.2",
    ]
    words = operators.compose.commands[0]
    assert [word for word in words if word.startswith(("--env-file", "--file"))] == [f"--file={operators.file}"]


@pytest.mark.parametrize("missing", ["file", "variables"])
def test_a_missing_file_of_the_operator_is_an_error(operators: Operators, docker: Docker, missing: str) -> None:
    gone = operators.file if missing == "file" else operators.folder / "site.env"
    if missing == "file":
        gone.unlink()
    else:
        operators.called["env_files"] = [str(gone)]
    with pytest.raises(WaError) as error:
        operators.compare(docker)
    assert str(error.value) == (
        f"Compose file of project wa-a: Compose refuses it: open {gone}: no such file or directory; expected a file that "
        "docker compose config takes."
    )


CAPPED = {"Type": "json-file", "Config": {"max-size": "50m"}}


@pytest.mark.parametrize(
    ("log", "warned"),
    [
        (CAPPED, []),
        ({"Type": "local", "Config": {}}, []),
        ({"Type": "journald", "Config": None}, []),
        ({"Type": "json-file", "Config": {"max-file": "3"}}, ["wa-a-wacore-1"]),
        ({"Type": "json-file", "Config": None}, ["wa-a-wacore-1"]),
        ({"Type": ""}, ["wa-a-wacore-1"]),
        ({}, []),
        (None, []),
    ],
)
def test_a_log_without_a_limit_is_a_warning(
    operators: Operators, docker: Docker, log: dict[str, t.Any] | None, warned: list[str]
) -> None:
    """The logs beside the client are the operator's."""
    operators.host.core["HostConfig"] = {"LogConfig": log}
    lines = [
        f"Docker keeps the log of {name} without a limit: give its service logging options in the Compose file"
        for name in warned
    ]
    assert client._log_warnings(docker, operators.params) == lines
    found = client.observe(docker, operators.params, False, run=operators.compose)
    assert (found.warnings, found.restarts, found.pending) == (lines, [], [])


@pytest.mark.parametrize(
    ("project", "first", "own_file", "with_run", "called"),
    [
        ("wa-a", "operator", True, True, True),
        ("wa-a", "operator", False, True, True),
        ("wa-a", "own", True, True, True),
        # What Compose needs is not written yet: the engine's records are compared with the inventory.
        ("wa-a", "own", False, True, False),
        ("wa-a", "operator", True, False, False),
        ("", "operator", True, True, False),
    ],
)
def test_compose_is_run_where_it_can_read_an_operators_files(
    operators: Operators, docker: Docker, project: str, first: str, own_file: bool, with_run: bool, called: bool
) -> None:
    operators.params["project"] = project
    if first == "own":
        operators.called["files"].reverse()
    if not own_file:
        operators.host.compose.unlink()
    client.observe(docker, operators.params, False, run=operators.compose if with_run else None)
    assert bool(operators.compose.commands) == called


@pytest.fixture
def beside(operators: Operators) -> Operators:
    """The operator's file is merged into the collection's."""
    operators.called["files"].reverse()
    operators.bodies["wacore"]["image"], operators.bodies["waweb"]["image"] = CORE, WEB
    operators.write()
    operators.params["files"] = [{**one, "content": None} for one in operators.params["files"]]
    return operators


def observe(operators: Operators, docker: Docker) -> dict[str, t.Any]:
    found = client.observe(docker, operators.params, False, run=operators.compose)
    assert bool(operators.compose.commands)
    shown = {name: getattr(found, name) for name in ("kept", "changes", "containers", "restarts", "pending")}
    return {name: value for name, value in shown.items() if value}


@pytest.mark.parametrize(
    ("service", "plant", "changes", "waits"),
    [
        ("waweb", {}, [], []),
        ("waweb", {"State": "exited"}, ["wa-a-waweb-1: has exited"], []),
        ("waweb", {"State": "paused"}, ["wa-a-waweb-1: is paused"], []),
        ("db", {"State": "exited"}, ["wa-a-db-1: has exited"], []),
        ("queue", {"State": "exited"}, [], []),
        ("waweb", {"body": {"init": True}}, [], ["wa-a-waweb-1: the definition in the Compose files changed"]),
        (
            "waweb",
            {"body": {"environment": {"TZ": "CET"}}},
            [],
            ["wa-a-waweb-1: its environment changed: TZ"],
        ),
        (
            "waweb",
            {"body": {"image": "r/web:v2.55.1"}},
            [],
            [f"wa-a-waweb-1: runs {WEB}, expected r/web:v2.55.1"],
        ),
    ],
)
@pytest.mark.parametrize("foreign", [False, True])
def test_containers_of_another_compose_file_than_the_rendered_one_wait(
    beside: Operators,
    docker: Docker,
    service: str,
    plant: dict[str, t.Any],
    changes: list[str],
    waits: list[str],
    foreign: bool,
) -> None:
    if foreign:
        from_another_file(beside.host.core)
    containers = {"waweb": beside.host.web, "db": beside.db, "queue": beside.queue}
    plant = {**plant}
    beside.bodies[service].update(plant.pop("body", {}))
    beside.write()
    containers[service].update(plant)
    expected = {"kept": foreign, "containers": changes, "pending" if foreign else "restarts": waits}
    assert observe(beside, docker) == {name: value for name, value in expected.items() if value}


@pytest.mark.parametrize("foreign", [False, True])
def test_a_missing_container_is_a_change_also_where_others_wait(
    beside: Operators, docker: Docker, foreign: bool
) -> None:
    if foreign:
        from_another_file(beside.host.core)
    del beside.engine.containers[beside.host.web["Id"]]
    found = observe(beside, docker)
    assert found.pop("kept", False) == foreign
    assert found == {"containers": ["wa-a-waweb-1: is missing"]}


def test_an_operators_own_files_may_describe_containers_without_the_label(operators: Operators, docker: Docker) -> None:
    for one in (operators.host.core, operators.host.web):
        from_another_file(one)
    operators.bodies["wacore"]["init"] = True
    operators.write()
    operators.params["files"] = []
    assert observe(operators, docker) == {"restarts": ["wa-a-wacore-1: the definition in the Compose files changed"]}


def test_a_log_is_limited_by_the_rendered_file_where_there_is_one(beside: Operators, docker: Docker) -> None:
    beside.host.core["HostConfig"] = {"LogConfig": {"Type": "json-file", "Config": {}}}
    assert client.observe(docker, beside.params, False, run=beside.compose).warnings == []


def test_without_an_operators_files_compose_is_not_run(docker: Docker, params: dict[str, t.Any]) -> None:
    compose = FakeCompose()
    assert client.observe(docker, params, True, run=compose).shown("now") == {"state": "in_sync"}
    assert compose.commands == []


def test_the_finding_has_what_differs_from_an_operators_files(operators: Operators, docker: Docker) -> None:
    operators.host.web.update(State="exited")
    operators.bodies["wacore"]["init"] = True
    operators.bodies["db"]["init"] = True
    operators.write()
    operators.host.db_env.with_name("db.env.previous").write_text("")
    operators.params["files"] = []
    found = client.observe(docker, operators.params, False, run=operators.compose)
    assert found.shown("now") == {
        "state": "drifted",
        "containers": ["wa-a-waweb-1: has exited"],
        "restarts": [
            "wa-a-wacore-1: the definition in the Compose files changed",
            f"{operators.host.db_env} was changed and not proven since",
        ],
        "pending": ["wa-a-db-1: the definition in the Compose files changed"],
    }
