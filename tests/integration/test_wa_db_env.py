# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_db_env run by Ansible: real databases, real Compose containers, concurrent runs, kill -9, and no secret in any output."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ansible as ansible_package
import commands
import psycopg2
import pymysql
import pytest
from commands import REPOSITORY, docker
from database_servers import Server, fake_mysql, server, silent_server

from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store

CANARY = f"Canary-{os.getpid()}-Env-Pw"  # these tests may run in several processes at once
OLD_CANARY = f"Older-Canary-{os.getpid()}"
OLD = "WA_DB_ENGINE=MYSQL\nWA_DB_HOSTNAME=db\nWA_DB_PORT=3306\nWA_DB_USERNAME=wa\nWA_DB_PASSWORD=Sesame-12\n"
GRANTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "INDEX", "DROP")


def options(path: Path, **more: t.Any) -> dict[str, t.Any]:
    """Options for a server that does not exist, unless `more` names one."""
    given = {"path": str(path), "engine": "MYSQL", "hostname": "db", "username": "wa", "password": CANARY}
    return {**given, "check_connection": False, **more}


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Server]:
    with server("mariadb", tmp_path_factory.mktemp("mariadb")) as found:
        for user, rights in (("wa", GRANTS), ("poor", GRANTS[:5])):
            found.sql(f"CREATE USER '{user}'@'%' IDENTIFIED BY '{CANARY}';")
            found.sql(f"GRANT {', '.join(rights)} ON `shop\\_%`.* TO '{user}'@'%';")
        found.sql("CREATE DATABASE shop_messageStore; CREATE DATABASE shop_configStore; CREATE DATABASE foreign_db;")
        found.sql("CREATE TABLE shop_messageStore.messages (id INT);")
        yield found


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Server]:
    with server("postgres", tmp_path_factory.mktemp("postgres")) as found:
        found.sql(f"CREATE ROLE wa LOGIN CREATEDB PASSWORD '{CANARY}'; CREATE ROLE poor LOGIN PASSWORD '{CANARY}';")
        found.sql("CREATE DATABASE shop_messagestore OWNER wa;")
        found.sql("CREATE DATABASE foreign_db;")
        found.sql("SET ROLE wa; CREATE TABLE messages (id int);", "shop_messagestore")
        yield found


@pytest.fixture(params=["mariadb", "postgres"])
def database(request: pytest.FixtureRequest) -> Server:
    """Each of the two servers in turn."""
    found: Server = request.getfixturevalue(request.param)
    return found


class Checked:
    """Runs the module with its login check against one server. The server must be unchanged, and a failure writes no file."""

    def __init__(self, ansible: t.Any, folder: Path) -> None:
        self.ansible = ansible
        self.path = folder / "db.env"

    def __call__(self, where: Server | None = None, **more: t.Any) -> dict[str, t.Any]:
        given = options(
            self.path, hostname="127.0.0.1", check_connection=True, connect_timeout="3s", name_prefix="shop_"
        )
        if where:
            given.update(engine=where.engine, port=where.port)
        if "project" not in more:  # other containers on this machine are not this client's
            given["docker_host"] = "unix:///nowhere/docker.sock"
        before = contents(where)
        result: dict[str, t.Any] = self.ansible.module("wa_db_env", {**given, **more})
        assert CANARY not in json.dumps(result)
        assert contents(where) == before
        return result

    def fails(self, where: Server | None = None, **more: t.Any) -> str:
        result = self(where, **more)
        assert result.get("failed"), result
        assert not self.path.exists()
        return str(result["msg"])


@pytest.fixture
def checked(ansible: t.Any, tmp_path: Path) -> Checked:
    return Checked(ansible, tmp_path)


def contents(where: Server | None) -> str:
    """All databases and tables of a server."""
    if where is None:
        return ""
    if where.kind == "mariadb":
        return where.sql("SELECT table_schema, table_name FROM information_schema.tables; SHOW DATABASES;")
    names = where.sql("SELECT datname FROM pg_database WHERE datallowconn;")
    return names + where.sql(
        "".join(f"\\connect {name}\nSELECT schemaname, tablename FROM pg_tables;\n" for name in names.split())
    )


