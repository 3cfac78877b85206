# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts of the events that ansible-runner leaves: the newest look at a host, if it is not old."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from fleets import NOW, stamp

from ansible_collections.waba.onprem.plugins.plugin_utils import _runner_artifacts as runner_artifacts


def event(folder: Path, worker: str, host: str, age: float, **changes: t.Any) -> None:
    """An event as ansible-runner writes it."""
    events = folder / worker / "artifacts" / "status" / "job_events"
    events.mkdir(parents=True, exist_ok=True)
    data = {"task_action": "waba.onprem.wa_drift_info", "host": host, "res": {"age": age}, **changes}
    text = json.dumps({"event": "runner_on_ok", "created": stamp(NOW - age), "event_data": data})
    (events / f"{len([*events.iterdir()])}-x.json").write_text(text)


@pytest.mark.parametrize(
    ("ages", "found"),
    [
        ((60,), {"h1": {"age": 60}}),
        ((60, 20, 40), {"h1": {"age": 20}}),
        ((3500, 3700), {"h1": {"age": 3500}}),
        ((3600,), {}),
    ],
)
def test_the_newest_result_of_the_last_hour_counts(
    tmp_path: Path, ages: tuple[int, ...], found: dict[str, t.Any]
) -> None:
    for number, age in enumerate(ages):
        event(tmp_path, f"worker{number}", "h1", age)
    assert runner_artifacts.results(str(tmp_path), NOW) == found


def test_other_events_and_what_is_none_are_left_out(tmp_path: Path) -> None:
    event(tmp_path, "north", "h1", 5)
    event(tmp_path, "north", "h2", 5, task_action="waba.onprem.wa_status")
    events = tmp_path / "north" / "artifacts" / "status" / "job_events"
    (events / "8-begun.json").write_text('{"uuid": "9", "created": "20')
    (events / "9-start.json").write_text(json.dumps({"created": stamp(NOW), "event_data": {}}))
    assert list(runner_artifacts.results(str(tmp_path), NOW)) == ["h1"]
    assert runner_artifacts.results(str(tmp_path / "none"), NOW) == {}
