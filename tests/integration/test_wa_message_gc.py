# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_message_gc run by Ansible against real databases: controllers that are killed or two, servers that go away."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest
from commands import docker
from database_servers import PORTS
from engine import Engine
from gc_tables import API_PASSWORD, CANARY, Client
from playbook import Ansible
from relay import Relay
from waiting import until


def test_check_run_run_check(ansible: Ansible, client: Client) -> None:
    task = {"waba.onprem.wa_message_gc": client.options()}
    predicted = ansible.play([task], check=True)
    assert predicted.results[0]["changed"]
    assert client.webapp.requests == []
    done = ansible.play([task])
    result = done.results[0]
    assert not result.get("failed"), result
    assert (result["messages_after"], result["exact"], result["rounds"]) == (40_000, True, 1)
    assert result["diff"]["after"] == {"messages": 40_000}
    assert result["changed"]
    # every look is one whole line on standard error, and standard output stays JSON
    lines = [line for line in done.stderr.splitlines() if "message GC" in line]
    assert len(lines) >= 3
    assert all(line.startswith("localhost | message GC round 1 | ~") for line in lines)
    for check in (False, True):
        again = ansible.play([task], check=check)
        assert not again.results[0]["changed"]
        assert again.results[0]["messages_after"] == 40_000
    assert client.calls() == 1
    shown = [text for play in (predicted, done, again) for text in (play.stdout, play.stderr)]
    shown.append((client.folder / "gc.json").read_text())
    assert not any(secret in text for text in shown for secret in (CANARY, API_PASSWORD))


@pytest.mark.parametrize("how", [{"async": 60, "poll": 1}, {"vars": {"wa_message_gc_progress": False}}])
def test_async_steps_aside_and_progress_can_be_turned_off(
    ansible: Ansible, client: Client, how: dict[str, t.Any]
) -> None:
    done = ansible.play([{"waba.onprem.wa_message_gc": client.options(), **how}])
    assert (done.results[0]["messages_after"], client.calls()) == (40_000, 1), done.results
    assert "message GC" not in done.stderr


def test_a_controller_that_is_killed(ansible: Ansible, client: Client, tmp_path: Path) -> None:
    """The next one takes up the GC that still runs; this goes on in small steps until both have seen it."""
    client.batches, client.pause = 50, 1.0
    playbook = tmp_path / "killed.yml"
    task = {"waba.onprem.wa_message_gc": client.options()}
    variables = {"ansible_python_interpreter": sys.executable}
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "vars": variables, "tasks": [task]}]))
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [program, "-i", "localhost,", "-c", "local", str(playbook)]
    environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}

    def follow(output: t.Any) -> subprocess.Popen[str]:
        """A controller that has seen the GC at work."""
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment
        )
        assert process.stderr is not None
        assert any("deleting" in line for line in process.stderr)
        return process

    first = follow(subprocess.DEVNULL)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    second = follow(subprocess.PIPE)
    client.pause = 0
    told, _errors = second.communicate()
    result = json.loads(told[told.find("{") :])["plays"][0]["tasks"][0]["hosts"]["localhost"]
    assert (result["messages_after"], result["rounds"]) == (40_000, 1)
    assert client.calls() == 1


def test_two_controllers_at_once(ansible: Ansible, client: Client, tmp_path: Path) -> None:
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    results: list[dict[str, t.Any]] = []
    task = {"waba.onprem.wa_message_gc": client.options()}
    other = threading.Thread(target=lambda: results.append(Ansible(other_folder).play([task]).results[0]))
    other.start()
    results.append(ansible.play([task]).results[0])
    other.join()
    assert client.calls() == 1
    assert [result["messages_after"] for result in results] == [40_000, 40_000], results
    assert not any(result.get("failed") for result in results)


def test_the_server_restarts_in_the_middle(ansible: Ansible, client: Client) -> None:
    client.batches, client.pause = 16, 0.5
    where = client.where
    relay = Relay(lambda: socket.create_connection(("127.0.0.1", where.port)))

    def restart() -> None:
        until(lambda: client.calls() == 1, 30)
        time.sleep(2)
        docker("stop", "--time", "5", where.container)
        time.sleep(4)  # long enough for several looks to find it away
        docker("start", where.container)
        where.port = Engine().port(where.container, PORTS[where.kind])
        where.wait()

    restarter = threading.Thread(target=restart)
    restarter.start()
    play = ansible.play([{"waba.onprem.wa_message_gc": client.options(quiet_period="3s", login_port=relay.port)}])
    restarter.join()
    relay.cut()
    result = play.results[0]
    assert ", database: " in play.stderr
    assert not result.get("failed"), result
    assert (client.calls(), result["messages_after"], result["rounds"]) == (1, 40_000, 1), play.stderr


def test_a_read_only_server(ansible: Ansible, client: Client) -> None:
    server = client.where
    on, off = {
        "mariadb": ("SET GLOBAL read_only = 1;", "SET GLOBAL read_only = 0;"),
        "postgres": (
            "ALTER ROLE wa SET default_transaction_read_only = on;",
            "ALTER ROLE wa RESET default_transaction_read_only;",
        ),
    }[server.kind]
    server.sql(on)
    try:
        result = ansible.play([{"waba.onprem.wa_message_gc": client.options()}]).results[0]
    finally:
        server.sql(off)
    assert "read only: a replica, or a primary set so; expected a server that takes writes" in result["msg"]
    assert "Point the client at the primary server" in result["msg"]
    assert client.calls() == 0
