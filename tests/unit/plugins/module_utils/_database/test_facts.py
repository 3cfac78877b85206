# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time-outs, the largest table and free space from a server's variables. MySQL is fake, since the lab has none."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._database import facts
from ansible_collections.waba.onprem.plugins.module_utils._database.session import Session, Settings


class FakeSession(Session):
    """A session that returns prepared rows for statements that contain a text."""

    def __init__(self, engine: str, answers: dict[str, list[tuple[t.Any, ...]]]) -> None:
        self.settings = Settings(engine, "db", 1, 'w"a%', "secret")
        self.engine = engine
        self.answers = answers

    def rows(self, statement: str, values: t.Sequence[t.Any] = (), subject: str = "") -> list[tuple[t.Any, ...]]:
        return next(rows for words, rows in self.answers.items() if words in statement)


def mysql(account: str, **variables: str) -> dict[str, t.Any]:
    answers: dict[str, list[tuple[t.Any, ...]]] = {
        "VARIABLES": list(variables.items()),
        "CURRENT_USER": [(account,)],
    }
    return facts._mysql_limit(FakeSession("MYSQL", answers))


def test_mysql_has_no_statement_timeout() -> None:
    assert mysql("wa@%") == {"statement_timeout": None, "statement_timeout_fix": None}


@pytest.mark.parametrize(
    ("seconds", "shortest", "has_fix"),
    [("0.000000", None, False), ("0.500000", 0.5, True), ("3600.0", 3600, False), ("7200", 7200, False)],
)
def test_the_statement_timeout_of_mariadb_has_a_fix(seconds: str, shortest: float | None, has_fix: bool) -> None:
    found = mysql("w'a@10.0.0.%", max_statement_time=seconds)
    assert found["statement_timeout"] == shortest
    fix = "ALTER USER 'w''a'@'10.0.0.%' WITH MAX_STATEMENT_TIME 3600;"
    assert found["statement_timeout_fix"] == (fix if has_fix else None)


def test_the_fix_for_postgresql_changes_the_setting_at_its_source() -> None:
    rows = [
        ("statement_timeout", 30.0, "database user"),
        ("transaction_timeout", 60.0, "configuration file"),
    ]
    limits, fixes = facts._pgsql_limits(FakeSession("PGSQL", {"pg_settings": rows}), 'm"s')
    assert limits == [30, 60]
    assert fixes == [
        'ALTER ROLE "w""a%" IN DATABASE "m""s" SET statement_timeout = \'3600s\';',
        'ALTER ROLE "w""a%" SET transaction_timeout = \'3600s\';',
    ]
    assert facts._limit([0, *limits], fixes) == {
        "statement_timeout": 30,
        "statement_timeout_fix": " ".join(fixes),
    }


def test_the_largest_table_of_all_shards() -> None:
    found = facts._largest([("a", "messages", 5), ("b", "media", 20), ("b", "messages", 6)])
    assert found == {"database": "b", "name": "media", "bytes": 20}
    assert facts._largest([]) is None
