# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state file of message GC on the host: the running GC or the last one, in one locked file."""

from __future__ import annotations

import contextlib
import json
import os
import time
import typing as t
from dataclasses import asdict, dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._core import files, machine
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._gc.completion import Watch
from ansible_collections.waba.onprem.plugins.module_utils._gc.policy import Moment

VERSION = 4


def moment() -> Moment:
    """Returns the current time on this host."""
    ticks = time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
    return Moment(time.time(), ticks, machine.boot_id())


@dataclass
class Run:
    """The running GC, or the last one (`over`)."""

    id: str
    databases: list[str]
    before: int  # rows before the first call
    exact: bool  # whether the last number, `before` or `after`, is exact; else it is an estimate
    keys: list[list[t.Any]]  # the sample, for each table
    watch: Watch
    began: Moment
    looked: Moment  # time of the last measurement
    waiting: Moment  # start of the wait for the end of the round
    round: int = 0  # 0: started by another program
    unanswered: int = 0  # calls that may not have reached the client
    nodes: dict[str, dict[str, t.Any]] = field(default_factory=dict)
    vacuumed: bool = False  # in this round
    after: int | None = None  # rows at the end of the last round
    over: bool = False
    large: bool = True  # whether it left more rows than the limit
    failure: str = ""


class StateFile:
    """The state file of one deployment at `path`; a file of another `client` is refused."""

    def __init__(self, path: str, client: dict[str, str]) -> None:
        self.path, self.client = path, client
        self.run: Run | None = None

    @contextlib.contextmanager
    def lock(self, timeout: float) -> t.Iterator[bool]:
        """Holds the file's lock, so that one process takes a step at a time. Yields false if it is not free within `timeout` seconds."""
        try:
            handle = os.open(self.path + ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from None
        try:
            yield files.acquire(handle, timeout)
        finally:
            os.close(handle)

    def _unusable(self, error: OSError) -> WaError:
        return WaError(
            f"state file {self.path}",
            f"cannot be used: {error.strerror}",
            "a file that this run can write, since no GC is called that the next run would not know of",
            "Create its folder (role wa_host does), or set state_file",
        )

    def load(self, warn: t.Callable[[str], None]) -> None:
        """Reads the file. An unreadable one counts as none, with a warning. Raises WaError for another client's."""
        try:
            client, run = _parse(json.loads(files.read_text(self.path)))
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unusable(error) from None
        except (ValueError, KeyError, TypeError):
            warn(f"state file {self.path}: corrupt, or of another version of the collection; it counts as none")
            return
        if client != self.client:
            other = ", ".join(f"{key} {value}" for key, value in client.items() if self.client.get(key) != value)
            raise WaError(
                f"state file {self.path}",
                f"belongs to another client ({other})",
                "the file of this deployment",
                "Set state_file to a file of its own; or remove the file if the client has moved to another database",
            )
        self.run = run

    def save(self) -> None:
        """Writes the file atomically, readable by its owner only."""
        run = None if self.run is None else asdict(self.run)
        try:
            files.write_json(self.path, {"client": self.client, "run": run, "version": VERSION})
        except OSError as error:
            raise self._unusable(error) from None


def _parse(data: dict[str, t.Any]) -> tuple[dict[str, str], Run | None]:
    """Returns the client and the run from plain data. Raises ValueError, KeyError or TypeError for invalid data."""
    if data["version"] != VERSION:
        raise ValueError("another version")
    run = data["run"]
    if run is not None:
        moments = {name: Moment(*run[name]) for name in ("began", "looked", "waiting")}
        run = Run(**{**run, **moments, "watch": Watch(**run["watch"])})
    return dict(data["client"]), run


def last(path: str) -> Run | None:
    """Returns the running GC, or the last one, of whichever client; None for none. Raises WaError for a file that cannot be read."""
    try:
        return _parse(json.loads(files.read_text(path)))[1]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise WaError(f"state file {path}", "corrupt, or of another version of the collection") from None
