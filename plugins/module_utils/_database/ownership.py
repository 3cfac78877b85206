# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Determines which databases of a server belong to one client. A prefix alone could also match another client's.

The names of the client's databases are not documented (the prefix, then the name of a store, no separator), so no name is
required. Each sign below is weak and independent of the others; two of them make a database the client's. What has fewer is
doubtful, and is refused with its name, for the option `databases` to decide, unless something speaks for another owner:

- the prefix ends where a word ends (`wa1` + `configStore`, `wa_` + `config`, not `wa` + `rehouse`),
- the name ends as that of the database with `messages` does (`messageStore`, `configStore`),
- the rest is the name of a store that the client's own support report shows,
- a session of the client's user is on it, from an address that is on the database with `messages`, too.

A grant is none: an administrator may have given the client's user a database for reports. The database with the table `messages` is found
first, by its table, its name, the tables beside `messages`, and whether it was given to the client's user by name.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import connection, processlist
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import DatabaseError, Session, quote

MESSAGES = "messages"
_BESIDE = ("media", "message_receipt_log")  # domain 2: the other tables that Meta names
# domain 2: the stores that /v1/support shows; domain 6: the services of the client. Hints, none of them required.
_STORES = frozenset(
    ("axolotl", "callback", "cluster", "config", "contact", "core", "jobqueue", "master", "media", "message", "web")
)
_ENOUGH = 2


@dataclass(frozen=True)
class Traits:
    """The traits of one database, as visible to the client's user."""

    messages: bool = False  # whether it has a readable table `messages`
    beside: bool = False  # whether it has another table named by Meta
    given: bool = (
        False  # whether a grant names it for the user, or the user owns it: a sign for one with `messages` only
    )
    owner: str = ""  # the owner, on PostgreSQL
    addresses: frozenset[str] = field(default_factory=frozenset)  # addresses of the user's sessions on it


Found = t.Mapping[str, Traits]
HasRows = t.Callable[[str], bool]


def anchors(prefix: str, found: Found, wanted: t.Sequence[str] | None, has_rows: HasRows) -> list[str]:
    """Returns the sorted databases with the client's `messages`; none if no candidate has such a table.

    `found` are the candidates, those that begin with `prefix` and those `wanted`, which decides. Raises WaError when they may
    be two clients'. A database without a row in `messages` beside the client's own is what a wrong prefix has left.
    """
    holding = sorted(name for name, traits in found.items() if traits.messages)
    if wanted:
        _all_present(wanted, found)
        return [name for name in holding if name in wanted]
    certain = [
        name
        for name in holding
        if _anchor_signs(prefix, name, found[name]) >= _ENOUGH
        and not any(_extends(prefix, name, other) for other in holding)
    ]
    doubtful = [name for name in holding if name not in certain and (not certain or has_rows(name))]
    # Shards differ in numbers only; another name may be another client's, or a renamed copy.
    stems = {re.sub(r"\d+", "", _rest(prefix, name)) for name in certain}
    if doubtful or len(stems) > 1 or (not prefix and len(certain) > 1):
        raise _ambiguous(
            prefix,
            f"more than one client may have a table messages in {', '.join(holding)}; candidates: {', '.join(sorted(found))}",
        )
    return certain


def own(prefix: str, found: Found, wanted: t.Sequence[str] | None, has_rows: HasRows) -> list[str]:
    """Returns all sorted databases of the client; none if it has none yet. Arguments and errors are those of `anchors`.

    Those `wanted` are all when one of them has no `messages`; otherwise the ones that surely go with them are the client's, too.
    """
    holding = anchors(prefix, found, wanted, has_rows)
    if wanted and set(wanted) - set(holding):
        return sorted(set(wanted))
    ours, doubtful = list(holding), []
    for name in sorted(set(found) - {one for one, traits in found.items() if traits.messages}):
        if not holding or not name.startswith((prefix, prefix.lower())):  # the server may fold names
            continue
        signs = _signs(prefix, name, found, holding)
        if signs >= _ENOUGH:
            ours.append(name)
        elif signs >= 0:
            doubtful.append(name)
    if doubtful and not wanted:
        raise _ambiguous(
            prefix, f"surely this client's: {', '.join(sorted(ours))}; perhaps this client's: {', '.join(doubtful)}"
        )
    return sorted(ours)


def _all_present(wanted: t.Sequence[str], found: Found) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        seen = f"not seen on the server: {', '.join(missing)}"
        raise WaError("option databases", seen, "some of: " + (", ".join(sorted(found)) or "(none found)"))


def _ambiguous(prefix: str, candidates: str) -> WaError:
    return WaError(
        "client's database",
        f"ambiguous for prefix {prefix!r}: {candidates}",
        "the databases of one client",
        "Name all of this client's own in the option databases (variable wa_message_gc_databases of the roles)",
    )


# The signs


