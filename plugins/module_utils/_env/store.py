# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads and writes a db.env on disk: atomically, with a lock, and with errors that name the problem."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

_LONGEST_FILE = 1 << 20
# Does not block on a FIFO and does not follow a link.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CURES = {
    errno.EPERM: "It may be immutable (see lsattr): chattr -i",
    errno.EBUSY: "Something is mounted on it: mount its folder instead, or stop the container that has the file alone",
}


class Store:
    """One file. `read` needs no lock, because writes are atomic."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.folder, self.name = os.path.split(path)
        # Content with which the client was last healthy; kept until the client is healthy with the new content.
        self.previous = f"{path}.previous"
        # A fixed name, so that the next run removes the draft of a killed one.
        self._draft = os.path.join(self.folder, f".{self.name}.wa_new")
        self._lock = os.path.join(self.folder, f".{self.name}.wa_lock")
        self._seen: tuple[int, ...] | None = None

    def read(self) -> str | None:
        """Returns the file's text, None if it does not exist. Raises WaError if it is not a readable UTF-8 file."""
        self._seen = None
        try:
            number = os.open(self.path, _READ)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK):
                cure = f"Give the path that the link points to ({os.path.realpath(self.path)}), or remove the link"
                raise WaError(self.path, "a symbolic link", "a file", cure) from None
            raise WaError(self.path, f"unreadable: {error.strerror}", "a readable file", "Use become") from None
        try:
            kind = os.fstat(number)
            self._seen = _signature(kind)
            if not stat.S_ISREG(kind.st_mode):
                found = "a directory" if stat.S_ISDIR(kind.st_mode) else "no regular file"
                cure = "Docker makes a directory of a bind mount whose file is missing: remove it if it is empty"
                raise WaError(self.path, found, "a file", cure if stat.S_ISDIR(kind.st_mode) else "")
            if kind.st_size > _LONGEST_FILE:
                raise WaError(self.path, f"{kind.st_size} bytes", f"a db.env of at most {_LONGEST_FILE} bytes")
            data = b"".join(iter(lambda: os.read(number, 65536), b""))
        except OSError as error:
            raise WaError(self.path, f"unreadable: {error.strerror}", "a readable file") from None
        finally:
            os.close(number)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise WaError(
                f"{self.path}, line {line}", "no UTF-8", "UTF-8", "Convert the file: docker run refuses it"
            ) from None

    @contextlib.contextmanager
    def lock(self, timeout: float) -> t.Iterator[None]:
        """Locks the file against other runs; waits up to `timeout` seconds. The lock of a killed run is released."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(files.lock(self._lock, timeout))
            except (FileNotFoundError, NotADirectoryError) as error:
                raise WaError(f"folder {self.folder}", error.strerror or "unusable", "a folder") from None
            except OSError as error:
                if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                    raise WaError(f"lock file {self._lock}", f"cannot be made: {error.strerror}", "a lock") from None
                # If no lock file can be created, the file cannot be written either, and a run without changes needs no lock.
            if os.path.lexists(self._draft):  # on a read-only file system not even a missing file can be removed
                try:
                    os.unlink(self._draft)
                except OSError as error:
                    found = f"left over, and cannot be removed: {error.strerror}"
                    cure = "Remove it; it holds what a killed run was about to write"
                    raise WaError(self._draft, found, cure=cure) from None
            yield

    def write(self, text: str, set_attributes: t.Callable[[int], None]) -> None:
        """Replaces the file by `text` atomically; `set_attributes` sets owner and mode of the empty draft. Needs the lock.

        A failure leaves the old file unchanged. Raises WaError.
        """
        try:
            self._write_private(self._draft, text, set_attributes)
            self._want_unchanged()
            self._step(os.replace, self._draft, self.path)
        except BaseException:  # a module also ends by SystemExit
            with contextlib.suppress(OSError):
                os.unlink(self._draft)
            raise
        self._settle()

    def remove(self) -> None:
        """Removes the file. Needs the lock."""
        self._want_unchanged()
        self._step(os.unlink, self.path)
        self._settle()

    def keep(self, text: str) -> bool:
        """Saves `text` as the previous content, with mode 0600, unless one exists. Needs the lock. Raises WaError."""
        if os.path.lexists(self.previous):
            return False
        self._write_private(self._draft, text)
        try:
            self._step(os.replace, self._draft, self.previous)
        except WaError:
            os.unlink(self._draft)
            raise
        self._settle()
        return True

    def read_previous(self) -> str | None:
        """Returns the previous content; None if there is none."""
        return Store(self.previous).read()

    def drop(self) -> bool:
        """Removes the previous content; returns whether there was one. Needs the lock. Raises WaError."""
        if not os.path.lexists(self.previous):
            return False
        self._step(os.unlink, self.previous)
        return True

    def assert_writable(self) -> None:
        """Raises WaError if the file cannot be replaced, as far as that is known before: it is immutable, or its file system read-only."""
        for path in (self.path, self.folder):
            # Who may write into the folder may replace another's file; root is refused an immutable one.
            if not os.access(path, os.W_OK) and (path == self.folder or os.geteuid() == 0):
                cure = f"{_CURES[errno.EPERM]}; or its file system is read-only"
                raise WaError(path, "cannot be changed by this user", "a file that may change", cure)

    def _inherit(self, draft: int) -> None:
        """Copies owner and mode of the old file to the open draft, as far as permitted."""
        try:
            number = os.open(self.path, _READ)
        except FileNotFoundError:
            return
        try:
            old = os.fstat(number)
            with contextlib.suppress(PermissionError):
                os.fchown(draft, old.st_uid, old.st_gid)
                os.fchmod(draft, stat.S_IMODE(old.st_mode))
        finally:
            os.close(number)

    @contextlib.contextmanager
    def opened(self) -> t.Iterator[int]:
        """Returns the open file, to change owner or mode without following a link. Raises WaError."""
        try:
            number = os.open(self.path, _READ)
        except OSError as error:
            raise WaError(self.path, f"unreadable: {error.strerror}", "a readable file") from None
        try:
            if _signature(os.fstat(number)) != self._seen:
                raise self._changed()
            yield number
        finally:
            os.close(number)

    def _want_unchanged(self) -> None:
        """Raises WaError if another program without the lock, such as an editor, has replaced the file since `read`."""
        try:
            now = _signature(os.stat(self.path, follow_symlinks=False))
        except FileNotFoundError:
            now = None
        except OSError as error:
            raise WaError(self.path, f"unreadable: {error.strerror}", "a readable file") from None
        if now != self._seen:
            raise self._changed()

    def _changed(self) -> WaError:
        cure = "Run again; it works on what stands there then"
        return WaError(self.path, "was changed by another program in the meantime", "no other writer", cure)

    def _step(self, act: t.Callable[..., None], *paths: str) -> None:
        try:
            act(*paths)
        except OSError as error:
            cure = _CURES.get(error.errno or 0, "")
            raise WaError(self.path, f"cannot be replaced: {error.strerror}", "a file that may change", cure) from None

    def _settle(self) -> None:
        """Syncs the directory."""
        try:
            files.sync_folder(self.folder)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EROFS):  # not supported by the file system
                raise WaError(f"folder {self.folder}", f"cannot be written to the disk: {error.strerror}") from None

    def _write_private(self, path: str, text: str, set_attributes: t.Callable[[int], None] | None = None) -> None:
        """Creates a file that only its owner can read, unless `set_attributes` changes that while it is empty.

        A failure removes it.
        """

        def prepare(number: int) -> None:
            if set_attributes:
                self._inherit(number)
                set_attributes(number)

        try:
            files.write_new(path, text.encode(), prepare)
        except OSError as error:
            raise WaError(path, f"cannot be written: {error.strerror}", "room and permission to write it") from None


def _signature(kind: os.stat_result) -> tuple[int, ...]:
    """Returns values that identify a file and its content."""
    return kind.st_dev, kind.st_ino, kind.st_size, kind.st_mtime_ns
