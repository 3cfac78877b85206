# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The callback wa_runs in real runs of Ansible on this machine: which runs have a line, and what is in it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.callback import wa_runs
from ansible_collections.waba.onprem.plugins.plugin_utils._run import controller

SECRET = "Canary-3-Pw"
TASKS: dict[str, dict[str, t.Any]] = {
    "change": {"ansible.builtin.command": "true"},
    "log": {"ansible.builtin.command": "printenv ANSIBLE_TARGET_LOG_INFO"},
    "nothing": {"ansible.builtin.debug": {}},
    "fail": {"ansible.builtin.fail": {}},
    "lost": {"ansible.builtin.ping": {}},
}
LOST = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


def play(folder: Path, task: str, *arguments: str, playbook: str = "", **variables: t.Any) -> str:
    """Runs one task on the host `a`, or a playbook of the collection, and returns what is displayed."""
    hosts = {"a": LOST if task == "lost" else {}}
    given = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}", **variables}
    inventory, site = folder / "inventory.json", folder / "site.yml"
    inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": {**given, "secret": SECRET}}}))
    site.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [TASKS[task]]}]))
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "-i",
            str(inventory),
            playbook or str(site),
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_CALLBACKS_ENABLED": "waba.onprem.wa_runs", "ANSIBLE_NOCOLOR": "1"},
    )
    return done.stdout + done.stderr


def lines(folder: Path) -> list[dict[str, t.Any]]:
    path = folder / wa_runs.NAME
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_each_run_that_changes_or_fails_has_a_line(tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    given = {"wa_report_dir": "{{ place }}/reports", "place": str(tmp_path)}
    for task, arguments in (
        ("change", ("--limit", "a", "-e", f"password={SECRET}")),
        ("nothing", ()),
        ("change", ("--check",)),
        ("fail", ()),
        ("lost", ()),
    ):
        play(tmp_path, task, *arguments, **given)
    found = lines(folder)
    assert [(one["playbook"], one["result"], one["changed"], one["failed"], one["unreachable"]) for one in found] == [
        ("site.yml", "ok", ["a"], [], []),
        ("site.yml", "failed", [], ["a"], []),
        ("site.yml", "unreachable", [], [], ["a"]),
    ]
    first = found[0]
    assert (first["limit"], first["hosts"], first["tags"], first["user"]) == ("a", ["a"], [], wa_runs.user())
    assert SECRET not in (folder / wa_runs.NAME).read_text()
    assert stat.S_IMODE((folder / wa_runs.NAME).stat().st_mode) == 0o600


def test_a_status_that_fails_has_no_line(tmp_path: Path) -> None:
    """Each hour's would hide who has changed something."""
    said = play(tmp_path, "lost", playbook="waba.onprem.status", wa_report_dir=str(tmp_path / "reports"))
    assert "failed=1" in said
    assert ((tmp_path / "reports" / "fleet.json").exists(), lines(tmp_path / "reports")) == (True, [])


def test_without_a_folder_nothing_is_recorded(tmp_path: Path) -> None:
    assert "WARNING" not in play(tmp_path, "change")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inventory.json", "site.yml"]


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = play(tmp_path, "change", wa_report_dir=str(tmp_path / "file"))
    assert "the run is not recorded: File exists" in " ".join(said.split())


def test_who_runs_it_behind_sudo_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    own = wa_runs.user()
    monkeypatch.setenv("SUDO_USER", "ann")
    assert wa_runs.user() == f"ann as {own}"
    monkeypatch.setenv("SUDO_USER", own)
    assert wa_runs.user() == own


def test_modules_log_who_runs_them_and_from_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANSIBLE_TARGET_LOG_INFO", raising=False)
    assert f'"{wa_runs.user()} at {controller()}, site.yml:"' in play(tmp_path, "log", "-v")
    monkeypatch.setenv("ANSIBLE_TARGET_LOG_INFO", "ticket 12")
    assert '"ticket 12"' in play(tmp_path, "log", "-v")
