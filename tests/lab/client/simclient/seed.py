# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill `messages` with rows in seconds: `python3 -m simclient.seed --rows N`, settings from WA_DB_*."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time

from . import build as build_module
from .database import Database, DatabaseError, Deadlock, Session
from .schema import Schema, last_rewrite, message_stores, store
from .settings import DatabaseSettings, SettingsError

CHUNK = 20000  # rows of a statement: what it locks, the client and the other worker wait for
WORKERS = 2
RESTARTS = 20  # of one statement after deadlocks
COLUMNS = "id, message_id, direction, chat, type, status, payload, created_at, updated_at"


def selection(engine: str, n: str, now: int) -> str:
    """The columns of a row as SQL over its number `n`: of 20 rows, 17 are what message GC takes.

    11 outbound and delivered or read, 6 inbound and read, all older than two days; 2 inbound and unread, 1 outbound of today.
    """
    slot = f"MOD({n}, 20)"
    pg = engine == "PGSQL"
    text = f"CAST({n} AS text)" if pg else n
    # Most payloads are short, one in 20 is longer, one in 500 is long.
    size = f"CASE WHEN MOD({n}, 500) = 7 THEN 2000 WHEN MOD({n}, 20) = 3 THEN 400 ELSE 40 + MOD({n} * 7919, 100) END"
    size = f"CAST({size} AS int)" if pg else size
    age = f"CASE WHEN {slot} = 19 THEN MOD({n}, 3600) ELSE 172800 + MOD({n} * 6007, 5184000) END"
    return ", ".join(
        (
            f"CONCAT('gBEGsim', LPAD({text}, 17, '0'))",
            f"CASE WHEN {slot} < 11 OR {slot} = 19 THEN 1 ELSE 0 END",
            f"CONCAT('1555', LPAD({'CAST(MOD(' + n + ', 50000) AS text)' if pg else 'MOD(' + n + ', 50000)'}, 7, '0'))",
            f"CASE WHEN MOD({n}, 20) = 3 THEN 'image' ELSE 'text' END",
            f"CASE WHEN {slot} < 5 THEN 'delivered' WHEN {slot} < 11 THEN 'read' WHEN {slot} < 17 THEN 'read' WHEN {slot} < 19 THEN 'unread' ELSE 'sent' END",
            f"REPEAT('x', {size})",
            f"{now} - ({age})",
            f"{now} - ({age})",
        )
    )


def numbers(engine: str, server: str, first: int, last: int) -> tuple[str, str]:
    """A FROM clause that yields the numbers first..last, and the name of the number in it."""
    if engine == "PGSQL":
        return f"generate_series({first}::bigint, {last}::bigint) AS s(n)", "n"
    if "MariaDB" in server:
        return f"seq_{first}_to_{last}", "seq"
    digits = "SELECT 0 AS d" + "".join(f" UNION ALL SELECT {digit}" for digit in range(1, 10))
    count = len(str(CHUNK))
    places = ", ".join(f"({digits}) AS d{place}" for place in range(count))
    number = " + ".join(f"d{place}.d * {10**place}" for place in range(count))
    return f"(SELECT n FROM (SELECT {first} + {number} AS n FROM {places}) AS every_n WHERE n <= {last}) AS s", "n"


def _sequences(session: Session) -> None:
    if session.engine == "PGSQL":
        for table in ("messages", "message_receipt_log"):
            session.value(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT COALESCE(MAX(id), 1) FROM {table}))"
            )


