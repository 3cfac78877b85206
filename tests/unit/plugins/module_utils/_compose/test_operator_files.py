# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's own Compose files: which of them Compose has to resolve, and that only mounts are read from them."""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._compose import operator_files

SECRET = "Canary-22-Pw"


class FakeRunCommand:
    """Replaces `AnsibleModule.run_command`."""

    def __init__(self, answer: tuple[int, str, str] | OSError = (1, "", "")) -> None:
        self.answer = answer
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **options: t.Any) -> tuple[int, str, str]:
        assert options == {"handle_exceptions": False}
        self.commands.append(command)
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


def labels(folder: Path, *files: str, project_folder: bool = True) -> dict[str, str]:
    found = {operator_files.CONFIG_FILES_LABEL: ",".join(files)}
    return {**found, operator_files.WORKING_DIR_LABEL: str(folder)} if project_folder else found


PLAIN = f"services: {{core: {{volumes: ['m:/m'], environment: {{P: '{SECRET}${{X}}'}}}}, web: {{}}}}\nvolumes: {{m: null}}\n"
READ = {"services": {"core": {"volumes": ["m:/m"]}, "web": {"volumes": None}}, "volumes": {"m": None}}


@pytest.mark.parametrize("project_folder", [True, False])
def test_a_plain_file_is_read_without_compose(tmp_path: Path, project_folder: bool) -> None:
    (tmp_path / "compose.yml").write_text(PLAIN)
    file = "compose.yml" if project_folder else f"{tmp_path}/compose.yml"
    run = FakeRunCommand()
    assert operator_files.read(labels(tmp_path, file, project_folder=project_folder), "biz", run) == READ
    assert run.commands == []


@pytest.mark.parametrize(
    "text",
    [
        "services: {core: {volumes: ['$M:/m']}}",
        "services: {core: {volumes: ['m:/m']}}\nvolumes: {m: {name: '${M}'}}",
        "services: {core: {extends: base}}",
        "include: [a.yml]\nservices: {core: {}}",
        "services: {core: null}",
        "services: [core]",
        "services: {core: !override {}}",
        "services: {core: {",
        "a text",
        "",
    ],
)
@pytest.mark.parametrize("project_folder", [True, False])
def test_compose_resolves_variables_extends_and_include(tmp_path: Path, text: str, project_folder: bool) -> None:
    path = tmp_path / "compose.yml"
    path.write_text(text)
    body = {"volumes": [{"type": "volume", "source": "m"}], "environment": {"P": SECRET}}
    answer = {"services": {"core": body}, "volumes": {"m": {"name": "biz_m"}}, "secrets": {"s": SECRET}}
    run = FakeRunCommand((0, json.dumps(answer), ""))
    assert operator_files.read(labels(tmp_path, str(path), project_folder=project_folder), "biz", run) == {
        "services": {"core": {"volumes": body["volumes"]}},
        "volumes": {"m": {"name": "biz_m"}},
    }
    folder = [f"--project-directory={tmp_path}"] if project_folder else []
    assert run.commands == [
        [
            *("timeout", "10", "docker", "compose", f"--file={path}", *folder, "--project-name=biz"),
            *("--profile=*", "config", "--format=json"),
        ]
    ]


def test_several_files_are_merged_by_compose(tmp_path: Path) -> None:
    for name in ("a.yml", "b.yml"):
        (tmp_path / name).write_text(PLAIN)
    run = FakeRunCommand((0, '{"services": null}', ""))
    assert operator_files.read(labels(tmp_path, "a.yml", "b.yml"), "biz", run) == {"services": {}, "volumes": None}
    assert run.commands[0][4:6] == [f"--file={tmp_path}/a.yml", f"--file={tmp_path}/b.yml"]


def test_a_file_that_is_no_utf_8_is_left_to_compose(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_bytes(b"services: {core: {volumes: ['\xe9:/m']}}")
    run = FakeRunCommand()
    assert operator_files.read(labels(tmp_path, "compose.yml"), "biz", run) is None
    assert len(run.commands) == 1


def test_without_pyyaml_compose_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "compose.yml").write_text(PLAIN)
    run = FakeRunCommand()
    operator_files.read(labels(tmp_path, "compose.yml"), "biz", run)
    assert len(run.commands) == 1


@pytest.mark.parametrize("answer", [(1, "", "error"), (0, "no JSON", ""), OSError(2, "No such file or directory")])
def test_a_failing_compose_returns_none(tmp_path: Path, answer: t.Any) -> None:
    (tmp_path / "compose.yml").write_text("include: [a.yml]")
    assert operator_files.read(labels(tmp_path, "compose.yml"), "biz", FakeRunCommand(answer)) is None


def test_missing_files_return_none_without_a_call(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text(PLAIN)
    run = FakeRunCommand()
    for found in ({}, labels(tmp_path), labels(tmp_path, "compose.yml", "gone.yml"), labels(tmp_path, ".")):
        assert operator_files.read(found, "biz", run) is None
    assert run.commands == []
