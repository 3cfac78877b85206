# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The automatic GC of messages compared: what the client has, a restart that is due, and at most one refused login a day."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from fake_webapp import META, FakeWebapp

from ansible_collections.waba.onprem.plugins.module_utils._concern import automatic_gc
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

SETTINGS = ("GET", "/v1/settings/application")
PASSWORD = "Right-1234"


@pytest.fixture
def fake() -> t.Iterator[FakeWebapp]:
    webapp = FakeWebapp()
    yield webapp
    webapp.close()


@pytest.fixture
def params(fake: FakeWebapp, tmp_path: Path) -> dict[str, t.Any]:
    return {
        **{name: spec.get("default") for name, spec in automatic_gc.SPEC.items()},
        "api_url": fake.url,
        "api_password": PASSWORD,
        "api_timeout": "10s",
        "automatic": True,
        "restart_marker": str(tmp_path / "gc-a.restart"),
        "refused_login_file": str(tmp_path / "api-login-a.json"),
    }


def has(fake: FakeWebapp, **settings: t.Any) -> None:
    fake.on(*SETTINGS, (200, {"meta": META, "settings": {"application": settings}}))


@pytest.mark.parametrize(
    ("settings", "automatic", "changes"),
    [
        ({"garbagecollector_enable": {"messages": True}}, True, []),
        ({"garbagecollector_enable": {"messages": False}}, False, []),
        ({"db_garbagecollector_enable": True}, True, []),
        ({"garbagecollector_enable": {"messages": False}}, True, ["the automatic GC of messages is off, expected on"]),
        ({"garbagecollector_enable": {"messages": True}}, False, ["the automatic GC of messages is on, expected off"]),
        ({"db_garbagecollector_enable": False}, True, ["the automatic GC of messages is off, expected on"]),
    ],
)
def test_the_setting(
    fake: FakeWebapp, params: dict[str, t.Any], settings: dict[str, t.Any], automatic: bool, changes: list[str]
) -> None:
    has(fake, **settings)
    found = automatic_gc.observe({**params, "automatic": automatic})
    assert (found.changes, found.restarts, found.warnings) == (changes, [], [])
    assert [line for line in fake.paths() if not line.startswith("GET ")] == [
        "POST /v1/users/login",
        "POST /v1/users/logout",
    ]


def test_a_restart_that_is_due(fake: FakeWebapp, params: dict[str, t.Any]) -> None:
    has(fake, db_garbagecollector_enable=True)
    Path(params["restart_marker"]).touch()
    assert automatic_gc.observe(params).shown("now") == {
        "state": "drifted",
        "restarts": ["the Coreapps have not been restarted since the automatic GC was set"],
    }


def test_without_a_password_nothing_is_asked(fake: FakeWebapp, params: dict[str, t.Any]) -> None:
    assert automatic_gc.observe({**params, "api_password": None}).shown("now") == {
        "state": "in_sync",
        "warnings": ["the automatic GC cannot be compared without wa_api_password. Set it"],
    }
    assert fake.requests == []


def test_a_refused_login_is_not_tried_again_with_the_same_password(fake: FakeWebapp, params: dict[str, t.Any]) -> None:
    has(fake, db_garbagecollector_enable=True)
    wrong = {**params, "api_password": "Wrong-1234"}
    with pytest.raises(WaError) as told:
        automatic_gc.observe(wrong)
    assert "Wrong-1234" not in str(told.value)
    asked = len(fake.requests)
    with pytest.raises(WaError, match=r"API user admin at .*: this password was refused at "):
        automatic_gc.observe(wrong)
    assert len(fake.requests) == asked
    assert automatic_gc.observe(params).state() == "in_sync"  # another password is another login
    assert not Path(params["refused_login_file"]).exists()


def test_a_client_without_the_setting_is_an_error(fake: FakeWebapp, params: dict[str, t.Any]) -> None:
    has(fake, other=1)
    with pytest.raises(WaError) as told:
        automatic_gc.observe(params)
    assert str(told.value).startswith("application settings: neither garbagecollector_enable nor ")
