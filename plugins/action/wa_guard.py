# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the client's database whether a Coreapp may be started."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import requirements
from ansible_collections.waba.onprem.plugins.plugin_utils import _inventory as inventory
from ansible_collections.waba.onprem.plugins.plugin_utils import _start_guard as start_guard
from ansible_collections.waba.onprem.plugins.plugin_utils._secret_options import split

display = Display()

_READS = ("others", "record")
_UPGRADE = ("idle", "back")
_NOT_KNOWN = "who uses the client's database is not known"


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """See the module's documentation; what the database is asked comes from the inventory and the other members."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Asks the database, and fails if a Coreapp must not be started."""
        variables = task_vars or {}
        super().run(tmp, variables)
        _valid, args = self.validate_argument_spec(
            {
                "purpose": {"type": "str", "choices": ["start", *_READS, *_UPGRADE], "default": "start"},
                "databases": {"type": "list", "elements": "str", "default": []},
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
        purpose = args["purpose"]
        try:
            options = run.options()
        except AnsibleError as error:  # a password may come from where it is not to be had hours later
            if purpose != "back":
                raise
            self._note(run.ours, f"{_NOT_KNOWN}: {error}")
            return {"changed": False, "database": {}}
        if purpose in _READS:
            options["wait"] = "0s"
        if purpose in _UPGRADE:
            # A way back waits for somebody else's short job.
            options.update(running=purpose == "back", wait="60s" if purpose == "back" else "10s", tables=False)
            options.update({"databases": args["databases"]} if args["databases"] else {})
        shown, secrets = split({"database": options})
        asked = {"desired": shown, "secrets": secrets, "concerns": ["database"]}
        result: dict[str, t.Any] = self._execute_module(
            module_name="waba.onprem.wa_drift_info", module_args=asked, task_vars=variables
        )
        finding = (result.get("concerns") or {}).get("database")
        if finding is None:
            return {**result, "away": True}
        kept = {"changed": False, "database": result["database"]}
        if purpose in _READS:
            return kept
        problem, found = finding.get("error") or "", result["database"]
        if purpose in _UPGRADE:
            problem = problem or found.get("unreadable", "")
            return {**kept, **self._in_an_upgrade(run, purpose, problem, result.get("engine_away", False), found)}
        if problem:
            return {"failed": True, "away": True, "msg": f"{run.host}: {problem}"}
        refused, notes = run.decide(found)
        for text in notes:
            self._note(run.ours, text)
        # What follows from the first reason is mostly its consequence.
        return {"failed": True, "msg": f"{run.host}: {refused[0]}"} if refused else kept

    def _in_an_upgrade(
        self, run: start_guard.Run, purpose: str, problem: str, engine_away: bool, found: dict[str, t.Any]
    ) -> dict[str, t.Any]:
        """Returns how the step fails; empty if it may go on. `problem` is why the database, or a part of it, could not be read."""
        used = requirements.sessions(found.get("unknown") or [])
        if used:
            return {"failed": True, "msg": used}
        if purpose == "idle" and found.get("running"):
            return {"failed": True, "msg": f"{run.host}: a container of the client runs; it was started after the stop"}
        # A restarted engine is back in half a minute. A database that does not answer is no reason against going back.
        if problem and (purpose == "idle" or engine_away):
            return {"failed": True, "away": True, "msg": f"{run.host}: {problem}"}
        if problem:
            self._note(run.ours, f"{_NOT_KNOWN}: {problem}")
        return {}

    @staticmethod
    def _note(ours: inventory.Inventory, text: str) -> None:
        display.display(f"{ours.host} | note: {text}")
