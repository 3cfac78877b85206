# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_message_gc against a small Webapp on a real socket and a table in memory that GC empties in its own time."""

from __future__ import annotations

import json
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from fake_webapp import FakeWebapp, error

from ansible_collections.waba.onprem.plugins.module_utils import _database_messages as messages
from ansible_collections.waba.onprem.plugins.module_utils._database import DatabaseError, Settings

RunModule = t.Callable[..., "dict[str, t.Any]"]

PASSWORD = "Right-1234"
DATABASE_PASSWORD = "Canary-gc-77"
GC = "/v1/services/message/gc"
CALL = f"PUT {GC}"


class Table:
    """The `messages` of a client, in memory. `gc` deletes as the client would: later, in batches, in a thread."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.counter = 0
        self.deleting = False
        self.troubles: list[DatabaseError] = []
        self.read_only = False
        self.gates = 0
        self.threads: list[threading.Thread] = []
        self.databases = ["wamessageStore"]

    def delete(self, count: int, batches: int = 4, pause: float = 0.05, delay: float = 0.0) -> None:
        """Start to delete."""

        def work() -> None:
            time.sleep(delay)
            for _number in range(batches):
                self.rows -= count // batches
                self.counter += count // batches
                time.sleep(pause)

        self.threads.append(threading.Thread(target=work))
        self.threads[-1].start()

    def trouble(self) -> None:
        if self.troubles:
            raise self.troubles.pop(0)

    # What the adapter offers

    def find_tables(
        self, _config: Settings, _prefix: str, choose: t.Callable[[list[str]], list[str]], _only: t.Any = None
    ) -> list[messages.Table]:
        self.trouble()
        return [messages.Table(name, name, ("id",)) for name in choose(self.databases)]

    def gate(self, _config: Settings, _tables: t.Any, limit: int) -> messages.Count:
        self.gates += 1
        large = self.rows > limit
        return messages.Count(limit + 1 if large else self.rows, not large, large)

    def pulse(self, _config: Settings, _tables: t.Any) -> messages.Pulse:
        self.trouble()
        return messages.Pulse(self.rows, (self.counter,), 0, self.deleting, self.read_only)

    def tidy(self, _config: Settings, _tables: t.Any, _seconds: float) -> str:
        return ""


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Table]:
    found = Table(2_200)
    for name in ("find_tables", "gate", "pulse", "tidy"):
        monkeypatch.setattr(messages, name, getattr(found, name))
    yield found
    for thread in found.threads:
        thread.join()


@pytest.fixture
def fake() -> t.Iterator[FakeWebapp]:
    server = FakeWebapp()
    yield server
    server.close()


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the module warned of: Ansible shows it at once when a module runs in the controller's own process."""
    found: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text: found.append(text))
    return found


Run = t.Callable[..., "dict[str, t.Any]"]


@pytest.fixture
def run(run_module: RunModule, fake: FakeWebapp, table: Table, tmp_path: Path) -> Run:
    env = tmp_path / "db.env"
    env.write_text(
        "WA_DB_ENGINE=PGSQL\nWA_DB_HOSTNAME=db\nWA_DB_PORT=5432\nWA_DB_USERNAME=wa\n"
        f"WA_DB_PASSWORD={DATABASE_PASSWORD}\nWA_DB_NAME_PREFIX=wa\n"
    )

    def call(check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        given = {
            "api_url": fake.url,
            "api_password": PASSWORD,
            "env_file": str(env),
            "state_file": str(tmp_path / "gc.json"),
            "max_messages": 2_000,
            "settle": "0.3",
            "poll_interval": "0.1",
            "wait_timeout": "30",
        }
        result = run_module("wa_message_gc", {**given, **options}, check)
        assert DATABASE_PASSWORD not in json.dumps(result)
        assert PASSWORD not in (tmp_path / "gc.json").read_text() if (tmp_path / "gc.json").exists() else True
        return result

    return call


def state(tmp_path: Path) -> dict[str, t.Any]:
    found: dict[str, t.Any] = json.loads((tmp_path / "gc.json").read_text())
    return found


def processing(*nodes: str) -> tuple[int, t.Any]:
    gc: t.Any = {node: {"status": "processing"} for node in nodes} if nodes else {"status": "processing"}
    return 200, {"services": {"message": {"gc": gc}}}


def collects(table: Table, count: int = 400, answer: t.Any = None, **how: t.Any) -> t.Callable[[], t.Any]:
    """A reply to the call that starts the client's GC."""

    def reply() -> t.Any:
        table.delete(count, **how)
        return answer or processing()

    return reply


def test_above_the_limit_it_is_brought_under_it(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table))
    predicted = run(check=True)
    assert fake.requests == []
    assert predicted["changed"]
    assert "more rows than the limit" in predicted["actions"][0]
    result = run()
    assert (result["messages_before"], result["messages_after"], result["exact"]) == (2_200, 1_800, True)
    assert (result["messages_deleted"], result["rounds"], result["changed"]) == (400, 1, True)
    assert result["nodes"] == {"coreapp": {"status": "processing", "count": None}}
    assert fake.paths().count(CALL) == 1
    for check in (False, True):
        again = run(check=check)
        assert not again["changed"]
        assert again["not_due_because"] == "not more rows than the limit"
        assert again["messages_before"] == again["messages_after"] == 1_800
    assert table.gates == 5


