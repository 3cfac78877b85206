# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sample of the primary keys of the client's `messages` tables: taken once, then looked up to see whether its rows are still there."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import MYSQL, Session, connect, quote
from ansible_collections.waba.onprem.plugins.module_utils._database.messages import NAME, Table

Key = list[
    t.Any
]  # the values of the key's columns, as JSON holds them: bytes as {"hex": ...}, dates and the like as text
_AT_ONCE = 500  # keys in a statement
_LONG = 600.0  # seconds for a statement that reads a whole index, once a run


def take(session: Session, table: Table, size: int, rows: int) -> list[Key]:
    """About `size` keys from across the table, or all keys where there are no more; `rows` is an estimate of how many.

    Integer keys are found beside evenly spaced values, in some thousand reads of the index; where those lie too unevenly, and
    for other keys, the index is read once. Raises WaError for a table without a primary key.
    """
    if not table.key:
        raise WaError(
            f"table {NAME} in {table.database}",
            "it has no primary key",
            "one, since a GC is followed by the keys of the rows that it deletes",
            "Use the client's automatic GC for this database",
        )
    name, columns = table.quoted(session.engine), _columns(session, table)
    found = session.rows(f"SELECT {columns} FROM {name} LIMIT %s", (size + 1,))
    if len(found) > size:
        found = _spread(session, table, size)
        if len(found) < size / 2:
            found = _hashed(session, table, max(rows // size, 1))
            found = found[:: len(found) // size + 1] if len(found) > 2 * size else found
    return [[_plain(value) for value in row] for row in found]


def _hashed(session: Session, table: Table, part: int) -> list[tuple[t.Any, ...]]:
    """One key of `part` here and there, by its hash, in one read of an index that may take long."""
    columns = _columns(session, table)
    hashed = f"CRC32(CONCAT_WS(',', {columns}))" if session.engine == MYSQL else f"hashtext(concat_ws(',', {columns}))"
    database = None if session.engine == MYSQL else table.database
    with connect(session.settings, database, statement_timeout=_LONG) as patient:
        return patient.rows(f"SELECT {columns} FROM {table.quoted(session.engine)} WHERE {hashed} %% %s = 0", (part,))


def _spread(session: Session, table: Table, size: int) -> list[tuple[t.Any, ...]]:
    """The keys next to evenly spaced values, each once; none where the key is not one integer."""
    name, column = table.quoted(session.engine), _columns(session, table)
    if len(table.key) > 1:
        return []
    [(low, high)] = session.rows(f"SELECT MIN({column}), MAX({column}) FROM {name}")
    if not (isinstance(low, int) and isinstance(high, int)):
        return []
    one = f"(SELECT {column} FROM {name} WHERE {column} >= %s ORDER BY {column} LIMIT 1)"
    values = [low + (high - low) * number // (size - 1) for number in range(size)]
    found: dict[tuple[t.Any, ...], None] = {}
    for part in _parts(values):
        found.update(dict.fromkeys(session.rows(" UNION ALL ".join([one] * len(part)), part)))
    return list(found)


def count(session: Session, table: Table, keys: t.Sequence[Key]) -> int:
    """How many of `keys` are still there."""
    name, columns = table.quoted(session.engine), _columns(session, table)
    mark = f"({', '.join(['%s'] * len(table.key))})" if len(table.key) > 1 else "%s"
    total = 0
    for part in _parts(keys):
        values = [_value(value) for key in part for value in key]
        where = f"({columns}) IN ({', '.join([mark] * len(part))})"
        total += int(session.value(f"SELECT COUNT(*) FROM {name} WHERE {where}", values))
    return total


def _columns(session: Session, table: Table) -> str:
    return ", ".join(quote(session.engine, column) for column in table.key)


_T = t.TypeVar("_T")


def _parts(values: t.Sequence[_T]) -> t.Iterator[t.Sequence[_T]]:
    return (values[begin : begin + _AT_ONCE] for begin in range(0, len(values), _AT_ONCE))


def _plain(value: t.Any) -> t.Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"hex": bytes(value).hex()}
    return value if isinstance(value, (int, str)) else str(value)


def _value(plain: t.Any) -> t.Any:
    return bytes.fromhex(plain["hex"]) if isinstance(plain, dict) else plain
