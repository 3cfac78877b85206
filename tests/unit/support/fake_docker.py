# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake Docker Engine on a Unix socket: it keeps state, answers like the real one, records requests.

    with FakeDocker(tmp_path) as engine:
        engine.container("biz-wacore-1", image="reg/coreapp:v2.53.4", project="biz", volume="biz_whatsappMedia")
        ...run a module with docker_host=engine.host...
        assert engine.requests == ["GET /containers/json?all=1&...", ...]   # without the version part
        assert engine.count == 1                                            # requests without those to /version

`engine.on_exec`, a function of a `FakeExec`, answers commands. By default they run on this machine.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import socketserver
import struct
import subprocess
import threading
import typing as t
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

API_VERSION = "1.45"
MOUNT_PATH = "/usr/local/wamedia"
LAUNCH = (
    "/bin/sh",
    "-c",
    "cd /opt/whatsapp/bin && ./launch_within_docker.sh",
)  # domain: the command of the vendor's images


def image_id(name: str) -> str:
    """The id of an image of this name."""
    return "sha256:" + hashlib.sha256(name.encode()).hexdigest()


class FakeExec:
    """One command: its arguments, and the caller's end of its streams."""

    def __init__(self, identifier: str, container: dict[str, t.Any], body: dict[str, t.Any]) -> None:
        self.id = identifier
        self.container = container
        self.argv: list[str] = body["Cmd"]
        self.user: str = body.get("User") or ""
        self.environment: list[str] = body.get("Env") or []
        self.running = False
        self.exit_code: int | None = None
        self.socket: socket.socket | None = None

    def write(self, text: str | bytes, stream: int = 1) -> None:
        """Send a frame to the caller: stream 1 is stdout, 2 is stderr."""
        data = text.encode() if isinstance(text, str) else text
        assert self.socket is not None
        self.socket.sendall(struct.pack(">BxxxI", stream, len(data)) + data)

    def read_line(self) -> str:
        """The next line from the caller, or an empty string at the end."""
        assert self.socket is not None
        line = b""
        while not line.endswith(b"\n"):
            byte = self.socket.recv(1)
            if not byte:
                break
            line += byte
        return line.decode()


def run_here(command: FakeExec) -> int:
    """Run a command on this machine, with its streams connected to the caller's."""
    environment = dict(pair.split("=", 1) for pair in command.environment)
    environment["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    child = subprocess.Popen(
        command.argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,  # as runc does
    )
    assert command.socket is not None
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None

    def copy(pipe: t.Any, stream: int) -> None:
        while data := pipe.read1(65536):
            command.write(data, stream)

    def give(pipe: t.Any) -> None:
        try:
            while line := command.read_line():
                pipe.write(line.encode())
                pipe.flush()
            pipe.close()
        except OSError:
            return

    threading.Thread(target=give, args=(child.stdin,), daemon=True).start()
    copies = [threading.Thread(target=copy, args=pair, daemon=True) for pair in ((child.stdout, 1), (child.stderr, 2))]
    for thread in copies:
        thread.start()
    code = child.wait()
    for thread in copies:
        thread.join(2)
    return code if code >= 0 else 128 - code


