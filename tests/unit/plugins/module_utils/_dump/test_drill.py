# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which server a drill starts, and that it is removed whatever comes of it; real containers are started by the integration tests."""

from __future__ import annotations

import types
import typing as t

import pytest
from scripted_database import Refusal, ScriptedDatabase

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import connection
from ansible_collections.waba.onprem.plugins.module_utils._docker import images
from ansible_collections.waba.onprem.plugins.module_utils._dump import drill

COPY: dict[str, t.Any] = {"engine": "MYSQL", "product": "MariaDB", "server": "10.11.6-MariaDB", "source_bytes": 1000}


class Engine:
    """A Docker Engine with one image, and the containers that `docker run` was called for."""

    transport = types.SimpleNamespace(host="unix:///d.sock")

    def __init__(self) -> None:
        self.ports: dict[str, t.Any] = {"3306/tcp": {}}
        self.there = True
        self.status = "running"
        self.containers: list[str] = ["an earlier drill's"]
        self.calls: list[list[str]] = []
        self.environment: dict[str, str] = {}
        self.code = 0

    def image(self, _name: str) -> dict[str, t.Any] | None:
        return {"Config": {"ExposedPorts": self.ports}} if self.there else None

    def rows(self, _subject: str, filters: t.Mapping[str, t.Any]) -> list[dict[str, str]]:
        assert filters == {"label": ["waba.onprem.drill=Support EU"]}
        return [{"Id": one} for one in self.containers]

    def request(self, _subject: str, method: str, path: str, query: t.Mapping[str, int]) -> None:
        assert (method, query) == ("DELETE", {"force": 1, "v": 1})
        self.containers.remove(path.rpartition("/")[2])

    def inspect_id(self, name: str) -> dict[str, t.Any] | None:
        if name not in self.containers:
            return None
        ports = {"3306/tcp": [{"HostPort": "49153"}], "5432/tcp": [{"HostPort": "49154"}]}
        return {"State": {"Status": self.status, "ExitCode": 1}, "NetworkSettings": {"Ports": ports}}

    def run(self, argv: list[str], environ_update: dict[str, str], handle_exceptions: bool) -> tuple[int, str, str]:
        assert handle_exceptions is False
        words = argv[argv.index("docker") + 3 :]
        self.calls.append(words)
        if words[0] == "run":
            self.environment = environ_update
            self.containers.append(words[words.index("--name") + 1])
        return self.code, "said", "by docker"


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> ScriptedDatabase:
    found = ScriptedDatabase("MYSQL", "11.8.1-MariaDB").on("^(SET GLOBAL|CREATE USER|GRANT)", None)
    monkeypatch.setattr(connection, "connect", found.connect)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monkeypatch.setattr(images, "free_bytes", lambda _engine: None)
    return found


def of(docker: Engine, **more: t.Any) -> drill.Container:
    return drill.Container(t.cast("t.Any", docker), "mariadb:11", "Support EU", {**COPY, **more}, docker.run)


def test_a_server_is_started_with_limits_for_this_host_only_and_removed(
    engine: Engine, server: ScriptedDatabase
) -> None:
    one = of(engine)
    one.check()
    assert (engine.calls, engine.containers) == ([], ["an earlier drill's"])
    with one.running(server.settings) as own:
        assert engine.containers == ["wa-drill-support-eu"]
        assert (own.host, own.port, own.user, own.password) == ("127.0.0.1", 49153, "root", one.password)
    assert engine.containers == []
    [call] = engine.calls
    assert call[:2] == ["run", "--detach"]
    for words in (
        ["--publish", "127.0.0.1::3306/tcp"],
        ["--label", "waba.onprem.drill=Support EU"],
        ["--memory", "1g", "--memory-swap", "1g", "--cpus", "1"],
    ):
        assert " ".join(words) in " ".join(call)
    assert call[-1] == "mariadb:11"
    # The client's user may be the administrator, as in the vendor's sample.
    assert server.asked("^CREATE USER IF NOT EXISTS %s@'%%'") == [("wa", one.password)]
    assert engine.environment == dict.fromkeys(("MYSQL_ROOT_PASSWORD", "MARIADB_ROOT_PASSWORD"), one.password)
    assert one.password not in " ".join(call)
    assert of(engine).password != one.password


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"code": 125}, "it could not be started: said by docker; expected a container"),
        ({"status": "exited"}, "it ended with 1: said by docker; expected a server of MariaDB"),
    ],
)
def test_a_container_that_does_not_serve_is_removed(
    engine: Engine, server: ScriptedDatabase, change: dict[str, t.Any], said: str
) -> None:
    vars(engine).update(change)
    with pytest.raises(WaError, match=said), of(engine).running(server.settings):
        raise AssertionError("it does not serve")
    assert engine.containers == []


def test_a_failure_within_removes_it(engine: Engine, server: ScriptedDatabase) -> None:
    with pytest.raises(ValueError, match="mine"), of(engine).running(server.settings):
        raise ValueError("mine")
    assert engine.containers == []


def test_a_server_that_does_not_answer_in_time_is_refused(
    engine: Engine, server: ScriptedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [Refusal("unreachable", "refused"), Refusal("login", "no root yet"), Refusal("login", "no root")]
    server.on("version", lambda _values: answers.pop(0) if len(answers) > 1 else answers[0])
    times = iter([0.0, 1.0, 2.0, 999.0])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    said = "no root; expected a server that answers within 300 s"
    with pytest.raises(WaError, match=said), of(engine).running(server.settings):
        raise AssertionError("it does not answer")
    assert (engine.containers, len(answers)) == ([], 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ports": {"5432/tcp": {}}}, "it listens on 5432/tcp; expected a server of MariaDB, on port 3306/tcp"),
        ({"there": False}, "not on this host, and its registry says: manifest unknown; expected an image"),
    ],
)
def test_what_is_refused_before_a_container_is_made(
    engine: Engine, server: ScriptedDatabase, monkeypatch: pytest.MonkeyPatch, change: dict[str, t.Any], said: str
) -> None:
    monkeypatch.setattr(images, "missing", lambda _engine, names, _run: ({names[0]: "manifest unknown"}, {}))
    vars(engine).update(change)
    with pytest.raises(WaError, match=said):
        of(engine).check()
    assert engine.calls == []


@pytest.mark.parametrize(("free", "enough"), [(2999, False), (3000, True), (None, True)])
def test_room_for_its_data_is_needed(
    engine: Engine, server: ScriptedDatabase, monkeypatch: pytest.MonkeyPatch, free: int | None, enough: bool
) -> None:
    monkeypatch.setattr(images, "free_bytes", lambda _engine: free)
    if enough:
        of(engine).check()
        return
    with pytest.raises(WaError, match=r"2\.9 KiB are free for containers; expected 2\.9 KiB"):
        of(engine).check()


def test_an_image_without_ports_and_one_of_a_registry_are_tried(
    engine: Engine, server: ScriptedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.ports = {}
    of(engine).check()
    engine.there = False
    monkeypatch.setattr(images, "missing", lambda *_arguments: ({}, {}))
    of(engine).check()


def test_postgresql_has_its_own_administrator(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ScriptedDatabase("PGSQL", "17.2")
    monkeypatch.setattr(connection, "connect", server.connect)
    engine.ports = {"5432/tcp": {}}
    one = of(engine, engine="PGSQL", product="PostgreSQL", server="13.14")
    with one.running(server.settings) as own:
        assert (own.user, own.port) == ("postgres", 49154)
    assert engine.environment == {"POSTGRES_PASSWORD": one.password}
    assert engine.containers == []
