# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logins and settings that administrators enforce, on a real MySQL 9.7 and a PostgreSQL 13 with a replica."""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

import commands
import psycopg2
import pymysql
import pytest
from commands import REPOSITORY, docker
from database_servers import Server, server
from engine import Engine
from simulated import run_module
from waiting import until

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import (
    activity,
    check,
    facts,
    messages,
)
from ansible_collections.waba.onprem.plugins.module_utils._database import connection as database_connection
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import DatabaseError, Settings
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import requirements

CANARY = "Canary-86-Policy-Pw"
RIGHTS = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP"
LOGIN = (
    "Compare user and password with the server's; the server may also refuse this user from this host, without TLS, or "
    "without a certificate of the client"
)
CERTIFICATE = (
    "Set login_client_cert and login_client_key to a certificate that the server accepts of this user, and to its key"
)
PRIMARY = (
    "read only: a replica, or a primary set so; expected a server that takes writes. Point the client at the primary server, or "
    "have its administrator end read_only (MySQL, MariaDB) or default_transaction_read_only (PostgreSQL)"
)
# Names are stored in lower case, as on a server moved from Windows. The setting is possible only before the first start.
MYSQL_FILES = {"/etc/mysql/mysql.conf.d/zzz-test.cnf": "[mysqld]\nlower_case_table_names = 1\n"}
PREFIX = "Shop_"
HBA = """\
local   all         postgres                peer
local   replication postgres                peer
hostssl all         tls       all           scram-sha-256
hostnossl all       tls,pinned,cert all     reject
host    all         old       all           md5
hostssl all         pinned    all           scram-sha-256 clientcert=verify-ca
hostssl all         cert      all           cert
host    all         banned    all           reject
host    all         all       all           scram-sha-256
"""
LAB = REPOSITORY / "tests/lab/images/postgres/lab.conf"
REPLICA = 5433


@dataclass
class Site:
    """A server, the files of the certificate of client `cert`, and the settings for a connection."""

    where: Server
    certificate: dict[str, str]

    def settings(self, user: str = "wa", password: str = CANARY, **more: t.Any) -> Settings:
        return Settings(self.where.engine, "127.0.0.1", self.where.port, user, password, **more)

    @property
    def subject(self) -> str:
        return self.settings().subject

    def refused(self, user: str = "wa", password: str = CANARY, **more: t.Any) -> DatabaseError:
        """Log in, which must fail, and return the error."""
        with pytest.raises(DatabaseError) as error, database_connection.connect(self.settings(user, password, **more)):
            pass
        assert CANARY not in str(error.value)
        return error.value

    def encrypted(self, user: str = "wa", **more: t.Any) -> bool:
        """Log in and return whether the connection uses TLS."""
        found: dict[str, t.Any] = {}
        with database_connection.connect(self.settings(user, **more)) as session:
            check._check_tls(session, {}, found, list[str]().append)
        return bool(found["tls"])

    def check(self, user: str = "wa", prefix: str = PREFIX) -> dict[str, t.Any]:
        """Run the login check and return what it found. It must not warn."""
        found: dict[str, t.Any] = {}
        warned: list[str] = []
        check.check(self.settings(user), {"WA_DB_NAME_PREFIX": prefix}, found, warned.append)
        assert warned == []
        return found

    def env(self) -> dict[str, str]:
        """The client's db.env."""
        values = {"ENGINE": self.where.engine, "HOSTNAME": "127.0.0.1", "PORT": str(self.where.port)}
        values.update(USERNAME="wa", PASSWORD=CANARY, NAME_PREFIX=PREFIX)
        return {f"WA_DB_{key}": value for key, value in values.items()}

    def facts(self) -> dict[str, t.Any]:
        return facts.gather({"gather": ["database", "database_sizes"]}, self.env())

    def tables(self) -> list[messages.Table]:
        return messages.find_tables(self.settings(), PREFIX)

    def is_deleting(self) -> bool:
        """Return whether a DELETE is running now."""
        return activity.inspect(self.settings(), self.tables(), [[["a"], ["\u00e9t\u00e9"]]]).deleting

    def count(self) -> tuple[int, bool]:
        found = messages.count_up_to(self.settings(), self.tables(), 100)
        return found.rows, found.exact

    def write(self, folder: Path, user: str, **options: t.Any) -> dict[str, t.Any]:
        """Run wa_db_env with its login check."""
        folder.mkdir(exist_ok=True)
        given = {"path": str(folder / "db.env"), "engine": self.where.engine, "hostname": "127.0.0.1"}
        given.update(port=str(self.where.port), username=user, password=CANARY, name_prefix="new_")
        return run_module("wa_db_env", {**given, "docker_host": "unix:///nowhere/docker.sock", **options})


