#!/usr/bin/python

# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_upgrade_journal
short_description: Lock of a deployment and journal of its upgrade
version_added: 0.1.0
description:
  - One file is both. While its lease lasts, no other run upgrades or changes the client, calls message GC or cleans logs. After the lease
    an upgrade that is past the stage C(locked) still keeps all but an upgrade away. Its content records the stage for a later run.
  - The lease is five minutes, and each module of the collection that works longer than a minute renews it. So a lock ends by itself, five
    minutes after its run was killed. O(lease) is longer only for a command or hook of the operator.
  - V(begin) creates the lock for an upgrade. It takes over one whose lease is over, with O(take_over) any. Otherwise it is refused,
    with who holds it, since when and until when.
  - V(stage) notes the next stage, and renews the lease.
  - V(migrate) allows M(waba.onprem.wa_migration), which waits for that, to start the migration. It returns when the migration has started
    or that process has died, and after O(wait_timeout) at the latest. Before the stage V(migrating), which that process writes, it
    fails if the process has died or has failed.
  - V(end) ends the lock. After V(done) and V(rolled_back) nothing is left but a copy of the journal; after V(failed) the journal
    stays, so that the next run goes on from there.
  - V(hold) locks the deployment for a run that changes the client's containers outside an upgrade, until V(release) or the end of its
    lease. It is refused while another run has the lock, and while an upgrade is unfinished. The hosts of one run share it. A host without
    the folder of O(path) was never set up, and is not locked.
  - V(wait) waits for the process that migrates for this upgrade, see M(waba.onprem.wa_migration), and renews the lease meanwhile. It
    ends at once when that process has died.
  - V(go_back) marks this run as one that rolls back, so that no late step of it starts the migration. After the stage C(stopping) it only
    reads.
  - V(read) returns the current content.
options:
  operation:
    description: What to do.
    type: str
    choices: [begin, stage, migrate, wait, go_back, end, hold, release, read]
    default: read
  path:
    description: The lock file. Its folder must exist, but for V(hold) and V(release).
    type: path
    required: true
  deployment:
    description: The deployment's name; needed for V(begin) and V(hold).
    type: str
  target:
    description: The version to upgrade to, without C(v); needed for V(begin).
    type: str
  lease:
    description: How long the lock lasts unless it is renewed, in seconds or as text such as V(10m).
    type: str
    default: 5m
  take_over:
    description: Whether V(begin) takes the lock whoever holds it. Only for a run that was killed.
    type: bool
    default: false
  resume:
    description:
      - Whether V(begin) goes on with what an unfinished upgrade has left here.
      - Without it that is forgotten, unless another run holds it. For the other members of a deployment whose leader has
        begun anew, since the leader's journal records the stage of an upgrade.
    type: bool
    default: true
  stage:
    description:
      - The stage that begins. With V(begin) the one at which an upgrade begins whose journal was lost.
      - In V(locked) the old version serves. In V(stopping) it stops, and going back is just starting it. In V(migrating) the
        schema may be changed. In V(starting) it is changed. In V(verifying) the new version serves.
    type: str
    choices: [locked, stopping, migrating, starting, verifying]
  notes:
    description: What later runs are to know, such as the version before or the place of a backup. Never a secret.
    type: dict
    default: {}
  times:
    description: Names of further notes, whose value is the time of this host in seconds since 1970.
    type: list
    elements: str
    default: []
  until:
    description:
      - What V(wait) waits for. V(ready) is that the process can start the migration, V(ended) that the migration has ended. Each ends
        with a failure of the process, too.
    type: str
    choices: [ready, ended]
    default: ended
  wait_timeout:
    description: How long V(wait) and V(migrate) wait, in seconds or as text.
    type: str
    default: 20s
  outcome:
    description:
      - How the upgrade ended. V(done) and V(rolled_back) (the old version serves again) end the lock.
      - V(failed) ends the lease only; the journal is for the run that goes on.
      - With V(failed) and V(rolled_back) a lock that this run does not hold is left as it is.
    type: str
    choices: [done, failed, rolled_back]
  reason:
    description: Why it V(failed).
    type: str
    default: ""
  run_id:
    description: Which run this is. The action plugin sets it, the same for all hosts of one C(ansible-playbook).
    type: str
  user:
    description: Who runs it. The action plugin sets it.
    type: str
  controller:
    description: Where it is run. The action plugin sets it.
    type: str
  ended_runs:
    description: Runs whose lock V(begin) takes over, since the leader's journal says that they have ended. For the other members.
    type: list
    elements: str
    default: []
  host:
    description: For which host the run holds or releases the lock. The action plugin sets it.
    type: str
