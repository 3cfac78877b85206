# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs another module, and returns a failure where Ansible returns an unreachable host."""

from __future__ import annotations

import contextlib
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.waba.onprem.plugins.plugin_utils._other_action import run_other

_PAUSE = 3.0  # seconds between two calls of what is away


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """See the module's documentation."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Returns the module's result; of an unreachable host `reached: false`, with a failure unless it may be unreachable."""
        task_vars = task_vars or {}
        super().run(tmp, task_vars)
        _valid, arguments = self.validate_argument_spec(
            {
                "module": {"type": "str", "required": True},
                "options": {"type": "dict", "default": {}},
                "may_be_unreachable": {"type": "bool", "default": False},
                "patience": {"type": "int", "default": 0},
            }
        )
        end = None
        while True:
            result = self._call(arguments, task_vars)
            # What a call has worked before is no time of waiting.
            end = time.monotonic() + arguments["patience"] if end is None else end
            if not (result.get("away") or not result.get("reached", True)) or time.monotonic() >= end:
                return result
            time.sleep(_PAUSE)
            if not result.get("reached", True):
                with contextlib.suppress(AnsibleConnectionFailure):
                    self._connection.reset()

    def _call(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        try:
            return run_other(self, arguments["module"], arguments["options"], task_vars)
        except AnsibleConnectionFailure as error:
            host = self._task.delegate_to or task_vars["inventory_hostname"]
            return {
                "failed": not arguments["may_be_unreachable"],
                "reached": False,
                "msg": f"{host} cannot be reached any more: {error}",
            }
