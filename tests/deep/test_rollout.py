# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three clients of one host are upgraded by the clock: in a window, with a wait between waves, and with the version in the inventory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

import waiting  # noqa: E402 - needs the path above
from observer import Lab, Run  # noqa: E402

NAME = "deep-rollout"
OLD, NEW, NEWEST = "2.51.2", "2.53.4", "2.55.1"
RUNNING = "docker ps --no-trunc --format '{{.ID}} {{.Image}}' | sort"
SKIP = {"wa_upgrade_skip": ["database_backup"]}


class Fleet:
    """The three hosts."""

    def __init__(self) -> None:
        self.hosts = [Lab(NAME, f"h{number}") for number in (1, 2, 3)]
        self.first = self.hosts[0]
        self.first.lab("up", "--hosts", "h1:ready,h2:ready,h3:ready", "--db", "mariadb", "--versions", OLD, NEW, NEWEST)
        done = self.first.play("provision", {})
        assert done.code == 0, done.output

    def upgrade(self, version: str, *arguments: str, **variables: t.Any) -> Run:
        waves = {"wa_upgrade_version": version, "wa_provision_waves": [1, 1, 1]}
        return self.first.play("upgrade", {**SKIP, **waves, **variables}, *arguments)

    def running(self) -> list[str]:
        return [one.host(RUNNING) for one in self.hosts]

    def versions(self) -> list[set[str]]:
        return [{line.rpartition(":v")[2] for line in one.splitlines()} for one in self.running()]

    def journal(self, number: int) -> dict[str, t.Any]:
        """That of a host's last upgrade."""
        name = f"/var/lib/waba/h{number}.last-upgrade.json"
        found: dict[str, t.Any] = json.loads(self.hosts[number - 1].host(f"cat {name}"))
        return found

    def locked(self) -> list[str]:
        return [one.at for one in self.hosts if one.host(f"ls /var/lib/waba/{one.at}.lock", check=False)]


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Fleet]:
    made = Fleet()
    try:
        yield made
    finally:
        made.first.lab("down")


def window(begins_in: int, hours: int = 2) -> str:
    """A window of the hosts' own day, which begins in some hours."""
    hour = time.gmtime().tm_hour
    return f"{(hour + begins_in) % 24:02d}:00-{(hour + begins_in + hours) % 24:02d}:00"


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_outside_of_the_window_nothing_is_begun(fleet: Fleet, arguments: list[str]) -> None:
    before, closed = fleet.running(), window(6)
    done = fleet.upgrade(NEW, *arguments, wa_upgrade_window=closed)
    assert done.code == 2, done.output
    assert done.message.startswith("h1 is not begun: it is ")
    assert f" (+0000), and wa_upgrade_window is {closed}. It opens next on " in done.message
    assert done.message.endswith(f" at {closed[:5]} (+0000). Not begun either, since they are of later waves: h2, h3.")
    assert (fleet.running(), fleet.locked()) == (before, [])


def test_an_outage_that_does_not_fit(fleet: Fleet) -> None:
    """What is not known of it counts as nothing; the rest is three minutes."""
    before = fleet.running()
    done = fleet.upgrade(NEW, wa_upgrade_window="01:00-01:02")
    assert done.code == 2, done.output
    short = "h1 is not begun: its outage of about 3m00s without migration is longer than wa_upgrade_window 01:00-01:02. It opens next on "
    assert done.message.startswith(short)
    assert fleet.running() == before


def test_an_unfinished_upgrade_goes_on_at_any_time(fleet: Fleet) -> None:
    fleet.first.lab("fault", "--prefix", "h3_", "migration_fails", "on")
    done = fleet.upgrade(NEW, "--limit=h3")
    assert done.code == 2, done.output
    fleet.first.lab("fault", "migration_fails", "off")
    done = fleet.upgrade(NEW, "--limit=h3", wa_upgrade_window=window(6), wa_upgrade_soak="10m")
    assert done.code == 0, done.output
    assert fleet.versions() == [{OLD}, {OLD}, {NEW}]


def test_the_run_waits_between_waves_and_ends_when_a_client_becomes_unhealthy(fleet: Fleet, tmp_path: Path) -> None:
    """The version in the inventory counts for the third one, too, which stays as it is."""
    untouched, before = fleet.hosts[2].host(RUNNING), Path(fleet.first.inventory).read_text(encoding="utf-8")
    variables = {
        **SKIP,
        "wa_upgrade_version": NEWEST,
        "wa_provision_waves": [1, 1, 1],
        "wa_upgrade_window": window(-1, 23),
        "wa_upgrade_soak": "90s",
        "wa_upgrade_update_inventory": True,
    }
    log, watched = (
        tmp_path / "run.log",
        re.compile(r"h2 \| serves well.*h1 \| serves well", re.DOTALL),
    )
    argv = ["ansible-playbook", "-i", fleet.first.inventory, "waba.onprem.upgrade", "-e", json.dumps(variables)]
    with (
        log.open("w", encoding="utf-8") as output,
        subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, "ANSIBLE_NOCOLOR": "1"}
        ) as run,
    ):
        try:
            waiting.until(lambda: watched.search(log.read_text(encoding="utf-8")) or run.poll() is not None, 1800)
            assert run.poll() is None, log.read_text(encoding="utf-8")
            fleet.first.host("docker stop --time 1 wa-h1-wacore-1")
            code = run.wait(1800)
        finally:
            run.kill()
    said = " ".join(log.read_text(encoding="utf-8").split())
    assert code == 2, said
    assert fleet.journal(2)["since"] - fleet.journal(1)["ended_at"] > 90
    ends = "The roll-out ends: no deployment of a later wave is begun; expected h1 to serve well for wa_upgrade_soak."
    assert ends in said
    assert (fleet.hosts[2].host(RUNNING), fleet.locked()) == (untouched, [])
    assert "It was not written, since that line counts for h3, too, not upgraded in this run so far." in said
    assert Path(fleet.first.inventory).read_text(encoding="utf-8") == before


def test_the_last_of_the_deployments_that_share_a_line_writes_it(fleet: Fleet) -> None:
    """The checks expect the outage that the last one was."""
    fleet.first.host("docker start wa-h1-wacore-1")
    fleet.first.wait_healthy()
    path = Path(fleet.first.inventory)
    before, mode = path.read_text(encoding="utf-8"), path.stat().st_mode
    done = fleet.upgrade(NEWEST, wa_upgrade_update_inventory=True)
    assert done.code == 0, done.output
    assert fleet.versions() == [{NEWEST}] * 3
    after = path.read_text(encoding="utf-8")
    changed = [(old, new) for old, new in zip(before.splitlines(), after.splitlines()) if old != new]
    assert changed == [(f'    wa_version: "{OLD}"', f'    wa_version: "{NEWEST}"')]
    assert (len(after.splitlines()), path.stat().st_mode) == (len(before.splitlines()), mode)
    last = re.escape(f"(as in the upgrade to {NEW})")
    assert re.search(
        f"h3: the outage will take about [0-9ms]+: stop [0-9ms]+ {last}, migration [0-9ms]+ {last}, ", done.output
    )
