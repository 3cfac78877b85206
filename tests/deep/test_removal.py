# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""provision.yml removes a deployment: the record of the client is removed last, so an interrupted removal can be repeated."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from observer import Lab, Run, changes  # noqa: E402 - needs the path above

NAME = "deep-removal"
RECORD = "/var/lib/waba/client-h1.json"
LOCK = "/var/lib/waba/h1.lock"
ABSENT = dict.fromkeys(
    (f"wa_{one}_state" for one in ("host", "log_cleanup", "client", "db_env", "media_volume")), "absent"
)
CLIENT = "docker ps --all --quiet --filter label=com.docker.compose.project=wa-h1"
# Faults that interrupt a removal: what breaks the host, what repairs it, part of the message, number of containers left.
FAULTS = {
    "media are left in the volume": (
        "echo x >/var/lib/docker/volumes/wa-h1_whatsappMedia/_data/outgoing/planted",
        "rm /var/lib/docker/volumes/wa-h1_whatsappMedia/_data/outgoing/planted",
        "holds files",
        0,
    ),
    "db.env cannot be removed": (
        "mount --bind /opt/waba/h1/db.env /opt/waba/h1/db.env",
        "umount /opt/waba/h1/db.env",
        "/opt/waba/h1/db.env",
        0,
    ),
    "the engine does not answer": (
        "mv /var/run/docker.sock /var/run/docker.sock.away",
        "mv /var/run/docker.sock.away /var/run/docker.sock",
        "docker.sock",
        2,
    ),
    # Compose needs db.env to remove the containers.
    "a container cannot be removed": (
        "mv /opt/waba/h1/db.env /root/db.env",
        "mv /root/db.env /opt/waba/h1/db.env",
        "was not taken down",
        2,
    ),
}


@pytest.fixture(scope="module")
def lab() -> t.Iterator[Lab]:
    """A lab with one host of the flavour `ready`."""
    found = Lab(NAME, "h1")
    command = [str(ROOT / "tests/lab/lab"), "up", "--name", NAME, "--hosts", "h1:ready", "--db", "mariadb"]
    subprocess.run(command, check=True)
    try:
        yield found
    finally:
        found.lab("down")


def provision(lab: Lab) -> None:
    """Provision a client, with its record."""
    done = lab.play("provision", {})
    assert done.code == 0, done.output
    assert lab.host(f"cat {RECORD}")


def remove(lab: Lab, code: int, variables: t.Mapping[str, t.Any] | None = None) -> Run:
    """Remove the deployment in check mode, then for real: both have the same result, and check mode changes nothing."""
    before = lab.snapshot()
    variables = ABSENT if variables is None else variables
    predicted = lab.play("provision", variables, "--check")
    assert changes(before, lab.snapshot()) == []
    done = lab.play("provision", variables)
    assert (done.code, done.changed, done.message) == (predicted.code, predicted.changed, predicted.message), (
        predicted.output + done.output
    )
    assert done.code == code, done.output
    return done


def test_a_removal_leaves_nothing(lab: Lab) -> None:
    before = lab.files()
    provision(lab)
    assert remove(lab, 0).changed > 0
    assert changes(before, lab.files()) == []
    assert lab.host(CLIENT + "; docker volume ls --quiet --filter name=wa-h1") == ""
    assert remove(lab, 0).changed == 0


@pytest.mark.parametrize("own", [True, False])
def test_an_unlisted_service_is_removed_only_if_the_collection_created_it(lab: Lab, own: bool) -> None:
    before = lab.files()
    provision(lab)
    labels = [
        "com.docker.compose.project=wa-h1",
        "com.docker.compose.service=wacore9",
        "com.docker.compose.oneoff=False",
    ]
    options = " ".join(f"--label {one}" for one in (*labels, *(["onprem.waba.deployment=h1"] if own else [])))
    lab.host(
        f"docker create --env-file /opt/waba/h1/db.env --name left {options} $(docker inspect --format '{{{{.Config.Image}}}}' wa-h1-wacore-1)"
    )
    try:
        assert remove(lab, 0).changed > 0
        assert len(lab.host(CLIENT).split()) == (0 if own else 1)
        assert lab.host(f"ls {RECORD} 2>/dev/null", check=False).strip() == ("" if own else RECORD)
    finally:
        lab.host("docker rm left 2>/dev/null", check=False)
    assert remove(lab, 0).changed == (0 if own else 1)  # the record with its folder
    assert changes(before, lab.files()) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_the_next_run_completes_an_interrupted_removal(lab: Lab, fault: str) -> None:
    break_script, repair_script, words, left = FAULTS[fault]
    provision(lab)
    lab.host(break_script)
    try:
        done = lab.play("provision", ABSENT)
    finally:
        lab.host(repair_script)
    assert done.code == 2, done.output
    assert words in done.message
    assert lab.host(f"cat {RECORD}"), "the record of which client is here"
    assert len(lab.host(CLIENT).split()) == left
    assert remove(lab, 0).changed > 0
    assert remove(lab, 0).changed == 0


def test_the_record_is_kept_with_the_client(lab: Lab) -> None:
    provision(lab)
    assert remove(lab, 0, {"wa_host_state": "absent"}).changed == 0
    assert lab.host(f"cat {RECORD}")
    assert len(lab.host(CLIENT).split()) == 2
    assert lab.play("provision", {}).changed == 0


def held(run_id: str, lease: int) -> str:
    """The lock of a run that changes the client's containers, for a shell; `lease` in seconds."""
    text = {
        "format": 1,
        "deployment": "h1",
        "run_id": run_id,
        "user": "ops",
        "controller": "elsewhere",
        "hosts": ["h1"],
    }
    begun = int(time.time())
    return shlex.quote(json.dumps(dict(text, since=begun, lease_until=begun + lease)))


def test_a_client_that_another_run_changes_is_not_removed(lab: Lab) -> None:
    provision(lab)
    lab.host(f"echo {held('m/1/5', 3600)} >{LOCK}")
    before = lab.snapshot()
    done = remove(lab, 2)
    assert "locked by a run that changes its containers, by ops from elsewhere" in done.message
    assert changes(before, lab.snapshot()) == []
    assert lab.play("provision", {}).code == 0, "nothing is to change, so nothing is held"
    lab.host(f"echo {held('m/1/5', -1)} >{LOCK}")
    assert remove(lab, 0).changed > 0
    assert lab.host(f"ls {LOCK} 2>/dev/null", check=False) == ""


def test_the_lock_of_a_killed_run_is_removed_with_the_folders(lab: Lab) -> None:
    before = lab.files()
    lab.host(f"mkdir /var/lib/waba; echo {held('m/1/5', -1)} >{LOCK}")
    assert remove(lab, 0).changed > 0
    assert changes(before, lab.files()) == []
