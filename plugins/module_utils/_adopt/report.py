# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of an adoption, as lines: what needs an action, then what runs, what will change, what is not understood.

Pure rules.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._adopt import registration
from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import (
    Action,
    Client,
    Described,
    Survey,
    one_off_containers,
)
from ansible_collections.waba.onprem.plugins.module_utils._adopt.grouping import Grouped
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MEDIA_FOLDER


@dataclass
class Deployment:
    """One deployment with its members, and what is said of each by the member's name."""

    name: str
    members: t.Sequence[Client]
    topology: str
    version: str
    described: t.Mapping[str, Described] = field(repr=False)


# The order of actions: what is lost for ever first.
SETTINGS, REGISTRATION, LEFT, OTHER, QUESTION = range(5)
State = dict[str, t.Any]


def state(
    earlier: t.Mapping[str, t.Any],
    deployments: t.Sequence[Deployment],
    grouped: Grouped,
    surveys: t.Mapping[str, Survey],
    failed: t.Mapping[str, str],
    hosts: t.Mapping[str, t.Mapping[str, t.Any]],
) -> State:
    """Returns what the report says, which adds up: what an `earlier` run has said of hosts that this one does not read stays.

    `hosts` are those of the inventory. The result has plain values, and is recorded.
    """
    names = {one["deployment"] for one in hosts.values()}
    sections = {name: one for name, one in earlier.get("deployments", {}).items() if name in names}
    for each in deployments:
        sections[each.name] = {**_section(each), "settings": sections.get(each.name, {}).get("settings", {})}
    read = {*surveys, *failed}
    others = {host: one for host, one in earlier.get("hosts", {}).items() if host not in read}
    for host in sorted(read):
        others[host] = {"actions": [], "lines": []}
    for kind, left in ((LEFT, grouped.left), (QUESTION, grouped.questions)):
        for clients, action in left:
            who = ", ".join(client.name for client in clients)
            others[min(client.host for client in clients)]["actions"].append(_action(who, kind, action))
    for name, action in grouped.absent.items():
        others[hosts[name]["machine"]]["actions"].append(_action(name, LEFT, action))
    retry = "Correct it, and run adopt.yml again; the other hosts are in the inventory"
    for host, why in failed.items():
        others[host]["actions"].append(_action(host, LEFT, Action(("it was not read", why), (retry,))))
    clients_at = {client.host for one in deployments for client in one.members}
    clients_at |= {client.host for clients, _action_of in grouped.left for client in clients}
    for host in {*surveys} - clients_at:
        found = "; ".join(one_off_containers(surveys[host]["containers"]))
        others[host]["lines"].append(f"{host}: {found or 'no container of the client, running or stopped'}")
    return {
        "deployments": dict(sorted(sections.items())),
        "hosts": {host: one for host, one in sorted(others.items()) if one["actions"] or one["lines"]},
        "read": sorted(read),
        "left": sorted(
            {client.name for clients, _action_of in grouped.left for client in clients if client.name not in hosts}
        ),
    }


def _action(who: str, kind: int, action: Action) -> State:
    return {
        "who": who,
        "kind": kind,
        "facts": list(action.facts),
        "steps": list(action.steps),
        "otherwise": action.otherwise,
    }


def _section(one: Deployment) -> State:
    actions = []
    for kind, number in (("registration", REGISTRATION), ("actions", OTHER)):
        actions += [
            _action(", ".join(names), number, action) for action, names in _by_text(one.described, kind).items()
        ]
    return {
        "hosts": [client.name for client in one.members],
        "machines": sorted({client.host for client in one.members}),
        "running": any(each["state"] == "running" for client in one.members for each in client.containers),
        "actions": actions,
        "lines": _deployment(one),
        "compose": compose_files(one),
    }


def lines(found: State, options: str) -> list[str]:
    """Returns the whole report. `options` are those of this run's command line, for its commands."""
    written = ["# Adoption report", "", "No host was changed. No container was restarted."]
    earlier = sorted({host for one in found["deployments"].values() for host in one["machines"]} - {*found["read"]})
    if earlier:
        written += [f"Read in this run: {', '.join(found['read'])}. Of earlier runs: {', '.join(earlier)}."]
    missing = {
        name: one for name, one in found["deployments"].items() if one["running"] and not one["settings"].get("file")
    }
    actions = _ordered(found, missing)
    written += ["", "## Needs an action", "", *_numbered(actions, options), ""]
    for one in found["deployments"].values():
        kept = one["settings"].get("file")
        written += [*one["lines"], *([f"Settings backup: {kept}", ""] if kept else [])]
    without = [line for one in found["hosts"].values() for line in one["lines"]]
    written += _list("## Hosts without a client", without)
    if not found["deployments"]:
        end = (
            "Nothing was adopted yet."
            if found["left"]
            else "There is nothing to adopt. provision.yml sets up a new client."
        )
        return [*written, *(_first(actions[:3]) if actions else []), end]
    play = f"ansible-playbook -i inventory.yml{options} waba.onprem."
    provision = f"{play}provision --check --diff"
    first = [
        *(
            [
                "Put wa_api_password, wa_backup_password and wa_backup_dir into the inventory (`ansible-vault edit`), then make the settings backup"
            ]
            if missing
            else []
        ),
        *(_short(number, one) for number, one in enumerate(actions, start=1) if one["kind"] != SETTINGS),
    ][:2]
    first.append(
        f"See what provision.yml would change{f': `{provision}`' if missing else ''}; without --check --diff it changes it"
    )
    command = f"{play}backup" if missing else provision
    return [*written, *_first(first), "Next, in the folder of this report:", "", f"    {command}"]


