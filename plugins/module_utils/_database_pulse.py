# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What moves in the client's `messages` tables: the pulse of a GC. It costs nothing, whatever the table, and proves nothing."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._database import MYSQL, Session, Settings
from ansible_collections.waba.onprem.plugins.module_utils._database_messages import NAME, Table, sessions

# A transaction that has changed `messages` and goes on for this long is more than one row of traffic.
_LONG_CHANGE = 5.0
# A transaction that has done nothing for so long was forgotten, not paused.
_FORGOTTEN = 60.0
# A delete shorter than this is ordinary traffic, or shows in the counters.
_LONG_DELETE = 1.0
_READS = r"^\s*(select|show)\M"  # a statement that deletes nothing, but for functions that do
_DELETE = re.compile(r"(?:\s|/\*.*?\*/|--[^\n]*\n|#[^\n]*\n)*(?:with\b.*?\b)?delete\b.*?\bmessages\b", re.I | re.S)


@dataclass(frozen=True)
class Other:
    """Another session of the user: seconds since it has done something (0 while it does), and whether that only read.

    `idle` is None where the server does not tell, and of a session that was left in a transaction.
    """

    name: str
    idle: float | None
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
        """For how many seconds all sessions have been idle, or None when nothing is known of any."""
        return min((other.idle for other in self.sessions if other.idle is not None), default=None)

    @property
    def unchanged(self) -> float | None:
        """The same of the sessions that may have changed something last."""
        return min((other.idle for other in self.sessions if other.idle is not None and not other.reads), default=None)


def deletes_messages(statement: str) -> bool:
    """Whether an SQL statement deletes from a table called `messages`."""
    return _DELETE.match(statement) is not None


def pulse(config: Settings, tables: t.Sequence[Table]) -> Pulse:
    """What moves: estimated rows, counters of deleted and inserted rows, whether a DELETE on `messages` runs."""
    rows, inserted, deleting, read_only_ = 0, 0, False, False
    counters: list[int] = []
    origins: list[float] = []
    files = ""
    others: list[Other] = []
    for session, here in sessions(config, tables):
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
        " CASE WHEN state = 'idle' THEN greatest(extract(epoch FROM clock_timestamp() - state_change), 0)"
        " WHEN state = 'active' OR state_change > clock_timestamp() - %s * interval '1 s' THEN 0 END,"
        " coalesce(query ~* %s, false)"
        " FROM pg_stat_activity a WHERE datname = current_database() AND usename = current_user"
        " AND pid <> pg_backend_pid()",
        (_LONG_DELETE, _LONG_CHANGE, _FORGOTTEN, ids, _FORGOTTEN, _READS),
    )
    return Pulse(
        int(figures[0]),
        (int(figures[1]),),
        int(figures[2]),
        any(locked or deletes_messages(query or "") for query, locked, *_rest in others),
        origins=(float(figures[3]),),
        files=str(figures[4] or ""),
        sessions=tuple(
            Other(name, None if idle is None else float(idle), reads) for *_query, name, idle, reads in others
        ),
    )