def _rest(prefix: str, name: str) -> str:
    """Returns the name of the store after the prefix, without a shard's number, in lower case."""
    return re.sub(r"[_.-]?\d+$", "", name[len(prefix) :]).lower()


def _extends(prefix: str, name: str, other: str) -> bool:
    """Returns whether a name fits another client whose prefix begins with ours: `wa10messageStore` for `wa1`."""
    longer, shorter = _rest(prefix, name), _rest(prefix, other)
    return longer != shorter and longer.endswith(shorter)


def _ends_a_word(prefix: str, name: str) -> bool:
    if not prefix or len(name) <= len(prefix):
        return bool(prefix)
    last, first = name[len(prefix) - 1], name[len(prefix)]
    return not last.isalnum() or (last.isdigit() and first.isalpha()) or (last.islower() and first.isupper())


def _anchor_signs(prefix: str, name: str, traits: Traits) -> int:
    rest = _rest(prefix, name)
    # `message` at a later position indicates another prefix before it.
    named = 1 if rest.startswith("message") else -1 if "message" in rest else 0
    return 1 + named + _ends_a_word(prefix, name) + traits.beside + traits.given


def _name_signs(prefix: str, name: str, endings: t.Collection[str]) -> int:
    rest = _rest(prefix, name)
    fitting = (one for one in endings if one and rest.endswith(one) and rest not in endings)
    ending = max(fitting, key=len, default="")
    store = rest[: len(rest) - len(ending)] in _STORES
    if store and not ending and any(endings):
        return 1  # `web` alone next to `configStore` may be another application's, whatever its prefix
    return _ends_a_word(prefix, name) + bool(ending) + store


def _signs(prefix: str, name: str, found: Found, holding: t.Sequence[str]) -> int:
    """Returns the number of signs that the database belongs to the client with `messages` in `holding`; negative for another's."""
    # Both of `messagestore`: it may be that of `message` or of `messages`.
    rests = [_rest(prefix, one) for one in holding]
    endings = {one[len(stem) :] for one in rests for stem in ("message", "messages") if one.startswith(stem)}
    others = [one for one, traits in found.items() if traits.messages and one not in holding]
    prefixes = {
        one[: len(prefix) + len(_rest(prefix, one)) - len(_rest(prefix, ours))]
        for one in others
        for ours in holding
        if _extends(prefix, one, ours)
    }
    named = _name_signs(prefix, name, endings)
    rival = max((_name_signs(one, name, endings) for one in prefixes if name.startswith(one)), default=-1)
    if rival > named:
        return -1
    traits, anchor = found[name], [found[one] for one in holding]
    addresses = frozenset[str]().union(*(one.addresses for one in anchor))
    other_owner = bool(traits.owner) and traits.owner not in {one.owner for one in anchor}
    signs = named + bool(traits.addresses & addresses) - 2 * other_owner
    return min(signs, _ENOUGH - 1) if rival == named else signs


# Facts from the server


def find(session: Session, prefix: str, wanted: t.Sequence[str] | None, *, strict: bool = True) -> list[str]:
    """Returns the client's sorted databases on the server of `session`.

    Without `strict` those of `wanted` that are not there are left out, as long as one is: a migration may drop one.
    """
    return find_all(session, prefix, wanted, strict=strict)[0]


def find_all(
    session: Session, prefix: str, wanted: t.Sequence[str] | None, *, strict: bool = True
) -> tuple[list[str], list[str]]:
    """Returns what `find` does, and the others whose names begin with `prefix`."""
    found = inspect(session, prefix, wanted)
    if wanted and not strict:
        wanted = [name for name in wanted if name in found] or wanted
    ours = own(prefix, found, wanted, lambda name: has_rows(session, name))
    return ours, sorted({*found} - {*ours})


def certain(session: Session, prefix: str, wanted: t.Sequence[str] | None) -> tuple[list[str], list[str], list[str]]:
    """Returns the client's databases with `messages`, all that are certainly its own, and those of them by lasting signs.

    Doubtful ones are left out, and others beside certain ones ask nobody. Sessions are a sign that goes with the client's stop. A client
    that has no `messages` yet may be making them: then those that begin with its prefix are its own. Raises WaError if two clients'
    `messages` match.
    """
    found = inspect(session, prefix, wanted)
    holding = anchors(prefix, found, wanted, lambda _name: False)
    if not holding:
        names = sorted(found) if prefix else []
        return [], names, names
    lasting = {name: replace(traits, addresses=frozenset()) for name, traits in found.items()}
    return holding, _certain(prefix, found, holding), _certain(prefix, lasting, holding)


def _certain(prefix: str, found: Found, holding: t.Sequence[str]) -> list[str]:
    others = (name for name, traits in found.items() if not traits.messages)
    return sorted([*holding, *(name for name in others if _signs(prefix, name, found, holding) >= _ENOUGH)])


