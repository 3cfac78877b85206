# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Durations, sizes, lists, ports and the like, as the inventory gives them."""

from __future__ import annotations

import typing as t
from datetime import datetime

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._core import units
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), (30, 30), ("30s", 30), ("10m", 600), ("24h", 86400), ("1.5h", 5400), ("7d", 604800)],
)
def test_durations_are_parsed(text: str | int, seconds: float) -> None:
    assert units.parse_duration("wait", text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("512", 512), ("20M", 20 << 20), ("5G", 5 << 30), ("1.5k", 1536), ("2GiB", 2 << 30), ("2GB", 2 << 30)],
)
def test_sizes_are_parsed(text: str, size: int) -> None:
    assert units.parse_size("min_free", text) == size


@pytest.mark.parametrize("text", ["", "abc", "-1", "10 minutes", "1h30m", "10x"])
def test_an_invalid_duration_or_size_names_the_option(text: str) -> None:
    with pytest.raises(WaError, match="option wait_timeout"):
        units.parse_duration("wait_timeout", text)
    with pytest.raises(WaError, match="option min_free"):
        units.parse_size("min_free", text)


def test_durations_and_sizes_are_formatted() -> None:
    assert [units.format_duration(value) for value in (0.4, 42, 185, 7800)] == ["0s", "42s", "3m05s", "2h10m"]
    assert [units.format_size(value) for value in (512, 20 << 20, 5 << 40)] == ["512 B", "20.0 MiB", "5.0 TiB"]


@pytest.mark.parametrize(
    ("given", "found"),
    [(None, []), ("", []), ("expired", ["expired"]), ("a, b,,", ["a", "b"]), (["a", " b "], ["a", "b"]), ([1], ["1"])],
)
def test_a_list_may_be_given_as_text_with_commas(given: t.Any, found: list[str]) -> None:
    assert units.text_list(given, "wa_upgrade_skip") == found


@pytest.mark.parametrize("given", [{"a": 1}, 5, True, [["a"]], [None]])
def test_a_value_that_is_no_list_is_refused(given: t.Any) -> None:
    with pytest.raises(WaError, match=r"wa_upgrade_skip: .* is no list"):
        units.text_list(given, "wa_upgrade_skip")


def test_a_port_may_be_given_as_text() -> None:
    assert (units.parse_port("x", "9090"), units.parse_port("x", 9090)) == (9090, 9090)
    for given in (0, 65536, -1, "9090x", "", None, True, 9090.5, "\u0669"):
        with pytest.raises(WaError, match=r"x: .* is no port"):
            units.parse_port("x", given)


@pytest.mark.parametrize("given", [0, "3", 23, "*", "*/6", "2,14", "1-5/2"])
def test_values_of_a_cron_field_are_accepted(given: t.Any) -> None:
    assert units.clock_field("hour", given, 23) == str(given)


@pytest.mark.parametrize("given", [24, "24", -1, "", "3h", "03:15", "1 2", "2,", "*/0", True, None, "3\n4", "\u0663"])
def test_invalid_values_of_a_cron_field_are_refused(given: t.Any) -> None:
    with pytest.raises(WaError, match=r"hour: .*; expected a number from 0 to 23"):
        units.clock_field("hour", given, 23)


@pytest.mark.parametrize("given", [0, "0", -1, "-1", "", "1.5", "1h", True, None, "\u0663", "1e3", 10**10])
def test_an_invalid_number_is_refused_with_its_name(given: t.Any) -> None:
    assert units.whole_number("none", 0, least=0) == 0
    with pytest.raises(WaError, match=r"timeout: .*; expected a whole number, at least 1"):
        units.whole_number("timeout", given)


@pytest.mark.parametrize("given", [0, "0s", "-1", "10 m", "500ms", "", None, "banana", "0.5"])
def test_an_invalid_duration_in_seconds_is_refused_with_its_name(given: t.Any) -> None:
    with pytest.raises(WaError, match=r"option timeout: .*; expected "):
        units.whole_seconds("timeout", given)


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
def test_the_time_until_a_window_opens(window: str, now: str, wait: int) -> None:
    moment = datetime.fromisoformat(f"2026-03-03 {now}:00")
    assert units.until_window(units.parse_window(window), moment) == wait


@pytest.mark.parametrize("text", ["", "1-5", "01:00", "25:00-26:00", "01:60-02:00", "01:00-01:00", "01:00-05:00x"])
def test_an_invalid_window_is_refused(text: str) -> None:
    with pytest.raises(WaError, match="option window"):
        units.parse_window(text)


@examples(begin=st.integers(0, 1439), length=st.integers(1, 1438), minute=st.integers(0, 1439))
def test_a_window_opens_at_its_begin(begin: int, length: int, minute: int) -> None:
    end = (begin + length) % 1440
    window = units.parse_window(f"{begin // 60:02d}:{begin % 60:02d}-{end // 60:02d}:{end % 60:02d}")
    wait = units.until_window(window, datetime(2026, 3, 3, minute // 60, minute % 60))
    assert (minute + wait / 60) % 1440 == (begin if wait else minute)
    assert (wait == 0) == ((minute - begin) % 1440 < length)
