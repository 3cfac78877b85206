# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of wa_guard: what it asks, when it asks nothing, and how it refuses."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from inventory_samples import PASSWORD, inventory

from ansible_collections.waba.onprem.plugins.action import wa_guard
from ansible_collections.waba.onprem.plugins.plugin_utils import _inventory as variables
from ansible_collections.waba.onprem.plugins.plugin_utils import _start_guard as start_guard

SEEN = {
    "identity": "a",
    "started": 1,
    "cluster": False,
    "origin": "10.0.0.5",
    "machine": "m",
    "recorded": {},
    "unknown": [],
    "unreadable": "",
    "holds": False,
    "definitions": "",
    "running": False,
}


class Driver:
    """The action plugin with a module that returns one given answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer: dict[str, t.Any] = {"concerns": {"database": {"state": "in_sync"}}, "database": SEEN}
        self.calls: list[dict[str, t.Any]] = []
        self.lines: list[str] = []
        self.extra: dict[str, t.Any] = {}
        monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
        monkeypatch.setattr(wa_guard.display, "display", self.lines.append)
        monkeypatch.setattr(variables, "extra_vars", lambda: self.extra)

    def __call__(self, arguments: dict[str, t.Any] | None = None, **given: t.Any) -> dict[str, t.Any]:
        variables = inventory(**given).variables
        action = object.__new__(wa_guard.ActionModule)
        action._task = type("Task", (), {"args": arguments or {}, "check_mode": False})
        action._templar = Templar(loader=DataLoader(), variables=variables)
        action._loader = DataLoader()
        action._execute_module = self.execute
        found: dict[str, t.Any] = action.run(None, {**variables})
        return found

    def execute(self, module_name: str, module_args: dict[str, t.Any], task_vars: t.Any) -> dict[str, t.Any]:
        assert (module_name, task_vars["inventory_hostname"]) == ("waba.onprem.wa_drift_info", "support")
        self.calls.append(module_args)
        return self.answer


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    return Driver(monkeypatch)


def test_an_idle_database_allows_a_start(driver: Driver) -> None:
    assert driver() == {"changed": False, "database": SEEN}
    (call,) = driver.calls
    assert call["concerns"] == ["database"]
    assert PASSWORD not in str(call["desired"])
    assert call["secrets"]["database"]["password"] == PASSWORD


def test_the_others_need_no_look_of_a_single_client(driver: Driver) -> None:
    assert driver({"purpose": "others"}) == {"changed": False, "database": {}}
    assert driver.calls == []
    assert driver({"purpose": "record"})["database"] == SEEN
    assert driver.calls[0]["desired"]["database"]["wait"] == "0s"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            {"concerns": {"database": {"state": "unknown", "error": "login: refused."}}, "database": {}},
            "login: refused.",
        ),
        ({"database": {**SEEN, "unknown": [{"from": "10.0.0.9", "seconds": 1}]}}, "1 from 10.0.0.9"),
        ({"database": {**SEEN, "holds": True}}, "neither a container nor a record"),
        ({"concerns": {}, "msg": "boom", "failed": True}, "boom"),
    ],
)
def test_a_start_is_refused(driver: Driver, answer: dict[str, t.Any], said: str) -> None:
    driver.answer = {**driver.answer, **answer}
    found = driver()
    assert found["failed"]
    assert said in found["msg"]


USED = [{"from": "10.0.0.9", "database": "waba1", "id": 7, "seconds": 1}]
AWAY = {"concerns": {"database": {"state": "unknown", "error": "login: refused."}}, "database": {}}
ENGINE_AWAY = {
    "concerns": {"database": {"error": "Docker Engine: does not answer"}},
    "database": {},
    "engine_away": True,
}


@pytest.mark.parametrize(
    ("purpose", "answer", "said"),
    [
        ("idle", {"database": {**SEEN, "holds": True}}, ""),  # what it holds is the upgrade's
        ("idle", {"database": {**SEEN, "unknown": USED}}, "1 on database waba1 from 10.0.0.9"),
        ("idle", AWAY, "login: refused."),
        ("idle", {"database": {**SEEN, "unreadable": "login: refused."}}, "login: refused."),
        (
            "idle",
            {"database": {**SEEN, "unreadable": "it goes another way", "running": True}},
            "a container of the client runs",
        ),
        (
            "idle",
            {"database": {**SEEN, "unreadable": "login: refused.", "unknown": USED}},
            "1 on database waba1 from 10.0.0.9",
        ),
        ("back", {"database": {**SEEN, "unknown": USED}}, "1 on database waba1 from 10.0.0.9"),
        ("back", {"database": {**SEEN, "running": True}}, ""),
        ("back", {"database": {**SEEN, "unreadable": "it goes another way"}}, ""),
        ("back", AWAY, ""),
        ("back", ENGINE_AWAY, "Docker Engine: does not answer"),
    ],
)
def test_who_uses_the_database_of_an_upgrade(driver: Driver, purpose: str, answer: dict[str, t.Any], said: str) -> None:
    driver.answer = {**driver.answer, **answer}
    found = driver({"purpose": purpose, "databases": ["waba1"]})
    assert (bool(found.get("failed")), found.get("away", False)) == (bool(said), "refused" in said or "Engine" in said)
    assert said in found.get("msg", "")
    asked = driver.calls[0]["desired"]["database"]
    assert (asked["databases"], asked["running"]) == (["waba1"], purpose == "back")


def test_a_password_that_is_not_to_be_had_keeps_no_upgrade_from_going_back(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(_run: t.Any) -> t.NoReturn:
        raise AnsibleError("the vault does not answer")

    monkeypatch.setattr(start_guard.Run, "options", lost)
    assert driver({"purpose": "back"}) == {"changed": False, "database": {}}
    assert driver.lines == ["support | note: who uses the client's database is not known: the vault does not answer"]
    with pytest.raises(AnsibleError):
        driver({"purpose": "idle"})


def test_a_confirmation_in_the_inventory_is_refused(driver: Driver) -> None:
    confirmed = {"wa_confirm_identity": {"version": "2.53.4"}}
    assert "set in the inventory" in driver(**confirmed)["msg"]
    driver.extra = confirmed
    assert "failed" not in driver(**confirmed)


def test_a_note_is_displayed(driver: Driver) -> None:
    driver.answer["database"] = {**SEEN, "unreadable": "database: no right."}
    assert "failed" not in driver()
    assert driver.lines == ["support | note: who uses the client's database is not known: database: no right."]
