# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Displays the state of the fleet that a play has looked at, writes the report, notifies, and says which hosts fail the run."""

from __future__ import annotations

import shlex
import time
import typing as t

from ansible import context
from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import text_list, whole_number
from ansible_collections.waba.onprem.plugins.plugin_utils import _collection as collection
from ansible_collections.waba.onprem.plugins.plugin_utils import _command_line as command_line
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired as desired
from ansible_collections.waba.onprem.plugins.plugin_utils import _fleet as fleets
from ansible_collections.waba.onprem.plugins.plugin_utils import _fleet_text as fleet_text
from ansible_collections.waba.onprem.plugins.plugin_utils import _reports as reports
from ansible_collections.waba.onprem.plugins.plugin_utils import _runner_artifacts as runner_artifacts
from ansible_collections.waba.onprem.plugins.plugin_utils import _support_bundle as support_bundle
from ansible_collections.waba.onprem.plugins.plugin_utils._inventory import Inventory

display = Display()
_READ, _DRIFT = (
    "__wa_status_read",
    "wa_drift",
)  # where status.yml and provision.yml register the results of `wa_drift_info`
Result = dict[str, t.Any]


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """See the module's documentation; all variables are those of the first host of the play."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> Result:
        """Returns the fleet and which hosts fail, or fails on one of them."""
        variables = task_vars or {}
        super().run(tmp, variables)
        _valid, args = self.validate_argument_spec(
            {
                "part": {"type": "str", "choices": ["report", "notify", "verdict"], "default": "report"},
                "failing": {"type": "dict"},
            }
        )
        if args["part"] == "verdict":
            return self._verdict(variables["inventory_hostname"], args["failing"] or {})
        ours = Inventory(variables, self._templar.template)
        try:
            if args["part"] == "notify":
                self._notify(ours, self._fleet(self._found(ours, _DRIFT)), drift_only=True)
                return {"changed": False}
            return self._report(ours)
        except WaError as error:
            return {"failed": True, "msg": f"{str(error).rstrip('.')}."}

    @staticmethod
    def _verdict(host: str, failing: t.Mapping[str, t.Sequence[t.Mapping[str, t.Any]]]) -> Result:
        causes = failing.get(host) or []
        text = ". ".join(str(one["text"]).rstrip(".") for one in causes)
        if all(one["kind"] == "unreachable" for one in causes):  # so that the run ends as Ansible's do
            return {"unreachable": True, "msg": text}
        named = text.startswith((f"{host}: ", f"{host} "))
        return {"failed": True, "msg": f"{text}." if named else f"{host}: {text}."}

    def _report(self, ours: Inventory) -> Result:
        fail_on = (
            text_list(ours.given("wa_status_fail_on"), "wa_status_fail_on")
            if (ours.given("wa_status_fail_on") is not None)
            else [*fleets.FAIL_ON]
        )
        wrong = [one for one in fail_on if one not in fleets.CATEGORIES]
        if wrong:
            raise WaError("wa_status_fail_on", f"{wrong[0]!r}", f"some of {', '.join(fleets.CATEGORIES)}")
        found = self._found(ours, _READ)
        fleet = self._fleet(found)
        for line in fleet_text.lines(fleet, boolean(ours.given("wa_status_all") or False, strict=False)):
            display.display(line)
        written = "" if self._task.check_mode else self._write(ours, fleet)
        if not self._task.check_mode:
            self._bundle(ours, fleet, found)
            self._notify(ours, fleet)
        return {
            "changed": False,
            "counts": fleet["counts"],
            "report": written,
            "failing": fleets.failures(fleet, fail_on),
        }

    @staticmethod
    def _write(ours: Inventory, fleet: t.Mapping[str, t.Any]) -> str:
        """Writes the report, and returns its path; empty without a folder, and for a part of the inventory."""
        root, keep = str(ours.given("wa_report_dir") or ""), ours.given("wa_report_keep")
        if not root:
            return ""
        if context.CLIARGS.get("subset"):
            display.display("No report is written: --limit names a part of the inventory only.")
            return ""
        count = reports.KEPT if keep is None else whole_number("wa_report_keep", keep)
        return str(reports.Folder(root).write(fleet, count))

    @staticmethod
    def _bundle(ours: Inventory, fleet: t.Mapping[str, t.Any], found: t.Mapping[str, Result]) -> None:
        """Writes a support bundle of each deployment where they are asked for."""
        folder = str(ours.given("wa_status_bundle") or "")
        for one in fleet["deployments"] if folder else ():
            hosts = {member["host"]: found[member["host"]] for member in one["members"]}
            path = support_bundle.write(folder, one, hosts, reports.stamp(fleet))
            display.display(f"Support bundle: {path}")
        if folder and boolean(ours.given("wa_status_bundle_logs") or False, strict=False):
            display.warning("The client's logs may hold phone numbers and texts of messages, which are not hidden.")

    @staticmethod
    def _notify(ours: Inventory, fleet: t.Mapping[str, t.Any], drift_only: bool = False) -> None:
        """Calls the command if a state has changed. Raises WaError if it is not known what was the last one."""
        command, root = (str(ours.given(name) or "") for name in ("wa_notify_command", "wa_report_dir"))
        if not command or context.CLIARGS.get("subset"):  # of a part of a deployment less is known
            return
        if not root:
            raise WaError("wa_notify_command", "set without wa_report_dir", "both: the last state is remembered there")
        folder = reports.Folder(root)
        before = folder.notified()
        changed = fleets.changes(fleet, before, drift_only)
        if not changed:
            return
        message = {"time": fleet["time"], "counts": fleet["counts"], "changes": changed}
        problem = reports.notify(command, message)
        if problem:
            display.warning(f"wa_notify_command failed, and is called again by the next run: {problem}")
            return
        folder.note({**before, **{one["name"]: one["state"] for one in changed}})

    def _found(self, ours: Inventory, name: str) -> dict[str, Result]:
        """Returns the results of all hosts of the play that it has registered as `name`, or that ansible-runner has left."""
        hostvars, groups = ours.variables["hostvars"], ours.variables["groups"]
        artifacts = str(ours.given("wa_status_artifacts") or "")
        left = runner_artifacts.results(artifacts, time.time()) if artifacts else {}
        found = {}
        for host in ours.variables["ansible_play_hosts_all"]:
            read = dict((left.get(host) if artifacts else hostvars[host].get(name)) or {})
            read.setdefault("reached", not read.get("unreachable"))
            if name == _DRIFT and "concerns" in read and hostvars[host].get("wa_api_key"):
                # Its state counts for the next status.yml, which does not log in to a client with a key.
                read["concerns"] = {key: one for key, one in read["concerns"].items() if key != "automatic_gc"}
            if "concerns" not in read and "problem" not in read:
                missing = runner_artifacts.missing(artifacts, host, groups) if artifacts else "it was not looked at"
                read["problem"] = str(read.get("msg") or missing)
            if "about" not in read:
                read["about"] = about(host, hostvars, groups, self._templar.template)
            found[host] = read
        return found

    @staticmethod
    def _fleet(found: t.Mapping[str, Result]) -> Result:
        return fleets.report(found, time.time(), commands(context.CLIARGS), collection.version())


def about(host: str, hostvars: t.Any, groups: t.Any, template: t.Any) -> Result:
    """Returns what the inventory says of a host that did not come so far as to say it, also where the inventory is wrong."""
    try:
        return desired.about(Inventory.of_host(host, hostvars, groups, template))
    except (AnsibleError, WaError):
        unknown = {"version": None, "services": 0, "messages_limit": 0, "automatic_gc": None, "gc_policy": None}
        return {"name": host, "slug": host, "leader": host, "members": [host], "topology": "single", **unknown}


def commands(cli: t.Mapping[str, t.Any]) -> fleets.Commands:
    """Returns how messages write commands: with the inventory and the login options of this run."""

    def playbook(name: str, variables: t.Mapping[str, t.Any], limit: str) -> str:
        return command_line.playbook(name, variables, cli, limit)

    def module(host: str, name: str, arguments: str) -> str:
        sources = [cli["inventory"]] if isinstance(cli.get("inventory"), str) else cli.get("inventory") or ()
        argv = ["ansible", *(part for one in sources for part in ("-i", str(one))), host, "--become", "-m", name]
        argv += ["-a", arguments] if arguments else []
        return shlex.join([*argv, *command_line.login_options(cli)])

    return fleets.Commands(playbook, module)
