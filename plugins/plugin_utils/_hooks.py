# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a file of tasks cannot be a hook of an upgrade."""

from __future__ import annotations

import os
import typing as t

from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.block import Block
from ansible.playbook.play import Play
from ansible.vars.manager import VariableManager

# They end the play, or are for all its hosts, so that no rescue follows.
_ACTIONS = ("ansible.builtin.meta", "ansible.builtin.pause", "ansible.builtin.add_host")


def refusal(path: str) -> str:
    """Returns why the file at `path` cannot be a hook; empty if it can. It is loaded as the upgrade will load it."""
    loader = DataLoader()
    loader.set_basedir(os.path.dirname(path))
    try:
        play = {"name": path, "hosts": "all", "gather_facts": False, "tasks": loader.load_from_file(path) or []}
        loaded = Play.load(play, variable_manager=VariableManager(loader=loader), loader=loader)
    except AnsibleError as error:
        return f"{path}: Ansible cannot load it: {' '.join(error.message.split()).rstrip('.')}."
    found = next((one for one in _actions(loaded.tasks) if one in _ACTIONS), "")
    return (
        f"{path}: {found} would end the upgrade in the middle. Fail, or wait with ansible.builtin.wait_for."
        if found
        else ""
    )


def _actions(tasks: t.Iterable[t.Any]) -> t.Iterator[str]:
    for one in tasks:
        if isinstance(one, Block):
            yield from _actions([*one.block, *one.rescue, *one.always])
        elif not one.implicit:  # as the end of a role
            yield one.resolved_action or one.action
