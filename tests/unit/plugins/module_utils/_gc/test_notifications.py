# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of GC notifications: which lines count, whose they are, what is said of bad ones."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from gc_module import line

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._gc.notifications import Notification, by_node, mark, read
from ansible_collections.waba.onprem.plugins.module_utils._webapp.answers import SINGLE

DONE = Notification("", "complete", 400)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (line(), [DONE]),
        (line(node="a:1") + "\n" + line(node="b", deleted=0), [DONE._replace(node="a:1"), ("b", "complete", 0, "")]),
        (line("FAILED", errors=[{"code": 1014, "details": "time-out"}]), [("", "failed", 400, "1014 time-out")]),
        (line("failed", top={"errors": [{"code": 1, "title": "x"}, "?"]}), [("", "failed", 400, "1 x")]),
        (line(items_deleted=5), []),  # of media
        (line(deleted="many"), [DONE._replace(deleted=0)]),
        (line(""), []),
        ('{"services": {}}\n{"services": [1, {"message": 2}, {"message": {"gc": []}}]}\n{"messages": []}\n', []),
        (line(top={"timestamp": 98}) + line(top={"timestamp": 99.5}), [DONE]),  # called at 100
        (line().rstrip("\n"), []),  # still being written
    ],
)
def test_what_counts(tmp_path: Path, text: str, found: list[t.Any]) -> None:
    path = str(tmp_path / "n")
    assert mark(None) == mark(path) == [0, 0]
    assert read(path, [0, 0], 100.0, pytest.fail) == []
    Path(path).write_text(text)
    assert read(path, [0, 0], 100.0, pytest.fail) == found


@pytest.mark.parametrize("bad", ["torn {", "[]", '"text"', "7", '{"a": 1} {"b": 2}', "[" * 100_000])
def test_only_what_came_after_the_mark_and_a_bad_line_is_named_by_its_number(tmp_path: Path, bad: str) -> None:
    path, warned = tmp_path / "n", []  # type: Path, list[str]
    path.write_text(line() + line())
    since = mark(str(path))
    for number in (3, 1):
        with path.open("a") as stream:
            stream.write(f"{bad}\n{line(node='new')}")
        assert [one.node for one in read(str(path), since, 0, warned.append)] == ["new"]
        assert warned.pop() == f"notifications {path}: line {number} is skipped, since it is not one JSON object"
        path.rename(tmp_path / "rotated")
    with pytest.raises(WaError, match="not readable"):
        read(str(tmp_path), [0, 0], 0, print)


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
    last, rest = by_node([DONE._replace(node=name, deleted=number) for number, name in enumerate(names)], nodes)
    assert ({node: one.deleted for node, one in last.items()}, rest) == (owner, others)
