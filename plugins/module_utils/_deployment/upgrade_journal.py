# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deployment's lock holds: the journal of an upgrade, or the run that changes the client outside one. Pure rules, but for the clock."""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

FORMAT = 2
LEASE = 300.0  # seconds that a run keeps the lock without renewing it
RENEWAL = 60.0  # seconds between two renewals
# Whether the migration may have changed the schema. Only the process that migrates writes it, and a run that finds evidence when it locks.
UNTOUCHED, STARTED, DONE = SCHEMA = ("untouched", "started", "done")
_FIELDS = ("deployment", "run_id", "user", "controller", "since", "lease_until")
_UPGRADE_FIELDS = ("target", "notes")
_CHANGE_FIELDS = ("hosts",)
_CHANGE = "a run that changes its containers,"
RESTORES = "restores"  # the note of which copy is being restored, by its manifest; or of a snapshot
SNAPSHOT = "a snapshot"
_ALONE = "restores_alone"  # the note of a restore that has taken up no upgrade
ONE_SHOTS = (
    "one_shots"  # the note of the ids of this upgrade's containers that migrate, each written before it is started
)
TRAFFIC = "traffic_away_at"  # the note of when the hook before the outage was begun; it outlives a run that was cut off after it
DEFINITIONS = "definitions"  # the note of the digests of the tables' definitions, `before` and `after` the migration


NO_COPY = {"copied_at": 0, "dump": "", "manifest": ""}  # the notes of a copy that counts no more


class OtherFormat(Exception):
    """A lock that another version of the collection has written."""


@dataclass(frozen=True)
class Claim:
    """A request for the lock: the run, user, controller, and the version of an upgrade."""

    deployment: str
    run_id: str
    user: str
    controller: str
    target: str = ""


def is_upgrade(lock: t.Mapping[str, t.Any] | None) -> bool:
    """Returns whether the lock is the journal of an upgrade."""
    return lock is not None and "schema" in lock


def is_held(lock: t.Mapping[str, t.Any], run_id: str, now: float) -> bool:
    """Returns whether a run other than `run_id` has a valid lease."""
    return bool(lock["run_id"] != run_id and float(lock["lease_until"]) > now)


def renew(lock: t.Mapping[str, t.Any], now: float, lease: float = LEASE) -> dict[str, t.Any] | None:
    """Returns the lock with a lease from `now` on; None if it was renewed less than `RENEWAL` before."""
    until = now + lease
    return dict(lock, lease_until=until) if abs(float(lock["lease_until"]) - until) >= RENEWAL else None


def counts(own: t.Mapping[str, t.Any], leaders: t.Mapping[str, t.Any]) -> bool:
    """Returns whether the journal of a member blocks other runs. Both are results of `wa_info`; `own` is the member's.

    A run acquires its leader's lock first and releases it last. So a member's counts only while the leader's lock of the same run is
    valid. If the leader has none, and its last finished upgrade was another one, the member's own lease counts.
    """
    if not (own.get("upgrade") or {}).get("held"):
        return False
    run_id = own["journal"]["run_id"]
    if not leaders.get("journal"):
        return not leaders.get("ended") or run_id not in runs(leaders["ended"])
    return bool(leaders["upgrade"]["held"] and leaders["journal"]["run_id"] == run_id)


def is_migrated(journal: t.Mapping[str, t.Any]) -> bool:
    """Returns whether the upgrade has completed its migration."""
    return bool(journal.get("schema") == DONE)


def has_begun(journal: t.Mapping[str, t.Any]) -> bool:
    """Returns whether the upgrade has begun to stop the client, or may have changed its schema. {} is none."""
    return journal.get("schema", UNTOUCHED) != UNTOUCHED or "down_at" in (journal.get("notes") or {})


def stage(journal: t.Mapping[str, t.Any]) -> tuple[str, float]:
    """Returns the word for where an upgrade stands, and since when: seconds since 1970, 0 where that is not known.

    The words are for messages, in this order: locked, stopping, migrating, starting, verifying. They decide nothing.
    """
    notes, schema = journal.get("notes") or {}, journal.get("schema", UNTOUCHED)
    if schema == UNTOUCHED:
        word, since = ("stopping", notes.get("down_at")) if has_begun(journal) else ("locked", journal.get("since"))
    elif schema == STARTED:
        word, since = "migrating", notes.get("migrating_at")
    else:
        word, since = ("verifying", notes["up_at"]) if "up_at" in notes else ("starting", notes.get("migrated_at"))
    return word, float(since or 0)


