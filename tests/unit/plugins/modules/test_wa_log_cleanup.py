# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_log_cleanup with a fake Docker Engine: number of requests, selected containers, failures."""

from __future__ import annotations

import json
import threading
import typing as t
from pathlib import Path

import pytest
from fake_docker import FakeExec, run_here

from ansible_collections.waba.onprem.plugins.module_utils._logs import cleaner, retention

MODULE = "wa_log_cleanup"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A folder of four archives."""
    folder = tmp_path / "logs" / "archive"
    folder.mkdir(parents=True)
    for number in range(4):
        (folder / f"wa-service-{number}.log.gz").write_text("x" * number)
    return folder


@pytest.fixture
def options(engine: t.Any, tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, t.Any]:
    """Options for the fake engine, which runs commands on this host. Logs and lock are in the test's folder."""
    monkeypatch.setattr(cleaner, "LOCK_DIR", str(tmp_path))
    monkeypatch.setattr(retention, "FOLDERS", (str(tmp_path / "logs"),))
    monkeypatch.setattr(retention, "KEEP", 3)
    monkeypatch.setattr(retention, "COMMAND", ("rm", "-f", f"{archive}/wa-service-0.log.gz"))
    return {"docker_host": engine.host, "project": "biz"}


def requests(engine: t.Any) -> list[str]:
    """The request paths without ids, sorted."""
    parts = [line.split("?")[0].split("/") for line in engine.calls]
    return sorted("/".join(word for word in line if len(word) < 60) for line in parts)


@pytest.mark.parametrize("check", [True, False])
def test_each_container_costs_one_inspect_and_one_exec(
    engine: t.Any, run_module: t.Any, options: dict[str, t.Any], check: bool
) -> None:
    """One list request, and for each container one inspect and one exec that measures and cleans."""
    for number in range(5):
        engine.container(f"biz-wacore-{number}")
    engine.container("other-wacore-1", project="other")
    engine.container("biz-db-1", image="mysql:8")
    result = run_module(MODULE, options, check)
    assert not result.get("failed"), result
    assert [one["name"] for one in result["containers"]] == [f"biz-wacore-{number}" for number in range(5)]
    expected = ["GET /containers/json", *["GET /containers/json"] * 5]
    expected += ["GET /exec/json"] * 5 + ["POST /containers/exec"] * 5 + ["POST /exec/start"] * 5
    assert requests(engine) == sorted(expected)


def test_a_cleanup_is_predicted_done_and_then_unchanged(
    engine: t.Any, run_module: t.Any, options: dict[str, t.Any], tmp_path: Path
) -> None:
    """Check mode predicts the removed file, the run removes it, the next run changes nothing."""
    engine.container("biz-wacore-1")
    predicted = run_module(MODULE, options, check=True)
    assert predicted["changed"]
    assert predicted["actions"] == ["biz-wacore-1: cleanup would free 0 B"]
    done = run_module(MODULE, options)
    removed = f"biz-wacore-1: {tmp_path}/logs/archive/wa-service-0.log.gz 0 bytes"
    assert predicted["diff"]["before"] == done["diff"]["before"] == removed
    assert done["changed"]
    assert not run_module(MODULE, options)["changed"]
    assert not run_module(MODULE, options, check=True)["changed"]


def test_only_running_containers_are_cleaned(engine: t.Any, run_module: t.Any, options: dict[str, t.Any]) -> None:
    """Stopped containers are skipped, paused and restarting ones fail, and none of them runs a command."""
    for state in ("exited", "created", "dead", "paused", "restarting"):
        engine.container(f"biz-{state}", state=state)
    result = run_module(MODULE, options)
    assert result["failed"]
    assert result["failures"] == ["biz-paused: is paused", "biz-restarting: is restarting"]
    assert result["skipped_containers"] == ["biz-created: is created", "biz-dead: is dead", "biz-exited: is exited"]
    assert engine.execs == {}


def test_client_images_decide_the_roles(engine: t.Any, run_module: t.Any, options: dict[str, t.Any]) -> None:
    """A repository matches completely, with any tag or digest."""
    engine.container("biz-a", image="reg:5000/x/our-web-7:latest")
    engine.container("biz-b", image="reg:5000/x/our-core@sha256:" + "a" * 64, environment={"WA_MASTER_NODE": "1"})
    engine.container("biz-c", image="reg:5000/y/our-core:1")
    images = {"web": "reg:5000/x/our-web-7", "coreapp": ["reg:5000/x/our-core"]}
    result = run_module(MODULE, dict(options, client_images=images), check=True)
    assert [(one["name"], one["role"]) for one in result["containers"]] == [("biz-a", "web"), ("biz-b", "master")]


