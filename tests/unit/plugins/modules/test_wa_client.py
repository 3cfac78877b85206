# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_client: what happens to a project's files and containers, from a file that may not be written, without a secret in the result."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pwd
import stat
import tarfile
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from fake_compose import FakeCompose, digest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._compose import definitions
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import DEFINITION_LABEL, HEADER, OWN_LABEL
from ansible_collections.waba.onprem.plugins.module_utils._compose.project import network_hash
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._env.state import CONFIG_CURE
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import migration_wait

MODULE = "wa_client"
CORE = "registry.lab:5000/whatsapp/coreapp:v2.51.2"
WEB = "registry.lab:5000/whatsapp/web:v2.51.2"
NAME = "wa-a-core-1"
SECRET = "Canary-81-Pw"
LABEL = "com.docker.compose."
DATABASE = {"WA_DB_ENGINE": "MYSQL", "WA_DB_HOSTNAME": "db", "WA_DB_PORT": "3306", "WA_DB_PASSWORD": SECRET}
# By the labels of a container: made from the present definition, from another one, by an older collection, from another file.
OURS, OTHER = ({OWN_LABEL: "a", DEFINITION_LABEL: digest} for digest in ("d1", "d0"))
FOREIGN: dict[str, str] = {}
SECOND = {f"{LABEL}container-number": "2"}
BODY: dict[str, t.Any] = {
    "image": CORE,
    "environment": {**DATABASE, "WA_CONFIG_ON_DB": "1"},
    "labels": OURS,
    "restart": "no",
    "networks": {},
}
Run = t.Callable[..., "dict[str, t.Any]"]


