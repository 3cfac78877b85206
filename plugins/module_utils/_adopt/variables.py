# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables that describe a client that runs, and what is said of it. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._adopt import compose_files, db_env, evidence
from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import (
    OTHER,
    REGISTRATION,
    Action,
    Client,
    Described,
)
from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import option_secrets
from ansible_collections.waba.onprem.plugins.module_utils._deployment import layout
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology as deployment_topology
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MOVE_GUIDE
from ansible_collections.waba.onprem.plugins.module_utils._env import state as env_state

_LONGEST = 300  # of a line that is quoted
_STARTS = {"up", "start", "restart", "run", "pull", "create"}


def describe(client: Client, members: t.Sequence[Client]) -> None:
    """Describes one member of a deployment."""
    found = client.described
    topology = "high_availability" if client.multiconnect else "single"
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
    found.variables.update(_images(members))
    found.variables["wa_version"] = image_reference.parse(client.containers[0]["image"]).version
    db_env.describe(client, found, names)
    _media(client, found, names["volume"])
    everything = [one["environment"] for one in client.containers]
    named = [each[key] for key in ("COREAPP_HOSTNAME", "WEBAPP_HOSTNAME") for each in everything if each.get(key)]
    if client.deployment != client.name and named:
        found.variables["wa_client_address"] = named[0]
    _web_port(client, found)
    if client.project:
        pairs = {layout.service_name(client.words[one["name"]], topology): one["service"] for one in client.containers}
        changed = {ours: theirs for ours, theirs in pairs.items() if ours != theirs}
        found.variables.update({"wa_client_service_names": changed} if changed else {})
    else:
        found.variables["wa_client_container_names"] = sorted(one["name"] for one in client.containers)
        fact = "upgrade.yml refuses it as long as its containers are outside Compose"
        cure = (
            f"Move them into the project {deployment_topology.names(client.deployment)['project']} by five commands ({MOVE_GUIDE}). Its "
            "Compose file is at the end of report.md: compare it with your docker run commands"
        )
        found.actions.append(Action((fact,), cure, OTHER))
    if client.operators:
        found.variables.update(compose_files.variables(client.containers, client.sidecars))
        if len({(*one["operators_files"], *one["interpolation_files"]) for one in client.containers}) > 1:
            found.guesses["wa_client_compose_files"] = (
                f"Those of {compose_files.newest(client.containers)['name']}, the newest container; others were started from other files."
            )
    _registration(client, found)
    _autostart(client, found)


def _registration(client: Client, found: Described) -> None:
    """Report containers that have the only copy of the registration."""
    lost = ", ".join(
        one["name"]
        for one in client.containers
        if not env_state.keeps_configuration(
            one["role"], one["environment"], [path for kind, _source, path in one["mounts"] if kind != "tmpfs"]
        )
    )
    if lost:
        facts = (
            f"the registration of the number exists only inside the container {lost}",
            "it is lost when the container is recreated or removed (docker compose down, docker rm, an upgrade by hand): the number must then "
            "be registered again",
            "the collection does not recreate it, and upgrade.yml refuses this client, until the registration is moved",
        )
        cure = f"Move it to a folder of the host, in five commands: {env_state.REGISTRATION_GUIDE}"
        found.actions.append(Action(facts, cure, REGISTRATION))


def _images(members: t.Sequence[Client]) -> dict[str, t.Any]:
    references = [
        (client, one["role"], image_reference.parse(one["image"])) for client in members for one in client.containers
    ]
    found = {
        "web" if role == "web" else "coreapp": reference.written if client.operators else reference.repository
        for client, role, reference in references
    }
    registry = found["web"].rpartition("/")[0]
    is_usual = found == {key: f"{registry}/{key}" for key in found}
    return {"wa_registry": registry} if is_usual else {"wa_images": found}


def _media(client: Client, found: Described, name: str) -> None:
    """Describe the media volume; `name` is the default, and that of a new one over a folder that is mounted directly."""
    kind, _blank, source = next(iter(client.media), "").partition(" ")
    volume: t.Mapping[str, t.Any] = next((one for one in client.survey["volumes"] if one["Name"] == source), {})
    options = {"type": "none", "o": "bind", "device": source} if kind == "bind" else dict(volume.get("Options") or {})
    if kind == "volume" and source != name:
        found.variables["wa_media_volume_name"] = source
    if volume.get("Driver", "local") != "local":
        found.variables["wa_media_volume_driver"] = volume["Driver"]
    if options:
        where = found.secrets if option_secrets(options) else found.variables
        where["wa_media_volume_driver_options"] = options


def _web_port(client: Client, found: Described) -> None:
    """The Webapp's port on the host, and its address unless that is the host's own."""
    for web in (one for one in client.containers if one["role"] == "web"):
        address, port = evidence.web_port(web) or ("", 0)
        if not port:
            cure = "Set wa_api_url to the address at which the host reaches it"
            found.actions.append(Action((f"{web['name']} publishes no port of its API",), cure, OTHER))
        elif port != deployment_topology.WEB_PORT:
            found.variables["wa_client_web_port"] = port
        if address not in ("", "0.0.0.0"):
            found.variables["wa_client_web_bind_address"] = address


def _autostart(client: Client, found: Described) -> None:
    """Report what starts, replaces or cleans the client's containers besides the collection."""
    ours = [*client.containers, *client.sidecars]
    words = [part for one in ours for part in (one["name"], one["id"][:12], one["folder"]) if part]
    starts = ["its containers are started besides the collection"]
    for one in client.survey["autostart"]:
        path, line, shown = one["path"], one["line"], one["shown"][:_LONGEST]
        if one["kind"] == "container":
            fact = f"the container {path} on {client.host} ({shown}) restarts or replaces containers"
            found.actions.append(Action((fact,), "Exclude the containers of the client from it, or stop it", OTHER))
        elif "cleanup.sh" in line:
            cure = "Remove the line once provision.yml has run, which makes a nightly job of its own"
            found.actions.append(Action((f"{path} cleans logs: {shown}",), cure, OTHER))
        elif any(word in line for word in words) and (one["kind"] != "cron" or _STARTS & {*line.split()}):
            starts.append(f"{path}: {shown}")
    if starts[1:]:
        cure = "Disable that before upgrade.yml runs: it would start the old version"
        found.actions.append(Action(tuple(starts), cure, OTHER))
