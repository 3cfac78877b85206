# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a small file inside a container, running or stopped, in its image or on one of its mounts."""

from __future__ import annotations

import io
import posixpath
import tarfile
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import NotFound

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker

_LARGEST = 1 << 20  # a file of certificates is far smaller
_DEEPEST = 8  # links to links


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
