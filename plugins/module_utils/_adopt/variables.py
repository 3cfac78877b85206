# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables that describe a client that runs, and what the collection would change about it. Pure rules."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._adopt import compose_files, db_env, evidence, registration
from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import Action, Client, Described
from ansible_collections.waba.onprem.plugins.module_utils._compose import call
from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import option_secrets
from ansible_collections.waba.onprem.plugins.module_utils._deployment import layout, paths
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology as deployment_topology
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MEDIA_FOLDER, MOVE_GUIDE
from ansible_collections.waba.onprem.plugins.module_utils._media.probe import MARKER

_SWARM = "com.docker.swarm.service.name"  # a label
_LONGEST = 300  # of a line that is quoted
_STARTS = {"up", "start", "restart", "run", "pull", "create"}
_ID = re.compile(r"\b[0-9a-f]{12,64}\b")


def describe(client: Client, members: t.Sequence[Client], topology: str, version: str) -> Described:
    """All that is said of one member of a deployment."""
    found = Described(notes=list(client.notes), actions=list(client.actions))
    found.notes += [f"not readable: {path}" for path in client.survey["unreadable_paths"]]
    found.unmanaged += [f"{one['name']} ({one['state']}, {one['image']})" for one in client.sidecars]
    names = deployment_topology.names(client.deployment, client.project)
    found.variables["wa_project"] = client.project
    theirs = compose_files.newest(client.containers)
    if client.operators and names["project_dir"] in call.folders(theirs["folder"], theirs["operators_files"]):
        folder = f"{names['project_dir']}.waba"
        if f"{names['project_dir']}/compose.yml" in {*theirs["files"]} - {*theirs["operators_files"]}:
            fact = f"{names['project_dir']}/compose.yml is the collection's, and `docker compose up` there takes it for the whole project"
            found.actions.append(Action((fact,), ("Remove it once provision.yml has run",)))
        found.variables["wa_project_dir"] = folder
        names.update(deployment_topology.places(client.host, names["slug"], folder))
    if not client.project:
        found.variables["wa_client_container_names"] = _recorded(client, topology)
    swarm = [one["name"] for one in client.containers if _SWARM in one["settings"].get("labels", {})]
    if swarm:
        fact = f"Docker Swarm runs {', '.join(swarm)}, and starts what is stopped again, on any of its hosts"
        cure = "Start the client by docker compose in place of docker stack, and run adopt.yml again; do not run provision.yml before"
        found.actions.append(Action((fact,), (cure,)))
    if client.deployment != client.name:
        found.variables["wa_deployment"] = client.deployment
    if topology != "single":
        found.variables["wa_topology"] = topology
        found.guesses["wa_topology"] = (
            "No container knows the number of shards: 1 is assumed. Otherwise multiconnect, with wa_shards."
        )
        found.variables["wa_client_services"] = sorted(client.words.values(), key=layout.order)
    found.variables.update(_images(client, found.notes))
    if version:
        found.variables["wa_version"] = version
    db_env.describe(client, found, names)
    _media(client, found, names)
    _client(client, found, topology, len(members) == 1)
    if len(members) > 1:
        _skip(client, members, found)
    found.registration = registration.actions(client, _api(members))
    _state(client, found, names)
    return found


def _api(members: t.Sequence[Client]) -> tuple[str, str]:
    """The member with a Webapp and the Webapp's address on its host; empty texts without one."""
    for client in members:
        if "web" in client.words.values():
            found = Described()
            _web_port(client, found)
            port = found.variables.get("wa_client_web_port", deployment_topology.WEB_PORT)
            address = found.variables.get("wa_client_web_bind_address", "")
            return client.name, deployment_topology.local_api_url(port, address)
    return "", ""


