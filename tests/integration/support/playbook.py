# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs modules and plays with `ansible-playbook` on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
import uuid
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Play:
    """The outcome of a play: the results in the order of the tasks, and the output."""

    results: list[dict[str, t.Any]]
    stdout: str
    stderr: str
    rc: int


class Ansible:
    """Runs modules and plays on this machine with `ansible-playbook`, as an operator does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def play(
        self,
        tasks: t.Sequence[dict[str, t.Any]],
        check: bool = False,
        variables: t.Mapping[str, t.Any] | None = None,
        environment: t.Mapping[str, str] | None = None,
        arguments: t.Sequence[str] = (),
    ) -> Play:
        """Run tasks on localhost and return the results of those that ran."""
        playbook = self.folder / f"play-{uuid.uuid4().hex}.yml"
        play = {
            "hosts": "all",
            "gather_facts": False,
            "vars": dict(variables or {}, ansible_python_interpreter=sys.executable),
            "tasks": list(tasks),
        }
        playbook.write_text(json.dumps([play]))  # JSON is YAML
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local", "--diff"]
        command += ["--check"] if check else []
        done = subprocess.run(
            [*command, *arguments, str(playbook)],
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
                "ANSIBLE_LOCALHOST_WARNING": "0",
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_FORCE_COLOR": "0",
                **(environment or {}),
            },
        )
        text = done.stdout[done.stdout.find("{") :]
        try:
            tasks_run = [task for one in json.loads(text)["plays"] for task in one["tasks"]]
        except ValueError:
            raise AssertionError(f"ansible-playbook: {done.stdout}\n{done.stderr}") from None
        results = [result for task in tasks_run for result in task["hosts"].values()]
        return Play(results, done.stdout, done.stderr, done.returncode)

    def module(self, name: str, options: t.Mapping[str, t.Any], check: bool = False) -> dict[str, t.Any]:
        """The result of one module call, with `failed` if it failed."""
        return self.play([{f"waba.onprem.{name}": dict(options)}], check).results[0]

    def converge(self, name: str, options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Check, run, run, check. The first two results are equal, the last two are unchanged. Returns the result of the first run."""
        tasks = [{f"waba.onprem.{name}": dict(options), "check_mode": check} for check in (True, False, False, True)]
        play = self.play(tasks)  # each task is its own process, and the play ends at the first failure
        failed = [result for result in play.results if result.get("failed")]
        assert failed == []
        predicted, done, *again = play.results
        assert done["changed"], "the first run changed nothing"
        for key in ("changed", "actions", "diff"):
            assert predicted.get(key) == done.get(key), f"check mode predicted another {key}"
        assert [result["changed"] for result in again] == [False, False], again
        return done
