# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log files as the client writes them (domain.md 6): they grow; only cleanup.sh takes anything away."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from datetime import datetime, timezone
from fnmatch import fnmatch

CORE_LIMIT = 15 << 20


def stamp() -> str:
    """The time as log lines show it, UTC."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment() -> str:
    """The time as the names of log files show it, UTC."""
    return datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-%f")


class LogFile:
    """An appending file that is opened again when something (logrotate, cleanup.sh) moved it away.

    A full disk loses lines and never stops the program; `lost` counts them.
    """

    def __init__(self, directory: str, name: str, echo: bool = True) -> None:
        self.directory = directory
        self.path = os.path.join(directory, name)
        self.lost = 0
        self._echo = echo
        self._lock = threading.Lock()
        self._fd = -1
        self._inode = (0, 0)

    def line(self, text: str) -> None:
        """Append one line; it goes to Docker's own log as well."""
        self.write(text.replace("\n", " ") + "\n")

    def write(self, text: str) -> None:
        """Append text that ends with a newline."""
        data = text.encode("utf-8", "replace")
        with self._lock:
            try:
                self._ready(len(data))
                os.write(self._fd, data)
            except OSError:
                self.lost += 1
                self._close()
            if self._echo:
                try:
                    sys.stdout.write(text)
                    sys.stdout.flush()
                except (OSError, ValueError):
                    pass

    def _ready(self, size: int) -> None:
        try:
            found = os.stat(self.path)
            if self._fd >= 0 and (found.st_dev, found.st_ino) == self._inode:
                return
        except FileNotFoundError:
            pass
        self._close()
        os.makedirs(self.directory, exist_ok=True)
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        found = os.fstat(self._fd)
        self._inode = (found.st_dev, found.st_ino)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


class CoreLogFile(LogFile):
    """The Coreapp's log: a new file only when the present one passes 15 MB; a restart goes on with the newest.

    `vendor`: named `wa-service.log.<date>`, and the link `wa-service.INFO` leads to the live one.
    """

    def __init__(self, directory: str, echo: bool = True, vendor: bool = False) -> None:
        super().__init__(directory, "", echo)
        self._vendor = vendor
        self.path = self._newest() or self._fresh()

    def _newest(self) -> str:
        try:
            names = sorted(
                name
                for name in os.listdir(self.directory)
                if (name.startswith("wa-service.log.") if self._vendor else fnmatch(name, "wa-service*.log"))
            )
        except OSError:
            return ""
        return os.path.join(self.directory, names[-1]) if names else ""

    def _fresh(self) -> str:
        name = f"wa-service.log.{moment()}" if self._vendor else f"wa-service-{moment()}.log"
        return os.path.join(self.directory, name)

    def _ready(self, size: int) -> None:
        try:
            if os.stat(self.path).st_size >= CORE_LIMIT:
                self.path = self._fresh()
        except FileNotFoundError:
            if self._fd >= 0:
                # cleanup.sh took it: the next line starts a new file under a new name.
                self.path = self._fresh()
        super()._ready(size)
        if self._vendor:
            self._link()

    def _link(self) -> None:
        link, name = os.path.join(self.directory, "wa-service.INFO"), os.path.basename(self.path)
        with contextlib.suppress(OSError):
            if os.path.islink(link) and os.readlink(link) == name:
                return
            os.symlink(name, f"{link}.new")
            os.replace(f"{link}.new", link)


def leave_crash_log(directory: str) -> None:
    """A crash log, as if the program before this one had crashed."""
    with contextlib.suppress(OSError):
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, f"{moment()}-crash.log"), "w", encoding="utf-8") as stream:
            stream.write(f"{stamp()} caught signal 11 (SIGSEGV)\n")


class Noise(threading.Thread):
    """Fills a log at a rate of bytes a second, so that a test need not wait for months."""

    def __init__(self, log: LogFile, rate: float, stop: threading.Event) -> None:
        super().__init__(name="noise", daemon=True)
        self._log = log
        self._rate = rate
        self._stopping = stop

    def run(self) -> None:
        """Write until the program ends."""
        line = f"{stamp()} DEBUG socket stanza received, ack sent, queue empty, nothing else to do\n"
        started, written = time.monotonic(), 0
        while not self._stopping.wait(0.2):
            due = int((time.monotonic() - started) * self._rate) - written
            count = min(due // len(line), 200000)
            if count > 0:
                self._log.write(line * count)
                written += count * len(line)
