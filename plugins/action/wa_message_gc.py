# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drives the module's public `wait: false` step and shows one line of progress a look.

One login serves all steps, its token sealed on the way with a key that this process makes and never tells: Ansible loads the
plugin before it forks its workers, so all of them have the same.

No connection is held open while GC runs; a lost one is tried again a bounded number of times. The lines go to standard
error: on standard output they would break JSON callbacks, and hang the playbook when that closes.
"""

from __future__ import annotations

import secrets
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import parse_duration
from ansible_collections.waba.onprem.plugins.module_utils._gc.progress import pause as next_pause
from ansible_collections.waba.onprem.plugins.module_utils._gc.progress import progress_line

display = Display()

_KEY = secrets.token_hex(32)
_LOST_CONNECTIONS = 5
_SHORTEST_PAUSE = 0.5
_ALIKE = 0.75  # the part of a step's time that the next one surely takes
# What a step adds to the result as it happens, and the last step alone would forget.
_KEPT = ("marked_read", "mark_read_unknown")


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """See the module's documentation; the options are the module's own."""

    _supports_async = True
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module, step by step when it is to wait."""
        task_vars = task_vars or {}
        super().run(tmp, task_vars)
        wait = boolean(self._task.args.get("wait", True), strict=False)
        if self._task.async_val or self._task.check_mode:
            found: dict[str, t.Any] = self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val)
            return found
        try:
            pause = max(parse_duration("poll_interval", self._task.args.get("poll_interval") or "10s"), _SHORTEST_PAUSE)
        except WaError as error:
            return {"failed": True, "changed": False, "msg": str(error)}
        args = dict(self._task.args, wait=False, seal_key=_KEY)
        return self._drive(args, pause, task_vars) if wait else self._step(args, pause, task_vars)

    def _step(self, args: dict[str, t.Any], pause: float, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """One step. It may be done twice: a GC that was called before the connection was lost is remembered on the host."""
        lost = 0
        while True:
            try:
                result: dict[str, t.Any] = self._execute_module(module_args=args, task_vars=task_vars)
                return result
            except AnsibleConnectionFailure as error:
                lost += 1
                if lost > _LOST_CONNECTIONS:
                    raise
                self._show(task_vars, f"connection lost ({lost} of {_LOST_CONNECTIONS}): {error.message}")
                time.sleep(pause)

    def _show(self, task_vars: dict[str, t.Any], text: str) -> None:
        if self._is_shown(task_vars):
            display.display(f"{_host(task_vars)} | message GC | {text}", stderr=True)

    def _is_shown(self, task_vars: dict[str, t.Any]) -> bool:
        return bool(boolean(self._templar.template(task_vars.get("wa_message_gc_progress", True)), strict=False))

    def _drive(self, args: dict[str, t.Any], pause: float, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        kept: dict[str, t.Any] = {}
        warnings: list[t.Any] = []
        while True:
            began = time.monotonic()
            result = self._step(args, pause, task_vars)
            took = time.monotonic() - began
            for warning in result.pop("warnings", None) or []:
                if warning not in warnings:
                    warnings.append(warning)
            kept.update({key: result[key] for key in _KEPT if key in result})
            if result.get("failed") or not result.get("running"):
                if warnings:
                    result["warnings"] = warnings
                return {**kept, **result}
            if result.get("progress") and self._is_shown(task_vars):
                display.display(progress_line(_host(task_vars), result["progress"]), stderr=True)
            args.update(run_id=result.get("run_id"), session=result.get("session"))
            time.sleep(next_pause(pause, result.get("progress"), took * _ALIKE))


def _host(task_vars: dict[str, t.Any]) -> str:
    return str(task_vars.get("inventory_hostname", "host"))
