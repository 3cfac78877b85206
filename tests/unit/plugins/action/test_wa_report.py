# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of wa_report: which files it reads and writes."""

from __future__ import annotations

import json
import stat
import time
import typing as t
from pathlib import Path
from types import SimpleNamespace

import fleets
import pytest
from ansible.plugins.action import ActionBase

from ansible_collections.waba.onprem.plugins.action import wa_report

Run = t.Callable[..., "dict[str, t.Any]"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the plugin on a folder."""
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    monkeypatch.setattr(ActionBase, "validate_argument_spec", lambda self, _spec: (None, self._task.args))

    def call(check: bool = False) -> dict[str, t.Any]:
        plugin = object.__new__(wa_report.ActionModule)
        plugin._task = SimpleNamespace(args={"path": str(tmp_path)}, check_mode=check)
        return plugin.run(None, {})

    return call


def write(folder: Path, name: str, report: fleets.Report) -> None:
    (folder / name).write_text(json.dumps(report), encoding="utf-8")


def test_writes_page_and_metrics_from_all_that_is_there(run: Run, tmp_path: Path) -> None:
    now = time.time()
    for back in (2, 1, 0):
        one = fleets.fleet([fleets.deployment("a", rows=(3 - back) * 1000)], now - back * 3600)
        write(tmp_path, f"fleet-2026010{9 - back}T000000Z.json", one)
    write(tmp_path, "fleet.json", one)
    (tmp_path / "fleet-20260101T000000Z.json").write_text("{")
    (tmp_path / "fleet-20260102T000000Z.json").write_text("[]")
    line = {"time": fleets.stamp(now), "playbook": "waba.onprem.gc", "user": "ops", "changed": ["a"]}
    (tmp_path / "runs.jsonl").write_text(f"{json.dumps(line)}\nno line\n[]\n{json.dumps(line)[:20]}")
    assert run() == {"changed": False, "files": [f"{tmp_path}/fleet.html", f"{tmp_path}/metrics.prom"]}
    page = (tmp_path / "fleet.html").read_text(encoding="utf-8")
    assert "Rows of messages: from 1 k to 3 k in 2 hours" in page
    assert page.count("<b>gc</b> by ops: changed") == 1
    assert '<p id="old" role="status" hidden>' in page
    assert (
        'wa_deployment_messages{deployment="a",database="waMessageStore"} 3000\n'
        in (tmp_path / "metrics.prom").read_text()
    )
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir() if path.suffix in (".html", ".prom")
    }
    assert modes == {"fleet.html": 0o644, "metrics.prom": 0o644}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_check_mode_writes_nothing(run: Run, tmp_path: Path) -> None:
    write(tmp_path, "fleet.json", fleets.mixed(3))
    assert run(check=True)["files"] == [f"{tmp_path}/fleet.html", f"{tmp_path}/metrics.prom"]
    assert [path.name for path in tmp_path.iterdir()] == ["fleet.json"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory; expected the report of the fleet. Run status.yml with wa_report_dir first."),
        ("{", "expected what status.yml has written. Run it again."),
        ("[]", "format None; expected format 1. Run status.yml of this version of the collection."),
        ('{"format": 2}', "format 2; expected format 1. Run status.yml of this version of the collection."),
    ],
)
def test_what_is_no_report_is_refused(run: Run, tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "fleet.json").write_text(content)
    result = run()
    assert result["failed"]
    assert result["msg"].startswith(f"{tmp_path}/fleet.json: ")
    assert result["msg"].endswith(said)
    assert not (tmp_path / "fleet.html").exists()


def test_a_file_that_cannot_be_written_is_named(run: Run, tmp_path: Path) -> None:
    write(tmp_path, "fleet.json", fleets.mixed(3))
    (tmp_path / "metrics.prom").mkdir()
    result = run()
    assert (result["failed"], result["msg"]) == (
        True,
        f"{tmp_path}/metrics.prom: Is a directory; expected a folder that this user may write.",
    )
