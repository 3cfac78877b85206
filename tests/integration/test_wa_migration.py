# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_migration on real Docker, MariaDB and PostgreSQL: it migrates when it may, for the run that has the journal."""

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
        self.project = f"waba-migration-{uuid.uuid4().hex[:8]}"
        self.container = f"{self.project}-dbupgrade-1"
        self.creates: list[str] = []
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
            self.file.save(upgrade_journal.note(found, found["run_id"], {}, time.time(), 600, migrate=True))

    def expire(self) -> None:
        """The run was killed, and no other run resumes the upgrade: its lease is over."""
        with self.file.exclusively():
            self.file.save({**self.journal(), "lease_until": time.time() - 1})

    def see_end(self) -> None:
        """The run has seen the migration end, and ends itself."""
        until(lambda: self.journal()["schema"] == "done", 60)
        with self.file.exclusively():
            self.file.save({**self.journal(), "lease_until": 0})

    def end(self) -> None:
        """The upgrade ends without having migrated further."""
        with self.file.exclusively():
            self.file.remove()

    def migrates(self) -> bool:
        """Whether the container runs; the journal says so a moment before."""
        return "true" in docker("inspect", "--format", "{{.State.Running}}", self.container, check=False)

    def state(self) -> str:
        """What the journal says of the migration."""
        return str(self.journal().get("migration", {}).get("state"))

    def migrate(self, check: bool = False, **options: t.Any) -> Result:
        """Run the module, which creates the container that migrates, and starts it."""
        given = {
            "lock_file": str(self.lock),
            "argv": self.creates,
            "project": self.project,
            "env_file": str(self.env),
        }
        return self.ansible.module("wa_migration", {**given, **options}, check)

    def journal(self) -> dict[str, t.Any]:
        found: dict[str, t.Any] = json.loads(self.lock.read_text())
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
def deployment(
    ansible: Ansible, docker_engine: str, database: Server, tmp_path: Path, clients: Clients
) -> t.Iterator[Deployment]:
    one = Deployment(ansible, database, tmp_path, "one")
    labels = {"project": one.project, "service": "dbupgrade"}
    options = [f"--label=com.docker.compose.{name}={value}" for name, value in labels.items()]
    options += ["--name", one.container, "--env", "WA_DB_UPGRADE=1", "--init", "--stop-timeout", "1"]
    one.creates = ["docker", "create", *options, clients.tag("coreapp"), *UNTIL_ASKED]
    one.begin()
    yield one
    docker("rm", "--force", one.container, check=False)
    one.end()
    until(lambda: one.sessions() == [], 30)


def start(jobs: ThreadPoolExecutor, deployment: Deployment, state: str = "ready", **options: t.Any) -> Future[Result]:
    job = jobs.submit(deployment.migrate, **options)
    until(lambda: deployment.state() == state, 60)
    return job


def test_it_migrates_when_the_journal_allows_it(deployment: Deployment, jobs: ThreadPoolExecutor) -> None:
    predicted = deployment.migrate(check=True)
    assert (predicted["migration"], predicted["changed"]) == ({}, False)
    job = start(jobs, deployment)
    assert not deployment.migrates()
    deployment.permit()
    until(deployment.migrates, 60)
    docker("exec", "--detach", deployment.container, "touch", "/end")
    deployment.see_end()
    result = job.result(60)
    assert (result.get("failed"), result["actions"]) == (None, ["start the migration to 2.53.4"])
    assert (deployment.journal()["schema"], result["migration"]["exit_code"]) == ("done", 0)
    assert CANARY not in str(result) + str(deployment.journal())


def test_the_migration_of_a_killed_run_is_followed_to_its_end_which_is_reported(
    deployment: Deployment, jobs: ThreadPoolExecutor, tmp_path: Path
) -> None:
    job = start(jobs, deployment, failure_command=f"tee {tmp_path}/told")
    deployment.permit()
    until(deployment.migrates, 60)
    deployment.expire()
    docker("kill", deployment.container)
    assert (job.result(60)["migration"]["exit_code"], deployment.journal()["schema"]) == (137, "started")
    told = json.loads((tmp_path / "told").read_text())
    assert (told["event"], told["deployment"], told["succeeded"]) == ("migration_ended", "one", False)
    assert told["message"].startswith("The migration to 2.53.4 ended with code 137")


def test_the_process_of_an_earlier_run_ends_and_the_next_one_is_ready(
    deployment: Deployment, jobs: ThreadPoolExecutor
) -> None:
    before = start(jobs, deployment)
    deployment.begin("m/2/2")
    after = start(jobs, deployment)
    assert not before.result(60).get("failed")
    deployment.end()
    assert not after.result(60).get("failed")


def test_the_migration_of_an_earlier_run_is_left_to_its_process(
    deployment: Deployment, jobs: ThreadPoolExecutor
) -> None:
    before = start(jobs, deployment)
    deployment.permit()
    until(deployment.migrates, 60)
    deployment.begin("m/2/2")
    deployment.permit()
    again = deployment.migrate()
    assert (again["changed"], again["migration"]) == (False, {})
    docker("exec", "--detach", deployment.container, "touch", "/end")
    deployment.see_end()
    assert before.result(60)["migration"]["exit_code"] == 0
    assert (deployment.journal()["run_id"], deployment.journal()["schema"]) == ("m/2/2", "done")
