# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of wa_upgrade_journal: who has the turn of a database server, and for how long."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible.plugins.action import ActionBase

from ansible_collections.waba.onprem.plugins.action import wa_upgrade_journal
from ansible_collections.waba.onprem.plugins.plugin_utils import process

SERVER = "db:3306"
BEGIN = {"operation": "begin", "database_server": SERVER, "database_server_timeout": 0}


class Controller:
    """One ansible-playbook run on a controller, with hosts that answer as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path, run_id: str) -> None:
        self.monkeypatch, self.home, self.run_id = monkeypatch, home, run_id

    def do(
        self, path: str, answer: dict[str, t.Any] | None = None, to: str = "", **arguments: t.Any
    ) -> dict[str, t.Any]:
        action = object.__new__(wa_upgrade_journal.ActionModule)
        task = {"args": {"path": path, **arguments}, "delegate_to": to or None, "check_mode": False}
        action._task = type("Task", (), task)
        patch = self.monkeypatch.setattr
        patch(action, "_execute_module", lambda **_more: dict(answer or {"changed": True}), raising=False)
        patch(ActionBase, "run", lambda *_arguments: {})
        patch(process, "this_run", lambda: self.run_id)
        patch(process, "has_ended", lambda run: run == "dead")
        patch(wa_upgrade_journal.constants.config, "get_config_value", lambda _name: str(self.home))
        found: dict[str, t.Any] = action.run(None, {"inventory_hostname": "h1"})
        return found


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> t.Callable[[str], Controller]:
    return lambda run_id: Controller(monkeypatch, tmp_path, run_id)


def test_a_second_deployment_waits_until_the_first_has_migrated(controller: t.Callable[[str], Controller]) -> None:
    one, other = controller("live"), controller("another")
    assert one.do("a.lock", **BEGIN)["changed"]
    assert "one migration at a time" in other.do("b.lock", **BEGIN)["msg"]
    one.do("a.lock", operation="stage", stage="migrating", lease=60)
    assert "one migration at a time" in other.do("b.lock", **BEGIN)["msg"]
    one.do("a.lock", operation="stage", stage="starting")
    assert other.do("b.lock", **BEGIN)["changed"]


def test_a_server_is_one_under_all_of_its_names(controller: t.Callable[[str], Controller]) -> None:
    one, other = controller("live"), controller("another")
    renamed = {**BEGIN, "database_server": "10.0.0.5:3306"}
    one.do("a.lock", **BEGIN, database_server_identity="u1")
    assert "one migration at a time" in other.do("b.lock", **renamed, database_server_identity="u1")["msg"]
    assert other.do("b.lock", **BEGIN, database_server_identity="u2")["changed"]


def test_a_migration_keeps_the_turn_when_its_run_is_killed(controller: t.Callable[[str], Controller]) -> None:
    dead, other = controller("dead"), controller("another")
    dead.do("a.lock", **BEGIN)
    dead.do("a.lock", operation="stage", stage="migrating", lease=60)
    assert "one migration at a time" in other.do("b.lock", **BEGIN)["msg"]
    again = controller("again")
    assert again.do("a.lock", **BEGIN)["changed"]
    again.do("a.lock", operation="end", outcome="done")
    assert other.do("b.lock", **BEGIN)["changed"]


def test_what_members_are_asked_does_not_touch_their_leaders_turn(controller: t.Callable[[str], Controller]) -> None:
    one, other = controller("live"), controller("another")
    one.do("a.lock", **BEGIN)
    one.do("a.lock", {"failed": True}, to="h2", operation="begin")
    one.do("a.lock", operation="stage", stage="migrating", lease=60)
    one.do("a.lock", to="h2", operation="end", outcome="failed")
    one.do("a.lock", operation="end", outcome="failed", migration_runs=True, lease=60)
    assert "one migration at a time" in other.do("b.lock", **BEGIN)["msg"]


def test_a_lock_that_is_refused_gives_the_turn_back(controller: t.Callable[[str], Controller]) -> None:
    one, other = controller("live"), controller("another")
    one.do("a.lock", {"failed": True, "msg": "locked"}, **BEGIN)
    assert other.do("b.lock", **BEGIN)["changed"]
