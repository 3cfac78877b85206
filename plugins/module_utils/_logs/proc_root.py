# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a container's log folders from outside, through `/proc/<pid>/root`, without a process in the container.

Docker needs 70 ms of CPU to start a process (measured), this needs a millisecond. It requires root on the engine's machine;
if it cannot identify the container reliably it raises NotHere, and the caller measures in the container.
"""

from __future__ import annotations

import os
import posixpath
import stat
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._logs.measurement import LogFile, Measurement

# Other file systems may block on a dead server without a time-out; a process in the container has one.
_LOCAL = frozenset(("aufs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"))
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class NotHere(Exception):
    """The container's files cannot be read from outside."""


def walk(pid: int, container_id: str, paths: t.Sequence[str], proc: str = "/proc") -> Measurement:
    """Returns the content of the folders `paths` of a container; `pid` is its main process. Raises NotHere.

    Symbolic links are not followed, since they could leave the container.
    """
    try:
        root = os.open(f"{proc}/{pid}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotHere(str(error)) from None
    try:
        # Checked after the root is open, to detect a PID that was reused by another process.
        with open(f"{proc}/{pid}/cgroup", encoding="utf-8") as file:
            if container_id not in file.read():
                raise NotHere(f"process {pid} is not of container {container_id}")
        with open(f"{proc}/{pid}/mountinfo", encoding="utf-8") as file:
            mounts = file.read()
        unsupported = {kind for path in paths for kind in kinds_at(mounts, posixpath.normpath(path))} - _LOCAL
        if unsupported:
            raise NotHere(f"file systems of kind {', '.join(sorted(unsupported))}")
        found = Measurement()
        for path in paths:
            _take(found, root, posixpath.normpath(path))
        return found
    except (OSError, RecursionError) as error:  # too deeply nested folders
        raise NotHere(str(error)) from None
    finally:
        os.close(root)


def kinds_at(mountinfo: str, path: str) -> set[str]:
    """Returns the types of the file systems at and below a path, from a process's `mountinfo`, see proc(5)."""
    above, found = ("/", ""), set()
    for line in mountinfo.splitlines():
        fields, _dash, rest = line.partition(" - ")
        point = fields.split(" ")[4].encode().decode("unicode_escape")
        kind = rest.split(" ")[0]
        if (path.rstrip("/") + "/").startswith(point.rstrip("/") + "/"):
            if len(point) >= len(above[0]):
                above = (point, kind)  # of two at one mount point, the later one is visible
        elif point.startswith(path.rstrip("/") + "/"):
            found.add(kind)
    return found | {above[1]}


def _take(found: Measurement, root: int, path: str) -> None:
    """Adds one log folder to `found`."""
    folder = _open(root, path)
    if folder is None:
        found.missing.append(path)
        return
    try:
        found.folders.append(path)
        known = {(file.path, file.inode) for file in found.files}
        for top, _folders, names, here in os.fwalk(".", dir_fd=folder, onerror=_raise):
            below = posixpath.normpath(posixpath.join(path, _shown(top)))
            rows = [(name, _stat(name, here)) for name in names]
            files = [(name, one) for name, one in rows if one is not None and stat.S_ISREG(one.st_mode)]
            for name, one in files:
                where = posixpath.join(below, _shown(name))
                if (where, one.st_ino) not in known:
                    found.files.append(LogFile(where, one.st_ino, one.st_size, one.st_blocks * 512, one.st_mtime))
    finally:
        os.close(folder)


def _open(root: int, path: str) -> int | None:
    """Returns the folder's descriptor, None if it does not exist. Raises OSError if it is a link or unreadable."""
    here = os.dup(root)
    for part in path.strip("/").split("/"):
        try:
            below = os.open(part, _FOLDER, dir_fd=here)
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            if stat.S_ISLNK(os.stat(part, dir_fd=here, follow_symlinks=False).st_mode):
                raise
            return None
        finally:
            os.close(here)
        here = below
    return here


def _stat(name: str, folder: int) -> os.stat_result | None:
    """Returns a file's record; None if it was removed meanwhile."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _shown(name: str) -> str:
    """Returns a name in the format of `ls -q`: on one line, with unprintable bytes replaced."""
    return "".join(one if one.isprintable() else "?" for one in os.fsencode(name).decode(errors="replace"))


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a folder removed meanwhile is empty
        raise error
