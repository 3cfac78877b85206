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


def test_the_content_of_a_postgresql_database(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ScriptedDatabase(PGSQL).on("^SELECT n.nspname, c.relname", [("own", 'a"b')])
    server.on('FROM "own"."a""b"', [(7,)]).on("md5", [("digest",)])
    monkeypatch.setattr(connection, "connect", server.connect)
    assert content.read(server.settings, "wa1", 60.0) == content.Content({'own.a"b': 7}, "digest")
    assert server.open == 0
