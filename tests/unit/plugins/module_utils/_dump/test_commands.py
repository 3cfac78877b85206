# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of the dump tools: version detection, hidden password, parts of a dump."""

from __future__ import annotations

import re
import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database.session import Settings, parse_version
from ansible_collections.waba.onprem.plugins.module_utils._dump import commands as rules

PASSWORD = "Canary:\\\"#'"
MARIADB = rules.Tool("/usr/bin/mariadb-dump", "MariaDB", (11, 8, 9))
MYSQL = rules.Tool("/usr/bin/mysqldump", "MySQL", (8, 0, 36))
PGSQL = rules.Tool("/usr/bin/pg_dump", "PostgreSQL", (17, 12))


ALL = frozenset(("events", "routines", "triggers"))


def source(*names: str, **more: t.Any) -> rules.Source:
    return rules.Source(parse_version("MYSQL", "8.0.36"), list(names), 0, **more)


def settings(engine: str = "MYSQL", **more: t.Any) -> Settings:
    return Settings(engine, "db.example.com", 3306, "wa", PASSWORD, **more)


@pytest.mark.parametrize(
    ("output", "product", "numbers"),
    [
        ("mariadb-dump from 11.8.9-MariaDB, client 10.20 for debian-linux-gnu (x86_64)", "MariaDB", (11, 8, 9)),
        ("mysqldump  Ver 10.19 Distrib 10.11.6-MariaDB, for debian-linux-gnu (x86_64)", "MariaDB", (10, 11, 6)),
        ("mysqldump  Ver 8.0.36-0ubuntu0.22.04.1 for Linux on x86_64 ((Ubuntu))", "MySQL", (8, 0, 36)),
        ("mysqldump  Ver 10.13 Distrib 5.7.44, for Linux (x86_64)", "MySQL", (5, 7, 44)),
        ("pg_dump (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)", "PostgreSQL", (15, 20)),
        ("pg_dump (PostgreSQL) 18beta1", "PostgreSQL", (18,)),
    ],
)
def test_a_tool_is_identified_by_its_version_output(output: str, product: str, numbers: tuple[int, ...]) -> None:
    assert rules.parse_tool("/x", output) == rules.Tool("/x", product, numbers)


def test_an_unknown_program_is_no_tool() -> None:
    assert rules.parse_tool("/x", "command not found") is None


@pytest.mark.parametrize(
    ("tool", "engine", "version", "warnings"),
    [
        (PGSQL, "PGSQL", "17.2", 0),
        (PGSQL, "PGSQL", "13.14", 0),
        (MARIADB, "MYSQL", "11.8.9-MariaDB", 0),
        (MARIADB, "MYSQL", "12.0.1-MariaDB", 1),
        (MARIADB, "MYSQL", "8.0.36", 1),
        (MYSQL, "MYSQL", "10.11.6-MariaDB", 1),
        (MYSQL, "MYSQL", "8.4.1", 0),
        (MYSQL, "MYSQL", "5.7.44", 0),
    ],
)
def test_unsuitable_tools_are_a_warning(tool: rules.Tool, engine: str, version: str, warnings: int) -> None:
    found = rules.check(tool, parse_version(engine, version))
    assert len(found) == warnings
    assert all(text.endswith(": the server's own tool is surer") for text in found)


@pytest.mark.parametrize(
    ("tool", "engine", "version"),
    [(PGSQL, "PGSQL", "18.1"), (rules.Tool("/x", "MySQL", (5, 7, 44)), "MYSQL", "8.0.36")],
)
def test_a_tool_older_than_the_server_is_refused(tool: rules.Tool, engine: str, version: str) -> None:
    with pytest.raises(WaError, match=r"is older than the server.*Install"):
        rules.check(tool, parse_version(engine, version))


@pytest.mark.parametrize(
    ("engine", "version", "name"),
    [
        ("PGSQL", "13.14", "postgresql-client (Debian, Ubuntu) or postgresql (Red Hat), version 13 or newer"),
        ("PGSQL", "devel", "postgresql-client (Debian, Ubuntu) or postgresql (Red Hat)"),
        ("MYSQL", "10.11.6-MariaDB", "mariadb-client (Debian, Ubuntu) or mariadb (Red Hat)"),
        ("MYSQL", "8.0.36", "mysql-client (Ubuntu), mysql (Red Hat) or mariadb-client (Debian), whose tool serves MySQL, too"),
    ],
)  # fmt: skip
def test_the_package_of_the_tool_is_named(engine: str, version: str, name: str) -> None:
    assert rules.package(parse_version(engine, version)) == name