@pytest.fixture
def info(run_module: Run, engine: FakeDocker, compose: FakeCompose, tmp_path: Path) -> Run:
    """Runs the module on project `wa-a` with these services. Asserts that check mode returns the same and nothing changes."""
    assert compose.commands == []

    def call(bodies: dict[str, t.Any] | None = None, document: t.Any = None, **options: t.Any) -> dict[str, t.Any]:
        given = {
            "docker_host": engine.host,
            "project": "wa-a",
            "project_dir": str(tmp_path),
            "content": json.dumps({"services": {"core": BODY} if bodies is None else bodies, **(document or {})}),
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


def operators(folder: Path, services: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    """The options of a project that is described by an operator's Compose file alone."""
    path = folder / "own.yml"
    path.write_text(json.dumps({"services": services, **more}))
    return {"content": None, "compose_files": [str(path)], "services": [*services], "profiles": []}


def write_env(folder: Path, values: t.Mapping[str, str]) -> str:
    """Write db.env, and return its path."""
    (folder / "db.env").write_text("".join(f"{key}={value}\n" for key, value in values.items()))
    return str(folder / "db.env")


def add_container(
    engine: FakeDocker,
    service: str = "core",
    body: dict[str, t.Any] | None = None,
    labels: t.Mapping[str, str] = OURS,
    **more: t.Any,
) -> dict[str, t.Any]:
    """Add the container that Compose creates for a resolved service."""
    body = BODY if body is None else body
    labels = {f"{LABEL}config-hash": digest(body), f"{LABEL}version": "2.40.3", **labels}
    name = f"wa-a-{service}-{labels.get(f'{LABEL}container-number', '1')}"
    engine.images.setdefault(body["image"], {})
    more = {"environment": body.get("environment"), **more}
    return engine.container(name, body["image"], "wa-a", service, labels=labels, **more)


def test_a_project_that_matches_its_file_is_unchanged(engine: FakeDocker, info: Run, compose: FakeCompose) -> None:
    add_container(engine)
    names = ("actions", "changes", "pending", "calls", "restart_policies", "unproven")
    assert info() == {"changed": False, **{name: [] for name in names}, "refusals": {}}
    assert compose.commands == []


SETTINGS = "was created with other settings than the inventory has"
MISSING = {"services": ["core"], "recreate": "never", "dependencies": True}
RECREATED = {"services": ["core"], "recreate": "always", "dependencies": False}
CALLS = {"create": [MISSING], "recreate": [RECREATED]}  # the others are the engine's
LATER, NEVER = {"recreate": "later"}, {"recreate": "never"}


@pytest.mark.parametrize(
    ("state", "labels", "options", "expected"),
    [
        ("", {}, {}, ("create", "is missing", "")),
        ("", {}, LATER, ("create", "is missing", "")),
        ("", {}, {**LATER, "moving": ["core"]}, ("", "", "moves here from another host")),
        ("", {}, NEVER, ("", "", "is missing")),
        ("exited", OURS, {}, ("start", "has exited", "")),
        ("created", OURS, {}, ("start", "was never started", "")),
        ("dead", OURS, {}, ("start", "is dead", "")),
        ("paused", OURS, {}, ("unpause", "is paused", "")),
        ("restarting", OURS, {}, ("", "", "")),
        ("running", OTHER, {}, ("recreate", SETTINGS, "")),
        ("exited", OTHER, {}, ("recreate", f"{SETTINGS}; has exited", "")),
        ("running", FOREIGN, {}, ("recreate", SETTINGS, "")),
        ("running", OTHER, LATER, ("", "", SETTINGS)),
        ("exited", OTHER, LATER, ("start", "has exited", SETTINGS)),
        ("paused", OTHER, LATER, ("unpause", "is paused", SETTINGS)),
        ("exited", OTHER, NEVER, ("", "", f"has exited; {SETTINGS}")),
    ],
)
def test_the_step_depends_on_the_container(
    engine: FakeDocker, info: Run, state: str, labels: dict[str, str], options: t.Any, expected: tuple[str, str, str]
) -> None:
    """`expected` are the action, why, and what waits."""
    if state:
        add_container(engine, labels=labels, state=state)
    action, reasons, pending = expected
    result = {
        "calls": CALLS.get(action, []),
        "changes": [f"{action} {NAME} ({reasons})"] if action else [],
        "pending": [f"{NAME} ({pending})"] if pending else [],
        "refusals": {},
    }
    found = info(**options)
    assert {key: found[key] for key in result} == result


OTHER_TZ, PLANNED = "has another environment than its Compose files give it: TZ", "db.env changes: WA_DB_PASSWORD"


@pytest.mark.parametrize(
    ("options", "change", "pending"),
    [
        ({}, OTHER_TZ, ""),
        (LATER, "", OTHER_TZ),
        ({"declared_keys": ["TZ"]}, OTHER_TZ, ""),
        ({"declared_keys": [*DATABASE]}, "", ""),
        # Of a db.env that is not written yet, only which keys change is known.
        ({"env_changes": {NAME: ["WA_DB_PASSWORD"]}}, PLANNED, ""),
        ({"env_changes": {NAME: ["WA_DB_PASSWORD"]}, **LATER}, "", PLANNED),
    ],
)
def test_a_container_is_compared_with_db_env(
    engine: FakeDocker, info: Run, tmp_path: Path, options: dict[str, t.Any], change: str, pending: str
) -> None:
    path = write_env(tmp_path, {**BODY["environment"], "TZ": "UTC"})
    add_container(engine)
    found = info(env_file=path, **options)
    assert found["changes"] == ([f"recreate {NAME} ({change})"] if change else [])
    assert found["pending"] == ([f"{NAME} ({pending})"] if pending else [])


@pytest.mark.parametrize(("declared", "changes"), [(["A"], []), (["A", "TZ"], ["TZ"]), (None, ["TZ"])])
def test_an_undeclared_line_of_db_env_restarts_no_client_of_an_operators_file(
    engine: FakeDocker, info: Run, tmp_path: Path, declared: list[str] | None, changes: list[str]
) -> None:
    add_container(engine, labels=OURS)
    env = tmp_path / "db.env"
    env.write_text("A=1\nTZ=UTC\n")
    body = {**BODY, "environment": {**BODY["environment"], "TZ": "UTC"}}
    found = info(**operators(tmp_path, {"core": body}), env_file=str(env), declared_keys=declared)
    reason = "has another environment than its Compose files give it: TZ"
    assert found["changes"] == [f"recreate {NAME} ({reason})" for one in changes]


def test_what_an_operators_file_defines_is_compared_with_what_is_recorded(
    engine: FakeDocker, info: Run, tmp_path: Path
) -> None:
    digests = {**definitions.digests(BODY, "salt"), "hash": "h1", "inputs": "", "compose": "2.26.1"}
    record = tmp_path / "client-a.json"
    record.write_text(json.dumps(definitions.Recorded({"core": digests}, "salt").text()))
    # Another version of Compose has given it another hash than this one would.
    add_container(engine, labels={**OURS, f"{LABEL}config-hash": "h1"})
    assert info(**operators(tmp_path, {"core": BODY}), identity_file=str(record))["changes"] == []
    body = {**BODY, "init": True, "environment": {**BODY["environment"], "TZ": "UTC"}}
    reasons = (
        "has another environment than its Compose files give it: TZ; is defined otherwise in its Compose files: init"
    )
    found = info(**operators(tmp_path, {"core": body}), identity_file=str(record))
    assert (found["changes"], found["calls"]) == ([f"recreate {NAME} ({reasons})"], [RECREATED])


OTHER_FILE = "was made from other Compose files than there are now"


@pytest.mark.parametrize(
    ("made", "recorded", "differs"),
    [
        ("h0", {"digests": "core/hash=h0"}, False),
        ("h9", {"digests": "core/hash=h0"}, True),
        (digest(BODY), {"digests": "core/hash=h0"}, False),  # by hand, from the file
        # With an operator's file beside the collection's, which is no more.
        ("h0", {"digests": "core/init=1 core/hash=h0 core/inputs=i"}, True),
        (digest(BODY), {"digests": f"core/hash={digest(BODY)} core/inputs=i"}, False),
        ("h9", {}, False),
    ],
)
def test_a_container_of_another_file_than_the_recorded_and_the_wanted_one_is_recreated(
    engine: FakeDocker, info: Run, tmp_path: Path, made: str, recorded: dict[str, str], differs: bool
) -> None:
    record = tmp_path / "client-a.json"
    record.write_text(json.dumps(recorded))
    add_container(engine, labels={**OURS, f"{LABEL}config-hash": made})
    found = info(identity_file=str(record))
    assert found["changes"] == ([f"recreate {NAME} ({OTHER_FILE})"] if differs else [])
    assert found["calls"] == ([RECREATED] if differs else [])


# Networks

NETWORK = "wa-a_default"
RENEWED = (
    f"network {NETWORK}: was made with other options than the Compose files have; Compose would recreate it, and disconnect what is "
    "on it; expected the options that it has. Declare it "
    "as external in a Compose file of yours ({networks: {default: {external: true}}}), or renew it yourself"
)


@pytest.mark.parametrize(
    ("made_with", "missing", "refused"),
    [
        ("other", True, True),
        ("other", False, False),  # Compose is not called
        (network_hash({"name": NETWORK, "ipam": {}}), True, False),
        ("", True, False),
    ],
)
def test_compose_is_not_called_where_it_would_renew_a_network(
    engine: FakeDocker, info: Run, made_with: str, missing: bool, refused: bool
) -> None:
    body = {**BODY, "networks": ["default"]}
    for service, state in [("web", "running")] + ([] if missing else [("core", "exited")]):
        add_container(engine, service, body, state=state)["Networks"] = ["n1"]
    engine.networks[NETWORK] = {"Id": "n1", "Labels": {f"{LABEL}config-hash": made_with}}
    found = info({"core": body, "web": body}, {"networks": {"default": {"name": NETWORK}}})
    assert found["refusals"] == ({"networks": [RENEWED]} if refused else {})


@pytest.mark.parametrize("there", [True, False])
def test_an_external_network_has_to_be_there_and_is_as_its_owner_made_it(
    engine: FakeDocker, info: Run, tmp_path: Path, there: bool
) -> None:
    body = {**BODY, "networks": {"proxy": None}}
    if there:
        engine.networks["proxy"] = {"Id": "n1", "Labels": {f"{LABEL}config-hash": "of another project"}}
        add_container(engine, "web", body)["Networks"] = ["n1"]
    networks = {"proxy": {"name": "proxy", "external": True}}
    missing = (
        "network proxy: not on this host; expected the external network that the Compose file names. "
        "Create it: docker network create proxy, or correct the Compose file"
    )
    found = info(**operators(tmp_path, {"core": body, "web": body}, networks=networks))
    assert found["changes"][0] == f"create {NAME} (is missing)"
    assert found["refusals"] == ({} if there else {"networks": [missing]})


# What is more than the project has

GONE, MORE = "belongs to a service that this host no longer has", "is more than the 1 that the service has"


@pytest.mark.parametrize("recreate", ["auto", "later"])
@pytest.mark.parametrize(
    ("service", "image", "labels", "reason"),
    [
        ("master", CORE, OURS, GONE),
        ("master", CORE, FOREIGN, GONE),
        ("proxy", "nginx:1", OURS, GONE),
        ("proxy", "nginx:1", FOREIGN, ""),
        ("core", CORE, {**OURS, **SECOND}, MORE),
    ],
)
def test_surplus_containers_are_removed_and_others_left_alone(
    engine: FakeDocker, info: Run, service: str, image: str, labels: dict[str, str], reason: str, recreate: str
) -> None:
    add_container(engine)
    name = str(add_container(engine, service, {**BODY, "image": image}, labels)["Name"])
    found = info(recreate=recreate)
    removed, waits = bool(reason) and recreate == "auto", bool(reason) and recreate == "later"
    assert found["changes"] == ([f"remove {name} ({reason})"] if removed else [])
    assert found["pending"] == ([f"{name} ({reason})"] if waits else [])
    assert (found["calls"], found["refusals"]) == ([], {})


@pytest.mark.parametrize(
    ("states", "recreate", "changes", "refused", "waits"),
    [
        (("running", "running"), "auto", [f"remove wa-a-core-2 ({MORE})"], "wa-a-core-2", ""),
        (("running", "running"), "later", [], "", "wa-a-core-2"),
        (("running", "paused"), "auto", [f"remove wa-a-core-2 ({MORE})"], "wa-a-core-2", ""),
        # What runs is kept, and none is started beside it.
        (("exited", "running"), "auto", [f"remove wa-a-core-1 ({MORE})"], "", ""),
        (("exited", "running"), "later", [f"remove wa-a-core-1 ({MORE})"], "", ""),
        (("created", "exited"), "auto", ["start wa-a-core-2 (has exited)", f"remove wa-a-core-1 ({MORE})"], "", ""),
    ],
)
def test_of_what_an_operator_has_scaled_up_only_what_stands_still_is_removed(
    engine: FakeDocker,
    info: Run,
    tmp_path: Path,
    states: tuple[str, str],
    recreate: str,
    changes: list[str],
    refused: str,
    waits: str,
) -> None:
    for labels, state in zip((FOREIGN, SECOND), states):
        add_container(engine, labels=labels)["State"] = state
    text = (
        f"{refused}: it {MORE}; expected as many containers as its service has in the Compose files. Stop the one that is too many, and "
        "run again, which removes it. If core may run more than once, set its scale there"
    )
    found = info(**operators(tmp_path, {"core": BODY}), recreate=recreate)
    assert found["changes"] == changes
    assert found["refusals"] == ({"services": [text]} if refused else {})
    assert found["pending"] == ([f"{waits} ({MORE})"] if waits else [])


# Another build, another client


@pytest.mark.parametrize("image", ["mirror.lab/coreapp:v2.51.2", CORE])
@pytest.mark.parametrize("recreate", ["auto", "later"])
def test_another_build_of_the_same_version_is_not_started(
    engine: FakeDocker, info: Run, image: str, recreate: str
) -> None:
    made = add_container(engine)
    engine.images[image] = {}
    made["Image"] = "sha256:" + "0" * 64
    found = info({"core": {**BODY, "image": image}}, recreate=recreate)
    assert [*found["refusals"]] == (["builds"] if recreate == "auto" else [])
    assert len(found["changes"] + found["pending"]) == 1


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({}, True),
        ({"confirm_identity": {"hostname": "new"}}, False),
        ({"confirm_identity": {"hostname": "db"}}, True),
        (LATER, True),
    ],
)
def test_another_database_is_another_client(
    engine: FakeDocker, info: Run, options: dict[str, t.Any], refused: bool
) -> None:
    add_container(engine)
    found = info({"core": {**BODY, "environment": {**BODY["environment"], "WA_DB_HOSTNAME": "new"}}}, **options)[
        "refusals"
    ]
    start = f"compose.yml of project wa-a: another client than the one that is there: hostname db ({NAME}) would become new. "
    assert {about: [text[: len(start)] for text in texts] for about, texts in found.items()} == (
        {"identity": [start]} if refused else {}
    )


