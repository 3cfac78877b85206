# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interpretation of the API's answers of any structure. test_client.py receives them over HTTP."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._webapp.answers import (
    callbacks,
    check_password,
    expires_on,
    gc_nodes,
    metrics,
    parse_body,
    started_gc,
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
        ({}, "processing"),
        ({"status": "failed"}, "failed"),
        ({"status": "Error"}, "failed"),
        ({"errors": [ERROR]}, "failed: 1014, Internal error, down"),
        ({"errors": [{"code": 0, "details": "down"}]}, "failed: down"),
        ({"errors": ["down"]}, "failed: down"),
        ({"errors": []}, "processing"),
        ("processing", "processing"),
        ("has failed", "failed: has failed"),
        (None, "processing"),
    ],
)
def test_the_gc_status_of_a_node(item: t.Any, status: str) -> None:
    body = {"services": {"message": {"gc": {"b:1": {"status": "processing"}, "c:2": item}}}}
    assert gc_nodes(body) == {"b:1": "processing", "c:2": status}
    assert gc_nodes({"services": {"message": {"gc": item}}}) == {"coreapp": status}


@pytest.mark.parametrize(
    ("body", "started"),
    [
        ({"services": {"message": {"gc": {"status": "processing"}}}}, True),
        ({"services": {"message": {"gc": {"a:1": {"status": "failed"}, "b:2": {"status": "processing"}}}}}, True),
        ({"services": {"message": {"gc": {}}}}, True),  # nothing is known of it
        ({"services": {"message": {"gc": {"a:1": {"status": "failed"}}}}}, False),
        ({"services": {"message": {"gc": {"errors": [ERROR]}}}}, False),
        ({"services": {"media": {"gc": {"status": "processing"}}}}, False),
        ({"services": None, "errors": [ERROR]}, False),
        ({}, False),
    ],
)
def test_whether_an_answer_names_a_node_that_may_have_started(body: t.Any, started: bool) -> None:
    assert started_gc(body) is started


@pytest.mark.parametrize(
    ("figures", "found"),
    [
        ([], (None, None, None)),
        ([("callback_queue_size", {}, 3.0), ("callback_queue_size", {}, 4.0)], (7, None, None)),
        ([("callback_requests", {}, 3.0)], (None, 3, 0)),
        ([("app_callback_requests", {"result": "http_500"}, 3.0)], (None, 0, 3)),
        ([("other", {}, 3.0)], (None, None, None)),
    ],
)
def test_callbacks_are_summed(figures: t.Any, found: tuple[int | None, ...]) -> None:
    assert tuple(callbacks(figures).values()) == found


@pytest.mark.parametrize(
    ("support", "day"),
    [
        ({}, ""),
        ({"coreapp": {"expire_timestamp": "2026-12-31T00:00:00"}}, "2026-12-31"),
        ({"a": {"expire_timestamp": "2026-12-31T00:00:00"}, "b": {"expire_timestamp": "2026-11-30"}}, "2026-11-30"),
        ({"a": {"expire_timestamp": "9999-12-31T00:00:00"}}, ""),
        ({"a": {"expire_timestamp": 7}, "b": "x", "c": {}}, ""),
    ],
)
def test_the_first_node_to_expire_counts(support: dict[str, t.Any], day: str) -> None:
    assert expires_on(support) == day
