# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks before an upgrade: what is expected, what was found wrong, and the verdict on a host and on a deployment. Pure rules.

The role's README has them as a table.
"""

from __future__ import annotations

import datetime
import json
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.waba.onprem.plugins.module_utils._core import redact, units
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology, upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MOVE_GUIDE
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import (
    failure_report,
    next_step,
    outage,
    requirements,
)

OK, SKIPPED, FAILED = "ok", "skipped", "failed"
# What a check is made from: variables, what the host has, or what is only looked at once the `GATES` have passed.
VARIABLES, HOST, DEPLOYMENT = "variables", "host", "deployment"
# Checks without which others cannot be made.
TARGET, VALUES = "the target is a version", "the values of variables are valid"
READ, DATABASE = "the host can be read", "the database can be read"
PROJECT = "the containers belong to a Compose project"
HELD = "the client is not held"
REFUSED = "an upgrade would be refused"  # what is reported where a target version is not given
_HEALTH = ("expiry", "health")
_EXPIRES_SOON = 30  # days; the next version must be obtained and tried
Facts = t.Mapping[str, t.Any]
Problem = t.Union[str, "tuple[str, str]", None]  # what was found, and what to do


class Observed:
    """What is known of a host, from `facts` (see `verdict`)."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.host = str(facts["host"])
        self.deployment: Facts = facts["deployment"]
        self.name = str(self.deployment["name"])
        self.leads = bool(self.deployment["is_leader"])
        self.target_given = bool(str(facts["version"]).strip())
        self.found: Facts = facts["found"]
        self.left: Facts = facts["left"]
        self.unfinished = upgrade_journal.has_begun(self.left)
        self.migrated = upgrade_journal.is_migrated(self.left)
        self.compose: Facts = facts["compose"]["compose"]

    @property
    def target(self) -> str:
        """The version to upgrade to. Raises WaError if it is none."""
        return topology.normalise_version(self.facts["version"])

    @property
    def skip(self) -> list[str]:
        """The checks in `wa_upgrade_skip`."""
        return units.text_list(self.facts["skip"], "wa_upgrade_skip")

    @property
    def running(self) -> list[str]:
        """The versions of the client's containers on all members that were reached."""
        return sorted({str(one["version"]) for one in self.facts["everywhere"]})

    @property
    def running_versions(self) -> set[str]:
        """Those of containers that run."""
        return {str(one["version"]) for one in self.facts["everywhere"] if one["state"] == "running"}

    @property
    def serves(self) -> bool:
        """Whether a container of the client runs on any member."""
        return any(one["state"] == "running" for one in self.facts["everywhere"])

    @property
    def leader(self) -> next_step.Member:
        """The leader's containers, as an unfinished upgrade looks at them."""
        stopped_at = float((self.left.get("notes") or {}).get("down_at") or 0)
        return next_step.Member(self.facts["leader"].get("containers") or [], stopped_at, self.deployment["project"])

    @property
    def schema_started(self) -> bool:
        """Whether an unfinished upgrade may have changed the schema."""
        others = replace(self.leader, everything=self.facts["everywhere"])
        return self.unfinished and next_step.schema(self.left, [self.leader, others]) != upgrade_journal.UNTOUCHED

    @property
    def standing(self) -> str:
        """Where an unfinished upgrade stands; empty without one."""
        return failure_report.standing(self.left, self.serves) if self.unfinished else ""

    @property
    def needed(self) -> bool:
        """Whether the target takes an upgrade; also if it is refused, so that the other checks are made."""
        if not self.target_given:
            return False
        try:
            return self.unfinished or topology.check_jump(self.running, self.target)
        except WaError:
            return True


@dataclass(frozen=True)
class Skip:
    """A reason not to make a check."""

    reason: str
    applies: t.Callable[[Observed], bool]


NO_TARGET = Skip("no `wa_upgrade_version`", lambda now: not now.target_given)
UNFINISHED = Skip("an unfinished upgrade goes on", lambda now: now.unfinished)
FINISHED = Skip("no upgrade is unfinished", lambda now: not now.unfinished)
NOTHING = Skip("nothing to upgrade", lambda now: now.target_given and not now.needed)
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


