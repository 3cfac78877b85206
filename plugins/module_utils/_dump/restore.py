# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts a dump back in the place of what the client's databases hold. Nothing present is gone before the copy is compared.

PostgreSQL: one transaction a database drops what is the client's user's, loads the copy, compares and commits. MySQL and MariaDB,
which have no such transaction: the copy is loaded beside the database, compared, and takes its place in one statement, which leaves the
present tables aside.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import shutil
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import check as database_check
from ansible_collections.waba.onprem.plugins.module_utils._database import connection, content, messages
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import (
    ASIDE,
    MYSQL,
    DatabaseError,
    Session,
    Settings,
    Version,
    quote,
)
from ansible_collections.waba.onprem.plugins.module_utils._database.session import parse_version
from ansible_collections.waba.onprem.plugins.module_utils._dump import commands as rules
from ansible_collections.waba.onprem.plugins.module_utils._dump import load, manifest, tools

if t.TYPE_CHECKING:
    from collections.abc import Callable

_COUNT_TIMEOUT = 120.0  # seconds for the rows of `messages`
_GONE = 60.0  # seconds
_LOCK_TIMEOUT = 60.0  # seconds for which a change of the tables waits for somebody who reads them
_IN, _OUT = ASIDE
_MARKER = "__waba_"  # begins the name of a table that is there from before the swap until a restore is complete
_OWN_RELATION = (
    f"{content.OWN_SCHEMA} AND {content.OWN.format(owner='c.relowner')}"
    f" AND {content.NO_EXTENSION.format(catalog='pg_class', oid='c.oid')}"
)
_RELATIONS = (
    "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ({kinds}) AND " + _OWN_RELATION
)
# A statement for each object that the client's user owns, and one for all tables, which may refer to each other.
_DROPS = f"""
  SELECT format('DROP VIEW IF EXISTS %I.%I', n.nspname, c.relname) {_RELATIONS.format(kinds="'v'")}
  UNION ALL SELECT format('DROP MATERIALIZED VIEW IF EXISTS %I.%I', n.nspname, c.relname) {_RELATIONS.format(kinds="'m'")}
  UNION ALL SELECT format('DROP FOREIGN TABLE IF EXISTS %I.%I', n.nspname, c.relname) {_RELATIONS.format(kinds="'f'")}
  UNION ALL SELECT 'DROP TABLE IF EXISTS ' || string_agg(format('%I.%I', n.nspname, c.relname), ', ')
    {_RELATIONS.format(kinds="'r', 'p'")} AND c.relpersistence <> 't' HAVING count(*) > 0
  UNION ALL SELECT format('DROP SEQUENCE IF EXISTS %I.%I', n.nspname, c.relname) {_RELATIONS.format(kinds="'S'")}
  UNION ALL SELECT 'DROP ROUTINE IF EXISTS ' || p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE {content.OWN_SCHEMA} AND {content.OWN.format(owner="p.proowner")}
    AND {content.NO_EXTENSION.format(catalog="pg_proc", oid="p.oid")}
  UNION ALL SELECT format('DROP EXTENSION IF EXISTS %I', extname) FROM pg_extension e WHERE {content.OWN_EXTENSION}
  UNION ALL SELECT format('DROP %s IF EXISTS %I.%I', CASE y.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, n.nspname, y.typname)
    FROM pg_type y JOIN pg_namespace n ON n.oid = y.typnamespace LEFT JOIN pg_class c ON c.oid = y.typrelid
    WHERE {content.OWN_SCHEMA} AND {content.OWN.format(owner="y.typowner")} AND (y.typtype IN ('d', 'e', 'r') OR c.relkind = 'c')
    AND {content.NO_EXTENSION.format(catalog="pg_type", oid="y.oid")}
  UNION ALL SELECT format('DROP EVENT TRIGGER IF EXISTS %I', evtname) FROM pg_event_trigger t
    WHERE {content.OWN.format(owner="evtowner")} AND {content.NO_EXTENSION.format(catalog="pg_event_trigger", oid="t.oid")}
  UNION ALL SELECT format('DROP SCHEMA IF EXISTS %I', n.nspname) FROM pg_namespace n
    WHERE {content.USERS_SCHEMA} AND n.nspname <> 'public' AND {content.OWN.format(owner="n.nspowner")}
    AND {content.NO_EXTENSION.format(catalog="pg_namespace", oid="n.oid")}
"""
# Never with CASCADE, which would drop what somebody else has made depend on it: that is an error, which ends the transaction. What depends
# on one another is dropped in rounds.
_DROP_OWN = f"""
BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL statement_timeout = 0;
SET LOCAL lock_timeout = '{round(_LOCK_TIMEOUT)}s';
DO $waba$
DECLARE one text; stuck boolean;
BEGIN
  PERFORM lo_unlink(oid) FROM pg_largeobject_metadata WHERE {content.OWN.format(owner="lomowner")};
  LOOP
    stuck := true;
    FOR one IN {_DROPS} LOOP
      BEGIN
        EXECUTE one;
        stuck := false;
      EXCEPTION WHEN dependent_objects_still_exist THEN
        NULL;
      END;
    END LOOP;
    EXIT WHEN stuck;
  END LOOP;
  FOR one IN {_DROPS} LOOP EXECUTE one; END LOOP;
END $waba$;
"""


