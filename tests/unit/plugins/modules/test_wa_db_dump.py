# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_db_dump with a script as the dump tool and a scripted database: check, run, run again, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import stat
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from scripted_database import PASSWORD, Refusal, ScriptedDatabase

from ansible_collections.waba.onprem.plugins.module_utils._database import connection, ownership
from ansible_collections.waba.onprem.plugins.module_utils._dump import rehearsal

MODULE = "wa_db_dump"
ENV = f"WA_DB_ENGINE=MYSQL\nWA_DB_HOSTNAME=db.lab\nWA_DB_PORT=3306\nWA_DB_USERNAME=wa\nWA_DB_PASSWORD={PASSWORD}\nWA_DB_NAME_PREFIX=wa1\n"
VERSION = "mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)"
# It reads the password from its options file, as the real tool does.
TOOL = f"""#!/bin/sh
case $1 in --version) echo '{VERSION}'; exit;; esac
grep -q 'password="{PASSWORD}"' "${{1#--defaults-file=}}" || exit 9
shift
if [ -e "$0.fails" ]; then echo "$0: no right" >&2; exit 2; fi
echo "data by $*"
case $* in *--no-data*) ;; *) echo 'INSERT INTO `messages` VALUES (1),(2),(3);';; esac
echo '-- Dump completed'
"""
Run = t.Callable[..., "dict[str, t.Any]"]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only dump tool of this host. It fails if a file `mysqldump.fails` exists beside it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "grep").symlink_to(str(shutil.which("grep")))
    made = folder / "mysqldump"
    made.write_text(TOOL)
    made.chmod(0o755)
    (folder / "mysql").write_text(f"#!/bin/sh\necho '{VERSION.replace('mysqldump', 'mysql')}'\n")
    (folder / "mysql").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return made


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> ScriptedDatabase:
    found = ScriptedDatabase("MYSQL")
    monkeypatch.setattr(connection, "connect", found.connect)
    monkeypatch.setattr(
        ownership, "find_all", lambda _session, _prefix, wanted: (wanted or ["wa1message", "wa1config"], [])
    )
    found.on("table_name, table_type", [("messages", "BASE TABLE")]).on("^SELECT 1 FROM `", [])
    found.on("stats_expiry", None).on("data_length", [("wa1message", "messages", 4096, 512, 3)]).on(
        "engine <> 'InnoDB'", []
    ).on("user_privileges", [])
    found.on("information_schema.(routines|triggers|events)", []).on("^SHOW EVENTS", [])
    found.on("information_schema.views", []).on("table_type <> 'VIEW' ORDER BY 1$", [("messages",)])
    found.on("'SEQUENCE'", []).on("column_type", [("messages", "id", "int", "NO", "")])
    found.on("max_execution_time", [(0,)]).on("referential_constraints", []).on("max_allowed_packet", [(16 << 20,)]).on(
        "wa_check_", Refusal("missing")
    )
    return found.on("^SELECT CURRENT_USER", [("wa@%",)]).on("Ssl_cipher", [("Ssl_cipher", "AES")])


