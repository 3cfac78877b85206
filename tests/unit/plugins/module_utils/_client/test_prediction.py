# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Compose must not do to a project. Each kind of refusal is tested with wa_client."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from fake_compose import FakeCompose, digest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._client import prediction
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

CORE = "registry.lab:5000/whatsapp/coreapp:v2.51.2"
SERVER = "mysql:8"
ENVIRONMENT = {"WA_DB_HOSTNAME": "db", "WA_CONFIG_ON_DB": "1"}
SERVICES: dict[str, dict[str, t.Any]] = {
    "core": {"image": CORE, "environment": ENVIRONMENT, "depends_on": {"db": {"condition": "service_started"}}},
    "db": {"image": SERVER},
}
DEFAULTS = {name: one.get("default") for name, one in prediction.ARGUMENT_SPEC.items()}
Refuse = t.Callable[..., "dict[str, list[str]]"]


@pytest.fixture
def refuse(engine: FakeDocker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Returns the refusals for the core of a project with a database server of the operator's, with other options."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for service, body in SERVICES.items():
        labels = {"com.docker.compose.config-hash": digest(body)}
        made = engine.container(
            f"wa-a-{service}-1", body["image"], "wa-a", service, labels=labels, environment=body.get("environment")
        )
        made["Labels"]["com.docker.compose.image"] = made["Image"]
        engine.images.setdefault(body["image"], {})

    def call(**options: t.Any) -> dict[str, list[str]]:
        given = {"project": "wa-a", "project_dir": str(tmp_path), "content": json.dumps({"services": SERVICES})}
        params = {**DEFAULTS, "docker_host": engine.host, **given, "services": ["core"], **options}
        project = prediction.open_project(FakeCompose(), params)
        steps = project.plan()
        return prediction.refusals(project, params, steps, project.calls(steps, []))

    return call


def test_nothing_to_refuse(refuse: Refuse) -> None:
    assert refuse() == {}


def test_another_version_in_the_operators_files(refuse: Refuse) -> None:
    assert refuse(version="2.51.2") == {}
    assert refuse(version="2.53.4") == {
        "versions": [
            f"service core: the Compose files give it the image {CORE}; expected version 2.53.4. "
            "Take the image out of the file that wa_client_compose_files names"
        ]
    }


@pytest.mark.parametrize(("service", "refused"), [("core", True), ("db", False)])
def test_another_build_of_the_client_is_refused_and_one_beside_it_is_the_operators(
    engine: FakeDocker, refuse: Refuse, service: str, refused: bool
) -> None:
    (container,) = (one for one in engine.containers.values() if one["Name"] == f"wa-a-{service}-1")
    container["Image"] = "sha256:" + "0" * 64
    assert list(refuse()) == (["builds"] if refused else [])


def test_a_service_that_only_the_collections_file_names_is_not_created(refuse: Refuse) -> None:
    services = {**SERVICES, "waweb": {"image": "registry.lab:5000/whatsapp/web:v2.51.2"}}
    assert refuse(content=json.dumps({"services": services}), services=["core", "waweb"]) == {
        "services": [
            "service waweb: the operator's Compose files do not define it; expected each service of the client there. "
            "Set its name there in wa_client_service_names, or add it to these files"
        ]
    }


def test_content_that_is_no_json() -> None:
    with pytest.raises(WaError, match="option content: no JSON"):
        prediction.open_project(FakeCompose(), {**DEFAULTS, "content": "services:"})
