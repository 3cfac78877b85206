# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cleaning of container logs: the lock, the state file, and the result for each container."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import stat
import threading
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from fake_docker import FakeDocker, FakeExec, run_here

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Container, Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.exec import Outcome
from ansible_collections.waba.onprem.plugins.module_utils._logs import cleaner

SECRET = "Canary-72-Pw"


def module(**params: t.Any) -> AnsibleModule:
    with patch_module_args(params):
        return AnsibleModule({"containers": {"type": "list", "elements": "str", "default": []}})


def container(name: str, project: str = "biz") -> Container:
    labels = {"com.docker.compose.project": project} if project else {}
    return Container(name * 64, name, "r/coreapp:v1", "running", labels, [])


# Lock


@pytest.mark.parametrize(
    ("projects", "name"), [(["biz"], "biz"), (["b", "a", "b"], "a+b"), ([""], "_"), (["a", ""], "_+a"), ([], "")]
)
def test_the_project_name_of_the_containers(projects: list[str], name: str) -> None:
    assert cleaner.project_of([container("c", project) for project in projects]) == name


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cleaner, "LOCK_DIR", str(tmp_path))
    return tmp_path


def test_each_project_is_locked_until_the_stack_closes(locks: Path) -> None:
    (locks / "wa-log-cleanup-a.lock").touch(0o666)
    with contextlib.ExitStack() as stack:
        cleaner.lock(stack, [container("c", "a"), container("d", "a"), container("e", "")], 0, Result(module()))
        files = sorted(locks.iterdir())
        assert [one.name for one in files] == ["wa-log-cleanup-_.lock", "wa-log-cleanup-a.lock"]
        assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o600}
        for one in files:
            with one.open() as other, pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with files[0].open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_held_lock_fails_after_the_timeout(locks: Path) -> None:
    path = locks / "wa-log-cleanup-a.lock"
    with path.open("w") as held, contextlib.ExitStack() as stack:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(WaError) as error:
            cleaner.lock(stack, [container("c", "a")], 0.1, Result(module()))
    assert str(error.value) == (
        f"log cleanup of project a: another one holds {path} for more than 0 s; expected one at a time. Wait for it (fuser "
        "shows who it is), or raise timeout"
    )


def test_a_lock_that_cannot_be_created_is_a_warning(locks: Path, warned: list[str]) -> None:
    path = locks / "wa-log-cleanup-a.lock"
    path.symlink_to(locks / "elsewhere")
    with contextlib.ExitStack() as stack:
        cleaner.lock(stack, [container("c", "a")], 0, Result(module()))
    assert warned == [
        f"{path} cannot be locked (Too many levels of symbolic links): the cron job may clean at the same time"
    ]
    assert not (locks / "elsewhere").exists()


def test_projects_are_locked_in_alphabetical_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warned: list[str]
) -> None:
    monkeypatch.setattr(cleaner, "LOCK_DIR", f"{tmp_path}/none")
    with contextlib.ExitStack() as stack:
        cleaner.lock(stack, [container("c", "b"), container("d", "a"), container("e", "c")], 0, Result(module()))
    assert [text.split(" ")[0][-6:] for text in warned] == ["a.lock", "b.lock", "c.lock"]


# State file


def report(key: str, *large: str, measured: bool = True) -> dict[str, t.Any]:
    return {"id": key, "_large": list(large), **({"files_after": 1} if measured else {})}


@pytest.mark.parametrize(
    ("reports", "remembered", "containers", "known"),
    [
        ([report("a", "/x")], {}, [], {"a": ["/x"]}),
        ([report("a")], {"a": ["/x"]}, [], {}),
        ([report("a", measured=False)], {"a": ["/x"]}, [], {"a": ["/x"]}),
        ([report("a", "/y")], {"b": ["/x"]}, [], {"a": ["/y"]}),  # removed from the host
        ([report("a", "/y")], {"b": ["/x"]}, ["a"], {"a": ["/y"], "b": ["/x"]}),
    ],
)
def test_live_logs_that_are_too_large_are_stored(
    tmp_path: Path, reports: list[t.Any], remembered: t.Any, containers: list[str], known: t.Any
) -> None:
    path = tmp_path / "state" / "live.json"
    path.parent.mkdir()
    path.write_text("{}")
    cleaner.remember(str(path), reports, remembered, module(containers=containers), Result(module()))
    assert cleaner.recall(str(path)) == known
    assert json.loads(path.read_text()) == known


