# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells the module who runs it, and looks whether the process that holds a lock still lives on this controller.

`database_server` with `begin` is this plugin's own option, as are `database_server_identity`, by which servers are told apart
where it is known, `database_server_timeout`, how long to wait, and `migration_runs`: while one deployment's migration runs on
a database server, the next one of this controller waits here, with its client still serving. The turn lasts as long as the
lease, at stage `migrating` whatever becomes of this process. It is free again at stage `starting` and at `end`, unless `end`
says `migration_runs`. Turns are the leader's: a member that is asked by delegation has none.
"""

from __future__ import annotations

import getpass
import os
import platform
import time
import typing as t
from functools import partial

from ansible import constants
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._units import parse_duration
from ansible_collections.waba.onprem.plugins.plugin_utils import process, turns

display = Display()

_LEASE = "10m"  # as the module's own
_LOOK_EVERY = 1.0  # seconds between two looks at a busy database server


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """See the module's documentation; the options are the module's own."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module; a lock whose holder is gone is taken over."""
        task_vars = task_vars or {}
        super().run(tmp, task_vars)
        ours = process.this_run()
        args = dict(self._task.args, run_id=ours, user=getpass.getuser(), controller=platform.node() or "controller")
        server = str(args.pop("database_server", "") or "")
        identity = str(args.pop("database_server_identity", "") or server)
        patience = args.pop("database_server_timeout", "2h")
        queue = turns.Turns(os.path.join(constants.config.get_config_value("ANSIBLE_HOME"), "waba"), ours)
        runs = boolean(args.pop("migration_runs", False), strict=False)
        if self._task.delegate_to or self._task.check_mode:
            return self._execute(args, task_vars)
        operation, stage = args.get("operation", "read"), args.get("stage")
        ticket = f"{args.get('path')}@{task_vars.get('inventory_hostname')}"
        try:
            lease = parse_duration("lease", args.get("lease") or _LEASE)
            if operation == "begin" and server:
                take = partial(queue.take, identity, ticket, lease)
                self._wait_for_turn(take, server, ticket, parse_duration("database_server_timeout", patience))
            elif operation == "end" and runs:
                queue.keep(ticket, parse_duration("database_server_timeout", patience), migrates=True)
            elif operation == "end" or stage in ("starting", "proving"):
                queue.give_back(ticket)
            elif stage:
                queue.keep(ticket, lease, migrates=stage == "migrating")
        except WaError as error:
            return {"failed": True, "changed": False, "msg": str(error)}
        result = self._execute(args, task_vars)
        if result.get("failed") and operation == "begin":
            queue.give_back(ticket)
        return result

    def _execute(self, args: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        result: dict[str, t.Any] = self._execute_module(module_args=args, task_vars=task_vars)
        journal = result.get("journal") or {}
        if result.get("held") and self._has_ended(journal, args):
            result = self._execute_module(module_args=dict(args, gone=[journal["run_id"]]), task_vars=task_vars)
        return result

    @staticmethod
    def _has_ended(journal: dict[str, t.Any], args: dict[str, t.Any]) -> bool:
        mine = all(journal.get(key) == args[key] for key in ("user", "controller"))
        return mine and process.has_ended(str(journal.get("run_id", "")))

    @staticmethod
    def _wait_for_turn(take: t.Callable[[], str | None], server: str, ticket: str, patience: float) -> None:
        end = time.monotonic() + patience
        told = ""
        while (holder := take()) is not None:
            if holder != told:
                display.display(
                    f"{ticket}: waits for {holder}, which migrates on database server {server}", stderr=True
                )
                told = holder
            if time.monotonic() > end:
                raise WaError(
                    f"database server {server}",
                    f"{holder} has had its turn for {patience:.0f} s",
                    "one migration at a time on a database server",
                    "Run again when that upgrade has ended",
                )
            time.sleep(_LOOK_EVERY)
