# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides from a client's database whether a Coreapp may be started: who uses it, and what it holds. Pure rules."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._client import identity, inspection
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import guard
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology

Found = t.Mapping[str, t.Any]  # what `_concern.database.read` returns


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

    `unseen` is how many members of a cluster were not asked from where they connect: unknown sessions may be theirs.
    """
    sessions = found["unknown"]
    if sessions and not unseen:
        return sessions_line(sessions), ""
    if sessions:
        lines = "; ".join(guard.origins(sessions))
        return "", f"sessions on the client's database, perhaps of members that this run does not reach: {lines}"
    return "", f"who uses the client's database is not known: {found['unreadable']}" if found["unreadable"] else ""


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
    if confirmed and confirmed.get("version"):
        return _confirmed(str(confirmed["version"]), wanted, deployments), ""
    dated = inspection.dated(records)
    if not versions and not dated:
        return _refused(
            "it holds a client's tables, and neither a container nor a record on a host of this run knows which version they are of",
            "a known version, because the start of another one migrates the database",
            f"Reach a member that knows the client (no --limit), or correct server and prefix. If version {wanted} ran last, confirm it for "
            f"this run: -e '{_confirmation(wanted)}'; if another did, set wa_version to that first",
        ), ""
    known = inspection.schemas(*dated)
    same = [version for version, digest in known.items() if digest == found["definitions"]]
    if same and wanted not in same:
        return _other_version(f"its tables are those of version {same[-1]}, as recorded", same[-1], wanted), ""
    last = dated[-1][inspection.VERSION] if dated else wanted
    if not versions and last != wanted:
        return _other_version(f"version {last} ran last, as recorded", last, wanted), ""
    changed = not same and wanted in known
    return "", (
        f"definitions of tables in the client's database have changed since version {wanted} was recorded"
        if changed
        else ""
    )


def _other_version(seen: str, version: str, wanted: str) -> str:
    return _refused(
        seen,
        f"version {wanted}, which is to be started",
        f"A start of another version migrates the database, or finds a newer one. Set wa_version to {version}; upgrade.yml goes to a newer one. "
        f"If the database was restored since, and is of version {wanted}, confirm it for this run: -e '{_confirmation(wanted)}'",
    )


def _confirmed(given: str, wanted: str, deployments: int) -> str:
    if given.lstrip("v") != wanted:
        return _refused(
            f"{identity.CONFIRM} gives version {given}",
            f"version {wanted}, which is to be started",
            "Set wa_version to the version that last ran, and confirm that",
        )
    if deployments > 1:
        return _refused(
            f"{identity.CONFIRM} gives a version for {deployments} deployments",
            "a confirmation for one deployment",
            "Limit the run to it: --limit",
        )
    return ""


def _confirmation(version: str) -> str:
    return json.dumps({identity.CONFIRM: {"version": version}})


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


def not_compared(host: str, found: Found, others: t.Mapping[str, Found]) -> str:
    """Returns that equal names of databases of two deployments on one machine may be one database; empty where the servers were compared.

    `others` are what the hosts of those deployments have read in this run, in which names in different projects prove nothing.
    """
    names = sorted(name for name, one in others.items() if not (found.get("identity") and one.get("identity")))
    return (
        f"hosts {', '.join([host, *names])}: one machine and databases of the same name, in a Compose project each; whether that is one "
        "database is not known, since this run has not read which servers run. Two clients of one number get it banned. Run it for all of "
        "these hosts (no --limit)"
        if names
        else ""
    )


def one_machine(host: str, place: Found, others: t.Mapping[str, Found]) -> str:
    """Returns why two names of the inventory must not start a client: they are one machine, and share a project or a database.

    `place` has `machine`, `project` and `database`; an empty machine is not known.
    """
    for name, other in sorted(others.items()):
        if not place["machine"] or other["machine"] != place["machine"]:
            continue
        shared = [key for key in ("project", "database") if place[key] and place[key] == other[key]]
        if shared == ["database"] and not topology.names_one_database(
            place["database"], place["project"], other["project"]
        ):
            continue
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