extends_documentation_fragment:
  - waba.onprem.attributes
attributes:
  check_mode:
    description: Returns whether the lock could be acquired, and writes nothing.
  idempotent:
    support: partial
    details: Each V(begin), V(stage) and V(migrate) renews the lease, which is a change. V(wait) renews it, too, and reports no change.
author:
  - waba.onprem contributors (@waba)
"""

EXAMPLES = r"""
- name: Lock the deployment for an upgrade
  waba.onprem.wa_upgrade_journal:
    operation: begin
    path: /var/lib/waba/support.lock
    deployment: support
    target: 2.53.4
  register: journal

- name: Record the start of the outage
  waba.onprem.wa_upgrade_journal:
    operation: stage
    path: /var/lib/waba/support.lock
    stage: stopping
    lease: 5m
    notes:
      from_version: 2.51.2
    times: [down_at]

- name: Change the client's containers when no other run does
  waba.onprem.wa_upgrade_journal:
    operation: hold
    path: /var/lib/waba/support.lock
    deployment: support

- name: End the lock
  waba.onprem.wa_upgrade_journal:
    operation: end
    path: /var/lib/waba/support.lock
    outcome: done
"""

RETURN = r"""
actions:
  description: Actions that were made, or predicted in check mode.
  returned: always
  type: list
  elements: str
  sample: [stage migrating]
