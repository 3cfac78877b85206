# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_migration on real Docker, MariaDB and PostgreSQL: one migration at a time, and the lock is released if its holder dies."""

from __future__ import annotations

import json
import time
import typing as t
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from clients import Clients
from commands import docker
from database_servers import Server
from playbook import Ansible
from waiting import until

from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile

CANARY = "Canary-83-Turn-Pw"
Result = dict[str, t.Any]


class Deployment:
    """A client with its own database user, as its leader host sees it."""

    def __init__(self, ansible: Ansible, where: Server, folder: Path, name: str) -> None:
        self.ansible, self.where, self.name = ansible, where, name
        self.user = f"lock_{name}_{uuid.uuid4().hex[:6]}"
        if where.kind == "mariadb":
            where.sql(f"CREATE USER '{self.user}'@'%' IDENTIFIED BY '{CANARY}';")
        else:
            where.sql(f"CREATE ROLE {self.user} LOGIN PASSWORD '{CANARY}';")
        self.lock = folder / f"{name}.lock"
        self.file = JournalFile(str(self.lock))
        self.container = f"waba-migration-lock-{uuid.uuid4().hex[:8]}"
        self.env = folder / f"{name}.env"
        values = {
            "ENGINE": where.engine,
            "HOSTNAME": "127.0.0.1",
            "PORT": where.port,
            "USERNAME": self.user,
            "PASSWORD": CANARY,
            "NAME_PREFIX": name,
        }
        self.env.write_text("".join(f"WA_DB_{key}={value}\n" for key, value in values.items()))

    def begin(self, run_id: str = "m/1/1") -> None:
        """A run begins the upgrade, or resumes it."""
        claim = upgrade_journal.Claim(self.name, run_id, "ops", "ctl", "2.53.4")
        with self.file.exclusively():
            self.file.save(upgrade_journal.begin(self.file.load(), claim, time.time(), 600, take_over=True))

    def permit(self) -> None:
        """The run that holds the journal writes that the migration may begin."""
        with self.file.exclusively():
            found = self.journal()
            self.file.save(upgrade_journal.advance(found, found["run_id"], "", {}, time.time(), 600))

    def expire(self) -> None:
        """The run was killed, and no other run resumes the upgrade: its lease is over."""
        with self.file.exclusively():
            self.file.save({**self.journal(), "lease_until": 0})

    def end(self) -> None:
        """The upgrade ends without having migrated further."""
        with self.file.exclusively():
            self.file.remove()

    def migrates(self) -> bool:
        """Whether the container runs; the journal says so a moment before."""
        return "true" in docker("inspect", "--format", "{{.State.Running}}", self.container)

    def state(self) -> str:
        """What the journal says of the migration."""
        return str(self.journal().get("migration", {}).get("state"))

    def migrate(self, check: bool = False, **options: t.Any) -> Result:
        """Run the module, which migrates by starting the container that is there."""
        given = {
            "deployment": self.name,
            "lock_file": str(self.lock),
            "container": self.container,
            "argv": ["docker", "start", self.container],
            "project": self.container,
            "env_file": str(self.env),
        }
        return self.ansible.module("wa_migration", {**given, **options}, check)

    def journal(self) -> dict[str, t.Any]:
        found: dict[str, t.Any] = json.loads(self.lock.read_text())
        return found

    def lock_state(self) -> Result:
        options = {"gather": ["database"], "env_file": str(self.env)}
        found: Result = self.ansible.module("wa_info", options)["database"]["migration_lock"]
        return found

    def sessions(self) -> list[str]:
        """The ids of this user's sessions."""
        if self.where.kind == "mariadb":
            statement = f"SELECT id FROM information_schema.processlist WHERE user = '{self.user}';"
        else:
            statement = f"SELECT pid FROM pg_stat_activity WHERE usename = '{self.user}';"
        return self.where.sql(statement).split()


UNTIL_ASKED = ("sh", "-c", "until [ -e /end ]; do sleep 0.1; done")


@pytest.fixture
def jobs() -> t.Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def deployments(
    ansible: Ansible, docker_engine: str, database: Server, tmp_path: Path, clients: Clients, jobs: ThreadPoolExecutor
) -> t.Iterator[tuple[Deployment, Deployment]]:
    pair = Deployment(ansible, database, tmp_path, "one"), Deployment(ansible, database, tmp_path, "two")
    for deployment in pair:
        deployment.container = clients.add(f"dbupgrade-{deployment.name}", command=UNTIL_ASKED, start=False)
        deployment.begin()
    yield pair
    docker("rm", "--force", *(one.container for one in pair))
    for one in pair:
        one.end()
    until(lambda: [one.sessions() for one in pair] == [[], []], 30)


def start(jobs: ThreadPoolExecutor, deployment: Deployment, state: str = "ready", **options: t.Any) -> Future[Result]:
    job = jobs.submit(deployment.migrate, **options)
    until(lambda: deployment.state() == state, 60)
    return job


