# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action wa_status: what is displayed, written and notified, in check mode and of a part of the inventory, and how hosts fail."""

from __future__ import annotations

import json
import time
import typing as t
from datetime import datetime, timezone
from pathlib import Path

import fleet_samples as samples
import pytest
from ansible import context
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase
from ansible.template import Templar, trust_as_template
from inventory_samples import inventory

from ansible_collections.waba.onprem.plugins.action import wa_status

STOPPED = samples.drifted("client", containers=["wacore has exited"])
WEBHOOK = "https://hooks.example.com/Canary-5-Url"


class Driver:
    """The action on a play of one host. `read` is what the host has said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: dict[str, t.Any] = STOPPED
        self.registered = "__wa_status_read"
        self.check_mode = False
        self.cli: dict[str, t.Any] = {"inventory": ("i.yml",)}
        self.lines: list[str] = []
        self.warnings: list[str] = []
        monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
        monkeypatch.setattr(time, "time", lambda: samples.NOW)  # what the host has said is of that day
        monkeypatch.setattr(wa_status.display, "display", self.lines.append)
        monkeypatch.setattr(wa_status.display, "warning", self.warnings.append)
        monkeypatch.setattr(context, "CLIARGS", self.cli)

    def __call__(self, arguments: dict[str, t.Any] | None = None, /, **given: t.Any) -> dict[str, t.Any]:
        variables = inventory(**given).variables
        variables["hostvars"]["support"][self.registered] = self.read
        action = object.__new__(wa_status.ActionModule)
        action._task = type("Task", (), {"args": arguments or {}, "check_mode": self.check_mode})
        action._templar = Templar(loader=DataLoader(), variables=variables)
        found: dict[str, t.Any] = action.run(None, {**variables, "ansible_play_hosts_all": ["support"]})
        assert "Canary" not in str([found, self.lines, self.warnings])
        return found


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    return Driver(monkeypatch)


def test_the_state_is_displayed_with_the_commands_of_this_run(driver: Driver) -> None:
    found = driver()
    assert driver.lines == [
        "support   2.53.4    2/2 healthy    1 container down",
        "  wacore has exited",
        "    ansible-playbook -i i.yml --limit support waba.onprem.provision",
        "1 deployment: 0 unreachable, 1 unhealthy, 0 not known, 0 drifted, 0 to be looked at, 0 in sync.",
    ]
    assert list(found["failing"]) == ["support"]
    assert (found["counts"]["unhealthy"], found["report"], found["changed"]) == (1, "", False)


@pytest.mark.parametrize(
    ("fail_on", "failing"), [(None, ["support"]), ([], []), ("drift,expiry", []), ("drift, unhealthy", ["support"])]
)
def test_words_decide_whether_it_fails(driver: Driver, fail_on: t.Any, failing: list[str]) -> None:
    assert list(driver(wa_status_fail_on=fail_on)["failing"]) == failing


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"wa_status_fail_on": ["drfit"]},
            "wa_status_fail_on: 'drfit'; expected some of drift, unhealthy, unreachable, expiry, backup.",
        ),
        (
            {"wa_notify_command": "true"},
            "wa_notify_command: set without wa_report_dir; expected both: the last state is ",
        ),
        ({"wa_report_keep": 0, "wa_report_dir": "{tmp}"}, "wa_report_keep: 0; expected a whole number, at least 1"),
    ],
)
def test_wrong_values_are_refused(driver: Driver, tmp_path: Path, given: dict[str, t.Any], message: str) -> None:
    found = driver(**{key: str(tmp_path) if value == "{tmp}" else value for key, value in given.items()})
    assert found["failed"]
    assert found["msg"].startswith(message)


def test_a_report_is_written_but_not_in_check_mode_nor_of_a_part(driver: Driver, tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    driver.check_mode = True
    driver(wa_report_dir=str(folder), wa_notify_command=f"touch {tmp_path}/called")
    driver.check_mode = False
    driver.cli["subset"] = "support"
    driver(wa_report_dir=str(folder))
    assert list(tmp_path.iterdir()) == []
    assert driver.lines[-1] == "No report is written: --limit names a part of the inventory only."
    driver.cli["subset"] = None
    path = driver(wa_report_dir=str(folder))["report"]
    assert path == str(folder / "fleet.json")
    assert json.loads(Path(path).read_text())["counts"]["unhealthy"] == 1


def test_a_support_bundle_is_written_on_request_but_not_in_check_mode(driver: Driver, tmp_path: Path) -> None:
    given = {"wa_status_bundle": str(tmp_path / "bundles"), "wa_status_bundle_logs": "true"}
    driver.check_mode = True
    driver(**given)
    assert list(tmp_path.iterdir()) == []
    driver.check_mode = False
    driver.cli["subset"] = "support"
    driver(**given)
    (path,) = (tmp_path / "bundles").iterdir()
    assert driver.lines[-1] == f"Support bundle: {path}"
    assert driver.warnings[-1].startswith("The client's logs may hold phone numbers")


def test_a_change_is_notified_once_for_the_worse_and_the_better(driver: Driver, tmp_path: Path) -> None:
    log = tmp_path / "log"
    given = {"wa_report_dir": str(tmp_path / "r"), "wa_notify_command": f"cat >>{log}; echo >>{log} # {WEBHOOK}"}
    driver.read = samples.read()
    driver(**given)
    assert not log.exists()
    driver.read = STOPPED
    driver(**given)
    driver(**given)
    driver.read = samples.read()
    driver(**given)
    said = [json.loads(line)["changes"] for line in log.read_text().splitlines()]
    assert [[(one["name"], one["before"], one["state"]) for one in changes] for changes in said] == [
        [("support", "in_sync", "unhealthy")],
        [("support", "unhealthy", "in_sync")],
    ]


def test_a_part_of_the_inventory_is_not_notified(driver: Driver, tmp_path: Path) -> None:
    driver.cli["subset"] = "h2"
    given = {"wa_report_dir": str(tmp_path / "r"), "wa_notify_command": f"touch {tmp_path}/called"}
    driver(**given)
    driver.registered = "wa_drift"
    driver({"part": "notify"}, **given)
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_fails_is_called_again_by_the_next_run(driver: Driver, tmp_path: Path) -> None:
    failing = f"echo no route to {WEBHOOK} >/dev/null; exit 7"
    for _run in range(2):
        driver(wa_report_dir=str(tmp_path), wa_notify_command=failing)
    warning = "wa_notify_command failed, and is called again by the next run: exit status 7"
    assert driver.warnings == [warning, warning]


def test_a_comparison_alone_notifies_without_a_report(driver: Driver, tmp_path: Path) -> None:
    driver.registered, driver.check_mode = "wa_drift", True
    driver.read = {key: value for key, value in STOPPED.items() if key not in ("about", "figures", "reached")}
    given = {"wa_report_dir": str(tmp_path / "r"), "wa_notify_command": f"cat >{tmp_path}/got"}
    assert driver({"part": "notify"}, **given) == {"changed": False}
    message = json.loads((tmp_path / "got").read_text())
    assert [(one["name"], one["state"]) for one in message["changes"]] == [("support", "unhealthy")]
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["notified.json"]
    assert driver.lines == []
    driver.read = {"unreachable": True, "msg": "No route to host"}
    driver({"part": "notify"}, **given)
    assert json.loads((tmp_path / "got").read_text())["changes"][0]["state"] == "unreachable"


UNFINISHED = {"held": False, "blocking": True, "message": "left unfinished", "stage": "migrating", "target": "2.55.1"}
GC_OFF = samples.drifted("automatic_gc", changes=["turn the automatic GC on"])


@pytest.mark.parametrize(
    ("compared", "read", "given"),
    [
        (STOPPED, STOPPED, {}),
        (
            samples.drifted("host", changes=["left unfinished"]),
            samples.drifted("host", changes=["left unfinished"]),
            {"lock": {**UNFINISHED, "playbook": "upgrade", "resume": {}}},
        ),
        (GC_OFF, GC_OFF, {}),
        (GC_OFF, samples.read(), {"wa_api_key": "key"}),  # status.yml does not log in then
    ],
)
def test_a_comparison_alone_and_a_status_say_the_same_once(
    driver: Driver, tmp_path: Path, compared: t.Any, read: t.Any, given: dict[str, t.Any]
) -> None:
    log, lock = tmp_path / "log", {"lock": given.get("lock", {})}
    options = {key: value for key, value in given.items() if key != "lock"}
    options.update(wa_report_dir=str(tmp_path / "r"), wa_notify_command=f"cat >>{log}; echo >>{log}")
    driver.read = {**read, **lock}
    driver(**options)
    said = log.read_text().count("\n") if log.exists() else 0
    driver.registered = "wa_drift"
    driver.read = {
        key: value for key, value in {**compared, **lock}.items() if key not in ("about", "figures", "reached")
    }
    driver({"part": "notify"}, **options)
    assert (log.read_text().count("\n") if log.exists() else 0) == said


@pytest.mark.parametrize(
    ("read", "state", "text"),
    [
        ({"failed": True, "msg": "it took too long"}, "unknown", "it took too long"),
        ({}, "unknown", "it was not looked at"),
    ],
)
def test_a_look_that_failed_as_a_whole_is_not_known(driver: Driver, read: t.Any, state: str, text: str) -> None:
    driver.read = read
    (cause,) = driver()["failing"]["support"]
    assert (cause["state"], cause["text"]) == (state, text)


def test_of_a_host_that_no_other_controller_has_looked_at_nothing_is_known(driver: Driver, tmp_path: Path) -> None:
    (cause,) = driver(wa_status_artifacts=str(tmp_path))["failing"]["support"]
    assert (cause["state"], cause["text"]) == ("unknown", f"no result of the last hour in {tmp_path}")
    (tmp_path / "all").mkdir()  # as mesh-status makes one for each controller, called as a group of its hosts
    (cause,) = driver(wa_status_artifacts=str(tmp_path))["failing"]["support"]
    assert cause["text"] == "no result of the last hour of controller all"
    driver.read = {"skipped": True}
    events = tmp_path / "artifacts" / "job_events"
    events.mkdir(parents=True)
    data = {"task_action": "waba.onprem.wa_drift_info", "host": "support", "res": STOPPED}
    text = json.dumps({"created": f"{datetime.now(timezone.utc).isoformat()}", "event_data": data})
    (events / "1.json").write_text(text)
    (cause,) = driver(wa_status_artifacts=str(tmp_path))["failing"]["support"]
    assert cause["text"] == "wacore has exited"


def test_a_wrong_inventory_is_reported_all_the_same(driver: Driver) -> None:
    driver.read = {}
    assert list(driver(wa_deployment="none", wa_version="odd")["failing"]) == ["support"]
    no_facts = trust_as_template("{{ ansible_facts.default_ipv4.address }}")
    for name in ("other", "wa_deployment"):
        (cause,) = driver(**{name: no_facts})["failing"]["support"]
        assert (cause["state"], cause["text"]) == ("unknown", "it was not looked at")


@pytest.mark.parametrize(
    ("read", "ends"),
    [(samples.lost(), "unreachable"), (STOPPED, "failed")],
)
def test_a_host_ends_as_ansible_has_it(driver: Driver, read: dict[str, t.Any], ends: str) -> None:
    driver.read = read
    failing = driver()["failing"]
    found = driver({"part": "verdict", "failing": failing})
    assert found[ends]
    assert ("unreachable" in found) == (ends == "unreachable")
