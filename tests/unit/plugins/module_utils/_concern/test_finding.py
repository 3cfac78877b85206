# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a concern by its findings and by when restarts are allowed."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._concern.finding import Finding


@pytest.mark.parametrize(
    ("found", "now", "later"),
    [
        ({}, "in_sync", "in_sync"),
        ({"warnings": ["a"]}, "in_sync", "in_sync"),
        ({"alarms": ["a"]}, "in_sync", "in_sync"),
        ({"diff": [{"before": "a", "after": "b"}]}, "in_sync", "in_sync"),
        ({"changes": ["a"]}, "drifted", "drifted"),
        ({"restarts": ["a"]}, "drifted", "restart_pending"),
        ({"containers": ["a"]}, "drifted", "drifted"),
        ({"changes": ["a"], "restarts": ["b"]}, "drifted", "drifted"),
        ({"pending": ["a"]}, "restart_pending", "restart_pending"),
        ({"restarts": ["a"], "pending": ["b"]}, "drifted", "restart_pending"),
        ({"error": "a"}, "unknown", "unknown"),
        ({"error": "a", "changes": ["b"]}, "unknown", "unknown"),
    ],
)
def test_the_state_depends_on_findings_and_restart_mode(found: dict[str, t.Any], now: str, later: str) -> None:
    finding = Finding(**found)
    assert [finding.state(), *map(finding.state, ("now", "window", "report"))] == [now, now, later, later]
    assert finding.shown("now") == {"state": now, **found}
    assert finding.shown("report") == {"state": later, **found}
