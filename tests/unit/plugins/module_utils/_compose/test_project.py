# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Compose project and the engine's containers: how Compose and engine are called, and what is planned."""

from __future__ import annotations

import hashlib
import json
import tempfile
import typing as t
from pathlib import Path

import pytest
from fake_compose import FakeCompose, digest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._compose import call as compose_call
from ansible_collections.waba.onprem.plugins.module_utils._compose import plan as compose_plan
from ansible_collections.waba.onprem.plugins.module_utils._compose import project as compose_project
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import OWN_LABEL
from ansible_collections.waba.onprem.plugins.module_utils._compose.project import Project
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker

CORE = "registry.lab:5000/whatsapp/coreapp:v2.51.2"
SECRET = "Canary-41-Pw"
LABEL = "com.docker.compose."


@pytest.fixture
def compose() -> FakeCompose:
    return FakeCompose()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for private copies. No registry login is configured here."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return folder


Make = t.Callable[..., Project]


@pytest.fixture
def make(engine: FakeDocker, compose: FakeCompose, tmp_path: Path) -> Make:
    """Create a project from services given as keywords and the fields of a Project given in `project`."""

    def call(project: dict[str, t.Any] | None = None, document: t.Any = None, **services: t.Any) -> Project:
        params = {"docker_host": engine.host, "docker_timeout": "5s"}
        document = {"services": services, **(document or {})}
        return Project(compose, Docker(params), "wa-a", str(tmp_path), document, **(project or {}))

    return call


def add_container(
    engine: FakeDocker, service: str, body: dict[str, t.Any], name: str = "", **more: t.Any
) -> dict[str, t.Any]:
    """Add the container that Compose creates for a resolved service."""
    labels = {
        f"{LABEL}config-hash": digest(body),
        f"{LABEL}container-number": "1",
        f"{LABEL}version": "2.40.3",
        **more.pop("labels", {}),
    }
    name = name or f"wa-a-{service}-1"
    made = engine.container(name, body["image"], "wa-a", service, labels=labels, **more)
    made["Labels"][f"{LABEL}image"] = made["Image"]
    engine.images.setdefault(body["image"], {})
    return made


def lines(project: Project) -> list[str]:
    return [compose_plan.line(step) for step in project.plan() if step.action != "none"]


# Calls of Compose


def test_config_gets_the_document_and_hash_the_resolved_one(
    make: Make, compose: FakeCompose, engine: FakeDocker, tmp_path: Path
) -> None:
    (tmp_path / "db.env").write_text("A=1\n")
    project = make(core={"image": CORE, "env_file": ["db.env"]})
    resolved = {"image": CORE, "environment": {"A": "1"}}
    assert project.resolved == {"services": {"core": resolved}}
    (service,) = project.services
    assert (service.name, service.image, service.hash) == ("core", CORE, digest(resolved))
    start = ["timeout", "60", "docker", "--host", engine.host, "compose"]
    where = ["--project-name=wa-a", f"--project-directory={tmp_path}"]
    assert compose.commands == [
        [*start, *where, "--file=-", "config", "--format", "json"],
        [*start, *where, "--profile=*", "--file=-", "config", "--hash", "*"],
    ]
    assert compose.documents == [project.document, project.resolved]


def test_compose_is_called_once(make: Make, compose: FakeCompose) -> None:
    project = make(core={"image": CORE})
    for _time in range(2):
        assert project.plan()[0].action == "create"
    assert project.compose_version == "2.40.3-3"
    assert len(compose.commands) == 3


def test_an_error_of_compose_is_reported_without_a_secret(make: Make, compose: FakeCompose, temporary: Path) -> None:
    compose.complaint = f"level=warning msg=x\nservices.core: {SECRET} is no port\n"
    project = make({"env_files": {"db.env": f"WA_DB_PASSWORD={SECRET}\n"}}, core={"image": CORE, "env_file": "db.env"})
    with pytest.raises(WaError) as error:
        project.plan()
    assert str(error.value) == (
        "Compose file of project wa-a: Compose refuses it: services.core: <hidden> is no port; expected a file that docker "
        "compose config takes."
    )
    assert list(temporary.iterdir()) == []


def test_an_error_without_a_message_has_its_exit_status(make: Make, compose: FakeCompose) -> None:
    compose.complaint = "level=warning msg=x"  # a warning is not part of the error
    with pytest.raises(WaError) as error:
        make(core={"image": CORE}).plan()
    assert error.value.found == "Compose refuses it: exit status 15"


