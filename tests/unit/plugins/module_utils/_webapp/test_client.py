# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API adapter against a small Webapp on a real socket: login, retries, errors told apart, answers of all shapes."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from fake_webapp import META, FakeWebapp, certificate, error
from webapp_session import GC, Time, session

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._webapp.client import ApiError
from ansible_collections.waba.onprem.plugins.module_utils._webapp.errors import silence


@pytest.fixture
def fake() -> t.Iterator[FakeWebapp]:
    server = FakeWebapp()
    yield server
    server.close()


def test_one_login_serves_many_calls(fake: FakeWebapp) -> None:
    fake.on("GET", "/v1/health", (200, {"health": {"gateway_status": "connected"}, "meta": META}))
    webapp = session(fake)
    assert webapp.health() == ({"gateway_status": "connected"}, "2.53.4")
    webapp.health()
    assert fake.paths() == ["POST /v1/users/login", "GET /v1/health", "GET /v1/health"]


@pytest.mark.parametrize("variable", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        "machine 127.0.0.1 login admin password Netrc-9999\n",
        "default login admin password Netrc-9999\n",
        "machine 127.0.0.1 login\n",
        "no netrc at all {\n",
    ],
)
def test_a_netrc_file_is_not_read(
    fake: FakeWebapp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, variable: bool
) -> None:
    file = tmp_path / ("own" if variable else ".netrc")
    file.write_text(text)
    file.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    if variable:
        monkeypatch.setenv("NETRC", str(file))
    fake.on("GET", "/v1/health", (200, {"health": {"gateway_status": "connected"}}))
    session(fake).health()
    assert fake.paths() == ["POST /v1/users/login", "GET /v1/health"]


