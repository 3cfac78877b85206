# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Docker volume and the files behind it: make, remove, who uses it, does it hold files, how much room is there.

Paths are those of this machine. Whether they are the engine's, too, is proved before anything is removed.
"""

from __future__ import annotations

import json
import os
import re
import threading
import typing as t
from urllib.parse import quote

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._media import filesystem
from ansible_collections.waba.onprem.plugins.module_utils._media.probe import MARKER
from ansible_collections.waba.onprem.plugins.module_utils._media.rules import is_bind, needs_mount

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker

KEY = "/etc/docker/key.json"  # of it only `kid` is used, which is no secret
_TIMEOUT = 5.0  # seconds that a file system may take to answer; a dead NFS server never does
_PROBE_FILE = re.compile(r"\.wa-probe-\d+-([0-9a-f]{24})")
T = t.TypeVar("T")


class FilesystemTimeout(Exception):
    """A file system does not answer."""


def bounded(function: t.Callable[[], T], seconds: float = _TIMEOUT) -> T:
    """The answer of a function that touches files, or FilesystemTimeout when none comes in time (a dead share hangs callers)."""
    answer: list[T] = []
    failure: list[OSError] = []

    def run() -> None:
        try:
            answer.append(function())
        except OSError as error:
            failure.append(error)

    # A daemon, so that a hanging one does not keep this process.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not answer:
        raise FilesystemTimeout
    return answer[0]


def create(docker: Docker, name: str, driver: str, options: dict[str, str], labels: dict[str, str]) -> dict[str, t.Any]:
    """Make a volume and return Docker's record of it; one of that name that is there already comes back as it is."""
    subject = f"volume {name}"
    body = {"Name": name, "Driver": driver, "DriverOpts": options or None, "Labels": labels or None}
    try:
        return t.cast("dict[str, t.Any]", docker.request(subject, "POST", "/volumes/create", body=body))
    except WaError as error:
        if driver != "local" and "plugin" in error.found:
            raise _no_driver(name, driver) from None
        raise


def _no_driver(name: str, driver: str) -> WaError:
    return WaError(
        f"volume {name}",
        f"the engine has no volume driver {driver}",
        "a driver that is installed and enabled",
        f"docker plugin install {driver}",
    )


def check_driver(engine: Engine, name: str, driver: str) -> None:
    """Raise WaError as `create` would, when the engine does not list a driver; for check mode."""
    listed = (engine.info.get("Plugins") or {}).get("Volume") or []
    if driver not in listed and f"{driver}:latest" not in listed:
        raise _no_driver(name, driver)


def remove(docker: Docker, name: str) -> None:
    """Remove a volume; Docker itself refuses one in use. A volume that is gone already is well."""
    try:
        docker.request(f"volume {name}", "DELETE", f"/volumes/{quote(name, safe='')}")
    except WaError:
        if docker.volume(name) is not None:
            raise


def replace(
    docker: Docker, name: str, before: dict[str, t.Any] | None, after: dict[str, t.Any] | None
) -> dict[str, t.Any] | None:
    """Make the volume `before` (None: there is none) the volume `after`; returns Docker's record of that.

    Both as `_media.rules.shape` has them. When `after` cannot be made, `before` is made again.
    """

    def make(shape: dict[str, t.Any]) -> dict[str, t.Any]:
        return create(docker, name, shape["driver"], shape["driver_options"], shape["labels"])

    if before:
        remove(docker, name)
    try:
        return make(after) if after else None
    except WaError as error:
        if before is None:
            raise
        state = "the empty one that was there is there again"
        try:
            make(before)
        except WaError as second:
            state = f"the empty one that was there is removed and cannot be made again: {second.found}"
        raise WaError(error.subject, f"{error.found}; {state}", error.expected, error.cure) from None


def users(docker: Docker, actual: t.Mapping[str, t.Any]) -> list[str]:
    """The names of all containers, stopped ones too, that mount a volume, or its folder on the host as a bind."""
    name, options = actual["Name"], actual.get("Options") or {}
    folders = [actual.get("Mountpoint") or "", options["device"] if is_bind(options) else ""]

    def uses(mount: t.Mapping[str, t.Any]) -> bool:
        source = f"{mount.get('Source', '')}/"
        return mount.get("Name") == name or any(folder and source.startswith(f"{folder}/") for folder in folders)

    rows = docker.rows(f"users of volume {name}")
    using = [row for row in rows if any(uses(mount) for mount in row.get("Mounts") or [])]
    return sorted((row.get("Names") or [row["Id"][:12]])[0].lstrip("/") for row in using)


