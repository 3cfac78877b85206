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

from ansible_collections.waba.onprem.plugins.module_utils._compose import plan as compose_plan
from ansible_collections.waba.onprem.plugins.module_utils._compose import project as compose_project
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
        params = {"docker_host": engine.host, "docker_timeout": "5s", "docker_tls": False, "docker_api_version": "1.45"}
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
    where = ["--project-name", "wa-a", "--project-directory", str(tmp_path), "--file", "-", "config"]
    assert compose.commands == [[*start, *where, "--format", "json"], [*start, *where, "--hash", "*"]]
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
        "compose config takes. Mend wa_client_extra_services, wa_client_extra_networks, wa_client_extra_volumes, or the file "
        "that it names"
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


def test_an_image_is_identified_by_its_id_or_by_the_registry(make: Make, engine: FakeDocker) -> None:
    made = add_container(engine, "core", {"image": CORE})
    (local,) = make(core={"image": CORE}).services
    assert (local.image_id, local.registry_ids) == (made["Image"], ())
    mirror = "mirror.lab/coreapp:v2.51.2"
    (unknown,) = make(core={"image": mirror}).services
    assert (unknown.image_id, unknown.registry_ids) == ("", ())
    engine.digests.update({mirror: "sha256:d1", CORE: "sha256:d1"})
    (same,) = make(core={"image": mirror}).services
    assert (same.image_id, same.registry_ids) == ("", (made["Image"],))
    engine.digests[mirror] = "sha256:d2"
    assert make(core={"image": mirror}).services[0].registry_ids == ()
    engine.digests[mirror] = made["Image"]  # where an image's id is its digest
    assert make(core={"image": mirror}).services[0].registry_ids == (made["Image"],)


def test_the_registry_is_not_called_without_containers(make: Make, engine: FakeDocker) -> None:
    engine.digests[CORE] = "sha256:d1"
    assert make(core={"image": CORE}).services[0].registry_ids == ()
    assert not any("/distribution/" in line for line in engine.calls)


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


def test_a_missing_external_network_is_an_error(make: Make) -> None:
    document = {"networks": {"proxy": {"name": "proxy", "external": True}, "default": {"name": "wa-a_default"}}}
    project = make(None, document, core={"image": CORE, "networks": {"proxy": None, "default": None}})
    (error,) = project.lost_networks()
    assert str(error) == (
        "network proxy: not on this host; expected the external network that the Compose file names. Create it: docker network "
        "create proxy, or mend wa_client_extra_networks"
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
