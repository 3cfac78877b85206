# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A relay in front of a server: delayed answers, cut connections, a server that moves."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
import typing as t
from pathlib import Path


class Relay:
    """Listens on a port of 127.0.0.1 or on the socket at `path`, and relays everything, decrypted with `tls`.

    `connect` opens the other end for each connection. While `delay` is set, answers are delayed by that many seconds.
    """

    def __init__(
        self,
        connect: t.Callable[[], socket.socket],
        path: Path | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.connect, self.path, self.tls = connect, path, tls
        self.delay = 0.0
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(str(path))
            self.listener.listen()
        else:
            self.listener = socket.create_server(("127.0.0.1", 0))
            self.port: int = self.listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _address = self.listener.accept()
                threading.Thread(target=self._pass_on, args=(near,), daemon=True).start()

    def _pass_on(self, near: socket.socket) -> None:
        try:
            far = self.connect()
        except OSError:
            near.close()
            return
        try:
            near = self.tls.wrap_socket(near, server_side=True) if self.tls else near
        except OSError:
            far.close()
            return
        self._ends += [near, far]
        answers = threading.Thread(target=self._copy, args=(far, near, True), daemon=True)
        answers.start()
        self._copy(near, far, False)
        answers.join()
        for end in (near, far):
            self._ends.remove(end)
            end.close()

    def _copy(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if answers and self.delay:
                    time.sleep(self.delay)
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """End all connections and accept no new ones."""
        for end in (self.listener, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes a blocked reader, which closing does not
        self.listener.close()
        if self.path:
            self.path.unlink()


def unix_socket(path: str) -> socket.socket:
    """Connect to the socket at `path`."""
    found = socket.socket(socket.AF_UNIX)
    found.connect(path)
    return found