class Engine:
    """What the engine tells of itself, asked at most once."""

    def __init__(self, docker: Docker) -> None:
        self.docker = docker
        self._info: dict[str, t.Any] | None = None

    @property
    def info(self) -> dict[str, t.Any]:
        """The answer of `docker info`."""
        if self._info is None:
            self._info = self.docker.info()
        return self._info

    @property
    def maybe_here(self) -> bool:
        """Whether the engine may run on this machine."""
        return self.docker.local

    @property
    def here(self) -> bool:
        """Whether the engine's folder is the one on this machine, proved by the engine's own mark in it, or by its key before Docker 24.

        A socket may lead to another machine or into a container; then a path of that engine says nothing here.
        """
        return bool(self.info["ID"]) and self._mark() == self.info["ID"]

    @property
    def elsewhere(self) -> bool:
        """Whether the engine is surely not on this machine: its folder is missing here, or is another engine's."""
        return not self.maybe_here or self._mark() not in (self.info["ID"], "")

    def _mark(self) -> str | None:
        """The id of the engine whose folder is on this machine; empty when it cannot be read, None without that folder."""
        root = self.info["DockerRootDir"]
        if not self.maybe_here or not os.path.isdir(root):
            return None
        return read(os.path.join(root, "engine-id")).strip() or _id_of_key()


def _id_of_key() -> str:
    """The id of an engine before Docker 24, which takes it from its key and writes no `engine-id`; empty when there is none."""
    try:
        return str(json.loads(read(KEY))["kid"])
    except (ValueError, KeyError, TypeError):
        return ""


def mount_table() -> list[filesystem.MountPoint]:
    """What is mounted on this machine."""
    return filesystem.parse_mounts(read("/proc/self/mountinfo"))


def why_not_remove(
    docker: Docker, engine: Engine, actual: dict[str, t.Any], leaving: t.Collection[str] = ()
) -> WaError | None:
    """What forbids to remove a volume: a container that uses it and is none of `leaving`, a file in it, or not knowing."""
    name, expected = actual["Name"], "a volume that no container uses and that holds no file"
    using = [one for one in users(docker, actual) if one not in leaving]
    if using:
        return WaError(
            f"volume {name}",
            f"used by {', '.join(using)}",
            expected,
            "Remove these containers first (docker compose down leaves volumes alone)",
        )
    cure = f"Media are never deleted by this collection: move them away and run docker volume rm {name} by hand"
    try:
        found = _holds(engine, actual)
    except (OSError, FilesystemTimeout) as error:
        reason = str(error) or "the file system does not answer"
        return WaError(
            f"volume {name}", f"its files cannot be read ({reason}), so it counts as holding data", expected, cure
        )
    return WaError(f"volume {name}", f"holds files, {found} is one", expected, cure) if found is not None else None


def _holds(engine: Engine, actual: dict[str, t.Any]) -> str | None:
    """A file in the volume or None; OSError or FilesystemTimeout when nobody can tell."""
    options = actual.get("Options") or {}
    if actual["Driver"] != "local":
        raise OSError(f"driver {actual['Driver']} keeps them")
    if options.get("type") == "tmpfs" and not is_bind(options):  # a bind takes no notice of the type
        return None  # its files went with the last container
    if not engine.here:
        raise OSError("the engine is not known to run on this machine")
    root = actual["Mountpoint"]
    if is_bind(options):
        root = os.path.realpath(options["device"])
        try:
            check_device(engine, options, None)
        except WaError as error:
            raise OSError(error.found) from None
    elif needs_mount(options) and not any(one.path == root for one in mount_table()):
        raise OSError("its share is not mounted")
    return bounded(lambda: first_file(root))


def home(engine: Engine, actual: t.Mapping[str, t.Any]) -> str | None:
    """The folder of this host where the files of a volume in use must be; None when there is none to look into."""
    options = actual.get("Options") or {}
    if actual["Driver"] != "local" or not engine.here:
        return None
    if is_bind(options):
        return str(options["device"])
    root = str(actual["Mountpoint"])
    return root if not needs_mount(options) or any(one.path == root for one in mount_table()) else None


