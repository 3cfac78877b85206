# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks which containers may be started (two Coreapps get a number banned) and which are unhealthy. Pure rules."""

from __future__ import annotations

import typing as t
from datetime import datetime

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import ACTIVE, service_containers
from ansible_collections.waba.onprem.plugins.module_utils._core import units
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology
from ansible_collections.waba.onprem.plugins.module_utils._env.rules import UPGRADE

Containers = t.Sequence[t.Mapping[str, t.Any]]


def restart_mode(when: str) -> str:
    """Returns `now`, `report`, or `window` for a window, of `wa_client_restart`. Raises WaError for anything else."""
    if when in ("now", "report"):
        return when
    try:
        units.parse_window(when)
    except WaError as error:
        raise WaError("wa_client_restart", error.found, "now, report, or a window such as 01:00-05:00") from None
    return "window"


def restart_allowed(when: str, zone: str, now: float) -> bool:
    """Returns whether containers may be restarted now: `when` is `wa_client_restart`.

    `zone` is the host's time zone, such as `+0200`, or empty if it was not read: then a window is taken as closed. `now` is in
    seconds since 1970. The window may pass midnight.
    """
    if restart_mode(when) != "window" or not zone:
        return when == "now"
    clock = datetime.fromtimestamp(now, datetime.strptime(zone, "%z").tzinfo)
    return units.until_window(units.parse_window(when), clock) == 0


def second_coreapp(
    containers: Containers,
    project: str,
    database: str = "",
    services: t.Collection[str] = (),
    neighbours: t.Collection[str] = (),
) -> str:
    """Returns why a start is refused (it would run a second Coreapp of a single client); empty if it is allowed.

    `containers` are all containers of the host from `wa_info`, `project` is that of the client. `database` is its database if no container
    has it. `services` are those of the client in an operator's Compose files, where another one's container is not removed.
    `neighbours` are the projects of the machine's other deployments. Only for topology `single`: the others run several Coreapps.
    """
    cores = [one for one in containers if one["role"] == "core" and not _migration(one)]
    databases = {database, *(one["database"] for one in cores if one["project"] == project)} - {""}
    running = [
        one
        for one in cores
        if one["state"] in ACTIVE
        and (one["project"] == project or topology.has_database(one, databases, project, neighbours))
    ]
    others = [
        one
        for one in running
        if one["project"] != project
        or one["one_shot"]
        or (services and not one.get("own") and one["service"] not in services)
    ]
    if not project and len(running) > 1:  # outside Compose each container has a name of its own
        others = running
    if not others:
        return ""
    named = ", ".join(f"{one['name']} ({one['state']}, {_place(one)})" for one in others)
    beside = f"beside the Coreapp of {project}" if project else "side by side"
    return (
        f"Coreapp of a single client: {named} would run {beside}; expected one Coreapp, because two of one number get it banned. "
        "Nothing was started. Find out which one serves, and stop and remove the others (docker stop NAME, docker rm NAME)."
    )


def active(containers: Containers) -> list[str]:
    """Returns the names of the client's services that run, or that Docker is about to start."""
    return [str(one["name"]) for one in containers if not one["one_shot"] and one["state"] in ACTIVE]


def not_healthy(containers: Containers) -> list[str]:
    """Returns the client's services that do not run or are not healthy, each with its state."""
    services = [one for one in containers if not one["one_shot"]]
    ill = [one for one in services if one["state"] != "running" or one["health"] not in ("", "healthy")]
    return [f"{one['name']} ({', '.join(filter(None, (one['state'], one['health'])))})" for one in ill]


def _migration(container: t.Mapping[str, t.Any]) -> bool:
    return bool(container["one_shot"]) and UPGRADE in container["env_keys"]


def _place(container: t.Mapping[str, t.Any]) -> str:
    kind = "left by docker compose run, " if container["one_shot"] else ""
    return kind + (f"project {container['project']}" if container["project"] else "outside Compose")


def orphan_migration(containers: t.Iterable[t.Mapping[str, t.Any]]) -> str:
    """The version that a migration without a journal has brought, or may have brought, a stopped client's database to, or "".

    `containers` are those of the leader. An upgrade removes its migration's container at its end, and a journal tells of one
    that was interrupted: where that was lost, the container is all that keeps the old version from being started.
    """
    found = list(containers)
    clients = service_containers(found)
    if any(one["state"] == "running" for one in clients):
        return ""
    oldest = min(filter(None, (key(one["version"]) for one in clients)), default=None)
    served_at = max((float(one["started_at"]) for one in clients), default=0.0)
    for one in found:
        # One that has failed may have changed a part of the schema, unless the client has served since.
        began = one["state"] != "created" and (one["exit_code"] == 0 or one["started_at"] > served_at)
        found_key = key(one["version"]) if UPGRADE in one["env_keys"] and began else None
        if found_key and oldest and found_key > oldest:
            return str(one["version"])
    return ""


def orphan_migrations(containers: t.Iterable[t.Mapping[str, t.Any]]) -> dict[str, str]:
    """The result of `orphan_migration` by Compose project, where there is one. `containers` are those of a host.

    A migration of the project's database counts, wherever it was started: from the vendor's Compose file, or by `docker run`. One in a
    project with a client is that client's.
    """
    found, versions = list(containers), {}
    clients = {one["project"] for one in service_containers(found)} - {""}
    by_hand = [one for one in found if _migration(one) and one["project"] not in clients]
    for name in sorted({one["project"] for one in found if one["project"]}):
        ours = [one for one in found if one["project"] == name]
        databases = {one["database"] for one in ours} - {""}
        versions[name] = orphan_migration([*ours, *(one for one in by_hand if one["database"] in databases)])
    return {name: version for name, version in versions.items() if version}


def key(version: str) -> tuple[int, ...] | None:
    """Returns the key of a version; None for a tag that is none."""
    try:
        return topology.version_key(version)
    except WaError:
        return None
