# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an upgrade is refused for on a host and at a database, before anything is touched."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._upgrade import requirements as upgrade_requirements

LARGEST = {"database": "a", "name": "messages", "bytes": 5 << 30}


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, []),
        ({"statement_timeout": None, "largest_table": LARGEST}, []),
        ({"statement_timeout": 3600.0}, []),
        ({"statement_timeout": 0.5, "statement_timeout_fix": "ALTER it;"}, ["after 0.5 s, expected none or 3600 s"]),
        ({"read_only": False}, []),
        ({"read_only": True}, ["takes no writes: a replica, or a primary set so; expected one that takes writes."]),
    ],
)
def test_what_a_migration_needs_of_its_database(facts: dict[str, t.Any], words: list[str]) -> None:
    said = upgrade_requirements.database(facts)
    assert len(said) == len(words)
    assert all(part in one for part, one in zip(words, said))


COPY = {"running": True, "started": False, "dump": False, "snapshot": "", "skipped": []}


@pytest.mark.parametrize(
    ("left", "given", "refused"),
    [
        ({}, {}, True),
        ({}, {"skipped": ["settings_backup"]}, True),  # which is about the settings
        ({}, {"snapshot": " "}, True),
        ({}, {"dump": True}, False),
        ({}, {"snapshot": "lvcreate"}, False),
        ({}, {"skipped": ["database_backup"]}, False),
        # An upgrade that goes on: refused only where it would stop the client, and with it make the copy.
        ({"notes": {}}, {"running": False}, True),
        ({"notes": {"copied_at": 1.0}}, {"running": False}, False),
        ({"notes": {"copied_at": 1.0}}, {}, True),
        ({"notes": {"copied_at": 0}}, {"running": False}, True),
        # What would be copied is no more what the old version had.
        ({"notes": {"copied_at": 1.0}}, {"started": True}, False),
        ({"notes": {}}, {"started": True}, False),
    ],
)
def test_no_migration_without_a_copy_or_the_word_that_none_is_wanted(
    left: dict[str, t.Any], given: dict[str, t.Any], refused: bool
) -> None:
    said = upgrade_requirements.database_copy(left, **{**COPY, **given})
    assert len(said) == refused
    ways = ("wa_upgrade_dump: true", "wa_upgrade_snapshot_command", "wa_upgrade_skip: [database_backup]")
    assert all(way in text for text in said for way in ways)


def test_sessions_are_told_by_database_and_address() -> None:
    found: list[dict[str, t.Any]] = [
        {"id": 7, "database": "crm", "from": "h2"},
        {"id": 9, "database": None, "from": "h1"},
        {"id": 11, "database": "crm", "from": "h2"},
    ]
    said = upgrade_requirements.sessions(found)
    assert "sessions: 2 on database crm from h2, 1 on no database from h1; expected none." in said
    assert said.endswith("are ended on the server (KILL, pg_terminate_backend): 7, 9, 11")
    assert upgrade_requirements.sessions([]) == ""
