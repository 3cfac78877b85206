# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads who is connected: the user's own sessions, with the privilege PROCESS of MySQL and MariaDB all."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._database.errors import DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._database.session import MYSQL, Session

# The start of a statement, as bytes: it may contain bytes that are not valid text.
STATEMENT = "CAST(LEFT(info, 2000) AS BINARY)"


def rows(session: Session, columns: str, where: str, values: t.Sequence[t.Any] = ()) -> list[tuple[t.Any, ...]]:
    """Returns the `columns` of the sessions that match `where`.

    The information schema of MySQL 8 fails for any query while a session runs a statement with a binary string that is not
    UTF-8. The performance schema does not.
    """

    def ask(schema: str) -> list[tuple[t.Any, ...]]:
        return session.rows(f"SELECT {columns} FROM {schema}.processlist WHERE {where}", values)

    try:
        return ask("information_schema")
    except DatabaseError as error:
        # It is empty if the performance schema is off.
        if error.kind != "encoding" or str(session.value("SELECT @@performance_schema")) not in ("1", "ON"):
            raise
    return ask("performance_schema")


def sessions(session: Session) -> list[dict[str, t.Any]]:
    """Returns the other sessions of the client's user: `id`, `from` (origin), `database`, `seconds` in its `state`."""
    return _mysql_sessions(session) if session.engine == MYSQL else _pgsql_sessions(session)


def mysql_origin(host: str) -> str:
    """Returns an entry of the process list's column `host` without its port: an address, or a host name."""
    return host.rpartition(":")[0] or host


def _mysql_sessions(session: Session) -> list[dict[str, t.Any]]:
    found = rows(
        session,
        "id, host, db, time, command, state",
        "user = %s AND id <> CONNECTION_ID() ORDER BY id",
        (session.settings.user,),
    )
    return [
        {
            "id": int(number),
            "from": mysql_origin(host),
            "database": database,
            "seconds": int(seconds or 0),
            "state": f"{command}: {state}" if state else str(command),
        }
        for number, host, database, seconds, command, state in found
    ]


def _pgsql_sessions(session: Session) -> list[dict[str, t.Any]]:
    rows = session.rows(
        "SELECT pid, coalesce(host(client_addr), 'local'), datname,"
        " extract(epoch FROM clock_timestamp() - coalesce(state_change, backend_start))::bigint, state"
        " FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend' ORDER BY pid"
    )
    return [
        {
            "id": int(pid),
            "from": str(address),
            "database": str(name),
            "seconds": int(seconds or 0),
            "state": state or "",
        }
        for pid, address, name, seconds, state in rows
    ]