def test_check_run_run_check(ansible: t.Any, tmp_path: Path) -> None:
    path = tmp_path / "db.env"
    done = ansible.converge("wa_db_env", options(path, extra={"WA_CONFIG_ON_DB": "1"}))
    assert done["changed_keys"][-2:] == ["WA_DB_PASSWORD", "WA_CONFIG_ON_DB"]
    path.write_text(path.read_text().replace("\n", "\r\n") + "# a note\r\nTZ=UTC\r\n")
    done = ansible.converge("wa_db_env", options(path, hostname="other"))
    assert done["changed_keys"] == ["WA_DB_HOSTNAME"]
    assert path.read_bytes().endswith(b"WA_CONFIG_ON_DB=1\r\n# a note\r\nTZ=UTC\r\n")
    assert path.read_bytes().count(b"\r\n") == path.read_bytes().count(b"\n") == 8


def test_a_valid_login_is_accepted(checked: Checked, database: Server) -> None:
    result = checked(database)
    assert not result.get("failed"), result
    found = result["server"]
    holder = "shop_messageStore" if database.kind == "mariadb" else "shop_messagestore"
    assert holder in found["databases"]
    assert "foreign_db" not in found["databases"]
    assert found["tls"] == (database.kind == "postgres")  # libpq uses TLS if it can, a MySQL client only if asked to
    assert found["version"]
    assert not result.get("warnings")
    assert f"WA_DB_PASSWORD={CANARY}\n" in checked.path.read_text()


def test_a_check_at_every_run_warns_of_nothing(checked: Checked, database: Server) -> None:
    for _run in range(2):
        result = checked(database, check_connection="always")
        assert not result.get("warnings")
        assert result["server"]["version"]


def test_a_valid_login_without_any_database_is_accepted(checked: Checked, database: Server) -> None:
    prefix = "shop_new" if database.kind == "mariadb" else "fresh_"
    result = checked(database, name_prefix=prefix)
    assert not result.get("failed"), result
    assert result["server"]["databases"] == []


def test_a_wrong_password_is_refused(checked: Checked, database: Server) -> None:
    text = checked.fails(database, password=OLD_CANARY)
    assert "Compare user and password" in text
    assert OLD_CANARY not in text


def test_a_password_beyond_latin_1_is_accepted(checked: Checked, database: Server) -> None:
    word = "пароль-Ünï-€"
    if database.kind == "mariadb":
        database.sql(f"CREATE USER uni IDENTIFIED BY '{word}'; GRANT {', '.join(GRANTS)} ON `shop\\_%`.* TO uni;")
    else:
        database.sql(f"CREATE ROLE uni LOGIN CREATEDB IN ROLE wa PASSWORD '{word}';")
    result = checked(database, username="uni", password=word)
    assert not result.get("failed"), result


def test_a_missing_privilege_is_refused(checked: Checked, database: Server) -> None:
    text = checked.fails(database, username="poor")
    assert "user poor lacks" in text
    if database.kind == "mariadb":
        assert "ALTER, INDEX, DROP on shop_messageStore" in text
    else:
        assert "CREATE on shop_messagestore" in text
        assert "CREATEDB" in checked.fails(database, username="poor", name_prefix="none_yet_")


def test_an_unknown_host_name_and_a_closed_port_are_refused(checked: Checked) -> None:
    assert "the name does not resolve" in checked.fails(hostname="no-such-host.invalid")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    for engine in ("MYSQL", "PGSQL"):
        assert "refused" in checked.fails(engine=engine, port=closed).lower()


@pytest.mark.parametrize(("engine", "expected"), [("MYSQL", "timed out"), ("PGSQL", "no answer")])
def test_a_server_that_does_not_answer_fails_within_the_timeout(checked: Checked, engine: str, expected: str) -> None:
    with silent_server() as port:
        begin = time.monotonic()
        text = checked.fails(engine=engine, port=port, connect_timeout="2s")
        assert time.monotonic() - begin < 20
    assert expected in text


def test_an_unreachable_address_fails_within_the_timeout(checked: Checked) -> None:
    # No host has an address of TEST-NET-1. A network may drop or reject the packets.
    for engine in ("MYSQL", "PGSQL"):
        begin = time.monotonic()
        text = checked.fails(engine=engine, hostname="192.0.2.1", port=3999, connect_timeout="2s")
        assert time.monotonic() - begin < 12
        assert "192.0.2.1:3999" in text


