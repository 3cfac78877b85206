# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages that come and go: outbound ones are delivered a moment later, and a test can let rows arrive at a rate."""

from __future__ import annotations

import json
import secrets
import threading
import time
import zlib
from typing import Any, Callable

from .callbacks import CallbackQueue
from .database import Database, DatabaseError
from .faults import Faults
from .schema import last_rewrite, message_stores, store

DELIVER_AFTER = 1.0
# Above this rate inbound messages are not posted to the webhook one by one: the table is what is tested then.
QUIET_ABOVE = 20.0
COLUMNS = "message_id, direction, chat, type, status, payload, created_at, updated_at"


def new_id() -> str:
    """An id in the look of the real ones."""
    return "gBEG" + secrets.token_hex(12).upper()


class Traffic:
    """Writes messages for one node."""

    def __init__(
        self,
        database: Database,
        schema: int,
        callbacks: CallbackQueue,
        faults: Faults,
        rate: float,
        log: Callable[[str], None],
    ) -> None:
        self._db = database
        self._attribute = f"attr_{last_rewrite(schema)}"
        self._stores = [store(name) for name in message_stores(database.settings.message_stores)]
        self._callbacks = callbacks
        self._faults = faults
        self._rate = rate
        self._log = log
        self._lock = threading.Lock()
        self._sent: list[tuple[float, int, str, str]] = []
        self.outbound: dict[str, int] = {}

    def _store_of(self, chat: str) -> str:
        return self._stores[zlib.crc32(chat.encode()) % len(self._stores)]

    def send(self, body: dict[str, Any]) -> str:
        """Add an outbound message. Returns its id. Raises DatabaseError."""
        kind, chat, now, message_id = str(body.get("type", "text")), str(body["to"]), int(time.time()), new_id()
        with self._db.session(self._store_of(chat)) as session:
            row = session.insert(
                f"INSERT INTO messages ({COLUMNS}, {self._attribute}) VALUES (%s, 1, %s, %s, 'sent', %s, %s, %s, 0)",
                (message_id, chat[:32], kind[:16], json.dumps(body), now, now),
            )
        self.outbound[kind] = self.outbound.get(kind, 0) + 1
        with self._lock:
            self._sent.append((time.monotonic() + DELIVER_AFTER, row, message_id, chat))
        return message_id

    def mark_read(self, message_id: str) -> bool:
        """Mark an inbound message as read. Returns False when there is none with this id."""
        for place in self._stores:
            with self._db.session(place) as session:
                if session.execute(
                    "UPDATE messages SET status = 'read', updated_at = %s WHERE message_id = %s AND direction = 0",
                    (int(time.time()), message_id),
                ):
                    return True
        return False

    def run(self, stop: threading.Event, ready: Callable[[], bool]) -> None:
        """Deliver what was sent, and let rows arrive, until `stop` is set; only while `ready()` says so."""
        owed = 0.0
        last = time.monotonic()
        while not stop.wait(0.2):
            now = time.monotonic()
            rate = self._faults.value("traffic", 100.0) if self._faults.on("traffic") else self._rate
            owed, last = min(owed + rate * (now - last), 20000.0), now
            if not ready():
                continue
            try:
                self._deliver(now)
                if owed >= 1.0:
                    owed -= self._arrive(int(owed), rate)
            except DatabaseError as exc:
                self._log(f"messages: {exc}")

    def _deliver(self, now: float) -> None:
        with self._lock:
            due = [item for item in self._sent if item[0] <= now]
            self._sent = [item for item in self._sent if item[0] > now]
        moment = int(time.time())
        for _due, row, message_id, chat in due:
            with self._db.session(self._store_of(chat)) as session:
                session.execute(
                    "UPDATE messages SET status = 'delivered', updated_at = %s WHERE id = %s", (moment, row)
                )
                session.execute(
                    "INSERT INTO message_receipt_log (message_id, message_row, status, received_at) VALUES (%s, %s, 'delivered', %s)",
                    (message_id, row, moment),
                )
            self._callbacks.add(
                "status_change",
                {
                    "statuses": [
                        {"id": message_id, "recipient_id": chat, "status": "delivered", "timestamp": str(moment)}
                    ]
                },
            )

    def _arrive(self, count: int, rate: float) -> int:
        now = int(time.time())
        rows: dict[str, list[Any]] = {}
        arrived: list[str] = []
        for number in range(count):
            direction = number % 2
            message_id, chat = new_id(), f"1555{number:07d}"
            rows.setdefault(self._store_of(chat), []).extend(
                [
                    message_id,
                    direction,
                    chat,
                    "text",
                    "sent" if direction else "unread",
                    "x" * (40 + number % 160),
                    now,
                    now,
                ]
            )
            if not direction:
                arrived.append(message_id)
        for place, fields in rows.items():
            values = ", ".join(["(%s, %s, %s, %s, %s, %s, %s, %s, 0)"] * (len(fields) // 8))
            with self._db.session(place) as session:
                session.execute(f"INSERT INTO messages ({COLUMNS}, {self._attribute}) VALUES {values}", fields)
        if rate <= QUIET_ABOVE:
            for message_id in arrived:
                message = {
                    "from": "15550000000",
                    "id": message_id,
                    "timestamp": str(now),
                    "type": "text",
                    "text": {"body": "hello"},
                }
                self._callbacks.add("inbound_message", {"contacts": [{"wa_id": "15550000000"}], "messages": [message]})
        return count
