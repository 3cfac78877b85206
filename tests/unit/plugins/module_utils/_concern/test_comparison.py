# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparison of a host: a failing concern hides no other, each spec validates its options, each engine request is sent once."""

from __future__ import annotations

import re
import threading
import typing as t

import pytest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._concern import (
    comparison,
    db_env,
    host,
    log_cleanup,
    media_volume,
)
from ansible_collections.waba.onprem.plugins.module_utils._concern.finding import Finding
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC
from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import Unreachable
from ansible_collections.waba.onprem.plugins.modules.wa_drift_info import ReadOnly

SECRET = "Canary-18-Pw"
HOST = {
    "database_engine": "MYSQL",
    "docker_host": "unix:///none/docker.sock",
    "lock_file": "/l",
    "compose_file": "/c",
    "identity_file": "/i",
}
LOG_CLEANUP = {"status_file": "/s", "cron_file": "/f"}


class Module:
    """The part of AnsibleModule that the comparison uses."""

    _diff = False
    check_mode = False

    def __init__(self) -> None:
        self.no_log_values: set[str] = set()
        self.params: dict[str, t.Any] = {}
        self.warned: list[str] = []

    def warn(self, text: str) -> None:
        self.warned.append(text)


@pytest.fixture
def module() -> Module:
    return Module()


