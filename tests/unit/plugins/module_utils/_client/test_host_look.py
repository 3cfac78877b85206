# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may forbid a change of a host is read the same by the comparison and by wa_info."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._client import host_look
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker

Run = t.Callable[..., dict[str, t.Any]]
GUARD = {
    "unmanaged": {
        "project": "wa-a",
        "neighbours": [],
        "database": "db.lab:3306/",
        "known": [],
        "names": [],
    },
    "adopt": "ansible-playbook adopt",
    "single": True,
    "services": [],
}


def options(folder: Path) -> dict[str, t.Any]:
    return {
        "container_names": [],
        "guard": GUARD,
        "env_file": f"{folder}/db.env",
        "env_format": "portable",
        "identity_file": f"{folder}/client.json",
        "compose_file": f"{folder}/compose.yml",
        "lock_file": f"{folder}/a.lock",
    }


def test_it_is_what_wa_info_returns(engine: FakeDocker, run_module: Run, tmp_path: Path) -> None:
    (tmp_path / "db.env").write_text("WA_DB_ENGINE=MYSQL\nWA_DB_HOSTNAME=db.lab\nWA_DB_PORT=3306\n")
    (tmp_path / "a.hold").write_text("it moves on Monday\n")
    engine.container("wa-a-wacore-1", project="wa-a", service="wacore")
    engine.container("other", project="", environment={"WA_DB_HOSTNAME": "db.lab", "WA_DB_PORT": "3306"})
    reached = Docker({"docker_host": engine.host, "docker_timeout": "5s", "client_images": None})
    found = host_look.read(reached, options(tmp_path))
    assert found["hold"]["reason"] == "it moves on Monday"
    assert found["identity"]["db_env"]["hostname"] == "db.lab"
    assert "other" in found["guard"]["refusal"]
    read = run_module(
        "wa_info", {"gather": ["containers", "identity"], "docker_host": engine.host, **options(tmp_path)}
    )
    assert {key: read[key] for key in found if key != "containers"} == {
        key: value for key, value in found.items() if key != "containers"
    }
    assert [{**one, "layer_media": ""} for one in found["containers"]] == read["containers"]


def test_a_compose_file_of_somebody_else_is_refused(engine: FakeDocker, tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text("services: {}\n")
    reached = Docker({"docker_host": engine.host, "docker_timeout": "5s", "client_images": None})
    with pytest.raises(WaError, match=r"compose\.yml"):
        host_look.read(reached, options(tmp_path))
