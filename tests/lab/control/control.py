# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's control service: fault switches for the simulated client, and a webhook that records what it receives.

GET /faults                    faults that are on: {"name": [{"prefix": ..., "node": ..., "value": ...}]}
PUT /faults/<name>             switch one on; JSON body, all optional: prefix (database prefix), node (host name), value
DELETE /faults/<name>          switch it off; with a body or query of prefix/node only that entry
DELETE /faults                 switch all off
POST /webhook                  200, and the body is recorded; 500 while the fault `webhook_500` is on
GET /webhook                   recorded bodies, as a JSON list of {"at": epoch seconds, "body": ...}
GET /webhook.jsonl             recorded bodies, one per line, as the consumer of a business would write them
DELETE /webhook                delete the recorded bodies
POST /gateway?client=&node=    the vendor's gateway: a Coreapp of a single client keeps the connection open and sends lines
GET /collisions                times at which two Coreapps of one single client were connected: [{"at", "client", "nodes"}]
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

LIMITS = ("prefix", "node")
ALIVE_SECONDS = 1.0  # a Coreapp sends a line three times in this time


class State:
    """Fault switches and received notifications, in a folder, so that a restart of the service keeps them."""

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, exist_ok=True)
        self._switches = os.path.join(folder, "faults.json")
        self._received = os.path.join(folder, "webhook.jsonl")
        self._collisions = os.path.join(folder, "collisions.jsonl")
        self._lock = threading.Lock()
        self.faults: dict[str, list[dict[str, Any]]] = {}
        try:
            with open(self._switches, encoding="utf-8") as stream:
                self.faults = json.load(stream)
        except (OSError, ValueError):
            self.faults = {}

    def _save(self) -> None:
        draft = self._switches + ".new"
        with open(draft, "w", encoding="utf-8") as stream:
            json.dump(self.faults, stream)
        os.replace(draft, self._switches)

    def on(self, name: str, entry: dict[str, Any]) -> None:
        """Switch a fault on; an entry with the same limits is replaced."""
        with self._lock:
            rest = [old for old in self.faults.get(name, []) if any(old[key] != entry[key] for key in LIMITS)]
            self.faults[name] = [*rest, entry]
            self._save()

    def off(self, name: str | None, limits: dict[str, Any]) -> None:
        """Switch off one entry of a fault, all of them, or all faults."""
        with self._lock:
            if name is None:
                self.faults = {}
            else:
                left = [
                    old
                    for old in self.faults.get(name, [])
                    if limits and any(old[key] != value for key, value in limits.items())
                ]
                self.faults = {key: value for key, value in {**self.faults, name: left}.items() if value}
            self._save()

    def receive(self, body: Any) -> None:
        """Record one notification."""
        self._append(self._received, {"body": body})

    def received(self) -> list[dict[str, Any]]:
        """The recorded notifications, oldest first."""
        return self._rows(self._received)

    def collide(self, client: str, nodes: list[str]) -> None:
        """Record that two Coreapps of one single client were connected at the same time."""
        self._append(self._collisions, {"client": client, "nodes": nodes})

    def collisions(self) -> list[dict[str, Any]]:
        """All recorded collisions, oldest first."""
        return self._rows(self._collisions)

    def _append(self, path: str, row: dict[str, Any]) -> None:
        with self._lock, open(path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"at": time.time(), **row}) + "\n")

    def _rows(self, path: str) -> list[dict[str, Any]]:
        with self._lock:
            try:
                with open(path, encoding="utf-8") as stream:
                    return [json.loads(line) for line in stream]
            except FileNotFoundError:
                return []

    def forget(self) -> None:
        """Delete all recorded notifications."""
        with self._lock, contextlib.suppress(FileNotFoundError):
            os.unlink(self._received)


class Gateway:
    """The vendor's gateway for single clients: two simultaneous Coreapps of one client get its number banned (domain.md 10)."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._heard: dict[tuple[str, str], float] = {}  # (client, node) -> time of its last line

    def hear(self, client: str, node: str) -> None:
        """Record a line of a Coreapp, and a collision with each other connected Coreapp of the same client."""
        now = time.monotonic()
        with self._lock:
            self._heard[client, node] = now
            others = [
                other
                for (its, other), heard in self._heard.items()
                if its == client and other != node and now - heard < ALIVE_SECONDS
            ]
        for other in others:
            self._state.collide(client, sorted((node, other)))

    def forget(self, client: str, node: str) -> None:
        """Record the end of a Coreapp's connection."""
        with self._lock:
            self._heard.pop((client, node), None)


