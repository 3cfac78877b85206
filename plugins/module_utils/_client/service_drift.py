# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares a project's containers with its services without running Compose. Pure rules.

What Compose would do is decided by `_compose.plan`, as for the role. In place of Compose's hash, which only Compose can compute, a
container has to have the label with the digest of the inventory's definition, and the hash that the last provision.yml recorded.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.waba.onprem.plugins.module_utils._compose import plan as compose_plan

_DECLARED = "as declared"  # stands for the hash that Compose would compute
_OLDER = "was created by an older version of the collection"
_OTHERS = "was created from another Compose file"


@dataclass(frozen=True)
class Service(compose_plan.Service):
    """The desired state of a service. Its `hash` is that of its containers at the end of the last provision.yml; empty for none."""

    restart: str = "unless-stopped"


@dataclass(frozen=True)
class Container(compose_plan.Found):
    """The actual state of a container of the project, with what Compose does not compare."""

    health: str = ""
    restart: str = "unless-stopped"
    stale: bool = False  # created with another db.env, which explains a different hash
    altered: tuple[str, ...] = ()  # what was changed in it after Compose made it


@dataclass
class Differences:
    """Lines for the operator: changes without a restart, restarts, changes that wait for an upgrade, and what is not corrected."""

    changes: list[str] = field(default_factory=list)
    restarts: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    kept: bool = False  # whether only an upgrade recreates containers


def compare(
    project: str,
    services: t.Sequence[Service],
    containers: t.Sequence[Container],
    networks: t.Sequence[compose_plan.Network] = (),
    kept: bool = False,
) -> Differences:
    """Returns how `containers` differ from `services`; `kept` ones are not recreated."""
    wanted = {one.name: one for one in services}
    different = {one.name: _difference(wanted[one.service], one) for one in containers if one.service in wanted}
    steps = compose_plan.plan(
        project,
        [replace(one, hash=_DECLARED) for one in services],
        [replace(one, hash="" if different.get(one.name) else _DECLARED) for one in containers],
        networks,
        compose_plan.LATER if kept else compose_plan.AUTO,
        differences={name: compose_plan.Difference(definition=text) for name, text in different.items() if text},
        undeclared=(),
        altered={one.name: one.altered for one in containers},
    )
    found = Differences(kept=kept)
    for step in steps:
        # Only a container that runs is interrupted.
        lines = found.restarts if step.running else found.changes
        lines += [f"{step.container} {reason}" for reason in step.reasons]
        found.pending += [f"{step.container} {reason}" for reason in step.pending]
    for one in containers:
        if one.service in wanted:
            found.changes += failures(one.name, one.state, one.health)
            found.changes += _details(wanted[one.service], one) if one.own else []
    return found


def _difference(service: Service, one: Container) -> str:
    """Returns why the service's hash and that of the container would differ; empty if they would not."""
    if not one.definition:
        return _OLDER if one.own else _OTHERS
    if one.definition != service.definition:
        return "was created with other settings than the inventory has"
    if service.hash and one.hash != service.hash and not one.stale:
        return "was created from another Compose file than the one that was applied"
    return ""


def _details(service: Service, one: Container) -> list[str]:
    """Returns what Compose does not compare."""
    found = []
    if one.restart != service.restart:
        found.append(f"{one.name} has the restart policy {one.restart}, expected {service.restart}")
    if one.definition == service.definition and not service.hash:
        found.append(f"{one.name} is not recorded as created from the Compose file")
    return found


def failures(name: str, state: str, health: str) -> list[str]:
    """Returns a line if a container fails in a way that neither a start nor the inventory corrects."""
    if state == "restarting":
        return [f"{name} restarts again and again. Look into its log (docker logs {name})"]
    if state == "removing":
        return [f"{name} is being removed"]
    if state == "running" and health == "unhealthy":
        return [f"{name} is unhealthy. Look into its log (docker logs {name})"]
    return []
