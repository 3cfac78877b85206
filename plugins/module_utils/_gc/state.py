# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered about message GC on the host: a running one, the last one, marking, a refused login. One file, one lock."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._gc.completion import Judge
from ansible_collections.waba.onprem.plugins.module_utils._gc.policy import Moment

FORMAT = 1
_HASH_ROUNDS = 200_000
# What a run that is remembered holds from its first moment on.
_RUN = (
    "id",
    "phase",
    "because",
    "round",
    "before",
    "before_exact",
    "least",
    "databases",
    "deleted",
    "nodes",
    "resumed",
    "trouble",
)
# And from its first call on.
_CALLED = ("rows", "judge", "told", "heard", "recounts", "notifications")


def moment() -> Moment:
    """Now, on this host."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            boot = stream.read().strip()
    except OSError:
        boot = ""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return Moment(time.time(), time.clock_gettime(clock), boot)


class StateFile:
    """The state file of one deployment. `client` tells whose it is; another's is refused."""

    def __init__(self, path: str, client: dict[str, str]) -> None:
        self.path = path
        self.client = client
        self.data: dict[str, t.Any] = self._empty()

    def _empty(self) -> dict[str, t.Any]:
        return {"format": FORMAT, "client": self.client, "run": None, "last": None, "refused": None, "marked": None}

    @contextlib.contextmanager
    def lock(self, patience: float) -> t.Iterator[bool]:
        """Hold the file's lock: one step at a time, whoever drives it. Yields false when it is not free for `patience` s."""
        try:
            handle = os.open(self.path + ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from None
        try:
            yield files.acquire(handle, patience)
        finally:
            os.close(handle)

    def _unusable(self, error: OSError) -> WaError:
        return WaError(
            f"state file {self.path}",
            f"cannot be written: {error.strerror}",
            "a file that this run can write, since no GC is started that nobody would remember",
            "Create its folder (role wa_host does), or set state_file",
        )

    def load(self) -> None:
        """Read the file; a missing one is an empty state. Raises WaError for a corrupt one and for another client's."""
        cure = "Make sure that no GC runs, then remove the file"
        try:
            data = json.loads(files.read_text(self.path))
        except FileNotFoundError:
            self.data = self._empty()
            return
        except (ValueError, OSError) as error:
            raise WaError(f"state file {self.path}", f"corrupt or not readable: {error}", cure=cure) from None
        if not _is_whole(data):
            raise WaError(f"state file {self.path}", "corrupt, or of another format", f"format {FORMAT}", cure)
        if data["client"] != self.client:
            other = ", ".join(
                f"{key} {value}" for key, value in sorted(data["client"].items()) if self.client.get(key) != value
            )
            raise WaError(
                f"state file {self.path}",
                f"belongs to another client ({other})",
                "the file of this deployment",
                "Set state_file to a file of its own; or remove the file if the client has moved to another database",
            )
        self.data = {**self._empty(), **data}

    def save(self) -> None:
        """Write the file whole or not at all; only its owner reads it."""
        try:
            files.write_json(self.path, self.data)
        except OSError as error:
            raise self._unusable(error) from None

    # A login that was refused

    def remember_refusal(self, user: str, password: str, now: Moment) -> None:
        """Remember, by a slow salted hash, that this login was refused."""
        salt = secrets.token_hex(16)
        self.data["refused"] = {"user": user, "salt": salt, "digest": _digest(password, salt), "wall": now.wall}
        self.save()

    def was_refused(self, user: str, password: str) -> float | None:
        """When this very login was refused before (seconds since 1970), or None."""
        refused = self.data.get("refused")
        if not isinstance(refused, dict) or refused.get("user") != user:
            return None
        same = hmac.compare_digest(_digest(password, str(refused["salt"])), str(refused["digest"]))
        return float(refused["wall"]) if same else None


def _is_whole(data: t.Any) -> bool:
    """Whether this is a state of our format, with all that the next step reads from it."""
    if not isinstance(data, dict) or data.get("format") != FORMAT or not isinstance(data.get("client"), dict):
        return False
    try:
        if data.get("run") is not None:
            run = data["run"]
            if any(name not in run for name in _RUN):
                return False
            for name in ("first", "begun", "seen", *(() if run["phase"] == "marking" else ("called", "pulsed"))):
                _moment(run[name])
            Judge(**run.get("judge", {}))
            if run["phase"] != "marking" and any(name not in run for name in _CALLED):
                return False
            if run["phase"] == "media" and not isinstance(run["media"], dict):
                return False
        if data.get("last") is not None:
            last = data["last"]
            _moment(last["began"])
            if any(name not in last for name in ("id", "large", "failure")) or "messages_deleted" not in last["values"]:
                return False
        if data.get("marked") is not None:
            marked = data["marked"]
            if not isinstance(marked["unknown"], list) or "list" not in marked:
                return False
            int(marked["done"]), int(marked["passed_over"])
        if data.get("refused") is not None:
            bytes.fromhex(data["refused"]["salt"])
            float(data["refused"]["wall"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    return True


def _moment(kept: t.Any) -> None:
    """Raise when these are not the parts of a moment."""
    if not isinstance(kept["boot"], str):
        raise TypeError(kept)
    float(kept["wall"])
    float(kept["uptime"])


def _digest(password: str, salt: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), bytes.fromhex(salt), _HASH_ROUNDS).hex()
