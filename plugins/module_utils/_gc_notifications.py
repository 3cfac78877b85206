# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file to which the business's own webhook consumer appends the client's notifications."""

from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError


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

    A file that was rotated is read from its start. A last line without its end is still being written.
    """
    if not path or not since:
        return [], None
    try:
        with open(path, "rb") as stream:
            found = os.fstat(stream.fileno())
            if found.st_size >= since["offset"] and since["inode"] in (0, found.st_ino):
                stream.seek(since["offset"])
            text = stream.read().decode("utf-8", "replace")
    except FileNotFoundError:
        text = ""
    except OSError as error:
        raise WaError(f"notifications {path}", f"not readable: {error.strerror}") from None
    return text.split("\n")[:-1], since["wall"]