def test_an_empty_state_creates_no_file(tmp_path: Path) -> None:
    path = tmp_path / "state" / "live.json"
    cleaner.remember(str(path), [report("a")], {}, module(), Result(module()))
    assert list(tmp_path.iterdir()) == []
    cleaner.remember(str(path), [report("a", "/x")], {}, module(), Result(module()))
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750


def test_a_state_file_that_cannot_be_written_is_a_warning(tmp_path: Path, warned: list[str]) -> None:
    (tmp_path / "state").touch()
    path = f"{tmp_path}/state/live.json"
    cleaner.remember(path, [report("a", "/x")], {}, module(), Result(module()))
    assert warned == [f"{path} cannot be written (File exists): a log that is never rotated stays unseen"]


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (b'{"a": ["/x", 7]}', {"a": ["/x", "7"]}),
        (b'{"a": "/x", "b": []}', {"b": []}),
        (b"[]", {}),
        (b"{", {}),
        (b"\xff", {}),
        (None, {}),
    ],
)
def test_the_state_of_the_last_run_is_read(tmp_path: Path, text: bytes | None, known: t.Any) -> None:
    path = tmp_path / "live.json"
    if text is not None:
        path.write_bytes(text)
    assert cleaner.recall(str(path)) == known


# Cleaning of a container


Clean = t.Callable[..., "list[dict[str, t.Any]]"]


@pytest.fixture
def clean(engine: FakeDocker, tmp_path: Path) -> Clean:
    """Clean the containers of the fake engine, which runs commands on this machine. `command` is a shell command."""
    (tmp_path / "logs").mkdir()

    def call(
        command: str = "true", check: bool = False, remembered: t.Any = None, **more: t.Any
    ) -> list[dict[str, t.Any]]:
        params = {
            "docker_host": engine.host,
            "docker_timeout": "20s",
            "docker_tls": False,
            "docker_api_version": "1.45",
            "log_paths": [str(tmp_path / "logs")],
            "command": f"sh -c {shlex.quote(command)}",
            "timeout": "20s",
            "keep": 1,
            "web_max_size": "1K",
            "core_max_size": "1K",
            "docker_log_max": None,
            "workers": 2,
            "ignore_stopped": True,
            "containers": [],
            **more,
        }
        docker = Docker(params)
        containers = docker.client_containers(all_projects=True)
        if more.get("gone"):
            engine.containers.clear()
        return cleaner.clean_all(docker, params, containers, check, remembered or {})

    return call


def test_results_have_the_order_of_the_containers(engine: FakeDocker, clean: Clean) -> None:
    engine.container("c", environment={"WA_MASTER_NODE": "1"})
    engine.container("b", "x/web:v1")
    engine.container("a", state="exited")
    results = [(one["name"], one["role"], one["status"], one.get("reason")) for one in clean()]
    assert results == [
        ("a", "core", "skipped", "is exited"),
        ("b", "web", "cleaned", None),
        ("c", "master", "cleaned", None),
    ]


@pytest.mark.parametrize(
    ("state", "options", "status"),
    [
        ("exited", {}, "skipped"),
        ("created", {}, "skipped"),
        ("dead", {}, "skipped"),
        ("removing", {}, "skipped"),
        ("exited", {"ignore_stopped": False}, "failed"),
        ("paused", {}, "failed"),
        ("restarting", {}, "failed"),
    ],
)
def test_a_container_that_does_not_run_is_skipped_or_fails(
    engine: FakeDocker, clean: Clean, state: str, options: dict[str, t.Any], status: str
) -> None:
    engine.container("a", state=state)
    (one,) = clean(**options)
    assert (one["status"], one["reason"]) == (status, f"is {state}")
    assert engine.execs == {}


@pytest.mark.parametrize(("containers", "status"), [([], "skipped"), (["a"], "failed")])
def test_a_removed_container_is_skipped_or_fails(
    engine: FakeDocker, clean: Clean, containers: list[str], status: str
) -> None:
    engine.container("a")
    (one,) = clean(gone=True, containers=containers)
    assert (one["status"], one["reason"]) == (status, "is gone")


