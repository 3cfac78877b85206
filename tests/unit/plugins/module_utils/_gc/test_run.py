# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A message GC in which something fails: the API, the database, notifications, an upgrade, a process that is killed."""

from __future__ import annotations

import json
import time
import typing as t
from pathlib import Path

import pytest
from fake_webapp import FakeWebapp, error
from gc_module import CALL, GC, Run, Table, collects, notify, processing, state

from ansible_collections.waba.onprem.plugins.module_utils._database.connection import DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile

NODES = ("a:9dfe77618dba", "b:a9dcc716fd6e")


def calls(fake: FakeWebapp) -> int:
    return fake.paths().count(CALL)


# The API


def not_started(*names: str, **running: t.Any) -> t.Any:
    failed = {name: {"errors": [{"code": 1014, "details": "x"}]} for name in names}
    return 200, {"services": {"message": {"gc": {**failed, **running}}}}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (error(500, 1014, "Internal error", "Coreapp broken"), "code 1014"),
        (not_started("b"), "started on no node: b failed: 1014, x"),
    ],
)
def test_gc_that_does_not_start_is_due_again(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, answer: t.Any, message: str
) -> None:
    fake.on("PUT", GC, answer)
    result = run(policy="daily")
    assert message in result["msg"]
    assert (result["changed"], result["rounds"], fake.tokens) == (False, 0, set())
    assert (state(tmp_path)["run"]["over"], state(tmp_path)["run"]["keys"]) == (True, [])
    fake.on("PUT", GC, collects(table))
    table.rows = 1_999
    assert run(policy="daily")["changed"]


@pytest.mark.parametrize(
    ("answers", "warning", "logins"),
    [
        (["close"], "the table shows whether GC has begun", 1),
        ([(504, None)], "the table shows whether GC has begun", 1),
        ([(502, None)], "the table shows whether GC has begun", 1),
        (
            [error(500, 1000, "Generic error", "Message GC is already running")],
            "the table shows whether GC has begun",
            1,
        ),
        ([not_started("b", a={"status": "processing"})], "GC did not start on b failed: 1014", 1),
        ([(429, None), (401, None), processing()], "", 2),  # waited out, and logged in anew
    ],
)
def test_an_answer_with_which_gc_may_have_begun(
    run: Run, fake: FakeWebapp, table: Table, warned: list[str], answers: list[t.Any], warning: str, logins: int
) -> None:
    fake.on("PUT", GC, *answers[:-1], collects(table, answer=answers[-1]))
    result = run()
    assert (result["messages_after"], calls(fake), fake.logins) == (1_800, len(answers), logins)
    assert any(warning in text for text in warned) or not warning
    assert not warning.startswith("GC did") or result["nodes"]["b"]["status"].startswith("failed")


def test_a_call_that_never_arrives_is_made_once_more(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, "close", collects(table))
    assert run()["messages_after"] == 1_800
    fake.on("PUT", GC, "close")
    table.rows = 2_200
    assert "deleted nothing" in run()["msg"]
    assert calls(fake) == 4


