# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Selects the roles that provision.yml runs on a host, from the comparisons of all members of its deployment. Pure rules."""

from __future__ import annotations

import typing as t

Concerns = t.Mapping[str, t.Mapping[str, t.Any]]
# In the order of provision.yml.
ALL = ("host", "trial_database", "media_volume", "db_env", "client", "log_cleanup", "removal", "automatic_gc")
NOW = "now"  # value of `wa_client_restart`
CLIENT = ("media_volume", "db_env", "client")
# The concerns that run when one has drifted: containers depend on db.env and on the volume.
_AFFECTED = {
    "host": ("host",),
    "trial_database": ("trial_database",),
    "media_volume": CLIENT,
    "db_env": ("db_env", "client"),
    "client": ("db_env", "client"),
    "log_cleanup": ("log_cleanup",),
    "removal": ("removal",),
    "automatic_gc": ("automatic_gc",),
}


def differs(finding: t.Mapping[str, t.Any], restart: str) -> bool:
    """Returns whether a concern's role runs: it differs or is unknown. Restarts count unless `restart` is `report`."""
    return bool(
        finding["state"] in ("drifted", "unknown")
        or finding.get("changes")
        or (finding.get("restarts") and restart != "report")
    )


def concerns(results: t.Mapping[str, t.Mapping[str, t.Any]], full: bool = False) -> list[str]:
    """Returns the concerns to run on every member of one deployment; empty if nothing differs.

    `results` are those of `wa_drift_info` by member. A concern that differs on one member runs on all, so that rolling
    changes keep their order. If a member was not compared, all concerns run, as with `full`.
    """
    found: set[str] = set(ALL) if full or any("concerns" not in one for one in results.values()) else set()
    for result in results.values():
        found.update(["trial_database"] if result.get("trial_database") else [])  # is not compared
        for name, finding in (result.get("concerns") or {}).items():
            if differs(finding, result["restart"]):
                found.update(_AFFECTED[name])
    if split_volume(results):
        found.add("media_volume")
    return [name for name in ALL if name in found]


def hosts_to_correct(results: t.Mapping[str, t.Mapping[str, t.Any]], full: bool = False) -> list[str]:
    """Returns the hosts of all deployments with something to correct; members are corrected together."""
    found: dict[str, None] = {}
    for result in results.values():
        members = {member: results.get(member, {}) for member in result.get("members") or ()}
        if concerns(members, full):
            found.update(dict.fromkeys(members))
    return list(found)


def split_volume(results: t.Mapping[str, t.Mapping[str, t.Any]]) -> str:
    """Returns how members have read different markers in their media volumes, or none; empty if they have read the same."""
    read = {host: one["marker"] for host, one in results.items() if one.get("marker") is not None}
    markers = {*read.values()}
    if len(results) < 2 or not markers or (len(markers) == 1 and "" not in markers):
        return ""
    if markers == {""}:
        return f"no marker is on the media volume of {', '.join(read)}, by which hosts see that they share one"
    found = "; ".join(
        f"{', '.join(host for host in read if read[host] == one)}: {one or 'none'}" for one in sorted(markers)
    )
    return f"the hosts do not share one media volume, by the markers on it ({found})"


def selected(names: t.Iterable[str], run_tags: t.Sequence[str] = (), skip_tags: t.Sequence[str] = ()) -> list[str]:
    """Returns the concerns whose roles run with `--tags` and `--skip-tags`: each role has its concern's tag."""
    every = not run_tags or {"all", "tagged"} & {*run_tags}
    return [name for name in names if (every or name in run_tags) and name not in skip_tags]


def lines(found: Concerns, restart: str = NOW) -> list[str]:
    """Returns a line for each difference, without restarts that have to wait.

    That a client which is down cannot be asked is no difference of its own.
    """
    texts = []
    down = bool(found.get("client", {}).get("changes"))
    for name, finding in found.items():
        if name == "automatic_gc" and finding.get("error") and down:
            continue
        texts += [f"{name}: {text}" for text in finding.get("changes") or ()]
        if restart == NOW:
            texts += [f"{name}: {text} (needs a restart)" for text in finding.get("restarts") or ()]
        texts += [f"{name}: not known: {finding['error']}"] if finding.get("error") else []
    return texts


def pending(found: Concerns, restart: str = NOW) -> list[str]:
    """Returns a line for each change that waits for the next upgrade, or for the time set by `wa_client_restart`."""
    waits = [text for finding in found.values() for text in finding.get("pending") or ()]
    later = [
        text
        for finding in found.values()
        if restart != NOW or finding["state"] == "restart_pending"
        for text in finding.get("restarts") or ()
    ]
    return [*later, *waits]


def warnings(found: Concerns) -> list[str]:
    """Returns a line for each problem that configuration does not correct."""
    return list(dict.fromkeys(text for finding in found.values() for text in finding.get("warnings") or ()))


def remaining(found: Concerns, restart: str = NOW) -> list[str]:
    """Returns a line for each difference that remains after the roles have run, without restarts that have to wait."""
    texts = []
    keys = ("changes", "restarts") if restart == NOW else ("changes",)
    for name, finding in found.items():
        if finding["state"] == "drifted":
            texts += [f"{name}: {text}" for key in keys for text in finding.get(key) or ()]
        elif finding["state"] == "unknown":
            texts.append(f"{name}: not known: {finding['error']}")
    return texts
