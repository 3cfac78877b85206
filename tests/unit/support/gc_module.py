# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_message_gc for unit tests: a client whose `messages` are in memory, and the module run against it."""

from __future__ import annotations

import json
import time
import typing as t
from pathlib import Path

import pytest
from fake_webapp import FakeWebapp
from webapp_session import GC, PASSWORD

from ansible_collections.waba.onprem.plugins.module_utils._database import activity, messages
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import DatabaseError

CANARY = "Canary-gc-77"
PROCESSING = {"status": "processing"}


def answered(**gc: t.Any) -> tuple[int, t.Any]:
    """The answer to a call: of a single client PROCESSING, or that for each node."""
    return 200, {"services": {"message": {"gc": gc}}}


class Client:
    """A client whose GC deletes as the real one does: later, and in batches."""

    def __init__(self, web: FakeWebapp, folder: Path, run_module: t.Callable[..., t.Any], warned: list[str]) -> None:
        self.web, self.folder, self.run_module, self.warned = web, folder, run_module, warned
        self.state_file = folder / "gc.json"
        self.batches: list[tuple[float, int]] = []  # when, and how many rows go
        self.fill(2_200)
        self.troubles: list[DatabaseError] = []  # of the next statements
        self.vacuums: list[str] = []  # what could not be done, one after the other
        self.vacuumed = self.counts = 0
        self.too_slow = False  # for a count
        self.answer(self.collects())
        (folder / "db.env").write_text(
            "WA_DB_ENGINE=PGSQL\nWA_DB_HOSTNAME=db\nWA_DB_PORT=5432\nWA_DB_USERNAME=wa\n"
            f"WA_DB_PASSWORD={CANARY}\nWA_DB_NAME_PREFIX=wa\n"
        )

    def run(self, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        """The module's result; its secrets are nowhere in what it says and keeps."""
        given = {
            "api_url": self.web.url,
            "api_password": PASSWORD,
            "env_file": str(self.folder / "db.env"),
            "state_file": str(self.state_file),
            "lock_file": str(self.folder / "wa.lock"),
            "max_messages": 2_000,
            "quiet_period": "0.3",
            "poll_interval": "0.1",
            "wait_timeout": "30",
        }
        result: dict[str, t.Any] = self.run_module("wa_message_gc", {**given, **options}, check)
        shown = json.dumps([result, self.warned]) + "".join(path.read_text() for path in self.folder.glob("*.json*"))
        assert not any(secret in shown for secret in (PASSWORD, CANARY, "token-"))
        return result

    def state(self) -> dict[str, t.Any]:
        """What is kept of the run."""
        return t.cast("dict[str, t.Any]", json.loads(self.state_file.read_text())["run"])

    def keep(self, **changes: t.Any) -> None:
        kept = json.loads(self.state_file.read_text())
        self.state_file.write_text(json.dumps({**kept, "run": {**kept["run"], **changes}}))

    def answer(self, *replies: t.Any) -> None:
        """Answer calls of GC with these, one after the other; the last one stays."""
        self.web.on("PUT", GC, *replies)

    def calls(self) -> int:
        return self.web.paths().count(f"PUT {GC}")

    def collects(
        self, count: int = 400, answer: t.Any = None, before: t.Callable[[], t.Any] = dict, **how: t.Any
    ) -> t.Callable[[], t.Any]:
        """A reply to the call that starts GC; what comes `before` goes on while the module waits for it."""

        def reply() -> t.Any:
            before()
            self.delete(count, **how)
            return answer or answered(**PROCESSING)

        return reply

    def delete(self, count: int, batches: int = 4, pause: float = 0.05, delay: float = 0.0) -> None:
        """Start to delete."""
        begin = time.monotonic() + delay
        self.batches += [(begin + number * pause, count // batches) for number in range(batches)]

    # What the database adapter offers

    def gone(self) -> int:
        return sum(rows for at, rows in self.batches if at <= time.monotonic())

    def fill(self, rows: int) -> None:
        """So many messages from now on."""
        self.filled = rows + self.gone()

    def find_tables(self, _config: t.Any, prefix: str, wanted: t.Any) -> list[messages.Table]:
        if self.troubles:
            raise self.troubles.pop(0)
        return [messages.Table(name, name, ("id",)) for name in wanted or [f"{prefix}messageStore"]]

    def count_up_to(self, _config: t.Any, _tables: t.Any, limit: int) -> messages.Count:
        self.counts += 1
        if self.too_slow:
            return messages.Count(0, False, True, "wamessageStore: the count took too long")
        rows = self.filled - self.gone()
        return messages.Count(min(rows, limit + 1), rows <= limit, rows > limit)

    def vacuum(self, *_arguments: t.Any) -> str:
        self.vacuumed += 1
        return self.vacuums.pop(0) if self.vacuums else ""

    def estimate(self, *_arguments: t.Any) -> list[int]:
        return [self.filled - self.gone()]

    def take_sample(self, _config: t.Any, _tables: t.Any, size: int) -> list[list[list[int]]]:
        """Rows go in the order of their keys, and only those of the sample do."""
        gone = self.gone()
        return [[[key] for key in range(gone, min(self.filled, gone + size))]]

    def inspect(self, _config: t.Any, _tables: t.Any, keys: t.Sequence[t.Sequence[list[int]]]) -> activity.Activity:
        if self.troubles:
            raise self.troubles.pop(0)
        gone = self.gone()
        return activity.Activity(sum(key[0] >= gone for key in keys[0]), False)


@pytest.fixture
def client(
    fake: FakeWebapp, tmp_path: Path, run_module: t.Any, warned: list[str], monkeypatch: pytest.MonkeyPatch
) -> Client:
    found = Client(fake, tmp_path, run_module, warned)
    for module, names in ((messages, "find_tables count_up_to vacuum"), (activity, "estimate take_sample inspect")):
        for name in names.split():
            monkeypatch.setattr(module, name, getattr(found, name))
    return found