def check_device(engine: Engine, options: t.Mapping[str, str], required: bool | None, mountpoint: str = "") -> None:
    """Raise WaError when a volume lives in a directory of this host where a share is missing, stale or dead.

    That is the directory it binds; or its own folder `mountpoint`, when a share is `required` there.
    """
    if is_bind(options):
        path = options["device"]
    elif required and not needs_mount(options):
        path = mountpoint
        if not path:
            raise WaError(
                "option require_mountpoint",
                "a plain volume is made on the host's own disk",
                "driver_options that bind a directory where a share is mounted",
                "Set driver_options to type none, o bind, device the directory",
            )
    else:
        return
    if not engine.maybe_here:
        return
    try:
        visit(path)
        device = bounded(lambda: os.path.realpath(path))
        promised = filesystem.parse_fstab(read("/etc/fstab"))
        filesystem.check_device(device, mount_table(), promised, required)
    except WaError:
        if not engine.elsewhere:  # asked only now: it costs a request
            raise


def space(
    engine: Engine, actual: t.Mapping[str, t.Any] | None, driver: str, options: t.Mapping[str, str]
) -> tuple[int, int] | None:
    """Free and total bytes of the file system of a volume, or of one to be made; None when this host cannot tell."""
    if driver != "local" or not engine.maybe_here:
        return None
    if is_bind(options):
        path = options["device"]
    elif needs_mount(options):
        path = actual["Mountpoint"] if actual else ""
        if not any(one.path == path for one in mount_table()):
            return None
    elif actual:
        path = actual["Mountpoint"]
    else:
        path = engine.info["DockerRootDir"]
    while True:
        try:
            return free_bytes(path)
        except PermissionError:  # only root may look into Docker's folder; it is the same file system above
            if path == "/":
                return None
            path = os.path.dirname(path)
        except (OSError, FilesystemTimeout):
            return None


def first_file(root: str) -> str | None:
    """The path below `root` of the first thing that is no directory, or None when there is none.

    A file that a killed probe left holds no media and does not count.

    Raises OSError where a directory cannot be read, and for another file system mounted inside.
    """
    home = os.stat(root).st_dev
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_left(entry):
                    continue
                if not entry.is_dir(follow_symlinks=False):
                    return os.path.relpath(entry.path, root)
                if entry.stat(follow_symlinks=False).st_dev != home:
                    raise OSError(f"another file system is mounted at {entry.path}")
                waiting.append(entry.path)
    return None


def _is_left(entry: os.DirEntry[str]) -> bool:
    """Whether it is ours: the marker, or what a killed probe left, which holds its own name or the end of it, or nothing yet."""
    if entry.name == MARKER and entry.is_file(follow_symlinks=False):
        return True
    match = _PROBE_FILE.fullmatch(entry.name)
    if not match or not entry.is_file(follow_symlinks=False):
        return False
    # The client may write here: what was a file a moment ago may be a link or a FIFO now.
    with files.open_regular(entry.path, follow=False) as file:
        return file.read(99).decode(errors="replace") in ("", f"{match.group(1)}\n", f"{entry.name}\n")


def free_bytes(path: str) -> tuple[int, int]:
    """Free (for users other than root) and total bytes of the file system of `path`."""
    answer = bounded(lambda: os.statvfs(path))
    return answer.f_bavail * answer.f_frsize, answer.f_blocks * answer.f_frsize


def read(path: str) -> str:
    """A small text file of the host, or an empty text when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def visit(path: str) -> None:
    """Touch a directory, so that an automounter mounts it. Raises WaError when it is missing, stale or dead."""
    try:
        bounded(lambda: os.listdir(path))
    except FileNotFoundError:
        raise WaError(
            f"device {path}", "does not exist", "a directory", "Create it, or mount the share there"
        ) from None
    except NotADirectoryError:
        raise WaError(f"device {path}", "is no directory", "a directory") from None
    except PermissionError:
        return  # root_squash: that it is there is enough
    except FilesystemTimeout:
        raise WaError(
            f"device {path}",
            f"no answer within {_TIMEOUT:.0f}s: the share is dead",
            "a share that answers",
            "Bring its server back, or unmount it (umount -l)",
        ) from None
    except OSError as error:
        raise WaError(
            f"device {path}",
            f"{error.strerror}: the mount is stale",
            "a share that answers",
            f"umount -l {path}; mount {path}",
        ) from None