def test_rounds_repeat_while_they_delete_something(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table, 80), collects(table, 80), collects(table, 80))
    result = run(wait_timeout="20")
    assert (result["rounds"], result["messages_deleted"], result["messages_after"]) == (3, 240, 1_960)
    assert fake.logins == 1


def test_rounds_are_bounded(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table, 40))
    result = run(max_rounds=2)
    assert result["failed"]
    assert "about 2120 rows remain after 2 rounds" in result["msg"]
    assert result["changed"]
    assert result["messages_deleted"] == 80


def test_a_round_that_deletes_nothing_fails_with_what_holds_the_rows(run: Run, fake: FakeWebapp) -> None:
    fake.on("PUT", GC, processing())
    result = run(wait_timeout="0.6")
    assert result["failed"]
    assert "round 1 deleted nothing and about 2200 rows remain" in result["msg"]
    assert "unread inbound messages" in result["msg"]
    assert not result["changed"]


def test_a_gc_that_never_ends_is_left_to_the_next_run(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table, 1_000, batches=50, pause=0.04))
    result = run(wait_timeout="0.8")
    assert result["failed"]
    assert "still deleting after" in result["msg"]
    taken_up = run(wait_timeout="10")
    assert taken_up["messages_after"] == 1_200
    assert fake.paths().count(CALL) == 1


def test_gc_that_ends_half_way_is_called_again(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table, 100), collects(table, 500))
    assert run()["rounds"] == 2


def test_slow_to_begin(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table, delay=1.0))
    assert run()["messages_after"] == 1_800


def test_a_delete_that_runs_is_waited_for(run: Run, fake: FakeWebapp, table: Table) -> None:
    def one_transaction() -> t.Any:
        table.deleting = True

        def commit() -> None:
            time.sleep(1.0)
            table.rows, table.counter, table.deleting = 1_000, 1_200, False

        table.threads.append(threading.Thread(target=commit))
        table.threads[-1].start()
        return processing()

    fake.on("PUT", GC, one_transaction)
    assert run()["messages_after"] == 1_000


def test_steps_take_it_up(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, collects(table, batches=8))
    step = run(wait=False)
    assert (step["running"], step["changed"]) == (True, False)
    assert state(tmp_path)["run"]["phase"] == "watching"
    run_id = step["run_id"]
    for _number in range(100):
        step = run(wait=False, follow=run_id)
        if not step["running"]:
            break
        assert step["progress"]["round"] == 1
        time.sleep(0.1)
    assert (step["changed"], step["messages_after"], step["run_id"]) == (True, 1_800, run_id)
    # a second driver, late: the same result, and no second call although the policy would want one
    follower = run(policy="always", follow=run_id)
    assert (follower["changed"], follower["messages_after"]) == (True, 1_800)
    assert fake.paths().count(CALL) == 1


def test_check_mode_of_a_running_one(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table))
    run(wait=False)
    result = run(check=True)
    assert result["changed"]
    assert "go on with" in result["actions"][0]


