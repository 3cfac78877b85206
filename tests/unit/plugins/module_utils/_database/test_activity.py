# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What moves in the `messages` tables by a scripted server: counters, deletes that run, other sessions of the user."""

from __future__ import annotations

import typing as t
from datetime import datetime, timedelta, timezone

import pytest
from scripted_database import ScriptedDatabase

from ansible_collections.waba.onprem.plugins.module_utils._database import activity, messages
from ansible_collections.waba.onprem.plugins.module_utils._database.activity import Other, Pulse
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import MYSQL, PGSQL
from ansible_collections.waba.onprem.plugins.module_utils._database.messages import Table

NOW = datetime(2024, 5, 6, 7, 8, 9, tzinfo=timezone.utc)


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


@pytest.mark.parametrize(
    ("sessions", "idle", "unchanged"),
    [
        ([], None, None),
        ([Other("a", None, True)], None, None),
        ([Other("a", 5, True)], 5, None),
        ([Other("a", 5, False)], 5, 5),
        ([Other("a", 5, True), Other("b", 9, False), Other("c", None, False), Other("d", 7, False)], 5, 7),
        ([Other("a", 0.0, False)], 0.0, 0.0),
    ],
)
def test_for_how_long_all_sessions_have_been_idle(
    sessions: list[Other], idle: float | None, unchanged: float | None
) -> None:
    found = Pulse(0, (), None, False, sessions=tuple(sessions))
    assert (found.idle, found.unchanged) == (idle, unchanged)


# MySQL

TABLES = [Table("wa1", "wa1", ("id",)), Table("wa2", "wa2", ("id",))]


def mysql(version: str = "8.0.36", running: t.Sequence[t.Any] = ()) -> ScriptedDatabase:
    server = ScriptedDatabase(MYSQL, version).on("information_schema_stats_expiry", None)
    server.on("UNIX_TIMESTAMP", [(1000,), (40,), (None,)])
    server.on("Handler_delete", [("Handler_delete", "7"), ("Uptime", "100")])
    server.on("processlist", running)
    return server.on("global.read_only", [(0, 0)])


@pytest.mark.parametrize(
    ("version", "fresh"),
    [("8.0.36", True), ("8.4.0", True), ("5.7.44", False), ("10.11.6-MariaDB", False)],
)
def test_counters_of_mysql(version: str, fresh: bool) -> None:
    server = mysql(version)
    assert activity.counters(server.session(), TABLES) == activity.Counters(40, 7, 0, (900.0,))
    assert server.asked("UNIX_TIMESTAMP") == [("wa1", "messages", "wa2", "messages")]
    assert bool(server.asked("information_schema_stats_expiry = 0")) is fresh


def test_a_mysql_that_does_not_count_has_counted_nothing() -> None:
    server = mysql().on("Handler_delete", [])
    assert activity.counters(server.session(), TABLES) == activity.Counters(40, 0, 0, (0.0,))


@pytest.mark.parametrize(
    ("running", "deletes"),
    [
        ([], False),
        ([("wa1", "DELETE FROM messages")], True),
        ([(None, "DELETE FROM wa1.messages")], True),
        ([("other", "DELETE FROM messages")], False),
        ([("other", "DELETE FROM wa2.messages")], True),
        ([("wa1", "SELECT 1"), ("wa2", "DELETE FROM messages")], True),
        ([("wa1", "DELETE FROM media")], False),
    ],
)
def test_deletes_that_run_on_mysql(running: list[t.Any], deletes: bool) -> None:
    server = mysql(running=running)
    assert activity.who(server.session(), TABLES) == (deletes, ())
    assert server.asked("processlist") == [(1.0,)]


def test_the_pulse_of_mysql(monkeypatch: pytest.MonkeyPatch) -> None:
    server = mysql(running=[("wa1", "DELETE FROM messages")])
    monkeypatch.setattr(messages, "connect", server.connect)
    assert activity.pulse(server.settings, TABLES) == Pulse(40, (7,), None, True, origins=(900.0,))
    server.on("global.read_only", [(1, 0)])
    assert activity.pulse(server.settings, TABLES).read_only


# PostgreSQL

TABLE = Table("wa1", "public", ("id",), ids=(11, 12))


