# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which clients a fleet runs: from what `wa_info` read of its hosts to deployments and their members. Pure rules."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._adopt import compose_files
from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology as deployment_topology
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file_rules
from ansible_collections.waba.onprem.plugins.module_utils._env.rules import PASSWORD

Survey = t.Mapping[str, t.Any]
# Names under which each host reaches a server of its own.
_OWN = re.compile(r"localhost|127\..*|::1|0\.0\.0\.0|host\.docker\.internal|172\.17\.0\.1")


@dataclass(frozen=True)
class Action:
    """What an operator has to do: what was found, one fact a line, the steps, and another way."""

    facts: tuple[str, ...]
    steps: tuple[str, ...]
    otherwise: str = ""


@dataclass
class Client:
    """The containers of one project on one host, and the db.env that they were given."""

    host: str
    project: str
    survey: Survey = field(repr=False)
    containers: list[dict[str, t.Any]] = field(repr=False)
    sidecars: list[dict[str, t.Any]] = field(repr=False)
    name: str = ""  # in the inventory to be written
    deployment: str = ""
    words: dict[str, str] = field(default_factory=dict)  # container -> web, core1, master1 ...
    notes: list[str] = field(default_factory=list)  # what was not understood
    actions: list[Action] = field(default_factory=list)

    @property
    def operators(self) -> bool:
        """Whether the operator's own Compose files describe it from now on."""
        return compose_files.applies(self.containers)

    @property
    def environment(self) -> dict[str, str]:
        """What is in force in a Coreapp, or in the Webapp of a host that has none."""
        ordered = sorted(self.containers, key=lambda one: (one["role"] == "web", one["state"] != "running"))
        return dict(ordered[0]["environment"])

    @property
    def env_file(self) -> dict[str, t.Any] | None:
        """The file that gives the containers their database settings, rather the one with the password; None when there is none."""
        keys = {path: {*self.keys_of(path)} for one in self.containers for path in one["env_files"]}
        settings = [path for path in keys if any(key.startswith("WA_DB_") for key in keys[path])]
        settings.sort(key=lambda path: PASSWORD not in keys[path])
        return self.file(settings[0]) if settings else None

    def file(self, path: str) -> dict[str, t.Any] | None:
        """A file that was read with its text, or None."""
        return next((one for one in self.survey["files"] if one["path"] == path and one["text"] is not None), None)

    def env_format(self, path: str) -> str:
        """Returns who read an env file, so that its lines mean what they meant. With `format: raw` Compose reads it as Docker does."""
        entries = [entry for one in self.containers for entry in one["declared"].get("env_file") or []]
        raw = any(one["path"] == path and one.get("format") == "raw" for one in entries)
        return "docker" if raw or not self.project else "compose"

    def keys_of(self, path: str) -> dict[str, str | None]:
        """The variables of an env file."""
        file = self.file(path)
        entries = env_file_rules.read(file["text"], self.env_format(path)) if file else []
        return {entry.key: entry.value for entry in entries if entry.key}

    def given(self, container: t.Mapping[str, t.Any]) -> dict[str, str | None]:
        """The variables that a container's files give it, unless its Compose file sets them to something else."""
        found: dict[str, str | None] = {}
        for path in container["env_files"]:
            found.update(self.keys_of(path))
        own, has = container["own_keys"], container["environment"]
        return {key: value for key, value in found.items() if key not in own or (value and has.get(key) == value)}

    @property
    def version_files(self) -> dict[str, list[str]]:
        """The operator's files that may have the version of each container, see `compose_files.version_files`."""
        found = self.containers if self.operators else []
        return {one["name"]: compose_files.version_files(one, self.survey["files"]) for one in found}

    @property
    def multiconnect(self) -> bool:
        """Whether it is a node of a client that may be on several hosts."""
        return any(one["environment"].get("WA_APP_MULTICONNECT") == "1" for one in self.containers)

    @property
    def databases(self) -> dict[str, list[str]]:
        """Its Coreapps and masters that are not stopped, by the database that they use."""
        found: dict[str, list[str]] = {}
        for one in self.containers:
            host, prefix = (one["environment"].get(f"WA_DB_{key}", "") for key in ("HOSTNAME", "NAME_PREFIX"))
            if host and one["role"] != "web" and one["state"] not in ("exited", "created", "dead"):
                found.setdefault(f"{host.lower().rstrip('.')} {prefix}".rstrip(), []).append(one["name"])
        return found

    @property
    def database(self) -> tuple[str, ...]:
        """What tells one client's database from another's; the host as well, where the server is the host's own."""
        environment = self.environment
        server = environment.get("WA_DB_HOSTNAME", "").lower().rstrip(".")
        names = dict(
            text.partition(":")[::2] for one in self.containers for text in one["settings"].get("extra_hosts", [])
        )
        server = names.get(server, server)
        beside = {one["service"] for one in self.sidecars} | {one["name"] for one in self.sidecars}
        own = self.host if not server or _OWN.fullmatch(server) or server in beside else ""
        rest = [environment.get(f"WA_DB_{key}", "") for key in ("ENGINE", "PORT", "NAME_PREFIX")]
        return (own, server, *rest)


