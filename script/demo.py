# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo: one lab host, provisioned, broken by hand, put right, upgraded. One screen, and whole logs in .lab/log/."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import ssl
import subprocess
import sys
import threading
import time
import typing as t
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
LAB = ROOT / "tests" / "lab" / "lab"
NAME = "demo"
INVENTORY = ROOT / ".lab" / NAME / "inventory.yml"
LOGS = ROOT / ".lab" / "log"
HOST = "h1"
REPORT = "Display the report of the upgrade"  # the name of a task
ROWS = 2_200_000
OLD, NEW = "2.51.2", "2.53.4"
PROBE_SECONDS = 0.2


def say(text: str = "") -> None:
    print(text, flush=True)


def lab(*words: str, quiet: bool = False, stdin: str | None = None) -> str:
    """Run the lab's own command; its steps go to the screen unless `quiet`."""
    argv = [str(LAB), words[0], "--name", NAME, *words[1:]]
    done = subprocess.run(argv, check=False, text=True, input=stdin, stdout=subprocess.PIPE if quiet else None)
    if done.returncode:
        sys.exit(f"demo: {' '.join(words[:2])} failed, see the lines above")
    return done.stdout or ""


def on_host(script: str) -> str:
    """Run a shell script on the lab host, by SSH, as an operator would by hand."""
    return lab("ssh", HOST, "sh", "-s", quiet=True, stdin=script)


def in_words(actions: list[t.Any]) -> str:
    """What a task did: our modules say it themselves, Compose's list is folded to a line."""
    if all(isinstance(action, str) for action in actions):
        return "; ".join(actions)
    folded: dict[str, list[str]] = {}
    for action in actions:
        if action["what"] == "container" or action["status"] == "Pulling":
            folded.setdefault(action["status"], []).append(action["id"])
    return "; ".join(f"{status.lower()} {', '.join(names)}" for status, names in folded.items())


class Playbook:
    """One run of a playbook: its events as they come, its whole output in a log."""

    def __init__(self, name: str, **variables: t.Any) -> None:
        self.name = name
        self.variables = variables
        self.stats: dict[str, int] = {}

    def run(self) -> Playbook:
        """Run it and print a line for each change; end the demo when it fails."""
        started = time.monotonic()
        LOGS.mkdir(parents=True, exist_ok=True)
        told = f"ansible-playbook {self.name}.yml" + "".join(
            f" -e {key}={value}" if isinstance(value, (bool, str)) else f" -e '{json.dumps({key: value})}'"
            for key, value in self.variables.items()
        )
        say(f"$ {told}")
        argv = ["ansible-playbook", "-i", str(INVENTORY), f"waba.onprem.{self.name}", "-e", json.dumps(self.variables)]
        environment = dict(os.environ, ANSIBLE_STDOUT_CALLBACK="ansible.posix.jsonl", ANSIBLE_PIPELINING="true")
        with (LOGS / f"demo-{self.name}.log").open("w") as log:
            process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                with contextlib.suppress(json.JSONDecodeError):
                    self.event(json.loads(line))
            status = process.wait()
        took = time.monotonic() - started
        say(
            f"  {self.stats.get('ok', 0)} tasks ok, changed={self.stats.get('changed', 0)}, failed={self.stats.get('failures', 0)}  ({took:.1f} s)"
        )
        if status:
            sys.exit(f"demo: {self.name}.yml failed; whole output: .lab/log/demo-{self.name}.log")
        return self

    def event(self, event: dict[str, t.Any]) -> None:
        """Show what a person wants to see of an event: what changed, what failed, the report."""
        kind = event.get("_event", "")
        if kind == "v2_playbook_on_stats":
            for name in ("ok", "changed", "failures"):
                self.stats[name] = sum(host.get(name, 0) for host in event["stats"].values())
        if kind not in ("v2_runner_on_ok", "v2_runner_on_failed"):
            return
        task = event["task"]["name"].rpartition(" : ")[2]
        for host, result in event["hosts"].items():
            if kind == "v2_runner_on_failed":
                say(f"  {host}: FAILED {task}: {result.get('msg', '')}")
            elif result.get("changed"):
                told = in_words(result.get("actions") or [])
                say(f"  {host}: {task}" + (f": {told}" if told else ""))
            elif task == REPORT:
                self.table = result["msg"]


class Prober(threading.Thread):
    """Asks the API over and over from outside and adds up the time without an answer: the outage as a caller sees it."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.ended = threading.Event()
        self.down = 0.0
        self.context = ssl.create_default_context()
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE

    def answers(self) -> bool:
        """Whether the Webapp says anything sensible: 401 does, since the probe has no password."""
        try:
            with urllib.request.urlopen(self.url + "/v1/health", timeout=2, context=self.context) as answer:
                return bool(answer.status < 500)
        except urllib.error.HTTPError as error:
            return error.code < 500
        except OSError:
            return False

    def run(self) -> None:
        last = time.monotonic()
        while not self.ended.wait(PROBE_SECONDS):
            up, now = self.answers(), time.monotonic()
            if not up:
                self.down += now - last
            last = now


def api_url() -> str:
    told = subprocess.run(
        ["ansible-inventory", "-i", str(INVENTORY), "--host", HOST], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return str(json.loads(told)["lab_api_url"])


BREAK = """
set -eu
env=/opt/waba/h1/db.env
sed -i 's/^WA_DB_PORT=.*/WA_DB_PORT=3307/' "$env"
echo '  by hand: WA_DB_PORT in db.env is now 3307'
rm /etc/cron.d/wa-h1-log-cleanup
echo '  by hand: the cron file of the log cleanup is gone'
docker rm --force wa-h1-waweb-1 >/dev/null
echo '  by hand: the Webapp was removed'
"""

AGE = """
set -eu
docker exec wa-h1-wacore-1 sh -c '
mkdir -p /var/log/whatsapp/archive
for number in $(seq 10 54); do
    file=/var/log/whatsapp/archive/wa-service.log-202401$number.gz
    head -c 400000 /dev/urandom | gzip >$file
    touch -d "2024-01-01 $number minutes" $file
done'
"""


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--down", action="store_true", help="take the demo's lab down and leave nothing behind")
    if options.parse_args().down:
        lab("down")
        return 0
    started = time.monotonic()
    say("A fresh lab host with its own Docker Engine, a MariaDB and a registry")
    lab("down", quiet=True)
    lab("up", "--hosts", HOST, "--db", "mariadb", "--versions", OLD, NEW)
    say("\n1. The host is provisioned")
    Playbook("provision").run()
    say("\n2. Run again, it changes nothing")
    if Playbook("provision").run().stats["changed"]:
        sys.exit("demo: the second run changed something")
    say("\n3. Somebody breaks things by hand, provision.yml puts them right")
    say(on_host(BREAK).rstrip())
    Playbook("provision").run()
    say(f"\n4. {ROWS:,} messages lie in the database; the version is to be {NEW}")
    lab("seed", "--rows", str(ROWS))  # not beside provision.yml, which refuses sessions of another client
    on_host(AGE)
    say("45 old log archives lie in the Coreapp; its cleanup keeps 30")
    prober = Prober(api_url())
    prober.start()
    upgrade = Playbook("upgrade", wa_upgrade_version=NEW, wa_upgrade_skip=["database_backup"]).run()
    prober.ended.set()
    prober.join()
    say()
    for line in upgrade.table:
        say(line)
    say(f"API down as an outside prober saw it: {prober.down:.1f} s")
    say(
        f"\nAll in {time.monotonic() - started:.0f} s. Look around: tests/lab/lab ssh --name {NAME} {HOST}. End it: script/demo --down"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
