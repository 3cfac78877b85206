# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands in containers: streams, exit codes and timeouts. The fake engine runs them on this machine."""

from __future__ import annotations

import os
import time
import typing as t

import pytest
from fake_docker import FakeDocker, FakeExec

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker import exec as docker_exec
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Container, Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.exec import execute
from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC


@pytest.fixture
def docker(engine: FakeDocker) -> Docker:
    engine.container("one")
    return Docker(dict({name: spec.get("default") for name, spec in ARGUMENT_SPEC.items()}, docker_host=engine.host))


@pytest.fixture
def one(docker: Docker) -> Container:
    return docker.client_containers()[0]


def processes(mark: str) -> list[str]:
    """Processes on this machine with `mark` among their arguments."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                arguments = file.read().split(b"\0")
        except OSError:
            continue
        if mark.encode() in arguments:
            found.append(pid)
    return found


def test_streams_and_exit_code_are_returned(docker: Docker, one: Container) -> None:
    done = execute(docker, one, ["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done.rc, done.stdout, done.stderr, done.timed_out) == (7, "out\n", "err\n", False)
    assert execute(docker, one, ["sh", "-c", "cat; echo end"]).stdout == "end\n"  # its standard input is empty
    assert execute(docker, one, ["no-such-command"]).rc == 127
    assert execute(docker, one, ["printf", "%s", "a b"]).stdout == "a b"


def test_a_command_costs_three_requests(docker: Docker, one: Container, engine: FakeDocker) -> None:
    engine.requests.clear()
    execute(docker, one, ["true"])
    assert [line.split("/")[1] for line in engine.requests] == ["containers", "exec", "exec"]


@pytest.mark.parametrize(
    "script",
    [
        "sleep 4711",
        "trap '' TERM; sleep 4711 & while :; do sleep 4711; done",
        "setsid sleep 4711 & sleep 4711",
        "(setsid sh -c 'sleep 4711; true' &); sleep 4711",
    ],
)
def test_a_timeout_ends_the_command_and_its_children(docker: Docker, one: Container, script: str) -> None:
    mark = f"47{time.monotonic_ns()}"
    started = time.monotonic()
    done = execute(docker, one, ["sh", "-c", f"echo begun; {script.replace('4711', mark)}"], timeout=0.5, grace=0.5)
    assert done.timed_out
    assert done.rc == 124
    assert done.stdout == "begun\n"
    assert time.monotonic() - started < 12
    assert processes(mark) == []


def test_a_closed_connection_ends_the_command_and_its_children(docker: Docker, one: Container) -> None:
    mark = f"48{time.monotonic_ns()}"
    wrapped = ["/bin/sh", "-c", docker_exec._SUPERVISOR, "sh", "5", "NO=mark", "sleep", mark]
    command = docker_exec.Exec(docker, one, wrapped)
    until = time.monotonic() + 5
    while not processes(mark) and time.monotonic() < until:
        time.sleep(0.02)
    assert processes(mark)
    command.close()
    while processes(mark) and time.monotonic() < until:
        time.sleep(0.02)
    assert processes(mark) == []


def test_a_command_that_cannot_be_killed_is_given_up(
    docker: Docker, one: Container, engine: FakeDocker, monkeypatch: t.Any
) -> None:
    """As one that hangs in the kernel on an unreachable share."""
    monkeypatch.setattr(docker_exec, "_AFTER_KILL", 0.2)

    def hang(command: FakeExec) -> int:
        command.write("begun\n")
        time.sleep(6)
        return 0

    engine.on_exec = hang
    done = execute(docker, one, ["x"], timeout=1.0, grace=0.1)
    assert (done.rc, done.timed_out, done.stdout) == (None, True, "begun\n")


def test_frames_are_joined_however_they_arrive(docker: Docker, one: Container, engine: FakeDocker) -> None:
    def talk(command: FakeExec) -> int:
        for text in ("ä" * 3, "", "x" * 100_000):
            for byte_range in (text.encode()[:1], text.encode()[1:]):
                command.write(byte_range)
            command.write("e", stream=2)
        return 5

    engine.on_exec = talk
    done = execute(docker, one, ["x"])
    assert (done.rc, done.stdout, done.stderr) == (5, "ä" * 3 + "x" * 100_000, "eee")


def test_refused_commands_are_explained(docker: Docker, one: Container, engine: FakeDocker) -> None:
    def refuse(command: FakeExec) -> int:
        command.write("unable to find user nope: no matching entries in passwd file\r\n")
        return 126

    engine.on_exec = refuse
    with pytest.raises(WaError, match="a command cannot be started: unable to find user nope"):
        execute(docker, one, ["x"], user="nope")
    engine.failures["POST /containers/"] = (409, "container is paused")
    with pytest.raises(WaError, match=r"container one: Docker refused: .*container is paused"):
        execute(docker, one, ["x"])
    engine.failures.clear()
    engine.containers.clear()
    with pytest.raises(WaError, match="Docker does not have it"):
        execute(docker, one, ["x"])


def test_long_output_is_truncated(docker: Docker, one: Container, engine: FakeDocker, monkeypatch: t.Any) -> None:
    monkeypatch.setattr(docker_exec, "_KEEP", 1000)

    def talk(command: FakeExec) -> int:
        for _line in range(50):
            command.write("y" * 100)
        return 0

    engine.on_exec = talk
    assert len(execute(docker, one, ["x"]).stdout) == 1000