@dataclass
class Described:
    """One client as its inventory describes it, and what the report says of it."""

    variables: dict[str, t.Any] = field(default_factory=dict)
    secrets: dict[str, t.Any] = field(default_factory=dict, repr=False)
    autostart: list[str] = field(default_factory=list)  # lines of the host that start it or clean its logs
    registration: list[Action] = field(default_factory=list)  # comes first in the report
    actions: list[Action] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)  # what provision.yml does
    compose_file: str = ""  # the role's, where the operator has none
    pending: list[str] = field(default_factory=list)  # what waits for an upgrade, or for the operator's word
    upgrade: list[str] = field(default_factory=list)  # what the next upgrade does
    notes: list[str] = field(default_factory=list)  # not understood, or not carried over
    advice: list[str] = field(default_factory=list)  # stays as it is and could be better


def clients(host: str, survey: Survey) -> list[Client]:
    """The clients of one host, by project."""
    found: list[Client] = []
    left: list[str] = []  # said of what is in no client's project
    for project in sorted({one["project"] for one in survey["containers"]}):
        ours = [one for one in survey["containers"] if one["project"] == project]
        services = [one for one in ours if not one["one_shot"]]
        client = Client(
            host, project, survey, services, [one for one in survey["sidecars"] if one["project"] == project]
        )
        client.notes += one_off_containers(ours)
        if services:
            _guess_env_files(client)
            found.append(client)
        else:
            left += client.notes
    if found:
        found[0].notes += left
    return found


def one_off_containers(containers: t.Iterable[t.Mapping[str, t.Any]]) -> list[str]:
    """Returns what is said of each container that is no service."""
    return [
        f"{one['name']} is {_kind(one)} ({one['state']}); it is not in the inventory"
        for one in containers
        if one["one_shot"]
    ]


def _kind(container: t.Mapping[str, t.Any]) -> str:
    """What a container is that is no service."""
    if container["environment"].get("WA_DB_UPGRADE") == "1":
        return "a migration"
    # Another Coreapp of the number would run beside it.
    if container["role"] != "web" and container["state"] == "running":
        return "run by `docker compose run`, stop it before you start its service"
    return "left over from a test"


def _guess_env_files(client: Client) -> None:
    """Outside Compose nothing may name a container's env file; one that has all that a sister's file gives reads it."""
    file = client.env_file
    if client.project or file is None:
        return
    pairs = client.keys_of(file["path"]).items()
    for one in client.containers:
        if not one["env_files"] and all(one["environment"].get(key) == value for key, value in pairs):
            one["env_files"] = [file["path"]]