@dataclass(frozen=True)
class Check:
    """One check of the preflight."""

    name: str
    expected: str
    find: t.Callable[[Observed], Problem]  # returns what is wrong; raises WaError for the same
    needs: str = VARIABLES
    look: str = ""  # of the deployment, which is made where the check is
    after: tuple[str, ...] = ()  # checks that must not have failed; all that need the deployment are after the `GATES`
    leader: bool = False  # whether it is made at the leader only
    skip: tuple[Skip, ...] = ()
    subject: str = "host"  # what the message begins with: `host`, `deployment`, or nothing
    reported: bool = False  # whether a preparation (no target version) only reports what was found
    alone: bool = False  # whether the checks that need the deployment are made though it has failed
    shows: t.Callable[[Observed], str] = lambda _now: ""  # what is displayed of one that has passed


def _message(now: Observed, result: Facts, key: str) -> str:
    """Returns why a read gave no answer, without secrets; empty if it did. A successful one has `key`."""
    if result.get("msg"):
        return str(redact.hide(str(result["msg"]), now.facts["secrets"]))
    return "" if key in result else "it was not read"


def _left_out(now: Observed) -> Problem:
    without, members = {*now.facts["without"]}, {*now.deployment["members"]}
    wrong = sorted(without & {now.deployment["leader"], now.host})
    if wrong:
        return (
            f"{', '.join(wrong)} {'leads it' if now.deployment['leader'] in wrong else 'answers'}, and wa_upgrade_without names it.",
            "Name hosts there that are lost; one that answers is upgraded. If the leader is lost, name another one in wa_leader.",
        )
    missing = sorted(members - without - {*now.facts["run_hosts"]})
    if not missing:
        return None
    return (
        f"not in this run (--limit, or wa_hosts): {', '.join(missing)} of deployment {now.name}.",
        "A deployment is upgraded as a whole: take all of its hosts, or none. One that is lost is named on the command line: "
        '-e \'{"wa_upgrade_without": ["HOST"]}\'.',
    )


def _upgraded(now: Observed) -> Problem:
    # A second upgrade that finds nothing to do is none.
    leaders = [one for one in now.facts["upgraded"] if now.needed or one != now.deployment["leader"]]
    if not leaders:
        return None
    return (
        f"an earlier play of this run has upgraded the deployment of {', '.join(leaders)}, and its facts are still set.",
        "Run ansible-playbook once for each upgrade; waves of one upgrade are set in wa_upgrade_waves.",
    )


def _version(now: Observed) -> Problem:
    try:
        topology.normalise_version(now.facts["version"])
    except WaError as error:
        return f"wa_upgrade_version: {error}"
    return None


def _values(now: Observed) -> Problem:
    refused = [*now.facts["invalid"], now.facts["compose"]["refusal"]]
    texts = dict.fromkeys(str(one).rstrip(".") for one in refused if one)
    return f"{'. '.join(texts)}. Nothing was changed." if texts else None


def _api_password(now: Observed) -> Problem:
    if now.facts["api_password"] or ("expiry" in now.skip and not now.target_given):
        return None
    return (
        "wa_api_password is not set: health, GC and backup need the API, and so does the health of the new version, also where the "
        "old one has expired.",
        "Set it, from a vault.",
    )


def _backup_password(now: Observed) -> Problem:
    missing = [
        f"{name} ({what})"
        for name, what in (("backup_password", "12 characters or more"), ("backup_dir", "a folder of the controller"))
        if not now.facts[name]
    ]
    if not missing:
        return None
    return (
        f"{' and '.join(f'wa_{one}' for one in missing)} not set: the settings backup needs both.",
        "Set them, or go without a backup with wa_upgrade_skip: [settings_backup].",
    )


def _hooks(now: Observed) -> Problem:
    return " ".join(text for text in now.facts["hooks"].values() if text)


def _host_read(now: Observed) -> Problem:
    if "compose_images" in now.found:  # only the database is read after them
        return None
    return _message(now, now.found, "compose_images")


