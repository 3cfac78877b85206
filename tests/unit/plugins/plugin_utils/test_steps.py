# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A long wait is made in steps of half a minute, and what is seen goes to standard error."""

from __future__ import annotations

import time
import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.plugin_utils import _steps as steps


@pytest.mark.parametrize(
    ("total", "taken", "asked", "lines"),
    [
        (900.0, ["a", "b", ""], [30.0, 30.0, 30.0], ["h1 | after 30s: a", "h1 | after 1m00s: b"]),
        (75.0, ["a", "a", "a"], [30.0, 30.0, 15.0], ["h1 | after 30s: a", "h1 | after 1m00s: a"]),
        (900.0, [""], [30.0], []),
    ],
)
def test_a_wait_in_steps(
    monkeypatch: pytest.MonkeyPatch, total: float, taken: list[str], asked: list[float], lines: list[str]
) -> None:
    now, calls, shown = [0.0], [], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(steps.display, "display", lambda text, stderr: shown.append((text, stderr)))

    def call(step: float) -> dict[str, t.Any]:
        calls.append(step)
        now[0] += step
        return {"reason": taken[len(calls) - 1]}

    found = steps.wait("h1", total, call, lambda result: str(result["reason"]))
    assert (found["reason"], calls) == (taken[-1], asked)
    assert shown == [(line, True) for line in lines]