class Seeder:
    """Fills one deployment's message store."""

    def __init__(self, settings: DatabaseSettings, schema_version: int) -> None:
        self.db = Database(settings)
        self.version = schema_version
        self.stores = [store(name) for name in message_stores(settings.message_stores)]

    def prepare(self) -> int:
        """Make the schema when it is missing. Returns how many rows there are."""
        schema = Schema(self.db, lambda text: print(text, file=sys.stderr))
        if schema.state(self.version) == "fresh":
            schema.bring_to(self.version)
        present = 0
        for place in self.stores:
            with self.db.session(place) as session:
                self.version = int(session.value("SELECT version FROM schema_version WHERE id = 1"))
                present += int(session.value("SELECT COUNT(*) FROM messages"))
        return present

    def add(self, rows: int) -> None:
        """Add rows, as many to each store, and a receipt for one in 20. Raises DatabaseError."""
        count = len(self.stores)
        for number, place in enumerate(self.stores):
            self._fill(place, rows // count + (number < rows % count))

    def _fill(self, place: str, rows: int) -> None:
        with self.db.session(place) as session:
            first = int(session.value("SELECT COALESCE(MAX(id), 0) FROM messages")) + 1
            server = str(session.value("SELECT version()"))
        edges = [*list(range(first, first + rows, CHUNK)), first + rows]
        chunks = [(low, high - 1) for low, high in zip(edges, edges[1:])]
        failures: list[DatabaseError] = []
        threads = [
            threading.Thread(target=self._work, args=(place, chunks, server, failures)) for _number in range(WORKERS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        with self.db.session(place) as session:
            _sequences(session)
            session.run("ANALYZE messages" if session.engine == "PGSQL" else "ANALYZE TABLE messages")

    def _work(self, place: str, chunks: list[tuple[int, int]], server: str, failures: list[DatabaseError]) -> None:
        try:
            session = self.db.connect(self.db.name(place))
            try:
                if session.engine == "MYSQL":
                    session.execute("SET SESSION unique_checks = 0, foreign_key_checks = 0")
                    # By default a SELECT that feeds an INSERT locks what it reads and the gap behind it: two workers
                    # at neighbouring rows then deadlock.
                    session.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
                else:
                    session.execute("SET synchronous_commit = off")
                while chunks and not failures:
                    self._chunk(session, server, *chunks.pop(0))
            finally:
                session.close()
        except IndexError:
            return
        except DatabaseError as exc:
            failures.append(exc)

    def _chunk(self, session: Session, server: str, first: int, last: int) -> None:
        now = int(time.time())
        source, n = numbers(session.engine, server, first, last)
        _insert(
            session,
            f"INSERT INTO messages ({COLUMNS}, attr_{last_rewrite(self.version)}) SELECT {n}, {selection(session.engine, n, now)}, 0 FROM {source}",
        )
        _insert(
            session,
            "INSERT INTO message_receipt_log (message_id, message_row, status, received_at) "
            f"SELECT message_id, id, status, created_at FROM messages WHERE id >= {first} AND id <= {last} AND MOD(id, 20) = 1",
        )


def _insert(session: Session, statement: str) -> None:
    """Run a statement, a transaction of its own; after a deadlock again, as the server's manual asks of every program."""
    for restart in range(RESTARTS + 1):
        try:
            session.execute(statement)
            return
        except Deadlock:
            if restart == RESTARTS:
                raise


def main() -> int:
    """Seed and say as JSON what was done."""
    parser = argparse.ArgumentParser(prog="simclient.seed", description=__doc__)
    parser.add_argument("--rows", type=int, required=True, help="how many rows to add")
    parser.add_argument("--top-up", action="store_true", help="add only as many as are missing to that number")
    parser.add_argument(
        "--schema", type=int, default=0, help="schema version to create when there is none (default: the image's)"
    )
    options = parser.parse_args()
    started = time.monotonic()
    try:
        seeder = Seeder(DatabaseSettings.from_env(os.environ), options.schema or build_module.load().schema)
        present = seeder.prepare()
        wanted = max(0, options.rows - present) if options.top_up else options.rows
        if wanted:
            seeder.add(wanted)
    except (DatabaseError, SettingsError) as exc:
        print(f"seed: {exc}", file=sys.stderr)
        return 1
    print(
        json.dumps(
            {
                "rows_before": present,
                "rows_added": wanted,
                "rows_after": present + wanted,
                "seconds": round(time.monotonic() - started, 1),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