def test_the_server_certificate_is_verified(checked: Checked, database: Server) -> None:
    result = checked(database, extra={"WA_DB_SSL_CA": "/opt/certs/ca.pem"})
    assert any("was not verified" in warning for warning in result["warnings"])
    checked.path.unlink()
    result = checked(database, extra={"WA_DB_SSL_CA": "/opt/certs/ca.pem"}, login_ca_cert=str(database.ca))
    assert not result.get("failed"), result
    assert result["server"]["tls"]
    assert not result.get("warnings")
    checked.path.unlink()
    other = database.ca.with_name("other.pem")
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=other"]
    commands.run(*make, "-keyout", os.devnull, "-out", other)
    assert "certificate verify failed" in checked.fails(
        database, extra={"WA_DB_SSL_CA": "/opt/certs/ca.pem"}, login_ca_cert=str(other)
    )


def test_a_server_that_requires_tls(checked: Checked, mariadb: Server) -> None:
    """The client uses TLS only if WA_DB_SSL_CA is set, whatever this host supports."""
    mariadb.sql("SET GLOBAL require_secure_transport = ON;")
    try:
        assert "with TLS only, and WA_DB_SSL_CA is not set" in checked.fails(mariadb)
        result = checked(mariadb, extra={"WA_DB_SSL_CA": "/opt/certs/ca.pem"}, login_ca_cert=str(mariadb.ca))
        assert result["server"]["tls"]
    finally:
        mariadb.sql("SET GLOBAL require_secure_transport = OFF;")
    checked.path.unlink()
    mariadb.sql(f"CREATE USER tls IDENTIFIED BY '{CANARY}' REQUIRE SSL; GRANT ALL ON `shop\\_%`.* TO tls;")
    assert "with TLS only, and WA_DB_SSL_CA is not set" in checked.fails(mariadb, username="tls")
    assert "Access denied" in checked.fails(mariadb, username="tls", password=OLD_CANARY)


def test_a_server_that_requires_a_client_certificate(checked: Checked, mariadb: Server, clients: t.Any) -> None:
    """The certificate comes from the options, or is read from the client's containers."""
    folder = mariadb.ca.parent
    mariadb.sql(f"CREATE USER cert IDENTIFIED BY '{CANARY}' REQUIRE X509; GRANT ALL ON `shop\\_%`.* TO cert;")
    make = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=client"]
    commands.run(*make, "-keyout", folder / "client-key.pem", "-out", folder / "client.csr")
    sign = ["openssl", "x509", "-req", "-days", "2", "-CAcreateserial", "-CAkey", str(folder / "server-key.pem")]
    files = ["-CA", str(folder / "server.pem"), "-in", str(folder / "client.csr"), "-out", str(folder / "client.pem")]
    commands.run(*sign, *files)
    inside = {
        "WA_DB_SSL_CA": "/opt/certs/ca.pem",
        "WA_DB_SSL_CERT": "/opt/certs/client.pem",
        "WA_DB_SSL_KEY": "/opt/certs/client-key.pem",
    }
    given: dict[str, t.Any] = {"username": "cert", "extra": inside}
    assert "Access denied" in checked.fails(mariadb, **given, login_ca_cert=str(mariadb.ca))
    options = {
        f"login_client_{kind}": str(folder / name) for kind, name in (("cert", "client.pem"), ("key", "client-key.pem"))
    }
    assert not checked(mariadb, **given, login_ca_cert=str(mariadb.ca), **options).get("failed")
    checked.path.unlink()
    clients.add("wacore", "coreapp", f"--volume={folder}:/opt/certs:ro", "--network=host")
    result = checked(mariadb, **given, project=clients.project)
    assert not result.get("failed"), result
    assert not result.get("warnings")
    checked.path.unlink()
    text = checked.fails(
        mariadb, **{**given, "extra": {**inside, "WA_DB_SSL_CA": "/opt/certs/typo.pem"}}, project=clients.project
    )
    assert "WA_DB_SSL_CA /opt/certs/typo.pem: no such file in" in text
    assert "login_ca_cert" in text


