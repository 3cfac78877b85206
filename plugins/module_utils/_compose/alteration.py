# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds what was changed in a container after Compose made it, which Compose does not compare. Pure rules.

`docker network disconnect` and `connect` take its names on a network, `docker update` changes limits and restart policy.
"""

from __future__ import annotations

import math
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


def actual_policy(record: Mapping) -> tuple[str, int]:
    """Returns the restart policy of an inspected container, as `restart_policy` does of a service."""
    policy = (record.get("HostConfig") or {}).get("RestartPolicy") or {}
    return policy.get("Name") or "no", int(policy.get("MaximumRetryCount") or 0)


def shown_policy(name: str, retries: int) -> str:
    """Returns a restart policy as Compose files have it; a number of restarts counts for `on-failure` alone."""
    return f"{name}:{retries}" if retries and name == "on-failure" else name


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
    for key, (what, wanted, shown) in limits.items():
        actual, wanted = max(int(host.get(key) or 0), 0), max(wanted, 0)  # -1 is no limit, too
        if not math.isclose(actual, wanted, rel_tol=1e-6):  # Compose computes CPUs with 32 bits
            found.append(f"has the {what} {shown(actual)}, expected {shown(wanted)}")
    cpus, wanted_cpus = host.get("CpusetCpus") or "any", body.get("cpuset") or "any"
    return found + ([f"has the CPUs {cpus}, expected {wanted_cpus}"] if cpus != wanted_cpus else [])


def _limits(body: Mapping) -> dict[str, tuple[str, int, t.Callable[[int], str]]]:
    """Returns what `docker update` changes, by Docker's key: its name, the value that a resolved service declares, and how it is shown."""
    resources = (body.get("deploy") or {}).get("resources") or {}
    limits, reserved = resources.get("limits") or {}, resources.get("reservations") or {}
    pids = int(limits.get("pids") or body.get("pids_limit") or 0)
    return {
        "Memory": ("memory limit", int(limits.get("memory") or body.get("mem_limit") or 0), _size),
        "MemoryReservation": (
            "memory reservation",
            int(reserved.get("memory") or body.get("mem_reservation") or 0),
            _size,
        ),
        "NanoCpus": ("CPU limit", round(float(limits.get("cpus") or body.get("cpus") or 0) * 1e9), _cpus),
        "CpuQuota": ("CPU quota", int(body.get("cpu_quota") or 0), _count),
        "CpuShares": ("CPU shares", int(body.get("cpu_shares") or 0), _count),
        "PidsLimit": ("limit of processes", pids, _count),
    }


def _count(number: int) -> str:
    return str(number or "none")


def _size(size: int) -> str:
    return units.format_size(size) if size else "none"


def _cpus(nano: int) -> str:
    return f"{nano / 1e9:g}" if nano else "none"
