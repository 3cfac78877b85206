# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The content of a database: every row is counted, and a column that is defined otherwise changes the digest."""

from __future__ import annotations

import pytest
from scripted_database import ScriptedDatabase

from ansible_collections.waba.onprem.plugins.module_utils._database import connection, content
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import MYSQL, PGSQL


def test_the_content_of_a_mysql_database(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ScriptedDatabase(MYSQL).on("ORDER BY 1$", [("a`b",), ("messages",)]).on(r"FROM `a``b`", [(7,)])
    server.on("FROM `messages`", [(20,)]).on("column_type", [("messages", "id", "int", "NO", "")])
    monkeypatch.setattr(connection, "connect", server.connect)
    found = content.read(server.settings, "wa1", 60.0)
    assert found.tables == {"a`b": 7, "messages": 20}
    assert server.databases == ["wa1"]
    assert content.read(server.settings, "wa1", 60.0) == found
    server.on("column_type", [("messages", "id", "bigint", "NO", "")])
    assert content.read(server.settings, "wa1", 60.0).definitions != found.definitions


def test_rows_that_are_counted_are_not_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ScriptedDatabase(MYSQL).on("'SEQUENCE'", [("numbers",)]).on("column_type", [])
    server.on("ORDER BY 1$", [("empty",), ("messages",), ("numbers",)])
    monkeypatch.setattr(connection, "connect", server.connect)
    found = content.read(server.settings, "wa1", 60.0, {"messages": 20, "gone": 3})
    assert found.tables == {"empty": 0, "messages": 20, "numbers": 1}


@pytest.mark.parametrize(
    ("now", "newer", "same"),
    [
        (("bigint(20) unsigned", ""), ("bigint unsigned", ""), True),
        (("tinyint(1)", ""), ("tinyint", ""), True),
        (("text", "utf8"), ("text", "utf8mb3"), True),
        (("text", "utf8"), ("text", "utf8mb4"), False),
        (("varchar(20)", "utf8"), ("varchar(21)", "utf8"), False),
        (("int(11)", ""), ("bigint(11)", ""), False),
    ],
)
def test_what_a_newer_server_calls_otherwise_is_the_same(
    monkeypatch: pytest.MonkeyPatch, now: tuple[str, str], newer: tuple[str, str], same: bool
) -> None:
    server = ScriptedDatabase(MYSQL).on("ORDER BY 1$", [])
    monkeypatch.setattr(connection, "connect", server.connect)
    digests = []
    for kind, charset in (now, newer):
        server.on("column_type", [("messages", "id", kind, "NO", charset)])
        digests.append(content.read(server.settings, "wa1", 60.0).definitions)
    assert (digests[0] == digests[1]) is same


def test_the_content_of_a_postgresql_database(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ScriptedDatabase(PGSQL).on("^SELECT n.nspname, c.relname", [("own", 'a"b')])
    server.on('FROM "own"."a""b"', [(7,)]).on("md5", [("digest",)])
    monkeypatch.setattr(connection, "connect", server.connect)
    assert content.read(server.settings, "wa1", 60.0) == content.Content({'own.a"b': 7}, "digest")
    assert server.open == 0
