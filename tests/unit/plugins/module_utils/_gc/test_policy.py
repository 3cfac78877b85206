# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of message GC: due or not, what follows a look, what follows a round."""

from __future__ import annotations

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._gc.policy import Moment, after_round, check_due

DAY = 86400.0


@pytest.mark.parametrize(
    ("now", "earlier", "seconds"),
    [
        (Moment(1000, 50, "a"), Moment(900, 40, "a"), 10.0),
        # the wall clock stepped back, or forward: within one boot it does not count
        (Moment(10, 50, "a"), Moment(900, 40, "a"), 10.0),
        (Moment(9999, 50, "a"), Moment(900, 40, "a"), 10.0),
        (Moment(1000, 5, "b"), Moment(900, 40, "a"), 100.0),
        (Moment(1000, 5, "a"), Moment(900, 40, "a"), 100.0),  # no boot id tells of this one
        (Moment(800, 5, "b"), Moment(900, 40, "a"), None),
        (Moment(1000, 5, ""), Moment(900, 4, ""), 100.0),
    ],
)
def test_time_since(now: Moment, earlier: Moment, seconds: float | None) -> None:
    assert now.since(earlier) == seconds


@pytest.mark.parametrize(
    ("policy", "large", "since", "left_large", "due", "why"),
    [
        ("limit", True, None, False, True, "more rows than the limit"),
        ("limit", True, 60.0, True, True, "more rows than the limit"),
        ("limit", False, None, False, False, "not more rows"),
        ("always", False, 1.0, False, True, "always"),
        ("never", True, None, False, False, "never"),
        ("daily", False, None, False, True, "none is known"),
        ("daily", False, DAY, False, True, "24h00m ago"),
        ("daily", False, DAY - 1, False, True, "23h59m ago"),  # a scheduler is not to the second
        ("daily", False, DAY - 1801, False, False, "less than 24h00m"),
        ("daily", True, 3600.0, False, True, "more rows than the limit"),
        ("daily", True, 3600.0, True, False, "left the table above the limit"),
        ("daily", True, DAY + 1, True, True, "more rows than the limit"),
    ],
)
def test_due(policy: str, large: bool, since: float | None, left_large: bool, due: bool, why: str) -> None:
    found = check_due(policy, large, since, left_large)
    assert found.due is due
    assert why in found.because
    assert found.wait == (DAY - 1800 - (since or 0) if not due and policy == "daily" else None)


def test_an_hourly_schedule_keeps_to_its_hour() -> None:
    """A run of 50 minutes, found due a little earlier or later each night: it never moves to the next hour."""
    began = 0.0
    for night in range(1, 30):
        starts = [night * DAY + hour * 3600 + (night * 7919) % 600 - 300 for hour in range(-1, 5)]
        dues = ((at, number) for number, at in enumerate(starts) if check_due("daily", False, at - began, False).due)
        began, hour = next(dues)
        assert hour == 1


@pytest.mark.parametrize(
    ("large", "known", "went", "failed", "unanswered", "rounds", "follows"),
    [
        (False, True, False, True, 0, 1, "done"),
        (True, True, True, False, 0, 9, "again"),
        (True, True, True, False, 0, 10, "rounds"),
        (True, True, False, False, 0, 1, "nothing"),
        (True, True, False, True, 0, 1, "failed"),
        (True, True, True, True, 0, 1, "again"),  # rows went all the same
        (True, False, True, False, 0, 1, "unknown"),
        (True, False, False, True, 0, 1, "failed"),
        (True, True, False, False, 1, 1, "again"),  # nobody knows whether the call has arrived
        (True, True, False, False, 2, 2, "nothing"),
    ],
)
def test_what_follows_a_round(
    large: bool, known: bool, went: bool, failed: bool, unanswered: int, rounds: int, follows: str
) -> None:
    assert after_round(large, known, went, failed, unanswered, rounds) == follows
