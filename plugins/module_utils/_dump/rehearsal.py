# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the dump tool as a dump would, while the client serves: without rows, and for seconds on the largest table."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_duration
from ansible_collections.waba.onprem.plugins.module_utils._dump.commands import Table
from ansible_collections.waba.onprem.plugins.module_utils._dump.stream import Child, Secret

SMALL = 64 << 20  # bytes of rows that need no sample
SECONDS = 4.0  # of a sample
_SCHEMA_TIMEOUT = 120.0
_ASSUMED = 8 << 20  # bytes a second of what is too small for a sample
_MARGIN = 2.0  # a dump also reads back what it has packed, and counts the rows meanwhile, mostly on the same cores
_CHUNK = 1 << 20
_PATIENCE = 30.0  # seconds that a compressor is given to end


class Sample(t.NamedTuple):
    """What a sample of a table gave: bytes, bytes after compression, some number of rows, seconds, and whether it was all of it."""

    raw: int
    packed: int
    rows: int
    seconds: float
    complete: bool


def estimate(tables: t.Sequence[Table], sample: Sample | None) -> dict[str, t.Any]:
    """Returns about how many `bytes` the dump of `tables` will have, and how many `seconds` it will take.

    The `sample` is of the largest table; without one they are too small for it.
    """
    total = sum(one.bytes for one in tables)
    if sample is None:
        return {"bytes": total, "seconds": round(total / _ASSUMED + 1)}
    table = largest(tables)
    share = min(1.0, sample.rows / table.rows if table.rows else sample.raw / table.bytes)
    share = (1.0 if sample.complete else share) * table.bytes / total
    return {"bytes": round(sample.packed / share), "seconds": round(_MARGIN * sample.seconds / share)}


def largest(tables: t.Sequence[Table]) -> Table:
    """Returns the largest of `tables`."""
    return max(tables, key=lambda one: one.bytes)


def run_without_rows(subject: str, calls: t.Iterable[t.Sequence[str]], mark: bytes, secret: Secret) -> None:
    """Runs each call, which has to end well and its output with `mark`, as in a dump. Raises WaError."""
    for call in calls:
        name = os.path.basename(call[0])
        with secret() as (arguments, options), tempfile.TemporaryFile() as output:
            argv = [call[0], *arguments, *call[1:]]
            with _child(argv, **{"stdout": output, "stderr": subprocess.PIPE, **options}) as child:
                try:
                    complaints = child.communicate(timeout=_SCHEMA_TIMEOUT)[1]
                except subprocess.TimeoutExpired:
                    found = f"{name} has not ended without rows within {format_duration(_SCHEMA_TIMEOUT)}"
                    raise WaError(subject, found, "an end", "See what locks its tables, then run again") from None
            output.seek(max(0, output.tell() - _CHUNK))
            tail = output.read()
        if child.returncode:
            message = " ".join(complaints.decode(errors="replace").split())[-1500:]
            raise WaError(subject, f"{name} ended with {child.returncode}: {message or 'no message'}", "exit code 0")
        if mark not in tail:
            raise WaError(subject, f"the output of {name} ends early", mark.decode())


def take_sample(
    subject: str,
    call: t.Sequence[str],
    packer: t.Sequence[str],
    sink: int,
    secret: Secret,
    separators: t.Sequence[bytes],
    seconds: float = SECONDS,
) -> Sample:
    """Runs the call for some seconds through the compressor into the empty file `sink`. Raises WaError.

    `separators` are what stands between two rows in its output.
    """
    raw = rows = 0
    with secret() as (arguments, options), contextlib.ExitStack() as ends:
        pack = ends.enter_context(_child([*packer, "--stdout"], stdin=subprocess.PIPE, stdout=sink))
        begin = time.monotonic()
        tool = ends.enter_context(_child([call[0], *arguments, *call[1:]], stdout=subprocess.PIPE, **options))
        timer = threading.Timer(seconds, tool.end)
        ends.callback(timer.cancel)
        timer.start()
        source, target = t.cast("t.Any", tool.stdout), t.cast("t.Any", pack.stdin)
        with contextlib.suppress(BrokenPipeError):  # its exit code says it
            while chunk := source.read1(_CHUNK):
                raw += len(chunk)
                rows += sum(map(chunk.count, separators))
                target.write(chunk)
            target.close()
        complete = tool.wait() == 0
        if pack.wait(_PATIENCE):
            raise WaError(subject, f"{packer[0]} ended with {pack.returncode}", "exit code 0, and room in the folder")
        took = time.monotonic() - begin
    if not complete and tool.returncode != -signal.SIGKILL:
        raise WaError(subject, f"{os.path.basename(call[0])} ended with {tool.returncode} amid rows", "exit code 0")
    if not complete and not rows:
        found = f"{os.path.basename(call[0])} gave no row within {format_duration(seconds)}"
        raise WaError(subject, found, "rows", "See what keeps the database server busy, then run again")
    return Sample(raw, os.fstat(sink).st_size, rows, took, complete)


@contextlib.contextmanager
def _child(argv: t.Sequence[str], **options: t.Any) -> t.Iterator[Child]:
    """Starts a program, of which nothing runs any more at the end."""
    with Child(argv, **{"stderr": subprocess.DEVNULL, **options}) as child:
        try:
            yield child
        finally:
            child.end()
            if child.stdin:
                with contextlib.suppress(BrokenPipeError):
                    child.stdin.close()
