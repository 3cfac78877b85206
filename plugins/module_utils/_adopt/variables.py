# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables that describe a client that runs, and what is said of it. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._adopt import (
    clients,
    compose_files,
    db_env,
    evidence,
    registration,
)
from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import (
    NOTES,
    OTHER,
    UNMANAGED,
    UPGRADE,
    Action,
    Client,
    Described,
)
from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import option_secrets
from ansible_collections.waba.onprem.plugins.module_utils._deployment import layout
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology as deployment_topology
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MOVE_GUIDE

_LONGEST = 300  # of a line that is quoted
_STARTS = {"up", "start", "restart", "run", "pull", "create"}


def describe(client: Client, members: t.Sequence[Client], topology: str, version: str) -> Described:
    """All that is said of one member of a deployment."""
    found = Described()
    found.lines[NOTES] += [clients.one_off(one) for one in client.one_shots]
    unstarted = [one["name"] for one in client.containers if one["restart"] == "no"]
    found.lines[NOTES] += [f"{name} is not started again after a reboot (restart: no)" for name in unstarted]
    found.lines[NOTES] += [f"not readable: {path}" for path in client.survey["unreadable_paths"]]
    for one in client.sidecars:
        joined = one["network_mode"].startswith("container:")
        more = ", on the network of another container: recreate it with that" if joined else ""
        found.lines[UNMANAGED].append(f"{one['name']} ({one['state']}, {one['image']}){more}")
    names = deployment_topology.names(client.deployment, client.project)
    found.variables["wa_project"] = client.project
    if client.deployment != client.name:
        found.variables["wa_deployment"] = client.deployment
    if topology != "single":
        found.variables["wa_topology"] = topology
        found.guesses["wa_topology"] = (
            "No container knows the number of shards: 1 is assumed. Otherwise multiconnect, with wa_shards."
        )
        found.variables["wa_client_services"] = sorted(client.words.values(), key=layout.order)
    found.variables.update(_images(client))
    found.variables["wa_version"] = version
    db_env.describe(client, found, names)
    _media(client, found, names["volume"])
    if len(members) > 1:
        _node(client, found.variables)
        _skip(client, members, found)
    _web_port(client, found)
    if client.project:
        pairs = {layout.service_name(client.words[one["name"]], topology): one["service"] for one in client.containers}
        changed = {ours: theirs for ours, theirs in pairs.items() if ours != theirs}
        found.variables.update({"wa_client_service_names": changed} if changed else {})
    else:
        found.variables["wa_client_container_names"] = sorted(one["name"] for one in client.containers)
        found.lines[UPGRADE] += [
            "is refused as long as the containers are outside Compose",
            f"five commands move them into the Compose project {deployment_topology.names(client.deployment)['project']} "
            f"({MOVE_GUIDE}); its Compose file is at the end of report.md: compare it with your docker run commands",
        ]
    if client.operators:
        _operators(client, found)
    found.actions += registration.actions(client, _api(members))
    _autostart(client, found)
    return found


def _api(members: t.Sequence[Client]) -> tuple[str, str]:
    """The member with a Webapp, and the Webapp's address on its host."""
    name, web = next((client.name, one) for client in members for one in client.containers if one["role"] == "web")
    address, port = evidence.web_port(web) or ("", deployment_topology.WEB_PORT)
    return name, deployment_topology.local_api_url(port, address)


def _skip(client: Client, members: t.Sequence[Client], found: Described) -> None:
    """What a new deployment of several hosts must have, and this member runs without: it is skipped and reported."""
    skipped = set()
    volume = {**found.variables, **found.secrets}
    if volume.get("wa_media_volume_driver", "local") == "local" and "wa_media_volume_driver_options" not in volume:
        skipped.add(layout.UNSHARED_MEDIA)
        found.lines[NOTES].append(
            "its media volume is on the host's own disk, unless a share is mounted below it: the other hosts do not find media "
            "that this host receives; provision.yml checks it"
        )
    webs = [one for each in members for one in each.containers if one["role"] == "web"]
    keys = {one["environment"].get(layout.JWT_KEY) or "" for one in webs}
    if len(keys) != 1 or "" in keys:
        skipped.add(layout.NO_COMMON_KEY)
        found.lines[NOTES].append(
            f"its Webapps have no common {layout.JWT_KEY}: a login at one is unknown to the others; set it in "
            "wa_db_env_extra_secrets, and the next recreation puts it in force"
        )
    else:
        file = client.env_file
        held = client.keys_of(file["path"]).get(layout.JWT_KEY) if file else None
        # Their Compose files have it, where no variable of the inventory does.
        if client.operators and held not in keys:
            skipped.add(layout.NO_COMMON_KEY)
        else:
            found.secrets["wa_db_env_extra_secrets"] = {layout.JWT_KEY: keys.pop()}
    if skipped:
        found.variables["wa_client_skip"] = sorted(skipped)
        found.guesses["wa_client_skip"] = (
            "It runs without what a new deployment of several hosts must have: see report.md."
        )


