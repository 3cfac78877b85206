# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_client: it restores kept files after a failure, and removes them once the client is healthy."""

from __future__ import annotations

import os
import re
import stat
import typing as t
from pathlib import Path

import pytest
from ansible.plugins.filter.core import to_nice_json
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
    path = tmp_path / "client-biz.json"
    path.write_text(inspection.record_text(RECORDED))
    path.chmod(0o640)
    return path


def as_it_is(path: Path) -> tuple[str, int, int, list[str]]:
    """Content, mode, the file itself, and what lies beside it."""
    state = path.stat()
    return path.read_text(), stat.S_IMODE(state.st_mode), state.st_ino, sorted(os.listdir(path.parent))


def settle(record: Path, hashes: t.Any, **options: t.Any) -> dict[str, t.Any]:
    return {"state": "settled", "identity_file": str(record), "hashes": hashes, **options}


def stamped(found: dict[str, str]) -> dict[str, str]:
    """A record without its time stamp."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["recorded"])
    return {name: value for name, value in found.items() if name != "recorded"}


@pytest.mark.parametrize("hashes", [{"waweb": "h2", "wacore": "h1"}, {"wacore": "h1"}, {"wacore": "h0", "waweb": "h2"}])
@pytest.mark.parametrize("mode", [0o640, 0o600, 0o644])
@pytest.mark.parametrize("before", [RECORDED, {"deployment": "biz"}])
def test_the_hashes_of_the_containers_are_recorded_as_provision_does(
    run_module: Run, record: Path, before: dict[str, str], mode: int, hashes: dict[str, str]
) -> None:
    record.write_text(inspection.record_text(before))
    record.chmod(mode)
    done = run_module(MODULE, settle(record, hashes))
    assert (done["changed"], done["actions"]) == (False, [f"recorded the containers and their version in {record}"])
    found = inspection.record(str(record))
    assert record.read_text() == f"{to_nice_json(found, sort_keys=True)}\n"
    assert definitions.recorded(found).services == {service: {"hash": one} for service, one in hashes.items()}
    assert stamped({**found, **SERVICES}) == {**before, **SERVICES}
    assert stat.S_IMODE(record.stat().st_mode) == 0o640
    assert os.listdir(record.parent) == [record.name]


def test_the_digests_of_an_operators_files_stay_recorded_with_their_container_only(
    run_module: Run, record: Path
) -> None:
    """What the new container was made from may be another definition than the recorded one."""
    before = {"digests": "core/hash=h0 core/init=d1 core/inputs=i web/hash=h1 web/init=d2", "salt": "s"}
    record.write_text(inspection.record_text(before))
    run_module(MODULE, settle(record, {"core": "h2", "web": "h1"}))
    assert inspection.record(str(record))["digests"] == "core/hash=h2 web/hash=h1 web/init=d2"


def test_recorded_hashes_are_not_recorded_again(run_module: Run, record: Path) -> None:
    hashes = {"waweb": "h2", "wacore": "h1"}
    assert run_module(MODULE, settle(record, hashes))["actions"] == [
        f"recorded the containers and their version in {record}"
    ]
    before = as_it_is(record)
    for check in (True, False):
        done = run_module(MODULE, settle(record, hashes), check=check)
        assert (done["changed"], done["actions"], as_it_is(record)) == (False, [], before)


@pytest.mark.parametrize(
    "text",
    [
        '{"digests": "wacore/hash=h1", "salt": "s", "a": "1", "recorded": "then"}',
        '{\n  "a": "1",\n  "digests": "wacore/hash=h1",\n  "salt": "s"\n}\n\n',
    ],
)
def test_a_record_that_has_the_hashes_is_left_as_it_is(run_module: Run, record: Path, text: str) -> None:
    record.write_text(text)
    before = as_it_is(record)
    assert run_module(MODULE, settle(record, {"wacore": "h1"}))["actions"] == []
    assert as_it_is(record) == before


def test_check_mode_predicts_what_is_recorded_and_writes_nothing(run_module: Run, record: Path, env: Path) -> None:
    previous(env).write_text("B=1\n")
    before = as_it_is(record)
    given = settle(record, {"wacore": "h1"}, started_from=[str(env)])
    predicted = run_module(MODULE, given, check=True)
    assert predicted["actions"] == [
        f"removed {previous(env)}",
        f"recorded the containers and their version in {record}",
    ]
    assert (as_it_is(record), previous(env).exists()) == (before, True)
    done = run_module(MODULE, given)
    assert (done["actions"], previous(env).exists()) == (predicted["actions"], False)
    assert stamped(inspection.record(str(record))) == {**RECORDED, "digests": "wacore/hash=h1"}


def test_the_version_is_recorded_with_the_definitions_of_its_tables(run_module: Run, record: Path) -> None:
    for version, digest in (("2.51.2", "d51"), ("2.53.4", "d53")):
        run_module(MODULE, settle(record, {"wacore": "h1"}, version=version, definitions=digest))
    found = inspection.record(str(record))
    assert (found["version"], found["schemas"]) == ("2.53.4", "2.51.2=d51 2.53.4=d53")
    assert inspection.schemas(found) == {"2.51.2": "d51", "2.53.4": "d53"}


@pytest.mark.parametrize("check", [False, True])
def test_without_a_record_none_is_written(run_module: Run, record: Path, check: bool) -> None:
    for path in (record, record.parent / "none" / record.name):
        record.unlink(missing_ok=True)
        done = run_module(MODULE, settle(path, {"wacore": "h1"}), check=check)
        assert (done["changed"], done["actions"]) == (False, [])
        assert os.listdir(record.parent) == []


@pytest.mark.parametrize("hashes", [{}, None])
@pytest.mark.parametrize("text", [None, "no JSON"])
def test_without_hashes_the_record_is_neither_read_nor_written(
    run_module: Run, record: Path, hashes: dict[str, str] | None, text: str | None
) -> None:
    if text is not None:
        record.write_text(text)
    before = as_it_is(record)
    given = {name: value for name, value in settle(record, hashes).items() if value is not None}
    assert run_module(MODULE, given)["actions"] == []
    assert as_it_is(record) == before


@pytest.mark.parametrize(
    ("text", "reason"), [("{", "no JSON"), ("", "no JSON"), ("[]", "no mapping"), ('"wacore=h1"', "no mapping")]
)
@pytest.mark.parametrize("check", [False, True])
def test_an_invalid_record_fails_and_is_left_as_it_is(
    run_module: Run, record: Path, check: bool, text: str, reason: str
) -> None:
    record.write_text(text)
    before = as_it_is(record)
    failed = run_module(MODULE, settle(record, {"wacore": "h1"}), check=check)
    assert failed["msg"] == (
        f"record {record}: {reason}; expected the record of which client is on this host. See that the inventory describes the "
        "client that is here; then remove the file: provision.yml writes it again"
    )
    assert as_it_is(record) == before


def test_hashes_need_a_record_to_be_written_into(run_module: Run) -> None:
    failed = run_module(MODULE, {"state": "settled", "hashes": {"wacore": "h1"}})
    assert failed["msg"] == "missing parameter(s) required by 'hashes': identity_file"


def test_only_settle_records_hashes(run_module: Run, record: Path, env: Path) -> None:
    before = record.read_text()
    given = settle(record, {"wacore": "h1"}, state="restored", started_from=[str(env)])
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
