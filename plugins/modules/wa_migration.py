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
  follow: {description: The id of the container that migrates or has migrated already; empty for none., type: str, default: ''}
  argv: {description: 'The command that creates the container that migrates, and does not start it.', type: list, elements: str, required: true}
  chdir: {description: The folder in which O(argv) is run., type: path}
  project: {description: The Compose project of the client., type: str, required: true}
  neighbours: {description: 'The Compose projects of the other deployments on the host''s machine.', type: list, elements: str, default: []}
  single:
    description: Whether a second Coreapp of the client on this host counts as somebody who uses the database.
    type: bool
    default: false
  failure_command:
    description: A command for the end of a migration that no run sees, with what has happened as JSON on its standard input; empty for none.
    type: str
    default: ''
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
import json
import shlex
import syslog
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._client import application, listing, starts
from ansible_collections.waba.onprem.plugins.module_utils._compose import call as compose_call
from ansible_collections.waba.onprem.plugins.module_utils._compose import messages as compose_messages
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import (
    MIGRATION,
    is_migration,
)
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
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import next_step
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import requirements as upgrade_requirements

POLL_INTERVAL = 0.1  # seconds between two looks at the journal or at the container; the outage lasts as long
# Seconds to wait for the process of an earlier run to end, which may be looking for users of the database. One that waits for a running
# migration goes on instead, and this process ends.
TAKES_OVER_WITHIN = 15.0
IDLE_TIMEOUT = 7.0  # seconds: the server notices the end of a connection a moment after the client
CREATE_LIMIT = "300"  # seconds in which the container is created
LOOKS_EVERY = 5.0  # seconds between two looks whether the run that has begun the migration is still there
FAILURE_COMMAND_LIMIT = "60"  # seconds
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
        self.target = str(journal["target"])
        self.state: dict[str, t.Any] = {"state": "", "message": ""}
        self.container = ""  # the id of the one that migrates
        self.created = False  # by this process, and not started
        self.definitions = ""  # of the tables, as they were when the database was asked last

    def run(self) -> None:
        """Migrates, and writes into the journal what it does. Raises WaError."""
        with self.file.migrating(TAKES_OVER_WITHIN) as alone:
            if not alone:
                return
            try:
                self._find()
                if self._wait_for_permission() and self._start():
                    self._record_end(self._wait_for_end())
            except (WaError, OSError) as error:
                if self.result.values["migration"].get("state") != "ended":
                    with contextlib.suppress(WaError):  # of a full disk: the first error says more
                        self._note(state="failed", message=self.result.redact(str(error)))
                raise error if isinstance(error, WaError) else WaError("migration", str(error), "none") from None
            finally:
                if self.created:
                    with contextlib.suppress(WaError):  # the next one takes it
                        application.remove(self.engine, self.container)

    def report_unseen(self) -> None:
        """Reports the end of the migration to syslog and to the operator's command, if the run that has begun it is gone.

        A run that is there renews its lease, ends it, or is past the migration.
        """
        state = self.result.values["migration"]  # the journal lacks it where the disk is full
        if state.get("state") not in ("ended", "failed"):
            return
        while True:
            journal = self.file.load_upgrade()
            if journal is None or journal["run_id"] != self.run_id or "up_at" in journal["notes"]:
                return
            if not journal["lease_until"]:
                return
            left = float(journal["lease_until"]) - time.time()
            if left <= 0:
                break
            time.sleep(min(left, LOOKS_EVERY))
        problem = upgrade_journal.migration({**journal, "migration": state})["migration_problem"]
        text = (
            problem
            or f"The migration to {self.target} has ended well. Whether the new version was started is not known."
        )
        cure = upgrade_journal.describe_block(journal, held=False)
        ended = {
            "event": "migration_ended",
            "deployment": journal["deployment"],
            "target": self.target,
            "succeeded": not problem,
            "message": text,
            "next": cure,
        }
        syslog.openlog("wa-upgrade", syslog.LOG_PID, syslog.LOG_DAEMON)
        syslog.syslog(syslog.LOG_ERR, f"{journal['deployment']}: {text.splitlines()[0]} It was {cure}")
        if self.params["failure_command"]:
            argv = ["timeout", "-k", "5", FAILURE_COMMAND_LIMIT, *shlex.split(self.params["failure_command"])]
            code, _out, said = self.result.module.run_command(argv, data=json.dumps(ended), handle_exceptions=False)
            if code:
                why = compose_messages.one_line(said) or f"code {code}"
                syslog.syslog(syslog.LOG_ERR, f"{journal['deployment']}: wa_failure_command has failed: {why}")

    def _note(self, **news: t.Any) -> None:
        """Writes the state of the migration into the journal, if it has changed."""
        after = {**self.state, **news}
        self.result.values["migration"] = after
        if self.state == after:
            return
        with self.file.exclusively():
            journal = upgrade_journal.note_migration(
                self.file.load_upgrade(),
                self.run_id,
                after,
                time.time(),
                definitions=self.definitions,
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

    def _find(self) -> None:
        """Finds the container that migrates, or creates one. Raises WaError.

        That is the one that an earlier process of this run has noted, or the one that the run has found.
        """
        journal = self.file.load_upgrade() or {}
        noted = journal.get("notes", {}).get(upgrade_journal.ONE_SHOTS)
        self.container = noted[-1] if noted and journal.get("migrate") else self.params["follow"]
        if self.container:
            self.created = self._was_never_started(self.container)
            return
        self._refuse_begun()
        for one in self._containers():
            # One that waits to be started is the next one if its definition is the same, which Compose knows.
            if one["service"] == MIGRATION and one["state"] != "created":
                application.remove(self.engine, one["id"])
        self._create()

    def _create(self) -> None:
        argv = ["timeout", "-k", "30", CREATE_LIMIT, *self.params["argv"]]
        try:
            code, _out, said = self.result.module.run_command(argv, cwd=self.params["chdir"], handle_exceptions=False)
        except OSError as error:
            code, said = 1, f"{argv[0]}: {error.strerror}"
        if code:
            late = code < 0 or code in (124, 137)
            why = f"not within {CREATE_LIMIT} s" if late else compose_messages.one_line(said) or f"code {code}"
            raise WaError("migration", f"could not be created ({why})", "a container that migrates")
        found = [one for one in self._containers() if one["service"] == MIGRATION and one["state"] == "created"]
        ours = [one for one in found if is_migration(one, self.target)]
        if not ours:
            seen = ", ".join(f"{one['name']} of version {one['version']}" for one in found) or "none"
            raise WaError(
                "container that migrates",
                f"{seen} in project {self.params['project']}",
                f"one of version {self.target} with WA_DB_UPGRADE in its environment",
                "See which file of the project has another service dbupgrade",
            )
        self.container, self.created = ours[0]["id"], True

    def _containers(self) -> list[dict[str, t.Any]]:
        """Returns the containers of the project."""
        return listing.read(self.engine, self.params["project"], [])

    def _state(self) -> dict[str, t.Any]:
        """Returns the state of the migration's container; empty for none."""
        found = self.engine.inspect_id(self.container)
        state: dict[str, t.Any] = found["State"] if found else {}
        return state

    def _start(self) -> bool:
        """Starts the migration unless it is there already. Returns false when it is not due any more."""
        if self.created:
            self._refuse_begun()
        used = self._used_by() if self.created else ""
        if used:
            raise WaError.of(used)
        # The journal is not read and then acted upon: a run that ends, goes back or takes over meanwhile waits for the guard.
        with self.file.exclusively():
            found = self.file.load_upgrade()
            state = {**self.state, "state": "ready" if self.created else "running"}
            journal = upgrade_journal.launch(found, self.run_id, state, time.time(), self._facts(found))
            if found is None or journal is None:
                return False
            self.file.save(journal)
        self.state = self.result.values["migration"] = state
        if self.created:
            self.result.record_change(f"start the migration to {self.target}")
            self._run(found)
        return True

    def _refuse_begun(self) -> None:
        """Raises WaError if somebody has started the migration or the new version, and notes that the schema may be changed."""
        there, journal = listing.read(self.engine, None, []), self.file.load_upgrade()
        ours = (self.params["project"], self.container, self.params["neighbours"])
        begun = next_step.begun_by_others(journal, there, *ours) if journal else []
        if not begun:
            return
        self.created = False
        with self.file.exclusively():
            journal = self.file.load_upgrade()
            if journal is not None and journal["run_id"] == self.run_id and not upgrade_journal.is_migrated(journal):
                self.file.save(upgrade_journal.launched_by_others(journal, [one["started_at"] for one in begun]))
        raise WaError(
            f"container {', '.join(one['name'] for one in begun)}",
            "started before the run has allowed it",
            "one that was only created",
            "The schema may be changed. Run upgrade.yml again, which goes on from there",
        )

    def _facts(self, found: dict[str, t.Any] | None) -> dict[str, t.Any]:
        """Returns what the journal notes before the start: the containers that may have changed the schema, and how its tables are."""
        notes = (found or {}).get("notes") or {}
        # One that is there and was never started has changed nothing.
        earlier = [one for one in notes.get(upgrade_journal.ONE_SHOTS, []) if not self._was_never_started(one)]
        facts: dict[str, t.Any] = {upgrade_journal.ONE_SHOTS: list(dict.fromkeys([*earlier, self.container]))}
        if self.created and not earlier:
            facts[upgrade_journal.DEFINITIONS] = {"before": self.definitions}
        return facts

    def _was_never_started(self, identifier: str) -> bool:
        found = self.engine.inspect_id(identifier)
        return found is not None and found["State"]["Status"] == "created"

    def _run(self, before: dict[str, t.Any]) -> None:
        """Starts the container. If that is known to have failed, the journal is as `before`. Raises WaError."""
        self.created = False
        try:
            application.change(self.engine, self.container, "start")
        except WaError as error:
            with contextlib.suppress(WaError):  # of an engine that is away: it may have been started
                if self._state().get("Status", "created") == "created":
                    with self.file.exclusively():
                        journal = upgrade_journal.not_launched(self.file.load_upgrade(), self.run_id, before)
                        if journal is not None:
                            self.file.save(journal)
            raise WaError("migration", f"could not be started ({error})", "a container that migrates") from None

    def _wait_for_end(self) -> int:
        """Returns the exit code of the migration."""
        while True:
            with contextlib.suppress(
                WaError
            ):  # an engine that is away comes back; the migration goes on without a note
                found = self._state()
                if found.get("Status") not in ("running", "paused", "restarting"):
                    break
                self._note(state="running")
            time.sleep(POLL_INTERVAL)
        if not found:
            raise WaError(
                f"container {self.container[:12]}",
                "removed while it migrated",
                "its exit code",
                "See who has removed it",
            )
        return int(found["ExitCode"])

    def _record_end(self, code: int) -> None:
        if code:
            host = ["--host", self.params["docker_host"]]
            logs = ["timeout", "-k", "5", "30", "docker", *host, "logs", "--tail", LOG_LINES, self.container]
            _code, out, err = self.result.module.run_command(logs)
            text = self.result.redact(f"{out}\n{err}".strip())
            self._note(state="ended", exit_code=code, log=text[-LONGEST_LOG:])
        else:
            self.definitions = ""
            self._note(idle=self._is_idle(), state="ended", exit_code=0)

    def _is_idle(self) -> bool:
        """Returns whether nobody uses the database any more; false where that is not known."""
        try:
            return not self._used_by()
        except WaError:
            return False

    def _used_by(self) -> str:
        """Returns that somebody uses the database, or would with the next start, as a second Coreapp. Empty for nobody."""
        params = {**self.params, "gather": ["database", "definitions"]}
        found = database_facts.gather(params, self.env, IDLE_TIMEOUT)
        self.definitions = found["definitions"]
        used = upgrade_requirements.sessions(guard.unknown(found["sessions"], False, [], self.params["shared_origins"]))
        if used or not self.params["single"]:
            return used
        there, neighbours = listing.read(self.engine, None, []), self.params["neighbours"]
        return starts.second_coreapp(there, self.params["project"], neighbours=neighbours)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **docker_options.ARGUMENT_SPEC,
            **database_options.ARGUMENT_SPEC,
            **env_options.ARGUMENT_SPEC,
            "lock_file": {"type": "path", "required": True},
            "follow": {"type": "str", "default": ""},
            "argv": {"type": "list", "elements": "str", "required": True},
            "chdir": {"type": "path"},
            "project": {"type": "str", "required": True},
            "neighbours": {"type": "list", "elements": "str", "default": []},
            "single": {"type": "bool", "default": False},
            "failure_command": {"type": "str", "default": "", "no_log": True},
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
            try:
                migration.run()
            finally:
                migration.report_unseen()


if __name__ == "__main__":
    main()
