# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_client with the real Compose and Docker: what it predicts it does, and nothing else."""

from __future__ import annotations

import copy
import json
import os
import typing as t
from pathlib import Path

import pytest
from commands import docker

from ansible_collections.waba.onprem.plugins.module_utils._compose import definitions
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import DEFINITION_LABEL, HEADER, OWN_LABEL

CANARY = "Canary-4711$x"
CLASSIC = {**os.environ, "DOCKER_BUILDKIT": "0"}
Document = dict[str, t.Any]


class Project:
    """A client in a folder, with a db.env, from the collection's file or an operator's."""

    def __init__(self, ansible: t.Any, clients: t.Any, folder: Path) -> None:
        self.ansible, self.clients, self.folder, self.name = ansible, clients, folder, clients.project
        self.file, self.env, self.record = folder / "compose.yml", folder / "db.env", folder / "client.json"
        self.env.write_text(f"WA_DB_HOSTNAME={self.name}\nWA_DB_PASSWORD='{CANARY}'\n")
        clients.volume()
        base = {
            "env_file": [str(self.env)],
            "environment": {"WA_CONFIG_ON_DB": "1"},
            "command": ["sleep", "infinity"],
            "init": True,
            "restart": "no",
            "stop_grace_period": "1s",
            "networks": ["default"],
            "volumes": ["media:/usr/local/wamedia"],
            "extra_hosts": ["hsm.example.com:192.0.2.7"],
            "ulimits": {"nofile": 1024},
            "logging": {"driver": "json-file", "options": {"max-size": "50m"}},
        }
        web = {"image": clients.tag("web"), "depends_on": ["wacore"], "ports": ["127.0.0.1::443"]}
        bodies = {"wacore": {"image": clients.tag("coreapp")}, "waweb": web}
        self.document: Document = {
            "services": {
                name: {**copy.deepcopy(base), **body, "labels": {OWN_LABEL: "t", DEFINITION_LABEL: name}}
                for name, body in bodies.items()
            },
            "networks": {"default": {"name": f"{self.name}_default"}},
            "volumes": {"media": {"name": f"{self.name}_whatsappMedia", "external": True}},
        }
        self.up()

    def compose(self, *arguments: str) -> str:
        return docker("compose", "-p", self.name, "-f", str(self.file), *arguments)

    def up(self, *arguments: str) -> None:
        self.file.write_text(json.dumps(self.document))
        self.compose("up", "--detach", *arguments)

    def state(self) -> dict[str, tuple[str, str, str]]:
        """Id, start time and state of each service's container."""
        return {
            service: (one["Id"], one["State"]["StartedAt"], one["State"]["Status"])
            for service, one in self.clients.engine.services(self.name).items()
        }

    def options(self, **more: t.Any) -> dict[str, t.Any]:
        """The module's options."""
        return {
            "project": self.name,
            "project_dir": str(self.folder),
            "content": json.dumps(self.document),
            "compose_file": str(self.file),
            "env_file": str(self.env),
            "identity_file": str(self.record),
            "lock_file": str(self.folder / "t.lock"),
            "guard": {
                "unmanaged": {"project": self.name, "neighbours": [], "database": f"{self.name}:3306/"},
                "adopt": "",
                "single": True,
            },
            "services": [],
            **more,
        }

    def call(self, **options: t.Any) -> dict[str, t.Any]:
        """The module's result."""
        found: dict[str, t.Any] = self.ansible.module("wa_client", self.options(**options))
        assert "Canary" not in json.dumps(found)
        return found

    def plan(self, **options: t.Any) -> dict[str, t.Any]:
        """The module's plan, which touches nothing."""
        before = self.state()
        found = self.call(**options)
        assert (found.get("failed"), found["changed"], self.state()) == (None, False, before)
        return found

    def changes(self, **options: t.Any) -> list[str]:
        return [line.replace(f"{self.name}-", "") for line in self.plan(**options)["changes"]]

    def start(self, **options: t.Any) -> list[str]:
        """Brings the containers to the plan, after check mode has predicted the same; then nothing is left to do."""
        before = self.state()
        given = self.options(start=True, **options)
        tasks = [{"waba.onprem.wa_client": given, "check_mode": check} for check in (True, False, False)]
        play = self.ansible.play(tasks, arguments=["-vvv"])
        assert "Canary" not in play.stdout
        predicted, done, again = play.results
        assert (done.get("msg"), done["actions"], again["actions"]) == (None, predicted["actions"], [])
        now = self.state()
        return sorted(name for name in now if now[name][0] != before.get(name, ("",))[0])


@pytest.fixture
def project(ansible: t.Any, clients: t.Any, tmp_path: Path) -> t.Iterator[Project]:
    found = Project(ansible, clients, tmp_path)
    try:
        yield found
    finally:
        docker("compose", "-p", found.name, "down", "--timeout", "1", "--volumes")


