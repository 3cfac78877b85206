# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns of the deployments that this controller upgrades: one migration at a time on a database server."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
import typing as t

from ansible_collections.waba.onprem.plugins.plugin_utils import process


class Turns:
    """The turns kept in `folder`, as taken by the run `ours` (see `process`).

    A turn lasts as long as its lease, at most. A run that has ended has given its turn back, but for that of a migration,
    which goes on without its run: that one is left until its lease is over or its next run takes it.
    """

    def __init__(self, folder: str, ours: str) -> None:
        self.folder = folder
        self.ours = ours

    def take(self, server: str, ticket: str, lease: float) -> str | None:
        """Take the turn of `server` for `ticket`, for `lease` seconds: None when it is ours, otherwise who has it."""
        with self._file() as turns:
            found = turns.get(_key(server))
            if found and not self._is_ours(found, ticket) and self._is_held(found, ticket):
                return str(found["ticket"])
            turns[_key(server)] = {"ticket": ticket, "run": self.ours, "until": time.time() + lease}
        return None

    @staticmethod
    def _is_held(found: t.Mapping[str, t.Any], ticket: str) -> bool:
        # Another run of the same ticket is another operator's, or the next one of a run that has ended.
        left = bool(found.get("migrates")) and found["ticket"] != ticket
        return float(found.get("until", 0.0)) > time.time() and (left or not process.has_ended(found["run"]))

    def _is_ours(self, found: t.Mapping[str, t.Any], ticket: str) -> bool:
        return bool(found["ticket"] == ticket and found["run"] == self.ours)

    def keep(self, ticket: str, lease: float, migrates: bool = False) -> None:
        """Keep the turn of `ticket` for `lease` seconds more; `migrates`: for its migration, which may outlast this run."""
        with self._file() as turns:
            for key in [key for key, found in turns.items() if self._is_ours(found, ticket)]:
                turns[key].update(until=time.time() + lease, migrates=migrates)

    def give_back(self, ticket: str) -> None:
        """Give back whatever turn `ticket` has in this run."""
        if not os.path.isdir(self.folder):
            return
        with self._file() as turns:
            for key in [key for key, found in turns.items() if self._is_ours(found, ticket)]:
                del turns[key]

    @contextlib.contextmanager
    def _file(self) -> t.Iterator[dict[str, t.Any]]:
        """The turns, with every other process kept out; what is changed in them is written."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        handle = os.open(os.path.join(self.folder, "migrations.json"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "r+", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            try:
                turns: dict[str, t.Any] = json.loads(stream.read() or "{}")
            except ValueError:
                turns = {}  # a write was cut short: who had a turn is not known, and a journal still guards each deployment
            before = json.dumps(turns)
            yield turns
            if json.dumps(turns) != before:
                stream.seek(0)
                stream.truncate()
                stream.write(json.dumps(turns))


def _key(server: str) -> str:
    return hashlib.sha256(server.lower().encode()).hexdigest()[:16]
