# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_webapp_info with a fake Webapp on a real socket."""

from __future__ import annotations

import json
import typing as t

import pytest
from fake_webapp import META, FakeWebapp, error

Run = t.Callable[..., "dict[str, t.Any]"]


@pytest.fixture
def run(run_module: Run, fake: FakeWebapp) -> Run:
    def call(query: str, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        given = {
            "query": query,
            "api_url": fake.url,
            "api_password": "Right-1234",
            "poll_interval": "0.1",
            "wait_timeout": "3s",
        }
        return run_module("wa_webapp_info", {**given, **options}, check)

    return call


def healthy(status: str = "connected", version: str = "v2.53.4") -> tuple[int, t.Any]:
    return 200, {"health": {"gateway_status": status}, "meta": {**META, "version": version}}


def test_health_waits_until_the_client_is_healthy(run: Run, fake: FakeWebapp) -> None:
    fake.on(
        "GET", "/v1/health", error(500, 1011), healthy("uninitialized"), "close", healthy(version="2.51.2"), healthy()
    )
    result = run("health", expect_version="v2.53.4")
    assert (result["healthy"], result["version"], result["changed"]) == (True, "2.53.4", False)
    assert result["nodes"] == {"coreapp": {"gateway_status": "connected"}}


def test_health_reports_the_last_state_after_the_timeout(run: Run, fake: FakeWebapp) -> None:
    fake.on("GET", "/v1/health", healthy("uninitialized"))
    result = run("health", wait_timeout="0.3")
    assert result["failed"]
    assert "starting or migrating: coreapp" in result["msg"]
    assert result["healthy"] is False
    assert not run("health", wait=False).get("failed")
    assert run("health", check=True, wait=False)["healthy"] is False


def test_health_fails_on_another_version(run: Run, fake: FakeWebapp) -> None:
    fake.on("GET", "/v1/health", healthy())
    result = run("health", wait_timeout="0.3", expect_version="2.55.1")
    assert "version 2.53.4, expected 2.55.1" in result["msg"]


def test_health_does_not_retry_a_refused_login(run: Run, fake: FakeWebapp) -> None:
    result = run("health", api_password="Wrong-9999", wait_timeout="60s")
    assert result["failed"]
    assert fake.logins == 1
    assert "Wrong-9999" not in json.dumps(result)


def test_health_of_multiconnect_needs_all_shards(run: Run, fake: FakeWebapp) -> None:
    nodes = {
        "m:1": {"gateway_status": "connected", "role": "primary_master"},
        "a:2": {"gateway_status": "connected", "role": "coreapp"},
        "b:3": {"gateway_status": "disconnected", "role": "coreapp"},
    }
    fake.on("GET", "/v1/health", (200, {"health": nodes, "meta": META}))
    assert run("health", topology="multiconnect", shards=1)["healthy"]
    assert run("health", topology="multiconnect", shards=2, wait_timeout="0.2")["failed"]


def test_drain_waits_for_an_empty_callback_queue(run: Run, fake: FakeWebapp) -> None:
    def queue(length: int) -> tuple[int, t.Any]:
        return 200, {"stats": {"callback_queue_size": {"data": [{"labels": {}, "value": length}]}}}

    fake.on("GET", "/v1/stats/app", queue(7), queue(2), queue(0))
    assert run("drain")["queue"] == 0
    fake.on("GET", "/v1/stats/app", queue(3))
    result = run("drain", wait_timeout="0.2")
    assert result["failed"]
    assert "3 callbacks queued" in result["msg"]
    assert run("drain", wait=False)["queue"] == 3
    fake.on("GET", "/v1/stats/app", (200, {}))
    assert "no callback_queue_size" in run("drain")["msg"]
