# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_message_gc calls when it may, not a second time beside a GC that runs, and tells what really went."""

from __future__ import annotations

import json
import threading
import time
import typing as t
from pathlib import Path

import pytest
from fake_webapp import FakeWebapp
from gc_module import CALL, GC, Run, RunModule, Table, collects, notify, processing, state

from ansible_collections.waba.onprem.plugins.module_utils._database.connection import DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile
from ansible_collections.waba.onprem.plugins.module_utils._gc import listener
from ansible_collections.waba.onprem.plugins.module_utils._gc import policy as gc_policy
from ansible_collections.waba.onprem.plugins.module_utils._gc import run as gc_run


def calls(fake: FakeWebapp) -> int:
    return fake.paths().count(CALL)


def test_a_gc_that_nobody_follows_is_remembered(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, collects(table, pause=0.2))
    first = run(completion="none")
    assert (first["running"], state(tmp_path)["run"]["unwatched"]) == (False, True)
    second = run(completion="none")
    assert "was not followed and may still run" in second["skip_reason"]
    assert not second["changed"]
    followed = run()  # and whoever wants to know its end takes it up
    assert followed["messages_after"] == 1_800
    assert calls(fake) == 1
    assert state(tmp_path)["run"] is None


def test_a_gc_that_nobody_followed_is_over_in_the_end(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table, 40, pause=0.0), collects(table, 40, pause=0.0))
    run(completion="none")
    time.sleep(0.3)
    run(completion="none", wait_timeout="0.2")
    assert calls(fake) == 2


