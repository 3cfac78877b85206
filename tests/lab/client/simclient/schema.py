# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stores, tables and migrations.

The schema version is the minor number of the client's version. Odd versions rewrite `messages` (their time grows with
its rows), even ones add a column to a small table. Every step looks first at what is there, so a migration that was
killed half-way goes on at the next start; a lock on the server keeps two of them apart, also when the first one's
program is dead and its last statement still runs.
"""

from __future__ import annotations

import time
import zlib
from typing import Callable

from .database import Database, DatabaseDown, DatabaseError, NoSuchDatabase, Session

# Names from /v1/support, where Meta shows them, with the ending seen in a log (configStore); web is ours.
STORES = ("cluster", "config", "contact", "axolotl", "callback", "jobqueue", "web", "media", "message")
OLDEST = 39
LOCK_WAIT = 5

Log = Callable[[str], None]


class SchemaNewer(DatabaseError):
    """The database was migrated by a newer build; this one must not touch it."""


class MigrationFailed(DatabaseError):
    """A migration step did not work; the steps before it stay done."""


def store(name: str) -> str:
    """The database of a store, without the prefix; the number of a shard comes last."""
    kind = _kind(name)
    return f"{kind}Store{name[len(kind) :]}"


def _kind(name: str) -> str:
    return name.rstrip("0123456789")


def message_stores(count: int) -> tuple[str, ...]:
    """The stores with the table `messages`: one, or one for each shard."""
    return ("message", *(f"message{number}" for number in range(1, count)))


def last_rewrite(version: int) -> int:
    """The newest version at or below this one that rewrites `messages`."""
    return version if version % 2 else version - 1


def _types(engine: str) -> dict[str, str]:
    pg = engine == "PGSQL"
    return {
        "serial": "BIGSERIAL PRIMARY KEY" if pg else "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY",
        "text": "TEXT" if pg else "MEDIUMTEXT",
        "real": "DOUBLE PRECISION" if pg else "DOUBLE",
        "end": "" if pg else " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
        # A default that is not constant makes PostgreSQL rewrite the table when the column is added.
        "attribute": "BIGINT NOT NULL DEFAULT (extract(epoch FROM clock_timestamp())::bigint)"
        if pg
        else "BIGINT NOT NULL DEFAULT 0",
    }


def tables(name: str, engine: str, version: int, mixed_charsets: bool = False) -> dict[str, str]:
    """The CREATE TABLE bodies of one store at one version, by table."""
    t = _types(engine)
    latin = " CHARACTER SET latin1" if mixed_charsets and engine != "PGSQL" else ""
    serial, text, real, attribute = t["serial"], t["text"], t["real"], t["attribute"]
    found: dict[str, dict[str, str]] = {
        "cluster": {
            "nodes": "name VARCHAR(190) PRIMARY KEY, hostname VARCHAR(128) NOT NULL, ports VARCHAR(64) NOT NULL, "
            f"master INT NOT NULL, version VARCHAR(32) NOT NULL, seen {real} NOT NULL",
            "leases": f"name VARCHAR(64) PRIMARY KEY, owner VARCHAR(190) NOT NULL, valid_until {real} NOT NULL",
        },
        "config": {"settings": f"name VARCHAR(64) PRIMARY KEY, value {text} NOT NULL"},
        "contact": {"contacts": f"wa_id VARCHAR(32) PRIMARY KEY, status VARCHAR(16) NOT NULL, checked {real} NOT NULL"},
        "axolotl": {"identities": f"id {serial}, registration_id BIGINT NOT NULL, created {real} NOT NULL"},
        "callback": {
            "queue": f"id {serial}, node VARCHAR(128) NOT NULL, kind VARCHAR(32) NOT NULL, payload {text} NOT NULL, "
            f"attempts INT NOT NULL, due {real} NOT NULL"
        },
        "jobqueue": {"jobs": f"id {serial}, kind VARCHAR(32) NOT NULL, payload {text} NOT NULL"},
        "web": {
            "users": "username VARCHAR(64) PRIMARY KEY, role VARCHAR(8) NOT NULL, password VARCHAR(160) NOT NULL, "
            f"initial INT NOT NULL, epoch INT NOT NULL, failures INT NOT NULL, locked_until {real} NOT NULL",
            "revoked": f"token VARCHAR(64) PRIMARY KEY, expires {real} NOT NULL",
            "certificates": f"name VARCHAR(64) PRIMARY KEY, pem {text} NOT NULL",
            "tokens": f"token VARCHAR(64) PRIMARY KEY, expires {real} NOT NULL",
        },
        "media": {
            "media": f"id {serial}, media_id VARCHAR(64) NOT NULL UNIQUE, direction SMALLINT NOT NULL, mime VARCHAR(64){latin} NOT NULL, "
            "path VARCHAR(255) NOT NULL, size BIGINT NOT NULL, created_at BIGINT NOT NULL, last_used BIGINT NOT NULL"
        },
        "message": {
            "messages": f"id {serial}, message_id VARCHAR(64) NOT NULL, direction SMALLINT NOT NULL, chat VARCHAR(32){latin} NOT NULL, "
            f"type VARCHAR(16){latin} NOT NULL, status VARCHAR(16) NOT NULL, payload {text} NOT NULL, created_at BIGINT NOT NULL, "
            f"updated_at BIGINT NOT NULL, attr_{last_rewrite(version)} {attribute}",
            "message_receipt_log": f"id {serial}, message_id VARCHAR(64) NOT NULL, message_row BIGINT NOT NULL, status VARCHAR(16){latin} NOT NULL, "
            "received_at BIGINT NOT NULL",
        },
    }
    return found[_kind(name)]


def indexes(name: str) -> dict[str, tuple[str, str]]:
    """Secondary indexes of one store: name -> (table, column)."""
    if _kind(name) == "message":
        return {
            "messages_message_id": ("messages", "message_id"),
            "receipts_message_row": ("message_receipt_log", "message_row"),
        }
    return {}


class Schema:
    """The client's databases, seen as a whole."""

    def __init__(self, database: Database, log: Log) -> None:
        self.db = database
        self.log = log
        self.stores = (*STORES[:-1], *message_stores(database.settings.message_stores))

    # -- looking ---------------------------------------------------------------------------------------------------

    def versions(self) -> dict[str, int]:
        """Store name -> schema version; a store that is missing or half made is 0. Raises DatabaseDown."""
        found = {}
        for name in self.stores:
            try:
                with self.db.session(store(name)) as session:
                    found[name] = int(session.value("SELECT version FROM schema_version WHERE id = 1") or 0)
            except NoSuchDatabase:
                found[name] = 0
        return found

    def state(self, target: int) -> str:
        """`fresh`, `older`, `current` or `newer`, against the version of a build. Raises DatabaseDown."""
        found = self.versions().values()
        if max(found) == 0:
            return "fresh"
        if max(found) > target:
            return "newer"
        return "current" if min(found) == target else "older"

    def columns(self, session: Session, table: str) -> set[str]:
        """The columns of a table; empty when there is none."""
        scope = "table_schema = 'public'" if self.db.engine == "PGSQL" else "table_schema = DATABASE()"
        return {
            str(row[0])
            for row in session.rows(
                f"SELECT column_name FROM information_schema.columns WHERE {scope} AND table_name = %s", (table,)
            )
        }

    # -- changing --------------------------------------------------------------------------------------------------

    def bring_to(self, target: int, hold: Callable[[str], None] | None = None) -> bool:
        """Create what is missing and migrate what is older, under the server's lock. Returns True when it was fresh.

        `hold(step)` is called before each step of a migration; it may wait, or raise MigrationFailed (faults).
        Raises SchemaNewer, MigrationFailed or DatabaseDown.
        """
        session = self._locked(None, "schema")
        try:
            before = self.versions()
            if max(before.values()) > target:
                raise SchemaNewer(
                    f"database schema {max(before.values())} is newer than this build's {target}: "
                    "the database was migrated by a newer version, refusing to start"
                )
            fresh = max(before.values()) == 0
            if not fresh and hold:
                hold("start")
            for name in self.stores:
                if before[name] == 0:
                    self._create(name, target if fresh else max(before.values()))
            if not fresh:
                for name in self.stores:
                    self._migrate(name, before[name] or max(before.values()), target, hold)
            return fresh
        finally:
            session.close()

    def _locked(self, database: str | None, what: str) -> Session:
        """A session that holds a lock of the server for as long as it is open; waits as long as it takes."""
        session = self.db.connect(database)
        name = f"wa_{what}_{zlib.crc32(self.db.settings.prefix.encode()):08x}"
        said = False
        while True:
            if self.db.engine == "PGSQL":
                got = session.value("SELECT pg_try_advisory_lock(%s)", (zlib.crc32(name.encode()),))
                if not got:
                    time.sleep(0.5)
            else:
                got = session.value("SELECT GET_LOCK(%s, %s)", (name, LOCK_WAIT)) == 1
            if got:
                return session
            if not said:
                self.log("another process creates or migrates the schema, waiting for it")
                said = True

    def _create(self, name: str, version: int) -> None:
        """Create a store; every statement may be repeated after a kill."""
        full = self.db.name(store(name))
        try:
            with self.db.session(store(name)):
                pass
        except NoSuchDatabase:
            session = self.db.connect(None)
            try:
                suffix = "" if self.db.engine == "PGSQL" else " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
                session.execute(f"CREATE DATABASE {self.db.quote(full)}{suffix}")
            finally:
                session.close()
        end = _types(self.db.engine)["end"]
        with self.db.session(store(name)) as session:
            settings = self.db.settings
            for table, body in tables(name, self.db.engine, version, settings.mixed_charsets).items():
                if table == "message_receipt_log" and settings.cascade and self._cascading(session, table, body, end):
                    continue
                session.execute(f"CREATE TABLE IF NOT EXISTS {table} ({body}){end}")
            for index, (table, column) in indexes(name).items():
                self._index(session, index, table, column)
            session.execute(
                f"CREATE TABLE IF NOT EXISTS schema_version (id INT PRIMARY KEY, version INT NOT NULL){end}"
            )
            if session.value("SELECT version FROM schema_version WHERE id = 1") is None:
                session.execute("INSERT INTO schema_version (id, version) VALUES (1, %s)", (version,))
        self.log(f"created {full} at schema {version}")

    def _cascading(self, session: Session, table: str, body: str, end: str) -> bool:
        """Create the receipts so that a message takes its own along. Returns False when the server refuses that."""
        key = "FOREIGN KEY (message_row) REFERENCES messages (id) ON DELETE CASCADE"
        try:
            session.execute(f"CREATE TABLE IF NOT EXISTS {table} ({body}, {key}){end}")
        except DatabaseDown:
            raise
        except DatabaseError as exc:
            # MySQL 8 asks for REFERENCES, which is not among the rights that the vendor names.
            self.log(f"{table} without a foreign key: {exc}")
            return False
        return True

    def _index(self, session: Session, index: str, table: str, column: str) -> None:
        if self.db.engine == "PGSQL":
            session.execute(f"CREATE INDEX IF NOT EXISTS {index} ON {table} ({column})")
        elif not session.value(
            "SELECT COUNT(*) FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = %s AND index_name = %s",
            (table, index),
        ):
            session.execute(f"CREATE INDEX {index} ON {table} ({column})")

    def _migrate(self, name: str, version: int, target: int, hold: Callable[[str], None] | None) -> None:
        for step in range(version + 1, target + 1):
            started = time.monotonic()
            if _kind(name) == "message" and step % 2:
                self.log(f"migrating {self.db.name(store(name))} from schema {step - 1} to {step}: rewriting messages")
                if hold:
                    hold(f"{name} {step}")
                self._rewrite_messages(name, step)
            with self.db.session(store(name)) as session:
                if name == "media" and not step % 2:
                    self._add_column(session, "media", f"attr_{step}", "INT NOT NULL DEFAULT 0")
                session.execute("UPDATE schema_version SET version = %s WHERE id = 1", (step,))
            if _kind(name) == "message":
                self.log(f"migrated {self.db.name(store(name))} to schema {step} in {time.monotonic() - started:.1f} s")

    def _add_column(self, session: Session, table: str, column: str, kind: str) -> None:
        if column not in self.columns(session, table):
            session.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")

    def _rewrite_messages(self, name: str, step: int) -> None:
        # The session that runs the statement holds a lock of its own: when this program is killed, the server goes on
        # with the statement and keeps the lock, so the next program waits for the end instead of doing it again.
        session = self._locked(self.db.name(store(name)), "rewrite")
        try:
            self._rewrite_in(session, step)
        finally:
            session.close()

    def _rewrite_in(self, session: Session, step: int) -> None:
        present = self.columns(session, "messages")
        if f"attr_{step}" in present:
            self.log(f"messages has schema {step} already (an interrupted migration got so far)")
            return
        old = sorted(column for column in present if column.startswith("attr_"))
        parts = [f"ADD COLUMN attr_{step} {_types(self.db.engine)['attribute']}"] + [
            f"DROP COLUMN {column}" for column in old
        ]
        if self.db.engine != "PGSQL":
            # The server's instant way would hide that a real migration takes longer with more rows.
            parts.append("ALGORITHM=COPY")
        try:
            session.execute("ALTER TABLE messages " + ", ".join(parts))
        except DatabaseError as exc:
            raise MigrationFailed(f"schema {step}: ALTER TABLE messages failed: {exc}") from None
