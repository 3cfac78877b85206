# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks a database before the client uses it: login, version, privileges, databases.

Nothing remains on the server, even if the run is killed. On MySQL the privileges are tested with statements about a table
that does not exist: the server checks the privileges first, and returns one of two errors. On PostgreSQL a table is
created and dropped in a transaction that is rolled back.
"""

from __future__ import annotations

import secrets
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import connection, messages, ownership
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import (
    DatabaseError,
    Session,
    Settings,
    quote,
)

PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "INDEX", "DROP")  # domain: the vendor's list
_SUPPORTED = {"MySQL": ("5.7", "8.0"), "PostgreSQL": ("11", "12", "13")}  # domain: the vendor's list


def check(
    config: Settings,
    env: t.Mapping[str, str],
    found: dict[str, t.Any],
    warn: t.Callable[[str], None],
) -> None:
    """Checks the database. `found` receives the facts, `warn` what may break the client.

    `env` is the future content of db.env: its prefix, and whether the client will use TLS. Raises WaError if the client
    could not work; `found` and earlier warnings are kept.
    """
    prefix = env.get("WA_DB_NAME_PREFIX", "")
    with connection.connect(config, read_only=False) as session:
        version = session.version()
        found.update(product=version.product, version=version.text)
        _check_tls(session, env, found, warn)
        if session.is_read_only():
            raise messages.read_only(config)
        names = connection.databases(session, prefix)
        found["databases"] = names
        # With an empty prefix every database matches; only a client's databases are relevant.
        candidates = names if prefix else _holders(session, names)
        _check_privileges(session, config, candidates, prefix, warn)


def unsupported(version: connection.Version) -> str | None:
    """Returns why the vendor does not support a server version, or None."""
    family = "PostgreSQL" if version.product == "PostgreSQL" else "MySQL"
    supported = _SUPPORTED[family]
    series = ".".join(map(str, version.numbers[: len(supported[0].split("."))]))
    if version.product == family and series in supported:
        return None
    return f"{version.product} {version.text} is not supported by the client's vendor ({family} {', '.join(supported)})"


def _check_tls(
    session: Session, env: t.Mapping[str, str], found: dict[str, t.Any], warn: t.Callable[[str], None]
) -> None:
    config = session.settings
    found["tls"] = session.is_encrypted()
    wanted = [key for key in ("WA_DB_SSL_CA", "WA_DB_SSL_CERT") if env.get(key)]
    if wanted and not found["tls"]:
        raise WaError(
            config.subject, "offers no TLS", f"TLS, because {wanted[0]} is set", "Turn TLS on there, or unset the key"
        )
    if env.get("WA_DB_SSL_CA") and not config.ca_cert:
        warn(
            f"{config.subject}: TLS is on, but its certificate was not verified: the path in WA_DB_SSL_CA lies inside the "
            "containers, and there is none yet; set login_ca_cert to the same file on this host"
        )


def _holders(session: Session, names: t.Sequence[str]) -> list[str]:
    """Returns the databases with a table `messages`."""
    if not names:
        return []
    if session.engine == connection.MYSQL:
        rows = session.rows("SELECT table_schema FROM information_schema.tables WHERE table_name = 'messages'")
        return sorted({str(row[0]) for row in rows} & set(names))
    return [name for name in names if ownership.pgsql_tables(session, name)[0]]


def _check_privileges(
    session: Session, config: Settings, names: t.Sequence[str], prefix: str, warn: t.Callable[[str], None]
) -> None:
    """Checks that the user has all privileges on the client's databases, or may create them if there are none."""
    if session.engine == connection.MYSQL:
        missing = {name: missing_mysql(session, name) for name in names}
        if not names:
            probe = f"{prefix}wa_check_{secrets.token_hex(4)}"
            missing = {
                f"databases that begin with {prefix!r}" if prefix else "new databases": missing_mysql(session, probe)
            }
    else:
        missing = {name: _missing_pgsql(config, name) for name in names}
        if not names:
            may = session.value("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")
            missing = {"new databases": [] if may else ["CREATE DATABASE (CREATEDB)"]}
    bad = {name: privileges for name, privileges in missing.items() if privileges}
    details = "; ".join(f"{', '.join(privileges)} on {name}" for name, privileges in bad.items())
    if bad and len(bad) == len(missing):
        cure = "ALTER ROLE ... CREATEDB, or make the databases first" if "CREATEDB" in details else ""
        raise DatabaseError(config.subject, f"user {config.user} lacks {details}", "denied", cure=cure)
    if bad:
        warn(f"{config.subject}: user {config.user} lacks {details} (another client's, whose prefix begins alike?)")


def missing_mysql(session: Session, name: str) -> list[str]:
    """Returns the privileges that the user lacks on a database, existing or not."""
    table = f"{quote(connection.MYSQL, name)}.{quote(connection.MYSQL, 'wa_check_' + secrets.token_hex(4))}"
    # Each statement fails because the table does not exist; the error number shows whether the privilege is missing.
    statements = {
        "SELECT": f"SELECT 1 FROM {table}",
        "INSERT": f"INSERT INTO {table} (a) VALUES (1)",
        "UPDATE": f"UPDATE {table} SET a = 1",
        "DELETE": f"DELETE FROM {table}",
        # Two columns of one name: refused after the privileges were checked.
        "CREATE": f"CREATE TABLE {table} (a INT, a INT)",
        "ALTER": f"ALTER TABLE {table} ADD b INT",
        "INDEX": f"CREATE INDEX i ON {table} (a)",
        "DROP": f"DROP TABLE {table}",
    }
    privileges = []
    for privilege, statement in statements.items():
        try:
            session.rows(statement)
        except DatabaseError as error:
            if error.kind in ("denied", "login"):  # 1044 counts as a refused login while connecting
                privileges.append(privilege)
            elif error.kind not in ("missing", "other"):
                raise
    return privileges


def _missing_pgsql(config: Settings, name: str) -> list[str]:
    """Returns the privileges that the user lacks in a database, tested in a transaction that is rolled back."""
    table = quote(connection.PGSQL, "wa_check_" + secrets.token_hex(4))
    steps = (
        ("CREATE", f"CREATE TABLE {table} (a int)"),
        ("ALTER", f"ALTER TABLE {table} ADD b int"),
        ("INDEX", f"CREATE INDEX ON {table} (a)"),
    )
    with connection.connect(config, name, read_only=False) as session:
        session.rows("BEGIN")
        try:
            for privilege, statement in steps:
                try:
                    session.rows(statement)
                except DatabaseError as error:
                    if error.kind != "denied":
                        raise
                    return [privilege]
        finally:
            session.rows("ROLLBACK")
        return _missing_on_messages(session)


def _missing_on_messages(session: Session) -> list[str]:
    """Returns the privileges that the user lacks on an existing table `messages`, including ownership."""
    rows = session.rows(
        "SELECT c.oid::bigint, pg_has_role(current_user, c.relowner, 'USAGE') FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = 'messages' AND c.relkind IN ('r', 'p')"
        " AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
    )
    privileges: list[str] = []
    for oid, owner in rows:
        for privilege in PRIVILEGES[:4]:
            if not session.value("SELECT has_table_privilege(%s::oid, %s)", (oid, privilege)):
                privileges.append(privilege)
        if not owner:
            privileges.append("ALTER, INDEX and DROP (ownership of messages)")
    return list(dict.fromkeys(privileges))
