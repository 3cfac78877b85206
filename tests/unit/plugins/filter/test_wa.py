# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of wa."""

from __future__ import annotations

import time
import typing as t

import pytest
from ansible import context
from ansible.errors import AnsibleError, AnsibleFilterError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from upgrade_journals import at

from ansible_collections.waba.onprem.plugins.filter import wa
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology
from ansible_collections.waba.onprem.plugins.plugin_utils import _inventory as inventory
from ansible_collections.waba.onprem.plugins.plugin_utils import _machines as machines


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"failed": True, "msg": "no daemon"}, "no daemon"),
        ({"failed": True}, ""),
        ({"failed": True, "msg": "non-zero return code", "stderr": "a\nno room\n"}, "non-zero return code: no room"),
        (
            {
                "failed": True,
                "msg": "non-zero",
                "rc": 124,
                "cmd": ["timeout", "9", "flock", "timeout", "-k", "30", "240", "a"],
            },
            "it had not ended after 240 s",
        ),
        ({"failed": True, "msg": "killed", "rc": 137, "cmd": ["docker", "stop"]}, "killed"),
        (
            {
                "msg": "One or more items failed",
                "results": [
                    {"failed": True, "item": {"host": "h2"}, "msg": "locked by bob"},
                    {"failed": False, "item": {"host": "h1"}, "msg": "fine"},
                    {"failed": True, "item": {"ansible_job_id": "j1", "item": {"host": "h3"}}, "msg": ""},
                ],
            },
            "h2: locked by bob; h3: no reason given",
        ),
        ({"msg": "All items failed", "results": [{"failed": True, "item": "web", "msg": "expired"}] * 2}, "expired"),
    ],
)
def test_failure_names_host_and_reason(result: dict[str, t.Any], expected: str) -> None:
    assert wa.failure(result) == expected


OWN = {"service": "wacore", "project": "wa-h1", "image": "reg/coreapp:v2.53.4", "name": "wa-h1-wacore-1"}
NEW_CORE = {**OWN, "version": "2.53.4", "state": "running", "one_shot": False}


FAILED = {"failed": True, "item": {"host": "h2"}}
STARTED = {"item": {"host": "h1"}}


@pytest.mark.parametrize(
    ("results", "not_started", "healthy", "expected"),
    [
        ([STARTED], "", {}, ""),
        ([STARTED, FAILED], "h2: no room", {}, ""),  # the others serve without it
        ([STARTED], "", {"msg": "health: disconnected"}, "health: disconnected"),
        ([STARTED, FAILED], "h2: no room", {"msg": "health: Canary-1"}, "h2: no room; health: <hidden>"),
        ([STARTED], "", {"skipped": True}, ""),
        ([STARTED, FAILED], "h2: no room", {"skipped": True}, "h2: no room"),
        ([FAILED], "h2: no room", {}, "h2: no room; no host has started it"),
        ([FAILED], "", {}, "no host has started it"),  # none could be reached
        (None, "database: used", {}, "database: used; no host has started it"),
    ],
)
def test_why_the_old_version_does_not_serve_again(
    results: list[t.Any] | None, not_started: str, healthy: dict[str, t.Any], expected: str
) -> None:
    started = {} if results is None else {"results": results}
    found = wa.FilterModule().filters()["old_version_problem"](started, not_started, healthy, ["Canary-1"])
    assert found == expected


MEMBERS = [{"host": "h1", "project": "wa-h1"}, {"host": "h2", "project": "wa-h1"}]
AWAY = {"failed": True, "reached": False, "msg": "h2 cannot be reached"}
SCREEN: dict[str, t.Any] = {
    **dict.fromkeys(("task", "why", "not_back", "not_started", "settings_backup"), ""),
    **dict.fromkeys(("runs", "leader_lost", "keeps_traffic_away", "lets_traffic_come"), False),
    **dict.fromkeys(("locked", "stopped", "asks_health"), True),
    "deployment": "eu",
    "leader": "h1",
    "before": "2.51.2",
    "target": "2.53.4",
    "at": "stopping",
    "journal": {},
    "asked": {"msg": "no answer"},
    "left": {},
    "still_locked": [],
    "skipped": [],
    "members": MEMBERS,
    "project": "wa-h1",
    "locked_with": [],
    "looked": [{"item": MEMBERS[1]}, {"item": MEMBERS[0], "containers": [{**NEW_CORE, "service": "wacore"}]}],
    "started": {"results": [{"item": MEMBERS[0]}, {"item": MEMBERS[1], **AWAY}]},
    "leaders": ["h1", "h8", "h9"],
    "last_of_wave": "h1",
}


