# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams a dump from the server's tool through a compressor into a file, which gets its name only when it is complete.

Tool and compressor run in parallel, and nothing is read twice. If one is killed, the others end, too: each reads from or writes to
this process. Gzip is written and read in this process: its program takes half as much CPU again, and a pipe.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import os
import re
import signal
import stat
import subprocess
import time
import typing as t
import zlib
from concurrent import futures

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_duration
from ansible_collections.waba.onprem.plugins.module_utils._dump import commands as rules

PART = ".waba.part"  # an ending that no other program gives to a file of its own
# Bytes that are passed on at once, and that a pipe holds: more does not stay in a core's cache, and costs more CPU.
CHUNK, _PIPE = 1 << 17, 1 << 18
GZIP = 31  # the window of zlib that means gzip
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ, which fcntl has since Python 3.10
_HEAD = 1 << 16  # a dump's settings, and the statement that makes its database, are in its header
_TAIL = 4096
_SAID = 20_000
_STATEMENT_END = b"--------------\n"  # of the statement, with its rows, that MariaDB's client prints before its error
_BEAT, _SOON = 5.0, 0.1  # seconds
Secret = t.Callable[[], t.ContextManager["tuple[list[str], dict[str, t.Any]]"]]
Process = t.Any  # a `Child` with the pipes that it was started with
Substitutions = t.Sequence["tuple[bytes, bytes]"]  # pattern, replacement
Write = t.Callable[[bytes], t.Any]
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


def _replaced(head: bytes, substitutions: Substitutions) -> bytes:
    """Returns the beginning of a dump with the substitutions made before its first row."""
    schema, copy, rows = head.partition(b"\nCOPY ")
    for found, instead in substitutions:
        schema = re.sub(found, instead, schema, flags=re.MULTILINE)
    return schema + copy + rows


