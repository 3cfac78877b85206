# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which login asks the database, whose origins are known to it, and what becomes an alarm. Real servers: test_database_guard.py."""

from __future__ import annotations

import typing as t

import pytest
from fake_docker import FakeDocker
from observed_host import ObservedHost

from ansible_collections.waba.onprem.plugins.module_utils._concern import database
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import Redactor
from ansible_collections.waba.onprem.plugins.module_utils._database import guard
from ansible_collections.waba.onprem.plugins.module_utils._database.errors import (
    DatabaseError,
    mysql_kind,
    pgsql_kind_of_text,
)
from ansible_collections.waba.onprem.plugins.module_utils._db_env import login_check
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker

STRANGER = {"id": 7, "from": "10.0.0.66", "database": "messageStore", "seconds": 9, "state": "Sleep"}


class Server:
    """A database server: the sessions that it shows, and the settings that it was asked with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sessions: list[dict[str, t.Any]] = []
        self.error: DatabaseError | None = None
        self.asked: list[tuple[str, str, bool]] = []
        monkeypatch.setattr(guard, "read", self.read)
        monkeypatch.setattr(login_check, "route", lambda config, *_more: (config, ""))

    def read(
        self, config: t.Any, prefix: str, _wanted: t.Any, rule: guard.Unknown, wait: float, content: bool
    ) -> dict[str, t.Any]:
        if self.error:
            raise self.error
        self.asked.append((config.host, prefix, content))
        assert wait == 10
        return {"origin": "10.0.0.5", "unreadable": "", "unknown": list(rule(self.sessions, "10.0.0.5"))}


class Module:
    """The module of one concern, with its options."""

    check_mode = True

    def __init__(self, host: ObservedHost, **options: t.Any) -> None:
        defaults = {name: spec.get("default") for name, spec in database.SPEC.items()}
        given = {**host.desired["db_env"], "identity_file": str(host.record)}
        self.params = {**defaults, **given, "docker_host": host.engine.host, **options}
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def run_command(self, *_arguments: t.Any, **_options: t.Any) -> tuple[int, str, str]:
        return 1, "", ""


@pytest.fixture
def host(engine: FakeDocker, tmp_path: t.Any) -> ObservedHost:
    return ObservedHost(engine, tmp_path)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


def read(host: ObservedHost, **options: t.Any) -> dict[str, t.Any]:
    module = Module(host, **options)
    return database.read(module, Docker(module.params), Redactor())


def observe(host: ObservedHost, **options: t.Any) -> tuple[list[str], list[str]]:
    module = Module(host, look=True, tables=False, **options)
    finding, _found = database.observe(module, Docker(module.params), Redactor())
    return finding.alarms, finding.warnings


def test_a_look_logs_in_as_the_coreapp_that_runs(host: ObservedHost, server: Server) -> None:
    host.write(host.db_env, "WA_DB_ENGINE=MYSQL\nWA_DB_HOSTNAME=new.example.com\n", 0o600)
    assert observe(host) == ([], [])
    assert server.asked == [(host.environment["WA_DB_HOSTNAME"], "", False)]


def test_a_look_asks_nothing_where_no_client_runs(host: ObservedHost, server: Server) -> None:
    for one in (host.core, host.web):
        one["State"] = "exited"
    assert (observe(host), server.asked) == (([], []), [])


def test_the_guard_logs_in_with_what_a_start_will_use(host: ObservedHost, server: Server) -> None:
    for one in (host.core, host.web):
        one["State"] = "exited"
    found = read(host, hostname="next.example.com", name_prefix="x_")
    assert server.asked == [("next.example.com", "x_", True)]
    assert (found["running"], found["versions"]) == (False, ["2.53.4"])
    assert (found["recorded"]["project"], " " in found["machine"]) == ("wa-a", True)


def test_a_session_of_another_origin_is_an_alarm(host: ObservedHost, server: Server) -> None:
    server.sessions = [{**STRANGER, "from": "10.0.0.5"}]
    assert observe(host) == ([], [])
    server.sessions.append(STRANGER)
    (alarm,), warnings = observe(host)
    assert "1 from 10.0.0.66" in alarm
    assert warnings == []
    assert observe(host, shared_origins=["10.0.0.64/28"]) == ([], [])


def test_members_and_containers_are_known(host: ObservedHost, server: Server) -> None:
    server.sessions = [STRANGER]
    assert len(read(host)["unknown"]) == 1
    assert read(host, origins=["10.0.0.66"])["unknown"] == []
    server.sessions = [{**STRANGER, "from": "wa-a-wacore-1"}]
    assert read(host)["unknown"] == []


def test_nothing_is_known_where_nothing_runs(host: ObservedHost, server: Server) -> None:
    for one in (host.core, host.web):
        one["State"] = "exited"
    server.sessions = [{**STRANGER, "from": "10.0.0.5"}]
    assert len(read(host)["unknown"]) == 1
    assert read(host, running=True)["unknown"] == []


@pytest.mark.parametrize(("state", "unknown"), [("paused", 0), ("restarting", 0), ("dead", 1)])
def test_sessions_of_a_client_that_is_paused_or_restarts_are_its_own(
    host: ObservedHost, server: Server, state: str, unknown: int
) -> None:
    host.core["State"], host.web["State"] = state, "exited"
    server.sessions = [{**STRANGER, "from": "10.0.0.5"}]
    assert len(read(host)["unknown"]) == unknown


def test_through_another_address_origins_are_not_compared(host: ObservedHost, server: Server) -> None:
    server.sessions = [STRANGER]
    assert read(host, login_host="127.0.0.1")["unknown"] == []


@pytest.mark.parametrize(
    ("kind", "alarms"),
    [
        ("login", 1),
        (mysql_kind(1862), 1),
        (pgsql_kind_of_text("unsupported startup parameter"), 1),
        ("unreachable", 1),
        ("driver", 0),
    ],
)
def test_a_login_that_fails_is_an_alarm(host: ObservedHost, server: Server, kind: str, alarms: int) -> None:
    server.error = DatabaseError("database", "no", kind)
    found, warnings = observe(host)
    assert (len(found), warnings) == (alarms, [])
    with pytest.raises(DatabaseError, match="No container was started"):
        read(host)


@pytest.mark.parametrize(
    ("state", "kind", "allowed"),
    [("exited", "unknown_host", True), ("exited", "login", False), ("running", "unreachable", False)],
)
def test_a_server_of_the_project_that_is_stopped_has_no_sessions(
    host: ObservedHost, server: Server, state: str, kind: str, allowed: bool
) -> None:
    host.engine.container("wa-a-db-1", "mariadb:11", "wa-a", "db", state=state)
    server.error = DatabaseError("database", "no", kind)
    if allowed:
        assert "container wa-a-db-1, does not run" in read(host, hostname="db")["unreadable"]
        return
    with pytest.raises(DatabaseError):
        read(host, hostname="db")


@pytest.mark.parametrize(
    ("kind", "on_network", "allowed"),
    [
        ("unknown_host", False, True),
        ("unknown_host", True, False),
        ("login", False, False),
        ("unreachable", False, False),
    ],
)
def test_only_a_container_on_no_network_is_started_without_an_answer(
    host: ObservedHost, server: Server, kind: str, on_network: bool, allowed: bool
) -> None:
    """Its start puts it back on its network; a name that does not resolve on one is wrong."""
    host.core["Networks"] = ["n1"] if on_network else []
    host.web["Networks"] = ["n1"]
    server.error = DatabaseError("database", "no", kind)
    if allowed:
        assert read(host)["unreadable"].endswith("wacore-1, which is on no network")
        return
    with pytest.raises(DatabaseError):
        read(host)
