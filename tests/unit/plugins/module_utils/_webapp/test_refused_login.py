# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A refused login is remembered for a day, for that password only."""

from __future__ import annotations

import json
import stat
import time
import typing as t
from pathlib import Path

import pytest
from fake_webapp import FakeWebapp

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._webapp import client
from ansible_collections.waba.onprem.plugins.module_utils._webapp.refused_login import RefusedLogin

SECRET = "Canary-18-Pw"
REFUSED = "this password was refused at "


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "api-login-a.json"


def webapp(url: str = "https://a", password: str = SECRET, **options: t.Any) -> client.Webapp:
    defaults = {name: spec.get("default") for name, spec in client.ARGUMENT_SPEC.items()}
    return client.Webapp({**defaults, "api_url": url, "api_password": password, **options}, retry_time=0.0)


def reason(login: RefusedLogin, password: str | None = SECRET, **options: t.Any) -> str:
    try:
        login.check(webapp(**options), password, "Correct it")
    except WaError as error:
        return str(error)
    return ""


def test_a_refused_login_is_not_repeated_for_a_day(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    login = RefusedLogin(str(path))
    assert reason(login) == ""
    now = int(time.time())
    monkeypatch.setattr(time, "time", lambda: now)
    login.note(SECRET)
    message = reason(login)
    assert message.startswith(
        f"API user admin at https://a: {REFUSED}{time.strftime('%F %T', time.localtime(now))} and is "
    )
    way_out = f"If the client has this one by now, remove {path} and run again"
    assert message.endswith(f"lock the account; expected another password. Correct it. {way_out}")
    assert reason(login, "Other-Pw") == ""
    monkeypatch.setattr(time, "time", lambda: now + 86399)
    assert REFUSED in reason(login)
    for moment in (now + 86400, now - 1):  # a wrong clock does not block logins
        monkeypatch.setattr(time, "time", lambda moment=moment: moment)
        assert reason(login) == ""
    login.clear()
    login.clear()
    assert not path.exists()
    assert reason(login, None).startswith("api_password: not given; expected the password of API user admin")


def test_a_refused_login_is_recorded_and_a_successful_one_removes_the_record(path: Path, fake: FakeWebapp) -> None:
    login = RefusedLogin(str(path))
    with pytest.raises(WaError, match="HTTP 401"), login.session(webapp(fake.url), SECRET):
        pass
    assert REFUSED in reason(login)
    fake.passwords["admin"] = SECRET
    with login.session(webapp(fake.url), SECRET):
        assert len(fake.tokens) == 1
    assert (path.exists(), fake.tokens) == (False, set())
    fake.passwords["admin"] = "Changed-1"
    missing = RefusedLogin(str(path.parent / "none" / path.name))
    with pytest.raises(WaError, match="HTTP 401"), missing.session(webapp(fake.url), SECRET):
        pass


def test_the_record_does_not_reveal_the_password(path: Path) -> None:
    for _number in range(2):
        RefusedLogin(str(path)).note(SECRET)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        held = json.loads(path.read_text())
        assert (set(held), len(held["tag"])) == ({"tag", "at"}, 3)
        assert SECRET not in path.read_text()
        assert [one.name for one in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tag": "x", "at": "y"}', "null"])
def test_an_invalid_record_does_not_block_logins(path: Path, text: str) -> None:
    path.write_text(text)
    assert reason(RefusedLogin(str(path))) == ""


def test_a_missing_folder_is_an_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RefusedLogin(str(path.parent / "none" / path.name)).note(SECRET)


def test_a_first_login_is_tried_after_a_comparison_was_refused(path: Path) -> None:
    RefusedLogin(str(path), may_be_new=True).note(SECRET)
    login = RefusedLogin(str(path))
    assert REFUSED in reason(login)
    login.check(webapp(), SECRET, "Correct it", first_login=True)
    login.note(SECRET)  # by the first login itself
    with pytest.raises(WaError, match=REFUSED):
        login.check(webapp(), SECRET, "Correct it", first_login=True)
