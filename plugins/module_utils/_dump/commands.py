# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the servers' own tools are called for a dump that can be restored by the client's user. Pure rules.

The password is in the text of a file of options (MySQL, MariaDB) or of passwords (PostgreSQL), never among arguments.
"""

from __future__ import annotations

import json
import re
import shlex
import typing as t
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database.session import PGSQL, Settings, Version

HEADER = "-- waba.onprem "
COMPRESSORS = {"zst": ("zstd", "-3"), "gz": ("gzip", "-1")}  # the client stands still meanwhile: fast before small
_MARKS = {"PostgreSQL": b"-- PostgreSQL database dump complete", "MySQL": b"-- Dump completed"}
# What a newer pg_dump sets in the dump and an older server does not know, with the version that brought it.
_SETTINGS = ((17, b"SET transaction_timeout = 0;\n"),)
_LOCK_WAIT = 30


def package(server: Version) -> str:
    """The package that has a tool for this server, by the names of two families of distributions."""
    if server.product == "PostgreSQL":
        newer = f", version {server.numbers[0]} or newer" if server.numbers else ""
        return f"postgresql-client (Debian, Ubuntu) or postgresql (Red Hat){newer}"
    if server.product == "MySQL":
        # Debian has no package of MySQL's own client.
        return "mysql-client (Ubuntu), mysql (Red Hat) or mariadb-client (Debian), whose tool serves MySQL, too"
    return "mariadb-client (Debian, Ubuntu) or mariadb (Red Hat)"


@dataclass(frozen=True)
class Tool:
    """A program that dumps: `product` is whose it is, `numbers` its version."""

    path: str
    product: str
    numbers: tuple[int, ...]

    @property
    def text(self) -> str:
        """The tool as people read it."""
        return f"{self.path} ({self.product} {'.'.join(str(number) for number in self.numbers)})"

    @property
    def mark(self) -> bytes:
        """What its output ends with when it is whole."""
        return _MARKS["PostgreSQL" if self.product == "PostgreSQL" else "MySQL"]


def parse_tool(path: str, output: str) -> Tool | None:
    """The tool at `path` by what it says to `--version`; None when that is not understood."""
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
    """Warnings about this tool for this server; raises WaError when its dump would be none."""
    if tool.product != server.product:
        # Tried: with the options below each understands the other's server, new kinds of objects aside.
        return [f"{tool.text} is used on {server.product} {server.text}: the server's own tool is surer"]
    if tool.numbers[:1] >= server.numbers[:1]:
        return []
    found = f"{tool.text} is older than the server, {server.product} {server.text}"
    if tool.product == "MariaDB":
        return [found]
    raise WaError("database dump", found, "a tool that is not older", f"Install {package(server)}")


def arguments(
    tool: Tool, config: Settings, databases: t.Sequence[str], kinds: t.Collection[str], address: str = ""
) -> list[list[str]]:
    """The calls of the tool, one after the other, without the option that gives it the password.

    `kinds` says which of `events`, `routines` and `triggers` of MySQL are dumped. `address` is where PostgreSQL's server is,
    when that is not what its certificate says.
    """
    if tool.product == "PostgreSQL":
        options = ["--create", "--clean", "--if-exists", "--format=plain", "--no-password", "--encoding=UTF8"]
        options += [f"--lock-wait-timeout={_LOCK_WAIT * 1000}"]
        return [[tool.path, *options, "--dbname=" + conninfo(config, name, address)] for name in databases]
    options = ["--single-transaction", "--quick", "--hex-blob", "--default-character-set=utf8mb4"]
    # The client's user may neither lock tables nor see tablespaces.
    options += ["--skip-lock-tables", "--skip-add-locks", "--no-tablespaces", "--add-drop-database"]
    options += ["--max-allowed-packet=1G", "--comments"]
    options += [f"--{kind}" if kind in kinds else f"--skip-{kind}" for kind in ("events", "routines", "triggers")]
    if tool.product == "MySQL":
        options += ["--set-gtid-purged=OFF"]
        # MariaDB has no such table, and mysqldump 8 fails without it.
        options += ["--column-statistics=0"] if tool.numbers >= (8,) else []
    return [[tool.path, *options, "--databases", "--", *databases]]


def option_file(tool: Tool, config: Settings, tls: bool) -> str:
    """The file that tells a tool of MySQL or MariaDB how to connect; `tls` is whether our own connection has it."""
    lines = ["[client]", "protocol=TCP", f"port={config.port}"]
    values = {"host": config.host, "user": config.user, "password": config.password}
    named = config.host == (config.server_name or config.host)
    if config.ca_cert:
        values["ssl-ca"] = config.ca_cert
    if config.client_cert:
        values["ssl-cert"] = config.client_cert
        values["ssl-key"] = config.client_key or config.client_cert
    for key, value in values.items():
        if "\n" in value or "\0" in value:
            raise WaError(f"database dump: {key}", "holds a line's end", "one line")
        lines.append(f'{key}="' + value.replace("\\", "\\\\").replace('"', '\\"') + '"')
    if tool.product == "MariaDB":
        # Before 11.4 it speaks TLS only when told to. Without the check the authority still counts, the name does not.
        lines.append("ssl" if tls else "skip-ssl")
        lines.append(("" if config.ca_cert and named else "skip-") + "ssl-verify-server-cert")
    elif config.ca_cert:
        lines.append("ssl-mode=" + ("VERIFY_IDENTITY" if named else "VERIFY_CA"))
    else:
        lines.append("ssl-mode=" + ("REQUIRED" if tls else "PREFERRED"))
        lines.append("loose-get-server-public-key")
    return "\n".join(lines) + "\n"


def password_file(config: Settings) -> str:
    """The file that tells PostgreSQL's tools the password."""
    if "\n" in config.password or "\0" in config.password:
        raise WaError("database dump: password", "holds a line's end", "one line")
    return "*:*:*:*:" + config.password.replace("\\", "\\\\").replace(":", "\\:") + "\n"