@pytest.mark.usefixtures("table")
def test_a_run_that_is_taken_up_outside_its_window_calls_nothing(
    run: Run, fake: FakeWebapp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller was killed while messages were marked, and the window has closed since."""
    killed_while_marking(run, fake, tmp_path, monkeypatch)
    monkeypatch.setattr(gc_policy, "until_window", lambda _window, _now: 3600.0)
    result = run(window="01:00-05:00")
    assert "outside the window 01:00-05:00" in result["skip_reason"]
    assert calls(fake) == 0


def test_a_run_that_is_taken_up_while_it_marks_looks_at_all_again(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_while_marking(run, fake, tmp_path, monkeypatch)
    predicted = run(check=True, mark_read=["0"])
    assert predicted["actions"][-1].startswith("call PUT /v1/services/message/gc")
    begin_upgrade(tmp_path)
    assert "an upgrade goes on" in run(mark_read=["0"])["skip_reason"]
    (tmp_path / "wa.lock").unlink()
    table.rows = 1_900
    assert run(mark_read=["0"])["skip_reason"] == "not more rows than the limit"
    assert calls(fake) == 0


def test_an_upgrade_that_begins_while_messages_are_marked(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = killed_while_marking(run, fake, tmp_path, monkeypatch)
    begin_upgrade(tmp_path)
    result = run(mark_read=["0"], run_id=run_id)
    assert "an upgrade goes on" in result["skip_reason"]
    assert "after 1 of 1 messages were marked" in result["skip_reason"]
    assert calls(fake) == 0
    over = run(mark_read=["0"], run_id=run_id)  # whoever follows it begins no other
    assert "the run to follow is over" in over["skip_reason"]
    assert calls(fake) == 0
    assert table.rows == 2_200


def test_an_upgrade_that_begins_between_two_rounds(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, warned: list[str]
) -> None:
    def first() -> t.Any:
        begin_upgrade(tmp_path)
        return collects(table, 100)()

    fake.on("PUT", GC, first)
    result = run(media=True)
    assert (calls(fake), result["messages_deleted"], state(tmp_path)["run"]) == (1, 100, None)
    assert any("an upgrade goes on: locked" in text and "rows remain" in text for text in warned)
    assert any("media GC was not called: an upgrade goes on" in text for text in warned)


def begin_upgrade(tmp_path: Path) -> None:
    claim = upgrade_journal.Claim("support", "m/1/5", "ann", "ops1", "2.53.4")
    JournalFile(str(tmp_path / "wa.lock")).save(upgrade_journal.begin(None, claim, time.time(), 60))


@pytest.mark.usefixtures("table")
def test_a_run_that_is_taken_up_remembers_a_refused_login(
    run: Run, fake: FakeWebapp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_while_marking(run, fake, tmp_path, monkeypatch)
    before = fake.logins
    assert "HTTP 401" in run(api_password="Wrong-9999")["msg"]
    assert "is not tried again" in run(api_password="Wrong-9999")["msg"]
    assert fake.logins == before + 1


def killed_while_marking(run: Run, fake: FakeWebapp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    fake.on("GET", "/v1/settings/application", (200, {"settings": {"application": {}}}))
    fake.on("PUT", "/v1/messages/0", (200, None))
    with monkeypatch.context() as patch:
        patch.setattr(gc_run, "_MARKING_STEP", -1.0)
        step = run(wait=False, mark_read=["0"])
    assert step["progress"]["phase"] == "marking as read"
    assert state(tmp_path)["run"]["phase"] == "marking"
    return str(step["run_id"])


def test_whoever_follows_a_run_gets_its_result_though_another_has_begun(
    run: Run, fake: FakeWebapp, table: Table
) -> None:
    fake.on("PUT", GC, collects(table), collects(table, 4, pause=0.3))
    first = run()
    other = run(policy="always", wait=False)
    followed = run(run_id=first["run_id"])
    assert (followed["run_id"], followed["messages_deleted"]) == (first["run_id"], 400)
    run(run_id=other["run_id"])
    assert calls(fake) == 2


def test_a_call_that_never_arrived_is_made_once_more(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, "close", collects(table))
    assert run()["messages_after"] == 1_800
    assert calls(fake) == 2


def test_a_call_that_never_arrives_is_not_made_for_ever(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, "close")
    result = run()
    assert "deleted nothing" in result["msg"]
    assert calls(fake) == 2
    assert table.rows == 2_200


@pytest.mark.parametrize("completion", ["database", "notifications"])
def test_every_round_has_its_own_time_to_begin(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, completion: str
) -> None:
    path = tmp_path / "told.jsonl"

    def collect(rows: int) -> t.Callable[[], t.Any]:
        def reply() -> t.Any:
            table.delete(rows, delay=1.5, pause=0.02)
            threading.Timer(1.6, notify, (path, rows)).start()
            return processing()

        return reply

    fake.on("PUT", GC, collect(100), collect(300))
    result = run(completion=completion, notifications=str(path), wait_timeout="2.5")
    assert (result["rounds"], result["messages_after"]) == (2, 1_800)
    assert calls(fake) == 2


def test_a_round_that_was_killed_in_its_call_knows_nothing_of_the_one_before(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path
) -> None:
    path = tmp_path / "told.jsonl"
    killed: list[dict[str, t.Any]] = []

    def first() -> t.Any:
        table.delete(100, pause=0.02)
        notify(path, 100, "wacore2:9dfe77618dba")
        return processing("wacore2:9dfe77618dba")

    def second() -> t.Any:
        killed.append(state(tmp_path))  # what a process that is killed here leaves behind
        table.delete(300, pause=0.02)
        return processing("wacore2:9dfe77618dba")

    fake.on("PUT", GC, first, second)
    run(notifications=str(path))
    assert (killed[0]["run"]["phase"], killed[0]["run"]["nodes"], killed[0]["run"]["resumed"]) == ("calling", {}, False)


def test_a_round_after_one_that_was_taken_up_may_be_slow_to_begin(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path
) -> None:
    fake.on("PUT", GC, collects(table, 100), collects(table, 300, delay=1.0))
    run(wait=False)
    data = state(tmp_path)
    data["run"]["phase"] = "calling"
    (tmp_path / "gc.json").write_text(json.dumps(data))
    result = run()
    assert (result["messages_after"], result["rounds"]) == (1_800, 2)
    assert calls(fake) == 2


def test_the_judges_time_goes_by_the_pulse(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    """What the call, and a database that was away, take is time in which rows may go."""

    def slow() -> t.Any:
        time.sleep(0.5)
        table.delete(400, pause=0.2)
        return processing()

    fake.on("PUT", GC, slow)
    run(wait=False)
    table.troubles = [DatabaseError("database", "away", "unknown_host")] * 2
    run(wait=False)
    time.sleep(0.3)
    run(wait=False)
    time.sleep(0.3)
    run(wait=False)
    kept = state(tmp_path)["run"]
    since = gc_policy.Moment(**kept["pulsed"]).since(gc_policy.Moment(**kept["called"]))
    assert since is not None
    assert kept["judge"]["at"] >= since
    assert run()["messages_after"] == 1_800


@pytest.mark.parametrize("completion", ["database", "notifications"])
def test_a_notification_of_rows_that_never_went_is_an_older_ones(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, completion: str
) -> None:
    path = tmp_path / "told.jsonl"

    def late() -> t.Any:
        notify(path, 7_000)
        table.delete(400, delay=0.2, pause=0.02)
        return processing()

    fake.on("PUT", GC, late)
    result = run(completion=completion, notifications=str(path), quiet_period="0.5")
    assert (result["messages_after"], result["messages_deleted"]) == (1_800, 400)
    assert calls(fake) == 1


def test_a_gc_that_begins_after_an_older_notification_is_waited_for(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "_TOLD_LATE", 0.3)
    path = tmp_path / "told.jsonl"

    def collect() -> None:
        time.sleep(1.5)
        table.rows, table.counter = table.rows - 400, table.counter + 400
        notify(path, 400)

    def late() -> t.Any:
        notify(path, 7_000)
        table.threads.append(threading.Thread(target=collect))
        table.threads[-1].start()
        return processing()

    fake.on("PUT", GC, late)
    result = run(completion="notifications", notifications=str(path))
    assert (result["messages_after"], result["messages_deleted"], result["callbacks"]) == (1_800, 400, "complete")
    assert calls(fake) == 1


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("completion", ["database", "notifications"])
def test_a_notification_that_comes_again_in_the_next_round_is_not_that_rounds(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, completion: str, failed: bool
) -> None:
    path = tmp_path / "told.jsonl"
    nodes = ("wacore2:9dfe77618dba", "wacore3:a9dcc716fd6e")
    lost: dict[str, t.Any] = {"status": "failed", "errors": [{"code": 1014, "details": "lost"}]} if failed else {}

    def tell_first() -> None:
        notify(path, 0 if failed else 50, nodes[0], **lost)

    def first() -> t.Any:
        table.delete(100, pause=0.02)
        tell_first()
        notify(path, 50, nodes[1])
        return processing(*nodes)

    def second() -> t.Any:
        tell_first()
        table.delete(300, delay=0.5, pause=0.1)
        for node in nodes:
            threading.Timer(0.9, notify, (path, 150, node)).start()
        return processing(*nodes)

    fake.on("PUT", GC, first, second)
    result = run(completion=completion, notifications=str(path))
    if failed and completion == "notifications":
        assert "GC failed on wacore2:9dfe77618dba: failed: 1014 lost" in result["msg"]
        return
    assert (result["rounds"], result["messages_after"], result["messages_deleted"]) == (2, 1_800, 400)
    assert [node["count"] for node in result["nodes"].values()] == [150, 150]
    assert calls(fake) == 2


def test_a_notification_that_reads_as_the_last_rounds_counts_once_the_table_rests(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "_TOLD_LATE", 0.5)
    path = tmp_path / "told.jsonl"

    def collect() -> t.Any:
        table.delete(148, pause=0.02)
        notify(path, 148)
        return processing()

    fake.on("PUT", GC, collect)
    result = run(completion="notifications", notifications=str(path), wait_timeout="10")
    assert (result["rounds"], result["messages_after"], result["messages_deleted"]) == (2, 1_904, 296)
    assert calls(fake) == 2


def test_other_tables_rows_are_not_messages(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    """MySQL counts the deletes of all tables: a GC that takes receipts only has taken no message."""
    env = tmp_path / "db.env"
    env.write_text(env.read_text().replace("PGSQL", "MYSQL").replace("5432", "3306"))

    def receipts() -> t.Any:
        table.delete(0)
        table.counter += 5_000
        return processing()

    fake.on("PUT", GC, receipts)
    result = run(env_file=str(env))
    assert "deleted nothing" in result["msg"]
    assert (result["messages_deleted"], calls(fake)) == (0, 1)


@pytest.mark.parametrize("estimate", [2_100, 9_000])
def test_an_estimate_bounds_nothing(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, estimate: int) -> None:
    """MySQL's estimate of the rows before may be half or double: what was counted as deleted is told."""
    env = tmp_path / "db.env"
    env.write_text(env.read_text().replace("PGSQL", "MYSQL").replace("5432", "3306"))
    table.rows, table.estimate = 4_000, estimate - 4_000
    fake.on("PUT", GC, collects(table, 2_400))
    assert run(env_file=str(env))["messages_deleted"] == 2_400


def test_who_notified_instead_is_named(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    path = tmp_path / "told.jsonl"

    def other() -> t.Any:
        notify(path, 400, "wacore7:0123456789ab")
        table.delete(400)
        return processing("wacore2:9dfe77618dba", "wacore3:a9dcc716fd6e")

    fake.on("PUT", GC, other)
    result = run(completion="notifications", notifications=str(path), wait_timeout="1.5", quiet_period="0.3")
    assert "no notification from wacore2:9dfe77618dba, wacore3:a9dcc716fd6e" in result["msg"]
    assert "but from wacore7:0123456789ab, which the call did not name" in result["msg"]


def test_what_went_is_told_when_the_time_is_up(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, collects(table))
    result = run(
        completion="notifications", notifications=str(tmp_path / "none.jsonl"), wait_timeout="1.5", quiet_period="0.3"
    )
    assert "no notification from" in result["msg"]
    assert (result["messages_deleted"], result["changed"]) == (400, True)
    assert json.loads((tmp_path / "gc.json").read_text())["last"]["values"]["messages_deleted"] == 400


def test_one_notification_is_not_all_when_nobody_knows_the_nodes(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path
) -> None:
    """The call's answer names the nodes; where that was lost, the table tells the end."""
    path = tmp_path / "told.jsonl"

    def lose() -> t.Any:
        notify(path, 100, "wacore2:9dfe77618dba")
        table.delete(400, pause=0.15)
        return "close"

    fake.on("PUT", GC, lose)
    result = run(completion="notifications", notifications=str(path), quiet_period="0.5")
    assert (result["messages_after"], result["messages_deleted"], result["callbacks"]) == (1_800, 400, "none")
    assert calls(fake) == 1


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("check", [False, True])
def test_no_gc_is_called_beside_an_upgrade(
    run: Run, run_module: RunModule, fake: FakeWebapp, tmp_path: Path, check: bool
) -> None:
    journal = {"path": str(tmp_path / "wa.lock"), "run_id": "m/1/5"}
    whose = {"deployment": "support", "target": "2.53.4", "user": "ann", "controller": "ops1"}
    run_module("wa_upgrade_journal", {"operation": "begin", **whose, **journal}, False)
    assert "an upgrade goes on: locked by the upgrade to 2.53.4 by ann" in run(check=check)["skip_reason"]
    run_module("wa_upgrade_journal", {"operation": "stage", "stage": "stopping", **journal}, False)
    run_module("wa_upgrade_journal", {"operation": "end", "outcome": "failed", **journal}, False)
    assert "left unfinished by" in run(check=check)["skip_reason"]
    assert calls(fake) == 0
