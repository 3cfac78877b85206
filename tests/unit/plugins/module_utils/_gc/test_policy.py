# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of message GC: due or not, windows, what follows a round."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._gc.policy import (
    Moment,
    check_due,
    next_step,
    parse_window,
    until_window,
)

DAY = 86400.0


# Time


@pytest.mark.parametrize(
    ("window", "now", "wait"),
    [
        ("01:00-05:00", "00:59", 60),
        ("01:00-05:00", "01:00", 0),
        ("01:00-05:00", "04:59", 0),
        ("01:00-05:00", "05:00", 20 * 3600),
        ("22:00-04:00", "23:00", 0),
        ("22:00-04:00", "00:00", 0),
        ("22:00-04:00", "03:59", 0),
        ("22:00-04:00", "04:00", 18 * 3600),
        ("22:00-24:00", "23:59", 0),
        ("22:00-24:00", "00:00", 22 * 3600),
    ],
)
def test_the_window(window: str, now: str, wait: int) -> None:
    moment = datetime.fromisoformat(f"2026-03-03 {now}:00")
    assert until_window(parse_window(window), moment) == wait


@pytest.mark.parametrize("text", ["", "1-5", "01:00", "25:00-26:00", "01:60-02:00", "01:00-01:00", "01:00-05:00x"])
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(WaError, match="option window"):
        parse_window(text)


@given(begin=st.integers(0, 1439), length=st.integers(1, 1438), minute=st.integers(0, 1439))
def test_a_window_opens_when_it_says(begin: int, length: int, minute: int) -> None:
    end = (begin + length) % 1440
    window = parse_window(f"{begin // 60:02d}:{begin % 60:02d}-{end // 60:02d}:{end % 60:02d}")
    wait = until_window(window, datetime(2026, 3, 3, minute // 60, minute % 60))
    assert (minute + wait / 60) % 1440 == (begin if wait else minute)
    assert (wait == 0) == ((minute - begin) % 1440 < length)


@pytest.mark.parametrize(
    ("now", "earlier", "seconds"),
    [
        (Moment(1000, 50, "a"), Moment(900, 40, "a"), 10.0),
        # the wall clock stepped back, or forward: within one boot it does not count
        (Moment(10, 50, "a"), Moment(900, 40, "a"), 10.0),
        (Moment(9999, 50, "a"), Moment(900, 40, "a"), 10.0),
        (Moment(1000, 5, "b"), Moment(900, 40, "a"), 100.0),
        (Moment(800, 5, "b"), Moment(900, 40, "a"), None),
        (Moment(1000, 5, ""), Moment(900, 4, ""), 100.0),
    ],
)
def test_time_since(now: Moment, earlier: Moment, seconds: float | None) -> None:
    assert now.since(earlier) == seconds


# Due or not


@pytest.mark.parametrize(
    ("policy", "large", "since", "left_large", "ran", "due", "why"),
    [
        ("limit", True, None, False, False, True, "more rows than the limit"),
        ("limit", True, 60.0, True, True, True, "more rows than the limit"),
        ("limit", False, None, False, False, False, "not more rows"),
        ("always", False, 1.0, False, True, True, "always"),
        ("never", True, None, False, False, False, "never"),
        ("daily", False, None, False, False, True, "none is known"),
        ("daily", False, DAY, False, True, True, "24h00m ago"),
        ("daily", False, DAY - 1, False, True, True, "23h59m ago"),  # a scheduler is not to the second
        ("daily", False, DAY - 1801, False, True, False, "less than 24h00m"),
        ("daily", True, 3600.0, False, True, True, "more rows than the limit"),
        ("daily", True, 3600.0, True, True, False, "left the table above the limit"),
        ("daily", True, DAY + 1, True, True, True, "more rows than the limit"),
        ("daily", False, None, False, True, True, "an unknown time"),
    ],
)
def test_due(policy: str, large: bool, since: float | None, left_large: bool, ran: bool, due: bool, why: str) -> None:
    found = check_due(policy, large, since, left_large, DAY, ran)
    assert found.due is due
    assert why in found.because
    if not due and policy == "daily":
        assert found.wait == DAY - 1800 - (since or 0)


# After a round


@pytest.mark.parametrize(
    ("large", "went", "rounds", "step"),
    [(False, False, 1, "done"), (True, False, 1, "nothing"), (True, True, 3, "rounds"), (True, True, 1, "again")],
)
def test_what_follows(large: bool, went: bool, rounds: int, step: str) -> None:
    assert next_step(large, went, rounds, 3) == step


def test_an_hourly_schedule_keeps_to_its_hour() -> None:
    """A run of 50 minutes, found due a little earlier or later each night: it never moves to the next hour."""
    began = 0.0
    for night in range(1, 30):
        starts = [night * DAY + hour * 3600 + (night * 7919) % 600 - 300 for hour in range(-1, 5)]
        began, hour = next(
            (at, number)
            for number, at in enumerate(starts)
            if check_due("daily", False, at - began, False, DAY, True).due
        )
        assert hour == 1
