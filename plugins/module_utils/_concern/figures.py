# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what an operator wants to know of a host beside its drift. Each part has its own limit and its own error. Nothing is written."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import threading
import time
import typing as t
from datetime import datetime, timezone
from urllib.parse import urlsplit

from ansible_collections.waba.onprem.plugins.module_utils._core import files, image_reference
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import mask
from ansible_collections.waba.onprem.plugins.module_utils._docker import container_files, images
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Container, Docker, health

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._docker.registry_login import Run

SPEC: dict[str, dict[str, t.Any]] = {
    "project": {"type": "str", "default": ""},
    "container_names": {"type": "list", "elements": "str", "default": []},  # the client's outside Compose
    "volume": {"type": "str", "required": True},
    "deployment": {"type": "str", "required": True},
    "dump_dir": {"type": "path"},  # at the leader
    "gc_state_file": {"type": "path"},  # at the leader
    "log_cleanup_status_file": {"type": "path", "required": True},
    "api_url": {"type": "str"},  # of this host's own Webapp
    "bundle": {"type": "bool", "default": False},  # what a support bundle holds beside the other parts
    "bundle_logs": {"type": "bool", "default": False},
}
_LIMIT = 10.0  # seconds for a part
_REGISTRY_LIMIT = 20.0  # seconds for the registry's answers about two images
REGISTRY_TIMEOUT = "8s"  # of each of its answers
_LOG_LINES = "2000"  # of each container, in a support bundle
_SECRET_CONFIG = ("Env", "Cmd", "Entrypoint", "Healthcheck", "Labels")
_LOG_FOLDERS = ("/usr/local/waent/logs", "/var/log/whatsapp")  # domain 6
_PEM = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_DATABASE_FILES = ("WA_DB_SSL_CA", "WA_DB_SSL_CERT")
Part = t.Dict[str, t.Any]  # noqa: UP006  # Python 3.9 evaluates it


class Figures:
    """Reads all parts at once, each in a thread, since a dead file server or registry must not hide the others."""

    def __init__(
        self, options: t.Mapping[str, t.Any], engine: Docker | None, registry: Docker | None, run: Run
    ) -> None:
        """`registry` is a client of the engine of its own: the other one sends one request at a time."""
        self._options, self._engine, self._registry, self._run = options, engine, registry, run
        self._found: dict[str, Part] = {}
        parts: dict[str, t.Callable[[], Part]] = {
            "containers": self._containers,
            "disk_docker": lambda: _disk(self._docker_folder()),
            "disk_logs": lambda: _disk(self._log_folder()),
            "disk_media": lambda: _disk(self._volume_folder(options["volume"])),
            "log_cleanup": lambda: log_cleanup(options["log_cleanup_status_file"]),
            "certificates": self._certificates,
            "images": self._images,
        }
        if options["gc_state_file"]:
            parts["gc"] = lambda: gc(options["gc_state_file"])
        if options["dump_dir"]:
            parts["copies"] = lambda: copies(options["dump_dir"], options["deployment"])
        if options["bundle"]:
            parts["bundle"] = self._bundle
        self._began = time.monotonic()
        self._threads = {
            name: threading.Thread(target=self._read, args=(name, read), daemon=True) for name, read in parts.items()
        }
        for thread in self._threads.values():
            thread.start()

    def collect(self) -> dict[str, Part]:
        """Returns each part with its `error`, which is empty where it was read."""
        for name, thread in self._threads.items():
            limit = _REGISTRY_LIMIT if name == "images" else _LIMIT
            thread.join(max(0.0, self._began + limit - time.monotonic()))
        found = dict(self._found)  # what comes later is late
        late = {name: {"error": "no answer in time"} for name in self._threads if name not in found}
        return {**found, **late}

    def _read(self, name: str, read: t.Callable[[], Part]) -> None:
        try:
            self._found[name] = {"error": "", **read()}
        except WaError as error:
            self._found[name] = {"error": str(error)}
        except OSError as error:
            self._found[name] = {"error": str(WaError(error.filename or name, error.strerror or str(error)))}
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            self._found[name] = {"error": f"{name}: {type(error).__name__}"}  # the text may hold a secret

    # The engine

    def _docker(self) -> Docker:
        if self._engine is None:
            raise WaError("Docker Engine", "does not answer")
        return self._engine

    def _services(self) -> list[tuple[Container, dict[str, t.Any]]]:
        """Returns the client's containers of this deployment, with their inspections."""
        return self._docker().services(self._options["project"], self._options["container_names"])

    def _containers(self) -> Part:
        return {
            "containers": [
                {
                    "name": one.name,
                    "role": one.role,
                    "state": one.state,
                    "health": health(record) or None,
                    "version": image_reference.parse(one.image).version,
                }
                for one, record in self._services()
            ]
        }

    def _bundle(self) -> Part:
        """Returns the engine's versions, inspections without environments, and on request the newest lines that the client wrote."""
        engine, found = self._docker(), self._services()
        shown = {one.name: inspection_without_secrets(record) for one, record in found}
        part: Part = {"docker": engine.about, "inspections": shown}
        if self._options["bundle_logs"]:
            argv = ["docker", "--host", engine.transport.host, "logs", "--timestamps", "--tail", _LOG_LINES]
            part["logs"] = {one.name: mask("".join(self._run([*argv, one.id])[1:])) for one, _record in found}
        return part

    def _docker_folder(self) -> str:
        folder = str(self._docker().info().get("DockerRootDir", ""))
        if not os.path.isdir(folder):
            raise WaError("Docker Engine", "its files are not on this host")
        return folder

    def _log_folder(self) -> str:
        """Returns what a container of the client mounts for its logs, or where Docker has its layers."""
        for one, _record in self._services():
            for mount in one.mounts:
                if mount.destination in _LOG_FOLDERS:
                    return mount.name if mount.kind == "bind" else self._volume_folder(mount.name)
        return self._docker_folder()

    def _volume_folder(self, name: str) -> str:
        volume = self._docker().volume(name)
        if volume is None:
            raise WaError(f"volume {name}", "not there")
        folder, device = str(volume.get("Mountpoint", "")), str((volume.get("Options") or {}).get("device") or "")
        # A bind is mounted while a container uses it.
        return device if os.path.isabs(device) and os.path.isdir(device) else folder

    def _certificates(self) -> Part:
        import ssl  # here, since it takes longer to load than a host to be compared

        found: list[Part] = []

        def add(name: str, read: t.Callable[[], str]) -> None:
            try:
                found.append({"name": name, "end": max(self._ends(read())), "error": ""})
            except (WaError, OSError, ValueError) as error:
                found.append({"name": name, "end": None, "error": str(error)})

        url = urlsplit(self._options["api_url"] or "")
        if url.scheme == "https" and any(one.role == "web" and one.running for one, _r in self._services()):
            # Read whoever has signed it, since nothing is sent.
            add("API", lambda: ssl.get_server_certificate((url.hostname or "", url.port or 443)))
        core = next((one for one, _record in self._services() if one.running and one.role != "web"), None)
        for key in _DATABASE_FILES if core else ():
            path = (core.environment or {}).get(key) if core else ""
            if core and path:
                add(f"{key} ({path})", lambda core=core, path=path: self._in_container(core, path))  # type: ignore[misc]
        return {"certificates": found}

    def _in_container(self, container: Container, path: str) -> str:
        content = container_files.read(self._docker(), container.id, path)
        if content is None:
            raise WaError(path, f"not in {container.name}")
        return content.decode("ascii", "replace")

    def _ends(self, pem: str) -> t.Iterator[float]:
        """Yields until when each certificate is valid; of several authorities one is enough."""
        import ssl

        if shutil.which("openssl") is None:
            raise WaError(
                "openssl", "not installed on the host", "", "Install it, and the days of certificates are known"
            )
        for block in _PEM.findall(pem) or [pem]:
            code, end, problem = self._run(["openssl", "x509", "-noout", "-enddate"], data=block)
            if code != 0:
                raise WaError("openssl", problem.partition("\n")[0])
            yield float(ssl.cert_time_to_seconds(end.partition("=")[2].strip()))

    def _images(self) -> Part:
        engine = self._docker()
        names = sorted({one.image for one, _record in self._services() if one.running})
        if not names:
            return {"images": []}
        lacking, unclear = images.absent(self._registry or engine, names, self._run)
        return {
            "images": [
                {
                    "name": name,
                    "version": image_reference.parse(name).version,
                    "on_host": engine.image(name) is not None,
                    "pullable": None if name in unclear else name not in lacking,
                    "error": unclear.get(name) or lacking.get(name) or "",
                }
                for name in names
            ]
        }


