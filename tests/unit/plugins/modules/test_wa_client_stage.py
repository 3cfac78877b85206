# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_client with `stage`: a Compose file is written if nothing would be lost by it, and otherwise not."""

from __future__ import annotations

import json
import stat
import typing as t
from pathlib import Path

import pytest
from fake_compose import FakeCompose
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import DEFINITION_LABEL, HEADER

MODULE = "wa_client"
IMAGE = "registry.lab:5000/whatsapp/coreapp:v{}"
SECRET = "Canary-82-Pw"
ENVIRONMENT = {"WA_DB_ENGINE": "MYSQL", "WA_DB_HOSTNAME": "db", "WA_CONFIG_ON_DB": "1", "WA_DB_PASSWORD": SECRET}
BODY: dict[str, t.Any] = {"labels": {DEFINITION_LABEL: "d1"}, "restart": "no", "networks": []}
TEXT = f"{HEADER}\nservices: {{}}\n"
Run = t.Callable[..., "dict[str, t.Any]"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "compose-2.53.4.yml"


@pytest.fixture
def stage(run_module: Run, engine: FakeDocker, compose: FakeCompose, path: Path) -> Run:
    """Stages version 2.53.4 of a project that runs 2.51.2, with the database's host and other options."""
    engine.container("wa-a-core-1", IMAGE.format("2.51.2"), "wa-a", "core", environment=ENVIRONMENT)
    assert compose.commands == []
    env = path.with_name("db.env")
    env.write_text("".join(f"{key}={value}\n" for key, value in ENVIRONMENT.items()))

    def call(hostname: str = "db", *, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        body = {**BODY, "image": IMAGE.format("2.53.4"), "environment": {**ENVIRONMENT, "WA_DB_HOSTNAME": hostname}}
        given = {
            "docker_host": engine.host,
            "stage": True,
            "files": [{"path": str(path), "content": TEXT, "mode": "0640"}],
            "content": json.dumps({"services": {"core": body}}),
            "project": "wa-a",
            "project_dir": str(path.parent),
            "version": "2.53.4",
            "env_file": str(env),
            **options,
        }
        found = run_module(MODULE, given, check=check)
        assert all(line.startswith("GET ") for line in engine.requests)
        assert SECRET not in json.dumps(found)
        return found

    return call


def test_it_is_predicted_written_and_left(stage: Run, compose: FakeCompose, path: Path) -> None:
    predicted = stage(check=True)
    assert not path.exists()
    written = stage()
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (TEXT, 0o640)
    for found in (predicted, written):
        assert (found["changed"], found["actions"]) == (True, [f"wrote {path}"])
        assert (found["diff"]["before"], found["diff"]["after"]) == ("", TEXT)
    for check in (False, True):
        again = stage(check=check)
        assert (again["changed"], again["actions"]) == (False, [])
    assert [command[-2:] for command in compose.commands] == [
        ["config", "--quiet"]
    ] * 2  # each time before it is written


@pytest.mark.parametrize("check", [True, False])
def test_what_would_be_another_client_is_not_written(stage: Run, path: Path, check: bool) -> None:
    found = stage("other", check=check)
    assert found["failed"]
    assert found["msg"].startswith("compose.yml of project wa-a: another client than the one that is there: ")
    assert found["msg"].endswith(". Nothing was written.")
    assert not path.exists()
    stage("other", confirm_identity={"hostname": "other"})
    assert path.exists()


def test_a_service_of_the_operators_may_differ(stage: Run, engine: FakeDocker, path: Path) -> None:
    """An upgrade does not touch it."""
    engine.container("wa-a-db-1", "mysql:8", "wa-a", "db", environment={"MYSQL_ROOT_PASSWORD": "old"})
    server = {"image": "mysql:8", "environment": {"MYSQL_ROOT_PASSWORD": SECRET}}
    core = {"image": IMAGE.format("2.53.4"), "environment": ENVIRONMENT, "depends_on": {"db": {}}}
    own = path.with_name("own.yml")
    own.write_text(json.dumps({"services": {"core": core, "db": server}}))
    found = stage(content='{"services": {}}', compose_files=[str(own), "-"], services=["core"], profiles=[])
    assert found["pending"] == []
    assert path.exists()


def test_a_corrected_build_of_the_version_is_taken(stage: Run, engine: FakeDocker, path: Path) -> None:
    for one in engine.containers.values():
        one["Image"], one["Config"]["Image"] = "sha256:" + "0" * 64, IMAGE.format("2.53.4")
    assert "failed" not in stage()
    assert path.exists()


def test_the_text_is_hidden_in_the_log_and_whole_in_the_diff(stage: Run) -> None:
    found = stage(_ansible_inject_invocation=True)
    assert TEXT not in json.dumps(found["invocation"]["module_args"])
    assert found["diff"]["after"] == TEXT
