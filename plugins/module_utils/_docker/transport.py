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
import ssl
import typing as t
from contextlib import suppress
from urllib.parse import urlencode, urlsplit

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
    """The transport to one engine, from a module's `docker_*` options."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        """Does not connect yet. Raises WaError for an unsupported address."""
        self.host: str = params["docker_host"]
        self.timeout = parse_duration("docker_timeout", params["docker_timeout"])
        parts = urlsplit(self.host)
        self.path = "/" + (parts.netloc + parts.path).lstrip("/") if parts.scheme == "unix" else ""
        secure = bool(params["docker_tls"]) or parts.scheme == "https"
        try:
            self.address = (parts.hostname or "", parts.port or (2376 if secure else 2375))
        except ValueError:
            self.address = ("", 0)
        if parts.scheme not in ("unix", "tcp", "http", "https") or not (self.path or self.address[0]):
            raise WaError(
                "option docker_host",
                f"{self.host!r} is no address of a Docker Engine",
                "unix:///PATH, tcp://HOST:PORT or https://HOST:PORT",
                "For an engine on another machine run the task there",
            )
        self._tls = self._context(params) if secure and not self.path else None

    def _context(self, params: t.Mapping[str, t.Any]) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=params["docker_ca_path"])
            # A CA created as in Docker's manual lacks extensions.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            if params["docker_client_cert"]:
                context.load_cert_chain(params["docker_client_cert"], params["docker_client_key"])
        except OSError as error:
            names = ("docker_ca_path", "docker_client_cert", "docker_client_key")
            given = ", ".join(f"{name} {params[name]}" for name in names if params[name])
            raise WaError(f"Docker Engine at {self.host}", f"{given or 'TLS'}: {error}", "readable PEM files") from None
        return context

    def connect(self) -> socket.socket:
        """Returns an open connection with the time-out `docker_timeout`. Raises OSError."""
        if self.path:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.settimeout(self.timeout)
                connection.connect(self.path)
            except OSError:
                connection.close()
                raise
            return connection
        connection = socket.create_connection(self.address, self.timeout)
        return self._tls.wrap_socket(connection, server_hostname=self.address[0]) if self._tls else connection

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
        if self.path and not os.path.exists(self.path):
            found = f"the socket {self.path} does not exist"
            cure = f"Start the Docker Engine, set docker_host, or {INSTALL}"
        elif self.path and not os.access(self.path, os.R_OK | os.W_OK):
            found = f"no permission on the socket {self.path}"
            cure = "Use become, or add the user to the group docker"
        return Unreachable(f"Docker Engine at {self.host}", found, "an engine that answers", cure)


def reason(body: bytes) -> str:
    """Returns the message of an error response in one line."""
    text = body.decode(errors="replace")
    with suppress(ValueError, KeyError, TypeError):  # a proxy before the engine has its own format
        text = str(json.loads(text)["message"])
    return " ".join(text.split())
