# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the client's database who uses it and what it holds: a client that another machine starts, too, is seen nowhere else."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._client import inspection as client_inspection
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import ACTIVE
from ansible_collections.waba.onprem.plugins.module_utils._concern import db_env
from ansible_collections.waba.onprem.plugins.module_utils._concern.finding import Finding
from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference, machine
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._core.units import parse_duration
from ansible_collections.waba.onprem.plugins.module_utils._database import guard
from ansible_collections.waba.onprem.plugins.module_utils._database.errors import DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._db_env import login_check
from ansible_collections.waba.onprem.plugins.module_utils._docker import host_names
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import (
    PROJECT_LABEL,
    SERVICE_LABEL,
    container_name,
)
from ansible_collections.waba.onprem.plugins.module_utils._env import plan as env_plan
from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store

_AWAY = ("unknown_host", "unreachable")  # kinds of a login that has not reached a server
_ALARMS = (
    *("unreachable", "login", "locked", "tls", "client_cert", "pool"),
    *("too_many", "read_only", "lost", "starting", "denied"),
)

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._core.redact import Redactor
    from ansible_collections.waba.onprem.plugins.module_utils._database.session import Settings
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker

SPEC: dict[str, dict[str, t.Any]] = {
    **db_env.SPEC,
    "databases": {"type": "list", "elements": "str"},
    # Origins of sessions that are other members', that others use as well, and whether a container of another member runs.
    "origins": {"type": "list", "elements": "str", "default": []},
    "shared_origins": {"type": "list", "elements": "str", "default": []},
    "running": {"type": "bool", "default": False},
    # Whether this is a look at the client that runs, by its own login, rather than the guard before a start by db.env.
    "look": {"type": "bool", "default": False},
    "cluster": {"type": "bool", "default": False},
    # Whether what the databases hold is read as well.
    "tables": {"type": "bool", "default": True},
    # Whether a look also reads connections, rows of messages, and the product, see `_database.capacity`.
    "figures": {"type": "bool", "default": False},
    "wait": {"type": "str", "default": "10s"},
    "identity_file": {"type": "path"},
}


def read(concern: t.Any, engine: Docker, redactor: Redactor) -> dict[str, t.Any]:
    """Returns what `_database.guard.read` does, and what the guard before a start compares; empty for a look where no client runs.

    That is whether a container is `running`, the `versions` of containers, the record of the client (`recorded`), and which `machine`
    this is. `concern` has the options of `SPEC`. Raises WaError if the client's login fails.
    """
    params = concern.params
    result = Result(concern, redactor)
    result.values.update(undeclared_keys=[])
    check = login_check.LoginCheck(params, result.warn, untouched="No container was started", engine=engine)
    clients = check.clients
    values = _values(concern, result, engine, clients)
    # The members of a cluster use one database together: only what its tables are is read, at the end of a run.
    needed = params["tables"] or not params["cluster"] or params["figures"]
    if params["look"] and not (values and needed):
        return {}
    running = params["running"] or any(one.state in ACTIVE for one in clients.found)
    containers = sorted({name for one in clients.records for name in host_names.origins(one)})
    ours = [*machine.origins(), *params["origins"], *containers]
    # On another way than the client's a server shows our session from another origin than the client's.
    compared = not running or (not params["login_host"] and not (params["look"] and params["cluster"]))

    def unknown(sessions: guard.Sessions, origin: str) -> guard.Sessions:
        return guard.unknown(sessions, running, [*ours, origin], params["shared_origins"]) if compared else []

    def look(config: Settings, env: t.Mapping[str, str]) -> None:
        prefix = env.get("WA_DB_NAME_PREFIX", "")
        wait = parse_duration("wait", params["wait"])
        check.found.update(guard.read(config, prefix, params["databases"], unknown, wait, params["tables"]))
        if params["figures"]:
            # Imported on use, as it is needed by a status only.
            from ansible_collections.waba.onprem.plugins.module_utils._database import capacity

            check.found["figures"] = {
                **capacity.read(config, prefix, params["databases"]),
                "unknown_sessions": len(check.found["unknown"]) if compared else None,
            }

    check.check = look
    try:
        check(values)
    except DatabaseError as error:
        away = (
            ""
            if params["look"] or error.kind not in _AWAY
            else _server_away(engine, params["project"], values, error.kind)
        )
        if not away and not params["look"] and error.kind == "unknown_host":
            # The start puts it on its network again.
            off = [one["Name"].lstrip("/") for one in clients.records if not host_names.networks(one)]
            away = f"its name does not resolve in {off[0]}, which is on no network" if off else ""
        if not away:
            raise
        # Nobody is connected to it, and Compose starts it with the client.
        check.found.update(unreadable=away, unknown=[])
    if not compared and not params["cluster"]:
        check.found["unreadable"] = (
            "its login goes another way than the client's, so origins of sessions are not compared"
        )
    if params["look"]:
        return check.found
    recorded = client_inspection.record(params["identity_file"]) if params["identity_file"] else {}
    place = f"{machine.boot_id()} {engine.info().get('ID', '')}"
    more = {
        "running": running,
        "versions": _versions(clients),
        "recorded": recorded,
        "machine": place,
        "origins": containers,
    }
    return {**check.found, **more}


