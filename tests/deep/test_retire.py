# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""retire.yml ends a deployment: only data are left, and a run that was cut off is completed by the next one."""

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

NAME = "deep-retire"
HOSTS = ("h1", "h2")
STATE = "/var/lib/waba"
RECORD = f"{STATE}/client-waba.json"
CLIENT = "docker ps --all --quiet --filter label=com.docker.compose.project=wa-waba"
WITHOUT = {"wa_retire_without_backup": True}
# What a host has outside the folders that a snapshot lists.
BESIDE = "ls -A /var/spool/cron/crontabs /run | sed 's/^/beside /'"
# Faults that cut off a run: the host, what breaks it, what repairs it, part of the message, containers left on each host.
FAULTS = {
    "a file of a member cannot be removed": (
        "h2",
        "mount --bind /opt/waba/waba/db.env /opt/waba/waba/db.env",
        "umount /opt/waba/waba/db.env",
        "/opt/waba/waba/db.env: cannot be removed",
        [3, 0],
    ),
    "a file of the leader cannot be removed": (
        "h1",
        f"mount --bind {RECORD} {RECORD}",
        f"umount {RECORD}",
        f"{RECORD}: cannot be removed",
        [0, 0],
    ),
}


class Pair:
    """Two hosts that are one deployment."""

    def __init__(self) -> None:
        self.labs = [Lab(NAME, host) for host in HOSTS]
        self.leader, self.other = self.labs

    def snapshot(self) -> list[str]:
        """Everything that a run could change on either host, one line each."""
        found = []
        for one in self.labs:
            found += [f"{one.at} {line}" for line in [*one.snapshot(), *one.host(BESIDE).splitlines()]]
        return [line for line in found if " database " not in line]

    def containers(self) -> list[int]:
        return [len(one.host(CLIENT).split()) for one in self.labs]

    def play(self, playbook: str, variables: t.Mapping[str, t.Any], *arguments: str) -> Run:
        return self.leader.play(playbook, variables, *arguments)

    def provision(self) -> None:
        done = self.play("provision", {})
        assert done.code == 0, done.output

    def retire(self, **variables: t.Any) -> Run:
        """Retire in check mode, then for real: both end the same way, and check mode changes nothing."""
        given = {"wa_retire": "waba", "wa_backup_dir": str(ROOT / ".lab" / NAME / "backups"), **variables}
        before = self.snapshot()
        predicted = self.play("retire", given, "--check")
        assert changes(before, self.snapshot()) == []
        done = self.play("retire", given)
        assert (done.code, done.message) == (predicted.code, predicted.message), predicted.output + done.output
        assert "Canary-" not in predicted.output + done.output
        return done


@pytest.fixture(scope="module")
def pair() -> t.Iterator[Pair]:
    """A lab with two hosts of the flavour `ready` that are one deployment."""
    command = [
        str(ROOT / "tests/lab/lab"),
        "up",
        "--name",
        NAME,
        "--hosts",
        "h1:ready,h2:ready",
        "--shared",
        "--db",
        "mariadb",
    ]
    subprocess.run(command, check=True)
    found = Pair()
    try:
        yield found
    finally:
        found.leader.lab("down")


