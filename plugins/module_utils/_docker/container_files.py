# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a small file inside a container, running or stopped, in its image or on one of its mounts; finds those of its layer."""

from __future__ import annotations

import io
import posixpath
import tarfile
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import NotFound

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker

_LARGEST = 1 << 20  # a file of certificates is far smaller
_DEEPEST = 8  # links to links
_HEADERS = 1 << 13  # of a tar member, with a name and attributes of any length that files have
_FOLDERS = 256  # empty ones that are asked for


def read(docker: Docker, container: str, path: str) -> bytes | None:
    """The file's content; None when there is no such file. Raises WaError when the engine does not answer."""
    for _step in range(_DEEPEST):
        try:
            archive = docker.archive(container, path, _LARGEST)
        except NotFound:
            return None
        link, content = first_member(archive)
        if not link:
            return content
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    return None


def first_member(archive: bytes) -> tuple[str, bytes | None]:
    """Where the first member of a tar archive links to (empty: it is no link), and its content (None: it is no file)."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            member = tar.next()
            if member is None:
                return "", None
            if member.issym():
                return member.linkname, None
            file = tar.extractfile(member)
            content = file.read() if file else None
    except tarfile.TarError:
        return "", None
    return "", content if content is not None and len(content) == member.size else None


def in_layer(docker: Docker, container: str, folder: str) -> str:
    """The first file under a folder that is in a container's own writable layer; empty for none. Empty folders do not count.

    Raises WaError where it cannot be told, NotFound when the container is gone.
    """
    changed = docker.changes(container)
    parents = {posixpath.dirname(path) for path in changed}
    leaves = sorted(path for path in changed if path not in parents and f"{path}/".startswith(f"{folder}/"))
    for path in leaves[:_FOLDERS]:
        try:
            archive = docker.archive(container, path, _HEADERS)
        except NotFound:
            docker.changes(container)  # the container is there, and the file was a passing one
            continue
        if not _is_folder(archive):
            return path
    if len(leaves) > _FOLDERS:
        raise WaError(
            f"{folder} in container {container[:12]}",
            f"its own layer has {len(leaves)} empty folders there or more",
            f"at most {_FOLDERS}",
        )
    return ""


def _is_folder(archive: bytes) -> bool:
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            member = tar.next()
    except tarfile.TarError:
        return False
    return member is not None and member.isdir()
