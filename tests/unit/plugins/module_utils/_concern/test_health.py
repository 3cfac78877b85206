# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The concern health: a client that does not serve is an alarm; one session serves all concerns; nothing is asked in vain."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from fake_docker import FakeDocker
from fake_webapp import META, FakeWebapp, error

from ansible_collections.waba.onprem.plugins.module_utils._concern import automatic_gc, health
from ansible_collections.waba.onprem.plugins.module_utils._concern.finding import Finding
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker

HEALTH = ("GET", "/v1/health")
DATABASE = {"WA_DB_HOSTNAME": "db"}
PASSWORD, WRONG = "Right-1234", "Wrong-1234"
LOGIN, LOGOUT, ASK = "POST /v1/users/login", "POST /v1/users/logout", "GET /v1/health"


@pytest.fixture
def params(fake: FakeWebapp, engine: FakeDocker, tmp_path: Path) -> dict[str, t.Any]:
    fake.on(*HEALTH, (200, {"meta": META, "health": {"gateway_status": "connected"}}))
    engine.container("wa-a-wacore-1", "r/coreapp:v2.53.4", "wa-a", "wacore", environment=DATABASE)
    engine.container("wa-a-waweb-1", "r/web:v2.53.4", "wa-a", "waweb", environment=DATABASE)
    return {
        **{name: spec.get("default") for name, spec in health.SPEC.items()},
        "docker_host": engine.host,
        "api_url": fake.url,
        "api_password": PASSWORD,
        "api_timeout": "10s",
        "project": "wa-a",
        "refused_login_file": str(tmp_path / "api-login-a.json"),
    }


def observe(params: dict[str, t.Any], write: bool = True) -> Finding:
    """One comparison, with a session of its own."""
    session = health.Session(write)
    try:
        return health.observe(Docker(params), params, session)
    finally:
        session.close()


def alarm(params: dict[str, t.Any], write: bool = True) -> str:
    (text,) = observe(params, write).alarms
    assert WRONG not in text
    return text


def test_a_client_that_serves_is_asked_once(fake: FakeWebapp, params: dict[str, t.Any]) -> None:
    assert observe(params) == Finding()
    assert fake.paths() == [LOGIN, ASK, LOGOUT]


def test_with_a_key_nobody_logs_in(fake: FakeWebapp, params: dict[str, t.Any]) -> None:
    fake.keys = {"Key-Canary-1"}
    assert observe({**params, "api_key": "Key-Canary-1"}) == Finding()
    assert fake.paths() == [ASK]
    text = alarm({**params, "api_key": "Key-Canary-2"})
    assert text.startswith("it is not known whether the client serves: API http://127.0.0.1:")
    assert text.endswith("Correct api_key: it is the WA_API_KEY of the Webapp")
    assert "Canary" not in text


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            (200, {"meta": META, "health": {"gateway_status": "disconnected"}}),
            "the client does not serve: expected one Coreapp connected: coreapp disconnected",
        ),
        (
            (200, {"meta": META, "health": {"gateway_status": "unregistered"}}),
            "the client does not serve: not registered: coreapp",
        ),
        (
            (200, {"meta": META, "health": {"gateway_status": "uninitialized"}}),
            "the client does not serve: starting or migrating: coreapp",
        ),
        ((200, {"meta": META}), "the client does not serve: the health answer names no node"),
        (
            error(500, 1014, "Internal error", "Connection timed out. Please check if wacore is running: wacore:6252"),
            "HTTP 500, code 1014, Internal error: Connection timed out. Please check if wacore is running: wacore:6252",
        ),
        ("close", "the client does not serve: API http://127.0.0.1:"),
    ],
)
def test_a_client_that_does_not_serve_is_an_alarm(
    fake: FakeWebapp, params: dict[str, t.Any], answer: t.Any, text: str
) -> None:
    fake.on(*HEALTH, answer)
    found = observe(params)
    assert text in found.alarms[0]
    assert (found.state(), len(found.alarms), fake.paths().count(ASK)) == ("in_sync", 1, 1)


def test_the_nodes_of_a_cluster_are_checked_as_its_topology_says(fake: FakeWebapp, params: dict[str, t.Any]) -> None:
    nodes = {
        "c1:1": {"gateway_status": "connected", "role": "coreapp"},
        "c2:2": {"gateway_status": "disconnected", "role": "coreapp"},
    }
    fake.on(*HEALTH, (200, {"meta": META, "health": nodes}))
    assert observe({**params, "topology": "high_availability"}) == Finding()
    assert alarm({**params, "topology": "multiconnect", "shards": 2}) == (
        "the client does not serve: expected 2 Coreapps and the primary master connected: c1:1 connected, c2:2 disconnected"
    )


@pytest.mark.parametrize(
    ("given", "stopped"),
    [
        ({"api_password": None}, ""),
        ({}, "wa-a-wacore-1"),  # that is a drift, which the run corrects
        ({"project": "wa-b"}, ""),  # no container
        ({"services": ["wacore", "waweb2"]}, ""),  # one is missing
    ],
)
def test_nobody_is_asked_in_vain(
    fake: FakeWebapp, engine: FakeDocker, params: dict[str, t.Any], given: dict[str, t.Any], stopped: str
) -> None:
    for one in engine.containers.values():
        if one["Name"] == stopped:
            one["State"] = "exited"
    assert observe({**params, **given}) == Finding()
    assert fake.requests == []


