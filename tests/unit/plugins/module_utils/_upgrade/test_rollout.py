# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the turn of a deployment has come: windows by tables of clocks, waves that have failed, and what is watched meanwhile."""

from __future__ import annotations

import typing as t
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import rollout

ALL = ["h1", "h2", "h3", "h4"]
OUTAGE = {"seconds": 240, "unknown": []}
FACTS: dict[str, t.Any] = {
    "host": "h2",
    "all": ALL,
    "hosts": ALL,
    "batch": ["h2", "h3"],
    "window": "",
    "zone": "",
    "soak": "0s",
    "outage": OUTAGE,
}


def at(clock: str, zone: str = "+0000") -> float:
    """A time on the first of December 2026 in a time zone."""
    return datetime.strptime(f"2026-12-01 {clock} {zone}", "%Y-%m-%d %H:%M:%S %z").timestamp()


def outside(clock: str, window: str = "01:00-05:00", zone: str = "+0000", **changes: t.Any) -> str:
    return rollout.outside({**FACTS, "window": window, "zone": zone, **changes}, at(clock, zone))


@pytest.mark.parametrize(
    ("clock", "window"),
    [
        ("01:00:00", "01:00-05:00"),
        ("04:56:00", "01:00-05:00"),  # it ends with the window
        ("23:59:30", "22:00-02:00"),
        ("01:56:00", "22:00-02:00"),
        ("23:56:00", "22:00-24:00"),
        ("12:00:00", ""),
    ],
)
def test_an_outage_that_fits(clock: str, window: str) -> None:
    assert outside(clock, window) == ""


NEXT = "It opens next on 2026-12"


@pytest.mark.parametrize(
    ("clock", "window", "changes", "words"),
    [
        ("00:59:59", "01:00-05:00", {}, f"it is 00:59 (+0000), and wa_upgrade_window is 01:00-05:00. {NEXT}-01 at 01:00 (+0000)."),
        ("05:00:00", "01:00-05:00", {}, f"it is 05:00 (+0000), and wa_upgrade_window is 01:00-05:00. {NEXT}-02 at 01:00 (+0000)."),
        ("04:56:01", "01:00-05:00", {}, "at 04:56 (+0000) its outage of about 4m00s does not fit into wa_upgrade_window 01:00-05:00 any more. "
         f"{NEXT}-02 at 01:00 (+0000)."),
        ("01:58:00", "22:00-02:00", {"outage": {"seconds": 240, "unknown": ["copy", "migration"]}}, "at 01:58 (+0000) its outage of about 4m00s "
         f"without copy and migration does not fit into wa_upgrade_window 22:00-02:00 any more. {NEXT}-01 at 22:00 (+0000)."),
        ("01:00:00", "01:00-01:03", {}, f"its outage of about 4m00s is longer than wa_upgrade_window 01:00-01:03. {NEXT}-02 at 01:00 (+0000)."),
    ],
)  # fmt: skip
def test_an_outage_that_does_not_fit(clock: str, window: str, changes: dict[str, t.Any], words: str) -> None:
    assert outside(clock, window, **changes) == words


@pytest.mark.parametrize(("zone", "fits"), [("+0000", False), ("-0900", True), ("+0530", False), ("+1400", True)])
def test_the_window_is_in_the_time_of_the_host(zone: str, fits: bool) -> None:
    """At 12:00 UTC it is 03:00 nine hours to the west, and 02:00 of the next day fourteen hours to the east."""
    facts = {**FACTS, "window": "01:00-05:00", "zone": zone}
    assert (rollout.outside(facts, at("12:00:00")) == "") == fits


@given(st.integers(0, 86399), st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 90000))
def test_an_outage_fits_where_each_of_its_minutes_is_in_the_window(
    now: int, begin: int, end: int, seconds: int
) -> None:
    if begin == end:
        return
    window = f"{begin // 60:02d}:{begin % 60:02d}-{end // 60:02d}:{end % 60:02d}"
    facts = {**FACTS, "window": window, "zone": "+0000", "outage": {"seconds": seconds}}
    left = (end * 60 - now) % 86400 or 86400  # until it ends next
    opened = (now - begin * 60) % 86400 + left == (end - begin) % 1440 * 60
    assert (rollout.outside(facts, at("00:00:00") + now) == "") == (opened and seconds <= left)


def turn(now: str = "12:00:00", **changes: t.Any) -> dict[str, t.Any]:
    facts = {**FACTS, **changes}
    upgraded, kept_back, due = facts.pop("upgraded", ["h1"]), facts.pop("kept_back", []), facts.pop("due", ALL)
    return rollout.turn(facts, upgraded, kept_back, due, at(now))


