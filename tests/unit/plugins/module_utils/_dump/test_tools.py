# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dump tool of a host, the server facts that a dump needs, and how the tool gets the password."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import typing as t
from dataclasses import replace
from pathlib import Path

import commands
import pytest
from scripted_database import PASSWORD, Refusal, ScriptedDatabase
from scripted_database import settings as scripted_settings

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import connection, ownership
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import MYSQL, PGSQL, DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._database.session import parse_version
from ansible_collections.waba.onprem.plugins.module_utils._dump import tools
from ansible_collections.waba.onprem.plugins.module_utils._dump.commands import Source, Table, Tool

# Tools of this host


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., None]:
    """Install programs that replace all others: name, or folder and name, and the output of `--version`."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(tools, "_PGSQL_FOLDERS", (f"{tmp_path}/postgresql/{{}}/bin", f"{tmp_path}/pgsql-{{}}/bin"))

    def call(**programs: str) -> None:
        for name, output in programs.items():
            path = (
                tmp_path / name.replace("__", "/").replace("_", "-")
                if "__" in name
                else tmp_path / "bin" / name.replace("_", "-")
            )
            path = path.with_name(path.name.replace("pg-dump", "pg_dump"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/bin/sh\necho '{output}'\n")
            path.chmod(0o755)

    return call


def run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def found(tmp_path: Path, engine: str, version: str) -> str:
    tool = tools.find(parse_version(engine, version), run)
    return f"{Path(tool.path).relative_to(tmp_path)} {tool.product} {tool.numbers[0]}"


MARIADB = "mariadb-dump from 11.8.3-MariaDB, client 10.19 for debian-linux-gnu (x86_64)"
OLD_MARIADB = "mysqldump  Ver 10.19 Distrib 10.5.23-MariaDB, for debian-linux-gnu (x86_64)"
MYSQL8 = "mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)"


@pytest.mark.parametrize(
    ("programs", "version", "tool"),
    [
        ({"mariadb_dump": MARIADB, "mysqldump": MYSQL8}, "10.11.6-MariaDB", "bin/mariadb-dump MariaDB 11"),
        ({"mariadb_dump": MARIADB, "mysqldump": MYSQL8}, "8.0.36", "bin/mysqldump MySQL 8"),
        ({"mysqldump": OLD_MARIADB}, "10.5.1-MariaDB", "bin/mysqldump MariaDB 10"),
        ({"mysqldump": OLD_MARIADB, "mariadb_dump": MARIADB}, "11.4.1-MariaDB", "bin/mariadb-dump MariaDB 11"),
        (
            {"mysqldump": OLD_MARIADB},
            "11.4.1-MariaDB",
            "bin/mysqldump MariaDB 10",
        ),  # the only tool, although it is old
        (
            {"mariadb_dump": MARIADB},
            "8.0.36",
            "bin/mariadb-dump MariaDB 11",
        ),  # the only tool, although it is for another product
        ({"mariadb_dump": "no version", "mysqldump": MYSQL8}, "10.11.6-MariaDB", "bin/mysqldump MySQL 8"),
    ],
)
def test_the_tool_for_mysql_and_mariadb(
    install: t.Callable[..., None], tmp_path: Path, programs: dict[str, str], version: str, tool: str
) -> None:
    install(**programs)
    assert found(tmp_path, MYSQL, version) == tool


def pg(major: t.Any) -> str:
    return f"pg_dump (PostgreSQL) {major}.3 (Debian {major}.3-1)"


@pytest.mark.parametrize(
    ("programs", "version", "tool"),
    [
        ({"pg_dump": pg(15)}, "13.14", "bin/pg_dump PostgreSQL 15"),
        (
            {f"postgresql__{major}__bin__pg_dump": pg(major) for major in ("9.6", 13, 15)} | {"pg_dump": pg(17)},
            "13.14",
            "postgresql/13/bin/pg_dump PostgreSQL 13",
        ),
        (
            {f"postgresql__{major}__bin__pg_dump": pg(major) for major in (11, 15, 17)},
            "13.14",
            "postgresql/15/bin/pg_dump PostgreSQL 15",
        ),
        ({"pgsql_13__bin__pg_dump": pg(13), "pg_dump": pg(17)}, "13.14", "pgsql-13/bin/pg_dump PostgreSQL 13"),
        ({"pg_dump": pg(11)}, "13.14", "bin/pg_dump PostgreSQL 11"),  # `check` refuses it with its name
    ],
)
def test_the_tool_for_postgresql(
    install: t.Callable[..., None], tmp_path: Path, programs: dict[str, str], version: str, tool: str
) -> None:
    install(**programs)
    assert found(tmp_path, PGSQL, version) == tool


@pytest.mark.parametrize(
    ("engine", "version", "message"),
    [
        (
            MYSQL,
            "10.11.6-MariaDB",
            "mariadb-dump is not on this host; expected the tool for MariaDB. Install mariadb-client (Debian, Ubuntu) or mariadb "
            "(Red Hat)",
        ),
        (
            MYSQL,
            "8.0.36",
            "mysqldump is not on this host; expected the tool for MySQL. Install mysql-client (Ubuntu), mysql (Red Hat) or "
            "mariadb-client (Debian), whose tool serves MySQL, too",
        ),
        (
            PGSQL,
            "13.14",
            "pg_dump is not on this host; expected the tool for PostgreSQL. Install postgresql-client (Debian, Ubuntu) or "
            "postgresql (Red Hat), version 13 or newer",
        ),
    ],
)
def test_a_missing_tool_is_an_error_with_its_package(
    install: t.Callable[..., None], engine: str, version: str, message: str
) -> None:
    install()
    with pytest.raises(WaError) as error:
        tools.find(parse_version(engine, version), run)
    assert str(error.value) == f"database dump: {message}"


def test_zstd_is_used_where_it_is_installed(install: t.Callable[..., None]) -> None:
    assert tools.compressor() == "gz"
    install(zstd="")
    assert tools.compressor() == "zst"


# The address of the server


@pytest.mark.parametrize(
    ("engine", "host", "server_name", "address"),
    [
        (PGSQL, "127.0.0.1", "db.lab", "127.0.0.1"),
        (PGSQL, "127.0.0.1", "127.0.0.1", ""),
        (PGSQL, "127.0.0.1", "", ""),
        (MYSQL, "127.0.0.1", "db.lab", ""),
    ],
)
def test_the_address_is_passed_if_the_certificate_has_another_name(
    engine: str, host: str, server_name: str, address: str
) -> None:
    config = replace(scripted_settings(engine), host=host, server_name=server_name)
    assert tools.address(config) == address


def test_a_name_that_does_not_resolve_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: t.Any, **_options: t.Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(WaError) as error:
        tools.address(replace(scripted_settings(PGSQL), server_name="other.lab"))
    assert str(error.value) == (
        "database PGSQL at db.lab:5432: the name does not resolve: Name or service not known. If the name resolves only among "
        "containers, set login_host to where the host reaches the database, on the same port"
    )


# The password


@pytest.mark.parametrize(
    ("engine", "tool"),
    [(MYSQL, Tool("mysqldump", "MySQL", (8, 0))), (PGSQL, Tool("pg_dump", "PostgreSQL", (13,)))],
)
def test_the_password_is_passed_in_a_memory_file(engine: str, tool: Tool) -> None:
    with tools.secret(tool, scripted_settings(engine), False) as (arguments, options):
        (descriptor,) = options["pass_fds"]
        assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o600
        path = f"/dev/fd/{descriptor}"
        assert PASSWORD not in repr((arguments, options))
        assert arguments == ([f"--defaults-file={path}"] if engine == MYSQL else [])
        assert options.get("env", {}).get("PGPASSFILE") == (None if engine == MYSQL else path)
        for _round in range(2):
            text = commands.run("cat", path, **options)
            assert text.startswith("[client]\n") if engine == MYSQL else text == f"*:*:*:*:{PASSWORD}\n"
            assert PASSWORD in text
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_the_memory_file_is_closed_after_an_exception() -> None:
    left: list[int] = []

    def fail() -> None:
        with tools.secret(Tool("x", "MySQL", (8,)), scripted_settings(MYSQL), False) as (_argv, options):
            left.extend(options["pass_fds"])
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(left[0])


# What is dumped


def mysql(
    monkeypatch: pytest.MonkeyPatch, *names: str, tables: t.Sequence[t.Any] = (("messages", "BASE TABLE"),)
) -> ScriptedDatabase:
    server = ScriptedDatabase(MYSQL)
    monkeypatch.setattr(connection, "connect", server.connect)
    monkeypatch.setattr(ownership, "find_all", lambda *_arguments: (list(names), []))
    server.on("table_name, table_type", tables).on("^SELECT 1 FROM `", []).on("SHOW CREATE VIEW", [])
    server.on("stats_expiry", None).on("data_length", [("wa1", "messages", 4096, 512, 20)]).on(
        "engine <> 'InnoDB'", []
    ).on("user_privileges", [])
    server.on("information_schema.(routines|triggers|events)", []).on("^SHOW EVENTS", [])
    server.on("information_schema.views", []).on("referential_constraints", []).on("max_execution_time", [(0,)])
    return server.on("^SELECT CURRENT_USER", [("wa@%",)]).on("Ssl_cipher", [("Ssl_cipher", "AES")])


def inspect(server: ScriptedDatabase) -> Source:
    source = tools.inspect(server.settings, "wa", None)
    assert server.open == 0
    return source


def test_a_foreign_key_between_databases_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes aside with the table that it names, and what was put aside could not be removed."""
    server = mysql(monkeypatch, "wa1").on("referential_constraints", [("crm", "notes", "wa1")])
    with pytest.raises(
        WaError, match=r"dump of database wa1: foreign key of crm\.notes \(in another database\), which"
    ):
        inspect(server)


