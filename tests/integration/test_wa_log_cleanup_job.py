# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cron job's script of the role wa_log_cleanup, run directly on a real Docker Engine."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import signal
import stat
import subprocess
import threading
import time
import typing as t
from pathlib import Path

import commands
import log_containers as lc
import pytest
from clients import REGISTRY
from commands import docker
from log_job import Job
from relay import Relay, unix_socket
from waiting import until

from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal

ENGINE = functools.partial(unix_socket, "/var/run/docker.sock")


@pytest.fixture
def job(tmp_path: Path, clients: t.Any) -> t.Iterator[Job]:
    """The script for the test's own project."""
    yield Job(tmp_path, clients.project)
    lc.remove_locks(clients.project)


def test_only_the_own_project_is_cleaned(clients: t.Any, job: Job) -> None:
    """Webapp and Coreapp containers are cleaned, those of another project or client are not, and the status file says so."""
    own = [lc.core(clients), lc.web(clients)]
    other = lc.core(clients, project=f"{clients.project}b")
    unrelated = clients.add("db", "mysql")
    lc.install(clients, unrelated, lc.CORE_CLEANUP)
    for name in (own[0], other, unrelated):
        lc.archives(name, 32)
    metrics = job.folder / "wa.prom"
    done = job("-m", str(metrics))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(lc.files(clients, own[0])) == 30
    assert len(lc.files(clients, other)) == len(lc.files(clients, unrelated)) == 32
    status = job.status
    freed = status.pop("freed_bytes")
    assert 2 * 8192 <= freed < 4 * 8192
    assert status["finished"] == status.pop("last_success") >= status.pop("started")
    status.pop("finished")
    status.pop("seconds")
    assert status == {
        "version": 1,
        "project": clients.project,
        "result": "ok",
        "containers": 2,
        "skipped": 0,
        "failed": 0,
        "failures": [],
        "warnings": [],
    }
    assert [stat.S_IMODE(path.stat().st_mode) for path in (job.folder / "status.json", metrics)] == [0o640, 0o644]
    assert f'wa_log_cleanup_freed_bytes{{project="{clients.project}"}} {freed}\n' in metrics.read_text()
    assert sorted(path.name for path in job.folder.iterdir()) == ["status.json", "wa-log-cleanup", "wa.prom"]
    again = job(TMPDIR="/nowhere")
    assert again.returncode == 0
    assert job.status["freed_bytes"] == 0


def test_recreated_containers_and_moved_tags_are_found(clients: t.Any, job: Job) -> None:
    """A container is found whatever its id, and although its tag points to a newer image."""
    none = job()
    assert none.returncode == 1
    assert job.status["failures"] == ["no client container found (images web, coreapp): nothing was cleaned"]
    assert job.status["failures"][0] in none.stderr
    first = lc.core(clients)
    image = clients.tag("coreapp")
    docker("rm", "--force", first)
    second = lc.core(clients)
    lc.archives(second, 31)
    docker("image", "rm", "--no-prune", image)
    assert job().returncode == 0
    assert len(lc.files(clients, second)) == 30


