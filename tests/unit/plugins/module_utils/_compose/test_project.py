# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Compose project and the engine's containers: how they differ, what is planned, and what is recorded."""

from __future__ import annotations

import hashlib
import json
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from fake_compose import FakeCompose, digest
from fake_docker import FakeDocker, image_id

from ansible_collections.waba.onprem.plugins.module_utils._compose import definitions
from ansible_collections.waba.onprem.plugins.module_utils._compose import project as compose_project
from ansible_collections.waba.onprem.plugins.module_utils._compose.definitions import Recorded
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import DEFINITION_LABEL, OWN_LABEL
from ansible_collections.waba.onprem.plugins.module_utils._compose.plan import (
    AUTO,
    LATER,
    NEVER,
    Found,
    Network,
    Service,
)
from ansible_collections.waba.onprem.plugins.module_utils._compose.program import Compose
from ansible_collections.waba.onprem.plugins.module_utils._compose.project import Project
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker

CORE, NAME = "registry.lab:5000/whatsapp/coreapp:v2.51.2", "wa-a-core-1"
LABEL = "com.docker.compose."
NETWORK = {"name": "wa-a_default", "ipam": {}}
MEDIA = {"Type": "volume", "Name": "media", "Destination": "/m"}
Action = tuple[str, list[str], list[str]]  # what is done, why, and what waits
SAME: Action = ("none", [], [])
GONE = "belongs to a service that this host no longer has"


def kept(*pending: str) -> Action:
    return ("none", [], [*pending])


def recreated(*reasons: str) -> Action:
    return ("recreate", [*reasons], [])


def actions(project: Project) -> dict[str, Action]:
    return {step.container: (step.action, step.reasons, step.pending) for step in project.plan()}


def docker(engine: FakeDocker) -> Docker:
    return Docker({"docker_host": engine.host, "docker_timeout": "5s"})


def add(
    engine: FakeDocker,
    service: str = "core",
    image: str = CORE,
    number: int = 1,
    hash: str = "h0",
    definition: str = "d1",
    own: bool = True,
    labels: dict[str, str] | None = None,
    compose: str = "2.40.3",
    networks: t.Sequence[str] = ("n1",),
    more: dict[str, t.Any] | None = None,
    **given: t.Any,
) -> dict[str, t.Any]:
    """Add a container as Compose makes it."""
    named = {f"{LABEL}config-hash": hash, f"{LABEL}container-number": str(number)}
    named.update({f"{LABEL}version": compose} if compose else {})
    named.update({OWN_LABEL: "a"} if own else {})
    named.update({DEFINITION_LABEL: definition} if definition else {})
    made = engine.container(
        f"wa-a-{service}-{number}", image, "wa-a", service, labels={**named, **(labels or {})}, **given
    )
    made.update({"Networks": networks, "HostConfig": {"RestartPolicy": {"Name": "unless-stopped"}}, **(more or {})})
    engine.images.setdefault(image, {})
    engine.networks.setdefault("wa-a_default", {"Id": "n1"})
    return made


def add_theirs(engine: FakeDocker, service: str = "core", image: str = CORE, **given: t.Any) -> dict[str, t.Any]:
    """Add a container that Compose has made from an operator's files."""
    return add(engine, service, image, **{"definition": "", "own": False, **given})


Make = t.Callable[..., t.Any]


@pytest.fixture
def rendered(engine: FakeDocker, compose: FakeCompose, tmp_path: Path) -> t.Callable[..., Project]:
    """Create a project of the collection's file with services given as keywords, or one; `given` are its fields."""

    def call(given: dict[str, t.Any] | None = None, **services: dict[str, t.Any]) -> Project:
        body = {"image": CORE, "labels": {DEFINITION_LABEL: "d1"}, "restart": "unless-stopped", "networks": ["default"]}
        bodies = {name: {**body, **more} for name, more in (services or {"core": {}}).items()}
        document = {"services": bodies, "networks": {"default": {"name": "wa-a_default"}}}
        one = Compose(compose, engine.host, "wa-a", str(tmp_path), document=document)
        return Project(docker(engine), one, env_file="/srv/db.env", **(given or {}))

    return call


@pytest.fixture
def operators(engine: FakeDocker, compose: FakeCompose, tmp_path: Path) -> t.Callable[..., Project]:
    """Create a project of an operator's file `own.yml`; fields of the project and of its Compose are in `given`."""

    def call(given: dict[str, t.Any] | None = None, more: t.Any = None, **services: t.Any) -> Project:
        fields = {**(given or {})}
        (tmp_path / "own.yml").write_text(json.dumps({"services": services, **(more or {})}))
        of_compose = {key: fields.pop(key) for key in ("interpolation", "profiles") if key in fields}
        files = fields.pop("files", [str(tmp_path / "own.yml")])
        one = Compose(compose, engine.host, "wa-a", str(tmp_path), files, **of_compose)
        return Project(docker(engine), one, **fields)

    return call


# Containers of the engine


def test_containers_of_the_project_without_one_off_containers(engine: FakeDocker) -> None:
    files = {f"{LABEL}project.working_dir": "/srv/wa", f"{LABEL}project.config_files": "/srv/a.yml,b.yml"}
    mounts = [MEDIA, {"Type": "bind", "Destination": "/b"}, {"Type": "tmpfs", "Name": "", "Destination": "/t"}]
    made = add(engine, number=2, labels=files, mounts=mounts)
    beside = add(engine, "proxy", "nginx:1", hash="", definition="", own=False, compose="", networks=(), state="exited")
    add(engine, "core", number=3, labels={f"{LABEL}oneoff": "True"})
    engine.container("other", project="wa-b")
    assert compose_project.containers(docker(engine), "wa-a") == [
        Found("wa-a-core-2", "core", "running", "h0", CORE, image_id(CORE), 2, ("n1",), "d1", made["Id"],
              volumes=("media",), compose="2.40.3", files=("/srv/a.yml", "/srv/wa/b.yml")),
        Found("wa-a-proxy-1", "proxy", "exited", "", "nginx:1", image_id("nginx:1"), id=beside["Id"], own=False, client=False),
    ]  # fmt: skip


@pytest.mark.parametrize("names", [["/web/alias", f"/{NAME}"], None])
def test_a_container_with_links_has_its_own_name(
    engine: FakeDocker, monkeypatch: pytest.MonkeyPatch, names: list[str] | None
) -> None:
    made = add(engine)
    rows = [{**row, "Names": names} for row in engine._list({"all": "1"})[1]]
    monkeypatch.setattr(engine, "_list", lambda **_query: (200, rows))
    (found,) = compose_project.containers(docker(engine), "wa-a")
    assert found.name == (NAME if names else made["Id"][:12])


