# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Message GC: where it stands, for people. Pure rules."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_duration

_BAR = 20
SHORTEST_PAUSE = 0.1


@dataclass(frozen=True)
class Progress:
    """Where a running GC stands; `rows` is an estimate, `left` seconds until the limit when that can be told.

    `again` is in how many seconds another look may tell the end, when that is sooner than the usual pause may be.
    """

    phase: str
    round: int = 0
    rows: int | None = None
    deleted: int = 0
    rate: float = 0.0
    left: float | None = None
    fraction: float | None = None
    again: float | None = None


def measure(
    phase: str,
    round_number: int,
    rows: int | None,
    before: int,
    limit: int,
    deleted: int,
    rate: float,
    again: float | None = None,
) -> Progress:
    """The progress towards the limit from `before` rows at the start."""
    fraction, left = None, None
    if rows is not None and before > limit:
        fraction = min(max((before - rows) / (before - limit), 0.0), 1.0)
        left = max(rows - limit, 0) / rate if rate > 0 and rows > limit else None
    return Progress(phase, round_number, rows, deleted, rate, left, fraction, again)


def pause(usual: float, progress: t.Mapping[str, t.Any] | None, takes: float = 0.0) -> float:
    """Seconds to wait before the next look: the usual ones, or fewer when the end may be told sooner.

    `takes` is how many seconds pass from one look to another without any pause.
    """
    again = (progress or {}).get("again")
    return usual if again is None else min(usual, max(again - takes, SHORTEST_PAUSE))


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
