# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that speaks to the client's HTTPS API: login, errors by code, retries, and the calls that we use.

One wrong login is never repeated (the client locks the account), a token serves as long as the object lives, and a
401 to anything but a login asks for a new one once.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import time
import typing as t
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import quote

from ansible.module_utils.urls import ConnectionError as AnsibleConnectionError
from ansible.module_utils.urls import open_url

from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._units import parse_duration

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "api_url": {"type": "str", "default": "https://127.0.0.1:9090"},
    "api_username": {"type": "str", "default": "admin"},
    "api_password": {"type": "str", "no_log": True},
    "api_token": {"type": "str", "no_log": True},
    "api_ca_path": {"type": "path"},
    "api_validate_certs": {"type": "bool", "default": True},
    "api_timeout": {"type": "str", "default": "30s"},
}

SINGLE = "coreapp"
FIRST_PASSWORD = "secret"  # domain: what a client that was never logged in to has
_RETRY_CODES = (1011, 1015, 1016, 1017, 1018)  # domain: worth retrying whatever the text
_RETRY_STATUS = (429, 503)
_LOGIN = "/v1/users/login"
_T = t.TypeVar("_T")
_LONGEST_PAUSE = 30.0
_TLS_CURE = "Set api_ca_path to the authority of the Webapp's certificate"

_CURES = {
    "unreachable": "Start the Webapp, or set api_url to where the host reaches it",
    "lost": "Look into the Webapp's log, or raise api_timeout",
    "tls": _TLS_CURE,
    "login": "Correct api_username and api_password (repeated wrong logins lock the account, 1031); a client that was never"
    " logged in to needs its first login completed: wa_webapp, operation first_login",
    "locked": "Wait until the lock ends, then use the right password",
    "first_login": "Complete the first login: give wa_webapp operation first_login an api_new_password",
    "expired": "The client's build has expired: upgrade it (a build lives about 180 days)",
    "denied": "Use an API user that is an administrator",
    "media": "Let the containers write the media volume (role wa_media_volume)",
    "coreapp": "Start the Coreapp and let the Webapp reach it",
    "busy": "Try again when there is less traffic",
    "token": "Give api_password for a new login, or a token that is still valid",
    "other": "",
}


class ApiError(WaError):
    """A failure of the API; `kind` tells which, `status` is the HTTP code (0: no answer), `code` the client's own.

    `sent` is false when the request surely never reached the client.
    """

    def __init__(
        self, subject: str, found: str, kind: str, *, status: int = 0, code: int = 0, sent: bool = True, cure: str = ""
    ) -> None:
        super().__init__(subject, found, cure=cure or _CURES[kind])
        self.kind = kind
        self.status = status
        self.code = code
        self.sent = sent
        self.retry_after = 0.0

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed a little later by the client's own table of codes."""
        if self.kind in ("expired", "denied", "login", "locked", "first_login", "media"):
            return False
        timed_out = self.code == 1014 and re.search(r"time[d -]*out", self.found, re.IGNORECASE) is not None
        return self.code in _RETRY_CODES or self.status in _RETRY_STATUS or timed_out


class Answer(t.NamedTuple):
    """A good answer: the HTTP status, the body, and the client's version without `v` (empty when not told)."""

    status: int
    body: dict[str, t.Any]
    version: str


def judge_password(password: str) -> list[str]:
    """What a new API password lacks by the client's rule; empty when it is good."""
    rules = (
        (8 <= len(password) <= 64, "8 to 64 characters"),
        (re.search(r"\d", password), "a digit"),
        (re.search(r"[A-Z]", password), "an upper-case letter"),
        (re.search(r"[a-z]", password), "a lower-case letter"),
        (re.search(r"[^A-Za-z0-9]", password), "a special character"),
    )
    return [rule for good, rule in rules if not good]


def metrics(body: t.Any) -> list[tuple[str, dict[str, str], float]]:
    """The figures in an answer of `/v1/stats/...` as (name, labels, value), however deep they are nested.

    A figure is `"name": {"data": [{"labels": {}, "value": 1}]}` or plainly `"name": 1`.
    """
    found: list[tuple[str, dict[str, str], float]] = []
    for name, item in body.items() if isinstance(body, dict) else ():
        if name == "meta":
            continue
        if isinstance(item, (int, float)) and not isinstance(item, bool):
            found.append((name, {}, float(item)))
        elif isinstance(item, dict) and isinstance(item.get("data"), list):
            for row in item["data"]:
                if isinstance(row, dict) and isinstance(row.get("value"), (int, float)):
                    labels = {str(key): str(value) for key, value in (row.get("labels") or {}).items()}
                    found.append((str(item.get("name") or name), labels, float(row["value"])))
        else:
            found += metrics(item)
    return found


