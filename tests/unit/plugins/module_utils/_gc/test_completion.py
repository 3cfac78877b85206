# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a message GC is over: the rule by tables, and in random worlds with a fake clock."""

from __future__ import annotations

import bisect
import functools
import math
import random
import typing as t
from dataclasses import dataclass, replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._database.activity import Activity
from ansible_collections.waba.onprem.plugins.module_utils._gc.completion import BEFORE, SAMPLE, Watch

PERIOD = 180.0


def look(alive: int, deleted: int | None = None, deleting: bool = False, inserted: int = 0) -> Activity:
    return Activity(alive, deleting, deleted, None if deleted is None else inserted)


def unnoticed(watch: Watch, period: float) -> float:
    """The rows a second below which a GC could be taken for traffic; above, the chance is below one in a million.

    If the table has counters, slower ones are detected, too, unless the statistics are late.
    """
    usual = watch._usual_keys(period)  # of a Poisson distribution
    keys = usual + 1 if watch.sampled >= watch.rows else usual + 5 * math.sqrt(usual) + 14
    return keys * watch.rows / max(watch.sampled, 1) / period


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
    assert unnoticed(watch(sampled, rows), PERIOD) == pytest.approx(rate, rel=0.02)


def test_rows_that_have_gone_are_estimated_and_each_of_a_small_table_counts() -> None:
    large, small = watch(), watch(100, 100)
    large.take(look(3000), 10, PERIOD)
    assert (large.gone(1000), large.rate, large.went) == (750_000, 75_000, True)
    small.take(look(99), 10, PERIOD)
    assert (small.rate, small.quiet()) == (0.1, 0)


# Database servers with a `messages` table, a fake clock, traffic, and GCs that delete. Rows are not held: a GC has a schedule of
# commits, and each key of the sample the number of deleted rows with which it goes.

_power = functools.partial(pow, 10.0)


@dataclass(frozen=True)
class World:
    """One world, and what is tried. Times are in seconds, rates in rows a second."""

    seed: t.Annotated[int, st.integers(0, 10**6)]
    rows: t.Annotated[int, st.floats(3, 6.7).map(_power).map(int)]
    part: t.Annotated[float, st.sampled_from([0.05, 0.5, 0.85, 1.0])]  # of the rows that GC takes
    delay: t.Annotated[float, st.sampled_from([0.0, 5.0, 60.0, 150.0])]  # from the call to GC's first statement
    batch: t.Annotated[float, st.floats(-3, 0).map(_power)]  # of GC's rows, in each batch; 1 is one transaction
    speed: t.Annotated[float, st.floats(1.5, 4.7).map(_power)]
    pause: t.Annotated[float, st.sampled_from([0.0, 0.05, 1.0, 30.0, 90.0, 120.0])]  # between two batches
    in_order: bool  # GC goes along the key, else here and there
    # The server's own: reset is on the way, failover to another server.
    counter: t.Annotated[str, st.sampled_from(["none", "exact", "late", "reset", "failover"])]
    late: t.Annotated[float, st.sampled_from([10.0, 60.0])]
    traffic: t.Annotated[float, st.sampled_from([0.0, 0.2, 5.0, 50.0])]  # messages that go when they are delivered
    delivery: t.Annotated[float, st.sampled_from([2.0, 60.0])]
    burst: t.Annotated[float, st.sampled_from([0.0, 150.0])]  # of traffic, at the worst moment, for a minute
    dropped: bool  # partitions of GC's last tenth of rows are dropped rather than deleted
    away: t.Annotated[float, st.sampled_from([0.0, 300.0])]  # for so long nobody looks, on the way
    poll: t.Annotated[float, st.sampled_from([2.0, 10.0, 30.0])]
    begins: float = 0.0  # when a GC that somebody else has called began, before the first look; 0: none


def _plausible(world: World) -> World:
    """At most an hour of deletes, few batches with long pauses, and no way for messages if none come."""
    batch, speed = max(world.batch, 0.02 if world.pause > 20 else 0.0), max(world.speed, world.rows / 3000)
    return replace(world, batch=batch, speed=speed, delivery=world.delivery if world.traffic else 0.0)


WORLDS = st.builds(World).map(_plausible)
CALM = World(
    seed=1, rows=3_000_000, part=0.85, delay=0, batch=0.01, speed=20_000, pause=0.05, in_order=True, counter="none", late=0,
    traffic=0, delivery=0, burst=0, dropped=False, away=0, poll=10.0,
)  # fmt: skip


