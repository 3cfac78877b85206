# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_upgrade_step in a real play: a module's result, and an unreachable host, which a rescue handles."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.plugins.action import ActionBase

from ansible_collections.waba.onprem.plugins.action import wa_upgrade_step


@pytest.fixture
def play(tmp_path: Path) -> t.Callable[..., dict[str, t.Any]]:
    """Runs tasks on a local host, beside one that refuses connections, and returns what they registered as `found`."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    inventory = tmp_path / "hosts"
    inventory.write_text(
        f"here ansible_connection=local ansible_python_interpreter={sys.executable}\n"
        f"gone ansible_connection=ssh ansible_host=127.0.0.1 ansible_port={port}\n"
    )

    def run(*tasks: dict[str, t.Any], **keywords: t.Any) -> dict[str, t.Any]:
        out = tmp_path / "found.json"
        record = {
            "name": "Record",
            "ansible.builtin.copy": {"content": "{{ found | to_json }}", "dest": str(out)},
            "check_mode": False,
        }
        named = [{"name": f"Task {number}", **task} for number, task in enumerate(tasks)]
        block = {
            "name": "All",
            "block": named,
            "rescue": [{"name": "Rescued", "ansible.builtin.meta": "noop"}],
            "always": [record],
        }
        file = tmp_path / "play.yml"
        file.write_text(
            yaml.safe_dump([{"name": "Play", "hosts": "here", "gather_facts": False, "tasks": [block], **keywords}])
        )
        done = subprocess.run(
            [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), str(file)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "ANSIBLE_SSH_RETRIES": "0"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, t.Any] = json.loads(out.read_text())
        return found

    return run


def step(module: str, options: dict[str, t.Any], **keywords: t.Any) -> dict[str, t.Any]:
    return {"waba.onprem.wa_upgrade_step": {"module": module, "options": options}, "register": "found", **keywords}


def command(*argv: str, **keywords: t.Any) -> dict[str, t.Any]:
    return step("ansible.builtin.command", {"argv": list(argv)}, changed_when=False, **keywords)


def test_a_module_gives_its_result(play: t.Callable[..., dict[str, t.Any]]) -> None:
    found = play(command("sh", "-c", "echo $WORD; exit 3", environment={"WORD": "hello"}))
    assert (found["failed"], found["rc"], found["stdout"]) == (True, 3, "hello")
    assert "reached" not in found


def test_the_action_of_a_module_is_used(play: t.Callable[..., dict[str, t.Any]], tmp_path: Path) -> None:
    """wa_upgrade_journal gets the run's identity from its action, without which it refuses."""
    options = {"operation": "begin", "path": str(tmp_path / "a.lock"), "deployment": "a", "target": "2.53.4"}
    found = play(step("waba.onprem.wa_upgrade_journal", options))
    assert (found["failed"], found["journal"]["schema"]) == (False, "untouched")


def test_check_mode_reaches_the_module(play: t.Callable[..., dict[str, t.Any]], tmp_path: Path) -> None:
    options = {"operation": "begin", "path": str(tmp_path / "a.lock"), "deployment": "a", "target": "2.53.4"}
    assert play(step("waba.onprem.wa_upgrade_journal", options, check_mode=True))["changed"]
    assert not (tmp_path / "a.lock").exists()


def test_an_unreachable_host_is_a_failure(play: t.Callable[..., dict[str, t.Any]]) -> None:
    found = play(command("true", delegate_to="gone"))
    assert (found["failed"], found["reached"]) == (True, False)
    assert found["msg"].startswith("gone cannot be reached any more: ")
    assert "unreachable" not in found


def test_a_host_may_be_unreachable(play: t.Callable[..., dict[str, t.Any]]) -> None:
    task = command("true", delegate_to="gone")
    task["waba.onprem.wa_upgrade_step"]["may_be_unreachable"] = True
    found = play(task)
    assert (found["failed"], found["reached"]) == (False, False)


@pytest.mark.parametrize("away", [{"away": True}, {"reached": False}])
def test_what_is_away_is_called_again_for_a_time(monkeypatch: pytest.MonkeyPatch, away: dict[str, t.Any]) -> None:
    answers, slept = [away, away, {"changed": True}], list[float]()
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    action = object.__new__(wa_upgrade_step.ActionModule)
    action._connection = type("Connection", (), {"reset": lambda _self: slept.append(0)})()
    monkeypatch.setattr(action, "_call", lambda *_arguments: answers.pop(0), raising=False)
    given = {"module": "waba.onprem.wa_guard", "options": {}}
    action._task = type("Task", (), {"args": given})
    assert action.run(None, {}) == away
    action._task = type("Task", (), {"args": {**given, "patience": 60}})
    assert action.run(None, {}) == {"changed": True}
    assert slept == ([3.0] if "away" in away else [3.0, 0])


def test_what_a_call_has_worked_is_no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def call(*_arguments: t.Any) -> dict[str, t.Any]:
        clock[0] += 200
        return {"reached": False} if clock[0] < 300 else {"changed": True}

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    action = object.__new__(wa_upgrade_step.ActionModule)
    action._connection = type("Connection", (), {"reset": lambda _self: None})()
    monkeypatch.setattr(action, "_call", call, raising=False)
    action._task = type("Task", (), {"args": {"module": "waba.onprem.wa_guard", "patience": 30}})
    assert action.run(None, {}) == {"changed": True}


def test_a_loop_over_members_has_a_result_for_each(play: t.Callable[..., dict[str, t.Any]]) -> None:
    found = play(
        command("echo", "{{ item.host }}", loop=[{"host": "gone"}, {"host": "here"}], delegate_to="{{ item.host }}"),
        connection="ssh",
    )
    assert [one.get("reached", True) for one in found["results"]] == [False, True]
    assert found["results"][1]["stdout"] == "here"


def test_a_job_is_begun_and_awaited(play: t.Callable[..., dict[str, t.Any]]) -> None:
    found = play(
        command("echo", "done", **{"async": 30, "poll": 0}),
        step(
            "ansible.builtin.async_status",
            {"jid": "{{ found.ansible_job_id }}"},
            until="found.finished | default(true)",
            retries=60,
            delay=0,
            register="found",
        ),
    )
    assert (bool(found["finished"]), found["rc"]) == (True, 0)
