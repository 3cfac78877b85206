# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of hosts as status.yml has them, for tests of the fleet's state."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.plugin_utils import _fleet as fleet

NOW = 1_796_110_800.0  # 2026-12-01 07:40 UTC
DAY = 86400.0
SYNCED = ("host", "media_volume", "db_env", "client", "database", "log_cleanup", "health")
COMMANDS = fleet.Commands(
    lambda name, variables, limit: " ".join([name, limit, *(f"{key}={value}" for key, value in variables.items())]),
    lambda host, module, arguments: f"{host} {module.rpartition('.')[2]} {arguments}".strip(),
)


def container(name: str = "wacore", role: str = "core", **more: t.Any) -> dict[str, t.Any]:
    return {"name": name, "role": role, "state": "running", "health": "healthy", "version": "2.53.4", **more}


def disk(free: int = 50, total: int = 100) -> dict[str, t.Any]:
    return {"path": "/data", "free_bytes": free << 30, "total_bytes": total << 30, "error": ""}


def figures(**more: t.Any) -> dict[str, t.Any]:
    return {
        "containers": {"containers": [container(), container("waweb", "web", health=None)], "error": ""},
        "disk_docker": disk(),
        "disk_logs": disk(),
        "disk_media": disk(),
        "log_cleanup": {"started": NOW - 100, "result": "ok", "last_success": NOW - 90, "error": ""},
        "certificates": {"certificates": [{"name": "API", "end": NOW + 100 * DAY, "error": ""}], "error": ""},
        "images": {"images": [image("coreapp"), image("web")], "error": ""},
        "gc": {"began": NOW - DAY, "result": "complete", "text": "", "error": ""},
        "copies": {"made": NOW - 2 * DAY, "proven": NOW - 3 * DAY, "error": ""},
        "api": {
            "nodes": {"coreapp": "connected"},
            "callbacks": {"waiting": 1, "sent": 20, "refused": 3},
            "support": {"expires_on": "2027-02-28"},
        },
        "database": {
            "product": "PostgreSQL",
            "version": "13.14",
            "end_of_life": "2025-11-13",
            "connections_used": 20,
            "connections_allowed": 100,
            "tables": [{"database": "messageStore", "rows": 1000}],
            "tables_error": "",
            "unknown_sessions": 0,
        },
        **more,
    }


def image(name: str, **more: t.Any) -> dict[str, t.Any]:
    found = {"name": f"r/{name}:v2.53.4", "version": "2.53.4", "on_host": True, "pullable": True, "error": ""}
    return {**found, **more}


def about(name: str = "support", **more: t.Any) -> dict[str, t.Any]:
    found = {"name": name, "slug": name, "leader": name, "members": [name], "topology": "single", "version": "2.53.4"}
    kept = {"given": True, "settings": NOW - DAY, "database": NOW - 4 * DAY, "images": NOW - 9 * DAY}
    names = [f"r/{one}:v2.53.4" for one in ("coreapp", "web")]
    return {
        **found,
        "services": 2,
        "messages_limit": 2000,
        "automatic_gc": True,
        "gc_policy": "limit",
        "backups": {**kept, "image_names": names},
        **more,
    }


def read(name: str = "support", **more: t.Any) -> dict[str, t.Any]:
    """What a host in sync, which is a deployment of its own, has said."""
    found: dict[str, t.Any] = {
        "reached": True,
        "about": about(name),
        "concerns": {one: {"state": "in_sync"} for one in SYNCED},
        "restart": "now",
        "held": "",
        "hold": {},
        "lock": {},
        "runs": True,
        "expires_on": "2027-03-31",
        "database": {"unknown": []},
        "figures": figures(),
    }
    return {**found, **more}


def drifted(concern: str, **finding: t.Any) -> dict[str, t.Any]:
    """The same with a finding of one concern."""
    return read(concerns={**read()["concerns"], concern: {"state": "drifted", **finding}})


def lost(name: str = "support") -> dict[str, t.Any]:
    """A host that was not reached."""
    return {"reached": False, "problem": "No route to host", "about": about(name, backups={"given": False})}
