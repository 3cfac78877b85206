# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_adopt on a host with a fake Docker Engine: what it reads, and to whom it returns secrets."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.modules import wa_adopt

MODULE = "wa_adopt"
Run = t.Callable[..., "dict[str, t.Any]"]


def test_secrets_are_returned_only_to_a_task_whose_result_is_not_displayed(engine: FakeDocker, run_module: Run) -> None:
    engine.container("core", environment={"WA_DB_PASSWORD": "Canary-in-env"}).update(HostConfig={}, Created="now")
    options = {"docker_host": engine.host, "operation": "read"}
    refused = run_module(MODULE, options)
    assert ("no_log: true" in refused["msg"], "Canary" in str(refused)) == (True, False)
    done = run_module(MODULE, {**options, "_ansible_no_log": True})
    [core] = done["survey"]["containers"]
    assert core["environment"] == {"WA_DB_PASSWORD": "Canary-in-env"}
    assert (done["changed"], done["survey"]["files"]) == (False, [])


def test_an_engine_that_does_not_answer_is_an_error(run_module: Run, tmp_path: Path) -> None:
    host = f"unix://{tmp_path}/none.sock"
    failed = run_module(MODULE, {"operation": "read", "docker_host": host, "_ansible_no_log": True})
    assert failed["msg"].startswith(f"Docker Engine at {host}: the socket {tmp_path}/none.sock does not exist; ")
    assert "survey" not in failed


def test_compose_files_that_have_gone_are_left_out(tmp_path: Path) -> None:
    theirs, variables, calls = tmp_path / "docker-compose.yml", tmp_path / "prod.env", list[list[str]]()
    for path in (theirs, variables):
        path.touch()

    def run(command: list[str], **_options: t.Any) -> tuple[int, str, str]:
        calls.append(command)
        return 0, '{"services": {}}', ""

    one: dict[str, t.Any] = {
        "project": "biz",
        "folder": str(tmp_path),
        "service": "wacore",
        "files": [str(theirs)],
        "interpolation_files": [str(variables), str(tmp_path / "gone.env")],
    }
    wa_adopt.read_compose_files([one], run)
    lost = str(tmp_path / "gone.env")
    assert (one["operators_files"], one["files_gone"]) == ([str(theirs)], [lost])
    assert one["interpolation_files"] == [str(variables), str(tmp_path / "gone.env")]
    files = [word for word in calls[0] if word.startswith(("--file", "--env-file"))]
    assert files == [f"--env-file={variables}", f"--file={theirs}"]
    gone = [str(tmp_path / "more.yml"), "/opt/waba/has-gone/prod.yml"]
    one["files"] = [str(theirs), *gone]
    wa_adopt.read_compose_files([one], run)
    assert (one["operators_files"], one["files_gone"]) == ([str(theirs)], [*gone, lost])
    assert [word for word in calls[-1] if word.startswith("--file")] == [f"--file={theirs}"]
    one["files"] = gone
    wa_adopt.read_compose_files([one], run)
    assert (one["operators_files"], one["files_gone"]) == (gone, [*gone, lost])


def test_each_compose_file_with_the_line_of_the_image_is_named(tmp_path: Path) -> None:
    image = "r/coreapp:v2.51.2"
    texts = {
        "a.yml": f"services: {{wacore: {{image: {image}}}}}\n",
        "b.yml": f"# {image}\n",
        "c.yml": f"image: '{image}'\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)

    def run(command: list[str], **_options: t.Any) -> tuple[int, str, str]:
        return 0, json.dumps({"services": {"wacore": {"image": image}}}), ""

    one: dict[str, t.Any] = {
        "project": "biz",
        "folder": str(tmp_path),
        "service": "wacore",
        "files": [str(tmp_path / name) for name in texts],
        "interpolation_files": [],
    }
    wa_adopt.read_compose_files([one], run)
    assert one["image_files"] == [str(tmp_path / "a.yml"), str(tmp_path / "c.yml")]


def container_of(folder: Path) -> dict[str, t.Any]:
    """A container of the Compose file in `folder`."""
    files = {"files": [str(folder / "compose.yml")], "interpolation_files": []}
    return {"project": "biz", "folder": str(folder), "service": "wacore", **files}


def test_files_that_compose_reads_only_with_their_variables(tmp_path: Path) -> None:
    def run(command: list[str], **_options: t.Any) -> tuple[int, str, str]:
        return (1, "", "pull_policy is wrong") if "--no-interpolate" in command else (0, '{"services": {}}', "")

    one = container_of(tmp_path)
    wa_adopt.read_compose_files([one], run)
    assert one["compose_problem"] == "docker compose config: pull_policy is wrong"


def test_files_that_compose_reads_only_without_their_variables(tmp_path: Path) -> None:
    def run(command: list[str], **_options: t.Any) -> tuple[int, str, str]:
        raw = '{"services": {"wacore": {"image": "r/coreapp:v2.51.2"}, "proxy": {"image": "proxy:${PROXY_TAG:?}"}}}'
        missing = (1, "", "required variable PROXY_TAG is missing a value")
        return (0, raw, "") if "--no-interpolate" in command else missing

    one = container_of(tmp_path)
    wa_adopt.read_compose_files([one], run)
    assert (one["compose_problem"], one["next_image"]) == ("", "")
    assert one["variables_problem"].startswith("docker compose config: required variable PROXY_TAG is missing a value")
    assert one["declared"] == {"image": "r/coreapp:v2.51.2"}
