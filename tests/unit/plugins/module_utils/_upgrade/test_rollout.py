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
    "due": True,
    "window": "",
    "zone": "",
    "soak": "0s",
    "outage": OUTAGE,
}


def at(clock: str, zone: str = "+0000") -> float:
    """A time on the first of December 2026 in a time zone."""
    return datetime.strptime(f"2026-12-01 {clock} {zone}", "%Y-%m-%d %H:%M:%S %z").timestamp()


def outside(clock: str, window: str = "01:00-05:00", wait: float = 0.0, zone: str = "+0000", **changes: t.Any) -> str:
    return rollout.outside({**FACTS, "window": window, "zone": zone, **changes}, at(clock, zone), wait)


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
    ("clock", "window", "wait", "changes", "words"),
    [
        ("00:59:59", "01:00-05:00", 0, {}, f"it is 00:59 (+0000), and wa_upgrade_window is 01:00-05:00. {NEXT}-01 at 01:00 (+0000)."),
        ("05:00:00", "01:00-05:00", 0, {}, f"it is 05:00 (+0000), and wa_upgrade_window is 01:00-05:00. {NEXT}-02 at 01:00 (+0000)."),
        ("04:56:01", "01:00-05:00", 0, {}, "at 04:56 (+0000) its outage of about 4m00s does not fit into wa_upgrade_window 01:00-05:00 any more. "
         f"{NEXT}-02 at 01:00 (+0000)."),
        ("04:00:00", "01:00-05:00", 3600, {}, "at 04:00 (+0000) its outage of about 4m00s, after 1h00m of wa_upgrade_soak, does not fit into "
         f"wa_upgrade_window 01:00-05:00 any more. {NEXT}-02 at 01:00 (+0000)."),
        ("01:58:00", "22:00-02:00", 0, {"outage": {"seconds": 240, "unknown": ["copy", "migration"]}}, "at 01:58 (+0000) its outage of about 4m00s "
         f"without copy and migration does not fit into wa_upgrade_window 22:00-02:00 any more. {NEXT}-01 at 22:00 (+0000)."),
        ("01:00:00", "01:00-01:03", 0, {}, f"its outage of about 4m00s is longer than wa_upgrade_window 01:00-01:03. {NEXT}-02 at 01:00 (+0000)."),
    ],
)  # fmt: skip
def test_an_outage_that_does_not_fit(
    clock: str, window: str, wait: float, changes: dict[str, t.Any], words: str
) -> None:
    facts = {**FACTS, "window": window, "zone": "+0000", **changes}
    assert rollout.outside(facts, at(clock), wait) == words


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
    upgraded, kept_back = facts.pop("upgraded", ["h1"]), facts.pop("kept_back", [])
    return rollout.turn(facts, upgraded, kept_back, facts.pop("waited", False), at(now))


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
        ({**CLOSED, "due": False}, ""),
    ],
)  # fmt: skip
def test_a_turn_that_has_not_come(changes: dict[str, t.Any], refusal: str) -> None:
    assert turn(**changes)["refusal"] == refusal


def test_before_the_outage_only_its_own_window_counts() -> None:
    found = turn(**CLOSED, hosts=["h2", "h3", "h4"])
    assert found["outside"] == f"h2 is not begun: {REASON}"


@pytest.mark.parametrize(
    ("changes", "watched"),
    [
        ({}, ["h1"]),
        ({"soak": "0s"}, []),
        ({"batch": ["h1"], "host": "h1"}, []),  # the first wave
        ({"upgraded": []}, []),  # nothing was to be upgraded there
        ({"due": False}, []),
        ({"waited": True}, []),
        ({"batch": ["h4"], "host": "h4", "upgraded": ["h1", "h3"]}, ["h1", "h3", "h1", "h3", "h1", "h3"]),
    ],
)
def test_what_is_watched_between_two_waves(changes: dict[str, t.Any], watched: list[str]) -> None:
    found = turn(**{"soak": "30m", **changes})
    assert [one["leader"] for one in found["looks"]] == watched
    assert [one["number"] for one in found["looks"]] == [*range(1, len(watched) + 1)]
    assert [one["until"] for one in found["looks"]][-1:] == [1800.0][: len(watched)]


def test_a_wait_after_which_the_outage_does_not_fit_is_not_begun() -> None:
    facts = {**CLOSED, "soak": "30m"}
    assert turn("04:40:00", **facts)["refusal"].startswith(
        "h2 is not begun: at 04:40 (+0000) its outage of about 4m00s, after 30m00s of "
    )
    assert turn("04:40:00", **facts, waited=True)["refusal"] == ""
    assert turn("04:40:00", **facts)["outside"] == ""


def test_turns_of_looks_share_the_time() -> None:
    assert rollout.looks(["a", "b"], 60)[:3] == [
        {"leader": "a", "until": 10.0, "number": 1},
        {"leader": "b", "until": 20.0, "number": 2},
        {"leader": "a", "until": 30.0, "number": 3},
    ]
    assert rollout.looks(["a"], 60) == [{"leader": "a", "until": 60.0, "number": 1}]


def test_a_wait_that_is_no_duration() -> None:
    with pytest.raises(WaError, match="wa_upgrade_soak"):
        turn(soak="long")


@pytest.mark.parametrize(
    ("last", "failed", "left"),
    [("b", [], ["c", "d"]), ("b", ["a", "c"], ["d"]), ("d", [], []), ("another", [], [])],
)
def test_who_is_left_alone_since_a_wave_has_failed(last: str, failed: list[str], left: list[str]) -> None:
    assert rollout.left_alone(["a", "b", "c", "d"], last, failed) == left