def may_go_back(journal: t.Mapping[str, t.Any]) -> bool:
    """Returns whether a rollback only starts the old version: no migration was started."""
    return bool(journal["schema"] == UNTOUCHED)


def is_migration_due(journal: t.Mapping[str, t.Any] | None, run_id: str, now: float) -> bool:
    """Returns whether `run_id` holds the journal, goes on, and has not completed its migration."""
    if journal is None or journal["run_id"] != run_id or is_migrated(journal) or journal.get("goes_back"):
        return False
    return float(journal["lease_until"]) > now


def blocks(journal: t.Mapping[str, t.Any], held: bool) -> bool:
    """Returns whether the client must not be started, stopped or changed: a run holds it, or has begun to change it."""
    return held or has_begun(journal)


def describe(lock: t.Mapping[str, t.Any]) -> str:
    """Returns who has the lock, since when and until when, for a message."""
    word, _since = stage(lock)
    what, where = (f"the upgrade to {lock['target']}", f"at stage {word}, ") if is_upgrade(lock) else (_CHANGE, "")
    if (lock.get("notes") or {}).get(RESTORES):
        what, where = "the restore of its database", ""
    until = f"lease until {clock(lock['lease_until'])}" if lock["lease_until"] else "ended"
    return f"{what} by {lock['user']} from {lock['controller']}, since {clock(lock['since'])}, {where}{until}"


def resume(lock: t.Mapping[str, t.Any]) -> tuple[str, dict[str, str]]:
    """Returns the playbook, and its variables, with which the upgrade or the restore in the lock goes on."""
    restores = lock["notes"].get(RESTORES)
    if not restores:
        return "upgrade", {"wa_upgrade_version": lock["target"]}
    return "restore", {} if restores == SNAPSHOT else {"wa_restore": restores}


def describe_block(lock: t.Mapping[str, t.Any], held: bool) -> str:
    """Returns why the client must not be started or stopped, and what to do, for a message."""
    if not is_upgrade(lock):
        return f"locked by {describe(lock)}. Run again after that"
    playbook, variables = resume(lock)
    on = " ".join([f"{playbook}.yml", *(f"-e {name}={value}" for name, value in variables.items())])
    if held:
        return (
            f"locked by {describe(lock)}. Run again when it has ended; if that run was killed, run {on} -e wa_upgrade_take_over=true, "
            "which goes on from there"
        )
    return f"left unfinished by {describe(lock)}. Run {on}, which goes on from there"


def describe_lock(lock: t.Mapping[str, t.Any] | None) -> dict[str, t.Any]:
    """Returns the upgrade, or the run that changes the client outside one, which has the lock; empty for none.

    `blocking` is whether an upgrade or a restore has the client or is unfinished, `resume` the variables with which its `playbook` goes on.
    """
    if not lock:
        return {}
    held = is_held(lock, "", time.time())
    found = {"held": held, "message": describe_block(lock, held), "run_id": lock["run_id"]}
    if not is_upgrade(lock):
        return {**found, "blocking": False}
    playbook, variables = resume(lock)
    return {
        **found,
        "blocking": blocks(lock, held),
        "stage": stage(lock)[0],
        "target": lock["target"],
        "playbook": playbook,
        "resume": {**variables, **({"wa_upgrade_take_over": True} if held else {})},
    }


