# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at something repeatedly for a time that all workers of this run share: one of them looks, the others get what it has found."""

from __future__ import annotations

import fcntl
import json
import os
import time
import typing as t

from ansible import constants

_PAUSE = 60.0  # seconds between two looks
Look = t.Callable[[float], str]  # gets the seconds that are left, and returns what is wrong, empty for nothing


def shared(
    name: str,
    number: int,
    until: float,
    look: Look,
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], None] = time.sleep,
) -> str:
    """Looks until `until` seconds after the first call with this `name`, and at least once; returns what was wrong, empty for nothing.

    Of all calls with one `name` the first to come with a `number` looks. The others, also in other workers, wait for it and return the same.
    What was wrong once stays the answer to the higher numbers.
    """
    path = os.path.join(constants.DEFAULT_LOCAL_TMP, f"wa-watch-{name}.json")  # Ansible removes the folder at its end
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        state: dict[str, t.Any] = json.loads(file.read() or "null") or {"begun": clock(), "number": 0, "problem": ""}
        if number > state["number"] and not state["problem"]:
            state.update(number=number, problem=_watch(state["begun"] + until, look, clock, sleep))
        file.seek(0)
        file.truncate()
        json.dump(state, file)
    return str(state["problem"])


def _watch(end: float, look: Look, clock: t.Callable[[], float], sleep: t.Callable[[float], None]) -> str:
    while True:
        problem, now = look(max(0.0, end - clock())), clock()
        if problem or now >= end:
            return problem
        sleep(min(_PAUSE, end - now))
