# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of message GC: databases, due or not, windows, the end of a round, notifications, progress."""

from __future__ import annotations

import json
import typing as t
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._gc_policy import (
    SINGLE,
    Judge,
    Moment,
    Notification,
    fold_notifications,
    judge_due,
    left_in_window,
    measure,
    next_step,
    outbound_rate,
    own_databases,
    parse_notifications,
    parse_window,
    progress_line,
    until_window,
    wanted_databases,
)

DAY = 86400.0


# Databases


@pytest.mark.parametrize(
    ("prefix", "candidates"),
    [
        ("wa1", ["wa1messageStore"]),
        ("wa1", ["wa1messageStore0", "wa1messageStore1"]),
        ("a_b%c", ["a_b%cmessageStore"]),
        ("", ["messageStore"]),
        ('wa.1`"', ['wa.1`"messageStore']),
        ("wa", ["wamessages_a", "wamessages_b", "wamessages_c"]),
    ],
)
def test_one_clients_databases_are_taken(prefix: str, candidates: list[str]) -> None:
    assert own_databases(prefix, candidates) == candidates


@pytest.mark.parametrize(
    ("prefix", "candidates"),
    [
        ("wa1", ["wa1messageStore", "wa10messageStore"]),
        ("wa1", ["wa10messageStore"]),
        ("wa", ["wamessageStore", "wa_testmessageStore"]),
        ("wa", ["wa1messageStore", "wa2messageStore"]),
        ("wa", ["wa", "waxmessageStore"]),
        ("", ["amessageStore", "bmessageStore"]),
        ("", ["messageStore", "messageStore1"]),
    ],
)
def test_a_possible_neighbour_is_never_summed(prefix: str, candidates: list[str]) -> None:
    with pytest.raises(WaError) as told:
        own_databases(prefix, candidates)
    assert all(name in str(told.value) for name in candidates)
    assert "option databases" in str(told.value)


def test_no_database_is_an_error() -> None:
    with pytest.raises(WaError, match="no database that begins with 'wa9'"):
        own_databases("wa9", [])


def test_wanted_databases_decide() -> None:
    assert wanted_databases(["b", "b"], ["a", "b"]) == ["b"]
    with pytest.raises(WaError, match=r"no table messages seen in: c; expected some of: a, b"):
        wanted_databases(["b", "c"], ["a", "b"])


# Time


@pytest.mark.parametrize(
    ("window", "now", "wait"),
    [
        ("01:00-05:00", "00:59", 60),
        ("01:00-05:00", "01:00", 0),
        ("01:00-05:00", "04:59", 0),
        ("01:00-05:00", "05:00", 20 * 3600),
        ("22:00-04:00", "23:00", 0),
        ("22:00-04:00", "00:00", 0),
        ("22:00-04:00", "03:59", 0),
        ("22:00-04:00", "04:00", 18 * 3600),
        ("22:00-24:00", "23:59", 0),
        ("22:00-24:00", "00:00", 22 * 3600),
    ],
)
def test_the_window(window: str, now: str, wait: int) -> None:
    moment = datetime.fromisoformat(f"2026-03-03 {now}:00")
    assert until_window(parse_window(window), moment) == wait


@pytest.mark.parametrize("text", ["", "1-5", "01:00", "25:00-26:00", "01:60-02:00", "01:00-01:00", "01:00-05:00x"])
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(WaError, match="option window"):
        parse_window(text)


def test_what_is_left_of_the_window() -> None:
    assert left_in_window(parse_window("22:00-04:00"), datetime.fromisoformat("2026-03-03 23:00:00")) == 5 * 3600
    assert left_in_window(parse_window("22:00-04:00"), datetime.fromisoformat("2026-03-03 03:00:00")) == 3600


