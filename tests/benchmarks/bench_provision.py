# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""provision.yml beside nine plain tasks that keep the same state (peers/provision.yml), and beside `docker compose up` by hand.

Both run alternately on the same lab hosts over SSH, with pipelining and 10 forks. CPU is that of ansible-playbook and its
child processes on the controller, ssh among them. A run that changes more or less than was planted is an error.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import re
import resource
import statistics
import sys
import time
import typing as t

import commands
import compare
import prober

from ansible_collections.waba.onprem.plugins.plugin_utils import _job_script as job_script

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = pathlib.Path(__file__).resolve().parent / "peers"
NAME = "bench-provision"
OURS, PLAIN, HAND = "provision.yml", "plain tasks", "docker compose up by hand"
DIGEST = re.compile(r"(?<=onprem\.waba\.definition: ).*")
CHANGED = re.compile(r" changed=(\d+) ")
Variables = t.Mapping[str, t.Any]


class Site:
    """A lab with a deployment on each host."""

    def __init__(self, name: str, hosts: int) -> None:
        self.name, self.folder = name, ROOT / ".lab" / name
        self.hosts = [f"h{number}" for number in range(1, hosts + 1)]

    def lab(self, verb: str, *words: str) -> str:
        return commands.run(ROOT / "tests/lab/lab", verb, "--name", self.name, *words)

    def up(self) -> None:
        self.lab("up", "--hosts", ",".join(f"{host}:ready" for host in self.hosts))

    @property
    def inventory(self) -> str:
        return str(self.folder / "inventory.yml")

    def variables(self, host: str) -> Variables:
        return t.cast("Variables", json.loads(commands.run("ansible-inventory", "-i", self.inventory, "--host", host)))

    def play(self, playbook: str, *words: str) -> int:
        """Run a playbook; return the number of changed tasks."""
        return sum(int(changed) for changed in CHANGED.findall(run(playbook, self.inventory, *words)))

    def expecting(self, changes: int, playbook: str, *words: str) -> t.Callable[[], None]:
        """Return a run that has to change as many tasks as planted."""

        def work() -> None:
            if (changed := self.play(playbook, *words)) != changes:
                raise SystemExit(f"{playbook} {' '.join(words)}: {changed} tasks changed something, expected {changes}")

        return work

    def write_peers(self) -> None:
        """Create the plain tasks, with a template from the first host's Compose file: its name and the digests become variables."""
        texts = {host: self.lab("ssh", host, "cat", f"/opt/waba/{host}/compose.yml") for host in self.hosts[:1]}
        first, text = next(iter(texts.items()))
        numbers = iter(range(9))
        template = DIGEST.sub(
            lambda _match: "{{ digests[inventory_hostname][N] }}".replace("N", str(next(numbers))), text
        )
        for before in (f"wa-{first}", f"/{first}/", f"deployment: {first}"):
            template = template.replace(before, before.replace(first, "{{ inventory_hostname }}"))
        folder = self.folder / "peers"
        folder.mkdir(exist_ok=True)
        for source in PEERS.iterdir():
            (folder / source.name).write_text(source.read_text())
        (folder / "wa-log-cleanup").write_text(job_script.script())
        (folder / "compose.yml.j2").write_text(template)

    def read_digests(self, source: str = "") -> None:
        """Note the digests in each host's Compose file, or those of the host `source` for all."""
        read = {source or host: "" for host in self.hosts}
        for host in read:
            read[host] = self.lab("ssh", host, "cat", f"/opt/waba/{host}/compose.yml")
        found = {host: DIGEST.findall(read[source or host]) for host in self.hosts}
        (self.folder / "peers" / "digests.json").write_text(json.dumps({"digests": found}))

    def peers(self, playbook: str) -> list[str]:
        """The plain tasks, with their options."""
        folder = self.folder / "peers"
        return [str(folder / playbook), "-e", f"@{folder / 'digests.json'}"]

    def playbooks(self) -> dict[str, list[str]]:
        """The playbook of each side, with its options."""
        return {OURS: ["waba.onprem.provision"], PLAIN: self.peers("provision.yml")}

    def sides(self, changes: int, *words: str) -> dict[str, t.Callable[[], None]]:
        return {name: self.expecting(changes, *source, *words) for name, source in self.playbooks().items()}


def run(playbook: str, source: str, *words: str) -> str:
    return ansible("ansible-playbook", "-i", source, playbook, *words)


def ansible(program: str, *words: str) -> str:
    argv = [str(pathlib.Path(sys.executable).with_name(program)), *words]
    return commands.run(*argv, env={**os.environ, "ANSIBLE_FORKS": "10"})


