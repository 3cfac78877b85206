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
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import next_step
from ansible_collections.waba.onprem.plugins.plugin_utils import _upgrade_checks as upgrade_checks
from ansible_collections.waba.onprem.plugins.plugin_utils._other_action import other_action

Result = dict[str, t.Any]
FOLDER = "wa-checks"  # where ansible-playbook was started
LOOKS = "__wa_upgrade_look_"  # begins the names of the variables with a look's `module`, `options`, `vars`, and whether it `writes`


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
                "part": {"type": "str", "choices": ["host", "deployment", "members", "step"]},
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
            parts = {"members": self._members, "step": self._step}
            return parts[args["part"]](variables) if args["part"] in parts else self._host(variables, args["part"])
        except (WaError, OSError) as error:
            return {"failed": True, "msg": str(error)}

    def _look(self, name: str, variables: dict[str, t.Any]) -> Result:
        """Returns the result of a look, whatever the others have found; `msg` says why it has none."""
        try:
            # Templated here, so that a variable that cannot be is one more thing that was found.
            wanted = self._templar.template(variables[LOOKS + name])
            action = other_action(self, wanted["module"], wanted["options"])
            action._task.diff = False
            action._task.check_mode = self._task.check_mode or not wanted["writes"]
            try:
                result: Result = action.run(task_vars={**variables, **wanted.get("vars", {})})
            finally:
                action.cleanup()
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

    def _members(self, variables: dict[str, t.Any]) -> Result:
        """Fails if any member has not passed. With `wa_upgrade_check_only` one member reports for all, and writes that for programs."""
        host, own = variables["inventory_hostname"], variables["__wa_upgrade_verdict"]
        deployment = self._templar.template(variables["__wa_upgrade_deployment"])
        run_hosts, hosts = variables["ansible_play_hosts_all"], variables["ansible_play_hosts"]
        found = upgrade_checks.of_deployment(deployment, variables["hostvars"], run_hosts, hosts)
        if not own["check_only"]:
            if found["unready"]:
                return {"failed": True, "msg": f"{host}: {found['refusal']}"}
            return self._shown(own["notes"])
        if host != found["reporter"]:
            return {"changed": False}
        if not self._task.check_mode:
            folder = os.path.join(os.environ.get("PWD") or os.getcwd(), FOLDER)
            files.make_folder(folder)
            files.write_json(os.path.join(folder, f"{deployment['slug']}.json"), found)
        if found["failed"]:
            return {"failed": True, "msg": [*found["lines"], *found["failed"]]}
        return self._shown(found["lines"])

    def _step(self, variables: dict[str, t.Any]) -> Result:
        facts = self._templar.template(variables["__wa_upgrade_observed"])
        found = next_step.next_step(facts)
        if found["refusal"]:
            return {"failed": True, "msg": f"{facts['deployment']}: {found['refusal']}"}
        return {**found, "changed": False}

    @staticmethod
    def _shown(lines: t.Sequence[str]) -> Result:
        return {"changed": False, "msg": [*lines], "_ansible_verbose_always": bool(lines)}
