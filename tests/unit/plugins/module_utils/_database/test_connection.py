# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection settings, the database of PostgreSQL to connect to, and the databases of a prefix."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from scripted_database import PASSWORD, ScriptedDatabase
from scripted_database import settings as scripted_settings

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import connection, mysql, pgsql
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import MYSQL, PGSQL, DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._database.session import MYSQL_VERSION, Session, Settings

ENV = {
    "WA_DB_ENGINE": "MYSQL",
    "WA_DB_HOSTNAME": "db.lab",
    "WA_DB_PORT": "3307",
    "WA_DB_USERNAME": "wa",
    "WA_DB_PASSWORD": PASSWORD,
    "WA_DB_SSL_CA": "/opt/certs/ca.pem",
}


# Settings


def test_settings_come_from_db_env() -> None:
    assert connection.settings({}, ENV) == Settings(
        MYSQL, "db.lab", 3307, "wa", PASSWORD, server_name="db.lab", connect_timeout=10.0
    )


def test_options_precede_db_env() -> None:
    options = {
        "login_host": "10.0.0.1",
        "login_ca_cert": "/h/ca.pem",
        "login_client_cert": "/h/cert.pem",
        "login_client_key": "/h/key.pem",
        "connect_timeout": "1m",
    }
    assert connection.settings(options, ENV) == Settings(
        *(MYSQL, "10.0.0.1", 3307, "wa", PASSWORD),
        server_name="db.lab",
        ca_cert="/h/ca.pem",
        client_cert="/h/cert.pem",
        client_key="/h/key.pem",
        connect_timeout=60.0,
    )


@pytest.mark.parametrize(
    ("options", "env", "field", "value"),
    [
        ({}, {"WA_DB_ENGINE": " mysql "}, "engine", MYSQL),
        ({}, {"WA_DB_HOSTNAME": " db.lab "}, "host", "db.lab"),
        ({}, {"WA_DB_PORT": ""}, "port", 3306),
        ({}, {"WA_DB_ENGINE": "PGSQL", "WA_DB_PORT": " "}, "port", 5432),
        ({}, {"WA_DB_PORT": "1"}, "port", 1),
        ({}, {"WA_DB_PORT": "65535"}, "port", 65535),
        ({"login_host": "h"}, {"WA_DB_HOSTNAME": ""}, "server_name", "h"),
    ],
)
def test_values_are_read_as_the_client_reads_them(
    options: dict[str, t.Any], env: dict[str, str], field: str, value: t.Any
) -> None:
    assert getattr(connection.settings(options, {**ENV, **env}), field) == value


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (
            {"WA_DB_ENGINE": "ORACLE"},
            "WA_DB_ENGINE: 'ORACLE' is no engine of the client; expected MYSQL or PGSQL. Correct db.env",
        ),
        ({"WA_DB_ENGINE": ""}, "WA_DB_ENGINE: '' is no engine of the client; expected MYSQL or PGSQL. Correct db.env"),
        *(
            (
                {key: " " if key == "WA_DB_HOSTNAME" else ""},
                f"{key}: missing or empty; expected a value in db.env, or the login option. Correct db.env",
            )
            for key in ("WA_DB_HOSTNAME", "WA_DB_USERNAME")
        ),
        *(
            ({"WA_DB_PORT": port}, f"WA_DB_PORT: {port!r} is no port; expected 1 to 65535. Correct db.env")
            for port in ("0", "65536", "-1", "3306x", "3.5", "²")
        ),
    ],
)
def test_invalid_values_are_refused(env: dict[str, str], message: str) -> None:
    with pytest.raises(WaError) as error:
        connection.settings({}, {**ENV, **env})
    assert str(error.value) == message


# Connection


@pytest.mark.parametrize("field", ["ca_cert", "client_cert", "client_key"])
@pytest.mark.parametrize(("kind", "reason"), [("none", "No such file or directory"), ("folder", "no regular file")])
def test_an_unreadable_certificate_fails_before_the_connection(
    tmp_path: Path, field: str, kind: str, reason: str
) -> None:
    path = tmp_path if kind == "folder" else tmp_path / "none.pem"
    with pytest.raises(DatabaseError) as error:
        connection.connect(Settings(MYSQL, "127.0.0.1", 1, "wa", PASSWORD, **{field: str(path)}))  # type: ignore[arg-type]
    assert error.value.kind == "tls"
    assert str(error.value) == (
        f"login_{field} {path}: {reason}; expected a readable file. Set login_ca_cert to the authority of the server's "
        "certificate, and login_host to a name that the certificate has"
    )


