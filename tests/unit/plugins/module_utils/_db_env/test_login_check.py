# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The login check: the values it uses, the address it connects to, TLS, and the message of a failure."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import check as database_check
from ansible_collections.waba.onprem.plugins.module_utils._database import connection as database
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import Settings
from ansible_collections.waba.onprem.plugins.module_utils._database.errors import DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._db_env import login_check
from ansible_collections.waba.onprem.plugins.module_utils._db_env.login_check import Clients, LoginCheck

VALUES = {
    "WA_DB_ENGINE": "MYSQL",
    "WA_DB_HOSTNAME": "db.example.com",
    "WA_DB_PORT": "3306",
    "WA_DB_USERNAME": "wa",
    "WA_DB_PASSWORD": "Canary-61-Pw",
}
PARAMS: dict[str, t.Any] = {
    "check_connection": "true",
    "project": "wa-h1",
    "docker_host": "unix:///nowhere/docker.sock",
    "docker_timeout": 5,
    "connect_timeout": "1s",
}
TLS = {"WA_DB_SSL_CA": "/c/ca.pem", "WA_DB_SSL_CERT": "/c/cert.pem", "WA_DB_SSL_KEY": "/c/key.pem"}


class FakeClients(Clients):
    """The engine's record: one address for every name (None: the container does not resolve it), and files."""

    def __init__(
        self,
        address: tuple[str, str] | None = ("", ""),
        files: dict[str, bytes] | None = None,
        records: int = 1,
        mode: str = "biz_default",
        project: bool = True,
    ) -> None:
        self.docker = None
        self.running = []
        self.records = [{"Name": "/wacore", "Id": "1", "HostConfig": {"NetworkMode": mode}}] * records
        self.doubt = ""
        self.project = project
        self.resolved = address
        self.files = files or {}

    def address(self, config: Settings, name: str) -> tuple[str, str]:
        if self.resolved is None:
            raise DatabaseError(config.subject, f"the name {name} does not resolve in container wacore", "unknown_host")
        return self.resolved

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)


def settings(**more: t.Any) -> Settings:
    return database.settings({**PARAMS, **more}, VALUES)


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The host's resolver: addresses by name. Other names do not resolve."""
    known: dict[str, str] = {}

    def find(host: str, port: int, **_rest: t.Any) -> list[t.Any]:
        if host not in known:
            raise socket.gaierror(-2, "Name or service not known")
        return [(2, 1, 6, "", (known[host], port))]

    monkeypatch.setattr(socket, "getaddrinfo", find)
    return known


@pytest.mark.parametrize(
    ("environments", "differing", "hosts"),
    [
        ({}, [], ["db.example.com"]),
        ({"a" * 64: {"WA_DB_HOSTNAME": "x"}}, [], ["db.example.com"]),  # stale: the file's value comes into force
        (
            {"a" * 64: {"WA_DB_HOSTNAME": "x"}, "b" * 64: {}},
            [{"id": "a" * 12, "overridden_keys": ["WA_DB_HOSTNAME", "TZ"]}],
            ["x", "db.example.com"],
        ),
        (
            {"a" * 64: {"WA_DB_HOSTNAME": "x"}, "b" * 64: {"WA_DB_HOSTNAME": "x"}},
            [{"id": one * 12, "overridden_keys": ["WA_DB_HOSTNAME"]} for one in "ab"],
            ["x"],
        ),
    ],
)
def test_the_values_that_containers_will_connect_with(
    environments: dict[str, dict[str, str]], differing: list[dict[str, t.Any]], hosts: list[str]
) -> None:
    found = login_check.variants(VALUES, environments, differing)
    assert [one["WA_DB_HOSTNAME"] for one in found] == hosts
    assert all(one["WA_DB_PASSWORD"] == VALUES["WA_DB_PASSWORD"] and "TZ" not in one for one in found)