@pytest.mark.parametrize("listed", [lambda path: path, lambda path: [path], lambda path: [{"path": path}]])
def test_planned_env_files_are_read_from_private_copies(
    make: Make, compose: FakeCompose, temporary: Path, tmp_path: Path, listed: t.Any
) -> None:
    (tmp_path / "db.env").write_text("A=old\n")
    project = make(
        {"env_files": {str(tmp_path / "db.env"): "A=new\n"}},
        core={"image": CORE, "env_file": listed("./db.env")},
        web={"image": CORE},
    )
    assert project.resolved["services"]["core"]["environment"] == {"A": "new"}
    (copy,) = compose.env_files
    assert copy.parent.parent == temporary
    assert list(temporary.iterdir()) == []
    assert project.document["services"]["core"]["env_file"] == listed("./db.env")
    assert (tmp_path / "db.env").read_text() == "A=old\n"


def test_other_options_of_an_env_file_are_kept(make: Make, compose: FakeCompose, tmp_path: Path) -> None:
    (tmp_path / "other.env").write_text("B=2\n")
    files = [{"path": "db.env", "required": False}, "other.env"]
    project = make({"env_files": {"db.env": "A=1\n"}}, core={"image": CORE, "env_file": files})
    assert project.resolved["services"]["core"]["environment"] == {"A": "1", "B": "2"}
    first, second = compose.documents[0]["services"]["core"]["env_file"]
    assert (first["required"], second) == (False, "other.env")


def test_secrets_are_collected_from_all_sources(make: Make, engine: FakeDocker) -> None:
    body = {"image": CORE, "environment": {"WA_DB_PASSWORD": "new", "TZ": "UTC", "MY_TOKEN": ""}}
    add_container(
        engine, "core", body, environment={"WA_DB_PASSWORD": "held", "TZ": "CET"}, labels={f"{LABEL}config-hash": "x"}
    )
    project = make({"env_files": {"db.env": "WA_DB_PASSWORD=planned\nTZ=UTC\n"}}, core=body)
    assert project.secrets() == ["planned"]
    project.plan()
    assert project.secrets() == ["new", "held", "planned"]


# Containers of the engine


def test_containers_of_the_project_without_one_off_containers(make: Make, engine: FakeDocker) -> None:
    mounts = [engine.mount("media"), engine.mount("/srv/x", "/x", kind="bind"), engine.mount("", "/t", kind="tmpfs")]
    made = add_container(engine, "core", {"image": CORE}, mounts=mounts)
    made["Networks"] = ["n1"]
    add_container(engine, "core", {"image": CORE}, "wa-a-core-run-1", labels={f"{LABEL}oneoff": "True"})
    engine.container("other", project="wa-b")
    (found,) = make(core={"image": CORE}).found
    assert found == compose_plan.Found(
        "wa-a-core-1",
        "core",
        "running",
        digest({"image": CORE}),
        CORE,
        made["Image"],
        made["Image"],
        1,
        "2.40.3",
        ("n1",),
        ("media",),
        id=made["Id"],
        own=False,
    )


def test_a_container_with_links_has_its_own_name(
    make: Make, engine: FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = add_container(engine, "core", {"image": CORE})
    listed = engine._list
    for names, name in ((["/web/alias", "/wa-a-core-1"], "wa-a-core-1"), (None, made["Id"][:12])):
        rows = [{**row, "Names": names} for row in listed({"all": "1"})[1]]
        monkeypatch.setattr(engine, "_list", lambda rows=rows, **_rest: (200, rows))
        assert [one.name for one in make(core={"image": CORE}).found] == [name]


def test_a_container_whose_tag_moved_has_its_original_image_name(make: Make, engine: FakeDocker) -> None:
    add_container(engine, "core", {"image": CORE}, lost_image=True)
    assert make(core={"image": CORE}).found[0].image == CORE


# Services of the Compose file


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"count": 1, "container_name": "", "networks": (), "volumes": (), "unknown": ""}),
        ({"scale": 3, "deploy": {"replicas": 2}}, {"count": 3}),
        ({"deploy": {"replicas": 2}}, {"count": 2}),
        ({"scale": 0}, {"count": 0}),
        ({"deploy": {"resources": {}}}, {"count": 1}),
        ({"container_name": "core"}, {"container_name": "core"}),
        ({"networks": {"default": None, "b": {}}}, {"networks": ("default", "b")}),
        ({"networks": {"default": None}, "network_mode": "host"}, {"networks": (), "unknown": ""}),
        (
            {"volumes": [{"type": "volume", "source": "m"}, {"type": "bind", "source": "/m"}, {"type": "volume"}]},
            {"volumes": ("wa-a_m",)},
        ),
        ({"volumes": [{"type": "volume", "source": "unnamed"}]}, {"volumes": ("unnamed",)}),
        (
            {"network_mode": "service:web"},
            {"unknown": "it shares service:web, which only Compose can resolve"},
        ),
        ({"pid": "service:web"}, {"unknown": "it shares service:web, which only Compose can resolve"}),
        (
            {"volumes_from": ["web"]},
            {"unknown": "it shares volumes_from, which only Compose can resolve"},
        ),
    ],
)
def test_fields_of_a_service(make: Make, body: dict[str, t.Any], fields: dict[str, t.Any]) -> None:
    volumes = {"volumes": {"m": {"name": "wa-a_m"}, "unnamed": None}}
    (service,) = make(None, volumes, core={"image": CORE, **body}).services
    assert {key: getattr(service, key) for key in fields} == fields


