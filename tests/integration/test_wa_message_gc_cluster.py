# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_message_gc against a simulated multiconnect client: a master and three Coreapps over one real database."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from database_servers import Server
from simulated import LEFT, ROWS, Run, Simulated, gc_runner
from waiting import until

COREAPPS = ("127.0.0.31", "127.0.0.32", "127.0.0.33")


@pytest.fixture(scope="module")
def client(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Simulated]:
    folder = tmp_path_factory.mktemp("client") / "three"
    found = Simulated(folder, postgres, "gcc_", multiconnect=True, shards=2, gc_batch=500)
    found.core("127.0.0.30", master=True, listen_address="127.0.0.30")
    for address in COREAPPS:
        found.core(address, listen_address=address)
    try:
        found.open()
        until(lambda: len(found.health() or {}) == 4, 30)
        yield found
    finally:
        found.close()


@pytest.fixture
def run(client: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Run]:
    client.fill(ROWS)
    yield gc_runner(client, tmp_path / "gc.json", monkeypatch)
    client.mend()


def names(client: Simulated) -> list[str]:
    """The Coreapps as answers and notifications name them."""
    return sorted(client.nodes[address].settings.node for address in COREAPPS)


def test_each_notification_counts_once_and_all_are_waited_for(run: Run, client: Simulated, tmp_path: Path) -> None:
    client.control.state.forget()
    client.fault("gc_callback_twice")
    path = tmp_path / "webhook.jsonl"
    path.touch()
    options = {"notifications": str(path)}
    step = run(wait=False, **options)
    until(lambda: len(client.control.bodies()) == 6, 30)
    lines = [json.dumps(body) + "\n" for body in client.control.bodies()]
    first = client.control.bodies()[0]["services"][0]["message"]["gc"]["node"]
    others = [line for line in lines if first not in line]
    path.write_text("".join(others))
    waits = f"waiting for the notification of {first}"
    while step["progress"]["phase"] != waits:
        step = run(wait=False, run_id=step["run_id"], **options)
        assert step["running"], step
    for _look in range(3):
        assert run(wait=False, run_id=step["run_id"], **options)["running"]
    path.write_text("".join(others) + "".join(line for line in lines if first in line))
    result = run(run_id=step["run_id"], **options)
    assert (result["messages_deleted"], result["messages_after"]) == (ROWS - LEFT, LEFT)
    assert (result["exact"], result["rounds"], sorted(result["nodes"])) == (True, 1, names(client))
    assert [node["status"] for node in result["nodes"].values()] == ["complete"] * 3
    for check in (False, True):
        assert not run(check=check)["changed"]


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
