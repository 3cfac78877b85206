# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What status.yml has found on hosts in runs of ansible-runner, also on other controllers: from the events that these have left."""

from __future__ import annotations

import contextlib
import json
import typing as t
from pathlib import Path

from ansible_collections.waba.onprem.plugins.plugin_utils._fleet import seconds_of

_LOOK = "waba.onprem.wa_drift_info"
_LONGEST = 3600.0  # seconds that a result counts: a controller that was killed leaves those of an earlier run


def missing(folder: str, host: str, groups: t.Mapping[str, t.Sequence[str]]) -> str:
    """Returns what is said of a host without a result: that of the controller whose folder is called as a group of the host."""
    names = sorted(path.name for path in Path(folder).expanduser().glob("*") if host in groups.get(path.name, ()))
    return f"no result of the last hour {f'of controller {names[0]}' if names else f'in {folder}'}"


def results(folder: str, now: float) -> dict[str, dict[str, t.Any]]:
    """Returns the newest result of each host in all artifacts below `folder` that is not too old; `now` is in seconds since 1970."""
    newest: dict[str, tuple[float, dict[str, t.Any]]] = {}
    for path in Path(folder).expanduser().rglob("job_events/*.json"):
        # A run that was cut off may have left the beginning of an event.
        with contextlib.suppress(OSError, ValueError):
            event = json.loads(path.read_text(encoding="utf-8"))
            data, made = event["event_data"], seconds_of(event["created"])
            if data.get("task_action") == _LOOK and "res" in data and now - made < _LONGEST:
                newest[data["host"]] = max(
                    (made, data["res"]), newest.get(data["host"], (0.0, {})), key=lambda one: one[0]
                )
    return {host: found for host, (_made, found) in newest.items()}
