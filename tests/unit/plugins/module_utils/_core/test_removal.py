# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan and removal of files and empty folders. The tests of wa_client run both."""

from __future__ import annotations

import fcntl
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core import removal
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError


def test_a_plan_lists_each_path_once_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.env").touch()
    files = [str(tmp_path / "a.env"), str(tmp_path / "*.env"), str(tmp_path / "none"), str(tmp_path / "a.env" / "x")]
    found = removal.plan(files, [str(tmp_path / "empty")] * 2 + [str(tmp_path / "none")])
    assert found == removal.Plan([str(tmp_path / "a.env")], [str(tmp_path / "empty")], {})
    assert sorted(os.listdir(tmp_path)) == ["a.env", "empty"]


def test_a_file_that_is_not_asked_for_keeps_its_folder(tmp_path: Path) -> None:
    for name in ("a.env", "b.env"):
        (tmp_path / name).touch()
    found = removal.plan([str(tmp_path / "a*.env")], [str(tmp_path)])
    assert found == removal.Plan([str(tmp_path / "a.env")], [], {str(tmp_path): "holds b.env"})
    removal.apply(found)
    assert os.listdir(tmp_path) == ["b.env"]


def test_nested_folders_are_removed_innermost_first(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    found = removal.plan([], [str(tmp_path / "a" / "b"), str(tmp_path / "a")])
    removal.apply(found)
    assert (found.kept, os.listdir(tmp_path)) == ({}, [])


def test_a_locked_lock_file_prevents_the_removal(tmp_path: Path) -> None:
    """If it were removed, a second run would create and lock a new file."""
    (tmp_path / "a.json").touch()
    held = tmp_path / "a.json.lock"
    with held.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(WaError, match=r"a.json.lock: locked by a process"):
            removal.plan([str(tmp_path / "a.json"), str(held)], [])
    assert removal.plan([str(tmp_path / "a.json"), str(held)], []).files == [str(tmp_path / "a.json"), str(held)]


@pytest.mark.parametrize(
    ("count", "reason"), [(1, "holds 0"), (5, "holds 0, 1, 2, 3, 4"), (6, "holds 0, 1, 2, 3, 4 and 1 more")]
)
def test_a_folder_with_many_files_names_a_few(tmp_path: Path, count: int, reason: str) -> None:
    for number in range(count):
        (tmp_path / str(number)).touch()
    assert removal.plan([], [str(tmp_path)]).kept == {str(tmp_path): reason}


def test_an_asterisk_matches_only_in_the_last_part(tmp_path: Path) -> None:
    for folder in ("a", "b", "*"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x?y1.env").touch()
        (tmp_path / folder / "xzy1.env").touch()
    assert removal.plan([str(tmp_path / "*" / "x?y*.env")], []).files == [str(tmp_path / "*" / "x?y1.env")]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.symlink_to("/tmp"), "is a link"),
        (lambda path: path.symlink_to("/nowhere"), "is a link"),
        (lambda path: path.touch(), "is no folder"),
    ],
)
def test_a_link_or_file_given_as_a_folder_is_kept(tmp_path: Path, make: t.Callable[[Path], None], reason: str) -> None:
    make(tmp_path / "thing")
    assert removal.plan([], [str(tmp_path / "thing")]) == removal.Plan([], [], {str(tmp_path / "thing"): reason})


def test_a_mount_point_is_kept() -> None:
    assert removal.plan([], ["/proc"]).kept == {"/proc": "is a mount point"}


def test_a_folder_given_as_a_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WaError) as error:
        removal.plan([str(tmp_path)], [])
    assert str(error.value) == (
        f"{tmp_path}: a folder; expected a file. Nothing was removed. Move the folder away if it is yours"
    )


def test_a_link_to_a_folder_is_removed_without_its_target(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    found = removal.plan([str(tmp_path / "link")], [])
    removal.apply(found)
    assert (found.files, os.listdir(tmp_path)) == ([str(tmp_path / "link")], ["real"])


def test_a_path_removed_since_the_plan_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    found = removal.plan([str(tmp_path / "file")], [str(tmp_path / "folder")])
    (tmp_path / "file").unlink()
    (tmp_path / "folder").rmdir()
    removal.apply(found)
    assert found == removal.Plan([str(tmp_path / "file")], [str(tmp_path / "folder")], {})


def test_a_folder_filled_since_the_plan_is_kept(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    found = removal.plan([], [str(tmp_path / "folder")])
    (tmp_path / "folder" / "data").write_text("media")
    removal.apply(found)
    assert (found.folders, found.kept) == ([], {str(tmp_path / "folder"): "holds data"})
    assert (tmp_path / "folder" / "data").read_text() == "media"


@pytest.mark.parametrize("listed", ["files", "folders"])
def test_a_path_that_cannot_be_removed_is_named(tmp_path: Path, listed: str) -> None:
    thing = tmp_path / "thing"
    thing.mkdir() if listed == "files" else thing.touch()
    with pytest.raises(WaError) as error:
        removal.apply(removal.Plan([str(thing)], []) if listed == "files" else removal.Plan([], [str(thing)]))
    reason = os.strerror(21 if listed == "files" else 20)
    assert str(error.value) == f"{thing}: cannot be removed: {reason}; expected a path that may be removed."
    assert thing.exists()


def test_an_unreadable_path_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / ("n" * 300))
    with pytest.raises(WaError) as error:
        removal.plan([path], [])
    assert str(error.value) == f"{path}: cannot be read: File name too long; expected a path that may be read."
