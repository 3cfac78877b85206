# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_message_gc against the simulated client over a real database: each of the lab's faults, and what is said of it."""

from __future__ import annotations

import functools
import json
import re
import threading
import typing as t
from pathlib import Path

import pytest
from simulated import LEFT, LIMIT, ROWS, Run, Simulated

from ansible_collections.waba.onprem.plugins.module_utils._gc import policy

CLIENT = {"prefix": "gcf_", "gc_pause": 0.05}
UNREACHABLE = "HTTP 500, code 1014, .*Connection timed out. Please check if wacore is running"
REMAIN = r"about \d+ rows remain"


def under_the_limit(result: dict[str, t.Any]) -> bool:
    return not result.get("failed") and result["messages_after"] == LEFT and result["exact"] and result["changed"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("gc_fails_to_start", UNREACHABLE),
        ("coreapp_unreachable", UNREACHABLE),
        ("api_429", "HTTP 429, code 1015.*Try again when there is less traffic"),
        ("api_503", "HTTP 503, code 1016.*Try again when there is less traffic"),
        ("api_401_empty", "HTTP 401.*Give api_password for a new login"),
        ("expired", "HTTP 403, code 1005, .*has expired, please upgrade.*The client's build has expired: upgrade it"),
        ("dead_database", "HTTP 500, code 1014, .*Database error: .*Too many connections"),
        ("slow_answers", "no answer within 0.5 s.*raise api_timeout"),
    ],
)
def test_what_keeps_it_from_starting(run: Run, client: Simulated, tmp_path: Path, fault: str, message: str) -> None:
    client.fault(fault, value=2)
    result = run(api_timeout="0.5" if fault == "slow_answers" else "10")
    assert result["failed"]
    assert re.search(message, result["msg"], re.S), result["msg"]
    assert (result["changed"], client.count()) == (False, ROWS)
    kept = json.loads((tmp_path / "gc.json").read_text())["run"]
    assert (kept["over"], kept["round"]) == (True, 0)


@pytest.mark.parametrize("fault", ["gc_fails_to_start", "api_429", "api_503", "token_expires", "restart"])
def test_what_passes_while_it_is_tried_again(run: Run, client: Simulated, fault: str) -> None:
    timer = threading.Timer(1.5, client.fault, (fault, False))
    if fault == "restart":  # it is away when the call comes, and back a moment later
        timer = threading.Timer(1.0, client.start_web, (), {"web_port": client.address[1]})
        client.closers.pop()()
    else:
        client.fault(fault, value=0.2)
    timer.start()
    result = run()
    timer.join()
    assert under_the_limit(result), result


def test_it_never_ends(run: Run, client: Simulated) -> None:
    client.fault("gc_never_ends", value=20)
    patient = functools.partial(run, quiet_period="4")  # this GC pauses for a second, and for longer on a busy machine
    result = patient(wait_timeout="5")
    [seconds] = re.findall(r"rows still go after (\d+)s", result["msg"])
    assert int(seconds) >= 5, result["msg"]
    assert "it is taken up and not called a second time" in result["msg"]
    client.fault("gc_never_ends", on=False)
    taken_up = patient()
    assert (taken_up["messages_after"], taken_up["rounds"], taken_up["changed"]) == (LEFT, 1, False)


@pytest.mark.parametrize(
    ("fault", "options", "message", "rows"),
    [
        (
            "gc_deletes_nothing",
            {"wait_timeout": "3"},
            f"round 1 deleted nothing and {REMAIN}, .*unread inbound messages",
            {ROWS},
        ),
        ("gc_fails", {}, f"round 1 deleted nothing and {REMAIN}", {ROWS}),
        ("traffic", {"max_messages": 500}, f"{REMAIN} after 1 rounds", range(LIMIT + 1, 10**6)),
    ],
)
def test_what_it_ends_with(
    run: Run, client: Simulated, monkeypatch: pytest.MonkeyPatch, fault: str, options: t.Any, message: str, rows: t.Any
) -> None:
    monkeypatch.setattr(policy, "ROUNDS", 1)
    client.fault(fault, value=1500)
    result = run(**options)
    assert re.search(message, result["msg"]), result["msg"]
    assert client.count() in rows
    assert result["diff"]["after"]["messages"] > LEFT


def test_it_ends_half_way(run: Run, client: Simulated) -> None:
    client.fault("gc_half_way", value=0.4)
    result = run()
    assert not result.get("failed"), result
    assert result["rounds"] > 1


@pytest.mark.parametrize("fault", ["gc_no_callback", "gc_callback_late", "gc_callback_twice"])
def test_its_end_is_known_without_notifications(run: Run, client: Simulated, fault: str) -> None:
    client.fault(fault, value=2)
    assert under_the_limit(run())


def test_one_transaction(run: Run, client: Simulated) -> None:
    client.fault("gc_one_transaction")
    assert under_the_limit(run())


def test_an_account_that_is_locked(run: Run, client: Simulated) -> None:
    assert client.web is not None
    client.web.accounts._lock_after = 1
    try:
        assert "HTTP 401" in run(api_password="Wrong-1234")["msg"]
        locked = run()
    finally:
        client.web.accounts._lock_after = 1000
        client.where.sql("UPDATE gcf_webStore.users SET failures = 0, locked_until = 0;")
    assert "code 1031" in locked["msg"]
    assert "Wait until the lock ends" in locked["msg"]
    assert under_the_limit(run())
