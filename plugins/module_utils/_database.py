# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that speaks to the client's database: connections, their errors told apart, versions, names.

Sessions are in autocommit mode, read only unless asked otherwise, and bounded on both sides: the server ends a
statement after the statement time-out, the client stops to wait a little later. Only the driver that is needed is
imported, when it is needed.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import time
import typing as t
from dataclasses import dataclass, field

from ansible.module_utils.basic import missing_required_lib

from ansible_collections.waba.onprem.plugins.module_utils._database_errors import (
    DatabaseError,
    mysql_kind,
    pgsql_kind,
    pgsql_kind_of_text,
)
from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._units import parse_duration

__all__ = [
    "ARGUMENT_SPEC",
    "DEFAULT_PORTS",
    "LOCK_TIMEOUT",
    "MYSQL",
    "PGSQL",
    "STATEMENT_TIMEOUT",
    "DatabaseError",
    "Session",
    "Settings",
    "Version",
    "connect",
    "databases",
    "parse_version",
    "quote",
    "settings",
]

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "login_host": {"type": "str"},
    "login_port": {"type": "int"},
    "login_user": {"type": "str"},
    "login_password": {"type": "str", "no_log": True},
    "login_ca_cert": {"type": "path"},
    "login_client_cert": {"type": "path"},
    "login_client_key": {"type": "path"},
    "connect_timeout": {"type": "str", "default": "10s"},
}

MYSQL, PGSQL = "MYSQL", "PGSQL"
DEFAULT_PORTS = {MYSQL: 3306, PGSQL: 5432}
STATEMENT_TIMEOUT = 5.0
LOCK_TIMEOUT = 2.0
# How much later than the server the client gives up a statement, so that the server's own word comes first.
_GRACE = 5.0
_FOREIGN_PATIENCE = 60.0


@dataclass(frozen=True)
class Settings:
    """Where and as whom to connect. `server_name` is the name that the server's certificate must have."""

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

    @property
    def subject(self) -> str:
        """The server as errors name it."""
        return f"database {self.engine} at {self.host}:{self.port}"


@dataclass(frozen=True)
class Version:
    """A server's version: `product` is MySQL, MariaDB or PostgreSQL, `numbers` such as (10, 11, 6)."""

    product: str
    numbers: tuple[int, ...]
    text: str


def settings(params: t.Mapping[str, t.Any], env: t.Mapping[str, str]) -> Settings:
    """Settings from a module's `login_*` options over the WA_DB_* variables of db.env, as the client reads them.

    Raises WaError for an unknown engine, a missing value or a port that is none. The WA_DB_SSL_* paths are paths
    inside the containers and are not used.
    """
    engine = env.get("WA_DB_ENGINE", "").strip().upper()
    if engine not in DEFAULT_PORTS:
        raise WaError("WA_DB_ENGINE", f"{engine!r} is no engine of the client", "MYSQL or PGSQL", "Correct db.env")
    name = env.get("WA_DB_HOSTNAME", "").strip()
    host = params.get("login_host") or name
    user = params.get("login_user") or env.get("WA_DB_USERNAME", "")
    for variable, value in (("WA_DB_HOSTNAME", host), ("WA_DB_USERNAME", user)):
        if not value:
            raise WaError(variable, "missing or empty", "a value in db.env, or the login option", "Correct db.env")
    port = params.get("login_port") or env.get("WA_DB_PORT", "").strip() or DEFAULT_PORTS[engine]
    if not str(port).isdigit() or not 0 < int(port) < 65536:
        raise WaError("WA_DB_PORT", f"{port!r} is no port", "1 to 65535", "Correct db.env")
    password = params.get("login_password")
    return Settings(
        engine=engine,
        host=host,
        port=int(port),
        user=user,
        password=env.get("WA_DB_PASSWORD", "") if password is None else password,
        server_name=name or host,
        ca_cert=params.get("login_ca_cert"),
        client_cert=params.get("login_client_cert"),
        client_key=params.get("login_client_key"),
        connect_timeout=parse_duration("connect_timeout", params.get("connect_timeout") or "10s"),
    )


def quote(engine: str, name: str) -> str:
    """`name` as an identifier of the engine; the only way a name gets into a statement."""
    if "\0" in name:
        raise WaError("identifier", f"{name!r} holds a zero byte", "a name")
    mark = "`" if engine == MYSQL else '"'
    # Both drivers format statements with %, so a percent sign in a name is doubled.
    return mark + name.replace(mark, mark * 2).replace("%", "%%") + mark


