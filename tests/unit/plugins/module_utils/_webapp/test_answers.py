# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interpretation of the API's answers of any structure. test_client.py receives them over HTTP."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._webapp.answers import (
    check_password,
    gc_nodes,
    metrics,
    parse_body,
    parse_gc_failure,
)


@pytest.mark.parametrize(
    ("raw", "body", "form"),
    [
        (b'{"a": 1}', {"a": 1}, "json"),
        (b' \xef\xbb\xbf {"a": 1}\r\n', {"a": 1}, "json"),
        (b"[1]", {}, "json"),
        (b'"text"', {}, "json"),
        (b"", {}, "empty"),
        (b" \r\n", {}, "empty"),
        (b"\xef\xbb\xbf", {}, "empty"),
        (b"null", {}, "empty"),
        (b'{"a": ', {}, "torn"),
        (b'[{"a": 1}', {}, "torn"),
        (b"<html>", {}, "foreign"),
        (b"OK", {}, "foreign"),
        (b"\xff\xfe", {}, "foreign"),
    ],
)
def test_a_body_and_its_form_are_recognised(raw: bytes, body: dict[str, t.Any], form: str) -> None:
    assert parse_body(raw) == (body, form)


def test_nested_metrics_are_found() -> None:
    body = {
        "meta": {"version": 2},
        "stats": {
            "app": {"queue": {"data": [{"labels": {"node": "a"}, "value": 3}, {"labels": {}, "value": 4}]}, "plain": 5},
        },
        "flag": True,
    }
    assert metrics(body) == [("queue", {"node": "a"}, 3.0), ("queue", {}, 4.0), ("plain", {}, 5.0)]


@pytest.mark.parametrize(
    ("password", "missing"),
    [
        ("Good-pass1", []),
        ("short1A", ["8 to 64 characters", "a special character"]),
        ("alllower-", ["a digit", "an upper-case letter"]),
        ("ALLUPPER-1", ["a lower-case letter"]),
    ],
)
def test_password_rules(password: str, missing: list[str]) -> None:
    assert check_password(password) == missing


@pytest.mark.parametrize("gc", [None, {}, [], {"a:1": {}}, {"error": "Connection timed out"}, {"count": 5}])
def test_an_answer_without_a_status_has_not_started_gc(gc: t.Any) -> None:
    assert not parse_gc_failure({"services": {"message": {"gc": gc}}})[1]
    assert not parse_gc_failure({"services": {"media": {"gc": {"status": "processing"}}}})[1]


def test_a_deeply_nested_body_is_no_error() -> None:
    assert parse_body(b"[" * 200_000) == ({}, "torn")


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"a": {"data": [{"value": 1}]}}, [("a", {}, 1.0)]),
        ({"a": {"data": [{"value": 1, "labels": None}]}}, [("a", {}, 1.0)]),
        ({"a": {"name": "b", "data": [{"value": 1.5, "labels": {"shard": 2}}]}}, [("b", {"shard": "2"}, 1.5)]),
        ({"a": {"data": [{"value": "1"}, {}, "1", None]}}, []),
        ({"a": {"data": {"b": 2}}}, [("b", {}, 2.0)]),
        ({"a": "1", "b": None, "c": [1]}, []),
        ({"a": {"meta": {"b": 1}}}, []),
        (None, []),
        ([1], []),
    ],
)
def test_unusual_metrics_are_parsed_or_ignored(body: t.Any, found: t.Any) -> None:
    assert metrics(body) == found


@pytest.mark.parametrize(("length", "good"), [(7, False), (8, True), (64, True), (65, False)])
def test_the_length_of_a_password(length: int, good: bool) -> None:
    assert check_password("Aa1-" + "x" * (length - 4)) == ([] if good else ["8 to 64 characters"])


ERROR = {"code": 1014, "title": "Internal error", "details": "down"}


@pytest.mark.parametrize(
    ("item", "status"),
    [
        ({"status": "processing"}, "processing"),
        ({"status": ""}, "processing"),
        ({"status": "failed"}, "failed"),
        ({"status": "Error"}, "failed"),
        ({"status": "failed", "title": "t", "details": "d"}, "failed: t, d"),
        ({"status": "processing", "details": "d"}, "processing"),
        ({"errors": [ERROR]}, "failed: 1014, Internal error, down"),
        ({"errors": [{"code": 0, "details": "down"}]}, "failed: down"),
        ({"errors": ["down"]}, "failed: down"),
        ({"errors": []}, "processing"),
        ("processing", "processing"),
        ("has failed", "failed: has failed"),
        (None, "None"),
    ],
)
def test_the_gc_status_of_a_node(item: t.Any, status: str) -> None:
    assert gc_nodes({"services": {"message": {"gc": [{"node": "b:1", "status": "processing"}, item]}}}) == {
        "b:1": "processing",
        "coreapp": status,
    }


NODES = {"wacore1:0123456789ab": {"status": "failed"}, "wacore2:0123456789ab": {"status": "failed"}}
FAILED = "failed: 1014, "
UNNAMED = "a node without a name"


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        # The node in the text, known or not; or the only host in it; or none.
        ("wacore2:0123456789ab: down", {"wacore2:0123456789ab": FAILED + "wacore2:0123456789ab: down"}),
        ("wacore3:0123456789ab: down", {"wacore3:0123456789ab": FAILED + "wacore3:0123456789ab: down"}),
        ("is wacore1 running: wacore1:6252", {"wacore1:0123456789ab": FAILED + "is wacore1 running: wacore1:6252"}),
        ("is wacore running", {UNNAMED: FAILED + "is wacore running"}),
        ("is wacore12 running", {UNNAMED: FAILED + "is wacore12 running"}),
        ("is my.wacore1 running", {UNNAMED: FAILED + "is my.wacore1 running"}),
    ],
)
def test_an_error_is_assigned_to_the_node_in_its_text(details: str, expected: dict[str, str]) -> None:
    body = {"services": {"message": {"gc": NODES}}, "errors": [{"code": 1014, "details": details}]}
    assert gc_nodes(body) == {**dict.fromkeys(NODES, "failed"), **expected}


@pytest.mark.parametrize(
    ("gc", "statuses", "started"),
    [
        ({"status": "processing"}, {"coreapp": "processing"}, True),
        ({"a:1": {"status": "failed"}, "b:2": {"status": "processing"}}, {"a:1": "failed", "b:2": "processing"}, True),
        ({"a:1": {"status": "failed"}}, {"a:1": "failed"}, False),
        ({"a:1": {}, "b:2": {"status": "processing"}}, {"b:2": "processing"}, True),
        ({"a:1": "processing"}, {"a:1": "processing"}, True),
        ({"a:1": "two words"}, {"a:1": "two words"}, False),
        ({"a:1": {"status": ["processing"]}}, {"a:1": "['processing']"}, False),
        ({"errors": [ERROR]}, {"coreapp": "failed: 1014, Internal error, down"}, False),
        (
            {"errors": [ERROR], "b:2": {"status": "processing"}},
            {UNNAMED: "failed: 1014, Internal error, down"} | {"b:2": "processing"},
            True,
        ),
    ],
)
def test_the_statuses_in_a_gc_answer(gc: t.Any, statuses: dict[str, str], started: bool) -> None:
    assert parse_gc_failure({"services": {"message": {"gc": gc}}}) == (statuses, started)
