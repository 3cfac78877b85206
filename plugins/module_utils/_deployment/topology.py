# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deployments: members, names and paths, versions and upgrades, health by topology. Pure rules."""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.image_reference import without_v
from ansible_collections.waba.onprem.plugins.module_utils._core.units import DATABASE_PORTS, parse_port
from ansible_collections.waba.onprem.plugins.module_utils._deployment import paths

TOPOLOGIES = ("single", "high_availability", "multiconnect")
STATE_DIR = "/var/lib/waba"
DUMP_DIR = f"{STATE_DIR}/dumps"
PROJECTS_DIR = "/opt/waba"
WEB_PORT = 9090  # the Webapp's port in the vendor's samples
STOP_SECONDS = (
    60  # that a container gets to stop; the client's shell ignores the signal, so a stop may take all of them
)
CORE_PORT = 6250  # messages; contacts, control and health check are the next three
# The variables `wa_...` that define a deployment and its paths, in the order of the arguments of `deployment`.
DESCRIBED_BY = ("deployment", "leader", "project", "project_dir", "env_file")
_VERSION = re.compile(r"\d+(?:\.\d+){1,3}")
_PROJECT = re.compile(r"[a-z0-9][a-z0-9_-]*")
_SSH_PORT = 22
_LONGEST_SLUG = 100  # characters; it is part of names of files, volumes and containers


def slug(deployment: str) -> str:
    """Returns a deployment's name for use in other names: lower-case letters, digits, `_` and `-`.

    Compose requires this of project names, and cron ignores files with other characters in their names.
    """
    text = re.sub(r"[^a-z0-9_-]+", "-", deployment.lower()).strip("-")
    if not text:
        raise WaError("wa_deployment", f"{deployment!r} has no letter and no digit", "a name such as support")
    if len(text) > _LONGEST_SLUG:
        raise WaError("wa_deployment", f"a name of {len(text)} characters", f"at most {_LONGEST_SLUG}", "Shorten it")
    return text


def check_volume_name(name: str, subject: str = "option name") -> None:
    """Raises WaError for an invalid volume name; without a name Docker would create an anonymous volume each time."""
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", name):
        raise WaError(subject, f"{name!r} is no name of a volume", "two or more letters, digits, _ . -")


def names(deployment: str, project: str | None = None) -> dict[str, str]:
    """Returns the names of a deployment's objects, so that several deployments on one machine never collide.

    `project` is the Compose project of an adopted client, which determines project, volume and network. An empty text
    stands for containers outside Compose.
    """
    part = slug(deployment)
    wanted = project or f"wa-{part}"
    return {
        "slug": part,
        "project": wanted if project is None else project,
        "volume": f"{wanted}_whatsappMedia",
        "network": f"{wanted}_default",
        "cron_file": f"wa-{part}-log-cleanup",
        **places(deployment, part),
    }


def places(host: str, part: str, project_dir: t.Any = None, env_file: t.Any = None) -> dict[str, str]:
    """Returns the normalised paths of the deployment with the slug `part` on `host`.

    Raises WaError for an invalid path, or one used by other programs. None selects the default.
    """
    project_dir = paths.folder(
        f"host {host}: wa_project_dir", f"{PROJECTS_DIR}/{part}" if project_dir is None else project_dir
    )
    env = paths.file(f"host {host}: wa_env_file", f"{project_dir}/db.env" if env_file is None else env_file)
    paths.distinct(host, wa_project_dir=project_dir, state_dir=STATE_DIR, wa_env_file=env)
    found = {
        "project_dir": project_dir,
        "compose_file": f"{project_dir}/compose.yml",
        "identity_file": f"{STATE_DIR}/client-{part}.json",
        "gc_state_file": f"{STATE_DIR}/gc-{part}.json",
        "refused_login_file": refused_login_file(f"{STATE_DIR}/gc-{part}.json"),
        "log_cleanup_status_file": f"{STATE_DIR}/log-cleanup-{part}.json",
        "lock_file": f"{STATE_DIR}/{part}.lock",
        "hold_file": hold_file(f"{STATE_DIR}/{part}.lock"),
    }
    if env in found.values():
        raise WaError(f"host {host}: wa_env_file", f"{env} is another file of the deployment", "a file of its own")
    return dict(found, env_file=env)


