# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the facts that an upgrade needs about the client's database: sessions, time-outs of statements, sizes.

They are read as the client's user: the client itself migrates, and a user sees its own sessions without any privilege.
"""

from __future__ import annotations

import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import (
    activity,
    check,
    connection,
    content,
    guard,
    messages,
    ownership,
    processlist,
)
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import (
    DatabaseError,
    Session,
    Settings,
    quote,
)

_POLL_INTERVAL = 0.1  # seconds between two queries of the sessions
HOUR = 3600.0  # domain 7: the vendor's value of the database's query time-out during an upgrade
# Time-outs that may end an ALTER. MySQL's max_execution_time is not included: it applies to SELECT only.
_MYSQL = "max_statement_time"
_PGSQL = ("statement_timeout", "transaction_timeout")


def gather(params: t.Mapping[str, t.Any], env: t.Mapping[str, str], idle_timeout: float = 0) -> dict[str, t.Any]:
    """Returns the facts in the format of wa_info, after at most `idle_timeout` seconds in which sessions may end.

    Other waits are limited by the time-outs of the connection and of a statement. Sizes are read, and rows up to `max_messages` are
    counted, with `database_sizes` in `gather` only: PostgreSQL's wait for the lock of a migration that rewrites a table. The digest of
    the tables' definitions with `definitions` only; it is empty where it cannot be read.
    """
    config = connection.settings(params, env)
    server = f"{env.get('WA_DB_HOSTNAME', '').strip()}:{env.get('WA_DB_PORT', '').strip() or config.port}"
    prefix, wanted = env.get("WA_DB_NAME_PREFIX", ""), params.get("databases")
    read = _mysql if config.engine == connection.MYSQL else _pgsql
    with connection.connect(config) as session:
        names = ownership.find(session, prefix, wanted, strict=False)
    end = time.monotonic() + idle_timeout
    sizes = "database_sizes" in params["gather"]
    while True:
        facts = read(config, names, sizes)
        if time.monotonic() >= end or not facts["sessions"]:
            break
        time.sleep(_POLL_INTERVAL)
    if sizes and params.get("max_messages") is not None:
        facts["messages"] = _messages(config, prefix, wanted, params["max_messages"])
    if "definitions" in params["gather"]:
        facts["definitions"] = _definitions(config, names, prefix)
    return {"server": server, **facts}


def _definitions(config: Settings, names: list[str], prefix: str) -> str:
    try:
        with connection.connect(config) as session:
            return guard.definitions(session, names, prefix)
    except DatabaseError:
        return ""


def _messages(config: Settings, prefix: str, wanted: t.Sequence[str] | None, limit: int) -> dict[str, t.Any]:
    """Returns how many rows the tables `messages` have, or why that is not known, which counts as large."""
    try:
        tables = messages.find_tables(config, prefix, wanted)
        count = messages.count_up_to(config, tables, limit)
        return {"rows": activity.rows(config, tables, count), "large": count.large, "unknown": count.unknown}
    except WaError as error:
        return {"rows": None, "large": True, "unknown": str(error)}


def _common(session: Session, names: list[str]) -> dict[str, t.Any]:
    version = session.version()
    return {
        "product": version.product,
        "version": version.text,
        "unsupported": check.unsupported(version),
        "read_only": session.is_read_only(),
        "databases": names,
    }


def _limit(limits: t.Iterable[float], cures: t.Iterable[str]) -> dict[str, t.Any]:
    """Returns the shortest time-out, of which the server's 0 is none, and the statements that raise what is below an hour."""
    shortest = min(filter(None, limits), default=None)
    fix = " ".join(cures) if shortest is not None and shortest < HOUR else None
    return {"statement_timeout": shortest, "statement_timeout_fix": fix}


def _largest(tables: t.Iterable[tuple[str, str, int]]) -> dict[str, t.Any] | None:
    """Returns the largest table of (database, table, bytes); None for none."""
    largest = max(tables, key=lambda one: one[2], default=None)
    return dict(zip(("database", "name", "bytes"), largest)) if largest else None


def _of(names: t.Collection[str], found: t.Iterable[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Returns the sessions on the client's databases; others of its user are another application's."""
    return [one for one in found if one["database"] in names]


# MySQL and MariaDB


def _mysql(config: Settings, names: list[str], sizes: bool) -> dict[str, t.Any]:
    with connection.connect(config, limited=False) as session:
        limit = _mysql_limit(session)
        connection.limit(session)
        facts = {**_common(session, names), **limit, "sessions": _of(names, processlist.sessions(session))}
        if sizes:
            sizes_of = content.mysql_sizes(session, names)
            tables = [(schema, table, data + index) for schema, table, data, index, _rows in sizes_of]
            facts.update(total_bytes=sum(size for _schema, _table, size in tables), largest_table=_largest(tables))
    return facts


def _mysql_limit(session: Session) -> dict[str, t.Any]:
    rows = session.rows("SHOW SESSION VARIABLES WHERE variable_name = %s", (_MYSQL,))
    user, _at, host = str(session.value("SELECT CURRENT_USER()")).rpartition("@")
    account = "@".join("'" + part.replace("\\", "\\\\").replace("'", "''") + "'" for part in (user, host))
    # An account's limit takes precedence over the server's.
    return _limit(
        (float(value) for _name, value in rows), [f"ALTER USER {account} WITH MAX_STATEMENT_TIME {HOUR:.0f};"]
    )


# PostgreSQL


def _pgsql(config: Settings, names: list[str], sizes: bool) -> dict[str, t.Any]:
    with connection.connect(config) as session:
        facts = {**_common(session, names), "sessions": _of(names, processlist.sessions(session))}
    tables: list[tuple[str, str, int]] = []
    limits: list[float] = []
    cures: list[str] = []
    # Time-outs may be set for one database, and the tables of a database are visible only in a connection to it.
    places: list[str | None] = [*names] or [None]
    for name in places:
        with connection.connect(config, name, limited=False) as session:
            here, cure = _pgsql_limits(session, name)
            limits += here
            cures += cure
            connection.limit(session)
            if sizes and name is not None:
                tables += _pgsql_tables(session, name)
    facts.update(_limit(limits, dict.fromkeys(cures)))
    if sizes:
        facts.update(largest_table=_largest(tables), total_bytes=sum(size for _schema, _table, size in tables))
    return facts


def _pgsql_limits(session: Session, database: str | None) -> tuple[list[float], list[str]]:
    rows = session.rows(
        "SELECT name, setting::float / 1000, source FROM pg_settings WHERE name = ANY (%s) AND unit = 'ms'",
        (list(_PGSQL),),
    )
    role = quote(connection.PGSQL, session.settings.user).replace("%%", "%")
    cures = []
    for name, seconds, source in sorted(rows):
        if 0 < seconds < HOUR:
            # Precedence: role in database, role, database, server.
            where = ""
            if source == "database user" and database is not None:
                where = " IN DATABASE " + quote(connection.PGSQL, database).replace("%%", "%")
            cures.append(f"ALTER ROLE {role}{where} SET {name} = '{HOUR:.0f}s';")
    return [float(seconds) for _name, seconds, _source in rows], cures


def _pgsql_tables(session: Session, database: str) -> list[tuple[str, str, int]]:
    rows = session.rows(
        "SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
    )
    return [(database, str(table), int(size or 0)) for table, size in rows]