def test_the_facts_of_a_mysql_server(monkeypatch: pytest.MonkeyPatch) -> None:
    server = mysql(monkeypatch, "wa1", "wa2")
    assert inspect(server) == Source(
        parse_version(MYSQL, "8.0.36"),
        ["wa1", "wa2"],
        4096,
        tls=True,
        kinds=frozenset(("events", "routines", "triggers")),
        tables=(Table("wa1", "messages", 4096, 20),),
    )
    assert server.asked("data_length") == [("wa1", "wa2")]
    assert server.asked("user_privileges") == [("'wa'@'%'",)] * 2


def test_without_a_database_nothing_else_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    server = mysql(monkeypatch)
    assert inspect(server) == Source(parse_version(MYSQL, "8.0.36"), [], 0)
    assert len(server.statements) == 1


@pytest.mark.parametrize("cipher", [[], [("Ssl_cipher", "")]])
def test_a_mysql_connection_without_tls(monkeypatch: pytest.MonkeyPatch, cipher: list[t.Any]) -> None:
    assert not inspect(mysql(monkeypatch, "wa1").on("Ssl_cipher", cipher)).tls


TABLES = [(f"t{number}", "BASE TABLE") for number in range(7)]


@pytest.mark.parametrize(
    ("tables", "refused", "objects"),
    [
        (TABLES[:2], "`t1`", "t1"),
        (TABLES[:5], "`t", "t0, t1, t2, t3, t4"),
        (TABLES, "`t", "t0, t1, t2, t3, t4 and 2 more"),
        ([("v", "VIEW")], "^SHOW CREATE VIEW `wa1`.`v`", "v"),
        ([("a`b", "BASE TABLE")], "`a``b`", "a`b"),
    ],
)
def test_unreadable_tables_of_mysql_are_an_error(
    monkeypatch: pytest.MonkeyPatch, tables: list[t.Any], refused: str, objects: str
) -> None:
    server = mysql(monkeypatch, "wa1", tables=tables).on(refused, Refusal("denied"))
    with pytest.raises(WaError) as error:
        inspect(server)
    assert str(error.value) == (
        f"dump of database wa1: user wa may not read {objects}; expected a database that the client's user may read as a whole. "
        "If it is not the client's, name the client's own in the option databases (variable wa_message_gc_databases of the "
        "roles); otherwise grant the user SELECT there"
    )


