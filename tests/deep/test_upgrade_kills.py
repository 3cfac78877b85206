# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller, or a module on the host, is killed at random moments of upgrade.yml and restore.yml; one further run completes each."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from waiting import until

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from observer import Lab  # noqa: E402 - needs the path above

OLD, NEW = "2.51.2", "2.53.4"
LOCK = "/var/lib/waba/h1.lock"
MOMENTS = 15  # of each playbook over each server
# With pipelining, a module runs in an interpreter without arguments. The process that waits for the migration is one, too.
MODULE = "^/usr/bin/python3[.0-9]*$"


class Site:
    """A host with a client over one database server, and what a run must not change."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.h1 = Lab(f"deep-upgrade-kills-{server.partition('-')[0]}", "h1")
        self.chance = random.Random(server)
        self.lengths: dict[str, float] = {}
        self.hits = 0

    def play(self, playbook: str, **variables: t.Any) -> None:
        """Run it to its end, which must be good."""
        began = time.monotonic()
        done = self.h1.play(playbook, variables)
        self.lengths.setdefault(playbook, time.monotonic() - began)
        assert done.code == 0, f"{playbook} {variables}: {done.output}"
        assert "Canary-" not in done.output

    def cut_off(self, playbook: str, controller: bool, **variables: t.Any) -> str:
        """Begin it, and kill the controller or the next module at a random moment. Returns what and when."""
        delay = self.chance.uniform(0, self.lengths[playbook])
        argv = ["ansible-playbook", "-i", self.h1.inventory, f"waba.onprem.{playbook}", "-e", json.dumps(variables)]
        run = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(delay)  # to a moment by chance: the test is about any
        if controller and run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            self.hits += 1
        while not controller and run.poll() is None:
            if self.h1.host(f"pkill -KILL -f '{MODULE}' && echo killed", check=False):
                self.hits += 1
                break
        run.wait(900)
        return f"{playbook} after {delay:.2f} s, {'controller' if controller else 'module'}"

    def journal(self) -> dict[str, t.Any]:
        text = self.h1.host(f"cat {LOCK} 2>/dev/null || true")
        return t.cast("dict[str, t.Any]", json.loads(text)) if text else {}

    def unfinished(self) -> dict[str, t.Any]:
        """The journal, unless it is a lock alone whose lease is over: the next run that needs it takes that without a word."""
        found = self.journal()
        return found if "schema" in found or self.take_over() else {}

    def take_over(self) -> dict[str, bool]:
        """What the next run needs while a run that was killed has its lease, or a module that lost its controller may get it yet."""
        # Asked first: while none works, the lock stays as it is.
        works = self.h1.host(f"pgrep -f '{MODULE}' || true")
        return {"wa_upgrade_take_over": True} if works or self.journal().get("lease_until", 0) > time.time() else {}

    def serves(self) -> tuple[list[str], str]:
        """The images that run, and the number of messages."""
        images = self.h1.host("docker ps --format '{{.Image}}' | sed 's/.*:v//' | sort -u").split()
        return images, self.h1.lab(
            "sql", "--db", self.server, "--database", "messageStore", "SELECT count(*) FROM messages"
        )

    def copy(self) -> str:
        """The manifest of the newest copy."""
        return self.h1.host("ls -t /var/lib/waba/dumps/h1-*.json | head -n 1").strip()

    def aside(self) -> bool:
        """Whether a restore has put databases aside; over PostgreSQL it replaces them in place."""
        return self.server == "mariadb" and "__waba_out" in self.h1.lab("sql", "--db", self.server, "SHOW DATABASES")

    def left(self) -> str:
        """What a run leaves only until it is complete."""
        return self.h1.host(
            "ls -A /opt/waba/h1 | grep -E 'compose-|wa_new|\\.tmp'; docker ps --all | grep dbupgrade || true"
        )


@pytest.fixture(scope="module", params=["postgres-13", "mariadb"])
def site(request: pytest.FixtureRequest) -> t.Iterator[Site]:
    """`down` fails if two Coreapps of the client ever ran at the same time."""
    found = Site(request.param)
    try:
        found.h1.lab("up", "--hosts", f"h1:ready@{found.server}", "--db", found.server)
        found.play("provision", wa_upgrade_dump=True)
        found.h1.lab("seed", "--rows", "3000", "--db", found.server)
        yield found
    finally:
        found.h1.lab("down")


def test_one_further_run_completes_what_was_cut_off(site: Site) -> None:
    _images, rows = site.serves()
    upgrade = {"wa_version": OLD, "wa_upgrade_version": NEW, "wa_upgrade_dump": True}

    def restored(manifest: str) -> dict[str, t.Any]:
        return {"wa_version": OLD, "wa_restore": manifest, "wa_restore_accept_lost": True}

    def put_aside(manifest: str) -> None:
        """Remove what a restore has put aside, which another one would refuse to lose."""
        if site.server == "mariadb":
            site.play("restore", wa_restore=manifest, wa_restore_remove_former=True)

    site.play("upgrade", **upgrade)
    manifest = site.copy()
    site.play("restore", **restored(manifest))  # how long both take is known now
    put_aside(manifest)
    for moment in range(MOMENTS):
        where = f"moment {moment}: {site.cut_off('upgrade', moment % 2 == 0, **upgrade)}"
        print(where, site.journal().get("schema"), flush=True)
        site.play("upgrade", **upgrade, **site.take_over())
        assert (site.serves(), site.journal(), site.left()) == (([NEW], rows), {}, ""), where
        manifest = site.copy()
        where = f"moment {moment}: {site.cut_off('restore', moment % 2 == 1, **restored(manifest))}"
        print(where, site.journal().get("schema"), flush=True)
        if "schema" in site.journal() or not site.aside():
            site.play("restore", **restored(manifest), **site.take_over())
        else:  # it was complete, and had the lock of provision.yml at most, which nobody takes over
            until(lambda: not site.take_over(), 330)
            site.play("provision", wa_upgrade_dump=True)
        assert (site.serves(), site.unfinished(), site.left()) == (([OLD], rows), {}, ""), where
        put_aside(manifest)
    assert site.hits >= MOMENTS, "hardly a run was cut off"
