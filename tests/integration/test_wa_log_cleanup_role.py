# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role wa_log_cleanup on a machine whose cron runs the job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import typing as t
import uuid
from dataclasses import dataclass
from pathlib import Path

import lab_images
import log_containers as lc
import pytest
from commands import docker
from engine import Engine

ROLE = "waba.onprem.wa_log_cleanup"


@pytest.fixture(scope="session")
def host_image(docker_engine: str) -> str:
    """The lab's image of a host with cron and the Docker CLI."""
    return lab_images.machine("host")


@dataclass
class Host:
    """A machine that uses this machine's Docker Engine, under one or several inventory names."""

    name: str
    folder: Path

    def sh(self, script: str) -> str:
        """Run a shell script on the host and return its output."""
        return Engine().run(self.name, script)

    def role(
        self, names: dict[str, dict[str, t.Any]], check: bool = False, **variables: t.Any
    ) -> dict[str, dict[str, int]]:
        """Apply the role to inventory names and return Ansible's statistics by name. The play must succeed."""
        shared = {"ansible_connection": "community.docker.docker", "ansible_host": self.name}
        shared["ansible_python_interpreter"] = "/usr/bin/python3"
        inventory, play = self.folder / "inventory.yml", self.folder / "play.yml"
        inventory.write_text(json.dumps({"all": {"hosts": names, "vars": shared}}))
        play.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "roles": [ROLE]}]))
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), str(play)]
        command += ["-e", json.dumps(variables), *(["--check", "--diff"] if check else [])]
        environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        text = done.stdout[done.stdout.find("{") :]
        assert done.returncode == 0, done.stdout + done.stderr
        assert "WARNING" not in done.stderr, done.stderr
        self.last = json.loads(text)
        return t.cast("dict[str, dict[str, int]]", self.last["stats"])

    def tasks(self, name: str) -> dict[str, dict[str, t.Any]]:
        """The tasks of the last run that did something for an inventory name, with their results."""
        found = {}
        for task in self.last["plays"][0]["tasks"]:
            title = task["task"]["name"].rpartition(" : ")[2]
            result = task["hosts"].get(name)
            if (
                result
                and not result.get("skipped")
                and not title.startswith(("Validating arguments", "Ensure the state "))
            ):
                found[title] = result
        return found


@pytest.fixture
def host(host_image: str, tmp_path: Path) -> t.Iterator[Host]:
    """A host without its own Docker Engine; the client containers run on this machine's."""
    name = f"logs-host-{uuid.uuid4().hex[:8]}"
    socket = "/var/run/docker.sock"
    docker(
        "run", "--detach", "--init", "--name", name, "--volume", f"{socket}:{socket}", host_image, "sleep", "infinity"
    )
    try:
        docker("exec", name, "mkdir", "-p", "/etc/cron.d")  # of the package that the role wa_host installs
        yield Host(name, tmp_path)
    finally:
        docker("rm", "--force", "--volumes", name)


@pytest.mark.deep
def test_cron_runs_the_job(host: Host, clients: t.Any) -> None:
    """Check, run, run. Then cron cleans a container that was created after the role ran, and syslog has an entry."""
    names = {"support": {"wa_project": clients.project}}
    often: dict[str, t.Any] = {"wa_log_cleanup_hour": "*"}
    assert host.role(names, check=True, **often)["support"]["changed"] == 1
    assert host.sh("ls /etc/cron.d /usr/local/sbin") == "/etc/cron.d:\n\n/usr/local/sbin:"
    assert host.role(names, **often)["support"]["changed"] == 1
    assert host.role(names, **often)["support"]["changed"] == 0
    assert list(host.tasks("support")) == ["Install the cleanup script and its cron file"]
    assert host.role(names, check=True, **often)["support"]["changed"] == 0
    core = lc.core(clients)
    lc.archives(core, 31)
    host.sh("sed -i 's/^[0-9]* /* /' /etc/cron.d/wa-support-log-cleanup")  # nobody waits an hour
    host.sh("busybox syslogd -O /var/log/syslog; service cron start")
    until = time.monotonic() + 90
    while len(lc.files(clients, core)) > 30:
        assert time.monotonic() < until, host.sh("cat /var/log/syslog")
        time.sleep(1)
    while "freed 8192 bytes" not in host.sh("cat /var/log/syslog"):
        assert time.monotonic() < until, host.sh("cat /var/log/syslog")
        time.sleep(0.5)
    status = json.loads(host.sh("cat /var/lib/waba/log-cleanup-support.json"))
    assert (status["project"], status["containers"], status["failed"]) == (clients.project, 1, 0)


@pytest.mark.deep
def test_deployments_on_one_host_have_their_own_jobs(host: Host, clients: t.Any) -> None:
    """Special characters are quoted."""
    one: dict[str, t.Any] = {
        "wa_log_cleanup_metrics_file": "/m x/100%",
        "wa_images": {"web": "r:5000/a/web", "coreapp": "r:5000/a/our-core"},
    }
    two = {"wa_docker_host": "unix:///var/run/docker.sock"}
    names: dict[str, dict[str, t.Any]] = {"one": one, "two.example": two}
    host.role(names)
    lines = host.sh("cat /etc/cron.d/wa-*")
    assert """ -i '{"coreapp":"r:5000/a/our-core","web":"r:5000/a/web"}' """ in lines
    assert r" -m '/m x/100\%' " in lines
    assert " 3 * * * root /usr/local/sbin/wa-log-cleanup -H unix:///var/run/docker.sock" in lines
    assert host.sh("ls /etc/cron.d") == "wa-one-log-cleanup\nwa-two-example-log-cleanup"


def test_a_changed_script_or_job_is_corrected(host: Host) -> None:
    """The next run restores a script or cron file that was edited manually."""
    host.role({"one": {}})
    before = host.sh("cat /etc/cron.d/wa-one-log-cleanup; md5sum /usr/local/sbin/wa-log-cleanup")
    host.sh(
        "sed -i 's/3 /4 /' /etc/cron.d/wa-one-log-cleanup; echo >> /usr/local/sbin/wa-log-cleanup; chmod 600 /usr/local/sbin/*"
    )
    assert host.role({"one": {}})["one"]["changed"] == 1
    assert host.sh("cat /etc/cron.d/wa-one-log-cleanup; md5sum /usr/local/sbin/wa-log-cleanup") == before


def test_entry_point_run_cleans_at_once(ansible: t.Any, clients: t.Any) -> None:
    """The entry point `run` with the operator's image names, whatever registry a container came from."""
    core, web = clients.add("wacore", "our-core"), clients.add("waweb", "our-web")
    for name, script in ((core, lc.CORE_CLEANUP), (web, lc.WEB_CLEANUP)):
        lc.install(clients, name, script)
        lc.archives(name, 31)
    variables = {
        "wa_project": clients.project,
        "wa_images": {"web": "new.test/x/our-web", "coreapp": "new.test/x/our-core"},
    }
    task = {"ansible.builtin.include_role": {"name": ROLE, "tasks_from": "run"}}
    done = ansible.play([task], variables=variables)
    assert done.rc == 0, done.stdout
    result = done.results[-1]
    assert [(one["role"], one["status"]) for one in result["containers"]] == [("core", "cleaned"), ("web", "cleaned")]
    assert len(lc.files(clients, core)) == 30
    again = ansible.play([task], variables=variables)
    assert not again.results[-1]["changed"]
    lc.remove_locks(clients.project)
