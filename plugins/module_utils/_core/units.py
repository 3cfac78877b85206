# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parses durations, sizes, lists and numbers in variables and options. Pure rules, no I/O."""

from __future__ import annotations

import math
import re
import typing as t
from datetime import datetime, timedelta

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

DATABASE_PORTS = {"MYSQL": 3306, "PGSQL": 5432}  # by WA_DB_ENGINE

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
# ASCII digits, which other programs accept, too; their number is limited so that no value overflows.
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([smhd]?)")
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)([KMGT]?)(?:i?B)?", re.IGNORECASE | re.ASCII)


def parse_duration(name: str, text: str | int | float) -> float:
    """Returns the seconds in `text`: a number of seconds, or text such as `30s`, `10m`, `24h`, `7d`.

    `name` is the option's name, for the error. Raises WaError when the text is not a duration.
    """
    match = _DURATION.fullmatch(str(text).strip())
    if not match:
        raise WaError(f"option {name}", f"{text!r} is no duration", "seconds, or text such as 30s, 10m, 24h")
    return float(match.group(1)) * _SECONDS[match.group(2)]


def whole_seconds(name: str, text: str | int | float) -> int:
    """Returns `text` in whole seconds, rounded up. Raises WaError for less than a second."""
    seconds = parse_duration(name, text)
    if seconds < 1:
        raise WaError(f"option {name}", f"{text!r}", "at least a second")
    return math.ceil(seconds)


def parse_size(name: str, text: str | int) -> int:
    """Returns the bytes in `text`: a number of bytes, or text such as `20M`, `5G` (powers of 1024).

    `name` is the option's name, for the error. Raises WaError when the text is not a size.
    """
    match = _SIZE.fullmatch(str(text).strip())
    if not match:
        raise WaError(f"option {name}", f"{text!r} is no size", "bytes, or text such as 20M, 5G")
    return int(float(match.group(1)) * _BYTES[match.group(2).upper()])


def format_size(size: int) -> str:
    """Returns `size` in bytes as readable text: `512 B`, `19.4 MiB`."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def format_duration(seconds: float) -> str:
    """Returns `seconds` as readable text: `42s`, `3m05s`, `2h10m`."""
    total = round(seconds)
    if total < 60:
        return f"{total}s"
    minutes, rest = divmod(total, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m"


def text_list(value: t.Any, name: str) -> list[str]:
    """Returns a list of texts from `value`: a list, or one text with commas, as in `-e name=a,b`. None is an empty list.

    `name` is the variable's name, for the error.
    """
    if value is None:
        return []
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, (list, tuple)) or not all(isinstance(one, (str, int)) for one in given):
        raise WaError(name, f"{value!r} is no list", "a list of texts, or one text with commas")
    return [text for text in (str(one).strip() for one in given) if text]


def parse_port(name: str, value: t.Any) -> int:
    """Returns a port from `value`, which `-e` passes as text. Raises WaError if it is invalid."""
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 1 << 16:
        raise WaError(name, f"{value!r} is no port", "a number from 1 to 65535")
    return int(text)


def whole_number(name: str, value: t.Any, least: int = 1) -> int:
    """Returns an integer of at least `least` from `value`, which `-e` passes as text. Raises WaError if it is invalid."""
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
        raise WaError(name, f"{value!r}", f"a whole number, at least {least}")
    return int(text)


def clock_field(name: str, value: t.Any, most: int) -> str:
    """Returns hours (`most` 23) or minutes (59) for a cron line. Cron ignores a complete file with an invalid line."""
    text = str(value).strip()
    parts = [re.fullmatch(r"(?:\*|([0-9]{1,2})(?:-([0-9]{1,2}))?)(?:/[1-9][0-9]?)?", part) for part in text.split(",")]
    numbers = [int(number) for part in parts if part for number in part.groups() if number]
    if isinstance(value, bool) or not all(parts) or any(number > most for number in numbers):
        raise WaError(
            name, f"{value!r}", f"a number from 0 to {most}, or what cron takes for several", "Such as 3, or 2,14"
        )
    return text


def parse_window(text: str) -> tuple[int, int]:
    """Returns begin and end of a window such as `01:00-05:00` in minutes of the day (it may pass midnight)."""
    match = re.fullmatch(r"\s*(\d{1,2}):([0-5]\d)\s*-\s*(\d{1,2}):([0-5]\d)\s*", text)
    begin, end = (int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])) if match else (0, 0)
    if begin >= 1440 or end > 1440 or begin == end:
        raise WaError("option window", f"{text!r} is no window", "two different times of the day, such as 01:00-05:00")
    return begin, end


def until_window(window: tuple[int, int], now: datetime) -> float:
    """Returns the seconds until the window opens; 0 inside it (the end is outside)."""
    begin, end = window
    minute = now.hour * 60 + now.minute
    if begin <= minute < end if begin < end else minute >= begin or minute < end:
        return 0.0
    opens = now.replace(hour=begin // 60, minute=begin % 60, second=0, microsecond=0)
    return (opens + timedelta(days=opens <= now) - now).total_seconds()
