# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sample of primary keys by a scripted server: how it is taken, which keys are looked up, what JSON holds of them."""

from __future__ import annotations

import typing as t
from datetime import datetime

import pytest
from scripted_database import ScriptedDatabase

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import sample
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import MYSQL, PGSQL
from ansible_collections.waba.onprem.plugins.module_utils._database.messages import Table

TABLE = Table("wa1", "wa1", ("id",))
PAIR = Table("wa1", "public", ("node", "num"))


def nearest(values: t.Sequence[t.Any]) -> list[tuple[int]]:
    """Of a table that holds every seventh number: the next one, as a union of one statement a value finds it."""
    return [(-(-value // 7) * 7,) for value in values]


def test_a_small_table_is_taken_whole() -> None:
    server = ScriptedDatabase(MYSQL).on("LIMIT %s", [(1,), (2,)])
    assert sample.take(server.session(), TABLE, 3, 2) == [[1], [2]]
    assert server.asked("LIMIT %s") == [(4,)]


@pytest.mark.parametrize("engine", [MYSQL, PGSQL])
def test_integers_are_spread_over_the_table(engine: str) -> None:
    server = ScriptedDatabase(engine).on("LIMIT %s", [(number,) for number in range(1001)])
    server.on("MIN", [(7, 70_000)]).on("UNION ALL", nearest)
    keys = sample.take(server.session(), TABLE, 1000, 10_000)
    assert len(keys) == 1000
    assert (keys[0], keys[-1]) == ([7], [70_000])
    assert [len(values) for values in server.asked("UNION ALL")] == [500, 500]


@pytest.mark.parametrize(
    ("engine", "table", "edges", "hashed"),
    [
        (MYSQL, TABLE, [(1, 2**62)], "CRC32(CONCAT_WS(',', `id`)) %% %s = 0"),  # one far away
        (MYSQL, TABLE, [("a", "z")], "CRC32(CONCAT_WS(',', `id`)) %% %s = 0"),
        (PGSQL, PAIR, [], 'hashtext(concat_ws(\',\', "node", "num")) %% %s = 0'),
    ],
)
def test_other_keys_are_taken_by_their_hash(
    engine: str, table: Table, edges: t.Any, hashed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [("k", number) if table is PAIR else (number,) for number in range(500)]
    server = ScriptedDatabase(engine).on("LIMIT %s", found).on("MIN", edges).on("UNION ALL", [(1,)])
    server.on("= 0", found)
    monkeypatch.setattr(sample, "connect", server.connect)
    assert len(sample.take(server.session(), table, 100, 12_345)) in range(80, 201)
    assert server.statements[-1] == (server.statements[-1][0], (123,))
    assert hashed in server.statements[-1][0]
    assert (server.databases, server.options) == ([None if engine == MYSQL else "wa1"], [{"statement_timeout": 600.0}])


def test_without_a_primary_key_there_is_none() -> None:
    with pytest.raises(WaError, match="it has no primary key"):
        sample.take(ScriptedDatabase(MYSQL).session(), Table("wa1", "wa1", ()), 10, 10)


def test_what_json_holds_comes_back_as_the_key() -> None:
    moment = datetime(2026, 2, 3, 4, 5, 6)
    server = ScriptedDatabase(MYSQL).on("LIMIT %s", [(b"\x00\xff", 1, "ä", moment)]).on("COUNT", [(1,)])
    table = Table("wa1", "wa1", ("a", "b", "c", "d"))
    keys = sample.take(server.session(), table, 5, 1)
    assert keys == [[{"hex": "00ff"}, 1, "ä", "2026-02-03 04:05:06"]]
    assert sample.count(server.session(), table, keys) == 1
    assert server.statements[-1][0].endswith("WHERE (`a`, `b`, `c`, `d`) IN ((%s, %s, %s, %s))")
    assert server.statements[-1][1] == (b"\x00\xff", 1, "ä", "2026-02-03 04:05:06")


def test_keys_are_looked_up_in_parts() -> None:
    server = ScriptedDatabase(PGSQL).on("COUNT", lambda values: [(len(values) - 1,)])
    assert sample.count(server.session(), TABLE, [[number] for number in range(1_200)]) == 1_197
    assert [len(values) for values in server.asked("COUNT")] == [500, 500, 200]
