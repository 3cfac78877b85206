# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_message_gc when API, database, state file or notifications are not as they should be."""

from __future__ import annotations

import json
import time
import typing as t
from pathlib import Path

import pytest
from fake_webapp import FakeWebapp, error
from gc_module import CALL, GC, PASSWORD, Run, Table, collects, notify, processing, state

from ansible_collections.waba.onprem.plugins.module_utils._database.connection import DatabaseError

# The API


def test_a_wrong_password_is_remembered(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    first = run(api_password="Wrong-9999")
    assert "HTTP 401" in first["msg"]
    second = run(api_password="Wrong-9999")
    assert "is not tried again" in second["msg"]
    assert fake.logins == 1
    assert "Wrong-9999" not in (tmp_path / "gc.json").read_text()
    fake.on("PUT", GC, collects(table))
    assert run()["changed"]
    assert state(tmp_path)["refused"] is None


def test_a_password_that_has_become_right_is_tried_again_when_asked(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.passwords["admin"] = "Another-1"
    run()
    fake.passwords["admin"] = PASSWORD  # a first login, for instance
    assert "set retry_refused_login for one run" in run()["msg"]
    assert fake.logins == 1
    fake.on("PUT", GC, collects(table))
    assert run(retry_refused_login=True)["messages_after"] == 1_800


def test_without_a_credential_nothing_is_called_nor_remembered(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path
) -> None:
    for _number in range(2):
        assert (
            "api_password: not given; expected the API user's password, or api_token" in run(api_password=None)["msg"]
        )
        assert state(tmp_path)["run"] is None
    assert fake.requests == []
    fake.on("PUT", GC, collects(table))
    assert run(wait=False)["running"]
    assert run(api_password=None)["messages_after"] == 1_800  # what follows a round that ended it need not call


def test_gc_that_does_not_start_leaves_nothing_behind(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, error(500, 1014, "Internal error", "Coreapp broken"))
    result = run(policy="daily")
    assert "code 1014" in result["msg"]
    assert state(tmp_path)["run"] is None
    assert state(tmp_path)["last"] is None
    fake.on("PUT", GC, collects(table))
    assert run(policy="daily")["changed"]


def test_one_node_of_three_does_not_start(run: Run, fake: FakeWebapp, table: Table, warned: list[str]) -> None:
    answer = (
        200,
        {
            "services": {
                "message": {
                    "gc": {
                        "a:9dfe77618dba": {"status": "processing"},
                        "b:a9dcc716fd6e": {"status": "processing"},
                        "c:b9dcc716fd6e": {"errors": [{"code": 1014, "details": "wacore3:6252"}]},
                    }
                }
            }
        },
    )
    fake.on("PUT", GC, collects(table, answer=answer))
    result = run()
    assert result["messages_after"] == 1_800
    assert any("c:b9dcc716fd6e failed: 1014" in warning for warning in warned)
    assert result["nodes"]["c:b9dcc716fd6e"]["status"].startswith("failed")


@pytest.mark.parametrize(
    "answer",
    ["close", (504, None), (502, None), error(500, 1000, "Generic error", "Message GC is already running")],
)
def test_an_answer_that_leaves_it_open_is_judged_by_the_table(
    run: Run, fake: FakeWebapp, table: Table, warned: list[str], answer: t.Any
) -> None:
    fake.on("PUT", GC, collects(table, answer=answer))
    assert run()["messages_after"] == 1_800
    assert fake.paths().count(CALL) == 1
    assert any("is judged by the table" in text for text in warned)


def test_a_password_that_is_changed_in_the_middle(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    def change() -> t.Any:
        table.delete(80)
        fake.passwords["admin"] = "Other-1234"
        fake.tokens.clear()
        return processing()

    fake.on("PUT", GC, change)
    assert "HTTP 401" in run()["msg"]
    assert fake.logins == 2
    assert "is not tried again" in run()["msg"]
    assert fake.logins == 2


@pytest.mark.parametrize(
    "second",
    [
        error(500, 1014, "Internal error", "Coreapp broken"),
        (200, {"services": {"message": {"gc": {"a:9dfe77618dba": {"errors": [{"code": 1014}]}}}}}),
    ],
)
def test_what_a_round_deleted_is_told_when_the_next_does_not_start(
    run: Run, fake: FakeWebapp, table: Table, second: t.Any
) -> None:
    fake.on("PUT", GC, collects(table, 100), second)
    result = run()
    assert (result["failed"], result["changed"], result["messages_deleted"]) == (True, True, 100)
    assert result["actions"] == ["message GC deleted 100 rows (rounds: 2): more rows than the limit"]


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


def test_a_database_that_stays_away(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, collects(table))
    run(wait=False)
    table.troubles = [lost() for _number in range(1000)]
    result = run(wait_timeout="0.5")
    assert "while GC runs" in result["msg"]
    assert state(tmp_path)["run"]["phase"] == "watching"
    table.troubles = []
    assert run()["messages_after"] == 1_800
    assert fake.paths().count(CALL) == 1


def test_what_went_is_told_when_the_database_stays_away(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table))
    run(wait=False)
    time.sleep(0.5)
    run(wait=False)
    table.troubles = [lost("denied")]
    result = run()
    assert (result["failed"], result["messages_deleted"], result["changed"]) == (True, 400, True)


@pytest.mark.parametrize("kind", ["unreachable", "too_many", "login", "timeout"])
def test_a_database_that_is_away_at_the_start(run: Run, fake: FakeWebapp, table: Table, kind: str) -> None:
    table.troubles = [lost(kind)] * 10
    result = run()
    assert result["failed"]
    assert "database PGSQL at db:5432" in result["msg"]
    assert CALL not in fake.paths()


def test_a_database_that_takes_30_seconds_a_query(run: Run, fake: FakeWebapp, table: Table, warned: list[str]) -> None:
    """What cannot be counted is large before the first call, and no reason for another one."""
    table.slow_from = 1
    fake.on("PUT", GC, collects(table))
    result = run()
    assert any("the count took too long; the table counts as large" in text for text in warned)
    assert "the count took too long, so nobody knows whether GC is to be called again; about 1800 rows" in result["msg"]
    assert (result["messages_deleted"], result["exact"], fake.paths().count(CALL)) == (400, False, 1)
    assert table.gates == 1 + 4  # it was asked again
    table.slow_from = 10**6
    assert run()["messages_after"] == 1_800


def test_a_replica_is_refused(run: Run, fake: FakeWebapp, table: Table) -> None:
    table.read_only = True
    assert "read only" in run()["msg"]
    assert fake.requests == []


def test_statistics_that_are_reset_in_the_middle(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table, 400, batches=10))
    run(wait=False)
    time.sleep(0.2)
    table.counter = -100_000
    assert run()["messages_after"] == 1_800


# The state file


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"format": 1, "cli',
        "[]",
        '{"format": 2, "client": {}}',
        '{"format": 1, "client": {}, "run": {"id": "x"}}',
        '{"format": 1, "client": {}, "run": "x"}',
        '{"format": 1, "client": {}, "last": {"id": "x", "ended": null}}',
        '{"format": 1, "client": {}, "marked": {"list": "x", "done": "many"}}',
        '{"format": 1, "client": {}, "refused": {"user": "admin", "salt": "none"}}',
    ],
)
def test_a_corrupt_state_file(run: Run, fake: FakeWebapp, tmp_path: Path, text: str) -> None:
    (tmp_path / "gc.json").write_text(text)
    assert "corrupt" in run()["msg"]
    assert fake.requests == []


