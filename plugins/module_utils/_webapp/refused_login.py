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

from ansible_collections.waba.onprem.plugins.module_utils._core import files

SECONDS = 86400.0  # after which the same password is tried once more


class RefusedLogin:
    """The refusal that stands for one deployment, in a file of its own. No password can be found by what it holds."""

    def __init__(self, path: str) -> None:
        self.path = path

    def when(self, user: str, password: str) -> float | None:
        """When this very login was refused, in seconds since 1970, if less than a day ago; None if it may be tried."""
        try:
            held = json.loads(files.read_text(self.path))
            told = float(held["at"]) if (held["user"], held["tag"]) == (user, _tag(password)) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return told if told is not None and 0 <= time.time() - told < SECONDS else None

    def note(self, user: str, password: str) -> None:
        """Remember that this login was refused now. Raises OSError."""
        text = json.dumps({"user": user, "tag": _tag(password), "at": int(time.time())})
        draft = f"{self.path}.wa_new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
        number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(draft, self.path)

    def clear(self) -> None:
        """Forget it: a login went well."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


def _tag(password: str) -> str:
    """Three hexadecimal digits that change with the password, far too few to find one by."""
    return hashlib.sha256(password.encode()).hexdigest()[:3]
