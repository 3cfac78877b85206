# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of wa_webapp_info: a long wait is made in steps, and what is seen is displayed after each."""

from __future__ import annotations

import time
import typing as t
from types import SimpleNamespace

import pytest
from ansible.plugins.action import ActionBase

from ansible_collections.waba.onprem.plugins.action import wa_webapp_info
from ansible_collections.waba.onprem.plugins.plugin_utils import _steps as steps

DONE = {"changed": False, "healthy": True}


class Driver(wa_webapp_info.ActionModule):
    """The plugin with a module that answers by script. Each answer takes the time that it may wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: dict[str, t.Any], **arguments: t.Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, t.Any] | None] = []
        self.lines: list[str] = []
        self.now = 0.0
        self._task = SimpleNamespace(args=arguments, async_val=arguments.pop("async_val", 0))
        monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(steps.display, "display", self.show)

    def show(self, text: str, stderr: bool = False) -> None:
        assert stderr, "standard output belongs to the callback"
        self.lines.append(text)

    def _execute_module(self, module_args: dict[str, t.Any] | None = None, **_more: t.Any) -> dict[str, t.Any]:
        self.asked.append(module_args and {**module_args})
        self.now += float(module_args["wait_timeout"][:-1]) if module_args else 0.0
        return dict(self.answers.pop(0))

    def drive(self) -> dict[str, t.Any]:
        return self.run(None, {"inventory_hostname": "h1"})


def late(reason: str = "starting or migrating: coreapp", step: str = "30s") -> dict[str, t.Any]:
    message = f"health of https://a: {reason}; expected it to be well within {step}."
    return {"failed": True, "timed_out": True, "reason": reason, "msg": message}


def test_a_long_wait_says_every_half_minute_what_it_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch, late(), late("no answer within 30 s"), late("no answer"), DONE, wait_timeout="15m")
    assert driver.drive() == DONE
    assert driver.lines == [
        "h1 | after 30s: starting or migrating: coreapp",
        "h1 | after 1m00s: no answer within 30 s",
        "h1 | after 1m30s: no answer",
    ]
    assert [one and one["api_timeout"] for one in driver.asked] == ["30s", "30s", "60s", "120s"]


def test_a_wait_ends_with_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(monkeypatch, late(), late(step="15s"), wait_timeout=45)
    found = driver.drive()
    assert found["msg"] == ("health of https://a: starting or migrating: coreapp; expected it to be well within 45s.")
    assert [one and one["wait_timeout"] for one in driver.asked] == ["30s", "15s"]
    assert driver.lines == ["h1 | after 30s: starting or migrating: coreapp"]


def test_a_failure_that_waiting_does_not_resolve_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = {"failed": True, "kind": "login", "msg": "refused"}
    assert Driver(monkeypatch, refused).drive() == refused


@pytest.mark.parametrize(
    "arguments",
    [
        {"wait_timeout": "30s"},
        {"wait_timeout": "soon"},
        {"wait": False},
        {"wait": False, "wait_timeout": "15m"},
        {"async_val": 60},
    ],
)
def test_what_does_not_wait_is_one_call(monkeypatch: pytest.MonkeyPatch, arguments: dict[str, t.Any]) -> None:
    driver = Driver(monkeypatch, DONE, **arguments)
    assert (driver.drive(), driver.asked) == (DONE, [None])
