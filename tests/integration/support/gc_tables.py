# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real databases with a `messages` table."""

from __future__ import annotations

import contextlib
import typing as t

from database_servers import Server

from ansible_collections.waba.onprem.plugins.module_utils._database import connection as database_connection
from ansible_collections.waba.onprem.plugins.module_utils._database import messages as database_messages

CANARY = "Canary-53-Gc-Pw"
PREFIX = "gc1_"
ROWS, LIMIT = 60_000, 50_000


def _quoted(where: Server, name: str) -> str:
    mark = "`" if where.kind == "mariadb" else '"'
    return mark + name.replace(mark, mark * 2) + mark


def prepare(where: Server) -> None:
    """The client's database user, with what the vendor asks for."""
    if where.kind == "mariadb":
        rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP"
        where.sql(f"CREATE USER 'wa'@'%' IDENTIFIED BY '{CANARY}'; GRANT {rights} ON `%`.* TO 'wa'@'%';")
    else:
        where.sql(f"CREATE ROLE wa LOGIN CREATEDB PASSWORD '{CANARY}';")


def settings(where: Server, user: str = "wa") -> database_connection.Settings:
    return database_connection.Settings(where.engine, "127.0.0.1", where.port, user, CANARY)


def drop(where: Server, database: str) -> None:
    before, after = ("SET NAMES utf8mb4;", "") if where.kind == "mariadb" else ("", "WITH (FORCE)")
    where.sql(f"{before} DROP DATABASE IF EXISTS {_quoted(where, database)} {after};")


@contextlib.contextmanager
def databases(where: Server, **rows: int) -> t.Iterator[None]:
    """Databases of the client, owned by its user, with so many messages of mixed size; they go at the end."""
    try:
        for database, count in rows.items():
            name = _quoted(where, database)
            if where.kind == "mariadb":
                where.sql(
                    f"SET NAMES utf8mb4; CREATE DATABASE {name}; USE {name}; CREATE TABLE messages"
                    " (id BIGINT AUTO_INCREMENT PRIMARY KEY, kind VARCHAR(9), body VARBINARY(900), KEY (kind));"
                    f"INSERT INTO messages (kind, body) SELECT 'in', REPEAT('x', seq % 700) FROM seq_1_to_{count};"
                )
            else:
                where.sql(f"CREATE DATABASE {name} OWNER wa;")
                where.sql(
                    "SET ROLE wa; CREATE TABLE messages (id bigserial PRIMARY KEY, kind text, body text); INSERT INTO"
                    f" messages (kind, body) SELECT 'in', repeat('x', g % 700) FROM generate_series(1, {count}) g;",
                    database,
                )
        yield
    finally:
        for database in rows:
            drop(where, database)


def find(
    where: Server, prefix: str = PREFIX, wanted: list[str] | None = None, user: str = "wa", **warn: t.Any
) -> list[database_messages.Table]:
    return database_messages.find_tables(settings(where, user), prefix, wanted, **warn)


def swallow(where: Server, database: str, statement: str) -> None:
    connection = database_connection.connect(settings(where), database, read_only=False)
    with contextlib.suppress(database_connection.DatabaseError), connection as session:
        session.rows(statement)
