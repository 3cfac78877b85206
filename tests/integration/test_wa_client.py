# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_client with the real Compose and Docker: Compose does what the module predicts, and the module changes nothing."""

from __future__ import annotations

import copy
import json
import os
import typing as t
from pathlib import Path

import pytest
from commands import docker

CANARY = "Canary-4711$x"
CLASSIC = {**os.environ, "DOCKER_BUILDKIT": "0"}
Document = dict[str, t.Any]


class Project:
    """A Compose project in a folder, with a db.env, and the module's prediction for it."""

    def __init__(self, ansible: t.Any, clients: t.Any, folder: Path) -> None:
        self.ansible, self.clients, self.folder, self.name = ansible, clients, folder, clients.project
        self.file, self.env = folder / "compose.yml", folder / "db.env"
        self.env.write_text(f"WA_DB_HOSTNAME=db\nWA_DB_PASSWORD='{CANARY}'\n")
        clients.volume()
        base = {
            "env_file": [str(self.env)],
            "environment": {"WA_CONFIG_ON_DB": "1"},
            "command": ["sleep", "infinity"],
            "init": True,
            "stop_grace_period": "1s",
            "networks": {"default": {"aliases": ["q"]}},
            "volumes": ["media:/usr/local/wamedia", "./certs:/opt/certs:ro", "/anonymous"],
            "extra_hosts": ["hsm.example.com:192.0.2.7"],
            "ulimits": {"nofile": 1024},
            "labels": {"price": "5$$"},
            "logging": {"driver": "json-file", "options": {"max-size": "50m"}},
            "healthcheck": {"test": "true", "interval": "30s"},
        }
        self.document: Document = {
            "services": {
                "wacore": {**base, "image": clients.tag("coreapp")},
                "waweb": {**base, "image": clients.tag("web"), "depends_on": ["wacore"], "ports": ["127.0.0.1::443"]},
                "dbupgrade": {**base, "image": clients.tag("coreapp"), "profiles": ["dbupgrade"]},
            },
            "networks": {"default": {"labels": {"sign": "<&>"}}},
            "volumes": {"media": {"name": f"{self.name}_whatsappMedia", "external": True}},
        }
        self.up()

    def compose(self, *arguments: str) -> str:
        return docker("compose", "-p", self.name, "-f", str(self.file), *arguments)

    def up(self, *arguments: str) -> None:
        self.file.write_text(json.dumps(self.document))
        self.compose("up", "--detach", *arguments)

    def state(self) -> dict[str, tuple[str, str, str]]:
        """Id, start time and state of each service's container. The module must not change them."""
        return {
            service: (one["Id"], one["State"]["StartedAt"], one["State"]["Status"])
            for service, one in self.clients.engine.services(self.name).items()
        }

    def predict(self, document: Document | None = None, **options: t.Any) -> dict[str, t.Any]:
        """The module's result, the same with and without check mode. Nothing is changed, and the output contains no secret."""
        before = self.state()
        given = {
            "project": self.name,
            "project_dir": str(self.folder),
            "content": json.dumps(document or self.document),
            **options,
        }
        tasks = [{"waba.onprem.wa_client": given, "check_mode": check} for check in (True, False)]
        play = self.ansible.play(tasks, arguments=["-vvv"])
        assert "Canary" not in play.stdout
        results = play.results
        for result in results:
            assert not result.get("failed"), result
            assert not result["changed"]
        assert {key: results[0][key] for key in ("containers", "calls")} == {
            key: results[1][key] for key in ("containers", "calls")
        }
        assert self.state() == before
        return t.cast("dict[str, t.Any]", results[1])

    def changes(self, document: Document | None = None, **options: t.Any) -> list[str]:
        return [line.replace(f"{self.name}-", "") for line in self.predict(document, **options)["changes"]]

    def edited(self, service: str, **values: t.Any) -> Document:
        document = copy.deepcopy(self.document)
        document["services"][service].update(values)
        return document