def test_a_container_whose_tag_moved_has_its_original_image_name(engine: FakeDocker) -> None:
    add(engine, lost_image=True)
    assert [one.image for one in compose_project.containers(docker(engine), "wa-a")] == [CORE]


def test_a_migration_is_no_container_of_a_service(engine: FakeDocker, rendered: t.Callable[..., Project]) -> None:
    add(engine)
    migration = add(engine, "dbupgrade", state="exited")
    project = rendered()
    assert [one.service for one in project.found] == ["core"]
    assert [one.id for one in project.migrations] == [migration["Id"]]


# Services and networks


def test_services_of_the_collections_file(rendered: Make, engine: FakeDocker, compose: FakeCompose) -> None:
    engine.images[CORE] = {}
    project = rendered(core={"scale": 2}, web={"image": "r/web:v1", "restart": "no"}, dbupgrade={"profiles": ["x"]})
    assert project.services == [
        Service("core", CORE, image_id(CORE), 2, "", ("default",), ("unless-stopped", 0), "d1"),
        Service("web", "r/web:v1", "", 1, "", ("default",), ("no", 0), "d1"),
    ]
    assert project.networks == [Network("default", "wa-a_default")]
    assert compose.commands == []
    assert not any("/distribution/" in line for line in engine.calls), "the registry is not asked"


def test_the_collections_file_resolved_without_compose(rendered: Make, compose: FakeCompose) -> None:
    core = {"env_file": ["/srv/db.env"], "environment": {"A": "own"}, "volumes": ["media:/m:ro", {"type": "bind"}]}
    found = rendered({}, core=core, web={}, dbupgrade={"profiles": ["x"]}).resolved
    assert {name: (body.get("environment"), body["volumes"]) for name, body in found["services"].items()} == {
        "core": ({"A": "own"}, [{"type": "volume", "source": "media", "target": "/m"}, {"type": "bind"}]),
        "web": (None, []),
    }
    assert compose.commands == []


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {}),
        ({"scale": 3, "deploy": {"replicas": 2}}, {"count": 3}),
        ({"deploy": {"replicas": 2}}, {"count": 2}),
        ({"scale": 0}, {"count": 0}),
        ({"deploy": {"resources": {}}}, {}),
        ({"container_name": "core"}, {"container_name": "core"}),
        ({"networks": {"default": None, "b": {}}}, {"networks": ("default", "b")}),
        ({"networks": {"default": None}, "network_mode": "host"}, {}),
        ({"restart": "on-failure:3"}, {"restart": ("on-failure", 3)}),
        ({"labels": {DEFINITION_LABEL: "d1"}}, {"definition": "d1"}),
        ({"image": "mirror.lab/coreapp:v2.51.2"}, {"image": "mirror.lab/coreapp:v2.51.2", "image_id": ""}),
        ({"image": None, "build": {"context": "."}}, {"image": "", "image_id": ""}),
    ],
)
def test_a_service_of_an_operators_file(
    operators: Make, engine: FakeDocker, body: dict[str, t.Any], fields: dict[str, t.Any]
) -> None:
    engine.images[CORE] = {}
    given = {key: value for key, value in {"image": CORE, **body}.items() if value is not None}
    (service,) = operators(core=given).services
    assert service == replace(Service("core", CORE, image_id(CORE)), **fields)


EXTERNAL = {**NETWORK, "external": True}
ALIKE, DIVERGED = ({f"{LABEL}config-hash": one} for one in (compose_project.network_hash(NETWORK), "other"))


@pytest.mark.parametrize(
    ("body", "labels", "fields"),
    [
        (NETWORK, {}, {"id": "n1"}),
        (NETWORK, ALIKE, {"id": "n1"}),
        (NETWORK, DIVERGED, {"id": "n1", "diverged": True}),
        # Whoever has made it: Compose does not look at its options.
        (EXTERNAL, DIVERGED, {"id": "n1", "external": True}),
        (EXTERNAL, None, {"external": True}),
        (NETWORK, None, {}),
    ],
)
def test_networks_used_by_services(
    operators: Make, engine: FakeDocker, body: t.Any, labels: dict[str, str] | None, fields: dict[str, t.Any]
) -> None:
    if labels is not None:
        engine.networks["wa-a_default"] = {"Id": "n1", "Labels": labels}
    networks = {"networks": {"default": body, "unused": {"name": "unused"}}}
    project = operators(more=networks, core={"image": CORE, "networks": {"default": None}})
    assert project.networks == [replace(Network("default", "wa-a_default"), **fields)]


RENEWED = (
    "network wa-a_default: was made with other options than the Compose files have; Compose would recreate it, and disconnect what "
    "is on it; expected the options that it has. Declare it "
    "as external in a Compose file of yours ({networks: {default: {external: true}}}), or renew it yourself"
)


@pytest.mark.parametrize(
    ("labels", "networks", "calls", "diverged", "refused"),
    [
        (DIVERGED, ["n2", "n1"], [{}], [RENEWED], [RENEWED]),
        (DIVERGED, ["n1"], [], [RENEWED], []),
        (DIVERGED, ["n2"], [{}], [], []),
        (ALIKE, ["n1"], [{}], [], []),
        ({}, ["n1"], [{}], [], []),
    ],
)
def test_a_network_with_containers_is_not_made_anew(
    rendered: Make,
    engine: FakeDocker,
    labels: dict[str, str],
    networks: list[str],
    calls: list[t.Any],
    diverged: list[str],
    refused: list[str],
) -> None:
    add(engine, networks=networks)
    engine.networks["wa-a_default"] = {"Id": "n1", "Labels": labels}
    project = rendered()
    assert [str(error) for error in project.diverged_networks()] == diverged
    assert [str(error) for error in project.refused_networks(calls)] == refused


@pytest.mark.parametrize("calls", [[], [{}]])
def test_a_missing_external_network_is_refused(operators: Make, calls: list[t.Any]) -> None:
    networks = {"proxy": {"name": "proxy", "external": True}, "default": NETWORK}
    project = operators(more={"networks": networks}, core={"image": CORE, "networks": {"proxy": None, "default": None}})
    assert [str(error) for error in project.refused_networks(calls)] == [
        "network proxy: not on this host; expected the external network that the Compose file names. Create it: docker network create "
        "proxy, or correct the Compose file"
    ]


def test_an_engine_error_names_the_network(rendered: Make, engine: FakeDocker) -> None:
    engine.failures["GET /networks"] = (500, "broken")
    with pytest.raises(WaError) as error:
        rendered().plan()
    assert str(error.value) == "network wa-a_default: Docker refused: broken."


