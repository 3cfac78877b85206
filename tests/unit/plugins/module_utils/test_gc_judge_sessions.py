# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a round over a server whose sessions hand in their counts late, as PostgreSQL's do, for all kinds of GC."""

from __future__ import annotations

import random
import typing as t
from dataclasses import dataclass

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._gc_judge import Judge

SETTLE, BATCH = 60.0, 8000
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


def collect(kind: str, lasts: float, pause: float, heartbeat: float, dice: random.Random) -> tuple[list[Event], float]:
    """The statements of a GC in batches and of what else asks `heartbeat` seconds apart; and when the GC has ended."""
    at = begin = dice.uniform(0.1, 3)
    events: list[Event] = []
    ended = at
    while at < begin + lasts:
        name = dice.choice("gh") if kind == "two sessions" else "g"
        events += [(at - 0.004, name, -1)] if kind == "looks first" else []
        events += [(at, name, BATCH)]
        events += [(at + 0.001, name, -1)] if kind == "looks after" else []
        ended, at = at, at + 0.02 + pause * dice.uniform(0.8, 1.2)
    asks = dice.choice("go")
    count = int(600 / heartbeat)
    first = dice.uniform(-20, -20 + heartbeat)
    return events + [(first + number * heartbeat, asks, -1) for number in range(count)], ended


def judge_end(events: list[Event], poll: float) -> float:
    """When a run that looks every `poll` seconds, and oftener while rows go, says that the round has ended."""
    server = Statistics(events)
    judge, at = Judge(over=5, late=10, counters=[0], sessions=server.look(0)["sessions"]), 0.0
    while not judge.ended(SETTLE):
        again = 0.03 * (at + SETTLE) if judge.moving else SETTLE - judge.quiet() if judge.started else poll
        at += max(min(poll, again), 0.8)
        seen = server.look(at)
        judge.sample(at, [server.counter], -server.counter, False, **seen)
        assert at < 600
    return at


@pytest.mark.parametrize("kind", ["one session", "two sessions", "looks first", "looks after"])
def test_late_counts_neither_hide_a_gc_nor_prolong_it(kind: str) -> None:
    dice, lateness = random.Random(kind), []
    for _number in range(150):
        pause = dice.choice([0.01, 0.2, 1, 3])
        events, ended = collect(kind, dice.choice([3, 11, 40, 120]), pause, dice.choice([1, 5, 12]), dice)
        told = judge_end(events, dice.choice([2, 10]))
        assert told >= ended + SETTLE - 4  # a last batch may pass for late counts of the one before
        lateness.append(told - ended - SETTLE)
    assert max(lateness) < 10 + 10 + 2  # the counts' lateness, and a look's
    assert sorted(lateness)[len(lateness) // 2] < 5
