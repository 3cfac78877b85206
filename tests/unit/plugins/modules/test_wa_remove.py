# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_remove with real files: a folder is refused, and check mode predicts what the run does."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from fake_docker import FakeDocker

Run = t.Callable[..., "dict[str, t.Any]"]


@pytest.fixture
def run(run_module: t.Callable[..., dict[str, t.Any]]) -> Run:
    def call(**options: t.Any) -> dict[str, t.Any]:
        """Run in check mode, run, compare both results, run again."""
        options = {name: [str(path) for path in paths] for name, paths in options.items()}
        predicted = run_module("wa_remove", options, True)
        done = run_module("wa_remove", options)
        keys = ("changed", "actions", "diff", "msg")
        assert [predicted.get(key) for key in keys] == [done.get(key) for key in keys]
        again = run_module("wa_remove", options)
        assert not again["changed"]
        return done

    return call


def test_files_and_links_are_removed(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "wa"
    folder.mkdir()
    (folder / "compose.yml").touch()
    (folder / "link").symlink_to(tmp_path)
    done = run(files=[folder / "compose.yml", folder / "link", folder / "nothing"])
    assert done["actions"] == [f"remove {folder}/compose.yml", f"remove {folder}/link"]
    assert [*tmp_path.rglob("*")] == [folder]


def test_a_folder_given_as_a_file_fails_and_removes_nothing(
    run_module: t.Callable[..., dict[str, t.Any]], tmp_path: Path
) -> None:
    (tmp_path / "compose.yml" / "data").mkdir(parents=True)
    (tmp_path / "db.env").touch()
    for check in (True, False):
        options = {"files": [str(tmp_path / "db.env"), str(tmp_path / "compose.yml")]}
        failed = run_module("wa_remove", options, check)
        assert failed["msg"].startswith(f"{tmp_path}/compose.yml: a folder; expected a file. Nothing was removed.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compose.yml", "db.env"]


def test_an_asterisk_matches_names_in_one_folder(run: Run, tmp_path: Path) -> None:
    for name in ("secret-old.env", "secret.env", "db.env"):
        (tmp_path / name).touch()
    done = run(files=[tmp_path / "secret-*.env"])
    assert done["actions"] == [f"remove {tmp_path}/secret-old.env"]
    assert not run(files=[tmp_path / "none" / "secret-*.env"])["changed"]


def test_brackets_in_a_name_match_literally(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "a[b]"
    folder.mkdir()
    (folder / "x[1].env").touch()
    (folder / "x1.env").touch()
    assert run(files=[folder / "x[1]*.env"])["actions"] == [f"remove {folder}/x[1].env"]


def test_stopped_containers_are_removed(engine: FakeDocker, run_module: t.Callable[..., dict[str, t.Any]]) -> None:
    engine.container("wa-dbupgrade-1", state="exited")
    options = {"containers": ["wa-dbupgrade-1", "none"], "docker_host": engine.host}
    assert run_module("wa_remove", options, True)["actions"] == ["remove wa-dbupgrade-1"]
    assert run_module("wa_remove", options)["changed"]
    assert not run_module("wa_remove", options)["changed"]


def test_a_migration_that_somebody_has_started_again_is_named_with_the_cure(
    engine: FakeDocker, run_module: t.Callable[..., dict[str, t.Any]]
) -> None:
    one = engine.container("wa-dbupgrade-1", state="running")
    options = {"containers": ["wa-dbupgrade-1"], "docker_host": engine.host}
    assert run_module("wa_remove", options)["msg"] == (
        "container wa-dbupgrade-1: running: somebody has started it again; expected one that has ended. "
        "Wait for its end (docker wait wa-dbupgrade-1), then run again"
    )
    one["State"] = "exited"
    assert run_module("wa_remove", options)["actions"] == ["remove wa-dbupgrade-1"]