class Webapp:
    """A session with one Webapp. Every call raises ApiError; no text of one holds a credential."""

    def __init__(
        self,
        params: t.Mapping[str, t.Any],
        patience: float = 60.0,
        sleep: t.Callable[[float], None] = time.sleep,
        clock: t.Callable[[], float] = time.monotonic,
    ) -> None:
        """Use a module's `api_*` options. `patience`: seconds during which a retryable failure is tried again."""
        self.url = str(params["api_url"]).rstrip("/")
        if not re.match(r"https?://", self.url):
            raise WaError("api_url", f"{self.url!r} is no address", "https://host:port")
        self.username: str = params["api_username"] or "admin"
        self.patience = patience
        self.retries = 0
        self._password: str | None = params["api_password"]
        self._token: str | None = params["api_token"]
        self._ca_path: str | None = params["api_ca_path"]
        self._validate: bool = params["api_validate_certs"]
        self._timeout = parse_duration("api_timeout", params["api_timeout"])
        if self._ca_path:
            try:
                with open(self._ca_path, "rb"):
                    pass
            except OSError as error:
                raise ApiError(
                    f"api_ca_path {self._ca_path}", error.strerror or "not readable", "tls", sent=False
                ) from None
        self._sleep = sleep
        self._clock = clock

    # Requests

    def call(self, method: str, path: str, body: t.Any = None, *, again: bool = True) -> Answer:
        """One request with a token, retried by the client's table of codes while `patience` lasts (`again`)."""

        def once() -> Answer:
            self._have_token()
            return self._send(method, path, body, {"Authorization": f"Bearer {self._token}"})

        return self._patiently(once, path, self.patience if again else 0.0)

    def log_in(self) -> None:
        """Have a token; a Webapp that starts or is overloaded is asked again, a refused login never."""
        self._patiently(self._have_token, _LOGIN, self.patience)

    def _have_token(self) -> None:
        if not self._token:
            self.login()

    def _patiently(self, once: t.Callable[[], _T], path: str, patience: float) -> _T:
        """Call `once` until it succeeds, fails for good, or `patience` seconds are over."""
        end = self._clock() + patience
        pause = 1.0
        renewed = False
        while True:
            try:
                return once()
            except ApiError as error:
                if error.kind == "token" and not renewed and self._password:
                    # Tokens end after 7 days, and all of them when the password is changed.
                    self._token, renewed = None, True
                    continue
                if error.kind == "denied" and self._expired(path):
                    error = ApiError(error.subject, error.found, "expired", status=error.status, code=error.code)
                pause_now = min(max(pause, error.retry_after), _LONGEST_PAUSE)
                absent = error.kind == "unreachable" and not error.sent
                if not (error.retryable or absent) or self._clock() + pause_now > end:
                    raise error from None
            self.retries += 1
            self._sleep(pause_now)
            pause *= 2

    def login(self, password: str | None = None, new_password: str | None = None) -> None:
        """Get a token with the password, once; `new_password` completes the first login."""
        password = self._password if password is None else password
        if not password:
            raise WaError("api_password", "not given", "the API user's password, or api_token")
        pair = base64.b64encode(f"{self.username}:{password}".encode()).decode()
        body = {"new_password": new_password} if new_password else None
        answer = self._send("POST", _LOGIN, body, {"Authorization": f"Basic {pair}"})
        try:
            self._token = str(answer.body["users"][0]["token"])
        except (KeyError, IndexError, TypeError):
            raise ApiError(
                self._subject("POST", _LOGIN), "the answer holds no token", "other", status=answer.status
            ) from None

    def _subject(self, method: str, path: str) -> str:
        return f"API {self.url}: {method} {path}"

    def _expired(self, path: str) -> bool:
        """Whether even the health is denied: an expired client answers 1005 to everything, an administrator's call only to others."""
        if path == "/v1/health":
            return True
        try:
            self._send("GET", "/v1/health", None, {"Authorization": f"Bearer {self._token}"})
        except ApiError as error:
            return error.code == 1005
        return False

    def _send(self, method: str, path: str, body: t.Any, headers: dict[str, str]) -> Answer:
        subject = self._subject(method, path)
        data = None if body is None else json.dumps(body)
        try:
            answer = open_url(
                self.url + path,
                data=data,
                method=method,
                headers={**headers, "Accept": "application/json", "Content-Type": "application/json"},
                timeout=self._timeout,
                validate_certs=self._validate,
                ca_path=self._ca_path,
                # The Webapp is on the premises; and a redirect must not carry the token elsewhere.
                use_proxy=False,
                follow_redirects="none",
                http_agent="waba.onprem",
            )
            with answer:
                return self._answer(subject, answer.getcode(), answer.read())
        except HTTPError as error:
            with error:
                raise self._refusal(subject, path, error) from None
        except (URLError, AnsibleConnectionError, HTTPException, OSError, ValueError) as error:
            raise self._silence(subject, error) from None

    @staticmethod
    def _parse(raw: bytes) -> dict[str, t.Any]:
        """The body as a dictionary; anything else (empty, null, HTML of a proxy) is an empty one."""
        try:
            body = json.loads(raw or b"null")
        except ValueError:
            return {}
        return body if isinstance(body, dict) else {}

    def _answer(self, subject: str, status: int, raw: bytes) -> Answer:
        body = self._parse(raw)
        meta = body.get("meta")
        version = str(meta.get("version") or "").lstrip("vV") if isinstance(meta, dict) else ""
        errors = body.get("errors")
        if errors and not body.get("services"):
            raise self._told(subject, "", status, errors)
        return Answer(status, body, version)

    def _refusal(self, subject: str, path: str, error: HTTPError) -> ApiError:
        try:
            body = self._parse(error.read())
        except (HTTPException, OSError):
            body = {}
        refused = self._told(subject, path, error.code, body.get("errors") or [])
        after = (error.headers.get("Retry-After") or "") if error.headers else ""
        refused.retry_after = float(after) if after.isdigit() else 0.0
        return refused

    def _told(self, subject: str, path: str, status: int, errors: t.Any) -> ApiError:
        """The failure that the client told by HTTP status and `errors`."""
        first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
        code = first.get("code") if isinstance(first.get("code"), int) else 0
        words = ": ".join(str(first[key]) for key in ("title", "details") if first.get(key))
        found = f"HTTP {status}" + (f", code {code}" if code else "") + (f", {words}" if words else "")
        login = path == _LOGIN
        kind = "other"
        if code == 1031:
            kind = "locked"
        elif login and re.search(r"new.?password|first.?login|change.*password", words, re.IGNORECASE):
            kind = "first_login"
        elif code == 1005 and re.search(
            r"(client|build|version|software).*expire|expire.*(client|build|version)", words, re.IGNORECASE
        ):
            kind = "expired"
        elif code == 1005 and re.search(r"media|writ|permission", words, re.IGNORECASE):
            kind = "media"
        elif status == 401:
            kind = "login" if login else "token"
        elif code == 1005 and login:
            kind = "expired"  # a wrong password is a 401
        elif code == 1005 or status == 403:
            kind = "denied"
        elif code == 1014:
            kind = "coreapp"
        elif code in _RETRY_CODES or status in _RETRY_STATUS:
            kind = "busy"
        return ApiError(subject, found, kind, status=status, code=code or 0)

    def _silence(self, subject: str, error: Exception) -> ApiError:
        """The failure when no answer came."""
        reason = getattr(error, "reason", None) or error
        text = " ".join(str(reason).split()) or type(reason).__name__
        if isinstance(reason, ssl.SSLCertVerificationError):
            number = reason.verify_code
            cure = _TLS_CURE
            if number == 10:
                text, cure = f"its certificate has expired ({reason.verify_message})", "Renew the Webapp's certificate"
            elif number in (62, 64):
                text, cure = (
                    f"its certificate is for another name ({reason.verify_message})",
                    "Set api_url to a name in the certificate",
                )
            else:
                text = f"its certificate is not from a known authority ({reason.verify_message})"
            return ApiError(subject, text, "tls", sent=False, cure=cure)
        if isinstance(reason, ssl.SSLError) or "CERTIFICATE_VERIFY" in text:
            # A socket that closes in the handshake is a Webapp that stops or starts, not a bad certificate.
            ended = isinstance(reason, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
            return ApiError(subject, f"TLS failed: {text}", "unreachable" if ended else "tls", sent=False)
        if isinstance(reason, (TimeoutError,)) or "timed out" in text:
            return ApiError(subject, f"no answer within {self._timeout:g} s", "lost")
        if isinstance(reason, (ConnectionRefusedError,)) or re.search(
            r"refused|resol|not known|unreachable|No route", text
        ):
            return ApiError(subject, f"not reachable: {text}", "unreachable", sent=False)
        return ApiError(subject, f"connection lost: {text}", "lost")

    # Calls

    def answers(self) -> bool:
        """Whether the Webapp speaks HTTP at all, asked without a credential; raises ApiError when it does not."""
        try:
            self._send("GET", "/v1/health", None, {})
        except ApiError as error:
            if not error.status or error.status in _RETRY_STATUS:
                raise
        return True

    def health(self, again: bool = True) -> tuple[dict[str, t.Any], str]:
        """The `health` part of `/v1/health` and the client's version."""
        answer = self.call("GET", "/v1/health", again=again)
        health = answer.body.get("health")
        return (health if isinstance(health, dict) else {}), answer.version

    def stats(self, again: bool = True) -> list[tuple[str, dict[str, str], float]]:
        """The figures of `/v1/stats/app`: in memory, safe to poll (never `/v1/stats/db`)."""
        return metrics(self.call("GET", "/v1/stats/app", again=again).body)

    def start_gc(self, what: str) -> dict[str, str]:
        """Ask for GC of `message` or `media`: the status by node; a single client's only one is called `coreapp`.

        Not repeated after an answer that got lost: the client may have begun. A node that fails is in the result
        with the text of its failure.
        """
        answer = self.call("PUT", f"/v1/services/{what}/gc")
        try:
            told = answer.body["services"][what]["gc"]
        except (KeyError, TypeError):
            return {SINGLE: "processing"}
        if not isinstance(told, dict) or "status" in told or "errors" in told:
            return {SINGLE: _node_status(told)}
        nodes = {str(node): _node_status(item) for node, item in told.items()}
        # Some failures come beside the nodes that began; their words name the node.
        for item in answer.body.get("errors") or []:
            named = re.search(r"[\w.-]+:[0-9a-f]{12}", str(item))
            nodes[named.group() if named else "a node without a name"] = _node_status({"errors": [item]})
        return nodes

    def mark_read(self, message: str) -> bool:
        """Mark one inbound message as read; false when the client does not know the id."""
        try:
            self.call("PUT", f"/v1/messages/{quote(message, safe='')}", {"status": "read"})
        except ApiError as error:
            if error.status == 404 or error.code in (1006, 1008, 1009, 1010):
                return False
            raise
        return True

    def application(self) -> dict[str, t.Any]:
        """The application settings (administrators only)."""
        settings = self.call("GET", "/v1/settings/application").body.get("settings")
        found = settings.get("application", settings) if isinstance(settings, dict) else {}
        return found if isinstance(found, dict) else {}

    def set_application(self, change: dict[str, t.Any]) -> None:
        """Change application settings; what is not named stays."""
        self.call("PATCH", "/v1/settings/application", change)

    def backup(self, password: str) -> str:
        """The settings and the registration (never messages), encrypted with `password`."""
        data = self.call("POST", "/v1/settings/backup", {"password": password}).body.get("settings")
        text = data.get("data") if isinstance(data, dict) else None
        if not isinstance(text, str) or not text:
            raise ApiError(self._subject("POST", "/v1/settings/backup"), "the answer holds no backup", "other")
        return text


def _node_status(item: t.Any) -> str:
    """The status of one node in a GC answer, or the words of its failure."""
    if not isinstance(item, dict):
        return str(item)
    errors = item.get("errors")
    if isinstance(errors, list) and errors:
        first = errors[0] if isinstance(errors[0], dict) else {}
        return "failed: " + ", ".join(str(first[key]) for key in ("code", "title", "details") if first.get(key))
    return str(item.get("status", "processing"))
