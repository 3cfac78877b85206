# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A message GC in which something fails: the API, the database, an upgrade, a process that is killed."""

from __future__ import annotations

import json
import time
import typing as t

import pytest
from fake_webapp import error
from gc_module import PROCESSING, Client, answered
from waiting import until

from ansible_collections.waba.onprem.plugins.module_utils._database.connection import DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._deployment.upgrade_journal import Claim, begin
from ansible_collections.waba.onprem.plugins.module_utils._gc import state as gc_state

NOT_STARTED = {"errors": [{"code": 1014, "details": "x"}]}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (error(500, 1014, "Internal error", "Coreapp broken"), "code 1014"),
        (answered(b=NOT_STARTED), "started on no node: b failed: 1014, x"),
    ],
)
def test_gc_that_does_not_start_is_due_again(client: Client, answer: t.Any, message: str) -> None:
    client.answer(answer)
    result = client.run(policy="daily")
    assert message in result["msg"]
    assert (result["changed"], result["rounds"], client.web.tokens) == (False, 0, set())
    assert (client.state()["over"], client.state()["keys"]) == (True, [])
    client.answer(client.collects())
    client.fill(1_999)
    assert client.run(policy="daily")["changed"]


def test_a_held_client_that_does_not_answer_is_not_asked(client: Client) -> None:
    client.answer(error(500, 1014, "Internal error", "Could not connect to the coreapp"))
    for _attempt in range(2):
        held = client.run(held="held by X")
        assert (held["skip_reason"], held["changed"], held["running"]) == ("the client is held by X", False, False)
        assert gc_state.last(str(client.state_file)) is None
    client.run()
    before = gc_state.last(str(client.state_file))
    assert before is not None
    assert client.run(held="held by X")["skip_reason"]
    assert gc_state.last(str(client.state_file)) == before, "no failure of GC"
    client.answer(client.collects())
    assert client.run(held="held by X")["messages_after"] == 1_800  # one that runs is asked as ever


@pytest.mark.parametrize("hours", [3, 0])
def test_the_wait_for_a_free_fork_is_no_wait_for_gc(client: Client, hours: int) -> None:
    """With more clients than forks a step is late by as long as those of the others take."""
    client.answer(client.collects(batches=20, pause=0.1))
    run_id = client.run(wait=False)["run_id"]

    def ago(name: str, hours: int) -> list[t.Any]:
        wall, uptime, boot = client.state()[name]
        return [wall - hours * 3600, uptime - hours * 3600, boot]

    client.keep(looked=ago("looked", hours), waiting=ago("waiting", 3))
    gone = client.gone()
    until(lambda: client.gone() > gone)
    result = client.run(run_id=run_id)
    assert "rows still go after 3h" in result["msg"] if not hours else result["messages_after"] == 1_800


UNKNOWN = "the table shows whether GC has begun"
RUNS = error(500, 1000, "Generic error", "Message GC is already running")


@pytest.mark.parametrize(
    ("answers", "warnings", "nodes", "logins"),
    [
        (["close"], [UNKNOWN], {}, 1),
        (["close", answered(**PROCESSING)], [UNKNOWN], {"coreapp": "processing"}, 2),  # it never arrived: once more
        ([(504, None)], [UNKNOWN], {}, 1),
        ([(502, None)], [UNKNOWN], {}, 1),
        ([RUNS], [UNKNOWN], {}, 1),
        (
            [answered(a=PROCESSING, b=NOT_STARTED)],
            ["GC did not start on b failed: 1014", "GC failed on b: failed: 1014"],
            {"a": "processing", "b": "failed: 1014, x"},
            1,
        ),
        (
            [(429, None), (401, None), answered(**PROCESSING)],
            [],
            {"coreapp": "processing"},
            2,
        ),  # waits after 429, logs in again after 401
    ],
)
def test_an_answer_with_which_gc_may_have_begun(
    client: Client, answers: list[t.Any], warnings: list[str], nodes: dict[str, str], logins: int
) -> None:
    client.answer(*answers[:-1], client.collects(answer=answers[-1]))
    result = client.run()
    assert (result["messages_after"], client.calls(), client.web.logins) == (1_800, len(answers), logins)
    assert len(client.warned) == len(warnings)
    assert all(text in found for text, found in zip(warnings, client.warned))
    assert {node: item["status"] for node, item in result["nodes"].items()} == nodes


def test_a_call_that_never_arrives_is_made_once_more(client: Client) -> None:
    client.answer("close")
    assert ("deleted nothing" in client.run()["msg"], client.calls()) == (True, 2)


def test_a_login_that_fails_between_two_rounds(client: Client) -> None:
    client.answer(client.collects(80, before=lambda: client.web.passwords.update(admin="Other-1234")))
    result = client.run()
    assert "HTTP 401" in result["msg"]
    assert (result["changed"], result["rounds"], result["messages_after"]) == (True, 1, 2_120)
    assert (client.state()["over"], client.state()["large"]) == (True, True)
    assert "HTTP 401" in client.run(run_id=result["run_id"])["msg"], "who follows it hears the same"


def test_a_refused_login_is_not_repeated(client: Client) -> None:
    one, other, later = "Wrong-9999", "Wrong-8888", "api-login-gc.json"  # which the cure names
    for password, message in ((one, "HTTP 401"), (one, later), (other, "HTTP 401")):
        assert message in client.run(api_password=password)["msg"]
    assert (client.web.logins, (client.folder / "api-login-gc.json").exists()) == (2, True)
    client.web.passwords["admin"] = other  # a first login, for instance, has made it right
    (client.folder / "api-login-gc.json").unlink()
    assert client.run(api_password=other)["messages_after"] == 1_800
    assert list(client.folder.glob("api-login*")) == []


