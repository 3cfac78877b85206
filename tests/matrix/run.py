# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the collection on the cells of one ansible-core: each step on all hosts of a lab that passed the previous steps.

    run.py CORE [DATABASE...]      with `ansible-playbook` of that core first in PATH; all cells of the core, or the given ones

Writes the result of each step of each cell to tests/matrix/results.json. Exits with 1 if a cell failed.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "lab")]

import commands  # noqa: E402 - needs the paths above
from cells import PASSED, SETTINGS, STEPS, Cell, cells  # noqa: E402
from engine import Record, lab_engine  # noqa: E402
from observer import Lab  # noqa: E402

RESULTS = HERE / "results.json"
OLD, NEW = "2.51.2", "2.53.4"
ROWS, LIMIT = 30000, 20000
GC: dict[str, t.Any] = {
    "wa_message_gc_max_messages": LIMIT,
    "wa_message_gc_policy": "always",
    "wa_message_gc_window": "00:00-24:00",
}
CERTIFICATES = ("ca.pem", "client.pem", "client-key.pem")
# Logs in at the database with the settings of the container that it runs in.
LOGIN = """
from simclient.database import Database, DatabaseError
from simclient.settings import DatabaseSettings
import os
try:
    Database(DatabaseSettings.from_env(os.environ)).connect(None)
    print("accepted")
except DatabaseError:
    print("refused")
"""
RECAP = re.compile(r"^(\S+) +: ok=\d+ +changed=(\d+) +unreachable=(\d+) +failed=(\d+) ", re.MULTILINE)
FAILURE = re.compile(r"^fatal: \[(\S+?)(?: -> \S+)?\]: .*?\"msg\": \"(.*?)\"[,}]", re.MULTILINE)
# The only warning that a cell may have: the release of the host has another tool than the server's own.
EXPECTED_WARNING = "the server's own tool is surer"


class CellError(Exception):
    """An unexpected state of a cell."""


