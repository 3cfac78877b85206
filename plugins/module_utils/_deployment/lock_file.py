# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock file of a deployment: its presence is the lock, its content the journal of the upgrade that holds it."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal

_TIMEOUT = 30.0  # seconds; the guard is held for milliseconds only


class JournalFile:
    """The lock file at `path`. Use `exclusively` around a `load` and the following `save` or `remove`."""

    def __init__(self, path: str) -> None:
        self.path = path
        folder, name = os.path.split(os.path.abspath(path))
        self.guard = os.path.join(folder, f".{name}.guard")
        self.job = os.path.join(folder, f".{name}.migration")
        self.change = path.rsplit(".", 1)[0] + ".change.json"

    def has_folder(self) -> bool:
        """Returns whether the folder of the lock file exists."""
        return os.path.isdir(os.path.dirname(self.guard))

    @contextlib.contextmanager
    def exclusively(self) -> t.Iterator[None]:
        """Holds the guard lock while the file is read and written, for milliseconds."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(files.lock(self.guard, _TIMEOUT))
            except OSError as error:
                raise self._unusable(self.path, error) from None
            yield

    @contextlib.contextmanager
    def migrating(self, timeout: float = 0.0) -> t.Iterator[bool]:
        """Marks this process as the one that migrates for this upgrade. Yields False if another one does, after `timeout` seconds."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(files.lock(self.job, timeout))
            except OSError as error:
                raise self._unusable(self.job, error) from None
            except WaError:
                yield False
                return
            yield True

    def is_migrating(self) -> bool:
        """Returns whether the process that migrates for this upgrade is alive."""
        try:
            return files.is_locked(self.job)
        except OSError as error:
            raise self._unusable(self.job, error) from None

    def load(self) -> dict[str, t.Any] | None:
        """Returns the journal, None if there is no lock. Raises WaError for an invalid file."""
        return self._load(self.path)

    def load_change(self) -> dict[str, t.Any] | None:
        """Returns the record of a run that changes the client's containers outside an upgrade, None if there is none."""
        return self._load(self.change, upgrade_journal.check_change, "note", "a run")

    def load_last(self) -> dict[str, t.Any] | None:
        """Returns the journal of the last finished upgrade, None if there is none. Raises WaError for an invalid file."""
        return self._load(self.last())

    def _load(
        self,
        path: str,
        check: t.Callable[[t.Any], dict[str, t.Any]] = upgrade_journal.check,
        what: str = "journal",
        writer: str = "an upgrade",
    ) -> dict[str, t.Any] | None:
        try:
            return check(json.loads(files.read_text(path)))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(path, error) from None
        except ValueError as error:
            raise WaError(
                f"lock file {path}",
                f"not written by {writer} ({error})",
                f"the {what} of {writer}",
                "Find out who holds the deployment; then remove the file",
            ) from None

    def why_blocked(self, now: float) -> str:
        """Returns why the deployment's client must not be changed at `now` (seconds since 1970); empty if it may."""
        journal = self.load()
        if journal is None:
            return ""
        held = upgrade_journal.is_held(journal, "", now)
        return upgrade_journal.describe_block(journal, held) if upgrade_journal.blocks(journal, held) else ""

    def save(self, journal: dict[str, t.Any]) -> None:
        """Writes the journal atomically."""
        self._write(self.path, journal)

    def save_change(self, change: dict[str, t.Any]) -> None:
        """Records which run changes the client's containers."""
        self._write(self.change, change)

    def archive(self, journal: dict[str, t.Any]) -> str:
        """Archives `journal` as that of the last upgrade, releases the lock, and returns the path of the archive."""
        last = self.last()
        self._write(last, journal)
        self.remove()
        return last

    def last(self) -> str:
        """Returns the path of the journal of the last finished upgrade."""
        return self.path.rsplit(".", 1)[0] + ".last-upgrade.json"

    def remove(self) -> None:
        """Releases the lock."""
        self._remove(self.path)

    def remove_change(self) -> None:
        """Removes the record of a finished change."""
        self._remove(self.change)

    def _remove(self, path: str) -> None:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._unusable(path, error) from None

    def _write(self, path: str, journal: dict[str, t.Any]) -> None:
        try:
            files.write_json(path, journal)
        except OSError as error:
            raise self._unusable(path, error) from None

    @staticmethod
    def _unusable(path: str, error: OSError) -> WaError:
        return WaError(
            f"lock file {path}",
            f"cannot be used: {error.strerror}",
            "a file that this run can write, since without it no run may change the client",
            "Create its folder (role wa_host does), or free room on its file system",
        )
