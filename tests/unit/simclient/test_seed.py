# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seeder repeats statements that a busy server aborts with a deadlock."""

from __future__ import annotations

import types
import typing as t

import pytest
from simclient import seed
from simclient.database import DatabaseError, Deadlock, Session


class ServerError(Exception):
    """An error of a driver: MySQL's has a number and a text, PostgreSQL's a code."""

    pgcode = "40P01"


class BusySession:
    """Raises the next of `failures` for each statement, then succeeds."""

    def __init__(self, *failures: DatabaseError) -> None:
        self.failures = list(failures)
        self.asked = 0

    def execute(self, _statement: str) -> int:
        self.asked += 1
        if self.failures:
            raise self.failures.pop()
        return 1


def insert(session: BusySession) -> None:
    seed._insert(t.cast("Session", session), "INSERT")


def test_a_statement_is_repeated_after_a_deadlock() -> None:
    session = BusySession(Deadlock("1213"), Deadlock("1213"))
    insert(session)
    assert session.asked == 3


def test_repeated_deadlocks_are_an_error() -> None:
    session = BusySession(*(Deadlock("1213") for _number in range(100)))
    with pytest.raises(Deadlock):
        insert(session)
    assert session.asked == seed.RESTARTS + 1


def test_other_errors_are_not_retried() -> None:
    session = BusySession(DatabaseError("1114 The table is full"))
    with pytest.raises(DatabaseError, match="1114"):
        insert(session)
    assert session.asked == 1


@pytest.mark.parametrize("engine", ["MYSQL", "PGSQL"])
def test_a_deadlock_is_recognized_by_its_error_number(engine: str) -> None:
    session = Session(engine, types.SimpleNamespace(closed=0), (ServerError,))
    assert isinstance(session._translate(ServerError(1213, "Deadlock found")), Deadlock)
