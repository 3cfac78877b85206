# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What notifications of GC say."""

from __future__ import annotations

import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._gc_told import (
    Notification,
    fold_notifications,
    parse_notifications,
)
from ansible_collections.waba.onprem.plugins.module_utils._webapp_answers import SINGLE


def told(node: str | None = None, status: str = "complete", deleted: int = 5, **more: t.Any) -> str:
    gc: dict[str, t.Any] = {"messages_deleted": deleted, "status": status}
    if node:
        gc["node"] = node
    return json.dumps({"services": [{"message": {"gc": gc}}], **more})


def test_notifications_are_read_and_folded() -> None:
    lines = [
        "torn {",
        "[]",
        json.dumps({"messages": [{"id": "x"}]}),
        told("a:1", deleted=3),
        told("a:1", deleted=99),
        told("b:2", status="failed", deleted=0, errors=[{"code": 1014, "details": "time-out"}]),
    ]
    first, silent = fold_notifications(parse_notifications(lines), ["a:1", "b:2", "c:3"])
    assert first == {
        "a:1": Notification("a:1", "complete", 3),
        "b:2": Notification("b:2", "failed", 0, "1014 time-out"),
    }
    assert silent == ["c:3"]


def test_an_older_runs_notification_counts_for_nothing() -> None:
    assert parse_notifications([told(timestamp=100)], since=200) == []
    assert len(parse_notifications([told(timestamp=300)], since=200)) == 1
    first, silent = fold_notifications([Notification("gone:0", "complete", 1)], ["a:1", "b:2"])
    assert (first, silent) == ({}, ["a:1", "b:2"])


@pytest.mark.parametrize("node", [None, "wacore:9dfe77618dba"])
def test_a_single_client_may_leave_its_name_out(node: str | None) -> None:
    first, silent = fold_notifications(parse_notifications([told(node)]), [SINGLE])
    assert first[SINGLE].deleted == 5
    assert silent == []


def test_media_notifications_nest_both_ways() -> None:
    good = json.dumps({"services": [{"message": {"gc": {"items_deleted": 7, "status": "complete"}}}]})
    bad = json.dumps(
        {"services": [{"media": {"gc": {"items_deleted": 0, "status": "failed"}}}], "errors": [{"code": 1000}]}
    )
    assert parse_notifications([good, bad, told()], media=True) == [
        Notification("", "complete", 7),
        Notification("", "failed", 0, "1000"),
    ]
    assert parse_notifications([good, bad]) == []


def test_time_stamps_of_all_kinds() -> None:
    for old, new in ((100, 300), (100_000, 300_000), ("100", "300")):
        scale = 1_700_000_000 if old == 100_000 else 0
        lines = [
            told(timestamp=(int(old) + scale) * (1000 if scale else 1)),
            told(timestamp=(int(new) + scale) * (1000 if scale else 1)),
        ]
        assert len(parse_notifications(lines, since=(200_000 if scale else 200) + scale)) == 1
    assert len(parse_notifications([told(timestamp="yesterday")], since=200)) == 1


def test_envelopes_and_spellings() -> None:
    inner = json.loads(told("a:1"))
    assert parse_notifications([json.dumps({"received_at": 300, "body": inner})], since=200)[0].node == "a:1"
    assert parse_notifications([json.dumps({"received_at": 100, "body": inner})], since=200) == []
    spelt = {"services": {"message": {"gc": {"messages_deleted": "7", "status": "COMPLETE"}}}}
    assert parse_notifications([json.dumps(spelt)]) == [Notification("", "complete", 7)]
    beside = {"services": [{"message": {"gc": {"status": "failed"}}, "errors": [{"code": 1014, "title": "lost"}]}]}
    assert parse_notifications([json.dumps(beside)]) == [Notification("", "failed", 0, "1014 lost")]


@given(st.text())
def test_no_line_breaks_the_reading(line: str) -> None:
    assert parse_notifications([line, told()])[-1].deleted == 5