def compare(expected: t.Mapping[str, t.Any]) -> str:
    """Returns the statement of PostgreSQL that fails unless the database holds what the manifest says of it."""
    checks = [
        f"SELECT count(*) INTO found FROM {'.'.join(_name(part) for part in table.split('.', 1))};"
        f" IF found <> {rows} THEN RAISE EXCEPTION 'table % has % rows, expected {rows}', {_text(table)}, found; END IF;"
        for table, rows in sorted(expected["tables"].items())
    ]
    return "\n".join(
        [
            "RESET search_path;",
            "DO $waba$ DECLARE found bigint; digest text; BEGIN",
            *checks,
            f"SELECT count(*) INTO found FROM {content.TABLES} AND NOT c.relispartition;",
            f"IF found <> {len(checks)} THEN RAISE EXCEPTION '% tables, expected {len(checks)}', found; END IF;",
            f"digest := ({content.PGSQL_DEFINITIONS});",
            f"IF digest <> {_text(expected['definitions'])} THEN RAISE EXCEPTION 'other columns than in the copy'; END IF;",
            "END $waba$;",
        ]
    )


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def check_rights(session: Session, names: t.Sequence[str]) -> None:
    """Raises WaError unless the user may load a copy of the databases `names` beside them, and swap both. Nothing is made.

    On PostgreSQL, where nothing is loaded beside, what is in the way is found when the databases are inspected for a dump.
    """
    if session.engine != MYSQL:
        return
    lacking = {
        name + aside: database_check.missing_mysql(session, name + aside) for name in names for aside in ("", *ASIDE)
    }
    lacking = {name: privileges for name, privileges in lacking.items() if privileges}
    if not lacking:
        return
    user, _at, host = str(session.value("SELECT CURRENT_USER()")).rpartition("@")
    grants = "; ".join(
        f"GRANT ALL ON {_pattern(name)}.* TO '{user}'@'{host}'"
        for name in names
        if any(name + aside in lacking for aside in ASIDE)
    )
    raise WaError(
        session.settings.subject,
        f"user {session.settings.user} lacks {', '.join(dict.fromkeys(itertools.chain(*lacking.values())))} on {', '.join(lacking)}",
        "the rights to load a copy beside its databases, without which none can be restored",
        (f"Have the administrator run: {grants}; or name" if grants else "Name")
        + " another user who has them (wa_restore_login_user, wa_restore_login_password)",
    )


def statements(engine: str, user: str, names: t.Sequence[str]) -> str:
    """Returns what the administrator of a new server runs before a restore of the databases `names`."""
    if engine != MYSQL:
        made = [f"CREATE DATABASE {_name(name)} OWNER {_name(user)}" for name in names]
        return "; ".join([f"CREATE ROLE {_name(user)} LOGIN PASSWORD 'PASSWORD'", *made])
    account = f"{_text(user)}@'%'"
    granted = [f"GRANT ALL ON {one}.* TO {account}" for name in names for one in (_exactly(name), _pattern(name))]
    return "; ".join([f"CREATE USER {account} IDENTIFIED BY 'PASSWORD'", *granted])


def check_longest(session: Session, found: t.Mapping[str, t.Any]) -> None:
    """Raises WaError if the server takes no statement as long as the `longest` one of the copy: bytes are written with twice as many."""
    if session.engine != MYSQL:
        return
    longest, most = int(found["longest"]), int(session.value("SELECT @@global.max_allowed_packet"))
    if longest >= most:
        raise WaError(
            session.settings.subject,
            f"max_allowed_packet is {most}",
            f"more than {longest}, the bytes of the longest statement of the copy, without which it cannot be restored",
            "Have the administrator raise it, in the server's configuration, too",
        )


