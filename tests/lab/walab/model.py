# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model of a lab: its name, folder, options, ports and secrets. Nothing here uses Docker."""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import secrets
import socket
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .shell import LabError

ROOT = Path(__file__).resolve().parents[3]
HOME = ROOT / ".lab"
# Folders in .lab that other programs use.
RESERVED = ("build", "collections", "dist", "docker", "lint", "log", "sanity")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
FLAVOURS = ("host", "ready")
# Debian releases of hosts. The first is the default, also of all images without a release.
RELEASES = ("trixie", "bookworm", "bullseye", "sid")
SUITE = RELEASES[0]
# Versions of the Compose plugin, and the release that each is taken from; without a version, the host's own or the default's.
COMPOSES = {"compose-2.26": SUITE, "compose-2.40": "sid"}
# First processes other than the lab's own, and the only release that has each: newer ones of systemd need cgroup v2.
INITS = {"systemd": "bullseye"}
# Database servers, PRODUCT or PRODUCT-VERSION, and the Debian suite that each is taken from; `both` are the two defaults.
ENGINES = {
    "mariadb": SUITE,
    "mariadb-10.11": "bookworm",
    "mariadb-10.5": "bullseye",
    "mysql-9.7": "sid",
    "postgres": SUITE,
    "postgres-18": "sid",
    "postgres-15": "bookworm",
    "postgres-13": "bullseye",
}
# Profiles of the simulated client: `ordinary`, or `hostile` with every switch that the documentation does not exclude.
PROFILES = ("ordinary", "hostile")
BOTH = ("mariadb", "postgres")
OLD, NEW = "2.51.2", "2.53.4"
USER = "whatsapp"
HOSTILE_USER = "root"  # of the vendor's sample db.env, which has no prefix either
REGISTRY_USER = "puller"
MEDIA = "/srv/media"  # the shared directory on the hosts of a shared lab
SECRETS = ("db_password", "dba_password", "api_password", "backup_password", "jwt_key", "registry_password")
# Outside the kernel's range for outgoing connections, so that a port stays free while a host is stopped.
PORTS = range(21000, 29000)
# Labs of all copies of this repository choose their ports one after the other.
PORTS_LOCK = Path(tempfile.gettempdir()) / "walab-ports"
# Characters that the vendor allows in a database password and that every reader of an env file reads literally.
ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
HOST_FORM = "NAME[:FLAVOUR][@RELEASE][@ENGINE][@COMPOSE][@INIT]"


@dataclass(frozen=True)
class Host:
    """One lab host, from a text of the form `HOST_FORM`."""

    name: str
    flavour: str = "host"
    engine: str = ""
    release: str = SUITE
    compose: str = ""
    init: str = ""

    @classmethod
    def parse(cls, text: str) -> Host:
        """Parse `HOST_FORM`, what follows @ in any order; raises LabError for invalid text."""
        match = re.fullmatch(r"([a-z][a-z0-9-]{0,30})(?::(\w+))?((?:@[a-z0-9.-]+)*)", text)
        if not match:
            raise LabError(
                f"{text!r} is no host: expected {HOST_FORM}, such as h1, h2:ready, "
                "h3@bookworm or h4:ready@sid@postgres@compose-2.40"
            )
        name, flavour, words = match[1], match[2] or "host", match[3].split("@")[1:]
        if flavour not in FLAVOURS:
            raise LabError(f"host {name}: flavour {flavour!r} is none of {', '.join(FLAVOURS)}")
        kinds = {"release": RELEASES, "database": ENGINES, "Compose": COMPOSES, "first process": INITS}
        for word in words:
            if not any(word in known for known in kinds.values()):
                known = "; ".join(f"{kind}: {', '.join(values)}" for kind, values in kinds.items())
                raise LabError(f"host {name}: {word!r} is none of what may follow @ ({known})")
        given = [[word for word in words if word in known] for known in kinds.values()]
        for several in given:
            if len(several) > 1:
                raise LabError(f"host {name} is given {' and '.join(several)}: name one of them")
        release, engine, compose, init = ("".join(one) for one in given)
        if init and release != INITS[init]:
            raise LabError(f"host {name}: {init} is the first process of {INITS[init]} only: @{INITS[init]}@{init}")
        if name in (*ENGINES, "registry", "control"):
            raise LabError(f"host {name}: the lab uses that name itself")
        return cls(name, flavour, engine, release or SUITE, compose, init)

    def __str__(self) -> str:
        flavour = f":{self.flavour}" if self.flavour != "host" else ""
        words = (self.release if self.release != SUITE else "", self.engine, self.compose, self.init)
        return self.name + flavour + "".join(f"@{word}" for word in words if word)


