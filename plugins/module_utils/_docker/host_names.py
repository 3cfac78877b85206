# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host name means inside the client's containers, as the Docker Engine tells it.

Containers find a name in this order: `extra_hosts` and links, then names and aliases on their networks, then the host's
own name servers. This host reaches containers by their addresses, not by their names.
"""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import NotFound

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker

Record = t.Mapping[str, t.Any]
_GATEWAY = "host-gateway"  # Docker's word for the address of the host itself
_SYSTEM = ("bridge", "host", "none")  # networks without names


def extra_host(record: Record, name: str) -> str:
    """The address that a container's `extra_hosts` gives a name, or an empty text."""
    for entry in (record.get("HostConfig") or {}).get("ExtraHosts") or []:
        host, _colon, address = entry.partition(":")
        if host.casefold() == name.casefold():
            return str(address).strip("[]")
    return ""


def linked(record: Record, name: str) -> str:
    """The container that a container's links give a name, or an empty text."""
    links = list((record.get("HostConfig") or {}).get("Links") or [])  # /db:/biz_wacore_1/database
    for network in networks(record).values():
        links += network.get("Links") or []  # db:database
    for link in links:
        target, _colon, alias = link.rpartition(":")
        if alias.rpartition("/")[2] == name:
            return str(target.lstrip("/"))
    return ""


def networks(record: Record) -> dict[str, dict[str, t.Any]]:
    """The networks of a container, by name."""
    return (record.get("NetworkSettings") or {}).get("Networks") or {}


def names(record: Record, network: str) -> set[str]:
    """The names, in lower case, by which the others on a network find a container."""
    known = networks(record).get(network) or {}
    own = [record["Name"].lstrip("/"), record["Id"][:12], *(known.get("Aliases") or []), *(known.get("DNSNames") or [])]
    return {form for one in own for form in (one.casefold(), f"{one}.{network}".casefold())}


def on_host_network(record: Record) -> bool:
    """Whether a container shares the host's own network, so that names and loopback addresses mean the same there."""
    return bool((record.get("HostConfig") or {}).get("NetworkMode") == "host")


def address(docker: Docker, clients: t.Sequence[Record], name: str) -> tuple[str, str]:
    """Where a container of `clients` would go for `name`, and who says so; empty texts when Docker does not know it.

    Without any client container, which is before the first start, every network of the host's is looked at.
    """
    for record in clients:
        given = extra_host(record, name)
        if given:
            return _gateway(docker) if given == _GATEWAY else given, "extra_hosts"
    targets = [target for target in (linked(record, name) for record in clients) if target]
    shared = {network for record in clients for network in networks(record)} - {"host", "none"}
    for row in docker.rows("list of containers", stopped=False):
        theirs = [
            network
            for network in (row.get("NetworkSettings") or {}).get("Networks") or {}
            if network in shared or (not clients and network not in _SYSTEM)
        ]
        peer = docker.inspect_id(row["Id"]) if theirs else None
        if peer is None:
            continue
        name_of_peer = peer["Name"].lstrip("/")
        is_linked = bool({name_of_peer, peer["Id"], peer["Id"][:12]} & set(targets))
        for network in theirs:
            found = str(networks(peer).get(network, {}).get("IPAddress") or "")
            if found and (is_linked or (network not in _SYSTEM and name.casefold() in names(peer, network))):
                return found, f"container {name_of_peer} on the network {network}"
    return "", ""


def _gateway(docker: Docker) -> str:
    """The host's address on Docker's own bridge."""
    try:
        bridge = docker.request("network bridge", "GET", "/networks/bridge")
    except NotFound:
        return ""
    ranges = (bridge.get("IPAM") or {}).get("Config") or []
    return next((str(one["Gateway"]) for one in ranges if one.get("Gateway")), "")
