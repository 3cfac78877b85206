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
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import connection as database_connection
from ansible_collections.waba.onprem.plugins.module_utils._database import content, ownership
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import (
    MYSQL,
    DatabaseError,
    Session,
    Settings,
)
from ansible_collections.waba.onprem.plugins.module_utils._database.session import Version, addresses
from ansible_collections.waba.onprem.plugins.module_utils._dump import commands as rules
from ansible_collections.waba.onprem.plugins.module_utils._dump.commands import Source
from ansible_collections.waba.onprem.plugins.module_utils._dump.stream import environment

# Folders of distributions with PostgreSQL's tools by version.
_PGSQL_FOLDERS = ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin")
_MYSQL_NAMES = {"MariaDB": ("mariadb-dump", "mysqldump"), "MySQL": ("mysqldump", "mariadb-dump")}


def inspect(config: Settings, prefix: str, wanted: list[str] | None) -> Source:
    """Returns the client's databases and what of them is dumped. Raises WaError for what could not be restored."""
    with database_connection.connect(config) as session:
        version = session.version()
        names, others = ownership.find_all(session, prefix, wanted)
        theirs = [
            f"database {', '.join(others)}: taken for another application's, not copied, and left as it is by a restore"
        ] * bool(others and names)
        if session.engine == MYSQL:
            return _inspect_mysql(session, version, names, theirs)
        left: dict[str, list[str]] = {}
        named = theirs
        tables: list[rules.Table] = []
        for name in names:
            left[name] = _pgsql_left(config, name, named, tables)
        size = session.value("SELECT coalesce(sum(pg_database_size(n)), 0) FROM unnest(%s::name[]) AS n", (names,))
        return Source(version, names, int(size), left=left, named=tuple(named), tables=tuple(tables))


