# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress on screen: one line per step, with its duration."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

WIDTH = 34
# The stream of the lines: standard error for a verb whose output a program reads.
STREAMS = {"steps": sys.stdout}
_LOCK = threading.Lock()


def line(what: str, result: str, seconds: float | None = None) -> None:
    """Print one step: its name, its result and its duration in seconds."""
    took = f" ({seconds:.1f} s)" if seconds is not None else ""
    with _LOCK:
        print(f"{what} {'.' * max(3, WIDTH - len(what))} {result}{took}", file=STREAMS["steps"], flush=True)


def error(text: str) -> None:
    """Print an error to standard error."""
    with _LOCK:
        print(f"lab: {text}", file=sys.stderr, flush=True)


@contextmanager
def step(what: str, result: str = "ready") -> Iterator[list[str]]:
    """Time a block and print its line if it succeeds. A text in the yielded list replaces `result`."""
    started = time.monotonic()
    words = [result]
    yield words
    line(what, words[-1], time.monotonic() - started)


def together(jobs: list[Callable[[], Any]], workers: int = 8) -> list[Any]:
    """Run jobs in parallel and return their results in order; the first failure is raised after all have ended."""
    if not jobs:
        return []
    with ThreadPoolExecutor(max_workers=min(workers, len(jobs))) as pool:
        futures = [pool.submit(job) for job in jobs]
        # Short repeated waits: a thread join without a timeout would also delay Ctrl-C.
        pending = set(futures)
        while pending:
            done, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
            failed = [future for future in done if future.exception() is not None]
            if failed:
                for future in pending:
                    future.cancel()
                break
    return [future.result() for future in futures if not future.cancelled()]
