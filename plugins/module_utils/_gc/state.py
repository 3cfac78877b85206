# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept about message GC on the host: one that runs, the last one, a refused login. One file, one lock."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import typing as t
from dataclasses import asdict, dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._gc.completion import Watch
from ansible_collections.waba.onprem.plugins.module_utils._gc.policy import Moment

VERSION = 2
_REFUSAL = 86400.0  # seconds after which a login that was refused is tried once more


def moment() -> Moment:
    """Now, on this host."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            boot = stream.read().strip()
    except OSError:
        boot = ""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return Moment(time.time(), time.clock_gettime(clock), boot)


@dataclass
class Run:
    """A GC that is followed."""

    id: str
    because: str  # why GC was called
    databases: list[str]
    before: int  # rows before the first call, counted or (not `before_exact`) estimated
    before_exact: bool
    began: Moment
    looked: Moment  # the last look
    waiting: Moment  # since when the end of the round is waited for
    keys: list[list[t.Any]]  # the sample, for each table
    watch: Watch
    round: int = 0  # 0: one that somebody else has begun
    called: Moment | None = None
    answered: bool = True  # whether the call of this round was
    repeated: bool = False  # whether a call without an answer was repeated
    nodes: dict[str, dict[str, t.Any]] = field(default_factory=dict)
    mark: dict[str, int] = field(default_factory=dict)  # in the file of notifications, at the call
    deleted: int | None = 0  # by the notifications of the rounds that have ended; None when some are missing
    trouble: Moment | None = None  # since when the database is away
    vacuumed: bool = False


@dataclass
class Last:
    """The GC that ended last: `large` is whether it left more rows than the limit, `values` what it returned."""

    id: str
    began: Moment
    large: bool
    failure: str
    values: dict[str, t.Any]


@dataclass
class Refused:
    """A login that was refused. `tag` changes with the password, and is far too short to find one by."""

    user: str
    tag: str
    wall: float  # seconds since 1970


@dataclass
class Record:
    """All that is kept; `client` says whose it is."""

    client: dict[str, str]
    run: Run | None = None
    last: Last | None = None
    refused: Refused | None = None
    version: int = VERSION


class StateFile:
    """The record of one deployment at `path`. `client` says whose it is; another's is refused."""

    def __init__(self, path: str, client: dict[str, str]) -> None:
        self.path = path
        self.record = Record(client)

    @contextlib.contextmanager
    def lock(self, patience: float) -> t.Iterator[bool]:
        """Hold the file's lock: one step at a time, whoever drives it. Yields false when it is not free for `patience` seconds."""
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
            f"cannot be used: {error.strerror}",
            "a file that this run can write, since no GC is called that the next run would not know of",
            "Create its folder (role wa_host does), or set state_file",
        )

    def load(self, warn: t.Callable[[str], None], keep: bool) -> None:
        """Read the file. One that this version cannot read is set aside, unless `keep`. Raises WaError for another client's."""
        try:
            found = _record(json.loads(files.read_text(self.path)))
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unusable(error) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            warn(f"state file {self.path}: corrupt, or of another version of the collection; kept as {self.path}.old")
            if not keep:
                with contextlib.suppress(FileNotFoundError):
                    os.replace(self.path, self.path + ".old")
            return
        if found.client != self.record.client:
            other = ", ".join(
                f"{key} {value}" for key, value in sorted(found.client.items()) if self.record.client.get(key) != value
            )
            raise WaError(
                f"state file {self.path}",
                f"belongs to another client ({other})",
                "the file of this deployment",
                "Set state_file to a file of its own; or remove the file if the client has moved to another database",
            )
        self.record = found

    def save(self) -> None:
        """Write the file whole or not at all; only its owner reads it."""
        try:
            files.write_json(self.path, asdict(self.record))
        except OSError as error:
            raise self._unusable(error) from None

    def refuse(self, user: str, password: str) -> None:
        """Keep that this login was refused."""
        self.record.refused = Refused(user, _tag(password), time.time())
        self.save()

    def was_refused(self, user: str, password: str) -> float | None:
        """When this login was refused, less than a day ago (seconds since 1970), or None."""
        refused = self.record.refused
        stands = refused is not None and 0 <= time.time() - refused.wall < _REFUSAL
        return refused.wall if refused and stands and (refused.user, refused.tag) == (user, _tag(password)) else None


def _tag(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()[:3]


def _record(data: dict[str, t.Any]) -> Record:
    """The record in plain data. Raises what plain data of another shape raises."""
    if data["version"] != VERSION or not isinstance(data["client"], dict):
        raise ValueError("another version")
    run, last, refused = data["run"], data["last"], data["refused"]
    if run is not None:
        moments = {name: _moment(run[name]) for name in ("began", "looked", "waiting", "called", "trouble")}
        run = Run(**{**run, **moments, "watch": Watch(**run["watch"])})
    if last is not None:
        last = Last(**{**last, "began": _moment(last["began"])})
    return Record(data["client"], run, last, None if refused is None else Refused(**refused))


def _moment(data: dict[str, t.Any] | None) -> t.Any:
    return None if data is None else Moment(float(data["wall"]), float(data["uptime"]), str(data["boot"]))
