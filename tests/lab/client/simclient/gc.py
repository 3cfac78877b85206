# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Garbage collection: real rows go, in batches by primary key, and a notification tells the end."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable

from .callbacks import CallbackQueue
from .database import Database, DatabaseDown, DatabaseError, Session
from .faults import Faults
from .schema import message_stores, store
from .settings import Settings

MEDIA_UNUSED = 30 * 86400
INBOUND_KEPT = 7 * 86400
TRICKLE = 5.0
LOST_CONNECTION_TRIES = 3


class GcFailed(Exception):
    """A collection that cannot be finished; the text goes into the notification."""


@dataclass
class Share:
    """Which part of the table is this node's: ids with `id mod of = index`."""

    index: int = 0
    of: int = 1


def deletable(automatic: bool, pass_through: bool) -> str:
    """The rows that GC takes, as SQL with two times to bind: the age limit, and the one for unread inbound messages.

    What the real one takes is unknown. Delivered, read or failed outbound messages and read inbound ones go once they
    are old enough; unread inbound ones only by automatic GC after 7 days.
    """
    done = "((direction = 1 AND status IN ('delivered', 'read', 'failed')) OR (direction = 0 AND status = 'read'))"
    aged = done if pass_through else f"({done} AND created_at < %(old)s)"
    return f"({aged} OR (direction = 0 AND created_at < %(kept)s))" if automatic and not pass_through else aged


