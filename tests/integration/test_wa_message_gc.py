# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_message_gc run by Ansible against real databases, with a small Webapp whose GC deletes real rows in its own time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest
from conftest import REPOSITORY, Ansible, docker
from database_servers import Server, server

from ansible_collections.waba.onprem.plugins.module_utils import _database, _database_messages
from ansible_collections.waba.onprem.plugins.module_utils._gc_policy import own_databases, wanted_databases

sys.path.append(str(REPOSITORY / "tests" / "unit"))
from fake_webapp import FakeWebapp

CANARY = "Canary-53-Gc-Pw"
API_PASSWORD = "Canary-54-Api"
GC = "/v1/services/message/gc"
PREFIX = "gc1_"
DATABASE = {"mariadb": "gc1_messageStore", "postgres": "gc1_messageStore"}
ROWS = 60_000
LIMIT = 50_000


def create(where: Server, database: str, rows: int) -> None:
    """A database of the client, owned by its user, with `rows` messages of mixed size."""
    if where.kind == "mariadb":
        name = database.replace("`", "``")
        where.sql(
            f"SET NAMES utf8mb4; CREATE DATABASE `{name}`; USE `{name}`;"
            "CREATE TABLE messages (id BIGINT AUTO_INCREMENT PRIMARY KEY, kind VARCHAR(9), body VARBINARY(900), KEY (kind));"
            f"INSERT INTO messages (kind, body) SELECT 'in', REPEAT('x', seq % 700) FROM seq_1_to_{rows};"
        )
        return
    name = database.replace('"', '""')
    where.sql(f'CREATE DATABASE "{name}" OWNER wa;')
    where.sql(
        "SET ROLE wa; CREATE TABLE messages (id bigserial PRIMARY KEY, kind text, body text);"
        f"INSERT INTO messages (kind, body) SELECT 'in', repeat('x', g % 700) FROM generate_series(1, {rows}) g;",
        database,
    )


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Server]:
    with server("mariadb", tmp_path_factory.mktemp("mariadb")) as found:
        found.sql(f"CREATE USER 'wa'@'%' IDENTIFIED BY '{CANARY}';")
        rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP"
        found.sql(f"GRANT {rights} ON `%`.* TO 'wa'@'%';")
        yield found


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Server]:
    with server("postgres", tmp_path_factory.mktemp("postgres")) as found:
        found.sql(f"CREATE ROLE wa LOGIN CREATEDB PASSWORD '{CANARY}';")
        yield found


@pytest.fixture(params=["mariadb", "postgres"])
def database(request: pytest.FixtureRequest) -> Server:
    """Each of the two servers in turn."""
    found: Server = request.getfixturevalue(request.param)
    return found


def settings(where: Server, user: str = "wa") -> _database.Settings:
    return _database.Settings(where.engine, "127.0.0.1", where.port, user, CANARY)


def drop(where: Server, database: str) -> None:
    if where.kind == "mariadb":
        name = database.replace("`", "``")
        where.sql(f"SET NAMES utf8mb4; DROP DATABASE IF EXISTS `{name}`;")
    else:
        name = database.replace('"', '""')
        where.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE);')


@contextlib.contextmanager
def databases(where: Server, **rows: int) -> t.Iterator[None]:
    """Databases with so many messages, which go at the end."""
    try:
        for name, count in rows.items():
            create(where, name, count)
        yield
    finally:
        for name in rows:
            drop(where, name)