def inspect(session: Session, prefix: str, wanted: t.Sequence[str] | None) -> dict[str, Traits]:
    """Returns the databases that begin with `prefix`, and those `wanted`, with their traits."""
    names = connection.databases(session, prefix)
    if wanted:
        there = connection.databases(session, "")
        names = sorted({*names, *(name for name in wanted if name in there)})
    return _mysql(session, names) if session.engine == connection.MYSQL else _pgsql(session, names)


def _mysql(session: Session, names: t.Sequence[str]) -> dict[str, Traits]:
    user, _at, host = str(session.value("SELECT CURRENT_USER()")).rpartition("@")
    # A grant on a pattern such as wa% is no more evidence than the prefix. ALTER excludes users who only read.
    grants = session.rows(
        "SELECT table_schema FROM information_schema.schema_privileges WHERE privilege_type = 'ALTER' AND grantee = %s",
        (f"'{user}'@'{host}'",),
    )
    given = {re.sub(r"\\([_%])", r"\1", str(row[0])) for row in grants}
    rows = processlist.rows(session, "db, host", "user = %s AND id <> CONNECTION_ID()", (session.settings.user,))
    addresses = _by_database((name, str(host).rpartition(":")[0] or str(host)) for name, host in rows)
    found = {}
    for name in names:
        messages = _mysql_has(session, name, MESSAGES)
        beside = messages and any(_mysql_has(session, name, table) for table in _BESIDE)
        found[name] = Traits(messages, beside, name in given, "", addresses.get(name, frozenset()))
    return found


def _mysql_has(session: Session, database: str, table: str) -> bool:
    # Both names as constants, so that the server opens one table instead of all.
    where = "table_schema = %s AND table_name = %s AND table_type = 'BASE TABLE'"
    return bool(session.rows(f"SELECT 1 FROM information_schema.tables WHERE {where}", (database, table)))


def _pgsql(session: Session, names: t.Sequence[str]) -> dict[str, Traits]:
    # Read before this connects to each of them; earlier connections of ours are known by their name.
    rows = session.rows(
        "SELECT datname, coalesce(host(client_addr), 'local') FROM pg_stat_activity WHERE usename = current_user"
        " AND datname IS NOT NULL AND application_name NOT LIKE 'waba.onprem%%'"
    )
    addresses = _by_database(rows)
    owners = {
        str(name): (str(owner), bool(own))
        for name, owner, own in session.rows(
            "SELECT d.datname, o.rolname, o.rolname = current_user AND NOT o.rolsuper FROM pg_database d"
            " JOIN pg_roles o ON o.oid = d.datdba"
        )
    }
    found = {}
    for name in names:
        owner, given = owners.get(name, ("", False))
        messages, beside = pgsql_tables(session, name)
        found[name] = Traits(messages, beside, given, owner, addresses.get(name, frozenset()))
    return found


def pgsql_tables(session: Session, database: str) -> tuple[bool, bool]:
    """Returns whether it has a `messages` that the user may read, and whether a related table."""
    try:
        with connection.connect(session.settings, database) as there:
            rows = there.rows(
                "SELECT c.relname FROM pg_class c"
                " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = ANY (%s) AND c.relkind IN ('r', 'p')"
                " AND NOT c.relispartition AND c.relpersistence <> 't' AND has_schema_privilege(n.oid, 'USAGE')"
                " AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND has_table_privilege(c.oid, 'SELECT')",
                ([MESSAGES, *_BESIDE],),
            )
    except DatabaseError as error:
        # A database without access for the client's user is not the client's.
        if error.kind not in ("login", "denied", "missing"):
            raise
        return False, False
    readable = {str(table) for (table,) in rows}
    return MESSAGES in readable, bool(readable - {MESSAGES})


def has_rows(session: Session, database: str) -> bool:
    """Returns whether `messages` in that database has a row; true if unknown."""
    try:
        if session.engine == connection.MYSQL:
            name = f"{quote(session.engine, database)}.{quote(session.engine, MESSAGES)}"
            return bool(session.rows(f"SELECT 1 FROM {name} LIMIT 1"))
        with connection.connect(session.settings, database) as there:
            rows = there.rows(
                "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = %s"
                " AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND has_table_privilege(c.oid, 'SELECT')"
                " AND has_schema_privilege(n.oid, 'USAGE')",
                (MESSAGES,),
            )
            tables = [f"{quote(session.engine, str(row[0]))}.{quote(session.engine, MESSAGES)}" for row in rows]
            return any(there.rows(f"SELECT 1 FROM {table} LIMIT 1") for table in tables)
    except DatabaseError as error:
        if error.kind not in ("denied", "timeout", "lock"):
            raise
        return True


def _by_database(rows: t.Iterable[t.Sequence[t.Any]]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for database, address in rows:
        if database is not None:
            found.setdefault(str(database), set()).add(str(address))
    return {name: frozenset(addresses) for name, addresses in found.items()}
