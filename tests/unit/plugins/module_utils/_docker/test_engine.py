# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of the engine: the client's containers and their image names. test_transport.py tests the connection."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from fake_docker import LAUNCH, FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import (
    Container,
    Docker,
    Mount,
    health,
    is_id,
)
from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import NotFound

CORE = "registry.lab:5000/whatsapp/coreapp:v2.53.4"
SECRET = "Canary-71-Pw"


def connect(engine: FakeDocker, **more: t.Any) -> Docker:
    params = {"docker_host": engine.host, "docker_timeout": "5s"}
    return Docker({**params, **more})


def version(newest: str | None, oldest: str | None = None) -> dict[str, str]:
    return {key: text for key, text in (("ApiVersion", newest), ("MinAPIVersion", oldest)) if text}


@pytest.mark.parametrize(
    ("about", "used"),
    [
        (version("1.45", "1.24"), "1.45"),
        (version("1.41"), "1.41"),
        (version("1.9"), "1.9"),  # compared as numbers
        (version("1.52", "1.44"), "1.45"),
        (version("1.60", "1.50"), "1.50"),
        ({}, "1.45"),
    ],
)
def test_the_api_version_is_the_newest_that_both_support(
    engine: FakeDocker, monkeypatch: pytest.MonkeyPatch, about: dict[str, str], used: str
) -> None:
    monkeypatch.setattr(engine, "_version", lambda **_rest: (200, about))
    docker = connect(engine)
    assert (docker.version, docker.about) == (used, about)
    assert engine.requests == ["GET /version"]


# Selection of containers


def names(containers: t.Iterable[Container]) -> list[str]:
    return [one.name for one in containers]


def test_client_containers_are_selected_by_evidence_and_sorted(engine: FakeDocker) -> None:
    engine.container("z-core", CORE)
    engine.container("a-web", "x/web:v1")
    engine.container("stranger", "x/web:v1", command=["nginx"])
    engine.container("launched", "other/image:1", command=LAUNCH)
    engine.container("mounted", "y/web:1", command=["x"], volume="media")
    engine.container("environment", "z/coreapp:1", command=["x"], environment={"WA_DB_HOSTNAME": "db"})
    found = connect(engine).client_containers()
    assert names(found) == ["a-web", "environment", "launched", "mounted", "z-core"]
    # One list, and an inspection of those that only their environment identifies.
    assert engine.count == 1 + 2
    assert {one.name: one.environment for one in found if one.environment is not None} == {
        "environment": {"WA_DB_HOSTNAME": "db"}
    }


def test_configured_images_decide_selection_and_role(engine: FakeDocker) -> None:
    engine.container("a", "own/front:1", command=["x"])
    engine.container("b", "own/back:1", command=["x"])
    docker = connect(engine, client_images={"web": ["own/front"], "coreapp": ["own/back"]})
    assert [(one.name, one.role) for one in docker.client_containers()] == [("a", "web"), ("b", "core")]


def test_containers_of_several_projects_need_a_choice(engine: FakeDocker) -> None:
    engine.container("a-1", project="a")
    engine.container("b-1", project="b", state="exited")
    engine.container("plain", project="")
    docker = connect(engine)
    assert names(docker.client_containers("a")) == ["a-1"]
    assert names(docker.client_containers("b", stopped=False)) == []
    assert names(docker.client_containers("")) == ["plain"]
    assert names(docker.client_containers(all_projects=True)) == ["a-1", "b-1", "plain"]
    assert names(docker.client_containers(all_projects=True, stopped=False)) == ["a-1", "plain"]
    with pytest.raises(WaError) as error:
        docker.client_containers()
    assert str(error.value) == (
        "client containers: more than one project on this host: (outside Compose), a, b; expected one, or the option project. "
        'Set project to one of them ("" for the containers outside Compose)'
    )


def test_a_container_given_by_name_is_included(engine: FakeDocker) -> None:
    engine.container("odd", "other/image:1", project="a")
    docker = connect(engine)
    assert names(docker.client_containers(names=["odd"])) == ["odd"]
    assert docker.client_containers(names=["odd"])[0].role == "other"
    assert names(docker.client_containers("b", names=["odd"])) == []


