# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a message GC stands, for people."""

from __future__ import annotations

from ansible_collections.waba.onprem.plugins.module_utils._gc.progress import measure, pause, progress_line


def test_a_progress_line_is_whole_and_plain() -> None:
    progress = measure("deleting", 2, 2_100_000, 2_200_000, 2_000_000, 100_000, 10_000.0)
    line = progress_line("h1", vars(progress))
    assert (
        line
        == "h1 | message GC round 2 | [##########..........] ~2,100,000 rows, 100,000 deleted, 10,000/s, 10s to the limit, deleting"
    )
    assert (
        progress_line("h1", vars(measure("started", 1, None, 5, 10, 0, 0.0)))
        == "h1 | message GC round 1 | 0 deleted, 0/s, started"
    )
    assert line.isascii()


def test_the_end_is_looked_for_when_it_is_due() -> None:
    assert pause(10, None) == pause(10, {"again": None}) == 10
    assert pause(10, {"again": 42}) == 10
    assert pause(10, {"again": 5}, takes=2) == 3
    assert pause(10, {"again": 11}, takes=2) == 9
    assert pause(10, {"again": -1}) == pause(10, {"again": 1}, takes=3) == 0.1
