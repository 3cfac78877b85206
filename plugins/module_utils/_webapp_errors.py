# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the client's API may say no with, told apart by HTTP status, code or words. Pure rules."""

from __future__ import annotations

import re
import ssl
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError

LOGIN = "/v1/users/login"
_RETRY_CODES = (1011, 1015, 1016, 1017, 1018)  # domain: worth retrying whatever the text
RETRY_STATUS = (429, 503)
_GATEWAY_STATUS = (502, 504)
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
        return self.code in _RETRY_CODES or self.status in RETRY_STATUS or timed_out


def told(subject: str, path: str, status: int, errors: t.Any) -> ApiError:
    """The failure that the client told by HTTP status and `errors`."""
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    code = int(first["code"]) if str(first.get("code")).isdigit() else 0
    words = ": ".join(str(first[key]) for key in ("title", "details") if first.get(key))
    found = f"HTTP {status}" + (f", code {code}" if code else "") + (f", {words}" if words else "")
    login = path == LOGIN
    about_login = re.search(r"password|credential|user ?name|token|session", words, re.IGNORECASE)
    kind = "other"
    if code == 1031:
        kind = "locked"
    elif login and re.search(r"new.?password|first.?login|change.*password", words, re.IGNORECASE):
        kind = "first_login"
    elif status == 401 and about_login:
        kind = "login" if login else "token"
    elif code == 1005 and re.search(
        r"(client|build|version|software).*expire|expire.*(client|build|version)", words, re.IGNORECASE
    ):
        kind = "expired"
    elif code == 1005 and re.search(r"media|writ|permission", words, re.IGNORECASE):
        kind = "media"
    elif status == 401:
        kind = "login" if login else "token"
    elif code == 1005 and login:
        kind = "login" if about_login else "expired"  # a wrong password is a 401, as far as is known
    elif code == 1005 or status == 403:
        kind = "denied"
    elif code == 1014:
        kind = "coreapp"
    elif code in _RETRY_CODES or status in RETRY_STATUS:
        kind = "busy"
    elif status in _GATEWAY_STATUS:
        kind = "lost"  # a proxy's word: the client may have taken the request
    return ApiError(subject, found, kind, status=status, code=code)


def silence(subject: str, error: Exception, timeout: float) -> ApiError:
    """The failure when no answer came within `timeout` seconds, or none at all."""
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
        return ApiError(subject, f"no answer within {timeout:g} s", "lost")
    if isinstance(reason, (ConnectionRefusedError,)) or re.search(
        r"refused|resol|not known|unreachable|No route", text
    ):
        return ApiError(subject, f"not reachable: {text}", "unreachable", sent=False)
    return ApiError(subject, f"connection lost: {text}", "lost")