def test_failures_are_reported_and_other_containers_cleaned(clients: t.Any, job: Job) -> None:
    """Containers that fail, hang, lack script or shell, or are paused: exit code 1, each is named. Stopped ones are skipped."""
    hang = "#!/bin/sh\ntrap '' TERM\nsetsid sleep 4245 &\nsleep 4245\n"
    names = {
        "bad": lc.core(clients, "bad", "#!/bin/sh\nprintf 'no \"room\" \\\\ left\\n' >&2\nexit 3\n"),
        "hanging": lc.core(clients, "hanging", hang),
        "noscript": lc.core(clients, "noscript"),
        "noshell": lc.core(clients, "noshell"),
        "paused": lc.core(clients, "paused"),
        "pausing": lc.core(clients, "pausing", "#!/bin/sh\ntouch /tmp/started\nsleep 4247\n"),
        "stopped": lc.core(clients, "stopped"),
        "last": lc.core(clients, "zz"),
    }
    lc.archives(names["last"], 31)
    lc.archives(names["bad"], 31)
    clients.run(names["noscript"], f"rm {lc.SCRIPT}")
    clients.run(names["noshell"], "rm /bin/sh")
    docker("pause", names["paused"])
    docker("stop", names["stopped"])
    job.limit("4s")
    with subprocess.Popen(job.argv(), stderr=subprocess.PIPE, text=True) as running:
        until(lambda: clients.engine.exists(names["pausing"], "/tmp/started"))
        docker("pause", names["pausing"])
        _out, errors = running.communicate(timeout=60)
    assert running.returncode == 1
    status = job.status
    assert (status["result"], status["containers"], status["skipped"], status["failed"]) == ("failed", 1, 1, 6)
    failures = {text.partition(": ")[0]: text.partition(": ")[2] for text in status["failures"]}
    assert failures.pop(names["noshell"]).startswith(f"container {names['noshell']}: a command cannot be started: ")
    assert failures.pop(names["noscript"]).startswith(f"{lc.SCRIPT} cannot be run (exit code 127): ")
    assert failures == {
        names[
            "bad"
        ]: f'the cleanup failed (exit code 3), 1 more than the 30 archives to keep in {lc.ARCHIVE}: no "room" \\ left',
        names["hanging"]: "the cleanup took more than 4s and was ended",
        names["paused"]: "is paused",
        names["pausing"]: "is paused since the cleanup began",
    }
    assert all(text in errors for text in status["failures"])
    assert len(lc.files(clients, names["last"])) == 30
    docker("unpause", names["paused"], names["pausing"])
    until(lambda: not lc.processes(names["hanging"], "4245") and not lc.processes(names["pausing"], "4247"))
    before = status["last_success"]
    assert before == 0
    docker("rm", "--force", *(names[name] for name in ("bad", "hanging", "noscript", "noshell", "pausing")))
    assert job().returncode == 0
    assert job.status["last_success"] > 0


def test_containers_that_change_during_the_job(clients: t.Any, job: Job) -> None:
    """A container removed or stopped during its cleanup is skipped, a restarted one is a failure, and the job continues."""
    slow = "#!/bin/sh\ntouch /tmp/started\nsleep 60\n"
    removed, stopped, restarted = (lc.core(clients, name, slow) for name in ("a", "b", "bb"))
    last = lc.core(clients, "c")
    lc.archives(last, 31)
    with subprocess.Popen(job.argv(), stderr=subprocess.PIPE, text=True) as running:
        until(lambda: clients.engine.exists(removed, "/tmp/started"))
        docker("rm", "--force", removed)
        until(lambda: clients.engine.exists(stopped, "/tmp/started"))
        docker("stop", "-t", "0", stopped)
        until(lambda: clients.engine.exists(restarted, "/tmp/started"))
        docker("restart", "-t", "0", restarted)
        running.communicate(timeout=60)
    assert running.returncode == 1
    assert (job.status["containers"], job.status["skipped"]) == (1, 2)
    assert job.status["failures"] == [f"{restarted}: was restarted while it was cleaned"]
    assert len(lc.files(clients, last)) == 30


def test_an_engine_that_stops_during_the_job(clients: t.Any, job: Job, ansible: t.Any) -> None:
    """Job and module name every container that they could not clean. The running cleanup ends in its container."""
    slow = "#!/bin/sh\ntouch /tmp/started\nsleep 4248\n"
    first, second = lc.core(clients, "a", slow), lc.core(clients, "b", slow)
    path = job.folder / "job.sock"
    relay = Relay(ENGINE, path)
    with subprocess.Popen(job.argv("-H", f"unix://{path}"), stderr=subprocess.PIPE, text=True) as running:
        until(lambda: clients.engine.exists(first, "/tmp/started"))
        relay.cut()
        running.communicate(timeout=60)
    assert running.returncode == 1
    assert [text.partition(": ")[0] for text in job.status["failures"]] == [first, second]
    until(lambda: not lc.processes(first, "4248"))
    path = job.folder / "module.sock"
    relay = Relay(ENGINE, path)
    options = {"project": clients.project, "docker_host": f"unix://{path}"}
    results: list[dict[str, t.Any]] = []
    module = threading.Thread(target=lambda: results.append(ansible.module("wa_log_cleanup", options)))
    module.start()
    until(lambda: clients.engine.exists(second, "/tmp/started"))
    relay.cut()
    module.join()
    assert [text.partition(": ")[0] for text in results[0]["failures"]] == [first, second]
    assert results[0]["skipped_containers"] == []
    until(lambda: not lc.processes(first, "4248") and not lc.processes(second, "4248"))


