# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long an outage was, by journals of upgrades."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._upgrade.outage import expected, outage

TIMES = {"down_at": 100.0, "migrating_at": 110.0, "migrated_at": 115.0, "up_at": 122.5}


@pytest.mark.parametrize(
    ("notes", "found"),
    [
        (TIMES, {"down": 22.5, "database_copy": 0.0, "steps": [("stop", 10.0), ("migration", 5.0), ("start", 7.5)]}),
        (
            {**TIMES, "copy_at": 103.0, "copied_at": 107.0},
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
        # The clock of the leader was set back.
        ({**TIMES, "migrated_at": 5.0, "up_at": 12.5}, {}),
        # A copy counts no more, and a later one has failed.
        (
            {**TIMES, "copy_at": 103.0, "copied_at": 0},
            {"down": 22.5, "database_copy": 0.0, "steps": [("stop", 10.0), ("migration", 5.0), ("start", 7.5)]},
        ),
        ({}, {}),
    ],
)
def test_an_outage_and_its_steps(notes: dict[str, t.Any], found: dict[str, t.Any]) -> None:
    assert outage({"notes": notes}) == found


def test_without_a_journal_there_is_none() -> None:
    assert outage({}) == {}


DONE: dict[str, t.Any] = {
    "outcome": "done",
    "target": "2.51.2",
    "notes": {**TIMES, "copy_at": 103.0, "copied_at": 107.0},
}
BEFORE = "(as in the upgrade to 2.51.2)"


@pytest.mark.parametrize(
    ("last", "copy", "copied", "topology", "seconds", "line"),
    [
        # Nothing is known: how long a stop may take, and an assumption about the start.
        ({}, None, False, "single", 180, "3m00s without migration: stop 2m00s (at most), migration unknown, start 1m00s (assumed for single)"),
        ({}, 30, True, "multiconnect", 270, "4m30s without migration: stop 2m00s (at most), copy 30s (by a sample), migration unknown, "
         "start 2m00s (assumed for multiconnect)"),
        ({}, None, True, "single", 180, "3m00s without copy and migration: stop 2m00s (at most), copy unknown, migration unknown, "
         "start 1m00s (assumed for single)"),
        # All is known of the last upgrade.
        (DONE, None, False, "single", 18, f"18s: stop 6s {BEFORE}, migration 5s {BEFORE}, start 8s {BEFORE}"),
        # A sample of today's database, or the last copy, which may have been a snapshot, whichever took longer.
        (DONE, 3, True, "single", 22, f"22s: stop 6s {BEFORE}, copy 4s {BEFORE}, migration 5s {BEFORE}, start 8s {BEFORE}"),
        (DONE, 40, True, "single", 58, f"58s: stop 6s {BEFORE}, copy 40s (by a sample), migration 5s {BEFORE}, start 8s {BEFORE}"),
        # One whose migration was made by hand, and one that went back, have measured no steps.
        ({**DONE, "notes": {"down_at": 112.0, "up_at": 122.5}}, None, False, "single", 180, "3m00s without migration: stop 2m00s (at most), "
         "migration unknown, start 1m00s (assumed for single)"),
        ({**DONE, "outcome": "rolled_back"}, None, False, "single", 180, "3m00s without migration: stop 2m00s (at most), "
         "migration unknown, start 1m00s (assumed for single)"),
    ],
)  # fmt: skip
def test_an_outage_that_is_expected(
    last: dict[str, t.Any], copy: float | None, copied: bool, topology: str, seconds: int, line: str
) -> None:
    found = expected(last, copy, copied, topology)
    assert (found["seconds"], found["line"]) == (seconds, f"the outage will take about {line}")
    assert [name for name in ("copy", "migration") if f"{name} unknown" in line] == found["unknown"]