def inspection_without_secrets(record: t.Mapping[str, t.Any]) -> Part:
    """Returns an inspection without what may hold a password of anybody's: environment, commands, health checks, labels, mount options."""
    found = {key: value for key, value in record.items() if key not in ("Args", "ExecIDs")}
    found["Config"] = {key: value for key, value in record["Config"].items() if key not in _SECRET_CONFIG}
    labels = record["Config"].get("Labels") or {}
    found["Config"]["Labels"] = {key: value for key, value in labels.items() if key.startswith("com.docker.compose.")}
    found["State"] = {**record["State"], "Health": health(record)}
    found["HostConfig"] = {key: value for key, value in record.get("HostConfig", {}).items() if key != "Mounts"}
    return t.cast("Part", mask(found))


def _disk(path: str) -> Part:
    room = os.statvfs(path)
    return {"path": path, "free_bytes": room.f_bavail * room.f_frsize, "total_bytes": room.f_blocks * room.f_frsize}


def log_cleanup(path: str) -> Part:
    """Returns the last run of the nightly cleanup; empty before its first."""
    try:
        found = json.loads(files.read_text(path))
    except FileNotFoundError:
        return {}
    return {
        "started": float(found["started"]),
        "result": str(found["result"]),
        "last_success": float(found["last_success"]) or None,
    }


def gc(path: str) -> Part:
    """Returns the last message GC, or the one that runs; empty before the first."""
    from ansible_collections.waba.onprem.plugins.module_utils._gc import state as gc_state

    run = gc_state.last(path)
    if run is None:
        return {}
    result = "failed" if run.failure else "complete" if run.over else "running"
    return {"began": run.began.wall, "result": result, "text": run.failure}


def copies(folder: str, deployment: str) -> Part:
    """Returns when the newest copy of the database in `folder` was made, and when the last drill has proven one."""
    from ansible_collections.waba.onprem.plugins.module_utils._dump import manifest

    made: list[float] = []
    drills: list[float] = []
    for path in glob.glob(os.path.join(glob.escape(folder), "*.json")):
        try:
            one = manifest.load(path)
        except WaError:
            continue  # the note of a drill, or a file of somebody else
        if one is None or one["facts"].get("deployment") != deployment or not manifest.is_complete(path, one):
            continue
        made.append(os.stat(path).st_mtime)
        try:
            noted = json.loads(files.read_text(f"{path[: -len('.json')]}.drill.json"))
            at = datetime.strptime(noted["at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
            drills.append(at.timestamp())
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not proven
    return {"made": max(made, default=None), "proven": max(drills, default=None)}
