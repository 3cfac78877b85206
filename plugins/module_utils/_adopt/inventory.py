# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory that describes the clients that a fleet runs. Pure rules."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._adopt import clients, db_env, left_out, report
from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import Action, Described
from ansible_collections.waba.onprem.plugins.module_utils._adopt.variables import describe
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import layout
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology as deployment_topology

# What each member has for itself.
_OF_A_HOST = ("wa_client_address", "wa_client_services", "wa_client_service_names")
Hostvars = t.Mapping[str, t.Mapping[str, t.Any]]
Groups = t.Mapping[str, t.Sequence[str]]
Render = t.Callable[[Hostvars, str, Groups], tuple[dict[str, t.Any], str]]


@dataclass
class Adoption:
    """What is written: documents by path, secrets by path, and the report."""

    documents: dict[str, t.Any] = field(default_factory=dict)
    secrets: dict[str, t.Any] = field(default_factory=dict, repr=False)
    report: list[str] = field(default_factory=list)  # lines
    compose_files: list[str] = field(default_factory=list)  # lines after those of the report
    deployments: list[str] = field(default_factory=list)


def build(
    surveys: t.Mapping[str, clients.Survey],
    failed: t.Mapping[str, str],
    connections: t.Mapping[str, t.Mapping[str, t.Any]],
    connection_secrets: t.Mapping[str, t.Mapping[str, t.Any]],
    render: Render,
    options: str = "",
) -> Adoption:
    """All of it: from what was read of each host, why another one was not read, and how each is reached.

    `render` returns the Compose file of the role, as a mapping and as text, from the variables of all hosts, a host, and the groups.
    `options` are those of this run's command line that the new inventory needs, too; for the commands in the report.
    """
    found = [client for host, survey in surveys.items() for client in clients.clients(host, survey)]
    if not found:
        return Adoption(report=report.lines([], surveys, failed, options))
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

    reported: list[report.Deployment] = []
    for label, members in deployments.items():
        topology, actions = clients.topology(members)
        version, more = clients.version(members)
        described = {client.name: describe(client, members, topology, version) for client in members}
        described[members[0].name].actions[:0] = actions + more
        reported.append(report.Deployment(label, members, topology, version, described))
    everyone = {name: one for deployment in reported for name, one in deployment.described.items()}
    hostvars = {name: {**hosts[name], **one.variables, **one.secrets} for name, one in everyone.items()}
    for one in reported:
        refused = _refusal(one, hostvars, groups)
        one.described[one.members[0].name].actions += refused
        for client in one.members if not refused else ():
            if not client.operators:
                _rendered(client, one, hostvars, groups, render)
        secrets = {client.name: dict(connection_secrets.get(client.host, {})) for client in one.members}
        _file(adoption, one.name, one.described, secrets)
    adoption.report = report.lines(reported, surveys, failed, options)
    adoption.compose_files = report.compose_files(reported)
    return adoption


def _refusal(one: report.Deployment, hostvars: Hostvars, groups: Groups) -> list[Action]:
    """Why provision.yml would refuse what was written, by its own rules."""
    try:
        deployment = deployment_topology.described(hostvars, one.members[0].name, groups)
        layout.layout(hostvars, deployment, one.topology)
        for client in one.members:
            deployment_topology.projects_at(hostvars, client.name, groups)
    except WaError as error:
        return [db_env.refused(error)]
    return []


def _rendered(
    client: clients.Client, one: report.Deployment, hostvars: Hostvars, groups: Groups, render: Render
) -> None:
    """Add the Compose file of the role, and what it leaves out."""
    described = one.described[client.name]
    # An empty project stands for containers outside Compose; the file is that of their later project.
    others = {name: {key: value for key, value in each.items() if value != ""} for name, each in hostvars.items()}
    if "wa_version" not in described.variables:
        return
    try:
        document, described.compose_file = render(others, client.name, groups)
    except WaError as error:
        described.actions.append(db_env.refused(error))
        return
    written = described.secrets.get("wa_db_env_extra_secrets", {})
    names = described.variables.get("wa_client_service_names", {})
    lines: list[str] = []
    for container in client.containers:
        word = layout.service_name(client.words[container["name"]], one.topology)
        lines += left_out.lines(client, container, document, names.get(word, word), written)
    if lines:
        described.actions.append(
            Action(
                (
                    "the role's Compose file, which is at the end of report.md, leaves out what the containers have",
                    *lines,
                ),
                ("Put what has to stay into a Compose file on the host, and name it in wa_client_compose_files",),
            )
        )


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
