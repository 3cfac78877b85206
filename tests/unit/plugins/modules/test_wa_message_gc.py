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
from fake_webapp import FakeWebapp, error
from gc_module import CALL, GC, Run, RunModule, Table, collects, processing, state


def test_above_the_limit_it_is_brought_under_it(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table))
    predicted = run(check=True)
    assert fake.requests == []
    assert predicted["changed"]
    assert "more rows than the limit" in predicted["actions"][0]
    result = run()
    assert (result["messages_before"], result["messages_after"], result["exact"]) == (2_200, 1_800, True)
    assert (result["messages_deleted"], result["rounds"], result["changed"]) == (400, 1, True)
    assert result["nodes"] == {"coreapp": {"status": "processing", "count": None}}
    assert fake.paths().count(CALL) == 1
    for check in (False, True):
        again = run(check=check)
        assert not again["changed"]
        assert again["skip_reason"] == "not more rows than the limit"
        assert again["messages_before"] == again["messages_after"] == 1_800
    assert table.gates == 5


def test_rounds_repeat_while_they_delete_something(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table, 80), collects(table, 80), collects(table, 80))
    result = run(wait_timeout="20")
    assert (result["rounds"], result["messages_deleted"], result["messages_after"]) == (3, 240, 1_960)
    assert fake.logins == 1


def test_rounds_are_bounded(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table, 40))
    result = run(max_rounds=2)
    assert result["failed"]
    assert "about 2120 rows remain after 2 rounds" in result["msg"]
    assert result["changed"]
    assert result["messages_deleted"] == 80


def test_a_round_that_deletes_nothing_fails_with_what_holds_the_rows(run: Run, fake: FakeWebapp) -> None:
    fake.on("PUT", GC, processing())
    result = run(wait_timeout="0.6")
    assert result["failed"]
    assert "round 1 deleted nothing and about 2200 rows remain" in result["msg"]
    assert "unread inbound messages" in result["msg"]
    assert not result["changed"]


def test_a_gc_that_never_ends_is_left_to_the_next_run(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table, 1_000, batches=50, pause=0.04))
    result = run(wait_timeout="0.8")
    assert result["failed"]
    assert "still deleting after" in result["msg"]
    taken_up = run(wait_timeout="10")
    assert taken_up["messages_after"] == 1_200
    assert fake.paths().count(CALL) == 1


def test_gc_that_ends_half_way_is_called_again(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table, 100), collects(table, 500))
    assert run()["rounds"] == 2


def test_slow_to_begin(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table, delay=1.0))
    assert run()["messages_after"] == 1_800


def test_a_delete_that_runs_is_waited_for(run: Run, fake: FakeWebapp, table: Table) -> None:
    def one_transaction() -> t.Any:
        table.deleting = True

        def commit() -> None:
            time.sleep(1.0)
            table.rows, table.counter, table.deleting = 1_000, 1_200, False

        table.threads.append(threading.Thread(target=commit))
        table.threads[-1].start()
        return processing()

    fake.on("PUT", GC, one_transaction)
    assert run()["messages_after"] == 1_000


def test_steps_take_it_up(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, collects(table, batches=8))
    step = run(wait=False)
    assert (step["running"], step["changed"]) == (True, False)
    assert state(tmp_path)["run"]["phase"] == "watching"
    run_id = step["run_id"]
    for _number in range(100):
        step = run(wait=False, run_id=run_id)
        if not step["running"]:
            break
        assert step["progress"]["round"] == 1
        time.sleep(0.1)
    assert (step["changed"], step["messages_after"], step["run_id"]) == (True, 1_800, run_id)
    # a second driver, late: the same result, and no second call although the policy would want one
    follower = run(policy="always", run_id=run_id)
    assert (follower["changed"], follower["messages_after"]) == (True, 1_800)
    assert fake.paths().count(CALL) == 1


def test_check_mode_of_a_running_one(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table))
    run(wait=False)
    result = run(check=True)
    assert result["changed"]
    assert "go on with" in result["actions"][0]
    assert result["messages_before"] >= 1_800


