# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's `messages` tables by a scripted server: which are counted, and how."""

from __future__ import annotations

import functools
import re
import typing as t

import pytest
from scripted_database import Refusal, ScriptedDatabase

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import messages, ownership
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import MYSQL, PGSQL, DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._database.messages import Count, Table
from ansible_collections.waba.onprem.plugins.module_utils._database.ownership import Traits

LATE = Refusal("timeout", "late")


class Clock:
    """Stands for the module `time`: it moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


Make = t.Callable[..., ScriptedDatabase]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    """A server whose databases of the prefix are those in `found`."""

    def call(engine: str = MYSQL, version: str = "", **found: Traits) -> ScriptedDatabase:
        server = ScriptedDatabase(engine, version)
        monkeypatch.setattr(messages, "connect", server.connect)
        monkeypatch.setattr(ownership, "inspect", lambda *_arguments: found)
        monkeypatch.setattr(ownership, "has_rows", lambda *_arguments: True)
        return server.on("Innodb_history_list_length", [])

    return call


# Which tables


def test_the_table_of_mysql_and_its_primary_key(make: Make) -> None:
    server = make(wamessageStore=Traits(messages=True), waconfigStore=Traits())
    server.on("table_type", [("BASE TABLE",)]).on("index_name = 'PRIMARY'", [("shard",), ("id",)])
    (table,) = messages.find_tables(server.settings, "wa")
    assert table == Table("wamessageStore", "wamessageStore", ("shard", "id"))
    assert table.quoted(MYSQL) == "`wamessageStore`.`messages`"
    assert set(server.asked("information_schema")) == {("wamessageStore", "messages")}


ROW = ("public", ["id"], True, [11, 12])


def test_the_table_of_postgresql_and_its_partitions(make: Make) -> None:
    server = make(PGSQL, wamessageStore=Traits(messages=True)).on("FROM pg_class", [ROW])
    assert messages.find_tables(server.settings, "wa") == [
        Table("wamessageStore", "public", ("id",), owned=True, ids=(11, 12))
    ]
    assert server.databases == [None, "wamessageStore"]
    assert server.open == 0


def test_a_table_in_several_schemas_is_refused(make: Make) -> None:
    server = make(PGSQL, wamessageStore=Traits(messages=True)).on("FROM pg_class", [ROW, ("b", [], False, [21])])
    with pytest.raises(WaError) as told:
        messages.find_tables(server.settings, "wa")
    assert str(told.value) == (
        "table messages in wamessageStore: user wa may read it in the schemas public, b; expected one, the client's. "
        "Rename the other, or take the right to read it from the user"
    )


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (
            None,
            "client's database: no database that begins with 'wa' holds a table messages; expected one that the client's user "
            "can see. Start the client once so that it makes its databases, or correct WA_DB_NAME_PREFIX",
        ),
        (
            ["a", "b"],
            "option databases: no table messages seen in: a, b; expected the client's database that has it.",
        ),
    ],
)
def test_no_table_is_an_error(make: Make, monkeypatch: pytest.MonkeyPatch, wanted: t.Any, words: str) -> None:
    server = make()
    monkeypatch.setattr(ownership, "anchors", lambda *_arguments: [])
    with pytest.raises(WaError) as told:
        messages.find_tables(server.settings, "wa", wanted)
    assert str(told.value) == words


def test_a_view_is_no_table(make: Make) -> None:
    server = make(wamessageStore=Traits(messages=True)).on("table_type", [("VIEW",)])
    assert messages.find_tables(server.settings, "wa") == []


# Where to ask


@pytest.mark.parametrize(
    ("engine", "places"),
    [(MYSQL, [(None, ["a", "b", "a"])]), (PGSQL, [("a", ["a", "a"]), ("b", ["b"])])],
)
def test_a_session_for_each_place(make: Make, engine: str, places: list[t.Any]) -> None:
    server = make(engine)
    tables = [Table(name, "public", ()) for name in ("a", "b", "a")]
    seen = []
    for _session, here in messages.sessions(server.settings, tables):
        assert server.open == 1
        seen.append((server.databases[-1], [table.database for table in here]))
    assert (seen, server.open) == (places, 0)


# The count

TABLE = Table("wa", "wa", ("id",))


def _probe(count: int, values: t.Sequence[t.Any]) -> list[tuple[int]]:
    return [(1,)] if count > values[0] else []


def rows(server: ScriptedDatabase, *counts: int) -> None:
    """Each table of `wa`, `wa2`, ... holds so many rows; a probe and a count see them."""
    for number, count in enumerate(counts):
        name = f"`wa{number + 1 if number else ''}`" if server.engine == MYSQL else '"public"'
        server.on(f"SELECT 1 FROM {name}", functools.partial(_probe, count))
        server.on(rf"SELECT COUNT\(\*\) FROM {name}", [(count,)])


@pytest.mark.parametrize("engine", [MYSQL, PGSQL])
@pytest.mark.parametrize(
    ("count", "limit", "found"),
    [
        (0, 0, Count(0, True, False)),
        (9, 10, Count(9, True, False)),
        (10, 10, Count(10, True, False)),
        (11, 10, Count(11, False, True)),
        (9999, 10, Count(11, False, True)),
    ],
)
def test_whether_there_are_more_than_the_limit(make: Make, engine: str, count: int, limit: int, found: Count) -> None:
    server = make(engine)
    rows(server, count)
    table = TABLE if engine == MYSQL else Table("wa", "public", ("id",))
    assert messages.count_up_to(server.settings, [table], limit) == found
    assert len(server.asked("COUNT")) == (0 if found.large else 1)


@pytest.mark.parametrize(
    ("counts", "found", "limits"),
    [
        ((4, 6), Count(10, True, False), [10, 6]),
        ((4, 7), Count(11, False, True), [10, 6]),
        ((11, 1), Count(11, False, True), [10]),
        ((10, 0), Count(10, True, False), [10, 0]),
    ],
)
def test_all_tables_count_together(make: Make, counts: tuple[int, int], found: Count, limits: list[int]) -> None:
    server = make()
    rows(server, *counts)
    assert messages.count_up_to(server.settings, [TABLE, Table("wa2", "wa2", ("id",))], 10) == found
    assert server.asked("SELECT 1 FROM") == [(limit,) for limit in limits]


def test_rows_that_came_between_probe_and_count_make_it_large(make: Make) -> None:
    server = make().on("SELECT 1 FROM", []).on("COUNT", [(12,)])
    assert messages.count_up_to(server.settings, [TABLE], 10) == Count(12, False, True)


@pytest.mark.parametrize(
    ("history", "key", "forced"),
    [
        ([], ("id",), True),  # MySQL does not tell
        ([("x", "20")], ("id",), False),
        ([("x", "21")], ("id",), True),
        ([], (), False),
        (LATE, ("id",), True),
    ],
)
def test_the_primary_key_is_read_while_deletes_are_not_purged(
    make: Make, history: t.Any, key: tuple[str, ...], forced: bool
) -> None:
    server = make().on("Innodb_history_list_length", history)
    rows(server, 3)
    messages.count_up_to(server.settings, [Table("wa", "wa", key)], 10)
    assert bool(server.asked(r"COUNT.* FORCE INDEX \(PRIMARY\)")) is forced


def test_another_failure_than_lateness_is_told_with_its_table(make: Make) -> None:
    server = make().on("SELECT 1 FROM", Refusal("denied", "no right"))
    with pytest.raises(DatabaseError) as told:
        messages.count_up_to(server.settings, [TABLE], 10)
    assert (told.value.subject, told.value.found) == ("table messages in wa", "no right")
    server.on("Innodb_history_list_length", Refusal("lost", "gone"))
    with pytest.raises(DatabaseError, match="gone"):
        messages.count_up_to(server.settings, [TABLE], 10)


def test_a_table_that_takes_too_long_is_unknown_and_counts_as_large(make: Make) -> None:
    server = make().on("COUNT|SELECT 1 FROM `wa2`", LATE).on("SELECT 1 FROM `wa`", [])
    found = messages.count_up_to(server.settings, [TABLE], 10)
    assert found == Count(0, False, True, "wa: the count took too long")
    assert server.options == [{"statement_timeout": 120.0}]


# Before the closing count


def test_mariadb_is_waited_for_while_it_purges(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(messages, "time", clock)
    left = iter([9000, 5000, 400, 20])
    server = make().on("Innodb_history_list_length", lambda _values: [("x", next(left))])
    assert messages.vacuum(server.settings, [], 100) == ""
    assert clock.now == 0.75


@pytest.mark.parametrize(
    ("answers", "seconds", "until"),
    [
        (lambda clock: [], 100, 0),  # MySQL does not tell
        (lambda clock: [("x", 500)], 100, 2.25),  # it gets no shorter
        (lambda clock: [("x", 9000 - clock.now)], 7, 7),  # but no longer than asked for
        (lambda clock: [("x", 9000 - clock.now)], 999, 120),
    ],
)
def test_the_wait_for_a_purge_ends(
    make: Make, monkeypatch: pytest.MonkeyPatch, answers: t.Any, seconds: float, until: float
) -> None:
    clock = Clock()
    monkeypatch.setattr(messages, "time", clock)
    server = make().on("Innodb_history_list_length", lambda _values: answers(clock))
    assert messages.vacuum(server.settings, [], seconds) == ""
    assert clock.now == until


OWNED = Table("wa", "public", ("id",), owned=True)


@pytest.mark.parametrize(("seconds", "timeout"), [(1, 5), (60, 60), (9999, 1800)])
def test_a_table_of_postgresql_is_vacuumed_by_its_owner(make: Make, seconds: float, timeout: float) -> None:
    server = make(PGSQL).on("VACUUM", None)
    assert messages.vacuum(server.settings, [OWNED], seconds) == ""
    assert server.statements == [('VACUUM (ANALYZE) "public"."messages"', ())]
    assert (server.databases, server.options) == (["wa"], [{"read_only": False, "statement_timeout": timeout}])


@pytest.mark.parametrize("kind", ["timeout", "lock", "denied", "read_only"])
def test_what_was_not_vacuumed_is_told(make: Make, kind: str) -> None:
    server = make(PGSQL).on("VACUUM", Refusal(kind, "busy"))
    assert messages.vacuum(server.settings, [Table("other", "public", ()), OWNED], 60) == (
        "other: the user does not own messages, so no VACUUM was done; wa: VACUUM not done: busy"
    )
    server.on("VACUUM", Refusal("lost", "gone"))
    with pytest.raises(DatabaseError, match="gone"):
        messages.vacuum(server.settings, [OWNED], 60)


def test_a_server_that_takes_no_writes_has_words_of_its_own(make: Make) -> None:
    error = messages.read_only(make().settings)
    assert error.kind == "read_only"
    assert re.sub(r"\. .*", "", str(error)) == (
        "database MYSQL at db.lab:3306: read only: a replica, or a primary set so; expected a server that takes writes"
    )