def certificate(where: Server) -> dict[str, str]:
    """A client certificate signed by the server's authority, under the names of `Settings`."""
    folder = where.ca.parent
    key, csr, pem = (folder / f"client{end}" for end in ("-key.pem", ".csr", ".pem"))
    commands.run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=cert", "-keyout", key, "-out", csr)
    sign = ("openssl", "x509", "-req", "-days", "2", "-CAcreateserial", "-CAkey", folder / "server-key.pem")
    commands.run(*sign, "-CA", folder / "server.pem", "-in", csr, "-out", pem)
    return {"client_cert": str(pem), "client_key": str(key)}


@pytest.fixture(scope="module")
def mysql(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Site]:
    with server("mysql-9.7", tmp_path_factory.mktemp("mysql"), MYSQL_FILES) as found:
        for user, rights, demand in (
            ("wa", RIGHTS, "NONE"),
            ("poor", "SELECT, INSERT", "NONE"),
            ("tls", RIGHTS, "SSL"),
            ("cert", RIGHTS, "X509"),
        ):
            found.sql(f"CREATE USER {user} IDENTIFIED BY '{CANARY}' REQUIRE {demand};")
            found.sql(f"GRANT {rights} ON `shop\\_%`.* TO {user}; GRANT {rights} ON `new\\_%`.* TO {user};")
        # Another character set than the session's, in data and key.
        found.sql(
            "SET NAMES utf8mb4; CREATE DATABASE Shop_messageStore CHARACTER SET latin1; USE Shop_messageStore;"
            "CREATE TABLE messages (id VARCHAR(20) PRIMARY KEY, body VARCHAR(100));"
            "INSERT INTO messages VALUES ('a', 'x'), ('\u00e9t\u00e9', '\u00dc'), ('z', NULL);"
        )
        yield Site(found, certificate(found))


@pytest.fixture(scope="module")
def pgsql(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Site]:
    given = {
        "/lab/pg_hba.conf": HBA,
        "/lab/lab.conf": LAB.read_text() + "wal_level = replica\nmax_wal_senders = 2\nhot_standby = on\n",
    }
    with server("postgres-13", tmp_path_factory.mktemp("postgres"), given) as found:
        found.sql(
            "".join(
                f"CREATE ROLE {user} LOGIN CREATEDB PASSWORD '{CANARY}';"
                for user in ("wa", "tls", "pinned", "cert", "banned")
            )
        )
        found.sql(f"SET password_encryption = 'md5'; CREATE ROLE old LOGIN CREATEDB PASSWORD '{CANARY}';")
        # The encoding that `initdb` chooses without a locale.
        found.sql(
            f"CREATE DATABASE \"{PREFIX}messageStore\" OWNER wa ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0;"
        )
        found.sql(
            "SET ROLE wa; SET client_encoding = 'UTF8'; CREATE TABLE messages (id text PRIMARY KEY, body text);"
            "INSERT INTO messages VALUES ('a', 'x'), ('\u00e9t\u00e9', '\u00dc'), ('z', NULL);",
            f"{PREFIX}messageStore",
        )
        yield Site(found, certificate(found))


@pytest.fixture(params=["mysql", "pgsql"])
def site(request: pytest.FixtureRequest) -> Site:
    """Each of the two servers in turn."""
    found: Site = request.getfixturevalue(request.param)
    return found


