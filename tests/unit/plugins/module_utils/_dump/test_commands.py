# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of the dump tools: version detection, hidden password, restore commands quoted for the shell."""

from __future__ import annotations

import re
import shlex
import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database.session import Settings, parse_version
from ansible_collections.waba.onprem.plugins.module_utils._dump import commands as rules

PASSWORD = "Canary:\\\"#'"
MARIADB = rules.Tool("/usr/bin/mariadb-dump", "MariaDB", (11, 8, 9))
MYSQL = rules.Tool("/usr/bin/mysqldump", "MySQL", (8, 0, 36))
FACTS: dict[str, dict[str, t.Any]] = {
    "MariaDB": {"product": "MariaDB", "tls": True, "databases": ["a", "b"]},
    "MySQL": {"product": "MySQL", "tls": True, "databases": ["a", "b"]},
    "PostgreSQL": {"product": "PostgreSQL", "tls": False, "home": "postgres", "databases": ["a", "b"]},
}
PGSQL = rules.Tool("/usr/bin/pg_dump", "PostgreSQL", (17, 12))


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
    new = rules.arguments(MYSQL, settings(), ["a"], {"events", "routines", "triggers"})[0]
    old = rules.arguments(rules.Tool("/x", "MySQL", (5, 7, 44)), settings(), ["a"], ())[0]
    maria = rules.arguments(MARIADB, settings(), ["a"], {"routines"})[0]
    assert "--column-statistics=0" in new
    assert "--set-gtid-purged=OFF" in old
    assert not {"--column-statistics=0"} & {*old, *maria}
    assert "--set-gtid-purged=OFF" not in maria
    assert {"--events", "--routines", "--triggers"} <= set(new)
    assert {"--skip-events", "--skip-routines", "--skip-triggers"} <= set(old)
    assert {"--skip-events", "--routines", "--skip-triggers"} <= set(maria)


def test_a_database_name_is_not_parsed_as_an_option() -> None:
    call = rules.arguments(MARIADB, settings(), ["--all-databases", "b"], ())[0]
    assert call[-4:] == ["--databases", "--", "--all-databases", "b"]


def test_each_database_of_postgresql_has_its_own_call() -> None:
    calls = rules.arguments(PGSQL, settings("PGSQL"), ["a'b", "c"], ())
    assert len(calls) == 2
    assert "dbname='a\\'b'" in calls[0][-1]


@pytest.mark.parametrize("tool", [MARIADB, MYSQL, PGSQL])
def test_the_password_is_in_no_argument(tool: rules.Tool) -> None:
    config = settings("PGSQL" if tool is PGSQL else "MYSQL", ca_cert="/ca.pem")
    printed = (
        rules.arguments(tool, config, ["a"], {"events", "routines", "triggers"}),
        rules.restore_commands("/d.sql.gz", "0", FACTS[tool.product], config),
    )
    assert "Canary" not in str(printed)


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


MADE = b"CREATE DATABASE \"a\" WITH TEMPLATE = template0 ENCODING = 'UTF8'"
NEWEST = (
    MADE
    + b" LOCALE_PROVIDER = libc LOCALE = 'C.UTF-8';\nSET transaction_timeout = 0;\nSET default_table_access_method = heap;\n"
)
HEAP = b"SET default_table_access_method = heap;\n"


@pytest.mark.parametrize(
    ("server", "read"),
    [
        ("17.0", NEWEST),
        ("16.4", MADE + b" LOCALE_PROVIDER = libc LOCALE = 'C.UTF-8';\n" + HEAP),
        ("13.1", MADE + b" LOCALE = 'C.UTF-8';\n" + HEAP),
        ("12.9", MADE + b" LC_COLLATE = 'C.UTF-8' LC_CTYPE = 'C.UTF-8';\n" + HEAP),
        ("11.3", MADE + b" LC_COLLATE = 'C.UTF-8' LC_CTYPE = 'C.UTF-8';\n"),
    ],
)
def test_an_older_server_gets_what_it_can_read(server: str, read: bytes) -> None:
    text = NEWEST
    for found, instead in rules.substitutions(PGSQL, parse_version("PGSQL", server)):
        text = re.sub(found, instead, text, flags=re.MULTILINE)
    assert text == read


def test_a_tool_of_the_servers_version_writes_what_the_server_reads() -> None:
    assert rules.substitutions(rules.Tool("/x", "PostgreSQL", (13, 1)), parse_version("PGSQL", "13.1")) == []
    assert rules.substitutions(MARIADB, parse_version("MYSQL", "10.5.1-MariaDB")) == []


def test_a_header_is_parsed_as_written() -> None:
    facts = {"databases": ["a\nb", "\u00e9"], "tool": "x"}
    line = rules.header(facts)
    assert line.count(b"\n") == 1
    assert rules.parse_header(line) == facts
    for other in (b"", b"-- MariaDB dump\n", b"-- waba.onprem {\n", b"-- waba.onprem []\n", b"\xff\n"):
        assert rules.parse_header(other) is None


def test_restore_commands_are_quoted_for_the_shell() -> None:
    path = "/var/my backups/d'x.sql.zst"
    check, restore = rules.restore_commands(path, "abc", FACTS["MySQL"], settings(ca_cert="/ca"))
    assert shlex.split(check)[:7] == ["echo", f"abc  {path}", "|", "sha256sum", "--check", "&&", "echo"]
    assert shlex.split(check)[7].endswith("and no other: a, b")
    arguments = shlex.split(restore)
    assert arguments[:5] == ["zstd", "--decompress", "--stdout", path, "|"]
    assert arguments[5:7] == ["mysql", "--no-defaults"]  # accepted as the first option only
    assert {"--password", "--ssl-ca=/ca", "--user=wa", "--ssl-mode=VERIFY_IDENTITY"} <= set(arguments)
    pgsql = shlex.split(rules.restore_commands("/d.sql.gz", "abc", FACTS["PostgreSQL"], settings("PGSQL"))[1])
    assert pgsql[5] == "psql"
    assert "dbname=postgres " in pgsql[-1]