def _recorded(client: Client, topology: str) -> list[str]:
    """The containers outside Compose that are the client's, the only ones that `provision.yml` starts.

    A stopped one beside a running one of its role is what a replacement has left, and so is one of two stopped Coreapps
    of a single client: nobody but the operator knows which of them.
    """
    if topology != "single":
        return sorted(one["name"] for one in client.containers)
    names: list[str] = []
    for role in ("core", "master", "web"):
        ours = [one for one in client.containers if one["role"] == role]
        running = [one for one in ours if one["state"] not in ("exited", "created", "dead")]
        names += [one["name"] for one in running or (ours if len(ours) == 1 else [])]
    return sorted(names)


def _skip(client: Client, members: t.Sequence[Client], found: Described) -> None:
    """What a new deployment of several hosts must have, and this member runs without: it is skipped and reported."""
    found.changes.append(
        f"writes the file {MARKER} into the media volume, by which its hosts find out whether they share it"
    )
    skipped = set()
    volume = {**found.variables, **found.secrets}
    if volume.get("wa_media_volume_driver", "local") == "local" and "wa_media_volume_driver_options" not in volume:
        skipped.add(layout.UNSHARED_MEDIA)
        found.advice.append(
            "its media volume is on the host's own disk, unless a share is mounted below it: the other hosts do not find media "
            "that this host receives; provision.yml checks it"
        )
    webs = [one for each in members for one in each.containers if one["role"] == "web"]
    if len({one["environment"].get(layout.JWT_KEY) for one in webs} - {None, ""}) > 1:
        fact = f"the Webapps of its hosts have different values of {layout.JWT_KEY}: a login at one is unknown to the others"
        found.actions.append(Action((fact,), ("Give all of them one key",)))
    file = client.env_file
    for one in (one for one in client.containers if one["role"] == "web"):
        key = one["environment"].get(layout.JWT_KEY)
        path = file["path"] if file and file["path"] in one["env_files"] else ""
        if not key:
            skipped.add(layout.NO_COMMON_KEY)
            found.advice.append(
                f"its Webapp has no {layout.JWT_KEY}: a login at one Webapp is unknown to the others; set it in "
                "wa_db_env_extra_secrets, and the next recreation puts it in force"
            )
        # Their Compose files have it, where no variable of the inventory does.
        elif client.operators and client.keys_of(path).get(layout.JWT_KEY) != key:
            skipped.add(layout.NO_COMMON_KEY)
        else:
            found.secrets["wa_db_env_extra_secrets"] = {layout.JWT_KEY: key}
    if skipped:
        found.variables["wa_client_skip"] = sorted(skipped)
        found.guesses["wa_client_skip"] = (
            "It runs without what a new deployment of several hosts must have: see report.md."
        )


def _images(client: Client, notes: list[str]) -> dict[str, t.Any]:
    found: dict[str, str] = {}
    for one in client.containers:
        key = "web" if one["role"] == "web" else "coreapp"
        reference = image_reference.parse(one["image"])
        whole = reference.written if client.operators else reference.repository
        if found.setdefault(key, whole) != whole:
            notes.append(
                f"{one['name']} has its image from {whole}, another container from {found[key]}, which is in the inventory"
            )
    base = {key: whole[: -len(f"/{key}")] for key, whole in found.items() if whole.endswith(f"/{key}")}
    if len(base) == len(found) and len(set(base.values())) == 1:
        return {"wa_registry": next(iter(base.values()))}
    if set(found) == {"web", "coreapp"}:
        return {"wa_images": found}
    registry = next(iter(found.values())).rpartition("/")[0]
    return {"wa_images": {key: found.get(key, f"{registry}/{key}") for key in ("web", "coreapp")}}


