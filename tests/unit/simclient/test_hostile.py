# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switches of behaviour that the documentation does not exclude, each tested alone."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from simclient.database import DatabaseError, Session
from simclient.faults import Faults
from simclient.gc import GarbageCollector, Share
from simclient.logs import CORE_LIMIT, CoreLogFile, leave_crash_log
from simclient.schema import Schema, store, tables
from simclient.settings import Settings
from simclient.traffic import Traffic
from simclient_db import FakeDatabase, FakeServer
from simclient_deployment import PASSWORD, Deployment
from waiting import until

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))

from walab.inventory import SIMULATION

NO_CALLBACKS: Any = None
CLIENT = Path(__file__).resolve().parents[2] / "lab" / "client"
DATABASE = {
    "WA_DB_ENGINE": "MYSQL",
    "WA_DB_HOSTNAME": "db",
    "WA_DB_PORT": "3306",
    "WA_DB_USERNAME": "wa",
    "WA_DB_PASSWORD": "Canary-Db-1",
}


def error_code(answer: Any) -> int:
    """The code of the first error of an answer."""
    return int(answer["errors"][0]["code"])


@pytest.fixture
def running(deploy: Callable[..., Deployment]) -> Callable[..., Deployment]:
    """`running(**knobs)`: a single instance, connected, before the first login."""

    def make(**knobs: Any) -> Deployment:
        d = deploy(**knobs)
        d.core()
        d.start_web()
        until(lambda: d.web is not None and not d.web.broken)
        until(lambda: d.health() == {"gateway_status": "connected"})
        return d

    return make


# -- all switches ------------------------------------------------------------------------------------------------------


def test_each_switch_of_the_profile_is_read_and_has_an_effect() -> None:
    plain = Settings.from_env(DATABASE)
    read_by_scripts = {
        *("SIM_SHELL_STAYS", "SIM_CORE_UID", "SIM_WEB_UID", "SIM_FEW_PROGRAMS", "SIM_CLEANUP_STATUS"),
        "SIM_DEFAULT_COMMAND_LOOPS",
    }
    scripts = "".join(path.read_text() for path in (CLIENT / "bin").iterdir())
    for name, value in SIMULATION["hostile"].items():
        if name in read_by_scripts:
            assert f"${{{name}:-" in scripts
        else:
            changed = Settings.from_env({**DATABASE, name: value})
            assert replace(changed, container=plain.container) != plain, name


def test_every_switch_is_in_the_readme() -> None:
    readme = (CLIENT.parent / "README.md").read_text()
    assert [name for name in SIMULATION["hostile"] if f"`{name}" not in readme] == []


# -- start and stop ----------------------------------------------------------------------------------------------------


class Launch:
    """The launch script with stub programs that only record their command lines."""

    def __init__(self, folder: Path, role: str, uid: int) -> None:
        self.asked = folder / "asked"
        programs = folder / "programs"
        programs.mkdir()
        (folder / "build.json").write_text(f'{{"version": "2.51.2", "role": "{role}", "expires_on": ""}}')
        for name in ("chown", "mkdir", "python3", "rm", "setpriv"):
            self._program(programs / name, f'echo "{name} $*" >> {self.asked}')
        self._program(programs / "id", f"echo {uid}")
        self._program(programs / "stat", "echo 20021")
        self.python = programs / "python3"
        self.env = {"PATH": f"{programs}:{os.environ['PATH']}", "SIM_BUILD_FILE": str(folder / "build.json")}

    @staticmethod
    def _program(path: Path, text: str) -> None:
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def start(self, **env: str) -> subprocess.Popen[bytes]:
        """Start the script."""
        return subprocess.Popen(["sh", str(CLIENT / "bin/launch_within_docker.sh")], env={**self.env, **env})

    def lines(self, **env: str) -> list[str]:
        """Run the script to its end; return the recorded command lines."""
        assert self.start(**env).wait(20) == 0
        return self.asked.read_text().splitlines()


