# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares tasks: one ansible-playbook on this machine runs all of them alternately, and Ansible itself times each task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from datetime import datetime
from pathlib import Path

from compare import Side

Task = t.Mapping[str, t.Any]


def measure_tasks(sides: t.Mapping[str, Task], folder: Path, rounds: int = 20) -> list[Side]:
    """Run each of the tasks once unmeasured, then `rounds` times in turn, the order reversed every round.

    A task is a module's name with its options. It takes from its start to its result, so without the start of
    ansible-playbook; that is what one more task costs whoever runs a playbook. A task that fails, or that changes
    anything once it is measured, is an error.
    """
    tasks = []
    for number in range(rounds + 1):
        order = list(sides) if number % 2 else list(sides)[::-1]
        tasks += [{"name": name, **sides[name]} for name in order]
    playbook = folder / "play.yml"
    variables = {"ansible_python_interpreter": sys.executable}
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "vars": variables, "tasks": tasks}]))
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local"]
    environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_LOCALHOST_WARNING": "0"}
    done = subprocess.run([*command, str(playbook)], capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"ansible-playbook: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    rows = json.loads(done.stdout[done.stdout.index("{") :])["plays"][0]["tasks"]
    measured = {name: Side(name) for name in sides}
    for row in rows[len(sides) :]:
        if row["hosts"]["localhost"]["changed"]:
            raise RuntimeError(f"{row['task']['name']}: changed something while it was measured")
        begin, end = (datetime.fromisoformat(row["task"]["duration"][key].rstrip("Z")) for key in ("start", "end"))
        measured[row["task"]["name"]].wall.append((end - begin).total_seconds())
    return list(measured.values())