def _media(client: Client, found: Described, names: t.Mapping[str, str]) -> None:
    """Describe the media volume."""
    seats: dict[tuple[str, str], list[str]] = {}
    for one in client.containers:
        mounted = [(kind, source) for kind, source, path in one["mounts"] if path.rstrip("/") == MEDIA_FOLDER]
        # Some of the vendor's templates have such masters (domain: masters).
        if one["role"] == "master" and not mounted:
            found.advice.append(
                f"{one['name']} is a master that mounts nothing at {MEDIA_FOLDER}: it has no part in media"
            )
            continue
        seats.setdefault(mounted[0] if mounted else ("nothing", ""), []).append(one["name"])
    if (len(seats) > 1 or ("nothing", "") in seats) and (client.multiconnect or len(client.databases) < 2):
        mounts = [f"{' '.join(seat).strip()}: {', '.join(where)}" for seat, where in sorted(seats.items())]
        found.actions.append(
            Action(
                (f"not every container has the same media at {MEDIA_FOLDER}", *mounts, "provision.yml refuses that"),
                (f"Mount one volume at {MEDIA_FOLDER} in all of them, and run adopt.yml again",),
            )
        )
    kind, source = max(
        (seat for seat in seats if seat[0] != "nothing"), key=lambda seat: len(seats[seat]), default=("", "")
    )
    if kind == "bind":
        found.variables["wa_media_volume_name"] = names["volume"]
        found.variables["wa_media_volume_driver_options"] = {"type": "none", "o": "bind", "device": source}
        found.changes.append(
            f"creates the volume {names['volume']} over the folder {source}; the files stay where they are"
        )
    elif kind:
        found.variables["wa_media_volume_name"] = source
        volume: t.Mapping[str, t.Any] = next((one for one in client.survey["volumes"] if one["Name"] == source), {})
        options = volume.get("Options") or {}
        if volume.get("Driver", "local") != "local":
            found.variables["wa_media_volume_driver"] = volume["Driver"]
        if options:
            where = found.secrets if option_secrets(options) else found.variables
            where["wa_media_volume_driver_options"] = dict(options)


def _client(client: Client, found: Described, topology: str, alone: bool) -> None:
    """Ports and names."""
    if not alone:
        _address(client, found.variables)
        _core_port(client, found.variables)
    _web_port(client, found)
    names = _names(client, topology)
    if names:
        found.variables["wa_client_service_names"] = names
    if client.operators:
        _operators(client, found)


def _operators(client: Client, found: Described) -> None:
    """The operator's own Compose files."""
    variables = compose_files.variables(client.containers, client.sidecars)
    found.variables.update(variables)
    sets = {one["name"]: ", ".join([*one["operators_files"], *one["interpolation_files"]]) for one in client.containers}
    if len({*sets.values()}) > 1:
        last = compose_files.newest(client.containers)["name"]
        started = "; ".join(f"{name} from {files}" for name, files in sets.items())
        found.notes.append(
            f"started from different Compose files: {started}; the inventory has those of {last}, which is the newest; "
            "where all of them make the project, list them in wa_client_compose_files"
        )
    for path in (variables["wa_client_compose_dir"], *variables["wa_client_compose_files"]):
        try:
            paths.normalise("wa_client_compose_files", path)
        except WaError as error:
            found.actions.append(db_env.refused(error))


def _names(client: Client, topology: str) -> dict[str, str]:
    """Our names of services -> the operator's. Outside Compose there is none to keep."""
    if not client.project:
        return {}
    pairs: dict[str, str] = {}
    for one in client.containers:
        pairs.setdefault(layout.service_name(client.words[one["name"]], topology), one["service"])
    return {ours: theirs for ours, theirs in pairs.items() if ours != theirs}


def _address(client: Client, variables: dict[str, t.Any]) -> None:
    """The address at which other hosts reach this one."""
    keys = ("COREAPP_HOSTNAME", "WEBAPP_HOSTNAME")
    named = [one["environment"][key] for key in keys for one in client.containers if one["environment"].get(key)]
    if named:
        variables["wa_client_address"] = named[0]


