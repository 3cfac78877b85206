# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a message GC is over: the rule by tables, and in random worlds with a fake clock."""

from __future__ import annotations

import dataclasses
import math
import typing as t

import pytest
from gc_worlds import CALM, WORLDS, World, follow
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._database.activity import Activity
from ansible_collections.waba.onprem.plugins.module_utils._gc.completion import Watch

PERIOD = 180.0


def look(alive: int, deleted: int | None = None, deleting: bool = False, inserted: int = 0) -> Activity:
    return Activity(alive, deleting, deleted, None if deleted is None else inserted)


def watch(sampled: int = 4000, rows: int = 3_000_000, deleted: int | None = None) -> Watch:
    return Watch.begin(sampled, rows, look(sampled, deleted))


@pytest.mark.parametrize(
    ("looks", "quiet"),
    [
        # keys there of 4000, the table's counter, a delete that runs, every 10 s: for how long it is quiet after the last
        ([(4000,)] * 3, 30),
        ([(3992,)] * 3, 30),  # as many as go in a day by themselves
        ([(3991,)] * 3, 20),
        ([(3998,), (3995,), (3991,)], 0),  # slow, and all the same
        ([(4000, None, True), (4000,)], 10),
        ([(4000, 36)], 10),
        ([(4000, 37)], 0),  # slower than the sample shows
        ([(4000, 9_000, False, 9_000)], 10),  # traffic deletes what it has inserted
        ([(4000, -900), (4000, -890)], 10),  # statistics that were reset
        ([(4000, 900_000), (4000, 900_030)], 10),  # another server's counters
        ([(3000,), (3500,)], 0),  # another server, which lacks the last deletes
        # the counters come late, and show no more than the sample has shown
        ([(3000, 0), (3000, 750_000)], 10),
        ([(3000, 0), (3000, 400_000), (3000, 800_000)], 20),
        ([(3000, 0), (3000, 826_000)], 0),  # more
        ([(3000, 0)] * 3 + [(3000, 750_000)], 0),  # later than statistics come
        ([(3000, 750_000), (3000, 750_040)], 10),
        ([(3000, 0), (3000, 9, False, 9), (3000, -9), (3000, 100)], 0),  # since a reset
    ],
)
def test_what_breaks_the_quiet(looks: list[tuple[t.Any, ...]], quiet: int) -> None:
    found = watch(deleted=0 if len(looks[0]) > 1 and looks[0][1] is not None else None)
    for one in looks:
        found.take(look(*one), 10, PERIOD)
    assert found.quiet() == quiet


def test_of_a_small_table_each_row_counts() -> None:
    found = watch(100, 100)
    found.take(look(99), 10, PERIOD)
    assert found.quiet() == 0


@pytest.mark.parametrize(
    ("lost", "deleting", "shrunk", "running", "usual"),
    [
        (0, False, None, False, 0.0),
        (6, False, None, False, 0.0),  # by chance
        (7, False, None, True, 0.0),
        (0, True, None, True, 0.0),
        (400, False, 90_000, True, 0.0),
        (400, False, 100, False, 400 / 30),  # rows come as they go
        (400, True, 100, True, 0.0),
    ],
)
def test_whether_one_runs_already(lost: int, deleting: bool, shrunk: int | None, running: bool, usual: float) -> None:
    found = watch(4000, 900_000)
    assert found.is_running(look(4000 - lost, None, deleting), 30, shrunk) is running
    assert found.usual_keys == usual


def test_traffic_before_the_call_is_traffic_after_it() -> None:
    found = watch(4000, 40_000, 0)
    assert not found.is_running(look(3970, 300), 30, 0)
    assert (found.usual_keys, found.usual_rows) == (1.0, 10.0)
    found.take(look(3970, 300), 30, PERIOD)
    for alive, deleted, quiet in ((3610, 3_900, 180), (3240, 7_800, 0)):
        found.restart()
        found.take(look(alive, deleted), 180, PERIOD)
        assert found.quiet() == quiet


@pytest.mark.parametrize(
    ("sampled", "rows", "rate"),
    [(1000, 1000, 0.017), (4000, 3_000_000, 153), (4000, 300_000, 15.3)],  # in the first the sample holds all rows
)
def test_what_could_be_taken_for_traffic(sampled: int, rows: int, rate: float) -> None:
    assert watch(sampled, rows).unnoticed(PERIOD) == pytest.approx(rate, rel=0.02)


def test_rows_that_have_gone_are_estimated() -> None:
    found = watch()
    found.take(look(3000), 10, PERIOD)
    assert (found.gone(1000), found.rate, found.went) == (750_000, 75_000, True)


@settings(max_examples=5 * settings.default.max_examples if settings.default else 500)
@given(WORLDS)
def test_never_over_while_rows_go_and_not_late(world: World) -> None:
    follow(world)


@pytest.mark.parametrize("counter", ["none", "exact"])
@pytest.mark.parametrize(
    "how",
    [
        {"delay": 150.0},
        {"pause": 120.0, "batch": 0.05},
        {"batch": 1.0},
        {"rows": 50_000, "batch": 0.02, "pause": 100.0},
        {"traffic": 50.0, "delivery": 60.0, "burst": 150.0},
        {"away": 300.0},
    ],
)
def test_worlds_that_harmed(counter: str, how: dict[str, t.Any]) -> None:
    assert follow(dataclasses.replace(CALM, counter=counter, **how)) == (True, 0)


@given(WORLDS, st.floats(0.02, 0.2), st.sampled_from([1.0, 5.0, 9.0]))
def test_one_that_runs_already_is_followed_and_not_called_again(world: World, batch: float, pause: float) -> None:
    assume((math.ceil(1 / batch) - 1) * pause > 25)  # else it has ended before the second look
    # Batches at once, so that the pauses alone make it slow.
    slow = dataclasses.replace(world, begins=10.0, speed=1e9, batch=batch, pause=pause, part=0.85)
    assert follow(dataclasses.replace(slow, traffic=0.0, delivery=0.0, dropped=False)) == (False, 0)
