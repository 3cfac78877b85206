# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls the module in steps while it waits for healthy containers."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.waba.onprem.plugins.module_utils._client import starts
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import parse_duration
from ansible_collections.waba.onprem.plugins.plugin_utils import _steps as steps


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
            total = parse_duration("healthy_timeout", args.get("healthy_timeout") or "0s")
        except WaError:
            total = 0.0  # the module refuses it
        host = task_vars.get("inventory_hostname", "host")
        if self._task.async_val or total <= steps.STEP:
            found: dict[str, t.Any] = self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val)
        else:

            def call(step: float) -> dict[str, t.Any]:
                args["healthy_timeout"] = f"{step:.0f}s"
                return t.cast("dict[str, t.Any]", self._execute_module(module_args=args, task_vars=task_vars))

            found = steps.wait(host, total, call, _left)
        left = _left(found) if total else ""
        if not left:
            return found
        message = f"{host}: {left}; expected healthy containers within {total:.0f} s. Look into their logs (docker logs NAME)."
        return {**found, "failed": True, "msg": message}


def _left(found: dict[str, t.Any]) -> str:
    """Returns the containers of a result that are not healthy."""
    return "" if found.get("failed") else ", ".join(starts.not_healthy(found.get("containers") or ()))
