# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what the checks before an upgrade need, by other modules, and makes the checks, on the controller."""

from __future__ import annotations

import os
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import next_step, proof
from ansible_collections.waba.onprem.plugins.plugin_utils import _upgrade_checks as upgrade_checks
from ansible_collections.waba.onprem.plugins.plugin_utils._other_action import run_other

Result = dict[str, t.Any]
FOLDER = "wa-checks"  # where ansible-playbook was started
LOOKS = (
    "__wa_upgrade_look_"  # begins the names of the variables with a look's `module`, `options`, and whether it `writes`
)


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """See the module's documentation."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> Result:
        """Returns what was read, or the verdict. Only a verdict fails, with what is wrong."""
        variables = task_vars or {}
        super().run(tmp, variables)
        _valid, args = self.validate_argument_spec(
            {
                "look": {"type": "str"},
                "looks": {"type": "list", "elements": "str"},
                "part": {"type": "str", "choices": ["host", "deployment", "display", "members", "step", "proof"]},
            },
            mutually_exclusive=[("look", "looks", "part")],
            required_one_of=[("look", "looks", "part")],
        )
        if args["look"]:
            return self._look(args["look"], variables)
        if args["looks"] is not None:
            found = {name: self._look(name, variables) for name in args["looks"]}
            warnings = [
                text for one in found.values() for text in one.pop("warnings", ())
            ]  # Ansible displays those of the task
            return {"changed": any(one["changed"] for one in found.values()), "warnings": warnings, **found}
        try:
            parts = {"display": self._show, "members": self._members, "step": self._step, "proof": self._proof}
            return parts[args["part"]](variables) if args["part"] in parts else self._host(variables, args["part"])
        except (WaError, OSError) as error:
            return {"failed": True, "msg": str(error)}

    def _look(self, name: str, variables: dict[str, t.Any]) -> Result:
        """Returns the result of a look, whatever the others have found; `msg` says why it has none."""
        try:
            # Templated here, so that a variable that cannot be is one more thing that was found.
            wanted = self._templar.template(variables[LOOKS + name])
            only_reads = self._task.check_mode or not wanted["writes"]
            result = run_other(self, wanted["module"], wanted["options"], variables, diff=False, check_mode=only_reads)
        except AnsibleConnectionFailure:
            raise  # an unreachable host is Ansible's to report
        except AnsibleError as error:
            return {"changed": False, "msg": str(error)}
        left = {key: value for key, value in result.items() if key not in ("failed", "exception")}
        return {**left, "changed": bool(wanted["writes"] and result.get("changed"))}

    def _host(self, variables: dict[str, t.Any], part: str) -> Result:
        facts = self._templar.template(variables["__wa_upgrade_facts"])
        hostvars, groups, hosts = (variables[name] for name in ("hostvars", "groups", "ansible_play_hosts"))
        found = upgrade_checks.of_host(facts, hostvars, groups, hosts, part == "deployment")
        if found["failures"] and not found["check_only"]:
            return {"failed": True, "msg": found["message"]}
        return {**found, "changed": False}

    def _found(self, variables: dict[str, t.Any]) -> tuple[list[str], list[str], dict[str, t.Any]]:
        """Returns what this host displays, by what it fails, and what is written for programs.

        With `wa_upgrade_check_only` one member does all for all.
        """
        own, host = variables["__wa_upgrade_verdict"], variables["inventory_hostname"]
        deployment = self._templar.template(variables["__wa_upgrade_deployment"])
        run_hosts, hosts = variables["ansible_play_hosts_all"], variables["ansible_play_hosts"]
        found = upgrade_checks.of_deployment(deployment, variables["hostvars"], run_hosts, hosts)
        if not own["check_only"]:
            return own["notes"], [f"{host}: {found['refusal']}"] if found["unready"] else [], {}
        if host != found["reporter"]:
            return [], [], {}
        failed = [found["lines"][0], *found["failed"]] if found["failed"] else []
        return found["lines"], failed, {f"{deployment['slug']}.json": found}

    def _show(self, variables: dict[str, t.Any]) -> Result:
        lines, _failed, written = self._found(variables)
        if not self._task.check_mode:
            folder = os.path.join(os.environ.get("PWD") or os.getcwd(), FOLDER)
            try:
                for name, found in written.items():
                    files.make_folder(folder)
                    files.write_json(os.path.join(folder, name), found)
            except (WaError, OSError) as error:
                return {"failed": True, "msg": [*lines, str(error)]}
        return {"changed": False, "msg": lines, "_ansible_verbose_always": bool(lines)}

    def _members(self, variables: dict[str, t.Any]) -> Result:
        _lines, failed, _written = self._found(variables)
        return {"failed": True, "msg": failed} if failed else {"changed": False}

    def _step(self, variables: dict[str, t.Any]) -> Result:
        facts = self._templar.template(variables["__wa_upgrade_observed"])
        found = next_step.next_step(facts)
        # What somebody has started counts before the journal, and stays so when its container is gone.
        if found["schema"] == facts["journal"]["schema"]:
            return self._unless_refused(facts, found)
        noted = {"operation": "note", "path": facts["lock_file"], "schema": found["schema"], "notes": found["notes"]}
        step = {"module": "waba.onprem.wa_upgrade_journal", "options": noted}
        result = run_other(self, "waba.onprem.wa_upgrade_step", step, variables)
        if result.get("failed"):
            return result
        return {**self._unless_refused(facts, found), "changed": True, "journal": result["journal"]}

    def _proof(self, variables: dict[str, t.Any]) -> Result:
        facts = self._templar.template(variables["__wa_upgrade_started_facts"])
        return self._unless_refused(facts, proof.proof(facts["members"], facts["containers"], facts["target"]))

    @staticmethod
    def _unless_refused(facts: dict[str, t.Any], found: Result) -> Result:
        if found["refusal"]:
            return {"failed": True, "msg": f"{facts['deployment']}: {found['refusal']}"}
        return {**found, "changed": False}
