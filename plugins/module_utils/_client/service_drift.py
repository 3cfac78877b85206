# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares a project's containers with its services by labels, images and states, without running Compose. Pure rules."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference

_STATES = {
    "created": "was never started",
    "exited": "has exited",
    "dead": "is dead",
    "restarting": "restarts again and again",
}


@dataclass(frozen=True)
class Service:
    """The desired state of a service."""

    name: str
    image: str
    definition: str  # digest of the inventory's definition
    image_id: str = ""  # image id of the image's name on this host; empty if the host does not have it
    count: int = 1
    restart: str = "unless-stopped"
    networks: t.Mapping[str, str] = field(
        default_factory=dict
    )  # names and ids; an empty id if the network does not exist
    proven: str = ""  # hash of its containers at the end of the last provision.yml; empty if not recorded


@dataclass(frozen=True)
class Container:
    """The actual state of a container of the project."""

    name: str
    service: str
    state: str
    image: str
    image_id: str
    hash: str = ""  # Compose's label config-hash
    definition: str = (
        ""  # the label of the rendered Compose file; empty for a container not created from it, or by an older version
    )
    own: bool = True
    client: bool = True  # of an image of the client, as opposed to a container beside it
    health: str = ""
    restart: str = "unless-stopped"
    networks: t.Mapping[str, str] = field(default_factory=dict)
    log_capped: bool = True
    stale: bool = False  # created with another db.env, which explains a different hash


@dataclass
class Differences:
    """Lines for the operator: changes without a restart, restarts, changes that wait for an upgrade, warnings."""

    changes: list[str] = field(default_factory=list)
    restarts: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    kept: bool = False  # whether adopted containers are kept as they were created


def compare(services: t.Sequence[Service], containers: t.Sequence[Container], kept: bool = False) -> Differences:
    """Returns how `containers` differ from `services`; with `kept`, adopted containers are not recreated."""
    adopted = kept and any(one.client and not one.own for one in containers)
    found = Differences(kept=adopted)
    for service in services:
        ours = [one for one in containers if one.service == service.name]
        missing = service.count - len(ours)
        if missing > 0 and not (adopted and ours):
            what = f"{missing} of {service.count} containers" if service.count > 1 else "its container"
            found.changes.append(f"service {service.name}: {what} {'are' if missing > 1 else 'is'} missing")
        if missing < 0 and not adopted:
            there = "1 container" if len(ours) == 1 else f"{len(ours)} containers"
            found.restarts.append(f"service {service.name}: {there}, expected {service.count}")
        for one in ours:
            _compare_one(service, one, found, adopted)
    names = {service.name for service in services}
    if not adopted:
        gone = [one.name for one in containers if one.service not in names]
        found.restarts += [f"{name}: this host has its service no more" for name in gone]
    return found


def _compare_one(service: Service, one: Container, found: Differences, adopted: bool) -> None:
    if one.state == "paused":
        found.changes.append(f"{one.name} is paused")
    elif one.state != "running":
        found.changes.append(f"{one.name} {_STATES.get(one.state, f'is {one.state}')}")
    elif one.health == "unhealthy":
        found.warnings.append(f"{one.name} is unhealthy. Look into its log (docker logs {one.name})")
    wanted, has = image_reference.parse(service.image), image_reference.parse(one.image)
    if adopted:
        if wanted.version != has.version:
            found.restarts.append(f"{one.name} runs version {has.version}, expected {wanted.version}")
        caps = "" if one.log_capped else "; Docker keeps its log without a limit"
        found.pending.append(f"{one.name} is kept as it was created until the next upgrade{caps}")
        return
    if one.restart != service.restart:
        found.changes.append(f"{one.name} has the restart policy {one.restart}, expected {service.restart}")
    if one.image != service.image:
        found.restarts.append(f"{one.name} runs {one.image}, expected {service.image}")
    elif service.image_id and service.image_id != one.image_id:
        found.restarts.append(f"{one.name} runs another build of {service.image}")
    if one.definition and one.definition != service.definition:
        found.restarts.append(f"{one.name} was created with other settings than the inventory has")
    elif one.definition and not service.proven:
        found.changes.append(f"{one.name} is not recorded as created from the Compose file")
    elif one.definition and one.hash != service.proven and not one.stale:
        found.restarts.append(f"{one.name} was created from another Compose file than the one that was applied")
    elif not one.definition:
        found.pending.append(f"{one.name} was created by an older version of the collection")
    for name, network in service.networks.items():
        if not network:
            found.restarts.append(f"{one.name}: its network {name} is missing")
        elif one.networks.get(name) != network:
            found.restarts.append(f"{one.name} is not on the network {name}")
