# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What moves in the client's `messages` tables: the pulse of a GC. It costs nothing, whatever the table, and proves nothing."""

from __future__ import annotations

import hashlib
import re
import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.waba.onprem.plugins.module_utils._database.connection import MYSQL, Session, Settings
from ansible_collections.waba.onprem.plugins.module_utils._database.messages import NAME, Table, sessions

# A transaction that has changed `messages` and goes on for this long is more than one row of traffic.
_LONG_CHANGE = 5.0
# A transaction that has done nothing for so long was forgotten, not paused.
_FORGOTTEN = 60.0
# A delete shorter than this is ordinary traffic, or shows in the counters.
_LONG_DELETE = 1.0
_READS = re.compile(r"\s*(select|show)\b", re.I)  # a statement that deletes nothing, but for functions that do
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
    told: list[Counters] = []
    deleting, read_only_ = False, False
    others: list[Other] = []
    for session, here in sessions(config, tables):
        told.append(counters(session, here))
        deletes, seen = who(session, here)
        deleting = deleting or deletes
        others += seen
        read_only_ = read_only_ or session.is_read_only()
    return Pulse(
        sum(one.rows for one in told),
        tuple(one.deleted for one in told),
        None if config.engine == MYSQL else sum(one.inserted for one in told),
        deleting,
        read_only_,
        tuple(origin for one in told for origin in one.origins),
        "".join(one.files for one in told),
        tuple(others),
    )


class Counters(t.NamedTuple):
    """Estimated rows, deleted and inserted ones, since when each server counts (seconds since 1970), the tables' files."""

    rows: int
    deleted: int
    inserted: int
    origins: tuple[float, ...]
    files: str = ""


def counters(session: Session, tables: list[Table]) -> Counters:
    """What the server of `session` has counted in `tables`."""
    return _mysql_counters(session, tables) if session.engine == MYSQL else _pgsql_counters(session, tables)


def who(session: Session, tables: list[Table]) -> tuple[bool, tuple[Other, ...]]:
    """Whether another session of the user deletes from `tables`, and where the engine tells enough, those sessions."""
    return (_mysql_deletes(session, tables), ()) if session.engine == MYSQL else _pgsql_others(session, tables)


def _mysql_counters(session: Session, tables: list[Table]) -> Counters:
    if session.version().product == "MySQL" and session.version().numbers >= (8,):
        session.rows("SET SESSION information_schema_stats_expiry = 0")
    # Each table by its own names, so that the server opens no other, and all in one statement.
    one = " UNION ALL SELECT table_rows FROM information_schema.tables WHERE table_schema = %s AND table_name = %s"
    names = [name for table in tables for name in (table.database, NAME)]
    (now,), *found = session.rows("SELECT UNIX_TIMESTAMP()" + one * len(tables), names)
    status = dict(session.rows("SHOW GLOBAL STATUS WHERE variable_name IN ('Handler_delete', 'Uptime')"))
    rows = sum(int(estimate or 0) for (estimate,) in found)
    origin = float(now) - float(status.get("Uptime", now))
    return Counters(rows, int(status.get("Handler_delete", 0)), 0, (origin,))


def _mysql_deletes(session: Session, tables: list[Table]) -> bool:
    """Whether a DELETE on one of `tables` runs."""
    running = session.rows(
        "SELECT db, LEFT(info, 2000) FROM information_schema.processlist"
        " WHERE info IS NOT NULL AND id <> CONNECTION_ID() AND time >= %s",
        (_LONG_DELETE,),
    )
    own = {table.database for table in tables}
    # A statement outside our databases may still name them.
    return any(
        (db is None or db in own or any(name in info for name in own)) and deletes_messages(info)
        for db, info in running
    )


# Each look is a new session, in which all that a statement names is looked up for the first time: so functions and not the
# views over them, and no sum or difference that can be made here.


def _pgsql_counters(session: Session, tables: list[Table]) -> Counters:
    figures = session.rows(
        "SELECT oid, pg_stat_get_live_tuples(oid), pg_stat_get_tuples_deleted(oid), pg_stat_get_tuples_inserted(oid),"
        " pg_relation_filenode(oid), pg_postmaster_start_time() FROM unnest(%s::oid[]) AS oid",
        ([oid for table in tables for oid in table.ids],),
    )
    return Counters(
        sum(int(row[1]) for row in figures),
        sum(int(row[2]) for row in figures),
        sum(int(row[3]) for row in figures),
        tuple({row[5].timestamp() for row in figures}),
        _digest(sorted(f"{row[0]}:{row[4]}" for row in figures)),
    )


def _pgsql_others(session: Session, tables: list[Table]) -> tuple[bool, tuple[Other, ...]]:
    """Whether one of the user's other sessions deletes from `tables`, and those sessions."""
    activity = session.rows(
        "SELECT clock_timestamp(), pid, xact_start, state, state_change, left(query, 2000), backend_start"
        " FROM pg_stat_get_activity(NULL) WHERE pid <> pg_backend_pid()"
        " AND (datid, usesysid) = (SELECT datid, usesysid FROM pg_stat_get_activity(pg_backend_pid()))"
    )
    others = [_Activity(*row) for row in activity]
    # A function that deletes shows only its call; the lock on the table, held for long, tells. But a session that was left in
    # a transaction holds it too, after a single INSERT: it does nothing.
    long = [one.pid for one in others if one.lasts(_LONG_CHANGE) and one.acts]
    locked = bool(long) and session.rows(
        "SELECT 1 FROM pg_locks WHERE pid = ANY (%s) AND mode = 'RowExclusiveLock' AND relation = ANY (%s::oid[]) LIMIT 1",
        (long, [oid for table in tables for oid in table.ids]),
    )
    deleting = bool(locked) or any(one.lasts(_LONG_DELETE) and deletes_messages(one.query or "") for one in others)
    return deleting, tuple(Other(one.name, one.idle, _READS.match(one.query or "") is not None) for one in others)


def _digest(files: list[str]) -> str:
    return hashlib.sha256(" ".join(files).encode()).hexdigest()[:32]


class _Activity(t.NamedTuple):
    """A session as PostgreSQL tells it; `now` is when it did."""

    now: datetime
    pid: int
    transaction: datetime | None
    state: str | None
    changed: datetime | None
    query: str | None
    began: datetime | None

    def lasts(self, seconds: float) -> bool:
        """Whether its transaction has lasted so long."""
        return self.transaction is not None and self._since(self.transaction) > seconds

    def _since(self, moment: datetime) -> float:
        return (self.now - moment).total_seconds()

    @property
    def name(self) -> str:
        """What tells it from another that has the same number later."""
        return f"{self.pid} {self.began}"

    @property
    def acts(self) -> bool:
        """Whether it does something, or has within the last while."""
        return self.state == "active" or (self.changed is not None and self._since(self.changed) < _FORGOTTEN)

    @property
    def idle(self) -> float | None:
        """As `Other` has it."""
        if self.state == "idle" and self.changed is not None:
            return max(self._since(self.changed), 0.0)
        return 0.0 if self.acts else None
