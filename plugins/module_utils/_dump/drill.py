# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database server in a container of its own, into which a drill restores a copy, and which is then removed."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import DATABASE_PORTS, format_size
from ansible_collections.waba.onprem.plugins.module_utils._database import connection
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import MYSQL, Settings
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology
from ansible_collections.waba.onprem.plugins.module_utils._docker import images, registry_login
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._dump.manifest import DRILL_ROOM, Manifest

LABEL = "waba.onprem.drill"  # whose drill a container belongs to
_MEMORY, _CPUS = "1g", "1"
_START_LIMIT = "1800"  # seconds in which the image is pulled, and the container created and started
_READY = 300.0  # seconds in which a new server makes its data and answers
_POLL = 0.2  # seconds
# The names under which the makers' images take the password of the administrator, who has this name.
_PASSWORDS = {"MYSQL": ("MYSQL_ROOT_PASSWORD", "MARIADB_ROOT_PASSWORD"), "PGSQL": ("POSTGRES_PASSWORD",)}
_ADMINISTRATORS = {"MYSQL": "root", "PGSQL": "postgres"}


class Container:
    """The container of a deployment's drills on one host, from the `image` that the operator names."""

    def __init__(self, engine: Docker, image: str, deployment: str, found: Manifest, run: registry_login.Run) -> None:
        """`run` is `AnsibleModule.run_command`."""
        self.engine, self.image, self.deployment, self.manifest, self.run = engine, image, deployment, found, run
        self.name = f"wa-drill-{topology.slug(deployment)}"
        self.password = secrets.token_urlsafe(24)
        self.port = f"{DATABASE_PORTS[found['engine']]}/tcp"
        self.subject = f"drill in a container of {image}"

    def check(self) -> None:
        """Raises WaError for what would stop it. Changes nothing."""
        record = self.engine.image(self.image)
        if record is None:
            lacking, unknown = images.missing(self.engine, [self.image], self.run)
            for reason in [*lacking.values(), *unknown.values()]:
                raise WaError(self.subject, f"not on this host, and its registry says: {reason}", "an image")
        ports = ((record or {}).get("Config") or {}).get("ExposedPorts") or {}
        if ports and self.port not in ports:
            expected = f"a server of {self.manifest['product']}, on port {self.port}"
            raise WaError(self.subject, f"it listens on {', '.join(sorted(ports))}", expected)
        free, needed = images.free_bytes(self.engine), DRILL_ROOM * int(self.manifest["source_bytes"])
        if free is not None and free < needed:
            raise WaError(self.subject, f"{format_size(free)} are free for containers", f"{format_size(needed)}")

    @contextlib.contextmanager
    def running(self, config: Settings) -> t.Iterator[Settings]:
        """Yields the connection of a server's administrator in the place of `config`, and removes the server. Raises WaError.

        What an earlier drill has left, which was killed, is removed first.
        """
        self._remove()
        try:
            port = self._start()
            own = dataclasses.replace(
                config,
                host="127.0.0.1",
                server_name="127.0.0.1",
                port=port,
                user=_ADMINISTRATORS[config.engine],
                password=self.password,
                ca_cert=None,
                client_cert=None,
                client_key=None,
            )
            self._await(own)
            self._prepare(own, config.user)
            yield own
        finally:
            self._remove()

    def _remove(self) -> None:
        label = f"{LABEL}={self.deployment}"
        for row in self.engine.rows("list of containers", filters={"label": [label]}):
            self.engine.request(self.subject, "DELETE", f"/containers/{row['Id']}", {"force": 1, "v": 1})

    def _docker(self, *words: str, limit: str = "30") -> tuple[int, str]:
        argv = ["timeout", "-k", "30", limit, "docker", "--host", self.engine.transport.host, *words]
        names = _PASSWORDS[self.manifest["engine"]]
        code, out, err = self.run(argv, environ_update=dict.fromkeys(names, self.password), handle_exceptions=False)
        return code, " ".join(f"{out} {err}".split()[-80:])

    def _start(self) -> int:
        """Returns the port at which the server will listen: on this host only, and one that was free."""
        limits = ["--memory", _MEMORY, "--memory-swap", _MEMORY, "--cpus", _CPUS, "--oom-score-adj", "500"]
        names = [word for name in _PASSWORDS[self.manifest["engine"]] for word in ("--env", name)]
        place = ["--name", self.name, "--label", f"{LABEL}={self.deployment}", "--publish", f"127.0.0.1::{self.port}"]
        code, said = self._docker("run", "--detach", *place, *limits, *names, self.image, limit=_START_LIMIT)
        if code:
            raise WaError(self.subject, f"it could not be started: {said}", "a container")
        return int(self._record()["NetworkSettings"]["Ports"][self.port][0]["HostPort"])

    def _record(self) -> dict[str, t.Any]:
        record = self.engine.inspect_id(self.name)
        if record is None or record["State"]["Status"] != "running":
            _code, said = self._docker("logs", "--tail", "5", self.name)
            how = f"ended with {record['State']['ExitCode']}" if record else "is gone"
            raise WaError(self.subject, f"it {how}: {said}", f"a server of {self.manifest['product']}")
        return record

    def _await(self, own: Settings) -> None:
        """Waits until the server answers."""
        end = time.monotonic() + _READY
        while True:
            try:
                with connection.connect(own) as session:
                    session.version()
                return
            except connection.DatabaseError as error:
                if time.monotonic() > end:
                    raise WaError(self.subject, error.found, f"a server that answers within {_READY:.0f} s") from None
            self._record()
            time.sleep(_POLL)

    def _prepare(self, own: Settings, user: str) -> None:
        """Makes room for large rows, and an account for the views and routines that have the client's user as their definer."""
        if own.engine != MYSQL:
            return
        with connection.connect(own, read_only=False) as session:
            session.rows("SET GLOBAL max_allowed_packet = 1073741824")
            session.rows("CREATE USER IF NOT EXISTS %s@'%%' IDENTIFIED BY %s", (user, self.password))
            session.rows("GRANT ALL ON *.* TO %s@'%%'", (user,))
