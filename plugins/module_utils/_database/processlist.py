# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the process list of MySQL and MariaDB: the user's own sessions, with the privilege PROCESS all."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._database.errors import DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._database.session import Session

# The start of a statement, as bytes: it may contain bytes that are not valid text.
STATEMENT = "CAST(LEFT(info, 2000) AS BINARY)"


def rows(session: Session, columns: str, where: str, values: t.Sequence[t.Any] = ()) -> list[tuple[t.Any, ...]]:
    """Returns the `columns` of the sessions that match `where`.

    The information schema of MySQL 8 fails for any query while a session runs a statement with a binary string that is not
    UTF-8. The performance schema does not.
    """

    def ask(schema: str) -> list[tuple[t.Any, ...]]:
        return session.rows(f"SELECT {columns} FROM {schema}.processlist WHERE {where}", values)

    try:
        return ask("information_schema")
    except DatabaseError as error:
        # It is empty if the performance schema is off.
        if error.kind != "encoding" or str(session.value("SELECT @@performance_schema")) not in ("1", "ON"):
            raise
    return ask("performance_schema")
