# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which client runs on a host."""

from __future__ import annotations

import typing as t
from pathlib import Path
from unittest import mock

import pytest
from ansible.plugins.filter.core import to_nice_json

from ansible_collections.waba.onprem.plugins.module_utils._client import inspection as client_inspection


def test_keys_set_in_the_compose_file_are_left_out() -> None:
    engine, compose = mock.Mock(), mock.Mock()
    compose.overrides.return_value = {"WA_DB_PORT"}
    database = {"engine": "MYSQL", "hostname": "db", "port": "3307", "name_prefix": "x_"}
    same: dict[str, t.Any] = {"id": "b", "identity": {"database": dict(database, port="3306", name_prefix="")}}
    overridden: dict[str, t.Any] = {"id": "a", "identity": {"database": dict(database)}}
    without: dict[str, t.Any] = {"id": "c", "identity": {}}  # a container without a database
    file = {"engine": "MYSQL", "hostname": "db", "port": "3306", "name_prefix": ""}
    client_inspection.leave_out_overridden(engine, [overridden, same, without], file, compose)
    assert overridden["identity"]["database"] == {"engine": "MYSQL", "hostname": "db", "name_prefix": "x_"}
    assert same["identity"]["database"] == file
    assert without["identity"] == {}
    engine.container.assert_called_once_with("a")


@pytest.mark.parametrize(
    "recorded",
    [
        {},
        {"media_volume": "wa-a_whatsappMedia", "compose_hashes": "wacore=h1 waweb=h2"},
        {"waweb": "2", "wacore": "1", "name_prefix": 'ü"\\'},
    ],
)
def test_the_text_of_a_record_is_that_of_the_role(tmp_path: Path, recorded: dict[str, str]) -> None:
    text = client_inspection.record_text(recorded)
    assert text == f"{to_nice_json(recorded, sort_keys=True)}\n"
    file = tmp_path / "client-a.json"
    file.write_text(text)
    assert client_inspection.record(str(file)) == recorded
