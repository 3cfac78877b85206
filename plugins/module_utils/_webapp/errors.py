# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Classifies errors of the client's API by HTTP status, code or text. Pure rules."""

from __future__ import annotations

import re
import ssl
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

LOGIN = "/v1/users/login"
_RETRY_CODES = (1011, 1015, 1016, 1017, 1018)  # domain: retryable with any text
RETRY_STATUS = (429, 503)
_GATEWAY_STATUS = (502, 504)
OWN_ANSWER = "the Webapp's own answer in JSON"
PROXY_CURE = "See whether a proxy or load balancer is in between: api_url should be the Webapp's own address"
_DATABASE = 1023
# A client may count logins by account or by address, and report a lock as too many calls.
_LOGIN_BUSY_CURE = (
    "Try again when there is less traffic. After wrong passwords it may also be a lock of this account or address: wait some "
    "minutes, then use the right password"
)
_TLS_CURE = "Have the host trust the authority of the Webapp's certificate"

_CURES = {
    "unreachable": "Start the Webapp, or set api_url to where the host reaches it",
    "lost": "Look into the Webapp's log, or raise api_timeout",
    "tls": _TLS_CURE,
    "login": "Correct api_password (repeated wrong logins lock the account, 1031); a client that was never"
    " logged in to needs its first login completed, which provision.yml does with wa_api_password",
    "locked": "Wait until the lock ends, then use the right password",
    "first_login": "Complete the first login: run provision.yml with wa_api_password",
    "expired": "The client's build has expired: upgrade it (a build lives about 180 days)",
    "denied": "Use an API user that is an administrator",
    "media": "Let the containers write the media volume (role wa_media_volume)",
    "coreapp": "Start the Coreapp and let the Webapp reach it",
    "busy": "Try again when there is less traffic",
    "database": "See whether the client's database is up and has connections left",
    "key": "Correct api_key: it is the WA_API_KEY of the Webapp",
    "token": "Give api_password for a new login",
    "other": "",
}


class ApiError(WaError):
    """A failure of the API; `kind` is its class, `status` the HTTP status (0: no answer), `code` the client's code.

    `sent` is false if the request certainly did not reach the client. `bare`: an HTTP status without the
    client's message; `body` and `form` are those of `parse_body`.
    """

    def __init__(
        self,
        subject: str,
        found: str,
        kind: str,
        *,
        status: int = 0,
        code: int = 0,
        sent: bool = True,
        expected: str = "",
        cure: str = "",
    ) -> None:
        super().__init__(subject, found, expected, cure or _CURES[kind])
        self.kind = kind
        self.status = status
        self.code = code
        self.sent = sent
        self.bare = False
        self.body: dict[str, t.Any] = {}
        self.form = ""

    @property
    def retryable(self) -> bool:
        """Returns whether a retry may succeed, by the client's table of codes."""
        if self.kind in ("expired", "denied", "login", "locked", "first_login", "key", "media", "lost"):
            return False
        # "Communication failure" is not included: the Coreapp may have accepted the call.
        unreached = re.search(r"time[d -]*out|connection refused|getaddrinfo failed", self.found, re.IGNORECASE)
        return (
            self.code in _RETRY_CODES
            or self.kind == "database"
            or self.status in RETRY_STATUS
            or bool(self.code == 1014 and unreached)
        )