def test_options_depend_on_the_tool() -> None:
    def calls(tool: rules.Tool, *kinds: str) -> dict[str, list[str]]:
        found = rules.sections(tool, settings(), source("a", kinds=frozenset(kinds)))
        return {one.part: one.argv for one in found}

    new = calls(MYSQL, *ALL)
    old = calls(rules.Tool("/x", "MySQL", (5, 7, 44)))
    maria = calls(MARIADB, "routines")
    assert all("--column-statistics=0" in one for one in new.values())
    assert all("--set-gtid-purged=OFF" in one for one in old.values())
    for one in maria.values():
        assert not {"--column-statistics=0", "--set-gtid-purged=OFF"} & set(one)
    skipped = ["--skip-events", "--skip-routines", "--skip-triggers"]
    assert [option for option in new["tables"] if option in skipped] == skipped
    assert {"--skip-events", "--routines", "--skip-triggers", "--no-data"} <= set(new["routines"])
    assert {"--events", "--skip-routines", "--triggers", "--no-create-info"} <= set(new["triggers"])
    assert {"--skip-events", "--skip-routines", "--skip-triggers"} <= set(old["triggers"])


def test_views_are_dumped_apart_from_the_tables_and_others_views_not_at_all() -> None:
    made = source("a", views={"a": ["v", "w"]}, left={"a": ["--ignore-table=a.theirs"]})
    found = rules.sections(MARIADB, settings(), made)
    assert [one.part for one in found] == ["tables", "routines", "views", "triggers"]
    assert [option for option in found[0].argv if "--ignore" in option] == [
        f"--ignore-table=a.{name}" for name in ("theirs", "v", "w")
    ]
    assert found[2].argv[-4:] == ["--", "a", "v", "w"]


@pytest.mark.parametrize(
    ("tool", "without_rows", "name", "rows"),
    [
        (
            rules.Tool("mysqldump", "MySQL", (8, 0)),
            "mysqldump --no-data --single-transaction ",
            "messages",
            ("mysqldump --no-create-info --single-transaction ", " --ignore-table=b.v -- b messages"),
        ),
        (
            rules.Tool("pg_dump", "PostgreSQL", (13,)),
            "pg_dump --schema-only --no-owner ",
            'public."m x"',
            ('pg_dump --data-only --table=public."m x" --no-owner ', " dbname=b connect_timeout=10 sslmode=prefer"),
        ),
    ],
)
def test_the_calls_of_a_preflight(tool: rules.Tool, without_rows: str, name: str, rows: tuple[str, str]) -> None:
    found = rules.sections(tool, settings(), source("a", "b", views={"b": ["v"]}))
    assert " ".join(rules.without_rows(tool, found[0])).startswith(without_rows)
    sample = " ".join(rules.rows_of(tool, found, rules.Table("b", name, 1, 1)))
    assert (sample.startswith(rows[0]), sample.endswith(rows[1])) == (True, True), sample


def test_a_database_name_is_not_parsed_as_an_option() -> None:
    assert rules.sections(MARIADB, settings(), source("--all-databases"))[0].argv[-2:] == ["--", "--all-databases"]


def test_each_database_of_postgresql_has_its_own_call_without_owners() -> None:
    found = rules.sections(PGSQL, settings("PGSQL"), source("a'b", "c", left={"c": ["--exclude-table=x.y"]}))
    assert [(one.database, one.part) for one in found] == [("a'b", "all"), ("c", "all")]
    assert "dbname='a\\'b'" in found[0].argv[-1]
    assert {"--no-owner", "--no-privileges", "--exclude-table=x.y"} <= set(found[1].argv)