def test_a_killed_job_leaves_no_cleanup_and_no_lock(clients: t.Any, job: Job) -> None:
    """kill -9 of the job: the cleanup in the container ends, the lock is released, the status is `running`, the next run succeeds."""
    core = lc.core(clients, script="#!/bin/sh\ntrap '' TERM\ntouch /tmp/started\nsleep 4246\n")
    with subprocess.Popen(job.argv()) as running:
        until(lambda: clients.engine.exists(core, "/tmp/started"))
        os.kill(running.pid, signal.SIGKILL)
    until(lambda: not lc.processes(core, "4246"))
    assert job.status["result"] == "running"
    assert job.status["finished"] is None
    lc.install(clients, core, lc.CORE_CLEANUP)
    lc.archives(core, 31)

    def cleaned() -> bool:
        assert job().returncode == 0
        return len(lc.files(clients, core)) == 30

    until(cleaned)
    assert job.status["result"] == "ok"


def test_runs_do_not_overlap(clients: t.Any, job: Job, ansible: t.Any) -> None:
    """A second job waits for the first one, and so does the module."""
    script = "#!/bin/sh\n[ ! -e /tmp/busy ] || exit 9\ntouch /tmp/busy /tmp/started\nsleep 3\nrm /tmp/busy\n"
    core = lc.core(clients, script=script)
    with subprocess.Popen(job.argv()) as running:
        until(lambda: clients.engine.exists(core, "/tmp/started"))
        second = job()
        assert (second.returncode, second.stderr) == (0, "")
        assert running.wait(timeout=30) == 0
    with subprocess.Popen(job.argv()) as running:
        until(lambda: clients.engine.exists(core, "/tmp/busy"))
        module = ansible.module("wa_log_cleanup", {"project": clients.project})
        assert running.wait(timeout=30) == 0
    assert not module.get("failed"), module
    assert job.status["result"] == "ok"


def journal(lease: float) -> str:
    claim = upgrade_journal.Claim("support", "run", "user", "controller", "v2")
    return json.dumps(upgrade_journal.begin(None, claim, time.time(), lease))


def test_a_held_deployment_lock_prevents_the_cleanup(clients: t.Any, job: Job) -> None:
    """The status keeps the last success. An expired lease does not count."""
    core = lc.core(clients)
    assert job().returncode == 0
    success = job.status["last_success"]
    lc.archives(core, 31)
    lock = job.folder / "deployment.lock"
    for text in ("", "who knows", journal(600)):
        lock.write_text(text)
        done = job()
        assert done.returncode == 4
        assert done.stderr.endswith(f"{lock} is held: nothing was cleaned\n")
        assert (job.status["result"], job.status["last_success"]) == ("locked", success)
        assert len(lc.files(clients, core)) == 31
    lock.write_text(journal(-5))
    assert job().returncode == 0
    assert job.status["result"] == "ok"
    assert len(lc.files(clients, core)) == 30


def test_a_lock_acquired_during_the_job_stops_it(clients: t.Any, job: Job) -> None:
    """No further container is cleaned once an upgrade has begun."""
    first = lc.core(clients, "a", "#!/bin/sh\ntouch /tmp/started\nsleep 2\n")
    second = lc.core(clients, "b")
    lc.archives(second, 31)
    with subprocess.Popen(job.argv()) as running:
        until(lambda: clients.engine.exists(first, "/tmp/started"))
        (job.folder / "deployment.lock").touch()
        assert running.wait(timeout=30) == 4
    assert job.status["result"] == "locked"
    assert job.status["warnings"][0].endswith(f"is held: stopped before {second}")
    assert len(lc.files(clients, second)) == 31


