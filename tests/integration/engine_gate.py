# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A way to the Docker Engine that a test can cut, as if the engine had gone away, without disturbing anybody else."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from pathlib import Path


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


class _Passage(socketserver.BaseRequestHandler):
    server: EngineGate

    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect("/var/run/docker.sock")
            self.server.passing += [self.request, engine]
            back = threading.Thread(target=_pump, args=(engine, self.request), daemon=True)
            back.start()
            _pump(self.request, engine)
            back.join()


class EngineGate(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Listens at `path` and passes everything on to the engine, until `cut`."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _Passage)
        self.host = f"unix://{path}"
        self.passing: list[socket.socket] = []
        self._path = path
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def cut(self) -> None:
        """End all connections; nobody gets through any more."""
        self.shutdown()
        self.server_close()
        self._path.unlink()
        for connection in self.passing:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
