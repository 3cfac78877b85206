# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of sessions of MySQL, and which of the server's two is read."""

from __future__ import annotations

import typing as t

import pytest
from scripted_database import Refusal, ScriptedDatabase

from ansible_collections.waba.onprem.plugins.module_utils._database import processlist
from ansible_collections.waba.onprem.plugins.module_utils._database.errors import DatabaseError

FIRST, SECOND = r"FROM information_schema\.processlist", r"FROM performance_schema\.processlist"


def ask(server: ScriptedDatabase) -> list[tuple[t.Any, ...]]:
    return processlist.rows(server.session(), "id, db", "user = %s", ("wa",))


def test_the_information_schema_is_asked_first() -> None:
    server = ScriptedDatabase().on("processlist", [(7, "wa1")])
    assert ask(server) == [(7, "wa1")]
    assert server.statements == [("SELECT id, db FROM information_schema.processlist WHERE user = %s", ("wa",))]


@pytest.mark.parametrize("on", [1, "1", "ON"])
def test_the_performance_schema_bears_what_the_other_fails_at(on: t.Any) -> None:
    server = ScriptedDatabase().on(FIRST, Refusal("encoding")).on(SECOND, [(7, "wa1")])
    server.on("@@performance_schema", [(on,)])
    assert ask(server) == [(7, "wa1")]


@pytest.mark.parametrize(("kind", "on", "asked"), [("encoding", 0, 1), ("encoding", "OFF", 1), ("lost", 1, 0)])
def test_an_empty_list_is_no_answer(kind: str, on: t.Any, asked: int) -> None:
    server = ScriptedDatabase().on(FIRST, Refusal(kind)).on("@@performance_schema", [(on,)])
    with pytest.raises(DatabaseError) as refused:
        ask(server)
    assert refused.value.kind == kind
    assert len(server.asked("@@performance_schema")) == asked
