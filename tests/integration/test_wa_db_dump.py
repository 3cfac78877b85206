# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_db_dump on hosts with a server's own tools: dump, restore with the printed commands, compare."""

from __future__ import annotations

import contextlib
import functools
import os
import pty
import subprocess
import time
import typing as t
from pathlib import Path

import commands
import pytest
from commands import docker
from database_servers import Server, server
from engine import Engine
from playbook import Ansible

CANARY = "Canary-72:\\#;'\"x"
TOOLS = {"mariadb": "/usr/bin/mariadb-dump", "postgres": "/usr/lib/postgresql/17/bin/pg_dump"}
DATABASES = ["du-1configStore", "du-1messageStore"]
ROWS = 20_000
SHOW = {
    "mariadb": (
        "SHOW CREATE TABLE messages; CHECKSUM TABLE messages, settings; SELECT * FROM settings;"
        "SELECT table_name, column_name, column_type FROM information_schema.columns"
        " WHERE table_schema LIKE 'du-1%' ORDER BY 1, 2;"
    ),
    "postgres": (
        "SELECT count(*), md5(string_agg(m::text, ',' ORDER BY id)) FROM messages m; SELECT * FROM settings;"
        "SELECT table_name, column_name, data_type, column_default FROM information_schema.columns"
        " WHERE table_schema = 'public' ORDER BY 1, 2; SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"
        " ORDER BY 1; SELECT tableowner FROM pg_tables WHERE schemaname = 'public'; SELECT last_value FROM messages_id_seq;"
    ),
}


