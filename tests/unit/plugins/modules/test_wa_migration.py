# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When wa_migration starts the migration, what it writes into the journal, and when it gives up.

Between two of its looks it sleeps, which is replaced by a list of events: each changes the world.
"""

from __future__ import annotations

import hashlib
import json
import time
import types
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import facts
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile
from ansible_collections.waba.onprem.plugins.modules import wa_migration

CANARY = "Canary-17-Migration-Pw"
CONTAINER = "wa-support-dbupgrade-1"
ID = hashlib.sha256(CONTAINER.encode()).hexdigest()  # as the fake engine makes it
IMAGE = "registry.lab:5000/whatsapp/coreapp:v2.53.4"
OLD = IMAGE.replace("2.53.4", "2.51.2")
ENVIRONMENT = {"WA_DB_UPGRADE": "1"}
CREATES = ["timeout", "-k", "30", "300", "compose", "up"]
OWN = "m/1/5"
SESSION = {"id": "7", "database": "waba", "from": "10.0.0.7"}
Event = t.Callable[[], t.Any]
Result = dict[str, t.Any]


class Host:
    """A leader with the journal of an upgrade, a fake engine, and what happens at each look."""

    def __init__(self, engine: FakeDocker, folder: Path, run: t.Callable[..., Result]) -> None:
        self.engine, self.run = engine, run
        self.file = JournalFile(str(folder / "support.lock"))
        self.env = folder / "db.env"
        self.env.write_text(
            f"WA_DB_ENGINE=MYSQL\nWA_DB_HOSTNAME=db\nWA_DB_PORT=3306\nWA_DB_USERNAME=wa\nWA_DB_PASSWORD={CANARY}\n"
        )
        self.events: list[Event] = []
        self.before_start: Event = lambda: None
        self.commands: list[list[str]] = []
        self.start_code = 0
        self.sessions: list[dict[str, str]] | None = []
        self.definitions = "d1"
        self.begin()

    def begin(self, run_id: str = OWN, schema: str = "untouched", lease: float = 600) -> None:
        """A run begins the upgrade, or resumes it."""
        claim = upgrade_journal.Claim("support", run_id, "ann", "ops1", "2.53.4")
        now = time.time()
        self.file.save(upgrade_journal.begin(self.file.load(), claim, now, lease, schema=schema, take_over=True))

    def permit(self) -> None:
        """The run that holds the journal writes that the migration may begin."""
        self.note(migrate=True)

    def stop(self) -> None:
        """The run that holds the journal writes when it has begun to stop the client."""
        self.note(notes={"down_at": 1000.0})

    def note(self, notes: dict[str, t.Any] | None = None, lease: float = 600, **more: t.Any) -> None:
        """The run that holds the journal writes into it; `lease` is that of the run from then on, in seconds."""
        journal = self.file.load()
        assert journal is not None
        now = 0 if lease < 0 else time.time()
        noted = upgrade_journal.note(journal, journal["run_id"], notes or {}, now, max(lease, 0), **more)
        self.file.save(noted)

    def go_back(self) -> None:
        """The run that holds the journal goes back."""
        journal = upgrade_journal.go_back(self.file.load(), OWN)
        assert journal is not None
        self.file.save(journal)

    def container(self, state: str = "running", code: int = 0, **more: t.Any) -> None:
        """The migration's container is there."""
        given = {"image": IMAGE, "environment": ENVIRONMENT, **more}
        one = self.engine.container(CONTAINER, state=state, project="wa-support", service="dbupgrade", **given)
        one["ExitCode"] = code

    def started(self) -> bool:
        """Whether the container was told to start."""
        return f"POST /containers/{ID}/start" in self.engine.requests

    def sleep(self, _seconds: float) -> None:
        if not self.events and self.journal().get("migration", {}).get("state") in ("ended", "failed"):
            self.events = [lambda: self.note(lease=-1)]  # the run that has begun it sees the end, and ends
        self.events.pop(0)()

    def run_command(self, argv: list[str], **_options: t.Any) -> tuple[int, str, str]:
        self.commands.append(argv)
        if "logs" in argv:
            return 0, f"ALTER failed with {CANARY}", ""
        if not self.start_code:
            self.container("created")
        return self.start_code, "", "no such image"

    def gather(self, _params: t.Any, _env: t.Any, _idle: float) -> dict[str, t.Any]:
        self.before_start()
        if self.sessions is None:
            raise WaError("database", "down", "up")
        return {"sessions": self.sessions, "definitions": self.definitions}

    def migrate(self, check: bool = False, **options: t.Any) -> Result:
        given = {
            "lock_file": self.file.path,
            "argv": ["compose", "up"],
            "project": "wa-support",
            "env_file": str(self.env),
            "docker_host": self.engine.host,
        }
        return self.run("wa_migration", {**given, **options}, check)

    def journal(self) -> dict[str, t.Any]:
        return self.file.load() or {}


