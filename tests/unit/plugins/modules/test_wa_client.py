# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_client: what happens to a project's files and containers, from a file that may not be written, without a secret in the result."""

from __future__ import annotations

import io
import json
import os
import pwd
import stat
import tarfile
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from fake_compose import FakeCompose, digest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import HEADER, OWN_LABEL
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._env.state import CONFIG_CURE

MODULE = "wa_client"
CORE = "registry.lab:5000/whatsapp/coreapp:v2.51.2"
SECRET = "Canary-81-Pw"
LABEL = "com.docker.compose."
DATABASE = {"WA_DB_ENGINE": "MYSQL", "WA_DB_HOSTNAME": "db", "WA_DB_PORT": "3306", "WA_DB_PASSWORD": SECRET}
BODY = {"image": CORE, "environment": DATABASE}
Run = t.Callable[..., "dict[str, t.Any]"]


@pytest.fixture
def info(run_module: Run, engine: FakeDocker, compose: FakeCompose, tmp_path: Path) -> Run:
    """Runs the module on project `wa-a` with these services. Asserts that check mode returns the same and nothing changes."""

    def call(services: dict[str, t.Any] | None = None, document: t.Any = None, **options: t.Any) -> dict[str, t.Any]:
        given = {
            "docker_host": engine.host,
            "project": "wa-a",
            "project_dir": str(tmp_path),
            "content": json.dumps({"services": {"core": BODY} if services is None else services, **(document or {})}),
            **options,
        }
        before = json.dumps(engine.containers)
        found = run_module(MODULE, given)
        assert run_module(MODULE, given, check=True) == found
        assert json.dumps(engine.containers) == before
        assert all(line.startswith("GET ") for line in engine.requests)
        assert SECRET not in json.dumps(found)
        assert found["changed"] is False
        return found

    return call


def add_container(engine: FakeDocker, service: str = "core", body: t.Any = None, **more: t.Any) -> dict[str, t.Any]:
    """Add the container that Compose creates for a resolved service."""
    body = BODY if body is None else body
    labels = {f"{LABEL}config-hash": digest(body), f"{LABEL}version": "2.40.3", **more.pop("labels", {})}
    environment = more.pop("environment", body.get("environment"))
    name = f"wa-a-{service}-{labels.get(f'{LABEL}container-number', '1')}"
    made = engine.container(name, body["image"], "wa-a", service, labels=labels, environment=environment, **more)
    made["Labels"][f"{LABEL}image"] = made["Image"]
    engine.images.setdefault(body["image"], {})
    return made


def test_a_project_that_matches_its_file_is_unchanged(engine: FakeDocker, info: Run) -> None:
    add_container(engine)
    assert info() == {
        "changed": False,
        "actions": [],
        "containers": [
            {
                "container": "wa-a-core-1",
                "service": "core",
                "action": "none",
                "reasons": [],
                "pending": [],
                "running": True,
                "forced": False,
            }
        ],
        "changes": [],
        "pending": [],
        "calls": [],
        "restart_policies": [],
        "surplus": [],
        "paused": [],
        "refusals": {},
        "former": [],
        "unproven": [],
    }


@pytest.mark.parametrize(
    ("state", "options", "expected_result"),
    [
        (
            "",
            {},
            {
                "changes": ["create wa-a-core-1 (is missing)"],
                "calls": [{"services": [], "dependencies": True, "recreate": "never"}],
            },
        ),
        (
            "exited",
            {},
            {
                "changes": ["start wa-a-core-1 (has exited)"],
                "calls": [{"services": [], "dependencies": True, "recreate": "never"}],
            },
        ),
        (
            "paused",
            {},
            {"changes": ["unpause wa-a-core-1 (is paused)"], "calls": [], "paused": ["wa-a-core-1"]},
        ),
        (
            "running",
            {},
            {
                "changes": ["remove wa-a-core-1 (belongs to a service that this host no longer has)"],
                "surplus": ["wa-a-core-1"],
                "calls": [],
            },
        ),
        (
            "",
            {"recreate": "later", "moving": ["core"]},
            {"changes": [], "pending": ["wa-a-core-1 (moves here from another host)"], "calls": []},
        ),
    ],
)
def test_the_planned_action_depends_on_the_container_state(
    engine: FakeDocker, info: Run, state: str, options: dict[str, t.Any], expected_result: dict[str, t.Any]
) -> None:
    if state:
        add_container(engine, state=state)
    services: dict[str, t.Any] | None = {} if "surplus" in expected_result else None
    found = info(services, **options)
    assert {key: found[key] for key in expected_result} == expected_result


@pytest.mark.parametrize(
    ("recreate", "changes", "pending"),
    [
        ("auto", ["recreate wa-a-core-1 (db.env changed: WA_DB_PORT)"], []),
        ("later", [], ["wa-a-core-1 (db.env changed: WA_DB_PORT)"]),
    ],
)
def test_a_planned_db_env_is_compared_before_it_is_written(
    engine: FakeDocker, info: Run, recreate: str, changes: list[str], pending: list[str]
) -> None:
    add_container(engine)
    planned = "".join(f"{key}={value}\n" for key, value in {**DATABASE, "WA_DB_PORT": "3307"}.items())
    found = info(
        {"core": {"image": CORE, "env_file": "db.env"}},
        env_files={"db.env": planned},
        recreate=recreate,
        confirm_identity={"port": "3307"},
    )
    assert (found["changes"], found["pending"], bool(found["calls"])) == (changes, pending, bool(changes))


