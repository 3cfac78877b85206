# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The migration lock on a scripted server: its holder, its support, and its session."""

from __future__ import annotations

import typing as t

import pytest
from scripted_database import Refusal, ScriptedDatabase

from ansible_collections.waba.onprem.plugins.module_utils._database import connection, migration_lock
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import MYSQL, PGSQL, DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._database.migration_lock import MigrationLock, lock_id

OWN = "0123456789ab"
NAME = "waba.onprem.migration"
NUMBERS = (migration_lock._CLASS, migration_lock._KEY)


def test_the_lock_id_depends_on_user_and_databases() -> None:
    env = {"WA_DB_USERNAME": "wa", "WA_DB_NAME_PREFIX": "a_", "WA_DB_PASSWORD": "x"}
    own = lock_id(env, None)
    assert len(own) == 12
    assert own == lock_id({**env, "WA_DB_PASSWORD": "y", "WA_DB_HOSTNAME": "z"}, [])
    assert lock_id(env, ["b", "a"]) == lock_id(env, ["a", "b"])
    others = [
        lock_id({**env, "WA_DB_USERNAME": "other"}, None),
        lock_id({**env, "WA_DB_NAME_PREFIX": ""}, None),
        lock_id({"WA_DB_USERNAME": "waa_"}, None),
        lock_id(env, ["a"]),
    ]
    assert len({own, *others}) == 5


def test_the_lock_numbers_of_postgresql_are_constant() -> None:
    # Controllers with different releases must use the same lock.
    assert NUMBERS == (841741861, 1653305744)
    assert all(0 <= number < 1 << 31 for number in NUMBERS)


def lock(server: ScriptedDatabase) -> MigrationLock:
    return MigrationLock(server.session(), OWN)


# Support


@pytest.mark.parametrize(
    ("version", "galera", "reason"),
    [
        ("8.0.36", [], ""),
        ("5.7.5", [], ""),
        ("5.7.4", [], "5.7.4 holds one lock a session"),
        ("10.0.2-MariaDB", [("wsrep_on", "OFF")], ""),
        ("5.5.5-10.0.1-MariaDB", [], "5.5.5-10.0.1-MariaDB holds one lock a session"),
        ("10.11.6-MariaDB", [("wsrep_on", "ON")], "the nodes of a Galera cluster have no lock in common"),
    ],
)
def test_which_mysql_supports_the_lock(version: str, galera: list[t.Any], reason: str) -> None:
    server = ScriptedDatabase(MYSQL, version).on("wsrep_on", galera)
    assert lock(server).unsupported() == reason


@pytest.mark.parametrize(
    ("database", "reason"),
    [("postgres", ""), ("template1", "its user cannot connect to the database postgres")],
)
def test_which_postgresql_supports_the_lock(database: str, reason: str) -> None:
    server = ScriptedDatabase(PGSQL).on(r"current_database\(\)", [(database,)])
    assert lock(server).unsupported() == reason


# Holder


@pytest.mark.parametrize(
    ("locks", "seen", "holder"),
    [
        ((None, None), [], ("", False)),
        ((7, None), [], ("session 7 of another user", False)),
        ((7, 7), [("wa", "10.0.0.1:5000", 9)], ("session 7 of user wa from 10.0.0.1", True)),
        ((7, 7), [("wa", "10.0.0.1:5000", 10)], ("session 7 of user wa from 10.0.0.1", False)),  # idle for too long
        ((7, 7), [("wa", "localhost", None)], ("session 7 of user wa from localhost", True)),
        ((7, 7), [("wa", "fe80::1:5000", 0)], ("session 7 of user wa from fe80::1", True)),
        ((7, None), [("wa", "10.0.0.1:5000", 0)], ("session 7 of user wa from 10.0.0.1", False)),
        ((7, 8), [("wa", "10.0.0.1:5000", 0)], ("session 7 of user wa from 10.0.0.1", False)),
    ],
)
def test_the_holder_on_mysql(locks: tuple[t.Any, t.Any], seen: list[t.Any], holder: tuple[str, bool]) -> None:
    server = ScriptedDatabase(MYSQL).on("IS_USED_LOCK", [locks]).on("processlist", seen)
    assert lock(server).holder() == holder
    assert server.asked("IS_USED_LOCK") == [(NAME, f"{NAME}.{OWN}")]
    assert server.asked("processlist") == ([] if locks[0] is None else [(7,)])


@pytest.mark.parametrize(
    ("seen", "holder"),
    [
        ([], ("", False)),
        (
            [(7, "wa", f"waba.onprem migration {OWN} support", True)],
            (f"session 7 of user wa (waba.onprem migration {OWN} support)", True),
        ),
        (
            [(7, "wa", f"waba.onprem migration {OWN} support", None)],
            (f"session 7 of user wa (waba.onprem migration {OWN} support)", False),
        ),
        (
            [(7, "wa", "waba.onprem migration ba9876543210 x", True)],
            ("session 7 of user wa (waba.onprem migration ba9876543210 x)", False),
        ),
    ],
)
def test_the_holder_on_postgresql(seen: list[t.Any], holder: tuple[str, bool]) -> None:
    server = ScriptedDatabase(PGSQL).on("FROM pg_locks", seen)
    assert lock(server).holder() == holder
    assert server.asked("pg_locks") == [(10, *NUMBERS, "postgres")]