def test_the_screen_of_a_failure_is_made_from_the_results_of_its_tasks() -> None:
    facts = SCREEN
    hostvars: dict[str, dict[str, t.Any]] = {"h1": {}, "h8": {"__wa_upgrade_failed_at": "a"}, "h9": {}}
    found = wa.FilterModule().filters()["upgrade_failure"](facts, hostvars)
    assert found["outcome"] == "rolled_back"
    assert found["lines"][-2:] == [
        "Not started, since they could not be reached: h2.",
        "Left alone, since this wave failed: h9.",
    ]
    assert found["next"] == ["ansible-playbook waba.onprem.upgrade -e wa_upgrade_version=2.53.4"]


def test_the_screen_of_a_failure_knows_what_ran_when_the_deployment_was_locked() -> None:
    ran = {**NEW_CORE, "service": "wacore", "name": "core", "version": "2.51.2"}
    others = [{**ran, "name": "stopped", "state": "exited"}, {**ran, "name": "foreign", "project": "b"}]
    locked = [{"item": MEMBERS[0], "containers": [ran, *others]}, {"item": MEMBERS[1], "containers": [ran]}]
    facts = {**SCREEN, "at": "locked", "locked": True, "stopped": False, "leader_lost": False, "locked_with": locked}
    found = wa.FilterModule().filters()["upgrade_failure"](facts, {"h1": {}, "h8": {}, "h9": {}})
    assert "This run has stopped nothing. Not running on h1: core." in found["lines"]


@pytest.mark.parametrize(("locked", "takes"), [("h1: no room", True), ("h10: no room", False), ("h2: h1: down", False)])
def test_only_the_leaders_own_lock_makes_the_next_run_take_it_over(locked: str, takes: bool) -> None:
    facts = {**SCREEN, "still_locked": [locked]}
    found = wa.FilterModule().filters()["upgrade_failure"](facts, {"h1": {}, "h8": {}, "h9": {}})
    assert ("wa_upgrade_take_over" in found["next"][0]) is takes


def test_the_screen_of_a_failure_knows_what_the_process_that_migrates_has_written() -> None:
    """The copy that the run has made counts no more: somebody had started the migration before it was complete."""
    ours = {"run_id": "m/1/5", **at("stopping", {"manifest": "/d/x.json"}), "target": "2.53.4"}
    for run_id, command in (("m/1/5", True), ("m/2/5", False)):
        asked = {"journal": {**ours, **at("migrating"), "run_id": run_id}}
        facts = {**SCREEN, "at": "migrating", "journal": ours, "asked": asked}
        found = wa.FilterModule().filters()["upgrade_failure"](facts, {"h1": {}, "h8": {}, "h9": {}})
        assert ("wa_restore_snapshot_command=COMMAND" in " ".join(found["lines"])) is command


