# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-runner runs every playbook from a private data folder, without a home and a terminal; nothing that it leaves holds a secret."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from observer import Lab  # noqa: E402 - needs the path above

NAME = os.environ.get("WA_RUNNER_LAB", "deep-runner")
FOLDER = ROOT / ".lab" / NAME
# What a playbook needs beside the inventory; provision.yml comes first, and what follows runs on its client.
OPTIONS: dict[str, tuple[dict[str, t.Any], list[str]]] = {
    "provision": ({}, []),
    "adopt": (
        {"wa_adopt_dir": str(FOLDER / "private" / "adopted")},
        ["--vault-password-file", str(FOLDER / "vault-password")],
    ),
    "retire": ({"wa_retire": "h1"}, ["--check"]),
    "status": ({"wa_report_dir": str(FOLDER / "reports")}, []),
}
NO_HOME = "/proc/none"  # nobody can make it
OTHERS = sorted({path.stem for path in ROOT.glob("playbooks/*.yml")} - {"provision", "restore"})


class Runner:
    """A private data folder with the lab's inventory."""

    def __init__(self) -> None:
        self.folder, self._runs = FOLDER / "private", 0
        (self.folder / "env").mkdir(parents=True)
        (self.folder / "project").mkdir()
        (self.folder / "inventory").mkdir()
        shutil.copy(FOLDER / "inventory.yml", self.folder / "inventory")
        shutil.copytree(FOLDER / "group_vars", self.folder / "inventory" / "group_vars")
        # As in docs/guides/controllers.md: without a home the folders of Ansible are named.
        home = FOLDER / "home"
        folders = {"ANSIBLE_HOME": str(home), "ANSIBLE_SSH_CONTROL_PATH_DIR": str(home / "cp")}
        (self.folder / "env" / "envvars").write_text(json.dumps(folders))
        (FOLDER / "vault-password").write_text("of-no-use-elsewhere")

    def run(self, playbook: str, *options: str) -> tuple[int, str, dict[str, t.Any]]:
        """The exit code of a playbook, its output, and its play recap."""
        variables, more = OPTIONS.get(playbook, ({}, []))
        self._runs += 1
        ident = f"{playbook}-{self._runs}"
        done = subprocess.run(
            [
                *("ansible-runner", "run", str(self.folder), "-p", f"waba.onprem.{playbook}", "--ident", ident),
                *("--cmdline", shlex.join(["-e", json.dumps(variables), *more, *options])),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
            env={**{name: os.environ[name] for name in ("PATH", "ANSIBLE_COLLECTIONS_PATH")}, "HOME": NO_HOME},
        )
        events = [
            json.loads(path.read_text()) for path in (self.folder / "artifacts" / ident).glob("job_events/*.json")
        ]
        recaps = [one["event_data"] for one in events if one["event"] == "playbook_on_stats"]
        return done.returncode, done.stdout + done.stderr, recaps[0] if recaps else {}


@pytest.fixture(scope="module")
def runner() -> t.Iterator[Runner]:
    lab = Lab(NAME, "h1")
    lab.lab("up", "--hosts", "h1:ready")
    try:
        made = Runner()
        code, output, _stats = made.run("provision")
        assert code == 0, output
        yield made
    finally:
        lab.lab("down")


def test_a_second_run_and_check_mode_change_nothing(runner: Runner) -> None:
    for options in ((), ("--check", "--diff")):
        code, output, stats = runner.run("provision", *options)
        assert (code, stats["changed"], stats["failures"]) == (0, {}, {}), output


@pytest.mark.parametrize("playbook", OTHERS)
def test_every_playbook_runs(runner: Runner, playbook: str) -> None:
    code, output, stats = runner.run(playbook)
    assert (code, stats["failures"], stats["dark"]) == (0, {}, {}), output
    assert "[WARNING]" not in output


def test_a_refusal_is_in_the_output_and_in_the_exit_code(runner: Runner) -> None:
    """Without an unfinished upgrade nothing is to be restored."""
    code, output, _stats = runner.run("restore", "--check")
    assert code == 2
    assert "Nothing was touched." in output


@pytest.mark.parametrize("playbook", ["provision", *OTHERS])
def test_a_lost_host_has_an_exit_code_of_its_own(runner: Runner, playbook: str) -> None:
    code, output, _stats = runner.run(playbook, "-e", "ansible_port=9", "-v")
    assert code == 4, output


def test_no_secret_is_left(runner: Runner) -> None:
    """In events, facts and output; the inventory is where secrets belong."""
    secrets = json.loads((FOLDER / "secrets.json").read_text()).values()
    files = [path for path in (runner.folder / "artifacts").rglob("*") if path.is_file()]
    assert len(files) > 100
    assert [str(path) for path in files for secret in secrets if secret in path.read_text(errors="replace")] == []


def test_what_has_no_home_leaves_nothing_beside_its_folders(runner: Runner) -> None:
    assert not Path(NO_HOME).exists()
    assert {path.name for path in runner.folder.iterdir()} <= {"adopted", "artifacts", "env", "inventory", "project"}
