# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client keeps the Compose files that its operator started it with, in every layout of them that is usual."""

from __future__ import annotations

import os
import typing as t
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import docker
from engine import SERVICE
from operator_layouts import LEFT_ALONE, RARE, USUAL
from operator_project import NEW, OLD, REGISTRY, Adopted, Operator

# What a migration does not have of its Coreapp, and what it has of its own.
NODE = {
    *(
        "build",
        "container_name",
        "depends_on",
        "deploy",
        "domainname",
        "environment",
        "expose",
        "healthcheck",
        "hostname",
    ),
    *(
        "image",
        "labels",
        "ports",
        "profiles",
        "pull_policy",
        "restart",
        "scale",
        "stop_grace_period",
        "stop_signal",
    ),
}


@dataclass
class Case:
    """A started client, and its adoption."""

    operator: Operator
    adopted: Adopted


@pytest.fixture(scope="module")
def images(image: str) -> t.Iterator[str]:
    """The path of images of the client in two versions, and of a database beside it."""
    path = f"t{uuid.uuid4().hex[:8]}"
    client = [f"{path}/{kind}:v{version}" for kind in ("web", "coreapp") for version in (OLD, NEW)]
    names = [*client, *(f"{REGISTRY}/{name}" for name in (*client, f"{path}/db:v1"))]
    text = f'FROM {image}\nCMD ["sleep", "infinity"]\n'
    built = docker("build", "--quiet", "-", stdin=text, env={**os.environ, "DOCKER_BUILDKIT": "0"})
    try:
        for name in names:
            docker("tag", built, name)
        yield path
    finally:
        docker("image", "rm", *names, check=False)


# The layouts of CI; the others are run in the deep layer.
CI = {
    "version in .env",
    "env_file and environment as lists, dollar signs in secrets",
    "limits, bound folders, secrets and configs",
    "database, cache and a preparation in the project",
}
LAYOUTS = {**USUAL, **RARE}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(layout, id=name, marks=() if name in CI else pytest.mark.deep) for name, layout in LAYOUTS.items()
    ],
)
def case(
    request: pytest.FixtureRequest, images: str, docker_engine: str, tmp_path_factory: pytest.TempPathFactory
) -> t.Iterator[Case]:
    operator = Operator(request.param, tmp_path_factory.mktemp("operator"), images, docker_engine)
    try:
        operator.start()
        adopted = Adopted(operator)
        adopted.write()
        yield Case(operator, adopted)
    finally:
        operator.clean()


def test_the_inventory_has_how_the_client_was_started(case: Case) -> None:
    operator, layout = case.operator, case.operator.layout
    expected = {
        "dir": operator.path(layout.project_dir),
        "files": [operator.path(name) for name in layout.compose_files],
        **layout.adopted,
    }
    if "environment" in layout.adopted:
        expected["environment"] = {key: operator.text(value) for key, value in layout.adopted["environment"].items()}
    if "env_files" in layout.adopted:
        expected["env_files"] = [operator.text(path) for path in layout.adopted["env_files"]]
    assert case.adopted.compose_variables() == expected
    assert "Compose files use" not in case.adopted.report
    assert "docker compose up` in" not in case.adopted.report


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_what_is_beyond_is_left_alone_with_what_to_change(
    name: str, images: str, docker_engine: str, tmp_path: Path
) -> None:
    operator = Operator(LEFT_ALONE[name], tmp_path, images, docker_engine)
    try:
        operator.start()
        adopted = Adopted(operator)
        assert adopted.variables == {}
        assert f": {operator.text(operator.layout.left)}" in adopted.report
        assert "Then run adopt.yml again" in adopted.report
    finally:
        operator.clean()


def test_every_container_is_kept(case: Case) -> None:
    before = case.operator.ids()
    plan = case.adopted.plan()
    assert (plan["changes"], plan["pending"], plan["calls"]) == ([], [], [])
    assert plan["refusals"] == {}
    case.adopted.up()
    assert case.operator.ids() == before


