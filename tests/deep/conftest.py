# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab of the tests of operators' layouts."""

from __future__ import annotations

import typing as t

import pytest

pytest.register_assert_rewrite("adopt_layouts")

import adopt_layouts  # noqa: E402 - after that


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> t.Iterator[adopt_layouts.Outcomes]:
    """What the selected layouts of a file have come to, several at a time, with the version of Compose that the file names."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function) and item.path == request.path]
    selected = [str(item.callspec.params["name"]) for item in items]
    with adopt_layouts.started_lab(adopt_layouts.HOSTS, request.module.COMPOSE):
        yield adopt_layouts.Outcomes(selected, lambda: tmp_path_factory.mktemp("batch"))