class FakeDocker:
    """The engine. Tests change `containers`, `volumes`, `failures` and `on_exec`."""

    def __init__(self, folder: Path, drivers: t.Sequence[str] = ("local",)) -> None:
        self.path = folder / "docker.sock"
        self.host = f"unix://{self.path}"
        self.root = folder / "docker"
        self.root.mkdir(exist_ok=True)
        (self.root / "engine-id").write_text("fake-engine")
        self.drivers = list(drivers)
        self.containers: dict[str, dict[str, t.Any]] = {}
        self.volumes: dict[str, dict[str, t.Any]] = {}
        # image name -> its own environment; other images do not exist
        self.images: dict[str, dict[str, str]] = {}
        # network name -> its id and labels
        self.networks: dict[str, dict[str, t.Any]] = {}
        self.execs: dict[str, FakeExec] = {}
        self.on_exec: t.Callable[[FakeExec], int] = run_here
        # "POST /volumes/create" -> (status, message), for every request that starts so
        self.failures: dict[str, tuple[int, str]] = {}
        self.requests: list[str] = []
        self.bodies: list[dict[str, t.Any]] = []
        self._lock = threading.Lock()
        self._server: socketserver.BaseServer | None = None

    # For tests

    @property
    def calls(self) -> list[str]:
        """The requests without the version negotiation."""
        return [line for line in self.requests if line != "GET /version"]

    @property
    def count(self) -> int:
        """The number of requests without the version negotiation."""
        return len(self.calls)

    def container(
        self,
        name: str,
        image: str = "registry.lab:5000/whatsapp/coreapp:v2.53.4",
        project: str = "biz",
        service: str = "",
        state: str = "running",
        volume: str = "",
        mounts: t.Sequence[dict[str, t.Any]] | None = None,
        environment: t.Mapping[str, str] | None = None,
        labels: t.Mapping[str, str] | None = None,
        lost_image: bool = False,
        command: t.Sequence[str] | None = None,
    ) -> dict[str, t.Any]:
        """Add a container. `volume` is mounted at the media path; with `lost_image` its image is listed by id.

        Without a `command`, a container of a client image has that of the vendor's images.
        """
        named_as_client = image.partition("@")[0].rpartition("/")[2].partition(":")[0] in ("web", "coreapp")
        command = command or (LAUNCH if named_as_client else ("sleep", "infinity"))
        identifier = hashlib.sha256(name.encode()).hexdigest()
        tags = {"com.docker.compose.project": project, "com.docker.compose.service": service or name} if project else {}
        tags.update(labels or {})
        if mounts is None:
            mounts = [self.mount(volume)] if volume else []
        self.containers[identifier] = {
            "Id": identifier,
            "Name": name,
            "Image": image_id(image),
            "State": state,
            "Labels": tags,
            "Mounts": list(mounts),
            "Config": {"Image": image, "Env": [f"{key}={value}" for key, value in (environment or {}).items()]},
            "Lost": lost_image,
            "Path": command[0],
            "Args": list(command[1:]),
        }
        return self.containers[identifier]

    def mount(
        self, name: str, destination: str = MOUNT_PATH, kind: str = "volume", rw: bool = True
    ) -> dict[str, t.Any]:
        """A mount as in the list of containers. For a bind mount, `name` is the host's path."""
        row = {"Type": kind, "Source": name, "Destination": destination, "Mode": "z", "RW": rw, "Propagation": ""}
        if kind == "volume":
            row.update(Name=name, Driver="local", Source=self.mountpoint(name))
        return row

    def mountpoint(self, name: str) -> str:
        """The folder of a volume."""
        return str(self.root / "volumes" / name / "_data")

    def volume(
        self,
        name: str,
        driver: str = "local",
        options: t.Mapping[str, str] | None = None,
        labels: t.Mapping[str, str] | None = None,
    ) -> dict[str, t.Any]:
        """Add a volume and create its folder."""
        Path(self.mountpoint(name)).mkdir(parents=True, exist_ok=True)
        self.volumes[name] = {
            "CreatedAt": "2024-01-01T00:00:00Z",
            "Driver": driver,
            "Labels": dict(labels) if labels else None,
            "Mountpoint": self.mountpoint(name),
            "Name": name,
            "Options": dict(options) if options else None,
            "Scope": "local",
        }
        return self.volumes[name]

    # The engine

    def __enter__(self) -> FakeDocker:
        engine = self

        class Handler(_Handler):
            fake = engine

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
            request_queue_size = 128

        self._server = Server(str(self.path), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()
        self.path.unlink()

    def find(self, key: str) -> dict[str, t.Any] | None:
        """A container by id, short id or name."""
        for identifier, container in self.containers.items():
            if container["Name"] == key or (len(key) >= 12 and identifier.startswith(key)):
                return container
        return None

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, t.Any]) -> tuple[int, t.Any]:
        """Status and body of the answer to a request that does not start a command."""
        key = f"{method} {path}"
        for start, (status, message) in self.failures.items():
            if key.startswith(start):
                return status, {"message": message}
        with self._lock:
            for pattern, name in _ROUTES:
                match = re.fullmatch(pattern, key)
                if match:
                    parts = [unquote(part) for part in match.groups()]
                    return t.cast("tuple[int, t.Any]", getattr(self, f"_{name}")(*parts, query=query, body=body))
        return 404, {"message": f"page not found: {key}"}

    def _version(self, **_rest: t.Any) -> tuple[int, t.Any]:
        return 200, {"Version": "26.1.5", "ApiVersion": API_VERSION, "MinAPIVersion": "1.24", "Os": "linux"}

    def _info(self, **_rest: t.Any) -> tuple[int, t.Any]:
        return 200, {"ID": "fake-engine", "DockerRootDir": str(self.root), "Plugins": {"Volume": self.drivers}}

    def _list(self, query: dict[str, str], **_rest: t.Any) -> tuple[int, t.Any]:
        filters = json.loads(query.get("filters", "{}"))
        rows = []
        for one in self.containers.values():
            if query.get("all") not in ("1", "true", "True") and one["State"] != "running":
                continue
            names = [mount.get("Name") for mount in one["Mounts"]] + [mount["Destination"] for mount in one["Mounts"]]
            if filters.get("volume") and not set(filters["volume"]) & set(names):
                continue
            tags = [f"{key}={value}" for key, value in one["Labels"].items()] + list(one["Labels"])
            if not set(filters.get("label", [])) <= set(tags):
                continue
            rows.append(
                {
                    "Id": one["Id"],
                    "Names": ["/" + one["Name"]],
                    "Image": one["Image"] if one["Lost"] else one["Config"]["Image"],
                    "ImageID": one["Image"],
                    "Labels": one["Labels"],
                    "Command": " ".join([one["Path"], *one["Args"]]),
                    "State": one["State"],
                    "Status": "Up",
                    "Mounts": one["Mounts"],
                    "HostConfig": {"NetworkMode": one.get("HostConfig", {}).get("NetworkMode", "bridge")},
                    "NetworkSettings": {"Networks": {key: {"NetworkID": key} for key in one.get("Networks", ())}},
                }
            )
        return 200, rows

    def _inspect(self, key: str, **_rest: t.Any) -> tuple[int, t.Any]:
        one = self.find(key)
        if one is None:
            return 404, {"message": f"No such container: {key}"}
        state: dict[str, t.Any] = {"Status": one["State"], "Running": one["State"] == "running"}
        state["ExitCode"] = one.get("ExitCode", 0)
        if one.get("StartedAt"):
            state["StartedAt"] = one["StartedAt"]
        if one.get("Health"):
            state["Health"] = {"Status": one["Health"], "FailingStreak": one.get("FailingStreak", 0)}
        config = dict(one["Config"], Labels=one["Labels"], User=one["Config"].get("User", ""))
        service = one["Labels"].get("com.docker.compose.service", "")
        networks = {
            key: {"NetworkID": key, "Aliases": one.get("Aliases", [service])} for key in one.get("Networks", ())
        }
        more = {"Config": config, "NetworkSettings": {"Networks": networks, **one.get("NetworkSettings", {})}}
        return 200, dict(one, Name="/" + one["Name"], State=state, **more)

    def _changes(self, key: str, **_rest: t.Any) -> tuple[int, t.Any]:
        one = self.find(key)
        if one is None:
            return 404, {"message": f"No such container: {key}"}
        return 200, one.get("Changes")

    def _archive(self, key: str, query: dict[str, str], **_rest: t.Any) -> tuple[int, t.Any]:
        return 404, {"message": f"Could not find the file {query['path']} in container {key}"}

    def _image(self, key: str, **_rest: t.Any) -> tuple[int, t.Any]:
        for name, environment in self.images.items():
            identifier = image_id(name)
            if key in (name, identifier):
                variables = [f"{variable}={value}" for variable, value in environment.items()]
                record = {"Id": identifier, "RepoTags": [name], "RepoDigests": [], "Config": {"Env": variables}}
                return 200, record
        return 404, {"message": f"No such image: {key}"}

    def _network(self, name: str, **_rest: t.Any) -> tuple[int, t.Any]:
        if name not in self.networks:
            return 404, {"message": f"network {name} not found"}
        return 200, {"Name": name, **self.networks[name]}

    def _networks(self, query: dict[str, str], **_rest: t.Any) -> tuple[int, t.Any]:
        wanted = set(json.loads(query.get("filters", "{}")).get("label", []))
        rows = [{"Name": name, **one} for name, one in self.networks.items()]
        return 200, [one for one in rows if wanted <= {f"{key}={value}" for key, value in one["Labels"].items()}]

    def _remove_network(self, key: str, **_rest: t.Any) -> tuple[int, t.Any]:
        name = next((name for name, one in self.networks.items() if one["Id"] == key), None)
        if name is None:
            return 404, {"message": f"network {key} not found"}
        del self.networks[name]
        return 204, None

    def _images(self, **_rest: t.Any) -> tuple[int, t.Any]:
        return 200, [{"Id": image_id(name), "RepoTags": [name], "Labels": None} for name in self.images]

    def _stop(self, key: str, **_rest: t.Any) -> tuple[int, t.Any]:
        one = self.find(key)
        if one is None:
            return 404, {"message": f"No such container: {key}"}
        one["State"] = "exited"
        return 204, None

    def _unpause(self, key: str, **_rest: t.Any) -> tuple[int, t.Any]:
        one = self.find(key)
        if one is None:
            return 404, {"message": f"No such container: {key}"}
        one["State"] = "running"
        return 204, None

    def _update(self, key: str, body: dict[str, t.Any], **_rest: t.Any) -> tuple[int, t.Any]:
        one = self.find(key)
        if one is None:
            return 404, {"message": f"No such container: {key}"}
        one.setdefault("HostConfig", {}).update(body)
        return 200, {"Warnings": None}

    def _remove(self, key: str, **_rest: t.Any) -> tuple[int, t.Any]:
        one = self.find(key)
        if one is None:
            return 404, {"message": f"No such container: {key}"}
        if one["State"] == "running":
            return 409, {"message": f"You cannot remove a running container {key}"}
        del self.containers[one["Id"]]
        return 204, None

    def _distribution(self, _name: str = "", **_rest: t.Any) -> tuple[int, t.Any]:
        return 403, {"message": "denied"}

    def _volumes(self, **_rest: t.Any) -> tuple[int, t.Any]:
        return 200, {"Volumes": list(self.volumes.values()), "Warnings": None}

    def _volume(self, name: str, **_rest: t.Any) -> tuple[int, t.Any]:
        if name not in self.volumes:
            return 404, {"message": f"get {name}: no such volume"}
        return 200, self.volumes[name]

    def _create_volume(self, body: dict[str, t.Any], **_rest: t.Any) -> tuple[int, t.Any]:
        name, driver = body["Name"], body.get("Driver") or "local"
        if driver not in self.drivers:
            return 404, {"message": f'error looking up volume plugin {driver}: plugin "{driver}" not found'}
        if name not in self.volumes:
            self.volume(name, driver, body.get("DriverOpts"), body.get("Labels"))
        return 201, self.volumes[name]

    def _remove_volume(self, name: str, **_rest: t.Any) -> tuple[int, t.Any]:
        if name not in self.volumes:
            return 404, {"message": f"get {name}: no such volume"}
        if any(mount.get("Name") == name for one in self.containers.values() for mount in one["Mounts"]):
            return 409, {"message": f"remove {name}: volume is in use"}
        del self.volumes[name]
        return 204, None

    def _create_exec(self, key: str, body: dict[str, t.Any], **_rest: t.Any) -> tuple[int, t.Any]:
        one = self.find(key)
        if one is None:
            return 404, {"message": f"No such container: {key}"}
        if one["State"] != "running":
            return 409, {"message": f"container {one['Id']} is not running"}
        identifier = hashlib.sha256(f"exec {len(self.execs)}".encode()).hexdigest()
        self.execs[identifier] = FakeExec(identifier, one, body)
        return 201, {"Id": identifier}

    def _inspect_exec(self, identifier: str, **_rest: t.Any) -> tuple[int, t.Any]:
        command = self.execs[identifier]
        return 200, {"ID": identifier, "Running": command.running, "ExitCode": command.exit_code}


