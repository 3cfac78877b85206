# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running commands: starts child processes, logs their output, and ends them on an interrupt."""

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
    """An error message that names the cause and the remedy."""


class Interrupted(LabError):
    """A child process was not started, or was ended, because of an interrupt."""


class Shell:
    """Starts child processes in sessions of their own, so that Ctrl-C reaches this process first, which ends them in order."""

    def __init__(self, log: Path | None = None) -> None:
        self.log = log
        self.hidden: list[str] = []  # secrets that must not be logged, even if a child prints one
        self._children: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    @property
    def _stopped(self) -> bool:
        return self._stopping.is_set()

    def pause(self, seconds: float) -> None:
        """Wait between two checks of a condition; raises Interrupted at once on an interrupt."""
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
        """Run a command to its end. Never put a secret into argv, which is logged; `stdin` is not logged.

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
        if late:  # `stop` was called during the start and has not seen this child
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
            output = log.read_bytes() if log else err or out
            lines = self._hide(output.decode(errors="replace").strip()).splitlines() or [
                f"exit code {child.returncode}"
            ]
            self.note("\n".join(lines[-20:]))
            # The output of a build is long: show its last lines and the path of the log.
            last = "\n  ".join(["", *lines[-5:], f"whole log: {log}"]) if log else f" {lines[-1]}"
            raise LabError(f"`{shlex.join(argv[:4])} ...` failed:{last}")
        return subprocess.CompletedProcess(list(argv), child.returncode, out, err)

    def _hide(self, text: str) -> str:
        for secret in self.hidden:
            text = text.replace(secret, "********")
        return text

    def text(self, argv: Sequence[str], **options: object) -> str:
        """Run a command and return its output, stripped."""
        return self.run(argv, **options).stdout.decode(errors="replace").strip()  # type: ignore[arg-type] # same options

    def stop(self) -> None:
        """End every running child and start no more: called once, on an interrupt."""
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
        with contextlib.suppress(ProcessLookupError):  # the process has already ended
            os.killpg(child.pid, number)
