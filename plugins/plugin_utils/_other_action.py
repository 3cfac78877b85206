# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs another module or action from within an action, with the connection and the settings of its task."""

from __future__ import annotations

import typing as t


def other_action(action: t.Any, name: str, options: t.Mapping[str, t.Any]) -> t.Any:
    """Returns the action of a module as Ansible chooses it: its own, or the one that runs a module without one."""
    task = action._task.copy()
    task.action, task.args = name, options
    actions = action._shared_loader_obj.action_loader
    return actions.get(
        name if actions.has_plugin(name) else "ansible.legacy.normal",
        task=task,
        connection=action._connection,
        play_context=action._play_context,
        loader=action._loader,
        templar=action._templar,
        shared_loader_obj=action._shared_loader_obj,
    )