def conninfo(config: Settings, database: str, address: str = "") -> str:
    """How PostgreSQL's tools connect, without the password."""
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


def unknown_settings(tool: Tool, server: Version) -> list[bytes]:
    """Lines of the dump's head that the server would refuse."""
    if tool.product != "PostgreSQL":
        return []
    return [line for since, line in _SETTINGS if server.numbers[:1] < (since,) <= tool.numbers[:1]]


def header(facts: t.Mapping[str, t.Any]) -> bytes:
    """The dump's first line: a comment for the server, what a later run needs to know for us."""
    return (HEADER + json.dumps(dict(facts), sort_keys=True) + "\n").encode()


def parse_header(line: bytes) -> dict[str, t.Any] | None:
    """What `header` wrote; None when the line is another."""
    text = line.decode(errors="replace")
    if not text.startswith(HEADER):
        return None
    try:
        found = json.loads(text[len(HEADER) :])
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def restore_commands(
    path: str, sha256: str, facts: t.Mapping[str, t.Any], config: Settings, address: str = ""
) -> list[str]:
    """Shell commands that check the dump and put it in the place of what the databases hold; they ask for the password.

    `facts` are the header's: whose tool made it, whether with TLS, and a database of PostgreSQL that is none of them.
    """
    unpack = shlex.join([COMPRESSORS[path.rpartition(".")[2]][0], "--decompress", "--stdout", path])
    if config.engine == PGSQL:
        options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null"]
        client = ["psql", *options, "--dbname=" + conninfo(config, facts["home"], address)]
    else:
        client = _mysql_client(facts["product"] == "MariaDB", bool(facts["tls"]), config)
    notice = f"The next command drops these databases and makes them as they were, and no other: {', '.join(facts['databases'])}"
    return [
        f"echo {shlex.quote(f'{sha256}  {path}')} | sha256sum --check && echo {shlex.quote(notice)}",
        f"{unpack} | {shlex.join(client)}",
    ]


def _mysql_client(mariadb: bool, tls: bool, config: Settings) -> list[str]:
    # Not with what a my.cnf says, such as to go on after an error.
    client = ["mariadb" if mariadb else "mysql", "--no-defaults", "--protocol=TCP"]
    client += [
        f"--host={config.host}",
        f"--port={config.port}",
        f"--user={config.user}",
        "--password",
        "--max-allowed-packet=1G",
    ]
    files = {"ssl-ca": config.ca_cert, "ssl-cert": config.client_cert, "ssl-key": config.client_key}
    client += [f"--{option}={value}" for option, value in files.items() if value]
    named = bool(config.ca_cert) and config.host == (config.server_name or config.host)
    if not mariadb:
        mode = ("VERIFY_IDENTITY" if named else "VERIFY_CA") if config.ca_cert else "REQUIRED" if tls else "PREFERRED"
        return [*client, f"--ssl-mode={mode}"]
    return [*client, "--ssl" if tls else "--skip-ssl", f"--{'' if named else 'skip-'}ssl-verify-server-cert"]
