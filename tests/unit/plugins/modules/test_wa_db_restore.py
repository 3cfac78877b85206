# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_db_restore with a scripted database: what is checked, and that nothing is restored in check mode or beside a session."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import time
import typing as t
from pathlib import Path

import pytest
from scripted_database import PASSWORD, ScriptedDatabase

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import connection, guard, processlist
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._dump import drill, folder, restore

MODULE = "wa_db_restore"
ENV = f"WA_DB_ENGINE=MYSQL\nWA_DB_HOSTNAME=db.lab\nWA_DB_USERNAME=wa\nWA_DB_PASSWORD={PASSWORD}\n"
MANIFEST: dict[str, t.Any] = {
    "format": 1,
    "file": "d.sql.gz",
    "bytes": 0,
    "sha256": hashlib.sha256().hexdigest(),
    "mark": "m",
    "engine": "MYSQL",
    "product": "MariaDB",
    "server": "11.8",
    "tool": "mariadb-dump",
    "seconds": 1.0,
    "source_bytes": 9,
    "longest": 9,
    "left": [],
    "sections": [["wa1", "tables"]],
    "databases": {"wa1": {"tables": {"messages": 1}, "definitions": ""}},
    "facts": {"deployment": "eu", "version": "2.51.2"},
}
Run = t.Callable[..., "dict[str, t.Any]"]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done of a restore, which is not this module's own."""
    found: list[str] = []
    monkeypatch.setattr(restore.Restore, "check", lambda self: found.append(f"check as {self.config.user}"))
    monkeypatch.setattr(restore.Restore, "messages", lambda _self: {"now": 3, "copy": 1})

    def run(self: restore.Restore) -> None:
        self._guard()
        self.touched = True
        found.append("run")

    monkeypatch.setattr(restore.Restore, "run", run)
    monkeypatch.setattr(restore.Restore, "complete", lambda _self: found.append("complete"))

    def remove(_config: t.Any, names: list[str], check: bool) -> list[str]:
        found.append(f"remove {check}")
        return [f"{name}__waba_out" for name in names]

    monkeypatch.setattr(restore, "remove_former", remove)
    return found


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, t.Any]]:
    found: list[dict[str, t.Any]] = []
    monkeypatch.setattr(connection, "connect", ScriptedDatabase("MYSQL").connect)
    monkeypatch.setattr(processlist, "sessions", lambda _session: found)
    return found