def test_only_data_are_left_after_every_playbook(pair: Pair) -> None:
    before = pair.snapshot()
    pair.provision()
    for playbook, variables in (
        ("gc", {"wa_message_gc_policy": "always", "wa_message_gc_window": ""}),
        ("upgrade", {"wa_upgrade_version": "2.53.4", "wa_upgrade_skip": ["database_backup"]}),
    ):
        done = pair.play(playbook, variables)
        assert done.code == 0, done.output
    for one in pair.labs:
        one.host("$(sed -n 's/^.* root //p' /etc/cron.d/wa-waba-log-cleanup)")
    done = pair.retire(wa_version="2.53.4")
    assert done.code == 0, done.output
    # The shared folder holds the media.
    left = [line for line in changes(before, pair.snapshot()) if "/srv/media" not in line]
    assert [line for line in left if f" path {STATE}" not in line and " image registry.lab" not in line] == [
        "+ h1 volume wa-waba_whatsappMedia",
        "+ h2 volume wa-waba_whatsappMedia",
    ]
    assert pair.leader.host(f"ls -A {STATE}", check=False).split() == []
    again = pair.retire()
    assert (again.code, again.changed) == (0, 0)
    assert "nothing of deployment waba is left to remove" in again.output


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_that_was_cut_off_is_completed_by_the_next_one(pair: Pair, fault: str) -> None:
    """Also where the client is gone and can make no settings backup any more."""
    at, break_script, repair_script, words, left = FAULTS[fault]
    pair.provision()
    host = pair.labs[HOSTS.index(at)]
    host.host(break_script)
    try:
        done = pair.play("retire", {"wa_retire": "waba", "wa_backup_dir": str(ROOT / ".lab" / NAME / "backups")})
    finally:
        host.host(repair_script)
    assert done.code == 2, done.output
    assert words in done.output
    assert pair.containers() == left
    assert pair.leader.host(f"cat {RECORD}"), "the record of which client is here"
    pair.leader.host("docker stop $(docker ps --quiet --filter label=com.docker.compose.service=waweb)", check=False)
    assert pair.retire().code == 0
    assert pair.containers() == [0, 0]
    assert pair.retire().changed == 0


def note(kind: str, lease: int) -> tuple[str, dict[str, t.Any]]:
    """The file of another run, and its content."""
    began = time.time()
    made: dict[str, t.Any] = {
        "format": 2,
        "deployment": "waba",
        "run_id": "m/1/5",
        "user": "ops",
        "controller": "elsewhere",
    }
    made.update(since=began, lease_until=began + lease)
    path = f"{STATE}/waba.lock"
    if kind == "change":
        return path, {**made, "hosts": ["h1"]}
    return path, {
        **made,
        "runs": ["m/1/5"],
        "target": "2.53.4",
        "schema": "untouched",
        "notes": {"down_at": began},
    }


@pytest.mark.parametrize(
    ("kind", "words"), [("change", "locked by a run that changes its containers"), ("upgrade", "left unfinished by")]
)
@pytest.mark.parametrize("at", HOSTS)
def test_a_deployment_that_another_run_has_is_refused(pair: Pair, kind: str, words: str, at: str) -> None:
    pair.provision()
    path, content = note(kind, 3600 if kind == "change" else -1)
    host = pair.labs[HOSTS.index(at)]
    host.host(f"echo {shlex.quote(json.dumps(content))} >{path}")
    before = pair.snapshot()
    try:
        done = pair.retire()
        assert done.code == 2
        assert words in done.output
        assert changes(before, pair.snapshot()) == []
    finally:
        host.host(f"rm {path}")


def test_a_member_that_cannot_be_reached_is_named(pair: Pair) -> None:
    pair.provision()
    lost = f"walab-{NAME}-h2"
    subprocess.run(["docker", "pause", lost], check=True)
    try:
        done = pair.play("retire", {"wa_retire": "waba"}, "--ssh-common-args=-o ConnectTimeout=5")
    finally:
        subprocess.run(["docker", "unpause", lost], check=True)
    assert "since h2 failed or cannot be reached. Nothing was changed" in done.message
    assert pair.containers() == [3, 3]


def test_a_client_that_does_not_answer_is_retired_only_without_a_backup(pair: Pair) -> None:
    pair.provision()
    pair.leader.host("docker stop $(docker ps --quiet --filter label=com.docker.compose.service=waweb)")
    before = pair.snapshot()
    done = pair.retire()
    assert done.code == 2
    assert "no settings backup was made" in done.output
    assert changes(before, pair.snapshot()) == []
    assert pair.retire(**WITHOUT).code == 0
    assert pair.containers() == [0, 0]