def name(found: t.Sequence[Client], inventory: t.Container[str]) -> dict[str, list[Client]]:
    """Name clients and group them to deployments: name -> members, sorted. `inventory` are names that are taken.

    A machine's only client keeps the machine's name; each of several gets the project behind it.
    """
    counts: dict[str, int] = {}
    for client in found:
        counts[client.host] = counts.get(client.host, 0) + 1
    for client in found:
        part = deployment_topology.slug(client.project or "docker-run")
        client.name = client.host if counts[client.host] == 1 else f"{client.host}-{part}"
    groups: dict[tuple[str, ...], list[Client]] = {}
    for client in found:
        key = client.database if client.multiconnect else (*client.database, client.host, client.project)
        groups.setdefault(key, []).append(client)
    deployments: dict[str, list[Client]] = {}
    for members in groups.values():
        members.sort(key=lambda client: client.name)
        label = (
            members[0].name if len(members) == 1 else _free(_label(members), [*deployments, *_names(found, inventory)])
        )
        for client in members:
            client.deployment = label
        deployments[label] = members
        _number(members)
    _check_neighbours(found)
    _check_version_files(found)
    return dict(sorted(deployments.items()))


def _names(found: t.Sequence[Client], inventory: t.Container[str]) -> list[str]:
    return [client.name for client in found] + [client.host for client in found if client.host in inventory]


def _label(members: t.Sequence[Client]) -> str:
    projects = {client.project for client in members} - {""}
    return re.sub(r"[^a-z0-9_]", "_", projects.pop().lower()) if len(projects) == 1 else "waba"


def _free(label: str, taken: t.Container[str]) -> str:
    number, found = 1, label
    while found in taken or found in ("all", "ungrouped"):
        number += 1
        found = f"{label}{number}"
    return found


def _number(members: t.Sequence[Client]) -> None:
    """Give every container its word: `web`, `core1`, `master1`; the numbers run through all members."""
    counts = {"core": 0, "master": 0}
    for client in members:
        for one in sorted(client.containers, key=lambda each: (str(each["service"]), int(each["number"]))):
            if one["role"] == "web":
                client.words[one["name"]] = "web"
            else:
                counts[one["role"]] += 1
                client.words[one["name"]] = f"{one['role']}{counts[one['role']]}"


def _check_neighbours(found: t.Sequence[Client]) -> None:
    """Clients of different deployments that share one database kick each other off."""
    for client in found:
        for other in found:
            if other.deployment != client.deployment and other.database == client.database:
                if not all(any(one["role"] != "web" for one in each.containers) for each in (client, other)):
                    fact = f"has the database of {other.name}, and one of the two has no Coreapp: they are halves of one client"
                    client.actions.append(
                        Action(
                            (fact,),
                            (
                                "Put both into one Compose project, and run adopt.yml again; do not run provision.yml before",
                            ),
                        )
                    )
                    continue
                running = [
                    each.name for each in (client, other) if any(one["state"] == "running" for one in each.containers)
                ]
                client.actions.append(
                    Action(
                        (
                            f"shares its database with {other.name}, and neither is a multiconnect client",
                            "two clients for one number disconnect each other",
                            f"running: {', '.join(sorted(running)) or 'neither'}",
                        ),
                        ("Stop one of them, and remove it from inventory.yml",),
                    )
                )


def _version_files(client: Client) -> set[str]:
    return {", ".join(files) for files in client.version_files.values() if files}


def _check_version_files(found: t.Sequence[Client]) -> None:
    """An upgrade of one of two clients with their version in one file would set it for the other, too."""
    for client in found:
        for other in found:
            shared = ", ".join(sorted(_version_files(client) & _version_files(other)))
            if shared and other.host == client.host and other.deployment != client.deployment:
                client.actions.append(
                    Action(
                        (
                            f"has its version in the same file as {other.name}: {shared}",
                            "after an upgrade of one `docker compose up` would start the new version of the other on a database of the "
                            "old one",
                        ),
                        ("Give each an env file with a variable of its own for the version, and run adopt.yml again",),
                    )
                )


