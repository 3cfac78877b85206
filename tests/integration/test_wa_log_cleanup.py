# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_log_cleanup on a real Docker Engine: real logs, real cleanup scripts, failures in containers."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import threading
import typing as t
from pathlib import Path

import log_containers as lc
import pytest
from commands import docker
from waiting import until

MODULE = "wa_log_cleanup"


def by_service(result: dict[str, t.Any], clients: t.Any) -> dict[str, dict[str, t.Any]]:
    """The containers of a result by the names of their services."""
    return {one["name"].removeprefix(f"{clients.project}-").removesuffix("-1"): one for one in result["containers"]}


@pytest.fixture
def options(clients: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """Options that limit a test to its own project."""
    yield {"project": clients.project}
    lc.remove_locks(clients.project)


def test_check_run_run_check(ansible: t.Any, clients: t.Any, options: dict[str, t.Any]) -> None:
    """The run removes what check mode predicted, a second run changes nothing, and each role has its rules."""
    core = lc.core(clients)
    master = lc.core(clients, "master1", docker=("--env", "WA_MASTER_NODE=1"))
    web = lc.web(clients)
    lc.archives(core, 500)
    clients.run(
        core, f"cd {lc.CORE}; for i in 1 2 3; do head -c 300000 /dev/zero > wa-service-n$i.log; sleep 0.02; done"
    )
    lc.archives(master, 30)
    for name in ("web", "access", "error"):
        lc.archives(web, 31 if name == "access" else 30, name)
    clients.run(
        web, f"cd {lc.LOGS}; head -c 21000000 /dev/urandom > access.log; echo short > web.log; truncate -s 1G error.log"
    )
    predicted = ansible.module(MODULE, options, check=True)
    before = by_service(predicted, clients)
    assert predicted["changed"]
    assert [before[name]["role"] for name in ("wacore", "master1", "waweb")] == ["core", "master", "web"]
    assert before["wacore"]["archive"] == [f"{lc.CORE}/wa-service-n2.log", f"{lc.CORE}/wa-service-n1.log"]
    assert len(before["wacore"]["remove"]) == 472
    assert sorted(before["waweb"]["rotate"]) == [f"{lc.LOGS}/access.log", f"{lc.LOGS}/error.log"]
    assert sorted(before["waweb"]["remove"]) == [
        f"{lc.ARCHIVE}/access-1.log.gz",
        f"{lc.ARCHIVE}/access-2.log.gz",
        f"{lc.ARCHIVE}/error-1.log.gz",
    ]
    assert not any(before["master1"][key] for key in ("rotate", "archive", "remove"))
    # a sparse file uses no disk space
    assert before["waweb"]["bytes_before"] < 50 << 20
    assert len(lc.files(clients, core)) == 500, "check mode cleaned"

    done = ansible.module(MODULE, options)
    after = by_service(done, clients)
    assert done["changed"]
    assert done["violations"] == []
    assert not done["failures"]
    assert [one["status"] for one in done["containers"]] == ["cleaned"] * 3
    assert [line.partition(":")[0] for line in done["actions"]] == [core, web]
    assert after["wacore"]["files_before"] == 503
    assert after["wacore"]["files_after"] == 31
    assert after["wacore"]["output"] == ["core cleaned"]
    assert after["wacore"]["freed_bytes"] == after["wacore"]["bytes_before"] - after["wacore"]["bytes_after"]
    assert after["wacore"]["freed_bytes"] >= before["wacore"]["freed_bytes"] == 472 * 8192
    left = {f"{lc.ARCHIVE}/{name}" for name in lc.files(clients, core)}
    assert not left & set(before["wacore"]["remove"])
    assert len(left) == 30
    assert f"{core}: {lc.CORE}/wa-service-n1.log 300000 bytes" in done["diff"]["before"].splitlines()
    for check in (False, True):
        again = ansible.module(MODULE, options, check)
        assert not again["changed"], again["actions"]
        assert again["diff"] == {
            "before": "",
            "after": "",
            "before_header": "logs",
            "after_header": "logs",
        }


def test_unusual_file_names_and_times_are_handled(ansible: t.Any, clients: t.Any, options: dict[str, t.Any]) -> None:
    """Names with spaces, newlines, quotes and non-ASCII letters; times near 1970 and in 2106."""
    core = lc.core(clients)
    lc.archives(core, 26, "wa service")
    clients.run(
        core,
        f"cd {lc.ARCHIVE}; n=$(printf 'new\\nline'); for f in \"$n.log.gz\" 'q\"uo'\"'\"'te.log.gz' '-rf.log.gz' 'ärger.log.gz'"
        " 'a?b.log.gz' \"$(printf 'a\\tb').log.gz\" '* x:.log.gz'; do head -c 5000 /dev/zero > \"./$f\"; done;"
        " touch -d '1970-01-01 00:00:01 UTC' './-rf.log.gz'; touch -d '2106-01-01' ärger.log.gz",
    )
    predicted = ansible.module(MODULE, options, check=True)["containers"][0]
    assert predicted["files_before"] == 33
    assert predicted["remove"] == [
        f"{lc.ARCHIVE}/wa service-2.log.gz",
        f"{lc.ARCHIVE}/wa service-1.log.gz",
        f"{lc.ARCHIVE}/-rf.log.gz",
    ]
    done = ansible.module(MODULE, options)["containers"][0]
    assert (done["files_after"], done["freed_bytes"]) == (30, 3 * 8192)
    assert not set(predicted["remove"]) & {f"{lc.ARCHIVE}/{name}" for name in lc.files(clients, core)}


def test_containers_of_other_projects_are_unchanged(ansible: t.Any, clients: t.Any, options: dict[str, t.Any]) -> None:
    """Only client containers of the project are cleaned. Without a project, two projects are an error that names both."""
    own = lc.core(clients)
    other = lc.core(clients, project=f"{clients.project}b")
    for name in (own, other):
        lc.archives(name, 32)
    done = ansible.module(MODULE, options)
    assert [one["name"] for one in done["containers"]] == [own]
    assert len(lc.files(clients, other)) == 32
    vague = ansible.module(MODULE, {})
    assert vague["failed"]
    assert clients.project in vague["msg"]
    assert f"{clients.project}b" in vague["msg"]
    assert len(lc.files(clients, other)) == 32


HANG = "#!/bin/sh\ntrap '' TERM\necho started\n(trap '' TERM; exec sleep 4242) &\nsetsid sleep 4243 &\nwait\n"


def test_a_failing_container_does_not_prevent_the_cleanup_of_others(
    ansible: t.Any, clients: t.Any, options: dict[str, t.Any]
) -> None:
    """Containers that fail, hang, lack script or shell, crash; that are removed, restarted, stopped or paused during the cleanup."""
    slow = "#!/bin/sh\ntouch /tmp/started\nsleep 60\n"
    names = {
        "ok1": lc.core(clients, "ok1"),
        "failing": lc.core(clients, "failing", "#!/bin/sh\necho disk is bad >&2\nexit 3\n"),
        "hanging": lc.core(clients, "hanging", HANG),
        "noscript": lc.core(clients, "noscript"),
        "noshell": lc.core(clients, "noshell"),
        "paused": lc.core(clients, "paused"),
        "stopped": lc.core(clients, "stopped"),
        "crashing": clients.add("crashing", "coreapp", "--restart=always", command=["false"]),
        "removed": lc.core(clients, "removed", slow),
        "restarted": lc.core(clients, "restarted", slow),
        "stopping": lc.core(clients, "stopping", slow),
        "pausing": lc.core(clients, "pausing", slow),
        "blind": lc.core(clients, "blind"),
        "ok2": lc.web(clients, "ok2"),
    }
    for name in ("ok1", "blind", "failing"):
        lc.archives(names[name], 31)
    clients.run(names["noscript"], f"rm {lc.SCRIPT}")
    clients.run(
        names["noshell"], "mv /usr/bin/dash /usr/bin/dash.off; mv /usr/bin/bash /usr/bin/bash.off || true; rm /bin/sh"
    )
    clients.run(names["blind"], "rm /usr/bin/ls")
    docker("pause", names["paused"])
    docker("stop", names["stopped"])

    def change_containers() -> None:
        for name, act in (
            ("removed", ("rm", "-f")),
            ("restarted", ("restart", "-t", "0")),
            ("stopping", ("stop", "-t", "0")),
            ("pausing", ("pause",)),
        ):
            until(functools.partial(clients.engine.exists, names[name], "/tmp/started"))
            docker(*act, names[name])

    changer = threading.Thread(target=change_containers)
    changer.start()
    done = ansible.module(MODULE, dict(options, timeout="8s"))
    changer.join()
    found = by_service(done, clients)
    reasons = {name: f"{one['status']}: {one.get('reason', '')}" for name, one in found.items()}
    assert done["failed"]
    assert reasons.pop("noshell").startswith("failed: container")
    assert reasons.pop("noscript").startswith(f"failed: {lc.SCRIPT} cannot be run (exit code 127): ")
    assert re.match("failed: (is restarting|was restarted)|skipped: is exited", reasons.pop("crashing"))
    assert reasons == {
        "ok1": "cleaned: ",
        "ok2": "cleaned: ",
        "failing": "failed: the cleanup failed (exit code 3), "
        f"1 more than the 30 archives to keep in {lc.ARCHIVE}: disk is bad",
        "hanging": "failed: the cleanup took more than 8s and was ended",
        "paused": "failed: is paused",
        "stopped": "skipped: is exited",
        "removed": "skipped: is gone since the cleanup began",
        "restarted": "failed: was restarted while it was cleaned",
        "stopping": "skipped: is exited since the cleanup began",
        "pausing": "failed: is paused since the cleanup began",
        "blind": "failed: measuring the logs: the image has no ls that prints full times; expected ls of GNU or BusyBox.",
    }
    assert found["failing"]["output"] == ["disk is bad"]
    assert found["hanging"]["files_after"] == found["hanging"]["files_before"] == 0
    assert lc.processes(names["hanging"], "424") == [], "the cleanup lives on inside"
    assert len(lc.files(clients, names["ok1"])) == 30
    assert len(lc.files(clients, names["blind"])) == 30, "cleaned, though it cannot be measured"
    for name in ("failing", "hanging", "noscript", "paused", "restarted", "blind"):
        assert any(text.startswith(f"{names[name]}: ") for text in done["failures"])
        assert names[name] in done["msg"]
    docker("unpause", names["paused"], names["pausing"])
    until(lambda: not lc.processes(names["pausing"], "sleep 60"))


def test_rules_broken_by_a_cleanup_script_are_reported(
    ansible: t.Any, clients: t.Any, options: dict[str, t.Any]
) -> None:
    """Every broken rule is reported."""
    core = lc.core(clients, script="#!/bin/sh\nexit 0\n")
    web = lc.web(clients, script="#!/bin/sh\nexit 0\n")
    lc.archives(core, 35)
    clients.run(core, f"cd {lc.CORE}; echo a > wa-service-1.log; sleep 0.02; truncate -s 31M wa-service-2.log")
    clients.run(core, f"echo raw > {lc.ARCHIVE}/wa-service-0.log; touch {lc.ARCHIVE}/.lock")
    clients.run(
        web, f"cd {lc.LOGS}; echo a > access.log.1; echo b > web.log-2.gz; truncate -s 41M web.log; echo ok > error.log"
    )
    done = ansible.module(MODULE, options)
    assert not done["changed"]

    def violations(result: dict[str, t.Any]) -> set[tuple[str, str, int]]:
        return {(one["container"], one["rule"], one["count"]) for one in result["violations"]}

    assert violations(done) == {
        (core, "too_many", 6),
        (core, "not_compressed", 1),
        (core, "old_core_files", 1),
        (core, "live_too_large", 1),
        (web, "outside_archive", 2),
        (web, "live_too_large", 1),
    }
    assert any("live logs above twice their size" in line for line in done["warnings"])
    lc.install(clients, core, lc.CORE_CLEANUP)
    lc.install(clients, web, lc.WEB_CLEANUP)
    clients.run(web, f"rm {lc.LOGS}/access.log.1 {lc.LOGS}/web.log-2.gz")
    repaired = ansible.module(MODULE, options)
    assert violations(repaired) == {(core, "not_compressed", 1)}


def module_processes(mark: str) -> list[int]:
    """The process ids of one run of the module, found by a text in their environment."""
    listed = subprocess.run(
        ["pgrep", "-f", f"AnsiballZ_{MODULE}.py"], capture_output=True, text=True, check=False
    ).stdout
    found = []
    for pid in listed.split():
        try:
            if mark in Path(f"/proc/{pid}/environ").read_text(errors="replace"):
                found.append(int(pid))
        except OSError:
            continue  # it has ended
    return found


def test_a_killed_module_leaves_no_cleanup_and_no_lock(
    ansible: t.Any, clients: t.Any, options: dict[str, t.Any]
) -> None:
    """kill -9 of the module ends the cleanup in the container and frees the lock, and the next run succeeds."""
    mark = "sleep 4244"
    core = lc.core(clients, script=f"#!/bin/sh\ntrap '' TERM\ntouch /tmp/started\n{mark}\n")
    runs: list[t.Any] = []
    task = {f"waba.onprem.{MODULE}": options}
    # With pipelining the module's name is in no command line.
    marked = {"LOG_CLEANUP_TEST": clients.project, "ANSIBLE_PIPELINING": "false"}
    runner = threading.Thread(target=lambda: runs.append(ansible.play([task], environment=marked).results[0]))
    runner.start()
    until(lambda: clients.engine.exists(core, "/tmp/started"))
    for pid in module_processes(clients.project):
        os.kill(pid, signal.SIGKILL)
    runner.join()
    assert runs[0]["failed"]
    until(lambda: lc.processes(core, "4244") == [])
    lc.install(clients, core, lc.CORE_CLEANUP)
    assert not ansible.module(MODULE, options).get("failed")


def test_concurrent_runs_wait_for_each_other(ansible: t.Any, clients: t.Any, options: dict[str, t.Any]) -> None:
    """The second run waits for the first. A wait beyond the timeout is an error that names the lock."""
    script = "#!/bin/sh\n[ ! -e /tmp/busy ] || { echo overlap; exit 9; }\ntouch /tmp/busy\nsleep 2\nrm /tmp/busy\n"
    lc.core(clients, script=script)
    results: list[t.Any] = []
    threads = [threading.Thread(target=lambda: results.append(ansible.module(MODULE, options))) for _run in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.get("failed", False) for result in results] == [False, False], results
    lock = f"/run/wa-log-cleanup-{clients.project}.lock"
    with subprocess.Popen(["flock", lock, "sleep", "30"]) as holder:
        refused = ansible.module(MODULE, dict(options, timeout="1s"))
        holder.kill()
        subprocess.run(["fuser", "--silent", "--kill", lock], check=False)
    assert refused["failed"]
    assert f"another one has held {lock} for 1 s" in refused["msg"]


def test_archives_are_removed_on_a_full_disk(ansible: t.Any, clients: t.Any, options: dict[str, t.Any]) -> None:
    core = lc.core(clients, docker=("--tmpfs", f"{lc.LOGS}:size=3m"))
    clients.run(core, f"mkdir -p {lc.ARCHIVE}")
    lc.archives(core, 60, size=40960)
    clients.run(core, f"dd if=/dev/zero of={lc.LOGS}/filler.log bs=1M 2>/dev/null || true")
    done = ansible.module(MODULE, options)
    assert not done.get("failed"), done["msg"]
    assert done["containers"][0]["freed_bytes"] == 30 * 40960


def test_no_secret_is_shown(ansible: t.Any, clients: t.Any, options: dict[str, t.Any]) -> None:
    """The output of a cleanup that prints its environment contains no password."""
    secret = "canary-Pa55%word"
    lc.core(clients, script="#!/bin/sh\nenv\n", docker=("--env", f"WA_DB_PASSWORD={secret}"))
    play = ansible.play([{f"waba.onprem.{MODULE}": options}], arguments=["-vvv"])
    assert any("WA_DB_PASSWORD=<hidden>" in line for line in play.results[0]["containers"][0]["output"])
    assert secret not in play.stdout + play.stderr
