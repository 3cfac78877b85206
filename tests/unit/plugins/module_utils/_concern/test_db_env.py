# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The concern db_env as the comparison uses it: with a given engine, and only if containers are to be read.

Everything else is tested through the module: `test_wa_db_env.py`.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._concern import db_env
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker

SECRET = "Canary-18-Pw"
LINES = f"WA_DB_ENGINE=MYSQL\nWA_DB_HOSTNAME=db\nWA_DB_PORT=3306\nWA_DB_USERNAME=wa\nWA_DB_PASSWORD={SECRET}\nTZ=UTC\n"
VALUES = dict(line.split("=") for line in LINES.split())


def observed(fake: FakeDocker, path: Path, **options: t.Any) -> tuple[Result, int]:
    """The result in check mode, and the number of connections to the engine."""
    given = {"path": str(path), "docker_host": fake.host, "check_connection": "false", **options}
    with patch_module_args({**given, "_ansible_check_mode": True}):
        module = AnsibleModule(db_env.SPEC, add_file_common_args=True, supports_check_mode=True)
    result = Result(module)
    connected: list[Docker] = []

    def connect() -> Docker:
        connected.append(Docker(module.params))
        return connected[-1]

    db_env.run(module, result, connect)
    return result, len(connected)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "db.env"
    found.write_text(LINES)
    found.chmod(0o600)
    return found


def test_stale_and_undeclared_keys_are_reported(engine: FakeDocker, path: Path) -> None:
    engine.container("biz-wacore-1", environment={**VALUES, "WA_DB_PORT": "1", "TZ": "CET"})
    named = {"engine": "MYSQL", "hostname": "db", "port": 3306, "username": "wa", "password": SECRET}
    result, connected = observed(engine, path, containers=True, project="biz", **named)
    assert (result.changed, result.actions, connected) == (False, [], 2)
    assert result.values["undeclared_keys"] == ["TZ"]
    assert [(one["name"], one["stale_keys"]) for one in result.values["stale_containers"]] == [
        ("biz-wacore-1", ["WA_DB_PORT"])
    ]
    assert [(one["name"], one["undeclared_keys"]) for one in result.values["undeclared_containers"]] == [
        ("biz-wacore-1", ["TZ"])
    ]
    assert path.read_text() == LINES


def test_without_containers_the_engine_is_not_called(engine: FakeDocker, path: Path) -> None:
    result, connected = observed(engine, path, hostname="new")
    assert (result.actions, connected, engine.requests) == (["set WA_DB_HOSTNAME"], 0, [])


def test_a_missing_folder_is_a_change(engine: FakeDocker, tmp_path: Path) -> None:
    named = {"engine": "MYSQL", "hostname": "db", "port": 3306, "username": "wa", "password": SECRET}
    result, _connected = observed(engine, tmp_path / "none" / "db.env", **named)
    assert result.actions[0] == f"folder {tmp_path}/none has to be made first"
    assert not (tmp_path / "none").exists()
