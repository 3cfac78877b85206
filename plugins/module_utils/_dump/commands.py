# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the calls of the servers' dump tools, for a dump that the client's user can restore. Pure rules.

The password is in the text of an option file (MySQL, MariaDB) or password file (PostgreSQL), never in arguments.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database.session import Settings, Version

COMPRESSORS = {
    "zst": ("zstd", "-3", "-T0"),  # on all cores
    "gz": (),  # no program
}
_MARKS = {"PostgreSQL": b"-- PostgreSQL database dump complete", "MySQL": b"-- Dump completed"}
# What a newer pg_dump writes and servers before a version do not know, as a pattern, and what these read instead (the release notes
# of PostgreSQL 17 and 12).
_OLDER = (
    (17, rb"^SET transaction_timeout = 0;\n", b""),
    (12, rb"^SET default_table_access_method = heap;\n", b""),
)
_NO_TABLES = ("--no-data", "--no-create-info")
_SURER = ": the server's own tool is surer"
_LOCK_WAIT = 30


def package(server: Version) -> str:
    """Returns the packages with a tool for this server, in Debian's and Red Hat's names."""
    if server.product == "PostgreSQL":
        newer = f", version {server.numbers[0]} or newer" if server.numbers else ""
        return f"postgresql-client (Debian, Ubuntu) or postgresql (Red Hat){newer}"
    if server.product == "MySQL":
        # Debian has no package of MySQL's own client.
        return "mysql-client (Ubuntu), mysql (Red Hat) or mariadb-client (Debian), whose tool serves MySQL, too"
    return "mariadb-client (Debian, Ubuntu) or mariadb (Red Hat)"


@dataclass(frozen=True)
class Tool:
    """A dump tool: `product` is its server product, `numbers` its version."""

    path: str
    product: str
    numbers: tuple[int, ...]

    @property
    def text(self) -> str:
        """Returns product and version as text."""
        return f"{self.path} ({self.product} {'.'.join(str(number) for number in self.numbers)})"

    @property
    def separators(self) -> tuple[bytes, ...]:
        """Returns what stands between two rows in the output; now and then it is in a row, too."""
        return (b"\n",) if self.product == "PostgreSQL" else (b"),(", b"),\n(")

    @property
    def mark(self) -> bytes:
        """Returns the end of the output of a complete dump."""
        return _MARKS["PostgreSQL" if self.product == "PostgreSQL" else "MySQL"]


class Table(t.NamedTuple):
    """A table by its name as the tool takes it. `rows` are by the server's statistics; 0 where it has none."""

    database: str
    name: str
    bytes: int
    rows: int


@dataclass(frozen=True)
class Source:
    """What is dumped of the client's databases.

    `left` are by database the tool's options that leave out what belongs to somebody else, `named` says what that is. `kinds` are
    those of MySQL's events, routines and triggers that the client's user may read, and make again; `views` those that it may.
    """

    version: Version
    databases: list[str]
    size: int
    tls: bool = False
    kinds: frozenset[str] = frozenset()
    views: t.Mapping[str, list[str]] = field(default_factory=dict)
    left: t.Mapping[str, list[str]] = field(default_factory=dict)
    named: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()


def parse_tool(path: str, output: str) -> Tool | None:
    """Returns the tool at `path` from its output of `--version`; None if it is unknown."""
    match = (
        re.search(r"\(PostgreSQL\) (\d[\d.]*)", output)
        or re.search(r"(?:Distrib|from) (\d[\d.]*)", output)
        or re.search(r"Ver (\d[\d.]*)", output)
    )
    if not match:
        return None
    product = "PostgreSQL" if "(PostgreSQL)" in output else "MariaDB" if "MariaDB" in output else "MySQL"
    return Tool(path, product, tuple(int(number) for number in match.group(1).strip(".").split(".")))


