# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Message GC: whether one runs, and when it is over. Pure rules.

A GC is over when for a whole quiet period no statement that deletes from `messages` was seen to run, no rows of a sample of
primary keys have gone, and the table's own counters, where the server has them, show no more deletes than come with inserts or
went before the call. Counters that come late, to what the sample has shown already, do not begin the period anew.
What the rule takes for traffic is slower than `Watch.unnoticed`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._database.activity import Activity

SAMPLE = 4000  # primary keys: looked up in some milliseconds, and enough to show all but the slowest GC
BEFORE = 10.0  # seconds between the two looks before a call, at most a quiet period; three times as many where none is called
_DAY = 86400.0  # seconds that a table would last at the fastest rate at which old rows may go without a GC
_TRICKLE = 0.2  # rows a second by which a table may get smaller although it did not before the call
_USUAL = 2  # times the rate before the call that is still traffic
_CHANCE = 5  # keys more than expected that go by chance: a GC is not seen in so few before a call
_LATE = 20.0  # seconds after the last sign in which counters may still come (PostgreSQL: up to 10 s late, seen at the next look)
_ROUGH = 1.1  # times the rows that the sample has shown to go, by which that estimate may be too low


@dataclass
class Watch:
    """What the looks at one GC have shown: plain data, kept between steps. Times are in seconds since the sample was taken."""

    sampled: int  # keys
    rows: int  # of the tables when the sample was taken; an estimate where there are many
    alive: int  # keys at the last look
    deleted: int | None  # by the table's own counter at the last look; None where there is none
    net: int | None  # the same, less the rows inserted: by how many the table got smaller
    first: int | None  # what the counter had counted when the sample was taken; None after a reset
    quiet_alive: int  # both at the start of the present quiet period
    quiet_net: int | None
    at: float = 0.0  # the last look
    quiet_since: float = 0.0
    usual_keys: float = 0.0  # before the call, a second: keys that went, and by how many rows the table got smaller
    usual_rows: float = 0.0
    rate: float = 0.0  # rows a second between the last two looks; an estimate
    went: bool = False  # whether a sign of GC was seen since the call

    @classmethod
    def begin(cls, sampled: int, rows: int, now: Activity) -> Watch:
        """Begin with the look that was taken with the sample."""
        rows = max(rows, sampled, 1)
        return cls(sampled, rows, now.alive, now.deleted, now.net, now.deleted, now.alive, now.net)

    def is_running(self, now: Activity, seconds: float, shrunk: int | None) -> bool:
        """Whether a GC runs already, by the second look before the call, `seconds` after the first; else it gives the usual rates.

        Rows that go are a GC's where the table shrinks by them; `shrunk` is by how many rows it did, None where it holds too
        many to be counted.
        """
        lost = self.alive - now.alive
        traffic = shrunk is not None and shrunk < self.gone(lost) / 2
        if now.deleting or (not traffic and lost > self.sampled * seconds / _DAY + _CHANCE):
            return True
        self.usual_keys = max(lost, 0) / seconds if traffic else 0.0
        self.usual_rows = max((now.net or 0) - (self.net or 0), 0) / seconds
        return False

    def take(self, now: Activity, seconds: float, period: float) -> None:
        """Take a look `seconds` after the last one; `period` is the quiet period in seconds."""
        reset = (now.deleted or 0) < (self.deleted or 0)  # the server's statistics: nobody knows what they had counted
        self.at += seconds
        self.rate = self.gone(self.alive - now.alive) / seconds if seconds > 0 else 0.0
        self.alive, self.deleted, self.net = now.alive, now.deleted, now.net
        self.first = None if reset else self.first
        if self._shrinks(period) and self._comes_late():
            self.went, self.quiet_net = True, self.net
        if reset or now.deleting or self._keys_go(period) or self._shrinks(period):
            self.went = self.went or not reset
            self.restart()

    def restart(self) -> None:
        """Begin a new quiet period at the last look."""
        self.quiet_since, self.quiet_alive, self.quiet_net = self.at, self.alive, self.net

    def gone(self, keys: int) -> float:
        """The rows that have gone when so many keys of the sample have; an estimate."""
        return max(keys, 0) * self.rows / max(self.sampled, 1)

    def quiet(self) -> float:
        """For how many seconds nothing of GC was seen."""
        return self.at - self.quiet_since

    def unnoticed(self, period: float) -> float:
        """The rows a second below which a GC could be taken for traffic; above, the chance is below one in a million.

        Where the table has counters of its own, slower ones are seen, too, unless the statistics come late.
        """
        usual = self._usual_keys(period)
        keys = (
            usual + 1 if self.sampled >= self.rows else usual + 5 * math.sqrt(usual) + 14
        )  # of a Poisson distribution
        return keys * self.rows / max(self.sampled, 1) / period

    def _usual_keys(self, period: float) -> float:
        """The most keys that go in a quiet period by traffic."""
        return period * (self.sampled / _DAY + _USUAL * self.usual_keys)

    def _usual_rows(self, period: float) -> float:
        """By how many rows the table gets smaller at most in a quiet period by traffic."""
        return period * (_USUAL * self.usual_rows + _TRICKLE)

    def _keys_go(self, period: float) -> bool:
        lost = self.quiet_alive - self.alive
        return lost > self._usual_keys(period) or lost < 0  # fewer than none: another server after a failover

    def _shrinks(self, period: float) -> bool:
        """Whether the table's own counters show more deletes than traffic's, which inserts what it deletes later."""
        return (
            self.net is not None and self.quiet_net is not None and self.net - self.quiet_net > self._usual_rows(period)
        )

    def _comes_late(self) -> bool:
        """Whether the counters show no more than what the sample has shown to go until a moment ago."""
        if self.first is None or self.deleted is None or self.at - self.quiet_since > _LATE:
            return False
        return self.deleted - self.first <= _ROUGH * self.gone(self.sampled - self.alive)
