# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_info with `gather: [database]` on real MariaDB and PostgreSQL: timeouts of a new session, sessions, the largest table."""

from __future__ import annotations

import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from database_servers import Server, server, silent_server
from playbook import Ansible

from ansible_collections.waba.onprem.plugins.module_utils._database import capacity, facts
from ansible_collections.waba.onprem.plugins.module_utils._database import connection as database_connection
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile

CANARY = "Canary-71-Info-Pw"
OWN = ["in1configStore", "in1messageStore"]
NEIGHBOURS = ["in10configStore", "in10messageStore"]


def create(where: Server, name: str) -> None:
    """Create a database of the client with a few rows."""
    rows = 2000 if name.endswith("messageStore") else 1
    table = "messages" if name.endswith("messageStore") else "settings"
    if where.kind == "mariadb":
        where.sql(
            f"CREATE DATABASE `{name}`; USE `{name}`; CREATE TABLE {table} (id INT PRIMARY KEY, body VARCHAR(500));"
            f"INSERT INTO {table} SELECT seq, REPEAT('x', 400) FROM seq_1_to_{rows}; ANALYZE TABLE {table};"
        )
        return
    where.sql(f'CREATE DATABASE "{name}" OWNER wa;')
    where.sql(
        f"SET ROLE wa; CREATE TABLE {table} (id int PRIMARY KEY, body text);"
        f"INSERT INTO {table} SELECT g, repeat('x', 400) FROM generate_series(1, {rows}) g;",
        name,
    )


