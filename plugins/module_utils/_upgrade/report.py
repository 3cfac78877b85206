# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is reported at the end of an upgrade or of its preparation: lines to read, and the same as data. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._deployment.upgrade_journal import TRAFFIC, clock, stage
from ansible_collections.waba.onprem.plugins.module_utils._upgrade.outage import outage

Facts = t.Mapping[str, t.Any]


def result(
    outcome: str, facts: Facts, journal: Facts, lines: t.Sequence[str], commands: t.Sequence[str] = ()
) -> dict[str, t.Any]:
    """Returns what `wa_upgrade_result` holds, for an upgrade that ended well and for one that failed.

    `facts` have `deployment`, `leader`, `members` (host names), `before`, `target`, `still_locked` and `skipped`.
    """
    notes = journal.get("notes") or {}
    return {
        "outcome": outcome,
        **{name: facts[name] for name in ("deployment", "leader", "members", "before", "target")},
        "stage": stage(journal)[0] if journal else "",
        "outage": outage(journal),
        "dump": notes.get("dump") or "",
        "settings_backup": notes.get("backup") or "",
        "still_locked": list(facts["still_locked"]),
        "skipped_checks": list(facts["skipped"]),
        "next": list(commands),
        "lines": list(lines),
    }


def closing(facts: Facts, provision_command: str) -> dict[str, t.Any]:
    """Returns the report of an upgrade that ended well, of one that was not needed, or of a preparation.

    `facts` are those of `result`, and: `journal`, that of this run's upgrade, empty for none; `messages` (the result of
    `wa_message_gc`, or what the checks have counted), `after` (the versions that run after an upgrade), `check_mode`, and whether a
    hook `lets_traffic_come`.
    """
    journal, after = facts["journal"], sorted(set(facts["after"]))
    upgraded = bool(after)
    outcome = "upgraded" if upgraded else "prepared" if not facts["target"] else "not_needed"
    if facts["check_mode"]:
        outcome = "predicted"
    lines = [
        _row(facts["deployment"], "before", "after"),
        _row("messages (rows)", *_messages(facts["messages"])),
        _row("version", facts["before"], ", ".join(after) or facts["before"]),
        *_outage(outage(journal)),
    ]
    found = result(outcome, facts, journal, (), [provision_command] if upgraded else ())
    if len(facts["members"]) > 1:
        lines.append(f"Hosts: {', '.join(facts['members'])}")
    if found["dump"]:
        lines.append(f"Database dump: {found['dump']} (on {facts['leader']})")
    if found["settings_backup"]:
        lines.append(f"Settings backup: {found['settings_backup']} (on the controller)")
    lines += [f"Still locked: {one}. provision.yml ends it there." for one in found["still_locked"]]
    lines += [f"Check skipped on request: {name}" for name in found["skipped_checks"]]
    away = (journal.get("notes") or {}).get(TRAFFIC)
    if away and not facts["lets_traffic_come"]:
        lines.append(
            f"Traffic may be kept away since {clock(away)}, by wa_upgrade_before_outage: wa_upgrade_after_outage is not set."
        )
    return {**found, "lines": lines}


def _row(name: str, before: t.Any, after: t.Any) -> str:
    return f"{name:<22} {before!s:>18} {after!s:>18}"


def _messages(gc: Facts) -> tuple[t.Any, t.Any]:
    """Returns the rows before and after a GC, or as the checks have counted them; one before is an estimate, when a GC was due."""
    rows = gc.get("rows")
    before, after = gc.get("messages_before", rows), gc.get("messages_after", None if gc.get("large") else rows)
    if before is not None and before != (after or 0):
        before = f"~{before}"
    return "-" if before is None else before, "-" if after is None else after


def _outage(found: Facts) -> list[str]:
    if not found:
        return []
    lines = [_row("API down (seconds)", "", f"{found['down']:.1f}")]
    lines += [_row(f"  {step}", "", f"{seconds:.1f}") for step, seconds in found["steps"]]
    return lines + ([_row("dump and snapshot", "", f"{found['database_copy']:.1f}")] if found["database_copy"] else [])
