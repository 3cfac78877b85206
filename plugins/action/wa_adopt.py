# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads hosts through the module and writes the inventory that describes them, all of it on the controller.

What was read contains secrets. Modules are run as in a task with `no_log`, but the task itself has none: its errors are
displayed. Between the operations it is in a file of Ansible's own folder for temporary files, encrypted as the inventory's secrets
are: the file outlives a run that is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shlex
import tempfile
import typing as t

from ansible import constants, context
from ansible.errors import AnsibleError
from ansible.parsing.vault import VaultLib, is_encrypted, match_encrypt_secret
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible.utils.path import unfrackpath

from ansible_collections.waba.onprem.plugins.module_utils._adopt import inventory as adopt_inventory
from ansible_collections.waba.onprem.plugins.module_utils._adopt import placing
from ansible_collections.waba.onprem.plugins.module_utils._adopt import report as adopt_report
from ansible_collections.waba.onprem.plugins.module_utils._core import redact as core_redact
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import Redactor
from ansible_collections.waba.onprem.plugins.module_utils._docker import inspection as docker_inspection
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file
from ansible_collections.waba.onprem.plugins.plugin_utils import _backup as backup
from ansible_collections.waba.onprem.plugins.plugin_utils import _command_line as command_line
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired as desired
from ansible_collections.waba.onprem.plugins.plugin_utils._adopt_files import RECORD, File, Writer
from ansible_collections.waba.onprem.plugins.plugin_utils._inventory import Inventory
from ansible_collections.waba.onprem.plugins.plugin_utils._keep_alive import keep_alive
from ansible_collections.waba.onprem.plugins.plugin_utils._no_log import censored
from ansible_collections.waba.onprem.plugins.plugin_utils._other_action import run_other

display = Display()

# How a host is reached, carried over into the new inventory; facts have names such as ansible_ssh_host_key_rsa_public.
_CONNECTION = re.compile(
    r"ansible_(?!ssh_host_key_\w+_public)(host|port|user|connection|timeout|password|python_interpreter|private_key_file|docker_extra_args|(ssh|become)(_\w+)?)"
    r"|wa_docker_host"
)
_OLD_NAME = re.compile(r"(?<=^ansible_)ssh_(?=(host|port|user)$)")  # which Ansible still takes

