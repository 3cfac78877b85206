# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long an outage was, by journals of upgrades."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._upgrade.outage import outage

STAGES: list[dict[str, t.Any]] = [
    {"name": "locked", "at": 80.0},
    {"name": "stopping", "at": 100.0},
    {"name": "migrating", "at": 110.0},
    {"name": "starting", "at": 115.0},
    {"name": "verifying", "at": 122.5},
]
TIMES = {"down_at": 100.0, "up_at": 122.5}
RESUMED = [
    *STAGES[:3],
    {"name": "migrating", "at": 900.0, "taken_up": True},
    *({**one, "at": one["at"] + 800} for one in STAGES[3:]),
]


@pytest.mark.parametrize(
    ("notes", "stages", "found"),
    [
        (
            TIMES,
            STAGES,
            {"down": 22.5, "database_copy": 0.0, "steps": [("stop", 10.0), ("migration", 5.0), ("start", 7.5)]},
        ),
        (
            {**TIMES, "kept_seconds": 4.0},
            STAGES,
            {"down": 18.5, "database_copy": 4.0, "steps": [("stop", 6.0), ("migration", 5.0), ("start", 7.5)]},
        ),
        # The run was killed; the next one took the upgrade up.
        (
            {"down_at": 100.0, "up_at": 922.5},
            RESUMED,
            {"down": 822.5, "database_copy": 0.0, "steps": [("stop", 10.0), ("migration", 805.0), ("start", 7.5)]},
        ),
        # Stopped a second time when the migration was due.
        ({"down_at": 112.0, "up_at": 122.5}, STAGES, {"down": 10.5, "database_copy": 0.0, "steps": []}),
        ({"down_at": 100.0}, STAGES[:3], {}),
        ({}, STAGES[:1], {}),
    ],
)
def test_an_outage_and_its_steps(
    notes: dict[str, t.Any], stages: list[dict[str, t.Any]], found: dict[str, t.Any]
) -> None:
    assert outage({"notes": notes, "stages": stages}) == found


def test_without_a_journal_there_is_none() -> None:
    assert outage({}) == {}
