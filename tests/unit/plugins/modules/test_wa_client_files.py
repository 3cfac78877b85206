# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_client: it restores kept files after a failure, and removes them once the client is healthy."""

from __future__ import annotations

import json
import os
import re
import stat
import typing as t
from pathlib import Path

import pytest
from ansible.plugins.filter.core import to_nice_json
from fake_compose import FakeCompose, digest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._client import inspection
from ansible_collections.waba.onprem.plugins.module_utils._compose import definitions

MODULE = "wa_client"
Run = t.Callable[..., "dict[str, t.Any]"]
COMPOSE = "services:\n  waweb:\n    image: {}/web:v{}\n"


@pytest.fixture
def env(tmp_path: Path) -> Path:
    path = tmp_path / "db.env"
    path.write_text("WA_DB_HOSTNAME=db\nWA_DB_PASSWORD=old\n")
    path.chmod(0o640)
    return path


def previous(path: Path) -> Path:
    return path.with_name(f"{path.name}.previous")


def test_restore_puts_the_kept_file_back_and_settle_removes_it(run_module: Run, env: Path) -> None:
    before = env.read_text()
    previous(env).write_text(before)
    env.write_text("WA_DB_HOSTNAME=db\nWA_DB_PASSWORD=new\n")
    done = run_module(MODULE, {"state": "restored", "started_from": [str(env)]})
    assert done["restored"] == [{"path": str(env), "env_keys": ["WA_DB_PASSWORD"]}]
    assert (env.read_text(), stat.S_IMODE(env.stat().st_mode)) == (before, 0o640)
    assert previous(env).exists()
    again = run_module(MODULE, {"state": "restored", "started_from": [str(env)]})
    assert (again["changed"], again["restored"]) == (False, [])
    settled = run_module(MODULE, {"state": "settled", "started_from": [str(env)]})
    assert (settled["changed"], previous(env).exists()) == (False, False)


@pytest.mark.parametrize("state", ["settled", "reverted"])
def test_files_alone_are_settled_without_an_engine(run_module: Run, env: Path, state: str) -> None:
    """A host may have its engine elsewhere (`wa_docker_host`), which most calls do not name."""
    previous(env).write_text(env.read_text())
    done = run_module(MODULE, {"state": state, "started_from": [str(env)], "docker_host": f"unix://{env.parent}/none"})
    assert (done.get("msg"), previous(env).exists()) == (None, False)


def test_check_mode_restores_and_removes_nothing(run_module: Run, env: Path) -> None:
    before = env.read_text()
    previous(env).write_text("B=1\n")
    for state in ("restored", "settled"):
        run_module(MODULE, {"state": state, "started_from": [str(env)]}, check=True)
    assert (env.read_text(), previous(env).read_text()) == (before, "B=1\n")


def test_a_compose_file_of_another_version_is_not_restored(run_module: Run, tmp_path: Path) -> None:
    path, env = tmp_path / "compose.yml", tmp_path / "db.env"
    for file, content in ((path, COMPOSE.format("reg", "2.53.4")), (env, "A=2\n")):
        file.write_text(content)
        previous(file).write_text(content.replace("2.53.4", "2.51.2").replace("A=2", "A=1"))
    failed = run_module(MODULE, {"state": "restored", "started_from": [str(env), str(path)]})
    assert "Nothing was put back" in failed["msg"]
    assert env.read_text() == "A=2\n"


# The record of the containers

RECORDED = {
    "deployment": "biz",
    "name_prefix": 'ü"\\',
    "digests": "wacore/hash=h0",
    "salt": "s",
    "media_volume": "m",
    "WA": "1",
}

SERVICES = {"digests": "", "salt": ""}


@pytest.fixture
def record(tmp_path: Path) -> Path:
    path = tmp_path / "records" / "client-biz.json"
    path.parent.mkdir()
    path.write_text(inspection.record_text(RECORDED))
    path.chmod(0o640)
    return path


def as_it_is(path: Path) -> tuple[str, int, int, list[str]]:
    """Content, mode, the file itself, and what lies beside it."""
    state = path.stat()
    return path.read_text(), stat.S_IMODE(state.st_mode), state.st_ino, sorted(os.listdir(path.parent))


