# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Classification of the API's errors: kind, whether retryable, and the fix."""

from __future__ import annotations

import socket
import ssl
import typing as t
from http.client import HTTPException

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._webapp import errors as api_errors
from ansible_collections.waba.onprem.plugins.module_utils._webapp.errors import (
    LOGIN,
    ApiError,
)

API = "client's API"


def reported(status: int, code: t.Any = 0, title: str = "", details: str = "", path: str = "/v1/health") -> ApiError:
    errors = [{"code": code, "title": title, "details": details}] if code or title or details else None
    return api_errors.reported(API, path, status, errors)


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        (reported(400, 1031), "locked", False),
        (reported(429, 1031, path=LOGIN), "locked", False),
        (reported(401, 1024, path=LOGIN), "first_login", False),
        (reported(429, 1024, path=LOGIN), "first_login", False),
        (reported(401, 0, "Password change required", path=LOGIN), "first_login", False),
        (reported(401, 0, "Change your password", path=LOGIN), "first_login", False),
        (reported(401, 0, "First login", path=LOGIN), "first_login", False),
        (reported(401, 1024, "Password change required"), "token", False),
        (reported(400, 1008, "Required parameter", "new_password", path=LOGIN), "first_login", False),
        (reported(400, 1008, "Required parameter", "new_password"), "other", False),
        (reported(401), "token", False),
        (reported(401, path=LOGIN), "login", False),
        (reported(401, 1005, "Access denied", "Wrong user name", path=LOGIN), "login", False),
        (reported(401, 1005, "Access denied", "The token has expired"), "token", False),
        (reported(401, 1005, "Access denied", "client version expired"), "expired", False),
        (reported(403, 1005, "", "The build has expired"), "expired", False),
        (reported(500, 1005, "Access denied", "media folder is not writable"), "media", False),
        (reported(403, 1005, "Access denied", path=LOGIN), "expired", False),
        (reported(403, 1005, "Access denied", "Invalid credentials", path=LOGIN), "login", False),
        (reported(403, 1005, "Access denied"), "denied", False),
        (reported(403), "denied", False),
        (reported(500, 1014, "Internal error", "Communication failure"), "coreapp", False),
        (reported(500, 1014, "Internal error", "Connection timed out"), "coreapp", True),
        (reported(500, 1014, "Internal error", "time-out"), "coreapp", True),
        (reported(500, 1014, "Internal error", "getaddrinfo failed"), "coreapp", True),
        (reported(500, 1014, "Internal error", "Connection refused"), "coreapp", True),
        (reported(500, 1000, "Generic error", "timed out"), "other", False),
        *((reported(500, code), "busy", True) for code in (1011, 1015, 1016, 1017, 1018)),
        (reported(500, "1016"), "busy", True),
        (reported(500, 1023, "Database error"), "database", True),
        (reported(500, 1023, "Database error", path="/v1/services/message/gc"), "other", False),
        (reported(500, 1023, "Database error", path=LOGIN), "database", True),
        (reported(429), "busy", True),
        (reported(503), "busy", True),
        (reported(502), "lost", False),
        (reported(504), "lost", False),
        (reported(500), "other", False),
        (reported(404, 1006, "Not found"), "other", False),
    ],
)
def test_errors_are_classified(error: ApiError, kind: str, retryable: bool) -> None:
    assert (error.kind, error.retryable) == (kind, retryable)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            reported(500, 1014, "Internal error", "down"),
            f"{API}: HTTP 500, code 1014, Internal error: down. Start the Coreapp and let the Webapp reach it",
        ),
        (reported(404, 1006), f"{API}: HTTP 404, code 1006."),
        (reported(404, details="none"), f"{API}: HTTP 404, none."),
        (
            reported(500),
            f"{API}: HTTP 500; expected the Webapp's own answer in JSON. See whether a proxy or load balancer is in between: "
            "api_url should be the Webapp's own address",
        ),
        (
            reported(503),
            f"{API}: HTTP 503; expected the Webapp's own answer in JSON. Try again when there is less traffic. See whether a "
            "proxy or load balancer is in between: api_url should be the Webapp's own address",
        ),
        (reported(401), f"{API}: HTTP 401. Give api_password for a new login"),
    ],
)
def test_the_message_contains_the_fix(error: ApiError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize("errors", [None, [], {}, "text", ["text"], [{"code": "x"}], [{"code": "²"}], [{}]])
def test_invalid_errors_count_as_a_bare_status(errors: t.Any) -> None:
    error = api_errors.reported(API, "/v1/health", 500, errors)
    assert (error.found, error.status, error.code, error.bare) == ("HTTP 500", 500, 0, True)


def test_an_error_with_a_code_is_not_bare() -> None:
    assert not reported(500, 1014).bare
    assert reported(401).bare


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (reported(500, 1000, "Generic"), "other"),
        (reported(500), "lost"),
        (reported(502), "lost"),
        (reported(503), "busy"),
        (reported(404), "other"),
        (reported(401), "token"),
    ],
)
def test_a_refused_gc_is_classified(error: ApiError, kind: str) -> None:
    refusal = api_errors.gc_refusal(error)
    assert (refusal.kind, refusal.found, refusal.status) == (kind, error.found, error.status)


