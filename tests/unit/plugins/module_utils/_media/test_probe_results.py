# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the probes of all containers prove about the media volume."""

from __future__ import annotations

import functools
import typing as t
from pathlib import Path

import pytest
from fake_docker import FakeDocker
from fake_probes import FakeProbes

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._media import probe_results
from ansible_collections.waba.onprem.plugins.module_utils._media.probe_results import Proof
from ansible_collections.waba.onprem.plugins.module_utils._media.rules import Consumer, MountState

PATH = "/usr/local/wamedia"
Prove = t.Callable[..., "tuple[Proof, dict[str, Consumer]]"]


@pytest.fixture
def probes(engine: FakeDocker, tmp_path: Path) -> FakeProbes:
    found = FakeProbes(tmp_path / "shared")
    found.folder.mkdir()
    engine.on_exec = found
    return found


@pytest.fixture
def prove(engine: FakeDocker) -> Prove:
    """Probe these containers. Those whose name starts with `x` do not run."""

    def call(*names: str, home: Path | None = None, marker: str = "") -> tuple[Proof, dict[str, Consumer]]:
        for name in names:
            engine.container(name, state="exited" if name.startswith("x") else "running")
        params = {"docker_host": engine.host, "docker_timeout": "9s"}
        docker = Docker(params)
        containers = docker.client_containers()
        mount = MountState("volume", "media", True)
        consumers = {one.name: Consumer(one.name, one.service, one.state, mount) for one in containers}
        where = str(home) if home else None
        proof = probe_results.prove(docker, containers, list(consumers.values()), PATH, where, marker)
        return proof, consumers

    return call


def test_a_shared_folder_is_proven(probes: FakeProbes, prove: Prove) -> None:
    proof, consumers = prove("a", "b", "x", home=probes.folder)
    assert proof == Proof([], [])
    assert {name: (one.probe, one.user) for name, one in consumers.items()} == {
        "a": ("passed", "1000"),
        "b": ("passed", "1000"),
        "x": ("not probed", ""),
    }
    proof.check()


def test_without_a_running_container_nothing_is_proven(probes: FakeProbes, prove: Prove) -> None:
    proof, _consumers = prove("x1", "x2")
    assert proof == Proof([], ["no client container runs, so nothing was proven"])
    assert probes.commands == []
    proof.check()


def test_each_problem_is_reported_with_its_container(probes: FakeProbes, prove: Prove, tmp_path: Path) -> None:
    bad = "wrote\t\tbad\t0:0\t755\tdd: failed to open '/m/.wa-probe-1-a': Permission denied\n"
    probes.programs["a"] = functools.partial(probes.probe, wrote=bad)
    probes.programs["c"] = lambda _command: 137
    proof, consumers = prove("a", "b", "c")
    assert proof.problems == [
        f"a: {PATH} (owner 0:0, mode 755) cannot be written by 1000: Permission denied",
        "c: the probe ended early (exit code 137)",
    ]
    assert [one.probe for one in consumers.values()] == ["failed", "passed", "failed"]
    with pytest.raises(WaError) as error:
        proof.check()
    assert str(error.value) == (
        f"media volume: {'; '.join(proof.problems)}; expected every container to write and to read the others' media. Give "
        "the folders to the user named (chown -R), or repair the file system"
    )


@pytest.mark.parametrize("covered", [False, True])
def test_files_that_do_not_arrive_on_this_host_are_a_problem(
    probes: FakeProbes, prove: Prove, tmp_path: Path, covered: bool
) -> None:
    more = "covered\tincoming\n" if covered else ""
    probes.programs["a"] = functools.partial(probes.probe, more=more)
    empty = tmp_path / "empty"
    empty.mkdir()
    proof, _consumers = prove("a", home=empty)
    start = f"a: what it writes does not arrive in {empty} on the host: "
    assert [text[: len(start)] for text in proof.problems] == [
        f"a: parts of {PATH} are covered by other mounts inside the container: incoming"[: len(start)]
        if covered
        else start
    ]


def test_files_are_checked_on_the_host_while_they_exist(probes: FakeProbes, prove: Prove) -> None:
    proof, _consumers = prove("a", home=probes.folder)
    assert proof.problems == []
    assert list(probes.folder.iterdir()) == []


ANOTHER = (
    "a: does not see what the leader's container writes: the hosts do not share one volume (mount the same share on all of them, "
    "then restart their containers)"
)


@pytest.mark.parametrize(
    ("output", "expected", "problems"),
    [
        ("marker\t0a\n", "0a", []),
        ("marker\t0b\n", "0a", [ANOTHER]),
        ("", "0a", [ANOTHER]),
        ("marker\t0b\n", "", []),
        ("", "", []),
    ],
)
def test_the_marker_is_compared_with_the_leaders(
    probes: FakeProbes, prove: Prove, output: str, expected: str, problems: list[str]
) -> None:
    probes.programs["a"] = functools.partial(probes.probe, more=output)
    proof, consumers = prove("a", marker=expected)
    assert (proof.problems, proof.warnings) == (problems, [])
    assert consumers["a"].probe == ("failed" if problems else "passed")
    assert proof.marker == output[7:].strip()


@pytest.mark.parametrize(("text", "enforced"), [("1", True), ("0", False), (None, False)])
def test_enforcing_selinux_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, enforced: bool
) -> None:
    path = tmp_path / "enforce"
    if text:
        path.write_text(text)
    monkeypatch.setattr(probe_results, "_SELINUX", str(path))
    assert probe_results.selinux_is_enforced() is enforced