def test_what_differs_is_recreated_and_nothing_else(project: Project) -> None:
    assert project.changes() == []
    project.env.write_text(
        f"# the same, written otherwise\nWA_DB_PASSWORD='{CANARY}'\nWA_DB_HOSTNAME=\"{project.name}\"\n"
    )
    assert project.changes() == []

    project.document["services"]["waweb"]["labels"][DEFINITION_LABEL] = "other"
    settings = "recreate waweb-1 (was created with other settings than the inventory has)"
    assert project.changes() == [settings]
    assert project.changes(recreate="later") == []
    keys = {f"{project.name}-wacore-1": ["WA_DB_PORT"]}
    assert project.changes(env_changes=keys) == ["recreate wacore-1 (db.env changes: WA_DB_PORT)", settings]
    project.file.write_text(json.dumps(project.document))
    assert project.start() == ["waweb"]

    project.env.write_text("WA_DB_HOSTNAME=other\nWA_DB_PASSWORD=x\nWA_DB_PORT=1\n")
    text = "has another environment than its Compose files give it: WA_DB_HOSTNAME, WA_DB_PASSWORD, WA_DB_PORT"
    confirmed = {"confirm_identity": {"hostname": "other", "port": "1"}}
    assert project.changes(**confirmed) == [f"recreate wacore-1 ({text})", f"recreate waweb-1 ({text})"]
    assert project.changes(declared_keys=["WA_CONFIG_ON_DB"], **confirmed) == []
    assert project.start(**confirmed) == ["wacore", "waweb"]


def test_what_is_stopped_is_started_and_what_is_missing_is_made(project: Project) -> None:
    docker("stop", "--time", "1", f"{project.name}-wacore-1")
    docker("rm", "--force", f"{project.name}-waweb-1")
    assert project.changes(recreate="later") == ["start wacore-1 (has exited)", "create waweb-1 (is missing)"]
    assert project.start(recreate="later") == ["waweb"]
    docker("pause", f"{project.name}-waweb-1")
    assert project.changes() == ["unpause waweb-1 (is paused)"]
    assert project.start() == []


def test_a_container_from_a_file_that_somebody_has_changed_is_recreated(project: Project) -> None:
    """Compose has the same hashes for what it has made and for what it reads."""
    hashes = {
        service: one["Config"]["Labels"]["com.docker.compose.config-hash"]
        for service, one in project.clients.engine.services(project.name).items()
    }
    recorded = definitions.Recorded({service: {"hash": one} for service, one in hashes.items()}, "salt")
    project.record.write_text(json.dumps(recorded.text()))
    assert project.changes() == []
    kept = copy.deepcopy(project.document)
    project.document["services"]["waweb"]["logging"]["options"]["max-size"] = "1g"
    project.up()
    project.document = kept
    other = "was made from other Compose files than there are now"
    assert project.changes() == [f"recreate waweb-1 ({other})"]
    project.file.write_text(json.dumps(project.document))
    docker("rm", "--force", f"{project.name}-waweb-1")
    assert project.start() == ["waweb"]
    assert project.changes() == []


def test_an_operators_files_are_compared_with_those_that_were_healthy(project: Project) -> None:
    """Image, profile and one variable come from a second file and from .env, as an operator keeps them."""
    image = project.document["services"]["waweb"]["image"]
    project.document["services"]["waweb"].update(
        image=f"{image.rpartition(':')[0]}:${{TAG:?not set}}", profiles=["site"]
    )
    second, dot_env = project.folder / "second.yml", project.folder / ".env"

    def give(**values: t.Any) -> None:
        second.write_text(json.dumps({"services": {"waweb": values}}))

    give(environment={"TZ": "UTC"})
    dot_env.write_text(f"TAG={image.rpartition(':')[2]}\nCOMPOSE_PROFILES=site\n")
    project.file.write_text(json.dumps(project.document))
    files = [str(project.file), str(second)]
    docker("compose", "-p", project.name, *(f"--file={path}" for path in files), "up", "--detach")
    given: dict[str, t.Any] = {
        "content": None,
        "compose_files": files,
        "services": ["waweb"],
        "profiles": ["site"],
        "compose_file": "/none.yml",
    }
    assert project.changes(**given) == []

    # Nothing is recorded, so that only Compose's hash tells of a difference.
    give(environment={"TZ": "UTC"}, stop_signal="SIGINT")
    assert project.changes(**given) == ["recreate waweb-1 (was made from other Compose files than there are now)"]
    give(environment={"TZ": "CET"})
    assert project.changes(**given) == ["recreate waweb-1 (has another environment than its Compose files give it: TZ)"]

    give(environment={"TZ": "UTC"})
    options = *(f"--file={path}" for path in files), "config", "--format=json"
    resolved = json.loads(docker("compose", "-p", project.name, *options))
    label = project.clients.engine.services(project.name)["waweb"]["Config"]["Labels"]["com.docker.compose.config-hash"]
    digests = {**definitions.digests(resolved["services"]["waweb"], "salt"), "hash": label, "inputs": ""}

    def record(**values: str) -> None:
        recorded = definitions.Recorded({"waweb": {**digests, "compose": "1.0", **values}}, "salt")
        project.record.write_text(json.dumps(recorded.text()))

    record()
    assert project.changes(**given) == []
    give(environment={"TZ": "CET"}, stop_signal="SIGINT")
    environment = "has another environment than its Compose files give it: TZ"
    named = f"{environment}; is defined otherwise in its Compose files: stop_signal"
    assert project.changes(**given) == [f"recreate waweb-1 ({named})"]
    # Another version of Compose may read the same files otherwise.
    record(inputs=definitions.inputs(path.read_text() for path in (project.file, second, dot_env, project.env)))
    assert project.changes(**given) == [f"recreate waweb-1 ({environment})"]
    dot_env.unlink()
    found = project.call(**given)
    assert "Compose refuses it: " in found["msg"]
    assert "TAG" in found["msg"]