def test_two_controllers_at_once_call_once(
    run_module: RunModule, run: Run, fake: FakeWebapp, table: Table, tmp_path: Path
) -> None:
    from ansible_collections.waba.onprem.plugins.module_utils._gc_state import StateFile

    fake.on("PUT", GC, collects(table))
    step = run(wait=False)
    other = StateFile(str(tmp_path / "gc.json"), {})
    with other.lock(1) as mine:
        assert mine
        busy = run(wait=False, follow=step["run_id"])
    assert (busy["running"], busy["progress"]["phase"]) == (True, "another run is at work")
    assert run()["messages_after"] == 1_800
    assert fake.paths().count(CALL) == 1


def test_a_module_killed_in_the_call_is_judged_by_the_table(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path
) -> None:
    fake.on("PUT", GC, collects(table))
    run(wait=False)
    data = state(tmp_path)
    data["run"]["phase"] = "calling"
    (tmp_path / "gc.json").write_text(json.dumps(data))
    result = run()
    assert result["messages_after"] == 1_800
    assert fake.paths().count(CALL) == 1


def test_a_record_whose_rows_no_longer_fall_has_ended(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, processing())
    run(wait=False)
    data = state(tmp_path)
    data["run"]["seen"]["uptime"] -= 3600
    data["run"]["seen"]["boot"] = "another"
    data["run"]["seen"]["wall"] -= 3600
    (tmp_path / "gc.json").write_text(json.dumps(data))
    begin = time.monotonic()
    result = run(wait_timeout="60")
    assert "deleted nothing" in result["msg"]
    assert time.monotonic() - begin < 10
    assert state(tmp_path)["run"] is None


def test_clock_stepping_back_across_a_reboot(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, collects(table))
    run(wait=False)
    data = state(tmp_path)
    for name in ("seen", "begun", "first"):
        data["run"][name].update(boot="another", wall=data["run"][name]["wall"] + 86400)
    (tmp_path / "gc.json").write_text(json.dumps(data))
    assert run()["messages_after"] == 1_800
    assert fake.paths().count(CALL) == 1


# Due or not


