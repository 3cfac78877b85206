# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams a dump from the server's tool through a compressor into a file that looks whole only when it is.

Tool, compressor, and a check that unpacks what is written run side by side; nothing is read twice. Whoever is killed,
the others end with it: each of them reads from or writes to this process.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import os
import subprocess
import tempfile
import threading
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils import _dump_rules as rules
from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._units import format_duration

PART = ".part"
_CHUNK = 1 << 20
_HEAD = 1 << 18  # a dump's settings are at its head
_TAIL = 4096
_ENVIRONMENT = {"LC_ALL": "C", "HOME": "/nonexistent"}  # no file of this user's changes what is dumped


def environment(**more: str) -> dict[str, str]:
    """The environment of each child: without anything of ours that a tool would take for an option."""
    return {"PATH": os.environ.get("PATH", os.defpath), **_ENVIRONMENT, **more}


def left_over(folder: str, remove: bool = False) -> list[str]:
    """Half dumps in `folder` that nobody writes any more, removed when asked."""
    found = []
    for kind in rules.COMPRESSORS:
        for path in glob.glob(os.path.join(glob.escape(folder), f"*.sql.{kind}{PART}")):
            with contextlib.suppress(OSError), open(path, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if remove:
                    os.unlink(path)
                found.append(path)
    return sorted(found)


def finished(path: str) -> tuple[dict[str, t.Any], int, str] | None:
    """What a finished dump tells of itself, its size and SHA-256; None when there is no such file."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.sha256()
            for chunk in iter(lambda: file.read(_CHUNK), b""):
                digest.update(chunk)
            size = file.tell()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WaError(f"dump {path}", f"not readable: {error.strerror}", "a dump") from None
    program = rules.COMPRESSORS[path.rpartition(".")[2]][0]
    try:
        with subprocess.Popen(
            [program, "--decompress", "--stdout", path],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
        ) as unpack:
            line = unpack.stdout.readline(_CHUNK) if unpack.stdout else b""
            unpack.kill()
    except OSError as error:
        raise WaError(f"dump {path}", f"{program} does not run: {error.strerror}", f"the package {program}") from None
    facts = rules.parse_header(line)
    if facts is None:
        raise WaError(f"dump {path}", "made by somebody else", "a free name", "Move it away, or give another name")
    return facts, size, digest.hexdigest()


class Stream:
    """One dump on its way into `path`. Use it as a context manager: a failure leaves no file."""

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self.subject = f"dump {path}"
        self.timeout = timeout
        self.size = 0
        self._digest = hashlib.sha256()
        self._children: list[subprocess.Popen[bytes]] = []
        self._late = threading.Event()
        self._trouble: list[WaError] = []

    @property
    def sha256(self) -> str:
        """Of the file as it was written."""
        return self._digest.hexdigest()

    def __enter__(self) -> Stream:
        part = self.path + PART
        try:
            self._file = open(os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "wb", buffering=0)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(self._file.fileno()), os.stat(part)):
                raise BlockingIOError
            os.fchmod(self._file.fileno(), 0o600)
            self._file.truncate()
        except (BlockingIOError, FileNotFoundError):
            raise WaError(self.subject, "another run writes it", "one at a time", "Wait until it is done") from None
        except OSError as error:
            raise WaError(self.subject, f"cannot be written: {error.strerror}", "a folder with room") from None
        self._timer = threading.Timer(self.timeout, self._stop)
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._timer.cancel()
        self._kill()
        if not self._file.closed:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path + PART)
            self._file.close()

    def _stop(self) -> None:
        self._late.set()
        self._kill()

    def _kill(self) -> None:
        for child in self._children:
            if child.poll() is None:
                child.kill()
        for child in self._children:
            child.wait()

    def _start(self, argv: t.Sequence[str], **options: t.Any) -> subprocess.Popen[bytes]:
        try:
            child = subprocess.Popen(argv, **{"env": environment(), "stderr": subprocess.PIPE, **options})
        except OSError as error:
            raise WaError(self.subject, f"{argv[0]} does not run: {error.strerror}", "a program") from None
        self._children.append(child)
        if self._late.is_set():
            self._kill()
        return child

    def write(
        self,
        header: bytes,
        calls: t.Sequence[t.Sequence[str]],
        mark: bytes,
        leave_out: t.Sequence[bytes],
        secret: t.Callable[[], t.ContextManager[tuple[list[str], dict[str, t.Any]]]],
    ) -> None:
        """Run `calls` one after the other into the file. Each must end well and with `mark`.

        `secret` gives, for the time of one call, the arguments and options with which the tool learns the password.
        """
        program = rules.COMPRESSORS[self.path.rpartition(".")[2]]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        packer = self._start([*program, "--stdout"], **pipes)
        checker = self._start([program[0], "--test"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        keeper = threading.Thread(target=self._keep, args=(packer, checker), daemon=True)
        keeper.start()
        try:
            with packer.stdin as sink:  # type: ignore[union-attr]  # it is a pipe
                sink.write(header)
                for call in calls:
                    self._dump(call, mark, leave_out, secret, sink)
        except BrokenPipeError:
            self._trouble.append(self._failure(packer, program[0]))
        finally:
            if self._trouble:
                self._kill()
            keeper.join()
            self._judge([(packer, program[0]), (checker, f"{program[0]} --test")])

    def _dump(
        self, call: t.Sequence[str], mark: bytes, leave_out: t.Sequence[bytes], secret: t.Any, sink: t.Any
    ) -> None:
        with secret() as (arguments, options), tempfile.TemporaryFile() as complaints:
            argv = [call[0], *arguments, *call[1:]]
            tool = self._start(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, **options)
            source = t.cast("t.IO[bytes]", tool.stdout)
            read, tail = 0, b""
            while line := source.readline(_CHUNK) if leave_out and read < _HEAD else source.read(_CHUNK):
                read += len(line)
                tail = (tail + line)[-_TAIL:]
                if line not in leave_out:
                    sink.write(line)
            source.close()
            code = tool.wait()
            complaints.seek(0)
            words = " ".join(complaints.read(20000).decode(errors="replace").split())[-1500:]
        if self._trouble or self._late.is_set():
            return
        name = os.path.basename(call[0])
        if code:
            raise WaError(self.subject, f"{name} ended with {code}: {words or 'no word'}", "exit code 0")
        if mark not in tail:
            raise WaError(self.subject, f"the output of {name} ends early", mark.decode())

    def _keep(self, packer: subprocess.Popen[bytes], checker: subprocess.Popen[bytes]) -> None:
        """Write what is packed, and have it checked on the way."""
        source, check = t.cast("t.IO[bytes]", packer.stdout), t.cast("t.IO[bytes]", checker.stdin)
        try:
            for chunk in iter(lambda: source.read(_CHUNK), b""):
                view = memoryview(chunk)
                while view:
                    view = view[self._file.write(view) :]
                self._digest.update(chunk)
                self.size += len(chunk)
                with contextlib.suppress(BrokenPipeError):  # its exit code tells
                    check.write(chunk)
        except OSError as error:
            self._trouble.append(
                WaError(self.subject, f"cannot be written: {error.strerror}", "room", "Make room there")
            )
            packer.kill()
        finally:
            with contextlib.suppress(BrokenPipeError):
                check.close()

    def _failure(self, child: subprocess.Popen[bytes], name: str) -> WaError:
        words = child.stderr.read(2000).decode(errors="replace").strip() if child.stderr else ""
        return WaError(self.subject, f"{name} ended with {child.wait()}: {words or 'no word'}", "exit code 0")

    def _judge(self, children: t.Sequence[tuple[subprocess.Popen[bytes], str]]) -> None:
        if self._late.is_set():
            found = f"not done after {format_duration(self.timeout)}"
            raise WaError(self.subject, found, "the end", "Set timeout higher, or dump to a faster disk")
        if self._trouble:
            raise self._trouble[0]
        for child, name in children:
            if child.wait():
                raise self._failure(child, name)

    def finish(self) -> None:
        """Give the file its name, now that it is whole and on the disk."""
        try:
            os.fsync(self._file.fileno())
            os.rename(self.path + PART, self.path)
            self._file.close()
            folder = os.open(os.path.dirname(self.path), os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise WaError(self.subject, f"cannot be written: {error.strerror}", "room", "Make room there") from None