def _one_line(error: BaseException) -> str:
    """An error's own words in one line; PyMySQL gives (number, text)."""
    args = error.args
    text = args[1] if len(args) > 1 and isinstance(args[0], int) else str(error)
    return " ".join(str(text).split()) or type(error).__name__


def _network_error(config: Settings, error: OSError) -> DatabaseError:
    """The same words for both engines when the server cannot even be reached."""
    if isinstance(error, socket.gaierror):
        return DatabaseError(config.subject, f"the name does not resolve: {_one_line(error)}", "unknown_host")
    if isinstance(error, (TimeoutError, socket.timeout)):
        found = f"no answer within {config.connect_timeout:g} s"
    else:
        found = error.strerror or _one_line(error)
    return DatabaseError(config.subject, f"not reachable: {found}", "unreachable")


class Session:
    """One connection. Use it as a context manager and keep it only as long as its statements run."""

    def __init__(
        self, config: Settings, connection: t.Any, translate: t.Callable[[BaseException, str], DatabaseError]
    ) -> None:
        self.settings = config
        self.engine = config.engine
        self._connection = connection
        self._translate = translate
        self._errors: tuple[type[BaseException], ...] = (OSError, *_driver_errors(config.engine))

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; a connection that is lost already is no error."""
        try:
            self._connection.close()
        except self._errors:
            return

    def rows(self, statement: str, values: t.Sequence[t.Any] = (), subject: str = "") -> list[tuple[t.Any, ...]]:
        """The rows of one statement. `values` are bound; names in it come from `quote`. Raises DatabaseError.

        A literal percent sign is written twice in `statement`, with values and without.
        """
        try:
            cursor = self._connection.cursor()
            try:
                # The drivers look for % only when there are values.
                cursor.execute(statement if values else statement.replace("%%", "%"), tuple(values) or None)
                return [tuple(row) for row in cursor.fetchall()] if cursor.description else []
            finally:
                cursor.close()
        except _driver_errors(self.engine) as error:
            raise self._translate(error, subject) from None
        except OSError as error:
            raise DatabaseError(self.settings.subject, f"connection lost: {_one_line(error)}", "lost") from None

    def value(self, statement: str, values: t.Sequence[t.Any] = (), subject: str = "") -> t.Any:
        """The first column of the first row, or None."""
        found = self.rows(statement, values, subject)
        return found[0][0] if found else None

    def version(self) -> Version:
        """The server's product and version."""
        return parse_version(
            self.engine, str(self.value("SELECT version()" if self.engine == MYSQL else "SHOW server_version"))
        )

    def is_read_only(self) -> bool:
        """Whether the server takes no writes from the client's user: a replica, or a primary that was set so."""
        if self.engine == PGSQL:
            return bool(self.value("SELECT pg_is_in_recovery()"))
        return str(self.value("SELECT @@global.read_only")) in ("1", "ON")


def parse_version(engine: str, text: str) -> Version:
    """The version in a server's own words: `8.0.36-0ubuntu0`, `5.5.5-10.11.6-MariaDB`, `13.14 (Debian 13.14-1)`."""
    product = "PostgreSQL" if engine == PGSQL else "MariaDB" if "mariadb" in text.lower() else "MySQL"
    # MariaDB puts 5.5.5- in front for the sake of old replication clients.
    match = re.search(r"\d+(?:\.\d+)*", re.sub(r"^5\.5\.5-(?=\d)", "", text))
    return Version(product, tuple(int(part) for part in match.group().split(".")) if match else (), text)


def connect(
    config: Settings,
    database: str | None = None,
    *,
    read_only: bool = True,
    statement_timeout: float = STATEMENT_TIMEOUT,
    lock_timeout: float = LOCK_TIMEOUT,
) -> Session:
    """Connect, to no database of MySQL and to a maintenance database of PostgreSQL when none is given.

    Time-outs are seconds. Raises DatabaseError, whose `kind` tells an unknown name, an unreachable server, a refused
    login, TLS, too many connections and a missing database apart.
    """
    for what, path in (
        ("login_ca_cert", config.ca_cert),
        ("login_client_cert", config.client_cert),
        ("login_client_key", config.client_key),
    ):
        if path:
            try:
                with open(path, "rb"):
                    pass
            except OSError as error:
                raise DatabaseError(
                    f"{what} {path}", error.strerror or "not readable", "tls", "a readable file"
                ) from None
    if config.engine == MYSQL:
        return _connect_mysql(config, database, read_only, statement_timeout, lock_timeout)
    if database is not None:
        return _connect_pgsql(config, database, read_only, statement_timeout, lock_timeout)
    # Which databases a user may open is the administrator's choice; one of these nearly always is open to all.
    first: DatabaseError | None = None
    for name in ("postgres", "template1", config.user):
        try:
            return _connect_pgsql(config, name, read_only, statement_timeout, lock_timeout)
        except DatabaseError as error:
            if error.kind not in ("missing", "denied", "login"):
                raise
            first = first or error
    raise t.cast("DatabaseError", first)


