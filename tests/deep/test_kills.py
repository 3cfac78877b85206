# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module is killed at a random moment of provision.yml; the next run converges, and the run after it changes nothing."""

from __future__ import annotations

import random
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from observer import Lab  # noqa: E402 - needs the path above

NAME, MOMENTS = "deep-kills", 30
BREAK = """
set -eu
sed -i 's/^WA_DB_PORT=.*/WA_DB_PORT=3307/' /opt/waba/h1/db.env
rm -f /etc/cron.d/wa-h1-log-cleanup
docker rm --force wa-h1-waweb-1 >/dev/null
"""
# With pipelining, a module runs in an interpreter without arguments; no other process on the host does.
KILL = "pkill -KILL -f '^/usr/bin/python3[.0-9]*$'"


@pytest.fixture(scope="module")
def lab() -> t.Iterator[Lab]:
    """A lab with one provisioned host; `down` fails if two Coreapps of the client ever ran at the same time."""
    found = Lab(NAME, "h1")
    try:
        found.lab("up", "--hosts", "h1:ready", "--db", "mariadb")
        first = found.play("provision", {})
        assert first.code == 0, first.output
        yield found
    finally:
        found.lab("down")


def kill_next_module(lab: Lab, run: subprocess.Popen[bytes], delay: float) -> bool:
    """Wait `delay` seconds, then kill the next module of `run`; return whether a module was killed."""
    time.sleep(delay)
    while run.poll() is None:
        if lab.host(KILL + " && echo killed", check=False):
            return True
    return False


def test_the_run_after_a_kill_converges(lab: Lab) -> None:
    lab.host(BREAK)
    began = time.monotonic()
    assert lab.play("provision", {}).code == 0
    length = time.monotonic() - began
    chance = random.Random(MOMENTS)
    hits = 0
    for moment in range(MOMENTS):
        lab.host(BREAK)
        argv = ["ansible-playbook", "-i", lab.inventory, "waba.onprem.provision"]
        run = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        delay = chance.uniform(0, length)
        hits += kill_next_module(lab, run, delay)
        run.wait()
        repaired = lab.play("provision", {})
        assert repaired.code == 0, f"moment {moment}, {delay:.2f} s: {repaired.output}"
        again = lab.play("provision", {})
        assert (again.code, again.changed) == (0, 0), f"moment {moment}, {delay:.2f} s: {again.output}"
        left = lab.host("ls -A /opt/waba/h1 | grep -E 'wa_new|previous|\\.tmp' || true")
        assert left == "", f"moment {moment}, {delay:.2f} s"
    assert hits >= MOMENTS // 2, "hardly a module was killed"
