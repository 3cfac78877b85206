# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the one-shot migration of a client that runs from an operator's own Compose files. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import MIGRATION
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

Document = t.Mapping[str, t.Any]
# What makes a Coreapp a running node, or a service that others find. The migration only needs its database.
_NOT_TAKEN = frozenset(
    {
        *(
            "build",
            "container_name",
            "depends_on",
            "deploy",
            "develop",
            "domainname",
            "expose",
            "healthcheck",
            "hostname",
        ),
        *("image", "labels", "ports", "profiles", "pull_policy", "restart", "scale", "stop_grace_period"),
    }
)
_NODE_VARIABLES = ("WA_APP_MULTICONNECT", "WA_MASTER_NODE")
_NODE_PREFIXES = ("COREAPP_", "WEBAPP_", "WACORE_")


def document(resolved: Document, service: str, images: t.Mapping[str, str]) -> dict[str, t.Any]:
    """Returns a Compose document with the migration alone, made from the Coreapp `service`. `images` are the new ones of the client's services.

    `resolved` is the output of `docker compose config`, in which variables have their values and env files are read: the migration has the
    Coreapp's own database, also where a file that is included has variables of its own. Raises WaError if there is no such service.
    """
    body = (resolved.get("services") or {}).get(service)
    if body is None:
        raise WaError(f"service {service}", "not in the Compose files", "the client's Coreapp", "Run adopt.yml again")
    refuse_reserved_service(resolved)
    kept = {key: value for key, value in body.items() if key not in _NOT_TAKEN}
    given = {key: value for key, value in (body.get("environment") or {}).items() if not _of_node(key)}
    if kept.get("networks"):
        kept["networks"] = dict.fromkeys(kept["networks"])  # names and addresses on them are the Coreapp's
    if kept.get("links"):  # the database may have its name from one; the client itself is stopped
        kept["links"] = [one for one in kept["links"] if one.partition(":")[0] not in images]
    # The signal is that of `_compose.document`.
    made = {"image": images[service], "profiles": [MIGRATION], "restart": "no", "stop_signal": "SIGKILL"}
    return {"services": {MIGRATION: {**kept, **made, "environment": {**given, "WA_DB_UPGRADE": "1"}}}}


def refuse_reserved_service(document: Document) -> None:
    """Raises WaError if the operator's Compose files have a service with the name of the migration."""
    if MIGRATION in (document.get("services") or {}):
        cure = "Give yours another name"
        raise WaError(
            f"service {MIGRATION}", "in the Compose files", "no service of that name, which the migration has", cure
        )


def _of_node(name: str) -> bool:
    return name in _NODE_VARIABLES or name.startswith(_NODE_PREFIXES)
