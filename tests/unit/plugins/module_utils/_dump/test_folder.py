# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of dumps: a probe that leaves nothing, and only older dumps of the same deployment are removed."""

from __future__ import annotations

import fcntl
import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._dump import folder, manifest


@pytest.mark.parametrize("deep", ["", "not/yet"])
def test_a_probe_leaves_nothing(tmp_path: Path, deep: str) -> None:
    before = tmp_path.stat().st_mtime_ns
    with folder.draft(str(tmp_path / deep)) as draft:
        draft.write(b"sample")
        assert os.fstat(draft.fileno()).st_size == 6
        assert list(tmp_path.iterdir()) == []
    assert (list(tmp_path.iterdir()), tmp_path.stat().st_mtime_ns) == ([], before)


def test_a_folder_that_cannot_be_written_is_found_by_writing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place, reason in ((tmp_path / "file", "Not a directory"), (Path("/proc/dumps"), "No such file or directory")):
        with (
            pytest.raises(WaError, match=rf"dest .*: no file can be written in .*: {reason}"),
            folder.draft(str(place)),
        ):
            pass


class Copies:
    """Dumps in a folder, with their manifests, the later the newer."""

    def __init__(self, path: Path) -> None:
        self.path, self.made = path, 0

    def add(self, name: str, deployment: str = "eu", complete: bool = True) -> str:
        self.made += 1
        found: dict[str, t.Any] = {kind: of() for kind, of in manifest._KEYS.items()}
        found.update(format=manifest.FORMAT, file=f"{name}.sql.gz", bytes=4, facts={"deployment": deployment})
        found.update(sections=[["wa1", "tables"]], databases={"wa1": {}})
        if complete:
            (self.path / f"{name}.sql.gz").write_text("dump")
        path = self.path / f"{name}.json"
        path.write_text(json.dumps(found))
        os.utime(path, (self.made, self.made))
        return str(path)

    def names(self) -> list[str]:
        return sorted(one.name for one in self.path.iterdir())


@pytest.fixture
def copies(tmp_path: Path) -> Copies:
    return Copies(tmp_path)


def test_older_dumps_of_the_deployment_are_surplus(copies: Copies) -> None:
    oldest, older, newer = (copies.add(name) for name in ("z", "a", "m"))
    others = copies.add("us", "us"), copies.add("none", "")
    copies.add("cut-off", complete=False)
    (copies.path / "settings.json").write_text("{}")
    (copies.path / "list.json").write_text("[]")
    (copies.path / "theirs.sql.gz").touch()
    place = str(copies.path)
    assert folder.surplus(place, "eu", 1, []) == [older, oldest]
    assert folder.surplus(place, "eu", 2, []) == [oldest]
    assert folder.surplus(place, "eu", 3, []) == folder.surplus(place, "asia", 1, []) == []
    assert folder.surplus(place, "eu", 1, [older]) == [oldest]
    assert {newer, *others}.isdisjoint(folder.surplus(place, "eu", 1, []))


def test_a_dump_that_a_restore_reads_is_not_surplus(copies: Copies) -> None:
    old = copies.add("old")
    copies.add("new")
    with (copies.path / "old.sql.gz").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert folder.surplus(str(copies.path), "eu", 1, []) == []
    assert folder.surplus(str(copies.path), "eu", 1, []) == [old]


def test_a_dump_is_removed_with_what_belongs_to_it(copies: Copies) -> None:
    path = copies.add("old")
    copies.add("old2")
    (copies.path / "old.drill.json").write_text("{}")
    folder.remove(path)
    assert copies.names() == ["old2.json", "old2.sql.gz"]
    folder.remove(path)