@pytest.fixture
def project(ansible: t.Any, clients: t.Any, tmp_path: Path) -> t.Iterator[Project]:
    found = Project(ansible, clients, tmp_path)
    try:
        yield found
    finally:
        found.file.write_text(json.dumps(found.document))
        found.compose("down", "--timeout", "1", "--volumes")


def test_the_operators_own_files_are_compared_with_what_runs(ansible: t.Any, project: Project) -> None:
    """Image, profile and one variable come from a second file and from .env, as an operator keeps them."""
    document = copy.deepcopy(project.document)
    image = document["services"]["waweb"]["image"]
    document["services"]["waweb"]["image"] = f"{image.rpartition(':')[0]}:${{TAG:?not set}}"
    document["services"]["waweb"]["profiles"] = ["site"]
    second, dot_env = project.folder / "second.yml", project.folder / ".env"
    second.write_text(json.dumps({"services": {"waweb": {"environment": {"TZ": "UTC"}}}}))
    dot_env.write_text(f"TAG={image.rpartition(':')[2]}\nCOMPOSE_PROFILES=site\n")
    project.file.write_text(json.dumps(document))
    files = [str(project.file), str(second)]
    docker("compose", "-p", project.name, *(f"--file={path}" for path in files), "up", "--detach")
    given = {"project": project.name, "project_dir": str(project.folder), "compose_files": files}

    def changes() -> list[str]:
        result = ansible.module("wa_client", given)
        return [line.replace(f"{project.name}-", "") for line in result.get("changes", [result.get("msg")])]

    assert changes() == []
    second.write_text(json.dumps({"services": {"waweb": {"environment": {"TZ": "CET"}}}}))
    assert changes() == ["recreate waweb-1 (its environment changed: TZ)"]
    second.write_text(json.dumps({"services": {"waweb": {"environment": {"TZ": "UTC"}, "stop_signal": "SIGINT"}}}))
    assert changes() == ["recreate waweb-1 (the definition in the Compose files changed)"]
    project.env.write_text(f"WA_DB_HOSTNAME=other\nWA_DB_PASSWORD='{CANARY}'\n")
    second.unlink()
    given["compose_files"] = files[:1]
    assert changes() == [
        "recreate wacore-1 (its environment changed: WA_DB_HOSTNAME)",
        "recreate waweb-1 (its environment changed: TZ, WA_DB_HOSTNAME)",
    ]
    dot_env.unlink()
    (problem,) = changes()
    assert "Compose refuses it: " in problem
    assert "TAG" in problem


def test_compose_does_what_the_module_predicts(project: Project) -> None:
    assert project.predict()["calls"] == []
    before = project.state()

    project.env.write_text("WA_DB_HOSTNAME=other\nWA_DB_PASSWORD=x\nWA_DB_PORT=1\n")
    assert project.changes() == [
        "recreate wacore-1 (db.env changed: WA_DB_HOSTNAME, WA_DB_PASSWORD, WA_DB_PORT)",
        "recreate waweb-1 (db.env changed: WA_DB_HOSTNAME, WA_DB_PASSWORD, WA_DB_PORT)",
    ]
    project.env.write_text(f"# the same, written otherwise\nWA_DB_PASSWORD='{CANARY}'\nWA_DB_HOSTNAME=\"db\"\n")
    assert project.changes() == []

    # A Compose file that is not written, and a db.env of which only the changed keys are known.
    document = project.edited("waweb", ports=["127.0.0.1::444"], logging={"driver": "json-file"})
    assert project.changes(document) == ["recreate waweb-1 (compose.yml changed: logging, ports)"]
    keys = {f"{project.name}-wacore-1": ["WA_DB_PORT"]}
    assert project.changes(document, env_changes=keys, env_files={str(project.env): ""}) == [
        "recreate wacore-1 (db.env changes: WA_DB_PORT)",
        "recreate waweb-1 (compose.yml changed: logging, ports)",
    ]
    assert project.changes(document, recreate="later") == []
    assert project.predict(document, recreate="later")["pending"] == [
        f"{project.name}-waweb-1 (compose.yml changed: logging, ports)"
    ]
    environment = project.edited("wacore", environment={"WA_CONFIG_ON_DB": "0"})
    assert project.changes(environment) == [
        "recreate wacore-1 (the environment in compose.yml changed: WA_CONFIG_ON_DB)"
    ]
    planned = project.edited("wacore", env_file=[str(project.env), "secret.env"])
    assert project.changes(planned, env_files={"secret.env": "WA_API_KEY=Canary-key\n"}) == [
        "recreate wacore-1 (db.env or secret.env changed: WA_API_KEY)"
    ]

    project.document = document
    project.up()
    after = project.state()
    assert {service for service in after if after[service][0] != before[service][0]} == {"waweb"}
    assert project.predict()["calls"] == []


