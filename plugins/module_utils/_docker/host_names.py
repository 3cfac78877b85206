# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resolves host names as inside the client's containers, from the engine's inspections.

Containers resolve a name in this order: `extra_hosts` and links, names and aliases on their networks, the host's name
servers. This host reaches containers by their addresses, not by their names.
"""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import NotFound

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker

Record = t.Mapping[str, t.Any]
_GATEWAY = "host-gateway"  # Docker's placeholder for the address of the host
_SYSTEM = ("bridge", "host", "none")  # networks without names


def extra_host(record: Record, name: str) -> str:
    """Returns the address of a name in a container's `extra_hosts`; empty for none."""
    for entry in (record.get("HostConfig") or {}).get("ExtraHosts") or []:
        host, _colon, address = entry.partition(":")
        if host.casefold() == name.casefold():
            return str(address).strip("[]")
    return ""


def linked(record: Record, name: str) -> str:
    """Returns the container of a name in a container's links; empty for none."""
    links = list((record.get("HostConfig") or {}).get("Links") or [])  # /db:/biz_wacore_1/database
    for network in networks(record).values():
        links += network.get("Links") or []  # db:database
    for link in links:
        target, _colon, alias = link.rpartition(":")
        if alias.rpartition("/")[2] == name:
            return str(target.lstrip("/"))
    return ""


def networks(record: Record) -> dict[str, dict[str, t.Any]]:
    """Returns the networks of a container, by name."""
    return (record.get("NetworkSettings") or {}).get("Networks") or {}


def names(record: Record, network: str) -> set[str]:
    """Returns the lower-case names of a container on a network."""
    known = networks(record).get(network) or {}
    own = [record["Name"].lstrip("/"), record["Id"][:12], *(known.get("Aliases") or []), *(known.get("DNSNames") or [])]
    return {form for one in own for form in (one.casefold(), f"{one}.{network}".casefold())}


def origins(record: Record) -> set[str]:
    """Returns the addresses and names by which a server may show the sessions of a container."""
    found = {record["Name"].lstrip("/")}
    for network, known in networks(record).items():
        found |= {str(known.get(key) or "") for key in ("IPAddress", "GlobalIPv6Address")} | names(record, network)
    return found - {""}


def on_host_network(record: Record) -> bool:
    """Returns whether a container uses the host's network, so that names and loopback addresses are the host's."""
    return bool((record.get("HostConfig") or {}).get("NetworkMode") == "host")


def address(docker: Docker, clients: t.Sequence[Record], name: str) -> tuple[str, str]:
    """Returns the address of `name` in the containers `clients`, and its source; empty if Docker does not know it.

    Before the first start, without any client container, all networks of the host are searched.
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
    """Returns the host's address on Docker's default bridge."""
    try:
        bridge = docker.request("network bridge", "GET", "/networks/bridge")
    except NotFound:
        return ""
    ranges = (bridge.get("IPAM") or {}).get("Config") or []
    return next((str(one["Gateway"]) for one in ranges if one.get("Gateway")), "")
