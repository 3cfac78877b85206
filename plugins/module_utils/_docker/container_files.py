# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a small file in a running or stopped container, and finds files in its writable layer."""

from __future__ import annotations

import io
import posixpath
import tarfile
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import NotFound

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker

_LARGEST = 1 << 20  # bytes; certificate files are much smaller
_DEEPEST = 8  # limit of nested links
_HEADERS = 1 << 13  # bytes of a tar header, with a name and attributes of maximum length
_FOLDERS = 256  # limit of empty folders that are checked


def read(docker: Docker, container: str, path: str) -> bytes | None:
    """Returns the file's content; None if it does not exist. Raises WaError if the engine does not answer."""
    for _step in range(_DEEPEST):
        try:
            archive = docker.archive(container, path, _LARGEST)
        except NotFound:
            return None
        member, content = _first_member(archive)
        if member is None or not member.issym():
            return content
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), member.linkname))
    return None


def _first_member(archive: bytes) -> tuple[tarfile.TarInfo | None, bytes | None]:
    """Returns a tar archive's first member (None for none) and its content (None if no complete file)."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            member = tar.next()
            file = tar.extractfile(member) if member and member.isreg() else None
            content = file.read() if file else b""
    except tarfile.TarError:
        return None, None
    return member, content if file and member and len(content) == member.size else None


def in_layer(docker: Docker, container: str, folder: str) -> str:
    """Returns the first file under a folder in a container's writable layer; empty for none. Empty folders are ignored.

    Raises WaError if it cannot be determined, NotFound if the container is gone.
    """
    changed = docker.changes(container)
    parents = {posixpath.dirname(path) for path in changed}
    leaves = sorted(path for path in changed if path not in parents and f"{path}/".startswith(f"{folder}/"))
    for path in leaves[:_FOLDERS]:
        try:
            archive = docker.archive(container, path, _HEADERS)
        except NotFound:
            docker.changes(container)  # the container exists, so only the file is gone
            continue
        member = _first_member(archive)[0]
        if member is None or not member.isdir():
            return path
    if len(leaves) > _FOLDERS:
        raise WaError(
            f"{folder} in container {container[:12]}",
            f"its own layer has {len(leaves)} empty folders there or more",
            f"at most {_FOLDERS}",
        )
    return ""
