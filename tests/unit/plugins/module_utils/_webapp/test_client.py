# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API client and a fake Webapp on a real socket: login, retries, error kinds, answers of any structure."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from fake_webapp import META, FakeWebapp, certificate, error
from webapp_session import GC, Time, session

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._webapp.client import ApiError
from ansible_collections.waba.onprem.plugins.module_utils._webapp.errors import silence


def test_one_login_is_used_for_many_calls(fake: FakeWebapp) -> None:
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


def test_proxy_variables_are_ignored(fake: FakeWebapp, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    fake.on("GET", "/v1/health", (200, {"health": {}}))
    session(fake).health()
    assert fake.logins == 1


@pytest.mark.parametrize("url", ["127.0.0.1:9090", "ftp://host", "https://", "https://host:web", "https://host:99999"])
def test_what_is_no_address_is_refused(fake: FakeWebapp, url: str) -> None:
    with pytest.raises(WaError) as refused:
        session(fake, api_url=url)
    assert str(refused.value) == f"api_url: {url.rstrip('/')!r} is no address; expected https://host:port."


@pytest.mark.parametrize("key", ["Key-9999\n", "Key-9999\nX: y", "Key-9999-\u20ac"])
def test_a_key_that_no_header_can_hold_is_not_shown(fake: FakeWebapp, key: str) -> None:
    with pytest.raises(ApiError) as refused:
        session(fake, api_key=key).health()
    assert str(refused.value) == (
        "api_key: it holds a line end, or a character that no header may hold. Correct api_key: it is the WA_API_KEY of the Webapp"
    )
    assert not refused.value.sent
    assert fake.paths() == []


def test_credentials_in_the_url_are_refused(fake: FakeWebapp) -> None:
    with pytest.raises(WaError) as refused:
        session(fake, api_url=fake.url.replace("//", "//admin:Url-9999@"))
    assert str(refused.value) == (
        "api_url: it holds a user name or a password; expected https://host:port. Use api_password"
    )
    assert fake.requests == []


def test_a_refused_login_is_not_repeated(fake: FakeWebapp) -> None:
    with pytest.raises(ApiError) as error_info:
        session(fake, api_password="Wrong-9999").health()
    assert error_info.value.kind == "login"
    assert fake.logins == 1
    assert "Wrong-9999" not in str(error_info.value)
    assert "first login" in str(error_info.value)


def test_an_expired_token_is_renewed_once(fake: FakeWebapp) -> None:
    fake.on("GET", "/v1/health", (401, None), (200, {"health": {}}))
    session(fake).health()
    assert fake.logins == 2
    fake.on("GET", "/v1/health", (401, None))
    with pytest.raises(ApiError) as error_info:
        session(fake).health()
    assert (error_info.value.kind, fake.logins) == ("token", 4)


@pytest.mark.parametrize("body", [None, [], {"users": []}, {"users": {"token": 5}}])
def test_a_login_answered_by_something_else_is_an_error(fake: FakeWebapp, body: t.Any) -> None:
    fake.on("POST", "/v1/users/login", (200, body))
    with pytest.raises(
        ApiError, match="HTTP 200 with a body that holds no token; expected the Webapp's own answer"
    ) as error_info:
        session(fake).health()
    assert "api_url should be the Webapp's own address" in str(error_info.value)


def test_a_login_needs_a_password(fake: FakeWebapp) -> None:
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
def test_temporary_errors_are_retried_with_back_off(fake: FakeWebapp, answer: t.Any) -> None:
    fake.on("PUT", GC, answer, answer, (200, {"services": {"message": {"gc": {"status": "processing"}}}}))
    time = Time()
    assert session(fake, time).start_gc() == {"coreapp": "processing"}
    assert time.pauses == [1, 2]


@pytest.mark.parametrize(
    "answer", [error(500, 1000), error(500, 1014, "Internal error", "broken"), error(404, 1006), error(400, 1008)]
)
def test_permanent_errors_are_not_retried(fake: FakeWebapp, answer: t.Any) -> None:
    fake.on("PUT", GC, answer)
    time = Time()
    with pytest.raises(ApiError):
        session(fake, time).start_gc()
    assert time.pauses == []


def test_retries_are_bounded(fake: FakeWebapp) -> None:
    fake.on("PUT", GC, (503, None))
    time = Time()
    with pytest.raises(ApiError, match="HTTP 503"):
        session(fake, time).start_gc()
    assert sum(time.pauses) <= 60
    assert max(time.pauses) <= 30


def test_an_unreachable_webapp_is_retried(fake: FakeWebapp) -> None:
    closed = FakeWebapp()
    closed.close()
    time = Time()
    with pytest.raises(ApiError) as error_info:
        session(closed, time).health()
    assert (error_info.value.kind, error_info.value.sent) == ("unreachable", False)
    assert len(time.pauses) > 2


def test_a_call_whose_answer_was_lost_is_not_repeated(fake: FakeWebapp) -> None:
    fake.on("PUT", GC, "close")
    with pytest.raises(ApiError) as error_info:
        session(fake).start_gc()
    assert (error_info.value.kind, error_info.value.sent) == ("lost", True)
    assert fake.paths().count(f"PUT {GC}") == 1


@pytest.mark.parametrize("status", [502, 504])
def test_a_gateway_timeout_counts_as_a_lost_answer(fake: FakeWebapp, status: int) -> None:
    fake.on("PUT", GC, (status, None))
    with pytest.raises(ApiError) as error_info:
        session(fake).start_gc()
    assert error_info.value.kind == "lost"
    assert fake.paths().count(f"PUT {GC}") == 1


def test_an_idempotent_call_is_repeated_if_its_answer_was_lost(fake: FakeWebapp) -> None:
    fake.on("GET", "/v1/health", "close", (504, None), "close", (200, {"health": {"gateway_status": "connected"}}))
    assert session(fake).health()[0] == {"gateway_status": "connected"}
    fake.on("GET", "/v1/health", "close")
    with pytest.raises(ApiError, match="connection lost"):
        session(fake).health()
    assert fake.paths().count("GET /v1/health") == 8


def test_a_slow_health_call_gets_longer_timeouts(fake: FakeWebapp, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the Webapp waits for unreachable nodes, and not longer."""
    timeouts: list[float] = []
    webapp = session(fake)

    def send(method: str, path: str, body: t.Any, headers: t.Any, timeout: float) -> t.Any:
        timeouts.append(timeout)
        raise silence(path, TimeoutError(), timeout)

    webapp.token = "t"
    monkeypatch.setattr(webapp, "_send", send)
    for _call in range(2):
        with pytest.raises(ApiError, match="no answer within 8 s"):
            webapp.health()
    assert timeouts == [2, 4, 8, 8] + [8] * 4


def test_a_login_whose_answer_was_lost_is_repeated_once(fake: FakeWebapp) -> None:
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
def test_kinds_of_refused_logins(fake: FakeWebapp, answer: t.Any, kind: str) -> None:
    fake.on("POST", "/v1/users/login", answer)
    time = Time()
    with pytest.raises(ApiError) as error_info:
        session(fake, time).log_in()
    assert (error_info.value.kind, time.pauses) == (kind, [])
    assert fake.paths() == ["POST /v1/users/login"]


def test_an_expired_token_does_not_count_as_an_expired_client(fake: FakeWebapp) -> None:
    fake.on("GET", "/v1/health", error(401, 1005, "Access denied", "client token has expired"), (200, {"health": {}}))
    assert session(fake).health()[0] == {}
    assert fake.logins == 2


def test_denied_and_expired_are_distinguished(fake: FakeWebapp) -> None:
    fake.on("PUT", GC, error(403, 1005, "Access denied"))
    fake.on("GET", "/v1/health", (200, {"health": {}}))
    with pytest.raises(ApiError) as error_info:
        session(fake).start_gc()
    assert error_info.value.kind == "denied"
    fake.on("GET", "/v1/health", error(403, 1005, "Access denied"))
    with pytest.raises(ApiError) as error_info:
        session(fake).start_gc()
    assert error_info.value.kind == "expired"
    fake.on("PUT", GC, error(403, 1005, "Access denied", "The client has expired"))
    with pytest.raises(ApiError) as error_info:
        session(fake).start_gc()
    assert error_info.value.kind == "expired"


def test_an_expired_client_also_refuses_the_login(fake: FakeWebapp) -> None:
    fake.on("POST", "/v1/users/login", error(403, 1005, "Access denied"))
    with pytest.raises(ApiError) as error_info:
        session(fake).health()
    assert error_info.value.kind == "expired"


def test_a_locked_account_is_recognised(fake: FakeWebapp) -> None:
    fake.locked = True
    with pytest.raises(ApiError) as error_info:
        session(fake).health()
    assert (error_info.value.kind, fake.logins) == ("locked", 1)


def test_a_required_first_login_is_recognised(fake: FakeWebapp) -> None:
    fake.fresh = True
    with pytest.raises(ApiError) as error_info:
        session(fake, api_password="secret").health()
    assert error_info.value.kind == "first_login"
    assert "run provision.yml with wa_api_password" in str(error_info.value)


@pytest.mark.parametrize(
    ("options", "trusted", "message"),
    [
        ({}, False, "not from a known authority"),
        ({"days": -1}, True, "has expired"),
        ({"subject": "DNS:other.lab"}, True, "another name"),
    ],
)
def test_certificate_errors_are_distinguished(
    tmp_path: Path, options: dict[str, t.Any], trusted: bool, message: str
) -> None:
    files = certificate(tmp_path, **options)
    server = FakeWebapp(files)
    try:
        with pytest.raises(ApiError, match=message) as error_info:
            session(server, api_ca_path=str(files[0]) if trusted else None).health()
        assert error_info.value.kind == "tls"
    finally:
        server.close()


def test_a_valid_certificate_and_a_missing_ca_file(tmp_path: Path) -> None:
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
            {"a:9dfe77618dba": "processing", "a node without a name": "failed: 1014, b:a9dcc716fd6e is down"},
        ),
        ({}, {"coreapp": "processing"}),
        ({"services": {"message": {"gc": None}}}, {"coreapp": "processing"}),
        ({"services": {"media": {"gc": {"status": "failed"}}}}, {"coreapp": "processing"}),
    ],
)
@pytest.mark.parametrize("status", [200, 201, 202])
def test_answers_to_start_gc(fake: FakeWebapp, body: dict[str, t.Any], nodes: dict[str, str], status: int) -> None:
    fake.on("PUT", GC, (status, body))
    assert session(fake).start_gc() == nodes


def test_an_invalid_url_is_refused(fake: FakeWebapp) -> None:
    with pytest.raises(WaError, match="api_url"):
        session(fake, api_url="127.0.0.1:9090")