@pytest.mark.parametrize(
    ("body", "digest"),
    [  # as labelled by Compose 2.40.3
        (
            {"name": "predicty240_default", "ipam": {}},
            "610c257ccacd393d573d9fcb0f6c4cb09ec067250a92ff4831b6c281b9ba0f84",
        ),
        (
            {
                "name": "predicty240_other",
                "driver_opts": {"com.docker.network.bridge.name": "brpx240"},
                "ipam": {"config": [{"subnet": "10.140.0.0/24"}]},
                "labels": {"z": "<&>"},
            },
            "84dfc9aecd4a56d7da6c107eed5511c89ff86c7c8f8fd57c9c255dd771162e25",
        ),
    ],
)
def test_the_hash_of_a_network_equals_that_of_compose(body: dict[str, t.Any], digest: str) -> None:
    assert compose_project.network_hash(body) == digest


def test_the_hash_of_a_network_escapes_text_as_go_does() -> None:
    escaped = r"\u003c\u003e\u0026\u2028\u2029é"
    expected = hashlib.sha256(f'{{"name":"{escaped}"}}'.encode()).hexdigest()
    assert compose_project.network_hash({"name": "<>&\u2028\u2029é"}) == expected


# How containers differ from the collection's file

SETTINGS = "was created with other settings than the inventory has"
OTHER_FILE = "was made from other Compose files than there are now"
ANOTHER = "has another environment than its Compose files give it: {}"
HELD: dict[str, t.Any] = {"held": {"A": {"2"}, "B": {"3"}}}
AB = {"environment": {"A": "1", "B": "1"}}
LOST = "is not on the network wa-a_default"


def of_core(hashes: str, **more: str) -> Recorded:
    return Recorded({"core": {"hash": hashes, **more}})


@pytest.mark.parametrize(
    ("container", "given", "expected"),
    [
        ({}, {}, SAME),
        ({}, {"recorded": of_core("h1,h0")}, SAME),
        ({}, {"recorded": Recorded({"web": {"hash": "h1"}})}, SAME),
        ({}, {"recorded": of_core("h1"), "stale": [NAME]}, SAME),
        ({"definition": "d2"}, {"recorded": of_core("h1")}, recreated(SETTINGS)),
        ({"definition": "d2", "own": False}, {}, recreated(SETTINGS)),
        ({"definition": "d2"}, {"recreate": LATER}, kept(SETTINGS)),
        ({"definition": "d2", "state": "exited"}, {"recreate": LATER}, ("start", ["has exited"], [SETTINGS])),
        ({"definition": "d2", "state": "exited"}, {"recreate": NEVER}, kept("has exited", SETTINGS)),
        ({"definition": "", "own": False}, {}, recreated(SETTINGS)),
        # With another environment its hash is another one, too.
        (AB, {**HELD, "recorded": of_core("h1")}, recreated(ANOTHER.format("A, B"))),
        ({**AB, "definition": "d2"}, HELD, recreated(SETTINGS, ANOTHER.format("A, B"))),
        (AB, {**HELD, "undeclared": ["A", "B"], "recorded": of_core("h1")}, SAME),
        (AB, {**HELD, "undeclared": ["B"]}, recreated(ANOTHER.format("A"))),
        (AB, {**HELD, "undeclared": ["B"], "recreate": LATER}, kept(ANOTHER.format("A"))),
        (AB, {**HELD, "undeclared": ["C"]}, recreated(ANOTHER.format("A, B"))),
        (AB, {"held": {"A": {"1", "2"}}}, SAME),  # readers of the file disagree
        ({"environment": {"WA_CONFIG_ON_DB": "1"}}, {"held": {"A": set()}}, recreated(ANOTHER.format("A, WA_CONFIG_ON_DB"))),
        ({"environment": {"A": "1", "WA_CONFIG_ON_DB": "of the image"}}, {"held": {"A": {"1"}}}, SAME),
        # A db.env that is not written yet.
        ({}, {"env_changes": {NAME: ["B", "A"]}}, recreated("db.env changes: B, A")),
        (AB, {**HELD, "env_changes": {NAME: ["B", "A"]}}, recreated("db.env changes: B, A")),
        ({}, {"env_changes": {NAME: ["A"]}, "recreate": LATER}, kept("db.env changes: A")),
        ({}, {"env_changes": {NAME: [], "wa-a-core-2": ["A"]}}, SAME),
        # What was changed afterwards.
        ({"networks": ["n0"]}, {}, recreated(LOST)),
        ({"more": {"Aliases": []}}, {}, recreated("is on the network wa-a_default without its name core")),
        ({"more": {"HostConfig": {"Memory": 1 << 30}}}, {}, recreated("has the memory limit 1.0 GiB, expected none")),
    ],
)  # fmt: skip
def test_a_container_is_compared_with_the_collections_file_without_compose(
    rendered: Make,
    engine: FakeDocker,
    compose: FakeCompose,
    container: dict[str, t.Any],
    given: dict[str, t.Any],
    expected: Action,
) -> None:
    engine.images[CORE] = {"WA_CONFIG_ON_DB": "of the image"}
    add(engine, **container)
    assert actions(rendered(given)) == {NAME: expected}
    assert compose.commands == []


def test_a_variable_that_the_collections_file_sets_does_not_come_from_db_env(
    rendered: Make, engine: FakeDocker
) -> None:
    add(engine, environment=AB["environment"])
    project = rendered(HELD, core={"environment": {"A": "1"}}, web={"environment": {"B": "1"}})
    assert actions(project)[NAME] == recreated(ANOTHER.format("B"))


@pytest.mark.parametrize(
    ("made", "hashes", "more", "given", "complaint", "expected"),
    [
        ("h0", "h1,h2", {}, {}, "", OTHER_FILE),
        ("h0", "h1", {}, {"stale": ["wa-a-core-2"]}, "", OTHER_FILE),
        ("h0", "h1", {}, {"recreate": LATER}, "", OTHER_FILE),
        ("h0", "h1", {}, {}, "no such file", OTHER_FILE),
        ("now", "h1", {}, {}, "", ""),  # by hand from the same file
        ("now", "h1", {}, {}, "no such file", OTHER_FILE),
        # With an operator's files beside it, which are there no more.
        ("h0", "h0", {"inputs": "i"}, {}, "", OTHER_FILE),
        ("h0", "h2,h0", {"inputs": "i"}, {"stale": ["wa-a-core-2"]}, "", OTHER_FILE),
        ("h0", "h0", {"inputs": "i"}, {"stale": [NAME]}, "", ""),
        ("now", "now", {"inputs": "i"}, {}, "", ""),
    ],
)
def test_a_container_of_another_hash_was_made_from_another_file(
    rendered: Make,
    engine: FakeDocker,
    compose: FakeCompose,
    made: str,
    hashes: str,
    more: dict[str, str],
    given: dict[str, t.Any],
    complaint: str,
    expected: str,
) -> None:
    (current,) = rendered().current_hashes["core"]
    made, hashes = (text.replace("now", current) for text in (made, hashes))
    compose.complaint = complaint
    add(engine, hash=made)
    project = rendered({"recorded": of_core(hashes, **more), **given})
    different = kept if "recreate" in given else recreated
    assert actions(project) == {NAME: different(expected) if expected else SAME}


