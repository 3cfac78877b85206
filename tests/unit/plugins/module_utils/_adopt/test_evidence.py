# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's clients are asked: their nodes with the key of their Webapp, and the running server of their database."""

from __future__ import annotations

import contextlib
import typing as t
from pathlib import Path

import pytest
from adopt_samples import ENV, MULTI, container
from fake_docker import FakeDocker
from fake_webapp import FakeWebapp, certificate

from ansible_collections.waba.onprem.plugins.module_utils._adopt import evidence
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import connection, guard
from ansible_collections.waba.onprem.plugins.module_utils._db_env import login_check
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC

KEY = "Canary-key-of-the-webapp"
HEALTH = {
    "health": {"h1:aaaaaaaaaaaa": {"gateway_status": "connected"}, "h2:bbbbbbbbbbbb": {"gateway_status": "connected"}}
}


@pytest.fixture
def webapp(tmp_path: Path) -> t.Iterator[FakeWebapp]:
    fake = FakeWebapp(certificate(tmp_path))
    fake.on("GET", "/v1/health", (200, HEALTH))
    try:
        yield fake
    finally:
        fake.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[connection.Settings]:
    """The settings with which the database server was asked; it answers `a`."""
    found: list[connection.Settings] = []

    def connect(config: connection.Settings) -> t.Any:
        found.append(config)
        return contextlib.nullcontext(config)

    monkeypatch.setattr(connection, "connect", connect)
    monkeypatch.setattr(guard, "server", lambda _session: {"identity": "a", "started": 1})
    monkeypatch.setattr(login_check, "route", lambda config, *_more: (config, ""))
    return found


def read(engine: FakeDocker, *containers: dict[str, t.Any], **given: t.Any) -> dict[str, dict[str, t.Any]]:
    params = {**{key: one.get("default") for key, one in ARGUMENT_SPEC.items()}, "docker_host": engine.host}
    return evidence.read(Docker(params), {**params, "api_key": None, "api_password": None, **given}, containers)


def client(port: t.Any, **environment: str) -> list[dict[str, t.Any]]:
    where = {**MULTI, **environment}
    return [
        container("wacore", environment=where),
        container("waweb", environment=where, ports=[f"{port}:443"]),
    ]


def port(webapp: FakeWebapp) -> str:
    return webapp.url.rpartition(":")[2]


@pytest.mark.parametrize(
    ("environment", "given", "requests"),
    [
        ({"WA_API_KEY": KEY}, {"api_password": "Right-1234"}, ["GET /v1/health"]),
        ({}, {"api_key": KEY}, ["GET /v1/health"]),
        ({}, {"api_password": "Right-1234"}, ["POST /v1/users/login", "GET /v1/health", "POST /v1/users/logout"]),
    ],
)
def test_the_nodes_of_a_multiconnect_client(
    engine: FakeDocker,
    webapp: FakeWebapp,
    asked: t.Any,
    environment: dict[str, str],
    given: dict[str, str],
    requests: list[str],
) -> None:
    webapp.keys.add(KEY)
    found = read(engine, *client(port(webapp), **environment), **given)["biz"]
    assert found == {"nodes": [*HEALTH["health"]], "server": {"identity": "a", "started": 1}, "problems": []}
    assert (webapp.paths(), webapp.tokens) == (requests, set())


@pytest.mark.parametrize(
    ("ports", "given", "login", "problem"),
    [
        (
            "9090",
            {},
            "no_login",
            "nodes of biz-waweb-1: not asked: it has no WA_API_KEY, and no wa_api_password is given",
        ),
        ("53:53/udp", {"api_key": KEY}, "", "nodes of biz-waweb-1: not asked: it publishes no port of its API"),
        (None, {"api_password": "Canary-wrong-1"}, "login", "login"),
    ],
)
def test_why_nodes_are_not_known(
    engine: FakeDocker,
    webapp: FakeWebapp,
    asked: t.Any,
    ports: str | None,
    given: dict[str, str],
    login: str,
    problem: str,
) -> None:
    found = read(engine, *client(ports or port(webapp)), **given)["biz"]
    assert ("nodes" in found, len(found["problems"]), found["login"]) == (False, 1, login)
    assert problem in found["problems"][0]
    assert "Canary" not in found["problems"][0]
    assert webapp.logins <= 1  # a wrong password is never repeated: the client locks the account


def test_a_single_client_is_not_asked_for_nodes(engine: FakeDocker, webapp: FakeWebapp, asked: t.Any) -> None:
    ours = [
        container("wacore"),
        container("waweb", environment={"WA_API_KEY": KEY}, settings={"ports": [f"{port(webapp)}:443"]}),
    ]
    assert (read(engine, *ours)["biz"]["problems"], webapp.paths()) == ([], [])


def test_the_server_is_asked_with_the_coreapps_environment(
    engine: FakeDocker, asked: list[connection.Settings]
) -> None:
    read(engine, container("waweb", environment={"WA_DB_HOSTNAME": "other"}), container("wacore"))
    assert [(one.host, one.user, one.password) for one in asked] == [("db.example.com", "wa", ENV["WA_DB_PASSWORD"])]


def test_a_server_that_cannot_be_asked_is_a_problem_without_the_password(
    engine: FakeDocker, asked: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_session: t.Any) -> t.Any:
        raise WaError("server", "no", "a server")

    monkeypatch.setattr(guard, "server", refuse)
    found = read(engine, container("wacore"))["biz"]
    assert ("server" in found, len(found["problems"])) == (False, 1)
    assert "Canary" not in str(found)


def test_what_does_not_run_is_not_asked(engine: FakeDocker, asked: list[connection.Settings]) -> None:
    assert read(engine, container("wacore", state="exited"), container("tool", one_shot=True)) == {}
    assert asked == []
