# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_project_info: what happens to a project's containers, from a file that may not be written, without a secret in the result."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from fake_compose import FakeCompose, digest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._compose.override import OWN_LABEL

MODULE = "wa_project_info"
CORE = "registry.lab:5000/whatsapp/coreapp:v2.51.2"
SECRET = "Canary-81-Pw"
LABEL = "com.docker.compose."
DATABASE = {"WA_DB_ENGINE": "MYSQL", "WA_DB_HOSTNAME": "db", "WA_DB_PORT": "3306", "WA_DB_PASSWORD": SECRET}
BODY = {"image": CORE, "environment": DATABASE}
Run = t.Callable[..., "dict[str, t.Any]"]


@pytest.fixture
def compose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeCompose:
    found = FakeCompose()
    monkeypatch.setattr(
        AnsibleModule, "run_command", lambda _module, *arguments, **options: found(*arguments, **options)
    )
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return found


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
    made = engine.container(
        f"wa-a-{service}-1", body["image"], "wa-a", service, labels=labels, environment=environment, **more
    )
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
        "other_services": [],
        "other_versions": [],
        "restart_policies": [],
        "surplus": [],
        "paused": [],
        "restarts": [],
        "other_builds": [],
        "lost_networks": [],
        "identity": [],
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
        ("never", [], []),
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


def test_a_recreated_network_restarts_its_containers(engine: FakeDocker, info: Run) -> None:
    body = {**BODY, "networks": {"default": None}}
    add_container(engine, body=body)
    engine.networks["wa-a_default"] = {"Id": "n1", "Labels": {f"{LABEL}config-hash": "other"}}
    document = {"networks": {"default": {"name": "wa-a_default"}, "proxy": {"name": "proxy", "external": True}}}
    found = info({"core": body}, document, recreate="never")
    assert found["restarts"] == [
        "restart wa-a-core-1 (Compose makes the network wa-a_default anew: its definition changed)"
    ]
    assert found["lost_networks"] == []  # no container is on that network
    found = info({"core": {**BODY, "networks": {"proxy": None}}}, document)
    assert [text.partition(";")[0] for text in found["lost_networks"]] == ["network proxy: not on this host"]


def test_another_build_of_the_same_version_is_reported(engine: FakeDocker, info: Run) -> None:
    add_container(engine)
    mirror = "mirror.lab/coreapp:v2.51.2"
    engine.images[mirror] = {}
    found = info({"core": {**BODY, "image": mirror}})
    assert [text.partition(":")[0] for text in found["other_builds"]] == ["wa-a-core-1"]


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({}, True),
        ({"confirm_identity": {"hostname": "new"}}, False),
        ({"confirm_identity": {"hostname": "db"}}, True),
        ({"recreate": "never"}, False),
    ],
)
def test_another_database_is_another_client(
    engine: FakeDocker, info: Run, options: dict[str, t.Any], refused: bool
) -> None:
    add_container(engine)
    body = {**BODY, "environment": {**DATABASE, "WA_DB_HOSTNAME": "new"}}
    found = info({"core": body}, **options)["identity"]
    start = "compose.yml of project wa-a: another client than the one that is there: hostname db (wa-a-core-1) would become new. "
    assert [text[: len(start)] for text in found] == ([start] if refused else [])


def test_another_media_volume_is_another_client(engine: FakeDocker, info: Run) -> None:
    add_container(engine, volume="media")
    mounts = {"volumes": [{"type": "volume", "source": "m", "target": "/usr/local/wamedia"}]}
    document = {"volumes": {"m": {"name": "other"}}}
    (text,) = info({"core": {**BODY, **mounts}}, document)["identity"]
    assert "media_volume media (wa-a-core-1) would become other" in text
    document = {"volumes": {"m": {"name": "media"}}}
    assert info({"core": {**BODY, **mounts}}, document)["identity"] == []


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
        ({"restart": "always"}, {}, ["no"]),
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
    assert found["restart_policies"] == [{"name": "wa-a-core-1", "policy": wanted} for wanted in expected]
    lines = [f"update wa-a-core-1 (restart policy {wanted})" for wanted in expected]
    assert found["changes"] == (["start wa-a-core-1 (has exited)"] if one["State"] == "exited" else []) + lines
