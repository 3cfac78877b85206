# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the nightly log cleanup: its script, cron file and last run."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._concern import files as concern_files
from ansible_collections.waba.onprem.plugins.module_utils._concern.finding import Finding
from ansible_collections.waba.onprem.plugins.module_utils._logs import status

SPEC: dict[str, dict[str, t.Any]] = {
    "files": {"type": "list", "elements": "dict", "options": concern_files.SPEC, "default": []},
    "status_file": {"type": "path", "required": True},
    "cron_file": {"type": "path", "required": True},
}


def observe(params: t.Mapping[str, t.Any]) -> Finding:
    """Returns how the log cleanup differs."""
    found = Finding(warnings=status.warnings(params["status_file"]))
    for one in params["files"]:
        found.changes += concern_files.differences(one)
    problem = status.read(params["status_file"], params["cron_file"], time.time())
    # No role corrects it, so that the play fails and names it, unless the client is held: it may have been taken down.
    found.containers += [problem] if problem else []
    return found
