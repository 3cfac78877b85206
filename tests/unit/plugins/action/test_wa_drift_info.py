# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of wa_drift_info: refused variables, separation of secrets, displayed lines, failure on drift."""

from __future__ import annotations

import copy
import time
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from fake_connection import Connection
from inventory_samples import JWT_KEY, PASSWORD, inventory

from ansible_collections.waba.onprem.plugins.action import wa_drift_info
from ansible_collections.waba.onprem.plugins.modules.wa_drift_info import merged
from ansible_collections.waba.onprem.plugins.plugin_utils import _backup as backup
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired as desired
from ansible_collections.waba.onprem.plugins.plugin_utils import _machines as machines

SECRETS = (PASSWORD, JWT_KEY)
GIVEN: dict[str, t.Any] = {
    "wa_db_env_extra_secrets": {"WA_WEB_JWT_CRYPTO_KEY": JWT_KEY},
}
SYNCED = {name: {"state": "in_sync"} for name in (*desired.CONCERNS, "database")}


class Driver:
    """The action plugin with a module that returns one given result."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer: dict[str, t.Any] = {"concerns": SYNCED, "unmanaged": [], "marker": None, "hold": {}}
        self.answer.update(record={"version": "2.53.4"}, record_changed=True, runs=True, expires_on="")
        self.calls: list[dict[str, t.Any]] = []
        self.check_mode = False
        self.lines: list[str] = []
        self.warnings: list[str] = []
        monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
        monkeypatch.setattr(wa_drift_info.display, "display", self.lines.append)
        monkeypatch.setattr(wa_drift_info.display, "warning", self.warnings.append)
        machines._placed.clear()

    def __call__(self, arguments: dict[str, t.Any] | None = None, **given: t.Any) -> dict[str, t.Any]:
        variables = inventory(**{"wa_api_password": PASSWORD, **given}).variables
        action = object.__new__(wa_drift_info.ActionModule)
        action._task = type("Task", (), {"args": arguments or {}, "check_mode": self.check_mode})
        action._loader = DataLoader()
        action._connection = Connection("local")
        action._templar = Templar(loader=DataLoader(), variables=variables)
        action._execute_module = self.execute
        found: dict[str, t.Any] = action.run(None, {**variables})
        return found

    def execute(self, module_name: str, module_args: dict[str, t.Any], task_vars: t.Any) -> dict[str, t.Any]:
        assert module_name == "waba.onprem.wa_drift_info"
        assert task_vars["inventory_hostname"] == "support"
        self.calls.append(module_args)
        return copy.deepcopy(self.answer)

    def set_concerns(self, **concerns: dict[str, t.Any]) -> None:
        self.answer["concerns"] = {**SYNCED, **concerns}


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    return Driver(monkeypatch)


def test_secrets_are_sent_apart_from_the_desired_state(driver: Driver) -> None:
    driver({"probe": True}, **GIVEN)
    (call,) = driver.calls
    assert (call["restart"], call["probe"]) == ("now", True)
    assert [secret for secret in SECRETS if secret in str(call["desired"])] == []
    assert [secret for secret in SECRETS if secret not in str(call["secrets"])] == []
    expected = desired.for_comparison(inventory(wa_api_password=PASSWORD, **GIVEN), [])
    assert merged(call["desired"], call["secrets"]) == expected


def test_a_host_in_sync_displays_no_line(driver: Driver) -> None:
    found = driver()
    assert (found["drift"], found["restart"], found["members"]) == ([], "now", ["support"])
    assert (driver.lines, driver.warnings) == ([], [])


def test_a_deployment_without_a_settings_backup_is_named(driver: Driver, tmp_path: Path) -> None:
    driver(wa_backup_dir=str(tmp_path))
    assert driver.lines == ["support | warning: there is no settings backup. Run backup.yml"]
    with backup.Writer(str(tmp_path), "support", time.time()) as writer:
        writer.finish({"database_server": "", "settings": writer.write(backup.SETTINGS, b"{}")})
    driver(wa_backup_dir=str(tmp_path))
    driver.answer["runs"] = False
    driver(wa_backup_dir=str(tmp_path / "none"))
    assert len(driver.lines) == 1
    # No role starts containers outside Compose.
    driver(wa_backup_dir=str(tmp_path / "none"), wa_project="", wa_client_container_names=["core", "web"])
    assert driver.lines[1:] == driver.lines[:1]


def test_each_difference_is_displayed_on_a_line(driver: Driver) -> None:
    driver.set_concerns(
        host={"state": "drifted", "changes": ["cron does not run"], "warnings": ["odd"]},
        db_env={"state": "restart_pending", "restarts": ["wacore was created with another WA_DB_PORT"]},
        client={"state": "restart_pending", "pending": ["waweb waits"]},
    )
    found = driver(wa_client_restart="01:00-05:00")
    assert found["drift"] == ["host: cron does not run"]
    assert found["restart"] == "window"
    assert driver.lines == [
        "support | host: cron does not run",
        "support | restart pending: wacore was created with another WA_DB_PORT",
        "support | restart pending: waweb waits",
        "support | warning: odd",
    ]
    assert driver.warnings == []


HOLD = {"path": "/var/lib/waba/support.hold", "reason": "why", "since": "X", "old": False}
BY_FILE = (
    "held since X{} by /var/lib/waba/support.hold on support: why. No container of the client is started, restarted or stopped. "
    "To end it: sudo rm /var/lib/waba/support.hold"
)
BY_INVENTORY = (
    "held by wa_client_hold in the inventory: why. No container of the client is started, restarted or stopped. To end it: "
    "remove wa_client_hold"
)


@pytest.mark.parametrize(
    ("hold", "given", "line", "text"),
    [
        (HOLD, {}, BY_FILE.format(""), BY_FILE.format("")),
        (
            {**HOLD, "old": True},
            {},
            "warning: " + BY_FILE.format(" (for more than a week)"),
            BY_FILE.format(" (for more than a week)"),
        ),
        ({}, {"wa_client_hold": "why"}, BY_INVENTORY, BY_INVENTORY),
    ],
)
def test_a_hold_is_displayed_and_what_it_holds(
    driver: Driver, hold: dict[str, t.Any], given: dict[str, t.Any], line: str, text: str
) -> None:
    driver.answer["hold"] = hold
    driver.set_concerns(
        client={"state": "drifted", "changes": ["F has another content"], "containers": ["wacore has exited"]}
    )
    found = driver(**given)
    assert (found["held"], found["drift"]) == (text, ["client: F has another content"])
    assert driver.lines == [
        f"support | {line}",
        "support | client: F has another content",
        "support | held: wacore has exited",
    ]


def test_what_a_hold_holds_is_no_remaining_drift(driver: Driver) -> None:
    driver.set_concerns(client={"state": "drifted", "containers": ["wacore has exited"]})
    arguments = {"fail_on_drift": True}
    assert driver(arguments)["drift"] == ["client: wacore has exited"]
    assert "failed" not in driver(arguments, wa_client_hold="why")
    assert "failed" not in driver(arguments, wa_drift={"hold": HOLD})  # as the first comparison has read it


RESTART = "wacore was created with another WA_DB_PORT"


@pytest.mark.parametrize(
    ("run_tags", "skip_tags", "left"),
    [
        (["all"], [], ["host: cron does not run", f"db_env: {RESTART} (needs a restart)"]),
        (["host"], [], ["host: cron does not run"]),
        (["log_cleanup"], [], []),
        (["db_env"], [], []),  # the role db_env writes the file; containers are restarted by that of the client
        (["db_env", "client"], [], [f"db_env: {RESTART} (needs a restart)"]),
        (["all"], ["host"], [f"db_env: {RESTART} (needs a restart)"]),
    ],
)
def test_only_what_the_tags_select_has_to_be_corrected(
    driver: Driver, run_tags: list[str], skip_tags: list[str], left: list[str]
) -> None:
    driver.set_concerns(
        host={"state": "drifted", "changes": ["cron does not run"]},
        db_env={"state": "drifted", "restarts": [RESTART]},
        client={"state": "in_sync"},
    )
    found = driver({"fail_on_drift": True}, ansible_run_tags=run_tags, ansible_skip_tags=skip_tags)
    assert found.get("drift", []) == left
    assert found.get("failed", False) is bool(left)


def test_an_unknown_variable_is_a_warning(driver: Driver) -> None:
    driver(wa_db_env_enginee="MYSQL")
    assert driver.warnings == ["no role knows the variable wa_db_env_enginee; do you mean wa_db_env_engine?"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"wa_client_restart": "soon"},
            "support: wa_client_restart: 'soon' is no window; expected now, report, or a window such as 01:00-05:00",
        ),
        (
            {"wa_db_env_extra": "A=1"},
            "support: wa_db_env_extra is text, but must be a mapping. On the command line give all of ",
        ),
        ({"wa_log_cleanup_hour": 24}, "support: wa_log_cleanup_hour: "),
        ({"wa_version": "latest"}, "support: version: 'latest' is no version of the client; expected "),
        ({"wa_project_dir": "srv"}, "support: host support: wa_project_dir: "),
    ],
)
def test_refused_variables_fail_before_the_module_runs(driver: Driver, given: dict[str, t.Any], message: str) -> None:
    found = driver(**given)
    assert found == {"failed": True, "msg": found["msg"]}
    assert found["msg"].startswith(message)
    assert found["msg"].endswith(". Nothing was changed.")
    assert driver.calls == []


@pytest.mark.parametrize("answer", [{"failed": True, "msg": "no Python"}, {"unreachable": True}, {"skipped": True}])
def test_a_result_of_a_module_that_did_not_run_is_returned(driver: Driver, answer: dict[str, t.Any]) -> None:
    driver.answer = answer
    assert driver({"fail_on_drift": True}) == answer


# After the roles have run


def test_fail_on_drift_accepts_a_pending_restart(driver: Driver) -> None:
    driver.set_concerns(
        db_env={"state": "restart_pending", "restarts": ["wacore was created with another WA_DB_PORT"]},
        client={"state": "restart_pending", "pending": ["waweb waits"]},
    )
    found = driver({"fail_on_drift": "yes"}, wa_client_restart="01:00-05:00")
    assert found["concerns"] == driver.answer["concerns"]
    assert "failed" not in found
    assert driver.calls[0]["fail_on_drift"] == "yes"


def test_fail_on_drift_fails_with_all_remaining_drifts(driver: Driver) -> None:
    driver.set_concerns(
        host={"state": "drifted", "changes": ["cron does not run."]},
        client={"state": "unknown", "error": "Docker Engine: no answer."},
    )
    left = ["host: cron does not run.", "client: not known: Docker Engine: no answer."]
    assert driver({"fail_on_drift": True}) == {
        "failed": True,
        "msg": "support: not as the inventory wants it: host: cron does not run. client: not known: Docker Engine: no answer.",
        "drift": left,
        "alarms": [],
    }


# Alarms: what no role corrects

DEAD = {"state": "in_sync", "alarms": ["the client does not serve: not registered: coreapp."]}
ALARM = "the client does not serve: not registered: coreapp"


def test_an_alarm_is_displayed_and_is_no_drift(driver: Driver) -> None:
    driver.set_concerns(health=DEAD)
    assert driver()["drift"] == []
    assert driver.lines == [f"support | alarm: {ALARM}"]


def test_a_client_that_nobody_can_ask_is_named(driver: Driver) -> None:
    driver.set_concerns(health={"state": "in_sync"})
    driver(wa_api_password=None)
    assert driver.lines == [
        "support | not asked whether the client serves, here and where else neither wa_api_key nor wa_api_password is set. Set one"
    ]
    driver.lines.clear()
    driver(wa_api_password=None, wa_api_key="k")
    driver(wa_api_password="p")
    assert driver.lines == []


@pytest.mark.parametrize(
    ("skip_tags", "run_tags", "alarms"),
    [([], ["all"], [ALARM]), ([], ["db_env"], [ALARM]), (["health"], ["all"], []), (["db_env"], ["all"], [ALARM])],
)
def test_an_alarm_that_is_left_is_returned(
    driver: Driver, skip_tags: list[str], run_tags: list[str], alarms: list[str]
) -> None:
    driver.set_concerns(health=DEAD)
    found = driver({"fail_on_drift": True}, ansible_run_tags=run_tags, ansible_skip_tags=skip_tags)
    assert (found["alarms"], "failed" in found) == (alarms, False)


def test_a_failure_names_the_alarms_too(driver: Driver) -> None:
    driver.set_concerns(health=DEAD, host={"state": "drifted", "changes": ["cron does not run"]})
    found = driver({"fail_on_drift": True})
    assert found["msg"] == f"support: not as the inventory wants it: host: cron does not run. {ALARM}."


@pytest.mark.parametrize(("plan", "alarms"), [([], [ALARM]), (["log_cleanup"], [ALARM]), (["db_env", "client"], [])])
def test_check_mode_predicts_the_alarms_from_the_first_comparison(
    driver: Driver, plan: list[str], alarms: list[str]
) -> None:
    driver.check_mode = True
    found = driver({"fail_on_drift": True}, wa_drift={"concerns": {**SYNCED, "health": DEAD}}, __wa_plan=plan)
    assert found == {"changed": False, "alarms": alarms}
    assert driver.calls == []


@pytest.mark.parametrize(
    ("concern", "recorded"),
    [("log_cleanup", True), ("automatic_gc", True), ("host", True), ("client", False), ("db_env", False)],
)
def test_only_a_failure_of_the_client_keeps_its_identity_from_being_recorded(
    driver: Driver, concern: str, recorded: bool
) -> None:
    driver.set_concerns(**{concern: {"state": "drifted", "changes": ["the last log cleanup failed"]}})
    found = driver({"fail_on_drift": True})
    assert found["failed"]
    assert found.get("record") == (driver.answer["record"] if recorded else None)


# Unmanaged client containers


def container(**more: t.Any) -> dict[str, t.Any]:
    one = {"name": "old-core", "image": "r/coreapp:v2.51.2", "project": "", "state": "running", "role": "core"}
    return {**one, "one_shot": False, "database": "db.example.com:3306/", **more}


@pytest.mark.parametrize(
    ("more", "given", "changes"),
    [
        ({}, {}, ["old-core (r/coreapp:v2.51.2) is a client that this inventory does not describe"]),
        (
            {"database": "192.0.2.9:3306/"},
            {"wa_db_env_hostname": "192.0.2.1"},
            ["old-core (r/coreapp:v2.51.2) is a client that this inventory does not describe"],
        ),
    ],
)
def test_an_unmanaged_client_is_a_drift_of_the_host(
    driver: Driver, more: dict[str, t.Any], given: dict[str, t.Any], changes: list[str]
) -> None:
    driver.answer["unmanaged"] = [container(**more)]
    found = driver(**given)
    state = {"state": "drifted", "changes": changes} if changes else {"state": "in_sync"}
    assert found["concerns"]["host"] == state
    assert found["drift"] == [f"host: {text}" for text in changes]


def test_an_unknown_host_state_stays_unknown(driver: Driver) -> None:
    driver.set_concerns(host={"state": "unknown", "error": "odd"})
    driver.answer["unmanaged"] = [container()]
    found = driver()
    assert found["concerns"]["host"]["state"] == "unknown"
    assert len(found["drift"]) == 2


# SSH keep-alives


STATUS = {"status": True, "probe": True}


def test_for_a_status_figures_are_asked_and_nothing_is_displayed(driver: Driver, tmp_path: Path) -> None:
    driver.set_concerns(db_env={"state": "drifted", "changes": ["set X"]})
    images = {"support": {"images": [{"name": "r/web:v2.53.4"}]}}
    with backup.Writer(str(tmp_path), "support", 900.0) as writer:
        kept = {"leader": "support", "hosts": images, "images": writer.write("a.tar", b"")}
        writer.finish({"database_server": "", "settings": None, **kept})
    with backup.Writer(str(tmp_path), "support", 1000.0) as writer:
        writer.finish({"database_server": "", "settings": writer.write(backup.SETTINGS, b"{}")})
    found = driver(STATUS, wa_backup_dir=str(tmp_path))
    (call,) = driver.calls
    assert call["figures"]["volume"] == "wa-support_whatsappMedia"
    assert call["desired"]["database"]["figures"] is True
    assert call["figures"]["api_url"] == "https://127.0.0.1:9090"
    assert driver.lines == []
    assert (found["reached"], found["held"], found["concerns"]["db_env"]["state"]) == (True, "", "drifted")
    assert found["about"]["backups"] == {
        "given": True,
        "settings": 1000.0,
        "database": None,
        "images": 900.0,
        "image_names": ["r/web:v2.53.4"],
    }
    assert (found["about"]["services"], found["about"]["version"]) == (2, "2.53.4")


@pytest.mark.parametrize(("given", "mode"), [("now", "now"), ("report", "report"), ("01:00-05:00", "window")])
def test_for_a_status_what_waits_for_a_restart_is_told_apart(driver: Driver, given: str, mode: str) -> None:
    assert driver(STATUS, wa_client_restart=given)["restart"] == mode


def test_for_a_status_a_lost_host_is_a_result(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(**_options: t.Any) -> t.NoReturn:
        raise AnsibleConnectionFailure("No route\nto host")

    monkeypatch.setattr(driver, "execute", lose)
    found = driver(STATUS)
    assert (found["reached"], found["problem"], found.get("failed")) == (False, "No route to host", None)
    assert found["about"]["name"] == "support"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"wa_client_log_max_size": 7.5}, "support: "),
        ({"wa_version": "odd"}, "support: version: 'odd' is no version of the client"),
        ({"wa_deployment": "none"}, "support: host support: wa_deployment: 'none' is no group"),
    ],
)
def test_for_a_status_a_wrong_inventory_is_a_result(driver: Driver, given: dict[str, t.Any], problem: str) -> None:
    found = driver(STATUS, **given)
    assert (found.get("failed"), driver.calls) == (None, []) or "log_max_size" in str(given)
    assert found.get("problem", problem).startswith(problem)


def test_for_a_status_a_module_that_fails_is_a_result(driver: Driver) -> None:
    driver.answer = {"failed": True, "msg": "no Python"}
    found = driver(STATUS)
    assert (found.get("failed"), found["problem"]) == (None, "support: no Python")


def test_a_refused_login_is_not_tried_again(driver: Driver, tmp_path: Path) -> None:
    given = {"wa_report_dir": str(tmp_path / "r")}
    driver.answer.update(login_refused=True, figures={})
    driver.set_concerns(health={"state": "in_sync", "alarms": ["it is not known: HTTP 401"]})
    driver(STATUS, **given)
    driver.answer.update(login_refused=False)
    driver.set_concerns(health={"state": "in_sync"})
    found = driver(STATUS, **given)
    assert "api_password" in driver.calls[0]["secrets"]["health"]
    assert "api_password" not in driver.calls[1]["secrets"]["health"]
    (alarm,) = found["concerns"]["health"]["alarms"]
    assert "this password was refused at" in alarm


@pytest.mark.parametrize(("given", "asked"), [({}, True), ({"wa_api_key": "Key-1234-5678"}, False)])
def test_for_a_status_nobody_logs_in_with_a_key(driver: Driver, given: dict[str, t.Any], asked: bool) -> None:
    driver(STATUS, wa_message_gc_automatic=True, **given)
    assert ("automatic_gc" in driver.calls[0]["desired"]) == asked
