# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unit tests of settings, build, tokens, rate limits, faults and the control service."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from simclient import auth, backup, callbacks, faults, media
from simclient.build import Build
from simclient.database import Database, DatabaseDown
from simclient.errors import ApiError
from simclient.ratelimit import Bucket
from simclient.settings import DatabaseSettings, Settings, SettingsError
from simclient_deployment import Control

ENV = {
    "WA_DB_ENGINE": "MYSQL",
    "WA_DB_HOSTNAME": "db",
    "WA_DB_PORT": "3306",
    "WA_DB_USERNAME": "wa",
    "WA_DB_PASSWORD": "Canary-Db-1",
}


def test_settings_come_from_the_environment_alone() -> None:
    s = Settings.from_env(
        {**ENV, "WA_DB_NAME_PREFIX": "wa1", "WA_CONFIG_ON_DB": "1", "COREAPP_EXTERNAL_PORTS": "6254,6255,6256,6257"}
    )
    assert (s.database.prefix, s.database.idle_timeout, s.config_on_db) == ("wa1", 180.0, True)
    assert s.external_ports == (6254, 6255, 6256, 6257)
    assert "Canary" not in repr(s)
    assert not any("Canary" in name for name in s.environment)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"WA_DB_PASSWORD": ""}, "WA_DB_PASSWORD"),
        ({"WA_DB_ENGINE": "mysql"}, "MYSQL or PGSQL"),
        ({"WA_DB_PORT": "33o6"}, "WA_DB_PORT"),
        ({"WA_DB_CONNECTION_IDLE_TIMEOUT": "long"}, "WA_DB_CONNECTION_IDLE_TIMEOUT"),
    ],
)
def test_an_invalid_setting_is_named(change: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_env({**ENV, **change})


@pytest.mark.parametrize("char", "?{}&~!()^=")
def test_a_password_with_a_forbidden_character_is_refused(char: str) -> None:
    database = Database(DatabaseSettings("MYSQL", "db", 3306, "wa", f"Canary{char}1"))
    with pytest.raises(DatabaseDown) as caught:
        database.connect(None)
    assert "not allowed" in str(caught.value)
    assert "Canary" not in str(caught.value)


def test_a_build_expires_at_the_start_of_its_day() -> None:
    build = Build("2.51.2", "web", "2026-05-31")
    assert not build.expired(datetime(2026, 5, 30, 23, 59, tzinfo=timezone.utc))
    assert build.expired(datetime(2026, 5, 31, 0, 0, tzinfo=timezone.utc))
    assert (build.schema, build.expire_timestamp) == (51, "2026-05-31T00:00:00")


def test_a_token_is_valid_for_its_key_only() -> None:
    token = auth.make_token("k1", "admin", 0, 1000.0)
    claims = auth.read_token("k1", token)
    assert claims is not None
    assert (claims["user"], claims["exp"]) == ("admin", 1000.0 + 7 * 86400)
    assert auth.read_token("k2", token) is None
    assert auth.read_token("k1", "nothing") is None
    assert auth.read_token("k1", token[:-2] + "xx") is None


def test_a_bucket_allows_its_burst_then_its_rate() -> None:
    now = [0.0]
    bucket = Bucket(20, 60, lambda: now[0])
    assert sum(bucket.take() for _number in range(100)) == 60
    now[0] = 1.0
    assert sum(bucket.take() for _number in range(100)) == 20


def test_the_callback_delay_grows_up_to_its_limit() -> None:
    assert [callbacks.delay(n, 3000, 7000) for n in (1, 2, 3)] == [3.0, 6.0, 7.0]


def test_a_backup_opens_with_its_password_only() -> None:
    sealed = backup.seal({"a": [1, 2]}, "one")
    assert backup.open_sealed(sealed, "one") == {"a": [1, 2]}
    for text, password in ((sealed, "two"), ("not base64!", "one"), ("AAAA", "one")):
        with pytest.raises(ApiError):
            backup.open_sealed(text, password)


def test_media_folders_are_created_and_tested(tmp_path: Path) -> None:
    assert media.prepare(str(tmp_path / "m"))
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["incoming", "outgoing"]
    assert not list((tmp_path / "m" / "incoming").iterdir())
    (tmp_path / "file").write_text("")
    assert not media.prepare(str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({}, True),
        ({"prefix": None, "node": None}, True),
        ({"prefix": "wa1"}, True),
        ({"prefix": "wa10"}, False),
        ({"prefix": ""}, False),
        ({"node": "wacore2"}, True),
        ({"node": "wacore3"}, False),
    ],
)
def test_a_fault_applies_to_its_prefix_and_node(entry: dict[str, Any], expected: bool) -> None:
    assert faults.matches(entry, "wa1", "wacore2") is expected


def test_fixed_faults_apply_while_the_control_service_is_down() -> None:
    settings = Settings.from_env({**ENV, "SIM_FAULTS": "gc_fails, traffic=25", "SIM_CONTROL_URL": "http://127.0.0.1:9"})
    found = faults.Faults(settings)
    found.look()
    assert found.on("gc_fails")
    assert found.value("traffic", 1.0) == 25.0
    assert not found.on("expired")


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    """A running control service."""
    service = Control(tmp_path / "control")
    yield service
    service.server.shutdown()
    service.server.server_close()


def call(control: Control, method: str, path: str, body: Any = None) -> Any:
    """Send one request to the control service; return its answer."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(control.url + path, data=data, method=method)
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


def test_control_switches_faults_for_all_or_for_some(control: Control, tmp_path: Path) -> None:
    call(control, "PUT", "/faults/gc_fails")
    call(control, "PUT", "/faults/gc_fails?prefix=wa1")
    call(control, "PUT", "/faults/traffic", {"value": 50, "node": "wacore1"})
    found = call(control, "GET", "/faults")
    assert [entry["prefix"] for entry in found["gc_fails"]] == [None, "wa1"]
    assert found["traffic"] == [{"prefix": None, "node": "wacore1", "value": 50}]
    settings = replace(Settings.from_env(ENV), control_url=control.url, hostname="wacore1")
    seen = faults.Faults(settings)
    seen.look()
    assert seen.value("traffic", 0.0) == 50.0
    call(control, "DELETE", "/faults/gc_fails", {"prefix": "wa1"})
    assert [entry["prefix"] for entry in call(control, "GET", "/faults")["gc_fails"]] == [None]
    again = Control(tmp_path / "control")
    assert "gc_fails" in again.state.faults
    again.server.shutdown()
    again.server.server_close()
    call(control, "DELETE", "/faults/gc_fails")
    call(control, "DELETE", "/faults/traffic")
    assert call(control, "GET", "/faults") == {}


def test_control_refuses_unknown_requests(control: Control) -> None:
    for method, path, body in (("GET", "/nothing", None), ("PUT", "/faults/x", [1])):
        with pytest.raises(urllib.error.HTTPError):
            call(control, method, path, body)


def test_control_lists_received_webhook_calls(control: Control) -> None:
    call(control, "POST", "/webhook", {"services": []})
    call(control, "PUT", "/faults/webhook_500")
    with pytest.raises(urllib.error.HTTPError):
        call(control, "POST", "/webhook", {"lost": True})
    assert [item["body"] for item in call(control, "GET", "/webhook")] == [{"services": []}]
    call(control, "DELETE", "/webhook")
    assert call(control, "GET", "/webhook") == []
