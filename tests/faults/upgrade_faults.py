# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Upgrades a lab host version by version; each time something goes wrong at one stage, then the upgrade runs again.

After the first run of each case: what serves, and that no row and no media file is lost. After the second run: the new
version serves, with the same rows and files, and nothing of the upgrade is left.

    upgrade_faults.py LAB HOST [--record] LAYER|CASE...     such as: upgrade_faults.py m-x-1a2b mysql ci

`PLACES` says which layer of tests runs a case, and over which database. The rows of docs/faults.md are compared with those in
tests/faults; `--record` writes them there. Each case but those of bad input upgrades the host by one version of the lab.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
import typing as t
from dataclasses import dataclass, field, replace

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

import commands  # noqa: E402 - needs the path above
import observer  # noqa: E402
from engine import Record, lab_engine  # noqa: E402
from observer import compare_table, expect  # noqa: E402

HOOKS = pathlib.Path(__file__).resolve().parent / "hooks"
DATABASES = {"mysql": "mariadb", "pgsql": "postgres-13"}  # the lab's names
HELD = "/run/held"  # what holds an upgrade at a stage for as long as it is there
# The folder of lock and journal on a disk of its own, and where it was.
SMALL_DISK = """
set -e
cp -a /var/lib/waba /run/kept
mount -t tmpfs -o size=1M,mode=750 tmpfs /var/lib/waba
cp -a /run/kept/. /var/lib/waba
rm -r /run/kept
"""
LARGE_DISK = """
set -e
cp -a /var/lib/waba /run/kept
umount /var/lib/waba
rm -r /var/lib/waba
mv /run/kept /var/lib/waba
"""
# Stops the Coreapp's process as soon as its stop is due, so that it ends no sooner than it is continued; then breaks the connection.
CUT_STOP = r"""
until grep -q '"down_at"' {lock}; do sleep 0.05; done
core=$(docker inspect --format '{{{{.State.Pid}}}}' wa-{at}-wacore-1)
kill -STOP $core
until [ -z "$(docker ps --quiet --filter name=-waweb)" ]; do sleep 0.1; done
sleep 1
pkill -f '^sshd[-a-z]*: .*@notty'
(sleep 20; kill -CONT $core) </dev/null >/dev/null 2>&1 &
"""
# Stands before the tool that dumps, and makes it slow: its session stays while its output is not read.
SLOW_DUMP = r"""#!/bin/sh
# What the check calls reads no rows; of the copy one database is enough.
case "$*" in *--version*|*--no-data*) exec /usr/bin/mariadb-dump "$@";; *messageStore*) ;; *) exec /usr/bin/mariadb-dump "$@";; esac
echo dump >>/run/dumps
/usr/bin/mariadb-dump "$@" | { sleep 25; cat; }
"""
ROWS = 3000
CLIENT = "$(docker ps --quiet --all --filter name=-wacore --filter name=-waweb)"

STAGES = ("locked", "stopping", "migrating", "starting", "verifying")  # of a journal
# What happens during a stage, while the controller is there and waits: its name in the table of faults.
EVENTS = {
    "docker": "the Docker Engine restarts",
    "database": "the database server restarts",
    "disk": "the disk of lock and journal is full",
    "reboot": "the host reboots",
}
REMOVAL = "somebody removes the client's containers"
# Where each case runs: over which database, and in `ci`, `deep` or `events`, which is deep, too. They run in this order. Those in `ci`
# (scenario `upgrade`) are a failure before the migration and a killed controller after it; a migration fails in the scenario `cluster`.
PLACES = {
    "bad-no-image": ("mysql", "deep"),
    "bad-next-file": ("mysql", "deep"),
    "bad-latest": ("mysql", "deep"),
    "bad-v": ("mysql", "deep"),
    "bad-older": ("mysql", "deep"),
    "bad-same": ("mysql", "deep"),
    "bad-hook": ("mysql", "deep"),
    "bad-no-password": ("mysql", "deep"),
    "bad-no-copy": ("mysql", "deep"),
    "bad-no-copy-prepared": ("mysql", "deep"),
    "bad-topology": ("mysql", "deep"),
    "locked-fail": ("mysql", "deep"),
    "locked-kill": ("pgsql", "deep"),
    "stopping-fail": ("mysql", "ci"),
    "hung-snapshot": ("mysql", "deep"),
    "stopping-kill": ("mysql", "deep"),
    "migrating-fail": ("mysql", "deep"),
    "migrating-kill": ("pgsql", "deep"),
    "starting-fail": ("mysql", "deep"),
    "starting-kill": ("mysql", "ci"),
    "verifying-fail": ("mysql", "deep"),
    "verifying-kill": ("pgsql", "deep"),
    "two-at-once": ("pgsql", "deep"),
    "asleep": ("pgsql", "deep"),
    "pruned": ("pgsql", "deep"),
    "slow-migration": ("pgsql", "deep"),
    "refused-start": ("mysql", "deep"),
    "started-by-hand": ("mysql", "deep"),
    "cut-stop": ("mysql", "deep"),
    "second-coreapp": ("mysql", "deep"),
    "killed-copy": ("mysql", "deep"),
    "lost-journal": ("mysql", "deep"),
    "way-back": ("pgsql", "deep"),
    "expired": ("pgsql", "deep"),
    **{f"{stage}-{event}": ("mysql", "events") for stage in STAGES for event in EVENTS},
    # What was removed before the stop provision.yml makes again; for what is removed before it is healthy a run waits a quarter of an hour.
    **{f"{stage}-removal": ("mysql", "events") for stage in ("stopping", "migrating", "verifying")},
}