class Client:
    """A Webapp over a real database: its GC deletes rows in batches, as the client's user."""

    def __init__(self, where: Server, folder: Path, delete: int, batches: int = 8, pause: float = 0.2) -> None:
        self.where = where
        self.folder = folder
        self.delete, self.batches, self.pause = delete, batches, pause
        self.webapp = FakeWebapp()
        self.webapp.passwords["admin"] = API_PASSWORD
        self.webapp.on("PUT", GC, self.start)
        self.threads: list[threading.Thread] = []
        (folder / "db.env").write_text(
            f"WA_DB_ENGINE={where.engine}\nWA_DB_HOSTNAME=db.only.among.containers\nWA_DB_PORT={where.port}\n"
            f"WA_DB_USERNAME=wa\nWA_DB_PASSWORD={CANARY}\nWA_DB_NAME_PREFIX={PREFIX}\n"
        )

    def start(self) -> t.Any:
        self.threads.append(threading.Thread(target=self.work))
        self.threads[-1].start()
        return 200, {"services": {"message": {"gc": {"status": "processing"}}}}

    def work(self) -> None:
        for _number in range(self.batches):
            count = self.delete // self.batches
            with contextlib.suppress(_database.DatabaseError), self.session() as session:
                if self.where.kind == "mariadb":
                    session.rows(f"DELETE FROM messages ORDER BY id LIMIT {count}")
                else:
                    session.rows(
                        f"DELETE FROM messages WHERE id IN (SELECT id FROM messages ORDER BY id LIMIT {count})"
                    )
            time.sleep(self.pause)

    def session(self) -> _database.Session:
        return _database.connect(settings(self.where), DATABASE[self.where.kind], read_only=False)

    def options(self, **more: t.Any) -> dict[str, t.Any]:
        return {
            "api_url": self.webapp.url,
            "api_password": API_PASSWORD,
            "env_file": str(self.folder / "db.env"),
            "state_file": str(self.folder / "gc.json"),
            "login_host": "127.0.0.1",
            "max_messages": LIMIT,
            "settle": "3s",  # a loaded machine pauses between batches
            "poll_interval": "0.5",
            "wait_timeout": "60s",
            **more,
        }

    def calls(self) -> int:
        return self.webapp.paths().count(f"PUT {GC}")

    def close(self) -> None:
        for thread in self.threads:
            thread.join()
        self.webapp.close()


@pytest.fixture
def client(database: Server, tmp_path: Path) -> t.Iterator[Client]:
    with databases(database, gc1_messageStore=ROWS):
        found = Client(database, tmp_path, 20_000)
        yield found
        found.close()


def test_check_run_run_check(ansible: Ansible, client: Client) -> None:
    task = {"waba.onprem.wa_message_gc": client.options()}
    predicted = ansible.play([task], check=True)
    assert predicted.results[0]["changed"]
    assert client.webapp.requests == []
    done = ansible.play([task])
    result = done.results[0]
    assert not result.get("failed"), result
    assert (result["messages_after"], result["exact"], result["rounds"]) == (40_000, True, 1)
    assert result["diff"]["after"] == {"messages": 40_000}
    assert result["changed"]
    # every look is one whole line on standard error, and standard output stays JSON
    lines = [line for line in done.stderr.splitlines() if "message GC" in line]
    assert len(lines) >= 3
    assert all(line.startswith("localhost | message GC round 1 | [") for line in lines)
    for check in (False, True):
        again = ansible.play([task], check=check)
        assert not again.results[0]["changed"]
        assert again.results[0]["messages_after"] == 40_000
    assert client.calls() == 1
    for play in (predicted, done, again):
        assert CANARY not in play.stdout + play.stderr
        assert API_PASSWORD not in play.stdout + play.stderr
    assert CANARY not in (client.folder / "gc.json").read_text()
    assert API_PASSWORD not in (client.folder / "gc.json").read_text()


def test_progress_can_be_turned_off(ansible: Ansible, client: Client) -> None:
    task = {"waba.onprem.wa_message_gc": client.options(), "vars": {"wa_message_gc_progress": False}}
    done = ansible.play([task])
    assert done.results[0]["messages_after"] == 40_000
    assert "message GC" not in done.stderr


def test_async_steps_aside(ansible: Ansible, client: Client) -> None:
    task = {"waba.onprem.wa_message_gc": client.options(), "async": 60, "poll": 1}
    done = ansible.play([task])
    assert done.results[0]["messages_after"] == 40_000, done.results
    assert client.calls() == 1


def test_a_controller_that_is_killed(ansible: Ansible, client: Client, tmp_path: Path) -> None:
    client.batches, client.pause = 20, 0.3
    playbook = tmp_path / "killed.yml"
    task = {"waba.onprem.wa_message_gc": client.options()}
    variables = {"ansible_python_interpreter": sys.executable}
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "vars": variables, "tasks": [task]}]))
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        "-i",
        "localhost,",
        "-c",
        "local",
        str(playbook),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "deleting" in line:
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    result = ansible.play([task]).results[0]
    assert (result["messages_after"], result["changed"]) == (40_000, True)
    assert client.calls() == 1


