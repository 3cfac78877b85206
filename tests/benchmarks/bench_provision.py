# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cost of a run without changes: provision.yml beside nine plain tasks that keep the same state (peers/provision.yml).

Both run alternately on the same lab hosts over SSH, with pipelining and 10 forks. CPU is that of ansible-playbook and its
child processes on the controller, ssh among them. A run with a change is an error, except the run after a drift.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import resource
import sys
import typing as t

import commands
import compare

from ansible_collections.waba.onprem.plugins.plugin_utils import _job_script as job_script

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = pathlib.Path(__file__).resolve().parent / "peers"
NAME = "bench-provision"
CHANGED = re.compile(r" changed=(\d+) ")
Variables = t.Mapping[str, t.Any]


def lab(verb: str, *words: str) -> str:
    return commands.run(ROOT / "tests/lab/lab", verb, "--name", NAME, *words)


def inventory() -> str:
    return str(ROOT / ".lab" / NAME / "inventory.yml")


def run(playbook: str, source: str, *words: str) -> str:
    argv = [str(pathlib.Path(sys.executable).with_name("ansible-playbook")), "-i", source, playbook, *words]
    return commands.run(*argv, env={**os.environ, "ANSIBLE_FORKS": "10"})


def play(playbook: str, *words: str) -> int:
    """Run a playbook; return the number of changed tasks."""
    return sum(int(changed) for changed in CHANGED.findall(run(playbook, inventory(), *words)))


def unchanged(playbook: str, *words: str) -> t.Callable[[], None]:
    def run() -> None:
        if changed := play(playbook, *words):
            raise SystemExit(f"{playbook} {' '.join(words)}: {changed} tasks changed something while it was measured")

    return run


def peers_compose_file() -> None:
    """Create the peers' template from the first host's file, with its name and the digests replaced by variables."""
    hosts = json.loads(commands.run("ansible-inventory", "-i", inventory(), "--list"))["_meta"]["hostvars"]
    texts = {host: lab("ssh", host, "cat", f"/opt/waba/{host}/compose.yml") for host in hosts}
    digest = re.compile(r"(?<=onprem\.waba\.definition: ).*")
    first = min(texts)
    numbers = iter(range(9))
    template = digest.sub(
        lambda _match: "{{ digests[inventory_hostname][N] }}".replace("N", str(next(numbers))), texts[first]
    )
    for before in (f"wa-{first}", f"/{first}/", f"deployment: {first}"):
        template = template.replace(before, before.replace(first, "{{ inventory_hostname }}"))
    folder = ROOT / ".lab" / NAME
    (folder / "compose.yml.j2").write_text(template)
    (folder / "digests.json").write_text(json.dumps({"digests": {h: digest.findall(x) for h, x in texts.items()}}))


def playbooks() -> dict[str, list[str]]:
    """The playbook of each side, with its options."""
    digests = ["-e", f"@{ROOT / '.lab' / NAME / 'digests.json'}"]
    return {
        "provision.yml": ["waba.onprem.provision"],
        "nine plain tasks": [str(ROOT / ".lab" / NAME / "peers" / "provision.yml"), *digests],
    }


def sides(*words: str) -> dict[str, t.Callable[[], None]]:
    return {name: unchanged(*source, *words) for name, source in playbooks().items()}


def tell(measured: t.Sequence[compare.Side], wall: float, cpu: float) -> None:
    compare.tell(measured, wall)
    compare.tell(measured, cpu, "cpu")


def stop_webapps(hosts: int) -> None:
    for number in range(1, hosts + 1):
        lab("ssh", f"h{number}", "docker", "stop", f"wa-h{number}-waweb-1")


def starting(hosts: int, playbook: str, *words: str) -> t.Callable[[], None]:
    def run() -> None:
        changed = play(playbook, *words)
        if changed != hosts:
            raise SystemExit(f"{playbook}: {changed} tasks changed something, where {hosts} Webapps were stopped")

    return run


def correct() -> None:
    if play("waba.onprem.provision") != 1:
        raise SystemExit("the run after the drift did not change exactly one task")


def growth() -> None:
    """Controller CPU and memory per host: several deployments on the engine of one lab host, under different inventory names."""
    one = json.loads(commands.run("ansible-inventory", "-i", inventory(), "--host", "h1"))
    for count in (20, 100, 200, 500):
        hosts = {
            f"n{number}": {"wa_client_web_port": 20000 + number, "wa_db_env_name_prefix": f"n{number}_"}
            for number in range(count)
        }
        file = ROOT / ".lab" / NAME / f"names-{count}.json"
        file.write_text(json.dumps({"all": {"vars": one, "hosts": hosts}}))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run(str(PEERS / "compare_hosts.yml"), str(file))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"  {count} names: {1000 * cpu / count:.0f} ms CPU a name, {after.ru_maxrss / 1024:.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help="leave the lab up")
    options, _rest = parser.parse_known_args()
    lab("up", "--hosts", ",".join(f"h{number}:ready" for number in range(1, options.hosts + 1)))
    try:
        play("waba.onprem.provision")
        folder = ROOT / ".lab" / NAME / "peers"
        folder.mkdir(exist_ok=True)
        for source in PEERS.iterdir():
            (folder / source.name).write_text(source.read_text())
        (folder / "wa-log-cleanup").write_text(job_script.script())
        peers_compose_file()
        (ROOT / ".lab" / NAME / "compose.yml.j2").rename(folder / "compose.yml.j2")
        compare.title("nothing to change, 1 host")
        tell(compare.measure(sides("--limit", "h1"), options.rounds), 0.45, 0.6)
        compare.title(f"nothing to change, {options.hosts} hosts, 10 forks")
        tell(compare.measure(sides(), options.rounds), 0.35, 0.3)
        compare.title(f"one drifted concern of one host among {options.hosts}")
        drift = "one cron file has another mode"
        pair = {drift: correct, "nothing to change": sides()["provision.yml"]}
        plant = {drift: lambda: lab("ssh", "h2", "chmod", "0666", "/etc/cron.d/wa-h2-log-cleanup")}
        compare.tell(compare.measure(pair, options.rounds, plant), 1.3)
        compare.title(f"a stopped Webapp on each of {options.hosts} hosts")
        work = {name: starting(options.hosts, *source) for name, source in playbooks().items()}
        compare.tell(
            compare.measure(work, options.rounds, dict.fromkeys(work, lambda: stop_webapps(options.hosts))), 1.0
        )
        compare.title("the comparison alone, by inventory names of one host")
        growth()
    finally:
        if not options.keep:
            lab("down")


if __name__ == "__main__":
    main()
