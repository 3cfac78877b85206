# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs another module or action from within an action, with the connection and the settings of its task."""

from __future__ import annotations

import typing as t


def run_other(
    action: t.Any, name: str, options: t.Mapping[str, t.Any], task_vars: t.Mapping[str, t.Any], **task: t.Any
) -> dict[str, t.Any]:
    """Returns the result of a module, by the action that Ansible would choose: its own, or the one that runs a module without one.

    Its `task` is that of `action`, but for what is given here. Raises what that raises.
    """
    inner = action._task.copy()
    inner.action, inner.args = name, options
    for field, value in task.items():
        setattr(inner, field, value)
    actions = action._shared_loader_obj.action_loader
    other = actions.get(
        name if actions.has_plugin(name) else "ansible.legacy.normal",
        task=inner,
        connection=action._connection,
        play_context=action._play_context,
        loader=action._loader,
        templar=action._templar,
        shared_loader_obj=action._shared_loader_obj,
    )
    try:
        result: dict[str, t.Any] = other.run(task_vars=task_vars)
        return result
    finally:
        other.cleanup()  # its temporary folder on the host, of which Ansible does not know