def test_two_controllers_at_once(ansible: Ansible, client: Client, tmp_path: Path) -> None:
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    results: list[dict[str, t.Any]] = []
    task = {"waba.onprem.wa_message_gc": client.options()}
    other = threading.Thread(target=lambda: results.append(Ansible(other_folder).play([task]).results[0]))
    other.start()
    results.append(ansible.play([task]).results[0])
    other.join()
    assert client.calls() == 1
    assert [result["messages_after"] for result in results] == [40_000, 40_000], results
    assert not any(result.get("failed") for result in results)


class Relay:
    """A port that stays while the server behind it restarts on another."""

    def __init__(self, where: Server) -> None:
        self.where = where
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _address = self.listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.where.port))
                except OSError:
                    near.close()
                    continue
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    @staticmethod
    def _pump(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def test_the_server_restarts_in_the_middle(ansible: Ansible, client: Client) -> None:
    client.batches, client.pause = 16, 0.5
    where, relay = client.where, Relay(client.where)

    def restart() -> None:
        until(lambda: client.calls() == 1, 30)
        time.sleep(2)
        docker("stop", "--time", "5", where.container)
        time.sleep(4)  # long enough for several looks to find it away
        docker("start", where.container)
        inner = {"mariadb": 3306, "postgres": 5432}[where.kind]
        where.port = int(docker("port", where.container, str(inner)).splitlines()[0].rpartition(":")[2])
        where.wait()

    restarter = threading.Thread(target=restart)
    restarter.start()
    play = ansible.play([{"waba.onprem.wa_message_gc": client.options(settle="3s", login_port=relay.port)}])
    restarter.join()
    relay.listener.close()
    result = play.results[0]
    assert ", database: " in play.stderr
    assert client.calls() >= 1
    assert result["messages_after"] < LIMIT, (result, play.stderr)
    assert not result.get("failed")


def test_an_alter_passes_while_it_polls(client: Client) -> None:
    tables = find(client.where)
    stop = threading.Event()

    def poll() -> None:
        while not stop.is_set():
            _database_messages.pulse(settings(client.where), tables)

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        begin = time.monotonic()
        client.where.sql("ALTER TABLE messages ADD COLUMN extra INT;", DATABASE[client.where.kind])
        assert time.monotonic() - begin < 5
    finally:
        stop.set()
        poller.join()


def find(
    where: Server, prefix: str = PREFIX, wanted: list[str] | None = None, user: str = "wa"
) -> list[_database_messages.Table]:
    def choose(found: list[str]) -> list[str]:
        return wanted_databases(wanted, found) if wanted else own_databases(prefix, found)

    return _database_messages.find_tables(settings(where, user), prefix, choose)


@pytest.mark.parametrize("prefix", ["p%c_", "Wa.Sp ace", "q'uo\"te`s", "Größe"])
def test_prefixes_of_all_kinds(database: Server, prefix: str) -> None:
    name = f"{prefix}messages-2"
    decoy = ("pXcY" if prefix == "p%c_" else "other_") + "messages-2"
    try:
        create(database, name, 30)
        create(database, decoy, 50)
        tables = find(database, prefix)
        assert [table.database for table in tables] == [name]
        count = _database_messages.gate(settings(database), tables, 30)
        assert (count.rows, count.exact, count.large) == (30, True, False)
        assert _database_messages.gate(settings(database), tables, 29).large
        assert _database_messages.pulse(settings(database), tables).counters
        assert _database_messages.tidy(settings(database), tables, 10) == ""
    finally:
        drop(database, name)
        drop(database, decoy)


def test_all_tables_of_a_client_are_summed_and_no_neighbours(database: Server) -> None:
    with databases(database, gc1_shardA=40, gc1_shardB=60, gc10_shardA=1000):
        tables = find(database)
        count = _database_messages.gate(settings(database), tables, 100)
        assert (count.rows, count.exact, count.large) == (100, True, False)
        assert _database_messages.gate(settings(database), tables, 99).large
        with pytest.raises(Exception, match="ambiguous"):
            find(database, "gc1")
        assert len(find(database, "gc1", ["gc1_shardA"])) == 1


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 5, 7, 9])
def test_walking_along_the_key_counts_the_same(database: Server, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_database_messages, "_STRIDE", 3)
    with databases(database, gc1_walk=max(rows, 1)):
        where = "gc1_walk"
        if rows > 2:
            database.sql("DELETE FROM messages WHERE id = 2;", where)
        elif not rows:
            database.sql("DELETE FROM messages;", where)
        exact = int(database.sql("SELECT COUNT(*) FROM messages;", where))
        table = find(database)[0]
        with _database.connect(settings(database), None if database.kind == "mariadb" else where) as session:
            for limit in range(max(exact - 4, 0), exact + 5):
                found = _database_messages._walk(session, table, limit, "messages")
                assert found == (None if exact > limit else exact)


