# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removes files and empty folders only, with `unlink` and `rmdir`: the content of a folder is never removed."""

from __future__ import annotations

import errno
import glob
import os
import stat
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._core import files as core_files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

SHOWN = 5  # maximum of names listed for a folder


@dataclass
class Plan:
    """The paths to remove, and the folders to keep, each with the reason."""

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)


def plan(files: t.Iterable[str], folders: t.Iterable[str]) -> Plan:
    """Returns the plan of a removal of `files`, in which a `*` matches any text, and of empty `folders`.

    Raises WaError, before any removal, if a path of a file is a folder or a process has locked a file.
    """
    found = Plan()
    for path in dict.fromkeys(each for given in files for each in matching(given)):
        mode = _mode(path)
        if mode is None:
            continue
        if stat.S_ISDIR(mode):
            raise WaError(path, "a folder", "a file", "Nothing was removed. Move the folder away if it is yours")
        if stat.S_ISREG(mode) and _is_locked(path):
            raise WaError(path, "locked by a process", "a file that nothing uses", "Wait for that run, then run again")
        found.files.append(path)
    for path in dict.fromkeys(folders):
        mode = _mode(path)
        if mode is None:
            continue
        reason = _reason(path, mode, {*found.files, *found.folders})
        if reason:
            found.kept[path] = reason
        else:
            found.folders.append(path)
    return found


def apply(found: Plan) -> None:
    """Removes the planned paths; a folder that is no longer empty is kept. Raises WaError with the path."""
    for path in found.files:
        _remove(os.unlink, path)
    for path in list(found.folders):
        try:
            _remove(os.rmdir, path)
        except OSError:
            found.folders.remove(path)
            found.kept[path] = _reason(path, stat.S_IFDIR, set()) or "in use"


def matching(path: str) -> list[str]:
    """Returns the paths that match `path`: a `*` in its last component matches any text. Without one it is returned as it is."""
    folder, name = os.path.split(path)
    if "*" not in name:
        return [path]
    return sorted(glob.glob(os.path.join(glob.escape(folder), "*".join(map(glob.escape, name.split("*"))))))


def _remove(call: t.Callable[[str], None], path: str) -> None:
    try:
        call(path)
    except FileNotFoundError:
        return
    except OSError as error:
        if call is os.rmdir and error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
            raise
        raise WaError(
            path, f"cannot be removed: {os.strerror(error.errno or 0)}", "a path that may be removed"
        ) from error


def _mode(path: str) -> int | None:
    """Returns the type of `path` without following links; None if it does not exist."""
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise WaError(path, f"cannot be read: {os.strerror(error.errno or 0)}", "a path that may be read") from error


def _is_locked(path: str) -> bool:
    try:
        return core_files.is_locked(path)
    except OSError:
        return False  # its removal reports what is wrong with it


def _reason(path: str, mode: int, going: t.Container[str]) -> str:
    """Returns why the folder at `path` is kept after `going` are removed; empty if it can be removed."""
    if not stat.S_ISDIR(mode):
        return "is a link" if stat.S_ISLNK(mode) else "is no folder"
    if os.path.ismount(path):
        return "is a mount point"
    try:
        left = sorted(name for name in os.listdir(path) if os.path.join(path, name) not in going)
    except OSError as error:
        raise WaError(path, f"cannot be read: {os.strerror(error.errno or 0)}", "a folder that may be read") from error
    more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
    return f"holds {', '.join(left[:SHOWN])}{more}" if left else ""