def test_env_changes_cause_a_recreation(engine: FakeDocker, info: Run) -> None:
    add_container(engine)
    found = info(env_changes={"wa-a-core-1": ["WA_DB_PASSWORD"]})
    assert found["changes"] == ["recreate wa-a-core-1 (db.env changes: WA_DB_PASSWORD)"]


@pytest.mark.parametrize(("recreate", "calls"), [("auto", 1), ("later", 0)])
def test_a_recreated_network_recreates_its_containers(engine: FakeDocker, info: Run, recreate: str, calls: int) -> None:
    body = {**BODY, "networks": {"default": None}}
    add_container(engine, body=body)
    engine.networks["wa-a_default"] = {"Id": "n1", "Labels": {f"{LABEL}config-hash": "other"}}
    document = {"networks": {"default": {"name": "wa-a_default"}, "proxy": {"name": "proxy", "external": True}}}
    found = info({"core": body}, document, recreate=recreate)
    reason = "wa-a-core-1 (Compose makes the network wa-a_default anew: its definition changed)"
    assert (found["changes"], found["pending"]) == (([f"recreate {reason}"], []) if calls else ([], [reason]))
    assert len(found["calls"]) == calls
    assert found["refusals"].get("networks", []) == []  # no container is on that network
    found = info({"core": {**BODY, "networks": {"proxy": None}}}, document)
    assert [text.partition(";")[0] for text in found["refusals"].get("networks", [])] == [
        "network proxy: not on this host"
    ]


CHANGED = {**BODY, "init": True}
DEFINITION = "the definition in compose.yml changed"


@pytest.mark.parametrize(
    ("own", "state", "recreate", "changes", "pending", "calls"),
    [
        (True, "running", "auto", [f"recreate wa-a-core-1 ({DEFINITION})"], [], ["auto"]),
        (False, "running", "auto", [f"recreate wa-a-core-1 ({DEFINITION})"], [], ["auto"]),
        (False, "running", "later", [], [f"wa-a-core-1 ({DEFINITION})"], []),
        (False, "exited", "later", ["start wa-a-core-1 (has exited)"], [f"wa-a-core-1 ({DEFINITION})"], ["never"]),
        (False, "paused", "later", ["unpause wa-a-core-1 (is paused)"], [f"wa-a-core-1 ({DEFINITION})"], []),
        (False, "", "later", ["create wa-a-core-1 (is missing)"], [], ["never"]),
    ],
)
def test_recreations_wait_and_starts_do_not(
    engine: FakeDocker,
    info: Run,
    own: bool,
    state: str,
    recreate: str,
    changes: list[str],
    pending: list[str],
    calls: list[str],
) -> None:
    if state:
        add_container(engine, body=CHANGED, state=state, labels={OWN_LABEL: "a"} if own else {})
    found = info(recreate=recreate)
    assert (found["changes"], found["pending"]) == (changes, pending)
    assert [one["recreate"] for one in found["calls"]] == calls


@pytest.mark.parametrize("recreate", ["auto", "later"])
@pytest.mark.parametrize(
    ("service", "image", "own", "leaves"),
    [
        ("master", CORE, True, True),
        ("master", CORE, False, True),
        ("proxy", "nginx:1", True, True),
        ("proxy", "nginx:1", False, False),
    ],
)
def test_surplus_containers_are_removed_and_others_left_alone(
    engine: FakeDocker, info: Run, service: str, image: str, own: bool, leaves: bool, recreate: str
) -> None:
    add_container(engine)
    add_container(engine, service, {**BODY, "image": image}, labels={OWN_LABEL: "a"} if own else {})
    found = info(recreate=recreate)
    line = f"wa-a-{service}-1 (belongs to a service that this host no longer has)"
    removed, waits = leaves and recreate == "auto", leaves and recreate == "later"
    assert found["surplus"] == ([f"wa-a-{service}-1"] if removed else [])
    assert found["changes"] == ([f"remove {line}"] if removed else [])
    assert found["pending"] == ([line] if waits else [])
    assert found["calls"] == []


SECOND = {f"{LABEL}container-number": "2"}
MORE = (
    "wa-a-core-2: Compose would remove it: it is more than the 1 that the service has; expected as many containers as its service has "
    "in the Compose files. Set scale of the service core there, or remove the container yourself"
)


