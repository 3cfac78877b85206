# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The permission to migrate, and the wait for the process that migrates."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import parse_duration
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile, Lease

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result

POLL_INTERVAL = 0.1  # seconds between two looks at the journal; the outage lasts as long


def wait(
    file: JournalFile, run_id: str, seconds: float, *, allowed: bool = False, check_mode: bool = False
) -> tuple[dict[str, t.Any], bool]:
    """Returns the journal, and whether the process that migrates is alive, once that is ready, or its migration has ended, or it has died.

    With `allowed` it has the permission: its end is waited for. Raises WaError if this run loses the journal meanwhile, if the process does
    not get ready, or if a migration that may start cannot, while going back is possible.
    """
    lease = Lease(None if check_mode else file.path, run_id)
    end = time.monotonic() + seconds
    while True:
        lease.renew()
        alive = file.is_migrating()  # before the journal, in which it says how it has ended
        found = upgrade_journal.own(file.load(), run_id)
        late = time.monotonic() >= end
        if allowed:
            upgrade_journal.check_start(found, alive)
            # One that has noted nothing yet may still take its lock.
            over = upgrade_journal.migration(found)["migration_ended"] or (not alive and bool(found.get("migration")))
        else:
            over = bool(found.get("migration", {}).get("state"))
            if over or late:
                upgrade_journal.check_process(found, alive and over)
        if over or late:
            return found, alive
        time.sleep(POLL_INTERVAL)


def unseen(found: dict[str, t.Any], alive: bool, waited: float, limit: float) -> str:
    """Returns why the migration has not ended well, or is not to be waited for any more; empty if it has, or is."""
    noted = upgrade_journal.migration(found)
    if noted["migration_ended"] or (alive and waited < limit):
        return str(noted["migration_problem"])
    why = "the waiting was stopped, not the migration" if alive else "the process that waits for it has died"
    return f"the migration was not seen to end after {waited:.0f} s: {why}."


def allow(params: t.Mapping[str, t.Any], result: Result) -> bool:
    """Allows the migration, and waits for its end. Returns whether it has ended, and nobody used the database at its end.

    What is known of it is in `result` in any case. Raises WaError if it has not ended well, or will not.
    """
    file, run_id = JournalFile(params["lock_file"]), params["run_id"]
    found: dict[str, t.Any] | None = None
    try:
        with file.exclusively():
            found = file.load()
            upgrade_journal.check_start(file.load_upgrade(), file.is_migrating())
            after = upgrade_journal.note(
                found, run_id, params["notes"], time.time(), upgrade_journal.LEASE, migrate=True
            )
            if after != found:
                file.save(after)
                found = after
        result.record_change("allow the migration")
        begun = time.monotonic()  # the clock of the host may be set meanwhile
        found, alive = wait(file, run_id, parse_duration("wait_timeout", params["wait_timeout"]), allowed=True)
        waited = params["waited"] + time.monotonic() - begun
        result.values.update(migrating=alive, migration_waited=waited)
        problem = unseen(found, alive, waited, params["limit"])
        if problem:
            raise WaError.of(problem)
    finally:
        journal = found if upgrade_journal.is_upgrade(found) else None
        seen = upgrade_journal.migration(journal)
        result.values.update(journal=journal or {}, **seen)
    return bool(seen["migration_ended"] and seen["migration_idle"])
