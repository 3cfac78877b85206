# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_backup: what it reads, parts of a large file, images in a file."""

from __future__ import annotations

import base64
import typing as t
from pathlib import Path

import pytest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.modules import wa_backup

MODULE = "wa_backup"
Run = t.Callable[..., "dict[str, t.Any]"]


def test_nothing_is_changed_by_reading(engine: FakeDocker, run_module: Run, tmp_path: Path) -> None:
    desired = {"project": "", "container_names": [], "env_file": str(tmp_path / "db.env"), "files": [], "salt": "biz"}
    found = run_module(MODULE, {"docker_host": engine.host, "desired": desired})
    assert (found["changed"], found["contents"]["missing"]) == (False, [str(tmp_path / "db.env")])


def test_a_file_is_read_in_parts(run_module: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wa_backup, "PART", 4)
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    parts = [
        run_module(MODULE, {"operation": "part", "paths": [str(path)], "offset": at})["part"] for at in (0, 4, 8, 12)
    ]
    assert [base64.b64decode(one) for one in parts] == [b"0123", b"4567", b"89", b""]
    failed = run_module(MODULE, {"operation": "part", "paths": [str(tmp_path / "none")]})
    assert failed["msg"].startswith(
        f"file {tmp_path}/none: cannot be read: No such file or directory; expected what was"
    )


def test_files_are_removed_by_pattern(run_module: Run, tmp_path: Path) -> None:
    for name in ("support.backup-1.tar", "support.backup-2.json", "support-2.51.2-1.json"):
        (tmp_path / name).touch()
    for _run in range(2):
        assert "msg" not in run_module(MODULE, {"operation": "remove", "paths": [f"{tmp_path}/support.backup-*"]})
    assert [one.name for one in tmp_path.iterdir()] == ["support-2.51.2-1.json"]


def test_check_mode_writes_no_images_and_removes_nothing(engine: FakeDocker, run_module: Run, tmp_path: Path) -> None:
    engine.images["r/web:v1"] = {}
    kept = tmp_path / "support.backup-1.tar"
    kept.touch()
    options = {"docker_host": engine.host, "operation": "save_images", "paths": [str(tmp_path / "dumps" / "x.tar")]}
    assert "msg" not in run_module(MODULE, {**options, "images": ["r/web:v1"]}, True)
    assert "msg" not in run_module(MODULE, {"operation": "remove", "paths": [f"{tmp_path}/*"]}, True)
    assert [one.name for one in tmp_path.iterdir() if not one.name.startswith("docker")] == [kept.name]
    for check_mode in (True, False):
        failed = run_module(MODULE, {**options, "images": ["r/web:v1", "r/web:v9"]}, check_mode)
        assert failed["msg"].startswith("docker save of r/web:v9: no such image on this host; expected the client's")
