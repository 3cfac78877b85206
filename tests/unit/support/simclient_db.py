# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database for the simulated client without a server: SQLite behind the client's PostgreSQL dialect."""

from __future__ import annotations

import re
import sqlite3
import threading
from pathlib import Path
from typing import Any

from simclient.database import Database, DatabaseDown, NoSuchDatabase, Session
from simclient.settings import DatabaseSettings

EPOCH = "((julianday('now') - 2440587.5) * 86400.0)"


class FakeError(Exception):
    """The driver's exception; `pgcode` is its SQLSTATE."""

    def __init__(self, text: str, pgcode: str) -> None:
        super().__init__(text)
        self.pgcode = pgcode


class Locks:
    """Advisory locks, which a connection holds until it is closed."""

    def __init__(self) -> None:
        self._holders: dict[int, object] = {}
        self._guard = threading.Lock()

    def take(self, number: int, holder: object) -> int:
        with self._guard:
            return int(self._holders.setdefault(number, holder) is holder)

    def drop(self, holder: object) -> None:
        with self._guard:
            self._holders = {number: other for number, other in self._holders.items() if other is not holder}


def statements(sql: str) -> list[str]:
    """The SQLite statements for a statement of PostgreSQL."""
    sql = sql.replace("BIGSERIAL PRIMARY KEY", "INTEGER PRIMARY KEY AUTOINCREMENT")
    sql = sql.replace("DEFAULT (extract(epoch FROM clock_timestamp())::bigint)", "DEFAULT 0")
    sql = sql.replace("extract(epoch FROM clock_timestamp())", EPOCH)
    if "information_schema.columns" in sql:
        sql = "SELECT name FROM pragma_table_info(%s)"
    sql = re.sub(r"%\((\w+)\)s", r":\1", sql).replace("%s", "?").replace("%%", "%")
    if not sql.startswith("ALTER TABLE"):
        return [sql]
    head, _space, rest = sql.partition(" ADD ")
    return [f"{head} {part}" for part in f"ADD {rest}".split(", ")]


class Cursor:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cursor = connection.raw.cursor()

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *exc: object) -> None:
        self._cursor.close()

    def execute(self, sql: str, params: Any = None) -> None:
        created = re.fullmatch(r'CREATE DATABASE "(.+)"', sql)
        if created:
            self._connection.create(created.group(1))
            return
        try:
            for statement in statements(sql):
                self._cursor.execute(statement, params or ())
        except sqlite3.Error as exc:
            raise FakeError(str(exc), "42P01" if "no such table" in str(exc) else "42000") from None

    @property
    def description(self) -> Any:
        return self._cursor.description

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._cursor.fetchall()


class Connection:
    def __init__(self, folder: Path, path: Path | None, locks: Locks) -> None:
        self.folder = folder
        self.closed = 0
        self._locks = locks
        self.raw = sqlite3.connect(path or ":memory:", timeout=20, isolation_level=None, check_same_thread=False)
        self.raw.execute("PRAGMA synchronous = OFF")
        self.raw.execute("PRAGMA foreign_keys = ON")
        self.raw.create_function("pg_try_advisory_lock", 1, lambda number: locks.take(number, self))
        self.raw.create_function("MOD", 2, lambda a, b: a % b)

    def create(self, name: str) -> None:
        """Create a database in WAL mode, so that readers and a writer do not block each other."""
        raw = sqlite3.connect(self.folder / f"{name}.new")
        raw.execute("PRAGMA journal_mode = WAL")
        raw.close()
        (self.folder / f"{name}.new").rename(self.folder / name)

    def cursor(self) -> Cursor:
        return Cursor(self)

    def close(self) -> None:
        self.closed = 1
        self._locks.drop(self)
        self.raw.close()


class FakeServer:
    """A database server in a folder. While `down`, it refuses connections."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.locks = Locks()
        self.down = False
        folder.mkdir(exist_ok=True)

    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir() if not path.name.endswith(("-wal", "-shm"))}


class FakeDatabase(Database):
    """The client's databases on a FakeServer."""

    def __init__(self, server: FakeServer, prefix: str = "wa1") -> None:
        super().__init__(DatabaseSettings("PGSQL", "db", 5432, "wa", "Canary-Db-1", prefix), lambda: server.down)
        self.server = server

    def connect(self, database: str | None) -> Session:
        if self.server.down:
            raise DatabaseDown("connection refused")
        path = self.server.folder / database if database else None
        if path and not path.exists():
            raise NoSuchDatabase(f'database "{database}" does not exist')
        return Session("PGSQL", Connection(self.server.folder, path, self.server.locks), (FakeError,))
