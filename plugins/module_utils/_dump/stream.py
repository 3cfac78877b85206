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

PART = ".waba.part"  # an ending that no other program gives to a file of its own
_CHUNK = 1 << 20
_HEAD = 1 << 16  # a dump's settings, and the statement that makes its database, are in its header
_TAIL = 4096
_BEAT = 5.0  # seconds
Secret = t.Callable[[], t.ContextManager["tuple[list[str], dict[str, t.Any]]"]]
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


async def start(argv: t.Sequence[str], **options: t.Any) -> _Process:
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


def of(pipe: _Pipe | None) -> _Pipe:
    """Returns a pipe that exists."""
    return t.cast("_Pipe", pipe)


def _replaced(head: bytes, substitutions: Substitutions) -> bytes:
    """Returns the beginning of a dump with the substitutions made before its first row."""
    schema, copy, rows = head.partition(b"\nCOPY ")
    for found, instead in substitutions:
        schema = re.sub(found, instead, schema, flags=re.MULTILINE)
    return schema + copy + rows


async def within(
    subject: str,
    timeout: float,
    renew: t.Callable[[], None],
    work: t.Coroutine[t.Any, t.Any, None],
    children: t.Sequence[_Process],
) -> None:
    """Awaits `work` for `timeout` seconds, and calls `renew` every few. At its end none of its `children` runs any more."""
    task = asyncio.ensure_future(work)
    end = time.monotonic() + timeout
    try:
        while not (await asyncio.wait({task}, timeout=max(0.0, min(_BEAT, end - time.monotonic()))))[0]:
            if time.monotonic() >= end:
                found = f"not done after {format_duration(timeout)}"
                raise WaError(subject, found, "the end", "Set timeout higher, or use a faster disk")
            renew()
        task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await _end(children)


class Stream:
    """One dump in progress into `path`. Use it as a context manager: a failure leaves no file."""

    def __init__(self, path: str, timeout: float, renew: t.Callable[[], None] = lambda: None) -> None:
        """`renew` is called every few seconds."""
        self.path, self.renew = path, renew
        self.subject = f"dump {path}"
        self.timeout = timeout
        self.size = 0
        self.raw_size = 0
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
        parts: t.Sequence[tuple[bytes, t.Sequence[str]]],
        mark: bytes,
        substitutions: Substitutions,
        secret: Secret,
    ) -> None:
        """Runs the calls of `parts` in order into the file, each after its line. The output of each must end with `mark`.

        `substitutions` are made before the first row. `secret` is a context manager for the duration of one call that returns the
        arguments and options that pass the password to the tool.
        """
        asyncio.run(
            within(
                self.subject,
                self.timeout,
                self.renew,
                self._pipeline(parts, mark, substitutions, secret),
                self._children,
            )
        )

    async def _pipeline(self, parts: t.Any, mark: bytes, substitutions: t.Any, secret: Secret) -> None:
        program = rules.COMPRESSORS[self.path.rpartition(".")[2]]
        packer = await self._start([*program, "--stdout"], stdin=_PIPE, stdout=_PIPE, stderr=_PIPE)
        checker = await self._start([program[0], "--test"], stdin=_PIPE, stdout=_NULL, stderr=_PIPE)

        async def feed() -> None:
            sink = of(packer.stdin)
            try:
                for line, call in parts:
                    sink.write(line)
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
            child = await start(argv, **options)
        except OSError as error:
            raise WaError(self.subject, f"{argv[0]} does not run: {error.strerror}", "a program") from None
        self._children.append(child)
        return child

    async def _dump(
        self,
        call: t.Sequence[str],
        mark: bytes,
        substitutions: Substitutions,
        secret: Secret,
        sink: asyncio.StreamWriter,
    ) -> None:
        with secret() as (arguments, options), tempfile.TemporaryFile() as complaints:
            tool = await self._start([call[0], *arguments, *call[1:]], stdout=_PIPE, stderr=complaints, **options)
            head, tail = b"", b""
            gathering = bool(substitutions)
            while chunk := await of(tool.stdout).read(_CHUNK):
                tail = (tail + chunk)[-_TAIL:]
                self.raw_size += len(chunk)
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
        check = of(checker.stdin)
        while chunk := await of(packer.stdout).read(_CHUNK):
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
        message = (await of(child.stderr).read(2000)).decode(errors="replace").strip()
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