def test_stopped_paused_and_missing_containers_are_predicted(project: Project) -> None:
    docker("stop", "--time", "1", f"{project.name}-wacore-1")
    docker("rm", "--force", f"{project.name}-waweb-1")
    changed = project.edited("wacore", shm_size="1m")
    assert project.changes(recreate="later") == ["start wacore-1 (has exited)", "create waweb-1 (is missing)"]
    predicted = project.predict(changed, recreate="later")
    assert predicted["calls"] != []
    assert predicted["pending"] == [f"{project.name}-wacore-1 (compose.yml changed: shm_size)"]
    stopped = project.state()["wacore"][0]
    project.document = changed
    project.up("--no-recreate")
    now = project.state()
    assert now["wacore"][0] == stopped
    assert {service: state for service, (_id, _start, state) in now.items()} == {
        "wacore": "running",
        "waweb": "running",
    }
    docker("pause", f"{project.name}-waweb-1")
    paused = project.predict(recreate="later")
    assert (paused["paused"], paused["calls"]) == ([f"{project.name}-waweb-1"], [])
    docker("unpause", f"{project.name}-waweb-1")


def test_another_build_under_the_same_tag_is_reported_with_both_ids(project: Project) -> None:
    tag = project.document["services"]["wacore"]["image"]
    runs = project.clients.engine.container(f"{project.name}-wacore-1")["Image"]
    other = docker("build", "--quiet", "-", stdin=f"FROM {tag}\nLABEL build={project.name}\n", env=CLASSIC)
    try:
        docker("tag", other, tag)
        predicted = project.predict()
        (refused,) = predicted["refusals"].get("builds", [])
        assert refused.startswith(f"{project.name}-wacore-1: would be made from another build of {tag}, {other[:19]}")
        assert f"docker tag {runs[:19]} {tag}" in refused
        assert [step["action"] for step in predicted["containers"]] == ["recreate", "none"]
        # The fix in the message, as an operator copies it.
        docker("tag", runs[:19], tag)
        assert project.predict()["refusals"].get("builds", []) == []
        assert project.predict()["calls"] == []
        # A missing image name, and a registry that does not answer.
        docker("image", "rm", "--no-prune", tag)
        (refused,) = project.predict()["refusals"].get("builds", [])
        assert f"{tag} is not on this host" in refused
        docker("tag", runs, tag)
    finally:
        docker("image", "rm", other, check=False)


def test_an_invalid_compose_file_is_refused_without_showing_secrets(project: Project, ansible: t.Any) -> None:
    project.env.write_text("WA_DB_PASSWORD='Canary-unterminated\n")
    given = {"project": project.name, "project_dir": str(project.folder), "content": json.dumps(project.document)}
    play = ansible.play([{"waba.onprem.wa_client": given}])
    assert play.results[0]["failed"]
    assert play.results[0]["msg"].startswith(f"Compose file of project {project.name}: Compose refuses it: ")
    assert "Canary" not in play.stdout
    project.env.write_text("")
    lost = copy.deepcopy(project.document)
    lost["networks"]["default"] = {"name": f"{project.name}-lost", "external": True}
    assert project.predict(lost)["refusals"].get("networks", []) == [
        f"network {project.name}-lost: not on this host; expected the external network that the Compose file names. Create "
        f"it: docker network create {project.name}-lost, or correct the Compose file"
    ]
