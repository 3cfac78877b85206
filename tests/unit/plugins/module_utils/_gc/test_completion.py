# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a round of message GC has ended, by what the pulse shows."""

from __future__ import annotations

import json
import typing as t

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._gc.completion import Judge


def follow(judge: Judge, samples: t.Iterable[tuple[float, int]], settle: float, deleting: bool = False) -> float | None:
    """When the judge says that the round has ended, or None. Nothing is inserted: the table gets smaller by what goes."""
    for at, counter in samples:
        judge.sample(at, [counter], judge.rows - counter + sum(judge.counters), deleting)
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


def test_a_rest_that_is_counted_late_is_no_pause_between_batches() -> None:
    # 8000 rows a second for 10 s; the last 6000 of them are told 14 s later
    judge = Judge(over=5, counters=[0])
    for at in range(1, 11):
        judge.sample(at, [8000 * at], 0, False)
    samples = [(at, 80_000 if at < 24 else 86_000) for at in range(11, 200)]
    assert follow(judge, samples, 30) == 24 + 30
    assert (judge.deleted, judge.pause) == (86_000, 0)


def test_a_server_that_counts_idle_sessions_late_is_not_waited_for_twice() -> None:
    # the last 6000 rows went before second 11 and are told 10 s later, as PostgreSQL does
    def ended(told: int, late: float) -> float | None:
        judge = Judge(over=5, late=late, counters=[0])
        for at in range(1, 11):
            judge.sample(at, [8000 * at], 0, False)
        return follow(judge, [(at, 80_000 if at < told else 86_000) for at in range(11, 200)], 60)

    assert ended(20, late=10) == 10 + 60
    assert ended(22, late=10) == 12 + 60  # of deletes that may have gone until second 12
    assert ended(15, late=10) == 15 + 60  # too soon to be of an idle session
    assert ended(20, late=0) == 20 + 60


Seconds = t.Callable[[int], "float | None"]


def look_rarely(unchanged: Seconds, sessions: t.Callable[[int], str], idle: Seconds | None = None) -> float | None:
    """When a round has ended that deletes until second 12, is seen every 7 s from second 2, and told in full at 23."""
    judge = Judge(over=5, late=10, counters=[0], sessions=list(sessions(0)))
    for at in range(2, 200, 7):
        counter = 100_000 if at >= 23 else 90_000 if at >= 9 else 20_000
        figures = (0, 0) if at < 12 else ((idle or unchanged)(at), unchanged(at))
        judge.sample(at, [counter], -counter, False, sessions=sessions(at), idle=figures[0], unchanged=figures[1])
        assert (judge.counted_at == at) == (at in (2, 9, 23))
        assert judge.moving == (at in (2, 9) or (at == 23 and judge.active_at > 16))
        if judge.ended(20):
            return at - judge.quiet()
    return None


def test_sessions_that_idle_tell_since_when_nothing_has_gone() -> None:
    def since_12(at: int) -> float:
        return at - 12

    def heartbeat(at: int) -> float:
        return at % 5

    def never(_at: int) -> None:
        return None

    by_rest = 23 - 10  # what is told without a sign of GC for so long was handed in when a session had idled
    assert look_rarely(since_12, lambda _at: "ab") == 12
    assert look_rarely(since_12, lambda at: "a" if at < 20 else "ab") == 12  # one has come
    assert look_rarely(since_12, lambda at: "ab" if at < 20 else "a") == by_rest  # one has ended
    assert look_rarely(heartbeat, lambda _at: "a") == 20  # it writes every five seconds, and may have deleted with that
    assert look_rarely(since_12, lambda _at: "ab", heartbeat) == 12  # another one reads every five seconds
    assert look_rarely(never, lambda _at: "a", lambda at: at - 12 if at < 20 else at % 5) == 12  # the same one reads
    assert look_rarely(never, lambda at: "a" if at < 20 else "b", heartbeat) == by_rest
    assert look_rarely(never, lambda _at: "a", lambda at: at % 2) == 16  # it read at the last look, too
    assert look_rarely(lambda at: at + 60, lambda _at: "a") == by_rest  # idle for too long to have been the one
    assert look_rarely(never, lambda _at: "") == by_rest