def _web_port(client: Client, found: Described) -> None:
    """The Webapp's port on the host, and its address unless that is the host's own."""
    web = next((one for one in client.containers if one["role"] == "web"), None)
    if web is None:
        return
    place = evidence.web_port(web)
    if place is None:
        cure = "Set wa_api_url to the address at which the host reaches it"
        found.actions.append(Action((f"{web['name']} publishes no port of its API",), (cure,)))
        return
    address, port = place
    if port != deployment_topology.WEB_PORT:
        found.variables["wa_client_web_port"] = port
    if address not in ("", "0.0.0.0"):
        found.variables["wa_client_web_bind_address"] = address


def _core_port(client: Client, variables: dict[str, t.Any]) -> None:
    """The first port of the host's first Coreapp, from which the other ports are counted."""
    cores = [one for one in client.containers if one["role"] == "core"]
    ports = [
        part
        for one in cores
        for part in one["environment"].get("COREAPP_EXTERNAL_PORTS", "").split(",")
        if part.isdecimal()
    ]
    if ports and int(ports[0]) != deployment_topology.CORE_PORT:
        variables["wa_client_core_port"] = int(ports[0])


def _sharing(client: Client, found: Described) -> None:
    """Say what loses its network when another container is recreated."""
    everything = [*client.containers, *client.sidecars]
    for one in everything:
        mode = str(one["settings"].get("network_mode", ""))
        target = mode.partition(":")[2]
        if not mode.startswith("container:"):
            continue
        names = [each["name"] for each in everything if each["id"].startswith(target) or each["name"] == target]
        found.notes.append(
            f"{one['name']} shares the network of {names[0]}: when {names[0]} is recreated, recreate {one['name']}, too"
            if names
            else f"{one['name']} shares the network of a container that is gone or in another project ({target[:12]})"
        )


def _autostart(client: Client, found: Described) -> None:
    """Report what starts, replaces or cleans the client's containers besides the collection."""
    ours = [*client.containers, *client.sidecars]
    words = [part for one in ours for part in (one["name"], one["id"][:12], one["folder"]) if part]
    for one in client.survey["autostart"]:
        path, line = one["path"], one["line"]
        if one["kind"] == "container":
            fact = f"the container {path} on {client.host} ({line}) restarts or replaces containers"
            found.actions.append(Action((fact,), ("Exclude the containers of the client from it, or stop it",)))
        elif "cleanup.sh" in line:
            found.autostart.append(f"{path}: {line[:_LONGEST]}")
            by_id = " by a container's id, which changes at every recreation" if _ID.search(line) else ""
            found.advice.append(f"{path} cleans logs{by_id}; remove the line once provision.yml has run")
        elif any(word in line for word in words):
            found.autostart.append(f"{path}: {line[:_LONGEST]}")
            if one["kind"] != "cron" or _STARTS & {*line.split()}:
                found.upgrade.append(f"disable {path} first: it starts containers and would start the old version")


def _divergence(client: Client, found: Described) -> None:
    """Say where the operator's Compose files describe something else than what runs."""
    plan = client.survey["plans"].get(client.project, {"changes": [], "refusals": [], "problem": ""})
    up = f"`docker compose up` in {client.containers[0]['folder']}"
    lines = [line for line in plan["changes"] if line.startswith(("create ", "recreate "))]
    if not client.operators:
        return
    scaled = [line for line in plan["changes"] if line.startswith("remove ")]
    if scaled:
        cure = "Set scale of the service in the Compose file to what runs, and run adopt.yml again"
        found.actions.append(Action((f"{up} would remove containers", *scaled), (cure,)))
    # What provision.yml does at once, with the containers beside the client, too; its own are listed with what is stopped.
    ours = {one["name"] for one in client.containers}
    at_once = [
        line
        for line in plan["changes"]
        if line.startswith("create ") or (line.startswith(("start ", "unpause ")) and line.split()[1] not in ours)
    ]
    found.changes += [f"{verb}s {rest}" for verb, _space, rest in (line.partition(" ") for line in at_once)]
    correct = "Correct that, and run adopt.yml again"
    if plan["refusals"]:
        found.actions.append(
            Action(
                ("upgrade.yml is refused, and provision.yml where it has to call Compose", *plan["refusals"]),
                (correct,),
            )
        )
    if plan["problem"]:
        found.actions.append(Action((f"{up} would fail", plan["problem"]), (correct,)))
    # `_compose.plan` begins so where the image differs; the collection's own file sets the version that runs.
    others = [line for line in lines if "(runs " in line]
    found.pending += [line for line in lines if line not in (*others, *at_once)]
    if others:
        found.actions.append(
            Action(
                (f"{up} would start something else than what runs", *others),
                ("Set there what runs, and run adopt.yml again; upgrade.yml is the way to another version",),
            )
        )


