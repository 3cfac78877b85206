# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Timeouts, sizes and free space from a server's variables. MySQL is fake, since the lab has none."""

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
    return facts._mysql_limits(FakeSession("MYSQL", answers))


def test_mysql_has_no_statement_timeout() -> None:
    found = mysql("wa@%", lock_wait_timeout="31536000", wait_timeout="28800")
    assert found["statement_timeout"] is None
    assert found["statement_timeout_fix"] is None
    assert found["lock_timeout"] == 31536000
    assert found["timeouts"] == {"lock_wait_timeout": 31536000, "wait_timeout": 28800}


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
        ("lock_timeout", 5.0, "user"),
    ]
    timeouts, fixes = facts._pgsql_timeouts(FakeSession("PGSQL", {"pg_settings": rows}), 'm"s')
    assert timeouts == {"statement_timeout": 30, "transaction_timeout": 60, "lock_timeout": 5}
    assert fixes == [
        'ALTER ROLE "w""a%" IN DATABASE "m""s" SET statement_timeout = \'3600s\';',
        'ALTER ROLE "w""a%" SET transaction_timeout = \'3600s\';',
    ]
    found = facts._limits(timeouts, fixes)
    assert (found["statement_timeout"], found["lock_timeout"]) == (30, 5)
    assert found["statement_timeout_fix"] == " ".join(fixes)


def test_sizes_of_shards_are_summed() -> None:
    found = facts._sizes([("a", "messages", 5), ("b", "messages", 6), ("b", "media", 20)])
    assert found == {
        "bytes": 31,
        "messages_bytes": 11,
        "largest_table": {"database": "b", "name": "media", "bytes": 20},
    }
    assert facts._sizes([]) == {"bytes": 0, "messages_bytes": None, "largest_table": None}


def test_free_space_is_that_of_the_disk_with_the_data() -> None:
    disks = [("/", 1), ("/var/lib/mysql", 5), ("/var/lib/my", 7), ("/var/lib", 3)]
    answers: dict[str, list[tuple[t.Any, ...]]] = {"disks": disks, "datadir": [("/var/lib/mysql/",)]}
    assert facts._mysql_free(FakeSession("MYSQL", answers)) == 5 * 1024
    assert facts._mysql_free(FakeSession("MYSQL", {"disks": [], "datadir": [("/data/",)]})) is None
