# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How each playbook ends: 4 for a host that cannot be reached, 2 for one that fails. That a run ends with 0 is in all scenarios."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SECRET = "Canary-12-Password"
PLAYBOOKS = {
    "adopt": {"wa_adopt_dir": "adopted"},
    "backup": {},
    "gc": {"__wa_message_gc_poll_interval": "1s"},  # it tries five times
    "provision": {},
    "restore": {},
    "retire": {"wa_retire": "away"},
    "status": {},
    "upgrade": {},
}
SHARED = {
    "wa_registry": "registry.example.com/whatsapp",
    "wa_version": "2.51.2",
    "wa_db_env_engine": "MYSQL",
    "wa_db_env_hostname": "db.example.com",
    "wa_db_env_username": "wa",
    "wa_db_env_password": SECRET,
    "wa_backup_dir": "backups",
    "wa_backup_password": SECRET,
}
AWAY = {"ansible_host": "127.0.0.1", "ansible_port": 1}
# Reached, and nothing can be run there.
BROKEN = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": "/none/python"}


def test_every_playbook_is_here() -> None:
    root = Path(__file__).resolve().parents[2]
    assert sorted(path.stem for path in (root / "playbooks").glob("*.yml")) == sorted(PLAYBOOKS)


@pytest.mark.parametrize(
    ("name", "host", "code", "word"),
    [
        *((name, AWAY, 4, "unreachable=1") for name in PLAYBOOKS),
        ("upgrade", BROKEN, 2, "failed=1"),
        *(pytest.param(name, BROKEN, 2, "failed=1", marks=pytest.mark.deep) for name in PLAYBOOKS if name != "upgrade"),
    ],
)
def test_a_playbook_ends_as_ansible_does(
    tmp_path: Path, name: str, host: dict[str, object], code: int, word: str
) -> None:
    inventory = tmp_path / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"away": host}, "vars": SHARED}}))
    (tmp_path / "vault").write_text(SECRET)
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), f"waba.onprem.{name}"]
    done = subprocess.run(
        [*command, "-e", json.dumps(PLAYBOOKS[name])],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_VAULT_PASSWORD_FILE": str(tmp_path / "vault")},
        timeout=120,
    )
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    assert word in output
    assert SECRET not in output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inventory.json", "vault"]
