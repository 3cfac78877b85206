# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a dump back: its sections go to one call each of the server's client."""

from __future__ import annotations

import subprocess
import typing as t
import zlib
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._dump import commands as rules
from ansible_collections.waba.onprem.plugins.module_utils._dump import stream

_READ = 1 << 14  # bytes of a packed dump, which may be a thousand times as many


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


class Load(stream.Pipeline):
    """The load of one dump at `path`."""

    def __init__(self, path: str, mark: str, timeout: float, renew: t.Callable[[], None]) -> None:
        """`timeout` is in seconds; `renew` is called every few."""
        super().__init__(f"restore from {path}", timeout, renew)
        self.path, self._begin = path, f"\n-- waba.onprem {mark} ".encode()

    def read(
        self, calls: t.Mapping[int, Call], secret: stream.Secret, keep: t.Collection[int] = ()
    ) -> dict[int, bytes]:
        """Passes the sections with these numbers to their calls, one after the other, each of which must succeed. Raises WaError.

        Returns those to `keep`, which are small. The dump has been read to its end then.
        """
        kept: dict[int, bytes] = {}

        def work() -> None:
            left = {*calls, *keep}
            for number, chunks in self._sections():
                left.discard(number)
                if number in calls:
                    self._pass(calls[number], chunks, secret)
                elif number in keep:
                    kept[number] = b"".join(chunks)
                else:
                    for _chunk in chunks:
                        pass
            if left:
                raise WaError(self.subject, f"{len(left)} sections are missing", "all sections of its manifest")

        self.run(work)
        return kept

    def give(self, calls: t.Mapping[int, Call], kept: t.Mapping[int, bytes], secret: stream.Secret) -> None:
        """Passes sections that were kept to their calls, as `read` does."""

        def work() -> None:
            for number, call in calls.items():
                self._pass(call, [kept[number]], secret)

        self.run(work)

    def _sections(self) -> t.Iterator[tuple[int, t.Iterator[bytes]]]:
        """Yields the number of each section with its chunks, which are read to their end before the next one."""
        source, begin, held = self._unpacked(), self._begin, b""

        def chunks() -> t.Iterator[bytes]:
            nonlocal held
            while (here := held.find(begin)) < 0:
                # What may be the beginning of the next line stays.
                passed = max(0, len(held) - len(begin))
                yield held[:passed]
                held = held[passed:]
                chunk = next(source, b"")
                if not chunk:
                    here = len(held)
                    break
                held += chunk
            yield held[:here]
            held = held[here:]

        for _chunk in chunks():
            pass
        while held:
            while b"\n" not in held[len(begin) :]:
                chunk = next(source, b"")
                if not chunk:
                    raise WaError(self.subject, "it ends before a section", "all sections of its manifest")
                held += chunk
            number, _end, held = held[len(begin) :].partition(b"\n")
            yield int(number), chunks()

    def _unpacked(self) -> t.Iterator[bytes]:
        """Yields what is in the dump. Raises WaError at its end, before a section ends with it, unless that is the end of all."""
        expected = "a dump that can be unpacked"
        command = rules.COMPRESSORS[self.path.rpartition(".")[2]]
        if command:
            unpacker = self.start([command[0], "--decompress", "--stdout", self.path], stdout=subprocess.PIPE)
            yield from iter(lambda: unpacker.stdout.read1(stream.CHUNK), b"")
            self.join(unpacker, expected)
            return
        unpacker = zlib.decompressobj(stream.GZIP)
        try:
            with files.open_regular(self.path, follow=False) as file:
                for chunk in iter(lambda: file.read(_READ), b""):
                    data = unpacker.decompress(chunk)
                    if data:
                        yield data
        except (OSError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise WaError(self.subject, reason, expected) from None
        if not unpacker.eof or unpacker.unused_data:
            raise WaError(self.subject, "its end is missing, or something stands behind it", expected)

    def _pass(self, call: Call, chunks: t.Iterable[bytes], secret: stream.Secret) -> None:
        with secret() as (arguments, options):
            argv = [call.argv[0], *arguments, *call.argv[1:]]
            child = self.start(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, **options)
        with self.feed(child) as sink:
            sink.write(call.before)
            for chunk in chunks:
                sink.write(chunk)
            sink.flush()
            call.ends()
            sink.write(call.after)