def test_freed_space_is_measured(engine: FakeDocker, clean: Clean, tmp_path: Path) -> None:
    engine.container("a")
    logs = tmp_path / "logs"
    (logs / "archive").mkdir()
    for name in ("old.gz", "new.gz"):
        (logs / "archive" / name).write_bytes(os.urandom(8192))
    (one,) = clean(f"rm {logs}/archive/old.gz; echo removed; echo done >&2")
    assert (one["status"], one["rc"], one["_changed"]) == ("cleaned", 0, True)
    assert (one["files_before"], one["files_after"]) == (2, 1)
    assert one["bytes_before"] - one["bytes_after"] == one["freed_bytes"] == 8192
    assert sorted(one["output"]) == ["done", "removed"]
    assert one["_before"] == [f"{logs}/archive/old.gz 8192 bytes"]
    assert one["_after"] == []
    assert one["free_bytes"] > 0
    assert one["seconds"] >= 0


def test_check_mode_predicts_and_runs_nothing(engine: FakeDocker, clean: Clean, tmp_path: Path) -> None:
    engine.container("a")
    log = tmp_path / "logs" / "web.log"
    log.write_text("x" * 2000)
    (one,) = clean(f"rm {log}", check=True)
    assert log.exists()
    assert (one["status"], one["_changed"], one["rotate"]) == ("measured", True, [str(log)])
    assert one["_before"] == [f"{log} 2000 bytes"]
    assert one["_after"] == [f"{log} compressed into the archive"]
    assert "rc" not in one
    assert "bytes_after" not in one


@pytest.mark.parametrize(
    ("command", "rules_hold", "status", "reason", "warning"),
    [
        (
            "exit 3",
            True,
            "cleaned",
            None,
            "the cleanup ended with exit code 3, but all rotation rules hold: it wrote nothing",
        ),
        (
            "echo one; echo two; exit 3",
            False,
            "failed",
            "the cleanup failed (exit code 3), 1 more than the 1 archives to keep in {logs}/archive: one | two",
            None,
        ),
        ("exit 0", False, "cleaned", None, None),  # the module itself fails because of the rules
        ("exit 126", True, "failed", "sh -c 'exit 126' cannot be run (exit code 126): it wrote nothing", None),
        ("exit 127", True, "failed", "sh -c 'exit 127' cannot be run (exit code 127): it wrote nothing", None),
        ("exit 137", True, "failed", "the cleanup was killed (exit code 137): it wrote nothing", None),
        (
            "exit 125",
            True,
            "cleaned",
            None,
            "the cleanup ended with exit code 125, but all rotation rules hold: it wrote nothing",
        ),
    ],
)
def test_the_exit_code_of_a_cleanup(
    engine: FakeDocker,
    clean: Clean,
    tmp_path: Path,
    command: str,
    rules_hold: bool,
    status: str,
    reason: str | None,
    warning: str | None,
) -> None:
    engine.container("a")
    logs = tmp_path / "logs"
    (logs / "archive").mkdir()
    for name in ["a.log-1.gz"] if rules_hold else ["a.log-1.gz", "a.log-2.gz"]:
        (logs / "archive" / name).touch()
    (one,) = clean(command)
    assert one["status"] == status
    assert one.get("reason") == (reason and reason.format(logs=logs))
    assert one.get("_warning") == warning
    assert bool(one["_violations"]) is not rules_hold


def test_a_cleanup_that_takes_too_long_is_killed(engine: FakeDocker, clean: Clean) -> None:
    engine.container("a")
    (one,) = clean("sleep 60", timeout="4s")
    assert (one["status"], one["reason"]) == ("failed", "the cleanup took more than 4s and was ended")
    assert (one["rc"], one["files_after"]) == (None, 0)  # measured again


