# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import re
import time
import typing as t

from ansible import context
from ansible.errors import AnsibleError, AnsibleFilterError

from ansible_collections.waba.onprem.plugins.module_utils._client import identity as client_identity
from ansible_collections.waba.onprem.plugins.module_utils._compose import messages as compose_messages
from ansible_collections.waba.onprem.plugins.module_utils._core import redact, units
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import failure_report, next_step
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import plan as upgrade_plan
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import report as upgrade_reports
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import rollout as upgrade_rollout
from ansible_collections.waba.onprem.plugins.plugin_utils import _command_line as command_line
from ansible_collections.waba.onprem.plugins.plugin_utils import _inventory as inventory
from ansible_collections.waba.onprem.plugins.plugin_utils import _machines as machines
from ansible_collections.waba.onprem.plugins.plugin_utils import _provision_plan as provision_plan
from ansible_collections.waba.onprem.plugins.plugin_utils import _restore_plan as restore_plan


def _with_ansible_errors(rule: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """Returns `rule` with WaError converted to AnsibleFilterError."""

    @functools.wraps(rule)
    def apply(*args: t.Any, **kwargs: t.Any) -> t.Any:
        try:
            return rule(*args, **kwargs)
        except WaError as error:
            raise AnsibleFilterError(str(error)) from None

    return apply


def _refusal(rule: t.Callable[..., t.Any]) -> t.Callable[..., str]:
    """Returns a function that returns the error of `rule` as text, empty if there is none, for an assertion of a role."""

    @functools.wraps(rule)
    def apply(*args: t.Any, **options: t.Any) -> str:
        try:
            rule(*args, **options)
        except WaError as error:
            return str(error)
        return ""

    return apply


def restored_line(files: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """Returns the files restored by `wa_client` for a message, with the names of the changed variables."""
    parts = [one["path"] + (f" ({', '.join(one['env_keys'])})" if one["env_keys"] else "") for one in files]
    return "the new " + " and ".join(parts)


def failure(result: t.Mapping[str, t.Any], secrets: t.Any = ()) -> str:
    """Returns the message of a failed task; for a loop over members, the message of each failed item with its host.

    The last line of a command's standard error is included. `secrets` and anything that looks like a secret are redacted:
    the task may have `no_log`.
    """
    return str(redact.redact(_failure(result), secrets))


def _failure(result: t.Mapping[str, t.Any]) -> str:
    parts = []
    for one in result.get("results") or []:
        if one.get("failed"):
            member = _member(one.get("item"))
            named = member and one.get("reached", True)  # of a member that was not reached the message names it
            parts.append((f"{member}: " if named else "") + (_message(one) or "no reason given"))
    return "; ".join(dict.fromkeys(parts)) or _message(result)


def _message(result: t.Mapping[str, t.Any]) -> str:
    stderr = [line.strip() for line in str(result.get("stderr") or "").splitlines() if line.strip()]
    said = str(result.get("msg") or "")
    command = result.get("cmd")
    if (
        isinstance(command, list)
        and command[:1] == ["timeout"]
        and "-k" in command
        and result.get("rc") in (124, 137, -9)
    ):
        killed = "" if result["rc"] == 124 else f", or was killed (code {result['rc']})"
        said = f"it had not ended after {command[command.index('-k') + 2]} s{killed}"
    message = ": ".join(text for text in (said.rstrip(".") if stderr else said, *stderr[-1:]) if text)
    return compose_messages.quoteless(message)


# The next two load what they need: at the top of this file each process of every run would.
def automatic_gc_skip_reason(*arguments: t.Any) -> str:
    """See `_concern.automatic_gc.skip_reason`."""
    from ansible_collections.waba.onprem.plugins.module_utils._concern import automatic_gc

    return automatic_gc.skip_reason(*arguments)


def old_version_problem(
    started: t.Mapping[str, t.Any], not_started: str, healthy: t.Mapping[str, t.Any], secrets: t.Any = ()
) -> str:
    """Returns why the old version does not serve again after a failed upgrade; empty if it does.

    `started` is the result of its start on all members, `not_started` why that has failed on some, and `healthy` the result of its health,
    which is good though a member is lost; a skipped one says nothing.
    """
    if all(one.get("failed") for one in started.get("results") or ()):
        return f"{not_started}; no host has started it" if not_started else "no host has started it"
    if healthy.get("skipped"):
        return not_started
    return "; ".join(filter(None, (not_started, failure(healthy, secrets)))) if healthy.get("msg") else ""


def unfinished(result: t.Mapping[str, t.Any]) -> list[str]:
    """Returns each member on which a step in a loop has failed, with the reason."""
    return [
        f"{_member(one['item'])}: {redact.mask(_message(one)) if one.get('reached', True) else 'cannot be reached'}"
        for one in result.get("results") or ()
        if one.get("msg")
    ]


def _member(item: t.Any) -> str:
    """Returns the host of a loop item: a member, or an item that contains one (an async job, a pair)."""
    while not isinstance(item, t.Mapping) or "host" not in item:
        if isinstance(item, t.Mapping):
            item = item.get("item")
        elif isinstance(item, (list, tuple)) and item:
            item = item[0]
        else:
            return ""
    return str(item["host"])


def playbook_command(name: str, variables: t.Mapping[str, t.Any] | None = None, limit: str | None = None) -> str:
    """Returns the command that runs a playbook with the inventory, limit, vault and hosts of this run."""
    return command_line.playbook(name, variables or {}, context.CLIARGS, limit)


def upgrade_report(facts: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Returns the result of an upgrade that ended well, or of a preparation."""
    return upgrade_reports.closing(facts, playbook_command("provision", {"wa_version": facts["target"]}))


def upgrade_failure(facts: t.Mapping[str, t.Any], hostvars: t.Mapping[str, t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """Returns the result of a failed upgrade, see `_upgrade.failure_report.screen`.

    `facts` are those of the role: `locked_with`, `looked` and `started` are results of loops, `leaders` those of all deployments, `last_of_wave` one of them.
    """
    leader, results = facts["leader"], facts["started"].get("results") or ()
    containers = _containers(facts["looked"])
    now = facts["asked"].get("journal") or {}  # the process that migrates may have written into it since
    journal = now if now.get("run_id") == facts["journal"].get("run_id", "none") else facts["journal"]
    locked = facts.get("leader_lost") or any(one.startswith(f"{leader}: ") for one in facts.get("still_locked", ()))
    resumes = {"wa_upgrade_version": facts["target"], **({"wa_upgrade_take_over": True} if locked else {})}
    notes = journal.get("notes") or {}
    command, without = (hostvars[leader].get(f"wa_{name}") for name in ("restore_snapshot_command", "upgrade_without"))
    restores = {
        "wa_version": facts["before"],
        # The copy of this upgrade, where the inventory has a command for a snapshot, too.
        **({"wa_restore": notes["manifest"]} if notes.get("manifest") and command else {}),
        **({} if notes.get("manifest") or command else {"wa_restore_snapshot_command": "COMMAND"}),
        **({"wa_upgrade_without": without} if without else {}),
    }
    limit = ",".join(str(member["host"]) for member in facts["members"])
    found = {
        "journal": journal,
        "upgrade_command": playbook_command("upgrade", resumes),
        "restore_command": playbook_command("restore", restores, limit),
        "ran": [one for one in _containers(facts["locked_with"]).get(leader, ()) if one["state"] == "running"],
        "containers": containers.pop(leader, None),
        "others": containers,
        "not_reached": [_member(one["item"]) for one in results if "reached" in one and _member(one["item"]) != leader],
        "left_alone": upgrade_rollout.left_alone(
            facts["leaders"],
            facts["last_of_wave"],
            [one for one in facts["leaders"] if "__wa_upgrade_failed_at" in hostvars[one]],
        ),
    }
    return failure_report.failed({**facts, **found})


def _containers(results: t.Iterable[t.Mapping[str, t.Any]]) -> dict[str, list[t.Mapping[str, t.Any]]]:
    """Returns the containers of each member's project, from the results of a loop."""
    return {
        _member(one["item"]): [each for each in one["containers"] if each["project"] == one["item"]["project"]]
        for one in results
        if "containers" in one
    }


def provision_plan_of(hostvars: t.Mapping[str, t.Mapping[str, t.Any]], members: t.Sequence[str]) -> dict[str, t.Any]:
    """Returns what provision.yml does on a host, from the comparisons of its deployment's `members`.

    `roles` are the concerns whose roles run; `waits` says whether they may restart the client, so that the hosts wait for their wave, and
    `starts` whether what is stopped is started until then: not where the run confirms another client, whose database the successor uses.
    """
    results = _results(hostvars, members)
    roles = provision_plan.concerns(results)
    waits = bool(roles) and provision_plan.may_restart(results)
    return {"roles": roles, "waits": waits, "starts": waits and not hostvars[members[0]].get("wa_confirm_identity")}


def provision_rollout(
    hostvars: t.Mapping[str, t.Mapping[str, t.Any]], hosts: t.Iterable[str], checked: bool = False
) -> dict[str, t.Any]:
    """Returns which of the compared `hosts` provision.yml corrects, and how their restarts follow each other.

    `hosts` are all, as patterns; `lines` are for the operator; `waves` are those whose client may be restarted, with `checked` only those
    that no check has refused; `waiting` are the same as patterns, and `batches` the sizes of their batches. The first host's
    `wa_provision_waves` counts: a play has no variables of a host.
    """
    results = {host: one for host, one in _results(hostvars, (one for one in hosts if one in hostvars)).items() if one}
    given = next((hostvars[host].get("wa_provision_waves") for host in results), None)
    sizes = upgrade_plan.waves([1, "10%", "100%"] if given is None else given)
    at_once, restarting = provision_plan.to_correct(results)
    if checked:
        restarting = [members for members in restarting if all("__wa_waits" in hostvars[one] for one in members)]
    waves = provision_plan.waves(restarting, sizes)
    batches = provision_plan.batches(waves)
    waiting = [host for batch in batches for host in batch]
    return {
        "hosts": [_pattern(host) for host in [*at_once, *waiting]],
        "waves": waves,
        "lines": [*provision_plan.split_lines(results), *provision_plan.wave_lines(waves)],
        "waiting": [_pattern(host) for host in waiting],
        "batches": [len(batch) for batch in batches] or [1],
    }


def restart_turn(rollout: t.Mapping[str, t.Any], host: str, failed: t.Collection[str] = ()) -> dict[str, t.Any]:
    """Returns which of the `failed` hosts keep a host of a `rollout` from its restart, and as text whom its own failure keeps back."""
    return {
        "failed": provision_plan.failed_before(rollout["waves"], host, failed),
        "keeps_back": provision_plan.kept_back(rollout["waves"], host),
    }


def failing_hosts(hostvars: t.Mapping[str, t.Mapping[str, t.Any]]) -> list[str]:
    """Returns the hosts that fail status.yml, as patterns, from the result that it has registered."""
    found = next((hostvars[host].get("wa_status_result") for host in hostvars), None) or {}
    return [_pattern(host) for host in found.get("failing") or ()]


def _pattern(host: str) -> str:
    if re.fullmatch(r"\w[\w.-]*", host):
        return host
    return "~^" + re.sub(r"[^\w.-]", lambda match: f"\\u{ord(match[0]):04x}", host) + "$"


def _results(
    hostvars: t.Mapping[str, t.Mapping[str, t.Any]], hosts: t.Iterable[str]
) -> dict[str, t.Mapping[str, t.Any]]:
    return {host: hostvars[host].get("wa_drift") or {} for host in hosts}


def rollout_turn(facts: t.Mapping[str, t.Any], hostvars: t.Mapping[str, t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """Returns whether a leader's deployment may be upgraded now, see `_upgrade.rollout.turn`."""

    def result(host: str, name: str) -> t.Mapping[str, t.Any]:
        found: t.Mapping[str, t.Any] = hostvars[host].get(name) or {}
        return found

    verdicts = {one: result(one, "__wa_upgrade_verdict") for one in facts["all"]}
    return upgrade_rollout.turn(
        facts,
        upgraded=[one for one in facts["all"] if result(one, "wa_upgrade_result").get("outcome") == "upgraded"],
        kept_back=[one for one in facts["all"] if result(one, "__wa_upgrade_asked").get("failed")],
        due=[one for one, found in verdicts.items() if found.get("needed") and not found["unfinished"]],
        now=time.time(),
    )


def host_refusal(
    facts: t.Mapping[str, t.Any],
    hostvars: t.Mapping[str, t.Mapping[str, t.Any]],
    hosts: t.Sequence[str],
    host: str,
    lock_left: bool = False,
) -> str:
    """Returns why a `host` must not be changed; empty if it may.

    `facts` are those of the lookup `desired` for `identity`, with `file`, the database in db.env. With `lock_left` its lock is known to be
    one that an ended upgrade has left.
    """
    found = hostvars[host]["__wa_host_found"]
    members = [one for one in facts["deployment"]["members"] if one in hosts]
    looks = {one: hostvars[one].get("__wa_host_found") or {} for one in members}

    def another(attributes: t.Sequence[str]) -> str:
        return _refusal(client_identity.refusal)({**facts, "attributes": attributes, "looks": looks})

    if "containers" not in found:  # gc.yml needs no more than the state at the leader
        return another(("leader", "deployment"))
    lock, project, outside = found["upgrade"], facts["deployment"]["project"], found["guard"]["refusal"]
    orphan = found["orphan_migrations"].get(project)
    if not lock_left and lock.get("blocking"):
        return f"{host}: {lock['message']}: {playbook_command(lock['playbook'], lock['resume'])}"
    if not lock_left and lock.get("held"):
        return f"{host}: {lock['message']}."
    if orphan and not lock.get("blocking"):
        return (
            f"{host}: no client runs, and a migration to {orphan} was started here (service dbupgrade of project {project}) of whose "
            "upgrade no journal is left. After a restore of the database, remove that container; otherwise run the upgrade again, which "
            f"goes on from there: {playbook_command('upgrade', {'wa_upgrade_version': orphan})}"
        )
    return another(client_identity.ATTRIBUTES) or (f"{host}: {outside}. Nothing was changed." if outside else "")


def gc_turns(hostvars: t.Mapping[str, t.Mapping[str, t.Any]], hosts: t.Iterable[str]) -> dict[str, int]:
    """Returns the turn of each host, such that no two deployments of a turn have one database server, by its name and port.

    Each day another deployment is the first one, so that the end of the window cuts off no other one every night. A host whose variables
    are wrong is in the first turn, where its own task fails.
    """
    turns, places = {}, {}
    taken: dict[str, dict[str, int]] = {}  # turns of deployments by server
    for host in hosts:
        try:
            name, _project, database = topology.database_of(hostvars, host)
        except (AnsibleError, WaError):  # also of a variable that cannot be templated
            turns[host] = 0
            continue
        used = taken.setdefault(database.rpartition("/")[0] or f"deployment {name}", {})
        places[host] = (used.setdefault(name, len(used)), used)
    day = time.gmtime().tm_yday
    return {**turns, **{host: (turn + day) % len(used) for host, (turn, used) in places.items()}}


def restore_plan_of(
    facts: t.Mapping[str, t.Any], hostvars: t.Mapping[str, t.Mapping[str, t.Any]], reached: t.Collection[str]
) -> dict[str, t.Any]:
    """Returns what restore.yml does, see `_restore_plan.of_hosts`. Raises WaError for a variable that is not for one run."""
    for name, given in (
        ("wa_restore", facts["asked"]),
        ("wa_restore_accept_lost", facts["accept_lost"]),
        ("wa_restore_drill", facts["drill"]),
        ("wa_restore_remove_former", facts["remove_former"]),
    ):
        inventory.assert_for_one_run(name, given or None)
    return restore_plan.of_hosts(facts, hostvars, reached)


def inventory_read(hostvars: t.Mapping[str, t.Mapping[str, t.Any]], groups: t.Mapping[str, t.Sequence[str]]) -> bool:
    """Reads the roles' files and the machines of all hosts, and returns True.

    Used in the condition of a meta task, which Ansible evaluates before it forks workers: they inherit the caches.
    """
    inventory.warm()
    machines.read(hostvars, groups)
    return True


class FilterModule:
    """Filters of the roles, most of them over rules in `module_utils`."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {
            "host_refusal": host_refusal,
            "automatic_gc_skip_reason": automatic_gc_skip_reason,
            "version": _with_ansible_errors(topology.normalise_version),
            "version_refusal": _refusal(topology.normalise_version),
            "text_list": _with_ansible_errors(units.text_list),
            "whole_seconds": _with_ansible_errors(lambda text, name: units.whole_seconds(name, text)),
            "leaders": _with_ansible_errors(upgrade_plan.leaders),
            "rollout_turn": _with_ansible_errors(rollout_turn),
            "rollout_waves": _with_ansible_errors(upgrade_plan.waves),
            "old_version_problem": old_version_problem,
            "restored_line": restored_line,
            "failure": failure,
            "restore_plan": _with_ansible_errors(restore_plan_of),
            "provision_plan": provision_plan_of,
            "provision_rollout": _with_ansible_errors(provision_rollout),
            "restart_turn": restart_turn,
            "failing_hosts": failing_hosts,
            "gc_turns": gc_turns,
            "inventory_readiness": inventory_read,
            "upgrade_report": upgrade_report,
            "upgrade_failure": upgrade_failure,
            "failed_stage": next_step.failed_stage,
            "failure_lines": unfinished,
        }
