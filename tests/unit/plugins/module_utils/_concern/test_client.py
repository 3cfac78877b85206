# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The concern client: the engine's record of each container, an operator's own Compose files, and unmanaged clients."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
from fake_compose import FakeCompose, digest
from fake_docker import FakeDocker
from observed_host import CORE, SERVICE_KEY, VERSION, WEB, ObservedHost

from ansible_collections.waba.onprem.plugins.module_utils._client import inspection as client_inspection
from ansible_collections.waba.onprem.plugins.module_utils._compose import definitions
from ansible_collections.waba.onprem.plugins.module_utils._compose import document as compose_document
from ansible_collections.waba.onprem.plugins.module_utils._concern import client
from ansible_collections.waba.onprem.plugins.module_utils._concern.finding import Finding
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC

Options = dict[str, t.Any]
HASH, MADE_BY = "com.docker.compose.config-hash", "com.docker.compose.version"
MADE_FROM = "com.docker.compose.project.config_files"
OTHER_FILE = "was made from other Compose files than there are now"
UNKNOWN = "was made from other Compose files than there are now"
NOT_RECORDED = (
    "is not in the record of this host as its Compose files are read now: it was created, or Compose upgraded, since "
    "provision.yml last ended. provision.yml compares it with these files, and records it"
)
IN_SYNC = {"state": "in_sync"}


@pytest.fixture
def host(engine: FakeDocker, tmp_path: Path) -> ObservedHost:
    return ObservedHost(engine, tmp_path)


@pytest.fixture
def docker(host: ObservedHost) -> Docker:
    options = {name: spec.get("default") for name, spec in ARGUMENT_SPEC.items()}
    return Docker({**options, "docker_host": host.engine.host})


@pytest.fixture
def params(host: ObservedHost) -> Options:
    """The options with the defaults of the argument spec."""
    defaults = {name: spec.get("default") for name, spec in client.SPEC.items()}
    given = {**defaults, **host.desired["client"]}
    file = {"state": "file", "owner": None, "group": None, "content": None, "sha256": None}
    return {**given, "files": [{**file, **one} for one in given["files"]]}


def look(docker: Docker, params: Options, compare_record: bool = True, asked: bool = False) -> Options:
    """Returns the finding about the collection's own project; Compose is only `asked` for a hash that is not recorded."""
    compose = FakeCompose()
    found = client.observe(docker, params, False, compose, compare_record)[0]
    assert bool(compose.commands) == asked
    return found.shown("now")


def drifted(**lines: list[str]) -> Options:
    return {"state": "drifted", **{name: one for name, one in lines.items() if one}}


def test_a_project_in_sync_has_no_finding(host: ObservedHost, docker: Docker, params: Options) -> None:
    assert look(docker, params) == IN_SYNC
    assert host.touched() == {}


@pytest.mark.parametrize("diff", [True, False])
def test_another_content_of_a_file_has_a_diff(host: ObservedHost, docker: Docker, params: Options, diff: bool) -> None:
    host.compose.write_text("a: 1\n")
    found = client.observe(docker, params, diff, FakeCompose())[0]
    assert found.changes == [f"{host.compose} has another content"]
    assert [one["before_header"] for one in found.diff] == ([str(host.compose)] if diff else [])


def test_one_off_and_migration_containers_are_no_service(host: ObservedHost, docker: Docker, params: Options) -> None:
    host.engine.container("wa-a-run-1", CORE, "wa-a", "wacore", "exited", labels={"com.docker.compose.oneoff": "True"})
    host.engine.container("wa-a-dbupgrade-1", CORE, "wa-a", "dbupgrade", "exited")
    host.engine.container("wa-b-wacore-1", CORE, "wa-b", "wacore", "exited")
    assert look(docker, params) == IN_SYNC


def test_a_container_beside_the_client_does_not_count(host: ObservedHost, docker: Docker, params: Options) -> None:
    host.engine.container("wa-a-proxy-1", "nginx:1", "wa-a", "proxy")
    assert look(docker, params) == IN_SYNC
    host.engine.container("wa-a-wacore-2", CORE, "wa-a", "wacore", labels={"com.docker.compose.container-number": "2"})
    more = ["wa-a-wacore-2 is more than the 1 that the service has"]
    alarm = (
        "wa-a-wacore-2: it is more than the 1 that the service has; expected as many containers as its service has in the Compose files. "
        "Stop the one that is too many, and run again, which removes it. If wacore may run more than once, set its scale there"
    )
    assert look(docker, params) == drifted(restarts=more, alarms=[alarm])


def from_another_file(*containers: Options) -> None:
    """Make containers those of an operator's Compose file."""
    for one in containers:
        for label in (compose_document.OWN_LABEL, compose_document.DEFINITION_LABEL):
            del one["Labels"][label]


def test_containers_of_another_version_and_unproven_files_need_a_restart(
    host: ObservedHost, docker: Docker, params: Options
) -> None:
    host.db_env.with_name("db.env.previous").write_text("")
    host.web["Config"]["Image"] = "r/web:v2.51.2"
    lines = [
        f"wa-a-waweb-1 runs r/web:v2.51.2, expected {WEB}",
        f"{host.db_env} was changed and not proven since",
    ]
    found = client.observe(docker, params, False, FakeCompose())[0]
    assert found.shown("now") == drifted(restarts=lines)


