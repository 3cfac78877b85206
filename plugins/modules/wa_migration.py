#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_migration
short_description: Migrate a client's database under the migration lock of its server
description: [Internal to the roles and playbooks of the collection.]
options:
  deployment: {description: 'The deployment''s name, which PostgreSQL shows to those who wait.', type: str, required: true}
  lock_file: {description: 'The lock file of the deployment''s upgrade, which has begun.', type: path, required: true}
  container: {description: The name of the container that migrates., type: str, required: true}
  argv: {description: 'The command that creates and starts it, and returns.', type: list, elements: str, required: true}
  chdir: {description: The folder in which O(argv) is run., type: path}
  start_timeout: {description: 'How long O(argv) may take, in seconds or as text.', type: str, default: 5m}
  lock: {description: Whether to take the lock., type: bool, default: true}
  wait_timeout: {description: 'How long to wait for each holder of the lock, in seconds or as text.', type: str, default: 2h}
  project: {description: The Compose project of the client., type: str, required: true}
  single:
    description: Whether a second Coreapp of the client on this host counts as somebody who uses the database.
    type: bool
    default: false
extends_documentation_fragment: [waba.onprem.database, waba.onprem.docker, waba.onprem.env]
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = "#"

import contextlib
import math
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._client import listing, starts
from ansible_collections.waba.onprem.plugins.module_utils._compose import call as compose_call
from ansible_collections.waba.onprem.plugins.module_utils._compose import messages as compose_messages
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import Redactor, is_secret
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._core.units import parse_duration
from ansible_collections.waba.onprem.plugins.module_utils._database import connection as database
from ansible_collections.waba.onprem.plugins.module_utils._database import facts as database_facts
from ansible_collections.waba.onprem.plugins.module_utils._database import migration_lock
from ansible_collections.waba.onprem.plugins.module_utils._database import options as database_options
from ansible_collections.waba.onprem.plugins.module_utils._database.connection import DatabaseError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile
from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine
from ansible_collections.waba.onprem.plugins.module_utils._docker import options as docker_options
from ansible_collections.waba.onprem.plugins.module_utils._env import options as env_options
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import requirements as upgrade_requirements

POLL_INTERVAL = 0.1  # seconds between two looks at the journal or at the container; the outage lasts as long
ALIVE_EVERY = 1.0  # seconds between two queries that keep the session of the lock active
# Seconds to wait for the process of an earlier run to end, which may be looking for users of the database. One that waits for a running
# migration goes on instead, and this process ends.
TAKES_OVER_WITHIN = 15.0
IDLE_TIMEOUT = "7s"  # the server notices the end of a connection a moment after the client
LOG_LINES = "40"
LONGEST_LOG = 8000  # characters of them: a line may be a whole statement, and a journal of more than 1 MiB is not read


class Lock:
    """The migration lock, over several sessions if necessary."""

    def __init__(self, config: database.Settings, own: str, deployment: str) -> None:
        self.config, self.own, self.deployment = config, own, deployment
        self.unsupported = ""
        self.holder = ""
        self.lock: migration_lock.MigrationLock | None = None
        self.held = False
        self.next_query = 0.0

    def hold(self) -> str:
        """Takes the lock, or keeps its session active. Returns why it is not had; empty if it is.

        Raises DatabaseError where it makes no sense to try again. `holder` is who has it, if that is why.
        """
        if self.unsupported or (self.held and time.monotonic() < self.next_query):
            return ""
        self.next_query = time.monotonic() + ALIVE_EVERY
        self.holder = ""
        try:
            self.holder = self._hold()
            return self.holder
        except DatabaseError as error:
            # The session is lost, or the server is unreachable: another client may acquire the lock next.
            self.release()
            if not error.retryable:
                raise
            return str(error)

    def _hold(self) -> str:
        if self.lock is None:
            with database.connect(self.config) as session:
                self.unsupported = migration_lock.inspect(session, self.own)["unsupported_reason"] or ""
            if self.unsupported:
                return ""
            self.lock = migration_lock.connect(self.config, self.own, self.deployment)
        if self.held:
            self.lock.keep_alive()
            return ""
        self.held = self.lock.take()
        return "" if self.held else self.lock.holder()[0] or "another session"

    def keep(self, seconds: float) -> None:
        """Keeps the session for a time in which it cannot be active."""
        if self.lock is not None and self.held:
            with contextlib.suppress(DatabaseError):
                self.lock.keep_alive(math.ceil(seconds))

    def release(self) -> None:
        """Ends the session."""
        if self.lock is not None:
            self.lock.session.close()
        self.lock, self.held = None, False


