# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long an upgrade's outage was, and what took the time. Pure rules."""

from __future__ import annotations

import typing as t

# The step that each stage of the journal begins.
_STEPS = (("stopping", "stop"), ("migrating", "migration"), ("starting", "start"))


def outage(journal: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Returns `down`, `database_copy` and `steps` of the outage in seconds; empty while it is not known.

    By the journal it lasts from the stop to when the new version was seen healthy. `database_copy`, the time of dump and snapshot, is
    not part of `down`. `steps` are pairs of a name and seconds that add up to `down`; there are none where stages of several stops are mixed.
    """
    notes = journal.get("notes") or {}
    copy = float(notes.get("kept_seconds") or 0)
    begin, end = float(notes.get("down_at") or 0), float(notes.get("up_at") or 0)
    if not begin or not end:
        return {}
    marks = [begin, *(_began(journal, stage) for stage, _step in _STEPS[1:]), end]
    seconds = [later - earlier for earlier, later in zip(marks, marks[1:])]
    seconds[0] -= copy
    steps = [(step, round(took, 1)) for (_stage, step), took in zip(_STEPS, seconds)]
    return {
        "down": round(end - begin - copy, 1),
        "database_copy": round(copy, 1),
        "steps": steps if min(seconds) >= 0 else [],
    }


def _began(journal: t.Mapping[str, t.Any], stage: str) -> float:
    """Returns when a stage began; a run that resumes the upgrade in it is not its beginning."""
    found = [one["at"] for one in journal["stages"] if one["name"] == stage and not one.get("taken_up")]
    return float(found[-1]) if found else 0.0
