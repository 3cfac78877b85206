# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real databases with a `messages` table, and a small Webapp whose GC deletes real rows of it in its own time."""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t
from pathlib import Path

from database_servers import Server
from fake_webapp import FakeWebapp

from ansible_collections.waba.onprem.plugins.module_utils._database import connection as database_connection
from ansible_collections.waba.onprem.plugins.module_utils._database import messages as database_messages

CANARY = "Canary-53-Gc-Pw"
API_PASSWORD = "Canary-54-Api"
GC = "/v1/services/message/gc"
PREFIX = "gc1_"
DATABASE = {"mariadb": "gc1_messageStore", "postgres": "gc1_messageStore"}
ROWS = 60_000
LIMIT = 50_000


def create(where: Server, database: str, rows: int) -> None:
    """A database of the client, owned by its user, with `rows` messages of mixed size."""
    if where.kind == "mariadb":
        name = database.replace("`", "``")
        where.sql(
            f"SET NAMES utf8mb4; CREATE DATABASE `{name}`; USE `{name}`;"
            "CREATE TABLE messages (id BIGINT AUTO_INCREMENT PRIMARY KEY, kind VARCHAR(9), body VARBINARY(900), KEY (kind));"
            f"INSERT INTO messages (kind, body) SELECT 'in', REPEAT('x', seq % 700) FROM seq_1_to_{rows};"
        )
        return
    name = database.replace('"', '""')
    where.sql(f'CREATE DATABASE "{name}" OWNER wa;')
    where.sql(
        "SET ROLE wa; CREATE TABLE messages (id bigserial PRIMARY KEY, kind text, body text);"
        f"INSERT INTO messages (kind, body) SELECT 'in', repeat('x', g % 700) FROM generate_series(1, {rows}) g;",
        database,
    )


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
    if where.kind == "mariadb":
        name = database.replace("`", "``")
        where.sql(f"SET NAMES utf8mb4; DROP DATABASE IF EXISTS `{name}`;")
    else:
        name = database.replace('"', '""')
        where.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE);')


@contextlib.contextmanager
def databases(where: Server, **rows: int) -> t.Iterator[None]:
    """Databases with so many messages, which go at the end."""
    try:
        for name, count in rows.items():
            create(where, name, count)
        yield
    finally:
        for name in rows:
            drop(where, name)


class Client:
    """A Webapp over a real database: its GC deletes rows in batches, as the client's user."""

    def __init__(self, where: Server, folder: Path, delete: int, batches: int = 8, pause: float = 0.2) -> None:
        self.where = where
        self.folder = folder
        self.delete, self.batches, self.pause = delete, batches, pause
        self.webapp = FakeWebapp()
        self.webapp.passwords["admin"] = API_PASSWORD
        self.webapp.on("PUT", GC, self.start)
        self.threads: list[threading.Thread] = []
        (folder / "db.env").write_text(
            f"WA_DB_ENGINE={where.engine}\nWA_DB_HOSTNAME=db.only.among.containers\nWA_DB_PORT={where.port}\n"
            f"WA_DB_USERNAME=wa\nWA_DB_PASSWORD={CANARY}\nWA_DB_NAME_PREFIX={PREFIX}\n"
        )

    def start(self) -> t.Any:
        self.threads.append(threading.Thread(target=self.work))
        self.threads[-1].start()
        return 200, {"services": {"message": {"gc": {"status": "processing"}}}}

    def work(self) -> None:
        """All batches, each once more after a failure, as the client's GC goes on when its database is back."""
        left, end = self.batches, time.monotonic() + 120
        while left and time.monotonic() < end:
            count = self.delete // self.batches
            with contextlib.suppress(database_connection.DatabaseError), self.session() as session:
                if self.where.kind == "mariadb":
                    session.rows(f"DELETE FROM messages ORDER BY id LIMIT {count}")
                else:
                    session.rows(
                        f"DELETE FROM messages WHERE id IN (SELECT id FROM messages ORDER BY id LIMIT {count})"
                    )
                left -= 1
            time.sleep(self.pause)

    def session(self) -> database_connection.Session:
        return database_connection.connect(settings(self.where), DATABASE[self.where.kind], read_only=False)

    def options(self, **more: t.Any) -> dict[str, t.Any]:
        return {
            "api_url": self.webapp.url,
            "api_password": API_PASSWORD,
            "env_file": str(self.folder / "db.env"),
            "state_file": str(self.folder / "gc.json"),
            "login_host": "127.0.0.1",
            "max_messages": LIMIT,
            "quiet_period": "3s",  # a loaded machine pauses between batches
            "poll_interval": "0.5",
            "wait_timeout": "180s",  # a loaded machine restarts a server slowly
            **more,
        }

    def calls(self) -> int:
        found: int = self.webapp.paths().count(f"PUT {GC}")
        return found

    def close(self) -> None:
        for thread in self.threads:
            thread.join()
        self.webapp.close()


def find(
    where: Server,
    prefix: str = PREFIX,
    wanted: list[str] | None = None,
    user: str = "wa",
    warn: t.Callable[[str], None] = lambda _text: None,
) -> list[database_messages.Table]:
    return database_messages.find_tables(settings(where, user), prefix, wanted, warn)


def swallow(where: Server, database: str, statement: str) -> None:
    with (
        contextlib.suppress(database_connection.DatabaseError),
        database_connection.connect(settings(where), database, read_only=False) as session,
    ):
        session.rows(statement)