def test_the_operators_command_that_restores_a_snapshot_is_not_replaced() -> None:
    facts = {**SCREEN, "at": "migrating", "journal": {"run_id": "m/1/5", **at("migrating"), "target": "2.53.4"}}
    for own, shown in (({}, True), ({"wa_restore_snapshot_command": "zfs"}, False)):
        found = wa.FilterModule().filters()["upgrade_failure"](facts, {"h1": own, "h8": {}, "h9": {}})
        assert ("COMMAND" in " ".join(found["lines"])) is shown


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({}, "-e wa_version=2.51.2"),
        ({"wa_restore_snapshot_command": "zfs"}, "-e wa_version=2.51.2 -e wa_restore=/d/x.json"),
        ({"wa_upgrade_without": ["h3"]}, """-e wa_version=2.51.2 -e '{"wa_upgrade_without": ["h3"]}'"""),
    ],
)
def test_the_way_back_names_the_copy_of_this_upgrade_and_who_is_lost(own: dict[str, t.Any], words: str) -> None:
    journal = {"run_id": "m/1/5", **at("migrating", {"manifest": "/d/x.json"}), "target": "2.53.4"}
    facts = {**SCREEN, "at": "migrating", "journal": journal}
    found = wa.FilterModule().filters()["upgrade_failure"](facts, {"h1": own, "h8": {}, "h9": {}})
    assert any(one.endswith(words) for one in found["lines"])


def test_refusal_filters_return_the_message_of_the_rule() -> None:
    filters = wa.FilterModule().filters()
    assert filters["version_refusal"]("vv2.53.4") == ""
    assert "'latest' is no version of the client" in filters["version_refusal"]("latest")


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({}, []),
        ({"results": [{"item": {"host": "h2"}, "reached": False, "msg": "no route"}]}, ["h2: cannot be reached"]),
        ({"results": [{"item": {"host": "h2"}, "msg": "no room"}, {"item": {"host": "h3"}}]}, ["h2: no room"]),
        ({"results": [], "msg": "no items"}, []),
    ],
)
def test_unfinished_lists_hosts_with_their_failures(result: dict[str, t.Any], expected: list[str]) -> None:
    assert wa.unfinished(result) == expected


def test_failure_messages_contain_no_secret() -> None:
    message = 'read /c/db.env: line 2: unexpected character "-" in variable name near "Canary-1\\nB=Canary-2"'
    results = [
        {"failed": True, "msg": message},
        {"failed": True, "stderr": "mysql://wa:Canary-1@db: refused"},
        {
            "failed": True,
            "msg": "All items failed",
            "results": [{"failed": True, "item": {"host": "h1"}, "msg": "Canary-3"}],
        },
    ]
    for result in results:
        assert "Canary" not in wa.failure(result, {"password": "Canary-3"})
        lines = wa.unfinished({"results": [{"item": {"host": "h1"}, **result}]})
        assert "Canary" not in str(lines).replace("Canary-3", "")


SYNCED = {"concerns": {"host": {"state": "in_sync"}}, "restart": "now", "always": []}
DRIFTED = {"concerns": {"log_cleanup": {"state": "drifted", "changes": ["a"]}}, "restart": "now", "always": []}
ALL = ["host", "media_volume", "db_env", "client", "log_cleanup", "automatic_gc"]


@pytest.mark.parametrize(
    ("results", "members", "concerns"),
    [
        ({"h1": SYNCED, "h2": SYNCED}, ["h1", "h2"], []),
        ({"h1": SYNCED, "h2": DRIFTED}, ["h1", "h2"], ["log_cleanup"]),
        ({"h1": SYNCED, "h2": DRIFTED}, ["h1"], []),  # excluded by --limit
        ({"h1": SYNCED, "h2": None}, ["h1", "h2"], ALL),
        ({"h1": SYNCED, "h2": {}}, ["h1", "h2"], ALL),
        ({"h1": SYNCED, "h2": SYNCED, "other": DRIFTED}, ["h1", "h2"], []),
    ],
)
def test_provision_plan_compares_the_members_of_the_run(
    results: dict[str, t.Any], members: list[str], concerns: list[str]
) -> None:
    hostvars = {name: {} if one is None else {"wa_drift": one} for name, one in results.items()}
    assert wa.FilterModule().filters()["provision_plan"](hostvars, members)["roles"] == concerns


