#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_migration
short_description: Migrate a client's database when the upgrade's journal allows it
description: [Internal to the roles and playbooks of the collection.]
options:
  lock_file: {description: 'The lock file of the deployment''s upgrade, which has begun.', type: path, required: true}
  container: {description: The name of the container that migrates., type: str, required: true}
  argv: {description: 'The command that creates and starts it, and returns.', type: list, elements: str, required: true}
  chdir: {description: The folder in which O(argv) is run., type: path}
  project: {description: The Compose project of the client., type: str, required: true}
  single:
    description: Whether a second Coreapp of the client on this host counts as somebody who uses the database.
    type: bool
    default: false
  shared_origins:
    description: Addresses of a proxy or pool, as the database sees them, whose sessions are not of another client.
    type: list
    elements: str
    default: []
extends_documentation_fragment: [waba.onprem.database, waba.onprem.docker, waba.onprem.env]
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_migration:
"""

import contextlib
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._client import listing, starts
from ansible_collections.waba.onprem.plugins.module_utils._compose import call as compose_call
from ansible_collections.waba.onprem.plugins.module_utils._compose import messages as compose_messages
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import is_secret
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._database import facts as database_facts
from ansible_collections.waba.onprem.plugins.module_utils._database import guard
from ansible_collections.waba.onprem.plugins.module_utils._database import options as database_options
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile
from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine
from ansible_collections.waba.onprem.plugins.module_utils._docker import options as docker_options
from ansible_collections.waba.onprem.plugins.module_utils._env import options as env_options
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import requirements as upgrade_requirements

POLL_INTERVAL = 0.1  # seconds between two looks at the journal or at the container; the outage lasts as long
# Seconds to wait for the process of an earlier run to end, which may be looking for users of the database. One that waits for a running
# migration goes on instead, and this process ends.
TAKES_OVER_WITHIN = 15.0
IDLE_TIMEOUT = "7s"  # the server notices the end of a connection a moment after the client
START_LIMIT = "300"  # seconds in which the container is created and started
LOG_LINES = "40"
LONGEST_LOG = 8000  # characters of them: a line may be a whole statement, and a journal of more than 1 MiB is not read


class Migration:
    """The migration of one upgrade."""

    def __init__(self, params: dict[str, t.Any], env: t.Mapping[str, str], result: Result) -> None:
        self.params, self.env, self.result = params, env, result
        self.engine = docker_engine.Docker(params)
        self.file = JournalFile(params["lock_file"])
        journal = self.file.load_upgrade()
        if journal is None:
            raise WaError(f"lock file {params['lock_file']}", "none", "the journal of the upgrade that is begun")
        self.run_id = str(journal["run_id"])
        self.state: dict[str, t.Any] = {"state": "", "message": ""}

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

    def _note(self, migrated: bool = False, **news: t.Any) -> None:
        """Writes the state of the migration into the journal, if it has changed."""
        after = {**self.state, **news}
        self.result.values["migration"] = after
        if self.state == after:
            return
        with self.file.exclusively():
            journal = upgrade_journal.note_migration(
                self.file.load_upgrade(), self.run_id, after, time.time(), migrated=migrated
            )
            if journal is not None:
                self.file.save(journal)
        self.state = after

    def _wait_for_permission(self) -> bool:
        """Returns true as soon as the journal allows the migration; false when it is not due any more."""
        while True:
            journal = self.file.load_upgrade()
            if journal is None or not upgrade_journal.is_migration_due(journal, self.run_id, time.time()):
                return False
            if journal.get("migrate"):
                return True
            self._note(state="ready")
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
            found = self.file.load_upgrade()
            state = {**self.state, "state": "running" if here else "ready"}
            journal = upgrade_journal.launch(found, self.run_id, state, time.time())
            if found is None or journal is None:
                return False
            self.file.save(journal)
        self.state = self.result.values["migration"] = state
        if here:
            return True
        self.result.record_change(f"start the migration {self.params['container']}")
        argv = ["timeout", "-k", "30", START_LIMIT, *self.params["argv"]]
        try:
            code, _out, said = self.result.module.run_command(argv, cwd=self.params["chdir"], handle_exceptions=False)
        except OSError as error:
            code, said = 1, f"{argv[0]}: {error.strerror}"
        if code:
            # What was ended by a signal, or late, may have given the engine an order that it still carries out.
            late = code < 0 or code in (124, 137)
            if not late and not self._container():
                self._retract(found["stage"])
            why = f"not within {START_LIMIT} s" if late else compose_messages.one_line(said) or f"code {code}"
            raise WaError("migration", f"could not be started ({why})", "a container that migrates")
        return True

    def _retract(self, stage: str) -> None:
        """Brings the journal back to the `stage` before the start: no container was started, so the schema is unchanged."""
        with self.file.exclusively():
            journal = upgrade_journal.not_launched(self.file.load_upgrade(), self.run_id, stage)
            if journal is not None:
                self.file.save(journal)

    def _wait_for_end(self) -> int:
        """Returns the exit code of the migration."""
        while True:
            with contextlib.suppress(
                WaError
            ):  # an engine that is away comes back; the migration goes on without a note
                found = self._container()
                if found.get("Status") not in ("running", "paused", "restarting"):
                    break
                self._note(state="running")
            time.sleep(POLL_INTERVAL)
        if not found:
            name = self.params["container"]
            raise WaError(f"container {name}", "removed while it migrated", "its exit code", "See who has removed it")
        return int(found["ExitCode"])

    def _record_end(self, code: int) -> None:
        if code:
            host = ["--host", self.params["docker_host"]]
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
        found = database_facts.gather(params, self.env)["sessions"]
        used = upgrade_requirements.sessions(guard.unknown(found, False, [], self.params["shared_origins"]))
        if used or not self.params["single"]:
            return used
        return starts.second_coreapp(listing.read(self.engine, None, []), self.params["project"])


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **docker_options.ARGUMENT_SPEC,
            **database_options.ARGUMENT_SPEC,
            **env_options.ARGUMENT_SPEC,
            "lock_file": {"type": "path", "required": True},
            "container": {"type": "str", "required": True},
            "argv": {"type": "list", "elements": "str", "required": True},
            "chdir": {"type": "path"},
            "project": {"type": "str", "required": True},
            "single": {"type": "bool", "default": False},
            "shared_origins": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    with Result(module) as result:
        result.values["migration"] = {}
        env = env_options.read_env(module.params["env_file"], module.params["env_format"])
        result.redact.add(value for name, value in env.items() if is_secret(name))
        result.redact.add(compose_call.values(module.params["argv"]))
        migration = Migration(module.params, env, result)
        if not module.check_mode:
            migration.run()


if __name__ == "__main__":
    main()
