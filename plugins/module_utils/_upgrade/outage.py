# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long an upgrade's outage will be, how long it was, and what takes the time. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_duration
from ansible_collections.waba.onprem.plugins.module_utils._deployment.topology import STOP_SECONDS
from ansible_collections.waba.onprem.plugins.module_utils._deployment.upgrade_journal import succeeded

# Compose stops the Webapp, then the Coreapp, and each may take all of its time.
_STOP = 2.0 * STOP_SECONDS
# Seconds that a start is taken to last where none was measured: a cluster also elects its masters.
_START = {"single": 60.0}
_START_OF_A_CLUSTER = 120.0

# The steps of an outage, and the notes of when it began, when the database was copied, when the last two steps began, and when it ended.
_STEPS = ("stop", "migration", "start")
_TIMES = ("down_at", "copy_at", "copied_at", "migrating_at", "migrated_at", "up_at")


def outage(journal: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Returns `down`, `database_copy` and `steps` of the outage in seconds; empty while it is not known, as with a clock that was set back.

    By the journal it lasts from the stop to when the new version was seen healthy. `database_copy`, the time of dump and snapshot, is
    not part of `down`. `steps` are pairs of a name and seconds that add up to `down`; there are none where those of several stops are mixed.
    """
    notes = journal.get("notes") or {}
    begin, copy_at, copied_at, *marks, end = (float(notes.get(one) or 0) for one in _TIMES)
    copy = max(copied_at - copy_at, 0.0) if copy_at else 0.0
    if not begin or end - begin < copy:
        return {}
    marks = [begin + copy, *marks, end]
    seconds = [later - earlier for earlier, later in zip(marks, marks[1:])]
    steps = [(step, round(took, 1)) for step, took in zip(_STEPS, seconds)]
    return {
        "down": round(end - begin - copy, 1),
        "database_copy": round(copy, 1),
        "steps": steps if min(seconds) >= 0 else [],
    }


def expected(last: t.Mapping[str, t.Any], copy: float | None, copied: bool, topology: str) -> dict[str, t.Any]:
    """Returns the outage that an upgrade will have: known `seconds`, the names of `unknown` parts, and a `line` for people.

    `last` is the journal of the deployment's last finished upgrade, empty for none; `copy` are the seconds of the dump by its sample, None
    without one; `copied` is whether the database will be copied. What was measured counts before what is assumed.
    """
    last = succeeded(last)
    found = outage(last)
    measured = dict(found.get("steps") or ())
    before = f"as in the upgrade to {last['target']}" if found else ""
    parts: list[tuple[str, float | None, str]] = [
        ("stop", measured.get("stop", _STOP), before if "stop" in measured else "at most"),
        *([_copy(copy, found.get("database_copy") or None, before)] if copied else []),
        ("migration", measured.get("migration"), before),
        (
            "start",
            measured.get("start", _START.get(topology, _START_OF_A_CLUSTER)),
            before if "start" in measured else f"assumed for {topology}",
        ),
    ]
    unknown = [name for name, seconds, _source in parts if seconds is None]
    total = round(sum(seconds for _name, seconds, _source in parts if seconds is not None))
    rest = f" without {' and '.join(unknown)}" if unknown else ""
    listed = ", ".join(
        f"{name} unknown" if seconds is None else f"{name} {format_duration(seconds)} ({source})"
        for name, seconds, source in parts
    )
    return {
        "seconds": total,
        "unknown": unknown,
        "line": f"the outage will take about {format_duration(total)}{rest}: {listed}",
    }


def _copy(sample: float | None, last: float | None, before: str) -> tuple[str, float | None, str]:
    """Returns the part for the copy of the database: the longer one of the `sample` and the `last` one, which had a snapshot, too."""
    if sample is not None and sample >= (last or 0):
        return "copy", sample, "by a sample"
    return "copy", last, before
