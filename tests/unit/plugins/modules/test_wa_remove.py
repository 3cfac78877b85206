# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_remove with real files: a folder that is not empty stays, and check mode predicts what the run does."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

Run = t.Callable[..., "dict[str, t.Any]"]


@pytest.fixture
def run(run_module: t.Callable[..., dict[str, t.Any]]) -> Run:
    def call(**options: t.Any) -> dict[str, t.Any]:
        """Run in check mode, run, compare both results, run again."""
        options = {name: [str(path) for path in paths] for name, paths in options.items()}
        predicted = run_module("wa_remove", options, True)
        done = run_module("wa_remove", options)
        keys = ("changed", "actions", "kept", "diff", "msg")
        assert [predicted.get(key) for key in keys] == [done.get(key) for key in keys]
        again = run_module("wa_remove", options)
        assert not again["changed"]
        assert again["kept"] == done["kept"]
        return done

    return call


def test_files_links_and_empty_folders_are_removed(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "wa"
    folder.mkdir()
    (folder / "compose.yml").touch()
    (folder / "link").symlink_to(tmp_path)
    done = run(files=[folder / "compose.yml", folder / "link", folder / "nothing"], folders=[folder, tmp_path / "none"])
    assert done["actions"] == [
        f"remove {folder}/compose.yml",
        f"remove {folder}/link",
        f"remove the folder {folder}",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("slash", ["", "/", "/.", "//"])
def test_a_folder_that_is_not_empty_is_kept(run: Run, tmp_path: Path, slash: str) -> None:
    folder = tmp_path / "state"
    (folder / "dumps").mkdir(parents=True)
    (folder / "dumps" / "all.sql.gz").write_text("data")
    (folder / ".hidden").touch()
    done = run(folders=[f"{folder}{slash}"])
    assert list(done["kept"].values()) == ["holds .hidden, dumps"]
    assert not done["changed"]
    assert (folder / "dumps" / "all.sql.gz").read_text() == "data"


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


def test_a_link_or_file_given_as_a_folder_is_kept(run: Run, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").touch()
    done = run(folders=[tmp_path / "link", tmp_path / "file", "/proc"])
    assert done["kept"] == {
        f"{tmp_path}/link": "is a link",
        f"{tmp_path}/file": "is no folder",
        "/proc": "is a mount point",
    }


def test_nested_folders_are_removed_innermost_first(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert run(folders=[tmp_path / "a" / "b", tmp_path / "a"])["kept"] == {}


def test_an_asterisk_matches_names_in_one_folder(run: Run, tmp_path: Path) -> None:
    for name in ("secret-waweb.env", "secret-old.env", "secret.env", "db.env"):
        (tmp_path / name).touch()
    done = run(files=[tmp_path / "secret-*.env"], keep=[tmp_path / "secret-waweb.env"])
    assert done["actions"] == [f"remove {tmp_path}/secret-old.env"]
    assert not run(files=[tmp_path / "none" / "secret-*.env"])["changed"]


def test_brackets_in_a_name_match_literally(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "a[b]"
    folder.mkdir()
    (folder / "x[1].env").touch()
    (folder / "x1.env").touch()
    assert run(files=[folder / "x[1]*.env"])["actions"] == [f"remove {folder}/x[1].env"]