def check(tool: Tool, server: Version) -> list[str]:
    """Returns warnings about this tool for this server. Raises WaError if it cannot dump this server."""
    if tool.product != server.product:
        # Tested: with the options below each tool works with the other's server, except for new types of objects.
        return [f"{tool.text} is used on {server.product} {server.text}{_SURER}"]
    if tool.numbers[:1] >= server.numbers[:1]:
        return []
    found = f"{tool.text} is older than the server, {server.product} {server.text}"
    if tool.product == "MariaDB":
        return [found + _SURER]
    raise WaError("database dump", found, "a tool that is not older", f"Install {package(server)}")


class Section(t.NamedTuple):
    """A part of the dump: of which database, what of it, and the call of the tool that writes it."""

    database: str
    part: str  # of MySQL `tables`, then what depends on them; `all` of PostgreSQL
    argv: list[str]


def sections(tool: Tool, config: Settings, source: Source, address: str = "") -> list[Section]:
    """Returns the parts of the dump in their order, each with its call without the option for the password.

    What the client's user could not make again is left out. `address` is PostgreSQL's address if its certificate has another name.
    """
    found = []
    for name in source.databases:
        left = source.left.get(name, ())
        if tool.product == "PostgreSQL":
            options = ["--no-owner", "--no-privileges", "--no-comments", "--no-publications", "--no-subscriptions"]
            options += [
                "--format=plain",
                "--no-password",
                "--encoding=UTF8",
                f"--lock-wait-timeout={_LOCK_WAIT * 1000}",
            ]
            argv = [tool.path, *options, *left, "--dbname=" + conninfo(config, name, address)]
            found.append(Section(name, "all", argv))
            continue
        # What stands in the database beside its tables is made after these are in their place. Routines first: views may call them.
        views = source.views.get(name, [])
        found.append(
            Section(
                name, "tables", _mysql_call(tool, name, (), [*left, *(f"--ignore-table={name}.{one}" for one in views)])
            )
        )
        found.append(Section(name, "routines", _mysql_call(tool, name, {"routines"} & source.kinds, _NO_TABLES)))
        if views:
            found.append(Section(name, "views", [*_mysql_call(tool, name, (), ["--no-data"]), *views]))
        found.append(
            Section(name, "triggers", _mysql_call(tool, name, {"events", "triggers"} & source.kinds, _NO_TABLES))
        )
    return found


def without_rows(tool: Tool, section: Section) -> list[str]:
    """Returns the call of a section that writes no rows."""
    option = "--schema-only" if tool.product == "PostgreSQL" else "--no-data"
    return [section.argv[0], option, *section.argv[1:]]


def rows_of(tool: Tool, found: t.Sequence[Section], table: Table) -> list[str]:
    """Returns the call that writes the rows of one table, made from that of its section."""
    path, *more = next(one.argv for one in found if one.database == table.database)
    if tool.product == "PostgreSQL":
        return [path, "--data-only", f"--table={table.name}", *more]
    return [path, "--no-create-info", *more, table.name]


def _mysql_call(tool: Tool, database: str, kinds: t.Collection[str], more: t.Sequence[str]) -> list[str]:
    options = ["--single-transaction", "--quick", "--hex-blob", "--default-character-set=utf8mb4"]
    # The client's user may neither lock tables nor read tablespaces.
    options += ["--skip-lock-tables", "--skip-add-locks", "--no-tablespaces", "--max-allowed-packet=1G", "--comments"]
    options += [f"--{kind}" if kind in kinds else f"--skip-{kind}" for kind in ("events", "routines", "triggers")]
    if tool.product == "MySQL":
        options += ["--set-gtid-purged=OFF"]
        # MariaDB has no such table, and mysqldump 8 fails without it.
        options += ["--column-statistics=0"] if tool.numbers >= (8,) else []
    return [tool.path, *options, *more, "--", database]


