# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands in messages: with inventory, limit and password options of this run, and without a secret."""

from __future__ import annotations

import shlex
import typing as t

import pytest
from ansible.cli.playbook import PlaybookCLI

from ansible_collections.waba.onprem.plugins.plugin_utils import _command_line as command_line


@pytest.mark.parametrize(
    ("cli", "options"),
    [
        ({}, ""),
        ({"inventory": ("hosts.yml", "my hosts/b.yml")}, "-i hosts.yml -i 'my hosts/b.yml' "),
        ({"inventory": "h1,"}, "-i h1, "),
        ({"subset": "eu:!h3"}, "--limit 'eu:!h3' "),
        ({"ask_vault_pass": True, "become_ask_pass": True}, "--ask-vault-pass --ask-become-pass "),
        ({"vault_password_files": ["/v"], "vault_ids": ["a@prompt", "b@/x y"]}, "--vault-id a@prompt --vault-id 'b@/x y' --vault-password-file /v "),
        ({"remote_user": "ops", "private_key_file": "/k"}, "--user ops --private-key /k "),
        ({"remote_user": None, "ask_vault_pass": False, "vault_ids": []}, ""),
    ],
)  # fmt: skip
def test_the_command_repeats_the_options_of_this_run(cli: dict[str, t.Any], options: str) -> None:
    command = command_line.playbook("upgrade", {"wa_upgrade_version": "2.53.4"}, cli)
    assert command == f"ansible-playbook {options}waba.onprem.upgrade -e wa_upgrade_version=2.53.4"


@pytest.mark.parametrize(
    ("given", "options", "named"),
    [
        (["@vars.yml", "@my vars.yml"], "-e @vars.yml -e '@my vars.yml' ", ""),
        (["wa_hosts=eu wa_upgrade_dump=true"], "-e wa_hosts=eu -e wa_upgrade_dump=true ", ""),
        (['{"wa_upgrade_skip": ["table_size"]}'], """-e '{"wa_upgrade_skip": ["table_size"]}' """, ""),
        # The command's own variable, and one that the operator has to give again.
        (["wa_upgrade_version=1 wa_version=2 wa_upgrade_take_over=true"], "", ""),
        # A variable that may contain a secret is named without its value.
        (["wa_api_password=Canary-1 mine=Canary-2"], "", "mine, wa_api_password"),
        (["wa_backup_password=Canary-1"], "", "wa_backup_password"),
        (['{"wa_upgrade_snapshot_command": "snap --token Canary-1"}'], "", "wa_upgrade_snapshot_command"),
        (['{"wa_db_env_extra": {"X": "Canary-1"}}'], "", "wa_db_env_extra"),
    ],
)
def test_extra_variables_are_repeated_unless_they_may_be_secret(given: list[str], options: str, named: str) -> None:
    command = command_line.playbook("upgrade", {"wa_upgrade_version": "2.53.4"}, {"extra_vars": given})
    suffix = f"   (and -e for {named}, as in this run)" if named else ""
    assert command == f"ansible-playbook waba.onprem.upgrade {options}-e wa_upgrade_version=2.53.4{suffix}"
    assert "Canary" not in command


def test_upgrade_variables_are_left_out_of_other_commands() -> None:
    cli = {"extra_vars": ["wa_hosts=eu wa_upgrade_dump=true wa_project=x"], "subset": "eu", "inventory": ("i",)}
    command = command_line.playbook("adopt", {"wa_adopt_dir": "./x y"}, cli, limit="h1")
    assert shlex.split(command.partition("   (")[0]) == [
        *("ansible-playbook", "-i", "i", "--limit", "h1", "waba.onprem.adopt"),
        *("-e", "wa_hosts=eu", "-e", '{"wa_adopt_dir": "./x y"}'),
    ]
    assert command.endswith("   (and -e for wa_project, as in this run)")


def test_ansible_parses_the_printed_command_as_intended() -> None:
    """Ansible's own parser returns the same options for the printed command."""
    argv = ["ansible-playbook", "-i", "h1,", "--limit", "a b", "--vault-id", "x@/v w", "-K", "site.yml", "-e", "@/f"]
    first = PlaybookCLI(argv)
    first.init_parser()
    parsed = vars(first.parser.parse_args(argv[1:]))
    command = shlex.split(command_line.playbook("upgrade", {"a": [1, True], "b": "x='y"}, parsed))
    again = vars(first.parser.parse_args(command[1:]))
    for key in ("inventory", "subset", "vault_ids", "become_ask_pass"):
        assert again[key] == parsed[key], key
    assert again["extra_vars"] == ["@/f", '{"a": [1, true]}', '{"b": "x=\'y"}']