class Matrix:
    """The lab of one ansible-core, and the results of its cells."""

    def __init__(self, name: str, chosen: t.Sequence[Cell]) -> None:
        self.name = name
        self.cells = {cell.host: cell for cell in chosen}
        self.good = list(self.cells)
        self.results: dict[str, dict[str, str]] = {host: {} for host in self.cells}
        self.failed: dict[str, str] = {}
        self.labs = {host: Lab(name, host) for host in self.cells}

    def up(self) -> None:
        """Start a lab with a host for each cell, with its release, database server and Compose."""
        hosts = ",".join(
            f"{host}:ready@{one.release}@{one.database}@compose-{one.compose}" for host, one in self.cells.items()
        )
        databases = ",".join(one.database for one in self.cells.values())
        lab = ("--name", self.name, "--hosts", hosts, "--db", databases, "--versions", OLD, NEW)
        commands.run(ROOT / "tests/lab/lab", "up", *lab)
        for host, one in self.cells.items():
            if one.database in SETTINGS:
                self.labs[host].lab("sql", "--db", one.database, SETTINGS[one.database])

    def down(self) -> None:
        """Remove the lab."""
        commands.run(ROOT / "tests/lab/lab", "down", "--name", self.name)

    def fail(self, host: str, step: str, why: str) -> None:
        """Record the first failure of a cell; the cell skips all later steps."""
        self.good.remove(host)
        self.failed[host] = f"{step}: {' '.join(why.split())[:600]}"
        self.results[host][step] = "failed"

    def each(self, step: str, check: t.Callable[[str], None], but: t.Mapping[str, str] | None = None) -> None:
        """Run a step on each host that passed the previous steps, except those of `but`, which has the reasons."""
        for host in self.cells:
            if host in self.failed:
                self.results[host][step] = "not run after the failure"
            elif host in (but or {}):
                self.results[host][step] = f"left out: {(but or {})[host]}"
            else:
                try:
                    check(host)
                except (CellError, AssertionError) as error:
                    self.fail(host, step, str(error))
                else:
                    self.results[host][step] = PASSED

    def run(
        self, step: str, playbook: str, hosts: t.Sequence[str], *arguments: str, inventory: str = "", **variables: t.Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a playbook on hosts, with the callback of ansible-core, which has no other."""
        command = ["ansible-playbook", "-i", inventory or self.labs[hosts[0]].inventory, f"waba.onprem.{playbook}"]
        command += ["--limit", ",".join(hosts), "--diff", *arguments, "-e", json.dumps(variables)]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        print(f"### {step}\n{done.stdout}", flush=True)
        return done

    def play(
        self,
        step: str,
        playbook: str,
        changes: t.Callable[[int], bool] | t.Mapping[str, int],
        *arguments: str,
        inventory: str = "",
        but: t.Mapping[str, str] | None = None,
        **variables: t.Any,
    ) -> None:
        """Run a playbook on the remaining hosts except `but`; each must succeed, with the expected changes, without a warning."""
        hosts = [host for host in self.good if host not in (but or {})]
        if not hosts:
            self.each(step, lambda _host: None, but)
            return
        done = self.run(step, playbook, hosts, *arguments, inventory=inventory, **variables)
        ends = {
            host: (int(changed), int(lost), int(failed)) for host, changed, lost, failed in RECAP.findall(done.stdout)
        }
        failures = dict(FAILURE.findall(done.stdout))
        warnings = [line for line in done.stdout.splitlines() if "WARNING]" in line and EXPECTED_WARNING not in line]

        def check(host: str) -> None:
            if host not in ends:
                raise CellError(f"{playbook}.yml did not get to it: {done.stdout[-500:]}")
            changed, lost, failed = ends[host]
            if lost or failed:
                raise CellError(failures.get(host) or f"{playbook}.yml failed")
            if not changes(changed) if callable(changes) else changed != changes.get(host, 0):
                raise CellError(f"{playbook}.yml had {changed} changes")
            if warnings:
                raise CellError(warnings[0])
            if "Canary-" in done.stdout:
                raise CellError("a secret was shown")

        self.each(step, check, but)

    def sql(self, host: str, statement: str) -> str:
        """The last word that the cell's database server answers."""
        database = f"{host.replace('-', '_')}_messageStore"
        words = self.labs[host].lab("sql", "--db", self.cells[host].database, "--database", database, statement).split()
        return words[-1]

    def containers(self, host: str) -> dict[str, Record]:
        """The containers of a host, by name."""
        with lab_engine(self.name, host) as engine:
            return engine.containers()


def expect(what: str, found: object, expected: object) -> None:
    """Raise CellError unless both are equal."""
    if found != expected:
        raise CellError(f"{what}: found {found!r}, expected {expected!r}")


def provision(matrix: Matrix) -> None:
    """Provision a new client; expect no further change; create three kinds of drift, which are predicted and repaired."""
    matrix.play("provision", "provision", lambda number: number == 8)
    matrix.play("provision again", "provision", lambda number: number == 0)

    def drift(host: str) -> None:
        matrix.labs[host].host(
            f"set -e; rm /etc/cron.d/wa-{host}-log-cleanup; docker stop wa-{host}-waweb-1;"
            f" sed -i 's/^WA_DB_PORT=.*/WA_DB_PORT=3307/' /opt/waba/{host}/db.env"
        )

    matrix.each("drift", drift)
    matrix.play("drift, predicted", "provision", lambda number: number == 3, "--check")
    matrix.play("drift, put right", "provision", lambda number: number == 3)
    matrix.play("nothing is left", "provision", lambda number: number == 0)


def seed_options(matrix: Matrix, host: str) -> list[str]:
    """The lab's verb and its options that add messages to the cell's client."""
    prefix = f"{host.replace('-', '_')}_"
    return ["seed", "--db", matrix.cells[host].database, "--prefix", prefix, "--rows", str(ROWS)]


def collect(matrix: Matrix) -> None:
    """Run GC, which brings the table below its limit."""

    def counted(host: str) -> None:
        rows = int(matrix.sql(host, "SELECT COUNT(*) FROM messages"))
        if not 0 < rows <= LIMIT:
            raise CellError(f"{rows} messages are left of {ROWS}, with a limit of {LIMIT}")

    matrix.each("seed", lambda host: print(matrix.labs[host].lab(*seed_options(matrix, host))))
    matrix.play("gc", "gc", lambda number: number == 1, **GC)
    matrix.each("messages are under the limit", counted)


def upgrade(matrix: Matrix) -> None:
    """Upgrade to the next version with a dump, or without one where pg_dump of the host is older than the server."""
    counts: dict[str, str] = {}

    def install(host: str) -> None:
        counts[host] = matrix.sql(host, "SELECT COUNT(*) FROM messages")
        package = "postgresql-client" if "postgres" in matrix.cells[host].database else "mariadb-client"
        matrix.labs[host].host(f"apt-get update -qq && apt-get install -qq {package} >/dev/null 2>&1")

    matrix.each("install the dump's tool", install)
    too_old = {host: reason for host in matrix.good for reason in [not_dumpable(matrix, host)] if reason}
    together: dict[str, t.Any] = {"wa_upgrade_version": NEW, "wa_provision_waves": ["100%"]}
    matrix.play(
        "upgrade with a dump", "upgrade", lambda number: number > 0, but=too_old, wa_upgrade_dump=True, **together
    )
    others = dict.fromkeys((host for host in matrix.good if host not in too_old), "upgraded with a dump")
    skip: dict[str, t.Any] = {"wa_upgrade_skip": ["database_backup"]}
    matrix.play("upgrade without a dump", "upgrade", lambda number: number > 0, but=others, **together, **skip)

    def upgraded(host: str) -> None:
        images = {one["Config"]["Image"].rpartition(":v")[2] for one in matrix.containers(host).values()}
        expect("versions", images, {NEW})
        expect("messages", matrix.sql(host, "SELECT COUNT(*) FROM messages"), counts[host])
        if host not in too_old:
            matrix.labs[host].host("gzip --test /var/lib/waba/dumps/*.sql.gz")

    matrix.each("the new version runs, with every message", upgraded)


def not_dumpable(matrix: Matrix, host: str) -> str:
    """Why pg_dump of the host cannot dump the server, or empty; every dump tool of MySQL's family can."""
    if "postgres" not in matrix.cells[host].database:
        return ""
    found = matrix.labs[host].host("pg_dump --version")
    tool = re.search(r"\) (\d+)", found)
    if tool is None:
        raise SystemExit(f"pg_dump of {host} prints no version: {found}")
    server = int(matrix.sql(host, "SHOW server_version_num")) // 10000
    return "" if int(tool[1]) >= server else f"pg_dump {tool[1]} of the host is older than the server, {server}"


def certificates(matrix: Matrix) -> None:
    """Have the server require client certificates; provision the client with them, and run GC."""
    inside, outside = "/opt/certs", "/etc/waba-tls"
    tls = ROOT / ".lab" / matrix.name / "tls"

    mounts = {"services": {name: {"volumes": [f"{outside}:{inside}:ro"]} for name in ("wacore", "waweb")}}

    def require(host: str) -> None:
        matrix.labs[host].lab(*seed_options(matrix, host))
        files = "".join(
            f"cat >{outside}/{name} <<'END'\n{(tls / name).read_text(encoding='ascii')}END\n" for name in CERTIFICATES
        )
        # The client's program reads the key as its own user.
        own = f"chown -R 20021 {outside}; chmod 0600 {outside}/client-key.pem"
        matrix.labs[host].host(f"set -e; mkdir -p {outside}; {files}{own}")
        matrix.labs[host].host(f"cat >{outside}/compose.yml <<'END'\n{json.dumps(mounts)}\nEND\n")
        require_certificates(matrix, host, required=True)
        refused = matrix.labs[host].host(f"docker exec wa-{host}-wacore-1 python3 -c '{LOGIN}'", check=False)
        expect("a login without a certificate", refused, "refused")

    matrix.each("require client certificates", require)
    options: dict[str, t.Any] = {
        "wa_version": NEW,
        "wa_client_compose_files": [f"{outside}/compose.yml"],
    }
    options["wa_db_env_extra"] = dict(zip(("WA_DB_SSL_CA", "WA_DB_SSL_CERT", "WA_DB_SSL_KEY"), within(inside)))
    options["wa_db_login_tls"] = dict(zip(("ca_cert", "client_cert", "client_key"), within(outside)))
    matrix.play("provision with certificates", "provision", lambda number: number == 3, **options)
    matrix.play("provision with certificates again", "provision", lambda number: number == 0, **options)
    matrix.play("gc with certificates", "gc", lambda number: number == 1, **options, **GC)
    matrix.each("require no certificates", lambda host: require_certificates(matrix, host, required=False))


def within(folder: str) -> list[str]:
    """The certificates in a folder."""
    return [f"{folder}/{name}" for name in CERTIFICATES]


def require_certificates(matrix: Matrix, host: str, required: bool) -> None:
    """Have the cell's server require a certificate of its authority from the client's user, or no longer."""
    database = matrix.cells[host].database
    if "postgres" not in database:
        matrix.labs[host].lab(
            "sql", "--db", database, f"ALTER USER 'whatsapp'@'%' REQUIRE {'X509' if required else 'NONE'}"
        )
        return
    before, after = ("host ", "scram-sha-256"), ("hostssl ", "scram-sha-256 clientcert=verify-ca")
    (kind, method), (new_kind, new_method) = (before, after) if required else (after, before)
    change = f"s/^{kind}\\(.*\\){method}$/{new_kind}\\1{new_method}/"
    commands.docker("exec", f"walab-{matrix.name}-{database}", "sed", "-i", change, "/lab/pg_hba.conf")
    matrix.labs[host].lab("sql", "--db", database, "SELECT pg_reload_conf()")


def adopt(matrix: Matrix) -> None:
    """Retire the client; adopt a client started by hand, which keeps its containers."""

    def retire(host: str) -> None:
        backups = str(ROOT / ".lab" / matrix.name / "backups")
        done = matrix.run("remove", "retire", [host], wa_retire=host, wa_backup_dir=backups)
        expect("exit code", done.returncode, 0)
        expect("a secret in the output", "Canary-" in done.stdout, False)

    matrix.each("remove", retire)
    folder = ROOT / ".lab" / matrix.name / "adopted"
    running: dict[str, dict[str, str]] = {}

    def started(host: str) -> dict[str, str]:
        return {name: one["State"]["StartedAt"] for name, one in matrix.containers(host).items()}

    def start(host: str) -> None:
        expect("containers", started(host), {})
        cell, secrets = matrix.cells[host], json.loads((folder.parent / "secrets.json").read_text(encoding="utf-8"))
        words = {
            "REGISTRY": "registry.lab:5000/whatsapp",
            "VERSION": OLD,
            "DB_HOST": f"{cell.database}.lab",
            "DB_PASSWORD": secrets["db_password"],
            "PREFIX": f"hand_{host.replace('-', '_')}_",
        }
        layout = "postgres" if "postgres" in cell.database else "single"
        given = "".join(f"export {name}='{value}'\n" for name, value in words.items())
        matrix.labs[host].host(
            f"{given}set -- {layout}\n" + (ROOT / "tests/lab/layouts/by-hand").read_text(encoding="utf-8")
        )
        running[host] = started(host)

    matrix.each("start by hand", start)
    shutil.rmtree(folder, ignore_errors=True)
    password = folder.parent / "vault-password"
    password.write_text("sesame\n", encoding="utf-8")
    # The inventory of all of them, and the report, are two changes, which count as those of the first host.
    two = dict.fromkeys(matrix.good[:1], 2)
    vault = f"--vault-password-file={password}"
    matrix.play("adopt", "adopt", two, vault, wa_adopt_dir=str(folder))
    adopted: dict[str, t.Any] = {"inventory": str(folder / "inventory.yml")}
    matrix.play("adopted, predicted", "provision", lambda number: number > 0, vault, "--check", **adopted)
    matrix.play("adopted, provisioned", "provision", lambda number: number > 0, vault, **adopted)
    matrix.play("adopted, nothing is left", "provision", lambda number: number == 0, vault, **adopted)
    matrix.each("no container was started again", lambda host: expect("started", started(host), running[host]))


def record(matrix: Matrix) -> None:
    """Write the results of the cells, beside those of other cells. Raises CellError if a step was forgotten."""
    for results in matrix.results.values():
        expect("steps", tuple(results), STEPS)
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    mine = [
        {
            **cell._asdict(),
            "date": datetime.date.today().isoformat(),
            "failed": matrix.failed.get(host, ""),
            "steps": matrix.results[host],
        }
        for host, cell in matrix.cells.items()
    ]
    places = [[row[name] for name in Cell._fields] for row in mine]
    kept = [row for row in kept if [row[name] for name in Cell._fields] not in places]
    rows = sorted([*kept, *mine], key=lambda row: [row[name] for name in Cell._fields])
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def main(core: str, *databases: str) -> int:
    """Run the steps and print the results."""
    os.environ |= {"ANSIBLE_PIPELINING": "true", "ANSIBLE_NOCOLOR": "1"}
    version = commands.run("ansible-playbook", "--version").partition("]")[0].split()[-1]
    if version != core:
        raise SystemExit(f"ansible-playbook is of ansible-core {version}; expected {core}")
    matrix = Matrix(
        f"matrix-{core.replace('.', '-')}", [one for one in cells(core) if not databases or one.database in databases]
    )
    began = time.monotonic()
    with contextlib.ExitStack() as ends:
        ends.callback(matrix.down)
        matrix.up()
        for steps in (provision, collect, upgrade, certificates, adopt):
            steps(matrix)
    record(matrix)
    for host, cell in matrix.cells.items():
        print(f"{' '.join(cell)}: {matrix.failed.get(host, f'{len(STEPS)} steps')}")
    print(f"{len(matrix.good)} passed, {len(matrix.failed)} failed, {time.monotonic() - began:.0f} s")
    return 1 if matrix.failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
