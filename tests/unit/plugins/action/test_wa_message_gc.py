# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of wa_message_gc: steps, pauses, lines of progress, connections that get lost."""

from __future__ import annotations

import functools
import time
import typing as t
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.waba.onprem.plugins.action import wa_message_gc

LOST = AnsibleConnectionFailure("the host is away")


class Driver(wa_message_gc.ActionModule):
    """The plugin with a module that answers by script."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: t.Any, **arguments: t.Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, t.Any]] = []
        self.pauses: list[float] = []
        self.lines: list[str] = []
        self._task = SimpleNamespace(args=arguments, async_val=0, check_mode=False)
        monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
        monkeypatch.setattr(time, "sleep", self.pauses.append)
        monkeypatch.setattr(wa_message_gc.display, "display", self.show)

    def show(self, text: str, stderr: bool = False) -> None:
        assert stderr, "standard output belongs to the callback"
        self.lines.append(text)

    def _execute_module(self, module_args: dict[str, t.Any], **_more: t.Any) -> dict[str, t.Any]:
        self.asked.append(module_args)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    def drive(self) -> dict[str, t.Any]:
        return self.run(None, {"inventory_hostname": "h1"})


Drive = t.Callable[..., Driver]


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch) -> Drive:
    return functools.partial(Driver, monkeypatch)


DONE = {"running": False, "changed": False, "actions": [], "run_id": "r1", "progress": None}


def step(*actions: str, warnings: t.Sequence[str] = (), **left: float) -> dict[str, t.Any]:
    progress = {"phase": "deleting", "round": 1, "rows": 9, "deleted": 5, "rate": 1.0, **left}
    running = {"running": True, "changed": bool(actions), "actions": actions, "progress": progress}
    return {**DONE, **running, "warnings": warnings}


def test_steps_until_it_is_over(drive: Drive) -> None:
    driver = drive(step("called"), step(), DONE, poll_interval="7s")
    assert driver.drive() == dict(DONE, changed=True, actions=["called"])
    assert [(asked.get("run_id"), asked["wait"]) for asked in driver.asked] == [(None, False)] + [("r1", False)] * 2
    assert driver.pauses == [7, 7]
    assert driver.lines == ["h1 | message GC round 1 | ~9 rows, ~5 deleted, ~1/s, deleting"] * 2


def test_the_last_look_comes_when_the_quiet_period_ends(drive: Drive) -> None:
    down = ["a node is down"]
    steps = [step(warnings=down, quiet_left=180), step(warnings=down, quiet_left=4), step(quiet_left=0.1), DONE]
    driver = drive(*steps, poll_interval="7s")
    result = driver.drive()
    assert driver.pauses == [7, 4, 0.5]
    assert result["warnings"] == down, "each once"


def test_a_lost_connection_is_tried_again_a_bounded_number_of_times(drive: Drive) -> None:
    driver = drive(*[LOST] * 5, step(), *[LOST] * 5, DONE)
    assert driver.drive() == DONE
    assert driver.lines[4] == "h1 | message GC | connection lost (5 of 5): the host is away"
    assert (driver.asked[-1]["run_id"], driver.pauses) == ("r1", [10] * 11)
    assert drive(LOST, step(), wait=False).drive()["running"], "a single step"
    for gone in (drive(step(), *[LOST] * 6), drive(*[LOST] * 6, wait=False)):
        with pytest.raises(AnsibleConnectionFailure):
            gone.drive()
        assert gone.answers == []


def test_a_failure_ends_it(drive: Drive) -> None:
    failed = {"failed": True, "msg": "no"}
    assert drive(step(), failed).drive() == {**failed, "changed": False, "actions": []}
    assert "option poll_interval" in drive(poll_interval="soon").drive()["msg"]


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (
            {"round": 2, "rows": 2_100_000, "deleted": 100_000, "rate": 1e4, "left": 10.0},
            " round 2 | ~2,100,000 rows, ~100,000 deleted, ~10,000/s, ~10s to the limit, deleting",
        ),
        ({"round": 0, "rows": 5, "deleted": 0, "rate": 0.0, "left": None}, " | ~5 rows, ~0 deleted, ~0/s, deleting"),
        ({}, " | deleting"),
    ],
)
def test_a_progress_line_is_whole_and_plain(progress: dict[str, t.Any], line: str) -> None:
    assert wa_message_gc.progress_line({"phase": "deleting", **progress}) == line
    assert line.isascii()
