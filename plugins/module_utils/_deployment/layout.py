# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Places the client's services on the members of a deployment, with their addresses and ports. Pure rules."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import parse_port
from ansible_collections.waba.onprem.plugins.module_utils._deployment.topology import (
    CORE_PORT,
    TOPOLOGIES,
    normalise_version,
)

PORTS_EACH = 4
JWT_KEY = "WA_WEB_JWT_CRYPTO_KEY"
_SERVICE = re.compile(r"web|(core|master)([1-9][0-9]{0,2})")
_LOOPBACK = re.compile(r"localhost|127\..*|::1")
# Variables that must be equal on all members: a deployment has one database and one version.
_SHARED = (
    "wa_topology",
    "wa_shards",
    "wa_version",
    "wa_leader",
    "wa_db_env_engine",
    "wa_db_env_hostname",
    "wa_db_env_name_prefix",
)
HostVars = t.Mapping[str, t.Mapping[str, t.Any]]


def layout(
    hostvars: HostVars, deployment: t.Mapping[str, t.Any], topology: str = "single", shards: t.Any = 1
) -> dict[str, list[str]]:
    """Returns the services of each member: `web`, `core1`, `master1`, ...

    `deployment` is the result of `_deployment.topology.deployment`. Variables of single members come from `hostvars`:
    `wa_client_services`, `wa_client_address`, `wa_api_url`. Raises WaError for an invalid layout.
    """
    name, members, leader = str(deployment["name"]), list(deployment["members"]), str(deployment["leader"])
    check_topology(name, members, topology, shards)
    shards = int(shards)
    hostvars = {member: hostvars[member] for member in members}  # each access merges all variables of a host
    _check_agreement(name, hostvars, members)
    declared = {member: hostvars[member].get("wa_client_services") for member in members}
    places = place(
        name, members, topology, shards, {m: services for m, services in declared.items() if services is not None}
    )
    if "web" not in places[leader] and not hostvars[leader].get("wa_api_url"):
        raise WaError(
            f"deployment {name}: leader {leader}",
            "has no Webapp, and wa_api_url is not set for it",
            "a Webapp that it can reach",
            "Add web to its wa_client_services, set wa_leader to a member with one, or set wa_api_url",
        )
    if len(members) > 1:
        _check_addresses(name, {member: address(hostvars, member) for member in members})
        # An operator's own Compose files, or docker run, have what these are about.
        ours = [
            member
            for member in members
            if hostvars[member].get("wa_client_compose_dir") is None and hostvars[member].get("wa_project") != ""
        ]
        _check_share(name, hostvars, ours)
        _check_keys(name, hostvars, [member for member in ours if "web" in places[member]])
    return places


def place(
    name: str,
    members: t.Sequence[str],
    topology: str,
    shards: int = 1,
    declared: t.Mapping[str, t.Any] | None = None,
) -> dict[str, list[str]]:
    """Returns the services of each member: those `declared` for all members, or a default by position."""
    without = [member for member in members if member not in (declared or {})]
    if declared and without:
        raise WaError(
            f"deployment {name}: wa_client_services",
            f"not set for {', '.join(without)}",
            f"to be set for every member, as for {', '.join(declared)}, or for none",
        )
    places = (
        {m: _parse_services(m, declared[m]) for m in members} if declared else _by_position(members, topology, shards)
    )
    _check_places(name, places, topology, shards)
    return {member: sorted(services, key=order) for member, services in places.items()}


def services(
    services: t.Iterable[str],
    topology: str,
    where: str,
    is_single_host: bool = True,
    web_port: t.Any = 9090,
    core_port: t.Any = CORE_PORT,
) -> list[dict[str, t.Any]]:
    """Returns the definitions of one host's services, the Webapp last.

    Each has `name`, `kind` (web, core, master), `image` (web, coreapp), `ports` (`outside`, `inside`), `environment`, and
    `after`, the services that it is started after. `where` is the host's address for the other members. With
    `is_single_host` the services find each other by name, and only the Webapp's port is published.
    """
    web_port, core_port = parse_port("wa_client_web_port", web_port), parse_port("wa_client_core_port", core_port)
    if topology == "single":
        core = _service("wacore", "core", [], {})
        return [core, {**_service("waweb", "web", [web_port], {"WACORE_HOSTNAME": "wacore"}), "after": ["wacore"]}]
    ordered = sorted(services, key=order)
    found = []
    for service, slot in _slots(ordered).items():
        kind = service.rstrip("0123456789")
        name = service_name(service, topology)
        first = CORE_PORT if is_single_host else core_port + PORTS_EACH * slot
        ports = list(range(first, first + PORTS_EACH))
        if ports[-1] >= 1 << 16:
            raise WaError(
                "wa_client_core_port", f"{core_port}: {name} gets {ports[-1]}", "ports up to 65535 for all services"
            )
        environment = {"WA_APP_MULTICONNECT": "1"}
        if kind == "master":
            environment["WA_MASTER_NODE"] = "1"
        environment["COREAPP_HOSTNAME"] = name if is_single_host else where
        environment["COREAPP_EXTERNAL_PORTS"] = ",".join(str(port) for port in ports)
        found.append(_service(name, kind, [] if is_single_host else ports, environment))
    if "web" in ordered:
        environment = {
            "WA_APP_MULTICONNECT": "1",
            "WEBAPP_HOSTNAME": "waweb" if is_single_host else where,
            "WEBAPP_EXTERNAL_PORTS": str(443 if is_single_host else web_port),
        }
        found.append(_service("waweb", "web", [web_port], environment))
    return found


