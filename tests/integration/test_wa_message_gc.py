# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_message_gc run by Ansible against real databases: controllers that are killed or two, servers that go away."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import typing as t
from pathlib import Path

import pytest
import simclient.gc
from commands import docker
from database_servers import CANARY, PORTS, Server
from engine import Engine
from playbook import Ansible, Play
from relay import Relay
from simulated import LEFT, PASSWORD, Simulated, gc_options, opened


@pytest.fixture(scope="module", params=["mariadb", "postgres"])
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Simulated]:
    """A client that reaches its server by a relay: at another port after a restart."""
    where: Server = request.getfixturevalue(request.param)
    relay = Relay(lambda: socket.create_connection(("127.0.0.1", where.port)))
    relayed = dataclasses.replace(where, port=relay.port)
    with opened(tmp_path_factory.mktemp("client"), relayed, "gcm_", gc_batch=500, gc_pause=1.0) as client:
        yield client
    relay.cut()


@pytest.fixture
def task(client: Simulated, tmp_path: Path) -> dict[str, t.Any]:
    # A loaded machine pauses between batches, and restarts a server slowly.
    patient = {"quiet_period": "3s", "wait_timeout": "180s"}
    return {"waba.onprem.wa_message_gc": gc_options(client, tmp_path / "gc.json", **patient)}


def test_check_run_run_check(ansible: Ansible, client: Simulated, task: t.Any, tmp_path: Path) -> None:
    task["waba.onprem.wa_message_gc"]["quiet_period"] = "10s"  # three looks at least, where one takes five seconds
    predicted = ansible.play([task], check=True)
    assert predicted.results[0]["changed"]
    assert client.requests() == []
    done = ansible.play([task])
    [result] = done.results
    assert (done.rc, result["changed"], result["diff"]["after"]) == (0, True, {"messages": LEFT}), result
    assert (result["messages_after"], result["exact"], result["rounds"]) == (LEFT, True, 1)
    # every look is one whole line on standard error, and standard output stays JSON
    lines = [line for line in done.stderr.splitlines() if "message GC" in line]
    assert len(lines) >= 3
    assert all(line.startswith("localhost | message GC round 1 | ~") for line in lines)
    for check in (False, True):
        again = ansible.play([task], check)
        assert (again.results[0]["changed"], again.results[0]["messages_after"]) == (False, LEFT)
    assert client.calls() == 1
    shown = [text for play in (predicted, done, again) for text in (play.stdout, play.stderr)]
    shown.append((tmp_path / "gc.json").read_text())
    assert not any(secret in text for text in shown for secret in (CANARY, PASSWORD))


def awaits(process: subprocess.Popen[str], text: str) -> None:
    """Waits until a run prints a line of progress that contains `text`."""
    assert process.stderr is not None
    assert any(text in line for line in process.stderr)


# What concerns the controller is the same for each database.
controller = pytest.mark.parametrize(
    "started", ["mariadb", pytest.param("postgres", marks=pytest.mark.deep)], indirect=True
)


@controller
def test_async_steps_aside(ansible: Ansible, client: Simulated, task: t.Any) -> None:
    done = ansible.play([{**task, "async": 60, "poll": 1}])
    assert (done.results[0]["messages_after"], client.calls()) == (LEFT, 1), done.results
    assert "message GC" not in done.stderr


@controller
def test_a_controller_that_is_killed(ansible: Ansible, client: Simulated, task: t.Any) -> None:
    """The next one takes up the GC that still runs, which goes on in small steps until both have seen it."""
    client.fault("gc_never_ends", value=20)

    def follow() -> subprocess.Popen[str]:
        """A controller that has seen the GC at work."""
        process = ansible.start([task], start_new_session=True)
        awaits(process, "deleting")
        return process

    first = follow()
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    second = follow()
    client.fault("gc_never_ends", on=False)
    [result] = Play.end(second).results
    assert (result["messages_after"], result["rounds"], client.calls()) == (LEFT, 1, 1)


@controller
def test_two_controllers_at_once(ansible: Ansible, client: Simulated, task: t.Any) -> None:
    plays = [Play.end(process) for process in [ansible.start([task]), ansible.start([task])]]
    assert client.calls() == 1
    assert [(play.rc, play.results[0]["messages_after"]) for play in plays] == [(0, LEFT), (0, LEFT)], plays


def test_a_read_only_server(ansible: Ansible, client: Simulated, task: t.Any) -> None:
    setting = {"mariadb": "GLOBAL read_only", "postgres": "default_transaction_read_only"}[client.where.kind]
    change = f"{'ALTER ROLE wa ' if client.where.kind == 'postgres' else ''}SET {setting} ="
    client.where.sql(f"{change} 1;")
    try:
        [result] = ansible.play([task]).results
    finally:
        client.where.sql(f"{change} 0;")
    assert "read only: a replica, or a primary set so; expected a server that takes writes" in result["msg"]
    assert "Point the client at the primary server" in result["msg"]
    assert client.calls() == 0


@controller
def test_the_server_restarts_in_the_middle(
    ansible: Ansible, client: Simulated, task: t.Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simclient.gc, "LOST_CONNECTION_TRIES", 15)
    task["waba.onprem.wa_message_gc"]["quiet_period"] = "15s"  # GC pauses for longer after each try to connect
    client.fault("gc_never_ends", value=20)
    where: Server = request.getfixturevalue(client.where.kind)
    playing = ansible.start([task])
    awaits(playing, "deleting")
    # Both end the sessions and lose no commit, as the simple stop of PostgreSQL would after its time-out.
    docker("kill", "--signal", {"mariadb": "TERM", "postgres": "INT"}[where.kind], where.container)
    docker("wait", where.container)
    awaits(playing, ", database: ")
    docker("start", where.container)
    where.port = Engine().port(where.container, PORTS[where.kind])
    where.wait()
    client.fault("gc_never_ends", on=False)
    play = Play.end(playing)
    [result] = play.results
    assert (play.rc, client.calls(), result["messages_after"], result["rounds"]) == (0, 1, LEFT, 1), play