def test_an_image_that_lost_its_name_is_identified_by_the_containers_record(
    host: ObservedHost, docker: Docker, params: Options
) -> None:
    host.web.update(Lost=True, Image="sha256:0")
    host.engine.images.pop(WEB)  # without an image of that name the build cannot be compared
    assert look(docker, params) == IN_SYNC
    build = host.web["Labels"]["com.docker.compose.image"]  # what Compose noted does not count
    host.engine.images[WEB] = {}
    assert look(docker, params) == drifted(
        restarts=[f"wa-a-waweb-1 runs another build of {WEB}: sha256:0, expected {build[:19]}"]
    )


def test_the_environment_of_a_container_is_not_shown(host: ObservedHost, docker: Docker, params: Options) -> None:
    for environment in ([f"API_TOKEN={SERVICE_KEY}-old"], None):
        host.web["Config"]["Env"] = environment
        assert look(docker, params) == IN_SYNC


@pytest.mark.parametrize("compare_record", [True, False])
@pytest.mark.parametrize(
    ("made", "more", "complaint", "edited", "differs"),
    [
        ("hash-of-waweb", "", "", False, False),
        ("other", "", "", False, True),
        ("present", "", "", False, False),  # somebody has made it anew from the file
        ("present", "", "broken", False, True),
        ("present", "", "", True, True),
        # It was made with an operator's file beside the collection's, which is no more.
        ("hash-of-waweb", " waweb/inputs=i", "", False, True),
        ("present", " waweb/inputs=i", "", False, False),
    ],
)
def test_what_was_made_from_another_file_than_the_one_in_force_is_a_restart(
    host: ObservedHost,
    docker: Docker,
    params: Options,
    made: str,
    more: str,
    complaint: str,
    edited: bool,
    differs: bool,
    compare_record: bool,
) -> None:
    body = host.document()["services"]["waweb"]
    if edited:
        body = {**body, "init": True}
        host.compose.write_text(json.dumps({"services": {"waweb": body}}))
    host.web["Labels"][HASH] = digest(body) if made == "present" else made
    recorded = json.loads(host.record.read_text())
    host.record.write_text(json.dumps({**recorded, "digests": recorded["digests"] + more}))
    compose = FakeCompose()
    compose.complaint = complaint
    found = client.observe(docker, params, False, compose, compare_record)[0]
    assert (found.restarts, found.containers) == ([f"wa-a-waweb-1 {OTHER_FILE}"] if differs else [], [])


def test_at_the_end_of_a_run_nothing_has_to_be_recorded_yet(
    host: ObservedHost, docker: Docker, params: Options
) -> None:
    host.web["Labels"][HASH] = "other"
    for compare_record in (True, False):
        expected = drifted(restarts=[f"wa-a-waweb-1 {OTHER_FILE}"])
        assert look(docker, params, compare_record, asked=True) == expected
    host.record.unlink()
    assert look(docker, params) == drifted(
        changes=[f"{host.record} does not record the client that the inventory describes"],
        containers=[f"wa-a-{name}-1 {NOT_RECORDED}" for name in ("wacore", "waweb")],
    )
    assert look(docker, params, compare_record=False) == IN_SYNC


@pytest.mark.parametrize(
    ("hash", "recorded", "expected"),
    [
        ("made", "wacore/hash=made", "wacore/hash=made"),
        # A container of another file than the recorded one waits for its recreation.
        ("made", "wacore/hash=h1", "wacore/hash=h1"),
        ("made", "", "wacore/hash=made"),
        ("", "", ""),
    ],
)
def test_what_is_recorded_of_the_collections_project(
    host: ObservedHost, docker: Docker, params: Options, hash: str, recorded: str, expected: str
) -> None:
    host.record.write_text(json.dumps({"digests": recorded, "salt": "s"}))
    host.core["Labels"][HASH] = hash
    host.web["Labels"].pop(HASH)
    host.engine.container("wa-a-proxy-1", "nginx:1", "wa-a", "proxy", labels={HASH: "h0"})
    found = client.open_project(docker, params, FakeCompose()).next_record().text()
    assert found == ({"digests": expected, "salt": "s"} if expected else {})


# Containers outside Compose


def biz_core(host: ObservedHost, image: str = CORE) -> Options:
    """Add a container outside Compose."""
    made = host.engine.container("biz_core", image, project="", volume="m")
    made["HostConfig"] = {"RestartPolicy": {"Name": "unless-stopped"}, "LogConfig": {"Type": "local"}}
    return made


@pytest.fixture
def outside(params: Options) -> Options:
    return {**params, "project": "", "container_names": ["biz_core"], "files": []}


POLICY = "biz_core has the restart policy no, expected unless-stopped: docker update --restart unless-stopped biz_core"


def observe(docker: Docker, outside: Options) -> Finding:
    found, project = client.observe(docker, outside, False, FakeCompose())
    assert project is None
    return found


@pytest.mark.parametrize(
    ("plant", "expected"),
    [
        ({}, {}),
        ({"State": "exited"}, {"containers": ["biz_core is exited. Run docker start biz_core"]}),
        ({"State": "paused"}, {"containers": ["biz_core is paused. Run docker unpause biz_core"]}),
        (
            {"Name": "other"},
            {"containers": ["biz_core is missing. Create it again (docker run), or correct wa_client_container_names"]},
        ),
        (
            {"Config": {"Image": "r/coreapp:v2.51.2"}},
            {"restarts": [f"biz_core runs r/coreapp:v2.51.2, expected version {VERSION}"]},
        ),
        ({"HostConfig": {"RestartPolicy": {"Name": "no"}}}, {"warnings": [POLICY]}),
    ],
)
def test_outside_compose_the_recorded_containers_are_compared(
    host: ObservedHost, docker: Docker, outside: Options, plant: Options, expected: Options
) -> None:
    biz_core(host).update(plant)
    assert observe(docker, outside) == Finding(kept=True, **expected)