def _first(texts: t.Iterable[t.Any]) -> list[str]:
    shown = (text if isinstance(text, str) else _short(number, text) for number, text in enumerate(texts, start=1))
    return ["## What to do first", "", *(f"{number}. {text}" for number, text in enumerate(shown, start=1)), ""]


def _short(number: int, action: State) -> str:
    return f"{action['who']}: {action['facts'][0]} (entry {number} above)"


def _ordered(found: State, missing: t.Mapping[str, State]) -> list[State]:
    actions = [action for one in found["deployments"].values() for action in one["actions"]]
    actions += [action for one in found["hosts"].values() for action in one["actions"]]
    return [*_no_settings(missing, found["left"]), *sorted(actions, key=lambda one: int(one["kind"]))]


def _no_settings(missing: t.Mapping[str, State], left: t.Sequence[str]) -> list[State]:
    """The first entry: clients without a settings backup."""
    if not missing and not left:
        return []
    facts = [
        "no settings backup is known: if the registration is lost, the number must be registered again",
        *(f"{name}: {one['settings']['problem']}" for name, one in missing.items() if one["settings"].get("problem")),
        *([f"{', '.join(left)}: not in the inventory yet, so that none can be made by the collection"] if left else []),
    ]
    step = (
        "Set wa_api_password, wa_backup_password and wa_backup_dir, and run adopt.yml again without --check: it makes one (so does "
        "backup.yml)"
    )
    who = ", ".join([*(host for one in missing.values() for host in one["hosts"]), *left])
    return [_action(who, SETTINGS, Action(tuple(facts), (step,)))]


def _numbered(actions: t.Sequence[State], options: str) -> list[str]:
    written = []
    for number, one in enumerate(actions, start=1):
        first, *more = one["facts"]
        written.append(f"{number}. {one['who']}: {first}")
        written += [f"   - {text}" for text in more]
        steps = [step.replace(registration.OPTIONS, options) for step in one["steps"]]
        written += [f"   - To do: {steps[0]}"] if len(steps) == 1 else ["   - To do:"]
        written += [f"     {count}. {step}" for count, step in enumerate(steps, start=1) if len(steps) > 1]
        written += [f"   - Or: {one['otherwise']}"] if one["otherwise"] else []
    return written or ["Nothing."]


def _deployment(one: Deployment) -> list[str]:
    found = [f"## {one.name}: {one.topology}, version {one.version or 'unknown'}", ""]
    for client in one.members:
        found += _host(client, one.described[client.name])
    found += _list("When provision.yml runs:", ["no running container is restarted", *_part(one, "changes")])
    found += _list(
        "Restart pending, until upgrade.yml runs or you set wa_client_restart: now (what the Compose files say differs from what "
        "runs):",
        _part(one, "pending"),
    )
    found += _list("When upgrade.yml runs:", _part(one, "upgrade"))
    found += _list("Not looked after by the collection:", _part(one, "unmanaged"))
    found += _list("Not understood or not carried over:", _part(one, "notes"))
    return found + _list("Could be better:", _part(one, "advice"))


def compose_files(one: Deployment) -> list[str]:
    """Returns the end of `report.md`, which is not displayed: the role's Compose files of a client that has none."""
    found: list[str] = []
    for name, described in one.described.items():
        title, text = f"## The role's Compose file for {name}", described.compose_file
        found += ["", title, "", "```yaml", *text.splitlines(), "```"] if text else []
    return found


def _host(client: Client, described: Described) -> list[str]:
    """What runs on one host."""
    environment, file = client.environment, client.env_file
    where = "" if client.name == client.host else f" (on {client.host})"
    prefix = environment.get("WA_DB_NAME_PREFIX")
    version = f"{environment.get('WA_DB_ENGINE', 'engine unknown')} at {environment.get('WA_DB_HOSTNAME', 'unknown')}"
    media = sorted(
        {
            f"{kind} {source}"
            for one in client.containers
            for kind, source, path in one["mounts"]
            if path.rstrip("/") == MEDIA_FOLDER
        }
    )
    facts = [
        f"project: {client.project}" if client.project else "project: none (docker run)",
        *(
            f"container {one['name']}: {client.words[one['name']]}, {one['state']}, {one['image']}"
            for one in client.containers
        ),
        f"database: {version}:{environment.get('WA_DB_PORT', '')}, {f'prefix {prefix}' if prefix else 'no prefix'}",
        f"database settings: {file['path']}"
        if file
        else "database settings: no env file was found; read from the containers",
        f"media: {', '.join(media) or 'not mounted'}",
        *described.autostart,
    ]
    return _list(f"{client.name}{where} runs:", facts)


def _by_text(described: t.Mapping[str, Described], kind: str) -> dict[t.Any, list[str]]:
    """The entries of all members, each once, with the members that it is about."""
    found: dict[t.Any, list[str]] = {}
    for name, one in described.items():
        for entry in dict.fromkeys(getattr(one, kind)):
            found.setdefault(entry, []).append(name)
    return found


def _part(one: Deployment, kind: str) -> list[str]:
    """One list of a deployment; an entry about all members names none."""
    every = len(one.described)
    return [
        text if len(names) == every else f"{', '.join(names)}: {text}"
        for text, names in _by_text(one.described, kind).items()
    ]


def _list(title: str, texts: t.Sequence[str]) -> list[str]:
    return [title, "", *(f"- {text}" for text in texts), ""] if texts else []