def unchanged(site: Site, rounds: int, targets: tuple[float, float], *words: str) -> None:
    """Compare a run that changes nothing with the plain tasks, and with a ping of the same hosts."""
    ping = {"ansible -m ping": lambda: ansible("ansible", "-i", site.inventory, "all", "-m", "ping", *words)}
    ours, pings, plain = compare.measure(
        {OURS: site.sides(0, *words)[OURS], **ping, PLAIN: site.sides(0, *words)[PLAIN]}, rounds
    )
    compare.tell([ours, plain], targets[0])
    compare.tell([ours, plain], targets[1], "cpu")
    compare.tell([ours, pings], 1.6)


def stop_webapps(site: Site) -> None:
    for host in site.hosts:
        site.lab("ssh", host, "docker", "stop", f"wa-{host}-waweb-1")


def first_provision(pairs: int) -> None:
    """Provision new hosts, one at a time, each way in turn; the first host gives the plain tasks their Compose file."""
    site = Site(f"{NAME}-first", 2 * pairs + 1)
    site.up()
    try:
        site.play("waba.onprem.provision", "--limit", "h1")
        site.write_peers()
        site.read_digests("h1")
        new = iter(site.hosts[1:])
        ways = {OURS: ["waba.onprem.provision"], PLAIN: site.peers("first_provision.yml")}
        sides = [compare.Side(name) for name in ways]
        for number in range(pairs):
            for side in sides if number % 2 else reversed(sides):
                began = time.monotonic()
                site.play(*ways[side.name], "--limit", next(new))
                side.wall.append(time.monotonic() - began)
        compare.tell(sides, 1.2)
    finally:
        site.lab("down")


def restarts(site: Site, rounds: int) -> None:
    """Change a setting that recreates every client, in waves and by hand on one host after the other."""
    variables, sizes = {host: site.variables(host) for host in site.hosts}, iter(range(60, 99))
    down: dict[str, list[float]] = {OURS: [], HAND: []}
    sides = [compare.Side(name) for name in down]
    for _round in range(rounds):
        for side in sides:
            size = next(sizes)
            with contextlib.ExitStack() as stack:
                asked = {host: stack.enter_context(prober.Prober(variables[host], 0.5)) for host in site.hosts}
                began = time.monotonic()
                if side.name == OURS:
                    site.play("waba.onprem.provision", "-e", f"wa_client_log_max_size={size}m")
                else:
                    for host, one in asked.items():
                        by_hand = (
                            f"sed -i 's/max-size: .*/max-size: {size}m/' compose.yml && docker compose up --detach"
                        )
                        site.lab("ssh", host, f"cd /opt/waba/{host} && {by_hand}")
                        one.wait_until_up()
                side.wall.append(time.monotonic() - began)
                for one in asked.values():
                    one.wait_until_up()
            seconds = [one.down for one in asked.values()]
            if not all(seconds):
                raise SystemExit(f"{side.name}: a client was not restarted")
            down[side.name].append(statistics.median(seconds))
    for side in sides:
        outage = statistics.median(down[side.name])
        print(f"  {side.name:<30} {side.median('wall'):6.1f} s in all, a client was down for {outage:.1f} s (median)")


def growth(site: Site) -> None:
    """Controller CPU and memory per host: several deployments on the engine of one lab host, under different inventory names."""
    one = site.variables("h1")
    for count in (20, 100, 200, 500):
        hosts = {
            f"n{number}": {"wa_client_web_port": 20000 + number, "wa_db_env_name_prefix": f"n{number}_"}
            for number in range(count)
        }
        file = site.folder / f"names-{count}.json"
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
    compare.title("a new host")
    first_provision(3)
    site = Site(NAME, options.hosts)
    site.up()
    try:
        site.play("waba.onprem.provision")
        site.write_peers()
        site.read_digests()
        compare.title("nothing to change, 1 host")
        unchanged(site, options.rounds, (0.3, 0.6), "--limit", "h1")
        compare.title(f"nothing to change, {options.hosts} hosts, 10 forks")
        unchanged(site, options.rounds, (0.15, 0.3))
        compare.title(f"one cron file of {options.hosts} hosts is missing")
        drift = dict.fromkeys((OURS, PLAIN), lambda: site.lab("ssh", "h2", "rm", "/etc/cron.d/wa-h2-log-cleanup"))
        compare.tell(compare.measure(site.sides(1), options.rounds, drift), 1.0)
        compare.title(f"a stopped Webapp on each of {options.hosts} hosts")
        stops = dict.fromkeys((OURS, PLAIN), lambda: stop_webapps(site))
        compare.tell(compare.measure(site.sides(options.hosts), options.rounds, stops), 1.0)
        compare.title(f"every client of {options.hosts} hosts is recreated")
        restarts(site, 2)
        compare.title("the comparison alone, by inventory names of one host")
        growth(site)
    finally:
        if not options.keep:
            site.lab("down")


if __name__ == "__main__":
    main()