def test_an_image_is_identified_by_its_id_on_this_host(make: Make, engine: FakeDocker) -> None:
    made = add_container(engine, "core", {"image": CORE})
    assert [one.image_id for one in make(core={"image": CORE}).services] == [made["Image"]]
    assert [one.image_id for one in make(core={"image": "mirror.lab/coreapp:v2.51.2"}).services] == [""]
    assert not any("/distribution/" in line for line in engine.calls), "the registry is not asked"


NETWORK = {"name": "wa-a_default", "ipam": {}}


@pytest.mark.parametrize(
    ("body", "labels", "network"),
    [
        (NETWORK, {}, ("n1", False, False)),
        (NETWORK, {f"{LABEL}config-hash": compose_project.network_hash(NETWORK)}, ("n1", False, False)),
        (NETWORK, {f"{LABEL}config-hash": "other"}, ("n1", False, True)),
        ({**NETWORK, "external": True}, {f"{LABEL}config-hash": "other"}, ("n1", True, False)),
        (NETWORK, None, ("", False, False)),
    ],
)
def test_networks_used_by_services(make: Make, engine: FakeDocker, body: t.Any, labels: t.Any, network: t.Any) -> None:
    if labels is not None:
        engine.networks["wa-a_default"] = {"Id": "n1", "Labels": labels}
    document = {"networks": {"default": body, "unused": {"name": "unused"}}}
    project = make(None, document, core={"image": CORE, "networks": {"default": None}})
    (found,) = project.networks
    assert (found.key, found.name, (found.id, found.external, found.diverged)) == ("default", "wa-a_default", network)
    assert project.lost_networks() == []


DIVERGED = {f"{LABEL}config-hash": "other"}
SAME = {f"{LABEL}config-hash": compose_project.network_hash(NETWORK)}


@pytest.mark.parametrize(
    ("labels", "body", "own", "networks", "renewed"),
    [
        (DIVERGED, NETWORK, False, ["n1"], True),
        (DIVERGED, NETWORK, False, ["n2", "n1"], True),
        (DIVERGED, NETWORK, False, ["n2"], False),
        (DIVERGED, NETWORK, False, [], False),
        (DIVERGED, NETWORK, True, ["n1"], False),
        (DIVERGED, {**NETWORK, "external": True}, False, ["n1"], False),
        (SAME, NETWORK, False, ["n1"], False),
        ({}, NETWORK, False, ["n1"], False),
    ],
)
def test_a_network_with_containers_of_another_compose_file_is_not_made_anew(
    make: Make,
    engine: FakeDocker,
    labels: dict[str, str],
    body: dict[str, t.Any],
    own: bool,
    networks: list[str],
    renewed: bool,
) -> None:
    service = {"image": CORE, "networks": {"default": None}}
    add_container(engine, "core", service, labels={OWN_LABEL: "a"})["Networks"] = ["n1"]
    add_container(engine, "web", service, labels={OWN_LABEL: "a"} if own else {})["Networks"] = networks
    engine.networks["wa-a_default"] = {"Id": "n1", "Labels": labels}
    project = make(None, {"networks": {"default": body}}, core=service, web=service)
    assert [str(error) for error in project.renewed_networks()] == (
        [
            "network wa-a_default: was made with other options than the Compose files have; Compose would recreate it, and disconnect "
            "what is on it; expected the options that it has. Declare it as external in a Compose file of yours ({networks: "
            "{default: {external: true}}}), or renew it yourself"
        ]
        if renewed
        else []
    )


def test_a_missing_external_network_is_an_error(make: Make) -> None:
    document = {"networks": {"proxy": {"name": "proxy", "external": True}, "default": {"name": "wa-a_default"}}}
    project = make(None, document, core={"image": CORE, "networks": {"proxy": None, "default": None}})
    (error,) = project.lost_networks()
    assert str(error) == (
        "network proxy: not on this host; expected the external network that the Compose file names. Create it: docker network "
        "create proxy, or correct the Compose file"
    )


# The plan

BODY = {"image": CORE, "environment": {"A": "1", "WA_DB_PASSWORD": SECRET}}


def test_a_container_that_matches_its_service_is_unchanged(
    make: Make, engine: FakeDocker, compose: FakeCompose
) -> None:
    add_container(engine, "core", BODY, environment=BODY["environment"])
    assert lines(make(core=BODY)) == []
    assert len(compose.commands) == 2  # neither `version` nor the differing attributes are needed


