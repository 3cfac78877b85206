# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database servers: waiting for them, the client's user with its documented privileges, and an administrator."""

from __future__ import annotations

from .model import HOSTILE_USER, Lab, product
from .shell import Shell

ADMIN = "dba"
# What the vendor says its user needs, and nothing more.
RIGHTS = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP"
WAIT = {
    "mysql": "until mysqladmin --silent ping >/dev/null 2>&1; do sleep 0.2; done; exec mysql --batch",
    "mariadb": "until mariadb-admin --silent ping >/dev/null 2>&1; do sleep 0.2; done; exec mariadb --batch",
    "postgres": "until pg_isready -q -h /run/postgresql; do sleep 0.2; done; exec psql -qAt -v ON_ERROR_STOP=1 -h /run/postgresql",
}


def port(engine: str) -> int:
    """Where a server listens."""
    return 5432 if product(engine) == "postgres" else 3306


def wa_engine(engine: str) -> str:
    """The vendor's word for a server, as WA_DB_ENGINE takes it."""
    return "PGSQL" if product(engine) == "postgres" else "MYSQL"


def literal(engine: str, text: str) -> str:
    """A string as SQL of that server; only PostgreSQL does not read a backslash as an escape."""
    escaped = text.replace("'", "''")
    return "'" + (escaped if product(engine) == "postgres" else escaped.replace("\\", "\\\\")) + "'"


def users_sql(engine: str, passwords: dict[str, str], user: str) -> str:
    """Make the client's user and the administrator, or give them their passwords again; safe to run any number of times."""
    client, admin = (literal(engine, passwords[name]) for name in ("db_password", "dba_password"))
    every = user == HOSTILE_USER
    if product(engine) != "postgres":
        lines = []
        for name, password, rights in (
            (user, client, "ALL PRIVILEGES" if every else RIGHTS),
            (ADMIN, admin, "ALL PRIVILEGES"),
        ):
            lines += [
                f"CREATE USER IF NOT EXISTS '{name}'@'%' IDENTIFIED BY {password};",
                f"ALTER USER '{name}'@'%' IDENTIFIED BY {password};",
                f"GRANT {rights} ON *.* TO '{name}'@'%';",
            ]
        return "\n".join(lines) + "\n"
    lines = []
    for name, password, rights in (
        (user, client, "SUPERUSER" if every else "CREATEDB"),
        (ADMIN, admin, "SUPERUSER"),
    ):
        lines += [
            f"SELECT 'CREATE ROLE {name}' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') \\gexec",
            f"ALTER ROLE {name} LOGIN {rights} PASSWORD {password};",
        ]
    return "\n".join(lines) + "\n"


def neighbours_sql(engine: str) -> str:
    """Make other applications' databases: one with a table `messages`, one whose name ends as the client's do."""
    lines = []
    for name, table in (("helpdesk", "messages"), ("bookStore", "orders")):
        if product(engine) == "postgres":
            lines += [
                f"SELECT 'CREATE DATABASE \"{name}\"' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}') \\gexec",
                f"\\connect {name}",
            ]
        else:
            lines += [f"CREATE DATABASE IF NOT EXISTS {name};", f"USE {name};"]
        lines += [
            f"CREATE TABLE IF NOT EXISTS {table} (id INT PRIMARY KEY, body VARCHAR(20) NOT NULL);",
            f"INSERT INTO {table} SELECT 1, 'of {name}' WHERE NOT EXISTS (SELECT 1 FROM {table});",
        ]
    return "\n".join(lines) + "\n"


def sql(lab: Lab, shell: Shell, engine: str, text: str, database: str = "", timeout: float = 120.0) -> str:
    """Run SQL as the server's own administrator, inside its container, once it answers; return what it prints.

    The text goes in by standard input, so that no password is in an argument list. Times out after `timeout` seconds.
    """
    name = lab.called(engine)
    kind = product(engine)
    user = ["--user", "postgres"] if kind == "postgres" else []
    command = f"{WAIT[kind]} {'-d ' if kind == 'postgres' and database else ''}{database}"
    done = shell.run(
        ["docker", "exec", "--interactive", *user, name, "sh", "-c", command], stdin=text.encode(), timeout=timeout
    )
    return done.stdout.decode(errors="replace")


def ensure_users(lab: Lab, shell: Shell, engine: str) -> None:
    """Wait until a server answers and make its users, and with the hostile profile the neighbours of the client."""
    sql(lab, shell, engine, users_sql(engine, lab.secrets(), lab.user))
    if lab.hostile:
        sql(lab, shell, engine, neighbours_sql(engine))