class GarbageCollector:
    """Runs at most one collection of each kind on this node."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        faults: Faults,
        callbacks: CallbackQueue,
        log: Callable[[str], None],
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._db = database
        self._faults = faults
        self._callbacks = callbacks
        self._log = log
        self._stop = stop
        self._lock = threading.Lock()
        self._running: dict[str, threading.Thread] = {}

    def running(self, kind: str) -> bool:
        """True while a collection of this kind (`message`, `media`) runs here."""
        thread = self._running.get(kind)
        return thread is not None and thread.is_alive()

    def start(self, kind: str, share: Share, pass_through: bool, automatic: bool = False) -> bool:
        """Begin a collection. Returns False when one runs already: it is then the answer to this call, too."""
        with self._lock:
            if self.running(kind):
                self._log(f"{kind} gc: one is running already, this request joins it")
                return False
            work = self._messages if kind == "message" else self._media
            thread = threading.Thread(
                target=self._run, args=(kind, work, share, pass_through, automatic), name=f"gc-{kind}", daemon=True
            )
            self._running[kind] = thread
            thread.start()
        return True

    def join(self, seconds: float) -> None:
        """Wait for the end of what runs, after the stop event was set."""
        for thread in list(self._running.values()):
            thread.join(seconds)

    # -- one collection --------------------------------------------------------------------------------------------

    def _run(
        self,
        kind: str,
        work: Callable[[Share, bool, bool, list[int]], None],
        share: Share,
        pass_through: bool,
        automatic: bool,
    ) -> None:
        started = time.monotonic()
        deleted = [0]
        failure = ""
        self._stop.wait(self._settings.gc_delay)
        self._log(f"{kind} gc: started")
        try:
            work(share, pass_through, automatic, deleted)
        except (GcFailed, DatabaseError) as exc:
            failure = str(exc)
        if self._stop.is_set():
            self._log(f"{kind} gc: stopped with the program after {deleted[0]} deleted")
            return
        seconds = time.monotonic() - started
        self._log(
            f"{kind} gc: {'failed: ' + failure if failure else 'complete'}, {deleted[0]} deleted in {seconds:.1f} s"
        )
        if automatic or self._faults.on("gc_no_callback"):
            return
        self._notify(kind, 0 if failure else deleted[0], failure)

    def _notify(self, kind: str, count: int, failure: str) -> None:
        counted = "messages_deleted" if kind == "message" else "items_deleted"
        gc: dict[str, Any] = {counted: count}
        if self._settings.multiconnect:
            gc["node"] = self._settings.node
        gc["status"] = "failed" if failure else "complete"
        if failure:
            gc["errors"] = [{"code": 1014, "details": failure}]
        # A media collection that worked is told under `message`, one that failed under `media` (domain.md 3).
        outer = "media" if kind == "media" and failure else "message"
        payload = {"services": [{outer: {"gc": gc}}]}
        late = self._faults.value("gc_callback_late", 60.0) if self._faults.on("gc_callback_late") else 0.0
        for _copy in range(2 if self._faults.on("gc_callback_twice") else 1):
            for attempt in range(LOST_CONNECTION_TRIES):
                try:
                    self._callbacks.add(f"{kind}_gc", payload, late)
                    break
                except DatabaseDown:
                    if self._stop.wait(attempt + 1):
                        return

    # -- messages --------------------------------------------------------------------------------------------------

    def _messages(self, share: Share, pass_through: bool, automatic: bool, deleted: list[int]) -> None:
        if self._faults.on("gc_fails"):
            self._stop.wait(1.0)
            raise GcFailed("Could not delete messages from the database")
        if self._faults.on("gc_deletes_nothing"):
            self._stop.wait(1.0)
            return
        for name in message_stores(self._db.settings.message_stores):
            self._collect(store(name), share, pass_through, automatic, deleted)

    def _collect(self, place: str, share: Share, pass_through: bool, automatic: bool, deleted: list[int]) -> None:
        now = time.time()
        params = {"old": int(now - self._settings.gc_min_age), "kept": int(now - INBOUND_KEPT)}
        where = deletable(automatic, pass_through)
        if share.of > 1:
            where += f" AND MOD(id, {share.of}) = {share.index}"
        batch = self._settings.gc_batch
        if batch <= 0 or self._faults.on("gc_one_transaction"):
            with self._db.session(place) as session:
                deleted[0] += session.execute(f"DELETE FROM messages WHERE {where}", params)
            return
        first, last = self._bounds(place)
        half = (
            first + int((last - first) * self._faults.value("gc_half_way", 0.5))
            if self._faults.on("gc_half_way")
            else None
        )
        low, failures = first, 0
        while low <= last and not self._stop.is_set():
            never = self._faults.on("gc_never_ends")
            size = max(1, int(self._faults.value("gc_never_ends", TRICKLE))) if never else batch
            if half is not None and low >= half:
                raise GcFailed("Connection to the database was lost")
            try:
                with self._db.session(place) as session:
                    high = self._end_of_batch(session, low, last, size)
                    count = self._delete(session, where, params, low, high)
            except DatabaseDown as exc:
                failures += 1
                if failures > LOST_CONNECTION_TRIES:
                    raise GcFailed(f"database: {exc}") from None
                self._log(f"message gc: {exc}, trying again")
                self._stop.wait(failures)
                continue
            failures, low = 0, high
            deleted[0] += count
            pause = 1.0 if self._faults.on("gc_never_ends") else self._settings.gc_pause if count else 0.0
            self._stop.wait(pause)
            while low > last and self._faults.on("gc_never_ends") and not self._stop.wait(1.0):
                pass

    def _bounds(self, place: str) -> tuple[int, int]:
        with self._db.session(place) as session:
            first, last = session.rows("SELECT MIN(id), MAX(id) FROM messages")[0]
        return (int(first), int(last)) if first is not None else (1, 0)

    def _end_of_batch(self, session: Session, low: int, last: int, batch: int) -> int:
        """The id behind the batch that starts at `low`: gaps from earlier collections cost nothing."""
        found = session.value(f"SELECT id FROM messages WHERE id >= %s ORDER BY id LIMIT 1 OFFSET {batch}", (low,))
        return int(found) if found is not None and found <= last else last + 1

    def _delete(self, session: Session, where: str, params: dict[str, int], low: int, high: int) -> int:
        bound = {**params, "low": low, "high": high}
        count = session.execute(f"DELETE FROM messages WHERE id >= %(low)s AND id < %(high)s AND {where}", bound)
        if count:
            session.execute(
                "DELETE FROM message_receipt_log WHERE message_row >= %s AND message_row < %s "
                "AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.id = message_receipt_log.message_row)",
                (low, high),
            )
        return count

    # -- media -----------------------------------------------------------------------------------------------------

    def _media(self, share: Share, pass_through: bool, automatic: bool, deleted: list[int]) -> None:
        if self._faults.on("gc_fails") or self._faults.on("media_readonly"):
            self._stop.wait(1.0)
            raise GcFailed("Could not delete media files")
        limit = int(time.time() - MEDIA_UNUSED)
        while not self._stop.is_set():
            with self._db.session(store("media")) as session:
                rows = session.rows("SELECT id, path FROM media WHERE last_used < %s ORDER BY id LIMIT 200", (limit,))
                for number, path in rows:
                    try:
                        os.unlink(os.path.join(self._settings.media_dir, path))
                    except FileNotFoundError:
                        pass
                    except OSError as exc:
                        raise GcFailed(f"Could not delete media files: {exc.strerror}") from None
                    deleted[0] += session.execute("DELETE FROM media WHERE id = %s", (number,))
            if len(rows) < 200:
                return
            self._stop.wait(self._settings.gc_pause)
