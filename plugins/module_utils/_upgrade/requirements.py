# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database must have for an upgrade. Pure rules."""

from __future__ import annotations

import typing as t

_STATEMENT = 3600  # seconds that a statement of a migration may take


def database(facts: t.Mapping[str, t.Any]) -> list[str]:
    """Why a database cannot be migrated; `facts` are those of `wa_info`.

    The session is the client's own, so only an administrator of the server can give it more time.
    """
    problems = []
    if facts.get("read_only"):
        problems.append(
            "the database server takes no writes: a replica, or a primary set so; expected one that takes writes. Point db.env at "
            "the primary server, or have its administrator end read_only or default_transaction_read_only."
        )
    given = facts.get("statement_timeout") or 0
    if 0 < given < _STATEMENT:
        cure = facts.get("statement_timeout_fix") or ""
        problems.append(
            f"the database server ends a statement after {given:g} s, expected none or {_STATEMENT} s. "
            f"Have its administrator run, until the upgrade is done: {cure}"
        )
    return problems


def database_copy(
    left: t.Mapping[str, t.Any], running: bool, started: bool, dump: bool, snapshot: str, skipped: t.Collection[str]
) -> list[str]:
    """Why an upgrade would migrate a database without a copy that nobody has waived; no sentence otherwise.

    `left` is the journal of an unfinished upgrade: one that is past its stop makes no copy any more, unless the client is
    `running` again. With the schema `started` to change, the copy from before is the only one that counts.
    """
    if not copy_is_due(left, running, started) or dump or snapshot.strip() or "database_backup" in skipped:
        return []
    return [
        "database: no copy is made before the migration, after which a restore is the only way back; expected one of three. Set "
        "wa_upgrade_dump: true (a dump at the leader), or wa_upgrade_snapshot_command (a snapshot of "
        "your own), or go without a copy with wa_upgrade_skip: [database_backup]."
    ]


def copy_is_due(left: t.Mapping[str, t.Any], running: bool, started: bool) -> bool:
    """Whether the next run copies the database. The journal of an unfinished upgrade, `left`, has the dump of a stop that still lasts."""
    return not started and (running or not (left.get("notes") or {}).get("copied_at"))


def sessions(found: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """Why a stopped client's database cannot be migrated: sessions of `wa_info`; an empty text for none."""
    counts: dict[tuple[str, str], int] = {}
    for one in found:
        where = (f"database {one['database']}" if one["database"] else "no database", str(one["from"]))
        counts[where] = counts.get(where, 0) + 1
    named = ", ".join(f"{number} on {database} from {host}" for (database, host), number in sorted(counts.items()))
    if not named:
        return ""
    ids = ", ".join(str(one["id"]) for one in found)
    return (
        f"database: the client is stopped on all hosts of the inventory, and its user still has sessions: {named}; expected none. A "
        "host that the inventory does not know, or something that starts the client again: find it there and stop it. Wait for the dump of "
        "a run that was killed. Sessions whose host has lost its power, and those that a connection pool keeps, are ended on the server "
        f"(KILL, pg_terminate_backend): {ids}"
    )
