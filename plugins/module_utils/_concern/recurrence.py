# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records on which days containers were restarted for which reason, so that a restart that keeps coming back is named, not done for ever."""

from __future__ import annotations

import json
import typing as t
from datetime import date, timedelta

from ansible_collections.waba.onprem.plugins.module_utils._concern.finding import Finding
from ansible_collections.waba.onprem.plugins.module_utils._core import files

DAYS = 3  # in which the third restart for one reason is not made
Record = dict[str, list[str]]  # days by reason


def read(path: str) -> Record:
    """Returns the record; empty without one that can be read."""
    try:
        found = json.loads(files.read_text(path))
        return {str(reason): [str(day) for day in days] for reason, days in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def recent(record: Record, today: date) -> Record:
    """Returns what is not older than `DAYS`."""
    oldest = (today - timedelta(days=DAYS - 1)).isoformat()
    found = {reason: [day for day in days if oldest <= day <= today.isoformat()] for reason, days in record.items()}
    return {reason: days for reason, days in found.items() if days}


def note(path: str, reasons: t.Iterable[str], today: date) -> None:
    """Records that containers were restarted today for these reasons."""
    before = read(path)
    after = recent(before, today)
    for reason in reasons:
        after[reason] = sorted({*after.get(reason, ()), today.isoformat()})
    if after != before:
        files.write_json(path, after)


def name_recurring(finding: Finding, path: str, today: date) -> list[str]:
    """Makes restarts alarms that were due on two days before, and are due again. Returns their reasons."""
    days = recent(read(path), today)
    found = [one for one in finding.restarts if len({*days.get(one, ())} - {today.isoformat()}) >= DAYS - 1]
    for reason in found:
        finding.restarts.remove(reason)
        finding.alarms.append(
            f"{reason}: due on {' and '.join(days[reason])}, and it came back. Something else undoes it, such as a "
            f"watchtower. End that, then remove {path}"
        )
    return found
