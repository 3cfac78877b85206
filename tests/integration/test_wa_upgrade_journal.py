# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_upgrade_journal run by ansible-playbook: the action plugin names the run."""

from __future__ import annotations

import threading
import typing as t
from pathlib import Path

import pytest
from playbook import Ansible

MODULE = "waba.onprem.wa_upgrade_journal"


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "state" / "support.lock"


def step(lock: Path, operation: str, **options: t.Any) -> dict[str, t.Any]:
    given: dict[str, t.Any] = {"operation": operation, "path": str(lock), **options}
    if operation == "begin":
        given = {"deployment": "support", "target": "2.53.4", **given}
    return {MODULE: given}


def test_check_mode_writes_nothing(ansible: Ansible, lock: Path) -> None:
    lock.parent.mkdir()
    result = ansible.play([step(lock, "begin")], check=True).results[0]
    assert result["changed"]
    assert list(lock.parent.iterdir()) == []


def test_the_next_run_resumes_after_a_dead_run(ansible: Ansible, lock: Path) -> None:
    """A killed controller leaves its lock until its lease is over, or somebody says that it was killed."""
    lock.parent.mkdir()
    ansible.play([step(lock, "begin"), step(lock, "note", schema="started", notes={"from_version": "2.51.2"})])
    assert "locked by the upgrade to 2.53.4" in ansible.play([step(lock, "begin")]).results[0]["msg"]
    result = ansible.play([step(lock, "begin", take_over=True)]).results[0]
    assert (result["resumed"], result["held"]) == (True, False)
    assert result["journal"]["schema"] == "started"
    assert result["journal"]["notes"] == {"from_version": "2.51.2"}
    ansible.play([step(lock, "begin", take_over=True), step(lock, "end", outcome="done")])
    assert [path.name for path in lock.parent.iterdir()] == ["support.last-upgrade.json"]


def test_a_run_that_is_alive_keeps_its_lock(ansible: Ansible, lock: Path, tmp_path: Path) -> None:
    lock.parent.mkdir()
    go = tmp_path / "go"
    wait = {"ansible.builtin.wait_for": {"path": str(go), "timeout": 60}}
    first = threading.Thread(
        target=ansible.play, args=([step(lock, "begin"), wait, step(lock, "end", outcome="done")],)
    )
    first.start()
    try:
        seen = {"ansible.builtin.wait_for": {"path": str(lock), "timeout": 60}}
        refused = ansible.play([seen, step(lock, "begin", target="2.55.0")]).results[-1]
    finally:
        go.touch()
        first.join()
    assert refused["held"]
    assert "locked by the upgrade to 2.53.4" in refused["msg"]
    assert not lock.exists()
