# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real database servers in containers, of each product that the lab has, and a fake MySQL of any version."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
import time
import typing as t
import uuid
from dataclasses import dataclass
from pathlib import Path

import commands
import lab_images
from commands import docker
from engine import Engine

PORTS = {"mysql": 3306, "mariadb": 3306, "postgres": 5432}
ENGINES = {"mysql": "MYSQL", "mariadb": "MYSQL", "postgres": "PGSQL"}
CANARY = "Canary-53-Gc-Pw"  # the password of the client's user


@dataclass
class Server:
    """A running server at 127.0.0.1:`port`. `ca` is its self-signed certificate.

    `kind` is the product: mysql, mariadb or postgres.
    """

    kind: str
    container: str
    port: int
    ca: Path

    @property
    def engine(self) -> str:
        return ENGINES[self.kind]

    def sql(self, text: str, database: str = "") -> str:
        """Run statements as the administrator. Columns are separated by tabs (MySQL, MariaDB) or bars (PostgreSQL)."""
        if self.kind != "postgres":
            command = [self.kind, "--batch", "--skip-column-names", *([database] if database else [])]
            return docker("exec", "-i", self.container, *command, stdin=text)
        command = [
            "psql",
            "-qAt",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "/run/postgresql",
            *(["-d", database] if database else []),
        ]
        return docker("exec", "-i", "--user", "postgres", self.container, *command, stdin=text)

    def wait(self) -> None:
        """Wait up to a minute until the server answers; then raise."""
        end = time.monotonic() + 60
        while True:
            try:
                self.sql("SELECT 1;")
                return
            except AssertionError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)


@contextlib.contextmanager
def server(
    machine: str, folder: Path, files: t.Mapping[str, str] | None = None, options: t.Sequence[str] = ()
) -> t.Iterator[Server]:
    """Start a server of the lab (`mariadb`, `mysql-9.7`, ...) with TLS, and remove it at the end.

    `files` maps paths in the container to texts, which are written before its first start; `options` are those of `docker create`.
    """
    kind = machine.partition("-")[0]
    tls = folder / "tls"
    tls.mkdir(parents=True)
    names = "subjectAltName=DNS:db.test,IP:127.0.0.1"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=db.test"]
    made = ["-addext", names, "-keyout", str(tls / "server-key.pem"), "-out", str(tls / "server.pem")]
    commands.run(*make, *made)
    (tls / "ca.pem").write_bytes((tls / "server.pem").read_bytes())
    (tls / "server-key.pem").chmod(0o600)
    name = f"waba-test-{kind}-{uuid.uuid4().hex[:8]}"
    publish = ["--publish", f"127.0.0.1::{PORTS[kind]}"]
    docker("create", "--name", name, *publish, *options, lab_images.machine(machine))
    try:
        docker("cp", f"{tls}/.", f"{name}:/lab/tls")
        for number, (path, text) in enumerate((files or {}).items()):
            given = folder / f"file-{number}"
            given.write_text(text)
            given.chmod(0o644)
            docker("cp", str(given), f"{name}:{path}")
        docker("start", name)
        found = Server(kind, name, Engine().port(name, PORTS[kind]), tls / "ca.pem")
        found.wait()
        yield found
    finally:
        docker("rm", "--force", "--volumes", name)


def prepare(where: Server) -> None:
    """The client's database user, with what the vendor asks for."""
    if where.kind == "mariadb":
        rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP"
        where.sql(f"CREATE USER 'wa'@'%' IDENTIFIED BY '{CANARY}'; GRANT {rights} ON `%`.* TO 'wa'@'%';")
    else:
        where.sql(f"CREATE ROLE wa LOGIN CREATEDB PASSWORD '{CANARY}';")


@contextlib.contextmanager
def silent_server() -> t.Iterator[int]:
    """A port that accepts connections and never sends anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


@contextlib.contextmanager
def fake_mysql(version: str) -> t.Iterator[int]:
    """A server that greets as MySQL `version`, accepts every login and answers the statements of the connection check."""

    class Handler(socketserver.StreamRequestHandler):
        def send(self, number: int, body: bytes) -> None:
            self.wfile.write(struct.pack("<I", len(body))[:3] + bytes([number]) + body)
            self.wfile.flush()

        def receive(self) -> bytes:
            head = self.rfile.read(4)
            return self.rfile.read(int.from_bytes(head[:3], "little")) if len(head) == 4 else b""

        def error(self, code: int, text: str) -> None:
            self.send(1, b"\xff" + struct.pack("<H", code) + b"#42000" + text.encode())

        def answer(self, *rows: t.Sequence[str]) -> None:
            """Send a result set of texts."""
            packets = [bytes([len(rows[0]) if rows else 1])]
            for _column in rows[0] if rows else [""]:
                parts = b"".join(bytes([len(part)]) + part for part in (b"def", b"", b"", b"", b"c", b"c"))
                packets.append(parts + b"\x0c" + struct.pack("<HIBHBH", 45, 1024, 253, 0, 0, 0))
            packets.append(b"\xfe\0\0\2\0")
            packets += [b"".join(bytes([len(cell)]) + cell.encode() for cell in row) for row in rows]
            packets.append(b"\xfe\0\0\2\0")
            for number, packet in enumerate(packets, start=1):
                self.send(number, packet)

        def handle(self) -> None:
            # Protocol 4.1, transactions, secure connection, plugin authentication; no TLS.
            flags = 0x1 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x80000
            greeting = b"\x0a" + version.encode() + b"\0" + struct.pack("<I", 1) + b"12345678\0"
            greeting += struct.pack("<HBHH", flags & 0xFFFF, 45, 2, flags >> 16) + b"\x15" + b"\0" * 10
            greeting += b"123456789012\0mysql_native_password\0"
            self.send(0, greeting)
            self.receive()
            self.send(2, b"\0\0\0\2\0\0\0")
            while command := self.receive():
                text = command[1:].decode(errors="replace")
                if command[0] != 3:
                    return
                if text.endswith(" version()"):
                    self.answer([version])
                elif text.startswith("SELECT @@"):
                    self.answer(["0"])
                elif text.startswith("SHOW STATUS"):
                    self.answer(["Ssl_cipher", ""])
                elif "information_schema" in text:
                    self.answer()
                elif "wa_check_" in text:
                    self.error(1146, "Table doesn't exist")
                elif "max_statement_time" in text or (
                    "max_execution_time" in text and version.startswith(("5.1", "5.6"))
                ):
                    self.error(1193, "Unknown system variable")
                else:
                    self.send(1, b"\0\0\0\2\0\0\0")

    class Listener(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Listener(("127.0.0.1", 0), Handler) as listener:
        threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield listener.server_address[1]
        finally:
            listener.shutdown()
