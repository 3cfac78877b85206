# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deployment that retire.yml is asked to end, and what its inventory says of it on a host."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.waba.onprem.plugins.module_utils._core import units
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import host_objects, paths, topology
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired as desired_state

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._client.retirement import Desired
    from ansible_collections.waba.onprem.plugins.plugin_utils._inventory import Inventory

CURE = "Nothing was changed. Give the name of one: -e wa_retire=NAME"


def members(
    hostvars: t.Mapping[str, t.Mapping[str, t.Any]],
    groups: t.Mapping[str, t.Sequence[str]],
    name: str,
    run_hosts: t.Collection[str],
) -> list[str]:
    """Returns the members of the deployment `name`.

    Raises WaError if no deployment has this name, a member is another deployment by its own variables or is not among `run_hosts`.
    """
    found: dict[str, list[str]] = {}
    for host in groups["all"]:
        try:
            place = topology.described(hostvars, host, groups)
        except (AnsibleError, WaError):
            if host in groups.get(name, [name]):
                raise
            continue  # an error of a host that is not asked for
        found.setdefault(place["name"], []).append(host)
    if name not in found:
        there = ", ".join(sorted(found)) or "none"
        raise WaError("wa_retire", f"{name!r} is no deployment" if name else "no name", f"one of: {there}", CURE)
    wanted = list(groups.get(name, [name]))
    strange = [host for host in wanted if host not in found[name]]
    if strange:
        raise WaError(
            f"deployment {name}",
            f"{', '.join(strange)} of that group has another wa_deployment",
            "one deployment",
            CURE,
        )
    missing = [host for host in wanted if host not in run_hosts]
    if missing:
        cure = "Nothing was changed. Run without --limit and wa_hosts"
        raise WaError(f"deployment {name}", f"not in this run: {', '.join(missing)}", "all members", cure)
    return wanted


def desired(inventory: Inventory) -> Desired:
    """Returns what the inventory says of the deployment on a host. Raises WaError for an invalid value and for a held client."""
    place = desired_state.deployment(inventory)
    held = desired_state.hold(inventory, {})
    if held:
        raise WaError.of(f"The client is {held}. Nothing was changed")
    metrics = inventory["wa_log_cleanup_metrics_file"]
    names = {**host_objects.FIXED, **{key: value for key, value in place.items() if isinstance(value, str)}}
    names.update(
        volume=desired_state.media_volume_name(inventory),
        metrics_file=paths.normalise("wa_log_cleanup_metrics_file", metrics) if metrics else "",
        projects_dir=names["projects_dir"] if inventory.given("wa_project_dir") is None else "",
    )
    return {
        "names": names,
        "env_format": inventory.given("wa_env_format") or "portable",
        "container_names": units.text_list(inventory["wa_client_container_names"], "wa_client_container_names"),
        "compose_files": units.text_list(inventory["wa_client_compose_files"], "wa_client_compose_files"),
        "database": desired_state.database(inventory),
        "without_backup": boolean(inventory.given("wa_retire_without_backup") or False),
    }