def begin(
    found: t.Mapping[str, t.Any] | None,
    claim: Claim,
    now: float,
    lease: float,
    *,
    take_over: bool = False,
    resume: bool = True,
    schema: str = UNTOUCHED,
    restores: str = "",
) -> dict[str, t.Any]:
    """Returns the journal with which `claim` begins or resumes an upgrade, or the restore of the copy with the manifest `restores`.

    `found` is the existing lock; times are in seconds since 1970, `lease` in seconds. Without `resume` an unfinished
    upgrade is discarded; `schema` counts without a journal. Raises WaError if another run holds it, or if the
    unfinished upgrade has another target.
    """
    subject = f"{'restore' if restores else 'upgrade'} of {claim.deployment}"
    if found is not None and found["deployment"] != claim.deployment:
        raise WaError(subject, f"the lock file is that of {found['deployment']}", "a lock file of its own")
    if found is not None and is_held(found, claim.run_id, now) and not take_over:
        raise WaError(
            subject,
            f"locked by {describe(found)}",
            "no other run on this deployment",
            "Run again when it has ended; if that run was killed, at once with -e wa_upgrade_take_over=true",
        )
    if not is_upgrade(found):
        found = (found or {}).get("left")
    if found is not None and found["notes"].get(RESTORES) and not restores:
        raise WaError.of(f"{subject}: {describe_block(found, False)}")
    fresh = found is None or not has_begun(found) or not resume
    if found is not None and not fresh and found["target"] != claim.target and not restores:
        raise WaError(
            subject,
            f"left unfinished by {describe(found)}",
            f"the same target, not {claim.target}",
            f"Finish it first with wa_upgrade_version: {found['target']}",
        )
    journal: dict[str, t.Any] = {
        "format": FORMAT,
        "deployment": claim.deployment,
        "run_id": claim.run_id,
        "runs": [claim.run_id],
        "user": claim.user,
        "controller": claim.controller,
        "target": claim.target,
        "since": round(now, 1),
        "lease_until": now + lease,
        "schema": schema,
        "notes": {},
    }
    if found is not None and not fresh:
        kept = {name: found[name] for name in ("target", "since", "schema", "notes")}
        journal.update(kept, runs=list(dict.fromkeys([*runs(found), claim.run_id])))
    elif found is not None and TRAFFIC in found["notes"]:
        journal["notes"] = {TRAFFIC: found["notes"][TRAFFIC]}
    if restores and fresh:
        journal["notes"] = {**journal["notes"], _ALONE: True}
    if restores:
        journal["notes"] = {**journal["notes"], RESTORES: restores}
    return journal


