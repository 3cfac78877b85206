# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks the requirements of a managed host, and whether Docker may be installed on it."""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import json
import os
import struct
import sys
import typing as t
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._core import distribution, files

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

LIBRARIES = {"MYSQL": ("python_mysql", "PyMySQL"), "PGSQL": ("python_postgresql", "psycopg2")}  # as PyPI calls them
SYSTEM_PATHS = ["/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/local/bin", "/snap/bin"]
# Packages of engines and their runtimes: installing another vendor's package removes an existing one.
PACKAGES = {
    "docker-ce": "docker",
    "docker-ce-cli": "docker",
    "docker-ee": "docker",
    "docker-ce-rootless-extras": "docker",
    "docker-compose-plugin": "docker",
    "docker-desktop": "docker",
    "docker-engine": "docker",
    "containerd.io": "docker",
    "docker.io": "distribution",
    "docker-cli": "distribution",
    "containerd": "distribution",
    "moby-engine": "moby",
    "moby-cli": "moby",
    "docker-common": "distribution",
    "docker-latest": "distribution",
    "podman-docker": "podman",
    "balena-engine": "balena",
}
# By rpm only: Debian had an unrelated program of that name.
RPM_PACKAGES = {"docker": "distribution"}
BINARIES = ("docker", "dockerd", "containerd", "nerdctl", "balena-engine")
# Paths of engines that were not installed by a package manager: unpacked manually, or for one user.
PLACES = ("/opt/*/{}", "/opt/*/bin/{}", "/srv/*/{}", "/root/bin/{}", "/home/*/bin/{}", "/home/*/.local/bin/{}")
PROCESSES = ("dockerd", "containerd", "balena-engine-d", "dockerd-rootless")
UNITS = ("docker*.service", "docker*.socket", "containerd*.service", "snap.docker.*.service", "balena-engine*.service")
UNIT_FOLDERS = (
    *(f"{folder}/systemd/system" for folder in ("/etc", "/run", "/usr/lib", "/usr/local/lib", "/lib")),
    *(f"{home}/.config/systemd/user" for home in ("/root", "/home/*")),
    "/etc/systemd/user",
)
INIT_SCRIPTS = ("/etc/init.d/docker", "/etc/init.d/containerd", "/etc/init/docker.conf")
SOCKETS = ("/run/docker.sock", "/run/user/*/docker.sock", "/home/*/.docker/*/docker.sock", "/run/balena-engine.sock")
DATA = ("/var/lib/docker", "/var/lib/containerd", "/home/*/.local/share/docker")
SNAPS = ("/snap/docker", "/var/snap/docker")
CONFIGURATION = "/etc/docker/daemon.json"
PROC = "/proc"
# systemd-cron has no daemon: a generator converts the lines of /etc/cron.d into timers.
CRON_GENERATORS = tuple(
    f"{folder}/systemd/system-generators/systemd-crontab-generator" for folder in ("/usr/lib", "/lib")
)
SYSTEMD = "/run/systemd/system"  # exists if systemd is the host's init process
DEFAULT_SOCKET = "/run/docker.sock"  # socket of an engine from a distribution's packages
PLUGIN = "/usr/local/lib/docker/cli-plugins/docker-compose"  # path of an engine that was installed without a package
# Where Docker's client looks for plugins, in its order (docker/cli, cli-plugins/manager).
PLUGIN_FOLDERS = (
    os.path.expanduser("~/.docker/cli-plugins"),
    *(f"/usr/{place}/docker/cli-plugins" for place in ("local/lib", "local/libexec", "lib", "libexec")),
)
# The header of a program: where the table of its parts begins, the length of an entry, their number. A part: its kind, offset, size.
_ELF, _ELF_PART, _ELF_LOAD = struct.Struct("<32xQ14xHH6x"), struct.Struct("<I4xQ16xQ"), 1
CRON_NAMES = ("cron", "crond")
SERVICE_PLACES = (
    "/etc/init.d/{}",
    "/etc/systemd/system/{}.service",
    "/usr/lib/systemd/system/{}.service",
    "/lib/systemd/system/{}.service",
)
CRON_PID_FILES = ("/run/crond.pid", "/run/cron.pid")
_PLUGIN_BY_HAND = (
    "Put the Compose plugin (docker-compose, version 2, from Docker's releases of Compose) into"
    " /usr/local/lib/docker/cli-plugins, executable"
)