@pytest.mark.parametrize(("volume", "refused"), [("media", False), ("other", True)])
def test_another_media_volume_is_another_client(engine: FakeDocker, info: Run, volume: str, refused: bool) -> None:
    add_container(engine, volume="media")
    found = info({"core": {**BODY, "volumes": [f"m:{MEDIA}"]}}, {"volumes": {"m": {"name": volume}}})["refusals"]
    assert [*found] == (["identity"] if refused else [])
    assert all(f"media_volume media ({NAME}) would become other" in text for text in found.get("identity", []))


# What recreated and removed containers would lose

MEDIA, DATA = "/usr/local/wamedia", "/usr/local/waent/data"
IN_FILES = {**BODY, "environment": DATABASE}  # its configuration is not in the database
REGISTRATION = (
    f"{NAME} keeps its configuration, registration included, in its own writable layer; recreating it loses both"
)
IN_LAYER = f"{NAME} holds {MEDIA}/incoming/a.jpg in its own writable layer; expected no media there"
ELSEWHERE = (
    f"{NAME} has its configuration, registration included, on wadata, and its Compose file has it {{}}: a new container would start "
    "unregistered. Set it there as it is"
)


def losses(found: dict[str, t.Any]) -> list[str]:
    """What would be lost, up to the cure; nothing else is refused."""
    texts = found["refusals"].pop("losses", [])
    assert found["refusals"] == {}
    return [text.partition(". Take")[0].partition(", because")[0] for text in texts]


@pytest.mark.parametrize(
    ("service", "labels", "state", "options", "action"),
    [
        ("core", OTHER, "running", {}, "recreate"),
        ("core", OTHER, "exited", {}, "recreate"),
        ("core", OTHER, "running", LATER, "none"),
        ("core", OTHER, "exited", LATER, "start"),
        ("core", OTHER, "paused", LATER, "unpause"),
        ("core", OURS, "exited", {}, "start"),
        ("gone", OURS, "running", {}, "remove"),
        ("gone", OURS, "running", LATER, "none"),
    ],
)
def test_a_registration_in_the_layer_of_a_recreated_or_removed_container_is_lost(
    engine: FakeDocker, info: Run, service: str, labels: dict[str, str], state: str, options: t.Any, action: str
) -> None:
    add_container(engine, service, IN_FILES, labels, state=state)
    found = info({"core": IN_FILES} if service == "core" else {}, **options)
    assert [line.partition(" ")[0] for line in found["changes"]] == [action] * (action != "none")
    assert all(text.endswith(CONFIG_CURE) for text in found["refusals"].get("losses", []))
    lost = action in ("recreate", "remove")
    assert losses(found) == ([REGISTRATION.replace("core", service)] if lost else [])


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


@pytest.mark.parametrize(
    ("mounted", "lost"), [("", True), (MEDIA, False), ("/usr/local", False), (f"{MEDIA}/other", True)]
)
@pytest.mark.parametrize("image", [CORE, WEB])
def test_media_in_the_layer_of_a_recreated_container_are_lost(
    engine: FakeDocker, info: Run, with_media: t.Callable[[t.Any], None], image: str, mounted: str, lost: bool
) -> None:
    mounts = [engine.mount("media", mounted)] if mounted else []
    body = {**BODY, "image": image, "volumes": [f"media:{MEDIA}"]}
    with_media(add_container(engine, body=body, labels=OTHER, mounts=mounts))
    assert losses(info({"core": body})) == ([IN_LAYER] if lost else [])


def test_media_in_the_layer_of_a_container_that_is_kept_are_not_lost(
    engine: FakeDocker, info: Run, with_media: t.Callable[[t.Any], None]
) -> None:
    with_media(add_container(engine))
    with_media(add_container(engine, "proxy", {**BODY, "image": "nginx:1"}, FOREIGN))
    assert losses(info()) == []
    assert not any(line.endswith("/changes") for line in engine.requests)


def test_a_layer_that_cannot_be_read_may_hold_media(engine: FakeDocker, info: Run) -> None:
    one = add_container(engine, labels=OTHER)
    engine.failures[f"GET /containers/{one['Id']}/changes"] = (500, "driver failed")
    (text,) = losses(info())
    assert text.startswith(f"{NAME} holds unknown content of {MEDIA} (layer of container ")
    assert "driver failed" in text


@pytest.mark.parametrize(
    ("source", "environment", "recreate", "has"),
    [
        ("wadata", {}, "auto", ""),
        ("other", {}, "auto", "on other"),
        ("", {}, "auto", "nowhere"),
        ("", {"WA_CONFIG_ON_DB": "1"}, "auto", "in the database (WA_CONFIG_ON_DB=1)"),
        ("wadata", {"WA_CONFIG_ON_DB": "1"}, "auto", "in the database (WA_CONFIG_ON_DB=1)"),
        ("other", {}, "later", ""),
        ("", {}, "later", ""),
    ],
)
def test_a_configuration_that_the_compose_file_leaves_out_is_lost(
    engine: FakeDocker, info: Run, source: str, environment: dict[str, str], recreate: str, has: str
) -> None:
    add_container(engine, body=IN_FILES, labels=OTHER, mounts=[engine.mount("wadata", DATA)])
    volumes = [f"{source}:{DATA}"] if source else []
    body = {**BODY, "environment": {**DATABASE, **environment}, "volumes": volumes}
    found = info({"core": body}, {"volumes": {source: {"name": source}}}, recreate=recreate)
    assert losses(found) == ([ELSEWHERE.format(has)] if has else [])


# Failures and secrets


def test_the_log_hides_the_compose_file(
    engine: FakeDocker, run_module: Run, compose: FakeCompose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(AnsibleModule, "log", lambda _self, text, **more: logged.append(f"{text} {more}"))
    content = json.dumps({"services": {"core": {**BODY, "environment": {"WA_DB_PASSWORD": SECRET}}}})
    given = {"project": "wa-a", "project_dir": str(tmp_path), "content": content}
    assert not run_module(MODULE, {**given, "docker_host": engine.host}).get("failed")
    assert logged
    assert SECRET not in str(logged)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"project": None}, "state is present but all of the following are missing: project"),
        ({"project_dir": None}, "state is present but all of the following are missing: project_dir"),
        ({"content": None}, "state is present but any of the following are missing: content, compose_files"),
        ({"recreate": "always"}, "value of recreate must be one of: auto, later, never, got: always"),
    ],
)
def test_invalid_options_are_refused(run_module: Run, options: dict[str, str | None], message: str) -> None:
    given = {"project": "wa-a", "project_dir": "/srv/wa", "content": "{}", **options}
    assert run_module(MODULE, {key: value for key, value in given.items() if value is not None})["msg"] == message