_BACKUP_VARIABLES = ("wa_api_", "wa_backup_")


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """See the module's documentation."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """One of the operations."""
        task_vars = task_vars or {}
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        operation = args.pop("operation", None)
        operations = {"read": self._read, "write": self._write, "backup": self._back_up, "report": self._report}
        try:
            if operation not in operations:
                raise WaError("option operation", repr(operation), f"one of {', '.join(operations)}")
            return operations[operation](args, task_vars)
        except WaError as error:
            return {"failed": True, "changed": False, "msg": str(error)}

    # On each host

    def _read(self, args: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        secret = self._vault_secret()
        keep_alive(self._connection, task_vars)
        password = args.pop("api_password", None)
        result = self._survey(args, task_vars)
        asked = [one for one in _evidence(result) if one.get("login") == "no_login"]
        if password and asked:
            with self._tried_passwords() as tried:
                first = password not in tried
                if first:
                    result = self._survey({**args, "api_password": password}, task_vars)
                    refused = any(one.get("login") == "login" for one in _evidence(result))
                    tried[password] = task_vars["inventory_hostname"] if refused else ""
            if not first and not tried[password]:
                result = self._survey({**args, "api_password": password}, task_vars)
            elif not first:
                # In the place of "no wa_api_password is given"; what the database server said stays.
                said = f"nodes: not asked, since wa_api_password was refused on {tried[password]}"
                for one in asked:
                    one["problems"] = [said, *one["problems"][1:]]
        survey = result.pop("survey", None)
        if survey is None:
            return result
        with tempfile.NamedTemporaryFile(
            "wb", dir=constants.DEFAULT_LOCAL_TMP, prefix="wa-adopt-", suffix=".vault", delete=False
        ) as file:
            file.write(self._vault.encrypt(json.dumps(survey), secret))
        return {"changed": False, "actions": [], "survey": file.name}

    def _survey(self, args: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        with censored(self):
            found: dict[str, t.Any] = self._execute_module(
                module_args={**args, "operation": "read"}, task_vars=task_vars
            )
        return found

    @contextlib.contextmanager
    def _tried_passwords(self) -> t.Iterator[dict[str, str]]:
        """Yields each API password that this run has tried, with the host that refused it, to one host at a time.

        A wrong one locks the account of every client that it is tried at. Encrypted, as all that is written meanwhile.
        """
        with open(os.path.join(constants.DEFAULT_LOCAL_TMP, "wa-tried-passwords.vault"), "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            content = file.read()
            before = json.loads(self._vault.decrypt(content)) if content else {}
            tried = dict(before)
            yield tried
            if tried != before:
                file.truncate(0)
                file.write(self._vault.encrypt(json.dumps(tried), self._vault_secret()))

    # Once, for all hosts

    def _writer(self, args: dict[str, t.Any]) -> Writer:
        if not args.get("dest"):
            raise WaError("wa_adopt_dir", "not set", "a folder on this machine for the new inventory")
        return Writer(
            unfrackpath(args["dest"], follow=False),
            self._text,
            self._vault,
            self._vault_secret(),
        )

    def _write(self, args: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        writer = self._writer(args)
        if not self._task.check_mode:
            writer.complete()
        recorded = writer.recorded()
        read, failed = self._surveys(str(args["readings"]), task_vars)
        # An adopted inventory has a host for each client of a machine.
        machines = {host: recorded.hosts.get(host, {}).get("machine", host) for host in (*read, *failed)}
        hosts = {machines[host]: host for host in read}
        surveys = {machine: read[host] for machine, host in hosts.items()}
        redact = Redactor(value for survey in surveys.values() for value in _secrets(survey))
        for one in (one for survey in surveys.values() for one in survey["autostart"]):
            # Before it is shortened for the report, which could leave half a secret. What it names may be called as a password.
            one["shown"] = core_redact.mask(redact(one["line"]))
        hostvars = task_vars["hostvars"]
        reached = {machine: _reached(hostvars[host]) for machine, host in hosts.items()}
        answers = {str(host): str(hostvars[host].get("wa_deployment") or "") for host in hostvars}
        adoption = adopt_inventory.build(
            surveys,
            {machines[host]: why for host, why in failed.items() if machines[host] not in surveys},
            adopt_inventory.Source(reached, answers),
            lambda hosts, host, groups: desired.compose_file_of(hosts, host, groups, self._templar.template),
            recorded,
        )
        _hide(adoption, redact)
        if adoption.hosts:
            writer.plan(adoption)
        if not self._task.check_mode:
            writer.write()
        paths = [file.path for file in writer.files]
        result: dict[str, t.Any] = {
            "changed": bool(paths),
            "actions": [f"wrote {path}" for path in paths],
            "deployments": adoption.deployments,
            "leaders": _leaders(adoption, hosts),
            "state": adoption.report,
            "kept": writer.kept,
        }
        if self._task.diff:
            result["diff"] = [_difference(file, redact) for file in writer.files]
        return result

    def _report(self, args: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Writes and displays the report, with the settings backups that were made since the inventory was written."""
        writer, written = self._writer(args), args["written"]
        folder, state = unfrackpath(args["dest"], follow=False), written["state"]
        for host in task_vars["ansible_play_hosts_all"]:
            made = (task_vars["hostvars"][host].get(str(args["readings"])) or {}).get("settings") or {}
            for name, found in made.items():
                state["deployments"][name]["settings"] = found
        # With the path of the inventory, since other paths of this run, such as those in ansible.cfg, may be relative.
        words = ["ansible-playbook", "-i", f"{folder}/inventory.yml", *command_line.login_options(context.CLIARGS)]
        report = adopt_report.lines(state, shlex.join(words))
        if state["deployments"]:
            compose = [line for one in state["deployments"].values() for line in one["compose"]]
            writer.text("report.md", "".join(f"{line}\n" for line in (*report, *compose)))
            if not self._task.check_mode:
                earlier = writer.recorded()
                earlier.report = state
                writer.record(earlier)
                writer.write()
        paths = [line[len("wrote ") :] for line in written["actions"]] + [file.path for file in writer.files]
        for line in (*report, "", *_summary(folder, paths, written["kept"], self._task.check_mode)):
            display.display(line)
        changed = [file.path for file in writer.files]
        result: dict[str, t.Any] = {
            "changed": bool(changed),
            "actions": [f"wrote {path}" for path in changed],
            "report": report,
        }
        if self._task.diff:
            result["diff"] = [_difference(file, Redactor([])) for file in writer.files]
        return result

    # On the leader of each deployment

    def _back_up(self, args: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Makes a settings backup of each deployment that this host leads and that has none, by the action `wa_backup`."""
        adoption = self._writer(args).recorded()
        hostvars = {
            name: {**one["connection"], **one["variables"], **adoption.secrets.get(name, {})}
            for name, one in adoption.hosts.items()
        }
        groups = {"all": [*hostvars], **placing.groups(adoption.hosts)}
        # Of the inventory that is read only the passwords count, and where backups are.
        given = {
            key: value
            for key, value in task_vars.items()
            if not key.startswith("wa_") or key.startswith(_BACKUP_VARIABLES)
        }
        found: dict[str, dict[str, str]] = {}
        changed = False
        for name in args["names"]:
            variables = {
                **given,
                **hostvars[name],
                "inventory_hostname": name,
                "groups": groups,
                "hostvars": hostvars,
            }
            ours = Inventory(variables, self._templar.template)
            earlier = backup.earlier(str(ours.given("wa_backup_dir")), desired.deployment(ours)["slug"])
            last = backup.newest(backup.of_database(earlier, desired.database(ours)), "settings")
            label = adoption.hosts[name]["deployment"]
            if last:
                found[label] = {"file": str(last.folder / backup.SETTINGS), "problem": ""}
                continue
            with self._tried_passwords() as tried:
                refused = tried.get(str(ours.given("wa_api_password")))
            if refused:
                found[label] = {"file": "", "problem": f"wa_api_password was refused on {refused}"}
                continue
            # Without a settings backup nothing is to be kept: it logs in first, which is all that check mode does.
            made = self._wa_backup(variables, check_mode=True)
            if not made.get("failed"):
                made = self._wa_backup(variables, check_mode=False)
            found[label] = {"file": str(made.get("settings") or ""), "problem": str(made.get("msg") or "")}
            changed = changed or bool(made.get("settings"))
        return {"changed": changed, "settings": found}

    def _wa_backup(self, variables: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
        """Returns the result of the action of backup.yml with the variables of the new inventory."""
        return run_other(self, "waba.onprem.wa_backup", {"part": "deployment"}, variables, check_mode=check_mode)

    # Helpers

    def _surveys(
        self, variable: str, task_vars: dict[str, t.Any]
    ) -> tuple[dict[str, dict[str, t.Any]], dict[str, str]]:
        """What was read of each host, and why another one was not read."""
        surveys, failed = {}, {}
        for host in task_vars["ansible_play_hosts_all"]:
            reading = task_vars["hostvars"][host].get(variable) or {}
            if "survey" not in reading:
                failed[str(host)] = " ".join(str(reading.get("msg", "not reached")).split())
                continue
            with open(reading["survey"], "rb") as file:
                surveys[str(host)] = json.loads(self._vault.decrypt(file.read()))
        return surveys, failed

    @property
    def _vault(self) -> VaultLib:
        """The vault passwords that this run was started with; Ansible has no other place for them."""
        return self._loader._vault

    def _vault_secret(self) -> t.Any:
        """Returns the password that encrypts. Raises WaError if there is none."""
        known = self._vault.secrets
        found = match_encrypt_secret(known, constants.DEFAULT_VAULT_ENCRYPT_IDENTITY) if known else None
        if not found:
            raise WaError(
                "secrets of the clients",
                "there is no vault password to encrypt them with",
                cure="Nothing was read. Run adopt.yml again with --vault-password-file",
            )
        return found[1]

    def _text(self, path: str) -> str:
        """The text of a file, which may be encrypted."""
        try:
            with open(path, "rb") as file:
                raw = file.read()
            return str((self._vault.decrypt(raw) if is_encrypted(raw) else raw).decode())
        except (AnsibleError, OSError, UnicodeError) as error:
            found = str(error).splitlines()[0].rstrip(".")
            raise WaError(
                path, found, "a file that can be read", "Give its vault password, or name another folder"
            ) from None


def _evidence(result: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """What the clients of a host were asked, and answered."""
    return [*result.get("survey", {}).get("evidence", {}).values()]


def _summary(folder: str, paths: t.Sequence[str], kept: t.Sequence[str], check_mode: bool) -> list[str]:
    """The lines after the report: what was kept, and what was written."""
    found = [f"Kept as edited: {text}" for text in kept]
    shown = [path for path in paths if not path.startswith(RECORD)]
    if not shown:
        return [*found, f"Nothing was written: {folder} is up to date."]
    verb = "Check mode: would write" if check_mode else "Written"
    return [*found, *(f"{verb}: {os.path.join(folder, path)}" for path in shown)]


def _reached(hostvars: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    values = {_OLD_NAME.sub("", name): hostvars.get(name) for name in hostvars if _CONNECTION.fullmatch(name)}
    return {name: _plain(value) for name, value in sorted(values.items()) if value is not None}


def _plain(value: t.Any) -> t.Any:
    """A value without Ansible's tags, which YAML cannot write."""
    return value if isinstance(value, bool) else int(value) if isinstance(value, int) else str(value)


def _secrets(survey: dict[str, t.Any]) -> set[str]:
    """Every secret that was read, in whatever file."""
    found = docker_inspection.secrets(survey)
    for file in survey["files"]:
        for how in (env_file.read_compose, env_file.read_docker):
            entries = how(file["text"] or "")
            found.update(
                one.value
                for one in entries
                if one.value and (core_redact.is_secret(one.key) or core_redact.holds_password(one.value))
            )
    return found


def _hide(adoption: adopt_inventory.Adoption, redact: Redactor) -> None:
    """Moves variables that are or hold a secret, such as a user called as the password, to the secrets; redacts the report's texts.

    Names stay, also one that is the password of a database: the inventory has them.
    """
    for name, one in adoption.hosts.items():
        for part in ("connection", "variables"):
            hidden = {key: value for key, value in one[part].items() if _is_hidden(key, value, redact)}
            if hidden:
                one = {**one, part: {key: value for key, value in one[part].items() if key not in hidden}}
                adoption.hosts[name] = one
                adoption.secrets[name] = {**adoption.secrets.get(name, {}), **hidden}
    sections = adoption.report["deployments"].values()
    actions = [*(one["actions"] for one in sections), *adoption.report["hosts"].values()]
    for each in (*sections, *(action for some in actions for action in some)):
        each.update({key: redact(each[key]) for key in ("facts", "cure", "lines", "compose") if key in each})


def _is_hidden(key: str, value: t.Any, redact: Redactor) -> bool:
    is_secret = core_redact.is_secret(key) and not key.endswith(("_file", "_path"))
    return is_secret or core_redact.mask(redact(value)) != value


def _leaders(adoption: adopt_inventory.Adoption, hosts: t.Mapping[str, str]) -> dict[str, list[str]]:
    """By host, of each machine one, the first member of each deployment that this run has described and that runs."""
    names: dict[str, list[str]] = {}
    for label in adoption.deployments:
        section = adoption.report["deployments"][label]
        if section["running"]:
            first = section["hosts"][0]
            names.setdefault(hosts[adoption.hosts[first]["machine"]], []).append(first)
    return names


def _difference(file: File, redact: Redactor) -> dict[str, str]:
    return {
        "before_header": file.path,
        "after_header": file.path,
        "before": core_redact.mask(redact(file.before)),
        "after": core_redact.mask(redact(file.after)),
    }
