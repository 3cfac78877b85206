# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection parameters of PostgreSQL, without a server."""

from __future__ import annotations

import socket
import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._database import connection, pgsql
from ansible_collections.waba.onprem.plugins.module_utils._database.errors import DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._database.session import Settings

psycopg2 = pytest.importorskip("psycopg2")


@pytest.fixture
def config() -> t.Iterator[Settings]:
    """A server that does not answer: the port is bound, but nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield Settings("PGSQL", "127.0.0.1", bound.getsockname()[1], "wa", "Canary1!")


@pytest.mark.parametrize(
    ("name", "value"),
    [("PGSERVICE", "of-this-user"), ("PGTARGETSESSIONATTRS", "nonsense"), ("PGGSSENCMODE", "nonsense")],
)
def test_libpq_variables_of_this_user_are_ignored(
    config: Settings, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(DatabaseError) as error:
        connection.connect(config, "postgres")
    assert "onnection refused" in str(error.value)
    assert value not in str(error.value)


def test_no_other_password_is_used(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, t.Any] = {}

    def connect(**options: t.Any) -> None:
        given.update(options)
        raise psycopg2.OperationalError("enough")

    monkeypatch.setattr(psycopg2, "connect", connect)
    with pytest.raises(DatabaseError, match="enough"):
        pgsql.connect(config, "postgres", True, 1.0, 1.0)
    assert (given["password"], given["passfile"]) == ("Canary1!", "/dev/null")
