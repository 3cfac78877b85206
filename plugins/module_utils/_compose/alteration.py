# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds what was changed in a container after Compose made it, which Compose does not compare. Pure rules.

`docker network disconnect` and `connect` take its names on a network, `docker update` changes limits and restart policy.
"""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import units

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._compose.plan import Network

Mapping = t.Mapping[str, t.Any]
_CONDITIONS = {"none": "no", "any": "always"}  # of `deploy.restart_policy`


def restart_policy(body: Mapping) -> tuple[str, int]:
    """Returns the restart policy of a resolved service, empty if it declares none, and how often it restarts after a failure (0: always)."""
    policy = (body.get("deploy") or {}).get("restart_policy") or {}
    if policy.get("condition"):
        return _CONDITIONS.get(policy["condition"], policy["condition"]), int(policy.get("max_attempts") or 0)
    name, _colon, attempts = str(body.get("restart") or "").partition(":")
    return name, int(attempts or 0)


def actual_policy(record: Mapping) -> str:
    """Returns the name of an inspected container's restart policy."""
    return ((record.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "no"


def alterations(service: str, body: Mapping, networks: t.Mapping[str, Network], record: Mapping) -> list[str]:
    """Returns what only a recreation puts right, a text each.

    `body` is the resolved service, `networks` its networks by id, `record` the inspected container.
    """
    found = []
    for endpoint in ((record.get("NetworkSettings") or {}).get("Networks") or {}).values():
        network = networks.get(endpoint.get("NetworkID"))
        if network:
            declared = (body.get("networks") or {}).get(network.key) or {}
            names = [service, *(declared.get("aliases") or ())]
            lost = [one for one in names if one not in (endpoint.get("Aliases") or ())]
            found += [f"is on the network {network.name} without its name {', '.join(lost)}"] if lost else []
    host, limits = record.get("HostConfig") or {}, _limits(body)
    for what, key, shown in (("memory", "Memory", _size), ("CPU", "NanoCpus", _cpus), ("CPU quota", "CpuQuota", str)):
        actual = int(host.get(key) or 0)
        if actual != limits[key]:
            found.append(f"has the {what} limit {shown(actual)}, expected {shown(limits[key])}")
    return found


def _limits(body: Mapping) -> dict[str, int]:
    limits = ((body.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    return {
        "Memory": int(limits.get("memory") or body.get("mem_limit") or 0),
        "NanoCpus": round(float(limits.get("cpus") or body.get("cpus") or 0) * 1e9),
        "CpuQuota": int(body.get("cpu_quota") or 0),
    }


def _size(size: int) -> str:
    return units.format_size(size) if size else "none"


def _cpus(nano: int) -> str:
    return f"{nano / 1e9:g}" if nano else "none"
