# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A session on either engine: quoting, rows and values, versions, errors, closing."""

from __future__ import annotations

import socket
import typing as t

import pytest
from scripted_database import PASSWORD, Refusal, ScriptedDatabase, settings

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import session as database_session
from ansible_collections.waba.onprem.plugins.module_utils._database.errors import DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._database.session import MYSQL, PGSQL, Session, Version


def test_settings_contain_no_password_in_their_representation() -> None:
    assert PASSWORD not in repr(settings(MYSQL))
    assert settings(MYSQL).subject == "database MYSQL at db.lab:3306"


@pytest.mark.parametrize(
    ("engine", "name", "quoted"),
    [
        (MYSQL, "wa", "`wa`"),
        (MYSQL, "w`a", "`w``a`"),
        (MYSQL, 'w"a', '`w"a`'),
        (PGSQL, "wa", '"wa"'),
        (PGSQL, 'w"a', '"w""a"'),
        (PGSQL, "w`a", '"w`a"'),
        (MYSQL, "50%", "`50%%`"),
        (PGSQL, "%s; --", '"%%s; --"'),
    ],
)
def test_an_identifier_is_quoted(engine: str, name: str, quoted: str) -> None:
    assert database_session.quote(engine, name) == quoted


@pytest.mark.parametrize("engine", [MYSQL, PGSQL])
def test_an_identifier_with_a_zero_byte_is_refused(engine: str) -> None:
    with pytest.raises(WaError) as error:
        database_session.quote(engine, "a\0b")
    assert str(error.value) == "identifier: 'a\\x00b' holds a zero byte; expected a name."


# Rows


@pytest.mark.parametrize(
    ("statement", "values", "sent"),
    [
        ("SELECT 1 FROM `50%%`", (), ("SELECT 1 FROM `50%`", ())),
        ("SELECT 1 FROM `50%%` WHERE a = %s", (1,), ("SELECT 1 FROM `50%%` WHERE a = %s", (1,))),
        ("SELECT %s", [1, 2], ("SELECT %s", (1, 2))),
    ],
)
def test_doubled_percent_signs_are_sent_only_with_values(
    statement: str, values: t.Sequence[t.Any], sent: tuple[str, tuple[t.Any, ...]]
) -> None:
    server = ScriptedDatabase().on("SELECT", [[1, "a"], [2, "b"]])
    with server.session() as session:
        assert session.rows(statement, values) == [(1, "a"), (2, "b")]
    assert server.statements == [sent]


def test_value_returns_the_first_column_of_the_first_row() -> None:
    server = ScriptedDatabase().on("SELECT", [(1, "a"), (2, "b")]).on("SET", None).on("EMPTY", [])
    with server.session() as session:
        assert session.value("SELECT 1") == 1
        assert session.value("EMPTY") is None
        assert session.value("SET a = 1") is None
        assert session.rows("SET a = 1") == []


def test_errors_of_the_driver_are_converted() -> None:
    server = ScriptedDatabase().on("x", Refusal("denied", "no right")).on("y", ConnectionResetError(104, "reset"))
    session = server.session()
    with pytest.raises(DatabaseError) as error:
        session.rows("x", subject="table messages in wa1")
    assert (error.value.subject, error.value.found, error.value.kind) == ("table messages in wa1", "no right", "denied")
    with pytest.raises(DatabaseError) as error:
        session.rows("x")
    assert error.value.subject == "database MYSQL at db.lab:3306"
    with pytest.raises(DatabaseError) as error:
        session.value("y")
    assert (error.value.found, error.value.kind) == ("connection lost: reset", "lost")