def _images(client: Client) -> dict[str, t.Any]:
    found: dict[str, str] = {}
    for one in client.containers:
        reference = image_reference.parse(one["image"])
        written = reference.written if client.operators else reference.repository
        found["web" if one["role"] == "web" else "coreapp"] = written
    base = {key: written[: -len(f"/{key}")] for key, written in found.items() if written.endswith(f"/{key}")}
    if len(base) == len(found) and len(set(base.values())) == 1:
        return {"wa_registry": next(iter(base.values()))}
    registry = next(iter(found.values())).rpartition("/")[0]
    return {"wa_images": {key: found.get(key, f"{registry}/{key}") for key in ("web", "coreapp")}}


def _media(client: Client, found: Described, name: str) -> None:
    """Describe the media volume; `name` is that of a new one."""
    kind, _blank, source = next(iter(client.media), "").partition(" ")
    if kind == "bind":
        found.variables["wa_media_volume_name"] = name
        found.variables["wa_media_volume_driver_options"] = {"type": "none", "o": "bind", "device": source}
    elif kind:
        found.variables["wa_media_volume_name"] = source
        volume: t.Mapping[str, t.Any] = next((one for one in client.survey["volumes"] if one["Name"] == source), {})
        options = volume.get("Options") or {}
        if volume.get("Driver", "local") != "local":
            found.variables["wa_media_volume_driver"] = volume["Driver"]
        if options:
            where = found.secrets if option_secrets(options) else found.variables
            where["wa_media_volume_driver_options"] = dict(options)


def _operators(client: Client, found: Described) -> None:
    """The operator's own Compose files."""
    last = compose_files.newest(client.containers)
    found.variables.update(compose_files.variables(client.containers, client.sidecars))
    sets = {one["name"]: ", ".join([*one["operators_files"], *one["interpolation_files"]]) for one in client.containers}
    if len({*sets.values()}) > 1:
        started = "; ".join(f"{name} from {files}" for name, files in sets.items())
        found.lines[NOTES].append(
            f"started from different Compose files: {started}; the inventory has those of {last['name']}, which is the newest; "
            "where all of them make the project, list them in wa_client_compose_files"
        )


def _node(client: Client, variables: dict[str, t.Any]) -> None:
    """The address at which other hosts reach this one, and the port of its first Coreapp, from which the others are counted."""
    keys = ("COREAPP_HOSTNAME", "WEBAPP_HOSTNAME")
    named = [one["environment"][key] for key in keys for one in client.containers if one["environment"].get(key)]
    if named:
        variables["wa_client_address"] = named[0]
    cores = [one["environment"] for one in client.containers if one["role"] == "core"]
    ports = [part for one in cores for part in one.get("COREAPP_EXTERNAL_PORTS", "").split(",") if part.isdecimal()]
    if ports and int(ports[0]) != deployment_topology.CORE_PORT:
        variables["wa_client_core_port"] = int(ports[0])


def _web_port(client: Client, found: Described) -> None:
    """The Webapp's port on the host, and its address unless that is the host's own."""
    web = next((one for one in client.containers if one["role"] == "web"), None)
    if web is None:
        return
    place = evidence.web_port(web)
    if place is None:
        cure = "Set wa_api_url to the address at which the host reaches it"
        found.actions.append(Action((f"{web['name']} publishes no port of its API",), (cure,), kind=OTHER))
        return
    address, port = place
    if port != deployment_topology.WEB_PORT:
        found.variables["wa_client_web_port"] = port
    if address not in ("", "0.0.0.0"):
        found.variables["wa_client_web_bind_address"] = address


def _autostart(client: Client, found: Described) -> None:
    """Report what starts, replaces or cleans the client's containers besides the collection."""
    ours = [*client.containers, *client.sidecars]
    words = [part for one in ours for part in (one["name"], one["id"][:12], one["folder"]) if part]
    for one in client.survey["autostart"]:
        path, line = one["path"], one["line"]
        if one["kind"] == "container":
            fact = f"the container {path} on {client.host} ({line}) restarts or replaces containers"
            found.actions.append(
                Action((fact,), ("Exclude the containers of the client from it, or stop it",), kind=OTHER)
            )
        elif "cleanup.sh" in line:
            found.lines[NOTES].append(
                f"{path} cleans logs; remove the line once provision.yml has run: {line[:_LONGEST]}"
            )
        elif any(word in line for word in words) and (one["kind"] != "cron" or _STARTS & {*line.split()}):
            found.lines[UPGRADE].append(f"disable {path} first, which would start the old version: {line[:_LONGEST]}")