def product(engine: str) -> str:
    """The product of a database server: mariadb, mysql or postgres."""
    return engine.partition("-")[0]


def parse_engines(text: str) -> list[str]:
    """Parse `both`, or a list such as `mysql-9.7,postgres`; raises LabError for an unknown server."""
    engines = list(BOTH) if text == "both" else list(dict.fromkeys(text.split(",")))
    unknown = sorted(set(engines) - set(ENGINES))
    if unknown:
        raise LabError(f"database {', '.join(unknown)} is none of both, {', '.join(ENGINES)}")
    return engines


def parse_hosts(text: str) -> list[Host]:
    """Parse `3` (h1, h2, h3) or a list such as `h1,old:ready@bullseye`."""
    if text.isdigit():
        hosts = [Host(f"h{number}") for number in range(1, int(text) + 1)]
    else:
        hosts = [Host.parse(part) for part in text.split(",") if part]
    names = [host.name for host in hosts]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise LabError(f"host {', '.join(twice)} is given twice")
    return hosts


@dataclass
class Options:
    """The options of `lab up`, stored so that the next `up` needs none."""

    hosts: list[Host] = field(default_factory=lambda: [Host("h1")])
    engines: list[str] = field(default_factory=lambda: ["mariadb"])
    versions: list[tuple[str, str]] = field(default_factory=list)
    fast_db: bool = False
    shared: bool = False
    shards: int = 1
    registry_auth: bool = False
    profile: str = PROFILES[0]
    given_ports: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The options as state.json stores them."""
        return {**self.__dict__, "hosts": [str(host) for host in self.hosts]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Options:
        """The options from state.json."""
        hosts = [Host.parse(text) for text in data["hosts"]]
        return cls(**{**data, "hosts": hosts, "versions": [tuple(pair) for pair in data["versions"]]})


class Lab:
    """A lab by its name: its paths, Docker names, options, ports and secrets."""

    STATE = "state.json"

    def __init__(self, name: str, home: Path = HOME) -> None:
        if not NAME.fullmatch(name) or name in RESERVED:
            raise LabError(
                f"{name!r} is no name for a lab: use up to 40 of a-z, 0-9 and -, and none of {', '.join(RESERVED)}"
            )
        self.name = name
        self.home = home
        self.folder = home / name
        self.options = Options()
        self.ports: dict[str, int] = {}

    def called(self, part: str) -> str:
        """The Docker name of a part of the lab."""
        return f"walab-{self.name}-{part}"

    @property
    def network(self) -> str:
        """The lab's Docker network."""
        return self.called("net")

    @property
    def state_path(self) -> Path:
        """The file with options and ports."""
        return self.folder / self.STATE

    @property
    def key(self) -> Path:
        """The private SSH key of the lab."""
        return self.folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The SSH host keys of the lab's hosts."""
        return self.folder / "known_hosts"

    @property
    def inventory(self) -> Path:
        """The Ansible inventory."""
        return self.folder / "inventory.yml"

    @property
    def tls(self) -> Path:
        """Certificates: ca.pem, and a client's client.pem and client-key.pem."""
        return self.folder / "tls"

    @property
    def htpasswd(self) -> Path:
        """The registry's file of users, created once, since its hashes have a random salt."""
        return self.folder / "htpasswd"

    def exists(self) -> bool:
        """Whether `up` was started and `down` has not finished."""
        return self.state_path.is_file()

    def load(self) -> None:
        """Read options and ports, if the file exists."""
        if not self.exists():
            return
        try:
            data = json.loads(self.state_path.read_text(encoding="utf-8"))
            self.options = Options.from_json(data["options"])
            self.ports = dict(data["ports"])
        except (ValueError, KeyError, TypeError) as error:
            raise LabError(
                f"{self.state_path} is damaged ({error}); run `tests/lab/lab down --name {self.name}`, then `up` again"
            ) from error

    def save(self) -> None:
        """Write options and ports atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_private(
            self.state_path,
            json.dumps({"options": self.options.to_json(), "ports": self.ports}, indent=1) + "\n",
        )

    def host(self, name: str) -> Host:
        """A host of the lab by its name; raises LabError for an unknown name."""
        for host in self.options.hosts:
            if host.name == name:
                return host
        known = ", ".join(host.name for host in self.options.hosts)
        raise LabError(f"lab {self.name} has no host {name!r}; it has {known}")

    def engine_of(self, host: Host) -> str:
        """The database server that the client of a host uses."""
        return host.engine or self.options.engines[0]

    @property
    def hostile(self) -> bool:
        """Whether the client has the hostile profile."""
        return self.options.profile == "hostile"

    @property
    def user(self) -> str:
        """The database user of the clients."""
        return HOSTILE_USER if self.hostile else USER

    def prefix_of(self, host: Host) -> str:
        """The database prefix of a host's client: empty in a lab with one client, and for the first hostile one of a server."""
        hosts = self.options.hosts
        alone = len(hosts) == 1 or self.options.shared
        first = next(one for one in hosts if self.engine_of(one) == self.engine_of(host)) if self.hostile else None
        return "" if alone or host == first else f"{host.name.replace('-', '_')}_"

    def secrets(self) -> dict[str, str]:
        """The lab's passwords, generated at first use and stored in a file that only its owner can read.

        All bear the word Canary, so that a test can search everything that was printed or written for it.
        WALAB_DB_PASSWORD gives the client's database password, for tests that want an odd one.
        """
        path = self.folder / "secrets.json"
        kept: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        words = {name: kept.get(name) or f"Canary-{pick(16)}-7" for name in SECRETS}
        if not kept:
            words["db_password"] = os.environ.get("WALAB_DB_PASSWORD") or words["db_password"]
        if words != kept:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_private(path, json.dumps(words, indent=1) + "\n")
        return words

    def wanted_ports(self) -> list[str]:
        """The names of everything that the lab publishes on 127.0.0.1."""
        return [
            "registry",
            "control",
            *self.options.engines,
            *(f"{host.name}-{what}" for host in self.options.hosts for what in ("ssh", "api")),
        ]

    def choose_ports(self, up: Collection[str], others: Collection[int] = ()) -> None:
        """Choose a free port for each part without one; the same lab gets the same ports if they are free.

        `up` names the parts whose container runs, so that their ports are taken by themselves; `others` are the ports of
        other labs, whether they are up or not.
        """
        wanted = self.wanted_ports()
        kept = {
            what: port
            for what, port in self.ports.items()
            if what in wanted and (what in up or (port not in others and is_free(port)))
        }
        for what, port in self.options.given_ports.items():
            if kept.get(what) != port and not is_free(port):
                raise LabError(
                    f"port {port} of 127.0.0.1, wanted for {what}, is taken; free it or leave --port {what} out"
                )
        self.ports = {**kept, **self.options.given_ports}
        candidates = list(PORTS)
        random.Random(self.name).shuffle(candidates)
        taken = {*self.ports.values(), *others}
        free = (port for port in candidates if port not in taken and is_free(port))
        for what in wanted:
            if what not in self.ports:
                self.ports[what] = next(free)


def ports_in(folder: Path) -> set[int]:
    """The ports of the lab in a folder of any copy of this repository; empty if the folder has no lab."""
    try:
        return set(json.loads((folder / Lab.STATE).read_text(encoding="utf-8"))["ports"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


def pick(length: int) -> str:
    """Random characters of `ALPHABET`."""
    return "".join(secrets.choice(ALPHABET) for _number in range(length))


def is_free(port: int) -> bool:
    """Whether no process listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file atomically, readable by its owner only unless `mode` says otherwise."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as handle:
        handle.write(text)
    fresh.replace(path)


@contextmanager
def locked(folder: Path, pause: Callable[[float], None], why: str = "") -> Iterator[bool]:
    """Lock a folder: two runs never build images, or change one lab, at the same time.

    The lock is on the folder itself, so it needs no file, and the kernel drops it with the process. With `why`,
    print it and wait for the lock; without `why`, yield False if another run has the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    announced = False
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = True
            except BlockingIOError:
                held = False
            if held or not why:
                break
            if not announced:
                print(why, file=sys.stderr, flush=True)
                announced = True
            pause(0.3)
        yield held
    finally:
        os.close(handle)
