# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sections of a dump reach their calls whole; nothing of a dump that cannot be unpacked is committed."""

from __future__ import annotations

import contextlib
import gzip
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._dump import load

MARK = "0123456789abcdef"
# A row that looks like a line of another dump's, one that is as long as a chunk, and one that ends like a line of ours begins.
SECTIONS = [b"one\n-- waba.onprem 0123 1\n", b"x" * (1 << 20), b"", b"\n-- waba.onprem " + MARK.encode(), b"last"]


@contextlib.contextmanager
def nothing() -> t.Iterator[tuple[list[str], dict[str, t.Any]]]:
    yield [], {}


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "d.sql.gz"
    path.write_bytes(gzip.compress(b"".join(load.line(MARK, number) + one for number, one in enumerate(SECTIONS))))
    return path


def run(
    path: Path, calls: t.Mapping[int, load.Call], timeout: float = 60, keep: t.Collection[int] = ()
) -> dict[int, bytes]:
    return load.Load(str(path), MARK, timeout, lambda: None).read(calls, nothing, keep)


def writes(path: Path, before: bytes = b"", after: bytes = b"") -> load.Call:
    return load.Call(["sh", "-c", f"cat >{path}"], before, after)


def test_each_section_reaches_its_call(dump: Path, tmp_path: Path) -> None:
    calls = {number: writes(tmp_path / str(number), before=b"<", after=b">") for number in range(len(SECTIONS))}
    run(dump, calls)
    assert [(tmp_path / str(number)).read_bytes() for number in calls] == [b"<" + one + b">" for one in SECTIONS]


def test_sections_without_a_call_are_passed_over(dump: Path, tmp_path: Path) -> None:
    run(dump, {4: writes(tmp_path / "4")})
    assert (tmp_path / "4").read_bytes() == b"last"


def test_sections_that_are_kept_reach_their_calls_later(dump: Path, tmp_path: Path) -> None:
    kept = run(dump, {0: writes(tmp_path / "0")}, keep=(1, 2, 3))
    assert kept == {number: SECTIONS[number] for number in (1, 2, 3)}
    later = load.Load(str(dump), MARK, 60, lambda: None)
    later.give({3: writes(tmp_path / "3", after=b">")}, kept, nothing)
    assert [(tmp_path / name).read_bytes() for name in ("0", "3")] == [SECTIONS[0], SECTIONS[3] + b">"]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo broke >&2; exit 3", "sh ended with 3: broke; expected exit code 0"),
        ("cat >/dev/null; exit 1", "sh ended with 1: no message"),
        ("kill -9 $$", "sh ended with -9"),
        # As MariaDB's client says it, with the rows.
        (
            "{ echo ---; echo row; head -c 99999 /dev/zero; echo; echo --------------; echo; echo ERROR 1062; } >&2; exit 1",
            "sh ended with 1: ERROR 1062; expected exit code 0",
        ),
    ],
)
def test_a_call_that_fails_ends_the_load(dump: Path, tmp_path: Path, script: str, message: str) -> None:
    with pytest.raises(WaError, match=message):
        run(dump, {1: load.Call(["sh", "-c", script]), 4: writes(tmp_path / "4")})
    assert not (tmp_path / "4").exists()


def test_a_dump_that_was_cut_off_is_not_ended(dump: Path, tmp_path: Path) -> None:
    """What is written after a section, such as the end of a transaction, is not written after a part of it."""
    whole = gzip.compress(load.line(MARK, 0) + b"one" + load.line(MARK, 1) + os.urandom(3 << 20))
    dump.write_bytes(whole[:-20])
    with pytest.raises(
        WaError, match="its end is missing, or something stands behind it; expected a dump that can be unpacked"
    ):
        run(dump, {number: writes(tmp_path / str(number), after=b"COMMIT") for number in (0, 1)})
    assert (tmp_path / "0").read_bytes() == b"oneCOMMIT"
    assert not (tmp_path / "1").read_bytes().endswith(b"COMMIT")


def test_a_section_that_is_missing_is_an_error(dump: Path, tmp_path: Path) -> None:
    for calls, keep in (({9: writes(tmp_path / "9")}, ()), ({}, (9,))):
        with pytest.raises(WaError, match="1 sections are missing"):
            run(dump, calls, keep=keep)


def test_a_dump_that_ends_within_the_line_before_a_section(dump: Path) -> None:
    dump.write_bytes(gzip.compress(load.line(MARK, 0) + b"one" + load.line(MARK, 1)[:-1]))
    with pytest.raises(WaError, match="it ends before a section; expected all sections of its manifest"):
        run(dump, {}, keep=(0,))


def test_a_call_that_does_not_read_its_section_to_the_end(dump: Path) -> None:
    with pytest.raises(WaError, match="true ended with 0: no message; expected exit code 0"):
        run(dump, {1: load.Call(["true"], before=b"x" * (4 << 20))})  # more than a pipe holds


def test_a_call_that_hangs_is_ended(dump: Path) -> None:
    with pytest.raises(WaError, match="not done after 1s"):
        run(dump, {0: load.Call(["sleep", "600"])}, timeout=1)


def test_a_program_that_is_not_there(dump: Path) -> None:
    with pytest.raises(WaError, match="/no/such does not run: No such file or directory"):
        run(dump, {0: load.Call(["/no/such"])})
