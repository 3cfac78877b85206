# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore compares, and in which order it works; that it puts back what was dumped is seen on real servers."""

from __future__ import annotations

import re
import time
import typing as t
from dataclasses import replace

import pytest
from scripted_database import Refusal, ScriptedDatabase

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import connection, content
from ansible_collections.waba.onprem.plugins.module_utils._database.content import Content
from ansible_collections.waba.onprem.plugins.module_utils._database.errors import DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._database.session import Version
from ansible_collections.waba.onprem.plugins.module_utils._dump import load, manifest, restore, tools
from ansible_collections.waba.onprem.plugins.module_utils._dump.commands import Tool

EXPECTED: dict[str, t.Any] = {"tables": {"messages": 20, "settings": 2}, "definitions": "d"}


@pytest.mark.parametrize(
    ("tables", "definitions", "lines"),
    [
        ({"messages": 20, "settings": 2}, "d", []),
        ({"messages": 19, "settings": 2}, "d", ["messages has 19 rows, expected 20"]),
        ({"messages": 20}, "d", ["settings has no rows, expected 2"]),
        ({"messages": 20, "settings": 2, "newer": 0}, "d", ["newer is not in the copy"]),
        ({"messages": 20, "settings": 2}, "e", ["its columns are defined otherwise"]),
    ],
)
def test_where_a_database_differs_from_its_copy(tables: dict[str, int], definitions: str, lines: list[str]) -> None:
    assert restore.differences(EXPECTED, Content(tables, definitions)) == lines


def test_postgresql_compares_names_and_texts_as_they_are() -> None:
    said = restore.compare({"tables": {"own.it's": 3}, "definitions": "x'y"})
    assert 'SELECT count(*) INTO found FROM "own"."it\'s"; IF found <> 3 THEN' in said
    assert "'own.it''s'" in said
    assert "IF digest <> 'x''y' THEN" in said


