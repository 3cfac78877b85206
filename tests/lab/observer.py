# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab host observed independently of the collection: ids, start times, modes and contents of files."""

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

DATABASES = {"postgres": "SELECT datname FROM pg_database"}  # the other engines use SHOW DATABASES
# The host's files that a run could change, one line each, without files that change by themselves or with a lock.
FILES = r"""
find /opt /srv /etc/cron.d /var/lib/waba /usr/local/sbin /usr/local/bin \
    '(' -type d -printf 'path %p %y %m %u:%g\n' ')' -o -printf 'path %p %y %m %u:%g %T@\n' 2>/dev/null | sort
find /opt /srv /etc/cron.d -type f -exec sha256sum {} + 2>/dev/null | sort
"""


def upgrade_stage(journal: t.Mapping[str, t.Any]) -> str | None:
    """The word for where an upgrade stands, by the facts of its journal; None without one."""
    notes, schema = journal.get("notes") or {}, journal.get("schema")
    if schema == "untouched":
        return "stopping" if "down_at" in notes else "locked"
    return {"started": "migrating", "done": "verifying" if "up_at" in notes else "starting"}.get(str(schema))


@dataclass
class Run:
    """The result of a playbook: exit code, the message of its last failed task, its output, the number of changed tasks."""

    code: int
    message: str
    output: str
    changed: int


class Lab:
    """The lab's host, observed independently of the collection."""

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
        """The host's files that a run could change, one line each."""
        return self.host(FILES).splitlines()

    def snapshot(self) -> list[str]:
        """Everything that a run could change, one line each."""
        state = json.loads((ROOT / ".lab" / self.name / "state.json").read_text(encoding="utf-8"))
        databases = [
            f"database {name}"
            for engine in state["options"]["engines"]
            for name in sorted(
                self.lab("sql", "--db", engine, DATABASES.get(engine.partition("-")[0], "SHOW DATABASES")).split()
            )
        ]
        with lab_engine(self.name, self.at) as engine:
            objects = engine.snapshot()
        return [*objects, *self.files(), *databases]

    def wait_healthy(self) -> None:
        """Wait until the client is healthy: after an outage of its database it becomes so by itself, in its own time."""
        options = {
            "api_url": "https://127.0.0.1:9090",
            "api_password": "{{ wa_api_password }}",
            "api_validate_certs": False,
        }
        commands.run(
            "ansible", "-i", self.inventory, self.at, "-m", "waba.onprem.wa_webapp_info", "-a", json.dumps(options)
        )

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
            report = json.loads(done.stdout[done.stdout.index("{\n") :])
        except ValueError:
            raise SystemExit(f"ansible-playbook {playbook} ended with {done.returncode}:\n{output}") from None
        results = [result for play in report["plays"] for task in play["tasks"] for result in task["hosts"].values()]
        messages = [str(one.get("msg", "")) for one in results if one.get("failed")]
        changed = sum(host["changed"] for host in report["stats"].values())
        return Run(done.returncode, messages[-1] if messages else "", output, changed)


def expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise SystemExit(f"{what}: found {found!r}, expected {expected!r}")
    print(f"  {what}: as expected", flush=True)


def changes(before: t.Sequence[str], after: t.Sequence[str]) -> list[str]:
    """The differences between two snapshots."""
    return [f"- {line}" for line in before if line not in after] + [f"+ {line}" for line in after if line not in before]


def without_ids(snapshot: t.Iterable[str]) -> list[str]:
    """The lines of a snapshot without ids and times, which a recreated container or a restored file changes."""
    kept = []
    for line in snapshot:
        kind, *words = line.split()
        if kind == "container":
            words = [words[0], words[2], words[3], words[5]]
        elif kind == "path":
            words = words[:4]
        elif kind == "network":
            words = words[:1]
        kept.append(" ".join((kind, *words)))
    return kept


def compare_table(name: str, rows: list[dict[str, str]], record: bool) -> None:
    """Compare the rows of the cases that ran with those that docs/faults.md is written from, or `record` them there.

    A unit test checks that each case has a row and each row a case.
    """
    path = ROOT / "tests" / "faults" / f"{name}.json"
    known = {row["fault"]: row for row in json.loads(path.read_text(encoding="utf-8"))}
    if record:
        kept = list({**known, **{row["fault"]: row for row in rows}}.values())
        path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        return
    for row in rows:
        expect(f"table of faults, {row['fault']}", row, known.get(row["fault"]))
