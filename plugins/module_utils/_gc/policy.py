# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides whether message GC is due, and the next step after a measurement and after a round. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_duration

POLICIES = ("limit", "daily", "always", "never")
ROUNDS = 10  # maximum of calls in one run, as long as each deletes rows
_DAY = 86400.0  # seconds between the starts of two runs of the policy `daily`: the vendor requires 24 hours
_EARLY = 1800.0  # seconds by which the next run may begin earlier, as schedulers are not exact


class Moment(t.NamedTuple):
    """A time on the host: wall clock, seconds since boot, and boot id."""

    wall: float
    uptime: float
    boot: str

    def since(self, earlier: Moment) -> float | None:
        """Returns the seconds since `earlier`; None if unknown (a reboot and a clock that was set back).

        Within one boot the wall clock is not used: it may be set.
        """
        if self.boot and self.boot == earlier.boot and self.uptime >= earlier.uptime:
            return self.uptime - earlier.uptime
        return self.wall - earlier.wall if self.wall >= earlier.wall else None


class Due(t.NamedTuple):
    """Whether GC is due: `because` is the reason; `wait` are the seconds until it may become due."""

    due: bool
    because: str
    wait: float | None = None


def check_due(policy: str, large: bool, since_last: float | None, last_left_large: bool) -> Due:
    """Returns whether GC is due by the policy; window and lock are checked separately.

    `limit`: if the table is large. `daily`: also if the last run began a day ago (counted from its end, an hourly schedule would
    miss the window after a few nights); a run that left the table large is not repeated earlier. `since_last` is None
    if no run is known.
    """
    if policy in ("always", "never"):
        return Due(policy == "always", f"policy {policy}")
    ago = "" if since_last is None else f"the last one began {format_duration(since_last)} ago"
    left = 0.0 if since_last is None else _DAY - _EARLY - since_last
    if policy == "daily" and left > 0 and (not large or last_left_large):
        found = " (and left the table above the limit)" if last_left_large else ""
        return Due(False, f"{ago}, less than {format_duration(_DAY)}{found}", left)
    if large:
        return Due(True, "more rows than the limit")
    if policy == "daily":
        return Due(True, ago or "none is known to have run before")
    return Due(False, "not more rows than the limit")


def after_round(large: bool, known: bool, went: bool, failed: bool, unanswered: int, rounds: int) -> str:
    """Returns the next step after a round: `done`, `again`, or the reason of a failure: `failed`, `unknown`, `nothing`, `rounds`.

    `known` is whether the rows could be counted: the next run counts first, since GC is not called for a table that may be
    small. A call that may not have reached the client (`unanswered` is their number) is repeated once.
    """
    if not large:
        return "done"
    if failed and not went:
        return "failed"
    if not known:
        return "unknown"
    if not went:
        return "again" if unanswered == 1 else "nothing"
    return "again" if rounds < ROUNDS else "rounds"
