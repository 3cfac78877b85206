# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes on in the client's `messages` tables at this moment: deletes that run, deletes that the server has counted."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._database import processlist, sample
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import (
    MYSQL,
    DatabaseError,
    Session,
    Settings,
)
from ansible_collections.waba.onprem.plugins.module_utils._database.messages import NAME, Table, sessions

# A delete shorter than this is ordinary traffic, or shows in the rows that go.
_LONG_DELETE = 1.0
# A transaction that may write to `messages` and goes on for this long is more than one row of traffic.
_LONG_CHANGE = 5.0
# A transaction that has done nothing for so long was forgotten, not paused.
_FORGOTTEN = 180.0
_DELETE = re.compile(r"(?:\s|/\*.*?\*/|--[^\n]*\n|#[^\n]*\n)*(?:with\b.*?\b)?delete\b.*?\bmessages\b", re.I | re.S)


@dataclass(frozen=True)
class Activity:
    """What one look shows.

    `alive` is how many keys of a sample are there, `deleted` and `inserted` are the rows that the tables' own counters have seen
    go and come (None where there are none, or they may not be read), `deleting` is whether another session deletes now.
    """

    alive: int
    deleted: int | None
    inserted: int | None
    deleting: bool
    read_only: bool = False


def deletes_messages(statement: str) -> bool:
    """Whether an SQL statement deletes from a table called `messages`."""
    return _DELETE.match(statement) is not None


def estimate(config: Settings, tables: t.Sequence[Table]) -> list[int]:
    """The rows of each of `tables` as the server's statistics have them: wrong by half or double."""
    found: dict[Table, int] = {}
    for session, here in sessions(config, tables):
        found.update((table, _estimate(session, table)) for table in here)
    return [found[table] for table in tables]


def _estimate(session: Session, table: Table) -> int:
    if session.engine != MYSQL:
        ask = "SELECT sum(pg_stat_get_live_tuples(oid)) FROM unnest(%s::oid[]) AS oid"
        return int(session.value(ask, (list(table.ids),)) or 0)
    if session.version().product == "MySQL" and session.version().numbers >= (8,):
        session.rows("SET SESSION information_schema_stats_expiry = 0")
    where = "table_schema = %s AND table_name = %s"
    return int(
        session.value(f"SELECT table_rows FROM information_schema.tables WHERE {where}", (table.database, NAME)) or 0
    )


def take_sample(
    config: Settings, tables: t.Sequence[Table], size: int, rows: t.Sequence[int]
) -> list[list[sample.Key]]:
    """The keys of a sample of about `size` rows, for each of `tables` in proportion to its estimated `rows`."""
    total = max(sum(rows), 1)
    shares = {table: (max(size * some // total, 100), some) for table, some in zip(tables, rows)}
    found: dict[Table, list[sample.Key]] = {}
    for session, here in sessions(config, tables):
        found.update((table, sample.take(session, table, *shares[table])) for table in here)
    return [found[table] for table in tables]


def look(config: Settings, tables: t.Sequence[Table], keys: t.Sequence[t.Sequence[sample.Key]]) -> Activity:
    """What goes on in `tables`; `keys` are those of a sample, for each of them."""
    own = dict(zip(tables, keys))
    seen = [_look(session, here, own) for session, here in sessions(config, tables)]
    return Activity(
        sum(one.alive for one in seen),
        _sum([one.deleted for one in seen]),
        _sum([one.inserted for one in seen]),
        any(one.deleting for one in seen),
        any(one.read_only for one in seen),
    )


def _sum(parts: list[int | None]) -> int | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _look(session: Session, tables: list[Table], keys: t.Mapping[Table, t.Sequence[sample.Key]]) -> Activity:
    mysql = session.engine == MYSQL
    deleting = _mysql_deletes(session, tables) if mysql else _pgsql_deletes(session, tables)
    deleted, inserted = _mysql_counters(session, tables) if mysql else _pgsql_counters(session, tables)
    alive = sum(sample.count(session, table, keys[table]) for table in tables)
    return Activity(alive, deleted, inserted, deleting, session.is_read_only())


def _mysql_deletes(session: Session, tables: list[Table]) -> bool:
    """Whether a DELETE on one of `tables` runs. Without the privilege PROCESS the server shows the user's own sessions only."""
    found = processlist.rows(
        session,
        f"db, {processlist.STATEMENT}",
        "info IS NOT NULL AND id <> CONNECTION_ID() AND time >= %s",
        (_LONG_DELETE,),
    )
    running = [(db, _text(statement)) for db, statement in found]
    own = {table.database for table in tables}
    # A statement outside our databases may still name them.
    return any(
        (db is None or db in own or any(name in info for name in own)) and deletes_messages(info)
        for db, info in running
    )


def _text(statement: t.Any) -> str:
    """A statement that the server gave as bytes."""
    return bytes(statement or b"").decode(errors="replace")


def _mysql_counters(session: Session, tables: list[Table]) -> tuple[int | None, int | None]:
    """Rows deleted and inserted by the performance schema, which is off in MariaDB and closed to MySQL's users unless granted."""
    names = [name for table in tables for name in (table.database, NAME)]
    where = " OR ".join(["(object_schema = %s AND object_name = %s)"] * len(tables))
    of = "performance_schema.table_io_waits_summary_by_table"
    try:
        [(deleted, inserted)] = session.rows(
            f"SELECT SUM(count_delete), SUM(count_insert) FROM {of} WHERE {where}", names
        )
    except DatabaseError as error:
        if error.kind not in ("denied", "missing"):
            raise
        return None, None
    return (None, None) if deleted is None else (int(deleted), int(inserted))


# Each look is a new session, in which all that a statement names is looked up for the first time: so functions and not the
# views over them.


def _pgsql_counters(session: Session, tables: list[Table]) -> tuple[int, int]:
    """Rows deleted and inserted by the statistics of the tables and their partitions."""
    ask = "SELECT sum(pg_stat_get_tuples_deleted(oid)), sum(pg_stat_get_tuples_inserted(oid)) FROM unnest(%s::oid[]) AS oid"
    [(deleted, inserted)] = session.rows(ask, ([oid for table in tables for oid in table.ids],))
    return int(deleted or 0), int(inserted or 0)


def _pgsql_deletes(session: Session, tables: list[Table]) -> bool:
    """Whether a transaction of this database deletes from `tables`.

    A function that deletes shows only its call, and another user's statement is hidden: the lock on the table, held for long,
    shows it. A session that was left in a transaction holds it too, after a single INSERT: it does nothing.
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
    return bool(long) and bool(
        session.rows(
            "SELECT 1 FROM pg_locks WHERE pid = ANY (%s) AND mode = 'RowExclusiveLock' AND relation = ANY (%s::oid[]) LIMIT 1",
            (long, [oid for table in tables for oid in table.ids]),
        )
    )