@pytest.mark.deep
def test_a_host_name_known_only_to_the_containers_resolves(checked: Checked, mariadb: Server, clients: t.Any) -> None:
    """Through the containers' resolver while they run, through the engine's records when they are stopped."""
    network = f"{clients.project}-net"
    docker("network", "create", network)
    try:
        docker("network", "connect", "--alias=maria", network, mariadb.container)
        address = clients.engine.address(mariadb.container, network)
        given: dict[str, t.Any] = {"project": clients.project, "port": 3306}
        # Before the first start.
        assert not checked(mariadb, **given, hostname="maria").get("failed")
        checked.path.unlink()
        core = clients.add("wacore", "coreapp", f"--network={network}", f"--add-host=sql.example.com:{address}")
        for state in ("start", "stop"):
            docker(state, core)
            for name in ("maria", "MARIA", mariadb.container, "sql.example.com", address):
                result = checked(mariadb, **given, hostname=name)
                assert not result.get("failed"), result
                checked.path.unlink()
            assert "does not resolve" in checked.fails(mariadb, **given, hostname="mariadb.lba")
            assert "loopback" in checked.fails(mariadb, project=clients.project, hostname="localhost")
            assert "Access denied" in checked.fails(mariadb, **given, hostname="maria", password=OLD_CANARY)
    finally:
        clients.clean()
        docker("network", "disconnect", "--force", network, mariadb.container)
        docker("network", "rm", network)


def test_a_server_without_tls_is_refused_if_the_file_requires_it(checked: Checked, mariadb: Server) -> None:
    with fake_mysql("8.0.36") as port:
        text = checked.fails(port=port, extra={"WA_DB_SSL_CA": "/opt/certs/ca.pem"})
    assert "offers no TLS" in text


@pytest.mark.parametrize("version", ["5.1.73", "5.6.51", "5.7.44-log", "8.0.36", "8.4.0", "9.1.0"])
def test_versions_of_mysql_are_spoken_to(checked: Checked, version: str) -> None:
    """The server is fake, since Debian has no such version. The greeting is real."""
    with fake_mysql(version) as port:
        result = checked(port=port, check_connection="always")
    assert not result.get("failed"), result
    assert result["server"]["version"] == version


def test_too_many_connections_is_explained(checked: Checked, database: Server) -> None:
    held: list[t.Any] = []
    try:
        if database.kind == "mariadb":
            database.sql("SET GLOBAL max_connections = 10;")
            for _number in range(10):
                held.append(pymysql.connect(host="127.0.0.1", port=database.port, user="wa", password=CANARY))
        else:
            database.sql("ALTER ROLE wa CONNECTION LIMIT 1;")
            held.append(
                psycopg2.connect(
                    host="127.0.0.1", port=database.port, user="wa", password=CANARY, dbname="shop_messagestore"
                )
            )
        # `contents` uses the connection reserved for the administrator.
        text = checked.fails(database)
        assert "too many connections" in text.lower()
        assert "Raise max_connections" in text
    finally:
        for connection in held:
            connection.close()
        if database.kind == "mariadb":
            database.sql("SET GLOBAL max_connections = 400;")
        else:
            database.sql("ALTER ROLE wa CONNECTION LIMIT -1;")


# Containers