@pytest.mark.parametrize(
    ("held", "where", "reason"),
    [
        ({"A": "2"}, "environment", "the environment in compose.yml changed: A"),
        ({"A": "1", "B": "1"}, "environment", "the environment changed: B"),
        ({"A": "1", "D": "1", "C": "1"}, "environment", "the environment changed: C, D"),
        (
            {"A": "2", "WA_DB_PASSWORD": "old", "Z": "1"},
            "both",
            "the environment in compose.yml changed: A; db.env changed: WA_DB_PASSWORD, Z",
        ),
        ({"WA_DB_PASSWORD": "old"}, "env_file", "db.env changed: A, WA_DB_PASSWORD"),
        ({"A": "1", "WA_DB_PASSWORD": "old"}, "env_file", "db.env changed: WA_DB_PASSWORD"),
        ({"WA_DB_PASSWORD": SECRET}, "env_file", "db.env changed: A"),
    ],
)
def test_differing_keys_are_named(
    make: Make, engine: FakeDocker, tmp_path: Path, held: dict[str, str], where: str, reason: str
) -> None:
    environment = {"A": "1"} if where == "environment" else BODY["environment"]
    own = {"image": CORE, "environment": held}
    add_container(engine, "core", own, environment=held)
    (tmp_path / "db.env").write_text("".join(f"{key}={value}\n" for key, value in environment.items()))  # type: ignore[attr-defined]
    body = {
        "image": CORE,
        **({"env_file": "db.env"} if where in ("env_file", "both") else {}),
        **({"environment": {"A": "1"}} if where in ("environment", "both") else {}),
    }
    assert lines(make(core=body)) == [f"recreate wa-a-core-1 ({reason})"]


def test_variables_set_by_the_image_are_no_difference(make: Make, engine: FakeDocker) -> None:
    add_container(engine, "core", BODY, environment={**BODY["environment"], "PATH": "/bin", "A": "1"})  # type: ignore[dict-item]
    engine.images[CORE] = {"PATH": "/bin", "A": "1"}
    engine.containers[next(iter(engine.containers))]["Labels"][f"{LABEL}config-hash"] = "of an older Compose"
    assert lines(make(core=BODY)) == ["recreate wa-a-core-1 (the definition in compose.yml changed)"]


def test_an_escaped_dollar_sign_is_no_difference(make: Make, engine: FakeDocker, tmp_path: Path) -> None:
    (tmp_path / "db.env").write_text("P=a$b\n")
    add_container(engine, "core", {"image": CORE, "environment": {"P": "a$$b"}}, environment={"P": "a$b"})
    assert lines(make(core={"image": CORE, "env_file": "db.env"})) == []
    engine.containers[next(iter(engine.containers))]["Labels"][f"{LABEL}config-hash"] = digest({"image": "x"})
    assert lines(make(core={"image": CORE, "env_file": "db.env"})) == [
        "recreate wa-a-core-1 (the definition in compose.yml changed)"
    ]


@pytest.mark.parametrize(
    ("written", "version", "reason"),
    [
        ({"image": CORE, "ports": ["1"]}, "2.40.3", "compose.yml changed: ports"),
        ({"image": CORE, "ports": ["1"], "user": "u"}, "2.40.3", "compose.yml changed: ports, user"),
        ({"image": CORE}, "2.26.1", "Compose 2.26.1 made it, 2.40.3-3 would make it otherwise"),
        ({"image": "other", "environment": {"A": "1"}}, "2.40.3", "the definition in compose.yml changed"),
        (None, "2.26.1", "Compose 2.26.1 made it, 2.40.3-3 would make it otherwise"),
        ("no JSON", "2.40.3", "the definition in compose.yml changed"),
    ],
)
def test_the_reason_of_a_changed_definition(
    make: Make, engine: FakeDocker, tmp_path: Path, written: t.Any, version: str, reason: str
) -> None:
    add_container(engine, "core", {"image": CORE, "ports": ["9"]}, labels={f"{LABEL}version": version})
    if written:
        file = {"services": {"core": written}}
        (tmp_path / "compose.yml").write_text(json.dumps(file) if isinstance(written, dict) else written)
    assert lines(make(core={"image": CORE})) == [f"recreate wa-a-core-1 ({reason})"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # None: db.env is final, so additional variables of the container are a difference.
        (None, ["recreate wa-a-core-1 (the environment changed: GONE)"]),
        ({}, []),
        ({"wa-a-core-1": ["GONE"]}, ["recreate wa-a-core-1 (db.env changes: GONE)"]),
    ],
)
def test_a_planned_db_env_explains_the_remaining_differences(
    make: Make, engine: FakeDocker, changes: t.Any, expected: list[str]
) -> None:
    held = {"A": "1", "GONE": "1"}
    add_container(engine, "core", {"image": CORE, "environment": held}, environment=held)
    body = {"image": CORE, "environment": {"A": "1"}}
    assert lines(make({"env_changes": changes}, core=body)) == expected


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2.40.3", ["recreate wa-a-core-1 (is not on the network wa-a_default)"]),
        ("2.26.1", ["recreate wa-a-core-1 (is not on the network wa-a_default)"]),
    ],
)
def test_the_version_is_read_if_networks_are_compared(
    make: Make, engine: FakeDocker, compose: FakeCompose, version: str, expected: list[str]
) -> None:
    compose.version = version
    body = {"image": CORE, "networks": {"default": None}}
    made = add_container(engine, "core", body)
    engine.networks["wa-a_default"] = {"Id": "n1"}
    document = {"networks": {"default": NETWORK}}
    assert lines(make(None, document, core=body)) == expected
    assert len(compose.commands) == 3
    made["Networks"] = ["n1"]
    assert lines(make(None, document, core=body)) == []
    assert len(compose.commands) == 5


