# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of GC notifications: which lines count, whose they are, what is said of bad ones."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._gc.notifications import Notification, by_node, mark, read
from ansible_collections.waba.onprem.plugins.module_utils._webapp.answers import SINGLE

START = {"offset": 0, "inode": 0, "lines": 0}


def line(
    status: str = "complete",
    count: str = "messages_deleted",
    deleted: t.Any = 5,
    top: dict[str, t.Any] | None = None,
    **gc: t.Any,
) -> str:
    return (
        json.dumps({"services": [{"message": {"gc": {count: deleted, "status": status, **gc}}}], **(top or {})}) + "\n"
    )


def parse(path: Path, text: str, called: float = 0.0) -> tuple[list[Notification], list[str]]:
    path.write_text(text)
    warned: list[str] = []
    return read(str(path), START, called, warned.append), warned


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (line(), [Notification("", "complete", 5)]),
        (
            line(node="a:1") + "\n" + line(node="b:2", deleted=0),
            [Notification("a:1", "complete", 5), Notification("b:2", "complete", 0)],
        ),
        (
            line("FAILED", errors=[{"code": 1014, "details": "time-out"}]),
            [Notification("", "failed", 5, "1014 time-out")],
        ),
        (line("failed", top={"errors": [{"code": 1, "title": "x"}, "?"]}), [Notification("", "failed", 5, "1 x")]),
        (line(count="items_deleted"), []),  # of media
        (line(deleted="many"), [Notification("", "complete", 0)]),
        (line(""), []),
        ('{"services": {}}\n{"services": [1, {"message": 2}, {"message": {"gc": []}}]}\n{"messages": []}\n', []),
        (
            line(top={"timestamp": 98}) + line(top={"timestamp": 99.5}),
            [Notification("", "complete", 5)],
        ),  # called at 100
        (line().rstrip("\n"), []),  # still being written
    ],
)
def test_what_counts(tmp_path: Path, text: str, found: list[Notification]) -> None:
    assert parse(tmp_path / "n", text, 100.0) == (found, [])


@pytest.mark.parametrize("bad", ["torn {", "[]", '"text"', "7", '{"a": 1} {"b": 2}', "[" * 100_000])
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "n"
    found, warned = parse(path, f"{line()}{bad}\n{line(node='a:1')}")
    assert [one.node for one in found] == ["", "a:1"]
    assert warned == [f"notifications {path}: line 2 is skipped, since it is not one JSON object"]


def test_only_what_came_after_the_mark(tmp_path: Path) -> None:
    path = tmp_path / "n"
    assert mark(None) == mark(str(path)) == START
    assert read(str(path), START, 0, print) == []
    path.write_text(line() + line())
    since = mark(str(path))
    assert since["lines"] == 2
    warned: list[str] = []
    with path.open("a") as stream:
        stream.write("torn\n" + line(node="new"))
    assert [one.node for one in read(str(path), since, 0, warned.append)] == ["new"]
    assert "line 3 " in warned[0]
    path.rename(tmp_path / "rotated")
    path.write_text("torn\n" + line(node="rotated"))
    assert [one.node for one in read(str(path), since, 0, warned.append)] == ["rotated"]
    assert "line 1 " in warned[1]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(WaError, match="not readable"):
        read(str(tmp_path), START, 0, print)


@pytest.mark.parametrize(
    ("names", "nodes", "owner", "others"),
    [
        ([""], [SINGLE], {SINGLE: 0}, []),
        (["wacore:9dfe77618dba"], [SINGLE], {SINGLE: 0}, []),
        ([""], ["a:1"], {"a:1": 0}, []),
        (["A:1", "b"], ["a:1", "b:2", "c:3"], {"a:1": 0, "b:2": 1}, []),
        (["a:1", "a:1"], ["a:1", "b:2"], {"a:1": 1}, []),  # the last one counts
        (["b"], ["b:1", "b:2"], {}, ["b"]),
        (["gone:0", "", "gone:0"], ["a:1", "b:2"], {}, ["gone:0", ""]),
    ],
)
def test_whose_it_is(names: list[str], nodes: list[str], owner: dict[str, int], others: list[str]) -> None:
    found = [Notification(name, "complete", number) for number, name in enumerate(names)]
    last, rest = by_node(found, nodes)
    assert ({node: one.deleted for node, one in last.items()}, rest) == (owner, others)
