# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files: reading what others may have made, locks that no other local user can hold, writing in one step. No wait is endless."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import stat
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

LARGEST = 1 << 20  # bytes: no configuration file is larger
_LINKS = 40  # as many as Linux follows
_NO_LOCKS = (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


def open_regular(path: str, follow: bool = True) -> t.BinaryIO:
    """The file at `path`, opened for reading. Raises OSError, also for what is no regular file, such as a FIFO."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    # Looked at first: to open a device may already do something.
    if not stat.S_ISREG(os.stat(path, follow_symlinks=follow).st_mode):
        raise OSError(errno.EINVAL, "no regular file", path)
    number = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    if stat.S_ISREG(os.fstat(number).st_mode):
        return os.fdopen(number, "rb")
    os.close(number)
    raise OSError(errno.EINVAL, "no regular file", path)


def read_bytes(path: str, most: int = LARGEST, follow: bool = True) -> bytes:
    """What a regular file holds. Raises OSError, also for one with more than `most` bytes."""
    with open_regular(path, follow) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"larger than {most} bytes", path)
    return data


def read_text(path: str, most: int = LARGEST) -> str:
    """The same as text, with its line endings as they are. Raises OSError and UnicodeDecodeError."""
    return read_bytes(path, most).decode("utf-8")


def refuse_links_of_others(path: str) -> None:
    """Raise WaError when a link on the way to `path` is another user's, who can lead what root does there elsewhere."""
    here, left, links = "/", [part for part in path.split("/") if part], 0
    while left and links <= _LINKS:
        here = os.path.normpath(os.path.join(here, left.pop(0)))
        try:
            found = os.lstat(here)
            target = os.readlink(here) if stat.S_ISLNK(found.st_mode) else None
        except OSError:  # what is not there cannot lead anywhere
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
def lock(path: str, timeout: float) -> t.Iterator[None]:
    """Hold the lock file at `path`, which is removed afterwards; a killed process's lock ends with it.

    Only its owner can open it, and so lock it. Raises WaError when another process holds it for `patience` seconds,
    OSError when it cannot be made.
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
        # Before the lock ends: whoever waits finds out that this file is not the lock any more.
        with contextlib.suppress(OSError):
            os.unlink(path)
        os.close(handle)


def acquire(handle: int, timeout: float = 0) -> bool:
    """Lock an open file for this process; false when another one holds it for `patience` seconds. Raises OSError."""
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
    """The same at once; true on a file system without locks, where each write is still one step."""
    try:
        return acquire(handle)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def stands_at(path: str, handle: int) -> bool:
    """Whether the open file is the one at `path`: who held it before has removed it."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def write_new(path: str, data: bytes, prepare: t.Callable[[int], None] | None = None) -> None:
    """Make a file that only its owner can read, or that `prepare` opens to others while it is still empty.

    It is on the disk afterwards; what fails leaves none. Raises OSError, also when there is one, or a link.
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


def replace(path: str, data: bytes) -> None:
    """Put `data` in the place of the file at `path`, for its owner only. Raises OSError, with the old file as it was."""
    folder, name = os.path.split(os.path.abspath(path))
    draft = os.path.join(folder, f".{name}-{secrets.token_hex(4)}")
    write_new(draft, data)
    try:
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
    sync_folder(folder)


def write_json(path: str, data: t.Any) -> None:
    """The same with `data` as JSON, for a file that a later run must be able to trust."""
    replace(path, f"{json.dumps(data, indent=1)}\n".encode())


def sync_folder(folder: str) -> None:
    """Make new names in `folder` survive a power cut. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