def test_a_turn_that_has_come() -> None:
    assert turn() == {"refusal": "", "outside": "", "looks": []}


CLOSED = {"window": "01:00-05:00", "zone": "+0000"}
REASON = f"it is 12:00 (+0000), and wa_upgrade_window is 01:00-05:00. {NEXT}-02 at 01:00 (+0000)."


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"hosts": ["h2", "h3", "h4"]}, "h2 was not started on: h1 failed."),
        ({"hosts": ["h2", "h3", "h4"], **CLOSED}, "h2 was not started on: h1 failed."),
        # One of the same wave, which needs not be the first.
        ({"hosts": ["h1", "h2", "h4"], "batch": ["h2"]}, "h2 was not started on: h3 failed."),
        ({"hosts": ["h3", "h4"], "batch": ["h3"], "host": "h3", "kept_back": ["h1"]}, "h3 was not started on: h2 failed."),
        ({"hosts": ["h2", "h3", "h4"], "kept_back": ["h1"]}, "h2 is not begun, since h1 was not, see above."),
        (CLOSED, f"h2 is not begun: {REASON} Not begun either, since they are of later waves: h4."),
        ({**CLOSED, "batch": ["h2", "h3", "h4"]}, f"h2 is not begun: {REASON}"),
        # Where no outage begins, or one that is unfinished goes on.
        ({**CLOSED, "due": ["h4"]}, ""),
    ],
)  # fmt: skip
def test_a_turn_that_has_not_come(changes: dict[str, t.Any], refusal: str) -> None:
    assert turn(**changes)["refusal"] == refusal


def test_before_the_outage_only_its_own_window_counts() -> None:
    found = turn(**CLOSED, hosts=["h2", "h3", "h4"])
    assert found["outside"] == f"h2 is not begun: {REASON} Not begun either, since they are of later waves: h4."


@pytest.mark.parametrize(
    ("changes", "watched"),
    [
        ({}, ["h1"]),
        ({"upgraded": ["h1", "h2"]}, ["h2", "h1", "h2", "h1", "h2", "h1"]),
        ({"upgraded": ["h1", "h3"], "host": "h3"}, ["h3"]),  # the other one of the wave has the share with h1
        ({"batch": ["h1"], "host": "h1"}, ["h1"]),  # the first wave
        ({"batch": ["h3"], "host": "h3", "upgraded": ["h1", "h2", "h3"]}, ["h3", "h1", "h2"] * 3),
        ({"upgraded": ["h1", "h2"], "soak": "0s"}, []),
        ({"upgraded": []}, []),  # nothing was to be upgraded
        ({"upgraded": ["h2"], "due": ["h1", "h2", "h3"]}, []),  # nor is anything later
        ({"upgraded": ["h2"], "batch": ["h2", "h3", "h4"]}, []),  # the last wave
        ({"upgraded": ["h2"], "batch": ["h2"], "hosts": ["h1", "h2", "h4"]}, []),  # the wave has failed
    ],
)
def test_what_is_watched_before_the_next_wave(changes: dict[str, t.Any], watched: list[str]) -> None:
    found = turn(**{"soak": "30m", **changes})
    assert [one["leader"] for one in found["looks"]] == watched
    assert sum(one["seconds"] for one in found["looks"]) == (1800.0 if watched else 0)


def test_those_of_a_wave_share_those_of_earlier_ones() -> None:
    waves: dict[str, t.Any] = {
        "all": ["a", "b", "c", "d", "e", "f"],
        "hosts": [*"abcdef"],
        "batch": ["d", "e"],
        "upgraded": [*"abcde"],
        "due": ["f"],
    }
    found = [turn(**waves, host=one, soak="1m")["looks"] for one in ("d", "e")]
    assert [{each["leader"] for each in one} for one in found] == [{"d", "a", "c"}, {"e", "b"}]


def test_turns_of_looks_share_the_time() -> None:
    assert rollout.looks(["a", "b"], 60) == [{"leader": "a", "seconds": 10.0}, {"leader": "b", "seconds": 10.0}] * 3
    assert rollout.looks(["a"], 60) == [{"leader": "a", "seconds": 60.0}]


def test_a_wait_that_is_no_duration() -> None:
    with pytest.raises(WaError, match="wa_upgrade_soak"):
        turn(soak="long")


@pytest.mark.parametrize(
    ("last", "failed", "left"),
    [("b", [], ["c", "d"]), ("b", ["a", "c"], ["d"]), ("d", [], []), ("another", [], [])],
)
def test_who_is_left_alone_since_a_wave_has_failed(last: str, failed: list[str], left: list[str]) -> None:
    assert rollout.left_alone(["a", "b", "c", "d"], last, failed) == left
