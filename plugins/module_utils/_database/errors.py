# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Classifies errors of the client's database by number, code or text. Pure rules."""

from __future__ import annotations

import re

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

_CURES = {
    "driver": "Install the package on the managed host; the role wa_host does",
    "unknown_host": "If the name resolves only among containers, set login_host to where the host reaches the database, on the same port",
    "unreachable": "Start the server, open the port, or set login_host to where the host reaches the database, on the same port",
    "login": "Compare user and password with the server's; the server may also refuse this user from this host, without TLS, or "
    "without a certificate of the client",
    "locked": "Have the server's administrator unlock the account, renew its password, or unblock this host with FLUSH HOSTS",
    # A transaction's pool would give another client what this session sets, such as read only.
    "pool": "A pool such as PgBouncer answers: set login_host to the server itself, on the same port; or, only where its pool_mode is "
    "session, let it ignore_startup_parameters = options",
    "client_cert": "Set login_client_cert and login_client_key to a certificate that the server accepts of this user, and to its key",
    "tls": "Set login_ca_cert to the authority of the server's certificate, and login_host to a name that the certificate has",
    "too_many": "Raise max_connections on the server, or end idle connections",
    "timeout": "The server is busy or slow: try again, or look for long statements on it",
    "lock": "Another statement holds the table: wait until it is done",
    "denied": "Grant the user SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX and DROP on the client's databases",
    "read_only": "Point the client at the primary server, or have its administrator end read_only (MySQL, MariaDB) or "
    "default_transaction_read_only (PostgreSQL)",
    "lost": "The server restarted or fails over: try again when it is back",
    "starting": "Wait until the server has started",
    "encoding": "Something on the server holds bytes that are no text, mostly a statement that runs just now: try again",
    "missing": "",
    "other": "",
}
_MYSQL_KINDS = {
    **dict.fromkeys((1044, 1045, 1130, 1251, 1698, 2059, 2061), "login"),
    **dict.fromkeys((1129, 1820, 1862, 3118, 3955, 4150, 4151), "locked"),
    **dict.fromkeys((1040, 1203, 1226), "too_many"),
    **dict.fromkeys((1969, 3024, 1317), "timeout"),
    **dict.fromkeys((1205, 1213), "lock"),
    **dict.fromkeys((1142, 1143, 1227, 1370), "denied"),
    **dict.fromkeys((1290, 1792, 1836), "read_only"),
    **dict.fromkeys((1053, 1152, 1158, 1159, 1160, 1161, 1927, 2006, 2013, 2055, 4031), "lost"),
    **dict.fromkeys((1049, 1146, 1051), "missing"),
    2026: "tls",
    3854: "encoding",  # the process list, while a session runs a statement with bytes that are not valid text
    3159: "tls",  # the server requires it for each connection
    2003: "unreachable",
    2002: "unreachable",
    2005: "unknown_host",
}
_PGSQL_KINDS = {
    "28": "login",
    "53300": "too_many",
    "53400": "too_many",
    "57014": "timeout",
    "55P03": "lock",
    "40": "lock",
    "42501": "denied",
    "25006": "read_only",
    "25P03": "lost",  # the server ends a transaction that takes too long
    "25P04": "lost",
    "57P03": "starting",
    "57P": "lost",
    "08": "lost",
    "3D000": "missing",
    "42P01": "missing",
}
# libpq returns no code for connection errors, only text (English unless the server is localised).
_PGSQL_TEXTS = (
    (r"too many clients|connection slots|too many connections", "too_many"),
    (r"unsupported startup parameter", "pool"),
    (r"database .* does not exist", "missing"),
    (r"starting up|shutting down|recovery mode|not yet accepting", "starting"),
    # Checked before the refusal that follows when libpq retries without TLS or without the certificate.
    (r"client certificate|private key file|certificate authentication failed", "client_cert"),
    (r"authentication failed|pg_hba|no password|does not exist|not permitted to log in|authentication method", "login"),
    # Checked before TLS: a server that ends a session reports this for an encrypted connection, too.
    (r"server closed|terminating connection|connection reset|closed unexpectedly", "lost"),
    (r"ssl|certificate|tls", "tls"),
    (r"could not translate host name|name or service", "unknown_host"),
    (r"permission denied", "denied"),
    (r"refused|timeout|timed out|unreachable|no route|invalid argument", "unreachable"),
)


class DatabaseError(WaError):
    """A failure of the database; `kind` is its class, `retryable` whether a retry may succeed."""

    def __init__(self, subject: str, found: str, kind: str, expected: str = "", cure: str = "") -> None:
        super().__init__(subject, found, expected, cure or _CURES[kind])
        self.kind = kind

    @property
    def retryable(self) -> bool:
        """Returns whether the same statement may succeed a little later without any change.

        This includes a name that does not resolve, as during a DNS failover.
        """
        return self.kind in (
            "unreachable",
            "too_many",
            "timeout",
            "lock",
            "lost",
            "starting",
            "unknown_host",
            "encoding",
        )


def mysql_kind(number: int) -> str:
    """Returns the kind of an error number of MySQL, MariaDB or PyMySQL."""
    return _MYSQL_KINDS.get(number, "other")


def pgsql_kind(code: str) -> str:
    """Returns the kind of a PostgreSQL SQLSTATE by the longest match; `other` for an unknown one."""
    return _PGSQL_KINDS.get(code) or _PGSQL_KINDS.get(code[:3]) or _PGSQL_KINDS.get(code[:2]) or "other"


def pgsql_kind_of_text(text: str) -> str:
    """Returns the kind of a libpq connection error, which has no code."""
    return next((kind for pattern, kind in _PGSQL_TEXTS if re.search(pattern, text, re.IGNORECASE)), "lost")
