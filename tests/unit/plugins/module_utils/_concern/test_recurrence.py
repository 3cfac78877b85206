# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restart that is due for the same reason on a third day in three is an alarm."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._concern import recurrence
from ansible_collections.waba.onprem.plugins.module_utils._concern.finding import Finding

TODAY = date(2026, 3, 3)
REASON, OTHER = "core was created from another Compose file", "web runs r/web:v1"


@pytest.mark.parametrize(
    ("days", "alarms"),
    [
        ([], 0),
        (["2026-03-02"], 0),
        (["2026-03-03"], 0),
        (["2026-03-02", "2026-03-03"], 0),  # two runs on the second day
        (["2026-03-01", "2026-03-02"], 1),
        (["2026-02-28", "2026-03-02"], 0),
        (["2026-03-04", "2026-03-05"], 0),  # a wrong clock
    ],
)
def test_the_third_restart_in_three_days_is_an_alarm(tmp_path: Path, days: list[str], alarms: int) -> None:
    path = tmp_path / "restarts-a.json"
    path.write_text(json.dumps({REASON: days}))
    found = Finding(restarts=[REASON, OTHER])
    recurrence.name_recurring(found, str(path), TODAY)
    assert found.restarts == ([OTHER] if alarms else [REASON, OTHER])
    assert found.alarms == (
        [
            f"{REASON}: due on 2026-03-01 and 2026-03-02, and it came back. Something else undoes it, such as a "
            f"watchtower. End that, then remove {path}"
        ]
        if alarms
        else []
    )


def test_days_are_recorded_and_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "restarts-a.json"
    for day in (1, 2, 2):
        recurrence.note(str(path), [REASON], date(2026, 3, day))
    assert recurrence.read(str(path)) == {REASON: ["2026-03-01", "2026-03-02"]}
    recurrence.note(str(path), [OTHER], date(2026, 3, 4))
    assert recurrence.read(str(path)) == {REASON: ["2026-03-02"], OTHER: ["2026-03-04"]}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}'])
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    assert recurrence.read(str(tmp_path / "r.json")) == {}
