# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_webapp with a fake Webapp on a real socket."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from fake_webapp import META, FakeWebapp, error

RunModule = t.Callable[..., "dict[str, t.Any]"]

PASSWORD = "Right-1234"


@pytest.fixture
def run(run_module: RunModule, fake: FakeWebapp) -> t.Callable[..., dict[str, t.Any]]:
    def call(operation: str, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        given = {
            "operation": operation,
            "api_url": fake.url,
            "api_password": PASSWORD,
            "poll_interval": "0.1",
            "wait_timeout": "3s",
        }
        return run_module("wa_webapp", {**given, **options}, check)

    return call


Run = t.Callable[..., "dict[str, t.Any]"]


def test_first_login_changes_the_initial_password_once(run: Run, fake: FakeWebapp) -> None:
    fake.fresh = True
    predicted = run("first_login", check=True, api_password="Newer-5678")
    assert predicted["changed"]
    assert fake.fresh
    done = run("first_login", api_password="Newer-5678")
    assert done["actions"] == predicted["actions"]
    assert done["diff"] == predicted["diff"]
    for check in (False, True):
        assert not run("first_login", check=check, api_password="Newer-5678")["changed"]
    assert fake.passwords == {"admin": "Newer-5678"}


def test_first_login_waits_for_a_starting_client(run: Run, fake: FakeWebapp) -> None:
    token = (200, {"users": [{"token": "t", "expires_after": "2031-09-14 15:29:26+00:00"}], "meta": META})
    fake.on("POST", "/v1/users/login", error(503, 1011), error(503, 1011), token)
    assert not run("first_login", api_password="Newer-5678")["changed"]
    assert fake.paths().count("POST /v1/users/login") == 3
    fake.on("POST", "/v1/users/login", error(503, 1011))
    assert "1011" in run("first_login", api_password="Newer-5678", wait_timeout="0.2")["msg"]


def test_first_login_has_a_short_timeout_for_database_errors(
    run: Run, fake: FakeWebapp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ansible_collections.waba.onprem.plugins.modules.wa_webapp._DATABASE_TIMEOUT", 0.2)
    fake.on("POST", "/v1/users/login", error(500, 1014, "Database error: Can't connect to MySQL server on 'db'"))
    failed = run("first_login", api_password="Newer-5678", wait_timeout="30s")
    assert "Can't connect to MySQL server" in failed["msg"]
    assert "expected a client that reaches its database" in failed["msg"]


def test_first_login_refuses_a_weak_password_that_the_client_does_not_have(run: Run, fake: FakeWebapp) -> None:
    result = run("first_login", api_password="weak")
    assert "8 to 64 characters, a digit" in result["msg"]
    assert fake.logins == 1
    assert result["msg"].count("weak") == 0


def test_first_login_fails_if_neither_password_is_accepted(run: Run, fake: FakeWebapp) -> None:
    result = run("first_login", api_password="Other-9999")
    assert "neither the given password nor a fresh client's own is right" in result["msg"]
    assert fake.logins == 2


def test_a_refused_first_login_is_not_repeated_by_the_next_run(run: Run, fake: FakeWebapp, tmp_path: Path) -> None:
    options = {"refused_login_file": str(tmp_path / "refused.json"), "api_password": "Other-9999"}
    run("first_login", **options)
    assert "is tried again after a day" in run("first_login", **options)["msg"]
    assert fake.logins == 2
    fake.fresh = True
    assert run("first_login", **{**options, "api_password": "Newer-5678"})["changed"]


def test_a_settings_backup_is_returned_and_in_check_mode_only_a_login_made(run: Run, fake: FakeWebapp) -> None:
    fake.on("POST", "/v1/settings/backup", (200, {"settings": {"data": "cipher"}}))
    assert "settings" not in run("settings_backup", check=True, backup_password="Backup-canary")
    assert [path for _method, path, _body in fake.requests if "settings" in path] == []
    result = run("settings_backup", backup_password="Backup-canary")
    assert json.loads(result["settings"]) == {"settings": {"data": "cipher"}}
    assert not result["changed"]
    assert "Backup-canary" not in json.dumps(result)


def test_an_expired_client_makes_no_settings_backup(run: Run, fake: FakeWebapp) -> None:
    fake.on("POST", "/v1/settings/backup", error(403, 1005))
    assert "administrator" in run("settings_backup", backup_password="Backup-canary")["msg"]


@pytest.mark.parametrize(
    ("settings", "change", "restart"),
    [
        ({"db_garbagecollector_enable": False}, {"db_garbagecollector_enable": True}, True),
        (
            {"garbagecollector_enable": {"media": True, "messages": False}},
            {"garbagecollector_enable": {"media": True, "messages": True}},
            False,
        ),
    ],
)
def test_automatic_gc_is_set_under_either_name(
    run: Run,
    fake: FakeWebapp,
    warned: list[str],
    settings: dict[str, t.Any],
    change: dict[str, t.Any],
    restart: bool,
) -> None:
    path = "/v1/settings/application"
    fake.on("GET", path, (200, {"settings": {"application": settings}}))
    fake.on("PATCH", path, (200, {}))
    assert not run("automatic_gc", automatic=False)["changed"]
    assert run("automatic_gc", check=True, automatic=True)["changed"]
    assert not [method for method, _path, _body in fake.requests if method == "PATCH"]
    result = run("automatic_gc", automatic=True)
    assert result["changed"]
    assert any("reads the setting of automatic GC when a Coreapp starts" in text for text in warned) is restart
    assert fake.requests[-2:] == [("PATCH", path, change), ("POST", "/v1/users/logout", None)]


def test_a_refused_login_is_not_tried_again_by_the_next_run(run: Run, fake: FakeWebapp, tmp_path: Path) -> None:
    fake.on(
        "GET", "/v1/settings/application", (200, {"settings": {"application": {"db_garbagecollector_enable": False}}})
    )
    options = {"automatic": False, "refused_login_file": str(tmp_path / "refused.json")}
    refused = [run("automatic_gc", api_password="Wrong-1234", **options)["msg"] for _run in range(2)]
    assert "is tried again after a day" in refused[1]
    assert fake.logins == 1
    assert "msg" not in run("automatic_gc", **options)
    assert not (tmp_path / "refused.json").exists()


def test_automatic_gc_fails_if_the_client_has_no_such_setting(run: Run, fake: FakeWebapp) -> None:
    fake.on("GET", "/v1/settings/application", (200, {"settings": {"application": {}}}))
    assert "db_garbagecollector_enable" in run("automatic_gc", automatic=True)["msg"]
