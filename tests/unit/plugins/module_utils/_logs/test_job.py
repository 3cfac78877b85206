# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nightly log cleanup: status file, metrics, syslog, lock of the deployment, exit code."""

from __future__ import annotations

import json
import stat
import syslog
import time
import typing as t
from pathlib import Path

import pytest
from fake_docker import FakeDocker, FakeExec, run_here

from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._logs import cleaner, job, retention

CLAIM = upgrade_journal.Claim("support", "run", "user", "controller", "v2")


class Nightly:
    """The job on a fake engine, which runs commands on this machine."""

    def __init__(self, engine: FakeDocker, folder: Path) -> None:
        self.engine, self.folder = engine, folder
        self.said: list[tuple[int, str]] = []

    @property
    def status(self) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", json.loads((self.folder / "status.json").read_text()))

    def __call__(self, *options: str) -> int:
        files = ["-s", str(self.folder / "status.json"), "-l", str(self.folder / "support.lock")]
        return job.main(["-p", "biz", "-H", self.engine.host, *files, *options])


@pytest.fixture
def nightly(engine: FakeDocker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nightly:
    monkeypatch.setattr(cleaner, "LOCK_DIR", str(tmp_path))
    (tmp_path / "logs" / "archive").mkdir(parents=True)
    monkeypatch.setattr(retention, "FOLDERS", (str(tmp_path / "logs"),))
    monkeypatch.setattr(retention, "COMMAND", ("true",))
    made = Nightly(engine, tmp_path)
    monkeypatch.setattr(syslog, "syslog", lambda level, text: made.said.append((level, text)))
    return made


def test_what_a_good_run_leaves(nightly: Nightly, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nightly.engine.container("biz-wacore-1")
    nightly.engine.container("biz-waweb-1", "x/web:v1", state="exited")
    (tmp_path / "logs" / "archive" / "a.log-1.gz").write_bytes(b"x" * 8192)
    monkeypatch.setattr(retention, "COMMAND", ("rm", f"{tmp_path}/logs/archive/a.log-1.gz"))
    begun = int(time.time())
    assert nightly("-m", str(tmp_path / "new" / "wa.prom")) == 0
    status = nightly.status
    assert begun <= status.pop("started") <= status["finished"] == status.pop("last_success")
    status.pop("finished")
    status.pop("seconds")
    assert status == {
        "version": 1,
        "project": "biz",
        "result": "ok",
        "containers": 1,
        "skipped": 1,
        "failed": 0,
        "freed_bytes": 8192,
        "failures": [],
        "warnings": [],
    }
    metrics = tmp_path / "new" / "wa.prom"
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "status.json", metrics, metrics.parent)]
    assert modes == [0o640, 0o644, 0o755]
    assert 'wa_log_cleanup_containers{project="biz"} 1\n' in metrics.read_text()
    assert 'wa_log_cleanup_freed_bytes{project="biz"} 8192\n' in metrics.read_text()
    assert [(level, text.partition(": done in")[0]) for level, text in nightly.said] == [
        (syslog.LOG_INFO, "biz: biz-wacore-1"),
        (syslog.LOG_INFO, "biz: biz-waweb-1: is exited"),
    ]


def test_a_job_that_finds_no_container_fails(nightly: Nightly, capsys: pytest.CaptureFixture[str]) -> None:
    nightly.engine.container("other-wacore-1", project="other")
    images = {"web": "m/our-web", "coreapp": "m/our-core"}
    assert nightly("-i", json.dumps(images)) == 1
    message = "no client container found (images m/our-web, m/our-core): nothing was cleaned"
    assert (nightly.status["result"], nightly.status["failures"]) == ("failed", [message])
    assert nightly.said == [(syslog.LOG_ERR, f"biz: {message}")]
    assert capsys.readouterr().err == f"wa-log-cleanup: biz: {message}\n"


def test_configured_images_are_found(nightly: Nightly) -> None:
    nightly.engine.container("biz-a", "m/our-core:v1", command=["sh"])
    assert nightly("-i", '{"coreapp": "m/our-core"}') == 0
    assert nightly.status["containers"] == 1


