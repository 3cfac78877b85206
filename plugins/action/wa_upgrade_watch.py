# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches an upgraded deployment between two waves, at its leader, to which the task is delegated."""

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_duration
from ansible_collections.waba.onprem.plugins.plugin_utils._no_log import censored

display = Display()

Result = dict[str, t.Any]
_PATIENCE = "60s"  # for a node that connects again
_PAUSE = 60.0  # seconds between two looks


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """See the module's documentation."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> Result:
        """Looks once a minute until the time is over, and displays it. Fails at the first look that finds something wrong."""
        self._variables = task_vars or {}
        super().run(tmp, task_vars)
        _valid, self._args = self.validate_argument_spec(
            {
                "leader": {"type": "str", "required": True},
                "seconds": {"type": "float", "required": True},
                "api": {"type": "dict", "required": True},
                "health": {"type": "dict", "required": True},
                "drain_timeout": {"type": "int", "required": True},
            }
        )
        leader, end = self._args["leader"], time.monotonic() + self._args["seconds"]
        while True:
            problem, left = self._problem(), end - time.monotonic()
            if problem:
                ended = f"no deployment of a later wave is begun; expected {leader} to serve well for wa_upgrade_soak"
                return {"failed": True, "msg": f"{problem.rstrip('.')}. The roll-out ends: {ended}."}
            shown = f"{leader} | serves well; watched for {format_duration(max(0.0, left))} more"
            display.display(shown, stderr=True)
            if left <= 0:
                return {"changed": False}
            time.sleep(min(_PAUSE, left))

    def _problem(self) -> str:
        """Returns what is wrong with the health or the callback queue; empty for nothing."""
        leader = self._args["leader"]
        try:
            found = self._ask(query="health", wait_timeout=_PATIENCE, **self._args["health"])
            if not found.get("failed"):  # what an upgrade waits for before its outage
                found = self._ask(query="drain", wait_timeout=f"{self._args['drain_timeout']}s")
        except AnsibleConnectionFailure as error:
            return f"{leader} cannot be reached any more: {error}"
        return f"{leader}: {found.get('msg')}" if found.get("failed") else ""

    def _ask(self, **options: t.Any) -> Result:
        with censored(self):
            found: Result = self._execute_module(
                module_name="waba.onprem.wa_webapp_info",
                module_args={**self._args["api"], **options},
                task_vars=self._variables,
            )
        return found
