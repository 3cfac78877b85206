# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls the module in steps while it waits."""

from __future__ import annotations

import typing as t

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_duration, parse_duration
from ansible_collections.waba.onprem.plugins.plugin_utils import _steps as steps

_MOST_TIMES = 4  # `api_timeout` grows as within one step of the module: a Webapp waits for each node that is dead
_API_TIMEOUT = "30s"  # the module's default


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """See the module's documentation; the options are the module's own."""

    _supports_async = True
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Runs the module, in steps if it has to wait for long. The result is that of the last step."""
        task_vars = task_vars or {}
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        try:
            total = parse_duration("wait_timeout", args.get("wait_timeout") or "120s")
            longest = parse_duration("api_timeout", args.get("api_timeout") or _API_TIMEOUT)
        except WaError:
            total = longest = 0.0  # the module refuses it
        waits = boolean(args.get("wait", True), strict=False)
        if self._task.async_val or not waits or total <= steps.STEP:
            found: dict[str, t.Any] = self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val)
            return found
        times, last = 1, 0.0

        def call(step: float) -> dict[str, t.Any]:
            nonlocal last
            last = step
            args.update(wait_timeout=f"{step:.0f}s", api_timeout=f"{longest * times:.0f}s")
            return t.cast("dict[str, t.Any]", self._execute_module(module_args=args, task_vars=task_vars))

        def seen(result: dict[str, t.Any]) -> str:
            nonlocal times
            reason = str(result["reason"]) if result.get("timed_out") else ""
            times = min(times * 2, _MOST_TIMES) if "no answer" in reason else times
            return reason

        result = steps.wait(task_vars.get("inventory_hostname", "host"), total, call, seen)
        if not result.get("timed_out"):
            return result
        allowed = f"within {format_duration(total)}"
        return {**result, "msg": result["msg"].replace(f"within {format_duration(round(last))}", allowed)}