def _locked(now: Observed) -> Problem:
    lock = now.found.get("upgrade") or {}
    if not lock.get("held") or (
        now.found.get("journal") and not upgrade_journal.counts(now.found, now.facts["leader"])
    ):
        return None
    return f"{now.name} is {lock['message']} (on {now.host}).", f"To take it over: {now.facts['commands']['take_over']}"


def _held(now: Observed) -> Problem:
    return f"{now.facts['hold']}." if now.facts["hold"] else None


def _uncompleted(now: Observed) -> Problem:
    if now.target_given and now.target == now.left["target"]:
        return None
    cure = f"Go on with it: {now.facts['commands']['go_on']}"
    if now.migrated and now.running == [now.left["target"]]:
        cure += (
            f". If {now.left['target']} cannot serve: remove {now.deployment['lock_file']} on each host, and run upgrade.yml again with "
            "a newer version and wa_upgrade_skip: [health], or wa_upgrade_skip: [expiry] if that version has expired"
        )
    return now.standing, cure


def _other_leader(now: Observed) -> Problem:
    led_by = ((now.found.get("journal") or {}).get("notes") or {}).get("leader") or now.host
    if led_by == now.host:
        return None
    return (
        f"the upgrade to {now.left.get('target', '')} was led by {led_by}, which has its journal, and now wa_leader names {now.host}.",
        "Have it lead again; if that host is lost, find out whether the database was migrated, then remove "
        f"{now.deployment['lock_file']} on the others.",
    )


def _outside_compose(now: Observed) -> Problem:
    if now.deployment["project"]:
        return None
    return (
        "its containers were adopted outside Compose (wa_project is empty).",
        f"Move them into a project first, by five commands: {MOVE_GUIDE}.",
    )


def _not_running(now: Observed) -> Problem:
    if not now.facts["clients"]:
        return f"no container of the client in project {now.deployment['project']}: run provision.yml first."
    services = now.facts["compose"]["services"]
    surplus = [str(one["name"]) for one in now.facts["clients"] if one["service"] not in services]
    if services and surplus:
        return (
            f"of a service that the inventory does not have: {', '.join(surplus)}.",
            "Run provision.yml with wa_client_restart: now, which removes those that the role made; of others, name the service in "
            "wa_client_service_names, or remove the container.",
        )
    stopped = [str(one["name"]) for one in now.facts["clients"] if one["state"] != "running"]
    if not stopped:
        return None
    own, leader = now.found.get("journal") or {}, now.deployment["leader"]
    if upgrade_journal.has_begun(own) and "journal" not in now.facts["leader"]:  # the leader's decides
        return (
            f"not running: {', '.join(stopped)}, since the upgrade to {own['target']} has stopped them, and {leader}, which leads it, "
            "was not read.",
            f"Start nothing; when {leader} can be read, run upgrade.yml again.",
        )
    return (
        f"not running: {', '.join(stopped)}.",
        "Run provision.yml, which starts the version that they have; then run upgrade.yml again.",
    )


def _path(now: Observed) -> Problem:
    topology.check_jump(now.running, now.target)
    return None


def _no_coreapp(now: Observed) -> Problem:
    if now.compose["coreapp"]:
        return None
    return (
        f"it leads {now.name}, and has no Coreapp; expected one, because the migration is made from the leader's Coreapp in your "
        "Compose files.",
        "Set wa_leader to a member that has one.",
    )


def _no_copy(now: Observed) -> Problem:
    facts = now.facts
    return " ".join(
        requirements.database_copy(
            now.left, now.serves, now.schema_started, facts["dump"], facts["snapshot_command"], now.skip
        )
    )


def _joined(texts: t.Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in texts.items())


def _missing_images(now: Observed) -> Problem:
    missing = now.found.get("missing_images")
    if not missing:
        return None
    return (
        f"{_joined(missing)}.",
        "Set wa_upgrade_version to a version that the registry has, or correct wa_registry or wa_images.",
    )


