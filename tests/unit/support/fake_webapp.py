# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake Webapp on a real socket: it returns scripted answers and records every request."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import commands

Reply = tuple[int, t.Any]
META = {"version": "v2.53.4", "api_status": "stable"}


def error(status: int, code: int, title: str = "", details: str = "") -> Reply:
    """An error answer of the client."""
    return status, {"meta": META, "errors": [{"code": code, "title": title, "details": details}]}


class FakeWebapp:
    """`replies[(method, path)]` is a list of answers. Each is used once, the last one repeatedly.

    An answer is (status, body), `"close"` (the connection ends without one) or a function that returns one. The login
    accepts `passwords`. While `fresh`, the first login is required.
    """

    def __init__(self, tls: tuple[Path, Path] | None = None) -> None:
        self.requests: list[tuple[str, str, t.Any]] = []
        self.replies: dict[tuple[str, str], list[t.Any]] = {}
        self.passwords = {"admin": "Right-1234"}
        self.fresh = False
        self.locked = False
        self.unauthorised = 401  # the status without a token
        self.logins = 0
        self.tokens: set[str] = set()
        self.keys: set[str] = set()  # accepted for what monitoring asks
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Close the listening socket."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def paths(self) -> list[str]:
        """The requests so far as `METHOD /path`."""
        return [f"{method} {path}" for method, path, _body in self.requests]

    def on(self, method: str, path: str, *replies: t.Any) -> None:
        """Answer a request with these replies, in order."""
        self.replies[(method, path)] = list(replies)

    def answer(self, method: str, path: str, body: t.Any, authorization: str) -> t.Any:
        """The answer to one request."""
        with self.lock:
            self.requests.append((method, path, body))
            if path == "/v1/users/login":
                scripted = self.replies.get((method, path))
                return self._next(scripted) if scripted else self._login(body, authorization)
            if authorization.partition(" ")[2] not in self.tokens | (
                self.keys if path in ("/v1/health", "/v1/stats/app") else set()
            ):
                return self.unauthorised, None
            if path == "/v1/users/logout":
                self.tokens.discard(authorization.partition(" ")[2])
                return 200, {}
            scripted = self.replies.get((method, path))
            return self._next(scripted) if scripted else error(404, 1006, "Not found")

    @staticmethod
    def _next(scripted: list[t.Any]) -> t.Any:
        reply = scripted[0] if len(scripted) == 1 else scripted.pop(0)
        return reply() if callable(reply) else reply

    def _login(self, body: t.Any, authorization: str) -> Reply:
        self.logins += 1
        user, _colon, password = base64.b64decode(authorization.partition(" ")[2]).decode().partition(":")
        if self.locked:
            return error(403, 1031, "Account locked")
        if self.fresh and (user, password) == ("admin", "secret"):
            if not (body or {}).get("new_password"):
                return error(400, 1008, "Required parameter is missing", "new_password is required")
            self.passwords[user], self.fresh = body["new_password"], False
        elif self.fresh or self.passwords.get(user) != password:
            return 401, None
        token = f"token-{self.logins}"
        self.tokens.add(token)
        return 200, {"users": [{"token": token, "expires_after": "2031-09-14 15:29:26+00:00"}], "meta": META}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = json.loads(raw) if raw else None
                reply = fake.answer(self.command, self.path, body, self.headers.get("Authorization") or "")
                if reply == "close":
                    self.close_connection = True
                    self.connection.close()
                    return
                status, answer_body = reply
                data = b"" if answer_body is None else json.dumps(answer_body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_PATCH = handle_any

            def log_message(self, format: str, *args: t.Any) -> None:
                """Log nothing; tests read `requests`."""

        return Handler


def certificate(folder: Path, name: str = "cert", subject: str = "IP:127.0.0.1", days: int = 2) -> tuple[Path, Path]:
    """Create a self-signed certificate and its key; with negative `days` it has expired (openssl 3)."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-subj", "/CN=fake", "-addext", f"subjectAltName={subject}", "-keyout", str(key), "-out", str(cert)]
    argv += ["-days", str(days)] if days > 0 else ["-not_before", "20200101000000Z", "-not_after", "20200102000000Z"]
    commands.run(*argv)
    return cert, key
