# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment that Compose files set besides db.env, read from the files, or by Compose where necessary."""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._compose.environment import Compose
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Container

LABEL = "com.docker.compose."
SECRET = "Canary-21-Pw"


class Files:
    """A project in a folder. `compose` replaces `docker compose config` and records its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = folder / "db.env"
        self.env.write_text("WA_DB_HOSTNAME=db\n")
        self.warnings: list[str] = []
        self.commands: list[list[str]] = []
        self.answer: tuple[int, str, str] = (1, "", "no answer is scripted")
        self.failure: OSError | None = None

    def write(self, **files: str) -> None:
        """Write files by name; `_` represents a dot."""
        for name, text in files.items():
            (self.folder / name.replace("_", ".")).write_text(text)

    def compose(self, command: list[str]) -> tuple[int, str, str]:
        self.commands.append(command)
        if self.failure is not None:
            raise self.failure
        return self.answer

    def reader(self) -> Compose:
        return Compose(str(self.env), self.warnings.append, self.compose)

    def overrides(self, *files: str, folder: bool = True) -> set[str]:
        return self.reader().overrides(self.container(*files, folder=folder))

    def container(self, *files: str, folder: bool = True) -> Container:
        labels = {LABEL + "service": "wacore", LABEL + "project": "biz"}
        labels[LABEL + "project.config_files"] = ",".join(files or ("compose.yml",))
        if folder:
            labels[LABEL + "project.working_dir"] = str(self.folder)
        return Container("c" * 64, "biz-wacore-1", "r/coreapp:v1", "running", labels, [])


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.mark.parametrize(
    ("service", "keys"),
    [
        ("{env_file: db.env}", set()),
        ("{env_file: db.env, environment: {TZ: UTC, WA_DB_PORT: 1}}", {"TZ", "WA_DB_PORT"}),
        ("{env_file: [db.env], environment: [TZ=UTC, WA_DB_PORT]}", {"TZ", "WA_DB_PORT"}),
        ("{env_file: [db.env, more.env]}", {"WA_DB_PORT"}),
        ("{env_file: [{path: db.env}, {path: more.env}]}", {"WA_DB_PORT"}),
        ("{env_file: [more.env, db.env]}", set()),  # the last file that sets a key wins
        ("{env_file: [more.env, link.env, more.env]}", {"WA_DB_PORT"}),  # whatever the file is called
        ("{env_file: db.env, environment: !override {TZ: UTC}}", {"TZ"}),
        ("{env_file: db.env, environment: !reset null}", set()),
        ("null", set()),
        ("[a, list]", set()),
    ],
)
def test_keys_that_a_service_gets_from_other_sources(files: Files, service: str, keys: set[str]) -> None:
    files.write(compose_yml=f"services: {{wacore: {service}}}", more_env="WA_DB_PORT=3307\n# WA_X=1\n")
    (files.folder / "link.env").symlink_to(files.env)
    assert files.overrides() == keys
    assert (files.warnings, files.commands) == ([], [])


def test_later_compose_files_extend_earlier_ones(files: Files) -> None:
    files.write(
        a_yml="services: {wacore: {env_file: db.env, environment: {A: 1}}}",
        b_yml="services: {wacore: {environment: {B: 1}}, waweb: {environment: {C: 1}}}",
    )
    assert files.overrides("a.yml", str(files.folder / "b.yml")) == {"A", "B"}


def test_without_a_project_folder_paths_are_relative_to_their_file(files: Files) -> None:
    files.write(compose_yml="services: {wacore: {env_file: [db.env, more.env]}}", more_env="A=1\n")
    assert files.overrides(str(files.folder / "compose.yml"), folder=False) == {"A"}


@pytest.mark.parametrize(
    ("extends", "keys"),
    [
        ("base", {"A", "OWN"}),
        ("{service: base}", {"A", "OWN"}),
        ("{file: sub/base.yml, service: base}", {"B", "OWN"}),
        ("{file: sub/base.yml, service: none}", {"OWN"}),
        ("[base]", {"OWN"}),  # Compose refuses it; the container was created before
    ],
)
def test_an_extended_service_counts(files: Files, extends: str, keys: set[str]) -> None:
    files.write(
        compose_yml=f"services: {{wacore: {{extends: {extends}, environment: {{OWN: 1}}}}, base: {{environment: [A=1]}}}}"
    )
    (files.folder / "sub").mkdir()
    (files.folder / "sub" / "base.yml").write_text("services: {base: {environment: [B=1], env_file: ../db.env}}")
    assert files.overrides() == keys
    assert files.warnings == []


def test_services_that_extend_each_other_do_not_loop(files: Files) -> None:
    files.write(compose_yml="services: {wacore: {extends: wacore, environment: [A=1]}}")
    assert files.overrides() == {"A"}


def test_a_service_that_does_not_read_db_env_is_a_warning(files: Files) -> None:
    files.write(compose_yml="services: {wacore: {env_file: other.env, environment: [A=1]}}")
    assert files.overrides() == {"A"}
    assert files.warnings == [
        f"container biz-wacore-1: its service reads {files.folder}/other.env and not {files.env}; recreating it will not put "
        "the file in force"
    ]


def test_unreadable_files_are_warnings_without_their_content(files: Files) -> None:
    files.write(broken_yml=f"services: [{SECRET}: {{", compose_yml="services: {wacore: {env_file: [db.env, gone.env]}}")
    (files.folder / "latin.env").write_bytes(b"A=\xe9\n")
    assert files.overrides("gone.yml", "broken.yml", "compose.yml") == set()
    assert files.warnings == [
        f"{files.folder}/gone.yml is not read (No such file or directory): keys that it sets itself are reported as stale",
        f"{files.folder}/broken.yml is no YAML that can be read: keys that it sets itself are reported as stale",
        f"{files.folder}/gone.env is not read: keys that it overrides are reported as stale",
    ]
    files.warnings.clear()
    files.write(compose_yml="services: {wacore: {env_file: [db.env, latin.env]}}")
    assert files.overrides() == set()
    assert files.warnings == [f"{files.folder}/latin.env is not read: keys that it overrides are reported as stale"]


def test_each_file_is_read_once(files: Files) -> None:
    reader = files.reader()
    for _container in range(2):
        assert reader.overrides(files.container("gone.yml")) == set()
    assert len(files.warnings) == 1


def test_a_container_outside_compose_has_no_overrides(files: Files) -> None:
    assert files.reader().overrides(Container("c" * 64, "core", "r/coreapp:v1", "running", {}, [])) == set()


# Files that only Compose can resolve

ONLY_COMPOSE = [
    "{include: [other.yml]}",
    "services: {wacore: {env_file: '${DIR}/db.env'}}",
    "services: {wacore: {extends: {file: $BASE, service: x}}}",
]


def rendered(environment: dict[str, str | None] | None) -> tuple[int, str, str]:
    return 0, json.dumps({"services": {"wacore": {"environment": environment}}}), ""


@pytest.mark.parametrize("text", ONLY_COMPOSE)
def test_compose_resolves_include_and_variables(files: Files, text: str) -> None:
    files.write(compose_yml=text)
    files.env.write_text("WA_DB_HOSTNAME=db\nWA_DB_PASSWORD='a$b'\nEMPTY=\n")
    files.answer = rendered(
        {"WA_DB_HOSTNAME": "db", "WA_DB_PASSWORD": "a$$b", "EMPTY": None, "TZ": "UTC", "WA_DB_PORT": "1"}
    )
    assert files.overrides() == {"TZ", "WA_DB_PORT"}
    assert files.commands == [
        [
            *("timeout", "20", "docker", "compose", f"--file={files.folder}/compose.yml", "--project-name=biz"),
            *(f"--project-directory={files.folder}", "--profile=*", "config", "--format=json"),
        ]
    ]
    assert files.warnings == []


def test_an_unrelated_variable_needs_no_compose(files: Files) -> None:
    files.write(compose_yml="services: {wacore: {env_file: db.env, image: '${I}', environment: {A: '${A}'}}}")
    assert files.overrides() == {"A"}
    assert files.commands == []


@pytest.mark.parametrize(
    "answer",
    [
        (1, "", f"error: {SECRET}"),
        (0, "no JSON", ""),
        (0, "{}", ""),
        (0, '{"services": {}}', ""),
        (0, '{"services": null}', ""),
        OSError(2, "No such file or directory"),
    ],
)
def test_a_failing_compose_is_a_warning(files: Files, answer: t.Any) -> None:
    files.write(compose_yml=ONLY_COMPOSE[0])
    files.failure = answer if isinstance(answer, OSError) else None
    files.answer = answer if files.failure is None else files.answer
    assert files.overrides() == set()
    assert files.warnings == [
        f"docker compose config does not tell what {files.folder}/compose.yml sets: keys that it sets itself are reported as stale"
    ]


def test_a_service_without_environment_has_no_overrides(files: Files) -> None:
    files.write(compose_yml=ONLY_COMPOSE[0])
    files.answer = rendered(None)
    assert (files.overrides(), files.warnings) == (set(), [])


def test_without_pyyaml_compose_is_called(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    files.write(compose_yml="services: {wacore: {env_file: db.env}}")
    files.answer = rendered({"WA_DB_HOSTNAME": "proxy"})
    assert files.overrides() == {"WA_DB_HOSTNAME"}
    files.answer = (1, "", "")
    assert files.overrides() == set()
    assert files.warnings == [
        f"docker compose config does not tell what {files.folder}/compose.yml sets (without the Python library "
        "PyYAML. Install the package python3-yaml): keys that it sets itself are reported as stale"
    ]
