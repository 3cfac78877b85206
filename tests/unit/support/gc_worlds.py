# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Database servers with a `messages` table, for the rule of message GC alone: a fake clock, traffic, and GCs that delete.

Rows are not held: a GC has a schedule of commits, and each key of the sample the number of deleted rows with which it goes.
"""

from __future__ import annotations

import bisect
import math
import random
import typing as t
from dataclasses import dataclass

from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._database.activity import Activity
from ansible_collections.waba.onprem.plugins.module_utils._gc.completion import BEFORE, SAMPLE, Watch


@dataclass(frozen=True)
class World:
    """One world. Times are in seconds, rates in rows a second."""

    seed: int = 1
    rows: int = 3_000_000
    part: float = 0.85  # of the rows that GC takes
    delay: float = 0.0  # from the call to GC's first statement
    batch: float = 0.01  # of GC's rows, in each batch; 1 is one transaction
    speed: float = 20_000.0
    pause: float = 0.05  # between two batches
    in_order: bool = True  # GC goes along the key, else here and there
    counter: str = "none"  # the server's own: none, exact, late, reset (on the way), failover (to another server)
    late: float = 0.0
    traffic: float = 0.0  # messages that come, and go when they are delivered
    delivery: float = 0.0
    burst: float = 0.0  # of traffic, at the worst moment, for a minute
    dropped: bool = False  # partitions of GC's last tenth of rows are dropped rather than deleted
    away: float = 0.0  # for so long nobody looks, on the way
    poll: float = 10.0
    period: float = 180.0
    begins: float = 0.0  # when a GC that somebody else has called began, before the first look; 0: none


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A random world."""

    def one(*values: t.Any) -> t.Any:
        return draw(st.sampled_from(values))

    rows = int(10 ** draw(st.floats(3, 6.7)))
    pause = one(0.0, 0.05, 1.0, 30.0, 90.0, 120.0)
    traffic = one(0.0, 0.2, 5.0, 50.0)
    return World(
        seed=draw(st.integers(0, 10**6)),
        rows=rows,
        part=one(0.05, 0.5, 0.85, 1.0),
        delay=one(0.0, 5.0, 60.0, 150.0),
        batch=max(10 ** draw(st.floats(-3, 0)), 0.02 if pause > 20 else 0.0),
        speed=max(10 ** draw(st.floats(1.5, 4.7)), rows / 3000),  # at most an hour
        pause=pause,
        in_order=draw(st.booleans()),
        counter=one("none", "exact", "late", "reset", "failover"),
        late=one(10.0, 60.0),
        traffic=traffic,
        delivery=one(2.0, 60.0) if traffic else 0.0,
        burst=one(0.0, 150.0),
        dropped=draw(st.booleans()),
        away=one(0.0, 300.0),
        poll=one(2.0, 10.0, 30.0),
    )


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
        deleted = round(self.gone(since) - dropped + self._sent(since - world.delivery)) + 2_000_000
        inserted = round(self._sent(other)) + 1_000_000
        if world.counter == "reset" and at > 200:
            deleted, inserted = deleted - 1_990_000, inserted - 990_000
        return deleted + (5_000_000 if world.counter == "failover" and at > 200 else 0), inserted

    def _sent(self, until: float) -> float:
        """Messages that have come since the first look, those on their way then included."""
        world = self.world
        return world.traffic * (until + world.delivery) + world.burst * min(max(until - 100, 0), 60)


class Verdict(t.NamedTuple):
    """What the rule has made of a world: whether it called GC, and when it saw the end."""

    called: bool
    at: float
    latest: float  # when the end must have been seen
    left: float  # rows that GC still had to delete then
    unseen: float  # rows that it had deleted a second in the last quiet period
    unnoticed: float  # how many of these the rule may miss


def follow(world: World, patience: float = 4 * 3600) -> Verdict:
    """Let the rule follow the GC of a world as a run does: two looks, the call unless one runs already, looks until it is over."""
    server = Server(world)
    if world.begins:
        server.call(-world.begins - world.delay)
    now, away = min(world.period, BEFORE), world.away
    watch = Watch.begin(server.sampled, world.rows, server.look(0))
    look = server.look(now)
    shrunk = round(server.gone(now) - server.gone(0)) if world.rows < 2_000_000 else None
    running = watch.is_running(look, now, shrunk)
    watch.take(look, now, world.period)
    watch.restart()
    if not running:
        server.call(now)
    while watch.quiet() < world.period:
        step = world.poll
        if away and now > 60:
            step, away = away, 0.0
        now += step
        assert now < patience, "the end was never seen"
        watch.take(server.look(now), step, world.period)
    gone = server.gone(now)
    unseen = (gone - server.gone(now - world.period)) / world.period
    return Verdict(not running, now, _latest(server), server.total - gone, unseen, watch.unnoticed(world.period))


def _latest(server: Server) -> float:
    """The period, two looks and the longest pause after the end, and how late statistics are.

    A burst of traffic before the end, and statistics that are reset, begin the period again.
    """
    world = server.world
    late = world.late if world.counter == "late" else 0.0
    traffic = max(world.delivery, 160 + world.delivery if world.burst else 0.0)
    other = 200.0 + world.poll if world.counter in ("reset", "failover") else 0.0  # nobody knows what had been counted
    end = max(server.commits[-1][0], BEFORE, traffic, other)
    return end + world.period + 2 * world.poll + world.pause + late + world.away
