# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client's database holds: its tables, their rows and their definitions, with which a copy of it is compared.

On PostgreSQL a restore compares before it commits, by these statements in its own transaction.
"""

from __future__ import annotations

import hashlib
import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._database import connection
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import MYSQL, Session, Settings, quote

# Those that the client's user may drop; what belongs to an administrator or to an extension stays in the database.
OWN = "pg_has_role({owner}, 'USAGE')"
NO_EXTENSION = "NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = '{catalog}'::regclass AND d.objid = {oid} AND d.deptype = 'e')"
USERS_SCHEMA = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
# What is in another one is not in a dump.
OWN_SCHEMA = f"{USERS_SCHEMA} AND (n.nspname = 'public' OR {OWN.format(owner='n.nspowner')})"
# The others stay where they are, with the rows of their own tables.
OWN_EXTENSION = f"{OWN.format(owner='e.extowner')} AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"
TABLES = (
    "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    f" WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {USERS_SCHEMA}"
    f" AND {OWN.format(owner='c.relowner')} AND {NO_EXTENSION.format(catalog='pg_class', oid='c.oid')}"
)
PGSQL_DEFINITIONS = (
    "SELECT coalesce(md5(string_agg(concat_ws(' ', c.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull),"
    " E'\\n' ORDER BY c.nspname, c.relname, a.attname)), '')"
    f" FROM pg_attribute a JOIN (SELECT c.oid, n.nspname, c.relname FROM {TABLES}) c ON c.oid = a.attrelid"
    " WHERE a.attnum > 0 AND NOT a.attisdropped"
)


class Content(t.NamedTuple):
    """The rows of each table by its name, with its schema on PostgreSQL, and a digest of the definitions of all columns."""

    tables: dict[str, int]
    definitions: str


def read(config: Settings, database: str, timeout: float, counted: t.Mapping[str, int] | None = None) -> Content:
    """Returns the content of a database, as `of_session`, in `timeout` seconds a table."""
    with connection.connect(config, database, statement_timeout=timeout) as session:
        return of_session(session, database, counted)


def of_session(session: Session, database: str, counted: t.Mapping[str, int] | None = None) -> Content:
    """Returns the content of the session's database. Every row is counted, unless that was done: a table without a count has none."""
    tables: t.Sequence[tuple[str, ...]]
    tables = mysql_tables(session, database) if session.engine == MYSQL else _pgsql_tables(session)
    names = {".".join(one): ".".join(quote(session.engine, part) for part in one) for one in tables}
    if counted is None:
        counted = {name: int(session.value(f"SELECT count(*) FROM {quoted}")) for name, quoted in names.items()}
    else:
        # A sequence of MariaDB is a table with one row, which a dump does not always write as a row.
        kind = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s AND table_type = 'SEQUENCE'"
        counted = {**counted, **{str(name): 1 for (name,) in session.rows(kind, (database,))}}
    return Content({name: counted.get(name, 0) for name in names}, definitions(session, database))


def begin_snapshot(session: Session) -> str:
    """Begins a transaction on PostgreSQL, which sees the database as it is now; returns the name of what it sees, for other sessions.

    It may wait as long as it has to.
    """
    session.rows(
        "SELECT set_config(name, '0', false) FROM pg_settings"
        " WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')"
    )
    session.rows("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    return str(session.value("SELECT pg_export_snapshot()"))


def definitions(session: Session, database: str) -> str:
    """Returns a digest of the definitions of all columns in the session's database."""
    if session.engine != MYSQL:
        return str(session.value(PGSQL_DEFINITIONS))
    rows = session.rows(
        "SELECT c.table_name, column_name, column_type, is_nullable, coalesce(character_set_name, '')"
        " FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)"
        " WHERE table_schema = %s AND table_type <> 'VIEW' ORDER BY 1, 2",
        (database,),
    )
    # A newer server has no width of whole numbers, and another name of the same character set.
    found = [
        (table, column, re.sub(r"int\(\d+\)", "int", str(kind)), null, "utf8" if charset == "utf8mb3" else charset)
        for table, column, kind, null, charset in rows
    ]
    return hashlib.sha256(repr([tuple(map(str, row)) for row in found]).encode()).hexdigest()[:16]


def mysql_tables(session: Session, database: str) -> list[tuple[str]]:
    """Returns the sorted tables of a database of MySQL or MariaDB, without its views."""
    rows = session.rows(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = %s AND table_type <> 'VIEW' ORDER BY 1",
        (database,),
    )
    return [(str(name),) for (name,) in rows]


def mysql_sizes(session: Session, names: t.Sequence[str]) -> list[tuple[str, str, int, int, int]]:
    """Returns database, name, bytes of the rows and of the indexes, and some number of rows, of the tables in the databases `names`."""
    if not names:
        return []
    if session.version().product == "MySQL" and session.version().numbers >= (8,):
        session.rows("SET SESSION information_schema_stats_expiry = 0")  # otherwise they are up to a day old
    rows = session.rows(
        "SELECT table_schema, table_name, coalesce(data_length, 0), coalesce(index_length, 0), coalesce(table_rows, 0)"
        f" FROM information_schema.tables WHERE table_schema IN ({', '.join(['%s'] * len(names))})"
        " AND table_type = 'BASE TABLE'",
        names,
    )
    return [(str(one[0]), str(one[1]), int(one[2]), int(one[3]), int(one[4])) for one in rows]


def pgsql_sizes(session: Session) -> list[tuple[str, int, int]]:
    """Returns the quoted name, the bytes of the rows, and some number of rows, of the tables that are the user's."""
    # The planner's own estimate: rows a page when they were counted, by the pages of now.
    rows = session.rows(
        "SELECT format('%%I.%%I', n.nspname, c.relname), pg_table_size(c.oid), CASE WHEN c.relpages > 0 AND c.reltuples > 0 THEN"
        " c.reltuples / c.relpages * pg_relation_size(c.oid) / current_setting('block_size')::int ELSE 0 END"
        f" FROM {TABLES} AND c.relkind = 'r'"
    )
    return [(str(name), int(size or 0), int(count)) for name, size, count in rows]


def _pgsql_tables(session: Session) -> list[tuple[str, str]]:
    rows = session.rows(f"SELECT n.nspname, c.relname FROM {TABLES} AND NOT c.relispartition ORDER BY 1, 2")
    return [(str(schema), str(table)) for schema, table in rows]