@pytest.mark.parametrize(
    ("made", "more", "expected"), [("h0", {}, SAME), ("h1", {"inputs": "i"}, recreated(OTHER_FILE))]
)
def test_a_container_by_hand_of_another_compose_is_restarted_no_second_time(
    rendered: Make, engine: FakeDocker, made: str, more: dict[str, str], expected: Action
) -> None:
    add(engine, hash=made, compose="2.26.1")
    project = rendered({"recorded": of_core("h1", **more)})
    assert actions(project) == {NAME: expected}
    assert project.next_record() == of_core(made if expected == SAME else "h1", **more)


def test_surplus_and_moving_services_are_pending(rendered: Make, engine: FakeDocker) -> None:
    add(engine, "web")
    add(engine, "proxy", "nginx:1", own=False)  # the operator's, beside the client
    project = rendered({"moving": ["core"], "recreate": LATER})
    assert actions(project) == {NAME: kept("moves here from another host"), "wa-a-web-1": kept(GONE)}


def test_a_container_that_has_gone_has_an_empty_record(rendered: Make, engine: FakeDocker) -> None:
    made = add(engine)
    engine.failures[f"GET /containers/{made['Id']}/json"] = (404, "No such container")
    project = rendered()
    assert actions(project) == {NAME: SAME}
    assert project.record(project.found[0]) == {"Config": {}, "HostConfig": {}, "State": {}}


# How containers differ from an operator's files

ENVIRONMENT = "has another environment than its Compose files give it: {}"
DEFINED = "is defined otherwise in its Compose files: {}"
OTHER = "was made from other Compose files than there are now"
BODY: dict[str, t.Any] = {"image": CORE, "environment": {"A": "1", "B": "a$$b"}}
MADE_WITH = {"A": "1", "B": "a$b"}  # what a container of it has
A2 = {"environment": {"A": "2", "B": "a$$b"}}
D1, D2 = ({"labels": {DEFINITION_LABEL: one}} for one in ("d1", "d2"))
INIT = {"init": True}


def digests(body: dict[str, t.Any], hash: str = "h0", inputs: str = "", compose: str = "") -> dict[str, str]:
    return {**definitions.digests(body, "salt"), "hash": hash, "inputs": inputs, "compose": compose}


def record(body: dict[str, t.Any], hash: str = "h0", **fields: str) -> Recorded:
    return Recorded({"core": digests(body, hash, **fields)}, "salt")


@pytest.mark.parametrize(
    ("body", "given", "same_inputs", "read_by", "expected"),
    [
        ({}, {}, False, "2.26.1", SAME),
        (A2, {}, False, "2.40.3-3", recreated(ENVIRONMENT.format("A"))),
        (A2, {}, True, "2.26.1", recreated(ENVIRONMENT.format("A"))),
        (A2, {"recreate": LATER}, False, "2.40.3-3", kept(ENVIRONMENT.format("A"))),
        ({"environment": {}}, {}, False, "2.40.3-3", recreated(ENVIRONMENT.format("A, B"))),
        (INIT, {}, False, "2.40.3-3", recreated(DEFINED.format("init"))),
        (INIT, {}, True, "2.40.3-3", recreated(DEFINED.format("init"))),  # of a file that is included
        ({**A2, **INIT}, {}, False, "2.40.3-3", recreated(ENVIRONMENT.format("A"), DEFINED.format("init"))),
        # Another version of Compose reads the same files otherwise.
        (INIT, {}, True, "2.26.1", SAME),
        (INIT, {}, False, "2.26.1", recreated(DEFINED.format("init"))),
        (D1, {}, False, "2.40.3-3", recreated(DEFINED.format("labels"))),  # the collection's file beside theirs
        ({"image": "r/coreapp:v3"}, {}, False, "2.40.3-3", recreated(f"runs {CORE}, expected r/coreapp:v3")),
        # The concern `db_env` tells of it.
        (A2, {"stale": [NAME]}, False, "2.40.3-3", SAME),
        (A2, {"stale": ["wa-a-core-2"]}, False, "2.40.3-3", recreated(ENVIRONMENT.format("A"))),
        ({**A2, **INIT}, {"stale": [NAME]}, False, "2.40.3-3", recreated(DEFINED.format("init"))),
        ({}, {"env_changes": {NAME: ["A"]}}, False, "2.40.3-3", recreated("db.env changes: A")),
        # Read from a db.env that is not written yet: not told twice.
        (A2, {"env_changes": {NAME: ["A"]}}, False, "2.40.3-3", recreated("db.env changes: A")),
        (A2, {"env_changes": {NAME: []}}, False, "2.40.3-3", recreated(ENVIRONMENT.format("A"))),
    ],
)
def test_a_container_is_compared_with_what_was_recorded(
    operators: Make,
    engine: FakeDocker,
    body: dict[str, t.Any],
    given: dict[str, t.Any],
    same_inputs: bool,
    read_by: str,
    expected: Action,
) -> None:
    add_theirs(engine, environment=MADE_WITH)
    body = {**BODY, **body}
    inputs = operators(core=body).inputs if same_inputs else ""
    project = operators({"recorded": record(BODY, "h1,h0", inputs=inputs, compose=read_by), **given}, core=body)
    assert actions(project) == {NAME: expected}
    assert project.is_recorded(project.found[0]) is (
        body.keys() == BODY.keys()
    )  # what is read otherwise is recorded once more


def test_a_container_that_was_made_from_these_files_by_hand_is_alike(operators: Make, engine: FakeDocker) -> None:
    body = {**BODY, **INIT}
    made = add_theirs(engine, hash=digest(body), environment=MADE_WITH)
    given = {"recorded": record(BODY, digest(body), compose="2.40.3-3")}
    assert actions(operators(given, core=body)) == {NAME: SAME}
    made["Config"]["Env"].append("C=1")
    assert actions(operators(given, core=body)) == {NAME: recreated(ENVIRONMENT.format("C"))}