def reported(subject: str, path: str, status: int, errors: t.Any) -> ApiError:
    """Returns the failure reported by HTTP status and `errors`."""
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    code = int(first["code"]) if str(first.get("code")).isdecimal() else 0
    message = ": ".join(str(first[key]) for key in ("title", "details") if first.get(key))
    found = f"HTTP {status}" + (f", code {code}" if code else "") + (f", {message}" if message else "")
    login = path == LOGIN
    about_login = re.search(r"password|credential|user ?name|token|session", message, re.IGNORECASE)
    kind = "other"
    if code == 1031:
        kind = "locked"
    elif login and (
        code == 1024
        or re.search(r"new.?password|first.?login|change.*password|password.*change", message, re.IGNORECASE)
    ):
        kind = "first_login"
    elif status == 401 and about_login:
        kind = "login" if login else "token"
    elif code == 1005 and re.search(
        r"(client|build|version|software).*expire|expire.*(client|build|version)", message, re.IGNORECASE
    ):
        kind = "expired"
    elif code == 1005 and re.search(r"media|writ|permission", message, re.IGNORECASE):
        kind = "media"
    elif status == 401:
        kind = "login" if login else "token"
    elif code == 1005 and login:
        kind = "login" if about_login else "expired"  # a wrong password is always a 401 in known versions
    elif code == 1005 or status == 403:
        kind = "denied"
    elif code == 1014:
        kind = "coreapp"
    elif code == _DATABASE and not path.endswith("/gc"):  # the state of a GC is unknown
        kind = "database"
    elif code in _RETRY_CODES or status in RETRY_STATUS:
        kind = "busy"
    elif status in _GATEWAY_STATUS:
        kind = "lost"  # from a proxy: the client may have accepted the request
    if code or message:
        cure = _LOGIN_BUSY_CURE if login and kind == "busy" else ""
        return ApiError(subject, found, kind, status=status, code=code, cure=cure)
    return _bare(subject, found, kind, status)


def _bare(subject: str, found: str, kind: str, status: int) -> ApiError:
    """Returns a failure without the client's message: another server may have answered."""
    if status == 401:
        bare = ApiError(subject, found, kind, status=status)  # the client's may be empty, too
    else:
        cure = ". ".join(part for part in (_CURES[kind], PROXY_CURE) if part)
        bare = ApiError(subject, found, kind, status=status, expected=OWN_ANSWER, cure=cure)
    bare.bare = True
    return bare


def gc_refusal(error: ApiError) -> ApiError:
    """Returns the failure of a refused GC call.

    A 5xx without the client's message is a proxy's: the client may have accepted the call. A 503, from an overloaded client
    or from a proxy without a backend, means that it has not.
    """
    if not error.bare or error.status < 500 or error.status == 503:
        return error
    cure = f"{_CURES['lost']}. {PROXY_CURE}"
    return ApiError(error.subject, error.found, "lost", status=error.status, expected=OWN_ANSWER, cure=cure)


def no_success(subject: str, status: int, form: str) -> ApiError | None:
    """Returns the failure of a 2xx answer whose body is not the client's; a truncated one is, so its call was accepted."""
    if form == "torn":
        return ApiError(subject, f"HTTP {status} with a body that was cut off", "lost", status=status)
    if form == "foreign":
        found = f"HTTP {status} with a body that is no JSON, so it is not the client's"
        return ApiError(subject, found, "other", status=status, expected=OWN_ANSWER, cure=PROXY_CURE)
    return None


def silence(subject: str, error: Exception, timeout: float) -> ApiError:
    """Returns the failure without an answer, or after `timeout` seconds."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        number = error.verify_code
        cure = _TLS_CURE
        if number == 10:
            text, cure = f"its certificate has expired ({error.verify_message})", "Renew the Webapp's certificate"
        elif number in (62, 64):
            text, cure = (
                f"its certificate is for another name ({error.verify_message})",
                "Set api_url to a name in the certificate; one that has no name but its common name serves for none: give the "
                "Webapp another certificate, or set api_validate_certs to false",
            )
        else:
            text = f"its certificate is not from a known authority ({error.verify_message})"
        return ApiError(subject, text, "tls", sent=False, cure=cure)
    if isinstance(error, ssl.SSLError):
        # A socket closed in the handshake is a Webapp that stops or starts, not an invalid certificate.
        ended = isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
        return ApiError(subject, f"TLS failed: {text}", "unreachable" if ended else "tls", sent=False)
    if isinstance(error, TimeoutError) or "timed out" in text:
        return ApiError(subject, f"no answer within {timeout:g} s", "lost")
    if isinstance(error, ConnectionRefusedError) or re.search(r"refused|resol|not known|unreachable|No route", text):
        return ApiError(subject, f"not reachable: {text}", "unreachable", sent=False)
    return ApiError(subject, f"connection lost: {text}", "lost")
