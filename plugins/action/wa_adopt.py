# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads hosts through `wa_info` and writes the inventory that describes them, all of it on the controller.

Secrets travel sealed with a key that this process makes and never tells. Ansible loads the plugin before it forks its
workers, so all of them have the same key, and nothing else has it: neither output nor fact cache can open what it holds.
"""

from __future__ import annotations

import secrets
import typing as t

import yaml
from ansible import constants
from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.parsing.vault import VaultLib, VaultSecret, is_encrypted, match_encrypt_secret
from ansible.plugins.action import ActionBase
from ansible.utils.path import unfrackpath

from ansible_collections.waba.onprem.plugins.module_utils import (
    _adopt_clients,
    _adopt_inventory,
    _docker_survey,
    _env_file,
    _env_rules,
    _seal,
)
from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._result import Redactor
from ansible_collections.waba.onprem.plugins.plugin_utils.adopt_files import Writer

_KEY = secrets.token_hex(32)
_GATHER = ["host", "environment", "volume", "compose", "starters"]
# How a host is reached, carried over into the new inventory.
_CONNECTION = (
    *("host", "port", "user", "connection", "ssh_private_key_file", "ssh_common_args", "ssh_extra_args"),
    *("python_interpreter", "become", "become_user", "become_method", "docker_extra_args"),
)
_CONNECTION_SECRETS = ("password", "ssh_pass", "ssh_password", "become_password", "become_pass")


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """See the module's documentation."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """One of the two operations."""
        task_vars = task_vars or {}
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        operation = args.pop("operation", None)
        try:
            if operation == "read":
                return self._read(args, task_vars)
            if operation == "write":
                return self._write(args, task_vars)
            raise WaError("option operation", repr(operation), "read or write")
        except WaError as error:
            return {"failed": True, "changed": False, "msg": str(error)}

    # On each host

    def _read(self, args: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        result, survey = self._ask({**args, "gather": _GATHER}, task_vars)
        if survey is None:
            return result
        documents = {one["path"]: _document(one["text"]) for one in survey["compose_files"] if one["text"]}
        for one in survey["compose_files"]:
            if one["text"] and documents[one["path"]] is None:
                one["problem"] = "no YAML"
        _adopt_clients.env_files(survey, documents)
        paths = sorted({path for one in [*survey["containers"], *survey["sidecars"]] for path in one["env_files"]})
        if paths:
            more, found = self._ask({**args, "gather": [], "files": paths}, task_vars)
            if found is None:
                return more
            survey["files"] = found["files"]
        survey["missing"] = result["missing"]
        return {
            "changed": False,
            "actions": [],
            "containers": [one["name"] for one in survey["containers"]],
            "sealed": _seal.seal(_KEY, survey),
        }

    def _ask(
        self, args: dict[str, t.Any], task_vars: dict[str, t.Any]
    ) -> tuple[dict[str, t.Any], dict[str, t.Any] | None]:
        """`wa_info`'s result, and what it sealed; None when it failed."""
        result: dict[str, t.Any] = self._execute_module(
            module_name="waba.onprem.wa_info", module_args={**args, "seal_key": _KEY}, task_vars=task_vars
        )
        if result.get("failed") or "sealed" not in result:
            return result, None
        engine = result.get("reasons", {}).get("docker_engine")
        if engine:
            return {"failed": True, "changed": False, "msg": engine}, None
        return result, _seal.unseal(_KEY, result["sealed"])

    # Once, for all hosts

    def _write(self, args: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        if not args.get("dest"):
            raise WaError("wa_adopt_dir", "not set", "a folder on this machine for the new inventory")
        folder = unfrackpath(args["dest"], follow=False)
        surveys, failed = self._surveys(str(args["readings"]), task_vars)
        secret = self._vault_secret(args.get("vault_password"))
        hostvars = task_vars["hostvars"]
        adoption = _adopt_inventory.build(
            surveys,
            failed,
            {host: _reached(hostvars[host], _CONNECTION) for host in surveys},
            {host: _reached(hostvars[host], _CONNECTION_SECRETS) for host in surveys},
            with_vault=secret is not None,
        )
        redact = Redactor(value for survey in surveys.values() for value in _secrets(survey))
        _hide(adoption, redact)
        vault = VaultLib([(constants.DEFAULT_VAULT_IDENTITY, secret)]) if secret is not None else None
        writer = Writer(
            folder,
            lambda path: self._text(path, secret),
            vault,
            secret,
            boolean(args.get("overwrite", False), strict=False),
        )
        for name, document in adoption.documents.items():
            writer.plain(name, document)
        for name, document in adoption.secrets.items():
            writer.secret(name, document)
        writer.check()
        report = redact(_docker_survey.mask(adoption.report))
        if adoption.documents:
            writer.text("report.md", report)
        if not self._task.check_mode:
            writer.write()
        result: dict[str, t.Any] = {
            "changed": bool(writer.files),
            "actions": [f"wrote {file.path}" for file in writer.files],
            "deployments": adoption.deployments,
            "report": report,
            "dest": folder,
        }
        if self._task.diff:
            result["diff"] = [
                {
                    "before_header": file.path,
                    "after_header": file.path,
                    "before": _docker_survey.mask(redact(file.before)),
                    "after": _docker_survey.mask(redact(file.after)),
                }
                for file in writer.files
            ]
        return result

    @staticmethod
    def _surveys(variable: str, task_vars: dict[str, t.Any]) -> tuple[dict[str, dict[str, t.Any]], dict[str, str]]:
        surveys, failed = {}, {}
        for host in task_vars["ansible_play_hosts_all"]:
            reading = task_vars["hostvars"][host].get(variable) or {}
            if "sealed" in reading:
                surveys[str(host)] = _seal.unseal(_KEY, str(reading["sealed"]))
            else:
                failed[str(host)] = " ".join(str(reading.get("msg", "not reached")).split())
        return surveys, failed

    def _vault_secret(self, password: str | None) -> t.Any:
        """What encrypts: the password given, else the one that this run was started with, else None."""
        if password:
            return VaultSecret(str(password).encode())
        known = self._loader._vault.secrets  # the only place that has it
        found = match_encrypt_secret(known, constants.DEFAULT_VAULT_ENCRYPT_IDENTITY) if known else None
        return found[1] if found else None

    def _text(self, path: str, secret: t.Any) -> str:
        """The text of a file, opened with the password given or one that this run was started with."""
        try:
            with open(path, "rb") as file:
                raw = file.read()
            if is_encrypted(raw):
                given = [(constants.DEFAULT_VAULT_IDENTITY, secret)] if secret is not None else []
                raw = VaultLib([*given, *(self._loader._vault.secrets or [])]).decrypt(raw)
            return str(raw.decode())
        except (AnsibleError, OSError, UnicodeError) as error:
            found = str(error).splitlines()[0].rstrip(".")
            raise WaError(
                path, found, "a file that can be read", "Give its vault password, or name another folder"
            ) from None


def _document(text: str) -> t.Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _reached(hostvars: t.Mapping[str, t.Any], names: t.Iterable[str]) -> dict[str, t.Any]:
    values = {f"ansible_{name}": hostvars.get(f"ansible_{name}") for name in names}
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _plain(value: t.Any) -> t.Any:
    """A value without Ansible's tags, which YAML cannot write."""
    return value if isinstance(value, bool) else int(value) if isinstance(value, int) else str(value)


def _secrets(survey: dict[str, t.Any]) -> set[str]:
    """Every secret that was read, in whatever file."""
    found = _docker_survey.secrets(survey)
    for file in survey["files"]:
        for how in (_env_file.read_compose, _env_file.read_docker):
            entries = how(file["text"] or "")
            found.update(entry.value for entry in entries if entry.value and _env_rules.is_secret(entry.key))
    return found


def _hide(adoption: _adopt_inventory.Adoption, redact: Redactor) -> None:
    """Move variables that hold a secret, such as a user called as the password, to the secrets."""
    for name in [name for name in adoption.documents if name.endswith("/vars.yml")]:
        document = adoption.documents[name]
        told = {key: value for key, value in document.items() if redact(value) != value}
        if told:
            adoption.documents[name] = {key: value for key, value in document.items() if key not in told}
            secret = name.replace("vars.yml", "vault.yml")
            adoption.secrets[secret] = {**adoption.secrets.get(secret, {}), **told}
