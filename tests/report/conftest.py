# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the tests of pages, metrics and schedules: the collection, the programs that script/report installs, a browser."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from browser import Browser

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder of the programs that are no Debian packages of this machine."""
    folder = ROOT / ".lab" / "report"
    assert folder.is_dir(), "script/report installs what these tests need"
    return folder


@pytest.fixture(scope="session")
def browser() -> t.Iterator[Browser]:
    with Browser() as one:
        yield one