@pytest.mark.parametrize(("state", "refused"), [("running", False), ("paused", False), ("exited", True), ("", True)])
@pytest.mark.parametrize("second", ["running", "exited"])
def test_a_surplus_container_that_a_start_would_scale_away_is_refused(
    engine: FakeDocker, info: Run, state: str, second: str, refused: bool
) -> None:
    add_container(engine)
    add_container(engine, state=second, labels=SECOND)
    if state:
        add_container(engine, "web", state=state)
    found = info({"core": BODY, "web": BODY}, recreate="later")
    assert [one["recreate"] for one in found["calls"]] == (["never"] if refused else [])
    assert found["refusals"].get("services", []) == ([MORE] if refused else [])
    assert found["pending"] == ["wa-a-core-2 (is more than the 1 that the service has)"]


def test_a_surplus_container_is_scaled_away_with_the_role_s_own_file(engine: FakeDocker, info: Run) -> None:
    for labels in ({OWN_LABEL: "a"}, {**SECOND, OWN_LABEL: "a"}):
        add_container(engine, labels=labels)
    found = info()
    assert found["changes"] == ["remove wa-a-core-2 (is more than the 1 that the service has)"]
    assert found["refusals"].get("services", []) == []


@pytest.mark.parametrize("recreate", ["auto", "later"])
def test_a_container_of_a_service_that_is_gone_is_no_other_service(
    engine: FakeDocker, info: Run, recreate: str
) -> None:
    add_container(engine, "master")
    found = info(recreate=recreate)
    assert ([one["recreate"] for one in found["calls"]], found["refusals"].get("services", [])) == (["never"], [])


def test_a_service_that_waits_while_another_is_recreated_is_no_other_service(engine: FakeDocker, info: Run) -> None:
    body = {**BODY, "environment": {**DATABASE, "TZ": "UTC"}}
    add_container(engine, labels={OWN_LABEL: "a"})
    add_container(engine, "web", CHANGED, labels={OWN_LABEL: "a"})
    found = info({"core": body, "web": BODY}, undeclared_keys=[])
    assert found["changes"] == ["recreate wa-a-core-1 (the environment in compose.yml changed: TZ)"]
    assert found["pending"] == [f"wa-a-web-1 ({DEFINITION})"]
    assert found["calls"] == [{"services": ["core"], "dependencies": False, "recreate": "auto"}]
    assert found["refusals"].get("services", []) == []


def test_an_unknown_way_to_recreate_is_refused(run_module: Run) -> None:
    given = {"project": "wa-a", "project_dir": "/srv/wa", "content": "{}", "recreate": "always"}
    assert run_module(MODULE, given)["msg"] == "value of recreate must be one of: auto, later, never, got: always"


def test_another_build_of_the_same_version_is_reported(engine: FakeDocker, info: Run) -> None:
    add_container(engine)
    mirror = "mirror.lab/coreapp:v2.51.2"
    engine.images[mirror] = {}
    found = info({"core": {**BODY, "image": mirror}})
    assert [text.partition(":")[0] for text in found["refusals"].get("builds", [])] == ["wa-a-core-1"]


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({}, True),
        ({"confirm_identity": {"hostname": "new"}}, False),
        ({"confirm_identity": {"hostname": "db"}}, True),
        ({"recreate": "later"}, True),
    ],
)
def test_another_database_is_another_client(
    engine: FakeDocker, info: Run, options: dict[str, t.Any], refused: bool
) -> None:
    add_container(engine)
    body = {**BODY, "environment": {**DATABASE, "WA_DB_HOSTNAME": "new"}}
    found = info({"core": body}, **options)["refusals"].get("identity", [])
    start = "compose.yml of project wa-a: another client than the one that is there: hostname db (wa-a-core-1) would become new. "
    assert [text[: len(start)] for text in found] == ([start] if refused else [])


def test_another_media_volume_is_another_client(engine: FakeDocker, info: Run) -> None:
    add_container(engine, volume="media")
    mounts = {"volumes": [{"type": "volume", "source": "m", "target": "/usr/local/wamedia"}]}
    document = {"volumes": {"m": {"name": "other"}}}
    (text,) = info({"core": {**BODY, **mounts}}, document)["refusals"].get("identity", [])
    assert "media_volume media (wa-a-core-1) would become other" in text
    document = {"volumes": {"m": {"name": "media"}}}
    assert info({"core": {**BODY, **mounts}}, document)["refusals"].get("identity", []) == []


# What recreated and removed containers would lose

MEDIA, DATA = "/usr/local/wamedia", "/usr/local/waent/data"
ON_DB = {**BODY, "environment": {**DATABASE, "WA_CONFIG_ON_DB": "1"}}
REGISTRATION = (
    "wa-a-core-1 keeps its configuration, registration included, in its own writable layer; recreating it loses both"
)
IN_LAYER = f"wa-a-core-1 holds {MEDIA}/incoming/a.jpg in its own writable layer; expected no media there"
ELSEWHERE = (
    "wa-a-core-1 has its configuration, registration included, on {}, and its Compose file has it {}: a new container would start "
    "unregistered. Set it there as it is"
)


