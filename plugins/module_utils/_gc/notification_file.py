# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file to which the business's own webhook consumer appends the client's notifications."""

from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._gc.notifications import is_whole

_LONGEST_BEGIN = 1_000_000  # bytes before a mark in which the begin of a line is looked for


def mark(path: str | None) -> dict[str, t.Any] | None:
    """Where the file ends now: what is before belongs to older runs. None when there is no such file to look at."""
    if not path:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return {"offset": 0, "inode": 0, "wall": time.time()}
    return {"offset": found.st_size, "inode": found.st_ino, "wall": time.time()}


def lines(path: str, since: dict[str, t.Any] | None) -> tuple[list[str], float | None]:
    """The whole lines appended since a `mark`, and its time in seconds since 1970.

    A file that was rotated is read from its start. A last line without its end is still being written, unless it is
    whole JSON; it is read again next time either way, for all is read from the mark on. The rest of a line that had
    begun before the mark is an older one's.
    """
    if not path or not since:
        return [], None
    begin = ""
    try:
        with files.open_regular(path) as stream:
            found = os.fstat(stream.fileno())
            if found.st_size >= since["offset"] and since["inode"] in (0, found.st_ino):
                begin = _line_begin(stream, since["offset"])
                stream.seek(since["offset"])
            text = stream.read().decode("utf-8", "replace")
    except FileNotFoundError:
        text = ""
    except OSError as error:
        raise WaError(f"notifications {path}", f"not readable: {error.strerror}") from None
    *whole, last = text.split("\n")
    if begin and whole and is_whole(begin + whole[0]):
        whole[0] = ""
    if is_whole(last) and (whole or not begin):
        whole.append(last)
    return whole, since["wall"]


def _line_begin(stream: t.BinaryIO, offset: int) -> str:
    """What stood of a torn line before `offset`; empty when the line before it was whole."""
    start = max(offset - _LONGEST_BEGIN, 0)
    stream.seek(start)
    begin = stream.read(offset - start).rpartition(b"\n")[2].decode("utf-8", "replace")
    return "" if is_whole(begin) else begin.strip("\ufeff \t\r")