def test_no_client_container_is_a_warning(run_module: t.Any, options: dict[str, t.Any], warned: list[str]) -> None:
    """Without a client container the module succeeds with a warning."""
    assert run_module(MODULE, options)["containers"] == []
    assert warned == ["no client container in project biz: nothing to clean"]


def test_an_error_of_the_engine_is_in_the_message(engine: t.Any, run_module: t.Any, options: dict[str, t.Any]) -> None:
    """The failure contains the engine's message."""
    engine.container("biz-wacore-1")
    identifier = next(iter(engine.containers))
    engine.failures[f"POST /containers/{identifier}/exec"] = (500, "cannot start a command: out of memory")
    result = run_module(MODULE, options)
    assert result["failed"]
    assert "biz-wacore-1: " in result["msg"]
    assert "out of memory" in result["msg"]


def test_many_containers_are_cleaned_at_the_same_time(
    engine: t.Any, run_module: t.Any, options: dict[str, t.Any]
) -> None:
    """Each cleanup waits until all have begun."""
    together = threading.Barrier(5, timeout=20)
    for number in range(5):
        engine.container(f"biz-wacore-{number}")

    def run(command: FakeExec) -> int:
        together.wait()
        return run_here(command)

    engine.on_exec = run
    assert not run_module(MODULE, options).get("failed")


def test_a_lock_that_cannot_be_made_is_a_warning(
    engine: t.Any,
    run_module: t.Any,
    options: dict[str, t.Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    warned: list[str],
) -> None:
    engine.container("biz-wacore-1")
    monkeypatch.setattr(cleaner, "LOCK_DIR", f"{tmp_path}/none")
    assert not run_module(MODULE, options).get("failed")
    path = f"{tmp_path}/none/wa-log-cleanup-biz.lock"
    assert warned == [f"{path} cannot be locked (No such file or directory): the cron job may clean at the same time"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"timeout": "soon"}, "no duration"),
        ({"timeout": "0"}, "at least a second"),
        ({"docker_host": "unix:///nowhere.sock"}, "does not exist"),
    ],
)
def test_invalid_options_fail_before_anything_is_cleaned(
    engine: t.Any, run_module: t.Any, options: dict[str, t.Any], wrong: dict[str, t.Any], message: str
) -> None:
    """Invalid options are refused with a message before anything is changed."""
    engine.container("biz-wacore-1")
    refused = run_module(MODULE, {**options, **wrong})
    assert refused["failed"]
    assert message in refused["msg"]
    assert engine.execs == {}


def test_a_nonzero_exit_code_alone_is_a_warning(
    engine: t.Any,
    run_module: t.Any,
    options: dict[str, t.Any],
    archive: Path,
    monkeypatch: pytest.MonkeyPatch,
    warned: list[str],
) -> None:
    """If all rules hold, the logs are clean whatever the vendor's script returns. Its last lines are reported either way."""
    engine.container("biz-wacore-1", environment={"WA_DB_PASSWORD": "canary-Pa55"})
    script = "echo one; echo; echo as canary-Pa55; exit 3"
    monkeypatch.setattr(retention, "COMMAND", ("sh", "-c", f"rm {archive}/wa-service-0.log.gz; {script}"))
    done = run_module(MODULE, options)
    assert not done.get("failed"), done
    assert [(one["status"], one["rc"]) for one in done["containers"]] == [("cleaned", 3)]
    assert warned == [
        "biz-wacore-1: the cleanup ended with exit code 3, but all rotation rules hold: one | as <hidden>"
    ]
    monkeypatch.setattr(retention, "COMMAND", ("sh", "-c", script))
    monkeypatch.setattr(retention, "KEEP", 1)
    refused = run_module(MODULE, options)
    assert refused["failures"] == [
        f"biz-wacore-1: the cleanup failed (exit code 3), 2 more than the 1 archives to keep in {archive}: one | as <hidden>"
    ]
    assert "canary" not in json.dumps(refused)
    monkeypatch.setattr(retention, "COMMAND", ("/nowhere/cleanup.sh",))
    missing = run_module(MODULE, options)
    assert missing["failures"][0].startswith("biz-wacore-1: /nowhere/cleanup.sh cannot be run (exit code 127): ")
