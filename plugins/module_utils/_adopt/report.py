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
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MEDIA_FOLDER


@dataclass
class Deployment:
    """One deployment with its members, and what is said of each by the member's name."""

    name: str
    members: t.Sequence[Client]
    topology: str
    version: str
    described: t.Mapping[str, Described] = field(repr=False)


def lines(
    deployments: t.Sequence[Deployment],
    surveys: t.Mapping[str, Survey],
    failed: t.Mapping[str, str],
    options: str,
) -> list[str]:
    """Returns the whole report. `options` are those of this run's command line."""
    found = ["# Adoption report", "", "No host was changed. No container was restarted.", ""]
    found += _actions(deployments, failed, options)
    for one in deployments:
        found += _deployment(one)
    clients = {client.host for one in deployments for client in one.members}
    found += _list(
        "## Hosts without a client",
        [
            f"{host}: {'; '.join(one_off_containers(surveys[host]['containers'])) or 'no container of the client, running or stopped'}"
            for host in sorted({*surveys} - clients)
        ],
    )
    if not deployments:
        return [*found, "There is nothing to adopt. provision.yml sets up a new client."]
    provision = f"ansible-playbook -i inventory.yml{options} waba.onprem.provision"
    return [
        *found,
        "## Next",
        "",
        "- Run these commands in the folder of this report.",
        "- Add wa_api_password to a vault.yml (ansible-vault edit): no file of a host contains it.",
        f"- See what would change: `{provision} --check --diff`",
        f"- Change it: `{provision}`",
    ]


def _actions(deployments: t.Sequence[Deployment], failed: t.Mapping[str, str], options: str) -> list[str]:
    """What needs an action, numbered: registrations that can be lost come first."""
    found: list[tuple[str, Action]] = []
    for kind in ("registration", "actions"):
        for one in deployments:
            found += [(", ".join(names), action) for action, names in _by_text(one.described, kind).items()]
    retry = "Correct it, and run adopt.yml again; the other hosts are in the inventory"
    found += [(host, Action(("it was not read", why), (retry,))) for host, why in sorted(failed.items())]
    written = ["## Needs an action", ""]
    for number, (names, action) in enumerate(found, start=1):
        first, *more = action.facts
        written.append(f"{number}. {names}: {first}")
        written += [f"   - {text}" for text in more]
        steps = [step.replace(registration.OPTIONS, options) for step in action.steps]
        written += [f"   - To do: {steps[0]}"] if len(steps) == 1 else ["   - To do:"]
        written += [f"     {count}. {step}" for count, step in enumerate(steps, start=1) if len(steps) > 1]
        written += [f"   - Or: {action.otherwise}"] if action.otherwise else []
    return [*written, *([] if found else ["Nothing."]), ""]


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
    found += _list("Not understood or not carried over:", _part(one, "notes"))
    return found + _list("Could be better:", _part(one, "advice"))


def compose_files(deployments: t.Sequence[Deployment]) -> list[str]:
    """Returns the end of `report.md`, which is not displayed: the role's Compose files where the operator has none."""
    texts = {name: described.compose_file for one in deployments for name, described in one.described.items()}
    found: list[str] = []
    for name, text in texts.items():
        title = f"## The role's Compose file for {name}"
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
        *(f"container {one['name']}: not the client's, {one['state']}, {one['image']}" for one in client.sidecars),
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