journal:
  description: The journal as it is now; empty when there is none.
  returned: always
  type: dict
  contains:
    stage:
      description: The stage that the upgrade has reached.
      type: str
    stages:
      description: Every stage with the time it began at, in seconds since 1970.
      type: list
      elements: dict
    target:
      description: The version to upgrade to.
      type: str
    notes:
      description: What was noted for later runs.
      type: dict
    migration:
      description: What C(wa_migration) has written, as RV(waba.onprem.wa_migration#module:migration).
      type: dict
    lease_until:
      description: Until when the lock lasts, in seconds since 1970; 0 when it has ended.
      type: float
  sample:
    stage: migrating
    stages: [{stage: locked, at: 1769828412.5}, {stage: stopping, at: 1769828440.1}, {stage: migrating, at: 1769828446.3}]
    target: 2.55.1
    notes: {from_version: 2.53.4}
    migration: {state: running}
    lease_until: 1769829346.3
migrating:
  description: Whether the process that migrates for this upgrade is alive.
  returned: operation is wait
  type: bool
  sample: true
held:
  description: Whether another run holds the lock now.
  returned: always
  type: bool
  sample: true
holder:
  description: A description of who holds the lock or left the journal; empty when there is none.
  returned: always
  type: str
  sample: >-
    the upgrade to 2.55.1 by ops from controller.example.com, since 2026-01-31 03:00:12 UTC, at stage migrating, lease until
    2026-01-31 03:15:46 UTC
resumed:
  description: Whether V(begin) goes on with an upgrade that had touched something.
  returned: operation is begin
  type: bool
  sample: false
ended:
  description: The journal of the upgrade that ended last, finished or gone back; empty when none has.
  returned: operation is read or go_back
  type: dict
  sample: {target: 2.53.4, outcome: done}
took_over:
  description: Whether the lock was another run's before, which holds it no more; its locks of other members then count no more.
  returned: operation is begin
  type: bool
  sample: false
archive_path:
  description: The path of the journal of the finished upgrade.
  returned: operation is end and outcome is done or rolled_back
  type: str
  sample: /var/lib/waba/support.last-upgrade.json
"""

import contextlib
import os
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._core.units import parse_duration
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile, Lease

POLL_INTERVAL = 0.1  # seconds between two looks at the journal; the outage lasts as long
_ENDED = ("ended", "failed")
UNTIL = {
    "ready": ("ready", "running", *_ENDED),
    "ended": _ENDED,
}
IDENTITY = ("run_id", "user", "controller")


def plan(params: dict[str, t.Any], found: dict[str, t.Any] | None, now: float) -> tuple[dict[str, t.Any] | None, str]:
    """Returns the planned lock, and a description of the change; empty for no change."""
    operation, run_id = params["operation"], params["run_id"]
    if operation == "begin":
        after = upgrade_journal.begin(
            found,
            claim(params),
            now,
            parse_duration("lease", params["lease"]),
            take_over=params["take_over"] or (found is not None and found["run_id"] in params["ended_runs"]),
            resume=params["resume"],
            stage=params["stage"] or upgrade_journal.STAGES[0],
        )
        if found is None or after["stage"] == "locked":
            return after, f"lock {params['deployment']} for the upgrade to {params['target']}"
        return after, f"go on with the upgrade of {params['deployment']} at stage {after['stage']}"
    if operation in ("stage", "migrate"):
        lease = parse_duration("lease", params["lease"])
        notes = {**params["notes"], **dict.fromkeys(params["times"], round(now, 1))}
        after = upgrade_journal.advance(
            found, run_id, params["stage"] if operation == "stage" else "", notes, now, lease
        )
        return after, f"note stage {params['stage']}" if operation == "stage" else "allow the migration"
    if params["outcome"] != "done" and (found is None or found["run_id"] != run_id):
        return None, ""  # a failed run releases its own record only
    after = upgrade_journal.end(found, run_id, params["outcome"], params["reason"], now)
    return after, f"end the lock: {params['outcome']}"


def claim(params: dict[str, t.Any]) -> upgrade_journal.Claim:
    """Returns who asks for the lock."""
    return upgrade_journal.Claim(*(params[one] or "" for one in ("deployment", *IDENTITY, "target")))


def wait(file: JournalFile, params: dict[str, t.Any], check_mode: bool) -> tuple[dict[str, t.Any], bool]:
    """Returns the journal, and whether the process that migrates is alive, once that is where it is to be or has died.

    Raises WaError if this run loses the journal meanwhile.
    """
    lease = Lease(None if check_mode else params["path"], params["run_id"])
    end = time.monotonic() + parse_duration("wait_timeout", params["wait_timeout"])
    while True:
        lease.renew()
        alive = file.is_migrating()  # before the journal, in which it says how it has ended
        found = upgrade_journal.own(file.load(), params["run_id"])
        state = found.get("migration", {}).get("state", "")
        there = upgrade_journal.is_migrated(found) or state in UNTIL[params["until"]]
        if there or (state and not alive) or time.monotonic() >= end:
            return found, alive
        time.sleep(POLL_INTERVAL)


def wait_for_start(file: JournalFile, params: dict[str, t.Any]) -> dict[str, t.Any]:
    """Returns the journal once the process that migrates has started the migration that it may start, or has died, or when time is over.

    Raises WaError if it cannot start it, while going back is possible, or if this run loses the journal meanwhile.
    """
    end = time.monotonic() + parse_duration("wait_timeout", params["wait_timeout"])
    while True:
        alive = file.is_migrating()
        found = upgrade_journal.own(file.load(), params["run_id"])
        upgrade_journal.check_migration(found, alive)
        seen = upgrade_journal.is_migrated(found) or found.get("migration", {}).get("state") in ("running", *_ENDED)
        if seen or not alive or time.monotonic() >= end:
            return found
        time.sleep(POLL_INTERVAL)


def apply(file: JournalFile, params: dict[str, t.Any], after: dict[str, t.Any]) -> str:
    """Writes the journal. Returns the path of the archive of a finished one."""
    if params["operation"] == "end" and params["outcome"] != "failed":
        return file.archive(after)
    file.save(after)
    return ""


def hold_or_release(params: dict[str, t.Any], found: dict[str, t.Any] | None, now: float) -> dict[str, t.Any] | None:
    """Returns the lock after a run outside an upgrade has locked the deployment or unlocked it."""
    if params["operation"] == "release":
        return upgrade_journal.release(found, params["run_id"], params["host"], now)
    return upgrade_journal.hold(found, claim(params), params["host"], now, parse_duration("lease", params["lease"]))


def run(module: AnsibleModule, result: Result) -> None:
    """Observes, plans and applies while other processes are locked out."""
    params = module.params
    file = JournalFile(params["path"])
    found: dict[str, t.Any] | None = None
    after: dict[str, t.Any] | None = None
    took_over = False
    action = ""
    now = time.time()
    try:
        if params["operation"] == "read":
            found = file.load()
            result.values["ended"] = file.load_last() or {}
        elif params["operation"] == "go_back":
            with contextlib.nullcontext() if module.check_mode else file.exclusively():
                found = file.load()
                after = upgrade_journal.go_back(found, params["run_id"])
                if after is not None and not module.check_mode:
                    file.save(after)
            result.values["ended"] = file.load_last() or {}
        elif params["operation"] == "wait":
            found, result.values["migrating"] = wait(file, params, module.check_mode)
        elif params["operation"] in ("hold", "release"):
            with contextlib.nullcontext() if module.check_mode or not file.has_folder() else file.exclusively():
                found = file.load()
                after = hold_or_release(params, found, now)
                if after != found and file.has_folder() and not module.check_mode:
                    file.save(after) if after else file.remove()
                    found = after
        else:
            with contextlib.nullcontext() if module.check_mode else file.exclusively():
                found = file.load()
                took_over = found is not None and found["run_id"] != params["run_id"]
                starts = params["operation"] == "migrate"
                if starts:
                    upgrade_journal.check_migration(file.load_upgrade(), file.is_migrating())
                after, action = plan(params, found, now)
                if after is not None and not module.check_mode:
                    last = apply(file, params, after)
                    if last:
                        result.values["archive_path"] = last
                    found = after
            if starts and not module.check_mode:
                found = wait_for_start(file, params)
    finally:
        result.values.update(
            journal=(found or {}) if upgrade_journal.is_upgrade(found) else {},
            held=found is not None and upgrade_journal.is_held(found, params["run_id"] or "", now),
            holder=upgrade_journal.describe(found) if found else "",
        )
    if action:
        result.record_change(action)
    if params["operation"] == "begin":
        result.values.update(resumed=after is not None and after["stage"] != "locked", took_over=took_over)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "operation": {
                "type": "str",
                "choices": ["begin", "stage", "migrate", "wait", "go_back", "end", "hold", "release", "read"],
                "default": "read",
            },
            "path": {"type": "path", "required": True},
            "deployment": {"type": "str"},
            "target": {"type": "str"},
            "lease": {"type": "str", "default": "5m"},
            "take_over": {"type": "bool", "default": False},
            "resume": {"type": "bool", "default": True},
            "stage": {"type": "str", "choices": list(upgrade_journal.STAGES)},
            "notes": {"type": "dict", "default": {}},
            "times": {"type": "list", "elements": "str", "default": []},
            "until": {"type": "str", "choices": list(UNTIL), "default": "ended"},
            "wait_timeout": {"type": "str", "default": "20s"},
            "outcome": {"type": "str", "choices": ["done", "failed", "rolled_back"]},
            "reason": {"type": "str", "default": ""},
            "run_id": {"type": "str"},
            "user": {"type": "str"},
            "controller": {"type": "str"},
            "ended_runs": {"type": "list", "elements": "str", "default": []},
            "host": {"type": "str"},
        },
        required_if=[
            ("operation", "begin", ("deployment", "target", *IDENTITY)),
            ("operation", "stage", ("stage", "run_id")),
            ("operation", "migrate", ("run_id",)),
            ("operation", "wait", ("run_id",)),
            ("operation", "go_back", ("run_id",)),
            ("operation", "end", ("outcome", "run_id")),
            ("operation", "hold", ("deployment", "host", *IDENTITY)),
            ("operation", "release", ("run_id", "host")),
        ],
        supports_check_mode=True,
    )
    os.umask(0o077)
    result = Result(module)
    try:
        run(module, result)
    except WaError as error:
        result.fail(error)
    result.exit()


if __name__ == "__main__":
    main()
