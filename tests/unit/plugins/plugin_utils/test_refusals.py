# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A refused login is remembered on the controller: not tried again with the same password for a day, and named without a folder."""

from __future__ import annotations

import os
import time
import typing as t
from pathlib import Path

import pytest
from inventory_samples import inventory

from ansible_collections.waba.onprem.plugins.plugin_utils import _refusals as refusals

PASSWORD = "Canary-18-Pw"
REFUSED = {"login_refused": True, "concerns": {"health": {"alarms": ["not known: HTTP 401."]}}, "figures": {"api": {}}}
SERVES = {"login_refused": False, "concerns": {}, "figures": {"api": {"nodes": {"coreapp": "connected"}}}}


def login(folder: Path | None, **given: t.Any) -> refusals.Login:
    place = {"wa_report_dir": str(folder)} if folder else {}
    return refusals.Login.of(inventory(**{"wa_api_password": PASSWORD, **place, **given}))


def test_a_refusal_is_remembered_until_the_password_changes_or_serves(tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    first = login(folder)
    assert (first.refused, first.is_made, first.note(REFUSED)) == ("", True, "")
    (record,) = folder.iterdir()
    assert record.name == "refused-login-support.json"
    assert PASSWORD not in record.read_text()
    second = login(folder)
    assert second.refused.startswith(
        "it is not known whether the client serves: API user admin at https://127.0.0.1:9090: "
    )
    assert "this password was refused at" in second.refused
    assert not second.is_made
    assert login(folder, wa_api_password="Other-1234").refused == ""
    assert login(folder, wa_api_password="Other-1234").note(SERVES) == ""
    assert list(folder.iterdir()) == []


def test_a_refusal_is_tried_again_after_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    login(tmp_path).note(REFUSED)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 90_000)
    assert login(tmp_path).refused == ""


def test_without_a_folder_the_run_says_to_name_one() -> None:
    assert login(None).note(REFUSED) == (
        "not known: HTTP 401. Each run tries it again: set wa_report_dir, where a refusal is remembered for a day"
    )


@pytest.mark.parametrize("given", [{"wa_api_key": "Key-1234-5678"}, {"wa_api_password": None}])
def test_without_a_login_nothing_is_remembered(tmp_path: Path, given: dict[str, t.Any]) -> None:
    found = login(tmp_path, **given)
    assert (found.refused, found.is_made, found.note(REFUSED), os.listdir(tmp_path)) == ("", False, "", [])
