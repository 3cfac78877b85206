# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluates the status file of the nightly log cleanup. Pure rules, except for `read`."""

from __future__ import annotations

import json
import os
import typing as t
from datetime import datetime, timezone

from ansible_collections.waba.onprem.plugins.module_utils._core import files, redact
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

_DAY = 86400
# A daily job, plus an hour for daylight saving time and one for a slow run.
LATEST = _DAY + 2 * 3600
_LONGEST = 3600  # after which a run is reported that is late
_SHOWN = 3  # maximum of failures in a message, and of warnings


def read(path: str, cron_file: str, now: float) -> str:
    """Returns the problem with the nightly log cleanup, empty for none; `now` is in seconds since 1970."""
    try:
        text: str | None = files.read_text(path)
    except FileNotFoundError:
        text = None
    except (OSError, UnicodeDecodeError) as error:
        return str(WaError(f"status of the nightly log cleanup {path}", f"unreadable: {error}", "what its job writes"))
    try:
        installed: float | None = os.stat(cron_file).st_mtime
    except OSError:
        installed = None
    found = problem(text, installed, now)
    cure = f"See syslog (wa-log-cleanup), or run the command of {cron_file}"
    return str(WaError(f"nightly log cleanup ({path})", found, "a good run every day", cure)) if found else ""


def warnings(path: str) -> list[str]:
    """Returns the first rotation rules that a good run has found broken; empty for a file that cannot be read."""
    try:
        status = json.loads(files.read_text(path))
        found = status["warnings"][:_SHOWN] if status["result"] == "ok" else []
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [f"nightly log cleanup: {redact.mask(str(one))}" for one in found]


def problem(text: str | None, installed: float | None, now: float) -> str:
    """Returns the problem from the status file's text (None: no file) and the time of installation of its cron job."""
    if installed is None:
        return ""  # without a job no status is expected
    if text is None:
        return f"it has never run, since {_moment(installed)}" if now - installed > LATEST else ""
    try:
        status = json.loads(text)
        result, started, success = status["result"], float(status["started"]), float(status["last_success"])
        failures = [str(redact.mask(str(one))) for one in status["failures"]]
    except (ValueError, KeyError, TypeError):
        return "its status file is broken"
    return _last_run(str(result), started, success, installed, failures, now) or _too_old(started, installed, now)


def _last_run(
    result: str, started: float, success: float, installed: float, failures: t.Sequence[str], now: float
) -> str:
    last = f"its last run, of {_moment(started)},"
    if result == "failed":
        more = f"; and {len(failures) - _SHOWN} more" if len(failures) > _SHOWN else ""
        return f"{last} failed: {'; '.join(failures[:_SHOWN]) or 'no reason given'}{more}"
    # A job that fails every night was always started less than a day ago.
    late = now - max(success, installed) > _DAY + LATEST
    good = f"the last good one was of {_moment(success)}" if success else "there was no good one"
    if result == "running" and now - started > _DAY:
        return f"{last} was killed"
    if result == "running" and late and now - started > _LONGEST:
        return f"{last} has not ended, and {good}"
    if result == "locked" and late:
        return f"{last} found the deployment locked, and {good}"
    return ""


def _too_old(started: float, installed: float, now: float) -> str:
    if started - now > LATEST:
        return f"its last run was of {_moment(started)}, which has not come yet"  # the clock was wrong at that time
    # A job whose line was just changed has not run yet.
    return f"its last run was of {_moment(started)}" if now - max(started, installed) > LATEST else ""


def _moment(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, OSError, ValueError):
        return "a time that is none"