@pytest.mark.parametrize(
    ("definition", "body", "given", "expected"),
    [
        ("d1", D1, {}, SAME),
        ("d2", D1, {}, recreated(SETTINGS)),
        ("d2", {**D1, **INIT}, {}, recreated(SETTINGS)),
        ("d2", D1, {"recreate": LATER}, kept(SETTINGS)),
        ("d2", {}, {}, recreated(SETTINGS)),  # theirs alone, without the collection's file
        ("d2", {**D1, **A2}, {}, recreated(SETTINGS, ENVIRONMENT.format("A"))),
        ("d2", {**D1, **A2}, {"stale": [NAME]}, recreated(SETTINGS)),
        ("d2", D1, {"recorded": of_core("h0")}, recreated(SETTINGS)),
    ],
)
def test_a_container_with_other_settings_of_the_inventory(
    operators: Make,
    engine: FakeDocker,
    definition: str,
    body: dict[str, t.Any],
    given: dict[str, t.Any],
    expected: Action,
) -> None:
    add_theirs(engine, environment=MADE_WITH, definition=definition, own=True)
    project = operators({"recorded": record({**BODY, **D1}), **given}, core={**BODY, **body})
    assert actions(project) == {NAME: expected}


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        ({"name": "media", "external": True}, SAME),
        ({"name": "media"}, SAME),
        ({"name": "big", "external": True}, recreated("does not mount the volume big")),
        ({"name": "wa-a_media"}, recreated("does not mount the volume wa-a_media")),
    ],
)
@pytest.mark.parametrize("is_recorded", [True, False])
def test_an_edited_name_of_a_volume_is_named(
    operators: Make, engine: FakeDocker, is_recorded: bool, volume: dict[str, t.Any], expected: Action
) -> None:
    """Compose's hash of a service, as its digests, has the volume's key and not its name."""
    volumes = [{"type": "volume", "source": "media", "target": "/m"}, {"type": "volume", "target": "/a"}]
    body = {"image": CORE, "volumes": [*volumes, {"type": "bind", "source": "/b", "target": "/b"}]}
    add_theirs(engine, hash=digest(body), mounts=[MEDIA])
    given = {"recorded": record(body, digest(body), compose="2.40.3-3")} if is_recorded else {}
    assert actions(operators(given, {"volumes": {"media": volume}}, core=body)) == {NAME: expected}


GIVEN = {"image": CORE, "environment": {**BODY["environment"], "GIVEN": None}}
RECORDED = {"recorded": of_core("h9")}


@pytest.mark.parametrize(
    ("held", "container", "given", "expected"),
    [
        ({}, {"hash": digest(GIVEN)}, RECORDED, SAME),
        ({}, {"hash": digest(GIVEN), "own": True}, {}, SAME),
        ({}, {}, RECORDED, recreated(OTHER)),
        ({}, {}, {**RECORDED, "recreate": LATER}, kept(OTHER)),
        ({}, {"own": True}, {}, recreated(OTHER)),
        # What an operator had before the client was adopted is no exception: adopt.yml restarts nothing.
        ({}, {}, {}, recreated(OTHER)),
        ({}, {}, {"recreate": LATER}, kept(OTHER)),
        # Another version of Compose gives the same files another hash.
        ({}, {"compose": "2.40.2"}, RECORDED, SAME),
        ({}, {"compose": ""}, RECORDED, SAME),
        ({"A": "2"}, {"compose": "2.40.2"}, RECORDED, recreated(ENVIRONMENT.format("A"))),
        ({"A": "2"}, {}, {}, recreated(ENVIRONMENT.format("A"))),
        ({"A": "2"}, {"hash": digest(GIVEN)}, {}, recreated(ENVIRONMENT.format("A"))),
        ({"A": "2", "B": "a$$b"}, {}, RECORDED, recreated(ENVIRONMENT.format("A, B"))),
        ({"C": "1", "A": "2"}, {}, {}, recreated(ENVIRONMENT.format("A, C"))),
        ({"WA_CONFIG_ON_DB": "other"}, {}, {}, recreated(ENVIRONMENT.format("WA_CONFIG_ON_DB"))),
        ({"WA_CONFIG_ON_DB": "of the image", "GIVEN": "by the shell"}, {}, {}, recreated(OTHER)),
        ({"A": "2"}, {}, {"stale": ["wa-a-core-2"]}, recreated(ENVIRONMENT.format("A"))),
        ({"A": "2"}, {}, {"env_changes": {NAME: ["C"]}}, recreated("db.env changes: C")),
        # The concern `db_env` tells of it, and its hash is another one for that alone.
        ({"A": "2"}, {}, {"stale": [NAME]}, SAME),
        ({"A": "2"}, {"own": True}, {**RECORDED, "stale": [NAME]}, SAME),
    ],
)
def test_a_container_of_which_nothing_is_recorded_is_compared_by_its_hash(
    operators: Make,
    engine: FakeDocker,
    held: dict[str, str],
    container: dict[str, t.Any],
    given: dict[str, t.Any],
    expected: Action,
) -> None:
    engine.images[CORE] = {"WA_CONFIG_ON_DB": "of the image"}
    add_theirs(engine, environment={**MADE_WITH, **held}, **container)
    project = operators({"recorded": record(BODY, "h8"), **given}, core=GIVEN)
    assert actions(project) == {NAME: expected}
    assert not project.is_recorded(project.found[0])


@pytest.mark.parametrize("version", ["2.40.3", "2.40.3-3", "2.40.3-desktop.1", "2.40.3+ds1-0ubuntu1~24.04.1"])
def test_a_label_has_the_version_of_compose_without_the_packages(
    operators: Make, engine: FakeDocker, compose: FakeCompose, version: str
) -> None:
    compose.version = version
    add_theirs(engine, environment=MADE_WITH)
    assert actions(operators(core=BODY)) == {NAME: recreated(OTHER)}


@pytest.mark.parametrize(
    ("own", "made_from", "expected"),
    [
        (True, "own.yml,compose.yml", SAME),
        (True, "own.yml", recreated(OTHER)),
        (True, "compose.yml,own.yml", recreated(OTHER)),
        (True, "", recreated(OTHER)),
        (False, "own.yml", SAME),
    ],
)
@pytest.mark.parametrize("written", [True, False])
def test_another_version_of_compose_made_a_container_of_the_same_files(
    operators: Make, engine: FakeDocker, tmp_path: Path, written: bool, own: bool, made_from: str, expected: Action
) -> None:
    """Its hash tells nothing; but the collection's calls are known."""
    ours = tmp_path / "compose.yml"
    ours.write_text("{}")
    files = {f"{LABEL}project.working_dir": str(tmp_path), f"{LABEL}project.config_files": made_from}
    labels = {**files, f"{LABEL}version": "2.40.2"}
    add_theirs(engine, environment=MADE_WITH, own=own, labels=labels)
    given = {"files": [str(tmp_path / "own.yml"), str(ours) if written else "-"], "compose_file": str(ours)}
    assert actions(operators(given, core=BODY)) == {NAME: expected}


