# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The count and the looks against real databases: whose tables, what is seen, what they cost, what they bear."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import socket
import threading
import time
import typing as t

import pytest
from database_servers import CANARY, Server
from relay import Relay
from waiting import until

from ansible_collections.waba.onprem.plugins.module_utils._database import activity
from ansible_collections.waba.onprem.plugins.module_utils._database import connection as database_connection
from ansible_collections.waba.onprem.plugins.module_utils._database import messages as database_messages

PREFIX = "gc1_"
ROWS, LIMIT = 60_000, 50_000
KEYS = [[[1], [2]]]


def _quoted(where: Server, name: str) -> str:
    mark = "`" if where.kind == "mariadb" else '"'
    return mark + name.replace(mark, mark * 2) + mark


def settings(where: Server, user: str = "wa") -> database_connection.Settings:
    return database_connection.Settings(where.engine, "127.0.0.1", where.port, user, CANARY)


def drop(where: Server, database: str) -> None:
    before, after = ("SET NAMES utf8mb4;", "") if where.kind == "mariadb" else ("", "WITH (FORCE)")
    where.sql(f"{before} DROP DATABASE IF EXISTS {_quoted(where, database)} {after};")


@contextlib.contextmanager
def databases(where: Server, **rows: int) -> t.Iterator[None]:
    """Databases of the client, owned by its user, with so many messages of mixed size; they go at the end."""
    try:
        for database, count in rows.items():
            name = _quoted(where, database)
            if where.kind == "mariadb":
                where.sql(
                    f"SET NAMES utf8mb4; CREATE DATABASE {name}; USE {name}; CREATE TABLE messages"
                    " (id BIGINT AUTO_INCREMENT PRIMARY KEY, kind VARCHAR(9), body VARBINARY(900), KEY (kind));"
                    f"INSERT INTO messages (kind, body) SELECT 'in', REPEAT('x', seq % 700) FROM seq_1_to_{count};"
                )
            else:
                where.sql(f"CREATE DATABASE {name} OWNER wa;")
                where.sql(
                    "SET ROLE wa; CREATE TABLE messages (id bigserial PRIMARY KEY, kind text, body text); INSERT INTO"
                    f" messages (kind, body) SELECT 'in', repeat('x', g % 700) FROM generate_series(1, {count}) g;",
                    database,
                )
        yield
    finally:
        for database in rows:
            drop(where, database)


def find(
    where: Server, prefix: str = PREFIX, wanted: list[str] | None = None, user: str = "wa"
) -> list[database_messages.Table]:
    return database_messages.find_tables(settings(where, user), prefix, wanted)


def swallow(where: Server, database: str, statement: str) -> None:
    connection = database_connection.connect(settings(where), database, read_only=False)
    with contextlib.suppress(database_connection.DatabaseError), connection as session:
        session.rows(statement)


@pytest.fixture
def filled(database: Server) -> t.Iterator[Server]:
    """A server with a large table, in gc1_filled."""
    with databases(database, gc1_filled=ROWS):
        yield database


def test_an_alter_passes_while_it_polls(filled: Server) -> None:
    tables = find(filled)
    stop = threading.Event()

    def poll() -> None:
        while not stop.is_set():
            activity.inspect(settings(filled), tables, KEYS)

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        begin = time.monotonic()
        filled.sql("ALTER TABLE messages ADD COLUMN extra INT;", "gc1_filled")
        assert time.monotonic() - begin < 5
    finally:
        stop.set()
        poller.join()


@pytest.mark.parametrize("prefix", ["p%c_", "Wa.Sp ace", "q'uo\"te`s", "Größe"])
def test_prefixes_of_all_kinds(database: Server, prefix: str) -> None:
    name = f"{prefix}messages-2"
    decoy = ("pXcY" if prefix == "p%c_" else "other_") + "messages-2"
    with databases(database, **{name: 30, decoy: 50}):
        tables = find(database, prefix)
        assert [table.database for table in tables] == [name]
        count = database_messages.count_up_to(settings(database), tables, 30)
        assert (count.rows, count.exact, count.large) == (30, True, False)
        assert database_messages.count_up_to(settings(database), tables, 29).large
        assert activity.estimate(settings(database), tables)[0] >= 0
        assert database_messages.vacuum(settings(database), tables, 10) == ""