def make_server(address: tuple[str, int], state: State) -> ThreadingHTTPServer:
    """The HTTP server; the caller runs it."""
    gateway = Gateway(state)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = 30

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _answer(self, status: int, payload: Any, text: str | None = None) -> None:
            data = (json.dumps(payload) if text is None else text).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if text is None else "text/plain")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _options(self) -> dict[str, Any]:
            """Limits and value, from the JSON body or the query."""
            raw = self._body()
            found: dict[str, Any] = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
            if raw.strip():
                found.update(json.loads(raw))
            return {key: value for key, value in found.items() if value is not None}

        def _any(self) -> None:
            path = urlsplit(self.path).path.rstrip("/")
            head, _slash, name = path.removeprefix("/faults").partition("/")
            try:
                if path == "/faults" and self.command == "GET":
                    self._body()
                    self._answer(200, state.faults)
                elif path == "/faults" and self.command == "DELETE":
                    self._body()
                    state.off(None, {})
                    self._answer(200, state.faults)
                elif path.startswith("/faults/") and not head and name and self.command == "PUT":
                    given = self._options()
                    state.on(
                        name, {"prefix": given.get("prefix"), "node": given.get("node"), "value": given.get("value")}
                    )
                    self._answer(200, state.faults)
                elif path.startswith("/faults/") and not head and name and self.command == "DELETE":
                    given = self._options()
                    state.off(name, {key: given[key] for key in LIMITS if key in given})
                    self._answer(200, state.faults)
                elif path in ("/webhook", "/webhook.jsonl"):
                    self._webhook(path)
                elif path == "/gateway" and self.command == "POST":
                    self._hold()
                elif path == "/collisions" and self.command == "GET":
                    self._body()
                    self._answer(200, state.collisions())
                else:
                    self._body()
                    self._answer(404, {"error": f"unknown: {self.command} {path}"})
            except (KeyError, ValueError, TypeError, AttributeError) as exc:
                self._answer(400, {"error": f"bad request: {exc}"})

        def _hold(self) -> None:
            """Keep a Coreapp's connection open until it ends; the kernel closes it when the program ends or is killed."""
            given = self._options()
            client, node = given["client"], given["node"]
            self.close_connection = True
            self.connection.settimeout(None)
            try:
                while self.rfile.readline():
                    gateway.hear(client, node)
            except OSError:
                pass
            finally:
                gateway.forget(client, node)

        def _webhook(self, path: str) -> None:
            raw = self._body()
            if self.command == "POST":
                if "webhook_500" in state.faults:
                    self._answer(500, {"error": "the webhook is out of order"})
                    return
                try:
                    body = json.loads(raw)
                except ValueError:
                    body = {"not_json": raw.decode("utf-8", "replace")}
                state.receive(body)
                self._answer(200, {})
            elif self.command == "DELETE":
                state.forget()
                self._answer(200, {})
            elif path == "/webhook":
                self._answer(200, state.received())
            else:
                self._answer(200, None, "".join(json.dumps(item["body"]) + "\n" for item in state.received()))

        do_GET = do_PUT = do_POST = do_DELETE = _any

        def log_message(self, format: str, *args: Any) -> None:
            # The client polls once per second: only changes and notifications are logged.
            if self.command != "GET":
                sys.stderr.write(f"{self.client_address[0]} {format % args}\n")

    server = ThreadingHTTPServer(address, Handler)
    server.daemon_threads = True
    return server


def main() -> int:
    """Serve until killed; CONTROL_PORT and CONTROL_STATE configure port and folder."""
    import signal

    server = make_server(
        ("0.0.0.0", int(os.environ.get("CONTROL_PORT") or 8000)),
        State(os.environ.get("CONTROL_STATE") or "/var/lib/control"),
    )
    # As PID 1 a process has no default action for SIGTERM.
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))
    server.serve_forever(poll_interval=0.5)
    return 0


if __name__ == "__main__":
    sys.exit(main())