def test_another_build_under_the_same_tag_is_reported_with_both_ids(project: Project) -> None:
    tag = project.document["services"]["wacore"]["image"]
    runs = project.clients.engine.container(f"{project.name}-wacore-1")["Image"]
    other = docker("build", "--quiet", "-", stdin=f"FROM {tag}\nLABEL build={project.name}\n", env=CLASSIC)
    try:
        docker("tag", other, tag)
        predicted = project.plan()
        (refused,) = predicted["refusals"].get("builds", [])
        assert refused.startswith(f"{project.name}-wacore-1: would be made from another build of {tag}, {other[:19]}")
        assert f"docker tag {runs[:19]} {tag}" in refused
        (change,) = predicted["changes"]
        assert change.startswith(f"recreate {project.name}-wacore-1 ")
        # The fix in the message, as an operator copies it.
        docker("tag", runs[:19], tag)
        assert project.plan()["refusals"].get("builds", []) == []
        assert project.plan()["calls"] == []
        # An image that is not here, which would have to be pulled for a new container.
        docker("image", "rm", "--no-prune", tag)
        assert project.plan()["refusals"] == {}
        keys = {f"{project.name}-wacore-1": ["WA_DB_PORT"]}
        (refused,) = project.plan(env_changes=keys)["refusals"].get("builds", [])
        assert f"{tag} is not on this host" in refused
        docker("tag", runs, tag)
    finally:
        docker("image", "rm", other, check=False)


def test_what_compose_does_not_take_is_not_written_and_shows_no_secret(project: Project) -> None:
    project.env.write_text("WA_DB_PASSWORD='Canary-unterminated\n")
    before = project.file.read_text()
    files = [{"path": str(project.file), "content": "services: {}\n", "mode": "0640"}]
    found = project.call(files=files)
    assert found["msg"].startswith(f"Compose file of project {project.name}: Compose refuses it: ")
    assert project.file.read_text() == before
    project.env.write_text("")
    project.document["services"]["waweb"]["networks"] = ["lost"]
    project.document["networks"]["lost"] = {"name": f"{project.name}-lost", "external": True}
    own = project.folder / "own.yml"
    own.write_text(json.dumps(project.document))
    given = {"content": None, "compose_files": [str(own)], "services": ["waweb"]}
    assert project.plan(**given)["refusals"].get("networks", []) == [
        f"network {project.name}-lost: not on this host; expected the external network that the Compose file names. Create "
        f"it: docker network create {project.name}-lost, or correct the Compose file"
    ]
    del project.document["networks"]["lost"]
    project.document["services"]["waweb"]["networks"] = ["default"]


def test_a_parked_project_is_started_by_nothing_and_comes_back_as_it_was(project: Project) -> None:
    project.file.write_text(f"{HEADER}\n{json.dumps(project.document)}")
    before, text = project.clients.engine.services(project.name), project.file.read_text()
    options: dict[str, t.Any] = {
        "project": project.name,
        "project_dir": str(project.folder),
        "compose_file": str(project.file),
    }

    def become(state: str, **more: t.Any) -> None:
        """Check mode predicts it, and a second run has nothing to do."""
        given = {"waba.onprem.wa_client": {**options, "state": state, **more}}
        tasks = [{**given, "check_mode": check} for check in (True, False, False)]
        predicted, done, again = project.ansible.play(tasks).results
        assert (done.get("msg"), done["actions"], again["actions"]) == (None, predicted["actions"], [])
        assert done["changed"]

    own = project.folder / "own.yml"
    services = {name: {**one, "restart": "always"} for name, one in project.document["services"].items()}
    own.write_text(json.dumps({**project.document, "services": services}))
    docker("update", "--restart", "always", *(one["Id"] for one in before.values()))
    become("stopped", park=True, restart_policy="unless-stopped")
    stopped = project.clients.engine.services(project.name)
    assert {one["HostConfig"]["RestartPolicy"]["Name"] for one in stopped.values()} == {"unless-stopped"}
    up = docker("compose", "-p", project.name, "-f", str(project.file), "up", "--detach", check=False)
    assert docker("ps", "--quiet", "--filter", f"label=com.docker.compose.project={project.name}") == "", up
    become("started", compose_files=[str(own)], services=[*services])
    after = project.clients.engine.services(project.name)
    assert {name: (one["Id"], one["State"]["Status"]) for name, one in after.items()} == {
        name: (one["Id"], "running") for name, one in before.items()
    }
    assert {one["HostConfig"]["RestartPolicy"]["Name"] for one in after.values()} == {"always"}
    assert project.file.read_text() == text
