# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Message GC: whose databases, due or not and why, when a round has ended, what notifications say. Pure rules."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._units import format_duration

POLICIES = ("limit", "daily", "always")
COMPLETIONS = ("database", "notifications", "none")
LONGEST_BASELINE = 30.0
SINGLE = "coreapp"  # what a single client's only node is called: neither its answer nor its notification names it
UNVERIFIED_ABOVE = 10_000_000  # domain 3: above it, repeat until the notifications come back without errors
_BAR = 20
_STAMPS = ("timestamp", "time", "received_at")


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


def left_in_window(window: tuple[int, int], now: datetime) -> float:
    """Seconds until the window that is open closes."""
    end = window[1] % 1440
    closes = now.replace(hour=end // 60, minute=end % 60, second=0, microsecond=0)
    if closes <= now:
        closes += timedelta(days=1)
    return (closes - now).total_seconds()


# Whose databases


def own_databases(prefix: str, candidates: t.Sequence[str]) -> list[str]:
    """The candidates when they are surely one client's; raises WaError with them when a neighbour may be among them.

    Names are prefix + store name without a separator, so `wa1` also matches `wa10messageStore`. Ambiguous: one name is
    the prefix, something, and another's rest; a rest begins with a digit; or several under an empty prefix.
    """
    if not candidates:
        raise WaError(
            "client's database",
            f"no database that begins with {prefix!r} holds a table messages",
            "one that the client's user can see",
            "Start the client once so that it makes its databases, or correct WA_DB_NAME_PREFIX",
        )
    rests = [name[len(prefix) :] for name in candidates]
    doubtful = not prefix and len(candidates) > 1
    doubtful = doubtful or (bool(prefix) and any(rest[:1].isdigit() for rest in rests))
    doubtful = doubtful or any(one != other and one.endswith(other) for one in rests for other in rests)
    if doubtful:
        raise WaError(
            "client's database",
            f"ambiguous for prefix {prefix!r}: " + ", ".join(candidates),
            "the databases of one client",
            "Name this client's own in the option databases",
        )
    return list(candidates)


def wanted_databases(wanted: t.Sequence[str], candidates: t.Sequence[str]) -> list[str]:
    """`wanted`, each once; raises WaError when one of them holds no table `messages`."""
    missing = [name for name in wanted if name not in candidates]
    if missing:
        found = "no table messages seen in: " + ", ".join(missing)
        raise WaError("option databases", found, "some of: " + (", ".join(candidates) or "(none found)"))
    return list(dict.fromkeys(wanted))


# Due or not


@dataclass(frozen=True)
class Due:
    """Whether GC is due: `because` says why, or why not; `wait` is in how many seconds it may become due."""

    due: bool
    because: str
    wait: float | None = None


def judge_due(
    policy: str,
    large: bool,
    since_last: float | None,
    last_left_large: bool,
    min_interval: float,
    ran_before: bool,
) -> Due:
    """Due by policy alone; window and traffic are judged on their own.

    `limit`: only when the table is large. `daily`: also when the last run ended `min_interval` ago; one that had left
    the table large is not repeated before that. `always`. An unknown time since the last run counts as long ago.
    """
    if policy == "always":
        return Due(True, "policy always")
    recent = ran_before and since_last is not None and since_last < min_interval
    if policy == "daily" and recent and since_last is not None:
        left = min_interval - since_last
        if not large or last_left_large:
            told = f"the last one ended {format_duration(since_last)} ago, less than {format_duration(min_interval)}"
            return Due(False, told + (" (and left the table above the limit)" if last_left_large else ""), left)
    if large:
        return Due(True, "more rows than the limit")
    if policy == "daily":
        if not ran_before:
            return Due(True, "none is known to have run before")
        return Due(
            True,
            f"the last one ended {'at an unknown time' if since_last is None else format_duration(since_last) + ' ago'}",
        )
    return Due(False, "not more rows than the limit")


def outbound_rate(
    before: t.Sequence[tuple[str, dict[str, str], float]],
    after: t.Sequence[tuple[str, dict[str, str], float]],
    seconds: float,
) -> float | None:
    """Outbound messages a second between two reads of the application's figures; None when no figure tells.

    The figures' names are not documented: one that names messages and an outbound direction is taken, else requests
    whose labels name messages.
    """

    def total(rows: t.Sequence[tuple[str, dict[str, str], float]]) -> float | None:
        sent = [
            value
            for name, _labels, value in rows
            if re.search(r"mess", name, re.I) and re.search(r"out|sent|send", name, re.I)
        ]
        if sent:
            return sum(sent)
        asked = [
            value
            for name, labels, value in rows
            if re.search(r"request", name, re.I)
            and any(re.fullmatch(r"(/?v1)?/?messages?", label, re.I) for label in labels.values())
            and not any(label.upper() in ("GET", "PUT", "DELETE") for label in labels.values())
        ]
        return sum(asked) if asked else None

    one, other = total(before), total(after)
    if one is None or other is None or seconds <= 0:
        return None
    # A restart between the reads sets the counters back.
    return max(other - one, 0.0) / seconds if other >= one else other / seconds


# When a round has ended


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


# Notifications


@dataclass(frozen=True)
class Notification:
    """One GC notification of the client's webhook."""

    node: str
    status: str
    deleted: int
    details: str = ""


def parse_notifications(lines: t.Iterable[str], since: float | None = None, media: bool = False) -> list[Notification]:
    """The GC notifications of messages, or of media, in JSON lines, in order; other lines and torn ones are passed over.

    A line with a numeric `timestamp` (or `time`, `received_at`) before `since` belongs to an older run.
    """
    found = []
    for line in lines:
        try:
            body = json.loads(line)
        except ValueError:
            continue
        if not isinstance(body, dict):
            continue
        stamps = [body[key] for key in _STAMPS if isinstance(body.get(key), (int, float))]
        if since is not None and stamps and stamps[0] < since - 1:
            continue
        services = body.get("services")
        for service in services if isinstance(services, list) else [services]:
            told = _told_of(service, media)
            if told:
                errors = told.get("errors") or body.get("errors") or []
                found.append(
                    Notification(str(told.get("node") or ""), str(told["status"]), _count(told), _words(errors))
                )
    return found


def _told_of(service: t.Any, media: bool) -> dict[str, t.Any] | None:
    """What one entry of a notification says of GC of messages, or of media.

    Media GC nests its success under `message` and its failure under `media`; its count has another name.
    """
    parts = service if isinstance(service, dict) else {}
    for part in ("media", "message") if media else ("message",):
        told = parts[part].get("gc") if isinstance(parts.get(part), dict) else None
        if isinstance(told, dict) and told.get("status") and (part == "media" or ("items_deleted" in told) == media):
            return told
    return None


def _count(told: dict[str, t.Any]) -> int:
    value = told.get("messages_deleted", told.get("items_deleted"))
    return value if isinstance(value, int) else 0


def _words(errors: t.Any) -> str:
    items = [item for item in errors if isinstance(item, dict)] if isinstance(errors, list) else []
    return "; ".join(
        f"{item.get('code', '')} {item.get('details') or item.get('title') or ''}".strip() for item in items
    )


def fold_notifications(
    found: t.Iterable[Notification], nodes: t.Iterable[str]
) -> tuple[dict[str, Notification], list[str]]:
    """The first notification of every one of `nodes`, and the nodes that are still silent; repeated ones count once.

    A single client's notification names no node, nor does its answer to the call; a lone node takes any.
    """
    expected = list(nodes) or [SINGLE]
    first: dict[str, Notification] = {}
    for notification in found:
        lone = len(expected) == 1 and (not notification.node or expected[0] == SINGLE)
        node = expected[0] if lone else notification.node
        if node in expected and node not in first:
            first[node] = notification
    return first, [node for node in expected if node not in first]


# After a round


def next_step(large: bool, deleted: int, rounds: int, max_rounds: int, window_open: bool) -> str:
    """What follows a round that has ended: `done`, `again`, or why not: `nothing` deleted, `rounds` used up, `window` closed."""
    if not large:
        return "done"
    if deleted <= 0:
        return "nothing"
    if rounds >= max_rounds:
        return "rounds"
    return "again" if window_open else "window"


# Progress


@dataclass(frozen=True)
class Progress:
    """Where a running GC stands; `rows` is an estimate, `left` seconds until the limit when that can be told."""

    phase: str
    round: int = 0
    rows: int | None = None
    deleted: int = 0
    rate: float = 0.0
    left: float | None = None
    fraction: float | None = None


def measure(
    phase: str, round_number: int, rows: int | None, before: int, limit: int, deleted: int, rate: float
) -> Progress:
    """The progress towards the limit from `before` rows at the start."""
    fraction, left = None, None
    if rows is not None and before > limit:
        fraction = min(max((before - rows) / (before - limit), 0.0), 1.0)
        left = max(rows - limit, 0) / rate if rate > 0 and rows > limit else None
    return Progress(phase, round_number, rows, deleted, rate, left, fraction)


def progress_line(host: str, progress: t.Mapping[str, t.Any]) -> str:
    """One whole line for people, in plain characters."""
    parts = []
    fraction = progress.get("fraction")
    if fraction is not None:
        filled = int(fraction * _BAR)
        parts.append("[" + "#" * filled + "." * (_BAR - filled) + "]")
    if progress.get("rows") is not None:
        parts.append(f"~{progress['rows']:,} rows,")
    parts.append(f"{progress.get('deleted') or 0:,} deleted, {progress.get('rate') or 0:,.0f}/s,")
    if progress.get("left") is not None:
        parts.append(f"{format_duration(progress['left'])} to the limit,")
    number = progress.get("round")
    return f"{host} | message GC{f' round {number}' if number else ''} | {' '.join(parts)} {progress.get('phase', '')}".rstrip(
        ", "
    )
