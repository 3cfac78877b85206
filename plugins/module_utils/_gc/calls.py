# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Message GC: what is asked of the client's API, in one session that ends with the step that began it."""

from __future__ import annotations

import re
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._gc.policy import clock
from ansible_collections.waba.onprem.plugins.module_utils._gc.state import StateFile
from ansible_collections.waba.onprem.plugins.module_utils._webapp.client import ApiError, Webapp

_MARK_PAUSE = 0.1  # seconds between two messages that are marked as read: half of what the API takes (domain 4)
_RUNS_ALREADY = re.compile(r"already (running|started|in progress|processing)|(gc|collection)\b[^.]* in progress", re.I)


class Calls:
    """The client's API for message GC. `state` remembers a refused login, since repeated ones lock the account."""

    def __init__(self, params: dict[str, t.Any], state: StateFile) -> None:
        self.webapp = Webapp(params)
        self.url = self.webapp.url
        self._state = state
        self._password: str | None = params["api_password"]
        self._retry: bool = params["retry_refused_login"]

    def check_credential(self) -> None:
        """Raise WaError unless there is a credential to try."""
        if self.webapp.token:
            return
        if not self._password:
            raise WaError("api_password", "not given", "the API user's password, or api_token")
        when = self._state.was_refused(self.webapp.username, self._password)
        if when is not None and not self._retry:
            raise WaError(
                f"API user {self.webapp.username} at {self.url}",
                f"this password was refused at {clock(when)} and is tried again after a day at the earliest, since "
                "repeated wrong logins lock the account",
                "another password",
                "Correct api_password; if it is right by now, as after a first login, set retry_refused_login for one run",
            )

    def __enter__(self) -> Calls:
        """Log in."""
        self.check_credential()
        try:
            self.webapp.log_in()
        except ApiError as error:
            self._refused(error)
            raise
        self._state.record.refused = None
        return self

    def __exit__(self, *_exception: object) -> None:
        """End the session."""
        self.webapp.log_out()

    def _refused(self, error: WaError) -> None:
        if isinstance(error, ApiError) and error.kind == "login" and self._password:
            self._state.refuse(self.webapp.username, self._password)

    def mark_read(self, ids: list[str]) -> list[str] | None:
        """Mark inbound messages as read: those that the client does not know, or None where its settings do not allow it."""
        if self.webapp.application().get("pass_through") is True:
            return None
        unknown = []
        for one in ids:
            if not self.webapp.mark_read(one):
                unknown.append(one)
            time.sleep(_MARK_PAUSE)
        return unknown

    def start(self) -> dict[str, str] | str:
        """Call message GC: the status by node; or why it is not known whether the call has begun one."""
        try:
            return self.webapp.start_gc("message")
        except ApiError as error:
            if _RUNS_ALREADY.search(error.found) or (error.kind == "lost" and error.sent):
                return error.found
            self._refused(error)
            raise

    def start_media(self) -> dict[str, str]:
        """Call media GC: the status by node."""
        return self.webapp.start_gc("media")