@pytest.mark.parametrize(
    ("outcome", "check", "reason"),
    [
        (Outcome(None, "", "", True, 1.0), False, "a: the measuring took more than 20s and cannot be ended."),
        (Outcome(137, "", "", True, 1.0), False, "a: the measuring took more than 20s and was ended."),
        (Outcome(137, "", "", True, 1.0), True, "a: the measuring took more than 60 s."),
        (Outcome(0, "", "", False, 1.0), False, "measuring the logs: the output is incomplete: no output."),
        (Outcome(0, "", "", False, 1.0), True, "measuring the logs: the output is incomplete: no output."),
    ],
)
def test_a_measurement_that_does_not_end_fails(
    engine: FakeDocker, clean: Clean, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, check: bool, reason: str
) -> None:
    monkeypatch.setattr(cleaner.time, "sleep", lambda _seconds: None)  # type: ignore[attr-defined]
    monkeypatch.setattr(cleaner, "execute", lambda *_arguments, **_options: outcome)
    engine.container("a")
    (one,) = clean(check=check)
    assert (one["status"], one["reason"]) == ("failed", reason)


def test_an_incomplete_cleanup_fails(
    engine: FakeDocker, clean: Clean, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cleaner.time, "sleep", lambda _seconds: None)  # type: ignore[attr-defined]
    monkeypatch.setattr(cleaner.secrets, "token_hex", lambda _size: "0")  # type: ignore[attr-defined]
    measured = f"wa0 folder {tmp_path}\nwa0 end\n"
    monkeypatch.setattr(cleaner, "execute", lambda *_arguments, **_options: Outcome(9, measured, "", False, 1.0))
    engine.container("a")
    (one,) = clean()
    assert (one["status"], one["reason"]) == ("failed", "a: the cleanup was cut short (exit code 9).")


def test_the_reason_has_the_last_lines_of_the_output(engine: FakeDocker, clean: Clean) -> None:
    engine.container("a")
    (one,) = clean("for n in 1 2 3 4 5; do echo $n; done; printf %0300d 7; exit 126")
    assert one["reason"].partition("(exit code 126): ")[2] == " | ".join([*"2345", "0" * 200])


def test_output_is_truncated_and_secrets_are_hidden(engine: FakeDocker, clean: Clean) -> None:
    engine.container("a", environment={"WA_DB_PASSWORD": SECRET, "SSL_KEY": "/k", "TZ": "UTC"})
    (one,) = clean(
        f"for n in 1 2 3 4 5 6 7 8 9 10 11; do echo $n; echo; done; echo MY_PASSWORD={SECRET}; printf %0600d 7"
    )
    assert one["output"][:8] == [str(number) for number in range(4, 12)]
    assert one["output"][8:] == ["MY_PASSWORD=<hidden>", "0" * 500]
    assert one["_secrets"] == [SECRET, "/k"]


def test_a_log_that_stays_too_large_twice_is_a_violation(engine: FakeDocker, clean: Clean, tmp_path: Path) -> None:
    made = engine.container("a", "x/web:v1")
    log = tmp_path / "logs" / "web.log"
    log.write_text("x" * 2000)
    (one,) = clean()
    assert (one["_large"], one["_violations"]) == ([str(log)], [])
    (again,) = clean(remembered={made["Id"]: [str(log)]})
    assert [(one["rule"], one["paths"]) for one in again["_violations"]] == [("live_too_large", [str(log)])]


@pytest.mark.parametrize(
    ("is_removed", "status", "reason"),
    [
        (False, "failed", "container a: Docker refused: cannot be started: no memory."),
        (True, "skipped", "is gone since the cleanup began"),
    ],
)
def test_a_refused_command_may_mean_a_removed_container(
    engine: FakeDocker, clean: Clean, monkeypatch: pytest.MonkeyPatch, is_removed: bool, status: str, reason: str
) -> None:
    """The engine reports the container as running for a moment longer."""
    made = engine.container("a")

    def sleep(_seconds: float) -> None:
        if is_removed:
            engine.containers.pop(made["Id"], None)

    monkeypatch.setattr(cleaner.time, "sleep", sleep)  # type: ignore[attr-defined]
    engine.failures[f"POST /containers/{made['Id']}/exec"] = (500, "cannot be started: no memory")
    (one,) = clean()
    assert (one["status"], one["reason"]) == (status, reason)