class Server:
    """The table of a world, from the first look on; `call` begins GC."""

    def __init__(self, world: World) -> None:
        self.world, chance = world, random.Random(world.seed)
        self.commits: list[tuple[float, float]] = [(-math.inf, 0.0)]  # when, and how many rows have gone by then
        self.statements: list[tuple[float, float]] = []
        self.total = round(world.rows * world.part)
        self.sampled = min(world.rows, SAMPLE)
        # With how many deleted rows each key of the sample that GC takes has gone; where the sample holds all rows, each with its own.
        self.ranks = sorted(
            self.total * ((number + chance.random()) / self.sampled if world.in_order else chance.random())
            for number in range(self.sampled)
            if chance.random() < world.part
        )
        if self.sampled == world.rows:
            self.ranks = [number + 0.5 for number in range(self.total)]
        # Messages on their way at the first look: the newest rows, which are in the sample like all others.
        young = min(world.traffic * world.delivery, world.rows) * self.sampled / world.rows
        keys = min(round(young * chance.uniform(0.8, 1.2)), self.sampled - len(self.ranks))
        self.deliveries = sorted(chance.uniform(0, world.delivery) for _key in range(keys))

    def call(self, at: float) -> None:
        """A GC begins, and takes all that it takes."""
        world, done, now = self.world, 0.0, at + self.world.delay
        batch = float(max(round(self.total * world.batch), 1))
        while done < self.total:
            rows = min(batch, self.total - done)
            end = now + rows / world.speed
            self.statements.append((now, end))
            done += rows
            self.commits.append((end, done))
            now = end + world.pause
            if world.dropped and done > 0.9 * self.total:
                self.commits.append((now, float(self.total)))
                break

    def gone(self, at: float) -> float:
        """How many rows GC has deleted."""
        return self.commits[bisect.bisect_right(self.commits, (at, math.inf)) - 1][1]

    def look(self, at: float) -> Activity:
        """What a look shows."""
        lost = bisect.bisect_left(self.ranks, self.gone(at)) + bisect.bisect_right(self.deliveries, at)
        deleting = any(begin + 1 <= at < end for begin, end in self.statements)
        return Activity(self.sampled - lost, deleting, *self._counters(at))

    def _counters(self, at: float) -> tuple[int | None, int | None]:
        world = self.world
        if world.counter == "none":
            return None, None
        # Statistics of a session that deletes and of one that inserts come in at different times.
        late = world.late if world.counter == "late" else 0.0
        since, other = (max(at - (at + shift) % late, 0.0) if late else at for shift in (0, 7))
        dropped = self.total * 0.1 if world.dropped and since >= self.commits[-1][0] > 0 else 0
        # Before, and what is counted since a reset or by another server.
        begins = {"reset": (10_000, 10_000), "failover": (7_000_000, 1_000_000)} if at > 200 else {}
        deleted, inserted = begins.get(world.counter, (2_000_000, 1_000_000))
        deleted += round(self.gone(since) - dropped + self._sent(since - world.delivery))
        return deleted, inserted + round(self._sent(other))

    def _sent(self, until: float) -> float:
        """Messages that have come since the first look, those on their way then included."""
        world = self.world
        return world.traffic * (until + world.delivery) + world.burst * min(max(until - 100, 0), 60)


def follow(world: World, patience: float = 4 * 3600) -> tuple[bool, float]:
    """Let the rule follow the GC of a world as a run does: two looks, the call unless one runs already, looks until it is over.

    Returns whether GC was called, and how many rows it still had to delete at the end. Asserts that these went more slowly
    than the rule promises to notice, or else that the end was seen in time: after a quiet period, two looks and a pause.
    """
    server = Server(world)
    if world.begins:
        server.call(-world.begins - world.delay)
    now, away = BEFORE, world.away
    watch = Watch.begin(server.sampled, world.rows, server.look(0))
    look = server.look(now)
    shrunk = round(server.gone(now) - server.gone(0)) if world.rows < 2_000_000 else None
    running = watch.is_running(look, now, shrunk)
    watch.take(look, now, PERIOD)
    watch.restart()
    if not running:
        server.call(now)
    while watch.quiet() < PERIOD:
        step = world.poll
        if away and now > 60:
            step, away = away, 0.0
        now += step
        assert now < patience, "the end was never seen"
        watch.take(server.look(now), step, PERIOD)
    gone = server.gone(now)
    if gone < server.total:
        assert (gone - server.gone(now - PERIOD)) / PERIOD <= unnoticed(watch, PERIOD)
        return not running, server.total - gone
    # A burst of traffic before the end, and statistics that are reset or another server's, begin the period again.
    traffic = max(world.delivery, 160 + world.delivery if world.burst else 0.0)
    other = 200.0 + world.poll if world.counter in ("reset", "failover") else 0.0
    end = max(server.commits[-1][0], BEFORE, traffic, other) + (world.late if world.counter == "late" else 0.0)
    assert now <= end + PERIOD + 2 * world.poll + world.pause + world.away
    return not running, 0


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
    assert follow(replace(CALM, counter=counter, **how)) == (True, 0)


@given(WORLDS, st.floats(0.02, 0.2), st.sampled_from([1.0, 5.0, 9.0]))
def test_one_that_runs_already_is_followed_and_not_called_again(world: World, batch: float, pause: float) -> None:
    assume((math.ceil(1 / batch) - 1) * pause > 25)  # else it has ended before the second look
    # Batches at once, so that the pauses alone make it slow.
    slow = replace(world, begins=10.0, speed=1e9, batch=batch, pause=pause, part=0.85)
    assert follow(replace(slow, traffic=0.0, delivery=0.0, dropped=False)) == (False, 0)