@pytest.fixture
def with_media(monkeypatch: pytest.MonkeyPatch) -> t.Callable[[dict[str, t.Any]], None]:
    """Adds a media file to the writable layer of a container."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))
    monkeypatch.setattr(Docker, "archive", lambda *_arguments: data.getvalue())

    def add(container: dict[str, t.Any]) -> None:
        container["Changes"] = [{"Path": f"{MEDIA}/incoming{name}", "Kind": 1} for name in ("", "/a.jpg")]

    return add


def starts(found: t.Sequence[str]) -> list[str]:
    """The lines up to the cure."""
    return [text.partition(". Take")[0].partition(", because")[0] for text in found]


@pytest.mark.parametrize(
    ("made", "state", "recreate", "action", "expected"),
    [
        ({"init": True}, "running", "auto", "recreate", [REGISTRATION]),
        ({"init": True}, "exited", "auto", "recreate", [REGISTRATION]),
        ({"init": True}, "running", "later", "none", []),
        ({"init": True}, "exited", "later", "start", []),
        ({"init": True}, "paused", "later", "unpause", []),
        ({}, "running", "auto", "none", []),
        ({}, "exited", "auto", "start", []),
        ({"service": "gone"}, "running", "auto", "remove", [REGISTRATION.replace("core", "gone")]),
        ({"service": "gone"}, "running", "later", "none", []),
    ],
)
def test_a_registration_in_the_layer_of_a_recreated_or_removed_container_is_lost(
    engine: FakeDocker,
    info: Run,
    made: dict[str, t.Any],
    state: str,
    recreate: str,
    action: str,
    expected: list[str],
) -> None:
    service = made.get("service", "core")
    body = {**BODY, **{key: value for key, value in made.items() if key != "service"}}
    add_container(engine, service, body, state=state)
    found = info({"core": BODY} if service == "core" else {}, recreate=recreate)
    assert [one["action"] for one in found["containers"]] == [action]
    assert starts(found["refusals"].get("losses", [])) == expected
    assert all(text.endswith(CONFIG_CURE) for text in found["refusals"].get("losses", []))


@pytest.mark.parametrize(
    ("image", "service", "lost"),
    [
        (CORE, {"network_mode": "service:web"}, True),
        (CORE, {}, False),
        ("registry.lab:5000/whatsapp/web:v2.51.2", {"network_mode": "service:core2"}, False),
    ],
)
def test_what_only_compose_can_tell_may_lose_a_registration(
    engine: FakeDocker, info: Run, image: str, service: dict[str, t.Any], lost: bool
) -> None:
    body = {**BODY, "image": image, **service}
    add_container(engine, body=body)
    found = info({"core": body})
    assert [one["action"] for one in found["containers"]] == ["unknown" if service else "none"]
    assert starts(found["refusals"].get("losses", [])) == ([REGISTRATION] if lost else [])


@pytest.mark.parametrize(
    ("mounted", "recreate", "options", "expected"),
    [
        ("", "auto", {}, [IN_LAYER]),
        ("", "later", {}, []),
        (MEDIA, "auto", {}, []),
        ("/usr/local", "auto", {}, []),
        (f"{MEDIA}/other", "auto", {}, [IN_LAYER]),
    ],
)
@pytest.mark.parametrize("image", [CORE, "registry.lab:5000/whatsapp/web:v2.51.2"])
def test_media_in_the_layer_of_a_recreated_container_are_lost(
    engine: FakeDocker,
    info: Run,
    with_media: t.Callable[[dict[str, t.Any]], None],
    image: str,
    mounted: str,
    recreate: str,
    options: dict[str, t.Any],
    expected: list[str],
) -> None:
    mounts = [engine.mount("media", mounted)] if mounted else []
    with_media(add_container(engine, body={**ON_DB, "image": image, "init": True}, mounts=mounts))
    found = info({"core": {**ON_DB, "image": image}}, recreate=recreate, **options)
    assert starts(found["refusals"].get("losses", [])) == expected


def test_media_in_the_layer_of_a_container_that_is_kept_are_not_lost(
    engine: FakeDocker, info: Run, with_media: t.Callable[[dict[str, t.Any]], None]
) -> None:
    with_media(add_container(engine, body=ON_DB))
    with_media(add_container(engine, "proxy", {**ON_DB, "image": "nginx:1"}))
    assert info({"core": ON_DB})["refusals"].get("losses", []) == []
    assert not any(line.endswith("/changes") for line in engine.requests)


def test_a_layer_that_cannot_be_read_may_hold_media(engine: FakeDocker, info: Run) -> None:
    one = add_container(engine, body={**ON_DB, "init": True})
    engine.failures[f"GET /containers/{one['Id']}/changes"] = (500, "driver failed")
    (text,) = info({"core": ON_DB})["refusals"].get("losses", [])
    assert text.startswith(f"wa-a-core-1 holds unknown content of {MEDIA} (layer of container ")
    assert "driver failed" in text


@pytest.mark.parametrize(
    ("source", "environment", "recreate", "expected"),
    [
        ("wadata", {}, "auto", []),
        ("other", {}, "auto", [ELSEWHERE.format("wadata", "on other")]),
        ("", {}, "auto", [ELSEWHERE.format("wadata", "nowhere")]),
        ("", {"WA_CONFIG_ON_DB": "1"}, "auto", [ELSEWHERE.format("wadata", "in the database (WA_CONFIG_ON_DB=1)")]),
        (
            "wadata",
            {"WA_CONFIG_ON_DB": "1"},
            "auto",
            [ELSEWHERE.format("wadata", "in the database (WA_CONFIG_ON_DB=1)")],
        ),
        ("other", {}, "later", []),
        ("", {}, "later", []),
    ],
)
def test_a_configuration_that_the_compose_file_leaves_out_is_lost(
    engine: FakeDocker,
    info: Run,
    source: str,
    environment: dict[str, str],
    recreate: str,
    expected: list[str],
) -> None:
    add_container(engine, body={**BODY, "init": True}, mounts=[engine.mount("wadata", DATA)])
    body: dict[str, t.Any] = {**BODY, "environment": {**DATABASE, **environment}}
    if source:
        body["volumes"] = [{"type": "volume", "source": source, "target": DATA}]
    found = info({"core": body}, {"volumes": {source: {"name": source}}} if source else None, recreate=recreate)
    assert (found["refusals"].get("losses", []), found["refusals"].get("identity", [])) == (expected, [])


CERTS = {"type": "volume", "source": "certs", "target": "/opt/certs"}
LEFT_OUT = (
    "wa-a-core-1 mounts certs at /opt/certs, and its service in the Compose file does not. Mount it there in a Compose file of "
    "yours (wa_client_compose_files); or set wa_client_skip: [mounts] if it is not needed"
)


@pytest.mark.parametrize(
    ("made", "labels", "recreate", "more", "expected"),
    [
        ({"init": True}, {}, "auto", {}, [LEFT_OUT]),
        ({"init": True}, {}, "auto", {"volumes": [CERTS]}, []),
        ({"init": True}, {OWN_LABEL: "a"}, "auto", {}, []),
        ({"init": True}, {f"{LABEL}oneoff": "True"}, "auto", {}, []),
        ({"init": True}, {}, "later", {}, []),
        ({}, {}, "auto", {}, []),
    ],
)
def test_a_mount_that_a_recreated_container_of_another_compose_file_would_lose_is_left_out(
    engine: FakeDocker,
    info: Run,
    made: dict[str, t.Any],
    labels: dict[str, str],
    recreate: str,
    more: dict[str, t.Any],
    expected: list[str],
) -> None:
    mounts = [engine.mount(name, place) for name, place in (("certs", "/opt/certs"), ("m", MEDIA), ("0" * 64, "/d"))]
    add_container(engine, body={**BODY, **made}, labels=labels, mounts=mounts)
    found = info({"core": {**BODY, **more}}, {"volumes": {"certs": {"name": "certs"}}}, recreate=recreate)
    assert found["refusals"].get("mounts", []) == expected
    found = info(
        {"core": {**BODY, **more}}, {"volumes": {"certs": {"name": "certs"}}}, recreate=recreate, skip_mounts=True
    )
    assert "mounts" not in found["refusals"]


@pytest.mark.parametrize(("order", "expected"), [(["-", "own"], [LEFT_OUT]), (["own", "-"], []), (["own"], [])])
def test_what_an_operators_own_files_leave_out_is_meant(
    engine: FakeDocker, info: Run, compose: FakeCompose, tmp_path: Path, order: list[str], expected: list[str]
) -> None:
    compose.environment = {}
    own = tmp_path / "own.yml"
    own.write_text(json.dumps({"services": {"core": BODY}}))
    add_container(engine, body={**BODY, "init": True}, mounts=[engine.mount("certs", "/opt/certs")])
    found = info(compose_files=[str(own) if one == "own" else one for one in order])
    assert ([one["action"] for one in found["containers"]], found["refusals"].get("mounts", [])) == (
        ["recreate"],
        expected,
    )


@pytest.mark.parametrize(
    ("labels", "recreate", "state", "called", "lost"),
    [
        ({}, "auto", "running", True, True),
        ({OWN_LABEL: "a"}, "auto", "running", True, False),
        ({}, "later", "running", False, False),
        ({}, "later", "exited", True, True),
    ],
)
def test_a_network_of_another_compose_file_is_lost_if_compose_is_called(
    engine: FakeDocker, info: Run, labels: dict[str, str], recreate: str, state: str, called: bool, lost: bool
) -> None:
    body = {**BODY, "networks": {"default": None}}
    add_container(engine, body=body, labels=labels, state=state)["Networks"] = ["n1"]
    engine.networks["wa-a_default"] = {"Id": "n1", "Labels": {f"{LABEL}config-hash": "other"}}
    found = info({"core": body}, {"networks": {"default": {"name": "wa-a_default"}}}, recreate=recreate)
    assert bool(found["calls"]) is called
    assert [text.partition(":")[0] for text in found["refusals"].get("networks", [])] == (
        ["network wa-a_default"] if lost else []
    )


# Failures and secrets


def test_the_log_hides_the_compose_file_and_its_env_files(
    engine: FakeDocker, run_module: Run, compose: FakeCompose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(AnsibleModule, "log", lambda _self, text, **more: logged.append(f"{text} {more}"))
    env_files = {"db.env": f"WA_DB_PASSWORD={SECRET}\n"}
    content = json.dumps({"services": {"core": BODY}})
    given = {"project": "wa-a", "project_dir": str(tmp_path), "content": content, "env_files": env_files}
    assert not run_module(MODULE, {**given, "docker_host": engine.host}).get("failed")
    assert logged
    assert SECRET not in str(logged)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("project", "missing required arguments: project"),
        ("project_dir", "missing required arguments: project_dir"),
        ("content", "one of the following is required: content, compose_files"),
    ],
)
def test_project_folder_and_a_compose_file_are_required(run_module: Run, option: str, message: str) -> None:
    given = {"project": "wa-a", "project_dir": "/srv/wa", "content": "{}"}
    del given[option]
    assert run_module(MODULE, given)["msg"] == message


def test_content_that_is_no_json_fails(info: Run) -> None:
    failed = info(content="services:\n")
    assert failed["msg"] == "option content: no JSON; expected the Compose file as JSON."


def test_an_error_of_compose_is_reported_without_secrets(info: Run, compose: FakeCompose) -> None:
    compose.complaint = f"services.core.ports: {SECRET} is no port"
    failed = info(env_files={"db.env": f"WA_DB_PASSWORD={SECRET}\n"})
    assert failed["msg"].startswith(
        "Compose file of project wa-a: Compose refuses it: services.core.ports: <hidden> is no port; expected "
    )


def test_an_unreachable_engine_fails(info: Run, tmp_path: Path) -> None:
    failed = info(docker_host=f"unix://{tmp_path}/none.sock")
    assert failed["msg"].startswith(
        f"Docker Engine at unix://{tmp_path}/none.sock: the socket {tmp_path}/none.sock does not"
    )


@pytest.mark.parametrize(
    ("container", "service", "expected"),
    [
        ({"restart": "unless-stopped"}, {"restart": "unless-stopped"}, []),
        ({"restart": "always"}, {"restart": "unless-stopped"}, ["unless-stopped"]),
        ({"restart": "always"}, {"restart": "no"}, ["no"]),
        ({"restart": "always"}, {}, []),  # given by hand to what a file declares nothing for
        ({"restart": "no"}, {"restart": None}, []),
        ({"restart": "always", "labels": {}}, {}, []),  # not created from the collection's file
        ({"restart": "always", "state": "exited"}, {"restart": "no"}, ["no"]),
    ],
)
def test_a_manually_changed_restart_policy_is_corrected(
    engine: FakeDocker, info: Run, container: dict[str, t.Any], service: dict[str, t.Any], expected: list[str]
) -> None:
    body, container = {**BODY, **service}, {**container}
    policy = container.pop("restart")
    one = add_container(engine, body=body, **{"labels": {OWN_LABEL: "a"}, **container})
    one["HostConfig"] = {"RestartPolicy": {"Name": policy}}
    found = info({"core": body})
    assert found["restart_policies"] == [{"name": "wa-a-core-1", "policy": wanted, "retries": 0} for wanted in expected]
    lines = [f"update wa-a-core-1 (restart policy {wanted})" for wanted in expected]
    assert found["changes"] == (["start wa-a-core-1 (has exited)"] if one["State"] == "exited" else []) + lines


# Its files

GUARD = {
    "unmanaged": {"project": "wa-a", "neighbours": [], "database": "db:3306/"},
    "adopt": "",
    "single": True,
    "starts": [],
}


def place(engine: FakeDocker, folder: Path) -> dict[str, t.Any]:
    """The options with which files are written and containers are started."""
    return {
        "docker_host": engine.host,
        "project": "wa-a",
        "project_dir": str(folder),
        "compose_file": str(folder / "compose.yml"),
        "lock_file": str(folder / "a.lock"),
        "guard": GUARD,
    }


@pytest.fixture
def write(run_module: Run, engine: FakeDocker, compose: FakeCompose, tmp_path: Path) -> Run:
    """Writes one file."""
    assert compose.ups == []

    def call(
        path: Path, content: str, *, mode: str = "0640", owner: str | None = None, check: bool = False, **options: t.Any
    ) -> dict[str, t.Any]:
        file = {"path": str(path), "content": content, "mode": mode, **({"owner": owner} if owner else {})}
        given = {**place(engine, tmp_path), "content": json.dumps({"services": {}}), "files": [file], **options}
        return run_module(MODULE, given, check=check)

    return call


@pytest.fixture
def env(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    path = tmp_path / "files" / "db.env"
    path.write_text("WA_DB_HOSTNAME=db\nWA_DB_PASSWORD=old\n")
    path.chmod(0o640)
    return path


def previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.previous")


def test_a_file_in_force_is_kept_before_it_changes(write: Run, env: Path) -> None:
    before = env.read_text()
    done = write(env, "A=1\n", keep=True, kept_files=[str(env)])
    assert (done["changed"], done["kept"], done["unproven"]) == (True, [str(env)], [str(env)])
    assert (env.read_text(), previous(env).read_text()) == ("A=1\n", before)
    assert stat.S_IMODE(previous(env).stat().st_mode) == 0o600
    assert sorted(os.listdir(env.parent)) == ["db.env", "db.env.previous"]


def test_a_second_change_does_not_overwrite_the_kept_file(write: Run, env: Path) -> None:
    before = env.read_text()
    for content, kept in (("A=1\n", [str(env)]), ("A=2\n", [])):
        assert write(env, content, keep=True)["kept"] == kept
    assert previous(env).read_text() == before


def test_without_keep_no_file_is_kept(write: Run, env: Path) -> None:
    write(env, "A=1\n")
    assert not previous(env).exists()


def test_a_second_run_changes_nothing(write: Run, tmp_path: Path) -> None:
    path = tmp_path / "compose.yml"
    for changed in (True, False):
        done = write(path, "a: 1\n", keep=True)
        assert (done["changed"], done["kept"]) == (changed, [])
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o644)
    assert write(path, "a: 1\n")["changed"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_check_mode_predicts_the_files_and_writes_none(write: Run, env: Path) -> None:
    before = env.read_text()
    done = write(env, "A=1\n", keep=True, check=True)
    assert (done["changed"], env.read_text(), previous(env).exists()) == (True, before, False)


ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to somebody else")
@pytest.mark.parametrize("content", ["WA_DB_HOSTNAME=db\nWA_DB_PASSWORD=old\n", "A=1\n"])
def test_owner_is_set_and_reported_as_a_change(write: Run, env: Path, content: str) -> None:
    os.chown(env, pwd.getpwnam("daemon").pw_uid, 0)
    given: dict[str, t.Any] = {"path": env, "content": content, "owner": "root"}
    text = f"changed mode or owner: {env} has the owner daemon, expected root"
    actions = [text if content == env.read_text() else f"wrote {env}"]
    assert write(**given, check=True)["actions"] == actions
    assert env.stat().st_uid != 0
    done = write(**given)
    assert (done["changed"], done["actions"]) == (True, actions)
    assert (env.stat().st_uid, stat.S_IMODE(env.stat().st_mode), env.read_text()) == (0, 0o640, content)
    assert write(**given)["changed"] is False


def test_a_corrected_mode_is_reported_with_the_former_mode(write: Run, env: Path) -> None:
    env.chmod(0o666)
    given: dict[str, t.Any] = {"path": env, "content": env.read_text(), "mode": "0600", "owner": ME}
    actions = [f"changed mode or owner: {env} has the mode 0666, expected 0600"]
    assert write(**given, check=True)["actions"] == actions
    assert stat.S_IMODE(env.stat().st_mode) == 0o666
    assert write(**given)["actions"] == actions
    assert stat.S_IMODE(env.stat().st_mode) == 0o600


def test_an_unknown_owner_fails_and_leaves_the_file_unchanged(write: Run, env: Path) -> None:
    before = env.read_text()
    failed = write(env, "A=1\n", owner="no-such-user")
    assert failed["msg"] == (
        "option owner: no-such-user does not exist here; expected the name of a user of this host."
    )
    assert (env.read_text(), sorted(os.listdir(env.parent))) == (before, ["db.env"])


def test_a_compose_file_of_another_tool_is_not_overwritten(write: Run, tmp_path: Path) -> None:
    path = tmp_path / "compose.yml"
    path.write_text("a: b\n")
    assert "is not this collection's" in write(path, f"{HEADER}\n")["msg"]
    assert path.read_text() == "a: b\n"
    variables = tmp_path / "compose.env"  # which is the collection's by its name
    variables.write_text("TOKEN=by-hand\n")
    assert write(variables, f"{HEADER}\n", mode="0600")["changed"]


def test_a_file_that_only_its_owner_may_read_has_no_diff(write: Run, tmp_path: Path) -> None:
    path = tmp_path / "compose.env"
    assert "diff" not in write(path, f"{HEADER}\nTOKEN={SECRET}\n", mode="0600", check=True, _ansible_diff=True)
    assert write(path, "services: {}\n", check=True, _ansible_diff=True)["diff"]["after"] == "services: {}\n"


# Its containers


@pytest.fixture
def start(run_module: Run, engine: FakeDocker, compose: FakeCompose, tmp_path: Path) -> Run:
    """Brings the project to these services, after check mode has predicted the same, and has changed nothing."""
    assert compose.ups == []

    def call(bodies: dict[str, t.Any] | None = None, **options: t.Any) -> dict[str, t.Any]:
        body = {"services": {"core": BODY} if bodies is None else bodies}
        given = {**place(engine, tmp_path), "content": json.dumps(body), "start": True, "profiles": [], **options}
        before = json.dumps(engine.containers)
        predicted = run_module(MODULE, given, check=True)
        assert (json.dumps(engine.containers), compose.ups) == (before, [])
        done = run_module(MODULE, given)
        assert SECRET not in json.dumps([predicted, done])
        if not done.get("failed"):
            found = [one["name"] for one in done.pop("found")]
            assert found == sorted(one["Name"] for one in engine.containers.values())
            assert predicted == done
        return done

    return call


def changing(engine: FakeDocker) -> list[str]:
    return [line for line in engine.requests if not line.startswith("GET ")]


def test_a_project_that_is_as_its_file_says_is_left(engine: FakeDocker, compose: FakeCompose, start: Run) -> None:
    add_container(engine)
    assert (start()["changed"], changing(engine), compose.ups) == (False, [], [])


def test_surplus_goes_before_anything_starts(
    engine: FakeDocker, compose: FakeCompose, start: Run, tmp_path: Path
) -> None:
    """What is paused takes no signal, and Compose fails at it."""
    for name in ("gone", "core"):
        add_container(engine, name, ON_DB, state="paused")
    found = start({"core": ON_DB, "new": ON_DB})
    assert (found["changed"], found["actions"]) == (True, found["changes"])
    assert changing(engine) == [
        "POST /containers/wa-a-gone-1/unpause",
        "POST /containers/wa-a-gone-1/stop?t=60",
        "DELETE /containers/wa-a-gone-1?v=0",
        "POST /containers/wa-a-core-1/unpause",
    ]
    file = str(tmp_path / "compose.yml")
    assert compose.ups == [[file, "--detach", "--quiet-pull", "--pull=missing", "--no-recreate", "--"]]


def test_a_restart_policy_is_put_right_in_place(engine: FakeDocker, compose: FakeCompose, start: Run) -> None:
    body = {**BODY, "restart": "on-failure:3"}
    add_container(engine, body=body)["HostConfig"] = {"RestartPolicy": {"Name": "no"}}
    found = start({"core": body}, services=["core"])
    assert found["actions"] == ["update wa-a-core-1 (restart policy on-failure)"]
    assert (changing(engine), compose.ups) == (["POST /containers/wa-a-core-1/update"], [])
    policy = {"Name": "on-failure", "MaximumRetryCount": 3}
    assert engine.find("wa-a-core-1")["HostConfig"] == {"RestartPolicy": policy}  # type: ignore[index]
    assert start({"core": body}, services=["core"])["changed"] is False


def test_what_only_compose_can_tell_is_a_change_if_it_made_one(
    run_module: Run, engine: FakeDocker, compose: FakeCompose, tmp_path: Path
) -> None:
    body = {**ON_DB, "network_mode": "service:db"}
    add_container(engine, body=body)
    given = {
        **place(engine, tmp_path),
        "content": json.dumps({"services": {"core": body}}),
        "start": True,
        "profiles": [],
    }
    assert run_module(MODULE, given, check=True)["changed"] is True  # nobody knows before
    assert run_module(MODULE, given)["changed"] is False
    assert len(compose.ups) == 1


def test_what_compose_says_is_the_reason(engine: FakeDocker, compose: FakeCompose, start: Run, tmp_path: Path) -> None:
    compose.up_complaint = f"Error response from daemon: {SECRET}: port is already allocated\n"
    found = start()
    assert found["msg"].startswith(f"the client in {tmp_path} did not come up: Error response from daemon: ")
    assert found["msg"].endswith(": port is already allocated.")
    assert changing(engine) == []


def test_what_must_not_be_touched_is_refused_before_a_file_is_written(
    engine: FakeDocker, compose: FakeCompose, start: Run, tmp_path: Path
) -> None:
    """Minutes may pass after the comparison: an upgrade begins, an operator holds the client, another Coreapp is started."""
    path = tmp_path / "compose.yml"
    files = [{"path": str(path), "content": "services: {}\n", "mode": "0640"}]

    def refused(**options: t.Any) -> str:
        found = start(files=files, **options)
        assert not path.exists()
        assert (changing(engine), compose.ups) == ([], [])
        return str(found.get("msg", ""))

    hold = tmp_path / "a.hold"
    hold.write_text("disk is replaced")
    assert refused().endswith(
        "a.hold holds the client since this run has compared the host: disk is replaced. Run again."
    )
    hold.unlink()
    claim = upgrade_journal.Claim("a", "run-1", "ops", "ctl", "2.53.4")
    JournalFile(str(tmp_path / "a.lock")).save(upgrade_journal.begin(None, claim, time.time(), 600, stage="migrating"))
    assert refused().endswith(". Run again when it has ended.")
    (tmp_path / "a.lock").unlink()
    other = engine.container("other", CORE, "b", environment=DATABASE)
    assert "two of one number get it banned" in refused()
    engine.containers.pop(other["Id"])
    body = {**BODY, "image": CORE.replace("2.51.2", "2.53.4")}
    assert "No container was touched" in refused(
        content=json.dumps({"services": {"core": body}}), services=["core"], version="2.51.2"
    )
    assert start(files=files)["changed"]
    assert (path.read_text(), len(compose.ups)) == ("services: {}\n", 1)


def test_a_hold_keeps_containers_and_lets_files_be_written(write: Run, tmp_path: Path) -> None:
    (tmp_path / "a.hold").write_text("")
    assert write(tmp_path / "compose.yml", "services: {}\n", held=True, recreate="never")["changed"]
