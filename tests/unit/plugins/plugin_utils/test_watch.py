# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A time that several workers share: who looks, how often, and what the others get."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest
from ansible import constants

from ansible_collections.waba.onprem.plugins.plugin_utils import _watch as watch


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.looked: list[float] = []
        self.left: list[float] = []
        self.problem: str = ""
        self.fails_at = float("inf")

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def look(self, left: float) -> str:
        self.looked.append(self.now - 1000.0)
        self.left.append(left)
        return "h1: ill" if self.now >= self.fails_at else ""

    def shared(self, number: int, until: float, name: str = "1") -> str:
        return watch.shared(name, number, until, self.look, lambda: self.now, self.sleep)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    return Clock()


def test_it_looks_until_the_time_is_over(clock: Clock) -> None:
    assert clock.shared(1, 135) == ""
    assert clock.looked == [0, 60, 120, 135]
    assert clock.left == [135, 75, 15, 0]


def test_times_count_from_the_first_look(clock: Clock) -> None:
    clock.shared(1, 20)
    clock.now += 5
    clock.shared(2, 40)
    assert clock.looked == [0, 20, 25, 40]


def test_what_was_seen_is_not_looked_at_again(clock: Clock) -> None:
    assert [clock.shared(number, 10 * number) for number in (1, 2, 1, 2)] == [""] * 4
    assert clock.looked == [0, 10, 10, 20]
    clock.shared(1, 10, "another wave")
    assert clock.looked[4:] == [0 + 20, 30]


def test_who_comes_late_looks_once_at_what_nobody_has_seen(clock: Clock) -> None:
    clock.shared(1, 10)
    clock.now += 3600
    clock.shared(2, 20)
    assert clock.looked == [0, 10, 3610]


def test_a_problem_ends_it_and_stays(clock: Clock) -> None:
    clock.fails_at = 1060.0
    assert clock.shared(1, 3600) == "h1: ill"
    assert clock.shared(2, 7200) == "h1: ill"
    assert clock.looked == [0, 60]


def _worker(results: multiprocessing.Queue[tuple[str, int]]) -> None:
    looked: list[float] = []

    def look(_left: float) -> str:
        looked.append(time.monotonic())
        return "" if len(looked) < 2 else "h1: ill"

    results.put((watch.shared("1", 1, 0.2, look), len(looked)))


def test_of_several_workers_one_looks(clock: Clock) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[tuple[str, int]] = context.Queue()
    workers = [context.Process(target=_worker, args=(results,)) for _number in range(4)]
    for one in workers:
        one.start()
    found = sorted((results.get(timeout=30) for _one in workers), key=lambda one: one[1])
    for one in workers:
        one.join()
    assert found == [("h1: ill", 0)] * 3 + [("h1: ill", 2)]
