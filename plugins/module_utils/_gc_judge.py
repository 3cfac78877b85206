# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Message GC: when a round has ended, by what the pulse shows. Pure rules."""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass, field

LONGEST_BASELINE = 30.0


@dataclass
class Judge:
    """Follows the pulse of one round. All times are seconds since the round's call; the whole is kept between steps.

    Traffic goes on while GC deletes, so rows never simply stand still. The round has ended when the delete rate has
    stayed near the one before the call for `settle` (five times the longest pause seen, when that is longer) and no
    DELETE on `messages` runs. A round in which nothing was ever deleted has not ended: it may not have begun.
    `baseline` is in rows a second; `tolerance` in rows, for counters that count other tables too.
    """

    baseline: float = 0.0
    tolerance: float = 0.0
    counters: list[int] = field(default_factory=list)
    rows: int = 0
    at: float = 0.0
    deleted: int = 0
    started: bool = False
    active_at: float = 0.0
    pause: float = 0.0
    rate: float = 0.0
    resets: int = 0

    def sample(self, at: float, counters: t.Sequence[int], rows: int, deleting: bool) -> None:
        """Take one pulse at second `at`."""
        span = at - self.at
        known = len(self.counters) == len(counters) and all(new >= old for new, old in zip(counters, self.counters))
        if not known and self.counters:
            # Statistics were reset or the server restarted: what was deleted meanwhile is not known.
            self.resets += 1
        fresh = sum(counters) - sum(self.counters) if known else 0
        excess = fresh - self.baseline * span if known else 0.0
        # Ordinary deletes vary: half the baseline on top of it is not yet GC; nor are a few rows of other tables,
        # unless the table itself got smaller.
        usual = 0.5 * self.baseline * span
        active = deleting or (known and excess > usual and (excess > self.tolerance or rows < self.rows))
        if known and span > 0:
            self.rate = max(excess, 0.0) / span
        if active:
            if self.started:
                self.pause = max(self.pause, at - span - self.active_at)
            self.started = True
            self.active_at = at
        elif not known:
            self.active_at = max(self.active_at, at)
        self.deleted += max(round(excess), 0) if active and known else 0
        self.counters, self.rows, self.at = list(counters), rows, at

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
