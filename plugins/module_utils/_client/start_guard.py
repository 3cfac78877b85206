# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides from a client's database whether a Coreapp may be started: who uses it, and what it holds. Pure rules."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._client import inspection
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import guard
from ansible_collections.waba.onprem.plugins.module_utils._deployment.topology import version_key

Found = t.Mapping[str, t.Any]  # what `_concern.database.read` returns
CONFIRM = "wa_confirm_identity"


def sessions_line(sessions: t.Sequence[Found]) -> str:
    """Returns the message about unknown sessions: from where, how many, how long, and how to find out whose they are."""
    return str(
        WaError(
            "client's database",
            f"sessions of the client's user that are not this client's: {'; '.join(guard.origins(sessions))}",
            "none, because two clients of one number get it banned",
            "Find out whose they are: on that machine docker ps, on the server the list of processes. Stop that client, job or program. "
            "Sessions that a lost machine has left are ended on the server. If an origin is a proxy or NAT that you know, name it in "
            "wa_db_shared_origins",
        )
    )


def unknown_sessions(found: Found, unseen: int) -> tuple[str, str]:
    """Returns why nothing may be started (empty if it may), and a note.

    `unseen` members of a cluster were not asked from where they connect: as many unknown origins may be theirs.
    """
    if found["unreadable"]:
        return "", f"who uses the client's database is not known: {found['unreadable']}"
    sessions = found["unknown"]
    if not sessions:
        return "", ""
    if len({str(one["from"]) for one in sessions}) <= unseen:
        return "", (
            f"sessions on the client's database that may be those of members that this run does not reach: {'; '.join(guard.origins(sessions))}"
        )
    return sessions_line(sessions), ""


def content(
    found: Found,
    records: t.Sequence[t.Mapping[str, str]],
    versions: t.Sequence[str],
    wanted: str,
    confirmed: t.Any,
    deployments: int,
) -> tuple[str, str]:
    """Returns why the version `wanted` must not be started on what the database holds (empty if it may), and a note.

    `records` are those of the members of this run, `versions` of their containers, `confirmed` is `wa_confirm_identity`,
    `deployments` how many of them the run reaches.
    """
    if not found.get("holds"):
        return "", ""
    dated = sorted(
        (one for one in records if one.get(inspection.VERSION)), key=lambda one: one.get(inspection.RECORDED, "")
    )
    known = inspection.schemas(*dated)
    newer = [
        version for version, digest in known.items() if digest == found["definitions"] and _is_newer(version, wanted)
    ]
    if newer:
        return _refused(
            f"its tables are those of version {newer[-1]}, as recorded",
            f"version {wanted}, which is to be started",
            f"Set wa_version to {newer[-1]}, or restore the copy of the database from before the upgrade",
        ), ""
    if not versions and not dated:
        return _unknown_content(wanted, confirmed, deployments), ""
    last = dated[-1][inspection.VERSION] if dated else ""
    if not versions and last != wanted:
        return _refused(
            f"version {last} ran last, as recorded",
            f"version {wanted}, which is to be started",
            f"A start of another version migrates the database. Set wa_version to {last}; a later upgrade.yml goes to {wanted}",
        ), ""
    changed = last == wanted and known.get(wanted, found["definitions"]) != found["definitions"]
    return "", (
        f"definitions of tables in the client's database have changed since version {wanted} was recorded"
        if changed
        else ""
    )


def _is_newer(version: str, wanted: str) -> bool:
    try:
        return version_key(version) > version_key(wanted)
    except WaError:
        return False


def _unknown_content(wanted: str, confirmed: t.Any, deployments: int) -> str:
    value = json.dumps({CONFIRM: {"version": wanted}})
    given = str((confirmed or {}).get("version", ""))
    if given.lstrip("v") == wanted and deployments == 1:
        return ""
    if given and deployments > 1:
        return _refused(
            f"it holds a client's tables, and {CONFIRM} gives a version for {deployments} deployments",
            "a confirmation for one deployment",
            "Limit the run to it: --limit",
        )
    return _refused(
        "it holds a client's tables, and neither a container nor a record on a host of this run knows which version they are of",
        "a known version, because the start of another one migrates the database",
        f"Reach a member that knows the client (no --limit), or correct server and prefix. If version {wanted} ran last, confirm it for "
        f"this run: -e '{value}'; if another did, set wa_version to that first"
        + (f" (given: {given})" if given else ""),
    )


def _refused(seen: str, expected: str, cure: str) -> str:
    return str(WaError("client's database", seen, expected, f"Nothing was started. {cure}"))


def one_database(host: str, found: Found, others: t.Mapping[str, Found]) -> str:
    """Returns why `host` must not start its client: another deployment has reached the same databases in this run.

    `others` are what hosts of deployments with the same server name, port and prefix have read in this run.
    """
    same = sorted(name for name, one in others.items() if one and guard.same_server(found, one))
    if not same:
        return ""
    return _refused(
        f"{host} and {', '.join(same)} are different deployments, and reach the same running server with the same prefix",
        "a database for each client, because two clients of one number get it banned",
        "Give each deployment its own wa_db_env_name_prefix; or make the hosts one deployment by wa_deployment, "
        "see wa_topology. A host that another one replaces leaves the inventory, and its client is stopped",
    )


def one_machine(host: str, place: Found, others: t.Mapping[str, Found]) -> str:
    """Returns why two names of the inventory must not start a client: they are one machine, and share a project or a database.

    `place` has `machine`, `project` and `database`; an empty machine is not known.
    """
    for name, other in sorted(others.items()):
        if not place["machine"] or other["machine"] != place["machine"]:
            continue
        shared = [key for key in ("project", "database") if place[key] and place[key] == other[key]]
        if shared:
            return str(
                WaError(
                    f"hosts {host} and {name}",
                    f"one machine and the same {' and '.join(shared)}: {', '.join(place[key] for key in shared)}",
                    "one name for each client of a machine",
                    "Nothing was started. Remove one of the names from the inventory",
                )
            )
    return ""
