# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PID 1 of a lab host: starts its services as a small server would, reaps, and says in its log what ended.

`docker logs` shows what it says. A service that dies (killed, or a non-zero exit) is started again, as systemd's
`Restart=on-failure` does, and that is logged; one that was stopped stays stopped.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

SERVICES = ("ssh", "cron", "cronie", "docker")
# The process that a service is known by, and the service.
NAMES = {"sshd": "ssh", "cron": "cron", "crond": "cronie", "dockerd": "docker"}
RESTARTS_A_MINUTE = 3


def say(text: str) -> None:
    """One line to the container's log."""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} init: {text}", file=sys.stderr, flush=True)


def authorize() -> None:
    """Let the lab's own key in, as root and as the user `operator`; make this host's key once."""
    key = os.environ.get("LAB_AUTHORIZED_KEY", "")
    for user in ("root", "operator"):
        account = pwd.getpwnam(user)
        folder = Path(account.pw_dir, ".ssh")
        folder.mkdir(mode=0o700, exist_ok=True)
        keys = folder / "authorized_keys"
        keys.write_text(key + "\n", encoding="utf-8")
        for path in (folder, keys):
            os.chown(path, account.pw_uid, account.pw_gid)
    if not Path("/etc/ssh/ssh_host_ed25519_key").exists():
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/etc/ssh/ssh_host_ed25519_key"], check=True
        )
    Path("/run/sshd").mkdir(exist_ok=True)


def open_cgroups() -> None:
    """On cgroup v2, move ourselves to a leaf, so that the Docker Engine in here may limit its own containers."""
    root = Path("/sys/fs/cgroup")
    if not (root / "cgroup.controllers").exists():
        return
    leaf = root / "init"
    leaf.mkdir(exist_ok=True)
    for pid in (root / "cgroup.procs").read_text(encoding="ascii").split():
        try:
            (leaf / "cgroup.procs").write_text(pid, encoding="ascii")
        except ProcessLookupError:
            continue  # it ended since we read the list
    wanted = " ".join(f"+{name}" for name in (root / "cgroup.controllers").read_text(encoding="ascii").split())
    (root / "cgroup.subtree_control").write_text(wanted, encoding="ascii")


def prepare() -> None:
    """What a boot does before services start. /run is a tmpfs, so no stale pid file survives a power cut."""
    for name in ("lock", "lock/subsys"):
        Path("/run", name).mkdir(exist_ok=True)
    # The Engine in here needs mounts that propagate, as systemd sets them up on a real host.
    subprocess.run(["mount", "--make-rshared", "/"], check=True)
    open_cgroups()
    authorize()


def syslogd() -> list[str]:
    """The command of a log daemon that keeps all in one file: that of older releases does so, and refuses the option."""
    command = ["busybox", "syslogd"]
    usage = subprocess.run(
        [*command, "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    ).stdout
    return [*command, "-n", "-O", "/var/log/syslog", *(["-s", "0"] if "\t-s SIZE" in usage else [])]


class Init:
    """The one place that collects children: daemons that let go of their parents become ours."""

    def __init__(self) -> None:
        self.restarts: list[float] = []
        self.stopping = False

    def reap(self, awaited: int = 0) -> int | None:
        """Collect all children that have ended by now; return the exit code of the awaited one, if it was among them."""
        found_code = None
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return found_code
            if found is None:
                return found_code
            # Its name can be read for as long as it is not collected.
            name = Path(f"/proc/{found.si_pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
            code = os.waitstatus_to_exitcode(os.waitpid(found.si_pid, 0)[1])
            if found.si_pid == awaited:
                found_code = code
            else:
                self.ended(name, code)

    def service(self, name: str, verb: str) -> None:
        """Start or stop a service by its own init script, if it is installed.

        Children are collected meanwhile: a script that stops a daemon waits until it is gone, not a zombie.
        """
        script = Path("/etc/init.d", name)
        if not os.access(script, os.X_OK):  # a package that another one replaced may leave its script, switched off
            return
        with tempfile.TemporaryFile() as said:
            child = subprocess.Popen([str(script), verb], stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            while (code := self.reap(child.pid)) is None:
                time.sleep(0.02)
            child.returncode = code  # collected above
            said.seek(0)
            if code != 0:
                say(f"{name} {verb}: exit code {code}: {said.read().decode(errors='replace').strip()}")

    def ended(self, name: str, code: int) -> None:
        """Judge the end of a process called `name`: `code` is its exit code, or minus the signal that ended it."""
        # sshd's children for sessions have another name (sshd-session), cron's jobs are never ours.
        owner = NAMES.get(name)
        if owner is None or self.stopping or code in (0, -signal.SIGTERM):
            return
        now = time.monotonic()
        self.restarts = [moment for moment in self.restarts if now - moment < 60]
        if len(self.restarts) >= RESTARTS_A_MINUTE:
            say(f"{owner} ended ({code}) too often: left alone")
            return
        self.restarts.append(now)
        say(f"{owner} ended ({code}): started again")
        self.service(owner, "start")

    def run(self) -> int:
        """Boot, wait, reap; stop the services when asked to."""
        subprocess.Popen(syslogd(), stdin=subprocess.DEVNULL)
        for name in SERVICES:
            self.service(name, "start")
        say("up")
        while not self.stopping:
            self.reap()
            time.sleep(0.2)
        for name in reversed(SERVICES):
            self.service(name, "stop")
        say("down")
        return 0


def main() -> int:
    """Become the host's first process."""
    init = Init()

    def stop(number: int, frame: FrameType | None) -> None:
        init.stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    # Ansible reads the service manager's kind from here; the interpreter's name would mislead it.
    Path("/proc/self/comm").write_text("init", encoding="ascii")
    prepare()
    return init.run()


if __name__ == "__main__":
    sys.exit(main())
