# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said when an upgrade has failed: what failed, what serves now, the schema, the copy, the next command. Pure rules."""

from __future__ import annotations

import shlex
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import MIGRATION, service_containers
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._docker import options as docker_options
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import report

Facts = t.Mapping[str, t.Any]

_DOWN = "Nothing serves: the client is down, and nothing is started by itself."
_UNTOUCHED = "The schema is untouched."
_MIGRATED = "The database is migrated: there is no way back but a restore."
_GOES_ON = "{first}run upgrade.yml again, which goes on from here"
_PROVISION = "run provision.yml, which starts the version that they have, then run upgrade.yml again"
# By case: what serves now, what the schema is, and how to go on, where anything is to be said. The case is that of `_case`.
_SAYS: dict[str, tuple[str, str, str]] = {
    # This run does not have the deployment.
    "untouched": ("Nothing was touched.", "", ""),
    "held": ("Nothing was touched by this run. Another one has the deployment: what it says counts.", "", ""),
    "left": (
        "Nothing was touched by this run.",
        "{standing}",
        "{first}run upgrade.yml again, which goes on from there",
    ),
    "taken": ("Another run has taken the deployment over since: what it says counts.", "", ""),
    "done": (
        "The upgrade is done all the same: version {target} serves, and the lock has ended. Only the answer was lost.",
        "There is nothing left to do; a further run of upgrade.yml looks whether all is well.",
        "",
    ),
    "lost": (
        "The lock is gone: another run has had the deployment since, or somebody has removed the lock file. This run has stopped nothing.",
        "",
        "{first}run upgrade.yml again",
    ),
    "gone": (
        "The lock file is gone: somebody has removed it, at stage {stage}. The client may be down: do not start version {before} by hand.",
        "",
        "see who removed it, then run upgrade.yml again, which finds a migration by its container, and says what to do where there is none",
    ),
    # The schema is untouched.
    "serves": ("Version {before} serves.", _UNTOUCHED, ""),
    "serves_unseen": ("No client was stopped.", _UNTOUCHED, ""),
    "others_stopped": (
        "This run has stopped nothing. Not running on {leader}: {not_running}.",
        _UNTOUCHED,
        f"see why, {_PROVISION}",
    ),
    "back": ("Version {before} serves again.", _UNTOUCHED, ""),
    "back_unasked": ("Version {before} was started again; its health was not asked.", _UNTOUCHED, ""),
    "back_unseen": (
        "Version {before} was started again on the other hosts. Whether it serves without the leader is not known.",
        _UNTOUCHED,
        _GOES_ON,
    ),
    "not_back": (
        "The old version could not be started again ({not_back}). The client may be down on some hosts.",
        _UNTOUCHED,
        _GOES_ON,
    ),
    # The schema may be changed, or is.
    "migrating": (
        _DOWN,
        "{migration}",
        "{first}run upgrade.yml again, which waits for a migration that runs, and tries one again that has failed",
    ),
    "old_runs": ("Version {before} runs on {old_on}, on a schema that may be changed.", "{migration}", _GOES_ON),
    "new_runs": (
        "Version {target} runs on {new_on}, and was not seen healthy.",
        "{migration}",
        "{first}if it does not get healthy, stop its containers (docker stop), so that the migration is tried again; then run upgrade.yml "
        "again, which goes on from here",
    ),
    "migrated": (_DOWN, _MIGRATED, _GOES_ON),
    "starting": ("The new version may run on some hosts.", _MIGRATED, _GOES_ON),
    "verifying": ("The new version has answered.", _MIGRATED, _GOES_ON),
}
_RESTORED = (
    "migrating",
    "old_runs",
    "new_runs",
    "migrated",
    "starting",
    "verifying",
)  # cases that a restore leads back from
_CONNECTED = ("new_runs", "starting", "verifying")  # of them, those in which the new version may have served


def failed(facts: Facts) -> dict[str, t.Any]:
    """Returns the result of a failed upgrade, in the shape of `report.result`; `facts` are those of `screen`."""
    case = _case(facts)
    back = case in ("serves", "back", "back_unasked")
    outcome = "upgraded" if case == "done" else "rolled_back" if back else "failed"
    journal = facts["journal"]
    known = {**facts, "members": [member["host"] for member in facts["members"]]}
    found = report.result(outcome, known, journal, screen(facts), [facts["upgrade_command"]])
    more = {"failed_task": facts["task"], "message": facts["why"]}
    return {**found, "settings_backup": facts["settings_backup"], **more}