@dataclass(frozen=True)
class Traces:
    """Traces of any container engine on the host."""

    packages: tuple[str, ...] = ()
    snap: bool = False
    others: tuple[str, ...] = ()

    def listed(self) -> list[str]:
        """Returns all traces as text."""
        packages = [f"package {name}" for name in self.packages]
        return [*packages, *(["snap docker"] if self.snap else []), *self.others]

    def vendor(self) -> str:
        """Returns the engine's vendor: `docker`, `distribution`, `moby`, `podman`, `snap`; empty if unknown."""
        # Not by containerd alone: another vendor's engine, or a Kubernetes node, may use it.
        known = {**PACKAGES, **RPM_PACKAGES}
        made = [known[name] for name in known if name in self.packages and not name.startswith("containerd")]
        return made[0] if made else "snap" if self.snap else ""


def docker_refusal(engine_error: str, compose_runs: bool, traces: Traces, release: t.Mapping[str, str]) -> str:
    """Returns why Docker must not be installed on the host, with the solution; empty if it may, or nothing is missing.

    An engine that does not answer, or denies access, still exists: installing the distribution's would remove it together
    with a running client. `release` is the host's os-release.
    """
    if compose_runs if not engine_error else not traces.listed():
        return ""
    found = ", ".join(traces.listed()) or "an engine that answers"
    if engine_error:
        asked = engine_error.partition(". ")[0].rstrip(".")
        cure = (
            "The collection needs Docker itself: use another host"
            if traces.vendor() == "podman" or "Podman" in asked
            else "Let it be asked (become, or the group docker)"
            if "no permission" in asked
            else "Start it (systemctl status docker tells why it is down), set wa_docker_host to where it listens, or remove "
            "what is left of it"
        )
        return (
            f"{asked}, and there is something of an engine on the host: {found}. Nothing is installed beside it. {cure}"
        )
    return (
        f"docker compose does not run, and an engine is there: {found}. Nothing is installed beside it. "
        f"{compose_fix(traces.vendor(), release)}"
    )


def compose_fix(vendor: str, release: t.Mapping[str, str]) -> str:
    """Returns how to install the Compose plugin for an engine of that vendor on that release."""
    debian = {release.get("ID", ""), *release.get("ID_LIKE", "").split()} & {"debian", "ubuntu"}
    suse = {release.get("ID", ""), *release.get("ID_LIKE", "").split()} & {"suse", "sles", "opensuse"}
    install = "apt-get install" if debian else "zypper install" if suse else "dnf install"
    if vendor == "docker":
        return f"Install Docker's own plugin: {install} docker-compose-plugin"
    if vendor == "moby":
        return f"Install its plugin: {install} {'moby-compose' if debian else 'docker-compose'}"
    if vendor == "snap":
        return (
            "A snap reads no files outside of home folders, and the client's are in /opt and /var/lib: the collection needs Docker's "
            "own packages or the distribution's. Plan an outage, note which volumes there are, and move the client to one of them"
        )
    if vendor == "podman":
        return "The collection needs Docker itself: use another host"
    major = release.get("VERSION_ID", "").partition(".")[0]
    if vendor == "distribution" and release.get("ID") == "ubuntu":
        return "Install the distribution's plugin: apt-get install docker-compose-v2"
    # Older releases of Debian have version 1 under that name, which is not a plugin.
    if vendor == "distribution" and release.get("ID") == "debian" and (not major.isdecimal() or int(major) >= 13):
        return "Install the distribution's plugin: apt-get install docker-compose"
    if vendor == "distribution" and suse:
        return f"Install the distribution's plugin: {install} docker-compose"
    return _PLUGIN_BY_HAND