@pytest.fixture(scope="module", params=["mariadb", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Server]:
    with server(request.param, tmp_path_factory.mktemp(request.param)) as found:
        if found.kind == "mariadb":
            rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP"
            found.sql(f"CREATE USER 'wa'@'%' IDENTIFIED BY '{CANARY}'; GRANT {rights} ON `in%`.* TO 'wa'@'%';")
        else:
            found.sql(f"CREATE ROLE wa LOGIN CREATEDB PASSWORD '{CANARY}';")
        for name in OWN:
            create(found, name)
        yield found


@pytest.fixture
def options(database: Server, tmp_path: Path) -> dict[str, t.Any]:
    return {"gather": ["database", "database_sizes"], "env_file": str(env_file(database, tmp_path))}


def env_file(where: Server, folder: Path, prefix: str = "in1", port: int = 0) -> Path:
    path = folder / "db.env"
    values = {
        "ENGINE": where.engine,
        "HOSTNAME": "127.0.0.1",
        "PORT": port or where.port,
        "USERNAME": "wa",
        "PASSWORD": CANARY,
        "NAME_PREFIX": prefix,
    }
    path.write_text("".join(f"WA_DB_{key}={value}\n" for key, value in values.items()))
    return path


def config(where: Server) -> database_connection.Settings:
    return database_connection.Settings(where.engine, "127.0.0.1", where.port, "wa", CANARY)


def test_facts_of_the_database_are_returned(ansible: Ansible, database: Server, options: dict[str, t.Any]) -> None:
    done = ansible.module("wa_info", options)
    assert not done.get("failed"), done
    found = done["database"]
    assert found["server"] == f"127.0.0.1:{database.port}"
    assert found["product"] == ("MariaDB" if database.kind == "mariadb" else "PostgreSQL")
    assert "not supported" in found["unsupported"]
    assert found["databases"] == OWN
    assert (found["statement_timeout"], found["statement_timeout_fix"], found["sessions"]) == (None, None, [])
    assert found["largest_table"]["database"] == "in1messageStore"
    assert found["largest_table"]["name"] == "messages"
    assert found["largest_table"]["bytes"] > 500_000
    assert CANARY not in str(done)


@pytest.mark.parametrize(("limit", "large"), [(2000, False), (1999, True), (0, True)])
def test_rows_of_messages_are_counted_up_to_a_limit(
    ansible: Ansible, options: dict[str, t.Any], limit: int, large: bool
) -> None:
    found = ansible.module("wa_info", {**options, "max_messages": limit})["database"]["messages"]
    assert (found["large"], found["unknown"]) == (large, "")
    assert found["rows"] == 2000 or (large and found["rows"] > limit)


def test_messages_that_cannot_be_counted_count_as_large(
    ansible: Ansible, database: Server, options: dict[str, t.Any], tmp_path: Path
) -> None:
    given = {**options, "env_file": str(env_file(database, tmp_path, prefix="none_")), "max_messages": 9}
    done = ansible.module("wa_info", given)
    assert (done["database"]["databases"], done["database"]["largest_table"]) == ([], None)
    found = done["database"]["messages"]
    assert (found["rows"], found["large"]) == (None, True)
    assert "no database that begins with 'none_' holds a table messages" in found["unknown"]


def test_a_statement_timeout_is_found_and_its_fix_removes_it(
    ansible: Ansible, database: Server, options: dict[str, t.Any]
) -> None:
    limits: list[tuple[str, str]] = [
        ("SET GLOBAL max_statement_time = 30;", "SET GLOBAL max_statement_time = 0;"),
        ("ALTER USER 'wa'@'%' WITH MAX_STATEMENT_TIME 30;", "ALTER USER 'wa'@'%' WITH MAX_STATEMENT_TIME 0;"),
    ]
    if database.kind == "postgres":
        limits = [
            ("ALTER ROLE wa SET statement_timeout = '30s';", "ALTER ROLE wa RESET ALL;"),
            (
                "ALTER DATABASE \"in1configStore\" SET statement_timeout = '30s';",
                'ALTER DATABASE "in1configStore" RESET ALL; ALTER ROLE wa RESET ALL;',
            ),
            (
                "ALTER ROLE wa IN DATABASE \"in1messageStore\" SET statement_timeout = '30s';"
                " ALTER DATABASE \"in1configStore\" SET transaction_timeout = '40s';",
                'ALTER ROLE wa IN DATABASE "in1messageStore" RESET ALL; ALTER ROLE wa RESET ALL;'
                ' ALTER DATABASE "in1configStore" RESET ALL;',
            ),
        ]
    for limit, undo in limits:
        database.sql(limit)
        try:
            found = ansible.module("wa_info", options)["database"]
            assert found["statement_timeout"] == 30, (limit, found)
            database.sql(found["statement_timeout_fix"])
            found = ansible.module("wa_info", options)["database"]
            assert (found["statement_timeout"], found["statement_timeout_fix"]) == (3600, None), limit
        finally:
            database.sql(undo)
            if database.kind == "mariadb":
                database.sql("ALTER USER 'wa'@'%' WITH MAX_STATEMENT_TIME 0;")


def test_sessions_of_the_client_are_returned_by_database(
    ansible: Ansible, database: Server, options: dict[str, t.Any]
) -> None:
    with (
        database_connection.connect(config(database), "in1messageStore") as own,
        database_connection.connect(config(database)) as other,
    ):
        for session in (own, other):
            session.value("SELECT 1")
        found = ansible.module("wa_info", options)["database"]["sessions"]
        assert [one["database"] for one in found] == ["in1messageStore"]
        assert sorted(found[0]) == ["database", "from", "id", "seconds", "state"]
        assert found[0]["from"].count(".") == 3, found
        assert found[0]["state"] == ("Sleep" if database.kind == "mariadb" else "idle")
    assert ansible.module("wa_info", options)["database"]["sessions"] == []


def test_idle_timeout_waits_until_the_sessions_end(database: Server, tmp_path: Path) -> None:
    env = dict(line.split("=", 1) for line in env_file(database, tmp_path).read_text().splitlines())

    def sessions(seconds: int) -> t.Any:
        return facts.gather({"gather": ["database"]}, env, seconds)["sessions"]

    with database_connection.connect(config(database), "in1messageStore") as session:
        session.value("SELECT 1")
        assert [one["database"] for one in sessions(1) if one["database"]] == ["in1messageStore"]
        others = (
            "SELECT COUNT(*) FROM information_schema.processlist WHERE id <> CONNECTION_ID()"
            if database.kind == "mariadb"
            else "SELECT COUNT(*) FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()"
        )
        with ThreadPoolExecutor(1) as other:
            asked = other.submit(sessions, 60)
            while not session.value(others):
                time.sleep(0.01)
            session.close()  # the other thread is waiting by now
            assert asked.result() == []


@pytest.fixture
def neighbours(database: Server) -> t.Iterator[list[str]]:
    """The databases of another client of the same user, whose prefix begins with this client's."""
    for name in NEIGHBOURS:
        create(database, name)
    yield NEIGHBOURS
    for name in NEIGHBOURS:
        quote = "`" if database.kind == "mariadb" else '"'
        database.sql(f"DROP DATABASE {quote}{name}{quote};")


def test_databases_of_another_client_are_not_included(
    ansible: Ansible, database: Server, options: dict[str, t.Any], neighbours: list[str]
) -> None:
    failed = ansible.module("wa_info", options)
    assert failed["failed"]
    assert all(name in failed["msg"] for name in (*OWN, *neighbours)), failed["msg"]
    with database_connection.connect(config(database), "in10messageStore") as other:
        other.value("SELECT 1")
        found = ansible.module("wa_info", {**options, "databases": ["in1messageStore"]})["database"]
    assert (found["databases"], found["sessions"]) == (OWN, [])


def test_sessions_are_read_while_a_migration_rewrites_a_table(
    ansible: Ansible, database: Server, options: dict[str, t.Any]
) -> None:
    if database.kind == "mariadb":  # its sizes take no lock; its transaction shows the same session
        lock = ["START TRANSACTION"]
    else:
        lock = ["BEGIN READ WRITE", "LOCK TABLE messages IN ACCESS EXCLUSIVE MODE"]
    with database_connection.connect(config(database), "in1messageStore", limited=False) as migrating:
        for statement in lock:
            migrating.rows(statement)
        found = ansible.module("wa_info", {**options, "gather": ["database"]})["database"]
    assert [one["database"] for one in found["sessions"]] == ["in1messageStore"]
    assert {"largest_table", "total_bytes"}.isdisjoint(found)


def test_an_unfinished_upgrade_keeps_to_the_databases_that_it_has_noted(
    ansible: Ansible, database: Server, options: dict[str, t.Any], tmp_path: Path, neighbours: list[str]
) -> None:
    file = JournalFile(str(tmp_path / "one.lock"))
    reads = {**options, "gather": [*options["gather"], "journal"], "lock_file": file.path}
    claim = upgrade_journal.Claim("one", "m/1/1", "ops", "ctl", "2.53.4")
    for schema in ("untouched", "started"):
        begun = upgrade_journal.begin(None, claim, 0, 600, schema=schema)
        file.save({**begun, "notes": {"databases": ["in1messageStore"]}})
        found = ansible.module("wa_info", reads)
        assert (found["journal"]["schema"], found["ended"]) == (schema, {})
        assert bool(found.get("failed")) is (schema == "untouched")  # the neighbour's databases may be the client's
    assert found["database"]["databases"] == OWN
    assert {"largest_table", "total_bytes"}.isdisjoint(found["database"])


def test_a_new_client_has_no_databases(
    ansible: Ansible, database: Server, options: dict[str, t.Any], tmp_path: Path
) -> None:
    path = env_file(database, tmp_path, "fresh")
    found = ansible.module("wa_info", {**options, "env_file": str(path)})["database"]
    assert (found["databases"], found["sessions"], found["largest_table"]) == ([], [], None)
    assert found["statement_timeout"] is None


def test_a_server_that_does_not_answer_fails_within_the_timeout(
    ansible: Ansible, database: Server, tmp_path: Path
) -> None:
    with silent_server() as port:
        path = env_file(database, tmp_path, port=port)
        options = {"gather": ["database", "identity"], "env_file": str(path), "connect_timeout": "1s"}
        failed = ansible.module("wa_info", options)
    assert failed["failed"]
    assert "identity" in failed  # what else was read is returned
    assert f"database {database.engine} at 127.0.0.1:{port}" in failed["msg"]


def test_connections_rows_and_end_of_life_are_read(database: Server) -> None:
    with database_connection.connect(config(database)) as session:
        session.value("SELECT 1")
        found = capacity.read(config(database), "in1", None)
    assert 2 <= found["connections_used"] <= found["connections_allowed"]
    (table,) = found["tables"]
    assert table["database"] == "in1messageStore"
    assert 1000 <= table["rows"] <= 4000  # the servers' estimates
    assert (found["end_of_life"] or "").startswith("20")
