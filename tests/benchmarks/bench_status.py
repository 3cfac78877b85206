# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cost of status.yml: beside a provision.yml that changes nothing, and by inventory names up to 200, on the same lab hosts.

The growth is that of the controller's CPU, which other work on the machine hardly changes. With fewer hosts each has more of the names.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import resource
import sys
import time
import typing as t

import commands
import compare

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAME = "bench-status"
FOLDER = ROOT / ".lab" / NAME
COUNTS = (20, 100, 200)  # of inventory names


def lab(verb: str, *words: str) -> None:
    commands.run(ROOT / "tests/lab/lab", verb, "--name", NAME, *words)


def play(playbook: str, source: pathlib.Path, *words: str) -> tuple[float, float]:
    """Runs a playbook that has to succeed. Returns its seconds, and those of CPU."""
    program = pathlib.Path(sys.executable).with_name("ansible-playbook")
    argv: list[str | pathlib.Path] = [program, "-i", source, f"waba.onprem.{playbook}"]
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    commands.run(*argv, *words, env={**os.environ, "ANSIBLE_FORKS": "10"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - begin, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def names(count: int) -> pathlib.Path:
    """An inventory of so many deployments, each host with as many of them as any other."""
    hosts: dict[str, dict[str, t.Any]] = json.loads(
        commands.run("ansible-inventory", "-i", FOLDER / "inventory.yml", "--list")
    )["_meta"]["hostvars"]
    real = sorted(hosts)
    made = {}
    for number in range(count):
        host = real[number % len(real)]
        again = {"wa_client_web_port": 20000 + number, "wa_db_env_name_prefix": f"n{number}_"}
        made[host if number < len(real) else f"n{number}"] = {**hosts[host], **(again if number >= len(real) else {})}
    path = FOLDER / f"names-{count}.json"
    path.write_text(json.dumps({"all": {"hosts": made}}))
    return path


def growth(counts: t.Sequence[int]) -> None:
    """Seconds, and memory and CPU of the controller, by inventory names. What is not there is drift, which fails no run here."""
    quiet = ["-e", json.dumps({"wa_status_fail_on": [], "wa_report_dir": str(FOLDER / "reports")})]
    used = []
    for count in counts:
        source = names(count)
        taken = play("status", source, *quiet)
        used.append(taken[1] / count)
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"  {count} names: {taken[0]:.1f} s, {1000 * used[-1]:.0f} ms CPU a name, {largest:.0f} MB", flush=True)
    compare.check(f"CPU a name of {counts[-1]} names : of {counts[0]}", used[-1] / used[0], 1.15)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help="leave the lab up")
    options, _rest = parser.parse_known_args()
    lab("up", "--hosts", ",".join(f"h{number}:ready" for number in range(1, options.hosts + 1)))
    try:
        source = FOLDER / "inventory.yml"
        play("provision", source)
        report = ("-e", json.dumps({"wa_report_dir": str(FOLDER / "reports"), "wa_backup_dir": ""}))
        sides = {
            "status.yml, with a report": lambda: play("status", source, *report),
            "provision.yml, nothing to change": lambda: play("provision", source),
        }
        compare.title(f"{options.hosts} hosts, 10 forks")
        measured = compare.measure(sides, options.rounds)
        compare.tell(measured, 1.3)
        compare.tell(measured, 1.3, "cpu")
        compare.title(f"by inventory names on {options.hosts} hosts")
        growth(COUNTS)
    finally:
        if not options.keep:
            lab("down")


if __name__ == "__main__":
    main()