# Image names


def record(engine: FakeDocker, name: str, tags: list[str], digests: list[str]) -> None:
    """Let the engine return these names of an image."""
    own = engine.answer

    def answer(method: str, path: str, *rest: t.Any) -> tuple[int, t.Any]:
        if path == f"/images/{name}/json":
            engine.requests.append(f"looked at {name}")
            return 200, {"Id": name, "RepoTags": tags, "RepoDigests": digests, "Config": {}}
        return own(method, path, *rest)

    engine.answer = answer  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize(
    ("tags", "image"),
    [
        (["x/other:1", CORE], CORE),  # same repository
        (["mirror/coreapp:v2.53.4", "x/other:1"], "mirror/coreapp:v2.53.4"),  # an image name of the client
        (["x/other:1"], "registry.lab:5000/whatsapp/coreapp@sha256:d1"),
        ([], "registry.lab:5000/whatsapp/coreapp@sha256:d1"),
    ],
)
def test_an_image_given_by_digest_has_the_name_of_its_tag(engine: FakeDocker, tags: list[str], image: str) -> None:
    pinned = "registry.lab:5000/whatsapp/coreapp@sha256:d1"
    engine.container("core", pinned)
    record(engine, pinned, tags, [])
    (found,) = connect(engine).client_containers()
    assert found.image == image


def test_an_image_that_lost_its_tag_has_the_name_of_the_container(engine: FakeDocker) -> None:
    engine.container("core", CORE, lost_image=True)
    (found,) = connect(engine).client_containers()
    assert found.image == CORE
    assert engine.count == 2


def test_an_image_without_a_name_has_one_of_its_digests(engine: FakeDocker) -> None:
    made = engine.container("core", CORE, command=LAUNCH)
    made["Config"]["Image"] = made["Image"]
    record(engine, made["Image"], ["x/other:1"], ["mirror/coreapp@sha256:d1"])
    (found,) = connect(engine).client_containers()
    assert found.image == "mirror/coreapp@sha256:d1"


@pytest.mark.parametrize(
    ("image", "by_id"),
    [("sha256:abcdef", True), ("abc", True), ("abcdef", True), ("abd", False), ("web:v1", False)],
)
def test_ids_are_recognised(image: str, by_id: bool) -> None:
    assert is_id(image, {"ImageID": "sha256:abcdef"}) is by_id


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({}, ""),
        ({"Health": None}, ""),
        ({"Health": {"Status": "healthy", "FailingStreak": 0}}, "healthy"),
        ({"Health": {"Status": "healthy", "FailingStreak": 2}}, "healthy"),
        ({"Health": {"Status": "unhealthy", "FailingStreak": 3}}, "unhealthy"),
        # of a container that was paused and unpaused
        ({"Health": {"Status": "unhealthy", "FailingStreak": 0, "Log": []}}, "starting"),
    ],
)
def test_an_unhealthy_container_has_a_failed_check(state: dict[str, t.Any], expected: str) -> None:
    assert health({"State": state}) == expected


def test_a_container_removed_during_the_inspection_is_left_out(engine: FakeDocker) -> None:
    made = engine.container("core", CORE, lost_image=True)
    engine.failures[f"GET /containers/{made['Id']}/json"] = (404, "No such container")
    assert connect(engine).client_containers() == []


# One container


def test_list_and_inspection_return_the_same_container(engine: FakeDocker) -> None:
    engine.container(
        "biz-wacore-1",
        CORE,
        service="wacore",
        mounts=[engine.mount("media"), engine.mount("/srv/x", "/x", kind="bind", rw=False)],
        environment={"WA_DB_PASSWORD": SECRET, "EMPTY": "", "EQUALS": "a=b"},
    )
    docker = connect(engine)
    (listed,) = docker.client_containers()
    named = docker.container("biz-wacore-1")
    assert listed == named
    assert listed.mounts == [
        Mount("volume", "media", "/usr/local/wamedia", True),
        Mount("bind", "/srv/x", "/x", False),
    ]
    assert (listed.project, listed.service, listed.state, listed.running) == ("biz", "wacore", "running", True)
    assert listed.environment is None
    assert docker.inspect(listed) is not None
    assert listed.environment == {"WA_DB_PASSWORD": SECRET, "EMPTY": "", "EQUALS": "a=b"}
    assert SECRET not in repr(listed)
    assert LAUNCH[-1] not in repr(listed)


