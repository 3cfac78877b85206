# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to connect to PostgreSQL. The driver is imported when it is needed."""

from __future__ import annotations

import os
import select
import time
import typing as t

from ansible.module_utils.basic import missing_required_lib

from ansible_collections.waba.onprem.plugins.module_utils._core import distribution
from ansible_collections.waba.onprem.plugins.module_utils._database.errors import (
    DatabaseError,
    pgsql_kind,
    pgsql_kind_of_text,
)
from ansible_collections.waba.onprem.plugins.module_utils._database.session import (
    GRACE,
    Session,
    Settings,
    addresses,
    one_line,
)

_DEFAULT_TIMEOUT = 60.0


def driver() -> t.Any:
    """Returns the module psycopg2."""
    try:
        import psycopg2
        import psycopg2.extensions
    except ImportError:
        found = missing_required_lib("psycopg2")
        cure = f"{distribution.install('psycopg2')}; the role wa_host does"
        raise DatabaseError("Python library psycopg2", found, "driver", cure=cure) from None
    # A database with SQL_ASCII stores bytes as its clients wrote them; the driver would read it as ASCII.
    psycopg2.extensions.encodings["SQLASCII"] = "utf_8"
    return psycopg2


def limit(session: Session, read_only: bool, statement_timeout: float, lock_timeout: float) -> None:
    """Limits the session's lock waits and statement time in seconds, and makes it read-only if required."""
    session.rows(
        f"SET statement_timeout = {round(statement_timeout * 1000)}; SET lock_timeout = {round(lock_timeout * 1000)};"
        f" SET default_transaction_read_only = {'on' if read_only else 'off'}"
    )


def connect(
    config: Settings,
    database: str,
    read_only: bool,
    statement_timeout: float,
    lock_timeout: float,
    limited: bool = True,
) -> Session:
    """Connects; time-outs are in seconds, without `limited` on the client's side only. Raises DatabaseError."""
    psycopg2 = driver()

    def translate(error: BaseException, subject: str = "") -> DatabaseError:
        text = one_line(error)
        code = getattr(error, "pgcode", None) or ""
        kind = pgsql_kind(code)
        if not code and isinstance(error, psycopg2.OperationalError):
            kind = pgsql_kind_of_text(text)
        if not code and isinstance(error, psycopg2.InterfaceError):
            kind = "lost"
        return DatabaseError(subject or config.subject, f"{text} ({code})" if code else text, kind)

    there = addresses(config)
    options = f"-c statement_timeout={round(statement_timeout * 1000)} -c lock_timeout={round(lock_timeout * 1000)}"
    wanted = {
        # hostaddr is the address, host the name in the certificate.
        "host": ",".join([config.server_name or config.host] * len(there)),
        "hostaddr": ",".join(there),
        "port": config.port,
        "user": config.user,
        "password": config.password,
        "dbname": database,
        "application_name": "waba.onprem",
        "options": options if limited else "",
        "sslmode": ("verify-full" if config.verify_name else "verify-ca") if config.ca_cert else "prefer",
        "sslrootcert": config.ca_cert,
        "sslcert": config.client_cert,
        "sslkey": config.client_key,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "passfile": os.devnull,  # only the client's password
    }
    # Nor settings from this user's environment.
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]
    psycopg2.extensions.set_wait_callback(_wait)
    base: t.Any = psycopg2.extensions.connection

    class TimedConnection(base):  # type: ignore[misc]  # the driver has no types
        wait_timeout = config.connect_timeout

    try:
        connection = psycopg2.connect(
            connection_factory=TimedConnection,
            **{key: value for key, value in wanted.items() if value not in (None, "")},
        )
        connection.wait_timeout = statement_timeout + GRACE
        connection.set_session(autocommit=True)
        with connection.cursor() as cursor:  # the default of the server or the user, before this session changes it
            cursor.execute("SHOW default_transaction_read_only")
            began_read_only = cursor.fetchone()[0] == "on"
            if began_read_only:  # or an earlier session's setting kept by a pooler
                cursor.execute("SELECT reset_val FROM pg_settings WHERE name = 'default_transaction_read_only'")
                began_read_only = cursor.fetchone()[0] == "on"
        connection.set_session(readonly=read_only if limited else None)
    except psycopg2.Error as error:
        raise translate(error) from None
    return Session(config, connection, (psycopg2.Error,), translate, began_read_only)


def _wait(connection: t.Any) -> None:
    """Waits for the server's answer with a time-out; psycopg2 itself would wait without limit."""
    psycopg2 = driver()
    extensions = psycopg2.extensions
    # The callback is used for all connections of the process.
    wait_timeout = getattr(connection, "wait_timeout", _DEFAULT_TIMEOUT)
    end = time.monotonic() + wait_timeout
    while True:
        state = connection.poll()
        if state == extensions.POLL_OK:
            return
        number = [connection.fileno()]
        readers, writers = (number, []) if state == extensions.POLL_READ else ([], number)
        if not any(select.select(readers, writers, [], max(end - time.monotonic(), 0))):
            raise psycopg2.OperationalError(f"no answer: timed out after {wait_timeout:g} s")
