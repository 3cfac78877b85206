# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the file of notifications while its consumer writes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._gc.notification_file import lines, mark
from ansible_collections.waba.onprem.plugins.module_utils._gc.notifications import parse_notifications

GOOD = json.dumps({"services": [{"message": {"gc": {"messages_deleted": 5, "node": "a:1", "status": "complete"}}}]})


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "webhook.jsonl"


def test_a_last_line_without_its_end_is_read_once_it_is_whole(path: Path) -> None:
    since = mark(str(path))
    for size in (1, 20, len(GOOD) - 1):
        path.write_text(GOOD[:size])
        assert lines(str(path), since)[0] == []
    path.write_text(GOOD)
    assert lines(str(path), since)[0] == [GOOD]
    append(path, "\n" + GOOD[:9])
    assert lines(str(path), since)[0] == [GOOD]


def test_a_last_line_that_was_torn_is_not_lost(path: Path) -> None:
    append(path, "{}\n")
    since = mark(str(path))
    append(path, GOOD[:30])
    assert lines(str(path), since)[0] == []
    append(path, GOOD[30:])
    assert [item.deleted for item in parse_notifications(lines(str(path), since)[0])] == [5]


def test_several_values_without_any_end_of_line(path: Path) -> None:
    append(path, GOOD)
    since = mark(str(path))
    append(path, GOOD + " " + GOOD)
    assert len(parse_notifications(lines(str(path), since)[0])) == 2


def test_the_rest_of_a_line_that_had_begun_before_the_mark_is_an_older_runs(path: Path) -> None:
    envelope = f'{{"received_at": 100, "body": {GOOD}}}'
    append(path, GOOD + "\n" + envelope[:28])
    since = mark(str(path))
    append(path, envelope[28:-1])
    assert lines(str(path), since)[0] == []
    append(path, envelope[-1] + "\n" + GOOD + "\n")
    assert lines(str(path), since)[0] == ["", GOOD]


def test_a_line_glued_to_one_that_was_torn_for_good_before_the_mark(path: Path) -> None:
    append(path, GOOD[:18])
    since = mark(str(path))
    append(path, GOOD + "\n")
    assert lines(str(path), since)[0] == [GOOD]


def test_a_whole_last_line_before_the_mark_takes_nothing_away(path: Path) -> None:
    append(path, "\ufeff" + GOOD)
    since = mark(str(path))
    append(path, "\n" + GOOD)
    assert lines(str(path), since)[0] == ["", GOOD]
    path.write_text(GOOD)  # rotated in place: shorter than the mark
    since = {"offset": 10_000, "inode": path.stat().st_ino, "wall": 1.0}
    assert lines(str(path), since) == ([GOOD], 1.0)
