# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a long wait in steps of half a minute, and displays what is seen after each."""

from __future__ import annotations

import time
import typing as t

from ansible.utils.display import Display

from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_duration

display = Display()

STEP = 30.0  # seconds
Result = dict[str, t.Any]


def wait(host: str, total: float, call: t.Callable[[float], Result], seen: t.Callable[[Result], str]) -> Result:
    """Calls `call` with the seconds of a step until it has `seen` nothing to wait for, or `total` seconds are over.

    Returns the last result. The lines go to standard error, as those of `wa_message_gc`.
    """
    begin = time.monotonic()
    while True:
        result = call(min(max(total - (time.monotonic() - begin), 1.0), STEP))
        waited = time.monotonic() - begin
        reason = seen(result)
        if not reason or waited >= total:
            return result
        display.display(f"{host} | after {format_duration(waited)}: {reason}", stderr=True)
