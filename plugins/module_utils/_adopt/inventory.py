# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory and the report that describe the clients that a fleet runs. Pure rules."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._adopt import clients
from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import Client, Described
from ansible_collections.waba.onprem.plugins.module_utils._adopt.variables import describe
from ansible_collections.waba.onprem.plugins.module_utils._core import redact
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import layout
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology as deployment_topology

_LONGEST = 300  # of a line that is quoted
_STARTS = {"up", "start", "restart", "run", "pull", "create"}
_ID = re.compile(r"\b[0-9a-f]{12,64}\b")
# What each member has for itself.
_OF_A_HOST = ("wa_client_address", "wa_client_services", "wa_client_service_names", "wa_client_extra_services")


@dataclass
class Adoption:
    """What is written: documents by path, secrets by path, and the report."""

    documents: dict[str, t.Any] = field(default_factory=dict)
    secrets: dict[str, t.Any] = field(default_factory=dict, repr=False)
    report: str = ""
    deployments: list[str] = field(default_factory=list)


def build(
    surveys: t.Mapping[str, clients.Survey],
    failed: t.Mapping[str, str],
    connections: t.Mapping[str, t.Mapping[str, t.Any]],
    connection_secrets: t.Mapping[str, t.Mapping[str, t.Any]],
    with_vault: bool = True,
    command: str = "ansible-playbook -i inventory.yml waba.onprem.provision --check --diff",
) -> Adoption:
    """All of it: from what was read of each host, why another one was not read, and how each is reached."""
    found = [client for host, survey in surveys.items() for client in clients.clients(host, survey)]
    if not found:
        lines = [*_head(surveys, failed, found), "There is nothing to adopt. provision.yml sets up a new client."]
        return Adoption(report="\n".join(lines) + "\n")
    deployments = clients.name(found, connections)
    adoption = Adoption(deployments=list(deployments))
    groups = {"all": [client.name for client in found]}
    groups.update({label: [one.name for one in members] for label, members in deployments.items() if len(members) > 1})
    hosts = {client.name: dict(connections.get(client.host, {})) for client in sorted(found, key=lambda one: one.name)}
    for client in found:
        if client.name != client.host:
            hosts[client.name].setdefault("ansible_host", client.host)
    inventory: dict[str, t.Any] = {"all": {"hosts": hosts}}
    children: dict[str, t.Any] = {
        label: {"hosts": {name: {} for name in names}} for label, names in groups.items() if label != "all"
    }
    if children:
        inventory["all"]["children"] = children
    adoption.documents["inventory.yml"] = inventory

    told: dict[str, tuple[str, str, dict[str, Described]]] = {}
    for label, members in deployments.items():
        topology, notes = clients.topology(members)
        version, more = clients.version(members)
        described = {client.name: describe(client, members, topology, version) for client in members}
        described[members[0].name].notes[:0] = notes + more
        told[label] = (topology, version, described)
    everyone = {name: one for _topology_, _version, described in told.values() for name, one in described.items()}
    hostvars = {name: {**hosts[name], **one.variables, **one.secrets} for name, one in everyone.items()}
    lines = _head(surveys, failed, found)
    for label, (topology, version, described) in told.items():
        members = deployments[label]
        refusal = _refusal(members, topology, hostvars, groups)
        if refusal:
            described[members[0].name].notes.append(
                f"provision.yml refuses this client until it is put right: {refusal}"
            )
        _file(
            adoption,
            label,
            described,
            {client.name: dict(connection_secrets.get(client.host, {})) for client in members},
        )
        lines += _section(label, members, topology, version, described)
    lines += _foot(adoption, with_vault, command)
    adoption.report = "\n".join(lines) + "\n"
    return adoption


def _refusal(
    members: t.Sequence[Client],
    topology: str,
    hostvars: t.Mapping[str, t.Mapping[str, t.Any]],
    groups: t.Mapping[str, t.Sequence[str]],
) -> str:
    """Why provision.yml would refuse what was written, by its own rules."""
    first = members[0]
    try:
        deployment = deployment_topology.described(hostvars, first.name, groups)
        layout.layout(hostvars, deployment, topology)
        for client in members:
            deployment_topology.projects_at(hostvars, client.name, groups)
    except WaError as error:
        return str(error)
    return ""


def _file(
    adoption: Adoption, label: str, described: t.Mapping[str, Described], connection: t.Mapping[str, dict[str, t.Any]]
) -> None:
    """Sort variables into those of the group and those of single hosts."""
    every = list(described.values())
    for kind, target, file in (
        ("variables", adoption.documents, "vars.yml"),
        ("secrets", adoption.secrets, "vault.yml"),
    ):
        values = [getattr(one, kind) for one in every]
        shared = {
            key: value
            for key, value in values[0].items()
            if len(every) > 1 and key not in _OF_A_HOST and all(key in one and one[key] == value for one in values)
        }
        if shared:
            target[f"group_vars/{label}/{file}"] = shared
        for name, one in described.items():
            own = {key: value for key, value in getattr(one, kind).items() if key not in shared}
            own.update(connection[name] if kind == "secrets" else {})
            if own:
                target[f"host_vars/{name}/{file}"] = own


