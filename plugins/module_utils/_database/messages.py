# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the client's `messages` tables and counts their rows.

The count is exact up to a limit, which also limits its cost. It is used before and after a GC; during a GC
`_database.activity` is used.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import ownership
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import (
    MYSQL,
    DatabaseError,
    Session,
    Settings,
    connect,
    quote,
)

NAME = "messages"  # domain 2: named by Meta
_VACUUM_TIMEOUT = 1800.0
_PURGED = 21  # fewer transactions to purge are normal for an idle server
_COUNT_TIMEOUT = 120.0  # seconds for the rows of one table


@dataclass(frozen=True)
class Table:
    """One `messages` table.

    `key` are the columns of its primary key, `ids` PostgreSQL's object ids of it and its partitions.
    """

    database: str
    schema: str
    key: tuple[str, ...]
    owned: bool = False
    ids: tuple[int, ...] = ()

    def quoted(self, engine: str) -> str:
        """Returns its quoted name for a statement."""
        return f"{quote(engine, self.schema)}.{quote(engine, NAME)}"


@dataclass(frozen=True)
class Count:
    """The number of rows: exact, or a minimum (`exact` false). `unknown` is the reason why it could not be counted.

    `large` is whether there are more than the limit; unknown counts as large.
    """

    rows: int
    exact: bool
    large: bool
    unknown: str = ""


def find_tables(config: Settings, prefix: str, wanted: t.Sequence[str] | None = None) -> list[Table]:
    """Returns the `messages` tables of the client with `prefix`; `wanted`, if set, are its databases with any prefix.

    Raises WaError if there is none, or if it may be another client's. Tables that the user may not read are skipped: the client
    reads with this user, so they belong to another one.
    """
    with connect(config) as session:
        found = ownership.inspect(session, prefix, wanted)
        names = ownership.anchors(prefix, found, wanted, lambda name: ownership.has_rows(session, name))
        if not names:
            raise _nothing_found(prefix, wanted)
        if config.engine == MYSQL:
            return [table for name in names for table in _mysql_tables(session, name)]
    tables: list[Table] = []
    for name in names:
        with connect(config, name) as session:
            here = _pgsql_tables(session, name)
        if len(here) > 1:
            raise WaError(
                f"table {NAME} in {name}",
                f"user {config.user} may read it in the schemas {', '.join(table.schema for table in here)}",
                "one, the client's",
                "Rename the other, or take the right to read it from the user",
            )
        tables += here
    return tables


def _nothing_found(prefix: str, wanted: t.Sequence[str] | None) -> WaError:
    if wanted:
        return WaError(
            "option databases", "no table messages seen in: " + ", ".join(wanted), "the client's database that has it"
        )
    return WaError(
        "client's database",
        f"no database that begins with {prefix!r} holds a table messages",
        "one that the client's user can see",
        "Start the client once so that it makes its databases, or correct WA_DB_NAME_PREFIX",
    )


def _mysql_tables(session: Session, database: str) -> list[Table]:
    where = "table_schema = %s AND table_name = %s"
    kind = session.value(f"SELECT table_type FROM information_schema.tables WHERE {where}", (database, NAME))
    if kind != "BASE TABLE":
        return []
    key = session.rows(
        f"SELECT column_name FROM information_schema.statistics WHERE {where} AND index_name = 'PRIMARY' ORDER BY seq_in_index",
        (database, NAME),
    )
    return [Table(database, database, tuple(str(row[0]) for row in key))]


def _pgsql_tables(session: Session, database: str) -> list[Table]:
    rows = session.rows(
        "SELECT n.nspname, ARRAY(SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid"
        " AND a.attnum = ANY (i.indkey) WHERE i.indrelid = c.oid AND i.indisprimary),"
        " pg_has_role(c.relowner, 'USAGE'),"
        " ARRAY(WITH RECURSIVE part(oid) AS (SELECT c.oid UNION SELECT inhrelid FROM pg_inherits, part"
        " WHERE inhparent = part.oid) SELECT oid::bigint FROM part)"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = %s AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'"
        " AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND has_schema_privilege(n.oid, 'USAGE')"
        " AND has_table_privilege(c.oid, 'SELECT') ORDER BY n.nspname",
        (NAME,),
    )
    return [
        Table(database, str(row[0]), tuple(row[1]), bool(row[2]), tuple(int(oid) for oid in row[3])) for row in rows
    ]