def address(hostvars: HostVars, member: str) -> str:
    """Returns a host's address for the other members: `wa_client_address`, else `ansible_host`, else its inventory name."""
    values = hostvars[member]
    return str(values.get("wa_client_address") or values.get("ansible_host") or member)


def _service(name: str, kind: str, ports: t.Sequence[int], environment: t.Mapping[str, str]) -> dict[str, t.Any]:
    inside = [443] if kind == "web" else range(CORE_PORT, CORE_PORT + PORTS_EACH)
    return {
        "name": name,
        "kind": kind,
        "image": "web" if kind == "web" else "coreapp",
        "ports": [{"outside": port, "inside": where} for port, where in zip(ports, inside)],
        "environment": dict(environment),
        "after": [],
    }


def _slots(services: t.Sequence[str]) -> dict[str, int]:
    """Returns the index of each service's port range: the first Coreapp 0, the first master 1, as the vendor's; then others."""
    cores = [service for service in services if service.startswith("core")]
    masters = [service for service in services if service.startswith("master")]
    slots = dict.fromkeys(cores[:1], 0) | dict.fromkeys(masters[:1], 1)
    for slot, service in enumerate([*cores[1:], *masters[1:]], start=2):
        slots[service] = slot
    return slots


def service_name(service: str, topology: str) -> str:
    """Returns the name of a service in the rendered Compose file: `waweb`, `wacore`, `wacore2`, `master1`."""
    if service == "web":
        return "waweb"
    return "wacore" if topology == "single" and service == "core1" else re.sub("^core", "wacore", service)


def order(service: str) -> tuple[int, int]:
    """Returns a sort key: Webapp, Coreapps by number, masters by number."""
    kind = service.rstrip("0123456789")
    return ("web", "core", "master").index(kind), int(service[len(kind) :] or 0)


def _by_position(members: t.Sequence[str], topology: str, shards: int) -> dict[str, list[str]]:
    """Returns a Webapp on every member, Coreapps in turn, the two masters on the first two members.

    A cluster gets at least one Coreapp more than shards, so that one may fail, and at least one on each member.
    """
    if topology == "single":
        return {member: ["web", "core1"] for member in members}
    services = [f"core{number}" for number in range(1, max(shards + 1, len(members)) + 1)]
    found = {member: ["web"] for member in members}
    for row in (services, ["master1", "master2"]):
        for position, service in enumerate(row):
            found[members[position % len(members)]].append(service)
    return found


def _parse_services(member: str, services: t.Any) -> list[str]:
    """Returns a member's `wa_client_services`. Raises WaError for an invalid entry."""
    subject, cure = f"host {member}: wa_client_services", "Give a list such as [web, core1, master1]"
    if isinstance(services, str) or not isinstance(services, t.Sequence) or not services:
        raise WaError(subject, f"{services!r}", "a list with one service at least", cure)
    for service in services:
        if not _SERVICE.fullmatch(str(service)):
            raise WaError(subject, f"{service!r} is no service", "web, core1, core2 ..., master1, master2 ...", cure)
    return [str(service) for service in services]


def check_topology(name: str, members: t.Sequence[str], topology: t.Any, shards: t.Any) -> None:
    """Raises WaError if `wa_topology` and `wa_shards` are invalid for these members."""
    if topology not in TOPOLOGIES:
        raise WaError(f"deployment {name}: wa_topology", f"{topology!r} is unknown", "one of: " + ", ".join(TOPOLOGIES))
    if topology == "single" and len(members) > 1:
        raise WaError(
            f"deployment {name}: wa_topology",
            f"single, with the hosts {', '.join(members)}",
            "one host",
            "Set wa_topology to high_availability or multiconnect, or give each host a wa_deployment of its own",
        )
    count = int(shards) if re.fullmatch(r"-?\d{1,9}", str(shards).strip(), re.ASCII) else 0
    if count < 1 or (topology != "multiconnect" and count != 1):
        expected = "1 or more" if topology == "multiconnect" else "1; more shards are wa_topology: multiconnect"
        raise WaError(f"deployment {name}: wa_shards", f"{shards!r} with {topology}", expected)


