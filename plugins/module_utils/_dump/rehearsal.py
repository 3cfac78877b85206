# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the dump tool as a dump would, while the client serves: without rows, and for seconds on the largest table."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_duration
from ansible_collections.waba.onprem.plugins.module_utils._dump.commands import Table
from ansible_collections.waba.onprem.plugins.module_utils._dump.stream import CHUNK, Packer, Pipeline, Secret, Write

SMALL = 64 << 20  # bytes of rows that need no sample
SECONDS = 4.0  # of a sample
_SCHEMA_TIMEOUT = 120.0
_ASSUMED = 8 << 20  # bytes a second of what is too small for a sample
_MARGIN = 2.0  # times the seconds of the sample: the rows are counted meanwhile, mostly on the same cores
_PATIENCE = 30.0  # seconds that a compressor is given to end
_ROOM = 1.5  # times the estimated bytes: other tables, and later rows, may pack less well


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


def check_room(folder: str, estimated: t.Mapping[str, t.Any]) -> None:
    """Raises WaError unless `folder` has room for more than what is estimated."""
    files.check_room(
        folder, round(_ROOM * float(estimated["bytes"])), f" ({_ROOM:g} times what the dump is estimated to have)"
    )


def largest(tables: t.Sequence[Table]) -> Table:
    """Returns the largest of `tables`."""
    return max(tables, key=lambda one: one.bytes)


def run_without_rows(subject: str, calls: t.Iterable[t.Sequence[str]], mark: bytes, secret: Secret) -> None:
    """Runs each call, which has to end well and its output with `mark`, as in a dump. Raises WaError."""
    tools = Pipeline(subject, _SCHEMA_TIMEOUT, late="See what locks its tables, then run again")

    def work() -> None:
        for call in calls:
            tools.call(call, secret, mark)

    tools.run(work)


def take_sample(
    subject: str,
    call: t.Sequence[str],
    kind: str,
    file: t.IO[bytes],
    secret: Secret,
    separators: t.Sequence[bytes],
    seconds: float = SECONDS,
) -> Sample:
    """Runs the call for some seconds through the compressor of that kind into an unbuffered file. Raises WaError.

    `separators` are what stands between two rows in its output.
    """
    rows, complete = 0, False
    packer = Packer(subject, kind, seconds + _PATIENCE)

    def work(write: Write) -> None:
        nonlocal rows, complete
        with secret() as (arguments, options):
            tool = packer.start([call[0], *arguments, *call[1:]], stdout=subprocess.PIPE, **options)
        timer = threading.Timer(seconds, tool.end)
        timer.start()
        last = b""
        try:
            while chunk := tool.stdout.read1(CHUNK):
                rows += sum(map(chunk.count, separators))
                # What stands across two pieces.
                rows += sum((last[len(last) + 1 - len(one) :] + chunk[: len(one) - 1]).count(one) for one in separators)
                last = (last + chunk)[-max(map(len, separators)) :]
                write(chunk)
        finally:
            timer.cancel()
        complete = tool.wait() != -signal.SIGKILL
        if complete:
            packer.join(tool)

    begin = time.monotonic()
    packer.pack(file, work)
    took = time.monotonic() - begin
    if not complete and not rows:
        found = f"{os.path.basename(call[0])} gave no row within {format_duration(seconds)}"
        raise WaError(subject, found, "rows", "See what keeps the database server busy, then run again")
    return Sample(packer.raw_size, packer.size, rows, took, complete)
