# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the version that a deployment runs now into the line of the inventory that sets it, or names the line."""

from __future__ import annotations

import os
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.plugin_utils import _version_line as version_line

Result = dict[str, t.Any]
# Of `wa_upgrade_result`, for hosts that run the target, or would.
_AT_TARGET = ("upgraded", "not_needed", "predicted")


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """See the module's documentation."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> Result:
        """Returns `lines` for people. That a line is not written is no failure."""
        variables = task_vars or {}
        super().run(tmp, variables)
        _valid, args = self.validate_argument_spec(
            {
                "target": {"type": "str", "required": True},
                "members": {"type": "list", "elements": "str", "required": True},
                "update": {"type": "bool", "default": False},
            }
        )
        target, hostvars = args["target"], variables["hostvars"]
        values = {host: hostvars.raw_get(host).get("wa_version") for host in hostvars}
        host = variables["inventory_hostname"]
        if version_line.place(values[host]) != version_line.place(variables.get("wa_version")):
            values[host] = None  # a play's own variables count before the inventory
        leaders = variables["groups"].get("wa_upgrade_leaders", ())
        results = [hostvars[leader].get("wa_upgrade_result") or {} for leader in leaders]
        upgraded = {
            host
            for one in results
            if one.get("outcome") in _AT_TARGET and one["target"] == target
            for host in one["members"]
        }

        def planned() -> version_line.Plan:
            return version_line.plan(values, args["members"], upgraded, target, files.read_text)

        plan = planned()
        if plan.edit and args["update"]:
            try:
                with files.folder_lock(os.path.dirname(os.path.realpath(plan.places[0].path))):
                    plan = planned()  # another deployment of this run may have written its own line there
                    if plan.edit and not self._task.check_mode:
                        version_line.write(plan.places[0].path, plan.edit.text)
            except OSError as error:
                plan = plan._replace(edit=None, reason=f"the file cannot be written: {error.strerror}")
        return self._result(plan, target, args["update"])

    def _result(self, plan: version_line.Plan, target: str, update: bool) -> Result:
        if not plan.places and not plan.reason:
            return {"changed": False, "lines": []}
        where = ", ".join(map(str, plan.places))
        if plan.edit and update:
            would = "would be set" if self._task.check_mode else "is set"
            header = str(plan.places[0])
            diff = {"before": f"{plan.edit.before}\n", "after": f"{plan.edit.after}\n"}
            return {
                "changed": True,
                "lines": [f"wa_version {would} in {where}:", f"- {plan.edit.before}", f"+ {plan.edit.after}"],
                "diff": {**diff, "before_header": header, "after_header": header},
            }
        set_it = f"Set wa_version: {target} in the inventory, so that provision.yml agrees"
        now = f" (now {plan.edit.before})" if plan.edit else ""
        why = f". It was not written, since {plan.reason}" if update else ""
        return {"changed": False, "lines": [f"{set_it}{f', in {where}{now}' if where else ''}{why}."]}