# Kinds of objects that a restore drops and makes again.
_RESTORED = (
    "pg_class",
    "pg_database",
    "pg_default_acl",
    "pg_extension",
    "pg_largeobject",
    "pg_namespace",
    "pg_proc",
    "pg_type",
)
_THEIRS = f"NOT {content.OWN}"
# What an administrator may have in the client's database, with the option of pg_dump that leaves it out.
_PGSQL_LEFT = (
    (
        "schema",
        "--exclude-schema",
        "SELECT quote_ident(n.nspname), pg_get_userbyid(n.nspowner) FROM pg_namespace n"
        f" WHERE {content.USERS_SCHEMA} AND n.nspname <> 'public' AND {_THEIRS.format(owner='n.nspowner')}"
        f" AND {content.NO_EXTENSION.format(catalog='pg_namespace', oid='n.oid')} ORDER BY 1",
    ),
    (
        "table",
        "--exclude-table",
        "SELECT format('%%I.%%I', n.nspname, c.relname), pg_get_userbyid(c.relowner) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')"
        f" AND n.nspname = 'public' AND {_THEIRS.format(owner='c.relowner')}"
        f" AND {content.NO_EXTENSION.format(catalog='pg_class', oid='c.oid')} ORDER BY 1",
    ),
    # pg_dump writes their rows, which the extension still has when they are loaded.
    (
        "table",
        "--exclude-table",
        "SELECT format('%%I.%%I', n.nspname, c.relname), pg_get_userbyid(e.extowner) FROM pg_extension e"
        " JOIN pg_class c ON c.oid = ANY (e.extconfig) JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" WHERE NOT ({content.OWN_EXTENSION}) ORDER BY 1",
    ),
)
# Rows of what is in the way of a restore, and of whose it is.
_PGSQL_REFUSED = (
    # A schema of the client's is dropped, one of somebody else's is left out. A table that the client's user may write may be the client's.
    "SELECT 'table ' || c.oid::regclass, pg_get_userbyid(c.relowner) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    f" WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND {content.USERS_SCHEMA}"
    f" AND (n.nspname <> 'public' AND {content.OWN.format(owner='n.nspowner')} <> {content.OWN.format(owner='c.relowner')}"
    f" OR {_THEIRS.format(owner='c.relowner')} AND c.relkind <> 'S' AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE'))"
    f" AND {content.NO_EXTENSION.format(catalog='pg_class', oid='c.oid')}",
    # Of the rows that the client's user sees in a table, these would not be copied, or could not be made again.
    "SELECT 'table ' || c.oid::regclass, pg_get_userbyid(c.relowner) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    f" JOIN pg_class p ON p.oid = i.inhparent WHERE {content.OWN.format(owner='c.relowner')} <> {content.OWN.format(owner='p.relowner')}",
    "SELECT 'type ' || y.oid::regtype, pg_get_userbyid(y.typowner) FROM pg_type y JOIN pg_namespace n ON n.oid = y.typnamespace"
    " LEFT JOIN pg_class c ON c.oid = y.typrelid"
    f" WHERE {content.OWN_SCHEMA}"
    f" AND {_THEIRS.format(owner='y.typowner')} AND (y.typtype IN ('d', 'e', 'r') OR c.relkind = 'c')"
    f" AND {content.NO_EXTENSION.format(catalog='pg_type', oid='y.oid')}",
    # pg_dump has no option that leaves these out.
    "SELECT p.oid::regprocedure::text, pg_get_userbyid(p.proowner) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
    f" WHERE {content.OWN_SCHEMA}"
    f" AND {_THEIRS.format(owner='p.proowner')} AND {content.NO_EXTENSION.format(catalog='pg_proc', oid='p.oid')}",
    "SELECT 'event trigger ' || evtname, pg_get_userbyid(evtowner) FROM pg_event_trigger t"
    f" WHERE {_THEIRS.format(owner='evtowner')} AND {content.NO_EXTENSION.format(catalog='pg_event_trigger', oid='t.oid')}",
    "SELECT 'large object ' || oid, pg_get_userbyid(lomowner) FROM pg_largeobject_metadata"
    f" WHERE {_THEIRS.format(owner='lomowner')}",
    # The tables that these depend on could not be dropped.
    "SELECT DISTINCT 'view ' || v.oid::regclass, pg_get_userbyid(v.relowner) FROM pg_depend d"
    " JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class"
    " JOIN pg_class c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid"
    f" WHERE {_THEIRS.format(owner='v.relowner')} AND {content.OWN.format(owner='c.relowner')}",
    "SELECT 'foreign key of ' || k.conrelid::regclass, pg_get_userbyid(c.relowner) FROM pg_constraint k"
    " JOIN pg_class c ON c.oid = k.conrelid JOIN pg_class r ON r.oid = k.confrelid"
    f" WHERE k.contype = 'f' AND {_THEIRS.format(owner='c.relowner')} AND {content.OWN.format(owner='r.relowner')}",
    "SELECT DISTINCT 'objects in ' || d.classid::regclass, 'the client''s user, of a kind that is not restored'"
    " FROM pg_shdepend d JOIN pg_database b ON b.oid = d.dbid AND b.datname = current_database()"
    " WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o' AND pg_has_role(d.refobjid, 'USAGE')"
    f" AND d.classid::regclass::text NOT IN ({', '.join(repr(one) for one in _RESTORED)})",
)

_PGSQL_PUBLISHED = (
    "SELECT DISTINCT p.pubname FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_class c ON c.oid = r.prrelid"
    f" WHERE {content.OWN.format(owner='c.relowner')} ORDER BY 1"
)
# What gives the client's user the rights to make again what a restore drops.
_PGSQL_GRANTS = (
    "SELECT format('GRANT CREATE ON DATABASE %%I TO %%I', current_database(), current_user)"
    " WHERE NOT has_database_privilege(current_database(), 'CREATE')"
    f" AND (EXISTS (SELECT 1 FROM pg_namespace n WHERE {content.OWN_SCHEMA} AND n.nspname <> 'public')"
    f" OR EXISTS (SELECT 1 FROM pg_extension e WHERE {content.OWN_EXTENSION}))"
    " UNION SELECT format('GRANT CREATE ON SCHEMA %%I TO %%I', n.nspname, current_user)"
    f" FROM {content.TABLES} AND NOT has_schema_privilege(n.oid, 'CREATE')"
    " UNION SELECT format('GRANT CREATE ON TABLESPACE %%I TO %%I', s.spcname, current_user) FROM pg_class c"
    " JOIN pg_tablespace s ON s.oid = c.reltablespace JOIN pg_namespace n ON n.oid = c.relnamespace"
    f" WHERE {content.OWN_SCHEMA} AND {content.OWN.format(owner='c.relowner')} AND NOT has_tablespace_privilege(s.oid, 'CREATE') ORDER BY 1"
)


