# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads who uses the client's database and which client's tables it holds, in a session of the client's user.

The server shows a user its own sessions without a privilege, and a second client of one number has the same user. What is ours
is what the server shows for our own session from the same place, and the addresses of our containers.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import connection, content, processlist
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import DatabaseError, Session, Settings

_POLL_INTERVAL = 0.2  # seconds between two reads of the sessions
_CLOCK = 2  # seconds by which two reads of one server's start may differ

Found = t.Mapping[str, t.Any]
Sessions = t.Sequence[Found]
# Of the sessions, and of the origin of our own, those that are not known to be the client's.
Unknown = t.Callable[[Sessions, str], Sessions]


# Pure rules


def is_origin(origin: str, names: t.Collection[str]) -> bool:
    """Returns whether the origin of a session, an address or a host name, is one of `names`, which may be networks, too."""
    if origin.lower() in {name.lower() for name in names}:
        return True
    here = _network(origin)
    networks = [one for one in map(_network, names) if one is not None]
    return here is not None and any(one.version == here.version and here.subnet_of(one) for one in networks)  # type: ignore[arg-type]


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Returns a network, or an address as one; IPv4 in its IPv6 form as IPv4; None for a host name."""
    text = text.partition("%")[0].lower()
    try:
        return ipaddress.ip_network(text[7:] if text.startswith("::ffff:") and "." in text else text, strict=False)
    except ValueError:
        return None


def unknown(sessions: Sessions, running: bool, ours: t.Collection[str], shared: t.Collection[str]) -> list[Found]:
    """Returns the sessions that are not the client's: all if it is not `running`, else those of another origin than `ours`.

    `shared` are origins that others use as well, such as a proxy's.
    """
    known = [*shared, *(ours if running else ())]
    return [one for one in sessions if not is_origin(str(one["from"]), known)]


def origins(sessions: Sessions) -> list[str]:
    """Returns a line for each origin of sessions: how many, and how long the longest has been in its state."""
    found: dict[str, list[int]] = {}
    for one in sessions:
        found.setdefault(str(one["from"]), []).append(int(one["seconds"]))
    return [
        f"{len(ages)} from {origin} (in their present state for up to {max(ages)} s)"
        for origin, ages in sorted(found.items())
    ]


def same_server(one: Found, other: Found) -> bool:
    """Returns whether two reads in one run were of the same running server.

    Identities alone are copied with a server's data. The nodes of a Galera cluster, which start at different times, hold one
    database.
    """
    if not one.get("identity") or one.get("identity") != other.get("identity"):
        return False
    return bool(one.get("cluster")) or abs(int(one["started"]) - int(other["started"])) <= _CLOCK


# Facts from the server


def read(
    config: Settings, prefix: str, wanted: t.Sequence[str] | None, rule: Unknown, wait: float, tables: bool = True
) -> dict[str, t.Any]:
    """Returns the server (see `server`), the `unknown` sessions on the client's databases by `rule`, and their content.

    Unknown sessions are given `wait` seconds to end. With `tables` also whether the databases hold a client's tables (`holds`), and the
    digest of their `definitions`. `unreadable` is the reason where the user may not read them. Raises DatabaseError if the login
    fails.
    """
    with connection.connect(config) as session:
        found: dict[str, t.Any] = {**server(session), "unreadable": "", "unknown": []}
        try:
            if tables or rule(processlist.sessions(session), found["origin"]):
                from ansible_collections.waba.onprem.plugins.module_utils._database import ownership

                holders, names, lasting = ownership.certain(session, prefix, wanted)
                found["unknown"] = remaining(session, names, lambda those: rule(those, found["origin"]), wait)
                if tables:
                    found.update(holds=bool(holders), definitions=definitions(session, holders and lasting, prefix))
        except WaError as error:
            if isinstance(error, DatabaseError) and error.kind not in ("denied", "encoding", "other", "missing"):
                raise
            found["unreadable"] = str(error)
    return found


def remaining(
    session: Session, names: t.Sequence[str], rule: t.Callable[[Sessions], Sessions], wait: float
) -> list[Found]:
    """Returns the sessions on the databases `names` that `rule` leaves, once they were given `wait` seconds to end."""
    end = time.monotonic() + wait
    while True:
        found = rule([one for one in processlist.sessions(session) if one["database"] in names])
        if not found or time.monotonic() >= end:
            return list(found)
        time.sleep(_POLL_INTERVAL)


def server(session: Session) -> dict[str, t.Any]:
    """Returns which running server this is (`identity`, `started` in seconds since 1970, `cluster`), and our `origin` there."""
    mysql = session.engine == connection.MYSQL
    try:
        return _mysql_server(session) if mysql else _pgsql_server(session)
    except DatabaseError as error:
        if error.kind not in ("denied", "other", "missing"):
            raise
        return {"identity": "", "started": 0, "cluster": False, "origin": ""}


def _mysql_server(session: Session) -> dict[str, t.Any]:
    status = {
        str(name).lower(): str(value)
        for name, value in session.rows(
            "SHOW GLOBAL STATUS WHERE variable_name IN ('Uptime', 'wsrep_cluster_state_uuid')"
        )
    }
    variables = {
        str(name).lower(): str(value)
        for name, value in session.rows(
            "SHOW GLOBAL VARIABLES WHERE variable_name IN ('server_uuid', 'server_uid', 'hostname', 'port', 'datadir')"
        )
    }
    cluster = status.get("wsrep_cluster_state_uuid", "")
    rows = processlist.rows(session, "host", "id = CONNECTION_ID()")
    return {
        "identity": cluster or " ".join(variables[name] for name in sorted(variables)),
        "started": int(session.value("SELECT UNIX_TIMESTAMP()")) - int(status.get("uptime", 0)),
        "cluster": bool(cluster),
        "origin": processlist.mysql_origin(str(rows[0][0])) if rows else "",
    }


def _pgsql_server(session: Session) -> dict[str, t.Any]:
    [(identity, started, origin)] = session.rows(
        "SELECT (SELECT system_identifier FROM pg_control_system()),"
        " extract(epoch FROM pg_postmaster_start_time())::bigint, coalesce(host(inet_client_addr()), 'local')"
    )
    return {"identity": str(identity), "started": int(started), "cluster": False, "origin": str(origin)}


def definitions(session: Session, names: t.Sequence[str], prefix: str) -> str:
    """Returns a digest of the definitions of all columns in the databases `names`; empty for none."""
    digest, mysql = hashlib.sha256(), session.engine == connection.MYSQL
    for name in names:
        with contextlib.nullcontext(session) if mysql else connection.connect(session.settings, name) as there:
            digest.update(repr((name[len(prefix) :], content.definitions(there, name))).encode())
    return digest.hexdigest()[:16] if names else ""
