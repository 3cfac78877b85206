# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long an upgrade's outage was, and what took the time. Pure rules."""

from __future__ import annotations

import typing as t

# The steps of an outage, and the notes of when each began.
_STEPS = {"stop": "down_at", "migration": "migrating_at", "start": "migrated_at"}


def outage(journal: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Returns `down`, `database_copy` and `steps` of the outage in seconds; empty while it is not known.

    By the journal it lasts from the stop to when the new version was seen healthy. `database_copy`, the time of dump and snapshot, is
    not part of `down`. `steps` are pairs of a name and seconds that add up to `down`; there are none where those of several stops are mixed.
    """
    notes = journal.get("notes") or {}
    copy = float(notes.get("kept_seconds") or 0)
    begin, end = float(notes.get("down_at") or 0), float(notes.get("up_at") or 0)
    if not begin or not end:
        return {}
    marks = [*(float(notes.get(one) or 0) for one in _STEPS.values()), end]
    seconds = [later - earlier for earlier, later in zip(marks, marks[1:])]
    seconds[0] -= copy
    steps = [(step, round(took, 1)) for step, took in zip(_STEPS, seconds)]
    return {
        "down": round(end - begin - copy, 1),
        "database_copy": round(copy, 1),
        "steps": steps if min(seconds) >= 0 else [],
    }