def _unanswered_images(now: Observed) -> Problem:
    unanswered = now.found.get("unanswered_images")
    if not unanswered:
        return None
    return (
        f"{_joined(unanswered)}. The registry gave no clear answer whether it has the version, also when asked "
        "again (a refused login is not repeated).",
        "Run again when it answers; if the message is about a login or the network, correct that (wa_client_registry_username, "
        "wa_registry, wa_images).",
    )


def _wrong_images(now: Observed) -> Problem:
    # The migration would run with it, and what it leaves has another schema than the version that its name promises.
    wrong = now.found.get("wrong_images")
    if not wrong:
        return None
    return (
        f"{_joined(wrong)}. Nothing was changed.",
        f"Take the registry's build (docker pull {'; docker pull '.join(wrong)}), or load the right one, and run upgrade.yml again.",
    )


def _expired(now: Observed) -> Problem:
    images = [one for one in now.found.get("images", []) if one["name"] in now.facts["target_images"]]
    expired = [f"{one['name']} on {one['expires_on']}" for one in images if "" < one["expires_on"] < now.facts["today"]]
    return (f"expired: {', '.join(expired)}.", "Choose a newer version in wa_upgrade_version.") if expired else None


def _room(now: Observed) -> Problem:
    # Room for logs is not required to complete an upgrade.
    return " ".join(requirements.room(now.found, now.facts["target_images"], logs=not now.unfinished))


def _operators_files(now: Observed) -> Problem:
    read = now.facts["operators_files"]
    unread = _message(now, read, "actions")
    if unread or not read["actions"] or now.facts["update_compose_files"]:
        return unread
    return (
        f"after the upgrade docker compose up in {now.compose['folder']} would start the old version on the migrated database; "
        f"expected your permission to set the new one there ({'; '.join(read['actions'])}).",
        "Give it with wa_upgrade_update_compose_files: true.",
    )


def _compose_file(now: Observed) -> Problem:
    read = now.found["compose_images"]
    other = requirements.compose(read["images"], now.facts["clients"], now.facts["images"])
    if other:
        return (
            f"{now.deployment['project_dir']}/compose.yml: {other}.",
            "A failure before the migration would start what it names. Put the version that runs in it, or have provision.yml write it "
            f"with wa_version: {', '.join(now.running)}; then run upgrade.yml again.",
        )
    if not read["problem"]:
        return None
    return (
        f"Compose cannot read the client's Compose files: {redact.hide(read['problem'], now.facts['secrets'])}.",
        "Run provision.yml, which writes those of the inventory, or correct the file that Compose names; then run upgrade.yml again.",
    )


def _unhealthy(now: Observed) -> Problem:
    return _message(now, now.facts["health"], "healthy")


def _drifted(now: Observed) -> Problem:
    read = now.facts["drift"]
    unread = _message(now, read, "drift")
    if unread or not read["drift"]:
        return unread
    return (
        f"{'; '.join(read['drift'])}.",
        "Run provision.yml, which corrects what the inventory can correct; then run upgrade.yml again.",
    )


def _database_read(now: Observed) -> Problem:
    if "database" in now.found:
        return None
    # No playbook writes db.env meanwhile. The start of the new version puts it in force.
    cure = f"If its settings have changed, correct {now.deployment['env_file']} on each host by hand, then run upgrade.yml again."
    said = _message(now, now.found, "database")
    return (said, cure) if now.unfinished else said


def _restored(now: Observed) -> Problem:
    """Whether the tables are defined as before a migration that has ended well, where the next step would start the new version."""
    known = (now.left.get("notes") or {}).get(upgrade_journal.DEFINITIONS) or {}
    present = (now.found.get("database") or {}).get("definitions")
    if not present or present != known.get("before") or now.left["target"] in now.running_versions:
        return None
    if not now.migrated and not next_step.ended_well(now.left, now.leader):
        return None
    proof = ", as they were after it, too, so that this alone proves nothing" if present == known.get("after") else ""
    before = now.left["notes"].get("from_version", "the old version")
    return (
        f"the migration to {now.left['target']} has ended well, and the tables are defined as before it{proof}. Either the database was "
        f"restored by hand, and {now.left['target']} would migrate it without a copy, or the migration changes data only.",
        f"After a restore: {now.facts['commands']['restored']} ends this upgrade and starts {before} on the database as it is, and upgrade.yml "
        "then makes a new copy. If nothing was restored, go on with "
        f"wa_upgrade_skip: {json.dumps([*now.skip, 'schema'])}.",
    )


