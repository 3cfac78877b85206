# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_db_dump and wa_db_restore on hosts with a server's own tools: dump, restore, compare."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import json
import re
import shutil
import subprocess
import threading
import time
import typing as t
import uuid
from concurrent import futures
from pathlib import Path

import ansible as ansible_package
import commands
import lab_images
import psycopg2
import pymysql
import pytest
from commands import REPOSITORY, docker
from database_servers import PORTS, Server, server
from engine import Engine
from playbook import Ansible

CANARY = "Canary-72:\\#;'\"x"
TOOLS = {
    "mariadb": "/usr/bin/mariadb-dump",
    "mysql": "/usr/bin/mysqldump",
    "postgres": "/usr/lib/postgresql/17/bin/pg_dump",
}
MACHINES = {"mariadb": "mariadb", "mysql": "mysql-9.7", "postgres": "postgres"}  # of the lab, by product
# What a module needs on a host: Ansible's code and the collection's. A controller takes six times the CPU time to bring them there.
SITE = (
    f"--volume={Path(ansible_package.__file__).parent}:/site/ansible:ro",
    f"--volume={REPOSITORY}:/site/ansible_collections/waba/onprem:ro",
)
DATABASES = ["du-1configStore", "du-1messageStore"]
LISTS = {"mariadb": "SHOW DATABASES;", "postgres": "SELECT datname FROM pg_database;"}
ROWS = 20_000
SHOW = {
    "mariadb": (
        "SHOW CREATE TABLE messages; CHECKSUM TABLE messages, settings; SELECT * FROM settings;"
        "SELECT table_name, column_name, column_type FROM information_schema.columns"
        " WHERE table_schema LIKE 'du-1%Store' ORDER BY 1, 2;"
    ),
    "postgres": (
        "SELECT count(*), md5(string_agg(m::text, ',' ORDER BY id)) FROM messages m; SELECT * FROM settings;"
        "SELECT table_name, column_name, data_type, column_default FROM information_schema.columns"
        " WHERE table_schema = 'public' ORDER BY 1, 2; SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"
        " ORDER BY 1; SELECT tableowner FROM pg_tables WHERE schemaname = 'public' ORDER BY 1; SELECT last_value FROM messages_id_seq;"
    ),
}


