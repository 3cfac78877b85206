# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of wa_retire: the members, the module's options, the displayed plan."""

from __future__ import annotations

import typing as t

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from inventory_samples import PASSWORD, inventory

from ansible_collections.waba.onprem.plugins.action import wa_retire

PLAN = {"goes": ["network wa-support_default"], "stays": ["media volume m at /x"], "changed": False}


class Driver:
    """The action plugin with a module that returns one given result."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[dict[str, t.Any]] = []
        self.lines: list[str] = []
        monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
        monkeypatch.setattr(wa_retire.display, "display", self.lines.append)

    def __call__(self, arguments: dict[str, t.Any], **given: t.Any) -> dict[str, t.Any]:
        variables = {**inventory(**given).variables, "ansible_play_hosts_all": ["support"]}
        action = object.__new__(wa_retire.ActionModule)
        action._task = type("Task", (), {"args": arguments})
        action._templar = Templar(loader=DataLoader(), variables=variables)
        action._execute_module = self.execute
        found: dict[str, t.Any] = action.run(None, variables)
        return found

    def execute(self, module_name: str, module_args: dict[str, t.Any], task_vars: t.Any) -> dict[str, t.Any]:
        assert (module_name, task_vars["inventory_hostname"]) == ("waba.onprem.wa_retire", "support")
        self.calls.append(module_args)
        return dict(PLAN)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    return Driver(monkeypatch)


def test_the_members_are_selected_without_the_module(driver: Driver) -> None:
    assert driver({"operation": "select", "name": "support"}) == {"members": ["support"]}
    failed = driver({"operation": "select", "name": ""})
    assert failed["failed"]
    assert failed["msg"].startswith("wa_retire: no name; expected one of: support. ")
    assert driver.calls == []


def test_a_plan_is_displayed_and_names_the_deployment(driver: Driver) -> None:
    found = driver({"operation": "plan"}, wa_docker_host="unix:///d.sock")
    assert driver.lines == ["support | goes: network wa-support_default", "support | stays: media volume m at /x"]
    assert found["deployment"]["lock_file"] == "/var/lib/waba/support.lock"
    (call,) = driver.calls
    assert (call["operation"], call["docker_host"]) == ("plan", "unix:///d.sock")
    assert PASSWORD not in str(call)


def test_a_removal_displays_nothing_again(driver: Driver) -> None:
    assert driver({"operation": "remove"}) == PLAN
    assert driver.lines == []


def test_an_invalid_value_is_reported(driver: Driver) -> None:
    failed = driver({"operation": "plan"}, wa_project_dir="relative")
    assert failed["failed"]
    assert failed["msg"].startswith("host support: wa_project_dir: ")