def _used_elsewhere(now: Observed) -> Problem:
    """Whether a node or a session of the client is on no host of the inventory, which the upgrade would not stop."""
    ids = {str(one["id"])[:12] for one in now.facts["everywhere"]}
    nodes = (now.facts["health"] if now.leads else {}).get("nodes") or {}
    alive = {name for name, node in nodes.items() if ":" in name and node.get("gateway_status")}
    strange = sorted(name for name in alive if name.rpartition(":")[2] not in ids)
    if strange:
        return (
            f"nodes of the client on no host of the inventory: {', '.join(strange)}; an upgrade would not stop them, and they would use the "
            "database beside the migration.",
            f"Add their hosts to deployment {now.name}, or stop and remove their containers.",
        )
    return str(now.facts["sessions"])


def _no_dump(now: Observed) -> Problem:
    read = now.facts["dumpable"]
    unread = _message(now, read, "databases")
    if unread:
        return unread
    if read["databases"]:
        copy = read.get("estimate") or {}
        if copy and copy["seconds"] > copy["limit"]:
            return (
                f"wa_upgrade_dump: {_dump_takes(now)}.",
                "Set wa_upgrade_dump_timeout higher, which is part of the outage; run message GC first; or take a snapshot "
                "(wa_upgrade_snapshot_command).",
            )
        return None
    server = (now.found.get("database") or {}).get("server", "its server")
    return (
        f"wa_upgrade_dump: no database of the client was found on {server}; expected at least the one with its messages.",
        "Name its databases in wa_message_gc_databases, or correct WA_DB_NAME_PREFIX (wa_db_env_name_prefix).",
    )


def _dump_takes(now: Observed) -> str:
    """How large the dump will be, and how long it will take; empty if that is not known."""
    copy = now.facts["dumpable"].get("estimate")
    if not copy:
        return ""
    return (
        f"about {units.format_size(copy['bytes'])}, {units.format_duration(copy['seconds'])} of the outage, "
        f"limit {units.format_duration(copy['limit'])}"
    )


def _database(now: Observed) -> Problem:
    return " ".join(requirements.database(now.found.get("database") or {}))


def _messages(now: Observed) -> Problem:
    counted, no_gc = _counted(now), now.facts["no_gc"]
    cure = f"wa_upgrade_skip: {json.dumps([*now.skip, 'table_size'])}"
    if counted["rows"] is None and (counted["unknown"] or no_gc):
        why = counted["unknown"].rstrip(".") or "a migration of this database runs"
        # The look for a running message GC fails, too, where no table can be found.
        or_skip = "" if counted["unknown"] else f", or go on with {cure}"
        return f"the rows of messages were not counted: {why}.", f"Correct that and run upgrade.yml again{or_skip}."
    if not counted["large"] or not no_gc:
        return None
    counting = f" by the server's statistics ({counted['unknown']})" if counted["unknown"] else ""
    return (
        f"messages holds some {counted['rows']} rows{counting}, the limit is {now.facts['max_messages']}, and {no_gc}. "
        "The migration will take longer.",
        f"Go on with {cure}, or raise wa_message_gc_max_messages.",
    )


def _counted(now: Observed) -> Facts:
    """The rows of the tables `messages`; beside a migration they are not counted, and GC counts them itself."""
    return (now.found.get("database") or {}).get("messages") or {"rows": None, "large": True, "unknown": ""}


def _media(now: Observed) -> Problem:
    """What all members have read after the leader has written a new marker; `wa_upgrade_check_only` writes none."""
    marker: Facts = now.facts["marker"]
    return _message(now, marker, "marker") if marker.get("msg") else str(now.facts["split_volume"])


