# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks that the client can log in with the future content of a db.env, before the file is written.

The connection is as close to the client's as possible: it uses the address that the name has inside the containers, and
the client's TLS settings with the files in the containers.
"""

from __future__ import annotations

import contextlib
import ipaddress
import tempfile
import time
import typing as t
from dataclasses import replace

from ansible_collections.waba.onprem.plugins.module_utils._core import machine
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import connection as database
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import DatabaseError, Settings
from ansible_collections.waba.onprem.plugins.module_utils._database.session import addresses
from ansible_collections.waba.onprem.plugins.module_utils._docker import container_files, host_names
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Container, Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.exec import execute
from ansible_collections.waba.onprem.plugins.module_utils._env.rules import (
    CONNECTION,
    OPTIONS,
    SSL_CA,
    SSL_CERT,
    SSL_KEY,
)

_TIMEOUT = 10.0  # seconds for a name lookup in a container
_NOT_FOUND = 2  # getent's exit code
_WRONG_NAME = "Correct the host name"
_NO_NAME = "Correct the host name; or set login_host (wa_db_login_host) to where this host reaches the server"
_UNTOUCHED = "Nothing was written, and no container was touched"
_TLS_FILES = {
    "ca_cert": (SSL_CA, "login_ca_cert"),
    "client_cert": (SSL_CERT, "login_client_cert"),
    "client_key": (SSL_KEY, "login_client_key"),
}
Values = t.Mapping[str, str]
Warn = t.Callable[[str], None]


def variants(
    values: Values,
    environments: t.Mapping[str, Values],
    differing: t.Iterable[t.Mapping[str, t.Any]],
) -> list[dict[str, str]]:
    """Returns the distinct sets of values that the containers will use: the file's, overridden by their Compose files.

    `environments` are those of the running containers by id, `differing` the containers whose values differ.
    """
    overridden = {entry["id"]: entry["overridden_keys"] for entry in differing}
    found: list[dict[str, str]] = []
    for identifier, environment in environments.items():
        own = {key: environment.get(key, "") for key in overridden.get(identifier[:12], []) if key in CONNECTION}
        one = {**values, **own}
        if one not in found:
            found.append(one)
    return found or [dict(values)]


class Clients:
    """The client's containers: those that run, else all (`found`); `doubt` is the reason why the engine cannot be queried."""

    def __init__(self, params: t.Mapping[str, t.Any], engine: Docker | None = None) -> None:
        self.docker: Docker | None = None
        self.running: list[Container] = []
        self.found: list[Container] = []
        self.records: list[dict[str, t.Any]] = []
        self.doubt = ""
        self.project = bool(params["project"])
        try:
            self.docker = engine or Docker(params)
            self.found = self.docker.client_containers(params["project"])
            self.running = [one for one in self.found if one.running]
            self.found = self.running or self.found
            inspected = [self.docker.inspect(one) for one in self.found]
            self.records = [record for record in inspected if record]
        except WaError as error:  # a module that is used alone may run without an engine
            self.doubt = str(error)

    @property
    def share_the_host(self) -> bool:
        """Returns whether this host's loopback addresses may be the client's, too; unknown counts as yes."""
        if self.records:
            return any(host_names.on_host_network(record) for record in self.records)
        return not self.project

    def address(self, config: Settings, name: str) -> tuple[str, str]:
        """Returns the address of a name inside the containers, and its source; empty if only this host can resolve it.

        Raises DatabaseError if a running container cannot resolve the name.
        """
        if self.docker is None or machine.is_address(name):
            return "", ""
        for container in self.running:
            try:
                answer = execute(self.docker, container, ["getent", "ahosts", "--", name], timeout=_TIMEOUT)
            except WaError:
                continue  # an image without a shell
            if answer.rc == 0 and answer.stdout.split():
                return answer.stdout.split()[0], f"the address in container {container.name}"
            if answer.rc == _NOT_FOUND:
                found = f"the name {name} does not resolve in container {container.name}"
                raise DatabaseError(config.subject, found, "unknown_host", cure=_WRONG_NAME)
        return host_names.address(self.docker, self.records, name)

    def read(self, path: str) -> bytes | None:
        """Returns the content of a file in one of the containers, or None."""
        for record in self.records if self.docker else []:
            content = container_files.read(t.cast("Docker", self.docker), record["Id"], path)
            if content is not None:
                return content
        return None


def route(config: Settings, clients: Clients, elsewhere: str | None) -> tuple[Settings, str]:
    """Returns the settings to connect to the server that the client's containers use, and the source of the address.

    `elsewhere` is `login_host`, the address for this host; a running container must still resolve the name. Raises WaError
    for an unknown name, and for one that means another machine inside a container.
    """
    name = config.server_name
    address, via = clients.address(config, name)
    if elsewhere:
        return config, f"login_host {elsewhere}"
    if address:
        found, way = [address], replace(config, host=address)
    else:
        try:
            found, way = [one.partition("%")[0] for one in addresses(config)], config
        except DatabaseError as error:
            tried = clients.doubt or "Docker has no container or extra host of that name for the client"
            raise DatabaseError(config.subject, f"{error.found}; {tried}", error.kind, cure=_NO_NAME) from None
    if not clients.share_the_host and all(ipaddress.ip_address(one).is_loopback for one in found):
        raise WaError(
            config.subject,
            f"{name} is {found[0]}, and inside a container a loopback address is the container itself",
            "a name or an address that leads from the containers to the server",
            "Give the host's own address on the network, or a name that has it",
        )
    return way, f"{address}, {via}" if address else ""


