# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls the client's HTTPS API; the only adapter for it: login, errors by code, retries, and the calls in use.

A wrong login is never repeated (the client locks the account). A token is used for the lifetime of the object; after a 401
to any other request a new one is requested once.
"""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import time
import typing as t
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import urlsplit

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.image_reference import without_v
from ansible_collections.waba.onprem.plugins.module_utils._core.units import parse_duration
from ansible_collections.waba.onprem.plugins.module_utils._webapp.answers import (
    SINGLE,
    check_password,
    gc_nodes,
    metrics,
    parse_body,
    started_gc,
)
from ansible_collections.waba.onprem.plugins.module_utils._webapp.errors import (
    LOGIN,
    OWN_ANSWER,
    PROXY_CURE,
    ApiError,
    gc_refusal,
    no_success,
    reported,
    silence,
)

__all__ = ["ARGUMENT_SPEC", "FIRST_PASSWORD", "Answer", "ApiError", "Webapp", "check_password", "metrics"]

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "api_url": {"type": "str", "default": "https://127.0.0.1:9090"},
    "api_password": {"type": "str", "no_log": True},
    "api_key": {"type": "str", "no_log": True},
    "api_ca_path": {"type": "path"},
    "api_validate_certs": {"type": "bool", "default": True},
    "api_timeout": {"type": "str", "default": "30s"},
}

USER = "admin"  # domain: who alone may call message GC and settings backups
FIRST_PASSWORD = "secret"  # domain: the initial password of a new client
_T = t.TypeVar("_T")
_LONGEST_PAUSE = 30.0
_GATEWAY = (502, 503, 504)  # a proxy's status for an unreachable backend
_MOST_TIMES = 4  # maximum time of a health request as a multiple of `api_timeout`
_LOST = 3  # number of retries after a lost answer


class Answer(t.NamedTuple):
    """A successful answer: HTTP status, body, the client's version without `v` (empty if unknown), the body's form."""

    status: int
    body: dict[str, t.Any]
    version: str
    form: str


class Webapp:
    """A session with one Webapp. Every call raises ApiError, whose text contains no credential."""

    def __init__(
        self,
        params: t.Mapping[str, t.Any],
        retry_time: float = 60.0,
        sleep: t.Callable[[float], None] = time.sleep,
        clock: t.Callable[[], float] = time.monotonic,
    ) -> None:
        """Uses a module's `api_*` options. `retry_time` are the seconds during which retryable failures are retried."""
        self.url = str(params["api_url"]).rstrip("/")
        # urllib would send credentials in the address instead of ours, and messages contain the address.
        if "@" in self.url:
            cure = "Use api_password"
            raise WaError("api_url", "it holds a user name or a password", "https://host:port", cure)
        try:
            self._place = urlsplit(self.url)
            is_address = (
                self._place.scheme in ("http", "https") and bool(self._place.hostname) and self._place.port != 0
            )
        except ValueError:  # a port that is no number
            is_address = False
        if not is_address:
            raise WaError("api_url", f"{self.url!r} is no address", "https://host:port")
        self.retry_time = retry_time
        self.token: str | None = None  # a secret
        self._password: str | None = params["api_password"]
        self._key: str | None = params.get("api_key")
        self._ca_path: str | None = params["api_ca_path"]
        self._validate: bool = params["api_validate_certs"]
        self._timeout = parse_duration("api_timeout", params["api_timeout"])
        self._health_timeout = self._timeout
        if self._ca_path:
            try:
                files.open_regular(self._ca_path).close()
            except OSError as error:
                raise ApiError(
                    f"api_ca_path {self._ca_path}", error.strerror or "not readable", "tls", sent=False
                ) from None
        self._sleep = sleep
        self._clock = clock

    # Requests

    def call(self, method: str, path: str, body: t.Any = None, *, again: bool = True) -> Answer:
        """Sends one request with a token; with `again` retryable codes are retried for `retry_time` seconds.

        A request whose answer was lost is repeated, too.
        """

        def once() -> Answer:
            self._have_token()
            return self._send(method, path, body, self._bearer())

        return self._retry(once, path, self.retry_time if again else 0.0, _LOST)

    def log_in(self) -> None:
        """Ensures a token; retried while the Webapp is starting or overloaded, never after a refused login."""
        # A login whose answer was lost may have been wrong: it is repeated only once, so that the account is not locked.
        self._retry(self._have_token, LOGIN, self.retry_time, 1)

    def log_out(self) -> None:
        """Ends the session; otherwise each login leaves a row in the client's database for 7 days."""
        if self.token:
            with contextlib.suppress(ApiError):  # the session expires by itself
                self._send("POST", "/v1/users/logout", None, self._bearer())
            self.token = None

    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def _have_token(self) -> None:
        if not self.token:
            self.login()

    def _retry(self, once: t.Callable[[], _T], path: str, retry_time: float, lost: int) -> _T:
        """Calls `once` until it succeeds, fails finally, `retry_time` seconds are over, or `lost` answers were lost."""
        end = self._clock() + retry_time
        pause = 1.0
        renewed = False
        while True:
            try:
                return once()
            except ApiError as error:
                if error.kind == "token" and not renewed and self._password:
                    # Tokens expire after 7 days, and when the password is changed.
                    self.token, renewed = None, True
                    continue
                if error.kind == "denied" and self._expired(path):
                    error = ApiError(error.subject, error.found, "expired", status=error.status, code=error.code)
                absent = error.kind == "unreachable" and not error.sent
                if error.kind == "lost" and lost > 0:
                    lost, absent = lost - 1, True
                if not (error.retryable or absent) or self._clock() + pause > end:
                    raise error from None
            self._sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def login(self, password: str | None = None, new_password: str | None = None) -> None:
        """Requests a token with the password, once; `new_password` completes the first login."""
        password = self._password if password is None else password
        if not password:
            raise WaError("api_password", "not given", f"the password of API user {USER}")
        pair = base64.b64encode(f"{USER}:{password}".encode()).decode()
        body = {"new_password": new_password} if new_password else None
        answer = self._send("POST", LOGIN, body, {"Authorization": f"Basic {pair}"})
        try:
            self.token = str(answer.body["users"][0]["token"])
        except (KeyError, IndexError, TypeError):
            raise ApiError(
                self._subject("POST", LOGIN),
                f"HTTP {answer.status} with a body that holds no token",
                "other",
                status=answer.status,
                expected=OWN_ANSWER,
                cure=PROXY_CURE,
            ) from None

    def _subject(self, method: str, path: str) -> str:
        return f"API {self.url}: {method} {path}"

    def _expired(self, path: str) -> bool:
        """Returns whether the health request is denied, too: an expired client answers 1005 to all requests."""
        if path == "/v1/health":
            return True
        try:
            self._send("GET", "/v1/health", None, self._bearer())
        except ApiError as error:
            return error.code == 1005
        return False

    def _send(
        self, method: str, path: str, body: t.Any, headers: dict[str, str], timeout: float | None = None
    ) -> Answer:
        subject = self._subject(method, path)
        data = None if body is None else json.dumps(body)
        accepted = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "waba.onprem"}
        try:
            with contextlib.closing(self._connection(timeout or self._timeout)) as connection:
                connection.request(method, self._place.path + path, data, {**headers, **accepted})
                answer = connection.getresponse()
                if 200 <= answer.status < 300:
                    return self._answer(subject, answer.status, answer.read())
                raise _refusal(subject, path, answer)
        except (HTTPException, OSError) as error:
            raise silence(subject, error, timeout or self._timeout) from None
        except ValueError:  # its text has the header
            raise ApiError(
                "api_key", "it holds a line end, or a character that no header may hold", "key", sent=False
            ) from None

    def _connection(self, timeout: float) -> HTTPConnection:
        """Returns a connection that is not open yet. Python's own client knows no proxy, redirect or ~/.netrc, which would get the token."""
        host, port = self._place.hostname or "", self._place.port
        if self._place.scheme == "http":
            return HTTPConnection(host, port, timeout=timeout)
        return HTTPSConnection(host, port, timeout=timeout, context=self._tls)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        if self._validate:
            return ssl.create_default_context(cafile=self._ca_path)
        # Without the host's authorities, whose loading takes longer than a call.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def _answer(self, subject: str, status: int, raw: bytes) -> Answer:
        body, form = parse_body(raw)
        meta = body.get("meta")
        version = without_v(str(meta.get("version") or "")) if isinstance(meta, dict) else ""
        errors = body.get("errors")
        if errors and not body.get("services"):
            raise reported(subject, "", status, errors)
        return Answer(status, body, version, form)

    # Calls

    def answers(self) -> bool:
        """Checks without a credential that the Webapp answers HTTP. Raises ApiError if it does not.

        A proxy's error about an unreachable backend does not count as an answer.
        """
        try:
            self._send("GET", "/v1/health", None, {})
        except ApiError as error:
            if not error.status or error.status in _GATEWAY:
                raise
        return True

    def health(self, again: bool = True) -> tuple[dict[str, t.Any], str]:
        """Returns the `health` part of `/v1/health` and the client's version.

        With `api_key` without a login. A Webapp waits 10 seconds and more for each node that does not answer (domain 10): after a time-out the next request
        gets twice the time, up to four times `api_timeout`.
        """

        def once() -> Answer:
            try:
                return self._observe("/v1/health", self._health_timeout)
            except ApiError as error:
                if error.found.startswith("no answer"):
                    self._health_timeout = min(self._health_timeout * 2, self._timeout * _MOST_TIMES)
                raise

        answer = self._retry(once, "/v1/health", self.retry_time if again else 0.0, _LOST)
        health = answer.body.get("health")
        return (health if isinstance(health, dict) else {}), answer.version

    def stats(self, again: bool = True) -> list[tuple[str, dict[str, str], float]]:
        """Returns the metrics of `/v1/stats/app`, which are in memory and safe to poll (unlike `/v1/stats/db`). As `health` without a login."""
        path = "/v1/stats/app"
        answer = self._retry(lambda: self._observe(path), path, self.retry_time if again else 0.0, _LOST)
        return metrics(answer.body)

    def support(self) -> dict[str, t.Any]:
        """Returns what each node says of itself in `/v1/support`, by its name; a single client's node is called `coreapp`."""
        found = self.call("GET", "/v1/support", again=False).body.get("support")
        if not isinstance(found, dict):
            return {}
        return {SINGLE: found} if "schema" in found or "expire_timestamp" in found else found

    def _observe(self, path: str, timeout: float | None = None) -> Answer:
        """Sends a GET request with the key where there is one, which is for monitoring only; else with a token."""
        if not self._key:
            self._have_token()
        headers = {"Authorization": f"Apikey {self._key}"} if self._key else self._bearer()
        try:
            return self._send("GET", path, None, headers, timeout)
        except ApiError as error:
            if self._key and error.kind == "token":
                raise ApiError(error.subject, error.found, "key", status=error.status, code=error.code) from None
            raise

    def start_gc(self) -> dict[str, str]:
        """Starts GC of messages. Returns the status by node; a single client's node is called `coreapp`.

        Not repeated after a lost answer (`lost` and `sent`: GC may have started), nor if an answer with any HTTP status names
        a node that has started. A failed node is in the result with the text of its failure.
        """
        path = "/v1/services/message/gc"

        def once() -> dict[str, str]:
            self._have_token()
            try:
                answer = self._send("PUT", path, None, self._bearer())
            except ApiError as error:
                if not started_gc(error.body):
                    raise gc_refusal(error) from None
                return gc_nodes(error.body)
            failure = no_success(self._subject("PUT", path), answer.status, answer.form)
            if failure:
                raise failure
            return gc_nodes(answer.body)

        return self._retry(once, path, self.retry_time, 0)

    def application(self) -> dict[str, t.Any]:
        """Returns the application settings (administrators only)."""
        settings = self.call("GET", "/v1/settings/application").body.get("settings")
        found = settings.get("application", settings) if isinstance(settings, dict) else {}
        return found if isinstance(found, dict) else {}

    def set_application(self, change: dict[str, t.Any]) -> None:
        """Changes application settings; others are kept."""
        self.call("PATCH", "/v1/settings/application", change)

    def backup(self, password: str) -> str:
        """Returns the settings and the registration (without messages), encrypted with `password`."""
        data = self.call("POST", "/v1/settings/backup", {"password": password}).body.get("settings")
        text = data.get("data") if isinstance(data, dict) else None
        if not isinstance(text, str) or not text:
            raise ApiError(self._subject("POST", "/v1/settings/backup"), "the answer holds no backup", "other")
        return text


def _refusal(subject: str, path: str, answer: HTTPResponse) -> ApiError:
    try:
        body, form = parse_body(answer.read())
    except (HTTPException, OSError):
        body, form = {}, "torn"
    refused = reported(subject, path, answer.status, body.get("errors") or [])
    refused.body, refused.form = body, form
    return refused
