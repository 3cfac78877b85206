# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab host looked at with other means than the collection's, down to ids, start times, modes and contents of files."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

import commands
from engine import lab_engine

ROOT = Path(__file__).resolve().parents[2]

DATABASES = {"postgres": "SELECT datname FROM pg_database"}  # of the others SHOW DATABASES
# What a run could change in the host's files, a line each; without what changes by itself, or when a lock is taken.
FILES = r"""
find /opt /srv /etc/cron.d /var/lib/waba /usr/local/sbin /usr/local/bin \
    '(' -type d -printf 'path %p %y %m %u:%g\n' ')' -o -printf 'path %p %y %m %u:%g %T@\n' 2>/dev/null | sort
find /opt /srv /etc/cron.d -type f -exec sha256sum {} + 2>/dev/null | sort
"""


@dataclass
class Run:
    """A playbook's end: its exit code, what its failed tasks said, all that it printed, how many tasks changed something."""

    code: int
    said: str
    output: str
    changed: int


class Lab:
    """The lab's host, looked at with other means than the collection's."""

    def __init__(self, name: str, at: str) -> None:
        self.name, self.at = name, at
        self.inventory = str(ROOT / ".lab" / name / "inventory.yml")

    def lab(self, *words: str) -> str:
        return commands.run(ROOT / "tests/lab/lab", words[0], "--name", self.name, *words[1:])

    def host(self, script: str, check: bool = True) -> str:
        return commands.docker(
            "exec", "--interactive", f"walab-{self.name}-{self.at}", "sh", "-s", stdin=script, check=check
        )

    def files(self) -> list[str]:
        """The host's files that a run could change, a line each."""
        return self.host(FILES).splitlines()

    def look(self) -> list[str]:
        """Everything that a run could change, a line each."""
        state = json.loads((ROOT / ".lab" / self.name / "state.json").read_text(encoding="utf-8"))
        databases = [
            f"database {name}"
            for engine in state["options"]["engines"]
            for name in sorted(
                self.lab("sql", "--db", engine, DATABASES.get(engine.partition("-")[0], "SHOW DATABASES")).split()
            )
        ]
        with lab_engine(self.name, self.at) as engine:
            objects = engine.look()
        return [*objects, *self.files(), *databases]

    def wait_healthy(self) -> None:
        """Wait until the client is healthy: after an outage of its database it becomes so by itself, in its own time."""
        options = {
            "api_url": "https://127.0.0.1:9090",
            "api_username": "{{ wa_api_username }}",
            "api_password": "{{ wa_api_password }}",
            "api_validate_certs": False,
        }
        commands.run("ansible", "-i", self.inventory, self.at, "-m", "waba.onprem.wa_webapp", "-a", json.dumps(options))

    def play(self, playbook: str, variables: t.Mapping[str, t.Any], *arguments: str) -> Run:
        argv = ["ansible-playbook", "-i", self.inventory, f"waba.onprem.{playbook}", "--diff", *arguments]
        done = subprocess.run(
            [*argv, "-e", json.dumps(dict(variables))],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_NOCOLOR": "1"},
        )
        output = done.stdout + done.stderr
        try:
            told = json.loads(done.stdout[done.stdout.index("{\n") :])
        except ValueError:
            raise SystemExit(f"ansible-playbook {playbook} ended with {done.returncode}:\n{output}") from None
        results = [result for play in told["plays"] for task in play["tasks"] for result in task["hosts"].values()]
        said = [str(one.get("msg", "")) for one in results if one.get("failed")]
        changed = sum(host["changed"] for host in told["stats"].values())
        return Run(done.returncode, said[-1] if said else "", output, changed)


def expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise SystemExit(f"{what}: found {found!r}, expected {expected!r}")
    print(f"  {what}: as expected", flush=True)


def changes(before: t.Sequence[str], after: t.Sequence[str]) -> list[str]:
    """What differs between two looks."""
    return [f"- {line}" for line in before if line not in after] + [f"+ {line}" for line in after if line not in before]


def lasting(look: t.Iterable[str]) -> list[str]:
    """Of a look what stays when containers are recreated and files are put back: no id, no time."""
    kept = []
    for line in look:
        kind, *words = line.split()
        if kind == "container":
            words = [words[0], words[2], words[3], words[5]]
        elif kind == "path":
            words = words[:4]
        kept.append(" ".join((kind, *words)))
    return kept


def compare_table(name: str, rows: list[dict[str, str]], record: bool) -> None:
    """Compare the rows that cases have seen with those that docs/faults.md is written from, or `record` them there.

    That each case has its row, and each row a case, is a unit test's.
    """
    path = ROOT / "tests" / "faults" / f"{name}.json"
    known = {row["fault"]: row for row in json.loads(path.read_text(encoding="utf-8"))}
    if record:
        kept = list({**known, **{row["fault"]: row for row in rows}}.values())
        path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        return
    for row in rows:
        expect(f"table of faults, {row['fault']}", row, known.get(row["fault"]))