@pytest.mark.parametrize(
    ("name", "value"), [("seen", {}), ("judge", {"x": 1}), ("called", None), ("nodes", "gone"), ("heard", "gone")]
)
def test_a_run_in_the_state_file_that_is_corrupt(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, name: str, value: t.Any
) -> None:
    fake.on("PUT", GC, collects(table))
    run(wait=False)
    data = state(tmp_path)
    if value == "gone":
        del data["run"][name]
    else:
        data["run"][name] = value
    (tmp_path / "gc.json").write_text(json.dumps(data))
    assert "corrupt" in run()["msg"]


def test_a_state_file_that_is_read_only(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    """It is replaced, not written into; what counts is its folder, and that is tried before anything begins."""
    fake.on("PUT", GC, collects(table))
    assert run()["changed"]
    (tmp_path / "gc.json").chmod(0o400)
    assert run()["skip_reason"] == "not more rows than the limit"


def test_a_state_file_of_another_client(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, collects(table))
    run()
    data = state(tmp_path)
    data["client"]["prefix"] = "other"
    (tmp_path / "gc.json").write_text(json.dumps(data))
    assert "belongs to another client (prefix other)" in run()["msg"]


def test_a_state_file_that_cannot_be_written(run: Run, fake: FakeWebapp) -> None:
    result = run(state_file="/proc/nothing/gc.json")
    assert "cannot be written" in result["msg"]
    assert fake.requests == []


def test_a_folder_that_turns_unwritable_in_the_middle(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    folder, away = tmp_path / "state", tmp_path / "away"
    folder.mkdir()
    options = {"state_file": str(folder / "gc.json")}

    def lose() -> t.Any:
        folder.rename(away)
        return collects(table)()

    fake.on("PUT", GC, lose)
    result = run(**options)
    assert "cannot be written" in result["msg"]
    away.rename(folder)
    assert run(**options)["messages_after"] == 1_800
    assert fake.paths().count(CALL) == 1


# Notifications


def test_notifications_end_it(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    path = tmp_path / "webhook.jsonl"
    notify(path, 999)  # of an older run

    def reply() -> t.Any:
        table.rows -= 400
        notify(path, 150, "a:9dfe77618dba")
        notify(path, 150, "a:9dfe77618dba")  # repeated: the client does so until it gets a 200
        notify(path, 250, "b:a9dcc716fd6e")
        return processing("a:9dfe77618dba", "b:a9dcc716fd6e")

    fake.on("PUT", GC, reply)
    result = run(completion="notifications", notifications=str(path))
    assert (result["messages_deleted"], result["callbacks"]) == (400, "complete")
    assert result["nodes"]["b:a9dcc716fd6e"] == {"status": "complete", "count": 250}


def test_an_older_runs_notification_does_not_end_a_gc_that_deletes(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path
) -> None:
    path = tmp_path / "webhook.jsonl"

    def reply() -> t.Any:
        table.delete(400, batches=20)
        notify(path, 7)  # late: nothing in it tells that it is an older one's
        return processing()

    fake.on("PUT", GC, reply)
    result = run(completion="notifications", notifications=str(path))
    assert result["messages_after"] == 1_800


def test_a_failed_notification_counts_zero_and_rows_went_all_the_same(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path
) -> None:
    path = tmp_path / "webhook.jsonl"

    def half_way() -> t.Any:
        table.delete(100)
        notify(path, 0, status="failed", errors=[{"code": 1014, "details": "lost"}])
        return processing()

    fake.on("PUT", GC, half_way, collects(table, 300))
    result = run(notifications=str(path))
    assert (result["rounds"], result["messages_after"], result["messages_deleted"]) == (2, 1_800, 400)


@pytest.mark.parametrize("shift", [-7200.0, 7200.0])
def test_a_clock_that_is_set_during_the_run(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: float
) -> None:
    path = tmp_path / "webhook.jsonl"
    real = time.time

    def reply() -> t.Any:
        monkeypatch.setattr(time, "time", lambda: real() + shift)
        table.rows -= 400
        notify(path, 400, timestamp=real() + shift)
        return processing()

    fake.on("PUT", GC, reply)
    result = run(completion="notifications", notifications=str(path))
    assert (result["messages_after"], result["callbacks"], result["seconds"] < 30) == (1_800, "complete", True)


def test_a_notification_that_is_missing(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    path = tmp_path / "webhook.jsonl"

    def reply() -> t.Any:
        table.rows -= 400
        notify(path, 400, "a:9dfe77618dba")
        return processing("a:9dfe77618dba", "b:a9dcc716fd6e")

    fake.on("PUT", GC, reply)
    result = run(completion="notifications", notifications=str(path), wait_timeout="0.6")
    assert "no notification from b:a9dcc716fd6e" in result["msg"]


def test_a_failed_notification(run: Run, fake: FakeWebapp, tmp_path: Path) -> None:
    path = tmp_path / "webhook.jsonl"

    def reply() -> t.Any:
        notify(path, 0, status="failed", errors=[{"code": 1014, "details": "out of memory"}])
        return processing()

    fake.on("PUT", GC, reply)
    for completion in ("notifications", "database"):
        result = run(completion=completion, notifications=str(path))
        assert "GC failed on coreapp: failed: 1014 out of memory" in result["msg"]


def test_a_notification_of_a_gc_that_had_nothing_to_delete_ends_it_soon(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path
) -> None:
    table.rows = 100
    path = tmp_path / "webhook.jsonl"

    def reply() -> t.Any:
        notify(path, 0)
        return processing()

    fake.on("PUT", GC, reply)
    result = run(policy="always", notifications=str(path), wait_timeout="60")
    assert (result["changed"], result["messages_after"], result["seconds"] < 10) == (False, 100, True)


def test_unverified_above_ten_million(run: Run, fake: FakeWebapp, table: Table) -> None:
    table.rows = 11_000_000
    fake.on("PUT", GC, collects(table, 10_999_000))
    assert run()["callbacks"] == "unverified"


def test_completion_none(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, processing())
    result = run(completion="none")
    assert (result["messages_after"], result["running"], result["rounds"]) == (None, False, 1)
