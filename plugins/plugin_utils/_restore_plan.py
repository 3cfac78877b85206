# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What restore.yml does with a deployment, and why it does not. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import ACTIVE, MIGRATION, service_containers
from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_duration, format_size
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._dump.manifest import DRILL_ROOM

Facts = t.Mapping[str, t.Any]
_NOTHING = "Nothing was touched"


def plan(facts: Facts) -> dict[str, t.Any]:
    """Returns what restore.yml does.

    `operation` is the first one of `wa_db_restore`; `hosts`, the members that are locked; `path`, the manifest of the copy; `refusal`,
    empty for none; `lines`, what is done; `removes`, containers by host.

    `facts` are `leaders`, those of all deployments of the run; `asked`, a manifest; `command`, that of a snapshot where none is asked for;
    `deployment`, `leader`, `project`, `version` of the inventory; `without`, members that are lost; `accept_lost`, `remove_former`, `drill`; `drill_host` and
    `drill_image`; `hold`, why nothing is stopped; `hosts`, the members; `members`, by host the `containers`, `journal` and images of `wa_info`, without a
    host that was not read; and `copy`, a result of `wa_db_restore` that has checked the manifest, empty before.
    """
    operation = "remove_former" if facts["remove_former"] else "drill" if facts["drill"] else "check"
    # The upgrade was begun without members that were lost, or goes on without them, and nobody waits for one that still is.
    gone = {*(_notes(facts["members"].get(facts["leader"]) or {}).get("gone") or ()), *facts["without"]}
    needed = {
        facts["leader"],
        *(host for host, read in facts["members"].items() if read),
    }  # its leader is never left out
    hosts = [host for host in facts["hosts"] if host not in gone or host in needed]
    return {"operation": operation, "hosts": hosts, **_plan({**facts, "hosts": hosts})}


def of_hosts(
    facts: Facts, hostvars: t.Mapping[str, t.Mapping[str, t.Any]], reached: t.Collection[str]
) -> dict[str, t.Any]:
    """Returns the `plan` of a `deployment`, with what the `reached` ones of its members have read and its leader has checked."""
    one = facts["deployment"]
    about = {
        "deployment": one["name"],
        "leader": one["leader"],
        "project": one["project"],
        "hosts": one["members"],
        "members": {
            host: hostvars[host].get("__wa_upgrade_restore_read") or {} for host in one["members"] if host in reached
        },
        "copy": hostvars[one["leader"]].get("__wa_upgrade_restore_copy") or {},
    }
    return plan({**facts, **about})


def _notes(read: Facts) -> Facts:
    notes: Facts = (read.get("journal") or {}).get("notes") or {}
    return notes


def _plan(facts: Facts) -> dict[str, t.Any]:
    read = {host: facts["members"].get(host) or {} for host in facts["hosts"]}
    copy = facts["copy"].get("manifest") or {}
    notes = _notes(read[facts["leader"]])
    noted = str(notes.get(upgrade_journal.RESTORES) or "").replace(upgrade_journal.SNAPSHOT, "")
    # A restore that was cut off goes on with its copy.
    path = facts["asked"] or noted or ("" if facts["command"] else str(notes.get("manifest") or ""))
    refusal = _unread(facts, read, path)
    if refusal or not (copy or not path):
        return {"path": path, "refusal": refusal, "lines": [], "removes": {}}
    about = copy.get("facts") or {"version": notes.get("from_version"), "stopped_at": notes.get("down_at")}
    wanted, stopped_at = str(about.get("version") or ""), float(about.get("stopped_at") or 0)
    clients = {host: service_containers(one["containers"]) for host, one in read.items()}
    stops = dict.fromkeys(read, stopped_at)
    if path in ("", notes.get("manifest")):  # of the same stop, which each member has noted by its own clock
        stops = {host: float(_notes(one).get("down_at") or stopped_at) for host, one in read.items()}
    since = [
        f"{one['name']} on {host}"
        for host, those in clients.items()
        for one in those
        if one["started_at"] > stops[host]
    ]
    rows = facts["copy"].get("messages") or {"now": 0, "copy": 0}
    signs = {
        "the version of the upgrade, which may have been started after its migration": upgrade_journal.is_migrated(
            read[facts["leader"]].get("journal") or {}
        ),
        "containers that ran while it was made": about.get("running") or (not path and notes.get("copied_at") == 0),
        "containers that are no longer there": (rows["now"] or 0) > rows["copy"],
    }
    since = since or [what for what, seen in signs.items() if seen]
    removes = {
        host: [one["name"] for one in those["containers"] if one["service"] == MIGRATION or one["version"] != wanted]
        for host, those in read.items()
    }
    return {
        "path": path,
        "refusal": _refusal(facts, wanted, read, since),
        "lines": _lines(facts, copy, path, wanted, stopped_at, since, removes),
        "removes": removes,
    }