def traces(module: AnsibleModule) -> Traces:
    """Returns the traces of any container engine on the host."""
    known = [module.get_bin_path(name, opt_dirs=SYSTEM_PATHS) for name in BINARIES]
    elsewhere = _present(place.format(name) for place in PLACES for name in BINARIES)
    programs = [path for path in elsewhere if not os.path.isdir(path)]
    running = sorted({name for name in _processes() if name in PROCESSES})
    units = _present(f"{folder}/{name}" for folder in UNIT_FOLDERS for name in UNITS)
    names = dict.fromkeys(f"unit {os.path.basename(path)}" for path in units)
    asked = str(module.params["docker_host"] or "")
    socket = asked.partition("unix://")[2]
    sockets = {os.path.realpath(path) for path in [*_present(SOCKETS), *[socket] * os.path.lexists(socket)]}
    if asked and os.path.realpath(socket or "/") not in {*sockets, os.path.realpath(DEFAULT_SOCKET)}:
        names[f"the address {asked}, at which no engine of the distribution listens"] = None
    return Traces(
        packages=tuple(_packages(module)),
        snap=any(map(os.path.lexists, SNAPS)),
        others=(
            *dict.fromkeys([*filter(None, known), *programs]),
            *(f"process {name}" for name in running),
            *names,
            *_present(INIT_SCRIPTS),
            *(f"socket {path}" for path in sorted(sockets)),
            *(f"data in {path}" for path in [*_present(DATA), *_data_root()] if _holds_anything(path)),
        ),
    )


def _present(patterns: t.Iterable[str]) -> list[str]:
    """Returns the existing paths, including dangling links; `*` matches one name."""
    found = [path for pattern in patterns for path in (glob.glob(pattern) if "*" in pattern else [pattern])]
    return [path for path in dict.fromkeys(found) if os.path.lexists(path)]


def _processes() -> list[str]:
    """Returns the names of the host's own processes from the kernel, limited to 15 characters."""
    return [_process(path) for path in glob.glob(f"{PROC}/[0-9]*")]


def _process(folder: str) -> str:
    """Returns the name of a process; empty if it has ended, or runs in a container, which has a PID namespace of its own."""
    try:
        status = dict(line.partition(":")[::2] for line in files.read_text(f"{folder}/status").splitlines())
    except (OSError, ValueError):
        return ""
    # The kernel lists its PID in each namespace, from this one inwards; kernels before 4.1 do not.
    return "" if len(status.get("NSpid", "").split()) > 1 else status.get("Name", "").strip()


def _data_root() -> list[str]:
    """Returns the configured data folder of an engine: a new engine would start the containers in it."""
    try:
        given = json.loads(files.read_text(CONFIGURATION))
    except (OSError, ValueError):
        return []
    found = [given.get(key) for key in ("data-root", "graph")] if isinstance(given, dict) else []
    return [path for path in found if isinstance(path, str) and path not in DATA]


def _packages(module: AnsibleModule) -> list[str]:
    """Returns which of `PACKAGES` are installed, from dpkg or rpm."""
    found: set[str] = set()
    dpkg = module.get_bin_path("dpkg-query")
    if dpkg:
        output = module.run_command([dpkg, "-W", "-f", "${db:Status-Abbrev}\t${Package}\n", *PACKAGES])[1]
        # The second letter is the state: n for not installed, c for remaining configuration files.
        found |= {line.split("\t")[1] for line in output.splitlines() if "\t" in line and line[1:2] not in "nc"}
    rpm = module.get_bin_path("rpm")
    if rpm:
        known = {**PACKAGES, **RPM_PACKAGES}
        output = module.run_command([rpm, "-q", "--qf", "%{NAME}\n", *known])[1]
        found |= {*output.splitlines()} & {*known}
    return [name for name in (*PACKAGES, *RPM_PACKAGES) if name in found]


