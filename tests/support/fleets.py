# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports of fleets, as status.yml writes them, for the tests of what is made from them."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._client.start_guard import sessions_line

NOW = 1_795_000_000.0  # 2026-11-18 11:06:40 UTC
Report = dict[str, t.Any]
HOSTILE = "<script>alert(1)</script>"
_GIB = 1 << 30
_STATES = ("unreachable", "unhealthy", "unknown", "drifted", "attention", "in_sync")
SESSIONS = sessions_line([{"from": "10.9.8.7", "seconds": 40}] * 3)
_DIFF = (
    "--- before: {path}\n+++ after: {path}\n@@ -1,3 +1,3 @@\n WA_DB_ENGINE=MYSQL\n-WA_DB_PORT=3307\n+WA_DB_PORT=3306\n"
)


def stamp(seconds: float) -> str:
    """A time as reports have it."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def day(seconds: float) -> str:
    """A day as reports have it."""
    return stamp(seconds)[:10]


def cause(
    kind: str, state: str, text: str, host: str | None = None, short: str = "", command: str | None = None
) -> Report:
    """A cause that needs action."""
    categories = {"drift": "drift", "unhealthy": "unhealthy", "session": "unhealthy", "unreachable": "unreachable"}
    categories |= {"expiry": "expiry", "backup": "backup"}
    return {
        "kind": kind,
        "state": state,
        "category": categories.get(kind),
        "host": host,
        "short": short or text[:30],
        "text": text,
        "command": command,
    }


def concern(state: str = "in_sync", **parts: t.Any) -> Report:
    """A concern of a host that was compared."""
    return {
        "state": state,
        "drift": [],
        "pending": [],
        "warnings": [],
        "alarms": [],
        "diff": [],
        "error": None,
        **parts,
    }


def member(host: str, now: float = NOW, free: float = 0.6) -> Report:
    """A host of a deployment, where all is well."""
    disk = {"path": "/var/lib/docker", "free_bytes": int(100 * _GIB * free), "total_bytes": 100 * _GIB, "error": None}
    names = ("host", "media_volume", "db_env", "client", "database", "log_cleanup", "health", "automatic_gc")
    return {
        "host": host,
        "state": "in_sync",
        "reached": True,
        "error": None,
        "containers": [
            {"name": f"wa-{host}-wa{name}-1", "role": role, "state": "running", "health": health, "version": "2.53.4"}
            for name, role, health in (("core", "core", "healthy"), ("web", "web", None))
        ],
        "concerns": {name: concern() for name in names},
        "disk": {"docker": {**disk}, "logs": {**disk}, "media": {**disk, "path": "/srv/media"}},
        "log_cleanup": {
            "started": stamp(now - 30000),
            "result": "ok",
            "last_success": stamp(now - 29990),
            "age_seconds": 29990,
            "error": None,
        },
    }


def deployment(name: str, *hosts: str, now: float = NOW, rows: int | None = 410_233) -> Report:
    """A deployment where all is well."""
    members = [member(host, now) for host in hosts or (name,)]
    kept = {"time": stamp(now - 40000), "age_seconds": 40000}
    return {
        "name": name,
        "state": "in_sync",
        "causes": [],
        "leader": members[0]["host"],
        "topology": "single" if len(members) == 1 else "high_availability",
        "version": "2.53.4",
        "wanted_version": "2.53.4",
        "expiry": {"day": day(now + 100 * 86400), "seconds": 100 * 86400.0, "error": None},
        "health": {
            "state": "healthy",
            "text": "",
            "running": 2 * len(members),
            "expected": 2 * len(members),
            "nodes": {"coreapp": "connected"},
            "error": None,
        },
        "callbacks": {"waiting": 0, "sent": 48210, "refused": 0, "error": None},
        "database": {
            "product": "MariaDB",
            "version": "11.8.3",
            "end_of_life": "2028-06-04",
            "end_of_life_seconds": 48_000_000.0,
            "connections_used": 31,
            "connections_allowed": 151,
            "unknown_sessions": 0,
            "error": None,
        },
        "messages": {
            "limit": 2_000_000,
            "rows": rows,
            "over": None if rows is None else rows > 2_000_000,
            "tables": [{"database": "waMessageStore", "rows": rows}],
            "error": None,
        },
        "gc": {
            "policy": "daily",
            "automatic": None,
            "began": stamp(now - 50000),
            "age_seconds": 50000,
            "result": "complete",
            "text": "",
            "error": None,
        },
        "backups": {"settings": kept, "database": {**kept, "place": "backup"}, "images": None, "error": None},
        "drill": {"time": stamp(now - 500000), "age_seconds": 500000, "error": None},
        "upgrade": None,
        "hold": None,
        "images": [
            {
                "name": "registry.example.com/whatsapp/coreapp:v2.53.4",
                "version": "2.53.4",
                "on_host": True,
                "pullable": True,
                "kept": False,
                "error": None,
            }
        ],
        "certificates": [
            {
                "name": "API",
                "host": members[0]["host"],
                "day": day(now + 200 * 86400),
                "seconds": 200 * 86400.0,
                "error": None,
            }
        ],
        "members": members,
    }


def with_causes(one: Report, *causes: Report) -> Report:
    """The deployment with these causes, the worst first, and the state that they give it."""
    one["causes"] = sorted([*one["causes"], *causes], key=lambda each: _STATES.index(each["state"]))
    one["state"] = one["causes"][0]["state"]
    return one


def drifted(name: str, *hosts: str, now: float = NOW) -> Report:
    """A deployment whose first host has drifted, with a diff."""
    one = deployment(name, *hosts, now=now)
    first = one["members"][0]
    path = f"/opt/waba/{name}/db.env"
    first["state"] = "drifted"
    first["concerns"]["db_env"] = concern(
        "drifted",
        drift=["set WA_DB_PORT", "2 containers have other values"],
        diff=[{"path": path, "text": _DIFF.format(path=path)}],
    )
    command = f"ansible-playbook -i hosts.yml --limit {name} waba.onprem.provision"
    return with_causes(
        one, cause("drift", "drifted", "db_env: set WA_DB_PORT", first["host"], "db.env: 2 drift", command)
    )


def unreachable(name: str, *hosts: str, now: float = NOW) -> Report:
    """A deployment none of whose hosts answers."""
    one = deployment(name, *hosts, now=now, rows=None)
    error = "Failed to connect to the host via ssh: No route to host"
    unread: dict[str, Report] = {
        "expiry": {"day": None, "seconds": None},
        "health": {"state": "unknown", "text": error, "running": None, "expected": 2, "nodes": None},
        "callbacks": {"waiting": None, "sent": None, "refused": None},
        "messages": {"limit": 2_000_000, "rows": None, "over": None, "tables": []},
        "gc": {"policy": "daily", "automatic": None, "began": None, "age_seconds": None, "result": None, "text": ""},
        "drill": {"time": None, "age_seconds": None},
        "database": dict.fromkeys(one["database"]),
    }
    for key, part in unread.items():
        one[key] = {**part, "error": "not read"}
    one.update(version=None, images=[], certificates=[])
    for each in one["members"]:
        each.update(state="unreachable", reached=False, error=error, containers=None, concerns={})
        each["disk"] = {
            key: {"path": None, "free_bytes": None, "total_bytes": None, "error": "not read"} for key in each["disk"]
        }
        each["log_cleanup"] = dict.fromkeys(each["log_cleanup"]) | {"error": "not read"}
    host = one["members"][0]["host"]
    command = f"ansible -i hosts.yml {host} -m ansible.builtin.ping"
    return with_causes(
        one,
        cause("unreachable", "unreachable", f"{host} is unreachable: {error}", host, f"{host} unreachable", command),
    )


def unhealthy(name: str, *hosts: str, now: float = NOW) -> Report:
    """A deployment that does not serve, with more that needs action."""
    one = deployment(name, *hosts, now=now, rows=2_412_345)
    one["health"].update(state="unhealthy", text="no Coreapp is connected", nodes={"coreapp": "disconnected"})
    one["database"]["unknown_sessions"] = 3
    one["backups"]["settings"] = None
    limit = f"-i hosts.yml --limit {name}"
    return with_causes(
        one,
        cause(
            "unhealthy",
            "unhealthy",
            "the client does not serve: no Coreapp is connected",
            one["leader"],
            "DOES NOT SERVE",
            f"ansible -i hosts.yml {one['leader']} --become -m ansible.builtin.command -a 'docker logs --tail 50 wa-{name}-wacore-1'",
        ),
        cause("session", "unhealthy", SESSIONS, one["leader"], "UNKNOWN SESSION"),
        cause(
            "messages",
            "attention",
            "messages has 2412345 rows, more than 2000000",
            None,
            "2.4 M rows",
            f"ansible-playbook {limit} waba.onprem.gc",
        ),
        cause(
            "backup",
            "attention",
            "there is no settings backup",
            None,
            "no settings backup",
            f"ansible-playbook {limit} waba.onprem.backup",
        ),
    )


def fleet(deployments: t.Sequence[Report], now: float = NOW) -> Report:
    """A report with these deployments, the worst first."""
    ordered = sorted(deployments, key=lambda one: (_STATES.index(one["state"]), one["name"]))
    counts = {state: sum(one["state"] == state for one in ordered) for state in _STATES}
    hosts = {each["host"] for one in ordered for each in one["members"]}
    return {
        "format": 1,
        "collection_version": "0.1.0",
        "time": stamp(now),
        "counts": {"deployments": len(ordered), "hosts": len(hosts), **counts},
        "deployments": ordered,
    }


def mixed(number: int, now: float = NOW, hostile: bool = True) -> Report:
    """A fleet of `number` deployments, about every tenth of which needs action, and one with a hostile name."""
    made: list[Report] = []
    for index in range(number):
        name = f"customer-{index:03d}"
        hosts = [f"{name}-{letter}" for letter in "abc"] if index % 9 == 4 else [name]
        kind = {0: unreachable, 1: unhealthy, 2: drifted}.get(index % 30, deployment)
        made.append(kind(name, *hosts, now=now))
    if hostile:
        made[2] = drifted(HOSTILE, '"><img src=x onerror=alert(2)>', "h2", now=now)
        made[2]["members"][0]["concerns"]["client"] = concern("drifted", drift=["</script><b>bold</b> & {{ 7 * 7 }}"])
    return fleet(made, now)


def history(number: int, reports: int, now: float = NOW, hostile: bool = True) -> list[Report]:
    """Earlier reports of the same fleet, one an hour: rows grow, and the disk fills."""
    found = []
    for back in range(reports, 0, -1):
        one = mixed(number, now - back * 3600, hostile)
        for each in one["deployments"]:
            if each["messages"]["rows"] is not None:
                each["messages"]["rows"] = max(0, each["messages"]["rows"] - back * 5000)
            for host in each["members"]:
                for disk in host["disk"].values():
                    if disk["free_bytes"] is not None:
                        disk["free_bytes"] = min(disk["total_bytes"], disk["free_bytes"] + back * (_GIB // 8))
        found.append(one)
    return found
