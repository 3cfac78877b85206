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
from ansible_collections.waba.onprem.plugins.module_utils._adopt.variables import describe
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

Hostvars = t.Mapping[str, t.Mapping[str, t.Any]]
Groups = t.Mapping[str, t.Sequence[str]]
Render = t.Callable[[Hostvars, str, Groups], str]
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


@dataclass(frozen=True)
class Source:
    """The inventory that is read: how each host is reached, and what it says of deployments."""

    connections: t.Mapping[str, t.Mapping[str, t.Any]] = field(repr=False)  # with passwords
    answers: t.Mapping[str, str] = field(default_factory=dict)  # `wa_deployment` of each host, read or not


def build(
    surveys: t.Mapping[str, clients.Survey],
    failed: t.Mapping[str, str],
    source: Source,
    render: Render,
    earlier: Adoption | None = None,
) -> Adoption:
    """All of it: from what was read of each host, why another one was not read, and what `earlier` runs have written.

    `render` returns the text of the role's Compose file from the variables of all hosts, a host, and the groups.
    """
    earlier = earlier or Adoption()
    adoption = Adoption(dict(earlier.hosts), dict(earlier.secrets))
    found = [client for host, survey in surveys.items() for client in clients.clients(host, survey)]
    deployments, left = grouping.group(found, earlier.hosts, source.answers, surveys)
    adoption.deployments = list(deployments)
    for members in deployments.values():
        for client in members:
            describe(client, members)
            _record(adoption, client, source)
    hostvars = {
        name: {**one["connection"], **one["variables"], **adoption.secrets.get(name, {})}
        for name, one in adoption.hosts.items()
    }
    groups = {"all": [*adoption.hosts], **placing.groups(adoption.hosts)}
    # An empty project stands for containers outside Compose; the file is that of their later project.
    later = {name: {key: value for key, value in each.items() if value != ""} for name, each in hostvars.items()}
    for client in (client for members in deployments.values() for client in members if not client.project):
        try:
            client.described.compose_file = render(later, client.name, groups)
        except WaError as error:
            client.described.compose_file = f"# provision.yml refuses it: {error}"
    adoption.report = report.state(earlier.report, deployments, left, surveys, failed, source.answers, adoption.hosts)
    return adoption


def _record(adoption: Adoption, client: clients.Client, source: Source) -> None:
    connection = dict(source.connections.get(client.host, {}))
    if connection.setdefault("ansible_host", client.host) == client.name:
        del connection["ansible_host"]  # the default
    adoption.hosts[client.name] = {
        "machine": client.host,
        "project": client.project,
        "deployment": client.deployment,
        "ids": [one["id"] for one in client.containers],
        "services": {client.key(one): client.words[one["name"]] for one in client.containers},
        "connection": connection,
        "variables": client.described.variables,
        "guesses": client.described.guesses,
    }
    adoption.secrets.pop(client.name, None)
    if client.described.secrets:
        adoption.secrets[client.name] = client.described.secrets
