# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Message GC: due or not and why, what follows a round. Pure rules."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from datetime import datetime, timedelta

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_duration

POLICIES = ("limit", "daily", "always", "never")
_EARLY = 1 / 48  # of the interval: how much sooner than it the next run may begin, as schedulers are not to the second


# Time


@dataclass(frozen=True)
class Moment:
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


def clock(wall: float) -> str:
    """A wall-clock time (seconds since 1970) for people."""
    return datetime.fromtimestamp(wall).astimezone().isoformat(timespec="seconds")


def zone(name: str | None) -> t.Any:
    """The time zone of a name such as Europe/Berlin; None, the host's own, without one."""
    if not name:
        return None
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise WaError(
            "option timezone", f"{name!r} is not known on this host", "a name such as Europe/Berlin", "Install tzdata"
        ) from None


def parse_window(text: str) -> tuple[int, int]:
    """The minutes of the day at which a window such as `01:00-05:00` begins and ends (it may pass midnight)."""
    match = re.fullmatch(r"\s*(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\s*", text)
    begin, end = (int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])) if match else (0, 0)
    minutes_right = match is not None and int(match[2]) < 60 and int(match[4]) < 60
    if not minutes_right or begin >= 1440 or end > 1440 or begin == end:
        raise WaError("option window", f"{text!r} is no window", "two different times of the day, such as 01:00-05:00")
    return begin, end


def until_window(window: tuple[int, int], now: datetime) -> float:
    """Seconds until the window opens; 0 inside it (the end is outside)."""
    begin, end = window
    minute = now.hour * 60 + now.minute
    inside = begin <= minute < end if begin < end else minute >= begin or minute < end
    if inside:
        return 0.0
    opens = now.replace(hour=begin // 60, minute=begin % 60, second=0, microsecond=0)
    if opens <= now:
        opens += timedelta(days=1)
    return (opens - now).total_seconds()


# Due or not


@dataclass(frozen=True)
class Due:
    """Whether GC is due: `because` says why, or why not; `wait` is in how many seconds it may become due."""

    due: bool
    because: str
    wait: float | None = None


def check_due(
    policy: str,
    large: bool,
    since_last: float | None,
    last_left_large: bool,
    min_interval: float,
    ran_before: bool,
) -> Due:
    """Due by policy alone; window and traffic are judged on their own.

    `never`; `limit`: only when the table is large. `daily`: also when the last run began `min_interval` ago (counted from its end, an
    hourly schedule would leave the window behind in a few nights); one that had left the table large is not repeated
    before that. `always`. An unknown time since the last run counts as long ago.
    """
    if policy in ("always", "never"):
        return Due(policy == "always", f"policy {policy}")
    left = min_interval * (1 - _EARLY) - since_last if ran_before and since_last is not None else 0.0
    if policy == "daily" and left > 0 and since_last is not None and (not large or last_left_large):
        told = f"the last one began {format_duration(since_last)} ago, less than {format_duration(min_interval)}"
        return Due(False, told + (" (and left the table above the limit)" if last_left_large else ""), left)
    if large:
        return Due(True, "more rows than the limit")
    if policy == "daily":
        if not ran_before:
            return Due(True, "none is known to have run before")
        return Due(
            True,
            f"the last one began {'at an unknown time' if since_last is None else format_duration(since_last) + ' ago'}",
        )
    return Due(False, "not more rows than the limit")


# After a round


def next_step(large: bool, went: bool, rounds: int, max_rounds: int) -> str:
    """What follows a round that has ended: `done`, `again`, or why not: `nothing` went, `rounds` used up."""
    if not large:
        return "done"
    if not went:
        return "nothing"
    return "again" if rounds < max_rounds else "rounds"
