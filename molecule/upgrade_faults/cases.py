#!/usr/bin/env python3
"""Upgrades a lab host version by version; each time one stage fails or the controller is killed there, then it runs again.

After the first run of each case: what serves, and that no row and no media file is lost. After the second run: the new
version serves, with the same rows and files, and nothing of the upgrade is left.

    cases.py LAB [STAGE-HOW...]     such as: cases.py m-upgrade-faults migrating-kill
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOOKS = pathlib.Path(__file__).resolve().parent / "hooks"
LOCK = "/var/lib/waba/h1.lock"
MEDIA = "/var/lib/docker/volumes/wa-h1_whatsappMedia/_data"
ROWS = 3000

# Stage and how it goes wrong: what makes it so, which lab fault is on meanwhile, what serves afterwards.
CASES: dict[str, tuple[dict[str, t.Any], str, str]] = {
    "begun-fail": ({"wa_upgrade_before_outage": str(HOOKS / "fail.yml")}, "", "old"),
    "begun-kill": ({"wa_upgrade_before_outage": str(HOOKS / "hold.yml")}, "", "old"),
    "stopping-fail": ({"wa_upgrade_snapshot_command": "/bin/false"}, "", "old"),
    "stopping-kill": ({"wa_upgrade_snapshot_command": "/bin/sleep 8"}, "", "nothing"),
    "migrating-fail": ({}, "migration_fails", "nothing"),
    "migrating-kill": ({}, "migration_hangs", "nothing"),
    "starting-fail": ({"wa_upgrade_health_timeout": 5}, "unregistered", "new"),
    "starting-kill": ({}, "unregistered", "new"),
    "proving-fail": ({"wa_upgrade_after_outage": str(HOOKS / "fail.yml")}, "", "new"),
    "proving-kill": ({"wa_upgrade_after_outage": str(HOOKS / "hold.yml")}, "", "new"),
}


class Lab:
    """The lab host, looked at with other means than the collection's."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.inventory = str(ROOT / ".lab" / name / "inventory.yml")

    def lab(self, *words: str) -> str:
        run = subprocess.run(
            [str(ROOT / "tests/lab/lab"), words[0], "--name", self.name, *words[1:]],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return run.stdout

    def host(self, *words: str) -> str:
        run = subprocess.run(
            ["docker", "exec", f"walab-{self.name}-h1", *words], stdout=subprocess.PIPE, text=True, check=False
        )
        return run.stdout.strip()

    def journal(self) -> dict[str, t.Any]:
        text = self.host("cat", LOCK)
        return t.cast("dict[str, t.Any]", json.loads(text)) if text else {}

    def running(self) -> set[str]:
        """The versions of the client that run."""
        images = self.host("docker", "ps", "--format", "{{.Image}} {{.Names}}").splitlines()
        return {line.split()[0].rpartition(":v")[2] for line in images if "-dbupgrade-" not in line}

    def rows(self) -> int:
        told = self.lab("sql", "--database", "messageStore", "SELECT COUNT(*) FROM messages")
        return int(told.split()[-1])

    def media(self) -> str:
        return self.host("sh", "-c", f"cd {MEDIA} && find . -type f ! -name '.wa*' -exec sha256sum {{}} + | sort")

    def start(self, playbook: str, **variables: t.Any) -> subprocess.Popen[bytes]:
        argv = ["ansible-playbook", "-i", self.inventory, f"waba.onprem.{playbook}", "-e", json.dumps(variables)]
        return subprocess.Popen(argv, start_new_session=True, stdin=subprocess.DEVNULL)

    def play(self, playbook: str, **variables: t.Any) -> int:
        return self.start(playbook, **variables).wait()


def expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise SystemExit(f"{what}: found {found!r}, expected {expected!r}")
    print(f"  {what}: as expected", flush=True)


def kill_at(run: subprocess.Popen[bytes], lab: Lab, stage: str) -> None:
    """Kill the controller with all of its children once the journal says `stage`."""
    end = time.monotonic() + 180
    while lab.journal().get("stage") != stage:
        if run.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"stage {stage} was not reached; the upgrade ended with {run.returncode}")
        time.sleep(0.2)
    if stage in ("stopping", "starting"):
        serving_was = lab.running()
        while lab.running() == serving_was and time.monotonic() < end:
            time.sleep(0.2)  # into the stage, not onto its edge
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()


def run_case(lab: Lab, case: str, old: str, new: str) -> None:
    stage, how = case.split("-")
    variables, fault, serves = CASES[case]
    wanted = {"wa_upgrade_version": new, "wa_version": old}
    print(f"\n### {case}: {old} to {new}", flush=True)
    rows, media = lab.rows(), lab.media()
    if fault:
        lab.lab("fault", fault, "on")
    run = lab.start("upgrade", **wanted, **variables)
    if how == "kill":
        kill_at(run, lab, stage)
    else:
        expect("exit code", run.wait(), 2)
    expect("stage left", lab.journal().get("stage"), None if serves == "old" and how == "fail" else stage)
    expect("what runs", lab.running(), {"old": {old}, "new": {new}, "nothing": set()}[serves])
    expect("messages", lab.rows(), rows)
    expect("media", lab.media(), media)
    if serves != "old":
        expect("provisioning is refused", lab.play("provision", wa_version=old), 2)
        expect("what runs still", lab.running(), {"new": {new}, "nothing": set()}[serves])
    if fault:
        lab.lab("fault", fault, "off")
    expect("second run", lab.play("upgrade", **wanted), 0)
    expect("what runs now", lab.running(), {new})
    expect("messages", lab.rows(), rows)
    expect("media", lab.media(), media)
    expect("journal", lab.journal(), {})
    left = lab.host("sh", "-c", "ls /opt/waba/h1; docker ps --all --format '{{.Names}}'").split()
    expect("left over", [name for name in left if re.search(r"compose-|dbupgrade", name)], [])


def two_at_once(lab: Lab, old: str, new: str) -> None:
    """A second operator, while the first one's upgrade runs, is refused and told who it is; the first one ends well."""
    print(f"\n### two at once: {old} to {new}", flush=True)
    wanted = {"wa_upgrade_version": new, "wa_version": old}
    first = lab.start("upgrade", **wanted, wa_upgrade_snapshot_command="/bin/sleep 20")
    while lab.journal().get("stage") != "stopping":
        expect("first run lives", first.poll(), None)
        time.sleep(0.2)
    expect("second run", lab.play("upgrade", **wanted), 2)
    expect("provisioning", lab.play("provision", wa_version=old), 2)
    expect("first run", first.wait(), 0)
    expect("what runs", lab.running(), {new})


def main() -> None:
    lab = Lab(sys.argv[1])
    versions = json.loads(re.search(r"lab_versions: (\[.*\])", pathlib.Path(lab.inventory).read_text())[1])  # type: ignore[index]
    lab.lab("seed", "--rows", str(ROWS))
    lab.host("sh", "-c", f"head -c 100000 /dev/urandom > {MEDIA}/incoming-planted")
    at = versions.index(lab.running().pop())
    for case in sys.argv[2:] or CASES:
        run_case(lab, case, versions[at], versions[at + 1])
        at += 1
    if not sys.argv[2:]:
        two_at_once(lab, versions[at], versions[at + 1])


if __name__ == "__main__":
    main()
