# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks that a server in a container is ready."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

SECONDS = 90.0  # at most, for any server of a lab


def answers(url: str) -> bool:
    """Whether an HTTP server answers; a connection alone proves nothing, since Docker's proxy accepts it earlier."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        return error.code == 401  # a registry that requires a login
    except (OSError, urllib.error.URLError):
        return False


def has_ssh_banner(port: int) -> bool:
    """Whether an SSH server sends its banner; a connection alone proves nothing, since Docker's proxy accepts it earlier."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
