# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said when an upgrade has failed: what serves, how to go on, and the way back. Pure rules."""

from __future__ import annotations

import shlex
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import MIGRATION, service_containers
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._docker import options as docker_options
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import report


@dataclass(frozen=True)
class Failure:
    """An upgrade that has failed, as far as it is known at its end."""

    deployment: str
    leader: str
    before: str  # the version that ran
    target: str
    task: str  # what failed, and why
    why: str
    upgrade_command: str = ""  # which goes on, with the inventory and the passwords of this run
    restore_command: str = ""  # which puts the copy of the database back, and starts the old version
    # The stage of this run by the leader's journal; empty when that has none of it.
    at: str = ""
    locked: bool = False  # whether this run had the deployment
    journal: t.Mapping[str, t.Any] = field(default_factory=dict)  # as this run last knew it
    journal_gone: bool = False  # whether the leader has none any more
    ended: t.Mapping[str, t.Any] = field(default_factory=dict)  # that of the upgrade that ended last at the leader
    left: t.Mapping[str, t.Any] = field(default_factory=dict)  # that of another run, which this one has not taken up
    left_held: bool = False  # whether that other run still has the deployment
    runs: bool = False  # whether the client ran when the checks of this run looked
    leader_lost: bool = False
    # The containers at the leader after the failure, as `wa_info` returns them; None where they could not be read.
    containers: t.Sequence[t.Mapping[str, t.Any]] | None = None
    migration_container: str = ""
    stopped: bool = False  # whether this run has stopped anything
    served: bool = False  # whether the old version was found serving since the earlier run
    not_back: str = ""  # why the old version does not serve again
    not_started: str = ""  # why some member did not start it
    not_reached: t.Sequence[str] = ()  # members that going back did not reach
    asks_health: bool = True
    keeps_traffic_away: bool = False  # whether there is a hook for that
    lets_traffic_come: bool = False
    traffic_failed: str = ""
    traffic_let_in: bool = False  # whether the hook for that was run; it comes after the first display of this
    members: t.Sequence[t.Mapping[str, t.Any]] = ()
    still_locked: t.Sequence[str] = ()
    settings_backup: str = ""
    skipped: t.Sequence[str] = ()
    left_alone: t.Sequence[str] = ()  # the leaders of later waves

    @property
    def notes(self) -> t.Mapping[str, t.Any]:
        """What the journal had noted."""
        return t.cast("t.Mapping[str, t.Any]", self.journal.get("notes") or {})

    @property
    def migration(self) -> t.Mapping[str, t.Any]:
        """The migration's container; empty when there is none, or when it is not known. One to another version does not count."""
        found = (one for one in self.containers or () if one["service"] == MIGRATION)
        return next((one for one in found if one["version"] == self.target), {})

    @property
    def stopped_by_others(self) -> list[str]:
        """The names of the client's containers at the leader that do not run, though this run has stopped none."""
        found = service_containers(self.containers or ()) if self.at == "locked" and not self.stopped else []
        return [str(one["name"]) for one in found if one["state"] != "running"]

    @property
    def migration_runs(self) -> bool:
        """Whether it was seen running."""
        return self.migration.get("state") == "running"

    @property
    def migrated(self) -> bool:
        """Whether the schema is known to be the new version's."""
        ended_well = self.migration.get("state") == "exited" and self.migration.get("exit_code", 1) == 0
        return self.at in ("starting", "verifying") or (self.at == "migrating" and ended_well)

    @property
    def runs_as_before(self) -> bool:
        """Whether the old version was found serving again, and this run has left it so."""
        return self.at == "migrating" and self.served and not self.stopped

    @property
    def may_go_back(self) -> bool:
        """Whether going back was tried: the old version serves again, or did not stop."""
        return self.at in ("locked", "stopping") or self.runs_as_before

    @property
    def ended_well(self) -> bool:
        """Whether this run has ended its lock, and only the answer was lost."""
        own = bool(self.ended) and self.ended.get("run_id") == self.journal.get("run_id")
        return own and self.ended.get("outcome") == "done"

    @property
    def on(self) -> list[str]:
        """How to go on, in lines."""
        first = f"when {self.leader} is back, " if self.leader_lost else "correct this, then "
        return self.go_on(f"{first}run upgrade.yml again, which goes on from here")

    def go_on(self, words: str) -> list[str]:
        """How to go on in `words`, and the command."""
        return [f"To go on: {words}:", f"  {self.upgrade_command}"]