def row(
    pid: int = 1,
    lasts: float | None = None,
    state: str | None = "active",
    changed: float | None = 0,
    query: str | None = "",
) -> t.Any:
    """A session as PostgreSQL tells it: its transaction lasts so long, its state changed so long ago."""
    moments = [None if seconds is None else NOW - timedelta(seconds=seconds) for seconds in (lasts, changed)]
    return NOW, pid, moments[0], state, moments[1], query, NOW


def pgsql(
    *sessions: t.Any, locks: t.Sequence[t.Any] = (), figures: t.Sequence[t.Any] | None = None
) -> ScriptedDatabase:
    server = ScriptedDatabase(PGSQL).on("pg_stat_get_activity", sessions).on("FROM pg_locks", locks)
    server.on("pg_is_in_recovery", [(False,)])
    return server.on("pg_stat_get_live_tuples", figures or [(11, 40, 3, 5, 110, NOW), (12, 2, 4, 6, 120, NOW)])


def test_counters_of_postgresql() -> None:
    server = pgsql()
    found = activity.counters(server.session(), [TABLE, Table("wa1", "b", (), ids=(13,))])
    assert found[:4] == (42, 7, 11, (NOW.timestamp(),))
    assert server.asked("pg_stat_get_live_tuples") == [([11, 12, 13],)]


def test_the_files_of_the_tables_tell_a_partition_that_was_emptied() -> None:
    def files(*figures: tuple[int, int]) -> str:
        told = [(oid, 0, 0, 0, file, NOW) for oid, file in figures]
        return activity.counters(pgsql(figures=told).session(), [TABLE]).files

    assert len(files((11, 110))) == 32
    assert files((11, 110), (12, 120)) == files((12, 120), (11, 110))
    assert len({files((11, 110), (12, 120)), files((11, 110)), files((11, 111), (12, 120))}) == 3


@pytest.mark.parametrize(
    ("session", "lock", "asked", "deletes"),
    [
        (row(lasts=1.1, query="DELETE FROM messages"), False, False, True),
        (row(lasts=1.0, query="DELETE FROM messages"), False, False, False),
        (row(lasts=None, query="DELETE FROM messages"), False, False, False),
        (row(lasts=9, query="SELECT gc()"), True, True, True),
        (row(lasts=9, query="SELECT gc()"), False, True, False),
        (row(lasts=5.1, query="SELECT gc()"), True, True, True),
        (row(lasts=5, query="SELECT gc()"), True, False, False),
        (row(lasts=9, state="idle in transaction", changed=59, query=None), True, True, True),
        (row(lasts=99, state="idle in transaction", changed=60, query="INSERT"), True, False, False),  # forgotten
        (row(lasts=99, state=None, changed=None, query=None), True, False, False),
    ],
)
def test_deletes_that_run_on_postgresql(session: t.Any, lock: bool, asked: bool, deletes: bool) -> None:
    server = pgsql(session, locks=[(1,)] if lock else [])
    assert activity.who(server.session(), [TABLE])[0] is deletes
    assert server.asked("pg_locks") == ([([1], [11, 12])] if asked else [])


@pytest.mark.parametrize(
    ("session", "idle", "reads"),
    [
        (row(state="idle", changed=7, query="SELECT 1"), 7.0, True),
        (row(state="idle", changed=-1, query="show x"), 0.0, True),
        (row(state="idle", changed=99, query="INSERT"), 99.0, False),
        (row(state="active", changed=99, query="selection"), 0.0, False),
        (row(state="idle in transaction", changed=59, query=" SELECT 1"), 0.0, True),
        (row(state="idle in transaction", changed=60, query=""), None, False),
        (row(state=None, changed=None, query=None), None, False),
    ],
)
def test_other_sessions_on_postgresql(session: t.Any, idle: float | None, reads: bool) -> None:
    server = pgsql(session)
    assert activity.who(server.session(), [TABLE])[1] == (Other(f"1 {NOW}", idle, reads),)


def test_the_pulse_of_postgresql_sums_its_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    server = pgsql(row(state="idle", changed=7, query="INSERT"))
    monkeypatch.setattr(messages, "connect", server.connect)
    found = activity.pulse(server.settings, [TABLE, Table("wa2", "public", (), ids=(21,))])
    assert server.databases == ["wa1", "wa2"]
    assert (found.rows, found.counters, found.inserted) == (84, (7, 7), 22)
    assert (found.deleting, found.read_only, found.idle) == (False, False, 7.0)
    assert found.origins == (NOW.timestamp(),) * 2
    assert (len(found.files), len(found.sessions)) == (64, 2)
