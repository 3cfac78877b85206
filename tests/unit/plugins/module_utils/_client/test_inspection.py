# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which client runs on a host."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible.plugins.filter.core import to_nice_json

from ansible_collections.waba.onprem.plugins.module_utils._client import inspection as client_inspection


@pytest.mark.parametrize(
    "recorded",
    [
        {},
        {"media_volume": "wa-a_whatsappMedia", "digests": "wacore/hash=h1 waweb/hash=h2"},
        {"waweb": "2", "wacore": "1", "name_prefix": 'ü"\\'},
    ],
)
def test_the_text_of_a_record_is_that_of_the_role(tmp_path: Path, recorded: dict[str, str]) -> None:
    text = client_inspection.record_text(recorded)
    assert text == f"{to_nice_json(recorded, sort_keys=True)}\n"
    file = tmp_path / "client-a.json"
    file.write_text(text)
    assert client_inspection.record(str(file)) == recorded


RECORDED = {"version": "2.51.2", "digests": "core/init=d1", "salt": "s", "schemas": "2.51.2=t51"}


@pytest.mark.parametrize(
    ("wanted", "project", "schema", "changed"),
    [
        ({}, {}, "", {}),
        ({}, {"digests": "core/init=d1", "salt": "s"}, "t51", {}),
        ({"version": "2.53.4"}, {}, "", {"version": "2.53.4"}),
        ({"version": "2.53.4"}, {}, "t53", {"version": "2.53.4", "schemas": "2.51.2=t51 2.53.4=t53"}),
        ({"shards": "2"}, {}, "", {"shards": "2"}),
        ({}, {"digests": "core/init=d2"}, "", {"digests": "core/init=d2"}),
    ],
)
def test_what_is_not_known_stays_recorded_and_a_change_has_its_time(
    wanted: dict[str, str], project: dict[str, str], schema: str, changed: dict[str, str]
) -> None:
    before = {**RECORDED, "recorded": "then"}
    found = client_inspection.next_record(before, {"version": "2.51.2", **wanted}, project, schema)
    assert found == {**before, **changed, "recorded": found["recorded"]}
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ" if changed else "then"
    assert re.fullmatch(stamp, found["recorded"])


def test_the_tables_of_the_versions_that_ran_last_are_kept() -> None:
    before = {"schemas": "1=a 2=b 3=c 4=d"}
    assert client_inspection.next_record(before, {"version": "2"}, {}, "b2")["schemas"] == "1=a 3=c 4=d 2=b2"
    assert client_inspection.next_record(before, {"version": "5"}, {}, "e")["schemas"] == "2=b 3=c 4=d 5=e"


def test_only_the_identity_is_compared_with_the_inventory() -> None:
    more = {"recorded": "then", "schemas": "1=t", "digests": "a/b=d", "salt": "s"}
    recorded = {"shards": "1", "version": "2.51.2", **more}
    assert client_inspection.compared(recorded) == {"shards": "1", "version": "2.51.2"}
