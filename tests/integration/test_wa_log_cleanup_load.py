# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log cleanup with logs as the simulated client writes, rotates and archives them: topologies, days of load, full disks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

import commands
import lab_images
import log_containers as lc
import pytest
from commands import docker
from log_job import Job
from waiting import until

MODULE = "wa_log_cleanup"
MASTER = ("--env", "WA_MASTER_NODE=1")
TOPOLOGIES = {
    "single": {"wacore": "core", "waweb": "web"},
    "multiconnect": {
        **{f"wacore{number}": "core" for number in (1, 2, 3)},
        **{f"waweb{number}": "web" for number in (1, 2)},
        **{f"master{number}": "master" for number in (1, 2)},
    },
}
# Writes with the simulated client's code, about as compressible as real logs. Prints how many writes a full disk lost.
WRITE = """
import os, sys
from simclient.logs import CoreLogFile, LogFile
role, megabytes = sys.argv[1], int(sys.argv[2])
log = LogFile("/var/log/whatsapp", "web.log", False) if role == "web" else CoreLogFile("/usr/local/waent/logs", False)
line = "DEBUG stanza {} received, ack sent, queue empty, nothing to do at all, " + "." * 70 + "\\n"
part = "".join(line.format(os.urandom(8).hex()) for _line in range(1681))
for _part in range(megabytes * 4):
    log.write(part)
print(log.lost)
"""


@dataclass
class Site:
    """Containers of the simulated client's images in the test's project. Their programs do not run."""

    clients: t.Any
    images: dict[str, str]

    def add(self, service: str, role: str, *options: str) -> str:
        """Start a container; `role` is `web`, `core` or `master`."""
        kind = "web" if role == "web" else "coreapp"
        self.clients.image = self.images[kind]
        return str(self.clients.add(service, kind, *options, *(MASTER if role == "master" else ())))

    def write(self, container: str, role: str, megabytes: int) -> int:
        """Write this much to the logs, and return how many writes were lost."""
        return int(docker("exec", container, "python3", "-c", WRITE, role, str(megabytes)))

    def old_archives(self, container: str, role: str, size: int) -> None:
        """Create a month of archives with the client's names."""
        lc.archives(container, 30, "web.log" if role == "web" else "wa-service", size)


@pytest.fixture(autouse=True)
def locks(clients: t.Any) -> t.Iterator[None]:
    """Remove the lock files at the end."""
    yield
    lc.remove_locks(clients.project)


@pytest.fixture
def site(clients: t.Any) -> Site:
    return Site(clients, {role: lab_images.client(role) for role in ("web", "coreapp")})


@pytest.mark.parametrize("topology", ["single", pytest.param("multiconnect", marks=pytest.mark.deep)])
def test_the_prediction_equals_the_cleanup_in_each_topology(
    ansible: t.Any, clients: t.Any, site: Site, topology: str
) -> None:
    """Check mode predicts for each container what the client's own cleanup does; the next run changes nothing."""
    names = {}
    for service, role in TOPOLOGIES[topology].items():
        names[site.add(service, role)] = role
    for name, role in names.items():
        site.old_archives(name, role, 4096)
        assert site.write(name, role, 21 if role == "web" else 18) == 0
    options = {"project": clients.project}
    predicted = ansible.module(MODULE, options, check=True)
    assert {one["name"]: one["role"] for one in predicted["containers"]} == names
    done = ansible.module(MODULE, options)
    assert not done.get("failed"), done["msg"]
    assert (done["violations"], done["failures"], done["skipped_containers"]) == ([], [], [])
    for before, after in zip(predicted["containers"], done["containers"]):
        name = after["name"]
        removed = {
            line.partition(" ")[2].rpartition(" ")[0].rpartition(" ")[0]
            for line in done["diff"]["before"].splitlines()
            if line.startswith(f"{name}: ")
        }
        assert removed == {*before["rotate"], *before["archive"], *before["remove"]}
        assert len(before["rotate"] + before["archive"]) == len(before["remove"]) == 1
        # the archive, the lock file of the cleanup, and a live Coreapp log
        assert after["files_after"] == (31 if names[name] == "web" else 32)
        assert after["freed_bytes"] >= before["compress_bytes"] * 0.7
    assert not ansible.module(MODULE, options)["changed"]


def test_a_clock_set_back_is_handled(ansible: t.Any, clients: t.Any, site: Site) -> None:
    """Logs and archives from the future count as the newest, results are stable, and no rule is reported as broken."""
    name = site.add("wacore", "core")
    site.old_archives(name, "core", 4096)
    clients.run(
        name,
        f"cd {lc.CORE}; for f in wa-service-20400101-000000-000000 wa-service-20400102-000000-000000; do"
        " echo x > $f.log; touch -d 2040-01-02 $f.log; done; touch -d 2040-01-01 wa-service-20400101-000000-000000.log;"
        " echo y > wa-service-20260101-000000-000000.log",
    )
    options = {"project": clients.project}
    predicted = ansible.module(MODULE, options, check=True)["containers"][0]
    assert [path.rpartition("/")[2] for path in predicted["archive"]] == [
        "wa-service-20400101-000000-000000.log",
        "wa-service-20260101-000000-000000.log",
    ]
    done = ansible.module(MODULE, options)
    assert (done.get("failed", False), done["violations"]) == (False, [])
    assert not {f"{lc.ARCHIVE}/{name}" for name in lc.files(clients, name)} & set(predicted["remove"])
    assert lc.files(clients, name, lc.CORE) == ["wa-service-20400102-000000-000000.log"]
    assert not ansible.module(MODULE, options)["changed"]


