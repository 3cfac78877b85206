# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_log_cleanup with a fake Docker Engine: number of requests, selected containers, failures."""

from __future__ import annotations

import errno
import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._docker import exec as docker_exec
from ansible_collections.waba.onprem.plugins.module_utils._logs import cleaner, measurement

MODULE = "wa_log_cleanup"
SCRIPT = Path(__file__).parents[4] / "roles" / "wa_log_cleanup" / "files" / "wa-log-cleanup"


@pytest.fixture
def options(engine: t.Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, t.Any]:
    """Options for the fake engine, which runs commands on this host. Logs, lock and state file are in the test's folder."""
    monkeypatch.setattr(cleaner, "LOCK_DIR", str(tmp_path))
    archive = tmp_path / "logs" / "archive"
    archive.mkdir(parents=True)
    for number in range(4):
        (archive / f"wa-service-{number}.log.gz").write_text("x" * number)
    return {
        "docker_host": engine.host,
        "project": "biz",
        "log_paths": [str(tmp_path / "logs")],
        "command": f"rm -f {archive}/wa-service-0.log.gz",
        "keep": 3,
        "state_file": str(tmp_path / "live.json"),
    }


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


def test_a_named_container_costs_no_list_request(engine: t.Any, run_module: t.Any, options: dict[str, t.Any]) -> None:
    """A container given by name needs no list request."""
    engine.container("biz-wacore-1")
    run_module(MODULE, dict(options, containers=["biz-wacore-1"]), check=True)
    assert requests(engine) == [
        "GET /containers/biz-wacore-1/json",
        "GET /containers/json",
        "GET /exec/json",
        "POST /containers/exec",
        "POST /exec/start",
    ]


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
    assert not (tmp_path / "live.json").exists()


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


def test_an_invalid_state_file_is_replaced(
    engine: t.Any, run_module: t.Any, options: dict[str, t.Any], tmp_path: Path
) -> None:
    """An unreadable state file counts as empty and is written again."""
    engine.container("biz-wacore-1")
    (tmp_path / "live.json").write_text("[[[")
    assert not run_module(MODULE, options).get("failed")
    assert json.loads((tmp_path / "live.json").read_text()) == {}


def test_a_partial_run_keeps_the_state_of_other_containers(
    engine: t.Any, run_module: t.Any, options: dict[str, t.Any], tmp_path: Path
) -> None:
    """The state of a container that is not measured now is kept; that of a removed container is dropped."""
    engine.container("biz-wacore-1")
    other = engine.container("biz-wacore-2", state="paused")["Id"]
    state = tmp_path / "live.json"
    state.write_text(json.dumps({other: ["/a.log"], "gone": ["/b.log"], "odd": 7}))
    assert not run_module(MODULE, dict(options, containers=["biz-wacore-1"])).get("failed")
    assert json.loads(state.read_text()) == {other: ["/a.log"], "gone": ["/b.log"]}
    run_module(MODULE, options)
    assert json.loads(state.read_text()) == {other: ["/a.log"]}
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("live")) == ["live.json"]


def test_a_state_file_that_cannot_be_written_is_a_warning(
    engine: t.Any,
    run_module: t.Any,
    options: dict[str, t.Any],
    tmp_path: Path,
    warned: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cleanup itself was done. The temporary file of a killed run does not interfere, and none is left."""
    engine.container("biz-wacore-1")
    (tmp_path / "logs" / "web.log").write_text("x" * 2000)
    small = dict(options, core_max_size=1000)
    assert not run_module(MODULE, small).get("failed")
    assert warned == []
    known = (tmp_path / "live.json").read_text()
    assert list(json.loads(known).values()) == [[f"{tmp_path}/logs/web.log"]]

    def full(*_given: t.Any, **_more: t.Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert not run_module(MODULE, small).get("failed")
    assert len([text for text in warned if "live.json cannot be written (No space left on device)" in text]) == 1
    assert (tmp_path / "live.json").read_text() == known
    assert [path.name for path in tmp_path.iterdir() if "live.json" in path.name] == ["live.json"]


def test_unknown_free_space_is_a_warning(
    engine: t.Any, run_module: t.Any, options: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch, warned: list[str]
) -> None:
    """Without df in the image, min_free cannot be checked, and a warning reports it."""
    engine.container("biz-wacore-1")
    script = measurement.MEASURE_SCRIPT
    monkeypatch.setattr(measurement, "MEASURE_SCRIPT", script.replace("df -Pk", "no-such-tool"))
    result = run_module(MODULE, dict(options, min_free="1K"), check=True)
    assert not result.get("failed"), result
    assert warned == ["it is unknown whether 1K are free, because df is missing: biz-wacore-1"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"log_paths": ["logs"]}, "absolute paths"),
        ({"command": "a 'b"}, "a command line"),
        ({"workers": 0}, "at least 1"),
        ({"timeout": "soon"}, "no duration"),
        ({"keep": -1}, "at least 1 and 0"),
        ({"web_max_size": "big"}, "no size"),
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
    engine: t.Any, run_module: t.Any, options: dict[str, t.Any], warned: list[str]
) -> None:
    """If all rules hold, the logs are clean whatever the vendor's script returns. Its last lines are reported either way."""
    engine.container("biz-wacore-1", environment={"WA_DB_PASSWORD": "canary-Pa55"})
    script = "echo one; echo; echo as canary-Pa55; exit 3"
    command = options["command"]
    done = run_module(MODULE, dict(options, command=f"sh -c '{command}; {script}'"))
    assert not done.get("failed"), done
    assert [(one["status"], one["rc"]) for one in done["containers"]] == [("cleaned", 3)]
    assert warned == [
        "biz-wacore-1: the cleanup ended with exit code 3, but all rotation rules hold: one | as <hidden>"
    ]
    refused = run_module(MODULE, dict(options, keep=1, command=f"sh -c '{script}'"))
    assert refused["failures"] == [
        "biz-wacore-1: the cleanup failed (exit code 3), "
        f"2 more than the 1 archives to keep in {options['log_paths'][0]}/archive: one | as <hidden>"
    ]
    assert "canary" not in json.dumps(refused)
    missing = run_module(MODULE, dict(options, command="/nowhere/cleanup.sh"))
    assert missing["failures"][0].startswith("biz-wacore-1: /nowhere/cleanup.sh cannot be run (exit code 127): ")


def test_the_cron_job_and_the_module_share_one_supervisor() -> None:
    """The cron job's script contains the same supervisor, character for character."""
    text = SCRIPT.read_text()
    assert text.partition("supervisor='\n")[2].partition("\n'\n")[0] == docker_exec._SUPERVISOR.strip("\n")


def test_the_cron_job_needs_no_temporary_file() -> None:
    """A shell may write a here-document to a temporary file, which fails on a full disk."""
    text = SCRIPT.read_text()
    assert "<<" not in text
    assert "/tmp" not in text