def _server_away(engine: Docker, project: str, values: t.Mapping[str, str], kind: str) -> str:
    """Returns that the database server is a container of the project that is not there, or does not run; empty if it is not so known."""
    name = values.get("WA_DB_HOSTNAME", "")
    ours = [
        row
        for row in engine.rows("list of containers", True)
        if project and (row.get("Labels") or {}).get(PROJECT_LABEL) == project
    ]
    for row in ours:
        names = [row["Labels"].get(SERVICE_LABEL), container_name(row)]
        if row["State"] != "running" and name in names:
            return f"its server, container {names[1]}, does not run"
    if project and not ours and kind == "unknown_host" and "." not in name:
        return f"no container of the project is there, by which {name} could be a service of it"
    return ""


def _versions(clients: login_check.Clients) -> list[str]:
    """Returns the versions of the client's containers; a migration's container has one that the database may not have."""
    services = [one for one in clients.found if "WA_DB_UPGRADE" not in (one.environment or {})]
    return sorted({image_reference.parse(one.image).version for one in services})


def _values(concern: t.Any, result: Result, engine: Docker, clients: login_check.Clients) -> dict[str, str]:
    """Returns the settings of the login: those in force in a running Coreapp, or those that a start will use."""
    if concern.params["look"]:
        cores = [one.environment or {} for one in clients.running if one.role != "web"]
        return next((one for one in cores if one.get("WA_DB_HOSTNAME")), {})
    before = Store(concern.params["path"]).read()
    result.redact.add(env_plan.secrets(concern.params, before))
    plan = env_plan.make(concern.params, concern.params["path"], before)
    environments = db_env.check_containers(concern, result, plan, engine)
    differing = [*result.values["stale_containers"], *result.values["overridden_containers"]]
    return login_check.variants(plan.values, environments, differing)[0]


def observe(concern: t.Any, engine: Docker, redactor: Redactor) -> tuple[Finding, dict[str, t.Any]]:
    """Returns the finding of a look at a single client that runs, and what was read."""
    finding = Finding()
    try:
        found = read(concern, engine, redactor)
    except DatabaseError as error:
        # The concern `host` reports a missing library. What this host cannot reach, the client may.
        if error.kind in _ALARMS:
            finding.alarms.append(str(error))
        elif error.kind != "driver":
            finding.warnings.append(f"who uses the client's database is not known: {error}")
        return finding, {"figures": {"error": str(error)}} if concern.params["figures"] else {}
    if found.get("unreadable"):
        finding.warnings.append(f"who uses the client's database is not known: {found['unreadable']}")
    if found.get("unknown"):
        from ansible_collections.waba.onprem.plugins.module_utils._client import start_guard

        finding.alarms.append(start_guard.sessions_line(found["unknown"]))
    return finding, found