def test_outside_compose_a_container_must_exist(host: ObservedHost, docker: Docker, outside: Options) -> None:
    outside["container_names"] = []
    none = ["there is no container of the client outside Compose"]
    assert observe(docker, outside) == Finding(kept=True, containers=none)
    biz_core(host)
    assert observe(docker, outside) == Finding(kept=True)


LOGS = [
    ({"Type": "json-file", "Config": {"max-size": "50m"}}, True),
    ({"Type": "local", "Config": {}}, True),
    ({"Type": "journald", "Config": None}, True),
    ({"Type": "json-file", "Config": {"max-file": "3"}}, False),
    ({"Type": "json-file", "Config": None}, False),
    ({"Type": ""}, False),
    ({}, True),
    (None, True),
]


@pytest.mark.parametrize(("log", "capped"), LOGS)
def test_a_recorded_container_without_a_log_limit_is_reported(
    host: ObservedHost, docker: Docker, outside: Options, log: Options | None, capped: bool
) -> None:
    biz_core(host)["HostConfig"]["LogConfig"] = log
    host.engine.container("other", CORE, project="", volume="m")["HostConfig"] = {"LogConfig": {"Type": ""}}
    line = "Docker keeps the log of biz_core without a limit: create it again with --log-opt max-size=50m"
    assert observe(docker, outside) == Finding(kept=True, warnings=[] if capped else [line])


def test_unmanaged_clients_are_returned(host: ObservedHost, docker: Docker) -> None:
    host.engine.container("b-core", CORE, project="wa-b", volume="m")
    biz_core(host)
    host.engine.container("web", "nginx:1", project="")
    assert [one["name"] for one in client.unmanaged(docker, "wa-a", [])] == ["b-core", "biz_core"]
    assert [one["name"] for one in client.unmanaged(docker, "wa-a", ["wa-b"])] == ["biz_core"]
    assert [one["name"] for one in client.unmanaged(docker, "", ["wa-a", "wa-b"])] == []
    # The empty project of a neighbour does not cover all containers outside Compose.
    assert [one["name"] for one in client.unmanaged(docker, "wa-a", ["wa-b", ""])] == ["biz_core"]


# An operator's own Compose files


class Operators:
    """The host's client from an operator's own files, with a database that it depends on and a queue beside it."""

    def __init__(self, host: ObservedHost, docker: Docker, params: Options) -> None:
        self.host, self.engine, self.docker = host, host.engine, docker
        self.folder = host.folder / "biz"
        self.folder.mkdir()
        self.more: Options = {}  # what the operator's file has beside services
        self.file, self.env = self.folder / "docker-compose.yml", self.folder / ".env"
        self.bodies: dict[str, Options] = {
            "wacore": {"image": "r/coreapp:v${WA_API_VERSION:-2.51.2}", "depends_on": ["db"]},
            "waweb": {"image": "r/web:v${WA_API_VERSION:-2.51.2}", "restart": "no"},
            "db": {"image": "db:1"},
            "queue": {"image": "queue:1"},
        }
        self.write()
        self.env.write_text("TZ=UTC\n")
        called = {
            "project_dir": str(self.folder),
            "compose_files": [str(self.file), "-"],
            "services": ["wacore", "waweb"],
        }
        files = [{**params["files"][0], "content": None}]
        self.params: Options = {**params, **called, "files": files}
        self.write_own(VERSION)
        self.compose = FakeCompose()
        for one, image in ((host.core, CORE), (host.web, WEB)):
            one["Labels"][HASH] = digest({**self.bodies[one["Name"].split("-")[2]], "image": image})
            one["Config"]["Env"], one["HostConfig"]["RestartPolicy"] = [], {"Name": "no"}
        from_another_file(host.core, host.web)
        self.db, self.queue = self.add("db"), self.add("queue")
        self.remember()

    def write(self, **bodies: Options) -> None:
        """Write the operator's file, with more for its services."""
        for name, more in bodies.items():
            self.bodies[name].update(more)
        self.file.write_text(json.dumps({"services": self.bodies, **self.more}))

    def make_anew(self, service: str, **environment: str) -> None:
        """Make the client's container of a service from the present files."""
        made = self.host.core if service == "wacore" else self.host.web
        body = self.project().resolved["services"][service]
        given = {key: value for key, value in body.get("environment", {}).items() if value is not None}
        made["Labels"][HASH], made["Config"]["Image"] = digest(body), body["image"]
        made["Config"]["Env"] = [f"{key}={value}" for key, value in {**given, **environment}.items()]

    def project(self) -> t.Any:
        """The project as the concern opens it."""
        return client.open_project(self.docker, self.params, self.compose)

    def write_own(self, version: str) -> None:
        """Describe the collection's file with a version."""
        images = {"wacore": f"r/coreapp:v{version}", "waweb": f"r/web:v{version}"}
        document = {"services": {name: {"image": one} for name, one in images.items()}}
        self.params["content"] = json.dumps(document)

    def add(self, service: str) -> Options:
        """Add a container beside the client."""
        body = self.bodies[service]
        labels = {HASH: digest(body), MADE_BY: "2.40.3"}
        made = self.engine.container(f"wa-a-{service}-1", body["image"], "wa-a", service, labels=labels)
        made["HostConfig"] = {"LogConfig": {"Type": "json-file", "Config": {}}}
        self.engine.images[body["image"]] = {}
        return made

    def remember(self, stale: t.Container[str] = ()) -> None:
        """Write the record of a run that has ended well."""
        recorded = self.recorded()
        text = client.open_project(self.docker, self.params, self.compose, stale).next_record().text()
        self.host.write(self.host.record, json.dumps({**recorded, **text}), 0o640)
        self.compose.commands.clear()

    def recorded(self) -> dict[str, str]:
        return client_inspection.record(str(self.host.record))

    def entries(self) -> dict[str, definitions.Digests]:
        """What is recorded of each service."""
        return {**definitions.recorded(self.recorded()).services}

    def forget(self, *keys: str) -> None:
        """Leave keys out of the record."""
        kept = {key: text for key, text in self.recorded().items() if key not in keys}
        self.host.write(self.host.record, json.dumps(kept), 0o640)

    def look(self, stale: t.Container[str] = (), compare_record: bool = True) -> Options:
        found = client.observe(self.docker, self.params, False, self.compose, compare_record, stale)[0]
        assert self.compose.commands
        return {name: one for name, one in found.shown("now").items() if name != "warnings"}