class Postgres:
    """Replaces `pgsql.connect`: each database refuses a connection or accepts it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **kinds: str) -> None:
        self.kinds = kinds
        self.tried: list[tuple[t.Any, ...]] = []
        monkeypatch.setattr(pgsql, "connect", self.connect)

    def connect(self, config: Settings, database: str, *rest: t.Any) -> Session:
        self.tried.append((database, *rest))
        if self.kinds.get(database):
            raise DatabaseError(config.subject, f"not {database}", self.kinds[database])
        return ScriptedDatabase(PGSQL).session(config)


@pytest.mark.parametrize(
    ("kinds", "tried"),
    [
        ({}, ["postgres"]),
        ({"postgres": "missing"}, ["postgres", "template1"]),
        ({"postgres": "denied", "template1": "login"}, ["postgres", "template1", "wa"]),
    ],
)
def test_the_first_accessible_database_is_used(
    monkeypatch: pytest.MonkeyPatch, kinds: dict[str, str], tried: list[str]
) -> None:
    server = Postgres(monkeypatch, **kinds)
    connection.connect(scripted_settings(PGSQL))
    assert [name for name, *_rest in server.tried] == tried


@pytest.mark.parametrize(
    ("kinds", "message", "count"),
    [
        ({"postgres": "unreachable"}, "not postgres", 1),
        ({"postgres": "missing", "template1": "too_many"}, "not template1", 2),
        ({"postgres": "login", "template1": "denied", "wa": "missing"}, "not postgres", 3),
    ],
)
def test_without_an_accessible_database_the_first_error_is_raised(
    monkeypatch: pytest.MonkeyPatch, kinds: dict[str, str], message: str, count: int
) -> None:
    server = Postgres(monkeypatch, **kinds)
    with pytest.raises(DatabaseError, match=message):
        connection.connect(scripted_settings(PGSQL))
    assert len(server.tried) == count


def test_a_session_is_read_only_and_has_timeouts_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Postgres(monkeypatch, wa1="missing")
    connection.connect(scripted_settings(PGSQL), "wa2")
    connection.connect(
        scripted_settings(PGSQL), "wa3", read_only=False, statement_timeout=9, lock_timeout=8, limited=False
    )
    assert server.tried == [("wa2", True, 5.0, 2.0, True), ("wa3", False, 9, 8, False)]
    with pytest.raises(DatabaseError, match="not wa1"):
        connection.connect(scripted_settings(PGSQL), "wa1")
    given: list[t.Any] = []
    monkeypatch.setattr(mysql, "connect", lambda *arguments: given.extend(arguments))
    connection.connect(scripted_settings(MYSQL))
    assert given == [scripted_settings(MYSQL), None, True, 5.0, 2.0, True]


@pytest.mark.parametrize(
    ("engine", "version", "statements"),
    [
        (
            MYSQL,
            "8.0.36",
            [
                "SET SESSION lock_wait_timeout = 2, innodb_lock_wait_timeout = 2",
                MYSQL_VERSION,
                "SET SESSION max_execution_time = 5000",
                "SET SESSION TRANSACTION READ ONLY",
            ],
        ),
        (
            PGSQL,
            "13.14",
            ["SET statement_timeout = 5000; SET lock_timeout = 2000; SET default_transaction_read_only = on"],
        ),
    ],
)
def test_limits_can_be_set_on_an_open_session(engine: str, version: str, statements: list[str]) -> None:
    server = ScriptedDatabase(engine, version).on("^SET", None)
    connection.limit(server.session())
    assert [statement for statement, _values in server.statements] == statements


# Database names


@pytest.mark.parametrize(
    ("prefix", "folds", "found"),
    [
        ("wa1", 0, ["wa10x", "wa1b"]),
        ("Wa1", 0, ["Wa1a"]),
        ("WA1", 0, []),
        ("WA1", 1, ["wa10x", "wa1b"]),
        ("Wa1", 1, ["Wa1a"]),  # as written, if it exists
        ("w_1", 0, []),
        ("", 0, ["Wa1a", "other", "wa10x", "wa1b"]),
    ],
)
def test_databases_of_a_prefix_on_mysql(prefix: str, folds: int, found: list[str]) -> None:
    names = ["wa1b", "sys", "wa10x", "mysql", "Wa1a", "other", "information_schema", "performance_schema"]
    server = ScriptedDatabase().on("information_schema.schemata", [(name,) for name in names])
    server.on("SELECT @@lower_case_table_names", [(folds,)])
    assert connection.databases(server.session(), prefix) == found


@pytest.mark.parametrize(
    ("prefix", "found"), [("wa1", ["wa1a", "wa1b"]), ("WA1", ["wa1a", "wa1b"]), ("", ["wa1a", "wa1b"]), ("x", [])]
)
def test_databases_of_a_prefix_on_postgresql(prefix: str, found: list[str]) -> None:
    server = ScriptedDatabase(PGSQL).on("pg_database", [("wa1b",), ("postgres",), ("wa1a",)])
    assert connection.databases(server.session(), prefix) == found
