# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory that describes the clients that a fleet runs. Pure rules."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._adopt import (
    clients,
    grouping,
    placing,
    report,
)
from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import NOTES, OTHER, Action, Described
from ansible_collections.waba.onprem.plugins.module_utils._adopt.variables import describe
from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import layout
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology as deployment_topology
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MEDIA_FOLDER
from ansible_collections.waba.onprem.plugins.module_utils._env import rules as env_rules

Hostvars = t.Mapping[str, t.Mapping[str, t.Any]]
Groups = t.Mapping[str, t.Sequence[str]]
Render = t.Callable[[Hostvars, str, Groups], tuple[dict[str, t.Any], str]]
Values = dict[str, dict[str, t.Any]]


@dataclass
class Adoption:
    """All hosts of the inventory with their values, those of earlier runs too, and what the report says of them.

    `hosts` and `report` have no secret and are recorded, so that the next run adds to them.
    """

    hosts: Values = field(default_factory=dict)
    secrets: Values = field(default_factory=dict, repr=False)
    report: dict[str, t.Any] = field(default_factory=dict)
    deployments: list[str] = field(default_factory=list)  # those that this run has described

    @property
    def placed(self) -> placing.Placed:
        """The files of the inventory."""
        return placing.place(self.hosts, self.secrets)


@dataclass(frozen=True)
class Source:
    """The inventory that is read: how each host is reached, and what it says of deployments."""

    connections: t.Mapping[str, t.Mapping[str, t.Any]]
    secrets: t.Mapping[str, t.Mapping[str, t.Any]] = field(default_factory=dict, repr=False)
    answers: t.Mapping[str, str] = field(
        default_factory=dict
    )  # `wa_deployment` of each host, also of those that are not read


def build(
    surveys: t.Mapping[str, clients.Survey],
    failed: t.Mapping[str, str],
    source: Source,
    render: Render,
    earlier: Adoption | None = None,
) -> Adoption:
    """All of it: from what was read of each host, why another one was not read, and what `earlier` runs have written.

    `render` returns the Compose file of the role, as a mapping and as text, from the variables of all hosts, a host, and the groups.
    """
    earlier = earlier or Adoption()
    adoption = Adoption(dict(earlier.hosts), dict(earlier.secrets))
    found = [client for host, survey in surveys.items() for client in clients.clients(host, survey)]
    deployments, left = grouping.group(found, earlier.hosts, source.answers, surveys, source.connections)
    adoption.deployments = list(deployments)

    reported: list[report.Deployment] = []
    for label, members in deployments.items():
        topology = "high_availability" if members[0].multiconnect else "single"
        version = image_reference.parse(members[0].containers[0]["image"]).version
        described = {client.name: describe(client, members, topology, version) for client in members}
        reported.append(report.Deployment(label, members, topology, version, described))
        for client in members:
            _record(adoption, client, described[client.name], source)
    hostvars = {
        name: {**one["connection"], **one["variables"], **adoption.secrets.get(name, {})}
        for name, one in adoption.hosts.items()
    }
    groups = {"all": [*adoption.hosts], **placing.groups(adoption.hosts)}
    for each in reported:
        try:
            _complete(each, hostvars, groups, render)
        except WaError as error:
            facts = ["provision.yml refuses this client", f"{error.subject}: {error.found}"]
            facts += [f"expected: {error.expected}"] if error.expected else []
            cure = error.cure or "Correct it there or in the inventory, and run adopt.yml again"
            each.described[each.members[0].name].actions.append(Action(tuple(facts), (cure,), kind=OTHER))
    adoption.report = report.state(earlier.report, reported, left, surveys, failed, adoption.hosts)
    return adoption


def _record(adoption: Adoption, client: clients.Client, described: Described, source: Source) -> None:
    connection = dict(source.connections.get(client.host, {}))
    if client.name != client.host:
        connection.setdefault("ansible_host", client.host)
    adoption.hosts[client.name] = {
        "machine": client.host,
        "project": client.project,
        "deployment": client.deployment,
        "services": {client.key(one): client.words[one["name"]] for one in client.containers},
        "connection": connection,
        "variables": described.variables,
        "guesses": described.guesses,
    }
    secrets = {**described.secrets, **source.secrets.get(client.host, {})}
    adoption.secrets.pop(client.name, None)
    if secrets:
        adoption.secrets[client.name] = secrets


def _complete(one: report.Deployment, hostvars: Hostvars, groups: Groups, render: Render) -> None:
    """Adds the role's Compose file for containers outside Compose. Raises WaError as provision.yml would for what was written."""
    deployment = deployment_topology.described(hostvars, one.members[0].name, groups)
    layout.layout(hostvars, deployment, one.topology)
    # An empty project stands for containers outside Compose; the file is that of their later project.
    later = {name: {key: value for key, value in each.items() if value != ""} for name, each in hostvars.items()}
    for client in one.members:
        deployment_topology.projects_at(hostvars, client.name, groups)
        if not client.project:
            described = one.described[client.name]
            document, described.compose_file = render(later, client.name, groups)
            described.lines[NOTES] += filter(
                None, (_left_out(client, each, one.topology, document) for each in client.containers)
            )


def _left_out(client: clients.Client, container: t.Mapping[str, t.Any], topology: str, document: t.Any) -> str:
    """Returns what the role's Compose file has not of a container: the names of its variables, and its mounts."""
    body = document["services"][layout.service_name(client.words[container["name"]], topology)]
    # The role's file has no other env file.
    given = {*body["environment"], *env_rules.DATABASE_KEYS, *client.keys_of((client.env_file or {"path": ""})["path"])}
    found = [f"variable {key}" for key in sorted(container["environment"].keys() - given)]
    found += [f"mount {path}" for _kind, _source, path in container["mounts"] if path.rstrip("/") != MEDIA_FOLDER]
    return (
        f"{container['name']}: the Compose file at the end of report.md leaves out {', '.join(found)}" if found else ""
    )