def _pattern(name: str) -> str:
    """Returns the pattern of the databases beside a database, as a grant has it; % and _ in its name stand for themselves."""
    return _exactly(name)[:-1] + r"\_\_waba%`"


def _exactly(name: str) -> str:
    """Returns a database as a grant has it."""
    return quote(MYSQL, re.sub(r"([%_])", r"\\\1", name)).replace("%%", "%")


def differences(expected: t.Mapping[str, t.Any], found: content.Content) -> list[str]:
    """Returns where a database differs from what the manifest says of it."""
    tables = expected["tables"]
    lines = [
        f"{name} has {found.tables.get(name, 'no')} rows, expected {rows}"
        for name, rows in sorted(tables.items())
        if found.tables.get(name) != rows
    ]
    lines += [f"{name} is not in the copy" for name in sorted(set(found.tables) - set(tables))]
    if not lines and found.definitions != expected["definitions"]:
        lines = ["its columns are defined otherwise"]
    return lines


def wrong_server(found: t.Mapping[str, t.Any], version: Version) -> str:
    """Returns what server a copy needs where one of this `version` would be no proof for it; empty if it is one."""
    copied = parse_version(found["engine"], found["server"])
    series = 1 if version.product == "PostgreSQL" else 2  # of 10.11 and 8.4 both numbers
    if version.product == found["product"] and version.numbers[:series] >= copied.numbers[:series]:
        return ""
    return f"{found['product']} {'.'.join(map(str, copied.numbers[:series]))} or newer, as the server of the copy"