def test_what_is_asked_without_a_credential(client: Client) -> None:
    predicted = client.run(check=True, api_password=None)
    assert (predicted["changed"], predicted["messages_before"]) == (False, 2_200)
    assert "GC would not be called: api_password: not given" in client.warned[0]
    refused = client.run(api_password=None)["msg"]
    assert "api_password: not given; expected the password of API user admin" in refused
    assert (client.web.requests, client.state_file.exists()) == ([], False)


def lost(kind: str = "lost") -> DatabaseError:
    return DatabaseError("database PGSQL at db:5432", "server closed the connection", kind)


def test_a_database_that_is_away_is_borne_for_a_while(client: Client) -> None:
    client.answer(client.collects(batches=20, pause=0.1))
    client.run(wait=False)
    for kind in ("lost", "unreachable", "too_many", "starting"):
        client.troubles = [lost(kind)]
        step = client.run(wait=False)
        assert (step["running"], step["progress"]["phase"]) == (True, "database: server closed the connection")
    client.troubles = [lost()] * 1000
    assert "while GC runs" in client.run(wait_timeout="0.5")["msg"]
    client.troubles = [lost("denied")]
    assert "server closed the connection" in client.run()["msg"]
    client.troubles = []
    assert (client.run()["messages_after"], client.calls()) == (1_800, 1)


@pytest.mark.parametrize("kind", ["unreachable", "too_many", "login", "timeout"])
def test_a_database_that_is_away_at_the_start(client: Client, kind: str) -> None:
    client.troubles = [lost(kind)] * 10
    assert "database PGSQL at db:5432" in client.run()["msg"]
    assert client.web.requests == []


def test_a_database_too_slow_to_count(client: Client) -> None:
    """What cannot be counted is large before the first call, and no reason for another one."""
    client.too_slow = True
    result = client.run()
    assert client.warned == ["wamessageStore: the count took too long; the table counts as large"]
    assert "the count took too long, so nobody knows whether GC is to be called again; about 1800 rows" in result["msg"]
    assert (result["exact"], client.calls()) == (False, 1)


def test_the_vacuum_comes_early_and_before_the_count(client: Client) -> None:
    client.vacuums = ["VACUUM not done: time-out"]  # the early one is cut off
    assert client.run(quiet_period="4")["messages_after"] == 1_800
    assert (client.vacuumed, client.warned) == (2, [])
    client.fill(2_200)
    client.vacuums = ["VACUUM not done: time-out"] * 99
    client.run(quiet_period="4")
    assert client.warned == ["VACUUM not done: time-out"]


@pytest.mark.parametrize("slow", ["login", "call"])
def test_what_goes_before_the_client_begins_is_no_quiet(client: Client, slow: str) -> None:
    if slow == "login":
        client.web.on("POST", "/v1/users/login", (429, None), (200, {"users": [{"token": "t"}]}))  # a second later
        client.web.tokens.add("t")
    client.answer(client.collects(delay=0.5, before=lambda: time.sleep(1.0 if slow == "call" else 0.0)))
    result = client.run(quiet_period="0.8")
    assert (result["messages_after"], result["rounds"]) == (1_800, 1)


def test_a_run_that_was_killed_is_judged_by_the_table(client: Client) -> None:
    client.run(wait=False)
    time.sleep(0.5)
    wall = client.state()["looked"][0]
    for looked in (wall - 3600, wall + 3600):  # it was killed in the call, and the host was rebooted
        watch = {**client.state()["watch"], "at": client.state()["watch"]["quiet_since"] + 60}
        client.keep(unanswered=1, nodes={}, looked=[looked, 0.0, "another"], watch=watch)
        assert client.run(wait=False)["running"], "rows have gone since, or nobody knows when"
    assert (client.run()["messages_after"], client.calls()) == (1_800, 1)


@pytest.mark.parametrize("shift", [-7200.0, 7200.0])
def test_a_clock_that_is_set_during_the_run(client: Client, monkeypatch: pytest.MonkeyPatch, shift: float) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + (shift if client.calls() else 0.0))
    client.answer(client.collects())
    assert client.run()["messages_after"] == 1_800


def test_no_gc_is_called_beside_an_upgrade(client: Client) -> None:
    def begin_upgrade() -> None:
        claim = Claim("support", "m/1/5", "ann", "ops1", "2.53.4")
        (client.folder / "wa.lock").write_text(json.dumps(begin(None, claim, time.time(), 60)))

    client.answer(client.collects(100, before=begin_upgrade))
    client.run()
    assert (client.calls(), client.web.logins, client.state()["over"]) == (1, 1, True)
    assert any("rows remain; no GC is called again: the deployment is locked" in text for text in client.warned)
    client.web.requests.clear()
    for check in (False, True):
        assert "the deployment is locked by the upgrade to 2.53.4 by ann" in client.run(check)["skip_reason"]
    assert client.web.requests == []
    (client.folder / "wa.lock").unlink()
    login = client.collects(0, before=begin_upgrade, answer=(200, {"users": [{"token": "t"}]}))
    client.web.on("POST", "/v1/users/login", login)
    assert "the deployment is locked" in client.run()["skip_reason"], "it has begun before the call"
    assert client.calls() == 0
