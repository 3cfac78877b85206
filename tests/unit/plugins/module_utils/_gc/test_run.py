# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A message GC in which something fails: the API, the database, notifications, an upgrade, a process that is killed."""

from __future__ import annotations

import json
import threading
import time
import typing as t
from pathlib import Path

import pytest
from fake_webapp import FakeWebapp, error
from gc_module import CALL, GC, PASSWORD, Run, Table, collects, notify, processing, state

from ansible_collections.waba.onprem.plugins.module_utils._database.connection import DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile
from ansible_collections.waba.onprem.plugins.module_utils._gc import calls as gc_calls


def calls(fake: FakeWebapp) -> int:
    return fake.paths().count(CALL)


def change(tmp_path: Path, **values: t.Any) -> None:
    """Set values of the run that is kept."""
    data = state(tmp_path)
    data["run"].update(values)
    (tmp_path / "gc.json").write_text(json.dumps(data))


# The API


def test_gc_that_does_not_start_leaves_nothing_behind(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, error(500, 1014, "Internal error", "Coreapp broken"))
    result = run(policy="daily")
    assert "code 1014" in result["msg"]
    assert (state(tmp_path)["run"], state(tmp_path)["last"], result["changed"], fake.tokens) == (
        None,
        None,
        False,
        set(),
    )
    fake.on("PUT", GC, collects(table))
    assert run(policy="daily")["changed"]


def nodes(**failed: str) -> t.Any:
    gc = {name: {"errors": [{"code": 1014, "details": text}]} for name, text in failed.items()}
    return 200, {"services": {"message": {"gc": {"a:9dfe77618dba": {"status": "processing"}, **gc}}}}


def test_one_node_of_two_does_not_start(run: Run, fake: FakeWebapp, table: Table, warned: list[str]) -> None:
    fake.on("PUT", GC, collects(table, answer=nodes(b="wacore3:6252")))
    result = run()
    assert result["messages_after"] == 1_800
    assert any("GC did not start on b failed: 1014" in text for text in warned)
    assert result["nodes"]["b"]["status"].startswith("failed")


def test_no_node_starts(run: Run, fake: FakeWebapp, tmp_path: Path) -> None:
    fake.on("PUT", GC, (200, {"services": {"message": {"gc": {"b": {"errors": [{"code": 1014, "details": "x"}]}}}}}))
    assert "started on no node: b failed: 1014, x" in run()["msg"]
    assert state(tmp_path)["run"] is None


@pytest.mark.parametrize(
    "answer",
    ["close", (504, None), (502, None), error(500, 1000, "Generic error", "Message GC is already running")],
)
def test_an_answer_that_leaves_it_open_is_judged_by_the_table(
    run: Run, fake: FakeWebapp, table: Table, warned: list[str], answer: t.Any
) -> None:
    fake.on("PUT", GC, collects(table, answer=answer))
    assert run()["messages_after"] == 1_800
    assert calls(fake) == 1
    assert any("the table shows whether GC has begun" in text for text in warned)


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
    assert (result["changed"], result["rounds"], state(tmp_path)["run"]) == (True, 1, None)
    assert state(tmp_path)["last"]["large"]


def test_rate_limit_and_overload_are_waited_out(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, (429, None), (401, None), collects(table))
    assert run()["messages_after"] == 1_800
    assert fake.logins == 2


# The database


def lost(kind: str = "lost") -> DatabaseError:
    return DatabaseError("database PGSQL at db:5432", "server closed the connection", kind)


def test_a_database_that_fails_over_in_the_middle(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table))
    run(wait=False)
    table.troubles = [lost(), lost("unreachable"), lost("too_many"), lost("starting")]
    step = run(wait=False)
    assert (step["running"], step["progress"]["phase"]) == (True, "database: server closed the connection")
    assert run()["messages_after"] == 1_800


def test_a_database_that_stays_away(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table))
    run(wait=False)
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


def test_a_vacuum_that_was_cut_off_is_done_before_the_count(
    run: Run, fake: FakeWebapp, table: Table, warned: list[str]
) -> None:
    table.vacuums = ["VACUUM not done: time-out"]
    fake.on("PUT", GC, collects(table))
    assert run(quiet_period="1.5")["messages_after"] == 1_800
    assert (table.vacuumed, warned) == (2, [])
    table.rows, table.vacuums = 2_200, ["VACUUM not done: time-out"] * 99
    run(quiet_period="1.5")
    assert warned == ["VACUUM not done: time-out"]


def test_a_replica_is_refused(run: Run, fake: FakeWebapp, table: Table) -> None:
    table.read_only = True
    assert "read only" in run()["msg"]
    assert calls(fake) == 0


# A process that is killed, a clock that is set


