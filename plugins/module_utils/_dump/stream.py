# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams a dump from the server's tool through a compressor into a file, which gets its name only when it is complete.

Tool, compressor, and a check that decompresses the output run in parallel; nothing is read twice. If one is killed, the
others end, too: each reads from or writes to this process.
"""

from __future__ import annotations

import asyncio
import asyncio.subprocess
import contextlib
import errno
import glob
import hashlib
import os
import re
import signal
import stat
import tempfile
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_duration
from ansible_collections.waba.onprem.plugins.module_utils._dump import commands as rules

PART = ".part"
_CHUNK = 1 << 20
_HEAD = 1 << 16  # a dump's settings, and the statement that makes its database, are in its header
_TAIL = 4096
_BEAT = 5.0  # seconds
_Secret = t.Callable[[], t.ContextManager["tuple[list[str], dict[str, t.Any]]"]]
Substitutions = t.Sequence["tuple[bytes, bytes]"]  # pattern, replacement
_Process = asyncio.subprocess.Process
_PIPE, _NULL = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
_ENVIRONMENT = {"LC_ALL": "C", "HOME": "/nonexistent"}  # no configuration file of this user changes the dump


def environment(**more: str) -> dict[str, str]:
    """Returns the environment of each child, without variables that a tool would use as options."""
    return {"PATH": os.environ.get("PATH", os.defpath), **_ENVIRONMENT, **more}


def left_over(folder: str, remove: bool = False) -> list[str]:
    """Returns the incomplete dumps in `folder` that no process writes, and removes them on request."""
    found = []
    for kind in rules.COMPRESSORS:
        for path in glob.glob(os.path.join(glob.escape(folder), f"*.sql.{kind}{PART}")):
            with contextlib.suppress(OSError), files.open_regular(path, follow=False) as file:
                if not files.acquire(file.fileno()):
                    continue
                if remove:
                    os.unlink(path)
                found.append(path)
    return sorted(found)


def finished(path: str) -> tuple[dict[str, t.Any], int, str] | None:
    """Returns the header's facts, size and SHA-256 of a finished dump; None if the file does not exist."""
    try:
        with files.open_regular(path, follow=False) as file:
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
        line = asyncio.run(_first_line([program, "--decompress", "--stdout", path]))
    except OSError as error:
        raise WaError(f"dump {path}", f"{program} does not run: {error.strerror}", f"the package {program}") from None
    facts = rules.parse_header(line)
    if facts is None:
        raise WaError(f"dump {path}", "made by somebody else", "a free name", "Move it away, or give another name")
    return facts, size, digest.hexdigest()


async def _first_line(argv: t.Sequence[str]) -> bytes:
    child = await _start(argv, stdout=_PIPE, stderr=_NULL)
    try:
        return await _of(child.stdout).readline()
    except ValueError:  # longer than any of ours
        return b""
    finally:
        await _end([child])


async def _start(argv: t.Sequence[str], **options: t.Any) -> _Process:
    # A separate process group, so that a wrapper's children end with it.
    options = {"env": environment(), "stdin": _NULL, "start_new_session": True, "limit": _CHUNK, **options}
    return await asyncio.create_subprocess_exec(*argv, **options)


async def _end(children: t.Sequence[_Process]) -> None:
    """Ends the processes that still run."""
    for child in children:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
    for child in children:
        # asyncio treats a process as ended only after its pipes, and does not notice the end of an unread pipe.
        for pipe in (child.stdout, child.stderr):
            if pipe:
                await pipe.read()
        await child.wait()


_Pipe = t.TypeVar("_Pipe")


def _of(pipe: _Pipe | None) -> _Pipe:
    """Returns a pipe that exists."""
    return t.cast("_Pipe", pipe)


def _replaced(head: bytes, substitutions: Substitutions) -> bytes:
    """Returns the beginning of a dump with the substitutions made before its first row."""
    schema, copy, rows = head.partition(b"\nCOPY ")
    for found, instead in substitutions:
        schema = re.sub(found, instead, schema, flags=re.MULTILINE)
    return schema + copy + rows