def test_a_refused_gc_of_a_proxy_mentions_the_proxy() -> None:
    assert str(api_errors.gc_refusal(reported(500))) == (
        f"{API}: HTTP 500; expected the Webapp's own answer in JSON. Look into the Webapp's log, or raise api_timeout. See "
        "whether a proxy or load balancer is in between: api_url should be the Webapp's own address"
    )


@pytest.mark.parametrize(
    ("form", "kind", "found"),
    [
        ("torn", "lost", "HTTP 200 with a body that was cut off"),
        ("foreign", "other", "HTTP 200 with a body that is no JSON, so it is not the client's"),
    ],
)
def test_a_body_that_is_no_success(form: str, kind: str, found: str) -> None:
    error = api_errors.no_success(API, 200, form)
    assert error is not None
    assert (error.kind, error.found, error.status, error.sent) == (kind, found, 200, True)
    assert ("proxy" in error.cure) is (form == "foreign")


@pytest.mark.parametrize("form", ["json", "empty"])
def test_a_valid_or_empty_body_is_a_success(form: str) -> None:
    assert api_errors.no_success(API, 200, form) is None


def refused_certificate(number: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "verify failed")
    error.verify_code, error.verify_message = number, message
    return error


TLS_FIX = "Have the host trust the authority of the Webapp's certificate"
START = "Start the Webapp, or set api_url to where the host reaches it"
LOG = "Look into the Webapp's log, or raise api_timeout"


@pytest.mark.parametrize("status", [429, 503])
def test_a_login_refused_as_busy_may_be_locked(status: int) -> None:
    locked = reported(status, 1015, "Too many requests", path=LOGIN)
    assert (locked.kind, locked.retryable) == ("busy", True)
    assert str(locked).endswith("lock of this account or address: wait some minutes, then use the right password")
    assert str(reported(status, 1015, "Too many requests")).endswith("Try again when there is less traffic")


@pytest.mark.parametrize(
    ("error", "kind", "sent", "found", "fix"),
    [
        (
            refused_certificate(10, "expired"),
            *("tls", False, "its certificate has expired (expired)", "Renew the Webapp's certificate"),
        ),
        *(
            (
                refused_certificate(number, "mismatch"),
                *("tls", False, "its certificate is for another name (mismatch)"),
                "Set api_url to a name in the certificate; one that has no name but its common name serves for none: give the "
                "Webapp another certificate, or set api_validate_certs to false",
            )
            for number in (62, 64)
        ),
        (
            refused_certificate(18, "self-signed"),
            *("tls", False, "its certificate is not from a known authority (self-signed)", TLS_FIX),
        ),
        (ssl.SSLError(1, "wrong version"), "tls", False, "TLS failed: wrong version", TLS_FIX),
        (ssl.SSLEOFError(8, "EOF occurred"), "unreachable", False, "TLS failed: EOF occurred", START),
        (ssl.SSLZeroReturnError(6, "closed"), "unreachable", False, "TLS failed: closed", START),
        (TimeoutError(), "lost", True, "no answer within 2.5 s", LOG),
        (OSError("The read operation timed out"), "lost", True, "no answer within 2.5 s", LOG),
        (
            ConnectionRefusedError(111, "Connection refused"),
            *("unreachable", False, "not reachable: [Errno 111] Connection refused", START),
        ),
        (
            socket.gaierror(-2, "Name or service not known"),
            *("unreachable", False, "not reachable: [Errno -2] Name or service not known", START),
        ),
        (OSError(113, "No route to host"), "unreachable", False, "not reachable: [Errno 113] No route to host", START),
        (ConnectionResetError(), "lost", True, "connection lost: ConnectionResetError", LOG),
        (HTTPException("Remote end\n closed"), "lost", True, "connection lost: Remote end closed", LOG),
    ],
)
def test_a_missing_answer_is_classified_by_whether_the_call_may_have_arrived(
    error: Exception, kind: str, sent: bool, found: str, fix: str
) -> None:
    lost = api_errors.silence(API, error, 2.5)
    assert (lost.kind, lost.sent, lost.found, lost.cure) == (kind, sent, found, fix)
    assert (lost.status, lost.retryable) == (0, False)