@pytest.mark.parametrize(
    ("state", "running"), [("running", True), ("paused", False), ("restarting", False), ("exited", False)]
)
def test_a_command_can_run_only_in_a_running_container(engine: FakeDocker, state: str, running: bool) -> None:
    engine.container("core", state=state)
    (found,) = connect(engine).client_containers()
    assert found.running is running


@pytest.mark.parametrize(
    ("image", "environment", "role"),
    [
        ("x/web:v1", {}, "web"),
        (CORE, {}, "core"),
        (CORE, {"WA_MASTER_NODE": "1"}, "master"),
        (CORE, {"WA_MASTER_NODE": "0"}, "core"),
        ("x/web:v1", {"WA_MASTER_NODE": "1"}, "web"),
    ],
)
def test_the_role_of_a_container(engine: FakeDocker, image: str, environment: dict[str, str], role: str) -> None:
    engine.container("one", image, environment=environment)
    docker = connect(engine)
    (found,) = docker.client_containers()
    docker.inspect(found)
    assert found.role == role


DATABASE = {"WA_DB_HOSTNAME": "db.lab"}


@pytest.mark.parametrize(
    ("state", "labels", "environment", "one_shot"),
    [
        ("running", {}, DATABASE, False),
        ("exited", {}, DATABASE, False),
        ("running", {}, {}, False),
        ("created", {}, {}, True),
        ("exited", {}, {}, True),
        ("dead", {}, {}, True),
        ("paused", {}, {}, False),
        ("running", {}, {**DATABASE, "WA_DB_UPGRADE": "1"}, True),
        ("running", {}, {**DATABASE, "WA_DB_UPGRADE": "0"}, False),
        ("running", {"com.docker.compose.oneoff": "True"}, DATABASE, True),
        ("running", {"com.docker.compose.oneoff": "False"}, DATABASE, False),
    ],
)
def test_one_shot_containers(state: str, labels: dict[str, str], environment: dict[str, str], one_shot: bool) -> None:
    assert Container("c" * 64, "core", CORE, state, labels, [], environment=environment).one_shot is one_shot


def test_a_container_outside_compose_has_its_name_as_service(engine: FakeDocker) -> None:
    engine.container("core", project="")
    (found,) = connect(engine).client_containers()
    assert (found.project, found.service) == ("", "core")


def test_a_container_is_found_by_name_or_id_until_it_is_removed(engine: FakeDocker) -> None:
    made = engine.container("core")
    docker = connect(engine)
    one = docker.container(made["Id"][:12])
    assert one is not None
    assert (one.name, one.id) == ("core", made["Id"])
    assert docker.inspect_id(made["Id"]) == docker.inspect(one)
    del engine.containers[made["Id"]]
    assert (docker.container("core"), docker.inspect(one), docker.inspect_id(made["Id"])) == (None, None, None)


