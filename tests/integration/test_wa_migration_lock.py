# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_migration_lock on real MariaDB and PostgreSQL: one at a time, whoever asks, and free again by itself."""

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
    """A client with a database user of its own, as its leader sees it."""

    def __init__(self, ansible: Ansible, where: Server, folder: Path, name: str) -> None:
        self.ansible, self.where, self.name = ansible, where, name
        self.user = f"turn_{name}_{uuid.uuid4().hex[:6]}"
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

    def note(self, stage: str, lease: float = 600) -> None:
        """Write the journal of an upgrade at `stage`."""
        now = time.time()
        claim = upgrade_journal.Claim(self.name, "m/1/1", "ops", "ctl", "2.53.4")
        self.lock.write_text(json.dumps(upgrade_journal.begin(None, claim, now, lease, stage=stage)))

    def ask(self, check: bool = False, **options: t.Any) -> Result:
        given = {"deployment": self.name, "lock_file": str(self.lock), "container": self.container, **options}
        return self.ansible.module("wa_migration_lock", {"env_file": str(self.env), **given}, check)

    def whose(self, seconds: int = 0) -> Result:
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
    job = jobs.submit(deployment.ask, **options)
    assert deployment.whose(60)["owned"]
    return job


def test_the_second_one_waits_until_the_first_has_migrated(
    deployments: tuple[Deployment, Deployment], jobs: ThreadPoolExecutor
) -> None:
    one, two = deployments
    one.note("locked")
    first = start(jobs, one)
    seen = two.whose()
    assert (seen["supported"], seen["unsupported_reason"], seen["owned"]) == (True, None, False)
    # MariaDB shows nobody another user's sessions.
    assert ("another user" if one.where.kind == "mariadb" else f"of user {one.user}") in seen["holder"]
    predicted = two.ask(check=True)
    assert (predicted["holder"], predicted["changed"], predicted["waited"]) == (seen["holder"], False, 0.0)
    two.note("locked")
    second = jobs.submit(two.ask)
    for stage in ("stopping", "migrating"):
        one.note(stage)
        assert not two.whose(2)["owned"], stage
    one.note("starting")
    assert two.whose(60)["owned"]
    two.lock.unlink()  # the upgrade has ended
    told = first.result(60), second.result(60)
    assert [(one["changed"], bool(one.get("failed"))) for one in told] == [(False, False)] * 2
    assert (told[0]["holder"], told[0]["held"] > 2, told[1]["waited"] > 2) == (None, True, True)
    assert CANARY not in str(told)
    assert two.whose() == {"supported": True, "unsupported_reason": None, "holder": None, "owned": False}


def test_a_run_that_was_killed_leaves_the_turn_to_its_migration(
    deployments: tuple[Deployment, Deployment], jobs: ThreadPoolExecutor, clients: Clients
) -> None:
    one, two = deployments
    one.container = clients.add("dbupgrade")
    job = start(jobs, one)
    one.note("migrating")
    assert not two.whose(3)["owned"]
    one.note("migrating", lease=0)  # it was killed, and nobody goes on with it
    assert not two.whose(3)["owned"]
    assert one.whose()["owned"]
    docker("stop", "--time", "0", one.container)
    assert not job.result(60).get("failed")
    assert two.whose()["holder"] is None


def test_a_session_that_the_server_has_ended_is_had_again(
    deployments: tuple[Deployment, Deployment], jobs: ThreadPoolExecutor
) -> None:
    one, _two = deployments
    one.note("migrating")
    job = start(jobs, one)
    [number] = one.sessions()
    one.where.sql(f"KILL {number};" if one.where.kind == "mariadb" else f"SELECT pg_terminate_backend({number});")
    until(lambda: job.done() or one.sessions() not in ([], [number]), 60)
    assert not job.done(), job.result()["msg"]
    assert one.whose(30)["owned"]
    one.note("verifying")
    assert not job.result(60).get("failed")


def test_who_waits_in_vain_is_told_for_whom(
    deployments: tuple[Deployment, Deployment], jobs: ThreadPoolExecutor
) -> None:
    one, two = deployments
    one.note("migrating")
    job = start(jobs, one)
    refused = two.ask(wait_timeout="2s")
    assert refused["failed"]
    assert "holds the migration lock still; expected one migration at a time" in refused["msg"]
    one.lock.unlink()
    job.result(60)


def test_the_next_run_of_a_deployment_need_not_wait_for_the_one_before(
    deployments: tuple[Deployment, Deployment], jobs: ThreadPoolExecutor
) -> None:
    one, two = deployments
    one.note("migrating")
    before = start(jobs, one)
    after = start(jobs, one)
    one.note("starting")
    assert [job.result(60).get("failed") for job in (before, after)] == [None, None]
    assert two.whose()["holder"] is None


def test_a_server_that_keeps_no_turns_is_told(
    ansible: Ansible, docker_engine: str, postgres: Server, tmp_path: Path
) -> None:
    one = Deployment(ansible, postgres, tmp_path, "one")
    postgres.sql("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;")
    try:
        seen = one.whose()
        assert (seen["supported"], seen["unsupported_reason"]) == (
            False,
            "its user cannot connect to the database postgres",
        )
        assert one.ask()["unsupported_reason"] == seen["unsupported_reason"]
    finally:
        postgres.sql("GRANT CONNECT ON DATABASE postgres TO PUBLIC;")