@pytest.mark.parametrize(
    ("role", "env", "uid"),
    [
        ("web", {}, 20021),
        ("web", {"SIM_UID": "500"}, 500),
        ("web", {"SIM_UID": "500", "SIM_WEB_UID": "33", "SIM_CORE_UID": "0"}, 33),
        ("coreapp", {"SIM_UID": "500", "SIM_WEB_UID": "33", "SIM_CORE_UID": "0"}, 0),
        ("web", {"SIM_WEB_UID": "1001", "SIM_CORE_UID": "1001"}, 1001),
        ("coreapp", {"SIM_WEB_UID": "1001", "SIM_CORE_UID": "1001"}, 1001),
    ],
)
def test_each_program_runs_as_its_user(tmp_path: Path, role: str, env: dict[str, str], uid: int) -> None:
    lines = Launch(tmp_path, role, 0).lines(**env)
    assert lines[-1] == f"setpriv --reuid={uid} --regid={uid} --clear-groups python3 -m simclient"
    assert f"chown -R {uid}:{uid} /var/log/whatsapp" in lines
    media = [line for line in lines if line.startswith("chown") and "wamedia" in line]
    assert media == [
        f"chown {env['SIM_WEB_UID']}:{env['SIM_WEB_UID']} /usr/local/wamedia{part}"
        for part in ("", "/incoming", "/outgoing")
        if "SIM_WEB_UID" in env
    ]
    assert not [line for line in lines if line.startswith("rm") or "lighttpd" in line]


def test_a_program_whose_user_has_no_name_is_given_one(tmp_path: Path) -> None:
    launch = Launch(tmp_path, "coreapp", 1001)
    launch._program(launch.python, f'echo "$USER" >> {launch.asked}')
    assert launch.lines() == ["whatsapp"]


@pytest.mark.parametrize("role", ["web", "coreapp"])
def test_bash_and_timeout_are_removed(tmp_path: Path, role: str) -> None:
    lines = Launch(tmp_path, role, 0).lines(SIM_FEW_PROGRAMS="1", SIM_VENDOR_LOGS="1")
    assert "rm -f /bin/timeout /usr/bin/timeout" in lines
    assert ("rm -f /bin/bash /usr/bin/bash" in lines) == (role == "coreapp")
    assert "mkdir -p /var/log/lighttpd" in lines


def test_a_remaining_shell_does_not_forward_sigterm(tmp_path: Path) -> None:
    launch = Launch(tmp_path, "coreapp", 1000)
    launch._program(launch.python, f"echo up >> {launch.asked}; sleep 2; exit 3")
    remaining = launch.start(SIM_SHELL_STAYS="1")
    until(launch.asked.exists)
    remaining.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert remaining.poll() is None
    assert remaining.wait(20) == 3, "the exit code of the program, which received no signal"
    launch.asked.unlink()
    replaced = launch.start()
    until(launch.asked.exists)
    replaced.send_signal(signal.SIGTERM)
    assert replaced.wait(20) == -signal.SIGTERM


@pytest.mark.parametrize(("role", "code"), [("web", 1), ("coreapp", 0)])
def test_the_default_command_does_not_start_the_webapp(tmp_path: Path, role: str, code: int) -> None:
    launch = Launch(tmp_path, role, 1000)
    default = ["/bin/sh", "-c", f"cd {CLIENT / 'bin'} && exec ./launch_within_docker.sh"]
    assert default[2].partition(" && ")[2] in (CLIENT / "Dockerfile").read_text()
    for switch, expected in (("1", code), ("", 0)):
        env = {**launch.env, "SIM_DEFAULT_COMMAND_LOOPS": switch}
        assert subprocess.run(default, env=env, timeout=20, check=False).returncode == expected
    assert launch.start(SIM_DEFAULT_COMMAND_LOOPS="1").wait(20) == 0, "a command that names the script"


def test_health_is_uninitialized_during_the_start(deploy: Callable[..., Deployment]) -> None:
    d = deploy(start_seconds=3.0)
    began = time.monotonic()
    d.core()
    d.start_web()
    assert d.health() == {"gateway_status": "uninitialized"}
    until(lambda: d.health() == {"gateway_status": "connected"})
    assert time.monotonic() - began >= 3.0