@dataclass(frozen=True)
class Case:
    """What makes an upgrade go wrong, which lab fault is on meanwhile, what serves afterwards, and what is said."""

    what: str  # for the table of faults
    variables: dict[str, t.Any] = field(default_factory=dict)
    fault: str = ""
    serves: str = "new"
    words: tuple[str, ...] = ()
    reboot: bool = False  # afterwards, with containers that were to start always
    code: int = 2

    def row(self) -> dict[str, str]:
        """Its row in the table of faults."""
        happens = {"nothing": "nothing runs, and nothing is started by itself"}
        return {
            "fault": self.what,
            "playbook": "upgrade.yml",
            "happens": happens.get(self.serves, f"the {self.serves} version serves"),
            "said": "; ".join(self.words),
            "next": "completes the upgrade; every message and media file is there" if self.code else "is not needed",
        }


CASES = {
    "locked-fail": Case(
        "the hook before the outage fails",
        {"wa_upgrade_before_outage": str(HOOKS / "fail.yml")},
        serves="old",
        words=("The schema is untouched", "the load balancer did not answer"),
    ),
    "locked-kill": Case(
        "the controller is killed in the hook before the outage",
        {"wa_upgrade_before_outage": str(HOOKS / "hold.yml")},
        serves="old",
    ),
    "stopping-fail": Case(
        "the snapshot command fails, the client stopped",
        {"wa_upgrade_snapshot_command": "/bin/false"},
        serves="old",
        words=("The schema is untouched", "serves again"),
    ),
    "stopping-kill": Case(
        "the controller is killed while the client is being stopped",
        {"wa_upgrade_snapshot_command": "/bin/sleep 8"},
        serves="nothing",
    ),
    "migrating-fail": Case(
        "the migration fails",
        fault="migration_fails",
        serves="nothing",
        words=("nothing is started by itself", "ended with code 1", "docker logs wa-mysql-dbupgrade-1"),
    ),
    "migrating-kill": Case(
        "the controller is killed during the migration, and the host reboots",
        fault="migration_hangs",
        serves="nothing",
        reboot=True,
    ),
    "starting-fail": Case(
        "the new version does not become healthy",
        {"wa_client_health_timeout": 5, "wa_upgrade_skip": ["health", "database_backup"]},
        fault="unregistered",
        words=("The new version may run on some hosts", "The database is migrated", "goes on from here"),
    ),
    "starting-kill": Case(
        "the controller is killed while the new version starts",
        {"wa_upgrade_skip": ["health", "database_backup"]},
        fault="unregistered",
    ),
    "verifying-fail": Case(
        "the hook after the outage fails",
        {"wa_upgrade_after_outage": str(HOOKS / "fail.yml")},
        words=("The new version has answered", "the load balancer did not answer"),
    ),
    "verifying-kill": Case(
        "the controller is killed in the hook after the outage", {"wa_upgrade_after_outage": str(HOOKS / "hold.yml")}
    ),
}


# What keeps an upgrade at a stage until the event is over, and how the table of faults calls that time.
HOLDS = {
    "locked": Case("during the hook before the outage", {"wa_upgrade_before_outage": str(HOOKS / "hold.yml")}),
    "stopping": Case(
        "while the snapshot command runs, the client stopped",
        {"wa_upgrade_snapshot_command": f"sh -c 'touch {HELD}; while [ -e {HELD} ]; do sleep 0.2; done'"},
    ),
    "migrating": Case("during the migration", fault="migration_hangs"),
    "starting": Case(
        "while the new version starts", {"wa_upgrade_skip": ["health", "database_backup"]}, fault="unregistered"
    ),
    "verifying": Case("during the hook after the outage", {"wa_upgrade_after_outage": str(HOOKS / "hold.yml")}),
}
FULL = "No space left on device"
FOLLOWS = "Wait for the migration for another round"  # the task after the first moment of waiting
# As systemd does it. The host's init script kills an engine that has not ended in ten seconds, and one that was killed while it stopped
# a container may not start that again.
RESTART = "pid=$(cat /run/docker.pid) && kill $pid && timeout 90 tail --pid=$pid -f /dev/null && service docker start"
# What comes of the events: exit code, what serves then, what is said.
OUTCOMES: dict[str, tuple[int, str, tuple[str, ...]]] = {
    "locked-docker": (0, "new", ()),
    "locked-database": (0, "new", ()),
    "locked-disk": (2, "old", (FULL, "The schema is untouched")),
    # A hook that loses its host, see the role's README.
    "locked-reboot": (4, "old", ("Data could not be sent to remote host",)),
    "stopping-docker": (0, "new", ()),
    "stopping-database": (0, "new", ()),
    "stopping-disk": (2, "old", (FULL, "The schema is untouched", "serves again")),
    "stopping-reboot": (2, "old", ("cannot be reached any more", "The schema is untouched", "serves again")),
    "migrating-docker": (2, "nothing", ("ended with code 137", "nothing is started by itself")),
    "migrating-database": (2, "nothing", ("ended with code 1", "nothing is started by itself")),
    "migrating-disk": (2, "nothing", (FULL, "nothing is started by itself")),
    "migrating-reboot": (2, "nothing", ("nothing is started by itself",)),
    "starting-docker": (0, "new", ()),
    "starting-database": (0, "new", ()),
    "starting-disk": (2, "new", (FULL, "The database is migrated", "goes on from here")),
    "starting-reboot": (2, "new", ("The database is migrated", "goes on from here")),
    "verifying-docker": (0, "new", ()),
    "verifying-database": (0, "new", ()),
    "verifying-disk": (2, "new", (FULL, "The new version has answered")),
    "verifying-reboot": (4, "new", ("Data could not be sent to remote host",)),
    "stopping-removal": (
        2,
        "old",
        ("removed since the upgrade has stopped it", "The schema is untouched", "serves again"),
    ),
    "migrating-removal": (0, "new", ()),
    "verifying-removal": (2, "nothing", ("goes on from here",)),
}
for _name, (_code, _serves, _words) in OUTCOMES.items():
    _stage, _event = _name.split("-")
    CASES[_name] = replace(
        HOLDS[_stage],
        what=f"{EVENTS.get(_event, REMOVAL)} {HOLDS[_stage].what}",
        code=_code,
        serves=_serves,
        words=_words,
    )


