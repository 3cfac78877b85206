# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two controllers behind receptor look at a part of the fleet each, and a third one reports all, as docs/guides/controllers.md has it.

Keys, configurations and the script are those of the guide; names, ports and folders are this machine's.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import typing as t
from pathlib import Path

import commands
import pytest
from waiting import until

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from observer import Lab  # noqa: E402 - needs the path above

NAME = "deep-mesh"
LAB = ROOT / ".lab" / NAME
DOCS = ROOT / "docs"
PACKAGES = ("receptor", "python3-receptorctl", "python3-click", "python3-dateutil", "python3-yaml")
WORKERS = {"north": ["h1"], "south": ["h2", "away"]}
NODES = ("main", *WORKERS)
# What differs from one look to the next: times and ages, how many connections are open, and how much is free.
MOVING = re.compile(
    "time|age_seconds|seconds|end_of_life_seconds|connections_used|free_bytes|nodes|sent|started|last_success|began"
)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def still(part: t.Any) -> t.Any:
    """The part of a report that every look finds the same."""
    if isinstance(part, dict):
        return {key: still(value) for key, value in part.items() if not MOVING.fullmatch(key)}
    return [still(one) for one in part] if isinstance(part, list) else part


class Mesh:
    """Three controllers in a folder each, on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.here = folder, folder / "main"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        programs = LAB / "programs"
        commands.run("bash", "-c", f". script/lib.sh && unpack {programs} {' '.join(PACKAGES)}", cwd=ROOT)
        libraries = ":".join(str(programs / name / "usr/lib/python3/dist-packages") for name in PACKAGES[1:])
        (folder / "bin").mkdir()
        receptorctl = programs / "python3-receptorctl/usr/bin/receptorctl"
        (folder / "bin/receptorctl").write_text(
            f'#!/bin/sh\nPYTHONPATH={libraries} exec /usr/bin/python3 {receptorctl} "$@"\n'
        )
        (folder / "bin/receptorctl").chmod(0o755)
        (folder / "bin/receptor").symlink_to(programs / "receptor/usr/bin/receptor")
        (folder / "vault-password").write_text("Canary-of-the-vault")
        self.port = free_port()
        self.keys()
        for name in NODES:
            self.configure(name)
            self.start(name)
        self.private()

    def environment(self, name: str) -> dict[str, str]:
        """As systemd gives it to a node: a home of its own, and no terminal."""
        return {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "ANSIBLE_COLLECTIONS_PATH": os.environ["ANSIBLE_COLLECTIONS_PATH"],
            "HOME": str(self.folder / name),
            "TMPDIR": str(self.folder / name / "tmp"),
            "RECEPTORCTL_SOCKET": str(self.folder / "control.sock"),
            "WABA_VAULT": str(self.folder / "vault-password"),
            "WABA_LIMIT": "90s",
        }

    def keys(self) -> None:
        """Those of the guide."""
        guide = (DOCS / "guides/controllers.md").read_text(encoding="utf-8")
        (script,) = re.findall(r"(?m)^```\n(receptor --cert-init [^`]*)^```$", guide)
        (self.folder / "keys").mkdir()
        script = script.replace("$node.example.com", "localhost")
        commands.run("bash", "-euc", script, cwd=self.folder / "keys", env=self.environment("main"))

    def configure(self, name: str) -> None:
        (self.folder / name / "tmp").mkdir(parents=True)
        kind = "main" if name == "main" else "worker"
        text = (DOCS / f"controllers/receptor-{kind}.yml").read_text(encoding="utf-8")
        for before, after in (
            ("/etc/receptor/", f"{self.folder}/keys/"),
            ("/var/lib/receptor", str(self.folder / name / "data")),
            ("/run/receptor/control.sock", str(self.folder / "control.sock")),
            # By which a test speaks as a worker.
            ("control\n- work-verification", f"control\n    filename: {self.folder}/{name}.sock\n- work-verification"),
            ("main.example.com:27199", f"localhost:{self.port}"),
            ("27199", str(self.port)),
            ("north", name),
        ):
            text = text.replace(before, after)
        (self.folder / name / "receptor.conf").write_text(text)

    def start(self, name: str) -> None:
        with (self.folder / name / "log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                ["receptor", "-c", str(self.folder / name / "receptor.conf")],
                env=self.environment(name),
                stdout=log,
                stderr=log,
                executable=self.folder / "bin/receptor",
            )

    def connected(self) -> bool:
        return all(f"\n{name} " in self.ctl("status") for name in WORKERS)

    def ctl(self, *words: str) -> str:
        return self.run("receptorctl", *words)[1]

    def private(self) -> None:
        """The private data folder: the lab's inventory with a group for each node, and its secrets in a vault."""
        inventory = self.here / "private/inventory"
        inventory.mkdir(parents=True)
        (self.here / "private/project").mkdir()
        shutil.copy(LAB / "inventory.yml", inventory / "lab.yml")
        shutil.copytree(LAB / "group_vars", inventory / "group_vars")
        groups: dict[str, t.Any] = {name: {"hosts": {host: {} for host in hosts}} for name, hosts in WORKERS.items()}
        away = {"ansible_port": 1, "wa_db_env_hostname": "db.example.com"}
        (inventory / "nodes.json").write_text(
            json.dumps({"all": {"children": {**groups, "lab": {"hosts": {"away": away}}}}})
        )
        (inventory / "group_vars/all/reports.yml").write_text("wa_report_dir: ~/reports\nwa_backup_dir: ''\n")
        vault = ("--vault-password-file", self.folder / "vault-password")
        commands.run("ansible-vault", "encrypt", *vault, inventory / "group_vars/all/secrets.yml")

    def run(self, *argv: str | Path) -> tuple[int, str]:
        done = subprocess.run(
            argv,
            cwd=self.here,
            env=self.environment("main"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def merged(self) -> subprocess.Popen[str]:
        """The guide's script, running."""
        return subprocess.Popen(
            [DOCS / "controllers/mesh-status", *WORKERS],
            cwd=self.here,
            env=self.environment("main"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def report(self) -> t.Any:
        return json.loads((self.here / "reports/fleet.json").read_text(encoding="utf-8"))

    def kill(self, name: str) -> None:
        """Ends a node with all that receptor has started there, which is no child of its."""
        home = f"HOME={self.folder / name}\0".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if home in path.read_bytes():
                    os.kill(int(path.parent.name), signal.SIGKILL)
        self.processes[name].wait()


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Mesh]:
    lab = Lab(NAME, "h1")
    try:
        lab.lab("up", "--hosts", "h1:ready,h2:ready", "--db", "mariadb")
        first = lab.play("provision", {})
        assert first.code == 0, first.output
        lab.host("sed -i 's/^WA_DB_PORT=.*/WA_DB_PORT=3999/' /opt/waba/h1/db.env")
        made = Mesh(tmp_path_factory.mktemp("mesh"))
        try:
            until(made.connected)
            yield made
        finally:
            for name in NODES:
                made.kill(name)
    finally:
        lab.lab("down")


def secrets() -> list[bytes]:
    return [value.encode() for value in json.loads((LAB / "secrets.json").read_text()).values()]


def holding_a_secret(folder: Path) -> list[str]:
    words = secrets()
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if any(word in path.read_bytes() for word in words)]


def test_the_merged_report_is_that_of_a_single_controller(mesh: Mesh) -> None:
    vault = ("--vault-password-file", str(mesh.folder / "vault-password"))
    code, output = mesh.run("ansible-playbook", "-i", "private/inventory", *vault, "waba.onprem.status")
    assert code == 4, output
    alone = mesh.report()
    assert {one["name"]: one["state"] for one in alone["deployments"]} == {
        "away": "unreachable",
        "h1": "drifted",
        "h2": "in_sync",
    }
    merged = mesh.merged()
    said, _error = merged.communicate()
    assert merged.returncode == 4, said
    assert mesh.report()["time"] > alone["time"]
    assert still(mesh.report()) == still(alone)
    # Each worker has seen its own part only, and nothing waits in receptor.
    for name, hosts in WORKERS.items():
        report = json.loads((mesh.folder / name / "reports/fleet.json").read_text())
        assert sorted(one["name"] for one in report["deployments"]) == sorted(hosts)
    assert json.loads(mesh.ctl("work", "list")) == {}


def test_work_that_is_not_signed_is_refused(mesh: Mesh) -> None:
    said = mesh.ctl("work", "submit", "ansible-runner", "--node", "north", "--no-payload", "--follow")
    assert "signature is empty" in said
    mesh.ctl("work", "release", "--all")


def test_a_worker_has_main_sign_no_work_for_another_one(mesh: Mesh) -> None:
    work = {"node": "south", "worktype": "ansible-runner", "signwork": "true"}
    submit = json.dumps({"command": "work", "subcommand": "submit", **work})
    with socket.socket(socket.AF_UNIX) as north:
        north.connect(str(mesh.folder / "north.sock"))
        north.sendall(f"connect main control\n{submit}\n".encode())
        greeting, said = itertools.islice(north.makefile("rb"), 2)
    assert greeting == b"Receptor Control, node north\n"
    assert said.startswith(b"ERROR: ")
    assert json.loads(mesh.ctl("work", "list")) == {}


@pytest.mark.parametrize(("keys", "alert"), [("", b"alert certificate required"), ("strangers", b"alert unknown ca")])
def test_a_node_without_a_certificate_of_the_authority_is_kept_out(mesh: Mesh, keys: str, alert: bytes) -> None:
    files = []
    if keys:
        make = f"req -x509 -newkey rsa:2048 -nodes -subj /CN=north -keyout {keys}.key -out {keys}.crt"
        commands.run("openssl", *make.split(), cwd=mesh.folder)
        files = ["-cert", f"{keys}.crt", "-key", f"{keys}.key"]
    address = ["-connect", f"localhost:{mesh.port}", "-CAfile", "keys/ca.crt", "-verify_return_error"]
    done = subprocess.run(
        ["openssl", "s_client", *address, *files, "-ign_eof"],
        cwd=mesh.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert b"New, TLSv1.3" in done.stdout
    assert alert in done.stderr


def test_the_hosts_of_a_killed_controller_are_unknown(mesh: Mesh) -> None:
    merged = mesh.merged()
    work = mesh.folder / "south/data"
    # In the midst of its work, with all that receptor has started there.
    until(lambda: any("runner_on_start" in path.read_text(errors="replace") for path in work.rglob("stdout")))
    mesh.kill("south")
    said, _error = merged.communicate()
    assert merged.returncode == 2, said
    states = {one["name"]: (one["state"], one["causes"]) for one in mesh.report()["deployments"]}
    assert {name: state for name, (state, _causes) in states.items()} == {
        "away": "unknown",
        "h1": "drifted",
        "h2": "unknown",
    }
    (cause,) = states["h2"][1]
    assert cause["text"] == "no result of the last hour of controller south"


def test_no_secret_has_travelled_or_is_left(mesh: Mesh) -> None:
    """What travels is the private data folder and what stands in receptor's folders, also those of the controller that was killed."""
    assert len(secrets()) > 3
    left = [*(mesh.folder / "south/data").rglob("stdin")]
    assert left, "what was sent to the killed controller"
    assert holding_a_secret(mesh.folder) == []
    assert [*(mesh.here / "tmp").iterdir()] == []
