# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API client when a proxy or load balancer answers: pages, empty bodies, redirects, long waits."""

from __future__ import annotations

import json
import typing as t
from http.server import BaseHTTPRequestHandler

import pytest
from fake_webapp import META, FakeWebapp
from webapp_session import GC, Time, session

from ansible_collections.waba.onprem.plugins.module_utils._webapp.client import ApiError

PAGE = b"<html><body>Bad gateway</body></html>"
TIMED_OUT = {
    "code": 1014,
    "title": "Internal error",
    "details": "Connection timed out. Please check if wacore is running",
}


class Reply(t.NamedTuple):
    """A raw answer."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class BareWebapp(FakeWebapp):
    """Returns raw answers to PUT requests."""

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake, usual = self, super()._handler()

        class Handler(usual):  # type: ignore[misc,valid-type]
            def do_PUT(self) -> None:
                reply = fake.answer(self.command, self.path, None, self.headers.get("Authorization") or "")
                self.send_response(reply[0])
                for name, value in reply[2]:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply[1])))
                self.end_headers()
                self.wfile.write(reply[1])

        return Handler


@pytest.fixture
def bare() -> t.Iterator[BareWebapp]:
    server = BareWebapp()
    yield server
    server.close()


def gc_answer(gc: t.Any, status: int = 500, errors: t.Any = None) -> Reply:
    body = {"meta": META, "services": {"message": {"gc": gc}}, **({"errors": errors} if errors else {})}
    return Reply(status, json.dumps(body).encode())


def calls(bare: FakeWebapp) -> int:
    return bare.paths().count(f"PUT {GC}")


def refused(bare: FakeWebapp, *replies: t.Any, time: Time | None = None) -> ApiError:
    bare.on("PUT", GC, *replies)
    with pytest.raises(ApiError) as error_info:
        session(bare, time).start_gc()
    return error_info.value


# An error status, although GC started


@pytest.mark.parametrize("status", [400, 401, 403, 409, 429, 500, 502, 503, 504])
def test_an_error_that_names_a_started_node_counts_as_started(bare: BareWebapp, status: int) -> None:
    bare.on("PUT", GC, gc_answer({"a:9dfe77618dba": {"status": "processing"}}, status, [TIMED_OUT]))
    time = Time()
    message = "1014, Internal error, Connection timed out. Please check if wacore is running"
    assert session(bare, time).start_gc() == {
        "a:9dfe77618dba": "processing",
        "a node without a name": f"failed: {message}",
    }
    assert (calls(bare), time.pauses) == (1, [])


@pytest.mark.parametrize(
    ("gc", "nodes"),
    [
        (
            {"a:1": {"status": "processing"}, "b:2": {"errors": [{"code": 1014, "details": "down"}]}},
            {"a:1": "processing", "b:2": "failed: 1014, down"},
        ),
        ({"status": "processing"}, {"coreapp": "processing"}),
    ],
)
def test_failed_nodes_have_their_messages(bare: BareWebapp, gc: t.Any, nodes: dict[str, str]) -> None:
    bare.on("PUT", GC, gc_answer(gc, 500))
    assert session(bare).start_gc() == nodes


def test_an_error_without_a_started_node_stays_an_error(bare: BareWebapp) -> None:
    failed = {"a:1": {"status": "failed"}, "b:2": {"errors": [TIMED_OUT]}}
    time = Time()
    error = refused(bare, gc_answer(failed, 500, [TIMED_OUT]), time=time)
    assert error.kind == "coreapp"
    assert len(time.pauses) > 1  # a timeout without a started node is retried


# Lost answers


@pytest.mark.parametrize("status", [500, 501, 502, 504, 520])
@pytest.mark.parametrize("body", [PAGE, b"", b'{"message": "upstream"}', b'{"errors": []}', b'{"errors": [{"co'])
def test_a_5xx_of_a_proxy_counts_as_a_lost_answer(bare: BareWebapp, status: int, body: bytes) -> None:
    error = refused(bare, Reply(status, body))
    assert (error.kind, error.sent, error.status, calls(bare)) == ("lost", True, status, 1)
    assert "proxy" in str(error)


@pytest.mark.parametrize("body", [b"", b"null", PAGE, b'{"errors": [{"code": 1016}]}'])
def test_an_overloaded_client_is_retried(bare: BareWebapp, body: bytes) -> None:
    bare.on("PUT", GC, Reply(503, body), gc_answer({"status": "processing"}, 200))
    assert session(bare).start_gc() == {"coreapp": "processing"}
    assert calls(bare) == 2


def test_other_calls_than_gc_are_not_lost(bare: BareWebapp) -> None:
    bare.on("PUT", "/v1/messages/x", Reply(500, PAGE))
    with pytest.raises(ApiError) as error_info:
        session(bare).call("PUT", "/v1/messages/x")
    assert error_info.value.kind == "other"


# No success


@pytest.mark.parametrize("status", [200, 202])
@pytest.mark.parametrize("body", [PAGE, b"OK", b"\xff\xfe"])
def test_a_page_is_no_success(bare: BareWebapp, status: int, body: bytes) -> None:
    error = refused(bare, Reply(status, body))
    assert (error.kind, error.retryable, calls(bare)) == ("other", False, 1)
    assert f"HTTP {status} with a body that is no JSON" in error.found
    assert "proxy" in error.cure


def test_a_truncated_body_counts_as_a_lost_answer(bare: BareWebapp) -> None:
    error = refused(bare, Reply(200, b'{"services":{"mess'))
    assert (error.kind, error.sent, calls(bare)) == ("lost", True, 1)


@pytest.mark.parametrize("body", [b"", b" \r\n", b"null", b"{}", b"[]", b"\xef\xbb\xbf{}"])
def test_an_empty_answer_is_a_success(bare: BareWebapp, body: bytes) -> None:
    bare.on("PUT", GC, Reply(200, body))
    assert session(bare).start_gc() == {"coreapp": "processing"}


# Messages


@pytest.mark.parametrize("status", [404, 403, 405, 429, 500, 503])
def test_a_bare_status_has_an_expectation_and_a_fix(bare: BareWebapp, status: int) -> None:
    text = str(refused(bare, Reply(status, b"" if status == 503 else PAGE)))
    assert f"HTTP {status}; expected the Webapp's own answer in JSON. " in text
    assert "proxy or load balancer" in text
    assert "api_url should be the Webapp's own address" in text


def test_an_error_of_the_client_does_not_mention_a_proxy(bare: BareWebapp) -> None:
    assert "proxy" not in str(refused(bare, Reply(500, b'{"errors": [{"code": 1000, "title": "Generic"}]}')))
    assert "proxy" not in str(refused(bare, Reply(401)))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(bare: BareWebapp, status: int) -> None:
    headers = (("Location", "https://me:hush@sso.lab:8443/log/in;sid=hush?token=hush#hush"),)
    error = refused(bare, Reply(status, PAGE, headers))
    assert error.found == f"HTTP {status}"
    assert "hush" not in str(error)
    assert ("api_url" in error.cure, error.retryable, calls(bare)) == (True, False, 1)