def test_proxies_of_the_environment_are_not_asked(fake: FakeWebapp, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    fake.on("GET", "/v1/health", (200, {"health": {}}))
    session(fake).health()
    assert fake.logins == 1


def test_credentials_in_the_address_are_refused(fake: FakeWebapp) -> None:
    with pytest.raises(WaError) as refused:
        session(fake, api_url=fake.url.replace("//", "//admin:Url-9999@"))
    assert str(refused.value) == (
        "api_url: it holds a user name or a password; expected https://host:port. Use api_username and api_password"
    )
    assert fake.requests == []


def test_a_wrong_password_is_tried_once(fake: FakeWebapp) -> None:
    with pytest.raises(ApiError) as told:
        session(fake, api_password="Wrong-9999").health()
    assert told.value.kind == "login"
    assert fake.logins == 1
    assert "Wrong-9999" not in str(told.value)
    assert "first login" in str(told.value)


def test_a_token_that_ends_is_renewed_once(fake: FakeWebapp) -> None:
    fake.on("GET", "/v1/health", (401, None), (200, {"health": {}}))
    session(fake).health()
    assert fake.logins == 2
    fake.on("GET", "/v1/health", (401, None))
    with pytest.raises(ApiError) as told:
        session(fake).health()
    assert (told.value.kind, fake.logins) == ("token", 4)


def test_a_given_token_is_used_and_not_renewed_without_a_password(fake: FakeWebapp) -> None:
    with pytest.raises(ApiError) as told:
        session(fake, api_password=None, api_token="old").health()
    assert told.value.kind == "token"
    assert fake.paths() == ["GET /v1/health"]


@pytest.mark.parametrize("body", [None, [], {"users": []}, {"users": {"token": 5}}])
def test_a_login_that_something_else_answers(fake: FakeWebapp, body: t.Any) -> None:
    fake.on("POST", "/v1/users/login", (200, body))
    with pytest.raises(
        ApiError, match="HTTP 200 with a body that holds no token; expected the Webapp's own answer"
    ) as told:
        session(fake).health()
    assert "api_url should be the Webapp's own address" in str(told.value)


def test_neither_token_nor_password(fake: FakeWebapp) -> None:
    with pytest.raises(WaError, match="api_password: not given"):
        session(fake, api_password=None).health()


@pytest.mark.parametrize(
    "answer",
    [
        (429, None),
        (503, None),
        error(500, 1011, "Service not ready"),
        error(500, 1014, "Internal error", "Connection timed out. Please check if wacore is running: wacore:6252"),
        error(500, 1015),
        error(500, 1016),
        error(500, 1017),
        error(500, 1018),
    ],
)
def test_what_is_worth_a_retry_is_retried_with_back_off(fake: FakeWebapp, answer: t.Any) -> None:
    fake.on("PUT", GC, answer, answer, (200, {"services": {"message": {"gc": {"status": "processing"}}}}))
    time = Time()
    assert session(fake, time).start_gc("message") == {"coreapp": "processing"}
    assert time.pauses == [1, 2]


@pytest.mark.parametrize(
    "answer", [error(500, 1000), error(500, 1014, "Internal error", "broken"), error(404, 1006), error(400, 1008)]
)
def test_what_is_not_is_not(fake: FakeWebapp, answer: t.Any) -> None:
    fake.on("PUT", GC, answer)
    time = Time()
    with pytest.raises(ApiError):
        session(fake, time).start_gc("message")
    assert time.pauses == []


def test_retries_are_bounded(fake: FakeWebapp) -> None:
    fake.on("PUT", GC, (503, None))
    time = Time()
    with pytest.raises(ApiError, match="HTTP 503"):
        session(fake, time).start_gc("message")
    assert sum(time.pauses) <= 60
    assert max(time.pauses) <= 30


def test_a_webapp_that_restarts_is_waited_for(fake: FakeWebapp) -> None:
    closed = FakeWebapp()
    closed.close()
    time = Time()
    with pytest.raises(ApiError) as told:
        session(closed, time).health()
    assert (told.value.kind, told.value.sent) == ("unreachable", False)
    assert len(time.pauses) > 2


def test_a_lost_answer_is_not_asked_for_again(fake: FakeWebapp) -> None:
    fake.on("PUT", GC, "close")
    with pytest.raises(ApiError) as told:
        session(fake).start_gc("message")
    assert (told.value.kind, told.value.sent) == ("lost", True)
    assert fake.paths().count(f"PUT {GC}") == 1


@pytest.mark.parametrize("status", [502, 504])
def test_a_gateways_time_out_is_an_answer_that_got_lost(fake: FakeWebapp, status: int) -> None:
    fake.on("PUT", GC, (status, None))
    with pytest.raises(ApiError) as told:
        session(fake).start_gc("message")
    assert told.value.kind == "lost"
    assert fake.paths().count(f"PUT {GC}") == 1


def test_what_may_be_done_twice_is_asked_for_again_when_its_answer_got_lost(fake: FakeWebapp) -> None:
    fake.on("GET", "/v1/health", "close", (504, None), "close", (200, {"health": {"gateway_status": "connected"}}))
    assert session(fake).health()[0] == {"gateway_status": "connected"}
    fake.on("GET", "/v1/health", "close")
    with pytest.raises(ApiError, match="connection lost"):
        session(fake).health()
    assert fake.paths().count("GET /v1/health") == 8


def test_a_health_that_takes_long_is_given_more_time(fake: FakeWebapp, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the Webapp waits for its dead nodes, and not for ever."""
    given: list[float] = []
    webapp = session(fake)

    def send(method: str, path: str, body: t.Any, headers: t.Any, timeout: float) -> t.Any:
        given.append(timeout)
        raise silence(path, TimeoutError(), timeout)

    webapp.token = "t"
    monkeypatch.setattr(webapp, "_send", send)
    for _call in range(2):
        with pytest.raises(ApiError, match="no answer within 8 s"):
            webapp.health()
    assert given == [2, 4, 8, 8] + [8] * 4


def test_a_login_whose_answer_got_lost_is_repeated_once(fake: FakeWebapp) -> None:
    fake.on("POST", "/v1/users/login", "close")
    with pytest.raises(ApiError, match="connection lost"):
        session(fake).log_in()
    assert fake.paths() == ["POST /v1/users/login"] * 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(401, 1005, "Access denied", "Wrong user name or password"), "login"),
        (error(403, 1005, "Access denied", "Invalid credentials"), "login"),
        (error(403, "1031", "Account locked"), "locked"),  # type: ignore[arg-type]  # a code in quotes
        (error(401, 1005, "Access denied", "The client build has expired"), "expired"),
    ],
)
def test_refused_logins_of_all_kinds(fake: FakeWebapp, answer: t.Any, kind: str) -> None:
    fake.on("POST", "/v1/users/login", answer)
    time = Time()
    with pytest.raises(ApiError) as told:
        session(fake, time).log_in()
    assert (told.value.kind, time.pauses) == (kind, [])
    assert fake.paths() == ["POST /v1/users/login"]


def test_a_token_that_the_client_calls_expired_is_no_expired_client(fake: FakeWebapp) -> None:
    fake.on("GET", "/v1/health", error(401, 1005, "Access denied", "client token has expired"), (200, {"health": {}}))
    assert session(fake).health()[0] == {}
    assert fake.logins == 2


def test_denied_is_told_apart_from_expired(fake: FakeWebapp) -> None:
    fake.on("PUT", GC, error(403, 1005, "Access denied"))
    fake.on("GET", "/v1/health", (200, {"health": {}}))
    with pytest.raises(ApiError) as told:
        session(fake).start_gc("message")
    assert told.value.kind == "denied"
    fake.on("GET", "/v1/health", error(403, 1005, "Access denied"))
    with pytest.raises(ApiError) as told:
        session(fake).start_gc("message")
    assert told.value.kind == "expired"
    fake.on("PUT", GC, error(403, 1005, "Access denied", "The client has expired"))
    with pytest.raises(ApiError) as told:
        session(fake).start_gc("message")
    assert told.value.kind == "expired"


def test_an_expired_client_refuses_the_login_too(fake: FakeWebapp) -> None:
    fake.on("POST", "/v1/users/login", error(403, 1005, "Access denied"))
    with pytest.raises(ApiError) as told:
        session(fake).health()
    assert told.value.kind == "expired"


def test_locked_account(fake: FakeWebapp) -> None:
    fake.locked = True
    with pytest.raises(ApiError) as told:
        session(fake).health()
    assert (told.value.kind, fake.logins) == ("locked", 1)


def test_the_first_login_is_recognised(fake: FakeWebapp) -> None:
    fake.fresh = True
    with pytest.raises(ApiError) as told:
        session(fake, api_password="secret").health()
    assert told.value.kind == "first_login"
    assert "operation first_login" in str(told.value)


@pytest.mark.parametrize(
    ("options", "trusted", "words"),
    [
        ({}, False, "not from a known authority"),
        ({"days": -1}, True, "has expired"),
        ({"subject": "DNS:other.lab"}, True, "another name"),
    ],
)
def test_certificates_are_told_apart(tmp_path: Path, options: dict[str, t.Any], trusted: bool, words: str) -> None:
    files = certificate(tmp_path, **options)
    server = FakeWebapp(files)
    try:
        with pytest.raises(ApiError, match=words) as told:
            session(server, api_ca_path=str(files[0]) if trusted else None).health()
        assert told.value.kind == "tls"
    finally:
        server.close()


def test_a_good_certificate_and_a_missing_authority(tmp_path: Path) -> None:
    files = certificate(tmp_path)
    server = FakeWebapp(files)
    server.on("GET", "/v1/health", (200, {"health": {}}))
    try:
        assert session(server, api_ca_path=str(files[0])).health() == ({}, "")
        with pytest.raises(ApiError, match="api_ca_path /nowhere"):
            session(server, api_ca_path="/nowhere")
    finally:
        server.close()


@pytest.mark.parametrize(
    ("body", "nodes"),
    [
        ({"services": {"message": {"gc": {"status": "processing"}}}}, {"coreapp": "processing"}),
        (
            {
                "services": {
                    "message": {
                        "gc": {"a:9dfe77618dba": {"status": "processing"}, "b:a9dcc716fd6e": {"status": "processing"}}
                    }
                }
            },
            {"a:9dfe77618dba": "processing", "b:a9dcc716fd6e": "processing"},
        ),
        (
            {"services": {"message": {"gc": {"a:9dfe77618dba": {"errors": [{"code": 1014, "details": "down"}]}}}}},
            {"a:9dfe77618dba": "failed: 1014, down"},
        ),
        (
            {
                "services": {"message": {"gc": {"a:9dfe77618dba": {"status": "processing"}}}},
                "errors": [{"code": 1014, "details": "b:a9dcc716fd6e is down"}],
            },
            {"a:9dfe77618dba": "processing", "b:a9dcc716fd6e": "failed: 1014, b:a9dcc716fd6e is down"},
        ),
        ({}, {"coreapp": "processing"}),
        ({"services": [{"message": {"gc": {"status": "processing", "node": "a:1"}}}]}, {"a:1": "processing"}),
        (
            {
                "services": [
                    {"message": {"gc": {"a:1": {"status": "ERROR"}}}},
                    {"message": {"gc": {"b:2": "processing"}}},
                ]
            },
            {"a:1": "failed", "b:2": "processing"},
        ),
        ({"services": {"message": {"gc": None}}}, {"coreapp": "None"}),
        ({"services": {"media": {"gc": {"status": "failed"}}}}, {"coreapp": "processing"}),
    ],
)
@pytest.mark.parametrize("status", [200, 201, 202])
def test_answers_to_gc(fake: FakeWebapp, body: dict[str, t.Any], nodes: dict[str, str], status: int) -> None:
    fake.on("PUT", GC, (status, body))
    assert session(fake).start_gc("message") == nodes


def test_an_address_that_is_none(fake: FakeWebapp) -> None:
    with pytest.raises(WaError, match="api_url"):
        session(fake, api_url="127.0.0.1:9090")
