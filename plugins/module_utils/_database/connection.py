# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connects to the client's database; the only adapter for databases.

Sessions are in autocommit mode and read-only by default. Time-outs apply on both sides: the server ends a statement after
the statement time-out, the client stops waiting a little later. Only the driver of the engine is imported, on first use.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import DATABASE_PORTS, parse_duration
from ansible_collections.waba.onprem.plugins.module_utils._database import mysql, options, pgsql
from ansible_collections.waba.onprem.plugins.module_utils._database.errors import DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._database.session import (
    MYSQL,
    PGSQL,
    Session,
    Settings,
    Version,
    quote,
)

__all__ = [
    "ARGUMENT_SPEC",
    "ASIDE",
    "MYSQL",
    "PGSQL",
    "DatabaseError",
    "Session",
    "Settings",
    "Version",
    "connect",
    "databases",
    "limit",
    "quote",
    "settings",
]

ARGUMENT_SPEC = options.ARGUMENT_SPEC

# Endings of the databases in which a restore on MySQL loads a copy, and leaves what was there before. They are no client's.
ASIDE = ("__waba_in", "__waba_out")
STATEMENT_TIMEOUT = 5.0
LOCK_TIMEOUT = 2.0


def settings(params: t.Mapping[str, t.Any], env: t.Mapping[str, str]) -> Settings:
    """Returns settings from a module's `login_*` options, which override the WA_DB_* variables of db.env.

    Raises WaError for an unknown engine, a missing value or an invalid port. WA_DB_SSL_* are paths inside the containers
    and are not used.
    """
    engine = env.get("WA_DB_ENGINE", "").strip().upper()
    if engine not in DATABASE_PORTS:
        raise WaError("WA_DB_ENGINE", f"{engine!r} is no engine of the client", "MYSQL or PGSQL", "Correct db.env")
    name = env.get("WA_DB_HOSTNAME", "").strip()
    host = params.get("login_host") or name
    user = env.get("WA_DB_USERNAME", "")
    for variable, value in (("WA_DB_HOSTNAME", host), ("WA_DB_USERNAME", user)):
        if not value:
            raise WaError(variable, "missing or empty", "a value in db.env, or the login option", "Correct db.env")
    port = env.get("WA_DB_PORT", "").strip() or DATABASE_PORTS[engine]
    if not re.fullmatch(r"[0-9]{1,5}", str(port)) or not 0 < int(port) < 65536:
        raise WaError("WA_DB_PORT", f"{port!r} is no port", "1 to 65535", "Correct db.env")
    return Settings(
        engine=engine,
        host=host,
        port=int(port),
        user=user,
        password=env.get("WA_DB_PASSWORD", ""),
        server_name=name or host,
        ca_cert=params.get("login_ca_cert"),
        client_cert=params.get("login_client_cert"),
        client_key=params.get("login_client_key"),
        connect_timeout=parse_duration("connect_timeout", params.get("connect_timeout") or "10s"),
    )


def connect(
    config: Settings,
    database: str | None = None,
    *,
    read_only: bool = True,
    statement_timeout: float = STATEMENT_TIMEOUT,
    lock_timeout: float = LOCK_TIMEOUT,
    limited: bool = True,
) -> Session:
    """Connects. Without `database`: to none of MySQL, to a maintenance database of PostgreSQL.

    Time-outs are in seconds. Without `limited` the session keeps the server's settings. Raises DatabaseError, whose `kind`
    distinguishes an unknown name, an unreachable server, a refused login, TLS, too many connections and a missing database.
    """
    for what, path in (
        ("login_ca_cert", config.ca_cert),
        ("login_client_cert", config.client_cert),
        ("login_client_key", config.client_key),
    ):
        if path:
            try:
                files.open_regular(path).close()
            except OSError as error:
                raise DatabaseError(
                    f"{what} {path}", error.strerror or "not readable", "tls", "a readable file"
                ) from None
    if config.engine == MYSQL:
        return mysql.connect(config, database, read_only, statement_timeout, lock_timeout, limited)
    if database is not None:
        return pgsql.connect(config, database, read_only, statement_timeout, lock_timeout, limited)
    # The administrator chooses which databases a user may open; one of these is nearly always open to all.
    first: DatabaseError | None = None
    for name in ("postgres", "template1", config.user):
        try:
            return pgsql.connect(config, name, read_only, statement_timeout, lock_timeout, limited)
        except DatabaseError as error:
            if error.kind not in ("missing", "denied", "login"):
                raise
            first = first or error
    raise t.cast("DatabaseError", first)


def limit(session: Session) -> None:
    """Makes a session that was connected without `limited` read-only, and sets the usual time-outs."""
    adapter = mysql if session.engine == MYSQL else pgsql
    adapter.limit(session, True, STATEMENT_TIMEOUT, LOCK_TIMEOUT)


def databases(session: Session, prefix: str) -> list[str]:
    """Returns the sorted databases whose name begins with `prefix`; all visible databases for an empty prefix.

    A server that folds names (PostgreSQL without quotes, MySQL with lower_case_table_names) may store the prefix in lower
    case, which is tried if the prefix as written has no database.
    """
    if session.engine == MYSQL:
        statement = "SELECT schema_name FROM information_schema.schemata"
        folds = str(session.value("SELECT @@lower_case_table_names")) != "0"
        own = ["information_schema", "mysql", "performance_schema", "sys"]
    else:
        statement = (
            "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate"
            " AND has_database_privilege(datname, 'CONNECT')"
        )
        folds, own = True, ["postgres"]
    found = sorted(str(row[0]) for row in session.rows(statement) if str(row[0]) not in own)
    found = [name for name in found if not name.endswith(ASIDE)]
    # Compared here instead of LIKE: a prefix may contain % and _, and the server's collation may ignore case.
    exact = [name for name in found if name.startswith(prefix)]
    return exact if exact or not folds else [name for name in found if name.startswith(prefix.lower())]