@pytest.fixture
def operators(host: ObservedHost, docker: Docker, params: Options) -> Operators:
    return Operators(host, docker, params)


def test_a_client_from_an_operators_files_is_in_sync(operators: Operators) -> None:
    operators.host.planted()
    assert operators.look() == IN_SYNC
    assert operators.host.touched() == {}


@pytest.mark.parametrize(
    ("body", "stale", "waits"), [({}, [], False), ({"init": True}, [], True), ({}, ["wa-a-waweb-1"], True)]
)
def test_a_changed_db_env_is_to_be_proven_at_once_where_its_operator_has_restarted(
    operators: Operators, body: Options, stale: list[str], waits: bool
) -> None:
    operators.host.db_env.with_name("db.env.previous").write_text("")
    operators.write(waweb=body)
    found = client.observe(operators.docker, operators.params, False, operators.compose, True, stale)[0]
    line = f"{operators.host.db_env} was changed and not proven since"
    assert [line in found.containers, line in found.restarts] == [not waits, waits]


WEB_RESTARTS = "wa-a-waweb-1 restarts again and again. Look into its log (docker logs wa-a-waweb-1)"
WEB_UNHEALTHY = "wa-a-waweb-1 is unhealthy. Look into its log (docker logs wa-a-waweb-1)"
UNHEALTHY = {"Health": "unhealthy", "FailingStreak": 3}


@pytest.mark.parametrize(
    ("container", "plant", "changes"),
    [
        ("wacore", {"State": "exited"}, ["wa-a-wacore-1 has exited"]),
        ("waweb", {"State": "paused"}, ["wa-a-waweb-1 is paused"]),
        ("waweb", {"State": "restarting"}, [WEB_RESTARTS]),
        ("waweb", UNHEALTHY, [WEB_UNHEALTHY]),
        ("waweb", {"Health": "starting"}, []),
        ("db", {"State": "exited"}, ["wa-a-db-1 has exited"]),
        # What stands beside the client is the operator's.
        ("db", UNHEALTHY, []),
        ("queue", {"State": "exited"}, []),
        ("queue", UNHEALTHY, []),
    ],
)
def test_containers_of_an_operators_files_have_to_work(
    operators: Operators, container: str, plant: Options, changes: list[str]
) -> None:
    next(one for one in operators.engine.containers.values() if one["Name"] == f"wa-a-{container}-1").update(plant)
    assert operators.look() == (drifted(containers=changes) if changes else IN_SYNC)


@pytest.mark.parametrize(
    ("state", "policy", "warned"), [("exited", "always", True), ("exited", "no", False), ("running", "always", False)]
)
def test_a_stopped_container_that_docker_starts_with_itself_is_a_warning(
    operators: Operators, state: str, policy: str, warned: bool
) -> None:
    operators.host.web["State"], operators.host.web["HostConfig"]["RestartPolicy"] = state, {"Name": policy}
    found = client.observe(operators.docker, operators.params, False, operators.compose)[0]
    line = "Docker starts wa-a-waweb-1 with itself, also a client that is held: docker update --restart unless-stopped wa-a-waweb-1"
    assert (line in found.warnings) is warned


def test_a_missing_container_of_an_operators_files_is_reported(operators: Operators) -> None:
    for one in (operators.host.web, operators.db, operators.queue):
        del operators.engine.containers[one["Id"]]
    assert operators.look() == drifted(containers=["wa-a-waweb-1 is missing", "wa-a-db-1 is missing"])


def test_what_was_changed_in_a_container_of_an_operators_files_is_reported(operators: Operators) -> None:
    for one in (operators.host.web, operators.host.core):  # the files declare no policy for the Coreapp
        one["HostConfig"]["RestartPolicy"] = {"Name": "always"}
    operators.host.core["HostConfig"]["NanoCpus"] = 500_000_000
    operators.db["HostConfig"] = {"RestartPolicy": {"Name": "always"}, "Memory": 1 << 26}
    assert operators.look() == drifted(
        containers=["wa-a-waweb-1 has the restart policy always, expected no"],
        restarts=["wa-a-wacore-1 has the CPU limit 0.5, expected none"],
    )  # the database is its operator's


def test_another_version_is_a_restart(operators: Operators) -> None:
    operators.write_own("2.55.1")
    assert operators.look() == drifted(
        restarts=[
            f"wa-a-wacore-1 runs {CORE}, expected r/coreapp:v2.55.1",
            f"wa-a-waweb-1 runs {WEB}, expected r/web:v2.55.1",
        ]
    )


