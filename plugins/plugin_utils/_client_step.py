# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role wa_client does on a host, decided from the inventory and from what this run has read. Roles look it up."""

from __future__ import annotations

import typing as t

from ansible import context

from ansible_collections.waba.onprem.plugins.module_utils._client import project as client_project
from ansible_collections.waba.onprem.plugins.module_utils._client import starts
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology
from ansible_collections.waba.onprem.plugins.plugin_utils import _command_line as command_line
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired as desired
from ansible_collections.waba.onprem.plugins.plugin_utils import _run
from ansible_collections.waba.onprem.plugins.plugin_utils._inventory import Inventory

Found = t.Mapping[str, t.Any]
_ASKS = ("wa_api_key", "wa_api_password")


def members(ours: Inventory) -> dict[str, t.Any]:
    """Returns what the members that this run reaches have in common, see `_client.project.members`.

    `refusal` says why the client must not be started in the version of the inventory.
    """
    hostvars, host, _groups = ours.all_hosts
    place, reached = desired.deployment(ours), ours.variables["ansible_play_hosts"]
    found = {one: hostvars[one].get("__wa_host_found") or {} for one in place["members"] if one in reached}
    containers = {one: read.get("containers") or [] for one, read in found.items()}
    confirmed = (ours.given("wa_confirm_identity") or {}).get("version")
    records = [] if confirmed else [(read.get("identity") or {}).get("recorded") or {} for read in found.values()]
    in_turn, renamed = "__wa_in_turn" in ours.variables, bool(ours["wa_client_service_names"])
    common = client_project.members(containers, place, host, in_turn, renamed, asks_api(ours), records)
    refusal = _other_version(common.pop("versions"), desired.version(ours), place["name"])
    return {**common, "refusal": refusal}


def asks_api(ours: Inventory) -> bool:
    """Returns whether the client's API is asked for its health."""
    return any(ours.given(name) is not None for name in _ASKS)


def _other_version(versions: t.Sequence[str], wanted: str, name: str) -> str:
    """Returns why the client of the deployment `name` must not be started in the version `wanted`; empty if it may.

    `versions` are those that run; or ran last, where no container is left.
    """
    if not versions or [*versions] == [wanted]:
        return ""
    newer = topology.version_key(wanted) > max(filter(None, map(starts.key, versions)), default=())
    command = command_line.playbook("upgrade", {"wa_upgrade_version": wanted}, context.CLIARGS)
    return (
        f"{name} runs {', '.join(versions)}, or ran it last, wa_version is {wanted}. A start of another version migrates the database, and "
        "there is no way back but a restore. Set wa_version to what runs. If the database was restored since, see docs/guides/starts.md."
        f"{f' Or upgrade: {command}' if newer else ''}"
    )


def decide(ours: Inventory) -> dict[str, t.Any]:
    """Returns the result of `_client.project.decide`, with what else decides about the role's tasks.

    - `members`: see above; `held`: why containers stay as they are, empty for no hold; `asks_api`: see above
    - `only_starts`: whether provision.yml has just seen that containers are to be started, and no file to be written
    - `due`: whether a container changes, or files in force are not proven yet
    """
    read, common, held = ours.variables.get, members(ours), desired.hold(ours)
    env_result, drift = read("wa_db_env_result") or {}, read("wa_drift") or {}
    containers = (read("__wa_host_found") or {}).get("containers") or ()
    # What was recreated is rolled back, though the window has closed meanwhile.
    started = read("__wa_client_started") or {}
    allowed = desired.restart_allowed(ours) or any(one["recreate"] == "always" for one in started.get("calls", ()))
    decided = client_project.decide(
        containers, desired.deployment(ours)["project"], allowed, env_result, held, common["hold"]
    )
    planned = "__wa_planned" in ours.variables and "__wa_in_turn" not in ours.variables
    must_write = held or env_result.get("changed")
    only_starts = bool(planned and drift.get("only_starts") and not must_write)
    plan, check_mode = read("__wa_client_plan"), bool(read("ansible_check_mode"))
    due = only_starts or bool(plan and client_project.change_due(plan, decided["recreate"], check_mode))
    more = {"members": common, "held": held, "asks_api": asks_api(ours), "only_starts": only_starts, "due": due}
    return {**decided, **more}


def options(ours: Inventory) -> dict[str, t.Any]:
    """Returns the options of `wa_client` with which the project is compared, and brought to what the inventory says."""
    decided, result = decide(ours), ours.variables.get("wa_db_env_result") or {}
    found = {
        **desired.project(ours),
        "recreate": decided["recreate"],
        "moving": decided["members"]["moving"],
        "lock_file": desired.deployment(ours)["lock_file"],
        "run_id": _run.this_run(),
        "guard": desired.guard(ours),
    }
    # In check mode only the keys of a changed db.env are known.
    pending = ours.variables.get("ansible_check_mode") and result.get("changed")
    return {**found, "env_changes": decided["env_changes"]} if pending else found


def api(ours: Inventory) -> dict[str, t.Any]:
    """Returns the `host` at which the client's API is asked, its `lease_file`, the `options`, and the ids of this host's `nodes`.

    `__wa_client_containers` are those of wa_info: the address of this host's Webapp differs from the inventory while a change of it is
    pending, or was rolled back.
    """
    host, project = desired.api_host(ours), desired.deployment(ours)["project"]
    there = [one for one in ours.given("__wa_client_containers") or () if one["project"] == project]
    found = desired.api(ours)
    urls = [one["api_url"] for one in there if one["api_url"] and host == ours.host]
    if urls and ours.given("wa_api_url") is None:
        found["api_url"] = urls[0]
    nodes = client_project.services(there, project)
    return {
        "host": host,
        "lease_file": desired.deployment(ours.another(host))["lock_file"],
        "options": found,
        "nodes": [one["id"] for one in nodes if one["role"] in ("core", "master")],
    }


TERMS: dict[str, t.Callable[[Inventory], t.Any]] = {
    "client_step": decide,
    "client_options": options,
    "client_api": api,
}