def test_networks_of_a_stopped_container_are_not_compared(make: Make, engine: FakeDocker, compose: FakeCompose) -> None:
    body = {"image": CORE, "networks": {"default": None}}
    add_container(engine, "core", body, state="exited")
    engine.networks["wa-a_default"] = {"Id": "n1"}
    assert lines(make(None, {"networks": {"default": NETWORK}}, core=body)) == ["start wa-a-core-1 (has exited)"]
    assert len(compose.commands) == 2  # `version` is not needed


def test_an_engine_error_names_the_network(make: Make, engine: FakeDocker) -> None:
    engine.failures["GET /networks"] = (500, "broken")
    project = make(None, {"networks": {"default": NETWORK}}, core={"image": CORE, "networks": {"default": None}})
    with pytest.raises(WaError) as error:
        project.plan()
    assert str(error.value) == "network wa-a_default: Docker refused: broken."


def test_surplus_and_moving_services_are_pending(make: Make, engine: FakeDocker) -> None:
    add_container(engine, "web", {"image": CORE})
    engine.container("wa-a-proxy-1", "nginx:1", "wa-a", "proxy")  # the operator's, beside the client
    project = make({"moving": ["core"], "recreate": compose_plan.LATER}, core={"image": CORE})
    assert [compose_plan.pending_line(step) for step in project.plan()] == [
        "wa-a-core-1 (moves here from another host)",
        "wa-a-web-1 (belongs to a service that this host no longer has)",
    ]


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


# An operator's own Compose files


def write(folder: Path, **texts: t.Any) -> list[str]:
    """Write files: documents as `NAME.yml`, texts as `NAME.env`. Returns their paths."""
    paths = []
    for name, content in texts.items():
        path = folder / (f"{name}.env" if isinstance(content, str) else f"{name}.yml")
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        paths.append(str(path))
    return paths


def where(engine: FakeDocker, folder: Path) -> list[str]:
    """The start of each call of Compose."""
    return [
        *("timeout", "60", "docker", "--host", engine.host, "compose"),
        *("--project-name=wa-a", f"--project-directory={folder}"),
    ]


@pytest.mark.parametrize(
    ("fields", "options", "selected"),
    [
        ({}, [], []),
        ({"profiles": ["site", "x"]}, ["--profile=site", "--profile=x"], []),
        ({"selected": ["web", "core"]}, [], ["web", "core"]),
        ({"profiles": ["site"], "selected": ["core"]}, ["--profile=site"], ["core"]),
    ],
)
@pytest.mark.parametrize("order", [("own", "-"), ("-", "own"), ("own",), ("own", "second", "-")])
def test_the_command_lines_with_an_operators_files(
    make: Make,
    compose: FakeCompose,
    engine: FakeDocker,
    tmp_path: Path,
    fields: dict[str, t.Any],
    options: list[str],
    selected: list[str],
    order: tuple[str, ...],
) -> None:
    # An operator's .env may select profiles, the environment of root may do so only where none are given.
    compose.environment = compose_call.ENVIRONMENT if "profiles" in fields else {}
    bodies = {"core": {"image": CORE}, "web": {"image": CORE}}
    own, second, *variables = write(
        tmp_path, own={"services": bodies}, second={"services": {}}, one="TAG=1\n", two="TAG=2\n"
    )
    files = [{"own": own, "second": second}.get(name, name) for name in order]
    project = make({"files": files, "interpolation": variables, **fields}, core={"image": CORE})
    assert project.resolved["services"] == {name: body for name, body in bodies.items() if name in (selected or bodies)}
    assert [service.name for service in project.services] == [*project.resolved["services"]]
    start = where(engine, tmp_path)
    interpolation = [f"--env-file={path}" for path in variables]
    listed = [f"--file={path}" for path in files]
    assert compose.commands == [
        [*start, *interpolation, *options, *listed, "config", "--format", "json", *selected],
        [*start, "--profile=*", "--file=-", "config", "--hash", "*"],
    ]
    assert compose.documents[-1] == project.resolved
    assert compose.documents[:-1] == ([project.document] if "-" in files else [json.loads(Path(own).read_text())])


