# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Durations and sizes as operators write them: one parser for all modules. Pure rules, no I/O."""

from __future__ import annotations

import re

from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", re.IGNORECASE)


def parse_duration(name: str, text: str | int | float) -> float:
    """Seconds in `text`: a number of seconds, or text such as `30s`, `10m`, `24h`, `7d`.

    `name` is the option's name, for the error. Raises WaError when the text is not a duration.
    """
    match = _DURATION.fullmatch(str(text).strip())
    if not match:
        raise WaError(f"option {name}", f"{text!r} is no duration", "seconds, or text such as 30s, 10m, 24h")
    return float(match.group(1)) * _SECONDS[match.group(2)]


def parse_size(name: str, text: str | int) -> int:
    """Bytes in `text`: a number of bytes, or text such as `20M`, `5G` (powers of 1024).

    `name` is the option's name, for the error. Raises WaError when the text is not a size.
    """
    match = _SIZE.fullmatch(str(text).strip())
    if not match:
        raise WaError(f"option {name}", f"{text!r} is no size", "bytes, or text such as 20M, 5G")
    return int(float(match.group(1)) * _BYTES[match.group(2).upper()])


def format_size(size: int) -> str:
    """`size` in bytes as text for people: `512 B`, `19.4 MiB`."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def format_duration(seconds: float) -> str:
    """`seconds` as text for people: `42s`, `3m05s`, `2h10m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m"
