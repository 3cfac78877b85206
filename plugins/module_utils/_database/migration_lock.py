# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The migration lock on a database server: it serialises migrations of all deployments on that server.

It is a named lock in MySQL and MariaDB, an advisory lock in PostgreSQL. Neither needs a privilege, and both are released
at the end of the session. The server ends a session without activity, so that a failed host does not block others.
"""

from __future__ import annotations

import hashlib
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._database import connection, processlist
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import DatabaseError, Session, Settings

_NAME = "waba.onprem.migration"
_SILENCE = 20  # seconds without activity after which the server ends the session
_ALIVE_WITHIN = 10  # seconds for which a session counts as alive after its last activity
# PostgreSQL's locks belong to a database. Every server has this one, and unlike template1 CREATE DATABASE never copies it.
_DATABASE = "postgres"
_CLASS, _KEY = (int.from_bytes(hashlib.sha256(_NAME.encode()).digest()[at : at + 4], "big") >> 1 for at in (0, 4))
PGSQL_SESSIONS = "waba.onprem migration%"  # LIKE pattern of the names of sessions that hold a lock
# Two locks in one session: the second one identifies the client.
_TWO_LOCKS = {"MySQL": (5, 7, 5), "MariaDB": (10, 0, 2)}


def lock_id(env: t.Mapping[str, str], databases: t.Sequence[str] | None) -> str:
    """Returns a digest of user, prefix and databases in db.env, which identifies a client on a database server."""
    parts = [env.get("WA_DB_USERNAME", ""), env.get("WA_DB_NAME_PREFIX", ""), *sorted(databases or ())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


class MigrationLock:
    """The migration lock as seen and acquired by one client in `session`."""

    def __init__(self, session: Session, own: str) -> None:
        """`own` is the client's `lock_id`; on PostgreSQL `session` is connected to the database `postgres`."""
        self.session = session
        self.own = own
        self.mysql = session.engine == connection.MYSQL

    def unsupported(self) -> str:
        """Returns why the server supports no migration lock for this user; empty if it does."""
        if not self.mysql:
            # Checks the database that it is connected to, since pg_hba.conf may forbid `postgres`.
            here = self.session.value("SELECT current_database()")
            return "" if here == _DATABASE else f"its user cannot connect to the database {_DATABASE}"
        if [value for _name, value in self.session.rows("SHOW GLOBAL VARIABLES LIKE 'wsrep_on'") if value == "ON"]:
            return "the nodes of a Galera cluster have no lock in common"
        version = self.session.version()
        return "" if version.numbers >= _TWO_LOCKS[version.product] else f"{version.text} holds one lock a session"

    def holder(self) -> tuple[str, bool]:
        """Returns the holder of the lock as text (empty for none), and whether it is this client in a live session."""
        return self._mysql_holder() if self.mysql else self._pgsql_holder()

    def take(self) -> bool:
        """Acquires the lock unless another session holds it; it is kept as long as this session is active."""
        if not self.mysql:
            # In a transaction, which a connection pooler keeps in one session of the server.
            self.session.rows("BEGIN")
            if self.session.value("SELECT pg_try_advisory_xact_lock(%s, %s)", (_CLASS, _KEY)):
                return True
            self.session.rows("ROLLBACK")
            return False
        if self.session.value("SELECT GET_LOCK(%s, 0)", (_NAME,)) != 1:
            return False
        # The previous holder's session may be about to release this lock, too.
        if self.session.value("SELECT GET_LOCK(%s, 2)", (self._mysql_own(),)) == 1:
            return True
        self.session.value("SELECT RELEASE_LOCK(%s)", (_NAME,))
        return False

    def keep_alive(self, seconds: int = _SILENCE) -> None:
        """Keeps the session for `seconds` without activity. Raises DatabaseError if it, and with it the lock, is lost."""
        if self.mysql:
            self.session.rows(f"SET SESSION wait_timeout = {seconds}")
        else:
            self.session.value("SELECT 1")

    def _mysql_own(self) -> str:
        return f"{_NAME}.{self.own}"

    def _mysql_holder(self) -> tuple[str, bool]:
        number, own = self.session.rows("SELECT IS_USED_LOCK(%s), IS_USED_LOCK(%s)", (_NAME, self._mysql_own()))[0]
        if number is None:
            return "", False
        # Other users' sessions are visible with the privilege PROCESS only.
        seen = processlist.rows(self.session, "user, host, time", "id = %s", (number,))
        if not seen:
            return f"session {number} of another user", False
        user, host, silent = seen[0]
        description = f"session {number} of user {user} from {host.rpartition(':')[0] or host}"
        return description, number == own and int(silent or 0) < _ALIVE_WITHIN

    def _pgsql_holder(self) -> tuple[str, bool]:
        seen = self.session.rows(
            "SELECT l.pid, a.usename, a.application_name, clock_timestamp() - a.state_change < %s * interval '1 second'"
            " FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
            " WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %s::oid AND l.objid = %s::oid AND l.objsubid = 2"
            " AND l.database = (SELECT oid FROM pg_database WHERE datname = %s)",
            (_ALIVE_WITHIN, _CLASS, _KEY, _DATABASE),
        )
        if not seen:
            return "", False
        number, user, name, lives = seen[0]
        return f"session {number} of user {user} ({name})", bool(lives) and str(name).startswith(_label(self.own, ""))


def _label(own: str, deployment: str) -> str:
    """Returns the application_name of the session on PostgreSQL, which is visible to all users."""
    return f"waba.onprem migration {own} {deployment}"


def mysql_session(session: Session) -> int:
    """Returns the connection id that holds the lock on MySQL, 0 for none."""
    return int(session.value("SELECT IS_USED_LOCK(%s)", (_NAME,)) or 0)


def connect(config: Settings, own: str, deployment: str) -> MigrationLock:
    """Returns a session for the lock, with a name that other users can see. Raises DatabaseError."""
    mysql = config.engine == connection.MYSQL
    session = connection.connect(config, None if mysql else _DATABASE)
    try:
        if mysql:
            session.rows(f"SET SESSION wait_timeout = {_SILENCE}")
        else:
            # A pooler may ignore these; they only determine how soon a lost host is detected.
            session.rows(
                f"SET tcp_keepalives_idle = {_SILENCE // 2}; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 2"
            )
            session.value("SELECT set_config('application_name', %s, false)", (_label(own, deployment)[:63],))
            # Settings that end a long transaction; the second one is new in PostgreSQL 17.
            ends = ["idle_in_transaction_session_timeout", "transaction_timeout"]
            session.rows("SELECT set_config(name, '0', false) FROM pg_settings WHERE name = ANY (%s)", (ends,))
    except DatabaseError:
        session.close()
        raise
    return MigrationLock(session, own)


def inspect(session: Session, own: str) -> dict[str, t.Any]:
    """Returns the lock in the format of wa_info."""
    lock = MigrationLock(session, own)
    why = lock.unsupported()
    holder, ours = ("", False) if why else lock.holder()
    return {"supported": not why, "unsupported_reason": why or None, "holder": holder or None, "owned": ours}
