# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls the module with `wait: false` until GC is over and displays a progress line after each call.

No connection is held open while GC runs; a lost one is retried a limited number of times. The lines go to standard error:
on standard output they would break JSON callbacks, and block the playbook when it is closed.
"""

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_duration, parse_duration

display = Display()

_LOST_CONNECTIONS = 5
_SHORTEST_PAUSE = 0.5


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """See the module's documentation; the options are the module's own."""

    _supports_async = True
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Runs the module, in steps if it has to wait. The result has the actions and warnings of all steps."""
        task_vars = task_vars or {}
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        if self._task.async_val or self._task.check_mode:
            found: dict[str, t.Any] = self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val)
            return found
        try:
            pause = max(parse_duration("poll_interval", args.get("poll_interval") or "10s"), _SHORTEST_PAUSE)
        except WaError as error:
            return {"failed": True, "changed": False, "msg": str(error)}
        actions: list[str] = []
        warnings: list[t.Any] = []
        while True:
            step = self._step(args, pause, task_vars)
            actions += step.get("actions") or []
            warnings += [one for one in step.pop("warnings", None) or [] if one not in warnings]
            if step.get("failed") or not (step.get("running") and boolean(args.get("wait", True), strict=False)):
                more = {"warnings": warnings} if warnings else {}
                return {**step, **more, "actions": actions, "changed": bool(actions)}
            self._show(task_vars, progress_line(step["progress"]))
            time.sleep(max(min(pause, step["progress"].get("quiet_left", pause)), _SHORTEST_PAUSE))
            args["run_id"] = step["run_id"]

    def _step(self, args: dict[str, t.Any], pause: float, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Runs one step. It can be repeated after a lost connection: the host keeps the record of a started GC."""
        lost = 0
        while True:
            try:
                result: dict[str, t.Any] = self._execute_module(module_args=dict(args, wait=False), task_vars=task_vars)
                return result
            except AnsibleConnectionFailure as error:
                lost += 1
                if lost > _LOST_CONNECTIONS:
                    raise
                self._show(task_vars, f" | connection lost ({lost} of {_LOST_CONNECTIONS}): {error.message}")
                time.sleep(pause)

    def _show(self, task_vars: dict[str, t.Any], text: str) -> None:
        display.display(f"{task_vars.get('inventory_hostname', 'host')} | message GC{text}", stderr=True)


def progress_line(progress: t.Mapping[str, t.Any]) -> str:
    """Returns the progress of a GC as a line of plain ASCII; the figures are estimates."""
    parts = [f" round {progress['round']} |" if progress.get("round") else " |"]
    if progress.get("rows") is not None:
        parts.append(f"~{progress['rows']:,} rows, ~{progress['deleted']:,} deleted, ~{progress['rate']:,.0f}/s,")
    if progress.get("left") is not None:
        parts.append(f"~{format_duration(progress['left'])} to the limit,")
    return " ".join([*parts, progress["phase"]])