def failed(one: Failure) -> dict[str, t.Any]:
    """Returns the result of a failed upgrade, in the shape of `report.result`."""
    facts = {
        "deployment": one.deployment,
        "leader": one.leader,
        "members": [member["host"] for member in one.members],
        "before": one.before,
        "target": one.target,
        "still_locked": one.still_locked,
        "skipped": one.skipped,
    }
    back = one.at in ("locked", "stopping") and not (one.not_back or one.leader_lost or one.stopped_by_others)
    outcome = "upgraded" if one.ended_well else "rolled_back" if back else "failed"
    journal = {**one.journal, "stage": one.at or one.journal.get("stage", "")}
    found = report.result(outcome, facts, journal, screen(one).split("\n"), [one.upgrade_command])
    return {**found, "settings_backup": one.settings_backup, "failed_task": one.task, "message": one.why}


def screen(one: Failure) -> str:
    """All that is said of a failure, in lines."""
    lines = [
        f'{one.deployment}: the upgrade from {one.before} to {one.target} failed at "{one.task}".',
        one.why,
    ]
    if one.leader_lost:
        lines.append(
            f"The leader, {one.leader}, does not answer: its client is as it was left, unless the host itself is down."
        )
    lines += _state(one) + _left_over(one)
    if one.at in ("migrating", "starting", "verifying") and not (one.migration_runs or one.runs_as_before):
        lines += _way_back(one)
    if one.settings_backup:
        lines.append(f"Settings backup: {one.settings_backup} (on the controller)")
    lines += [f"Check skipped on request: {name}" for name in one.skipped]
    if one.left_alone:
        lines.append(f"Left alone, since this wave failed: {', '.join(one.left_alone)}.")
    return "\n".join(lines)


def _state(one: Failure) -> list[str]:
    """What serves, what the schema is, and how to go on."""
    if not one.at:
        return _not_ours(one)
    if one.at == "locked":
        if not one.locked:
            return ["Nothing was touched."]
        if one.stopped_by_others:
            return [
                f"The schema is untouched, and this run has stopped nothing. Not running on {one.leader}: "
                f"{', '.join(one.stopped_by_others)}.",
                *one.go_on(
                    "see why, run provision.yml, which starts the version that they have, then run upgrade.yml again"
                ),
            ]
        serves = ", and no client was stopped" if one.leader_lost else f": version {one.before} serves"
        return [f"The schema is untouched{serves}."]
    if one.at == "stopping":
        return _gone_back(one)
    if one.runs_as_before:
        after = ", after a migration that did not end well" if one.migration else ""
        return [
            f"This run has stopped nothing: version {one.before} runs where it ran{after}.",
            *one.on,
        ]
    if not one.migrated:
        return _migrating(one)
    what = {
        "migrating": ", the client is down, and nothing is started by itself",
        "starting": ", and the new version may run on some hosts",
        "verifying": " and the new version answers",
    }[one.at]
    return [f"The database is migrated{what}. There is no way back but a restore.", *one.on]


def _not_ours(one: Failure) -> list[str]:
    """The leader's journal is not this run's: it was never begun, was removed, or is another run's."""
    if not one.locked:
        return _never_begun(one)
    if one.ended_well:
        return [
            f"The upgrade is done all the same: version {one.target} serves, and the lock has ended. Only the answer was lost.",
            "There is nothing left to do; a further run of upgrade.yml looks whether all is well.",
        ]
    if not one.journal_gone:
        return ["Another run has taken the deployment over since: what it says counts."]
    gone = "The lock file is gone: somebody has removed it"
    stage = one.journal.get("stage", "locked")
    if stage == "locked":
        return [f"{gone}. Nothing was stopped: version {one.before} serves."]
    if stage == "stopping":
        return [
            f"{gone}. The schema is untouched, and the client is down where it was stopped.",
            *one.go_on(
                f"see who removed it, run provision.yml, which starts version {one.before}, then run upgrade.yml again"
            ),
        ]
    return [
        f"{gone}, at stage {stage}. The schema may be changed, and the client may be down: "
        f"do not start version {one.before}.",
        _log(one, "The migration's log"),
        *one.go_on("see who removed it, then run upgrade.yml again, which finds the migration by its container"),
        *_dump(one),
    ]


def _never_begun(one: Failure) -> list[str]:
    """This run had not taken the deployment: what holds is what an earlier run has left, or another one does."""
    if not one.left or one.left.get("stage", "locked") == "locked":
        return ["Nothing was touched."]
    if one.left_held:
        return ["Nothing was touched by this run. Another one has the deployment: what it says counts."]
    first = f"when {one.leader} is back, " if one.leader_lost else "correct this, then "
    lines = [
        "Nothing was touched by this run.",
        standing(one.left, one.runs),
        *one.go_on(f"{first}run upgrade.yml again, which goes on from there"),
    ]
    dump = (one.left.get("notes") or {}).get("dump")
    return [*lines, *([f"Database dump: {dump} (on {one.leader})"] if dump else [])]


