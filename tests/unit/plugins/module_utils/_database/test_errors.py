# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Classification of database errors by number, SQLSTATE or text; which are retryable, and their fixes."""

from __future__ import annotations

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._database import errors
from ansible_collections.waba.onprem.plugins.module_utils._database.errors import DatabaseError

SUBJECT = "database MYSQL at db.lab:3306"


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        *((number, "login") for number in (1044, 1045, 1130, 1251, 1698, 2059, 2061)),
        *((number, "locked") for number in (1129, 1820, 1862, 3118, 3955, 4150, 4151)),
        *((number, "too_many") for number in (1040, 1203, 1226)),
        *((number, "timeout") for number in (1969, 3024, 1317)),
        *((number, "lock") for number in (1205, 1213)),
        *((number, "denied") for number in (1142, 1143, 1227, 1370)),
        *((number, "read_only") for number in (1290, 1792, 1836)),
        *((number, "lost") for number in (1053, 1927, 2006, 2013, 2055, 4031)),
        *((number, "missing") for number in (1049, 1146, 1051)),
        *((number, "tls") for number in (2026, 3159)),
        *((number, "unreachable") for number in (2002, 2003)),
        (2005, "unknown_host"),
        (3854, "encoding"),
        *((number, "other") for number in (0, 1064, 99999)),
    ],
)
def test_error_numbers_of_mysql(number: int, kind: str) -> None:
    assert errors.mysql_kind(number) == kind


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("28000", "login"),
        ("28P01", "login"),
        ("53300", "too_many"),
        ("53400", "too_many"),
        ("53200", "other"),  # out of memory
        ("57014", "timeout"),
        ("57P01", "lost"),
        ("57P03", "starting"),
        ("55P03", "lock"),
        ("40001", "lock"),
        ("40P01", "lock"),
        ("42501", "denied"),
        ("42P01", "missing"),
        ("42601", "other"),
        ("25006", "read_only"),
        ("25P03", "lost"),
        ("25P04", "lost"),
        ("25001", "other"),
        ("08006", "lost"),
        ("3D000", "missing"),
        ("XX000", "other"),
        ("", "other"),
    ],
)
def test_sqlstates_of_postgresql(code: str, kind: str) -> None:
    assert errors.pgsql_kind(code) == kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("FATAL: sorry, too many clients already", "too_many"),
        ("FATAL: remaining connection slots are reserved for superusers", "too_many"),
        ('FATAL: too many connections for role "wa"', "too_many"),
        ('FATAL: database "wa1" does not exist', "missing"),
        ("FATAL: the database system is starting up", "starting"),
        ("FATAL: the database system is shutting down", "starting"),
        ("FATAL: the database system is in recovery mode", "starting"),
        ("FATAL: the database system is not yet accepting connections", "starting"),
        ('FATAL: password authentication failed for user "wa"', "login"),
        ('FATAL: no pg_hba.conf entry for host "10.0.0.1", user "wa", SSL off', "login"),
        ('FATAL: pg_hba.conf rejects connection for host "10.0.0.1", user "wa", database "wa1", SSL on', "login"),
        ('FATAL: certificate authentication failed for user "wa"', "client_cert"),
        (
            'FATAL: connection requires a valid client certificate FATAL: no pg_hba.conf entry for user "wa", SSL off',
            "client_cert",
        ),
        ('private key file "/k" has group or world access; FATAL: password authentication failed', "client_cert"),
        ('could not load private key file "/k": key values mismatch', "client_cert"),
        ("fe_sendauth: no password supplied", "login"),
        ('FATAL: role "wa" does not exist', "login"),
        ('FATAL: role "wa" is not permitted to log in', "login"),
        ("authentication method 10 not supported", "login"),
        ("server closed the connection unexpectedly", "lost"),
        ("SSL connection has been closed unexpectedly", "lost"),
        ("FATAL: terminating connection due to administrator command", "lost"),
        ("could not receive data from server: Connection reset by peer", "lost"),
        ("server does not support SSL, but SSL was required", "tls"),
        ('certificate verify failed for "db"', "tls"),
        ('could not translate host name "db" to address: Name or service not known', "unknown_host"),
        ('FATAL: permission denied for database "wa1"', "denied"),
        ("connection to server failed: Connection refused", "unreachable"),
        ("connection to server failed: Connection timed out", "unreachable"),
        ("connection to server failed: No route to host", "unreachable"),
        ("connection to server failed: Invalid argument", "unreachable"),
        ("FATAL: unsupported startup parameter: options", "pool"),
        ("FATAL: unsupported startup parameter in options: statement_timeout", "pool"),
        ("something else", "lost"),
        ("", "lost"),
    ],
)
def test_messages_of_libpq(text: str, kind: str) -> None:
    assert errors.pgsql_kind_of_text(text) == kind


@pytest.mark.parametrize(
    ("kind", "retryable"),
    [
        *((kind, True) for kind in ("unreachable", "too_many", "timeout", "lock", "lost", "starting", "unknown_host")),
        ("encoding", True),
        *(
            (kind, False)
            for kind in (
                *("driver", "login", "locked", "client_cert", "tls", "pool"),
                *("denied", "read_only", "missing", "other"),
            )
        ),
    ],
)
def test_retryable_kinds(kind: str, retryable: bool) -> None:
    assert DatabaseError(SUBJECT, "x", kind).retryable is retryable


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            DatabaseError(SUBJECT, "gone", "lost"),
            f"{SUBJECT}: gone. The server restarted or fails over: try again when it is back",
        ),
        (
            DatabaseError(SUBJECT, "gone", "lost", "a server", "Start it"),
            f"{SUBJECT}: gone; expected a server. Start it",
        ),
        (DatabaseError(SUBJECT, "gone", "other"), f"{SUBJECT}: gone."),
    ],
)
def test_the_message_contains_the_fix(error: DatabaseError, text: str) -> None:
    assert str(error) == text


def test_an_unknown_kind_is_a_programming_error() -> None:
    with pytest.raises(KeyError):
        str(DatabaseError(SUBJECT, "x", "unheard of"))