def test_daily_acts_once_in_its_interval(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    table.rows = 900
    fake.on("PUT", GC, collects(table, 40))
    assert run(policy="daily")["messages_after"] == 860
    second = run(policy="daily")
    assert not second["changed"]
    assert "less than 24h00m" in second["not_due_because"]
    assert second["due_at"]
    data = state(tmp_path)
    data["last"]["ended"]["wall"] -= 86400
    data["last"]["ended"]["boot"] = "another"
    (tmp_path / "gc.json").write_text(json.dumps(data))
    assert run(policy="daily")["changed"]


def test_outside_the_window_nothing_is_asked(run: Run, fake: FakeWebapp, table: Table) -> None:
    hour = time.gmtime().tm_hour
    result = run(window=f"{(hour + 2) % 24:02d}:00-{(hour + 3) % 24:02d}:00", timezone="UTC")
    assert "outside the window" in result["not_due_because"]
    assert result["due_at"].endswith("+00:00")
    assert (fake.requests, table.gates) == ([], 0)
    fake.on("PUT", GC, collects(table))
    inside = run(window=f"{hour:02d}:00-{(hour + 2) % 24:02d}:00", timezone="UTC")
    assert inside["messages_after"] == 1_800


def test_too_much_traffic(run: Run, fake: FakeWebapp, table: Table) -> None:
    sent = iter(range(0, 10**6, 500))
    fake.on("GET", "/v1/stats/app", lambda: (200, {"stats": {"outbound_messages": next(sent)}}))
    result = run(max_outbound_rate=10)
    assert "more than 10" in result["not_due_because"]
    assert CALL not in fake.paths()
    fake.on("GET", "/v1/stats/app", (200, {"stats": {"outbound_messages": 5}}))
    fake.on("PUT", GC, collects(table))
    assert run(max_outbound_rate=10)["changed"]
    assert "GET /v1/stats/db" not in fake.paths()


def test_traffic_that_cannot_be_told(run: Run, fake: FakeWebapp) -> None:
    fake.on("GET", "/v1/stats/app", (200, {"stats": {"queue": 5}}))
    assert "no figure of /v1/stats/app" in run(max_outbound_rate=10)["msg"]


def test_a_neighbours_database_is_never_summed(run: Run, fake: FakeWebapp, table: Table) -> None:
    table.databases = ["wa0messageStore", "wamessageStore"]
    result = run()
    assert "ambiguous for prefix 'wa': wa0messageStore, wamessageStore" in result["msg"]
    assert fake.requests == []
    fake.on("PUT", GC, collects(table))
    assert run(databases=["wamessageStore"])["databases"] == ["wamessageStore"]


# The API


def test_a_wrong_password_is_remembered(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    first = run(api_password="Wrong-9999")
    assert "HTTP 401" in first["msg"]
    second = run(api_password="Wrong-9999")
    assert "is not tried again" in second["msg"]
    assert fake.logins == 1
    assert "Wrong-9999" not in (tmp_path / "gc.json").read_text()
    fake.on("PUT", GC, collects(table))
    assert run()["changed"]
    assert state(tmp_path)["refused"] is None


def test_gc_that_does_not_start_leaves_nothing_behind(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, error(500, 1014, "Internal error", "Coreapp broken"))
    result = run(policy="daily")
    assert "code 1014" in result["msg"]
    assert state(tmp_path)["run"] is None
    assert state(tmp_path)["last"] is None
    fake.on("PUT", GC, collects(table))
    assert run(policy="daily")["changed"]


def test_one_node_of_three_does_not_start(run: Run, fake: FakeWebapp, table: Table, warned: list[str]) -> None:
    answer = (
        200,
        {
            "services": {
                "message": {
                    "gc": {
                        "a:9dfe77618dba": {"status": "processing"},
                        "b:a9dcc716fd6e": {"status": "processing"},
                        "c:b9dcc716fd6e": {"errors": [{"code": 1014, "details": "wacore3:6252"}]},
                    }
                }
            }
        },
    )
    fake.on("PUT", GC, collects(table, answer=answer))
    result = run()
    assert result["messages_after"] == 1_800
    assert any("c:b9dcc716fd6e failed: 1014" in warning for warning in warned)
    assert result["nodes"]["c:b9dcc716fd6e"]["status"].startswith("failed")


@pytest.mark.parametrize(
    "answer",
    ["close", (504, None), (502, None), error(500, 1000, "Generic error", "Message GC is already running")],
)
def test_an_answer_that_leaves_it_open_is_judged_by_the_table(
    run: Run, fake: FakeWebapp, table: Table, warned: list[str], answer: t.Any
) -> None:
    fake.on("PUT", GC, collects(table, answer=answer))
    assert run()["messages_after"] == 1_800
    assert fake.paths().count(CALL) == 1
    assert any("is judged by the table" in text for text in warned)


def test_a_password_that_is_changed_in_the_middle(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    def change() -> t.Any:
        table.delete(80)
        fake.passwords["admin"] = "Other-1234"
        fake.tokens.clear()
        return processing()

    fake.on("PUT", GC, change)
    assert "HTTP 401" in run()["msg"]
    assert fake.logins == 2
    assert "is not tried again" in run()["msg"]
    assert fake.logins == 2


def test_rate_limit_and_overload_are_waited_out(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, (429, None), (401, None), collects(table))
    assert run()["messages_after"] == 1_800
    assert fake.logins == 2


# The database


def lost(kind: str = "lost") -> DatabaseError:
    return DatabaseError("database PGSQL at db:5432", "server closed the connection", kind)


def test_a_database_that_fails_over_in_the_middle(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table))
    run(wait=False)
    table.troubles = [lost(), lost("unreachable"), lost("too_many"), lost("starting")]
    step = run(wait=False)
    assert (step["running"], step["progress"]["phase"]) == (True, "database: server closed the connection")
    assert run()["messages_after"] == 1_800


def test_a_database_that_stays_away(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, collects(table))
    run(wait=False)
    table.troubles = [lost() for _number in range(1000)]
    result = run(wait_timeout="0.5")
    assert "while GC runs" in result["msg"]
    assert state(tmp_path)["run"]["phase"] == "watching"
    table.troubles = []
    assert run()["messages_after"] == 1_800
    assert fake.paths().count(CALL) == 1


@pytest.mark.parametrize("kind", ["unreachable", "too_many", "login", "timeout"])
def test_a_database_that_is_away_at_the_start(run: Run, fake: FakeWebapp, table: Table, kind: str) -> None:
    table.troubles = [lost(kind)] * 10
    result = run()
    assert result["failed"]
    assert "database PGSQL at db:5432" in result["msg"]
    assert CALL not in fake.paths()


def test_a_replica_is_refused(run: Run, fake: FakeWebapp, table: Table) -> None:
    table.read_only = True
    assert "read only" in run()["msg"]
    assert fake.requests == []


def test_statistics_that_are_reset_in_the_middle(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, collects(table, 400, batches=10))
    run(wait=False)
    time.sleep(0.2)
    table.counter = -100_000
    assert run()["messages_after"] == 1_800


# The state file


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"format": 1, "cli',
        "[]",
        '{"format": 2, "client": {}}',
        '{"format": 1, "client": {}, "run": {"id": "x"}}',
        '{"format": 1, "client": {}, "run": "x"}',
        '{"format": 1, "client": {}, "last": {"id": "x", "ended": null}}',
        '{"format": 1, "client": {}, "refused": {"user": "admin", "salt": "none"}}',
    ],
)
def test_a_corrupt_state_file(run: Run, fake: FakeWebapp, tmp_path: Path, text: str) -> None:
    (tmp_path / "gc.json").write_text(text)
    assert "corrupt" in run()["msg"]
    assert fake.requests == []


