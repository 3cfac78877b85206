# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A login that was refused is remembered for a day, and for that password only."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._webapp.refused_login import RefusedLogin

SECRET = "Canary-18-Pw"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "api-login-a.json"


def test_a_refusal_stands_for_a_day(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    login = RefusedLogin(str(path))
    assert login.when("admin", SECRET) is None
    now = int(time.time())
    monkeypatch.setattr(time, "time", lambda: now)
    login.note("admin", SECRET)
    assert login.when("admin", SECRET) == now
    assert login.when("admin", "Other-Pw") is None
    assert login.when("other", SECRET) is None
    monkeypatch.setattr(time, "time", lambda: now + 86399)
    assert login.when("admin", SECRET) == now
    for moment in (now + 86400, now - 1):  # a clock that was wrong keeps nobody out
        monkeypatch.setattr(time, "time", lambda moment=moment: moment)
        assert login.when("admin", SECRET) is None
    login.clear()
    login.clear()
    assert not path.exists()


def test_nothing_tells_the_password(path: Path) -> None:
    for draft in (None, "left by a killed run"):
        if draft:
            path.with_name(f"{path.name}.wa_new").write_text(draft)
        RefusedLogin(str(path)).note("admin", SECRET)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        held = json.loads(path.read_text())
        assert (set(held), len(held["tag"])) == ({"user", "tag", "at"}, 3)
        assert SECRET not in path.read_text()
        assert [one.name for one in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"user": "admin", "tag": "x", "at": "y"}', "null"])
def test_a_file_that_holds_none_keeps_nobody_out(path: Path, text: str) -> None:
    path.write_text(text)
    assert RefusedLogin(str(path)).when("admin", SECRET) is None


def test_a_folder_that_is_not_there_is_an_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RefusedLogin(str(path.parent / "none" / path.name)).note("admin", SECRET)
