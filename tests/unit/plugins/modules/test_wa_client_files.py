# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_client_files: it keeps a file before it changes it, restores it after a failure, and removes the kept file once the client is healthy."""

from __future__ import annotations

import os
import pwd
import stat
import typing as t
from pathlib import Path

import pytest

MODULE = "wa_client_files"
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


def test_a_file_in_force_is_kept_before_it_changes(run_module: Run, env: Path) -> None:
    before = env.read_text()
    done = run_module(MODULE, {"path": str(env), "content": "A=1\n", "keep": True, "files": [str(env)]})
    assert (done["changed"], done["kept"], done["unproven"]) == (True, True, [str(env)])
    assert (env.read_text(), previous(env).read_text()) == ("A=1\n", before)
    assert stat.S_IMODE(previous(env).stat().st_mode) == 0o600
    assert sorted(os.listdir(env.parent)) == ["db.env", "db.env.previous"]


def test_a_second_change_does_not_overwrite_the_kept_file(run_module: Run, env: Path) -> None:
    before = env.read_text()
    for content, kept in (("A=1\n", True), ("A=2\n", False)):
        assert run_module(MODULE, {"path": str(env), "content": content, "keep": True})["kept"] is kept
    assert previous(env).read_text() == before


def test_without_keep_no_file_is_kept(run_module: Run, env: Path) -> None:
    run_module(MODULE, {"path": str(env), "content": "A=1\n"})
    assert not previous(env).exists()


def test_a_second_run_changes_nothing(run_module: Run, tmp_path: Path) -> None:
    path = tmp_path / "compose.yml"
    for changed in (True, False):
        done = run_module(MODULE, {"path": str(path), "content": "a: 1\n", "keep": True})
        assert (done["changed"], done["kept"]) == (changed, False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o644)
    assert run_module(MODULE, {"path": str(path), "content": "a: 1\n"})["changed"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_check_mode_predicts_and_changes_nothing(run_module: Run, env: Path) -> None:
    before = env.read_text()
    done = run_module(MODULE, {"path": str(env), "content": "A=1\n", "keep": True}, check=True)
    assert (done["changed"], env.read_text(), previous(env).exists()) == (True, before, False)
    previous(env).write_text("B=1\n")
    for operation in ("restore", "settle"):
        run_module(MODULE, {"operation": operation, "files": [str(env)]}, check=True)
    assert (env.read_text(), previous(env).read_text()) == (before, "B=1\n")


ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to somebody else")
@pytest.mark.parametrize("content", ["WA_DB_HOSTNAME=db\nWA_DB_PASSWORD=old\n", "A=1\n"])
def test_owner_is_set_and_reported_as_a_change(run_module: Run, env: Path, content: str) -> None:
    os.chown(env, pwd.getpwnam("daemon").pw_uid, 0)
    given = {"path": str(env), "content": content, "owner": "root"}
    text = f"changed mode or owner: {env} has the owner daemon, expected root"
    actions = [text if content == env.read_text() else f"wrote {env}"]
    assert run_module(MODULE, given, check=True)["actions"] == actions
    assert env.stat().st_uid != 0
    done = run_module(MODULE, given)
    assert (done["changed"], done["actions"]) == (True, actions)
    assert (env.stat().st_uid, stat.S_IMODE(env.stat().st_mode), env.read_text()) == (0, 0o640, content)
    assert run_module(MODULE, given)["changed"] is False


def test_a_corrected_mode_is_reported_with_the_former_mode(run_module: Run, env: Path) -> None:
    env.chmod(0o666)
    given = {"path": str(env), "content": env.read_text(), "mode": "0600", "owner": ME}
    actions = [f"changed mode or owner: {env} has the mode 0666, expected 0600"]
    assert run_module(MODULE, given, check=True)["actions"] == actions
    assert stat.S_IMODE(env.stat().st_mode) == 0o666
    assert run_module(MODULE, given)["actions"] == actions
    assert stat.S_IMODE(env.stat().st_mode) == 0o600


def test_an_unknown_owner_fails_and_leaves_the_file_unchanged(run_module: Run, env: Path) -> None:
    before = env.read_text()
    failed = run_module(MODULE, {"path": str(env), "content": "A=1\n", "owner": "no-such-user"})
    assert failed["msg"] == (
        "option owner: no-such-user does not exist here; expected the name of a user of this host."
    )
    assert (env.read_text(), sorted(os.listdir(env.parent))) == (before, ["db.env"])


def test_restore_puts_the_kept_file_back_and_settle_removes_it(run_module: Run, env: Path) -> None:
    before = env.read_text()
    run_module(MODULE, {"path": str(env), "content": "WA_DB_HOSTNAME=db\nWA_DB_PASSWORD=new\n", "mode": "0640", "keep": True})  # fmt: skip
    done = run_module(MODULE, {"operation": "restore", "files": [str(env)]})
    assert done["restored"] == [{"path": str(env), "env_keys": ["WA_DB_PASSWORD"]}]
    assert (env.read_text(), stat.S_IMODE(env.stat().st_mode)) == (before, 0o640)
    assert done["unproven"] == [str(env)]
    again = run_module(MODULE, {"operation": "restore", "files": [str(env)]})
    assert (again["changed"], again["restored"]) == (False, [])
    settled = run_module(MODULE, {"operation": "settle", "files": [str(env)]})
    assert (settled["changed"], settled["unproven"], previous(env).exists()) == (False, [], False)


def test_a_compose_file_of_another_version_is_not_restored(run_module: Run, tmp_path: Path) -> None:
    path, env = tmp_path / "compose.yml", tmp_path / "db.env"
    for file, content in ((path, COMPOSE.format("reg", "2.53.4")), (env, "A=2\n")):
        file.write_text(content)
        previous(file).write_text(content.replace("2.53.4", "2.51.2").replace("A=2", "A=1"))
    failed = run_module(MODULE, {"operation": "restore", "files": [str(env), str(path)]})
    assert "Nothing was put back" in failed["msg"]
    assert env.read_text() == "A=2\n"
