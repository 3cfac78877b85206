# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs plays with `ansible-playbook`, and single modules, on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
import uuid
from dataclasses import dataclass
from pathlib import Path


def start(*arguments: str, environment: t.Mapping[str, str] | None = None, **options: t.Any) -> subprocess.Popen[str]:
    """Begin `ansible-playbook`, whose standard output is JSON."""
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("ansible-playbook")), "--diff", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORCE_COLOR": "0",
            **(environment or {}),
        },
        **options,
    )


@dataclass
class Play:
    """The outcome of a play: the results in the order of the tasks, and the output."""

    results: list[dict[str, t.Any]]
    stdout: str
    stderr: str
    rc: int
    tasks: list[dict[str, t.Any]]

    @classmethod
    def end(cls, process: subprocess.Popen[str]) -> Play:
        """Wait for the end of what was started."""
        stdout, stderr = process.communicate()
        try:
            tasks = [task for one in json.loads(stdout[stdout.find("{") :])["plays"] for task in one["tasks"]]
        except ValueError:
            raise AssertionError(f"ansible-playbook: {stdout}\n{stderr}") from None
        results = [result for task in tasks for result in task["hosts"].values()]
        return cls(results, stdout, stderr, process.returncode, tasks)


class Ansible:
    """Runs modules and plays on this machine with `ansible-playbook`, as an operator does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(
        self,
        tasks: t.Sequence[dict[str, t.Any]],
        check: bool = False,
        variables: t.Mapping[str, t.Any] | None = None,
        arguments: t.Sequence[str] = (),
        **options: t.Any,
    ) -> subprocess.Popen[str]:
        """Start a run of tasks on localhost."""
        playbook = self.folder / f"play-{uuid.uuid4().hex}.yml"
        play = {
            "hosts": "all",
            "gather_facts": False,
            "vars": dict(variables or {}, ansible_python_interpreter=sys.executable),
            "tasks": list(tasks),
        }
        playbook.write_text(json.dumps([play]))  # JSON is YAML
        words = ["-i", "localhost,", "-c", "local", *(["--check"] if check else []), *arguments, str(playbook)]
        return start(*words, **options)

    def play(self, tasks: t.Sequence[dict[str, t.Any]], check: bool = False, **options: t.Any) -> Play:
        """Run tasks against localhost. Results are those of the tasks that ran on it."""
        return Play.end(self.start(tasks, check, **options))

    def module(self, name: str, options: t.Mapping[str, t.Any], check: bool = False) -> dict[str, t.Any]:
        """The result of one module call, with `failed` if it failed.

        The module's program with its arguments on standard input: a controller takes six times the CPU time.
        """
        arguments = {"ANSIBLE_MODULE_ARGS": {**options, "_ansible_check_mode": check, "_ansible_diff": True}}
        done = subprocess.run(
            [sys.executable, "-m", f"ansible_collections.waba.onprem.plugins.modules.{name}"],
            input=json.dumps(arguments),
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]},
            check=False,
        )
        try:
            found: dict[str, t.Any] = json.loads(done.stdout)
        except ValueError:
            raise AssertionError(f"{name}: {done.stdout}\n{done.stderr}") from None
        if "warnings" in found:  # of which a controller returns the texts
            found["warnings"] = [one["event"]["msg"] for one in found["warnings"]]
        return found

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