def test_all_tables_of_a_client_are_summed_and_no_neighbours(database: Server) -> None:
    with databases(database, gc1_shard1=40, gc1_shard2=60, gc10_shard1=1000):
        tables = find(database)
        count = database_messages.count_up_to(settings(database), tables, 100)
        assert (count.rows, count.exact, count.large) == (100, True, False)
        assert database_messages.count_up_to(settings(database), tables, 99).large
        with pytest.raises(Exception, match="ambiguous"):
            find(database, "gc1")
        assert len(find(database, "gc1", ["gc1_shard1"])) == 1


def test_sessions_are_read_only_bounded_and_gone_after_a_look(database: Server) -> None:
    sessions = {
        "mariadb": "SELECT id FROM information_schema.processlist WHERE user = 'wa';",
        "postgres": "SELECT pid FROM pg_stat_activity WHERE usename = 'wa';",
    }[database.kind]
    with databases(database, gc1_bounds=5):
        before = {*database.sql(sessions).split()}  # of another file's clients, which this server may have had
        with database_connection.connect(settings(database), "gc1_bounds") as session:
            if database.kind == "mariadb":
                told = session.rows(
                    "SELECT @@autocommit, @@tx_read_only, @@max_statement_time, @@lock_wait_timeout, @@innodb_lock_wait_timeout"
                )
                assert [float(value) for value in told[0]] == [1, 1, 5, 2, 2]
            else:
                names = ("transaction_read_only", "statement_timeout", "lock_timeout")
                assert [session.value(f"SHOW {name}") for name in names] == ["on", "5s", "2s"]
        activity.inspect(settings(database), find(database), KEYS)
        until(lambda: {*database.sql(sessions).split()} <= before)


def test_tables_that_the_user_may_not_read_are_somebody_elses(postgres: Server) -> None:
    postgres.sql("CREATE DATABASE gc1_strangers;")
    try:
        postgres.sql("CREATE TABLE messages (id bigint PRIMARY KEY);", "gc1_strangers")
        with databases(postgres, gc1_mine=5):
            assert [table.database for table in find(postgres)] == ["gc1_mine"]
    finally:
        drop(postgres, "gc1_strangers")


def test_databases_that_are_named_need_not_begin_with_the_prefix(database: Server) -> None:
    with databases(database, gc1_named=5):
        assert [table.database for table in find(database, "other_", ["gc1_named"])] == ["gc1_named"]


def test_a_table_in_two_schemas_is_refused_until_the_user_may_read_only_one(postgres: Server) -> None:
    with databases(postgres, gc1_schemas=5):
        postgres.sql(
            "CREATE SCHEMA older; CREATE TABLE older.messages (id bigint PRIMARY KEY);"
            "GRANT USAGE ON SCHEMA older TO wa; GRANT SELECT ON older.messages TO wa;",
            "gc1_schemas",
        )
        with pytest.raises(Exception, match="user wa may read it in the schemas older, public"):
            find(postgres)
        postgres.sql("REVOKE SELECT ON older.messages FROM wa;", "gc1_schemas")
        assert [table.schema for table in find(postgres)] == ["public"]


def test_a_delete_that_runs_is_seen(filled: Server) -> None:
    where, tables, name = filled, find(filled), "gc1_filled"
    assert not activity.inspect(settings(where), tables, KEYS).deleting
    with contextlib.ExitStack() as stack:
        holder = stack.enter_context(database_connection.connect(settings(where), name, read_only=False))
        holder.rows("BEGIN")
        holder.rows("SELECT id FROM messages WHERE id = 1 FOR UPDATE")
        waiter = threading.Thread(target=lambda: swallow(where, name, "DELETE FROM messages WHERE id = 1"))
        waiter.start()
        until(lambda: activity.inspect(settings(where), tables, KEYS).deleting)
        holder.rows("ROLLBACK")
        waiter.join()
    assert not activity.inspect(settings(where), tables, KEYS).deleting


