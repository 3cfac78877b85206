# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which clients a fleet runs: from what `wa_info` read of its hosts to deployments and their members. Pure rules."""

from __future__ import annotations

import contextlib
import functools
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._adopt import compose_files
from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology as deployment_topology
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file_rules
from ansible_collections.waba.onprem.plugins.module_utils._env.rules import PASSWORD

Survey = t.Mapping[str, t.Any]


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
    one_shots: list[dict[str, t.Any]] = field(repr=False)  # what is no service: migrations, `docker compose run`
    name: str = ""  # in the inventory to be written
    deployment: str = ""
    words: dict[str, str] = field(default_factory=dict)  # container -> web, core1, master1 ...
    actions: list[Action] = field(default_factory=list)

    @property
    def operators(self) -> bool:
        """Whether the operator's own Compose files describe it from now on."""
        return all(one["project"] and one["operators_files"] for one in self.containers)

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
    def version_place(self) -> str:
        """The operator's file that has its version: with the variable of its images, else its Compose files."""
        newest = compose_files.newest(self.containers)
        for path in reversed(compose_files.interpolation_files(newest)):
            if self.keys_of(path).keys() & {compose_files.version_variable(one) for one in self.containers}:
                return path
        return ", ".join(newest["operators_files"])

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
    def nodes(self) -> dict[str, str]:
        """The nodes that `/v1/health` names, by their ids; none if these are not the nodes of this client."""
        found = {str(name).rpartition(":")[2]: str(name) for name in self.evidence.get("nodes", [])}
        own = {one["id"][:12] for one in self.containers if one["role"] != "web" and one["state"] == "running"}
        return found if own <= found.keys() else {}

    @staticmethod
    def key(container: t.Mapping[str, t.Any]) -> str:
        """What a container keeps when it is recreated."""
        return f"{container['service']}/{container['number']}" if container["project"] else str(container["name"])


@dataclass
class Described:
    """One client as its inventory describes it, and what the report says of it."""

    variables: dict[str, t.Any] = field(default_factory=dict)
    secrets: dict[str, t.Any] = field(default_factory=dict, repr=False)
    guesses: dict[str, str] = field(default_factory=dict)  # why a variable may be wrong, as a comment on it
    registration: list[Action] = field(default_factory=list)  # comes first in the report
    actions: list[Action] = field(default_factory=list)
    compose_file: str = ""  # the role's, where the operator has none
    upgrade: list[str] = field(default_factory=list)  # what the next upgrade does, or what has to be done before
    notes: list[str] = field(default_factory=list)  # not understood, or not carried over
    unmanaged: list[str] = field(default_factory=list)  # beside the client, and none of the collection's business
    advice: list[str] = field(default_factory=list)  # stays as it is and could be better


def clients(host: str, survey: Survey) -> list[Client]:
    """The clients of one host, by project."""
    found: list[Client] = []
    for project in sorted({one["project"] for one in survey["containers"]}):
        ours = [one for one in survey["containers"] if one["project"] == project]
        beside = [one for one in survey["sidecars"] if one["project"] == project]
        services = [one for one in ours if not one["one_shot"]]
        if services:
            found.append(Client(host, project, survey, services, beside, [one for one in ours if one["one_shot"]]))
    return found


def one_off(container: t.Mapping[str, t.Any]) -> str:
    """Returns what is said of a container that is no service."""
    return f"{container['name']} is no service, but a migration or left over from a test ({container['state']}); it is not in the inventory"


def check_version_places(found: t.Sequence[Client]) -> None:
    """An upgrade of one of two clients with their version in one file would set it for the other, too."""
    ours = [client for client in found if client.operators]
    for client in ours:
        for other in ours:
            elsewhere = other.host != client.host or other.deployment == client.deployment
            if not elsewhere and other.version_place == client.version_place:
                facts = (
                    f"has its version in the same file as {other.name}: {client.version_place}",
                    "after an upgrade of one `docker compose up` would start the new version of the other on a database of the old one",
                )
                cure = "Give each an env file with a variable of its own for the version, and run adopt.yml again"
                client.actions.append(Action(facts, (cure,)))


def topology(members: t.Sequence[Client]) -> tuple[str, list[Action]]:
    """The topology of a deployment by its environment, and what is missing for it."""
    words = [word for client in members for word in client.words.values()]
    cure = "If it is on a host that was not read, run adopt.yml again with that host; otherwise start it, and run adopt.yml again"
    kinds = {"web": "Webapp", "core": "Coreapp", **({"master": "master"} if members[0].multiconnect else {})}
    actions = [
        Action((f"no container is its {called}",), (cure,))
        for kind, called in kinds.items()
        if not any(word.startswith(kind) for word in words)
    ]
    if members[0].multiconnect:
        return "high_availability", actions
    if len(words) > len(set(words)) or any(word not in ("web", "core1") for word in words):
        fact = f"it has {', '.join(sorted(words))} without WA_APP_MULTICONNECT=1, which is no topology of the client"
        cure = (
            "Give each of several clients a Compose project of its own, remove the containers that belong to none, and run adopt.yml "
            "again; do not run provision.yml before"
        )
        actions.append(Action((fact,), (cure,)))
    return "single", actions


def version(members: t.Sequence[Client]) -> tuple[str, list[Action]]:
    """The version of a deployment; several are an action, and the Coreapp's counts."""
    found: dict[str, list[str]] = {}
    actions: list[Action] = []
    for client in members:
        for one in sorted(client.containers, key=lambda each: each["role"] == "web"):
            reference, where = image_reference.parse(one["image"]), f"{one['name']} on {client.host}"
            number = ""
            with contextlib.suppress(WaError):
                number = deployment_topology.normalise_version(reference.tag)
                found.setdefault(number, []).append(where)
            wanted = f"{reference.written}:v{number or 'VERSION'}"
            if reference.digest or reference.tag != f"v{number}":
                facts = (
                    f"the image of {where} is {one['image']}, and the collection looks for {wanted}",
                    "until it is, provision.yml recreates nothing, or is refused, and upgrade.yml is refused",
                )
                steps = (
                    f"On {client.host}: `docker tag {one['image']} {wanted}`, and the same in the registry",
                    f"Name {wanted} where {one['name']} is defined, recreate it when that suits you, and run adopt.yml again",
                )
                actions.append(Action(facts, steps))
            declared = one["next_image"] or one["image"]
            if client.operators and image_reference.parse(declared).tag != reference.tag:
                fact = f"`docker compose up` in {one['folder']} would start {declared}, and {where} runs {one['image']}"
                cure = "Set there what runs, and run adopt.yml again; upgrade.yml is the way to another version"
                actions.append(Action((fact,), (cure,)))
    if len(found) > 1:
        versions = [f"{each}: {', '.join(where)}" for each, where in sorted(found.items())]
        cure = "Bring all containers to one version, and run adopt.yml again"
        actions.append(Action(("more than one version runs", *versions, "provision.yml refuses that"), (cure,)))
    return next(iter(found), ""), actions