def test_an_error_of_compose_is_reported_without_secrets(info: Run, compose: FakeCompose, tmp_path: Path) -> None:
    options = {"env_file": write_env(tmp_path, DATABASE)}
    compose.complaint = f"services.core.ports: {SECRET} is no port"
    assert info(**operators(tmp_path, {"core": BODY}), **options)["msg"] == (
        "Compose file of project wa-a: Compose refuses it: services.core.ports: <hidden> is no port; expected a file that docker "
        "compose config takes."
    )


def test_an_unreachable_engine_fails(info: Run, tmp_path: Path) -> None:
    failed = info(docker_host=f"unix://{tmp_path}/none.sock")
    assert failed["msg"].startswith(
        f"Docker Engine at unix://{tmp_path}/none.sock: the socket {tmp_path}/none.sock does not"
    )


@pytest.mark.parametrize(
    ("found", "declared", "options", "expected"),
    [
        ("unless-stopped", "unless-stopped", {}, []),
        ("always", "unless-stopped", {}, [("unless-stopped", 0)]),
        ("always", "no", {"state": "exited"}, [("no", 0)]),
        ("always", "on-failure:3", {}, [("on-failure", 3)]),
        ("always", None, {}, []),  # given by hand to what a file declares nothing for
        ("always", "no", {"beside": True}, []),  # of a service that the client depends on
        ("always", "no", NEVER, []),
    ],
)
def test_a_manually_changed_restart_policy_is_corrected(
    engine: FakeDocker,
    info: Run,
    tmp_path: Path,
    found: str,
    declared: str | None,
    options: dict[str, t.Any],
    expected: list[tuple[str, int]],
) -> None:
    body, state = {**BODY, "restart": declared}, options.get("state", "running")
    add_container(engine, body=body, labels=FOREIGN, state=state)["HostConfig"] = {"RestartPolicy": {"Name": found}}
    given = operators(tmp_path, {"core": body, "web": {**BODY, "depends_on": ["core"]}})
    add_container(engine, "web", {**BODY, "depends_on": ["core"]}, FOREIGN)
    given["services"] = ["web"] if options.get("beside") else ["core", "web"]
    result = info(**given, **({"recreate": options["recreate"]} if "recreate" in options else {}))
    assert result["restart_policies"] == [
        {"name": NAME, "policy": policy, "retries": retries, "found": found} for policy, retries in expected
    ]
    lines = [f"update {NAME} (restart policy {policy})" for policy, _retries in expected]
    assert result["changes"] == ([f"start {NAME} (has exited)"] if state == "exited" else []) + lines


# Its files

UNMANAGED = {"project": "wa-a", "neighbours": [], "database": "db:3306/"}
GUARD = {"unmanaged": UNMANAGED, "adopt": "", "single": True}
ME = pwd.getpwuid(os.getuid()).pw_name


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
        path: Path, text: str, *, mode: str = "0640", owner: str | None = None, check: bool = False, **options: t.Any
    ) -> dict[str, t.Any]:
        file = {"path": str(path), "content": text, "mode": mode, **({"owner": owner} if owner else {})}
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
    done = write(env, "A=1\n", keep=True, env_file=str(env))
    assert (done["changed"], done["kept"], done["unproven"]) == (True, [str(env)], [str(env)])
    assert (env.read_text(), previous(env).read_text()) == ("A=1\n", before)
    assert stat.S_IMODE(previous(env).stat().st_mode) == 0o600
    assert sorted(os.listdir(env.parent)) == ["db.env", "db.env.previous"]
    assert write(env, "A=2\n", keep=True)["kept"] == []
    assert previous(env).read_text() == before  # with which the client was healthy


@pytest.mark.parametrize(("keep", "check"), [(False, False), (True, True)])
def test_without_keep_and_in_check_mode_no_file_is_kept(write: Run, env: Path, keep: bool, check: bool) -> None:
    before = env.read_text()
    assert write(env, "A=1\n", keep=keep, check=check)["changed"]
    assert (env.read_text(), previous(env).exists()) == (before if check else "A=1\n", False)