def run(argv: list[str]) -> tuple[int, str, str]:
    """Runs a command as a module does."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_containers_are_stale_until_compose_recreates_them(ansible: t.Any, clients: t.Any, tmp_path: Path) -> None:
    path = tmp_path / "db.env"
    project = clients.project
    base = {"env_file": ["db.env"], "command": ["sleep", "infinity"], "network_mode": "none", "init": True}
    services = {
        "wacore": {**base, "image": clients.tag("coreapp"), "environment": {"WA_CONFIG_ON_DB": "1"}},
        "waweb": {**base, "image": clients.tag("web"), "environment": ["WA_DB_PORT=3307", "A"]},
    }
    (tmp_path / "compose.yml").write_text(json.dumps({"services": services}))
    compose = ("compose", "-p", project, "-f", str(tmp_path / "compose.yml"))
    given = options(path, containers=True, project=project)
    first = ansible.module("wa_db_env", options(path))
    assert first["changed"]
    try:
        docker(*compose, "up", "--detach", "--quiet-pull")
        result = ansible.module("wa_db_env", given)
        assert result["stale_containers"] == []
        assert [(one["service"], one["overridden_keys"]) for one in result["overridden_containers"]] == [
            ("waweb", ["WA_DB_PORT"])
        ]
        changed = {**given, "password": f"{CANARY}2", "extra": {"WA_CONFIG_ON_DB": "1"}}
        for check in (True, False, False, True):
            result = ansible.module("wa_db_env", changed, check)
            keys = {one["service"]: one["stale_keys"] for one in result["stale_containers"]}
            assert keys == {"wacore": ["WA_DB_PASSWORD"], "waweb": ["WA_DB_PASSWORD", "WA_CONFIG_ON_DB"]}
            assert CANARY not in json.dumps(result)
        docker(*compose, "up", "--detach")
        result = ansible.module("wa_db_env", changed)
        assert result["stale_containers"] == []
    finally:
        docker(*compose, "down", "--timeout", "1")


@pytest.mark.parametrize("how", ["included", "named by a variable"])
def test_included_files_and_variables_are_resolved_by_compose(
    ansible: t.Any, clients: t.Any, tmp_path: Path, how: str
) -> None:
    """The port that the Compose file sets is no reason to recreate the container."""
    path = tmp_path / "db.env"
    ansible.module("wa_db_env", options(path))
    service = {"image": "x", "env_file": ["db.env"], "environment": {"WA_DB_PORT": "3307"}}
    document: dict[str, t.Any] = {"services": {"wacore": service}}
    if how == "included":
        (tmp_path / "more.yml").write_text(json.dumps(document))
        document = {"include": ["more.yml"]}
    else:
        service["env_file"] = "${NOWHERE:-db.env}"
    (tmp_path / "compose.yml").write_text(json.dumps(document))
    labels = {
        "com.docker.compose.project.config_files": str(tmp_path / "compose.yml"),
        "com.docker.compose.project.working_dir": str(tmp_path),
    }
    clients.add("wacore", "coreapp", f"--env-file={path}", "--env=WA_DB_PORT=3307", "--network=none", labels=labels)
    result = ansible.module("wa_db_env", options(path, containers=True, project=clients.project))
    assert result["stale_containers"] == []
    assert [one["overridden_keys"] for one in result["overridden_containers"]] == [["WA_DB_PORT"]]
    assert not result.get("warnings")


# Concurrent runs, crashes and full disks


def test_concurrent_runs_lose_no_change(ansible: t.Any, tmp_path: Path) -> None:
    path = tmp_path / "db.env"
    path.write_text("# note\n")
    given = [options(path, hostname=f"host{number}", extra={f"K{number}": "1"}) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda one: ansible.module("wa_db_env", one), given))
    assert not any(result.get("failed") for result in results), results
    lines = path.read_text().splitlines()
    # Every run's key is there, so no run worked on a file that another run was replacing.
    assert {f"K{number}=1" for number in range(4)} <= set(lines)
    assert sum(line.startswith("WA_DB_HOSTNAME=host") for line in lines) == 1
    assert sorted(name.name for name in tmp_path.iterdir() if name.name.startswith(".db")) == []


def test_kill_9_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "db.env"
    texts = [f"WA_DB_PASSWORD={letter * 60000}\n" for letter in "ab"]
    path.write_text(texts[0])
    script = (
        "import os, sys\n"
        "from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store\n"
        f"store = Store({str(path)!r})\n"
        "texts = [f'WA_DB_PASSWORD={letter * 60000}\\n' for letter in 'ab']\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    for text in texts:\n"
        "        with store.lock(5):\n"
        "            store.read()\n"
        "            store.write(text, lambda draft: None)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]}
    left = 0
    for number in range(15):
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(0.003 * number)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert path.read_text() in texts
        left += (tmp_path / ".db.env.wa_new").exists()
        with Store(str(path)).lock(1):
            assert sorted(os.listdir(tmp_path)) == [".db.env.wa_lock", "db.env"]
        assert os.listdir(tmp_path) == ["db.env"]
    assert left, "no kill came in the middle of a write"


DISK_FAULTS = """
import json, os, subprocess, sys
RUN = "import runpy; runpy.run_module('ansible_collections.waba.onprem.plugins.modules.wa_db_env', run_name='__main__')"
def run(folder, **more):
    given = {"path": folder + "/db.env", "engine": "MYSQL", "hostname": "db", "username": "wa", "password": "Sesame-12"}
    given["check_connection"] = False  # no server exists
    text = json.dumps({"ANSIBLE_MODULE_ARGS": {**given, **more}})
    done = subprocess.run([sys.executable, "-c", RUN], input=text, capture_output=True, text=True)
    result = json.loads(done.stdout) if done.stdout.strip() else {"msg": done.stderr}
    left = sorted(name for name in os.listdir(folder) if name != "fill")
    keys = ("changed", "failed", "actions", "msg")
    print(json.dumps({**{key: result.get(key) for key in keys}, "left": left, "text": open(folder + "/db.env").read()}))
