# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads from a Docker Engine at its Unix socket with what Python brings: the library takes longer to load than to ask."""

from __future__ import annotations

import http.client
import json
import socket
import typing as t
from urllib.parse import quote, urlencode


class Refused(Exception):
    """What the engine answers instead; the text is its own words."""


class NotFound(Refused):
    """The thing that was asked for is not there."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class SocketReader:
    """The reading half of the library's `APIClient`, by the same names. Raises Refused, OSError and HTTPException."""

    def __init__(self, path: str, version: str, timeout: float) -> None:
        """`version` is one of the API, or `auto` for the engine's own, which is asked for here."""
        self._path, self._timeout, self._prefix = path, timeout, ""
        self._prefix = f"/v{self._get('/version')['ApiVersion'] if version == 'auto' else version}"

    def containers(self, all: bool = False) -> t.Any:  # the library's name for it
        return self._get(f"/containers/json?{urlencode({'all': int(all)})}")

    def inspect_container(self, name: str) -> t.Any:
        return self._get(f"/containers/{quote(name, safe='')}/json")

    def inspect_image(self, name: str) -> t.Any:
        return self._get(f"/images/{quote(name, safe='/:@')}/json")

    def inspect_volume(self, name: str) -> t.Any:
        return self._get(f"/volumes/{quote(name, safe='')}")

    def _get(self, address: str) -> t.Any:
        connection = _Connection(self._path, self._timeout)
        try:
            connection.request("GET", self._prefix + address)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        try:
            found = json.loads(body)
        except ValueError:
            found = {"message": body[:200].decode(errors="replace")}
            if answer.status == 200:
                raise http.client.HTTPException(f"no JSON: {found['message']}") from None
        if answer.status != 200:
            words = str(found.get("message") if isinstance(found, dict) else found)
            raise (NotFound if answer.status == 404 else Refused)(words)
        return found