CHANGED: dict[str, Options] = {
    "waweb": {"environment": {"TZ": "CET"}},
    "wacore": {"init": True},
    "db": {"init": True},
    "queue": {"init": True},
}
DEFINED, TZ = (
    "is defined otherwise in its Compose files: init",
    "has another environment than its Compose files give it: TZ",
)


@pytest.mark.parametrize(
    ("forgotten", "expected"),
    [
        # A service that the client depends on is the operator's.
        ([], {"restarts": [f"wa-a-wacore-1 {DEFINED}", f"wa-a-waweb-1 {TZ}"]}),
        # Without digests a difference has no name, except in the environment.
        ([*definitions.KEYS], {"restarts": [f"wa-a-wacore-1 {UNKNOWN}", f"wa-a-waweb-1 {TZ}"]}),
    ],
)
def test_a_changed_file_of_the_operator_is_a_restart(
    operators: Operators, forgotten: list[str], expected: dict[str, list[str]]
) -> None:
    operators.forget(*forgotten)
    operators.write(**CHANGED)
    assert operators.look() == drifted(**expected)


UNRECORDED = {HASH: "other"}


@pytest.mark.parametrize(
    ("labels", "version", "expected"),
    [
        (UNRECORDED, "2.40.3-3", {"restarts": [f"wa-a-wacore-1 {UNKNOWN}"]}),
        (
            {**UNRECORDED, compose_document.OWN_LABEL: "a"},
            "2.40.3",
            {"restarts": [f"wa-a-wacore-1 {UNKNOWN}"]},
        ),
        # Another version of Compose gives it another hash.
        ({**UNRECORDED, MADE_BY: "2.26.1"}, "2.40.3-3", {}),
        ({**UNRECORDED, MADE_BY: "2.26.1"}, "2.26.1-4", {"restarts": [f"wa-a-wacore-1 {UNKNOWN}"]}),
        ({**UNRECORDED, MADE_BY: "2.24.6"}, "2.24.6+ds1-0ubuntu2", {"restarts": [f"wa-a-wacore-1 {UNKNOWN}"]}),
        # What has a definition of the collection's is compared with that first.
        (
            {**UNRECORDED, MADE_BY: "2.26.1", compose_document.DEFINITION_LABEL: "d0"},
            "2.40.3-3",
            {"restarts": ["wa-a-wacore-1 was created with other settings than the inventory has"]},
        ),
    ],
)
def test_a_container_without_digests_is_compared_by_the_hash_of_the_compose_that_made_it(
    operators: Operators, labels: dict[str, str], version: str, expected: dict[str, list[str]]
) -> None:
    operators.compose.version = version
    operators.host.core["Labels"].update(labels)
    found = operators.look(compare_record=False)
    assert {key: lines for key, lines in found.items() if key != "state"} == expected
    # It is compared with the real record at the end of a run as well.
    not_recorded = [] if expected else [f"wa-a-wacore-1 {NOT_RECORDED}"]
    assert operators.look().get("containers", []) == not_recorded


@pytest.mark.parametrize(
    ("own", "files", "differs"),
    [
        (True, "{theirs},{ours}", False),
        (True, "{ours},{theirs}", True),
        (True, "{ours}", True),
        (True, "", True),
        (False, "{ours}", False),  # with which files an operator calls Compose is not known
    ],
)
@pytest.mark.parametrize("version", ["2.26.1", "2.40.3"])
def test_of_the_collections_calls_another_list_of_files_is_a_difference_in_any_version(
    operators: Operators, version: str, own: bool, files: str, differs: bool
) -> None:
    operators.forget(*definitions.KEYS)
    made_from = files.format(theirs=operators.file, ours=operators.host.compose)
    labels = {**UNRECORDED, MADE_BY: version, MADE_FROM: made_from}
    operators.host.core["Labels"].update({**labels, compose_document.OWN_LABEL: "a"} if own else labels)
    lines = [f"wa-a-wacore-1 {UNKNOWN}"] if differs or version == "2.40.3" else []
    assert operators.look(compare_record=False) == (drifted(restarts=lines) if lines else IN_SYNC)


@pytest.mark.parametrize(
    ("body", "environment", "keys"),
    [
        ({}, [], ""),
        ({"TZ": "CET"}, ["TZ=CET"], ""),
        ({"TZ": "CET"}, ["TZ=UTC"], "TZ"),
        ({"TZ": "CET"}, [], "TZ"),
        ({"TZ": ""}, ["TZ="], ""),
        ({"TZ": ""}, [], "TZ"),
        ({"TZ": None}, [], ""),
        ({"TZ": "a$$b"}, ["TZ=a$b"], ""),
        ({}, ["PATH=/bin"], ""),  # the image has it
        (
            {},
            ["HTTP_PROXY=http://p:1", "no_proxy=db", "All_Proxy=p:2", "ftp_proxy=p", "HTTPS_PROXY=p"],
            "",
        ),  # Compose gives it them from the client's config.json
        ({"HTTP_PROXY": ""}, ["HTTP_PROXY=http://p:1"], "HTTP_PROXY"),
        ({}, ["PROXY=http://p:1"], "PROXY"),
        ({"PATH": "/sbin"}, ["PATH=/bin"], "PATH"),
        ({"B": "1"}, ["PATH=/sbin", "B=2", "A=1"], "A, B, PATH"),
    ],
)
@pytest.mark.parametrize("forgotten", [[], [*definitions.KEYS]])
def test_the_environment_that_a_container_has_is_compared_with_that_of_the_files(
    operators: Operators, forgotten: list[str], body: Options, environment: list[str], keys: str
) -> None:
    operators.engine.images[WEB] = {"PATH": "/bin"}
    operators.write(waweb={"environment": body})
    operators.make_anew("waweb")
    operators.host.web["Config"]["Env"] = environment
    operators.remember()
    operators.forget(*forgotten)
    lines = [f"wa-a-waweb-1 has another environment than its Compose files give it: {keys}"] if keys else []
    assert operators.look(compare_record=False) == (drifted(restarts=lines) if lines else IN_SYNC)
    assert operators.look(["wa-a-waweb-1"], compare_record=False) == IN_SYNC