def test_a_failure_keeps_the_last_success(nightly: Nightly, monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure of one container does not prevent the cleanup of the next one."""
    for name in ("biz-a", "biz-b"):
        nightly.engine.container(name)
    assert nightly() == 0
    success = nightly.status["last_success"]
    monkeypatch.setattr(retention, "COMMAND", ("sh", "-c", "echo no space; exit 126"))
    nightly.engine.container("biz-c", state="exited")
    assert nightly() == 1
    status = nightly.status
    assert (status["result"], status["last_success"], status["failed"], status["skipped"]) == ("failed", success, 2, 1)
    assert status["failures"] == [f"biz-{one}: sh cannot be run (exit code 126): no space" for one in "ab"]


def test_broken_rules_are_warnings(nightly: Nightly, tmp_path: Path) -> None:
    nightly.engine.container("biz-a")
    (tmp_path / "logs" / "archive" / "a.log").touch()
    assert nightly() == 0
    assert nightly.status["warnings"] == ["biz-a: 1 archives not compressed"]
    assert nightly.said[-1] == (syslog.LOG_WARNING, "biz: biz-a: 1 archives not compressed")


def test_an_exit_code_with_no_broken_rule_is_for_syslog_alone(
    nightly: Nightly, monkeypatch: pytest.MonkeyPatch
) -> None:
    nightly.engine.container("biz-a")
    monkeypatch.setattr(retention, "COMMAND", ("sh", "-c", "exit 1"))
    assert nightly() == 0
    assert nightly.status["warnings"] == []
    assert nightly.said[-1][0] == syslog.LOG_WARNING
    assert "ended with exit code 1, but all rotation rules hold" in nightly.said[-1][1]


def journal(lease: float, **news: str) -> str:
    return json.dumps({**upgrade_journal.begin(None, CLAIM, time.time(), lease), **news})


def held_by_provision(lease: float) -> str:
    return json.dumps(upgrade_journal.hold(None, CLAIM, "wa1", time.time(), lease))


@pytest.mark.parametrize("text", ["", "who knows", journal(600), journal(-1, schema="started"), held_by_provision(600)])
def test_a_held_lock_of_the_deployment_prevents_the_cleanup(nightly: Nightly, text: str) -> None:
    nightly.engine.container("biz-a")
    (nightly.folder / "support.lock").write_text(text)
    assert nightly() == 4
    warning = f"the deployment's lock {nightly.folder}/support.lock is held: nothing was cleaned"
    assert (nightly.status["result"], nightly.status["warnings"]) == ("locked", [warning])
    assert nightly.engine.execs == {}


@pytest.mark.parametrize("text", [journal(-1), held_by_provision(-1)])
def test_an_expired_lock_of_the_deployment_does_not_count(nightly: Nightly, text: str) -> None:
    nightly.engine.container("biz-a")
    (nightly.folder / "support.lock").write_text(text)
    assert nightly() == 0


def test_a_lock_acquired_meanwhile_stops_the_job(nightly: Nightly) -> None:
    for name in ("biz-a", "biz-b"):
        nightly.engine.container(name)

    def run(command: FakeExec) -> int:
        (nightly.folder / "support.lock").write_text(journal(600))
        return run_here(command)

    nightly.engine.on_exec = run
    assert nightly() == 4
    assert nightly.status["containers"] == 1
    assert nightly.status["warnings"][0].endswith("is held: stopped before biz-b")


def test_a_clock_set_back_meanwhile_is_handled(nightly: Nightly, monkeypatch: pytest.MonkeyPatch) -> None:
    nightly.engine.container("biz-a")
    real = time.time

    def run(command: FakeExec) -> int:
        monkeypatch.setattr(time, "time", lambda: real() - 31536000)
        return run_here(command)

    nightly.engine.on_exec = run
    assert nightly() == 0
    status = nightly.status
    assert status["started"] > status["finished"] == status["last_success"]
    assert (status["result"], status["seconds"]) == ("ok", 0)


def test_an_engine_that_does_not_answer_fails_the_job(nightly: Nightly) -> None:
    assert nightly("-H", "unix:///nowhere.sock") == 3
    assert nightly.status["failures"][0].startswith("Docker Engine at unix:///nowhere.sock: the socket ")


def test_a_status_that_cannot_be_written_fails_the_job(nightly: Nightly, capsys: pytest.CaptureFixture[str]) -> None:
    nightly.engine.container("biz-a")
    (nightly.folder / "status.json").mkdir()
    assert nightly() == 3
    assert f"status file {nightly.folder}/status.json cannot be written: Is a directory" in capsys.readouterr().err


def test_a_status_that_cannot_be_read_is_replaced(nightly: Nightly) -> None:
    nightly.engine.container("biz-a")
    (nightly.folder / "status.json").write_text("[[[")
    assert nightly() == 0
    assert nightly.status["result"] == "ok"