def _holds_anything(folder: str) -> bool:
    try:
        return bool(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # it exists, but is not readable


def compose_runs(module: AnsibleModule, engine_error: str) -> bool:
    """Returns whether the host has `docker compose`, or will have it after the installation of the Docker CLI."""
    client = module.get_bin_path("docker")
    if client and is_snap(client):
        return False
    command = [client, "compose"] if client else []
    # The CLI is installed with the engine; without a package of the plugin, the plugin may be installed first.
    if not client and engine_error and os.access(PLUGIN, os.X_OK):
        command = [PLUGIN]
    return bool(command) and module.run_command([*command, "version", "--short"])[0] == 0


def is_snap(program: str) -> bool:
    """Returns whether a program is from a snap, which cannot read files outside of home folders."""
    return program.startswith("/snap/") or os.path.basename(os.path.realpath(program)) == "snap"


def cron_problem(module: AnsibleModule) -> str:
    """Returns why files in /etc/cron.d would be ignored, whether or not the daemon runs; empty if they are read."""
    daemons = [*filter(None, (module.get_bin_path(name, opt_dirs=SYSTEM_PATHS) for name in CRON_NAMES))]
    if any(os.path.basename(os.path.realpath(path)) != "busybox" for path in daemons):
        return ""
    if any(map(os.path.exists, CRON_GENERATORS)):
        return "" if os.path.isdir(SYSTEMD) else "systemd-cron is installed, and systemd does not run"
    return "the cron daemon of busybox reads no file in /etc/cron.d" if daemons else "no cron daemon is installed"


def has_compose(module: AnsibleModule, engine_error: str) -> bool:
    """Returns the result of `compose_runs` from the plugin folders, without starting a program, which is slow."""
    plugin = next(iter(_present(f"{folder}/docker-compose" for folder in PLUGIN_FOLDERS)), "")
    client = module.get_bin_path("docker")
    return bool(client and not is_snap(client) and _is_program(plugin)) or compose_runs(module, engine_error)


def _is_program(path: str) -> bool:
    """Returns whether a file is a complete 64-bit program for this machine; False where that takes a start of it."""
    try:
        with open(sys.executable, "rb") as ours, open(path, "rb") as program:
            wanted, header = ours.read(_ELF.size), program.read(_ELF.size)
            if len(header) < _ELF.size or header[:6] != b"\x7fELF\x02\x01" or header[18:20] != wanted[18:20]:
                return False
            first, length, count = _ELF.unpack(header)
            program.seek(first)
            parts = [_ELF_PART.unpack(program.read(length)[: _ELF_PART.size]) for _each in range(count)]
            # Of a download that was cut off, a part to load is not all there.
            end = max((at + size for kind, at, size in parts if kind == _ELF_LOAD), default=0)
            return os.access(path, os.X_OK) and 0 < end <= os.fstat(program.fileno()).st_size
    except (OSError, struct.error):
        return False


def cron_runs(pid_files: t.Iterable[str] = CRON_PID_FILES) -> bool:
    """Returns whether a cron daemon runs: from its PID file, or from the names of all processes."""
    for path in pid_files:
        with contextlib.suppress(OSError, ValueError):
            if _process(f"{PROC}/{int(files.read_text(path))}") in CRON_NAMES:
                return True
    return bool({*CRON_NAMES} & {*_processes()})


def stopped_services(module: AnsibleModule) -> list[str]:
    """Returns the service of the installed cron daemon if it does not run."""
    found = [name for name in CRON_NAMES if module.get_bin_path(name, opt_dirs=SYSTEM_PATHS)]
    # A daemon that ignores /etc/cron.d counts as missing, and with systemd-cron no daemon has to run.
    return [cron_service(found[0])] if found and not cron_problem(module) and not cron_runs() else []


def services(module: AnsibleModule) -> tuple[dict[str, str], list[str]]:
    """Returns the services to start, with the reason for each, and warnings.

    Something else than systemd may start Docker, such as a cluster manager on the one of two hosts that is to run the client.
    A masked service is off with intent, and cannot be started; the client needs none.
    """
    states = service_states(module)
    off = [name for name, state in states.items() if state == "disabled"]
    stopped = stopped_services(module) if module.params["cron"] else []
    masked = [name for name in stopped if states.get(name) == "masked"]
    found = {name: "is not started at boot" for name in off if name != "docker"}
    warnings = (
        ["docker is not started at boot, and so the client is not: systemctl enable docker"] if "docker" in off else []
    )
    warnings += [f"{name} is masked, and so no log cleanup runs: systemctl unmask {name}" for name in masked]
    return {**found, **dict.fromkeys((name for name in stopped if name not in masked), "does not run")}, warnings


def service_states(module: AnsibleModule) -> dict[str, str]:
    """Returns `boot_states` of the engine's service, and of the cron daemon's if the host needs one."""
    daemons = CRON_NAMES if module.params["cron"] else ()
    names = [cron_service(name) for name in daemons if module.get_bin_path(name, opt_dirs=SYSTEM_PATHS)]
    names += ["docker"] if str(module.params["docker_host"]).endswith(DEFAULT_SOCKET) else []
    units = [f"{name}.service" for name in dict.fromkeys(names)]
    if not units or not os.path.isdir(SYSTEMD):
        return {}
    code, output, _error = module.run_command(["systemctl", "show", "--property=Id,LoadState,UnitFileState", *units])
    return boot_states(output) if code == 0 else {}


def boot_states(text: str) -> dict[str, str]:
    """Returns the `UnitFileState` of each service that is there, from the output of `systemctl show`.

    One that is `disabled` is not started at boot; one that is static, generated or from elsewhere has no link of its own.
    """
    units = [dict(line.split("=", 1) for line in part.splitlines() if "=" in line) for part in text.split("\n\n")]
    there = [one for one in units if one.get("LoadState") in ("loaded", "masked")]
    return {one["Id"].removesuffix(".service"): one.get("UnitFileState", "") for one in there}


def cron_service(program: str) -> str:
    """Returns the name of a cron daemon's service: Debian and others name cronie's by its package."""
    names = [
        name for name in (program, "cronie") if any(os.path.exists(place.format(name)) for place in SERVICE_PLACES)
    ]
    return names[0] if names else program


def missing(module: AnsibleModule, engine_error: str, compose: bool | None = None) -> dict[str, str]:
    """Returns missing requirements with the reason; `compose` is whether `docker compose` runs, None to test it."""
    reasons = {}
    if engine_error:
        reasons["docker_engine"] = engine_error
    if not (compose_runs(module, engine_error) if compose is None else compose):
        reasons["docker_compose"] = "docker compose does not run, or is a snap's"
    if importlib.util.find_spec("requests") is None:
        reasons["python_requests"] = f"{distribution.named('requests')} cannot be imported; community.docker needs it"
    if module.params["database_engine"]:
        key, library = LIBRARIES[module.params["database_engine"]]
        if importlib.util.find_spec(library.lower()) is None:
            reasons[key] = f"{distribution.named(library)} cannot be imported"
    cron = cron_problem(module) if module.params["cron"] else ""
    if cron:
        reasons["cron"] = cron
    return reasons


def refusal(module: AnsibleModule, reasons: t.Mapping[str, str]) -> str:
    """Returns why missing parts of Docker must not be installed; reads nothing if nothing is missing."""
    if not {"docker_engine", "docker_compose"} & {*reasons}:
        return ""
    return docker_refusal(
        reasons.get("docker_engine", ""), "docker_compose" not in reasons, traces(module), distribution.read_release()
    )
