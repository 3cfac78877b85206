# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role wa_report in a play: check mode writes nothing, a run writes page and metrics, and does so on the controller for any host."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import fleets
import yaml


def play(folder: Path, *options: str) -> tuple[int, str]:
    """The exit code and the output of a play with the role, for a host that nobody could reach."""
    book = folder / "play.yml"
    content = {"hosts": "all", "gather_facts": False, "become": True, "roles": ["waba.onprem.wa_report"]}
    book.write_text(yaml.safe_dump([content]))
    argv = ["ansible-playbook", "-i", "nowhere.invalid,", str(book), *options]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_role_writes_page_and_metrics(tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    reports.mkdir()
    (reports / "fleet.json").write_text(json.dumps(fleets.mixed(3)))
    variable = f"wa_report_dir={reports}"
    for options, files in (
        (["--check"], {"fleet.json"}),
        ([], {"fleet.json", "fleet.html", "metrics.prom"}),
    ):
        code, output = play(tmp_path, "-e", variable, *options)
        assert (code, "changed=0" in output, "WARNING" in output) == (0, True, False), output
        assert {path.name for path in reports.iterdir()} == files
    assert "3 of 3 deployments need action" in (reports / "fleet.html").read_text()


def test_the_role_refuses_to_run_without_its_folder_or_a_report(tmp_path: Path) -> None:
    code, output = play(tmp_path)
    assert code == 2
    assert "missing required arguments: wa_report_dir" in output
    code, output = play(tmp_path, "-e", f"wa_report_dir={tmp_path}/none")
    assert code == 2
    assert "Run status.yml with wa_report_dir first" in output