@pytest.fixture
def call(run_module: Run, done: list[str], sessions: list[dict[str, t.Any]], tmp_path: Path) -> Run:
    (tmp_path / "db.env").write_text(ENV)
    (tmp_path / "d.json").write_text(json.dumps(MANIFEST))
    (tmp_path / "d.sql.gz").touch()
    assert (done, sessions) == ([], [])

    def run(operation: str, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        given = {"env_file": str(tmp_path / "db.env"), "manifest": str(tmp_path / "d.json"), "operation": operation}
        result = run_module(MODULE, {**given, **options}, check)
        assert PASSWORD not in json.dumps(result)
        return result

    return run


def test_a_check_changes_nothing_and_returns_the_manifest(call: Run, done: list[str]) -> None:
    for check in (True, False):
        found = call("check", check, deployment="eu")
        assert (found["changed"], found["manifest"]["databases"]) == (False, MANIFEST["databases"])
        assert found["messages"] == {"now": 3, "copy": 1}
    assert done == ["check as wa", "check as wa"]


def test_check_mode_predicts_a_restore(call: Run, done: list[str], tmp_path: Path) -> None:
    for check in (True, False):
        assert call("restore", check)["actions"] == [f"put wa1 back as of {tmp_path}/d.sql.gz"]
    assert done == ["check as wa", "check as wa", "run"]
    for check in (True, False):
        assert call("complete", check)["changed"] is False
    assert done[3:] == ["complete"]


def test_nothing_is_restored_beside_a_session(
    call: Run, done: list[str], sessions: list[dict[str, t.Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    module = __import__(f"ansible_collections.waba.onprem.plugins.modules.{MODULE}", fromlist=["x"])
    monkeypatch.setattr(module, "_IDLE", 0.0)
    sessions += [{"id": 7, "database": "wa1", "from": "10.0.0.9", "seconds": 3}]
    refused = call("restore")
    assert refused["touched"] is False
    assert "its user still has sessions: 1 on database wa1 from 10.0.0.9" in refused["msg"]
    assert done == ["check as wa"]
    assert "msg" not in call("restore", shared_origins=["10.0.0.0/24"])
    sessions[:] = [{"id": 7, "database": "neighbours", "from": "10.0.0.9", "seconds": 3}]
    assert "msg" not in call("restore")


@pytest.mark.parametrize("lock", ["gone", "another run's"])
@pytest.mark.parametrize("operation", ["restore", "complete"])
def test_a_run_that_has_lost_the_lock_replaces_nothing(
    call: Run, done: list[str], tmp_path: Path, lock: str, operation: str
) -> None:
    """Its controller has slept, and another restore is complete or has begun: what the client has written since stays."""
    claim = upgrade_journal.Claim("eu", "m/2/5", "ann", "ops1", "2.51.2")
    path = tmp_path / "eu.lock"
    if lock != "gone":
        path.write_text(json.dumps(upgrade_journal.begin(None, claim, time.time(), 900, restores="/b/eu.json")))
    options = {"lease_file": str(path), "run_id": "m/1/5"}
    refused = call(operation, **options)
    assert refused["msg"].startswith("lock: gone; expected this run's own" if lock == "gone" else "lock: taken over by")
    assert (refused.get("touched", False), "run" in done, "complete" in done) == (False, False, False)
    assert "msg" not in call(operation, True, **options)  # the lock was not taken in check mode
    if lock != "gone":
        assert "msg" not in call(operation, **{**options, "run_id": "m/2/5"})


def test_a_copy_of_another_client_of_the_same_name_is_refused(call: Run, done: list[str], tmp_path: Path) -> None:
    for copied, ours in (("wa1", "eu_"), ("wa1", ""), ("", "wa1")):
        (tmp_path / "d.json").write_text(json.dumps({**MANIFEST, "prefix": copied}))
        (tmp_path / "db.env").write_text(f"{ENV}WA_DB_NAME_PREFIX={ours}\n")
        for operation in ("check", "restore"):
            refused = call(operation)["msg"]
            assert f"of databases with prefix {copied!r}; expected {ours!r}, the client's" in refused
    assert done == []
    (tmp_path / "d.json").write_text(json.dumps({**MANIFEST, "prefix": "wa1"}))
    assert "msg" not in call("check")


def test_another_login_may_be_given(call: Run, done: list[str]) -> None:
    assert "msg" not in call("check", login_user="admin", login_password="Canary-99")
    assert done == ["check as admin"]
    assert "parameters are required together" in call("check", login_user="admin")["msg"]


def test_what_was_put_aside_is_removed(call: Run, done: list[str]) -> None:
    for check in (True, False):
        assert call("remove_former", check)["actions"] == ["remove the database wa1__waba_out"]
    assert done == ["remove True", "remove False"]


def test_older_copies_of_the_deployment_are_removed(call: Run, warned: list[str], tmp_path: Path) -> None:
    for at, name in enumerate(("first", "second", "third")):
        (tmp_path / f"{name}.json").write_text(json.dumps({**MANIFEST, "file": f"{name}.sql.gz"}))
        (tmp_path / f"{name}.sql.gz").touch()
        os.utime(tmp_path / f"{name}.json", (at, at))
    journal = {
        "deployment": "eu",
        "run_id": "r",
        "user": "u",
        "controller": "c",
        "lease_until": 1.0,
        "target": "2.53.4",
    }
    journal.update(format=2, schema="started", since=0, notes={"manifest": str(tmp_path / "first.json")})
    (tmp_path / "eu.lock").write_text(json.dumps(journal))
    options = {"deployment": "eu", "keep": 1, "lease_file": str(tmp_path / "eu.lock")}
    options["manifest"] = str(tmp_path / "third.json")  # the newest by what wrote it is d.json
    for check in (True, False):
        assert call("remove_older", check, **options)["actions"] == [f"remove the older copy {tmp_path}/second.json"]
        assert (tmp_path / "second.sql.gz").exists() is check
    (tmp_path / "eu.lock").unlink()
    assert call("remove_older", **options)["actions"] == [f"remove the older copy {tmp_path}/first.json"]
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "d.json",
        "d.sql.gz",
        "db.env",
        "third.json",
        "third.sql.gz",
    ]
    assert warned == []
    assert call("remove_older", **options)["actions"] == []
    assert "missing: keep" in call("remove_older", deployment="eu")["msg"]


@pytest.mark.parametrize("gone", ["manifest", "folder"])
def test_older_copies_are_removed_though_the_newest_one_is_gone(call: Run, tmp_path: Path, gone: str) -> None:
    """Somebody has moved it away since it was made. The upgrade has succeeded, and fails for nothing."""
    path = tmp_path / ("gone" if gone == "folder" else "") / "new.json"
    os.utime(tmp_path / "d.json", (1, 1))
    (tmp_path / "other.json").write_text(json.dumps(MANIFEST))
    done = call("remove_older", deployment="eu", keep=1, manifest=str(path))
    assert "msg" not in done
    assert done["actions"] == ([] if gone == "folder" else [f"remove the older copy {tmp_path}/d.json"])


def test_a_copy_that_cannot_be_removed_fails_nothing(
    call: Run, warned: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "old.json").write_text(json.dumps(MANIFEST))
    os.utime(tmp_path / "old.json", (1, 1))

    def refuse(path: str) -> None:
        raise WaError(f"dump of {path}", "read-only", "a folder")

    monkeypatch.setattr(folder, "remove", refuse)
    assert "msg" not in call("remove_older", deployment="eu", keep=1)
    assert warned == [f"dump of {tmp_path}/old.json: read-only; expected a folder."]


def test_the_copy_of_another_deployment_is_refused(call: Run, done: list[str]) -> None:
    assert "of deployment eu; expected us. Nothing was touched" in call("restore", deployment="us")["msg"]
    assert "does not exist; expected the manifest of a dump on this host" in call("check", manifest="/no/d.json")["msg"]
    assert done == []


@pytest.mark.parametrize("same", [True, False])
def test_a_drill_is_made_on_another_server_and_noted(
    call: Run, done: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, same: bool
) -> None:
    monkeypatch.setattr(
        guard, "server", lambda session: {"identity": "x" if same else session.settings.host, "started": 1}
    )
    monkeypatch.setattr(
        restore.Restore, "drill", lambda self: done.append(f"drill on {self.config.host}:{self.config.port}")
    )
    options = {"drill_host": "drill.lab:3307"}
    note = tmp_path / "d.drill.json"
    for check in (True, False):
        found = call("drill", check, **options)
        if same:
            assert "the client's own server; expected another one" in found["msg"]
        else:
            assert found["actions"] == [
                "restore wa1 on database MYSQL at drill.lab:3307, compare, and remove them there"
            ]
        assert note.exists() is (not same and not check)
    assert done == ([] if same else ["drill on drill.lab:3307"])
    assert "any of the following are missing: drill_host, drill_image" in call("drill")["msg"]


@pytest.mark.parametrize("busy", [False, True])
def test_a_drill_in_a_container_is_noted_and_does_not_ask_the_clients_server(
    call: Run, done: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, busy: bool
) -> None:
    class Container:
        subject = "drill in a container of mariadb:11"

        def __init__(self, _engine: t.Any, image: str, deployment: str, *_more: t.Any) -> None:
            self.what = f"{image} of {deployment}"
            self.password = "Canary-drill"

        def check(self) -> None:
            done.append(f"check {self.what}")

        @contextlib.contextmanager
        def running(self, config: connection.Settings) -> t.Iterator[connection.Settings]:
            done.append("start")
            yield dataclasses.replace(config, host="127.0.0.1", port=49153, password=self.password)
            done.append("remove")

    module = __import__(f"ansible_collections.waba.onprem.plugins.modules.{MODULE}", fromlist=["x"])
    monkeypatch.setattr(drill, "Container", Container)
    monkeypatch.setattr(module, "Docker", lambda _params: None)
    monkeypatch.setattr(
        restore.Restore, "drill", lambda self: done.append(f"drill on {self.config.host}:{self.config.port}")
    )
    monkeypatch.setattr(connection, "connect", lambda *_arguments: pytest.fail("the client's server is asked"))
    options = {"drill_image": "mariadb:11", "deployment": "eu"}
    what = "restore wa1 on a server of mariadb:11, compare, and remove them there"
    note = tmp_path / "d.drill.json"
    assert call("drill", True, **options)["actions"] == [what]
    with (tmp_path / "db.env").open() as other:
        if busy:
            fcntl.flock(other, fcntl.LOCK_EX)
        found = call("drill", **options)
    if busy:
        assert "another drill of this deployment runs; expected one at a time" in found["msg"]
        assert (done, note.exists()) == (["check mariadb:11 of eu"] * 2, False)
        return
    assert found["actions"] == [what]
    assert done == [*["check mariadb:11 of eu"] * 2, "start", "drill on 127.0.0.1:49153", "remove"]
    assert json.loads(note.read_text())["server"] == "mariadb:11"
    assert "Canary-drill" not in json.dumps(found)