def refused_login_file(gc_state_file: str) -> str:
    """Returns the path of the record of refused logins, which is shared by all modules that log in by themselves."""
    folder, name = os.path.split(gc_state_file)
    return os.path.join(folder, f"api-login-{name[3:] if name.startswith('gc-') else name}")


def hold_file(lock_file: str) -> str:
    """Returns the path of the file that holds a deployment's containers as they are; an operator writes it."""
    return f"{os.path.splitext(lock_file)[0]}.hold"


def deployment(
    host: str,
    groups: t.Mapping[str, t.Sequence[str]],
    name: t.Any = None,
    leader: t.Any = None,
    project: t.Any = None,
    project_dir: t.Any = None,
    env_file: t.Any = None,
) -> dict[str, t.Any]:
    """Returns the deployment of `host`: name, members, leader, names of its objects, and their paths on this host.

    Members and leader come from the inventory (`groups`), never from the hosts of a run: a leader
    that changes with `--limit` would change lock, state and GC, too. The last two are `wa_project_dir` and `wa_env_file` of the
    inventory; None selects the default.
    """
    name = _name(f"host {host}: wa_deployment", name) or host
    leader = _name(f"host {host}: wa_leader", leader)
    project = None if project is None else _name(f"host {host}: wa_project", project)
    if project and not _PROJECT.fullmatch(project):
        raise WaError(
            f"host {host}: wa_project",
            f"{project!r} is no name of a Compose project",
            "lower-case letters, digits, _ and -, a letter or a digit first",
        )
    members = list(groups.get(name) or ([host] if name == host else []))
    if not members:
        raise WaError(
            f"host {host}: wa_deployment",
            f"{name!r} is no group of the inventory",
            "an inventory group that holds the hosts of the deployment",
            f"Add a group {name} with its hosts, or leave wa_deployment out for a deployment of one host",
        )
    if host not in members:
        raise WaError(f"host {host}", f"not in its own deployment {name}", "to be one of: " + ", ".join(members))
    if leader and leader not in members:
        raise WaError(f"deployment {name}: wa_leader", f"{leader!r} is not a member", "one of: " + ", ".join(members))
    leader = leader or members[0]
    called = names(name, project)
    where = places(host, called["slug"], project_dir, env_file)
    return dict({**called, **where}, name=name, members=members, leader=leader, is_leader=host == leader)


def described(
    hostvars: t.Mapping[str, t.Mapping[str, t.Any]], host: str, groups: t.Mapping[str, t.Sequence[str]]
) -> dict[str, t.Any]:
    """Returns the deployment of any host of the inventory, from its variables."""
    values = hostvars[host]
    return deployment(host, groups, *(values.get(f"wa_{name}") for name in DESCRIBED_BY))


def _name(subject: str, value: t.Any) -> str:
    """Returns a name from the inventory as text, since YAML reads digits as a number. None is empty."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise WaError(subject, f"{value!r} is no name", "text", "Quote it in YAML")
    return str(value)


def local_api_url(web_port: t.Any, bind_address: t.Any = "") -> str:
    """Returns the address of a host's Webapp for the host itself; `bind_address` is the one that its port is published at."""
    plain = str(bind_address or "").strip("[]")
    address = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(plain, plain)
    return f"https://[{address}]:{web_port}" if ":" in address else f"https://{address}:{web_port}"


Placed = t.Mapping[str, t.Any]  # a deployment on one host, as `placed` describes it


def machine(hostvars: t.Mapping[str, t.Mapping[str, t.Any]], host: str) -> tuple[str, str]:
    """Returns the machine of an inventory host: address and port, without one SSH's own."""
    values = hostvars[host]
    return str(values.get("ansible_host") or host).lower(), str(values.get("ansible_port") or _SSH_PORT)


