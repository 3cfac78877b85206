# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the activity on the client's `messages` tables: running deletes, the server's counters, a sample of primary keys.

The sample is taken once; later measurements count how many of its rows still exist.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import processlist
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import (
    MYSQL,
    DatabaseError,
    Session,
    Settings,
    connect,
    quote,
)
from ansible_collections.waba.onprem.plugins.module_utils._database.messages import (
    NAME,
    Count,
    Table,
    read_only,
    sessions,
)

# The values of the key's columns in JSON: bytes as {"hex": ...}, dates and other types as text.
Key = list[t.Any]
_AT_ONCE = 500  # keys per statement
_LONG = 600.0  # seconds for a statement that reads a complete index, once per run
# A shorter delete is ordinary traffic, or is visible in the deleted rows.
_LONG_DELETE = 1.0
# A transaction that may write to `messages` and takes longer is more than the traffic of one row.
_LONG_CHANGE = 5.0
# A transaction that is idle for longer was abandoned, not paused.
_FORGOTTEN = 180.0
_T = t.TypeVar("_T")
_DELETE = re.compile(r"(?:\s|/\*.*?\*/|--[^\n]*\n|#[^\n]*\n)*(?:with\b.*?\b)?delete\b.*?\bmessages\b", re.I | re.S)


class Activity(t.NamedTuple):
    """The result of one measurement.

    `alive` is the number of existing keys of the sample, `deleting` whether another session deletes now, `deleted` and
    `inserted` are the rows in the tables' counters (None if there are none, or they may not be read).
    """

    alive: int
    deleting: bool
    deleted: int | None = None
    inserted: int | None = None

    @property
    def net(self) -> int | None:
        """Returns by how many rows the tables have shrunk: traffic inserts as many rows as it deletes later."""
        return None if self.deleted is None or self.inserted is None else self.deleted - self.inserted


def deletes_messages(statement: str) -> bool:
    """Returns whether an SQL statement deletes from a table named `messages`."""
    return _DELETE.match(statement) is not None


def estimate(config: Settings, tables: t.Sequence[Table]) -> list[int]:
    """Returns the rows of each of `tables` from the server's statistics, which may be wrong by a factor of two."""
    return _each(config, tables, _estimate)


def rows(config: Settings, tables: t.Sequence[Table], count: Count) -> int:
    """Returns the rows of `tables` after their `count`: exact, or estimated if there are more than it was limited to."""
    return count.rows if count.exact else max(count.rows, sum(estimate(config, tables)))


