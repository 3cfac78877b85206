# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests do to the Docker Engine of this machine; what came of it, `engine.Engine` tells."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


def docker(*argv: str, check: bool = True, stdin: str = "", **options: t.Any) -> str:
    """The output of a `docker` command; its complaint goes with the error."""
    done = subprocess.run(["docker", *argv], input=stdin, capture_output=True, text=True, check=False, **options)
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(argv)}: {done.stderr.strip()}")
    return str(done.stdout).strip()
