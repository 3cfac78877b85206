# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the nightly log cleanup: its script, cron file and last run, and reports legacy cron lines."""

from __future__ import annotations

import os
import re
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._concern import files as concern_files
from ansible_collections.waba.onprem.plugins.module_utils._concern.finding import Finding
from ansible_collections.waba.onprem.plugins.module_utils._core import files, redact
from ansible_collections.waba.onprem.plugins.module_utils._logs import status

SPEC: dict[str, dict[str, t.Any]] = {
    "files": {"type": "list", "elements": "dict", "options": concern_files.SPEC, "default": []},
    "status_file": {"type": "path", "required": True},
    "cron_file": {"type": "path", "required": True},
}
_PLACES = (
    *("/etc/crontab", "/etc/anacrontab", "/etc/cron.d", "/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly"),
    *("/var/spool/cron", "/var/spool/cron/crontabs"),
)
_LEGACY = re.compile(r"^[^#\n]*docker[^#\n]*exec[^#\n]*cleanup\.sh.*$", re.MULTILINE)


def observe(params: t.Mapping[str, t.Any], places: t.Iterable[str] = _PLACES) -> Finding:
    """Returns how the log cleanup differs."""
    found = Finding()
    for one in params["files"]:
        found.changes += concern_files.differences(one)
    problem = status.read(params["status_file"], params["cron_file"], time.time())
    found.changes += [problem] if problem else []  # no role corrects it, so that the play fails and names it
    found.warnings += [
        f"an older cron line runs the cleanup, too; with a container's id it misses every recreated one. Remove it: {line}"
        for line in legacy_lines(places)
    ]
    return found


def legacy_lines(places: t.Iterable[str]) -> list[str]:
    """Returns the cron lines that run the vendor's cleanup by `docker exec`, each with its file. Unreadable files are skipped."""
    found = []
    for place in places:
        try:
            paths = sorted(entry.path for entry in os.scandir(place)) if os.path.isdir(place) else [place]
        except OSError:
            continue
        for path in paths:
            try:
                text = files.read_bytes(path).decode(errors="replace")
            except OSError:
                continue
            found += [f"{path}: {redact.mask(match.strip())}" for match in _LEGACY.findall(text)]
    return found