@pytest.mark.parametrize("slow", ["marking", "call"])
def test_what_goes_before_the_client_begins_is_no_quiet(
    run: Run, fake: FakeWebapp, table: Table, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    monkeypatch.setattr(gc_calls, "_MARK_PAUSE", 1.0)
    fake.on("GET", "/v1/settings/application", (200, {}))
    fake.on("PUT", "/v1/messages/one", (200, {}))

    def reply() -> t.Any:
        time.sleep(1.0 if slow == "call" else 0.0)
        return collects(table, delay=0.5)()

    fake.on("PUT", GC, reply)
    result = run(quiet_period="0.8", mark_read=["one"] if slow == "marking" else [])
    assert (result["messages_after"], result["rounds"]) == (1_800, 1)


def test_a_module_killed_in_the_call_is_judged_by_the_table(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path
) -> None:
    fake.on("PUT", GC, collects(table))
    run(wait=False)
    change(tmp_path, answered=False, nodes={})
    assert (run()["messages_after"], calls(fake)) == (1_800, 1)


def test_a_run_whose_controller_was_lost_has_ended_when_no_rows_go(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path
) -> None:
    fake.on("PUT", GC, collects(table))
    run(wait=False)
    time.sleep(0.5)
    looked = state(tmp_path)["run"]["looked"]
    for moment in (
        {"wall": looked["wall"] - 3600, "uptime": 0.0, "boot": "another"},
        {"wall": looked["wall"] + 3600, "uptime": 0.0, "boot": "another"},
    ):
        change(tmp_path, looked=moment)
        step = run(wait=False)
        assert step["running"], "rows have gone since, or nobody knows when"
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
    assert (result["messages_after"], result["messages_deleted"], result["seconds"] < 30) == (1_800, 400, True)


# Notifications


def test_every_node_must_have_notified(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    path = tmp_path / "webhook.jsonl"
    notify(path, 999)  # of an older run
    names = ("a:9dfe77618dba", "b:a9dcc716fd6e")

    def reply() -> t.Any:
        table.delete(400)
        notify(path, 150, names[0])
        notify(path, 150, names[0])  # repeated: the client does so until it gets a 200
        threading.Timer(1.5, notify, (path, 250, names[1])).start()
        return processing(*names)

    fake.on("PUT", GC, reply)
    result = run(notifications=str(path))
    assert (result["messages_deleted"], result["messages_after"]) == (400, 1_800)
    assert result["nodes"] == {name: {"status": "complete", "count": count} for name, count in zip(names, (150, 250))}


def test_notifications_do_not_end_a_gc_that_deletes(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    path = tmp_path / "webhook.jsonl"

    def reply() -> t.Any:
        table.delete(400, batches=20)
        notify(path, 7)  # late: nothing in it tells that it is an older one's
        return processing()

    fake.on("PUT", GC, reply)
    assert run(notifications=str(path))["messages_after"] == 1_800


def test_a_notification_that_is_missing(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    path = tmp_path / "webhook.jsonl"

    def reply() -> t.Any:
        table.delete(400)
        notify(path, 400, "c:0123456789ab")
        return processing("a:9dfe77618dba", "b:a9dcc716fd6e")

    fake.on("PUT", GC, reply)
    result = run(notifications=str(path), wait_timeout="5")
    assert "no notification from a:9dfe77618dba, b:a9dcc716fd6e" in result["msg"]
    assert "but from c:0123456789ab, which the call did not name" in result["msg"]


def test_a_failed_notification(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, warned: list[str]) -> None:
    path = tmp_path / "webhook.jsonl"

    def reply() -> t.Any:
        notify(path, 0, status="failed", errors=[{"code": 1014, "details": "out of memory"}])
        return processing()

    fake.on("PUT", GC, reply)
    assert "GC failed on coreapp: failed: 1014 out of memory" in run(notifications=str(path))["msg"]

    def half_way() -> t.Any:
        table.delete(100)
        return reply()

    fake.on("PUT", GC, half_way, collects(table, 300))
    path.write_text("")
    result = run(notifications=str(path), wait_timeout="8")
    assert "no notification from coreapp" in result["msg"]
    assert "GC failed on coreapp: failed: 1014 out of memory" in warned
    assert (calls(fake), result["rounds"]) == (3, 2), "rows went all the same, so it was called again"


# An upgrade


def begin_upgrade(tmp_path: Path) -> None:
    claim = upgrade_journal.Claim("support", "m/1/5", "ann", "ops1", "2.53.4")
    JournalFile(str(tmp_path / "wa.lock")).save(upgrade_journal.begin(None, claim, time.time(), 60))


@pytest.mark.parametrize("check", [False, True])
def test_no_gc_is_called_beside_an_upgrade(run: Run, fake: FakeWebapp, tmp_path: Path, check: bool) -> None:
    begin_upgrade(tmp_path)
    assert "an upgrade goes on: locked by the upgrade to 2.53.4 by ann" in run(check=check)["skip_reason"]
    assert fake.requests == []


def test_an_upgrade_that_begins_before_the_call(run: Run, fake: FakeWebapp, tmp_path: Path) -> None:
    def mark() -> t.Any:
        begin_upgrade(tmp_path)
        return 200, {}

    fake.on("GET", "/v1/settings/application", (200, {}))
    fake.on("PUT", "/v1/messages/one", mark)
    assert "an upgrade goes on" in run(mark_read=["one"])["skip_reason"]
    assert calls(fake) == 0


def test_an_upgrade_that_begins_between_two_rounds(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, warned: list[str]
) -> None:
    def first() -> t.Any:
        begin_upgrade(tmp_path)
        return collects(table, 100)()

    fake.on("PUT", GC, first)
    run(media=True)
    assert (calls(fake), state(tmp_path)["run"]) == (1, None)
    assert any("rows remain; no GC is called again: an upgrade goes on: locked" in text for text in warned)
    assert any("media GC was not called: an upgrade goes on" in text for text in warned)


def test_no_secret_is_shown(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, collects(table))
    shown = json.dumps(run())
    for path in tmp_path.iterdir():
        shown += "" if path.name == "db.env" else path.read_text()
    assert PASSWORD not in shown
    assert "token-" not in shown
