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
from dataclasses import asdict

from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import Action, Client, Survey
from ansible_collections.waba.onprem.plugins.module_utils._adopt.grouping import Left

State = dict[str, t.Any]


def state(
    earlier: t.Mapping[str, t.Any],
    deployments: t.Mapping[str, t.Sequence[Client]],
    left: t.Sequence[Left],
    surveys: t.Mapping[str, Survey],
    failed: t.Mapping[str, str],
    source: t.Container[str],
    hosts: t.Mapping[str, t.Mapping[str, t.Any]],
) -> State:
    """Returns what the report says, which adds up: what an `earlier` run has said of hosts that this one does not read stays.

    But not of a host that has gone from the inventory that is read, whose hosts are `source`. `hosts` are those of the inventory that is
    written. The result has plain values, and is recorded.
    """
    names = {one["deployment"] for one in hosts.values()}
    sections = {name: one for name, one in earlier.get("deployments", {}).items() if name in names}
    for name, members in deployments.items():
        sections[name] = {**_section(name, members), "settings": sections.get(name, {}).get("settings", {})}
    read = {*surveys, *failed}
    others: dict[str, list[State]] = {
        host: actions for host, actions in earlier.get("hosts", {}).items() if host not in read and host in source
    }
    for whose, host, action in left:
        others.setdefault(host, []).append(_action(", ".join(whose), action))
    retry = "Correct it, and run adopt.yml again; the other hosts are in the inventory"
    for host, why in failed.items():
        others.setdefault(host, []).append(_action(host, Action(("it was not read", why), retry)))
    return {
        "deployments": dict(sorted(sections.items())),
        "hosts": dict(sorted(others.items())),
        "read": sorted(read),
        "without": sorted(
            {host for host, survey in surveys.items() if all(one["one_shot"] for one in survey["containers"])}
            | {host for host in earlier.get("without", []) if host not in read and host in source}
        ),
        "left": sorted({name for whose, _host, _action in left for name in whose if name not in hosts}),
    }


def _action(who: str, action: Action) -> State:
    return {"who": who, **json.loads(json.dumps(asdict(action)))}


def _section(deployment: str, members: t.Sequence[Client]) -> State:
    actions: dict[Action, list[str]] = {}  # each once, with the members that it is about
    for client in members:
        for action in dict.fromkeys(client.described.actions):
            actions.setdefault(action, []).append(client.name)
    return {
        "hosts": [client.name for client in members],
        "machines": sorted({client.host for client in members}),
        "running": any(each["state"] == "running" for client in members for each in client.containers),
        "actions": [_action(", ".join(names), action) for action, names in actions.items()],
        "lines": _deployment(deployment, members),
        # The end of `report.md`, which is not displayed: the role's Compose files of a client that has none.
        "compose": [
            line
            for client in members
            if client.described.compose_file
            for line in (
                "",
                f"## The role's Compose file for {client.name}",
                "",
                "```yaml",
                *client.described.compose_file.splitlines(),
                "```",
            )
        ],
    }


def lines(found: State, command: str) -> list[str]:
    """Returns the whole report. `command` is the beginning of its commands: the program, the inventory, and the options of this run."""
    written = ["# Adoption report", "", "No host was changed. No container was restarted."]
    earlier = sorted({host for one in found["deployments"].values() for host in one["machines"]} - {*found["read"]})
    if earlier:
        written += [f"Read in this run: {', '.join(found['read'])}. Of earlier runs: {', '.join(earlier)}."]
    if found["without"]:
        written += [f"Without a container of the client, running or stopped: {', '.join(found['without'])}."]
    missing = {
        name: one for name, one in found["deployments"].items() if one["running"] and not one["settings"].get("file")
    }
    entries = [action for one in found["deployments"].values() for action in one["actions"]]
    entries += [action for actions in found["hosts"].values() for action in actions]
    actions = [*_no_settings(missing, found["left"]), *sorted(entries, key=lambda one: int(one["kind"]))]
    written += ["", "## Needs an action", ""]
    for number, one in enumerate(actions, start=1):
        written += [f"{number}. {one['who']}: {one['facts'][0]}", *(f"   - {text}" for text in one["facts"][1:])]
        written += [f"   - To do: {one['cure']}"]
    written += [*([] if actions else ["Nothing."]), ""]
    for one in found["deployments"].values():
        kept = one["settings"].get("file")
        written += [*one["lines"], *([f"Settings backup: {kept}", ""] if kept else [])]
    first = [f"{one['who']}: {one['facts'][0]} (entry {number} above)" for number, one in enumerate(actions, start=1)]
    if not found["deployments"]:
        nothing = "There is nothing to adopt. provision.yml sets up a new client."
        return [*written, *_first(first[:3]), "Nothing was adopted yet." if actions else nothing]
    provision = f"{command} waba.onprem.provision --check --diff"
    first[2:] = [f"See what provision.yml would change: `{provision}`; without --check --diff it changes it"]
    return [
        *written,
        *_first(first),
        "Next:",
        "",
        f"    {f'{command} waba.onprem.backup' if missing else provision}",
    ]


def _first(texts: t.Sequence[str]) -> list[str]:
    lines = [f"{number}. {text}" for number, text in enumerate(texts, start=1)]
    return ["## What to do first", "", *lines, ""] if lines else []


def _no_settings(missing: t.Mapping[str, State], left: t.Sequence[str]) -> list[State]:
    """The first entry: clients without a settings backup."""
    facts = ["no settings backup is known: if the registration is lost, the number must be registered again"]
    facts += [
        f"{name}: {problem.removeprefix(f'{name}: ')}"
        for name, one in missing.items()
        if (problem := one["settings"].get("problem"))
    ]
    cures = {
        "Set wa_api_password, wa_backup_password and wa_backup_dir, and run adopt.yml again without --check, or backup.yml": missing,
        f"For {', '.join(left)}, which was left alone: make one by the client's API (POST /v1/settings/backup)": left,
    }
    cure = ". ".join(text for text, whose in cures.items() if whose)
    who = ", ".join([*(host for one in missing.values() for host in one["hosts"]), *left])
    return [_action(who, Action(tuple(facts), cure))] if cure else []


def _deployment(name: str, members: t.Sequence[Client]) -> list[str]:
    variables = members[0].described.variables
    found = [f"## {name}: {variables.get('wa_topology', 'single')}, version {variables['wa_version']}", ""]
    for client in members:
        containers = ", ".join(f"{each['name']} ({each['state']})" for each in client.containers)
        found += [f"- {client.name}{'' if client.name == client.host else f' on {client.host}'}: {containers}"]
        beside = ", ".join(f"{each['name']} ({each['state']}, {each['image']})" for each in client.sidecars)
        found += [f"  - not looked after by the collection: {beside}"] if beside else []
    return [*found, ""]
