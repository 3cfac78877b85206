# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Message GC: whether it is due, what follows a look, what follows a round. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_duration

POLICIES = ("limit", "daily", "always", "never")
ROUNDS = 10  # calls in one run at most, as long as each has deleted something
_DAY = 86400.0  # seconds between two runs of the policy `daily`, from begin to begin: the vendor asks for 24 hours
_EARLY = 1800.0  # seconds by which the next run may begin sooner, as schedulers are not to the second


class Moment(t.NamedTuple):
    """A moment on the host: wall clock, seconds since it booted, and which boot that was."""

    wall: float
    uptime: float
    boot: str

    def since(self, earlier: Moment) -> float | None:
        """Seconds from `earlier` to this; None when they cannot be known (a reboot and a clock that stepped back).

        Within one boot the wall clock is not looked at: it may step.
        """
        if self.boot and self.boot == earlier.boot and self.uptime >= earlier.uptime:
            return self.uptime - earlier.uptime
        return self.wall - earlier.wall if self.wall >= earlier.wall else None


class Due(t.NamedTuple):
    """Whether GC is due: `because` says why, or why not; `wait` is in how many seconds it may become due."""

    due: bool
    because: str
    wait: float | None = None


def check_due(policy: str, large: bool, since_last: float | None, last_left_large: bool) -> Due:
    """Due by policy alone; window and lock are looked at on their own.

    `limit`: when the table is large. `daily`: also when the last run began a day ago (counted from its end, an hourly schedule would
    leave the window behind in a few nights); one that has left the table large is not repeated before that. `since_last` is None
    where no run is known.
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


def next_step(quiet: bool, notified: bool, late: bool) -> str:
    """What follows a look: the round is `over`, `goes on`, or the time to wait for its end is up: `deletes`, `silent`.

    `quiet` is whether nothing of GC was seen for the quiet period, `notified` whether every node has sent its notification.
    """
    if quiet and notified:
        return "over"
    return "goes on" if not late else "silent" if quiet else "deletes"


def after_round(large: bool, known: bool, went: bool, failed: bool, unanswered: int, rounds: int) -> str:
    """What follows a round that is over: `done`, `again`, or why the run fails: `failed`, `unknown`, `nothing`, `rounds`.

    `known` is whether the rows could be counted: who comes next counts first, since no GC is called for a table that may be small.
    One call of which nobody knows whether it has reached the client (`unanswered` counts them) is repeated.
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