def _driver_errors(engine: str) -> tuple[type[BaseException], ...]:
    """The exceptions of the engine's driver."""
    if engine == MYSQL:
        return (_pymysql().MySQLError, _pymysql().InterfaceError)
    return (_psycopg2().Error,)


def _pymysql() -> t.Any:
    try:
        import pymysql
    except ImportError:
        found = missing_required_lib("PyMySQL")
        raise DatabaseError(
            "Python library PyMySQL", found, "driver", cure="Install the package python3-pymysql; the role wa_host does"
        ) from None
    return pymysql


def _psycopg2() -> t.Any:
    try:
        import psycopg2
        import psycopg2.extensions
    except ImportError:
        found = missing_required_lib("psycopg2")
        raise DatabaseError(
            "Python library psycopg2",
            found,
            "driver",
            cure="Install the package python3-psycopg2; the role wa_host does",
        ) from None
    return psycopg2


def _tls_context(config: Settings) -> ssl.SSLContext:
    """TLS with the server verified when an authority is given, else only used when the server offers it."""
    try:
        context = ssl.create_default_context(cafile=config.ca_cert)
        if not config.ca_cert:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if config.client_cert:
            context.load_cert_chain(config.client_cert, config.client_key)
    except (ssl.SSLError, OSError) as error:
        raise DatabaseError(config.subject, f"certificate files not usable: {_one_line(error)}", "tls") from None
    return context


def _connect_mysql(
    config: Settings, database: str | None, read_only: bool, statement_timeout: float, lock_timeout: float
) -> Session:
    pymysql = _pymysql()

    def translate(error: BaseException, subject: str = "") -> DatabaseError:
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        text = _one_line(error)
        kind = mysql_kind(number)
        if re.search(r"ssl|certificate", text, re.IGNORECASE) and number in (0, 2003, 2013, 2026):
            kind = "tls"
        elif number == 0 and isinstance(error, pymysql.InterfaceError):
            kind = "lost"
        elif number == 2013 and "timed out" in text:
            kind = "timeout"
        return DatabaseError(subject or config.subject, f"{text} ({number})" if number else text, kind)

    def attempt(tls: ssl.SSLContext | None) -> Session:
        try:
            # The socket is opened here so that the certificate is checked against the client's own name of the server.
            sock = socket.create_connection((config.host, config.port), timeout=config.connect_timeout)
        except OSError as error:
            raise _network_error(config, error) from None
        connection = pymysql.connect(
            host=config.server_name or config.host,
            port=config.port,
            user=config.user,
            password=config.password.encode(),  # the driver would take Latin-1, and fail beyond it
            database=database,
            autocommit=True,
            charset="utf8mb4",
            connect_timeout=min(config.connect_timeout, 31536000),
            read_timeout=statement_timeout + _GRACE,
            write_timeout=statement_timeout + _GRACE,
            ssl=tls,
            ssl_disabled=tls is None,
            defer_connect=True,
        )
        try:
            sock.settimeout(None)
            connection.connect(sock)
        except ssl.SSLError as error:
            raise DatabaseError(config.subject, f"TLS failed: {_one_line(error)}", "tls") from None
        except pymysql.MySQLError as error:
            raise translate(error) from None
        except OSError as error:
            raise _network_error(config, error) from None
        return Session(config, connection, translate)

    try:
        session = attempt(_tls_context(config))
    except DatabaseError as error:
        # PyMySQL 1.2 refuses a server without TLS where 1.1 went on in the clear.
        if config.ca_cert or "doesn't support" not in error.found:
            raise
        session = attempt(None)
    try:
        if config.ca_cert and not (session.rows("SHOW STATUS LIKE 'Ssl_cipher'") or [("", "")])[0][1]:
            raise DatabaseError(
                config.subject,
                "the server offers no TLS",
                "tls",
                "TLS, since login_ca_cert is given",
                "Turn TLS on at the server",
            )
        session.rows(
            f"SET SESSION lock_wait_timeout = {max(1, round(lock_timeout))}, innodb_lock_wait_timeout = {max(1, round(lock_timeout))}"
        )
        version = session.version()
        # Servers older than these have no such limit; the client's own read time-out still holds.
        if version.product == "MariaDB" and version.numbers >= (10, 1):
            session.rows(f"SET SESSION max_statement_time = {statement_timeout:.3f}")
        elif version.product == "MySQL" and version.numbers >= (5, 7, 8):
            session.rows(f"SET SESSION max_execution_time = {round(statement_timeout * 1000)}")
        if read_only:
            session.rows("SET SESSION TRANSACTION READ ONLY")
    except WaError:
        session.close()
        raise
    return session