_ROUTES = (
    (r"GET /version", "version"),
    (r"GET /info", "info"),
    (r"GET /containers/json", "list"),
    (r"GET /containers/([^/]+)/json", "inspect"),
    (r"GET /containers/([^/]+)/changes", "changes"),
    (r"GET /containers/([^/]+)/archive", "archive"),
    (r"GET /images/(.+)/json", "image"),
    (r"GET /distribution/(.+)/json", "distribution"),
    (r"GET /networks", "networks"),
    (r"GET /networks/([^/]+)", "network"),
    (r"DELETE /networks/([^/]+)", "remove_network"),
    (r"GET /images/json", "images"),
    (r"POST /containers/([^/]+)/stop", "stop"),
    (r"POST /containers/([^/]+)/(?:unpause|start)", "unpause"),
    (r"POST /containers/([^/]+)/update", "update"),
    (r"DELETE /containers/([^/]+)", "remove"),
    (r"GET /volumes", "volumes"),
    (r"GET /volumes/([^/]+)", "volume"),
    (r"POST /volumes/create", "create_volume"),
    (r"DELETE /volumes/([^/]+)", "remove_volume"),
    (r"POST /containers/([^/]+)/exec", "create_exec"),
    (r"GET /exec/([^/]+)/json", "inspect_exec"),
)


class _Handler(BaseHTTPRequestHandler):
    fake: FakeDocker
    protocol_version = "HTTP/1.1"
    server_version = "Docker/26.1.5"

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: t.Any) -> None:
        """Log nothing; tests read `requests`."""

    def _handle(self) -> None:
        address = re.sub(r"^/v\d+\.\d+(?=/)", "", self.path)
        parts = urlsplit(address)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(raw) if raw.strip() else {}
        with self.fake._lock:
            self.fake.requests.append(f"{self.command} {address}")
            self.fake.bodies.append(body)
        started = re.fullmatch(r"/exec/([^/]+)/start", parts.path)
        if started and f"POST {parts.path}" not in self.fake.failures and self.command == "POST":
            self._start(self.fake.execs[started.group(1)])
            return
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        status, answer = self.fake.answer(self.command, parts.path, query, body)
        data = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Api-Version", API_VERSION)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _handle

    def _start(self, command: FakeExec) -> None:
        self.wfile.write(
            b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n"
            b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        )
        command.socket, command.running = self.connection, True
        try:
            command.exit_code = self.fake.on_exec(command)
        except OSError:
            command.exit_code = 137  # the caller has disconnected
        command.running = False
        self.close_connection = True
