# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Token buckets: 20 requests a second with a burst of 60, messages 50 a second with a burst of 150 (domain.md 4)."""

from __future__ import annotations

import threading
import time
from typing import Callable


class Bucket:
    """Allows `rate` a second on average and `burst` at once."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._level = burst
        self._seen = clock()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Take one. Returns False when there is none left."""
        with self._lock:
            now = self._clock()
            self._level = min(self._burst, self._level + (now - self._seen) * self._rate)
            self._seen = now
            if self._level < 1:
                return False
            self._level -= 1
            return True
