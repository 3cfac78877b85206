# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's error codes (domain.md 4) and how they look on the wire."""

from __future__ import annotations

from typing import Any

TITLES = {
    1000: "Generic error",
    1005: "Access denied",
    1006: "Resource not found",
    1008: "Required parameter is missing",
    1009: "Parameter value is not valid",
    1010: "Parameter is not required",
    1011: "Service not ready",
    1014: "Internal error",
    1015: "Too many requests",
    1016: "System overloaded",
    1017: "Not primary master",
    1018: "Not primary Coreapp",
    1023: "Database error",
    1024: "Password change required",
    1025: "Request body is not valid JSON",
    1031: "Account locked",
}
# Meta names the codes; which HTTP status goes with which is partly an inference, see the README.
HTTP_STATUS = {
    1000: 500,
    1005: 403,
    1006: 404,
    1008: 400,
    1009: 400,
    1010: 400,
    1011: 503,
    1014: 500,
    1015: 429,
    1016: 503,
    1017: 500,
    1018: 500,
    1023: 500,
    1024: 401,
    1025: 400,
    1031: 403,
}


class ApiError(Exception):
    """An answer of the API that is an error: `code` is the client's own, `status` the HTTP status."""

    def __init__(self, code: int, details: str = "", status: int | None = None, empty: bool = False) -> None:
        super().__init__(f"{code} {details}")
        self.code = code
        self.details = details
        self.status = HTTP_STATUS.get(code, 500) if status is None else status
        self.empty = empty

    def as_dict(self) -> dict[str, Any]:
        """The element of `errors[]`."""
        return {"code": self.code, "title": TITLES.get(self.code, "Error"), "details": self.details}


def odd(exc: ApiError) -> ApiError:
    """The same error with the code that third parties saw for it."""
    codes = {"Database error": 1023, "The body is not valid JSON": 1025}
    code = next((code for start, code in codes.items() if exc.details.startswith(start)), None)
    return exc if code is None else ApiError(code, exc.details)
