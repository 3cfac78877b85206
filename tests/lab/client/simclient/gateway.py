# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to the vendor's servers, as far as the lab needs it: they see when a single client runs twice."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from urllib.parse import quote, urlsplit

from .settings import Settings

BEAT_SECONDS = 0.3
RETRY_SECONDS = 0.5


def client(settings: Settings) -> str:
    """Which client this is: its database server and prefix."""
    database = settings.database
    return f"{database.hostname}:{database.port}/{database.prefix}"


def start(settings: Settings) -> None:
    """Stay connected in a thread until the program ends, drained or killed. Nodes of a cluster may be many: not they."""
    if settings.control_url and not settings.multiconnect:
        threading.Thread(target=_stay, args=(settings,), name="gateway", daemon=True).start()


def _stay(settings: Settings) -> None:
    while True:
        with contextlib.suppress(OSError):
            _hold(settings)
        time.sleep(RETRY_SECONDS)


def _hold(settings: Settings) -> None:
    url = urlsplit(settings.control_url)
    query = f"client={quote(client(settings), safe='')}&node={quote(settings.node, safe='')}"
    with socket.create_connection((url.hostname, url.port or 80), timeout=5) as connection:
        connection.sendall(f"POST /gateway?{query} HTTP/1.1\r\nHost: {url.hostname}\r\n\r\n".encode())
        while True:
            connection.sendall(b"\n")
            time.sleep(BEAT_SECONDS)
