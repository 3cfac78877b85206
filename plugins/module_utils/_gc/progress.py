# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Message GC: where it stands, for people. Its figures are estimates. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_duration

_BAR = 20


def measure(phase: str, number: int, before: int, gone: float, rate: float, limit: int) -> dict[str, t.Any]:
    """Where a GC stands that has deleted about `gone` of `before` rows, and deletes `rate` a second; `number` is its round.

    `left` is in how many seconds it reaches the limit, `fraction` the part of the way; both None when they are not known.
    """
    rows = max(round(before - gone), 0)
    above = before - limit
    return {
        "phase": phase,
        "round": number,
        "rows": rows,
        "deleted": round(gone),
        "rate": rate,
        "left": (rows - limit) / rate if rate > 0 and rows > limit else None,
        "fraction": min(gone / above, 1.0) if above > 0 else None,
    }


def progress_line(host: str, progress: t.Mapping[str, t.Any]) -> str:
    """One whole line for people, in plain characters."""
    number, fraction = progress.get("round"), progress.get("fraction")
    parts = [f"{host} | message GC{f' round {number}' if number else ''} |"]
    if fraction is not None:
        filled = int(fraction * _BAR)
        parts.append("[" + "#" * filled + "." * (_BAR - filled) + "]")
    if progress.get("rows") is not None:
        parts.append(f"~{progress['rows']:,} rows, ~{progress['deleted']:,} deleted, ~{progress['rate']:,.0f}/s,")
    if progress.get("left") is not None:
        parts.append(f"~{format_duration(progress['left'])} to the limit,")
    return " ".join([*parts, progress["phase"]])
