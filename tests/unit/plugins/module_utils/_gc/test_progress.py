# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a message GC stands, for people."""

from __future__ import annotations

from ansible_collections.waba.onprem.plugins.module_utils._gc.progress import measure, progress_line


def test_a_progress_line_is_whole_and_plain() -> None:
    line = progress_line("h1", measure("deleting", 2, 2_200_000, 100_000.2, 10_000.0, 2_000_000))
    assert line == (
        "h1 | message GC round 2 | [##########..........] ~2,100,000 rows, ~100,000 deleted, ~10,000/s,"
        " ~10s to the limit, deleting"
    )
    assert line.isascii()
    assert progress_line("h1", measure("called", 1, 5, 0, 0.0, 10)) == (
        "h1 | message GC round 1 | ~5 rows, ~0 deleted, ~0/s, called"
    )
    assert progress_line("h1", {"phase": "another run is at work"}) == "h1 | message GC | another run is at work"


def test_below_the_limit_nothing_is_left() -> None:
    found = measure("deleting", 1, 3_000, 2_500, 10, 2_000)
    assert (found["rows"], found["left"], found["fraction"]) == (500, None, 1.0)
