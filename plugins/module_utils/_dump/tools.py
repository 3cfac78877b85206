# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the dump tools on this host, reads what to dump from the server, and passes the password to a tool."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import socket
import typing as t
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import connection as database_connection
from ansible_collections.waba.onprem.plugins.module_utils._database import ownership
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import (
    MYSQL,
    DatabaseError,
    Session,
    Settings,
)
from ansible_collections.waba.onprem.plugins.module_utils._database.session import Version
from ansible_collections.waba.onprem.plugins.module_utils._dump import commands as rules
from ansible_collections.waba.onprem.plugins.module_utils._dump.stream import environment

# Folders of distributions with PostgreSQL's tools by version.
_PGSQL_FOLDERS = ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin")
_MYSQL_NAMES = {"MariaDB": ("mariadb-dump", "mysqldump"), "MySQL": ("mysqldump", "mariadb-dump")}


@dataclass(frozen=True)
class Source:
    """The objects to dump. `home` is a PostgreSQL database that is not the client's."""

    version: Version
    databases: list[str]
    size: int
    home: str
    tls: bool = False
    kinds: frozenset[str] = frozenset()  # readable types of MySQL's events, routines and triggers
    doubts: tuple[str, ...] = ()


def inspect(config: Settings, prefix: str, wanted: list[str] | None) -> Source:
    """Returns the client's databases and the objects that its user may read."""
    with database_connection.connect(config) as session:
        version, names = session.version(), ownership.find(session, prefix, wanted)
        if session.engine == MYSQL:
            return _inspect_mysql(session, version, names)
        _check_pgsql_restore(session, names)
        for name in names:
            _check_pgsql_rights(config, name)
        size = session.value("SELECT coalesce(sum(pg_database_size(n)), 0) FROM unnest(%s::name[]) AS n", (names,))
        return Source(version, names, int(size), str(session.value("SELECT current_database()")))


def _check_pgsql_restore(session: Session, names: t.Sequence[str]) -> None:
    """Raises WaError if the client's user may not drop and make the databases, as the commands of the restore do."""
    may = session.value("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")
    theirs = session.rows(
        "SELECT datname FROM pg_database WHERE datname = ANY(%s::name[]) AND NOT pg_has_role(datdba, 'USAGE') ORDER BY 1",
        (list(names),),
    )
    lacks = [*([] if may else ["CREATEDB"]), *(f"the ownership of {name}" for (name,) in theirs)]
    if names and lacks:
        user = session.settings.user
        raise WaError(
            "dump of the databases",
            f"user {user} lacks {', '.join(lacks)}, and so could not restore it",
            "a user who may drop the databases and make them again",
            f"ALTER ROLE {user} CREATEDB; ALTER DATABASE ... OWNER TO {user}; or copy the database otherwise "
            "(wa_upgrade_snapshot_command)",
        )


def _check_pgsql_rights(config: Settings, database: str) -> None:
    """Raises WaError if pg_dump would fail as the client's user in that database."""
    with database_connection.connect(config, database) as session:
        # Objects of extensions are not dumped. pg_dump fails for tables with row security.
        rows = session.rows(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't'"
            " AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
            " AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid"
            " AND d.deptype = 'e')"
            " AND (NOT has_schema_privilege(n.oid, 'USAGE') OR NOT has_table_privilege(c.oid, 'SELECT')"
            " OR (c.relkind IN ('r', 'p') AND row_security_active(c.oid))) ORDER BY 1, 2"
        )
    _refuse_unreadable(config, database, [f"{schema}.{table}" for schema, table in rows])


def _check_mysql_rights(session: Session, names: t.Sequence[str]) -> None:
    """Raises WaError if the client's user may not read a table or a view there, at which the tool would fail."""
    for name in names:
        unreadable = []
        for table, kind in session.rows(
            "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = %s", (name,)
        ):
            quoted = f"{database_connection.quote(MYSQL, name)}.{database_connection.quote(MYSQL, str(table))}"
            try:
                session.rows(f"SELECT 1 FROM {quoted} LIMIT 0")
                if kind == "VIEW":
                    session.rows(f"SHOW CREATE VIEW {quoted}")
            except DatabaseError as error:
                if error.retryable:
                    raise
                unreadable.append(str(table))
        _refuse_unreadable(session.settings, name, unreadable)


def _refuse_unreadable(config: Settings, database: str, unreadable: t.Sequence[str]) -> None:
    if unreadable:
        more = f" and {len(unreadable) - 5} more" if len(unreadable) > 5 else ""
        raise WaError(
            f"dump of database {database}",
            f"user {config.user} may not read {', '.join(unreadable[:5])}{more}",
            "a database that the client's user may read as a whole",
            "If it is not the client's, name the client's own in the option databases (variable wa_message_gc_databases of the "
            "roles); otherwise grant the user SELECT there",
        )


