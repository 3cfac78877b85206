# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives the comparison of a host what its inventory wants, and displays the differences."""

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.waba.onprem.plugins.module_utils._client import unmanaged
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.plugin_utils import _backup as backup
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired as desired
from ansible_collections.waba.onprem.plugins.plugin_utils import _inventory as inventory
from ansible_collections.waba.onprem.plugins.plugin_utils import _machines as machines
from ansible_collections.waba.onprem.plugins.plugin_utils import _provision_plan as provision_plan
from ansible_collections.waba.onprem.plugins.plugin_utils import _refusals as refusals
from ansible_collections.waba.onprem.plugins.plugin_utils._keep_alive import keep_alive
from ansible_collections.waba.onprem.plugins.plugin_utils._secret_options import split

display = Display()


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """See the module's documentation; the desired state comes from the inventory."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Checks the variables, runs the module, and displays the differences."""
        variables = task_vars or {}
        super().run(tmp, variables)
        ours = inventory.Inventory(variables, self._templar.template)
        if boolean(self._task.args.get("status", False), strict=False):
            return self._status(ours)
        refused = inventory.refusals(ours)
        if refused:
            return {
                "failed": True,
                "msg": f"{ours.host}: {'. '.join(one.rstrip('.') for one in refused)}. Nothing was changed.",
            }
        try:
            neighbours = machines.neighbours(variables["hostvars"], ours.host, variables["groups"])
            state = desired.for_comparison(ours, neighbours)
        except WaError as error:
            return {"failed": True, "msg": f"{ours.host}: {str(error).rstrip('.')}. Nothing was changed."}
        strict = boolean(self._task.args.get("fail_on_drift", False), strict=False)
        if strict and self._task.check_mode and "wa_drift" in variables:
            return self._predicted(ours)
        result = self._compare(ours, state, **({} if strict else {"look": desired.host_look(ours)}))
        if "concerns" not in result:
            return result
        # Without the host's name, so that equal warnings of many hosts are displayed once.
        for text in inventory.unknown(variables):
            display.warning(text)
        if strict:
            return self._fail_on_drift(ours, result)
        self._report(ours, result)
        self._warn_of_backups(ours, result)
        return result

    def _compare(self, ours: inventory.Inventory, state: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
        """Returns the module's result with the unmanaged containers, or its failure; `more` are options of the module."""
        shown, secrets = split(state)
        given = {"desired": shown, "secrets": secrets, "restart": desired.restart_mode(ours), **more}
        keep_alive(self._connection, ours.variables)
        found: dict[str, t.Any] = self._execute_module(
            module_name="waba.onprem.wa_drift_info",
            module_args={**self._task.args, **given},
            task_vars=ours.variables,
        )
        if "concerns" in found:
            self._add_unmanaged(ours, found)
        return found

    def _status(self, ours: inventory.Inventory) -> dict[str, t.Any]:
        """Returns the result for `status.yml`, also of a host that was not reached or not compared: `problem` says why, then."""
        found: dict[str, t.Any] = {"changed": False, "reached": True}
        try:
            found["about"] = {**desired.about(ours), "backups": self._backups(ours)}
            refused = inventory.refusals(ours)
            if refused:
                return {**found, "problem": f"{ours.host}: {'. '.join(one.rstrip('.') for one in refused)}"}
            return {**found, **self._looked(ours)}
        except WaError as error:
            return {**found, "problem": f"{ours.host}: {str(error).rstrip('.')}"}
        except AnsibleConnectionFailure as error:
            return {**found, "reached": False, "problem": " ".join(error.message.split())}

    def _looked(self, ours: inventory.Inventory) -> dict[str, t.Any]:
        """Returns what the module has found, with the hold in force. Raises WaError and AnsibleConnectionFailure."""
        login = refusals.Login.of(ours)
        state = desired.for_comparison(ours, machines.neighbours(*ours.all_hosts))
        if not login.is_made:  # which the setting of automatic GC would need
            state.pop("automatic_gc", None)
        if login.refused:
            state["health"].pop("api_password", None)
        if "database" in state:
            state["database"]["figures"] = True
        found = self._compare(ours, state, figures=desired.figures(ours))
        if "concerns" not in found:
            return {"problem": f"{ours.host}: {str(found.get('msg') or 'no result').rstrip('.')}"}
        alarm = login.refused or login.note(found)
        if alarm:
            one = found["concerns"].setdefault("health", {"state": "in_sync"})
            one["alarms"] = [alarm]
        return {**found, "restart": desired.restart_mode(ours), "held": desired.hold(ours, found["hold"])}

    @staticmethod
    def _backups(ours: inventory.Inventory) -> dict[str, t.Any]:
        """Returns when the newest backup with each part was made, and the images that backups have."""
        place, root = desired.deployment(ours), str(ours.given("wa_backup_dir") or "")
        if not (place["is_leader"] and root):
            return {"given": bool(root)}
        kept = backup.earlier(root, place["slug"])
        newest = {part: backup.newest(kept, part) for part in ("settings", "database", "images")}
        saved = [one.manifest for one in kept if one.has("images")]
        images = [image["name"] for one in saved for image in one["hosts"][one["leader"]]["images"]]
        times = {part: one.made_at if one else None for part, one in newest.items()}
        return {"given": True, **times, "image_names": images}

    @staticmethod
    def _fail_on_drift(ours: inventory.Inventory, result: dict[str, t.Any]) -> dict[str, t.Any]:
        """Returns the result with its alarms, or a failure if differences remain of the concerns whose roles have run.

        The failure has the `record` as long as the client's own concerns are in order.
        """
        tags = {kind: ours.variables.get(f"ansible_{kind}_tags") or () for kind in ("run", "skip")}
        corrected = provision_plan.selected(result["concerns"], tags["run"], tags["skip"])
        findings = provision_plan.held(result["concerns"]) if desired.hold(ours) else result["concerns"]
        found = {name: findings[name] for name in corrected if name in findings}
        # Only the role of the client restarts containers.
        restart = desired.restart_mode(ours) if "client" in corrected else "report"
        left = provision_plan.lines(found, restart)
        result["alarms"] = provision_plan.alarms(findings, skip_tags=tags["skip"])
        if not left:
            return result
        remaining = ". ".join(text.rstrip(".") for text in left)
        message = ". ".join([f"{ours.host}: not as the inventory wants it: {remaining}", *result["alarms"]])
        failure = {"failed": True, "msg": f"{message}.", "drift": left, "alarms": result["alarms"]}
        client = {name: one for name, one in found.items() if name in provision_plan.CLIENT}
        kept = ("record", "record_changed")
        return failure if provision_plan.lines(client, restart) else {**failure, **{key: result[key] for key in kept}}

    @staticmethod
    def _predicted(ours: inventory.Inventory) -> dict[str, t.Any]:
        """Returns the alarms that a run would end with, in check mode, where nothing was corrected that could be compared again."""
        first, skip_tags = ours.variables["wa_drift"], ours.variables.get("ansible_skip_tags") or ()
        plan = ours.given("__wa_plan") or ()
        found = first.get("concerns") or {}
        found = provision_plan.held(found) if desired.hold(ours) else found
        return {"changed": False, "alarms": provision_plan.alarms(found, plan, skip_tags)}

    @staticmethod
    def _report(ours: inventory.Inventory, result: dict[str, t.Any]) -> None:
        """Displays the differences, and adds what the plan needs to the result."""
        result["held"] = desired.hold(ours, result["hold"])
        found = provision_plan.held(result["concerns"]) if result["held"] else result["concerns"]
        result["restart"] = desired.restart_mode(ours)
        result["drift"] = provision_plan.lines(found, result["restart"])
        members = desired.deployment(ours)["members"]
        result.update(leader=desired.deployment(ours)["leader"], cluster=len(members) > 1)
        result["members"] = [one for one in members if one in ours.variables.get("ansible_play_hosts_all", members)]
        if result["held"]:
            display.display(f"{ours.host} | {'warning: ' if result['hold'].get('old') else ''}{result['held']}")
        for text in provision_plan.lines(found, result["restart"]):
            display.display(f"{ours.host} | {text}")
        result["only_starts"] = provision_plan.only_starts(found, result.get("look") or {})
        result["stopped"] = provision_plan.stopped(found)
        if result["stopped"]:
            path = desired.deployment(ours)["hold_file"]
            display.display(
                f"{ours.host} | note: if that is meant, hold the client before a run: echo REASON | sudo tee {path}"
            )
        for text in provision_plan.pending(found, result["restart"]):
            display.display(f"{ours.host} | {'held' if result['held'] else 'restart pending'}: {text}")
        for text in provision_plan.warnings(found):
            display.display(f"{ours.host} | warning: {text}")
        hostvars, host, groups = ours.all_hosts
        if "health" in found and machines.is_first_unasked(
            hostvars, host, groups, ours.variables.get("ansible_play_hosts_all", [host])
        ):
            display.display(
                f"{ours.host} | not asked whether the client serves, here and where else neither wa_api_key nor wa_api_password is "
                "set. Set one"
            )
        for text in provision_plan.alarms(found):
            display.display(f"{ours.host} | alarm: {text}")

    @staticmethod
    def _warn_of_backups(ours: inventory.Inventory, result: t.Mapping[str, t.Any]) -> None:
        """Displays that the settings backup of a deployment that runs is missing or old."""
        place, root = desired.deployment(ours), str(ours.given("wa_backup_dir") or "")
        outside = not place["project"] and ours.given("wa_client_container_names")  # which no role starts
        if not (place["is_leader"] and (result["runs"] or outside)):
            return
        now, last = time.time(), backup.newest(backup.earlier(root, place["slug"]) if root else [], "settings")
        text = backup.warning(
            now - last.made_at if last else None, backup.days_left(result["expires_on"], now), bool(root)
        )
        if text:
            display.display(f"{ours.host} | warning: {text}")

    @staticmethod
    def _add_unmanaged(ours: inventory.Inventory, result: dict[str, t.Any]) -> None:
        """Reports unmanaged client containers as drift of the host, unless they belong to another number."""
        if not result["unmanaged"]:
            return
        sorting = unmanaged.sort(result["unmanaged"], **desired.unmanaged(ours))
        containers = [*sorting["own"], *sorting["unknown"]]
        lines = [
            f"{one['name']} ({one['image']}) is a client that this inventory does not describe" for one in containers
        ]
        lines += sorting["refused"]
        if lines:
            host = result["concerns"].setdefault("host", {"state": "in_sync"})
            host.setdefault("changes", []).extend(lines)
            host["state"] = host["state"] if host["state"] == "unknown" else "drifted"
