# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rare layouts of an operator's Compose files go through adoption, provision.yml and upgrade.yml, several at a time."""

from __future__ import annotations

import typing as t

import adopt_layouts
import pytest
from operator_layouts import RARE


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> t.Iterator[adopt_layouts.Outcomes]:
    """The failures of the layouts that were selected."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function) and item.path == request.path]
    selected = [str(item.callspec.params["name"]) for item in items]
    with adopt_layouts.started_lab():
        yield adopt_layouts.Outcomes(selected, lambda: tmp_path_factory.mktemp("batch"))


@pytest.mark.parametrize("name", RARE)
def test_a_client_keeps_its_compose_files_through_an_upgrade(name: str, outcomes: adopt_layouts.Outcomes) -> None:
    outcomes.check(name)
