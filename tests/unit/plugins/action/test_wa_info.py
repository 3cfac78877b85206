# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of wa_info: a long wait for healthy containers is made in steps."""

from __future__ import annotations

import time
import typing as t
from types import SimpleNamespace

import pytest
from ansible.plugins.action import ActionBase

from ansible_collections.waba.onprem.plugins.action import wa_info
from ansible_collections.waba.onprem.plugins.plugin_utils import _steps as steps


def seen(health: str) -> dict[str, t.Any]:
    one = {"name": "wacore", "one_shot": False, "state": "running", "health": health}
    return {"changed": False, "containers": [one]}


class Driver(wa_info.ActionModule):
    """The plugin with a module that answers by script. Each answer takes the time that it may wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: dict[str, t.Any], **arguments: t.Any) -> None:
        self.answers = list(answers)
        self.asked: list[str | None] = []
        self.lines: list[str] = []
        self.now = 0.0
        self._task = SimpleNamespace(args=arguments, async_val=arguments.pop("async_val", 0))
        monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(steps.display, "display", lambda text, stderr: self.lines.append(text))

    def _execute_module(self, module_args: dict[str, t.Any] | None = None, **_more: t.Any) -> dict[str, t.Any]:
        self.asked.append(module_args["healthy_timeout"] if module_args else None)
        self.now += float(module_args["healthy_timeout"][:-1]) if module_args else 0.0
        return dict(self.answers.pop(0))

    def drive(self) -> dict[str, t.Any]:
        return self.run(None, {"inventory_hostname": "h1"})


def test_a_long_wait_says_every_half_minute_which_containers_are_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch, seen("starting"), seen("unhealthy"), seen("healthy"), healthy_timeout="15m")
    assert driver.drive() == seen("healthy")
    assert driver.lines == [
        "h1 | after 30s: wacore (running, starting)",
        "h1 | after 1m00s: wacore (running, unhealthy)",
    ]


def test_a_wait_ends_with_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch, seen("starting"), seen("starting"), healthy_timeout=45)
    text = "h1: wacore (running, starting); expected healthy containers within 45 s. Look into their logs (docker logs NAME)."
    assert driver.drive() == {**seen("starting"), "failed": True, "msg": text}
    assert (driver.asked, len(driver.lines)) == (["30s", "15s"], 1)


def test_without_a_wait_what_is_not_healthy_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Driver(monkeypatch, seen("unhealthy")).drive() == seen("unhealthy")
    assert Driver(monkeypatch, seen("unhealthy"), healthy_timeout="5s").drive()["failed"]


def test_a_failure_ends_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {"failed": True, "msg": "no engine"}
    assert Driver(monkeypatch, failed, healthy_timeout="15m").drive() == failed


@pytest.mark.parametrize("arguments", [{}, {"healthy_timeout": "30s"}, {"healthy_timeout": "soon"}, {"async_val": 60}])
def test_what_does_not_wait_is_one_call(monkeypatch: pytest.MonkeyPatch, arguments: dict[str, t.Any]) -> None:
    driver = Driver(monkeypatch, seen("healthy"), **arguments)
    assert (driver.drive(), driver.asked) == (seen("healthy"), [None])
