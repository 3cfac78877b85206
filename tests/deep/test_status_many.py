# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""status.yml on twenty hosts with a harm each, of twenty kinds, of which ten end the service: it names each, worst first."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

import commands  # noqa: E402 - needs the path above
from observer import Lab  # noqa: E402

NAME = "status-many"
FAILED = '{"result": "failed", "started": \'$(date +%s)\', "last_success": 0, "failures": ["wacore: planted"]}'


class Harm(t.NamedTuple):
    """How it is planted on `{host}`: a script there, a fault of the client, or a command of Docker on the lab; what the report says."""

    state: str
    says: str
    script: str = ""
    fault: str = ""
    docker: str = ""


WEB, CORE, MEDIA = "wa-{host}-waweb-1", "wa-{host}-wacore-1", "/var/lib/docker/volumes/wa-{host}_whatsappMedia/_data"
HARMS = (
    Harm("unreachable", "is unreachable", docker="pause walab-" + NAME + "-{host}"),
    Harm("unhealthy", CORE + " has exited", f"docker stop {CORE}"),
    Harm("unhealthy", WEB + " is missing", f"docker rm --force {WEB}"),
    Harm("unhealthy", CORE + " is paused", f"docker pause {CORE}"),
    Harm("unhealthy", "the client does not serve", f"docker network disconnect wa-{{host}}_default {CORE}"),
    Harm("unhealthy", "the client does not serve", fault="dead_database"),
    Harm("unhealthy", "the client does not serve", fault="coreapp_unreachable"),
    Harm("unhealthy", "the client does not serve", fault="unregistered"),
    Harm("unhealthy", "expired", fault="expired"),
    Harm("unknown", "Docker Engine", "service docker stop"),
    Harm(
        "drifted", "log_cleanup: /etc/cron.d/wa-{host}-log-cleanup is missing", "rm /etc/cron.d/wa-{host}-log-cleanup"
    ),
    Harm("drifted", "log_cleanup: /usr/local/sbin/wa-log-cleanup is missing", "rm /usr/local/sbin/wa-log-cleanup"),
    Harm("drifted", "failed: wacore: planted", f"echo '{FAILED}' >/var/lib/waba/log-cleanup-{{host}}.json"),
    Harm("drifted", "db_env: set WA_DB_PORT", "sed -i 's/^WA_DB_PORT=.*/WA_DB_PORT=3999/' /opt/waba/{host}/db.env"),
    Harm("drifted", "/opt/waba/{host}/compose.yml is missing", "rm /opt/waba/{host}/compose.yml"),
    Harm("drifted", "has the memory limit", f"docker update --memory 600m --memory-swap -1 {CORE}"),
    Harm("drifted", "restart policy", f"docker update --restart no {WEB}"),
    Harm("drifted", "media_volume", f"chown root {MEDIA}; chmod 0700 {MEDIA}"),
    Harm("attention", "rows", "true"),
    Harm("attention", "certificate", fault="tls_expired"),
)
HOSTS = {f"h{number}": harm for number, harm in enumerate(HARMS, 1)}
FULL = next(host for host, harm in HOSTS.items() if harm.says == "rows")
STATES = ("unreachable", "unhealthy", "unknown", "drifted", "attention", "in_sync")


@pytest.fixture(scope="module")
def lab() -> t.Iterator[Lab]:
    found = Lab(NAME, "h1")
    try:
        found.lab("up", "--hosts", ",".join(f"{host}:ready" for host in HOSTS), "--db", "mariadb")
        first = found.play("provision", {}, "--forks", "8")
        assert first.code == 0, first.output
        found.lab("seed", "--rows", "3000", "--prefix", f"{FULL}_")
        yield found
    finally:
        commands.docker("unpause", f"walab-{NAME}-h1", check=False)
        found.lab("down")


def status(lab: Lab, folder: Path) -> tuple[int, str]:
    limits = {"all": {"hosts": {FULL: {"wa_message_gc_max_messages": 2000}}}}
    (folder / "limits.json").write_text(json.dumps(limits))
    given = json.dumps({"wa_report_dir": str(folder / "reports"), "wa_backup_dir": "", "wa_status_all": True})
    sources = ["-i", lab.inventory, "-i", str(folder / "limits.json")]
    done = subprocess.run(
        ["ansible-playbook", *sources, "waba.onprem.status", "--forks", "8", "-e", given],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )
    return done.returncode, done.stdout + done.stderr


def plant(host: str) -> None:
    harm = HOSTS[host]
    if harm.script:
        Lab(NAME, host).host(f"set -e; {harm.script}".replace("{host}", host))
    if harm.fault:
        Lab(NAME, host).lab("fault", "--prefix", f"{host}_", harm.fault, "on")


def test_each_harm_is_named_worst_first(lab: Lab, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(plant, HOSTS))
    for host, harm in HOSTS.items():
        if harm.docker:
            commands.docker(*harm.docker.replace("{host}", host).split())
    code, output = status(lab, tmp_path)
    found = json.loads((tmp_path / "reports" / "fleet.json").read_text(encoding="utf-8"))["deployments"]
    said = {one["name"]: (one["state"], " / ".join(cause["text"] for cause in one["causes"])) for one in found}
    wrong = {
        host: (said[host], harm.state, harm.says)
        for host, harm in HOSTS.items()
        if said[host][0] != harm.state or harm.says.replace("{host}", host) not in said[host][1]
    }
    assert wrong == {}, output
    assert code == 4
    states = [STATES.index(one["state"]) for one in found]
    assert states == sorted(states)
    expected = {state: [harm.state for harm in HARMS].count(state) for state in STATES}
    (last,) = re.findall(r"(?m)^20 deployments: (.*)\.$", output)
    assert [int(number) for number in re.findall(r"\d+", last)] == list(expected.values())