def sessions(config: Settings, tables: t.Sequence[Table], **options: t.Any) -> t.Iterator[tuple[Session, list[Table]]]:
    """Yields each session with its tables: one for a MySQL server, one for each PostgreSQL database. `options` are those of `connect`."""
    if config.engine == MYSQL:
        with connect(config, **options) as session:
            yield session, list(tables)
        return
    for database in dict.fromkeys(table.database for table in tables):
        with connect(config, database, **options) as session:
            yield session, [table for table in tables if table.database == database]


# The count


def count_up_to(config: Settings, tables: t.Sequence[Table], limit: int) -> Count:
    """Returns whether all tables together have more than `limit` rows, and the exact number if not."""
    total = 0
    for session, here in sessions(config, tables, statement_timeout=_COUNT_TIMEOUT):
        purged = _is_purged(session)
        for table in here:
            try:
                rows = _rows_up_to(session, table, limit - total, purged)
            except DatabaseError as error:
                if error.kind != "timeout":
                    raise
                return Count(total, False, True, f"{table.database}: the count took too long")
            if rows is None:
                return Count(limit + 1, False, True)
            total += rows
            if total > limit:
                return Count(total, False, True)
    return Count(total, True, False)


def _is_purged(session: Session) -> bool:
    """Returns whether MariaDB has purged deleted rows; false if the server is too busy to answer."""
    if session.engine != MYSQL:
        return False
    try:
        return _to_purge(session) in range(_PURGED)
    except DatabaseError as error:
        if error.kind != "timeout":
            raise
        return False


def _rows_up_to(session: Session, table: Table, limit: int, purged: bool) -> int | None:
    """Returns the exact number of rows, None if more than `limit`. `purged`: no deleted rows wait for a purge."""
    name = table.quoted(session.engine)
    subject = f"table {NAME} in {table.database}"
    if session.engine == MYSQL:
        # A secondary index is smaller, but much slower before deleted rows are purged: each entry needs a lookup.
        name += " FORCE INDEX (PRIMARY)" if table.key and not purged else ""
        probe = f"SELECT 1 FROM {name} LIMIT %s, 1"
    else:
        probe = f"SELECT 1 FROM {name} OFFSET %s LIMIT 1"
    if session.rows(probe, (limit,), subject):
        return None
    return int(session.value(f"SELECT COUNT(*) FROM {name}", (), subject))


# Before the final count


def vacuum(config: Settings, tables: t.Sequence[Table], seconds: float) -> str:
    """Cleans up after deletes for at most `seconds`. Returns messages about what could not be done.

    PostgreSQL: VACUUM (ANALYZE) if the user owns the table. MariaDB: waits until the purge makes no more progress. Without
    it the final count takes minutes and writes gigabytes.
    """
    if config.engine == MYSQL:
        with connect(config) as session:
            _await_purge(session, seconds)
        return ""
    problems = []
    for table in tables:
        if not table.owned:
            problems.append(f"{table.database}: the user does not own {NAME}, so no VACUUM was done")
            continue
        try:
            with connect(
                config, table.database, read_only=False, statement_timeout=min(max(seconds, 5), _VACUUM_TIMEOUT)
            ) as session:
                session.rows(f"VACUUM (ANALYZE) {table.quoted(config.engine)}")
        except DatabaseError as error:
            if error.kind not in ("timeout", "lock", "denied", "read_only"):
                raise
            problems.append(f"{table.database}: VACUUM not done: {error.found}")
    return "; ".join(problems)


def _await_purge(session: Session, seconds: float) -> None:
    """Waits while MariaDB's history list gets shorter."""
    end = time.monotonic() + min(seconds, 120)
    lowest, since = None, time.monotonic()
    while time.monotonic() < end:
        length = _to_purge(session)
        if length is None or length < _PURGED:
            return
        if lowest is None or length < lowest:
            lowest, since = length, time.monotonic()
        elif time.monotonic() - since > 2:
            return
        time.sleep(0.25)


def _to_purge(session: Session) -> int | None:
    """Returns MariaDB's history list length; None for MySQL, which hides it from ordinary users."""
    found = session.rows("SHOW GLOBAL STATUS LIKE 'Innodb_history_list_length'")
    return int(found[0][1]) if found else None


def read_only(config: Settings) -> DatabaseError:
    """Returns the error for a read-only server, on which the client cannot delete."""
    found = "read only: a replica, or a primary set so"
    return DatabaseError(config.subject, found, "read_only", "a server that takes writes")