def test_a_second_run_changes_nothing(write: Run, compose: FakeCompose, tmp_path: Path) -> None:
    path = tmp_path / "compose.yml"
    for changed in (True, False):
        done = write(path, "a: 1\n", keep=True)
        assert (done["changed"], done["kept"]) == (changed, [])
    assert [command[-2:] for command in compose.commands] == [["config", "--quiet"]]  # the second asks nothing
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o644)
    assert write(path, "a: 1\n")["changed"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_what_compose_refuses_is_not_written(write: Run, compose: FakeCompose, tmp_path: Path) -> None:
    compose.complaint = "services.core.ports is no port"
    found = write(tmp_path / "compose.yml", "services: {}\n")
    assert "Compose refuses it: services.core.ports is no port" in found["msg"]
    assert not (tmp_path / "compose.yml").exists()


@pytest.mark.parametrize("more", [[], ["more.yml"]])
def test_a_first_run_is_predicted_before_db_env_is_written(write: Run, tmp_path: Path, more: list[str]) -> None:
    path, env = tmp_path / "compose.yml", str(tmp_path / "db.env")
    content = json.dumps({"services": {"core": {**BODY, "environment": {}, "env_file": [env]}}})
    files = {"compose_files": ["-", *more], "services": ["core"] if more else [], "compose_file": str(path)}
    found = write(path, "services: {}\n", content=content, env_file=env, env_changes={}, check=True, **files)
    assert (found["actions"], found["calls"]) == ([f"wrote {path}"], [MISSING])


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to somebody else")
@pytest.mark.parametrize("content", ["WA_DB_HOSTNAME=db\nWA_DB_PASSWORD=old\n", "A=1\n"])
def test_owner_is_set_and_reported_as_a_change(write: Run, env: Path, content: str) -> None:
    os.chown(env, pwd.getpwnam("daemon").pw_uid, 0)
    given: dict[str, t.Any] = {"path": env, "text": content, "owner": "root"}
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
    given: dict[str, t.Any] = {"path": env, "text": env.read_text(), "mode": "0600", "owner": ME}
    actions = [f"changed mode or owner: {env} has the mode 0666, expected 0600"]
    assert write(**given, check=True)["actions"] == actions
    assert stat.S_IMODE(env.stat().st_mode) == 0o666
    assert write(**given)["actions"] == actions
    assert stat.S_IMODE(env.stat().st_mode) == 0o600


def test_a_compose_file_of_another_tool_is_not_overwritten(write: Run, tmp_path: Path) -> None:
    path = tmp_path / "compose.yml"
    path.write_text("a: b\n")
    assert "is not this collection's" in write(path, f"{HEADER}\n")["msg"]
    assert path.read_text() == "a: b\n"


def test_a_diff_shows_no_secret(write: Run, tmp_path: Path) -> None:
    path, env_file = tmp_path / "compose.yml", write_env(tmp_path, DATABASE)
    assert write(path, f"a: x{SECRET}\n", check=True, env_file=env_file)["diff"]["after"] == "a: x<hidden>\n"
    path.write_text(f"{HEADER}\nAPI_TOKEN: by-hand\n")  # of which no inventory knows
    found = write(path, f"{HEADER}\na: 1\n", check=True, env_file=env_file)["diff"]
    assert found["before"] == f"{HEADER}\nAPI_TOKEN: <hidden>\n"


# Its containers

SERVER = "mysql:8"
UP = ["--detach", "--quiet-pull", "--pull=missing"]


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
            there = [one["Name"] for one in engine.containers.values() if one["Config"]["Image"] != SERVER]
            assert found == sorted(there)
            assert predicted == done
        return done

    return call


def changing(engine: FakeDocker) -> list[str]:
    return [line for line in engine.requests if not line.startswith("GET ")]


def test_a_project_that_is_as_its_file_says_is_left(engine: FakeDocker, compose: FakeCompose, start: Run) -> None:
    add_container(engine)
    assert (start()["changed"], changing(engine), compose.commands) == (False, [], [])


def test_each_step_is_taken_once(engine: FakeDocker, compose: FakeCompose, start: Run, tmp_path: Path) -> None:
    """What is paused takes no signal, and Compose fails at it."""
    for name, state in (("gone", "paused"), ("core", "paused"), ("web", "exited"), ("other", "running")):
        add_container(engine, name, labels=OTHER if name == "other" else OURS, state=state)
    found = start(dict.fromkeys(("core", "new", "other", "web"), BODY))
    assert (found["changed"], found["actions"]) == (True, found["changes"])
    assert changing(engine) == [
        "POST /containers/wa-a-gone-1/unpause",
        "POST /containers/wa-a-gone-1/stop?t=60",
        "DELETE /containers/wa-a-gone-1?v=0",
        f"POST /containers/{NAME}/unpause",
        "POST /containers/wa-a-web-1/start",
    ]
    file = str(tmp_path / "compose.yml")
    assert compose.ups == [
        [file, *UP, "--no-recreate", "--", "new"],
        [file, *UP, "--force-recreate", "--no-deps", "--", "other"],
    ]


@pytest.mark.parametrize("differs", [False, True])
def test_what_the_client_depends_on_starts_first_and_stays_as_it_is(
    engine: FakeDocker, compose: FakeCompose, start: Run, tmp_path: Path, differs: bool
) -> None:
    core = {**BODY, "depends_on": {"db": {"condition": "service_started"}}}
    server = {"image": SERVER, "environment": {"TZ": "UTC"}}
    add_container(engine, body=core, labels=FOREIGN, state="exited")
    add_container(engine, "db", {**server, "environment": {}} if differs else server, FOREIGN, state="exited")
    found = start(**{**operators(tmp_path, {"core": core, "db": server}), "services": ["core"]})
    assert found["changes"] == [f"start {NAME} (has exited)", "start wa-a-db-1 (has exited)"]
    assert found["pending"] == []
    assert changing(engine) == ["POST /containers/wa-a-db-1/start", f"POST /containers/{NAME}/start"]
    assert compose.ups == []


@pytest.mark.parametrize(
    ("depends", "order"),
    [
        ({}, ["app", "core", "db", "web"]),
        ({"app": ["core"], "core": ["db"]}, ["db", "web", "core", "app"]),
        # Compose enters what shares a network, and links, there, too.
        ({"app": ["web"], "web": ["core"]}, ["core", "db", "web", "app"]),
        ({"core": ["web", "gone"], "db": ["core"], "web": ["app"]}, ["app", "web", "core", "db"]),
    ],
)
@pytest.mark.parametrize("others", [False, True])
def test_what_is_stopped_starts_after_what_it_depends_on(
    engine: FakeDocker, start: Run, tmp_path: Path, depends: dict[str, list[str]], order: list[str], others: bool
) -> None:
    needs = {name: {"depends_on": {one: {"required": False} for one in depends.get(name, ())}} for name in order}
    bodies = {
        name: {**BODY, **(needs[name] if others else {"depends_on": depends.get(name, [])})} for name in sorted(order)
    }
    for name, body in bodies.items():
        add_container(engine, name, body, FOREIGN if others else OURS, state="exited")
    start(bodies, **(operators(tmp_path, {**bodies, "gone": BODY}) if others else {}), recreate="later")
    assert [line for line in changing(engine) if line.endswith("/start")] == [
        f"POST /containers/wa-a-{name}-1/start" for name in order
    ]


WITH_INIT: dict[str, t.Any] = {**BODY, "init": True}
FILES = f"{LABEL}project.config_files"
EARLIER = {f"{LABEL}version": "2.26.1", FILES: "{folder}/compose.yml"}


@pytest.mark.parametrize(
    ("labels", "recorded", "recreated"),
    [
        (OURS, BODY, True),
        (OURS, WITH_INIT, True),
        (FOREIGN, BODY, True),
        (OURS, None, True),
        (FOREIGN, None, True),
        # Of another version of Compose the hash says nothing.
        ({**FOREIGN, f"{LABEL}version": "2.26.1"}, BODY, False),
        ({**OURS, **EARLIER}, BODY, False),
        ({**OURS, **EARLIER, FILES: "{folder}/compose.yml,{folder}/more.yml"}, BODY, True),
        (OTHER, BODY, True),
        ({**OTHER, f"{LABEL}version": "2.26.1"}, None, True),
    ],
)
def test_containers_go_back_to_the_earlier_file_that_was_put_back(
    engine: FakeDocker,
    compose: FakeCompose,
    start: Run,
    tmp_path: Path,
    labels: dict[str, str],
    recorded: dict[str, t.Any] | None,
    recreated: bool,
) -> None:
    path, record = tmp_path / "compose.yml", tmp_path / "client-a.json"
    path.write_text(json.dumps({"services": {"core": BODY}}))
    record.write_text(json.dumps({"digests": f"core/hash={digest(recorded)}"} if recorded else {}))
    made_with = {name: text.replace("{folder}", str(tmp_path)) for name, text in labels.items()}
    add_container(engine, body=WITH_INIT, labels=made_with)
    given = {"content": None, "compose_files": [str(path)], "identity_file": str(record)}
    start(**given)
    again = [[str(path), *UP, "--force-recreate", "--no-deps", "--", "core"]]
    assert compose.ups == (again if recreated else [])


def test_a_restart_policy_is_put_right_in_place(
    engine: FakeDocker, compose: FakeCompose, start: Run, tmp_path: Path
) -> None:
    body = {**BODY, "restart": "on-failure:3"}
    add_container(engine, body=body)["HostConfig"] = {"RestartPolicy": {"Name": "no"}}
    given = operators(tmp_path, {"core": body})
    assert start(**given)["actions"] == [f"update {NAME} (restart policy on-failure)"]
    assert (changing(engine), compose.ups) == ([f"POST /containers/{NAME}/update"], [])
    policy = {"Name": "on-failure", "MaximumRetryCount": 3}
    assert engine.find(NAME)["HostConfig"] == {"RestartPolicy": policy}  # type: ignore[index]
    assert start(**given)["changed"] is False


def test_what_compose_says_is_the_reason_and_surplus_has_gone_before(
    engine: FakeDocker, compose: FakeCompose, start: Run, tmp_path: Path
) -> None:
    add_container(engine, "gone", state="exited")
    compose.up_complaint = f"Error response from daemon: {SECRET}: port is already allocated\n"
    assert start(env_file=write_env(tmp_path, DATABASE))["msg"] == (
        f"the client in {tmp_path} did not come up: Error response from daemon: <hidden>: port is already allocated."
    )
    assert changing(engine) == ["DELETE /containers/wa-a-gone-1?v=0"]


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
    JournalFile(str(tmp_path / "a.lock")).save(upgrade_journal.begin(None, claim, time.time(), 600, schema="started"))
    assert refused().startswith(f"lock {tmp_path}/a.lock: locked by the upgrade to 2.53.4 by ops from ctl, ")
    (tmp_path / "a.lock").unlink()
    other = engine.container("other", CORE, "b", environment=DATABASE)
    assert "two of one number get it banned" in refused()
    engine.containers.pop(other["Id"])
    assert refused(**operators(tmp_path, {"core": BODY}), version="2.53.4").endswith(". No container was touched.")
    assert start(files=files)["changed"]
    assert (path.read_text(), len(compose.ups)) == ("services: {}\n", 1)


def test_only_the_run_that_has_the_lock_starts_containers(compose: FakeCompose, start: Run, tmp_path: Path) -> None:
    """Its lease may have ended while it slept, and another controller's run has begun."""
    lock, ups = JournalFile(str(tmp_path / "a.lock")), compose.ups
    assert start(run_id="run-1")["msg"].startswith("lock: gone; expected this run's own")
    for number in ("2", "1"):
        claim = upgrade_journal.Claim("a", f"run-{number}", "ops", "ctl")
        lock.save(upgrade_journal.hold(None, claim, "h1", time.time(), 600))
        found = start(run_id="run-1")
        assert (found.get("msg", "").endswith(". Run again after that."), len(ups)) == (
            number == "2",
            number == "1",
        )


@pytest.mark.parametrize("upgrades", [False, True])
def test_only_an_upgrade_starts_a_held_client(compose: FakeCompose, start: Run, tmp_path: Path, upgrades: bool) -> None:
    """It has stopped the client itself."""
    (tmp_path / "a.hold").write_text("disk is replaced")
    claim = upgrade_journal.Claim("a", "run-1", "ops", "ctl", "2.53.4")
    made = upgrade_journal.begin(None, claim, time.time(), 600, schema="started")
    lock = made if upgrades else upgrade_journal.hold(None, claim, "h1", time.time(), 600)
    JournalFile(str(tmp_path / "a.lock")).save(lock)
    found = start(run_id="run-1")
    assert ("holds the client since" in found.get("msg", ""), len(compose.ups)) == (not upgrades, int(upgrades))


def test_files_are_written_before_the_lock_is_taken(write: Run, tmp_path: Path) -> None:
    assert write(tmp_path / "compose.yml", "services: {}\n", run_id="run-1")["changed"]
    claim = upgrade_journal.Claim("a", "run-2", "ops", "ctl")
    JournalFile(str(tmp_path / "a.lock")).save(upgrade_journal.hold(None, claim, "h1", time.time(), 600))
    refused = write(tmp_path / "compose.yml", "services: {a: {}}\n", run_id="run-1")
    assert refused["msg"].endswith(". Run again after that.")
    assert (tmp_path / "compose.yml").read_text() == "services: {}\n"


def test_a_hold_keeps_containers_and_lets_files_be_written(write: Run, tmp_path: Path) -> None:
    (tmp_path / "a.hold").write_text("")
    assert write(tmp_path / "compose.yml", "services: {}\n", recreate="never")["changed"]


def test_a_stop_takes_the_restart_policy_first_and_the_coreapp_last(run_module: Run, engine: FakeDocker) -> None:
    for name, image, state in (("core", CORE, "running"), ("web", WEB, "running"), ("other", CORE, "exited")):
        add = engine.container(f"wa-a-{name}-1", image, "wa-a", name, state)
        add["HostConfig"] = {"RestartPolicy": {"Name": "always" if name == "core" else "no"}}
    engine.container("wa-b-core-1", CORE, "wa-b", "core")
    options = {"state": "stopped", "project": "wa-a", "project_dir": "/srv/wa", "docker_host": engine.host}
    for check in (True, False):
        done = run_module(MODULE, options, check)
        assert sorted(done["stopped"]) == ["wa-a-core-1", "wa-a-web-1"]
        assert done["actions"] == ["stop wa-a-web-1", "stop wa-a-core-1"]
        if check:
            assert changing(engine) == []
    stops = [f"POST /containers/wa-a-{name}-1/stop?t=60" for name in ("web", "core")]
    assert changing(engine) == ["POST /containers/wa-a-core-1/update", *stops]
    again = run_module(MODULE, options)
    assert (again["changed"], again["stopped"]) == (False, [])


def test_a_stop_leaves_the_new_version_and_a_policy_that_starts_nothing(run_module: Run, engine: FakeDocker) -> None:
    for name, image, policy in (
        ("core", CORE, "unless-stopped"),
        ("web", WEB, "always"),
        ("new", CORE.replace("2.51.2", "2.53.4"), "always"),
    ):
        add = engine.container(f"wa-a-{name}-1", image, "wa-a", name)
        add["HostConfig"] = {"RestartPolicy": {"Name": policy}}
    options = {"state": "stopped", "project": "wa-a", "project_dir": "/srv/wa", "docker_host": engine.host}
    done = run_module(MODULE, {**options, "spared_version": "2.53.4", "restart_policy": "unless-stopped"})
    assert sorted(done["stopped"]) == ["wa-a-core-1", "wa-a-web-1"]
    assert changing(engine)[0] == "POST /containers/wa-a-web-1/update"
    assert engine.find("wa-a-new-1")["State"] == "running"  # type: ignore[index]


@pytest.mark.parametrize("state", ["running", "exited"])
@pytest.mark.parametrize("version", ["2.51.2", "2.53.4"])
@pytest.mark.parametrize(("down_at", "refused"), [(1.7e9, True), (1.8e9, False)], ids=["since", "before"])
def test_a_client_that_was_started_since_the_stop_makes_a_copy_incomplete(
    run_module: Run, engine: FakeDocker, tmp_path: Path, state: str, version: str, down_at: float, refused: bool
) -> None:
    """On any member, by its own clock, also where it was stopped again, or has gone."""
    claim = upgrade_journal.Claim("a", "m/1/1", "ann", "ops1", "2.53.4")
    journal = upgrade_journal.begin(None, claim, time.time(), 60)
    lock = tmp_path / "a.lock"
    lock.write_text(json.dumps({**journal, "notes": {"down_at": down_at}}))
    image = CORE.replace("2.51.2", version)
    core = engine.container("wa-a-core-1", image, "wa-a", "core", state, environment=DATABASE)
    core["StartedAt"] = "2026-01-01T00:00:00Z"
    own = {"lock_file": str(lock), "run_id": "m/1/1", "spared_version": "2.53.4", "docker_host": engine.host}
    options = {"state": "stopped", "project": "wa-a", "project_dir": str(tmp_path), **own}
    message = run_module(MODULE, {**options, "stays_stopped": [core["Id"]]}).get("msg") or ""
    started = "client in project wa-a: wa-a-core-1 started since the upgrade has stopped it; expected the containers that were stopped"
    assert message.startswith(started) is refused
    assert not (refused and changing(engine))
    message = run_module(MODULE, {**options, "stays_stopped": ["0123456789abcdef", core["Id"]]})["msg"]
    assert ("container 0123456789ab removed since the upgrade has stopped it" in message) is not refused
    assert not run_module(MODULE, options).get("failed")


def test_a_stop_waits_for_another_one(run_module: Run, engine: FakeDocker, tmp_path: Path) -> None:
    engine.container("wa-a-core-1", CORE, "wa-a", "core")
    options = {"state": "stopped", "project": "wa-a", "project_dir": str(tmp_path), "docker_host": engine.host}
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(run_module, MODULE, options)
        with pytest.raises(TimeoutError):
            job.result(0.5)
        assert changing(engine) == []
        os.close(handle)
        assert job.result(10)["changed"]


def test_what_was_stopped_is_started_again_and_nothing_else(
    run_module: Run, engine: FakeDocker, tmp_path: Path
) -> None:
    """The Compose file is parked meanwhile; a container of the new version, and one that runs, stay as they are."""
    path = tmp_path / "compose.yml"
    path.write_text(f"{HEADER}\nservices: {{core: {{}}}}\n")
    path.chmod(0o640)
    before = path.read_text()
    for name, image in (("core", CORE), ("web", WEB), ("new", CORE.replace("2.51.2", "2.53.4"))):
        state = "exited" if name == "new" else "running"
        engine.container(f"wa-a-{name}-1", image, "wa-a", name, state, environment=DATABASE)
    options = {
        "state": "stopped",
        "project": "wa-a",
        "project_dir": str(tmp_path),
        "compose_file": str(path),
        "park": True,
        "spared_version": "2.53.4",
        "docker_host": engine.host,
    }
    run_module(MODULE, options, True)
    assert path.read_text() == before
    for _again in range(2):
        run_module(MODULE, options)
        assert path.read_text().startswith(HEADER)
        assert path.read_text().endswith("services: {}\n")
        assert (tmp_path / "compose-parked.yml").read_text() == before
    engine.find("wa-a-web-1")["State"] = "paused"  # type: ignore[index]
    options["state"] = "started"
    engine.requests.clear()
    for check in (True, False):
        assert run_module(MODULE, options, check)["actions"] == ["start wa-a-core-1", "start wa-a-web-1"]
    assert changing(engine) == ["POST /containers/wa-a-core-1/start", "POST /containers/wa-a-web-1/unpause"]
    assert [(one.name, one.read_text()) for one in tmp_path.glob("*.yml")] == [("compose.yml", before)]
    assert path.stat().st_mode & 0o777 == 0o640
    assert run_module(MODULE, options)["changed"] is False


def test_a_compose_file_of_somebody_else_is_not_parked(run_module: Run, engine: FakeDocker, tmp_path: Path) -> None:
    path = tmp_path / "compose.yml"
    options = {"state": "stopped", "project": "wa-a", "project_dir": str(tmp_path), "compose_file": str(path)}
    for text in (None, "services: {}\n"):
        if text is not None:
            path.write_text(text)
        assert not run_module(MODULE, {**options, "park": True, "docker_host": engine.host}).get("failed")
        assert [one.read_text() for one in tmp_path.glob("*.yml")] == ([text] if text else [])


def test_a_new_file_takes_the_place_of_a_parked_one(write: Run, tmp_path: Path) -> None:
    path, kept = tmp_path / "compose.yml", tmp_path / "compose-parked.yml"
    path.write_text(f"{HEADER}\n")
    kept.write_text("")
    write(path, f"{HEADER}\nservices: {{}}\n", check=True)
    assert kept.exists()
    write(path, f"{HEADER}\nservices: {{}}\n")
    assert not kept.exists()


def test_a_file_that_was_written_since_it_was_parked_stays(run_module: Run, engine: FakeDocker, tmp_path: Path) -> None:
    path, kept = tmp_path / "compose.yml", tmp_path / "compose-parked.yml"
    path.write_text(f"{HEADER}\nnew: {{}}\n")
    kept.write_text(f"{HEADER}\nold: {{}}\n")
    engine.container("wa-a-core-1", CORE, "wa-a", "core", "exited", environment=DATABASE)
    options = {"state": "started", "project": "wa-a", "project_dir": str(tmp_path), "docker_host": engine.host}
    assert run_module(MODULE, {**options, "compose_file": str(path)})["changed"]
    assert path.read_text() == f"{HEADER}\nnew: {{}}\n"


def test_nothing_is_started_again_beside_a_second_coreapp(run_module: Run, engine: FakeDocker, tmp_path: Path) -> None:
    engine.container("wa-a-core-1", CORE, "wa-a", "core", "exited", environment=DATABASE)
    other = engine.container("other", CORE, "b", environment=DATABASE)
    options = {"state": "started", **place(engine, tmp_path)}
    assert "two of one number get it banned" in run_module(MODULE, options)["msg"]
    assert changing(engine) == []
    engine.containers.pop(other["Id"])
    assert run_module(MODULE, options)["actions"] == ["start wa-a-core-1"]


def test_of_two_stopped_coreapps_none_is_started_again(run_module: Run, engine: FakeDocker, tmp_path: Path) -> None:
    """Somebody has scaled the service, and nobody knows which one is the client's."""
    for number in (1, 2):
        engine.container(f"wa-a-core-{number}", CORE, "wa-a", "core", "exited", environment=DATABASE)
    options = {"state": "started", **place(engine, tmp_path)}
    for check in (True, False):
        assert "wa-a-core-1, wa-a-core-2 would run; expected one" in run_module(MODULE, options, check)["msg"]
    assert changing(engine) == []


def test_no_containers_to_start_again_are_an_error(run_module: Run, engine: FakeDocker) -> None:
    options = {"state": "started", "project": "wa-a", "project_dir": "/srv/wa", "docker_host": engine.host}
    assert run_module(MODULE, options)["msg"].startswith("project wa-a: no container of the client; expected those")


@pytest.mark.parametrize("left", [("core", "web"), ("web",), ()])
@pytest.mark.parametrize("ours", [True, False], ids=["our file", "operator's files"])
def test_what_somebody_has_removed_since_the_stop_is_made_again(
    run_module: Run, engine: FakeDocker, compose: FakeCompose, tmp_path: Path, left: tuple[str, ...], ours: bool
) -> None:
    """From the files as they are: what is to be started later has the next version."""
    services = {"core": {"image": CORE, "restart": "always"}, "web": {"image": WEB}}
    services["moves"] = {"image": CORE}  # was never here: it still runs on another host
    record = tmp_path / "client-a.json"
    record.write_text(json.dumps({"digests": "core/hash=h0 web/hash=h1 former/hash=h2"}))
    options = {"state": "started", "version": "2.51.2", **place(engine, tmp_path), **operators(tmp_path, services)}
    options["identity_file"] = str(record)
    if ours:
        later = {name: {"image": body["image"].replace("2.51.2", "2.53.4")} for name, body in services.items()}
        Path(options["compose_file"]).write_text(json.dumps({"services": services}))
        options.update(content=json.dumps({"services": later}), compose_files=None, services=[])
    for name in left:
        engine.container(f"wa-a-{name}-1", services[name]["image"], "wa-a", name, "exited", environment=DATABASE)
    removed = [name for name in ("core", "web") if name not in left]
    starts = [f"start wa-a-{name}-1" for name in left]
    makes = [f"create a container of {name}" for name in removed]
    for check in (True, False):
        actions = run_module(MODULE, options, check)["actions"]
        assert [one for one in actions if not one.startswith("update")] == starts + makes
        assert ("update wa-a-core-1 (restart policy always)" in actions) is ("core" in left and not ours)
        assert [up[-len(removed) :] for up in compose.ups] == ([removed] if removed and not check else [])
    for up in compose.ups:
        assert up[0] == (options["compose_file"] if ours else options["compose_files"][0])
        assert {"--no-recreate", "--no-deps"} < {*up}


@pytest.mark.parametrize("unreadable", ["db.env", "the Compose files"])
def test_what_stands_still_is_started_where_the_files_cannot_be_read(
    run_module: Run, engine: FakeDocker, compose: FakeCompose, tmp_path: Path, unreadable: str
) -> None:
    given = {**operators(tmp_path, {"web": {"image": WEB}}), "env_file": write_env(tmp_path, DATABASE)}
    if unreadable == "db.env":
        (tmp_path / unreadable).unlink()
        (tmp_path / unreadable).mkdir()
    else:
        compose.complaint = "yaml: line 3"
    engine.container("wa-a-web-1", WEB, "wa-a", "web", "exited", environment=DATABASE)
    done = run_module(MODULE, {"state": "started", **place(engine, tmp_path), **given})
    assert (done.get("failed"), done["actions"], compose.ups) == (None, ["start wa-a-web-1"], [])


def test_what_was_removed_is_not_made_in_another_version(
    run_module: Run, engine: FakeDocker, compose: FakeCompose, tmp_path: Path
) -> None:
    """An operator may have set the next version already. What is left is started all the same."""
    later = CORE.replace("2.51.2", "2.53.4")
    given = operators(tmp_path, {"core": {"image": later}, "web": {"image": WEB}})
    record = tmp_path / "client-a.json"
    record.write_text(json.dumps({"digests": "core/hash=h0"}))
    options = {"state": "started", "version": "2.51.2", **place(engine, tmp_path), **given}
    options["identity_file"] = str(record)
    engine.container("wa-a-web-1", WEB, "wa-a", "web", "exited", environment=DATABASE)
    done = run_module(MODULE, options)
    assert done["msg"] == (
        f"service core: its container was removed since the stop, and the Compose files give it {later}; expected version 2.51.2, "
        f"which has served. Set that version there, then docker compose up -d --no-recreate in {tmp_path}"
    )
    assert (changing(engine), compose.ups) == (["POST /containers/wa-a-web-1/start"], [])
    engine.container(
        "wa-a-core-1", later, "wa-a", "core", "created", environment=DATABASE
    )  # it would be started, and not made
    assert not run_module(MODULE, {**options, "spared_version": "2.53.4"}).get("failed")
    assert compose.ups == []


@pytest.mark.parametrize("state", ["stopped", "started"])
def test_a_host_that_another_run_has_locked_is_left_alone(
    run_module: Run, engine: FakeDocker, tmp_path: Path, state: str
) -> None:
    there = "running" if state == "stopped" else "exited"
    engine.container("wa-a-core-1", CORE, "wa-a", "core", there, environment=DATABASE)
    lock = JournalFile(str(tmp_path / "a.lock"))
    options = {"state": state, "project": "wa-a", "project_dir": "/srv/wa", "docker_host": engine.host}
    options.update(lock_file=lock.path, run_id="run-1")
    claim = upgrade_journal.Claim("a", "run-2", "ops", "ctl", "2.53.4")
    for held in (
        upgrade_journal.hold(None, claim, "h1", time.time(), 600),
        upgrade_journal.begin(None, claim, time.time(), 600),
        upgrade_journal.begin(None, claim, 0, 0, schema="started"),
    ):
        lock.save(held)
        assert run_module(MODULE, options)["msg"].startswith(f"lock {lock.path}: l")  # locked, or left unfinished
    assert changing(engine) == []
    # Its lease is over, and it has begun nothing. Or it has completed the upgrade, while this run slept.
    lock.save(upgrade_journal.begin(None, claim, 0, 0))
    assert run_module(MODULE, options)["msg"].startswith("lock: taken over by the upgrade to 2.53.4 by ops")
    lock.remove()
    assert run_module(MODULE, options)["msg"].startswith("lock: gone; expected this run's own")
    assert changing(engine) == []
    lock.save(upgrade_journal.begin(None, replace(claim, run_id="run-1"), 0, 0))
    assert run_module(MODULE, options)["changed"]


@pytest.mark.parametrize(
    ("state", "version", "spared", "outcome"),
    [
        ("running", "2.53.4", "2.53.4", "refused"),
        ("paused", "2.53.4", "2.53.4", "refused"),
        ("created", "2.53.4", "2.53.4", "removed"),
        ("exited", "2.53.4", "2.53.4", "left"),
        ("running", "2.50.1", "2.53.4", "left"),
        ("created", "2.53.4", "", "left"),
    ],
)
def test_no_old_version_is_started_beside_a_migration(
    run_module: Run, engine: FakeDocker, tmp_path: Path, state: str, version: str, spared: str, outcome: str
) -> None:
    """Somebody has started its container since the run has looked. One that was never started goes, so that nobody starts it later."""
    engine.container("wa-a-core-1", CORE, "wa-a", "core", "exited", environment=DATABASE)
    image = f"registry/coreapp:v{version}"
    one = engine.container("wa-a-dbupgrade-1", image, "wa-a", "dbupgrade", state, environment={"WA_DB_UPGRADE": "1"})
    path = tmp_path / "compose.yml"
    path.write_text(f"{HEADER}\n")
    options = {"project": "wa-a", "project_dir": str(tmp_path), "compose_file": str(path), "docker_host": engine.host}
    options["spared_version"] = spared
    run_module(MODULE, {**options, "state": "stopped", "park": True})
    one["State"] = state
    engine.requests.clear()
    done = run_module(MODULE, {**options, "state": "started"})
    if outcome == "refused":
        assert done["msg"] == (
            f"container wa-a-dbupgrade-1: {state}: somebody has started the migration to 2.53.4; expected none beside an older version. "
            "Run upgrade.yml again, which goes on from there"
        )
        assert (changing(engine), path.read_text().endswith("services: {}\n")) == ([], True)
    else:
        assert done["actions"] == ["start wa-a-core-1"]
        assert (one["Id"] in engine.containers) is (outcome == "left")


# The end of a migration starts what is wanted


@pytest.fixture
def migrate(
    run_module: Run, engine: FakeDocker, compose: FakeCompose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Waits for the end of a migration that is noted already. `meanwhile` is what happens between its end and the start."""
    assert compose.ups == []
    wait = migration_wait.allow
    lock = JournalFile(str(tmp_path / "a.lock"))

    def call(
        state: dict[str, t.Any],
        *,
        meanwhile: t.Callable[[], None] = lambda: None,
        check: bool = False,
        **options: t.Any,
    ) -> dict[str, t.Any]:
        begun = upgrade_journal.begin(None, CLAIM, time.time(), 600, schema="started")
        noted = upgrade_journal.note_migration(begun, CLAIM.run_id, state, time.time())
        assert noted is not None
        lock.save(noted)

        def allow(*given: t.Any) -> bool:
            ended = wait(*given)
            meanwhile()
            return ended

        monkeypatch.setattr(migration_wait, "allow", allow)
        given = {**place(engine, tmp_path), "content": json.dumps({"services": {"core": BODY}}), "profiles": []}
        given.update(state="migrated", run_id=CLAIM.run_id, start=True)
        return run_module(MODULE, {**given, **options}, check=check)

    return call


CLAIM = upgrade_journal.Claim("a", "run-1", "ops", "ctl", "2.53.4")
ENDED = {"state": "ended", "exit_code": 0, "idle": True}


@pytest.mark.parametrize(
    ("state", "asked", "started"),
    [
        (ENDED, True, True),
        (ENDED, False, False),
        ({**ENDED, "idle": False}, True, False),
        ({"state": "ended", "exit_code": 1, "log": "no such column"}, True, False),
        ({"state": "failed", "message": "compose: no such file."}, True, False),
    ],
    ids=["ended", "not asked", "the database is used", "exit code 1", "never started"],
)
def test_only_a_migration_that_has_ended_well_starts_the_new_version(
    compose: FakeCompose, migrate: Run, state: dict[str, t.Any], asked: bool, started: bool
) -> None:
    found = migrate(state, start=asked)
    assert (found["started"], len(compose.ups)) == (started, int(started))
    assert found.get("failed", False) is (state.get("exit_code") != 0)


def test_what_cannot_be_started_after_a_migration_fails_no_migration(compose: FakeCompose, migrate: Run) -> None:
    """The next call, which starts it alone, says why."""
    compose.up_complaint = "port is already allocated"
    found = migrate(ENDED)
    assert (found.get("failed"), found["started"], found["migration_ended"]) == (None, False, True)
    compose.up_complaint = ""
    assert migrate(ENDED)["started"]


@pytest.mark.parametrize("theirs", [False, True], ids=["our Compose file", "an operator's"])
def test_a_run_that_has_lost_its_lock_starts_nothing_after_the_migration(
    compose: FakeCompose, migrate: Run, tmp_path: Path, theirs: bool
) -> None:
    lock = JournalFile(str(tmp_path / "a.lock"))
    more = {**operators(tmp_path, {"core": BODY}), "version": "2.53.4"} if theirs else {}
    images = {"images": {"core": CORE.rpartition(":")[0]}} if theirs else {}
    before = {path: path.read_text() for path in tmp_path.glob("*.yml")}

    def take_over() -> None:
        lock.save(upgrade_journal.begin(lock.load(), replace(CLAIM, run_id="run-2"), time.time(), 600, take_over=True))

    found = migrate(ENDED, meanwhile=take_over, **more, **images)
    assert (found["started"], compose.commands) == (False, [])
    assert {path: path.read_text() for path in tmp_path.glob("*.yml")} == before


def test_check_mode_waits_for_no_migration(compose: FakeCompose, migrate: Run) -> None:
    found = migrate(ENDED, check=True)
    assert (found["actions"], found["started"], compose.commands) == (["allow the migration"], False, [])