def test_hosts_to_correct_are_all_members_of_drifted_deployments() -> None:
    members = {"alone": ["alone"], "h1": ["h1", "h2"], "h2": ["h1", "h2"], "half": ["half", "lost"]}
    results = {"alone": SYNCED, "h1": SYNCED, "h2": DRIFTED, "half": SYNCED}
    hostvars: dict[str, dict[str, t.Any]] = {
        host: {"wa_drift": {**result, "members": members[host]}} for host, result in results.items()
    }
    hostvars.update(lost={"wa_drift": {"failed": True, "msg": "a"}}, earlier=hostvars["h2"])
    rollout = wa.FilterModule().filters()["provision_rollout"](hostvars, [*members, "lost", "gone"])
    assert sorted(rollout["hosts"]) == ["h1", "h2", "half", "lost"]  # its other member was not compared
    assert (rollout["waiting"], rollout["batches"]) == ([], [1])


RESTART = {"concerns": {"client": {"state": "drifted", "restarts": ["a"]}}, "restart": "now", "runs": True}


def test_the_waves_of_the_inventory() -> None:
    hostvars: dict[str, dict[str, t.Any]] = {
        name: {"wa_drift": {**RESTART, "members": [name]}} for name in (f"h{number}" for number in range(50))
    }
    filters = wa.FilterModule().filters()
    rollout = filters["provision_rollout"](hostvars, [*hostvars])
    assert rollout["batches"] == [1, 5, 44]
    assert rollout["lines"][0] == "restarts, wave 1 of 3: h0"
    assert filters["restart_turn"](rollout, "h3", ["h0"])["failed"] == ["h0"]
    later = ", ".join(f"h{number}" for number in range(6, 16))
    assert filters["restart_turn"](rollout, "h3")["keeps_back"] == f"{later} and 34 more"
    # The first wave is not one that a check has refused.
    for name in [*hostvars][1:]:
        hostvars[name]["__wa_waits"] = True
    assert filters["provision_rollout"](hostvars, [*hostvars], True)["waves"][0] == [["h1"]]
    hostvars["h0"]["wa_provision_waves"] = ["50%"]
    assert filters["provision_rollout"](hostvars, [*hostvars])["batches"] == [25, 25]
    hostvars["h0"]["wa_provision_waves"] = "all"
    with pytest.raises(AnsibleFilterError, match="wa_provision_waves: 'all'"):
        filters["provision_rollout"](hostvars, [*hostvars])


RUNS = {**SYNCED, "restart": "now", "runs": True}
RECREATES = {
    **RUNS,
    "cluster": True,
    "concerns": {"client": {"state": "drifted", "containers": ["a"]}},
    "look": {"recreates": True},
}


@pytest.mark.parametrize(
    ("results", "waits"),
    [
        ([RESTART, RUNS], True),
        ([{**DRIFTED, "restart": "now"}, RUNS], False),
        ([RUNS, RUNS], False),
        # A container that is stopped and has to be recreated: of a client on several hosts, in its turn.
        ([RECREATES, RUNS], True),
        ([RECREATES], True),  # the other members are left out
        ([{**RECREATES, "cluster": False}], False),
        ([{**RECREATES, "restart": "report"}, RUNS], False),
    ],
)
def test_members_wait_together(results: list[dict[str, t.Any]], waits: bool) -> None:
    hostvars = {f"h{number}": {"wa_drift": one} for number, one in enumerate(results, 1)}
    assert wa.FilterModule().filters()["provision_plan"](hostvars, [*hostvars])["waits"] is waits


