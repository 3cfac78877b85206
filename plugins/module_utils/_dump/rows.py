# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a dump holds, for its manifest: the same rows as the tool has read, also of a client that goes on writing.

On PostgreSQL the server counts those of the snapshot that the tool reads. MySQL and MariaDB show a snapshot to no other session: there the
rows are counted in what the tool writes.
"""

from __future__ import annotations

import contextlib
import re
import typing as t
from concurrent import futures

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import connection, content
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import MYSQL, Settings
from ansible_collections.waba.onprem.plugins.module_utils._dump import stream
from ansible_collections.waba.onprem.plugins.module_utils._dump.commands import Section

_INSERT = b"\nINSERT INTO "
_NAME = rb"`(?:[^`]|``)+`"
_HEAD = re.compile(rb"\nINSERT INTO (%s) (?:\(%s(?:, %s)*\) )?VALUES([ \n])(?=\()" % (_NAME, _NAME, _NAME))
_LONGEST_HEAD = 1 << 20  # bytes
_END = b";\n"  # a line's end in a value is written as \n
_CUT = b"\\),\n;"  # what may go on in the next piece


class Rows:
    """Counts the rows of each table in the output of mysqldump and mariadb-dump, which it sees in pieces."""

    def __init__(self) -> None:
        self.tables: dict[str, int] = {}
        self.longest = self._length = 0  # bytes of a statement
        self._held, self._table = b"\n", ""
        self._apart = b""  # what stands between two rows of the statement
        self._quoted = 0  # whether a piece begins in a text

    def see(self, piece: bytes) -> None:
        """Takes the next piece of the output. Raises WaError for a statement that it does not know."""
        self._held += piece
        while self._rows() if self._table else self._head():
            pass

    def _head(self) -> bool:
        """Goes to the first row of the next statement; returns False where the rest of that is missing."""
        at = self._held.find(_INSERT)
        self._held = self._held[at:] if at >= 0 else self._held[-len(_INSERT) :]
        found = _HEAD.match(self._held)
        if not found:
            if at >= 0 and len(self._held) > _LONGEST_HEAD:
                raise WaError("rows of the dump", f"{self._held[1:80].decode(errors='replace')!r}", "rows of a table")
            return False
        self._table = found[1][1:-1].decode(errors="replace").replace("``", "`")
        self._apart, self._quoted = (b"),\n(" if found[2] == b"\n" else b"),("), 0
        self.tables[self._table] = self.tables.get(self._table, 0) + 1
        self._length = found.end()
        self._held = self._held[found.end() :]
        return True

    def _rows(self) -> bool:
        """Counts as far as the statement is there; returns whether that is to its end."""
        end = self._held.find(_END)
        body = self._held[:end] if end >= 0 else self._held.rstrip(_CUT)
        self.tables[self._table] += self._count(body)
        self._length += len(body)
        self.longest = max(self.longest, self._length)
        self._held = self._held[end + 1 if end >= 0 else len(body) :]
        self._table = "" if end >= 0 else self._table
        return end >= 0

    def _count(self, body: bytes) -> int:
        if self._apart != b"),(":
            return body.count(self._apart)  # where each row has a line of its own, no text has it
        parts = body.replace(b"\\\\", b"").replace(b"\\'", b"").split(b"'")
        outside = b"'".join(parts[self._quoted :: 2])
        self._quoted ^= (len(parts) - 1) & 1
        return outside.count(self._apart)


class Counting:
    """Counts while the databases `names` are dumped, as a context."""

    def __init__(self, config: Settings, names: t.Sequence[str], timeout: float) -> None:
        """`timeout` is in seconds, for each table."""
        self._config, self._names, self._timeout = config, names, timeout
        self._ends = contextlib.ExitStack()
        self._snapshots: dict[str, str] = {}
        self._rows: dict[str, Rows] = {name: Rows() for name in names}

    def __enter__(self) -> Counting:
        if self._config.engine == MYSQL:
            return self
        with contextlib.ExitStack() as ends:
            beside = ends.enter_context(futures.ThreadPoolExecutor(1))
            sessions = {
                name: ends.enter_context(connection.connect(self._config, name, statement_timeout=self._timeout))
                for name in self._names
            }
            self._snapshots = {name: content.begin_snapshot(session) for name, session in sessions.items()}
            # The sessions hold their snapshots to the end of the dump: the tool may begin with one when it is counted.
            self._counted = beside.submit(
                lambda: {name: content.of_session(session, name) for name, session in sessions.items()}
            )
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ends.close()

    def part(self, line: bytes, section: Section) -> stream.Part:
        """Returns the part of the dump of which the rows are counted."""
        if self._config.engine != MYSQL:
            program, *options = section.argv
            return stream.Part(line, [program, f"--snapshot={self._snapshots[section.database]}", *options])
        return stream.Part(line, section.argv, self._rows[section.database].see if section.part == "tables" else len)

    @property
    def longest(self) -> int:
        """Returns the bytes of the longest statement with rows; 0 on PostgreSQL, which takes rows one by one."""
        return max(one.longest for one in self._rows.values())

    def result(self) -> dict[str, dict[str, t.Any]]:
        """Returns the contents of the databases by name, when they are dumped. Raises WaError."""
        if self._config.engine != MYSQL:
            found = self._counted.result()
        else:
            found = {
                name: content.read(self._config, name, self._timeout, rows.tables) for name, rows in self._rows.items()
            }
        return {name: one._asdict() for name, one in found.items()}
