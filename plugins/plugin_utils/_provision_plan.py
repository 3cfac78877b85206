# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which roles provision.yml enters for a host, by what the look at each member of its deployment has found. Pure rules."""

from __future__ import annotations

import typing as t

Concerns = t.Mapping[str, t.Mapping[str, t.Any]]
# In the order in which provision.yml enters them.
ALL = ("host", "trial_database", "media_volume", "db_env", "client", "log_cleanup", "automatic_gc")
REMOVAL = "removal"
NOW = "now"  # of `wa_client_restart`
_GUARD = "host"  # its checks come before any change: which client is there, who holds the lock
# What a drift of one concern touches as well: containers are created for another db.env or volume, and are told its result.
_WITH = {
    "host": ("host",),
    "trial_database": ("trial_database",),
    "media_volume": ("media_volume", "db_env", "client"),
    "db_env": ("db_env", "client"),
    "client": ("db_env", "client"),
    "log_cleanup": ("log_cleanup",),
    "automatic_gc": ("automatic_gc",),
}


def differs(finding: t.Mapping[str, t.Any], restart: str) -> bool:
    """Whether a concern's role is to be entered: it differs, or is not known, and a restart it takes may happen sometime."""
    return bool(
        finding["state"] in ("drifted", "unknown")
        or finding.get("changes")
        or (finding.get("restarts") and restart != "report")
    )


# Variables by which a concern is entered whatever the look says: it does not see them.
SWITCHES = (
    *("wa_trial_database_image", "wa_host_state", "wa_trial_database_state"),
    *("wa_media_volume_state", "wa_db_env_state", "wa_client_state", "wa_log_cleanup_state"),
)


def always(values: t.Mapping[str, t.Any]) -> list[str]:
    """What is entered whatever the look says, by the values of `SWITCHES`."""
    if any(values[name] == "absent" for name in SWITCHES):
        return [REMOVAL, *ALL]
    return ["trial_database"] if values["wa_trial_database_image"] is not None else []


def concerns(looks: t.Mapping[str, t.Mapping[str, t.Any]], full: bool = False) -> list[str]:
    """The concerns to enter for every member of one deployment; empty when there is nothing to do.

    `looks` are results of `wa_drift_info` by member: what differs at one is entered at all, so that rolling changes keep their
    order. A member without a look was not compared: everything is entered, as with `full`.
    """
    found: set[str] = set(ALL) if full or any("concerns" not in one for one in looks.values()) else set()
    for result in looks.values():
        found.update(result.get("always") or ())
        for name, finding in (result.get("concerns") or {}).items():
            if differs(finding, result["restart"]):
                found.update(_WITH[name])
    if shares_no_volume(looks):
        found.add("media_volume")
    return [name for name in (*ALL, REMOVAL) if name in found | {_GUARD}] if found else []


def hosts_to_correct(looks: t.Mapping[str, t.Mapping[str, t.Any]], full: bool = False) -> list[str]:
    """The hosts of all deployments that have something to do: members are corrected together."""
    found: dict[str, None] = {}
    for result in looks.values():
        members = {member: looks.get(member, {}) for member in result.get("members") or ()}
        if concerns(members, full):
            found.update(dict.fromkeys(members))
    return list(found)


def shares_no_volume(looks: t.Mapping[str, t.Mapping[str, t.Any]]) -> bool:
    """Whether containers of several members were asked, and do not all read one marker in their media volume."""
    markers = [one["marker"] for one in looks.values() if one.get("marker") is not None]
    return len(looks) > 1 and len(markers) > 0 and (len({*markers}) > 1 or "" in markers)


def lines(found: Concerns) -> list[str]:
    """All that differs, a line each."""
    told = []
    for name, finding in found.items():
        told += [f"{name}: {text}" for text in finding.get("changes") or ()]
        told += [f"{name}: {text} (needs a restart)" for text in finding.get("restarts") or ()]
        told += [f"{name}: not known: {finding['error']}"] if finding.get("error") else []
    return told


def pending(found: Concerns, restart: str = NOW) -> list[str]:
    """What waits for the next upgrade, or for the time that `restart` (`wa_client_restart`) gives, a line each."""
    waits = [text for finding in found.values() for text in finding.get("pending") or ()]
    later = [
        text
        for finding in found.values()
        if restart != NOW or finding["state"] == "restart_pending"
        for text in finding.get("restarts") or ()
    ]
    return [*later, *waits]


def warnings(found: Concerns) -> list[str]:
    """What configuration does not mend, a line each."""
    return [text for finding in found.values() for text in finding.get("warnings") or ()]


def left(found: Concerns, restart: str = NOW) -> list[str]:
    """What is still not as the inventory wants it, after the roles have acted; what waits for its time is not among it."""
    told = []
    keys = ("changes", "restarts") if restart == NOW else ("changes",)
    for name, finding in found.items():
        if finding["state"] == "drifted":
            told += [f"{name}: {text}" for key in keys for text in finding.get(key) or ()]
        elif finding["state"] == "unknown":
            told.append(f"{name}: not known: {finding['error']}")
    return told
