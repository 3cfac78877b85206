# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A failed login to MySQL is always an error with a fix, never a traceback. The servers are scripted."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import typing as t
from dataclasses import replace
from pathlib import Path

import commands
import pymysql._auth
import pytest

from ansible_collections.waba.onprem.plugins.module_utils._database import connection as database
from ansible_collections.waba.onprem.plugins.module_utils._database import mysql
from ansible_collections.waba.onprem.plugins.module_utils._database.errors import DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._database.session import Settings

PASSWORD = "Canary-81-Pw"


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql, "GRACE", 0.0)


def packet(number: int, body: bytes) -> bytes:
    return struct.pack("<I", len(body))[:3] + bytes([number]) + body


# Protocol 4.1, transactions, secure connection, plugin authentication; no TLS.
_FLAGS = 0x1 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x80000
GREETING = packet(
    0,
    b"\x0a8.0.36\0\1\0\0\x0012345678\0"
    + struct.pack("<HBHH", _FLAGS & 0xFFFF, 45, 2, _FLAGS >> 16)
    + b"\x15"
    + b"\0" * 10
    + b"123456789012\0mysql_native_password\0",
)
KEY = b"-----BEGIN PUBLIC KEY-----\n"


def settings(port: int, **more: t.Any) -> Settings:
    """Settings for a port of this machine."""
    env = {
        "WA_DB_ENGINE": "MYSQL",
        "WA_DB_HOSTNAME": "127.0.0.1",
        "WA_DB_PORT": str(port),
        "WA_DB_USERNAME": "wa",
        "WA_DB_PASSWORD": PASSWORD,
    }
    return replace(database.settings({"connect_timeout": "2s"}, env), **more)


def failure(*answers: bytes, plain: bool = False, **more: t.Any) -> DatabaseError:
    """The error of connecting to a server that sends `answers[0]` at once, and one more for each packet of ours."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _address = listener.accept()
            with connection, contextlib.suppress(ConnectionError):
                connection.settimeout(2)
                for answer in answers:
                    connection.sendall(answer)
                    if not connection.recv(4096):
                        return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        config = settings(listener.getsockname()[1], plain=plain, **more)
        with pytest.raises(DatabaseError) as caught:
            database.connect(config, statement_timeout=0.2)
        # One that has not connected leaves a thread at a number that the next file or socket gets.
        socket.create_connection(listener.getsockname()).close()
        thread.join()
    assert PASSWORD not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("plugin", [b"caching_sha2_password", b"sha256_password"])
def test_a_login_method_that_needs_a_missing_library_is_explained(
    monkeypatch: pytest.MonkeyPatch, plugin: bytes
) -> None:
    monkeypatch.setattr(pymysql._auth, "_have_cryptography", False)
    switch = packet(2, b"\xfe" + plugin + b"\0" + b"x" * 20 + b"\0")
    full = [packet(4, b"\1\4")] if plugin.startswith(b"caching") else []
    error = failure(GREETING, switch, *full, packet(6 if full else 4, b"\1" + KEY), plain=True)
    assert error.kind == "driver"
    assert "python3-cryptography" in error.cure
    assert "TLS" in error.cure
    assert "user wa" in error.found


@pytest.mark.parametrize(
    "greeting",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        packet(0, b""),
        packet(0, b"\x0a"),
        packet(0, b"\x0a8.0.36\0\1\0"),
        packet(0, b"\xff"),
        packet(0, b"\x0a8.0.36\xff\xfe\0\1\0\0\x0012345678\0\0\0\xff"),
    ],
)
def test_a_server_with_another_protocol_is_an_error(greeting: bytes) -> None:
    failure(greeting, plain=True)


@pytest.mark.parametrize(
    ("version", "plain", "passed"),
    [((0, 9, 3), True, {}), ((0, 9, 3), False, {}), ((1, 0, 2), True, {"ssl_disabled": True}), ((1, 2, 4), False, {})],
)
def test_tls_is_disabled_only_with_drivers_that_support_it(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], plain: bool, passed: dict[str, bool]
) -> None:
    seen: dict[str, t.Any] = {}

    def connect(**options: t.Any) -> t.NoReturn:
        seen.update(options)
        raise TypeError("connect() got an unexpected keyword argument")

    monkeypatch.setattr(pymysql, "VERSION", version)
    monkeypatch.setattr(pymysql, "connect", connect)
    with pytest.raises(TypeError):  # not reported as another server's greeting
        database.connect(settings(1, plain=plain))
    assert (seen["ssl"] is None, {key: seen[key] for key in seen if key == "ssl_disabled"}) == (plain, passed)


def test_a_damaged_greeting_is_an_error() -> None:
    chance = random.Random(7)
    for _number in range(40):
        broken = bytearray(GREETING)
        for _times in range(chance.randint(1, 5)):
            broken[chance.randrange(3, len(broken))] = chance.randrange(256)
        failure(bytes(broken), packet(2, chance.randbytes(chance.randint(0, 12))), plain=True)


@pytest.mark.parametrize("plugin", [b"no_such_plugin", b"dialog", b"auth_gssapi_client"])
def test_an_unknown_login_method_is_an_error(plugin: bytes) -> None:
    error = failure(
        GREETING, packet(2, b"\xfe" + plugin + b"\0\4Password:"), packet(4, b"\xff\x15\x04#28000no"), plain=True
    )
    assert error.kind in ("login", "lost", "other")


@pytest.mark.parametrize("name", ["a" * 64, "db..example.com", "é" * 80])
@pytest.mark.parametrize("engine", ["MYSQL", "PGSQL"])
def test_an_invalid_host_name_is_an_error(engine: str, name: str) -> None:
    env = {"WA_DB_ENGINE": engine, "WA_DB_HOSTNAME": name, "WA_DB_USERNAME": "wa", "WA_DB_PASSWORD": PASSWORD}
    with pytest.raises(DatabaseError, match="does not resolve") as caught:
        database.connect(database.settings({}, env))
    assert caught.value.kind == "unknown_host"


def test_an_encrypted_client_key_does_not_prompt(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-passout",
        "pass:sesame",
        "-days",
        "2",
        "-subj",
        "/CN=wa",
    ]
    commands.run(*make, "-keyout", key, "-out", cert)
    error = failure(GREETING, client_cert=str(cert), client_key=str(key))
    assert error.kind == "tls"
    assert "certificate files not usable" in error.found


def test_a_certificate_without_a_key_is_an_error(tmp_path: Path) -> None:
    cert = tmp_path / "cert.pem"
    cert.write_text("no certificate")
    assert "certificate files not usable" in failure(GREETING, client_cert=str(cert)).found
