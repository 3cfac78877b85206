# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Webapp program: the HTTPS API in front of the Coreapps."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from . import build as build_module
from . import media
from .api import Answer, Api, Request, Route
from .auth import Accounts, Caller
from .build import Build
from .certificates import Certificates
from .coreapp import wait_for_end
from .corelink import CoreLink
from .database import Database, DatabaseError, NoSuchDatabase
from .errors import ApiError, odd
from .faults import Faults
from .logs import LogFile, Noise, stamp
from .ratelimit import Bucket
from .schema import store
from .settings import Settings

MAX_BODY = 100 * 1000 * 1000
MAX_AT_ONCE = 100
HANDSHAKE_SECONDS = 10


def own_jwt_key(data_dir: str) -> str:
    """The key of a Webapp that was given none: its own, lost with the container."""
    path = os.path.join(data_dir, "jwt.key")
    try:
        with open(path, encoding="ascii") as stream:
            return stream.read()
    except OSError:
        pass
    key = secrets.token_hex(32)
    try:
        os.makedirs(data_dir, exist_ok=True)
        with open(path, "w", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
            stream.write(key)
    except OSError:
        pass
    return key


class Webapp:
    """One Webapp process."""

    def __init__(self, settings: Settings, build: Build, database: Database | None = None) -> None:
        self.settings = settings
        self.build = build
        self.stop = threading.Event()
        self.web_log = LogFile(settings.web_log_dir, "web.log")
        self.access_log = LogFile(settings.web_log_dir, "access.log")
        self.error_log = LogFile(settings.error_log_dir or settings.web_log_dir, "error.log")
        self.faults = Faults(settings)
        self.database = database or Database(
            settings.database,
            blocked=lambda: self.faults.on("dead_database"),
            pooled=settings.database.persistent,
        )
        key = settings.jwt_key or own_jwt_key(settings.data_dir)
        self.accounts = Accounts(
            self.database,
            key,
            settings.lock_after,
            settings.lock_seconds,
            odd_answers=settings.odd_login,
            login_rows=settings.login_rows,
        )
        self.certificates = Certificates(settings.hostname, settings.certificate_names, settings.common_name_only)
        self.core = CoreLink(settings, self.build.version, self.database)
        self.api = Api(settings, self.build, self.faults, self.database, self.accounts, self.core, self.certificates)
        self.all_requests = Bucket(20, 60)
        self.message_requests = Bucket(50, 150)
        self.slots = threading.BoundedSemaphore(MAX_AT_ONCE)
        self.broken = "not connected to the database yet"

    def log(self, text: str) -> None:
        """A line of web.log."""
        self.web_log.line(f"{stamp()} [INFO] {text}")

    def complain(self, text: str) -> None:
        """A line of error.log."""
        self.error_log.line(f"{stamp()} [ERROR] {text}")

    # -- start -----------------------------------------------------------------------------------------------------

    def open(self) -> HttpsServer:
        """Start to answer; with errors until the database is there. The caller closes."""
        s = self.settings
        self.log(f"web {self.build.version} starts as {s.node}, engine {s.database.engine}, user id {os.getuid()}")
        self.faults.start(self.stop)
        self.certificates.from_file(os.path.join(s.data_dir, "certs", "ca.pem"))
        server = HttpsServer((s.listen_address, s.web_port), self)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()
        threading.Thread(target=self._connect, daemon=True).start()
        if s.log_rate:
            Noise(self.web_log, s.log_rate, self.stop).start()
        if not media.prepare(s.media_dir):
            self.complain(f"media directory {s.media_dir} cannot be written by this user")
        return server

    def serve(self) -> None:
        """Run until told to stop."""
        server = self.open()
        wait_for_end(self.stop, self.log)
        time.sleep(self.settings.drain_seconds)
        self.close(server)

    def close(self, server: HttpsServer) -> None:
        """Let go of the port and of the connections to the database."""
        self.stop.set()
        server.server_close()
        self.database.close_idle(all_of_them=True)
        self.log("stopped")

    def _connect(self) -> None:
        """Wait for the web store, check its version, share the CA; then let idle connections go now and then."""
        while not self.stop.is_set():
            reason = self._try_connect()
            if reason != self.broken:
                self.broken = reason
                if reason:
                    self.complain(reason)
                else:
                    self.log("connected to the database")
            self.database.close_idle()
            self.stop.wait(5.0 if not reason else 0.3)

    def _try_connect(self) -> str:
        """Why the Webapp cannot work, or an empty text."""
        try:
            with self.database.session(store("web")) as session:
                version = int(session.value("SELECT version FROM schema_version WHERE id = 1") or 0)
            if version > self.build.schema:
                return f"database schema {version} is newer than this build's {self.build.schema}"
            if version < self.build.schema:
                return f"database schema {version} waits for its migration to {self.build.schema}"
            if self.settings.config_on_db and self.broken:
                self.certificates.from_database(self.database)
        except DatabaseError as exc:
            return f"database: {exc}"
        return ""

    # -- requests --------------------------------------------------------------------------------------------------

    def meta(self) -> dict[str, str]:
        """The `meta` object: the version with a leading v, or without it by a fault."""
        mark = "" if self.faults.on("version_without_v") else "v"
        return {"api_status": "stable", "version": f"{mark}{self.build.version}"}

    def caller(self, request: Request, route: Route) -> Caller:
        """Who asks, when he may. Raises ApiError 401 or 1005."""
        if self.faults.on("api_401_empty"):
            raise ApiError(1005, status=401, empty=True)
        scheme, _space, value = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "apikey" and route.who == "monitor" and self._right_key(value.strip()):
            return Caller("", "MONITOR")
        found = self.accounts.caller(value.strip()) if scheme.lower() == "bearer" else None
        if (
            found
            and self.faults.on("token_expires")
            and time.time() - found.issued > self.faults.value("token_expires", 3.0)
        ):
            found = None
        if found is None:
            raise ApiError(1005, "Authorization is missing, wrong or expired", status=401)
        if route.who == "admin" and not found.admin:
            raise ApiError(1005, "This needs an administrator")
        return found

    def _right_key(self, value: str) -> bool:
        key = self.settings.api_key
        return 12 <= len(key) <= 128 and secrets.compare_digest(value.encode(), key.encode())

    def answer(self, request: Request) -> Answer:
        """Answer one request. Raises ApiError for all that goes wrong."""
        if self.faults.on("slow_answers"):
            self.stop.wait(self.faults.value("slow_answers", 10.0))
        if self.faults.on("api_503"):
            raise ApiError(1016, "The service is overloaded", status=503)
        is_message = request.path.startswith("/v1/messages") and request.method == "POST"
        bucket = self.message_requests if is_message else self.all_requests
        if self.faults.on("api_429") or not bucket.take():
            raise ApiError(1015, "Too many requests, slow down")
        if self.build.expired() or self.faults.on("expired"):
            raise ApiError(1005, "This version of the client has expired, please upgrade")
        route, groups = self.api.find(request.method, request.path)
        try:
            if route.who != "public":
                request.caller = self.caller(request, route)
            found = route.handler(request, *groups)
        except NoSuchDatabase as exc:
            self.complain(f"{request.method} {request.path}: {exc}")
            raise ApiError(1011, "The database is not set up yet, try again later") from None
        except DatabaseError as exc:
            self.complain(f"{request.method} {request.path}: {exc}")
            raise ApiError(1014, f"Database error: {exc}") from None
        return found

    def respond(self, request: Request) -> tuple[int, bytes, str]:
        """Status, body and content type of the answer to a request."""
        if not self.slots.acquire(blocking=False):
            return self._error(ApiError(1016, "The service is overloaded", status=503))
        try:
            answer = self.answer(request)
        except ApiError as exc:
            return self._error(exc)
        except Exception as exc:  # noqa: BLE001 - a defect must show as an answer and in the log, not as a lost connection
            self.complain(f"{request.method} {request.path}: {type(exc).__name__}: {exc}")
            return self._error(ApiError(1000, type(exc).__name__))
        finally:
            self.slots.release()
        if answer.raw is not None:
            return answer.status, answer.raw, answer.content_type
        return answer.status, json.dumps({**answer.payload, "meta": self.meta()}).encode(), answer.content_type

    def _error(self, exc: ApiError) -> tuple[int, bytes, str]:
        if self.settings.odd_codes:
            exc = odd(exc)
        if exc.empty:
            return exc.status, b"", "application/json"
        return exc.status, json.dumps({"meta": self.meta(), "errors": [exc.as_dict()]}).encode(), "application/json"


class HttpsServer(ThreadingHTTPServer):
    """TLS is spoken in each connection's own thread: a slow client stops nobody else."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], app: Webapp) -> None:
        self.app = app
        super().__init__(address, handler_for(app))

    def finish_request(self, request: Any, client_address: Any) -> None:
        faults = self.app.faults
        name = next((fault for fault in ("tls_expired", "tls_wrong_name") if faults.on(fault)), "")
        request.settimeout(HANDSHAKE_SECONDS)
        try:
            secure = self.app.certificates.context(name).wrap_socket(request, server_side=True)
        except (OSError, ssl.SSLError) as exc:
            self.app.complain(
                f"TLS handshake with {client_address[0]}: {getattr(exc, 'reason', None) or type(exc).__name__}"
            )
            return
        try:
            super().finish_request(secure, client_address)
        finally:
            with contextlib.suppress(OSError):
                secure.shutdown(socket.SHUT_RDWR)
            secure.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        exc = sys.exc_info()[1]
        if not isinstance(exc, OSError):
            self.app.complain(f"request from {client_address[0]}: {type(exc).__name__}: {exc}")


def handler_for(app: Webapp) -> type[BaseHTTPRequestHandler]:
    """The request handler of one Webapp."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        server_version = "nginx"
        sys_version = ""
        timeout = 30

        def _any(self) -> None:
            started = time.monotonic()
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            length = int(headers.get("content-length", "0") or "0")
            if length > MAX_BODY:
                self.close_connection = True
                length = 0
            request = Request(
                self.command,
                unquote(parts.path).rstrip("/") or "/",
                headers,
                self.rfile.read(length),
                dict(parse_qsl(parts.query)),
            )
            status, body, kind = app.respond(request)
            key = (f"{self.command} {parts.path}" if status != 404 else "unknown", status)
            app.api.counts[key] = app.api.counts.get(key, 0) + 1
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            millis = int((time.monotonic() - started) * 1000)
            agent = headers.get("user-agent", "-")
            app.access_log.line(
                f'{self.client_address[0]} - - [{stamp()}] "{self.command} {parts.path} HTTP/1.1" {status} {len(body)} "{agent}" {millis}ms'
            )
            app.log(f"{self.command} {parts.path} -> {status} in {millis} ms")

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any

        def log_message(self, format: str, *args: Any) -> None:
            return

    return Handler


def main() -> int:
    """Run until told to stop. Exit code 0."""
    Webapp(Settings.from_env(), build_module.load()).serve()
    return 0
