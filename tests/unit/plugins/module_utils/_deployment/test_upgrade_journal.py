# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose lock excludes another run."""

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
        (("a", True), ("a", False), False),  # the leader's lease has expired, or that run has ended
        (("a", True), ("b", True), False),  # the leader itself excludes others
        (("a", True), ("b", False), False),
        (("a", True), ("", False), True),  # it is unknown what became of that run
        (("a", False), ("a", True), False),
        (("", False), ("", False), False),
    ],
)
def test_a_members_lock_counts_as_long_as_its_leaders(
    own: tuple[str, bool], leaders: tuple[str, bool], locked: bool
) -> None:
    assert upgrade_journal.counts(read(*own), read(*leaders)) is locked


def test_a_member_that_missed_the_end_is_not_locked() -> None:
    leaders = dict(read("", False), ended={"runs": ["a", "b"]})
    assert not upgrade_journal.counts(read("a", True), leaders)
    assert upgrade_journal.counts(read("c", True), leaders)


def test_without_the_leaders_journal_the_lock_counts() -> None:
    assert upgrade_journal.counts(read("a", True), {})
    assert not upgrade_journal.counts({}, {})
