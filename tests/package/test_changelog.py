# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The changelog: its fragments are valid, and CHANGELOG.md is what antsibull-changelog generates from them and the plugins."""

from __future__ import annotations

import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_changelog_is_valid_and_generated() -> None:
    """script/docs lints fragments and changelog.yaml, generates both files, and compares them with --check."""
    done = subprocess.run(["script/docs", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
