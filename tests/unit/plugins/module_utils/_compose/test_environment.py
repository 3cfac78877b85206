# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables that Compose files set besides db.env, in files that the real Compose reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from real_compose import Runner

from ansible_collections.waba.onprem.plugins.module_utils._compose.environment import Compose
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Container

LABEL = "com.docker.compose."
SECRET = "Canary-21-Pw"


class Project:
    """A project in a folder, with a db.env."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = folder / "db.env"
        self.env.write_text("WA_DB_HOSTNAME=db\n")
        self.warnings: list[str] = []
        self.labels: dict[str, str] = {}

    def write(self, service: str, **files: str) -> None:
        """Write the Compose file with one service, and other files by name; `_` stands for a dot."""
        for name, text in {"compose_yml": f"services: {{wacore: {service}}}", **files}.items():
            (self.folder / name.replace("_", ".")).write_text(text)

    def overrides(self) -> set[str]:
        labels = {
            f"{LABEL}service": "wacore",
            f"{LABEL}project": "biz",
            f"{LABEL}project.working_dir": str(self.folder),
            **self.labels,
        }
        labels[f"{LABEL}project.config_files"] = str(self.folder / "compose.yml")
        container = Container("c" * 64, "biz-wacore-1", "r/coreapp:v1", "running", labels, [])
        return Compose(str(self.env), self.warnings.append, Runner()).overrides(container)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize(
    ("service", "keys"),
    [
        ("{image: a, env_file: db.env}", set()),
        ("{image: a, env_file: db.env, environment: {TZ: UTC, WA_DB_PORT: 1}}", {"TZ", "WA_DB_PORT"}),
        ("{image: a, env_file: [db.env, more.env]}", {"WA_DB_PORT"}),
        ("{image: a, env_file: [more.env, db.env]}", {"WA_DB_PORT"}),
        ("{image: a, env_file: [link.env, more.env]}", {"WA_DB_PORT"}),  # whatever the file is called
        ("{image: a, env_file: same.env, environment: {TZ: 'a$$b'}}", {"TZ"}),
        ("{image: a, env_file: db.env, environment: {WA_DB_HOSTNAME: db}}", set()),  # a recreation has the file's value
    ],
)
def test_keys_that_a_service_gets_from_other_sources(project: Project, service: str, keys: set[str]) -> None:
    project.write(service, more_env="WA_DB_PORT=3307\n# WA_X=1\n", same_env=project.env.read_text())
    (project.folder / "link.env").symlink_to(project.env)
    assert (project.overrides(), project.warnings) == (keys, [])


def test_a_service_that_does_not_read_db_env_is_a_warning(project: Project) -> None:
    project.write("{image: a, env_file: other.env, environment: [A=1]}", other_env="WA_DB_HOSTNAME=x\n")
    assert project.overrides() == {"A", "WA_DB_HOSTNAME"}
    assert project.warnings == [
        f"container biz-wacore-1: its service does not read {project.env}; recreating it will not put the file in force"
    ]


def test_files_that_compose_cannot_read_are_a_warning_without_their_content(project: Project) -> None:
    project.write(f"[{SECRET}: {{")
    assert project.overrides() == set()
    (warning,) = project.warnings
    assert warning.startswith(f"{project.folder}/compose.yml: docker compose config: ")
    assert warning.endswith(
        "; expected files that Compose can read: keys that biz-wacore-1 does not have from db.env are reported as stale"
    )
    assert SECRET not in warning


def test_files_that_compose_reads_only_with_variables_are_compared_by_value(project: Project) -> None:
    project.write(
        "{image: a, env_file: db.env, environment: {TZ: 'a$$b'}, ulimits: {nofile: '${LIMIT}'}}", _env="LIMIT=1024\n"
    )
    assert (project.overrides(), project.warnings) == ({"TZ"}, [])
    project.env.write_text("WA_DB_HOSTNAME=db\nTZ='a$b'\n")
    assert (project.overrides(), project.warnings) == (set(), [])


def test_the_env_file_of_the_call_has_the_variables(project: Project) -> None:
    project.write(
        "{image: a, env_file: '${FILE}', environment: {WA_DB_PORT: '${PORT}'}}", site_env="FILE=db.env\nPORT=1\n"
    )
    project.env.write_text("WA_DB_HOSTNAME=db\nWA_DB_PORT=1\n")
    project.labels["com.docker.compose.project.environment_file"] = f"{project.folder}/site.env"
    assert (project.overrides(), project.warnings) == (set(), [])


def test_a_container_outside_compose_has_no_overrides(project: Project) -> None:
    container = Container("c" * 64, "core", "r/coreapp:v1", "running", {}, [])
    run = Runner()
    assert Compose(str(project.env), project.warnings.append, run).overrides(container) == set()
    assert (run.commands, project.warnings) == ([], [])
