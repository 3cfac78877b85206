# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of an adoption, as lines: what needs an action, then what runs, and what is not understood. What provision.yml changes it
says itself, with --check --diff.

Pure rules.
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import asdict, dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._adopt import registration
from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import (
    Action,
    Client,
    Described,
    Survey,
    one_off,
)
from ansible_collections.waba.onprem.plugins.module_utils._adopt.grouping import Left


@dataclass
class Deployment:
    """One deployment with its members, and what is said of each by the member's name."""

    name: str
    members: t.Sequence[Client]
    topology: str
    version: str
    described: t.Mapping[str, Described] = field(repr=False)


State = dict[str, t.Any]
T = t.TypeVar("T")


def state(
    earlier: t.Mapping[str, t.Any],
    deployments: t.Sequence[Deployment],
    left: t.Sequence[Left],
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
    for one in left:
        others[min(one.hosts)]["actions"].append(_action(", ".join(one.names), one.action))
    retry = "Correct it, and run adopt.yml again; the other hosts are in the inventory"
    for host, why in failed.items():
        others[host]["actions"].append(_action(host, Action(("it was not read", why), (retry,))))
    clients_at = {client.host for each in deployments for client in each.members}
    clients_at |= {host for one in left for host in one.hosts}
    for host in {*surveys} - clients_at:
        found = "; ".join(one_off(one) for one in surveys[host]["containers"] if one["one_shot"])
        others[host]["lines"].append(f"{host}: {found or 'no container of the client, running or stopped'}")
    return {
        "deployments": dict(sorted(sections.items())),
        "hosts": {host: one for host, one in sorted(others.items()) if one["actions"] or one["lines"]},
        "read": sorted(read),
        "left": sorted({name for one in left for name in one.names if name not in hosts}),
    }


def _action(who: str, action: Action) -> State:
    return {"who": who, **json.loads(json.dumps(asdict(action)))}


def _section(one: Deployment) -> State:
    actions = _by_text({name: each.actions for name, each in one.described.items()})
    return {
        "hosts": [client.name for client in one.members],
        "machines": sorted({client.host for client in one.members}),
        "running": any(each["state"] == "running" for client in one.members for each in client.containers),
        "actions": [_action(", ".join(names), action) for action, names in actions.items()],
        "lines": _deployment(one),
        # The end of `report.md`, which is not displayed: the role's Compose files of a client that has none.
        "compose": [
            line
            for name, each in one.described.items()
            if each.compose_file
            for line in (
                "",
                f"## The role's Compose file for {name}",
                "",
                "```yaml",
                *each.compose_file.splitlines(),
                "```",
            )
        ],
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
    everything = [*found["deployments"].values(), *found["hosts"].values()]
    entries = sorted((action for one in everything for action in one["actions"]), key=lambda one: int(one["kind"]))
    actions = [*_no_settings(missing, found["left"]), *entries]
    written += ["", "## Needs an action", "", *_numbered(actions, options), ""]
    for one in found["deployments"].values():
        kept = one["settings"].get("file")
        written += [*one["lines"], *([f"Settings backup: {kept}", ""] if kept else [])]
    written += _list("## Hosts without a client", [line for one in found["hosts"].values() for line in one["lines"]])
    first = [f"{one['who']}: {one['facts'][0]} (entry {number} above)" for number, one in enumerate(actions, start=1)]
    if not found["deployments"]:
        nothing = "There is nothing to adopt. provision.yml sets up a new client."
        return [*written, *_first(first[:3]), "Nothing was adopted yet." if found["left"] else nothing]
    play = f"ansible-playbook -i inventory.yml{options} waba.onprem."
    provision = f"{play}provision --check --diff"
    first[2:] = [f"See what provision.yml would change: `{provision}`; without --check --diff it changes it"]
    return [
        *written,
        *_first(first),
        "Next, in the folder of this report:",
        "",
        f"    {f'{play}backup' if missing else provision}",
    ]


def _first(texts: t.Sequence[str]) -> list[str]:
    lines = [f"{number}. {text}" for number, text in enumerate(texts, start=1)]
    return ["## What to do first", "", *lines, ""] if lines else []


def _no_settings(missing: t.Mapping[str, State], left: t.Sequence[str]) -> list[State]:
    """The first entry: clients without a settings backup."""
    steps = []
    facts = ["no settings backup is known: if the registration is lost, the number must be registered again"]
    if missing:
        facts += [
            f"{name}: {one['settings']['problem'].removeprefix(f'{name}: ')}"
            for name, one in missing.items()
            if one["settings"].get("problem")
        ]
        steps.append(
            "Set wa_api_password, wa_backup_password and wa_backup_dir, and run adopt.yml again without --check: it makes one (so does "
            "backup.yml)"
        )
    if left:
        facts.append(f"{', '.join(left)}: not in the inventory yet, so that none can be made by the collection")
        steps.append(
            f"For {', '.join(left)}: do what the entry below says, or make one by the client's API (POST /v1/settings/backup)"
        )
    who = ", ".join([*(host for one in missing.values() for host in one["hosts"]), *left])
    return [_action(who, Action(tuple(facts), tuple(steps)))] if steps else []


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
    for title in next(iter(one.described.values())).lines:
        texts = _by_text({name: each.lines[title] for name, each in one.described.items()})
        # An entry about all members names none.
        every = len(one.described)
        found += _list(
            title, [text if len(names) == every else f"{', '.join(names)}: {text}" for text, names in texts.items()]
        )
    return found


def _host(client: Client, described: Described) -> list[str]:
    """What runs on one host."""
    environment, file = client.environment, client.env_file
    where = "" if client.name == client.host else f" (on {client.host})"
    prefix = environment.get("WA_DB_NAME_PREFIX")
    version = f"{environment.get('WA_DB_ENGINE', 'engine unknown')} at {environment.get('WA_DB_HOSTNAME', 'unknown')}"
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
        f"media: {', '.join(client.media)}",
    ]
    return _list(f"{client.name}{where} runs:", facts)


def _by_text(entries: t.Mapping[str, t.Sequence[T]]) -> dict[T, list[str]]:
    """The entries of all members, each once, with the members that it is about."""
    found: dict[T, list[str]] = {}
    for name, ours in entries.items():
        for entry in dict.fromkeys(ours):
            found.setdefault(entry, []).append(name)
    return found


def _list(title: str, texts: t.Sequence[str]) -> list[str]:
    return [title, "", *(f"- {text}" for text in texts), ""] if texts else []
