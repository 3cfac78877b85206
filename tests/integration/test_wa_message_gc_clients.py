# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_message_gc of a multiconnect client with three Coreapps, and of two clients on one database server at the same time."""

from __future__ import annotations

import contextlib
import time
import typing as t
from pathlib import Path

import pytest
from database_servers import Server
from simulated import LEFT, ROWS, Run, Simulated, gc_runner, opened
from waiting import until

MASTER, *COREAPPS = (f"127.0.0.{number}" for number in (30, 31, 32, 33))


@pytest.fixture(scope="module")
def started(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Simulated]:
    folder = tmp_path_factory.mktemp("client")
    names = (MASTER, *COREAPPS)
    nodes = [{"hostname": name, "listen_address": name, "master": name == MASTER} for name in names]
    with opened(folder, postgres, "gcc_", nodes=nodes, multiconnect=True, shards=2, gc_batch=500) as client:
        until(lambda: len(client.health() or {}) == 4, 30)
        yield client


def test_the_nodes_are_those_of_the_answer(run: Run, client: Simulated) -> None:
    result = run()
    assert (result["messages_after"], result["exact"], result["rounds"]) == (LEFT, True, 1)
    names = [client.nodes[address].settings.node for address in COREAPPS]
    assert result["nodes"] == {name: {"status": "processing"} for name in names}
    for check in (False, True):
        assert not run(check)["changed"]


def test_one_coreapp_of_three_does_not_start(run: Run, client: Simulated, warned: list[str]) -> None:
    broken = client.nodes[COREAPPS[1]]
    broken.faults._fixed["gc_fails_to_start"] = [{}]
    result = run(max_messages=2_000)
    assert not result.get("failed"), result
    # two thirds of what can go
    assert result["messages_after"] == pytest.approx(ROWS - (ROWS - LEFT) * 2 / 3, abs=60)
    failed = {name: node["status"] for name, node in result["nodes"].items() if node["status"].startswith("failed")}
    assert list(failed) == [broken.settings.node]
    assert "1014" in failed[broken.settings.node]
    assert any(f"GC did not start on {broken.settings.node} failed: 1014" in text for text in warned)


# The two clients are slow to begin, and pause between their batches.
SLOW: dict[str, t.Any] = {"gc_batch": 1_500, "gc_pause": 2.0, "gc_delay": 4.0}
OPTIONS = {"max_messages": 5_000, "quiet_period": "6s", "wait_timeout": "200s"}
A, B = 6_000, 18_000  # their messages; of 20 rows GC takes 17


# In CI over one database, in the deep layer over the other.
DEEP = pytest.mark.deep
MARIADB = pytest.mark.parametrize("clients", ["mariadb", pytest.param("postgres", marks=DEEP)], indirect=True)
POSTGRES = pytest.mark.parametrize("clients", ["postgres", pytest.param("mariadb", marks=DEEP)], indirect=True)


@pytest.fixture(scope="module")
def clients(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[list[Simulated]]:
    where: Server = request.getfixturevalue(request.param)
    folder = tmp_path_factory.mktemp("clients")
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(opened(folder, where, prefix, **SLOW)) for prefix in ("sha_", "shb_")]


@pytest.fixture
def runs(clients: list[Simulated], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    for client, rows in zip(clients, (A, B)):
        client.fill(rows)
    return [gc_runner(client, tmp_path / f"{client.prefix}.json", monkeypatch) for client in clients]


@MARIADB
def test_each_end_is_that_of_its_own_client(clients: list[Simulated], runs: list[Run]) -> None:
    """A counter of the whole server would see the other one's deletes in both."""
    steps = [run(wait=False, **OPTIONS) for run in runs]
    ended: list[int] = []
    deadline = time.monotonic() + 150
    while len(ended) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.5)
        for number in {0, 1}.difference(ended):
            steps[number] = runs[number](wait=False, run_id=steps[number]["run_id"], **OPTIONS)
            assert not steps[number].get("failed"), steps[number]
            if not steps[number]["running"]:
                ended.append(number)
                assert not clients[number].nodes["wacore"].gc.running("message"), "its GC still runs"
    for step, rows in zip(steps, (A, B)):
        assert (step["messages_before"], step["exact"], step["rounds"]) == (pytest.approx(rows, rel=1), True, 1)
        assert step["messages_after"] == rows * 3 // 20
    assert ended == [0, 1], "the smaller one did not wait for the other"


@POSTGRES
def test_one_that_was_called_by_hand_is_followed_and_not_called_again(
    clients: list[Simulated], runs: list[Run]
) -> None:
    client, run = clients[1], runs[1]
    assert client.call("PUT", "/v1/services/message/gc")[0] == 200
    time.sleep(SLOW["gc_delay"] + 1)
    for check in (True, False):
        step = run(check, policy="never", wait=False, **OPTIONS)
        assert step["running"], step
    result = run(policy="never", **OPTIONS)
    assert (result["messages_after"], result["rounds"], result["changed"]) == (B * 3 // 20, 0, False)
    assert not client.nodes["wacore"].gc.running("message")