def _inspect_mysql(session: Session, version: Version, names: list[str]) -> Source:
    if not names:
        return Source(version, names, 0, "")
    _check_mysql_rights(session, names)
    those = f"({', '.join(['%s'] * len(names))})"
    size = session.value(
        f"SELECT coalesce(sum(data_length), 0) FROM information_schema.tables WHERE table_schema IN {those}", names
    )
    doubts = []
    for schema, table, engine in session.rows(
        "SELECT table_schema, table_name, engine FROM information_schema.tables"
        f" WHERE table_schema IN {those} AND table_type = 'BASE TABLE' AND engine <> 'InnoDB'",
        names,
    ):
        doubts.append(f"{schema}.{table} is {engine}: it is not part of the consistent snapshot")
    lost = _lost(session, names)
    doubts += [
        f"{kind} {schema}.{name} is left out, and a restore loses it: the user may not read it, or not make it again"
        for kind, rows in lost.items()
        for schema, name in rows
    ]
    tls = session.rows("SHOW STATUS LIKE 'Ssl_cipher'")
    events = _may_see_events(session, names)
    return Source(
        version,
        names,
        int(size),
        "",
        tls=bool(tls and tls[0][1]),
        kinds=frozenset(f"{kind}s" for kind, rows in lost.items() if not rows and (kind != "event" or events)),
        doubts=tuple(doubts),
    )


def _lost(session: Session, names: list[str]) -> dict[str, list[tuple[t.Any, ...]]]:
    """Returns by type the objects in these databases that the user may not read, or not create again for a restore.

    The tool fails at an unreadable trigger; a restore fails halfway at an object defined by another account.
    """
    those = f"({', '.join(['%s'] * len(names))})"
    user, _at, host = str(session.value("SELECT CURRENT_USER()")).rpartition("@")
    held = session.rows(
        "SELECT 1 FROM information_schema.user_privileges WHERE grantee = %s"
        " AND privilege_type IN ('SUPER', 'SET USER', 'SET_USER_ID', 'SET_ANY_DEFINER')",
        (f"'{user}'@'{host}'",),
    )
    theirs = "FALSE" if held else "coalesce(definer, '') <> CURRENT_USER()"
    texts = {"routine": "routine_definition", "trigger": "action_statement", "event": "event_definition"}
    return {
        kind: session.rows(
            f"SELECT {kind}_schema, {kind}_name FROM information_schema.{kind}s"
            f" WHERE {kind}_schema IN {those} AND ({text} IS NULL OR {theirs})",
            names,
        )
        for kind, text in texts.items()
    }


def _may_see_events(session: Session, names: list[str]) -> bool:
    """Returns whether the user may read events; a user without the privilege has created none."""
    try:
        for name in names:
            session.rows(f"SHOW EVENTS FROM {database_connection.quote(MYSQL, name)}")
    except DatabaseError as error:
        if error.kind not in ("denied", "login"):  # 1044 counts as a refused login while connecting
            raise
        return False
    return True


def find(server: Version, run: t.Callable[[list[str]], str]) -> rules.Tool:
    """Returns the best tool on this host; `run` returns a command's output. Raises WaError with the package's name if there is none."""
    candidates = _pgsql_candidates(server) if server.product == "PostgreSQL" else _MYSQL_NAMES[server.product]
    paths = dict.fromkeys(path for path in map(shutil.which, candidates) if path)
    found = [tool for tool in (rules.parse_tool(path, run([path, "--version"])) for path in paths) if tool]
    own = [tool for tool in found if tool.product == server.product]
    if own or found:
        # For PostgreSQL the first one that is new enough; they are sorted.
        fitting = [tool for tool in own if tool.numbers[:1] >= server.numbers[:1]]
        return (fitting or own or found)[0]
    name = "pg_dump" if server.product == "PostgreSQL" else _MYSQL_NAMES[server.product][0]
    cure = f"Install {rules.package(server)}"
    raise WaError("database dump", f"{name} is not on this host", f"the tool for {server.product}", cure)


def _pgsql_candidates(server: Version) -> list[str]:
    """Returns pg_dump of the server's version, then newer ones; older ones cannot dump it."""
    installed: dict[int, str] = {}
    for folder in _PGSQL_FOLDERS:
        for path in glob.glob(folder.format("[0-9]*") + "/pg_dump"):
            number = re.search(r"(\d+)[\d.]*/bin/pg_dump$", path)
            if number:
                installed.setdefault(int(number[1]), path)
    return [*(installed[number] for number in sorted(installed)), "pg_dump"]


def compressor() -> str:
    """Returns the file extension of the best compressor on this host."""
    for kind, command in rules.COMPRESSORS.items():
        if shutil.which(command[0]):
            return kind
    raise WaError("database dump", "neither zstd nor gzip is on this host", "one of them", "Install gzip")


def address(config: Settings) -> str:
    """Returns the address for PostgreSQL's tools if the certificate has another name; empty otherwise."""
    if config.engine == MYSQL or config.host == (config.server_name or config.host):
        return ""
    try:
        return str(socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise WaError(config.subject, f"the name does not resolve: {error.strerror}", "an address") from None


@contextlib.contextmanager
def secret(tool: rules.Tool, config: Settings, tls: bool) -> t.Iterator[tuple[list[str], dict[str, t.Any]]]:
    """Yields arguments and process options that pass the password to the tool in a file that exists in memory only."""
    mysql = config.engine == MYSQL
    text = rules.option_file(tool, config, tls) if mysql else rules.password_file(config)
    descriptor = os.memfd_create("waba")
    try:
        os.fchmod(descriptor, 0o600)  # the tools refuse a file that others may read
        with open(descriptor, "wb", closefd=False) as file:
            file.write(text.encode())
        path = f"/dev/fd/{descriptor}"
        if mysql:
            yield [f"--defaults-file={path}"], {"pass_fds": (descriptor,)}
        else:
            yield [], {"pass_fds": (descriptor,), "env": environment(PGPASSFILE=path)}
    finally:
        os.close(descriptor)
