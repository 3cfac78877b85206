# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_message_gc against a small Webapp and a table in memory: rounds, steps, when it is due, marking, media, options."""

from __future__ import annotations

import json
import threading
import time
import typing as t
from datetime import datetime
from pathlib import Path

import pytest
from fake_webapp import FakeWebapp
from gc_module import CALL, GC, Run, Table, collects, notify, processing, state

MEDIA = "/v1/services/media/gc"


def calls(fake: FakeWebapp) -> int:
    return fake.paths().count(CALL)


def test_above_the_limit_it_is_brought_under_it(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table))
    predicted = run(check=True)
    assert fake.requests == []
    assert predicted["changed"]
    assert "more rows than the limit" in predicted["actions"][0]
    result = run()
    assert (result["messages_before"], result["messages_after"], result["exact"]) == (2_200, 1_800, True)
    assert (result["messages_deleted"], result["rounds"], result["changed"]) == (None, 1, True)
    assert result["actions"] == ["called message GC (round 1): more rows than the limit"]
    assert result["nodes"] == {"coreapp": {"status": "processing", "count": None}}
    assert (calls(fake), fake.logins, fake.tokens) == (1, 1, set()), "logged in once, and out again"
    for check in (False, True):
        again = run(check=check)
        assert not again["changed"]
        assert again["skip_reason"] == "not more rows than the limit"
        assert again["messages_before"] == again["messages_after"] == 1_800
        assert again["messages_deleted"] == 0
    assert fake.logins == 1


def test_rounds_repeat_while_they_delete_something(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    path = tmp_path / "webhook.jsonl"

    def collect() -> t.Any:
        notify(path, 80)
        return collects(table, 80)()

    fake.on("PUT", GC, collect)
    result = run(notifications=str(path))
    assert (result["rounds"], result["messages_deleted"], result["messages_after"]) == (3, 240, 1_960)


def test_rounds_are_bounded(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table, 40))
    result = run(max_rounds=2)
    assert "about 2120 rows remain after 2 rounds" in result["msg"]
    assert (result["failed"], result["changed"], calls(fake)) == (True, True, 2)


def test_a_round_that_deletes_nothing_fails_with_what_holds_the_rows(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, processing())
    result = run()
    assert "round 1 deleted nothing and about 2200 rows remain" in result["msg"]
    assert "unread inbound messages" in result["msg"]
    assert result["diff"]["after"] == {"messages": 2_200}


def test_a_gc_that_never_ends_is_left_to_the_next_run(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table, 1_000, batches=50, pause=0.04))
    result = run(wait_timeout="0.8")
    assert "rows still go after" in result["msg"]
    taken_up = run(wait_timeout="10")
    assert (taken_up["messages_after"], calls(fake)) == (1_200, 1)


def test_a_delete_that_runs_is_waited_for(run: Run, fake: FakeWebapp, table: Table) -> None:
    def one_transaction() -> t.Any:
        table.deleting = True

        def commit() -> None:
            time.sleep(1.0)
            table.rows, table.gone, table.deleting = 1_000, 1_200, False

        table.threads.append(threading.Thread(target=commit))
        table.threads[-1].start()
        return processing()

    fake.on("PUT", GC, one_transaction)
    assert run()["messages_after"] == 1_000


def test_one_that_runs_already_is_followed_and_not_called_again(run: Run, fake: FakeWebapp, table: Table) -> None:
    table.delete(400, batches=20)
    result = run()
    assert (result["messages_after"], result["rounds"], calls(fake)) == (1_800, 0, 0)
    assert (result["changed"], result["messages_deleted"]) == (False, None)


def test_one_that_runs_already_and_leaves_too_much_is_followed_by_a_call(
    run: Run, fake: FakeWebapp, table: Table
) -> None:
    table.delete(100, batches=20)
    fake.on("PUT", GC, collects(table, 300))
    result = run()
    assert (result["messages_after"], result["rounds"], calls(fake)) == (1_800, 1, 1)


def test_policy_never_follows_one_that_runs_and_calls_none(run: Run, fake: FakeWebapp, table: Table) -> None:
    for check in (False, True):
        assert run(check=check, policy="never", api_password=None)["skip_reason"] == "no GC runs"
    table.delete(600, batches=60)
    assert run(check=True, policy="never", api_password=None)["running"]
    result = run(policy="never", api_password=None)
    assert (result["messages_after"], result["rounds"], result["changed"]) == (1_600, 0, False)
    assert fake.requests == []


def test_rows_of_a_small_table_that_always_go_are_no_failure(run: Run, fake: FakeWebapp, table: Table) -> None:
    table.rows = 1_500
    table.delete(900, batches=90, pause=0.05)
    result = run(policy="daily", wait_timeout="1.5")
    assert "by traffic or by a GC" in result["skip_reason"]
    assert calls(fake) == 0


def test_steps_take_it_up(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, collects(table, batches=8))
    step = run(wait=False)
    assert (step["running"], step["changed"]) == (True, True)
    run_id = step["run_id"]
    assert run(check=True)["progress"]["round"] == 1
    for _number in range(100):
        step = run(wait=False, run_id=run_id, api_password=None)  # a look needs no login
        if not step["running"]:
            break
        assert step["progress"]["round"] == 1
        time.sleep(0.1)
    assert (step["changed"], step["messages_after"], step["run_id"]) == (False, 1_800, run_id)
    # a second driver, late: the same result, and no second call although the policy would want one
    follower = run(policy="always", run_id=run_id)
    assert (follower["messages_after"], follower["rounds"], calls(fake)) == (1_800, 1, 1)
    assert state(tmp_path)["run"] is None


