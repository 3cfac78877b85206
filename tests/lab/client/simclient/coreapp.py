# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Coreapp program: ports for messages, contacts and control, a health-check port, and the node behind them."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable

from . import build as build_module
from . import gateway
from .errors import ApiError
from .faults import Faults
from .logs import CoreLogFile, Noise, leave_crash_log, stamp
from .node import Node
from .settings import Settings


class Server(ThreadingHTTPServer):
    """A small HTTP server whose threads never keep the program alive."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64


def control_server(address: tuple[str, int], node: Node) -> Server:
    """The internal protocol between Webapp and Coreapp: POST {"method", "params", "version"} -> {"result"} or {"error"}."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 30
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            if node.faults.on("coreapp_unreachable"):
                self.close_connection = True
                return
            try:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
                answer: dict[str, Any] = {"node": node.settings.node}
                answer["result"] = node.answer(body["method"], body.get("params") or {}, body.get("version", ""))
            except ApiError as exc:
                answer = {"node": node.settings.node, "error": {"code": exc.code, "details": exc.details}}
            except (KeyError, TypeError, ValueError) as exc:
                answer = {"node": node.settings.node, "error": {"code": 1000, "details": f"bad request: {exc}"}}
            _reply(self, 200, answer)

        def log_message(self, format: str, *args: Any) -> None:
            node.log("control " + format % args)

    return Server(address, Handler)


def health_server(address: tuple[str, int], node: Node) -> Server:
    """The health-check port: 200 while the process lives and its database answers, otherwise 503."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10
        disable_nagle_algorithm = True

        def handle(self) -> None:
            if node.settings.probe_log:
                node.log(f"health check: connection from {self.client_address[0]}")
            super().handle()

        def do_GET(self) -> None:
            status = node.gateway_status()
            _reply(self, 503 if node.faults.on("coreapp_unreachable") else 200, {"gateway_status": status})

        def log_message(self, format: str, *args: Any) -> None:
            return

    return Server(address, Handler)


def _reply(handler: BaseHTTPRequestHandler, status: int, answer: dict[str, Any]) -> None:
    data = json.dumps(answer).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def open_servers(node: Node) -> list[Server]:
    """Open the four ports and answer on them; the caller closes them."""
    settings = node.settings
    servers = [control_server((settings.listen_address, port), node) for port in settings.core_ports[:3]]
    servers.append(health_server((settings.listen_address, settings.core_ports[3]), node))
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="server", daemon=True).start()
    return servers


def reap() -> None:
    """As PID 1, collect processes that docker exec left behind."""
    if os.getpid() != 1:
        return
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def wait_for_end(stop: threading.Event, log: Callable[[str], None]) -> None:
    """Return when a signal or the program itself asks for the end."""

    def ask(number: int, _frame: Any) -> None:
        log(f"signal {signal.Signals(number).name}: stopping")
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    while not stop.wait(1.0):
        reap()


def main() -> int:
    """Run until told to stop. Exit codes: 0 stopped, 1 migration failed or schema too new."""
    settings = Settings.from_env()
    build = build_module.load()
    output = CoreLogFile(settings.core_log_dir, vendor=settings.vendor_logs)
    if settings.vendor_logs:
        leave_crash_log(settings.core_log_dir)

    def log(text: str) -> None:
        output.line(f"{stamp()} {settings.node} {text}")

    log(f"coreapp {build.version} starts as {settings.node}, engine {settings.database.engine}, user id {os.getuid()}")
    faults = Faults(settings)
    node = Node(settings, build, faults, log)
    faults.start(node.stop)
    if settings.upgrade_only:
        # SIGTERM ends the program at once, wherever the migration is, and with 0: the worst that a program may do.
        signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))
        return node.upgrade()
    gateway.start(settings)
    servers = open_servers(node)
    if settings.log_rate:
        Noise(output, settings.log_rate, node.stop).start()
    node.start()
    wait_for_end(node.stop, log)
    time.sleep(settings.drain_seconds)
    for server in servers:
        server.server_close()
    node.close()
    log("stopped")
    return 1 if node.fatal else 0
