# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes on in the `messages` tables by a scripted server: deletes that run, counters, estimates, and a sample of keys."""

from __future__ import annotations

import typing as t
from datetime import datetime

import pytest
from scripted_database import Refusal, ScriptedDatabase

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import activity, messages
from ansible_collections.waba.onprem.plugins.module_utils._database.activity import Activity
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import MYSQL, PGSQL, DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._database.messages import Table


@pytest.mark.parametrize(
    ("statement", "deletes"),
    [
        ("DELETE FROM messages WHERE id < 5", True),
        ("delete\nfrom `wa`.`messages`", True),
        ("  /* hint */ DELETE FROM messages", True),
        ("-- note\nDELETE FROM messages", True),
        ("# note\nDELETE FROM messages", True),
        ("WITH old AS (SELECT 1) DELETE FROM messages USING old", True),
        ("DELETE m FROM messages m JOIN x", True),
        ("SELECT * FROM messages", False),
        ("DELETE FROM media", False),
        ("DELETE FROM messages_archive", False),
        ("SELECT 'DELETE FROM messages'", False),
        ("UPDATE messages SET deleted = 1", False),
        ("-- DELETE FROM messages", False),
        ("", False),
    ],
)
def test_which_statements_delete_messages(statement: str, deletes: bool) -> None:
    assert activity.deletes_messages(statement) is deletes


TABLES = [Table("wa1", "wa1", ("id",)), Table("wa2", "wa2", ("id",))]
KEYS = [[[1], [2]], [[3]]]
Patch = pytest.MonkeyPatch


def mysql(
    running: t.Sequence[t.Any] = (), counters: t.Any = ((None, None),), version: str = "8.0.36"
) -> ScriptedDatabase:
    server = ScriptedDatabase(MYSQL, version).on("information_schema_stats_expiry", None)
    server.on("SELECT table_rows", [(40,)]).on("processlist", running).on("count_delete", counters)
    return server.on("global.read_only", [(0, 0)]).on("SELECT COUNT", [(1,)])


def look(server: ScriptedDatabase, monkeypatch: Patch, tables: t.Sequence[Table] = ()) -> Activity:
    monkeypatch.setattr(messages, "connect", server.connect)
    return activity.inspect(server.settings, tables or TABLES, KEYS)


@pytest.mark.parametrize(("version", "fresh"), [("8.0.36", True), ("5.7.44", False), ("10.11.6-MariaDB", False)])
def test_estimates_of_mysql(version: str, fresh: bool, monkeypatch: Patch) -> None:
    server = mysql(version=version)
    monkeypatch.setattr(messages, "connect", server.connect)
    assert activity.estimate(server.settings, TABLES) == [40, 40]
    assert bool(server.asked("information_schema_stats_expiry = 0")) is fresh


@pytest.mark.parametrize(
    ("running", "deletes"),
    [
        ([], False),
        ([("wa1", b"DELETE FROM messages")], True),
        ([(None, b"DELETE FROM wa1.messages")], True),
        ([("other", b"DELETE FROM messages")], False),
        ([("other", b"DELETE FROM wa2.messages")], True),
        ([("wa1", b"SELECT 1"), ("wa2", b"DELETE FROM messages")], True),
        ([("wa1", b"DELETE FROM media")], False),
        ([("wa1", b"INSERT INTO keys VALUES (_binary '\xfc\xff"), ("wa1", b"DELETE FROM messages")], True),
    ],
)
def test_deletes_that_run_on_mysql(running: list[t.Any], deletes: bool, monkeypatch: Patch) -> None:
    server = mysql(running)
    assert look(server, monkeypatch) == Activity(2, deletes, None, None)
    assert server.asked("processlist") == [(1.0,)]
    server.on("global.read_only", [(1, 0)])
    with pytest.raises(DatabaseError, match="read only: a replica"):
        look(server, monkeypatch)


@pytest.mark.parametrize(
    ("counters", "found"),
    [
        ([(7, 9)], (7, 9, -2)),
        ([(None, None)], (None, None, None)),
        (Refusal("denied"), (None, None, None)),
        (Refusal("missing"), (None, None, None)),
    ],
)
def test_counters_of_the_performance_schema(counters: t.Any, found: t.Any, monkeypatch: Patch) -> None:
    seen = look(mysql(counters=counters), monkeypatch)
    assert (seen.deleted, seen.inserted, seen.net) == found
    with pytest.raises(DatabaseError):
        look(mysql(counters=Refusal("lost")), monkeypatch)


# PostgreSQL

TABLE = [Table("wa1", "public", ("id",), ids=(11, 12)), Table("wa2", "public", ("id",), ids=(21,))]


