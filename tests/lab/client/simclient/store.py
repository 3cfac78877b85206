# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's configuration: in the configStore with WA_CONFIG_ON_DB=1, otherwise a file in the container."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
import time
from typing import Any

from .build import Build
from .database import Database
from .errors import ApiError
from .schema import store
from .settings import Settings

# Values as Meta's reference shows them as defaults.
DEFAULTS: dict[str, Any] = {
    "callback_backoff_delay_ms": 3000,
    "callback_persist": True,
    "heartbeat_interval": 5,
    "max_callback_backoff_delay_ms": 900000,
    "media": {"auto_download": ["image", "document", "audio", "video", "voice", "sticker"]},
    "notify_user_change_number": False,
    "pass_through": False,
    "sent_status": False,
    "show_security_notifications": False,
    "unhealthy_interval": 30,
    "webhooks": {"max_concurrent_requests": 6, "url": ""},
    "gc": {"media": False, "messages": False},
}
NEW_SPELLING = 53
NEEDS_RESTART = ("callback_persist", "pass_through", "gc")


def shown(config: dict[str, Any], schema: int) -> dict[str, Any]:
    """The application settings as the API of this version spells them."""
    view = {name: value for name, value in config.items() if name != "gc"}
    if schema >= NEW_SPELLING:
        view["garbagecollector_enable"] = dict(config["gc"])
    else:
        view["db_garbagecollector_enable"] = bool(config["gc"]["messages"])
    return view


def changed(config: dict[str, Any], patch: dict[str, Any], schema: int) -> dict[str, Any]:
    """The configuration after a PATCH. Raises ApiError 1009 or 1010 for what this version does not know."""
    new = json.loads(json.dumps(config))
    for name, value in patch.items():
        if name == "garbagecollector_enable" and schema >= NEW_SPELLING:
            if (
                not isinstance(value, dict)
                or not all(isinstance(flag, bool) for flag in value.values())
                or set(value) - {"media", "messages"}
            ):
                raise ApiError(1009, "garbagecollector_enable must be an object of booleans: media, messages")
            new["gc"].update(value)
        elif name == "db_garbagecollector_enable" and schema < NEW_SPELLING:
            if not isinstance(value, bool):
                raise ApiError(1009, "db_garbagecollector_enable must be a boolean")
            new["gc"]["messages"] = value
        elif name in DEFAULTS and name != "gc":
            new[name] = _checked(name, new[name], value)
        else:
            raise ApiError(1010, f"Unknown parameter: {name}")
    return dict(new)


def _checked(name: str, old: Any, value: Any) -> Any:
    if isinstance(old, dict):
        if not isinstance(value, dict):
            raise ApiError(1009, f"{name} must be an object")
        unknown = set(value) - set(old)
        if unknown:
            raise ApiError(1010, f"Unknown parameter: {name}.{sorted(unknown)[0]}")
        return {**old, **value}
    if isinstance(old, bool):
        if not isinstance(value, bool):
            raise ApiError(1009, f"{name} must be a boolean")
        return value
    try:
        # Meta documents these numbers as text and shows them as numbers: both are taken.
        number = int(value)
    except (TypeError, ValueError):
        raise ApiError(1009, f"{name} must be a number") from None
    if isinstance(value, bool) or number < 0:
        raise ApiError(1009, f"{name} must be a number")
    return number


class ConfigStore:
    """Application settings, registration and shards of one deployment."""

    def __init__(self, settings: Settings, build: Build, database: Database) -> None:
        self._settings = settings
        self._build = build
        self._db = database
        self._lock = threading.Lock()
        self._file = os.path.join(settings.data_dir, "config.json")

    def read(self, name: str) -> Any:
        """The stored value, or None. Raises DatabaseDown."""
        if not self._settings.config_on_db:
            return self._read_file().get(name)
        with self._db.session(store("config")) as session:
            text = session.value("SELECT value FROM settings WHERE name = %s", (name,))
        return None if text is None else json.loads(text)

    def write(self, name: str, value: Any) -> None:
        """Store a value. Raises DatabaseDown, or OSError for the file."""
        if not self._settings.config_on_db:
            with self._lock:
                data = self._read_file()
                data[name] = value
                os.makedirs(self._settings.data_dir, exist_ok=True)
                draft = f"{self._file}.new"
                with open(draft, "w", encoding="utf-8") as stream:
                    json.dump(data, stream)
                os.replace(draft, self._file)
            return
        text = json.dumps(value)
        with self._db.session(store("config")) as session:
            if not session.execute("UPDATE settings SET value = %s WHERE name = %s", (text, name)):
                session.execute("INSERT INTO settings (name, value) VALUES (%s, %s)", (name, text))

    def _read_file(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError), open(self._file, encoding="utf-8") as stream:
            return dict(json.load(stream))
        return {}

    def application(self) -> dict[str, Any]:
        """The application settings, with defaults for what was never set."""
        stored = self.read("application") or {}
        return {**json.loads(json.dumps(DEFAULTS)), **stored}

    def registration(self) -> dict[str, Any] | None:
        """The registered number, or None."""
        found = self.read("registration")
        return dict(found) if found else None

    def shards(self) -> int:
        """How many shards the number has; 1 means high availability when multiconnect is on."""
        return int(self.read("shards") or 1)

    def register(self, number: str) -> None:
        """Note a registration; a new encryption identity goes to the axolotlStore whatever WA_CONFIG_ON_DB says."""
        identity = secrets.randbelow(1 << 31)
        now = time.time()
        self.write("registration", {"number": number, "registration_id": identity, "since": now})
        with self._db.session(store("axolotl")) as session:
            session.execute("INSERT INTO identities (registration_id, created) VALUES (%s, %s)", (identity, now))

    def ever_registered(self) -> bool:
        """True when this database has seen a registration, even if the configuration was lost since."""
        with self._db.session(store("axolotl")) as session:
            return session.value("SELECT 1 FROM identities LIMIT 1") is not None
