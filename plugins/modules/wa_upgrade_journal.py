#!/usr/bin/python

# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_upgrade_journal
short_description: Lock of a deployment and journal of its upgrade
description: [Internal to the roles and playbooks of the collection.]
options:
  operation:
    description: What to do.
    type: str
    choices: [begin, note, wait, go_back, end, hold, release]
    required: true
  path: {description: 'The lock file. Its folder must exist, but for V(hold) and V(release).', type: path, required: true}
  deployment: {description: The deployment's name; needed for V(begin) and V(hold)., type: str}
  target: {description: 'The version to upgrade to, without C(v); needed for V(begin).', type: str}
  lease: {description: 'How long the lock lasts unless it is renewed, in seconds or as text such as V(10m).', type: str, default: 5m}
  take_over: {description: Whether V(begin) takes the lock whoever holds it., type: bool, default: false}
  resume: {description: Whether V(begin) goes on with what an unfinished upgrade has left here., type: bool, default: true}
  schema: {description: 'Whether the migration may have changed the schema, where evidence has shown it.', type: str, choices: [untouched, started, done]}
  notes: {description: 'What later runs are to know, such as the version before or the place of a backup.', type: dict, default: {}}
  times:
    description: Names of further notes, whose value is the time of this host in seconds since 1970.
    type: list
    elements: str
    default: []
  wait_timeout: {description: 'How long V(wait) waits until the process can start the migration, in seconds or as text.', type: str, default: 20s}
  outcome: {description: How the upgrade ended., type: str, choices: [done, failed, rolled_back, restored, abandoned]}
  restores: {description: 'The manifest of the copy that the run puts back in place of an upgrade, or V(a snapshot).', type: str}
  run_id: {description: Which run this is., type: str}
  user: {description: Who runs it., type: str}
  controller: {description: Where it is run., type: str}
  ended_runs: {description: 'Runs that have ended elsewhere, whose lock and journal do not count for V(begin).', type: list, elements: str, default: []}
  host: {description: For which host the run holds or releases the lock., type: str}
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_upgrade_journal:
"""

import contextlib
import os
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._core.units import parse_duration
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import migration_wait

IDENTITY = ("run_id", "user", "controller")


def plan(params: dict[str, t.Any], found: dict[str, t.Any] | None, now: float) -> tuple[dict[str, t.Any] | None, str]:
    """Returns the planned lock, and a description of the change; empty for no change."""
    operation, run_id = params["operation"], params["run_id"]
    if operation == "begin":
        over = found is not None and found["run_id"] in params["ended_runs"]
        after = upgrade_journal.begin(
            None if over else found,
            claim(params),
            now,
            parse_duration("lease", params["lease"]),
            take_over=params["take_over"],
            resume=params["resume"],
            schema=params["schema"] or upgrade_journal.UNTOUCHED,
            restores=params["restores"] or "",
        )
        what = f"restore from {params['restores']}" if params["restores"] else f"upgrade to {params['target']}"
        return after, f"lock {params['deployment']} for the {what}"
    if operation == "note":
        lease = parse_duration("lease", params["lease"])
        notes = {**params["notes"], **dict.fromkeys(params["times"], round(now, 1))}
        after = upgrade_journal.note(found, run_id, notes, now, lease, schema=params["schema"] or "")
        return after, "write into the journal"
    if operation == "hold":
        lease = parse_duration("lease", params["lease"])
        return upgrade_journal.hold(found, claim(params), params["host"], now, lease), ""
    if operation == "release":
        return upgrade_journal.release(found, run_id, params["host"], now), ""
    if operation == "go_back":
        return upgrade_journal.go_back(found, run_id) or found, ""
    if params["outcome"] not in ("done", "restored") and (found is None or found["run_id"] != run_id):
        return found, ""  # a failed run releases its own record only
    if params["outcome"] == "abandoned":
        return upgrade_journal.abandon(found, run_id), "give the deployment back"
    after = upgrade_journal.end(found, run_id, params["outcome"], now)
    return after, f"end the lock: {params['outcome']}"


def claim(params: dict[str, t.Any]) -> upgrade_journal.Claim:
    """Returns who asks for the lock."""
    return upgrade_journal.Claim(*(params[one] or "" for one in ("deployment", *IDENTITY, "target")))


def apply(file: JournalFile, params: dict[str, t.Any], after: dict[str, t.Any] | None) -> None:
    """Writes the lock, or releases it."""
    if after is None:
        file.remove()
    elif params["operation"] == "end" and params["outcome"] not in ("failed", "abandoned"):
        file.archive(after)
    else:
        file.save(after)


def run(module: AnsibleModule, result: Result) -> None:
    """Observes, plans and applies while other processes are locked out."""
    params = module.params
    operation = params["operation"]
    file = JournalFile(params["path"])
    # A host without the folder has nothing yet that a run outside an upgrade could disturb.
    writes = not module.check_mode and (operation not in ("hold", "release") or file.has_folder())
    found: dict[str, t.Any] | None = None
    now = time.time()
    try:
        if operation == "wait":
            seconds = parse_duration("wait_timeout", params["wait_timeout"])
            found, result.values["migrating"] = migration_wait.wait(
                file, params["run_id"], seconds, check_mode=module.check_mode
            )
        else:
            with file.exclusively() if writes else contextlib.nullcontext():
                before = found = file.load()
                after, action = plan(params, found, now)
                if writes and after != found:
                    apply(file, params, after)
                    found = after
            if action:
                result.record_change(action)
            if operation == "go_back":
                result.values["ended"] = file.load_last() or {}
            if operation == "begin" and after is not None:
                took_over = upgrade_journal.is_upgrade(before) and (before or {})["run_id"] != params["run_id"]
                # A restore that goes on where another run was cut off, which may have replaced something.
                restores_on = upgrade_journal.RESTORES in ((before or {}).get("notes") or {})
                resumed = upgrade_journal.has_begun(after)
                result.values.update(resumed=resumed, took_over=took_over, restores_on=restores_on)
    finally:
        journal = found if upgrade_journal.is_upgrade(found) else None
        result.values.update(
            journal=journal or {},
            **upgrade_journal.migration(journal),
            held=found is not None and upgrade_journal.is_held(found, params["run_id"] or "", now),
        )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "operation": {
                "type": "str",
                "choices": ["begin", "note", "wait", "go_back", "end", "hold", "release"],
                "required": True,
            },
            "path": {"type": "path", "required": True},
            "deployment": {"type": "str"},
            "target": {"type": "str"},
            "lease": {"type": "str", "default": "5m"},
            "take_over": {"type": "bool", "default": False},
            "resume": {"type": "bool", "default": True},
            "schema": {"type": "str", "choices": list(upgrade_journal.SCHEMA)},
            "notes": {"type": "dict", "default": {}},
            "times": {"type": "list", "elements": "str", "default": []},
            "wait_timeout": {"type": "str", "default": "20s"},
            "outcome": {"type": "str", "choices": ["done", "failed", "rolled_back", "restored", "abandoned"]},
            "restores": {"type": "str"},
            "run_id": {"type": "str"},
            "user": {"type": "str"},
            "controller": {"type": "str"},
            "ended_runs": {"type": "list", "elements": "str", "default": []},
            "host": {"type": "str"},
        },
        required_if=[
            ("operation", "begin", ("deployment", "target", *IDENTITY)),
            ("operation", "note", ("run_id",)),
            ("operation", "wait", ("run_id",)),
            ("operation", "go_back", ("run_id",)),
            ("operation", "end", ("outcome", "run_id")),
            ("operation", "hold", ("deployment", "host", *IDENTITY)),
            ("operation", "release", ("run_id", "host")),
        ],
        supports_check_mode=True,
    )
    os.umask(0o077)
    with Result(module) as result:
        run(module, result)


if __name__ == "__main__":
    main()