@pytest.fixture
def dump(run_module: Run, server: ScriptedDatabase, tool: Path, tmp_path: Path) -> Run:
    (tmp_path / "db.env").write_text(ENV)

    def call(check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        given = {
            "env_file": str(tmp_path / "db.env"),
            "dest": str(tmp_path / "dumps" / "deep"),
            "name": "before",
            **options,
        }
        result = run_module(MODULE, {key: value for key, value in given.items() if value is not None}, check)
        assert PASSWORD not in json.dumps(result)
        assert server.open == 0
        return result

    return call


def test_a_dump_is_predicted_created_and_then_unchanged(dump: Run, tool: Path, tmp_path: Path) -> None:
    path = tmp_path / "dumps" / "deep" / "before.sql.gz"
    predicted = dump(check=True)
    assert not (tmp_path / "dumps").exists()
    done = dump()
    text = f"{tool} (MySQL 8.0.36)"
    for one in (predicted, done):
        assert one["actions"] == [f"dump wa1message, wa1config with {text} to {path}"]
        assert one["diff"] == {
            "before": {"dump": None},
            "after": {"dump": str(path)},
            "before_header": "database MYSQL at db.lab:3306",
            "after_header": "database MYSQL at db.lab:3306",
        }
        reported = [one[key] for key in ("changed", "dest", "databases", "source_bytes", "tool")]
        assert reported == [True, str(path), ["wa1message", "wa1config"], 4096, text]
    assert [predicted[key] for key in ("bytes", "sha256", "manifest", "seconds")] == [None, None, None, 0.0]
    assert done["bytes"] == path.stat().st_size
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path, path.parent)] == [0o600, 0o700]
    content = gzip.decompress(path.read_bytes()).decode()
    manifest = json.loads(Path(done["manifest"]).read_text())
    mark = f"\n-- waba.onprem {manifest['mark']} "
    parts = [content.partition(mark)[0], *content.split(mark)[1:]]
    names = ["wa1message", "wa1config"]
    assert manifest["sections"] == [[name, part] for name in names for part in ("tables", "routines", "triggers")]
    assert [one.partition("\n")[0] for one in parts] == ["", *map(str, range(6))]
    assert [one.count("-- Dump completed") for one in parts[1:]] == [1] * 6
    assert [one.splitlines()[1].rpartition(" -- ")[2] for one in parts[1:]] == [
        name for name in names for _part in range(3)
    ]
    assert "--no-data --no-create-info" in parts[2]
    assert (list(manifest["databases"]), manifest["prefix"]) == (names, "wa1")
    assert manifest["databases"]["wa1message"]["tables"] == {"messages": 3}
    assert [manifest[key] for key in ("file", "bytes", "sha256", "facts")] == [
        path.name,
        done["bytes"],
        done["sha256"],
        {},
    ]
    assert PASSWORD not in content + str(manifest)
    for check in (True, False):
        again = dump(check=check)
        assert (again["changed"], again["actions"]) == (False, [])
        for key in ("dest", "bytes", "sha256", "databases", "tool", "manifest"):
            assert again[key] == done[key]
    assert sorted(os.listdir(path.parent)) == ["before.json", "before.sql.gz"]


def test_a_preflight_runs_the_tool_and_leaves_nothing(dump: Run, server: ScriptedDatabase, tmp_path: Path) -> None:
    for check in (True, False):
        found = dump(check=check, preflight=True, timeout="1h")
        assert (found["changed"], found["actions"]) == (False, [])
        assert (found["databases"], found["bytes"]) == (["wa1message", "wa1config"], None)
        assert found["estimate"] == {"bytes": 4096, "seconds": 1, "limit": 3600}
        assert sorted(os.listdir(tmp_path)) == ["bin", "db.env"]
    assert dump(check=True)["estimate"] is None


