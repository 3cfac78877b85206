# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which databases are one client's own: by prefix, told from a neighbour's, never guessed."""

from __future__ import annotations

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._database_own import own
from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError

OURS = ["wa1configStore", "wa1messageStore"]
THEIRS = ["wa10configStore", "wa10messageStore"]


@pytest.mark.parametrize(
    ("prefix", "names", "wanted", "expected"),
    [
        ("wa1", OURS, None, OURS),
        ("wa1", OURS, [], OURS),
        ("wa1", [], None, []),
        ("", [], None, []),
        ("", ["configStore", "messageStore"], None, ["configStore", "messageStore"]),
        # One name is enough to tell a neighbour, and the rest of ours is not forgotten.
        ("wa1", [*THEIRS, *OURS], ["wa1messageStore"], OURS),
        ("wa1", [*THEIRS, *OURS], OURS, OURS),
        ("", ["configStore", "messageStore", "wa2configStore", "wa2messageStore"], ["messageStore"], ["configStore", "messageStore"]),
        # Two shards that were named belong to us, although one ends like the other.
        ("wa1", ["wa1messageStore", "wa1xmessageStore"], ["wa1messageStore", "wa1xmessageStore"], ["wa1messageStore", "wa1xmessageStore"]),
        ("wa1", ["wa1", "wa1messageStore"], ["wa1"], ["wa1", "wa1messageStore"]),
    ],
)  # fmt: skip
def test_own_databases(prefix: str, names: list[str], wanted: list[str] | None, expected: list[str]) -> None:
    assert own(prefix, names, wanted) == expected


@pytest.mark.parametrize(
    ("prefix", "names", "wanted", "told"),
    [
        ("wa1", [*THEIRS, *OURS], None, "wa10messageStore"),
        ("wa1", ["wa10configStore", "wa1messageStore"], None, "wa10configStore"),
        ("wa", ["waconfigStore", "wabconfigStore"], None, "wabconfigStore"),
        ("", ["messageStore", "wa2messageStore"], None, "wa2messageStore"),
        ("wa1", OURS, ["other"], "not seen on the server: other"),
    ],
)
def test_doubt_is_an_error_with_the_candidates(
    prefix: str, names: list[str], wanted: list[str] | None, told: str
) -> None:
    with pytest.raises(WaError, match=told):
        own(prefix, names, wanted)
