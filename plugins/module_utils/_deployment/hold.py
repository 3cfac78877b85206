# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hold of a deployment: its containers stay as they are, by a file on a member or by `wa_client_hold` in the inventory."""

from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files

LONG = 7 * 24 * 3600.0  # seconds after which a hold may have been forgotten
_LONGEST = 200  # characters of the reason that are shown
_NO_REASON = "no reason given"
Hold = t.Mapping[str, t.Any]


def read(path: str, now: float) -> dict[str, t.Any]:
    """Returns the hold that the file at `path` sets: `path`, `reason`, `since` (UTC), `old`; empty without a file.

    The file's presence is the hold, also if it is empty or cannot be read. `now` is in seconds since 1970.
    """
    try:
        changed = os.stat(path).st_mtime
    except FileNotFoundError:
        return {}
    try:
        text = files.read_bytes(path).decode("utf-8", "replace")
    except OSError as error:
        text = f"it cannot be read ({error.strerror})"
    reason = "".join(one if one.isprintable() else " " for one in text)
    reason = " ".join(reason.split())[:_LONGEST] or _NO_REASON
    since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(changed))
    return {"path": path, "reason": reason, "since": since, "old": now - changed > LONG}


def describe(hold: Hold, host: str) -> str:
    """Returns a hold in a file on `host` for a message, with how to end it."""
    old = " (for more than a week)" if hold["old"] else ""
    return (
        f"held since {hold['since']}{old} by {hold['path']} on {host}: {hold['reason'].rstrip('.')}. "
        f"No container of the client is started, restarted or stopped. To end it: sudo rm {hold['path']}"
    )


def describe_variable(reason: str) -> str:
    """Returns the hold by `wa_client_hold` in the inventory for a message, with how to end it."""
    return (
        f"held by wa_client_hold in the inventory: {' '.join(reason.split()).rstrip('.')}. "
        "No container of the client is started, restarted or stopped. To end it: remove wa_client_hold"
    )
