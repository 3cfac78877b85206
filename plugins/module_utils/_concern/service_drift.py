# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says in lines for the operator how the containers of a project differ from what they are to be."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._compose import plan as compose_plan
from ansible_collections.waba.onprem.plugins.module_utils._concern.finding import Finding
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import health

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._compose.project import Project


def compare(project: Project, compare_record: bool) -> Finding:
    """Returns how the containers differ. With `compare_record` they have to be recorded, too."""
    found, steps = Finding(kept=project.recreate == compose_plan.LATER), project.plan()
    for step in steps:
        lines = found.restarts if step.running else found.containers  # only a container that runs is interrupted
        lines += [f"{step.container} {reason}" for reason in step.reasons]
        found.pending += [f"{step.container} {reason}" for reason in step.pending]
    found.containers += [
        f"{one['name']} has the restart policy {one['found']}, expected {one['policy']}"
        for one in project.restart_policies()
    ]
    found.pending += [str(one) for one in project.diverged_networks()]
    alike = {step.container for step in steps if not step.reasons and not step.pending}
    for one in project.found:
        if one.service in project.names:
            found.containers += failures(one.name, one.state, health(project.record(one)))
            if compare_record and one.name in alike and not project.is_recorded(one):
                found.containers.append(f"{one.name} is not recorded as created from its Compose files")
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