def failing(error: Exception) -> t.Callable[..., Finding]:
    def observe(*_arguments: t.Any) -> Finding:
        raise error

    return observe


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (WaError("file /a", "odd", "even"), "file /a: odd; expected even."),
        (PermissionError(13, "Permission denied", "/a"), "/a: Permission denied."),
        (OSError(28, "No space left on device"), "host: No space left on device."),
        (OSError("odd"), "host: odd."),
    ],
)
def test_a_failing_concern_does_not_hide_others(
    module: Module, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    monkeypatch.setattr(host, "observe", failing(error))
    monkeypatch.setattr(log_cleanup, "observe", lambda _params: Finding(changes=["a"]))
    found = comparison.HostComparison(module, True, True).run({"host": HOST, "log_cleanup": LOG_CLEANUP})
    assert found == {"host": Finding(error=message), "log_cleanup": Finding(changes=["a"])}


def test_a_defect_in_one_concern_hides_no_other_and_shows_no_value(
    module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "observe", failing(KeyError(SECRET)))
    monkeypatch.setattr(log_cleanup, "observe", lambda _params: Finding(changes=["a"]))
    found = comparison.HostComparison(module, True, True).run({"host": HOST, "log_cleanup": LOG_CLEANUP})
    assert re.fullmatch(r"host: KeyError in test_comparison[.]py:\d+[.]", found["host"].error)
    assert found["log_cleanup"] == Finding(changes=["a"])


@pytest.mark.parametrize("name", ["database", "health"])
def test_what_waits_for_the_client_is_asked_beside_the_rest(
    module: Module, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked = threading.Event()

    def ask(_self: object, _concern: object) -> Finding:
        asked.set()
        return Finding()

    def look(_self: object, _concern: object) -> Finding:
        return Finding(changes=[] if asked.wait(10) else ["nobody asked"])

    monkeypatch.setattr(comparison.HostComparison, f"_{name}", ask)
    monkeypatch.setattr(comparison.HostComparison, "_host", look)
    monkeypatch.setattr(
        comparison.HostComparison, "_validate", lambda self, *_options: comparison.ConcernModule(module, {})
    )
    found = comparison.HostComparison(module, probe=False, write=False).run({"host": {}, name: {}})
    assert {one: finding.shown("now")["state"] for one, finding in found.items()} == {
        "host": "in_sync",
        name: "in_sync",
    }


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("name", ["database", "health", "automatic_gc"])
def test_what_ends_its_thread_is_not_in_sync(module: Module, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(comparison.HostComparison, f"_{name}", failing(MemoryError()))
    monkeypatch.setattr(
        comparison.HostComparison, "_validate", lambda self, *_options: comparison.ConcernModule(module, {})
    )
    found = comparison.HostComparison(module, probe=False, write=False).run({name: {}})
    assert found[name].error == f"{name}: not compared"


def test_fail_json_ends_the_concern_only() -> None:
    module = object.__new__(ReadOnly)
    module.looking = True
    with pytest.raises(WaError) as error:
        module.fail_json("no such user", rc=1)
    assert str(error.value) == "module: no such user."


def test_a_concern_gets_its_options_in_check_mode(
    module: Module, engine: FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[t.Any] = []

    def observe(part: t.Any, engine_error: str) -> Finding:
        seen.append((part.check_mode, part.params["lock_file"], part._diff, engine_error))
        part.warn("odd")
        return Finding(warnings=["even"])

    monkeypatch.setattr(host, "observe", observe)
    found = comparison.HostComparison(module, True, True).run({"host": {**HOST, "docker_host": engine.host}})
    assert seen == [(True, "/l", False, "")]
    assert found == {"host": Finding(warnings=["even", "odd"])}
    assert (module.params, module.warned, module.check_mode) == ({}, [], False)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("host", {**HOST, "odd": 1}, "odd. Supported parameters include: "),
        ("host", {**HOST, "database_engine": "x"}, "value of database_engine must be one of: MYSQL, PGSQL, got: x"),
        ("log_cleanup", {}, "missing required arguments: cron_file, status_file"),
        ("db_env", {"path": "/a", "password": {"a": SECRET}, "format": SECRET}, "value of format must be one of: "),
        ("db_env", {"path": "/a", "extra_secrets": [SECRET]}, "argument 'extra_secrets' is of type list and we were "),
        ("media_volume", {"driver_options": f"odd {SECRET}"}, "argument 'driver_options' is of type str and we were "),
    ],
)
def test_invalid_options_are_refused_without_a_secret(
    module: Module, name: str, options: dict[str, t.Any], message: str
) -> None:
    finding = comparison.HostComparison(module, True, True).run({name: options})[name]
    assert finding.error.startswith(message)
    assert SECRET not in finding.error
    assert finding == Finding(error=finding.error)


def test_secret_options_are_registered_as_no_log_values(module: Module) -> None:
    comparison.HostComparison(module, True, True).run(
        {"db_env": {"path": "/none/db.env", "password": SECRET, "extra_secrets": {"A": "Canary-2"}}}
    )
    assert {SECRET, "Canary-2"} <= module.no_log_values


def test_an_unreachable_engine_affects_its_concerns_only(module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def observe(_part: t.Any, engine_error: str) -> Finding:
        seen.append(engine_error)
        return Finding()

    monkeypatch.setattr(host, "observe", observe)
    address = "unix:///none/docker.sock"
    found = comparison.HostComparison(module, True, True).run({"host": HOST, "media_volume": {"docker_host": address}})
    message = f"Docker Engine at {address}: the socket /none/docker.sock does not exist"
    assert seen[0].startswith(message)
    assert found["host"] == Finding()
    assert found["media_volume"].error == "Docker Engine: does not answer."


def test_an_unusable_volume_is_a_drift_without_a_secret(
    module: Module, engine: FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = WaError("volume m", "mounted with user%Canary-18-Pw, password=Canary-18-Pw", "none")
    monkeypatch.setattr(media_volume.MediaVolume, "run", failing(error))
    found = comparison.HostComparison(module, True, True).run(
        {"media_volume": {"docker_host": engine.host, "name": "m"}}
    )
    assert [one.state() for one in found.values()] == ["drifted"]
    assert "password=<hidden>" in found["media_volume"].changes[0]


@pytest.mark.parametrize("check_connection", ["false", "true", "always"])
def test_the_comparison_never_logs_in_to_the_database(
    module: Module, monkeypatch: pytest.MonkeyPatch, check_connection: str
) -> None:
    seen: list[str] = []

    def run(part: t.Any, result: t.Any, _engine: t.Any) -> None:
        seen.append(part.params["check_connection"])
        result.values.update(stale_containers=[], undeclared_containers=[], undeclared_keys=[])

    monkeypatch.setattr(db_env, "run", run)
    found = comparison.HostComparison(module, True, True).run(
        {"db_env": {"path": "/a", "check_connection": check_connection}}
    )
    assert (found, seen) == ({"db_env": Finding()}, ["false"])


def test_undeclared_keys_are_pending(module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_part: t.Any, result: t.Any, _engine: t.Any) -> None:
        stale = [{"name": "a", "stale_keys": ["WA_DB_PORT", "WA_DB_USERNAME"]}]
        undeclared = [{"name": "a", "undeclared_keys": ["TZ", "X"]}, {"name": "b", "undeclared_keys": ["TZ"]}]
        result.values.update(stale_containers=stale, undeclared_containers=undeclared, undeclared_keys=["TZ", "X"])

    monkeypatch.setattr(db_env, "run", run)
    fix = "Declare it in wa_db_env_extra, or remove the line"
    held = "which the inventory does not declare; it is not in force in"
    assert comparison.HostComparison(module, True, True).run({"db_env": {"path": "/e"}})["db_env"] == Finding(
        restarts=["a was created with another WA_DB_PORT, WA_DB_USERNAME than /e holds"],
        pending=[f"/e holds TZ, {held} a, b. {fix}", f"/e holds X, {held} a. {fix}"],
    )


def test_a_snapshot_sends_each_get_request_once(engine: FakeDocker) -> None:
    engine.volume("m")
    options = {name: spec.get("default") for name, spec in ARGUMENT_SPEC.items()}
    snapshot = comparison.Snapshot({**options, "docker_host": engine.host})
    assert [(snapshot.volume("m") or {}).get("Name") for _each in range(3)] == ["m"] * 3
    assert snapshot.rows("containers") == snapshot.rows("containers")
    snapshot.rows("containers", filters={"label": ["a"]})
    assert [line.partition("?")[0] for line in engine.calls] == [
        "GET /volumes/m",
        "GET /containers/json",
        "GET /containers/json",
    ]
    for _each in range(2):
        snapshot.request("volume n", "POST", "/volumes/create", body={"Name": "n"})
    assert engine.calls[3:] == ["POST /volumes/create"] * 2


def test_an_engine_that_does_not_answer_is_asked_once(engine: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each further request would cost its time-out, 15 seconds."""
    options = {name: spec.get("default") for name, spec in ARGUMENT_SPEC.items()}
    snapshot = comparison.Snapshot({**options, "docker_host": engine.host})
    asked: list[str] = []

    def hang(_self: Docker, _subject: str, _method: str, path: str, *_more: t.Any, **_options: t.Any) -> t.NoReturn:
        asked.append(path)
        raise Unreachable("list of containers", "no answer within 15 s")

    monkeypatch.setattr(Docker, "request", hang)
    for path in ("/containers/json", "/containers/json", "/volumes/a"):
        with pytest.raises(Unreachable, match="no answer within 15 s"):
            snapshot.request("engine", "GET", path)
    assert asked == ["/containers/json"]
