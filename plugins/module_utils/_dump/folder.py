# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of dumps: whether it can be written, and which dumps in it are removed."""

from __future__ import annotations

import contextlib
import glob
import os
import tempfile
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._dump import manifest

_PROBE = 4096  # bytes


def _present(folder: str) -> str:
    """Returns `folder`, or the nearest one above it that exists."""
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    return folder


@contextlib.contextmanager
def draft(folder: str) -> t.Iterator[t.IO[bytes]]:
    """Yields an empty file without a buffer that was written in `folder`, or where that would be made, and has no name: nothing of it remains.

    Raises WaError.
    """
    files.refuse_links_of_others(folder)
    where = _present(folder)
    with contextlib.ExitStack() as ends:
        try:
            found = ends.enter_context(tempfile.TemporaryFile(dir=where, buffering=0))
            found.write(bytes(_PROBE))
            found.seek(0)
            found.truncate()
        except OSError as error:
            raise WaError(
                f"dest {folder}",
                f"no file can be written in {where}: {error.strerror}",
                "a folder that root may write (an NFS server may map root to nobody)",
                "Have it writable, or name another folder",
            ) from None
        yield found


def surplus(folder: str, deployment: str, keep: int, needed: t.Collection[str]) -> list[str]:
    """Returns the manifests of the dumps of `deployment` in `folder` that are older than its `keep` newest ones.

    One that is `needed`, or that a restore reads, is not among them; nor is what has no manifest of ours.
    """
    found = []
    for path in glob.glob(os.path.join(glob.escape(folder), "*.json")):
        with contextlib.suppress(WaError, OSError):
            one = manifest.load(path)
            if one and one["facts"].get("deployment") == deployment and manifest.is_complete(path, one):
                found.append((os.stat(path).st_mtime, path, manifest.dump_path(path, one)))
    return [
        path
        for _at, path, dump in sorted(found, reverse=True)[keep:]
        if path not in needed and not files.is_locked(dump)
    ]


def remove(path: str) -> None:
    """Removes the dump of the manifest at `path`, the note of its drill, and last the manifest. Raises WaError."""
    found = manifest.load(path)
    if found is None:
        return
    try:
        for one in (manifest.dump_path(path, found), f"{path[: -len('.json')]}.drill.json", path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(one)
        files.sync_folder(os.path.dirname(path))
    except OSError as error:
        raise WaError(
            f"dump of {path}", f"cannot be removed: {error.strerror}", "a folder that can be written"
        ) from None