@pytest.mark.parametrize("profiles", [None, [], ["site"]])
def test_the_version_is_read_without_files(
    make: Make, compose: FakeCompose, engine: FakeDocker, profiles: list[str] | None
) -> None:
    compose.environment = {} if profiles is None else compose_call.ENVIRONMENT  # .env's count where none are given
    assert make({"files": ["/srv/biz/own.yml"], "profiles": profiles}).compose_version == "2.40.3-3"
    assert compose.commands == [["timeout", "60", "docker", "--host", engine.host, "compose", "version", "--short"]]


def test_a_later_file_is_merged_over_an_earlier_one(make: Make, compose: FakeCompose, tmp_path: Path) -> None:
    compose.environment = {}
    image = "r/coreapp:v${TAG}"
    own, variables = write(tmp_path, own={"services": {"core": {"image": image, "init": True}}}, one="TAG=2.50.0\n")
    given = {"interpolation": [variables]}
    for files, expected in (
        ([own], "r/coreapp:v2.50.0"),
        ([own, "-"], CORE),
        (["-", own], "r/coreapp:v2.50.0"),
    ):
        project = make({**given, "files": files}, core={"image": CORE})
        assert project.resolved == {"services": {"core": {"image": expected, "init": True}}}


def test_an_unwritten_file_of_variables_is_given_as_a_private_copy(
    make: Make, compose: FakeCompose, temporary: Path, tmp_path: Path
) -> None:
    compose.environment = {}
    own, written = write(tmp_path, own={"services": {"core": {"image": "r/coreapp:v${TAG}"}}}, site="TAG=2.50.0\n")
    planned = str(tmp_path / "compose.env")
    fields = {"files": [own, "-"], "interpolation": [written, planned], "env_files": {planned: "TAG=2.53.4\n"}}
    project = make(fields, document={"name": "wa-a"})
    assert project.resolved["services"] == {"core": {"image": "r/coreapp:v2.53.4"}}
    (first, text), (copy, planned_text) = compose.interpolation
    assert (str(first), text, planned_text) == (written, "TAG=2.50.0\n", "TAG=2.53.4\n")
    assert copy.parent.parent == temporary
    assert list(temporary.iterdir()) == []
    assert sorted(path.name for path in tmp_path.glob("*.env")) == ["site.env"]


def test_a_file_of_variables_whose_new_values_are_not_known_stays_in_force(
    make: Make, compose: FakeCompose, tmp_path: Path
) -> None:
    compose.environment = {}
    own, variables = write(tmp_path, own={"services": {"core": {"image": "r/coreapp:v${TAG:?}"}}}, db="TAG=2.50.0\n")
    project = make({"files": [own, "-"], "interpolation": [variables], "env_files": {variables: ""}})
    assert project.resolved["services"]["core"]["image"] == "r/coreapp:v2.50.0"


def test_a_file_of_variables_that_is_not_there_yet_is_empty(make: Make, compose: FakeCompose, tmp_path: Path) -> None:
    compose.environment = {}
    (own,) = write(tmp_path, own={"services": {"core": {"image": "r/coreapp:v${TAG:-2.50.0}"}}})
    planned = str(tmp_path / "db.env")
    project = make({"files": [own, "-"], "interpolation": [planned], "env_files": {planned: ""}})
    assert project.resolved["services"]["core"]["image"] == "r/coreapp:v2.50.0"


def test_an_error_in_an_operators_files_has_no_cure_of_the_collection(
    make: Make, compose: FakeCompose, tmp_path: Path
) -> None:
    compose.environment = {}
    own = write(tmp_path, own={"services": {"core": {"image": "r/coreapp:v${TAG:?set it}"}}})
    with pytest.raises(WaError) as error:
        make({"files": own}).plan()
    assert str(error.value) == (
        "Compose file of project wa-a: Compose refuses it: required variable TAG is missing a value <hidden>; expected a file "
        "that docker compose config takes."
    )


DATABASE = {"image": "db:1"}
QUEUE = {"image": "queue:1"}
CLIENT = {"image": CORE, "depends_on": ["db"]}


@pytest.fixture
def operators(make: Make, compose: FakeCompose, tmp_path: Path) -> Make:
    """Create a project from an operator's file with a client, the database that it depends on, and a queue beside it."""
    compose.environment = {}

    def call(project: dict[str, t.Any] | None = None, **services: t.Any) -> Project:
        bodies = {"core": CLIENT, "db": DATABASE, "queue": QUEUE, **services}
        return make({"files": write(tmp_path, own={"services": bodies}), **(project or {})})

    return call