class Stream:
    """One dump in progress into `path`. Use it as a context manager: a failure leaves no file."""

    def __init__(self, path: str, timeout: float, renew: t.Callable[[], None] = lambda: None) -> None:
        """`renew` is called every few seconds."""
        self.path, self.renew = path, renew
        self.subject = f"dump {path}"
        self.timeout = timeout
        self.size = 0
        self._digest = hashlib.sha256()
        self._children: list[_Process] = []

    @property
    def sha256(self) -> str:
        """Returns the SHA-256 of the written file."""
        return self._digest.hexdigest()

    def __enter__(self) -> Stream:
        part = self.path + PART
        try:
            self._file = open(os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "wb", buffering=0)
            draft = os.fstat(self._file.fileno())
            if draft.st_uid != os.geteuid() or draft.st_nlink != 1 or not stat.S_ISREG(draft.st_mode):
                raise OSError(errno.EPERM, "its draft is another user's, who could read it, or another file", part)
            if not files.acquire(self._file.fileno()) or not files.stands_at(part, self._file.fileno()):
                raise BlockingIOError
            os.fchmod(self._file.fileno(), 0o600)
            self._file.truncate()
        except BlockingIOError:
            raise WaError(self.subject, "another run writes it", "one at a time", "Wait until it is done") from None
        except OSError as error:
            raise WaError(self.subject, f"cannot be written: {error.strerror}", "a folder with room") from None
        return self

    def __exit__(self, *_exception: object) -> None:
        if not self._file.closed:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path + PART)
            self._file.close()

    def write(
        self,
        header: bytes,
        calls: t.Sequence[t.Sequence[str]],
        mark: bytes,
        substitutions: Substitutions,
        secret: _Secret,
    ) -> None:
        """Runs `calls` in order into the file. Each must succeed, and its output must end with `mark`.

        `substitutions` are made before the first row. `secret` is a context manager for the duration of one call that returns the
        arguments and options that pass the password to the tool.
        """
        asyncio.run(self._write(header, calls, mark, substitutions, secret))

    async def _write(self, header: bytes, calls: t.Any, mark: bytes, substitutions: t.Any, secret: _Secret) -> None:
        work = asyncio.ensure_future(self._pipeline(header, calls, mark, substitutions, secret))
        end = time.monotonic() + self.timeout
        try:
            while not (await asyncio.wait({work}, timeout=max(0.0, min(_BEAT, end - time.monotonic()))))[0]:
                if time.monotonic() >= end:
                    found = f"not done after {format_duration(self.timeout)}"
                    raise WaError(self.subject, found, "the end", "Set timeout higher, or dump to a faster disk")
                self.renew()
            work.result()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await _end(self._children)

    async def _pipeline(self, header: bytes, calls: t.Any, mark: bytes, substitutions: t.Any, secret: _Secret) -> None:
        program = rules.COMPRESSORS[self.path.rpartition(".")[2]]
        packer = await self._start([*program, "--stdout"], stdin=_PIPE, stdout=_PIPE, stderr=_PIPE)
        checker = await self._start([program[0], "--test"], stdin=_PIPE, stdout=_NULL, stderr=_PIPE)

        async def feed() -> None:
            sink = _of(packer.stdin)
            try:
                sink.write(header)
                for call in calls:
                    await self._dump(call, mark, substitutions, secret, sink)
                sink.close()
                await sink.wait_closed()
            except ConnectionError:
                raise await self._failure(packer, program[0]) from None

        tasks = [asyncio.ensure_future(feed()), asyncio.ensure_future(self._keep(packer, checker))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for child, name in ((packer, program[0]), (checker, f"{program[0]} --test")):
            if await child.wait():
                raise await self._failure(child, name)

    async def _start(self, argv: t.Sequence[str], **options: t.Any) -> _Process:
        try:
            child = await _start(argv, **options)
        except OSError as error:
            raise WaError(self.subject, f"{argv[0]} does not run: {error.strerror}", "a program") from None
        self._children.append(child)
        return child

    async def _dump(
        self,
        call: t.Sequence[str],
        mark: bytes,
        substitutions: Substitutions,
        secret: _Secret,
        sink: asyncio.StreamWriter,
    ) -> None:
        with secret() as (arguments, options), tempfile.TemporaryFile() as complaints:
            tool = await self._start([call[0], *arguments, *call[1:]], stdout=_PIPE, stderr=complaints, **options)
            head, tail = b"", b""
            gathering = bool(substitutions)
            while chunk := await _of(tool.stdout).read(_CHUNK):
                tail = (tail + chunk)[-_TAIL:]
                if gathering:
                    head += chunk
                    gathering = len(head) < _HEAD
                    if gathering:
                        continue
                    chunk = _replaced(head, substitutions)
                sink.write(chunk)
                await sink.drain()
            if gathering:
                sink.write(_replaced(head, substitutions))
            code = await tool.wait()
            complaints.seek(0)
            message = " ".join(complaints.read(20000).decode(errors="replace").split())[-1500:]
        name = os.path.basename(call[0])
        if code:
            raise WaError(self.subject, f"{name} ended with {code}: {message or 'no message'}", "exit code 0")
        if mark not in tail:
            raise WaError(self.subject, f"the output of {name} ends early", mark.decode())

    async def _keep(self, packer: _Process, checker: _Process) -> None:
        """Writes the compressed data, and passes it to the check."""
        check = _of(checker.stdin)
        while chunk := await _of(packer.stdout).read(_CHUNK):
            try:
                view = memoryview(chunk)
                while view:
                    view = view[self._file.write(view) :]
            except OSError as error:
                raise WaError(self.subject, f"cannot be written: {error.strerror}", "room", "Make room there") from None
            self._digest.update(chunk)
            self.size += len(chunk)
            with contextlib.suppress(ConnectionError):  # its exit code is checked later
                check.write(chunk)
                await check.drain()
        check.close()
        with contextlib.suppress(ConnectionError):
            await check.wait_closed()

    async def _failure(self, child: _Process, name: str) -> WaError:
        code = await child.wait()
        message = (await _of(child.stderr).read(2000)).decode(errors="replace").strip()
        return WaError(self.subject, f"{name} ended with {code}: {message or 'no message'}", "exit code 0")

    def finish(self) -> None:
        """Renames the complete and synced file to its final name."""
        try:
            os.fsync(self._file.fileno())
            os.rename(self.path + PART, self.path)
            self._file.close()
            files.sync_folder(os.path.dirname(self.path))
        except OSError as error:
            raise WaError(self.subject, f"cannot be written: {error.strerror}", "room", "Make room there") from None