def test_what_docker_gives_a_container_is_no_difference(operators: Make, engine: FakeDocker) -> None:
    """The proxies in Docker's config.json, which are not in the output of `docker compose config`."""
    names = [f"{name}_proxy" for name in ("http", "https", "ftp", "no", "all")]
    proxies = dict.fromkeys((*names, *(name.upper() for name in names)), "http://proxy:3128")
    add_theirs(engine, environment={**MADE_WITH, **proxies})
    assert actions(operators({"recorded": record(BODY)}, core=BODY)) == {NAME: SAME}
    body = {**BODY, "environment": {**BODY["environment"], "HTTP_PROXY": "http://other:3128"}}
    different = {NAME: recreated(ENVIRONMENT.format("HTTP_PROXY"))}
    assert actions(operators({"recorded": record(body)}, core=body)) == different


def test_what_an_image_gave_that_is_gone_is_no_difference(operators: Make, engine: FakeDocker) -> None:
    add_theirs(engine, environment={**MADE_WITH, "PATH": "/bin"})
    engine.images = {}
    assert actions(operators({"recorded": record(BODY)}, core=BODY)) == {NAME: SAME}


def test_a_container_that_has_gone_has_no_other_environment(operators: Make, engine: FakeDocker) -> None:
    made = add_theirs(engine, environment=MADE_WITH)
    engine.failures[f"GET /containers/{made['Id']}/json"] = (404, "No such container")
    assert actions(operators({"recorded": record(BODY)}, core=BODY)) == {NAME: SAME}


def test_an_operators_file_beside_the_collections_comes_and_goes(
    operators: Make, rendered: Make, engine: FakeDocker
) -> None:
    made = add(engine, labels={f"{LABEL}version": "2.40.3"})
    both = {"image": CORE, **D1, **INIT}
    first = {"recorded": of_core("h0")}
    assert actions(operators(first, core=both)) == {NAME: recreated(OTHER)}
    made["Labels"][f"{LABEL}config-hash"] = digest(both)
    project = operators(first, core=both)
    assert actions(project) == {NAME: SAME}
    given = {"recorded": project.next_record()}
    assert given["recorded"].services["core"]["hash"] == digest(both)
    assert actions(operators(given, core=both)) == {NAME: SAME}
    assert actions(rendered(given)) == {NAME: recreated(OTHER_FILE)}
    (made["Labels"][f"{LABEL}config-hash"],) = rendered().current_hashes["core"]
    assert actions(rendered(given)) == {NAME: SAME}


@pytest.mark.parametrize(
    ("more", "alike"),
    [
        ({}, False),
        ({"links": ["db"]}, True),
        ({"volumes_from": ["db"]}, True),
        ({"network_mode": "service:db"}, True),
        ({"network_mode": "host"}, False),
    ],
)
def test_the_hash_of_a_service_that_names_other_containers_is_not_compared(
    operators: Make, engine: FakeDocker, more: dict[str, t.Any], alike: bool
) -> None:
    """Compose puts their ids into it; of every other one it shows what was made by hand with a file or a variable more."""
    add(engine, own=False, definition="", labels={f"{LABEL}version": "2.40.3"}, environment={"A": "1", "B": "a$b"})
    assert actions(operators(core={**BODY, **more})) == {
        NAME: SAME if alike else recreated("was made from other Compose files than there are now")
    }


@pytest.mark.parametrize(("hash", "count"), [("h0", 1), ("h1", 3)])
def test_compose_reads_the_files_once(
    operators: Make, engine: FakeDocker, compose: FakeCompose, hash: str, count: int
) -> None:
    add_theirs(engine, hash=hash, environment=MADE_WITH)
    project = operators({"recorded": record(BODY)}, core=BODY)
    for _time in range(2):
        project.plan()
    calls = [["--format", "json"], ["version", "--short"], ["--hash", "*"]]
    assert [command[-2:] for command in compose.commands] == calls[:count]


@pytest.mark.parametrize(
    ("body", "more", "reason"),
    [
        ({"mem_limit": "1073741824"}, {}, "has the memory limit none, expected 1.0 GiB"),
        ({"networks": {"default": None}}, {"Aliases": []}, "is on the network wa-a_default without its name core"),
        ({"networks": {"default": None}}, {"Networks": ["n0"]}, LOST),
    ],
)
def test_what_was_changed_afterwards(
    operators: Make, engine: FakeDocker, body: dict[str, t.Any], more: dict[str, t.Any], reason: str
) -> None:
    body = {"image": CORE, **body}
    add_theirs(engine, more=more)
    project = operators({"recorded": record(body)}, {"networks": {"default": NETWORK}}, core=body)
    assert actions(project) == {NAME: recreated(reason)}


# Services beside the client

CLIENT: dict[str, t.Any] = {"image": CORE, "depends_on": ["db"]}
DATABASE, QUEUE = {"image": "db:1"}, {"image": "queue:1"}
BESIDE: dict[str, dict[str, t.Any]] = {"core": CLIENT, "db": DATABASE, "queue": QUEUE}


@pytest.mark.parametrize(
    ("selected", "expected"),
    [
        ([], {NAME: SAME, "wa-a-db-1": SAME, "wa-a-old-1": ("remove", [GONE], []), "wa-a-queue-1": SAME}),
        (["core"], {NAME: SAME, "wa-a-db-1": SAME}),
        (["db"], {"wa-a-db-1": SAME}),
        (["queue", "core"], {NAME: SAME, "wa-a-db-1": SAME, "wa-a-queue-1": SAME}),
    ],
)
def test_containers_of_services_that_are_not_looked_at_are_left_out(
    operators: Make, engine: FakeDocker, selected: list[str], expected: dict[str, Action]
) -> None:
    for name, body in (*BESIDE.items(), ("old", {"image": CORE})):
        add_theirs(engine, name, body["image"], hash=digest(body))
    project = operators({"selected": selected}, **BESIDE)
    assert [one.name for one in project.found] == [*sorted(expected)]
    assert actions(project) == expected


