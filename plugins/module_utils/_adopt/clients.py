# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which clients a fleet runs: from what `wa_info` read of its hosts to deployments and their members. Pure rules."""

from __future__ import annotations

import functools
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
    tries: list[dict[str, t.Any]] = field(repr=False)  # what is no service: migrations, `docker compose run`
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

    @functools.cached_property
    def multiconnect(self) -> bool:
        """Whether it is a node of a client that may be on several hosts."""
        return any(one["environment"].get("WA_APP_MULTICONNECT") == "1" for one in self.containers)

    @functools.cached_property
    def ids(self) -> set[str]:
        """The ids of its Coreapps and masters as `/v1/health` names them."""
        return {one["id"][:12] for one in self.containers if one["role"] != "web"}

    @property
    def evidence(self) -> t.Mapping[str, t.Any]:
        """What was asked besides the engine, see `evidence.py`; empty where nothing was."""
        return t.cast("t.Mapping[str, t.Any]", self.survey.get("evidence", {}).get(self.project, {}))

    @functools.cached_property
    def node_names(self) -> list[str]:
        """The nodes that `/v1/health` names; none if these are not the nodes of this client."""
        names = [str(name) for name in self.evidence.get("nodes", [])]
        own = {one["id"][:12] for one in self.containers if one["role"] != "web" and one["state"] == "running"}
        return names if own <= {name.rpartition(":")[2] for name in names} else []

    @functools.cached_property
    def nodes(self) -> set[str]:
        """Their ids."""
        return {name.rpartition(":")[2] for name in self.node_names}

    @property
    def server(self) -> t.Mapping[str, t.Any]:
        """The running database server, see `_database.guard.server`; empty where it could not be asked."""
        return t.cast("t.Mapping[str, t.Any]", self.evidence.get("server", {}))

    @property
    def unasked(self) -> str:
        """Why its nodes, or its database server, are not known."""
        return "; ".join(text for text in self.evidence.get("problems", []) if text)

    @staticmethod
    def key(container: t.Mapping[str, t.Any]) -> str:
        """What a container keeps when it is recreated."""
        return f"{container['service']}/{container['number']}" if container["project"] else str(container["name"])

    @property
    def databases(self) -> dict[str, list[str]]:
        """Its Coreapps and masters that are not stopped, by the database that they use."""
        found: dict[str, list[str]] = {}
        for one in self.containers:
            host, prefix = (one["environment"].get(f"WA_DB_{key}", "") for key in ("HOSTNAME", "NAME_PREFIX"))
            if host and one["role"] != "web" and one["state"] not in ("exited", "created", "dead"):
                found.setdefault(f"{host.lower().rstrip('.')} {prefix}".rstrip(), []).append(one["name"])
        return found

    @functools.cached_property
    def database(self) -> tuple[str, ...]:
        """What its database is called; the host as well, where the server is the host's own. Equal names prove nothing."""
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
    guesses: dict[str, str] = field(default_factory=dict)  # why a variable may be wrong, as a comment on it
    autostart: list[str] = field(default_factory=list)  # lines of the host that start it or clean its logs
    registration: list[Action] = field(default_factory=list)  # comes first in the report
    actions: list[Action] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)  # what provision.yml does
    compose_file: str = ""  # the role's, where the operator has none
    pending: list[str] = field(default_factory=list)  # what waits for an upgrade, or for the operator's word
    upgrade: list[str] = field(default_factory=list)  # what the next upgrade does
    notes: list[str] = field(default_factory=list)  # not understood, or not carried over
    unmanaged: list[str] = field(default_factory=list)  # beside the client, and none of the collection's business
    advice: list[str] = field(default_factory=list)  # stays as it is and could be better


def clients(host: str, survey: Survey) -> list[Client]:
    """The clients of one host, by project."""
    found: list[Client] = []
    left: list[str] = []  # said of what is in no client's project
    for project in sorted({one["project"] for one in survey["containers"]}):
        ours = [one for one in survey["containers"] if one["project"] == project]
        services = [one for one in ours if not one["one_shot"]]
        client = Client(
            host,
            project,
            survey,
            services,
            [one for one in survey["sidecars"] if one["project"] == project],
            [one for one in ours if one["one_shot"] and one["environment"].get("WA_DB_UPGRADE") != "1"],
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


def _version_files(client: Client) -> set[str]:
    return {", ".join(files) for files in client.version_files.values() if files}


def check_version_files(found: t.Sequence[Client]) -> None:
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
