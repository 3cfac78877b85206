# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to connect to MySQL and MariaDB. The driver is imported when it is needed."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import typing as t

from ansible.module_utils.basic import missing_required_lib

from ansible_collections.waba.onprem.plugins.module_utils._core import distribution
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database.errors import DatabaseError, mysql_kind
from ansible_collections.waba.onprem.plugins.module_utils._database.session import (
    GRACE,
    Session,
    Settings,
    network_error,
    one_line,
)

# Exceptions of the driver for a handshake that is not MySQL's or is malformed.
_NO_GREETING = (LookupError, NameError, ValueError, TypeError, AttributeError, AssertionError, struct.error)


def driver() -> t.Any:
    """Returns the module PyMySQL."""
    try:
        import pymysql
    except ImportError:
        found = missing_required_lib("PyMySQL")
        cure = f"{distribution.install('PyMySQL')}; the role wa_host does"
        raise DatabaseError("Python library PyMySQL", found, "driver", cure=cure) from None
    return pymysql


def _tls_context(config: Settings) -> ssl.SSLContext:
    """Returns the TLS context: with a CA the server is verified, else TLS is used only if the server offers it."""
    try:
        context = ssl.create_default_context(cafile=config.ca_cert)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # old CA certificates lack extensions
        if not config.ca_cert or not config.verify_name:
            context.check_hostname = False
        if not config.ca_cert:
            context.verify_mode = ssl.CERT_NONE
        if config.client_cert:
            # Without a password OpenSSL would prompt on a terminal.
            context.load_cert_chain(config.client_cert, config.client_key, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise DatabaseError(config.subject, f"certificate files not usable: {one_line(error)}", "tls") from None
    return context


def limit(session: Session, read_only: bool, statement_timeout: float, lock_timeout: float) -> None:
    """Limits the session's lock waits and statement time in seconds, and makes it read-only if required."""
    seconds = max(1, round(lock_timeout))
    session.rows(f"SET SESSION lock_wait_timeout = {seconds}, innodb_lock_wait_timeout = {seconds}")
    version = session.version()
    # Older servers have no such limit; the driver's read time-out still applies.
    if version.product == "MariaDB" and version.numbers >= (10, 1):
        session.rows(f"SET SESSION max_statement_time = {statement_timeout:.3f}")
    elif version.product == "MySQL" and version.numbers >= (5, 7, 8):
        session.rows(f"SET SESSION max_execution_time = {round(statement_timeout * 1000)}")
    if read_only:
        session.rows("SET SESSION TRANSACTION READ ONLY")


def connect(
    config: Settings,
    database: str | None,
    read_only: bool,
    statement_timeout: float,
    lock_timeout: float,
    limited: bool = True,
) -> Session:
    """Connects; time-outs are in seconds, without `limited` on the client's side only. Raises DatabaseError."""
    pymysql = driver()

    def translate(error: BaseException, subject: str = "") -> DatabaseError:
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        text = one_line(error)
        kind = mysql_kind(number)
        if re.search(r"ssl|certificate", text, re.IGNORECASE) and number in (0, 2003, 2013, 2026):
            kind = "tls"
        elif number == 0 and isinstance(error, pymysql.InterfaceError):
            kind = "lost"
        elif number == 2013 and "timed out" in text:
            kind = "timeout"
        return DatabaseError(subject or config.subject, f"{text} ({number})" if number else text, kind)

    def attempt(tls: ssl.SSLContext | None) -> Session:
        # Outside of the `try` that detects another server's handshake: an error here is the driver's.
        connection = unconnected(tls)
        try:
            # The socket is opened here so that the certificate is checked against the client's name of the server.
            sock = socket.create_connection((config.host, config.port), timeout=config.connect_timeout)
        except (OSError, UnicodeError) as error:
            raise network_error(config, error) from None
        try:
            sock.settimeout(None)
            connection.connect(sock)
            return Session(config, connection, (pymysql.MySQLError, pymysql.InterfaceError), translate)
        except ssl.SSLError as error:
            raise DatabaseError(config.subject, f"TLS failed: {one_line(error)}", "tls") from None
        except pymysql.MySQLError as error:
            raise translate(error) from None
        except OSError as error:
            raise network_error(config, error) from None
        except RuntimeError as error:
            if "cryptography" not in str(error):
                raise DatabaseError(config.subject, f"no login: {one_line(error)}", "other") from None
            raise DatabaseError(
                config.subject,
                f"user {config.user} logs in by a method (caching_sha2_password or sha256_password) for which PyMySQL needs "
                "the Python library cryptography where there is no TLS",
                "driver",
                "that library, or TLS",
                f"{distribution.install('cryptography')} on the managed host, or turn TLS on at the server",
            ) from None
        except _NO_GREETING:
            raise DatabaseError(
                config.subject,
                "what answers there does not speak as MySQL does",
                "other",
                "a server of MySQL or MariaDB",
                "Compare engine, host name and port with the server's",
            ) from None

    def unconnected(tls: ssl.SSLContext | None) -> t.Any:
        # PyMySQL 1.0 and newer use TLS unless `ssl_disabled` is set; older ones do not, and do not know that argument.
        clear = {"ssl_disabled": True} if tls is None and pymysql.VERSION[0] >= 1 else {}
        return pymysql.connect(
            host=config.server_name or config.host,
            port=config.port,
            user=config.user,
            password=config.password.encode(),  # the driver would use Latin-1 and fail for other characters
            database=database,
            autocommit=True,
            charset="utf8mb4",
            connect_timeout=min(config.connect_timeout, 31536000),
            read_timeout=statement_timeout + GRACE,
            write_timeout=statement_timeout + GRACE,
            ssl=tls,
            defer_connect=True,
            **clear,
        )

    try:
        session = attempt(None if config.plain else _tls_context(config))
    except DatabaseError as error:
        # PyMySQL 1.2 refuses a server without TLS, where 1.1 continued unencrypted.
        if config.ca_cert or "doesn't support" not in error.found:
            raise
        session = attempt(None)
    try:
        if config.ca_cert and not session.is_encrypted():
            raise DatabaseError(
                config.subject,
                "the server offers no TLS",
                "tls",
                "TLS, since login_ca_cert is given",
                "Turn TLS on at the server",
            )
        if limited:
            limit(session, read_only, statement_timeout, lock_timeout)
    except WaError:
        session.close()
        raise
    return session
