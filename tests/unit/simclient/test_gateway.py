# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway of the lab detects two simultaneous Coreapps of one single client, and accepts consecutive ones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from simclient_deployment import Control, shut
from waiting import until

CLIENT = Path(__file__).resolve().parents[2] / "lab" / "client"
PROGRAM = """
import sys, threading
from simclient import gateway
from simclient.settings import Settings
gateway.start(Settings.from_env())
print("started", flush=True)
threading.Event().wait()
"""


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    found = Control(tmp_path)
    yield found
    shut(found.server)


@pytest.fixture
def program(control: Control) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`program(host, prefix, **environment)`: a Coreapp's connection in a process of its own."""
    made: list[subprocess.Popen[str]] = []

    def start(host: str, prefix: str = "a_", **environment: str) -> subprocess.Popen[str]:
        database = {"ENGINE": "MYSQL", "HOSTNAME": "db", "PORT": "3306", "USERNAME": "wa", "PASSWORD": "x"}
        given = {f"WA_DB_{name}": value for name, value in {**database, "NAME_PREFIX": prefix}.items()}
        given.update(COREAPP_HOSTNAME=host, SIM_CONTROL_URL=control.url, PYTHONPATH=str(CLIENT), **environment)
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], env={**os.environ, **given}, stdout=subprocess.PIPE, text=True
        )
        made.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        return process

    yield start
    for process in made:
        process.kill()
        process.communicate()


def colliding_nodes(control: Control) -> set[tuple[str, ...]]:
    """The host names of each collision."""
    return {tuple(node.partition(":")[0] for node in row["nodes"]) for row in control.state.collisions()}


def test_two_simultaneous_coreapps_of_a_single_client_collide(
    control: Control, program: Callable[..., subprocess.Popen[str]]
) -> None:
    program("one")
    program("two")
    until(lambda: bool(colliding_nodes(control)))
    assert colliding_nodes(control) == {("one", "two")}


def test_other_clients_and_multiconnect_nodes_do_not_collide(
    control: Control, program: Callable[..., subprocess.Popen[str]]
) -> None:
    program("single")
    program("other client", prefix="b_")
    program("node", WA_APP_MULTICONNECT="1")
    # The third Coreapp of the single client proves that the gateway has handled the first two.
    program("second")
    until(lambda: bool(colliding_nodes(control)))
    assert colliding_nodes(control) == {("second", "single")}


def test_a_killed_coreapp_does_not_collide(control: Control, program: Callable[..., subprocess.Popen[str]]) -> None:
    first = program("one")
    program("two")
    until(lambda: bool(colliding_nodes(control)))
    first.kill()
    first.wait()
    known = control.state.collisions()
    program("three")
    until(lambda: ("three", "two") in colliding_nodes(control))
    assert [row for row in control.state.collisions()[len(known) :] if "one:" in str(row["nodes"])] == []
