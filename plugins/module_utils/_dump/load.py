# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a dump back: its sections go to one call each of the server's client."""

from __future__ import annotations

import asyncio
import os
import tempfile
import typing as t
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._dump import commands as rules
from ansible_collections.waba.onprem.plugins.module_utils._dump import stream

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Call:
    """What a section of a dump goes to: the client's `argv`, with statements before the section and after it.

    `ends` is called before the statements after it.
    """

    argv: t.Sequence[str]
    before: bytes = b""
    after: bytes = b""
    ends: t.Callable[[], None] = lambda: None


def line(mark: str, number: int) -> bytes:
    """Returns what stands before a section of a dump; `mark` is its own, so that no row is taken for one."""
    return f"\n-- waba.onprem {mark} {number}\n".encode()


class Load:
    """The load of one dump at `path`."""

    def __init__(self, path: str, mark: str, timeout: float, renew: t.Callable[[], None]) -> None:
        """`timeout` is in seconds; `renew` is called every few."""
        self.path, self.mark, self.timeout, self.renew = path, mark, timeout, renew
        self.subject = f"restore from {path}"
        self._children: list[asyncio.subprocess.Process] = []

    def run(self, calls: t.Mapping[int, Call], secret: stream.Secret) -> None:
        """Passes the sections with these numbers to their calls, one after the other, each of which must succeed. Raises WaError."""
        asyncio.run(stream.within(self.subject, self.timeout, self.renew, self._run(calls, secret), self._children))

    async def _run(self, calls: t.Mapping[int, Call], secret: stream.Secret) -> None:
        program = rules.COMPRESSORS[self.path.rpartition(".")[2]][0]
        unpacker = await self._start([program, "--decompress", "--stdout", self.path], stdout=asyncio.subprocess.PIPE)
        sections = self._sections(unpacker, program)
        left = set(calls)
        async for number, chunks in sections:
            left.discard(number)
            if number in calls:
                await self._feed(calls[number], chunks, secret)
            else:
                async for _chunk in chunks:
                    pass
        if left:
            raise WaError(self.subject, f"{len(left)} sections are missing", "all sections of its manifest")

    async def _sections(
        self, unpacker: asyncio.subprocess.Process, program: str
    ) -> t.AsyncIterator[tuple[int, t.AsyncIterator[bytes]]]:
        """Yields the number of each section with its chunks, which are read to their end before the next one."""
        source = stream.of(unpacker.stdout)
        begin = f"\n-- waba.onprem {self.mark} ".encode()
        held = b""

        async def chunks() -> t.AsyncIterator[bytes]:
            nonlocal held
            while begin not in held:
                chunk = await source.read(_CHUNK)
                if not chunk:
                    # Before the end of the section, which would be committed.
                    if await unpacker.wait():
                        found = f"{program} ended with {unpacker.returncode}"
                        raise WaError(self.subject, found, "a dump that can be unpacked")
                    yield held
                    held = b""
                    return
                held += chunk
                # What may be the beginning of the next line stays.
                if begin not in held and len(held) > len(begin):
                    yield held[: -len(begin)]
                    held = held[-len(begin) :]
            here = held.index(begin)
            yield held[:here]
            held = held[here:]

        async for _chunk in chunks():
            pass
        while held:
            while b"\n" not in held[len(begin) :]:
                held += await source.read(_CHUNK)
            number, _end, held = held[len(begin) :].partition(b"\n")
            yield int(number), chunks()

    async def _feed(self, call: Call, chunks: t.AsyncIterator[bytes], secret: stream.Secret) -> None:
        name = os.path.basename(call.argv[0])
        with secret() as (arguments, options), tempfile.TemporaryFile() as complaints:
            argv = [call.argv[0], *arguments, *call.argv[1:]]
            child = await self._start(
                argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=complaints, **options
            )
            sink = stream.of(child.stdin)
            try:
                sink.write(call.before)
                async for chunk in chunks:
                    sink.write(chunk)
                    await sink.drain()
                call.ends()
                sink.write(call.after)
                sink.close()
                await sink.wait_closed()
            except ConnectionError:  # it has ended, and has said why
                pass
            code = await child.wait()
            complaints.seek(0)
            message = " ".join(complaints.read(20000).decode(errors="replace").split())[:1500]
        if code:
            raise WaError(self.subject, f"{name} ended with {code}: {message or 'no message'}", "exit code 0")

    async def _start(self, argv: t.Sequence[str], **options: t.Any) -> asyncio.subprocess.Process:
        try:
            child = await stream.start(argv, **options)
        except OSError as error:
            raise WaError(self.subject, f"{argv[0]} does not run: {error.strerror}", "a program") from None
        self._children.append(child)
        return child
