# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which clients a fleet runs: from what `wa_info` read of its hosts to deployments and their members. Pure rules."""

from __future__ import annotations

import functools
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MEDIA_FOLDER
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file_rules
from ansible_collections.waba.onprem.plugins.module_utils._env.rules import PASSWORD

Survey = t.Mapping[str, t.Any]
# The order of actions: what is lost for ever first.
REGISTRATION, LEFT, OTHER = range(3)


@dataclass(frozen=True)
class Action:
    """What an operator has to do: what was found, one fact a line, and the cure."""

    facts: tuple[str, ...]
    cure: str
    kind: int = LEFT


@dataclass
class Described:
    """One client as its inventory describes it, and what the report says of it."""

    variables: dict[str, t.Any] = field(default_factory=dict)
    secrets: dict[str, t.Any] = field(default_factory=dict, repr=False)
    guesses: dict[str, str] = field(default_factory=dict)  # why a variable may be wrong, as a comment on it
    actions: list[Action] = field(default_factory=list)
    compose_file: str = ""  # the role's, where the operator has none


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
    described: Described = field(default_factory=Described)

    @property
    def operators(self) -> bool:
        """Whether the operator's own Compose files describe it from now on."""
        return all(one["project"] and one["operators_files"] for one in self.containers)

    @property
    def environment(self) -> dict[str, str]:
        """What is in force in a Coreapp, or in the Webapp of a host that has none."""
        return dict(
            min(self.containers, key=lambda one: (one["role"] == "web", one["state"] != "running"))["environment"]
        )

    @property
    def env_file(self) -> dict[str, t.Any] | None:
        """The file that gives the containers their database settings, rather the one with the password; None when there is none."""
        keys = {path: {*self.keys_of(path)} for one in self.containers for path in one["env_files"]}
        settings = [path for path in keys if any(key.startswith("WA_DB_") for key in keys[path])]
        return self.file(max(settings, key=lambda path: PASSWORD in keys[path])) if settings else None

    def file(self, path: str) -> dict[str, t.Any] | None:
        """A file that was read with its text, or None."""
        return next((one for one in self.survey["files"] if one["path"] == path and one["text"] is not None), None)

    @property
    def env_format(self) -> str:
        """Who read its env files, so that their lines mean what they meant."""
        return "compose" if self.project else "docker"

    def keys_of(self, path: str) -> dict[str, str | None]:
        """The variables of an env file."""
        file = self.file(path)
        entries = env_file_rules.read(file["text"], self.env_format) if file else []
        return {entry.key: entry.value for entry in entries if entry.key}

    @property
    def media(self) -> dict[str, list[str]]:
        """The containers by what they mount as media, such as `volume whatsappMedia`."""
        found: dict[str, list[str]] = {}
        for one in self.containers:
            mounted = [f"{kind} {source}" for kind, source, path in one["mounts"] if path.rstrip("/") == MEDIA_FOLDER]
            # Some of the vendor's templates have masters that mount nothing (domain: masters).
            if mounted or one["role"] != "master":
                found.setdefault(mounted[0] if mounted else "nothing", []).append(str(one["name"]))
        return found

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


def clients(host: str, survey: Survey) -> list[Client]:
    """The clients of one host, by project."""
    projects: dict[str, list[dict[str, t.Any]]] = {}
    for one in survey["containers"]:
        projects.setdefault(one["project"], []).append(one)
    return [
        Client(
            host,
            project,
            survey,
            containers=[one for one in ours if not one["one_shot"]],
            sidecars=[one for one in survey["sidecars"] if one["project"] == project],
            one_shots=[one for one in ours if one["one_shot"]],
        )
        for project, ours in sorted(projects.items())
        if not all(one["one_shot"] for one in ours)
    ]
