# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks before an upgrade: what is expected, what was found wrong, and the verdict on a host and on a deployment. Pure rules.

The role's README has them as a table.
"""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import (
    client_checks,
    database_checks,
    image_checks,
    outage,
    requirements,
    run_checks,
)
from ansible_collections.waba.onprem.plugins.module_utils._upgrade.check import (
    DEPLOYMENT,
    HOST,
    NOTHING,
    Check,
    Facts,
    Observed,
    Skip,
)

OK, SKIPPED, FAILED = "ok", "skipped", "failed"
# Checks without which others cannot be made.
TARGET, VALUES = "the target is a version", "the values of variables are valid"
READ, DATABASE = "the host can be read", "the database can be read"
PROJECT = "the containers belong to a Compose project"
HELD = "the client is not held"
REFUSED = "an upgrade would be refused"  # what is reported where a target version is not given
_HEALTH = ("expiry", "health")


NO_TARGET = Skip("no `wa_upgrade_version`", lambda now: not now.target_given)
UNFINISHED = Skip("an unfinished upgrade goes on", lambda now: now.unfinished)
FINISHED = Skip("no upgrade is unfinished", lambda now: not now.unfinished)
MIGRATED = Skip("the database is migrated", lambda now: now.migrated)
TAKE_OVER = Skip("`wa_upgrade_take_over`", lambda now: bool(now.facts["take_over"]))
CHECK_ONLY = Skip("`wa_upgrade_check_only`", lambda now: bool(now.facts["check_only"]))

NO_HOOKS = Skip("no hooks", lambda now: not now.facts["hooks"])
RENDERED = Skip("the migration is in the role's Compose file", lambda now: not now.compose.get("migration"))

NO_COMPOSE_DIR = Skip("no `wa_client_compose_dir`", lambda now: not now.compose.get("repositories"))

NO_DUMP = Skip("no `wa_upgrade_dump`", lambda now: not now.facts["dump"])
COPIED = Skip(
    "the database of an unfinished upgrade is copied",
    lambda now: not requirements.copy_is_due(now.left, now.serves, now.schema_started),
)
ONE_HOST = Skip("a deployment of one host", lambda now: len(now.deployment["members"]) < 2)

NO_MARKER = Skip(
    "no member has read a marker file", lambda now: not (now.facts["markers"] or now.facts["marker"].get("msg"))
)


def _skips(*names: str) -> Skip:
    return Skip(
        f"{' or '.join(f'`{name}`' for name in names)} in `wa_upgrade_skip`", lambda now: bool({*names} & {*now.skip})
    )


CHECKS = (
    Check("the run covers the deployment", "all hosts of the deployment", run_checks.left_out),
    Check("the run upgrades once", "no upgrade by an earlier play", run_checks.upgraded, skip=(CHECK_ONLY,)),
    Check(TARGET, "a version such as 2.53.4", run_checks.version, skip=(NO_TARGET,)),
    # Found out in the outage, a time-out of nothing would leave the client stopped.
    Check(VALUES, "values that the roles accept", run_checks.values),
    Check("the API password is set", "`wa_api_password`", run_checks.api_password, after=(VALUES,)),
    Check(
        "the folder and the password of the settings backup are set",
        "`wa_backup_dir`, `wa_backup_password`",
        run_checks.backup_password,
        after=(VALUES,),
        skip=(NO_TARGET, _skips("settings_backup", "expiry")),
        alone=True,
    ),
    Check(
        "the hooks can be run",
        "files on the controller that Ansible can load, without `meta`, `pause` and `add_host`",
        run_checks.hooks,
        leader=True,
        skip=(NO_HOOKS,),
        alone=True,
    ),
    Check(READ, "an answer of its Docker Engine, and files that can be read", client_checks.host_read, HOST),
    Check(
        "the client is the one of the inventory",
        "the identity that the inventory describes",
        client_checks.identity,
        HOST,
        after=(VALUES,),
        subject="",
    ),
    Check(
        "no other upgrade is in progress",
        "no lock of another run",
        run_checks.locked,
        HOST,
        skip=(TAKE_OVER,),
        subject="",
    ),
    Check(
        HELD,
        "no `wa_client_hold`, and no file that holds the client",
        run_checks.held,
        HOST,
        subject="deployment",
    ),
    Check(
        "an unfinished upgrade is completed",
        "its target",
        run_checks.uncompleted,
        HOST,
        after=(TARGET,),
        skip=(FINISHED,),
        subject="deployment",
    ),
    # The members note who leads: the stages after the stop are in the leader's journal alone.
    Check(
        "the leader is that of the unfinished upgrade",
        "the leader in the host's journal",
        run_checks.other_leader,
        HOST,
        leader=True,
        subject="deployment",
    ),
    Check(PROJECT, "a project", client_checks.outside_compose, HOST),
    Check(
        "the client runs",
        "every container of the client running, and of a service in the inventory",
        client_checks.not_running,
        HOST,
        after=(PROJECT, HELD),
        skip=(UNFINISHED,),
    ),
    # What Compose files of the operator's mount is known after they are read.
    Check(
        "no registration and no media are lost",
        "both outside of the containers' own layers",
        client_checks.loss,
        HOST,
        after=(VALUES,),
        skip=(NO_TARGET,),
    ),
    Check(
        "the target can be reached from the running version",
        "one running version, no newer than the target",
        client_checks.path,
        HOST,
        after=(TARGET,),
        skip=(NO_TARGET, UNFINISHED),
        subject="deployment",
    ),
    Check(
        "the leader has a Coreapp for the migration",
        "a Coreapp in the operator's Compose files",
        client_checks.no_coreapp,
        HOST,
        after=(VALUES,),
        leader=True,
        skip=(NO_TARGET, RENDERED, NOTHING),
    ),
    Check(
        "a copy of the database is made",
        "`wa_upgrade_dump`, `wa_upgrade_snapshot_command`, or `database_backup` in `wa_upgrade_skip`",
        database_checks.no_copy,
        HOST,
        after=(VALUES,),
        leader=True,
        skip=(NOTHING,),
        subject="deployment",
        reported=True,
        alone=True,
    ),
    Check(
        "the images of the target exist",
        "images on the host or in the registry",
        image_checks.missing_images,
        HOST,
        after=(TARGET,),
        skip=(NO_TARGET,),
        alone=True,
    ),
    Check(
        "the registry has answered",
        "an answer for each image",
        image_checks.unanswered_images,
        HOST,
        after=(TARGET,),
        skip=(NO_TARGET,),
        alone=True,
    ),
    Check(
        "the images of the target are the builds that they are named after",
        "the registry's builds",
        image_checks.wrong_images,
        HOST,
        after=(TARGET,),
        skip=(NO_TARGET, UNFINISHED, NOTHING),
        alone=True,
    ),
    # What is pulled is looked at after that.
    Check(
        "the images of the target that are here have not expired",
        "none with an `EXPIRES_ON` before today",
        image_checks.expired,
        HOST,
        after=(TARGET,),
        skip=(NO_TARGET, UNFINISHED, NOTHING),
        alone=True,
    ),
    Check(
        "there is room for images and logs",
        "3 GiB for the images of the target, unless they are there, and 1 GiB for logs",
        image_checks.room,
        HOST,
        after=(VALUES,),
        skip=(NOTHING,),
        reported=True,
        alone=True,
    ),
    Check(
        "the version may be set in the operator's Compose files",
        "`wa_upgrade_update_compose_files`, or no version of the client in them",
        client_checks.operators_files,
        DEPLOYMENT,
        look="operators_files",
        skip=(NO_COMPOSE_DIR, NO_TARGET, NOTHING),
    ),
    Check(
        "the client is healthy",
        "good health",
        client_checks.unhealthy,
        DEPLOYMENT,
        look="health",
        leader=True,
        skip=(UNFINISHED, _skips(*_HEALTH)),
    ),
    # The start puts db.env in force, and the verification compares again.
    Check(
        "db.env and the media volume are in sync",
        "no difference",
        client_checks.drifted,
        DEPLOYMENT,
        look="drift",
        skip=(UNFINISHED,),
    ),
    Check(
        DATABASE,
        "an answer to the client's user",
        database_checks.database_read,
        DEPLOYMENT,
        leader=True,
        subject="deployment",
    ),
    Check(
        "the database is the one that was migrated",
        "tables as the migration has left them",
        database_checks.restored,
        DEPLOYMENT,
        after=(DATABASE,),
        leader=True,
        skip=(FINISHED, _skips("schema")),
        subject="deployment",
    ),
    Check(
        "nobody but the client's hosts uses its database",
        "no node and no session from elsewhere",
        database_checks.used_elsewhere,
        DEPLOYMENT,
        leader=True,
        skip=(UNFINISHED, NOTHING),
        subject="deployment",
        reported=True,
    ),
    Check(
        "the database can be dumped",
        "the tools, a folder that can be written, room, time within `wa_upgrade_dump_timeout` by a sample, at least one database, the rights "
        "to restore it, and nothing in it that a restore could not put back",
        database_checks.no_dump,
        DEPLOYMENT,
        look="dumpable",
        after=(DATABASE,),
        leader=True,
        skip=(NO_DUMP, NO_TARGET, NOTHING, COPIED),
        subject="deployment",
        shows=database_checks.dump_takes,
    ),
    Check(
        "the database can be migrated",
        "a server that takes writes, an hour or no limit for a statement",
        database_checks.database,
        DEPLOYMENT,
        after=(DATABASE,),
        leader=True,
        skip=(NOTHING, MIGRATED),
        subject="deployment",
        reported=True,
    ),
    # Where GC may be called, it is called after the checks.
    Check(
        "the messages table is below its limit, or message GC may be called",
        "at most `wa_message_gc_max_messages` rows, or message GC",
        database_checks.messages,
        DEPLOYMENT,
        after=(DATABASE,),
        leader=True,
        skip=(UNFINISHED, NOTHING, _skips("table_size")),
        subject="deployment",
        reported=True,
    ),
    Check(
        "the members share the media volume",
        "one marker file, which all of them read",
        client_checks.media,
        DEPLOYMENT,
        skip=(ONE_HOST, UNFINISHED, NO_MARKER),
    ),
)

# Those that must not have failed for what takes longer to be read.
GATES = {one.name for one in CHECKS if one.needs != DEPLOYMENT and not one.alone}


def verdict(facts: Facts, inspected: bool = False) -> dict[str, t.Any]:
    """Returns the verdict on a host.

    `facts` have `host`, `deployment`, `run_hosts` (all hosts of the run), `check_only`, the role's options `version`, `skip`,
    `take_over`, `without`, `dump`, `snapshot_command`, `max_messages`, `topology`, `backup_dir`,
    `update_compose_files`; `no_gc` (why no GC may be called, or empty); `api_password` and `backup_password` (whether they are set);
    `target_images`, `invalid` (refusals of values), `compose` (how Compose is called, or the refusal),
    `hooks` (refusals by path), `upgraded` (leaders of upgrades by earlier plays of the run), `commands` (`go_on`,
    `restored`, `take_over`), `secrets`, `today` (YYYY-MM-DD), `neighbours` (Compose projects of other deployments on the leader's machine).

    Of the host: `found` and `leader` (results of `wa_info`, here and at the leader), `hold` (why its containers stay as they are, or
    empty), `left` (the journal of an unfinished upgrade), `clients` (its containers), `everywhere`
    (those of all members), `together` (bytes of the largest table of each other deployment that the run upgrades on the same database
    server), `identity` and `loss` (refusals).

    Of the deployment, where `inspected`: `operators_files`, `health`, `drift`, `dumpable`, `marker` (results), `markers` (by
    member, as read), `sessions` (refusal of those that are not the client's), `split_volume` (refusal).

    The result has `checks` (each with `check`, `host`, `state`, `expected`, `found`, `cure`, and `reason` of a skipped one), `failures`
    (messages), `message` (one of them, or all), `looks` (what is to be read of the deployment), `marks` (whether the leader writes a marker
    before), `lines`, `notes` (what else is displayed), `check_only`, `standing` (of an unfinished upgrade,
    as text), `needed` (whether the target takes an upgrade), `prepares` (whether logs are cleaned and images pulled),
    and `outage` (see `outage.expected`; empty where none begins).
    """
    now = Observed(facts)
    checks: list[dict[str, t.Any]] = []
    failed: list[str] = []
    for check in CHECKS:
        if check.leader and not now.leads:
            continue
        one = _examine(check, now, _reason(check, now, failed, inspected))
        checks.append(one)
        failed += [check.name] if one["state"] == FAILED else []
    readable = not any(name in failed for name in GATES)
    looks = [
        one.look for one in CHECKS if readable and one.look and (now.leads or not one.leader) and not _skip(one, now)
    ]
    refusals = [one["refusal"] for one in checks if one.get("refusal")]
    messages = [one["message"] for one in checks if one["state"] == FAILED]
    warnings = [*image_checks.expiry(now), *run_checks.traffic(now)]
    shown = [*messages, *warnings] if messages else []
    return {
        "checks": [{key: value for key, value in one.items() if key not in ("message", "refusal")} for one in checks],
        "failures": messages,
        "message": shown[0] if len(shown) == 1 else shown,
        "looks": sorted(looks),
        "marks": now.leads and not now.facts["check_only"] and "drift" in looks and not ONE_HOST.applies(now),
        "lines": [_line(one) for one in checks],
        "notes": warnings + ([] if failed else _notes(now, refusals)),
        "check_only": bool(facts["check_only"]),
        "standing": now.standing,
        "needed": now.needed,
        "prepares": not now.unfinished and (now.needed or not now.target_given),
        "outage": _outage(now),
    }


def _outage(now: Observed) -> dict[str, t.Any]:
    if not (now.leads and now.needed) or now.unfinished:
        return {}
    copied = bool(now.facts["dump"] or now.facts["snapshot_command"])
    sample = (now.facts["dumpable"].get("estimate") or {}).get("seconds")
    return outage.expected(now.found.get("ended") or {}, sample, copied, str(now.facts["topology"]))


def _reason(check: Check, now: Observed, failed: t.Sequence[str], inspected: bool) -> str:
    """Returns why a check is not made; empty if it is. `failed` are the checks before it that have failed."""
    wanted = {*check.after, *([READ] if check.needs == HOST and check.name != READ else [])}
    wanted |= GATES if check.needs == DEPLOYMENT else set()
    missing = next((name for name in failed if name in wanted), "")
    if missing:
        return f'not checked, since "{missing}" has failed'
    if check.needs == DEPLOYMENT and not inspected:
        return "not read yet"
    return _skip(check, now)


def _skip(check: Check, now: Observed) -> str:
    return next((skip.reason for skip in check.skip if skip.applies(now)), "")


def _examine(check: Check, now: Observed, reason: str) -> dict[str, t.Any]:
    """Returns the result of a check; `reason` is why it is not made, or empty."""
    one = {"check": check.name, "host": now.host, "state": OK, "expected": check.expected.replace("`", ""), "found": ""}
    if reason:
        return {**one, "state": SKIPPED, "reason": reason.replace("`", "")}
    try:
        problem = check.find(now)
    except WaError as error:
        problem = str(error)
    found, cure = problem if isinstance(problem, tuple) else (problem or "", "")
    if not found:
        return {**one, "found": check.shows(now)}
    text = f"{found} {cure}".rstrip()
    if check.reported and not now.target_given:
        return {**one, "state": SKIPPED, "reason": f"{REFUSED}: {text}", "refusal": text}
    subject = {"host": f"{now.host}: ", "deployment": f"{now.name}: "}.get(check.subject, "")
    return {**one, "state": FAILED, "found": found, **({"cure": cure} if cure else {}), "message": f"{subject}{text}"}


def _line(one: Facts) -> str:
    """Returns a check for a person."""
    text = f"{one['state']:<8} {one['check']}"
    if one["state"] == SKIPPED:
        return f"{text}: {one['reason']}"
    if one["state"] == FAILED:
        return f"{text}: expected {one['expected']}; found: {one['found']} {one.get('cure', '')}".rstrip()
    return f"{text}: {one['found']}" if one["found"] else text


def _notes(now: Observed, refusals: t.Sequence[str]) -> list[str]:
    """Returns what is displayed of a host that has passed."""
    notes = []
    if now.leads:
        before = (now.left.get("notes") or {}).get("from_version") or ", ".join(now.running)
        if not now.target_given:
            what = "no target version: preparation only"
        elif now.unfinished:
            what = f"target {now.target}, the upgrade that stopped at stage {upgrade_journal.stage(now.left)[0]} goes on. {now.standing}"
        else:
            what = f"target {now.target}" + ("" if now.needed else ", nothing to upgrade")
        notes.append(f"{now.name}: version {before}, {what}")
        notes += [f"{now.name}: {expected['line']}" for expected in [_outage(now)] if expected]
        dump = now.facts["dumpable"]
        if dump.get("databases"):
            takes = database_checks.dump_takes(now)
            notes.append(
                f"{now.name}: the dump will hold {', '.join(dump['databases'])}" + (f": {takes}" if takes else "")
            )
            notes += [f"{now.name}: {text}" for text in dump.get("left") or ()]
        notes += [
            f"{now.name}: {text}"
            for text in (
                database_checks.unsupported(now),
                database_checks.server_room(now),
                database_checks.gc_due(now),
            )
            if text
        ]
    # Preparation goes on: what it cleans may make the room, and time for statements is given for the upgrade alone.
    notes += [f"{now.host}: {REFUSED}: {' '.join(refusals)}"] if refusals else []
    return notes


def of_deployment(
    deployment: Facts, verdicts: t.Mapping[str, Facts], run_hosts: t.Collection[str], reached: t.Collection[str]
) -> dict[str, t.Any]:
    """Returns the verdict on a deployment from those of its members. One that is not among the `reached` is a failed check.

    The result has `deployment`, `leader`, `reporter` (the leader, or else the first host that was reached), `passed`, `checks`,
    `failed`, `unready` (hosts with a failed check), `refusal` (for a member that has passed), `outage` of the leader,
    `notes`, and `lines`.
    """
    checks: list[Facts] = []
    failed: list[str] = []
    lines: list[str] = []
    notes: list[str] = []
    unready: list[str] = []
    shown: dict[tuple[str, str], str] = {}
    for host in deployment["members"]:
        one = verdicts.get(host) if host in reached else None
        if not one:
            one = _unreached(host, host in run_hosts)
        failed += [text for text in one["failures"] if text not in failed]
        notes += [text for text in one.get("notes") or () if text not in notes]
        unready += [host] if one["failures"] else []
        lines.append(host)
        for check, line in zip(one["checks"], one["lines"]):
            first = shown.setdefault((check["check"], check["found"]), host)
            repeated = check["state"] == FAILED and first != host
            lines.append(f"  {check['state']:<8} {check['check']}: as on {first}" if repeated else f"  {line}")
            checks.append(check)
    count = sum(check["state"] == FAILED for check in checks)
    head = f"{deployment['name']}: {count} of {len(checks)} checks failed"
    standing = next((one["standing"] for one in verdicts.values() if one.get("standing")), "")
    lost = "A member that is lost is named in wa_upgrade_without; it must not start the old version again."
    return {
        "deployment": deployment["name"],
        "leader": deployment["leader"],
        "reporter": next((one for one in (deployment["leader"], *deployment["members"]) if one in reached), ""),
        "passed": not failed,
        "checks": checks,
        "failed": failed,
        "unready": sorted(unready),
        "refusal": f"{', '.join(sorted(unready))} of deployment {deployment['name']} did not pass the checks above or could not be reached. "
        + " ".join(["Nothing of the deployment was touched by this run.", *([standing, lost] if standing else [])]),
        "outage": (verdicts.get(deployment["leader"]) or {}).get("outage") or {},
        "notes": notes,
        "lines": [head, *notes, *lines],
    }


def _unreached(host: str, in_run: bool) -> dict[str, t.Any]:
    found = (
        "it could not be reached, or its checks have ended early: see above."
        if in_run
        else "it is not in this run (--limit, or wa_hosts)."
    )
    one = {
        "check": "the host is checked",
        "host": host,
        "state": FAILED,
        "expected": "a host of this run that answers",
        "found": found,
    }
    return {"checks": [one], "lines": [_line(one)], "failures": [f"{host}: {found}"]}