def test_a_transaction_that_was_forgotten_after_an_insert_is_no_gc(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity, "_LONG_CHANGE", 0.2)
    monkeypatch.setattr(activity, "_FORGOTTEN", 2.0)
    with databases(postgres, gc1_left=10):
        tables = find(postgres)
        with database_connection.connect(settings(postgres), "gc1_left", read_only=False) as session:
            session.rows("BEGIN")
            session.rows("INSERT INTO messages SELECT max(id) + 1 FROM messages")
            until(lambda: activity.inspect(settings(postgres), tables, KEYS).deleting, 2)
            until(lambda: not activity.inspect(settings(postgres), tables, KEYS).deleting, 4)
            session.rows("DELETE FROM messages WHERE id = 1")  # and a DELETE is one, however long it is left
            time.sleep(2.5)
            assert activity.inspect(settings(postgres), tables, KEYS).deleting


@pytest.mark.parametrize(
    ("columns", "mariadb_values", "postgres_values"),
    [
        ({"id": "BIGINT"}, "seq", "seq"),
        (
            {"id": "BIGINT"},
            "seq * seq * seq * 100000",
            "seq::bigint * seq * seq * 100000",
        ),  # uneven, though not enough for a hash
        (
            {"id": "BIGINT"},
            "IF(seq = 1, 1, seq + 1e15)",
            "CASE WHEN seq = 1 THEN 1 ELSE seq + 1e15 END",
        ),  # one far away
        ({"id": "VARCHAR(40)"}, "CONCAT('k', seq, 'é')", "'k' || seq || 'é'"),
        ({"id": "VARCHAR(40)", "num": "BIGINT"}, "CONCAT('k', seq % 7), seq", "'k' || seq % 7, seq"),
    ],
)
def test_the_keys_of_a_sample_are_from_the_whole_table_and_are_missed_when_they_go(
    database: Server, columns: dict[str, str], mariadb_values: str, postgres_values: str
) -> None:
    names = ", ".join(columns)
    define = f"CREATE TABLE messages ({', '.join(map(' '.join, columns.items()))}, part INT, PRIMARY KEY ({names}))"
    fill = {
        "mariadb": f"{define} CHARACTER SET utf8mb4; INSERT INTO messages SELECT {mariadb_values}, seq % 2 FROM seq_1_to_20000;",
        "postgres": f"{define}; INSERT INTO messages SELECT {postgres_values}, seq % 2 FROM generate_series(1, 20000) AS seq;",
    }[database.kind]
    own = {"mariadb": "SET NAMES utf8mb4;", "postgres": "SET ROLE wa;"}[database.kind]
    with databases(database, gc1_keys=1):
        database.sql(f"{own} DROP TABLE messages; {fill}", "gc1_keys")
        tables = find(database)
        keys = activity.take_sample(settings(database), tables, 1_000)
        assert 500 <= len(keys[0]) <= 2_000
        assert activity.inspect(settings(database), tables, keys).alive == len(keys[0])
        database.sql("DELETE FROM messages WHERE part = 0;", "gc1_keys")
        assert activity.inspect(settings(database), tables, keys).alive == pytest.approx(len(keys[0]) / 2, rel=0.25)
        whole = activity.take_sample(settings(database), tables, 50_000)
        assert len(whole[0]) == 10_000


def test_the_tables_own_counters(database: Server) -> None:
    with databases(database, gc1_counters=100):
        tables = find(database)
        before = activity.inspect(settings(database), tables, [[]])
        database.sql("DELETE FROM messages WHERE id <= 40;", "gc1_counters")
        if database.kind == "mariadb":
            assert (before.deleted, before.inserted) == (None, None), "its performance schema is off"
            return

        def counted() -> int:
            found = activity.inspect(settings(database), tables, [[]])
            return (found.deleted or 0) - (before.deleted or 0)

        until(lambda: counted() == 40, 15)


