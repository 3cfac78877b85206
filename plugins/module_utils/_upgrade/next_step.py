# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an upgrade does next: where a run that has the lock goes on, and what a run that fails does before it ends. Pure rules.

The rules are read from top to bottom, and the first one whose condition holds counts.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import (
    ACTIVE,
    is_migration,
    service_containers,
)
from ansible_collections.waba.onprem.plugins.module_utils._deployment import hold, topology
from ansible_collections.waba.onprem.plugins.module_utils._deployment.upgrade_journal import (
    DONE,
    NO_COPY,
    ONE_SHOTS,
    STARTED,
    UNTOUCHED,
    clock,
    has_begun,
    is_migrated,
    stage,
    without_early_copy,
)
from ansible_collections.waba.onprem.plugins.module_utils._env.rules import UPGRADE
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import requirements

Container = t.Mapping[str, t.Any]  # as `wa_info` returns it


@dataclass(frozen=True)
class Member:
    """A host of the deployment."""

    everything: t.Sequence[Container]  # all containers of a client on the host
    stopped_at: float = 0.0  # when the upgrade began to stop its client, by its own clock; 0 when that is not known
    project: str = ""
    neighbours: t.Sequence[str] = ()  # the projects of the other deployments on the host's machine

    @property
    def containers(self) -> list[Container]:
        """Those of the Compose project."""
        return [one for one in self.everything if one["project"] == self.project]

    @property
    def clients(self) -> list[Container]:
        """The containers of the client, without a migration and other one-shot containers."""
        return service_containers(self.containers)

    @property
    def since(self) -> list[Container]:
        """The containers that were started since the stop on the client's database, by whomever.

        That is in the project, or with its database in the environment; one that was started for a look has none.
        """
        databases = {one["database"] for one in self.containers} - {""}
        return [
            one
            for one in self.everything
            if (one["project"] == self.project or topology.has_database(one, databases, self.project, self.neighbours))
            and (_runs(one) or one["started_at"] > self.stopped_at)
        ]

    def started(self, version: str) -> list[Container]:
        """Those of a `version`."""
        return [one for one in self.since if one["version"] == version]

    def migrations(self, version: str) -> list[Container]:
        """Those of them that migrate the database, also outside the project: from the vendor's Compose file, or by `docker run`."""
        return [one for one in self.started(version) if UPGRADE in one["env_keys"]]

    @property
    def running(self) -> list[str]:
        """The names of the client's containers that run, or that Docker is about to start."""
        return [str(one["name"]) for one in self.clients if one["state"] in ACTIVE]

    def served_since(self, version: str) -> bool:
        """Whether one of them in another version was started since the stop."""
        return any(one["version"] != version and one["started_at"] > self.stopped_at for one in self.clients)

    @property
    def serves(self) -> bool:
        """Whether all of them run."""
        return bool(self.clients) and all(one["state"] == "running" for one in self.clients)


@dataclass(frozen=True)
class Observed:
    """What a run knows when it has the lock."""

    journal: t.Mapping[str, t.Any]  # the leader's, with which this run begins or resumes the upgrade
    leader: Member
    others: t.Sequence[Member] = ()
    checked: t.Sequence[str] = ()  # the versions that the preflight of this run found
    checked_unfinished: bool = False  # whether it found an unfinished upgrade

    @property
    def members(self) -> list[Member]:
        """All hosts, the leader first."""
        return [self.leader, *self.others]

    @property
    def new(self) -> bool:
        """Whether the upgrade begins: nothing was stopped for it, and its schema is untouched."""
        return not has_begun(self.journal)

    @property
    def migration(self) -> Container | None:
        """The container of this upgrade's migration; one to another version, or from before the stop, is no sign."""
        return _migration(self.leader, self.journal)

    @property
    def schema(self) -> str:
        """Whether the schema is untouched, started or done, see `schema`."""
        return UNTOUCHED if self.new else schema(self.journal, self.members)

    @property
    def target_runs(self) -> bool:
        """Whether the new version runs on any host."""
        found = [one for member in self.members for one in _new(self.journal, member)]
        return any(_runs(one) and UPGRADE not in one["env_keys"] for one in found)

    @property
    def migrating(self) -> list[Container]:
        """The containers that migrate the database now, by whomever they were started."""
        target = self.journal["target"]
        return [one for member in self.members for one in member.migrations(target) if _runs(one)]

    @property
    def stopped(self) -> list[str]:
        """The names of the client's containers that do not run."""
        return [str(one["name"]) for member in self.members for one in member.clients if one["state"] != "running"]

    @property
    def versions(self) -> list[str]:
        """The versions of the client's containers."""
        return sorted({str(one["version"]) for member in self.members for one in member.clients})

    @property
    def changed(self) -> bool:
        """Whether the client is not as the preflight of this run found it."""
        return self.checked_unfinished or self.versions != sorted(self.checked) or bool(self.stopped)

    @property
    def beside(self) -> list[Container]:
        """The migrations that were started since the client was, by each host's clock: its old version runs on a schema that may be changed."""
        found = []
        for member in self.members:
            since = max((one["started_at"] for one in member.clients), default=0.0)
            found += [one for one in member.migrations(self.journal["target"]) if one["started_at"] > since]
        return found

    @property
    def started_since(self) -> bool:
        """Whether the old version runs, or was started after the upgrade had stopped it, by each host's own clock.

        A member that this upgrade has not stopped may have served meanwhile.
        """
        return any(not member.stopped_at for member in self.others) or any(
            service_containers(member.since) for member in self.members
        )


