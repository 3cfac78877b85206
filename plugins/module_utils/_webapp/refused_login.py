# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A login that the Webapp has refused is remembered: the client locks an account after repeated wrong ones (domain: login)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._webapp.client import ApiError, Webapp

SECONDS = 86400.0  # after which the same password is tried once more


class RefusedLogin:
    """The refusal that stands for one deployment, in a file of its own. No password can be found by what it holds."""

    def __init__(self, path: str) -> None:
        self.path = path

    def check(self, webapp: Webapp, password: str | None, cure: str) -> None:
        """Raise WaError where there is no credential to try: none was given, or this very login was refused less than a day ago."""
        if webapp.token:
            return
        if not password:
            raise WaError("api_password", "not given", "the API user's password, or api_token")
        try:
            held = json.loads(files.read_text(self.path))
            same, at = (held["user"], held["tag"]) == (webapp.username, _tag(password)), float(held["at"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        if same and 0 <= time.time() - at < SECONDS:
            raise WaError(
                f"API user {webapp.username} at {webapp.url}",
                f"this password was refused at {time.strftime('%F %T', time.localtime(at))} and is tried again after a day, since "
                "repeated wrong logins lock the account",
                "another password",
                cure,
            )

    @contextlib.contextmanager
    def session(self, webapp: Webapp, password: str | None) -> t.Iterator[None]:
        """Log in, and out again. A refusal is noted, also one of a login in between, and forgotten when a login goes well."""
        given = webapp.token
        try:
            webapp.log_in()
            if not given:
                self.clear()
            yield
        except ApiError as error:
            if error.kind == "login" and password:
                with contextlib.suppress(OSError):  # a host without the folder has no client to lock out yet
                    self.note(webapp.username, password)
            raise
        finally:
            webapp.log_out()

    def note(self, user: str, password: str) -> None:
        """Remember that this login was refused now. Raises OSError."""
        files.write_json(self.path, {"user": user, "tag": _tag(password), "at": int(time.time())})

    def clear(self) -> None:
        """Forget it: a login went well."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


def _tag(password: str) -> str:
    """Three hexadecimal digits that change with the password, far too few to find one by."""
    return hashlib.sha256(password.encode()).hexdigest()[:3]
