# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that speaks to the database server: connections for two engines, one statement at a time."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, Union

from .settings import DatabaseSettings

CONNECT_TIMEOUT = 5
Params = Union[Sequence[Any], Mapping[str, Any]]


class DatabaseError(Exception):
    """A statement failed; the text is the server's. It never holds a password."""


class DatabaseDown(DatabaseError):
    """There is no usable connection: refused, lost, too many, wrong credentials."""


class NoSuchDatabase(DatabaseError):
    """The server answers and this database (or table) does not exist there."""


class Deadlock(DatabaseError):
    """The server has rolled this transaction back so that another one could go on: begin it again."""


class Session:
    """One connection in autocommit: each statement is its own transaction."""

    def __init__(self, engine: str, raw: Any, errors: tuple[type[Exception], ...]) -> None:
        self.engine = engine
        self.raw = raw
        self._errors = errors
        self.broken = False
        self.last_used = time.monotonic()

    def run(self, sql: str, params: Params = ()) -> tuple[list[tuple[Any, ...]], int]:
        """Run one statement. Returns its rows and its row count. Raises DatabaseError."""
        try:
            with self.raw.cursor() as cursor:
                cursor.execute(sql, params or None)
                rows = [tuple(row) for row in cursor.fetchall()] if cursor.description else []
                count = int(cursor.rowcount)
        except self._errors as exc:
            raise self._translate(exc) from None
        self.last_used = time.monotonic()
        return rows, count

    def rows(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """The rows of a SELECT."""
        return self.run(sql, params)[0]

    def value(self, sql: str, params: Params = ()) -> Any:
        """The first column of the first row, or None."""
        rows = self.run(sql, params)[0]
        return rows[0][0] if rows else None

    def execute(self, sql: str, params: Params = ()) -> int:
        """Run a statement that changes something. Returns the number of rows that it met."""
        return self.run(sql, params)[1]

    def insert(self, sql: str, params: Params, key: str = "id") -> int:
        """Insert one row and return its generated key."""
        if self.engine == "PGSQL":
            return int(self.value(f"{sql} RETURNING {key}", params))
        self.execute(sql, params)
        return int(self.value("SELECT LAST_INSERT_ID()"))

    def now(self) -> float:
        """The database server's clock, in epoch seconds: the one clock that all nodes share."""
        if self.engine == "PGSQL":
            return float(self.value("SELECT extract(epoch FROM clock_timestamp())"))
        return float(self.value("SELECT UNIX_TIMESTAMP(NOW(3))"))

    def close(self) -> None:
        """Close the connection; an already lost one is fine."""
        with contextlib.suppress(Exception):
            self.raw.close()

    def _translate(self, exc: Exception) -> DatabaseError:
        if self.engine == "PGSQL":
            self.broken = self.broken or bool(self.raw.closed)
            code = getattr(exc, "pgcode", None) or ""
            text = str(exc).strip() or type(exc).__name__
            if self.broken or code.startswith(("57P", "08", "53")):
                self.broken = True
                return DatabaseDown(text)
            if code == "40P01":
                return Deadlock(text)
            return NoSuchDatabase(text) if code in ("3D000", "42P01") else DatabaseError(text)
        number = exc.args[0] if exc.args and isinstance(exc.args[0], int) else 0
        text = str(exc.args[1]) if len(exc.args) > 1 else str(exc)
        # 0 and 2xxx: the client side lost the connection; 1040, 1053, 1203, 1226, 1927: the server ended it.
        if number == 0 or 2000 <= number < 3000 or number in (1040, 1053, 1203, 1226, 1927):
            self.broken = True
            return DatabaseDown(text)
        if number == 1213:
            return Deadlock(f"{number} {text}")
        return NoSuchDatabase(text) if number in (1049, 1146) else DatabaseError(f"{number} {text}")


class Database:
    """The client's databases on one server; names are prefix + store, joined without a separator."""

    def __init__(
        self, settings: DatabaseSettings, blocked: Callable[[], bool] = lambda: False, pooled: bool = True
    ) -> None:
        self.settings = settings
        self.engine = settings.engine
        self._blocked = blocked
        self._pooled = pooled
        self._idle: dict[str, list[Session]] = {}
        self._lock = threading.Lock()

    def name(self, store: str) -> str:
        """The full name of a store's database."""
        return self.settings.prefix + store

    def quote(self, identifier: str) -> str:
        """Quote an identifier for this engine."""
        mark = '"' if self.engine == "PGSQL" else "`"
        return mark + identifier.replace(mark, mark * 2) + mark

    def connect(self, database: str | None) -> Session:
        """Open a connection to a database by its full name; None means no database of ours."""
        if self._blocked():
            raise DatabaseDown("Too many connections")
        reason = self.settings.unusable()
        if reason:
            raise DatabaseDown(reason)
        return self._connect_pg(database) if self.engine == "PGSQL" else self._connect_mysql(database)

    def _connect_mysql(self, database: str | None) -> Session:
        import pymysql
        from pymysql.constants import CLIENT

        s = self.settings
        options = {
            "host": s.hostname,
            "port": s.port,
            "user": s.username,
            "password": s.password,
            "database": database,
            "charset": "utf8mb4",
            "autocommit": True,
            "connect_timeout": CONNECT_TIMEOUT,
            "client_flag": CLIENT.FOUND_ROWS,
        }
        try:
            try:
                raw = pymysql.connect(**options, ssl=self._tls())
            except RuntimeError:
                # caching_sha2_password without TLS takes a library that the image lacks; MySQL's own library prefers TLS, unchecked.
                raw = pymysql.connect(**options, ssl=ssl._create_unverified_context())
        except pymysql.MySQLError as exc:
            number = exc.args[0] if exc.args else 0
            kind = NoSuchDatabase if number == 1049 else DatabaseDown
            raise kind(str(exc.args[1]) if len(exc.args) > 1 else str(exc)) from None
        except (OSError, ValueError) as exc:
            raise DatabaseDown(f"cannot connect: {exc}") from None
        return Session(self.engine, raw, (pymysql.MySQLError, OSError))

    def _tls(self) -> ssl.SSLContext | None:
        """What MySQL connections check: the CA and not the name, as with PostgreSQL's verify-ca below."""
        s = self.settings
        if not (s.ssl_ca or s.ssl_cert):
            return None
        context = ssl.create_default_context(cafile=s.ssl_ca or None)
        context.check_hostname = False
        # Database CAs that were made long ago lack extensions that Python asks for by default since 3.13.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not s.ssl_ca:
            context.verify_mode = ssl.CERT_NONE
        if s.ssl_cert:
            context.load_cert_chain(s.ssl_cert, s.ssl_key or None)
        return context

    def _connect_pg(self, database: str | None) -> Session:
        import psycopg2

        s = self.settings
        tls: dict[str, str] = {}
        if s.ssl_ca:
            tls = {"sslmode": "verify-ca", "sslrootcert": s.ssl_ca}
        if s.ssl_cert:
            tls.update(sslcert=s.ssl_cert, sslkey=s.ssl_key)
        try:
            raw = psycopg2.connect(
                host=s.hostname,
                port=s.port,
                user=s.username,
                password=s.password,
                dbname=database or "postgres",
                connect_timeout=CONNECT_TIMEOUT,
                application_name="whatsapp",
                **tls,
            )
        except psycopg2.Error as exc:
            text = str(exc).strip()
            kind = NoSuchDatabase if "does not exist" in text and "database" in text else DatabaseDown
            raise kind(text) from None
        raw.autocommit = True
        return Session(self.engine, raw, (psycopg2.Error,))

    @contextlib.contextmanager
    def session(self, store: str) -> Iterator[Session]:
        """A connection to a store: taken from the idle ones when there is one, and given back afterwards."""
        if self._blocked():
            raise DatabaseDown("Too many connections")
        session = self._take(store)
        try:
            yield session
        except BaseException:
            # After an error the state of the connection is unknown: a new one is cheap.
            session.close()
            raise
        if not self._pooled or session.broken:
            session.close()
            return
        with self._lock:
            self._idle.setdefault(store, []).append(session)

    def _take(self, store: str) -> Session:
        while True:
            with self._lock:
                idle = self._idle.get(store) or []
                session = idle.pop() if idle else None
            if session is None:
                return self.connect(self.name(store))
            if time.monotonic() - session.last_used < min(self._idle_limit(), 30.0):
                return session
            try:
                # Long unused: the server may have closed it (wait_timeout) or been restarted.
                if time.monotonic() - session.last_used < self._idle_limit():
                    session.value("SELECT 1")
                    return session
            except DatabaseError:
                pass
            session.close()

    def _idle_limit(self) -> float:
        return self.settings.idle_timeout if self.engine == "MYSQL" else 1e9

    def close_idle(self, all_of_them: bool = False) -> None:
        """Close connections that were idle for longer than WA_DB_CONNECTION_IDLE_TIMEOUT (MySQL only)."""
        limit = 0.0 if all_of_them else self._idle_limit()
        with self._lock:
            for store, sessions in self._idle.items():
                old = [session for session in sessions if time.monotonic() - session.last_used >= limit]
                self._idle[store] = [session for session in sessions if session not in old]
                for session in old:
                    session.close()
