# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records a refused login, since the client locks an account after repeated wrong logins (domain: login)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._webapp.client import USER, ApiError, Webapp

SECONDS = 86400.0  # seconds after which the same password is tried again


class RefusedLogin:
    """The file with the refused login of one deployment. The password cannot be derived from its content.

    Without `write` it is only read. With `may_be_new` the password may be one that a new client gets at its first login, which
    is tried in spite of what is recorded then.
    """

    def __init__(self, path: str, write: bool = True, may_be_new: bool = False) -> None:
        self.path, self.write, self.may_be_new = path, write, may_be_new

    def check(self, webapp: Webapp, password: str | None, cure: str, first_login: bool = False) -> None:
        """Raises WaError if there is no credential to try: none is set, or the same login was refused less than a day ago."""
        if not password:
            raise WaError("api_password", "not given", f"the password of API user {USER}")
        try:
            held = json.loads(files.read_text(self.path))
            same, at = held["tag"] == _tag(password), float(held["at"])
            same = same and not (first_login and held.get("may_be_new"))
        except (OSError, ValueError, KeyError, TypeError):
            return
        if same and 0 <= time.time() - at < SECONDS:
            raise WaError(
                f"API user {USER} at {webapp.url}",
                f"this password was refused at {time.strftime('%F %T', time.localtime(at))} and is tried again after a day, since "
                "repeated wrong logins lock the account",
                "another password",
                f"{cure}. If the client has this one by now, remove {self.path} and run again",
            )

    @contextlib.contextmanager
    def session(self, webapp: Webapp, password: str | None) -> t.Iterator[None]:
        """Logs in, and out at the end. Records a refusal, also of a repeated login, and removes the record after a success."""
        try:
            webapp.log_in()
            self.clear()
            yield
        except ApiError as error:
            if error.kind == "login" and password:
                with contextlib.suppress(OSError):  # a host without the folder has no client yet
                    self.note(password)
            raise
        finally:
            webapp.log_out()

    def note(self, password: str) -> None:
        """Records that this login was refused now. Raises OSError."""
        if self.write:
            new = {"may_be_new": True} if self.may_be_new else {}
            files.write_json(self.path, {"tag": _tag(password), "at": int(time.time()), **new})

    def clear(self) -> None:
        """Removes the record after a successful login."""
        if self.write:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)


def _tag(password: str) -> str:
    """Returns three hexadecimal digits of a digest of the password, too few to derive it."""
    return hashlib.sha256(password.encode()).hexdigest()[:3]