class NoLock(Lock):
    """Takes none."""

    def hold(self) -> str:
        return ""


class Migration:
    """The migration of one upgrade, from its lock to its end."""

    def __init__(self, params: dict[str, t.Any], env: t.Mapping[str, str], result: Result) -> None:
        self.params, self.env, self.result = params, env, result
        self.engine = docker_engine.Docker(params)
        self.file = JournalFile(params["lock_file"])
        journal = self.file.load()
        if journal is None:
            raise WaError(f"lock file {params['lock_file']}", "none", "the journal of the upgrade that is begun")
        self.run_id = str(journal["run_id"])
        config = database.settings(params, env)
        kind = Lock if params["lock"] else NoLock
        self.lock = kind(config, migration_lock.lock_id(env, params["databases"]), params["deployment"])
        port = env.get("WA_DB_PORT", "").strip() or config.port
        self.state: dict[str, t.Any] = {
            "state": "",
            "holder": "",
            "unsupported_reason": "",
            "server": f"{env.get('WA_DB_HOSTNAME', '').strip()}:{port}",
            "message": "",
        }

    def run(self) -> None:
        """Migrates, and writes into the journal what it does. Raises WaError."""
        with self.file.migrating(TAKES_OVER_WITHIN) as alone:
            if not alone:
                return
            try:
                if self._wait_for_permission() and self._start():
                    self._record_end(self._wait_for_end())
            except (WaError, OSError) as error:
                self._note(state="failed", message=self.result.redact(str(error)))
                raise error if isinstance(error, WaError) else WaError("migration", str(error), "none") from None
            finally:
                self.lock.release()

    def predict(self) -> None:
        """Returns in the result who holds the lock."""
        with database.connect(self.lock.config) as session:
            lock = migration_lock.inspect(session, self.lock.own)
        holder = "" if lock["owned"] else lock["holder"] or ""
        why = lock["unsupported_reason"] or ""
        self.state.update(state="waiting" if holder else "ready", holder=holder, unsupported_reason=why)
        self.result.values["migration"] = self.state

    def _note(self, migrated: bool = False, **news: t.Any) -> None:
        """Writes the state of the migration into the journal, if it has changed."""
        after = {**self.state, **news}
        self.result.values["migration"] = after
        if self.state == after:
            return
        with self.file.exclusively():
            journal = upgrade_journal.note_migration(
                self.file.load(), self.run_id, after, time.time(), migrated=migrated
            )
            if journal is not None:
                self.file.save(journal)
        self.state = after

    def _wait_for_permission(self) -> bool:
        """Returns true as soon as the journal allows the migration and the lock is held; false when it is not due any more."""
        patience, holder = parse_duration("wait_timeout", self.params["wait_timeout"]), ""
        end: float | None = time.monotonic() + patience
        while True:
            journal = self.file.load()
            if journal is None or not upgrade_journal.is_migration_due(journal, self.run_id, time.time()):
                return False
            may_start = bool(journal.get("migrate"))
            if may_start and self._container():
                return True
            reason = self.lock.hold()
            if end is not None and self.lock.holder not in ("", holder):  # the queue has moved on
                holder, end = self.lock.holder, time.monotonic() + patience
            self._note(
                state="waiting" if reason else "ready",
                holder=self.lock.holder,
                message=reason if reason != self.lock.holder else "",
                unsupported_reason=self.lock.unsupported,
            )
            if not reason:
                end = None
                if may_start:
                    return True
            elif end is not None and time.monotonic() > end:
                server = f"database server {self.state['server']}"
                if not self.lock.holder:
                    raise WaError(server, reason, "an answer, for the migration lock")
                raise WaError(server, f"{reason} holds its migration lock", "one migration at a time")
            time.sleep(POLL_INTERVAL)

    def _container(self) -> dict[str, t.Any]:
        """Returns the state of the migration's container; empty for none, and for one that was never started."""
        found = self.engine.inspect_id(self.params["container"])
        state: dict[str, t.Any] = found["State"] if found else {}
        return {} if state.get("Status") == "created" else state

    def _start(self) -> bool:
        """Starts the migration unless it is there already. Returns false when it is not due any more."""
        here = bool(self._container())
        used = "" if here else self._used_by()
        if used:
            raise WaError.of(used)
        # The journal is not read and then acted upon: a run that ends, goes back or takes over meanwhile waits for the guard.
        with self.file.exclusively():
            found = self.file.load()
            state = {**self.state, "state": "running" if here else "ready"}
            journal = upgrade_journal.launch(found, self.run_id, state, time.time())
            if found is None or journal is None:
                return False
            self.file.save(journal)
        self.state = self.result.values["migration"] = state
        if here:
            return True
        self.result.record_change(f"start the migration {self.params['container']}")
        limit = parse_duration("start_timeout", self.params["start_timeout"])
        argv = ["timeout", "-k", "30", f"{limit:g}", *self.params["argv"]]
        self.lock.keep(limit + 60)
        try:
            code, _out, said = self.result.module.run_command(argv, cwd=self.params["chdir"], handle_exceptions=False)
        except OSError as error:
            code, said = 1, f"{argv[0]}: {error.strerror}"
        if code:
            # What was ended by a signal, or late, may have given the engine an order that it still carries out.
            late = code < 0 or code in (124, 137)
            if not late and not self._container():
                self._retract(found["stage"])
            why = f"not within {limit:g} s" if late else compose_messages.one_line(said) or f"code {code}"
            raise WaError("migration", f"could not be started ({why})", "a container that migrates")
        return True

    def _retract(self, stage: str) -> None:
        """Brings the journal back to the `stage` before the start: no container was started, so the schema is unchanged."""
        with self.file.exclusively():
            journal = upgrade_journal.not_launched(self.file.load(), self.run_id, stage)
            if journal is not None:
                self.file.save(journal)

    def _wait_for_end(self) -> int:
        """Returns the exit code of the migration."""
        while True:
            try:
                found = self._container()
                if found.get("Status") not in ("running", "paused", "restarting"):
                    break
                with contextlib.suppress(WaError):  # the migration goes on without a lock or a note
                    self._note(state="running")
                with contextlib.suppress(DatabaseError):
                    self.lock.hold()
            except WaError:
                self.lock.release()  # an engine that is away may never come back, and others wait for the lock
            time.sleep(POLL_INTERVAL)
        if not found:
            name = self.params["container"]
            raise WaError(f"container {name}", "removed while it migrated", "its exit code", "See who has removed it")
        return int(found["ExitCode"])

    def _record_end(self, code: int) -> None:
        if code:
            host = ["--host", self.params["docker_host"]]
            # An engine that hangs must not keep the lock.
            logs = ["timeout", "-k", "5", "30", "docker", *host, "logs", "--tail", LOG_LINES, self.params["container"]]
            _code, out, err = self.result.module.run_command(logs)
            text = self.result.redact(f"{out}\n{err}".strip())
            self._note(state="ended", exit_code=code, log=text[-LONGEST_LOG:])
        else:
            self._note(migrated=self._is_idle(), state="ended", exit_code=0)

    def _is_idle(self) -> bool:
        """Returns whether nobody uses the database any more; false where that is not known."""
        try:
            return not self._used_by()
        except WaError:
            return False

    def _used_by(self) -> str:
        """Returns that somebody uses the database, or would with the next start, as a second Coreapp. Empty for nobody."""
        params = {**self.params, "gather": ["database"], "idle_timeout": IDLE_TIMEOUT}
        used = upgrade_requirements.sessions(database_facts.gather(params, self.env)["sessions"])
        if used or not self.params["single"]:
            return used
        return starts.second_coreapp(listing.read(self.engine, None, []), self.params["project"])


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **docker_options.ARGUMENT_SPEC,
            **database_options.ARGUMENT_SPEC,
            **env_options.ARGUMENT_SPEC,
            "deployment": {"type": "str", "required": True},
            "lock_file": {"type": "path", "required": True},
            "container": {"type": "str", "required": True},
            "argv": {"type": "list", "elements": "str", "required": True},
            "chdir": {"type": "path"},
            "start_timeout": {"type": "str", "default": "5m"},
            "lock": {"type": "bool", "default": True},
            "wait_timeout": {"type": "str", "default": "2h"},
            "project": {"type": "str", "required": True},
            "single": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    result = Result(module, Redactor([module.params["login_password"]]))
    result.values["migration"] = {}
    try:
        if not module.params["env_file"]:
            raise WaError("option env_file", "not given", "the client's db.env")
        env = env_options.read_env(module.params["env_file"], module.params["env_format"])
        result.redact.add(value for name, value in env.items() if is_secret(name))
        result.redact.add(compose_call.values(module.params["argv"]))
        migration = Migration(module.params, env, result)
        if module.check_mode:
            migration.predict()
        else:
            migration.run()
    except (WaError, OSError) as error:
        result.fail(error if isinstance(error, WaError) else str(error))
    result.exit()


if __name__ == "__main__":
    main()
