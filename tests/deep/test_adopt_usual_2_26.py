# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Usual layouts of an operator's Compose files go through adoption, provision.yml and upgrade.yml, with Compose 2.26."""

from __future__ import annotations

import adopt_layouts
import pytest
from operator_layouts import USUAL

COMPOSE = "2.26"
outcomes = adopt_layouts.outcomes  # the fixture


@pytest.mark.parametrize("name", USUAL)
def test_a_client_keeps_its_compose_files_through_an_upgrade(name: str, outcomes: adopt_layouts.Outcomes) -> None:
    outcomes.check(name)
