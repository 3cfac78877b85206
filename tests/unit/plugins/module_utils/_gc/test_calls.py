# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What message GC asks of the API: logins that are refused, and sessions that end."""

from __future__ import annotations

import json
from pathlib import Path

from fake_webapp import FakeWebapp
from gc_module import GC, Run, Table, collects, state


def test_a_refused_login_is_not_repeated(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    assert "HTTP 401" in run(api_password="Wrong-9999")["msg"]
    assert "is tried again after a day at the earliest" in run(api_password="Wrong-9999")["msg"]
    assert fake.logins == 1
    assert "Wrong-9999" not in (tmp_path / "gc.json").read_text()
    fake.passwords["admin"] = "Wrong-9999"  # a first login, for instance, has made it right
    fake.on("PUT", GC, collects(table))
    assert run(api_password="Wrong-9999", retry_refused_login=True)["messages_after"] == 1_800
    assert state(tmp_path)["refused"] is None


def test_after_a_day_and_for_another_password_a_login_is_tried(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path
) -> None:
    run(api_password="Wrong-9999")
    data = state(tmp_path)
    data["refused"]["wall"] -= 86_401
    (tmp_path / "gc.json").write_text(json.dumps(data))
    assert "HTTP 401" in run(api_password="Wrong-9999")["msg"]
    assert "HTTP 401" in run(api_password="Wrong-8888")["msg"]
    assert fake.logins == 3


def test_without_a_credential_nothing_is_called_nor_kept(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path
) -> None:
    assert "api_password: not given; expected the API user's password, or api_token" in run(api_password=None)["msg"]
    assert state(tmp_path)["run"] is None
    assert fake.requests == []


def test_a_token_that_was_given_is_not_logged_out(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.tokens.add("given")
    fake.on("PUT", GC, collects(table))
    assert run(api_token="given", api_password=None)["messages_after"] == 1_800
    assert (fake.logins, fake.tokens) == (0, {"given"})