def test_a_preflight_takes_a_sample_of_a_larger_database(
    dump: Run, server: ScriptedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on("data_length", [("wa1message", "messages", 90 << 20, 512, 3), ("wa1config", "keys", 10 << 20, 512, 3)])
    calls: list[list[str]] = []
    took = rehearsal.take_sample

    def take(_subject: str, call: list[str], *more: t.Any) -> rehearsal.Sample:
        calls.append(call)
        return took(_subject, call, *more)

    monkeypatch.setattr(rehearsal, "take_sample", take)
    found = dump(preflight=True)
    assert [call[-2:] for call in calls] == [["wa1message", "messages"]]
    assert found["estimate"]["bytes"] > 0


def test_a_preflight_finds_what_would_fail_in_the_outage(
    dump: Run, server: ScriptedDatabase, tool: Path, tmp_path: Path
) -> None:
    server.on("^CREATE TABLE `wa1message__waba_in`", Refusal("denied"))
    login = {"restore_login_user": "admin", "restore_login_password": "Canary-99"}
    assert "user wa lacks CREATE on wa1message__waba_in; expected the rights" in dump(preflight=True)["msg"]
    assert "user admin lacks CREATE on wa1message__waba_in" in dump(preflight=True, **login)["msg"]
    server.on("wa_check_", Refusal("missing"))
    assert "estimate" in dump(preflight=True, **login)
    Path(f"{tool}.fails").touch()
    assert "dump of wa1message, wa1config: mysqldump ended with 2" in dump(preflight=True)["msg"]
    server.on("data_length", [])
    found = dump(preflight=True, dest="/proc/x")
    assert "dest /proc/x: no file can be written in /proc: No such file or directory" in found["msg"]
    assert sorted(os.listdir(tmp_path)) == ["bin", "db.env"]


def test_an_existing_dump_needs_no_database_connection(dump: Run, server: ScriptedDatabase) -> None:
    assert dump()["changed"]
    server.statements.clear()
    assert not dump()["changed"]
    assert server.statements == []


def test_option_databases_selects_the_databases(dump: Run) -> None:
    assert dump(databases=["other"])["databases"] == ["other"]


def test_no_matching_database_is_a_warning(
    dump: Run, monkeypatch: pytest.MonkeyPatch, warned: list[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(ownership, "find_all", lambda *_arguments: ([], []))
    done = dump()
    assert (done["changed"], done["databases"], done["dest"]) == (False, [], None)
    assert warned == ["database MYSQL at db.lab:3306: no database that begins with 'wa1', so nothing to dump"]
    assert not (tmp_path / "dumps").exists()


def test_the_partial_dump_of_a_killed_run_is_removed(dump: Run, tmp_path: Path) -> None:
    folder = tmp_path / "dumps" / "deep"
    folder.mkdir(parents=True)
    half = folder / "older.sql.gz.waba.part"
    half.touch()
    for check in (True, False):
        assert dump(check=check)["actions"][0] == f"remove the half dump {half}"
        assert half.exists() is check
    assert sorted(os.listdir(folder)) == ["before.json", "before.sql.gz"]


def test_a_table_outside_the_snapshot_is_a_warning(dump: Run, server: ScriptedDatabase, warned: list[str]) -> None:
    server.on("engine <> 'InnoDB'", [("wa1message", "log", "MyISAM")])
    assert dump()["changed"]
    assert warned == [f"wa1{kind}.log is MyISAM: it is not part of the consistent snapshot" for kind in ("message",)]


def test_a_failing_dump_tool_leaves_no_file(dump: Run, tool: Path, tmp_path: Path) -> None:
    Path(f"{tool}.fails").touch()
    failed = dump()
    path = tmp_path / "dumps" / "deep" / "before.sql.gz"
    assert failed["msg"] == f"dump {path}: mysqldump ended with 2: {tool}: no right; expected exit code 0."
    assert list(path.parent.iterdir()) == []


def test_too_little_free_space_fails_before_anything_is_created(
    dump: Run, server: ScriptedDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source does not have to fit where what is estimated does; a preflight asks for half as much again."""
    server.on("data_length", [("wa1message", "messages", 1 << 50, 512, 3)])
    estimated = dump(preflight=True)["estimate"]["bytes"]
    real = os.statvfs(tmp_path)
    folder = tmp_path / "dumps" / "deep"

    def free(size: int) -> None:
        monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_frsize=1, f_bavail=size))

    assert real.f_frsize * real.f_bavail < 1 << 50
    free(estimated - 1)
    for options in ({}, {"preflight": True}):
        done = dump(**options)
        assert done["msg"].startswith(f"dest {folder}: {estimated - 1} B free; expected ")
        assert done["msg"].endswith("Make room, or name another folder")
        assert not (tmp_path / "dumps").exists()
    free(estimated)
    assert "1.5 times what the dump is estimated to have" in dump(preflight=True)["msg"]
    assert dump()["changed"]


def test_a_row_that_the_server_would_not_take_again_is_found(
    dump: Run, server: ScriptedDatabase, tmp_path: Path
) -> None:
    server.on("max_allowed_packet", [(30,)])
    assert dump()["msg"] == (
        "database MYSQL at db.lab:3306: max_allowed_packet is 30; expected more than 42, the bytes of the longest statement of the copy, "
        "without which it cannot be restored. Have the administrator raise it, in the server's configuration, too"
    )
    assert list((tmp_path / "dumps" / "deep").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(
            ({"name": name}, f"option name: {name!r} is no name; expected letters, digits and . _ + -.")
            for name in ("", ".hidden", "a/b", "../x", "a b", "-x", "a\n")
        ),
        ({"env_file": None}, "option env_file: not given; expected the client's db.env."),
        (
            {"env_file": "/nowhere"},
            "env_file /nowhere: not readable: No such file or directory; expected the client's db.env. Set env_file, or let "
            "wa_db_env write it",
        ),
        (
            {"dest": "/proc/x"},
            "dest /proc/x: cannot be made: No such file or directory; expected a folder.",
        ),
        (
            {"dest": "/dev/null/x"},
            "manifest /dev/null/x/before.json: not readable: Not a directory; expected the manifest of "
            "a dump (format 1, .json), which wa_db_dump has written beside it.",
        ),
    ],
)
def test_invalid_options_fail_and_create_nothing(
    dump: Run, server: ScriptedDatabase, tmp_path: Path, options: dict[str, t.Any], message: str
) -> None:
    server.on("data_length", [])
    failed = dump(**options)
    assert failed["failed"]
    assert failed["msg"] == message
    assert sorted(os.listdir(tmp_path)) == ["bin", "db.env"]


def test_a_symbolic_link_of_another_user_is_not_followed(dump: Run, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a link of another user")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "dumps").symlink_to(elsewhere)
    os.lchown(tmp_path / "dumps", 4242, 4242)
    failed = dump()
    assert f"{tmp_path}/dumps is a link of user 4242, who can change it" in failed["msg"]
    assert not [*elsewhere.iterdir()]


def test_a_database_error_is_reported_without_the_password(dump: Run, server: ScriptedDatabase, tmp_path: Path) -> None:
    server.on(r" version\(\)", Refusal("lost", f"gone with {PASSWORD}"))
    failed = dump()
    assert failed["msg"].startswith("database MYSQL at db.lab:3306: gone with <hidden>.")
    assert not (tmp_path / "dumps").exists()


def test_a_file_not_created_by_the_module_is_not_overwritten(dump: Run, tmp_path: Path) -> None:
    folder = tmp_path / "dumps" / "deep"
    folder.mkdir(parents=True)
    path = folder / "before.sql.gz"
    path.write_bytes(gzip.compress(b"theirs\n"))
    assert dump()["msg"] == (
        f"dump {path}: not the one of {folder}/before.json; expected a free name. Move it away, or give another name"
    )
    assert gzip.decompress(path.read_bytes()) == b"theirs\n"


def test_a_copy_that_was_damaged_since_is_not_taken_for_one(dump: Run) -> None:
    """An upgrade that goes on would migrate without a way back."""
    path = Path(dump()["dest"])
    damaged = path.read_bytes()[:-1] + b"x"
    path.write_bytes(damaged)
    assert dump()["msg"].endswith("expected a free name. Move it away, or give another name")
    assert path.read_bytes() == damaged


def test_a_run_that_has_lost_the_lock_dumps_nothing(dump: Run, tmp_path: Path) -> None:
    lock = tmp_path / "h1.lock"
    held = {"format": 2, "deployment": "h1", "user": "eve", "controller": "c2", "hosts": ["h1"]}
    lock.write_text(json.dumps({**held, "run_id": "later", "since": 1.0, "lease_until": 9e9}))
    found = dump(lease_file=str(lock), run_id="slept")
    assert found["failed"]
    assert "lock: taken over by" in found["msg"]
    assert os.listdir(tmp_path / "dumps" / "deep") == []
    assert dump(lease_file=str(lock), run_id="later")["changed"]


@pytest.mark.parametrize("option", ["dest", "name"])
def test_dest_and_name_are_required(dump: Run, option: str) -> None:
    assert dump(**{option: None})["msg"] == f"missing required arguments: {option}"
