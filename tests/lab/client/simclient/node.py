# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One Coreapp or master: starts up, migrates when it is its turn, stays in touch, answers the Webapp."""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import datetime, timezone
from typing import Any, Callable

from . import backup, media
from .build import Build
from .callbacks import CallbackQueue
from .cluster import Cluster
from .database import Database, DatabaseDown, DatabaseError
from .errors import ApiError
from .faults import Faults
from .gc import GarbageCollector, Share
from .schema import STORES, MigrationFailed, Schema, SchemaNewer, message_stores, store
from .settings import Settings
from .store import NEEDS_RESTART, NEW_SPELLING, ConfigStore, changed, shown
from .traffic import Traffic

SETTLE_SECONDS = 1.0
DATABASE_SILENT = 10.0


class Node:
    """The state of one Coreapp process."""

    def __init__(
        self,
        settings: Settings,
        build: Build,
        faults: Faults,
        log: Callable[[str], None],
        database: Database | None = None,
    ) -> None:
        self.settings = settings
        self.build = build
        self.faults = faults
        self.log = log
        self.stop = threading.Event()
        self.fatal = ""
        self.database = database or Database(settings.database, blocked=lambda: faults.on("dead_database"))
        self.schema = Schema(self.database, log)
        self.config = ConfigStore(settings, build, self.database)
        self.cluster = Cluster(settings, build.version, self.database)
        self.callbacks = CallbackQueue(
            self.database, settings.hostname if settings.multiconnect else "", lambda: self._application, log
        )
        self.gc = GarbageCollector(settings, self.database, faults, self.callbacks, log, self.stop)
        self.traffic = Traffic(self.database, build.schema, self.callbacks, faults, settings.traffic, log)
        self.requests: dict[tuple[str, str], int] = {}
        self._application: dict[str, Any] = shown_defaults()
        self._in_force: dict[str, Any] = {}
        self._registration: dict[str, Any] | None = None
        self._shards = 1
        self._ready_at = 0.0
        self._database_seen = time.monotonic()
        self._outdated = False
        self._beat = threading.Event()

    # -- start -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to start up in the background; the control port can answer meanwhile."""
        self._thread("boot", self._boot)

    def _thread(self, name: str, target: Callable[..., None], *args: Any) -> None:
        threading.Thread(target=target, args=args, name=name, daemon=True).start()

    def _boot(self) -> None:
        try:
            self._warm_up()
            while not self.stop.is_set() and not self._boot_once():
                self.stop.wait(self.settings.database_retry)
        except (SchemaNewer, MigrationFailed) as exc:
            self._die(str(exc))
            return
        except Exception as exc:  # noqa: BLE001 - a defect must end the program with a line in the log, not one thread
            self._die(f"{type(exc).__name__}: {exc}")
            return
        if self.stop.is_set():
            return
        self._ready_at = time.monotonic()
        self.log(f"ready: version {self.build.version}, schema {self.build.schema}")
        self._thread("callbacks", self.callbacks.run, self.stop)
        self._thread("traffic", self.traffic.run, self.stop, self._carries_traffic)
        self._thread("auto-gc", self._auto_gc)
        self._heartbeat()

    def _warm_up(self) -> None:
        """Be `uninitialized` for as long as the start of a real one may take; a cluster knows this node meanwhile."""
        if self.settings.start_seconds and self.settings.multiconnect:
            with contextlib.suppress(DatabaseError):
                self.cluster.announce()
        self.stop.wait(self.settings.start_seconds)

    def _die(self, reason: str) -> None:
        self.log(f"FATAL {reason}")
        self.fatal = reason
        self.stop.set()

    def _boot_once(self) -> bool:
        """One try to get ready. Returns False when the database or another node is not so far."""
        try:
            state = self.schema.state(self.build.schema)
            if state == "newer":
                self.schema.bring_to(self.build.schema)
            if state in ("fresh", "older") and not self._may_migrate():
                return False
            if state in ("fresh", "older"):
                self.schema.bring_to(self.build.schema, self._hold)
            if self.settings.multiconnect:
                self.cluster.announce()
            self._first_registration()
            self._application = self.config.application()
            self._in_force = {name: self._application[name] for name in NEEDS_RESTART}
            self.callbacks.persist = bool(self._in_force["callback_persist"])
            self._refresh()
        except (SchemaNewer, MigrationFailed):
            raise
        except (DatabaseError, OSError) as exc:
            self.log(f"not ready yet: {exc}")
            return False
        if not media.prepare(self.settings.media_dir):
            self.log(f"media directory {self.settings.media_dir} cannot be written by this user")
        return True

    def _may_migrate(self) -> bool:
        """A single Coreapp may; in a cluster only the primary master (any master while there is no cluster store)."""
        if not self.settings.multiconnect:
            return True
        try:
            self.cluster.tick(1, 30.0)
        except DatabaseDown:
            raise
        except DatabaseError:
            return self.settings.master
        if not self.cluster.primary:
            self.log("waiting for the primary master to bring the schema up to date")
        return self.cluster.primary

    def _hold(self, step: str) -> None:
        """The faults of a migration: it fails after its first steps, or hangs."""
        if self.faults.on("migration_fails") and step != "start":
            raise MigrationFailed(f"{step}: simulated failure of the migration")
        if self.faults.on("migration_hangs") and step != "start":
            self.log(f"{step}: held by a fault")
        while self.faults.on("migration_hangs") and step != "start" and not self.stop.wait(0.5):
            pass
        if self.stop.is_set():
            raise MigrationFailed("stopped in the middle of a migration")

    def upgrade(self) -> int:
        """WA_DB_UPGRADE=1: bring the schema up to date and return the exit code."""
        try:
            self.schema.bring_to(self.build.schema, self._hold)
        except DatabaseError as exc:
            self.log(f"database upgrade to {self.build.version} failed: {exc}")
            return 1
        self.log(f"database upgrade to {self.build.version} (schema {self.build.schema}) complete")
        return 0

    def _first_registration(self) -> None:
        if not self.settings.registered or (self.settings.multiconnect and not self.settings.master):
            return
        if self.config.registration() is None and not self.config.ever_registered():
            self.config.register("15550001000")
            self.config.write("shards", self.settings.shards)

    # -- life ------------------------------------------------------------------------------------------------------

    def _heartbeat(self) -> None:
        while not self.stop.is_set():
            try:
                self._refresh()
                self.database.close_idle()
            except (DatabaseError, OSError) as exc:
                self.log(f"heartbeat: {exc}")
            settled = not self.settings.multiconnect or self.cluster.has_primary
            self._beat.wait(min(self._application["heartbeat_interval"], 5) if settled else SETTLE_SECONDS)
            self._beat.clear()

    def _refresh(self) -> None:
        with self.database.session(store("message")) as session:
            version = int(session.value("SELECT version FROM schema_version WHERE id = 1") or 0)
        if version > self.build.schema and not self._outdated:
            self.log(f"database schema is now {version}, this build needs {self.build.schema}: disconnected")
        self._outdated = version > self.build.schema
        self._application = self.config.application()
        self._registration = self.config.registration()
        self._shards = self.config.shards()
        if self.settings.multiconnect:
            self.cluster.tick(self._shards, float(self._application["unhealthy_interval"]))
        self._database_seen = time.monotonic()

    def effective(self, name: str) -> Any:
        """A setting as it is in force: before v2.53 some wait for a restart of the Coreapp."""
        if name in NEEDS_RESTART and self.build.schema < NEW_SPELLING:
            return self._in_force.get(name, self._application[name])
        return self._application[name]

    def _auto_gc(self) -> None:
        next_run = time.monotonic() + self.settings.auto_gc_every
        while not self.stop.wait(0.5):
            if time.monotonic() < next_run or not self._carries_traffic():
                continue
            next_run = time.monotonic() + self.settings.auto_gc_every
            wanted = self.effective("gc")
            for kind, flag in (("message", wanted["messages"]), ("media", wanted["media"])):
                if flag:
                    self.gc.start(kind, self._share(), bool(self.effective("pass_through")), automatic=True)

    def _carries_traffic(self) -> bool:
        return self.gateway_status() == "connected" and (
            not self.settings.multiconnect or self.cluster.shard is not None
        )

    def close(self) -> None:
        """A clean end: what runs stops at the next batch, leases are given back."""
        self.stop.set()
        self._beat.set()
        self.callbacks.wake()
        self.gc.join(3.0)
        if self.settings.multiconnect and self._ready_at:
            try:
                self.cluster.leave()
            except DatabaseError as exc:
                self.log(f"leaving the cluster: {exc}")
        self.database.close_idle(all_of_them=True)

    # -- answers ---------------------------------------------------------------------------------------------------

    def gateway_status(self) -> str:
        """Status of the connection to the vendor's servers (domain.md 5)."""
        if not self._ready_at:
            return "uninitialized"
        if self.expired() or self._outdated or time.monotonic() - self._database_seen > DATABASE_SILENT:
            return "disconnected"
        if self._registration is None or self.faults.on("unregistered"):
            return "unregistered"
        if self.settings.multiconnect and not self._connects():
            return "disconnected"
        return "connected" if time.monotonic() - self._ready_at >= self.settings.connect_seconds else "connecting"

    def _connects(self) -> bool:
        return self.cluster.shard is not None or (self.cluster.primary and self._shards > 1)

    def role(self) -> str:
        """The role as health and support show it."""
        if not self.settings.master:
            return "coreapp"
        return "primary_master" if self.cluster.primary else "secondary_master"

    def expired(self) -> bool:
        """True when the build's life is over."""
        return self.build.expired() or self.faults.on("expired")

    def answer(self, method: str, params: dict[str, Any], web_version: str) -> Any:
        """Answer one request of the Webapp. Raises ApiError."""
        label = str(params.pop("endpoint", method))
        result = "error"
        try:
            if web_version and web_version != self.build.version:
                raise ApiError(1014, f"Version mismatch: Webapp {web_version}, Coreapp {self.build.version}")
            handler = getattr(self, f"_do_{method}", None)
            if handler is None:
                raise ApiError(1006, f"Unknown request {method}")
            if self.expired() and method != "health":
                raise ApiError(1005, "This version of the client has expired")
            if not self._ready_at and method not in ("health", "support", "stats_app"):
                raise ApiError(1011, "The service is starting, try again later")
            value = handler(**params)
            result = "success"
            return value
        except DatabaseError as exc:
            self.log(f"{method}: {exc}")
            raise ApiError(1014, f"Database error: {exc}") from None
        finally:
            self.requests[(label, result)] = self.requests.get((label, result), 0) + 1

    def _do_health(self) -> dict[str, Any]:
        found = {"gateway_status": self.gateway_status()}
        if self.settings.multiconnect:
            found["role"] = self.role()
        return found

    def _do_support(self) -> dict[str, Any]:
        s = self.settings
        try:
            versions = self.schema.versions()
        except DatabaseError:
            versions = dict.fromkeys(STORES, 0)
        status = self.gateway_status()
        found: dict[str, Any] = {
            "context": "healthcheck",
            "db_engine": s.database.engine,
            "db_info": [],
            "debug_info": self._registration["number"] if self._registration else "unregistered",
            "description": f"whatsapp-{self.build.version}",
            "device_iso8601": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S"),
            "e2e": {},
            "env": list(s.environment),
            "expire_timestamp": self.build.expire_timestamp,
            "free_space_data": media.free_space(s.data_dir),
            "free_space_logs": media.free_space(s.core_log_dir),
            "free_space_media_incoming": media.free_space(f"{s.media_dir}/incoming"),
            "free_space_media_outgoing": media.free_space(f"{s.media_dir}/outgoing"),
            "lc": "US",
            "lg": "en",
            "multi_connect": s.multiconnect,
            "os_name": "linux-x86_64",
            "os_version": "simulated",
            "schema": {name: versions[name] for name in STORES if name not in ("web", "media")},
            "socket_conn": {"connected": "UP", "connecting": "SC"}.get(status, "DN"),
        }
        if self._registration:
            found["e2e"] = {
                "identity_timestamp": int(self._registration["since"]),
                "registration_id": self._registration["registration_id"],
            }
        if s.multiconnect:
            found["role"] = self.role()
            control = [[-1, -1]] if self.cluster.primary and self._shards > 1 else []
            mine = [] if self.cluster.shard is None else [[self.cluster.shard, self.cluster.shard]]
            found["shards"] = ([[-1, -1]] if mine and self._shards == 1 else control) + mine
        return found

    def _do_stats_app(self) -> dict[str, Any]:
        def counter(text: str, data: list[dict[str, Any]], kind: str = "counter") -> dict[str, Any]:
            return {"data": data, "help": text, "type": kind}

        sent = [
            {"labels": {"result": result, "type": kind}, "value": n}
            for (kind, result), n in sorted(self.callbacks.sent.items())
        ]
        calls = [
            {"labels": {"endpoint": name, "result": result}, "value": n}
            for (name, result), n in sorted(self.requests.items())
        ]
        outbound = [{"labels": {"type": kind}, "value": n} for kind, n in sorted(self.traffic.outbound.items())]
        return {
            "callback_queue_size": counter("Current callback queue size", [{"value": self.callbacks.size}], "gauge"),
            "callback_requests": counter("Total number of callback requests made", sent),
            "endpoint_requests": counter("Total number of requests by endpoint", calls),
            "outbound_messages": counter(
                "Total number of outbound messages", outbound or [{"labels": {"type": "text"}, "value": 0}]
            ),
        }

    def _do_stats_db(self) -> dict[str, Any]:
        if self.settings.multiconnect and not self.cluster.primary:
            return {}

        def gauge(text: str, data: list[dict[str, Any]]) -> dict[str, Any]:
            return {"data": data, "help": text, "type": "gauge"}

        messages = pending = receipts = 0
        for name in message_stores(self.settings.database.message_stores):
            with self.database.session(store(name)) as session:
                # The full count that makes the real one slow and harmful on a large database.
                messages += int(session.value("SELECT COUNT(*) FROM messages"))
                pending += int(
                    session.value("SELECT COUNT(*) FROM messages WHERE direction = 1 AND status IN ('pending', 'sent')")
                )
                receipts += int(session.value("SELECT COUNT(*) FROM message_receipt_log"))
        with self.database.session(store("callback")) as session:
            callbacks = int(session.value("SELECT COUNT(*) FROM queue"))
        with self.database.session(store("contact")) as session:
            contacts = int(session.value("SELECT COUNT(*) FROM contacts"))
        return {
            "db_contacts": gauge(
                "Current number of contacts in DB", [{"labels": {"type": "whatsapp_user"}, "value": contacts}]
            ),
            "db_message_receipts": gauge(
                "Current number of message receipts in DB", [{"labels": {}, "value": receipts}]
            ),
            "db_messages": gauge("Current number of messages in DB", [{"labels": {}, "value": messages}]),
            "db_pending_callbacks": gauge(
                "Current number of pending callbacks in DB", [{"labels": {}, "value": callbacks}]
            ),
            "db_pending_messages": gauge(
                "Current number of pending messages in DB", [{"labels": {}, "value": pending}]
            ),
        }

    def _do_gc(self, kind: str, nodes: list[str] | None = None) -> dict[str, Any]:
        if self.faults.on("gc_fails_to_start"):
            raise ApiError(
                1014, f"Connection timed out. Please check if wacore is running: {self.settings.hostname}:6252"
            )
        if kind == "media" and self.settings.multiconnect and not self.cluster.primary:
            raise ApiError(1017, "Not the primary master, try again")
        self._application = self.config.application()
        self.gc.start(kind, self._share(nodes), bool(self.effective("pass_through")))
        return {"status": "processing"}

    def _share(self, nodes: list[str] | None = None) -> Share:
        """This node's part of the table among the Coreapps that collect now."""
        together = sorted(nodes or (self.cluster.owners(self._shards) if self.settings.multiconnect else []))
        node = self.settings.node
        return Share(together.index(node), len(together)) if node in together else Share()

    def _do_send_message(self, body: dict[str, Any]) -> str:
        if not self._carries_traffic():
            raise ApiError(1018 if self.settings.multiconnect else 1011, "This Coreapp is not connected, try again")
        if self.callbacks.full():
            raise ApiError(1016, "The callback queue is full")
        return self.traffic.send(body)

    def _do_mark_read(self, message_id: str) -> None:
        if self.effective("pass_through"):
            raise ApiError(1006, "Message not found: pass_through is on, messages are not kept")
        if not self.traffic.mark_read(message_id):
            raise ApiError(1006, f"Message not found: {message_id}")

    def _do_contacts(self, numbers: list[str]) -> list[dict[str, str]]:
        found = []
        with self.database.session(store("contact")) as session:
            for number in numbers:
                wa_id = "".join(char for char in number if char.isdigit())
                if wa_id and not session.value("SELECT 1 FROM contacts WHERE wa_id = %s", (wa_id,)):
                    session.execute(
                        "INSERT INTO contacts (wa_id, status, checked) VALUES (%s, 'valid', %s)", (wa_id, time.time())
                    )
                found.append({"input": number, "status": "valid" if wa_id else "invalid", "wa_id": wa_id})
        return found

    def _primary(self) -> None:
        if self.settings.multiconnect and not self.cluster.primary:
            raise ApiError(1017, "Not the primary master, try again")

    def _do_settings(self) -> dict[str, Any]:
        self._application = self.config.application()
        self._beat.set()
        return shown(self._application, self.build.schema)

    def _do_patch_settings(self, patch: dict[str, Any]) -> None:
        self._primary()
        self.config.write("application", changed(self.config.application(), patch, self.build.schema))
        self._application = self.config.application()
        self.callbacks.wake()

    def _do_reset_settings(self) -> None:
        self._primary()
        self.config.write("application", {})
        self._application = self.config.application()

    def _do_backup(self, password: str) -> str:
        data = {
            "application": self.config.application(),
            "registration": self.config.registration(),
            "shards": self.config.shards(),
        }
        return backup.seal(data, password)

    def _do_restore(self, data: str, password: str) -> None:
        self._primary()
        for name, value in backup.open_sealed(data, password).items():
            self.config.write(name, value)
        self._refresh()

    def _do_register(self, number: str) -> None:
        self._primary()
        self.config.register(number)
        self._refresh()

    def _do_shards(self, shards: int) -> None:
        self._primary()
        self.config.write("shards", shards)
        self._refresh()


def shown_defaults() -> dict[str, Any]:
    """Settings in force before the stored ones could be read."""
    from .store import DEFAULTS

    return dict(DEFAULTS)