@pytest.mark.parametrize(("name", "value"), [("seen", {}), ("judge", {"x": 1}), ("called", None), ("nodes", "gone")])
def test_a_run_in_the_state_file_that_is_corrupt(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, name: str, value: t.Any
) -> None:
    fake.on("PUT", GC, collects(table))
    run(wait=False)
    data = state(tmp_path)
    if value == "gone":
        del data["run"][name]
    else:
        data["run"][name] = value
    (tmp_path / "gc.json").write_text(json.dumps(data))
    assert "corrupt" in run()["msg"]


def test_a_state_file_that_is_read_only(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    """It is replaced, not written into; what counts is its folder, and that is tried before anything begins."""
    fake.on("PUT", GC, collects(table))
    assert run()["changed"]
    (tmp_path / "gc.json").chmod(0o400)
    assert run()["not_due_because"] == "not more rows than the limit"


def test_a_state_file_of_another_client(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, collects(table))
    run()
    data = state(tmp_path)
    data["client"]["prefix"] = "other"
    (tmp_path / "gc.json").write_text(json.dumps(data))
    assert "belongs to another client (prefix other)" in run()["msg"]


def test_a_state_file_that_cannot_be_written(run: Run, fake: FakeWebapp) -> None:
    result = run(state_file="/proc/nothing/gc.json")
    assert "cannot be written" in result["msg"]
    assert fake.requests == []


# Notifications


def notify(path: Path, deleted: int = 400, node: str | None = None, status: str = "complete", **more: t.Any) -> None:
    gc: dict[str, t.Any] = {"messages_deleted": deleted, "status": status, **({"node": node} if node else {})}
    with path.open("a") as stream:
        stream.write(json.dumps({"services": [{"message": {"gc": gc}}], **more}) + "\n")


def test_notifications_end_it(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    path = tmp_path / "webhook.jsonl"
    notify(path, 999)  # of an older run

    def reply() -> t.Any:
        table.rows -= 400
        notify(path, 150, "a:9dfe77618dba")
        notify(path, 150, "a:9dfe77618dba")  # repeated: the client does so until it gets a 200
        notify(path, 250, "b:a9dcc716fd6e")
        return processing("a:9dfe77618dba", "b:a9dcc716fd6e")

    fake.on("PUT", GC, reply)
    result = run(completion="notifications", notifications=str(path))
    assert (result["messages_deleted"], result["callbacks"]) == (400, "complete")
    assert result["nodes"]["b:a9dcc716fd6e"] == {"status": "complete", "count": 250}


def test_an_older_runs_notification_does_not_end_a_gc_that_deletes(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path
) -> None:
    path = tmp_path / "webhook.jsonl"

    def reply() -> t.Any:
        table.delete(400, batches=20)
        notify(path, 7)  # late: nothing in it tells that it is an older one's
        return processing()

    fake.on("PUT", GC, reply)
    result = run(completion="notifications", notifications=str(path))
    assert result["messages_after"] == 1_800


def test_a_failed_notification_counts_zero_and_rows_went_all_the_same(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path
) -> None:
    path = tmp_path / "webhook.jsonl"

    def half_way() -> t.Any:
        table.delete(100)
        notify(path, 0, status="failed", errors=[{"code": 1014, "details": "lost"}])
        return processing()

    fake.on("PUT", GC, half_way, collects(table, 300))
    result = run(notifications=str(path))
    assert (result["rounds"], result["messages_after"], result["messages_deleted"]) == (2, 1_800, 400)


@pytest.mark.parametrize("shift", [-7200.0, 7200.0])
def test_a_clock_that_is_set_during_the_run(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: float
) -> None:
    path = tmp_path / "webhook.jsonl"
    real = time.time

    def reply() -> t.Any:
        monkeypatch.setattr(time, "time", lambda: real() + shift)
        table.rows -= 400
        notify(path, 400, timestamp=real() + shift)
        return processing()

    fake.on("PUT", GC, reply)
    result = run(completion="notifications", notifications=str(path))
    assert (result["messages_after"], result["callbacks"], result["seconds"] < 30) == (1_800, "complete", True)


def test_a_notification_that_is_missing(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    path = tmp_path / "webhook.jsonl"

    def reply() -> t.Any:
        table.rows -= 400
        notify(path, 400, "a:9dfe77618dba")
        return processing("a:9dfe77618dba", "b:a9dcc716fd6e")

    fake.on("PUT", GC, reply)
    result = run(completion="notifications", notifications=str(path), wait_timeout="0.6")
    assert "no notification from b:a9dcc716fd6e" in result["msg"]


def test_a_failed_notification(run: Run, fake: FakeWebapp, tmp_path: Path) -> None:
    path = tmp_path / "webhook.jsonl"

    def reply() -> t.Any:
        notify(path, 0, status="failed", errors=[{"code": 1014, "details": "out of memory"}])
        return processing()

    fake.on("PUT", GC, reply)
    for completion in ("notifications", "database"):
        result = run(completion=completion, notifications=str(path))
        assert "GC failed on coreapp: failed: 1014 out of memory" in result["msg"]


def test_a_notification_of_a_gc_that_had_nothing_to_delete_ends_it_soon(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path
) -> None:
    table.rows = 100
    path = tmp_path / "webhook.jsonl"

    def reply() -> t.Any:
        notify(path, 0)
        return processing()

    fake.on("PUT", GC, reply)
    result = run(policy="always", notifications=str(path), wait_timeout="60")
    assert (result["changed"], result["messages_after"], result["seconds"] < 10) == (False, 100, True)


def test_unverified_above_ten_million(run: Run, fake: FakeWebapp, table: Table) -> None:
    table.rows = 11_000_000
    fake.on("PUT", GC, collects(table, 10_999_000))
    assert run()["callbacks"] == "unverified"


def test_completion_none(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.on("PUT", GC, processing())
    result = run(completion="none")
    assert (result["messages_after"], result["running"], result["rounds"]) == (None, False, 1)


# Media, marking as read


def test_media_gc_comes_last_and_is_waited_for(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    path = tmp_path / "webhook.jsonl"
    fake.on("PUT", GC, collects(table))

    def reply() -> t.Any:
        with path.open("a") as stream:
            stream.write('{"services": [{"message": {"gc": {"items_deleted": 9, "status": "complete"}}}]}\n')
        return 200, {"services": {"media": {"gc": {"status": "processing"}}}}

    fake.on("PUT", "/v1/services/media/gc", reply)
    result = run(media=True, notifications=str(path))
    assert result["media"] == {"coreapp": "complete, 9 items"}
    assert result["messages_after"] == 1_800
    assert fake.paths()[-1] == "PUT /v1/services/media/gc"


def test_marking_as_read(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("GET", "/v1/settings/application", (200, {"settings": {"application": {"pass_through": False}}}))
    fake.on("PUT", "/v1/messages/one", (200, None))
    fake.on("PUT", "/v1/messages/two", (200, {}))
    fake.on("PUT", GC, collects(table))
    ids = tmp_path / "ids"
    ids.write_text("two\n\nthree\n")
    options = {"mark_read": ["one", "two"], "mark_read_file": str(ids), "mark_read_rate": 50}
    predicted = run(check=True, **options)
    assert predicted["actions"][0] == "mark 3 inbound messages as read"
    result = run(**options)
    assert (result["marked_read"], result["mark_read_unknown"]) == (2, ["three"])
    calls = [path for path in fake.paths() if path.startswith("PUT")]
    assert calls == ["PUT /v1/messages/one", "PUT /v1/messages/two", "PUT /v1/messages/three", CALL]


def test_marking_needs_pass_through_off(run: Run, fake: FakeWebapp, table: Table, warned: list[str]) -> None:
    fake.on("GET", "/v1/settings/application", (200, {"settings": {"application": {"pass_through": True}}}))
    fake.on("PUT", GC, collects(table))
    result = run(mark_read=["one"])
    assert any("pass_through=false" in warning for warning in warned)
    assert result["marked_read"] == 0
    assert "PUT /v1/messages/one" not in fake.paths()


def test_marking_is_resumed(run: Run, fake: FakeWebapp, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.waba.onprem.plugins.module_utils import _gc_run

    monkeypatch.setattr(_gc_run, "_MARKING_STEP", 0.1)
    fake.on("GET", "/v1/settings/application", (200, {"settings": {"application": {}}}))
    fake.on("PUT", GC, collects(table))
    ids = [str(number) for number in range(6)]
    for name in ids:
        fake.on("PUT", f"/v1/messages/{name}", (200, None))
    step = run(wait=False, mark_read=ids, mark_read_rate=20)
    assert (step["running"], step["progress"]["phase"]) == (True, "marking as read")
    assert run(mark_read=ids, mark_read_rate=20)["messages_after"] == 1_800
    assert [path for path in fake.paths() if "/v1/messages/" in path] == [f"PUT /v1/messages/{name}" for name in ids]


def test_marking_ends_with_the_window(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ansible_collections.waba.onprem.plugins.module_utils import _gc_policy

    fake.on("GET", "/v1/settings/application", (200, {"settings": {"application": {}}}))
    for name in range(5):
        fake.on("PUT", f"/v1/messages/{name}", (200, None))
    closes = iter([0.0, 0.0, 0.0, 3600.0])  # at the start, then before each message
    monkeypatch.setattr(_gc_policy, "until_window", lambda _window, _now: next(closes, 3600.0))
    options = {"mark_read": [str(number) for number in range(5)], "mark_read_rate": 50, "window": "01:00-05:00"}
    result = run(**options)
    assert "the window 01:00-05:00 closed after 2 of 5 messages were marked" in result["not_due_because"]
    assert CALL not in fake.paths()
    assert state(tmp_path)["run"] is None


# Options


def test_options_that_make_no_sense(run: Run) -> None:
    assert "option window" in run(window="nonsense")["msg"]
    assert "option settle" in run(settle="long")["msg"]
    assert "not known on this host" in run(timezone="Mars/Olympus")["msg"]
    assert "not readable" in run(env_file="/nowhere/db.env")["msg"]
    assert "mark_read_file" in run(mark_read_file="/nowhere/ids")["msg"]
    assert "notifications" in run(completion="notifications")["msg"]


def test_paths_come_from_the_deployment() -> None:
    from ansible_collections.waba.onprem.plugins.modules.wa_message_gc import complete

    params = {"max_messages": 1, "max_rounds": 1, "mark_read_rate": 5, "state_file": None}
    complete(params | {"project": "wa-support", "env_file": None})
    given: dict[str, t.Any] = {**params, "project": "wa-support", "env_file": None}
    complete(given)
    assert given["env_file"] == "/opt/waba/support/db.env"
    assert given["state_file"] == "/var/lib/waba/gc-support.json"
    given = {**params, "project": None, "env_file": "/srv/sales/db.env"}
    complete(given)
    assert given["state_file"] == "/var/lib/waba/gc-sales.json"