def test_a_database_connection_is_retried_after_the_delay(deploy: Callable[..., Deployment]) -> None:
    d = deploy(database_retry=2.0)
    d.server.down = True
    d.core()
    until(lambda: any("not ready yet" in line for line in d.lines))
    time.sleep(1.5)
    assert sum("not ready yet" in line for line in d.lines) == 1


# -- API ---------------------------------------------------------------------------------------------------------------


def test_a_certificate_without_alternative_names_fails_hostname_checks(running: Callable[..., Deployment]) -> None:
    d = running(common_name_only=True)
    assert d.web is not None
    context = ssl.create_default_context(cadata=d.web.certificates.ca[d.web.certificates.ca.index("-----BEGIN CERT") :])
    context.check_hostname = False
    with socket.create_connection(d.address) as plain, context.wrap_socket(plain) as secure:
        shown = secure.getpeercert()
    assert shown is not None
    assert shown["subject"] == ((("commonName", "localhost"),),)
    assert "subjectAltName" not in shown
    context.check_hostname = True
    context.hostname_checks_common_name = False  # as urllib3 does
    with socket.create_connection(d.address) as plain, pytest.raises(ssl.SSLCertVerificationError):
        context.wrap_socket(plain, server_hostname="localhost")


def test_unreachable_nodes_make_health_slow_and_show_errors(deploy: Callable[..., Deployment]) -> None:
    d = deploy(multiconnect=True, dead_node_seconds=1.0, unreachable_text="Communication failure")
    for hostname, master in (("127.0.0.11", True), ("127.0.0.21", False)):
        d.core(hostname, master=master, listen_address=hostname)
    d.start_web(core="127.0.0.11")
    until(lambda: len(d.health() or {}) == 2)
    began = time.monotonic()
    assert all("gateway_status" in found for found in d.health().values())
    assert time.monotonic() - began < 1.0
    with d.database().session(store("cluster")) as session:
        session.execute("UPDATE nodes SET ports = '1,1,1,1', name = 'gone' WHERE hostname = '127.0.0.21'")
        session.execute("UPDATE nodes SET hostname = '127.0.0.99' WHERE name = 'gone'")
    began = time.monotonic()
    (found,) = [value for name, value in d.health().items() if name == "gone"]
    assert time.monotonic() - began >= 1.0
    assert error_code(found) == 1014
    assert found["errors"][0]["details"].startswith("Communication failure")


def test_login_answers_with_unusual_codes(running: Callable[..., Deployment]) -> None:
    d = running(odd_login=True, lock_after=2, lock_seconds=60)
    status, answer = d.login("secret")
    assert (status, error_code(answer), answer["errors"][0]["details"]) == (401, 1024, "Password change required")
    assert d.login("secret", PASSWORD)[0] == 200
    assert [d.login("Wrong-1234")[0] for _number in range(2)] == [401, 401]
    status, answer = d.login()
    assert (status, error_code(answer)) == (429, 1015)


def test_errors_have_unusual_codes(running: Callable[..., Deployment]) -> None:
    d = running(odd_codes=True)
    assert d.login("secret", PASSWORD)[0] == 200
    status, answer = d.call("PATCH", "/v1/settings/application", raw=b"{")
    assert (status, error_code(answer)) == (400, 1025)
    d.fault("dead_database")
    status, answer = d.login()
    assert (status, error_code(answer)) == (500, 1023)


def test_a_login_adds_a_row_that_a_logout_deletes(running: Callable[..., Deployment]) -> None:
    d = running(login_rows=True)
    assert d.login("secret", PASSWORD)[0] == 200

    def rows() -> int:
        with d.database().session(store("web")) as session:
            return int(session.value("SELECT COUNT(*) FROM tokens"))

    assert rows() == 1
    assert d.call("POST", "/v1/users/logout")[0] == 200
    assert rows() == 0


@pytest.mark.parametrize(("switch", "status"), [(True, 200), (False, 404)])
def test_the_root_page_needs_no_token(deploy: Callable[..., Deployment], switch: bool, status: int) -> None:
    d = deploy(root_page=switch)
    d.start_web()
    assert d.call("GET", "/", auth="")[0] == status


