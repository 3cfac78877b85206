# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_migration_lock on real MariaDB and PostgreSQL: one migration at a time, and the lock is released if its holder dies."""

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

    def write_journal(self, stage: str, lease: float = 600) -> None:
        """Write the journal of an upgrade at `stage`."""
        now = time.time()
        claim = upgrade_journal.Claim(self.name, "m/1/1", "ops", "ctl", "2.53.4")
        self.lock.write_text(json.dumps(upgrade_journal.begin(None, claim, now, lease, stage=stage)))

    def acquire(self, check: bool = False, **options: t.Any) -> Result:
        given = {"deployment": self.name, "lock_file": str(self.lock), "container": self.container, **options}
        return self.ansible.module("wa_migration_lock", {"env_file": str(self.env), **given}, check)

    def lock_state(self, seconds: int = 0) -> Result:
        options = {"gather": ["database"], "env_file": str(self.env), "migration_lock_timeout": seconds}
        found: Result = self.ansible.module("wa_info", options)["database"]["migration_lock"]
        return found

    def sessions(self) -> list[str]:
        """The ids of this user's sessions."""
        if self.where.kind == "mariadb":
            statement = f"SELECT id FROM information_schema.processlist WHERE user = '{self.user}';"
        else:
            statement = f"SELECT pid FROM pg_stat_activity WHERE usename = '{self.user}';"
        return self.where.sql(statement).split()


@pytest.fixture
def deployments(
    ansible: Ansible, docker_engine: str, database: Server, tmp_path: Path
) -> t.Iterator[tuple[Deployment, Deployment]]:
    pair = Deployment(ansible, database, tmp_path, "one"), Deployment(ansible, database, tmp_path, "two")
    yield pair
    for deployment in pair:
        assert deployment.sessions() == [], "a session was left"


@pytest.fixture
def jobs() -> t.Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def start(jobs: ThreadPoolExecutor, deployment: Deployment, **options: t.Any) -> Future[Result]:
    job = jobs.submit(deployment.acquire, **options)
    assert deployment.lock_state(60)["owned"]
    return job


def test_a_second_deployment_waits_until_the_first_has_migrated(
    deployments: tuple[Deployment, Deployment], jobs: ThreadPoolExecutor
) -> None:
    one, two = deployments
    one.write_journal("locked")
    first = start(jobs, one)
    seen = two.lock_state()
    assert (seen["supported"], seen["unsupported_reason"], seen["owned"]) == (True, None, False)
    # MariaDB does not show the sessions of other users.
    assert ("another user" if one.where.kind == "mariadb" else f"of user {one.user}") in seen["holder"]
    predicted = two.acquire(check=True)
    assert (predicted["holder"], predicted["changed"], predicted["waited"]) == (seen["holder"], False, 0.0)
    two.write_journal("locked")
    second = jobs.submit(two.acquire)
    for stage in ("stopping", "migrating"):
        one.write_journal(stage)
        assert not two.lock_state(2)["owned"], stage
    one.write_journal("starting")
    assert two.lock_state(60)["owned"]
    two.lock.unlink()  # the upgrade has ended
    results = first.result(60), second.result(60)
    assert [(one["changed"], bool(one.get("failed"))) for one in results] == [(False, False)] * 2
    assert (results[0]["holder"], results[0]["held"] > 2, results[1]["waited"] > 2) == (None, True, True)
    assert CANARY not in str(results)
    assert two.lock_state() == {"supported": True, "unsupported_reason": None, "holder": None, "owned": False}


def test_the_lock_of_a_killed_run_is_held_until_its_migration_ends(
    deployments: tuple[Deployment, Deployment], jobs: ThreadPoolExecutor, clients: Clients
) -> None:
    one, two = deployments
    one.container = clients.add("dbupgrade")
    job = start(jobs, one)
    one.write_journal("migrating")
    assert not two.lock_state(3)["owned"]
    one.write_journal("migrating", lease=0)  # the run was killed, and no other run resumes it
    assert not two.lock_state(3)["owned"]
    assert one.lock_state()["owned"]
    docker("stop", "--time", "0", one.container)
    assert not job.result(60).get("failed")
    assert two.lock_state()["holder"] is None


def test_a_lock_is_acquired_again_after_the_server_ended_its_session(
    deployments: tuple[Deployment, Deployment], jobs: ThreadPoolExecutor
) -> None:
    one, _two = deployments
    one.write_journal("migrating")
    job = start(jobs, one)
    [number] = one.sessions()
    one.where.sql(f"KILL {number};" if one.where.kind == "mariadb" else f"SELECT pg_terminate_backend({number});")
    until(lambda: job.done() or one.sessions() not in ([], [number]), 60)
    assert not job.done(), job.result()["msg"]
    assert one.lock_state(30)["owned"]
    one.write_journal("verifying")
    assert not job.result(60).get("failed")


def test_a_timeout_names_the_holder_of_the_lock(
    deployments: tuple[Deployment, Deployment], jobs: ThreadPoolExecutor
) -> None:
    one, two = deployments
    one.write_journal("migrating")
    job = start(jobs, one)
    refused = two.acquire(wait_timeout="2s")
    assert refused["failed"]
    assert "holds the migration lock still; expected one migration at a time" in refused["msg"]
    one.lock.unlink()
    job.result(60)


def test_the_next_run_of_a_deployment_does_not_wait_for_its_own_lock(
    deployments: tuple[Deployment, Deployment], jobs: ThreadPoolExecutor
) -> None:
    one, two = deployments
    one.write_journal("migrating")
    before = start(jobs, one)
    after = start(jobs, one)
    one.write_journal("starting")
    assert [job.result(60).get("failed") for job in (before, after)] == [None, None]
    assert two.lock_state()["holder"] is None


def test_a_server_without_lock_support_is_reported(
    ansible: Ansible, docker_engine: str, postgres: Server, tmp_path: Path
) -> None:
    one = Deployment(ansible, postgres, tmp_path, "one")
    postgres.sql("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;")
    try:
        seen = one.lock_state()
        assert (seen["supported"], seen["unsupported_reason"]) == (
            False,
            "its user cannot connect to the database postgres",
        )
        assert one.acquire()["unsupported_reason"] == seen["unsupported_reason"]
    finally:
        postgres.sql("GRANT CONNECT ON DATABASE postgres TO PUBLIC;")