class Broken:
    """A connection that is already lost."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def close(self) -> None:
        raise self.error


@pytest.mark.parametrize("error", [OSError(), Refusal("lost")])
def test_closing_a_lost_connection_is_no_error(error: Exception) -> None:
    def translate(_error: BaseException, _subject: str) -> DatabaseError:
        raise AssertionError

    with Session(settings(MYSQL), Broken(error), (Refusal,), translate):
        pass
    with pytest.raises(KeyError):
        Session(settings(MYSQL), Broken(KeyError()), (Refusal,), translate).close()


# Versions


@pytest.mark.parametrize(
    ("engine", "text", "product", "numbers"),
    [
        (MYSQL, "8.0.36-0ubuntu0", "MySQL", (8, 0, 36)),
        (MYSQL, "5.7.44-log", "MySQL", (5, 7, 44)),
        (MYSQL, "10.11.6-MariaDB-0+deb12u1", "MariaDB", (10, 11, 6)),
        (MYSQL, "5.5.5-10.11.6-MariaDB", "MariaDB", (10, 11, 6)),
        (MYSQL, "5.5.5", "MySQL", (5, 5, 5)),
        (PGSQL, "13.14 (Debian 13.14-1)", "PostgreSQL", (13, 14)),
        (PGSQL, "18beta1", "PostgreSQL", (18,)),
        (PGSQL, "devel", "PostgreSQL", ()),
    ],
)
def test_versions_are_parsed(engine: str, text: str, product: str, numbers: tuple[int, ...]) -> None:
    assert database_session.parse_version(engine, text) == Version(product, numbers, text)


@pytest.mark.parametrize(
    ("engine", "statement"), [(MYSQL, database_session.MYSQL_VERSION), (PGSQL, "SHOW server_version")]
)
def test_the_version_is_read_once(engine: str, statement: str) -> None:
    server = ScriptedDatabase(engine)
    session = server.session()
    assert session.version() is session.version()
    assert server.statements == [(statement, ())]


@pytest.mark.parametrize(
    ("values", "read_only"),
    [
        (("0", "0"), False),
        ((0, 0), False),
        (("OFF", "off"), False),
        (("1", "0"), True),
        ((0, 1), True),
        (("NO_LOCK", "0"), True),  # MariaDB
    ],
)
def test_a_read_only_mysql_is_recognised(values: tuple[t.Any, ...], read_only: bool) -> None:
    server = ScriptedDatabase().on("SELECT @@global.read_only, @@global.innodb_read_only", [values])
    assert server.session().is_read_only() is read_only


@pytest.mark.parametrize(
    ("began", "recovery", "read_only", "count"),
    [(False, False, False, 1), (False, True, True, 1), (True, False, True, 0)],
)
def test_a_read_only_postgresql_is_recognised(began: bool, recovery: bool, read_only: bool, count: int) -> None:
    server = ScriptedDatabase(PGSQL).on("pg_is_in_recovery", [(recovery,)])
    server.began_read_only = began
    assert server.session().is_read_only() is read_only
    assert len(server.statements) == count


# Errors


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Exception(1045, "Access\n denied"), "Access denied"),
        (Exception("a\n  b"), "a b"),
        (Exception(2013), "2013"),
        (Exception("1", "text"), "('1', 'text')"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_the_message_of_an_error_is_one_line(error: Exception, text: str) -> None:
    assert database_session.one_line(error) == text


@pytest.mark.parametrize(
    ("error", "found", "kind"),
    [
        (UnicodeError("label empty"), "the name does not resolve: not a host name", "unknown_host"),
        (
            socket.gaierror(-2, "Name or service not known"),
            "the name does not resolve: Name or service not known",
            "unknown_host",
        ),
        (TimeoutError("timed out"), "not reachable: no answer within 10 s", "unreachable"),
        (socket.timeout("timed out"), "not reachable: no answer within 10 s", "unreachable"),
        (ConnectionRefusedError(111, "Connection refused"), "not reachable: Connection refused", "unreachable"),
        (OSError("odd"), "not reachable: odd", "unreachable"),
        (
            OSError(22, "Invalid argument"),
            "not reachable: no route leads to this address (Invalid argument)",
            "unreachable",
        ),
    ],
)
def test_network_errors_are_explained(error: OSError, found: str, kind: str) -> None:
    converted = database_session.network_error(settings(MYSQL), error)
    assert (converted.subject, converted.found, converted.kind) == ("database MYSQL at db.lab:3306", found, kind)