def _pgsql_left(config: Settings, database: str, named: list[str], tables: list[rules.Table]) -> list[str]:
    """Returns the options of pg_dump that leave out what is not the client's, which is `named`, and stays. Adds the client's `tables`.

    Raises WaError for what pg_dump could not read, and for what a restore could neither drop nor leave.
    """
    with database_connection.connect(config, database) as session:
        options = []
        for kind, option, statement in _PGSQL_LEFT:
            for name, owner in session.rows(statement):
                options.append(f"{option}={name}")
                named.append(
                    f"{kind} {name} in {database} is {owner}'s: it is not copied, and a restore leaves it as it is"
                )
        for (name,) in session.rows(_PGSQL_PUBLISHED):
            named.append(
                f"publication {name} in {database} has tables of the client's: a restore takes them out of it, and they are to be added again"
            )
        lacking = session.rows(_PGSQL_GRANTS)
        if lacking:
            raise WaError(
                f"dump of database {database}",
                f"user {config.user} may not make again there what a restore drops",
                "the rights to do so, without which it cannot be restored",
                f"Have the administrator run there: {'; '.join(grant for (grant,) in lacking)}",
            )
        if not session.value("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
            for statement in _PGSQL_REFUSED:
                _refuse_mixed(config, database, session.rows(f"{statement} ORDER BY 1"))
        # pg_dump fails for tables with row security.
        rows = session.rows(
            f"SELECT n.nspname, c.relname FROM {content.TABLES} AND (NOT has_schema_privilege(n.oid, 'USAGE')"
            " OR NOT has_table_privilege(c.oid, 'SELECT') OR row_security_active(c.oid)) ORDER BY 1, 2"
        )
        tables += [rules.Table(database, *one) for one in content.pgsql_sizes(session)]
    _refuse_unreadable(config, database, [f"{schema}.{table}" for schema, table in rows])
    return options


def _refuse_mixed(config: Settings, database: str, rows: t.Sequence[tuple[t.Any, ...]]) -> None:
    if rows:
        those = ", ".join(f"{name} ({owner})" for name, owner in rows[:5])
        raise WaError(
            f"dump of database {database}",
            f"{those}, which a restore by user {config.user} could neither drop nor make again",
            "the client's own objects, and others that do not depend on them",
            f"Have the administrator give them to user {config.user}, or drop what nobody needs, or copy the database otherwise "
            "(wa_upgrade_snapshot_command)",
        )


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


def _inspect_mysql(session: Session, version: Version, names: list[str], theirs: list[str]) -> Source:
    if not names:
        return Source(version, names, 0)
    _check_mysql_rights(session, names)
    those = f"({', '.join(['%s'] * len(names))})"
    sizes = content.mysql_sizes(session, names)
    tables = [rules.Table(schema, name, size, rows) for schema, name, size, _index, rows in sizes]
    doubts = []
    limit = version.product == "MySQL" and int(session.value("SELECT @@global.max_execution_time"))
    if limit:
        doubts.append(
            f"{session.settings.subject}: max_execution_time ends each SELECT after {limit / 1000:g} s, that of the dump tool, too. Have its "
            "administrator run, until the dump is done: SET GLOBAL max_execution_time = 0"
        )
    for schema, table, engine in session.rows(
        "SELECT table_schema, table_name, engine FROM information_schema.tables"
        f" WHERE table_schema IN {those} AND table_type = 'BASE TABLE' AND engine <> 'InnoDB'",
        names,
    ):
        doubts.append(f"{schema}.{table} is {engine}: it is not part of the consistent snapshot")
    # A key follows the table that it names, which a restore puts aside.
    for schema, table, other in session.rows(
        "SELECT constraint_schema, table_name, unique_constraint_schema FROM information_schema.referential_constraints"
        f" WHERE constraint_schema <> unique_constraint_schema AND (constraint_schema IN {those} OR unique_constraint_schema IN {those})",
        [*names, *names],
    ):
        _refuse_mixed(session.settings, other, [(f"foreign key of {schema}.{table}", "in another database")])
    kinds, left_kinds = _mysql_kinds(session, names)
    events = _may_see_events(session, names)
    views, left, named = _mysql_views(session, names)
    return Source(
        version,
        names,
        sum(one.bytes for one in tables),
        tls=session.is_encrypted(),
        kinds=kinds - (frozenset() if events else {"events"}),
        views=views,
        left=left,
        named=(*theirs, *named, *left_kinds),
        doubts=tuple(doubts),
        tables=tuple(tables),
    )


def _mysql_views(session: Session, names: list[str]) -> tuple[dict[str, list[str]], dict[str, list[str]], list[str]]:
    """Returns the views by database that the user may make again, the options that leave the others out, and their names."""
    views: dict[str, list[str]] = {}
    left: dict[str, list[str]] = {}
    named = []
    any_definer = _may_define(session)
    for schema, view, definer, own in session.rows(
        "SELECT table_schema, table_name, definer, definer = CURRENT_USER() FROM information_schema.views"
        f" WHERE table_schema IN ({', '.join(['%s'] * len(names))}) ORDER BY 1, 2",
        names,
    ):
        if own or any_definer:
            views.setdefault(str(schema), []).append(str(view))
        else:
            left.setdefault(str(schema), []).append(f"--ignore-table={schema}.{view}")
            named.append(f"view {schema}.{view} is {definer}'s: it is not copied, and a restore leaves it as it is")
    return views, left, named


def _may_define(session: Session) -> bool:
    """Returns whether the user may make objects of which another account is the definer."""
    user, _at, host = str(session.value("SELECT CURRENT_USER()")).rpartition("@")
    held = session.rows(
        "SELECT 1 FROM information_schema.user_privileges WHERE grantee = %s"
        " AND privilege_type IN ('SUPER', 'SET USER', 'SET_USER_ID', 'SET_ANY_DEFINER')",
        (f"'{user}'@'{host}'",),
    )
    return bool(held)


def _mysql_kinds(session: Session, names: list[str]) -> tuple[frozenset[str], list[str]]:
    """Returns the kinds of objects beside tables and views that are dumped, and what of them is somebody else's, and stays.

    The tool dumps a kind as a whole, fails at what it may not read, and a restore at what it may not make again. Raises WaError where the
    client has objects of the same kind, and for a trigger, with which a table cannot be put aside.
    """
    those = f"({', '.join(['%s'] * len(names))})"
    theirs = "FALSE" if _may_define(session) else "coalesce(definer, '') <> CURRENT_USER()"
    texts = {"routine": "routine_definition", "trigger": "action_statement", "event": "event_definition"}
    kinds, left = set(), []
    for kind, text in texts.items():
        rows = session.rows(
            f"SELECT {kind}_schema, {kind}_name, coalesce(definer, 'another account'), {text} IS NULL OR {theirs} FROM information_schema.{kind}s"
            f" WHERE {kind}_schema IN {those} ORDER BY 1, 2",
            names,
        )
        foreign = [row for row in rows if row[3]]
        if foreign and (len(foreign) < len(rows) or kind == "trigger"):
            schema = str(foreign[0][0])
            _refuse_mixed(session.settings, schema, [(f"{kind} {row[1]}", row[2]) for row in foreign])
        if not foreign:
            kinds.add(f"{kind}s")
        left += [
            f"{kind} {schema}.{name} is {definer}'s: it is not copied, and a restore leaves it as it is"
            for schema, name, definer, _foreign in foreign
        ]
    return frozenset(kinds), left


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


_CLIENTS = {"PostgreSQL": ("psql",), "MariaDB": ("mariadb", "mysql"), "MySQL": ("mysql", "mariadb")}


def find_client(server: Version, run: t.Callable[[list[str]], str]) -> rules.Tool:
    """Returns the server's client on this host; `run` returns a command's output. Raises WaError with the package's name if there is none."""
    for path in filter(None, map(shutil.which, _CLIENTS[server.product])):
        found = rules.parse_tool(path, run([path, "--version"]))
        if found:
            return found
    name, cure = _CLIENTS[server.product][0], f"Install {rules.package(server)}"
    raise WaError("database restore", f"{name} is not on this host", f"the client of {server.product}", cure)


def compressor() -> str:
    """Returns the file extension of the best compressor on this host."""
    return next(kind for kind, command in rules.COMPRESSORS.items() if not command or shutil.which(command[0]))


def address(config: Settings) -> str:
    """Returns the address for PostgreSQL's tools if the certificate has another name; empty otherwise."""
    if config.engine == MYSQL or config.host == (config.server_name or config.host):
        return ""
    return addresses(config)[0]


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
