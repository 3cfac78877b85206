# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose sessions are on the client's database: origins as servers show them. Reads of real servers are integration tests."""

from __future__ import annotations

import typing as t

import pytest
from scripted_database import ScriptedDatabase

from ansible_collections.waba.onprem.plugins.module_utils._database import connection, guard
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import MYSQL, PGSQL

OURS = ["10.0.0.5", "wa-h1-wacore-1.wa-h1_default", "fd00::5"]


def session(origin: str, seconds: int = 1) -> dict[str, t.Any]:
    return {"id": 1, "from": origin, "database": "messageStore", "seconds": seconds, "state": "Sleep"}


@pytest.mark.parametrize(
    ("origin", "names", "expected"),
    [
        ("10.0.0.5", OURS, True),
        ("10.0.0.6", OURS, False),
        ("::ffff:10.0.0.5", OURS, True),
        ("FD00:0::5", OURS, True),
        ("WA-h1-wacore-1.wa-h1_default", OURS, True),
        ("wa-h1-wacore-1.other", OURS, False),
        ("db1.example.com", ["db1.example.com"], True),
        ("10.0.0.77", ["10.0.0.0/24"], True),
        ("fd00::77", ["10.0.0.0/8"], False),
        ("local", ["local"], True),
        ("localhost", [], False),
        ("", [], False),
    ],
)
def test_an_origin_is_an_address_a_name_or_in_a_network(origin: str, names: list[str], expected: bool) -> None:
    assert guard.is_origin(origin, names) is expected


@pytest.mark.parametrize(
    ("running", "shared", "unknown"),
    [
        (True, [], ["10.0.0.6"]),
        (True, ["10.0.0.6"], []),
        (False, [], ["10.0.0.5", "10.0.0.6"]),
        (False, ["10.0.0.6"], ["10.0.0.5"]),
        (False, ["10.0.0.5", "10.0.0.6"], []),
    ],
)
def test_without_a_running_container_no_session_is_the_clients(
    running: bool, shared: list[str], unknown: list[str]
) -> None:
    sessions = [session("10.0.0.5"), session("10.0.0.6")]
    assert [one["from"] for one in guard.unknown(sessions, running, OURS, shared)] == unknown


def test_sessions_are_named_by_origin() -> None:
    sessions = [session("10.0.0.6", 7), session("10.0.0.6", 300), session("b")]
    assert guard.origins(sessions) == [
        "2 from 10.0.0.6 (in their present state for up to 300 s)",
        "1 from b (in their present state for up to 1 s)",
    ]


def server(identity: str, started: int, cluster: bool = False) -> dict[str, t.Any]:
    return {"identity": identity, "started": started, "cluster": cluster}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (server("a", 100), server("a", 102), True),
        (server("a", 100), server("a", 103), False),  # a clone of the server's data
        (server("a", 100), server("b", 100), False),
        (server("a", 100, True), server("a", 900, True), True),  # two nodes of one Galera cluster
        (server("", 0), server("", 0), False),
        ({}, server("a", 100), False),
    ],
)
def test_a_server_is_the_same_by_identity_and_start(one: dict[str, t.Any], other: dict[str, t.Any], same: bool) -> None:
    assert guard.same_server(one, other) is same


@pytest.mark.parametrize("engine", [MYSQL, PGSQL])
def test_definitions_are_those_of_all_databases_without_the_prefix(
    monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    server = ScriptedDatabase(engine)
    monkeypatch.setattr(connection, "connect", server.connect)
    kind = "int(11)"
    server.on("information_schema.columns", lambda _values: [("messages", "id", kind, "NO", "")])
    server.on("pg_attribute", lambda _values: [("5d41402abc4b2a76",)])
    with server.session() as session:
        first = guard.definitions(session, ["wa1c", "wa1m"], "wa1")
        kind = "int"  # as a newer server shows it
        assert guard.definitions(session, ["wa2c", "wa2m"], "wa2") == first
        assert guard.definitions(session, ["wa1c"], "wa1") != first
        assert guard.definitions(session, [], "wa1") == ""
    assert (len(first), server.open) == (16, 0)