def placed(
    hostvars: t.Mapping[str, t.Mapping[str, t.Any]], host: str, groups: t.Mapping[str, t.Sequence[str]]
) -> dict[str, t.Any]:
    """Returns what a host's deployment uses on its machine: `described`, the host, and the published ports."""
    return {
        **described(hostvars, host, groups),
        "host": host,
        "web_port": port_of(hostvars, host, "wa_client_web_port", WEB_PORT),
        "adopted": bool(hostvars[host].get("wa_client_compose_dir")),
        "core_port": port_of(hostvars, host, "wa_client_core_port", CORE_PORT),
        "database": database_of(hostvars, host)[2],
    }


def names_one_database(database: str, *projects: str) -> bool:
    """Returns whether `HOST:PORT/PREFIX` names one database in all of these Compose projects, of which an empty one is outside Compose.

    A host name without a dot may be a service, which belongs to the network of its project.
    """
    host = database.partition("/")[0].rpartition(":")[0]
    return "." in host or ":" in host or host == "localhost" or not all(projects) or len({*projects}) == 1


def has_database(
    container: t.Mapping[str, t.Any], databases: t.Collection[str], project: str, neighbours: t.Collection[str]
) -> bool:
    """Returns whether a container of `wa_info` has one of the `databases` of the client in `project`, by its name.

    `neighbours` are the projects of the machine's other deployments. A container of any other project counts by an equal name alone.
    """
    database, its = container["database"], container["project"]
    return database in databases and (its not in neighbours or names_one_database(database, project, its))


def neighbours(ours: Placed, others: t.Iterable[Placed]) -> list[str]:
    """Returns the Compose projects of the `others` on the machine of `ours`.

    Raises WaError if two of them would share names, a database, the Webapp's port, or the ports of the Coreapps.
    """
    cure = "Give each a wa_deployment (or wa_project, wa_project_dir) and a wa_client_web_port of its own"
    projects = []
    for theirs in others:
        pair = f"hosts {ours['host']} and {theirs['host']}"
        for name in ("project", "slug", "project_dir", "env_file"):
            if theirs[name] == ours[name]:
                raise WaError(pair, f"one machine and the same {name} {ours[name] or '(outside Compose)'}", cure=cure)
        database, both = ours["database"], (ours["project"], theirs["project"])
        if theirs["database"] == database != "" and names_one_database(database, *both):
            raise WaError(
                pair,
                f"one machine and the same database {database}",
                cure="Give each its own wa_db_env_name_prefix. If they are one client, remove one of the names from the inventory",
            )
        # Of what runs already the ports differ, if it publishes any: wa_client_web_port is for the collection's own Compose file.
        if theirs["web_port"] == ours["web_port"] and not (ours["adopted"] and theirs["adopted"]):
            raise WaError(pair, f"one machine and the same API port {ours['web_port']}", cure=cure)
        # Only clients on several hosts publish the ports of their Coreapps.
        if theirs["core_port"] == ours["core_port"] and len(ours["members"]) > 1 < len(theirs["members"]):
            raise WaError(
                pair,
                f"one machine and the same Coreapp ports from {ours['core_port']}",
                cure="Give each a wa_client_core_port of its own, 40 apart",
            )
        projects.append(theirs["project"])
    return projects


def projects_at(
    hostvars: t.Mapping[str, t.Mapping[str, t.Any]], host: str, groups: t.Mapping[str, t.Sequence[str]]
) -> list[str]:
    """Returns the Compose projects of the other deployments on the machine of `host`, which has several inventory names.

    Raises WaError as `neighbours` does.
    """
    here = machine(hostvars, host)
    others = [name for name in groups["all"] if name != host and machine(hostvars, name) == here]
    return neighbours(placed(hostvars, host, groups), (placed(hostvars, name, groups) for name in others))


def database_of(hostvars: t.Mapping[str, t.Mapping[str, t.Any]], host: str) -> tuple[str, str, str]:
    """Returns deployment, project and database (in the format of `wa_info`, empty for none) of a host."""
    values = hostvars[host]
    name = _name(f"host {host}: wa_deployment", values.get("wa_deployment")) or host
    project = names(name, values.get("wa_project"))["project"]
    if not values.get("wa_db_env_hostname"):
        return name, project, ""
    port = values.get("wa_db_env_port") or DATABASE_PORTS.get(values.get("wa_db_env_engine") or "MYSQL", 0)
    return (
        name,
        project,
        f"{str(values['wa_db_env_hostname']).lower()}:{port}/{values.get('wa_db_env_name_prefix') or ''}",
    )


