# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run commands in tests and benchmarks; a failed command raises an error that contains its output."""

from __future__ import annotations

import shlex
import subprocess
import typing as t
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def run(*argv: str | Path, stdin: str = "", **options: t.Any) -> str:
    """What a command printed. Raises AssertionError, with its output and its errors, unless it ends with 0."""
    words = [str(word) for word in argv]
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise AssertionError(f"{shlex.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return str(done.stdout)


def docker(*argv: str, check: bool = True, stdin: str = "", **options: t.Any) -> str:
    """The output of a `docker` command, stripped; with `check=False` of one that may fail."""
    if check:
        return run("docker", *argv, stdin=stdin, **options).strip()
    done = subprocess.run(["docker", *argv], input=stdin, capture_output=True, text=True, check=False, **options)
    return str(done.stdout).strip()
