# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A scripted database server for unit tests: a driver connection below the collection's own Session.

    server = ScriptedDatabase("MYSQL", "8.0.36")
    server.on(r"SHOW STATUS", [("Ssl_cipher", "AES")])
    with server.session() as session: ...
    assert server.statements == [...]

The last pattern that matches a statement has its answer. A statement that no pattern matches fails the test.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._database.errors import DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._database.session import Session, Settings

Rows = t.Sequence[t.Sequence[t.Any]]
PASSWORD = "Canary-91-Pw"


class Refusal(Exception):
    """The driver's exception: kind and message."""

    def __init__(self, kind: str, message: str = "no") -> None:
        super().__init__(message)
        self.kind = kind


# Rows, None for a statement without rows, an exception to raise, or a function of the values that returns one of them.
Answer = t.Union[Rows, None, Exception, t.Callable[[t.Sequence[t.Any]], t.Any]]


def settings(engine: str) -> Settings:
    """Settings of the server."""
    return Settings(engine, "db.lab", 3306 if engine == "MYSQL" else 5432, "wa", PASSWORD)


class ScriptedDatabase:
    """The server. `databases` are those connected to; `statements` have the executed statements with their values."""

    def __init__(self, engine: str = "MYSQL", version: str = "") -> None:
        self.engine = engine
        self.settings = settings(engine)
        self.databases: list[str | None] = []
        self.options: list[dict[str, t.Any]] = []  # of each connection
        self.statements: list[tuple[str, tuple[t.Any, ...]]] = []
        self.open = 0
        self.began_read_only = False
        self._answers: list[tuple[str, Answer]] = []
        version = version or ("8.0.36" if engine == "MYSQL" else "13.14")
        self.on(r"version\(\)|SHOW server_version", [(version,)])

    def on(self, pattern: str, answer: Answer) -> ScriptedDatabase:
        """Answer statements that contain `pattern`."""
        self._answers.insert(0, (pattern, answer))
        return self

    def asked(self, pattern: str) -> list[tuple[t.Any, ...]]:
        """The values of executed statements that contain `pattern`."""
        return [values for statement, values in self.statements if re.search(pattern, statement)]

    def connect(self, config: Settings, database: str | None = None, **options: t.Any) -> Session:
        """Replaces `_database.connection.connect`."""
        self.databases.append(database)
        self.options.append(options)
        return self.session(config)

    def session(self, config: Settings | None = None) -> Session:
        """A session with the server."""
        self.open += 1
        return Session(config or self.settings, _Connection(self), (Refusal,), _translate(self), self.began_read_only)

    def answer(self, statement: str, values: tuple[t.Any, ...]) -> Rows | None:
        """The answer to a statement."""
        self.statements.append((statement, values))
        for pattern, answer in self._answers:
            if re.search(pattern, statement):
                found = answer(values) if callable(answer) else answer
                if isinstance(found, Exception):
                    raise found
                return t.cast("Rows | None", found)
        raise AssertionError(f"no answer to {statement}")


def _translate(server: ScriptedDatabase) -> t.Callable[[BaseException, str], DatabaseError]:
    def translate(error: BaseException, subject: str = "") -> DatabaseError:
        assert isinstance(error, Refusal)
        return DatabaseError(subject or server.settings.subject, str(error), error.kind)

    return translate


class _Cursor:
    def __init__(self, server: ScriptedDatabase) -> None:
        self._server = server
        self._rows: Rows | None = None

    def execute(self, statement: str, values: tuple[t.Any, ...] | None) -> None:
        self._rows = self._server.answer(statement, values or ())

    @property
    def description(self) -> t.Any:
        return None if self._rows is None else [("column",)]

    def fetchall(self) -> Rows:
        assert self._rows is not None
        return self._rows

    def close(self) -> None:
        """Nothing to release."""


class _Connection:
    def __init__(self, server: ScriptedDatabase) -> None:
        self._server = server

    def cursor(self) -> _Cursor:
        return _Cursor(self._server)

    def close(self) -> None:
        self._server.open -= 1