def test_a_function_that_deletes_in_one_transaction_is_seen(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "_LONG_CHANGE", 0.5)
    with databases(postgres, gc1_fn=10):
        body = "BEGIN DELETE FROM messages; PERFORM pg_sleep(3); END"
        postgres.sql(f"SET ROLE wa; CREATE FUNCTION purge() RETURNS void LANGUAGE plpgsql AS $$ {body}; $$;", "gc1_fn")
        tables = find(postgres)
        worker = threading.Thread(target=lambda: swallow(postgres, "gc1_fn", "SELECT purge()"))
        worker.start()
        until(lambda: activity.inspect(settings(postgres), tables, KEYS).deleting, 3)
        worker.join()
        assert not activity.inspect(settings(postgres), tables, KEYS).deleting


# What a count costs


def test_the_count_makes_no_temporary_table_and_reads_no_more_than_the_limit(mariadb: Server) -> None:
    with databases(mariadb, gc1_cost=ROWS):
        tables = find(mariadb)
        before = status(mariadb)
        assert database_messages.count_up_to(settings(mariadb), tables, 5_000).large
        after = status(mariadb)
        read = sum(after[name] - before[name] for name in after if name.startswith("Handler_read"))
        assert read < 5_500
        assert after["Handler_tmp_write"] - before["Handler_tmp_write"] < 50  # SHOW STATUS itself writes some hundred


def status(where: Server) -> dict[str, int]:
    rows = where.sql(
        "SHOW GLOBAL STATUS WHERE Variable_name LIKE 'Handler_read%' OR Variable_name = 'Created_tmp_disk_tables';"
    )
    found = {name: int(value) for name, value in (line.split("\t") for line in rows.splitlines())}
    return {**found, "Handler_tmp_write": found.pop("Created_tmp_disk_tables")}


def test_the_count_dirties_no_page_after_the_vacuum(postgres: Server) -> None:
    with databases(postgres, gc1_cost=ROWS):
        postgres.sql("DELETE FROM messages WHERE id % 3 = 0;", "gc1_cost")
        tables = find(postgres)
        assert database_messages.vacuum(settings(postgres), tables, 60) == ""
        for statement in (f"SELECT 1 FROM messages OFFSET {LIMIT} LIMIT 1", "SELECT COUNT(*) FROM messages"):
            plan = postgres.sql(f"EXPLAIN (ANALYZE, BUFFERS) {statement};", "gc1_cost")
            assert "dirtied" not in plan
            assert "Index Only Scan" in plan
        count = database_messages.count_up_to(settings(postgres), tables, LIMIT)
        assert (count.rows, count.exact) == (40_000, True)


def test_no_vacuum_of_a_table_that_is_somebody_elses(postgres: Server) -> None:
    postgres.sql(f"CREATE ROLE reader LOGIN PASSWORD '{CANARY}';")
    with databases(postgres, gc1_alien=5):
        postgres.sql("GRANT SELECT ON messages TO reader;", "gc1_alien")
        tables = find(postgres, user="reader")
        assert "does not own messages" in database_messages.vacuum(settings(postgres, "reader"), tables, 10)
        assert database_messages.count_up_to(settings(postgres, "reader"), tables, 10).rows == 5


def test_partitions_are_counted(postgres: Server) -> None:
    postgres.sql("CREATE DATABASE gc1_parts OWNER wa;")
    try:
        postgres.sql(
            "SET ROLE wa; CREATE TABLE messages (id bigint PRIMARY KEY) PARTITION BY RANGE (id);"
            "CREATE TABLE messages_a PARTITION OF messages FOR VALUES FROM (0) TO (100);"
            "CREATE TABLE messages_b PARTITION OF messages FOR VALUES FROM (100) TO (200);"
            "INSERT INTO messages SELECT generate_series(50, 149); DELETE FROM messages WHERE id % 2 = 0;",
            "gc1_parts",
        )
        tables = find(postgres)
        assert database_messages.vacuum(settings(postgres), tables, 10) == ""
        assert database_messages.count_up_to(settings(postgres), tables, 100).rows == 50
        until(lambda: activity.inspect(settings(postgres), tables, KEYS).deleted == 50)
        keys = activity.take_sample(settings(postgres), tables, 100)
        assert len(keys[0]) == 50
        postgres.sql("SET ROLE wa; DROP TABLE messages_b;", "gc1_parts")
        assert activity.inspect(settings(postgres), find(postgres), keys).alive == 25
    finally:
        drop(postgres, "gc1_parts")


