#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_migration_lock
short_description: Keep the migration lock on a database server for as long as an upgrade needs it
version_added: 0.1.0
description:
  - Two migrations at once slow each other down on one database server, and both clients are away all the while. So the server
    keeps a lock that all deployments ask for, whoever upgrades them and from wherever, and of whatever database user.
  - Waits until the lock is free, takes it, and ends when it is not needed any more. That is when the upgrade's journal at
    O(lock_file) is past the migration, has ended or has an expired lease, and O(container) does not run.
    Meant for C(async).
  - Nobody needs to release the lock. It goes with this process's session, and a server gives up a session of a host that
    has lost its power within half a minute.
  - P(waba.onprem.wa_info#module) returns the holder of the migration lock.
options:
  deployment:
    description: The deployment's name, which PostgreSQL shows to those who wait.
    type: str
    required: true
  lock_file:
    description: The lock file of the deployment's upgrade. It may come up to two minutes after the lock.
    type: path
    required: true
  container:
    description: The name of the container that migrates. While it runs, the lock is kept whatever the journal says.
    type: str
    required: true
  wait_timeout:
    description: How long to wait for the lock, in seconds or as text.
    type: str
    default: 2h
extends_documentation_fragment:
  - waba.onprem.attributes
  - waba.onprem.database
  - waba.onprem.docker
  - waba.onprem.env
attributes:
  check_mode:
    description: Tells who holds the lock, and neither takes it nor waits.
notes:
  - O(env_file) is needed.
  - On PostgreSQL the user must be able to connect to the database C(postgres), as all can unless it was taken from them.
    The session is idle in a transaction there that has seen no table.
  - A Galera cluster supports no migration lock, since its nodes have no lock in common, or refuse one.
author:
  - waba.onprem contributors (@waba)
"""

EXAMPLES = r"""
- name: Take the migration lock of the database server
  waba.onprem.wa_migration_lock:
    deployment: support
    lock_file: /var/lib/waba/support.lock
    container: wa-support-dbupgrade-1
    env_file: /opt/waba/support/db.env
  async: 86400
  poll: 0

- name: Wait until it is ours
  waba.onprem.wa_info:
    gather: [database]
    env_file: /opt/waba/support/db.env
    migration_lock_timeout: 30
  register: found
  until: found.database.migration_lock.owned or not found.database.migration_lock.supported
  retries: 240
"""

RETURN = r"""
actions:
  description: Actions that were made, or predicted in check mode; always empty, since nothing is left changed.
  type: list
  elements: str
  returned: always
  sample: []
unsupported_reason:
  description: Why the server supports no migration lock for the client's user; V(null) when it does.
  type: str
  returned: always
  sample: the nodes of a Galera cluster have no lock in common
holder:
  description: A description of the first holder of the lock; V(null) if it was free.
  type: str
  returned: always
  sample: session 42 of user wa from 10.0.0.7
waited:
  description: Seconds until the lock was had.
  type: float
  returned: always
  sample: 12.5
held:
  description: Seconds for which it was had.
  type: float
  returned: always
  sample: 310.2
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import Redactor
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._core.units import parse_duration
from ansible_collections.waba.onprem.plugins.module_utils._database import connection as database
from ansible_collections.waba.onprem.plugins.module_utils._database import migration_lock
from ansible_collections.waba.onprem.plugins.module_utils._database import options as database_options
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile
from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine
from ansible_collections.waba.onprem.plugins.module_utils._env import options as env_options

POLL_INTERVAL = 1.0  # seconds between two reads of the journal; each also keeps the database session active
BEGINS_WITHIN = 120.0  # seconds from the lock to the upgrade's journal
DOCKER_TIMEOUT = 5  # seconds; less than the time after which the server ends an inactive session


class Need:
    """Determines whether the lock is still needed, from the upgrade's journal and containers on this host."""

    def __init__(self, params: dict[str, t.Any]) -> None:
        self.params = params
        self.file = JournalFile(params["lock_file"])
        found = self.file.load()
        # An existing journal may be a dead run's, which this run has not taken over yet.
        self.found = _run(found) if found else ("", False)
        self.seen = found is not None
        self.begun = False

    def lasts(self, held: float) -> bool:
        """Returns whether it is needed, `held` seconds after it was acquired."""
        return self._upgrades(held) or self.may_run()

    def _upgrades(self, held: float) -> bool:
        journal = self.file.load()
        if journal is None or upgrade_journal.is_migrated(journal):
            return not self.seen and journal is None and held < BEGINS_WITHIN
        self.seen = True
        due = upgrade_journal.is_migration_due(journal, time.time())
        run_id, ended = _run(journal)
        self.begun = self.begun or (due and run_id != self.found[0]) or (ended and not self.found[1])
        return due or (not self.begun and held < BEGINS_WITHIN)

    def may_run(self) -> bool:
        """Returns whether the migration may be running; true if the engine does not answer."""
        try:
            engine = docker_engine.Docker({**self.params, "docker_timeout": DOCKER_TIMEOUT})
            found = engine.container(self.params["container"])
        except WaError:
            return True
        return found is not None and found.state in ("running", "paused")


def _run(journal: dict[str, t.Any]) -> tuple[str, bool]:
    """Returns the run that holds the journal, and whether it has recorded its end."""
    return str(journal["run_id"]), not journal["lease_until"]


class Keeper:
    """Waits for the lock and keeps it, over several sessions if necessary."""

    def __init__(
        self, config: database.Settings, own: str, need: Need, params: dict[str, t.Any], result: Result
    ) -> None:
        self.config, self.own, self.need, self.params, self.result = config, own, need, params, result
        self.began = time.monotonic()
        self.wait_until = self.began + parse_duration("wait_timeout", params["wait_timeout"])
        self.taken: float | None = None

    def run(self) -> None:
        """Waits for the lock and keeps it until it is no longer needed. Raises WaError at the time-out or if it is impossible."""
        while self.need.lasts(self._held()):
            try:
                self._keep(migration_lock.connect(self.config, self.own, self.params["deployment"]))
                return
            except DatabaseError as error:
                # The session is lost, or the server is unreachable: another client may acquire the lock next.
                if not error.retryable or self._is_late():
                    raise
                time.sleep(POLL_INTERVAL)

    def _held(self) -> float:
        return 0.0 if self.taken is None else time.monotonic() - self.taken

    def _is_late(self) -> bool:
        """Returns whether the time-out is over; a lost lock is requested again as long as it is needed."""
        return self.taken is None and time.monotonic() > self.wait_until

    def _keep(self, lock: migration_lock.MigrationLock) -> None:
        """Acquires the lock in one session, and keeps it. Raises DatabaseError if the session is lost."""
        with lock.session:
            while not lock.take():
                if not self.need.lasts(self._held()):
                    return
                if self._is_late():
                    holder = lock.holder()[0] or "another session"
                    found = f"{holder} holds the migration lock still"
                    raise WaError(self.config.subject, found, "one migration at a time")
                time.sleep(POLL_INTERVAL)
            if self.taken is None:
                self.taken = time.monotonic()
                self.result.values["waited"] = round(self.taken - self.began, 1)
            while self.need.lasts(self._held()):
                lock.keep_alive()
                self.result.values["held"] = round(self._held(), 1)
                time.sleep(POLL_INTERVAL)


def read_lock(config: database.Settings, own: str, timeout: float) -> dict[str, t.Any]:
    """Returns the holder of the migration lock; retries for `timeout` seconds if the server is unreachable."""
    end = time.monotonic() + timeout
    while True:
        try:
            with database.connect(config) as session:
                return migration_lock.inspect(session, own)
        except DatabaseError as error:
            if not error.retryable or time.monotonic() > end:
                raise
            time.sleep(POLL_INTERVAL)


def run(params: dict[str, t.Any], result: Result, check_mode: bool) -> None:
    """Waits for the lock, and keeps it while it is needed."""
    if not params["env_file"]:
        raise WaError("option env_file", "not given", "the client's db.env")
    env = env_options.read_env(params["env_file"], params["env_format"])
    result.redact.add([env.get("WA_DB_PASSWORD")])
    config = database.settings(params, env)
    own = migration_lock.lock_id(env, params["databases"])
    keeper = Keeper(config, own, Need(params), params, result)
    lock = read_lock(config, own, 0.0 if check_mode else keeper.wait_until - keeper.began)
    result.values.update(unsupported_reason=lock["unsupported_reason"], holder=lock["holder"])
    if lock["supported"] and not check_mode:
        keeper.run()


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **docker_engine.ARGUMENT_SPEC,
            **database_options.ARGUMENT_SPEC,
            **env_options.ARGUMENT_SPEC,
            "deployment": {"type": "str", "required": True},
            "lock_file": {"type": "path", "required": True},
            "container": {"type": "str", "required": True},
            "wait_timeout": {"type": "str", "default": "2h"},
        },
        supports_check_mode=True,
    )
    result = Result(module, Redactor([module.params["login_password"]]))
    result.values.update(unsupported_reason=None, holder=None, waited=0.0, held=0.0)
    try:
        run(module.params, result, module.check_mode)
    except WaError as error:
        result.fail(error)
    result.exit()


if __name__ == "__main__":
    main()