def port_of(hostvars: t.Mapping[str, t.Mapping[str, t.Any]], host: str, variable: str, default: int) -> int:
    """Returns a port of a host from the inventory as a number."""
    return parse_port(f"host {host}: {variable}", hostvars[host].get(variable, default))


def normalise_version(text: t.Any) -> str:
    """Returns a client version as in Meta's tags, without the `v`: ` vv2.53.4 ` -> `2.53.4`.

    Operators write it with and without `v`, sometimes doubled (setup-scripts issue 21). Raises WaError if it is invalid.
    """
    version = without_v(str(text))
    if not _VERSION.fullmatch(version):
        raise WaError("version", f"{text!r} is no version of the client", "a version such as 2.53.4 (quote it in YAML)")
    return version


def version_key(text: str) -> tuple[int, ...]:
    """Returns a sort key by number: 2.9 before 2.10."""
    return tuple(int(part) for part in normalise_version(text).split("."))


def check_jump(running: t.Iterable[str], target: str) -> bool:
    """Returns whether an upgrade from the `running` versions to `target` is needed.

    Raises WaError for a downgrade (a migration cannot be undone) and for mixed versions (web and core must match).
    """
    found = sorted({normalise_version(version) for version in running}, key=version_key)
    target = normalise_version(target)
    if not found:
        raise WaError("running version", "no client container", "one to upgrade", "Run provision.yml first")
    if len(found) > 1:
        raise WaError(
            "running version",
            "mixed: " + ", ".join(found),
            "one version on all containers",
            "Remove the containers that have not the database's version (docker rm --force), then run provision.yml with that",
        )
    if version_key(target) < version_key(found[0]):
        raise WaError(
            "target version",
            f"{target} is older than the running {found[0]}",
            "a newer version",
            "A migrated schema has no way back but a restore of the database",
        )
    return found[0] != target


def check_health(
    topology: str, health: t.Mapping[str, t.Any], shards: int = 1, containers: t.Iterable[str] = ()
) -> tuple[bool, str]:
    """Returns whether the `health` part of `/v1/health` is good for a topology, and a text about it (domain: health).

    `containers` are ids of Coreapps and masters that must be among the nodes of a cluster, whose names contain them: a
    recreated node is listed only after it has joined.

    single: the Coreapp is connected or connecting. High availability: exactly one Coreapp is connected. Multiconnect: as
    many Coreapps as `shards` and the primary master are connected. Standby nodes are disconnected, which is healthy.
    """
    nodes = {"coreapp": health} if "gateway_status" in health else dict(health)
    if not nodes:
        return False, "the health answer names no node"
    if "gateway_status" not in health:
        known = {name.rpartition(":")[2] for name in nodes}
        absent = sorted(each[:12] for each in containers if each[:12] not in known)
        if absent:
            return False, f"not among the nodes yet: {', '.join(absent)}; there are {', '.join(sorted(nodes))}"
    status = {name: str(node.get("gateway_status", "missing")) for name, node in nodes.items()}
    summary = ", ".join(f"{name} {value}" for name, value in sorted(status.items()))
    waiting = [name for name, value in sorted(status.items()) if value == "uninitialized"]
    if waiting:
        return False, "starting or migrating: " + ", ".join(waiting)
    lost = [name for name, value in sorted(status.items()) if value == "unregistered"]
    if lost:
        return False, "not registered: " + ", ".join(lost)
    serving = [name for name, value in status.items() if value in ("connected", "connecting")]
    if topology == "single":
        return (
            (True, summary)
            if len(serving) == 1 == len(nodes)
            else (False, f"expected one Coreapp connected: {summary}")
        )
    cores = [name for name in serving if nodes[name].get("role", "coreapp") == "coreapp"]
    if topology == "high_availability":
        good = len(serving) == len(cores) == 1
        return (True, summary) if good else (False, f"expected exactly one Coreapp connected: {summary}")
    masters = [name for name in serving if nodes[name].get("role") == "primary_master"]
    if len(cores) == shards and len(masters) == 1:
        return True, summary
    return False, f"expected {shards} Coreapps and the primary master connected: {summary}"