run("/full")
open("/full/fill", "wb").write(bytes(4096))
run("/full", hostname="other")
run("/readonly")
run("/readonly", hostname="other")
run("/file", hostname="other")
"""


def test_a_file_that_cannot_be_replaced_is_unchanged(image: str, tmp_path: Path) -> None:
    """A full disk, a read-only one, and a file that is a mount point; in one container, as root."""
    for name in ("readonly/db.env", "one"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(OLD)
        (tmp_path / name).chmod(0o600)
    mounts = {
        Path(ansible_package.__file__).parent: "/site/ansible",
        REPOSITORY: "/site/ansible_collections/waba/onprem",
        tmp_path / "readonly": "/readonly",
    }
    options = [f"--volume={source}:{target}:ro" for source, target in mounts.items()]
    options += [f"--volume={tmp_path / 'one'}:/file/db.env", "--tmpfs=/full:size=8k,mode=755", "--network=none"]
    options += ["--env=PYTHONPATH=/site", "--env=_ANSIBLE_PROFILE=legacy", "--env=PYTHONDONTWRITEBYTECODE=1"]
    output = docker("run", "--rm", "--interactive", *options, image, "python3", "-", stdin=DISK_FAULTS)
    first, full, same, readonly, mounted = [json.loads(line) for line in output.splitlines()]
    assert first["changed"]
    assert not same["changed"]
    assert not same["failed"], same
    for result, expected in (
        (full, "No space left on device"),
        (readonly, "Read-only file system"),
        (mounted, "Something is mounted on it"),
    ):
        assert result["failed"]
        assert expected in result["msg"]
        assert not result["changed"]
        assert result["actions"] == []
        assert result["left"] == ["db.env"]
        assert result["text"] == (OLD if result is mounted else first["text"])


@pytest.fixture
def temporary() -> t.Iterator[Path]:
    """A folder with a short name. Ansible creates a socket in it, whose path may have 108 characters."""
    with tempfile.TemporaryDirectory(prefix="wa") as name:
        yield Path(name)


def test_no_secret_is_shown_or_left_behind(ansible: t.Any, tmp_path: Path, temporary: Path) -> None:
    """Neither in the output at -vvv, nor in results, failures, temporary folders or the process list."""
    path = tmp_path / "project" / "db.env"
    path.parent.mkdir()
    path.write_text(f"# {OLD_CANARY}\nWA_DB_PASSWORD={OLD_CANARY}\nWA_API_KEY={OLD_CANARY}\n")
    environment = {"ANSIBLE_LOCAL_TEMP": str(temporary), "ANSIBLE_REMOTE_TMP": str(temporary), "TMPDIR": str(temporary)}
    secret = {"WA_API_KEY": f"{CANARY}-key"}
    with silent_server() as port:
        slow = options(path, hostname="127.0.0.1", port=port, check_connection=True, connect_timeout="2s")
        tasks = [
            {"waba.onprem.wa_db_env": slow, "ignore_errors": True},
            {"waba.onprem.wa_db_env": options(path, extra_secrets=secret)},
            {"waba.onprem.wa_db_env": options(path, password=f"{CANARY} $x"), "ignore_errors": True},
            {"waba.onprem.wa_db_env": options(path, extra_secrets={"A": CANARY + "\n"}), "ignore_errors": True},
        ]
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(ansible.play, tasks, environment=environment, arguments=["-vvv"])
            seen = 0
            while not running.done():
                for process in Path("/proc").glob("[0-9]*"):
                    for name in ("cmdline", "environ"):
                        try:
                            text = (process / name).read_bytes()
                        except OSError:
                            continue
                        seen += 1
                        assert CANARY.encode() not in text
                        assert OLD_CANARY.encode() not in text
                time.sleep(0.1)
        play = running.result()
    assert seen
    assert [bool(result.get("failed")) for result in play.results] == [True, False, True, True]
    for canary in (CANARY, OLD_CANARY):
        assert canary not in play.stdout + play.stderr
    left = [name for name in temporary.rglob("*") if name.is_file() and CANARY.encode() in name.read_bytes()]
    assert left == []
