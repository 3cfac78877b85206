# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running commands: one place that starts children, logs what they print, and ends them when we are interrupted."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path


class LabError(Exception):
    """What went wrong and what to do about it, in words for the person at the keyboard."""


class Interrupted(LabError):
    """A child was not started, or was ended, because the lab was told to stop."""


class Shell:
    """Starts children in sessions of their own, so that Ctrl-C reaches us first and we end them in order."""

    def __init__(self, log: Path | None = None) -> None:
        self.log = log
        self.hidden: list[str] = []  # secrets that must not be logged, even when a child prints one
        self._children: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    @property
    def _stopped(self) -> bool:
        return self._stopping.is_set()

    def pause(self, seconds: float) -> None:
        """Wait a moment between two looks at something; ends at once when the lab is interrupted."""
        if self._stopping.wait(seconds):
            raise Interrupted("interrupted")

    def note(self, text: str) -> None:
        """Append a line to the log, if there is one."""
        if self.log is None:
            return
        text = self._hide(text)
        with self._lock, self.log.open("a", encoding="utf-8") as handle:
            handle.write(f"{time.strftime('%H:%M:%S')} {text.rstrip()}\n")

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        check: bool = True,
        timeout: float = 600.0,
        env: dict[str, str] | None = None,
        log: Path | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end. Never put a secret in argv: it is logged. `stdin` is not.

        With `log`, the output goes to that file instead of being returned. Raises LabError on a non-zero end
        when `check`, on a missing program and on a time-out (seconds).
        """
        with self._lock:
            if self._stopped:
                raise Interrupted("interrupted")
        where = log.open("ab") if log else None
        try:
            child = subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                stdout=where or subprocess.PIPE,
                stderr=subprocess.STDOUT if where else subprocess.PIPE,
                start_new_session=True,
                env={**os.environ, **env} if env else None,
            )
        except FileNotFoundError as error:
            raise LabError(f"{argv[0]} is not installed; run script/bootstrap first") from error
        finally:
            if where:
                where.close()
        with self._lock:
            self._children.add(child)
            late = self._stopped
        if late:  # `stop` came between the start and this moment, and has not seen it
            self._signal(child, signal.SIGTERM)
        started = time.monotonic()
        try:
            out, err = child.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            self._end(child)
            raise LabError(f"`{shlex.join(argv[:3])} ...` did not end within {timeout:.0f} s") from error
        finally:
            if child.poll() is None:
                self._end(child)
            with self._lock:
                self._children.discard(child)
        out, err = out or b"", err or b""
        self.note(f"{shlex.join(argv)} -> {child.returncode} ({time.monotonic() - started:.1f} s)")
        if self._stopped:
            raise Interrupted("interrupted")
        if check and child.returncode != 0:
            said = log.read_bytes() if log else err or out
            lines = self._hide(said.decode(errors="replace").strip()).splitlines() or [f"exit code {child.returncode}"]
            self.note("\n".join(lines[-20:]))
            # What a build printed is long: its last lines here, and where the rest is.
            last = "\n  ".join(["", *lines[-5:], f"whole log: {log}"]) if log else f" {lines[-1]}"
            raise LabError(f"`{shlex.join(argv[:4])} ...` failed:{last}")
        return subprocess.CompletedProcess(list(argv), child.returncode, out, err)

    def _hide(self, text: str) -> str:
        for secret in self.hidden:
            text = text.replace(secret, "********")
        return text

    def text(self, argv: Sequence[str], **options: object) -> str:
        """Run a command and return what it printed, stripped."""
        return self.run(argv, **options).stdout.decode(errors="replace").strip()  # type: ignore[arg-type] # same options

    def stop(self) -> None:
        """End every running child and start no more: called once, when the lab is interrupted."""
        with self._lock:
            self._stopping.set()
            children = list(self._children)
        for child in children:
            self._signal(child, signal.SIGTERM)
        deadline = time.monotonic() + 15
        for child in children:
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._signal(child, signal.SIGKILL)

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        self._signal(child, signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            self._signal(child, signal.SIGKILL)
            child.wait()

    @staticmethod
    def _signal(child: subprocess.Popen[bytes], number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.killpg(child.pid, number)