def test_a_full_disk_of_the_host_does_not_prevent_the_cleanup(clients: t.Any, job: Job, tmp_path: Path) -> None:
    """The status cannot be written, and the old status file is unchanged."""
    core = lc.core(clients)
    disk = tmp_path / "disk"
    disk.mkdir()
    commands.run("mount", "-t", "tmpfs", "-o", "size=16k", "none", disk)
    try:
        job.folder = disk  # its script stays outside
        assert job().returncode == 0
        before = job.status
        lc.archives(core, 31)
        subprocess.run(["sh", "-c", f"head -c 100000 /dev/zero > {disk}/filler"], check=False, capture_output=True)
        full = job()
        assert full.returncode == 3
        assert "status.json cannot be written" in full.stderr
        assert job.status == before
        assert len(lc.files(clients, core)) == 30
    finally:
        commands.run("umount", disk)


def test_the_images_of_the_inventory_are_found(clients: t.Any, job: Job) -> None:
    """Also one whose name is not the vendor's; the logs of a Webapp have the Webapp's rules."""
    name = clients.add("waweb", "our-web")
    lc.install(clients, name, lc.WEB_CLEANUP)
    for log in ("web", "access"):
        lc.archives(name, 30, log)
    images = {"web": f"{REGISTRY}/{clients.project}/our-web", "coreapp": "other.test/core"}
    done = job("-i", json.dumps(images), "-H", "unix:///var/run/docker.sock")
    assert (done.returncode, done.stderr) == (0, "")
    assert (job.status["containers"], job.status["warnings"]) == (1, [])


def test_no_secret_is_shown(clients: t.Any, job: Job) -> None:
    """The output of a failing cleanup that prints its environment contains no password."""
    secret = "canary Pa55%word"
    script = '#!/bin/sh\nenv | grep DB_PASS\necho "for wa with $WA_DB_PASSWORD: denied"\necho "$A_KEY"\nexit 126\n'
    variables = ("--env", f"WA_DB_PASSWORD={secret}", "--env", "A_KEY=first line\nPa55 second\n\nthird")
    lc.core(clients, script=script, docker=variables)
    done = job()
    assert done.returncode == 1
    assert job.status["failures"][0].endswith(
        "(exit code 126): WA_DB_PASSWORD=<hidden> | for wa with <hidden>: denied | <hidden>"
    )
    assert "Pa55" not in done.stdout + done.stderr + json.dumps(job.status)


def test_the_job_uses_the_engine_of_the_role(clients: t.Any, job: Job) -> None:
    """No environment variable changes the job's engine."""
    lc.core(clients)
    done = job(DOCKER_CONTEXT="elsewhere", DOCKER_HOST="unix:///nowhere.sock")
    assert (done.returncode, done.stderr) == (0, "")
    assert job.status["containers"] == 1


def test_symbolic_links_are_not_followed(clients: t.Any, job: Job) -> None:
    """A user who may write to the metrics folder cannot make root write to another file."""
    lc.core(clients)
    victim = job.folder / "victim"
    victim.write_text("theirs")
    victim.chmod(0o600)
    folder = job.folder / "metrics"
    folder.mkdir()
    for name in ("wa.prom", "wa.prom.new"):
        (folder / name).symlink_to(victim)
    (job.folder / "status.json").symlink_to(victim)
    assert job("-m", str(folder / "wa.prom")).returncode == 0
    assert (victim.read_text(), stat.S_IMODE(victim.stat().st_mode)) == ("theirs", 0o600)
    assert not (folder / "wa.prom").is_symlink()
    assert "wa_log_cleanup_containers" in (folder / "wa.prom").read_text()
    assert job.status["result"] == "ok"


def test_a_lock_that_is_never_released_is_a_failure(clients: t.Any, job: Job) -> None:
    """The job waits for the lock until its timeout. Only root can open the lock file, also one that an older version created."""
    core = lc.core(clients)
    lc.archives(core, 31)
    lock = Path(f"/run/wa-log-cleanup-{clients.project}.lock")
    lock.touch(0o644)
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        job.limit("1s")
        done = job()
    assert done.returncode == 3
    assert job.status["failures"][0].startswith(
        f"log cleanup of project {clients.project}: another one has held {lock} for 1 s; "
    )
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    assert len(lc.files(clients, core)) == 31
