# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notifications to the business's webhook: kept until it answers 200, tried again with a growing delay."""

from __future__ import annotations

import json
import ssl
import threading
import time
import urllib.error
import urllib.request
from typing import Any, Callable

from .database import Database, DatabaseError
from .schema import store

SEND_TIMEOUT = 10
FULL = 20000
IDLE_LOOK = 5.0
BATCH = 50


def post(url: str, payload: str) -> str:
    """POST one notification. Returns `success`, or the HTTP status or error class that came instead."""
    request = urllib.request.Request(
        url, data=payload.encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    # A webhook's certificate is the business's own affair in the lab: it is not checked.
    context = ssl.create_default_context() if url.startswith("https:") else None
    if context:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(request, timeout=SEND_TIMEOUT, context=context) as answer:
            return "success" if answer.status == 200 else str(answer.status)
    except urllib.error.HTTPError as exc:
        return str(exc.code)
    except (OSError, ValueError) as exc:
        return type(exc).__name__


def delay(attempts: int, step_ms: int, limit_ms: int) -> float:
    """Seconds until the next try after so many failed ones: linear, up to a limit (Meta's settings reference)."""
    return min(attempts * step_ms, limit_ms) / 1000


class CallbackQueue:
    """One node's queue. With callback_persist it lives in the callbackStore and outlives a restart."""

    def __init__(
        self, database: Database, node: str, config: Callable[[], dict[str, Any]], log: Callable[[str], None]
    ) -> None:
        self._db = database
        self._node = node
        self._config = config
        self._log = log
        self._memory: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._size = 0
        self.persist = True
        self.sent: dict[tuple[str, str], int] = {}

    @property
    def size(self) -> int:
        """How many notifications wait, as far as this node knows."""
        return self._size

    def full(self) -> bool:
        """True when the API should answer 1016."""
        return self._size >= FULL

    def add(self, kind: str, payload: dict[str, Any], after: float = 0.0) -> None:
        """Queue a notification; without a webhook URL it is dropped."""
        if not self._config()["webhooks"]["url"]:
            self._log(f"no webhook is set: a notification of type {kind} is dropped")
            return
        text, due = json.dumps(payload), time.time() + after
        if self.persist:
            with self._db.session(store("callback")) as session:
                session.execute(
                    "INSERT INTO queue (node, kind, payload, attempts, due) VALUES (%s, %s, %s, 0, %s)",
                    (self._node, kind, text, due),
                )
        else:
            with self._lock:
                self._memory.append({"kind": kind, "payload": text, "attempts": 0, "due": due})
        self._size += 1
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Send what is due until `stop` is set."""
        pause = 0.0
        while not stop.is_set():
            self._wake.wait(pause)
            self._wake.clear()
            if stop.is_set():
                return
            try:
                pause = max(0.1, min(IDLE_LOOK, self._round(stop) - time.time()))
            except DatabaseError as exc:
                self._log(f"callback queue: {exc}")
                pause = IDLE_LOOK

    def wake(self) -> None:
        """Make the sender look at once (a new notification, or the end)."""
        self._wake.set()

    def _round(self, stop: threading.Event) -> float:
        """Send everything that is due. Returns the time of the next look."""
        now = time.time()
        waiting = self._waiting(now)
        for item in waiting:
            if stop.is_set():
                break
            url = self._config()["webhooks"]["url"]
            result = post(url, item["payload"]) if url else "no_webhook"
            key = (item["kind"], result)
            self.sent[key] = self.sent.get(key, 0) + 1
            if result == "success":
                self._done(item)
            else:
                self._failed(item, result)
        return self._next(full_batch=len(waiting) >= BATCH)

    def _waiting(self, now: float) -> list[dict[str, Any]]:
        with self._lock:
            found = [item for item in self._memory if item["due"] <= now][:BATCH]
        if self.persist:
            with self._db.session(store("callback")) as session:
                rows = session.rows(
                    f"SELECT id, kind, payload, attempts FROM queue WHERE node = %s AND due <= %s ORDER BY id LIMIT {BATCH}",
                    (self._node, now),
                )
            found += [{"id": row[0], "kind": row[1], "payload": row[2], "attempts": row[3]} for row in rows]
        return found

    def _done(self, item: dict[str, Any]) -> None:
        if "id" in item:
            with self._db.session(store("callback")) as session:
                session.execute("DELETE FROM queue WHERE id = %s", (item["id"],))
        else:
            with self._lock:
                self._memory.remove(item)

    def _failed(self, item: dict[str, Any], result: str) -> None:
        config = self._config()
        attempts = int(item["attempts"]) + 1
        wait = delay(attempts, config["callback_backoff_delay_ms"], config["max_callback_backoff_delay_ms"])
        self._log(f"webhook answered {result} to a notification of type {item['kind']}, next try in {wait:.0f} s")
        if "id" in item:
            with self._db.session(store("callback")) as session:
                session.execute(
                    "UPDATE queue SET attempts = %s, due = %s WHERE id = %s", (attempts, time.time() + wait, item["id"])
                )
        else:
            item.update(attempts=attempts, due=time.time() + wait)

    def _next(self, full_batch: bool) -> float:
        with self._lock:
            dues = [float(item["due"]) for item in self._memory]
        stored = 0
        if self.persist:
            with self._db.session(store("callback")) as session:
                count, first = session.rows("SELECT COUNT(*), MIN(due) FROM queue WHERE node = %s", (self._node,))[0]
            stored = int(count)
            if first is not None:
                dues.append(float(first))
        self._size = stored + len(self._memory)
        if full_batch:
            return 0.0
        return min(dues) if dues else time.time() + IDLE_LOOK