def test_one_gc_at_a_time_on_a_database_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def on(server: str, **more: t.Any) -> dict[str, t.Any]:
        return {"wa_db_env_hostname": server, "wa_db_env_port": 3306, **more}

    hostvars = {
        "a": on("db1"),
        "b": on("DB1", wa_db_env_name_prefix="b_"),
        "c1": on("db1", wa_deployment="c"),
        "c2": on("db1", wa_deployment="c"),
        "d": on("db2"),
        "e": on("db1", wa_db_env_port=3307),
        "unknown": {},
        "other": {},
        "wrong": on("db1", wa_deployment=["x"]),
    }

    class Broken(dict[str, t.Any]):
        def get(self, *_args: t.Any) -> t.NoReturn:
            raise AnsibleError("undefined")

    hostvars["broken"] = Broken()
    gc_turns = wa.FilterModule().filters()["gc_turns"]
    monkeypatch.setattr(time, "gmtime", lambda: time.struct_time((2026, 1, 3, 1, 0, 0, 5, 3, 0)))
    turns = gc_turns(hostvars, [*hostvars])
    assert turns == {
        "a": 0,
        "b": 1,
        "c1": 2,
        "c2": 2,
        "d": 0,
        "e": 0,
        "unknown": 0,
        "other": 0,
        "wrong": 0,
        "broken": 0,
    }
    monkeypatch.setattr(time, "gmtime", lambda: time.struct_time((2026, 1, 4, 1, 0, 0, 6, 4, 0)))
    assert {host: gc_turns(hostvars, [*hostvars])[host] for host in "ab"} == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    "name", ["web 1", "10.0.0.1:2222", "a,b", "*", "!h1", "&h1", "~h", "[fe80::1]", "h[1]", "größe", "a-b.c"]
)
def test_a_host_is_found_by_its_pattern_and_no_other_host(name: str) -> None:
    source = InventoryManager(DataLoader(), sources="localhost,")
    for each in ("h1", "web", "1", "a", "b", name):
        source.add_host(each)
    hostvars = {name: {"wa_drift": {**DRIFTED, "members": [name]}}}
    filters = wa.FilterModule().filters()
    patterns = filters["provision_rollout"](hostvars, [name])["hosts"]
    assert [host.name for host in source.get_hosts(patterns)] == [name]


def test_inventory_read_caches_roles_and_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(inventory, "warm", lambda: read.append("roles"))
    monkeypatch.setattr(machines, "read", lambda _hostvars, groups: read.extend(groups["all"]))
    assert wa.FilterModule().filters()["inventory_readiness"]({}, {"all": ["h1"]}) is True
    assert read == ["roles", "h1"]


HOSTS = ["h1", "h2"]
GROUPS = {"all": HOSTS, "a": HOSTS}
IDENTITY: dict[str, t.Any] = {
    "host": "h1",
    "topology": "high_availability",
    "shards": 1,
    "media_volume": "media",
    "db_env": {},
    "file": {},
    "deployment": topology.deployment("h1", GROUPS, "a"),
    "confirmed": None,
    "folder": "",
}


FREE: dict[str, t.Any] = {
    "upgrade": {},
    "orphan_migrations": {},
    "guard": {"refusal": ""},
    "identity": {"recorded": {}},
    "containers": [],
}


def test_another_client_is_refused_from_the_results_of_all_members() -> None:
    recorded = {"host": "h2", "leader": "h2", "project": IDENTITY["deployment"]["project"]}
    hostvars = {"h1": {"__wa_host_found": FREE}, "h2": {"__wa_host_found": {"identity": {"recorded": recorded}}}}
    refusal = wa.FilterModule().filters()["host_refusal"]
    assert "leader h2 (as recorded on h2) would become h1" in refusal(IDENTITY, hostvars, HOSTS, "h1")
    assert "leader h2 (as recorded on h2) would become h1" in refusal(
        IDENTITY, hostvars, HOSTS, "h2"
    )  # the record alone was read
    # A member that is not in this run does not count.
    assert refusal(IDENTITY, hostvars, ["h1"], "h1") == ""


BLOCKED = {
    "blocking": True,
    "message": "an upgrade to 2.53.4 is unfinished",
    "playbook": "upgrade",
    "resume": {"wa_upgrade_version": "2.53.4"},
}


