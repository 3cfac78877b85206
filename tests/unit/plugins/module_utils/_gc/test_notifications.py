# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What notifications of GC say."""

from __future__ import annotations

import json
import time
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._gc.notifications import (
    Notification,
    fold_notifications,
    is_whole,
    parse_notifications,
    strange_nodes,
)
from ansible_collections.waba.onprem.plugins.module_utils._webapp.answers import SINGLE


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


def wrap(body: t.Any, *ways: t.Any) -> str:
    for way in ways:
        body = [body] if way is list else json.dumps(body) if way is str else {way: body, "n": 1}
    return json.dumps(body)


@pytest.mark.parametrize(
    "ways",
    [
        (list,),
        ("a", "b", "c", "d"),
        (str, "message"),
        (str, "a", str, "b"),
        (list, "a", list, "b", list, "c", list, "d"),
        ("payload", list, str),
        (str,),
    ],
)
def test_the_clients_body_is_found_in_any_wrapping(ways: tuple[t.Any, ...]) -> None:
    assert parse_notifications([wrap(json.loads(told("a:1")), *ways)]) == [Notification("a:1", "complete", 5)]


def test_wrappings_without_end_are_not_followed() -> None:
    assert parse_notifications([wrap(json.loads(told("a:1")), *"abcdefghi")]) == []
    assert parse_notifications(["[" * 100_000 + told("a:1") + "]" * 100_000]) == [Notification("a:1", "complete", 5)]


def test_a_list_keeps_its_order_and_every_entry_its_own_time() -> None:
    entries = [{"received_at": at, "event": {"body": json.loads(told(f"n:{at}"))}} for at in (100, 300, 400)]
    assert [item.node for item in parse_notifications([json.dumps(entries)], since=200)] == ["n:300", "n:400"]


def test_what_a_customer_writes_is_not_the_clients_word() -> None:
    written = {"from": "491700000000", "type": "text", "text": {"body": told("a:1")}}
    for forged in ({"messages": [written]}, {"body": {"message": written}}, {"contacts": [{"name": told("a:1")}]}):
        assert parse_notifications([json.dumps(forged), json.dumps(forged)[:-1]]) == []


@pytest.mark.parametrize("mark", ["\ufeff", " \ufeff", ""])
def test_a_byte_order_mark_is_passed_over(mark: str) -> None:
    assert len(parse_notifications([mark + told("a:1") + "\r"])) == 1
    assert len(parse_notifications([json.dumps({"body": mark + told("a:1")})])) == 1


@pytest.mark.parametrize("size", range(1, len(told("torn:0"))))
def test_a_line_glued_behind_a_torn_one_is_found(size: int) -> None:
    good = Notification("a:1", "complete", 5)
    assert parse_notifications([told("torn:0")[:size] + told("a:1")]) == [good]
    wrapped = wrap(json.loads(told("a:1")), str, "body")
    assert parse_notifications([told("torn:0")[:size] + wrapped]) == [good]


def test_glued_lines_keep_their_times() -> None:
    old, new = (json.dumps({"received_at": at, "body": json.loads(told(f"n:{at}"))}) for at in (100, 300))
    assert [item.node for item in parse_notifications([old[:40] + old + new], since=200)] == ["n:300"]


@pytest.mark.parametrize(
    "unit",
    [
        '{"services":[{"gc":',
        '{"services":["gc",',
        '{"services":"gc',
        '{"services":{"x":"{\\"gc\\":',
        '[{"services":["gc"',
        "{",
        '"services"gc{"',
        '{"gc":{"services":1},',
    ],
)
@pytest.mark.parametrize("tail", ["", '{"services":"' + "gc" * 1_000_000])
def test_a_line_of_megabytes_does_not_hang_it(unit: str, tail: str) -> None:
    begin = time.process_time()
    assert parse_notifications([unit * (4_000_000 // len(unit)) + tail]) == []
    assert time.process_time() - begin < 5


def test_a_line_behind_a_torn_one_of_megabytes_is_found() -> None:
    torn = json.dumps({"a": {"b": [{"id": n, "text": "x" * 50} for n in range(60_000)], "c": 1}})[:-5]
    assert parse_notifications([torn + told("a:1")]) == [Notification("a:1", "complete", 5)]


def test_whole_and_torn_texts() -> None:
    for text in ("{}", "[1]", '\ufeff{"a": 1}\r', "{} {}", "{}{}"):
        assert is_whole(text)
    for text in ("", "1", '{"a": {}', "}", "{}}", "[" * 100_000 + "]"):
        assert not is_whole(text)


def test_names_are_compared_without_regard_to_case_and_by_a_host_that_is_unique() -> None:
    nodes = ["wacoreA:9dfe77618dba", "wacoreB:a9dcc716fd6e"]
    for names in (["WACOREA:9DFE77618DBA", "wacoreb"], ["wacorea", "WaCoreB"]):
        first, silent = fold_notifications([Notification(name, "complete", 1) for name in names], nodes)
        assert (list(first), silent) == (nodes, [])


def test_a_host_of_two_nodes_or_another_container_of_it_is_nobody() -> None:
    nodes = ["a:1", "a:2", "b:3"]
    found = [Notification(name, "complete", 1) for name in ("a", "b:4", "b:4", "", "B")]
    first, silent = fold_notifications(found, nodes)
    assert (list(first), silent) == (["b:3"], ["a:1", "a:2"])
    assert strange_nodes(found, nodes) == ["a", "b:4", "a node without a name"]


@pytest.mark.parametrize("nodes", [[], [SINGLE]])
def test_a_single_client_knows_no_strange_node(nodes: list[str]) -> None:
    assert strange_nodes([Notification("x:1", "complete", 1), Notification("", "complete", 1)], nodes) == []
    assert strange_nodes([Notification("x:1", "complete", 1), Notification("", "complete", 1)], ["a:1"]) == ["x:1"]


def test_figures_and_times_that_are_none() -> None:
    body = {"services": [{"message": {"gc": {"messages_deleted": "\u00b2", "status": "complete"}}}], "time": 10**400}
    assert parse_notifications([json.dumps(body)], since=1) == [Notification("", "complete", 0)]
