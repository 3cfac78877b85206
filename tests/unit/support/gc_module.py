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

import pytest
from fake_webapp import FakeWebapp

from ansible_collections.waba.onprem.plugins.module_utils._database import activity, messages, ownership
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import DatabaseError, Settings

PASSWORD = "Right-1234"
DATABASE_PASSWORD = "Canary-gc-77"
GC = "/v1/services/message/gc"
CALL = f"PUT {GC}"

Run = t.Callable[..., "dict[str, t.Any]"]


class Table:
    """The `messages` of a client, in memory. `gc` deletes as the client would: later, in batches, in a thread."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.gone = 0  # of the rows that were there at first
        self.troubles: list[DatabaseError] = []
        self.counts = 0
        self.slow_from = 10**6  # the number of the count from which the database is too slow for one
        self.threads: list[threading.Thread] = []
        self.databases = ["wamessageStore"]
        self.vacuums: list[str] = []  # what could not be done, one after the other
        self.vacuumed = 0

    def delete(self, count: int, batches: int = 4, pause: float = 0.05, delay: float = 0.0) -> None:
        """Start to delete."""

        def work() -> None:
            time.sleep(delay)
            for _number in range(batches):
                self.rows -= count // batches
                self.gone += count // batches
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

    def count_up_to(self, _config: Settings, _tables: t.Any, limit: int) -> messages.Count:
        self.counts += 1
        if self.counts >= self.slow_from:
            return messages.Count(0, False, True, "wamessageStore: the count took too long")
        large = self.rows > limit
        return messages.Count(limit + 1 if large else self.rows, not large, large)

    def vacuum(self, _config: Settings, _tables: t.Any, _seconds: float) -> str:
        self.vacuumed += 1
        return self.vacuums.pop(0) if self.vacuums else ""

    def estimate(self, _config: Settings, _tables: t.Any) -> list[int]:
        return [self.rows]

    def take_sample(self, _config: Settings, tables: t.Any, size: int) -> list[list[list[int]]]:
        """Rows go in the order of their keys, and only those of the sample do."""
        return [[[self.gone + number] for number in range(min(self.rows, size))] for _table in tables]

    def inspect(self, _config: Settings, _tables: t.Any, keys: t.Sequence[t.Sequence[list[int]]]) -> activity.Activity:
        self.trouble()
        return activity.Activity(sum(key[0] >= self.gone for part in keys for key in part), False)


def state(tmp_path: Path) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads((tmp_path / "gc.json").read_text()))


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


# Fixtures, for the conftest.py of the folders that use them


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Table]:
    found = Table(2_200)
    for name in ("find_tables", "count_up_to", "vacuum"):
        monkeypatch.setattr(messages, name, getattr(found, name))
    for name in ("estimate", "take_sample", "inspect"):
        monkeypatch.setattr(activity, name, getattr(found, name))
    yield found
    for thread in found.threads:
        thread.join()


@pytest.fixture
def fake() -> t.Iterator[FakeWebapp]:
    server = FakeWebapp()
    yield server
    server.close()


@pytest.fixture
def run(run_module: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> Run:
    env = tmp_path / "db.env"
    env.write_text(
        "WA_DB_ENGINE=PGSQL\nWA_DB_HOSTNAME=db\nWA_DB_PORT=5432\nWA_DB_USERNAME=wa\n"
        f"WA_DB_PASSWORD={DATABASE_PASSWORD}\nWA_DB_NAME_PREFIX=wa\n"
    )

    def call(check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        given = {
            "api_url": fake.url,
            "api_password": PASSWORD,
            "env_file": str(env),
            "state_file": str(tmp_path / "gc.json"),
            "lock_file": str(tmp_path / "wa.lock"),
            "max_messages": 2_000,
            "quiet_period": "0.3",
            "poll_interval": "0.1",
            "wait_timeout": "30",
        }
        result = run_module("wa_message_gc", {**given, **options}, check)
        shown = json.dumps(result) + "".join(path.read_text() for path in tmp_path.glob("*.json*"))
        assert not any(secret in shown for secret in (PASSWORD, DATABASE_PASSWORD, "token-"))
        return result

    return call