def _unread(facts: Facts, read: Facts, path: str) -> str:
    leaders = facts["leaders"]
    if len(leaders) > 1:
        return f"{len(leaders)} deployments are in this run ({', '.join(leaders)}); expected one. {_NOTHING}. Name its hosts with --limit"
    unread = sorted(host for host, one in read.items() if not one)
    if unread:
        return (
            f"{', '.join(unread)} of deployment {facts['deployment']} was not read; expected all members, which are stopped. {_NOTHING}. "
            "Repair the host; take one that is lost for good out of the inventory, and name one that is lost for now in wa_upgrade_without"
        )
    if facts["hold"] and not (facts["drill"] or facts["remove_former"]):
        return f"{facts['hold']}. {_NOTHING}"
    if not facts["project"]:
        return f"deployment {facts['deployment']} runs outside Compose; expected a Compose project. {_NOTHING}"
    for host, one in read.items():
        if any(those["service"] == MIGRATION and those["state"] in ACTIVE for those in one["containers"]):
            return f"a migration runs on {host}; expected none. {_NOTHING}. Wait for its end"
    servers = [
        name for name in ("wa_restore_drill_host", "wa_restore_drill_image") if facts[name[len("wa_restore_") :]]
    ]
    if facts["drill"] and len(servers) != 1:
        found = "both are set" if servers else "neither wa_restore_drill_host nor wa_restore_drill_image is set"
        return f"{found}; expected one of wa_restore_drill_host and wa_restore_drill_image, where the drill is made. {_NOTHING}"
    if not (path or facts["command"]):
        return (
            f"no upgrade with a copy was left unfinished on {facts['leader']}; expected one, or the manifest of a copy. {_NOTHING}. Name one that "
            f"lies on {facts['leader']}: -e wa_restore=/var/backups/waba/NAME.json"
        )
    dump = _notes(read[facts["leader"]]).get("manifest")
    if not path and dump and not facts["accept_lost"]:
        return (
            f"the upgrade has the dump {dump}, and wa_restore_snapshot_command is set; expected only one of them. {_NOTHING}. Restore the dump with "
            f"-e wa_restore={dump}, or the snapshot with -e wa_restore_accept_lost=true"
        )
    if not path and not read[facts["leader"]].get("journal"):
        return (
            f"no upgrade was left unfinished on {facts['leader']}; expected one, whose version the snapshot of wa_restore_snapshot_command "
            f"has. {_NOTHING}. Stop the client, put the snapshot back by hand, and run provision.yml"
        )
    return ""


def _refusal(facts: Facts, wanted: str, read: Facts, since: t.Sequence[str]) -> str:
    if wanted != facts["version"]:
        return (
            f"the copy is of version {wanted or 'unknown'}, and wa_version is {facts['version']}; expected one version. {_NOTHING}. Set "
            f"wa_version: {wanted or 'VERSION'}, which restore.yml starts"
        )
    lacking = [
        f"{name} on {host} ({why})"
        for host, one in read.items()
        for name, why in {**one.get("missing_images", {}), **one.get("unanswered_images", {})}.items()
    ]
    if lacking:
        return (
            f"neither the host nor its registry has {', '.join(lacking)}; expected the images that are started then. {_NOTHING}. Load them "
            "(docker load), such as from a backup with wa_backup_include: [images], or let the registry answer"
        )
    if since and not facts["accept_lost"]:
        return (
            f"the client has run since the copy was made: {', '.join(since)}; expected a copy of what it has left. {_NOTHING}. What came "
            f"and went since would be lost{_messages(facts['copy'])}, and its encryption state set back. If that is meant, add -e "
            "wa_restore_accept_lost=true"
        )
    return ""


def _messages(copy: Facts) -> str:
    """Returns how many messages would be lost as far as rows tell: those that came since and are deleted again are not counted."""
    rows = copy.get("messages")
    if not rows:  # a snapshot
        return ""
    if rows["now"] is None:
        return f" (how many messages is not known: messages cannot be counted now, and the copy has {rows['copy']})"
    if rows["now"] > rows["copy"]:
        return f" (at least {rows['now'] - rows['copy']} messages: messages has {rows['now']} rows, the copy {rows['copy']})"
    return f" (how many messages is not known, since rows were deleted: messages has {rows['now']} rows, the copy {rows['copy']})"


def _lines(
    facts: Facts,
    copy: Facts,
    path: str,
    wanted: str,
    stopped_at: float,
    since: t.Sequence[str],
    removes: t.Mapping[str, t.Sequence[str]],
) -> list[str]:
    at = f", stopped {upgrade_journal.clock(stopped_at)}" if stopped_at else ""
    away = _notes(facts["members"][facts["leader"]]).get(upgrade_journal.TRAFFIC)
    gone = [f"{', '.join(names)} on {host}" for host, names in removes.items() if names]
    how = f"wa_restore_snapshot_command on {facts['leader']}: version {wanted}{at}"
    replaced = room = ""
    if copy:
        how = (
            f"copy {path} on {facts['leader']}: version {wanted}{at}, {format_size(copy['source_bytes'])}, made in "
            f"{format_duration(copy['seconds'])} by {copy['tool']}"
        )
        rows = {name: sum(one["tables"].values()) for name, one in copy["databases"].items()}
        size = format_size(DRILL_ROOM * copy["source_bytes"])
        room = f"the database server needs up to {size} of free disk meanwhile; no server shows it, so look there"
        replaced = "replace the content of " + ", ".join(f"{name} ({count} rows)" for name, count in rows.items())
    lines = [
        how,
        *([f"LOST: what came and went since, in {', '.join(since)}{_messages(facts['copy'])}"] if since else []),
        f"stop the client on {', '.join(facts['hosts'])}",
        replaced,
        *([room] if room else []),
        *(f"leave: {line}" for line in copy.get("left", ())),
        *([f"remove {'; '.join(gone)}"] if gone else []),
        f"start version {wanted}",
        *(
            [f"let API traffic come again yourself: it may be kept away since {upgrade_journal.clock(away)}"]
            if away
            else []
        ),
    ]
    return [line for line in lines if line]