def test_check_mode_says_what_is_in_the_way(run: Run, fake: FakeWebapp, warned: list[str], tmp_path: Path) -> None:
    sent = iter(range(0, 10**6, 500))
    fake.on("GET", "/v1/stats/app", lambda: (200, {"stats": {"outbound_messages": next(sent)}}))
    busy = run(check=True, max_outbound_rate=10)
    assert "more than 10" in busy["skip_reason"]
    assert not busy["changed"]
    wrong: dict[str, t.Any] = {"max_outbound_rate": 10, "api_password": "Wrong-9999"}
    refused = run(check=True, **wrong)
    assert (refused["changed"], refused["messages_before"]) == (False, 2_200)
    assert "GC would not be called" in warned[0]
    assert [path.name for path in tmp_path.iterdir()] == ["db.env"], "check mode writes nothing"
    # what a run has remembered counts for check mode, too
    assert run(**wrong)["failed"]
    logins = fake.logins
    run(check=True, **wrong)
    assert "is not tried again" in warned[-1]
    assert fake.logins == logins
    assert not run(check=True, api_password=None)["changed"]


def test_two_controllers_at_once_call_once(
    run_module: RunModule, run: Run, fake: FakeWebapp, table: Table, tmp_path: Path
) -> None:
    from ansible_collections.waba.onprem.plugins.module_utils._gc.state import StateFile

    fake.on("PUT", GC, collects(table))
    step = run(wait=False)
    other = StateFile(str(tmp_path / "gc.json"), {})
    with other.lock(1) as mine:
        assert mine
        busy = run(wait=False, run_id=step["run_id"])
    assert (busy["running"], busy["progress"]["phase"]) == (True, "another run is at work")
    assert run()["messages_after"] == 1_800
    assert fake.paths().count(CALL) == 1


def test_a_module_killed_in_the_call_is_judged_by_the_table(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path
) -> None:
    fake.on("PUT", GC, collects(table))
    run(wait=False)
    data = state(tmp_path)
    data["run"]["phase"] = "calling"
    (tmp_path / "gc.json").write_text(json.dumps(data))
    result = run()
    assert result["messages_after"] == 1_800
    assert fake.paths().count(CALL) == 1


def test_a_record_whose_rows_no_longer_fall_has_ended(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, processing())
    run(wait=False)
    data = state(tmp_path)
    data["run"]["seen"]["uptime"] -= 3600
    data["run"]["seen"]["boot"] = "another"
    data["run"]["seen"]["wall"] -= 3600
    (tmp_path / "gc.json").write_text(json.dumps(data))
    begin = time.monotonic()
    result = run(wait_timeout="60")
    assert "deleted nothing" in result["msg"]
    assert time.monotonic() - begin < 10
    assert state(tmp_path)["run"] is None


def test_clock_stepping_back_across_a_reboot(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, collects(table))
    run(wait=False)
    data = state(tmp_path)
    for name in ("seen", "begun", "first"):
        data["run"][name].update(boot="another", wall=data["run"][name]["wall"] + 86400)
    (tmp_path / "gc.json").write_text(json.dumps(data))
    assert run()["messages_after"] == 1_800
    assert fake.paths().count(CALL) == 1


# Due or not


