# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The concern automatic_gc: the client's setting, and at most one refused login per password."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from fake_webapp import META, FakeWebapp

from ansible_collections.waba.onprem.plugins.module_utils._concern import automatic_gc
from ansible_collections.waba.onprem.plugins.module_utils._concern.finding import Finding
from ansible_collections.waba.onprem.plugins.module_utils._concern.health import Session
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

SETTINGS = ("GET", "/v1/settings/application")
PASSWORD = "Right-1234"


@pytest.fixture
def params(fake: FakeWebapp, tmp_path: Path) -> dict[str, t.Any]:
    return {
        **{name: spec.get("default") for name, spec in automatic_gc.SPEC.items()},
        "api_url": fake.url,
        "api_password": PASSWORD,
        "api_timeout": "10s",
        "automatic": True,
        "refused_login_file": str(tmp_path / "api-login-a.json"),
    }


def observe(params: dict[str, t.Any]) -> Finding:
    """One comparison, with a session of its own."""
    session = Session(write=True)
    try:
        return automatic_gc.observe(params, session)
    finally:
        session.close()


def set_settings(fake: FakeWebapp, **settings: t.Any) -> None:
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
def test_a_different_setting_is_a_change(
    fake: FakeWebapp, params: dict[str, t.Any], settings: dict[str, t.Any], automatic: bool, changes: list[str]
) -> None:
    set_settings(fake, **settings)
    found = observe({**params, "automatic": automatic})
    assert (found.changes, found.restarts, found.warnings) == (changes, [], [])
    assert [line for line in fake.paths() if not line.startswith("GET ")] == [
        "POST /v1/users/login",
        "POST /v1/users/logout",
    ]


def test_without_a_password_the_api_is_not_called(fake: FakeWebapp, params: dict[str, t.Any]) -> None:
    assert observe({**params, "api_password": None}).shown("now") == {
        "state": "in_sync",
        "warnings": ["the automatic GC cannot be compared without wa_api_password. Set it"],
    }
    assert fake.requests == []


def test_a_refused_login_is_not_repeated_with_the_same_password(fake: FakeWebapp, params: dict[str, t.Any]) -> None:
    set_settings(fake, db_garbagecollector_enable=True)
    wrong = {**params, "api_password": "Wrong-1234"}
    with pytest.raises(WaError) as error:
        observe(wrong)
    assert "Wrong-1234" not in str(error.value)
    count = len(fake.requests)
    with pytest.raises(WaError, match=r"API user admin at .*: this password was refused at "):
        observe(wrong)
    assert len(fake.requests) == count
    assert observe(params).state() == "in_sync"  # another password is a new login
    assert not Path(params["refused_login_file"]).exists()


def test_a_client_without_the_setting_is_an_error(fake: FakeWebapp, params: dict[str, t.Any]) -> None:
    set_settings(fake, other=1)
    with pytest.raises(WaError) as error:
        observe(params)
    assert str(error.value).startswith("application settings: neither garbagecollector_enable nor ")


@pytest.mark.parametrize(
    ("upgrade", "running", "password", "check_mode", "expected"),
    [
        ({}, True, "x", False, ""),
        ({}, True, "x", True, ""),
        ({}, False, "x", True, "the client does not run yet."),
        ({}, False, "x", False, ""),  # then the API does not answer, which is an error
        ({}, True, "", False, "it cannot be checked without wa_api_password. Set it."),
        ({"blocking": True, "message": "locked by ops"}, True, "x", False, "locked by ops"),
        ({"blocking": False, "message": "left by ops"}, True, "x", False, ""),
    ],
)
def test_why_the_setting_is_left_as_it_is(
    upgrade: dict[str, t.Any], running: bool, password: str, check_mode: bool, expected: str
) -> None:
    containers = [{"one_shot": True, "state": "running"}, {"one_shot": False, "state": "exited"}]
    containers += [{"one_shot": False, "state": "running"}] if running else []
    found = {"upgrade": upgrade, "containers": containers}
    assert automatic_gc.skip_reason(found, password, check_mode) == expected
