# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Message GC: when a round has ended, by what the pulse shows. Pure rules."""

from __future__ import annotations

import math
import typing as t
from dataclasses import asdict, dataclass, field

LONGEST_BASELINE = 30.0
SHORTEST_BASELINE = 5.0
_SPREAD = 3.0  # standard deviations of a count of rows that go one by one
_LATE = 1.5  # seconds of deletes, at their fastest, that may be counted late
_HANDED_IN = 10.0  # seconds after which an idle session of PostgreSQL hands in what it has counted
_SAME_START = 10.0  # seconds by which the told start of one and the same server may differ


@dataclass
class Judge:
    """Follows the pulse of one round. All times are seconds since the round's call; the whole is kept between steps.

    Traffic goes on while GC deletes, so rows never simply stand still. The round has ended when the delete rate has
    stayed near the one before the call for `settle` (five times the longest pause seen, when that is longer) and no
    DELETE on `messages` runs. A round in which nothing was ever deleted has not ended: it may not have begun.
    `baseline` is in rows a second, taken `over` so many seconds; `tolerance` in rows, for counters that count other
    tables too; `origins` tells from when each server counts; `peak` is the fastest rate of two looks in a row.
    """

    baseline: float = 0.0
    over: float = 0.0
    tolerance: float = 0.0
    counters: list[int] = field(default_factory=list)
    origins: list[float] = field(default_factory=list)
    rows: int = 0
    at: float = 0.0
    deleted: int = 0
    started: bool = False
    active_at: float = 0.0
    pause: float = 0.0
    rate: float = 0.0
    peak: float = 0.0
    resets: int = 0
    idle_rows: float = 0.0
    idle_span: float = 0.0

    def sample(
        self,
        at: float,
        counters: t.Sequence[int],
        rows: int,
        deleting: bool,
        origins: t.Sequence[float] = (),
        still: float = 0.0,
    ) -> None:
        """Take one pulse at second `at`; `still` is for how many seconds no session has done anything."""
        span = at - self.at
        known = self._same_server(counters, origins)
        if not known and self.counters:
            # Statistics were reset or the server restarted: what was deleted meanwhile is not known.
            self.resets += 1
            self.idle_rows, self.idle_span = 0.0, 0.0
        fresh = sum(counters) - sum(self.counters) if known else 0
        excess = fresh - self.baseline * span if known else 0.0
        self.idle_rows += max(fresh, 0)
        self.idle_span += span
        # A slow GC is seen only in what has come together since its last sign; a few rows of other tables are none,
        # unless the table itself got smaller.
        slow = self.idle_rows - self.baseline * self.idle_span
        seen = excess > self._usual(span) or slow > self._usual(self.idle_span)
        active = deleting or (known and seen and (max(excess, slow) > self.tolerance or rows < self.rows))
        last_rate = self.rate
        if known and span > 0:
            self.rate = max(excess, 0.0) / span
        if active:
            # PostgreSQL's sessions hand in their last second's counts only after 10 s of idling: a rest, no new batch.
            rest = not deleting and fresh <= _LATE * self.peak
            told_late = rest and self.active_at < self.at and still > _HANDED_IN - 1
            if self.started and not rest:
                self.pause = max(self.pause, at - span - self.active_at)
            if self.started and self.active_at == self.at:  # a batch alone is no steady rate
                self.peak = max(self.peak, min(last_rate, self.rate))
            self.started = True
            # What comes when nobody has done anything for so long went before that.
            self.active_at = max(self.active_at, at - min(still, _HANDED_IN + span)) if told_late else at
            self.deleted += max(round(slow), 0)
            self.idle_rows, self.idle_span = 0.0, 0.0
        elif not known:
            self.active_at = max(self.active_at, at)
        self.counters, self.origins, self.rows, self.at = list(counters), list(origins), rows, at

    def _same_server(self, counters: t.Sequence[int], origins: t.Sequence[float]) -> bool:
        """Whether the counters go on from the last ones: no reset, no restart, no other server after a failover."""
        pairs = zip(origins, self.origins)
        return (
            len(self.counters) == len(counters)
            and all(new >= old for new, old in zip(counters, self.counters))
            and all(abs(new - old) < _SAME_START for new, old in pairs)
        )

    def _usual(self, span: float) -> float:
        """How many rows on top of the baseline ordinary deletes may make in `span` seconds."""
        ceiling = (self.baseline + (1 / self.over if self.over else 0.0)) * span
        return 0.5 * ceiling + (_SPREAD * math.sqrt(ceiling) if self.over else 0.0)

    def quiet(self) -> float:
        """Seconds since the last sign of GC."""
        return self.at - self.active_at

    def needed(self, settle: float) -> float:
        """Seconds of quiet that end the round."""
        return max(settle, 5 * self.pause)

    def ended(self, settle: float, must_start: bool = True) -> bool:
        """Whether the round has ended; `must_start` false when it is known otherwise that it had begun."""
        return (self.started or not must_start) and self.quiet() >= self.needed(settle)

    def keep(self) -> dict[str, t.Any]:
        """As plain data, for the state file."""
        return asdict(self)