def test_all_variables_count_as_those_of_an_image_that_is_gone(operators: Operators) -> None:
    operators.host.web["Config"]["Env"] = ["PATH=/bin"]
    line = "wa-a-waweb-1 has another environment than its Compose files give it: PATH"
    assert operators.look() == drifted(restarts=[line])
    del operators.engine.images[WEB]
    assert operators.look() == IN_SYNC


def test_a_container_that_has_just_gone_has_no_other_environment(operators: Operators) -> None:
    operators.bodies["waweb"].pop("restart")
    operators.write(waweb={"environment": {"TZ": "CET"}})
    operators.make_anew("waweb", TZ="UTC")
    operators.forget(*definitions.KEYS)
    assert operators.look(compare_record=False) == drifted(restarts=[f"wa-a-waweb-1 {TZ}"])
    gone = f"GET /containers/{operators.host.web['Id']}/json"
    operators.engine.failures[gone] = (404, "No such container")
    assert operators.look(compare_record=False) == IN_SYNC


def test_a_container_that_is_not_recorded_is_recorded_by_the_next_run(operators: Operators) -> None:
    operators.forget(*definitions.KEYS)
    lines = [f"wa-a-{name}-1 {NOT_RECORDED}" for name in ("wacore", "waweb")]
    assert operators.look() == drifted(containers=lines)
    assert operators.look(compare_record=False) == IN_SYNC
    operators.remember()
    assert operators.look() == IN_SYNC
    # The same for one that a run has made from other files.
    operators.write(waweb={"init": True})
    operators.host.web["Labels"][HASH] = digest({**operators.bodies["waweb"], "image": WEB})
    assert operators.look() == drifted(containers=lines[1:])
    assert operators.look(compare_record=False) == IN_SYNC
    operators.remember()
    assert operators.look() == IN_SYNC
    assert "waweb/init=" in operators.recorded()["digests"]


@pytest.mark.parametrize("changed", ["file", "db.env", "compose"])
def test_another_version_of_compose_may_read_the_same_files_otherwise(operators: Operators, changed: str) -> None:
    operators.write(waweb={"init": True})
    digests = re.sub(r"(waweb/compose)=\S+", r"\1=2.26.1", operators.recorded()["digests"])
    digests = re.sub(r"(waweb/inputs)=\S+", rf"\1={operators.project().inputs}", digests)
    operators.host.write(operators.host.record, json.dumps({**operators.recorded(), "digests": digests}), 0o640)
    operators.host.compose.write_text(compose_document.HEADER)  # which is not the operator's
    assert operators.look() == drifted(containers=[f"wa-a-waweb-1 {NOT_RECORDED}"])
    if changed == "compose":
        operators.compose.version = "2.26.1"
    else:
        path = operators.file if changed == "file" else operators.host.db_env
        path.write_text(f"{path.read_text()}\n")
    assert operators.look() == drifted(restarts=[f"wa-a-waweb-1 {DEFINED}"])


def test_what_another_version_of_compose_reads_otherwise_is_recorded_and_a_later_change_is_seen(
    operators: Operators,
) -> None:
    operators.compose.version = "2.41.0"
    operators.write(waweb={"init": True})
    digests = re.sub(r"(waweb/inputs)=\S+", rf"\1={operators.project().inputs}", operators.recorded()["digests"])
    operators.host.write(operators.host.record, json.dumps({**operators.recorded(), "digests": digests}), 0o640)
    assert operators.look() == drifted(containers=[f"wa-a-waweb-1 {NOT_RECORDED}"])
    operators.remember()
    assert operators.look() == IN_SYNC
    recorded = operators.project().inputs
    operators.write(waweb={"init": False})
    digests = operators.recorded()["digests"].replace(recorded, operators.project().inputs)  # as of an included file
    operators.host.write(operators.host.record, json.dumps({**operators.recorded(), "digests": digests}), 0o640)
    assert operators.look() == drifted(restarts=[f"wa-a-waweb-1 {DEFINED}"])


CONTAINER = "wa-a-wacore-1"


def test_a_db_env_that_waits_is_not_forgotten_by_the_next_record(operators: Operators) -> None:
    operators.write(wacore={"env_file": [str(operators.host.db_env)]})
    operators.make_anew("wacore")
    operators.remember()
    assert operators.look() == IN_SYNC
    before = operators.entries()
    operators.host.db_env.write_text(operators.host.lines({**operators.host.environment, "WA_DB_PORT": "3307"}))
    operators.host.db_env.chmod(0o600)
    anew = {"inputs": operators.project().inputs}
    for _each in range(2):
        assert operators.look([CONTAINER]) == IN_SYNC, "the concern db_env tells it"
        operators.remember([CONTAINER])
        assert operators.entries() == {
            name: one if name == "wacore" else {**one, **anew} for name, one in before.items()
        }
    line = f"{CONTAINER} has another environment than its Compose files give it: WA_DB_PORT"
    assert operators.look() == drifted(restarts=[line])
    operators.make_anew("wacore")
    assert operators.look(compare_record=False) == IN_SYNC
    operators.remember()
    assert operators.look() == IN_SYNC
    anew_core = {**anew, "hash": operators.host.core["Labels"][HASH]}
    assert operators.entries()["wacore"] == {**before["wacore"], **anew_core}
    assert before["wacore"]["hash"] != anew_core["hash"]