IMAGE = "registry.lab:5000/whatsapp/coreapp:v2.53.4"
Settle = t.Callable[..., "dict[str, t.Any]"]


@pytest.fixture
def settle(record: Path, engine: FakeDocker, compose: FakeCompose) -> Settle:
    """Adds containers as Compose makes them from these bodies, and returns the options that record them in a project."""

    def options(bodies: dict[str, dict[str, t.Any]], **more: t.Any) -> dict[str, t.Any]:
        services = {name: {"image": IMAGE, **body} for name, body in bodies.items()}
        engine.images.setdefault(IMAGE, {})
        for name, body in services.items():
            labels = {"com.docker.compose.config-hash": digest(body), "com.docker.compose.version": "2.40.3"}
            engine.container(f"biz-{name}-1", IMAGE, "biz", name, labels=labels)
        own = record.parent.parent / "own.yml"
        own.write_text(json.dumps({"services": services}))
        place = {"project": "biz", "project_dir": str(own.parent), "docker_host": engine.host}
        return {
            "state": "settled",
            "identity_file": str(record),
            **place,
            "content": own.read_text(),
            **({"services": [*services], "compose_files": [str(own)]} if more.pop("operators", False) else {}),
            **more,
        }

    return options


CORE: dict[str, dict[str, t.Any]] = {"wacore": {}}
HASH = digest({"image": IMAGE})