def test_daily_acts_once_in_its_interval(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    table.rows = 900
    fake.on("PUT", GC, collects(table, 40))
    assert run(policy="daily")["messages_after"] == 860
    second = run(policy="daily")
    assert not second["changed"]
    assert "less than 24h00m" in second["skip_reason"]
    assert second["next_due"]
    data = state(tmp_path)
    data["last"]["began"]["wall"] -= 86400
    data["last"]["began"]["boot"] = "another"
    (tmp_path / "gc.json").write_text(json.dumps(data))
    assert run(policy="daily")["changed"]


def test_the_interval_is_counted_from_the_begin_of_the_last_one(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path
) -> None:
    fake.on("PUT", GC, collects(table, pause=0.2))
    run(policy="daily")
    last = state(tmp_path)["last"]
    assert last["ended"]["wall"] - last["began"]["wall"] > 0.8
    due = run(policy="daily", min_interval="1h")["next_due"]
    assert abs(datetime.fromisoformat(due).timestamp() - last["began"]["wall"] - 3600 * 47 / 48) < 2


def test_outside_the_window_nothing_is_asked(run: Run, fake: FakeWebapp, table: Table) -> None:
    hour = time.gmtime().tm_hour
    result = run(window=f"{(hour + 2) % 24:02d}:00-{(hour + 3) % 24:02d}:00", timezone="UTC")
    assert "outside the window" in result["skip_reason"]
    assert result["next_due"].endswith("+00:00")
    assert (fake.requests, table.gates) == ([], 0)
    fake.on("PUT", GC, collects(table))
    inside = run(window=f"{hour:02d}:00-{(hour + 2) % 24:02d}:00", timezone="UTC")
    assert inside["messages_after"] == 1_800


def test_too_much_traffic(run: Run, fake: FakeWebapp, table: Table) -> None:
    sent = iter(range(0, 10**6, 500))
    fake.on("GET", "/v1/stats/app", lambda: (200, {"stats": {"outbound_messages": next(sent)}}))
    result = run(max_outbound_rate=10)
    assert "more than 10" in result["skip_reason"]
    assert CALL not in fake.paths()
    fake.on("GET", "/v1/stats/app", (200, {"stats": {"outbound_messages": 5}}))
    fake.on("PUT", GC, collects(table))
    assert run(max_outbound_rate=10)["changed"]
    assert "GET /v1/stats/db" not in fake.paths()


def test_traffic_that_cannot_be_told(run: Run, fake: FakeWebapp) -> None:
    fake.on("GET", "/v1/stats/app", (200, {"stats": {"queue": 5}}))
    assert "no figure of /v1/stats/app" in run(max_outbound_rate=10)["msg"]


def test_a_neighbours_database_is_never_summed(run: Run, fake: FakeWebapp, table: Table) -> None:
    table.databases = ["wa0messageStore", "wamessageStore"]
    result = run()
    assert "wa0messageStore, wamessageStore" in result["msg"]
    assert fake.requests == []
    fake.on("PUT", GC, collects(table))
    assert run(databases=["wamessageStore"])["databases"] == ["wamessageStore"]


# Media, marking as read


def test_media_gc_comes_last_and_is_waited_for(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    path = tmp_path / "webhook.jsonl"
    fake.on("PUT", GC, collects(table))

    def reply() -> t.Any:
        with path.open("a") as stream:
            stream.write('{"services": [{"message": {"gc": {"items_deleted": 9, "status": "complete"}}}]}\n')
        return 200, {"services": {"media": {"gc": {"status": "processing"}}}}

    fake.on("PUT", "/v1/services/media/gc", reply)
    result = run(media=True, notifications=str(path))
    assert result["media"] == {"coreapp": "complete, 9 items"}
    assert result["messages_after"] == 1_800
    assert fake.paths()[-1] == "PUT /v1/services/media/gc"


def test_media_gc_that_nobody_can_wait_for(run: Run, fake: FakeWebapp, table: Table, warned: list[str]) -> None:
    fake.on("PUT", GC, collects(table))
    fake.on("PUT", "/v1/services/media/gc", (200, {"services": {"media": {"gc": {"status": "processing"}}}}))
    result = run(media=True)
    assert (result["media"], result["messages_after"]) == ({"coreapp": "processing"}, 1_800)
    assert any("nobody waits for media GC" in text for text in warned)


@pytest.mark.parametrize("heard", [True, False])
def test_a_module_killed_in_the_call_of_media_gc(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, heard: bool
) -> None:
    path, killed = tmp_path / "webhook.jsonl", []

    def reply() -> t.Any:
        killed.append((tmp_path / "gc.json").read_text())
        with path.open("a") as stream:
            stream.write('{"services": [{"message": {"gc": {"items_deleted": 9, "status": "complete"}}}]}\n')
        return 200, {"services": {"media": {"gc": {"status": "processing"}}}}

    fake.on("PUT", GC, collects(table))
    fake.on("PUT", "/v1/services/media/gc", reply)
    options = {"media": True, **({"notifications": str(path)} if heard else {})}
    run(**options)
    (tmp_path / "gc.json").write_text(killed[0])
    result = run(**options)
    assert (result["media"], result["messages_after"]) == (
        {"coreapp": "complete, 9 items" if heard else "processing"},
        1_800,
    )
    assert fake.paths().count("PUT /v1/services/media/gc") == 1


def test_marking_as_read(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("GET", "/v1/settings/application", (200, {"settings": {"application": {"pass_through": False}}}))
    fake.on("PUT", "/v1/messages/one", (200, None))
    fake.on("PUT", "/v1/messages/two", (200, {}))
    fake.on("PUT", GC, collects(table))
    ids = tmp_path / "ids"
    ids.write_text("two\n\nthree\n")
    options = {"mark_read": ["one", "two"], "mark_read_file": str(ids), "mark_read_rate": 50}
    predicted = run(check=True, **options)
    assert predicted["actions"][0] == "mark 3 inbound messages as read"
    result = run(**options)
    assert (result["marked_read"], result["mark_read_unknown"]) == (2, ["three"])
    calls = [path for path in fake.paths() if path.startswith("PUT")]
    assert calls == ["PUT /v1/messages/one", "PUT /v1/messages/two", "PUT /v1/messages/three", CALL]


def test_marking_needs_pass_through_off(run: Run, fake: FakeWebapp, table: Table, warned: list[str]) -> None:
    fake.on("GET", "/v1/settings/application", (200, {"settings": {"application": {"pass_through": True}}}))
    fake.on("PUT", GC, collects(table))
    result = run(mark_read=["one"])
    assert any("pass_through=false" in warning for warning in warned)
    assert result["marked_read"] == 0
    assert "PUT /v1/messages/one" not in fake.paths()


def test_marking_is_resumed(run: Run, fake: FakeWebapp, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.waba.onprem.plugins.module_utils._gc import run as gc_run

    monkeypatch.setattr(gc_run, "_MARKING_STEP", 0.1)
    fake.on("GET", "/v1/settings/application", (200, {"settings": {"application": {}}}))
    fake.on("PUT", GC, collects(table))
    ids = [str(number) for number in range(6)]
    for name in ids:
        fake.on("PUT", f"/v1/messages/{name}", (200, None))
    step = run(wait=False, mark_read=ids, mark_read_rate=20)
    assert (step["running"], step["progress"]["phase"]) == (True, "marking as read")
    assert run(mark_read=ids, mark_read_rate=20)["messages_after"] == 1_800
    assert [path for path in fake.paths() if "/v1/messages/" in path] == [f"PUT /v1/messages/{name}" for name in ids]


def test_marking_ends_with_the_window(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ansible_collections.waba.onprem.plugins.module_utils._gc import policy as gc_policy

    fake.on("GET", "/v1/settings/application", (200, {"settings": {"application": {}}}))
    for name in range(5):
        fake.on("PUT", f"/v1/messages/{name}", (200, None))
    closes = iter([0.0, 0.0, 0.0, 3600.0])  # at the start, then before each message
    monkeypatch.setattr(gc_policy, "until_window", lambda _window, _now: next(closes, 3600.0))
    options = {"mark_read": [str(number) for number in range(5)], "mark_read_rate": 50, "window": "01:00-05:00"}
    fake.on("PUT", "/v1/messages/1", error(404, 1006, "Not found"))
    result = run(**options)
    assert "the window 01:00-05:00 closed after 2 of 5 messages were marked" in result["skip_reason"]
    assert (result["marked_read"], result["mark_read_unknown"]) == (1, ["1"])
    assert CALL not in fake.paths()
    assert state(tmp_path)["run"] is None
    # the next night goes on where this one has stopped
    monkeypatch.setattr(gc_policy, "until_window", lambda _window, _now: 0.0)
    fake.on("PUT", GC, collects(table))
    result = run(**options)
    assert (result["marked_read"], result["mark_read_unknown"], result["messages_after"]) == (4, ["1"], 1_800)
    marked = [path for path in fake.paths() if "/v1/messages/" in path]
    assert marked == [f"PUT /v1/messages/{number}" for number in range(5)]


def test_a_token_that_expires_while_messages_are_marked(run: Run, fake: FakeWebapp, table: Table) -> None:
    def expire() -> t.Any:
        fake.tokens.clear()
        return 200, None

    fake.on("GET", "/v1/settings/application", (200, {"settings": {"application": {}}}))
    fake.on("PUT", "/v1/messages/one", expire)
    fake.on("PUT", "/v1/messages/two", (200, None))
    fake.on("PUT", GC, collects(table))
    result = run(mark_read=["one", "two"], mark_read_rate=50)
    assert (result["marked_read"], result["messages_after"], fake.logins) == (2, 1_800, 2)


# Options


def test_options_that_make_no_sense(run: Run) -> None:
    assert "option window" in run(window="nonsense")["msg"]
    assert "option quiet_period" in run(quiet_period="long")["msg"]
    assert "not known on this host" in run(timezone="Mars/Olympus")["msg"]
    assert "not readable" in run(env_file="/nowhere/db.env")["msg"]
    assert "mark_read_file" in run(mark_read_file="/nowhere/ids")["msg"]
    assert "notifications" in run(completion="notifications")["msg"]


def test_paths_come_from_the_deployment() -> None:
    from ansible_collections.waba.onprem.plugins.modules.wa_message_gc import complete

    params = {"max_messages": 1, "max_rounds": 1, "mark_read_rate": 5, "state_file": None, "lock_file": None}
    complete(params | {"project": "wa-support", "env_file": None})
    given: dict[str, t.Any] = {**params, "project": "wa-support", "env_file": None}
    complete(given)
    assert given["env_file"] == "/opt/waba/support/db.env"
    assert given["state_file"] == "/var/lib/waba/gc-support.json"
    assert given["lock_file"] == "/var/lib/waba/support.lock"
    given = {**params, "project": None, "env_file": "/srv/sales/db.env"}
    complete(given)
    assert given["state_file"] == "/var/lib/waba/gc-sales.json"
