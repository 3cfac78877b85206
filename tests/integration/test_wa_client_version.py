# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The version and the migration of wa_client with the real Compose and Docker, on a client that runs from an operator's own Compose files."""

from __future__ import annotations

import json
import stat
import typing as t
from pathlib import Path

import pytest
from commands import docker

CANARY = "Canary-4712$x"
OLD, NEW = "2.51.2", "2.53.4"


class Project:
    """An operator's project: a client whose version is a variable in .env, and a database that it depends on."""

    def __init__(self, ansible: t.Any, clients: t.Any, folder: Path) -> None:
        self.ansible, self.clients, self.folder, self.name = ansible, clients, folder, clients.project
        self.file, self.dot_env = folder / "docker-compose.yml", folder / ".env"
        self.tags = {
            (role, version): clients.tag(role, version) for role in ("coreapp", "web") for version in (OLD, NEW)
        }
        self.images = {
            service: self.tags[role, OLD].rpartition(":")[0]
            for service, role in (("wacore", "coreapp"), ("waweb", "web"))
        }
        (folder / "db.env").write_text(f"WA_DB_HOSTNAME=db\nWA_DB_PASSWORD='{CANARY}'\n")
        (folder / "media").mkdir()
        self.env_lines = ["# Kept by hand", f"API_TOKEN='{CANARY}'", "DATA={}", "WA_API_VERSION={}", "TZ=UTC", ""]
        self.dot_env.write_text(self.env_text(OLD))
        self.dot_env.chmod(0o640)
        self.file.write_text(self.compose_text())
        self.compose("up", "--detach")

    def env_text(self, version: str) -> str:
        """The text of .env with a version."""
        return "\n".join(self.env_lines).format(self.folder / "media", version)

    def compose_text(self) -> str:
        """The operator's Compose file."""
        return f"""# The client of the shop
x-base: &base
  command: [sleep, infinity]
  init: true
  stop_grace_period: 1s
services:
  wacore:
    <<: *base
    image: {self.images["wacore"]}:v${{WA_API_VERSION}}
    container_name: {self.name}-the-core
    hostname: core
    env_file: db.env
    environment:
      - API_TOKEN
      - TOKEN=${{API_TOKEN:?}}
      - TZ=${{TZ:-CET}}
      - COREAPP_HOSTNAME=core
      - WA_APP_MULTICONNECT=1
    volumes:
      - type: bind
        source: ${{DATA}}
        target: /usr/local/wamedia
      - ./media:/media
    depends_on: [db]
    links: ["db:mysql"]
    ports: ["127.0.0.1::6253"]
    networks:
      default: {{aliases: [core]}}
    healthcheck: {{test: "true", interval: 30s}}
    restart: "no"
  waweb:
    <<: *base
    image: "{self.images["waweb"]}:v${{WA_API_VERSION}}"
    env_file: [db.env]
    environment: {{WACORE_HOSTNAME: wacore}}
    depends_on: [wacore]
  db:
    <<: *base
    image: {self.clients.image}
"""

    def compose(self, *arguments: str, files: t.Sequence[Path] = ()) -> str:
        """Run Compose as the operator does, in their folder."""
        named = [f"--file={path}" for path in (self.file, *files)]
        where = ["--project-name", self.name, "--project-directory", str(self.folder)]
        return docker("compose", *where, *named, *arguments)

    def ids(self) -> dict[str, str]:
        """The id of each service's container."""
        return {name: one["Id"] for name, one in self.clients.engine.services(self.name).items()}

    def state(self) -> dict[str, tuple[str, str, str]]:
        """Id, start time and state of each service's container."""
        return {
            service: (one["Id"], one["State"]["StartedAt"], one["State"]["Status"])
            for service, one in self.clients.engine.services(self.name).items()
        }

    def config_images(self) -> list[str]:
        """The images of the client as Compose reads the operator's files."""
        return sorted(line for line in self.compose("config", "--images").splitlines() if line != self.clients.image)

    def info(self, **options: t.Any) -> dict[str, t.Any]:
        """The result of wa_client for the client's services, which changes no container."""
        before = self.state()
        given = {
            "project": self.name,
            "project_dir": str(self.folder),
            "compose_files": [str(self.file)],
            "services": ["wacore", "waweb"],
            **options,
        }
        found = self.ansible.module("wa_client", given)
        assert not found.get("failed"), found
        assert "Canary" not in json.dumps(found)
        assert self.state() == before
        return t.cast("dict[str, t.Any]", found)

    def upgrade_options(self, **options: t.Any) -> dict[str, t.Any]:
        return {
            "state": "versioned",
            "project": self.name,
            "project_dir": str(self.folder),
            "compose_files": [str(self.file)],
            "images": self.images,
            "version": NEW,
            **options,
        }

    def upgrade(self, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        """The result of wa_client, which touches no container and shows no secret."""
        before = self.state()
        found = self.ansible.module("wa_client", self.upgrade_options(**options), check)
        assert "Canary" not in json.dumps({name: one for name, one in found.items() if name != "invocation"})
        assert self.state() == before
        return t.cast("dict[str, t.Any]", found)


@pytest.fixture
def project(ansible: t.Any, clients: t.Any, tmp_path: Path) -> t.Iterator[Project]:
    folder = tmp_path / "shop"
    folder.mkdir()
    found = Project(ansible, clients, folder)
    try:
        yield found
    finally:
        found.file.write_text(found.compose_text())
        found.dot_env.write_text(found.env_text(OLD))
        found.compose("down", "--timeout", "1", "--volumes")


def test_what_runs_from_an_operators_files_has_nothing_to_do(project: Project) -> None:
    ids = project.ids()
    assert {*ids} == {"wacore", "waweb", "db"}
    nothing: dict[str, t.Any] = {"changes": [], "pending": [], "calls": [], "refusals": {}}
    found = project.info()
    assert {name: found[name] for name in nothing} == nothing

    # The file of the collection that sets the version comes after the operator's.
    pinned = {
        "name": project.name,
        "services": {name: {"image": f"{image}:v{OLD}"} for name, image in project.images.items()},
    }
    given: dict[str, t.Any] = {"compose_files": [str(project.file), "-"], "content": json.dumps(pinned)}
    found = project.info(**given)
    assert {name: found[name] for name in nothing} == nothing
    own = project.folder / "own.yml"
    own.write_text(given["content"])
    project.compose("up", "--detach", files=[own])
    assert project.ids() == ids

    # The version of the file is that of the client, whatever .env has.
    project.dot_env.write_text(project.env_text(NEW))
    assert project.info(**given)["changes"] == []
    assert project.info()["changes"] == [
        f"recreate {project.name}-the-core (runs {project.tags['coreapp', OLD]}, expected {project.tags['coreapp', NEW]})",
        f"recreate {project.name}-waweb-1 (runs {project.tags['web', OLD]}, expected {project.tags['web', NEW]})",
    ]
    assert project.info()["calls"] == [{"services": ["wacore", "waweb"], "dependencies": False, "recreate": "always"}]


def test_a_service_that_the_client_depends_on_is_the_operators(project: Project) -> None:
    """It is started where it stands still, and not touched when the client is recreated."""
    # The hash of a service that has links and was made without what it depends on cannot be computed.
    text = project.compose_text().replace('    links: ["db:mysql"]\n', "")
    project.file.write_text(text)
    project.compose("up", "--detach")
    assert project.info()["changes"] == []
    waits = "was made from other Compose files than there are now"
    changed = text.replace("  db:\n", "  db:\n    stop_signal: SIGINT\n").replace(
        "hostname: core\n", "hostname: core2\n"
    )
    project.file.write_text(changed)
    found = project.info()
    assert found["changes"] == [f"recreate {project.name}-the-core ({waits})"]
    assert found["pending"] == []
    assert found["calls"] == [{"services": ["wacore"], "dependencies": False, "recreate": "always"}]
    ids = project.ids()
    project.compose("up", "--detach", "--force-recreate", "--no-deps", "wacore")
    assert {name for name, number in project.ids().items() if number != ids[name]} == {"wacore"}
    assert project.info()["changes"] == []
    docker("stop", "--time", "1", f"{project.name}-db-1")
    found = project.info()
    assert (found["changes"], found["calls"]) == ([f"start {project.name}-db-1 (has exited)"], [])


def test_the_version_is_set_in_the_operators_files(project: Project) -> None:
    before = project.dot_env.stat()
    assert project.config_images() == sorted(project.tags[role, OLD] for role in ("coreapp", "web"))
    action = f"{project.dot_env}: WA_API_VERSION={OLD} becomes WA_API_VERSION={NEW}"
    predicted = project.upgrade(check=True)
    assert (predicted["changed"], predicted["actions"]) == (True, [action])
    assert project.dot_env.read_text() == project.env_text(OLD)
    assert project.dot_env.stat() == before

    done = project.ansible.converge("wa_client", project.upgrade_options())
    assert done["actions"] == [action]
    assert done["diff"] == {
        "before": f"WA_API_VERSION={OLD}\n",
        "after": f"WA_API_VERSION={NEW}\n",
        "before_header": str(project.folder),
        "after_header": str(project.folder),
    }
    assert project.config_images() == sorted(project.tags[role, NEW] for role in ("coreapp", "web"))
    assert project.dot_env.read_text() == project.env_text(NEW)
    after = project.dot_env.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert project.file.read_text() == project.compose_text()
    assert sorted(path.name for path in project.folder.iterdir()) == [".env", "db.env", "docker-compose.yml", "media"]


def test_the_version_is_set_in_the_compose_file(project: Project) -> None:
    env, text = project.dot_env.read_text(), project.compose_text()
    project.file.write_text(text.replace(":v${WA_API_VERSION}", f":v{OLD}"))
    project.ansible.converge("wa_client", project.upgrade_options())
    assert project.file.read_text() == text.replace(":v${WA_API_VERSION}", f":v{NEW}")
    assert project.config_images() == sorted(project.tags[role, NEW] for role in ("coreapp", "web"))
    assert project.dot_env.read_text() == env


def test_a_start_sets_the_version_in_the_operators_files_first(project: Project) -> None:
    pinned = {
        "name": project.name,
        "services": {name: {"image": f"{image}:v{NEW}"} for name, image in project.images.items()},
    }
    given: dict[str, t.Any] = {"compose_files": [str(project.file), "-"], "content": json.dumps(pinned), "version": NEW}
    found = project.info(**given)
    assert (found["changed"], project.dot_env.read_text()) == (False, project.env_text(OLD))
    with_images = project.info(images=project.images, **given)
    assert with_images["actions"] == [f"{project.dot_env}: WA_API_VERSION={OLD} becomes WA_API_VERSION={NEW}"]
    assert project.dot_env.read_text() == project.env_text(NEW)
    assert with_images["changes"] == found["changes"]
    assert [line.partition(" (")[0] for line in found["changes"]] == [
        f"recreate {project.name}-the-core",
        f"recreate {project.name}-waweb-1",
    ]
    again = project.info(images=project.images, **given)
    assert (again["changed"], again["changes"]) == (False, found["changes"])


def test_a_version_that_is_in_no_file_of_the_operator_is_an_error(project: Project) -> None:
    included = project.folder / "shop.yml"
    included.write_text(project.compose_text().replace("${WA_API_VERSION}", OLD))
    project.file.write_text("include: [shop.yml]\n")
    failed = project.upgrade()
    images = {version: sorted(f"{image}:v{version}" for image in project.images.values()) for version in (OLD, NEW)}
    assert failed["msg"] == (
        f"version of the client in {project.file}: {', '.join(images[OLD])}: in none of {project.file}; expected {', '.join(images[NEW])} "
        "in one file. Nothing was changed. Use one variable of .env, or tags alone in one Compose file, for all images of the client"
    )
    assert project.file.read_text() == "include: [shop.yml]\n"
    project.file.write_text(project.compose_text().replace("ports:", "port:"))
    failed = project.upgrade()
    assert failed["msg"].startswith(f"{project.file}: docker compose config: ")
    assert "port" in failed["msg"]


def test_the_migration_is_made_from_the_operators_coreapp(project: Project) -> None:
    path = project.folder / f"migration-{NEW}.yml"
    images = {"wacore": project.upgrade_options()["images"]["wacore"]}
    options = project.upgrade_options(state="migratable", compose_file=str(path), images=images)
    done = project.ansible.converge("wa_client", options)
    assert done["actions"] == [f"wrote {path}"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made = json.loads(project.compose("--profile=dbupgrade", "config", "--format=json", files=[path]))
    migration = made["services"]["dbupgrade"]
    expected = {
        "image": project.tags["coreapp", NEW],
        "profiles": ["dbupgrade"],
        "restart": "no",
        "stop_signal": "SIGKILL",
        "command": ["sleep", "infinity"],
        "networks": {"default": None},
        "links": ["db:mysql"],
    }
    assert {name: migration[name] for name in expected} == expected
    assert migration["environment"] == {
        "API_TOKEN": CANARY.replace("$", "$$"),
        "TOKEN": CANARY.replace("$", "$$"),
        "TZ": "UTC",
        "WA_DB_HOSTNAME": "db",
        "WA_DB_PASSWORD": CANARY.replace("$", "$$"),
        "WA_DB_UPGRADE": "1",
    }
    media = str(project.folder / "media")
    mounts = [(one["type"], one["source"], one["target"]) for one in migration["volumes"]]
    assert mounts == [("bind", media, "/usr/local/wamedia"), ("bind", media, "/media")]
    assert {*migration["depends_on"]} == {"db"}  # as Compose reads a link
    left_out = {"container_name", "hostname", "ports", "healthcheck", "stop_grace_period"}
    assert left_out & {*migration} == set()
    # The operator's services are not changed by it.
    assert {name: made["services"][name] for name in project.ids()} == json.loads(
        project.compose("config", "--format=json")
    )["services"]

    # It runs beside the client, whose containers stay.
    ids = project.ids()
    project.compose("--profile=dbupgrade", "up", "--detach", "--no-deps", "dbupgrade", files=[path])
    assert docker("exec", f"{project.name}-dbupgrade-1", "getent", "hosts", "mysql").split()[1] == "mysql"
    one = project.clients.engine.container(f"{project.name}-dbupgrade-1")
    assert one["State"]["Status"] == "running"
    assert project.clients.engine.environment(one["Id"])["WA_DB_PASSWORD"] == CANARY
    project.compose("--profile=dbupgrade", "rm", "--force", "--stop", "dbupgrade", files=[path])
    assert project.ids() == ids