CHECKS = (
    Check("the run covers the deployment", "all hosts of the deployment", _left_out),
    Check("the run upgrades once", "no upgrade by an earlier play", _upgraded, skip=(CHECK_ONLY,)),
    Check(TARGET, "a version such as 2.53.4", _version, skip=(NO_TARGET,)),
    # Found out in the outage, a time-out of nothing would leave the client stopped.
    Check(VALUES, "values that the roles accept", _values),
    Check("the API password is set", "`wa_api_password`", _api_password, after=(VALUES,)),
    Check(
        "the folder and the password of the settings backup are set",
        "`wa_backup_dir`, `wa_backup_password`",
        _backup_password,
        after=(VALUES,),
        skip=(NO_TARGET, _skips("settings_backup", "expiry")),
        alone=True,
    ),
    Check(
        "the hooks can be run",
        "files on the controller that Ansible can load, without `meta`, `pause` and `add_host`",
        _hooks,
        leader=True,
        skip=(NO_HOOKS,),
        alone=True,
    ),
    Check(READ, "an answer of its Docker Engine, and files that can be read", _host_read, HOST),
    Check(
        "the client is the one of the inventory",
        "the identity that the inventory describes",
        lambda now: str(now.facts["identity"]),
        HOST,
        after=(VALUES,),
        subject="",
    ),
    Check("no other upgrade is in progress", "no lock of another run", _locked, HOST, skip=(TAKE_OVER,), subject=""),
    Check(
        HELD,
        "no `wa_client_hold`, and no file that holds the client",
        _held,
        HOST,
        subject="deployment",
    ),
    Check(
        "an unfinished upgrade is completed",
        "its target",
        _uncompleted,
        HOST,
        after=(TARGET,),
        skip=(FINISHED,),
        subject="deployment",
    ),
    # The members note who leads: the stages after the stop are in the leader's journal alone.
    Check(
        "the leader is that of the unfinished upgrade",
        "the leader in the host's journal",
        _other_leader,
        HOST,
        leader=True,
        subject="deployment",
    ),
    Check(PROJECT, "a project", _outside_compose, HOST),
    Check(
        "the client runs",
        "every container of the client running, and of a service in the inventory",
        _not_running,
        HOST,
        after=(PROJECT, HELD),
        skip=(UNFINISHED,),
    ),
    # What Compose files of the operator's mount is known after they are read.
    Check(
        "no registration and no media are lost",
        "both outside of the containers' own layers",
        lambda now: str(now.facts["loss"]),
        HOST,
        after=(VALUES,),
        skip=(NO_TARGET,),
    ),
    Check(
        "the target can be reached from the running version",
        "one running version, no newer than the target",
        _path,
        HOST,
        after=(TARGET,),
        skip=(NO_TARGET, UNFINISHED),
        subject="deployment",
    ),
    Check(
        "the leader has a Coreapp for the migration",
        "a Coreapp in the operator's Compose files",
        _no_coreapp,
        HOST,
        after=(VALUES,),
        leader=True,
        skip=(NO_TARGET, RENDERED, NOTHING),
    ),
    Check(
        "a copy of the database is made",
        "`wa_upgrade_dump`, `wa_upgrade_snapshot_command`, or `database_backup` in `wa_upgrade_skip`",
        _no_copy,
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
        _missing_images,
        HOST,
        after=(TARGET,),
        skip=(NO_TARGET,),
        alone=True,
    ),
    Check(
        "the registry has answered",
        "an answer for each image",
        _unanswered_images,
        HOST,
        after=(TARGET,),
        skip=(NO_TARGET,),
        alone=True,
    ),
    Check(
        "the images of the target are the builds that they are named after",
        "the registry's builds",
        _wrong_images,
        HOST,
        after=(TARGET,),
        skip=(NO_TARGET, UNFINISHED, NOTHING),
        alone=True,
    ),
    # What is pulled is looked at after that.
    Check(
        "the images of the target that are here have not expired",
        "none with an `EXPIRES_ON` before today",
        _expired,
        HOST,
        after=(TARGET,),
        skip=(NO_TARGET, UNFINISHED, NOTHING),
        alone=True,
    ),
    Check(
        "there is room for images and logs",
        "3 GiB for the images of the target, unless they are there, and 1 GiB for logs",
        _room,
        HOST,
        after=(VALUES,),
        skip=(NOTHING,),
        reported=True,
        alone=True,
    ),
    Check(
        "the version may be set in the operator's Compose files",
        "`wa_upgrade_update_compose_files`, or no version of the client in them",
        _operators_files,
        DEPLOYMENT,
        look="operators_files",
        skip=(NO_COMPOSE_DIR, NO_TARGET, NOTHING),
    ),
    # Going back before the migration starts what this file names.
    Check(
        "the Compose file names the running version",
        "the running version",
        _compose_file,
        DEPLOYMENT,
        skip=(UNFINISHED, NOTHING),
    ),
    Check(
        "the client is healthy",
        "good health",
        _unhealthy,
        DEPLOYMENT,
        look="health",
        leader=True,
        skip=(UNFINISHED, _skips(*_HEALTH)),
    ),
    # The start puts db.env in force, and the verification compares again.
    Check(
        "db.env and the media volume are in sync",
        "no difference",
        _drifted,
        DEPLOYMENT,
        look="drift",
        skip=(UNFINISHED,),
    ),
    Check(
        DATABASE,
        "an answer to the client's user",
        _database_read,
        DEPLOYMENT,
        leader=True,
        subject="deployment",
    ),
    Check(
        "the database is the one that was migrated",
        "tables as the migration has left them",
        _restored,
        DEPLOYMENT,
        after=(DATABASE,),
        leader=True,
        skip=(FINISHED, _skips("schema")),
        subject="deployment",
    ),
    Check(
        "nobody but the client's hosts uses its database",
        "no node and no session from elsewhere",
        _used_elsewhere,
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
        _no_dump,
        DEPLOYMENT,
        look="dumpable",
        after=(DATABASE,),
        leader=True,
        skip=(NO_DUMP, NO_TARGET, NOTHING, COPIED),
        subject="deployment",
        shows=_dump_takes,
    ),
    Check(
        "the database can be migrated",
        "a server that takes writes, an hour or no limit for a statement",
        _database,
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
        _messages,
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
        _media,
        DEPLOYMENT,
        skip=(ONE_HOST, UNFINISHED, NO_MARKER),
    ),
)