def topology(members: t.Sequence[Client]) -> tuple[str, list[Action]]:
    """The topology of a deployment by its environment, and what is missing for it."""
    words = [word for client in members for word in client.words.values()]
    cure = (
        "start it from your Compose files, and run adopt.yml again"
        if members[0].operators
        else "provision.yml creates it"
    )
    read_all = f"If it is on a host that was not read, run adopt.yml again with that host; otherwise {cure}"
    if not members[0].multiconnect:
        missing = [kind for kind in ("web", "core1") if kind not in words]
        actions = [
            Action((f"no container is its {'Webapp' if kind == 'web' else 'Coreapp'}",), (read_all,))
            for kind in missing
        ]
        databases = members[0].databases
        if len(databases) > 1:
            lines = [f"{database}: {', '.join(where)}" for database, where in sorted(databases.items())]
            fact = "its containers have different databases, as if they were two clients"
            cure = "Give each client a Compose project of its own, and run adopt.yml again; do not run provision.yml before"
            actions.append(Action((fact, *lines), (cure,)))
        elif len(words) > len(set(words)) or any(word not in ("web", "core1") for word in words):
            actions.append(
                Action(
                    (
                        f"it has {', '.join(sorted(words))} without WA_APP_MULTICONNECT=1, which is no topology of the client",
                    ),
                    ("Remove the containers that do not belong to it, and run adopt.yml again",),
                )
            )
        return "single", actions
    actions = [
        Action((f"no container is its {called}", "its database may have another name on another host"), (read_all,))
        for kind, called in (("web", "Webapp"), ("core", "Coreapp"), ("master", "master"))
        if not any(word.startswith(kind) for word in words)
    ]
    return "high_availability", actions


def version(members: t.Sequence[Client]) -> tuple[str, list[Action]]:
    """The version of a deployment; several are an action, and the Coreapp's counts."""
    found: dict[str, list[str]] = {}
    actions: list[Action] = []
    for client in members:
        for one in sorted(client.containers, key=lambda each: each["role"] == "web"):
            reference = image_reference.parse(one["image"])
            tag, repository = reference.tag, reference.written
            try:
                number = deployment_topology.normalise_version(tag)
                found.setdefault(number, []).append(f"{one['name']} on {client.host}")
            except WaError:
                actions.append(
                    Action(
                        (
                            f"the image of {one['name']} has no version in its tag: {one['image']}",
                            "provision.yml refuses it",
                        ),
                        (
                            f"On {client.host}: `docker tag {one['image']} {repository}:vVERSION`",
                            f"Create {one['name']} from that tag, and run adopt.yml again",
                        ),
                    )
                )
                continue
            if reference.digest:
                actions.append(
                    Action(
                        (
                            f"the image of {one['name']} on {client.host} is named by its digest, which upgrade.yml cannot change",
                            "until it is not, provision.yml recreates nothing, and upgrade.yml is refused",
                        ),
                        (
                            f"Name {repository}:v{number} in the Compose files, without the digest, and run adopt.yml again",
                        ),
                    )
                )
            if tag != f"v{number}":
                actions.append(
                    Action(
                        (
                            f"the image of {one['name']} on {client.host} is tagged {tag}, and the collection looks for v{number}",
                            "until it is, provision.yml recreates nothing, and upgrade.yml is refused",
                        ),
                        (
                            f"On {client.host}: `docker tag {one['image']} {repository}:v{number}`, and the same in the registry",
                            f"Name {repository}:v{number} where {one['name']} is defined, recreate it when that suits you, and run adopt.yml again",
                        ),
                    )
                )
    if len(found) > 1:
        versions = [f"{each}: {', '.join(where)}" for each, where in sorted(found.items())]
        actions.append(
            Action(
                ("more than one version runs", *versions, "provision.yml refuses that"),
                ("Bring all containers to one version, and run adopt.yml again",),
            )
        )
    return next(iter(found), ""), actions
