# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.waba.onprem.plugins.module_utils._concern import comparison
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired as desired
from ansible_collections.waba.onprem.plugins.plugin_utils import _inventory as inventory
from ansible_collections.waba.onprem.plugins.plugin_utils import _machines as machines
from ansible_collections.waba.onprem.plugins.plugin_utils import _provision_plan as provision_plan

display = Display()


def split(wanted: t.Mapping[str, t.Mapping[str, t.Any]]) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """Returns the desired states without secret options (`no_log`), and those options alone, to be sent hidden."""
    shown: dict[str, dict[str, t.Any]] = {}
    secrets: dict[str, dict[str, t.Any]] = {}
    for name, options in wanted.items():
        hidden = {key for key, spec in comparison.SPECS[name].items() if spec.get("no_log")}
        shown[name] = {key: value for key, value in options.items() if key not in hidden}
        secrets[name] = {key: value for key, value in options.items() if key in hidden}
        files = options.get("files") or []
        if any("content" in one for one in files):
            shown[name]["files"] = [{key: value for key, value in one.items() if key != "content"} for one in files]
            secrets[name]["files"] = [{"content": one["content"]} if "content" in one else {} for one in files]
    return shown, secrets


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """See the module's documentation; the desired state comes from the inventory."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Checks the variables, runs the module, and displays the differences."""
        variables = task_vars or {}
        super().run(tmp, variables)
        ours = inventory.Inventory(variables, self._templar.template)
        refused = inventory.refusals(ours)
        if refused:
            return {
                "failed": True,
                "msg": f"{ours.host}: {'. '.join(one.rstrip('.') for one in refused)}. Nothing was changed.",
            }
        try:
            neighbours = machines.neighbours(variables["hostvars"], ours.host, variables["groups"])
            shown, secrets = split(desired.for_comparison(ours, neighbours))
        except WaError as error:
            return {"failed": True, "msg": f"{ours.host}: {str(error).rstrip('.')}. Nothing was changed."}
        strict = boolean(self._task.args.get("fail_on_drift", False), strict=False)
        args = {**self._task.args, "desired": shown, "secrets": secrets, "restart": ours["wa_client_restart"]}
        result: dict[str, t.Any] = self._execute_module(
            module_name="waba.onprem.wa_drift_info", module_args=args, task_vars=variables
        )
        if "concerns" not in result:
            return result
        self._add_unmanaged(ours, result)
        for text in inventory.unknown(
            variables
        ):  # without the host's name, so that equal warnings of many hosts are displayed once
            display.warning(text)
        if strict:
            return self._fail_on_drift(ours, result)
        self._report(ours, result)
        return result

    @staticmethod
    def _fail_on_drift(ours: inventory.Inventory, result: dict[str, t.Any]) -> dict[str, t.Any]:
        """Returns the result, or a failure if differences remain of the concerns whose roles have run.

        The failure has `hashes` as long as the client's own concerns are in order.
        """
        tags = (ours.variables.get(f"ansible_{kind}_tags") or () for kind in ("run", "skip"))
        corrected = provision_plan.selected(result["concerns"], *tags)
        found = {name: result["concerns"][name] for name in corrected}
        # Only the role of the client restarts containers.
        restart = ours["wa_client_restart"] if "client" in corrected else "report"
        left = provision_plan.remaining(found, restart)
        if not left:
            return result
        remaining = ". ".join(text.rstrip(".") for text in left)
        failure = {"failed": True, "msg": f"{ours.host}: not as the inventory wants it: {remaining}.", "drift": left}
        client = {name: one for name, one in found.items() if name in provision_plan.CLIENT}
        return failure if provision_plan.remaining(client, restart) else {**failure, "hashes": result["hashes"]}

    @staticmethod
    def _report(ours: inventory.Inventory, result: dict[str, t.Any]) -> None:
        """Displays the differences, and adds what the plan needs to the result."""
        found = result["concerns"]
        result["drift"] = provision_plan.lines(found, ours["wa_client_restart"])
        result["restart"] = ours["wa_client_restart"]
        members = desired.deployment(ours)["members"]
        result["members"] = [one for one in members if one in ours.variables.get("ansible_play_hosts_all", members)]
        result["trial_database"] = ours.given("wa_trial_database_image") is not None
        for text in provision_plan.lines(found, result["restart"]):
            display.display(f"{ours.host} | {text}")
        for text in provision_plan.pending(found, result["restart"]):
            display.display(f"{ours.host} | restart pending: {text}")
        for text in provision_plan.warnings(found):
            display.display(f"{ours.host} | warning: {text}")

    @staticmethod
    def _add_unmanaged(ours: inventory.Inventory, result: dict[str, t.Any]) -> None:
        """Reports unmanaged client containers as drift of the host, unless they belong to another number."""
        if not result["unmanaged"]:
            return
        sorting = machines.sort_unmanaged(result["unmanaged"], desired.client(ours), *ours.all_hosts)
        containers = [*sorting["replaceable"], *sorting["unknown"]]
        lines = [
            f"{one['name']} ({one['image']}) is a client that this inventory does not describe" for one in containers
        ]
        lines += [sorting["refusal"]] if sorting["refusal"] else []
        if lines:
            host = result["concerns"].setdefault("host", {"state": "in_sync"})
            host.setdefault("changes", []).extend(lines)
            host["state"] = host["state"] if host["state"] == "unknown" else "drifted"
