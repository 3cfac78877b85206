# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks the requirements of a managed host."""

from __future__ import annotations

import glob
import importlib.util
import os
import sys
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import distribution, files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import INSTALL

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

LIBRARIES = {
    "python_requests": "requests",
    "python_mysql": "PyMySQL",
    "python_postgresql": "psycopg2",
}  # as PyPI calls them
DRIVERS = {"MYSQL": "python_mysql", "PGSQL": "python_postgresql"}
CRON_PACKAGES = {"Debian": "cron", "RedHat": "cronie", "Suse": "cronie"}  # by family
# The server's own tools, of which the first one or another is needed, and their package by family.
DUMP_TOOLS = {"MYSQL": ("mariadb-dump", "mysqldump"), "PGSQL": ("pg_dump",)}
DUMP_PACKAGES = {
    "Debian": {"MYSQL": "mariadb-client", "PGSQL": "postgresql-client"},
    "RedHat": {"MYSQL": "mariadb", "PGSQL": "postgresql"},
    "Suse": {"MYSQL": "mariadb-client", "PGSQL": "postgresql"},
}
SYSTEM_PATHS = ["/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/local/bin", "/snap/bin"]
PROC = "/proc"
# systemd-cron has no daemon: a generator converts the lines of /etc/cron.d into timers.
CRON_GENERATORS = tuple(
    f"{folder}/systemd/system-generators/systemd-crontab-generator" for folder in ("/usr/lib", "/lib")
)
SYSTEMD = "/run/systemd/system"  # exists if systemd is the host's init process
DEFAULT_SOCKET = "/run/docker.sock"  # socket of an engine from a distribution's packages
# Where Docker's client looks for plugins, in its order (docker/cli, cli-plugins/manager).
PLUGIN_FOLDERS = (
    os.path.expanduser("~/.docker/cli-plugins"),
    *(f"/usr/{place}/docker/cli-plugins" for place in ("local/lib", "local/libexec", "lib", "libexec")),
)
CRON_NAMES = ("cron", "crond")
SERVICE_PLACES = (
    "/etc/init.d/{}",
    "/etc/systemd/system/{}.service",
    "/usr/lib/systemd/system/{}.service",
    "/lib/systemd/system/{}.service",
)


def _process(folder: str) -> str:
    """Returns the name of a process; empty if it has ended, or runs in a container, which has a PID namespace of its own."""
    try:
        status = dict(line.partition(":")[::2] for line in files.read_text(f"{folder}/status").splitlines())
    except (OSError, ValueError):
        return ""
    # The kernel lists its PID in each namespace, from this one inwards; kernels before 4.1 do not.
    return "" if len(status.get("NSpid", "").split()) > 1 else status.get("Name", "").strip()


def compose_problem(module: AnsibleModule) -> str:
    """Returns why `docker compose` cannot be used, in the words of the Docker CLI; empty if it can."""
    client = module.get_bin_path("docker")
    if client is None:
        found = "the program docker is not installed"
    elif is_snap(client):
        found = f"{client} is a snap, which cannot read files outside of home folders"
    elif os.access(next(filter(os.path.lexists, (f"{one}/docker-compose" for one in PLUGIN_FOLDERS)), ""), os.X_OK):
        return ""  # without starting a program, which is slow
    else:
        code, _output, error = module.run_command([client, "compose", "version"])
        if code == 0:
            return ""
        found = error.partition("\n")[0].removeprefix("docker: ").rstrip(".") or f"exit status {code}"
    return str(WaError("docker compose", found, "the Compose plugin", INSTALL[0].upper() + INSTALL[1:]))


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


def cron_runs() -> bool:
    """Returns whether a cron daemon runs, from the names of all processes."""
    return any(_process(path) in CRON_NAMES for path in glob.glob(f"{PROC}/[0-9]*"))


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
    stopped = stopped_services(module)
    masked = [name for name in stopped if states.get(name) == "masked"]
    found = {name: "is not started at boot" for name in off if name != "docker"}
    warnings = (
        ["docker is not started at boot, and so the client is not: systemctl enable docker"] if "docker" in off else []
    )
    warnings += [f"{name} is masked, and so no log cleanup runs: systemctl unmask {name}" for name in masked]
    return {**found, **dict.fromkeys((name for name in stopped if name not in masked), "does not run")}, warnings


def service_states(module: AnsibleModule) -> dict[str, str]:
    """Returns `boot_states` of the engine's service, and of the cron daemon's."""
    names = [cron_service(name) for name in CRON_NAMES if module.get_bin_path(name, opt_dirs=SYSTEM_PATHS)]
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


def missing(module: AnsibleModule) -> dict[str, str]:
    """Returns the missing requirements that the role installs, with the reason."""
    needed = filter(None, ("python_requests", DRIVERS.get(module.params["database_engine"])))
    libraries = {key: LIBRARIES[key] for key in needed}
    reasons = {
        key: f"{distribution.named(library)} cannot be imported by {sys.executable}"
        for key, library in libraries.items()
        if importlib.util.find_spec(library.lower()) is None
    }
    cron = cron_problem(module)
    tools = DUMP_TOOLS[module.params["database_engine"]] if module.params["dumps"] else ()
    if tools and not any(map(module.get_bin_path, tools)):
        reasons["database_client"] = f"{' or '.join(tools)} is not installed"
    return {**reasons, **({"cron": cron} if cron else {})}


def packages(lacks: t.Iterable[str], family: str, engine: str | None = None) -> tuple[list[str], list[str]]:
    """Returns the packages to install for what a host lacks, and the requirements for which no package is known."""
    others = {
        "cron": CRON_PACKAGES.get(family, ""),
        "database_client": DUMP_PACKAGES.get(family, {}).get(engine or "", ""),
    }
    names = {
        key: others[key] if key in others else distribution.python_package(LIBRARIES[key], family) for key in lacks
    }
    return [name for name in names.values() if name], [key for key, name in names.items() if not name]