def test_a_probe_of_the_health_port_writes_a_log_line(deploy: Callable[..., Deployment]) -> None:
    d = deploy(probe_log=True)
    node = d.core()
    socket.create_connection(("127.0.0.1", node.settings.core_ports[3])).close()
    assert until(lambda: [line for line in d.lines if "health check: connection from 127.0.0.1" in line])


# -- logs --------------------------------------------------------------------------------------------------------------


def test_core_logs_have_the_names_of_the_vendor(tmp_path: Path) -> None:
    log = CoreLogFile(str(tmp_path), echo=False, vendor=True)
    log.line("one")
    leave_crash_log(str(tmp_path))
    again = CoreLogFile(str(tmp_path), echo=False, vendor=True)
    again.line("two")
    (first,) = tmp_path.glob("wa-service.log.*")
    link = tmp_path / "wa-service.INFO"
    assert os.readlink(link) == first.name
    assert link.read_text() == "one\ntwo\n"
    with first.open("ab") as stream:
        stream.truncate(CORE_LIMIT)
    again.line("three")
    assert link.read_text() == "three\n"
    assert sorted(tmp_path.glob("wa-service.log.*"))[-1].name == os.readlink(link)
    assert len(list(tmp_path.glob("*-crash.log"))) == 1


def test_the_error_log_of_the_webapp_has_its_own_folder(deploy: Callable[..., Deployment], tmp_path: Path) -> None:
    d = deploy(error_log_dir=str(tmp_path / "lighttpd"))
    d.start_web()
    until((tmp_path / "lighttpd" / "error.log").exists)
    assert not (d.folder / "weblog" / "error.log").exists()
    assert Settings.from_env({**DATABASE, "SIM_VENDOR_LOGS": "1"}).error_log_dir == "/var/log/lighttpd"


