# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long an outage was, by journals of upgrades."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._upgrade.outage import outage

TIMES = {"down_at": 100.0, "migrating_at": 110.0, "migrated_at": 115.0, "up_at": 122.5}


@pytest.mark.parametrize(
    ("notes", "found"),
    [
        (TIMES, {"down": 22.5, "database_copy": 0.0, "steps": [("stop", 10.0), ("migration", 5.0), ("start", 7.5)]}),
        (
            {**TIMES, "kept_seconds": 4.0},
            {"down": 18.5, "database_copy": 4.0, "steps": [("stop", 6.0), ("migration", 5.0), ("start", 7.5)]},
        ),
        # The run was killed; the next one went on with the upgrade.
        (
            {**TIMES, "migrated_at": 915.0, "up_at": 922.5},
            {"down": 822.5, "database_copy": 0.0, "steps": [("stop", 10.0), ("migration", 805.0), ("start", 7.5)]},
        ),
        # Its migration was made by hand, or the journal was lost.
        ({"down_at": 112.0, "up_at": 122.5}, {"down": 10.5, "database_copy": 0.0, "steps": []}),
        ({"down_at": 100.0}, {}),
        ({}, {}),
    ],
)
def test_an_outage_and_its_steps(notes: dict[str, t.Any], found: dict[str, t.Any]) -> None:
    assert outage({"notes": notes}) == found


def test_without_a_journal_there_is_none() -> None:
    assert outage({}) == {}
