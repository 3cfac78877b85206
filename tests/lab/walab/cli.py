# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the lab."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
import threading
import time
import traceback
from types import FrameType

from . import control, databases, images, inventory, progress, site
from .model import (
    BOTH,
    COMPOSES,
    ENGINES,
    HOME,
    HOST_FORM,
    INITS,
    PROFILES,
    RELEASES,
    Lab,
    locked,
    parse_engines,
    parse_hosts,
    pick,
    write_private,
)
from .shell import Interrupted, LabError, Shell
from .yard import LAB_LABEL, Yard

EPILOG = f"""
hosts:  a number (3 is h1,h2,h3) or a list of {HOST_FORM}, such as h1,h2:ready@sid,h3:ready@postgres
        flavours: host (Docker, neither cron nor Python libraries), ready (everything)
        releases: {", ".join(RELEASES)}
        versions of Compose: {", ".join(COMPOSES)}
        first processes: {", ".join(INITS)}
"""


def parser() -> argparse.ArgumentParser:
    """The parser of all verbs and their options."""
    top = argparse.ArgumentParser(
        prog="lab", description="A lab of real hosts, databases and a registry in containers of this machine."
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str, **options: object) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=text, **options)  # type: ignore[arg-type] # argparse's own options
        made.add_argument("--name", default="default", metavar="LAB", help="which lab (default: default)")
        return made

    up = verb("up", "start the lab, or repair it", epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    up.add_argument("--hosts", help="how many, or which (default: 1)")
    up.add_argument("--db", help=f"database servers: both, or a list of {', '.join(ENGINES)} (default: mariadb)")
    up.add_argument(
        "--versions",
        nargs="+",
        metavar="VERSION",
        help="client versions in the registry, VERSION or VERSION=EXPIRY-DATE; the first is the one to install",
    )
    up.add_argument("--fast-db", action=argparse.BooleanOptionalAction, help="keep the databases in memory")
    up.add_argument(
        "--shared", action=argparse.BooleanOptionalAction, help="all hosts are one deployment over one database"
    )
    up.add_argument(
        "--shards",
        type=int,
        metavar="N",
        help="with --shared, a multiconnect client of N shards; 1 (default) is high availability",
    )
    up.add_argument(
        "--registry-auth", action=argparse.BooleanOptionalAction, help="the registry asks for a user and a password"
    )
    up.add_argument("--profile", choices=PROFILES, help="how the simulated client behaves (default: ordinary)")
    up.add_argument(
        "--port",
        action="append",
        metavar="WHAT=N",
        help="a fixed port on 127.0.0.1 for registry, control, a database server, HOST-ssh or HOST-api",
    )

    down = verb("down", "remove the lab completely")
    down.add_argument("--images", action="store_true", help="remove the lab's images too")
    down.add_argument("--all", action="store_true", help="every lab of this repository")

    status = verb("status", "what runs, where it is published, which faults are on")
    status.add_argument("--json", action="store_true")

    seed = verb("seed", "fill the messages table of a client's database")
    seed.add_argument("--rows", type=int, required=True)
    seed.add_argument("--top-up", action="store_true", help="add only what is missing to that number")
    seed.add_argument("--db", choices=ENGINES)
    seed.add_argument("--prefix", help="database name prefix (default: that of the lab's first host)")

    fault = verb("fault", "switch a fault of the simulated client, list those that are on, or `all off`")
    fault.add_argument("fault", nargs="?", metavar="NAME")
    fault.add_argument("state", nargs="?", choices=("on", "off"))
    fault.add_argument("--prefix", help="only for clients with this database prefix")
    fault.add_argument("--node", help="only for clients on this host")
    fault.add_argument("--value", help="what the fault takes, if it takes something")

    ssh = verb("ssh", "a shell or a command on a lab host")
    ssh.add_argument("--user", default="root", help="root, or operator, who may use sudo")
    ssh.add_argument("host")
    ssh.add_argument("command", nargs=argparse.REMAINDER)

    logs = verb(
        "logs",
        "last lines of the log of a part: a host, mariadb, postgres, registry, control, HOST:syslog, HOST:docker, lab, or all",
    )
    logs.add_argument("what", nargs="?", default="all")
    logs.add_argument("--lines", type=int, default=40)

    sql = verb("sql", "run SQL as the database server's administrator")
    sql.add_argument("--db", choices=ENGINES)
    sql.add_argument("--database", default="")
    sql.add_argument("statement", help="SQL, or - to read it from standard input")

    image = verb("images", "build images that are missing and print their tags, one a line")
    image.add_argument(
        "images",
        nargs="*",
        metavar="IMAGE",
        help="debian, host, ready, registry, control, store, a host of another release such as ready-bookworm, a database "
        "server such as mysql-9.7, or a client such as whatsapp/web:v2.51.2 (default: all that an ordinary lab needs)",
    )

    verb("inventory", "write the Ansible inventory again and say where it is")
    webhooks = verb("webhooks", "webhooks that the lab received, one JSON line each")
    webhooks.add_argument("--lines", type=int, default=0, help="only the last ones")
    webhooks.add_argument("--clear", action="store_true", help="forget them")
    return top


class Verbs:
    """The implementation of each verb, for one lab."""

    def __init__(self, arguments: argparse.Namespace, lab: Lab, shell: Shell) -> None:
        self.arguments = arguments
        self.lab = lab
        self.shell = shell

    def run(self) -> int:
        """Run the chosen verb."""
        verb = self.arguments.verb
        if verb not in ("up", "down", "status", "images") and not self.lab.exists():
            raise LabError(f"there is no lab {self.lab.name}; `tests/lab/lab up{self._name()}` makes one")
        if verb != "down":  # `down` removes everything with the lab's name, whatever the state file contains
            self.lab.load()
        code: int = getattr(self, f"do_{verb}")()
        return code

    def _name(self) -> str:
        return "" if self.lab.name == "default" else f" --name {self.lab.name}"

    def do_up(self) -> int:
        """Start or repair the lab; options that are not given keep their values."""
        started = time.monotonic()
        self._take_options()  # an invalid option must not leave the folder of a lab that was never started
        with locked(self.lab.folder, self.shell.pause, why=f"another run changes lab {self.lab.name}: waiting for it"):
            self.lab.load()  # the other run may have changed it
            self._take_options()
            self.shell.log = self.lab.folder / "lab.log"
            site.Site(self.lab, self.shell).up()
        progress.line(f"lab {self.lab.name}", "up", time.monotonic() - started)
        print(f"inventory: {os.path.relpath(self.lab.inventory)}")
        return 0

    def _take_options(self) -> None:
        given, options = self.arguments, self.lab.options
        if given.hosts is not None:
            options.hosts = parse_hosts(given.hosts)
        if given.db is not None:
            options.engines = parse_engines(given.db)
        if given.versions is not None or not options.versions:
            options.versions = site.versions(given.versions or [])
        if given.shards is not None and given.shards < 1:
            raise LabError(f"--shards {given.shards}: expected 1 or more")
        for name in ("fast_db", "shared", "shards", "registry_auth", "profile"):
            if getattr(given, name) is not None:
                setattr(options, name, getattr(given, name))
        if given.port is not None:
            options.given_ports = dict(parse_port(text) for text in given.port)
        wanted = self.lab.wanted_ports()
        unknown = sorted(set(options.given_ports) - set(wanted))
        if unknown and given.port is not None:
            raise LabError(f"--port {unknown[0]}: this lab publishes {', '.join(wanted)}")
        options.given_ports = {what: port for what, port in options.given_ports.items() if what in wanted}
        missing = {host.engine for host in options.hosts if host.engine} - set(options.engines)
        if missing:
            raise LabError(
                f"a host wants {', '.join(sorted(missing))}, which is not in this lab; name it with --db, too"
            )

    def do_down(self) -> int:
        """Remove this lab, or all labs of this repository."""
        labs = [self.lab]
        if self.arguments.all:
            names = sorted(path.parent.name for path in HOME.glob("*/state.json"))
            labs = [Lab(name) for name in names]
        problems: list[str] = []
        for lab in labs:
            started = time.monotonic()
            with locked(lab.folder, self.shell.pause, why=f"another run changes lab {lab.name}: waiting for it"):
                problems += self._collisions(lab)
                site.Site(lab, self.shell).down()
            progress.line(f"lab {lab.name}", "down", time.monotonic() - started)
        if self.arguments.images:
            with (
                progress.step("images") as words,
                locked(HOME, self.shell.pause, why="another run builds images: waiting for it"),
            ):
                words.append(f"{images.remove_all(self.shell, HOME / 'build')} removed")
        if problems:
            raise LabError("; ".join(problems))
        return 0

    def _collisions(self, lab: Lab) -> list[str]:
        """What speaks against a lab that is about to be removed. A control service that runs and is silent has proven nothing."""
        there = Yard(lab, self.shell).found().get("control")
        if there is None or there.state != "running":  # what a machine that was restarted has left
            return []
        try:
            found = control.collisions(lab)
        except LabError as error:
            return [f"nobody knows whether two Coreapps of one single client ran at once: {error}"]
        return [f"two Coreapps of one single client ran at once, which gets a number banned: {one}" for one in found]

    def do_status(self) -> int:
        """Show containers, ports and faults."""
        found = Yard(self.lab, self.shell).found()
        faults = (
            control.call(self.lab, "GET", "/faults")
            if found.get("control") and found["control"].state == "running"
            else {}
        )
        if self.arguments.json:
            parts = {name: {"state": row.state, "image": row.image} for name, row in found.items()}
            state = {
                "name": self.lab.name,
                "parts": parts,
                "ports": self.lab.ports,
                "faults": faults,
                **self.lab.options.to_json(),
            }
            print(json.dumps(state, indent=1))
            return 0 if found else 1
        if not found:
            print(f"lab {self.lab.name}: {'half built, nothing runs' if self.lab.exists() else 'none'}")
            return 1
        print(f"lab {self.lab.name}")
        for name, row in sorted(found.items()):
            published = [
                f"{what} 127.0.0.1:{port}"
                for what, port in self.lab.ports.items()
                if what in (name, f"{name}-ssh", f"{name}-api")
            ]
            print(f"  {name:<12} {row.state:<9} {row.image:<32} {', '.join(published)}")
        print(f"  faults: {json.dumps(faults) if faults else 'none'}")
        print(f"  inventory: {os.path.relpath(self.lab.inventory)}")
        return 0

    def do_seed(self) -> int:
        """Fill `messages` from a one-off client container in the lab's network."""
        lab, given = self.lab, self.arguments
        host = lab.options.hosts[0]
        engine = given.db or lab.engine_of(host)
        if engine not in lab.options.engines:
            raise LabError(f"lab {lab.name} has no {engine}; it has {', '.join(lab.options.engines)}")
        settings = {
            "WA_DB_ENGINE": databases.wa_engine(engine),
            "WA_DB_HOSTNAME": f"{engine}.lab",
            "WA_DB_PORT": str(databases.port(engine)),
            "WA_DB_USERNAME": lab.user,
            "WA_DB_PASSWORD": lab.secrets()["db_password"],
            "WA_DB_NAME_PREFIX": lab.prefix_of(host) if given.prefix is None else given.prefix,
            **inventory.simulation(lab),
        }
        # Another lab may have built newer images and removed the image of this lab.
        catalogue = images.Catalogue(lab.options.versions)
        client = catalogue.clients[f"whatsapp/coreapp:v{lab.options.versions[0][0]}"]
        images.Builder(self.shell, catalogue, HOME / "build").ensure([client])
        run = pick(6).lower()
        secret = lab.folder / f"seed-{run}.env"
        write_private(secret, "".join(f"{key}={value}\n" for key, value in settings.items()))
        command = [
            "docker",
            "run",
            "--rm",
            "--name",
            lab.called(f"seed-{run}"),
            "--label",
            f"{LAB_LABEL}={lab.name}",
            "--network",
            lab.network,
        ]
        command += [
            "--env-file",
            str(secret),
            "--entrypoint",
            "python3",
            client.tag,
            "-m",
            "simclient.seed",
            "--rows",
            str(given.rows),
        ]
        if given.top_up:
            command.append("--top-up")
        try:
            with progress.step(f"seed {engine}") as words:
                done = json.loads(self.shell.text(command, timeout=3600.0).splitlines()[-1])
                words.append(f"{done['rows_added']} rows added, {done['rows_after']} now")
        finally:
            secret.unlink(missing_ok=True)
            cleaner = Shell()
            if cleaner.text(
                ["docker", "ps", "--all", "--quiet", "--filter", f"name=^{lab.called(f'seed-{run}')}$"], check=False
            ):
                cleaner.run(["docker", "rm", "--force", lab.called(f"seed-{run}")], check=False)
        return 0

    def do_fault(self) -> int:
        """List faults, or switch one on or off."""
        given = self.arguments
        if given.fault is None:
            print(json.dumps(control.call(self.lab, "GET", "/faults"), indent=1))
            return 0
        if given.state is None:
            raise LabError(f"fault {given.fault}: on or off?")
        if (given.fault, given.state) == ("all", "off"):
            control.call(self.lab, "DELETE", "/faults")
            print("all faults: off")
            return 0
        limits = {name: getattr(given, name) for name in ("prefix", "node", "value")}
        body = {name: value for name, value in limits.items() if value is not None}
        control.call(self.lab, "PUT" if given.state == "on" else "DELETE", f"/faults/{given.fault}", body)
        print(f"{given.fault}: {given.state}{f', {body}' if body else ''}")
        return 0

    def do_logs(self) -> int:
        """Show the last lines of one part or of all."""
        what, lines = self.arguments.what, str(self.arguments.lines)
        if what == "lab":
            log = self.lab.folder / "lab.log"
            print(
                "\n".join(log.read_text(encoding="utf-8").splitlines()[-self.arguments.lines :]) if log.exists() else ""
            )
            return 0
        found = Yard(self.lab, self.shell).found()
        part, _colon, file = what.partition(":")
        names = sorted(found) if what == "all" else [part]
        for name in names:
            if name not in found:
                raise LabError(
                    f"lab {self.lab.name} has no {name!r}; it has {', '.join(sorted(found))}, and `lab` for its own log"
                )
            called = self.lab.called(name)
            if file:
                command = [
                    "docker",
                    "exec",
                    called,
                    "tail",
                    "-n",
                    lines,
                    f"/var/log/{file if file == 'syslog' else file + '.log'}",
                ]
            else:
                command = ["docker", "logs", "--tail", lines, called]
            done = self.shell.run(command)
            if len(names) > 1:
                print(f"== {name}")
            print((done.stdout + done.stderr).decode(errors="replace").rstrip())
        return 0

    def do_sql(self) -> int:
        """Run SQL and print the result."""
        engine = self.arguments.db or self.lab.engine_of(self.lab.options.hosts[0])
        statement = sys.stdin.read() if self.arguments.statement == "-" else self.arguments.statement
        print(databases.sql(self.lab, self.shell, engine, statement, self.arguments.database).rstrip())
        return 0

    def do_images(self) -> int:
        """Build the given images, for tests that need only a server or a client."""
        catalogue = images.Catalogue(self.lab.options.versions or site.versions([]))
        known = catalogue.by_name()
        unknown = sorted(set(self.arguments.images) - set(known))
        if unknown:
            raise LabError(f"no image is called {unknown[0]!r}; there are {', '.join(sorted(known))}")
        usual = [name for name in known if name in BOTH or name not in (*ENGINES, *catalogue.others)]
        wanted = [known[name] for name in self.arguments.images or usual]
        progress.STREAMS["steps"] = sys.stderr
        images.Builder(self.shell, catalogue, HOME / "build").ensure(wanted)
        for image in wanted:
            print(image.tag)
        return 0

    def do_inventory(self) -> int:
        """Write the inventory again."""
        inventory.write(self.lab)
        print(self.lab.inventory)
        return 0

    def do_webhooks(self) -> int:
        """Print received webhooks, oldest first."""
        if self.arguments.clear:
            control.call(self.lab, "DELETE", "/webhook")
            return 0
        for entry in control.call(self.lab, "GET", "/webhook")[-self.arguments.lines :]:
            print(json.dumps(entry))
        return 0


def parse_port(text: str) -> tuple[str, int]:
    """Parse WHAT=N; raises LabError for invalid text."""
    what, sign, number = text.partition("=")
    if not sign or not number.isdigit() or not 0 < int(number) < 65536:
        raise LabError(f"--port {text}: expected WHAT=N with N from 1 to 65535, such as h1-api=9090")
    return what, int(number)


def ssh(lab: Lab, arguments: argparse.Namespace) -> int:
    """Replace this process by ssh, which needs the terminal."""
    lab.load()
    if not lab.exists():
        raise LabError(f"there is no lab {lab.name}; `tests/lab/lab up` makes one")
    host = lab.host(arguments.host)
    command = [
        "ssh",
        "-i",
        str(lab.key),
        "-p",
        str(lab.ports[f"{host.name}-ssh"]),
        "-o",
        f'UserKnownHostsFile="{lab.known_hosts}"',
    ]
    command += [
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "LogLevel=ERROR",
        f"{arguments.user}@127.0.0.1",
    ]
    # ssh joins its arguments with blanks for the remote shell: quote them, unless there is only one, which is a shell command already.
    words = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    command += words if len(words) <= 1 else [shlex.join(words)]
    sys.stdout.flush()
    os.execvp(command[0], command)


def main(argv: list[str] | None = None) -> int:
    """Run one verb; return the exit code."""
    arguments = parser().parse_args(argv)
    shell = Shell()
    outcome: list[int] = [1]

    def work() -> None:
        try:
            outcome[0] = Verbs(arguments, lab, shell).run()
        except Interrupted:
            outcome[0] = 130
        except LabError as error:
            progress.error(str(error))
        except OSError as error:  # a file or folder of the lab, with its name in the error
            shell.note(traceback.format_exc())
            progress.error(f"{error}{f'; more in {shell.log}' if shell.log else ''}")

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        lab = Lab(arguments.name)
        if arguments.verb == "ssh":
            return ssh(lab, arguments)
    except LabError as error:
        progress.error(str(error))
        return 1
    # SIGINT too: a background job of a shell starts with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    # The work runs in a thread of its own, so that this thread can handle an interrupt and end the child processes in order.
    worker = threading.Thread(target=work, name="work")
    try:
        worker.start()
        while worker.is_alive():
            worker.join(0.2)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        shell.stop()
        worker.join(30)
        named = "" if arguments.name == "default" else f" --name {arguments.name}"
        progress.error(
            f"interrupted; `lab {arguments.verb}{named}` goes on from here, `lab down{named}` removes what there is"
        )
        return 130
    return outcome[0]