def test_the_address_known_to_docker_is_used(resolves: dict[str, str]) -> None:
    resolves["db.example.com"] = "192.0.2.1"
    config, route = login_check.route(settings(), FakeClients(("172.18.0.5", "container db")), None)
    assert (config.host, config.server_name) == ("172.18.0.5", "db.example.com")
    assert route == "172.18.0.5, container db"


def test_the_address_known_to_this_host_is_used(resolves: dict[str, str]) -> None:
    resolves["db.example.com"] = "192.0.2.1"
    config, route = login_check.route(settings(), FakeClients(), None)
    assert (config.host, route) == ("db.example.com", "")


def test_a_name_that_nothing_resolves_is_an_error(resolves: dict[str, str]) -> None:
    with pytest.raises(DatabaseError, match=r"Name or service not known; Docker has no container.*login_host"):
        login_check.route(settings(), FakeClients(), None)


def test_a_name_that_only_this_host_resolves_is_an_error(resolves: dict[str, str]) -> None:
    resolves["db.example.com"] = "192.0.2.1"
    for elsewhere in (None, "10.0.0.1"):
        with pytest.raises(DatabaseError, match="does not resolve in container wacore"):
            login_check.route(settings(), FakeClients(None), elsewhere)


def test_login_host_replaces_the_address(resolves: dict[str, str]) -> None:
    config, route = login_check.route(settings(login_host="10.0.0.1"), FakeClients(), "10.0.0.1")
    assert (config.host, config.server_name, route) == ("10.0.0.1", "db.example.com", "login_host 10.0.0.1")


@pytest.mark.parametrize(
    ("clients", "good"),
    [
        (FakeClients(), False),
        (FakeClients(("127.0.0.1", "extra_hosts")), False),
        (FakeClients(records=0), False),  # a Compose project has its own network
        (FakeClients(mode="host"), True),
        (FakeClients(records=0, project=False), True),  # it is unknown how the client will run
    ],
)
def test_a_loopback_address_is_refused_unless_the_client_uses_the_host_network(
    resolves: dict[str, str], clients: FakeClients, good: bool
) -> None:
    resolves["db.example.com"] = "127.0.1.1"
    if good:
        assert login_check.route(settings(), clients, None)[0].host == "db.example.com"
        return
    with pytest.raises(WaError, match="loopback address is the container itself"):
        login_check.route(settings(), clients, None)


def test_tls_is_off_if_the_client_does_not_use_it() -> None:
    with login_check.tls(settings(login_ca_cert="/h/ca.pem"), VALUES, FakeClients()) as config:
        assert (config.plain, config.ca_cert) == (True, None)


def test_certificates_are_read_from_the_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    clients = FakeClients(files={path: path.encode() for path in TLS.values()})
    with login_check.tls(settings(), {**VALUES, **TLS}, clients) as config:
        paths = [config.ca_cert, config.client_cert, config.client_key]
        assert [Path(str(path)).read_text() for path in paths] == list(TLS.values())
        assert {stat.S_IMODE(os.stat(str(path)).st_mode) for path in paths} == {0o600}
        assert (config.plain, config.verify_name) == (False, False)
    assert os.listdir(tmp_path) == []


def test_options_precede_the_files_of_the_containers() -> None:
    given = {"login_ca_cert": "/h/ca.pem", "login_client_cert": "/h/cert.pem", "login_client_key": "/h/key.pem"}
    with login_check.tls(settings(**given), {**VALUES, **TLS}, FakeClients()) as config:
        assert [config.ca_cert, config.client_cert, config.client_key] == list(given.values())
        assert config.verify_name


