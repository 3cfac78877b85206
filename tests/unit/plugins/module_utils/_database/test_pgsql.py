# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to connect to PostgreSQL, without a server."""

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
    """A server that nobody answers at: the port is bound, and listens to nobody."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield Settings("PGSQL", "127.0.0.1", taken.getsockname()[1], "wa", "Canary1!")


@pytest.mark.parametrize(
    ("name", "value"),
    [("PGSERVICE", "of-this-user"), ("PGTARGETSESSIONATTRS", "nonsense"), ("PGGSSENCMODE", "nonsense")],
)
def test_what_this_user_has_for_other_servers_says_nothing_of_the_clients(
    config: Settings, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(DatabaseError) as told:
        connection.connect(config, "postgres")
    assert "onnection refused" in str(told.value)
    assert value not in str(told.value)


def test_no_password_but_the_clients_is_tried(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, t.Any] = {}

    def connect(**options: t.Any) -> None:
        given.update(options)
        raise psycopg2.OperationalError("enough")

    monkeypatch.setattr(psycopg2, "connect", connect)
    with pytest.raises(DatabaseError, match="enough"):
        pgsql.connect(config, "postgres", True, 1.0, 1.0)
    assert (given["password"], given["passfile"]) == ("Canary1!", "/dev/null")
