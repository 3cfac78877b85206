# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A complete simulated client in this process: real sockets, real TLS, a database without a server."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from control import State, make_server
from simclient.build import Build
from simclient.coreapp import open_servers
from simclient.faults import Faults
from simclient.node import Node
from simclient.settings import Settings
from simclient.webapp import Webapp
from simclient_db import FakeDatabase, FakeServer

PASSWORD = "Canary-Api-1"
API_KEY = "monitor-key-123456"


def free_ports(count: int) -> tuple[int, ...]:
    """Free ports on 127.0.0.1."""
    sockets = [socket.socket() for _number in range(count)]
    for found in sockets:
        found.bind(("127.0.0.1", 0))
    ports = tuple(found.getsockname()[1] for found in sockets)
    for found in sockets:
        found.close()
    return ports


def shut(*servers: socketserver.BaseServer) -> None:
    """Stop servers that run in threads, all in parallel, and close their ports."""
    stopping = [threading.Thread(target=server.shutdown) for server in servers]
    for thread in stopping:
        thread.start()
    for thread, server in zip(stopping, servers):
        thread.join()
        server.server_close()


class Control:
    """The lab's control service, and helpers for tests."""

    def __init__(self, folder: Path) -> None:
        self.state = State(str(folder))
        self.server = make_server(("127.0.0.1", 0), self.state)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def bodies(self) -> list[dict[str, Any]]:
        """The notifications received by the webhook."""
        return [item["body"] for item in self.state.received()]


class Deployment:
    """Coreapps and one Webapp over one database. Faults are switched in memory and take effect at once."""

    def __init__(self, folder: Path, version: str = "2.51.2", **knobs: Any) -> None:
        self.folder = folder
        self.version = version
        self.knobs = knobs
        self.server = FakeServer(folder / "db")
        for name in ("corelog", "data"):
            (folder / name).mkdir()
        self.control = Control(folder / "control")
        self.nodes: dict[str, Node] = {}
        self.ports: dict[str, tuple[int, ...]] = {}
        self.closers: list[Callable[[], None]] = []
        self.lines: list[str] = []
        self.token = ""
        self.web: Webapp | None = None
        self.address: tuple[str, int] = ("127.0.0.1", 0)
        self._faults: list[Faults] = []

    def database(self) -> FakeDatabase:
        """A new connection to the deployment's databases."""
        return FakeDatabase(self.server)

    def settings(self, **more: Any) -> Settings:
        """Settings for one program of this deployment."""
        defaults: dict[str, Any] = {
            "database": self.database().settings,
            "config_on_db": True,
            "listen_address": "127.0.0.1",
            "data_dir": str(self.folder / "data"),
            "media_dir": str(self.folder / "media"),
            "web_log_dir": str(self.folder / "weblog"),
            "core_log_dir": str(self.folder / "corelog"),
            "api_key": API_KEY,
            "jwt_key": "key",
            "connect_seconds": 0.0,
            "drain_seconds": 0.0,
            "gc_pause": 0.0,
            "core_timeout": 2.0,
            "web_port": 0,
        }
        return replace(Settings(database=defaults.pop("database")), **{**defaults, **self.knobs, **more})

    def core(self, hostname: str = "wacore", version: str = "", start: bool = True, **more: Any) -> Node:
        """Start a Coreapp or master."""
        ports = self.ports.setdefault(hostname, free_ports(4))
        container = f"{abs(hash((hostname, time.monotonic()))) % 16**12:012x}"
        settings = self.settings(hostname=hostname, container=container, core_ports=ports, external_ports=ports, **more)
        if settings.multiconnect:
            settings = replace(settings, hostname=hostname)
        faults = Faults(settings)
        self._faults.append(faults)
        node = Node(settings, Build(version or self.version), faults, self.lines.append, self.database())
        node.database._blocked = lambda: faults.on("dead_database")
        if start:
            servers = open_servers(node)
            node.start()

            def close() -> None:
                shut(*servers)
                node.close()

            self.closers.append(close)
            node.close_all = close  # type: ignore[attr-defined]  # so that a test can stop one node
        self.nodes[hostname] = node
        return node

    def start_web(self, version: str = "", core: str = "wacore", **more: Any) -> Webapp:
        """Start the Webapp."""
        ports = self.ports.get(core, (1, 2, 3, 4))
        settings = self.settings(hostname="localhost", wacore_hostname="127.0.0.1", core_ports=ports, **more)
        web = Webapp(settings, Build(version or self.version), self.database())
        self._faults.append(web.faults)
        web.database._blocked = lambda: web.faults.on("dead_database")
        server = web.open()
        self.address = ("127.0.0.1", server.server_address[1])
        self.web = web

        def close() -> None:
            shut(server)
            web.close(server)

        self.closers.append(close)
        return web

    def fault(self, name: str, on: bool = True, **entry: Any) -> None:
        """Switch a fault on or off in every program of this deployment."""
        for faults in self._faults:
            if on:
                faults._fixed.setdefault(name, []).append(entry)
            else:
                faults._fixed.pop(name, None)

    def call(
        self, method: str, path: str, body: Any = None, auth: str | None = None, raw: bytes | None = None
    ) -> tuple[int, Any]:
        """Send one request, and return the HTTP status and the JSON answer (None if the body is empty)."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(*self.address, context=context, timeout=20)
        headers = {"Authorization": f"Bearer {self.token}" if auth is None else auth}
        data = raw if raw is not None else json.dumps(body) if body is not None else None
        try:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(text) if text else None

    def login(self, password: str = PASSWORD, new: str | None = None) -> tuple[int, Any]:
        """Log in as admin, and keep the token of a successful login."""
        basic = "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()
        status, answer = self.call("POST", "/v1/users/login", {"new_password": new} if new else None, basic)
        if status == 200:
            self.token = answer["users"][0]["token"]
        return status, answer

    def health(self) -> Any:
        """The health object, requested with the API key."""
        return self.call("GET", "/v1/health", auth=f"Apikey {API_KEY}")[1].get("health")

    def fill(self, rows: int) -> None:
        """Insert rows like the seeder: of 20, 11 outbound and done, 6 inbound and read, 2 unread, 1 of today."""
        from simclient.schema import last_rewrite

        old = int(time.time()) - 200000
        attribute = f"attr_{last_rewrite(int(self.version.split('.')[1]))}"
        values = []
        for number in range(rows):
            slot = number % 20
            direction = 1 if slot < 11 or slot == 19 else 0
            status = ["delivered", "read", "unread", "sent"][(slot >= 5) + (slot >= 17) + (slot >= 19)]
            values.append((f"id{number}", direction, status, old if slot < 19 else old + 199990))
        with self.database().session("messageStore") as session:
            session.raw.raw.executemany(
                "INSERT INTO messages (message_id, direction, chat, type, status, payload, created_at, updated_at, "
                f"{attribute}) VALUES (?, ?, '1555', 'text', ?, 'x', ?, 0, 0)",
                values,
            )

    def count(self) -> int:
        """Number of rows in messages."""
        with self.database().session("messageStore") as session:
            return int(session.value("SELECT COUNT(*) FROM messages"))

    def close(self) -> None:
        """Stop all programs."""
        closing = [threading.Thread(target=closer) for closer in (*self.closers, lambda: shut(self.control.server))]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()
