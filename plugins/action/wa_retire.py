# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Selects the members of a deployment, or ends it on one of them as the inventory describes it."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired as desired
from ansible_collections.waba.onprem.plugins.plugin_utils import _inventory as inventory
from ansible_collections.waba.onprem.plugins.plugin_utils import _retirement as retirement

display = Display()


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """See the module's documentation; the desired state comes from the inventory."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Returns the members, or the module's result; a plan is displayed."""
        variables = task_vars or {}
        super().run(tmp, variables)
        operation = self._task.args.get("operation", "plan")
        try:
            for name in ("wa_retire", "wa_retire_without_backup"):
                inventory.assert_for_one_run(name, variables.get(name))
            if operation == "select":
                name = str(self._task.args.get("name") or "")
                hosts = variables["ansible_play_hosts_all"]
                return {"members": retirement.members(variables["hostvars"], variables["groups"], name, hosts)}
            ours = inventory.Inventory(variables, self._templar.template)
            place = desired.deployment(ours)
            args = {**desired.docker(ours), "operation": operation, "desired": retirement.desired(ours)}
        except WaError as error:
            return {"failed": True, "msg": f"{str(error).rstrip('.')}."}
        result: dict[str, t.Any] = self._execute_module(
            module_name="waba.onprem.wa_retire", module_args=args, task_vars=variables
        )
        if operation == "plan":
            for kind in ("goes", "stays"):
                for line in result.get(kind, ()):
                    display.display(f"{ours.host} | {kind}: {line}")
            result["deployment"] = place
        return result
