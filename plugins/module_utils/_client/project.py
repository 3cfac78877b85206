# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides from the containers of a host what the role wa_client does with its Compose project. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._client import inspection, starts
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import STOPPED, service_containers

Containers = t.Sequence[t.Mapping[str, t.Any]]  # as `wa_info` describes them
_UNMEASURED = "wa_api_password is not set, and without it nobody can tell whether the client is healthy between two members; set it"
_TOGETHER = "the client runs on several hosts, and only provision.yml restarts one after the other"


def services(containers: Containers, project: str) -> list[t.Mapping[str, t.Any]]:
    """Returns the project's `service_containers`."""
    return service_containers(one for one in containers if one["project"] == project)


def decide(
    containers: Containers,
    project: str,
    restart_allowed: bool = True,
    env_result: t.Mapping[str, t.Any] | None = None,
    held: str = "",
    hold: str = "",
) -> dict[str, t.Any]:
    """Returns the state of the project and what may be done with its containers.

    `project` is that of the client, `env_result` the result of `wa_db_env` in this run, `held` why containers stay as they
    are, `hold` why none is restarted, of `members`. The keys:

    - `unhealthy`: a line for each; `in_force`: whether containers run, none of them unhealthy, with the files that are there
    - `acts`: whether containers may be changed now; `recreate`: `auto` if they may, otherwise `later`, and `never` if they are held.
      `waits` says why none is restarted.
    - `env_changes`: the changed keys of db.env by container
    """
    found = services(containers, project)
    # The first start of a container is not a restart and does not wait for the window.
    waits = held or hold
    acts = not held and (not found or (restart_allowed and not waits))
    return {
        "unhealthy": starts.not_healthy(found),
        "in_force": any(one["state"] == "running" for one in found)
        and not any(one["health"] == "unhealthy" for one in found),
        "acts": acts,
        "waits": waits,
        "recreate": "auto" if acts else "never" if held else "later",
        "env_changes": _env_changes(found, env_result or {}),
    }


def _env_changes(found: Containers, env_result: t.Mapping[str, t.Any]) -> dict[str, list[str]]:
    """Returns the changed keys by container: `wa_db_env` compares running ones, stopped ones have all changes."""
    changed = [*env_result.get("changed_keys", ()), *env_result.get("removed_keys", ())]
    stopped = {one["name"]: changed for one in found if one["state"] in STOPPED}
    return {**stopped, **{one["name"]: one["stale_keys"] for one in env_result.get("stale_containers", ())}}


def members(
    containers: t.Mapping[str, Containers],
    deployment: t.Mapping[str, t.Any],
    host: str,
    in_turn: bool = True,
    renamed: bool = False,
    measured: bool = True,
    records: t.Iterable[t.Mapping[str, str]] = (),
) -> dict[str, t.Any]:
    """Returns what the members of a run have in common, from the `containers` of each.

    `hold`, why none of a client that runs on several is restarted: it is not `in_turn`, alone, or the client's health cannot be
    `measured`; `moving`, the services that still run on another member than `host` (a Webapp is on all; with `renamed` services a name
    proves nothing); `first`, the host of tasks that are done once: one in its turn, the leader, or the first member of a limited run;
    `versions`, those that the database of `host` may be of: of its containers; if it has none, of the others' that run, or of all; if
    there is none, of the newest of the `records`.
    """
    present = [one for one in deployment["members"] if one in containers]
    ours = {name: [one for one in containers[name] if one["project"] == deployment["project"]] for name in present}
    others = [one for name in present if name != host for one in ours[name]]
    serving = any(one["state"] == "running" for those in ours.values() for one in those)
    elsewhere = service_containers(others)
    running = [one for one in elsewhere if one["state"] == "running"]
    clients = services(containers.get(host, ()), deployment["project"]) or running or elsewhere
    hold = _TOGETHER if not in_turn else "" if measured else _UNMEASURED
    return {
        "hold": hold if serving and len(deployment["members"]) > 1 else "",
        "moving": [] if renamed else [one["service"] for one in others if one["role"] != "web"],
        "first": host if in_turn else deployment["leader"] if deployment["leader"] in present else present[0],
        "versions": sorted({one["version"] for one in clients})
        or [one[inspection.VERSION] for one in inspection.dated(records)[-1:]],
    }


def change_due(plan: t.Mapping[str, t.Any], recreate: str, check_mode: bool) -> bool:
    """Returns whether a container changes, or files in force are not proven yet: a run was interrupted, or an operator has restarted.

    `plan` is the result of `wa_client`.
    """
    if recreate == "never":
        return False
    proves = plan["unproven"] and (recreate == "auto" or not plan["pending"])
    return bool(plan["changes"] or (proves and not check_mode))