@given(begin=st.integers(0, 1439), length=st.integers(1, 1438), minute=st.integers(0, 1439))
def test_a_window_opens_when_it_says(begin: int, length: int, minute: int) -> None:
    end = (begin + length) % 1440
    window = parse_window(f"{begin // 60:02d}:{begin % 60:02d}-{end // 60:02d}:{end % 60:02d}")
    wait = until_window(window, datetime(2026, 3, 3, minute // 60, minute % 60))
    assert (minute + wait / 60) % 1440 == (begin if wait else minute)
    assert (wait == 0) == ((minute - begin) % 1440 < length)


@pytest.mark.parametrize(
    ("now", "earlier", "seconds"),
    [
        (Moment(1000, 50, "a"), Moment(900, 40, "a"), 10.0),
        # the wall clock stepped back, or forward: within one boot it does not count
        (Moment(10, 50, "a"), Moment(900, 40, "a"), 10.0),
        (Moment(9999, 50, "a"), Moment(900, 40, "a"), 10.0),
        (Moment(1000, 5, "b"), Moment(900, 40, "a"), 100.0),
        (Moment(800, 5, "b"), Moment(900, 40, "a"), None),
        (Moment(1000, 5, ""), Moment(900, 4, ""), 100.0),
    ],
)
def test_time_since(now: Moment, earlier: Moment, seconds: float | None) -> None:
    assert now.since(earlier) == seconds


# Due or not


@pytest.mark.parametrize(
    ("policy", "large", "since", "left_large", "ran", "due", "why"),
    [
        ("limit", True, None, False, False, True, "more rows than the limit"),
        ("limit", True, 60.0, True, True, True, "more rows than the limit"),
        ("limit", False, None, False, False, False, "not more rows"),
        ("always", False, 1.0, False, True, True, "always"),
        ("daily", False, None, False, False, True, "none is known"),
        ("daily", False, DAY, False, True, True, "24h00m ago"),
        ("daily", False, DAY - 1, False, True, False, "less than 24h00m"),
        ("daily", True, 3600.0, False, True, True, "more rows than the limit"),
        ("daily", True, 3600.0, True, True, False, "left the table above the limit"),
        ("daily", True, DAY + 1, True, True, True, "more rows than the limit"),
        ("daily", False, None, False, True, True, "an unknown time"),
    ],
)
def test_due(policy: str, large: bool, since: float | None, left_large: bool, ran: bool, due: bool, why: str) -> None:
    found = judge_due(policy, large, since, left_large, DAY, ran)
    assert found.due is due
    assert why in found.because
    if not due and policy == "daily":
        assert found.wait == DAY - (since or 0)


def test_outbound_rate() -> None:
    def read(*rows: tuple[str, dict[str, str], float]) -> list[tuple[str, dict[str, str], float]]:
        return list(rows)

    sent = "outbound_messages"
    assert outbound_rate(read((sent, {}, 100.0)), read((sent, {}, 160.0)), 10) == 6
    # the Webapp restarted between the reads
    assert outbound_rate(read((sent, {}, 100.0)), read((sent, {}, 20.0)), 10) == 2
    request = "api_requests"
    before = read((request, {"path": "/v1/messages", "method": "POST"}, 5.0), (request, {"path": "/v1/health"}, 9.0))
    after = read((request, {"path": "/v1/messages", "method": "POST"}, 25.0), (request, {"path": "/v1/health"}, 99.0))
    assert outbound_rate(before, after, 10) == 2
    assert outbound_rate(read(("queue", {}, 1.0)), read(("queue", {}, 1.0)), 10) is None


# The end of a round


def follow(judge: Judge, samples: t.Iterable[tuple[float, int]], settle: float, deleting: bool = False) -> float | None:
    """When the judge says that the round has ended, or None."""
    for at, counter in samples:
        judge.sample(at, [counter], 0, deleting)
        if judge.ended(settle):
            return at
    return None


def test_a_round_ends_when_deletes_stop_for_settle() -> None:
    samples = [(at, min(at, 10) * 1000) for at in range(1, 40)]
    judge = Judge(counters=[0])
    assert follow(judge, samples, 5) == 15
    assert judge.deleted == 10000


def test_traffic_of_its_own_is_not_gc() -> None:
    # 100 rows a second go anyway; GC adds 5000 a second for 10 s
    samples = [(at, at * 100 + min(at, 10) * 5000) for at in range(1, 60)]
    judge = Judge(baseline=100, counters=[0])
    assert follow(judge, samples, 5) == 15
    assert judge.deleted == 50000


def test_a_gc_that_has_not_begun_has_not_ended() -> None:
    judge = Judge(counters=[0])
    assert follow(judge, [(at, 0) for at in range(1, 500)], 5) is None
    assert judge.ended(5, must_start=False)


def test_pauses_make_it_more_patient() -> None:
    # batches every 20 s: settle of 5 s must not end it in a pause after the second batch
    times = [1, 21, 41, 61]
    samples = [(at, sum(1000 for time in times if at >= time)) for at in range(1, 400)]
    judge = Judge(counters=[0])
    judge.sample(0.5, [0], 0, False)
    ended = follow(Judge(counters=[0]), samples[:10], 30)
    assert ended is None
    ended = follow(judge, samples, 25)
    assert ended is not None
    assert ended >= 61 + 5 * 19
    assert judge.deleted == 4000


def test_one_big_transaction_moves_no_counter_but_runs() -> None:
    judge = Judge(counters=[0])
    for at in range(1, 100):
        judge.sample(at, [0], 0, True)
        assert not judge.ended(5)
    judge.sample(100, [900000], 0, False)
    assert not judge.ended(5)
    judge.sample(106, [900000], 0, False)
    assert judge.ended(5)
    assert judge.deleted == 900000


def test_a_reset_of_the_statistics_is_no_end() -> None:
    judge = Judge(counters=[50000])
    judge.sample(1, [60000], 0, False)
    judge.sample(8, [100], 0, False)
    assert judge.resets == 1
    assert not judge.ended(5)
    judge.sample(9, [10100], 0, False)
    judge.sample(14, [10100], 0, False)
    assert judge.ended(5)
    assert judge.deleted == 20000


def test_a_few_rows_of_other_tables_are_no_gc_unless_the_table_shrinks() -> None:
    judge = Judge(tolerance=5.0, counters=[0], rows=100)
    judge.sample(1, [3], 100, False)
    assert not judge.started
    judge.sample(2, [6], 97, False)
    assert judge.started


@given(
    rates=st.lists(st.integers(0, 5000), min_size=1, max_size=30),
    baseline=st.integers(0, 50),
    settle=st.integers(2, 20),
)
def test_it_never_ends_while_rows_go(rates: list[int], baseline: int, settle: int) -> None:
    judge, counter = Judge(baseline=float(baseline), counters=[0]), 0
    for at, rate in enumerate(rates, start=1):
        counter += baseline + rate
        judge.sample(at, [counter], 0, False)
        if rate > max(0.5 * baseline, 1):
            assert not judge.ended(settle)
    assert judge.deleted <= sum(rates) + 1
    assert Judge(**json.loads(json.dumps(judge.keep()))) == judge


# Notifications


def told(node: str | None = None, status: str = "complete", deleted: int = 5, **more: t.Any) -> str:
    gc: dict[str, t.Any] = {"messages_deleted": deleted, "status": status}
    if node:
        gc["node"] = node
    return json.dumps({"services": [{"message": {"gc": gc}}], **more})


def test_notifications_are_read_and_folded() -> None:
    lines = [
        "torn {",
        "[]",
        json.dumps({"messages": [{"id": "x"}]}),
        told("a:1", deleted=3),
        told("a:1", deleted=99),
        told("b:2", status="failed", deleted=0, errors=[{"code": 1014, "details": "time-out"}]),
    ]
    first, silent = fold_notifications(parse_notifications(lines), ["a:1", "b:2", "c:3"])
    assert first == {
        "a:1": Notification("a:1", "complete", 3),
        "b:2": Notification("b:2", "failed", 0, "1014 time-out"),
    }
    assert silent == ["c:3"]


def test_an_older_runs_notification_counts_for_nothing() -> None:
    assert parse_notifications([told(timestamp=100)], since=200) == []
    assert len(parse_notifications([told(timestamp=300)], since=200)) == 1
    first, silent = fold_notifications([Notification("gone:0", "complete", 1)], ["a:1", "b:2"])
    assert (first, silent) == ({}, ["a:1", "b:2"])


@pytest.mark.parametrize("node", [None, "wacore:9dfe77618dba"])
def test_a_single_client_may_leave_its_name_out(node: str | None) -> None:
    first, silent = fold_notifications(parse_notifications([told(node)]), [SINGLE])
    assert first[SINGLE].deleted == 5
    assert silent == []


def test_media_notifications_nest_both_ways() -> None:
    good = json.dumps({"services": [{"message": {"gc": {"items_deleted": 7, "status": "complete"}}}]})
    bad = json.dumps(
        {"services": [{"media": {"gc": {"items_deleted": 0, "status": "failed"}}}], "errors": [{"code": 1000}]}
    )
    assert parse_notifications([good, bad, told()], media=True) == [
        Notification("", "complete", 7),
        Notification("", "failed", 0, "1000"),
    ]
    assert parse_notifications([good, bad]) == []


@given(st.text())
def test_no_line_breaks_the_reading(line: str) -> None:
    assert parse_notifications([line, told()])[-1].deleted == 5


# After a round


@pytest.mark.parametrize(
    ("large", "deleted", "rounds", "window", "step"),
    [
        (False, 0, 1, True, "done"),
        (True, 0, 1, True, "nothing"),
        (True, 5, 3, True, "rounds"),
        (True, 5, 1, True, "again"),
        (True, 5, 1, False, "window"),
    ],
)
def test_what_follows(large: bool, deleted: int, rounds: int, window: bool, step: str) -> None:
    assert next_step(large, deleted, rounds, 3, window) == step


# Progress


def test_a_progress_line_is_whole_and_plain() -> None:
    progress = measure("deleting", 2, 2_100_000, 2_200_000, 2_000_000, 100_000, 10_000.0)
    line = progress_line("h1", vars(progress))
    assert (
        line
        == "h1 | message GC round 2 | [##########..........] ~2,100,000 rows, 100,000 deleted, 10,000/s, 10s to the limit, deleting"
    )
    assert (
        progress_line("h1", vars(measure("started", 1, None, 5, 10, 0, 0.0)))
        == "h1 | message GC round 1 | 0 deleted, 0/s, started"
    )
    assert line.isascii()
