# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that a test switches on: from the lab's control service, or fixed in SIM_FAULTS."""

from __future__ import annotations

import json
import sys
import threading
import urllib.request
from typing import Any

from .settings import Settings, SettingsError

POLL_SECONDS = 1.0
TIMEOUT_SECONDS = 0.5

KNOWN = (
    "api_401_empty",
    "api_429",
    "api_503",
    "cleanup_fails",
    "cleanup_hangs",
    "coreapp_unreachable",
    "dead_database",
    "expired",
    "gc_callback_late",
    "gc_callback_twice",
    "gc_deletes_nothing",
    "gc_fails",
    "gc_fails_to_start",
    "gc_half_way",
    "gc_never_ends",
    "gc_no_callback",
    "gc_one_transaction",
    "media_readonly",
    "migration_fails",
    "migration_hangs",
    "slow_answers",
    "tls_expired",
    "tls_wrong_name",
    "token_expires",
    "traffic",
    "unregistered",
    "version_without_v",
)


def matches(entry: dict[str, Any], prefix: str, hostname: str) -> bool:
    """True when an entry is for this deployment (database prefix) and this node (host name)."""
    return entry.get("prefix") in (None, prefix) and entry.get("node") in (None, hostname)


def fetch(url: str, timeout: float = TIMEOUT_SECONDS) -> dict[str, list[dict[str, Any]]]:
    """Ask the control service once. Raises OSError or ValueError."""
    with urllib.request.urlopen(url.rstrip("/") + "/faults", timeout=timeout) as answer:
        return dict(json.load(answer))


class Faults:
    """What is on, as known from the last look; a look never happens inside a request."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.database.prefix
        self._hostname = settings.hostname
        self._url = settings.control_url
        self._fixed: dict[str, list[dict[str, Any]]] = {}
        for text in settings.fixed_faults:
            name, _sep, value = text.partition("=")
            self._fixed[name] = [{"value": json.loads(value) if value else None}]
        self._found: dict[str, list[dict[str, Any]]] = {}
        self._looked = threading.Event()

    def start(self, stop: threading.Event) -> None:
        """Look once a second in a thread until `stop` is set; give the first look a moment."""
        if self._url:
            threading.Thread(target=self._watch, args=(stop,), name="faults", daemon=True).start()
            self._looked.wait(2 * TIMEOUT_SECONDS)

    def look(self) -> None:
        """Ask once; a control service that is not there means no faults."""
        try:
            self._found = fetch(self._url)
        except (OSError, ValueError):
            self._found = {}

    def _watch(self, stop: threading.Event) -> None:
        while True:
            self.look()
            self._looked.set()
            if stop.wait(POLL_SECONDS):
                return

    def entry(self, name: str) -> dict[str, Any] | None:
        """The entry of a fault that is on for this node, or None."""
        for entry in self._fixed.get(name, []) + self._found.get(name, []):
            if matches(entry, self._prefix, self._hostname):
                return entry
        return None

    def on(self, name: str) -> bool:
        """True when the fault is on for this node."""
        return self.entry(name) is not None

    def value(self, name: str, default: float) -> float:
        """The number that goes with a fault, or `default` when it has none."""
        found = self.entry(name) or {}
        value = found.get("value")
        return default if value is None else float(value)


def main() -> int:
    """`python3 -m simclient.faults NAME...`: print those that are on (for the shell scripts)."""
    try:
        faults = Faults(Settings.from_env())
    except SettingsError:
        return 0
    faults.look()
    print(" ".join(name for name in sys.argv[1:] if faults.on(name)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