def test_the_record_has_the_version_of_compose_that_has_read_the_files_last(operators: Operators) -> None:
    before = operators.entries()
    operators.compose.version = "2.41.0"
    assert operators.look() == IN_SYNC
    operators.remember()
    assert operators.entries() == {name: {**one, "compose": "2.41.0"} for name, one in before.items()}


@pytest.mark.parametrize(
    ("service", "more", "expected"),
    [
        ("waweb", {"init": True}, {"restarts": [f"wa-a-waweb-1 {DEFINED}"]}),
        ("waweb", {"environment": {"TZ": "CET"}}, {"restarts": [f"wa-a-waweb-1 {TZ}"]}),
    ],
)
def test_a_difference_that_waits_is_not_forgotten_by_the_next_record(
    operators: Operators, service: str, more: Options, expected: dict[str, list[str]]
) -> None:
    """With it the inputs and the version of Compose stay, by which its digests were read; other services are recorded anew."""
    before = operators.entries()
    operators.compose.version = "2.41.0"
    operators.write(**{service: more})
    anew = {"inputs": operators.project().inputs, "compose": "2.41.0"}
    for _each in range(2):
        found = operators.look()
        assert {key: lines for key, lines in found.items() if key != "state"} == expected
        operators.remember()
        assert operators.entries() == {
            name: one if name == service else {**one, **anew} for name, one in before.items()
        }
    operators.write(wacore={"init": True})
    operators.make_anew("wacore")
    operators.remember()
    assert operators.look()["state"] != "in_sync"
    assert "init" in operators.entries()["wacore"]
    assert operators.entries()[service] == before[service]


def test_what_differs_where_nothing_was_recorded_differs_after_the_next_record(operators: Operators) -> None:
    operators.forget(*definitions.KEYS)
    operators.host.web["Labels"][HASH] = "before the adoption"
    for _each in range(2):
        assert operators.look(compare_record=False) == drifted(restarts=[f"wa-a-waweb-1 {UNKNOWN}"])
        operators.remember()
        read = {(one["inputs"], one["compose"]) for one in operators.entries().values()}
        assert sorted(operators.entries()) == ["db", "wacore"]
        assert read == {(operators.project().inputs, "2.40.3-3")}


@pytest.mark.parametrize("external", [False, True])
def test_another_volume_under_the_same_key_is_named(operators: Operators, external: bool) -> None:
    """Compose's hash of the service stays."""
    operators.more = {"volumes": {"named": {"name": "a", "external": external}, "other": {"name": "o"}}}
    operators.write(waweb={"volumes": [{"type": "volume", "source": "named", "target": "/data"}]})
    operators.make_anew("waweb")
    operators.host.web["Mounts"].append(operators.engine.mount("a", "/data"))
    operators.remember()
    operators.more["volumes"]["other"]["name"] = "p"
    operators.write()
    assert operators.look() == IN_SYNC
    operators.more["volumes"]["named"]["name"] = "b"
    operators.write()
    assert operators.look() == drifted(restarts=["wa-a-waweb-1 does not mount the volume b"])


def test_another_db_env_is_reported_by_its_own_concern(operators: Operators) -> None:
    operators.write(waweb={"environment": {"WA_DB_HOSTNAME": "other"}})
    changed = ["wa-a-waweb-1 has another environment than its Compose files give it: WA_DB_HOSTNAME"]
    for forgotten in ("", *definitions.KEYS):
        operators.forget(forgotten)
        assert operators.look(["wa-a-wacore-1"])["restarts"] == changed
        assert "restarts" not in operators.look(["wa-a-waweb-1"])


def test_the_call_of_compose_is_that_of_the_inventory(operators: Operators) -> None:
    site = operators.folder / "site.env"
    site.write_text("A=1\n")
    operators.write(waweb={"profiles": ["site"]})
    operators.params.update(interpolation_files=[str(site), str(operators.env)], profiles=["site", "blue"])
    assert operators.look() == IN_SYNC
    start = ["timeout", "60", "docker", "--host", operators.engine.host, "compose", "--project-name=wa-a"]
    start += [f"--project-directory={operators.folder}", f"--env-file={site}", f"--env-file={operators.env}"]
    start += ["--profile=site", "--profile=blue", f"--file={operators.file}", "--file=-"]
    assert operators.compose.commands == [[*start, "config", "--format", "json", "wacore", "waweb"]]


def test_the_own_file_is_compared_as_it_will_be_written(operators: Operators) -> None:
    operators.host.compose.unlink()
    assert operators.look() == drifted(changes=[f"{operators.host.compose} is missing"])


@pytest.mark.parametrize("missing", ["docker-compose.yml", "site.env"])
def test_a_missing_file_of_the_operator_is_an_error(operators: Operators, missing: str) -> None:
    operators.params["interpolation_files"] = [str(operators.folder / "site.env")]
    if missing != "site.env":
        operators.file.rename(operators.folder / "site.env")
    with pytest.raises(WaError) as error:
        operators.look()
    assert str(error.value) == (
        f"Compose file of project wa-a: Compose refuses it: open {operators.folder / missing}: no such file or directory; expected a "
        "file that docker compose config takes."
    )


