# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must not be done to a project of an operator's Compose files. The other refusals are tested with wa_client."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from fake_compose import FakeCompose, digest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._client import prediction
from ansible_collections.waba.onprem.plugins.module_utils._compose import plan as compose_plan

CORE = "registry.lab:5000/whatsapp/coreapp:v2.51.2"
ENVIRONMENT = {"WA_DB_HOSTNAME": "db", "WA_CONFIG_ON_DB": "1"}
SERVICES: dict[str, dict[str, t.Any]] = {
    "core": {"image": CORE, "environment": ENVIRONMENT, "depends_on": {"db": {"condition": "service_started"}}},
    "db": {"image": "mysql:8"},
}
DEFAULTS = {name: one.get("default") for name, one in prediction.ARGUMENT_SPEC.items()}
Refuse = t.Callable[..., "dict[str, list[str]]"]


@pytest.fixture
def refuse(engine: FakeDocker, tmp_path: Path) -> Refuse:
    """Returns the refusals for the core of a project with a database server of the operator's, with other options."""
    for service, body in SERVICES.items():
        image, labels = body["image"], {"com.docker.compose.config-hash": digest(body)}
        environment = body.get("environment")
        engine.container(f"wa-a-{service}-1", image, "wa-a", service, labels=labels, environment=environment)
        engine.images[image] = {}
    own = tmp_path / "own.yml"
    own.write_text(json.dumps({"services": SERVICES}))

    def call(**options: t.Any) -> dict[str, list[str]]:
        where = {"docker_host": engine.host, "project": "wa-a", "project_dir": str(tmp_path), "profiles": []}
        params = {**DEFAULTS, **where, "compose_files": [str(own), "-"], "services": ["core"], **options}
        project = prediction.open_project(FakeCompose(), params)
        steps = project.plan()
        return prediction.refusals(project, params, steps, compose_plan.calls(steps))

    return call


def test_nothing_to_refuse(refuse: Refuse) -> None:
    assert refuse(version="2.51.2") == {}


def test_another_version_in_the_operators_files(refuse: Refuse) -> None:
    assert refuse(version="2.53.4") == {
        "versions": [
            f"service core: the Compose files give it the image {CORE}; expected version 2.53.4. "
            "Take the image out of the file that wa_client_compose_files names"
        ]
    }


@pytest.mark.parametrize(("service", "refused"), [("core", ["builds"]), ("db", [])])
def test_another_build_of_the_client_is_refused_and_one_beside_it_is_the_operators(
    engine: FakeDocker, refuse: Refuse, service: str, refused: list[str]
) -> None:
    for container in engine.containers.values():
        if container["Name"] == f"wa-a-{service}-1":
            container["Image"] = "sha256:" + "0" * 64
    assert list(refuse()) == refused


def test_a_service_that_only_the_collections_file_names_is_not_created(refuse: Refuse) -> None:
    content = {"services": {"waweb": {"image": "registry.lab:5000/whatsapp/web:v2.51.2"}}}
    assert refuse(content=json.dumps(content), services=["core", "waweb"]) == {
        "services": [
            "service waweb: the operator's Compose files do not define it; expected each service of the client there. "
            "Set its name there in wa_client_service_names, or add it to these files"
        ]
    }


@pytest.mark.parametrize(
    ("files", "written", "rendered"),
    [
        (None, "db.env", True),
        (["-"], "db.env", True),
        (["-", "own.yml"], "compose.yml", False),
        (["-", "own.yml"], "db.env", False),
        (["-", "own.yml"], "", True),  # a new host: Compose cannot read db.env
        (["own.yml", "-"], "", False),
    ],
)
def test_compose_reads_the_files_of_an_operator_once_there_is_a_client(
    engine: FakeDocker, tmp_path: Path, files: list[str] | None, written: str, rendered: bool
) -> None:
    ours = {"compose_file": str(tmp_path / "compose.yml"), "env_file": str(tmp_path / "db.env")}
    (tmp_path / (written or "other")).touch()
    where = {"docker_host": engine.host, "project": "wa-a", "project_dir": "/srv", "services": ["core"]}
    project = prediction.open_project(FakeCompose(), {**DEFAULTS, **where, **ours, "compose_files": files})
    assert project.compose.rendered is rendered
    assert project.selected == ([] if files and not written and files[0] == "-" else ["core"])