def test_show_create_view_is_not_needed_for_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    assert inspect(mysql(monkeypatch, "wa1").on("SHOW CREATE VIEW", Refusal("denied"))).databases == ["wa1"]


def test_a_lost_connection_is_not_a_missing_privilege(monkeypatch: pytest.MonkeyPatch) -> None:
    server = mysql(monkeypatch, "wa1").on("`messages`", Refusal("lost", "gone"))
    with pytest.raises(DatabaseError, match="gone"):
        inspect(server)


THEIRS, OURS = ("wa1", "x", "root@localhost", 1), ("wa1", "y", "wa@%", 0)


@pytest.mark.parametrize("kind", ["routine", "event"])
def test_what_another_account_has_defined_stays_where_it_is(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    server = mysql(monkeypatch, "wa1").on(f"FROM information_schema.{kind}s", [THEIRS])
    source = inspect(server)
    assert source.kinds == {"events", "routines", "triggers"} - {f"{kind}s"}
    assert source.named == (f"{kind} wa1.x is root@localhost's: it is not copied, and a restore leaves it as it is",)
    assert inspect(server.on(f"FROM information_schema.{kind}s", [OURS])).kinds == {"events", "routines", "triggers"}


@pytest.mark.parametrize(
    ("kind", "rows"), [("routine", [THEIRS, OURS]), ("event", [OURS, THEIRS]), ("trigger", [THEIRS])]
)
def test_what_cannot_be_told_apart_in_a_dump_is_refused(
    monkeypatch: pytest.MonkeyPatch, kind: str, rows: list[t.Any]
) -> None:
    server = mysql(monkeypatch, "wa1").on(f"FROM information_schema.{kind}s", rows)
    with pytest.raises(
        WaError, match=rf"dump of database wa1: {kind} x \(root@localhost\), which a restore by user wa"
    ):
        inspect(server)


@pytest.mark.parametrize(("privileges", "condition"), [([], "definer"), ([(1,)], "FALSE")])
def test_the_privilege_for_objects_of_other_definers(
    monkeypatch: pytest.MonkeyPatch, privileges: list[t.Any], condition: str
) -> None:
    server = mysql(monkeypatch, "wa1").on("user_privileges", privileges)
    inspect(server)
    assert len(server.asked(f"action_statement IS NULL OR (FALSE|coalesce.{condition})")) == 1


def test_a_table_outside_the_snapshot_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    server = mysql(monkeypatch, "wa1").on("engine <> 'InnoDB'", [("wa1", "log", "MyISAM")])
    assert inspect(server).doubts == ("wa1.log is MyISAM: it is not part of the consistent snapshot",)


def test_a_server_that_would_end_the_dump_tool_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    [doubt] = inspect(mysql(monkeypatch, "wa1").on("max_execution_time", [(20000,)])).doubts
    assert "max_execution_time ends each SELECT after 20 s, that of the dump tool, too" in doubt


@pytest.mark.parametrize("kind", ["denied", "login"])
def test_events_are_left_out_without_the_privilege(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    server = mysql(monkeypatch, "wa1").on("^SHOW EVENTS", Refusal(kind))
    assert inspect(server).kinds == {"routines", "triggers"}
    server.on("^SHOW EVENTS", Refusal("lost", "gone"))
    with pytest.raises(DatabaseError, match="gone"):
        inspect(server)


@pytest.mark.parametrize("any_definer", [False, True])
def test_views_of_another_definer_stay_where_they_are(monkeypatch: pytest.MonkeyPatch, any_definer: bool) -> None:
    server = mysql(monkeypatch, "wa1").on("user_privileges", [(1,)] if any_definer else [])
    found = [("wa1", "ours", "wa@%", 1), ("wa1", "theirs", "root@localhost", 0)]
    source = inspect(server.on("information_schema.views", found))
    assert source.views == {"wa1": ["ours", "theirs"] if any_definer else ["ours"]}
    assert source.left == ({} if any_definer else {"wa1": ["--ignore-table=wa1.theirs"]})
    assert source.named == (
        ()
        if any_definer
        else ("view wa1.theirs is root@localhost's: it is not copied, and a restore leaves it as it is",)
    )


# Each in the query that finds what a restore could neither drop nor leave.
OF_OTHERS = (
    "regprocedure",
    "event trigger",
    "large object",
    "'view '",
    "'foreign key",
    "'objects in",
    "'table '",
    "'type '",
    "pg_inherits",
)


@pytest.fixture
def pgsql(monkeypatch: pytest.MonkeyPatch) -> ScriptedDatabase:
    server = ScriptedDatabase(PGSQL).on("quote_ident", []).on(r"relkind IN \('r', 'p', 'v'", [])
    server.on("row_security_active", []).on("pg_table_size", [("public.messages", 4096, 20.0)])
    server.on("pg_database_size", [(8192,)]).on("^SELECT rolsuper", [(False,)])
    for statement in (
        *OF_OTHERS,
        "pg_publication",
        "'GRANT ",
        "extconfig",
    ):
        server.on(statement, [])
    monkeypatch.setattr(connection, "connect", server.connect)
    monkeypatch.setattr(ownership, "find_all", lambda *_arguments: (["wa1", "wa2"], []))
    return server


def test_the_facts_of_a_postgresql_server(pgsql: ScriptedDatabase) -> None:
    tables = tuple(Table(name, "public.messages", 4096, 20) for name in ("wa1", "wa2"))
    assert inspect(pgsql) == Source(
        parse_version(PGSQL, "13.14"), ["wa1", "wa2"], 8192, left={"wa1": [], "wa2": []}, tables=tables
    )
    assert pgsql.databases == [None, "wa1", "wa2"]
    assert pgsql.asked("pg_database_size") == [(["wa1", "wa2"],)]
    pgsql.on(
        "row_security_active", lambda _values: [("public", "x"), ("a", "y")] if pgsql.databases[-1] == "wa2" else []
    )
    with pytest.raises(WaError) as error:
        inspect(pgsql)
    assert (error.value.subject, error.value.found) == ("dump of database wa2", "user wa may not read public.x, a.y")


def test_what_an_administrator_has_beside_the_client_is_left_out_by_name(pgsql: ScriptedDatabase) -> None:
    pgsql.on("quote_ident", [("reports", "postgres")])
    source = inspect(pgsql)
    assert source.left == {name: ["--exclude-schema=reports"] for name in ("wa1", "wa2")}
    assert source.named[0] == "schema reports in wa1 is postgres's: it is not copied, and a restore leaves it as it is"


def test_a_publication_that_loses_the_clients_tables_is_named(pgsql: ScriptedDatabase) -> None:
    pgsql.on("pg_publication", [("events",)])
    assert inspect(pgsql).named[0] == (
        "publication events in wa1 has tables of the client's: a restore takes them out of it, and they are to be added again"
    )


def test_rights_that_a_restore_needs_are_named_with_the_statements_that_give_them(pgsql: ScriptedDatabase) -> None:
    pgsql.on("'GRANT ", [("GRANT CREATE ON DATABASE wa1 TO wa",), ("GRANT CREATE ON SCHEMA public TO wa",)])
    with pytest.raises(WaError) as error:
        inspect(pgsql)
    assert str(error.value) == (
        "dump of database wa1: user wa may not make again there what a restore drops; expected the rights to do so, without which it cannot "
        "be restored. Have the administrator run there: GRANT CREATE ON DATABASE wa1 TO wa; GRANT CREATE ON SCHEMA public TO wa"
    )


@pytest.mark.parametrize("statement", OF_OTHERS)
def test_what_a_restore_could_neither_drop_nor_leave_is_refused(pgsql: ScriptedDatabase, statement: str) -> None:
    pgsql.on(statement, [("x", "postgres")])
    with pytest.raises(
        WaError, match=r"dump of database wa1: x \(postgres\), which a restore by user wa could neither drop"
    ):
        inspect(pgsql)
    pgsql.on("^SELECT rolsuper", [(True,)])
    assert inspect(pgsql).databases == ["wa1", "wa2"]
