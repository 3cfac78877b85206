# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the unit tests of all that calls the API."""

from __future__ import annotations

import typing as t

import pytest
from fake_webapp import FakeWebapp
from gc_module import client

__all__ = ["client", "fake"]


@pytest.fixture
def fake() -> t.Iterator[FakeWebapp]:
    server = FakeWebapp()
    yield server
    server.close()