def test_containers_from_the_own_file_are_looked_at_in_any_case(operators: Make, engine: FakeDocker) -> None:
    add_theirs(engine, "core", hash=digest(CLIENT))
    add_theirs(engine, "queue", "queue:1")
    add(engine, "old")
    add_theirs(engine, "db", "db:0", hash=digest(DATABASE))
    # One whose service is gone is removed, while a service that the client depends on is left alone.
    runs = "runs db:0, expected db:1"
    old: dict[str, Action] = {"wa-a-old-1": ("remove", [GONE], [])}
    beside, itself = (actions(operators({"selected": [name]}, **BESIDE)) for name in ("core", "db"))
    assert beside == {NAME: SAME, "wa-a-db-1": SAME, **old}
    assert itself == {"wa-a-db-1": recreated(runs), **old}


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        (["db"], ("start", ["has exited"], [])),
        ({"db": {"condition": "service_started"}}, ("start", ["has exited"], [])),
        ({"db": {"condition": "service_completed_successfully"}}, SAME),
    ],
)
def test_another_service_that_stands_still_is_started_unless_it_has_completed(
    operators: Make, engine: FakeDocker, needs: t.Any, expected: Action
) -> None:
    client = {"image": CORE, "depends_on": needs}
    add_theirs(engine, "core", hash=digest(client))
    add_theirs(engine, "db", "db:1", hash=digest(DATABASE), state="exited")
    assert actions(operators({"selected": ["core"]}, core=client, db=DATABASE)) == {NAME: SAME, "wa-a-db-1": expected}


def test_what_a_dependency_needs_to_have_completed_is_not_started(operators: Make, engine: FakeDocker) -> None:
    completed = {"init": {"condition": "service_completed_successfully"}}
    database = {**DATABASE, "depends_on": completed}
    add_theirs(engine, "core", hash=digest(CLIENT))
    add_theirs(engine, "db", "db:1", hash=digest(database))
    add_theirs(engine, "init", "init:1", hash=digest({"image": "init:1"}), state="exited")
    project = operators({"selected": ["core"]}, core=CLIENT, db=database, init={"image": "init:1"})
    assert [one for one in project.plan() if one.action != "none"] == []


# Restart policies

ALWAYS = {"HostConfig": {"RestartPolicy": {"Name": "always"}}}
UPDATE = [{"name": NAME, "policy": "unless-stopped", "retries": 0, "found": "always"}]


@pytest.mark.parametrize(
    ("container", "given", "expected"),
    [
        ({}, {}, []),
        ({"more": ALWAYS}, {}, UPDATE),
        ({"more": {"HostConfig": {}}}, {}, [{**UPDATE[0], "found": "no"}]),
        ({"more": ALWAYS, "state": "exited"}, {}, UPDATE),
        ({"more": ALWAYS, "state": "paused"}, {}, UPDATE),
        ({"more": ALWAYS, "definition": "d2"}, {}, UPDATE),
        ({"more": ALWAYS, "own": False}, {}, []),
    ],
)
def test_the_restart_policy_of_the_collections_file(
    rendered: Make,
    engine: FakeDocker,
    container: dict[str, t.Any],
    given: dict[str, t.Any],
    expected: list[dict[str, t.Any]],
) -> None:
    add(engine, **container)
    add(engine, "proxy", "nginx:1", more=ALWAYS)  # of no service
    project = rendered(given)
    assert project.restart_policies() == expected


@pytest.mark.parametrize(
    ("policy", "own", "selected", "expected"),
    [
        ({"restart": "${POLICY}"}, False, ["core"], UPDATE),
        ({"restart": "${POLICY}"}, True, [], UPDATE),
        ({"restart": "${POLICY}"}, False, [], []),
        ({"restart": "on-failure:3"}, False, ["core"], [{**UPDATE[0], "policy": "on-failure", "retries": 3}]),
        ({}, False, ["core"], []),  # one that no file declares was given by hand
    ],
)
def test_the_restart_policy_of_an_operators_files(
    operators: Make,
    engine: FakeDocker,
    tmp_path: Path,
    policy: dict[str, str],
    own: bool,
    selected: list[str],
    expected: list[dict[str, t.Any]],
) -> None:
    (tmp_path / ".env").write_text("POLICY=unless-stopped\n")
    add(engine, own=own, more=ALWAYS)
    add(engine, "db", "db:1", own=False, more=ALWAYS)
    project = operators({"selected": selected}, core={**CLIENT, **policy}, db={**DATABASE, "restart": "no"})
    assert project.restart_policies() == expected


# What is recorded


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        (of_core("h0,h1,h7"), of_core("h0,h1")),
        (of_core("h0,h7"), of_core("h0,h7")),  # h1 waits for its recreation
        (Recorded(), of_core("h0,h1")),
    ],
)
def test_of_the_collections_file_the_hashes_of_what_runs_are_recorded(
    rendered: Make, engine: FakeDocker, recorded: Recorded, expected: Recorded
) -> None:
    for number, one in enumerate(("h0", "h1", "")):
        add(engine, hash=one, number=number + 1)
    add(engine, "old", hash="h2")
    assert rendered({"recorded": recorded}, core={"scale": 2}, web={}).next_record() == expected


@pytest.mark.parametrize(
    ("profiles", "selected", "expected"),
    [([], ["core"], ["core", "db"]), (["site"], [], ["core", "db", "queue"]), ([], [], ["db", "queue"])],
)
def test_a_service_that_is_selected_or_has_an_enabled_profile_has_a_hash(
    operators: Make, profiles: list[str], selected: list[str], expected: list[str]
) -> None:
    bodies: dict[str, t.Any] = {**BESIDE, "core": {**CLIENT, "profiles": ["site"]}}
    project = operators({"profiles": profiles, "selected": selected}, **bodies)
    assert {name: digest(bodies[name]) in hashes for name, hashes in project.current_hashes.items()} == dict.fromkeys(
        expected, True
    )
    assert actions(project) == {f"wa-a-{name}-1": ("create", ["is missing"], []) for name in expected}


def test_the_next_record_has_the_digests_of_what_runs(operators: Make, engine: FakeDocker) -> None:
    for number, one in enumerate(("h1", "h0"), 1):
        add_theirs(engine, hash=one, number=number, environment=MADE_WITH, compose="2.26.1")
    add(engine, "old")
    bodies = {"core": BODY, "web": {"image": CORE}}
    found = operators({"recorded": Recorded(salt="salt")}, **bodies).next_record()
    inputs = operators(**bodies).inputs
    assert found == record(BODY, "h0,h1", inputs=inputs, compose="2.40.3-3")
    for changed in ({"inputs": inputs}, {"inputs": "other"}, {"hash": "h0", "inputs": inputs}):
        before = record(BODY, **{"hash": "h0,h1", "compose": "2.26.1", **changed})
        assert operators({"recorded": before}, **bodies).next_record() == found