def test_check_mode_says_what_is_in_the_way(run: Run, fake: FakeWebapp, table: Table, warned: list[str]) -> None:
    result = run(check=True, api_password=None)
    assert (result["changed"], result["messages_before"], fake.requests) == (False, 2_200, [])
    assert "GC would not be called: api_password: not given" in warned[0]


def test_two_controllers_at_once_call_once(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    from ansible_collections.waba.onprem.plugins.module_utils._gc.state import StateFile

    fake.on("PUT", GC, collects(table))
    step = run(wait=False)
    with StateFile(str(tmp_path / "gc.json"), {}).lock(1) as mine:
        assert mine
        busy = run(wait=False, run_id=step["run_id"])
    assert (busy["running"], busy["progress"]["phase"]) == (True, "another run is at work")
    assert (run()["messages_after"], calls(fake)) == (1_800, 1)


# Due or not


def test_daily_acts_once_in_its_interval(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    table.rows = 900
    fake.on("PUT", GC, collects(table, 40, pause=0.2))
    assert run(policy="daily")["messages_after"] == 860
    began = state(tmp_path)["last"]["began"]["wall"]
    second = run(policy="daily")
    assert not second["changed"]
    assert "less than 24h00m" in second["skip_reason"]
    # from begin to begin
    due = run(policy="daily", min_interval="1h")["next_due"]
    assert abs(datetime.fromisoformat(due).timestamp() - began - 3600 * 47 / 48) < 2
    data = state(tmp_path)
    data["last"]["began"].update(wall=began - 86400, boot="another")
    (tmp_path / "gc.json").write_text(json.dumps(data))
    assert run(policy="daily")["changed"]


def test_outside_the_window_nothing_is_asked(run: Run, fake: FakeWebapp, table: Table) -> None:
    hour = time.gmtime().tm_hour
    result = run(window=f"{(hour + 2) % 24:02d}:00-{(hour + 3) % 24:02d}:00", timezone="UTC")
    assert "outside the window" in result["skip_reason"]
    assert result["next_due"].endswith("+00:00")
    assert (fake.requests, table.counts) == ([], 0)
    fake.on("PUT", GC, collects(table))
    inside = run(window=f"{hour:02d}:00-{(hour + 2) % 24:02d}:00", timezone="UTC")
    assert inside["messages_after"] == 1_800


def test_a_neighbours_database_is_never_summed(run: Run, fake: FakeWebapp, table: Table) -> None:
    table.databases = ["wa0messageStore", "wamessageStore"]
    result = run()
    assert "wa0messageStore, wamessageStore" in result["msg"]
    assert fake.requests == []
    fake.on("PUT", GC, collects(table))
    assert run(databases=["wamessageStore"])["databases"] == ["wamessageStore"]


# Media, marking as read


def test_media_gc_comes_last(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table))
    fake.on("PUT", MEDIA, (200, {"services": {"media": {"gc": {"status": "processing"}}}}))
    result = run(media=True)
    assert (result["media"], result["messages_after"]) == ({"coreapp": "processing"}, 1_800)
    assert fake.paths()[-2:] == [f"PUT {MEDIA}", "POST /v1/users/logout"]
    assert result["actions"][-1] == "called media GC"


def test_marking_as_read(run: Run, fake: FakeWebapp, table: Table, warned: list[str]) -> None:
    fake.on("GET", "/v1/settings/application", (200, {"settings": {"application": {"pass_through": False}}}))
    fake.on("PUT", "/v1/messages/one", (200, None))
    fake.on("PUT", "/v1/messages/two", (200, {}))
    fake.on("PUT", GC, collects(table, 80), collects(table))
    ids = ["one", "two", "three", "one"]
    assert run(check=True, mark_read=ids)["actions"][0] == "mark 3 inbound messages as read"
    result = run(mark_read=ids, max_messages=2_150)
    assert (result["marked_read"], result["mark_read_unknown"]) == (2, ["three"])
    asked = [path for path in fake.paths() if path.startswith("PUT")]
    assert asked == ["PUT /v1/messages/one", "PUT /v1/messages/two", "PUT /v1/messages/three", CALL]
    fake.on("GET", "/v1/settings/application", (200, {"settings": {"application": {"pass_through": True}}}))
    assert "marked_read" not in run(mark_read=["one"])
    assert "mark_read is skipped, since it needs the application setting pass_through=false" in warned


# Options


def test_defaults_come_from_the_deployment(run: Run, fake: FakeWebapp, tmp_path: Path) -> None:
    result = run(env_file=None, project="wa-support")
    assert "/opt/waba/support/db.env" in result["msg"]
    assert "one of them" in run(env_file=None)["msg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": "5-6"}, "option window"),
        ({"timezone": "Mars/Base"}, "is not known on this host"),
        ({"max_rounds": 0}, "option max_rounds"),
        ({"max_messages": -1}, "option max_messages"),
        ({"quiet_period": "soon"}, "quiet_period"),
        ({"api_url": "ftp://x"}, "api_url"),
    ],
)
def test_options_that_make_no_sense(run: Run, fake: FakeWebapp, options: dict[str, t.Any], message: str) -> None:
    assert message in run(**options)["msg"]
    assert fake.requests == []
