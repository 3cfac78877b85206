# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.plugin_utils import _inventory as inventory
from ansible_collections.waba.onprem.plugins.plugin_utils import _start_guard as start_guard
from ansible_collections.waba.onprem.plugins.plugin_utils._secret_options import split

display = Display()


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """See the module's documentation; what the database is asked comes from the inventory and the other members."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Asks the database, and fails if a Coreapp must not be started."""
        variables = task_vars or {}
        super().run(tmp, variables)
        _valid, args = self.validate_argument_spec(
            {
                "purpose": {"type": "str", "choices": ["start", "others", "record"], "default": "start"},
                "content": {"type": "bool", "default": True},
            }
        )
        ours = inventory.Inventory(variables, self._templar.template)
        try:
            run = start_guard.Run(ours)
            if args["purpose"] == "others" and not run.needs_look:
                return {"changed": False, "database": {}}
            return self._guard(run, args, variables)
        except WaError as error:
            return {"failed": True, "msg": f"{ours.host}: {error}"}

    def _guard(self, run: start_guard.Run, args: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        options = run.options()
        if args["purpose"] != "start":
            options["wait"] = "0s"
        shown, secrets = split({"database": options})
        asked = {"desired": shown, "secrets": secrets, "concerns": ["database"]}
        result: dict[str, t.Any] = self._execute_module(
            module_name="waba.onprem.wa_drift_info", module_args=asked, task_vars=variables
        )
        finding = (result.get("concerns") or {}).get("database")
        if finding is None:
            return result
        kept = {"changed": False, "database": result["database"]}
        if args["purpose"] != "start":
            return kept
        if finding.get("error"):
            return {"failed": True, "msg": f"{run.host}: {finding['error']}"}
        refused, notes = run.decide(result["database"], args["content"])
        for text in notes:
            self._note(run.ours, text)
        # What follows from the first reason is mostly its consequence.
        return {"failed": True, "msg": f"{run.host}: {refused[0]}"} if refused else kept

    @staticmethod
    def _note(ours: inventory.Inventory, text: str) -> None:
        display.display(f"{ours.host} | note: {text}")
