# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Safe reads of files that other users may have created, private lock files with a time-out, and atomic writes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import json
import os
import pwd
import secrets
import stat
import tempfile
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_size

LARGEST = 1 << 20  # bytes: the limit for a configuration file
_LINKS = 40  # Linux's limit of nested symbolic links
_NO_LOCKS = (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


def open_regular(path: str, follow: bool = True) -> t.BinaryIO:
    """Returns the file at `path`, opened for reading. Raises OSError, also if it is not a regular file, such as a FIFO."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    # Checked first: opening a device may have effects.
    if not stat.S_ISREG(os.stat(path, follow_symlinks=follow).st_mode):
        raise OSError(errno.EINVAL, "no regular file", path)
    number = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    if stat.S_ISREG(os.fstat(number).st_mode):
        return os.fdopen(number, "rb")
    os.close(number)
    raise OSError(errno.EINVAL, "no regular file", path)


def read_bytes(path: str, most: int = LARGEST, follow: bool = True) -> bytes:
    """Returns the content of a regular file. Raises OSError, also if it has more than `most` bytes."""
    with open_regular(path, follow) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"larger than {most} bytes", path)
    return data


def read_text(path: str) -> str:
    """Returns the content as text with its line endings unchanged. Raises OSError and UnicodeDecodeError."""
    return read_bytes(path).decode("utf-8")


def refuse_links_of_others(path: str) -> None:
    """Raises WaError if a symbolic link in `path` belongs to another user, who could redirect root's access."""
    here, left, links = "/", [part for part in path.split("/") if part], 0
    while left and links <= _LINKS:
        here = os.path.normpath(os.path.join(here, left.pop(0)))
        try:
            found = os.lstat(here)
            target = os.readlink(here) if stat.S_ISLNK(found.st_mode) else None
        except OSError:  # a missing component cannot redirect
            return
        if target is None:
            continue
        if found.st_uid not in (0, os.geteuid()):
            cure = f"Give the path that it leads to ({os.path.realpath(path)}) if that is yours, or remove the link"
            raise WaError(
                path, f"{here} is a link of user {found.st_uid}, who can change it", "no link of others", cure
            )
        links += 1
        left = [*(part for part in target.split("/") if part), *left]
        here = "/" if target.startswith("/") else os.path.dirname(here)


@contextlib.contextmanager
def folder_lock(folder: str) -> t.Iterator[None]:
    """Holds a folder, which `flock` does, too, and waits for who holds it. One that does not exist is not held."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def lock(path: str, timeout: float) -> t.Iterator[None]:
    """Holds the lock file at `path` and removes it afterwards. The lock of a killed process is released.

    Only its owner can open and lock it. Raises WaError if another process holds it for `timeout` seconds, OSError if it
    cannot be created.
    """
    end = time.monotonic() + timeout
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        try:
            if _take(handle) and stands_at(path, handle):
                break
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        if time.monotonic() >= end:
            cure = f"Wait for that process (fuser {path} names it), then run again"
            raise WaError(f"lock file {path}", f"another process has held it for {timeout:g} s", "a free lock", cure)
        time.sleep(0.05)
    try:
        yield
    finally:
        # Removed before the lock is released: a waiting process then detects that its open file is no longer the lock.
        with contextlib.suppress(OSError):
            os.unlink(path)
        os.close(handle)


def is_locked(path: str) -> bool:
    """Returns whether a process holds the lock file at `path`. Raises OSError."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _take(handle)
    finally:
        os.close(handle)


def acquire(handle: int, timeout: float = 0) -> bool:
    """Locks an open file; returns false if another process holds it for `timeout` seconds. Raises OSError."""
    end = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
        time.sleep(0.05)


def _take(handle: int) -> bool:
    """Tries to lock without waiting. Returns true on a file system without locks, where writes are still atomic."""
    try:
        return acquire(handle)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def stands_at(path: str, handle: int) -> bool:
    """Returns whether the open file is still the one at `path`: the previous holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def write_new(path: str, data: bytes, prepare: t.Callable[[int], None] | None = None) -> None:
    """Creates a file that only its owner can read, unless `prepare` changes its mode while it is empty.

    The file is synced to disk; a failure removes it. Raises OSError, also if the file or a link exists.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(handle, "wb") as file:
            if prepare:
                prepare(handle)
            file.write(data)
            file.flush()
            os.fsync(handle)
    except BaseException:  # a module also ends by SystemExit
        os.unlink(path)
        raise


def replace(path: str, data: bytes, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Replaces the file at `path` atomically, for `owner` (user, group) if given. Raises OSError; the old file is then unchanged."""

    def prepare(handle: int) -> None:
        if owner:
            os.fchown(handle, *owner)
        os.fchmod(handle, mode)

    folder, name = os.path.split(os.path.abspath(path))
    draft = os.path.join(folder, f".{name}-{secrets.token_hex(4)}")
    write_new(draft, data, prepare)
    try:
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
    sync_folder(folder)


@contextlib.contextmanager
def private_copies(texts: t.Mapping[str, str]) -> t.Iterator[dict[str, str]]:
    """Writes texts, by path, as private temporary files, so that a program reads them before they are written; returns their paths."""
    # With pipelining the module's temporary folder does not exist, and creating it would cause a warning.
    with tempfile.TemporaryDirectory() as folder:  # mode 0700
        copies = {path: os.path.join(folder, str(number)) for number, path in enumerate(texts)}
        for path, place in copies.items():
            with open(place, "w", encoding="utf-8", newline="") as file:
                file.write(texts[path])
        yield copies


def write_json(path: str, data: t.Any) -> None:
    """Replaces the file at `path` atomically with `data` as JSON."""
    replace(path, f"{json.dumps(data, indent=1)}\n".encode())


def check_room(folder: str, needed: int, what: str = "") -> None:
    """Raises WaError if the file system of `folder`, existing or not, has less than `needed` bytes free; `what` says what these are."""
    place = folder
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    status = os.statvfs(place)
    free = status.f_bavail * status.f_frsize
    if free < needed:
        cure = "Make room, or name another folder"
        raise WaError(f"dest {folder}", f"{format_size(free)} free", format_size(needed) + what, cure)


def make_folder(folder: str) -> None:
    """Creates the folder and its parents for their owner. Raises WaError, also if another user's link is in the path."""
    refuse_links_of_others(folder)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise WaError(f"dest {folder}", f"cannot be made: {error.strerror}", "a folder") from None


def owner(status: os.stat_result) -> tuple[str, str]:
    """Returns the names of a file's user and group, or the number of one that has none."""

    def name(read: t.Callable[[int], t.Any], number: int) -> str:
        try:
            return str(read(number)[0])
        except KeyError:
            return str(number)

    return name(pwd.getpwuid, status.st_uid), name(grp.getgrgid, status.st_gid)


def sync_folder(folder: str) -> None:
    """Syncs the directory `folder`, so that new names survive a power failure. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