class Host:
    """The container of a database server as a managed host."""

    def __init__(self, where: Server, ansible: Ansible) -> None:
        self.where, self.ansible = where, ansible
        self.mysql = where.kind != "postgres"
        self.family = "mariadb" if self.mysql else "postgres"  # of statements that both products of MySQL's kind take
        # Compose would parse this password differently.
        self.options = {"env_file": "/opt/waba/d/db.env", "env_format": "docker"}
        self.options.update(dest="/var/backups/waba", name="d-2.51.2", login_ca_cert="/lab/tls/ca.pem")

    def dump(self, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        """Run wa_db_dump on that host and return its result."""
        return self.call("wa_db_dump", {**self.options, **options}, check)

    def call(self, module: str, options: dict[str, t.Any], check: bool = False) -> dict[str, t.Any]:
        """Run a module's program on that host and return its result. The output contains no secret."""
        program = ["python3", "-m", f"ansible_collections.waba.onprem.plugins.modules.{module}"]
        done = subprocess.run(
            [
                "docker",
                "exec",
                "-i",
                "-e",
                "PYTHONPATH=/site",
                "-e",
                "_ANSIBLE_PROFILE=legacy",
                self.where.container,
                *program,
            ],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": {**options, "_ansible_check_mode": check, "_ansible_diff": True}}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Canary" not in done.stdout + done.stderr
        return t.cast("dict[str, t.Any]", json.loads(done.stdout or json.dumps({"msg": done.stderr})))

    def play(self) -> dict[str, t.Any]:
        """Run wa_db_dump on that host as Ansible does, and return its result. The output at -vvv contains no secret."""
        host = self.where.container
        arguments = ["-i", f"{host},", "--limit", host, "-c", "community.docker.docker", "-vvv"]
        arguments += ["-e", "ansible_python_interpreter=/usr/bin/python3"]
        played = self.ansible.play([{"waba.onprem.wa_db_dump": self.options}], arguments=arguments)
        assert "Canary" not in played.stdout + played.stderr
        return played.results[0]

    def run(self, script: str) -> str:
        """Run a shell script as root on the host and return its output."""
        return Engine().run(self.where.container, script)

    def restore(self, manifest: str, operation: str = "restore", **options: t.Any) -> dict[str, t.Any]:
        """Run wa_db_restore on that host and return its result."""
        given = {name: self.options[name] for name in ("env_file", "env_format", "login_ca_cert")}
        self.run("rm -f /tmp/calls")
        return self.call("wa_db_restore", {**given, "manifest": manifest, "operation": operation, **options})

    def content(self) -> list[str]:
        """Schema and rows of the client's databases, for comparison."""
        if self.mysql:
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
        if self.mysql:
            rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP"
            quoted = quoted.replace("\\", "\\\\")
            self.where.sql(f"CREATE USER 'wa'@'%' IDENTIFIED BY '{quoted}'; GRANT {rights} ON `du-1%`.* TO 'wa'@'%';")
        else:
            self.where.sql(f"CREATE ROLE wa LOGIN PASSWORD '{quoted}';")
        self.write_env("du-1")

    def clean(self) -> None:
        """Remove the databases, the user, the dumps, and what stands in for the tools."""
        if self.mysql:
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

    def write_env(self, prefix: str, server: str = "127.0.0.1") -> None:
        """Write the client's db.env."""
        port = 3306 if self.mysql else 5432
        values = {
            "ENGINE": self.where.engine,
            "HOSTNAME": server,
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
        if self.mysql:
            for name in DATABASES:
                self.where.sql(f"CREATE DATABASE `{name}`;")
            deep = {"mariadb": "max_recursive_iterations", "mysql": "cte_max_recursion_depth"}[self.where.kind]
            self.where.sql(
                f"SET {deep} = {ROWS}; CREATE TABLE messages (id BIGINT AUTO_INCREMENT PRIMARY KEY, body VARBINARY(900), note TEXT, KEY (note(9)))"
                " CHARSET utf8mb4; INSERT INTO messages (body)"
                f" WITH RECURSIVE s (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM s WHERE seq < {ROWS})"
                " SELECT REPEAT(x'00ff0a270d5c', seq % 90) FROM s;",
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
        self.where.sql(change if self.mysql else "SET ROLE wa; " + change, DATABASES[1])


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
def servers(tmp_path_factory: pytest.TempPathFactory, drivers: Path) -> t.Iterator[t.Callable[..., Server]]:
    """Returns the first, or another, server of a kind, which is started at its first use."""
    with contextlib.ExitStack() as ends:

        @functools.cache
        def start(kind: str, which: str = "first") -> Server:
            found = ends.enter_context(server(kind, tmp_path_factory.mktemp(f"{kind}-{which}"), options=SITE))
            docker("cp", f"{drivers}/.", f"{found.container}:/usr/lib/python3/dist-packages")
            return found

        yield start


@pytest.fixture(params=["mariadb", "postgres", pytest.param("mysql-9.7", marks=pytest.mark.deep)])
def host(request: pytest.FixtureRequest, ansible: Ansible, servers: t.Callable[..., Server]) -> t.Iterator[Host]:
    """A host with a server that has the client's user and none of its databases."""
    made = Host(servers(request.param), ansible)
    made.prepare()
    yield made
    made.clean()


@pytest.fixture
def other(host: Host, ansible: Ansible, servers: t.Callable[..., Server]) -> t.Iterator[Host]:
    """Another host of that kind."""
    made = Host(servers(MACHINES[host.where.kind], "other"), ansible)
    made.prepare()
    yield made
    made.clean()


def test_a_dump_restores_schema_and_rows(host: Host, other: Host) -> None:
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
    host.run("mkdir -p /var/backups/waba; echo half >/var/backups/waba/older.sql.gz.waba.part")
    done = host.play()
    assert done["changed"], done.get("msg")
    path = "/var/backups/waba/d-2.51.2.sql.gz"
    assert done["actions"] == ["remove the half dump /var/backups/waba/older.sql.gz.waba.part", *predicted["actions"]]
    assert (done["dest"], predicted["dest"], done["databases"]) == (path, path, DATABASES)
    assert host.run("stat --format '%n %a %s' /var/backups/waba/*.gz") == f"{path} 600 {done['bytes']}"
    seen = host.run("cat /seen")
    assert {"mariadb": "--defaults-file=/dev/fd/", "postgres": "PGPASSFILE=/dev/fd/"}[host.family] in seen
    assert "Canary" not in seen
    assert host.run("grep -rl Canary /tmp /root /var/tmp /dev/shm /var/backups /run 2>/dev/null || true") == ""
    for check in (False, True):
        again = host.dump(check=check)
        assert not again["changed"], again
        for key in ("dest", "bytes", "sha256", "databases", "manifest", "tool"):
            assert again[key] == done[key], key

    host.migrate()
    assert host.content() != before
    assert host.restore(done["manifest"], "check")["changed"] is False
    restored = host.restore(done["manifest"])
    assert restored["actions"] == [f"put {', '.join(DATABASES)} back as of {path}"], restored.get("msg")
    assert host.content() == before

    empty = other.where
    if host.where.kind == "postgres":
        empty.sql("ALTER ROLE wa CREATEDB;")
    drill = drill_on(empty)
    drilled = host.restore(done["manifest"], "drill", **drill)
    assert drilled["changed"], drilled.get("msg")
    assert "msg" not in drilled, drilled["msg"]
    assert [name for name in DATABASES if name in empty.sql(LISTS[host.family])] == []
    assert '"seconds":' in host.run("cat /var/backups/waba/d-2.51.2.drill.json")
    own = host.restore(done["manifest"], "drill", **{**drill, "drill_host": "127.0.0.1"})
    assert "the client's own server; expected another one" in own["msg"]
    if host.where.kind == "postgres":
        empty.sql("ALTER ROLE wa NOCREATEDB;")
    copy = f"docker cp {host.where.container}:/var/backups/waba - | docker cp - {empty.container}:/var/backups"
    commands.run("bash", "-o", "pipefail", "-c", copy)
    if host.where.kind == "postgres":  # whose client's user may make no database
        missing = other.restore(done["manifest"])
        assert f"no database {', '.join(DATABASES)}" in missing["msg"]
        for name in DATABASES:
            empty.sql(f'CREATE DATABASE "{name}" OWNER wa;')
    restored = other.restore(done["manifest"])
    assert "msg" not in restored, restored.get("msg")
    assert other.content() == before


# What hardly depends on the server: in CI over one, in the deep layer over the others.
mariadb_in_ci = pytest.mark.parametrize(
    "host",
    ["mariadb", *(pytest.param(kind, marks=pytest.mark.deep) for kind in ("postgres", "mysql-9.7"))],
    indirect=True,
)


def drill_on(other: Server) -> dict[str, t.Any]:
    """The options of a drill on another server, which has the client's user."""
    return {"drill_host": address(other.container), "login_ca_cert": ""}


ADD = {
    "mariadb": "INSERT INTO messages (body, note) VALUES ('x', \"),(',);\n\\\\('\");",
    "postgres": "INSERT INTO messages (body, note) VALUES ('x', E'),(\\'\\n\\\\\n');",
}
# A row that is taken out of a dump.
GONE = {
    "mariadb": rb"\n\(5,[^\n]*",
    "mysql": rb",\(5,0x[0-9A-F]*,NULL\)",
    "postgres": rb"\n5\t[^\n]*",
}
LOSE = """
import gzip, hashlib, json, re
path = "/var/backups/waba/d-2.51.2"
text, count = re.subn({gone!r}, b"", gzip.decompress(open(path + ".sql.gz", "rb").read()), count=1)
assert count == 1
packed = gzip.compress(text)
open(path + ".sql.gz", "wb").write(packed)
manifest = json.load(open(path + ".json"))
manifest.update(bytes=len(packed), sha256=hashlib.sha256(packed).hexdigest())
json.dump(manifest, open(path + ".json", "w"))
"""


@contextlib.contextmanager
def written(host: Host) -> t.Iterator[t.Callable[[], int]]:
    """Rows are inserted one by one meanwhile. Yields a function that returns how many there are."""
    done, ended = 0, threading.Event()
    login: dict[str, t.Any] = {"host": "127.0.0.1", "port": host.where.port, "user": "wa", "password": CANARY}

    def write() -> None:
        nonlocal done
        while not ended.wait(0.05):
            with connection.cursor() as cursor:
                cursor.execute(ADD[host.family])
            done += 1

    if host.mysql:
        tls = {"ca": str(host.where.ca), "check_hostname": False}
        connection = pymysql.connect(**login, database=DATABASES[1], autocommit=True, ssl=tls)
    else:
        connection = psycopg2.connect(**login, dbname=DATABASES[1])
        connection.autocommit = True
    with contextlib.closing(connection), futures.ThreadPoolExecutor(1) as beside:
        writing = beside.submit(write)
        try:
            yield lambda: done
        finally:
            ended.set()
            writing.result()


@mariadb_in_ci
def test_the_copy_of_a_client_that_writes_holds_what_its_manifest_says(host: Host, other: Host) -> None:
    host.seed()
    tool = TOOLS[host.where.kind]
    # Each call of the tool begins when rows have come since it was made.
    host.run(
        f"mkfifo /go; mv {tool} {tool}.real; printf '%s\\n' '#!/bin/sh' 'case $1 in *version) exec {tool}.real \"$@\";; esac'"
        f" 'echo >>/begun; cat /go >/dev/null; exec {tool}.real \"$@\"' >{tool}; chmod 755 {tool}"
    )
    with written(host) as count, futures.ThreadPoolExecutor(1) as beside:
        dumping = beside.submit(host.dump)
        calls = 0
        while not dumping.done():
            if int(host.run("cat /begun 2>/dev/null | wc -l")) > calls:
                calls, before = calls + 1, count()
                while count() < before + 3:
                    time.sleep(0.05)
                host.run("echo >/go")
        done = dumping.result()
        assert "msg" not in done, done["msg"]
        assert (calls > 1, count() > 3 * calls) == (True, True)
        text = host.run(f"cat {done['manifest']}")
        empty = other.where
        if host.where.kind == "postgres":
            empty.sql("ALTER ROLE wa CREATEDB;")
        drilled = host.restore(done["manifest"], "drill", **drill_on(empty))
        assert "msg" not in drilled, drilled["msg"]
        copied = int(re.search(r'"(?:public\.)?messages": (\d+)', text).group(1))  # type: ignore[union-attr]
        assert ROWS <= copied < ROWS + count()
        docker("exec", "-i", host.where.container, "python3", "-", stdin=LOSE.format(gone=GONE[host.where.kind]))
        wrong = host.restore(done["manifest"], "drill", **drill_on(empty))
        assert f"{copied - 1} rows, expected {copied}" in wrong["msg"]
        assert [name for name in DATABASES if name in empty.sql(LISTS[host.family])] == []


class Drills:
    """A host with a Docker Engine, this machine's, and a copy of a dump and its db.env, whose database server it does not reach."""

    def __init__(self, host: Host, drivers: Path) -> None:
        self.deployment = f"t{uuid.uuid4().hex[:8]}"
        self.manifest = Everything(host, facts={"deployment": self.deployment}).dump["manifest"]
        self.kind = host.where.kind
        self.server = MACHINES[self.kind]
        self.machine = str(Engine().container(host.where.container)["Config"]["Image"])
        image = self.machine
        socket = ["--volume", "/var/run/docker.sock:/var/run/docker.sock"]
        box = docker("run", "--detach", "--network", "host", *socket, *SITE, image, "sleep", "infinity").strip()
        self.host = Host(Server(self.kind, box, 0, Path()), host.ansible)
        docker("cp", f"{drivers}/.", f"{box}:/usr/lib/python3/dist-packages")
        docker("cp", str(shutil.which("docker")), f"{box}:/usr/local/bin/docker")
        for folder in ("/var/backups/waba", "/opt/waba"):
            copy = f"docker cp {host.where.container}:{folder} - | docker cp - {box}:{Path(folder).parent}"
            commands.run("bash", "-o", "pipefail", "-c", copy)

    def drill(self, image: str, check: bool = False) -> dict[str, t.Any]:
        """Make a drill with an image and return its result. Nothing of it is left."""
        given = {"env_file": "/opt/waba/d/db.env", "env_format": "docker", "manifest": self.manifest}
        options = {**given, "operation": "drill", "drill_image": image, "deployment": self.deployment}
        done = self.host.call("wa_db_restore", options, check)
        assert check or self.left() == ""
        return done

    def left(self) -> str:
        """The containers of drills of this deployment."""
        return docker("ps", "--all", "--quiet", "--filter", f"label=waba.onprem.drill={self.deployment}")

    def note(self) -> str:
        """What the last drill has noted."""
        return self.host.run("cat /var/backups/waba/*.drill.json 2>/dev/null || true")


@pytest.fixture
def drills(host: Host, drivers: Path) -> t.Iterator[Drills]:
    found = Drills(host, drivers)
    yield found
    docker("rm", "--force", "--volumes", found.host.where.container)


OTHERS = {"mariadb": "postgres", "mysql": "postgres", "postgres": "mariadb"}


@pytest.mark.parametrize(
    "host",
    ["postgres", *(pytest.param(kind, marks=pytest.mark.deep) for kind in ("mariadb", "mysql-9.7"))],
    indirect=True,
)
def test_a_drill_starts_a_server_of_its_own_and_removes_it(drills: Drills) -> None:
    image = lab_images.vendor(drills.server)
    label = f"waba.onprem.drill={drills.deployment}"
    # One that was killed has left it.
    old = docker("create", "--name", f"wa-drill-{drills.deployment}", "--label", label, image).strip()
    volumes = {one["Name"] for one in Engine().container(old)["Mounts"]}
    predicted = drills.drill(image, check=True)
    what = f"restore {', '.join(DATABASES)} on a server of {image}, compare, and remove them there"
    assert predicted["actions"] == [what], predicted.get("msg")
    assert (drills.left() != "", drills.note()) == (True, "")
    done = drills.drill(image)
    assert "msg" not in done, done["msg"]
    assert done["actions"] == [what]
    assert f'"server": "{image}"' in drills.note()
    assert volumes
    assert volumes.isdisjoint(docker("volume", "ls", "--quiet").split())


@pytest.mark.deep
def test_a_drill_that_proves_nothing_fails(drills: Drills) -> None:
    image = lab_images.vendor(drills.server)
    other = drills.drill(lab_images.vendor(OTHERS[drills.kind]))
    assert "it listens on " in other["msg"]
    assert f"expected a server of {PRODUCTS[drills.kind]}, on port " in other["msg"]
    missing = drills.drill("127.0.0.1:1/none:1")
    assert "not on this host, and its registry says: " in missing["msg"]
    unready = drills.drill(drills.machine)  # takes no password from the environment
    assert "drill in a container of " in unready["msg"]
    assert f"expected a server of {PRODUCTS[drills.kind]}" in unready["msg"]
    drills.host.run(f"sed -i 's/: {ROWS}/: {ROWS - 1}/' {drills.manifest}")
    wrong = drills.drill(image)
    assert f"{ROWS} rows, expected {ROWS - 1}" in wrong["msg"]
    drills.host.run("truncate -s -9 /var/backups/waba/*.sql.*")
    assert "The file is damaged" in drills.drill(image)["msg"]
    assert drills.note() == ""


PRODUCTS = {"mariadb": "MariaDB", "mysql": "MySQL", "postgres": "PostgreSQL"}


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
    if host.mysql:
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
    root = "GRANT ALL ON *.* TO 'wa'@'%';" if host.mysql else "ALTER ROLE wa SUPERUSER;"
    host.where.sql(root)
    host.write_env(prefix)
    ours = [f"{prefix}configStore", f"{prefix}messageStore"]
    for name in (*ours, *neighbours):
        messages = name.endswith("messageStore")
        create_database(host, name, "messages" if messages else "things", 0 if messages and name in neighbours else 1)
    asked = host.dump(check=True)
    other_client = [name for name in neighbours if "Store" in name]
    unknown = [name for name in neighbours if name not in other_client]
    said = f"surely this client's: {', '.join(ours)}; perhaps this client's: {', '.join(sorted(unknown))}; expected the databases of one"
    assert said in asked["msg"]
    found = host.dump(check=True, databases=ours)
    assert found["databases"] == ours, found.get("msg")
    assert found["left"][0].startswith(f"database {', '.join(sorted(neighbours))}: taken for another application's")
    done = host.dump(databases=ours)
    assert done["databases"] == ours, done.get("msg")
    text = host.run(f"gzip --decompress --stdout {done['dest']}")
    assert not [name for name in neighbours if name in text]
    # The restore replaces the client's databases, and no neighbour's.
    for name in (ours[0], neighbours[0]):
        count(host, name, "things", add=2)
    restored = host.restore(done["manifest"])
    assert "msg" not in restored, restored.get("msg")
    assert [count(host, name, "things") for name in (ours[0], neighbours[0])] == [1, 3]
    # A set with messages is another client's. The operator has to name the databases.
    count(host, neighbours[-1], "messages", add=1)
    refused = host.dump(name="again")
    assert neighbours[-1] in refused["msg"]
    assert "Name all of this client's own in the option databases" in refused["msg"]
    assert host.dump(name="again", databases=[ours[1]], check=True)["databases"] == ours


def test_missing_read_privileges_are_reported_before_anything_is_written(host: Host) -> None:
    host.seed()
    if host.mysql:
        # The client's user is the definer, and may not read what it shows.
        host.where.sql(
            "CREATE TABLE base (a INT); CREATE DEFINER = 'wa'@'%' VIEW seen AS SELECT a FROM base; DROP TABLE base;",
            DATABASES[0],
        )
    else:
        host.where.sql("ALTER TABLE settings ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;", DATABASES[0])
    for check in (True, False):
        refused = host.dump(check=check)
        assert f"dump of database {DATABASES[0]}: user wa may not read " in refused["msg"]
        assert ("seen" if host.mysql else "settings") in refused["msg"]
        assert host.run("ls -A /var/backups") == ""


@pytest.mark.parametrize("host", ["mariadb"], indirect=True)
def test_a_trigger_of_another_account_is_refused_before_the_outage(host: Host) -> None:
    """The tool would fail at it, and a table with it cannot be put aside."""
    host.seed()
    host.where.sql(
        "CREATE TABLE seen (a INT); CREATE TRIGGER audit BEFORE INSERT ON seen FOR EACH ROW SET @a = 1;", DATABASES[0]
    )
    for check in (True, False):
        refused = host.dump(check=check)
        assert (
            f"dump of database {DATABASES[0]}: trigger audit (another account), which a restore by user wa"
            in refused["msg"]
        )
    assert host.run("ls -A /var/backups") == ""


@pytest.mark.deep
@pytest.mark.parametrize("host", ["mysql-9.7"], indirect=True)
def test_a_trigger_that_mysql_does_not_show_is_named_by_the_restore_which_goes_on_without_it(host: Host) -> None:
    host.seed()
    host.where.sql("CREATE TRIGGER audit BEFORE INSERT ON settings FOR EACH ROW SET @a = 1;", DATABASES[0])
    before, done = host.content(), host.dump()
    assert "msg" not in done, done["msg"]
    host.migrate()
    assert "a table has a trigger that the user may not see" in host.restore(done["manifest"])["msg"]
    host.where.sql("DROP TRIGGER audit;", DATABASES[0])
    restored = host.restore(done["manifest"])
    assert "msg" not in restored, restored["msg"]
    assert host.content() == before


@pytest.mark.deep
@pytest.mark.parametrize("host", ["mariadb"], indirect=True)
def test_objects_of_another_definer_stay_where_they_are(host: Host) -> None:
    """The client's user may read them, but not create them."""
    host.seed()
    host.where.sql(
        "GRANT EVENT, TRIGGER ON *.* TO 'wa'@'%'; CREATE PROCEDURE p() SELECT 1; GRANT EXECUTE ON PROCEDURE p TO 'wa'@'%';"
        "CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO SELECT 1;",
        DATABASES[0],
    )
    before = host.content()
    done = host.dump()
    assert done["left"] == [
        f"{kind} {DATABASES[0]}.{name} is root@localhost's: it is not copied, and a restore leaves it as it is"
        for kind, name in (("routine", "p"), ("event", "nightly"))
    ], done.get("msg")
    restored = host.restore(done["manifest"])
    assert "msg" not in restored, restored.get("msg")
    assert host.content() == before
    assert (
        host.where.sql("SHOW CREATE PROCEDURE p; SHOW CREATE EVENT nightly;", DATABASES[0]).count(
            "CREATE DEFINER=`root`@`localhost`"
        )
        == 2
    )


@pytest.mark.parametrize("host", ["postgres"], indirect=True)
@pytest.mark.parametrize(
    ("made", "named", "cure"),
    [
        (
            "CREATE TABLE given (a int); INSERT INTO given VALUES (1); GRANT SELECT, INSERT, UPDATE, DELETE ON given TO wa;",
            "table given (postgres)",
            "ALTER TABLE given OWNER TO wa;",
        ),
        (
            "SET ROLE wa; CREATE TABLE part (id int, at date) PARTITION BY RANGE (at); RESET ROLE;"
            "CREATE TABLE part1 PARTITION OF part FOR VALUES FROM ('2026-01-01') TO ('2027-01-01'); INSERT INTO part VALUES (1, '2026-02-02');",
            "table part1 (postgres)",
            "ALTER TABLE part1 OWNER TO wa;",
        ),
    ],
)
def test_rows_of_a_table_that_the_administrator_has_made_for_the_client_are_not_left_out(
    host: Host, made: str, named: str, cure: str
) -> None:
    host.seed()
    host.where.sql(made, DATABASES[1])
    for check in (True, False):
        refused = host.dump(check=check)
        assert f"dump of database {DATABASES[1]}: {named}, which a restore by user wa could neither" in refused["msg"]
        assert "Have the administrator give them to user wa" in refused["msg"]
    host.where.sql(cure, DATABASES[1])
    before = host.content()
    done = host.dump()
    assert "msg" not in done, done["msg"]
    table = cure.split()[2].rstrip("1")
    host.where.sql(f"DELETE FROM {table}; DELETE FROM messages;", DATABASES[1])
    restored = host.restore(done["manifest"])
    assert "msg" not in restored, restored["msg"]
    assert (host.content(), host.where.sql(f"SELECT count(*) FROM {table};", DATABASES[1]).strip()) == (before, "1")


@pytest.mark.parametrize("host", ["postgres"], indirect=True)
def test_a_client_that_owns_its_tables_alone_lacks_rights_that_are_found_before_the_outage(host: Host) -> None:
    """The databases are the administrator's, who has made a schema for the client, moved a table to another disk, and has an extension."""
    host.seed()
    host.run(
        "install -d -o postgres /var/lib/postgresql/fast; cd /usr/share/postgresql/17/extension; echo \"default_version = '1'\" >jobs.control;"
        " echo \"CREATE TABLE job (a int PRIMARY KEY); SELECT pg_extension_config_dump('job', '');\" >jobs--1.sql"
    )
    host.where.sql("CREATE TABLESPACE fast LOCATION '/var/lib/postgresql/fast';")
    for name in DATABASES:
        host.where.sql(f'ALTER DATABASE "{name}" OWNER TO postgres; REVOKE CREATE ON SCHEMA public FROM PUBLIC;', name)
    host.where.sql(
        "CREATE SCHEMA own AUTHORIZATION wa; CREATE TABLE own.t (a int); INSERT INTO own.t VALUES (1); ALTER TABLE own.t OWNER TO wa;"
        "ALTER TABLE messages SET TABLESPACE fast; CREATE PUBLICATION events FOR TABLE messages; CREATE EXTENSION jobs; INSERT INTO job VALUES (1);",
        DATABASES[1],
    )
    before = host.content()
    grants = {
        DATABASES[0]: "GRANT CREATE ON SCHEMA public TO wa",
        DATABASES[1]: f'GRANT CREATE ON DATABASE "{DATABASES[1]}" TO wa; GRANT CREATE ON SCHEMA public TO wa; '
        "GRANT CREATE ON TABLESPACE fast TO wa",
    }
    try:
        for name, cure in grants.items():
            refused = host.dump(preflight=True)
            assert f"dump of database {name}: user wa may not make again there" in refused["msg"], refused
            assert refused["msg"].endswith(f"Have the administrator run there: {cure}")
            host.where.sql(f"{cure};", name)
        done = host.dump()
        assert done["left"] == [
            f"table public.job in {DATABASES[1]} is postgres's: it is not copied, and a restore leaves it as it is",
            f"publication events in {DATABASES[1]} has tables of the client's: a restore takes them out of it, and they are to be added again",
        ], done.get("msg")
        host.migrate()
        host.where.sql("DROP TABLE own.t;", DATABASES[1])
        restored = host.restore(done["manifest"])
        assert "msg" not in restored, restored["msg"]
        assert host.content() == before
        assert host.where.sql("SELECT count(*) FROM own.t, job;", DATABASES[1]).strip() == "1"
    finally:
        for name in DATABASES:
            host.where.sql(f'DROP DATABASE "{name}";')
        host.where.sql("DROP TABLESPACE fast;")


# What a client's databases may have, and what an administrator may have beside it
MORE = {
    "mariadb": (
        "GRANT EVENT, TRIGGER, CREATE ROUTINE, ALTER ROUTINE, EXECUTE, CREATE VIEW, SHOW VIEW, REFERENCES ON `du-1%`.* TO 'wa'@'%';",
        "CREATE TABLE chat (id INT PRIMARY KEY, name VARCHAR(40) CHARSET latin1, size INT AS (length(name)) STORED);"
        "INSERT INTO chat (id, name) VALUES (1, 'caf\u00e9'), (2, 'b');"
        "CREATE TABLE member (id INT PRIMARY KEY, chat INT, FOREIGN KEY (chat) REFERENCES chat (id) ON DELETE CASCADE);"
        "INSERT INTO member VALUES (7, 1), (8, 2);"
        "CREATE TABLE big (id INT PRIMARY KEY, body LONGBLOB); INSERT INTO big VALUES (1, REPEAT(x'00ff', 3000000));"
        "CREATE FUNCTION twice(a INT) RETURNS INT DETERMINISTIC RETURN 2 * a;"
        "CREATE VIEW members AS SELECT id, twice(chat) AS double_chat FROM member;"
        "CREATE VIEW above AS SELECT id FROM members;"
        "CREATE TRIGGER noted BEFORE INSERT ON member FOR EACH ROW SET @noted = 1;"
        "CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO SELECT 1;",
        # The administrator's.
        "CREATE DEFINER = root@localhost VIEW audit AS SELECT 1 AS one;",
    ),
    "postgres": (
        "",
        "CREATE TYPE kind AS ENUM ('a', 'b'); CREATE DOMAIN short AS text CHECK (length(value) < 9); CREATE SCHEMA own;"
        "CREATE TABLE own.chat (id serial PRIMARY KEY, name short, kind kind, size int GENERATED ALWAYS AS (length(name)) STORED);"
        "INSERT INTO own.chat (name, kind) VALUES ('caf\u00e9', 'a'), ('b', 'b');"
        "CREATE TABLE member (id int PRIMARY KEY, chat int REFERENCES own.chat ON DELETE CASCADE); INSERT INTO member VALUES (7, 1), (8, 2);"
        "CREATE TABLE part (id int, at date) PARTITION BY RANGE (at);"
        "CREATE TABLE part1 PARTITION OF part FOR VALUES FROM ('2026-01-01') TO ('2027-01-01'); INSERT INTO part VALUES (1, '2026-02-02');"
        "CREATE TABLE big (id int PRIMARY KEY, body bytea); INSERT INTO big VALUES (1, decode(repeat('00ff', 3000000), 'hex'));"
        "CREATE FUNCTION twice(a int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 2 * a';"
        "CREATE VIEW members AS SELECT id, twice(chat) AS double_chat FROM member; CREATE VIEW above AS SELECT id FROM members;"
        "CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM members; CREATE INDEX ON member (twice(chat));"
        "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';"
        "CREATE TRIGGER noted BEFORE INSERT ON member FOR EACH ROW EXECUTE FUNCTION noted(); SELECT lo_from_bytea(4711, 'large');",
        "CREATE EXTENSION pg_trgm;"
        "CREATE TABLE audit (a int); INSERT INTO audit VALUES (1); CREATE SCHEMA reports;"
        "CREATE VIEW reports.one AS SELECT 1 AS one; CREATE FUNCTION reports.f() RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE FUNCTION reports.ours() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION reports.ours OWNER TO wa;",
    ),
}
UNDO = {
    "mariadb": "DROP VIEW above, members; DROP FUNCTION twice; DROP TRIGGER noted; DROP EVENT nightly; DROP TABLE member, big; DELETE FROM chat;"
    "CREATE TABLE fresh (a INT); CREATE VIEW newest AS SELECT a FROM fresh; ALTER TABLE messages ADD extra INT;",
    "postgres": "DROP VIEW above, members CASCADE; DROP TABLE member CASCADE; DELETE FROM own.chat; CREATE TABLE fresh (a kind, b short);"
    "CREATE VIEW newest AS SELECT a FROM fresh; CREATE FUNCTION f(fresh) RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT lo_unlink(4711);"
    "CREATE SCHEMA newer; CREATE TABLE newer.t (a int); ALTER TABLE messages ADD extra int;",
}


class Everything:
    """A host whose client has all that a client may have, with an administrator's things beside it, and a dump of that."""

    def __init__(self, host: Host, **options: t.Any) -> None:
        self.host = host
        host.seed()
        rights, ours, theirs = MORE[host.family]
        host.where.sql(rights)
        self.as_client(ours)
        host.where.sql(theirs, DATABASES[1])
        self.before = self.content()
        self.dump = host.dump(**options)
        assert self.dump["changed"], self.dump.get("msg")

    def as_client(self, text: str) -> None:
        """Run statements as the client's user."""
        if self.host.where.kind == "postgres":
            self.host.where.sql("SET ROLE wa; " + text, DATABASES[1])
            return
        quoted = CANARY.replace("'", "'\\''")
        program = {"mariadb": "mariadb --skip-ssl", "mysql": "mysql --ssl-mode=REQUIRED"}[self.host.where.kind]
        login = (
            f"{program} --host=127.0.0.1 --user=wa --password='{quoted}' --default-character-set=utf8mb4 {DATABASES[1]}"
        )
        docker("exec", "-i", self.host.where.container, "sh", "-c", login, stdin=text)

    def content(self) -> str:
        """All that both databases hold, as the server's own tool prints it for an administrator."""
        if self.host.mysql:
            options = "--skip-comments --skip-dump-date --hex-blob --routines --events --triggers --databases"
            options += " --set-gtid-purged=OFF" if self.host.where.kind == "mysql" else ""
            return self.host.run(f"{TOOLS[self.host.where.kind]} {options} {' '.join(DATABASES)}")
        texts = [self.host.run(f"su postgres -c '{TOOLS['postgres']} --inserts {name}'") for name in DATABASES]
        return "\n".join(line for text in texts for line in text.splitlines() if "restrict" not in line)

    def broken(self, program: str, call: int) -> None:
        """Put a script in the place of a program, which fails at its n-th call."""
        where = self.host.run(f"command -v {program}")
        self.host.run(
            f"mv {where} {where}.real; printf '%s\\n' '#!/bin/sh' 'case $1 in *version) exec {where}.real \"$@\";; esac'"
            f" 'echo >>/tmp/calls; [ $(wc -l </tmp/calls) -eq {call} ] && {{ head -c 300 >/dev/null; exit 9; }}'"
            f" 'exec {where}.real \"$@\"' >{where}; chmod 755 {where}"
        )
        self.mended = f"mv -f {where}.real {where}; rm -f /tmp/calls"

    def mend(self) -> None:
        """Put the program back."""
        self.host.run(self.mended)


CLIENT = {"mariadb": "mariadb", "mysql": "mysql", "postgres": "/usr/lib/postgresql/17/bin/psql"}


def test_all_that_a_client_may_have_is_restored_and_what_is_not_its_own_stays(host: Host) -> None:
    made = Everything(host)
    named = " ".join(made.dump["left"])
    for theirs in {"mariadb": ["audit"], "postgres": ["public.audit", "reports"]}[host.family]:
        assert f" {theirs} in " in named or f".{theirs} is " in named, named
    made.as_client(UNDO[host.family])
    assert made.content() != made.before
    restored = host.restore(made.dump["manifest"])
    assert "msg" not in restored, restored.get("msg")
    assert made.content() == made.before
    if host.mysql:
        aside = [f"{name}__waba_out" for name in DATABASES]
        assert host.where.sql("SHOW DATABASES LIKE '%waba%';").split() == aside
        # Until somebody says that it is complete, it is this restore that goes on.
        assert "msg" not in host.restore(made.dump["manifest"], "check")
        assert host.restore(made.dump["manifest"], "complete")["changed"] is False
        refused = host.restore(made.dump["manifest"], "check")
        assert f"{', '.join(aside)} hold what was there before an earlier restore" in refused["msg"]
        removed = host.restore(made.dump["manifest"], "remove_former")
        assert removed["actions"] == [f"remove the database {name}" for name in aside]
        assert host.where.sql("SHOW DATABASES LIKE '%waba%';") == ""


@pytest.mark.parametrize(
    ("host", "call"),
    [
        ("mariadb", 3),
        ("postgres", 2),
        *(
            pytest.param(kind, call, marks=pytest.mark.deep)
            for kind, call in (("mariadb", 1), ("mariadb", 2), ("mariadb", 5), ("postgres", 1), ("mysql-9.7", 3))
        ),
    ],
    indirect=["host"],
)
def test_a_restore_that_was_cut_off_is_completed_by_the_next_run(host: Host, call: int) -> None:
    """The client of the server dies in the first section, or in a later one: nothing is lost, and a second run completes."""
    made = Everything(host)
    made.as_client(UNDO[host.family])
    changed = made.content()
    made.broken(CLIENT[host.where.kind], call)
    failed = host.restore(made.dump["manifest"])
    assert "ended with 9" in failed["msg"], failed
    if call == 1:
        assert made.content() == changed
    made.mend()
    again = host.restore(made.dump["manifest"])
    assert "msg" not in again, again.get("msg")
    assert made.content() == made.before


def address(container: str) -> str:
    """The address of a container."""
    return docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)


@pytest.mark.deep
@pytest.mark.parametrize("host", ["mariadb", "postgres"], indirect=True)
def test_a_server_that_is_gone_in_the_middle_of_a_restore_has_lost_nothing(
    host: Host, ansible: Ansible, tmp_path: Path, drivers: Path
) -> None:
    """The restore is run on another machine than the server's."""
    made = Everything(host)
    with server(host.where.kind, tmp_path, options=SITE) as elsewhere:
        docker("cp", f"{drivers}/.", f"{elsewhere.container}:/usr/lib/python3/dist-packages")
        copy = f"docker cp {host.where.container}:/var/backups/waba - | docker cp - {elsewhere.container}:/var/backups"
        commands.run("bash", "-o", "pipefail", "-c", copy)
        other = Host(elsewhere, ansible)
        other.options["login_ca_cert"] = ""
        other.write_env("du-1", address(host.where.container))
        made.as_client(UNDO[host.where.kind])
        changed = made.content()
        # The server's client gets a part of what it is to read, and waits for the rest as one that waits for a lost server.
        client = other.run(f"command -v {CLIENT[host.where.kind]}")
        other.run(
            f"mkfifo /go; mv {client} {client}.real; printf '%s\\n' '#!/bin/sh'"
            f' \'case "$*" in *version | *configStore*) exec {client}.real "$@";; esac\''
            f" '{{ head -c 2000000; echo >/half; cat /go; cat; }} | exec {client}.real \"$@\"' >{client}; chmod 755 {client}"
        )
        with futures.ThreadPoolExecutor(1) as beside:
            restoring = beside.submit(other.restore, made.dump["manifest"])
            other.run("timeout 300 sh -c 'until [ -e /half ]; do sleep 0.1; done'")
            gone = address(host.where.container)
            docker("kill", host.where.container)
            failed = restoring.result()
        docker("start", host.where.container)
        host.where.port = Engine().port(host.where.container, PORTS[host.where.kind])
        host.where.wait()
        assert f"{gone}:{PORTS[host.where.kind]}" in failed["msg"], failed
        assert "INSERT" not in failed["msg"]
        # PostgreSQL has a transaction for each database: that of the settings has been committed.
        assert failed["touched"] is (host.where.kind == "postgres")
        # What a server that is killed has reserved of a counter is lost with it.
        after, before = (re.sub(r"( AUTO_INCREMENT=|_seq', )\d+", "", one) for one in (made.content(), changed))
        assert after == before
        other.run(f"mv {client}.real {client}")
        other.write_env("du-1", address(host.where.container))
        restored = other.restore(made.dump["manifest"])
    assert "msg" not in restored, restored.get("msg")
    assert made.content() == made.before


@pytest.mark.deep
@pytest.mark.parametrize("host", ["mariadb"], indirect=True)
def test_a_disk_that_gets_full_in_the_middle_of_a_copy(host: Host) -> None:
    host.seed()
    folder = "/dev/shm/waba"  # a file system of its own
    tool = TOOLS[host.where.kind]
    host.run(
        f"mv {tool} {tool}.real; printf '%s\\n' '#!/bin/sh' 'case $1 in *version) exec {tool}.real \"$@\";; esac'"
        f" '{tool}.real \"$@\" | {{ head -c 1000000; dd if=/dev/zero of=/dev/shm/full bs=64k 2>/dev/null; cat; }}' >{tool}; chmod 755 {tool}"
    )
    failed = host.dump(dest=folder)
    assert failed["msg"] == (
        f"dump {folder}/d-2.51.2.sql.gz: cannot be written: No space left on device; expected room. Make room there"
    )
    assert host.run(f"ls -A {folder}") == ""
    host.run(f"rm /dev/shm/full; mv {tool}.real {tool}")
    done = host.dump(dest=folder)
    assert host.run(f"ls -A {folder}").split() == ["d-2.51.2.json", "d-2.51.2.sql.gz"], done.get("msg")
    before = host.content()
    host.migrate()
    restored = host.restore(done["manifest"])
    host.run(f"rm -r {folder}")
    assert "msg" not in restored, restored.get("msg")
    assert host.content() == before


SWAP = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema LIKE 'du-1%' AND table_type = 'BASE TABLE'"


@pytest.mark.deep
@pytest.mark.parametrize(
    ("host", "left"),
    [("mariadb", 4), *(("mariadb-10.5", left) for left in (1, 4, 9))],
    indirect=["host"],
)
def test_half_of_a_swap_is_completed_and_nothing_of_it_is_advised_to_be_removed(host: Host, left: int) -> None:
    """A server that does not rename all tables at once has died: some are aside, some are new, and `left` moves are to be made."""
    made = Everything(host)
    manifest = made.dump["manifest"]
    made.as_client(UNDO["mariadb"])
    former = host.where.sql(SWAP + " ORDER BY 1, 2;")
    host.restore(manifest)  # up to the note that it is complete
    mark = host.run(f'sed -n \'s/.*"mark": "\\([^"]*\\)".*/\\1/p\' {manifest}').strip()
    rows = [line.split("\t") for line in former.splitlines()]
    moves = [(name, table, f"{name}__waba_out") for name, table in rows]
    new = [line.split("\t") for line in host.where.sql(SWAP + " ORDER BY 1, 2;").splitlines()]
    moves += [(f"{name}__waba_in", table, name) for name, table in new if "__waba" not in name]
    moves.append((f"{DATABASES[0]}__waba_in", f"__waba_{mark}", f"{DATABASES[0]}__waba_out"))
    back = [f"RENAME TABLE `{to}`.`{table}` TO `{at}`.`{table}`;" for at, table, to in reversed(moves[-left:])]
    triggers = "DROP TRIGGER noted;" if left > 1 else ""
    host.where.sql(
        triggers + "".join(f"CREATE DATABASE `{name}__waba_in`;" for name in DATABASES) + "".join(back), DATABASES[1]
    )
    half = host.where.sql(SWAP + " ORDER BY 1, 2;")
    if left == 9:
        at, table, to = next(one for one in moves if one[1] == "big")
        move_file(host, table, at, to)
        lost = host.restore(manifest)
        assert f"the table {table} of {at} cannot be read" in lost["msg"]
        put_file_back(host, lost["msg"])
    assert "msg" not in host.restore(manifest, "check")
    refused = host.restore(manifest, "remove_former")
    assert "a restore was cut off between what was there and its copy" in refused["msg"]
    assert host.where.sql(SWAP + " ORDER BY 1, 2;") == half
    again = host.restore(manifest)
    assert "msg" not in again, again.get("msg")
    assert made.content() == made.before
    host.restore(manifest, "complete")
    aside = [line.split("\t") for line in host.where.sql(SWAP + " ORDER BY 1, 2;").splitlines() if "__waba" in line]
    assert aside == [[f"{name}__waba_out", table] for name, table in rows]


@pytest.mark.deep
@pytest.mark.parametrize("host", ["mariadb-10.5"], indirect=True)
def test_a_server_that_dies_in_the_middle_of_the_swap_loses_nothing(host: Host) -> None:
    """This version renames one table after the other, and does not go back when it starts again."""
    host.seed()
    many = 600
    host.where.sql(
        "".join(f"CREATE TABLE t{one} (a INT); INSERT INTO t{one} VALUES ({one});" for one in range(many)), DATABASES[0]
    )
    before, done = host.content(), host.dump()
    host.migrate()
    aside = "/var/lib/mysql/du@002d1configStore__waba_out"
    watch = f"until [ $(ls {aside} 2>/dev/null | wc -l) -ge 300 ]; do :; done"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(host.restore, done["manifest"])
        host.run(watch)
        docker("kill", host.where.container)
        assert running.result().get("changed") is not True
    docker("start", host.where.container)
    host.where.wait()
    places = [f"{DATABASES[0]}{place}" for place in ("", "__waba_in", "__waba_out")]
    assert all(len(host.where.sql(f"SHOW TABLES FROM `{place}`;").split()) > 1 for place in places)
    refused = host.restore(done["manifest"], "remove_former")
    assert "a restore was cut off between what was there and its copy" in refused["msg"]
    again = host.restore(done["manifest"])
    if "cannot be read" in again.get("msg", ""):  # about one time in ten
        put_file_back(host, again["msg"])
        again = host.restore(done["manifest"])
    assert "msg" not in again, again.get("msg")
    assert host.content() == before
    values = " UNION ALL ".join(f"SELECT a FROM t{one}" for one in range(many))
    assert host.where.sql(f"SELECT sum(a) FROM ({values}) x;", DATABASES[0]).strip() == str(sum(range(many)))


def move_file(host: Host, table: str, at: str, to: str) -> None:
    """Move the file of a table between the folders of two databases, and start the server again."""
    folders = [f"/var/lib/mysql/{name.replace('-', '@002d')}" for name in (at, to)]
    host.run(f"mv {folders[0]}/{table}.ibd {folders[1]}/")
    docker("restart", host.where.container)
    host.where.wait()


def put_file_back(host: Host, message: str) -> None:
    """Do what a message says of a table whose file has moved, while the server has not noted that."""
    found = re.search(
        r"its file is in the folder of (\S+): .*, move (\w+)\.ibd from there back into the folder of (\S+),", message
    )
    assert found, message
    move_file(host, found[2], found[1], found[3])


@mariadb_in_ci
def test_a_copy_that_is_not_what_its_manifest_says_replaces_nothing(host: Host) -> None:
    host.seed()
    done = host.dump(facts={"deployment": "d", "version": "2.51.2"})
    host.migrate()
    changed = host.content()
    manifest, dump = done["manifest"], done["dest"]

    def refused(message: str, **options: t.Any) -> None:
        found = host.restore(manifest, "check", **options)
        assert message in found.get("msg", ""), found

    refused("of deployment d; expected other. Nothing was touched", deployment="other")
    host.run(f"cp -a {manifest} /m; cp -a {dump} /d")
    host.run(f"sed -i 's/: {ROWS}/: {ROWS - 1}/' {manifest}")
    wrong = host.restore(manifest)
    assert f"{ROWS} rows, expected {ROWS - 1}" in wrong["msg"]
    assert host.content() == changed
    host.run(f"cp -a /m {manifest}; truncate -s -9 {dump}")
    refused("The file is damaged: bring another copy of it")
    host.run(f"cp -a /d {dump}; printf X | dd of={dump} bs=1 seek=1000 conv=notrunc 2>/dev/null")
    refused("SHA-256 ")
    assert "msg" in host.restore(manifest)
    assert host.content() == changed
    host.run(f"rm {dump}")
    refused("not readable: No such file or directory")
    host.run(f"cp -a /d {dump}; echo '{{}}' >{manifest}")
    refused("another file; expected the manifest of a dump")
    host.run(f"rm {manifest}")
    refused("does not exist; expected the manifest of a dump on this host")


@pytest.mark.parametrize("host", ["mariadb", "postgres"], indirect=True)
def test_which_databases_are_the_clients_is_asked_where_only_a_name_or_a_grant_speaks_for_it(host: Host) -> None:
    """A neighbour with the right prefix and a grant; and the Webapp's, on which nobody has a session at the moment."""
    host.write_env("wa_")
    if host.where.kind == "mariadb":
        host.where.sql("GRANT ALL ON `wa\\_%`.* TO 'wa'@'%';")
    for name, table in (("wa_configStore", "things"), ("wa_messageStore", "messages")):
        create_database(host, name, table)
    assert host.dump(preflight=True)["databases"] == ["wa_configStore", "wa_messageStore"]
    for name in ("wa_analytics", "wa_web"):
        create_database(host, name, "things")
        if host.where.kind == "mariadb":
            host.where.sql(f"GRANT ALL ON `{name}`.* TO 'wa'@'%';")
        refused = host.dump(preflight=True)
        assert (
            f"surely this client's: wa_configStore, wa_messageStore; perhaps this client's: {name}; expected"
            in refused["msg"]
        )
        named = ["wa_configStore", "wa_messageStore"] + ([name] if name == "wa_web" else [])
        found = host.dump(preflight=True, databases=named)
        assert found["databases"] == named, found.get("msg")
        others = "" if name == "wa_web" else "wa_analytics"
        assert [line for line in found["left"] if "another application's" in line] == (
            [f"database {others}: taken for another application's, not copied, and left as it is by a restore"]
            if others
            else []
        )
        host.where.sql(f"DROP DATABASE {name};")


LARGE = 300_000
FILL = {
    "mariadb": "INSERT INTO messages (body, note) SELECT REPEAT(x'00ff0a270d5c', seq % 40), SHA2(seq, 512)"
    f" FROM seq_1_to_{LARGE}; ANALYZE TABLE messages;",
    "postgres": "INSERT INTO messages (body, note) SELECT decode(repeat('00ff0a270d5c', g % 40), 'hex'),"
    f" md5(g::text) || md5(g::text) FROM generate_series(1, {LARGE}) g; ANALYZE messages;",
}


@mariadb_in_ci
def test_the_preflight_measures_what_a_dump_takes(host: Host) -> None:
    host.seed()
    small = host.dump(preflight=True, timeout="1h")["estimate"]
    assert (small["seconds"] <= 3, small["limit"]) == (True, 3600)
    host.where.sql(FILL[host.where.kind], DATABASES[1])
    for check in (True, False):
        found = host.dump(preflight=True, check=check)
        assert (found["changed"], found["actions"]) == (False, []), found.get("msg")
        assert host.run("ls -A /var/backups") == ""
    done = host.dump()
    assert 0.7 < found["estimate"]["bytes"] / done["bytes"] < 1.4
    assert found["estimate"]["seconds"] < 5 * done["seconds"] + 5


@mariadb_in_ci
def test_a_folder_that_cannot_be_written_is_found_before_the_outage(host: Host) -> None:
    host.seed()
    refused = host.dump(preflight=True, dest="/sys/fs/dumps")
    assert "dest /sys/fs/dumps: no file can be written in /sys/fs: Read-only file system" in refused["msg"]


@pytest.mark.parametrize("host", ["mariadb"], indirect=True)
def test_rights_without_which_no_copy_can_be_restored_are_found_before_the_outage(host: Host) -> None:
    """A user with grants on each of its databases may load nothing beside them."""
    host.seed()
    rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP"
    grants = "".join(f"GRANT {rights} ON `{name}`.* TO 'wa'@'%';" for name in DATABASES)
    host.where.sql(f"REVOKE {rights} ON `du-1%`.* FROM 'wa'@'%'; {grants}")
    found = host.dump(preflight=True)
    beside = ", ".join(f"{name}__waba_{what}" for name in DATABASES for what in ("in", "out"))
    assert (
        f"user wa lacks {rights} on {beside}; expected the rights to load a copy beside its databases" in found["msg"]
    )
    host.where.sql("CREATE USER 'restorer'@'%' IDENTIFIED BY 'Canary-73'; GRANT ALL ON *.* TO 'restorer'@'%';")
    login: dict[str, t.Any] = {"restore_login_user": "restorer", "restore_login_password": "Canary-73"}
    assert "msg" not in host.dump(preflight=True, **login)
    host.where.sql("DROP USER 'restorer'@'%';")
    statements = found["msg"].partition("administrator run: ")[2].partition("; or name another user")[0]
    host.where.sql(statements + ";")
    allowed = host.dump(preflight=True)
    assert "msg" not in allowed, allowed.get("msg")
    done = host.dump()
    host.migrate()
    restored = host.restore(done["manifest"])
    assert "msg" not in restored, restored.get("msg")


@pytest.mark.parametrize("host", ["mariadb"], indirect=True)
def test_a_row_that_the_server_would_not_take_again_is_found_by_the_copy(host: Host) -> None:
    """With twice as many bytes it is longer than a statement may be. A sequence is a table with one row, and no row in a dump."""
    host.seed()
    host.where.sql(
        "CREATE TABLE big (body LONGBLOB); INSERT INTO big VALUES (REPEAT(x'00ff', 4500000)); CREATE SEQUENCE numbers;"
        " DO NEXTVAL(numbers);",
        DATABASES[0],
    )
    before = host.content()
    refused = host.dump()
    assert "max_allowed_packet is 16777216; expected more than 18000" in refused["msg"]
    assert host.run("ls -A /var/backups/waba") == ""
    host.where.sql("SET GLOBAL max_allowed_packet = 67108864;")
    done = host.dump()
    assert "msg" not in done, done["msg"]
    host.where.sql("DROP SEQUENCE numbers; TRUNCATE big;", DATABASES[0])
    host.migrate()
    host.where.sql("SET GLOBAL max_allowed_packet = 16777216;")
    assert "max_allowed_packet is 16777216" in host.restore(done["manifest"], "check")["msg"]
    host.where.sql("SET GLOBAL max_allowed_packet = 67108864;")
    restored = host.restore(done["manifest"])
    host.where.sql("SET GLOBAL max_allowed_packet = 16777216;")
    assert "msg" not in restored, restored["msg"]
    assert host.content() == before
    assert host.where.sql("SELECT length(body) FROM big; SELECT NEXTVAL(numbers);", DATABASES[0]).split() == [
        "9000000",
        "1001",
    ]


def test_the_messages_that_a_restore_would_lose_are_counted(host: Host) -> None:
    host.seed()
    done = host.dump()
    insert = "INSERT INTO messages (body) VALUES ('a'), ('b'), ('c');"
    host.where.sql(insert if host.where.kind == "mariadb" else f"SET ROLE wa; {insert}", DATABASES[1])
    assert host.restore(done["manifest"], "check")["messages"] == {"now": ROWS + 3, "copy": ROWS}
    host.where.sql("ALTER TABLE messages RENAME TO migrated;", DATABASES[1])
    assert host.restore(done["manifest"], "check")["messages"] == {"now": None, "copy": ROWS}


@mariadb_in_ci
def test_older_copies_are_removed_and_nothing_else(host: Host) -> None:
    host.seed()
    for name in ("first", "second", "third"):
        done = host.dump(name=name, facts={"deployment": "d"})
        assert done["changed"], done.get("msg")
    host.run("touch /var/backups/waba/theirs.sql.gz.part /var/backups/waba/theirs.json")
    removed = host.restore(done["manifest"], "remove_older", deployment="d", keep=2)
    assert removed["actions"] == ["remove the older copy /var/backups/waba/first.json"], removed.get("msg")
    left = ["second.json", "second.sql.gz", "theirs.json", "theirs.sql.gz.part", "third.json", "third.sql.gz"]
    assert host.run("ls /var/backups/waba").split() == left
    assert not host.restore(done["manifest"], "remove_older", deployment="d", keep=2)["changed"]
