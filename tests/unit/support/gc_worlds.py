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
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._database.activity import Activity
from ansible_collections.waba.onprem.plugins.module_utils._gc.completion import BEFORE, SAMPLE, Watch


def _one(*values: t.Any) -> t.Any:
    return st.sampled_from(values)


def _power(low: float, high: float) -> t.Any:
    return st.floats(low, high).map(lambda exponent: 10**exponent)


@dataclass(frozen=True)
class World:
    """One world, and what is tried. Times are in seconds, rates in rows a second."""

    seed: t.Annotated[int, st.integers(0, 10**6)]
    rows: t.Annotated[int, _power(3, 6.7).map(int)]
    part: t.Annotated[float, _one(0.05, 0.5, 0.85, 1.0)]  # of the rows that GC takes
    delay: t.Annotated[float, _one(0.0, 5.0, 60.0, 150.0)]  # from the call to GC's first statement
    batch: t.Annotated[float, _power(-3, 0)]  # of GC's rows, in each batch; 1 is one transaction
    speed: t.Annotated[float, _power(1.5, 4.7)]
    pause: t.Annotated[float, _one(0.0, 0.05, 1.0, 30.0, 90.0, 120.0)]  # between two batches
    in_order: bool  # GC goes along the key, else here and there
    # The server's own: reset is on the way, failover to another server.
    counter: t.Annotated[str, _one("none", "exact", "late", "reset", "failover")]
    late: t.Annotated[float, _one(10.0, 60.0)]
    traffic: t.Annotated[float, _one(0.0, 0.2, 5.0, 50.0)]  # messages that come, and go when they are delivered
    delivery: t.Annotated[float, _one(2.0, 60.0)]
    burst: t.Annotated[float, _one(0.0, 150.0)]  # of traffic, at the worst moment, for a minute
    dropped: bool  # partitions of GC's last tenth of rows are dropped rather than deleted
    away: t.Annotated[float, _one(0.0, 300.0)]  # for so long nobody looks, on the way
    poll: t.Annotated[float, _one(2.0, 10.0, 30.0)]
    period: float = 180.0
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
    than the rule promises to notice, or else that the end was not seen late.
    """
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
    if gone < server.total:
        assert (gone - server.gone(now - world.period)) / world.period <= watch.unnoticed(world.period)
    else:
        assert now <= _latest(server)
    return not running, server.total - gone


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
