# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Message GC: when a round has ended, by what the pulse shows. Pure rules."""

from __future__ import annotations

import math
import typing as t
from dataclasses import asdict, dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._gc import deletes as tail

LONGEST_BASELINE = 30.0
SHORTEST_BASELINE = 5.0
_SPREAD = 3.0  # standard deviations of a count of rows that go one by one
_LATE = 1.75  # seconds of deletes, at their fastest as seen, that may be counted late: those of the last second
_REST = 1.0  # seconds without a statement that are no mere gap between two of a GC
_SLACK = 1.0  # seconds by which a server's timer may be late
_UNSEEN = 0.75  # of the quiet that is needed: no deletes may be counted then, not even late
_CLEAR_FALL = 0.1  # the part of a table that does not go by itself
_REAL_FALL = 0.1  # the part of what went by which the table must have got smaller
_SLOW = 0.1  # of the fastest rate: GC does not go on at so little where the table no longer falls
_SAME_START = 10.0  # seconds by which the told start of one and the same server may differ


@dataclass
class Judge:
    """Follows the pulse of one round. All times are seconds since the round's call; the whole is kept between steps.

    Traffic goes on while GC deletes, so rows never simply stand still. The round has ended when the delete rate has
    stayed near the one before the call for `settle` (five times the longest pause seen, when that is longer) and no
    DELETE on `messages` runs. A round in which nothing was ever deleted has not ended: it may not have begun.
    """

    # What is known before the call: ordinary deletes in rows a second, in how many seconds they were counted, and the most
    # rows of one look then.
    baseline: float = 0.0
    over: float = 0.0
    burst: float = 0.0
    # The server: seconds after which sessions that idle hand in their counts, 0 where all is counted at once; and rows of
    # other tables that its counters may hold.
    late: float = 0.0
    tolerance: float = 0.0
    # The last look: delete counters, since when each server counts, the tables' files, the client's sessions and since which
    # second these were still, rows, its second, and whether it told of deletes that came after the look before.
    counters: list[int] = field(default_factory=list)
    origins: list[float] = field(default_factory=list)
    files: str = ""
    sessions: list[str] = field(default_factory=list)
    still_since: float | None = None
    rows: int = 0
    at: float = 0.0
    moving: bool = False
    # The round so far: rows that it has deleted, whether any, when the last went and when that was seen, the longest pause in
    # between, rows a second at the last look and at the fastest two in a row, and whether a rest was seen since.
    deleted: int = 0
    started: bool = False
    active_at: float = 0.0
    counted_at: float = 0.0
    pause: float = 0.0
    rate: float = 0.0
    peak: float = 0.0
    rested: bool = False
    # The table: by how many rows it got smaller while rows went, when it was last seen to get smaller for good, and from how
    # many rows at which count of deletes.
    shrunk: int = 0
    fell_at: float = 0.0
    top: int = 0
    top_counter: int = -1
    # What is not known: resets of the statistics, and rows and seconds since the last sign of GC.
    resets: int = 0
    idle_rows: float = 0.0
    idle_span: float = 0.0
    # The tail: the last looks at which rows went, the fastest of all, and when rows last went faster than traffic takes them.
    looks: list[list[float]] = field(default_factory=list)
    fastest: float = 0.0
    fast_at: float = 0.0

    def sample(
        self,
        at: float,
        counters: t.Sequence[int],
        rows: int,
        deleting: bool,
        origins: t.Sequence[float] = (),
        files: str = "",
        sessions: t.Sequence[str] = (),
        idle: float | None = None,
        unchanged: float | None = None,
    ) -> None:
        """Take one pulse at second `at`.

        `idle` is for how many seconds all `sessions` have done nothing, `unchanged` the same of those that may have changed
        something last; None when there are none.
        """
        span = at - self.at
        stay = set(self.sessions) <= set(sessions)
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
        dropped = self._dropped(rows, fresh) if files != self.files else 0
        active = (
            deleting or dropped > 0 or (known and seen and (max(excess, slow) > self.tolerance or rows < self.rows))
        )
        last_rate = self.rate
        if known and span > 0:
            self.rate = max(excess, 0.0) / span
        if active:
            # A rest tells of the last deletes before, and is no new batch. It comes once: a second one is a batch.
            rest = not deleting and not self.rested and fresh <= _LATE * self.peak
            went_at = at
            if not deleting and not dropped:
                little = fresh <= _LATE * self.fastest
                went_at = self._went_at(at, span, rest, idle if stay and little else None, unchanged)
            late = self.started and (rest or went_at <= self.at)
            if self.started and not rest:
                self.pause = max(self.pause, (went_at if late else self.at) - self.active_at)
            if self.started and self.moving:  # a batch alone is no steady rate
                self.peak = max(self.peak, min(last_rate, self.rate))
                self.rested = False
            elif self.started:
                self.rested = True
            self.started, self.moving = True, went_at > self.at
            self.active_at, self.counted_at = max(self.active_at, went_at), at
            gone = max(round(slow), dropped, 0)
            self.deleted += gone
            self.shrunk += min(max(self.rows - rows, 0), max(fresh, dropped))
            self.idle_rows, self.idle_span = 0.0, 0.0
            self._follow_tail(at, gone, rows, deleting, span)
        else:
            self.moving = self.started and not known
            if not known:
                self.active_at, self.counted_at, self.fast_at, self.looks = max(self.active_at, at), at, at, []
        still = stay and idle is not None and (self.counted_at < at or idle >= _REST)
        self.still_since = at - (idle or 0.0) if still else None
        self._follow_rows(at, rows, sum(counters))
        self.counters, self.origins, self.files, self.sessions = list(counters), list(origins), files, list(sessions)
        self.rows, self.at = rows, at

    def _same_server(self, counters: t.Sequence[int], origins: t.Sequence[float]) -> bool:
        """Whether the counters go on from the last ones: no reset, no restart, no other server after a failover."""
        pairs = zip(origins, self.origins)
        return (
            len(self.counters) == len(counters)
            and all(new >= old for new, old in zip(counters, self.counters))
            and all(abs(new - old) < _SAME_START for new, old in pairs)
        )

    def _went_at(self, at: float, span: float, rest: bool, idle: float | None, unchanged: float | None) -> float:
        """The second at which what is counted `at` had gone at the latest; `idle` is None where sessions do not tell it.

        Sessions hand in their counts `late` seconds after their last change at the latest, or with what they do next, and
        that may only read; counts that come later are of sessions that nobody has seen. Where that tells nothing, a rest
        after no sign of GC for so long is taken for one that was handed in.
        """
        if self.late and idle is not None:
            since = at - idle if self.still_since is None else self.still_since
            since = since if unchanged is None else at - unchanged
            if at - since <= self.late + span + _SLACK:
                return since
        return at - self.late if rest and 0 < self.late <= at - self.active_at + span else at

    def _dropped(self, rows: int, fresh: int) -> int:
        """How many rows went without being counted, as those of a partition do, when the tables' files have changed."""
        fell = self.rows - rows
        return fell if fell > max(_CLEAR_FALL * self.rows, _SPREAD) and fell > 2 * max(fresh, 0) else 0

    def _follow_rows(self, at: float, rows: int, counter: int) -> None:
        """Remember when the table was last seen to get smaller by more than ordinary coming and going explains."""
        if self.top_counter < 0:
            self.top, self.top_counter = self.rows, sum(self.counters)
        went = counter - self.top_counter
        if went < 0 or rows > self.top:
            self.top, self.top_counter = rows, counter
        elif self.top - rows > max(_REAL_FALL * went, _SPREAD * math.sqrt(went), _SPREAD):
            self.top, self.top_counter, self.fell_at = rows, counter, at

    def _follow_tail(self, at: float, gone: int, rows: int, deleting: bool, span: float) -> None:
        """Remember a look at which rows went, and take the last ones for ordinary deletes when they look so."""
        if span >= 1:  # in less, a batch would pass for a speed
            self.fastest = max(self.fastest, self.rate)
        if deleting or self.rate > max(tail.TRAFFIC, _SLOW * self.fastest):
            self.fast_at = at
        self.looks = [*self.looks, [at, gone, rows]][-tail.LONGEST :]
        count = 0 if deleting else tail.ordinary(self.looks, self.fastest)
        if count:
            begin, *usual = self.looks[-count - 1 :]
            went, lasted = sum(look[1] for look in usual), at - begin[0]
            self.baseline, self.over = self.baseline + went / lasted, max(self.over, lasted)
            self.burst = max(self.burst, *(look[1] for look in usual))
            self.deleted, self.active_at, self.looks = self.deleted - round(went), begin[0], []
            self.counted_at = begin[0]
            self.moving = False

    def falls(self, settle: float) -> bool:
        """Whether the table has got smaller, or rows have gone faster than traffic takes them, within the last `needed` seconds."""
        return self.at - max(self.fell_at, self.fast_at) < self.needed(settle)

    def _usual(self, span: float) -> float:
        """How many rows on top of the baseline ordinary deletes may make in `span` seconds, the fewer the longer."""
        ceiling = (self.baseline + (1 / self.over if self.over else 0.0)) * span
        part = max(0.5 - span / 100, 0.25)
        return max(part * ceiling + (_SPREAD * math.sqrt(ceiling) if self.over else 0.0), self.burst)

    def quiet(self) -> float:
        """Seconds since the last sign of GC."""
        return self.at - self.active_at

    def needed(self, settle: float) -> float:
        """Seconds of quiet that end the round."""
        return max(settle, 5 * self.pause)

    def lacks(self, settle: float) -> float:
        """Seconds of quiet that the round still lacks to have ended.

        That deletes were counted late is believed for a part of it only: batch after batch might pass for that.
        """
        needed = self.needed(settle)
        return max(needed - self.quiet(), _UNSEEN * needed - (self.at - self.counted_at))

    def ended(self, settle: float, must_start: bool = True) -> bool:
        """Whether the round has ended; `must_start` false when it is known otherwise that it had begun."""
        return (self.started or not must_start) and self.lacks(settle) <= 0

    def keep(self) -> dict[str, t.Any]:
        """As plain data, for the state file."""
        return asdict(self)
