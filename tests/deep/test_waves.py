# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet is restarted in waves, and a client on several hosts one host after the other; what only stands still is started at once.

`down` fails if two Coreapps of one client ever ran at the same time.
"""

from __future__ import annotations

import sys
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

import commands  # noqa: E402 - needs the path above
from observer import Lab, Run  # noqa: E402

BAD = {"wa_db_env_extra": {"SIM_FAULTS": "unregistered"}, "wa_client_health_timeout": 20}
GOOD = {"wa_client_log_max_size": "40m"}
RUNNING = "docker ps --no-trunc --format '{{.ID}} {{.Names}}' | sort"


class Fleet:
    """The hosts of a lab, observed one by one."""

    def __init__(self, name: str, count: int, *options: str) -> None:
        self.name = name
        self.hosts = [Lab(name, f"h{number}") for number in range(1, count + 1)]
        self.first = self.hosts[0]
        self.first.lab("up", "--hosts", ",".join(f"{one.at}:ready" for one in self.hosts), *options)
        done = self.provision()
        assert done.code == 0, done.output

    def provision(self, variables: t.Mapping[str, t.Any] | None = None, *arguments: str) -> Run:
        return self.first.play("provision", variables or {}, *arguments)

    def running(self) -> list[str]:
        return [one.host(RUNNING) for one in self.hosts]

    def in_sync(self, variables: t.Mapping[str, t.Any] | None = None) -> None:
        again = self.provision(variables)
        assert (again.code, again.changed) == (0, 0), again.output


@pytest.fixture(scope="module")
def five() -> t.Iterator[Fleet]:
    """Five clients of one host."""
    fleet = Fleet("deep-waves", 5)
    try:
        yield fleet
    finally:
        fleet.first.lab("down")


@pytest.fixture(scope="module")
def cluster() -> t.Iterator[Fleet]:
    """One client on three hosts; h1 is the leader."""
    fleet = Fleet("deep-waves-cluster", 3, "--shared")
    try:
        yield fleet
    finally:
        fleet.first.lab("down")


def test_a_bad_value_reaches_one_of_five_clients_which_serves_again(five: Fleet) -> None:
    before = five.running()
    five.hosts[2].host("docker stop --time 1 wa-h3-waweb-1")
    predicted = five.provision(BAD, "--check")
    assert "restarts, wave 1 of 3: h1" in predicted.output
    done = five.provision(BAD)
    assert done.code == 2, done.output
    assert done.message.startswith("h1: the client did not become healthy with ")
    assert done.message.endswith(" Not begun because of that: h2, h3, h4, h5.")
    assert five.running()[1:] == before[1:]  # what was stopped is started, and nothing else is touched
    five.in_sync()


def test_the_next_run_goes_on_with_the_waves(five: Fleet) -> None:
    done = five.provision(GOOD, "--limit=h1")
    assert done.code == 0, done.output
    before = five.running()
    done = five.provision(GOOD)
    assert done.code == 0, done.output
    assert "restarts, wave 3 of 3: h4, h5" in done.output
    after = five.running()
    assert after[0] == before[0]
    assert all(one != two for one, two in zip(before[1:], after[1:]))
    five.in_sync(GOOD)


def test_a_host_that_was_lost_before_keeps_nobody_back(five: Fleet) -> None:
    commands.docker("stop", "--time", "1", "walab-deep-waves-h2")
    done = five.provision({})
    commands.docker("start", "walab-deep-waves-h2")
    assert done.code == 4, done.output
    assert "Not begun" not in done.output
    five.first.lab("up", "--hosts", ",".join(f"{one.at}:ready" for one in five.hosts))
    assert five.provision({}).code == 0
    five.in_sync()


def test_a_member_is_repaired_beside_a_leader_that_is_in_sync(cluster: Fleet) -> None:
    """With the leader's and this one's Coreapp stopped the client does not serve, which the leader would say too early."""
    cluster.hosts[1].host("sed -i 's/^WA_DB_PORT=.*/WA_DB_PORT=3307/' /opt/waba/waba/db.env")
    for number in (1, 2, 3):
        cluster.hosts[number - 1].host(f"docker stop --time 1 wa-waba-wacore{number}-1")
    done = cluster.provision()
    assert done.code == 0, done.output
    cluster.in_sync()


def test_a_lost_member_keeps_restarts_back_and_no_start(cluster: Fleet) -> None:
    before = cluster.running()
    cluster.first.host("docker stop --time 1 wa-waba-waweb-1")
    commands.docker("stop", "--time", "1", "walab-deep-waves-cluster-h3")
    done = cluster.provision(GOOD)
    assert done.code == 4, done.output
    assert (
        "no running container was touched, because h3 of the same deployment failed or cannot be reached" in done.output
    )
    assert [one.host(RUNNING) for one in cluster.hosts[:2]] == before[:2]
    commands.docker("start", "walab-deep-waves-cluster-h3")
    cluster.first.lab("up", "--hosts", "h1:ready,h2:ready,h3:ready", "--shared")
    done = cluster.provision(GOOD)
    assert done.code == 0, done.output
    assert "restarts, wave 1 of 1: h2 then h3 then h1" in done.output
    cluster.in_sync(GOOD)


def test_a_stopped_container_that_differs_is_recreated_in_its_turn(cluster: Fleet) -> None:
    cluster.hosts[1].host(
        "docker stop --time 1 wa-waba-waweb-1; docker network disconnect --force wa-waba_default wa-waba-waweb-1"
    )
    done = cluster.provision(GOOD)
    assert done.code == 0, done.output
    cluster.in_sync(GOOD)


def test_a_change_stops_at_the_first_member_that_does_not_become_healthy(cluster: Fleet) -> None:
    """All members are locked meanwhile: another controller changes none of them."""
    before, change = cluster.running(), {"wa_client_log_max_size": "30m"}
    cluster.first.lab("fault", "unregistered", "on")
    with ThreadPoolExecutor(1) as beside:
        running = beside.submit(cluster.provision, {**change, "wa_client_health_timeout": 60})
        cluster.hosts[2].host("timeout 180 sh -c 'until [ -e /var/lib/waba/waba.lock ]; do sleep 0.2; done'")
        second = cluster.provision(change, "--limit=h3")
        first = running.result()
    cluster.first.lab("fault", "unregistered", "off")
    assert (first.code, second.code) == (2, 2), first.output + second.output
    assert "locked by a run that changes its containers, by " in second.output
    assert "Not begun because of that: h3, h1" in first.output
    after = cluster.running()
    assert (after[0], after[2]) == (before[0], before[2])
    done = cluster.provision(change)
    assert done.code == 0, done.output
    cluster.in_sync(change)
