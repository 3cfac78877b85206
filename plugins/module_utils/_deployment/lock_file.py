# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock file of a deployment: the journal of its upgrade, or the run that changes the client outside one. Members hold copies."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal

LEASE_SPEC: dict[str, dict[str, t.Any]] = {"lease_file": {"type": "path"}}
_TIMEOUT = 30.0  # seconds; the guard is held for milliseconds only


@contextlib.contextmanager
def _usable(path: str) -> t.Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WaError(
            f"lock file {path}",
            f"cannot be used: {error.strerror}",
            "a file that this run can write, since without it no run may change the client",
            "Create its folder (role wa_host does), or free room on its file system",
        ) from None


class JournalFile:
    """The lock file at `path`. Use `exclusively` around a `load` and the following `save` or `remove`."""

    def __init__(self, path: str) -> None:
        self.path = path
        folder, name = os.path.split(os.path.abspath(path))
        self.guard = os.path.join(folder, f".{name}.guard")
        self.job = os.path.join(folder, f".{name}.migration")

    def has_folder(self) -> bool:
        """Returns whether the folder of the lock file exists."""
        return os.path.isdir(os.path.dirname(self.guard))

    @contextlib.contextmanager
    def exclusively(self) -> t.Iterator[None]:
        """Holds the guard lock while the file is read and written, for milliseconds."""
        with contextlib.ExitStack() as stack:
            with _usable(self.path):
                stack.enter_context(files.lock(self.guard, _TIMEOUT))
            yield

    @contextlib.contextmanager
    def migrating(self, timeout: float = 0.0) -> t.Iterator[bool]:
        """Marks this process as the one that migrates for this upgrade. Yields False if another one does, after `timeout` seconds."""
        alone = True
        with contextlib.ExitStack() as stack:
            with _usable(self.job):
                try:
                    stack.enter_context(files.lock(self.job, timeout))
                except WaError:
                    alone = False
            yield alone

    def is_migrating(self) -> bool:
        """Returns whether the process that migrates for this upgrade is alive."""
        with _usable(self.job):
            return files.is_locked(self.job)

    def load(self) -> dict[str, t.Any] | None:
        """Returns the lock, None if there is none. Raises WaError for an invalid file."""
        try:
            return self._load(self.path)
        except upgrade_journal.OtherFormat as error:
            raise WaError(
                f"lock file {self.path}",
                f"written by another version of this collection ({error})",
                "a lock that this version can read",
                "Use that version of the collection for this deployment: the file says where its upgrade stands. Leave the file there",
            ) from None

    def load_upgrade(self) -> dict[str, t.Any] | None:
        """Returns the journal, None if there is no upgrade. Raises WaError for an invalid file."""
        found = self.load()
        return found if upgrade_journal.is_upgrade(found) else None

    def load_last(self) -> dict[str, t.Any] | None:
        """Returns the journal of the last finished upgrade, None if there is none that this version reads. Raises WaError for an invalid file."""
        with contextlib.suppress(upgrade_journal.OtherFormat):  # its upgrade is over
            return self._load(self.last())
        return None

    def _load(self, path: str) -> dict[str, t.Any] | None:
        try:
            with _usable(path), contextlib.suppress(FileNotFoundError):
                return upgrade_journal.check(json.loads(files.read_text(path)))
            return None
        except ValueError as error:
            raise WaError(
                f"lock file {path}",
                f"not written by this collection ({error})",
                "the lock of a run",
                "Find out who holds the deployment; then remove the file",
            ) from None

    def why_blocked(self, now: float) -> str:
        """Returns why the deployment's client must not be changed at `now` (seconds since 1970); empty if it may."""
        lock = self.load()
        if lock is None:
            return ""
        held = upgrade_journal.is_held(lock, "", now)
        blocked = upgrade_journal.blocks(lock, held) if upgrade_journal.is_upgrade(lock) else held
        return upgrade_journal.describe_block(lock, held) if blocked else ""

    def save(self, journal: dict[str, t.Any]) -> None:
        """Writes the lock atomically."""
        self._write(self.path, journal)

    def archive(self, journal: dict[str, t.Any]) -> None:
        """Archives `journal` as that of the last upgrade, with the last one that has succeeded, and releases the lock."""
        last: dict[str, t.Any] = {}
        with contextlib.suppress(WaError):  # one that cannot be read is replaced
            last = self.load_last() or {}
        self._write(self.last(), upgrade_journal.after(last, journal))
        self.remove()

    def last(self) -> str:
        """Returns the path of the journal of the last finished upgrade."""
        return self.path.rsplit(".", 1)[0] + ".last-upgrade.json"

    def remove(self) -> None:
        """Releases the lock."""
        with _usable(self.path), contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def _write(self, path: str, journal: dict[str, t.Any]) -> None:
        with _usable(path):
            files.write_json(path, journal)


class Lease:
    """The lease of the run that has the lock at `path`, for a module that may work longer than a minute; no path for no lock.

    Without `run_id` the run is the one that has it when the module begins.
    """

    def __init__(self, path: str | None, run_id: str = "") -> None:
        self._file = JournalFile(path) if path else None
        self._run_id = run_id
        self._due = 0.0

    def renew(self) -> None:
        """Renews the lease once a minute; for a loop to call. Raises WaError if another run has taken the lock over meanwhile.

        A full disk ends no work while the lease lasts.
        """
        if self._file is None or time.monotonic() < self._due or not self._file.has_folder():
            return
        with self._file.exclusively():
            found = self._file.load()
            self._run_id = self._run_id or str((found or {}).get("run_id", ""))
            if self._run_id:
                lock = upgrade_journal.own(found, self._run_id)
                later = upgrade_journal.renew(lock, time.time())
                try:
                    if later is not None:
                        self._file.save(later)
                except WaError:
                    if float(lock["lease_until"]) <= time.time():
                        raise
        self._due = time.monotonic() + upgrade_journal.RENEWAL

    @contextlib.contextmanager
    def kept(self) -> t.Iterator[None]:
        """Renews the lease beside work that takes its time elsewhere, unless another run has taken the lock over."""
        ended = threading.Event()

        def renew() -> None:
            pause = 0.0
            while not ended.wait(pause):
                with contextlib.suppress(WaError):
                    self.renew()
                pause = upgrade_journal.RENEWAL

        beside = threading.Thread(target=renew, daemon=True)
        beside.start()
        try:
            yield
        finally:
            ended.set()
            beside.join()
