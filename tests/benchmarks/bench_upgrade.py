# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outage of an upgrade: upgrade.yml beside the floor and the vendor's manual way, on one host and on three.

The floor contains only the necessary steps: stop, migration, start, by hand on all hosts at once, images and files prepared.
The vendor's way is `docker compose down`, `dbupgrade`, `docker compose up`, with the pull in between. Each round
upgrades by one version, so each side migrates the same table by the same steps. An independent prober measures the outage:
the time without a healthy answer of the leader's Webapp.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import statistics
import threading
import time
import typing as t

import commands
import compare
import prober

ROOT = pathlib.Path(__file__).resolve().parents[2]
MIGRATION = "dbupgrade"
ROUNDS = 5
STEPS = ("stop", "migration", "start")
ROWS = 330_000  # what GC leaves of 2.2 million


class Site:
    """A lab with one deployment, provisioned with the oldest version."""

    def __init__(self, name: str, hosts: int, versions: list[str]) -> None:
        self.name = name
        self.versions = versions
        self.hosts = [f"h{number}" for number in range(1, hosts + 1)]
        self.deployment = "waba" if hosts > 1 else "h1"
        self.down: dict[str, list[float]] = {"floor": [], "vendor": [], "ours": []}
        self.steps: dict[str, list[float]] = {step: [] for step in STEPS}  # seconds that upgrade.yml itself reports
        self.variables: dict[str, t.Any] = {}

    def __enter__(self) -> Site:
        hosts = str(len(self.hosts))
        self.lab(
            "up", "--hosts", hosts, *(["--shared"] if self.deployment == "waba" else []), "--versions", *self.versions
        )
        self.play("provision")
        self.variables = json.loads(commands.run("ansible-inventory", "-i", self.inventory, "--host", "h1"))
        return self

    def __exit__(self, *_error: object) -> None:
        self.lab("down")

    @property
    def inventory(self) -> str:
        return str(ROOT / ".lab" / self.name / "inventory.yml")

    def lab(self, verb: str, *words: str) -> None:
        commands.run(ROOT / "tests/lab/lab", verb, "--name", self.name, *words)

    def play(self, playbook: str, **variables: t.Any) -> str:
        argv = ["ansible-playbook", "-i", self.inventory, f"waba.onprem.{playbook}", "-e", json.dumps(variables)]
        return commands.run(*argv)

    def on(self, host: str, script: str) -> None:
        """Run a script in the deployment's folder on a host, without SSH."""
        folder = f"/opt/waba/{self.deployment}"
        commands.docker("exec", "--workdir", folder, f"walab-{self.name}-{host}", "sh", "-ec", script)

    def on_all(self, script: str) -> None:
        threads = [threading.Thread(target=self.on, args=(host, script)) for host in self.hosts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def rewrite(self, old: str, new: str) -> str:
        # Without the second command a side that upgrades nothing would be the fastest.
        return f"sed 's/:v{old}\"$/:v{new}\"/' compose.yml > next.yml; grep -q ':v{new}\"' next.yml"

    def floor(self, old: str, new: str) -> float:
        """Stop, migrate, start. Return the seconds of the migration alone."""
        self.on_all(f"{self.rewrite(old, new)}; docker compose -f next.yml --profile {MIGRATION} pull --quiet")
        with prober.Prober(self.variables) as asked:
            self.on_all("docker compose stop --timeout 60")
            began = time.monotonic()
            self.on("h1", f"docker compose -f next.yml run --rm {MIGRATION}")
            migration = time.monotonic() - began
            self.on_all("mv next.yml compose.yml; docker compose up --detach")
            asked.wait_until_up()
        self.down["floor"].append(asked.down)
        return migration

    def vendor(self, old: str, new: str) -> None:
        with prober.Prober(self.variables) as asked:
            self.on_all("docker compose down --timeout 60")
            self.on_all(f"{self.rewrite(old, new)}; mv next.yml compose.yml")
            self.on("h1", f"docker compose run --rm {MIGRATION}")
            self.on_all("docker compose up --detach --quiet-pull")
            asked.wait_until_up()
        self.down["vendor"].append(asked.down)

    def ours(self, old: str, new: str) -> None:
        with prober.Prober(self.variables) as asked:
            output = self.play("upgrade", wa_upgrade_version=new, wa_upgrade_skip=["database_backup"])
            asked.wait_until_up()
        for step, found in self.steps.items():
            found += [float(seconds) for seconds in re.findall(rf'" +{step} +([\d.]+)', output)]
        self.down["ours"].append(asked.down)

    def turns(self) -> None:
        """Run all sides alternately, each upgrading by one version."""
        pairs = zip(self.versions, self.versions[1:])
        for (old, new), side in zip(pairs, ("floor", "ours", "vendor") * ROUNDS):
            getattr(self, side)(old, new)


def tell(what: str, site: Site) -> None:
    """Print the outages of the three sides, and how much of it the steps explain that upgrade.yml reports."""
    compare.title(f"seconds without a healthy API, {what}")
    names = {
        "floor": "by hand, all prepared (floor)",
        "ours": "upgrade.yml",
        "vendor": "compose down, dbupgrade, compose up",
    }
    middle = {side: statistics.median(values) for side, values in site.down.items()}
    for side, name in names.items():
        outages = ", ".join(f"{value:.1f}" for value in site.down[side])
        print(f"  {name:<40} {middle[side]:6.1f} s  ({outages})")
    compare.check("upgrade.yml : floor", middle["ours"] / middle["floor"], 1.2 if len(site.hosts) == 1 else 1.3)
    print(f"  upgrade.yml : vendor's way: {middle['ours'] / middle['vendor']:.2f}x")
    for step, seconds in site.steps.items():
        print(f"  reported by upgrade.yml: {step} {statistics.median(seconds):.1f} s")
    explained = statistics.median(map(sum, zip(*site.steps.values())))
    for bound, at_least in ((0.95, True), (1.25, False)):
        compare.check("steps that upgrade.yml reports : outage", explained / middle["ours"], bound, at_least=at_least)


def benefit_of_gc() -> None:
    """Measure the migration of 2.2 million rows, and of the rows that GC leaves of them."""
    with Site("bench-upgrade-gc", 1, ["2.51.2", "2.53.4", "2.55.1"]) as site:
        site.lab("seed", "--rows", "2200000")
        large = site.floor("2.51.2", "2.53.4")
        site.play("upgrade")  # preparation only
        small = site.floor("2.53.4", "2.55.1")
    compare.title("the migration alone, with and without a GC before it")
    print(f"  2.2 million rows {large:.1f} s, after GC {small:.1f} s: {large / small:.1f}x")


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_known_args()
    versions = [f"2.{minor}.1" for minor in range(51, 51 + 2 * (3 * ROUNDS + 1), 2)]
    for hosts in (1, 3):
        with Site(f"bench-upgrade-{hosts}", hosts, versions) as site:
            site.lab("seed", "--rows", str(ROWS))
            site.turns()
            tell(f"a deployment of {hosts} host{'s' if hosts > 1 else ''}", site)
    benefit_of_gc()


if __name__ == "__main__":
    main()