def stamped(found: dict[str, str]) -> dict[str, str]:
    """A record without its time stamp."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["recorded"])
    return {name: value for name, value in found.items() if name != "recorded"}


@pytest.mark.parametrize("bodies", [{"waweb": {"init": True}, "wacore": {}}, CORE])
@pytest.mark.parametrize("mode", [0o640, 0o600, 0o644])
@pytest.mark.parametrize("before", [RECORDED, {"deployment": "biz"}])
def test_the_containers_are_recorded_as_provision_does(
    run_module: Run, record: Path, settle: Settle, before: dict[str, str], mode: int, bodies: dict[str, t.Any]
) -> None:
    record.write_text(inspection.record_text(before))
    record.chmod(mode)
    done = run_module(MODULE, settle(bodies))
    assert (done["changed"], done["actions"]) == (False, [f"recorded the containers and their version in {record}"])
    found = inspection.record(str(record))
    assert record.read_text() == f"{to_nice_json(found, sort_keys=True)}\n"
    expected = {name: {"hash": digest({"image": IMAGE, **body})} for name, body in bodies.items()}
    assert definitions.recorded(found).services == expected
    assert stamped({**found, **SERVICES}) == {**before, **SERVICES}
    assert stat.S_IMODE(record.stat().st_mode) == 0o640
    assert os.listdir(record.parent) == [record.name]


def test_of_an_operators_files_each_key_is_recorded_and_from_which_files(
    run_module: Run, record: Path, settle: Settle
) -> None:
    """So that the next look knows by what a container differs, and not only that it does."""
    before = {"digests": "wacore/hash=h0 wacore/init=d1 wacore/inputs=i", "salt": "s"}
    record.write_text(inspection.record_text(before))
    given = settle({"wacore": {"init": True}}, operators=True)
    run_module(MODULE, given)
    found = definitions.recorded(inspection.record(str(record)))
    made = found.services["wacore"]
    assert (made["init"], found.salt) == (definitions.digests({"init": True}, "s")["init"], "s")
    assert (made["hash"], made["compose"]) == (digest({"image": IMAGE, "init": True}), "2.40.3-3")
    assert set(made) >= {"inputs"}
    state = as_it_is(record)
    assert run_module(MODULE, given)["actions"] == []
    assert as_it_is(record) == state


def test_a_container_of_other_files_is_not_recorded(run_module: Run, record: Path, settle: Settle) -> None:
    """What somebody has changed since its start is found by the next look."""
    given = settle({"wacore": {"init": True}, "waweb": {}})
    given["content"] = json.dumps({"services": {"wacore": {"image": IMAGE}, "waweb": {"image": IMAGE}}})
    run_module(MODULE, given)
    assert definitions.recorded(inspection.record(str(record))).services == {
        "wacore": {"hash": "h0"},
        "waweb": {"hash": HASH},
    }


def test_nothing_is_removed_where_the_project_cannot_be_read(
    run_module: Run, record: Path, env: Path, settle: Settle, compose: FakeCompose
) -> None:
    """The upgrade that calls it is proven, and the next run needs what it finds."""
    previous(env).write_text("B=1\n")
    given = settle(CORE, operators=True, started_from=[str(env)])
    before, compose.complaint = as_it_is(record), "service wacore: broken"
    for check in (True, False):
        assert "service wacore: broken" in run_module(MODULE, given, check=check)["msg"]
        assert (as_it_is(record), previous(env).exists()) == (before, True)


def test_recorded_containers_are_not_recorded_again(run_module: Run, record: Path, settle: Settle) -> None:
    given = settle({"waweb": {}, "wacore": {}})
    assert run_module(MODULE, given)["actions"] == [f"recorded the containers and their version in {record}"]
    before = as_it_is(record)
    for check in (True, False):
        done = run_module(MODULE, given, check=check)
        assert (done["changed"], done["actions"], as_it_is(record)) == (False, [], before)


@pytest.mark.parametrize(
    "text",
    [
        f'{{"digests": "wacore/hash={HASH}", "salt": "s", "a": "1", "recorded": "then"}}',
        f'{{\n  "a": "1",\n  "digests": "wacore/hash={HASH}",\n  "salt": "s"\n}}\n\n',
    ],
)
def test_a_record_that_has_the_containers_is_left_as_it_is(
    run_module: Run, record: Path, settle: Settle, text: str
) -> None:
    record.write_text(text)
    before = as_it_is(record)
    assert run_module(MODULE, settle(CORE))["actions"] == []
    assert as_it_is(record) == before


def test_check_mode_predicts_what_is_recorded_and_writes_nothing(
    run_module: Run, record: Path, env: Path, settle: Settle
) -> None:
    previous(env).write_text("B=1\n")
    before = as_it_is(record)
    given = settle(CORE, started_from=[str(env)])
    predicted = run_module(MODULE, given, check=True)
    assert predicted["actions"] == [
        f"removed {previous(env)}",
        f"recorded the containers and their version in {record}",
    ]
    assert (as_it_is(record), previous(env).exists()) == (before, True)
    done = run_module(MODULE, given)
    assert (done["actions"], previous(env).exists()) == (predicted["actions"], False)
    assert stamped(inspection.record(str(record))) == {**RECORDED, "digests": f"wacore/hash={HASH}"}


def test_the_version_is_recorded_with_the_definitions_of_its_tables(
    run_module: Run, record: Path, settle: Settle
) -> None:
    for version, digest_of_tables in (("2.51.2", "d51"), ("2.53.4", "d53")):
        run_module(MODULE, settle(CORE, version=version, definitions=digest_of_tables))
    found = inspection.record(str(record))
    assert (found["version"], found["schemas"]) == ("2.53.4", "2.51.2=d51 2.53.4=d53")
    assert inspection.schemas(found) == {"2.51.2": "d51", "2.53.4": "d53"}


@pytest.mark.parametrize("check", [False, True])
def test_without_a_record_none_is_written(run_module: Run, record: Path, settle: Settle, check: bool) -> None:
    given = settle(CORE)
    for path in (record, record.parent / "none" / record.name):
        record.unlink(missing_ok=True)
        done = run_module(MODULE, {**given, "identity_file": str(path)}, check=check)
        assert (done["changed"], done["actions"]) == (False, [])
        assert os.listdir(record.parent) == []


@pytest.mark.parametrize(
    ("text", "reason"), [("{", "no JSON"), ("", "no JSON"), ("[]", "no mapping"), ('"wacore=h1"', "no mapping")]
)
@pytest.mark.parametrize("check", [False, True])
def test_an_invalid_record_fails_and_is_left_as_it_is(
    run_module: Run, record: Path, settle: Settle, check: bool, text: str, reason: str
) -> None:
    record.write_text(text)
    before = as_it_is(record)
    failed = run_module(MODULE, settle(CORE), check=check)
    assert failed["msg"] == (
        f"record {record}: {reason}; expected the record of which client is on this host. See that the inventory describes the "
        "client that is here; then remove the file: provision.yml writes it again"
    )
    assert as_it_is(record) == before


def test_only_settle_records_containers(run_module: Run, record: Path, env: Path, settle: Settle) -> None:
    before = record.read_text()
    given = settle(CORE, state="restored", started_from=[str(env)])
    assert not run_module(MODULE, given).get("failed")
    assert record.read_text() == before


def test_the_version_alone_is_recorded_after_a_restore(run_module: Run, tmp_path: Path) -> None:
    path = tmp_path / "client.json"
    recorded = {
        "engine": "MYSQL",
        "version": "2.53.4",
        "digests": "core/hash=x",
        "salt": "s",
        "schemas": "2.51.2=a 2.53.4=b",
    }
    path.write_text(inspection.record_text(recorded))
    options = {"state": "settled", "identity_file": str(path), "version": "2.51.2"}
    for check in (True, False):
        done = run_module(MODULE, options, check=check)
        assert done["actions"] == [f"recorded the containers and their version in {path}"]
    found = inspection.record(str(path))
    assert (found["version"], found["digests"], found["schemas"]) == ("2.51.2", "core/hash=x", "2.53.4=b 2.51.2=a")
    assert "msg" not in run_module(MODULE, {**options, "identity_file": str(tmp_path / "none.json")})
    assert not (tmp_path / "none.json").exists()


def test_settle_removes_staged_files_and_the_ended_migration(
    run_module: Run, engine: FakeDocker, tmp_path: Path
) -> None:
    """Check mode predicts what the run does, and a second run changes nothing."""
    folder = tmp_path / "b[1]"
    folder.mkdir()
    (folder / "compose-2.53.4.yml").touch()
    (folder / "link").symlink_to(tmp_path)
    engine.container("wa-dbupgrade-1", state="exited")
    options = {
        "state": "settled",
        "staged": [str(folder / name) for name in ("compose-2.53.4.yml", "link", "none")],
        "containers": ["wa-dbupgrade-1", "none"],
        "docker_host": engine.host,
    }
    predicted = run_module(MODULE, options, check=True)
    assert sorted(path.name for path in folder.iterdir()) == ["compose-2.53.4.yml", "link"]
    done = run_module(MODULE, options)
    actions = [f"remove {folder}/compose-2.53.4.yml", f"remove {folder}/link", "remove wa-dbupgrade-1"]
    assert (predicted["actions"], done["actions"], done["changed"]) == (actions, actions, True)
    assert ([*folder.iterdir()], engine.containers) == ([], {})
    assert not run_module(MODULE, options)["changed"]


@pytest.mark.parametrize("check", [True, False])
def test_settle_removes_nothing_where_a_folder_is_in_the_place_of_a_file(
    run_module: Run, tmp_path: Path, check: bool
) -> None:
    (tmp_path / "compose.yml" / "data").mkdir(parents=True)
    (tmp_path / "other.yml").touch()
    staged = [str(tmp_path / "other.yml"), str(tmp_path / "compose.yml")]
    failed = run_module(MODULE, {"state": "settled", "staged": staged}, check=check)
    assert failed["msg"].startswith(f"{tmp_path}/compose.yml: a folder; expected a file. Nothing was removed.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compose.yml", "other.yml"]


def test_a_migration_that_somebody_has_started_again_is_named_with_the_cure(
    engine: FakeDocker, run_module: Run
) -> None:
    one = engine.container("wa-dbupgrade-1", state="running")
    options = {"state": "settled", "containers": ["wa-dbupgrade-1"], "docker_host": engine.host}
    assert run_module(MODULE, options)["msg"] == (
        "container wa-dbupgrade-1: running: somebody has started it again; expected one that has ended. "
        "Wait for its end (docker wait wa-dbupgrade-1), then run again"
    )
    one["State"] = "exited"
    assert run_module(MODULE, options)["actions"] == ["remove wa-dbupgrade-1"]
