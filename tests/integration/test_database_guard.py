# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What real servers say of the users of a client's database: origins, sessions that end, content, the running server."""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t
from pathlib import Path

import pytest
from commands import docker
from database_servers import CANARY, Server, prepare, server
from waiting import until

from ansible_collections.waba.onprem.plugins.module_utils._database import connection, guard

PREFIX, NEIGHBOUR = "gu1", "gu10"
STORES = ("configStore", "messageStore")


def create(where: Server, name: str) -> None:
    table = "messages" if name.endswith("messageStore") else "settings"
    columns = f"CREATE TABLE {table} (id INT PRIMARY KEY, body VARCHAR(20));"
    if where.kind == "mariadb":
        where.sql(f"CREATE DATABASE `{name}`; USE `{name}`; {columns}")
        return
    where.sql(f'CREATE DATABASE "{name}" OWNER wa;')
    where.sql(f"SET ROLE wa; {columns}", name)


@pytest.fixture(scope="module", params=["mariadb", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Server]:
    with server(request.param, tmp_path_factory.mktemp(request.param)) as found:
        prepare(found)
        for prefix in (PREFIX, NEIGHBOUR):
            for store in STORES:
                create(found, prefix + store)
        yield found


def config(where: Server) -> connection.Settings:
    return connection.Settings(where.engine, "127.0.0.1", where.port, "wa", CANARY)


def look(
    where: Server, running: bool, ours: t.Sequence[str] = (), shared: t.Sequence[str] = (), wait: float = 0.0
) -> dict[str, t.Any]:
    """What the guard reads; our own origin is always ours."""

    def rule(sessions: guard.Sessions, origin: str) -> guard.Sessions:
        return guard.unknown(sessions, running, [*ours, origin], shared)

    return guard.read(config(where), PREFIX, None, rule, wait)


def expect(origins: list[str], where: Server, running: bool, **more: t.Any) -> None:
    """Expect unknown sessions of just these origins; PostgreSQL shows a session for a moment after its client has closed it."""
    until(lambda: [one["from"] for one in look(where, running, **more)["unknown"]] == origins)


def from_here(where: Server, name: str | None = f"{PREFIX}messageStore") -> connection.Session:
    """A session from the place of our own, as that of a client behind the same NAT is."""
    return connection.connect(config(where), name)


@contextlib.contextmanager
def from_elsewhere(where: Server, name: str = f"{PREFIX}messageStore") -> t.Iterator[str]:
    """A session from another address, the server's own; returns its origin as the server shows it."""
    if where.kind == "mariadb":
        command = f"MYSQL_PWD={CANARY} exec mariadb -h 127.0.0.1 -u wa {name} -e 'SELECT SLEEP(60)'"
    else:
        command = f"PGPASSWORD={CANARY} exec psql -h 127.0.0.1 -U wa -d {name} -c 'SELECT pg_sleep(60)'"
    docker("exec", "--detach", where.container, "sh", "-c", command)
    end = time.monotonic() + 20
    while not (found := look(where, running=True)["unknown"]):
        assert time.monotonic() < end, "the session did not come up"
        time.sleep(0.1)
    try:
        yield str(found[0]["from"])
    finally:
        ids = [str(one["id"]) for one in look(where, running=False)["unknown"]]
        for one in ids:
            where.sql(f"KILL {one};" if where.kind == "mariadb" else f"SELECT pg_terminate_backend({one});")


def test_an_idle_database_has_no_unknown_session(database: Server) -> None:
    for running in (True, False):
        found = look(database, running, wait=10)
        assert (found["unknown"], found["unreadable"], found["holds"]) == ([], "", True)
    assert found["origin"]


def test_a_session_from_the_same_address_is_unknown_where_nothing_runs(database: Server) -> None:
    with from_here(database):
        origin = look(database, running=True)["origin"]
        expect([], database, running=True)
        expect([origin], database, running=False)
        expect([], database, running=False, shared=[origin])


def test_a_session_from_another_address_is_unknown_unless_it_is_shared(database: Server) -> None:
    with from_elsewhere(database) as origin:
        assert origin != look(database, running=True)["origin"]
        for running in (True, False):
            expect([origin], database, running)
            expect([], database, running, shared=[origin])
        expect([], database, True, ours=[origin])


def test_sessions_on_other_databases_are_no_clients(database: Server) -> None:
    with (
        from_here(database, f"{NEIGHBOUR}messageStore"),
        from_here(database, None if database.kind == "mariadb" else "postgres"),
    ):
        expect([], database, running=False)


def test_a_session_that_ends_is_waited_for(database: Server) -> None:
    session = from_here(database)
    timer = threading.Timer(1.0, session.close)
    timer.start()
    try:
        assert look(database, running=False, wait=20)["unknown"] == []
    finally:
        timer.join()
    with from_here(database):
        began = time.monotonic()
        assert look(database, running=False, wait=1)["unknown"] != []
        assert time.monotonic() - began >= 1


def test_definitions_change_with_a_column_only(database: Server) -> None:
    name = f"{PREFIX}configStore"
    first = look(database, running=True)["definitions"]
    assert len(first) == 16
    with connection.connect(config(database), name, read_only=False) as session:
        session.rows("INSERT INTO settings VALUES (1, 'x')")
        assert look(database, running=True)["definitions"] == first
        session.rows("ALTER TABLE settings ADD extra INT")
        assert look(database, running=True)["definitions"] != first
        session.rows("ALTER TABLE settings DROP COLUMN extra")
    assert look(database, running=True)["definitions"] == first


def test_one_running_server_is_known_and_a_restarted_one_is_another(database: Server, tmp_path: Path) -> None:
    one, two = look(database, running=True), look(database, running=True)
    assert guard.same_server(one, two)
    earlier = {**one, "started": one["started"] - 60}  # before a fail-over or a restart
    assert not guard.same_server(earlier, two)
    with server("mariadb" if database.kind == "mariadb" else "postgres", tmp_path / "other") as other:
        prepare(other)
        assert not guard.same_server(one, look(other, running=False))


def test_an_empty_server_holds_nothing(tmp_path: Path, database: Server) -> None:
    found = guard.read(config(database), "none_", None, lambda sessions, _origin: sessions, 0)
    assert (found["holds"], found["definitions"], found["unknown"]) == (False, "", [])