@pytest.mark.parametrize("recreate", [AUTO, LATER, NEVER])
@pytest.mark.parametrize(
    ("container", "recorded", "body", "given"),
    [
        ({}, record(BODY, inputs="i0", compose="2.26.1"), INIT, {}),
        ({}, record(BODY, inputs="i0", compose="2.26.1"), A2, {}),
        ({"definition": "d2", "own": True}, record({**BODY, **D1}, inputs="i0", compose="2.26.1"), D1, {}),
        ({}, Recorded(salt="salt"), INIT, {}),  # what an operator had before the client was adopted
        ({"own": True}, of_core("h0"), INIT, {}),
        ({}, Recorded(salt="salt"), A2, {}),
    ],
)
def test_what_waits_for_a_recreation_waits_after_the_next_record_too(
    operators: Make,
    engine: FakeDocker,
    container: dict[str, t.Any],
    recorded: Recorded,
    body: dict[str, t.Any],
    given: dict[str, t.Any],
    recreate: str,
) -> None:
    """A run that may not restart containers ends well, and records."""
    add_theirs(engine, environment=MADE_WITH, **container)
    given = {"recorded": recorded, **given, "recreate": recreate}
    project = operators(given, core={**BODY, **body})
    before, following = actions(project), project.next_record()
    assert before != {NAME: SAME}
    assert following == recorded
    given = {**given, "recorded": following}
    assert actions(operators(given, core={**BODY, **body})) == before


@pytest.mark.parametrize("is_recorded", [True, False])
def test_a_db_env_that_was_only_reported_is_not_forgotten(
    operators: Make, engine: FakeDocker, tmp_path: Path, is_recorded: bool
) -> None:
    """With `wa_restart: report` the concern `db_env` tells of it in the comparison that records."""
    db_env = tmp_path / "db.env"
    db_env.write_text("A=1\n")
    body = {"image": CORE, "env_file": ["db.env"]}
    given: dict[str, t.Any] = {"recorded": Recorded(salt="salt"), "env_file": str(db_env)}
    add_theirs(engine, hash=digest({"image": CORE, "environment": {"A": "1"}}), environment={"A": "1"})
    if is_recorded:
        given["recorded"] = operators(given, core=body).next_record()
    db_env.write_text("A=2\n")
    following = operators({**given, "stale": [NAME]}, core=body).next_record()
    assert following == given["recorded"]
    assert bool(following.services) == is_recorded
    different = {NAME: recreated(ENVIRONMENT.format("A"))}
    assert actions(operators({**given, "recorded": following}, core=body)) == different


def test_a_service_that_waits_keeps_its_entry_while_others_are_recorded_anew(
    operators: Make, engine: FakeDocker
) -> None:
    bodies = {name: {**BODY, **INIT} for name in ("core", "web")}
    core, _web = (
        add_theirs(engine, name, hash=one, environment=MADE_WITH)
        for name, one in (("core", "h0"), ("web", digest(bodies["web"])))
    )
    before = digests(BODY, "h0", "i0", "2.26.1")
    project = operators({"recorded": Recorded({"core": before, "web": before}, "salt")}, **bodies)
    made = digests(bodies["web"], digest(bodies["web"]), project.inputs, "2.40.3-3")
    following = project.next_record()
    assert following == Recorded({"core": before, "web": made}, "salt")
    core["Labels"][f"{LABEL}config-hash"] = digest(bodies["core"])
    assert operators({"recorded": following}, **bodies).next_record() == Recorded({"core": made, "web": made}, "salt")


def test_each_file_that_compose_reads_is_an_input_except_the_collections(operators: Make, tmp_path: Path) -> None:
    own, ours, *others = (str(tmp_path / name) for name in ("own.yml", "compose.yml", "site.env", "db.env"))
    given = {"interpolation": others[:1], "env_file": others[1], "compose_file": ours}

    def inputs(place: str, name: str = "", text: str = "") -> str:
        project = operators({**given, "files": [own, place]})
        if name:
            (tmp_path / name).write_text(text)
        return t.cast("str", project.inputs)

    before = inputs("-")
    assert {inputs(ours), inputs(ours, "compose.yml", "A=1"), inputs("-", "other.env", "A=1")} == {before}
    changed = [before, *(inputs(ours, name, "A=2") for name in ("own.yml", "site.env", ".env", "db.env"))]
    assert len({*changed}) == len(changed)


@pytest.mark.parametrize(("tries", "differs"), [(3, False), (5, True), (0, True)])
def test_the_restarts_after_a_failure_are_compared(
    operators: Make, engine: FakeDocker, tries: int, differs: bool
) -> None:
    there = {"HostConfig": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": tries}}}
    add(engine, own=False, more=there)
    project = operators({"selected": ["core"]}, core={**CLIENT, "restart": "on-failure:3"}, db=DATABASE)
    found = project.restart_policies()
    assert [(one["policy"], one["retries"]) for one in found] == [("on-failure", 3)] * differs


@pytest.mark.parametrize(
    ("body", "recreated", "refused"),
    [
        ({"network_mode": "service:core"}, {"core"}, True),
        ({"ipc": "service:core"}, {"core"}, True),
        ({"pid": "service:core"}, {"core"}, True),
        ({"volumes_from": ["core:ro"]}, {"core"}, True),
        ({"network_mode": "service:core"}, {"core", "web"}, False),
        ({"network_mode": "service:core"}, {"web"}, False),
        ({"network_mode": "service:core"}, set[str](), False),
        ({"network_mode": "host", "volumes_from": ["container:core"]}, {"core"}, False),
        ({}, {"core"}, False),
    ],
)
def test_a_service_that_shares_with_a_recreated_one_is_not_left_behind(
    body: dict[str, t.Any], recreated: set[str], refused: bool
) -> None:
    text = (
        "service web: shares with core what goes with its container, which would be recreated alone; expected both recreated together. "
        "Recreate both: docker compose up -d --force-recreate core web"
    )
    found = compose_project.sharing({"core": {}, "web": body}, ["core", "web"], recreated)
    assert [str(one) for one in found] == ([text] if refused else [])


@pytest.mark.parametrize(("definition", "recreate"), [("d1", "auto"), ("d2", LATER), ("d2", "auto")])
def test_a_container_beside_the_client_that_loses_its_network_is_named(
    rendered: Make, engine: FakeDocker, definition: str, recreate: str
) -> None:
    mode = {"NetworkMode": f"container:{add(engine, definition=definition)['Id']}"}
    for name in ("exporter", "agent"):
        engine.container(name, "exporter:1")["HostConfig"] = mode
    engine.container("stopped", "exporter:1", state="exited")["HostConfig"] = mode
    waits = kept(SETTINGS) if definition == "d2" else SAME
    both = recreated(SETTINGS, "takes the network from agent, exporter; recreate it afterwards")
    assert actions(rendered({"recreate": recreate})) == {
        NAME: waits if recreate == LATER or definition == "d1" else both
    }