FOUND: dict[str, t.Any] = {
    "file": "d.sql.gz",
    "mark": "m",
    "engine": "MYSQL",
    "product": "MySQL",
    "server": "8.0.36",
    "sections": [["wa1", "tables"], ["wa1", "triggers"]],
    "databases": {"wa1": EXPECTED},
    "longest": 1000,
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> ScriptedDatabase:
    found = ScriptedDatabase("MYSQL").on("Ssl_cipher", []).on("schemata", [("wa1",)]).on("lower_case", [(0,)])
    found.on("^(CREATE|DROP) DATABASE", None).on("information_schema.(triggers|views|events|routines)", [])
    found.on("FROM information_schema.tables", holding(wa1=OLD))
    found.on("max_allowed_packet", [(1 << 24,)])
    found.on("LIMIT 0$", []).on("^RENAME TABLE", None).on("^(CREATE|DROP) TABLE", None)
    found.on("@@global.read_only", [(0, 0)]).on("wa_check_", Refusal("missing"))
    monkeypatch.setattr(connection, "connect", found.connect)
    monkeypatch.setattr(manifest, "verify", lambda *_arguments: None)
    monkeypatch.setattr(tools, "find_client", lambda *_arguments: Tool("/usr/bin/mysql", "MySQL", (8,)))
    monkeypatch.setattr(content, "read", lambda *_arguments: Content(**EXPECTED))
    return found


OLD = ["messages"]


def holding(**tables: t.Sequence[str]) -> t.Callable[[t.Any], list[tuple[str]]]:
    """Answers which tables a database has."""
    return lambda values: [(name,) for name in tables.get(values[0], ())]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """The sections that were loaded, each with its database."""
    found: list[tuple[int, str]] = []

    class Recorded(load.Load):
        def read(
            self, calls: t.Mapping[int, load.Call], _secret: t.Any, keep: t.Collection[int] = ()
        ) -> dict[int, bytes]:
            found.extend((number, call.argv[-1]) for number, call in calls.items())
            return dict.fromkeys(keep, b"")

        def give(self, calls: t.Mapping[int, load.Call], kept: t.Mapping[int, bytes], _secret: t.Any) -> None:
            assert list(kept) == list(calls)
            self.read(calls, None)

    monkeypatch.setattr(load, "Load", Recorded)
    return found


def of(server: ScriptedDatabase, **more: t.Any) -> restore.Restore:
    return restore.Restore(server.settings, "/b/d.json", {**FOUND, **more}, 60, lambda: None, lambda _command: "", "wa")


def changed(server: ScriptedDatabase) -> list[str]:
    return [one for one, _values in server.statements if re.match("(CREATE|DROP|RENAME) (?!.*wa_check_)", one)]


def test_a_server_that_has_not_answered_for_a_minute_ends_a_load(
    server: ScriptedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    watch = of(server)._loading().renew
    now[0] = 500.0
    watch()  # it answers

    def lost(*_arguments: t.Any, **_options: t.Any) -> t.NoReturn:
        raise connection.DatabaseError("database", "no answer", "unreachable")

    monkeypatch.setattr(connection, "connect", lost)
    now[0] = 560.0
    watch()
    now[0] = 561.0
    with pytest.raises(connection.DatabaseError, match="no answer"):
        watch()


@pytest.mark.parametrize(("file", "program"), [("d.sql.zst", "zstd"), ("d.sql.xz", "its program")])
def test_a_copy_that_cannot_be_unpacked_here_is_found_before_the_client_is_stopped(
    server: ScriptedDatabase, monkeypatch: pytest.MonkeyPatch, file: str, program: str
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        WaError, match=f"dump /b/{file}: {program} is not on this host; expected the program that unpacks it"
    ):
        of(server, file=file).check()


def test_a_check_makes_nothing(server: ScriptedDatabase) -> None:
    of(server).check()
    tried = [one for one, _values in server.statements if "wa_check_" in one]
    assert {re.findall("`(wa1[a-z_]*)`", one)[0] for one in tried} == {"wa1", "wa1__waba_in", "wa1__waba_out"}
    assert changed(server) == []
    assert server.open == 0


def test_rights_that_a_restore_needs_are_named_with_the_statements_that_give_them(server: ScriptedDatabase) -> None:
    server.on("^CREATE TABLE `(wa1|wa_2)__waba_", Refusal("denied")).on("CURRENT_USER", [("wa@10.%",)])
    with server.session() as session, pytest.raises(WaError) as error:
        restore.check_rights(session, ["wa1", "wa_2"])
    assert str(error.value) == (
        "database MYSQL at db.lab:3306: user wa lacks CREATE on wa1__waba_in, wa1__waba_out, wa_2__waba_in, wa_2__waba_out; "
        "expected the rights to load a copy beside its databases, without which none can be restored. Have the administrator run: "
        "GRANT ALL ON `wa1\\_\\_waba%`.* TO 'wa'@'10.%'; GRANT ALL ON `wa\\_2\\_\\_waba%`.* TO 'wa'@'10.%'; or name another user who "
        "has them (wa_restore_login_user, wa_restore_login_password)"
    )
    server.on("wa_check_", Refusal("missing")).on("^DROP TABLE `wa1`", Refusal("denied"))
    with (
        server.session() as session,
        pytest.raises(WaError, match=r"lacks DROP on wa1; .*restored\. Name another user"),
    ):
        restore.check_rights(session, ["wa1", "wa_2"])


@pytest.mark.parametrize(
    ("engine", "statements"),
    [
        (
            "MYSQL",
            "CREATE USER 'wa'@'%' IDENTIFIED BY 'PASSWORD'; GRANT ALL ON `wa\\_1`.* TO 'wa'@'%'; "
            "GRANT ALL ON `wa\\_1\\_\\_waba%`.* TO 'wa'@'%'",
        ),
        ("PGSQL", 'CREATE ROLE "wa" LOGIN PASSWORD \'PASSWORD\'; CREATE DATABASE "wa_1" OWNER "wa"'),
    ],
)
def test_a_new_server_that_refuses_the_login_is_prepared_by_these_statements(
    monkeypatch: pytest.MonkeyPatch, engine: str, statements: str
) -> None:
    server = ScriptedDatabase(engine)

    def refuse(*_arguments: t.Any, **_options: t.Any) -> t.NoReturn:
        raise DatabaseError("database at db.lab", "access denied", "login")

    monkeypatch.setattr(connection, "connect", refuse)
    with pytest.raises(WaError) as error:
        of(server, engine=engine, databases={"wa_1": EXPECTED}).check()
    assert str(error.value).startswith("database at db.lab: access denied")
    assert str(error.value).rstrip(".").endswith(f"On a new server its administrator runs: {statements}")


def test_postgresql_loads_nothing_beside() -> None:
    server = ScriptedDatabase("PGSQL")
    with server.session() as session:
        restore.check_rights(session, ["wa1"])
    assert server.statements == []


@pytest.mark.parametrize(("rows", "now"), [([(25,)], 25), (Refusal("missing"), None), (Refusal("timeout"), None)])
def test_the_messages_of_now_are_counted(server: ScriptedDatabase, rows: t.Any, now: int | None) -> None:
    server.on(r"^SELECT count\(\*\) FROM `messages`$", rows)
    assert of(server).messages() == {"now": now, "copy": 20}
    assert of(server, databases={"wa1": {"tables": {}}}).messages() == {"now": 0, "copy": 0}
    assert server.open == 0


def test_another_engine_is_refused(server: ScriptedDatabase) -> None:
    with pytest.raises(WaError, match="of PGSQL; expected MYSQL"):
        of(server, engine="PGSQL").check()


def test_the_copy_is_loaded_beside_the_database_and_takes_its_place_in_one_statement(
    server: ScriptedDatabase, loaded: list[tuple[int, str]]
) -> None:
    server.on("information_schema.tables", holding(wa1=OLD, wa1__waba_in=OLD))  # of a load that was cut off
    one = of(server)
    one.check()
    server.statements.clear()
    one.run()
    assert loaded == [(0, "wa1__waba_in"), (1, "wa1")]
    assert changed(server) == [
        "DROP DATABASE IF EXISTS `wa1__waba_in`",
        "CREATE DATABASE IF NOT EXISTS `wa1__waba_in`",
        "CREATE TABLE IF NOT EXISTS `wa1__waba_in`.`__waba_m` (id INT PRIMARY KEY)",
        "CREATE DATABASE IF NOT EXISTS `wa1`",
        "CREATE DATABASE IF NOT EXISTS `wa1__waba_out`",
        "RENAME TABLE `wa1`.`messages` TO `wa1__waba_out`.`messages`, `wa1__waba_in`.`messages` TO `wa1`.`messages`,"
        " `wa1__waba_in`.`__waba_m` TO `wa1__waba_out`.`__waba_m`",
        "DROP DATABASE IF EXISTS `wa1__waba_in`",
    ]
    assert one.touched
    server.statements.clear()
    one.complete()
    assert changed(server) == ["DROP TABLE IF EXISTS `wa1__waba_out`.`__waba_m`"]


def test_a_copy_that_differs_from_its_manifest_replaces_nothing(
    server: ScriptedDatabase, loaded: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = of(server)
    one.check()
    monkeypatch.setattr(content, "read", lambda *_arguments: Content({}, ""))
    with pytest.raises(WaError, match="restore of wa1: messages has no rows, expected 20"):
        one.run()
    assert loaded == [(0, "wa1__waba_in")]
    assert not [statement for statement in changed(server) if "RENAME" in statement]
    assert changed(server)[-1] == "DROP DATABASE IF EXISTS `wa1__waba_in`"  # its room is given back
    assert not one.touched


@pytest.mark.parametrize("calls", [[0, 1], [0, 1, 2]], ids=["during the load", "since the tables were in their place"])
def test_who_uses_the_databases_is_asked_before_the_load_after_it_and_at_the_end(
    server: ScriptedDatabase, loaded: list[tuple[int, str]], calls: list[int]
) -> None:
    asked: list[int] = []

    def guard() -> None:
        asked.append(len(loaded))
        if asked == calls:
            raise WaError("database", "in use", "nobody")

    one = restore.Restore(server.settings, "/b/d.json", FOUND, 60, lambda: None, lambda _command: "", "wa", guard)
    one.check()
    with pytest.raises(WaError, match="in use"):
        one.run()
    assert asked == calls
    assert one.touched is (len(calls) == 3)


def test_a_run_after_the_swap_makes_what_depends_on_the_tables(
    server: ScriptedDatabase, loaded: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were compared before it, and a client that was started since may have changed them."""
    monkeypatch.setattr(content, "read", lambda *_arguments: pytest.fail("the tables are compared again"))
    aside = [("messages",), ("__waba_m",)]
    server.on("information_schema.tables", lambda values: aside if "waba_out" in str(values) else [])
    server.on("information_schema.views", [("v",)]).on("^DROP VIEW", None)
    one = of(server)
    one.check()
    one.run()
    assert loaded == [(1, "wa1")]
    gone = ["DROP VIEW `wa1`.`v`", "DROP DATABASE IF EXISTS `wa1__waba_in`"]
    assert changed(server) == gone
    assert server.asked("information_schema.views") == [("wa1", "wa")]


@pytest.mark.parametrize(
    ("present", "incoming", "moves"),
    [
        (["a", "b", "newer"], ["a", "b"], ["a out", "b out", "newer out", "a in", "b in"]),  # nothing is moved
        (["b", "newer"], ["a", "b"], ["b out", "newer out", "a in", "b in"]),
        (["newer"], ["a", "b"], ["newer out", "a in", "b in"]),
        ([], ["a", "b"], ["a in", "b in"]),
        (["a"], ["b"], ["b in"]),
        (["a", "b"], [], []),
        # In whatever order a server works
        (["a", "b", "newer"], ["b"], ["b out", "newer out", "b in"]),
    ],
)
def test_a_swap_that_was_cut_off_is_completed(present: list[str], incoming: list[str], moves: list[str]) -> None:
    found = restore.unmoved("wa", ["a", "b"], present, incoming)
    ends = {("wa", "wa__waba_out"): "out", ("wa__waba_in", "wa"): "in"}
    assert [f"{table} {ends[at, to]}" for at, table, to in found] == moves


def test_a_run_after_half_of_the_swap_moves_the_rest_and_loads_no_table(
    server: ScriptedDatabase, loaded: list[tuple[int, str]]
) -> None:
    half = {"wa1": ["newer"], "wa1__waba_in": ["messages", "settings", "__waba_m"], "wa1__waba_out": ["messages"]}
    server.on("information_schema.tables", holding(**half))
    one = of(server)
    one.check()
    one.run()
    assert loaded == [(1, "wa1")]
    assert [statement for statement in changed(server) if "RENAME" in statement] == [
        "RENAME TABLE `wa1`.`newer` TO `wa1__waba_out`.`newer`, `wa1__waba_in`.`messages` TO `wa1`.`messages`,"
        " `wa1__waba_in`.`settings` TO `wa1`.`settings`, `wa1__waba_in`.`__waba_m` TO `wa1__waba_out`.`__waba_m`"
    ]
    assert one.touched


def test_a_failure_after_half_of_the_swap_keeps_what_is_to_be_moved(
    server: ScriptedDatabase, loaded: list[tuple[int, str]]
) -> None:
    server.on("information_schema.tables", holding(wa1__waba_in=["messages", "__waba_m"], wa1__waba_out=["messages"]))
    server.on("^RENAME TABLE", Refusal("lost", "gone"))
    one = of(server)
    one.check()
    with pytest.raises(WaError, match="gone"):
        one.run()
    assert (loaded, one.touched) == ([], True)
    assert not [statement for statement in changed(server) if statement.startswith("DROP")]


def test_a_table_whose_file_has_gone_ahead_is_named_with_its_place(
    server: ScriptedDatabase, loaded: list[tuple[int, str]]
) -> None:
    server.on("information_schema.tables", holding(wa1__waba_in=["messages", "__waba_m"], wa1__waba_out=["messages"]))
    server.on("SELECT 1 FROM `wa1__waba_in`.`messages`", Refusal("other", "doesn't exist in engine"))
    one = of(server)
    one.check()
    with pytest.raises(
        WaError,
        match=r"the table messages of wa1__waba_in cannot be read \(doesn't exist in engine\); expected all tables\..*"
        r"its file is in the folder of wa1: .*, move messages\.ibd from there back into the folder of wa1__waba_in, .*Remove nothing",
    ):
        one.run()
    assert (loaded, one.touched, [statement for statement in changed(server) if "RENAME" in statement]) == (
        [],
        True,
        [],
    )


@pytest.mark.parametrize("incoming", [[], ["messages", "__waba_m"], ["messages", "__waba_another"]])
@pytest.mark.parametrize("aside", [["messages"], ["messages", "__waba_m"], ["__waba_another"]])
def test_what_a_restore_has_put_aside_is_removed_once_it_is_complete(
    server: ScriptedDatabase, aside: list[str], incoming: list[str]
) -> None:
    server.on("information_schema.tables", holding(wa1=OLD, wa1__waba_in=incoming, wa1__waba_out=aside))
    begun = {*aside, *incoming} - {*OLD}
    if "__waba_m" in begun:  # of this copy: it goes on
        of(server).check()
    else:
        other = "a restore was cut off between what was there and its copy.*Remove nothing"
        with pytest.raises(WaError, match=other if begun else "wa1__waba_out hold what was there before an earlier"):
            of(server).check()
    if begun:
        with pytest.raises(WaError, match=r"Run restore\.yml again with that copy, which goes on\. Remove nothing"):
            restore.remove_former(server.settings, ["wa1"], False)
        assert changed(server) == []
        return
    for check, dropped in ((True, []), (False, ["DROP DATABASE `wa1__waba_out`"])):
        assert restore.remove_former(server.settings, ["wa1"], check) == ["wa1__waba_out"]
        assert changed(server) == dropped


def test_a_server_that_takes_no_writes_is_refused(server: ScriptedDatabase) -> None:
    server.on("@@global.read_only", [(1, 0)])
    with pytest.raises(WaError, match="it takes no writes; expected a server that does"):
        of(server).check()


def test_postgresql_gets_one_transaction_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[int, load.Call] = {}
    server = ScriptedDatabase("PGSQL").on("pg_database", [("wa1",)]).on("pg_is_in_recovery", [(False,)])
    monkeypatch.setattr(connection, "connect", server.connect)
    monkeypatch.setattr(manifest, "verify", lambda *_arguments: None)
    monkeypatch.setattr(tools, "find_client", lambda *_arguments: Tool("/usr/bin/psql", "PostgreSQL", (13,)))
    monkeypatch.setattr(load.Load, "read", lambda _self, calls, _secret, _keep: found.update(calls))
    one, asked = of(server, engine="PGSQL", sections=[["wa1", "all"]]), list[int]()
    monkeypatch.setattr(one, "_guard", lambda: asked.append(len(found)))
    one.check()
    one.run()
    assert asked == [0, 1]  # a client that was started meanwhile has read what is gone
    assert found[0].before.startswith(b"\nBEGIN;\n")
    assert b"\nSET LOCAL statement_timeout = 0;\n" in found[0].before.partition(b"DO $waba$")[0]
    assert found[0].after.partition(b"IF digest <> 'd'")[2].endswith(b"\nCOMMIT;\n")
    with pytest.raises(
        WaError, match=r'no database wa2; .*Have its administrator run: CREATE DATABASE "wa2" OWNER "wa"'
    ):
        of(server, engine="PGSQL", databases={"wa2": EXPECTED}).check()
    server.settings = replace(server.settings, user="admin")
    with pytest.raises(WaError, match="wa_restore_login_user: admin; expected none on PostgreSQL"):
        of(server, engine="PGSQL").check()


@pytest.mark.parametrize("fails", [False, True])
def test_a_drill_leaves_nothing_whatever_comes_of_it(
    server: ScriptedDatabase, loaded: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    server.on("schemata", [("another",)])
    if fails:
        monkeypatch.setattr(content, "read", lambda *_arguments: Content({}, ""))
        with pytest.raises(WaError, match="restore of wa1: messages has no rows, expected 20"):
            of(server).drill()
    else:
        of(server).drill()
    assert loaded == [(0, "wa1"), (1, "wa1")]
    assert changed(server) == ["CREATE DATABASE `wa1`", "DROP DATABASE IF EXISTS `wa1`"]


@pytest.mark.parametrize(
    ("copied", "server", "wrong"),
    [
        ("MariaDB 10.11.6-MariaDB", "MariaDB 10.11.2", ""),
        ("MariaDB 10.11.6-MariaDB", "MariaDB 11.4.1", ""),
        ("MariaDB 10.11.6-MariaDB", "MariaDB 10.5.20", "MariaDB 10.11 or newer, as the server of the copy"),
        ("MySQL 8.4.1", "MySQL 8.0.36", "MySQL 8.4 or newer, as the server of the copy"),
        ("MySQL 8.0.36", "MySQL 9.7.0", ""),
        ("MySQL 8.0.36", "MariaDB 11.8.1", "MySQL 8.0 or newer, as the server of the copy"),
        ("MariaDB 10.5.20-MariaDB", "MySQL 9.7.0", "MariaDB 10.5 or newer, as the server of the copy"),
        ("PostgreSQL 13.14 (Debian 13.14-1)", "PostgreSQL 13.2", ""),
        ("PostgreSQL 13.14 (Debian 13.14-1)", "PostgreSQL 17.0", ""),
        ("PostgreSQL 17.2", "PostgreSQL 13.14", "PostgreSQL 17 or newer, as the server of the copy"),
    ],
)
def test_which_server_is_no_proof_for_a_copy(copied: str, server: str, wrong: str) -> None:
    product, _space, text = copied.partition(" ")
    engine = "PGSQL" if product == "PostgreSQL" else "MYSQL"
    name, _space, version = server.partition(" ")
    numbers = tuple(int(one) for one in version.split("."))
    assert (
        restore.wrong_server({"engine": engine, "product": product, "server": text}, Version(name, numbers, version))
        == wrong
    )


def test_a_trigger_that_mysql_does_not_show_is_named_where_it_stops_the_swap(
    server: ScriptedDatabase, loaded: list[tuple[int, str]]
) -> None:
    work = of(server)
    work.check()
    server.on("^RENAME TABLE", Refusal("other", "Trigger in wrong schema (1435)"))
    with pytest.raises(
        WaError, match=r"a table has a trigger that the user may not see; .* GRANT TRIGGER ON wa1, and run restore"
    ):
        work.run()
    server.on("^RENAME TABLE", Refusal("lock", "busy"))
    with pytest.raises(WaError, match="busy"):
        work.run()


def test_a_drill_on_another_server_than_the_copys_is_refused(server: ScriptedDatabase) -> None:
    said = r"drill on database MYSQL at db\.lab:3306: MySQL 8\.0\.36; expected MariaDB 8\.0 or newer, as the server of the copy"
    with pytest.raises(WaError, match=said):
        of(server, product="MariaDB").drill()
    assert changed(server) == []


def test_a_drill_touches_no_database_that_is_there(server: ScriptedDatabase) -> None:
    with pytest.raises(WaError, match="it has wa1; expected a server for drills, without these databases"):
        of(server).drill()
    assert changed(server) == []
