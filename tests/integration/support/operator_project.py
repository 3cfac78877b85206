# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that an operator starts from Compose files of their own, and the same client after its adoption."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from commands import docker, run
from docker.errors import NotFound
from engine import PROJECT, Engine
from real_compose import Runner
from simulated import run_module

from ansible_collections.waba.onprem.plugins.module_utils._adopt import compose_files, inventory, placing, report
from ansible_collections.waba.onprem.plugins.module_utils._docker import inspection
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC
from ansible_collections.waba.onprem.plugins.modules.wa_adopt import read_compose_files
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired as desired
from ansible_collections.waba.onprem.plugins.plugin_utils._inventory import Inventory

REGISTRY = "registry.test:5000"
OLD, NEW = "2.51.2", "2.53.4"
HOST = "h1"
_SHELL = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONFIG")
Variables = dict[str, t.Any]


@dataclass(frozen=True)
class Layout:
    """How an operator keeps the Compose files of a client and starts it, and what is expected of the adoption.

    In all texts `@P` is the project, `@R` the registry with the path of the images, `@H` such a path on Docker
    Hub, `@W` where the Webapp's port is published, and `@D` the folder of the start.
    """

    files: t.Mapping[str, str]  # by the path below the folder of the start
    options: t.Sequence[str] = ()  # of `docker compose`, before `up`
    shell: t.Mapping[str, str] = field(default_factory=dict)  # what only the shell has
    folder: str = "@P"
    link: str = ""  # a symbolic link to the folder, through which the client is started
    links: t.Mapping[str, str] = field(default_factory=dict)  # symbolic links in the folder, and where they point
    gone: t.Sequence[str] = ()  # files that are removed after the start
    before: t.Sequence[t.Sequence[str]] = ()  # commands of docker
    others: t.Sequence[t.Sequence[str]] = ()  # options for other projects of the folder
    project_dir: str = "."
    compose_files: t.Sequence[str] = ("docker-compose.yml",)
    # Expected: wa_client_compose_* besides the folder and the files; texts with the version by file, or why it cannot be set.
    adopted: t.Mapping[str, t.Any] = field(default_factory=dict)
    version: t.Mapping[str, t.Sequence[str]] = field(default_factory=dict)
    refused: str = ""
    left: str = ""  # why adoption leaves the client alone


class Start:
    """What an operator starts: a layout with the values of its placeholders."""

    def __init__(
        self, layout: Layout, base: Path, registry: str, images: str, published: str, project: str = ""
    ) -> None:
        self.layout, self.registry, self.images_path, self.published = layout, registry, images, published
        self.project = project or f"t{uuid.uuid4().hex[:8]}"
        self.real_folder = base / self.text(layout.folder)
        self.folder = base / layout.link if layout.link else self.real_folder

    def text(self, value: str) -> str:
        """Returns a text of the layout with the values of its placeholders."""
        value = value.replace("@P", self.project).replace("@R", f"{self.registry}/{self.images_path}")
        value = value.replace("@H", self.images_path).replace("@W", self.published)
        return value.replace("@D", str(self.folder)) if "@D" in value else value

    def path(self, name: str) -> str:
        """Returns the path of a file or folder of the layout."""
        return os.path.normpath(self.folder / name)

    @property
    def shell(self) -> dict[str, str]:
        """The variables that only the operator's shell has."""
        return {key: self.text(value) for key, value in self.layout.shell.items()}

    @property
    def projects(self) -> list[str]:
        """The projects of the folder."""
        return [self.project, *(self.text(options[1]) for options in self.layout.others)]

    def edited(self, name: str, data: bytes) -> bytes:
        """Returns the content of a file with the new version where the layout says that the file has it, except in comments."""
        name = {target: link for link, target in self.layout.links.items()}.get(name, name)
        if name not in self.layout.version:
            return data  # a file of media is no text
        lines = data.decode().splitlines(keepends=True)
        for text in map(self.text, self.layout.version[name]):
            variable, _equals, value = text.rpartition("=")
            for number, line in enumerate(lines):
                if variable in line and not line.lstrip().startswith("#"):
                    lines[number] = line.replace(value, value.replace(OLD, NEW))
        return "".join(lines).encode()


class Operator(Start):
    """A client that an operator starts with the files and the command of a layout."""

    def __init__(self, layout: Layout, base: Path, images: str, engine_host: str) -> None:
        super().__init__(layout, base, REGISTRY, images, "127.0.0.1:")
        self.engine, self.engine_host = Engine(), engine_host
        self.own = base / "waba"  # of the collection
        self.own.mkdir()
        self.real_folder.mkdir(parents=True)
        if layout.link:
            self.folder.symlink_to(self.real_folder)
        for path, content in layout.files.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self.text(content), encoding="utf-8", newline="")
        for path, target in layout.links.items():
            (self.folder / path).symlink_to(target)

    def compose(self, *arguments: str, options: t.Sequence[str] | None = None) -> str:
        """Runs Compose as the operator does."""
        kept = {name: os.environ[name] for name in _SHELL if name in os.environ}
        words = ["docker", "compose", *map(self.text, self.layout.options if options is None else options), *arguments]
        return run(*words, cwd=self.folder, env={**kept, **self.shell, "PWD": str(self.folder)})

    def start(self) -> None:
        """Starts the client, and what else the folder has."""
        for words in self.layout.before:
            docker(*map(self.text, words))
        for options in self.layout.others:
            self.compose("up", "--detach", options=options)
        self.compose("up", "--detach")
        for path in self.layout.gone:
            (self.folder / path).unlink()

    def images(self) -> list[str]:
        """Returns the images that the operator's own files give, sorted."""
        return sorted({line for line in self.compose("config", "--images").splitlines() if line})

    def ids(self) -> dict[str, str]:
        """Returns the containers of the folder's projects: name and id."""
        found = [pair for project in self.projects for pair in self.engine.containers(project).items()]
        return {name: str(one["Id"]) for name, one in found}

    def contents(self) -> dict[str, tuple[int, bytes]]:
        """Returns the mode and the content of all files of the operator's folder."""
        files = [path for path in sorted(self.folder.rglob("*")) if path.is_file() and not path.is_symlink()]
        return {str(path.relative_to(self.folder)): (path.stat().st_mode, path.read_bytes()) for path in files}

    def clean(self) -> None:
        """Removes all containers, networks and volumes."""
        api = self.engine.client.api
        labels = [{"label": f"{PROJECT}={project}"} for project in self.projects]
        made: dict[str, list[str]] = {"network": [], "volume": []}
        for words in self.layout.before:
            made[words[0]].append(self.text(words[-1]))
        for label in labels:
            for one in api.containers(all=True, filters=label):
                api.remove_container(one["Id"], force=True, v=True)
        for label in labels:
            made["network"] += [one["Id"] for one in api.networks(filters=label)]
            made["volume"] += [one["Name"] for one in api.volumes(filters=label)["Volumes"] or []]
        for kind, remove in (("network", api.remove_network), ("volume", api.remove_volume)):
            for name in made[kind]:
                with contextlib.suppress(NotFound):  # the start may have failed before
                    remove(name)
        self.engine.client.close()