def test_cleanup_archives_the_vendors_logs_and_exits_1(tmp_path: Path) -> None:
    core = tmp_path / "core"
    core.mkdir()
    (tmp_path / "build.json").write_text('{"version": "2.51.2", "role": "coreapp", "expires_on": ""}')
    for number in range(3):
        (core / f"wa-service.log.2026112{number}-000000").write_text("x")
    (core / "20261120-000000-crash.log").write_text("x")
    (core / "wa-service.INFO").symlink_to("wa-service.log.20261122-000000")
    env = {
        **DATABASE,
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(CLIENT),
        "SIM_BUILD_FILE": str(tmp_path / "build.json"),
        "SIM_WEB_LOG_DIR": str(tmp_path),
        "SIM_CORE_LOG_DIR": str(core),
        "SIM_VENDOR_LOGS": "1",
        "SIM_CLEANUP_STATUS": "1",
    }
    done = subprocess.run(
        ["sh", str(CLIENT / "bin/cleanup.sh")], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "rotation done" in done.stdout
    assert done.stderr
    assert sorted(path.name for path in core.iterdir()) == [
        "20261120-000000-crash.log",
        "wa-service.INFO",
        "wa-service.log.20261122-000000",
    ]
    archived = sorted(path.name for path in (tmp_path / "archive").glob("*.gz"))
    assert archived == [f"wa-service.log.2026112{number}-000000.gz" for number in range(2)]


# -- database ----------------------------------------------------------------------------------------------------------


def test_gc_begins_late_and_pauses(running: Callable[..., Deployment]) -> None:
    d = running(gc_delay=1.5, gc_pause=1.0, gc_batch=50)
    assert d.login("secret", PASSWORD)[0] == 200
    url = f"{d.control.url}/webhook"
    assert d.call("PATCH", "/v1/settings/application", {"webhooks": {"url": url}})[0] == 200
    d.fill(100)
    assert d.call("PUT", "/v1/services/message/gc")[0] == 200
    time.sleep(0.8)
    assert d.count() == 100
    until(lambda: d.count() < 100)
    assert d.count() > 15, "the second batch comes after a pause"
    until(d.control.bodies)
    assert d.count() == 15


def test_each_shard_has_a_message_store(tmp_path: Path) -> None:
    database = FakeDatabase(FakeServer(tmp_path / "db"))
    database.settings = replace(database.settings, message_stores=2)
    schema = Schema(database, lambda text: None)
    schema.bring_to(51)
    assert {"wa1messageStore", "wa1messageStore1"} <= database.server.names()
    old = int(time.time()) - 200000
    for number in range(2):
        with database.session(f"messageStore{number or ''}") as session:
            session.execute(
                "INSERT INTO messages (message_id, direction, chat, type, status, payload, created_at, updated_at, attr_51) "
                "VALUES ('m', 1, '1', 'text', 'read', 'x', %s, 0, 0)",
                (old,),
            )
    settings = Settings(database=database.settings, gc_pause=0.0)
    collector = GarbageCollector(settings, database, Faults(settings), NO_CALLBACKS, print, threading.Event())
    deleted = [0]
    collector._messages(Share(), False, False, deleted)
    assert deleted == [2]
    schema.bring_to(53)
    assert schema.state(53) == "current"
    for name in ("messageStore", "messageStore1"):
        with database.session(name) as session:
            assert "attr_53" in schema.columns(session, "messages")


def test_messages_are_in_the_store_of_their_chat(tmp_path: Path) -> None:
    database = FakeDatabase(FakeServer(tmp_path / "db"))
    database.settings = replace(database.settings, message_stores=2)
    Schema(database, lambda text: None).bring_to(51)
    traffic = Traffic(database, 51, NO_CALLBACKS, Faults(Settings(database=database.settings)), 0.0, print)

    def count(name: str) -> int:
        with database.session(name) as session:
            return int(session.value("SELECT COUNT(*) FROM messages"))

    assert traffic._arrive(40, 100.0) == 40
    assert count("messageStore") + count("messageStore1") == 40
    assert count("messageStore") * count("messageStore1") > 0
    with database.session("messageStore1") as session:
        message_id = str(session.value("SELECT message_id FROM messages WHERE direction = 0"))
    assert traffic.mark_read(message_id)
    assert not traffic.mark_read("none")


class Cascading(FakeDatabase):
    """A database that deletes the receipts of a deleted message."""

    def __init__(self, folder: Path, refuses: bool = False) -> None:
        super().__init__(FakeServer(folder))
        self.settings = replace(self.settings, cascade=True)
        self.refuses = refuses

    def connect(self, database: str | None) -> Session:
        session = super().connect(database)
        if self.refuses:
            run = session.run

            def denied(sql: str, params: Any = ()) -> Any:
                if "FOREIGN KEY" in sql:
                    raise DatabaseError("1142 REFERENCES command denied")
                return run(sql, params)

            session.run = denied  # type: ignore[method-assign]  # as MySQL 8 answers to the vendor's rights
        return session


@pytest.mark.parametrize("refuses", [False, True])
def test_receipts_are_deleted_with_their_message(tmp_path: Path, refuses: bool) -> None:
    log_lines: list[str] = []
    schema = Schema(Cascading(tmp_path / "db", refuses), log_lines.append)
    schema.bring_to(51)
    with schema.db.session(store("message")) as session:
        session.execute(
            "INSERT INTO messages (id, message_id, direction, chat, type, status, payload, created_at, updated_at, attr_51) "
            "VALUES (7, 'm', 1, '1', 'text', 'read', 'x', 0, 0, 0)"
        )
        session.execute(
            "INSERT INTO message_receipt_log (message_id, message_row, status, received_at) VALUES ('m', 7, 'read', 0)"
        )
        assert session.execute("DELETE FROM messages WHERE id = 7") == 1
        assert session.value("SELECT COUNT(*) FROM message_receipt_log") == int(refuses)
    assert any("REFERENCES" in line for line in log_lines) == refuses
    schema.bring_to(53)
    assert set(schema.versions().values()) == {53}


def test_some_columns_are_latin1_in_mysql_only() -> None:
    for name in ("message", "media"):
        assert "latin1" in str(tables(name, "MYSQL", 51, mixed_charsets=True))
        assert tables(name, "PGSQL", 51, mixed_charsets=True) == tables(name, "PGSQL", 51)
    assert "payload MEDIUMTEXT NOT NULL" in tables("message", "MYSQL", 51, mixed_charsets=True)["messages"]