@pytest.mark.parametrize(
    ("found", "lock_left", "said"),
    [
        ({}, False, ""),
        ({"upgrade": BLOCKED}, False, "h1: an upgrade to 2.53.4 is unfinished: ansible-playbook waba.onprem.upgrade "),
        ({"upgrade": BLOCKED}, True, ""),
        ({"upgrade": {"held": True, "message": "locked by a run"}}, False, "h1: locked by a run."),
        (
            {"orphan_migrations": {"wa-a": "2.53.4"}},
            False,
            "h1: no client runs, and a migration to 2.53.4 was started here",
        ),
        ({"orphan_migrations": {"wa-b": "2.53.4"}}, False, ""),  # of another deployment of the machine
        ({"upgrade": BLOCKED, "orphan_migrations": {"wa-a": "2.53.4"}}, True, ""),
        ({"guard": {"refusal": "x runs outside"}}, False, "h1: x runs outside. Nothing was changed."),
    ],
)
def test_what_forbids_a_change_of_a_host(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, t.Any], lock_left: bool, said: str
) -> None:
    monkeypatch.setattr(context, "CLIARGS", {})
    hostvars = {"h1": {"__wa_host_found": {**FREE, **found}}, "h2": {}}
    refusal = wa.FilterModule().filters()["host_refusal"](IDENTITY, hostvars, HOSTS, "h1", lock_left)
    assert refusal.startswith(said)
    assert bool(refusal) is bool(said)


def test_another_client_is_named_before_a_container_outside_the_project() -> None:
    recorded = {"host": "h2", "leader": "h2", "project": IDENTITY["deployment"]["project"]}
    here = {**FREE, "guard": {"refusal": "x runs outside"}, "identity": {"recorded": recorded}}
    refusal = wa.FilterModule().filters()["host_refusal"](IDENTITY, {"h1": {"__wa_host_found": here}}, ["h1"], "h1")
    assert "would become h1" in refusal


@pytest.mark.parametrize("name", ["asked", "accept_lost", "drill", "remove_former"])
def test_what_a_restore_replaces_or_removes_is_for_one_run(name: str) -> None:
    facts = {"asked": "", "accept_lost": False, "drill": False, "remove_former": False, name: True}
    with pytest.raises(AnsibleFilterError, match="set in the inventory, where it would be a licence for ever"):
        wa.FilterModule().filters()["restore_plan"](facts, {}, [])


TURN = {
    "host": "h2",
    "all": ["h1", "h2", "h3"],
    "hosts": ["h1", "h2", "h3"],
    "batch": ["h1", "h2"],
    "window": "",
    "zone": "",
    "soak": "1m",
    "outage": {},
}
UPGRADED = {"wa_upgrade_result": {"outcome": "upgraded"}}
DUE = {"__wa_upgrade_verdict": {"needed": True, "unfinished": False}}


@pytest.mark.parametrize(
    ("hostvars", "hosts", "looks", "refusal"),
    [
        ({"h2": UPGRADED, "h3": DUE}, ["h1", "h2", "h3"], ["h2"], ""),
        ({"h2": UPGRADED, "h3": {"__wa_upgrade_verdict": {"needed": True, "unfinished": True}}}, ["h1", "h2", "h3"], [], ""),
        ({"h2": UPGRADED, "h3": {"__wa_upgrade_verdict": {"needed": False, "unfinished": False}}}, ["h1", "h2", "h3"], [], ""),
        ({"h2": {"wa_upgrade_result": {"outcome": "not_needed"}}, "h3": DUE}, ["h1", "h2", "h3"], [], ""),
        # Another one of the wave is outside of its window, or was not ready.
        ({"h1": {"__wa_upgrade_asked": {"failed": True}}}, ["h2", "h3"], [], "h2 is not begun, since h1 was not, see above."),
        ({"h1": {"wa_upgrade_result": {"outcome": "failed"}}}, ["h2", "h3"], [], "h2 was not started on: h1 failed."),
    ],
)  # fmt: skip
def test_the_turn_of_a_deployment(hostvars: dict[str, t.Any], hosts: list[str], looks: list[str], refusal: str) -> None:
    facts = {**TURN, "hosts": hosts, "batch": [one for one in hosts if one != "h3"]}
    found = wa.FilterModule().filters()["rollout_turn"](
        facts, {one: hostvars.get(one, {}) for one in ("h1", "h2", "h3")}
    )
    assert ([one["leader"] for one in found["looks"]], found["refusal"]) == (looks, refusal)