class Restore:
    """The restore of one dump by its manifest at `path`."""

    def __init__(
        self,
        config: Settings,
        path: str,
        found: manifest.Manifest,
        timeout: float,
        renew: Callable[[], None],
        run: Callable[[list[str]], str],
        owner: str,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        """`timeout` is in seconds, `renew` is called every few, `run` returns the output of a command, `owner` is the client's user.

        `guard` raises WaError if somebody uses the databases.
        """
        self.config, self.path, self.manifest, self.owner, self._guard = config, path, found, owner, guard
        self.touched = False  # whether something of the present content may have been replaced
        self.timeout, self.renew, self._run = timeout, renew, run
        self.dump = manifest.dump_path(path, found)
        self.names: list[str] = list(found["databases"])

    def check(self) -> None:
        """Raises WaError for what would stop the restore. Nothing is made."""
        try:
            opened = connection.connect(self.config, read_only=False)
        except DatabaseError as error:
            if error.kind != "login":
                raise
            new = statements(self.config.engine, self.config.user, self.names)
            raise WaError.of(f"{str(error).rstrip('.')}. On a new server its administrator runs: {new}") from None
        with opened as session:
            self._inspect(session)
            if session.is_read_only():
                raise WaError(
                    self.config.subject, "it takes no writes", "a server that does", "Point db.env at the primary"
                )
            if self.config.engine != MYSQL:
                self._check_pgsql(session)
                return
            former = _former(session, self.names)
            begun = _markers(session, self.names)
            if former and begun and self._marker not in begun:
                raise _cut_off(self.config)
            if former and not begun:
                raise WaError(
                    self.config.subject,
                    f"{', '.join(former)} hold what was there before an earlier restore",
                    "none",
                    "Remove them with -e wa_restore_remove_former=true, which removes nothing else. If that restore was cut off after it had "
                    "unlocked the deployment, run provision.yml",
                )
            check_rights(session, self.names)

    def _check_pgsql(self, session: Session) -> None:
        there = connection.databases(session, "")
        missing = [name for name in self.names if name not in there]
        if missing:
            made = statements(self.config.engine, self.config.user, missing).partition("; ")[2]
            cure = f"Have its administrator run: {made}"
            raise WaError(self.config.subject, f"no database {', '.join(missing)}", "the databases of the copy", cure)
        if self.config.user != self.owner:  # whose tables they would be
            raise WaError(
                "wa_restore_login_user", self.config.user, f"none on PostgreSQL: {self.owner} may restore what it owns"
            )

    def messages(self) -> dict[str, int | None]:
        """Returns how many rows the tables `messages` have `now`, None if they cannot be counted, and how many in the `copy`."""
        tables = {
            (name, table): rows
            for name, one in self.manifest["databases"].items()
            for table, rows in one["tables"].items()
            if table.rpartition(".")[2] == messages.NAME
        }
        found: dict[str, int | None] = {"now": None, "copy": sum(tables.values())}
        try:
            now = 0
            for name, table in tables:
                with connection.connect(self.config, name, statement_timeout=_COUNT_TIMEOUT) as session:
                    quoted = ".".join(quote(session.engine, part) for part in table.split("."))
                    now += int(session.value(f"SELECT count(*) FROM {quoted}"))
        except DatabaseError as error:
            if error.kind not in ("missing", "timeout", "lock", "denied", "other"):
                raise
            return found
        return {**found, "now": now}

    def run(self) -> None:
        """Puts the copy in its place. May be called again after it was cut off. Raises WaError."""
        self._guard()
        if self.config.engine == MYSQL:
            self._run_mysql()
            return
        address = tools.address(self.config)
        calls = {}
        for number, (database, _part) in enumerate(self.manifest["sections"]):
            after = "\n" + compare(self.manifest["databases"][database]) + "\nCOMMIT;\n"
            argv = rules.client(self.tool, self.config, database, address)
            calls[number] = load.Call(argv, _DROP_OWN.encode(), after.encode(), self._touch)
        self._load(calls)
        self._guard()  # what was started meanwhile has read what is gone

    def _touch(self) -> None:
        self.touched = True

    def _load(self, calls: t.Mapping[int, load.Call], keep: t.Collection[int] = ()) -> dict[int, bytes]:
        return self._loading().read(calls, self._secret, keep)

    def _loading(self) -> load.Load:
        self._answered_at = time.monotonic()
        return load.Load(self.dump, self.manifest["mark"], self.timeout, self._watch)

    def _watch(self) -> None:
        """Renews the lock. Raises DatabaseError where the server has not answered for `_GONE`: its client may wait for it for ever."""
        self.renew()
        try:
            with connection.connect(self.config):
                self._answered_at = time.monotonic()
        except DatabaseError:
            if time.monotonic() - self._answered_at > _GONE:
                raise

    def _secret(self) -> t.ContextManager[tuple[list[str], dict[str, t.Any]]]:
        return tools.secret(self.tool, self.config, self.tls)

    # MySQL and MariaDB

    def _connect(self) -> Session:
        return connection.connect(
            self.config, read_only=False, statement_timeout=self.timeout, lock_timeout=_LOCK_TIMEOUT
        )

    @property
    def _marker(self) -> str:
        """Returns the name of a table beside those of the copy, which goes aside with the present ones as the last of all.

        Where it is, the load is complete. It is there until the restore is.
        """
        return _MARKER + str(self.manifest["mark"])

    def _run_mysql(self) -> None:
        numbered = dict(enumerate(self.manifest["sections"]))
        # What is not a table is made when the tables are in their place.
        tables = {number: self._call(name + _IN) for number, (name, part) in numbered.items() if part == "tables"}
        others = {number: self._call(name) for number, (name, _part) in numbered.items() if number not in tables}
        with self._connect() as session:
            begun = self._marker in _markers(session, self.names)
            swapped = self._marker in _tables(session, self.names[0] + _OUT)
            self.touched = begun
        try:
            if not begun:
                with self._connect() as session:
                    self._drop_incoming(session)
                    for name in self.names:
                        session.rows(f"CREATE DATABASE IF NOT EXISTS {quote(MYSQL, name + _IN)}")
                kept = self._load(tables, others)
                self._compare([name + _IN for name in self.names])
                self._guard()  # the load may have taken hours
            if not swapped:
                with self._connect() as session:
                    self._swap(session)
        except BaseException:
            if not self.touched:
                # A server that is gone says less of why than the error does; the next run drops them first.
                with contextlib.suppress(DatabaseError), self._connect() as session:
                    self._drop_incoming(session)
            raise
        if begun:
            kept = self._load({}, others)
            if not swapped:  # a client that was started since has changed them
                self._compare(self.names)
        with self._connect() as session:
            for name in self.names:
                _drop_dependents(session, name, self.owner)
        self._loading().give(others, kept, self._secret)
        with self._connect() as session:
            self._drop_incoming(session)
        self._guard()  # what was started meanwhile has read what is gone

    def _drop_incoming(self, session: Session) -> None:
        for name in self.names:
            session.rows(f"DROP DATABASE IF EXISTS {quote(MYSQL, name + _IN)}")

    def complete(self) -> None:
        """Notes that nothing is left to be done: what is aside is from now on that of an earlier restore."""
        if self.config.engine == MYSQL:
            with self._connect() as session:
                session.rows(f"DROP TABLE IF EXISTS {_qualified(self.names[0] + _OUT, self._marker)}")

    def _call(self, database: str) -> load.Call:
        return load.Call(rules.client(self.tool, self.config, database))

    def _swap(self, session: Session) -> None:
        """Puts the tables of all databases aside, and those of the copy in their place, in one statement.

        A server that does not rename all at once (MariaDB before 10.6) may have died in its middle: what is left of it is done.
        """
        first = self.names[0]
        session.rows(f"CREATE TABLE IF NOT EXISTS {_qualified(first + _IN, self._marker)} (id INT PRIMARY KEY)")
        moves = []
        self.touched = True
        for name in self.names:
            for database in (name, name + _OUT):
                session.rows(f"CREATE DATABASE IF NOT EXISTS {quote(MYSQL, database)}")
            # A table with a trigger cannot change its database (error 1435).
            for (trigger,) in session.rows(
                "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = %s", (name,)
            ):
                session.rows(f"DROP TRIGGER {_qualified(name, trigger)}")
            incoming = [one for one in _tables(session, name + _IN) if one != self._marker]
            moves += unmoved(name, self.manifest["databases"][name]["tables"], _tables(session, name), incoming)
        self._refuse_unreadable(session, moves)
        moves.append((first + _IN, self._marker, first + _OUT))
        renamed = ", ".join(f"{_qualified(at, table)} TO {_qualified(to, table)}" for at, table, to in moves)
        try:
            session.rows(f"RENAME TABLE {renamed}")
        except DatabaseError as error:
            if "(1435)" not in error.found:
                raise
            cure = f"Have the administrator drop it, or GRANT TRIGGER ON {', '.join(self.names)}, and run restore.yml again"
            found = "a table has a trigger that the user may not see"  # MySQL shows it only with that privilege
            raise WaError(self.config.subject, found, "none of another account's", cure) from None

    def _refuse_unreadable(self, session: Session, moves: t.Sequence[tuple[str, str, str]]) -> None:
        """Raises WaError for a table that has lost its file to the folder where it was about to be (seen on MariaDB 10.5)."""
        for at, table, to in moves:
            try:
                session.rows(f"SELECT 1 FROM {_qualified(at, table)} LIMIT 0")
            except DatabaseError as error:
                if error.retryable:
                    raise
                raise WaError(
                    self.config.subject,
                    f"the table {table} of {at} cannot be read ({error.found})",
                    "all tables",
                    f"Where the server died while it renamed this table, its file is in the folder of {to}: have the administrator stop the "
                    f"server, move {table}.ibd from there back into the folder of {at}, and start it. Then run restore.yml again. Remove nothing",
                ) from None

    # The drill

    def drill(self) -> None:
        """Restores into a server that has no databases of these names, compares, and removes them. Raises WaError."""
        with self._connect() as session:
            self._inspect(session)
            wrong = wrong_server(self.manifest, session.version())
            if wrong:
                raise WaError(
                    f"drill on {self.config.subject}", "{0.product} {0.text}".format(session.version()), wrong
                )
            there = sorted({*connection.databases(session, "")} & {*self.names})
            if there:
                raise WaError(
                    f"drill on {self.config.subject}",
                    f"it has {', '.join(there)}",
                    "a server for drills, without these databases",
                    "Nothing was changed there. Remove what an earlier drill has left, or name another server",
                )
        encoding = "" if self.config.engine == MYSQL else " TEMPLATE template0 ENCODING 'UTF8'"
        made: list[str] = []
        try:
            with self._connect() as session:
                for name in self.names:
                    session.rows(f"CREATE DATABASE {quote(self.config.engine, name)}{encoding}")
                    made.append(name)
            address = tools.address(self.config)
            self._load(
                {
                    number: load.Call(rules.client(self.tool, self.config, name, address))
                    for number, (name, _part) in enumerate(self.manifest["sections"])
                }
            )
            self._compare(self.names)
        except BaseException:
            with contextlib.suppress(DatabaseError):  # the first failure says more
                self._drop(made)
            raise
        self._drop(made)

    def _drop(self, names: t.Sequence[str]) -> None:
        with self._connect() as session:
            for name in names:
                session.rows(f"DROP DATABASE IF EXISTS {quote(self.config.engine, name)}")

    def _inspect(self, session: Session) -> None:
        """Finds the client of the server of `session`. Raises WaError, also if the server is another engine's."""
        if self.config.engine != self.manifest["engine"]:
            raise WaError(f"manifest {self.path}", f"of {self.manifest['engine']}", self.config.engine)
        self.tool = tools.find_client(session.version(), self._run)
        command = rules.COMPRESSORS.get(self.dump.rpartition(".")[2], ("its program",))
        if command and not shutil.which(command[0]):
            raise WaError(
                f"dump {self.dump}",
                f"{command[0]} is not on this host",
                "the program that unpacks it",
                f"Install {command[0]}",
            )
        self.tls = self.config.engine == MYSQL and session.is_encrypted()
        check_longest(session, self.manifest)

    def _compare(self, databases: t.Sequence[str]) -> None:
        """Raises WaError unless `databases`, in the order of the copy's, hold what the manifest says."""
        for name, database in zip(self.names, databases):
            self.renew()
            wrong = differences(self.manifest["databases"][name], content.read(self.config, database, self.timeout))
            if wrong:
                raise WaError(f"restore of {name}", "; ".join(wrong[:5]), "what the manifest says")


def unmoved(
    name: str, copied: t.Collection[str], present: t.Sequence[str], incoming: t.Sequence[str]
) -> list[tuple[str, str, str]]:
    """Returns what is left of the swap of a database `name`, as pairs of databases with a table between them.

    `copied` are the tables of the copy, `present` those in the database, `incoming` those of the copy that are still beside it. What is
    there and is no longer incoming is the copy's, and in its place.
    """
    aside = [table for table in present if table in incoming or table not in copied]
    return [(name, table, name + _OUT) for table in aside] + [(name + _IN, table, name) for table in incoming]


def remove_former(config: Settings, names: t.Sequence[str], check_mode: bool) -> list[str]:
    """Removes what a restore on MySQL has put aside of the databases `names`. Returns the names of those databases.

    Raises WaError while that restore is not complete.
    """
    with connection.connect(config, read_only=False, statement_timeout=600.0) as session:
        found = _former(session, names)
        if found and _markers(session, names):
            raise _cut_off(config)
        for name in [] if check_mode else found:
            session.rows(f"DROP DATABASE {quote(MYSQL, name)}")
    return found


def _cut_off(config: Settings) -> WaError:
    return WaError(
        config.subject,
        "a restore was cut off between what was there and its copy",
        "a complete one",
        "Run restore.yml again with that copy, which goes on. Remove nothing: there may be no other copy of these tables",
    )


def _former(session: Session, names: t.Sequence[str]) -> list[str]:
    """Returns the databases that hold what was there before a restore."""
    return [name + _OUT for name in names if _tables(session, name + _OUT)]


def _markers(session: Session, names: t.Sequence[str]) -> list[str]:
    """Returns the markers of restores of these databases that have begun to replace them, and are not known to be complete."""
    beside = [*_tables(session, names[0] + _IN), *_tables(session, names[0] + _OUT)]
    return [table for table in beside if table.startswith(_MARKER)]


def _qualified(database: str, name: t.Any) -> str:
    return f"{quote(MYSQL, database)}.{quote(MYSQL, str(name))}"


def _tables(session: Session, database: str) -> list[str]:
    return [name for (name,) in content.mysql_tables(session, database)]


def _drop_dependents(session: Session, database: str, owner: str) -> None:
    """Drops the views, routines, triggers and events of the client's user, its `owner`, which the copy has."""
    for kind, names, where in (
        ("VIEW", "table_name", "views WHERE table_schema"),
        ("TRIGGER", "trigger_name", "triggers WHERE trigger_schema"),
        ("EVENT", "event_name", "events WHERE event_schema"),
        ("PROCEDURE", "routine_name", "routines WHERE routine_type = 'PROCEDURE' AND routine_schema"),
        ("FUNCTION", "routine_name", "routines WHERE routine_type = 'FUNCTION' AND routine_schema"),
    ):
        for (name,) in session.rows(
            f"SELECT {names} FROM information_schema.{where} = %s AND substring_index(definer, '@', 1) = %s",
            (database, owner),
        ):
            session.rows(f"DROP {kind} {_qualified(database, name)}")