def _check_places(name: str, places: t.Mapping[str, t.Sequence[str]], topology: str, shards: int) -> None:
    """Raises WaError if the services do not fit the topology."""
    subject = f"deployment {name}: wa_client_services"
    holders: dict[str, list[str]] = {}
    for member, services in places.items():
        for service in services:
            holders.setdefault(f"web of {member}" if service == "web" else service, []).append(member)
    for service, where in sorted(holders.items()):
        if len(where) > 1:
            raise WaError(subject, f"{service} twice ({', '.join(where)})", "each service once")
    found = [service for services in places.values() for service in services]
    if topology == "single":
        if sorted(found) != ["core1", "web"]:
            raise WaError(subject, ", ".join(found), "[web, core1], which is what a single client has")
        return
    for kind, called in (("web", "Webapp"), ("core", "Coreapp"), ("master", "master")):
        if not any(service.startswith(kind) for service in found):
            raise WaError(subject, f"no {called} on any host", f"Webapp, Coreapp and master with {topology}")
    cores = [service for service in found if service.startswith("core")]
    if len(cores) < shards:
        expected = f"at least {shards} Coreapps for wa_shards: {shards}, and one more so that one may fail"
        raise WaError(subject, ", ".join(cores), expected)


def _check_agreement(name: str, hostvars: HostVars, members: t.Sequence[str]) -> None:
    """Raises WaError if the members' variables for the database or the version differ."""
    for variable in _SHARED:
        values: dict[str, list[str]] = {}
        for member in members:
            value = hostvars[member].get(variable)
            is_version = variable == "wa_version" and value is not None
            values.setdefault(normalise_version(value) if is_version else str(value), []).append(member)
        if len(values) > 1:
            details = "; ".join(f"{value} on {', '.join(where)}" for value, where in sorted(values.items()))
            raise WaError(
                f"deployment {name}: {variable}", details, "one value for all members", "Set it for the group"
            )


def _check_addresses(name: str, addresses: t.Mapping[str, str]) -> None:
    for member, where in addresses.items():
        others = [other for other in addresses if other != member and addresses[other] == where]
        if others or _LOOPBACK.fullmatch(where):
            raise WaError(
                f"deployment {name}: wa_client_address of {member}",
                f"{where}, as of {', '.join(others)}" if others else where,
                "the address at which the other members reach this host",
                "Set wa_client_address for each host of the deployment",
            )


def _check_share(name: str, hostvars: HostVars, members: t.Sequence[str]) -> None:
    """Raises WaError if the media volume is on a member's own disk, where other members would not find the media."""
    for member in members:
        values = hostvars[member]
        if values.get("wa_media_volume_driver", "local") == "local" and not values.get(
            "wa_media_volume_driver_options"
        ):
            raise WaError(
                f"deployment {name}: media volume of {member}",
                "a plain local volume, on this host's own disk",
                "a share that all members mount",
                "Set wa_media_volume_driver_options (an NFS share, or a bind of a mounted one)",
            )


def _key(hostvars: HostVars, member: str) -> t.Any:
    """Returns the Webapp's key in db.env. An error does not contain the variable's value, which may be a secret."""
    value = hostvars[member].get("wa_db_env_extra_secrets") or {}
    if not isinstance(value, t.Mapping):
        raise WaError(
            f"host {member}: wa_db_env_extra_secrets", f"a {type(value).__name__}", "a mapping from names to values"
        )
    return value.get(JWT_KEY)


def _check_keys(name: str, hostvars: HostVars, webs: t.Sequence[str]) -> None:
    """Raises WaError if the Webapps' keys differ: tokens are valid only with the same key. Never contains the key."""
    if len(webs) < 2:
        return
    keys = {member: _key(hostvars, member) for member in webs}
    lacking = [member for member, key in keys.items() if not key]
    if lacking or len(set(keys.values())) > 1:
        raise WaError(
            f"deployment {name}: {JWT_KEY}",
            f"not set for {', '.join(lacking)}" if lacking else "not the same for all members",
            f"one key for the Webapps of {', '.join(webs)}: a login at one is unknown to the others without it",
            f"Set wa_db_env_extra_secrets: {{{JWT_KEY}: ...}} for the group, from a vault",
        )
