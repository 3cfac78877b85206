# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manages a Docker volume and its files: creates and removes it, finds its users and files.

Paths are those of this machine. Before a removal it is verified that they are the engine's, too.
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
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import container_name
from ansible_collections.waba.onprem.plugins.module_utils._media import filesystem
from ansible_collections.waba.onprem.plugins.module_utils._media.probe import MARKER
from ansible_collections.waba.onprem.plugins.module_utils._media.rules import is_bind, needs_mount

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker

KEY = "/etc/docker/key.json"  # only its `kid` is used, which is not secret
_TIMEOUT = 5.0  # seconds for an answer of a file system; a dead NFS server never answers
_PROBE_FILE = re.compile(r"\.wa-probe-\d+-([0-9a-f]{24})")
T = t.TypeVar("T")


class FilesystemTimeout(Exception):
    """A file system does not answer."""


def bounded(function: t.Callable[[], T], seconds: float = _TIMEOUT) -> T:
    """Returns the result of a function that accesses files. Raises FilesystemTimeout, since a dead share blocks its callers."""
    answer: list[T] = []
    failure: list[OSError] = []

    def run() -> None:
        try:
            answer.append(function())
        except OSError as error:
            failure.append(error)

    # A daemon thread, so that a blocked one does not keep the process alive.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not answer:
        raise FilesystemTimeout
    return answer[0]


def create(docker: Docker, name: str, driver: str, options: dict[str, str]) -> dict[str, t.Any]:
    """Creates a volume and returns its inspection; an existing volume of that name is returned unchanged."""
    subject = f"volume {name}"
    body = {"Name": name, "Driver": driver, "DriverOpts": options or None}
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


def check_driver(docker: Docker, name: str, driver: str) -> None:
    """Raises WaError as `create` would if the engine does not list a driver; for check mode."""
    listed = (docker.info().get("Plugins") or {}).get("Volume") or []
    if driver not in listed and f"{driver}:latest" not in listed:
        raise _no_driver(name, driver)


def remove(docker: Docker, name: str) -> None:
    """Removes a volume; Docker refuses one in use. A missing volume is not an error."""
    try:
        docker.request(f"volume {name}", "DELETE", f"/volumes/{quote(name, safe='')}")
    except WaError:
        if docker.volume(name) is not None:
            raise


def users(docker: Docker, actual: t.Mapping[str, t.Any]) -> list[str]:
    """Returns the names of all containers, including stopped ones, that mount a volume or bind its folder."""
    name, options = actual["Name"], actual.get("Options") or {}
    folders = [actual.get("Mountpoint") or "", options["device"] if is_bind(options) else ""]

    def uses(mount: t.Mapping[str, t.Any]) -> bool:
        source = f"{mount.get('Source', '')}/"
        return mount.get("Name") == name or any(folder and source.startswith(f"{folder}/") for folder in folders)

    rows = docker.rows(f"users of volume {name}")
    using = [row for row in rows if any(uses(mount) for mount in row.get("Mounts") or [])]
    return sorted(map(container_name, using))


def is_here(docker: Docker) -> bool:
    """Returns whether the engine's folder is on this machine, verified by `engine-id` in it, or by its key before Docker 24.

    A socket may lead to another machine or into a container; then the engine's paths are not valid here.
    """
    info = docker.info()
    mark = read(os.path.join(info["DockerRootDir"], "engine-id")).strip() or _id_of_key()
    return bool(mark) and mark == info["ID"]


def _id_of_key() -> str:
    """Returns the id of an engine before Docker 24, which derives it from its key; empty for none."""
    try:
        return str(json.loads(read(KEY))["kid"])
    except (ValueError, KeyError, TypeError):
        return ""


def mount_table() -> list[filesystem.MountPoint]:
    """Returns the mounts of this machine."""
    return filesystem.parse_mounts(read("/proc/self/mountinfo"))