class Lab(observer.Lab):
    """A lab host with a client that is upgraded."""

    def __init__(self, name: str, at: str) -> None:
        super().__init__(name, at)
        state = json.loads((ROOT / ".lab" / name / "state.json").read_text(encoding="utf-8"))
        (self.database,) = state["options"]["engines"]
        self.lock = f"/var/lib/waba/{at}.lock"
        self.media_folder = f"/var/lib/docker/volumes/wa-{at}_whatsappMedia/_data"

    def reboot(self) -> None:
        commands.docker("restart", f"walab-{self.name}-{self.at}")
        self.lab("up")  # which waits until its engine answers

    def happens(self, event: str) -> None:
        """An event of `EVENTS`. One of the engine is over when the containers run again that ran before."""
        if event == "reboot":
            self.reboot()
        elif event == "docker":
            ran, end = set(self.client()), time.monotonic() + 60
            self.host(RESTART)
            self.lab("up")
            while not ran <= set(self.client()) and time.monotonic() < end:
                time.sleep(0.2)
            left = {name: one["State"] for name, one in self.containers().items() if name in ran - set(self.client())}
            expect("what the engine has not started again", left, {})
        elif event == "removal":
            self.host(f"docker rm --force {CLIENT}")
        elif event == "database":
            commands.docker("restart", f"walab-{self.name}-{self.database}")
            self.lab("up")
        else:
            self.host("head -c 2M /dev/zero >/var/lib/waba/fill", check=False)

    def password(self) -> str:
        """The password of the client's user of the database."""
        secrets = json.loads((ROOT / ".lab" / self.name / "secrets.json").read_text(encoding="utf-8"))
        return str(secrets["db_password"])

    def journal(self) -> dict[str, t.Any]:
        text = self.host(f"cat {self.lock}", check=False)
        return t.cast("dict[str, t.Any]", json.loads(text)) if text else {}

    def stage(self) -> str | None:
        """The word for where the upgrade stands; None without one."""
        return observer.upgrade_stage(self.journal())

    def containers(self) -> dict[str, Record]:
        """Name -> record of all containers of the host, running or not."""
        with lab_engine(self.name, self.at) as engine:
            return engine.containers()

    def client(self) -> dict[str, Record]:
        """Those that run, without one that migrates."""
        return {
            name: one
            for name, one in self.containers().items()
            if one["State"]["Running"] and "-dbupgrade-" not in name
        }

    def migrates(self) -> bool:
        """Whether a container that migrates runs."""
        return any(one["State"]["Running"] and "-dbupgrade-" in name for name, one in self.containers().items())

    def running(self) -> set[str]:
        """The versions of the client that run."""
        return {one["Config"]["Image"].rpartition(":v")[2] for one in self.client().values()}

    def rows(self) -> int:
        told = self.lab("sql", "--db", self.database, "--database", "messageStore", "SELECT COUNT(*) FROM messages")
        return int(told.split()[-1])

    def media(self) -> str:
        return self.host(f"cd {self.media_folder} && find . -type f ! -name '.wa*' -exec sha256sum {{}} + | sort")

    def command(self, playbook: str, variables: dict[str, t.Any]) -> list[str]:
        said = {"wa_upgrade_skip": ["database_backup"]} if playbook == "upgrade" else {}
        return [
            "ansible-playbook",
            "-i",
            self.inventory,
            f"waba.onprem.{playbook}",
            "-e",
            json.dumps({**said, **variables}),
        ]

    def start(self, playbook: str, output: t.IO[bytes] | None = None, /, **variables: t.Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(playbook, variables),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output and subprocess.STDOUT,
        )

    def take_over(self) -> dict[str, bool]:
        """What upgrade.yml needs while a run that could not release the lock, or was killed, has its lease."""
        return {"wa_upgrade_take_over": True} if self.journal().get("lease_until", 0) > time.time() else {}

    def say(self, playbook: str, **variables: t.Any) -> str:
        """Run it to its end, show its output, and return that, in one line, with the exit code before it."""
        run = subprocess.run(
            self.command(playbook, variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        print(run.stdout, flush=True)
        return one_line(run.returncode, run.stdout)


def one_line(code: int, output: str) -> str:
    """An exit code, and the output in the same line."""
    return f"{code} " + " ".join(output.replace("\\n", " ").split())


def expect_words(what: str, output: str, code: int, *words: str) -> None:
    """That a playbook ended with `code` and its output has all of `words`; the code stands before the output."""
    found = output.split(" ", 1)[0]
    if found != str(code):
        raise SystemExit(f"{what}: exit code {found}, expected {code}; the end of its output: {output[-1500:]}")
    print(f"  {what}, exit code: as expected", flush=True)
    expect(f"{what}, words", [text for text in words if text not in output], [])


def reach(run: subprocess.Popen[bytes], lab: Lab, stage: str, held: bool) -> None:
    """Return in the middle of a stage, and not on its edge; `held` says whether the upgrade makes the file there."""
    end = time.monotonic() + 600
    while lab.stage() != stage:
        if run.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"stage {stage} was not reached; the upgrade ended with {run.returncode}")
        time.sleep(0.2)
    if held:
        while not lab.host(f"ls {HELD}", check=False) and time.monotonic() < end:
            time.sleep(0.2)
    elif stage == "migrating":
        log = f"docker logs wa-{lab.at}-dbupgrade-1 2>&1 | grep 'held by a fault'"  # between two of its steps
        while not lab.host(log, check=False) and time.monotonic() < end:
            time.sleep(0.2)
    else:
        serving_was = lab.running()
        while lab.running() == serving_was and time.monotonic() < end:
            time.sleep(0.2)


def disturbed(lab: Lab, stage: str, event: str, case: Case, wanted: dict[str, t.Any]) -> str:
    """What a run said, after its exit code, during which something happens at a stage; it goes on when that is over."""
    if event == "disk":
        lab.host(SMALL_DISK)
    with tempfile.TemporaryFile() as file:
        run = lab.start("upgrade", file, **wanted, **case.variables)
        reach(run, lab, stage, bool(HOLDS[stage].variables) and stage != "starting")
        lab.happens(event)
        lab.host(f"rm -f {HELD}")
        if case.fault:
            lab.lab("fault", case.fault, "off")
        run.wait(900)
        output = read(file)
    print(output, flush=True)
    return one_line(run.returncode, output)


def run_case(lab: Lab, name: str, old: str, new: str) -> dict[str, str]:
    """One case: the run that goes wrong, what it leaves, and the run that completes. Returns its row of the table."""
    stage, how = name.split("-")
    case = CASES[name]
    wanted = {"wa_upgrade_version": new, "wa_version": old}
    runs = {"old": {old}, "new": {new}, "nothing": set()}[case.serves]
    print(f"\n### {name}: {old} to {new}", flush=True)
    rows, media = lab.rows(), lab.media()
    if case.fault:
        lab.lab("fault", case.fault, "on")
    if case.reboot:
        lab.host(f"docker update --restart always {CLIENT}")
    if how == "kill":
        run = lab.start("upgrade", **wanted, **case.variables)
        reach(run, lab, stage, stage in ("locked", "verifying"))
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        lab.host(f"rm -f {HELD}")
    elif how == "fail":
        expect_words("first run", lab.say("upgrade", **wanted, **case.variables), 2, *case.words)
    else:
        expect_words("first run", disturbed(lab, stage, how, case, wanted), case.code, *case.words)
    if case.reboot:
        lab.reboot()
    if how == "disk":
        lab.host("rm -f /var/lib/waba/fill")
    left = lab.stage()
    if name in OUTCOMES:  # an old version that serves again may have left its journal on a full disk
        expect("stage left", left in ((None, stage) if case.code else (None,)), True)
    else:
        expect("stage left", left, None if case.serves == "old" and how == "fail" else stage)
    expect("what runs", lab.running(), runs)
    expect("messages", lab.rows(), rows)
    expect("media", lab.media(), media)
    if case.serves != "old" and case.code:
        expect_words("provisioning", lab.say("provision", wa_version=old), 2, "by the upgrade to", new)
        expect("what runs still", lab.running(), runs)
    if case.fault:
        lab.lab("fault", case.fault, "off")
    if how == "kill":
        refused = lab.say("upgrade", **wanted)
        expect_words(
            "second run", refused, 2, "is locked by the upgrade to", "lease until", '"wa_upgrade_take_over": true'
        )
    expect_words("second run", lab.say("upgrade", **wanted, **lab.take_over()), 0)
    if how == "disk":
        lab.host(LARGE_DISK)
    expect("what runs now", lab.running(), {new})
    expect("messages", lab.rows(), rows)
    expect("media", lab.media(), media)
    expect("journal", lab.journal(), {})
    there = [*lab.host(f"ls /opt/waba/{lab.at}").split(), *lab.containers()]
    expect("left over", [name for name in there if re.search(r"compose-|dbupgrade", name)], [])
    return case.row()


@dataclass(frozen=True)
class Bad:
    """Bad input, the exit code of upgrade.yml with it, what is said, and what is done on the host before and afterwards."""

    words: tuple[str, ...]
    variables: dict[str, t.Any]
    code: int = 2
    before: str = ""
    after: str = ""


def bad_inputs(runs: str, new: str) -> dict[str, Bad]:
    """What is no upgrade from `runs` to `new`, by the name of its case."""
    good = {"wa_version": runs}
    upgrade = {**good, "wa_upgrade_version": new}
    ways = ("wa_upgrade_dump: true", "wa_upgrade_snapshot_command", "wa_upgrade_skip: [database_backup]")
    return {
        "bad-latest": Bad(("'latest' is no version of the client",), {**good, "wa_upgrade_version": "latest"}),
        "bad-v": Bad(("'v' is no version of the client",), {**good, "wa_upgrade_version": "v"}),
        "bad-older": Bad((f"2.9.1 is older than the running {runs}",), {**good, "wa_upgrade_version": "2.9.1"}),
        "bad-no-image": Bad(
            ("Set wa_upgrade_version to a version that the registry has",), {**good, "wa_upgrade_version": "2.99.9"}
        ),
        "bad-same": Bad(("nothing to upgrade",), {**good, "wa_upgrade_version": f" vv{runs} "}, code=0),
        "bad-hook": Bad(
            ("ansible.builtin.pause would end the upgrade in the middle",),
            {**good, "wa_upgrade_before_outage": str(HOOKS / "pause.yml")},
        ),
        "bad-next-file": Bad(
            ("refers to undefined volume nowhere",),
            {**upgrade, "wa_client_compose_files": ["/root/more.yml"]},
            before="echo '{services: {wacore: {volumes: [\"nowhere:/x\"]}}}' >/root/more.yml",
            after="rm /root/more.yml",
        ),
        "bad-no-password": Bad(
            ("wa_api_password is not set",), {**upgrade, "wa_api_password": "", "wa_upgrade_skip": ["expiry"]}
        ),
        "bad-no-copy": Bad(
            ("no copy is made before the migration", *ways), {**upgrade, "wa_upgrade_skip": ["settings_backup"]}
        ),
        "bad-no-copy-prepared": Bad(
            ("an upgrade would be refused: database: no copy is made",), {**good, "wa_upgrade_skip": []}, code=0
        ),
        "bad-topology": Bad(
            ("wa_topology: 'ring' is unknown; expected one of: single",), {**good, "wa_topology": "ring"}
        ),
    }


def bad_input(lab: Lab, name: str, runs: str, new: str) -> None:
    """It is refused in a sentence, or is no upgrade; either way what runs goes on, and no journal is left."""
    case = bad_inputs(runs, new)[name]
    print(f"\n### {name}, while {runs} runs", flush=True)
    lab.host(case.before)
    told = lab.say("upgrade", **case.variables)
    expect_words(name, told, case.code, *case.words)
    expect("told", "Canary" in told, False)
    lab.host(case.after)
    expect("what runs", lab.running(), {runs})
    expect("journal", lab.journal(), {})


def two_at_once(lab: Lab, old: str, new: str) -> None:
    """A second operator, while the first one's upgrade runs, is refused and told who it is; the first one ends well."""
    print(f"\n### two at once: {old} to {new}", flush=True)
    wanted = {"wa_upgrade_version": new, "wa_version": old}
    first = lab.start("upgrade", **wanted, wa_upgrade_snapshot_command="/bin/sleep 20")
    while lab.stage() != "stopping":
        if first.poll() is not None:
            raise SystemExit(f"the first run ended with {first.returncode}")
        time.sleep(0.2)
    expect_words("second run", lab.say("upgrade", **wanted), 2, "is locked by the upgrade to", "wa_upgrade_take_over")
    expect_words("provisioning", lab.say("provision", wa_version=old), 2, "locked by the upgrade to")
    expect("first run", first.wait(), 0)
    expect("what runs", lab.running(), {new})


def asleep(lab: Lab, old: str, new: str) -> None:
    """Two controllers fall asleep, one in its hook, one in its snapshot; a third one upgrades. The two wake up, and touch nothing."""
    print(f"\n### controllers that sleep: {old} to {new}", flush=True)
    wanted = {"wa_upgrade_version": new, "wa_version": old}
    with contextlib.ExitStack() as stack:
        runs = []
        for stage in ("locked", "stopping"):
            output = stack.enter_context(tempfile.TemporaryFile())
            run = lab.start("upgrade", output, **wanted, **HOLDS[stage].variables, **lab.take_over())
            runs.append((run, output))
            reach(run, lab, stage, held=True)
            os.killpg(run.pid, signal.SIGSTOP)
            lab.host(f"rm -f {HELD}")
        expect_words("third run", lab.say("upgrade", **wanted, **lab.take_over()), 0)
        expect("what runs", lab.running(), {new})
        serves = {name: one["State"]["StartedAt"] for name, one in lab.client().items()}
        said = ("Another run has taken the deployment over since", "The upgrade is done all the same")
        for (run, output), words in zip(runs, said):
            os.killpg(run.pid, signal.SIGCONT)
            run.wait(900)
            print(read(output), flush=True)
            expect_words("a run that wakes up", one_line(run.returncode, read(output)), 2, words)
    expect("what runs still", {name: one["State"]["StartedAt"] for name, one in lab.client().items()}, serves)
    expect("journal", lab.journal(), {})


def pruned(lab: Lab, old: str, new: str) -> None:
    """All that stands still is removed while the database is copied: nobody knows what has run meanwhile, and the next run copies again."""
    print(f"\n### pruned: {old} to {new}", flush=True)
    wanted = {"wa_upgrade_version": new, "wa_version": old}
    with tempfile.TemporaryFile() as output:
        run = lab.start("upgrade", output, **wanted, **HOLDS["stopping"].variables)
        reach(run, lab, "stopping", held=True)
        lab.host(f"docker container prune --force && rm -f {HELD}")
        run.wait(900)
        print(read(output), flush=True)
        said = ("removed since the upgrade has stopped it", "The old version could not be started again")
        expect_words("first run", one_line(run.returncode, read(output)), 2, *said)
    expect("what runs", lab.running(), set())
    snapshots = "/run/snapshots"
    again = lab.say("upgrade", **wanted, **lab.take_over(), wa_upgrade_snapshot_command=f"tee -a {snapshots}")
    expect_words("second run", again, 0, "goes on")
    expect("snapshots", lab.host(f"ls {snapshots}").split(), [snapshots])
    expect("what runs now", lab.running(), {new})
    expect("journal", lab.journal(), {})


def slow_migration(lab: Lab, old: str, new: str) -> None:
    """A migration outlasts the patience of one run, which says so; the next one stops an old version that was started beside it.

    That one waits for the migration, beyond its first look.
    """
    print(f"\n### slow migration: {old} to {new}", flush=True)
    wanted = {"wa_upgrade_version": new, "wa_version": old}
    lab.lab("fault", "migration_hangs", "on")
    told = lab.say("upgrade", **wanted, __wa_upgrade_migration_seconds=5)
    expect_words("first run", told, 2, "the waiting was stopped, not the migration", "the migration still runs")
    expect("what runs", lab.running(), set())
    lab.host(f"docker start {CLIENT}")
    expect("what was started beside it", lab.running(), {old})
    with tempfile.TemporaryFile() as output:
        second = lab.start("upgrade", output, **wanted)
        while second.poll() is None and FOLLOWS not in read(output):
            time.sleep(0.2)
        expect("what runs beside it", lab.running(), set())
        lab.lab("fault", "migration_hangs", "off")
        second.wait()
        print(read(output), flush=True)
        expect_words("second run", one_line(second.returncode, read(output)), 0, FOLLOWS)
    expect("what runs now", lab.running(), {new})


def read(output: t.IO[bytes]) -> str:
    """What a run has written so far."""
    return os.pread(output.fileno(), 1 << 26, 0).decode()


def hung_snapshot(lab: Lab, old: str, new: str) -> None:
    """A snapshot command that does not end is stopped, and the old version serves again."""
    print(f"\n### hung snapshot: {old} to {new}", flush=True)
    wanted = {"wa_upgrade_version": new, "wa_version": old}
    output = lab.say("upgrade", **wanted, wa_upgrade_snapshot_command="/bin/sleep 4711", wa_upgrade_dump_timeout="5s")
    expect_words("first run", output, 2, "within wa_upgrade_dump_timeout", "it had not ended after 5 s", "serves again")
    expect("what runs", lab.running(), {old})
    expect("left of the command", lab.host("grep -lw 4711 /proc/[0-9]*/cmdline", check=False), "")
    expect_words("second run", lab.say("upgrade", **wanted), 0)
    expect("what runs now", lab.running(), {new})


def refused_start(lab: Lab, old: str, new: str) -> None:
    """The migration's container is gone when it is to be started: the schema is unchanged, so the old version serves again."""
    print(f"\n### refused start: {old} to {new}", flush=True)
    wanted = {"wa_upgrade_version": new, "wa_version": old}
    told = lab.say("upgrade", **wanted, wa_upgrade_snapshot_command=f"docker rm wa-{lab.at}-dbupgrade-1")
    expect_words("first run", told, 2, "migration: could not be started", f"Version {old} serves again")
    expect("what runs", lab.running(), {old})
    expect("journal", lab.journal(), {})
    expect("Compose file", lab.host(f"grep -c :v{new} /opt/waba/{lab.at}/compose.yml", check=False), "0")
    expect_words("second run", lab.say("upgrade", **wanted), 0)
    expect("what runs now", lab.running(), {new})


def started_by_hand(lab: Lab, old: str, new: str) -> None:
    """Somebody starts things beside an upgrade: what has started counts, not its name, and no half migrated database is copied as the old version's."""
    print(f"\n### started by hand: {old} to {new}", flush=True)
    copies = {"wa_upgrade_snapshot_command": "sh -c 'echo copy >>/run/copies'"}
    wanted = {"wa_upgrade_version": new, "wa_version": old, **copies}
    core = next(one["Config"]["Image"] for one in lab.client().values() if "core" in one["Config"]["Image"])
    stranger = f"wa-{lab.at}-dbupgrade-1"
    lab.host(f"docker run --name {stranger} --entrypoint true {core.rpartition(':')[0]}:v{old}")
    expect_words("a container of its name", lab.say("upgrade", **wanted), 2, "could not be created", stranger)
    expect("what runs", lab.running(), {old})
    lab.host(f"docker rm {stranger}")
    lab.lab("fault", "migration_fails", "on")
    expect_words("a run whose migration fails", lab.say("upgrade", **wanted), 2, "ended with code 1")
    lab.host(f"docker start {CLIENT}")
    expect("what was started", lab.running(), {old})
    again = lab.say("upgrade", **wanted)
    expect_words("the next run", again, 2, "ended with code 1", "nothing is started by itself")
    expect("what runs", lab.running(), set())
    lab.lab("fault", "migration_fails", "off")
    lab.host(f"cd /opt/waba/{lab.at} && docker compose up --detach", check=False)
    expect("what the parked file starts", lab.running(), set())
    lab.host(f"cd /opt/waba/{lab.at} && docker compose --file compose-{new}.yml up --detach")
    expect("what was started", lab.running(), {new})
    expect_words("last run", lab.say("upgrade", **wanted), 0, "goes on")
    expect("copies", lab.host("cat /run/copies"), "copy")
    lab.host("rm /run/copies")
    expect("what runs now", lab.running(), {new})
    expect("journal", lab.journal(), {})
    there = [*lab.host(f"ls /opt/waba/{lab.at}").split(), *lab.containers()]
    expect("left over", [name for name in there if re.search(r"compose-|dbupgrade", name)], [])


def lost_journal(lab: Lab, old: str, new: str) -> None:
    """The lock file is removed after a failed migration, and in one: nothing starts the old version, and the same upgrade finds its way."""
    print(f"\n### lost journal: {old} to {new}", flush=True)
    wanted = {"wa_upgrade_version": new, "wa_version": old}
    lab.lab("fault", "migration_fails", "on")
    expect_words("a run whose migration fails", lab.say("upgrade", **wanted), 2, "ended with code 1")
    lab.lab("fault", "migration_fails", "off")
    lab.host(f"rm {lab.lock}")
    expect_words("provisioning after that", lab.say("provision", wa_version=old), 2, "no journal is left")
    expect("what runs after that", lab.running(), set())
    lab.lab("fault", "migration_hangs", "on")

    def lose() -> None:
        end = time.monotonic() + 600
        while not lab.migrates() and time.monotonic() < end:
            time.sleep(0.2)
        lab.host(f"rm {lab.lock}")
        lab.lab("fault", "migration_hangs", "off")

    loser = threading.Thread(target=lose)
    loser.start()
    told = lab.say("upgrade", **wanted)
    loser.join()
    expect_words("first run", told, 2, "The lock file is gone", f"do not start version {old}", "by its container")
    expect("what runs", lab.running(), set())
    refused = lab.say("provision", wa_version=old)
    expect_words(
        "provisioning",
        refused,
        2,
        "no journal is left",
        "which goes on from there",
        "waba.onprem.upgrade -e ",
        f"-e wa_upgrade_version={new}",
    )
    expect("what runs still", lab.running(), set())
    expect_words("second run", lab.say("upgrade", **wanted), 0, "goes on")
    expect("what runs now", lab.running(), {new})
    expect("journal", lab.journal(), {})


def cut_stop(lab: Lab, old: str, new: str) -> None:
    """A stop whose connection breaks goes on at the host. The rollback starts the client after it, not beside it."""
    print(f"\n### a stop whose connection breaks: {old} to {new}", flush=True)
    wanted = {"wa_upgrade_version": new, "wa_version": old}
    with tempfile.TemporaryFile() as output:
        run = lab.start("upgrade", output, **wanted)
        lab.host(CUT_STOP.format(lock=lab.lock, at=lab.at), check=False)
        run.wait()
        print(read(output), flush=True)
        printed = one_line(run.returncode, read(output))
    expect_words("first run", printed, 2, "cannot be reached any more", "The schema is untouched", "serves again")
    expect("what stops still", lab.host("pgrep -fa 'AnsiballZ_wa_client'", check=False), "")
    expect("what runs", lab.running(), {old})
    expect_words("second run", lab.say("upgrade", **wanted), 0)
    expect("what runs now", lab.running(), {new})
    expect("journal", lab.journal(), {})


def second_coreapp(lab: Lab, old: str, new: str) -> None:
    """Something elsewhere uses the database since the client was stopped: the rollback does not start the client beside it."""
    print(f"\n### a second Coreapp: {old} to {new}", flush=True)
    wanted = {"wa_upgrade_version": new, "wa_version": old}
    password = lab.password()
    words = ["mariadb", "--host=mariadb.lab", "--user=whatsapp", "messageStore", "--execute=SELECT SLEEP(300)"]

    def use() -> None:
        lab.host("until [ -e /run/stopped ]; do sleep 0.2; done")
        with contextlib.suppress(AssertionError):  # it is ended by the server
            commands.docker("exec", "--env", f"MYSQL_PWD={password}", f"walab-{lab.name}-mariadb", *words)

    other = threading.Thread(target=use)
    other.start()
    fails = "sh -c 'touch /run/stopped; sleep 5; exit 1'"
    output = lab.say("upgrade", **wanted, wa_upgrade_snapshot_command=fails)
    expected = (
        "its user still has sessions",
        "The schema is untouched",
        "The old version could not be started again",
    )
    expect_words("first run", output, 2, *expected)
    expect("what runs", lab.running(), set())
    again = lab.say("upgrade", **wanted, wa_upgrade_snapshot_command="true")
    expect_words("second run, beside it", again, 2, "its user still has sessions", "could not be started again")
    expect("what runs", lab.running(), set())
    for number in re.findall(r"\d+", again.rpartition("pg_terminate_backend): ")[2].partition(")")[0]):
        lab.lab("sql", "--db", lab.database, f"KILL {number}")
    other.join()
    lab.host("rm /run/stopped")
    lab.host(f"docker start {CLIENT}")
    third = lab.say("upgrade", **wanted, wa_upgrade_before_outage=str(HOOKS / "fail.yml"))
    expect_words("third run, of a client that was started", third, 2, f"Version {old} serves again")
    expect("what runs", lab.running(), {old})
    expect_words("last run", lab.say("upgrade", **wanted), 0)
    expect("what runs now", lab.running(), {new})
    expect("journal", lab.journal(), {})


def killed_copy(lab: Lab, old: str, new: str) -> None:
    """The controller dies while the database is copied, which goes on: the next run waits for the snapshot and the dump."""
    print(f"\n### a copy whose run is killed: {old} to {new}", flush=True)
    copies = {
        "wa_upgrade_snapshot_command": "sh -c 'mkdir /run/copying && sleep 15 && rmdir /run/copying'",
        "wa_upgrade_dump": True,
        "wa_upgrade_skip": [],
    }
    wanted = {"wa_upgrade_version": new, "wa_version": old, **copies}
    tool = "/usr/local/bin/mariadb-dump"
    lab.host("apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install mariadb-client >/dev/null")
    lab.host(f"printf %s {shlex.quote(SLOW_DUMP)} >{tool} && chmod +x {tool}")
    for waits in (
        "until [ -e /run/copying ]; do sleep 0.2; done",
        "until [ -e /run/dumps ]; do sleep 0.2; done; sleep 2",
    ):
        run = lab.start("upgrade", **wanted, **lab.take_over())
        lab.host(waits)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    expect_words("last run", lab.say("upgrade", **wanted, **lab.take_over()), 0, "goes on")
    expect("dumps made", lab.host("cat /run/dumps"), "dump")
    expect("dumps", lab.host("ls /var/lib/waba/dumps/*.sql.* | wc -l"), "1")  # beside its manifest
    lab.host(f"rm -r {tool} /run/dumps /var/lib/waba/dumps")
    expect("what runs now", lab.running(), {new})
    expect("journal", lab.journal(), {})


def way_back(lab: Lab, old: str, new: str) -> None:
    """The command that a failed upgrade displays brings back the old version, with the database as it was after the stop."""
    print(f"\n### the way back: {new} to {old}", flush=True)
    wanted = {"wa_upgrade_version": new, "wa_version": old, "wa_upgrade_dump": True}
    rows, media = lab.rows(), lab.media()
    expect_words("before the tool is there", lab.say("upgrade", **wanted, wa_upgrade_skip=[]), 2, "Install")
    expect_words("provisioning", lab.say("provision", wa_version=old, wa_upgrade_dump=True), 0)
    lab.lab("fault", "unregistered", "on")
    failed = lab.say("upgrade", **wanted, wa_client_health_timeout=5, wa_upgrade_skip=["health"])
    expect_words("first run", failed, 2, "The database is migrated", f"waba.onprem.restore -e wa_version={old}")
    lab.lab("fault", "unregistered", "off")
    restore = {"wa_version": old}
    expect_words("without a word", lab.say("restore", **restore), 2, "the client has run since the copy was made")
    expect("what runs", lab.running(), {new})
    restore["wa_restore_accept_lost"] = "true"
    run = lab.start("restore", **restore)
    while lab.running() and run.poll() is None:
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    expect_words(
        "provisioning", lab.say("provision", wa_version=old), 2, "restore of its database", "waba.onprem.restore"
    )
    expect_words("upgrade", lab.say("upgrade", **wanted, **lab.take_over()), 2, "restore.yml -e wa_restore=")
    expect("what runs", lab.running(), set())
    expect_words("restore", lab.say("restore", **restore, **lab.take_over()), 0)
    expect("what runs", lab.running(), {old})
    expect("messages", lab.rows(), rows)
    expect("media", lab.media(), media)
    expect_words("provisioning", lab.say("provision", wa_version=old), 0)
    expect_words("second run", lab.say("upgrade", **wanted), 0)
    expect("what runs now", lab.running(), {new})
    expect("messages", lab.rows(), rows)


def expired(lab: Lab, old: str, new: str) -> None:
    """A client that answers 1005 to everything is refused, and upgraded when its gate is passed by name."""
    print(f"\n### expired: {old} to {new}", flush=True)
    wanted = {"wa_upgrade_version": new, "wa_version": old}
    lab.lab("fault", "expired", "on")
    expect_words("without the gate", lab.say("upgrade", **wanted), 2, "expired")
    expect("what runs", lab.running(), {old})
    # The old version has expired, the new one has not: the fault ends between the two.
    renew = (
        "import urllib.request as u; u.urlopen(u.Request('http://control.lab:8000/faults/expired', method='DELETE'))"
    )
    passed = {"wa_upgrade_skip": ["expiry", "settings_backup"], "wa_upgrade_snapshot_command": f'python3 -c "{renew}"'}
    expect_words("with it", lab.say("upgrade", **wanted, **passed), 0, "Check skipped on request: expiry")
    expect("what runs now", lab.running(), {new})


OTHERS = {
    "two-at-once": two_at_once,
    "asleep": asleep,
    "pruned": pruned,
    "hung-snapshot": hung_snapshot,
    "slow-migration": slow_migration,
    "refused-start": refused_start,
    "started-by-hand": started_by_hand,
    "cut-stop": cut_stop,
    "second-coreapp": second_coreapp,
    "killed-copy": killed_copy,
    "lost-journal": lost_journal,
    "way-back": way_back,
    "expired": expired,
}


def main() -> None:
    name, host, *words = sys.argv[1:]
    record = "--record" in words
    inventory = (ROOT / ".lab" / name / "inventory.yml").read_text(encoding="utf-8")
    versions = json.loads(re.findall(r"lab_versions: (\[.*\])", inventory)[0])
    lab = Lab(name, host)
    chosen = [
        case
        for case, (database, layer) in PLACES.items()
        if case in words or (layer in words and DATABASES[database] == lab.database)
    ]
    lab.lab("seed", "--rows", str(ROWS), "--db", lab.database)
    lab.host(f"head -c 100000 /dev/urandom > {lab.media_folder}/incoming-planted")
    rows = []
    for case in chosen:
        runs = lab.running().pop()
        following = versions[versions.index(runs) + 1]
        try:
            if case in CASES:
                rows.append(run_case(lab, case, runs, following))
            elif case in OTHERS:
                OTHERS[case](lab, runs, following)
            else:
                bad_input(lab, case, runs, following)
        except SystemExit as error:
            raise SystemExit(f"{case}: {error}") from None
    compare_table("upgrade_faults", rows, record)


if __name__ == "__main__":
    main()