# Where a run goes on. It does that and all that follows.
REFUSE, SERVE, STOP, MIGRATE, START = ("", "serve", "stop", "migrate", "start")


@dataclass(frozen=True)
class Rule:
    """What was found, and where the run goes on for it."""

    schema: str
    found: str
    applies: t.Callable[[Observed], bool]
    at: str
    served: bool = False  # whether the old version has served since: a copy of the database from before counts no more


RULES = (
    Rule(DONE, "a migration runs again", lambda now: bool(now.migrating), REFUSE),
    Rule(DONE, "anything else", lambda now: True, START),
    Rule(STARTED, "the migration runs", lambda now: now.migration is not None and _runs(now.migration), MIGRATE),
    Rule(STARTED, "a migration of somebody else runs", lambda now: bool(now.migrating), REFUSE),
    Rule(STARTED, "the new version runs", lambda now: now.target_runs, START),
    Rule(STARTED, "neither runs", lambda now: True, MIGRATE),
    Rule(
        UNTOUCHED,
        "an upgrade begins, and the client is not as it was checked, or a migration was started since",
        lambda now: now.new and (now.changed or bool(now.beside)),
        REFUSE,
    ),
    Rule(UNTOUCHED, "an upgrade begins", lambda now: now.new, SERVE),
    Rule(
        UNTOUCHED,
        "the old version serves at the leader",
        lambda now: now.started_since and now.leader.serves,
        SERVE,
        served=True,
    ),
    Rule(
        UNTOUCHED,
        "it runs on a host, was started since the stop, or a host has no container of it any more",
        lambda now: now.started_since or not all(one.clients for one in now.members),
        STOP,
        served=True,
    ),
    Rule(UNTOUCHED, "it is stopped", lambda now: True, STOP),
)