def test_what_is_handed_in_after_a_look_that_told_of_deletes_is_late_too() -> None:
    judge = Judge(over=5, late=10, counters=[0], sessions=["a"])
    judge.sample(10, [8000], -8000, False, sessions=["a"], idle=0, unchanged=0)
    judge.sample(13, [9000], -9000, False, sessions=["a"], idle=2, unchanged=2)
    assert (judge.active_at, judge.moving) == (11, True)
    judge.sample(16, [9900], -9900, False, sessions=["a"], idle=1.5)  # with something that it has read since
    assert (judge.active_at, judge.moving) == (11, False)
    judge.sample(19, [10900], -10900, False, sessions=["a"], idle=0.2, unchanged=0.2)
    judge.sample(22, [11900], -11900, False, sessions=["a"], idle=0.2)  # between two statements of a GC
    assert (judge.active_at, judge.moving) == (21.8, True)


def test_a_new_batch_is_not_taken_for_late_counts() -> None:
    # a batch every 15 s by a session whose last statement reads
    judge = Judge(over=5, late=10, counters=[0], sessions=["a"])
    ended = []
    for at in range(7, 800, 7):
        counter = 1000 * (min(at, 300) // 15)
        judge.sample(at, [counter], -counter, False, sessions=["a"], idle=at % 15)
        if judge.ended(60):
            ended.append(at)
    assert ended[0] >= 300 + 60


def test_late_counts_alone_do_not_end_a_round() -> None:
    judge = Judge(late=10, counters=[0], sessions=["a"])
    judge.sample(1, [5000], -5000, False, sessions=["a"], idle=0, unchanged=0)
    judge.sample(9, [6000], -6000, False, sessions=["a"], idle=7.5, unchanged=7.5)
    assert (judge.active_at, judge.quiet(), judge.lacks(5), judge.ended(5)) == (1.5, 7.5, 3.75, False)
    judge.sample(12.8, [6000], -6000, False, sessions=["a"], idle=11, unchanged=11)
    assert judge.ended(5)


def test_only_the_first_rest_is_one_and_small_batches_are_pauses() -> None:
    # fast for 10 s, then 1000 rows every 25 s by sessions that come and go: no rest of the fast time
    judge = Judge(over=5, counters=[0])
    for at in range(1, 11):
        judge.sample(at, [8000 * at], 0, False)
    counter, ended = 80_000, []
    for at in range(11, 500):
        counter += 1000 if at % 25 == 0 and at <= 300 else 0
        judge.sample(at, [counter], -counter, False)
        if judge.ended(30):
            ended.append(at)
    assert judge.pause == 24
    assert ended[0] == 300 + 5 * 24


def test_gc_slower_than_the_clients_own_deletes_is_seen_in_time() -> None:
    # 200 rows a second go anyway, GC takes 80 more for 120 s
    judge = Judge(baseline=200, over=10, counters=[0])
    ended = follow(judge, [(at, 200 * at + 80 * min(at, 120)) for at in range(1, 400)], 20)
    assert ended is not None
    assert ended >= 120


def test_bursts_as_before_the_call_are_no_gc() -> None:
    # 40 rows go every 12 s, before, during and after GC
    judge = Judge(baseline=80 / 30, over=30, burst=40, counters=[0])
    samples = [(at, 40 * (at // 12) + 3000 * min(at, 15)) for at in range(2, 200, 2)]
    assert follow(judge, samples, 30) == 16 + 30


def test_partitions_that_are_dropped_are_a_sign() -> None:
    judge = Judge(over=5, counters=[100], rows=90_000, files="abc")
    judge.sample(5, [100], 60_000, False, files="abc")  # an estimate that was corrected
    assert not judge.started
    judge.sample(10, [0], 45_000, False, files="ab")  # what the partition had counted went with it
    judge.sample(15, [0], 30_000, False, files="a")
    assert (judge.started, judge.deleted, judge.quiet()) == (True, 30_000, 0)
    judge.sample(25, [0], 30_000, False, files="a")
    assert judge.ended(10)


def test_a_reset_takes_no_rows() -> None:
    judge = Judge(over=5, counters=[100], rows=60_000)
    judge.sample(5, [0], 0, False)
    assert (judge.started, judge.deleted) == (False, 0)


def test_a_table_whose_rows_come_and_go_does_not_fall() -> None:
    # GC of 500 rows a second for 20 s; then 60 come and 60 go every second, which nobody knew before
    judge = Judge(over=5, counters=[1000], rows=50_000)
    counter, rows = 1000, 50_000
    for at in range(1, 21):
        counter, rows = counter + 500, rows - 500
        judge.sample(at, [counter], rows, False)
        assert judge.falls(10)
    for at in range(21, 60):
        counter, rows = counter + 60, rows + (3 if at % 2 else -3)
        judge.sample(at, [counter], rows, False)
        assert judge.falls(10) is (at < 30)
        assert judge.ended(10) is (at >= 44)  # 24 looks of one shape at which the table has not fallen
    assert judge.shrunk > 9_000


def test_a_gc_as_fast_as_traffic_is_no_traffic() -> None:
    # 2000 rows a second go and as many come: the table does not fall, and GC runs
    judge = Judge(over=5, counters=[0], rows=2_000_000)
    for at in range(1, 600):
        judge.sample(at, [2000 * at], 2_000_000, False)
        assert judge.falls(60)
        assert not judge.ended(60)
    for at in range(600, 661):
        judge.sample(at, [2000 * 599], 2_000_000, False)
    assert not judge.falls(60)
    assert judge.ended(60)


def bursts(judge: Judge, inserts: float, until: int = 7200) -> int | None:
    """When it ends: 60 s of GC at 8000 rows a second, then 200 rows every 20 s, which 5 s before the call did not show."""
    for at in range(10, until, 10):
        counter = 8000 * min(at, 60) + 200 * (at // 20)
        judge.sample(at, [counter], 2_000_000 - counter + round(inserts * at), False)
        if judge.ended(60):
            return at
    return None


def test_bursts_that_the_baseline_has_missed_are_no_gc() -> None:
    judge = Judge(over=5, counters=[0], rows=2_000_000)
    assert bursts(judge, inserts=10) in range(160, 200)
    assert abs(judge.deleted - 480_000) < 1_500
    assert judge.burst == 200
    # where they make the table smaller, more of them must come
    assert bursts(Judge(over=5, counters=[0], rows=2_000_000), inserts=0) in range(500, 600)


def test_a_gc_that_goes_on_slowly_is_one_as_long_as_it_is_faster_than_traffic() -> None:
    # one look of 400,000 rows, then 200 rows a second in even batches for an hour
    judge = Judge(over=5, counters=[0], rows=2_000_000)
    for at in range(10, 3600, 10):
        counter = 400_000 + 200 * at
        judge.sample(at, [counter], 2_000_000 - counter, False)
        assert not judge.ended(60)


def test_even_batches_are_a_gc_as_long_as_they_come() -> None:
    judge = Judge(over=5, counters=[0], rows=2_000_000)
    for at in range(10, 3000, 10):
        counter = 10_000 * (at // 20)
        judge.sample(at, [counter], 2_000_000 - counter, False)
        assert not judge.ended(60)


def test_deletes_of_other_tables_shrink_nothing() -> None:
    judge = Judge(tolerance=5.0, over=5, counters=[1000], rows=50_000)
    for at in range(1, 30):
        judge.sample(at, [1000 + 2000 * at], 50_000, False)
    assert (judge.deleted, judge.shrunk) == (58_000, 0)


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


def test_rows_that_go_one_by_one_are_no_gc() -> None:
    # 0.2 rows a second, told as 0 or 5 in one look of 10 s: a baseline of 6 rows in 30 s
    judge, counter = Judge(baseline=0.2, over=30, counters=[0], rows=100), 0
    for look in range(1, 8):
        counter += (0, 5, 1, 3, 4, 0, 2)[look - 1]
        judge.sample(10.0 * look, [counter], 100, False)
    assert not judge.started
    assert judge.ended(60, must_start=False)


def test_a_trickle_is_seen_in_what_comes_together() -> None:
    judge = Judge(baseline=0.0, over=30, counters=[0], rows=100)
    assert follow(judge, [(at, at) for at in range(1, 200)], 5) is None
    assert judge.started
    assert judge.deleted > 180


def test_another_servers_counters_are_no_deletes() -> None:
    judge = Judge(over=30, counters=[1000], origins=[100.0])
    judge.sample(1, [2000], 0, False, [100.4])
    assert (judge.deleted, judge.resets) == (1000, 0)
    # a failover to a server that has counted far more, since another start
    judge.sample(8, [900_000_000], 0, False, [5000.0])
    assert (judge.deleted, judge.resets) == (1000, 1)
    assert not judge.ended(5)


@given(
    rates=st.lists(st.integers(0, 5000), min_size=1, max_size=24),
    baseline=st.integers(0, 50),
    settle=st.integers(2, 20),
)
def test_it_never_ends_while_rows_go(rates: list[int], baseline: int, settle: int) -> None:
    judge, counter, rows = Judge(baseline=float(baseline), counters=[0]), 0, 0
    for at, rate in enumerate(rates, start=1):
        counter, rows = counter + baseline + rate, rows - rate
        judge.sample(at, [counter], rows, False)
        if rate > max(0.5 * baseline, 1):
            assert not judge.ended(settle)
    assert judge.deleted <= sum(rates) + 1
    assert Judge(**json.loads(json.dumps(judge.keep()))) == judge
