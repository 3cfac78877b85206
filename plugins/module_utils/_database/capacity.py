# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads how full a client's database server is: connections, rows of the tables `messages`; and how long its makers maintain it."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import activity, connection, messages
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import Session, Settings, Version

# The last day of a series on which its makers publish fixes, as they say.
_END_OF_LIFE: dict[str, dict[tuple[int, ...], str]] = {
    "MySQL": {(5, 7): "2023-10-31", (8, 0): "2026-04-30", (8, 4): "2032-04-30"},
    "MariaDB": {
        (10, 4): "2024-06-18",
        (10, 5): "2025-06-24",
        (10, 6): "2026-07-06",
        (10, 11): "2028-02-16",
        (11, 4): "2029-05-29",
        (11, 8): "2028-06-04",
    },
    "PostgreSQL": {
        (11,): "2023-11-09",
        (12,): "2024-11-21",
        (13,): "2025-11-13",
        (14,): "2026-11-12",
        (15,): "2027-11-11",
        (16,): "2028-11-09",
        (17,): "2029-11-08",
        (18,): "2030-11-14",
    },
}


def end_of_life(version: Version) -> str | None:
    """Returns the last day on which the series of a server gets fixes, as 2026-04-30; None if it is not known."""
    series = version.numbers[: 1 if version.product == "PostgreSQL" else 2]
    return _END_OF_LIFE.get(version.product, {}).get(series)


def read(config: Settings, prefix: str, wanted: t.Sequence[str] | None) -> dict[str, t.Any]:
    """Returns product, version, end of life, connections, and the estimated rows of each table `messages`.

    What the user may not read is None, for rows with the reason as `error`. Raises DatabaseError if the login fails.
    """
    with connection.connect(config) as session:
        version = session.version()
        found: dict[str, t.Any] = {
            "product": version.product,
            "version": version.text,
            "end_of_life": end_of_life(version),
            **_connections(session),
        }
    try:
        tables = messages.find_tables(config, prefix, wanted)
        rows = activity.estimate(config, tables)
        counted = [{"database": table.database, "rows": number} for table, number in zip(tables, rows)]
        return {**found, "tables": counted, "tables_error": ""}
    except WaError as error:
        return {**found, "tables": [], "tables_error": str(error)}


def _connections(session: Session) -> dict[str, int | None]:
    """Returns how many connections the server has, and how many it allows."""
    if session.engine == connection.MYSQL:
        used = session.rows("SHOW GLOBAL STATUS LIKE 'Threads_connected'")
        allowed = session.rows("SHOW GLOBAL VARIABLES LIKE 'max_connections'")
        return {
            "connections_used": int(used[0][1]) if used else None,
            "connections_allowed": int(allowed[0][1]) if allowed else None,
        }
    [(used_now, most)] = session.rows(
        "SELECT (SELECT sum(numbackends) FROM pg_stat_database), current_setting('max_connections')::int"
    )
    return {"connections_used": int(used_now or 0), "connections_allowed": int(most)}