def _state(client: Client, found: Described, names: t.Mapping[str, str]) -> None:
    """What provision.yml adds around the client, what it starts, what an upgrade does, and what stays."""
    folder = names["project_dir"]
    found.changes.append(f"creates the folders {folder} and {names['state_dir']} where they are missing")
    if client.survey["docker"]:
        found.actions.append(Action(("provision.yml refuses this host",), (client.survey["docker"],)))
    if found.registration:
        found.upgrade.insert(0, "is refused until the registration is out of the container")
    found.changes += [f"starts {name}, also at boot: it {reason}" for name, reason in client.survey["services"].items()]
    found.changes += [f"installs {name}: {reason}" for name, reason in client.survey["missing"].items()]
    if client.project:
        theirs = compose_files.newest(client.containers)["operators_files"]
        found.changes.append(
            f"writes {folder}/compose.yml, which sets the version of the client after your Compose files"
            if client.operators
            else f"writes {folder}/compose.yml for the next recreation"
        )
        source = ", ".join(theirs) if client.operators else f"{folder}/compose.yml"
        end = "" if client.operators else ", which is at the end of report.md"
        found.upgrade.append(f"recreates the containers of the client from {source}{end}")
        if client.operators:
            found.upgrade.append(
                "sets the new version where your Compose files have it, with wa_upgrade_update_compose_files: true; without your "
                "permission an upgrade is refused that `docker compose up` would undo"
            )
    else:
        found.upgrade += [
            "is refused as long as the containers are outside Compose",
            f"five commands move them into the Compose project {deployment_topology.names(client.deployment)['project']} "
            f"({MOVE_GUIDE}); its Compose file is at the end of report.md",
        ]
    found.changes.append(
        f"installs /usr/local/sbin/wa-log-cleanup and /etc/cron.d/{names['cron_file']}: logs are not cleaned by themselves"
    )
    _sharing(client, found)
    _divergence(client, found)
    _autostart(client, found)
    stopped = [one["name"] for one in client.containers if one["state"] in ("exited", "created")]
    recorded = found.variables.get("wa_client_container_names", stopped)
    left = [name for name in stopped if name not in recorded]
    if left:
        found.notes.append(
            f"{', '.join(left)}: stopped, and another container has the same role; provision.yml does not start it; remove it "
            "(docker rm), or add it to wa_client_container_names"
        )
    stopped = [name for name in stopped if name in recorded]
    if stopped:
        found.changes.append(f"starts {', '.join(stopped)}, which {'are' if len(stopped) > 1 else 'is'} stopped now")
    for one in client.containers:
        log = one["settings"].get("logging", {})
        if log.get("driver") == "json-file" and "max-size" not in log.get("options", {}):
            cure = (
                "give its service logging options in the Compose file"
                if client.operators
                else "the next recreation limits it"
            )
            found.advice.append(f"Docker's log of {one['name']} grows without limit; {cure}")
        if one["settings"].get("restart", "no") == "no":
            found.advice.append(f"{one['name']} is not started again after a reboot (restart: no)")