@pytest.mark.parametrize("key", list(TLS))
def test_a_certificate_missing_in_the_containers_is_an_error(
    tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    clients = FakeClients(files={path: b"" for name, path in TLS.items() if name != key})
    with pytest.raises(WaError, match=f"{key} {TLS[key]}: no such file in wacore.*login_"):
        login_check.tls(settings(), {**VALUES, **TLS}, clients).__enter__()
    assert os.listdir(tmp_path) == []


def test_before_the_first_start_certificates_are_not_read() -> None:
    with login_check.tls(settings(), {**VALUES, **TLS}, FakeClients(records=0)) as config:
        assert (config.plain, config.ca_cert, config.client_cert, config.client_key) == (False, None, None, None)


class Server:
    """Replaces `_database.check.check`. Raises the next error of the list, depending on whether TLS may be used."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, plain: list[WaError | None], secure: WaError | None) -> None:
        self.plain, self.secure = plain, secure
        self.tries: list[bool] = []
        monkeypatch.setattr(database_check, "check", self.check)
        monkeypatch.setattr(database, "connect", self.connect)
        monkeypatch.setattr(login_check.time, "sleep", lambda _seconds: None)  # type: ignore[attr-defined]

    def check(self, config: Settings, _values: t.Any, found: dict[str, t.Any], *_rest: t.Any) -> None:
        self.tries.append(config.plain)
        error = self.plain.pop(0) if config.plain else self.secure
        if error:
            raise error
        found["product"] = "MySQL"

    def connect(self, config: Settings, *_rest: t.Any, **_more: t.Any) -> Server:
        self.tries.append(config.plain)
        if self.secure:
            raise self.secure
        return self

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_error: object) -> None:
        return

    def is_encrypted(self) -> bool:
        return True


def error_of(kind: str, message: str = "Access denied for user 'wa'@'10.0.0.2' (1045)") -> DatabaseError:
    return DatabaseError("database MYSQL at db.example.com:3306", message, kind)


@pytest.fixture
def login(resolves: dict[str, str]) -> LoginCheck:
    resolves["db.example.com"] = "192.0.2.1"
    return LoginCheck(PARAMS, lambda _text: None)


def test_a_valid_login_returns_the_server_facts(login: LoginCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, [None], None)
    login(VALUES)
    assert server.tries == [True]
    assert login.found == {"product": "MySQL"}


def test_a_starting_server_is_waited_for(login: LoginCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, [error_of("starting"), error_of("starting"), None], None)
    login(VALUES)
    assert server.tries == [True] * 3


def test_a_failure_names_user_server_reason_and_fix(login: LoginCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    Server(monkeypatch, [error_of("login")], error_of("login"))
    with pytest.raises(WaError) as caught:
        login(VALUES)
    assert str(caught.value) == (
        "login of the client as user wa to the database MYSQL at db.example.com:3306: Access denied for user "
        "'wa'@'10.0.0.2' (1045). Nothing was written, and no container was touched. Compare user and password with the "
        "server's; the server may also refuse this user from this host, without TLS, or without a certificate of the client"
    )


@pytest.mark.parametrize("kind", ["login", "tls"])
def test_a_server_that_requires_tls_is_explained(login: LoginCheck, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    server = Server(monkeypatch, [error_of(kind)], None)
    with pytest.raises(WaError, match=r"takes this user with TLS only, and WA_DB_SSL_CA is not set.*wa_db_env_extra"):
        login(VALUES)
    assert server.tries == [True, False]


def test_a_missing_library_alone_is_no_failure(login: LoginCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, [error_of("driver", "PyMySQL needs cryptography")], None)
    login(VALUES)
    assert server.tries == [True, False]
    Server(monkeypatch, [error_of("driver", "PyMySQL needs cryptography")], error_of("driver", "still"))
    with pytest.raises(WaError, match="PyMySQL needs cryptography"):
        login(VALUES)
    Server(monkeypatch, [error_of("driver", "PyMySQL needs cryptography")], error_of("login"))
    with pytest.raises(WaError, match="Access denied"):
        login(VALUES)


def test_other_errors_are_not_retried(login: LoginCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, [error_of("unreachable", "not reachable: Connection refused")], None)
    with pytest.raises(WaError, match="Connection refused"):
        login(VALUES)
    assert server.tries == [True]
