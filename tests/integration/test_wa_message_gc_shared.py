# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_message_gc of two simulated clients on one database server, at about the same time, and of one that was called by hand."""

from __future__ import annotations

import time
import typing as t
from pathlib import Path

import pytest
from database_servers import Server
from simulated import Run, Simulated, gc_runner

PERIOD, PAUSE, DELAY = 6, 2.0, 4.0  # seconds: the client is slow to begin, and pauses between its batches
A, B = 9_000, 30_000  # messages of the two clients; of 20 rows GC takes 17
Step = dict[str, t.Any]


@pytest.fixture(scope="module", params=["mariadb", "postgres"])
def clients(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[list[Simulated]]:
    database: Server = request.getfixturevalue(request.param)
    folder = tmp_path_factory.mktemp("clients")
    found = []
    try:
        for prefix in ("sha_", "shb_"):
            client = Simulated(folder / prefix, database, prefix, gc_batch=1_500, gc_pause=PAUSE, gc_delay=DELAY)
            found.append(client)
            client.core()
            client.open()
        yield found
    finally:
        for client in found:
            client.close()


@pytest.fixture
def runs(clients: list[Simulated], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    for client, rows in zip(clients, (A, B)):
        client.fill(rows)
    return [gc_runner(client, tmp_path / f"{client.prefix}.json", monkeypatch) for client in clients]


OPTIONS: dict[str, t.Any] = {"max_messages": 5_000, "quiet_period": f"{PERIOD}s", "wait_timeout": "200s"}


def test_each_end_is_that_of_its_own_client(clients: list[Simulated], runs: list[Run]) -> None:
    """A counter of the whole server would see the other one's deletes in both."""
    steps: list[Step] = [run(wait=False, **OPTIONS) for run in runs]
    ended: dict[int, float] = {}
    deadline = time.monotonic() + 150
    while len(ended) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.5)
        for number, (client, run) in enumerate(zip(clients, runs)):
            if number in ended:
                continue
            steps[number] = run(wait=False, run_id=steps[number]["run_id"], **OPTIONS)
            assert not steps[number].get("failed"), steps[number]
            if not steps[number]["running"]:
                ended[number] = time.monotonic()
                assert not client.nodes["wacore"].gc.running("message"), "its GC still runs"
    for step, rows in zip(steps, (A, B)):
        assert (step["messages_before"], step["exact"], step["rounds"]) == (pytest.approx(rows, rel=1), True, 1)
        assert (step["messages_after"], step["messages_deleted"]) == (rows * 3 // 20, None)
    assert ended[0] < ended[1], "the smaller one did not wait for the other"


def test_one_that_was_called_by_hand_is_followed_and_not_called_again(
    clients: list[Simulated], runs: list[Run]
) -> None:
    client, run = clients[1], runs[1]
    before = client.call("PUT", "/v1/services/message/gc")
    assert before[0] == 200
    time.sleep(DELAY + 1)
    for check in (True, False):
        step = run(check, policy="never", wait=False, **OPTIONS)
        assert step["running"], step
    result = run(policy="never", **OPTIONS)
    assert (result["messages_after"], result["rounds"], result["changed"]) == (B * 3 // 20, 0, False)
    assert not client.nodes["wacore"].gc.running("message")