# Those that must not have failed for what takes longer to be read.
GATES = {one.name for one in CHECKS if one.needs != DEPLOYMENT and not one.alone}


def verdict(facts: Facts, inspected: bool = False) -> dict[str, t.Any]:
    """Returns the verdict on a host.

    `facts` have `host`, `deployment`, `run_hosts` (all hosts of the run), `check_only`, the role's options `version`, `skip`,
    `take_over`, `dump`, `snapshot_command`, `max_messages`, `topology`,
    `update_compose_files`; `no_gc` (why no GC may be called, or empty); `api_password` and `backup_password` (whether they are set);
    `images` (`wa_images`), `target_images`, `invalid` (refusals of values), `compose` (how Compose is called, or the refusal),
    `hooks` (refusals by path), `upgraded` (leaders of upgrades by earlier plays of the run), `commands` (`go_on`,
    `restored`, `take_over`), `secrets`, `today` (YYYY-MM-DD).

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
    `database_copy` (of the dump about `bytes` and `seconds`, and the `limit`; empty if it is not known), and `outage` (see
    `outage.expected`; empty where none begins).
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
    expiry = _expiry(now)
    shown = [*messages, *expiry] if messages else []
    return {
        "checks": [{key: value for key, value in one.items() if key not in ("message", "refusal")} for one in checks],
        "failures": messages,
        "message": shown[0] if len(shown) == 1 else shown,
        "looks": sorted(looks),
        "marks": now.leads and not now.facts["check_only"] and "drift" in looks and not ONE_HOST.applies(now),
        "lines": [_line(one) for one in checks],
        "notes": expiry + ([] if failed else _notes(now, refusals)),
        "check_only": bool(facts["check_only"]),
        "standing": now.standing,
        "needed": now.needed,
        "prepares": not now.unfinished and (now.needed or not now.target_given),
        "database_copy": now.facts["dumpable"].get("estimate") or {},
        "outage": _outage(now),
    }


def _outage(now: Observed) -> dict[str, t.Any]:
    if not (now.leads and now.needed) or now.unfinished:
        return {}
    copied = bool(now.facts["dump"] or now.facts["snapshot_command"])
    sample = (now.facts["dumpable"].get("estimate") or {}).get("seconds")
    return outage.expected(now.found.get("ended") or {}, sample, copied, str(now.facts["topology"]))


def _expiry(now: Observed) -> list[str]:
    """Returns a warning where the running version has expired, or will soon; none where its images have no day of expiry."""
    running = {str(one["image"]) for one in now.facts["clients"]}
    known = [one for one in now.found.get("images") or () if one["name"] in running and one["expires_on"]]
    if not known:
        return []
    first = min(known, key=lambda one: str(one["expires_on"]))
    day = str(first["expires_on"])
    try:
        left = (datetime.date.fromisoformat(day) - datetime.date.fromisoformat(str(now.facts["today"]))).days
    except ValueError:
        return []
    if left > _EXPIRES_SOON:
        return []
    found = f"expires in {left} days, on {day}" if left >= 0 else f"expired on {day}"
    cure = "Upgrade it before" if left >= 0 else "Upgrade it, with wa_upgrade_skip: [expiry]"
    return [
        f"{now.host}: warning: version {first['version']}, which runs, {found}. An expired client refuses health, GC and the "
        f"settings backup. {cure}."
    ]


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


def _unsupported(now: Observed) -> str:
    """Returns that the vendor does not support the database; empty if it does, or if nothing is to be upgraded."""
    why = (now.found.get("database") or {}).get("unsupported")
    if not why or NOTHING.applies(now):
        return ""
    return (
        f"{why}. Upgrade one client with a copy of the database first, and take a dump or a snapshot (wa_upgrade_dump, "
        "wa_upgrade_snapshot_command)."
    )


def _server_room(now: Observed) -> str:
    if not now.needed or now.migrated:
        return ""
    return requirements.server_room(now.found.get("database") or {}, now.facts["together"])


def _gc_due(now: Observed) -> str:
    """Returns that message GC is called after the checks; empty if it is not, or if only GC itself counts the rows."""
    counted = _counted(now)
    needless = now.facts["no_gc"] or "table_size" in now.skip or now.unfinished or NOTHING.applies(now)
    if needless or not counted["large"] or counted["rows"] is None:
        return ""
    return f"messages holds some {counted['rows']} rows, the limit is {now.facts['max_messages']}: message GC is due"


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
            takes = _dump_takes(now)
            notes.append(
                f"{now.name}: the dump will hold {', '.join(dump['databases'])}" + (f": {takes}" if takes else "")
            )
            notes += [f"{now.name}: {text}" for text in dump.get("left") or ()]
        notes += [f"{now.name}: {text}" for text in (_unsupported(now), _server_room(now), _gc_due(now)) if text]
    # Preparation goes on: what it cleans may make the room, and time for statements is given for the upgrade alone.
    notes += [f"{now.host}: {REFUSED}: {' '.join(refusals)}"] if refusals else []
    return notes


def of_deployment(
    deployment: Facts, verdicts: t.Mapping[str, Facts], run_hosts: t.Collection[str], reached: t.Collection[str]
) -> dict[str, t.Any]:
    """Returns the verdict on a deployment from those of its members. One that is not among the `reached` is a failed check.

    The result has `deployment`, `leader`, `reporter` (the leader, or else the first host that was reached), `passed`, `checks`,
    `failed`, `unready` (hosts with a failed check), `refusal` (for a member that has passed), `database_copy` and `outage` of the leader,
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
        **{name: (verdicts.get(deployment["leader"]) or {}).get(name) or {} for name in ("database_copy", "outage")},
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
