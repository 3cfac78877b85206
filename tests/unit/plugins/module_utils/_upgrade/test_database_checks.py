# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How each check of `database_checks` fails."""

from __future__ import annotations

import typing as t

import pytest
from preflight_samples import (
    BACK_AGAIN,
    ESTIMATED,
    GOOD,
    JOURNAL,
    LARGE,
    LEFT,
    NO_DATABASE,
    NO_GC,
    UNCOUNTED,
    assert_failed,
    names,
    with_found,
)
from upgrade_journals import at

from ansible_collections.waba.onprem.plugins.module_utils._upgrade import check, database_checks

FAILED: list[tuple[str, dict[str, t.Any], str]] = [
    ("a copy of the database is made", {"dump": False}, "waba: database: no copy is made before the migration, "),
    ("the database can be read", NO_DATABASE, "waba: Access denied"),
    (
        "the database can be read",
        {**NO_DATABASE, **LEFT},
        "waba: Access denied. If its settings have changed, correct /opt/waba/waba/db.env on each host by hand, then run upgrade.yml again.",
    ),
    (
        "the database can be dumped",
        {"dumpable": {"databases": [], "actions": []}},
        "waba: wa_upgrade_dump: no database of the client was found on db:3306; expected at least the one with its messages. Name its ",
    ),
    ("the database can be dumped", {"dumpable": {"msg": "no mariadb-dump"}}, "waba: no mariadb-dump"),
    (
        "the database can be dumped",
        {"dumpable": {"databases": ["waba1"], "estimate": {"bytes": 40 << 30, "seconds": 3601, "limit": 3600}}},
        "waba: wa_upgrade_dump: about 40.0 GiB, 1h00m of the outage, limit 1h00m. Set wa_upgrade_dump_timeout higher, which is part of the "
        "outage; run message GC first; or take a snapshot (wa_upgrade_snapshot_command).",
    ),
    (
        "the database can be migrated",
        with_found(database={"read_only": True}),
        "waba: the database server takes no writes",
    ),
    (
        "the messages table is below its limit, or message GC may be called",
        {**with_found(database=LARGE), **NO_GC, "skip": ["expiry"]},
        "waba: messages holds some 2400000 rows, the limit is 2000000, and an expired client refuses GC. The migration will take longer. Go on "
        'with wa_upgrade_skip: ["expiry", "table_size"], or raise wa_message_gc_max_messages.',
    ),
    (
        "the messages table is below its limit, or message GC may be called",
        {**with_found(database=ESTIMATED), **NO_GC},
        "waba: messages holds some 300000 rows by the server's statistics (db: the count took too long), the limit is 2000000, and an "
        "expired client refuses GC. The migration",
    ),
    (
        "the messages table is below its limit, or message GC may be called",
        with_found(database=UNCOUNTED),
        "waba: the rows of messages were not counted: no database has them. Correct that and run upgrade.yml again.",
    ),
    (
        "the messages table is below its limit, or message GC may be called",
        NO_GC,
        "waba: the rows of messages were not counted: a migration of this database runs. Correct that and run upgrade.yml again, or go on "
        'with wa_upgrade_skip: ["table_size"].',
    ),
    (
        "the database is the one that was migrated",
        BACK_AGAIN,
        "waba: the migration to 2.53.4 has ended well, and the tables are defined as before it. Either the database was restored by hand, "
        "and 2.53.4 would migrate it without a copy, or the migration changes data only. After a restore: "
        "ansible-playbook RESTORED ends this upgrade and starts the old version on the database as it is, and upgrade.yml then makes a new "
        'copy. If nothing was restored, go on with wa_upgrade_skip: ["schema"].',
    ),
    (
        "the database is the one that was migrated",
        {**BACK_AGAIN, "left": {**BACK_AGAIN["left"], **at("migrating", {"definitions": {"before": "d1"}})}},
        "waba: the migration to 2.53.4 has not ended well, the old version was started since, and the tables are defined as before it. Either the database "
        "was restored by hand, and 2.53.4 would migrate it without a copy, or the migration changes data only. After a restore: "
        "ansible-playbook RESTORED ends this upgrade and starts the old version on the database as it is, and upgrade.yml then makes a new "
        'copy. If nothing was restored, go on with wa_upgrade_skip: ["schema"].',
    ),
    (
        "the database is the one that was migrated",
        {"left": {**JOURNAL, "schema": "started", "notes": {"down_at": 1.0}}},
        "waba: the migration to 2.53.4 has not ended well, the old version was started since, and how the tables were defined before it is "
        "not known. Either the database was restored by hand, and 2.53.4 would migrate it without a copy, or it is as the migration has "
        "left it. After a restore: ",
    ),
    (
        "nobody but the client's hosts uses its database",
        {"health": {"healthy": True, "nodes": {"core9:0123456789ab": {"gateway_status": "disconnected"}}}},
        "waba: nodes of the client on no host of the inventory: core9:0123456789ab; an upgrade would not stop them, and they would use the "
        "database beside the migration. Add their hosts to deployment waba, or stop and remove their containers.",
    ),
    (
        "nobody but the client's hosts uses its database",
        {"sessions": "client's database: sessions of 10.0.0.9."},
        "waba: client's database: sessions of 10.0.0.9.",
    ),
]


def test_the_table_has_every_check() -> None:
    assert names(database_checks) == {name for name, _changes, _message in FAILED}


@pytest.mark.parametrize(("name", "changes", "message"), FAILED)
def test_a_check_fails(name: str, changes: dict[str, t.Any], message: str) -> None:
    assert_failed(name, changes, message)


G = 1 << 30
LARGEST = {"database": "a", "name": "messages", "bytes": 5 * G}


@pytest.mark.parametrize(
    ("facts", "together", "said"),
    [
        (
            {"largest_table": LARGEST, "total_bytes": 9 * G},
            {},
            "which it does not tell: the migration may copy its largest table (5.0 GiB), and a restore loads 9.0 GiB",
        ),
        (
            {"largest_table": LARGEST, "total_bytes": 9 * G},
            {"c": 2 * G, "b": G},
            "its largest table (8.0 GiB, with b, c in this run), and",
        ),
        ({"largest_table": None, "total_bytes": 0}, {}, ""),
        ({}, {}, ""),
    ],
)
def test_the_room_of_the_server_is_for_the_operator_to_confirm(
    facts: dict[str, t.Any], together: dict[str, int], said: str
) -> None:
    now = check.Observed({**GOOD, **with_found(database=facts), "together": together})
    assert said in database_checks.server_room(now)
    assert bool(database_checks.server_room(now)) is bool(said)
