# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sorts unmanaged client containers: which belong to this deployment's number, which to another. Pure rules.

A container belongs to this deployment's number if it has the same database (server and prefix), or a name that only
Compose gives to this deployment's containers.
"""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import STOPPED
from ansible_collections.waba.onprem.plugins.module_utils._core import machine
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MOVE_GUIDE

Container = t.Mapping[str, t.Any]  # as `wa_info` describes one


def same_client(found: str, own: str) -> bool | None:
    """Returns whether two databases (`HOST:PORT/PREFIX`) are of one client; None if unknown.

    A server may have several names, so different names prove nothing; a different prefix, port or address does.
    """
    if not found or not own:
        return None
    host, port, prefix = _parts(found)
    own_host, own_port, own_prefix = _parts(own)
    if prefix != own_prefix or (port and own_port and port != own_port):
        return False
    if host == own_host:
        return True  # without a port, the engine's default applies
    return False if machine.is_address(host) and machine.is_address(own_host) else None


def _parts(database: str) -> tuple[str, str, str]:
    server, _slash, prefix = database.partition("/")
    host, _colon, port = server.rpartition(":")
    return host, port, prefix


def sort(
    containers: t.Iterable[Container],
    project: str,
    neighbours: t.Collection[str],
    database: str,
    known: t.Collection[t.Sequence[str]] = (),
    names: t.Collection[str] = (),
) -> dict[str, t.Any]:
    """Returns the containers of `wa_info` that are not in `project`, sorted into groups.

    `own` belong to this deployment's number. `unknown` belong to a client that the inventory does not describe, while `project` has
    no container: the running client was not adopted, or the inventory is wrong. `refused` are messages about containers whose owner is
    unknown, or that have a name that the deployment needs.

    `neighbours` are the projects of the machine's other deployments, `known` pairs of project and database of all other deployments of
    the inventory, `database` is the deployment's own, `names` are its containers' names.
    """
    containers = list(containers)
    new = not any(one["project"] == project and not one["one_shot"] for one in containers)
    own: list[Container] = []
    unknown: list[Container] = []
    refused: list[str] = []
    for one in containers:
        if one["project"] == project or (one["one_shot"] and one["state"] in STOPPED):
            continue
        listed = one["project"] in neighbours or (one["project"], one["database"]) in {tuple(pair) for pair in known}
        same = False if listed else same_client(one["database"], database)
        if one["role"] == "other":
            refused.append(
                f"{_line(one)} is no container of the client and has the name of one of this deployment's. It is not removed. "
                f"Rename it (docker rename {one['name']} NEW) or remove it"
            )
        elif same or (one["name"] in names and not listed):
            own.append(one)
        elif new and not listed:
            unknown.append(one)
        elif same is None:
            refused.append(
                f"{_line(one)} is connected to {one['database'] or 'no database that its environment names'}; expected "
                f"{database or 'wa_db_env_hostname to be set'}, which would prove that it is this deployment's. It is not "
                "removed. Adopt it as a deployment of its own, or remove it where nobody needs it "
                f"(docker rm --force {one['name']})"
            )
    return {"own": own, "unknown": unknown, "refused": refused}


def refusal(found: t.Mapping[str, t.Any], project: str, adopt: str) -> str:
    """Returns why containers sorted by `sort` forbid a start, with what to do; empty if none does. `adopt` runs adopt.yml."""
    texts = list(found["refused"])
    if found["own"]:
        texts.append(
            f"{_lines(found['own'])}: containers of this client outside {_named(project)}; expected none, because two clients of "
            f"one number disconnect each other. Have adopt.yml take the client as it is ({adopt}), or move it into a Compose "
            f"project by five commands ({MOVE_GUIDE})"
        )
    if found.get("adopted"):
        texts.append(
            f"{_lines(found['adopted'])}: made from another Compose file than the role's; expected wa_client_compose_dir, with which a "
            f"client runs from its own Compose files. Have adopt.yml take it as it is ({adopt}), or remove the containers "
            "(docker compose down), whose client is then started from the role's file"
        )
    if found["unknown"]:
        databases = dict.fromkeys(str(one["database"] or "no database") for one in found["unknown"])
        texts.append(
            f"{_lines(found['unknown'])}: a client that no deployment of the inventory describes, connected to "
            f"{', '.join(databases)}; expected a container of {_named(project)}. Adopt what runs ({adopt}) and use the "
            "inventory that it writes, also if it is another number's"
        )
    return ". ".join(texts)


def _named(project: str) -> str:
    return f"the Compose project {project}" if project else "this deployment"


def _lines(containers: t.Iterable[Container]) -> str:
    return "; ".join(map(_line, containers))


def _line(one: Container) -> str:
    project = f"project {one['project']}" if one["project"] else "outside Compose"
    return f"{one['name']} ({one['image']}, {project}, {one['state']})"