def test_a_container_with_links_has_its_own_name(engine: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    made = engine.container("core")
    listed = engine._list

    def linked(**arguments: t.Any) -> tuple[int, t.Any]:
        status, rows = listed(**arguments)
        return status, [{**row, "Names": names} for row in rows]

    monkeypatch.setattr(engine, "_list", linked)
    for given, name in ((["/web/alias", "/core"], "core"), ([], made["Id"][:12]), (None, made["Id"][:12])):
        names = given
        assert connect(engine).client_containers()[0].name == name


# Other requests


def test_rows_are_filtered_by_the_engine(engine: FakeDocker) -> None:
    engine.container("a", labels={"x": "1"})
    engine.container("b")
    docker = connect(engine)
    assert [row["Names"] for row in docker.rows("rows", filters={"label": ["x=1"]})] == [["/a"]]
    assert len(docker.rows("rows")) == 2
    assert engine.calls[1] == "GET /containers/json?all=1"
    assert json.dumps({"label": ["x=1"]}) not in engine.calls[0]  # quoted


def test_a_missing_image_or_volume_is_none_and_a_failure_is_an_error(engine: FakeDocker) -> None:
    docker = connect(engine)
    assert (docker.image("none"), docker.volume("none")) == (None, None)
    engine.failures["GET /images"] = (500, "broken")
    with pytest.raises(WaError) as error:
        docker.image("reg/web:v1")
    assert str(error.value) == "image reg/web:v1: Docker refused: broken."


def test_a_missing_object_of_a_direct_request_is_an_error(engine: FakeDocker) -> None:
    with pytest.raises(NotFound) as error:
        connect(engine).request("network x", "GET", "/networks/x")
    assert str(error.value) == "network x: Docker does not have it: network x not found."


def test_special_characters_in_names_are_quoted(engine: FakeDocker) -> None:
    docker = connect(engine)
    docker.volume("a/b c")
    docker.image("reg:5000/a b@sha256:x")
    docker.container("a/b")
    assert engine.requests[1:] == [
        "GET /volumes/a%2Fb%20c",
        "GET /images/reg:5000/a%20b@sha256:x/json",
        "GET /containers/a%2Fb/json",
    ]


def test_an_archive_is_truncated_and_a_missing_one_is_an_error(
    engine: FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = connect(engine)
    with pytest.raises(NotFound) as error:
        docker.archive("c" * 64, "/opt/ca.pem", 10)
    assert error.value.subject == f"/opt/ca.pem in container {'c' * 12}"
    assert engine.requests[1:] == [f"GET /containers/{'c' * 64}/archive?path=%2Fopt%2Fca.pem"]
    monkeypatch.setattr(engine, "answer", lambda *_arguments: (200, "x" * 100))
    assert docker.archive("c", "/opt/ca.pem", 10) == b'"xxxxxxxxx'


def test_changes_of_a_layer_leave_out_deleted_paths(engine: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = [{"Path": f"/{kind}", "Kind": kind} for kind in range(3)]
    docker = connect(engine)
    monkeypatch.setattr(engine, "answer", lambda *_arguments: (200, layer))
    assert docker.changes("c" * 64) == ["/0", "/1"]
    monkeypatch.setattr(engine, "answer", lambda *_arguments: (200, None))
    assert docker.changes("c" * 64) == []
    assert engine.requests[1:] == [f"GET /containers/{'c' * 64}/changes"] * 2
    monkeypatch.undo()
    with pytest.raises(NotFound) as error:
        docker.changes("c" * 64)
    assert error.value.subject == f"layer of container {'c' * 12}"


def test_info_of_the_engine(engine: FakeDocker) -> None:
    assert connect(engine).info()["ID"] == "fake-engine"


@pytest.mark.parametrize(
    ("recorded", "found"),
    [
        ("docker-compose.yml", "deploy/docker-compose.yml"),
        ("deploy/docker-compose.yml", "deploy/docker-compose.yml"),  # called in the folder above
        ("../docker-compose.yml", "deploy/docker-compose.yml"),  # called in a folder below
        ("gone.yml", "deploy/gone.yml"),
        ("/opt/waba/biz/docker-compose.yml", "/opt/waba/biz/docker-compose.yml"),
    ],
)
def test_the_files_of_compose_v1_are_found_from_where_it_was_called(tmp_path: Path, recorded: str, found: str) -> None:
    folder = tmp_path / "deploy"
    folder.mkdir()
    (folder / "docker-compose.yml").touch()
    labels = {docker_engine.FOLDER_LABEL: str(folder), docker_engine.FILES_LABEL: recorded}
    assert docker_engine.compose_files(labels) == [str(tmp_path / found)]