@pytest.fixture
def host(
    engine: FakeDocker, tmp_path: Path, run_module: t.Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> Host:
    made = Host(engine, tmp_path, run_module)

    monkeypatch.setattr(wa_migration, "time", types.SimpleNamespace(time=time.time, sleep=made.sleep))
    monkeypatch.setattr(
        AnsibleModule, "run_command", lambda _module, argv, **options: made.run_command(argv, **options)
    )
    monkeypatch.setattr(facts, "gather", made.gather)
    return made


@pytest.mark.parametrize("single", [True, False])
def test_it_migrates_when_it_may_and_writes_that_the_schema_is_done(host: Host, single: bool) -> None:
    said: list[t.Any] = []
    host.events = [
        lambda: said.append(host.journal()["migration"]),
        host.stop,
        lambda: said.append((host.commands[:], host.started())),
        host.permit,
        lambda: said.append((host.journal()["migration"]["state"], files.is_locked(host.file.job))),
        lambda: host.container("exited"),
    ]
    result = host.migrate(single=single)
    created = ([CREATES], False)
    assert said == [{"state": "ready", "message": ""}, created, ("running", True)], "not before it may"
    assert result["migration"] == {"state": "ended", "exit_code": 0, "idle": True, "message": ""}
    assert (result["changed"], result["actions"], host.started()) == (True, ["start the migration to 2.53.4"], True)
    assert host.commands == [CREATES]
    assert (host.journal()["schema"], host.journal()["migration"]) == ("done", result["migration"])
    notes = host.journal()["notes"]
    assert notes["down_at"] < notes["migrating_at"] <= notes["migrated_at"]
    assert not files.is_locked(host.file.job)


def test_a_failed_migration_leaves_its_code_and_its_log(host: Host) -> None:
    host.events = [host.permit, lambda: host.container("exited", 3)]
    result = host.migrate()
    assert (result.get("failed"), result["migration"]["exit_code"]) == (None, 3)
    assert result["migration"]["log"].startswith("ALTER failed with ")
    assert CANARY not in json.dumps([result, host.journal()])
    assert (host.journal()["schema"], host.journal()["migration"]) == ("started", result["migration"])


@pytest.mark.parametrize(("state", "code"), [("exited", 0), ("exited", 137), ("running", 0), ("paused", 0)])
def test_a_migration_that_is_there_is_not_started_again(host: Host, state: str, code: int) -> None:
    host.begin("m/2/5", "started")
    host.permit()
    host.container(state, code)
    host.events = [lambda: host.container("exited", code)]
    result = host.migrate(follow=ID)
    assert all("compose" not in argv for argv in host.commands)
    assert (result["changed"], result["migration"]["exit_code"], host.started()) == (False, code, False)
    assert host.journal()["notes"]["one_shots"] == [ID]


@pytest.mark.parametrize(("code", "schema"), [(0, "done"), (1, "started")])
def test_a_process_that_died_has_left_the_migration_to_the_next_of_its_run(host: Host, code: int, schema: str) -> None:
    host.begin(schema="started")
    host.permit()
    host.file.save({**host.journal(), "notes": {"one_shots": [ID]}})
    host.container("exited", code)
    host.events = []
    assert host.migrate()["migration"]["exit_code"] == code
    assert (host.started(), host.journal()["schema"]) == (False, schema)


def test_a_container_that_was_noted_and_never_started_is_started(host: Host) -> None:
    host.begin(schema="started")
    host.permit()
    host.file.save({**host.journal(), "notes": {"one_shots": [ID]}})
    host.container("created")
    host.events = [lambda: host.container("exited")]
    assert host.migrate()["actions"] == ["start the migration to 2.53.4"]
    assert (host.started(), host.commands, host.journal()["notes"]["one_shots"]) == (True, [], [ID])


def test_the_container_of_a_migration_that_has_failed_is_replaced(host: Host) -> None:
    host.begin(schema="started")
    host.file.save({**host.journal(), "notes": {"one_shots": [ID]}})
    host.container("exited", 1)
    host.events = [host.permit, lambda: host.container("exited")]
    assert host.migrate()["migration"]["exit_code"] == 0
    assert f"DELETE /containers/{ID}?v=0" in host.engine.requests
    assert host.commands == [CREATES]


@pytest.mark.parametrize(
    "changes",
    [{"environment": {}}, {"image": IMAGE.replace("2.53.4", "2.51.2")}],
    ids=["no WA_DB_UPGRADE", "another version"],
)
def test_a_container_with_the_name_of_the_migration_migrates_nothing(host: Host, changes: dict[str, t.Any]) -> None:
    def creates(argv: list[str], **_options: t.Any) -> tuple[int, str, str]:
        host.container("created", **changes)
        return 0, "", ""

    host.run_command = creates  # type: ignore[method-assign]
    host.stop()
    message = host.migrate()["msg"]
    assert "expected one of version 2.53.4 with WA_DB_UPGRADE in its environment. See which file" in message
    assert (host.started(), host.journal()["schema"]) == (False, "untouched")


def test_the_container_is_noted_before_it_is_started(host: Host) -> None:
    seen: list[t.Any] = []
    find = host.engine.find

    def look(key: str) -> dict[str, t.Any] | None:
        one = find(key)
        if one is not None and one["State"] == "created":
            journal = host.journal()
            seen.append((journal.get("schema"), journal.get("notes", {}).get("one_shots")))
        return one

    host.engine.find = look  # type: ignore[method-assign]
    host.stop()
    host.events = [host.permit, lambda: host.container("exited")]
    host.migrate()
    assert seen[-1] == ("started", [ID])


def test_a_container_that_was_not_needed_is_removed(host: Host) -> None:
    host.events = [host.file.remove]
    assert host.migrate()["changed"] is False
    assert (host.commands, host.engine.containers) == ([CREATES], {})


def test_the_definitions_of_the_tables_are_noted_before_and_after(host: Host) -> None:
    def end() -> None:
        host.definitions = "d2"
        host.container("exited")

    host.events = [host.permit, end]
    host.migrate()
    assert host.journal()["notes"]["definitions"] == {"before": "d1", "after": "d2"}


def test_the_definitions_from_before_the_first_migration_stay(host: Host) -> None:
    host.begin(schema="started")
    notes = {"one_shots": ["gone"], "definitions": {"before": "d0"}}
    host.file.save({**host.journal(), "notes": notes})
    host.events = [host.permit, lambda: host.container("exited", 1)]
    host.migrate()
    notes = host.journal()["notes"]
    assert (notes["one_shots"], notes["definitions"]) == (["gone", ID], {"before": "d0"})


@pytest.mark.parametrize(
    "event",
    [
        lambda host: host.begin("m/2/5"),
        lambda host: host.begin(lease=-1),
        lambda host: host.file.remove(),
        lambda host: host.note(schema="done"),
    ],
    ids=["another run", "the lease is over", "rolled back", "migrated already"],
)
def test_it_gives_up_without_a_migration_when_its_run_does_not_hold_the_journal(
    host: Host, event: t.Callable[[Host], None]
) -> None:
    host.events = [lambda: event(host), lambda: pytest.fail("it looks on")]
    before = host.journal().get("schema")
    result = host.migrate()
    assert (result["changed"], host.started(), before) == (False, False, "untouched")


def test_a_running_migration_is_recorded_for_the_run_that_has_resumed_the_upgrade(host: Host) -> None:
    host.events = [
        host.permit,
        lambda: host.begin("m/2/5", lease=-1),
        lambda: host.container("exited"),
    ]
    host.migrate()
    assert (host.journal()["run_id"], host.journal()["schema"]) == ("m/2/5", "done")
    assert host.journal()["lease_until"] < time.time(), "it renews no lease of another run"


def test_a_running_migration_of_another_upgrade_is_not_recorded(host: Host) -> None:
    def another() -> None:
        host.file.remove()
        host.begin("m/2/5")

    host.events = [host.permit, another, lambda: host.container("exited")]
    host.migrate()
    assert (host.journal()["schema"], "migration" in host.journal()) == ("untouched", False)


def test_a_lost_journal_stays_lost(host: Host) -> None:
    host.events = [host.permit, host.file.remove, lambda: host.container("exited")]
    assert host.migrate()["migration"]["exit_code"] == 0
    assert host.journal() == {}


@pytest.mark.parametrize(
    "event",
    [
        lambda host: host.begin("m/2/5"),
        lambda host: host.begin(lease=-1),
        lambda host: host.file.remove(),
        lambda host: host.go_back(),
    ],
    ids=["another run", "the lease is over", "removed", "it goes back"],
)
def test_nothing_is_started_for_a_run_that_has_lost_the_journal_since_it_was_read(
    host: Host, event: t.Callable[[Host], None]
) -> None:
    host.stop()
    host.events, host.before_start = [host.permit], lambda: event(host)
    result = host.migrate()
    assert (result["changed"], host.started()) == (False, False)


def test_a_command_that_is_missing_fails_with_its_name(host: Host) -> None:
    def missing(argv: list[str], **_options: t.Any) -> tuple[int, str, str]:
        raise FileNotFoundError(2, "No such file or directory", argv[0])

    host.run_command = missing  # type: ignore[method-assign]
    host.stop()
    assert "(timeout: No such file or directory)" in host.migrate()["msg"]
    assert (host.journal()["migration"]["state"], host.journal()["schema"]) == ("failed", "untouched")


def test_a_migration_that_could_not_be_noted_goes_on(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    save, full = JournalFile.save, [True]

    def fills(file: JournalFile, journal: dict[str, t.Any]) -> None:
        if full[0] and journal.get("migration", {}).get("state") == "running":
            raise WaError("lock file", "no room", "a file that this run can write")
        save(file, journal)

    monkeypatch.setattr(JournalFile, "save", fills)
    seen: list[str] = []
    host.events = [
        host.permit,
        lambda: seen.append(host.journal()["migration"]["state"]),
        lambda: full.clear() or full.append(False),  # type: ignore[func-returns-value]
        lambda: seen.append(host.journal()["migration"]["state"]),
        lambda: host.container("exited"),
    ]
    assert host.migrate()["migration"]["exit_code"] == 0
    assert (seen, host.journal()["schema"]) == (["ready", "running"], "done")


def test_what_is_given_to_compose_is_hidden(host: Host) -> None:
    given = host.env.with_name("compose.env")
    given.write_text("X_TOKEN=Canary-given-to-compose\n")
    host.start_code = 1
    host.run_command = lambda argv, **_options: (1, "", "cannot use Canary-given-to-compose")  # type: ignore[method-assign]
    result = host.migrate(argv=["docker", "compose", f"--env-file={given}", "up"])
    assert "cannot use" in result["msg"]
    assert "Canary" not in json.dumps([result, host.journal()])


def test_a_removed_container_fails(host: Host) -> None:
    host.events = [host.permit, host.engine.containers.clear]
    result = host.migrate()
    assert "removed while it migrated" in result["msg"]
    assert (host.journal()["schema"], host.journal()["migration"]["state"]) == ("started", "failed")


def test_an_engine_that_does_not_answer_is_asked_again(host: Host) -> None:
    def back() -> None:
        host.engine.failures.clear()
        host.container("exited", 137)

    host.events = [
        host.permit,
        lambda: host.engine.failures.update({f"GET /v1.45/containers/{ID}": (500, "restarts")}),
        lambda: None,
        back,
    ]
    assert host.migrate()["migration"]["exit_code"] == 137


@pytest.mark.parametrize(("code", "why"), [(1, "no such image"), (124, "not within 300 s"), (-9, "not within 300 s")])
def test_a_migration_that_cannot_be_created(host: Host, code: int, why: str) -> None:
    host.run_command = lambda argv, **_options: (code, "", "no such image")  # type: ignore[method-assign]
    result = host.migrate()
    assert result["msg"].startswith(f"migration: could not be created ({why})")
    assert (host.journal()["migration"]["state"], host.journal()["migration"]["message"]) == ("failed", result["msg"])
    assert host.journal()["schema"] == "untouched"


@pytest.mark.parametrize(
    ("there", "schema", "noted"), [("created", "untouched", []), ("running", "started", [ID]), ("", "untouched", [])]
)
def test_a_migration_that_cannot_be_started(
    host: Host, there: str, schema: str, noted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        host.permit()
        host.engine.failures[f"POST /containers/{ID}/start"] = (500, "no room")

    def gather(_params: t.Any, _env: t.Any, _idle: float) -> dict[str, t.Any]:
        if there:
            host.container(there)
        else:
            host.engine.containers.clear()
        return {"sessions": [], "definitions": ""}

    monkeypatch.setattr(facts, "gather", gather)
    host.stop()
    host.events = [fails]
    result = host.migrate()
    assert result["msg"].startswith("migration: could not be started (container ")
    assert (host.journal()["migration"]["state"], host.journal()["migration"]["message"]) == ("failed", result["msg"])
    assert host.journal()["schema"] == schema
    assert host.journal()["notes"].get("one_shots", []) == noted


@pytest.mark.parametrize(
    ("sessions", "said"),
    [
        (
            [SESSION],
            "database: the client is stopped on all hosts of the inventory, and its user still has sessions: 1 on",
        ),
        (None, "database: down; expected up."),
    ],
    ids=["used", "unknown"],
)
def test_a_used_database_is_not_migrated(host: Host, sessions: list[dict[str, str]] | None, said: str) -> None:
    host.sessions = sessions
    host.stop()
    host.events = [host.permit]
    result = host.migrate()
    assert result["msg"].startswith(said)
    assert (host.started(), result["changed"]) == (False, False)
    assert (host.journal()["schema"], host.journal()["migration"]["message"]) == ("untouched", result["msg"])


def test_no_migration_is_started_where_a_second_coreapp_would_run(host: Host) -> None:
    where = {"WA_DB_HOSTNAME": "db", "WA_DB_PORT": "3306", "WA_DB_ENGINE": "MYSQL"}
    for project in ("wa-support", "other"):
        host.engine.container(f"{project}-wacore-1", OLD, project, "wacore", environment=where)
    host.stop()
    host.events = [host.permit]
    message = host.migrate(single=True)["msg"]
    assert message.startswith("Coreapp of a single client: other-wacore-1 (running, project other) would run beside")
    assert (host.started(), host.journal()["schema"]) == (False, "untouched")


def test_the_client_of_another_project_with_a_database_of_its_own_is_left_alone(host: Host) -> None:
    where = {"WA_DB_HOSTNAME": "db", "WA_DB_PORT": "3306", "WA_DB_ENGINE": "MYSQL"}
    for project, image in (("wa-support", OLD), ("other", IMAGE)):
        host.engine.container(f"{project}-wacore-1", image, project, "wacore", environment=where)
    host.stop()
    host.events = [host.permit, lambda: host.container("exited")]
    assert host.migrate(single=True, neighbours=["other"])["migration"]["exit_code"] == 0


@pytest.mark.parametrize("sessions", [[SESSION], None], ids=["used", "unknown"])
def test_a_database_that_is_used_after_the_migration_is_noted(
    host: Host, sessions: list[dict[str, str]] | None
) -> None:
    def end() -> None:
        host.sessions = sessions
        host.container("exited")

    host.events = [host.permit, end]
    assert host.migrate()["migration"]["exit_code"] == 0
    assert (host.journal()["schema"], host.journal()["migration"]["idle"]) == ("done", False)


def test_a_second_coreapp_after_the_migration_is_noted(host: Host) -> None:
    def end() -> None:
        host.container("exited")
        where = {"WA_DB_HOSTNAME": "db", "WA_DB_PORT": "3306", "WA_DB_ENGINE": "MYSQL"}
        for project in ("wa-support", "other"):
            host.engine.container(f"{project}-wacore-1", project=project, service="wacore", environment=where)

    host.events = [host.permit, end]
    assert host.migrate(single=True)["migration"]["exit_code"] == 0
    assert (host.journal()["schema"], host.journal()["migration"]["idle"]) == ("done", False)


def test_a_second_process_leaves_the_migration_to_the_first(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wa_migration, "TAKES_OVER_WITHIN", 0.0)
    with host.file.migrating() as alone:
        assert alone
        result = host.migrate()
    assert (result["changed"], result["migration"], "migration" in host.journal()) == (False, {}, False)


def test_it_needs_the_journal(host: Host) -> None:
    host.file.remove()
    assert "expected the journal of the upgrade that is begun" in host.migrate()["msg"]


@pytest.mark.parametrize(("copied_at", "copied"), [(1.0, True), (2e9, False)], ids=["after the copy", "before its end"])
@pytest.mark.parametrize(("state", "code"), [("running", 0), ("exited", 0), ("exited", 1)])
def test_a_container_that_somebody_has_started_before_it_was_allowed_is_evidence(
    host: Host, copied_at: float, copied: bool, state: str, code: int
) -> None:
    """docker start of all containers, while the database is copied. The copy of a changed schema is no way back."""

    def starts() -> None:
        host.container(state, code)
        host.engine.find(ID)["StartedAt"] = "2026-01-01T00:00:00Z"  # type: ignore[index]
        host.note(notes={"copied_at": copied_at, "manifest": "/a.json"}, migrate=True)

    host.stop()
    host.events = [starts]
    message = host.migrate()["msg"]
    assert message.startswith(f"container {CONTAINER}: started before the run has allowed it; expected one that was")
    journal = host.journal()
    assert (journal["schema"], host.started(), ID in host.engine.containers) == ("started", False, True)
    assert (bool(journal["notes"]["copied_at"]), bool(journal["notes"]["manifest"])) == (copied, copied)
    assert "one_shots" not in journal["notes"], "the next run looks how it has ended"


@pytest.mark.parametrize("by_hand", ["the migration", "the new version"])
@pytest.mark.parametrize("state", ["running", "exited"])
def test_what_somebody_has_started_since_the_run_has_looked_is_evidence(host: Host, by_hand: str, state: str) -> None:
    """Hours may pass before the outage, for a message GC: the changed schema is neither copied nor is its sign removed."""
    where = {"WA_DB_HOSTNAME": "db"}
    core = host.engine.container("wa-support-wacore-1", OLD, "wa-support", "wacore", environment=where)
    core["StartedAt"] = "2026-01-01T00:00:00Z"
    if by_hand == "the migration":
        host.container(state)
        host.engine.find(ID)["StartedAt"] = "2026-01-02T00:00:00Z"  # type: ignore[index]
    else:
        core["State"], core["Config"]["Image"] = state, IMAGE
    message = host.migrate()["msg"]
    name = CONTAINER if by_hand == "the migration" else "wa-support-wacore-1"
    assert message.startswith(f"container {name}: started before the run has allowed it; expected one that was")
    assert (host.journal()["schema"], host.commands) == ("started", [])
    assert not [one for one in host.engine.requests if not one.startswith("GET")]


def test_a_new_version_that_was_started_beside_a_failed_migration_is_not_migrated_beneath(host: Host) -> None:
    host.note(notes={"down_at": 5.0}, schema="started")
    host.stop()
    new = host.engine.container(
        "wa-support-wacore-1", IMAGE, "wa-support", "wacore", environment={"WA_DB_HOSTNAME": "db"}
    )
    new["StartedAt"] = "2026-01-01T00:00:00Z"
    message = host.migrate()["msg"]
    assert message.startswith("container wa-support-wacore-1: started before the run has allowed it")
    assert host.commands == []


def test_a_migration_from_before_the_client_was_started_is_replaced(host: Host) -> None:
    """Somebody has restored the database, and started the old version on it."""
    host.container("exited")
    core = host.engine.container("wa-support-wacore-1", OLD, "wa-support", "wacore")
    for name, at in ((CONTAINER, "2026-01-01T00:00:00Z"), (core["Name"], "2026-01-02T00:00:00Z")):
        host.engine.find(name)["StartedAt"] = at  # type: ignore[index]
    host.events = [lambda: host.note(notes={"down_at": 2e9}), host.permit, lambda: host.container("exited")]
    assert host.migrate()["migration"]["exit_code"] == 0
    assert f"DELETE /containers/{ID}?v=0" in host.engine.requests


def log(write: t.Callable[[str], t.Any]) -> types.SimpleNamespace:
    """A syslog that writes elsewhere."""
    names = dict.fromkeys(("LOG_PID", "LOG_DAEMON", "LOG_ERR"), 0)
    return types.SimpleNamespace(**names, openlog=lambda *_given: None, syslog=lambda _level, text: write(text))


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("code", "succeeded"), [(0, True), (3, False)])
def test_an_end_that_no_run_sees_is_reported(
    host: Host, code: int, succeeded: bool, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the disk was full, and the journal does not have it."""
    save = JournalFile.save

    def fills(file: JournalFile, journal: dict[str, t.Any]) -> None:
        if full and journal.get("migration", {}).get("state") in ("ended", "failed"):
            raise WaError("lock file", "no room", "a file that this run can write")
        save(file, journal)

    monkeypatch.setattr(JournalFile, "save", fills)
    said: list[str] = []
    told: list[t.Any] = []
    run = host.run_command

    def run_command(argv: list[str], **options: t.Any) -> tuple[int, str, str]:
        if "data" in options:
            told.append((argv, json.loads(options["data"])))
            return 1, "", "no route"
        return run(argv, **options)

    host.run_command = run_command  # type: ignore[method-assign]
    monkeypatch.setattr(wa_migration, "syslog", log(said.append))
    gone = {"lease_until": 1.0}
    host.events = [
        host.permit,
        lambda: host.container("exited", code),
        lambda: host.file.save({**host.journal(), **gone}),
    ]
    host.migrate(failure_command="/bin/page 'on call'")
    [(argv, facts)] = told
    assert ("ended with code 3. Its last lines" in facts["message"]) is not succeeded
    assert argv == ["timeout", "-k", "5", "60", "/bin/page", "on call"]
    assert (facts["event"], facts["succeeded"], facts["target"]) == ("migration_ended", succeeded, "2.53.4")
    assert "Run upgrade.yml -e wa_upgrade_version=2.53.4, which goes on from there" in facts["next"]
    assert (CANARY in json.dumps(facts)) is False
    assert [text.partition(":")[0] for text in said] == ["support", "support"]
    assert said[1].endswith("wa_failure_command has failed: no route")


@pytest.mark.parametrize("event", ["another run", "served", "ended"])
def test_an_end_that_a_run_sees_is_not_reported(host: Host, event: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wa_migration, "syslog", log(pytest.fail))
    seen: dict[str, Event] = {
        "another run": lambda: host.begin("m/2/5"),
        "served": lambda: host.note(notes={"up_at": 5.0}),
        "ended": host.file.remove,
    }
    host.events = [host.permit, lambda: host.container("exited"), seen[event]]
    assert host.migrate(failure_command="/bin/page")["migration"]["exit_code"] == 0
    assert host.events == []