@pytest.mark.parametrize(("answer", "number"), [([(7,)], 7), ([(None,)], 0), ([("7",)], 7)])
def test_the_session_that_holds_the_lock_on_mysql(answer: t.Any, number: int) -> None:
    server = ScriptedDatabase(MYSQL).on("IS_USED_LOCK", answer)
    assert migration_lock.mysql_session(server.session()) == number


# Acquisition


@pytest.mark.parametrize(
    ("first", "second", "taken", "asked"),
    [
        (1, 1, True, ["GET_LOCK(%s, 0)", "GET_LOCK(%s, 2)"]),
        (0, 1, False, ["GET_LOCK(%s, 0)"]),
        (None, 1, False, ["GET_LOCK(%s, 0)"]),
        (1, 0, False, ["GET_LOCK(%s, 0)", "GET_LOCK(%s, 2)", "RELEASE_LOCK(%s)"]),
    ],
)
def test_the_lock_is_acquired_on_mysql(first: t.Any, second: t.Any, taken: bool, asked: list[str]) -> None:
    server = ScriptedDatabase(MYSQL).on("RELEASE_LOCK", [(1,)])
    server.on(r"GET_LOCK\(%s, 0\)", [(first,)]).on(r"GET_LOCK\(%s, 2\)", [(second,)])
    assert lock(server).take() is taken
    names = {"GET_LOCK(%s, 2)": f"{NAME}.{OWN}"}
    assert server.statements == [(f"SELECT {call}", (names.get(call, NAME),)) for call in asked]


@pytest.mark.parametrize("taken", [True, False])
def test_the_lock_is_acquired_on_postgresql(taken: bool) -> None:
    server = ScriptedDatabase(PGSQL).on("^(BEGIN|ROLLBACK)$", None).on("pg_try_advisory_xact_lock", [(taken,)])
    assert lock(server).take() is taken
    assert server.asked("advisory") == [NUMBERS]
    statements = [statement.split("(")[0] for statement, _values in server.statements]
    assert statements == ["BEGIN", "SELECT pg_try_advisory_xact_lock", *([] if taken else ["ROLLBACK"])]


def test_a_lost_session_is_an_error() -> None:
    server = ScriptedDatabase(MYSQL).on("SET SESSION wait_timeout = 20", [])
    held = lock(server)
    held.keep_alive()
    server.on("SET SESSION wait_timeout = 20", Refusal("lost", "gone"))
    with pytest.raises(DatabaseError, match="gone"):
        held.keep_alive()


# Session


def test_an_idle_session_on_mysql_is_closed_by_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ScriptedDatabase(MYSQL).on("^SET", None)
    monkeypatch.setattr(connection, "connect", server.connect)
    held = migration_lock.connect(server.settings, OWN, "support")
    assert (held.own, held.session.engine) == (OWN, MYSQL)
    assert (server.databases, server.statements) == ([None], [("SET SESSION wait_timeout = 20", ())])


@pytest.mark.parametrize("deployment", ["support", "s" * 80])
def test_a_session_on_postgresql_has_a_name_and_keepalives(monkeypatch: pytest.MonkeyPatch, deployment: str) -> None:
    server = ScriptedDatabase(PGSQL).on("set_config", [("x",)]).on("^SET", None)
    monkeypatch.setattr(connection, "connect", server.connect)
    migration_lock.connect(server.settings, OWN, deployment)
    assert server.databases == ["postgres"]
    label = f"waba.onprem migration {OWN} {deployment}"[:63]
    assert server.asked("application_name") == [(label,)]
    assert server.asked("FROM pg_settings") == [(["idle_in_transaction_session_timeout", "transaction_timeout"],)]
    assert server.statements[0][0] == (
        "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 2"
    )
    assert label.startswith(migration_lock.PGSQL_SESSIONS.rstrip("%"))


def test_a_session_that_cannot_be_prepared_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ScriptedDatabase(MYSQL).on("^SET", Refusal("denied", "no"))
    monkeypatch.setattr(connection, "connect", server.connect)
    with pytest.raises(DatabaseError, match="no"):
        migration_lock.connect(server.settings, OWN, "support")
    assert server.open == 0


# Result of inspect


@pytest.mark.parametrize(
    ("locks", "expected"),
    [
        ((None, None), {"holder": None, "owned": False}),
        ((7, 7), {"holder": "session 7 of user wa from h", "owned": True}),
    ],
)
def test_inspect_returns_the_holder(locks: t.Any, expected: dict[str, t.Any]) -> None:
    server = ScriptedDatabase(MYSQL).on("wsrep_on", []).on("IS_USED_LOCK", [locks])
    server.on("processlist", [("wa", "h:1", 0)])
    assert migration_lock.inspect(server.session(), OWN) == {"supported": True, "unsupported_reason": None, **expected}


def test_inspect_of_an_unsupported_lock_reads_no_holder() -> None:
    server = ScriptedDatabase(MYSQL, "5.6.1").on("wsrep_on", [])
    assert migration_lock.inspect(server.session(), OWN) == {
        "supported": False,
        "unsupported_reason": "5.6.1 holds one lock a session",
        "holder": None,
        "owned": False,
    }