def standing(journal: t.Mapping[str, t.Any], runs: bool) -> str:
    """Where an upgrade that an earlier run has left unfinished stands, by its journal; `runs` is whether the client runs.

    The journal may be made up from the container of a migration, and then has a stage and a target alone.
    """
    stage, notes, entries = journal["stage"], journal.get("notes") or {}, journal.get("stages") or []
    since = f" since {upgrade_journal.clock(entries[-1]['at'])}" if entries else ""
    stopped = f" since {upgrade_journal.clock(float(notes['down_at']))}" if notes.get("down_at") else ""
    schema = {"stopping": "The schema is untouched", "migrating": "The schema may be changed"}
    state = schema.get(stage, "The database is migrated")
    client = {
        "starting": "the new version may run on some hosts",
        "verifying": "the new version was started",
    }.get(stage, "a client runs" if runs else f"the client is stopped{stopped}")
    return f"The upgrade to {journal['target']} that was left unfinished is at stage {stage}{since}. {state}, and {client}."


def _gone_back(one: Failure) -> list[str]:
    """Before the migration the old version was started again."""
    if one.leader_lost:
        return [
            f"The schema is untouched. Version {one.before} was started again on the other hosts, and whether it serves "
            "without the leader is not known.",
            *one.on,
        ]
    if one.not_back:
        return [
            f"The schema is untouched, but the old version could not be started again ({one.not_back}).",
            "The client may be down on some hosts.",
            *one.on,
        ]
    again = "serves again" if one.asks_health else "was started again; its health was not asked"
    return [f"The schema is untouched: version {one.before} {again}."]


def _migrating(one: Failure) -> list[str]:
    """The migration is not known to have ended well."""
    if one.containers is None:
        what = "may have been started and may still run"
    elif one.migration_runs:
        what = "still runs"
    else:
        what = "was started and did not end well" if one.migration else "was due, and has no container"
    first = f"when {one.leader} is back, " if one.leader_lost else ""
    return [
        f"The migration {what}: the client is down, and nothing is started by itself.",
        *([_log(one, "Its log")] if one.migration or one.containers is None else []),
        *one.go_on(
            f"{first}run upgrade.yml again, which waits for a migration that runs, and tries one again that has failed"
        ),
    ]


def _left_over(one: Failure) -> list[str]:
    """What else was not put right: members, traffic, locks; and the dump of a try that went back."""
    lines = []
    if one.at == "stopping":
        if one.not_reached:
            lines.append(f"Not started, since they could not be reached: {', '.join(one.not_reached)}.")
        if one.not_started and not one.not_back:
            lines.append(f"Not started on all hosts ({one.not_started}). Correct this, then run provision.yml.")
    came = one.may_go_back and not one.leader_lost and not one.not_back
    if one.traffic_failed:
        lines.append(f"Traffic may still be kept away, since wa_upgrade_after_outage failed ({one.traffic_failed}).")
    elif came and one.lets_traffic_come:
        done = "was run" if one.traffic_let_in else "is run next"
        lines.append(f"wa_upgrade_after_outage {done}: see that traffic comes.")
    elif one.keeps_traffic_away and one.at and not came:
        why = "if" if one.at == "verifying" else "since"
        lines.append(
            f"Traffic may be kept away{f', {why} wa_upgrade_after_outage was not run' if one.lets_traffic_come else ''}."
        )
    lines += [f"Still locked: {host}" for host in one.still_locked]
    if one.at == "stopping" and one.notes.get("dump"):
        lines.append(f"The dump of this try stays: {one.notes['dump']} (on {one.leader})")
    return lines


def _way_back(one: Failure) -> list[str]:
    """The command that puts the database back as it was after the stop, and starts the old version."""
    lines = _dump(one)
    if one.at != "migrating":
        lines.append(
            "The new version may have been connected: a restore loses what came and went since, and sets its "
            "encryption state back. Rather go on."
        )
    copy = "" if one.notes.get("manifest") else " from a copy of your own, by a command of yours"
    return [
        *lines,
        f"The only way back is to restore the database as it was after the stop{copy}, and to start version {one.before}:",
        f"  {one.restore_command}",
    ]


def _docker(member: t.Mapping[str, t.Any]) -> list[str]:
    """Returns the command of a member's Docker Engine."""
    host = member.get("docker_host") or docker_options.DEFAULT_HOST
    return ["docker", *(["--host", host] if host != docker_options.DEFAULT_HOST else [])]


def _dump(one: Failure) -> list[str]:
    return [f"Database dump: {one.notes['dump']} (on {one.leader})"] if one.notes.get("dump") else []


def _log(one: Failure, what: str) -> str:
    leader = next((member for member in one.members if member["host"] == one.leader), {})
    return f"{what}: {shlex.join([*_docker(leader), 'logs', one.migration_container])} (on {one.leader})"