def _connect_pgsql(
    config: Settings, database: str, read_only: bool, statement_timeout: float, lock_timeout: float
) -> Session:
    psycopg2 = _psycopg2()

    def translate(error: BaseException, subject: str = "") -> DatabaseError:
        text = _one_line(error)
        code = getattr(error, "pgcode", None) or ""
        kind = pgsql_kind(code)
        if not code and isinstance(error, psycopg2.OperationalError):
            kind = pgsql_kind_of_text(text)
        if not code and isinstance(error, psycopg2.InterfaceError):
            kind = "lost"
        return DatabaseError(subject or config.subject, f"{text} ({code})" if code else text, kind)

    try:
        found = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _network_error(config, error) from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    options = f"-c statement_timeout={round(statement_timeout * 1000)} -c lock_timeout={round(lock_timeout * 1000)}"
    wanted = {
        # hostaddr is where to go, host what the certificate must say.
        "host": ",".join([config.server_name or config.host] * len(addresses)),
        "hostaddr": ",".join(addresses),
        "port": config.port,
        "user": config.user,
        "password": config.password,
        "dbname": database,
        "application_name": "waba.onprem",
        "options": options,
        "sslmode": "verify-full" if config.ca_cert else "prefer",
        "sslrootcert": config.ca_cert,
        "sslcert": config.client_cert,
        "sslkey": config.client_key,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 2,
    }
    psycopg2.extensions.set_wait_callback(_wait)
    base: t.Any = psycopg2.extensions.connection

    class Patient(base):  # type: ignore[misc]  # the driver has no types
        patience = config.connect_timeout

    try:
        connection = psycopg2.connect(
            connection_factory=Patient, **{key: value for key, value in wanted.items() if value not in (None, "")}
        )
        connection.patience = statement_timeout + _GRACE
        connection.set_session(readonly=read_only, autocommit=True)
    except psycopg2.Error as error:
        raise translate(error) from None
    return Session(config, connection, translate)


def _wait(connection: t.Any) -> None:
    """Wait for the server's next word, but not for ever, as psycopg2 does when it is left alone."""
    psycopg2 = _psycopg2()
    extensions = psycopg2.extensions
    # The callback serves every connection of the process, also those of others.
    patience = getattr(connection, "patience", _FOREIGN_PATIENCE)
    end = time.monotonic() + patience
    while True:
        state = connection.poll()
        if state == extensions.POLL_OK:
            return
        number = [connection.fileno()]
        readers, writers = (number, []) if state == extensions.POLL_READ else ([], number)
        if not any(select.select(readers, writers, [], max(end - time.monotonic(), 0))):
            raise psycopg2.OperationalError(f"no answer: timed out after {patience:g} s")


def databases(session: Session, prefix: str) -> list[str]:
    """The databases whose name begins with `prefix`, sorted; all that the user sees for an empty prefix.

    A server that folds names (PostgreSQL without quotes, MySQL with lower_case_table_names) may hold the prefix in
    lower case: that is looked for when the prefix as written has no database.
    """
    if session.engine == MYSQL:
        statement = "SELECT schema_name FROM information_schema.schemata"
        folds = str(session.value("SELECT @@lower_case_table_names")) != "0"
        own = ["information_schema", "mysql", "performance_schema", "sys"]
    else:
        statement = (
            "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate"
            " AND has_database_privilege(datname, 'CONNECT')"
        )
        folds, own = True, ["postgres"]
    found = sorted(str(row[0]) for row in session.rows(statement) if str(row[0]) not in own)
    # Compared here, not by LIKE: a prefix may hold % and _, and the server's collation may ignore case.
    exact = [name for name in found if name.startswith(prefix)]
    return exact if exact or not folds else [name for name in found if name.startswith(prefix.lower())]
