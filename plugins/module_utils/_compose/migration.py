# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the one-shot migration of a client that runs from an operator's own Compose files. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._compose.declared import environment as declared_environment
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


def document(
    declared: Document, resolved: Document, service: str, images: t.Mapping[str, str], folder: str
) -> dict[str, t.Any]:
    """Returns a Compose document with the migration alone, made from the Coreapp `service`. `images` are the new ones of the client's services.

    `declared` is the output of `docker compose config --no-interpolate`: variables stay as they are written, and `env_file`
    stays a reference, so that no secret of an env file is copied. It does not tell a folder from a volume where a mount begins
    with a variable, so mounts are those of `resolved`, the output without that option. `folder` is the project directory, from
    which Compose makes a path that begins with a variable absolute; that is undone. Raises WaError if there is no such service.
    """
    body = (declared.get("services") or {}).get(service)
    if body is None:
        raise WaError(f"service {service}", "not in the Compose files", "the client's Coreapp", "Run adopt.yml again")
    refuse_reserved_service(declared)
    kept = {key: value for key, value in body.items() if key not in _NOT_TAKEN}
    kept["environment"] = {
        **{key: value for key, value in declared_environment(body).items() if not _of_node(key)},
        "WA_DB_UPGRADE": "1",
    }
    if isinstance(kept.get("networks"), t.Mapping):
        kept["networks"] = dict.fromkeys(kept["networks"])  # names and addresses on them are the Coreapp's
    if kept.get("volumes"):
        kept["volumes"] = resolved["services"][service]["volumes"]
    if kept.get("links"):  # the database may have its name from one; the client itself is stopped
        kept["links"] = [one for one in kept["links"] if one.partition(":")[0] not in images]
    start = f"{folder}/$"
    if kept.get("env_file"):
        kept["env_file"] = [_env_file(one, start) for one in kept["env_file"]]
    # The signal is that of `_compose.document`.
    made = {"image": images[service], "profiles": [MIGRATION], "restart": "no", "stop_signal": "SIGKILL"}
    return {"services": {MIGRATION: {**kept, **made}}}


def refuse_reserved_service(declared: Document) -> None:
    """Raises WaError if the operator's Compose files have a service with the name of the migration."""
    if MIGRATION in (declared.get("services") or {}):
        cure = "Give yours another name"
        raise WaError(
            f"service {MIGRATION}", "in the Compose files", "no service of that name, which the migration has", cure
        )


def other_database(resolved: Document, service: str) -> list[str]:
    """Returns the database settings in which the migration of a resolved document differs from the Coreapp `service`."""
    ours, theirs = (resolved["services"][name].get("environment") or {} for name in (MIGRATION, service))
    keys = {key for key in (*ours, *theirs) if key.startswith("WA_DB_")} - {"WA_DB_UPGRADE"}
    return sorted(key for key in keys if ours.get(key) != theirs.get(key))


def _of_node(name: str) -> bool:
    return name in _NODE_VARIABLES or name.startswith(_NODE_PREFIXES)


def _env_file(entry: t.Any, start: str) -> t.Any:
    if isinstance(entry, t.Mapping):
        return {**entry, "path": _as_written(str(entry["path"]), start)}
    return _as_written(str(entry), start)


def _as_written(path: str, start: str) -> str:
    """Returns a path that begins with a variable as it was before Compose took it for a relative one."""
    return path[len(start) - 1 :] if path.startswith(start) else path