def succeeded(last: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Returns the journal of the last upgrade that has succeeded, by the archived journal of the `last` one; empty for none."""
    return dict(last if last.get("outcome") == "done" else last.get("succeeded") or {})


def after(last: t.Mapping[str, t.Any], journal: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Returns a `journal` to archive in the place of the `last` one: one that has not succeeded keeps the last one that has."""
    before = succeeded(last)
    if not before or journal.get("outcome") == "done":
        return dict(journal)
    return dict(journal, succeeded=before, runs=[*runs(before), *runs(journal)])


def runs(journal: t.Mapping[str, t.Any]) -> list[str]:
    """Returns the ids of the runs of this upgrade in order."""
    return [str(one) for one in journal.get("runs") or [journal["run_id"]]]


def note(
    found: t.Mapping[str, t.Any] | None,
    run_id: str,
    notes: t.Mapping[str, t.Any],
    now: float,
    lease: float,
    *,
    schema: str = "",
    migrate: bool = False,
) -> dict[str, t.Any]:
    """Returns the journal of `run_id` with `notes` added, and a `schema` that evidence has shown. Raises WaError if the run has lost it.

    With `migrate` the process that waits for that may start the migration, see `launch`.
    """
    journal = own(found, run_id)
    if journal.get("goes_back"):
        raise WaError("upgrade journal", "this run goes back", "none of its steps any more")
    if migrate and journal.get("migrate"):  # written already; a full disk must not end the wait
        return journal
    if migrate:
        journal["migrate"] = round(now, 1)
    kept = {**journal["notes"], **notes}
    return dict(journal, schema=schema or journal["schema"], notes=kept, lease_until=now + lease)


def go_back(found: t.Mapping[str, t.Any] | None, run_id: str) -> dict[str, t.Any] | None:
    """Returns the journal with which `run_id` may start the old version, since no step of it counts any more; None where it may not."""
    if found is None or found["run_id"] != run_id or not may_go_back(found):
        return None
    return dict(found, goes_back=True)


def check_start(found: t.Mapping[str, t.Any] | None, alive: bool) -> None:
    """Raises WaError if the migration could not be started at once, while going back is still possible. `alive`: see `check_process`."""
    if found is not None and may_go_back(found) and not found.get("goes_back"):
        check_process(found, alive)


def check_process(found: t.Mapping[str, t.Any], alive: bool) -> None:
    """Raises WaError if the process that migrates cannot start the migration; `alive` is whether it is there, and has said so."""
    state = found.get("migration", {})
    if state.get("state") == "failed":
        raise WaError.of(state["message"])
    if not alive:
        raise WaError(
            "process that migrates",
            "ended, or not ready in time",
            "one that can start the migration",
            "See ~/.ansible_async of the user that the run becomes on the leader (root) for its last words, and run upgrade.yml again",
        )


def launch(
    found: t.Mapping[str, t.Any] | None,
    run_id: str,
    state: t.Mapping[str, t.Any],
    now: float,
    notes: t.Mapping[str, t.Any],
) -> dict[str, t.Any] | None:
    """Returns the journal with which the process of `run_id` may start the migration at once; None where that is not due any more.

    `state` is that of the migration, which may run already; `notes` name its container, among others. From then on the schema may be
    changed, so a copy from before counts.
    """
    if found is None or not found.get("migrate") or not is_migration_due(found, run_id, now):
        return None
    return dict(
        found, schema=STARTED, migration=dict(state), notes={"migrating_at": round(now, 1), **found["notes"], **notes}
    )


def launched_by_others(found: t.Mapping[str, t.Any], started: t.Sequence[float]) -> dict[str, t.Any]:
    """Returns the journal after others have `started` the migration or the new version: a copy that was not complete by then is no way back."""
    return dict(found, schema=STARTED, notes=without_early_copy(found["notes"], started))


def without_early_copy(notes: t.Mapping[str, t.Any], started: t.Sequence[float]) -> dict[str, t.Any]:
    """Returns the notes without the copy, if the schema may have been changed before it was complete: `started` by the leader's clock."""
    early = any(0 < one <= float(notes.get("copied_at") or 0) for one in started)
    return {**notes, **(NO_COPY if early else {})}


def not_launched(
    found: t.Mapping[str, t.Any] | None, run_id: str, before: t.Mapping[str, t.Any]
) -> dict[str, t.Any] | None:
    """Returns the journal after a start that is known to have failed: as `before` it. None where it is not that of the run."""
    if found is None or found["run_id"] != run_id or found["schema"] != STARTED:
        return None
    return dict(found, schema=before["schema"], notes=before["notes"])


def note_migration(
    found: t.Mapping[str, t.Any] | None,
    run_id: str,
    state: t.Mapping[str, t.Any],
    now: float,
    *,
    definitions: str = "",
) -> dict[str, t.Any] | None:
    """Returns the journal with the `state` of the migration, as its process has it; None where that has no say any more.

    The process was begun by `run_id`; another run of the same upgrade may have resumed that since. After an exit with 0 the schema is done,
    and its tables have these `definitions`. The lease stays that of the run, which may have ended.
    """
    if found is None or run_id not in runs(found) or is_migrated(found):
        return None
    journal = dict(found, migration=dict(state))
    if state.get("exit_code") == 0:
        known = {**found["notes"].get(DEFINITIONS, {}), **({"after": definitions} if definitions else {})}
        journal.update(schema=DONE, notes={**found["notes"], "migrated_at": round(now, 1), DEFINITIONS: known})
    return journal


def migration(journal: t.Mapping[str, t.Any] | None) -> dict[str, t.Any]:
    """Returns what a run does about the migration of its `journal`, None for no upgrade.

    `migration_ended` for sure, so that nothing is to be waited for; `migration_idle`, whether nobody used the database at its end; and
    `migration_problem`, why the new version must not be started then.
    """
    noted = (journal or {}).get("migration") or {}
    state, code = noted.get("state", ""), noted.get("exit_code") or 0
    over = journal is not None and is_migrated(journal)
    problem = str(noted.get("message", "")) if state == "failed" else ""
    if not problem and code and journal is not None:
        log = f". Its last lines:\n{noted['log']}" if noted.get("log") else ", and has written nothing."
        problem = f"The migration to {journal['target']} ended with code {code}{log}"
    return {
        "migration_ended": over or state in ("ended", "failed"),
        "migration_idle": bool(noted.get("idle", True)),
        "migration_problem": problem,
    }


def end(found: t.Mapping[str, t.Any] | None, run_id: str, outcome: str, now: float) -> dict[str, t.Any]:
    """Returns the journal of `run_id` at its end: `done`, `failed` (to be resumed), `rolled_back` (the old version runs) or `restored`."""
    journal = own(found, run_id)
    if outcome == "rolled_back" and not may_go_back(journal):
        raise WaError("upgrade journal", f"the schema is {journal['schema']}", f"a schema that is {UNTOUCHED}")
    return dict(journal, outcome=outcome, ended_at=now, lease_until=0)


def abandon(found: t.Mapping[str, t.Any] | None, run_id: str) -> dict[str, t.Any] | None:
    """Returns the lock after the restore of `run_id` that has touched nothing: as the upgrade that it has taken up left it; None for no lock."""
    journal = own(found, run_id)
    if journal["notes"].get(_ALONE):
        return None
    notes = {name: value for name, value in journal["notes"].items() if name != RESTORES}
    return dict(journal, notes=notes, lease_until=0)


def hold(found: t.Mapping[str, t.Any] | None, claim: Claim, host: str, now: float, lease: float) -> dict[str, t.Any]:
    """Returns the lock with which `claim` changes the client's containers on `host` outside an upgrade; `found` is the existing one.

    Several hosts of one run may hold it. An upgrade that was cut off while it kept traffic away is `left` in it. Raises WaError if another
    run changes the client, or an upgrade has it or is unfinished.
    """
    if found is not None:
        held = is_held(found, claim.run_id, now)
        if held or (is_upgrade(found) and blocks(found, held)):
            what, _dot, cure = describe_block(found, held).partition(". ")
            raise WaError(f"client of {claim.deployment}", what, "no other run", cure)
    mine = found if found is not None and found["run_id"] == claim.run_id and not is_upgrade(found) else {}
    left = found if found is not None and TRAFFIC in found.get("notes", ()) else (found or {}).get("left")
    return {
        "format": FORMAT,
        "deployment": claim.deployment,
        "run_id": claim.run_id,
        "user": claim.user,
        "controller": claim.controller,
        "hosts": sorted({*mine.get("hosts", ()), host}),
        "since": mine.get("since", round(now, 1)),
        "lease_until": now + lease,
        **({"left": left} if left else {}),
    }


def release(found: t.Mapping[str, t.Any] | None, run_id: str, host: str, now: float) -> dict[str, t.Any] | None:
    """Returns the lock when `host` of the run `run_id` no longer changes the client: what it has `left`, None for none."""
    if found is None or is_upgrade(found) or is_held(found, run_id, now):
        return None if found is None else dict(found)
    hosts = [one for one in found["hosts"] if one != host] if found["run_id"] == run_id else []
    return dict(found, hosts=hosts) if hosts else found.get("left")


def check(data: t.Any) -> dict[str, t.Any]:
    """Returns `data` as a lock. Raises OtherFormat for that of another version of the collection, ValueError if something of it is missing."""
    if not isinstance(data, dict) or not isinstance(data.get("format"), int):
        raise ValueError(f"no lock of format {FORMAT}")
    if data["format"] != FORMAT:
        raise OtherFormat(f"format {data['format']}, and this version knows format {FORMAT}")
    for key in (*_FIELDS, *(_UPGRADE_FIELDS if is_upgrade(data) else _CHANGE_FIELDS)):
        if key not in data:
            raise ValueError(f"{key} is missing")
    return data


def own(found: t.Mapping[str, t.Any] | None, run_id: str) -> dict[str, t.Any]:
    """Returns a copy of the lock of `run_id`. Raises WaError if the run has lost it."""
    if found is None:
        cure = "Another run has ended it, or somebody has removed the lock file: look who, then run again"
        raise WaError("lock", "gone", "this run's own", cure)
    if found["run_id"] != run_id:
        raise WaError("lock", f"taken over by {describe(found)}", "this run's own")
    return dict(found)


def clock(at: float) -> str:
    """Returns a time (seconds since 1970) as text, for a message."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))
