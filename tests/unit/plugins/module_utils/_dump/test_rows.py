# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows in the output of mysqldump and mariadb-dump, in pieces of any length; a snapshot of PostgreSQL that outlives its count."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_database import ScriptedDatabase

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import connection
from ansible_collections.waba.onprem.plugins.module_utils._dump import rows
from ansible_collections.waba.onprem.plugins.module_utils._dump.commands import Section

TEXTS = st.text(alphabet="'\\),(;\nn\"`\0a\x1a", max_size=12)
ESCAPES = {"\0": "\\0", "\n": "\\n", "\\": "\\\\", "'": "\\'", '"': '\\"', "\x1a": "\\Z"}


def literal(value: t.Any) -> str:
    """A value as the tools write it."""
    if value is None:
        return "NULL"
    return "'" + "".join(ESCAPES.get(one, one) for one in value) + "'" if isinstance(value, str) else str(value)


def statement(table: str, values: t.Sequence[t.Sequence[t.Any]], lines: bool, columns: str = "") -> str:
    """An INSERT of mariadb-dump with a row a `line`, or as the others write it."""
    found = [f"({','.join(map(literal, row))})" for row in values]
    quoted = table.replace("`", "``")
    between = ("\n", ",\n") if lines else (" ", ",")
    return f"INSERT INTO `{quoted}` {columns}VALUES{between[0]}{between[1].join(found)};\n"


def count(text: str, length: int = 1 << 20) -> dict[str, int]:
    counted, data = rows.Rows(), text.encode()
    for at in range(0, len(data), length):
        counted.see(data[at : at + length])
    return counted.tables


ROW = st.lists(st.one_of(TEXTS, st.integers(), st.none()), min_size=1, max_size=3)
STATEMENT = st.tuples(st.sampled_from(["messages", "a`b", "x"]), st.lists(ROW, min_size=1, max_size=5))


@given(st.lists(STATEMENT, max_size=4), st.booleans(), st.integers(1, 40))
def test_each_row_is_counted_once(statements: list[tuple[str, list[list[t.Any]]]], lines: bool, length: int) -> None:
    text = "-- a dump\nCREATE TABLE `x` (\n  `a` int\n);\n"
    expected: dict[str, int] = {}
    for table, values in statements:
        text += f"/*!40000 ALTER TABLE `{table}` DISABLE KEYS */;\n{statement(table, values, lines)}\nUNLOCK TABLES;\n"
        expected[table] = expected.get(table, 0) + len(values)
    assert count(text + "-- Dump completed\n", length) == expected


@pytest.mark.parametrize("length", [1, 7, 1 << 20])
@pytest.mark.parametrize("lines", [True, False])
def test_columns_that_are_not_generated_are_named(lines: bool, length: int) -> None:
    text = statement("m", [(1, "),("), (2, "it's")], lines, "(`id`, `),(`, `VALUES (`) ")
    assert count(text, length) == {"m": 2}


def test_a_row_is_not_held_in_memory() -> None:
    counted = rows.Rows()
    counted.see(b"INSERT INTO `m` VALUES (1,'")
    for _piece in range(100):
        counted.see(b"),(" * 50_000)
        assert len(counted._held) < 10
    counted.see(b"'),(2,NULL);\n")
    assert counted.tables == {"m": 2}
    counted.see(b"INSERT INTO `m` VALUES (3,NULL);\n")
    assert counted.longest == len("\nINSERT INTO `m` VALUES (1,'") + 15_000_000 + len("'),(2,NULL)")


def test_a_statement_that_is_not_known_is_an_error() -> None:
    with pytest.raises(WaError, match=r"rows of the dump: 'INSERT INTO `m` SET a = 1.*; expected rows of a table"):
        count("INSERT INTO `m` SET a = 1" + " " * (1 << 21))


def test_on_postgresql_the_tool_reads_the_snapshot_that_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ScriptedDatabase("PGSQL")
    monkeypatch.setattr(connection, "connect", server.connect)
    server.on("set_config", []).on("^BEGIN", None).on("pg_export_snapshot", [("00000003-1",)])
    server.on("^SELECT n.nspname, c.relname", [("public", "messages")]).on("count", [(3,)]).on("md5", [("d1",)])
    config = connection.Settings("PGSQL", "db.lab", 5432, "wa", "secret")
    with rows.Counting(config, ["messageStore"], 60) as counting:
        part = counting.part(b"line", Section("messageStore", "all", ["pg_dump", "--quiet"]))
        assert part.argv == ["pg_dump", "--snapshot=00000003-1", "--quiet"]
        assert counting.result() == {"messageStore": {"tables": {"public.messages": 3}, "definitions": "d1"}}
        assert server.open == 1
    assert server.open == 0
