# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a condition."""

from __future__ import annotations

import time
import typing as t

Value = t.TypeVar("Value")


def until(condition: t.Callable[[], Value], seconds: float = 20.0) -> Value:
    """Wait until a condition holds; returns its value. Raises AssertionError if it does not hold within `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"the condition did not hold within {seconds:g} s: it is {value!r}")
        time.sleep(0.02)
    return value
