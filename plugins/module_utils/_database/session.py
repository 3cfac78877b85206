# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection to the client's database, for all engines: settings, quoted names, rows, versions."""

from __future__ import annotations

import errno
import re
import socket
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database.errors import DatabaseError

MYSQL, PGSQL = "MYSQL", "PGSQL"
# Seconds by which the client's time-out is longer than the server's, so that the server's error arrives first.
GRACE = 5.0
# Asked before the session has a limit of its own, and the server's may be a millisecond. Only MySQL 5.7.8 and newer read the hint.
MYSQL_VERSION = "SELECT /*+ MAX_EXECUTION_TIME(5000) */ version()"


@dataclass(frozen=True)
class Settings:
    """Address and credentials of a connection. `server_name` is the name required in the server's certificate."""

    engine: str
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    server_name: str = ""
    ca_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    connect_timeout: float = 10.0
    plain: bool = False  # MySQL: no TLS, even if the server offers it
    verify_name: bool = True  # whether the certificate's name is verified in addition to its CA

    @property
    def subject(self) -> str:
        """Returns the server's name for error messages."""
        return f"database {self.engine} at {self.host}:{self.port}"


@dataclass(frozen=True)
class Version:
    """A server's version: `product` is MySQL, MariaDB or PostgreSQL, `numbers` such as (10, 11, 6)."""

    product: str
    numbers: tuple[int, ...]
    text: str


def quote(engine: str, name: str) -> str:
    """Returns `name` as a quoted identifier of the engine. All names in statements are quoted by it."""
    if "\0" in name:
        raise WaError("identifier", f"{name!r} holds a zero byte", "a name")
    mark = "`" if engine == MYSQL else '"'
    # Both drivers format statements with %, so a percent sign in a name must be doubled.
    return mark + name.replace(mark, mark * 2).replace("%", "%%") + mark


def one_line(error: BaseException) -> str:
    """Returns an error's message in one line; PyMySQL's arguments are (number, text)."""
    args = error.args
    text = args[1] if len(args) > 1 and isinstance(args[0], int) else str(error)
    return " ".join(str(text).split()) or type(error).__name__


def network_error(config: Settings, error: OSError | UnicodeError) -> DatabaseError:
    """Returns the message for an unreachable server, the same for both engines."""
    if isinstance(error, UnicodeError):  # a DNS label that is empty or longer than 63 characters
        return DatabaseError(config.subject, "the name does not resolve: not a host name", "unknown_host")
    if isinstance(error, socket.gaierror):
        return DatabaseError(config.subject, f"the name does not resolve: {one_line(error)}", "unknown_host")
    if isinstance(error, (TimeoutError, socket.timeout)):
        found = f"no answer within {config.connect_timeout:g} s"
    elif error.errno == errno.EINVAL:  # a blackhole route, or an address that is reserved
        found = f"no route leads to this address ({error.strerror})"
    else:
        found = error.strerror or one_line(error)
    return DatabaseError(config.subject, f"not reachable: {found}", "unreachable")


def addresses(config: Settings) -> list[str]:
    """Returns the addresses of the server by this host's resolver. Raises DatabaseError."""
    try:
        found = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise network_error(config, error) from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Session:
    """One connection. Use it as a context manager, only while its statements run."""

    def __init__(
        self,
        config: Settings,
        connection: t.Any,
        errors: tuple[type[BaseException], ...],
        translate: t.Callable[[BaseException, str], DatabaseError],
        began_read_only: bool = False,
    ) -> None:
        """`connection` is a driver's connection, followed by its exceptions, their translation, and the initial read-only state."""
        self.settings = config
        self.engine = config.engine
        self.began_read_only = began_read_only
        self._connection = connection
        self._errors = errors
        self._ends: tuple[type[BaseException], ...] = (OSError, *errors)
        self._translate = translate
        self._version: Version | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; a lost connection is not an error."""
        try:
            self._connection.close()
        except self._ends:
            return

    def rows(self, statement: str, values: t.Sequence[t.Any] = (), subject: str = "") -> list[tuple[t.Any, ...]]:
        """Returns the rows of one statement. `values` are bound; names are quoted with `quote`. Raises DatabaseError.

        A literal percent sign is doubled in `statement`, with and without values.
        """
        try:
            cursor = self._connection.cursor()
            try:
                # The drivers format % only if there are values.
                cursor.execute(statement if values else statement.replace("%%", "%"), tuple(values) or None)
                return [tuple(row) for row in cursor.fetchall()] if cursor.description else []
            finally:
                cursor.close()
        except self._errors as error:
            raise self._translate(error, subject) from None
        except UnicodeDecodeError as error:
            found = f"it answered with bytes that are no UTF-8 text: {error.reason} at {error.start}"
            raise DatabaseError(subject or self.settings.subject, found, "encoding") from None
        except OSError as error:
            raise DatabaseError(self.settings.subject, f"connection lost: {one_line(error)}", "lost") from None

    def value(self, statement: str, values: t.Sequence[t.Any] = (), subject: str = "") -> t.Any:
        """Returns the first column of the first row, or None."""
        found = self.rows(statement, values, subject)
        return found[0][0] if found else None

    def version(self) -> Version:
        """Returns the server's product and version, cached."""
        if self._version is None:
            text = self.value(MYSQL_VERSION if self.engine == MYSQL else "SHOW server_version")
            self._version = parse_version(self.engine, str(text))
        return self._version

    def is_encrypted(self) -> bool:
        """Returns whether this connection uses TLS."""
        if self.engine == PGSQL:
            return bool(self.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
        status = self.rows("SHOW STATUS LIKE 'Ssl_cipher'")
        return bool(status and status[0][1])

    def is_read_only(self) -> bool:
        """Returns whether the server is read-only for the client's user: a replica, or a primary with read_only."""
        if self.engine == PGSQL:
            return self.began_read_only or bool(self.value("SELECT pg_is_in_recovery()"))
        # A managed replica may set only the second one; MariaDB has more values than OFF and ON.
        flags = self.rows("SELECT @@global.read_only, @@global.innodb_read_only")[0]
        return any(str(value).upper() not in ("0", "OFF") for value in flags)


def parse_version(engine: str, text: str) -> Version:
    """Parses a server's version text: `8.0.36-0ubuntu0`, `5.5.5-10.11.6-MariaDB`, `13.14 (Debian 13.14-1)`."""
    product = "PostgreSQL" if engine == PGSQL else "MariaDB" if "mariadb" in text.lower() else "MySQL"
    # MariaDB prepends 5.5.5- for old replication clients.
    match = re.search(r"\d+(?:\.\d+)*", re.sub(r"^5\.5\.5-(?=\d)", "", text))
    return Version(product, tuple(int(part) for part in match.group().split(".")) if match else (), text)