def test_growing_logs_are_no_change_and_no_violation(ansible: t.Any, clients: t.Any) -> None:
    """The client writes during the cleanup."""
    writer = (
        f"mkdir -p {lc.CORE}; i=100; while :; do f={lc.CORE}/wa-service-$i.log; i=$((i + 1));"
        ' while [ "$(stat -c %s $f 2>/dev/null || echo 0)" -lt 4000000 ]; do head -c 200000 /dev/zero >> $f; done; done'
    )
    core = lc.core(clients, command=["sh", "-c", f"{writer} & sleep infinity"])
    web = lc.web(
        clients, command=["sh", "-c", f"while :; do head -c 100000 /dev/zero >> {lc.LOGS}/web.log; sleep 0.01; done"]
    )
    options = {"project": clients.project}
    for _run in range(3):
        done = ansible.module(MODULE, options)
        found = {one["name"]: one for one in done["containers"]}
        assert not done.get("failed"), done["msg"]
        assert [one for one in done["violations"] if one["container"] == web] == []
        assert not [one for one in done["violations"] if one["rule"] in ("old_core_files", "live_too_large")]
        assert found[core]["status"] == found[web]["status"] == "cleaned"
        if found[web]["freed_bytes"] == 0:
            assert not any(line.startswith(web) for line in done["actions"]), "growing is no change"
    assert not any(name.endswith(".log") for name in lc.files(clients, core))


@pytest.fixture
def disk(tmp_path: Path) -> t.Iterator[Path]:
    """A disk of 280 MB for the logs, in a file."""
    image, folder = tmp_path / "disk.img", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(280 << 20)
    commands.run("mkfs.ext4", "-q", "-m", "0", image)
    commands.run("mount", "-o", "loop", image, folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


@pytest.mark.deep
def test_the_job_keeps_the_disk_from_filling(
    ansible: t.Any, clients: t.Any, site: Site, disk: Path, tmp_path: Path
) -> None:
    """Without the job the disk fills within days. With it, it does not, though a container is recreated and a job killed."""
    roles = {"wacore": "core", "waweb": "web"}
    job = Job(tmp_path, clients.project)

    def recreate(service: str) -> str:
        """Create a new container with a new id and empty log folders."""
        docker("rm", "--force", f"{clients.project}-{service}-1", check=False)
        shutil.rmtree(disk / service, ignore_errors=True)
        folders = {"var": lc.LOGS, "core": lc.CORE}
        mounts = []
        for short, inside in folders.items():
            (disk / service / short / "archive").mkdir(parents=True)
            mounts.append(f"--volume={disk / service / short}:{inside}")
        name = site.add(service, roles[service], *mounts)
        site.old_archives(name, roles[service], 2_000_000)
        return name

    names = {service: recreate(service) for service in roles}

    def day() -> int:
        """Write the logs of a day, more than the size limit of each log. Returns how many writes were lost."""
        return site.write(names["wacore"], "core", 18) + site.write(names["waweb"], "web", 22)

    def free() -> int:
        found = os.statvfs(disk)
        return found.f_bavail * found.f_frsize

    (disk / "filler").write_bytes(b"x" * (10 << 20))
    days = 1
    while day() == 0:
        days += 1
        assert days < 5, "the disk does not fill"
    assert free() < 1 << 20

    # The client's cleanup needs space to compress. On a full disk it fails, and job and module report it.
    assert job().returncode == 1
    assert "No space left on device" in job.status["failures"][0]
    options = {"project": clients.project}
    full = ansible.module(MODULE, options)
    assert full["failed"]
    assert len(full["failures"]) == 2
    assert {one["rule"] for one in full["violations"]} >= {"old_core_files"}
    (disk / "filler").unlink()
    assert job().returncode == 0, job.status
    assert free() > 40 << 20

    for number in range(1, 6):
        assert day() == 0, f"writes were lost on day {number}"
        if number == 2:
            names["wacore"] = recreate("wacore")
        if number == 3:
            with subprocess.Popen(job.argv()) as running:
                until(lambda: any(disk.glob("*/var/archive/*.part")))
                os.kill(running.pid, signal.SIGKILL)
            continue
        until(lambda: job().returncode == 0 and job.status["result"] == "ok")
        assert job.status["containers"] == 2
    assert not list(disk.glob("*/var/archive/*.part"))
    for service, role in roles.items():
        assert len([path for path in (disk / service / "var/archive").iterdir() if path.suffix == ".gz"]) == 30, role
    last = ansible.module(MODULE, options)
    assert (last.get("failed", False), last["changed"], last["violations"]) == (False, False, [])