@contextlib.contextmanager
def set_globally(site: Site, **values: str) -> t.Iterator[None]:
    """Set global variables of MySQL for new sessions, and reset them at the end."""
    site.where.sql("".join(f"SET GLOBAL {name} = {value};" for name, value in values.items()))
    try:
        yield
    finally:
        site.where.sql("".join(f"SET GLOBAL {name} = DEFAULT;" for name in reversed(values)))


@contextlib.contextmanager
def altered(site: Site, what: str, name: str, value: str) -> t.Iterator[None]:
    """Set a PostgreSQL setting for a role or a database, and reset it at the end."""
    site.where.sql(f"ALTER {what} SET {name} = {value};")
    try:
        yield
    finally:
        site.where.sql(f"ALTER {what} RESET {name};")


# Logins


def test_caching_sha2_password_works_with_and_without_tls(mysql: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server accepts the password of a new login over TLS or encrypted with its public key."""
    mysql.where.sql("FLUSH PRIVILEGES;")  # the server forgets the logins that it has cached
    assert not mysql.encrypted(plain=True)
    assert mysql.encrypted()
    assert mysql.encrypted(ca_cert=str(mysql.where.ca))
    monkeypatch.setattr(pymysql._auth, "_have_cryptography", False)
    assert not mysql.encrypted(plain=True)  # the server has cached this login
    mysql.where.sql("FLUSH PRIVILEGES;")
    assert str(mysql.refused(plain=True)) == (
        f"{mysql.subject}: user wa logs in by a method (caching_sha2_password or sha256_password) for which PyMySQL needs the "
        "Python library cryptography where there is no TLS; expected that library, or TLS. Install the package "
        "python3-cryptography on the managed host, or turn TLS on at the server"
    )
    assert mysql.encrypted()


def test_a_user_of_mysql_that_requires_tls(mysql: Site, tmp_path: Path) -> None:
    assert mysql.encrypted("tls")
    refused = mysql.refused("tls", plain=True)
    assert refused.kind == "login"
    assert refused.found.startswith("Access denied for user 'tls'@")
    assert str(refused).endswith(f" (using password: YES) (1045). {LOGIN}")
    # The client uses TLS only if its db.env says so, whatever this host supports.
    message = mysql.write(tmp_path, "tls")["msg"]
    assert "the server takes this user with TLS only, and WA_DB_SSL_CA is not set; expected TLS. " in message
    inside: dict[str, t.Any] = {"extra": {"WA_DB_SSL_CA": "/opt/certs/ca.pem"}, "login_ca_cert": str(mysql.where.ca)}
    assert mysql.write(tmp_path, "tls", **inside)["server"]["tls"]
    with set_globally(mysql, require_secure_transport="ON"):
        assert mysql.encrypted()
        assert mysql.refused(plain=True).kind == "tls"
        assert "with TLS only, and WA_DB_SSL_CA is not set" in mysql.write(tmp_path / "wa", "wa")["msg"]


def test_a_user_of_mysql_that_requires_a_client_certificate(mysql: Site) -> None:
    assert LOGIN in str(mysql.refused("cert"))
    assert mysql.encrypted("cert", **mysql.certificate)
    assert mysql.encrypted("cert", ca_cert=str(mysql.where.ca), **mysql.certificate)


@pytest.mark.parametrize(
    ("user", "kind", "found"),
    [
        ("tls", "", ""),
        ("old", "", ""),
        ("pinned", "client_cert", "connection requires a valid client certificate"),
        ("cert", "client_cert", "connection requires a valid client certificate"),
        ("banned", "login", "pg_hba.conf rejects connection for host"),
    ],
)
def test_logins_rejected_by_pg_hba_conf_are_explained(pgsql: Site, user: str, kind: str, found: str) -> None:
    if not kind:
        assert pgsql.encrypted(user)
        assert pgsql.refused(user, "Sesame").kind == "login"
        return
    refused = pgsql.refused(user)
    assert (refused.kind, refused.retryable) == (kind, False)
    assert str(refused).startswith(f"{pgsql.subject}: FATAL: {found}")
    assert str(refused).endswith(f". {CERTIFICATE if kind == 'client_cert' else LOGIN}")


@pytest.mark.parametrize("user", ["pinned", "cert"])
def test_a_user_of_postgresql_that_requires_a_client_certificate(pgsql: Site, user: str, tmp_path: Path) -> None:
    assert pgsql.encrypted(user, ca_cert=str(pgsql.where.ca), **pgsql.certificate)
    inside = {"extra": {f"WA_DB_SSL_{kind}": f"/opt/certs/{kind.lower()}.pem" for kind in ("CA", "CERT", "KEY")}}
    assert CERTIFICATE in pgsql.write(tmp_path, user, **inside, login_ca_cert=str(pgsql.where.ca))["msg"]
    options = {f"login_{name}": path for name, path in pgsql.certificate.items()}
    done = pgsql.write(tmp_path, user, **inside, login_ca_cert=str(pgsql.where.ca), **options)
    assert done["server"]["tls"]


def test_a_wrong_or_readable_client_key_is_explained(pgsql: Site) -> None:
    other = replace(
        pgsql.settings("cert", **pgsql.certificate), client_key=str(pgsql.where.ca.with_name("server-key.pem"))
    )
    with pytest.raises(DatabaseError, match=r"key values mismatch.* its key") as error:
        database_connection.connect(other)
    assert error.value.kind == "client_cert"
    Path(pgsql.certificate["client_key"]).chmod(0o644)
    try:
        refused = pgsql.refused("cert", **pgsql.certificate)
        assert refused.kind == "client_cert"
        assert "has group or world access; file must have permissions u=rw (0600) or less" in refused.found
    finally:
        Path(pgsql.certificate["client_key"]).chmod(0o600)


# Names and settings


def test_databases_are_found_with_lower_case_table_names(mysql: Site) -> None:
    assert mysql.check()["databases"] == ["shop_messagestore"]
    assert mysql.facts()["databases"] == ["shop_messagestore"]
    assert mysql.check(prefix="New_")["databases"] == []


def test_strict_server_settings_do_not_break_our_statements(mysql: Site) -> None:
    """The privilege check reports the same as with default settings."""
    settings = {"sql_require_primary_key": "ON", "sql_mode": "'TRADITIONAL,ANSI,ONLY_FULL_GROUP_BY'"}
    with set_globally(mysql, **settings, max_execution_time="1"):
        assert "shop_messagestore" in mysql.check()["databases"]
        assert mysql.count() == (3, True)
        assert mysql.facts()["largest_table"]["bytes"] > 0
        with pytest.raises(DatabaseError, match="user poor lacks UPDATE, DELETE, CREATE, ALTER, INDEX, DROP on shop_"):
            mysql.check("poor")


def test_a_statement_timeout_of_postgresql_is_reported_with_a_fix(pgsql: Site) -> None:
    with altered(pgsql, "ROLE wa", "statement_timeout", "'20s'"):
        messages_found = requirements.database(pgsql.facts())
    assert messages_found == [
        "the database server ends a statement after 20 s, expected none or 3600 s. Have its administrator run, until the upgrade "
        "is done: ALTER ROLE \"wa\" SET statement_timeout = '3600s';"
    ]
    assert requirements.database(pgsql.facts()) == []


def test_keys_in_other_character_sets_are_found(site: Site) -> None:
    """latin1 in MySQL, SQL_ASCII in PostgreSQL: keys with non-ASCII characters are found again."""
    assert site.check()["databases"]
    assert site.count() == (3, True)
    [keys] = activity.take_sample(site.settings(), site.tables(), 100)
    assert sorted(keys) == [["a"], ["z"], ["\u00e9t\u00e9"]]
    assert activity.inspect(site.settings(), site.tables(), [keys]).alive == 3


def test_statements_with_binary_data_are_handled(site: Site) -> None:
    """The client stores keys as bytes, and its running statement is shown in the server's process list."""
    with running(site, b"SELECT {sleep}, {sleep}, {sleep}, {sleep}, {bytes} AS x"):
        [session] = site.facts()["sessions"]
        assert session["database"] == site.tables()[0].database
        assert not site.is_deleting()
    with running(site, b"DELETE FROM messages WHERE CASE WHEN {sleep} = '9' THEN body = {bytes} END"):
        assert site.is_deleting()
    assert site.count() == (3, True)


@contextlib.contextmanager
def running(site: Site, statement: bytes) -> t.Iterator[None]:
    """Run a statement with binary data as the client's user for some seconds."""
    functions = {"postgres": (b"pg_sleep(1)::text", b"'\xfc\xe9'"), "mysql": (b"SLEEP(1)", b"_binary '\xfc\xe9'")}
    sleep, odd = functions[site.where.kind]
    given: dict[str, t.Any] = {"host": "127.0.0.1", "port": site.where.port, "user": "wa", "password": CANARY}

    def run() -> None:
        if site.where.kind == "mysql":
            session: t.Any = pymysql.connect(**given, database="shop_messagestore", charset="utf8mb4")
        else:
            session = psycopg2.connect(**given, dbname=f"{PREFIX}messageStore")
        with contextlib.closing(session):
            session.cursor().execute(statement.replace(b"{sleep}", sleep).replace(b"{bytes}", odd))

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(1.2)
    try:
        yield
    finally:
        thread.join()


# Read-only servers


def test_a_read_only_mysql_is_refused(mysql: Site) -> None:
    for name in ("read_only", "super_read_only"):
        with set_globally(mysql, read_only="ON", **({name: "ON"} if name != "read_only" else {})):
            assert_read_only(mysql)
    assert not mysql.facts()["read_only"]


def assert_read_only(site: Site) -> None:
    with pytest.raises(WaError) as refused:
        site.check()
    assert str(refused.value) == f"{site.subject}: {PRIMARY}"
    assert site.count() == (3, True)
    [message] = requirements.database(site.facts())
    assert message.startswith(
        "the database server takes no writes: a replica, or a primary set so; expected one that takes"
    )


@pytest.mark.parametrize("what", ["ROLE wa", "ROLE wa IN DATABASE postgres", "SYSTEM"])
def test_a_read_only_postgresql_is_refused(pgsql: Site, what: str) -> None:
    with altered(pgsql, what, "default_transaction_read_only", "on"):
        if what == "SYSTEM":
            pgsql.where.sql("SELECT pg_reload_conf();")
            until(lambda: pgsql.where.sql("SHOW default_transaction_read_only;").strip() == "on")
        assert_read_only(pgsql)
    if what == "SYSTEM":
        pgsql.where.sql("SELECT pg_reload_conf();")


def test_a_replica_of_postgresql_is_refused(pgsql: Site) -> None:
    as_postgres = ["exec", "--user", "postgres", pgsql.where.container, "sh", "-ec"]
    docker(
        *as_postgres,
        "cd /usr/lib/postgresql/13/bin; ./pg_basebackup -h /run/postgresql -D /tmp/replica -R -X stream -c fast --no-sync;"
        f"./postgres --config-file=/lab/lab.conf -c data_directory=/tmp/replica -c port={REPLICA}"
        " >/tmp/replica.log 2>&1 </dev/null &",
    )
    replica = Server("postgres", pgsql.where.container, REPLICA, pgsql.where.ca)
    address = Engine().address(pgsql.where.container, "bridge")
    site = ReplicaSite(replica, pgsql.certificate, address)

    def answers() -> bool:
        with contextlib.suppress(DatabaseError), database_connection.connect(site.settings()):
            return True
        return False

    until(answers, 30)
    assert_read_only(site)


@dataclass
class ReplicaSite(Site):
    """A server at another address."""

    address: str

    def settings(self, user: str = "wa", password: str = CANARY, **more: t.Any) -> Settings:
        return replace(super().settings(user, password, **more), host=self.address)

    def env(self) -> dict[str, str]:
        return {**super().env(), "WA_DB_HOSTNAME": self.address}
