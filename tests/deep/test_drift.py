# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each kind of drift alone: check mode names exactly it, provision.yml repairs exactly it, and what it cannot repair it names.

Drifts that do not exclude each other are planted together by the scenario `single`. What a run has changed is read by Docker's
SDK and from the host's files.
"""

from __future__ import annotations

import re
import subprocess
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

import commands  # noqa: E402 - needs the path above
from observer import Lab, changes, without_ids  # noqa: E402

NAME = "deep-drift"
FOLDER, PROJECT, WEB, CORE = "/opt/waba/h1", "wa-h1", "wa-h1-waweb-1", "wa-h1-wacore-1"
RECORD = "api-login-h1.json"  # which password was refused
MEDIA = "/var/lib/docker/volumes/wa-h1_whatsappMedia/_data"
# A status of the nightly job, as its script writes it.
FAILED = '{"result": "failed", "started": \'$(date +%s)\', "last_success": 0, "failures": ["wacore: planted"]}'


@dataclass
class Drift:
    """How it is planted, the lines that check mode displays, and the words that stand in lines of changed objects.

    With `cure`, provision.yml cannot repair it: it fails with the words `failure`, and the script takes the drift away.
    """

    plant: str
    lines: tuple[str, ...]
    changed: tuple[str, ...] = ()
    cure: str = ""
    failure: str = ""


DRIFTS = {
    "a removed container": Drift(f"docker rm --force {WEB}", (f"client: {WEB} is missing",), (WEB,)),
    "a stopped container": Drift(f"docker stop {CORE}", (f"client: {CORE} has exited",), (CORE,)),
    "a surplus container": Drift(
        f"docker create --name {PROJECT}-wamaster-1 --label com.docker.compose.project={PROJECT}"
        " --label com.docker.compose.service=wamaster --label com.docker.compose.oneoff=False"
        " --label onprem.waba.deployment=h1 --volume wa-h1_whatsappMedia:/usr/local/wamedia"
        f" $(docker inspect --format '{{{{.Config.Image}}}}' {WEB})",
        (f"client: {PROJECT}-wamaster-1 belongs to a service that this host no longer has",),
        ("wamaster",),
    ),
    "a removed network": Drift(
        f"for name in {WEB} {CORE}; do docker network disconnect {PROJECT}_default $name; done; docker network rm {PROJECT}_default",
        (
            "warning: who uses the client's database is not known: ...",
            "alarm: the client does not serve: ...",
            *(f"client: {name} is not on the network {PROJECT}_default (needs a restart)" for name in (CORE, WEB)),
        ),
        (WEB, CORE, "network"),
    ),
    "a Coreapp that was taken off its network and put back": Drift(
        f"docker network disconnect {PROJECT}_default {CORE}; docker network connect {PROJECT}_default {CORE}",
        (
            "alarm: the client does not serve: ...",
            f"client: {CORE} is on the network {PROJECT}_default without its name wacore (needs a restart)",
        ),
        (CORE,),
    ),
    "a memory limit": Drift(
        f"docker update --memory 600m --memory-swap -1 {CORE}",
        (f"client: {CORE} has the memory limit 600.0 MiB, expected none (needs a restart)",),
        (CORE,),
    ),
    "log caps that somebody applied with Compose": Drift(
        f"cd {FOLDER}; cp -p compose.yml kept; sed -i 's/max-size: .*/max-size: 1g/' compose.yml;"
        " docker compose up --detach; mv kept compose.yml",
        tuple(
            f"client: {name} was made from other Compose files than there are now (needs a restart)"
            for name in (CORE, WEB)
        ),
        (WEB, CORE),
    ),
    "a removed Compose file": Drift(
        f"rm {FOLDER}/compose.yml", (f"client: {FOLDER}/compose.yml is missing",), ("compose.yml", FOLDER)
    ),
    "a removed db.env": Drift(f"rm {FOLDER}/db.env", ("db_env: set WA_DB_ENGINE, ...",), ("db.env", FOLDER)),
    "a changed line of db.env": Drift(
        f"sed -i 's/^WA_DB_USERNAME=.*/WA_DB_USERNAME=other/' {FOLDER}/db.env",
        ("db_env: set WA_DB_USERNAME",),
        ("db.env", FOLDER),
    ),
    "a removed cleanup script": Drift(
        "rm /usr/local/sbin/wa-log-cleanup",
        ("log_cleanup: /usr/local/sbin/wa-log-cleanup is missing",),
        ("wa-log-cleanup", "/usr/local/sbin"),
    ),
    "a removed cron file": Drift(
        f"rm /etc/cron.d/{PROJECT}-log-cleanup",
        (f"log_cleanup: /etc/cron.d/{PROJECT}-log-cleanup is missing",),
        (f"{PROJECT}-log-cleanup", "/etc/cron.d"),
    ),
    "a media volume that containers cannot write": Drift(
        f"stat -c %u:%g {MEDIA} >/root/owner; stat -c %a {MEDIA} >/root/mode; chown root {MEDIA}; chmod 0700 {MEDIA}",
        ("media_volume: ...",),
        cure=f"chown $(cat /root/owner) {MEDIA}; chmod $(cat /root/mode) {MEDIA}",
        failure=f"{WEB}: /usr/local/wamedia (owner 0:20021, mode 700) cannot be written by 20021:20021: Permission denied",
    ),
    "a failed nightly run": Drift(
        f"echo '{FAILED}' >/var/lib/waba/log-cleanup-h1.json",
        ("log_cleanup: nightly log cleanup (/var/lib/waba/log-cleanup-h1.json): ...",),
        cure="rm /var/lib/waba/log-cleanup-h1.json",
        failure="failed: wacore: planted; expected a good run every day",
    ),
}


@pytest.fixture(scope="module")
def lab() -> t.Iterator[Lab]:
    """A lab with one provisioned host; `down` fails if two Coreapps of the client ever ran at the same time."""
    found = Lab(NAME, "h1")
    try:
        found.lab("up", "--hosts", "h1:ready", "--db", "mariadb")
        for playbook in ("provision", "backup"):  # without a settings backup each run warns of it
            first = found.play(playbook, {})
            assert first.code == 0, first.output
        yield found
    finally:
        found.lab("down")


def check(lab: Lab) -> list[str]:
    """The lines that provision.yml displays for the host in check mode, without values that differ from run to run."""
    argv = ["ansible-playbook", "-i", lab.inventory, "waba.onprem.provision", "--check"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"(?m)^h1 \| (?!note)(.*)$", done.stdout)


def kept(snapshot: t.Sequence[str]) -> list[str]:
    """What a correction leaves as it was: not ids and times, nor what it records."""
    return [line for line in without_ids(snapshot) if RECORD not in line]


@pytest.mark.parametrize("kind", DRIFTS)
def test_one_drift_is_named_and_only_it_is_repaired(lab: Lab, kind: str) -> None:
    drift = DRIFTS[kind]
    synced = lab.snapshot()
    lab.host(f"set -e; {drift.plant}")
    try:
        planted = lab.snapshot()
        displayed = check(lab)
        assert changes(planted, lab.snapshot()) == [], "check mode changes nothing"
        assert len(displayed) == len(drift.lines), displayed
        for line, expected in zip(sorted(displayed), sorted(drift.lines)):
            assert line.startswith(expected[:-3]) if expected.endswith("...") else line == expected
        done = lab.play("provision", {})
        changed = changes(planted, lab.snapshot())
        if drift.cure:
            assert (done.code, changed) == (2, []), done.output
            assert drift.failure in done.message
        else:
            assert done.code == 0, done.output
            assert [line for line in changed if not any(word in line for word in (*drift.changed, RECORD))] == []
    finally:
        if drift.cure:
            lab.host(drift.cure)
    assert changes(kept(synced), kept(lab.snapshot())) == []
    again = lab.play("provision", {})
    assert (again.code, again.changed) == (0, 0), again.output


BREAK = f"""
set -eu
rm -f /etc/cron.d/{PROJECT}-log-cleanup
docker rm --force {WEB} >/dev/null
"""


def start(lab: Lab) -> subprocess.Popen[str]:
    """A run of provision.yml that goes on beside the test."""
    argv = ["ansible-playbook", "-i", lab.inventory, "waba.onprem.provision"]
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def assert_in_sync(lab: Lab, synced: list[str]) -> None:
    """The next run repairs what is left, and the one after it changes nothing."""
    repaired = lab.play("provision", {})
    assert repaired.code == 0, repaired.output
    again = lab.play("provision", {})
    assert (again.code, again.changed) == (0, 0), again.output
    assert changes(kept(synced), kept(lab.snapshot())) == []


def test_two_runs_at_once_repair_the_host(lab: Lab) -> None:
    """The one that comes second waits for the lock, or fails because of it; the client runs in both cases."""
    synced = lab.snapshot()
    lab.host(BREAK)
    runs = [start(lab), start(lab)]
    outputs = [run.communicate(timeout=600)[0] for run in runs]
    for run, output in zip(runs, outputs):
        assert run.returncode == 0 or "locked by a run that changes its containers" in output, output
    assert 0 in [run.returncode for run in runs], outputs
    assert_in_sync(lab, synced)


def test_a_host_that_is_lost_during_a_correction_ends_the_run(lab: Lab) -> None:
    synced = lab.snapshot()
    lab.host(BREAK)
    run = start(lab)
    assert run.stdout is not None
    for line in run.stdout:
        if "Ensure db.env" in line:  # a role runs, and nothing of the client is repaired yet
            break
    commands.docker("pause", f"walab-{NAME}-h1")
    try:
        output = run.communicate(timeout=180)[0]  # the keep-alives need half a minute
    finally:
        commands.docker("unpause", f"walab-{NAME}-h1")
    assert run.returncode == 4, output
    assert "UNREACHABLE" in output
    assert_in_sync(lab, synced)


def test_a_wrong_api_password_fails_the_run_after_all_else(lab: Lab) -> None:
    synced = lab.snapshot()
    lab.host(f"rm /etc/cron.d/{PROJECT}-log-cleanup")
    wrong = {"wa_api_password": "Canary-67-Pw"}
    for text in ("HTTP 401", "this password was refused at"):
        done = lab.play("provision", wrong)
        assert done.code == 2, done.output
        assert "it is not known whether the client serves: " in done.message
        assert text in done.output
        assert changes(kept(synced), kept(lab.snapshot())) == [], "all else is repaired"
    assert_in_sync(lab, synced)


def test_a_host_that_froze_with_an_open_connection_costs_half_a_minute(lab: Lab) -> None:
    synced = lab.snapshot()
    assert_in_sync(lab, synced)
    commands.docker("pause", f"walab-{NAME}-h1")
    try:
        output = start(lab).communicate(timeout=120)[0]
    finally:
        commands.docker("unpause", f"walab-{NAME}-h1")
    assert "UNREACHABLE" in output
    assert_in_sync(lab, synced)


def test_a_wrong_api_password_does_not_lock_the_account(lab: Lab) -> None:
    """The client locks it after repeated wrong logins (domain: login)."""
    automatic = {"wa_message_gc_automatic": True}
    wrong = {**automatic, "wa_api_password": "Canary-66-Pw"}
    for _attempt in range(6):
        done = lab.play("provision", wrong)
        assert done.code == 2, done.output
        assert "Canary-66-Pw" not in done.output
    done = lab.play("provision", automatic)
    assert done.code == 0, done.output


HOLD = "/var/lib/waba/h1.hold"
HELD = f"by {HOLD} on h1: stopped by Ann, the number moves. No container of the client is started, restarted or stopped. To end it: "


def test_a_held_client_is_left_as_it_is(lab: Lab) -> None:
    """Files and cron are corrected; no container is started, restarted or stopped, until the hold ends."""
    synced = lab.snapshot()
    other = {"wa_client_log_max_size": "30m"}
    lab.host(
        f"docker stop {CORE}; echo 'stopped by Ann, the number moves' >{HOLD}; rm /etc/cron.d/{PROJECT}-log-cleanup"
    )
    containers = [line for line in lab.snapshot() if line.startswith("container ")]
    for attempt, extra in enumerate(({}, {}, {"wa_client_hold": "for the audit"})):
        done = lab.play("provision", {**other, **extra})
        assert (done.code, done.changed > 0) == (0, attempt == 0), done.output
        assert f"h1 | held: {CORE} has exited" in done.output
        assert ("held by wa_client_hold in the inventory: for the audit." if extra else HELD) in done.output
        assert [line for line in lab.snapshot() if line.startswith("container ")] == containers
    assert lab.host(f"grep -c 30m {FOLDER}/compose.yml; ls /etc/cron.d/{PROJECT}-log-cleanup").split()[0] == "3"
    before = lab.snapshot()
    refused = lab.play("upgrade", {**other, "wa_upgrade_version": "2.53.4", "wa_upgrade_skip": ["database_backup"]})
    assert (refused.code, changes(before, lab.snapshot())) == (2, []), refused.output
    assert HELD in refused.message
    skipped = lab.play("gc", {**other, "wa_message_gc_policy": "always", "wa_message_gc_window": ""})
    assert (skipped.code, skipped.changed) == (0, 0), skipped.output
    assert "no message GC: the client is held since" in skipped.output
    lab.host(f"touch --date '8 days ago' {HOLD}")
    old = lab.play("provision", other)
    assert (old.code, old.changed) == (0, 0), old.output
    assert "h1 | warning: held since " in old.output
    lab.host(f"rm -f {HOLD} /var/lib/waba/gc-h1.* /var/lib/waba/api-login-h1.*")  # of the GC that was not called
    assert_in_sync(lab, synced)
