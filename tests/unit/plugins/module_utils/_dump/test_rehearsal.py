# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dump tool without rows and for seconds: what is estimated from a sample, and tools that fail or hang."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._dump import rehearsal
from ansible_collections.waba.onprem.plugins.module_utils._dump.commands import Table
from ansible_collections.waba.onprem.plugins.module_utils._dump.rehearsal import Sample

GIB = 1 << 30
MESSAGES, OTHERS = Table("waba", "messages", 30 * GIB, 30_000_000), Table("waba", "receipts", 10 * GIB, 0)


@contextlib.contextmanager
def nothing() -> t.Iterator[tuple[list[str], dict[str, t.Any]]]:
    yield [], {}


@pytest.mark.parametrize(
    ("tables", "sample", "expected"),
    [
        # A hundredth of the rows of three quarters of the data.
        ([OTHERS, MESSAGES], Sample(300 << 20, 100 << 20, 300_000, 4.0, False), (100 << 20, 4.0, 3 / 400)),
        # Without statistics: as many bytes as the server says that the table has.
        ([MESSAGES._replace(rows=0)], Sample(3 * GIB, GIB, 300_000, 30.0, False), (GIB, 30.0, 1 / 10)),
        ([OTHERS, MESSAGES], Sample(60 * GIB, 15 * GIB, 9, 3.0, True), (15 * GIB, 3.0, 3 / 4)),
        # The statistics are behind: it is all of the table at least.
        ([MESSAGES], Sample(60 * GIB, 15 * GIB, 90_000_000, 4.0, False), (15 * GIB, 4.0, 1.0)),
    ],
)
def test_what_a_dump_takes_by_a_sample(tables: list[Table], sample: Sample, expected: tuple[int, float, float]) -> None:
    size, seconds, share = expected
    assert rehearsal.estimate(tables, sample) == {"bytes": round(size / share), "seconds": round(2 * seconds / share)}


def test_what_is_small_is_not_measured() -> None:
    tables = [Table("waba", "messages", 40 << 20, 9), Table("waba", "media", 8 << 20, 9)]
    assert rehearsal.estimate(tables, None) == {"bytes": 48 << 20, "seconds": 7}
    assert rehearsal.estimate([], None) == {"bytes": 0, "seconds": 1}


def sample(script: str, seconds: float = 30.0) -> Sample:
    with tempfile.TemporaryFile(buffering=0) as file:
        return rehearsal.take_sample(
            "dump of waba", ["sh", "-c", script], "gz", file, nothing, (b"),(", b"),\n("), seconds
        )


def test_a_sample_that_is_all_of_a_table() -> None:
    found = sample("printf '%s' \"INSERT INTO m VALUES (1,'a'),(2,'b'),\n(3,'c');\"; head -c 900000 /dev/zero")
    assert (found.raw, found.rows, found.complete) == (900046, 2, True)
    assert 0 < found.packed < 10000


def test_a_sample_ends_after_some_seconds() -> None:
    begin = time.monotonic()
    found = sample("while :; do echo '(1),(2),(3)'; done", seconds=0.5)
    assert time.monotonic() - begin < 20
    assert (found.complete, found.rows * 12 >= found.raw * 2 - 24) == (False, True)
    assert found.seconds >= 0.5
    assert found.packed > 0


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("sleep 600", "sh gave no row within 0s; expected rows. See what keeps the database server busy"),
        ("echo '(1),(2)'; echo no right >&2; exit 3", "sh ended with 3: no right; expected exit code 0"),
    ],
)
def test_a_sample_that_gives_nothing(script: str, message: str) -> None:
    with pytest.raises(WaError, match=message):
        sample(script, 0.3)


def test_a_sample_for_which_there_is_no_room() -> None:
    call = ["sh", "-c", "while :; do echo '(1),(2)'; done"]
    with open("/dev/full", "wb", buffering=0) as file, pytest.raises(WaError, match="No space left on device"):
        rehearsal.take_sample("dump of waba", call, "gz", file, nothing, (b"),(",), 30.0)


def test_the_room_for_what_is_estimated(tmp_path: Path) -> None:
    status = os.statvfs(tmp_path)
    free = status.f_bavail * status.f_frsize
    rehearsal.check_room(str(tmp_path), {"bytes": free // 2})
    with pytest.raises(WaError, match=r"expected .* \(1\.5 times what the dump is estimated to have\)"):
        rehearsal.check_room(str(tmp_path), {"bytes": free})


def test_a_tool_that_would_fail_in_the_outage_fails_before_it() -> None:
    def run(script: str) -> None:
        rehearsal.run_without_rows(
            "dump of waba", [["sh", "-c", "echo the end"], ["sh", "-c", script]], b"end", nothing
        )

    run("head -c 3000000 /dev/zero; echo end")
    for script, message in (
        ("echo no right >&2; exit 2", "dump of waba: sh ended with 2: no right; expected exit code 0"),
        ("echo half", "dump of waba: the output of sh ends early; expected end"),
    ):
        with pytest.raises(WaError, match=message):
            run(script)


def test_a_tool_that_waits_for_a_lock_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "_SCHEMA_TIMEOUT", 0.2)
    with pytest.raises(
        WaError, match=r"not done after 0s; expected the end\. See what locks its tables, then run again"
    ):
        rehearsal.run_without_rows("dump of waba", [["sleep", "600"]], b"", nothing)


@pytest.mark.parametrize("separators", [(b"\n",), (b"),(", b"),\n(")])
def test_a_row_whose_separator_stands_across_two_pieces_counts_once(
    separators: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b"(1),(2),\n(3)\n(4)\n"
    monkeypatch.setattr(rehearsal, "CHUNK", 1)
    with tempfile.TemporaryFile(buffering=0) as file:
        call = ["printf", text.decode()]
        found = rehearsal.take_sample("dump of waba", call, "gz", file, nothing, separators)
    assert found.rows == sum(map(text.count, separators))
