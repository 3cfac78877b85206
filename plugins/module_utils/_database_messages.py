# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's `messages` tables: where they are, how many rows they hold (the gate), what moves (the pulse).

The gate is right and costs as much as the limit is high, whatever the table; it is for before and after a GC. The
pulse costs nothing and is an estimate; it is for the time in between and proves nothing about how many rows there are.
"""

from __future__ import annotations

import re
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._database import (
    MYSQL,
    DatabaseError,
    Session,
    Settings,
    connect,
    databases,
    quote,
)
from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError

NAME = "messages"  # domain 2: named by Meta
_VACUUM_TIMEOUT = 1800.0
# A transaction that has changed `messages` and goes on for this long is more than one row of traffic.
_LONG_CHANGE = 5.0
# A transaction that has done nothing for so long was forgotten, not paused.
_FORGOTTEN = 60.0
# A delete shorter than this is ordinary traffic, or shows in the counters.
_LONG_DELETE = 1.0
_PURGED = 21  # fewer transactions than this to purge are the server's ordinary rest
_STRIDE = 50_000  # rows that a slow server walks in one statement
_READS = r"^\s*(select|show)\M"  # a statement that deletes nothing, but for functions that do
_DELETE = re.compile(r"(?:\s|/\*.*?\*/|--[^\n]*\n|#[^\n]*\n)*(?:with\b.*?\b)?delete\b.*?\bmessages\b", re.I | re.S)


@dataclass(frozen=True)
class Table:
    """One `messages` table.

    `key` holds the columns of its primary key, `ids` are PostgreSQL's object ids of it and its partitions; `readable` is
    whether the user may count its rows, `visible` whether its name alone finds it.
    """

    database: str
    schema: str
    key: tuple[str, ...]
    owned: bool = False
    ids: tuple[int, ...] = ()
    readable: bool = True
    visible: bool = True

    def quoted(self, engine: str) -> str:
        """Its name in a statement."""
        return f"{quote(engine, self.schema)}.{quote(engine, NAME)}"


@dataclass(frozen=True)
class Count:
    """How many rows there are: exactly, or at least (`exact` false). `unknown` says why nothing was learnt.

    `large` is whether there are more than the limit; what is unknown counts as large.
    """

    rows: int
    exact: bool
    large: bool
    unknown: str = ""


@dataclass(frozen=True)
class Other:
    """Another session of the user: seconds since it has done something (0 while it does), and whether that only read."""

    name: str
    idle: float
    reads: bool


@dataclass(frozen=True)
class Pulse:
    """Estimates and counters of one moment. `inserted` is None where the engine does not count it.

    `counters` holds one delete counter for each server or database, so that a reset of one is seen; `origins` when each
    of those servers started (seconds since 1970), so that another one after a failover is. `files` tells PostgreSQL's
    files of the tables: a partition that is dropped or emptied changes them, estimates that are corrected do not.
    `sessions` are those of the user at PostgreSQL.
    """

    rows: int
    counters: tuple[int, ...]
    inserted: int | None
    deleting: bool
    read_only: bool = False
    origins: tuple[float, ...] = ()
    files: str = ""
    sessions: tuple[Other, ...] = ()

    @property
    def idle(self) -> float | None:
        """For how many seconds all sessions have been idle, or None when there is none."""
        return min((session.idle for session in self.sessions), default=None)

    @property
    def unchanged(self) -> float | None:
        """The same of the sessions that may have changed something last."""
        return min((session.idle for session in self.sessions if not session.reads), default=None)


def deletes_messages(statement: str) -> bool:
    """Whether an SQL statement deletes from a table called `messages`."""
    return _DELETE.match(statement) is not None


def find_tables(
    config: Settings,
    prefix: str,
    choose: t.Callable[[list[str]], list[str]],
    only: t.Sequence[str] | None = None,
    tell: t.Callable[[str], None] = lambda _text: None,
) -> list[Table]:
    """The `messages` tables of the client with `prefix`; `only`, when given, are the databases to look into whatever their prefix.

    `choose` gets the databases that hold one and returns the client's own, or raises WaError. What the user may not
    read is somebody else's, since the client reads with this user; `tell` gets the words that say so.
    """
    found: dict[str, list[Table]] = {}
    with connect(config) as session:
        names = [name for name in databases(session, "" if only else prefix) if not only or name in only]
        if config.engine == MYSQL:
            for name in names:
                tables = _mysql_tables(session, name)
                if tables:
                    found[name] = tables
    if config.engine != MYSQL:
        for name in names:
            with connect(config, name) as session:
                tables = _pgsql_tables(session, name)
            for table in tables:
                if not table.readable:
                    tell(f"{name}: {table.schema}.{NAME} was not counted, since user {config.user} may not read it")
            readable = [table for table in tables if table.readable]
            if readable:
                found[name] = _one_schema(config, readable, tell)
    return [table for name in choose(sorted(found)) for table in found[name]]


def _one_schema(config: Settings, tables: list[Table], tell: t.Callable[[str], None]) -> list[Table]:
    """Of the tables in several schemas of one database, the one that the user's search_path finds, as the client's statements do."""
    if len(tables) == 1:
        return tables
    name, mine = tables[0].database, [table for table in tables if table.visible]
    schemas = ", ".join(table.schema for table in tables if not table.visible)
    if not mine:
        raise WaError(
            f"table {NAME} in {name}",
            f"ambiguous: it is in the schemas {schemas}, and none of them in the search_path of user {config.user}",
            "one that the client's statements find",
            f"Set the user's search_path in this database as the client has it: ALTER ROLE {config.user} IN DATABASE",
        )
    tell(
        f"{name}: {NAME} in {schemas} was not counted, since it is not the one in the search_path of user {config.user}"
    )
    return mine


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
        " WHERE inhparent = part.oid) SELECT oid::bigint FROM part),"
        " has_table_privilege(c.oid, 'SELECT'), pg_table_is_visible(c.oid)"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = %s AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'"
        " AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND has_schema_privilege(n.oid, 'USAGE')"
        " ORDER BY n.nspname",
        (NAME,),
    )
    return [
        Table(
            database, str(row[0]), tuple(row[1]), bool(row[2]), tuple(int(oid) for oid in row[3]), *map(bool, row[4:])
        )
        for row in rows
    ]


def _sessions(config: Settings, tables: t.Sequence[Table]) -> t.Iterator[tuple[Session, list[Table]]]:
    """A session for each place to ask, with the tables there: one for a MySQL server, one for each PostgreSQL database."""
    if config.engine == MYSQL:
        with connect(config) as session:
            yield session, list(tables)
        return
    for database in dict.fromkeys(table.database for table in tables):
        with connect(config, database) as session:
            yield session, [table for table in tables if table.database == database]


# The gate


def gate(config: Settings, tables: t.Sequence[Table], limit: int) -> Count:
    """Whether all tables together hold more than `limit` rows, and exactly how many when they do not."""
    total = 0
    for session, here in _sessions(config, tables):
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
    """Whether MariaDB has purged what was deleted. A server too busy to tell has not."""
    if session.engine != MYSQL:
        return False
    try:
        return _to_purge(session) in range(_PURGED)
    except DatabaseError as error:
        if error.kind != "timeout":
            raise
        return False


def _rows_up_to(session: Session, table: Table, limit: int, purged: bool) -> int | None:
    """The exact number of rows, or None when there are more than `limit`. `purged`: no deleted rows are left behind."""
    name = table.quoted(session.engine)
    subject = f"table {NAME} in {table.database}"
    if session.engine == MYSQL:
        # A secondary index is a fraction of the table, but far slower until deletes are purged: each entry is looked up.
        name += " FORCE INDEX (PRIMARY)" if table.key and not purged else ""
        probe = f"SELECT 1 FROM {name} LIMIT %s, 1"
    else:
        probe = f"SELECT 1 FROM {name} OFFSET %s LIMIT 1"
    try:
        if session.rows(probe, (limit,), subject):
            return None
        return int(session.value(f"SELECT COUNT(*) FROM {name}", (), subject))
    except DatabaseError as error:
        if error.kind != "timeout" or len(table.key) != 1:
            raise
    with connect(session.settings, None if session.engine == MYSQL else table.database) as fresh:
        return _walk(fresh, table, limit, subject)


def _walk(session: Session, table: Table, limit: int, subject: str) -> int | None:
    """The same in many short statements along the primary key, for a server too slow to count at once."""
    name, key = table.quoted(session.engine), quote(session.engine, table.key[0])
    if session.engine == MYSQL:
        name += " FORCE INDEX (PRIMARY)"
    total, after, values = 0, "", ()  # type: int, str, tuple[t.Any, ...]
    while total <= limit:
        found = session.rows(
            f"SELECT {key} FROM {name}{after} ORDER BY {key} LIMIT 1 OFFSET %s", (*values, _STRIDE - 1), subject
        )
        if not found:
            rest = int(session.value(f"SELECT COUNT(*) FROM {name}{after}", values, subject))
            return total + rest if total + rest <= limit else None
        total += _STRIDE
        after, values = f" WHERE {key} > %s", (found[0][0],)
    return None


# The pulse


def pulse(config: Settings, tables: t.Sequence[Table]) -> Pulse:
    """What moves: estimated rows, counters of deleted and inserted rows, whether a DELETE on `messages` runs."""
    rows, inserted, deleting, read_only_ = 0, 0, False, False
    counters: list[int] = []
    origins: list[float] = []
    files = ""
    others: list[Other] = []
    for session, here in _sessions(config, tables):
        found = _mysql_pulse(session, here) if config.engine == MYSQL else _pgsql_pulse(session, here)
        rows += found.rows
        counters += found.counters
        origins += found.origins
        files += found.files
        others += found.sessions
        inserted += found.inserted or 0
        deleting = deleting or found.deleting
        read_only_ = read_only_ or session.is_read_only()
    counted = None if config.engine == MYSQL else inserted
    return Pulse(rows, tuple(counters), counted, deleting, read_only_, tuple(origins), files, tuple(others))


def _mysql_pulse(session: Session, tables: list[Table]) -> Pulse:
    if session.version().product == "MySQL" and session.version().numbers >= (8,):
        session.rows("SET SESSION information_schema_stats_expiry = 0")
    rows = 0
    for table in tables:
        rows += int(
            session.value(
                "SELECT table_rows FROM information_schema.tables WHERE table_schema = %s AND table_name = %s",
                (table.database, NAME),
            )
            or 0
        )
    status = dict(session.rows("SHOW GLOBAL STATUS WHERE variable_name IN ('Handler_delete', 'Uptime')"))
    now = float(session.value("SELECT UNIX_TIMESTAMP()"))
    running = session.rows(
        "SELECT db, LEFT(info, 2000) FROM information_schema.processlist"
        " WHERE info IS NOT NULL AND id <> CONNECTION_ID() AND time >= %s",
        (_LONG_DELETE,),
    )
    own = {table.database for table in tables}
    # A statement outside our databases may still name them.
    deleting = any(
        (db is None or db in own or any(name in info for name in own)) and deletes_messages(info)
        for db, info in running
    )
    origin = now - float(status.get("Uptime", now))
    return Pulse(rows, (int(status.get("Handler_delete", 0)),), None, deleting, origins=(origin,))


def _pgsql_pulse(session: Session, tables: list[Table]) -> Pulse:
    ids = [oid for table in tables for oid in table.ids]
    figures = session.rows(
        "SELECT coalesce(sum(pg_stat_get_live_tuples(oid)), 0), coalesce(sum(pg_stat_get_tuples_deleted(oid)), 0),"
        " coalesce(sum(pg_stat_get_tuples_inserted(oid)), 0), extract(epoch FROM pg_postmaster_start_time()),"
        " (SELECT md5(string_agg(c.oid || ':' || relfilenode, ',' ORDER BY c.oid)) FROM pg_class c WHERE c.oid = ANY (%s::oid[]))"
        " FROM unnest(%s::oid[]) AS oid",
        (ids, ids),
    )[0]
    others = session.rows(
        # A function that deletes shows only its call; the lock on the table, held for long, tells. But a session that was
        # left in a transaction holds it too, after a single INSERT: it does nothing.
        "SELECT CASE WHEN xact_start < clock_timestamp() - %s * interval '1 s' THEN left(query, 2000) END,"
        " CASE WHEN xact_start < clock_timestamp() - %s * interval '1 s'"
        " AND (state = 'active' OR state_change > clock_timestamp() - %s * interval '1 s')"
        " THEN EXISTS (SELECT 1 FROM pg_locks l"
        " WHERE l.pid = a.pid AND l.mode = 'RowExclusiveLock' AND l.relation = ANY (%s::oid[])) END,"
        " pid || ' ' || extract(epoch FROM backend_start),"
        " CASE WHEN state = 'idle' THEN extract(epoch FROM clock_timestamp() - state_change) ELSE 0 END,"
        " coalesce(query ~* %s, false)"
        " FROM pg_stat_activity a WHERE datname = current_database() AND usename = current_user"
        " AND pid <> pg_backend_pid()",
        (_LONG_DELETE, _LONG_CHANGE, _FORGOTTEN, ids, _READS),
    )
    return Pulse(
        int(figures[0]),
        (int(figures[1]),),
        int(figures[2]),
        any(locked or deletes_messages(query or "") for query, locked, *_rest in others),
        origins=(float(figures[3]),),
        files=str(figures[4] or ""),
        sessions=tuple(Other(name, max(float(idle), 0.0), reads) for *_query, name, idle, reads in others),
    )


# Before the closing gate


def tidy(config: Settings, tables: t.Sequence[Table], seconds: float) -> str:
    """Let the server finish the deletes' after-work, for at most `seconds`: what could not be done, in words.

    PostgreSQL: VACUUM (ANALYZE) where the user owns the table. MariaDB: wait until purge no longer catches up. Without
    it the closing count takes minutes and writes gigabytes.
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
    """Wait while the history that MariaDB has to purge gets shorter."""
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
    """How many transactions MariaDB has still to purge; None from MySQL, which does not tell ordinary users."""
    found = session.rows("SHOW GLOBAL STATUS LIKE 'Innodb_history_list_length'")
    return int(found[0][1]) if found else None


def read_only(config: Settings) -> DatabaseError:
    """The failure when the server takes no writes: the client can delete nothing there."""
    found = "read only: a replica, or a primary set so"
    return DatabaseError(config.subject, found, "read_only", "a server that takes writes")
