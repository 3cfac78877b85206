# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How full a database server is, by a scripted one. Real servers: tests/integration/test_wa_info_database.py."""

from __future__ import annotations

import typing as t

import pytest
from scripted_database import Refusal, ScriptedDatabase

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import activity, capacity, connection, messages
from ansible_collections.waba.onprem.plugins.module_utils._database.errors import DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._database.session import parse_version

TABLES = [messages.Table(name, name, ("id",)) for name in ("a", "b")]


@pytest.mark.parametrize(
    ("engine", "version", "day"),
    [
        ("MYSQL", "8.0.36", "2026-04-30"),
        ("MYSQL", "5.7.44-log", "2023-10-31"),
        ("MYSQL", "9.7.0", None),
        ("MYSQL", "10.11.6-MariaDB", "2028-02-16"),
        ("MYSQL", "5.5.5-10.5.23-MariaDB", "2025-06-24"),
        ("PGSQL", "13.14", "2025-11-13"),
        ("PGSQL", "18.0 (Debian 18.0-1)", "2030-11-14"),
        ("PGSQL", "99.1", None),
    ],
)
def test_the_end_of_life_is_that_of_the_series(engine: str, version: str, day: str | None) -> None:
    assert capacity.end_of_life(parse_version(engine, version)) == day


@pytest.fixture
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ScriptedDatabase:
    found = ScriptedDatabase(request.param)
    found.on("Threads_connected", [("Threads_connected", "31")])
    found.on("max_connections", [("max_connections", "151")] if request.param == "MYSQL" else [(31, 151)])
    monkeypatch.setattr(connection, "connect", found.connect)
    monkeypatch.setattr(messages, "find_tables", lambda *_arguments: TABLES)
    monkeypatch.setattr(activity, "estimate", lambda *_arguments: [5, 7])
    return found


@pytest.mark.parametrize("server", ["MYSQL", "PGSQL"], indirect=True)
def test_connections_and_rows_are_read(server: ScriptedDatabase) -> None:
    found = capacity.read(server.settings, "wa_", None)
    assert (found["connections_used"], found["connections_allowed"]) == (31, 151)
    assert found["tables"] == [{"database": "a", "rows": 5}, {"database": "b", "rows": 7}]
    assert (found["tables_error"], server.open) == ("", 0)


@pytest.mark.parametrize("server", ["MYSQL"], indirect=True)
def test_tables_that_are_not_found_leave_the_rest(server: ScriptedDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: t.Any) -> t.NoReturn:
        raise WaError("client's database", "ambiguous")

    monkeypatch.setattr(messages, "find_tables", fail)
    found = capacity.read(server.settings, "wa_", None)
    assert (found["product"], found["tables"], found["tables_error"]) == ("MySQL", [], "client's database: ambiguous.")


@pytest.mark.parametrize("server", ["MYSQL"], indirect=True)
def test_a_login_that_fails_is_an_error(server: ScriptedDatabase) -> None:
    server.on("version", Refusal("login"))
    with pytest.raises(DatabaseError):
        capacity.read(server.settings, "wa_", None)