@pytest.mark.parametrize(("workers", "peak"), [(1, 1), (2, 2), (9, 3)])
def test_the_number_of_workers_limits_parallel_cleanups(
    engine: FakeDocker, clean: Clean, workers: int, peak: int
) -> None:
    for name in "abc":
        engine.container(name)
    guard = threading.Lock()
    running: list[int] = []
    seen: list[int] = []
    together = threading.Event()

    def run(command: FakeExec) -> int:
        with guard:
            running.append(1)
            seen.append(len(running))
            if len(running) == peak:
                together.set()
        together.wait(20)
        code = run_here(command)
        with guard:
            running.pop()
        return code

    engine.on_exec = run
    assert [one["status"] for one in clean(workers=workers)] == ["cleaned"] * 3
    assert max(seen) == peak


@pytest.mark.parametrize(
    ("becomes", "status", "reason"),
    [
        ("exited", "skipped", "is exited since the cleanup began"),
        ("paused", "failed", "is paused since the cleanup began"),
        ("", "skipped", "is gone since the cleanup began"),
        ("restarted", "failed", "was restarted while it was cleaned"),
    ],
)
def test_a_container_that_changes_during_its_cleanup(
    engine: FakeDocker, clean: Clean, monkeypatch: pytest.MonkeyPatch, becomes: str, status: str, reason: str
) -> None:
    monkeypatch.setattr(cleaner.time, "sleep", lambda _seconds: None)  # type: ignore[attr-defined]
    made = engine.container("a")
    started = ["2024-01-01T00:00:00Z"]
    inspect = engine._inspect

    def answer(key: str, **rest: t.Any) -> tuple[int, t.Any]:
        code, record = inspect(key, **rest)
        return code, ({**record, "State": {**record["State"], "StartedAt": started[0]}} if code == 200 else record)

    def stop(_command: t.Any) -> int:
        if becomes == "restarted":
            started[0] = "2024-01-01T00:00:09Z"
        elif becomes:
            made["State"] = becomes
        else:
            engine.containers.clear()
        return 137

    monkeypatch.setattr(engine, "_inspect", answer)
    engine.on_exec = stop
    (one,) = clean()
    assert (one["status"], one["reason"]) == (status, reason)


# Docker logs


@pytest.mark.parametrize(
    ("config", "size", "limit", "problem"),
    [
        ({"Type": "json-file", "Config": {"max-size": "5m"}}, 0, None, None),
        ({"Type": "json-file", "Config": {"max-size": "5m"}}, 0, "10M", False),
        ({"Type": "json-file", "Config": {}}, 0, "10M", True),
        ({"Type": "json-file", "Config": None}, 0, "10M", True),
        ({"Type": "none"}, 0, "10M", False),
    ],
)
def test_docker_logs_without_a_sufficient_limit_are_reported(
    engine: FakeDocker, clean: Clean, tmp_path: Path, config: t.Any, size: int, limit: str | None, problem: bool | None
) -> None:
    log = tmp_path / "json.log"
    log.write_bytes(b"x" * 4096)
    (tmp_path / "json.log.1").write_bytes(b"x" * 4096)
    engine.container("a").update(HostConfig={"LogConfig": config}, LogPath=str(log))
    (one,) = clean(docker_log_max=limit)
    found = one["_docker_log"]
    if not problem:
        assert found is None
        return
    assert (found["driver"], found["size"]) == ("json-file", 8192)
    assert found["problem"]


@pytest.mark.parametrize(
    ("path", "local", "size"),
    [("", True, None), ("LOG", True, 4096), ("LOG", False, None), ("/nowhere/json.log", True, None)],
)
def test_the_size_of_a_docker_log_is_measured_if_possible(
    engine: FakeDocker,
    clean: Clean,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    local: bool,
    size: int | None,
) -> None:
    (tmp_path / "json.log").write_bytes(b"x" * 4096)
    monkeypatch.setattr(Docker, "local", local)
    log = path.replace("LOG", f"{tmp_path}/json.log")
    engine.container("a").update(HostConfig={"LogConfig": {"Type": "json-file"}}, LogPath=log)
    (one,) = clean(docker_log_max="10M")
    problem = "has no cap: driver json-file without max-size"
    assert one["_docker_log"] == {"driver": "json-file", "size": size, "problem": problem}
