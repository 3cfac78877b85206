# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands in messages: with the inventory, limit and passwords of this run, and without a secret."""

from __future__ import annotations

import shlex
import typing as t

import pytest
from ansible.cli.playbook import PlaybookCLI

from ansible_collections.waba.onprem.plugins.plugin_utils import _command_line as command_line


@pytest.mark.parametrize(
    ("cli", "words"),
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
def test_it_runs_as_this_run_does(cli: dict[str, t.Any], words: str) -> None:
    said = command_line.playbook("upgrade", {"wa_upgrade_version": "2.53.4"}, cli)
    assert said == f"ansible-playbook {words}waba.onprem.upgrade -e wa_upgrade_version=2.53.4"


@pytest.mark.parametrize(
    ("given", "words", "named"),
    [
        (["@vars.yml", "@my vars.yml"], "-e @vars.yml -e '@my vars.yml' ", ""),
        (["wa_hosts=eu wa_upgrade_dump=true"], "-e wa_hosts=eu -e wa_upgrade_dump=true ", ""),
        (['{"wa_upgrade_skip": ["table_size"]}'], """-e '{"wa_upgrade_skip": ["table_size"]}' """, ""),
        # The command's own value, and what is for the operator to say anew.
        (["wa_upgrade_version=1 wa_version=2 wa_upgrade_take_over=true"], "", ""),
        # What may be a secret is named, whatever it is called.
        (["wa_api_password=Canary-1 mine=Canary-2"], "", "mine, wa_api_password"),
        (["wa_upgrade_backup_password=Canary-1"], "", "wa_upgrade_backup_password"),
        (['{"wa_upgrade_snapshot_command": "snap --token Canary-1"}'], "", "wa_upgrade_snapshot_command"),
        (['{"wa_db_env_extra": {"X": "Canary-1"}}'], "", "wa_db_env_extra"),
    ],
)
def test_variables_go_with_it_unless_they_may_be_secret(given: list[str], words: str, named: str) -> None:
    said = command_line.playbook("upgrade", {"wa_upgrade_version": "2.53.4"}, {"extra_vars": given})
    behind = f"   (and -e for {named}, as in this run)" if named else ""
    assert said == f"ansible-playbook waba.onprem.upgrade {words}-e wa_upgrade_version=2.53.4{behind}"
    assert "Canary" not in said


def test_what_is_for_an_upgrade_is_in_no_other_command() -> None:
    cli = {"extra_vars": ["wa_hosts=eu wa_upgrade_dump=true wa_project=x"], "subset": "eu", "inventory": ("i",)}
    said = command_line.playbook("adopt", {"wa_adopt_dir": "./x y"}, cli, limit="h1", inventory=["other"])
    assert shlex.split(said.partition("   (")[0]) == [
        *("ansible-playbook", "-i", "other", "--limit", "h1", "waba.onprem.adopt"),
        *("-e", "wa_hosts=eu", "-e", '{"wa_adopt_dir": "./x y"}'),
    ]
    assert said.endswith("   (and -e for wa_project, as in this run)")


def test_ansible_reads_it_as_it_was_meant() -> None:
    """By Ansible's own parser: what was given, printed, and read again is the same."""
    argv = ["ansible-playbook", "-i", "h1,", "--limit", "a b", "--vault-id", "x@/v w", "-K", "site.yml", "-e", "@/f"]
    first = PlaybookCLI(argv)
    first.init_parser()
    options = vars(first.parser.parse_args(argv[1:]))
    said = shlex.split(command_line.playbook("upgrade", {"a": [1, True], "b": "x='y"}, options))
    again = vars(first.parser.parse_args(said[1:]))
    for key in ("inventory", "subset", "vault_ids", "become_ask_pass"):
        assert again[key] == options[key], key
    assert again["extra_vars"] == ["@/f", '{"a": [1, true]}', '{"b": "x=\'y"}']