def _connection(mariadb: bool, config: Settings, tls: bool) -> dict[str, str | None]:
    """Returns the options with which a program of MySQL or MariaDB connects, but the password; None for one without a value.

    `tls` is whether our connection uses TLS, which MariaDB before 11.4 does not by default.
    """
    named = config.host == (config.server_name or config.host)  # otherwise the CA is still verified
    found: dict[str, str | None] = {"protocol": "TCP", "host": config.host, "user": config.user}
    found["port"] = str(config.port)
    if config.ca_cert:
        found["ssl-ca"] = config.ca_cert
    if config.client_cert:
        found.update({"ssl-cert": config.client_cert, "ssl-key": config.client_key or config.client_cert})
    if mariadb:
        found["ssl" if tls else "skip-ssl"] = None
        found[("" if config.ca_cert and named else "skip-") + "ssl-verify-server-cert"] = None
    elif config.ca_cert:
        found["ssl-mode"] = "VERIFY_IDENTITY" if named else "VERIFY_CA"
    else:
        found["ssl-mode"] = "REQUIRED" if tls else "PREFERRED"
        found["loose-get-server-public-key"] = None
    return found


def option_file(tool: Tool, config: Settings, tls: bool) -> str:
    """Returns the option file of a MySQL or MariaDB tool for the connection; `tls` is whether our connection uses TLS."""
    lines = ["[client]"]
    for key, value in {"password": config.password, **_connection(tool.product == "MariaDB", config, tls)}.items():
        if value is None:
            lines.append(key)
            continue
        if "\n" in value or "\0" in value:
            raise WaError(f"database dump: {key}", "holds a line's end", "one line")
        lines.append(f'{key}="' + value.replace("\\", "\\\\").replace('"', '\\"') + '"')
    return "\n".join(lines) + "\n"


def password_file(config: Settings) -> str:
    """Returns the password file of PostgreSQL's tools."""
    if "\n" in config.password or "\0" in config.password:
        raise WaError("database dump: password", "holds a line's end", "one line")
    return "*:*:*:*:" + config.password.replace("\\", "\\\\").replace(":", "\\:") + "\n"


def conninfo(config: Settings, database: str, address: str = "") -> str:
    """Returns the connection string of PostgreSQL's tools, without the password."""
    values = {
        "host": config.server_name or config.host if address else config.host,
        "hostaddr": address,
        "port": str(config.port),
        "user": config.user,
        "dbname": database,
        "connect_timeout": str(max(2, round(config.connect_timeout))),
        "sslmode": "verify-full" if config.ca_cert else "prefer",
        "sslrootcert": config.ca_cert or "",
        "sslcert": config.client_cert or "",
        "sslkey": config.client_key or "",
    }
    return " ".join(f"{key}={_conninfo_value(value)}" for key, value in values.items() if value)


def _conninfo_value(value: str) -> str:
    if not re.search(r"[\s'\\]", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def substitutions(tool: Tool, server: Version) -> list[tuple[bytes, bytes]]:
    """Returns the patterns of what the server would refuse before the dump's first row, each with what stands there instead."""
    if tool.product != "PostgreSQL":
        return []
    return [(found, instead) for since, found, instead in _OLDER if server.numbers[:1] < (since,) <= tool.numbers[:1]]


def client(tool: Tool, config: Settings, database: str, address: str = "") -> list[str]:
    """Returns the call of the server's client that reads a section, without the option for the password.

    It ends at the first error. A transaction is begun and committed by what it reads: at an early end of that psql itself would commit.
    """
    if tool.product == "PostgreSQL":
        options = [
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--set=VERBOSITY=terse",  # the details of an error may be rows
            "--output=/dev/null",
            "--no-password",
        ]
        return [tool.path, *options, "--file=-", "--dbname=" + conninfo(config, database, address)]
    # Each section says itself in which character set it is. As UTF-8 the client would look at each character, which takes a quarter
    # more CPU, and as binary MySQL's client does not know DELIMITER.
    bytewise = "latin1" if database.isascii() else "utf8mb4"
    return [tool.path, "--max-allowed-packet=1G", f"--default-character-set={bytewise}", "--database", database]
