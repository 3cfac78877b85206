# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of a single instance, over real sockets: login, errors, settings, GC, media."""

from __future__ import annotations

import functools
import re
import ssl
import time
from collections.abc import Callable
from typing import Any

import pytest
from simclient_deployment import API_KEY, PASSWORD, Deployment
from waiting import until


def error_code(answer: Any) -> int:
    """The code of the first error of an answer."""
    return int(answer["errors"][0]["code"])


def is_serving(deployment: Deployment) -> bool:
    """Whether the Webapp of `deployment` runs and works."""
    return deployment.web is not None and not deployment.web.broken


def test_first_login_needs_a_new_password(deploy: Callable[..., Deployment]) -> None:
    d = deploy()
    d.core()
    d.start_web()
    until(lambda: d.web is not None and not d.web.broken)
    status, answer = d.login("secret")
    assert (status, error_code(answer)) == (400, 1008)
    for bad in ("short1A", "nodigits-Aa", "NOLOWER-1", "noupper-1", "NoSpecial11", "Aa-1" * 17):
        status, answer = d.login("secret", bad)
        assert (status, error_code(answer)) == (400, 1009), bad
    status, answer = d.login("secret", PASSWORD)
    assert status == 200
    assert set(answer) == {"users", "meta"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00", answer["users"][0]["expires_after"])
    assert d.login("secret")[0] == 401
    assert d.login(PASSWORD)[0] == 200


def test_repeated_wrong_logins_lock_the_account(deploy: Callable[..., Deployment]) -> None:
    d = deploy(lock_seconds=3)  # also where the next login comes late
    d.core()
    d.start_web()
    until(lambda: d.web is not None and not d.web.broken)
    assert d.login("secret", PASSWORD)[0] == 200
    for _attempt in range(5):
        assert d.login("wrong")[0] == 401
    status, answer = d.login(PASSWORD)
    assert (status, error_code(answer)) == (403, 1031)
    until(lambda: d.login(PASSWORD)[0] == 200)


def test_a_successful_login_resets_the_count_of_failed_logins(single: Deployment) -> None:
    for _round in range(3):
        for _attempt in range(4):
            assert single.login("wrong")[0] == 401
        assert single.login()[0] == 200
        assert single.web is not None
        single.web.all_requests._level = 60


def test_permissions_of_api_key_user_and_administrator(single: Deployment) -> None:
    key = f"Apikey {API_KEY}"
    for path in ("/v1/health", "/v1/stats/app", "/v1/stats/db", "/metrics"):
        assert single.call("GET", path, auth=key)[0] == 200, path
        assert single.call("GET", path, auth="Apikey wrong-key-123")[0] == 401, path
    assert single.call("GET", "/v1/support", auth=key)[0] == 401
    assert single.call("GET", "/v1/health", auth="")[0] == 401
    user = {"username": "worker", "password": "Worker-Pass-1"}
    assert single.call("POST", "/v1/users", user)[0] == 201
    admin = single.token
    status, answer = single.call("POST", "/v1/users/login", auth="Basic d29ya2VyOldvcmtlci1QYXNzLTE=")
    assert status == 200
    single.token = answer["users"][0]["token"]
    for method, path in (("GET", "/v1/settings/application"), ("POST", "/v1/settings/backup"), ("POST", "/v1/users")):
        status, answer = single.call(method, path, {})
        assert (status, error_code(answer)) == (403, 1005), path
    assert single.call("PUT", "/v1/services/message/gc")[0] == 200
    assert single.call("POST", "/v1/users/logout")[0] == 200
    assert single.call("PUT", "/v1/services/message/gc")[0] == 401
    single.token = admin
    assert single.call("DELETE", "/v1/users/worker")[0] == 200
    assert single.call("GET", "/v1/users/worker")[0] == 404


def test_a_new_password_invalidates_older_tokens(single: Deployment) -> None:
    old = single.token
    assert single.call("PUT", "/v1/users/admin", {"password": "Another-Pass-1"})[0] == 200
    assert single.call("GET", "/v1/support")[0] == 401
    assert single.login("Another-Pass-1")[0] == 200
    assert single.token != old


def test_message_gc_deletes_rows_and_tells_the_webhook(single: Deployment) -> None:
    single.fill(1000)
    status, answer = single.call("PUT", "/v1/services/message/gc")
    assert status == 200
    assert answer == {
        "services": {"message": {"gc": {"status": "processing"}}},
        "meta": {"api_status": "stable", "version": "v2.51.2"},
    }
    (body,) = until(single.control.bodies)
    assert body == {"services": [{"message": {"gc": {"messages_deleted": 850, "status": "complete"}}}]}
    assert single.count() == 150
    with single.database().session("messageStore") as session:
        left = session.rows("SELECT DISTINCT status FROM messages ORDER BY status")
    assert [row[0] for row in left] == ["sent", "unread"]


def test_marking_as_read_lets_more_go(single: Deployment) -> None:
    single.fill(20)
    assert single.call("PUT", "/v1/messages/id17", {"status": "read"}) == (200, None)
    status, answer = single.call("PUT", "/v1/messages/nothing", {"status": "read"})
    assert (status, error_code(answer)) == (404, 1006)
    assert error_code(single.call("PUT", "/v1/messages/id18", {"status": "seen"})[1]) == 1009
    single.call("PUT", "/v1/services/message/gc")
    (body,) = until(single.control.bodies)
    assert body["services"][0]["message"]["gc"]["messages_deleted"] == 18


def test_a_second_gc_joins_the_running_one(single: Deployment) -> None:
    single.fill(100)
    single.fault("gc_never_ends", value=1)
    assert single.call("PUT", "/v1/services/message/gc")[0] == 200
    assert single.call("PUT", "/v1/services/message/gc")[0] == 200
    until(lambda: any("joins it" in line for line in single.lines))
    single.fault("gc_never_ends", on=False)
    until(single.control.bodies)
    until(lambda: not single.nodes["wacore"].gc.running("message"))
    assert len(single.control.bodies()) == 1


@pytest.mark.parametrize(
    ("fault", "count", "status", "rows"),
    [
        ("gc_fails", 0, "failed", 1000),
        ("gc_deletes_nothing", 0, "complete", 1000),
        ("gc_half_way", 0, "failed", 575),
        ("gc_one_transaction", 850, "complete", 150),
    ],
)
def test_gc_faults(single: Deployment, fault: str, count: int, status: str, rows: int) -> None:
    single.fill(1000)
    node = single.nodes["wacore"]
    object.__setattr__(node.settings, "gc_batch", 100)
    single.fault(fault)
    single.call("PUT", "/v1/services/message/gc")
    gc = until(single.control.bodies)[0]["services"][0]["message"]["gc"]
    assert (gc["messages_deleted"], gc["status"]) == (count, status)
    assert ("errors" in gc) == (status == "failed")
    assert single.count() == rows


def test_gc_without_callback_and_with_two(single: Deployment) -> None:
    single.fill(100)
    single.fault("gc_no_callback")
    single.call("PUT", "/v1/services/message/gc")
    until(lambda: single.count() == 15)
    until(lambda: not single.nodes["wacore"].gc.running("message"))
    single.fault("gc_no_callback", on=False)
    single.fault("gc_callback_twice")
    single.call("PUT", "/v1/services/message/gc")
    until(lambda: len(single.control.bodies()) == 2)
    assert single.control.bodies()[0] == single.control.bodies()[1]


def test_gc_that_cannot_start(single: Deployment) -> None:
    single.fault("gc_fails_to_start")
    status, answer = single.call("PUT", "/v1/services/message/gc")
    assert (status, error_code(answer)) == (500, 1014)
    assert "Connection timed out. Please check if wacore is running: wacore:6252" in answer["errors"][0]["details"]


def test_a_webhook_call_is_repeated_until_the_webhook_answers_200(single: Deployment) -> None:
    single.call("PATCH", "/v1/settings/application", {"callback_backoff_delay_ms": "100"})
    single.control.state.on("webhook_500", {"prefix": None, "node": None, "value": None})
    single.call("PUT", "/v1/services/message/gc")
    until(lambda: any("webhook answered 500" in line for line in single.lines))
    queue = single.call("GET", "/v1/stats/app")[1]["stats"]["app"]["callback_queue_size"]["data"]
    assert queue == [{"value": 1}]
    single.control.state.off("webhook_500", {})
    assert len(until(single.control.bodies)) == 1


def test_media_gc_and_its_two_shapes(single: Deployment) -> None:
    status, answer = single.call("POST", "/v1/media", raw=b"picture")
    assert status == 201
    media_id = answer["media"][0]["id"]
    path = single.folder / "media" / "outgoing" / media_id
    assert path.read_bytes() == b"picture"
    single.call("PUT", "/v1/services/media/gc")
    (body,) = until(single.control.bodies)
    assert body == {"services": [{"message": {"gc": {"items_deleted": 0, "status": "complete"}}}]}
    with single.database().session("mediaStore") as session:
        session.execute("UPDATE media SET last_used = 0")
    single.call("PUT", "/v1/services/media/gc")
    body = until(lambda: single.control.bodies()[1:])[0]
    assert body["services"][0]["message"]["gc"]["items_deleted"] == 1
    assert not path.exists()
    single.fault("media_readonly")
    single.call("PUT", "/v1/services/media/gc")
    body = until(lambda: single.control.bodies()[2:])[0]
    assert body["services"][0]["media"]["gc"]["status"] == "failed"
    status, answer = single.call("POST", "/v1/media", raw=b"picture")
    assert (status, error_code(answer)) == (403, 1005)


def test_settings_spellings_by_version(deploy: Callable[..., Deployment]) -> None:
    for version, name, value in (
        ("2.51.2", "db_garbagecollector_enable", True),
        ("2.53.4", "garbagecollector_enable", {"media": False, "messages": True}),
    ):
        d = deploy(version)
        d.core()
        d.start_web()
        until(functools.partial(is_serving, d))
        d.login("secret", PASSWORD)
        assert d.call("PATCH", "/v1/settings/application", {name: value})[0] == 200
        shown = d.call("GET", "/v1/settings/application")[1]["settings"]["application"]
        assert shown[name] == value
        assert "gc" not in shown
        other = {"db_garbagecollector_enable", "garbagecollector_enable"} - {name}
        assert error_code(d.call("PATCH", "/v1/settings/application", {other.pop(): True})[1]) == 1010
        assert error_code(d.call("PATCH", "/v1/settings/application", {"webhooks": {"nothing": 1}})[1]) == 1010
        assert error_code(d.call("PATCH", "/v1/settings/application", {"sent_status": "yes"})[1]) == 1009


def test_backup_and_restore(single: Deployment) -> None:
    assert single.call("PATCH", "/v1/settings/application", {"sent_status": True})[0] == 200
    sealed = single.call("POST", "/v1/settings/backup", {"password": "p1"})[1]["settings"]["data"]
    single.call("DELETE", "/v1/settings/application")
    assert error_code(single.call("POST", "/v1/settings/restore", {"password": "p2", "data": sealed})[1]) == 1009
    assert single.call("POST", "/v1/settings/restore", {"password": "p1", "data": sealed})[0] == 200
    assert single.call("GET", "/v1/settings/application")[1]["settings"]["application"]["sent_status"] is True


def test_sending_a_message(single: Deployment) -> None:
    status, answer = single.call("POST", "/v1/messages", {"to": "15551234567", "type": "text", "text": {"body": "hi"}})
    assert status == 201
    sent = answer["messages"][0]["id"]
    body = until(single.control.bodies)[0]
    assert (body["statuses"][0]["id"], body["statuses"][0]["status"]) == (sent, "delivered")
    counter = single.call("GET", "/v1/stats/app")[1]["stats"]["app"]["outbound_messages"]["data"]
    assert counter == [{"labels": {"type": "text"}, "value": 1}]
    assert single.call("GET", "/v1/stats/db")[1]["stats"]["db"]["db_messages"]["data"] == [{"labels": {}, "value": 1}]
    assert error_code(single.call("POST", "/v1/messages", {"type": "text"})[1]) == 1008


def test_support_contains_the_documented_keys(single: Deployment) -> None:
    support = single.call("GET", "/v1/support")[1]["support"]
    assert support["db_engine"] == "PGSQL"
    assert support["multi_connect"] is False
    assert support["schema"] == dict.fromkeys(
        ("axolotl", "callback", "cluster", "config", "contact", "jobqueue", "message"), 51
    )
    for part in ("data", "logs", "media_incoming", "media_outgoing"):
        assert support[f"free_space_{part}"] > 0
    assert support["expire_timestamp"] == "9999-12-31T00:00:00"


def test_requests_above_the_rate_are_refused(single: Deployment) -> None:
    assert single.web is not None
    single.web.all_requests._rate = 0
    single.web.all_requests._level = 10
    answers = [single.call("GET", "/v1/health", auth=f"Apikey {API_KEY}") for _number in range(12)]
    refused = [answer for status, answer in answers if status == 429]
    assert [error_code(answer) for answer in refused] == [1015, 1015]
    assert [status for status, _answer in answers[:10]] == [200] * 10
    status, _answer = single.call("POST", "/v1/messages", {"to": "1", "type": "text"})
    assert status == 201, "messages have a limit of their own"


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [("api_429", 429, 1015), ("api_503", 503, 1016), ("expired", 403, 1005), ("coreapp_unreachable", 500, 1014)],
)
def test_faults_that_answer_with_an_error(single: Deployment, fault: str, status: int, error: int) -> None:
    single.fault(fault)
    found, answer = single.call("GET", "/v1/health")
    assert (found, error_code(answer)) == (status, error)
    assert set(answer) == {"meta", "errors"}
    assert set(answer["errors"][0]) == {"code", "title", "details"}
    single.fault(fault, on=False)
    assert single.call("GET", "/v1/health")[0] == 200


