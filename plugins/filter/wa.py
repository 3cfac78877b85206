# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import typing as t
from datetime import datetime

import yaml
from ansible import context
from ansible.errors import AnsibleFilterError
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.waba.onprem.plugins.module_utils._client import identity as client_identity
from ansible_collections.waba.onprem.plugins.module_utils._client import replacement, unmanaged
from ansible_collections.waba.onprem.plugins.module_utils._client import starts as client_starts
from ansible_collections.waba.onprem.plugins.module_utils._compose import messages as compose_messages
from ansible_collections.waba.onprem.plugins.module_utils._core import redact, units
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import (
    client_containers,
    layout,
    paths,
    topology,
    upgrade_journal,
)
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import failure_report, hooks
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import plan as upgrade_plan
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import requirements as upgrade_requirements
from ansible_collections.waba.onprem.plugins.plugin_utils import _command_line as command_line
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired as desired
from ansible_collections.waba.onprem.plugins.plugin_utils import _inventory as inventory
from ansible_collections.waba.onprem.plugins.plugin_utils import _machines as machines
from ansible_collections.waba.onprem.plugins.plugin_utils import _provision_plan as provision_plan
from ansible_collections.waba.onprem.plugins.plugin_utils import _values as values


def _with_ansible_errors(rule: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """`rule` with its errors in Ansible's own kind."""

    @functools.wraps(rule)
    def apply(*args: t.Any, **kwargs: t.Any) -> t.Any:
        try:
            return rule(*args, **kwargs)
        except WaError as error:
            raise AnsibleFilterError(str(error)) from None

    return apply


def _refusal(rule: t.Callable[..., t.Any]) -> t.Callable[..., str]:
    """Why `rule` refuses what it is given, for an assertion of a role; an empty text when it does not."""

    @functools.wraps(rule)
    def apply(*args: t.Any, **options: t.Any) -> str:
        try:
            rule(*args, **options)
        except WaError as error:
            return str(error)
        return ""

    return apply


def container_line(container: t.Mapping[str, t.Any]) -> str:
    """One container of `wa_info` for a message: name, image, project, state."""
    project = f"project {container['project']}" if container["project"] else "outside Compose"
    return f"{container['name']} ({container['image']}, {project}, {container['state']})"


def stale_line(container: t.Mapping[str, t.Any]) -> str:
    """One container of `wa_db_env` that was created with another db.env, for a message: its name and the keys."""
    return f"{container['name']} ({', '.join(container['stale_keys'])})"


def restored_line(files: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """The files that `wa_client_files` has put back, for a message, with the names of the variables that had changed."""
    told = [one["path"] + (f" ({', '.join(one['env_keys'])})" if one["env_keys"] else "") for one in files]
    return "the new " + " and ".join(told)


def in_window(now: str, window: str) -> bool:
    """Whether a time of the day such as `02:30` lies in a window such as `01:00-05:00`, which may pass midnight."""
    return units.until_window(units.parse_window(window), datetime.strptime(now, "%H:%M")) == 0


class _AnyTag(yaml.SafeLoader):
    """Reads what a file of tasks may hold, without a meaning for tags such as `!vault`."""


_AnyTag.add_multi_constructor("!", lambda _loader, _suffix, _node: "")


def hook_refusal(text: str, path: str) -> str:
    """Why the file of tasks `path`, which holds `text`, cannot be a hook of an upgrade, or an empty text."""
    try:
        return hooks.refusal(path, yaml.load(text, Loader=_AnyTag))
    except yaml.YAMLError as error:
        return f"{path}: no YAML: {' '.join(str(error).split())}."


def failure(result: t.Mapping[str, t.Any], secrets: t.Any = ()) -> str:
    """What a failed task says; of a loop over members, what each of those that failed says, with its host.

    A command's own last line of complaint goes with it. Known `secrets` and what looks like one are taken out: the task may
    have been hidden for their sake.
    """
    return str(redact.redact(_failure(result), secrets))


def _failure(result: t.Mapping[str, t.Any]) -> str:
    told = []
    for one in result.get("results") or []:
        if one.get("failed"):
            member = _member(one.get("item"))
            told.append((f"{member}: " if member else "") + (_said(one) or "no reason given"))
    return "; ".join(dict.fromkeys(told)) or _said(result)


def _said(result: t.Mapping[str, t.Any]) -> str:
    complaint = [line.strip() for line in str(result.get("stderr") or "").splitlines() if line.strip()]
    said = ": ".join(text for text in (str(result.get("msg") or ""), *complaint[-1:]) if text)
    return compose_messages.quoteless(said)


def left(result: t.Mapping[str, t.Any], host: str) -> list[str]:
    """Where a task that may fail has not done its work, each with the reason: of a loop over members, or at `host`."""
    asked = result.get("results", [result])
    return [
        f"{_member(one.get('item')) or host}: {'cannot be reached' if one.get('unreachable') else redact.mask(_said(one))}"
        for one in asked
        if one.get("unreachable") or one.get("msg")
    ]


def unreachable_hosts(result: t.Mapping[str, t.Any], host: str) -> list[str]:
    """The hosts that a task did not reach: of a loop over members each of those, otherwise `host`, which it was for."""
    asked = result.get("results") or [result]
    return list(dict.fromkeys(_member(one.get("item")) or host for one in asked if one.get("unreachable")))


def _member(item: t.Any) -> str:
    """The host of a loop's item: a member's own, or one that holds a member's: a job that is awaited, a pair with it."""
    while not isinstance(item, t.Mapping) or "host" not in item:
        if isinstance(item, t.Mapping):
            item = item.get("item")
        elif isinstance(item, (list, tuple)) and item:
            item = item[0]
        else:
            return ""
    return str(item["host"])


def playbook_command(name: str, variables: t.Mapping[str, t.Any] | None = None, limit: str | None = None) -> str:
    """The command that runs a playbook of the collection as this run does: inventory, limit, vault, hosts."""
    return command_line.playbook(name, variables or {}, context.CLIARGS, limit)


def upgrade_screen(facts: t.Mapping[str, t.Any]) -> str:
    """What is said when an upgrade has failed."""
    commands: dict[str, t.Any] = {
        "upgrade_command": playbook_command("upgrade", {"wa_upgrade_version": facts["target"]}),
        "provision_command": playbook_command("provision", {"wa_version": facts["before"]}),
    }
    return failure_report.screen(failure_report.Failure(**facts, **commands))


def provision_plan_of(
    hostvars: t.Mapping[str, t.Mapping[str, t.Any]], members: t.Sequence[str], full: t.Any = False
) -> list[str]:
    """The concerns whose roles provision.yml enters for a host, by the looks at the members of its deployment in this run."""
    return provision_plan.concerns(_looks(hostvars, members), full=boolean(full))


def hosts_to_correct(hostvars: t.Mapping[str, t.Mapping[str, t.Any]], full: t.Any = False) -> list[str]:
    """The hosts that provision.yml enters roles for, by the looks of this run."""
    return provision_plan.hosts_to_correct(
        {host: look for host, look in _looks(hostvars, hostvars).items() if look}, full=boolean(full)
    )


def _looks(hostvars: t.Mapping[str, t.Mapping[str, t.Any]], hosts: t.Iterable[str]) -> dict[str, t.Mapping[str, t.Any]]:
    return {host: hostvars[host].get("wa_drift") or {} for host in hosts}


def inventory_read(hostvars: t.Mapping[str, t.Mapping[str, t.Any]], groups: t.Mapping[str, t.Sequence[str]]) -> bool:
    """True, once the roles' files and where all hosts are have been read.

    In the condition of a meta task, which Ansible evaluates before it forks workers, that is done once for all of them.
    """
    inventory.warm()
    machines.read(hostvars, groups)
    return True


class FilterModule:
    """The few filters that roles need over the rules of `_deployment.topology`, `_deployment.layout` and `_upgrade.plan`."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {
            "client_identity": _with_ansible_errors(client_identity.wanted_identity),
            "client_identity_refusal": _refusal(client_identity.refusal),
            "deployment": _with_ansible_errors(topology.deployment),
            "deployment_of": _with_ansible_errors(topology.described),
            "version": _with_ansible_errors(topology.normalise_version),
            "version_refusal": _refusal(topology.normalise_version),
            "upgrade_path": _with_ansible_errors(topology.check_jump),
            "upgrade_path_refusal": _refusal(topology.check_jump),
            "layout": _with_ansible_errors(layout.layout),
            "projects_at": _with_ansible_errors(machines.neighbours),
            "in_window": _with_ansible_errors(in_window),
            "text_list": _with_ansible_errors(units.words),
            "folder": _with_ansible_errors(lambda path, name: paths.folder(name, path)),
            "path": _with_ansible_errors(lambda path, name: paths.normalise(name, path)),
            "whole_seconds": _with_ansible_errors(lambda text, name: units.whole_seconds(name, text)),
            "checked_variables": values.checked,
            "value_refusals": values.refusals,
            "compose_message": compose_messages.one_line,
            "compose_refusal": _with_ansible_errors(upgrade_requirements.compose),
            "client_images": _with_ansible_errors(client_containers.repositories),
            "registries": _with_ansible_errors(client_containers.registries),
            "env_lines": _with_ansible_errors(desired.env_lines),
            "hook_refusal": hook_refusal,
            "leaders": _with_ansible_errors(upgrade_plan.leaders),
            "always_restarted": _with_ansible_errors(upgrade_plan.restless),
            "rollout_waves": _with_ansible_errors(upgrade_plan.waves),
            "orphan_migration": _with_ansible_errors(upgrade_plan.orphan_migration),
            "old_images": _with_ansible_errors(upgrade_plan.old_images),
            "lock_counts": upgrade_journal.counts,
            "room_problem": _with_ansible_errors(upgrade_requirements.room),
            "database_copy_problems": upgrade_requirements.database_copy,
            "session_line": upgrade_requirements.sessions,
            "database_problems": _with_ansible_errors(upgrade_requirements.database),
            "container_line": container_line,
            "removed_by_a_stop": replacement.removed_by_a_stop,
            "layer_refusal": replacement.lost_with_layers,
            "recreation_refusal": replacement.lost_by_recreation,
            "stale_line": stale_line,
            "restored_line": restored_line,
            "sort_unmanaged": unmanaged.sort,
            "databases_of_others": _with_ansible_errors(machines.databases_of_others),
            "set_aside": replacement.set_aside,
            "other_media_volume": replacement.other_media,
            "second_coreapp": client_starts.second_coreapp,
            "unhealthy_containers": client_starts.not_healthy,
            "unrecorded_containers": client_starts.unrecorded,
            "failure": failure,
            "provision_plan": provision_plan_of,
            "hosts_to_correct": hosts_to_correct,
            "inventory_read": inventory_read,
            "command_line": playbook_command,
            "upgrade_screen": upgrade_screen,
            "upgrade_standing": failure_report.standing,
            "unfinished_upgrade": left,
            "unreachable_hosts": unreachable_hosts,
            "holds_secret": redact.holds_secret,
            "redact": redact.redact,
        }