@pytest.mark.parametrize("tool", [MARIADB, MYSQL, PGSQL])
def test_the_password_is_in_no_argument(tool: rules.Tool) -> None:
    config = settings("PGSQL" if tool is PGSQL else "MYSQL", ca_cert="/ca.pem")
    printed = rules.sections(tool, config, source("a", kinds=ALL)), rules.client(tool, config, "a")
    assert "Canary" not in str(printed)


def test_the_client_of_postgresql_commits_nothing_by_itself() -> None:
    argv = rules.client(rules.Tool("/usr/bin/psql", "PostgreSQL", (17,)), settings("PGSQL"), "a")
    assert {"--set=ON_ERROR_STOP=1", "--no-psqlrc"} <= set(argv)
    assert "--single-transaction" not in argv


@pytest.mark.parametrize(("database", "character_set"), [("wa1configStore", "latin1"), ("caf\u00e9", "utf8mb4")])
def test_the_client_of_mysql_reads_byte_by_byte_unless_the_name_of_the_database_needs_more(
    database: str, character_set: str
) -> None:
    argv = rules.client(MYSQL, settings("MYSQL"), database)
    assert argv[-3:] == [f"--default-character-set={character_set}", "--database", database]


@pytest.mark.parametrize(
    ("tool", "options", "lines"),
    [
        (MARIADB, {}, ["ssl", "skip-ssl-verify-server-cert"]),
        (MARIADB, {"ca_cert": "/ca"}, ['ssl-ca="/ca"', "ssl", "ssl-verify-server-cert"]),
        # If the host reaches the server under another name than that of the certificate, only the authority is verified.
        (MARIADB, {"ca_cert": "/ca", "server_name": "other"}, ['ssl-ca="/ca"', "ssl", "skip-ssl-verify-server-cert"]),
        (MYSQL, {}, ['ssl-mode="REQUIRED"', "loose-get-server-public-key"]),
        (MYSQL, {"ca_cert": "/ca", "client_cert": "/c", "client_key": "/k"}, ['ssl-cert="/c"', 'ssl-key="/k"', 'ssl-mode="VERIFY_IDENTITY"']),
        (MYSQL, {"ca_cert": "/ca", "server_name": "other"}, ['ssl-mode="VERIFY_CA"']),
    ],
)  # fmt: skip
def test_the_option_file_of_mysql(tool: rules.Tool, options: dict[str, t.Any], lines: list[str]) -> None:
    found = rules.option_file(tool, settings(**options), True).splitlines()
    assert found[0] == "[client]"
    assert found[-len(lines) :] == lines
    assert r'''password="Canary:\\\"#'"''' in found


def test_the_password_file_of_postgresql() -> None:
    assert rules.password_file(settings("PGSQL")) == "*:*:*:*:Canary\\:\\\\\"#'\n"
    config = Settings("PGSQL", "h", 1, "u", "two\nlines")
    with pytest.raises(WaError, match="line's end"):
        rules.password_file(config)
    with pytest.raises(WaError, match="line's end"):
        rules.option_file(MARIADB, config, False)


def test_a_certificate_with_another_name_is_verified_against_that_name() -> None:
    config = settings("PGSQL", server_name="db.internal", ca_cert="/ca.pem")
    found = rules.conninfo(config, "x", "10.0.0.1")
    assert "host=db.internal hostaddr=10.0.0.1 " in found
    assert "sslmode=verify-full sslrootcert=/ca.pem" in found


NEWEST = b"SET transaction_timeout = 0;\nSET default_table_access_method = heap;\n"
HEAP = b"SET default_table_access_method = heap;\n"


@pytest.mark.parametrize(("server", "read"), [("17.0", NEWEST), ("16.4", HEAP), ("12.9", HEAP), ("11.3", b"")])
def test_an_older_server_gets_what_it_can_read(server: str, read: bytes) -> None:
    text = NEWEST
    for found, instead in rules.substitutions(PGSQL, parse_version("PGSQL", server)):
        text = re.sub(found, instead, text, flags=re.MULTILINE)
    assert text == read


def test_a_tool_of_the_servers_version_writes_what_the_server_reads() -> None:
    assert rules.substitutions(rules.Tool("/x", "PostgreSQL", (13, 1)), parse_version("PGSQL", "13.1")) == []
    assert rules.substitutions(MARIADB, parse_version("MYSQL", "10.5.1-MariaDB")) == []