class Child(subprocess.Popen[bytes]):
    """A program in a process group of its own, so that a wrapper's children end with it. Raises OSError if there is no such program."""

    def __init__(self, argv: t.Sequence[str], **options: t.Any) -> None:
        given = {"env": environment(), "stdin": subprocess.DEVNULL, "start_new_session": True, **options}
        super().__init__(argv, **given)

    def end(self) -> None:
        """Kills it with its children, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


class Pipeline:
    """Processes that are joined by pipes, of which none outlives the work with them."""

    def __init__(
        self,
        subject: str,
        timeout: float,
        renew: t.Callable[[], None] = lambda: None,
        late: str = "Set timeout higher, or use a faster disk",
    ) -> None:
        """`timeout` is in seconds; `renew` is called every few. `late` is what to do where that was too short."""
        self.subject, self.timeout, self.renew, self._late = subject, timeout, renew, late
        self._open = contextlib.ExitStack()
        self._children: dict[Process, int] = {}  # each with what it complains of

    def start(self, argv: t.Sequence[str], **options: t.Any) -> Process:
        """Starts a process. Raises WaError if there is no such program."""
        complaints = os.memfd_create("waba")
        self._open.callback(os.close, complaints)
        try:
            child = self._open.enter_context(Child(argv, stderr=complaints, **options))
        except OSError as error:
            raise WaError(self.subject, f"{argv[0]} does not run: {error.strerror}", "a program") from None
        self._children[child] = complaints
        for pipe in filter(None, (child.stdin, child.stdout)):
            with contextlib.suppress(OSError):  # beyond what this user may have: slower
                fcntl.fcntl(pipe.fileno(), _SET_PIPE_SIZE, _PIPE)
        return child

    def join(self, child: Process, expected: str = "exit code 0", early: bool = False) -> None:
        """Awaits the end of a process. Raises WaError with what it said unless it succeeded, and if it ended `early`."""
        if child.wait() or early:
            complaints = self._children[child]
            said = os.pread(complaints, _SAID, max(0, os.fstat(complaints).st_size - _SAID)).rpartition(_STATEMENT_END)[
                2
            ]
            message = " ".join(said.decode(errors="replace").split())[:1500]
            found = f"{os.path.basename(child.args[0])} ended with {child.returncode}: {message or 'no message'}"
            raise WaError(self.subject, found, expected)

    def call(
        self,
        argv: t.Sequence[str],
        secret: Secret,
        mark: bytes,
        write: Write = len,
        see: Write = len,
        substitutions: Substitutions = (),
    ) -> None:
        """Runs a dump tool, which has to succeed, its output with `mark` at the end. That goes to `see`, and as a dump has it to `write`.

        `secret` returns arguments and options that pass the password to the tool, and is needed at its start only. `substitutions` are made
        before the first row.
        """
        with secret() as (arguments, options):
            tool = self.start([argv[0], *arguments, *argv[1:]], stdout=subprocess.PIPE, **options)
        chunk, tail = tool.stdout.read(_HEAD), b""
        write(_replaced(chunk, substitutions))
        while chunk:
            see(chunk)
            tail = (tail + chunk[-_TAIL:])[-_TAIL:]
            chunk = tool.stdout.read1(CHUNK)
            write(chunk)
        self.join(tool)
        if mark not in tail:
            raise WaError(self.subject, f"the output of {os.path.basename(argv[0])} ends early", mark.decode())

    @contextlib.contextmanager
    def feed(self, child: Process) -> t.Iterator[t.BinaryIO]:
        """Yields the input of a process, which has to read it to its end, and to succeed."""
        early = False
        try:
            yield child.stdin
            child.stdin.close()
        except BrokenPipeError:
            early = True
        self.join(child, early=early)

    def run(self, *works: t.Callable[[], None]) -> None:
        """Does all of `works` in parallel. At their end, or the first failure, no process runs any more. Raises WaError."""
        end = time.monotonic() + self.timeout
        with futures.ThreadPoolExecutor(len(works)) as threads:
            running = [threads.submit(work) for work in works]
            try:
                while True:
                    wait = max(0.0, min(_BEAT, end - time.monotonic()))
                    done, left = futures.wait(running, wait, futures.FIRST_EXCEPTION)
                    for work in running:
                        if work in done:
                            work.result()
                    if not left:
                        return
                    if time.monotonic() >= end:
                        found = f"not done after {format_duration(self.timeout)}"
                        raise WaError(self.subject, found, "the end", self._late)
                    self.renew()
            finally:
                self._end(running)

    def _end(self, running: t.Sequence[futures.Future[None]]) -> None:
        """Ends the processes until the threads, which read from them or write to them, have ended."""
        left: t.Collection[t.Any] = running
        while left:
            left = futures.wait(running, _SOON).not_done
            for child in [*self._children]:
                child.end()
        with contextlib.suppress(BrokenPipeError):  # of what they have not read
            self._open.close()
        self._children.clear()


class Packer(Pipeline):
    """Compresses into a file. `raw_size` is of what was given, `size` and `sha256` are of what was written."""

    def __init__(self, subject: str, kind: str, timeout: float) -> None:
        """`kind` is one of `commands.COMPRESSORS`."""
        super().__init__(subject, timeout)
        self.kind = kind
        self.size = self.raw_size = 0
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Returns the SHA-256 of the written file."""
        return self._digest.hexdigest()

    def pack(self, file: t.IO[bytes], work: t.Callable[[Write], None]) -> None:
        """Calls `work` with a function that takes data, which is compressed into the file, without a buffer. Raises WaError."""
        command = rules.COMPRESSORS[self.kind]

        def counted(write: Write) -> Write:
            def give(data: bytes) -> None:
                self.raw_size += len(data)
                write(data)

            return give

        if not command:

            def pack() -> None:
                packer = zlib.compressobj(1, zlib.DEFLATED, GZIP)  # the client is stopped meanwhile: speed before size
                work(counted(lambda data: self._keep(file, packer.compress(data))))
                self._keep(file, packer.flush())

            self.run(pack)
            return
        packer = self.start([*command, "--stdout"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

        def give() -> None:
            with self.feed(packer) as sink:
                work(counted(sink.write))

        def keep() -> None:
            while chunk := packer.stdout.read1(CHUNK):
                self._keep(file, chunk)

        self.run(keep, give)

    def _keep(self, file: t.IO[bytes], data: bytes) -> None:
        """Writes compressed data."""
        try:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        except OSError as error:
            raise WaError(self.subject, f"cannot be written: {error.strerror}", "room", "Make room there") from None
        self._digest.update(data)
        self.size += len(data)


class Part(t.NamedTuple):
    """A part of a dump: the line before it, the call of the tool that writes it, and what sees its output piece by piece."""

    line: bytes
    argv: t.Sequence[str]
    see: Write = len


class Stream(Packer):
    """One dump in progress into `path`. Use it as a context manager: a failure leaves no file."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__(f"dump {path}", path.rpartition(".")[2], timeout)
        self.path = path

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

    def write(self, parts: t.Sequence[Part], mark: bytes, substitutions: Substitutions, secret: Secret) -> None:
        """Runs the calls of `parts` in order into the file, each after its line. The output of each must end with `mark`.

        `secret` and `substitutions` are those of `call`.
        """

        def dump(write: Write) -> None:
            for part in parts:
                write(part.line)
                self.call(part.argv, secret, mark, write, part.see, substitutions)

        self.pack(self._file, dump)

    def finish(self) -> None:
        """Renames the complete and synced file to its final name."""
        try:
            os.fsync(self._file.fileno())
            os.rename(self.path + PART, self.path)
            self._file.close()
            files.sync_folder(os.path.dirname(self.path))
        except OSError as error:
            raise WaError(self.subject, f"cannot be written: {error.strerror}", "room", "Make room there") from None