def test_an_expired_client_refuses_the_login(single: Deployment) -> None:
    single.fault("expired")
    status, answer = single.login()
    assert (status, error_code(answer)) == (403, 1005)


def test_401_with_empty_body_and_expiring_tokens(single: Deployment) -> None:
    single.fault("api_401_empty")
    assert single.call("GET", "/v1/support") == (401, None)
    single.fault("api_401_empty", on=False)
    single.fault("token_expires", value=0.3)
    assert single.login()[0] == 200
    assert single.call("GET", "/v1/support")[0] == 200
    until(lambda: single.call("GET", "/v1/support")[0] == 401)


def test_requests_fail_while_the_database_is_down(single: Deployment) -> None:
    single.fault("dead_database")
    status, answer = single.call("GET", "/v1/support")
    assert (status, error_code(answer)) == (500, 1014)
    assert error_code(single.login()[1]) == 1014
    assert single.health() == {"gateway_status": "connected"}
    single.nodes["wacore"]._database_seen -= 30
    assert single.health() == {"gateway_status": "disconnected"}
    single.fault("dead_database", on=False)
    assert single.call("GET", "/v1/support")[0] == 200


def test_version_with_and_without_v_and_slow_answers(single: Deployment) -> None:
    single.fault("version_without_v")
    single.fault("slow_answers", value=0.3)
    started = time.monotonic()
    assert single.call("GET", "/v1/health")[1]["meta"]["version"] == "2.51.2"
    assert time.monotonic() - started >= 0.3


