# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_message_gc against a small Webapp and a table in memory: rounds, steps, when it is due, options."""

from __future__ import annotations

import json
import time
import typing as t
from datetime import datetime
from pathlib import Path

import pytest
from fake_webapp import FakeWebapp
from gc_module import CALL, GC, Run, Table, collects, notify, state

from ansible_collections.waba.onprem.plugins.module_utils._gc import policy
from ansible_collections.waba.onprem.plugins.module_utils._gc.state import StateFile


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


def test_rounds_repeat_while_they_delete_something(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "webhook.jsonl"

    def collect() -> t.Any:
        notify(path, 80)
        return collects(table, 80)()

    fake.on("PUT", GC, collect)
    result = run(notifications=str(path))
    assert (result["rounds"], result["messages_deleted"], result["messages_after"]) == (3, 240, 1_960)
    monkeypatch.setattr(policy, "ROUNDS", 2)
    table.rows = 2_280
    result = run()
    assert "about 2120 rows remain after 2 rounds" in result["msg"]
    assert (result["failed"], result["changed"], calls(fake)) == (True, True, 5)


@pytest.mark.parametrize(
    ("count", "options", "after", "rounds"),
    [
        (400, {}, 1_800, 0),
        (100, {}, 1_800, 1),  # it leaves too much, so another one is called
        (100, {"policy": "never", "api_password": None}, 2_100, 0),
        (600, {"policy": "never", "api_password": None}, 1_600, 0),
    ],
)
def test_one_that_runs_already_is_followed_and_not_called_again(
    run: Run, fake: FakeWebapp, table: Table, count: int, options: dict[str, t.Any], after: int, rounds: int
) -> None:
    if options:
        for check in (False, True):
            assert run(check=check, **options)["skip_reason"] == "no GC runs"
    fake.on("PUT", GC, collects(table, 300))
    table.delete(count, batches=20, pause=0.1)
    assert not options or run(check=True, **options)["running"]
    result = run(**options)
    assert (result["messages_after"], result["rounds"], calls(fake)) == (after, rounds, rounds)
    assert (result["changed"], result["messages_deleted"]) == (rounds > 0, None)
    assert fake.requests == [] or not options


def test_rows_of_a_small_table_that_always_go_are_no_failure(run: Run, fake: FakeWebapp, table: Table) -> None:
    table.rows = 1_500
    table.delete(900, batches=90, pause=0.05)
    result = run(policy="daily", wait_timeout="1.5")
    assert "by traffic or by a GC" in result["skip_reason"]
    assert calls(fake) == 0


def test_steps_take_it_up(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, collects(table, batches=8, pause=0.1))
    step = run(wait=False)
    assert (step["running"], step["changed"]) == (True, True)
    run_id = step["run_id"]
    assert run(check=True)["progress"]["round"] == 1
    with StateFile(str(tmp_path / "gc.json"), {}).lock(1) as mine:  # another controller
        assert mine
        busy = run(wait=False, run_id=run_id)
    assert (busy["running"], busy["progress"]) == (True, {"phase": "another run is at work"})
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
    assert "called no GC, or another has ended" in run(policy="always", run_id="other")["skip_reason"]
    assert state(tmp_path)["run"]["over"]


# Due or not


def test_daily_acts_once_in_its_interval(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    table.rows = 900
    fake.on("PUT", GC, collects(table, 40, pause=0.2))
    assert run(policy="daily")["messages_after"] == 860
    data = state(tmp_path)
    began = data["run"]["began"][0]
    second = run(policy="daily")
    assert not second["changed"]
    assert "less than 24h00m" in second["skip_reason"]
    # from begin to begin
    assert abs(datetime.fromisoformat(second["next_due"]).timestamp() - began - 86400 * 47 / 48) < 2
    data["run"]["began"] = [began - 86400, 0.0, "another"]
    (tmp_path / "gc.json").write_text(json.dumps(data))
    assert run(policy="daily")["changed"]


def test_outside_the_window_nothing_is_asked(run: Run, fake: FakeWebapp, table: Table) -> None:
    now = datetime.now().astimezone()
    result = run(window=f"{(now.hour + 2) % 24:02d}:00-{(now.hour + 3) % 24:02d}:00")
    assert "outside the window" in result["skip_reason"]
    due = datetime.fromisoformat(result["next_due"])
    assert (due.hour, due.minute, due.utcoffset()) == ((now.hour + 2) % 24, 0, now.utcoffset())
    assert (fake.requests, table.counts) == ([], 0)
    fake.on("PUT", GC, collects(table))
    assert run(window=f"{now.hour:02d}:00-{(now.hour + 2) % 24:02d}:00")["messages_after"] == 1_800


def test_a_neighbours_database_is_never_summed(run: Run, fake: FakeWebapp, table: Table) -> None:
    table.databases = ["wa0messageStore", "wamessageStore"]
    assert "wa0messageStore, wamessageStore" in run()["msg"]
    assert fake.requests == []
    fake.on("PUT", GC, collects(table))
    assert run(databases=["wamessageStore"])["databases"] == ["wamessageStore"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"env_file": None, "project": "wa-support"}, "/opt/waba/support/db.env"),  # the defaults of the deployment
        ({"env_file": None}, "one of them"),
        ({"window": "5-6"}, "option window"),
        ({"max_messages": -1}, "option max_messages"),
        ({"quiet_period": "soon"}, "quiet_period"),
        ({"api_url": "ftp://x"}, "api_url"),
    ],
)
def test_options_that_make_no_sense(run: Run, fake: FakeWebapp, options: dict[str, t.Any], message: str) -> None:
    assert message in run(**options)["msg"]
    assert fake.requests == []
