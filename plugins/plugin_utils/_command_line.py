# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the command that runs a playbook with the inventory, limit and passwords of this run, for messages."""

from __future__ import annotations

import json
import shlex
import typing as t

import yaml
from ansible.errors import AnsibleError
from ansible.parsing.splitter import parse_kv

_REPEATED = {
    "vault_ids": "--vault-id",
    "vault_password_files": "--vault-password-file",
}
_ONCE = {
    "remote_user": "--user",
    "private_key_file": "--private-key",
    "connection_password_file": "--connection-password-file",
    "become_password_file": "--become-password-file",
}
_FLAGS = {"ask_vault_pass": "--ask-vault-pass", "ask_pass": "--ask-pass", "become_ask_pass": "--ask-become-pass"}
# Never copied from this run: the command sets them, or the operator does.
_NOT_PASSED_ON = ("wa_version", "wa_upgrade_version", "wa_upgrade_take_over")
_OF_REPORTS = ("wa_status_", "wa_report_", "wa_notify_")  # which another playbook does not need


def playbook(
    name: str,
    variables: t.Mapping[str, t.Any],
    cli: t.Mapping[str, t.Any],
    limit: str | None = None,
) -> str:
    """Returns the shell command that runs the collection's playbook `name` with `variables` and the options `cli`.

    `cli` are this run's options (`context.CLIARGS`); `limit` replaces its own. Extra variables that may hold
    a secret are named after the command, without their values.
    """
    argv = ["ansible-playbook"]
    for source in _list(cli.get("inventory")):
        argv += ["-i", source]
    subset = limit or cli.get("subset")
    argv += ["--limit", str(subset)] if subset else []
    argv += [*login_options(cli), f"waba.onprem.{name}"]
    files, given = _extra_variables(_list(cli.get("extra_vars")))
    passed_on = {key: value for key, value in given.items() if _is_passed_on(name, key, value) and key not in variables}
    for path in files:
        argv += ["-e", path]
    for key, value in {**passed_on, **variables}.items():
        argv += ["-e", _extra_var(key, value)]
    relevant = {key for key in given if name == "upgrade" or not key.startswith("wa_upgrade_")}
    relevant = {key for key in relevant if not key.startswith(_OF_REPORTS)}
    left = sorted(relevant - set(passed_on) - set(variables) - set(_NOT_PASSED_ON))
    return shlex.join(argv) + (f"   (and -e for {', '.join(left)}, as in this run)" if left else "")


def login_options(cli: t.Mapping[str, t.Any]) -> list[str]:
    """Returns the options of `cli` that decrypt the inventory and log in to hosts."""
    found = [
        argument for key, option in _REPEATED.items() for value in _list(cli.get(key)) for argument in (option, value)
    ]
    found += [argument for key, option in _ONCE.items() if cli.get(key) for argument in (option, str(cli[key]))]
    return found + [option for key, option in _FLAGS.items() if cli.get(key)]


def _list(value: t.Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(one) for one in value or ()]


def _extra_variables(raw: t.Iterable[str]) -> tuple[list[str], dict[str, t.Any]]:
    """Returns the files and the variables of the options `-e`."""
    files: list[str] = []
    given: dict[str, t.Any] = {}
    for text in raw:
        if text.startswith("@"):
            files.append(text)
            continue
        try:
            read = yaml.safe_load(text) if text.lstrip()[:1] in ("{", "[", "/", ".") else parse_kv(text)
        except (AnsibleError, yaml.YAMLError):  # Ansible itself reports it
            continue
        given.update(read if isinstance(read, dict) else {})
    return files, given


def _is_passed_on(name: str, key: str, value: t.Any) -> bool:
    """Returns whether the command includes a variable of this run: `wa_hosts` and options of an upgrade without secrets."""
    plain = isinstance(value, (str, int, float)) or (
        isinstance(value, list) and all(isinstance(one, (str, int, float)) for one in value)
    )
    secret = "password" in key or key == "wa_upgrade_snapshot_command"
    wanted = key == "wa_hosts" or (name == "upgrade" and key.startswith("wa_upgrade_"))
    return plain and wanted and not secret and key not in _NOT_PASSED_ON


def _extra_var(key: str, value: t.Any) -> str:
    """Returns a variable for `-e`: `KEY=VALUE` for plain text, else JSON."""
    text = isinstance(value, str) and value and not set(value) & set(" \t\n'\"\\={[")
    return f"{key}={value}" if text else json.dumps({key: value})
