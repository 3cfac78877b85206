# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of wa_upgrade_journal: it adds who runs the module, and whether the holder of the lock is alive."""

from __future__ import annotations

import getpass
import platform
import typing as t

import pytest
from ansible.plugins.action import ActionBase

from ansible_collections.waba.onprem.plugins.action import wa_upgrade_journal
from ansible_collections.waba.onprem.plugins.plugin_utils import _process as process

Calls = list[dict[str, t.Any]]


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., Calls]:
    """Runs `begin` while `holder` has the lock, and returns the module's arguments of each call."""

    def run(**holder: str) -> Calls:
        calls: Calls = []

        def module(module_args: dict[str, t.Any], **_more: t.Any) -> dict[str, t.Any]:
            calls.append(module_args)
            return {"held": holder["run_id"] not in module_args.get("dead_runs", ()), "journal": holder}

        action = object.__new__(wa_upgrade_journal.ActionModule)
        action._task = type("Task", (), {"args": {"operation": "begin", "path": "a.lock"}})
        monkeypatch.setattr(action, "_execute_module", module, raising=False)
        monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
        monkeypatch.setattr(process, "has_ended", lambda run: run == "dead")
        action.run(None, {})
        return calls

    return run


def this_controller(run_id: str) -> dict[str, str]:
    return {"run_id": run_id, "user": getpass.getuser(), "controller": platform.node() or "controller"}


def test_the_module_gets_user_controller_and_run_id(begin: t.Callable[..., Calls]) -> None:
    [call] = begin(**this_controller("live"))
    assert {key: call[key] for key in ("user", "controller", "operation", "path")} == {
        **{key: this_controller("")[key] for key in ("user", "controller")},
        "operation": "begin",
        "path": "a.lock",
    }
    assert call["run_id"] == process.this_run()


def test_the_lock_of_a_dead_run_is_taken_over(begin: t.Callable[..., Calls]) -> None:
    assert [call.get("dead_runs") for call in begin(**this_controller("dead"))] == [None, ["dead"]]


@pytest.mark.parametrize("other", [{"user": "somebody"}, {"controller": "elsewhere"}])
def test_the_lock_of_another_user_or_controller_is_kept(begin: t.Callable[..., Calls], other: dict[str, str]) -> None:
    assert len(begin(**{**this_controller("dead"), **other})) == 1


@pytest.mark.parametrize("operation", ["hold", "release"])
def test_a_change_lock_of_a_dead_run_is_taken_over(monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    calls: Calls = []

    def module(module_args: dict[str, t.Any], **_more: t.Any) -> dict[str, t.Any]:
        calls.append(module_args)
        dead = module_args.get("dead_runs", ())
        failed = operation == "hold" and "dead" not in dead  # release does not fail on the lock of another run
        return {"failed": failed, "held": False, "journal": {}, "change": this_controller("dead")}

    action = object.__new__(wa_upgrade_journal.ActionModule)
    action._task = type("Task", (), {"args": {"operation": operation, "path": "a.lock"}})
    monkeypatch.setattr(action, "_execute_module", module, raising=False)
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    monkeypatch.setattr(process, "has_ended", lambda run: run == "dead")
    assert action.run(None, {})["failed"] is False
    assert [call.get("dead_runs") for call in calls] == [None, ["dead"]]
