# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose lock keeps another run out."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal


def read(run_id: str, held: bool) -> dict[str, t.Any]:
    return {"journal": {"run_id": run_id} if run_id else {}, "held": held}


@pytest.mark.parametrize(
    ("own", "leaders", "locked"),
    [
        (("a", True), ("a", True), True),
        (("a", True), ("a", False), False),  # the leader's lease is over, or that run has ended
        (("a", True), ("b", True), False),  # which keeps others out at the leader itself
        (("a", True), ("b", False), False),
        (("a", True), ("", False), True),  # nobody knows what has become of that run
        (("a", False), ("a", True), False),
        (("", False), ("", False), False),
    ],
)
def test_a_members_lock_counts_as_long_as_its_leaders(
    own: tuple[str, bool], leaders: tuple[str, bool], locked: bool
) -> None:
    assert upgrade_journal.counts(read(*own), read(*leaders)) is locked


def test_a_member_that_was_away_at_the_end_is_free() -> None:
    leaders = dict(read("", False), ended={"runs": ["a", "b"]})
    assert not upgrade_journal.counts(read("a", True), leaders)
    assert upgrade_journal.counts(read("c", True), leaders)


def test_a_leader_that_was_not_asked_frees_nobody() -> None:
    assert upgrade_journal.counts(read("a", True), {})
    assert not upgrade_journal.counts({}, {})
