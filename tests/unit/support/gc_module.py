# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_message_gc for unit tests: a table in memory that GC empties in its own time, answers and notifications."""

from __future__ import annotations

import json
import threading
import time
import typing as t
from pathlib import Path

from ansible_collections.waba.onprem.plugins.module_utils._database import activity as pulses
from ansible_collections.waba.onprem.plugins.module_utils._database import messages, ownership
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import DatabaseError, Settings

RunModule = t.Callable[..., "dict[str, t.Any]"]

PASSWORD = "Right-1234"
DATABASE_PASSWORD = "Canary-gc-77"
GC = "/v1/services/message/gc"
CALL = f"PUT {GC}"


Run = t.Callable[..., "dict[str, t.Any]"]


class Table:
    """The `messages` of a client, in memory. `gc` deletes as the client would: later, in batches, in a thread."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.counter = 0
        self.deleting = False
        self.troubles: list[DatabaseError] = []
        self.read_only = False
        self.estimate = 0  # how far the server's estimate of the rows is off
        self.gates = 0
        self.slow_from = 10**6  # the number of the count from which the database is too slow for one
        self.threads: list[threading.Thread] = []
        self.databases = ["wamessageStore"]

    def delete(self, count: int, batches: int = 4, pause: float = 0.05, delay: float = 0.0) -> None:
        """Start to delete."""

        def work() -> None:
            time.sleep(delay)
            for _number in range(batches):
                self.rows -= count // batches
                self.counter += count // batches
                time.sleep(pause)

        self.threads.append(threading.Thread(target=work))
        self.threads[-1].start()

    def trouble(self) -> None:
        if self.troubles:
            raise self.troubles.pop(0)

    # What the adapter offers

    def find_tables(
        self, _config: Settings, prefix: str, wanted: t.Sequence[str] | None = None, *_more: t.Any
    ) -> list[messages.Table]:
        self.trouble()
        found = {name: ownership.Traits(messages=True) for name in self.databases}
        names = ownership.anchors(prefix, found, wanted, lambda _name: True)
        return [messages.Table(name, name, ("id",)) for name in names]

    def gate(self, _config: Settings, _tables: t.Any, limit: int) -> messages.Count:
        self.gates += 1
        if self.gates >= self.slow_from:
            return messages.Count(0, False, True, "wamessageStore: the count took too long")
        large = self.rows > limit
        return messages.Count(limit + 1 if large else self.rows, not large, large)

    def pulse(self, _config: Settings, _tables: t.Any) -> pulses.Pulse:
        self.trouble()
        return pulses.Pulse(self.rows + self.estimate, (self.counter,), 0, self.deleting, self.read_only)

    def tidy(self, _config: Settings, _tables: t.Any, _seconds: float) -> str:
        return ""


def state(tmp_path: Path) -> dict[str, t.Any]:
    found: dict[str, t.Any] = json.loads((tmp_path / "gc.json").read_text())
    return found


def processing(*nodes: str) -> tuple[int, t.Any]:
    gc: t.Any = {node: {"status": "processing"} for node in nodes} if nodes else {"status": "processing"}
    return 200, {"services": {"message": {"gc": gc}}}


def collects(table: Table, count: int = 400, answer: t.Any = None, **how: t.Any) -> t.Callable[[], t.Any]:
    """A reply to the call that starts the client's GC."""

    def reply() -> t.Any:
        table.delete(count, **how)
        return answer or processing()

    return reply


def notify(path: Path, deleted: int = 400, node: str | None = None, status: str = "complete", **more: t.Any) -> None:
    gc: dict[str, t.Any] = {"messages_deleted": deleted, "status": status, **({"node": node} if node else {})}
    with path.open("a") as stream:
        stream.write(json.dumps({"services": [{"message": {"gc": gc}}], **more}) + "\n")
