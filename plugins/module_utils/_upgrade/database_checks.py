# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks before an upgrade of the database and its copy, and what is said of both. Pure rules."""

from __future__ import annotations

import json

from ansible_collections.waba.onprem.plugins.module_utils._core import units
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import next_step, requirements
from ansible_collections.waba.onprem.plugins.module_utils._upgrade.check import (
    NOTHING,
    Facts,
    Observed,
    Problem,
    message,
)


def no_copy(now: Observed) -> Problem:
    facts = now.facts
    return " ".join(
        requirements.database_copy(
            now.left, now.serves, now.schema_started, facts["dump"], facts["snapshot_command"], now.skip
        )
    )


def database_read(now: Observed) -> Problem:
    if "database" in now.found:
        return None
    # No playbook writes db.env meanwhile. The start of the new version puts it in force.
    cure = f"If its settings have changed, correct {now.deployment['env_file']} on each host by hand, then run upgrade.yml again."
    said = message(now, now.found, "database")
    return (said, cure) if now.unfinished else said


def restored(now: Observed) -> Problem:
    """Whether the tables may be those from before a migration that has ended well, or since whose failure the old version was started."""
    notes, target = now.left.get("notes") or {}, now.left["target"]
    known = notes.get(upgrade_journal.DEFINITIONS) or {}  # none where somebody else has begun the migration
    present = (now.found.get("database") or {}).get("definitions")
    if target in now.running_versions or (known.get("before") and present != known["before"]):
        return None
    ended_well = bool(known.get("before")) and (now.migrated or next_step.ended_well(now.left, now.leader))
    served_since = "down_at" in notes and (now.serves or now.leader.served_since(target))
    if not ended_well and not (now.schema_started and served_since):
        return None
    state = "has ended well," if ended_well else "has not ended well, the old version was started since,"
    if known.get("before"):
        same = (
            ", as they were after it, too, so that this alone proves nothing" if present == known.get("after") else ""
        )
        tables, otherwise = f"the tables are defined as before it{same}", "the migration changes data only"
    else:
        tables, otherwise = "how the tables were defined before it is not known", "it is as the migration has left it"
    before = notes.get("from_version", "the old version")
    return (
        f"the migration to {target} {state} and {tables}. Either the database was restored by hand, and {target} would migrate it without "
        f"a copy, or {otherwise}.",
        f"After a restore: {now.facts['commands']['restored']} ends this upgrade and starts {before} on the database as it is, and upgrade.yml "
        "then makes a new copy. If nothing was restored, go on with "
        f"wa_upgrade_skip: {json.dumps([*now.skip, 'schema'])}.",
    )


def used_elsewhere(now: Observed) -> Problem:
    """Whether a node or a session of the client is on no host of the inventory, which the upgrade would not stop."""
    ids = {str(one["id"])[:12] for one in now.facts["everywhere"]}
    nodes = (now.facts["health"] if now.leads else {}).get("nodes") or {}
    alive = {name for name, node in nodes.items() if ":" in name and node.get("gateway_status")}
    strange = sorted(name for name in alive if name.rpartition(":")[2] not in ids)
    if strange:
        return (
            f"nodes of the client on no host of the inventory: {', '.join(strange)}; an upgrade would not stop them, and they would use the "
            "database beside the migration.",
            f"Add their hosts to deployment {now.name}, or stop and remove their containers.",
        )
    return str(now.facts["sessions"])


def no_dump(now: Observed) -> Problem:
    read = now.facts["dumpable"]
    unread = message(now, read, "databases")
    if unread:
        return unread
    if read["databases"]:
        copy = read.get("estimate") or {}
        if copy and copy["seconds"] > copy["limit"]:
            return (
                f"wa_upgrade_dump: {dump_takes(now)}.",
                "Set wa_upgrade_dump_timeout higher, which is part of the outage; run message GC first; or take a snapshot "
                "(wa_upgrade_snapshot_command).",
            )
        return None
    server = (now.found.get("database") or {}).get("server", "its server")
    return (
        f"wa_upgrade_dump: no database of the client was found on {server}; expected at least the one with its messages.",
        "Name its databases in wa_message_gc_databases, or correct WA_DB_NAME_PREFIX (wa_db_env_name_prefix).",
    )


def dump_takes(now: Observed) -> str:
    """How large the dump will be, and how long it will take; empty if that is not known."""
    copy = now.facts["dumpable"].get("estimate")
    if not copy:
        return ""
    return (
        f"about {units.format_size(copy['bytes'])}, {units.format_duration(copy['seconds'])} of the outage, "
        f"limit {units.format_duration(copy['limit'])}"
    )


def database(now: Observed) -> Problem:
    return " ".join(requirements.database(now.found.get("database") or {}))


def messages(now: Observed) -> Problem:
    counted, no_gc = _counted(now), now.facts["no_gc"]
    cure = f"wa_upgrade_skip: {json.dumps([*now.skip, 'table_size'])}"
    if counted["rows"] is None and (counted["unknown"] or no_gc):
        why = counted["unknown"].rstrip(".") or "a migration of this database runs"
        # The look for a running message GC fails, too, where no table can be found.
        or_skip = "" if counted["unknown"] else f", or go on with {cure}"
        return f"the rows of messages were not counted: {why}.", f"Correct that and run upgrade.yml again{or_skip}."
    if not counted["large"] or not no_gc:
        return None
    counting = f" by the server's statistics ({counted['unknown']})" if counted["unknown"] else ""
    return (
        f"messages holds some {counted['rows']} rows{counting}, the limit is {now.facts['max_messages']}, and {no_gc}. "
        "The migration will take longer.",
        f"Go on with {cure}, or raise wa_message_gc_max_messages.",
    )


def _counted(now: Observed) -> Facts:
    """The rows of the tables `messages`; beside a migration they are not counted, and GC counts them itself."""
    return (now.found.get("database") or {}).get("messages") or {"rows": None, "large": True, "unknown": ""}


def unsupported(now: Observed) -> str:
    """Returns that the vendor does not support the database; empty if it does, or if nothing is to be upgraded."""
    why = (now.found.get("database") or {}).get("unsupported")
    if not why or NOTHING.applies(now):
        return ""
    return (
        f"{why}. Upgrade one client with a copy of the database first, and take a dump or a snapshot (wa_upgrade_dump, "
        "wa_upgrade_snapshot_command)."
    )


def server_room(now: Observed) -> str:
    """What room the disk of the database server needs, for the operator to confirm; empty if the sizes are not known.

    No server reports it.
    """
    facts, together = now.found.get("database") or {}, now.facts["together"]
    total, largest = facts.get("total_bytes"), facts.get("largest_table")
    if not (now.needed and total and largest) or now.migrated:
        return ""
    others = f", with {', '.join(sorted(together))} in this run" if together else ""
    return (
        "confirm the free room on the disk of the database server, which it does not tell: the migration may copy its largest table "
        f"({units.format_size(largest['bytes'] + sum(together.values()))}{others}), and a restore loads "
        f"{units.format_size(total)} beside what is there."
    )


def gc_due(now: Observed) -> str:
    """Returns that message GC is called after the checks; empty if it is not, or if only GC itself counts the rows."""
    counted = _counted(now)
    needless = now.facts["no_gc"] or "table_size" in now.skip or now.unfinished or NOTHING.applies(now)
    if needless or not counted["large"] or counted["rows"] is None:
        return ""
    return f"messages holds some {counted['rows']} rows, the limit is {now.facts['max_messages']}: message GC is due"
