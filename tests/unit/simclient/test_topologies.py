# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""High availability and multiconnect: health, GC and failover as domain.md 5 describes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from simclient_deployment import PASSWORD, Deployment
from waiting import until


def statuses(health: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Host name -> (status, role), without the container ids."""
    return {name.split(":")[0]: (value["gateway_status"], value["role"]) for name, value in health.items()}


def connected(d: Deployment) -> list[str]:
    """Host names of the connected nodes."""
    return sorted(name for name, (status, _role) in statuses(d.health() or {}).items() if status == "connected")


def cluster(deploy: Callable[..., Deployment], shards: int, coreapps: int) -> Deployment:
    """Two masters and some Coreapps, first login done, webhook set."""
    d = deploy("2.53.4", multiconnect=True, shards=shards)
    for number in (1, 2):
        d.core(f"127.0.0.{number + 10}", master=True, listen_address=f"127.0.0.{number + 10}")
    for number in range(1, coreapps + 1):
        d.core(f"127.0.0.{number + 20}", listen_address=f"127.0.0.{number + 20}")
    d.start_web(core="127.0.0.11")
    until(lambda: d.web is not None and not d.web.broken)
    until(lambda: len(connected(d)) == (1 if shards == 1 else shards + 1), 20)
    # A node that has just announced itself receives requests and answers that it is starting.
    until(lambda: all(node._ready_at for node in d.nodes.values()), 20)
    assert d.web is not None
    d.web.all_requests._level = 60
    assert d.login("secret", PASSWORD)[0] == 200
    url = f"{d.control.url}/webhook"
    assert d.call("PATCH", "/v1/settings/application", {"webhooks": {"url": url}})[0] == 200
    return d


def test_high_availability_has_one_connected_coreapp(deploy: Callable[..., Deployment]) -> None:
    d = cluster(deploy, 1, 2)
    found = statuses(d.health())
    assert len(found) == 4
    assert sorted(role for _status, role in found.values()) == [
        "coreapp",
        "coreapp",
        "primary_master",
        "secondary_master",
    ]
    assert [role for status, role in found.values() if status == "connected"] == ["coreapp"]
    assert {status for status, _role in found.values()} == {"connected", "disconnected"}
    support = d.call("GET", "/v1/support")[1]["support"]
    owner = next(value for name, value in support.items() if name.split(":")[0] == connected(d)[0])
    assert owner["shards"] == [[-1, -1], [0, 0]]
    assert sorted(value["shards"] for value in support.values())[:3] == [[], [], []]
    d.fill(100)
    gc = d.call("PUT", "/v1/services/message/gc")[1]["services"]["message"]["gc"]
    assert sorted(name.split(":")[0] for name in gc) == ["127.0.0.21", "127.0.0.22"]
    until(lambda: len(d.control.bodies()) == 2)
    assert d.count() == 15


def test_high_availability_fails_over_after_a_clean_stop(deploy: Callable[..., Deployment]) -> None:
    d = cluster(deploy, 1, 2)
    d.call("PATCH", "/v1/settings/application", {"heartbeat_interval": 1})
    (first,) = connected(d)
    node = d.nodes[first]
    node.close_all()  # type: ignore[attr-defined]  # set by the fixture
    (second,) = until(lambda: [name for name in connected(d) if name != first], 20)
    assert second != first
    assert first not in statuses(d.health())


def test_multiconnect_connects_every_shard_and_the_primary_master(deploy: Callable[..., Deployment]) -> None:
    d = cluster(deploy, 2, 3)
    found = statuses(d.health())
    roles = sorted(role for status, role in found.values() if status == "connected")
    assert roles == ["coreapp", "coreapp", "primary_master"]
    d.fill(200)
    gc = d.call("PUT", "/v1/services/message/gc")[1]["services"]["message"]["gc"]
    assert len(gc) == 3
    assert all(value == {"status": "processing"} for value in gc.values())
    until(lambda: len(d.control.bodies()) == 3)
    bodies = d.control.bodies()
    parts = [body["services"][0]["message"]["gc"] for body in bodies]
    assert {part["node"] for part in parts} == set(gc)
    assert sum(part["messages_deleted"] for part in parts) == 170
    assert d.count() == 30
    stats = d.call("GET", "/v1/stats/db")[1]["stats"]["db"]
    assert sorted(bool(value) for value in stats.values()) == [False, False, False, False, True]


def test_gc_that_cannot_start_on_one_node_names_it(deploy: Callable[..., Deployment]) -> None:
    d = cluster(deploy, 2, 2)
    d.fill(40)
    d.fault("gc_fails_to_start", node="127.0.0.21")
    status, answer = d.call("PUT", "/v1/services/message/gc")
    gc = {name.split(":")[0]: value for name, value in answer["services"]["message"]["gc"].items()}
    assert status == 200
    assert gc["127.0.0.22"] == {"status": "processing"}
    assert gc["127.0.0.21"]["errors"][0]["code"] == 1014
    until(d.control.bodies)
    d.fault("gc_fails_to_start")
    status, answer = d.call("PUT", "/v1/services/message/gc")
    assert (status, answer["errors"][0]["code"]) == (500, 1014)


def test_the_number_of_shards_can_be_changed(deploy: Callable[..., Deployment]) -> None:
    d = cluster(deploy, 1, 2)
    d.call("PATCH", "/v1/settings/application", {"heartbeat_interval": 1})
    assert d.call("POST", "/v1/account/shards", {"shards": 2})[0] == 201
    until(lambda: len(connected(d)) == 3, 20)
    assert d.web is not None
    d.web.all_requests._level = 60
    assert d.call("POST", "/v1/account/shards", {"shards": 0})[0] == 400


@pytest.mark.parametrize("master_first", [True, False])
def test_only_the_primary_master_migrates(deploy: Callable[..., Deployment], master_first: bool) -> None:
    d = deploy("2.51.2", multiconnect=True)
    d.core("127.0.0.11", master=True, listen_address="127.0.0.11")
    until(lambda: d.nodes["127.0.0.11"]._ready_at)
    d.nodes["127.0.0.11"].close_all()  # type: ignore[attr-defined]  # set by the fixture
    order = [("127.0.0.12", True), ("127.0.0.21", False)]
    for hostname, master in order if master_first else reversed(order):
        d.core(hostname, "2.53.4", master=master, listen_address=hostname)
    d.start_web("2.53.4", core="127.0.0.12")
    until(lambda: connected(d) == ["127.0.0.21"], 20)
    assert set(d.nodes["127.0.0.12"].schema.versions().values()) == {53}
    assert any("waiting for the primary master" in line for line in d.lines) or master_first
