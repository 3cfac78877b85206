# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of an error: object, found, expected, fix, in this order and on one line."""

from __future__ import annotations

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (("db.env", "empty"), "db.env: empty."),
        (("db.env", "empty", "a file"), "db.env: empty; expected a file."),
        (("db.env", "empty", "a file", "Fill it"), "db.env: empty; expected a file. Fill it"),
        (("db.env", "empty", "", "Fill it"), "db.env: empty. Fill it"),
    ],
)
def test_the_parts_are_joined_to_one_line_and_kept(parts: tuple[str, ...], text: str) -> None:
    error = WaError(*parts)
    assert str(error) == text
    assert (error.subject, error.found, error.expected, error.cure) == (*parts, "", "")[:4]


def test_the_parts_can_be_given_by_name() -> None:
    assert str(WaError("a", found="b", cure="c", expected="d")) == "a: b; expected d. c"