@pytest.mark.parametrize(("log", "capped"), LOGS)
def test_a_log_without_a_limit_is_a_warning(operators: Operators, log: Options | None, capped: bool) -> None:
    """The logs beside the client are the operator's."""
    operators.host.core["HostConfig"] = {"LogConfig": log}
    line = "Docker keeps the log of wa-a-wacore-1 without a limit: give its service logging options in the Compose file"
    found = client.observe(operators.docker, operators.params, False, operators.compose)[0]
    assert found.shown("now") == (IN_SYNC if capped else {**IN_SYNC, "warnings": [line]})


@pytest.mark.parametrize(
    ("project", "first", "missing", "called"),
    [
        ("wa-a", "operator", "", True),
        ("wa-a", "operator", "compose", True),
        ("wa-a", "own", "", True),
        ("wa-a", "own", "compose", True),
        # What Compose needs is not written yet: the engine's records are compared with the inventory.
        ("wa-a", "own", "compose db_env", False),
        ("", "operator", "", False),
    ],
)
def test_compose_is_run_where_it_can_read_an_operators_files(
    operators: Operators, project: str, first: str, missing: str, called: bool
) -> None:
    operators.params["project"] = project
    if first == "own":
        operators.params["compose_files"].reverse()
        operators.params["content"] = json.dumps(operators.host.document())
    for name in missing.split():
        getattr(operators.host, name).unlink()
    client.observe(operators.docker, operators.params, False, operators.compose)
    assert bool(operators.compose.commands) == called


@pytest.fixture
def beside(operators: Operators) -> Operators:
    """The operator's file is merged into the collection's, by which the containers were made."""
    operators.params["compose_files"].reverse()
    operators.write(wacore={"image": CORE}, waweb={"image": WEB})
    for one in (operators.host.core, operators.host.web):
        one["Labels"][compose_document.OWN_LABEL] = "a"
    operators.remember()
    return operators


@pytest.mark.parametrize(
    ("service", "body", "plant", "changes", "due"),
    [
        ("waweb", {}, {}, [], []),
        ("waweb", {}, {"State": "exited"}, ["wa-a-waweb-1 has exited"], []),
        ("waweb", {}, {"State": "paused"}, ["wa-a-waweb-1 is paused"], []),
        ("waweb", {}, {"Name": "x", "Labels": {}}, ["wa-a-waweb-1 is missing"], []),
        ("db", {}, {"State": "exited"}, ["wa-a-db-1 has exited"], []),
        ("queue", {}, {"State": "exited"}, [], []),
        ("waweb", {"init": True}, {}, [], [f"wa-a-waweb-1 {DEFINED}"]),
        ("waweb", {"environment": {"TZ": "CET"}}, {}, [], [f"wa-a-waweb-1 {TZ}"]),
        ("waweb", {"image": "r/web:v2.55.1"}, {}, [], [f"wa-a-waweb-1 runs {WEB}, expected r/web:v2.55.1"]),
    ],
)
def test_what_an_operators_file_beside_the_collections_says_is_compared(
    beside: Operators, service: str, body: Options, plant: Options, changes: list[str], due: list[str]
) -> None:
    beside.write(**{service: body})
    {"waweb": beside.host.web, "db": beside.db, "queue": beside.queue}[service].update(plant)
    assert beside.look() == (drifted(containers=changes, restarts=due) if changes or due else IN_SYNC)


def test_a_log_is_limited_by_the_rendered_file_where_there_is_one(beside: Operators) -> None:
    beside.host.core["HostConfig"] = {"LogConfig": {"Type": "json-file", "Config": {}}}
    assert client.observe(beside.docker, beside.params, False, beside.compose)[0].warnings == []


def test_an_operators_file_is_added_beside_the_collections_and_removed(beside: Operators) -> None:
    host, with_file, document = beside.host, beside.params, beside.host.document()
    services = document["services"]
    del services["waweb"]["environment"]
    with_file["content"] = json.dumps(document)
    host.record.write_text(json.dumps({key: text for key, text in beside.recorded().items() if key != "digests"}))
    for one in (host.core, host.web):
        service = one["Labels"]["com.docker.compose.service"]
        one["Labels"].update({HASH: digest(services[service])}, **services[service]["labels"])
        one["HostConfig"]["RestartPolicy"], one["Networks"] = {"Name": "unless-stopped"}, ["n1"]
    alone = {**with_file, "compose_files": ["-"], "services": []}

    def look(params: Options, compare_record: bool = True) -> Options:
        found = client.observe(beside.docker, params, False, beside.compose, compare_record)[0]
        return {name: one for name, one in found.shown("now").items() if name != "warnings"}

    beside.params = alone
    beside.remember()
    assert look(alone) == IN_SYNC
    # Added: it says more of the Webapp alone.
    beside.params, beside.bodies = with_file, {"wacore": {}, "waweb": {"init": True}}
    beside.write()
    unrecorded, waits = f"wa-a-wacore-1 {NOT_RECORDED}", [f"wa-a-waweb-1 {UNKNOWN}"]
    assert look(with_file) == drifted(containers=[unrecorded], restarts=waits)
    beside.remember()
    assert look(with_file) == drifted(restarts=waits)
    beside.make_anew("waweb")
    beside.remember()
    assert look(with_file) == IN_SYNC
    # Removed.
    beside.params = alone
    gone = drifted(restarts=[f"wa-a-waweb-1 {OTHER_FILE}"])
    assert look(alone) == gone
    beside.remember()
    assert look(alone, compare_record=False) == gone
    host.web["Labels"][HASH] = digest(services["waweb"])
    assert look(alone) == IN_SYNC
    beside.remember()
    assert look(alone) == IN_SYNC
