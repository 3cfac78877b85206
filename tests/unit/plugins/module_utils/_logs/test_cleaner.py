# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cleaning of container logs: the lock, and the result for each container."""

from __future__ import annotations

import fcntl
import os
import stat
import typing as t
from pathlib import Path

import pytest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.exec import Outcome
from ansible_collections.waba.onprem.plugins.module_utils._logs import cleaner, retention

SECRET = "Canary-72-Pw"


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cleaner, "LOCK_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("project", "name"), [("a", "wa-log-cleanup-a.lock"), ("", "wa-log-cleanup-_.lock")])
def test_a_project_is_locked(locks: Path, project: str, name: str) -> None:
    (locks / name).touch(0o666)
    with cleaner.lock(project, 0), (locks / name).open() as other:
        assert [(one.name, stat.S_IMODE(one.stat().st_mode)) for one in locks.iterdir()] == [(name, 0o600)]
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (locks / name).open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_held_lock_fails_after_the_timeout(locks: Path) -> None:
    path = locks / "wa-log-cleanup-a.lock"
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(WaError) as error, cleaner.lock("a", 0.1):
            pass
    assert str(error.value) == (
        f"log cleanup of project a: another one has held {path} for 0 s; expected one at a time. Wait for it (fuser "
        "shows its process), or raise the timeout"
    )


def test_a_lock_that_is_a_link_is_refused(locks: Path) -> None:
    (locks / "wa-log-cleanup-a.lock").symlink_to(locks / "elsewhere")
    with pytest.raises(OSError, match="Too many levels"), cleaner.lock("a", 0):
        pass
    assert not (locks / "elsewhere").exists()


Clean = t.Callable[..., "list[dict[str, t.Any]]"]


@pytest.fixture
def clean(engine: FakeDocker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clean:
    """Clean the containers of the fake engine, which runs commands on this machine. `command` is a shell command."""
    (tmp_path / "logs").mkdir()
    monkeypatch.setattr(retention, "FOLDERS", (str(tmp_path / "logs"),))
    monkeypatch.setattr(retention, "KEEP", 1)
    monkeypatch.setattr(retention, "MAX_SIZE", {"web": 1000, "core": 1000})

    def call(
        command: str = "true", check: bool = False, timeout: str = "20s", gone: bool = False
    ) -> list[dict[str, t.Any]]:
        monkeypatch.setattr(retention, "COMMAND", ("sh", "-c", command))
        params = {
            "docker_host": engine.host,
            "docker_timeout": "20s",
        }
        docker = Docker(params)
        containers = docker.client_containers(all_projects=True)
        if gone:
            engine.containers.clear()
        return [*map(cleaner.Cleaner(docker, timeout, check), containers)]

    return call


def test_a_result_has_role_and_status(engine: FakeDocker, clean: Clean, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(retention.MAX_SIZE, "master", 1000)
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
    ("state", "status"),
    [
        ("exited", "skipped"),
        ("created", "skipped"),
        ("dead", "skipped"),
        ("removing", "skipped"),
        ("paused", "failed"),
        ("restarting", "failed"),
    ],
)
def test_a_container_that_does_not_run_is_skipped_or_fails(
    engine: FakeDocker, clean: Clean, state: str, status: str
) -> None:
    engine.container("a", state=state)
    (one,) = clean()
    assert (one["status"], one["reason"]) == (status, f"is {state}")
    assert engine.execs == {}


def test_a_removed_container_is_skipped(engine: FakeDocker, clean: Clean) -> None:
    engine.container("a")
    (one,) = clean(gone=True)
    assert (one["status"], one["reason"]) == ("skipped", "is gone")


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
        ("exit 126", True, "failed", "sh cannot be run (exit code 126): it wrote nothing", None),
        ("exit 127", True, "failed", "sh cannot be run (exit code 127): it wrote nothing", None),
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
        (Outcome(None, "", "", True), False, "a: the measuring took more than 20s and cannot be ended."),
        (Outcome(137, "", "", True), False, "a: the measuring took more than 20s and was ended."),
        (Outcome(137, "", "", True), True, "a: the measuring took more than 60 s."),
        (Outcome(0, "", "", False), False, "measuring the logs: the output is incomplete: no output."),
        (Outcome(0, "", "", False), True, "measuring the logs: the output is incomplete: no output."),
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
    monkeypatch.setattr(cleaner, "execute", lambda *_arguments, **_options: Outcome(9, measured, "", False))
    engine.container("a")
    (one,) = clean()
    assert (one["status"], one["reason"]) == ("failed", "a: the cleanup was cut short (exit code 9).")


def test_the_reason_has_the_last_lines_of_the_output(engine: FakeDocker, clean: Clean) -> None:
    engine.container("a")
    (one,) = clean("for n in 1 2 3 4 5; do echo $n; done; printf %0300d 7; exit 126")
    assert one["reason"].partition("(exit code 126): ")[2] == " | ".join([*"2345", "0" * 200])


def test_output_is_truncated(engine: FakeDocker, clean: Clean) -> None:
    engine.container("a")
    (one,) = clean("for n in 1 2 3 4 5 6 7 8 9 10 11; do echo $n; echo; done; printf %0600d 7")
    assert one["output"] == [*(str(number) for number in range(3, 12)), "0" * 500]


def test_secrets_of_the_container_are_hidden(engine: FakeDocker, clean: Clean) -> None:
    """Also a value of several lines, and what looks like a secret by its name."""
    key = "first line\nsecond line\n\nthird"
    engine.container("a", environment={"WA_DB_PASSWORD": SECRET, "A_KEY": key, "TZ": "UTC"})
    (one,) = clean(f"echo for wa with {SECRET}: denied; echo '{key}'; echo MY_PASSWORD=unknown; echo UTC; exit 126")
    assert one["output"] == ["for wa with <hidden>: denied", "<hidden>", "MY_PASSWORD=<hidden>", "UTC"]
    assert one["reason"].endswith(": for wa with <hidden>: denied | <hidden> | MY_PASSWORD=<hidden> | UTC")


def test_a_log_that_the_cleanup_leaves_too_large_is_a_violation(
    engine: FakeDocker, clean: Clean, tmp_path: Path
) -> None:
    engine.container("a", "x/web:v1")
    log = tmp_path / "logs" / "web.log"
    log.write_text("x" * 2001)
    (one,) = clean()
    assert [(one["rule"], one["paths"]) for one in one["_violations"]] == [("live_too_large", [str(log)])]


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
