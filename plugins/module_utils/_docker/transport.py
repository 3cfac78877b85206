# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP to a Docker Engine over a Unix socket, TCP or TLS, with Python's standard library.

The `docker` SDK is not used: every managed host would need it, and loading it takes more CPU than a complete run of a
module. The tests use it to verify this client. Each request has its own connection, so that threads may share one
`Transport`.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import typing as t
from contextlib import suppress
from urllib.parse import urlencode

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import parse_duration

INSTALL = (
    "install Docker Engine with the Compose plugin: the distribution's packages, Docker's packages, or a role made for it such as "
    "geerlingguy.docker, run before this collection"
)


class NotFound(WaError):
    """The requested object does not exist in Docker."""


class Unauthorized(WaError):
    """A missing or wrong login; a retry is useless."""


class Unreachable(WaError):
    """The engine does not answer, so its state is unknown."""


class _Connection(http.client.HTTPConnection):
    """An HTTP connection over an open socket."""

    def __init__(self, transport: Transport) -> None:
        super().__init__("docker")
        self._transport = transport

    def connect(self) -> None:
        self.sock = self._transport.connect()


class Transport:
    """The Unix socket of one engine, from a module's `docker_*` options."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        """Does not connect yet. Raises WaError for an unsupported address."""
        self.host: str = params["docker_host"]
        self.timeout = parse_duration("docker_timeout", params["docker_timeout"])
        self.path = self.host.removeprefix("unix://")
        if self.path == self.host or not self.path.startswith("/"):
            raise WaError(
                "option docker_host",
                f"{self.host!r} is no socket of a Docker Engine",
                "unix:///PATH",
                "For an engine on another machine run the task there",
            )

    def connect(self) -> socket.socket:
        """Returns an open connection with the time-out `docker_timeout`. Raises OSError."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self.timeout)
            connection.connect(self.path)
        except OSError:
            connection.close()
            raise
        return connection

    def request(
        self,
        subject: str,
        method: str,
        path: str,
        query: t.Mapping[str, t.Any] | None = None,
        body: t.Any = None,
        headers: t.Mapping[str, str] | None = None,
        raw_limit: int = 0,
    ) -> t.Any:
        """Returns the engine's answer; with `raw_limit` at most that many raw bytes.

        Raises NotFound, or WaError about `subject` with the engine's message.
        """
        connection = _Connection(self)
        try:
            connection.request(
                method,
                f"{path}?{urlencode(query)}" if query else path,
                None if body is None else json.dumps(body),
                {**({} if body is None else {"Content-Type": "application/json"}), **(headers or {})},
            )
            answer = connection.getresponse()
            if answer.status < 300 and raw_limit:
                return answer.read(raw_limit)
            raw = answer.read()
            if answer.status < 300:
                return json.loads(raw) if raw else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self.unreachable(error) from None
        finally:
            connection.close()
        message = reason(raw) or answer.reason
        if answer.status == 404:
            raise NotFound(subject, f"Docker does not have it: {message}")
        if answer.status == 401:
            raise Unauthorized(subject, f"Docker refused: {message}")
        raise WaError(subject, f"Docker refused: {message}")

    def unreachable(self, error: Exception) -> Unreachable:
        """Returns why the engine does not answer, with the solution."""
        cure = "Start the Docker Engine (systemctl start docker), or set docker_host"
        found = f"no answer: {error or type(error).__name__}"
        if not os.path.exists(self.path):
            found = f"the socket {self.path} does not exist"
            cure = f"Start the Docker Engine, set docker_host, or {INSTALL}"
        elif not os.access(self.path, os.R_OK | os.W_OK):
            found = f"no permission on the socket {self.path}"
            cure = "Use become, or add the user to the group docker"
        return Unreachable(f"Docker Engine at {self.host}", found, "an engine that answers", cure)


def reason(body: bytes) -> str:
    """Returns the message of an error response in one line."""
    text = body.decode(errors="replace")
    with suppress(ValueError, KeyError, TypeError):  # a proxy before the engine has its own format
        text = str(json.loads(text)["message"])
    return " ".join(text.split())
