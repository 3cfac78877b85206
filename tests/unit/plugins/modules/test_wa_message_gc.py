# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_message_gc against a small Webapp and a table in memory: rounds, steps, when it is due, options."""

from __future__ import annotations

import time
import typing as t
from datetime import datetime

import pytest
from gc_module import Client

from ansible_collections.waba.onprem.plugins.module_utils._gc import policy
from ansible_collections.waba.onprem.plugins.module_utils._gc.state import StateFile


def test_above_the_limit_it_is_brought_under_it(client: Client) -> None:
    predicted = client.run(check=True)
    assert (predicted["changed"], client.web.requests) == (True, [])
    assert "more rows than the limit" in predicted["actions"][0]
    result = client.run()
    assert (result["messages_before"], result["messages_after"], result["exact"]) == (2_200, 1_800, True)
    assert (result["rounds"], result["changed"]) == (1, True)
    assert result["actions"] == ["called message GC (round 1): more rows than the limit"]
    assert result["nodes"] == {"coreapp": {"status": "processing"}}
    assert (client.calls(), client.web.logins, client.web.tokens) == (1, 1, set()), "logged in once, and out again"
    for check in (False, True):
        again = client.run(check)
        assert (again["changed"], again["skip_reason"]) == (False, "not more rows than the limit")
        assert (again["messages_before"], again["messages_after"]) == (1_800, 1_800)
    assert client.web.logins == 1


def test_rounds_repeat_while_they_delete_something(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.answer(client.collects(80))
    result = client.run()
    assert (result["rounds"], result["messages_after"]) == (3, 1_960)
    monkeypatch.setattr(policy, "ROUNDS", 2)
    client.fill(2_280)
    result = client.run()
    assert "about 2120 rows remain after 2 rounds" in result["msg"]
    assert (result["failed"], result["changed"], client.calls()) == (True, True, 5)


NEVER = {"policy": "never", "api_password": None}


@pytest.mark.parametrize(
    ("count", "options", "after", "rounds"),
    [
        (400, {}, 1_800, 0),
        (100, {}, 1_800, 1),  # it leaves too much, so another one is called
        (100, NEVER, 2_100, 0),
        (600, NEVER, 1_600, 0),
    ],
)
def test_one_that_runs_already_is_followed_and_not_called_again(
    client: Client, count: int, options: dict[str, t.Any], after: int, rounds: int
) -> None:
    if options:
        for check in (False, True):
            assert client.run(check, **options)["skip_reason"] == "no GC runs"
    client.answer(client.collects(300))
    client.delete(count, batches=20, pause=0.1)
    if options:
        assert client.run(check=True, **options)["running"]
    result = client.run(**options)
    assert (result["messages_after"], result["rounds"], client.calls()) == (after, rounds, rounds)
    assert ("failed" in result, result["changed"]) == (False, rounds > 0)
    assert len(client.web.requests) == 3 * rounds, "login, call and logout; none for a look"


def test_rows_of_a_small_table_that_always_go_are_no_failure(client: Client) -> None:
    client.fill(1_500)
    client.delete(900, batches=90, pause=0.05)
    assert "by traffic or by a GC" in client.run(policy="daily", wait_timeout="1.5")["skip_reason"]
    assert client.calls() == 0


def test_steps_take_it_up(client: Client) -> None:
    client.answer(client.collects(batches=8, pause=0.1))
    step = client.run(wait=False)
    assert (step["running"], step["changed"]) == (True, True)
    run_id = step["run_id"]
    assert client.run(check=True)["progress"]["round"] == 1
    with StateFile(str(client.state_file), {}).lock(1) as mine:  # another controller
        assert mine
        busy = client.run(wait=False, run_id=run_id)
    assert (busy["running"], busy["progress"]) == (True, {"phase": "another run is at work"})
    while step["running"]:
        assert step["progress"]["round"] == 1
        time.sleep(0.1)
        step = client.run(wait=False, run_id=run_id, api_password=None)  # a look needs no login
    assert (step["changed"], step["messages_after"], step["run_id"]) == (False, 1_800, run_id)
    # a second driver, late: the same result, and no second call although the policy would want one
    follower = client.run(policy="always", run_id=run_id)
    assert (follower["messages_after"], follower["rounds"], client.calls()) == (1_800, 1, 1)
    assert "called no GC, or another has ended" in client.run(policy="always", run_id="other")["skip_reason"]
    assert client.state()["over"]


def test_daily_acts_once_in_its_interval(client: Client) -> None:
    client.fill(900)
    client.answer(client.collects(40, pause=0.2))
    assert client.run(policy="daily")["messages_after"] == 860
    began = client.state()["began"][0]
    second = client.run(policy="daily")
    assert not second["changed"]
    assert "less than 24h00m" in second["skip_reason"]
    # from begin to begin
    assert abs(datetime.fromisoformat(second["next_due"]).timestamp() - began - 86400 * 47 / 48) < 2
    client.keep(began=[began - 86400, 0.0, "another"])
    assert client.run(policy="daily")["changed"]


def test_outside_the_window_nothing_is_asked(client: Client) -> None:
    now = datetime.now().astimezone()
    later, end = ((now.hour + hours) % 24 for hours in (2, 3))
    result = client.run(window=f"{later:02d}:00-{end:02d}:00")
    assert "outside the window" in result["skip_reason"]
    due = datetime.fromisoformat(result["next_due"])
    assert (due.hour, due.minute, due.utcoffset()) == (later, 0, now.utcoffset())
    assert (client.web.requests, client.counts) == ([], 0)
    assert client.run(window=f"{now.hour:02d}:00-{later:02d}:00")["messages_after"] == 1_800


def test_the_tables_are_those_of_the_prefix_or_of_the_databases_named(client: Client) -> None:
    assert client.run(check=True)["databases"] == ["wamessageStore"]
    assert client.run(databases=["other"])["databases"] == ["other"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"env_file": None}, "option env_file: not given; expected the client's db.env"),
        ({"window": "5-6"}, "option window"),
        ({"max_messages": -1}, "option max_messages"),
        ({"quiet_period": "soon"}, "quiet_period"),
        ({"api_url": "ftp://x"}, "api_url"),
    ],
)
def test_options_that_make_no_sense(client: Client, options: dict[str, t.Any], message: str) -> None:
    assert message in client.run(**options)["msg"]
    assert client.web.requests == []