def next_step(facts: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Returns where a run that has the lock goes on.

    `facts` are `leader` (its host), `journal` (the leader's), `journals` (results of `wa_upgrade_journal` on the other members),
    `containers` (results of `wa_info` on all members with all containers and images, each with the member as `item`), `checked` (the
    versions that the preflight found), `checked_unfinished`, `today` (as 2026-01-31), and `copies` of the database: whether it is dumped, the snapshot command,
    and the skipped checks.

    The result has `at` (empty for a refusal), `refusal`, the `schema` by the evidence, `follow` (the id of a migration to wait for: one that
    runs or has ended well), `clients` (the ids of the client's containers by host), `stop_again` (whether the old version runs where nothing
    is stopped any more), `target_runs` (whether the new one does), `stops` (whether a container of the client runs that
    this run is to stop), `served`, and `notes`, those of the journal that still count.
    """
    journals = {one["item"]["host"]: one["journal"] for one in facts["journals"]}
    journals[facts["leader"]] = facts["journal"]
    by_host = {
        one["item"]["host"]: _member(one, _stopped_at(journals.get(one["item"]["host"], {})))
        for one in facts["containers"]
    }
    others = [member for host, member in by_host.items() if host != facts["leader"]]
    now = Observed(
        facts["journal"], by_host[facts["leader"]], others, facts["checked"], bool(facts["checked_unfinished"])
    )
    rule = next(one for one in RULES if one.schema == now.schema and one.applies(now))
    refusal = "" if rule.at else _refusal(now)
    # The client serves: it is not stopped for a version that cannot start, nor where somebody holds it since the checks.
    if rule.at == SERVE:
        unusable = _unusable_image(facts["containers"], now.journal["target"], facts["today"])
        held = [hold.describe(one["hold"], one["item"]["host"]) for one in facts["containers"] if one.get("hold")]
        refusal = unusable or ". ".join(held)
    if rule.served and not refusal:  # the preflight knew of no client that has served since
        refusal = " ".join(requirements.database_copy(now.journal, True, False, *facts["copies"]))
    clients = [one for member in now.members for one in member.clients]
    one, target = now.migration, now.journal["target"]
    return {
        "at": "" if refusal else rule.at,
        "refusal": refusal,
        "schema": now.schema,
        "follow": str(one["id"]) if rule.at == MIGRATE and one and (_runs(one) or _ended_well(one)) else "",
        "clients": {host: [str(each["id"]) for each in member.clients] for host, member in by_host.items()},
        "target_runs": now.target_runs,
        "stops": rule.at in (SERVE, STOP) and any(member.running for member in now.members),
        "served": rule.served,
        "stop_again": rule.at in (MIGRATE, START)
        and any(_runs(each) and each["version"] != target for each in clients),
        "notes": _served(now.journal["notes"]) if rule.served else _kept(now),
    }


def schema(journal: t.Mapping[str, t.Any], members: t.Sequence[Member]) -> str:
    """Returns whether the schema is untouched, started or done: by the journal, and by what was started since the stop, by whomever.

    Evidence counts before the journal. `members` have the leader first. A migration that was noted, and never started, has changed nothing.
    """
    if is_migrated(journal):
        return DONE
    migration = _migration(members[0], journal) if members else None
    started = migration is not None and (_runs(migration) or bool(migration["started_at"]))
    if started or any(_new(journal, member) for member in members):
        return STARTED
    noted = {*((journal.get("notes") or {}).get(ONE_SHOTS) or [])}
    waiting = {one["id"] for one in members[0].containers if not one["started_at"]} if members else set()
    return UNTOUCHED if noted and noted <= waiting else str(journal.get("schema", UNTOUCHED))


def begun_by_others(
    journal: t.Mapping[str, t.Any],
    containers: t.Sequence[Container],
    project: str,
    ours: str,
    neighbours: t.Sequence[str] = (),
) -> list[Container]:
    """Returns with which containers somebody has begun to change the schema since a run has decided where it goes on.

    `containers` are those at the leader; `ours` is the id of the one that the run has created for its migration, empty for none;
    `neighbours` are as in `Member`.
    """
    leader = Member(containers, _stopped_at(journal), project, neighbours)
    now, found = Observed(journal, leader), [one for one in containers if one["id"] == ours]
    if journal["schema"] == UNTOUCHED and now.new:
        found += [*now.beside, *(one for one in leader.clients if one["version"] == journal["target"])]
    elif journal["schema"] == UNTOUCHED:
        found += [*_new(journal, leader), *([now.migration] if now.migration else [])]
    else:  # the new version beside a migration that is tried again
        found += [one for one in leader.started(journal["target"]) if _runs(one) and UPGRADE not in one["env_keys"]]
    begun = {one["id"]: one for one in found if one["state"] != "created"}
    return list(begun.values())


def ended_well(journal: t.Mapping[str, t.Any], leader: Member) -> bool:
    """Returns whether the container of the upgrade's migration has ended with 0."""
    migration = _migration(leader, journal)
    return migration is not None and _ended_well(migration)


def _new(journal: t.Mapping[str, t.Any], member: Member) -> list[Container]:
    """Returns what somebody has started of the new version, without the migration of the project."""
    target = journal["target"]
    ours = [one for one in member.containers if is_migration(one, target)]
    return [one for one in member.started(target) if one not in ours]


def _migration(leader: Member, journal: t.Mapping[str, t.Any]) -> Container | None:
    """Returns the container that migrates; one that has ended counts by its id, where those of this upgrade are known.

    One of an earlier upgrade ended before the stop; it is removed before the migration of this one.
    """
    noted = (journal.get("notes") or {}).get(ONE_SHOTS)
    found = [one for one in leader.containers if is_migration(one, journal["target"])]
    ours = next((one for one in found if _runs(one) or not noted or one["id"] in noted), None)
    untouched = journal.get("schema", UNTOUCHED) == UNTOUCHED
    earlier = untouched and ours is not None and not _runs(ours) and 0 < ours["started_at"] < leader.stopped_at
    return None if earlier else ours


def _runs(migration: Container) -> bool:
    return migration["state"] in ACTIVE


def _ended_well(migration: Container) -> bool:
    return bool(migration["state"] == "exited" and migration["exit_code"] == 0)


def _member(looked: t.Mapping[str, t.Any], stopped_at: float) -> Member:
    """Returns a member from a result of `wa_info`, with the member as `item`; without containers where it was not read."""
    item = looked["item"]
    return Member(looked.get("containers") or [], stopped_at, item["project"], item["neighbours"])


def _stopped_at(journal: t.Mapping[str, t.Any]) -> float:
    return float((journal.get("notes") or {}).get("down_at") or 0)


def _unusable_image(looked: t.Iterable[t.Mapping[str, t.Any]], target: str, today: str) -> str:
    """Returns which hosts lack an image of the target, or have one that has expired, each by its own repositories; empty if none does."""
    missing, expired = [], []
    for one in looked:
        there = {image["name"]: image["expires_on"] for image in one.get("images") or []}
        for name in (f"{repository}:v{target}" for repository in sorted(one["item"]["images"].values())):
            if name not in there:
                missing.append(f"{name} on {one['item']['host']}")
            elif "" < there[name] < today:  # the checks have seen those that were there before they were pulled
                expired.append(f"{name} on {one['item']['host']} expired on {there[name]}")
    if missing:
        return f"no image {', '.join(missing)}: removed since the checks. Run upgrade.yml again, which pulls it"
    return f"{', '.join(expired)}. Choose a newer version in wa_upgrade_version" if expired else ""


def _refusal(now: Observed) -> str:
    if now.schema != UNTOUCHED:
        name = now.migrating[0]["name"]
        return (
            f"{name} migrates the database: nothing is started beside it. Wait for its end (docker wait {name}), then run upgrade.yml "
            "again"
        )
    if now.beside and not now.changed:
        name, at = now.beside[0]["name"], clock(now.beside[0]["started_at"])
        return (
            f"{name} was started at {at}, while version {', '.join(now.versions)} runs: the schema may be changed, so a copy made now is no "
            f"way back. If the database was restored since, remove it (docker rm {name}). Otherwise stop the client (docker stop). Then run "
            "upgrade.yml again, which goes on from there"
        )
    unfinished = " with an unfinished upgrade" if now.checked_unfinished else ""
    stopped = f" (not running: {', '.join(now.stopped)})" if now.stopped else ""
    return (
        f"the checks of this run found version {', '.join(now.checked)}{unfinished}, and now it is "
        f"{', '.join(now.versions) or 'no container'}{stopped}: it was changed since. Run upgrade.yml again"
    )


def _kept(now: Observed) -> dict[str, t.Any]:
    """Returns the notes without a copy that was not complete when somebody changed the schema."""
    ours = {*(now.journal["notes"].get(ONE_SHOTS) or [])}
    begun = [*_new(now.journal, now.leader), *([now.migration] if now.migration else [])]
    return without_early_copy(now.journal["notes"], [one["started_at"] for one in begun if one["id"] not in ours])


def _served(notes: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Returns the notes that count after the old version has served again: without its stop, and the copy from before."""
    return {**{key: value for key, value in notes.items() if key != "down_at"}, **NO_COPY}


def failed_stage(
    ours: t.Mapping[str, t.Any],
    permitted: bool,
    asked: t.Mapping[str, t.Any],
    looked: t.Sequence[t.Mapping[str, t.Any]],
    stopped: t.Sequence[t.Mapping[str, t.Any]],
    leader: str,
) -> str:
    """Returns the stage at which a run has failed; empty for a run that does not have the lock.

    `ours` is the journal as this run has written it last, `permitted` whether it has allowed the migration since, `asked` a result of
    `wa_upgrade_journal` at the `leader` since, `looked` those of `wa_info` on the members, `stopped` those of `wa_upgrade_journal` when each
    member was stopped. The journal there may be ahead, since an answer may be lost; where it could not be read, what this run has written
    counts. Evidence on any member counts before both.
    """
    if "msg" in asked:
        journal = {**ours, "schema": STARTED} if permitted and ours.get("schema") == UNTOUCHED else ours
    else:
        journal = asked["journal"] if asked["journal"].get("run_id") == ours.get("run_id", "none") else {}
    if not journal:
        return ""
    stops = {one["item"]["host"]: _stopped_at(one.get("journal") or {}) for one in stopped}
    members = {
        one["item"]["host"]: _member(one, stops.get(one["item"]["host"]) or _stopped_at(journal)) for one in looked
    }
    ordered = [members.pop(leader, Member([])), *members.values()]
    found = schema(journal, ordered) if has_begun(journal) and journal["schema"] == UNTOUCHED else journal["schema"]
    return stage({**journal, "schema": found})[0]