def test_tls_faults_and_the_ca(single: Deployment) -> None:
    def handshake(ca: str) -> str:
        import socket

        context = ssl.create_default_context(cadata=ca)
        try:
            with (
                socket.create_connection(single.address, timeout=5) as raw,
                context.wrap_socket(raw, server_hostname="localhost"),
            ):
                return "fine"
        except ssl.SSLCertVerificationError as exc:
            return exc.verify_message

    assert single.web is not None
    ca = single.web.certificates.ca
    ca = ca[ca.index("-----BEGIN CERTIFICATE") :]
    assert handshake(ca) == "fine"
    single.fault("tls_expired")
    assert "expired" in handshake(ca)
    single.fault("tls_expired", on=False)
    single.fault("tls_wrong_name")
    assert "localhost" in handshake(ca)


def test_unregistered_and_registration(single: Deployment) -> None:
    single.fault("unregistered")
    assert single.health() == {"gateway_status": "unregistered"}
    assert error_code(single.call("POST", "/v1/messages", {"to": "1", "type": "text"})[1]) == 1011
    single.fault("unregistered", on=False)
    assert single.call("POST", "/v1/account", {"cc": "1", "phone_number": "5550002000"})[0] == 202
    assert single.call("POST", "/v1/account/verify", {"code": "123456"})[0] == 201
    assert single.call("GET", "/v1/support")[1]["support"]["debug_info"] == "15550002000"


def test_unknown_paths_and_invalid_bodies(single: Deployment) -> None:
    status, answer = single.call("GET", "/v2/health")
    assert (status, error_code(answer)) == (404, 1006)
    status, answer = single.call("PATCH", "/v1/settings/application", raw=b"{not json")
    assert (status, error_code(answer)) == (400, 1009)


def test_different_versions_of_webapp_and_coreapp_are_an_error(deploy: Callable[..., Deployment]) -> None:
    d = deploy()
    d.core()
    d.start_web("2.51.1")
    until(lambda: d.web is not None and not d.web.broken)
    status, answer = d.call("GET", "/v1/health", auth=f"Apikey {API_KEY}")
    assert (status, error_code(answer)) == (500, 1014)
    assert "Version mismatch" in answer["errors"][0]["details"]