def take_sample(config: Settings, tables: t.Sequence[Table], size: int) -> list[list[Key]]:
    """Returns the keys of a sample of about `size` rows, for each of `tables` in proportion to its estimated rows.

    They are spread over the table; a smaller table gives all its keys. Raises WaError for a table without a primary key.
    """
    estimated = {table: max(rows, 1) for table, rows in zip(tables, estimate(config, tables))}
    total = sum(estimated.values())

    def take(session: Session, table: Table) -> list[Key]:
        return _take(session, table, max(size * estimated[table] // total, 100), estimated[table])

    return _each(config, tables, take)


def _each(config: Settings, tables: t.Sequence[Table], ask: t.Callable[[Session, Table], _T]) -> list[_T]:
    found = {table: ask(session, table) for session, here in sessions(config, tables) for table in here}
    return [found[table] for table in tables]


def _estimate(session: Session, table: Table) -> int:
    if session.engine != MYSQL:
        ask = "SELECT sum(pg_stat_get_live_tuples(oid)) FROM unnest(%s::oid[]) AS oid"
        return int(session.value(ask, (list(table.ids),)) or 0)
    if session.version().product == "MySQL" and session.version().numbers >= (8,):
        session.rows("SET SESSION information_schema_stats_expiry = 0")
    ask = "SELECT table_rows FROM information_schema.tables WHERE table_schema = %s AND table_name = %s"
    return int(session.value(ask, (table.database, NAME)) or 0)


def inspect(config: Settings, tables: t.Sequence[Table], keys: t.Sequence[t.Sequence[Key]]) -> Activity:
    """Returns the activity on `tables`; `keys` is the sample of each. Raises DatabaseError if the server is read-only."""
    own = dict(zip(tables, keys))
    seen = [_inspect(session, here, own) for session, here in sessions(config, tables)]
    return Activity(
        sum(one.alive for one in seen),
        any(one.deleting for one in seen),
        _sum([one.deleted for one in seen]),
        _sum([one.inserted for one in seen]),
    )


def _sum(parts: list[int | None]) -> int | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _inspect(session: Session, tables: list[Table], keys: t.Mapping[Table, t.Sequence[Key]]) -> Activity:
    if session.is_read_only():
        raise read_only(session.settings)
    mysql = session.engine == MYSQL
    deleting = _mysql_deletes(session, tables) if mysql else _pgsql_deletes(session, tables)
    counted = _mysql_counters(session, tables) if mysql else _pgsql_counters(session, tables)
    return Activity(sum(_count(session, table, keys[table]) for table in tables), deleting, *counted)


def _mysql_deletes(session: Session, tables: list[Table]) -> bool:
    """Returns whether a DELETE on one of `tables` runs. Without PROCESS the server shows the user's own sessions only."""
    where = "info IS NOT NULL AND id <> CONNECTION_ID() AND time >= %s"
    found = processlist.rows(session, f"db, {processlist.STATEMENT}", where, (_LONG_DELETE,))
    running = [(db, _text(statement)) for db, statement in found]
    own = {table.database for table in tables}
    # A session in another database may still name these tables.
    here = [info for db, info in running if db is None or db in own or any(name in info for name in own)]
    return any(map(deletes_messages, here))


def _text(statement: t.Any) -> str:
    """Returns a statement that the server returned as bytes as text."""
    return bytes(statement or b"").decode(errors="replace")


def _mysql_counters(session: Session, tables: list[Table]) -> tuple[int | None, int | None]:
    """Returns deleted and inserted rows from the performance schema (off in MariaDB by default; needs a grant in MySQL)."""
    names = [name for table in tables for name in (table.database, NAME)]
    where = " OR ".join(["(object_schema = %s AND object_name = %s)"] * len(tables))
    ask = "SELECT SUM(count_delete), SUM(count_insert) FROM performance_schema.table_io_waits_summary_by_table"
    try:
        [(deleted, inserted)] = session.rows(f"{ask} WHERE {where}", names)
    except DatabaseError as error:
        if error.kind not in ("denied", "missing"):
            raise
        return None, None
    return (None, None) if deleted is None else (int(deleted), int(inserted))


# Functions instead of views over them: each measurement is a new session that has to look up every name again.


def _pgsql_counters(session: Session, tables: list[Table]) -> tuple[int, int]:
    """Returns deleted and inserted rows from the statistics of the tables and their partitions."""
    ask = "SELECT sum(pg_stat_get_tuples_deleted(oid)), sum(pg_stat_get_tuples_inserted(oid)) FROM unnest(%s::oid[]) AS oid"
    [(deleted, inserted)] = session.rows(ask, ([oid for table in tables for oid in table.ids],))
    return int(deleted or 0), int(inserted or 0)


def _pgsql_deletes(session: Session, tables: list[Table]) -> bool:
    """Returns whether a transaction of this database deletes from `tables`.

    A function that deletes shows only its call, and another user's statement is hidden: both are detected by a lock on the
    table held for long. A session idle in a transaction also holds it, after a single INSERT, and does not count.
    """
    found = session.rows(
        "SELECT pid, textsend(left(query, 2000)), extract(epoch FROM clock_timestamp() - xact_start),"
        " state = 'active' OR state_change > clock_timestamp() - interval '1 s' * %s"
        " FROM pg_stat_get_activity(NULL) WHERE pid <> pg_backend_pid()"
        " AND datid = (SELECT datid FROM pg_stat_get_activity(pg_backend_pid()))"
        " AND xact_start < clock_timestamp() - interval '1 s' * %s",
        (_FORGOTTEN, _LONG_DELETE),
    )
    if any(deletes_messages(_text(query)) for _pid, query, _lasts, _acts in found):
        return True
    long = [pid for pid, _query, lasts, acts in found if acts and lasts > _LONG_CHANGE]
    held = "SELECT 1 FROM pg_locks WHERE pid = ANY (%s) AND mode = 'RowExclusiveLock' AND relation = ANY (%s::oid[]) LIMIT 1"
    return bool(long and session.rows(held, (long, [oid for table in tables for oid in table.ids])))


# The sample


def _take(session: Session, table: Table, size: int, rows: int) -> list[Key]:
    """Returns keys next to evenly spaced integers, with some thousand index reads.

    If the keys are distributed too unevenly, or are no integers, the complete index is read once.
    """
    if not table.key:
        raise WaError(
            f"table {NAME} in {table.database}",
            "it has no primary key",
            "one, since a GC is followed by the keys of the rows that it deletes",
            "Use the client's automatic GC for this database",
        )
    name, columns = table.quoted(session.engine), _columns(session, table)
    found = session.rows(f"SELECT {columns} FROM {name} LIMIT %s", (size + 1,))
    if len(found) > size:
        found = _spread(session, table, size)
        if len(found) < size / 2:
            found = _hashed(session, table, max(rows // size, 1))
            found = found[:: len(found) // size + 1] if len(found) > 2 * size else found
    return [[_plain(value) for value in row] for row in found]


def _hashed(session: Session, table: Table, part: int) -> list[tuple[t.Any, ...]]:
    """Returns one key in `part`, selected by hash in one read of the complete index, which may take long."""
    columns = _columns(session, table)
    hashed = f"CRC32(CONCAT_WS(',', {columns}))" if session.engine == MYSQL else f"hashtext(concat_ws(',', {columns}))"
    database = None if session.engine == MYSQL else table.database
    with connect(session.settings, database, statement_timeout=_LONG) as patient:
        return patient.rows(f"SELECT {columns} FROM {table.quoted(session.engine)} WHERE {hashed} %% %s = 0", (part,))


def _spread(session: Session, table: Table, size: int) -> list[tuple[t.Any, ...]]:
    """Returns the distinct keys next to evenly spaced values; none if the key is not a single integer."""
    name, column = table.quoted(session.engine), _columns(session, table)
    if len(table.key) > 1:
        return []
    [(low, high)] = session.rows(f"SELECT MIN({column}), MAX({column}) FROM {name}")
    if not (isinstance(low, int) and isinstance(high, int)):
        return []
    one = f"(SELECT {column} FROM {name} WHERE {column} >= %s ORDER BY {column} LIMIT 1)"
    values = [low + (high - low) * number // (size - 1) for number in range(size)]
    found: dict[tuple[t.Any, ...], None] = {}
    for part in _parts(values):
        found.update(dict.fromkeys(session.rows(" UNION ALL ".join([one] * len(part)), part)))
    return list(found)


def _count(session: Session, table: Table, keys: t.Sequence[Key]) -> int:
    """Returns how many of `keys` still exist."""
    name, columns = table.quoted(session.engine), _columns(session, table)
    mark = f"({', '.join(['%s'] * len(table.key))})" if len(table.key) > 1 else "%s"
    total = 0
    for part in _parts(keys):
        values = [bytes.fromhex(one["hex"]) if isinstance(one, dict) else one for key in part for one in key]
        where = f"({columns}) IN ({', '.join([mark] * len(part))})"
        total += int(session.value(f"SELECT COUNT(*) FROM {name} WHERE {where}", values))
    return total


def _columns(session: Session, table: Table) -> str:
    return ", ".join(quote(session.engine, column) for column in table.key)


def _parts(values: t.Sequence[_T]) -> t.Iterator[t.Sequence[_T]]:
    return (values[begin : begin + _AT_ONCE] for begin in range(0, len(values), _AT_ONCE))


def _plain(value: t.Any) -> t.Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"hex": bytes(value).hex()}
    return value if isinstance(value, (int, str)) else str(value)