def why_not_remove(docker: Docker, actual: dict[str, t.Any]) -> WaError | None:
    """Returns the error that prevents a removal: a container uses the volume, or it may contain files."""
    name, expected = actual["Name"], "a volume that no container uses and that holds no file"
    using = users(docker, actual)
    if using:
        return WaError(
            f"volume {name}",
            f"used by {', '.join(using)}",
            expected,
            "Remove these containers first (docker compose down leaves volumes alone)",
        )
    cure = f"Media are never deleted by this collection: move them away and run docker volume rm {name} by hand"
    try:
        found = _holds(docker, actual)
    except (OSError, FilesystemTimeout) as error:
        reason = str(error) or "the file system does not answer"
        return WaError(
            f"volume {name}", f"its files cannot be read ({reason}), so it counts as holding data", expected, cure
        )
    return WaError(f"volume {name}", f"holds files, {found} is one", expected, cure) if found is not None else None


def _holds(docker: Docker, actual: dict[str, t.Any]) -> str | None:
    """Returns a file in the volume or None. Raises OSError or FilesystemTimeout if it is unknown."""
    options = actual.get("Options") or {}
    if actual["Driver"] != "local":
        raise OSError(f"driver {actual['Driver']} keeps them")
    if options.get("type") == "tmpfs" and not is_bind(options):  # a bind ignores the type
        return None  # its files are removed with the last container
    if not is_here(docker):
        raise OSError("the engine is not known to run on this machine")
    root = actual["Mountpoint"]
    if is_bind(options):
        root = os.path.realpath(options["device"])
        try:
            check_device(options)
        except WaError as error:
            raise OSError(error.found) from None
    elif needs_mount(options) and not any(one.path == root for one in mount_table()):
        raise OSError("its share is not mounted")
    return bounded(lambda: first_file(root))


def home(docker: Docker, actual: t.Mapping[str, t.Any]) -> str | None:
    """Returns the host folder with the files of a volume in use; None if it is not accessible."""
    options = actual.get("Options") or {}
    if actual["Driver"] != "local" or not is_here(docker):
        return None
    if is_bind(options):
        return str(options["device"])
    root = str(actual["Mountpoint"])
    return root if not needs_mount(options) or any(one.path == root for one in mount_table()) else None


def check_device(options: t.Mapping[str, str]) -> None:
    """Raises WaError if a volume binds a directory of this host with a missing, stale or dead share."""
    if not is_bind(options):
        return
    path = options["device"]
    visit(path)
    device = bounded(lambda: os.path.realpath(path))
    filesystem.check_device(device, mount_table(), filesystem.parse_fstab(read("/etc/fstab")))


def first_file(root: str) -> str | None:
    """Returns the path below `root` of the first entry that is not a directory; None if there is none.

    Files left by killed probes are ignored. Raises OSError if a directory cannot be read, or another file system is mounted
    inside.
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
    """Returns whether a file is ours: the marker, or a probe's file, whose content is its token, the end of its name, or empty."""
    if entry.name == MARKER and entry.is_file(follow_symlinks=False):
        return True
    match = _PROBE_FILE.fullmatch(entry.name)
    if not match or not entry.is_file(follow_symlinks=False):
        return False
    # The client may write here, so the file may have been replaced by a link or a FIFO.
    with files.open_regular(entry.path, follow=False) as file:
        return file.read(99).decode(errors="replace") in ("", f"{match.group(1)}\n", f"{entry.name}\n")


def read(path: str) -> str:
    """Returns a small text file of the host; empty if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def visit(path: str) -> None:
    """Accesses a directory, so that an automounter mounts it. Raises WaError if it is missing, stale or dead."""
    try:
        bounded(lambda: os.listdir(path))
    except FileNotFoundError:
        raise WaError(
            f"device {path}", "does not exist", "a directory", "Create it, or mount the share there"
        ) from None
    except NotADirectoryError:
        raise WaError(f"device {path}", "is no directory", "a directory") from None
    except PermissionError:
        return  # root_squash: its existence is sufficient
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
