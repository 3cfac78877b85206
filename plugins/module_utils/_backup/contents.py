# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has that its deployment needs to be made again. Changes nothing."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
import posixpath
import stat
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._client import listing
from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MEDIA_FOLDER
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._env.rules import KEYS
from ansible_collections.waba.onprem.plugins.module_utils._media import probe

Container = t.Mapping[str, t.Any]  # as `_client.listing` describes it
# Of the settings in a container. `hashlib.scrypt` is slow on purpose: what is kept of a short key must not lead to it.
_SCRYPT = {"n": 1 << 14, "r": 8, "p": 1, "dklen": 8}


class Contents(t.TypedDict):
    """What `read` returns."""

    files: list[dict[str, t.Any]]  # path, mode, owner, content in Base64
    missing: list[str]  # paths that are named and not there
    images: list[dict[str, t.Any]]  # name, id, bytes
    version: str
    registration: dict[str, str]  # where it is, by container
    fingerprints: dict[str, list[str]]  # of secrets that a copy of the database needs beside it, by variable
    media: dict[str, t.Any]


def read(engine: Docker, desired: t.Mapping[str, t.Any], list_media: bool) -> Contents:
    """Returns what is kept of this host. `desired` has `project`, `container_names`, `env_file`, `files` and `salt`.

    Raises WaError where the engine does not answer, no container of the client is there, or a file cannot be read.
    """
    clients = engine.services(desired["project"], desired["container_names"])
    described = [listing.describe(container, record) for container, record in clients]
    named = [desired["env_file"], *desired["files"], *(path for one in described for path in one["files"])]
    # Compose reads .env in the folder of the first file, without being told.
    beside = [posixpath.join(posixpath.dirname(path), ".env") for path in named[1:]]
    there, missing = _files(dict.fromkeys(named), dict.fromkeys(beside))
    return {
        "files": there,
        "missing": missing,
        "images": _images(engine, described),
        "version": next((one["version"] for one in described if one["version"]), ""),
        "registration": {one["name"]: _registration(one) for one in described if one["role"] != "web"},
        "fingerprints": _fingerprints([container.environment or {} for container, _record in clients], desired["salt"]),
        "media": _media([record for _container, record in clients]) if list_media else {},
    }


def _files(named: t.Iterable[str], beside: t.Iterable[str]) -> tuple[list[dict[str, t.Any]], list[str]]:
    """Returns the files, and the paths of `named` that are not there; of those `beside` them only what is there counts."""
    found, missing = [], []
    expected = set(named)
    for path in dict.fromkeys([*named, *beside]):
        try:
            data, status = files.read_bytes(path), os.stat(path)
        except FileNotFoundError:
            missing += [path] if path in expected else []
            continue
        except OSError as error:
            raise WaError(f"file {path}", f"cannot be read: {error.strerror}", "a file of the client") from None
        found.append(
            {
                "path": path,
                "mode": f"{stat.S_IMODE(status.st_mode):04o}",
                "owner": files.owner(status)[0],
                "content": base64.b64encode(data).decode(),
            }
        )
    return found, missing


def _images(engine: Docker, containers: t.Iterable[Container]) -> list[dict[str, t.Any]]:
    found = []
    for name in sorted({one["image"] for one in containers}):
        record = engine.image(name) or {}
        found.append({"name": name, "id": record.get("Id", ""), "bytes": record.get("Size", 0)})
    return found


def _registration(one: Container) -> str:
    if not one["keeps_configuration"]:
        return "in the container alone"
    return one["configuration_mount"] or "in the database"


def _fingerprints(environments: t.Sequence[t.Mapping[str, str]], salt: str) -> dict[str, list[str]]:
    return {
        key: sorted(
            {
                hashlib.scrypt(one[key].encode(), salt=f"{salt}/{key}".encode(), **_SCRYPT).hex()
                for one in environments
                if one.get(key)
            }
        )
        for key in KEYS
        if any(one.get(key) for one in environments)
    }


def _media(records: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """Returns the list of the media as `list`, gzip in Base64: a line for each with its bytes, a tab, and its name as a JSON string's content.

    `problem` says why there is none.
    """
    mounts = [mount for one in records for mount in one.get("Mounts") or ()]
    folder = next((one["Source"] for one in mounts if posixpath.normpath(one["Destination"]) == MEDIA_FOLDER), "")
    if not folder:
        return {"problem": f"nothing is mounted at {MEDIA_FOLDER}"}
    packed, count, size = io.BytesIO(), 0, 0
    try:
        # mtime: the same media make the same list.
        with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as lines:
            for name, length in _walk(folder):
                lines.write(f"{length}\t{name}\n".encode())
                count, size = count + 1, size + length
        path = posixpath.join(folder, probe.MARKER)
        marker = files.read_text(path).strip() if os.path.exists(path) else ""
    except OSError as error:
        return {"problem": f"{folder} cannot be read from the host: {error.strerror}"}
    return {
        "folder": folder,
        "marker": marker,
        "count": count,
        "bytes": size,
        "list": base64.b64encode(packed.getvalue()).decode(),
    }


def _walk(root: str) -> t.Iterator[tuple[str, int]]:
    """Yields name below `root` and size of each regular file. A file that goes meanwhile is left out. Raises OSError."""
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_file(follow_symlinks=False) and entry.name != probe.MARKER:
                        name = os.path.relpath(entry.path, root)
                        yield ascii(name)[1:-1] if not name.isprintable() else name, entry.stat().st_size
                except FileNotFoundError:
                    continue
