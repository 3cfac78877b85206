# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of wa_upgrade_watch: what of a look ends the roll-out, and what is asked of the client."""

from __future__ import annotations

import time
import typing as t
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.waba.onprem.plugins.action import wa_upgrade_watch

HEALTHY: dict[str, t.Any] = {"healthy": True}
FULL: dict[str, t.Any] = {
    "failed": True,
    "msg": "callbacks of https://h1: 7 callbacks queued; expected none.",
    "queue": 7,
}
ENDS = " The roll-out ends: no deployment of a later wave is begun; expected h1 to serve well for wa_upgrade_soak."


class Driver:
    """The action with a client that gives its answers one after the other."""

    def __init__(self) -> None:
        self.asked: list[dict[str, t.Any]] = []

    def __call__(self, *answers: dict[str, t.Any] | Exception, seconds: float = 0.0) -> dict[str, t.Any]:
        left = [*answers]

        def execute(module_name: str, module_args: dict[str, t.Any], task_vars: t.Any) -> dict[str, t.Any]:
            assert module_name == "waba.onprem.wa_webapp_info"
            self.asked.append(module_args)
            answer = left.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        action = object.__new__(wa_upgrade_watch.ActionModule)
        args = {
            "leader": "h1",
            "seconds": seconds,
            "api": {"api_password": "Canary-1"},
            "health": {"topology": "single", "expect_version": "2.53.4"},
            "drain_timeout": 120,
        }
        action._task = SimpleNamespace(args=args, check_mode=False, no_log=False, action="a")
        action._connection = SimpleNamespace(_play_context=SimpleNamespace(no_log=False))
        action._execute_module = execute
        found: dict[str, t.Any] = action.run(None, {})
        assert left == []
        return found


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    return Driver()


def test_a_good_look_is_displayed(driver: Driver, capsys: pytest.CaptureFixture[str]) -> None:
    driver(HEALTHY, {"queue": 0})
    assert capsys.readouterr().err == "h1 | serves well; watched for 0s more\n"


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([HEALTHY, {"queue": 0}], ""),
        ([HEALTHY, FULL], "h1: callbacks of https://h1: 7 callbacks queued; expected none."),
        ([{"failed": True, "msg": "health of https://h1: disconnected."}], "h1: health of https://h1: disconnected."),
        ([AnsibleConnectionFailure("no route")], "h1 cannot be reached any more: no route."),
    ],
)
def test_what_ends_a_roll_out(driver: Driver, answers: list[t.Any], message: str) -> None:
    found = driver(*answers)
    assert found == ({"failed": True, "msg": message + ENDS} if message else {"changed": False})
    assert "Canary" not in str(found)


def test_what_is_asked(driver: Driver) -> None:
    driver(HEALTHY, {"queue": 0})
    assert driver.asked == [
        {"api_password": "Canary-1", "query": "health", "wait_timeout": "60s", "topology": "single", "expect_version": "2.53.4"},
        {"api_password": "Canary-1", "query": "drain", "wait_timeout": "120s"},
    ]  # fmt: skip


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, on a clock that only they move."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0 + sum(found))
    return found


def test_it_looks_once_a_minute_until_the_time_is_over(
    driver: Driver, slept: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    driver(*[HEALTHY, {"queue": 0}] * 4, seconds=135)
    assert slept == [60, 60, 15]
    assert [line.rpartition("for ")[2] for line in capsys.readouterr().err.splitlines()] == [
        "2m15s more",
        "1m15s more",
        "15s more",
        "0s more",
    ]


def test_a_problem_ends_it(driver: Driver, slept: list[float]) -> None:
    assert driver(HEALTHY, {"queue": 0}, HEALTHY, FULL, seconds=3600)["failed"]
    assert slept == [60]
