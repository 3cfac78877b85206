# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_webapp and wa_webapp_info with the simulated client on a real database: in check mode, run, and run again."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
import typing as t
from pathlib import Path

import pytest
from database_servers import Server
from simulated import PASSWORD, Simulated, opened, run_module
from waiting import until

Run = t.Callable[..., "dict[str, t.Any]"]


@pytest.fixture(scope="module")
def newer(mariadb: Server, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Simulated]:
    with opened(tmp_path_factory.mktemp("newer"), mariadb, "weba_") as client:
        yield client


def run(client: Simulated, operation: str, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
    module, option = ("wa_webapp_info", "query") if operation in ("health", "drain") else ("wa_webapp", "operation")
    given = {
        option: operation,
        "api_url": client.url,
        "api_password": PASSWORD,
        "api_validate_certs": False,
        "wait_timeout": "20s",
        "poll_interval": "0.2",
    }
    return run_module(module, {**given, **options}, check)


def converge(client: Simulated, operation: str, **options: t.Any) -> dict[str, t.Any]:
    """Check, run, run, check. The first two results are equal, the last two are unchanged."""
    predicted, done = run(client, operation, True, **options), run(client, operation, **options)
    for result in (predicted, done):
        assert not result.get("failed"), result
        assert result["changed"]
    for key in ("actions", "diff"):
        assert predicted[key] == done[key]
    for check in (False, True):
        again = run(client, operation, check, **options)
        assert not again.get("failed"), again
        assert not again["changed"]
    return done


def test_first_login_changes_the_initial_password(mariadb: Server, tmp_path: Path) -> None:
    with opened(tmp_path, mariadb, "webf_", fresh=True) as client:
        done = converge(client, "first_login")
        assert done["actions"] == ["set the first password of API user admin"]
        assert client.login()[0] == 200
        wrong = run(client, "first_login", api_password="Another-1234")
        assert "neither the given password nor a fresh client's own is right" in wrong["msg"]


def test_health_waits_for_a_healthy_client_of_the_expected_version(newer: Simulated) -> None:
    for check in (False, True):
        result = run(newer, "health", check, expect_version="v2.53.4")
        assert (result["healthy"], result["version"], result["changed"]) == (True, "2.53.4", False)
        assert result["nodes"] == {"coreapp": {"gateway_status": "connected"}}
    other = run(newer, "health", expect_version="2.55.1", wait_timeout="1s")
    assert "version 2.53.4, expected 2.55.1" in other["msg"]
    newer.fault("unregistered")
    try:
        unhealthy = run(newer, "health", wait_timeout="2s")
        assert "not registered: coreapp" in unhealthy["msg"]
        assert "Look into the logs of Coreapp and Webapp" in unhealthy["msg"]
        assert run(newer, "health", wait=False)["healthy"] is False
    finally:
        newer.fault("unregistered", on=False)


def test_an_expired_client_is_reported_at_once(newer: Simulated) -> None:
    newer.fault("expired")
    begin = time.monotonic()
    try:
        result = run(newer, "health")
    finally:
        newer.fault("expired", on=False)
    assert "upgrade it (a build lives about 180 days)" in result["msg"]
    assert time.monotonic() - begin < 10


def test_certificate_errors_are_explained(newer: Simulated, tmp_path: Path) -> None:
    unknown = run(newer, "health", api_validate_certs=True)
    assert "its certificate is not from a known authority" in unknown["msg"]
    assert "Have the host trust the authority" in unknown["msg"]
    ca = tmp_path / "ca.pem"
    ca.write_bytes(fetch(newer))
    given: dict[str, t.Any] = {"api_validate_certs": True, "api_ca_path": str(ca)}
    for fault, message in (
        ("tls_expired", "its certificate has expired.*Renew the Webapp's certificate"),
        ("tls_wrong_name", "its certificate is for another name.*Set api_url to a name in the certificate"),
    ):
        newer.fault(fault)
        assert re.search(message, run(newer, "health", **given)["msg"], re.S)
        newer.fault(fault, on=False)
    assert not run(newer, "health", **given).get("failed")


def fetch(client: Simulated) -> bytes:
    """The CA of the Webapp's certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(*client.address, context=context, timeout=20)
    connection.request("GET", "/v1/certificates/external/ca", None, {"Authorization": f"Bearer {client.token}"})
    found = connection.getresponse().read()
    connection.close()
    return found


def test_a_settings_backup_is_returned_and_can_be_restored(newer: Simulated) -> None:
    options: dict[str, t.Any] = {"backup_password": "Canary-Backup-1"}
    assert "settings" not in run(newer, "settings_backup", True, **options)
    done = run(newer, "settings_backup", **options)
    data = json.loads(done["settings"])["settings"]["data"]
    assert data
    assert "Canary" not in json.dumps(done)
    restored = newer.call("POST", "/v1/settings/restore", {"password": "Canary-Backup-1", "data": data})
    assert restored[0] == 200, restored


def test_drain_waits_for_callbacks(newer: Simulated) -> None:
    newer.call("PATCH", "/v1/settings/application", {"webhooks": {"url": "http://127.0.0.1:9/closed"}})
    try:
        newer.call("POST", "/v1/messages", {"to": "155501", "type": "text", "text": {"body": "y"}})
        until(lambda: run(newer, "drain", wait=False)["queue"] > 0, 20)
        stuck = run(newer, "drain", wait_timeout="1s")
        assert "callbacks queued" in stuck["msg"]
        assert run(newer, "drain", check=True, wait=False)["queue"] > 0
    finally:
        newer.call("PATCH", "/v1/settings/application", {"webhooks": {"url": f"{newer.control.url}/webhook"}})
    assert run(newer, "drain", wait_timeout="60s")["queue"] == 0


def test_automatic_gc_is_set_under_either_name(newer: Simulated, mariadb: Server, tmp_path: Path) -> None:
    with opened(tmp_path, mariadb, "webo_", "2.51.2") as older:
        for client in (newer, older):
            run(client, "automatic_gc", automatic=False)
            assert converge(client, "automatic_gc", automatic=True)["automatic"]