def test_a_second_deployment_waits_until_the_first_has_migrated(
    deployments: tuple[Deployment, Deployment], jobs: ThreadPoolExecutor
) -> None:
    one, two = deployments
    first = start(jobs, one)
    seen = two.lock_state()
    assert (seen["supported"], seen["unsupported_reason"], seen["owned"]) == (True, None, False)
    # MariaDB does not show the sessions of other users.
    assert ("another user" if one.where.kind == "mariadb" else f"of user {one.user}") in seen["holder"]
    assert one.lock_state()["owned"]
    predicted = two.migrate(check=True)
    assert (predicted["migration"]["holder"], predicted["changed"]) == (seen["holder"], False)
    second = start(jobs, two, "waiting")
    one.permit()
    until(one.migrates, 60)
    assert (two.state(), two.journal()["migration"]["holder"]) == ("waiting", seen["holder"])
    docker("exec", one.container, "touch", "/end")
    until(lambda: two.state() == "ready", 60)
    two.end()
    results = first.result(60), second.result(60)
    assert [one.get("failed") for one in results] == [None, None]
    assert [one["actions"] for one in results] == [[f"start the migration {one.container}"], []]
    assert (one.journal()["stage"], results[0]["migration"]["exit_code"]) == ("starting", 0)
    assert CANARY not in str(results) + str(one.journal())
    assert two.lock_state() == {"supported": True, "unsupported_reason": None, "holder": None, "owned": False}


def test_the_lock_of_a_killed_run_is_held_until_its_migration_ends(
    deployments: tuple[Deployment, Deployment], jobs: ThreadPoolExecutor
) -> None:
    one, two = deployments
    job = start(jobs, one)
    one.permit()
    until(one.migrates, 60)
    one.expire()
    other = start(jobs, two, "waiting")
    assert one.lock_state()["owned"]
    docker("kill", one.container)
    assert (job.result(60)["migration"]["exit_code"], one.journal()["stage"]) == (137, "migrating")
    until(lambda: two.state() == "ready", 60)
    two.end()
    assert not other.result(60).get("failed")


def test_a_lock_is_acquired_again_after_the_server_ended_its_session(
    deployments: tuple[Deployment, Deployment], jobs: ThreadPoolExecutor
) -> None:
    one, _two = deployments
    job = start(jobs, one)
    [number] = one.sessions()
    one.where.sql(f"KILL {number};" if one.where.kind == "mariadb" else f"SELECT pg_terminate_backend({number});")
    until(lambda: job.done() or one.sessions() not in ([], [number]), 60)
    assert not job.done(), job.result()["msg"]
    until(lambda: one.lock_state()["owned"], 30)
    one.end()
    assert not job.result(60).get("failed")


def test_a_timeout_names_the_holder_of_the_lock(
    deployments: tuple[Deployment, Deployment], jobs: ThreadPoolExecutor
) -> None:
    one, two = deployments
    job = start(jobs, one)
    refused = two.migrate(wait_timeout="2s")
    assert refused["failed"]
    assert "holds its migration lock; expected one migration at a time" in refused["msg"]
    assert (two.state(), two.journal()["migration"]["message"]) == ("failed", refused["msg"])
    one.end()
    job.result(60)


def test_the_process_of_an_earlier_run_ends_and_the_next_one_has_the_lock(
    deployments: tuple[Deployment, Deployment], jobs: ThreadPoolExecutor
) -> None:
    one, _two = deployments
    before = start(jobs, one)
    one.begin("m/2/2")
    after = start(jobs, one)
    assert not before.result(60).get("failed")
    assert one.lock_state()["owned"]
    one.end()
    assert not after.result(60).get("failed")


def test_the_migration_of_an_earlier_run_is_left_to_its_process(
    deployments: tuple[Deployment, Deployment], jobs: ThreadPoolExecutor
) -> None:
    one, _two = deployments
    before = start(jobs, one)
    one.permit()
    until(one.migrates, 60)
    one.begin("m/2/2")
    one.permit()
    again = one.migrate()
    assert (again["changed"], again["migration"]) == (False, {})
    docker("exec", one.container, "touch", "/end")
    assert before.result(60)["migration"]["exit_code"] == 0
    assert (one.journal()["run_id"], one.journal()["stage"]) == ("m/2/2", "starting")


def test_a_server_without_lock_support_is_reported(
    ansible: Ansible, docker_engine: str, postgres: Server, tmp_path: Path, jobs: ThreadPoolExecutor
) -> None:
    one = Deployment(ansible, postgres, tmp_path, "one")
    one.begin()
    postgres.sql("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;")
    try:
        seen = one.lock_state()
        assert (seen["supported"], seen["unsupported_reason"]) == (
            False,
            "its user cannot connect to the database postgres",
        )
        job = start(jobs, one)
        assert one.journal()["migration"]["unsupported_reason"] == seen["unsupported_reason"]
        one.end()
        assert not job.result(60).get("failed")
    finally:
        postgres.sql("GRANT CONNECT ON DATABASE postgres TO PUBLIC;")