class Host:
    """The container of a database server as a managed host."""

    def __init__(self, where: Server, ansible: Ansible) -> None:
        self.where, self.ansible = where, ansible
        # Compose would parse this password differently.
        self.options = {"env_file": "/opt/waba/d/db.env", "env_format": "docker"}
        self.options.update(dest="/var/backups/waba", name="d-2.51.2", login_ca_cert="/lab/tls/ca.pem")

    def dump(self, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        """Run the module on that host and return its result. The output contains no secret."""
        host = self.where.container
        arguments = ["-i", f"{host},", "--limit", host, "-c", "community.docker.docker", "-vvv"]
        arguments += ["-e", "ansible_python_interpreter=/usr/bin/python3"]
        played = self.ansible.play(
            [{"waba.onprem.wa_db_dump": {**self.options, **options}}], check, arguments=arguments
        )
        assert "Canary" not in played.stdout + played.stderr
        return played.results[0]

    def run(self, script: str) -> str:
        """Run a shell script as root on the host and return its output."""
        return Engine().run(self.where.container, script)

    def type(self, command: str) -> str:
        """Run a command on a terminal of the host, and enter the password at its prompt."""
        main, other = pty.openpty()
        argv = ["docker", "exec", "--interactive", "--tty", self.where.container, "sh", "-c", command]
        with subprocess.Popen(argv, stdin=other, stdout=other, stderr=other, close_fds=True) as child:
            os.close(other)
            printed, entered = b"", False
            end = time.monotonic() + 120
            while time.monotonic() < end:
                try:
                    chunk = os.read(main, 4096)
                except OSError:  # the terminal is closed when the command ends
                    break
                printed += chunk
                if not entered and b"assword" in printed:
                    entered = True
                    os.write(main, CANARY.encode() + b"\n")
            assert child.wait(60) == 0, printed.decode()
        os.close(main)
        return printed.decode()

    def content(self) -> list[str]:
        """Schema and rows of the client's databases, for comparison."""
        if self.where.kind == "mariadb":
            shown = SHOW["mariadb"].replace(" FROM settings", " FROM `du-1configStore`.settings")
            return [self.where.sql(shown.replace("messages, settings", "messages"), "du-1messageStore")]
        config, messages = (part.strip() for part in ("SELECT * FROM settings;", SHOW["postgres"]))
        return [
            self.where.sql(config, "du-1configStore"),
            self.where.sql(messages.replace("SELECT * FROM settings;", ""), "du-1messageStore"),
        ]

    def prepare(self) -> None:
        """Create the client's user and its db.env."""
        quoted = CANARY.replace("'", "''")
        if self.where.kind == "mariadb":
            rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP"
            quoted = quoted.replace("\\", "\\\\")
            self.where.sql(f"CREATE USER 'wa'@'%' IDENTIFIED BY '{quoted}'; GRANT {rights} ON `du-1%`.* TO 'wa'@'%';")
        else:
            self.where.sql(f"CREATE ROLE wa LOGIN CREATEDB PASSWORD '{quoted}';")
        self.write_env("du-1")

    def clean(self) -> None:
        """Remove the databases, the user, the dumps, and what stands in for the tools."""
        if self.where.kind == "mariadb":
            own = {"information_schema", "mysql", "performance_schema", "sys"}
            names = sorted({*self.where.sql("SHOW DATABASES;").split()} - own)
            self.where.sql("".join(f"DROP DATABASE `{name}`;\n" for name in names) + "DROP USER 'wa'@'%';")
        else:
            names = self.where.sql("SELECT datname FROM pg_database WHERE NOT datistemplate;").split()
            dropped = "".join(f'DROP DATABASE "{name}" WITH (FORCE);\n' for name in names if name != "postgres")
            self.where.sql(dropped + "DROP ROLE wa;")
        tools = f"{TOOLS[self.where.kind]} /usr/bin/mysqldump"
        self.run(
            f"rm -rf /var/backups/waba /opt/waba /seen; for tool in {tools}; do"
            " if [ -e $tool.real ]; then mv -f $tool.real $tool; fi; done"
        )

    def write_env(self, prefix: str) -> None:
        """Write the client's db.env."""
        port = 3306 if self.where.kind == "mariadb" else 5432
        values = {
            "ENGINE": self.where.engine,
            "HOSTNAME": "127.0.0.1",
            "PORT": port,
            "USERNAME": "wa",
            "PASSWORD": CANARY,
            "NAME_PREFIX": prefix,
        }
        text = "".join(f"WA_DB_{key}={value}\n" for key, value in values.items())
        docker(
            "exec", "-i", self.where.container, "sh", "-c", "mkdir -p /opt/waba/d; cat >/opt/waba/d/db.env", stdin=text
        )

    def seed(self) -> None:
        """Insert rows that a dump may damage: bytes, quotes, backslashes, other scripts, NULL."""
        odd = "it''s \\\\ % \U0001f600 -- x"
        if self.where.kind == "mariadb":
            for name in DATABASES:
                self.where.sql(f"CREATE DATABASE `{name}`;")
            self.where.sql(
                "CREATE TABLE messages (id BIGINT AUTO_INCREMENT PRIMARY KEY, body VARBINARY(900), note TEXT, KEY (note(9)))"
                " CHARSET utf8mb4; INSERT INTO messages (body) SELECT REPEAT(x'00ff0a270d5c', seq % 90)"
                f" FROM seq_1_to_{ROWS};",
                DATABASES[1],
            )
            self.where.sql(
                f"SET NAMES utf8mb4; CREATE TABLE settings (k VARCHAR(20) PRIMARY KEY, v TEXT) CHARSET utf8mb4;"
                f"INSERT INTO settings VALUES ('odd', '{odd}'), ('none', NULL);",
                DATABASES[0],
            )
            return
        for name in DATABASES:
            self.where.sql(f'CREATE DATABASE "{name}" OWNER wa;')
        self.where.sql(
            "SET ROLE wa; CREATE TABLE messages (id bigserial PRIMARY KEY, body bytea, note text); CREATE INDEX ON messages (note);"
            "INSERT INTO messages (body) SELECT decode(repeat('00ff0a270d5c', g % 90), 'hex')"
            f" FROM generate_series(1, {ROWS}) g;",
            DATABASES[1],
        )
        self.where.sql(
            "SET ROLE wa; CREATE TABLE settings (k text PRIMARY KEY, v text);"
            f"INSERT INTO settings VALUES ('odd', '{odd}'), ('none', NULL);",
            DATABASES[0],
        )

    def migrate(self) -> None:
        """Change the databases as the migration to a newer version does."""
        change = "ALTER TABLE messages ADD extra INT; CREATE TABLE newer (a INT); DELETE FROM messages WHERE id < 100;"
        self.where.sql(change if self.where.kind == "mariadb" else "SET ROLE wa; " + change, DATABASES[1])


@pytest.fixture(scope="module")
def drivers(image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python drivers of the lab's base image, which the servers' images lack."""
    folder = tmp_path_factory.mktemp("drivers")
    container = docker("create", image, "true")
    try:
        for name in ("pymysql", "psycopg2"):
            docker("cp", f"{container}:/usr/lib/python3/dist-packages/{name}", str(folder))
    finally:
        docker("rm", container)
    return folder


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, drivers: Path) -> t.Iterator[t.Callable[[str], Server]]:
    """Returns the server of a kind, which is started at its first use."""
    with contextlib.ExitStack() as ends:

        @functools.cache
        def start(kind: str) -> Server:
            found = ends.enter_context(server(kind, tmp_path_factory.mktemp(kind)))
            docker("cp", f"{drivers}/.", f"{found.container}:/usr/lib/python3/dist-packages")
            return found

        yield start


@pytest.fixture(params=["mariadb", "postgres"])
def host(request: pytest.FixtureRequest, ansible: Ansible, servers: t.Callable[[str], Server]) -> t.Iterator[Host]:
    """A host with a server that has the client's user and none of its databases."""
    made = Host(servers(request.param), ansible)
    made.prepare()
    yield made
    made.clean()


def test_a_dump_restores_schema_and_rows(
    host: Host, ansible: Ansible, tmp_path_factory: pytest.TempPathFactory
) -> None:
    host.seed()
    before = host.content()
    predicted = host.dump(check=True)
    assert predicted["changed"], predicted.get("msg")
    assert host.run("ls -A /var/backups") == ""
    # The tool is replaced by a script that records what other processes can see of it.
    tool = TOOLS[host.where.kind]
    host.run(
        f"mv {tool} {tool}.real; printf '%s\\n' '#!/bin/sh' 'cat /proc/$$/cmdline /proc/$$/environ >>/seen'"
        f" 'exec {tool}.real \"$@\"' >{tool}; chmod 755 {tool}"
    )
    host.run("mkdir -p /var/backups/waba; echo half >/var/backups/waba/older.sql.gz.part")
    done = host.dump()
    assert done["changed"], done.get("msg")
    path = "/var/backups/waba/d-2.51.2.sql.gz"
    assert done["actions"] == ["remove the half dump /var/backups/waba/older.sql.gz.part", *predicted["actions"]]
    assert (done["dest"], predicted["dest"], done["databases"]) == (path, path, DATABASES)
    assert host.run("stat --format '%n %a %s' /var/backups/waba/*") == f"{path} 600 {done['bytes']}"
    seen = host.run("cat /seen")
    assert {"mariadb": "--defaults-file=/dev/fd/", "postgres": "PGPASSFILE=/dev/fd/"}[host.where.kind] in seen
    assert "Canary" not in seen
    assert host.run("grep -rl Canary /tmp /root /var/tmp /dev/shm /var/backups /run 2>/dev/null || true") == ""
    for check in (False, True):
        again = host.dump(check=check)
        assert not again["changed"], again
        for key in ("dest", "bytes", "sha256", "databases", "restore_commands", "tool"):
            assert again[key] == done[key], key

    host.migrate()
    assert host.content() != before
    for command in done["restore_commands"]:
        host.type(command)
    assert host.content() == before

    with server(host.where.kind, tmp_path_factory.mktemp("empty")) as empty:
        other = Host(empty, ansible)
        other.prepare()
        other.run("mkdir -p /var/backups/waba")
        copy = f"docker cp {host.where.container}:{path} - | docker cp - {empty.container}:/var/backups/waba"
        commands.run("bash", "-o", "pipefail", "-c", copy)
        for command in done["restore_commands"]:
            other.type(command)
        assert other.content() == before


@pytest.mark.parametrize("host", ["mariadb"], indirect=True)
def test_a_dump_that_cannot_be_made_is_explained(host: Host) -> None:
    nothing = host.dump()
    assert not nothing["changed"]
    assert (nothing["dest"], nothing["databases"]) == (None, [])
    host.seed()
    host.run(f"for tool in {TOOLS[host.where.kind]} /usr/bin/mysqldump; do mv $tool $tool.real || true; done")
    missing = host.dump()
    assert "is not on this host" in missing["msg"]
    assert "Install mariadb-client" in missing["msg"]
    assert host.run("ls -A /var/backups") == ""


def create_database(host: Host, name: str, table: str, rows: int = 1, role: str = "wa") -> None:
    """Create a database with one table of some rows. On PostgreSQL the role owns both."""
    if host.where.kind == "mariadb":
        host.where.sql(f"CREATE DATABASE `{name}`; CREATE TABLE `{name}`.{table} (id INT PRIMARY KEY);")
    else:
        host.where.sql(f'CREATE DATABASE "{name}" OWNER {role};')
        host.where.sql(f"SET ROLE {role}; CREATE TABLE {table} (id int PRIMARY KEY);", name)
    count(host, name, table, rows)


def count(host: Host, name: str, table: str, add: int = 0) -> int:
    """Insert `add` rows and return the number of rows."""
    before = int(host.where.sql(f"SELECT count(*) FROM {table};", name))
    for number in range(before, before + add):
        host.where.sql(f"INSERT INTO {table} VALUES ({number});", name)
    return before + add


NO_PREFIX = ("", ("billing", "crm", "shop", "x_configStore", "x_messageStore"))
PREFIX = ("wa", ("warehouse", "wagon", "wa10configStore", "wa10messageStore"))


@pytest.mark.parametrize(
    ("host", "prefix", "neighbours"),
    [
        ("mariadb", *NO_PREFIX),
        ("postgres", *PREFIX),
        pytest.param("mariadb", *PREFIX, marks=pytest.mark.deep),
        pytest.param("postgres", *NO_PREFIX, marks=pytest.mark.deep),
    ],
    indirect=["host"],
)
def test_a_dump_contains_only_the_clients_databases(host: Host, prefix: str, neighbours: tuple[str, ...]) -> None:
    """With root, as in the vendor's sample, all databases are visible. A set without messages is what a wrong prefix left behind."""
    root = "GRANT ALL ON *.* TO 'wa'@'%';" if host.where.kind == "mariadb" else "ALTER ROLE wa SUPERUSER;"
    host.where.sql(root)
    host.write_env(prefix)
    ours = [f"{prefix}configStore", f"{prefix}messageStore"]
    for name in (*ours, *neighbours):
        messages = name.endswith("messageStore")
        create_database(host, name, "messages" if messages else "things", 0 if messages and name in neighbours else 1)
    found = host.dump(check=True)
    assert found["databases"] == ours, found.get("msg")
    done = host.dump()
    assert done["databases"] == ours, done.get("msg")
    text = host.run(f"gzip --decompress --stdout {done['dest']}")
    assert not [name for name in neighbours if name in text]
    # The restore replaces the client's databases, and no neighbour's.
    for name in (ours[0], neighbours[0]):
        count(host, name, "things", add=2)
    for command in done["restore_commands"]:
        shown = host.type(command)
        assert not [name for name in neighbours if name in shown]
    assert [count(host, name, "things") for name in (ours[0], neighbours[0])] == [1, 3]
    # A set with messages is another client's. The operator has to name the databases.
    count(host, neighbours[-1], "messages", add=1)
    refused = host.dump(name="again")
    assert neighbours[-1] in refused["msg"]
    assert "Name all of this client's own in the option databases" in refused["msg"]
    assert host.dump(name="again", databases=[ours[1]], check=True)["databases"] == ours


def test_missing_read_privileges_are_reported_before_anything_is_written(host: Host) -> None:
    host.seed()
    if host.where.kind == "mariadb":
        host.where.sql(
            "CREATE TABLE base (a INT); CREATE VIEW seen AS SELECT a FROM base; DROP TABLE base;", DATABASES[0]
        )
    else:
        host.where.sql("CREATE TABLE seen (a int);", DATABASES[0])
    for check in (True, False):
        refused = host.dump(check=check)
        assert f"dump of database {DATABASES[0]}: user wa may not read " in refused["msg"]
        assert "seen" in refused["msg"]
        assert host.run("ls -A /var/backups") == ""
    if host.where.kind == "postgres":
        host.where.sql("GRANT SELECT ON seen TO wa;", DATABASES[0])
        assert host.dump()["changed"]


@pytest.mark.parametrize("host", ["mariadb"], indirect=True)
def test_an_unreadable_trigger_is_left_out_with_a_warning(host: Host) -> None:
    """The dump tool would fail at it, after the client was stopped for the dump."""
    host.seed()
    host.where.sql(
        "CREATE TABLE seen (a INT); CREATE TRIGGER audit BEFORE INSERT ON seen FOR EACH ROW SET @a = 1;", DATABASES[0]
    )
    for check in (True, False):
        done = host.dump(check=check)
        assert done["changed"], done.get("msg")
        warning = f"trigger {DATABASES[0]}.audit is left out, and a restore loses it: the user may not read it, or not make it again"
        assert warning in done["warnings"]


@pytest.mark.parametrize("host", ["mariadb"], indirect=True)
def test_objects_of_another_definer_do_not_break_the_restore(host: Host) -> None:
    """The client's user may read them, but not create them: a restore would fail after the first databases."""
    host.seed()
    host.where.sql(
        "GRANT EVENT, TRIGGER ON *.* TO 'wa'@'%'; CREATE TABLE seen (a INT); CREATE PROCEDURE p() SELECT 1; GRANT EXECUTE ON PROCEDURE p TO 'wa'@'%';",
        DATABASES[0],
    )
    host.where.sql("CREATE TRIGGER audit BEFORE INSERT ON seen FOR EACH ROW SET @a = 1;", DATABASES[0])
    host.where.sql("CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO SELECT 1;", DATABASES[0])
    before = host.content()
    done = host.dump()
    assert done["changed"], done.get("msg")
    warnings = [line for line in done["warnings"] if "is left out, and a restore loses it" in line]
    assert sorted(line.split()[1] for line in warnings) == [
        f"{DATABASES[0]}.{name}" for name in ("audit", "nightly", "p")
    ]
    for command in done["restore_commands"]:
        host.type(command)
    assert host.content() == before
