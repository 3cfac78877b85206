# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes on in the `messages` tables by a scripted server: deletes that run, the tables' counters, estimates."""

from __future__ import annotations

import typing as t

import pytest
from scripted_database import Refusal, ScriptedDatabase

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


def mysql(
    running: t.Sequence[t.Any] = (), counters: t.Any = ((None, None),), version: str = "8.0.36"
) -> ScriptedDatabase:
    server = ScriptedDatabase(MYSQL, version).on("information_schema_stats_expiry", None)
    server.on("SELECT table_rows", [(40,)]).on("processlist", running).on("count_delete", counters)
    return server.on("global.read_only", [(0, 0)]).on("SELECT COUNT", [(1,)])


def look(server: ScriptedDatabase, monkeypatch: pytest.MonkeyPatch, tables: t.Sequence[Table] = ()) -> Activity:
    monkeypatch.setattr(messages, "connect", server.connect)
    return activity.look(server.settings, tables or TABLES, KEYS)


@pytest.mark.parametrize(("version", "fresh"), [("8.0.36", True), ("5.7.44", False), ("10.11.6-MariaDB", False)])
def test_estimates_of_mysql(version: str, fresh: bool, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_deletes_that_run_on_mysql(running: list[t.Any], deletes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    server = mysql(running)
    assert look(server, monkeypatch) == Activity(2, None, None, deletes, False)
    assert server.asked("processlist") == [(1.0,)]
    server.on("global.read_only", [(1, 0)])
    assert look(server, monkeypatch).read_only


@pytest.mark.parametrize(
    ("counters", "found"),
    [
        ([(7, 9)], (7, 9)),
        ([(None, None)], (None, None)),
        (Refusal("denied"), (None, None)),
        (Refusal("missing"), (None, None)),
    ],
)
def test_counters_of_the_performance_schema(counters: t.Any, found: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = look(mysql(counters=counters), monkeypatch)
    assert (seen.deleted, seen.inserted) == found


def test_a_server_that_is_away_while_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatabaseError):
        look(mysql(counters=Refusal("lost")), monkeypatch)


# PostgreSQL

TABLE = [Table("wa1", "public", ("id",), ids=(11, 12)), Table("wa2", "public", ("id",), ids=(21,))]


def pgsql(*sessions: t.Any, lock: bool = False) -> ScriptedDatabase:
    server = ScriptedDatabase(PGSQL).on("pg_stat_get_activity", sessions).on("FROM pg_locks", [(1,)] if lock else [])
    server.on("pg_is_in_recovery", [(False,)]).on("SELECT COUNT", [(2,)])
    return server.on("tuples_deleted", [(7, None)]).on("live_tuples", [(40,)])


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
    session: t.Any, lock: bool, asked: bool, deletes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = pgsql(session, lock=lock)
    found = look(server, monkeypatch, TABLE)
    assert found == Activity(4, 14, 0, deletes, False)
    assert server.databases == ["wa1", "wa2"]
    assert server.asked("pg_locks") == ([([1], [11, 12]), ([1], [21])] if asked else [])
    assert server.asked("tuples_deleted") == [([11, 12],), ([21],)]