class Adopted:
    """The client as the inventory describes it that `adopt` writes."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.docker = {"docker_host": operator.engine_host}
        survey = self._survey()
        adoption = inventory.build(
            {HOST: survey},
            {},
            inventory.Source({HOST: {}}, answers={HOST: HOST}),
            lambda hosts, host, groups: desired.compose_file_of(hosts, host, groups, lambda text: text),
        )
        self.report = "\n".join(report.lines(adoption.report, ""))
        placed = placing.place(adoption.hosts, adoption.secrets)
        self.variables: Variables = {
            **placed.documents.get(f"host_vars/{HOST}/vars.yml", {}),
            **placed.secrets.get(f"host_vars/{HOST}/vault.yml", {}),
        }
        if not self.variables:  # it was left alone
            return
        given = {
            **self.variables,
            "inventory_hostname": HOST,
            "wa_docker_host": operator.engine_host,
            "wa_project_dir": str(operator.own),
        }
        variables = {**given, "groups": {"all": [HOST]}, "hostvars": {HOST: given}}
        ours = Inventory(variables, Templar(loader=DataLoader(), variables=variables).template)
        self.client = desired.client(ours)
        self.called: Variables = self.client["compose"]

    def _survey(self) -> Variables:
        """Returns what `adopt` reads of the host."""
        options = {key: option.get("default") for key, option in ARGUMENT_SPEC.items()}
        found = inspection.read(Docker({**options, **self.docker}))
        for kind in ("containers", "sidecars"):
            found[kind] = [one for one in found[kind] if one["project"] == self.operator.project]
        read_compose_files([*found["containers"], *found["sidecars"]], Runner())
        found["autostart"] = []
        found["files"] = inspection.read_files(compose_files.complete_env_files(found))
        return found

    def compose_variables(self) -> Variables:
        """Returns what says how Compose was called, with paths relative to the folder of the start."""
        start = "wa_client_compose_"
        return {key[len(start) :]: value for key, value in self.variables.items() if key.startswith(start)}

    def write(self) -> None:
        """Writes the files of the role."""
        for file in self.client["files"]:
            Path(file["path"]).write_text(file["content"], encoding="utf-8")

    def plan(self) -> Variables:
        """Returns what the role would do, before its files are written."""
        found = run_module(
            "wa_client",
            {
                **self.docker,
                "project": self.client["project"],
                "project_dir": self.called["folder"],
                "content": json.dumps(self.client["document"]),
                "compose_files": self.client["planned_files"],
                "interpolation_files": self.called["env_files"],
                "profiles": self.called["profiles"],
                "services": self.called["services"],
                "version": OLD,
                "recreate": "later",
            },
        )
        assert not found.get("failed"), found
        return found

    def up(self, *given: str) -> None:
        """Calls Compose as the role does, with options and names of services; without them as an upgrade does, for the whole client."""
        words = [*self.called["command"], "up", "--detach", "--pull=missing", *(given or self.called["services"])]
        run(*words, cwd=self.called["folder"], env={**os.environ, **self.called["environment"]})

    def upgrade(self, check: bool = False, **options: t.Any) -> Variables:
        """Returns the result of wa_client for the version."""
        given = {
            "state": "versioned",
            "project": self.client["project"],
            "project_dir": self.called["folder"],
            "compose_files": self.called["files"][:-1],
            "interpolation_files": self.called["env_files"],
            "images": self.called["repositories"],
            "version": NEW,
        }
        return run_module("wa_client", {**given, **options}, check)

    def migration(self) -> tuple[Variables, Variables]:
        """Returns the one-shot migration, and the Coreapp that it is made from, as Compose reads them."""
        core = next(one["name"] for one in self.client["services"] if one["image"] != "web")
        path = self.operator.own / "migration.yml"
        images = {core: self.called["repositories"][core]}
        made = self.upgrade(state="migratable", compose_file=str(path), images=images)
        assert not made.get("failed"), made
        assert made["actions"] == [f"wrote {path}"]
        words = [*self.called["command"], f"--file={path}", "--profile=dbupgrade", "config", "--format=json"]
        services = json.loads(run(*words, cwd=self.called["folder"]))["services"]
        return services["dbupgrade"], services[core]