def test_a_login_that_fails_between_two_rounds(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    def change_password() -> t.Any:
        fake.passwords["admin"] = "Other-1234"
        return collects(table, 80)()

    fake.on("PUT", GC, change_password)
    result = run()
    assert "HTTP 401" in result["msg"]
    assert (result["changed"], result["rounds"], result["messages_after"]) == (True, 1, 2_120)
    assert (state(tmp_path)["run"]["over"], state(tmp_path)["run"]["large"]) == (True, True)
    assert "HTTP 401" in run(run_id=result["run_id"])["msg"], "who follows it hears the same"


def test_a_refused_login_is_not_repeated(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    for password, message in (
        ("Wrong-9999", "HTTP 401"),
        ("Wrong-9999", "and is tried again after a day"),
        ("Wrong-8888", "HTTP 401"),
    ):
        assert message in run(api_password=password)["msg"]
    assert fake.logins == 2
    assert (tmp_path / "api-login-gc.json").exists()
    fake.passwords["admin"] = "Wrong-8888"  # a first login, for instance, has made it right
    fake.on("PUT", GC, collects(table))
    assert run(api_password="Wrong-8888", retry_refused_login=True)["messages_after"] == 1_800
    assert list(tmp_path.glob("api-login*")) == []


def test_what_is_asked_with_a_token_or_without_a_credential(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, warned: list[str]
) -> None:
    predicted = run(check=True, api_password=None)
    assert (predicted["changed"], predicted["messages_before"]) == (False, 2_200)
    assert "GC would not be called: api_password: not given" in warned[0]
    assert "api_password: not given; expected the API user's password, or api_token" in run(api_password=None)["msg"]
    assert (fake.requests, (tmp_path / "gc.json").exists()) == ([], False)
    fake.tokens.add("given")
    fake.on("PUT", GC, collects(table))
    assert run(api_token="given", api_password=None)["messages_after"] == 1_800
    assert (fake.logins, fake.tokens) == (0, {"given"})


# The database


def lost(kind: str = "lost") -> DatabaseError:
    return DatabaseError("database PGSQL at db:5432", "server closed the connection", kind)


def test_a_database_that_is_away_is_borne_for_a_while(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table, batches=20, pause=0.1))
    run(wait=False)
    for kind in ("lost", "unreachable", "too_many", "starting"):
        table.troubles = [lost(kind)]
        step = run(wait=False)
        assert (step["running"], step["progress"]["phase"]) == (True, "database: server closed the connection")
    table.troubles = [lost() for _number in range(1000)]
    assert "while GC runs" in run(wait_timeout="0.5")["msg"]
    table.troubles = [lost("denied")]
    assert "server closed the connection" in run()["msg"]
    table.troubles = []
    assert (run()["messages_after"], calls(fake)) == (1_800, 1)


@pytest.mark.parametrize("kind", ["unreachable", "too_many", "login", "timeout"])
def test_a_database_that_is_away_at_the_start(run: Run, fake: FakeWebapp, table: Table, kind: str) -> None:
    table.troubles = [lost(kind)] * 10
    assert "database PGSQL at db:5432" in run()["msg"]
    assert fake.requests == []


def test_a_database_too_slow_to_count(run: Run, fake: FakeWebapp, table: Table, warned: list[str]) -> None:
    """What cannot be counted is large before the first call, and no reason for another one."""
    table.slow_from = 1
    fake.on("PUT", GC, collects(table))
    result = run()
    assert any("the count took too long; the table counts as large" in text for text in warned)
    assert "the count took too long, so nobody knows whether GC is to be called again; about 1800 rows" in result["msg"]
    assert (result["exact"], calls(fake)) == (False, 1)


def test_the_vacuum_comes_early_and_before_the_count(
    run: Run, fake: FakeWebapp, table: Table, warned: list[str]
) -> None:
    table.vacuums = ["VACUUM not done: time-out"]  # the early one is cut off
    fake.on("PUT", GC, collects(table))
    assert run(quiet_period="4")["messages_after"] == 1_800
    assert (table.vacuumed, warned) == (2, [])
    table.rows, table.vacuums = 2_200, ["VACUUM not done: time-out"] * 99
    run(quiet_period="4")
    assert warned == ["VACUUM not done: time-out"]


# A process that is killed, a clock that is set


@pytest.mark.parametrize("slow", ["login", "call"])
def test_what_goes_before_the_client_begins_is_no_quiet(run: Run, fake: FakeWebapp, table: Table, slow: str) -> None:
    if slow == "login":
        fake.on("POST", "/v1/users/login", (429, None), (200, {"users": [{"token": "t"}]}))  # a second later
        fake.tokens.add("t")

    def reply() -> t.Any:
        time.sleep(1.0 if slow == "call" else 0.0)
        return collects(table, delay=0.5)()

    fake.on("PUT", GC, reply)
    result = run(quiet_period="0.8")
    assert (result["messages_after"], result["rounds"]) == (1_800, 1)


def test_a_run_that_was_killed_is_judged_by_the_table(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, collects(table))
    run(wait=False)
    time.sleep(0.5)
    data = state(tmp_path)
    data["run"].update(unanswered=1, nodes={})  # it was killed in the call
    wall = data["run"]["looked"][0]
    for looked in ([wall - 3600, 0.0, "another"], [wall + 3600, 0.0, "another"]):  # the host has started anew
        data["run"]["looked"] = looked
        (tmp_path / "gc.json").write_text(json.dumps(data))
        assert run(wait=False)["running"], "rows have gone since, or nobody knows when"
        data = state(tmp_path)
    assert (run()["messages_after"], calls(fake)) == (1_800, 1)


@pytest.mark.parametrize("shift", [-7200.0, 7200.0])
def test_a_clock_that_is_set_during_the_run(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: float
) -> None:
    path = tmp_path / "webhook.jsonl"
    real = time.time

    def reply() -> t.Any:
        monkeypatch.setattr(time, "time", lambda: real() + shift)
        table.delete(400)
        notify(path, 400, timestamp=real() + shift)
        return processing()

    fake.on("PUT", GC, reply)
    result = run(notifications=str(path))
    assert (result["messages_after"], result["messages_deleted"]) == (1_800, 400)


# Notifications


def test_a_notification_that_is_missing_or_early(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    path = tmp_path / "webhook.jsonl"

    def reply(*nodes: str) -> t.Any:
        table.delete(400, batches=20)
        notify(path, 400, "c:0123456789ab" if nodes else None)  # late: nothing in it tells that it is an older one's
        return processing(*nodes)

    fake.on("PUT", GC, lambda: reply(*NODES))
    result = run(notifications=str(path), wait_timeout="5")
    assert "no notification from a:9dfe77618dba, b:a9dcc716fd6e" in result["msg"]
    assert "but from c:0123456789ab, which the call did not name; expected one of each node in " in result["msg"]
    assert "or leave notifications out" in result["msg"]
    fake.on("PUT", GC, reply)
    table.rows = 2_200
    assert run(notifications=str(path))["messages_after"] == 1_800, "it does not end a GC that deletes"


# An upgrade


def begin_upgrade(tmp_path: Path) -> None:
    claim = upgrade_journal.Claim("support", "m/1/5", "ann", "ops1", "2.53.4")
    JournalFile(str(tmp_path / "wa.lock")).save(upgrade_journal.begin(None, claim, time.time(), 60))


def test_no_gc_is_called_beside_an_upgrade(run: Run, fake: FakeWebapp, tmp_path: Path) -> None:
    def login() -> t.Any:
        begin_upgrade(tmp_path)
        return 200, {"users": [{"token": "t"}]}

    fake.on("POST", "/v1/users/login", login)
    assert "an upgrade goes on" in run()["skip_reason"], "it has begun before the call"
    assert calls(fake) == 0
    fake.requests.clear()
    for check in (False, True):
        assert "an upgrade goes on: locked by the upgrade to 2.53.4 by ann" in run(check=check)["skip_reason"]
    assert fake.requests == []


def test_an_upgrade_that_begins_between_two_rounds(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, warned: list[str]
) -> None:
    def first() -> t.Any:
        begin_upgrade(tmp_path)
        return collects(table, 100)()

    fake.on("PUT", GC, first)
    run()
    assert (calls(fake), fake.logins, state(tmp_path)["run"]["over"]) == (1, 1, True)
    assert any("rows remain; no GC is called again: an upgrade goes on: locked" in text for text in warned)
