# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of reports: complete files, at most so many of them, for their owner only; the command that is told of changes."""

from __future__ import annotations

import json
import stat
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.plugin_utils import _reports as reports


def fleet(minute: int) -> dict[str, t.Any]:
    return {"time": f"2026-12-01T07:{minute:02}:00Z", "deployments": [], "counts": {}}


def test_the_newest_report_has_two_names_and_old_ones_go(tmp_path: Path) -> None:
    folder = reports.Folder(str(tmp_path / "a" / "b"))
    for minute in (3, 1, 2):
        newest = folder.write(fleet(minute), 2)
    assert newest == tmp_path / "a" / "b" / "fleet.json"
    assert json.loads(newest.read_text()) == fleet(2)
    names = ["fleet-20261201T070200Z.json", "fleet-20261201T070300Z.json", "fleet.json"]
    assert sorted(path.name for path in newest.parent.iterdir()) == names
    assert {stat.S_IMODE(path.stat().st_mode) for path in newest.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(newest.parent.stat().st_mode) == 0o700


def test_other_files_in_the_folder_stay(tmp_path: Path) -> None:
    for name in ("fleet-mine.json", "fleet.html", "runs.jsonl"):
        (tmp_path / name).write_text("x")
    folder = reports.Folder(str(tmp_path))
    folder.write(fleet(1), 1)
    folder.write(fleet(2), 1)
    names = ["fleet-20261201T070200Z.json", "fleet-mine.json", "fleet.html", "fleet.json", "runs.jsonl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WaError, match=r"wa_report_dir .*/file/a: Not a directory\. Set it to a folder"):
        reports.Folder(str(tmp_path / "file" / "a"))


def test_what_was_notified_is_remembered(tmp_path: Path) -> None:
    folder = reports.Folder(str(tmp_path))
    assert folder.notified() == {}
    folder.note({"a": "drifted"})
    assert reports.Folder(str(tmp_path)).notified() == {"a": "drifted"}
    (tmp_path / "notified.json").write_text("[")
    assert folder.notified() == {}


def test_the_command_gets_json_on_its_standard_input(tmp_path: Path) -> None:
    assert reports.notify(f"cat >{tmp_path}/got", {"a": "<b>"}) == ""
    assert json.loads((tmp_path / "got").read_text()) == {"a": "<b>"}


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("exit 3", "exit status 3"),
        ("echo no route >&2; exit 7", "exit status 7: no route"),
        ("echo https://u:Canary-1-Pw@h/ >&2; exit 1", "exit status 1: https://u:<hidden>@h/"),
        ("sleep 60 & wait", "it had not ended after 0 s"),
    ],
)
def test_a_command_that_fails_is_named_without_its_secrets(
    monkeypatch: pytest.MonkeyPatch, command: str, problem: str
) -> None:
    monkeypatch.setattr(reports, "_LIMIT", 0.4 if "sleep" in command else 20)
    assert reports.notify(command, {}) == problem