def _head(surveys: t.Mapping[str, clients.Survey], failed: t.Mapping[str, str], found: t.Sequence[Client]) -> list[str]:
    lines = ["# What runs, as waba.onprem.adopt found it", "", "Nothing was changed on any host.", ""]
    without = sorted(set(surveys) - {client.host for client in found})
    lines += [f"- {host}: no container of the client, running or not; it is not in the inventory" for host in without]
    lines += [f"- {host}: NOT READ: {why}" for host, why in sorted(failed.items())]
    return [*lines, ""] if without or failed else lines


def _section(
    label: str, members: t.Sequence[Client], topology: str, version: str, described: t.Mapping[str, Described]
) -> list[str]:
    environment = members[0].environment
    database = (
        f"{environment.get('WA_DB_ENGINE', 'engine unknown')} at {environment.get('WA_DB_HOSTNAME', 'unknown')}:"
        f"{environment.get('WA_DB_PORT', '')}, prefix {environment.get('WA_DB_NAME_PREFIX') or '(none)'}"
    )
    lines = [f"## {label}: {topology}, version {version or 'unknown'}, {database}", ""]
    for client in members:
        name = client.name if client.name == client.host else f"{client.name} (on {client.host})"
        where = f"Compose project {client.project}" if client.project else "outside Compose"
        lines.append(f"- {name}, {where}:")
        lines += [
            f"  - {one['name']}: {client.words[one['name']]}, {one['state']}, {one['image']}"
            for one in client.containers
        ]
        lines += [f"  - {one['name']}: beside the client, {one['state']}, {one['image']}" for one in client.sidecars]
        file = client.env_file
        lines.append(
            f"  - database settings: {file['path'] if file else 'no env file was found; taken from the containers'}"
        )
        lines += [f"  - {one['path']}: {one['line'][:_LONGEST]}" for one in _autostart(client)]
        lines += [f"  - not readable by this user, so not known: {path}" for path in client.survey["unreadable_paths"]]
    lines.append("")
    if topology != "single":
        lines += [
            "Shards are not in the environment: one was assumed (high availability). With more set wa_topology: multiconnect and wa_shards.",
            "",
        ]
    lines += _part("To be decided, or not understood", described, "notes")
    lines += _listed("Differs among its hosts", _differences(described))
    lines += _part("What provision.yml changes", described, "changes")
    lines += _part("Stays as it is, and could be better", described, "advice")
    lines += _listed("Starts, cleans or replaces containers by itself", _warnings(members))
    return lines


def _part(title: str, described: t.Mapping[str, Described], kind: str) -> list[str]:
    """One list; what is said of every member is said once."""
    found: dict[str, list[str]] = {}
    for name, one in described.items():
        for text in dict.fromkeys(getattr(one, kind)):
            found.setdefault(text, []).append(name)
    every = len(described)
    return _listed(
        title, [text if len(names) == every else f"{', '.join(names)}: {text}" for text, names in found.items()]
    )


def _listed(title: str, texts: t.Sequence[str]) -> list[str]:
    return [f"{title}:", "", *(f"- {text}" for text in texts), ""] if texts else []


def _differences(described: t.Mapping[str, Described]) -> list[str]:
    found = []
    for kind in ("variables", "secrets"):
        keys = {key for one in described.values() for key in getattr(one, kind)}
        for key in sorted(keys - {*_OF_A_HOST}):
            values = {name: redact.mask(getattr(one, kind).get(key)) for name, one in described.items()}
            if len({repr(value) for value in values.values()}) > 1:
                told = "; ".join(f"{name}: {'not set' if value is None else value}" for name, value in values.items())
                found.append(f"{key}" if kind == "secrets" else f"{key} ({told})")
    return found


def _autostart(client: Client) -> list[dict[str, str]]:
    """The lines that concern this client among those of its host."""
    words = [
        part
        for one in [*client.containers, *client.sidecars]
        for part in (one["name"], one["id"][:12], one["folder"])
        if part
    ]
    lines: list[dict[str, str]] = [one for one in client.survey["autostart"] if one["kind"] != "container"]
    return [one for one in lines if any(word in one["line"] for word in words) or "cleanup.sh" in one["line"]]


def _warnings(members: t.Sequence[Client]) -> list[str]:
    found = []
    for client in members:
        for one in client.survey["autostart"]:
            if one["kind"] == "container":
                found.append(
                    f"{client.host}: container {one['path']} ({one['line']}) may restart or replace containers; see that it leaves these alone"
                )
        for one in _autostart(client):
            where = f"{client.host}: {one['path']}"
            if "cleanup.sh" in one["line"]:
                by_id = bool(_ID.search(one["line"]))
                found.append(
                    f"{where} cleans logs"
                    + (" by a container's id, which changes at every recreation" if by_id else "")
                    + "; remove the line once the collection's own job runs"
                )
            elif one["kind"] != "cron" or _STARTS & {*one["line"].split()}:
                found.append(
                    f"{where} starts containers by itself; it would start the old version after an upgrade. Disable it when you upgrade or move them"
                )
    return list(dict.fromkeys(found))


def _foot(adoption: Adoption, with_vault: bool, command: str) -> list[str]:
    lines = ["## Next", ""]
    if adoption.secrets and not with_vault:
        lines += [
            "No vault password was given, so secrets were left as marked blanks in the files vault.yml: fill them in and encrypt the",
            "files with ansible-vault, or run adopt.yml again with --vault-password-file.",
            "",
        ]
    lines += [
        "The API user's password is in no file of a host: add wa_api_password to a vault.yml (ansible-vault edit).",
        f"Then see for yourself: {command}",
    ]
    return lines