@pytest.mark.parametrize(
    ("selected", "expected"),
    [
        ([], ["wa-a-core-1", "wa-a-db-1", "wa-a-old-1", "wa-a-queue-1"]),
        (["core"], ["wa-a-core-1", "wa-a-db-1"]),
        (["db"], ["wa-a-db-1"]),
        (["queue", "core"], ["wa-a-core-1", "wa-a-db-1", "wa-a-queue-1"]),
    ],
)
def test_containers_of_services_that_are_not_looked_at_are_left_out(
    operators: Make, engine: FakeDocker, selected: list[str], expected: list[str]
) -> None:
    for name, body in (("core", CLIENT), ("db", DATABASE), ("queue", QUEUE), ("old", {"image": CORE})):
        add_container(engine, name, body)
    project = operators({"selected": selected})
    assert [one.name for one in project.found] == expected
    surplus = ["remove wa-a-old-1 (belongs to a service that this host no longer has)"]
    assert lines(project) == ([] if selected else surplus)


def test_containers_from_the_own_file_are_looked_at_in_any_case(operators: Make, engine: FakeDocker) -> None:
    add_container(engine, "core", CLIENT)
    add_container(engine, "queue", QUEUE)
    add_container(engine, "old", {"image": CORE}, labels={OWN_LABEL: "a"})
    add_container(engine, "db", {"image": "db:0"})
    project = operators({"selected": ["core"]})
    assert [one.name for one in project.found] == ["wa-a-core-1", "wa-a-db-1", "wa-a-old-1"]
    # One whose service is gone is removed, while a service that the client depends on is kept.
    assert lines(project) == ["remove wa-a-old-1 (belongs to a service that this host no longer has)"]
    assert [step.container for step in project.plan() if step.pending] == ["wa-a-db-1"]


@pytest.mark.parametrize(
    ("profiles", "selected", "expected"),
    [
        ([], ["core"], ["core", "db"]),
        (["site"], ["core"], ["core", "db"]),
        (["site"], [], ["core", "db", "queue"]),
        ([], [], ["db", "queue"]),
    ],
)
def test_a_service_with_a_profile_has_a_hash(
    operators: Make, compose: FakeCompose, profiles: list[str], selected: list[str], expected: list[str]
) -> None:
    """It is enabled by its profile, or by being selected."""
    compose.environment = compose_call.ENVIRONMENT
    bodies: dict[str, dict[str, t.Any]] = {"core": {**CLIENT, "profiles": ["site"]}, "db": DATABASE, "queue": QUEUE}
    project = operators({"profiles": profiles, "selected": selected}, core=bodies["core"])
    assert {one.name: one.hash for one in project.services} == {name: digest(bodies[name]) for name in expected}
    assert lines(project) == [f"create wa-a-{name}-1 (is missing)" for name in expected]


@pytest.mark.parametrize(
    ("has", "labels", "expected"),
    [
        ("always", {OWN_LABEL: "a"}, [{"name": "wa-a-core-1", "policy": "unless-stopped", "retries": 0}]),
        ("unless-stopped", {OWN_LABEL: "a"}, []),
        ("always", {}, [{"name": "wa-a-core-1", "policy": "unless-stopped", "retries": 0}]),
    ],
)
def test_the_restart_policy_is_that_of_the_resolved_files(
    operators: Make,
    engine: FakeDocker,
    tmp_path: Path,
    has: str,
    labels: dict[str, str],
    expected: list[dict[str, t.Any]],
) -> None:
    (tmp_path / ".env").write_text("POLICY=unless-stopped\n")
    made = add_container(engine, "core", {**CLIENT, "restart": "unless-stopped"}, labels=labels)
    made["HostConfig"] = {"RestartPolicy": {"Name": has}}
    add_container(engine, "db", DATABASE)
    project = operators({"selected": ["core"]}, core={**CLIENT, "restart": "${POLICY}"})
    steps = project.plan()
    assert [step.action for step in steps] == ["none", "none"]
    assert project.restart_policies(steps) == expected


def test_a_missing_service_is_refused(operators: Make) -> None:
    with pytest.raises(WaError) as error:
        operators({"selected": ["gone"]}).plan()
    assert error.value.found == "Compose refuses it: no such service: gone"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"environment": {"A": "2", "B": "1"}}, "its environment changed: A, B"),
        ({"environment": {"A": "1"}, "init": True}, "the definition in the Compose files changed"),
    ],
)
def test_the_reasons_are_those_of_the_compose_files(
    operators: Make, engine: FakeDocker, tmp_path: Path, fields: dict[str, t.Any], reason: str
) -> None:
    add_container(engine, "core", {**CLIENT, "environment": {"A": "1"}}, environment={"A": "1"})
    add_container(engine, "db", DATABASE)
    # A rendered file that is there, too, is none of them.
    (tmp_path / "compose.yml").write_text(json.dumps({"services": {"core": {**CLIENT, "ports": ["1"]}}}))
    project = operators({"selected": ["core"]}, core={**CLIENT, **fields})
    assert lines(project) == [f"recreate wa-a-core-1 ({reason})"]