# Faults of the database


def fill(stack: contextlib.ExitStack, where: Server) -> None:
    """Take connections until there are no more."""
    for _number in range(12):
        stack.enter_context(database_connection.connect(settings(where)))


def test_too_many_connections(mariadb: Server) -> None:
    with databases(mariadb, gc1_many=5), contextlib.ExitStack() as stack:
        for _number in range(8):
            stack.enter_context(database_connection.connect(settings(mariadb)))
        mariadb.sql("SET GLOBAL max_connections = 10;")
        stack.callback(lambda: mariadb.sql("SET GLOBAL max_connections = 151;"))
        with pytest.raises(database_connection.DatabaseError) as told:
            fill(stack, mariadb)
        assert told.value.kind == "too_many"
        assert told.value.retryable


@contextlib.contextmanager
def locked(database: Server, name: str) -> t.Iterator[None]:
    """Hold a lock on the table that lets nobody read it."""
    if database.kind == "mariadb":
        database.sql("GRANT LOCK TABLES ON *.* TO 'wa'@'%';")
    with database_connection.connect(settings(database), name, read_only=False) as holder:
        if database.kind == "mariadb":
            holder.rows("LOCK TABLES messages WRITE")
        else:
            holder.rows("BEGIN")
            holder.rows("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
        yield


def test_a_table_that_is_locked(database: Server) -> None:
    with databases(database, gc1_locked=5):
        tables = find(database)
        with locked(database, "gc1_locked"):
            begin = time.monotonic()
            with pytest.raises(database_connection.DatabaseError) as told:
                database_messages.count_up_to(settings(database), tables, 10)
        assert told.value.kind == "lock"
        assert time.monotonic() - begin < 5


def test_a_server_that_takes_too_long_for_every_query(database: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.waba.onprem.plugins.module_utils._database import mysql, pgsql

    with databases(database, gc1_slow=50):
        tables = find(database)
        relay = Relay(lambda: socket.create_connection(("127.0.0.1", database.port)))
        config = dataclasses.replace(settings(database), port=relay.port, connect_timeout=3.0)
        patient = functools.partial(database_connection.connect, statement_timeout=0.3)
        monkeypatch.setattr(database_messages, "connect", patient)
        for part in (mysql, pgsql):
            monkeypatch.setattr(part, "GRACE", 0.3)
        assert not activity.inspect(config, tables, KEYS).deleting
        # As at 30 s a query against a statement time-out of 5 s.
        relay.delay = 2.0
        begin = time.monotonic()
        with pytest.raises(database_connection.DatabaseError) as told:
            activity.inspect(config, tables, KEYS)
        assert time.monotonic() - begin < 5
        assert told.value.kind == {"mariadb": "timeout", "postgres": "unreachable"}[database.kind]
        assert told.value.retryable
        relay.cut()


def test_a_count_that_takes_too_long_is_unknown_and_counts_as_large(
    database: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with databases(database, gc1_unknown=ROWS):
        tables = find(database)
        assert database_messages.count_up_to(settings(database), tables, 10 * ROWS).rows == ROWS
        monkeypatch.setattr(database_messages, "_COUNT_TIMEOUT", 1.0)
        with locked(database, "gc1_unknown"):
            count = database_messages.count_up_to(settings(database), tables, 10 * ROWS)
        assert (count.exact, count.large) == (False, True)
        assert count.unknown == "gc1_unknown: the count took too long"