def screen(facts: Facts) -> list[str]:
    """Returns all that is said of a failure, in lines.

    `facts` have the names of the `deployment` and its `leader`, the versions `before` and `target`, what failed (`task`, `why`), and

    - of the run: its stage by the leader's journal (`at`, empty when that has none of it), whether it had the deployment (`locked`), the
      `journal` as it last knew it, and whether it has `stopped` anything
    - of the `others`: their containers, by host
    - of the leader: what it has `asked` about the journal (`wa_upgrade_journal`), `leader_lost`, its `containers` (None where they could
      not be read), those that `ran` when it was locked, the journal that the checks have found there (`left`), and whether a client `runs`
    - of the way back: why the old version does not serve (`not_back`), or is `not_started` or `not_reached` on some hosts; `asks_health`
    - of the traffic: whether hooks are there that keep it away (`keeps_traffic_away`) and let it come (`lets_traffic_come`)
    - `members`, `still_locked`, `settings_backup`, `skipped`, `left_alone` (leaders of later waves), `upgrade_command`, `restore_command`
    """
    case, leader = _case(facts), facts["leader"]
    words = {**facts, **_words(facts)}
    serves, schema, goes_on = (text.format(**words) for text in _SAYS[case])
    lines = [
        f'{facts["deployment"]}: the upgrade from {facts["before"]} to {facts["target"]} failed at "{facts["task"]}".',
        facts["why"],
    ]
    if facts["leader_lost"]:
        lines.append(
            f"The leader, {leader}, does not answer: its client is as it was left, unless the host itself is down."
        )
    lines += [text for text in (serves, schema) if text]
    notes = (_left(facts) if case == "left" else facts["journal"]).get("notes") or {}
    if notes.get("dump"):
        lines.append(f"Database dump: {notes['dump']} (on {leader})")
    if facts["settings_backup"]:
        lines.append(f"Settings backup: {facts['settings_backup']} (on the controller)")
    if goes_on:
        lines += [f"To go on: {goes_on}:", f"  {facts['upgrade_command']}"]
    # While a migration runs nothing leads back: what is restored beneath it would be broken.
    if case in _RESTORED and _migration(facts).get("state") != "running":
        if case in _CONNECTED:
            lines.append(
                "The new version may have been connected: a restore loses what came and went since, and sets its encryption state back. "
                "Rather go on."
            )
        copy = "" if notes.get("manifest") else " from a copy of your own, by a command of yours"
        lines.append(
            f"The only way back is to restore the database as it was after the stop{copy}, and to start version {facts['before']}:"
        )
        lines.append(f"  {facts['restore_command']}")
    return lines + _left_over(facts, case)


def standing(journal: Facts, runs: bool) -> str:
    """Where an upgrade that an earlier run has left unfinished stands, by its journal; `runs` is whether the client runs.

    The journal may be made up from the container of a migration, and then has a schema and a target alone.
    """
    notes = journal.get("notes") or {}
    stage, at = upgrade_journal.stage(journal)
    since = f" since {upgrade_journal.clock(at)}" if at else ""
    stopped = f" since {upgrade_journal.clock(float(notes['down_at']))}" if notes.get("down_at") else ""
    schema = {"stopping": "The schema is untouched", "migrating": "The schema may be changed"}
    state = schema.get(stage, "The database is migrated")
    client = {
        "starting": "the new version may run on some hosts",
        "verifying": "the new version was started",
    }.get(stage, "a client runs" if runs else f"the client is stopped{stopped}")
    return f"The upgrade to {journal['target']} that was left unfinished is at stage {stage}{since}. {state}, and {client}."


def _case(facts: Facts) -> str:
    at, asked = facts["at"], facts["asked"]
    if not at and not facts["locked"]:
        left = upgrade_journal.has_begun(_left(facts))
        return "untouched" if not left else "held" if asked.get("held") else "left"
    if not at:
        ended, ours = asked.get("ended") or {}, facts["journal"]
        done = upgrade_journal.succeeded(ended)
        if done and ours.get("run_id") in upgrade_journal.runs(done):
            return "done"
        if asked.get("journal") or float(ended.get("ended_at") or 0) > float(ours.get("since") or 0):
            return "taken"
        return "gone" if upgrade_journal.has_begun(ours) else "lost"
    if at == "locked":
        lost = "serves_unseen" if facts["leader_lost"] or facts["containers"] is None else "serves"
        return "untouched" if not facts["locked"] else "others_stopped" if _not_running(facts) else lost
    if at == "stopping":
        back = "back" if facts["asks_health"] else "back_unasked"
        return "back_unseen" if facts["leader_lost"] else "not_back" if facts["not_back"] else back
    if at == "migrating" and _where(facts, facts["target"]):
        return "new_runs"
    if at == "migrating" and _where(facts, facts["before"]):
        return "old_runs"
    migrated = _migration(facts).get("state") == "exited" and not _migration(facts)["exit_code"]
    return "migrated" if at == "migrating" and migrated else str(at)