def test_another_service_is_kept_and_its_change_is_pending(operators: Make, engine: FakeDocker) -> None:
    add_container(engine, "core", CLIENT)
    add_container(engine, "db", {"image": "db:0"})
    steps = operators({"selected": ["core"]}).plan()
    assert [(step.container, step.action, step.pending) for step in steps] == [
        ("wa-a-core-1", "none", []),
        ("wa-a-db-1", "none", ["runs db:0, expected db:1"]),
    ]
    # As the service to look at it is recreated.
    assert lines(operators({"selected": ["db"]})) == ["recreate wa-a-db-1 (runs db:0, expected db:1)"]


def test_another_service_that_stands_still_is_started(operators: Make, engine: FakeDocker) -> None:
    add_container(engine, "core", CLIENT)
    add_container(engine, "db", DATABASE, state="exited")
    assert lines(operators({"selected": ["core"]})) == ["start wa-a-db-1 (has exited)"]


STALE = {"image": CORE, "environment": {"A": "1"}}


@pytest.mark.parametrize(
    ("stale", "more", "expected"),
    [
        ([], {}, ["recreate wa-a-core-1 (its environment changed: A)"]),
        (["wa-a-core-1"], {}, []),
        (["wa-a-core-2"], {}, ["recreate wa-a-core-1 (its environment changed: A)"]),
        (["wa-a-core-1"], {"init": True}, ["recreate wa-a-core-1 (the definition in the Compose files changed)"]),
    ],
)
def test_a_changed_environment_is_reported_once(
    operators: Make, engine: FakeDocker, stale: list[str], more: dict[str, t.Any], expected: list[str]
) -> None:
    add_container(engine, "core", {"image": CORE, "environment": {"A": "0"}}, environment={"A": "0"})
    project = operators({"selected": ["core"], "stale": stale}, core={**STALE, **more})
    assert lines(project) == expected


@pytest.mark.parametrize(
    ("fields", "steps", "expected"),
    [
        ({}, [], []),
        ({}, [("core", "none", {})], []),
        # The rendered file alone.
        ({}, [("core", "create", {})], [{"services": [], "dependencies": True, "recreate": "never"}]),
        ({}, [("core", "recreate", {})], [{"services": [], "dependencies": True, "recreate": "auto"}]),
        (
            {},
            [("core", "start", {}), ("web", "none", {"pending": ["a"]})],
            [{"services": ["core"], "dependencies": False, "recreate": "never"}],
        ),
        ({}, [("core", "recreate", {"forced": True})], [{"services": ["core"], "dependencies": False, "recreate": "always"}]),
        ({"recreate": "later"}, [("core", "start", {})], [{"services": [], "dependencies": True, "recreate": "never"}]),
        # Services to look at.
        (
            {"selected": ["web", "core"]},
            [("core", "recreate", {}), ("db", "none", {})],
            [{"services": ["web", "core"], "dependencies": True, "recreate": "auto"}],
        ),
        (
            {"selected": ["core"]},
            [("core", "none", {}), ("db", "start", {})],
            [{"services": ["core"], "dependencies": True, "recreate": "never"}],
        ),
        (
            {"selected": ["web", "core"]},
            [("core", "start", {}), ("web", "none", {"pending": ["a"]})],
            [{"services": ["core"], "dependencies": True, "recreate": "never"}],
        ),
        (
            {"selected": ["web", "core"]},
            [("core", "recreate", {"forced": True}), ("web", "recreate", {})],
            [
                {"services": ["web"], "dependencies": True, "recreate": "auto"},
                {"services": ["core"], "dependencies": True, "recreate": "always"},
            ],
        ),
        ({"selected": ["core"]}, [("core", "none", {}), ("db", "none", {"pending": ["a"]})], []),
        ({}, [("gone", "remove", {})], []),
    ],
)  # fmt: skip
def test_calls_of_docker_compose_up(
    make: Make,
    fields: dict[str, t.Any],
    steps: list[tuple[str, str, dict[str, t.Any]]],
    expected: list[dict[str, t.Any]],
) -> None:
    made = [compose_plan.Step(f"wa-a-{service}-1", service, action, **more) for service, action, more in steps]
    assert make(fields).calls(made, ["wa-a-gone-1"]) == expected