def test_a_missing_container_is_created_and_the_others_are_kept(case: Case) -> None:
    before = case.operator.ids()
    services = case.adopted.called["services"]
    running = case.operator.engine.containers(case.operator.project)
    # The first one: of it the next adoption reads the options of Compose.
    gone, old = min((name, one) for name, one in running.items() if one["Config"]["Labels"][SERVICE] in services)
    docker("rm", "--force", gone)
    plan = case.adopted.plan()
    assert (plan["changes"], plan["pending"]) == ([f"create {gone} (is missing)"], [])
    service = old["Config"]["Labels"][SERVICE]
    assert plan["calls"] == [{"services": [service], "dependencies": True, "recreate": "never"}]
    assert plan["refusals"] == {}
    case.adopted.up("--no-recreate", service)
    after = case.operator.ids()
    assert {name for name in {*before, *after} if before.get(name) != after.get(name)} == {gone}
    new = case.operator.engine.container(gone)
    assert mounts(new) == mounts(old)
    assert [*new["NetworkSettings"]["Networks"]] == [*old["NetworkSettings"]["Networks"]]
    assert sorted(new["Config"]["Env"]) == sorted(old["Config"]["Env"])
    assert Adopted(case.operator).compose_variables() == case.adopted.compose_variables()


def mounts(container: dict[str, t.Any]) -> list[tuple[str, ...]]:
    """The mounts of a container, without volumes that have no name."""
    found = [(one["Type"], one.get("Name") or one.get("Source", ""), one["Destination"]) for one in container["Mounts"]]
    return sorted(found)


def test_the_migration_has_the_database_of_the_coreapp(case: Case) -> None:
    before = case.operator.contents()
    made, core = case.adopted.migration()
    assert made["image"] == core["image"].replace(OLD, NEW)
    assert (made["profiles"], made["restart"]) == (["dbupgrade"], "no")
    node = ("COREAPP_", "WEBAPP_", "WACORE_", "WA_APP_MULTICONNECT", "WA_MASTER_NODE")
    environment = {key: value for key, value in core["environment"].items() if not key.startswith(node)}
    assert made["environment"] == {**environment, "WA_DB_UPGRADE": "1"}
    assert {*(made.get("networks") or ())} == {*(core.get("networks") or ())}
    kept = [
        {key: value for key, value in one.items() if key not in NODE and key != "networks" and value is not None}
        for one in (made, core)
    ]
    assert kept[0] == kept[1]
    linked = {"depends_on"} if made.get("links") else set()  # as Compose reads a link
    assert {*made} & NODE <= {"image", "environment", "profiles", "restart", "stop_signal", *linked}
    assert case.operator.contents() == before


def test_the_version_is_set_in_the_files_of_the_operator(case: Case) -> None:
    operator, layout = case.operator, case.operator.layout
    before, images = operator.contents(), operator.images()
    predicted = case.adopted.upgrade(check=True)
    assert operator.contents() == before
    if layout.refused:
        done = case.adopted.upgrade()
        assert (predicted["msg"], done["msg"]) == (operator.text(layout.refused),) * 2
        assert (predicted["changed"], done["changed"], operator.contents()) == (False, False, before)
        return
    changes = [(name, operator.text(text)) for name, texts in layout.version.items() for text in texts]
    expected = [f"{operator.path(name)}: {text} becomes {text.replace(OLD, NEW)}" for name, text in changes]
    assert sorted(predicted["actions"]) == sorted(expected)
    done = case.adopted.upgrade()
    assert (done.get("msg"), done["actions"], done["diff"]) == (None, predicted["actions"], predicted["diff"])
    assert case.adopted.upgrade()["actions"] == []
    assert operator.contents() == {name: (mode, operator.edited(name, data)) for name, (mode, data) in before.items()}
    assert operator.images() == sorted(image.replace(OLD, NEW) for image in images)