def test_a_delete_that_runs_is_seen(client: Client) -> None:
    where, tables = client.where, find(client.where)
    assert not _database_messages.pulse(settings(where), tables).deleting
    name = DATABASE[where.kind]
    with contextlib.ExitStack() as stack:
        holder = stack.enter_context(_database.connect(settings(where), name, read_only=False))
        holder.rows("BEGIN")
        holder.rows("SELECT id FROM messages WHERE id = 1 FOR UPDATE")
        waiter = threading.Thread(target=lambda: swallow(where, name, "DELETE FROM messages WHERE id = 1"))
        waiter.start()
        seen = until(lambda: _database_messages.pulse(settings(where), tables).deleting)
        holder.rows("ROLLBACK")
        waiter.join()
    assert seen
    assert not _database_messages.pulse(settings(where), tables).deleting


def swallow(where: Server, database: str, statement: str) -> None:
    with (
        contextlib.suppress(_database.DatabaseError),
        _database.connect(settings(where), database, read_only=False) as session,
    ):
        session.rows(statement)


def until(condition: t.Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_a_function_that_deletes_in_one_transaction_is_seen(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_database_messages, "_LONG_CHANGE", 0.5)
    with databases(postgres, gc1_fn=10):
        body = "BEGIN DELETE FROM messages; PERFORM pg_sleep(3); END"
        postgres.sql(f"SET ROLE wa; CREATE FUNCTION purge() RETURNS void LANGUAGE plpgsql AS $$ {body}; $$;", "gc1_fn")
        tables = find(postgres)
        worker = threading.Thread(target=lambda: swallow(postgres, "gc1_fn", "SELECT purge()"))
        worker.start()
        assert until(lambda: _database_messages.pulse(settings(postgres), tables).deleting, 3)
        worker.join()
        assert not _database_messages.pulse(settings(postgres), tables).deleting


# The gate's and the pulse's cost


def test_the_gate_makes_no_temporary_table_and_reads_no_more_than_the_limit(mariadb: Server) -> None:
    with databases(mariadb, gc1_cost=ROWS):
        tables = find(mariadb)
        before = status(mariadb)
        assert _database_messages.gate(settings(mariadb), tables, 5_000).large
        after = status(mariadb)
        read = sum(after[name] - before[name] for name in after if name.startswith("Handler_read"))
        assert read < 5_500
        assert after["Handler_tmp_write"] - before["Handler_tmp_write"] < 50  # SHOW STATUS itself writes some hundred


def status(where: Server) -> dict[str, int]:
    rows = where.sql(
        "SHOW GLOBAL STATUS WHERE Variable_name LIKE 'Handler_read%' OR Variable_name = 'Created_tmp_disk_tables';"
    )
    found = {name: int(value) for name, value in (line.split("\t") for line in rows.splitlines())}
    return {**found, "Handler_tmp_write": found.pop("Created_tmp_disk_tables")}


def test_the_gate_dirties_no_page_after_the_vacuum(postgres: Server) -> None:
    with databases(postgres, gc1_cost=ROWS):
        postgres.sql("DELETE FROM messages WHERE id % 3 = 0;", "gc1_cost")
        tables = find(postgres)
        assert _database_messages.tidy(settings(postgres), tables, 60) == ""
        for statement in (f"SELECT 1 FROM messages OFFSET {LIMIT} LIMIT 1", "SELECT COUNT(*) FROM messages"):
            plan = postgres.sql(f"EXPLAIN (ANALYZE, BUFFERS) {statement};", "gc1_cost")
            assert "dirtied" not in plan
            assert "Index Only Scan" in plan
        count = _database_messages.gate(settings(postgres), tables, LIMIT)
        assert (count.rows, count.exact) == (40_000, True)


def test_no_vacuum_of_a_table_that_is_somebody_elses(postgres: Server) -> None:
    postgres.sql(f"CREATE ROLE reader LOGIN PASSWORD '{CANARY}';")
    with databases(postgres, gc1_alien=5):
        postgres.sql("GRANT SELECT ON messages TO reader;", "gc1_alien")
        tables = find(postgres, user="reader")
        assert "does not own messages" in _database_messages.tidy(settings(postgres, "reader"), tables, 10)
        assert _database_messages.gate(settings(postgres, "reader"), tables, 10).rows == 5


def test_partitions_are_counted(postgres: Server) -> None:
    postgres.sql("CREATE DATABASE gc1_parts OWNER wa;")
    try:
        postgres.sql(
            "SET ROLE wa; CREATE TABLE messages (id bigint PRIMARY KEY) PARTITION BY RANGE (id);"
            "CREATE TABLE messages_a PARTITION OF messages FOR VALUES FROM (0) TO (100);"
            "CREATE TABLE messages_b PARTITION OF messages FOR VALUES FROM (100) TO (200);"
            "INSERT INTO messages SELECT generate_series(50, 149); DELETE FROM messages WHERE id % 2 = 0;",
            "gc1_parts",
        )
        tables = find(postgres)
        assert _database_messages.tidy(settings(postgres), tables, 10) == ""
        assert _database_messages.gate(settings(postgres), tables, 100).rows == 50
        assert until(lambda: _database_messages.pulse(settings(postgres), tables).counters == (50,))
    finally:
        drop(postgres, "gc1_parts")


# Faults of the database


def fill(stack: contextlib.ExitStack, where: Server) -> None:
    """Take connections until there are no more."""
    for _number in range(12):
        stack.enter_context(_database.connect(settings(where)))


def test_too_many_connections(mariadb: Server) -> None:
    with databases(mariadb, gc1_many=5), contextlib.ExitStack() as stack:
        for _number in range(8):
            stack.enter_context(_database.connect(settings(mariadb)))
        mariadb.sql("SET GLOBAL max_connections = 10;")
        stack.callback(lambda: mariadb.sql("SET GLOBAL max_connections = 151;"))
        with pytest.raises(_database.DatabaseError) as told:
            fill(stack, mariadb)
        assert told.value.kind == "too_many"
        assert told.value.retryable


def test_a_table_that_is_locked(database: Server) -> None:
    with databases(database, gc1_locked=5), contextlib.ExitStack() as stack:
        holder = stack.enter_context(_database.connect(settings(database), "gc1_locked", read_only=False))
        tables = find(database)
        if database.kind == "mariadb":
            database.sql("GRANT LOCK TABLES ON *.* TO 'wa'@'%';")
            fresh = stack.enter_context(_database.connect(settings(database), "gc1_locked", read_only=False))
            fresh.rows("LOCK TABLES messages WRITE")
        else:
            holder.rows("BEGIN")
            holder.rows("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
        begin = time.monotonic()
        with pytest.raises(_database.DatabaseError) as told:
            _database_messages.gate(settings(database), tables, 10)
        assert told.value.kind == "lock"
        assert time.monotonic() - begin < 5


# A read-only PostgreSQL is a standby, a second server; its rule is tested in memory.
@pytest.mark.parametrize("database", ["mariadb"], indirect=True)
def test_a_read_only_server(ansible: Ansible, client: Client) -> None:
    client.where.sql("SET GLOBAL read_only = 1;")
    try:
        result = ansible.play([{"waba.onprem.wa_message_gc": client.options()}]).results[0]
    finally:
        client.where.sql("SET GLOBAL read_only = 0;")
    assert "read only" in result["msg"]
    assert client.calls() == 0
