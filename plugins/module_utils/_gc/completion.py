# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Detects a running message GC and its completion. Pure rules.

A GC is complete when for a full quiet period no statement that deletes from `messages` ran, no rows of a sample of primary
keys were deleted, and the table's counters, if the server has them, show no more deletes than come with inserts or occurred
before the call. Late counters, for deletes that the sample has already shown, do not restart the period. A GC slower than
some 150 rows a second in 3 million may be taken for traffic.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._database.activity import Activity

SAMPLE = 4000  # primary keys: a lookup takes some milliseconds, and detects all but the slowest GC
BEFORE = 10.0  # seconds between the two measurements before a call, at most a quiet period; three times as many without a call
_DAY = 86400.0  # seconds in which a table would be emptied at the highest rate of deletes without a GC
_TRICKLE = 0.2  # rows a second by which a table may shrink although it did not before the call
_USUAL = 2  # multiple of the rate before the call that still counts as traffic
_CHANCE = 5  # keys above the expected number that may be deleted by chance: before a call so few do not show a GC
_LATE = 20.0  # seconds after the last sign in which counters may arrive (PostgreSQL: up to 10 s, plus one measurement)
_ROUGH = 1.1  # factor by which the estimate of deleted rows from the sample may be too low


@dataclass
class Watch:
    """The measurements of one GC as plain data, kept between steps. Times are in seconds since the sample was taken."""

    sampled: int  # keys
    rows: int  # of the tables when the sample was taken; an estimate for large tables
    alive: int  # existing keys at the last measurement
    deleted: int | None  # the table's counter at the last measurement; None if there is none
    net: int | None  # the same minus inserted rows: by how many the table shrank
    first: int | None  # the counter when the sample was taken; None after a reset
    quiet_alive: int  # both at the start of the current quiet period
    quiet_net: int | None
    at: float = 0.0  # time of the last measurement
    quiet_since: float = 0.0
    usual_keys: float = 0.0  # rates per second before the call: deleted keys, and rows by which the table shrank
    usual_rows: float = 0.0
    rate: float = 0.0  # rows a second between the last two measurements; an estimate
    went: bool = False  # whether a sign of GC was seen since the call

    @classmethod
    def begin(cls, sampled: int, rows: int, now: Activity) -> Watch:
        """Returns a watch that begins with the measurement taken with the sample."""
        rows = max(rows, sampled, 1)
        return cls(sampled, rows, now.alive, now.deleted, now.net, now.deleted, now.alive, now.net)

    def is_running(self, now: Activity, seconds: float, shrunk: int | None) -> bool:
        """Returns whether a GC runs already, from the second measurement before the call; else records the usual rates.

        `seconds` is the time since the first measurement. Deleted rows indicate a GC if the table shrinks; `shrunk` is by how
        many rows it did, None if it has too many to be counted.
        """
        lost = self.alive - now.alive
        traffic = shrunk is not None and shrunk < self.gone(lost) / 2
        if now.deleting or (not traffic and lost > self.sampled * seconds / _DAY + _CHANCE):
            return True
        self.usual_keys = max(lost, 0) / seconds if traffic else 0.0
        self.usual_rows = max((now.net or 0) - (self.net or 0), 0) / seconds
        return False

    def take(self, now: Activity, seconds: float, period: float) -> None:
        """Adds a measurement, `seconds` after the last one; `period` is the quiet period in seconds."""
        reset = (now.deleted or 0) < (self.deleted or 0)  # of the server's statistics: earlier counts are unknown
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
        """Begins a new quiet period at the last measurement."""
        self.quiet_since, self.quiet_alive, self.quiet_net = self.at, self.alive, self.net

    def gone(self, keys: int) -> float:
        """Returns the estimated number of deleted rows for a number of deleted keys of the sample."""
        return max(keys, 0) * self.rows / max(self.sampled, 1)

    def quiet(self) -> float:
        """Returns the seconds without a sign of GC."""
        return self.at - self.quiet_since

    def _usual_keys(self, period: float) -> float:
        """Returns the maximum of keys deleted by traffic in a quiet period."""
        return period * (self.sampled / _DAY + _USUAL * self.usual_keys)

    def _keys_go(self, period: float) -> bool:
        lost = self.quiet_alive - self.alive
        return lost > self._usual_keys(period) or lost < 0  # negative: another server after a failover

    def _shrinks(self, period: float) -> bool:
        """Returns whether the table's counters show more deletes than traffic, which inserts as many rows as it deletes."""
        if self.net is None or self.quiet_net is None:
            return False
        return self.net - self.quiet_net > period * (_USUAL * self.usual_rows + _TRICKLE)

    def _comes_late(self) -> bool:
        """Returns whether the counters show no more deletes than the sample has shown until a moment ago."""
        if self.first is None or self.deleted is None or self.at - self.quiet_since > _LATE:
            return False
        return self.deleted - self.first <= _ROUGH * self.gone(self.sampled - self.alive)