def test_only_recorded_containers_outside_compose_have_to_run(
    fake: FakeWebapp, engine: FakeDocker, params: dict[str, t.Any]
) -> None:
    engine.container("core", "r/coreapp:v2.53.4", "", environment=DATABASE)
    engine.container("old-core", "r/coreapp:v2.51.2", "", state="exited", environment=DATABASE)
    assert observe({**params, "project": "", "container_names": ["core"]}) == Finding()
    assert fake.paths() == [LOGIN, ASK, LOGOUT]


def test_what_stands_beside_the_client_in_an_operators_project_need_not_run(
    fake: FakeWebapp, engine: FakeDocker, params: dict[str, t.Any]
) -> None:
    fake.on(*HEALTH, (200, {"meta": META, "health": {"gateway_status": "disconnected"}}))
    engine.container("wa-a-tools-1", "r/coreapp:v2.51.2", "wa-a", "tools", state="exited", environment=DATABASE)
    assert "disconnected" in alarm({**params, "services": ["wacore", "waweb"]})


def test_a_refused_login_is_asked_once_a_day(fake: FakeWebapp, params: dict[str, t.Any]) -> None:
    wrong, record = {**params, "api_password": WRONG}, Path(params["refused_login_file"])
    assert alarm(wrong, write=False).startswith("it is not known whether the client serves: API ")
    assert not record.exists(), "check mode writes nothing"
    assert "HTTP 401" in alarm(wrong)
    assert record.exists()
    for write in (True, False):
        assert "this password was refused at " in alarm(wrong, write)
    assert fake.paths() == [LOGIN, LOGIN]
    assert observe(params, write=False) == Finding()
    assert record.exists(), "check mode writes nothing"
    assert observe(params) == Finding()
    assert not record.exists()


def test_concerns_share_one_session_and_one_refusal(fake: FakeWebapp, params: dict[str, t.Any], tmp_path: Path) -> None:
    settings = {"garbagecollector_enable": {"messages": True}}
    fake.on("GET", "/v1/settings/application", (200, {"meta": META, "settings": {"application": settings}}))
    more = {**params, "automatic": True}
    session = health.Session(write=True)
    assert health.observe(Docker(params), params, session) == automatic_gc.observe(more, session) == Finding()
    session.close()
    assert fake.paths() == [LOGIN, ASK, "GET /v1/settings/application", LOGOUT]
    fake.requests.clear()
    wrong = {**more, "api_password": WRONG}
    session = health.Session(write=False)
    assert health.observe(Docker(params), wrong, session).alarms
    with pytest.raises(WaError, match="HTTP 401"):
        automatic_gc.observe(wrong, session)
    session.close()
    assert fake.paths() == [LOGIN]


APP = ("GET", "/v1/stats/app")
SUPPORT = ("GET", "/v1/support")
STATS = {
    "callback_queue_size": {"data": [{"value": 4}]},
    "callback_requests": {
        "data": [
            {"labels": {"result": "success", "type": "message"}, "value": 20},
            {"labels": {"result": "http_500", "type": "message"}, "value": 3},
            {"labels": {"result": "no_webhook"}, "value": 2},
        ]
    },
}


def figures(params: dict[str, t.Any]) -> tuple[dict[str, t.Any], health.Session]:
    session = health.Session(False)
    health.observe(Docker(params), params, session)
    try:
        return health.figures(params, session), session
    finally:
        session.close()


def test_figures_share_the_session_of_the_health(fake: FakeWebapp, params: dict[str, t.Any]) -> None:
    fake.on(*APP, (200, {"meta": META, "stats": {"app": STATS}}))
    fake.on(*SUPPORT, (200, {"meta": META, "support": {"expire_timestamp": "2026-12-31T00:00:00", "schema": {}}}))
    assert figures(params)[0] == {
        "nodes": {"coreapp": "connected"},
        "callbacks": {"waiting": 4, "sent": 20, "refused": 5},
        "support": {"expires_on": "2026-12-31"},
    }
    assert fake.paths() == [LOGIN, ASK, "GET /v1/stats/app", "GET /v1/support", LOGOUT]


def test_figures_with_a_key_log_nobody_in(fake: FakeWebapp, params: dict[str, t.Any]) -> None:
    fake.keys = {"Key-Canary-1"}
    fake.on(*APP, (200, {"meta": META, "stats": STATS}))
    found, _session = figures({**params, "api_key": "Key-Canary-1"})
    assert (found["callbacks"]["waiting"], found["support"]) == (4, {})
    assert fake.paths() == [ASK, "GET /v1/stats/app"]


def test_a_figure_that_fails_leaves_the_others(fake: FakeWebapp, params: dict[str, t.Any]) -> None:
    fake.on(*APP, error(503, 1011, "Service not ready"))
    fake.on(
        *SUPPORT,
        (200, {"meta": META, "support": {"a:1": {"expire_timestamp": "9999-12-31T00:00:00"}, "b:2": {"error": "x"}}}),
    )
    found, _session = figures(params)
    assert "Service not ready" in found["callbacks"]["error"]
    assert found["support"] == {"expires_on": ""}


def test_a_client_that_has_not_said_its_health_is_not_asked_more(fake: FakeWebapp, params: dict[str, t.Any]) -> None:
    fake.on(*HEALTH, error(503, 1011, "Service not ready"))
    found, session = figures(params)
    assert (found, session.refused) == ({}, False)
    assert fake.paths() == [LOGIN, ASK, LOGOUT]


def test_a_refused_login_is_said_once_and_no_older_one(fake: FakeWebapp, params: dict[str, t.Any]) -> None:
    wrong = {**params, "api_password": WRONG}
    assert figures(wrong)[1].refused
    assert alarm(wrong)  # written on the host, as provision.yml does
    found, session = figures(wrong)
    assert (found, session.refused, fake.logins) == ({}, False, 2)
