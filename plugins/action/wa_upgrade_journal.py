# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passes the identity of this run to the module, and checks whether the process that holds a lock still runs here."""

from __future__ import annotations

import getpass
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.waba.onprem.plugins.plugin_utils import _process as process


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """See the module's documentation; the options are the module's own."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Runs the module; a lock whose holder on this controller has ended is taken over."""
        task_vars = task_vars or {}
        super().run(tmp, task_vars)
        args = dict(
            self._task.args,
            run_id=process.this_run(),
            user=getpass.getuser(),
            controller=process.controller(),
        )
        result: dict[str, t.Any] = self._execute_module(module_args=args, task_vars=task_vars)
        holders = [result.get("journal") or {}, result.get("change") or {}]
        dead = [holder["run_id"] for holder in holders if process.is_dead(holder)]
        if dead and (result.get("held") or result.get("failed") or args.get("operation") == "release"):
            known = [*(args.get("dead_runs") or []), *dead]
            result = self._execute_module(module_args=dict(args, dead_runs=known), task_vars=task_vars)
        return result