def _words(facts: Facts) -> dict[str, str]:
    """Returns what the sentences of `_SAYS` name."""
    member: Facts = next((one for one in facts["members"] if one["host"] == facts["leader"]), {})
    host = member.get("docker_host") or docker_options.DEFAULT_HOST
    engine = ["docker", *(["--host", host] if host != docker_options.DEFAULT_HOST else [])]
    found, left = _migration(facts), _left(facts)
    name = found.get("name", f"{member.get('project', '')}-{MIGRATION}-1")
    log = f"{shlex.join([*engine, 'logs', name])} (on {facts['leader']})"
    if facts["containers"] is None:
        migration = f"may have been started and may still run. Its log: {log}"
    elif found and found["state"] == "created" and _where(facts, facts["target"]):
        migration = "was not started, and the new version was."
    elif found:
        migration = (
            f"{'still runs' if found['state'] == 'running' else 'was started and did not end well'}. Its log: {log}"
        )
    else:
        migration = "was due, and has no container."
    return {
        "first": f"when {facts['leader']} is back, " if facts["leader_lost"] else "correct this, then ",
        "stage": upgrade_journal.stage(facts["journal"])[0],
        "not_running": ", ".join(_not_running(facts)),
        "new_on": _where(facts, facts["target"]),
        "old_on": _where(facts, facts["before"]),
        "migration": f"The schema may be changed: the migration {migration}",
        "standing": standing(left, facts["runs"]) if "target" in left else "",
    }


def _left(facts: Facts) -> Facts:
    """Returns the leader's journal as it is now, or as the checks have read it where it does not answer."""
    found: Facts = facts["asked"].get("journal") or facts["left"]
    return found


def _migration(facts: Facts) -> Facts:
    """Returns the migration's container; empty when there is none, or when it is not known. One to another version does not count."""
    found = (one for one in facts["containers"] or () if one["service"] == MIGRATION)
    return next((one for one in found if one["version"] == facts["target"]), {})


def _not_running(facts: Facts) -> list[str]:
    """Returns the client's containers at the leader that do not run, or are gone since they were locked; this run has stopped none."""
    if facts["stopped"] or facts["containers"] is None:
        return []
    found = {str(one["name"]): one["state"] for one in service_containers(facts["containers"])}
    gone = {str(one["name"]): "removed" for one in service_containers(facts["ran"])}
    return [name for name, state in {**gone, **found}.items() if state != "running"]


def _where(facts: Facts, version: str) -> str:
    """Returns the hosts on which the client runs in a version."""
    everywhere = {facts["leader"]: facts["containers"] or (), **facts["others"]}
    return ", ".join(
        host
        for host, containers in everywhere.items()
        if any(one["state"] == "running" and one["version"] == version for one in service_containers(containers))
    )


def _left_over(facts: Facts, case: str) -> list[str]:
    """What else was not put right: members, traffic, locks, checks, later waves."""
    lines = []
    if facts["at"] == "stopping" and facts["not_reached"]:
        lines.append(f"Not started, since they could not be reached: {', '.join(facts['not_reached'])}.")
    if facts["at"] == "stopping" and facts["not_started"] and not facts["not_back"]:
        lines.append(f"Not started on all hosts ({facts['not_started']}). Correct this, then run provision.yml.")
    hook = "wa_upgrade_after_outage"
    came = facts["at"] in ("locked", "stopping") and not (facts["leader_lost"] or facts["not_back"])
    if came and facts["lets_traffic_come"]:
        lines.append(f"{hook} runs now, and lets traffic come: see below that it does not fail.")
    elif (facts["keeps_traffic_away"] and (facts["at"] or case in ("gone", "lost"))) or (
        upgrade_journal.TRAFFIC in (facts["journal"].get("notes") or {}) and case != "done"
    ):
        why = f", {'if' if case == 'verifying' else 'since'} {hook} was not run" if facts["lets_traffic_come"] else ""
        lines.append(f"Traffic may be kept away{why}.")
    lines += [f"Still locked: {host}" for host in facts["still_locked"]]
    lines += [f"Check skipped on request: {name}" for name in facts["skipped"]]
    if facts["left_alone"]:
        lines.append(f"Left alone, since this wave failed: {', '.join(facts['left_alone'])}.")
    return lines
