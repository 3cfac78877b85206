# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks before the client uses a database: version, TLS, write access, connections, databases, privileges."""

from __future__ import annotations

import re
import typing as t

import pytest
from scripted_database import Refusal, ScriptedDatabase

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import check as database_check
from ansible_collections.waba.onprem.plugins.module_utils._database import connection
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import MYSQL, PGSQL, DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._database.session import parse_version

SERVER = {MYSQL: "database MYSQL at db.lab:3306", PGSQL: "database PGSQL at db.lab:5432"}
NO_TABLE = Refusal("missing", "no such table")
DENIED = Refusal("denied", "denied")


class CheckedServer:
    """A check of a server that accepts every statement; `on` makes it refuse one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, engine: str, names: t.Sequence[str], holders: t.Sequence[str]):
        self.server = server = ScriptedDatabase(engine)
        self.found: dict[str, t.Any] = {}
        self.warnings: list[str] = []
        self.env = {"WA_DB_NAME_PREFIX": "wa1"}
        monkeypatch.setattr(connection, "connect", server.connect)
        if engine == MYSQL:
            server.on("wa_check_", NO_TABLE).on("Ssl_cipher", [("Ssl_cipher", "")])
            server.on("global.read_only", [(0, 0)]).on("lower_case_table_names", [(0,)])
            server.on("information_schema.schemata", [(name,) for name in names])
            server.on("information_schema.tables", [(name,) for name in holders])
        else:
            server.on("wa_check_", None).on("^(BEGIN|ROLLBACK)$", None).on("pg_stat_ssl", [(False,)])
            server.on("pg_is_in_recovery", [(False,)]).on("FROM pg_class c", [])
            server.on("FROM pg_database", [(name,) for name in names])
            server.on("c.relname = ANY", lambda _values: [("messages",)] if server.databases[-1] in holders else [])

    def __call__(self) -> CheckedServer:
        database_check.check(self.server.settings, self.env, self.found, self.warnings.append)
        assert self.server.open == 0, "a session stays open"
        return self

    def refused(self) -> WaError:
        with pytest.raises(WaError) as error:
            self()
        assert self.server.open == 0, "a session stays open"
        return error.value


Make = t.Callable[..., CheckedServer]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    def call(
        engine: str = MYSQL, names: t.Sequence[str] = ("wa1m", "wa1c"), holders: t.Sequence[str] = ("wa1m",)
    ) -> CheckedServer:
        return CheckedServer(monkeypatch, engine, names, holders)

    return call


both = pytest.mark.parametrize("engine", [MYSQL, PGSQL])


@pytest.mark.parametrize(("engine", "product", "version"), [(MYSQL, "MySQL", "8.0.36"), (PGSQL, "PostgreSQL", "13.14")])
def test_a_suitable_database_has_no_warning(make: Make, engine: str, product: str, version: str) -> None:
    checked = make(engine)()
    assert checked.found == {
        "product": product,
        "version": version,
        "tls": False,
        "databases": ["wa1c", "wa1m"],
    }
    assert checked.warnings == []


@pytest.mark.parametrize(
    ("engine", "version", "message"),
    [
        (MYSQL, "5.7.44", ""),
        (MYSQL, "8.0.36", ""),
        (MYSQL, "5.6.51", "MySQL 5.6.51 is not supported by the client's vendor (MySQL 5.7, 8.0)"),
        (MYSQL, "8.4.0", "MySQL 8.4.0 is not supported by the client's vendor (MySQL 5.7, 8.0)"),
        (
            MYSQL,
            "10.11.6-MariaDB",
            "MariaDB 10.11.6-MariaDB is not supported by the client's vendor (MySQL 5.7, 8.0)",
        ),
        *((PGSQL, version, "") for version in ("11.22", "12.18", "13.14")),
        *(
            (PGSQL, version, f"PostgreSQL {version} is not supported by the client's vendor (PostgreSQL 11, 12, 13)")
            for version in ("10.23", "14.1", "devel")
        ),
    ],
)
def test_versions_supported_by_the_vendor(engine: str, version: str, message: str) -> None:
    assert database_check.unsupported(parse_version(engine, version)) == (message or None)


# TLS


@both
@pytest.mark.parametrize("key", ["WA_DB_SSL_CA", "WA_DB_SSL_CERT"])
def test_a_server_without_tls_is_refused_if_the_client_needs_it(make: Make, engine: str, key: str) -> None:
    checked = make(engine)
    checked.env[key] = "/opt/certs/x.pem"
    assert str(checked.refused()) == (
        f"{SERVER[engine]}: offers no TLS; expected TLS, because {key} is set. Turn TLS on there, or unset the key"
    )
    assert checked.found["tls"] is False


@both
@pytest.mark.parametrize(("key", "warned"), [("", False), ("WA_DB_SSL_CA", True), ("WA_DB_SSL_CERT", False)])
def test_an_unverified_certificate_is_a_warning(make: Make, engine: str, key: str, warned: bool) -> None:
    checked = make(engine)
    checked.server.on("Ssl_cipher", [("Ssl_cipher", "AES")]).on("pg_stat_ssl", [(True,)])
    checked.env.update({key: "/opt/certs/x.pem"} if key else {})
    assert checked().found["tls"] is True
    assert checked.warnings == (
        [
            f"{SERVER[engine]}: TLS is on, but its certificate was not verified: the path in WA_DB_SSL_CA lies inside the "
            "containers, and there is none yet; set login_ca_cert to the same file on this host"
        ]
        if warned
        else []
    )


# Write access


@both
def test_a_replica_is_refused(make: Make, engine: str) -> None:
    checked = make(engine)
    checked.server.on("global.read_only", [(1, 0)]).on("pg_is_in_recovery", [(True,)])
    assert str(checked.refused()) == (
        f"{SERVER[engine]}: read only: a replica, or a primary set so; expected a server that takes writes. Point the client "
        "at the primary server, or have its administrator end read_only (MySQL, MariaDB) or default_transaction_read_only "
        "(PostgreSQL)"
    )
    assert "databases" not in checked.found


# Databases


@both
def test_without_a_database_the_user_must_be_able_to_create_one(make: Make, engine: str) -> None:
    checked = make(engine, (), ())
    checked.server.on("rolcreatedb", [(True,)])
    assert checked().found["databases"] == []
    checked.server.on("rolcreatedb", [(False,)]).on("CREATE TABLE `wa1wa_check_", DENIED)
    lacks = (
        "CREATE on databases that begin with 'wa1'"
        if engine == MYSQL
        else "CREATE DATABASE (CREATEDB) on new databases"
    )
    fix = (
        "Grant the user SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX and DROP on the client's databases"
        if engine == MYSQL
        else "ALTER ROLE ... CREATEDB, or make the databases first"
    )
    assert str(checked.refused()) == f"{SERVER[engine]}: user wa lacks {lacks}. {fix}"


def test_without_a_prefix_only_the_clients_databases_count(make: Make) -> None:
    checked = make(MYSQL, ("shop", "messageStore"), ("messageStore",))
    checked.env["WA_DB_NAME_PREFIX"] = ""
    checked.server.on("`shop`", DENIED)
    assert checked().warnings == []
    checked = make(MYSQL, ("shop",), ())
    checked.env["WA_DB_NAME_PREFIX"] = ""
    checked.server.on("wa_check_", DENIED)
    privileges = ", ".join(database_check.PRIVILEGES)
    assert checked.refused().found == f"user wa lacks {privileges} on new databases"
    checked = make(PGSQL, ("shop", "messagestore"), ("messagestore",))
    checked.env["WA_DB_NAME_PREFIX"] = ""
    assert checked().server.databases == [None, "messagestore", "shop", "messagestore"]


@pytest.mark.parametrize("kind", ["login", "denied"])
def test_a_database_that_the_user_may_not_open_is_not_the_clients(
    make: Make, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    checked = make(PGSQL, ("cloudsqladmin", "messagestore"), ("messagestore",))
    checked.env["WA_DB_NAME_PREFIX"] = ""

    def connect(config: connection.Settings, database: str | None = None, **options: t.Any) -> connection.Session:
        if database == "cloudsqladmin":
            raise DatabaseError(config.subject, "no pg_hba.conf entry", kind)
        return checked.server.connect(config, database, **options)

    monkeypatch.setattr(connection, "connect", connect)
    assert checked().warnings == []
    assert checked.server.databases == [None, "messagestore", "messagestore"]


# Privileges


STATEMENTS = {
    "SELECT": "^SELECT 1 FROM `wa1m`",
    "INSERT": "^INSERT INTO `wa1m`",
    "UPDATE": "^UPDATE `wa1m`",
    "DELETE": "^DELETE FROM `wa1m`",
    "CREATE": "^CREATE TABLE `wa1m`",
    "ALTER": "^ALTER TABLE `wa1m`",
    "INDEX": "^CREATE INDEX i ON `wa1m`",
    "DROP": "^DROP TABLE `wa1m`",
}


@pytest.mark.parametrize("privilege", database_check.PRIVILEGES)
@pytest.mark.parametrize("kind", ["denied", "login"])
def test_each_privilege_of_mysql_is_checked(make: Make, privilege: str, kind: str) -> None:
    checked = make(MYSQL, ("wa1m",))
    checked.server.on(STATEMENTS[privilege], Refusal(kind))
    error = checked.refused()
    assert error.found == f"user wa lacks {privilege} on wa1m"
    assert isinstance(error, DatabaseError)
    assert error.kind == "denied"


def test_privileges_of_mysql_are_checked_on_a_table_that_does_not_exist(make: Make) -> None:
    checked = make(MYSQL, ("wa1m",))()
    tried = [statement for statement, _values in checked.server.statements if "wa_check_" in statement]
    assert len(tried) == 8
    tables = {re.findall(r"`wa1m`\.`(wa_check_[0-9a-f]{8})`", statement)[0] for statement in tried}
    assert len(tables) == 1


def test_another_error_ends_the_check(make: Make) -> None:
    checked = make()
    checked.server.on("^INSERT", Refusal("timeout", "late"))
    assert checked.refused().found == "late"


def test_privileges_missing_in_some_databases_are_a_warning(make: Make) -> None:
    checked = make()
    checked.server.on("^(ALTER TABLE|DROP TABLE) `wa1c`", DENIED)
    assert checked().warnings == [
        f"{SERVER[MYSQL]}: user wa lacks ALTER, DROP on wa1c (another client's, whose prefix begins alike?)"
    ]


@pytest.mark.parametrize(
    ("pattern", "lacks"),
    [("^CREATE TABLE", "CREATE"), ("^ALTER TABLE", "ALTER"), ("^CREATE INDEX", "INDEX")],
)
def test_privileges_of_postgresql_are_checked_and_rolled_back(make: Make, pattern: str, lacks: str) -> None:
    checked = make(PGSQL, ("wa1m",))
    checked.server.on(pattern, DENIED)
    assert checked.refused().found == f"user wa lacks {lacks} on wa1m"
    statements = [statement for statement, _values in checked.server.statements]
    assert statements[-1] == "ROLLBACK"
    assert statements.count("BEGIN") == 1
    assert checked.server.databases == [None, "wa1m"]
    assert [options.get("read_only") for options in checked.server.options] == [False, False]


def test_another_error_of_postgresql_is_rolled_back(make: Make) -> None:
    checked = make(PGSQL, ("wa1m",))
    checked.server.on("^ALTER TABLE", Refusal("lock", "held"))
    assert checked.refused().found == "held"
    assert checked.server.statements[-1][0] == "ROLLBACK"


def test_data_privileges_and_ownership_of_postgresql(make: Make) -> None:
    checked = make(PGSQL, ("wa1m",))
    checked.server.on("FROM pg_class c", [(11, True), (12, False)])
    checked.server.on("has_table_privilege", lambda values: [(values[1] not in ("INSERT", "DELETE"),)])
    assert checked.refused().found == (
        "user wa lacks INSERT, DELETE, ALTER, INDEX and DROP (ownership of messages) on wa1m"
    )
    assert checked.server.asked("has_table_privilege")[:4] == [(11, name) for name in database_check.PRIVILEGES[:4]]