@contextlib.contextmanager
def tls(config: Settings, values: Values, clients: Clients) -> t.Iterator[Settings]:
    """Returns the client's TLS settings: `login_*` options, else the files in the containers, else none.

    Private copies are removed at the end. Raises WaError for a file that no container has.
    """
    if not (values.get(SSL_CA) or values.get(SSL_CERT)):
        yield replace(config, ca_cert=None, client_cert=None, client_key=None, plain=True)
        return
    paths: dict[str, t.Any] = {}
    with contextlib.ExitStack() as stack:
        for field, (key, option) in _TLS_FILES.items():
            path = values.get(key)
            if not path or getattr(config, field):
                paths[field] = getattr(config, field) if path else None
                continue
            content = clients.read(path)
            if content is None and clients.records:
                names = ", ".join(sorted(record["Name"].lstrip("/") for record in clients.records))
                raise WaError(
                    f"{key} {path}",
                    f"no such file in {names}",
                    "the path of a file inside the client's containers",
                    f"Mount it there first, or set {option} (in wa_db_login_tls) to where the same file lies on this host",
                )
            if content is not None:
                copy = stack.enter_context(tempfile.NamedTemporaryFile())  # created with mode 0600
                copy.write(content)
                copy.flush()
                paths[field] = copy.name
                # It is unknown whether the client verifies the name; it always verifies the CA.
                paths.update({"verify_name": False} if field == "ca_cert" else {})
        yield replace(config, **paths)


class LoginCheck:
    """A login check with a module's options; `found` receives facts about the server."""

    def __init__(
        self, params: t.Mapping[str, t.Any], warn: Warn, untouched: str = _UNTOUCHED, engine: Docker | None = None
    ) -> None:
        """`untouched` is part of the message where the login fails. A caller that reads something else replaces `check`."""
        self.params = params
        self.warn, self.untouched = warn, untouched
        self.clients = Clients(params, engine)
        self.found: dict[str, t.Any] = {}
        self.check: t.Callable[[Settings, Values], None] = self._check_server

    def _check_server(self, config: Settings, values: Values) -> None:
        # A look at a host without changes reads something else, and is faster without it.
        from ansible_collections.waba.onprem.plugins.module_utils._database import check

        check.check(config, values, self.found, self.warn)

    def __call__(self, values: Values) -> None:
        """Logs in with `values`, as the client will. Raises WaError with user, server, reason and solution."""
        config = database.settings(self.params, values)
        server = f"{config.engine} at {config.server_name}:{values.get(OPTIONS['port'], config.port)}"
        subject = f"login of the client as user {config.user} to the database {server}"
        way = ""
        try:
            config, way = route(config, self.clients, self.params.get("login_host"))
            with tls(config, values, self.clients) as ready:
                self._log_in(ready, values)
        except WaError as error:
            at = f" ({way})" if way else ""
            found = error.found if error.subject == config.subject else f"{error.subject}: {error.found}"
            cure = ". ".join(part for part in (self.untouched, error.cure) if part)
            kind = error.kind if isinstance(error, DatabaseError) else "other"
            raise DatabaseError(subject + at, found, kind, error.expected, cure) from None

    def _log_in(self, config: Settings, values: Values) -> None:
        """Logs in; retries while the server is starting."""
        end = time.monotonic() + config.connect_timeout
        while True:
            try:
                self._check(config, values)
                return
            except DatabaseError as error:
                if error.kind != "starting" or time.monotonic() > end:
                    raise
            time.sleep(0.5)  # a server reports this for a moment after its start

    def _check(self, config: Settings, values: Values) -> None:
        try:
            self.check(config, values)
        except DatabaseError as error:
            if not config.plain or config.engine != database.MYSQL or error.kind not in ("login", "tls", "driver"):
                raise
            self._with_tls(config, values, error)

    def _with_tls(self, config: Settings, values: Values, error: DatabaseError) -> None:
        """Retries a failed login with TLS. Raises WaError with the reason of the failure."""
        secure = replace(config, plain=False)
        if error.kind == "driver":  # only this host's driver is incomplete; the password is correct
            try:
                self.check(secure, values)
            except DatabaseError as other:
                raise (error if other.kind == "driver" else other) from None
            return
        try:
            with database.connect(secure) as session:
                encrypted = session.is_encrypted()
        except WaError:
            raise error from None
        if not encrypted:
            raise error
        raise DatabaseError(
            config.subject,
            f"{error.found}: the server takes this user with TLS only, and {SSL_CA} is not set",
            "tls",
            "TLS",
            f"Set {SSL_CA} in extra (wa_db_env_extra) to the authority of the server's certificate, a path inside the containers",
        ) from None