@pytest.mark.parametrize(
    ("session", "lock", "asked", "deletes"),
    [
        ((1, b"DELETE FROM messages", 1.1, True), False, False, True),
        ((1, b"DELETE FROM messages", 900, False), False, False, True),
        ((1, b"SELECT gc()", 9, True), True, True, True),
        ((1, b"SELECT gc()", 9, True), False, True, False),
        ((1, None, 5.1, True), True, True, True),
        ((1, b"INSERT", 900, False), True, False, False),  # forgotten
        ((1, b"SELECT gc()", 5, True), True, False, False),
    ],
)
def test_deletes_that_run_on_postgresql(
    session: t.Any, lock: bool, asked: bool, deletes: bool, monkeypatch: Patch
) -> None:
    server = ScriptedDatabase(PGSQL).on("pg_stat_get_activity", [session]).on("FROM pg_locks", [(1,)] if lock else [])
    server.on("pg_is_in_recovery", [(False,)]).on("SELECT COUNT", [(2,)])
    server.on("tuples_deleted", [(7, None)]).on("live_tuples", [(40,)])
    assert look(server, monkeypatch, TABLE) == Activity(4, deletes, 14, 0)
    assert server.databases == ["wa1", "wa2"]
    assert server.asked("pg_locks") == ([([1], [11, 12]), ([1], [21])] if asked else [])
    assert server.asked("tuples_deleted") == [([11, 12],), ([21],)]


# The sample


def take(server: ScriptedDatabase, monkeypatch: Patch, table: Table, size: int, rows: int) -> list[activity.Key]:
    monkeypatch.setattr(messages, "connect", server.connect)
    server.on("information_schema_stats_expiry", None).on("table_rows|live_tuples", [(rows,)])
    (keys,) = activity.take_sample(server.settings, [table], size)
    return keys


def numbers(count: int) -> list[tuple[int]]:
    return [(number,) for number in range(count)]


def nearest(values: t.Sequence[t.Any]) -> list[tuple[int]]:
    """Of a table that holds every seventh number: the next one, as a union of one statement a value finds it."""
    return [(-(-value // 7) * 7,) for value in values]


@pytest.mark.parametrize("engine", [MYSQL, PGSQL])
def test_integers_are_spread_over_the_table_and_a_small_one_is_taken_whole(engine: str, monkeypatch: Patch) -> None:
    server = ScriptedDatabase(engine).on("LIMIT %s", numbers(1001)).on("MIN", [(7, 70_000)]).on("UNION ALL", nearest)
    keys = take(server, monkeypatch, TABLES[0], 1000, 10_000)
    assert (len(keys), keys[0], keys[-1]) == (1000, [7], [70_000])
    assert [len(values) for values in server.asked("UNION ALL")] == [500, 500]
    small = ScriptedDatabase(engine).on("LIMIT %s", numbers(2))
    assert take(small, monkeypatch, TABLES[0], 300, 2) == [[0], [1]]
    assert small.asked("LIMIT %s") == [(301,)]


PAIR = Table("wa1", "public", ("node", "num"))


@pytest.mark.parametrize(
    ("engine", "table", "edges", "hashed"),
    [
        (MYSQL, TABLES[0], [(1, 2**62)], "CRC32(CONCAT_WS(',', `id`)) %% %s = 0"),  # one far away
        (MYSQL, TABLES[0], [("a", "z")], "CRC32(CONCAT_WS(',', `id`)) %% %s = 0"),
        (PGSQL, PAIR, [], 'hashtext(concat_ws(\',\', "node", "num")) %% %s = 0'),
    ],
)
def test_other_keys_are_taken_by_their_hash(
    engine: str, table: Table, edges: t.Any, hashed: str, monkeypatch: Patch
) -> None:
    found = [("k", number) if table is PAIR else (number,) for number in range(500)]
    server = ScriptedDatabase(engine).on("LIMIT %s", found).on("MIN", edges).on("UNION ALL", [(1,)]).on("= 0", found)
    monkeypatch.setattr(activity, "connect", server.connect)
    assert len(take(server, monkeypatch, table, 100, 12_345)) in range(80, 201)
    assert hashed in server.statements[-1][0]
    assert server.statements[-1][1] == (123,)
    where = None if engine == MYSQL else "wa1"
    assert (server.databases, server.options) == ([where] * 3, [{}, {}, {"statement_timeout": 600.0}])


def test_what_json_holds_comes_back_as_the_key(monkeypatch: Patch) -> None:
    moment = datetime(2026, 2, 3, 4, 5, 6)
    server = mysql().on("LIMIT %s", [(b"\x00\xff", 1, "ä", moment)])
    table = Table("wa1", "wa1", ("a", "b", "c", "d"))
    keys = take(server, monkeypatch, table, 5, 1)
    assert keys == [[{"hex": "00ff"}, 1, "ä", "2026-02-03 04:05:06"]]
    assert activity.inspect(server.settings, [table], [keys]).alive == 1
    assert server.statements[-1][0].endswith("WHERE (`a`, `b`, `c`, `d`) IN ((%s, %s, %s, %s))")
    assert server.statements[-1][1] == (b"\x00\xff", 1, "ä", "2026-02-03 04:05:06")
    with pytest.raises(WaError, match="it has no primary key"):
        take(server, monkeypatch, Table("wa1", "wa1", ()), 10, 10)


def test_keys_are_looked_up_in_parts(monkeypatch: Patch) -> None:
    server = mysql().on("SELECT COUNT", lambda values: [(len(values) - 1,)])
    monkeypatch.setattr(messages, "connect", server.connect)
    assert activity.inspect(server.settings, TABLES[:1], [[[number] for number in range(1_200)]]).alive == 1_197
    assert [len(values) for values in server.asked("SELECT COUNT")] == [500, 500, 200]
