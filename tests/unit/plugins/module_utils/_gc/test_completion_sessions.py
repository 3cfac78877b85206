# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a round over a server whose sessions hand in their counts late, as PostgreSQL's do, for all kinds of GC."""

from __future__ import annotations

import random
import typing as t
from dataclasses import dataclass

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._gc.completion import Judge

BATCH, LONGEST = 8000, 2500
Event = tuple[float, str, int]  # when a session has ended a statement, and how many rows that deleted; -1: it only read


@dataclass
class Session:
    """What a session has deleted and not handed in: that comes with a statement a second later, or 10 s after the last."""

    pending: int = 0
    handed_in: float = -99.0
    due: float = float("inf")
    last: float = 0.0
    reads: bool = False


class Statistics:
    """What a server tells of statements that are known beforehand."""

    def __init__(self, events: t.Iterable[Event]) -> None:
        self.events = sorted(events, reverse=True)
        self.sessions: dict[str, Session] = {}
        self.counter = 0

    def _hand_in(self, session: Session, at: float) -> None:
        self.counter += session.pending
        session.pending, session.handed_in, session.due = 0, at, float("inf")

    def _idle_until(self, now: float) -> None:
        for session in self.sessions.values():
            if session.due <= now:
                self._hand_in(session, session.due)

    def look(self, now: float) -> dict[str, t.Any]:
        """The figures of a pulse."""
        while self.events and self.events[-1][0] <= now:
            at, name, rows = self.events.pop()
            self._idle_until(at)
            session = self.sessions.setdefault(name, Session())
            session.pending, session.last, session.reads = session.pending + max(rows, 0), at, rows < 0
            if at - session.handed_in >= 1:
                self._hand_in(session, at)
            elif session.pending:
                session.due = at + 10
        self._idle_until(now)
        idle = [now - session.last for session in self.sessions.values()]
        unchanged = [now - session.last for session in self.sessions.values() if not session.reads]
        return {
            "sessions": list(self.sessions),
            "idle": min(idle, default=None),
            "unchanged": min(unchanged, default=None),
        }


@dataclass
class Kind:
    """A GC in batches, `fast` for so many seconds and `pause` seconds apart then, and what else the client's sessions do."""

    name: str
    lasts: float
    pause: float
    reads_every: float
    writes_every: float = 0
    fast: float = 0

    def statements(self, dice: random.Random) -> tuple[list[Event], float]:
        """All statements, and when the last batch has gone."""
        at = begin = dice.uniform(0.1, 3)
        events: list[Event] = []
        ended = at
        while at < begin + self.lasts:
            name = dice.choice("gh") if self.name == "two sessions" else "g"
            events += [(at - 0.004, name, -1)] if self.name == "looks first" else []
            events += [(at, name, BATCH)]
            events += [(at + 0.001, name, -1)] if self.name == "looks after" else []
            pause = 0.03 if at < begin + self.fast else self.pause
            ended, at = at, at + 0.02 + pause * dice.uniform(0.8, 1.2)
        events += self._rhythm(dice, dice.choice("go"), self.reads_every, -1)
        return events + (self._rhythm(dice, "w", self.writes_every, 0) if self.writes_every else []), ended

    @staticmethod
    def _rhythm(dice: random.Random, name: str, every: float, rows: int) -> list[Event]:
        first = dice.uniform(-20, -20 + every)
        return [(first + number * every, name, rows) for number in range(int(LONGEST / every))]


def check_end(events: list[Event], poll: float, settle: float) -> float:
    """When a run that looks every `poll` seconds, and oftener while rows go, says that the round has ended."""
    server = Statistics(events)
    judge, at = Judge(over=5, late=10, counters=[0], sessions=server.look(0)["sessions"]), 0.0
    while not judge.ended(settle):
        again = 0.03 * (at + settle) if judge.moving else judge.lacks(settle) if judge.started else poll
        at += max(min(poll, again), 0.8)
        seen = server.look(at)
        judge.sample(at, [server.counter], -server.counter, False, **seen)
        assert at < LONGEST
    return at


NAMES = ["one session", "two sessions", "looks first", "looks after"]


@pytest.mark.parametrize("name", NAMES)
def test_late_counts_do_not_prolong_a_gc(name: str) -> None:
    dice, lateness = random.Random(name), []
    for _number in range(150):
        kind = Kind(name, dice.choice([3, 11, 40, 120]), dice.choice([0.01, 0.2, 1, 3]), dice.choice([1, 5, 12]))
        events, ended = kind.statements(dice)
        told = check_end(events, dice.choice([2, 10]), 60)
        assert told >= ended + 60 - 4  # a last batch may pass for late counts of the one before
        lateness.append(told - ended - 60)
    assert sorted(lateness)[len(lateness) // 2] < 5


@pytest.mark.parametrize("name", NAMES)
def test_late_counts_do_not_hide_a_gc_that_goes_on(name: str) -> None:
    dice = random.Random(name)
    for _number in range(250):
        settle, pause = dice.choice([20, 30, 60]), dice.choice([0.01, 0.2, 1, 3, 8, 15, 25, 50])
        writes, fast = dice.choice([0, 0, 5, 25]), dice.choice([0, 10])
        kind = Kind(
            name, dice.choice([11, 40, 200]), min(pause, (settle - 10) / 1.2), dice.choice([1, 5, 12]), writes, fast
        )
        events, ended = kind.statements(dice)
        assert check_end(events, dice.choice([2, 10, 30, 60]), settle) > ended
